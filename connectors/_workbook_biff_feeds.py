"""What feeds a legacy .xls, from its records: queries, data connections, the sources of pivot caches, linked books."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from weighbridge.connectors._workbook_scan import place

__all__ = ["BiffFeeds", "book_path"]

_SOURCES = {1: "ODBC", 2: "DAO", 4: "a web page", 5: "OLE DB", 6: "a text file", 7: "ADO"}
QUERY_TABLE, QUERY, STRING, CONNECTION = 0x1AD, 0xDC, 0xCD, 0x876
PIVOT_CACHE, FROM_RANGE, FROM_NAME = 0xE3, 0x51, 0x52


@dataclass(slots=True)
class BiffFeeds:
    """Takes records one by one ([MS-XLS] 2.4); strings and sources belong to the record before them."""

    queries: list[str] = field(default_factory=list)
    """Query tables on sheets: `prices in Data: DSN=...`."""
    connections: list[str] = field(default_factory=list)
    pivots: list[str] = field(default_factory=list)
    _query: int = -1
    _cached: bool = False

    def record(self, code: int, body: bytes, sheet: str | None = None) -> bool:
        """Take one record of the workbook or of a sheet; whether it was one of those."""
        if code == QUERY_TABLE:
            name = _sized(body, 10)[0] or "a query table"
            self._query = len(self.queries)
            self.queries.append(f"{name} in {sheet}")
        elif code == QUERY:
            self._kind(struct.unpack_from("<H", body)[0] & 7)
        elif code == STRING:
            self._string(_sized(body, 0)[0])
        elif code == CONNECTION:
            self.connections.append(_connection(body))
        elif code == PIVOT_CACHE:
            kind = struct.unpack_from("<H", body)[0]
            self._cached = True
            word = {2: "from a data connection", 4: "from several ranges", 16: "from scenarios"}
            self.pivots.append(word.get(kind, "pivot cache"))
        elif code in {FROM_RANGE, FROM_NAME}:
            if self.pivots and self.pivots[-1] == "pivot cache":
                self.pivots[-1] = _range(body) if code == FROM_RANGE else _named(body)
        else:
            return False
        return True

    def _kind(self, kind: int) -> None:
        if 0 <= self._query < len(self.queries):
            self.queries[self._query] += f": {_SOURCES.get(kind, 'a query')}"

    def _string(self, text: str) -> None:
        if not text:
            return
        if 0 <= self._query < len(self.queries):
            joined = f"{self.queries[self._query]} {text}"
            self.queries[self._query] = joined[:2000]
        elif self._cached and self.pivots[-1].startswith("from a data connection"):
            self.pivots[-1] = f"{self.pivots[-1]} {text}"[:2000]

    def end_of_sheet(self) -> None:
        """What follows belongs to another sheet."""
        self._query = -1


def _sized(body: bytes, at: int) -> tuple[str, int]:
    """A string with its number of characters (2 bytes) in front, and where it ends."""
    if at + 3 > len(body):
        return "", at
    length, wide = struct.unpack_from("<HB", body, at)
    size = length * (2 if wide & 1 else 1)
    raw = body[at + 3 : at + 3 + size]
    return raw.decode("utf-16-le" if wide & 1 else "latin-1", "replace"), at + 3 + size


def _segmented(body: bytes, at: int) -> tuple[str, int]:
    """A long string: all its characters (4 bytes), then pieces with their own number in front."""
    total = struct.unpack_from("<I", body, at)[0]
    at += 4
    text = ""
    while len(text) < total and at + 3 <= len(body):
        piece, at = _sized(body, at)
        if not piece:
            break
        text += piece
    return text, at


def _connection(body: bytes) -> str:
    """29 bytes of flags and times, the file the data lie in (OLE DB), that of the connection, its name, what it is for.

    Of ODBC the connection string follows, unless tables or parameters stand before it.
    """
    kind, flags = struct.unpack_from("<HH", body, 4)
    name, where = "", _SOURCES.get(kind, "a data source")
    try:
        at, texts = 29, []
        for _ in range(4 if kind == 5 else 3):
            text, at = _segmented(body, at)
            texts.append(text)
        name = texts[-2]
        where = next((t for t in texts[:-2] if t), where)
        if kind == 1 and not flags & 0x14:
            _, at = _segmented(body, at)
            where = _segmented(body, at)[0] or where
    except struct.error:
        pass  # cut short by whoever wrote it: what was read is told
    return f"{name or 'a data connection'}: {where}"


def _range(body: bytes) -> str:
    """Rows (2 bytes each), columns (1 each), then the sheet behind a 2, or another book behind a 1."""
    top, bottom, left, right, length = struct.unpack_from("<HHBBH", body)
    text = ""
    if length and len(body) > 8:
        wide = body[8] & 1
        text = body[9 : 9 + length * (1 + wide)].decode("utf-16-le" if wide else "latin-1", "replace")
    cells = f"{place(top + 1, left + 1)}:{place(bottom + 1, right + 1)}"
    return f"from {text[1:] if text[:1] == chr(2) else book_path(text) or 'a sheet'} {cells}"


def _named(body: bytes) -> str:
    return f"from {_sized(body, 0)[0] or 'a name'}"


def book_path(encoded: str) -> str:
    """The path of another book from its encoded form ([MS-XLS] 2.5.277); `DDE program|topic` of a running program."""
    text = encoded.strip("\0")
    if text[:1] not in {"\x01", "\x02"} and "\x03" in text:
        program, _, topic = text.partition("\x03")
        return f"DDE {program}|{topic}"[:300]
    start = ""
    text = text.removeprefix("\x01")
    if text.startswith("\x01@"):
        start, text = "\\\\", text[2:]
    elif text[:1] == "\x01" and len(text) > 1:
        start, text = f"{text[1]}:\\", text[2:]
    elif text[:1] == "\x05":
        text = text[2:]
    elif text[:1] in {"\x02", "\x06", "\x07", "\x08"}:
        start, text = "\\" if text[0] == "\x02" else "", text[1:]
    return (start + text.replace("\x03", "\\").replace("\x04", "..\\"))[:300]
