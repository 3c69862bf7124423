"""Compare what a driver handed over with the same values as text by the server."""

# ruff: noqa: ARG001 - the judges share one signature; only some need the declared type

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

__all__ = ["Difference", "differences"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One kind of change in one column: how often, and the first example."""

    column: str
    kind: str
    what: str
    """Completes 'the driver X ...'."""
    remedy: str
    value: Any
    text: str
    count: int
    looked: int


KINDS: dict[str, tuple[str, str]] = {
    "float32": (
        "rounds to single precision",
        "Declare the column double precision, or read it CAST as decimal; with arrow-odbc give a schema.",
    ),
    "rounded": (
        "rounds decimals",
        "Read the column CAST AS varchar, or use another driver.",
    ),
    "wrapped": (
        "turns large unsigned numbers negative",
        "Use the connector sql with the native driver, or read the column CAST AS signed 64 bit or decimal.",
    ),
    "boolean_text": (
        "hands truth values over as the text '0' and '1'",
        "psqlodbc: put BoolsAsChar=0 into the connection string.",
    ),
    "cut": (
        "cuts text at the first NUL character",
        "Use the connector sql with the native driver, or remove NUL characters in a view.",
    ),
    "zero_date": (
        "hands zero dates over as null",
        "Use the connector sql with the native driver, or read the column CAST AS char and treat 0000-00-00 yourself.",
    ),
    "lost": ("hands a value over as null", "Use another driver, or read the column CAST AS varchar."),
    "number": ("hands another number over", "Use another driver, or read the column CAST AS varchar."),
    "text": ("hands another text over", "Name the code page or charset in the connection string; compare the drivers."),
    "time": (
        "hands another date or time over",
        "Check the driver's time zone, or read the column CAST AS varchar.",
    ),
}


def differences(column: str, native: str, pairs: Iterable[tuple[Any, str | None]]) -> list[Difference]:
    """What was changed in one column, at most one entry a kind."""
    found: dict[str, tuple[Any, str, int]] = {}
    looked = 0
    for value, text in pairs:
        looked += 1
        if text is None:
            continue
        kind = _kind(value, text, native.lower())
        if kind is not None:
            first = found.get(kind)
            found[kind] = (value, text, 1) if first is None else (*first[:2], first[2] + 1)
    return [
        Difference(column, kind, *KINDS[kind], value=value, text=text, count=count, looked=looked)
        for kind, (value, text, count) in found.items()
    ]


def _kind(value: Any, text: str, native: str) -> str | None:
    if value is None:
        return "zero_date" if text.startswith("0000") else "lost"
    for types, judge in _JUDGES:
        if isinstance(value, types):
            return judge(value, text, native)
    return None  # bytes, arrays, documents: their text form is a matter of taste


def _boolean(value: bool, text: str, native: str) -> str | None:
    truth = {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}
    return None if truth.get(text.strip().lower(), value) == value else "number"


def _integer(value: int, text: str, native: str) -> str | None:
    number = _number(text)
    if number is None:  # the server holds no number at all there
        return None if "money" in native else "number"
    if number == value:
        return None
    return "wrapped" if number - value in {2**8, 2**16, 2**32, 2**64} else "number"


def _decimal(value: Decimal, text: str, native: str) -> str | None:
    number = _number(text)
    if number is None or number == value:
        return None
    return "rounded" if abs(number - value) < 1 else "number"


def _float(value: float, text: str, native: str) -> str | None:
    try:
        meant = float(text.strip())
    except ValueError:
        return None if "money" in native else "number"
    if meant == value or (math.isnan(meant) and math.isnan(value)):
        return None
    if math.isfinite(value) and _single(meant) == value:
        # a column that is itself of single precision holds no more than that
        return None if "real" in native or native == "float" else "float32"
    # some servers write fewer digits as text than they hold: then the text is the poorer one
    digits = len(text.strip().lstrip("-0.").replace(".", "").split("e")[0].split("E")[0])
    if digits < 16 and math.isclose(meant, value, rel_tol=10.0 ** (1 - max(1, digits))):
        return None
    return "number"


def _single(value: float) -> float:
    import struct

    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.inf


def _text(value: str, text: str, native: str) -> str | None:
    if value == text or value.rstrip(" ") == text.rstrip(" "):
        return None
    if "bool" in native or native == "bit":
        return "boolean_text" if value in {"0", "1"} else None
    if text.startswith(value) and text[len(value)] == "\0":
        return "cut"
    # numbers and dates that a driver hands over as text are not changed by another spelling
    if _number(value) is not None and _number(value) == _number(text):
        return None
    return "text" if any(word in native for word in ("char", "text", "clob", "string")) else None


def _moment(value: datetime, text: str, native: str) -> str | None:
    meant = _parsed(text)
    if meant is None:
        return None
    if meant.tzinfo is None or value.tzinfo is None:
        meant, value = meant.replace(tzinfo=None), value.replace(tzinfo=None)
    return None if abs((meant - value).total_seconds()) < 1 else "time"


def _day(value: date, text: str, native: str) -> str | None:
    meant = _parsed(text)
    return None if meant is None or meant.date() == value else "time"


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        return None


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


_JUDGES: tuple[tuple[type | tuple[type, ...], Callable[[Any, str, str], str | None]], ...] = (
    # bool before int and datetime before date: each is a kind of the other
    (bool, _boolean),
    (int, _integer),
    (Decimal, _decimal),
    (float, _float),
    (str, _text),
    (datetime, _moment),
    (date, _day),
)
