"""Writes .xlsx files with exactly the flaws asked for, which well-behaved libraries refuse to write.

An error cell, a formula that was never calculated, a very hidden sheet, a link to a lost workbook, a macro project: a
practice workbook needs them, byte for byte the same on every machine.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

__all__ = ["ErrorCell", "Formula", "SheetPlan", "TableArea", "WorkbookPlan", "write_workbook"]

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
STAMP = (2026, 1, 5, 8, 0, 0)
DATE_STYLE, TIME_STYLE, MONEY_STYLE = 1, 2, 3


@dataclass(frozen=True, slots=True)
class ErrorCell:
    """A cell that shows an error."""

    text: str = "#N/A"


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula without its `=`; `value` None was never calculated."""

    text: str
    value: Any = None


@dataclass(frozen=True, slots=True)
class TableArea:
    """A table over `reference`, header and totals rows included."""

    name: str
    reference: str
    columns: tuple[str, ...]
    totals: bool = False


@dataclass(slots=True)
class SheetPlan:
    """One sheet: rows of cells from A1 on; a cell is None, text, number, bool, date, `Formula` or `ErrorCell`."""

    name: str
    rows: Sequence[Sequence[Any]] = ()
    state: str = "visible"
    hidden_rows: frozenset[int] = frozenset()
    hidden_columns: tuple[int, ...] = ()
    merged: tuple[str, ...] = ()
    tables: tuple[TableArea, ...] = ()
    protected: bool = False
    empty_rows: int = 0
    """Rows without a value that are stored below the data."""
    dimension: str | None = None
    """A `<dimension>` that may lie."""
    macro: bool = False
    """A sheet of Excel 4.0 macros."""


@dataclass(slots=True)
class WorkbookPlan:
    sheets: list[SheetPlan]
    names: Mapping[str, str] = field(default_factory=dict)
    links: tuple[str, ...] = ()
    """Paths of other workbooks that this one is linked to; formulas say [1], [2]."""
    connections: Mapping[str, str] = field(default_factory=dict)
    """Data connections: name -> connection string."""
    vba: bytes | None = None
    date1904: bool = False
    protected: bool = False
    author: str = "Finance"
    styles: int = 0
    """Cell formats beyond the usual ones."""


