"""Columns of a JSON API inferred from sample rows: nothing is rounded, and what does not fit later is a misfit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from weighbridge.connectors._odata_types import OPEN_SCALE, Number
from weighbridge.connectors.base import Column

__all__ = ["TYPES", "at_path", "flatten", "infer"]

_MOMENT = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?$")
_DAY = re.compile(r"^\d{4}-\d\d-\d\d$")
TYPES: Mapping[str, pa.DataType] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.decimal128(38, OPEN_SCALE),
    "float": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "local_timestamp": pa.timestamp("us"),
    "json": pa.string(),
}
"""The words of the option `types`."""


def at_path(value: Any, path: str) -> Any:
    """The value behind a dotted path (`paging.next.after`), None where it ends early; the whole for an empty path."""
    for step in path.split(".") if path else ():
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def flatten(row: Mapping[str, Any]) -> dict[str, Any]:
    """One level of objects as `outer.inner`; deeper ones and arrays stay values."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            for inner, item in value.items():
                found[f"{name}.{inner}"] = item
        else:
            found[name] = value
    return found


def infer(rows: Iterable[Mapping[str, Any]], *, keys: Sequence[str], types: Mapping[str, str]) -> tuple[Column, ...]:
    """Columns in the order they were first seen; declared `types` win over what was seen."""
    seen: dict[str, list[Any]] = {}
    total = 0
    for row in rows:
        total += 1
        for name, value in row.items():
            seen.setdefault(name, []).append(value)
    for name in (*keys, *types):
        seen.setdefault(name, [])
    columns: list[Column] = []
    for name, values in seen.items():
        present = [v for v in values if v is not None]
        word = types.get(name)
        type_ = TYPES[word] if word else _type(present)
        whole = bool(values) and len(present) == total
        # A sample proves that nulls come, never that none do: nullable is then not known.
        columns.append(
            Column(
                name=name,
                type=type_,
                nullable=False if name in keys else (None if whole else True),
                native=word or _word(present, type_),
                unique=tuple(keys) == (name,),
            )
        )
    return tuple(columns)


def _word(values: list[Any], type_: pa.DataType) -> str:
    if any(isinstance(v, list | Mapping) for v in values):
        return "json"
    return next((word for word, known in TYPES.items() if known == type_), str(type_))


def _type(values: list[Any]) -> pa.DataType:
    if not values:
        return pa.string()
    if all(isinstance(v, bool) for v in values):
        return pa.bool_()
    if all(_is_number(v) for v in values):
        return _number_type(values)
    texts = [v for v in values if isinstance(v, str) and not isinstance(v, Number)]
    if len(texts) < len(values):
        return pa.string()
    if all(_DAY.match(t) for t in texts):
        return pa.date32()
    moments = [_MOMENT.match(t) for t in texts]
    zones = {bool(m[3]) for m in moments if m}
    if all(moments) and len(zones) == 1:
        return pa.timestamp("us", tz="UTC") if zones == {True} else pa.timestamp("us")
    return pa.string()


def _is_number(value: Any) -> bool:
    return isinstance(value, Number) or (isinstance(value, int) and not isinstance(value, bool))


def _number_type(values: list[Any]) -> pa.DataType:
    fractions = [v for v in values if isinstance(v, Number)]
    if not fractions:
        return pa.int64() if all(-(2**63) <= v < 2**63 for v in values) else pa.decimal128(38, 0)
    if any("e" in v.lower() for v in fractions):
        return pa.float64()
    scale = max(len(v.partition(".")[2]) for v in fractions)
    return pa.decimal128(38, OPEN_SCALE) if scale <= OPEN_SCALE else pa.decimal128(38, min(scale, 38))
