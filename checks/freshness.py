"""Whether the data is as new, as often renewed and as soon forgotten as the contract promises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Any, ClassVar

from weighbridge.checks.base import (
    Code,
    Context,
    Cost,
    Evidence,
    Finding,
    Landing,
    NotRun,
    Result,
    RuleResult,
    Severity,
)
from weighbridge.contracts.models import IntegrationPoint, Rule

__all__ = ["FreshnessCheck", "period"]

SOON = timedelta(days=90)
AHEAD = timedelta(days=1)
"""A newest value further ahead than this is a clock or a zone gone wrong, not fresh data."""
_AGE = frozenset({"freshness", "latency", "frequency"})
_ENDS = frozenset({"endOfLife", "endOfSupport"})
_DAYS: Mapping[str, float] = MappingProxyType(
    {"s": 1 / 86400, "sec": 1 / 86400, "second": 1 / 86400, "min": 1 / 1440, "minute": 1 / 1440, "m": 1 / 1440,
     "h": 1 / 24, "hr": 1 / 24, "hour": 1 / 24, "d": 1, "day": 1, "w": 7, "week": 7, "mo": 30.44, "month": 30.44,
     "y": 365.25, "yr": 365.25, "year": 365.25, "ms": 1 / 86_400_000, "millisecond": 1 / 86_400_000}
)  # fmt: skip


def period(value: Any, unit: str | None) -> timedelta | None:
    """A service level's value and unit as a span of time; None where it is none. No unit is days."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    word = (unit or "d").strip().lower()
    days = _DAYS.get(word, _DAYS.get(word.removesuffix("s")))
    return None if days is None or number < 0 else timedelta(days=number * days)


class FreshnessCheck:
    """Compares the newest and oldest value of the column a service level names with what it promises.

    `latency`, `freshness` and `frequency` bound the age of the newest value, `retention` the age of the oldest;
    `endOfSupport` and `endOfLife` are dates. A service level that names no column (`element: Object.column`) cannot be
    measured and is not run, by name.

    Breaks in production
        The nightly load stopped on Friday. Every record is valid, every check of the data is green, and the assistant
        answers on Monday with Friday's stock.

    Fix
        Have the load repaired and watched (its own alarm, not ours), or promise what it really keeps.
    """

    name: ClassVar[str] = "freshness"
    needs: ClassVar[tuple[str, ...]] = ("landing",)
    facets: ClassVar[tuple[type, ...]] = ()
    cost: ClassVar[Cost] = "read"
    codes: ClassVar[tuple[Code, ...]] = (
        Code("freshness.stale", Severity.BREAK, "Repair the load, or promise the age it really keeps."),
        Code("freshness.kept_too_long", Severity.BREAK, "Delete what is older, or promise a longer retention."),
        Code("freshness.ahead_of_time", Severity.WARN, "Check the clock and the time zone of what writes the column."),
        Code("freshness.end_of_life", Severity.BREAK, "Move to the interface's successor before its last day."),
        Code("freshness.end_near", Severity.WARN, "Plan the move to the interface's successor now."),
    )

    def __call__(self, point: IntegrationPoint, evidence: Evidence, context: Context) -> Iterable[Result]:
        rules = [r for r in point.rules if r.check == self.name]
        if not rules:
            raise NotRun("not_applicable", "the contract promises nothing about age, retention or end of life.")
        now = context.now()
        for rule in rules:
            name = str(rule.arguments["property"])
            if name in _ENDS:
                yield from _end(point, rule, now)
            elif name == "generalAvailability":
                yield _result(rule, "passed" if (_day(rule) or now.date()) <= now.date() else "failed")
            elif not rule.columns:
                yield _result(rule, "not_run", reason="it names no element (Object.column), so nothing can be measured")
            else:
                yield from _age(point, rule, evidence.landing, now)


def _end(point: IntegrationPoint, rule: Rule, now: datetime) -> Iterable[Result]:
    day = _day(rule)
    if day is None:
        yield _result(rule, "errored", reason=f"{rule.arguments['value']!r} is no date")
        return
    left = (day - now.date()).days
    yield _result(rule, "passed" if left >= 0 else "failed", observed=now.date().isoformat())
    name = rule.arguments["property"]
    if left < 0:
        yield Finding(
            "freshness.end_of_life", f"{point.id}: {name} was on {day}, {-left} days ago (line {rule.line}).",
            expected=day.isoformat(), observed=now.date().isoformat(), evidence={"rule": rule.path},
        )  # fmt: skip
    elif left <= SOON.days:
        yield Finding(
            "freshness.end_near", f"{point.id}: {name} is on {day}, in {left} days (line {rule.line}).",
            expected=day.isoformat(), observed=now.date().isoformat(), evidence={"rule": rule.path},
        )  # fmt: skip


