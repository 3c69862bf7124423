"""Scans the cells of one worksheet's XML for what a reader of values would lose, vectorised over chunks of bytes.

A chunk is looked at as an array of bytes: every cell's place, kind, style and content are found by comparing whole
arrays, so that a sheet of millions of cells costs about as much as inflating it. XML that is not written in the one
way all spreadsheet programs use (attributes in another order, no references, white space between tags) is first
rewritten in that way, slowly but surely.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from weighbridge.connectors._workbook_chunk import Chunk
from weighbridge.connectors._workbook_package import Package, WorkbookProblem
from weighbridge.connectors._workbook_scan import COLUMNS, KINDS, NUMBER, Array, SheetScan
from weighbridge.connectors._workbook_xml_text import NotCanonical

if TYPE_CHECKING:
    from weighbridge.connectors._workbook_cell_values import CellValues

__all__ = ["Job", "scan_sheet"]

MAX_CARRY = 64 << 20
_ROW_HIDDEN = re.compile(rb'<row [^>]*?\bhidden="(?:1|true)"')
_ROW_NUMBER = re.compile(rb'\br="(\d+)"')


OnFormula = Callable[[int, int, bytes, bytes], None]


def scan_sheet(
    package: Package,
    part: str,
    *,
    styles: Array,
    text_classes: Array | None = None,
    classify: Callable[[str], int] | None = None,
    on_formula: OnFormula | None = None,
    values: CellValues | None = None,
) -> SheetScan:
    """Scan one worksheet part.

    `styles` is the kind (NUMBER, DATE, ...) of each cell format; `text_classes` the class of each shared string,
    `classify` the class of a text that stands in the cell itself. `values` gathers what the cells hold.
    """
    job = Job(package, part, styles, text_classes, classify, on_formula, values)
    try:
        return job.run(package.chunks(part))
    except NotCanonical:
        from weighbridge.connectors._workbook_canonical import canonical

        if values is not None:
            values.clear()
        job = Job(package, part, styles, text_classes, classify, on_formula, values)
        return job.run(canonical(package, part))


class Job:
    def __init__(
        self,
        package: Package,
        part: str,
        styles: Array,
        text_classes: Array | None,
        classify: Callable[[str], int] | None,
        on_formula: OnFormula | None,
        values: CellValues | None,
    ) -> None:
        self.values = values
        self.package, self.part = package, part
        self.styles = np.asarray(styles if len(styles) else [NUMBER], np.uint8)
        self.text_classes, self.classify, self.on_formula = text_classes, classify, on_formula
        self.scan = SheetScan(
            kinds=np.zeros((COLUMNS, len(KINDS)), np.int64), text_classes=np.zeros((COLUMNS, 16), np.int64)
        )
        self.flat_kinds = self.scan.kinds.reshape(-1)
        self.flat_classes = self.scan.text_classes.reshape(-1)
        self.width = 0

    def run(self, chunks: Iterator[bytes]) -> SheetScan:
        scan, carry, state = self.scan, b"", "head"
        for chunk in chunks:
            carry = carry + chunk if carry else chunk
            if state == "head":
                state, carry = self._head(carry)
            if state == "cells":
                state, carry = self._cells(carry)
            if len(carry) > MAX_CARRY:
                raise WorkbookProblem(
                    f"{self.package.path}: refused: {self.part} holds one element of more than {MAX_CARRY:,} bytes.",
                    code="hostile",
                    remedy="Ask for the original file and save it again from Excel.",
                )
        if state == "head":
            if b"sheetData" in carry and b"<sheetData/>" not in carry.replace(b" ", b""):
                raise NotCanonical
            scan.head = scan.tail = carry
        elif state == "cells":
            raise WorkbookProblem(
                f"{self.package.path}: not a workbook that can be read: {self.part} ends in the middle of its cells.",
                code="malformed",
                remedy="Copy the file again from its source.",
            )
        else:
            scan.tail = carry
        scan.kinds = scan.kinds[: self.width].copy()
        scan.text_classes = scan.text_classes[: self.width].copy()
        return scan

    def _head(self, text: bytes) -> tuple[str, bytes]:
        at = text.find(b"<sheetData")
        if at < 0:
            if re.search(rb"<\w+:(?:worksheet|sheetData|macrosheet)\b", text[:8192]):
                raise NotCanonical  # every element carries a prefix
            return "head", text
        end = text.find(b">", at)
        if end < 0:
            return "head", text
        self.scan.head = text[:at]
        return ("tail" if text[end - 1 : end] == b"/" else "cells"), text[end + 1 :]

    def _cells(self, text: bytes) -> tuple[str, bytes]:
        end = text.find(b"</sheetData")
        if end >= 0:
            self._chunk(text[:end])
            return "tail", text[end:]
        cut = max(text.rfind(b"<c "), text.rfind(b"<row "))
        if cut > 0:
            self._chunk(text[:cut])
            return "cells", text[cut:]
        return "cells", text

    def _chunk(self, text: bytes) -> None:
        if b'hidden="' in text:
            self._hidden(text)
        at = text.rfind(b"<row ")
        if at >= 0 and (found := _ROW_NUMBER.search(text, at)):
            self.scan.styled_row = max(self.scan.styled_row, int(found[1]))
        buffer = text + b" " * 32
        a = np.frombuffer(buffer, np.uint8)
        lt = np.flatnonzero(a == 60)
        second = a[lt + 1]
        # a comment, CDATA, or a row without attributes; looked for among the tags, for a search of the text costs more
        rows = lt[second == 114]
        if (second == 33).any() or ((a[rows + 2] == 111) & (a[rows + 4] == 62)).any():
            raise NotCanonical
        index = np.flatnonzero(second == 99)
        third = a[lt[index] + 2]
        index = index[(third == 32) | (third == 62) | (third == 47)]
        if len(index) == 0:
            if re.search(rb"<\w+:c[ >]|<c[\t\r\n]", text):
                raise NotCanonical
            return
        Chunk(self, buffer, a, lt, index).run()

    def _hidden(self, text: bytes) -> None:
        for found in _ROW_HIDDEN.finditer(text):
            self.scan.hidden_rows += 1
            if len(self.scan.hidden_row_places) < 20 and (number := _ROW_NUMBER.search(found[0])):
                self.scan.hidden_row_places.append(int(number[1]))
