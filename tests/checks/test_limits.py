"""The limits check over a real connector's register and a measured demand."""

from __future__ import annotations

import pytest
from load_kit import NOW, context, evidence, open_tiny, permissions, point

from weighbridge.checks.base import Finding, Forecast, Measurement
from weighbridge.checks.forecast.phrases import users_in_words
from weighbridge.checks.limits import LimitsCheck
from weighbridge.connectors.base import Limit
from weighbridge.contracts.scale import Scale
from weighbridge.sandbox.queue_server import QueueServer

SCALE = {"calls_per_user_hour": 62.5, "production_users": 500, "reserve": 0.0}


def quota(cap=150_000.0, **changes):
    values = {"name": "daily_calls", "scope": "org", "unit": "calls", "window": "rolling 24 h", "used": 0.0}
    values |= {"source": "reported", "environment": "sandbox", "at": NOW.isoformat()} | changes
    return Limit(cap=cap, **values)


@pytest.fixture(scope="module")
def server():
    with QueueServer(latency_ms=2) as running:
        yield running


def ask(server, *limits, scale=None, allowed=None, **changes):
    connector = open_tiny(server.port)
    connector.reported = limits
    try:
        at = point(Scale(**(SCALE | (scale or {}))), expected_rows=changes.pop("expected_rows", None))
        seen = context(connector, allowed or permissions(), **changes)
        results = list(LimitsCheck()(at, evidence(connector, at), seen))
    finally:
        connector.close()
    forecasts = {r.limit: r for r in results if isinstance(r, Forecast)}
    return forecasts, {r.code: r for r in results if isinstance(r, Finding)}, results


def test_a_quota_that_holds_has_no_finding(server):
    forecasts, findings, results = ask(server, quota(2_000_000.0))
    assert forecasts["daily_calls"].low > 600
    assert findings == {}
    assert any(isinstance(r, Measurement) for r in results)


def test_a_quota_that_does_not_is_a_break_with_its_clock_time(server):
    forecasts, findings, _ = ask(server, quota())
    forecast = forecasts["daily_calls"]
    assert forecast.users == pytest.approx(300)
    assert "limits.below_target" in findings
    assert forecast.when["ordinary"] in findings["limits.below_target"].message
    assert forecast.when["month"] is not None
    assert forecast.remedies[0]["users"] > forecast.users


def test_month_end_and_growth_are_said(server):
    _, findings, _ = ask(server, quota(400_000.0), scale={"month_end_factor": 2.5, "growth_per_year": 0.8})
    assert "limits.month_end" in findings
    assert "limits.reached_by_growth" in findings


def test_points_that_share_add_up(server):
    alone = ask(server, quota())[0]["daily_calls"]
    shared = ask(server, quota(), shared_points=("tiny.Other",), shared_load=1.0)[0]["daily_calls"]
    assert shared.users == pytest.approx(alone.users / 2)
    assert shared.shared_with == ("tiny.Other",)


def test_a_shared_account_makes_a_cap_per_user_one_cap(server):
    _, findings, _ = ask(server, quota(6000.0, name="requests", window="300 s", scope="user"))
    assert "limits.shared_account" in findings
    forecasts, findings, _ = ask(
        server, quota(6000.0, name="requests", window="300 s", scope="user"), settings={"identity": "per_user"}
    )
    assert forecasts == {}
    assert findings == {}


def test_a_staging_quota_alone_is_about_staging(server):
    staging = permissions("staging", max_users=5, max_burst=0)
    forecasts, findings, _ = ask(server, quota(50 * 150_000.0, environment="staging"), allowed=staging)
    assert not forecasts["daily_calls"].answers_target
    assert "limits.below_target" not in findings
    half, _, _ = ask(
        server, quota(75_000.0, environment="staging"), allowed=staging,
        declared_limits=[{"name": "daily_calls", "cap": 3_000_000, "window": "rolling 24 h",
                          "environment": "production"}],
        background=[{"name": "sync", "calls_per_hour": 100.0, "hours": None}],
    )  # fmt: skip
    assert half["daily_calls"].answers_target
    assert half["daily_calls"].low > 600