def _day(rule: Rule) -> date | None:
    value = rule.arguments["value"]
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class _Span:
    oldest: datetime
    newest: datetime
    rows: int
    too_old: int


def _age(point: IntegrationPoint, rule: Rule, landing: Landing, now: datetime) -> Iterable[Result]:
    allowed = period(rule.arguments["value"], rule.arguments.get("unit"))
    if allowed is None:
        said = f"{rule.arguments['value']} {rule.arguments.get('unit') or ''}".strip()
        yield _result(rule, "errored", reason=f"'{said}' is no span of time (d, h, min, s, weeks, months, years)")
        return
    column = _physical(point, rule.columns[0])
    if column not in landing.columns:
        yield _result(rule, "errored", reason=f"the system has no column '{column}'")
        return
    span = _span(landing, column, now - allowed)
    if span is None:
        yield _result(rule, "errored", reason=f"'{column}' holds no date or time")
        return
    if span.rows == 0:
        yield _result(rule, "errored", reason=f"'{column}' is empty: there is no newest value")
        return
    if rule.arguments["property"] == "retention":
        yield _result(
            rule, "failed" if span.too_old else "passed", count=span.too_old, total=landing.rows,
            observed=span.oldest.isoformat(),
        )  # fmt: skip
        if span.too_old:
            yield Finding(
                "freshness.kept_too_long",
                f"{point.id}.{column}: {span.too_old:,} of {landing.rows:,} rows are older than {rule.expected}, the "
                f"oldest from {span.oldest:%Y-%m-%d} (line {rule.line}).",
                expected=rule.expected, observed=span.oldest.isoformat(), evidence={"rule": rule.path},
            )  # fmt: skip
        return
    age = now - span.newest
    yield _result(rule, "failed" if age > allowed else "passed", observed=_words(age))
    if age > allowed:
        yield Finding(
            "freshness.stale",
            f"{point.id}.{column}: the newest value is {_words(age)} old ({span.newest:%Y-%m-%d %H:%M} UTC); "
            f"{rule.expected} are promised (line {rule.line}).",
            expected=rule.expected, observed=_words(age), evidence={"rule": rule.path},
            business_effect="Answers are as old as this data, and nothing says so.",
        )  # fmt: skip
    elif -age > AHEAD:
        yield Finding(
            "freshness.ahead_of_time",
            f"{point.id}.{column}: the newest value ({span.newest:%Y-%m-%d %H:%M} UTC) lies {_words(-age)} ahead.",
            expected="no later than now", observed=span.newest.isoformat(), evidence={"rule": rule.path},
        )  # fmt: skip


def _physical(point: IntegrationPoint, name: str) -> str:
    found = point.object.property(name)
    return name if found is None else found.physical_name


def _span(landing: Landing, column: str, edge: datetime) -> _Span | None:
    """Oldest and newest value as UTC, None where the column holds no dates. A value without a zone is UTC."""
    quoted = '"' + column.replace('"', '""') + '"'
    with closing(landing.connect()) as database:
        types = {row[0]: row[1] for row in database.execute(f'DESCRIBE "{landing.table}"').fetchall()}
        native = types[column]
        if not native.startswith(("DATE", "TIMESTAMP")):
            return None
        database.execute("SET TimeZone = 'UTC'")
        value = (
            f"epoch_us(CAST({quoted} AS TIMESTAMPTZ))" if "ZONE" in native else f"epoch_us(CAST({quoted} AS TIMESTAMP))"
        )
        cut = int(edge.timestamp() * 1_000_000)
        oldest, newest, rows, too_old = database.execute(
            f"SELECT min(v), max(v), count(v), count(CASE WHEN v < {cut} THEN 1 END) "
            f'FROM (SELECT {value} AS v FROM "{landing.table}" WHERE isfinite({quoted}))'
        ).fetchall()[0]
    if rows == 0:
        return _Span(edge, edge, 0, 0)
    return _Span(_moment(oldest), _moment(newest), rows, too_old)


def _moment(microseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def _words(age: timedelta) -> str:
    seconds = age.total_seconds()
    for name, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} seconds"


def _result(rule: Rule, outcome: Any, **more: Any) -> RuleResult:
    return RuleResult(
        id=rule.id, path=rule.path, name=rule.name, line=rule.line, outcome=outcome, severity=rule.severity,
        expected=rule.expected, **more,
    )  # fmt: skip
