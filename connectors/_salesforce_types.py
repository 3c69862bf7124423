"""Describe results as a `TableSchema`, and records as Arrow batches in exactly those types."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from weighbridge.connectors._arrow_pack import pack
from weighbridge.connectors._odata_types import Number
from weighbridge.connectors.base import Column, Misfit, TableSchema
from weighbridge.connectors.errors import RejectedError

__all__ = ["COMPOUND", "batch_of", "schema_of", "to_json"]

COMPOUND = frozenset({"address", "location", "complexvalue"})
"""Compound types repeat their components, and Bulk API cannot read them: they are left out."""
MAX_RAW = 200
MAX_DIGITS = 38


def arrow_type(field: Mapping[str, Any]) -> pa.DataType:
    """The Arrow type of a describe field; a number keeps every digit it may have."""
    kind = field["type"]
    if kind == "boolean":
        return pa.bool_()
    if kind in ("int", "long"):
        return pa.int64()
    if kind in ("double", "currency", "percent"):
        precision, scale = int(field.get("precision") or 0), int(field.get("scale") or 0)
        return pa.decimal128(precision, scale) if 0 < precision <= MAX_DIGITS else pa.float64()
    if kind == "date":
        return pa.date32()
    if kind == "datetime":
        return pa.timestamp("us", "UTC")
    if kind == "time":
        return pa.time64("us")
    return pa.string()


def schema_of(described: Mapping[str, Any]) -> TableSchema:
    """The columns of an object as this user sees them."""
    columns: list[Column] = []
    for f in described["fields"]:
        if f["type"] in COMPOUND:
            continue
        values = tuple(v["value"] for v in f.get("picklistValues") or () if v.get("active", True))
        targets = f.get("referenceTo") or ()
        native = f["type"]
        if f.get("length") and native not in ("id", "reference", "datetime", "date"):
            native = f"{native}({f['length']})"
        elif f.get("precision"):
            native = f"{native}({f['precision']},{f.get('scale', 0)})"
        columns.append(
            Column(
                name=f["name"],
                type=arrow_type(f),
                nullable=bool(f.get("nillable", True)),
                native=native,
                length=int(f["length"]) if f.get("length") else None,
                precision=int(f["precision"]) if f.get("precision") else None,
                scale=int(f["scale"]) if f.get("precision") else None,
                enum=values or None,
                references=f"{targets[0]}.Id" if len(targets) == 1 else None,
                unique=bool(f.get("unique")) or f["type"] == "id",
            )
        )
    return TableSchema(tuple(columns), ("Id",))


def batch_of(values: Sequence[Sequence[Any]], columns: Sequence[Column]) -> tuple[pa.RecordBatch, tuple[Misfit, ...]]:
    """One Arrow batch from one list of raw values a column; whole columns at once, value by value only on trouble."""
    arrays: list[pa.Array] = []
    misfits: list[Misfit] = []
    for column, raw in zip(columns, values, strict=True):
        try:
            arrays.append(_array(raw, column.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError, ValueError, OverflowError):
            array, wrong = _one_by_one(raw, column)
            arrays.append(array)
            misfits += wrong
    schema = pa.schema([pa.field(c.name, c.type) for c in columns])
    return pa.RecordBatch.from_arrays(arrays, schema=schema), tuple(misfits)


def _array(raw: Any, wanted: pa.DataType) -> pa.Array:
    if isinstance(raw, pa.Array | pa.ChunkedArray):  # text columns of a CSV
        array = raw.combine_chunks() if isinstance(raw, pa.ChunkedArray) else raw
        return array if array.type == wanted else array.cast(wanted)
    if pa.types.is_timestamp(wanted) or pa.types.is_date(wanted):
        return _made(raw, pa.string()).cast(wanted)
    if pa.types.is_time(wanted):
        return _made([None if v is None else v.rstrip("Z") for v in raw], pa.string()).cast(wanted)
    if pa.types.is_floating(wanted):
        return _made([None if v is None else float(v) for v in raw], wanted)
    if pa.types.is_decimal(wanted):
        # as the digits that were sent: Arrow reads them exactly, and refuses what would not fit
        return _made([v if v is None else str(v) for v in raw], pa.string()).cast(wanted)
    return _made(raw, wanted)


def _made(raw: Any, wanted: pa.DataType) -> pa.Array:
    array = pack(raw, wanted)  # without pandas, which `pyarrow.array` imports on its first call
    if array is None and wanted == pa.string() and Number in set(map(type, raw)):
        raise TypeError("a number where text was described")
    return pa.array(raw, type=wanted) if array is None else array


def _one_by_one(raw: Any, column: Column) -> tuple[pa.Array, list[Misfit]]:
    if isinstance(raw, pa.Array | pa.ChunkedArray):
        raw = raw.to_pylist()
    good: list[pa.Array] = []
    misfits: list[Misfit] = []
    none = pa.nulls(1, column.type)
    for row, value in enumerate(raw):
        try:
            # a number written as text is cast as a CSV's would be
            good.append(_array(_text(value) if type(value) is str else [value], column.type))
        except (
            pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError, ValueError, OverflowError,
            AttributeError,
        ) as error:  # fmt: skip
            good.append(none)
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            misfits.append(Misfit(row, column.name, text[:MAX_RAW], f"not {column.type}: {str(error)[:80]}"))
    return pa.concat_arrays(good) if good else pa.array([], type=column.type), misfits


def _text(value: str) -> pa.Array:
    return _made([value], pa.string())


def to_json(value: Any) -> Any:
    """A Python value as the REST API takes it. Raises RejectedError for text that is no valid Unicode."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise RejectedError("the text holds half of a surrogate pair, which no system can store.") from None
    if isinstance(value, Decimal):
        if value == value.to_integral_value() and abs(value) < 2**53:
            return int(value)
        return float(value) if len(value.as_tuple().digits) <= 15 else str(value)
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return value
