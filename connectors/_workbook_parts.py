"""What a workbook says about itself outside its cells: sheets, names, tables, number formats, shared texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weighbridge.connectors._workbook_elements import Element
from weighbridge.connectors._workbook_package import MAX_SMALL_PART, Package, WorkbookProblem, workbook_part
from weighbridge.connectors._workbook_scan import DATE, DATETIME, ELAPSED, NUMBER, TIME
from weighbridge.connectors._workbook_tokens import Scope
from weighbridge.connectors._workbook_xml_text import NotCanonical, unescaped

__all__ = [
    "Name",
    "Parts",
    "Sheet",
    "Styles",
    "Table",
    "chosen_texts",
    "number_kind",
    "read_parts",
    "read_properties",
    "shared_texts",
    "styles_of",
    "text_classes",
]


@dataclass(frozen=True, slots=True)
class Sheet:
    name: str
    state: str
    """`visible`, `hidden` or `veryHidden`."""
    kind: str
    """`worksheet`, `chartsheet`, `dialogsheet`, `macrosheet`."""
    part: str
    """Part of the package; of a .xls where its records begin."""
    index: int = 0
    """Place among all sheets, from 0."""


@dataclass(frozen=True, slots=True)
class Name:
    """A defined name; `sheet` is the sheet it is local to, None for the whole workbook."""

    name: str
    refers_to: str
    sheet: str | None
    hidden: bool


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    sheet: str
    reference: str
    """A1:F200, header and totals rows included."""
    header_rows: int
    totals_rows: int
    columns: tuple[str, ...]


@dataclass(slots=True)
class Parts:
    """The parts of one package; for .xls and .xlsb what their records say."""

    sheets: list[Sheet] = field(default_factory=list)
    names: list[Name] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    date1904: bool = False
    protected: list[str] = field(default_factory=list)
    """What is protected: `workbook`, or sheet names."""
    read_only: bool = False
    application: str | None = None
    modified_by: str | None = None
    modified: str | None = None
    workbook: str = "xl/workbook.xml"
    external: list[str] = field(default_factory=list)
    """External books of a .xls; packages say them by relationship, as `connections`."""
    connections: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    """Query tables of a .xls, `pivots` alike."""
    pivots: list[str] = field(default_factory=list)
    cell_formats: int = 0
    """Cell formats of a .xls."""
    scope: Scope | None = None
    """What formulas of binary formats refer to by number."""

    def sheet(self, name: str) -> Sheet | None:
        wanted = name.casefold()
        return next((s for s in self.sheets if s.name.casefold() == wanted), None)


def read_parts(package: Package) -> Parts:
    """Read an .xlsx or .xlsm package's own description."""
    main = workbook_part(package) or "xl/workbook.xml"
    relations = {r.id: r for r in package.relations(main)}
    parts = Parts(workbook=main)
    names: list[Element] = []
    for node in package.xml(main):
        tag = node.name
        if tag == "sheet" and node.around == "sheets":
            relation = relations.get(node.relation)
            kind = relation.kind if relation else "worksheet"
            kind = "macrosheet" if "acrosheet" in kind else kind
            state = node.get("state", "visible")
            parts.sheets.append(
                Sheet(node.get("name"), state, kind, relation.target if relation else "", len(parts.sheets))
            )
        elif tag == "workbookPr":
            # newer Excel writes a second element of this name, in an extension, that says nothing of dates
            parts.date1904 |= node.on("date1904")
        elif tag == "workbookProtection" and any(map(node.on, ("lockStructure", "lockWindows", "lockRevision"))):
            # some programs write the element without locking anything
            parts.protected.append("workbook")
        elif tag == "fileSharing":
            parts.read_only = node.on("readOnlyRecommended")
        elif tag == "definedName":
            names.append(node)
    for node in names:
        index = int(local) if (local := node.get("localSheetId")).isdigit() else len(parts.sheets)
        sheet = parts.sheets[index].name if index < len(parts.sheets) else None
        parts.names.append(Name(node.get("name"), node.text.strip(), sheet, node.on("hidden")))
    for sheet in parts.sheets:
        if sheet.kind == "worksheet":
            parts.tables.extend(_tables(package, sheet))
    read_properties(package, parts)
    return parts


