"""The cells of one chunk of a worksheet's XML, found by comparing whole arrays of bytes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from weighbridge.connectors._workbook_package import WorkbookProblem
from weighbridge.connectors._workbook_scan import (
    BOOL,
    COLUMNS,
    DATE,
    DATETIME,
    ELAPSED,
    EMPTY,
    ERROR,
    HEAD_ROWS,
    KINDS,
    MAX_ROW,
    NUMBER,
    SAMPLES,
    TEXT,
    Array,
    Marks,
    pack,
)
from weighbridge.connectors._workbook_xml_text import NotCanonical, unescape

if TYPE_CHECKING:
    from weighbridge.connectors._workbook_cells import Job

__all__ = ["Chunk"]

_BIG_E = re.compile(rb"-?\d(?:\.\d+)?E\+(\d+)")
_RUN = re.compile(rb"<t(?:\s[^>]*)?>([^<]*)</t>")
_PHONETIC = re.compile(rb"<rPh\b.*?</rPh>", re.DOTALL)


def _numbers(a: Array, at: Array, most: int) -> tuple[Array, Array]:
    """The numbers whose digits begin at these places, at most so many digits each, and the places behind them."""
    numbers = np.zeros(len(at), np.int64)
    for _ in range(most):
        byte = a[at]
        digit = (byte >= 48) & (byte <= 57)
        if not digit.any():
            break
        numbers = np.where(digit, numbers * 10 + byte - 48, numbers)
        at = at + digit
    return numbers, at


class Chunk:
    """The cells of one chunk, as arrays in their order."""

    def __init__(self, job: Job, buffer: bytes, a: Array, lt: Array, index: Array) -> None:
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
        samples, wanted = self.scan.samples, []
        for pair in np.flatnonzero(counted).tolist():
            known = samples.setdefault((pair // len(KINDS) + 1, pair % len(KINDS)), [])
            if len(known) < SAMPLES:
                wanted.append((pair, known))
        if not wanted:
            return
        packed = self.packed(np.flatnonzero(filled))
        order = np.argsort(flat, kind="stable")
        ends = np.cumsum(counted)
        for pair, known in wanted:
            begin = int(ends[pair] - counted[pair])
            known.extend(packed[order[begin : min(int(ends[pair]), begin + SAMPLES - len(known))]].tolist())

    def _references(self) -> tuple[Array, Array]:
        """Row and column of each cell, from its `r`."""
        a, at = self.a, self.starts + 6
        columns = np.zeros(len(at), np.int64)
        for _ in range(3):
            byte = a[at]
            letter = (byte >= 65) & (byte <= 90)
            columns = np.where(letter, columns * 26 + byte - 64, columns)
            at = at + letter
        rows, at = _numbers(a, at, 8)
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
            style[owner], _ = _numbers(a, at + 2, 6)
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
