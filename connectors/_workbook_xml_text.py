"""Texts of a workbook's XML as the user sees them."""

from __future__ import annotations

import re

__all__ = ["NotCanonical", "unescape", "unescaped"]


class NotCanonical(Exception):
    """The XML is not written in the usual way."""


_ENTITY = re.compile(r"&(#x[0-9A-Fa-f]+|#\d+|amp|lt|gt|quot|apos);")
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")


def unescape(raw: bytes) -> str:
    """XML text as the user sees it."""
    return unescaped(raw.decode("utf-8", "replace"))


def unescaped(text: str) -> str:
    """XML text as the user sees it."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "&" in text:
        text = _ENTITY.sub(_character, text)
    if "_x" in text:
        text = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    return text


def _character(found: re.Match[str]) -> str:
    name = found[1]
    if name[0] != "#":
        return _NAMED[name]
    number = int(f"0{name[1:]}", 0) if name[1] == "x" else int(name[1:])
    return chr(number) if number < 0x110000 else "\ufffd"
