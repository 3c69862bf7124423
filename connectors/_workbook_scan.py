"""What the scan of one worksheet finds, and the places of its cells: whatever format the cells came from."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = [
    "BOOL",
    "COLUMNS",
    "DATE",
    "DATETIME",
    "ELAPSED",
    "EMPTY",
    "ERROR",
    "HEAD_ROWS",
    "KINDS",
    "MAX_ROW",
    "NUMBER",
    "SAMPLES",
    "TEXT",
    "TIME",
    "Array",
    "Marks",
    "SheetScan",
    "column_letters",
    "column_number",
    "pack",
    "place",
]

EMPTY, NUMBER, DATE, DATETIME, TIME, ELAPSED, BOOL, ERROR, TEXT = range(9)
KINDS = ("empty", "number", "date", "datetime", "time", "elapsed", "bool", "error", "text")
COLUMNS = 16384
MAX_ROW = 1_048_576
HEAD_ROWS = 60
SAMPLES = 30
Array = Any
"""A numpy array; its element type is said where it matters."""


def column_letters(number: int) -> str:
    """1 -> A, 27 -> AA."""
    text = ""
    while number > 0:
        number, rest = divmod(number - 1, 26)
        text = chr(65 + rest) + text
    return text


def column_number(letters: str) -> int:
    """A -> 1, AA -> 27."""
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - 64
    return number


def place(row: int, column: int) -> str:
    """(3, 2) -> B3."""
    return f"{column_letters(column)}{row}"


@dataclass(slots=True)
class Marks:
    """Cells of one sort: their packed positions (row x 16384 + column) and, kept up to a number, their raw text."""

    positions: list[Array] = field(default_factory=list)
    raw: dict[int, str] = field(default_factory=dict)
    keep: int = 1000

    def add(self, packed: Array, texts: Callable[[int], str]) -> None:
        """`texts(i)` gives the raw text of the i-th of `packed`; asked for while there is room."""
        if len(packed) == 0:
            return
        self.positions.append(packed)
        for i in range(min(len(packed), max(0, self.keep - len(self.raw)))):
            self.raw[int(packed[i])] = texts(i)

    @property
    def packed(self) -> Array:
        """All positions, ascending (int64)."""
        if len(self.positions) != 1:
            self.positions = [np.sort(np.concatenate(self.positions))] if self.positions else []
        return self.positions[0] if self.positions else np.empty(0, np.int64)

    def __len__(self) -> int:
        return sum(len(p) for p in self.positions)

    def places(self, limit: int = 20) -> list[str]:
        return [place(int(p) // COLUMNS, int(p) % COLUMNS + 1) for p in self.packed[:limit]]


def pack(rows: Array, columns: Array) -> Array:
    """Rows and columns (from 1) as one number that sorts like reading order."""
    return rows.astype(np.int64) * COLUMNS + columns.astype(np.int64) - 1


@dataclass(slots=True)
class SheetScan:
    """What one worksheet holds."""

    cells: int = 0
    filled: int = 0
    last_row: int = 0
    """Last row with a value, 0 where there is none; `last_column` alike."""
    last_column: int = 0
    first_row: int = 0
    styled_row: int = 0
    """Last row that is written at all, empty or not."""
    kinds: Array = field(default_factory=lambda: np.zeros((0, len(KINDS)), np.int64))
    """Filled cells by column (from 0) and kind."""
    text_classes: Array = field(default_factory=lambda: np.zeros((0, 256), np.int64))
    """Text cells by column (from 0) and class of `_workbook_text`."""
    errors: Marks = field(default_factory=Marks)
    uncached: Marks = field(default_factory=Marks)
    long_numbers: Marks = field(default_factory=lambda: Marks(keep=1 << 62))
    no_dates: Marks = field(default_factory=Marks)
    """Cells that are formatted as dates and hold a number that is none: negative, or 29 February 1900."""
    samples: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    """The first packed positions by column (from 1) and kind."""
    classed: dict[int, Marks] = field(default_factory=dict)
    """Text cells by class, class 0 left out."""
    inline: int = 0
    formulas: int = 0
    hidden_rows: int = 0
    hidden_row_places: list[int] = field(default_factory=list)
    head: bytes = b""
    """XML before the cells: views, dimension, columns."""
    tail: bytes = b""
    """XML after the cells: merges, protection, tables."""
    first_cells: list[tuple[int, int, int, bytes, bytes]] = field(default_factory=list)
    """(row, column, kind, type attribute, raw) of the first rows."""
    hidden_columns: list[tuple[int, int]] = field(default_factory=list)
    """First and last (from 1); of binary formats only, as `merges` and `protected` are: XML says them in head and
    tail."""
    merges: array[int] = field(default_factory=lambda: array("I"))
    """Top, left, bottom, right (from 1) one behind the other: there may be a million."""
    protected: bool = False
    rules: int = 0
    """Conditional formats, of binary formats only."""
    not_looked: list[str] = field(default_factory=list)

    def merged(self) -> Iterator[tuple[int, str]]:
        """First row and reference of each merged area of a binary format."""
        four = self.merges
        for i in range(0, len(four) - 3, 4):
            yield four[i], f"{place(four[i], four[i + 1])}:{place(four[i + 2], four[i + 3])}"

    def counts(self, column: int) -> dict[str, int]:
        """Filled cells of a column (from 1) by kind."""
        if column > len(self.kinds):
            return {}
        return {KINDS[k]: int(n) for k, n in enumerate(self.kinds[column - 1]) if n}

    def empty(self, column: int) -> bool:
        """Whether a column (from 1) holds neither values nor formulas without a value."""
        if self.counts(column):
            return False
        return not (self.uncached.packed % COLUMNS == column - 1).any()
