"""Holds what was landed against every data promise of the contract; Great Expectations gives the verdict."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from weighbridge.checks.base import (
    Code,
    Context,
    Evidence,
    Finding,
    Inconclusive,
    Landing,
    Measurement,
    Result,
    RuleResult,
    Severity,
)
from weighbridge.checks.conditions import ROW, Source
from weighbridge.checks.masking import is_sensitive, mask_text, mask_value
from weighbridge.checks.suite import Planned, compile_suite, target_view
from weighbridge.checks.workspace import DATA, Workspace
from weighbridge.connectors.base import Sql
from weighbridge.contracts.models import IntegrationPoint, Rule, SchemaObject

if TYPE_CHECKING:
    from weighbridge.checks.gx import Verdict
    from weighbridge.checks.gx_spark import OnSpark
    from weighbridge.checks.in_place import InPlace

__all__ = ["QualityCheck", "finding_of", "result_of"]

SAMPLES = 20
SUITE_SECONDS = 600.0
RULE_SECONDS = 30.0
_SEVERITIES = {"error": Severity.BREAK, "warning": Severity.WARN, "info": Severity.INFO}
_SIZED = ("min_items", "max_items")


class QualityCheck:
    """Is the data what the contract promises?

    Breaks in production:
        What 10 people correct by eye, 500 people and an automation build upon: a missing key, a duplicate, a
        reference to nothing, a value outside its range ends as a wrong order, a wrong invoice or a crash.

    Fix:
        Correct the rows that are named, in the system itself; add the rule as a constraint where the system has
        one. Where the rule is wrong and not the data, change the contract, with those who rely on it.
    """

    name: ClassVar[str] = "quality"
    needs: ClassVar[tuple[str, ...]] = ("landing",)
    facets: ClassVar[tuple[type, ...]] = ()
    cost: ClassVar[Any] = "read"
    codes: ClassVar[tuple[Code, ...]] = (
        Code(
            "quality.rule_failed",
            Severity.BREAK,
            "Correct the rows that break the rule in the system, or change the rule with those who rely on it.",
        ),
        Code(
            "quality.no_rows",
            Severity.WARN,
            "Check the filter and the permissions of the reading user; rules about rows prove nothing without rows.",
        ),
        Code(
            "quality.slower_engine",
            Severity.INFO,
            "Install the versions that Weighbridge pins (duckdb, duckdb-engine, great-expectations).",
        ),
    )

    def __call__(self, point: IntegrationPoint, evidence: Evidence, context: Context) -> Iterable[Result]:
        rules = [r for r in point.rules if r.check == self.name]
        if not rules:
            return
        landing = evidence.landing
        empty = landing.rows == 0
        if empty:
            yield Finding(
                "quality.no_rows",
                f"{point.id}: no row was read, so no promise about rows was put to the test.",
                expected="at least one row",
                observed=0,
            )
        targets, target_errors = _targets(rules, context)
        siblings, sibling_errors = _siblings(rules, point, context)
        with Workspace(landing, point.object, siblings=siblings, targets=targets) as workspace:
            planned = _plan(rules, workspace, targets, {**target_errors, **sibling_errors}, empty=empty)
            context.progress(f"{point.id}: {len(planned)} rules over {landing.rows:,} rows")
            on_spark = context.settings.get("judge") == "spark"
            there = (
                _on_spark(planned, workspace, _key_columns(rules, targets))
                if on_spark
                else _in_place(planned, point, evidence, context)
            )
            judged = there.verdicts if there is not None else {}
            verdicts, slower = _judge([p for p in planned if p.rule.path not in judged], workspace, context)
            if slower:
                yield Finding("quality.slower_engine", f"{point.id}: {slower}")
            if there is not None:
                yield Measurement("quality", {"dialect": there.source.words.name, "in_place": sorted(judged)})
            for plan in planned:
                verdict = judged.get(plan.rule.path) or verdicts.get(id(plan))
                result = result_of(plan, verdict, workspace)
                if there is not None and plan.rule.path in judged and result.query is not None and not on_spark:
                    result = replace(result, query=failing_rows(there.planned[plan.rule.path], there.source))
                yield result
                if result.outcome == "failed":
                    yield finding_of(point, plan.rule, result)


def _targets(rules: Sequence[Rule], context: Context) -> tuple[dict[str, Landing], dict[str, str]]:
    """The landed keys that relationships refer to, by view; and why a rule's could not be read, by its path."""
    found: dict[str, Landing] = {}
    errors: dict[str, str] = {}
    for rule in rules:
        if rule.kind != "relationship":
            continue
        relationship = rule.arguments["relationship"]
        view = target_view(relationship)
        if view in found:
            continue
        if context.target_keys is None:
            errors[rule.path] = f"the keys of {relationship.target_object} cannot be read here"
            continue
        try:
            found[view] = context.target_keys(relationship)
        except Inconclusive as error:
            errors[rule.path] = f"the keys of {relationship.target_object} could not be read: {error.message}"
    return found, errors


