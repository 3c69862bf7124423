"""Writes one plan of a workbook in every format: .xlsx, .xlsm, .xlsb, .xls, encrypted.

.xls by xlwt, with the records it has no words for put in between; .xlsb record by record, for no library writes it.
"""

from __future__ import annotations

import io
import struct
import zipfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import xlwt
from msoffcrypto.format.ooxml import OOXMLFile
from xlsb_kit import cell, record, row_head, wide

from weighbridge.sandbox.vba_writer import compound_file, vba_project
from weighbridge.sandbox.workbook_writer import ErrorCell, Formula, SheetPlan, WorkbookPlan, write_workbook

__all__ = ["FORMATS", "HEADER", "PASSWORD", "PIVOT", "ROWS", "changed", "data", "write_plan"]

FORMATS = ("xlsx", "xlsm", "xlsb", "xls", "encrypted")
PASSWORD = "correct horse"
PIVOT = "pivot of Data!A1:D21"
"""As the only link of a plan: a pivot cache fed from that range."""
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
TOKENS = {
    "A4*2": b"\x44\x03\0\0\0\0\xc0\x1e\x02\0\x05",
    "NOW()*A4": b"\x19\x01\0\0\x41\x4a\0\x44\x03\0\0\0\0\xc0\x05",
    "C5+1": b"\x44\x04\0\0\0\x02\xc0\x1e\x01\0\x03",
    "SUM(C2:C4)": b"\x25\x01\0\0\0\x03\0\0\0\x02\xc0\x02\xc0\x19\x10\0\0",
    "SUM(C2:C21)": b"\x25\x01\0\0\0\x14\0\0\0\x02\xc0\x02\xc0\x19\x10\0\0",
}
"""Formulas of the plans as .xlsb keeps them."""
ERRORS = {"#N/A": 0x2A, "#REF!": 0x17, "#DIV/0!": 0x07}

HEADER = ["id", "account", "amount", "day"]
ROWS: list[list[Any]] = [[n, f"C-{n:06d}", n * 1.25, date(2025, 1, n)] for n in range(1, 21)]


def data(**more: Any) -> SheetPlan:
    return SheetPlan("Data", [HEADER, *ROWS], **more)


def changed(*cells: tuple[int, int, Any]) -> SheetPlan:
    rows = [list(row) for row in ROWS]
    for row, column, value in cells:
        rows[row][column] = value
    return SheetPlan("Data", [HEADER, *rows])


def write_plan(folder: Path, plan: WorkbookPlan, form: str, name: str = "book") -> Path:
    """Write the plan as `form`; an encrypted one opens with `PASSWORD`."""
    if form == "xlsb":
        return _xlsb(folder / f"{name}.xlsb", plan)
    if form == "xls":
        return _xls(folder / f"{name}.xls", plan)
    path = folder / (f"{name}.xlsm" if form == "xlsm" else f"{name}.xlsx")
    pivots = plan.links == (PIVOT,)
    if pivots:
        plan.links = ()
    write_workbook(path, plan)
    if pivots:
        body = b'<pivotCacheDefinition><cacheSource type="worksheet"><worksheetSource ref="A1:D21" sheet="Data"/>'
        part = "xl/pivotCache/pivotCacheDefinition1.xml"
        _with_part(path, part, body + b"</cacheSource></pivotCacheDefinition>", "pivotCacheDefinition")
    if form == "xlsm":
        _as_macro_enabled(path)
    if form == "encrypted":
        _with_part(path, "docProps/thumbnail.bin", bytes(range(256)) * 40)  # below 4,096 bytes it cannot be encrypted
        sealed = io.BytesIO()
        with path.open("rb") as plain:
            OOXMLFile(plain).encrypt(PASSWORD, sealed)
        path.write_bytes(sealed.getvalue())
    return path