def _tables(package: Package, sheet: Sheet) -> Iterator[Table]:
    for relation in package.relations(sheet.part):
        if relation.kind != "table" or not package.has(relation.target):
            continue
        columns: list[str] = []
        for node in package.xml(relation.target):
            if node.name == "tableColumn":
                columns.append(node.get("name"))
            elif node.name == "table":
                yield Table(
                    node.get("displayName") or node.get("name"),
                    sheet.name,
                    node.get("ref"),
                    _count(node.get("headerRowCount", "1")),
                    _count(node.get("totalsRowCount", "0")),
                    tuple(columns),
                )


def _count(text: str) -> int:
    return int(text) if text.isdigit() and len(text) < 8 else 0


def read_properties(package: Package, parts: Parts) -> None:
    """Who wrote it and when, by the document properties."""
    version = ""
    if package.has("docProps/app.xml"):
        for node in package.xml("docProps/app.xml"):
            if node.name == "Application" and node.text:
                parts.application = node.text.strip()
            elif node.name == "AppVersion" and node.text:
                version = node.text.strip()
        if parts.application and version:
            parts.application = f"{parts.application} {version}"
    if package.has("docProps/core.xml"):
        for node in package.xml("docProps/core.xml"):
            if node.name == "lastModifiedBy" and node.text:
                parts.modified_by = node.text.strip()
            elif node.name == "modified" and node.text:
                parts.modified = node.text.strip()


# --- number formats --------------------------------------------------------------------------------------------

_BUILT_IN = {
    **dict.fromkeys((14, 15, 16, 17), DATE),
    **dict.fromkeys((18, 19, 20, 21), TIME),
    22: DATETIME,
    **dict.fromkeys((27, 28, 29, 30, 31, 36, 50, 51, 52, 53, 54, 57, 58), DATE),
    **dict.fromkeys((32, 33, 34, 35, 55, 56), TIME),
    45: TIME,
    46: ELAPSED,
    47: TIME,
}
_LITERAL = re.compile(r'"[^"]*"|\\.|_.|\*.')
_ELAPSED = re.compile(r"\[(?:h+|m+|s+)\]", re.IGNORECASE)
_BRACKET = re.compile(r"\[[^\]]*\]")


def number_kind(code: str, number: int = 0) -> int:
    """What a number format shows: NUMBER, DATE, DATETIME, TIME or ELAPSED; a built-in one by its number."""
    if not code:
        return _BUILT_IN.get(number, NUMBER)
    text = _LITERAL.sub("", code.split(";", 1)[0])
    if _ELAPSED.search(text):
        return ELAPSED
    text = _BRACKET.sub("", text).lower()
    if "general" in text or "@" in text:
        return NUMBER
    text = text.replace("am/pm", "h").replace("a/p", "h")
    time = bool(re.search(r"[hs]", text))
    date = bool(re.search(r"[yd]", text)) or ("m" in text and not time) or bool(re.search(r"mmm", text))
    if "e" in text and re.search(r"[0#]", text):
        return NUMBER
    if date:
        return DATETIME if time else DATE
    return TIME if time else NUMBER


@dataclass(slots=True)
class Styles:
    kinds: Any
    """Kind of each cell format (uint8)."""
    cell_formats: int = 0
    dxfs: int = 0
    fonts: int = 0
    named: int = 0


