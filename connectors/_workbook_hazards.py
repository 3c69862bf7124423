"""Turns what was scanned of a workbook into hazards with sheet and cell."""

from __future__ import annotations

from typing import Any

from weighbridge.connectors._workbook_book import Book
from weighbridge.connectors._workbook_cells import scan_sheet
from weighbridge.connectors._workbook_columns import find_column_hazards
from weighbridge.connectors._workbook_feeds import find_macros, find_upstream
from weighbridge.connectors._workbook_fingerprint import fingerprint
from weighbridge.connectors._workbook_formulas import Formulas
from weighbridge.connectors._workbook_in_words import in_words
from weighbridge.connectors._workbook_layout import find_layout_hazards, find_sheet_hazards
from weighbridge.connectors._workbook_looked import Looked
from weighbridge.connectors._workbook_package import WorkbookProblem
from weighbridge.connectors._workbook_parts import Sheet, chosen_texts, text_classes
from weighbridge.connectors._workbook_scan import NUMBER, TEXT, Marks, place
from weighbridge.connectors._workbook_table import find_header
from weighbridge.connectors._workbook_text import classify
from weighbridge.connectors._workbook_values import complete
from weighbridge.connectors.workbook import WorkbookReport

__all__ = ["find_hazards"]

BINARY_UNREAD = {
    # what the records of these formats would tell and is not read
    "xls": ("formulas without a value on sheets where other formulas have one",),
    "xlsb": ("formulas without a value, for which the format stores a number all the same",),
}


def find_hazards(book: Book, report: WorkbookReport) -> None:
    """Fill the report of one readable workbook."""
    formulas = Formulas(tuple(sheet.name for sheet in book.parts.sheets))
    looked = [_look(book, sheet, formulas) for sheet in book.parts.sheets if sheet.kind == "worksheet"]
    _headers(book, looked)
    report.sheets = [_sheet_line(book, sheet, looked) for sheet in book.parts.sheets]
    if book.package.encrypted:
        text = (
            f"{book.path.name} is encrypted; it was opened with its password, which every program that reads it needs."
        )
        report.add("encrypted", 1, [book.path.name], text, severity="warn")
    macros = find_macros(book, report)
    find_upstream(book, report, formulas)
    find_sheet_hazards(book, report)
    _cells(report, looked)
    _formulas(book, report, formulas)
    find_layout_hazards(book, report, looked)
    find_column_hazards(report, looked)
    report.in_words = in_words(book, report, formulas, looked)
    report.not_looked_at.extend(dict.fromkeys(note for one in looked for note in one.scan.not_looked))
    if book.format in BINARY_UNREAD:
        report.not_looked_at.extend(f"in .{book.format}: {what}" for what in BINARY_UNREAD[book.format])
    report.fingerprint = fingerprint(book, looked, formulas, macros)


def _look(book: Book, sheet: Sheet, formulas: Formulas) -> Looked:
    if book.format in {"xls", "xlsb"}:
        scan = book.scan(sheet)
        complete(book, sheet, scan, classify)
        unknown = 0
        for row, column, text in book.formulas(sheet):
            formulas.add_text(sheet.name, row, column, text or "")
            unknown += text is None
        if unknown:
            scan.not_looked.append(f"{unknown} formula(s) of {sheet.name} that are written in a way not known here")
        return Looked(sheet, scan)
    package = book.package
    if not package.has(sheet.part):
        raise WorkbookProblem(
            f"{book.path}: not a workbook that can be read: the part of the sheet {sheet.name} is missing.",
            code="malformed",
        )
    scan = scan_sheet(
        package,
        sheet.part,
        styles=book.styles.kinds,
        text_classes=_classes(book),
        classify=classify,
        on_formula=lambda row, column, attributes, text: formulas.add(sheet.name, row, column, attributes, text),
    )
    return Looked(sheet, scan)


def _classes(book: Book) -> Any:
    if book.text_classes is None:
        book.text_classes = text_classes(book.package, book.parts.workbook, classify)
    return book.text_classes


