"""Values that travel badly: each with what it stands for and what goes wrong when it is changed on its way."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

__all__ = ["CORPUS", "PATTERNS", "Edge", "Pattern", "change_of"]

Kind = Literal["text", "date", "timestamp", "number"]
CELL = 32_767
"""Characters that a workbook's cell holds."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One value; `effect` says what breaks when it does not come back as it went."""

    name: str
    kind: Kind
    value: Any
    effect: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """How such a value is recognised in what is there: a regular expression (RE2) searched in text."""

    name: str
    regex: str
    effect: str


def _text(name: str, value: str | None, effect: str) -> Edge:
    return Edge(name, "text", value, effect)


CORPUS: tuple[Edge, ...] = (
    _text("ALL CAPS", "MÜLLER & SÖHNE GMBH", "Names no longer match between systems."),
    _text("Turkish dotted and dotless i", "İSTANBUL ılık Iğdır", "Upper and lower case are not each other's inverse."),
    _text("leading zeros", "00123", "An article, postal or account number becomes another one."),
    _text("looks like 100000", "1E5", "A batch number becomes a number."),
    _text("looks like a formula", "=cmd|' /C calc'!A0", "A workbook made from it runs it."),
    _text(
        "emoji with joiners", "👩\u200d👩\u200d👧 \U0001f3f4\U000e0067\U000e0062\U000e007f", "Text is cut or refused."
    ),
    _text("right to left", "שלום עולם مرحبا", "Text is shown in a wrong order, or as question marks."),
    _text("composed accents (NFC)", unicodedata.normalize("NFC", "Café Ångström"), "The same name does not match."),
    _text("combined accents (NFD)", unicodedata.normalize("NFD", "Café Ångström"), "The same name does not match."),
    _text("no-break space", "12\u00a0345 kg", "Look-ups by typed text find nothing."),
    _text("NUL", "before\0after", "Text ends in the middle."),
    _text("apostrophe", "O'Brien", "A query breaks, or runs what stands in the name."),
    _text("quotes and backslash", 'say "hi" \\ and %20 &amp; <b>', "Text is decoded once too often."),
    _text("the word NULL", "NULL", "Mr. Null has no name."),
    _text("the words N/A", "N/A", "A value becomes nothing."),
    _text("empty text", "", "Nothing and unknown are mixed up."),
    _text("no value", None, "Nothing and unknown are mixed up."),
    _text("spaces around", "  padded  ", "Keys no longer match."),
    _text("line breaks", "line one\r\nline two\nline three", "A record becomes two, or its address one line."),
    _text("tab and semicolon", "a\tb;c,d", "Columns shift in exports."),
    _text("decimal comma", "1.234,56", "An amount becomes a thousandth of itself."),
    _text("a cell full of text", "n" * CELL, "A note is cut."),
    _text("a character more than a cell holds", "n" * (CELL + 1), "A note is cut."),
    _text("lone surrogate", "\ud83d half", "The whole batch fails to be encoded."),
    Edge("29 February", "date", date(2024, 2, 29), "A date becomes 1 March, or nothing."),
    Edge("before the epoch", "date", date(1900, 3, 1), "Birthdays and contract dates move by a day."),
    Edge("far future", "date", date(9999, 12, 31), "'Until further notice' becomes a date in the past."),
    Edge(
        "in the hour that daylight saving repeats",
        "timestamp",
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        "Times move by an hour.",
    ),
    Edge(
        "a second before the new year", "timestamp", datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC), "A year is lost."
    ),
    Edge("cents", "number", Decimal("0.10"), "Sums differ by cents."),
    Edge("negative", "number", Decimal("-1234.56"), "A credit note becomes an invoice."),
    Edge("large with cents", "number", Decimal("99999999.99"), "Large amounts lose their cents."),
)

PATTERNS: tuple[Pattern, ...] = (
    Pattern("leading zeros", r"^0\d+$", "Read as a number, it is another one."),
    Pattern("looks like a number in E notation", r"^\d+[eE]\d+$", "Read as a number, it is another one."),
    Pattern("looks like a formula", r"^[=+@][A-Za-z(]|^-[A-Za-z(]", "A workbook made from it runs it."),
    Pattern("decimal comma", r"^-?\d{1,3}(\.\d{3})*,\d+$", "Read as a number, it is a thousand times smaller."),
    Pattern("no-break space", "\u00a0", "Look-ups by typed text find nothing."),
    Pattern("spaces around", r"^\s|\s$", "Keys with and without them do not match."),
    Pattern("line break", r"[\r\n]", "A record becomes two in a text export."),
    Pattern("control character", r"[\x00-\x08\x0B\x0C\x0E-\x1F]", "XML and workbooks refuse it."),
    Pattern("the word NULL or N/A", r"^(?i:null|n/a|none|nil)$", "Many readers take it for no value."),
    Pattern("characters beyond the basic plane", r"[\x{10000}-\x{10FFFF}]", "Old databases cut the text there."),
    Pattern("right to left", r"[\x{0590}-\x{08FF}]", "Shown in a wrong order, or as question marks."),
    Pattern("combining accents", r"[\x{0300}-\x{036F}]", "The same name, composed, does not match."),
    Pattern("Turkish i", r"[\x{0130}\x{0131}]", "Upper and lower case are not each other's inverse."),
    Pattern("replacement character", r"\x{FFFD}", "A character has already been lost on the way here."),
)


def change_of(sent: Any, came: Any) -> str | None:
    """In a word or two what happened to a value on its way; None when it came back as it was."""
    if _same(sent, came):
        return None
    if came is None:
        return "became no value"
    if sent is None or sent == "":
        return f"became {came!r:.40}"
    if not isinstance(sent, str) or not isinstance(came, str):
        return f"became {came!r:.40}"
    return _text_change(sent, came)


def _text_change(sent: str, came: str) -> str:
    if came == sent.strip():
        return "spaces cut off"
    if unicodedata.normalize("NFC", came) == unicodedata.normalize("NFC", sent):
        return "accents recomposed"
    if came.replace("\r\n", "\n") == sent.replace("\r\n", "\n"):
        return "line breaks changed"
    if came == sent.replace("\u00a0", " "):
        return "no-break space made a space"
    if came == sent.replace("\0", ""):
        return "NUL removed"
    if sent.startswith(came):
        return f"cut to {len(came):,} of {len(sent):,} characters"
    if came.casefold() == sent.casefold():
        return "case changed"
    if came.lstrip("0") == sent.lstrip("0"):
        return "leading zeros lost"
    if "?" in came or "\ufffd" in came:
        return "characters replaced"
    return f"became {came!r:.40}"


HARMLESS = ("spaces cut off", "accents recomposed", "line breaks changed")
"""Changes that lose nothing but must be known when keys are compared."""


def _same(sent: Any, came: Any) -> bool:
    if isinstance(sent, Decimal) and isinstance(came, int | float | Decimal) and not isinstance(came, bool):
        return Decimal(str(came)) == sent
    if isinstance(sent, datetime) and isinstance(came, datetime):
        return (came if came.tzinfo else came.replace(tzinfo=UTC)) == sent
    if isinstance(sent, date) and isinstance(came, datetime):
        return came.date() == sent and came.time().isoformat() == "00:00:00"
    return type(sent) is type(came) and sent == came
