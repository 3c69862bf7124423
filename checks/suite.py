"""Compiles rules into Great Expectations' expectations, as plain data: readable in a review, stable, GX not imported.

A core expectation is used wherever it counts exactly what the rule counts; otherwise one of our two:
`expect_failing_rows_to_meet` (an aggregate that shares one pass over the rows) and `expect_query_to_meet`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from weighbridge.checks.conditions import (
    FORMATS,
    Condition,
    MissingColumn,
    Source,
    Type,
    at_path,
    compile_condition,
    pieces,
)
from weighbridge.checks.dialects import DUCKDB, Unsupported, Words
from weighbridge.contracts._sql import substitute
from weighbridge.contracts.dates import parse_limit
from weighbridge.contracts.models import Property, Relationship, Rule, SchemaObject

__all__ = ["AGGREGATE", "QUERY", "Planned", "compile_suite", "declared_source", "meets", "target_view"]

AGGREGATE = "expect_failing_rows_to_meet"
QUERY = "expect_query_to_meet"

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_WORDS_OF_DUCKDB = frozenset(
    {"anti", "asof", "at_timezone", "describe", "glob", "lambda", "map", "pivot", "pivot_longer", "pivot_wider",
     "positional", "qualify", "semi", "show", "struct", "summarize", "try_cast", "unpivot", "macro", "table"}
)  # fmt: skip
_NUMBERLESS = frozenset({"row_count", "sql"})
_LOGICAL = {
    "string": "text", "integer": "integer", "number": "decimal", "boolean": "boolean", "date": "date",
    "timestamp": "timestamp", "time": "time", "object": "struct", "array": "list", "map": "map", "vector": "list",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Planned:
    """One rule as an expectation; without `type` it cannot be run, and `reason` says why."""

    rule: Rule
    type: str | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    condition: Condition | None = None
    outcome: str = "errored"
    """What a rule without `type` ends as."""
    reason: str | None = None

    @property
    def counts_rows(self) -> bool:
        """False for a rule about one number: it has no count and total."""
        return self.rule.kind not in _NUMBERLESS and self.condition is not None

    def expectation(self) -> dict[str, Any]:
        """As Great Expectations writes it, for people and for suites in JSON."""
        return {
            "type": self.type,
            "kwargs": dict(self.kwargs),
            "meta": {"rule": self.rule.path, "severity": self.rule.severity, "line": self.rule.line},
        }


def meets(operator: str, number: Any, value: Any) -> bool:
    """Whether a number satisfies the operator; `between` leaves both ends out, as the standard says."""
    if operator == "mustBe":
        return number == value
    if operator == "mustNotBe":
        return number != value
    if operator == "mustBeBetween":
        return value[0] < number < value[1]
    if operator == "mustNotBeBetween":
        return not value[0] < number < value[1]
    compare: dict[str, Callable[[Any, Any], bool]] = {
        "mustBeGreaterThan": lambda a, b: a > b,
        "mustBeGreaterOrEqualTo": lambda a, b: a >= b,
        "mustBeLessThan": lambda a, b: a < b,
        "mustBeLessOrEqualTo": lambda a, b: a <= b,
    }
    return compare[operator](number, value)


def target_view(relationship: Relationship) -> str:
    """The name under which a relationship's target keys stand in the workspace."""
    return f"_wb_target:{relationship.target_file or ''}#{relationship.target_object}" + "".join(
        f".{c}" for c in relationship.target_columns
    )


def declared_source(object: SchemaObject, words: Words = DUCKDB) -> Source:
    """A source with the types that the contract promises, to show a suite without looking at any system."""
    return Source(
        object,
        {p.physical_name: _declared(p) for p in object.properties},
        words=words,
        table=words.quoted(object.physical_name),
    )


def _declared(item: Property) -> Type:
    kind = _LOGICAL.get(item.logical_type or "string", "text")
    if kind == "struct":
        if not item.properties:
            return Type("json")
        return Type("struct", {p.physical_name: _declared(p) for p in item.properties})
    if kind == "list":
        return Type("list", {"child": _declared(item.items) if item.items is not None else Type("text")})
    if kind == "map" and item.map_key is not None and item.map_value is not None:
        return Type("map", {"key": _declared(item.map_key), "value": _declared(item.map_value)})
    return Type(kind)


def compile_suite(
    rules: Sequence[Rule],
    source: Source,
    *,
    targets: Mapping[str, Mapping[str, Type]] | None = None,
    target_columns: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Planned, ...]:
    """One `Planned` a rule, in order. `targets` are the types of the columns of each view of `target_view`."""
    return tuple(_plan(rule, source, targets, target_columns or {}) for rule in rules)