def _headers(book: Book, looked: list[Looked]) -> None:
    """Find each sheet's header row and its labels, with one pass over the shared texts for all of them."""
    wanted = {
        int(raw)
        for one in looked
        for _, _, kind, char, raw in one.scan.first_cells
        if kind == TEXT and char == b"s" and raw.isdigit()
    }
    texts = chosen_texts(book.package, book.parts.workbook, wanted) if wanted else {}
    for one in looked:
        rows: dict[int, dict[int, Any]] = {}
        kinds: dict[tuple[int, int], int] = {}
        for row, column, kind, char, raw in one.scan.first_cells:
            value: Any = 1.0
            if kind == TEXT:
                value = texts.get(int(raw), "") if char == b"s" and raw.isdigit() else raw.decode("utf-8", "replace")
            elif kind == NUMBER and raw:
                value = _numeric(raw)
            rows.setdefault(row, {})[column] = value
            kinds[row, column] = kind
        if not rows:
            continue
        width = max(max(cells) for cells in rows.values())
        last = max(rows)
        grid = [[rows.get(r, {}).get(c, "") for c in range(1, width + 1)] for r in range(1, last + 1)]
        one.header = find_header(grid)
        one.labels = {c: str(v) for c, v in rows.get(one.header, {}).items()}
        one.header_kinds = {column: kind for (row, column), kind in kinds.items() if row == one.header}
        for (row, column), kind in kinds.items():
            if row <= one.header:
                counted = one.top.setdefault(column, {})
                counted[kind] = counted.get(kind, 0) + 1


def _numeric(raw: bytes) -> Any:
    try:
        number = float(raw)
    except ValueError:
        return 1.0
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def _sheet_line(book: Book, sheet: Sheet, looked: list[Looked]) -> dict[str, Any]:
    line: dict[str, Any] = {"name": sheet.name, "state": sheet.state, "kind": sheet.kind}
    one = next((x for x in looked if x.sheet is sheet), None)
    if one is not None:
        line |= {
            "rows": one.scan.last_row,
            "columns": one.scan.last_column,
            "formulas": one.scan.formulas,
            "header_row": one.header or None,
            "tables": [t.name for t in book.parts.tables if t.sheet == sheet.name],
        }
    return line


# --- cells -----------------------------------------------------------------------------------------------------


def _gathered(looked: list[Looked], pick: Any) -> tuple[int, list[str], dict[str, int]]:
    """Count, places and count by sheet of the marks that `pick` names."""
    total, places, by_sheet = 0, [], {}
    for one in looked:
        marks: Marks = pick(one.scan)
        if len(marks):
            total += len(marks)
            by_sheet[one.sheet.name] = len(marks)
            places += one.at(marks.packed[:20].tolist())
    return total, places, by_sheet


def _cells(report: WorkbookReport, looked: list[Looked]) -> None:
    count, places, by_sheet = _gathered(looked, lambda s: s.errors)
    if count:
        kinds: dict[str, int] = {}
        for one in looked:
            for raw in one.scan.errors.raw.values():
                kinds[raw] = kinds.get(raw, 0) + 1
        shown = ", ".join(sorted(kinds, key=lambda k: -kinds[k])[:4])
        text = f"{count} cell(s) show an error ({shown}). Most programs read them as blank."
        report.add("error_cells", count, places, text, by_sheet=by_sheet)
    count, places, by_sheet = _gathered(looked, lambda s: s.uncached)
    if count:
        text = (
            f"{count} formula(s) were never calculated: the file holds no value for them, and "
            "programs read them as blank."
        )
        report.add("uncached_formulas", count, places, text, by_sheet=by_sheet)
    count, places, by_sheet = _gathered(looked, lambda s: s.long_numbers)
    if count:
        text = (
            f"{count} number(s) have more than 15 digits; Excel has already set the rest to zero, "
            "or will when it saves."
        )
        report.add("long_numbers", count, places, text, by_sheet=by_sheet)


def _formulas(book: Book, report: WorkbookReport, formulas: Formulas) -> None:
    count = formulas.volatile_count
    if count:
        places = [f"{sheet}!{place(r, c)}" for sheet, cells in formulas.volatile.items() for r, c in cells]
        text = (
            f"{count} formula(s) change whenever the file is opened or calculated (NOW, TODAY, "
            "RAND, OFFSET, INDIRECT): two readers see two values."
        )
        report.add("volatile_formulas", count, places, text)
    circles, unfollowed = formulas.circles({n.name: n.refers_to for n in book.parts.names})
    if circles:
        places = [f"{sheet}!{place(row, column)}" for sheet, row, column in circles[:20]]
        text = f"{len(circles)} cell(s) depend on themselves; Excel shows 0 there or the value of an earlier round."
        report.add("circular_references", len(circles), places, text)
    if unfollowed:
        report.not_looked_at.append(unfollowed)
    if formulas.too_long:
        report.not_looked_at.append(f"{formulas.too_long} formula(s) longer than any that Excel takes")
