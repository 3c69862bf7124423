"""Arrow types for what databases declare, and Arrow arrays for what their drivers hand over, without loss.

What does not fit its declared type becomes null in the array and is kept raw beside it; nothing is rounded or coerced.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa

from weighbridge.connectors._arrow_pack import pack, pack_decimal_texts
from weighbridge.connectors.base import Misfit

__all__ = ["arrow_type", "cell", "column_array", "key_text", "key_value"]

MAX_RAW = 200
UNBOUNDED = (38, 18)
"""Digits and scale for a numeric that declares none: 20 digits before the point, 18 behind; the rest is a misfit."""


SINGLE = {"REAL": ("postgresql", "mssql"), "FLOAT": ("mysql", "mariadb", "firebird")}
"""Types of single precision, and the dialects in which they are."""


def arrow_type(declared: Any, dialect: str) -> pa.DataType:
    """The Arrow type that holds every value of a reflected SQLAlchemy type; text where there is no closer one."""
    import sqlalchemy as sa

    # as SQL spells it: a dialect may call its class anything
    name = str(getattr(declared, "__visit_name__", type(declared).__name__)).upper()
    if isinstance(declared, sa.Boolean):
        return pa.bool_()
    if isinstance(declared, sa.Float) or name in {"DOUBLE", "DOUBLE_PRECISION", "FLOAT", "REAL"}:
        return pa.float32() if dialect in SINGLE.get(name, ()) else pa.float64()
    if isinstance(declared, sa.Integer):
        return _integer(declared, name, dialect)
    if isinstance(declared, sa.Numeric):
        return decimal_type(declared.precision, declared.scale)
    if isinstance(declared, sa.DateTime) or name in {"DATETIME", "DATETIME2", "SMALLDATETIME", "TIMESTAMP"}:
        zoned = bool(getattr(declared, "timezone", False)) or name == "DATETIMEOFFSET"
        return pa.timestamp("us", tz="UTC" if zoned else None)
    if isinstance(declared, sa.Date):
        return pa.date32()
    if isinstance(declared, sa.Time):
        return pa.string() if getattr(declared, "timezone", False) else pa.time64("us")
    if isinstance(declared, sa.LargeBinary | sa.types._Binary) or name in {"BYTEA", "BINARY", "VARBINARY"}:
        return pa.binary()
    if name == "YEAR":
        return pa.int16()
    if name in {"MONEY", "SMALLMONEY"} and dialect == "mssql":
        return pa.decimal128(19, 4)
    return pa.string()


def _integer(declared: Any, name: str, dialect: str) -> pa.DataType:
    import sqlalchemy as sa

    unsigned = bool(getattr(declared, "unsigned", False))
    if name == "INT128":
        return pa.decimal256(39, 0)
    if dialect == "sqlite" or isinstance(declared, sa.BigInteger) or name == "BIGINT":
        return pa.uint64() if unsigned else pa.int64()
    if name == "TINYINT":
        return pa.uint8() if unsigned or dialect == "mssql" else pa.int8()
    if isinstance(declared, sa.SmallInteger) or name == "SMALLINT":
        return pa.uint16() if unsigned else pa.int16()
    if dialect == "oracle":
        return pa.decimal128(38, 0)
    return pa.uint32() if unsigned else pa.int32()


def decimal_type(precision: int | None, scale: int | None) -> pa.DataType:
    if precision is None:
        precision, scale = UNBOUNDED
    scale = scale or 0
    precision = precision or UNBOUNDED[0]  # Firebird gives computed columns a scale only
    if scale < 0:  # numeric(3, -2) holds whole hundreds
        precision, scale = precision - scale, 0
    precision = max(precision, scale, 1)
    if precision <= 38:
        return pa.decimal128(precision, scale)
    return pa.decimal256(precision, scale) if precision <= 76 else pa.string()


def column_array(values: Sequence[Any], type_: pa.DataType, name: str) -> tuple[pa.Array, list[Misfit]]:
    """One column of a page: the array, and what did not fit."""
    packed = pack(values, type_)
    if packed is None and pa.types.is_decimal(type_):
        packed = pack_decimal_texts(values, type_)
    if packed is not None:
        return packed, []
    if not (pa.types.is_string(type_) or pa.types.is_boolean(type_) or pa.types.is_binary(type_)):
        try:
            texts = pack(values, pa.string())
            if texts is not None:
                return texts.cast(type_), []
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            pass
    fitted: list[Any] = []
    misfits: list[Misfit] = []
    for row, value in enumerate(values):
        try:
            fitted.append(None if value is None else cell(value, type_))
        except (ValueError, TypeError, OverflowError, InvalidOperation, pa.ArrowException) as error:
            fitted.append(None)
            misfits.append(Misfit(row, name, raw_text(value), f"{error} in a column of type {type_}"[:MAX_RAW]))
    return pack(fitted, type_) or pa.array(fitted, type=type_), misfits


def raw_text(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)[:MAX_RAW].decode("latin-1")
    return str(value)[:MAX_RAW]


def cell(value: Any, type_: pa.DataType) -> Any:
    """One value as something Arrow takes for this type; raises where it would be changed."""
    if pa.types.is_string(type_):
        return _text(value)
    if pa.types.is_boolean(type_):
        if isinstance(value, bool):
            return value
        if value in (0, 1) and isinstance(value, int):
            return bool(value)
        raise ValueError("not a truth value")
    if pa.types.is_binary(type_):
        if isinstance(value, str):
            return value.encode()
        return bytes(value)
    if pa.types.is_integer(type_):
        return _checked(_whole(value), type_)
    if pa.types.is_floating(type_):
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise ValueError("not a number")
        return float(value)
    if pa.types.is_decimal(type_):
        return _checked(_decimal(value, type_), type_)
    if pa.types.is_date(type_):
        return _date(value)
    if pa.types.is_timestamp(type_):
        return _timestamp(value, zoned=type_.tz is not None)
    if pa.types.is_time(type_):
        return _time(value)
    return _checked(value, type_)


def _checked(value: Any, type_: pa.DataType) -> Any:
    pa.scalar(value, type=type_)  # raises where it does not fit
    return value


def _text(value: Any) -> str:
    if isinstance(value, str):
        value.encode("utf-8")  # a lone surrogate cannot be stored: UnicodeEncodeError is a ValueError
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8")
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=str, ensure_ascii=False)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, set | frozenset):
        return ",".join(sorted(map(str, value)))
    return str(value)


def _whole(value: Any) -> int:
    if isinstance(value, str | bytes):
        raise ValueError("text")  # noqa: TRY004 - misfits are ValueErrors here
    whole = int(value)
    if whole != value:
        raise ValueError("not a whole number")
    return whole


def _decimal(value: Any, type_: pa.DataType) -> Decimal:
    if isinstance(value, float):
        value = Decimal(repr(value))
    elif isinstance(value, str):
        value = Decimal(value.strip())
    elif not isinstance(value, Decimal):
        value = Decimal(value)
    if not value.is_finite():
        raise ValueError("not a finite number")
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and -exponent > type_.scale:
        value = value.normalize()  # trailing zeros behind the declared scale are no loss
    return value


def _date(value: Any) -> date:
    if isinstance(value, datetime):
        if value.time() != time(0):
            raise ValueError("a time of day")
        return value.date()
    if isinstance(value, str):
        return date.fromisoformat(value.strip())
    if isinstance(value, date):
        return value
    raise TypeError("not a date")


def _timestamp(value: Any, *, zoned: bool) -> datetime:
    if isinstance(value, str):
        value = datetime.fromisoformat(value.strip())
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time(0))
    if not isinstance(value, datetime):
        raise TypeError("not a point in time")
    if not zoned and value.tzinfo is not None:
        raise ValueError("a zone where none is declared")
    return value


def _time(value: Any) -> time:
    if isinstance(value, timedelta):
        if not timedelta(0) <= value < timedelta(days=1):
            raise ValueError("not a time of day")
        return (datetime.min.replace(tzinfo=UTC) + value).time()
    if isinstance(value, str):
        return time.fromisoformat(value.strip())
    if isinstance(value, time):
        return value
    raise TypeError("not a time of day")


def key_text(value: Any) -> str:
    """One key value as text that `key_value` turns back and that a server reads as a literal of its type."""
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def key_value(text: str, type_: pa.DataType) -> Any:
    """The Python value of `key_text` for a column of this type."""
    if pa.types.is_integer(type_):
        return int(text)
    if pa.types.is_decimal(type_):
        return Decimal(text)
    if pa.types.is_floating(type_):
        return float(text)
    if pa.types.is_date(type_):
        return date.fromisoformat(text)
    if pa.types.is_timestamp(type_):
        return datetime.fromisoformat(text)
    if pa.types.is_time(type_):
        return time.fromisoformat(text)
    if pa.types.is_boolean(type_):
        return text == "true"
    if pa.types.is_binary(type_):
        return bytes.fromhex(text[2:])
    if isinstance(text, uuid.UUID):
        return str(text)
    return text
