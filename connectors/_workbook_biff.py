"""Reads the records of a legacy .xls (BIFF8): sheets, names, and what its cells hold that values would lose.

Looked at: sheet states, macro sheets, date system, protection, external books, names, merges, hidden rows and
columns, cell kinds, error cells, conditional formats; formulas by `_workbook_binary_formulas`, queries and pivot caches
by `_workbook_biff_feeds`. Tables the format has none.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from weighbridge.connectors._workbook_biff_feeds import BiffFeeds, book_path
from weighbridge.connectors._workbook_package import Package, WorkbookProblem
from weighbridge.connectors._workbook_parts import Name, Parts, Sheet, number_kind
from weighbridge.connectors._workbook_scan import (
    BOOL,
    COLUMNS,
    DATE,
    DATETIME,
    EMPTY,
    ERROR,
    KINDS,
    TEXT,
    SheetScan,
)
from weighbridge.connectors._workbook_tokens import ERROR_TEXT, Linked, Scope, formula_text

__all__ = ["is_long", "is_no_date", "ole_streams", "read_xls", "rk_number", "sheet_records", "workbook_stream"]

MAX_STREAM = 512 << 20
_SHEET_KINDS = {0: "worksheet", 1: "macrosheet", 2: "chartsheet", 6: "module"}
_STATES = ("visible", "hidden", "veryHidden", "veryHidden")
_BUILT_IN = (
    "Consolidate_Area", "Auto_Open", "Auto_Close", "Extract", "Database", "Criteria", "Print_Area", "Print_Titles",
    "Recorder", "Data_Form", "Auto_Activate", "Auto_Deactivate", "Sheet_Title", "_FilterDatabase",
)  # fmt: skip


def _ole(package: Package) -> Any:
    import olefile

    if package.data is not None:
        return olefile.OleFileIO(io.BytesIO(package.data))
    return olefile.OleFileIO(str(package.path))


def ole_streams(package: Package) -> list[str]:
    """Storages and streams of the compound file, joined by slashes."""
    with _ole(package) as ole:
        return ["/".join(entry) for entry in ole.listdir(streams=True, storages=True)]


def workbook_stream(package: Package) -> bytes:
    """All records of the workbook."""
    try:
        with _ole(package) as ole:
            if ole.get_size("Workbook") > MAX_STREAM:
                raise WorkbookProblem(
                    f"{package.path}: refused: its workbook stream says it has {ole.get_size('Workbook'):,} bytes.",
                    code="hostile",
                    remedy="Ask for the original file.",
                )
            return ole.openstream("Workbook").read()
    except (OSError, ValueError, IndexError, struct.error, TypeError, AttributeError) as error:
        raise _damaged(package, str(error)) from None


def _damaged(package: Package, why: str) -> WorkbookProblem:
    return WorkbookProblem(
        f"{package.path}: not a workbook that can be read: its records are damaged or truncated ({why}).",
        code="malformed",
        remedy="Open it in Excel, let it repair the file and save it as .xlsx.",
    )


def _records(data: bytes, at: int = 0) -> Iterator[tuple[int, int, int]]:
    """(code, where its body begins, length) of each record from `at` on."""
    size = len(data)
    while at + 4 <= size:
        code, length = data[at] | data[at + 1] << 8, data[at + 2] | data[at + 3] << 8
        at += 4
        if at + length > size:
            return
        yield code, at, length
        at += length


def sheet_records(data: bytes, offset: int) -> Iterator[tuple[int, int, int]]:
    """The records of one sheet; those of charts inside it are left out."""
    depth = 0
    for code, at, length in _records(data, offset):
        if code == 0x809:
            depth += 1
        elif code == 0x0A:
            depth -= 1
            if depth <= 0:
                break
        elif depth == 1:
            yield code, at, length


def read_xls(package: Package) -> tuple[Parts, dict[str, SheetScan]]:
    """The workbook's description and the scan of every sheet, by name."""
    data = workbook_stream(package)
    try:
        if len(data) < 8 or data[0] | data[1] << 8 != 0x809:
            raise _damaged(package, "it does not begin with a workbook record")
        found = _Globals()
        for code, at, length in _records(data):
            if code == 0x0A:  # end of the globals
                break
            found.record(code, data[at : at + length])
        parts = found.finish()
        styles = np.asarray(found.kinds or [1], np.uint8)
        feeds = found.feeds
        scans = {}
        for sheet in parts.sheets:
            scan = _Sheet(data, int(sheet.part), styles, parts, sheet.name, feeds).run()
            if sheet.kind == "worksheet":
                scans[sheet.name] = scan
    except (struct.error, IndexError, ValueError, UnicodeDecodeError) as error:
        raise _damaged(package, str(error)) from None
    parts.cell_formats = len(found.kinds)
    parts.connections, parts.queries, parts.pivots = feeds.connections, feeds.queries, feeds.pivots
    return parts, scans


