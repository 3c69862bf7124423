"""Compares what the contract declares with what the system has, both ways: columns, types, nulls, lengths, keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from weighbridge.checks.base import Code, Context, Evidence, Finding, Landing, Result, RuleResult, Severity
from weighbridge.checks.dialects import DUCKDB
from weighbridge.checks.masking import mask_value
from weighbridge.connectors.base import Column, TableSchema
from weighbridge.contracts.models import IntegrationPoint, Property, Rule

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["COMPATIBLE", "SchemaCheck", "kind_of"]

SAMPLES = 20

COMPATIBLE: dict[str, dict[str, str | None]] = {
    # logical type -> system kind -> the condition that each value must satisfy ({} is the column), None: always fits
    "string": {"text": None, "binary": None},
    "integer": {"integer": None, "decimal": "{} = trunc({})", "float": "isfinite({0}) AND {0} = trunc({0})"},
    "number": {"integer": None, "decimal": None, "float": None},
    "boolean": {"boolean": None, "integer": "{} IN (0, 1)"},
    "date": {"date": None, "timestamp": "{0} = date_trunc('day', {0})", "timestamptz": "{0} = date_trunc('day', {0})"},
    "timestamp": {"timestamp": None, "timestamptz": None},
    "time": {"time": None},
    "object": {"struct": None, "map": None},
    "array": {"list": None},
    "map": {"map": None, "struct": None},
    "vector": {"list": None},
}
"""What is accepted as what. Beside it: text columns may hold a date, timestamp or time where the property has a
`format` (its rule then reads every value), and JSON text may hold an object or an array."""


def kind_of(type: pa.DataType) -> str:
    """An Arrow type as one of the kinds of the table above."""
    import pyarrow.types as pt

    asked = (
        ("boolean", pt.is_boolean), ("integer", pt.is_integer), ("decimal", pt.is_decimal), ("float", pt.is_floating),
        ("date", pt.is_date), ("time", pt.is_time), ("list", pt.is_list), ("list", pt.is_large_list),
        ("list", pt.is_fixed_size_list), ("struct", pt.is_struct), ("map", pt.is_map),
        ("binary", pt.is_binary), ("binary", pt.is_large_binary), ("binary", pt.is_fixed_size_binary),
        ("text", pt.is_string), ("text", pt.is_large_string), ("text", pt.is_dictionary), ("null", pt.is_null),
    )  # fmt: skip
    if pt.is_timestamp(type):
        return "timestamptz" if type.tz else "timestamp"
    return next((kind for kind, test in asked if test(type)), "other")


@dataclass(frozen=True, slots=True)
class _Found:
    """What became of a type rule."""

    outcome: str
    observed: str
    count: int | None = None
    total: int | None = None
    samples: tuple[str, ...] = ()
    reason: str | None = None


class SchemaCheck:
    """Are the columns there, of the promised type, length and key, and is nothing there that nobody declared?

    Breaks in production:
        A renamed or retyped column stops every program that reads it at the same moment; a column shortened by a
        vendor's update cuts texts silently; a key that is none makes updates hit the wrong record.

    Fix:
        Agree with the system's owner which of the two is right, then change the system or the contract. Declare
        columns that are meant to be read; ask the owner to announce changes of those that are declared.
    """

    name: ClassVar[str] = "schema"
    needs: ClassVar[tuple[str, ...]] = ("schema",)
    facets: ClassVar[tuple[type, ...]] = ()
    cost: ClassVar[Any] = "read"
    codes: ClassVar[tuple[Code, ...]] = (
        Code("schema.missing", Severity.BREAK, "Bring the column back, or change the contract with those who read it."),
        Code("schema.undeclared", Severity.INFO, "Declare the columns that are meant to be read; leave the others."),
        Code(
            "schema.retyped", Severity.BREAK, "Change the column's type back, or the contract with those who read it."
        ),
        Code(
            "schema.values_do_not_fit",
            Severity.BREAK,
            "Correct the values in the system, or declare the type that they really have.",
        ),
        Code("schema.nullable", Severity.INFO, "Make the column NOT NULL in the system, so that no null can come."),
        Code("schema.length", Severity.WARN, "Widen the column in the system, or promise the length that it has."),
        Code("schema.longer", Severity.INFO, "Nothing, while the rows keep the promised length; better a constraint."),
        Code("schema.key", Severity.WARN, "Make it the primary key (or a unique index) in the system."),
        Code("schema.physical_type", Severity.INFO, "Write the type that the system has, or ask why it changed."),
    )

    def __call__(self, point: IntegrationPoint, evidence: Evidence, context: Context) -> Iterable[Result]:
        schema = evidence.schema
        declared = {p.physical_name: p for p in point.object.properties}
        for rule in (r for r in point.rules if r.check == self.name):
            item = point.object.property(rule.columns[0])
            assert item is not None, "a schema rule speaks of a property of its object"  # noqa: S101
            column = schema.column(item.physical_name)
            if rule.kind == "presence":
                yield from _presence(point, rule, item, column, schema)
            elif column is None:
                yield _result(rule, _Found("errored", "not there", reason=f"no column '{item.physical_name}'"))
            else:
                yield from _type(point, rule, item, column, evidence)
        yield from _undeclared(point, schema, declared)
        for item in point.object.properties:
            column = schema.column(item.physical_name)
            if column is not None:
                yield from _details(point, item, column)
        yield from _key(point, schema)
        del context


def _result(rule: Rule, found: _Found) -> RuleResult:
    return RuleResult(
        id=rule.id,
        path=rule.path,
        name=rule.name,
        line=rule.line,
        outcome=found.outcome,  # type: ignore[arg-type]  # one of the four by construction
        reason=found.reason,
        severity=rule.severity,
        count=found.count,
        total=found.total,
        observed=found.observed,
        expected=rule.expected,
        samples=found.samples,
    )


def _where(point: IntegrationPoint, item: Property) -> str:
    other = f" (column {item.physical_name})" if item.physical_name != item.name else ""
    return f"{point.id}.{item.name}{other}"


def _presence(
    point: IntegrationPoint, rule: Rule, item: Property, column: Column | None, schema: TableSchema
) -> Iterator[Result]:
    if column is not None:
        yield _result(rule, _Found("passed", "there"))
        return
    yield _result(rule, _Found("failed", "not there"))
    import difflib

    close = difflib.get_close_matches(item.physical_name, [c.name for c in schema.columns], n=1)
    hint = f" The nearest name there is '{close[0]}'." if close else ""
    yield Finding(
        "schema.missing",
        f"{_where(point, item)}: the contract promises it (line {item.line}); the system has no such column, or does "
        f"not show it to this user.{hint}",
        expected=item.physical_name,
        observed=None,
        evidence={"rule": rule.path, "column": item.physical_name, "nearest": close[0] if close else None},
    )


def _type(point: IntegrationPoint, rule: Rule, item: Property, column: Column, evidence: Evidence) -> Iterator[Result]:
    logical = rule.arguments["logical_type"]
    kind = kind_of(column.type)
    allowed = COMPATIBLE[logical]
    test = allowed.get(kind)
    # A column that never held a value has no type to disagree with.
    fits = kind in allowed or kind == "null" or (kind == "text" and _reads_text(item, logical))
    if not fits:
        yield _result(rule, _Found("failed", column.native))
        yield Finding(
            "schema.retyped",
            f"{_where(point, item)}: promised as {logical} (line {item.line}), but the system has {column.native}.",
            expected=logical,
            observed=column.native,
            evidence={"rule": rule.path, "column": column.name, "kind": kind},
        )
        return
    found = _values(evidence.landing, item, column, test)
    yield _result(rule, found)
    if found.outcome == "failed":
        yield Finding(
            "schema.values_do_not_fit",
            f"{_where(point, item)}: {found.count:,} of {found.total:,} values do not fit {logical} "
            f"(the column is {column.native}; line {item.line}).",
            expected=logical,
            observed=found.count,
            evidence={
                "rule": rule.path, "column": column.name, "count": found.count, "total": found.total,
                "samples": list(found.samples),
            },
        )  # fmt: skip


def _reads_text(item: Property, logical: str) -> bool:
    """Whether text may stand for this logical type: a date with a format, or JSON."""
    if logical in ("date", "timestamp", "time"):
        return "format" in item.options
    return logical in ("object", "array", "map", "vector")


def _values(landing: Landing, item: Property, column: Column, test: str | None) -> _Found:
    """Whether every landed value fits: misfits of landing, and values that the compatible kind cannot promise."""
    if column.name not in landing.columns or (test is None and not landing.misfits):
        return _Found("passed", column.native, 0 if column.name in landing.columns else None, landing.rows)
    name = DUCKDB.quoted(column.name)
    table = DUCKDB.quoted(landing.table)
    aside = DUCKDB.quoted(f"{landing.table}__misfits")
    with landing.connect() as database:
        misfits = 0
        samples: list[str] = []
        if landing.misfits:
            mine = f"FROM {aside} WHERE column_name = {DUCKDB.text(column.name)}"
            row = database.execute(f"SELECT COUNT(DISTINCT row) {mine}").fetchone()
            misfits = row[0] if row else 0
            shown = database.execute(f"SELECT row, raw {mine} ORDER BY row LIMIT {SAMPLES}").fetchall()
            samples = [f"row {r + 1} ({column.name}: {mask_value(v, item.classification)})" for r, v in shown]
        breaking = 0
        if test is not None:
            failing = f"FROM {table} WHERE {name} IS NOT NULL AND NOT ({_filled(test, name)})"
            row = database.execute(f"SELECT COUNT(*) {failing}").fetchone()
            breaking = row[0] if row else 0
            shown = database.execute(f"SELECT _wb_row, {name} {failing} ORDER BY 1 LIMIT {SAMPLES}").fetchall()
            samples += [f"row {r + 1} ({column.name}: {mask_value(v, item.classification)})" for r, v in shown]
    count = misfits + breaking
    return _Found("failed" if count else "passed", column.native, count, landing.rows, tuple(samples[:SAMPLES]))


def _filled(test: str, name: str) -> str:
    return test.replace("{0}", "{}").replace("{}", name)


def _undeclared(point: IntegrationPoint, schema: TableSchema, declared: dict[str, Property]) -> Iterator[Finding]:
    extra = [c.name for c in schema.columns if c.name not in declared]
    if not extra:
        return
    closed = point.object.closed
    shown = ", ".join(extra[:12]) + (f" and {len(extra) - 12} more" if len(extra) > 12 else "")
    yield Finding(
        "schema.undeclared",
        f"{point.id}: {len(extra)} column(s) of the system are not in the contract, so they are not read: {shown}."
        + (" The contract says that there are no others (weighbridge.closed)." if closed else ""),
        expected="none" if closed else None,
        observed=len(extra),
        evidence={"columns": extra[:200], "count": len(extra)},
        severity=Severity.WARN if closed else None,
    )


def _details(point: IntegrationPoint, item: Property, column: Column) -> Iterator[Finding]:
    where = _where(point, item)
    if (item.required or item.primary_key) and column.nullable is True:
        yield Finding(
            "schema.nullable",
            f"{where}: the contract says it is never null (line {item.line}); the system would take a null.",
            expected="not nullable",
            observed="nullable",
            evidence={"column": column.name},
        )
    promised = item.options.get("maxLength")
    if isinstance(promised, int) and column.length is not None and column.length != promised:
        if column.length < promised:
            yield Finding(
                "schema.length",
                f"{where}: texts of up to {promised} characters are promised (line {item.line}); the system holds "
                f"{column.length}, so longer ones are cut or refused.",
                expected=promised,
                observed=column.length,
                evidence={"column": column.name},
            )
        else:
            yield Finding(
                "schema.longer",
                f"{where}: the system would hold {column.length} characters, more than the promised {promised}.",
                expected=promised,
                observed=column.length,
                evidence={"column": column.name},
            )
    if item.physical_type and not _same_type(item.physical_type, column.native):
        yield Finding(
            "schema.physical_type",
            f"{where}: the contract notes the type {item.physical_type} (line {item.line}); the system has "
            f"{column.native}.",
            expected=item.physical_type,
            observed=column.native,
            evidence={"column": column.name},
        )


_SAME = {
    "character varying": "varchar", "int": "integer", "int4": "integer", "int8": "bigint", "bool": "boolean",
    "numeric": "decimal", "timestamp without time zone": "timestamp", "timestamptz": "timestamp with time zone",
    "double precision": "double", "float8": "double", "character": "char",
}  # fmt: skip


def _same_type(a: str, b: str) -> bool:
    return _plain_type(a) == _plain_type(b)


def _plain_type(text: str) -> str:
    text = " ".join(text.lower().split())
    head, bracket, tail = text.partition("(")
    head = _SAME.get(head.strip(), head.strip())
    # A contract that notes no length says nothing about the length.
    return f"{head}{bracket}{tail}".replace(" ", "")


def _key(point: IntegrationPoint, schema: TableSchema) -> Iterator[Finding]:
    promised = tuple(p.physical_name for p in point.object.key)
    if not promised:
        return
    unique = len(promised) == 1 and (column := schema.column(promised[0])) is not None and column.unique
    if set(promised) == set(schema.keys) or unique or any(schema.column(p) is None for p in promised):
        return
    if schema.keys:
        yield Finding(
            "schema.key",
            f"{point.id}: the contract's key is {', '.join(promised)}; the system's is {', '.join(schema.keys)}.",
            expected=list(promised),
            observed=list(schema.keys),
        )
    else:
        yield Finding(
            "schema.key",
            f"{point.id}: the contract's key is {', '.join(promised)}; the system declares none, so nothing but luck "
            "keeps it unique.",
            expected=list(promised),
            observed=None,
            severity=Severity.INFO,
        )
