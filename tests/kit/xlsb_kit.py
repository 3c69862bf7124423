"""Writes .xlsb files record by record: no library does."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

__all__ = ["binary_workbook", "cell", "record", "row_head", "wide"]


def record(code: int, body: bytes = b"") -> bytes:
    head = bytes([code]) if code < 128 else bytes([code & 0x7F | 0x80, code >> 7])
    size, length = b"", len(body)
    while True:
        size += bytes([length & 0x7F | (0x80 if length > 127 else 0)])
        length >>= 7
        if not length:
            return head + size + body


def wide(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode("utf-16-le")


def row_head(number: int, *, hidden: bool = False) -> bytes:
    return record(0, struct.pack("<IIHBBB", number, 0, 300, 0, 0x10 if hidden else 0, 0) + struct.pack("<I", 0))


def cell(code: int, column: int, body: bytes, style: int = 0) -> bytes:
    return record(code, struct.pack("<II", column, style) + body)


def binary_workbook(path: Path, *, cells: bytes = b"", after: bytes = b"", names: bytes = b"") -> Path:
    sheet = record(129) + record(148, struct.pack("<IIII", 0, 21 if cells else 3, 0, 3 if cells else 2))
    sheet += record(60, struct.pack("<IIIIH", 1, 1, 2000, 0, 1)) + record(145)
    sheet += row_head(0) + b"".join(cell(6, n, wide(text)) for n, text in enumerate(("id", "amount", "day")))
    for n in range(1, 4):
        sheet += row_head(n, hidden=n == 2) + cell(5, 0, struct.pack("<d", n))
        sheet += cell(3, 1, b"\x2a") if n == 3 else cell(2, 1, struct.pack("<I", (n * 250 << 2) | 3))
        sheet += cell(5, 2, struct.pack("<d", 45000 + n), style=1)
    sheet += cells + record(146) + after + record(176, struct.pack("<IIII", 1, 2, 0, 0)) + record(130)
    book = record(131) + record(153, struct.pack("<II", 0, 0) + wide("")) + record(143)
    book += record(156, struct.pack("<II", 0, 1) + wide("rId1") + wide("Data"))
    book += record(156, struct.pack("<II", 2, 2) + wide("rId2") + wide("Deep")) + record(144)
    book += names + record(132)
    formats = record(615, struct.pack("<I", 1)) + record(44, struct.pack("<H", 164) + wide("yyyy-mm-dd")) + record(616)
    styles = record(278) + formats + record(617, struct.pack("<I", 2))
    styles += b"".join(record(47, struct.pack("<HHHHHHHH", 0, n, 0, 0, 0, 0, 0, 0)) for n in (0, 164))
    styles += record(618) + record(279)
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    start = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'

    def relation(key: str, kind: str, target: str) -> str:
        return f'<Relationship Id="{key}" Type="{office}/{kind}" Target="{target}"/>'

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("_rels/.rels", f"{start}{relation('r', 'officeDocument', 'xl/workbook.bin')}</Relationships>")
        sheets = relation("rId1", "worksheet", "worksheets/sheet1.bin") + relation(
            "rId2", "worksheet", "worksheets/sheet2.bin"
        )
        archive.writestr(
            "xl/_rels/workbook.bin.rels", f"{start}{sheets}{relation('rId3', 'styles', 'styles.bin')}</Relationships>"
        )
        archive.writestr("xl/workbook.bin", book)
        archive.writestr("xl/styles.bin", styles)
        archive.writestr("xl/worksheets/sheet1.bin", sheet)
        archive.writestr("xl/worksheets/sheet2.bin", record(129) + record(145) + record(146) + record(130))
    return path
