"""Masks values before they reach a report: by the contract's classification, and by what a value looks like.

A report is mailed around; the rows it speaks of are people's. Enough is left to find the row in the system.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

__all__ = ["is_sensitive", "mask", "mask_text", "mask_value"]

_OPEN = frozenset({"", "public", "internal", "none", "non-sensitive", "unclassified", "1"})
_EMAIL = re.compile(r"([A-Za-z0-9])[A-Za-z0-9._%+'-]*@([A-Za-z0-9-]+\.)+([A-Za-z]{2,24})")
_IBAN = re.compile(r"\b([A-Z]{2}[0-9]{2})(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
_PHONE = re.compile(
    r"(?<![\w.,-])(?:\+|00)[0-9][0-9 ()/.-]{6,}[0-9](?![\w-])|(?<![\w.,-])0[0-9]{2,5}[ /-][0-9 -]{4,}[0-9](?![\w-])"
)
_DIGITS = re.compile(r"(?<![0-9A-Za-z-])[0-9](?:[ -]?[0-9]){8,}(?![0-9])")
MAX_SHOWN = 80


def is_sensitive(classification: str | None) -> bool:
    """Whether a contract's classification asks for masking; any word but `public`, `internal` and the like does."""
    return classification is not None and classification.strip().lower() not in _OPEN


def mask_text(text: str) -> str:
    """E-mail addresses, IBANs, phone numbers and runs of nine or more digits inside `text`, masked."""
    text = _EMAIL.sub(lambda m: f"{m.group(1)}***@***.{m.group(3)}", text)
    text = _IBAN.sub(lambda m: f"{m.group(1)}***", text)
    text = _PHONE.sub(lambda m: f"{m.group(0)[:3]}***", text)
    return _DIGITS.sub(lambda m: f"***{m.group(0)[-2:]}", text)


def mask_value(value: Any, classification: str | None = None) -> Any:
    """`value` as it may be shown: None, booleans and short numbers as they are, text masked and cut."""
    if value is None or isinstance(value, bool):
        return value
    if is_sensitive(classification):
        text = str(value)
        return f"{text[:1]}***" if len(text) > 3 else "***"
    if isinstance(value, (int, float)):
        shown = mask_text(str(value)) if isinstance(value, int) else str(value)
        return value if shown == str(value) and not isinstance(value, float) else shown
    shown = mask_text(str(value))
    return shown if len(shown) <= MAX_SHOWN else f"{shown[: MAX_SHOWN - 1]}…"


def mask(values: Iterable[tuple[Any, str | None]]) -> tuple[Any, ...]:
    """Several (value, classification) pairs, masked."""
    return tuple(mask_value(value, classification) for value, classification in values)
