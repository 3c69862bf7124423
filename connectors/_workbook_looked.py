"""One sheet with its scan and what was made of its first rows: where its header is and what stands in it."""

from __future__ import annotations

from collections.abc import Iterable

from weighbridge.connectors._workbook_parts import Sheet
from weighbridge.connectors._workbook_scan import COLUMNS, SheetScan, place

__all__ = ["Looked"]


class Looked:
    """One sheet with its scan and what was made of its first rows."""

    def __init__(self, sheet: Sheet, scan: SheetScan) -> None:
        self.sheet, self.scan = sheet, scan
        self.header = 0
        self.labels: dict[int, str] = {}
        self.header_kinds: dict[int, int] = {}
        """Kind of each of the header's cells by column."""
        self.top: dict[int, dict[int, int]] = {}
        """Kinds of the cells above and in the header: column -> kind -> count."""

    def at(self, packed: Iterable[int], limit: int = 20) -> list[str]:
        return [f"{self.sheet.name}!{place(p // COLUMNS, p % COLUMNS + 1)}" for p in list(packed)[:limit]]
