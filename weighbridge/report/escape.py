"""Making text from systems safe for each place it is shown: terminal, Markdown, spreadsheet, XML.

Data may carry escape sequences, formulas, markup or characters that reverse the reading direction; a report shows
them, it never obeys them. HTML is escaped by the template engine.
"""

from __future__ import annotations

import re

__all__ = ["markdown", "markdown_code", "one_line", "printable", "spreadsheet", "xml"]

# C0 and C1 controls (tab and newline apart), and the characters that turn the reading direction around.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_SPACES = re.compile("[\\s\u2028\u2029]+")
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MARKDOWN = re.compile(r"([\\`*_\[\]<>#|~&$]|^[-+=.]|:(?=//)|(?<=www)\.)")
_LIST = re.compile(r"^(\d+)([.)])")
_EXCEL_ESCAPE = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")
_EXCEL_CELL = 32_767
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def printable(text: str) -> str:
    """The text without control characters (tab and newline apart) and without reversals of the reading direction."""
    return _CONTROLS.sub("", text)


def one_line(text: object, *, limit: int | None = None, encoding: str | None = None) -> str:
    """The text on one line without control characters; cut with an ellipsis, replaced where `encoding` lacks it."""
    clean = _SPACES.sub(" ", _CONTROLS.sub("", str(text))).strip()
    if limit is not None and len(clean) > limit:
        clean = clean[: max(0, limit - 3)].rstrip() + "..."
    if encoding is not None:
        clean = clean.encode(encoding, "replace").decode(encoding)
    return clean


def markdown(text: object, *, limit: int | None = None) -> str:
    """The text as literal Markdown: no markup, no link, no mention, no table break."""
    escaped = _LIST.sub(r"\1\\\2", _MARKDOWN.sub(r"\\\1", one_line(text, limit=limit)))
    # A zero-width space keeps GitHub from telling a stranger who shares a name with a value in the data.
    return escaped.replace("@", "@\u200b")


def markdown_code(text: object, *, limit: int | None = None) -> str:
    """The text as a code span that also holds inside a table."""
    clean = one_line(text, limit=limit).replace("|", "\\|")
    if not clean:
        return ""
    longest = max((len(run) for run in re.findall("`+", clean)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if clean.startswith("`") or clean.endswith("`") else ""
    return f"{fence}{pad}{clean}{pad}{fence}"


def xml(text: object) -> str:
    """The text without the characters that XML 1.0 cannot hold; the serialiser escapes the rest."""
    return _NOT_XML.sub("\ufffd", str(text))


def spreadsheet(text: object) -> tuple[str, bool]:
    """The text as a cell can hold it, and whether it must be marked as text lest a spreadsheet runs it."""
    clean = _EXCEL_ESCAPE.sub("_x005F_", xml(_CONTROLS.sub("", str(text))))
    if len(clean) > _EXCEL_CELL:
        clean = clean[: _EXCEL_CELL - 3] + "..."
    return clean, clean.lstrip(" \u00a0").startswith(_FORMULA) or clean.startswith(_FORMULA)
