"""Age, retention and end of life are measured at the column the service level names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from weighbridge.checks.base import Finding, NotRun, RuleResult
from weighbridge.checks.freshness import FreshnessCheck, period
from weighbridge.connectors.base import Column, Page, TableSchema
from weighbridge.contracts.models import Rule
from weighbridge.landing import land

NOW = datetime(2026, 5, 5, 12, tzinfo=UTC)


def ask(tmp_path: Path, values: pa.Array, *promises: tuple[str, object, str | None]) -> tuple[list, list]:
    table = pa.table({"changed": values})
    schema = TableSchema((Column("changed", values.type, True, "timestamp"),), ())
    source = SimpleNamespace(
        session=SimpleNamespace(system="crm"),
        read=lambda _o, *, columns: (Page(b, (), 0.0, 1) for b in table.select(columns).to_batches()),
    )
    landing = land(source, "Order", tmp_path / "l.duckdb", schema=schema, columns=["changed"], keys=())  # type: ignore[arg-type]
    rules = [
        Rule(
            f"Order.slaProperties.{name}", f"Order.slaProperties.{name}", name, 7, "freshness", "sla", "error",
            () if name.startswith("end") else ("changed",), {"property": name, "value": value, "unit": unit},
            f"{value} {unit or ''}".strip(),
        )
        for name, value, unit in promises
    ]  # fmt: skip
    point = SimpleNamespace(id="crm.Order", rules=rules, object=SimpleNamespace(property=lambda _n: None))
    context = SimpleNamespace(now=lambda: NOW)
    found = list(FreshnessCheck()(point, SimpleNamespace(landing=landing), context))  # type: ignore[arg-type]
    outcomes = [(r.outcome, r.count) for r in found if isinstance(r, RuleResult)]
    return outcomes, [f.code for f in found if isinstance(f, Finding)]


def aged(**age: float) -> pa.Array:
    return pa.array([NOW - timedelta(days=400), NOW - timedelta(**age), None], pa.timestamp("us", tz="UTC"))


@pytest.mark.parametrize(
    ("age", "promise", "outcome", "codes"),
    [
        ({"hours": 3}, ("latency", 4, "h"), ("passed", None), []),
        ({"hours": 5}, ("latency", 4, "hours"), ("failed", None), ["freshness.stale"]),
        ({"days": 2}, ("frequency", 1, "d"), ("failed", None), ["freshness.stale"]),
        ({"days": 2}, ("frequency", 1, "week"), ("passed", None), []),
        ({"hours": 1}, ("retention", 2, "years"), ("passed", 0), []),
        ({"hours": 1}, ("retention", 12, "months"), ("failed", 1), ["freshness.kept_too_long"]),
        ({"days": -3}, ("latency", 4, "h"), ("passed", None), ["freshness.ahead_of_time"]),
        ({"hours": 1}, ("latency", "soon", "h"), ("errored", None), []),
        ({"hours": 1}, ("latency", 4, "fortnights"), ("errored", None), []),
    ],
)
def test_age(tmp_path: Path, age, promise, outcome, codes) -> None:
    assert ask(tmp_path, aged(**age), promise) == ([outcome], codes)


@pytest.mark.parametrize(
    ("day", "outcome", "codes"),
    [
        ("2027-01-01", "passed", []),
        ("2026-06-01", "passed", ["freshness.end_near"]),
        ("2026-05-01", "failed", ["freshness.end_of_life"]),
        ("some day", "errored", []),
    ],
)
def test_end_of_life(tmp_path: Path, day: str, outcome: str, codes: list[str]) -> None:
    assert ask(tmp_path, aged(hours=1), ("endOfLife", day, None)) == ([(outcome, None)], codes)


def test_a_date_without_zone_is_utc(tmp_path: Path) -> None:
    naive = pa.array([datetime(2026, 5, 5, 7)], pa.timestamp("us"))  # noqa: DTZ001 - without a zone on purpose
    assert ask(tmp_path, naive, ("latency", 4, "h"))[1] == ["freshness.stale"]
    assert ask(tmp_path / "..", naive, ("latency", 6, "h"))[1] == []


def test_text_and_empty_columns_are_errors_not_passes(tmp_path: Path) -> None:
    assert ask(tmp_path, pa.array(["2026-05-05"]), ("latency", 4, "h"))[0] == [("errored", None)]
    nothing = pa.array([None], pa.timestamp("us"))
    assert ask(tmp_path, nothing, ("latency", 4, "h"))[0] == [("errored", None)]


def test_no_promise_is_not_applicable() -> None:
    with pytest.raises(NotRun):
        list(FreshnessCheck()(SimpleNamespace(rules=[]), SimpleNamespace(), SimpleNamespace()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "unit", "days"), [(1, None, 1), ("2", "Weeks", 14), (90, "min", 0.0625), (-1, "d", None), (1, "x", None)]
)
def test_period(value, unit, days) -> None:
    assert period(value, unit) == (None if days is None else timedelta(days=days))
