"""Says in a few sentences what feeds a workbook, what it feeds, and what breaks when a row or a column is added."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from weighbridge.connectors._workbook_book import RANGE, Book
from weighbridge.connectors._workbook_formulas import Formulas
from weighbridge.connectors._workbook_looked import Looked
from weighbridge.connectors._workbook_scan import place
from weighbridge.connectors.workbook import WorkbookReport

__all__ = ["in_words"]

_FEEDS = {
    "external_links": "other files or programs",
    "connections": "data connections",
    "pivot_caches": "pivot tables",
}


def in_words(book: Book, report: WorkbookReport, formulas: Formulas, looked: list[Looked]) -> dict[str, list[str]]:
    """`feeds`, `fed` and `breaks`: sentences without a word of the machine's."""
    hazards = {h.code: h for h in report.hazards}
    macros: dict[str, Any] = dict(hazards["macros"].details or {}) if "macros" in hazards else {}
    feeds = [
        f"{word}: {_some(hazards[code].places, hazards[code].count)}"
        for code, word in _FEEDS.items()
        if code in hazards
    ]
    read = [*macros.get("reads", ()), *macros.get("databases", ())]
    if read:
        feeds.append(f"macros that read {_some(read)}")
    fed = [f"macros that write {_some(macros['writes'])}"] if macros.get("writes") else []
    return {"feeds": feeds, "fed": fed, "breaks": [*_rows(book, formulas, looked), *_columns(formulas, macros)]}


def _rows(book: Book, formulas: Formulas, looked: list[Looked]) -> Iterable[str]:
    """What ends with the last row of today, so that a row added below is left out."""
    last = {one.sheet.name: one.scan.last_row for one in looked if one.header and one.scan.last_row > one.header + 2}
    tables = {table.sheet for table in book.parts.tables}
    cells = [
        f"{sheet}!{place(row, column)}"
        for (sheet, row, column), areas in sorted(formulas.areas(_refers(book)).items())
        if any(
            top < bottom and target not in tables and bottom in {last.get(target, -1), last.get(target, -1) - 1}
            for target, top, _, bottom, _ in areas
        )
    ]
    if cells:
        yield f"a row added below the data is left out by {len(cells)} formula(s): {_some(cells)}"
    names = []
    for name in book.parts.names:
        sheet, _, cells_of = name.refers_to.lstrip("=").rpartition("!")
        found = RANGE.match(cells_of)
        sheet = sheet.strip("'").replace("''", "'")
        if found and found[4] and not name.name.startswith("_") and int(found[4]) == last.get(sheet):
            names.append(name.name)
    if names:
        yield f"a row added below the data is left out by {len(names)} name(s): {_some(names)}"


def _columns(formulas: Formulas, macros: dict[str, Any]) -> Iterable[str]:
    asked = [f"{sheet}!{place(row, column)}" for sheet, row, column in formulas.by_place()]
    if asked:
        yield (
            f"a column put in between makes {len(asked)} formula(s) read the wrong one, for they count columns or name "
            f"a cell in a text: {_some(asked)}"
        )
    fixed = macros.get("fixed_places") or []
    if fixed:
        yield f"a row or column put in between makes macros read or overwrite the wrong cell: {_some(fixed)}"
    if sheets := macros.get("sheets_by_name"):
        yield f"a sheet renamed stops the macros that name it: {_some(sheets)}"


def _refers(book: Book) -> dict[str, str]:
    return {name.name: name.refers_to for name in book.parts.names}


def _some(items: Iterable[str], count: int | None = None, limit: int = 4) -> str:
    listed = list(items)
    more = (count or len(listed)) - limit
    return ", ".join(listed[:limit]) + (f" and {more:,} more" if more > 0 else "")
