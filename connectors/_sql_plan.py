"""What one read fetches, and the cursors by which it goes on behind a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from weighbridge.connectors.base import Misfit
from weighbridge.connectors.errors import ProtocolError, SettingsError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Plan", "batch_of", "beyond", "cursor_behind", "cursor_of", "key_texts"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What one read fetches: the columns asked for, those fetched for paging, their types, the paging order."""

    object: str
    wanted: tuple[str, ...]
    fetched: tuple[str, ...]
    types: tuple[Any, ...]
    order: tuple[str, ...]
    keys: tuple[str, ...]
    as_text: frozenset[str] = frozenset()
    """Columns that the server is to cast to text, for their driver cannot bear all values."""
    ahead: bool = False
    """Whether the next window may be asked for while the caller works on this one."""


def cursor_of(batch: pa.RecordBatch, order: Sequence[str], misfits: Sequence[Misfit]) -> str:
    from weighbridge.connectors._sql_types import key_text

    last = batch.num_rows - 1
    texts: list[str] = []
    for name in order:
        value = batch.column(name)[last].as_py()
        if value is None:
            raw = next((m.raw for m in misfits if m.row == last and m.column == name), None)
            if raw is None:
                raise ProtocolError(f"the key column {name} holds a null; paging by it would lose rows.")
            value = raw
        texts.append(key_text(value))
    return json.dumps(texts, ensure_ascii=False)


def cursor_behind(row: Sequence[Any], plan: Plan) -> str:
    """The cursor behind a row as the driver brought it."""
    places = [plan.fetched.index(name) for name in plan.order]
    keys = replace(plan, fetched=plan.order, types=tuple(plan.types[i] for i in places))
    batch, misfits = batch_of([[row[i] for i in places]], keys)
    return cursor_of(batch, plan.order, misfits)


def key_texts(cursor: str, order: Sequence[str]) -> list[str]:
    try:
        texts = json.loads(cursor)
    except ValueError:
        texts = None
    if not isinstance(texts, list) or len(texts) != len(order) or not all(isinstance(t, str) for t in texts):
        raise SettingsError(f"{cursor!r} is not a cursor of this object.", remedy="Give one that a page carried.")
    return texts


def beyond(columns: Sequence[Any], values: Sequence[Any]) -> Any:
    """(a, b) > (x, y) written out, for dialects without row values."""
    import sqlalchemy as sa

    alternatives = []
    for i, (column, value) in enumerate(zip(columns, values, strict=True)):
        same = [c == sa.literal(v, sa.types.NullType()) for c, v in zip(columns[:i], values[:i], strict=True)]
        alternatives.append(sa.and_(*same, column > sa.literal(value, sa.types.NullType())))
    return sa.or_(*alternatives)


def batch_of(rows: Sequence[Any], plan: Plan) -> tuple[pa.RecordBatch, list[Misfit]]:
    import pyarrow as pa

    from weighbridge.connectors._sql_types import column_array

    arrays, misfits = [], []
    for name, type_, values in zip(plan.fetched, plan.types, zip(*rows, strict=True), strict=True):
        array, odd = column_array(values, type_, name)
        arrays.append(array)
        misfits += odd
    return pa.RecordBatch.from_arrays(arrays, names=list(plan.fetched)), misfits