class _Globals:
    """One pass over the records that describe the workbook."""

    def __init__(self) -> None:
        self.parts = Parts(workbook="Workbook", scope=Scope(wide=False))
        self.kinds: list[int] = []
        self.feeds = BiffFeeds()
        self._formats: dict[int, str] = {}
        self._names: list[bytes] = []

    @property
    def scope(self) -> Scope:
        assert self.parts.scope is not None  # noqa: S101 - made above
        return self.parts.scope

    def record(self, code: int, body: bytes) -> None:
        """Take one record."""
        parts, scope = self.parts, self.scope
        if code == 0x85:
            offset, state, kind = struct.unpack_from("<IBB", body)
            name = _text(body, 7, body[6])
            scope.sheets.append(name)
            kind_word = _SHEET_KINDS.get(kind, "worksheet")
            if kind_word != "module":
                parts.sheets.append(Sheet(name, _STATES[state & 3], kind_word, str(offset), len(scope.sheets) - 1))
        elif code == 0x22:
            parts.date1904 = body[:2] == b"\x01\x00"
        elif code == 0x12 and body[:1] == b"\x01":
            parts.protected.append("workbook")
        elif code == 0x41E:
            number, length = struct.unpack_from("<HH", body)
            self._formats[number] = _text(body, 4, length)
        elif code == 0xE0:
            number = struct.unpack_from("<H", body, 2)[0]
            self.kinds.append(number_kind(self._formats.get(number, ""), number))
        elif not self.feeds.record(code, body):
            self._reference(code, body)

    def _reference(self, code: int, body: bytes) -> None:
        """Records that formulas refer to by number."""
        scope = self.scope
        if code == 0x1AE:
            sheets, kind = struct.unpack_from("<HH", body)
            linked = Linked(own=kind == 0x0401, addin=kind == 0x3A01)
            scope.books.append(linked)
            if not linked.own and not linked.addin:
                if path := book_path(_text(body, 4, kind)).strip():
                    self.parts.external.append(path)
                linked.sheets = _texts(body, 5 + kind * (2 if body[4] & 1 else 1), sheets)
        elif code == 0x23 and scope.books:
            scope.books[-1].names.append(_text(body, 7, body[6]))
        elif code == 0x17:
            for i in range(struct.unpack_from("<H", body)[0]):
                if 8 + 6 * i <= len(body):
                    scope.places.append(struct.unpack_from("<Hhh", body, 2 + 6 * i))
        elif code == 0x18:
            self._names.append(body)
            scope.names.append(_name_of(body))

    def finish(self) -> Parts:
        """The description; names are written out last, for they refer to what comes behind them."""
        self.parts.names = [_name(body, self.scope) for body in self._names]
        return self.parts


def _text(body: bytes, at: int, length: int) -> str:
    """A string of `length` characters whose flag byte stands at `at`."""
    if body[at] & 1:
        return body[at + 1 : at + 1 + 2 * length].decode("utf-16-le", "replace")
    return body[at + 1 : at + 1 + length].decode("latin-1")


