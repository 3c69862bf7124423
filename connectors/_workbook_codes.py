"""The hazards of a workbook by name: how bad each is and what to do about it."""

from __future__ import annotations

from typing import Literal

__all__ = ["HAZARDS", "Level"]

Level = Literal["info", "warn", "break"]

HAZARDS: dict[str, tuple[Level, str]] = {
    "macros": (
        "warn",
        (
            "List what the macros read and write, find who maintains them, and move what runs "
            "daily into a program that is tested."
        ),
    ),
    "xlm_macros": (
        "break",
        "Excel 4.0 macros are switched off by default in current Excel. Replace them by formulas, VBA or a program.",
    ),
    "external_links": (
        "warn",
        "Replace links to other workbooks by one owned source, or copy the values in by a documented step.",
    ),
    "connections": (
        "warn",
        (
            "Refresh under a service account and check that it may be reached in production; store "
            "no password in the workbook."
        ),
    ),
    "pivot_caches": ("info", "Refresh pivots before reading them, and read the source rows rather than the pivot."),
    "error_cells": (
        "break",
        "Mend the formulas or the data behind them; wrap what may fail in IFERROR with a value that is meant.",
    ),
    "uncached_formulas": (
        "break",
        "Open the file in Excel and save it, or let the program that writes it write values.",
    ),
    "volatile_formulas": (
        "warn",
        "Replace NOW, TODAY and RAND by a value written once, OFFSET by INDEX, INDIRECT by a plain reference.",
    ),
    "circular_references": ("break", "Break the circle (Formulas, Error Checking, Circular References)."),
    "broken_names": ("warn", "Delete or mend the names in Formulas, Name Manager."),
    "hidden_sheets": ("info", "Unhide them once and decide whether anything that counts lives there."),
    "very_hidden_sheets": (
        "warn",
        "Only the macro editor shows them: make them visible and find out what they hold.",
    ),
    "hidden_rows": ("info", "Programs read hidden rows like any other: clear filters or delete what is not meant."),
    "hidden_columns": ("info", "Programs read hidden columns like any other: delete or name what is not meant."),
    "merged_cells": (
        "warn",
        "Unmerge them in the data area; only the upper left cell of a merge has a value, the others read as blank.",
    ),
    "date1904": (
        "warn",
        (
            "Dates count from 1904: copied into another workbook they are four years off. Switch "
            "it off under Options, Advanced."
        ),
    ),
    "encrypted": (
        "break",
        "Give the password in weighbridge.toml as ${NAME}, or have the owner save the file without one.",
    ),
    "malformed": (
        "break",
        "Copy the file again from its source; if it opens in Excel, save it there under a new name.",
    ),
    "protected": ("info", "Ask the owner for the password if the workbook must be changed; reading needs none."),
    "numbers_as_text": (
        "warn",
        "Turn the texts into numbers (Data, Text to Columns) or agree that the column is a code.",
    ),
    "dates_as_text": ("warn", "Turn the texts into dates, or agree on one format and declare it in the contract."),
    "mixed_types": ("warn", "Let one column hold one kind of value; move remarks into a column of their own."),
    "long_numbers": (
        "warn",
        "Excel keeps 15 digits: format the column as text before the numbers are entered, and load them again.",
    ),
    "duplicate_headers": ("warn", "Give every column a header of its own."),
    "blank_headers": ("warn", "Give every column with data a header."),
    "phantom_rows": ("info", "Delete the empty rows below the data and save; Ctrl+End then stands on the last value."),
    "row_ceiling": ("warn", "Move the data to a database before the sheet is full; Excel drops what does not fit."),
    "style_explosion": (
        "warn",
        "Remove unused styles and repeated conditional formats; Excel refuses more than 65,490 formats.",
    ),
    "locked": (
        "warn",
        (
            "Have it closed, or read a published copy; where many must write, move the data to a "
            "system with more than one writer."
        ),
    ),
    "hostile": ("break", "Do not open it. Ask the sender for the original and save it again from Excel."),
}
"""Code (last word) -> (severity unless a finding says otherwise, remedy)."""
