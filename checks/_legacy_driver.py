"""Compare what a driver handed over with the same values as text by the server."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from weighbridge.connectors.base import Unreadable

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


_CAST = "read the column CAST AS varchar in a view"
KINDS: dict[str, tuple[str, str]] = {
    "unreadable": (
        "raises on a value and hands its row over to nobody",
        f"Use the connector sql with the native driver, or {_CAST}: no option of the ODBC driver takes such values.",
    ),
    "float32": (
        "rounds to single precision",
        "Declare the column double precision, or read it CAST as decimal; with arrow-odbc give a schema.",
    ),
    "rounded": ("rounds decimals", f"Use another driver, or {_CAST}."),
    "wrapped": (
        "wraps numbers that are too large for it",
        (
            "libsqliteodbc: put BigInt=1 into the connection string. Elsewhere use the connector sql with the native "
            "driver, or read the column CAST AS signed 64 bit or decimal."
        ),
    ),
    "boolean_text": (
        "hands truth values over as the text '0' and '1'",
        "psqlodbc: put BoolsAsChar=0 into the connection string.",
    ),
    "cut": (
        "cuts text or bytes at the first NUL",
        "Use the connector sql with the native driver, or remove NUL characters in a view.",
    ),
    "shortened": (
        "cuts values short",
        (
            "Raise its limit (psqlodbc: MaxVarcharSize and MaxLongVarcharSize; FreeTDS: TextSize); MariaDB's driver "
            "3.1 loses a letter for each Ø, Ù, Ú, Û and their like unless text is fetched as UTF-8 (pyodbc: "
            "setdecoding(SQL_WCHAR, encoding='utf-8', ctype=SQL_CHAR)); "
            "or use the connector sql with the native driver."
        ),
    ),
    "trimmed": ("drops the spaces at the end", f"Use another driver, or {_CAST} that puts a sign behind the text."),
    "zero_date": (
        "hands zero dates over as null",
        "Use the connector sql with the native driver, or read the column CAST AS char and treat 0000-00-00 yourself.",
    ),
    "lost": ("hands a value over as null", f"Use the connector sql with the native driver, or {_CAST}."),
    "number": ("hands another number over", f"Use the connector sql with the native driver, or {_CAST}."),
    "bytes": ("hands other bytes over", "Use the connector sql with the native driver, or read them as HEX."),
    "text": ("hands another text over", "Name the code page or charset in the connection string; compare the drivers."),
    "uuid_case": (
        "writes UUIDs in capitals",
        f"pyodbc: set pyodbc.native_uuid = True and compare them as UUIDs, or {_CAST}.",
    ),
    "fraction": (
        "drops fractions of a second",
        f"ODBC's time of day has none: {_CAST}, or use the connector sql with the native driver.",
    ),
    "zone": (
        "hands points in time over without their zone",
        (
            "Set the session's zone to UTC (psqlodbc: ConnSettings=SET TimeZone='UTC') and take the values as UTC, as "
            "this connector does, or use the connector sql with the native driver."
        ),
    ),
    "time": (
        "hands another date or time over",
        f"Check the driver's time zone. For days that no calendar of it has, as infinity or BC: {_CAST}.",
    ),
}


def differences(column: str, native: str, pairs: Iterable[tuple[Any, str | None]]) -> list[Difference]:
    """What was changed in one column, at most one entry a kind."""
    found: dict[str, tuple[Any, str, int]] = {}
    looked = 0
    for value, text in pairs:
        looked += 1
        kind = "unreadable" if isinstance(value, Unreadable) else None
        if kind is None and text is not None:
            kind = _kind(value, text, native.lower())
        if kind is not None:
            first = found.get(kind)
            found[kind] = (value, text or "", 1) if first is None else (*first[:2], first[2] + 1)
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
    return None  # arrays, documents: their text form is a matter of taste


# --- numbers -------------------------------------------------------------------------------------------------------


def _boolean(value: bool, text: str, _native: str) -> str | None:
    truth = {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}
    return None if truth.get(text.strip().lower(), value) == value else "number"


def _integer(value: int, text: str, native: str) -> str | None:
    number = _number(text, native)
    if number is None:  # the server holds no number at all there
        return "number"
    if number == value:
        return None
    return "wrapped" if _wraps(number, value) else "number"


def _wraps(number: Decimal, value: int) -> bool:
    """Whether `value` is what is left of `number` in so many bits, with a sign or without."""
    if number != number.to_integral_value() or not -(2**64) < number < 2**64:
        return False
    whole = int(number)
    return any(
        (whole - value) % 2**bits == 0 and -(2 ** (bits - 1)) <= value < 2**bits and abs(whole) >= 2 ** (bits - 1)
        for bits in (8, 16, 32, 64)
    )


def _decimal(value: Decimal, text: str, native: str) -> str | None:
    number = _number(text, native)
    if number is None:
        # NaN and infinity, or no number at all in a database that takes it
        return "number" if value.is_finite() else None
    if number == value:
        return None
    return "rounded" if value.is_finite() and abs(number - value) < 1 else "number"


def _float(value: float, text: str, native: str) -> str | None:
    if "money" in native:
        number = _number(text, native)
        return None if number is None or number == Decimal(repr(value)) else "rounded"
    try:
        meant = float(text.strip())
    except ValueError:
        return "number"
    if meant == value or (math.isnan(meant) and math.isnan(value)):
        return None
    single = "real" in native or native.startswith("float4") or native == "float"
    if math.isfinite(value) and _single(meant) == value:
        # a column that is itself of single precision holds no more than that
        return None if single else "float32"
    # some servers write fewer digits than they hold: MySQL 6 of a float, SQLite 15 of a double
    return None if math.isclose(meant, value, rel_tol=1e-5 if single else 1e-14) else "number"


def _single(value: float) -> float:
    import struct

    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.inf


def _number(text: str, native: str = "") -> Decimal | None:
    text = text.strip()
    if "money" in native:
        # '-$1,234.50' or '1.234,50 kr': two digits behind the last mark, whatever marks the locale has
        sign = "-" if re.match(r"\(|[^0-9]*-", text) else ""
        digits = re.sub(r"[^0-9]", "", text)
        text = f"{sign}{digits[:-2]}.{digits[-2:]}" if len(digits) > 2 else text
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


# --- text and bytes ------------------------------------------------------------------------------------------------


def _text(value: str, text: str, native: str) -> str | None:
    if value == text:
        return None
    if "bool" in native or native == "bit":
        return "boolean_text" if value in {"0", "1"} else None
    if value.rstrip(" ") == text.rstrip(" "):
        # a char(n) is filled up by its type, and what is added is no part of the value
        return "trimmed" if len(value) < len(text) and not native.startswith(("char", "bpchar", "nchar")) else None
    if value.lower() == text.lower() and re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text.lower()):
        return "uuid_case"
    if text.startswith(value):
        return "cut" if text[len(value)] == "\0" else "shortened" if value else "text"
    # numbers and dates that a driver hands over as text are not changed by another spelling
    if _number(value) is not None and _number(value) == _number(text):
        return None
    return "text" if any(word in native for word in ("char", "text", "clob", "string")) else None


def _bytes(value: bytes, text: str, native: str) -> str | None:
    value = bytes(value)
    if native.startswith("bit"):
        return None if text.isdigit() and int(text) == int.from_bytes(value, "big") else "bytes"
    try:
        meant = bytes.fromhex(text.removeprefix("\\x"))
    except ValueError:
        return None  # written in some other way
    if meant == value:
        return None
    if meant.startswith(value):
        return "cut" if meant[len(value)] == 0 else "shortened" if value else "bytes"
    return "bytes"


# --- dates and times -----------------------------------------------------------------------------------------------


def _moment(value: datetime, text: str, _native: str) -> str | None:
    meant = _parsed(text)
    if meant is None:
        return "time" if _beyond(text) else None
    # in a session of UTC, as this connector's is, nothing is lost with the zone
    zone = bool(meant.utcoffset()) and value.tzinfo is None
    if meant.tzinfo is None or value.tzinfo is None:
        meant, value = meant.replace(tzinfo=None), value.replace(tzinfo=None)
    if abs((meant - value).total_seconds()) >= 1:
        return "time"
    if meant != value and "." in text:
        return "fraction"
    return "zone" if zone else None


def _day(value: date, text: str, _native: str) -> str | None:
    meant = _parsed(text)
    if meant is None:
        return "time" if _beyond(text) else None
    return None if meant.date() == value else "time"


def _clock(value: time, text: str, _native: str) -> str | None:
    try:
        meant = time.fromisoformat(text.strip())
    except ValueError:
        return "time" if _length(text) is not None else None
    if meant.replace(microsecond=0, tzinfo=None) != value.replace(microsecond=0, tzinfo=None):
        return "time"
    return "fraction" if meant.microsecond != value.microsecond else None


def _span(value: timedelta, text: str, _native: str) -> str | None:
    meant = _length(text)
    return None if meant is None or meant == value else "time"


def _length(text: str) -> timedelta | None:
    """A time beyond the clock's, as MySQL has them."""
    match = re.fullmatch(r"(-?)(\d+):(\d\d):(\d\d)(\.\d+)?", text.strip())
    if match is None:
        return None
    sign, hours, minutes, seconds, fraction = match.groups()
    micro = int(f"{fraction or '.0'}".removeprefix(".").ljust(6, "0")[:6])
    length = timedelta(hours=int(hours), minutes=int(minutes), seconds=int(seconds), microseconds=micro)
    return -length if sign else length


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        return None


def _beyond(text: str) -> bool:
    """Whether the server means a day that Python's calendar has not: infinity, BC, the year 10000, day 0."""
    return re.search(r"infinity|BC$|^\d{5,}-|-00", text) is not None


_JUDGES: tuple[tuple[type | tuple[type, ...], Callable[[Any, str, str], str | None]], ...] = (
    # bool before int and datetime before date: each is a kind of the other
    (bool, _boolean),
    (int, _integer),
    (Decimal, _decimal),
    (float, _float),
    (str, _text),
    ((bytes, bytearray, memoryview), _bytes),
    (datetime, _moment),
    (date, _day),
    (time, _clock),
    (timedelta, _span),
)