def test_background_that_nobody_counted_is_unknown(server):
    staging = permissions("staging", max_users=5, max_burst=0)
    declared = [{"name": "daily_calls", "cap": 3e6, "window": "rolling 24 h", "environment": "production"}]
    for background in ((), ({"name": "sync", "calls_per_hour": None, "hours": None},)):
        forecasts, _, _ = ask(server, allowed=staging, declared_limits=declared, background=background)
        assert forecasts["daily_calls"].users is None
        assert "background" in forecasts["daily_calls"].next_probe


def test_rows_of_a_platform(server):
    rows = quota(1_048_576.0, name="rows", unit="rows", window=None, scope="file")
    forecasts, findings, _ = ask(server, rows, expected_rows=2_000_000)
    assert forecasts["rows"].users == pytest.approx(262, abs=1)
    said = findings["limits.below_target"].message
    assert "room for 1,048,576 rows, and production will hold 2,000,000" in said
    assert "reached at" not in said


def test_one_writer_is_said_as_one_writer(server):
    writers = quota(1.0, name="writers", unit="calls", window="concurrent", scope="file", detail={"held_s": 4.0})
    scale = {"mix": {"lookup": 0.5, "write": 0.5}, "calls_per_user_hour": 600}
    said = ask(server, writers, scale=scale)[1]["limits.below_target"].message
    assert "only 1 can write at the same time" in said
    assert "[" not in said


def test_users_are_counted_in_words():
    def forecast(low, mid, high):
        return Forecast(
            limit="x", users=mid, low=low, high=high, at_least=low, basis="reported", measured_to=None,
            trust="measured", environment="sandbox", model="quota", inputs={},
        )  # fmt: skip

    assert users_in_words(forecast(1.0, 1.0, 1.0)) == "1 user"
    assert users_in_words(forecast(164.6, 180.2, 1_195.0)) == "about 180 users (between 165 and 1,195)"


def test_the_retries_that_resilience_measured_cost_calls(server):
    calm, _, _ = ask(server, quota(400_000.0))
    storm = {"amplification": {"outage": 4.0, "worst": 5.0}}
    forecasts, findings, _ = ask(server, quota(400_000.0), previous=storm)
    # 1 % of the calls may fail, and each of those is tried four times
    assert forecasts["daily_calls"].users == pytest.approx(calm["daily_calls"].users / 1.03, rel=0.001)
    assert forecasts["daily_calls"].inputs["outage_users"] == pytest.approx(calm["daily_calls"].users / 4.12, rel=0.001)
    assert "limits.retry_storm" in findings
    assert "tried 4 times" in findings["limits.retry_storm"].message
    assert "limits.retry_storm" not in ask(server, quota(400_000.0), previous={"amplification": {"outage": 1.1}})[1]
    assert "limits.retry_storm" not in ask(server, quota(150_000.0), previous=storm)[1], (
        "it breaks without them already"
    )


def test_no_demand_no_forecast_in_users(server):
    forecasts, _, _ = ask(server, quota(), scale={"calls_per_user_hour": None})
    assert forecasts["daily_calls"].users is None


def test_a_limit_of_zero(server):
    forecasts, findings, _ = ask(server, quota(0.0))
    assert forecasts["daily_calls"].users == 0
    assert "limits.below_target" in findings


def test_the_tighter_scope_of_one_name_counts(server):
    many = quota(1200.0, name="connections", unit="connections", window=None, scope="server")
    few = quota(200.0, name="connections", unit="connections", window=None, scope="login")
    forecasts, findings, results = ask(server, many, few)
    assert forecasts["connections"].users == pytest.approx(200)
    assert sum(isinstance(r, Forecast) for r in results) == 1
    assert "limits.below_target" in findings


def test_a_platform_of_rows_is_shown_in_rows(server):
    from weighbridge.report.view import users_words

    rows = quota(1_048_576.0, name="rows", unit="rows", window=None, scope="file")
    forecast = ask(server, rows, expected_rows=1_000)[0]["rows"]
    assert forecast.users == pytest.approx(524_288)
    assert forecast.reason == "there is room for 1,048,576 rows, and production will hold 1,000"
    row = {"model": forecast.model, "users": forecast.users, "low": forecast.low, "high": forecast.high}
    assert users_words(row | {"inputs": dict(forecast.inputs), "at_least": None}) == "1,048,576 rows"
