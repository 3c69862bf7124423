"""Writes a formula of Excel's binary formats (.xls, .xlsb) as the text a person would see, from its parsed tokens.

The formats keep a formula as a stack of tokens ([MS-XLS] 2.5.198, [MS-XLSB] 2.5.97); both use the same tokens, of
different widths. What has no text, such as an array constant's values, is written as a placeholder.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from weighbridge.connectors._workbook_functions import ARGUMENTS, FUNCTIONS, USER_DEFINED
from weighbridge.connectors._workbook_scan import place

__all__ = ["ERROR_TEXT", "Linked", "Scope", "anchor", "formula_text"]

ERROR_TEXT = {
    0x00: "#NULL!",
    0x07: "#DIV/0!",
    0x0F: "#VALUE!",
    0x17: "#REF!",
    0x1D: "#NAME?",
    0x24: "#NUM!",
    0x2A: "#N/A",
    0x2B: "#GETTING_DATA",
}
_BINARY = dict(enumerate(("+", "-", "*", "/", "^", "&", "<", "<=", "=", ">=", ">", "<>", " ", ",", ":"), 3))
_COLUMN_MOVES, _ROW_MOVES = 0x4000, 0x8000


@dataclass(slots=True)
class Linked:
    """Another book that formulas refer to, or this one (`own`)."""

    own: bool = False
    sheets: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    addin: bool = False


@dataclass(slots=True)
class Scope:
    """What the tokens of one workbook refer to by number."""

    wide: bool
    """Tokens of .xlsb; those of .xls are narrow."""
    sheets: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    books: list[Linked] = field(default_factory=list)
    places: list[tuple[int, int, int]] = field(default_factory=list)
    """(book, first sheet, last sheet) by number."""

    @property
    def rows(self) -> int:
        return 1_048_576 if self.wide else 65_536

    @property
    def columns(self) -> int:
        return 16_384 if self.wide else 256

    def prefix(self, number: int) -> str:
        """`Sheet1!`, `'My sheet:Other'!`, `[2]Sheet1!`, or `#REF!` where the sheet is gone."""
        if not 0 <= number < len(self.places):
            return "#REF!"
        book, first, last = self.places[number]
        linked = self.books[book] if 0 <= book < len(self.books) else Linked()
        sheets = self.sheets if linked.own else linked.sheets
        outside = "" if linked.own else f"[{1 + sum(not b.own and not b.addin for b in self.books[:book])}]"
        if first == -2:
            return f"{outside}!" if outside else ""
        if first < 0:
            return "#REF!"
        ends = [sheets[i] if 0 <= i < len(sheets) else f"sheet {i + 1}" for i in dict.fromkeys((first, last))]
        name = outside + ":".join(ends)
        plain = all(c.isalnum() or c in "_." for c in name.replace(outside, "", 1)) and not name[:1].isdigit()
        return f"{name}!" if plain else f"'{name.replace(chr(39), chr(39) * 2)}'!"


class _Unknown(Exception):
    """A token of a kind that is not known: where the next one begins cannot be told."""


def anchor(tokens: bytes, extra: bytes, *, wide: bool) -> tuple[int, int] | None:
    """Row and column (from 0) of the cell whose shared or array formula this one is; None for a formula of its own."""
    if tokens[:1] not in {b"\x01", b"\x02"}:
        return None
    if wide:
        return struct.unpack_from("<I", tokens, 1)[0], struct.unpack_from("<I", extra)[0]
    return struct.unpack_from("<HH", tokens, 1)


def formula_text(tokens: bytes, scope: Scope, row: int = 0, column: int = 0) -> str | None:
    """The formula of the cell in `row` and `column` (from 0), without `=`; None where a token is not known."""
    try:
        return _Reader(tokens, scope, row, column).run()
    except (_Unknown, struct.error, IndexError):
        return None


class _Reader:
    def __init__(self, tokens: bytes, scope: Scope, row: int, column: int) -> None:
        self.tokens, self.scope, self.row, self.column = tokens, scope, row, column
        self.at = 0
        self.stack: list[str] = []

    def run(self) -> str:
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            self.at += 1
            self._token(token if token < 0x20 else token & 0x1F | 0x20)
        if len(self.stack) != 1:
            raise _Unknown
        return self.stack[0]

    def _take(self, form: str) -> tuple[int, ...]:
        found = struct.unpack_from(f"<{form}", self.tokens, self.at)
        self.at += struct.calcsize(f"<{form}")
        return found

    def _skip(self, size: int) -> None:
        if self.at + size > len(self.tokens):
            raise _Unknown
        self.at += size

    def _arguments(self, count: int) -> list[str]:
        if count > len(self.stack):
            raise _Unknown
        found = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return found

    def _token(self, token: int) -> None:
        stack = self.stack
        if token in _BINARY:
            left, right = self._arguments(2)
            stack.append(left + _BINARY[token] + right)
        elif token in {0x12, 0x13}:
            stack.append("+-"[token - 0x12] + stack.pop())
        elif token == 0x14:
            stack.append(stack.pop() + "%")
        elif token == 0x15:
            stack.append(f"({stack.pop()})")
        elif token in _CONSTANTS or token == 0x17:
            stack.append(self._constant(token))
        elif token == 0x19:
            self._attribute()
        elif token in {0x21, 0x22}:
            self._function(token)
        elif token in {0x26, 0x27, 0x28}:
            self._skip(6)
        elif token in {0x29, 0x2E, 0x2F}:
            self._skip(2)
        elif token == 0x18:
            self._extended()
        else:
            stack.append(self._reference(token))

    def _constant(self, token: int) -> str:
        if token == 0x17:
            return self._string()
        if token == 0x16:
            return ""
        (value,) = self._take(_CONSTANTS[token])
        if token == 0x1C:
            return ERROR_TEXT.get(value, "#ERROR")
        if token == 0x1D:
            return "TRUE" if value else "FALSE"
        return f"{value:.15g}" if token == 0x1F else str(value)

    def _string(self) -> str:
        if self.scope.wide:
            (length,) = self._take("H")
            wide = 1
        else:
            length, wide = self._take("BB")
        size = length * (2 if wide & 1 else 1)
        raw = self.tokens[self.at : self.at + size]
        self._skip(size)
        text = raw.decode("utf-16-le" if wide & 1 else "latin-1", "replace")
        return '"' + text.replace('"', '""') + '"'

    def _attribute(self) -> None:
        kind, data = self._take("BH")
        if kind & 0x04:  # the jumps of a CHOOSE
            self._skip(2 * (data + 1))
        elif kind & 0x10:
            self.stack.append(f"SUM({self.stack.pop()})")

    def _function(self, token: int) -> None:
        if token == 0x21:
            (number,) = self._take("H")
            if number not in ARGUMENTS:
                raise _Unknown
            count = ARGUMENTS[number]
        else:
            count, number = self._take("BH")
            count &= 0x7F
        arguments = self._arguments(count)
        if number == USER_DEFINED and arguments:
            name = arguments.pop(0).rpartition("!")[2]
        elif number & 0x8000:
            name = f"COMMAND.{number & 0x7FFF}"
        else:
            name = FUNCTIONS[number] if number < len(FUNCTIONS) else f"FUNCTION.{number}"
        self.stack.append(f"{name}({','.join(arguments)})")

    def _extended(self) -> None:
        (kind,) = self._take("B")
        if self.scope.wide:
            if kind != 0x19:
                raise _Unknown
            self._skip(12)
            self.stack.append("a table's column")
        else:
            self._skip(4)
            if kind not in {1, 2, 3, 6, 7, 10, 11, 13, 14, 15, 16, 29}:
                raise _Unknown
            if kind not in {10, 11, 13, 29}:
                self.stack.append("a label")

    def _reference(self, token: int) -> str:
        wide = self.scope.wide
        row = "I" if wide else "H"
        if token == 0x20:
            self._skip(14 if wide else 7)
            return "{...}"
        if token == 0x23:
            (number,) = self._take("I")
            return self._name(self.scope.names, number - 1)
        if token == 0x39:
            place_number, number = self._take("HI")
            return self._outer_name(place_number, number - 1)
        if token in {0x24, 0x2C}:
            return self._cell(*self._take(f"{row}H"), moved=token == 0x2C)
        if token in {0x25, 0x2D}:
            top, bottom, left, right = self._take(f"{row}{row}HH")
            moved = token == 0x2D
            return f"{self._cell(top, left, moved=moved)}:{self._cell(bottom, right, moved=moved)}"
        if token in {0x2A, 0x2B}:
            self._skip(struct.calcsize(f"<{row}H" if token == 0x2A else f"<{row}{row}HH"))
            return "#REF!"
        if token == 0x3A:
            number, line, column = self._take(f"H{row}H")
            return self.scope.prefix(number) + self._cell(line, column, moved=False)
        if token == 0x3B:
            number, top, bottom, left, right = self._take(f"H{row}{row}HH")
            area = f"{self._cell(top, left, moved=False)}:{self._cell(bottom, right, moved=False)}"
            return self.scope.prefix(number) + area
        if token in {0x3C, 0x3D}:
            number = self._take("H")[0]
            self._skip(struct.calcsize(f"<{row}H" if token == 0x3C else f"<{row}{row}HH"))
            return self.scope.prefix(number).removesuffix("#REF!") + "#REF!"
        raise _Unknown

    def _cell(self, row: int, column: int, *, moved: bool) -> str:
        """A reference; `moved` where it is written as a distance from the formula's own cell."""
        row_moves, column_moves = bool(column & _ROW_MOVES), bool(column & _COLUMN_MOVES)
        column &= 0x3FFF
        if moved and row_moves:
            row += self.row
        if moved and column_moves:
            column += self.column
        row, column = row % self.scope.rows, column % self.scope.columns
        letters = place(1, column + 1)[:-1]
        return f"{'' if column_moves else '$'}{letters}{'' if row_moves else '$'}{row + 1}"

    @staticmethod
    def _name(names: Sequence[str], number: int) -> str:
        return names[number] if 0 <= number < len(names) else f"name {number + 1}"

    def _outer_name(self, number: int, index: int) -> str:
        scope = self.scope
        book = scope.places[number][0] if number < len(scope.places) else -1
        linked = scope.books[book] if 0 <= book < len(scope.books) else Linked()
        if linked.own:
            return self._name(scope.names, index)
        if linked.addin:
            return self._name(linked.names, index)
        return f"{scope.prefix(number).rpartition(']')[0]}]!{self._name(linked.names, index)}".lstrip("'")


_CONSTANTS = {0x16: "", 0x1C: "B", 0x1D: "B", 0x1E: "H", 0x1F: "d"}