def _plan(
    rule: Rule,
    source: Source,
    targets: Mapping[str, Mapping[str, Type]] | None,
    target_columns: Mapping[str, Sequence[str]],
) -> Planned:
    try:
        if rule.kind == "text":
            return Planned(rule, outcome="not_run", reason="for people")
        if rule.kind == "foreign":
            engine = rule.arguments["engine"]
            return Planned(rule, outcome="not_run", reason=f"the engine {engine} is not run by Weighbridge")
        if rule.kind == "format" and rule.arguments["format"] not in FORMATS:
            return Planned(rule, outcome="not_run", reason=f"the format {rule.arguments['format']} is not known")
        if rule.kind == "row_count":
            return _row_count(rule)
        if rule.kind == "sql":
            return _sql(rule, source)
        if rule.kind == "expectation":
            return _given(rule, source)
        if rule.kind == "relationship":
            return _relationship(rule, source, targets, target_columns)
        condition = compile_condition(rule, source)
        core = _CORE[rule.kind](rule, source) if rule.kind in _CORE else None
        if core is not None:
            return Planned(rule, core[0], core[1], condition)
        return _ours(rule, condition)
    except MissingColumn as missing:
        return Planned(rule, reason=f"the system has no column '{missing.column}'")
    except Unsupported:
        return Planned(rule, reason=f"{rule.kind} cannot be counted on this column in {source.words.name}")


def _ours(rule: Rule, condition: Condition) -> Planned:
    if condition.count is None and condition.failing is None:
        query = f"SELECT COUNT(*) FROM ({condition.rows}) failing"
        return Planned(rule, QUERY, {"rule": rule.path, "query": query, **_demand(rule)}, condition)
    kwargs = {"rule": rule.path, "aggregate": condition.aggregate(), **_demand(rule)}
    return Planned(rule, AGGREGATE, kwargs, condition)


def _demand(rule: Rule) -> dict[str, Any]:
    """What the count of failing rows must be: a plain promise allows none."""
    arguments = rule.arguments
    if "operator" not in arguments:
        return {"operator": "mustBe", "value": 0, "unit": "rows"}
    value = arguments["value"]
    return {
        "operator": arguments["operator"],
        "value": list(value) if isinstance(value, tuple) else value,
        "unit": arguments.get("unit") or "rows",
    }


def _row_count(rule: Rule) -> Planned:
    operator, value = rule.arguments["operator"], rule.arguments["value"]
    low: int | None = None
    high: int | None = None
    if operator == "mustBe" and float(value).is_integer():
        return Planned(rule, "expect_table_row_count_to_equal", {"value": int(value)})
    if operator == "mustBeGreaterThan":
        low = math.floor(value) + 1
    elif operator == "mustBeGreaterOrEqualTo":
        low = math.ceil(value)
    elif operator == "mustBeLessThan":
        high = math.ceil(value) - 1
    elif operator == "mustBeLessOrEqualTo":
        high = math.floor(value)
    elif operator == "mustBeBetween":
        low, high = math.floor(value[0]) + 1, math.ceil(value[1]) - 1
    if (low is None and high is None) or (high is not None and high < (low or 0)) or (low is not None and low < 0):
        return Planned(rule, AGGREGATE, {"rule": rule.path, "aggregate": "COUNT(*)", **_demand(rule)})
    kwargs = {k: v for k, v in (("min_value", low), ("max_value", high)) if v is not None}
    return Planned(rule, "expect_table_row_count_to_be_between", kwargs)


def _sql(rule: Rule, source: Source) -> Planned:
    named = rule.columns[0] if rule.columns else None
    if source.words.name == "duckdb":
        table, column = source.words.quoted(source.object.name), named
    else:
        table, column = source.table, source.physical(named) if named else None
    path = ".".join(source.words.quoted(p) for p in pieces(source.object, column)) if column else None
    query = substitute(rule.arguments["query"], object=table, property=path)
    return Planned(rule, QUERY, {"rule": rule.path, "query": query, **_demand(rule)})


def _given(rule: Rule, source: Source) -> Planned:
    """An expectation that the contract itself writes; property names become the system's own."""
    kwargs = dict(rule.arguments["kwargs"])
    for key in ("column", "column_A", "column_B"):
        if isinstance(kwargs.get(key), str):
            kwargs[key] = source.physical(kwargs[key])
            if kwargs[key] not in source.columns and rule.arguments["type"] != "expect_column_to_exist":
                raise MissingColumn(kwargs[key])
    for key in ("column_list", "column_set"):
        if isinstance(kwargs.get(key), list):
            kwargs[key] = [source.physical(c) for c in kwargs[key]]
    query = kwargs.get("unexpected_rows_query")
    if isinstance(query, str):
        from weighbridge.contracts._sql import refusal

        refused = refusal(query.replace("{batch}", "wb_batch"))
        if refused:
            return Planned(rule, reason=f"the statement {refused}")
    return Planned(rule, rule.arguments["type"], kwargs)