def styles_of(package: Package, main: str = "xl/workbook.xml") -> Styles:
    """Kinds of all cell formats, and how many there are."""
    target = next((r.target for r in package.relations(main) if r.kind == "styles"), "xl/styles.xml")
    if not package.has(target):
        return Styles(np.asarray([NUMBER], np.uint8))
    codes: dict[str, str] = {}
    kinds = bytearray()
    known: dict[str, int] = {}
    styles = Styles(None)
    for node in package.xml(target, limit=MAX_SMALL_PART):
        tag = node.name
        if tag == "xf" and node.around == "cellXfs":
            number = node.get("numFmtId", "0")
            kind = known.get(number)
            if kind is None:
                plain = int(number) if number.isdigit() and len(number) < 10 else 0
                kind = known[number] = number_kind(codes.get(number, ""), plain)
            kinds.append(kind)
        elif tag == "numFmt" and node.around == "numFmts":
            codes[node.get("numFmtId")] = node.get("formatCode")
        elif tag == "font" and node.around == "fonts":
            styles.fonts += 1
        elif tag == "dxf" and node.around == "dxfs":
            styles.dxfs += 1
        elif tag == "cellStyle" and node.around == "cellStyles":
            styles.named += 1
    styles.cell_formats = len(kinds)
    styles.kinds = np.frombuffer(bytes(kinds) or bytes([NUMBER]), np.uint8)
    return styles


# --- shared texts ----------------------------------------------------------------------------------------------

_ITEM = re.compile(r"<si\b[^>]*?(?:/>|>(.*?)</si>)", re.DOTALL)
_PLAIN = re.compile(r"<si><t(?: [^>]*)?>([^<]*)</t></si>")
_PHONETIC = re.compile(r"<rPh\b.*?</rPh>", re.DOTALL)
_PIECE = re.compile(r"<t(?:\s[^>]*)?>([^<]*)</t>")
_CLOSED = b"</si>"


def shared_part(package: Package, main: str) -> str | None:
    target = next((r.target for r in package.relations(main) if r.kind == "sharedStrings"), "xl/sharedStrings.xml")
    return target if package.has(target) else None


def shared_texts(package: Package, main: str = "xl/workbook.xml") -> Iterator[str]:
    """The shared texts in their order as the user sees them, streamed."""
    part = shared_part(package, main)
    if part is None:
        return
    given = 0
    try:
        for texts in _text_blocks(package, package.chunks(part)):
            yield from texts
            given += len(texts)
    except NotCanonical:
        from weighbridge.connectors._workbook_canonical import canonical

        for texts in _text_blocks(package, canonical(package, part)):
            yield from texts[min(given, len(texts)) :]
            given = max(0, given - len(texts))


def _text_blocks(package: Package, chunks: Iterable[bytes]) -> Iterator[list[str]]:
    carry, first = b"", True
    for chunk in chunks:
        if first and re.search(rb"<\w+:sst\b", chunk[:4096]):
            raise NotCanonical
        first = False
        if b"<!" in chunk:  # a comment or CDATA
            raise NotCanonical
        text = carry + chunk
        cut = text.rfind(_CLOSED) + len(_CLOSED)
        if cut < len(_CLOSED):
            carry = text
            if len(carry) > 64 << 20:
                raise WorkbookProblem(
                    f"{package.path}: refused: one shared text has more than {64 << 20:,} bytes.",
                    code="hostile",
                    remedy="Ask for the original file and save it again from Excel.",
                )
            continue
        carry = text[cut:]
        yield _texts(text[:cut].decode("utf-8", "replace"))
    yield _texts(carry.decode("utf-8", "replace"))


def _texts(block: str) -> list[str]:
    texts = _PLAIN.findall(block)
    if len(texts) != block.count("<si"):  # some are rich, empty or spaced out
        texts = [
            "".join(_PIECE.findall(_PHONETIC.sub("", body) if "<rPh" in body else body))
            for body in _ITEM.findall(block)
        ]
    if "&" in block or "_x" in block or "\r" in block:
        return [unescaped(t) if "&" in t or "_x" in t or "\r" in t else t for t in texts]
    return texts


def chosen_texts(package: Package, main: str, wanted: set[int]) -> dict[int, str]:
    """The shared texts of the given numbers."""
    if not wanted:
        return {}
    last, found = max(wanted), {}
    for number, text in enumerate(shared_texts(package, main)):
        if number in wanted:
            found[number] = text
        if number >= last:
            break
    return found


def text_classes(package: Package, main: str, classify: Callable[[str], int]) -> Any:
    """The class of every shared text (uint8)."""
    return np.frombuffer(bytes(map(classify, shared_texts(package, main))) or b"\0", np.uint8)