def _siblings(
    rules: Sequence[Rule], point: IntegrationPoint, context: Context
) -> tuple[dict[str, tuple[Landing, SchemaObject]], dict[str, str]]:
    """The other objects of the contract that rules in SQL name."""
    found: dict[str, tuple[Landing, SchemaObject]] = {}
    errors: dict[str, str] = {}
    others = {o.name.lower(): o for o in point.contract.objects if o.name != point.object.name}
    for rule in rules:
        if rule.kind != "sql":
            continue
        for name in _table_names(rule.arguments["query"]):
            other = others.get(name.lower())
            if other is None or other.name in found or rule.path in errors:
                continue
            if context.sibling is None:
                errors[rule.path] = f"the object {other.name} cannot be read here"
                continue
            try:
                found[other.name] = (context.sibling(other.name), other)
            except Inconclusive as error:
                errors[rule.path] = f"the object {other.name} could not be read: {error.message}"
    return found, errors


def _table_names(query: str) -> set[str]:
    import sqlglot
    from sqlglot import exp

    tree = sqlglot.parse_one(re.sub(r"\$\{(\w+)\}", r"wb_\1", query), read="duckdb")
    return {table.name for table in tree.find_all(exp.Table)}


def _key_columns(rules: Sequence[Rule], targets: Mapping[str, Landing]) -> dict[str, Sequence[str]]:
    """The columns of each view of a relationship's target that hold what is referred to."""
    columns: dict[str, Sequence[str]] = {}
    for rule in rules:
        if rule.kind == "relationship":
            relationship = rule.arguments["relationship"]
            landing = targets.get(target_view(relationship))
            if landing is not None:
                wanted = len(relationship.target_columns)
                columns[target_view(relationship)] = (
                    landing.keys if len(landing.keys) == wanted else landing.columns[:wanted]
                )
    return columns


def _plan(
    rules: Sequence[Rule],
    workspace: Workspace,
    targets: Mapping[str, Landing],
    errors: Mapping[str, str],
    *,
    empty: bool,
) -> list[Planned]:
    columns = _key_columns(rules, targets)
    planned = []
    for plan in compile_suite(rules, workspace.source, targets=workspace.target_types, target_columns=columns):
        rule = plan.rule
        if rule.path in errors:
            plan = Planned(rule, reason=errors[rule.path])  # noqa: PLW2901 - replaced by why it cannot run
        elif empty and plan.type is not None and rule.kind not in ("row_count", "sql"):
            plan = Planned(rule, outcome="not_run", reason="there are no rows to hold against it")  # noqa: PLW2901
        planned.append(plan)
    return planned


def _on_spark(planned: Sequence[Planned], workspace: Workspace, keys: Mapping[str, Sequence[str]]) -> OnSpark:
    """What Great Expectations says on Spark, where the run asks for it."""
    from weighbridge.checks.gx_spark import judge_on_spark

    return judge_on_spark(planned, workspace, target_columns=keys, seconds=SUITE_SECONDS)


def _in_place(
    planned: Sequence[Planned], point: IntegrationPoint, evidence: Evidence, context: Context
) -> InPlace | None:
    """What the system's own database says, where the project allows it (`in_place = true`) and it can."""
    if not context.settings.get("in_place"):
        return None
    from weighbridge.checks.in_place import judge_in_place, why_not

    sql = context.connector().facet(Sql)
    reason = why_not(sql, point)
    if sql is None or reason is not None:
        context.progress(f"{point.id}: judged on the landed rows, for {reason}")
        return None
    return judge_in_place([p.rule for p in planned if p.type is not None], point, sql, evidence.schema)


def _judge(planned: Sequence[Planned], workspace: Workspace, context: Context) -> tuple[dict[int, Verdict], str | None]:
    """GX's verdict by id of the plan, and what to say where a slower engine had to do."""
    runnable = [p for p in planned if p.type is not None]
    if not runnable:
        return {}, None
    from weighbridge.checks import gx

    broken = gx.duckdb_problem()
    if broken is not None:
        from weighbridge.checks.gx_sqlite import validate_in_sqlite

        verdicts = validate_in_sqlite(runnable, workspace)
        return verdicts, (
            f"Great Expectations does not run on this DuckDB ({broken}); the rows were copied to SQLite, "
            "which takes about ten times as long and leaves rules on nested data and dates in text unanswered."
        )
    verdicts: dict[int, Verdict] = {}
    engine = gx.duckdb_engine_of(workspace)
    try:
        together = [p for p in runnable if p.rule.kind not in ("sql", "expectation")]
        alone = [p for p in runnable if p.rule.kind in ("sql", "expectation")]
        with workspace.limited(SUITE_SECONDS):
            verdicts.update({id(p): v for p, v in zip(together, gx.validate(engine, DATA, together), strict=True)})
        seconds = float(context.settings.get("rule_seconds", RULE_SECONDS))
        for plan in alone:
            with workspace.limited(seconds):
                verdict = gx.validate(engine, DATA, [plan])[0]
            verdicts[id(plan)] = _explained(verdict, seconds)
    finally:
        engine.dispose()
    return verdicts, None