def _parts(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {i.filename: archive.read(i) for i in archive.infolist()}


def _zipped(path: Path, parts: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in parts.items():
            archive.writestr(name, body)


def _with_part(path: Path, part: str, body: bytes, kind: str | None = None) -> None:
    parts = _parts(path)
    parts[part] = body
    if kind:
        rels = "xl/_rels/workbook.xml.rels"
        target = part.removeprefix("xl/")
        relation = f'<Relationship Id="rIdX" Type="{OFFICE}/{kind}" Target="{target}"/></Relationships>'
        parts[rels] = parts[rels].replace(b"</Relationships>", relation.encode())
    _zipped(path, parts)


def _as_macro_enabled(path: Path) -> None:
    parts = _parts(path)
    plain = b"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
    name = "[Content_Types].xml"
    parts[name] = parts[name].replace(plain, b"application/vnd.ms-excel.sheet.macroEnabled.main+xml")
    _zipped(path, parts)


# --- .xlsb -----------------------------------------------------------------------------------------------------


def _serial(value: date, *, date1904: bool) -> float:
    start = datetime(1904, 1, 1) if date1904 else datetime(1899, 12, 30)  # noqa: DTZ001 - a sheet has no zone
    return float((datetime(value.year, value.month, value.day) - start).days)  # noqa: DTZ001


def _binary_cell(value: Any, column: int, plan: WorkbookPlan) -> bytes:
    if isinstance(value, ErrorCell):
        return cell(3, column, bytes([ERRORS[value.text]]))
    if isinstance(value, bool):
        return cell(4, column, bytes([value]))
    if isinstance(value, str):
        return cell(6, column, wide(value))
    if isinstance(value, date):
        return cell(5, column, struct.pack("<d", _serial(value, date1904=plan.date1904)), style=1)
    if isinstance(value, Formula):
        tokens = TOKENS.get(value.text, b"\x1e\x01\0")
        number = float(value.value or 0)
        return cell(9, column, struct.pack("<dHI", number, 0, len(tokens)) + tokens + struct.pack("<I", 0))
    return cell(5, column, struct.pack("<d", value))


def _binary_sheet(sheet: SheetPlan, plan: WorkbookPlan) -> bytes:
    width = max((len(row) for row in sheet.rows), default=1)
    out = [record(129), record(148, struct.pack("<IIII", 0, max(len(sheet.rows), 1) - 1, 0, width - 1))]
    out += [record(60, struct.pack("<IIIIH", c - 1, c - 1, 2000, 0, 1)) for c in sheet.hidden_columns]
    out.append(record(145))
    for n, row in enumerate(sheet.rows):
        out.append(row_head(n, hidden=n + 1 in sheet.hidden_rows))
        out += [_binary_cell(value, c, plan) for c, value in enumerate(row) if value is not None]
    out += [row_head(len(sheet.rows) + n) for n in range(sheet.empty_rows)]
    out.append(record(146))
    if sheet.protected:
        out.append(record(535, struct.pack("<HI", 0, 1)))
    out += [record(176, struct.pack("<IIII", *_corners(reference))) for reference in sheet.merged]
    return b"".join([*out, record(130)])


def _corners(reference: str) -> tuple[int, int, int, int]:
    """Top, bottom, left, right from 0 of A1:B2 with letters of one place."""
    first, last = reference.split(":")
    return int(first[1:]) - 1, int(last[1:]) - 1, ord(first[0]) - 65, ord(last[0]) - 65


def _xlsb(path: Path, plan: WorkbookPlan) -> Path:
    states = {"visible": 0, "hidden": 1, "veryHidden": 2}
    parts: dict[str, bytes] = {"[Content_Types].xml": b"<Types/>"}
    relations = [("rIdS", f"{OFFICE}/styles", "styles.bin")]
    book = record(131) + record(153, struct.pack("<II", plan.date1904, 0) + wide(""))
    book += record(534, bytes(8)) if plan.protected else b""
    book += record(143)
    for n, sheet in enumerate(plan.sheets, 1):
        kind = "http://schemas.microsoft.com/office/2006/relationships/xlMacrosheet" if sheet.macro else ""
        relations.append((f"rId{n}", kind or f"{OFFICE}/worksheet", f"worksheets/sheet{n}.bin"))
        body = struct.pack("<II", states[sheet.state], n) + wide(f"rId{n}") + wide(sheet.name)
        book += record(156, body)
        parts[f"xl/worksheets/sheet{n}.bin"] = _binary_sheet(sheet, plan)
    book += record(144) + record(353) + record(357) + record(362, struct.pack("<IIII", 1, 0, 0, 0)) + record(354)
    for name, text in plan.names.items():
        tokens = b"\x3c" + bytes(8) if "#REF!" in text else b"\x3a" + bytes(8)
        book += record(39, struct.pack("<IBI", 0, 0, 0xFFFFFFFF) + wide(name) + struct.pack("<I", len(tokens)) + tokens)
    for n, link in enumerate(plan.links, 1):
        if link == PIVOT:
            relations.append(("rIdP", f"{OFFICE}/pivotCacheDefinition", "pivotCache/pivotCacheDefinition1.bin"))
            source = record(185, struct.pack("<II", 0, 0))
            source += record(187, b"\0\0\x02" + wide("Data") + struct.pack("<IIII", 0, 20, 0, 3))
            parts["xl/pivotCache/pivotCacheDefinition1.bin"] = record(179, bytes(30)) + source + record(180)
            continue
        relations.append((f"rIdL{n}", f"{OFFICE}/externalLink", f"externalLinks/externalLink{n}.bin"))
        parts[f"xl/externalLinks/externalLink{n}.bin"] = record(360, struct.pack("<H", 0) + wide("rId1") + wide(""))
        parts[f"xl/externalLinks/_rels/externalLink{n}.bin.rels"] = _relations(
            [("rId1", f"{OFFICE}/externalLinkPath", link)], mode=' TargetMode="External"'
        )
    if plan.connections:
        relations.append(("rIdC", f"{OFFICE}/connections", "connections.bin"))
        body = record(429)
        for n, (name, text) in enumerate(plan.connections.items(), 1):
            head = struct.pack("<BBBBHHHIIIB", 6, 0, 2, 0, 0, 0, 8 | 4, 1, 0, n, 0)
            body += record(201, head + wide("of the ledger") + wide(name))
            body += record(203, struct.pack("<IB", 2, 2) + wide(text) + wide("SELECT 1")) + record(204) + record(202)
        parts["xl/connections.bin"] = body + record(430)
    if plan.vba is not None:
        parts["xl/vbaProject.bin"] = plan.vba
    formats = record(615, struct.pack("<I", 1)) + record(44, struct.pack("<H", 164) + wide("yyyy-mm-dd")) + record(616)
    plain = record(47, struct.pack("<HHHHHHHH", 0, 0, 0, 0, 0, 0, 0, 0))
    dated = record(47, struct.pack("<HHHHHHHH", 0, 164, 0, 0, 0, 0, 0, 0))
    parts["xl/styles.bin"] = (
        record(278)
        + formats
        + record(617, struct.pack("<I", 4 + plan.styles))
        + plain
        + dated
        + plain * (2 + plan.styles)
        + record(618)
    )
    parts["xl/workbook.bin"] = book + record(132)
    parts["xl/_rels/workbook.bin.rels"] = _relations(relations)
    parts["_rels/.rels"] = _relations([("r", f"{OFFICE}/officeDocument", "xl/workbook.bin")])
    _zipped(path, parts)
    return path


def _relations(relations: list[tuple[str, str, str]], *, mode: str = "") -> bytes:
    items = "".join(f'<Relationship Id="{k}" Type="{t}" Target="{target}"{mode}/>' for k, t, target in relations)
    start = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    return f"{start}{items}</Relationships>".encode()


# --- .xls ------------------------------------------------------------------------------------------------------


def _narrow(code: int, body: bytes = b"") -> bytes:
    return struct.pack("<HH", code, len(body)) + body


def _short(text: str) -> bytes:
    return struct.pack("<HB", len(text), 0) + text.encode("latin-1")


def _xls(path: Path, plan: WorkbookPlan) -> Path:
    book = xlwt.Workbook()
    book.dates_1904 = plan.date1904
    book.protect = plan.protected
    dated = xlwt.easyxf(num_format_str="yyyy-mm-dd")
    for plain in plan.sheets:
        sheet = book.add_sheet(plain.name)
        sheet.visibility = {"visible": 0, "hidden": 1, "veryHidden": 2}[plain.state]
        sheet.protect = plain.protected
        for r, row in enumerate(plain.rows):
            for c, value in enumerate(row):
                _legacy_cell(sheet, r, c, value, dated if isinstance(value, date) else None)
            sheet.row(r).hidden = r + 1 in plain.hidden_rows
        for n in range(plain.empty_rows):
            sheet.write(len(plain.rows) + n, 0, None, dated)
        for c in plain.hidden_columns:
            sheet.col(c - 1).hidden = True
        for reference in plain.merged:
            top, bottom, left, right = _corners(reference)
            sheet.merged_ranges.append((top, bottom, left, right))
    stream = _with_records(book.get_biff_data(), _globals(plan), [s.macro for s in plan.sheets])
    streams = {("Workbook",): stream.ljust(4096, b"\0")}
    if plan.vba is not None:
        streams |= {("_VBA_PROJECT_CUR", *name): data for name, data in _streams(plan.vba).items()}
    path.write_bytes(compound_file(streams))
    return path


def _streams(project: bytes) -> dict[tuple[str, ...], bytes]:
    import olefile

    with olefile.OleFileIO(io.BytesIO(project)) as ole:
        return {tuple(name): ole.openstream(name).read() for name in ole.listdir()}


def _legacy_cell(sheet: Any, row: int, column: int, value: Any, style: Any) -> None:
    if value is None:
        return
    if isinstance(value, ErrorCell):
        sheet.row(row).set_cell_error(column, ERRORS[value.text])
    elif isinstance(value, Formula):
        sheet.write(row, column, xlwt.Formula(value.text if value.text != "HALT()" else "1+1"))
    elif style is not None:
        sheet.write(row, column, value, style)
    else:
        sheet.write(row, column, value)


def _globals(plan: WorkbookPlan) -> bytes:
    """Records of the workbook that xlwt does not write."""
    out = b""
    if plan.names:
        out += _narrow(0x1AE, struct.pack("<HH", len(plan.sheets), 0x0401)) + _narrow(
            0x17, struct.pack("<HHHH", 1, 0, 0, 0)
        )
    for name, text in plan.names.items():
        tokens = b"\x3c" + bytes(6) if "#REF!" in text else b"\x3a" + bytes(6)
        head = struct.pack("<HBBHHHBBBB", 0, 0, len(name), len(tokens), 0, 0, 0, 0, 0, 0)
        out += _narrow(0x18, head + b"\0" + name.encode() + tokens)
    for link in plan.links:
        if link == PIVOT:
            out += _narrow(0xD5, b"\x01\0") + _narrow(0xE3, b"\x01\0")
            out += _narrow(0x51, struct.pack("<HHBBHB", 0, 20, 0, 3, 5, 0) + b"\x02Data")
            continue
        text = b"\x01" + link.encode()
        out += _narrow(0x1AE, struct.pack("<HHB", 1, len(text), 0) + text + _short("Sheet1"))
    for name, text in plan.connections.items():
        head = struct.pack("<HHHHHHBBHBBBHHIBB", 0x876, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        long = [struct.pack("<I", len(t)) + (_short(t) if t else b"") for t in ("", name, "", "")]
        out += _narrow(0x876, head + b"".join(long) + struct.pack("<I", len(text)) + _short(text))
    return out + _narrow(0xE0, bytes(20)) * min(plan.styles, 3500)


def _with_records(stream: bytes, added: bytes, macros: list[bool]) -> bytes:
    """Put records before the end of the globals; the sheets move by as much, and macro sheets are marked."""
    at, changed, sheets = 0, bytearray(stream), 0
    while True:
        code, length = struct.unpack_from("<HH", stream, at)
        if code == 0x0A:
            return bytes(changed[:at]) + added + bytes(changed[at:])
        if code == 0x85:
            begin = struct.unpack_from("<I", stream, at + 4)[0]
            struct.pack_into("<I", changed, at + 4, begin + len(added))
            changed[at + 9] = 1 if macros[sheets] else 0
            sheets += 1
        at += 4 + length


def practice_macros() -> bytes:
    """A macro project of one module."""
    return vba_project({"MonthEnd": 'Sub Auto_Open()\n  Range("K4").Value = 1\nEnd Sub\n'})
