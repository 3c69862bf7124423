"""Completes the scan of a binary workbook by its values: headers, texts that look like numbers or dates, mixed kinds.

The records of .xls and .xlsb say what kind a cell is and where errors are; what a text says is read through calamine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from typing import Any

import numpy as np

from weighbridge.connectors._workbook_book import Book
from weighbridge.connectors._workbook_package import WorkbookProblem
from weighbridge.connectors._workbook_parts import Sheet
from weighbridge.connectors._workbook_scan import (
    BOOL,
    COLUMNS,
    DATE,
    ELAPSED,
    HEAD_ROWS,
    NUMBER,
    SAMPLES,
    TEXT,
    TIME,
    Marks,
    SheetScan,
)
from weighbridge.connectors.errors import FileError

__all__ = ["complete"]

_KIND = {str: TEXT, bool: BOOL, int: NUMBER, float: NUMBER, datetime: DATE, date: DATE, time: TIME, timedelta: ELAPSED}


def complete(book: Book, sheet: Sheet, scan: SheetScan, classify: Callable[[str], int]) -> None:
    """Fill what the scan of records left empty; where the values cannot be read, that is noted and nothing else."""
    if not scan.filled or scan.first_cells:
        return
    try:
        rows = book.grid(sheet).rows(1, None, 1, scan.last_column)
        _walk(rows, scan, classify)
    except (FileError, WorkbookProblem):
        scan.not_looked.append(
            f"headers, mixed kinds, numbers and dates kept as text in {sheet.name}: unreadable values"
        )
    finally:
        book.release()


def _walk(rows: Iterator[list[Any]], scan: SheetScan, classify: Callable[[str], int]) -> None:
    scan.text_classes = np.zeros((scan.last_column, 16), np.int64)
    classed: dict[int, list[int]] = {}
    top = (scan.first_row or 1) + HEAD_ROWS
    known: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        for column, value in enumerate(row, 1):
            if value == "":
                continue
            kind = _KIND.get(type(value), TEXT)
            packed = number * COLUMNS + column - 1
            samples = scan.samples.setdefault((column, kind), [])
            if len(samples) < SAMPLES:
                samples.append(packed)
            if number < top:
                text = f"{value:.15g}" if kind == NUMBER else str(value)
                scan.first_cells.append((number, column, kind, b"", text.encode("utf-8", "replace")))
            if kind == TEXT:
                sort = known.get(value)
                if sort is None:
                    sort = classify(value)
                    if len(known) < 100_000:
                        known[value] = sort
                if sort:
                    scan.text_classes[column - 1, sort] += 1
                    classed.setdefault(sort, []).append(packed)
    for sort, positions in classed.items():
        marks = scan.classed.setdefault(sort, Marks(keep=0))
        marks.add(np.asarray(positions, np.int64), lambda _i: "")
