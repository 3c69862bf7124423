"""A compact profile of a landing, small enough to keep in the history of every run and to compare with the next.

No value of a text column is kept: its most frequent values stand as hashes, its formats as shapes (`AA-999`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from weighbridge.checks.base import Landing

__all__ = ["POINTS", "profile"]

POINTS = 33
"""Quantiles kept of a distribution: every 1/32."""
TOP = 12
"""Most frequent values kept of a column with few."""
FEW = 200
"""A column with more distinct values than this has no list of frequent ones."""
SAMPLE = 200_000
"""Rows looked at for frequencies and shapes where there are more: an even sample in order of arrival."""

_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
            "FLOAT", "DOUBLE", "DECIMAL")  # fmt: skip
_SHAPE = (
    "regexp_replace(regexp_replace(regexp_replace(regexp_replace({0}, '\\p{{Lu}}', 'A', 'g'), '\\p{{Ll}}', 'a', 'g'), "
    "'[0-9]', '9', 'g'), '(a{{4}})a+|(A{{4}})A+|(9{{8}})9+', '\\1\\2\\3', 'g')"
)


def profile(landing: Landing) -> Mapping[str, Any]:
    """`{"rows": n, "sampled": m, "columns": {name: {...}}}`; every figure is JSON-able, missing ones are null.

    A column has `type`, `nulls`, `distinct` (approximate, a HyperLogLog estimate) and, where they apply, `mean`, `sd`
    and `quantiles` (of numbers; under `lengths`, of the lengths of text), `top` (`[[hash, rows], ...]` of a column with
    few values) and `shapes` (`[[shape, rows], ...]` of text).
    """
    with closing(landing.connect()) as database:
        table = f'"{landing.table}"'
        types = {row[0]: row[1] for row in database.execute(f"DESCRIBE {table}").fetchall()}
        step = max(1, math.ceil(landing.rows / SAMPLE))
        source = table if step == 1 else f"(SELECT * FROM {table} WHERE _wb_row % {step} = 0)"
        sampled = landing.rows if step == 1 else database.execute(f"SELECT COUNT(*) FROM {source}").fetchall()[0][0]
        columns = {
            name: _column(database, table, source, name, types[name], landing.rows, name in landing.keys)
            for name in landing.columns
        }
    return {"rows": landing.rows, "sampled": sampled, "columns": columns}


def _column(database: Any, table: str, source: str, name: str, native: str, rows: int, is_key: bool) -> dict[str, Any]:
    quoted = '"' + name.replace('"', '""') + '"'
    kind = native.split("(", 1)[0]
    nulls, distinct = database.execute(
        f"SELECT COUNT(*) - COUNT({quoted}), approx_count_distinct({quoted}) FROM {table}"
    ).fetchall()[0]
    found: dict[str, Any] = {"type": native, "nulls": nulls, "distinct": distinct, "key": is_key}
    if rows == nulls or kind in ("STRUCT", "LIST", "MAP", "BLOB") or native.endswith("[]"):
        return found
    if kind in _NUMBERS:
        found |= _numbers(database, source, f"CAST({quoted} AS DOUBLE)")
    elif kind == "VARCHAR":
        found["lengths"] = _numbers(database, source, f"CAST(length({quoted}) AS DOUBLE)")
        found["shapes"] = _frequent(database, source, _SHAPE.format(quoted))
    if distinct <= FEW and not is_key:
        found["top"] = [
            [hashlib.sha256(str(value).encode("utf-8", "replace")).hexdigest()[:12], count]
            for value, count in _frequent(database, source, f"CAST({quoted} AS VARCHAR)")
        ]
    return found


def _numbers(database: Any, source: str, value: str) -> dict[str, Any]:
    shares = ", ".join(f"{i / (POINTS - 1):.5f}" for i in range(POINTS))
    mean, deviation, quantiles = database.execute(
        f"SELECT avg(v), stddev_samp(v), quantile_cont(v, [{shares}]) "
        f"FROM (SELECT {value} AS v FROM {source}) WHERE v IS NOT NULL AND isfinite(v)"
    ).fetchall()[0]
    return {
        "mean": _finite(mean),
        "sd": _finite(deviation),
        "quantiles": None if quantiles is None else [_finite(q) for q in quantiles],
    }


def _frequent(database: Any, source: str, value: str) -> list[list[Any]]:
    rows = database.execute(
        f"SELECT v, COUNT(*) AS n FROM (SELECT {value} AS v FROM {source}) WHERE v IS NOT NULL "
        f"GROUP BY v ORDER BY n DESC, v LIMIT {TOP}"
    ).fetchall()
    return [list(row) for row in rows]


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.10g}")
