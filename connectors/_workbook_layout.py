"""Finds what a workbook hides, locks, merges and swells with: sheets, names, rows, columns, styles."""

from __future__ import annotations

import re

from weighbridge.connectors._workbook_book import Book
from weighbridge.connectors._workbook_looked import Looked
from weighbridge.connectors._workbook_scan import column_letters
from weighbridge.connectors.workbook import WorkbookReport

__all__ = ["find_layout_hazards", "find_sheet_hazards"]

STYLE_WARN, STYLE_LIMIT = 10_000, 65_490
RULES_WARN = 500
PHANTOM = 100
_COL = re.compile(rb'<col [^>]*?\bhidden="(?:1|true)"[^>]*>')
_MERGE = re.compile(rb'<mergeCell [^>]*?\bref="([A-Z]+\d+:[A-Z]+\d+)"')
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
    rows, columns, merged_data, merged_top, phantom, full = [], [], [], [], [], []
    hidden_rows = phantom_count = 0
    for one in looked:
        scan, name = one.scan, one.sheet.name
        hidden_rows += scan.hidden_rows
        rows += [f"{name}!{r}:{r}" for r in scan.hidden_row_places]
        columns += [f"{name}!{c}:{c}" for c in [*scan.hidden_columns, *_hidden_columns(scan.head)]]
        for reference in [*scan.merged, *(m.decode() for m in _MERGE.findall(scan.tail))]:
            top = int(re.sub(r"\D", "", reference.split(":")[0]) or 0)
            inside = one.header and one.header < top <= scan.last_row and scan.last_row - one.header > 2
            (merged_data if inside else merged_top).append(f"{name}!{reference}")
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
        report.add("hidden_columns", len(columns), columns, f"{len(columns)} hidden column(s), which programs read.")
    if merged_data or merged_top:
        places = merged_data + merged_top
        where = f"{len(merged_data)} of them among the data" if merged_data else "all of them above or beside the data"
        level = "warn" if merged_data else "info"
        report.add("merged_cells", len(places), places, f"{len(places)} merged area(s), {where}.", severity=level)
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


def _ceiling(book: Book, one: Looked, full: list[tuple[str, int, int]]) -> None:
    if one.scan.last_row >= 0.8 * book.max_rows:
        full.append((one.sheet.name, one.scan.last_row, book.max_rows))


def _hidden_columns(head: bytes) -> list[str]:
    out: list[str] = []
    for tag in _COL.findall(head):
        low, high = re.search(rb'\bmin="(\d+)"', tag), re.search(rb'\bmax="(\d+)"', tag)
        if low and high:
            last = min(int(high[1]), int(low[1]) + 50)
            out += [column_letters(c) for c in range(int(low[1]), last + 1)]
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
