"""Finds what a workbook hides, locks, merges and swells with: sheets, names, rows, columns, styles."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

from weighbridge.connectors._workbook_book import Book
from weighbridge.connectors._workbook_looked import Looked
from weighbridge.connectors._workbook_scan import COLUMNS, column_letters
from weighbridge.connectors.workbook import MAX_PLACES, WorkbookReport

__all__ = ["find_layout_hazards", "find_sheet_hazards"]

STYLE_WARN, STYLE_LIMIT = 10_000, 65_490
RULES_WARN = 500
PHANTOM = 100
_COL = re.compile(rb'<col [^>]*?\bhidden="(?:1|true)"[^>]*>')
_MERGE = re.compile(rb'<mergeCell [^>]*?\bref="([A-Z]{1,3}(\d{1,7}):[A-Z]{1,3}\d{1,7})"')
_PROTECTED = re.compile(rb'<sheetProtection [^>]*?\bsheet="(?:1|true)"')


def find_sheet_hazards(book: Book, report: WorkbookReport) -> None:
    parts = book.parts
    hidden = [s.name for s in parts.sheets if s.state == "hidden"]
    very = [s.name for s in parts.sheets if s.state == "veryHidden"]
    if hidden:
        report.add("hidden_sheets", len(hidden), hidden, f"{len(hidden)} hidden sheet(s): {', '.join(hidden[:5])}.")
    if very:
        text = f"{len(very)} sheet(s) that the Unhide menu does not list: {', '.join(very[:5])}."
        report.add("very_hidden_sheets", len(very), very, text)
    if parts.date1904:
        text = (
            "Dates count from 1 January 1904, as on old Macs; a program that does not look reads "
            "them four years and a day early."
        )
        report.add("date1904", 1, [book.path.name], text)
    broken = [n for n in parts.names if "#REF!" in n.refers_to]
    if broken:
        names = [f"{n.sheet}!{n.name}" if n.sheet else n.name for n in broken]
        text = f"{len(names)} name(s) point to cells that no longer exist: {', '.join(names[:5])}."
        report.add("broken_names", len(names), names, text)


def find_layout_hazards(book: Book, report: WorkbookReport, looked: list[Looked]) -> None:
    protected = list(book.parts.protected)
    rules = 0
    rows, columns, phantom, full = [], [], [], []
    merged_data, merged_top = _Counted(), _Counted()
    hidden_rows = hidden_columns = phantom_count = 0
    for one in looked:
        scan, name = one.scan, one.sheet.name
        hidden_rows += scan.hidden_rows
        rows += [f"{name}!{r}:{r}" for r in scan.hidden_row_places]
        for first, last in (*scan.hidden_columns, *_hidden_columns(scan.head)):
            if last >= book.max_columns:
                # hidden to the end of the sheet: only those that hold something are missed
                last = max(scan.last_column, first - 1)  # noqa: PLW2901
            hidden_columns += max(0, last - first + 1)
            shown = (column_letters(c) for c in range(first, min(last, first + 19) + 1))
            columns += [f"{name}!{c}:{c}" for c in shown]
        for top, reference in chain(scan.merged(), _merged(scan.tail)):
            inside = one.header and one.header < top <= scan.last_row and scan.last_row - one.header > 2
            (merged_data if inside else merged_top).add(name, reference)
        if _PROTECTED.search(scan.tail) or scan.protected:
            protected.append(name)
        rules += scan.tail.count(b"<cfRule ") + scan.rules
        extra = scan.styled_row - scan.last_row
        if extra > PHANTOM and scan.last_row:
            phantom_count += extra
            phantom.append(f"{name}!{scan.last_row + 1}:{scan.styled_row}")
        _ceiling(book, one, full)
    if hidden_rows:
        text = f"{hidden_rows} hidden row(s), by hand or by a filter; programs read them all the same."
        report.add("hidden_rows", hidden_rows, rows, text)
    if columns:
        text = f"{hidden_columns} hidden column(s), which programs read."
        report.add("hidden_columns", hidden_columns, columns, text)
    if merged := merged_data.count + merged_top.count:
        inside = merged_data.count
        where = f"{inside} of them among the data" if inside else "all of them above or beside the data"
        level = "warn" if inside else "info"
        places = merged_data.places + merged_top.places
        report.add("merged_cells", merged, places, f"{merged} merged area(s), {where}.", severity=level)
    if protected or book.parts.read_only:
        what = protected or ["the file asks to be opened read-only"]
        report.add("protected", len(what), what, f"Protected against changes: {', '.join(what[:5])}.")
    if phantom:
        text = (
            f"{phantom_count} empty row(s) below the data are stored, which makes the file slow and "
            "programs read blanks."
        )
        report.add("phantom_rows", phantom_count, phantom, text)
    if full:
        worst = max(full, key=lambda f: f[1])
        level = "break" if worst[1] >= worst[2] else "warn"
        text = f"The sheet {worst[0]} has {worst[1]:,} of {worst[2]:,} rows; what comes after the last is lost."
        report.add("row_ceiling", len(full), [f[0] for f in full], text, severity=level)
    _styles(book, report, rules)


@dataclass(slots=True)
class _Counted:
    """Areas without end, of which the first are named."""

    count: int = 0
    places: list[str] = field(default_factory=list)

    def add(self, sheet: str, reference: str) -> None:
        self.count += 1
        if len(self.places) < MAX_PLACES:
            self.places.append(f"{sheet}!{reference}")


def _merged(tail: bytes) -> Iterator[tuple[int, str]]:
    """First row and reference of each merged area that the XML behind the cells names."""
    for found in _MERGE.finditer(tail):
        yield int(found[2]), found[1].decode()


def _ceiling(book: Book, one: Looked, full: list[tuple[str, int, int]]) -> None:
    if one.scan.last_row >= 0.8 * book.max_rows:
        full.append((one.sheet.name, one.scan.last_row, book.max_rows))


def _hidden_columns(head: bytes) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for found in islice(_COL.finditer(head), COLUMNS):  # no sheet needs more
        tag = found[0]
        low, high = re.search(rb'\bmin="(\d{1,6})"', tag), re.search(rb'\bmax="(\d{1,6})"', tag)
        if low and high and 0 < int(low[1]) <= COLUMNS:
            out.append((int(low[1]), min(int(high[1]), COLUMNS)))
    return out


def _styles(book: Book, report: WorkbookReport, rules: int) -> None:
    formats = book.parts.cell_formats if book.format == "xls" else book.styles.cell_formats
    limit = 4_000 if book.format == "xls" else STYLE_LIMIT
    warn = 3_000 if book.format == "xls" else STYLE_WARN
    if formats >= warn or rules >= RULES_WARN:
        level = "break" if formats >= limit * 0.95 else "warn"
        text = (
            f"{formats:,} cell formats of at most {limit:,} and {rules:,} conditional formatting "
            "rules: Excel becomes slow, then refuses to save."
        )
        report.add("style_explosion", max(formats, rules), [book.path.name], text, severity=level)
