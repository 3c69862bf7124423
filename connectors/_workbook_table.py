"""Finds the table inside a sheet: its address, header row, columns, and where the data end.

People put titles above their tables and totals below them. What is cut away is said, never silently dropped.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import islice
from typing import Any

from weighbridge.connectors._workbook_book import RANGE, Book, within
from weighbridge.connectors._workbook_parts import Sheet
from weighbridge.connectors._workbook_scan import COLUMNS, column_letters, column_number
from weighbridge.connectors.base import Observation
from weighbridge.connectors.errors import MissingObjectError, SettingsError

__all__ = ["Region", "find_header", "is_totals_row", "regions", "rows_of"]

HELD_BACK = 12
"""Rows at the end among which totals and notes are looked for."""
BATCH = 2_000
_TOTAL = re.compile(
    r"^\W*(?:(?:grand|sub|gesamt|end|zwischen)[\s-]*)?"
    r"(?:totals?|sum|summen?|gesamt(?:summe|betrag)?|total\s+g[eé]n[eé]ral|totale|totaal|somme|suma)"
    r"(?:\s*[:=]?|\s+(?:\d{4}|all|amount|sum|betrag))\s*[:=]?$",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Region:
    """The rectangle of one table in one sheet; rows and columns are absolute, from 1."""

    book: Book
    sheet: Sheet
    header: int
    first: int
    last: int | None
    """None: to the last used row."""
    left: int
    right: int
    names: tuple[str, ...]
    kept: tuple[int, ...]
    """Offsets from `left` of the columns that are kept (a blank column between is not)."""
    fixed_end: bool
    """The end was given (a range with an end row): nothing is cut."""
    observations: list[Observation] = field(default_factory=list)
    unnamed: dict[str, str] = field(default_factory=dict)
    """Columns without a header: the name given -> their letters."""


def regions(book: Book, address: str) -> list[Region]:
    """The regions an address means in one workbook: `Sheet`, `Sheet!A3:F`, `#Table`, `@Name`, `Month*`.

    Raises `MissingObjectError` naming what there is.
    """
    if address.startswith("#"):
        return [_table(book, address[1:])]
    if address.startswith("@"):
        return [_named(book, address[1:])]
    direct = book.parts.sheet(address)
    if direct is not None:
        return [_whole(book, direct)]
    name, mark, cells = address.rpartition("!")
    if mark and RANGE.match(cells.strip()):
        return [_range(book, s, cells.strip()) for s in _sheets(book, name)]
    return [_whole(book, s) for s in _sheets(book, address)]


def _sheets(book: Book, name: str) -> list[Sheet]:
    plain = name[1:-1].replace("''", "'") if len(name) > 1 and name[0] == name[-1] == "'" else name
    found = book.parts.sheet(name) or book.parts.sheet(plain)
    if found is not None:
        if found.kind != "worksheet":
            raise MissingObjectError(f"{book.path}: {found.name} is a {found.kind}, which has no rows.")
        return [found]
    many = [
        s
        for s in book.parts.sheets
        if s.kind == "worksheet" and fnmatch.fnmatchcase(s.name.casefold(), plain.casefold())
    ]
    if many and any(c in plain for c in "*?["):
        return many
    raise MissingObjectError(
        f"{book.path}: there is no sheet {plain}; it has {', '.join(s.name for s in book.parts.sheets[:20])}.",
        remedy="Put the sheet's name, Sheet!A3:F, #Table or @Name into physicalName of the contract.",
    )


def _table(book: Book, name: str) -> Region:
    table = book.table(name)
    if table is None:
        have = ", ".join(f"#{t.name}" for t in book.parts.tables[:20]) or "none"
        unread = " An .xls file has no tables." if book.format == "xls" else ""
        raise MissingObjectError(f"{book.path}: there is no table {name}; its tables: {have}.{unread}")
    sheet = book.parts.sheet(table.sheet)
    found = RANGE.match(table.reference)
    if sheet is None or found is None:
        raise MissingObjectError(f"{book.path}: the table {name} has no usable place ({table.reference}).")
    left, top, right, bottom = _corners(found)
    header = top if table.header_rows else top - 1
    region = _make(book, sheet, header, left, right, bottom, names=None if table.header_rows else table.columns)
    if table.totals_rows and bottom:
        region.last = bottom - table.totals_rows
        region.observations.append(
            Observation(
                "totals_row_cut",
                f"The table {name} ends with {table.totals_rows} totals row(s), which are not read as data.",
                {"rows": table.totals_rows, "row": bottom},
            )
        )
    region.fixed_end = True
    return region


def _named(book: Book, name: str) -> Region:
    found = book.name(name)
    if found is None:
        have = ", ".join(f"@{n.name}" for n in book.parts.names[:20] if not n.hidden) or "none"
        raise MissingObjectError(f"{book.path}: there is no name {name}; its names: {have}.")
    text = found.refers_to.lstrip("=")
    sheet_name, mark, cells = text.rpartition("!")
    if not mark or not RANGE.match(cells):
        raise MissingObjectError(
            f"{book.path}: the name {name} refers to {text[:80]}, which is not one plain range.",
            remedy="Address the sheet and its range instead, or make the data a table (Ctrl+T) and address #Table.",
        )
    return _range(book, _sheets(book, sheet_name)[0], cells)


def _corners(found: re.Match[str]) -> tuple[int, int, int, int | None]:
    left, right = column_number(found[1]), column_number(found[3] or found[1])
    top = int(found[2]) if found[2] else 1
    return min(left, right), top, max(left, right), int(found[4]) if found[4] else None


def _range(book: Book, sheet: Sheet, cells: str) -> Region:
    found = RANGE.match(cells)
    if found is None:
        raise SettingsError(f"{cells} is not a range such as A3:F.")
    left, top, right, bottom = _corners(found)
    if right > COLUMNS:
        raise SettingsError(f"{cells}: a sheet ends at column XFD.")
    region = _make(book, sheet, top, left, right, bottom)
    region.fixed_end = bottom is not None
    return region


def _whole(book: Book, sheet: Sheet) -> Region:
    if sheet.kind != "worksheet":
        raise MissingObjectError(f"{book.path}: {sheet.name} is a {sheet.kind}, which has no rows.")
    scan = book.scan(sheet)
    width = max(scan.last_column, 1)
    header = 1
    if scan.filled:
        grid = book.grid(sheet)
        top = list(grid.rows(1, scan.first_row + 59, 1, width))
        header = find_header(top)
    region = _make(book, sheet, header, 1, width, None)
    if header != 1:
        region.observations.append(
            Observation(
                "header_row_found",
                f"The header of {sheet.name} stands in row {header}; the rows above it are not data.",
                {"row": header, "sheet": sheet.name},
            )
        )
    return region


def find_header(rows: Sequence[Sequence[Any]]) -> int:
    """The row (from 1) that is the header: the first wide row of texts that has a row below it."""
    filled = [sum(1 for v in row if v != "") for row in rows]
    widest = max(filled, default=0)
    needed = max(1, round(widest * 0.6))
    for number, row in enumerate(rows):
        texts = sum(1 for v in row if isinstance(v, str) and v != "")
        below = any(filled[number + 1 : number + 3])
        if filled[number] >= needed and texts >= 0.8 * filled[number] and below:
            return number + 1
    return next((n + 1 for n, f in enumerate(filled) if f), 1)


def _make(
    book: Book,
    sheet: Sheet,
    header: int,
    left: int,
    right: int,
    last: int | None,
    *,
    names: Sequence[str] | None = None,
) -> Region:
    observations: list[Observation] = []
    values: list[Any] = []
    scan = book.scan(sheet)
    if names is None and scan.filled:
        right = min(right, max(scan.last_column, left))
        values = next(iter(book.grid(sheet).rows(header, header, left, right)), [])
    elif names is not None:
        values = list(names)
    unnamed: dict[str, str] = {}
    kept, labels = _labels(values, left, observations, unnamed, sheet.name, scan, header)
    return Region(book, sheet, header, header + 1, last, left, right, labels, kept, False, observations, unnamed)


def _labels(
    values: list[Any],
    left: int,
    observations: list[Observation],
    unnamed: dict[str, str],
    sheet: str,
    scan: Any,
    header: int,
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    kept: list[int] = []
    labels: list[str] = []
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    """The last number that a repeated header was given: counting from 2 each time would never end on a wide sheet."""
    twice: list[str] = []
    spaced: list[str] = []
    for offset, value in enumerate(values):
        raw = _label(value)
        text = raw.strip()
        letters = column_letters(left + offset)
        if text == "":
            if scan.empty(left + offset):
                continue  # an empty column between or beside
            text = f"column_{letters}"
            unnamed[text] = letters
        elif text != raw:
            spaced.append(f"{letters}{header}")
        name, number = text, numbers.get(text.casefold(), 1)
        repeated = name.casefold() in taken
        while name.casefold() in taken:
            number += 1
            name = f"{text}_{number}"
        numbers[text.casefold()] = number
        taken.add(name.casefold())
        if repeated:
            twice.append(f"{text} in {letters}{header}")
        kept.append(offset)
        labels.append(name)
    if twice:
        observations.append(
            Observation(
                "duplicate_headers",
                f"{sheet}: header(s) stand more than once ({', '.join(twice[:20])}); the later ones get a number.",
                {"headers": twice},
            )
        )
    if spaced:
        observations.append(
            Observation(
                "spaces_in_headers",
                f"{sheet}: header(s) in {', '.join(spaced[:20])} begin or end with spaces, which are left out.",
                {"cells": spaced},
            )
        )
    return tuple(kept), tuple(labels)


def _label(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, date | datetime):
        return value.isoformat()
    return str(value)


# --- rows ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Batch:
    """Rows with the sheet rows they stand in, and how many were skipped or cut since the last batch."""

    numbers: Sequence[int]
    rows: list[list[Any]]
    left_out: int = 0
    observations: tuple[Observation, ...] = ()


def rows_of(region: Region) -> Iterator[Batch]:
    """The data rows of a region in batches: blank rows skipped, totals and the notes below them cut."""
    book, sheet = region.book, region.sheet
    scan = book.scan(sheet)
    if not scan.filled or region.first > scan.last_row:
        return
    marked = _marked_rows(region)
    source = book.grid(sheet).rows(region.first, region.last, region.left, region.right)
    empty = [""] * (region.right - region.left + 1)
    numbers: list[int] = []
    rows: list[list[Any]] = []
    left_out, next_number = 0, region.first
    while fresh := list(islice(source, BATCH)):
        fresh_numbers: Sequence[int] = range(next_number, next_number + len(fresh))
        next_number += len(fresh)
        # looking for one blank row as a whole is much cheaper than counting the blanks of every row
        blank = (
            [i for i, row in enumerate(fresh) if row == empty and fresh_numbers[i] not in marked]
            if empty in fresh
            else []
        )
        if blank:
            left_out += len(blank)
            gone = set(blank)
            fresh_numbers = [n for i, n in enumerate(fresh_numbers) if i not in gone]
            fresh = [row for i, row in enumerate(fresh) if i not in gone]
        numbers.extend(fresh_numbers)
        rows.extend(fresh)
        if len(rows) >= BATCH + HELD_BACK:
            cut = len(rows) - HELD_BACK
            yield Batch(numbers[:cut], rows[:cut], left_out)
            numbers, rows, left_out = numbers[cut:], rows[cut:], 0
    held = list(zip(numbers, rows, strict=True))
    observations: tuple[Observation, ...] = ()
    if not region.fixed_end:
        held, cut, observations = _cut_totals(held, region)
        left_out += cut
    if held or left_out or observations:
        yield Batch([n for n, _ in held], [r for _, r in held], left_out, observations)


def _marked_rows(region: Region) -> frozenset[int]:
    """Rows that hold an error or a formula never calculated: not blank, whatever the values say."""
    scan = region.book.scan(region.sheet)
    last = region.last or scan.last_row
    found: set[int] = set()
    for marks in (scan.errors, scan.uncached):
        if len(marks):
            inside = within(marks.packed, region.first, last, region.left, region.right)
            found.update((inside // COLUMNS).tolist())
    return frozenset(found)


def is_totals_row(row: Sequence[Any]) -> bool:
    """Whether one of the first filled cells says total and the row holds numbers or little else."""
    texts = [v for v in row if isinstance(v, str) and v != ""]
    return bool(texts) and any(_TOTAL.match(t.strip()) for t in texts[:2])


def _cut_totals(
    held: list[tuple[int, list[Any]]], region: Region
) -> tuple[list[tuple[int, list[Any]]], int, tuple[Observation, ...]]:
    tail = held[-HELD_BACK:]
    at = next((i for i, (_, row) in enumerate(tail) if is_totals_row(row)), None)
    if at is None:
        return held, 0, ()
    below = tail[at:]
    # data that go on below a total are data: only a few rows of totals or notes may follow
    notes = [row for _, row in below[1:] if not is_totals_row(row) and sum(1 for v in row if v != "") > 2]
    if notes:
        return held, 0, ()
    cut = len(below)
    first = below[0][0]
    message = (
        f"{region.sheet.name}: row {first} is a totals row; it and what follows ({cut} rows) are not read as data."
    )
    return (
        held[: len(held) - cut],
        cut,
        (Observation("totals_row_cut", message, {"row": first, "rows": cut, "sheet": region.sheet.name}),),
    )
