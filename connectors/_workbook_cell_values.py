"""The values of a worksheet's cells as they stand in its XML, gathered while it is scanned and handed out by rows.

A number is the double that its digits say, a text is what the user sees, a date is one where the cell's format shows
one. Error cells and formulas without a value are blank here: the scan says where those are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from weighbridge.connectors._workbook_chunk import Chunk
from weighbridge.connectors._workbook_package import WorkbookProblem
from weighbridge.connectors._workbook_scan import BOOL, COLUMNS, DATE, ELAPSED, TEXT, TIME, place

__all__ = ["CellValues"]

BLOCK = 2_000
"""Rows that are turned into values at once."""
LAST_DAY = 2_958_466
"""The first day that no calendar of Excel has."""
_DAY = 86_400_000
_OWN = 1 << 40
"""Numbers of texts that stand in the cell itself begin here; shared ones are far below."""
Array = Any


class CellValues:
    """What the cells of one sheet hold, at 17 bytes a cell."""

    def __init__(self, path: Path, sheet: str, shared: Callable[[], Array], *, date1904: bool) -> None:
        self.path, self.sheet, self.last_row = path, sheet, 0
        self._shared, self.date1904 = shared, date1904
        self.clear()

    def clear(self) -> None:
        """Forget all cells."""
        self._chunks: list[tuple[Array, Array, Array]] = []
        self._own: list[str] = []
        self._packed, self._kinds, self._numbers = np.empty(0, np.int64), np.empty(0, np.uint8), np.empty(0)

    # --- gathering -------------------------------------------------------------------------------------------

    def add(self, chunk: Chunk, chosen: Array) -> None:
        """Take the chosen cells of a chunk: filled ones that show no error."""
        if not len(chosen):
            return
        kinds, char = chunk.kind[chosen], chunk.kind_char[chosen]
        numbers = np.zeros(len(chosen))
        shared = (char == 115) & (chunk.kind_second[chosen] == 34)
        own = (kinds == TEXT) & ~shared
        iso = char == 100
        coded = np.flatnonzero(~(own | iso))
        numbers[coded] = self._parsed(chunk, chosen[coded])
        numbers[shared & ~(numbers < _OWN)] = _OWN - 1  # no table is so long: said when the value is asked for
        for i in np.flatnonzero(own).tolist():
            numbers[i] = _OWN + len(self._own)
            self._own.append(chunk.text(int(chosen[i])))
        for i in np.flatnonzero(iso).tolist():
            numbers[i] = self._serial(chunk, int(chosen[i]))
        self._chunks.append((chunk.packed(chosen), kinds, numbers))

    def finish(self, last_row: int) -> None:
        """All cells are there."""
        self.last_row = last_row
        if self._chunks:
            packed, kinds, numbers = (list(parts) for parts in zip(*self._chunks, strict=True))
            self._chunks.clear()
            self._packed, self._kinds, self._numbers = _joined(packed), _joined(kinds), _joined(numbers)
        if (self._packed[1:] < self._packed[:-1]).any():
            order = np.argsort(self._packed, kind="stable")
            self._packed, self._kinds, self._numbers = self._packed[order], self._kinds[order], self._numbers[order]

    def _parsed(self, chunk: Chunk, cells: Array) -> Array:
        """Numbers, truth values and numbers of shared texts."""
        import pyarrow as pa

        at, length = chunk.value_at[cells], chunk.value_end[cells] - chunk.value_at[cells]
        offsets = np.zeros(len(cells) + 1, np.int64)
        np.cumsum(length, out=offsets[1:])
        # the digits of all cells one behind the other, as Arrow keeps texts
        digits = chunk.a[np.repeat(at - offsets[:-1], length) + np.arange(offsets[-1])]
        texts = pa.Array.from_buffers(
            pa.string(), len(cells), [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(digits)]
        )
        try:
            return texts.cast(pa.float64()).to_numpy()
        except pa.ArrowInvalid:
            return np.asarray([self._number(chunk, int(i)) for i in cells])

    def _number(self, chunk: Chunk, i: int) -> float:
        raw = chunk.raw(i).strip()
        if chunk.kind[i] == BOOL and raw in {b"true", b"false"}:
            return float(raw == b"true")
        try:
            return float(raw.replace(b"_", b"?"))
        except ValueError:
            raise self._wrong(chunk, i) from None

    def _serial(self, chunk: Chunk, i: int) -> float:
        """The serial number of a date that is written as a text."""
        try:
            moment = datetime.fromisoformat(chunk.raw(i).decode("ascii", "replace").strip()).replace(tzinfo=None)
        except ValueError:
            raise self._wrong(chunk, i) from None
        return (moment - self._epoch) / timedelta(days=1)

    def _wrong(self, chunk: Chunk, i: int) -> WorkbookProblem:
        where = place(int(chunk.rows[i]), int(chunk.columns[i]))
        return WorkbookProblem(
            f"{self.path}: the values of the sheet {self.sheet} cannot be read: {where} holds "
            f"{chunk.raw(i)[:40].decode('utf-8', 'replace')!r}, which is not of its kind.",
            code="malformed",
            remedy="Open it in Excel, let it repair the file and save it under a new name.",
        )

    @property
    def _epoch(self) -> datetime:
        return datetime.fromisoformat("1904-01-01" if self.date1904 else "1899-12-30")

    # --- handing out -----------------------------------------------------------------------------------------

    def rows(self, first: int, last: int | None, left: int, right: int) -> Iterator[list[Any]]:
        """Values of the rows first..last, columns left..right; blank is ''. Ends at the last used row."""
        stop = self.last_row if last is None else min(last, self.last_row)
        for top in range(first, stop + 1, BLOCK):
            yield from self._block(top, min(top + BLOCK - 1, stop), left, right)

    def _block(self, top: int, bottom: int, left: int, right: int) -> list[list[Any]]:
        low, high = np.searchsorted(self._packed, (top * COLUMNS, (bottom + 1) * COLUMNS)).tolist()
        packed = self._packed[low:high]
        columns = (packed & (COLUMNS - 1)) - (left - 1)
        inside = (columns >= 0) & (columns <= right - left)
        grid = np.full((bottom - top + 1, right - left + 1), "", object)
        values = self._values(self._kinds[low:high], self._numbers[low:high])
        grid[(packed // COLUMNS - top)[inside], columns[inside]] = values[inside]
        return grid.tolist()

    def _values(self, kinds: Array, numbers: Array) -> Array:
        out = numbers.astype(object)
        text = np.flatnonzero(kinds == TEXT)
        if len(text):
            out[text] = self._texts(numbers[text])
        truth = kinds == BOOL
        if truth.any():
            out[truth] = (numbers[truth] != 0).astype(object)
        moment = np.flatnonzero((kinds >= DATE) & (kinds <= TIME))
        if len(moment):
            out[moment] = self._moments(numbers[moment], kinds[moment])
        for i in np.flatnonzero(kinds == ELAPSED).tolist():
            out[i] = timedelta(milliseconds=round(numbers[i] * _DAY)) if abs(numbers[i]) < LAST_DAY else out[i]
        return out

    def _texts(self, numbers: Array) -> Array:
        own = numbers >= _OWN
        if not own.any():
            return self._of_table(numbers.astype(np.int64))
        out = np.empty(len(numbers), object)
        out[own] = [self._own[int(n) - _OWN] for n in numbers[own].tolist()]
        out[~own] = self._of_table(numbers[~own].astype(np.int64))
        return out

    def _of_table(self, numbers: Array) -> Array:
        table = self._shared()
        if len(numbers) and (int(numbers.max()) >= len(table) or int(numbers.min()) < 0):
            raise WorkbookProblem(
                f"{self.path}: the values of the sheet {self.sheet} cannot be read: a cell names the shared text "
                f"{int(numbers.max()):,} of {len(table):,}.",
                code="malformed",
                remedy="Open it in Excel, let it repair the file and save it under a new name.",
            )
        return table[numbers]

    def _moments(self, numbers: Array, kinds: Array) -> Array:
        """Dates, times of day, or both; a number that no calendar has stays a number."""
        out = numbers.astype(object)
        # the calendar of 1900 holds a 29 February, which the days before it are counted without
        shift = 0.0 if self.date1904 else np.where(numbers < 60, 1.0, 0.0)
        good = (numbers >= 0) & (numbers < LAST_DAY - (1462 if self.date1904 else 0))
        ticks = np.rint(np.where(good, numbers + shift, 0) * _DAY).astype(np.int64)
        moments = np.datetime64(self._epoch, "ms") + ticks.astype("timedelta64[ms]")
        whole = numbers == np.floor(numbers)
        clock = (numbers < 1) & ((kinds == TIME) | (not self.date1904))
        days = good & whole & ~clock
        out[days] = moments[days].astype("datetime64[D]").astype(object)
        both = good & ~whole & ~clock
        out[both] = moments[both].astype("datetime64[us]").astype(object)
        for i in np.flatnonzero(good & clock).tolist():
            out[i] = moments[i].astype("datetime64[us]").astype(object).time()
        return out


def _joined(parts: list[Array]) -> Array:
    """The parts as one array; they are let go of at once, for together they are large."""
    whole = np.concatenate(parts)
    parts.clear()
    return whole