def _relationship(
    rule: Rule,
    source: Source,
    targets: Mapping[str, Mapping[str, Type]] | None,
    target_columns: Mapping[str, Sequence[str]],
) -> Planned:
    relationship: Relationship = rule.arguments["relationship"]
    view = target_view(relationship)
    words = source.words
    if targets is not None and view not in targets:
        return Planned(rule, reason=f"the keys of {relationship.target_object} could not be read")
    names = target_columns.get(view, relationship.target_columns)
    parts: list[str] = []
    present: list[str] = []
    physicals: list[str] = []
    for column, target in zip(rule.columns, names, strict=True):
        physical, mine, kind = at_path(source, column)
        physicals.append(physical)
        mine = mine.replace(words.quoted(physical), f"d.{words.quoted(physical)}", 1)
        theirs = f"k.{words.quoted(target)}"
        present.append(f"{mine} IS NOT NULL")
        kinds = kind, (targets or {}).get(view, {}).get(target, kind)
        if kinds[0].kind != kinds[1].kind and not (kinds[0].numeric and kinds[1].numeric):
            mine, theirs = words.as_text.format(mine), words.as_text.format(theirs)
        parts.append(f"{theirs} = {mine}")
    rows = (
        f"SELECT d.* FROM {source.table} d WHERE {' AND '.join(present)} AND NOT EXISTS "
        f"(SELECT 1 FROM {words.quoted(view)} k WHERE {' AND '.join(parts)})"
    )
    condition = Condition(rows=rows, columns=tuple(physicals))
    return _ours(rule, condition)


# --- core expectations that count exactly what a rule counts ----------------------------------------------------------

Core = tuple[str, dict[str, Any]]


def _simple(rule: Rule, source: Source, *kinds: str) -> str | None:
    """The physical column, where a core expectation can be trusted with it."""
    if len(rule.columns) != 1 or source.object.property(rule.columns[0]) is None:
        return None
    physical = source.physical(rule.columns[0])
    plain = _PLAIN_NAME.match(physical) and physical.lower() not in _WORDS_OF_DUCKDB
    if not plain or (kinds and source.columns[physical].kind not in kinds):
        return None
    return physical


def _allows_none(rule: Rule) -> bool:
    return "operator" not in rule.arguments or (rule.arguments["operator"], rule.arguments["value"]) == ("mustBe", 0)


def _core_not_null(rule: Rule, source: Source) -> Core | None:
    column = _simple(rule, source)
    if column is None or column in source.misfits or not _allows_none(rule):
        return None
    if source.columns[column].kind in ("json", "struct", "list", "map", "other"):
        return None
    return "expect_column_values_to_not_be_null", {"column": column}


def _core_regex(rule: Rule, source: Source) -> Core | None:
    column = _simple(rule, source, "text")
    if column is None or source.words.name not in ("duckdb", "postgresql"):
        return None
    return "expect_column_values_to_match_regex", {"column": column, "regex": rule.arguments["value"]}


def _core_set(rule: Rule, source: Source) -> Core | None:
    column = _simple(rule, source, "text", "integer", "decimal")
    values = rule.arguments.get("values")
    if column is None or not values or rule.arguments.get("pattern") is not None or not _allows_none(rule):
        return None
    wanted = [v for v in values if v is not None]
    text = source.columns[column].kind == "text"
    fits = all(isinstance(v, str) if text else isinstance(v, int) and not isinstance(v, bool) for v in wanted)
    if not wanted or not fits:
        return None
    return "expect_column_values_to_be_in_set", {"column": column, "value_set": wanted}


def _core_lengths(key: str) -> Callable[[Rule, Source], Core | None]:
    def made(rule: Rule, source: Source) -> Core | None:
        column = _simple(rule, source, "text")
        if column is None or source.words.name in ("mssql", "mysql", "mariadb"):
            return None
        return "expect_column_value_lengths_to_be_between", {"column": column, key: rule.arguments["value"]}

    return made


def _core_between(key: str, strict: str | None) -> Callable[[Rule, Source], Core | None]:
    def made(rule: Rule, source: Source) -> Core | None:
        # Floats hold NaN, which GX would let pass a lower bound; those are counted by a condition of ours.
        logical = rule.arguments.get("logical_type")
        value = rule.arguments["value"]
        if logical in ("integer", "number"):
            column = _simple(rule, source, "integer", "decimal")
        elif logical == "date" and source.words.name in ("duckdb", "postgresql"):
            column = _simple(rule, source, "date")
            value = parse_limit(value, "date", "UTC", rule.arguments.get("format")).isoformat()
        else:
            return None
        if column is None:
            return None
        return "expect_column_values_to_be_between", {
            "column": column,
            key: value,
            **({strict: True} if strict else {}),
        }

    return made


_CORE: Mapping[str, Callable[[Rule, Source], Core | None]] = MappingProxyType(
    {
        "required": _core_not_null,
        "null_values": _core_not_null,
        "pattern": _core_regex,
        "enum": _core_set,
        "invalid_values": _core_set,
        "min_length": _core_lengths("min_value"),
        "max_length": _core_lengths("max_value"),
        "minimum": _core_between("min_value", None),
        "maximum": _core_between("max_value", None),
        "exclusive_minimum": _core_between("min_value", "strict_min"),
        "exclusive_maximum": _core_between("max_value", "strict_max"),
    }
)
