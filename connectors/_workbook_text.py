"""Classes texts of cells that look like something a text should not hide: numbers, amounts, dates."""

from __future__ import annotations

import re

__all__ = ["CLASSES", "DATE_TEXT", "DECIMAL_COMMA", "LONG_DIGITS", "NUMBER_TEXT", "SCIENTIFIC", "classify"]

NOTHING, NUMBER_TEXT, DECIMAL_COMMA, DATE_TEXT, LONG_DIGITS, SCIENTIFIC = range(6)
CLASSES = ("", "number", "decimal comma", "date", "long digits", "scientific notation")
MAX_LENGTH = 40

_PLAIN = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d+)?%?")
_COMMA = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:[. \u00a0]\d{3})+),\d{1,4}%?")
_SCIENTIFIC = re.compile(r"[+-]?\d(?:[.,]\d+)?E\+?\d{1,3}", re.IGNORECASE)
_MONTH = r"(?:jan|feb|m[aä]r|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz])[a-zä]*"
_DATE = re.compile(
    r"(?:(?P<a>\d{1,4})(?P<s>[./-])(?P<b>\d{1,2})(?P=s)(?P<c>\d{2,4})"
    rf"|\d{{1,2}}[. -]+{_MONTH}[. -]+\d{{2,4}}|{_MONTH} \d{{1,2}},? \d{{4}})"
    r"(?:[ T]\d{1,2}:\d{2}(?::\d{2})?(?:\.\d+)?(?:Z|[ap]m)?)?",
    re.IGNORECASE,
)
_MONTHS = frozenset(
    ["jan", "feb", "mar", "mär", "apr", "mai", "may", "jun", "jul", "aug", "sep", "okt", "oct", "nov", "dec", "dez"]
)
_FIRST = frozenset("0123456789+-.,( \u00a0€$£")
_LAST = frozenset("0123456789%)€$£-ZMzm \u00a0.")


def classify(text: str) -> int:
    """The class of a cell's text. Digits with leading zeros are codes, and codes are texts rightly."""
    if not text or len(text) > MAX_LENGTH or text[-1] not in _LAST:
        return NOTHING
    if text[0] not in _FIRST and text[:3].lower() not in _MONTHS:
        return NOTHING
    core = text.strip(" \u00a0").strip("€$£").strip(" \u00a0")
    if not core:
        return NOTHING
    if core.isdigit():
        if len(core) > 15:
            return LONG_DIGITS
        return NOTHING if core[0] == "0" and len(core) > 1 else NUMBER_TEXT
    if _PLAIN.fullmatch(core):
        bare = core.lstrip("+-")
        return NOTHING if bare[0] == "0" and len(bare) > 1 and bare[1].isdigit() else NUMBER_TEXT
    if _COMMA.fullmatch(core):
        return DECIMAL_COMMA
    if _SCIENTIFIC.fullmatch(core):
        return SCIENTIFIC
    found = _DATE.fullmatch(core)
    if found and (found["a"] is None or _plausible(int(found["a"]), int(found["b"]), found["c"])):
        return DATE_TEXT
    return NOTHING


def _plausible(first: int, second: int, third: str) -> bool:
    """Whether three numbers can be day, month and year in some order."""
    if first > 31:
        return 1800 <= first <= 9999 and 1 <= second <= 12 and 1 <= int(third) <= 31
    return 1 <= first <= 31 and 1 <= second <= 31 and min(first, second) <= 12 and len(third) in {2, 4}
