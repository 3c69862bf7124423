"""Hands out the formulas of a binary workbook (.xls, .xlsb) cell by cell, as texts.

A shared or an array formula stands in one record and its cells point to it; each cell gets the text of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from weighbridge.connectors._workbook_package import Package
from weighbridge.connectors._workbook_tokens import Scope, anchor, formula_text

__all__ = ["Cells", "xls_formulas", "xlsb_formulas"]

Found = tuple[int, int, str | None]
"""Row and column (from 1) and the formula without `=`; None where its tokens are not known."""


@dataclass(slots=True)
class Cells:
    """The formula cells of one sheet in their order, and the formulas that several of them share."""

    scope: Scope
    shared: dict[tuple[int, int], bytes] = field(default_factory=dict)
    waiting: list[tuple[int, int, tuple[int, int]]] = field(default_factory=list)
    last: tuple[int, int] = (-1, -1)

    def cell(self, row: int, column: int, tokens: bytes, extra: bytes) -> Iterator[Found]:
        """One formula cell (from 0); nothing where the formula it shares was not seen yet."""
        key = anchor(tokens, extra, wide=self.scope.wide)
        if key is None:
            yield row + 1, column + 1, formula_text(tokens, self.scope, row, column)
            return
        self.last = key
        if key in self.shared:
            yield row + 1, column + 1, formula_text(self.shared[key], self.scope, row, column)
        else:
            self.waiting.append((row, column, key))

    def share(self, tokens: bytes) -> None:
        """The formula that the cell before points to."""
        self.shared[self.last] = tokens

    def rest(self) -> Iterator[Found]:
        """The cells whose formula came behind them; what points nowhere is a data table."""
        for row, column, key in self.waiting:
            tokens = self.shared.get(key)
            text = "TABLE()" if tokens is None else formula_text(tokens, self.scope, row, column)
            yield row + 1, column + 1, text


def xls_formulas(data: bytes, offset: int, scope: Scope) -> Iterator[Found]:
    """The formulas of the sheet whose records begin at `offset` of the workbook stream."""
    from weighbridge.connectors._workbook_biff import sheet_records

    cells = Cells(scope)
    for code, at, length in sheet_records(data, offset):
        try:
            if code == 0x06:
                row, column = struct.unpack_from("<HH", data, at)
                size = struct.unpack_from("<H", data, at + 20)[0]
                yield from cells.cell(row, column, data[at + 22 : at + 22 + size], data[at + 22 + size : at + length])
            elif code in {0x4BC, 0x221}:
                begin = at + (8 if code == 0x4BC else 12)
                size = struct.unpack_from("<H", data, begin)[0]
                cells.share(data[begin + 2 : begin + 2 + size])
        except struct.error:
            return
    yield from cells.rest()


def xlsb_formulas(package: Package, part: str, scope: Scope) -> Iterator[Found]:
    """The formulas of one binary sheet."""
    from weighbridge.connectors._workbook_xlsb import value_end, xlsb_records

    cells, row = Cells(scope), 0
    for code, body in xlsb_records(package, part):
        try:
            if code == 0:
                row = struct.unpack_from("<I", body)[0]
            elif 8 <= code <= 11:
                begin = value_end(code, body) + 2
                tokens, end = _sized(body, begin)
                extra, _ = _sized(body, end)
                yield from cells.cell(row, struct.unpack_from("<I", body)[0], tokens, extra)
            elif code in {426, 427}:
                cells.share(_sized(body, 17 if code == 426 else 16)[0])
        except struct.error:
            continue  # a record cut short by whoever wrote it: the scan of the cells judges the file
    yield from cells.rest()


def _sized(body: bytes, at: int) -> tuple[bytes, int]:
    """Bytes with their number in front, and where they end; none where the record ends before."""
    if at + 4 > len(body):
        return b"", at
    size = struct.unpack_from("<I", body, at)[0]
    return body[at + 4 : at + 4 + size], at + 4 + size
