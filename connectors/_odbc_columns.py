"""Columns as ODBC tells them: by its catalog functions, or by a cursor's description where a driver has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from weighbridge.connectors.base import Column

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["catalog_column", "described_column", "is_decimal", "is_temporal", "is_unsigned"]


def is_decimal(type_: Any) -> bool:
    import pyarrow.types as pt

    return pt.is_decimal(type_)


def is_temporal(type_: Any) -> bool:
    import pyarrow.types as pt

    return pt.is_date(type_) or pt.is_timestamp(type_) or pt.is_time(type_)


def is_unsigned(type_: Any) -> bool:
    import pyarrow.types as pt

    return pt.is_unsigned_integer(type_)


def catalog_column(row: Any, dialect: str) -> Column:
    """A row of SQLColumns: 3 name, 4 type, 5 type name, 6 size, 8 digits, 10 nullable."""
    import pyarrow as pa

    from weighbridge.connectors._sql_types import decimal_type

    code, word, size, digits = int(row[4]), str(row[5]).lower(), row[6], row[8]
    unsigned = "unsigned" in word
    if dialect == "sqlite" and code == 4:
        code = -5  # its INTEGER holds 64 bits, whatever the driver says
    types: Mapping[int, Callable[[], pa.DataType]] = {
        -7: pa.bool_, 65529: pa.bool_,
        -6: pa.uint8 if unsigned else pa.int8, 5: pa.uint16 if unsigned else pa.int16,
        4: pa.uint32 if unsigned else pa.int32, -5: pa.uint64 if unsigned else pa.int64,
        6: pa.float64, 7: pa.float32, 8: pa.float64,
        2: lambda: decimal_type(size, digits), 3: lambda: decimal_type(size, digits),
        91: pa.date32, 9: pa.date32, 92: lambda: pa.time64("us"), 10: lambda: pa.time64("us"),
        93: lambda: pa.timestamp("us", "UTC" if "timestamptz" in word or "with time zone" in word else None),
        11: lambda: pa.timestamp("us"),
        -2: pa.binary, -3: pa.binary, -4: pa.binary,
    }  # fmt: skip
    # MariaDB's driver calls these bytes, and hands them over as text
    type_ = pa.string() if word in {"uuid", "inet4", "inet6"} else types.get(code, pa.string)()
    text = pa.types.is_string(type_)
    return Column(
        name=row[3], type=type_, nullable=None if row[10] not in (0, 1) else bool(row[10]),
        native=f"{word}({size})" if text and size and "(" not in word else word, length=size if text else None,
        precision=size if code in (2, 3) else None, scale=digits if code in (2, 3) else None,
    )  # fmt: skip


def described_column(described: Any) -> Column:
    """One entry of `cursor.description`: the driver's Python type is all there is to go by."""
    import datetime as dt
    import decimal

    import pyarrow as pa

    from weighbridge.connectors._sql_types import decimal_type

    name, kind, _, size, precision, scale, nullable = described
    types: Mapping[Any, Callable[[], pa.DataType]] = {
        bool: pa.bool_, int: pa.int64, float: pa.float64, bytes: pa.binary, bytearray: pa.binary,
        dt.datetime: lambda: pa.timestamp("us"), dt.date: pa.date32, dt.time: lambda: pa.time64("us"),
        decimal.Decimal: lambda: decimal_type(precision or None, scale),
    }  # fmt: skip
    type_ = types.get(kind, pa.string)()
    # a text column is called text: the driver has no better word
    word = "text" if kind is str else getattr(kind, "__name__", "unknown")
    return Column(name, type_, nullable, word, length=size if kind is str and size else None)
