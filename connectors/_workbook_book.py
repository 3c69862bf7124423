"""One workbook on disk, of any format: its description, its scans and its grids of values.

Values of .xlsx and .xlsm come from the scan itself; those of .xlsb and .xls from calamine. Because calamine gives
blanks for error cells and for formulas that were never calculated, nothing here hands out a grid without the scan that
says where those are.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np

from weighbridge.connectors._workbook_cell_values import CellValues
from weighbridge.connectors._workbook_cells import scan_sheet
from weighbridge.connectors._workbook_package import Package, WorkbookProblem, open_package
from weighbridge.connectors._workbook_parts import (
    Name,
    Parts,
    Sheet,
    Styles,
    Table,
    read_parts,
    shared_texts,
    styles_of,
)
from weighbridge.connectors._workbook_reader import why_unreadable
from weighbridge.connectors._workbook_scan import COLUMNS, SheetScan, column_letters
from weighbridge.connectors.errors import FileError

__all__ = ["Book", "Grid", "lock_owner"]

_BINARY = {"xlsb", "xls"}
MAX_GRID = 48_000_000
"""Cells of the smallest rectangle around all values: calamine holds it whole, at 24 to 32 bytes a cell; what is read of
XML is held at 17 bytes a filled cell, and by batches of whole rows."""
MAX_SHEETS = 5_000
SPARSE_GRID = 8_000_000
"""From this size on a rectangle must be filled to `MIN_FILL`, or a stray cell is what makes it large."""
MIN_FILL = 0.05


def lock_owner(path: Path) -> str | None:
    """Who has the workbook open, by the owner file beside it; None where nobody has."""
    excel = path.with_name(f"~${path.name}")
    if not excel.exists():
        # for long names Excel replaces the first two characters instead of prefixing
        excel = path.with_name(f"~${path.name[2:]}")
    if excel.exists():
        try:
            data = excel.read_bytes()[:165]
        except OSError:
            return "somebody (the owner file may not be read)"
        name = data[1 : 1 + data[0]].decode("cp1252", "replace").strip("\0 ") if data else ""
        return name or "somebody (the owner file names nobody)"
    office = path.with_name(f".~lock.{path.name}#")
    if office.exists():
        try:
            fields = office.read_text("utf-8", "replace").split(",")
        except OSError:
            return "somebody (the owner file may not be read)"
        return next((f.strip() for f in fields[:3] if f.strip()), "somebody")
    return None


class Grid:
    """The values of one sheet in absolute rows and columns (from 1), as far as the scan saw any."""

    def __init__(self, sheet: Any, last_row: int) -> None:
        self._sheet = sheet
        self.last_row = last_row
        start = sheet.start
        self.first_column = start[1] + 1 if start else 1
        self.width = sheet.width if start else 0

    def rows(self, first: int, last: int | None, left: int, right: int) -> Iterator[list[Any]]:
        """Values of the rows first..last, columns left..right; blank is ''. Ends at the last used row."""
        stop = self.last_row if last is None else min(last, self.last_row)
        begin, end = left - self.first_column, right - self.first_column + 1
        before, after = [""] * max(0, -begin), [""] * max(0, end - self.width)
        low, high = max(begin, 0), max(min(end, self.width), 0)
        whole = not before and not after and low == 0 and high == self.width
        # calamine's sheet ends before rows that hold nothing but formulas without a value
        filler = [""] * self.width
        chosen = islice(chain(self._sheet.iter_rows(), repeat(filler)), first - 1, max(stop, first - 1))
        if whole:
            return chosen
        return (before + row[low:high] + after for row in chosen)


class Book:
    """An opened workbook."""

    def __init__(self, path: Path, password: str | None = None) -> None:
        self.path = path
        self.package: Package = open_package(path, password)
        stat = path.stat()
        self.stamp = (stat.st_mtime_ns, stat.st_size)
        self._parts: Parts | None = None
        self._styles: Styles | None = None
        self._scans: dict[str, SheetScan] = {}
        self._grid: tuple[str, Grid | CellValues] | None = None
        self._texts: Any = None
        """All shared texts, once values are asked for."""
        self.text_classes: Any = None
        """Class of every shared text, once somebody asked for them."""

    @property
    def format(self) -> str:
        return self.package.format

    @property
    def max_rows(self) -> int:
        return 65_536 if self.format == "xls" else 1_048_576

    @property
    def max_columns(self) -> int:
        return 256 if self.format == "xls" else 16_384

    def changed(self) -> bool:
        """Whether the file on disk is no longer the one that was opened."""
        try:
            stat = self.path.stat()
        except OSError:
            return True
        return (stat.st_mtime_ns, stat.st_size) != self.stamp

    @property
    def parts(self) -> Parts:
        if self._parts is None:
            if self.format == "xls":
                from weighbridge.connectors._workbook_biff import read_xls

                self._parts, self._scans = read_xls(self.package)
            elif self.format == "xlsb":
                from weighbridge.connectors._workbook_xlsb import read_xlsb

                self._parts = read_xlsb(self.package)
            else:
                self._parts = read_parts(self.package)
            self._refuse_sheets(self._parts)
        return self._parts

    def _refuse_sheets(self, parts: Parts) -> None:
        """Many sheets, or one part told as several, make a small file cost hours."""
        if not parts.sheets:
            raise WorkbookProblem(
                f"{self.path}: not a workbook that can be read: it names no sheet.",
                code="malformed",
                remedy="Copy the file again from its source.",
            )
        own = [sheet.part for sheet in parts.sheets if sheet.part]
        why = ""
        if len(own) > MAX_SHEETS:
            why = f"it says that it has {len(own):,} sheets, where {MAX_SHEETS:,} are more than anybody looks at"
        elif len(own) != len(set(own)):
            why = "several of its sheets are one and the same part"
        if why:
            raise WorkbookProblem(
                f"{self.path}: refused: {why}.",
                code="hostile",
                remedy="Do not open it. Ask the sender for the original and save it again from Excel.",
            )

    @property
    def styles(self) -> Styles:
        if self._styles is None:
            if self.format == "xlsb":
                from weighbridge.connectors._workbook_xlsb import xlsb_styles

                self._styles = xlsb_styles(self.package)
            else:
                self._styles = styles_of(self.package, self.parts.workbook)
        return self._styles

    def scan(self, sheet: Sheet) -> SheetScan:
        """What the sheet's cells hold that a reader of values would lose; made once."""
        found = self._scans.get(sheet.name)
        if found is None:
            _ = self.parts
            found = self._scans.get(sheet.name)
        if found is None:
            if self.format == "xlsb":
                from weighbridge.connectors._workbook_xlsb import scan_xlsb

                found = scan_xlsb(self.package, sheet.part, styles=self.styles.kinds, date1904=self.parts.date1904)
            else:
                self._grid = None
                found, values = self._with_values(sheet)
                self._grid = (sheet.name, values)
            self._scans[sheet.name] = found
        return found

    def _with_values(self, sheet: Sheet) -> tuple[SheetScan, CellValues]:
        """Scan a sheet of XML and keep what its cells hold."""
        values = CellValues(self.package.path, sheet.name, self._shared, date1904=self.parts.date1904)
        found = scan_sheet(self.package, sheet.part, styles=self.styles.kinds, values=values)
        values.finish(found.last_row)
        return found, values

    def _shared(self) -> Any:
        if self._texts is None:
            self._texts = np.asarray([*shared_texts(self.package, self.parts.workbook), ""], object)[:-1]
        return self._texts

    def formulas(self, sheet: Sheet) -> Iterator[tuple[int, int, str | None]]:
        """Row, column and text of the formulas of a binary sheet; None for one whose tokens are not known."""
        from weighbridge.connectors import _workbook_binary_formulas as binary
        from weighbridge.connectors._workbook_biff import workbook_stream

        scope = self.parts.scope
        if scope is None:
            return iter(())
        if self.format == "xlsb":
            return binary.xlsb_formulas(self.package, sheet.part, scope)
        return binary.xls_formulas(workbook_stream(self.package), int(sheet.part), scope)

    def grid(self, sheet: Sheet) -> Grid | CellValues:
        """The sheet's values. Raises `FileError` where the sheet would not fit in memory or cannot be read."""
        scan = self.scan(sheet)
        area = scan.last_row * scan.last_column
        if area > MAX_GRID or (area > SPARSE_GRID and scan.filled < MIN_FILL * area):
            corner = f"{column_letters(scan.last_column)}{scan.last_row}"
            raise FileError(
                f"{self.path}: the sheet {sheet.name} has its last value in {corner}, which makes a rectangle of "
                f"{area:,} cells of which {scan.filled:,} hold anything; reading it would take the machine's memory.",
                remedy="Delete the stray cells at the far end (Ctrl+End shows them), or address the data as a table.",
            )
        if self._grid is not None and self._grid[0] == sheet.name:
            return self._grid[1]
        self._grid = None
        if self.format in _BINARY:
            grid: Grid | CellValues = Grid(self._calamine(sheet.name), scan.last_row)
        else:
            _, grid = self._with_values(sheet)
        self._grid = (sheet.name, grid)
        return grid

    def release(self) -> None:
        """Let go of the values; scans and description stay."""
        self._grid = self._texts = None

    def _calamine(self, name: str) -> Any:
        import python_calamine

        self._verify()
        why = why_unreadable(self.path if self.package.data is None else self.package.data, name)
        if why is None:
            try:
                # calamine goes by the name where it has one, and names lie
                misnamed = self.path.suffix.lower() != f".{self.format}"
                if self.package.data is not None or misnamed:
                    with self.package.stream() as source:
                        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(source.read()))
                else:
                    book = python_calamine.CalamineWorkbook.from_path(str(self.path))
                sheet = book.get_sheet_by_name(name)
                next(sheet.iter_rows(), None)
                return sheet
            except (python_calamine.CalamineError, OSError, ValueError, OverflowError) as error:
                why = str(error).strip().rstrip(".") or type(error).__name__
        raise WorkbookProblem(
            f"{self.path}: the values of the sheet {name} cannot be read: {why}.",
            code="malformed",
            remedy="Open it in Excel, let it repair the file and save it under a new name.",
        )

    def _verify(self) -> None:
        """Inflate the part that calamine reads and no scan has: a size that lies ends here."""
        if self.format == "xlsb" and self.package.has("xl/sharedStrings.bin"):
            for _ in self.package.raw("xl/sharedStrings.bin"):
                pass

    # --- addresses -------------------------------------------------------------------------------------------

    def table(self, name: str) -> Table | None:
        wanted = name.casefold()
        return next((t for t in self.parts.tables if t.name.casefold() == wanted), None)

    def name(self, name: str) -> Name | None:
        wanted = name.casefold()
        found = [n for n in self.parts.names if n.name.casefold() == wanted]
        return next((n for n in found if n.sheet is None), found[0] if found else None)


RANGE = re.compile(r"^\$?([A-Za-z]{1,3})\$?(\d+)?(?::\$?([A-Za-z]{1,3})\$?(\d+)?)?$")


def within(packed: Any, first: int, last: int, left: int, right: int) -> Any:
    """Those of ascending packed positions that lie in a rectangle (rows and columns from 1)."""
    low = np.searchsorted(packed, first * COLUMNS)
    high = np.searchsorted(packed, (last + 1) * COLUMNS)
    part = packed[low:high]
    column = part % COLUMNS + 1
    return part[(column >= left) & (column <= right)]
