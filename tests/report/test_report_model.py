from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from weighbridge.checks.base import Code, Finding, Forecast, RuleResult, Severity
from weighbridge.connectors.base import Limit
from weighbridge.errors import UsageProblem
from weighbridge.report import model
from weighbridge.report.model import Report, finding_dict, forecast_dict, limit_dict, plain, rule_dict, validate


def test_a_report_survives_the_way_to_json_and_back(report: Report) -> None:
    text = report.to_json()
    again = Report.from_json(text)
    assert again == report
    assert again.to_json() == text
    assert validate(json.loads(text)) == []


def test_the_big_report_is_valid(big_report: Report) -> None:
    assert validate(big_report.to_dict()) == []


def test_the_least_report_is_valid() -> None:
    least = Report(
        run=model.RunInfo(id="r", started="2026-01-01T00:00:00+00:00", partial=True),
        target=model.Target(pilot_users=10, production_users=500),
        verdict=model.OverallVerdict(status="UNKNOWN"),
    )
    assert validate(least.to_dict()) == []
    assert Report.from_json(least.to_json()) == least


def test_the_schema_says_where_a_report_is_wrong(report: Report) -> None:
    body = report.to_dict()
    body["points"][0]["status"] = "FINE"
    body["points"][1]["forecast"][0]["basis"] = "guessed"
    del body["verdict"]["sentence"]
    found = "\n".join(validate(body))
    assert "$.points[0].status" in found
    assert "$.points[1].forecast[0].basis" in found
    assert "'sentence' is a required property" in found


def test_unknown_keys_are_passed_over_and_a_newer_schema_is_refused(report: Report) -> None:
    body = report.to_dict()
    body["added_later"] = 1
    body["points"][0]["added_later"] = 1
    assert Report.from_dict(body) == report
    with pytest.raises(UsageProblem, match="upgrade weighbridge"):
        Report.from_dict({**body, "schema_version": 2})
    with pytest.raises(UsageProblem, match="is not JSON"):
        Report.from_json("{")
    with pytest.raises(UsageProblem, match="no schema_version"):
        Report.from_json("[]")
    with pytest.raises(UsageProblem, match="not a whole report"):
        Report.from_json('{"schema_version": 1}')


class Colour(Enum):
    RED = "red"


class Settings(BaseModel):
    user: str
    password: SecretStr


@dataclass(frozen=True, slots=True)
class Pair:
    a: float
    b: object


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (math.inf, None),
        (-0.0, -0.0),
        (Decimal("12.50"), 12.5),
        (Decimal("3E2"), 300),
        (Decimal("12345678901234567890.12"), "12345678901234567890.12"),
        (Decimal("NaN"), None),
        (datetime(2026, 3, 1, 4, 5, tzinfo=UTC), "2026-03-01T04:05:00+00:00"),
        (timedelta(seconds=90), 90.0),
        (b"\x00\xff", "0x00ff"),
        (Path("a") / "b", "a/b"),
        (Colour.RED, "red"),
        ({3, 1, 2}, [1, 2, 3]),
        ((1, (2,)), [1, [2]]),
        (np.float64("nan"), None),
        (np.int64(4), 4),
        (np.array([1.0, math.nan]), [1.0, None]),
        (Pair(math.inf, {1: Colour.RED}), {"a": None, "b": {"1": "red"}}),
        (Settings(user="u", password=SecretStr("s3cret")), {"user": "u", "password": model.MASK}),
        ("half \ud83d", "half \\ud83d"),
    ],
)
def test_plain(value: object, expected: object) -> None:
    assert plain(value) == expected


@settings(deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(st.characters())
        | st.binary()
        | st.decimals(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=12,
    )
)
def test_whatever_is_plain_is_strict_json_text(value: object) -> None:
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False)
    assert json.loads(text.encode("utf-8")) == plain(value)


def test_values_of_checks_become_valid_rows(report: Report) -> None:
    code = Code("quality.rule_failed", Severity.BREAK, "Correct it.")
    row = finding_dict(Finding("quality.rule_failed", "bad", observed=math.nan), code, retest="weighbridge run")
    assert (row["severity"], row["remedy"], row["observed"]) == ("break", "Correct it.", None)
    warned = finding_dict(Finding("quality.rule_failed", "bad", severity=Severity.WARN, remedy=""), code)
    assert (warned["severity"], warned["remedy"]) == ("warn", "")
    rule = rule_dict(RuleResult("i", "O.p", "p", 3, "failed", count=1, total=2, samples=(("k", Decimal("1.5")),)))
    assert rule["samples"] == [["k", 1.5]]
    forecast = forecast_dict(
        Forecast(
            "daily_calls", math.inf, None, None, 40.0, "declared", None, "unpredictable", "staging", "quota", {"cap": 5}
        )
    )
    limit = limit_dict(
        Limit("daily_calls", "org", 5.0, "calls", None, None, "reported", "staging", "2026-01-01T00:00:00Z")
    )
    point = report.points[0]
    checks = [replace(point.checks[0], rules=[rule], findings=[row])]
    body = replace(
        report,
        points=[replace(point, forecast=[forecast], checks=checks)],
        systems=[replace(report.systems[0], limits=[limit])],
    ).to_dict()
    assert validate(body) == []


def test_a_secret_never_reaches_the_text(report: Report) -> None:
    canary = "canary-7f3a"
    point = report.points[0]
    row = finding_dict(
        Finding("quality.rule_failed", "m", evidence={"options": Settings(user="u", password=SecretStr(canary))}),
        Code("quality.rule_failed", Severity.BREAK, ""),
    )
    text = replace(report, points=[replace(point, checks=[replace(point.checks[0], findings=[row])])]).to_json()
    assert canary not in text
    assert model.MASK in text
