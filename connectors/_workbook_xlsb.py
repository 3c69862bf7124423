"""Reads the binary parts of an .xlsb: sheets, formats, and what its cells hold that values would lose.

Looked at: sheet states, macro sheets (by relationship), date system, protection, merges, hidden rows and columns,
cell kinds, error cells, names, tables, conditional formats; formulas by `_workbook_binary_formulas`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from weighbridge.connectors._workbook_biff import is_long, is_no_date, rk_number
from weighbridge.connectors._workbook_package import Package, WorkbookProblem, workbook_part
from weighbridge.connectors._workbook_parts import Name, Parts, Sheet, Styles, Table, number_kind, read_properties
from weighbridge.connectors._workbook_scan import (
    BOOL,
    COLUMNS,
    DATE,
    DATETIME,
    ERROR,
    KINDS,
    MAX_ROW,
    NUMBER,
    TEXT,
    SheetScan,
    place,
)
from weighbridge.connectors._workbook_tokens import ERROR_TEXT, Linked, Scope, formula_text

__all__ = [
    "damaged",
    "live_link",
    "read_xlsb",
    "scan_xlsb",
    "value_end",
    "wide_text",
    "xlsb_records",
    "xlsb_styles",
]

_CELL_KIND = {2: -1, 3: ERROR, 4: BOOL, 5: -1, 6: TEXT, 7: TEXT, 8: TEXT, 9: -1, 10: BOOL, 11: ERROR}
"""Record of a cell -> kind; -1 is a number whose format decides."""
MAX_CARRY = 16 << 20


def xlsb_records(package: Package, part: str) -> Iterator[tuple[int, bytes]]:
    """(record type, body) of a binary part, streamed."""
    carry = b""
    for chunk in package.raw(part):
        data = carry + chunk
        at, size = 0, len(data)
        while True:
            begin = at
            if at + 2 > size:
                break
            code = data[at]
            at += 1
            if code & 0x80:
                code = (code & 0x7F) | (data[at] & 0x7F) << 7
                at += 1
            length = shift = 0
            complete = False
            while at < size and shift < 28:
                byte = data[at]
                at += 1
                length |= (byte & 0x7F) << shift
                shift += 7
                if not byte & 0x80:
                    complete = True
                    break
            if not complete or at + length > size:
                at = begin
                break
            yield code, data[at : at + length]
            at += length
        carry = data[at:]
        if len(carry) > MAX_CARRY:
            raise damaged(package, part)
    if carry.strip(b"\0"):
        raise damaged(package, part)


def damaged(package: Package, part: str) -> WorkbookProblem:
    """That the records of a part cannot be read."""
    return WorkbookProblem(
        f"{package.path}: not a workbook that can be read: the records of {part} are damaged or truncated.",
        code="malformed",
        remedy="Open it in Excel, let it repair the file and save it as .xlsx.",
    )


def wide_text(body: bytes, at: int) -> tuple[str, int]:
    """A string with its length in front, and where it ends."""
    length = struct.unpack_from("<I", body, at)[0]
    if length == 0xFFFFFFFF:
        return "", at + 4
    end = at + 4 + 2 * length
    return body[at + 4 : end].decode("utf-16-le", "replace"), end


def read_xlsb(package: Package) -> Parts:
    """The workbook's description."""
    main = workbook_part(package) or "xl/workbook.bin"
    relations = {r.id: r for r in package.relations(main)}
    scope = Scope(wide=True)
    parts = Parts(workbook=main, scope=scope)
    names: list[bytes] = []
    try:
        for code, body in xlsb_records(package, main):
            if code == 156:
                state = struct.unpack_from("<I", body)[0]
                relation_id, at = wide_text(body, 8)
                name, _ = wide_text(body, at)
                relation = relations.get(relation_id)
                kind = relation.kind if relation else "worksheet"
                kind = "macrosheet" if "acrosheet" in kind else kind
                word = ("visible", "hidden", "veryHidden")[min(state, 2)]
                target = relation.target if relation else ""
                parts.sheets.append(Sheet(name, word, kind, target, len(parts.sheets)))
                scope.sheets.append(name)
            elif code == 153:
                parts.date1904 = bool(body[0] & 1)
            elif code == 39:
                names.append(body)
                scope.names.append(wide_text(body, 9)[0])
            elif code == 534:
                parts.protected.append("workbook")
            elif code in {357, 358, 667}:
                scope.books.append(Linked(own=code != 667, addin=code == 667))
            elif code == 355:
                relation = relations.get(wide_text(body, 0)[0])
                scope.books.append(_linked(package, relation.target if relation else ""))
            elif code == 362:
                scope.places.extend(struct.unpack_from("<Iii", body, 4 + 12 * i) for i in range((len(body) - 4) // 12))
        parts.names = [_name(body, parts, scope) for body in names]
    except (struct.error, IndexError):
        raise damaged(package, main) from None
    for sheet in parts.sheets:
        if sheet.kind == "worksheet":
            parts.tables.extend(_tables(package, sheet))
    read_properties(package, parts)
    return parts


def _name(body: bytes, parts: Parts, scope: Scope) -> Name:
    """Flags (4 bytes), shortcut key (1), sheet (4), name, size of the formula (4), its tokens."""
    flags, index = struct.unpack_from("<IxI", body)
    name, at = wide_text(body, 9)
    size = struct.unpack_from("<I", body, at)[0]
    sheet = parts.sheets[index].name if index < len(parts.sheets) else None
    text = formula_text(body[at + 4 : at + 4 + size], scope)
    return Name(name, text or "(not decoded)", sheet, bool(flags & 1))


def _linked(package: Package, part: str) -> Linked:
    """The sheets and names of another workbook, as far as this one remembers them."""
    found = Linked()
    if package.has(part):
        for code, body in xlsb_records(package, part):
            if code == 359:
                at = 4
                for _ in range(min(struct.unpack_from("<I", body)[0], 10_000)):
                    name, at = wide_text(body, at)
                    found.sheets.append(name)
            elif code == 577:
                found.names.append(wide_text(body, 0)[0])
    return found


def _tables(package: Package, sheet: Sheet) -> Iterator[Table]:
    """The tables of a sheet: their rectangle (rows, then columns), kind, number, header and totals rows, names."""
    for relation in package.relations(sheet.part):
        if relation.kind != "table" or not package.has(relation.target):
            continue
        try:
            head, columns = b"", []
            for code, body in xlsb_records(package, relation.target):
                if code == 343:
                    head = body
                elif code == 347:
                    name, at = wide_text(body, 24)
                    columns.append(wide_text(body, at)[0] or name)
            if not head:
                continue
            top, bottom, left, right, _kind, _number, header, totals = struct.unpack_from("<8I", head)
            name, at = wide_text(head, 64)
            shown = wide_text(head, at)[0]
            reference = f"{place(top + 1, left + 1)}:{place(bottom + 1, right + 1)}"
            yield Table(shown or name, sheet.name, reference, header, totals, tuple(columns))
        except (struct.error, IndexError):
            raise damaged(package, relation.target) from None


def value_end(code: int, body: bytes) -> int:
    """Where the value of a formula's cell record ends: two bytes of flags and the formula follow."""
    return wide_text(body, 8)[1] if code == 8 else 16 if code == 9 else 9


def live_link(package: Package, part: str) -> str | None:
    """A link to a running program (DDE), as `program|topic`; None where it leads to a workbook."""
    try:
        for code, body in xlsb_records(package, part):
            if code == 360 and struct.unpack_from("<H", body)[0] == 1:
                service, at = wide_text(body, 2)
                return f"DDE {service or '?'}|{wide_text(body, at)[0]}"
    except (struct.error, IndexError):
        raise damaged(package, part) from None
    return None


def xlsb_styles(package: Package) -> Styles:
    """Kinds of all cell formats."""
    styles = Styles(np.asarray([NUMBER], np.uint8))
    if not package.has("xl/styles.bin"):
        return styles
    codes: dict[int, str] = {}
    kinds: list[int] = []
    cells = False
    try:
        for code, body in xlsb_records(package, "xl/styles.bin"):
            if code == 44:
                codes[struct.unpack_from("<H", body)[0]] = wide_text(body, 2)[0]
            elif code == 617:
                cells = True
            elif code == 618:
                cells = False
            elif code == 47 and cells:
                number = struct.unpack_from("<H", body, 2)[0]
                kinds.append(number_kind(codes.get(number, ""), number))
            elif code == 507:
                styles.dxfs += 1
    except (struct.error, IndexError):
        raise damaged(package, "xl/styles.bin") from None
    styles.kinds = np.asarray(kinds or [NUMBER], np.uint8)
    styles.cell_formats = len(kinds)
    return styles


def _number(code: int, body: bytes) -> float:
    return rk_number(struct.unpack_from("<I", body, 8)[0]) if code == 2 else struct.unpack_from("<d", body, 8)[0]


def _layout(scan: SheetScan, code: int, body: bytes) -> None:
    if code == 60:
        first, last, _width, _style, flags = struct.unpack_from("<IIIIH", body)
        if flags & 1 and len(scan.hidden_columns) < COLUMNS:
            scan.hidden_columns.append((first + 1, min(last, COLUMNS - 1) + 1))
    elif code == 176:
        top, bottom, left, right = struct.unpack_from("<IIII", body)
        scan.merges.extend((top % MAX_ROW + 1, left % COLUMNS + 1, bottom % MAX_ROW + 1, right % COLUMNS + 1))
    elif code == 535 and struct.unpack_from("<I", body, 2)[0]:
        scan.protected = True
    elif code == 463:
        scan.rules += 1


def scan_xlsb(package: Package, part: str, *, styles: Any, date1904: bool = False) -> SheetScan:
    """Scan one binary worksheet."""
    scan = SheetScan(kinds=np.zeros((COLUMNS, len(KINDS)), np.int64))
    formats = [int(k) for k in styles] or [NUMBER]
    errors: list[int] = []
    error_raw: list[str] = []
    no_dates: list[int] = []
    long_numbers: dict[int, str] = {}
    row = 0
    try:
        for code, body in xlsb_records(package, part):
            if code == 0 and len(body) >= 12:
                row = struct.unpack_from("<I", body)[0] + 1
                scan.styled_row = max(scan.styled_row, row)
                if body[11] & 0x10:
                    scan.hidden_rows += 1
                    if len(scan.hidden_row_places) < 20:
                        scan.hidden_row_places.append(row)
            elif code in _CELL_KIND:
                column, style = struct.unpack_from("<II", body)
                kind = _CELL_KIND[code]
                if kind < 0:
                    kind = formats[min(style & 0xFFFFFF, len(formats) - 1)]
                    value = (
                        rk_number(struct.unpack_from("<I", body, 8)[0])
                        if code == 2
                        else struct.unpack_from("<d", body, 8)[0]
                    )
                    if kind in {DATE, DATETIME} and is_no_date(value, date1904=date1904):
                        no_dates.append(row * COLUMNS + column)
                    if is_long(value):
                        long_numbers[row * COLUMNS + column] = str(int(value))
                if column >= COLUMNS or not 0 < row <= 1_048_576:
                    raise damaged(package, part)
                scan.cells += 1
                scan.filled += 1
                scan.kinds[column, kind] += 1
                scan.last_row = max(scan.last_row, row)
                scan.first_row = min(scan.first_row or row, row)
                scan.last_column = max(scan.last_column, column + 1)
                if kind == ERROR:
                    errors.append(row * COLUMNS + column)
                    error_raw.append(ERROR_TEXT.get(body[8], "#ERROR"))
                if code >= 8:
                    scan.formulas += 1
            else:
                _layout(scan, code, body)
    except (struct.error, IndexError):
        raise damaged(package, part) from None
    order = np.argsort(np.asarray(errors, np.int64), kind="stable")
    scan.errors.add(np.asarray(errors, np.int64)[order], lambda i: error_raw[int(order[i])])
    long_at = sorted(long_numbers)
    scan.long_numbers.add(np.asarray(long_at, np.int64), lambda i: long_numbers[long_at[i]])
    scan.no_dates.add(np.asarray(sorted(no_dates), np.int64), lambda _i: "date")
    scan.kinds = scan.kinds[: scan.last_column].copy()
    return scan