def write_workbook(path: Path, plan: WorkbookPlan) -> Path:
    """Write the plan; the same plan gives the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _parts(plan).items():
            data = content if isinstance(content, bytes) else content.encode()
            info = zipfile.ZipInfo(name, STAMP)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return path


class _Shared:
    """Texts by number."""

    def __init__(self) -> None:
        self.number: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        return self.number.setdefault(text, len(self.number))

    def xml(self) -> str:
        items = "".join(f'<si><t xml:space="preserve">{escape(text)}</t></si>' for text in self.number)
        return f'{HEAD}<sst xmlns="{MAIN}" uniqueCount="{len(self.number)}">{items}</sst>'


def _parts(plan: WorkbookPlan) -> dict[str, str | bytes]:
    shared = _Shared()
    parts: dict[str, str | bytes] = {}
    types = [
        ("/xl/workbook.xml", _workbook_type(plan)),
        ("/xl/styles.xml", "application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"),
        ("/xl/sharedStrings.xml", "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"),
    ]
    relations: list[tuple[str, str, str, bool]] = []
    sheets: list[str] = []
    tables = 0
    for n, sheet in enumerate(plan.sheets, 1):
        folder, kind = ("macrosheets", "xlMacrosheet") if sheet.macro else ("worksheets", "worksheet")
        part = f"xl/{folder}/sheet{n}.xml"
        base = "http://schemas.microsoft.com/office/2006/relationships" if sheet.macro else OFFICE
        relations.append((f"rId{n}", f"{base}/{kind}", f"{folder}/sheet{n}.xml", False))
        state = "" if sheet.state == "visible" else f' state="{sheet.state}"'
        sheets.append(f'<sheet name={quoteattr(sheet.name)} sheetId="{n}"{state} r:id="rId{n}"/>')
        parts[part] = _sheet(sheet, shared, plan)
        word = "vnd.ms-excel.macrosheet" if sheet.macro else "vnd.openxmlformats-officedocument.spreadsheetml.worksheet"
        types.append((f"/{part}", f"application/{word}+xml"))
        own = []
        for table in sheet.tables:
            tables += 1
            own.append((f"rId{len(own) + 1}", f"{OFFICE}/table", f"../tables/table{tables}.xml", False))
            parts[f"xl/tables/table{tables}.xml"] = _table(table, tables)
            table_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.table+xml"
            types.append((f"/xl/tables/table{tables}.xml", table_type))
        if own:
            parts[f"xl/{folder}/_rels/sheet{n}.xml.rels"] = _relations(own)
    count = len(plan.sheets)
    relations.append((f"rId{count + 1}", f"{OFFICE}/styles", "styles.xml", False))
    relations.append((f"rId{count + 2}", f"{OFFICE}/sharedStrings", "sharedStrings.xml", False))
    references = []
    for n, link in enumerate(plan.links, 1):
        key = f"rId{count + 2 + n}"
        relations.append((key, f"{OFFICE}/externalLink", f"externalLinks/externalLink{n}.xml", False))
        references.append(f'<externalReference r:id="{key}"/>')
        body = (
            '<externalBook xmlns:r="{0}" r:id="rId1"><sheetNames><sheetName val="Sheet1"/></sheetNames></externalBook>'
        )
        parts[f"xl/externalLinks/externalLink{n}.xml"] = (
            f'{HEAD}<externalLink xmlns="{MAIN}">{body.format(OFFICE)}</externalLink>'
        )
        parts[f"xl/externalLinks/_rels/externalLink{n}.xml.rels"] = _relations(
            [("rId1", f"{OFFICE}/externalLinkPath", link, True)]
        )
        link_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.externalLink+xml"
        types.append((f"/xl/externalLinks/externalLink{n}.xml", link_type))
    if plan.connections:
        relations.append(("rIdConnections", f"{OFFICE}/connections", "connections.xml", False))
        parts["xl/connections.xml"] = _connections(plan.connections)
        types.append(
            ("/xl/connections.xml", "application/vnd.openxmlformats-officedocument.spreadsheetml.connections+xml")
        )
    if plan.vba is not None:
        relations.append(
            ("rIdVba", "http://schemas.microsoft.com/office/2006/relationships/vbaProject", "vbaProject.bin", False)
        )
        parts["xl/vbaProject.bin"] = plan.vba
    parts["xl/sharedStrings.xml"] = shared.xml()
    parts["xl/styles.xml"] = _styles(plan.styles)
    parts["xl/workbook.xml"] = _workbook(plan, sheets, references)
    parts["xl/_rels/workbook.xml.rels"] = _relations(relations)
    parts["docProps/core.xml"] = _core(plan.author)
    parts["_rels/.rels"] = _relations(
        [
            ("rId1", f"{OFFICE}/officeDocument", "xl/workbook.xml", False),
            ("rId2", f"{PACKAGE}/relationships/metadata/core-properties", "docProps/core.xml", False),
        ]
    )
    return {"[Content_Types].xml": _types(types), **parts}


def _workbook_type(plan: WorkbookPlan) -> str:
    if plan.vba is not None or any(s.macro for s in plan.sheets):
        return "application/vnd.ms-excel.sheet.macroEnabled.main+xml"
    return "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"


def _types(types: list[tuple[str, str]]) -> str:
    overrides = "".join(f'<Override PartName="{name}" ContentType="{kind}"/>' for name, kind in types)
    return (
        f'{HEAD}<Types xmlns="{PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        '<Default Extension="bin" ContentType="application/vnd.ms-office.vbaProject"/>'
        f"{overrides}</Types>"
    )


def _relations(relations: list[tuple[str, str, str, bool]]) -> str:
    items = "".join(
        f'<Relationship Id="{key}" Type="{kind}" Target={quoteattr(target)}'
        + (' TargetMode="External"' if external else "")
        + "/>"
        for key, kind, target, external in relations
    )
    return f'{HEAD}<Relationships xmlns="{PACKAGE}/relationships">{items}</Relationships>'


def _workbook(plan: WorkbookPlan, sheets: list[str], references: list[str]) -> str:
    names = "".join(f"<definedName name={quoteattr(n)}>{escape(t)}</definedName>" for n, t in plan.names.items())
    return (
        f'{HEAD}<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}">'
        + ('<workbookPr date1904="1"/>' if plan.date1904 else "<workbookPr/>")
        + ('<workbookProtection lockStructure="1"/>' if plan.protected else "")
        + f"<sheets>{''.join(sheets)}</sheets>"
        + (f"<externalReferences>{''.join(references)}</externalReferences>" if references else "")
        + (f"<definedNames>{names}</definedNames>" if names else "")
        + "</workbook>"
    )


def _styles(extra: int) -> str:
    formats = '<xf numFmtId="0"/><xf numFmtId="164" applyNumberFormat="1"/><xf numFmtId="165" applyNumberFormat="1"/>'
    formats += '<xf numFmtId="4" applyNumberFormat="1"/>' + '<xf numFmtId="0"/>' * extra
    return (
        f'{HEAD}<styleSheet xmlns="{MAIN}"><numFmts count="2"><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd"/>'
        '<numFmt numFmtId="165" formatCode="yyyy\\-mm\\-dd\\ hh:mm"/></numFmts>'
        '<fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts>'
        '<fills count="1"><fill><patternFill patternType="none"/></fill></fills><borders count="1"><border/></borders>'
        f'<cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="{4 + extra}">{formats}</cellXfs>'
        '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>'
    )


def _core(author: str) -> str:
    return (
        f'{HEAD}<cp:coreProperties xmlns:cp="{PACKAGE}/metadata/core-properties" '
        'xmlns:dcterms="http://purl.org/dc/terms/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"<cp:lastModifiedBy>{escape(author)}</cp:lastModifiedBy>"
        '<dcterms:modified xsi:type="dcterms:W3CDTF">2026-01-05T08:00:00Z</dcterms:modified></cp:coreProperties>'
    )


def _connections(connections: Mapping[str, str]) -> str:
    items = "".join(
        f'<connection id="{n}" name={quoteattr(name)} type="1" refreshedVersion="6">'
        f"<dbPr connection={quoteattr(text)} command={quoteattr('SELECT * FROM ledger')}/></connection>"
        for n, (name, text) in enumerate(connections.items(), 1)
    )
    return f'{HEAD}<connections xmlns="{MAIN}">{items}</connections>'


def _table(table: TableArea, number: int) -> str:
    columns = "".join(f'<tableColumn id="{n}" name={quoteattr(c)}/>' for n, c in enumerate(table.columns, 1))
    totals = ' totalsRowCount="1"' if table.totals else ""
    return (
        f'{HEAD}<table xmlns="{MAIN}" id="{number}" name="{table.name}" displayName="{table.name}" '
        f'ref="{table.reference}"{totals}><tableColumns count="{len(table.columns)}">{columns}</tableColumns></table>'
    )


def _sheet(sheet: SheetPlan, shared: _Shared, plan: WorkbookPlan) -> str:
    rows = []
    for number, cells in enumerate(sheet.rows, 1):
        hidden = ' hidden="1"' if number in sheet.hidden_rows else ""
        body = "".join(_cell(value, number, c, shared, plan) for c, value in enumerate(cells, 1) if value is not None)
        rows.append(f'<row r="{number}"{hidden}>{body}</row>')
    below = range(len(sheet.rows) + 1, len(sheet.rows) + 1 + sheet.empty_rows)
    rows += [f'<row r="{number}"><c r="A{number}" s="{MONEY_STYLE}"/></row>' for number in below]
    columns = "".join(f'<col min="{c}" max="{c}" width="9" hidden="1"/>' for c in sheet.hidden_columns)
    merged = "".join(f'<mergeCell ref="{m}"/>' for m in sheet.merged)
    tables = "".join(f'<tablePart r:id="rId{n}"/>' for n in range(1, len(sheet.tables) + 1))
    root = "xm:macrosheet" if sheet.macro else "worksheet"
    space = ' xmlns:xm="http://schemas.microsoft.com/office/excel/2006/main"' if sheet.macro else ""
    return (
        f'{HEAD}<{root} xmlns="{MAIN}" xmlns:r="{OFFICE}"{space}>'
        + (f'<dimension ref="{sheet.dimension}"/>' if sheet.dimension else "")
        + (f"<cols>{columns}</cols>" if columns else "")
        + f"<sheetData>{''.join(rows)}</sheetData>"
        + ('<sheetProtection sheet="1"/>' if sheet.protected else "")
        + (f'<mergeCells count="{len(sheet.merged)}">{merged}</mergeCells>' if merged else "")
        + (f'<tableParts count="{len(sheet.tables)}">{tables}</tableParts>' if tables else "")
        + f"</{root}>"
    )


def _letters(number: int) -> str:
    text = ""
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(65 + rest) + text
    return text


def _cell(value: Any, row: int, column: int, shared: _Shared, plan: WorkbookPlan) -> str:
    at = f'<c r="{_letters(column)}{row}"'
    formula = ""
    if isinstance(value, Formula):
        formula = f"<f>{escape(value.text)}</f>"
        value = value.value
        if value is None:
            return f"{at}>{formula}</c>"
        if isinstance(value, str):
            return f'{at} t="str">{formula}<v>{escape(value)}</v></c>'
    if isinstance(value, ErrorCell):
        return f'{at} t="e">{formula}<v>{value.text}</v></c>'
    if isinstance(value, bool):
        return f'{at} t="b">{formula}<v>{int(value)}</v></c>'
    if isinstance(value, str):
        return f'{at} t="s"><v>{shared(value)}</v></c>'
    if isinstance(value, date):
        style = TIME_STYLE if isinstance(value, datetime) else DATE_STYLE
        return f'{at} s="{style}">{formula}<v>{_serial(value, plan.date1904)}</v></c>'
    style = f' s="{MONEY_STYLE}"' if isinstance(value, Decimal) else ""
    return f"{at}{style}>{formula}<v>{value}</v></c>"


def _serial(value: date, date1904: bool) -> str:
    start = datetime(1904, 1, 1) if date1904 else datetime(1899, 12, 30)  # noqa: DTZ001 - a sheet's dates have no zone
    moment = value.replace(tzinfo=None) if isinstance(value, datetime) else datetime.combine(value, datetime.min.time())
    days = (moment - start) / timedelta(days=1)
    return f"{days:.10f}".rstrip("0").rstrip(".")
