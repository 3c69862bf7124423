"""The cells, columns, rows and names that a formula's text refers to, found in one pass whatever the text is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from weighbridge.connectors._workbook_scan import column_number

__all__ = ["End", "Named", "Reference", "pieces"]

# Each alternative takes all it has looked at or leaves it to the next, so that the time grows with the text only: the
# quantifiers give nothing back, and what is no reference is consumed as a word.
_TOKEN = re.compile(
    r'"[^"]*"'
    r"|(?P<sheet>(?:'[^']*+(?:''[^']*+)*+'|(?:\[[^\[\]]*+\])?+[\w.]++)!)"
    r"|'[^']*+(?:''[^']*+)*+'"
    r"|\[[^\[\]]*+\]"
    r"|(?P<word>[\w.$\\]++)"
)
_WORD = re.compile(r"[\w.$\\]++")
_CELL = re.compile(r"(\$?)([A-Za-z]{1,3})(\$?)([0-9]{1,7})")
_COLUMN = re.compile(r"(\$?)([A-Za-z]{1,3})")
_ROW = re.compile(r"(\$?)([0-9]{1,7})")
_NAME = re.compile(r"[^\W\d][\w.]*|\\[\w.]*")


@dataclass(frozen=True, slots=True)
class End:
    """A corner of a reference; no row (0) of a whole column, no column of a whole row."""

    row: int
    column: int
    fixed_row: bool
    fixed_column: bool


@dataclass(frozen=True, slots=True)
class Reference:
    """Where it stands in the text (behind its sheet), the sheet as written without `!`, and its corners."""

    begin: int
    end: int
    sheet: str
    first: End
    last: End
    is_range: bool


@dataclass(frozen=True, slots=True)
class Named:
    """A word that may be a defined name."""

    name: str


def pieces(text: str) -> Iterator[Reference | Named]:
    """References and words of a formula, outside its texts; spans of several sheets are left out."""
    sheet, sheet_begin, sheet_end, done = "", -1, -1, 0
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup
        if kind == "sheet":
            sheet, sheet_begin, sheet_end = found[0][:-1], found.start(), found.end()
            continue
        begin, end = found.span()
        if kind != "word" or begin < done:
            continue
        prefixed = sheet_end == begin
        before = text[(sheet_begin if prefixed else begin) - 1 :][:1] if begin else ""
        after = text[end : end + 1]
        if before in {":", "!"} or after in {"(", "["}:
            continue
        second = _WORD.match(text, end + 1) if after == ":" else None
        if second is not None and text[second.end() : second.end() + 1] in {"(", "!", "["}:
            second = None
        one = _reference(found[0], second[0] if second else None)
        if one is not None:
            first, last = one
            done = second.end() if second and last else end
            yield Reference(begin, done, sheet if prefixed else "", first, last or first, last is not None)
        elif not prefixed and _NAME.fullmatch(found[0]):
            yield Named(found[0])


def _reference(word: str, second: str | None) -> tuple[End, End | None] | None:
    if len(word) > 12:
        return None
    for form in (_cell, _column, _row):
        first = form(word)
        if first is None:
            continue
        last = form(second) if second and len(second) <= 12 else None
        if last is not None or form is _cell:
            return first, last
    return None


def _cell(word: str) -> End | None:
    found = _CELL.fullmatch(word)
    return found and End(int(found[4]), column_number(found[2]), bool(found[3]), bool(found[1]))


def _column(word: str) -> End | None:
    found = _COLUMN.fullmatch(word)
    return found and End(0, column_number(found[2]), False, bool(found[1]))


def _row(word: str) -> End | None:
    found = _ROW.fullmatch(word)
    return found and End(int(found[2]), 0, bool(found[1]), False)