def _texts(body: bytes, at: int, count: int) -> list[str]:
    """Strings one behind the other, each with its length in front."""
    out: list[str] = []
    for _ in range(count):
        if at + 3 > len(body):
            break
        length, wide = struct.unpack_from("<HB", body, at)
        out.append(_text(body, at + 2, length))
        at += 3 + length * (2 if wide & 1 else 1)
    return out


def _name_of(body: bytes) -> str:
    if body[0] & 0x20:
        return f"_xlnm.{_BUILT_IN[body[15]]}" if body[15] < len(_BUILT_IN) else f"built-in {body[15]}"
    return _text(body, 14, body[3])


def _name(body: bytes, scope: Scope) -> Name:
    flags, _, length, size = struct.unpack_from("<HBBH", body)
    index = struct.unpack_from("<H", body, 8)[0]
    formula = body[15 + length * (2 if body[14] & 1 else 1) :][:size]
    sheet = scope.sheets[index - 1] if 0 < index <= len(scope.sheets) else None
    return Name(_name_of(body), formula_text(formula, scope) or "(not decoded)", sheet, bool(flags & 1))


class _Sheet:
    """One pass over the records of a sheet."""

    def __init__(self, data: bytes, offset: int, styles: Any, parts: Parts, name: str, feeds: BiffFeeds) -> None:
        self.data, self.offset, self.styles, self.parts, self.name = data, offset, styles, parts, name
        self.feeds = feeds
        self.scan = SheetScan(kinds=np.zeros((256, len(KINDS)), np.int64))
        self.errors: list[tuple[int, str]] = []
        self.no_dates: list[tuple[int, str]] = []
        self.uncached: list[tuple[int, str]] = []
        self.long_numbers: list[tuple[int, str]] = []

    def run(self) -> SheetScan:
        scan = self.scan
        for code, at, length in sheet_records(self.data, self.offset):
            self._record(code, at, length)
        self.feeds.end_of_sheet()
        scan.kinds = scan.kinds[: scan.last_column]
        if len(self.uncached) < scan.formulas:
            # Excel, too, writes an empty result for a formula that gives an empty text; only where every
            # formula of the sheet has one was it written by a program that cannot calculate
            self.uncached.clear()
        for marks, found in (
            (scan.errors, self.errors),
            (scan.no_dates, self.no_dates),
            (scan.uncached, self.uncached),
            (scan.long_numbers, self.long_numbers),
        ):
            found.sort()
            marks.add(np.asarray([p for p, _ in found], np.int64), lambda i, f=found: f[i][1])
        return scan

    def _cell(self, row: int, column: int, kind: int) -> None:
        scan = self.scan
        scan.cells += 1
        scan.filled += 1
        if column < 256:
            scan.kinds[column, kind] += 1
        scan.last_row = max(scan.last_row, row + 1)
        scan.last_column = max(scan.last_column, column + 1)
        scan.first_row = min(scan.first_row or row + 1, row + 1)
        scan.styled_row = max(scan.styled_row, row + 1)

    def _number(self, row: int, column: int, style: int, value: float) -> None:
        kind = int(self.styles[min(style, len(self.styles) - 1)])
        self._cell(row, column, kind)
        if kind in {DATE, DATETIME} and is_no_date(value, date1904=self.parts.date1904):
            self.no_dates.append(((row + 1) * COLUMNS + column, repr(value)))
        if is_long(value):
            self.long_numbers.append(((row + 1) * COLUMNS + column, str(int(value))))

    def _record(self, code: int, at: int, length: int) -> None:
        data = self.data
        if code == 0x203:
            self._number(*struct.unpack_from("<HHHd", data, at))
        elif code == 0x27E:
            row, column, style, rk = struct.unpack_from("<HHHI", data, at)
            self._number(row, column, style, rk_number(rk))
        elif code == 0xBD:
            row, column = struct.unpack_from("<HH", data, at)
            for i in range((length - 6) // 6):
                style, rk = struct.unpack_from("<HI", data, at + 4 + 6 * i)
                self._number(row, column + i, style, rk_number(rk))
        elif code in {0xFD, 0x204, 0xD6}:
            row, column = struct.unpack_from("<HH", data, at)
            self._cell(row, column, TEXT)
        elif code == 0x205:
            row, column, _style, value, is_error = struct.unpack_from("<HHHBB", data, at)
            self._cell(row, column, ERROR if is_error else BOOL)
            if is_error:
                self.errors.append(((row + 1) * COLUMNS + column, ERROR_TEXT.get(value, "#ERROR")))
        elif code == 0x06:
            self._formula(at)
        else:
            self._layout(code, at, length)

    def _layout(self, code: int, at: int, length: int) -> None:
        data, scan = self.data, self.scan
        if code in {0x201, 0xBE}:
            row = struct.unpack_from("<H", data, at)[0]
            scan.styled_row = max(scan.styled_row, row + 1)
        elif code == 0x208 and length >= 16:
            row = struct.unpack_from("<H", data, at)[0]
            scan.styled_row = max(scan.styled_row, row + 1)
            if struct.unpack_from("<I", data, at + 12)[0] & 0x20:
                scan.hidden_rows += 1
                if len(scan.hidden_row_places) < 20:
                    scan.hidden_row_places.append(row + 1)
        elif code == 0x7D and length >= 10:
            first, last, _width, _style, flags = struct.unpack_from("<HHHHH", data, at)
            if flags & 1 and len(scan.hidden_columns) < COLUMNS:
                # Excel says of the last column's neighbour, too, how wide it would be
                scan.hidden_columns.append((first + 1, min(last, 255) + 1))
        elif code == 0xE5:
            for i in range(struct.unpack_from("<H", data, at)[0]):
                top, bottom, left, right = struct.unpack_from("<HHHH", data, at + 2 + 8 * i)
                scan.merges.extend((top + 1, left + 1, bottom + 1, right + 1))
        elif code == 0x12 and data[at : at + 1] == b"\x01":
            self.parts.protected.append(self.name)
        elif code == 0x1B1:
            scan.rules += 1
        else:
            self.feeds.record(code, data[at : at + length], self.name)

    def _formula(self, at: int) -> None:
        data, scan = self.data, self.scan
        row, column, style = struct.unpack_from("<HHH", data, at)
        result = data[at + 6 : at + 14]
        scan.formulas += 1
        if result[6:8] != b"\xff\xff":
            self._number(row, column, style, struct.unpack("<d", result)[0])
            return
        kind = (TEXT, BOOL, ERROR, EMPTY)[result[0] & 3]
        self._cell(row, column, kind)
        if kind == ERROR:
            self.errors.append(((row + 1) * COLUMNS + column, ERROR_TEXT.get(result[2], "#ERROR")))
        elif kind == EMPTY:
            self.uncached.append(((row + 1) * COLUMNS + column, "=..."))


def is_no_date(value: float, *, date1904: bool) -> bool:
    """Whether a number is no day of the calendar: negative, or 29 February 1900."""
    return value < 0 or (60 <= value < 61 and not date1904)


def is_long(value: float) -> bool:
    """Whether a number is whole and has more than 15 digits, as an id has that a double cannot be trusted with."""
    return 1e15 <= abs(value) < 1e31 and value.is_integer()


def rk_number(raw: int) -> float:
    """A number in its short form."""
    if raw & 2:
        value = float(raw >> 2 if raw < 1 << 31 else (raw >> 2) - (1 << 30))
    else:
        value = struct.unpack("<d", struct.pack("<Q", (raw & 0xFFFFFFFC) << 32))[0]
    return value / 100 if raw & 1 else value