def _explained(verdict: Verdict, seconds: float) -> Verdict:
    if verdict.error and ("INTERRUPT" in verdict.error.upper()):
        return replace(verdict, error=f"it ran longer than {seconds:.0f} s and was stopped")
    return verdict


def result_of(plan: Planned, verdict: Verdict | None, workspace: Workspace | None) -> RuleResult:
    """What became of one rule, with masked samples and the statement that shows all failing rows."""
    rule = plan.rule
    common: dict[str, Any] = {
        "id": rule.id, "path": rule.path, "name": rule.name, "line": rule.line, "severity": rule.severity,
        "expected": rule.expected,
    }  # fmt: skip
    if plan.type is None or verdict is None:
        outcome: Any = plan.outcome
        return RuleResult(outcome=outcome, reason=plan.reason, **common)
    if verdict.error is not None:
        return RuleResult(outcome="errored", reason=verdict.error, **common)
    counts = plan.counts_rows or (rule.kind == "expectation" and verdict.count is not None)
    count = verdict.count if counts else None
    total = verdict.total if counts else None
    samples: tuple[Any, ...] = ()
    query = None
    if workspace is not None and plan.condition is not None and count:
        query = failing_rows(plan, workspace.source)
        samples = tuple(_samples(query, plan, workspace))
    return RuleResult(
        outcome="passed" if verdict.success else "failed",
        count=count,
        total=total,
        observed=_plain(verdict.observed),
        samples=samples,
        query=query if not verdict.success or count else None,
        **common,
    )


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return mask_text(value)[:200]
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value[:SAMPLES]]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in list(value.items())[:SAMPLES]}
    return mask_text(str(value))[:200]


def failing_rows(plan: Planned, source: Source) -> str:
    """The statement that shows every row that breaks the rule."""
    condition = plan.condition
    assert condition is not None, "only rules about rows have failing rows"  # noqa: S101
    words = source.words
    keys = [p.physical_name for p in source.object.key if p.physical_name in source.columns]
    shown = list(dict.fromkeys([*keys, *condition.columns]))
    columns = ", ".join(words.quoted(c) for c in shown) or "*"
    if words.name == "duckdb":
        columns = f"{ROW}, {columns}"
    if condition.rows is not None:
        return f"SELECT {columns} FROM ({condition.rows}) failing"
    return f"SELECT {columns} FROM {source.table} WHERE {condition.failing}"


def _samples(query: str, plan: Planned, workspace: Workspace) -> Iterator[str]:
    """Up to 20 failing rows as `KEY` or `KEY (column: value)`, masked; a row without a key by its number."""
    source = workspace.source
    object = source.object  # noqa: A001 - the design's word
    keys = [p for p in object.key if p.physical_name in source.columns]
    shown = list(dict.fromkeys([*(p.physical_name for p in keys), *(plan.condition.columns if plan.condition else ())]))
    by_name = {p.physical_name: p for p in object.properties}
    import duckdb

    with contextlib.suppress(duckdb.Error):  # the verdict stands without samples
        for row, *values in workspace.rows(f"{query} ORDER BY {ROW} LIMIT {SAMPLES}"):
            cells = dict(zip(shown, values, strict=True))
            parts = [str(mask_value(cells[p.physical_name], p.classification)) for p in keys]
            key = (
                " / ".join(parts)
                if keys and any(cells[p.physical_name] is not None for p in keys)
                else f"row {row + 1}"
            )
            rest = [c for c in shown if c not in {p.physical_name for p in keys}]
            details = []
            for column in rest:
                item = by_name.get(column)
                sensitive = item.classification if item is not None and is_sensitive(item.classification) else None
                details.append(f"{column}: {mask_value(cells[column], sensitive)}")
            yield f"{key} ({', '.join(details)})" if details else key


def finding_of(point: IntegrationPoint, rule: Rule, result: RuleResult) -> Finding:
    """A failed rule as a finding of its own severity."""
    evidence: dict[str, Any] = {"rule": rule.path, "id": rule.id, "line": rule.line}
    if result.count is not None:
        evidence["count"], evidence["total"] = result.count, result.total
        if result.total:
            evidence["share"] = result.count / result.total
    if result.samples:
        evidence["samples"] = list(result.samples)
    what = f"{rule.name}: " if rule.name != rule.expected else ""
    seen = (
        f"{result.count:,} of {result.total:,} rows break it"
        if result.count is not None and result.total is not None
        else f"observed {result.observed}"
    )
    physical = _physical(point, rule)
    return Finding(
        "quality.rule_failed",
        f"{point.id}{physical}: {what}{seen} ({rule.path}, line {rule.line}).",
        expected=rule.expected,
        observed=result.observed,
        evidence=evidence,
        business_effect=rule.business_effect,
        severity=_SEVERITIES[rule.severity],
    )


def _physical(point: IntegrationPoint, rule: Rule) -> str:
    """The system's own column name, where it differs from the contract's."""
    names = []
    for column in rule.columns:
        item = point.object.property(column.split(".")[0])
        if item is not None and item.physical_name != item.name:
            names.append(f"{item.name} = {item.physical_name}")
    return f" ({', '.join(names)})" if names else ""
