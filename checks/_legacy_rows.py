"""The legacy check's counts from rows that were read, where SQL has no words for them, as in Access or Firebird."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from weighbridge.checks._legacy_look import Look
from weighbridge.checks._legacy_sql import is_text
from weighbridge.checks._legacy_text import PATTERNS, SENTINELS, is_ebcdic, is_mojibake, sentinel_of
from weighbridge.connectors.base import Column

__all__ = ["counts_of_rows", "rows_of"]

MOST_ROWS = 50_000
_COMPILED = {kind: re.compile(pattern) for kind, pattern in PATTERNS.items() if kind not in {"mojibake", "ebcdic"}}


def rows_of(look: Look, names: list[str]) -> Iterator[dict[str, Any]]:
    """The table's first rows, as many as may be looked at; the look's sample says so where there are more."""
    if look.rows > MOST_ROWS:
        look.sample = f"the first {MOST_ROWS:,} rows, as the database finds them"
    seen = 0
    for page in look.connector.read(look.ref, columns=names):
        for row in page.batch.to_pylist():
            if seen == MOST_ROWS:
                return
            seen += 1
            yield row


def counts_of_rows(look: Look, profile: Callable[[Column, int, dict[str, int], str | None], Any]) -> list[Any]:
    """A profile of each column, with the same kinds as the SQL counts."""
    known = list(look.schema.columns)
    counts: dict[str, Counter[str]] = {c.name: Counter({"blank": 0} if is_text(c) else {}) for c in known}
    examples: dict[str, str] = {}
    filled_up = {c.name for c in known if c.native.lower().startswith(("char(", "nchar("))}
    rows = 0
    for row in rows_of(look, [c.name for c in known]):
        rows += 1
        for name, value in row.items():
            if value is None:
                continue
            counts[name]["present"] += 1
            for kind in _kinds(value) if "blank" in counts[name] else _day(value):
                if kind == "padded" and name in filled_up:
                    continue
                counts[name][kind] += 1
                if kind in {"mojibake", "ebcdic"}:
                    examples.setdefault(name, value)
    return [profile(c, rows, dict(counts[c.name]), examples.get(c.name)) for c in known]


def _kinds(text: str) -> Iterator[str]:
    if not text.strip(" "):
        yield "blank"
    if text.strip(" ") != text:
        yield "padded"
    if "\ufffd" in text:
        yield "lost"
    if "\0" in text:
        yield "nul"
    yield from (kind for kind, pattern in _COMPILED.items() if pattern.search(text))
    if day := sentinel_of(text):
        yield day
    if is_mojibake(text):
        yield "mojibake"
    if is_ebcdic(text) and len(text) > 3 and not text.isascii():
        yield "ebcdic"


def _day(value: Any) -> Iterator[str]:
    day = str(value)[:10]
    if day in SENTINELS:
        yield day
