"""Scans the cells of one worksheet's XML for what a reader of values would lose, vectorised over chunks of bytes.

A chunk is looked at as an array of bytes: every cell's place, kind, style and content are found by comparing whole
arrays, so that a sheet of millions of cells costs about as much as inflating it. XML that is not written in the one
way all spreadsheet programs use (attributes in another order, no references, white space between tags) is first
rewritten in that way, slowly but surely.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from weighbridge.connectors._workbook_package import Package, WorkbookProblem

if TYPE_CHECKING:
    from weighbridge.connectors._workbook_cell_values import CellValues

__all__ = [
    "KINDS",
    "Chunk",
    "NotCanonical",
    "SheetScan",
    "column_letters",
    "column_number",
    "place",
    "scan_sheet",
    "unescape",
    "unescaped",
]

EMPTY, NUMBER, DATE, DATETIME, TIME, ELAPSED, BOOL, ERROR, TEXT = range(9)
KINDS = ("empty", "number", "date", "datetime", "time", "elapsed", "bool", "error", "text")
COLUMNS = 16384
MAX_ROW = 1_048_576
MAX_CARRY = 64 << 20
HEAD_ROWS = 60
SAMPLES = 30
Array = Any
"""A numpy array; its element type is said where it matters."""

_ERRORS = {b"#NULL!", b"#DIV/0!", b"#VALUE!", b"#REF!", b"#NAME?", b"#NUM!", b"#N/A", b"#GETTING_DATA", b"#SPILL!"}
_ROW_HIDDEN = re.compile(rb'<row [^>]*?\bhidden="(?:1|true)"')
_ROW_NUMBER = re.compile(rb'\br="(\d+)"')
_BIG_E = re.compile(rb"-?\d(?:\.\d+)?E\+(\d+)")


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
    hidden_columns: list[str] = field(default_factory=list)
    """Letters; of binary formats only, as `merged` and `protected` are: XML says them in head and tail."""
    merged: list[str] = field(default_factory=list)
    protected: bool = False
    rules: int = 0
    """Conditional formats, of binary formats only."""
    not_looked: list[str] = field(default_factory=list)

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


OnFormula = Callable[[int, int, bytes, bytes], None]


def scan_sheet(
    package: Package,
    part: str,
    *,
    styles: Array,
    text_classes: Array | None = None,
    classify: Callable[[str], int] | None = None,
    on_formula: OnFormula | None = None,
    values: CellValues | None = None,
) -> SheetScan:
    """Scan one worksheet part.

    `styles` is the kind (NUMBER, DATE, ...) of each cell format; `text_classes` the class of each shared string,
    `classify` the class of a text that stands in the cell itself. `values` gathers what the cells hold.
    """
    job = _Job(package, part, styles, text_classes, classify, on_formula, values)
    try:
        return job.run(package.chunks(part))
    except NotCanonical:
        from weighbridge.connectors._workbook_canonical import canonical

        if values is not None:
            values.clear()
        job = _Job(package, part, styles, text_classes, classify, on_formula, values)
        return job.run(canonical(package, part))


class NotCanonical(Exception):
    """The XML is not written in the usual way."""


class _Job:
    def __init__(
        self,
        package: Package,
        part: str,
        styles: Array,
        text_classes: Array | None,
        classify: Callable[[str], int] | None,
        on_formula: OnFormula | None,
        values: CellValues | None,
    ) -> None:
        self.values = values
        self.package, self.part = package, part
        self.styles = np.asarray(styles if len(styles) else [NUMBER], np.uint8)
        self.text_classes, self.classify, self.on_formula = text_classes, classify, on_formula
        self.scan = SheetScan(
            kinds=np.zeros((COLUMNS, len(KINDS)), np.int64), text_classes=np.zeros((COLUMNS, 16), np.int64)
        )
        self.flat_kinds = self.scan.kinds.reshape(-1)
        self.flat_classes = self.scan.text_classes.reshape(-1)
        self.width = 0

    def run(self, chunks: Iterator[bytes]) -> SheetScan:
        scan, carry, state = self.scan, b"", "head"
        for chunk in chunks:
            carry = carry + chunk if carry else chunk
            if state == "head":
                state, carry = self._head(carry)
            if state == "cells":
                state, carry = self._cells(carry)
            if len(carry) > MAX_CARRY:
                raise WorkbookProblem(
                    f"{self.package.path}: refused: {self.part} holds one element of more than {MAX_CARRY:,} bytes.",
                    code="hostile",
                    remedy="Ask for the original file and save it again from Excel.",
                )
        if state == "head":
            if b"sheetData" in carry and b"<sheetData/>" not in carry.replace(b" ", b""):
                raise NotCanonical
            scan.head = scan.tail = carry
        elif state == "cells":
            raise WorkbookProblem(
                f"{self.package.path}: not a workbook that can be read: {self.part} ends in the middle of its cells.",
                code="malformed",
                remedy="Copy the file again from its source.",
            )
        else:
            scan.tail = carry
        scan.kinds = scan.kinds[: self.width].copy()
        scan.text_classes = scan.text_classes[: self.width].copy()
        return scan

    def _head(self, text: bytes) -> tuple[str, bytes]:
        at = text.find(b"<sheetData")
        if at < 0:
            if re.search(rb"<\w+:(?:worksheet|sheetData|macrosheet)\b", text[:8192]):
                raise NotCanonical  # every element carries a prefix
            return "head", text
        end = text.find(b">", at)
        if end < 0:
            return "head", text
        self.scan.head = text[:at]
        return ("tail" if text[end - 1 : end] == b"/" else "cells"), text[end + 1 :]

    def _cells(self, text: bytes) -> tuple[str, bytes]:
        end = text.find(b"</sheetData")
        if end >= 0:
            self._chunk(text[:end])
            return "tail", text[end:]
        cut = max(text.rfind(b"<c "), text.rfind(b"<row "))
        if cut > 0:
            self._chunk(text[:cut])
            return "cells", text[cut:]
        return "cells", text

    def _chunk(self, text: bytes) -> None:
        if b'hidden="' in text:
            self._hidden(text)
        at = text.rfind(b"<row ")
        if at >= 0 and (found := _ROW_NUMBER.search(text, at)):
            self.scan.styled_row = max(self.scan.styled_row, int(found[1]))
        buffer = text + b" " * 32
        a = np.frombuffer(buffer, np.uint8)
        lt = np.flatnonzero(a == 60)
        second = a[lt + 1]
        # a comment, CDATA, or a row without attributes; looked for among the tags, for a search of the text costs more
        rows = lt[second == 114]
        if (second == 33).any() or ((a[rows + 2] == 111) & (a[rows + 4] == 62)).any():
            raise NotCanonical
        index = np.flatnonzero(second == 99)
        third = a[lt[index] + 2]
        index = index[(third == 32) | (third == 62) | (third == 47)]
        if len(index) == 0:
            if re.search(rb"<\w+:c[ >]|<c[\t\r\n]", text):
                raise NotCanonical
            return
        Chunk(self, buffer, a, lt, index).run()

    def _hidden(self, text: bytes) -> None:
        for found in _ROW_HIDDEN.finditer(text):
            self.scan.hidden_rows += 1
            if len(self.scan.hidden_row_places) < 20 and (number := _ROW_NUMBER.search(found[0])):
                self.scan.hidden_row_places.append(int(number[1]))


class Chunk:
    """The cells of one chunk, as arrays in their order."""

    def __init__(self, job: _Job, buffer: bytes, a: Array, lt: Array, index: Array) -> None:
        self.job, self.scan, self.buffer, self.a = job, job.scan, buffer, a
        self.lt = np.concatenate([lt, np.full(6, len(a) - 8, lt.dtype)])
        self.index = index
        self.starts = lt[index]
        gt = np.flatnonzero(a == 62)
        self.gt = np.append(gt, len(a) - 8)
        self.ends = self.gt[np.searchsorted(gt, self.starts)]

    def run(self) -> None:
        a, starts, ends, scan, job = self.a, self.starts, self.ends, self.scan, self.job
        if not ((a[starts + 3] == 114) & (a[starts + 4] == 61) & (a[starts + 5] == 34)).all():
            raise NotCanonical
        self_closed = a[ends - 1] == 47
        if not (self_closed | (a[ends + 1] == 60)).all():
            raise NotCanonical
        self.rows, self.columns = self._references()
        kind_char, kind_second, style = self._attributes()
        body = np.where(self_closed, 0, a[ends + 2])
        value_at, value_end, has_formula = self._values(self_closed, body)
        filled = value_end > value_at
        inline = body == 105  # <is>
        is_text = (kind_char == 115) | (kind_char == 105)  # s, str, inlineStr
        filled |= inline & ~self_closed
        limit = len(job.styles) - 1
        kind = job.styles[np.minimum(style, limit)].astype(np.uint8)
        kind[is_text | inline] = TEXT
        kind[kind_char == 98] = BOOL
        kind[kind_char == 101] = ERROR
        kind[kind_char == 100] = DATETIME
        kind[~filled] = EMPTY
        empty_text = has_formula & ~filled & (kind_char == 115) & (kind_second == 116)
        uncached = has_formula & ~filled & ~empty_text
        self.kind, self.kind_char, self.kind_second = kind, kind_char, kind_second
        self.value_at, self.value_end = value_at, value_end

        scan.cells += len(starts)
        present = filled | uncached
        if present.any():
            rows, columns = self.rows[present], self.columns[present]
            scan.filled += int(present.sum())
            scan.last_row = max(scan.last_row, int(rows.max()))
            scan.last_column = max(scan.last_column, int(columns.max()))
            low = int(rows.min())
            scan.first_row = min(scan.first_row or low, low)
            job.width = max(job.width, scan.last_column)
            flat = (self.columns[filled] - 1) * len(KINDS) + kind[filled]
            counted = np.bincount(flat)
            job.flat_kinds[: len(counted)] += counted
            self._sample(filled, flat, counted)
        scan.styled_row = max(scan.styled_row, int(self.rows.max()))
        self._mark(scan.errors, kind == ERROR)
        if uncached.any():
            self._mark_formulas(scan.uncached, uncached)
        self._numbers()
        self._texts(inline & ~self_closed)
        if job.values is not None:
            job.values.add(self, np.flatnonzero(filled & (kind != ERROR)))
        if has_formula.any():
            scan.formulas += int(has_formula.sum())
            if job.on_formula is not None:
                for i in np.flatnonzero(has_formula).tolist():
                    attributes, text = self._formula(i)
                    job.on_formula(int(self.rows[i]), int(self.columns[i]), attributes, text)
        if scan.first_row and int(self.rows[0]) < scan.first_row + HEAD_ROWS:
            self._first_cells(present)

    def _sample(self, filled: Array, flat: Array, counted: Array) -> None:
        """Keep the first cells of every column and kind, to name them where a column mixes kinds."""
        samples = self.scan.samples
        for pair in np.flatnonzero(counted).tolist():
            key = (pair // len(KINDS) + 1, pair % len(KINDS))
            known = samples.setdefault(key, [])
            if len(known) < SAMPLES:
                chosen = np.flatnonzero(filled)[np.flatnonzero(flat == pair)[: SAMPLES - len(known)]]
                known.extend(self.packed(chosen).tolist())

    def _references(self) -> tuple[Array, Array]:
        """Row and column of each cell, from its `r`."""
        a, at = self.a, self.starts + 6
        columns = np.zeros(len(at), np.int64)
        for _ in range(3):
            byte = a[at]
            letter = (byte >= 65) & (byte <= 90)
            columns = np.where(letter, columns * 26 + byte - 64, columns)
            at = at + letter
        rows = np.zeros(len(at), np.int64)
        for _ in range(8):
            byte = a[at]
            digit = (byte >= 48) & (byte <= 57)
            if not digit.any():
                break
            rows = np.where(digit, rows * 10 + byte - 48, rows)
            at = at + digit
        good = (a[at] == 34) & (columns > 0) & (columns <= COLUMNS) & (rows > 0) & (rows <= MAX_ROW)
        if not good.all():
            wrong = int(np.flatnonzero(~good)[0])
            text = self.buffer[int(self.starts[wrong]) : int(self.ends[wrong]) + 1][:80]
            raise WorkbookProblem(
                f"{self.job.package.path}: not a workbook that can be read: {self.job.part} has a cell outside "
                f"every sheet, {text.decode('utf-8', 'replace')}.",
                code="malformed",
                remedy="Open it in Excel, let it repair the file and save it under a new name.",
            )
        return rows, columns

    def _attributes(self) -> tuple[Array, Array, Array]:
        """First and second letter of `t` (0 where absent) and the number in `s` of each cell."""
        a, starts, ends = self.a, self.starts, self.ends
        kind = np.zeros(len(starts), np.uint8)
        second = np.zeros(len(starts), np.uint8)
        style = np.zeros(len(starts), np.int64)
        equals = np.flatnonzero(a == 61)
        equals = equals[a[equals - 2] == 32]
        name = a[equals - 1]
        for letter in (116, 115):
            at = equals[name == letter]
            if not len(at):
                continue
            owner = np.searchsorted(starts, at, side="right") - 1
            inside = (owner >= 0) & (at < ends[owner])
            at, owner = at[inside], owner[inside]
            if letter == 116:
                kind[owner] = a[at + 2]
                second[owner] = a[at + 3]
                continue
            at = at + 2
            number = np.zeros(len(at), np.int64)
            for _ in range(6):
                byte = a[at]
                digit = (byte >= 48) & (byte <= 57)
                if not digit.any():
                    break
                number = np.where(digit, number * 10 + byte - 48, number)
                at = at + digit
            style[owner] = number
        # t="n" is the default; t="str" tells itself from t="s" by its second letter
        kind[kind == 110] = 0
        return kind, second, style

    def _values(self, self_closed: Array, body: Array) -> tuple[Array, Array, Array]:
        """Where each cell's `<v>` text begins and ends (equal: empty), and whether the cell has a formula."""
        a, lt, index = self.a, self.lt, self.index
        has_formula = body == 102
        at = index + 1
        if has_formula.any():
            closing = lt[np.minimum(index + 2, len(lt) - 1)]
            closed = (a[closing + 1] == 47) & (a[closing + 2] == 102)
            at = at + np.where(has_formula, 1 + closed, 0)
        at = np.minimum(at, len(lt) - 2)
        tag = lt[at]
        is_value = ~self_closed & (a[tag + 1] == 118)
        begin = tag + 3
        plain = a[tag + 2] == 62
        if not (plain | ~is_value).all():  # <v/> or <v xml:space="preserve">
            odd = np.flatnonzero(is_value & ~plain)
            close = self.gt[np.searchsorted(self.gt[:-1], tag[odd])]
            begin = begin.copy()
            begin[odd] = close + 1
            is_value[odd[a[close - 1] == 47]] = False
        end = np.where(is_value, lt[at + 1], begin)
        return np.where(is_value, begin, 0), np.where(is_value, end, 0), has_formula

    def packed(self, chosen: Array) -> Array:
        """Positions of the chosen cells."""
        return pack(self.rows[chosen], self.columns[chosen])

    def raw(self, i: int) -> bytes:
        return self.buffer[int(self.value_at[i]) : int(self.value_end[i])]

    def _mark(self, marks: Marks, mask: Array) -> None:
        chosen = np.flatnonzero(mask)
        if len(chosen):
            marks.add(self.packed(chosen), lambda i: self.raw(int(chosen[i])).decode("utf-8", "replace"))

    def _mark_formulas(self, marks: Marks, mask: Array) -> None:
        chosen = np.flatnonzero(mask)

        def text(i: int) -> str:
            return "=" + self._formula(int(chosen[i]))[1].decode("utf-8", "replace")[:200]

        marks.add(self.packed(chosen), text)

    def _formula(self, i: int) -> tuple[bytes, bytes]:
        """Attributes and text of the i-th cell's formula."""
        tag = int(self.lt[self.index[i] + 1])
        end = self.buffer.find(b">", tag)
        attributes = self.buffer[tag + 2 : end]
        if attributes.endswith(b"/"):
            return attributes[:-1], b""
        return attributes, self.buffer[end + 1 : self.buffer.find(b"<", end)]

    def _numbers(self) -> None:
        """Whole numbers of more than 15 digits, and dates that the calendar does not have."""
        a, kind, scan = self.a, self.kind, self.scan
        numeric = (kind >= NUMBER) & (kind <= ELAPSED) & (self.kind_char == 0)
        length = self.value_end - self.value_at
        chosen = np.flatnonzero(numeric & (length >= 16))
        if len(chosen):
            at = self.value_at[chosen]
            at = at + (a[at] == 45)
            digits = a[at[:, None] + np.arange(16)]
            whole = ((digits >= 48) & (digits <= 57)).all(axis=1)
            kept = [i for i in chosen[whole].tolist() if self.raw(i).lstrip(b"-").isdigit()]
            if kept:
                scan.long_numbers.add(
                    self.packed(np.asarray(kept)), lambda n: self.raw(kept[n]).decode("ascii", "replace")
                )
        if b"E+" in self.buffer:
            self._exponents(numeric)
        dated = numeric & (kind >= DATE) & (kind <= DATETIME)
        if dated.any():
            at = np.minimum(self.value_at, len(a) - 3)
            odd = a[at] == 45
            if self.job.values is not None and not self.job.values.date1904:
                # 60 is 29 February 1900
                odd |= (a[at] == 54) & (a[at + 1] == 48) & ((a[at + 2] == 60) | (a[at + 2] == 46))
            self._mark(scan.no_dates, dated & odd)

    def _exponents(self, numeric: Array) -> None:
        """Numbers of 10^15 and more in scientific notation: Excel's own way to write an id it has cut."""
        chosen = numeric & (self.value_end - self.value_at >= 5)
        kept = []
        for i in np.flatnonzero(chosen & (self.a[np.maximum(self.value_end - 4, 0)] == 69)).tolist():
            found = _BIG_E.fullmatch(self.raw(i))
            if found and 15 <= int(found[1]) <= 30:
                kept.append(i)
        if kept:
            self.scan.long_numbers.add(
                self.packed(np.asarray(kept)), lambda n: self.raw(kept[n]).decode("ascii", "replace")
            )

    def _texts(self, inline: Array) -> None:
        """Class the texts: shared ones by their number, others one by one."""
        job, scan = self.job, self.scan
        scan.inline += int(inline.sum())
        if job.text_classes is None:
            return
        shared = np.flatnonzero((self.kind == TEXT) & (self.kind_char == 115) & (self.kind_second == 34))
        if len(shared) and job.text_classes.any():
            at, number = self.value_at[shared], np.zeros(len(shared), np.int64)
            for _ in range(9):
                byte = self.a[at]
                digit = (byte >= 48) & (byte <= 57)
                if not digit.any():
                    break
                number = np.where(digit, number * 10 + byte - 48, number)
                at = at + digit
            number = np.minimum(number, len(job.text_classes) - 1)
            self._class(shared, job.text_classes[number])
        if job.classify is not None:
            own = np.flatnonzero((self.kind == TEXT) & ((self.kind_second != 34) | (self.kind_char != 115)))
            if len(own):
                classes = [job.classify(self.text(int(i))) for i in own]
                self._class(own, np.asarray(classes, np.uint8))

    def text(self, i: int) -> str:
        """The text that stands in the i-th cell itself (t="str" or inline), unescaped."""
        if self.value_end[i] > self.value_at[i]:
            return unescape(self.raw(i))
        begin = int(self.ends[i]) + 1
        end = self.buffer.find(b"</is>", begin)
        body = self.buffer[begin:end]
        return unescape(b"".join(_RUN.findall(_PHONETIC.sub(b"", body) if b"<rPh" in body else body)))

    def _class(self, cells: Array, classes: Array) -> None:
        marked = classes != 0
        if not marked.any():
            return
        cells, classes = cells[marked], classes[marked].astype(np.int64)
        counted = np.bincount((self.columns[cells] - 1) * 16 + classes)
        self.job.flat_classes[: len(counted)] += counted
        for number in np.unique(classes).tolist():
            marks = self.scan.classed.setdefault(number, Marks(keep=0))
            if len(marks) < 5000:  # places shown are 20 a code; enough for every column to have some
                marks.add(self.packed(cells[classes == number][:5000]), lambda _i: "")

    def _first_cells(self, present: Array) -> None:
        scan = self.scan
        near = np.flatnonzero(present & (self.rows < scan.first_row + HEAD_ROWS))
        for i in near.tolist():
            if len(scan.first_cells) >= 20_000:
                break
            char = bytes([int(self.kind_char[i])]) if self.kind_char[i] else b""
            if self.kind[i] == TEXT and not (char == b"s" and self.kind_second[i] == 34):
                char, raw = b"i", self.text(i).encode()
            else:
                raw = self.raw(i)
            scan.first_cells.append((int(self.rows[i]), int(self.columns[i]), int(self.kind[i]), char, raw))


_RUN = re.compile(rb"<t(?:\s[^>]*)?>([^<]*)</t>")
_PHONETIC = re.compile(rb"<rPh\b.*?</rPh>", re.DOTALL)
_ENTITY = re.compile(r"&(#x[0-9A-Fa-f]+|#\d+|amp|lt|gt|quot|apos);")
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")


def unescape(raw: bytes) -> str:
    """XML text as the user sees it."""
    return unescaped(raw.decode("utf-8", "replace"))


def unescaped(text: str) -> str:
    """XML text as the user sees it."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "&" in text:
        text = _ENTITY.sub(_character, text)
    if "_x" in text:
        text = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    return text


def _character(found: re.Match[str]) -> str:
    name = found[1]
    if name[0] != "#":
        return _NAMED[name]
    number = int(f"0{name[1:]}", 0) if name[1] == "x" else int(name[1:])
    return chr(number) if number < 0x110000 else "\ufffd"
