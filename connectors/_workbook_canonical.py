"""Rewrites a worksheet's XML in the one way that spreadsheet programs write it, for files that do otherwise.

Prefixed elements, attributes in another order, cells without references, comments and CDATA are all valid XML; the
fast scan reads none of them. This is a streaming expat pass: slower, and in bounded memory.
"""

from __future__ import annotations

import xml.parsers.expat
from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from weighbridge.connectors._workbook_package import Package, WorkbookProblem

__all__ = ["canonical"]

ENOUGH = 1 << 20


class _Writer:
    def __init__(self) -> None:
        self.out: list[str] = []
        self.size = 0
        self.row = 0
        self.column = 0
        self.stack: list[str] = []
        self.keep_text = 0

    def put(self, text: str) -> None:
        self.out.append(text)
        self.size += len(text)

    def take(self) -> bytes:
        text = "".join(self.out).encode()
        self.out.clear()
        self.size = 0
        return text

    def start(self, name: str, attributes: dict[str, str]) -> None:
        from weighbridge.connectors._workbook_scan import column_letters, column_number

        tag = name.rsplit(":", 1)[-1]
        self.stack.append(tag)
        plain = {key: value for key, value in attributes.items() if not key.startswith("xmlns")}
        if tag == "row":
            number = plain.pop("r", "")
            self.row = int(number) if number.isdigit() else self.row + 1
            self.column = 0
            plain = {"r": str(self.row), **plain}
        elif tag == "c":
            reference = plain.pop("r", "").upper()
            letters = reference.rstrip("0123456789")
            self.column = column_number(letters) if letters.isalpha() and letters else self.column + 1
            if not letters:
                reference = f"{column_letters(self.column)}{self.row}"
            plain = {"r": reference, **plain}
        elif tag in {"v", "f", "t"}:
            self.keep_text += 1
        self.put(f"<{tag}{''.join(f' {k}={quoteattr(v)}' for k, v in plain.items())}>")

    def end(self, name: str) -> None:
        tag = name.rsplit(":", 1)[-1]
        if self.stack:
            self.stack.pop()
        if tag in {"v", "f", "t"}:
            self.keep_text -= 1
        self.put(f"</{tag}>")

    def text(self, data: str) -> None:
        if self.keep_text:
            self.put(escape(data))


def canonical(package: Package, part: str) -> Iterator[bytes]:
    """The part's chunks, rewritten. Raises `WorkbookProblem` where it is not well-formed."""
    writer = _Writer()
    parser = xml.parsers.expat.ParserCreate("utf-8")
    parser.StartElementHandler = writer.start
    parser.EndElementHandler = writer.end
    parser.CharacterDataHandler = writer.text
    parser.buffer_text = True
    try:
        for chunk in package.chunks(part):
            parser.Parse(chunk, False)
            if writer.size > ENOUGH:
                yield writer.take()
        parser.Parse(b"", True)
    except xml.parsers.expat.ExpatError as error:
        raise WorkbookProblem(
            f"{package.path}: not a workbook that can be read: its part {part} is not well-formed XML ({error}).",
            code="malformed",
            remedy="Open it in Excel, let it repair the file and save it under a new name.",
        ) from None
    yield writer.take()
