"""Whether an operation's statement walks over the whole table: the server's own EXPLAIN, read for scans.

A scan makes the time of one call a function of the rows: what is quick over the pilot's thousand rows is not over
production's million.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weighbridge.connectors.base import Sql
from weighbridge.connectors.errors import ConnectorError

__all__ = ["AccessPath", "explain"]

PREFIX: Mapping[str, str] = {
    "postgresql": "EXPLAIN (FORMAT JSON) ",
    "mysql": "EXPLAIN FORMAT=JSON ",
    "mariadb": "EXPLAIN FORMAT=JSON ",
    "sqlite": "EXPLAIN QUERY PLAN ",
    "firebird": "EXPLAIN ",  # our connection's own word: the plan comes with preparing
}


@dataclass(frozen=True, slots=True)
class AccessPath:
    """`scan` True: the statement reads the whole table; None: this dialect's plan could not be read."""

    scan: bool | None
    words: str
    rows: float | None = None
    """Rows the server expects to look at, where it says so."""


def explain(sql: Sql, statement: str, parameters: Mapping[str, Any], *, timeout: float = 10.0) -> AccessPath:
    """Ask the server how it would run `statement`; it is not run."""
    dialect = sql.dialect
    prefix = PREFIX.get(dialect)
    if prefix is None:
        return AccessPath(None, f"no EXPLAIN that is read for {dialect}")
    try:
        rows = sql.execute(prefix + statement, parameters, timeout=timeout)
    except ConnectorError as error:
        return AccessPath(None, f"EXPLAIN was refused: {error.message}")
    if dialect == "sqlite":
        lines = [str(row[-1]) for row in rows]
        scan = any(re.match(r"SCAN(?! CONSTANT)", line) and "USING" not in line for line in lines)
        return AccessPath(scan, "; ".join(lines))
    if dialect == "firebird":
        words = " ".join(str(rows[0][0]).split())
        return AccessPath("NATURAL" in words, words)
    try:
        first = rows[0][0]
        plan: Any = first if isinstance(first, list | dict) else json.loads(first)
    except (IndexError, TypeError, ValueError):
        return AccessPath(None, "the plan came in a form that is not known")
    if dialect == "postgresql":
        return _postgres(plan[0]["Plan"] if isinstance(plan, list) else plan["Plan"])
    return _mysql(plan)


def _postgres(node: Mapping[str, Any]) -> AccessPath:
    kinds: list[str] = []
    rows = 0.0
    scan = False

    def walk(at: Mapping[str, Any], limited: bool) -> None:
        nonlocal rows, scan
        kind = str(at.get("Node Type", ""))
        kinds.append(kind)
        # LIMIT over an unfiltered scan stops at once; a filter makes it walk
        if kind in ("Seq Scan", "Parallel Seq Scan") and (at.get("Filter") or not limited):
            scan = True
            rows = max(rows, float(at.get("Plan Rows", 0)))
        below = limited or kind == "Limit"
        # a sort needs every row before the limit above it can stop anything
        if kind in ("Sort", "Aggregate", "Hash", "HashAggregate"):
            below = False
        for child in at.get("Plans", ()):
            walk(child, below)

    walk(node, False)
    return AccessPath(scan, " <- ".join(kinds), rows or None)


def _mysql(plan: Mapping[str, Any]) -> AccessPath:
    found: list[Mapping[str, Any]] = []

    def walk(at: Any) -> None:
        if isinstance(at, Mapping):
            if "access_type" in at:
                found.append(at)
            for value in at.values():
                walk(value)
        elif isinstance(at, list):
            for value in at:
                walk(value)

    walk(plan)
    if not found:
        return AccessPath(None, "the plan names no access path")
    types = [str(item["access_type"]) for item in found]
    rows = max((float(i.get("rows_examined_per_scan") or i.get("rows") or 0) for i in found), default=0.0)
    return AccessPath("ALL" in types, ", ".join(types), rows or None)
