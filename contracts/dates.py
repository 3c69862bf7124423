"""Date words of the standard: limits with their zones, and the patterns of Java's DateTimeFormatter as strptime's."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

__all__ = ["format_problem", "parse_limit", "strptime_formats"]

_WORDS = {
    "yyyy": "%Y", "uuuu": "%Y", "yy": "%y", "MMMM": "%B", "MMM": "%b", "MM": "%m", "M": "%-m", "dd": "%d", "d": "%-d",
    "HH": "%H", "H": "%-H", "hh": "%I", "h": "%-I", "mm": "%M", "m": "%-M", "ss": "%S", "s": "%-S", "a": "%p",
    "SSS": "%g", "SSSSSS": "%f", "SSSSSSSSS": "%n", "EEE": "%a", "EEEE": "%A", "XXX": "%z", "XX": "%z", "X": "%z",
    "Z": "%z", "xxx": "%z", "xx": "%z", "DDD": "%j",
}  # fmt: skip
_TOKEN = re.compile(r"'((?:[^']|'')*)'|([A-Za-z])\2*|(.)", re.DOTALL)


def strptime_formats(words: str) -> tuple[str, ...]:
    """The strptime formats of one or several patterns separated by `|`; ValueError names what cannot be read.

    Patterns with % are taken as strptime's own.
    """
    return tuple(_one(part.strip()) for part in words.split("|") if part.strip())


def _one(pattern: str) -> str:
    if "%" in pattern:
        return pattern
    out: list[str] = []
    for match in _TOKEN.finditer(pattern):
        quoted, letter, other = match.groups()
        if letter:
            word = match.group(0)
            if word not in _WORDS:
                raise ValueError(
                    f"the date format '{pattern[:60]}' has '{word}' at character {match.start() + 1}: not known"
                )
            out.append(_WORDS[word])
        elif quoted is not None:
            out.append(quoted.replace("''", "'") or "'")
        else:
            out.append(other)
    return "".join(out)


def format_problem(words: str) -> str | None:
    """Why a format cannot be read; None where it can."""
    try:
        if not strptime_formats(words):
            return "the date format is empty"
    except ValueError as error:
        return str(error)
    return None


def parse_limit(text: str, kind: str, zone: str, words: str | None = None) -> date | datetime | time:
    """A limit as a date, an aware UTC time or a time of day; a time without a zone is in `zone`."""
    if kind == "time":
        try:
            return time.fromisoformat(text)
        except ValueError:
            raise ValueError(f"the limit '{text[:60]}' is not a time of day") from None
    moment = _moment(text, words)
    if moment is None:
        raise ValueError(f"the limit '{text[:60]}' is not a date or time (write 2024-12-31 or 2024-12-31T23:59:59Z)")
    if kind == "date":
        return moment.date()
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return moment.astimezone(UTC)


def _moment(text: str, words: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    if not words:
        return None
    for pattern in strptime_formats(words):
        try:
            return datetime.strptime(text, pattern.replace("%-", "%").replace("%g", "%f").replace("%n", "%f"))  # noqa: DTZ007 - the zone follows
        except ValueError:
            continue
    return None
