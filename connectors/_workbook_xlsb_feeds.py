"""What feeds an .xlsb, from its binary parts: data connections and the sources of pivot caches."""

from __future__ import annotations

import struct

from weighbridge.connectors._workbook_package import Package
from weighbridge.connectors._workbook_scan import place
from weighbridge.connectors._workbook_xlsb import damaged, wide_text, xlsb_records

__all__ = ["pivot_source", "xlsb_connections"]

CONNECTION, DATABASE, WEB, TEXT = 201, 203, 261, 538
SOURCE, RANGE = 185, 187
MOST = 10_000
"""Connections of a workbook that are named."""


def xlsb_connections(package: Package, part: str) -> list[str]:
    """`name: what it reads` of each connection ([MS-XLSB] 2.4.80, 2.4.61, 2.4.66, 2.4.65)."""
    out: list[str] = []
    try:
        for code, body in xlsb_records(package, part):
            if code == CONNECTION and len(out) < MOST:
                out.append(_name(body))
            elif out and (code == DATABASE or (code == WEB and body[4] & 4)):
                out[-1] += f": {wide_text(body, 5)[0]}"
            elif out and code == TEXT:
                out[-1] += f": {wide_text(body, 12)[0]}"
    except (struct.error, IndexError):
        raise damaged(package, part) from None
    return out


def _name(body: bytes) -> str:
    """23 bytes, the last two of the first ten say which texts stand before the name: two files and a description."""
    flags = struct.unpack_from("<H", body, 8)[0]
    at = 23
    for bit in (1, 2, 4):
        if flags & bit:
            _, at = wide_text(body, at)
    return wide_text(body, at)[0] or "connection"


def pivot_source(package: Package, part: str) -> str:
    """`from Data A1:D21`, `from Sales` (a name), `from a data connection` ([MS-XLSB] 2.4.166, 2.4.167)."""
    found = part.rsplit("/", 1)[-1]
    try:
        for code, body in xlsb_records(package, part):
            if code == SOURCE:
                kind = struct.unpack_from("<I", body)[0]
                found = {1: "from a data connection", 2: "from several ranges", 3: "from scenarios"}.get(kind, found)
            elif code == RANGE:
                return f"from {_range(body)}"
    except (struct.error, IndexError):
        raise damaged(package, part) from None
    return found


def _range(body: bytes) -> str:
    named, _, flags = body[0], body[1], body[2]
    at, sheet = 3, ""
    if flags & 2:
        sheet, at = wide_text(body, at)
    if flags & 1:
        _, at = wide_text(body, at)
    if named:
        return wide_text(body, at)[0] or "a name"
    top, bottom, left, right = struct.unpack_from("<IIII", body, at)
    return f"{sheet or 'a sheet'} {place(top + 1, left + 1)}:{place(bottom + 1, right + 1)}"
