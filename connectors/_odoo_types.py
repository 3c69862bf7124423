"""Odoo's field types as Arrow columns: false against null by type, many2one unpacked, times in UTC."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from weighbridge.connectors._odata_types import MISSING, array_of
from weighbridge.connectors.base import Column, Misfit

__all__ = ["column_of", "plain_value", "to_arrays"]

UTC_SECONDS = pa.timestamp("us", tz="UTC")
_ARROW: Mapping[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "many2one_reference": pa.int64(),
    "float": pa.float64(),
    "monetary": pa.float64(),
    "date": pa.date32(),
    "datetime": UTC_SECONDS,
    "many2one": pa.int64(),
}
"""Everything else is text; Odoo sends amounts as binary floats, so float64 is what it has."""
NULL_IS_FALSE = frozenset({"char", "text", "html", "selection", "date", "datetime", "many2one", "reference", "json"})


def column_of(name: str, about: Mapping[str, Any]) -> list[Column]:
    """The columns a field makes: a many2one gives its id and `NAME.name`; binary fields give none."""
    kind = str(about.get("type", "char"))
    if kind == "binary":
        return []
    digits = about.get("digits")
    selection = about.get("selection")
    relation = about.get("relation")
    size = about.get("size")
    column = Column(
        name=name,
        type=_ARROW.get(kind, pa.string()),
        nullable=False if kind == "boolean" or name == "id" else not about.get("required", False),
        native=kind,
        length=size if isinstance(size, int) and size > 0 else None,
        precision=digits[0] if isinstance(digits, list) and len(digits) == 2 else None,
        scale=digits[1] if isinstance(digits, list) and len(digits) == 2 else None,
        enum=tuple(str(pair[0]) for pair in selection) if isinstance(selection, list) else None,
        references=f"{relation}.id" if kind == "many2one" and relation else None,
        unique=name == "id",
    )
    if kind != "many2one":
        return [column]
    return [column, Column(f"{name}.name", pa.string(), column.nullable, "many2one name")]


def to_arrays(values: Sequence[Any], column: Column) -> tuple[pa.Array, list[Misfit]]:
    """One column as Odoo sent it; for `x.name` the values are those of `x`."""
    kind = column.native
    if kind == "many2one":
        values = [v[0] if isinstance(v, list) and len(v) == 2 else None if v is False else v for v in values]
    elif kind == "many2one name":
        values = [v[1] if isinstance(v, list) and len(v) == 2 else None for v in values]
    elif kind == "datetime":
        values = [_zoned(v) for v in values]
    elif kind in ("one2many", "many2many"):
        values = [json.dumps(v) if isinstance(v, list) else v for v in values]
    elif kind in NULL_IS_FALSE:
        values = [None if v is False else v for v in values]
    return array_of(values, column.type, column=column.name, native=kind)


def _zoned(value: Any) -> Any:
    """Odoo's times are UTC without saying so: `2026-01-02 03:04:05`."""
    if value is False or value is None:
        return None
    if value is MISSING or not isinstance(value, str) or len(value) < 16:
        return value
    return value[:10] + "T" + value[11:] + "Z"


def plain_value(value: Any, kind: str) -> Any:
    """A Python value as Odoo takes it."""
    if value is None:
        return False
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        moment = value.astimezone(UTC) if value.tzinfo else value
        return moment.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, date):
        return value.isoformat()
    if kind in ("one2many", "many2many") and isinstance(value, str):
        return json.loads(value)
    return value
