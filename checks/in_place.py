"""Lets Great Expectations judge inside the system's own database, where it speaks SQL and its owner allows it.

What a dialect has no words for stays with the landed rows; nothing is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weighbridge.checks.conditions import Source, Type
from weighbridge.checks.dialects import DIALECTS, Words
from weighbridge.checks.schema import kind_of
from weighbridge.checks.suite import Planned, compile_suite
from weighbridge.connectors.base import Sql, TableSchema
from weighbridge.contracts._sql import refusal
from weighbridge.contracts.models import IntegrationPoint, Rule

if TYPE_CHECKING:
    from weighbridge.checks.gx import Verdict

__all__ = ["InPlace", "judge_in_place", "why_not"]

_SQLGLOT = {"mssql": "tsql", "postgresql": "postgres", "mariadb": "mysql"}


@dataclass(frozen=True, slots=True)
class InPlace:
    """What the server's own dialect was asked and said, by the rule's path."""

    source: Source
    planned: Mapping[str, Planned]
    verdicts: Mapping[str, Verdict]


def why_not(sql: Sql | None, point: IntegrationPoint) -> str | None:
    """Why this point cannot be judged in place; None where it can."""
    if sql is None:
        return "the system does not speak SQL"
    if sql.dialect not in DIALECTS or sql.engine() is None:
        return f"Great Expectations does not speak {sql.dialect} here"
    if point.object.filter is not None:
        return "the object is narrowed by weighbridge.filter"
    return None


def judge_in_place(rules: Sequence[Rule], point: IntegrationPoint, sql: Sql, schema: TableSchema) -> InPlace:
    """Every rule that this dialect can count, judged by Great Expectations inside the database."""
    from weighbridge.checks import gx

    words = DIALECTS[sql.dialect]
    quoted = sql.quoted(point.object.physical_name)
    columns = {c.name: Type(kind_of(c.type)) for c in schema.columns}
    source = Source(point.object, columns, words=words, table=quoted)
    planned: dict[str, Planned] = {}
    for plan in compile_suite([r for r in rules if r.kind != "relationship"], source):
        # A statement that a rule of the contract wrote is held against the server's own grammar before it is sent.
        refused = (
            refusal(plan.kwargs["query"], _SQLGLOT.get(sql.dialect, sql.dialect)) if plan.rule.kind == "sql" else None
        )
        if plan.type is not None and refused is None:
            planned[plan.rule.path] = plan
    engine = sql.engine()
    assert engine is not None, "asked of `why_not` before"  # noqa: S101
    schema_name, table = _place(quoted, words)
    asked = list(planned.values())
    together = [p for p in asked if p.rule.kind not in ("sql", "expectation")]
    verdicts: dict[str, Verdict] = {}
    for group in (together, *([p] for p in asked if p.rule.kind in ("sql", "expectation"))):
        if group:
            found = gx.validate(engine, table, group, schema=schema_name)
            # A count that this server refuses is left to the landed rows; a statement of the contract's own is not.
            kept = [(p, v) for p, v in zip(group, found, strict=True) if v.error is None or group is not together]
            verdicts.update({p.rule.path: v for p, v in kept})
    return InPlace(source, planned, verdicts)


def _place(quoted: str, words: Words) -> tuple[str | None, str]:
    """(schema, table) without quotes, of a name as the dialect quotes it."""
    left, right = (re.escape(q) for q in words.quote)
    parts = re.findall(rf"{left}(?:[^{right}]|{right}{right})*{right}|[^.]+", quoted)
    plain = [_plain(p, words) for p in parts]
    return (".".join(plain[:-1]) or None), plain[-1]


def _plain(part: str, words: Words) -> str:
    left, right = words.quote
    if part.startswith(left) and part.endswith(right):
        return part[len(left) : -len(right)].replace(right * 2, right)
    return part
