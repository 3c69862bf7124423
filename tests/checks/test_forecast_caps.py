"""The register in users: quotas, rates, concurrency, connections, rows, and what may be said of production."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from weighbridge.checks.base import Demand, Permissions, Spread
from weighbridge.checks.forecast.caps import Question, forecast_limit
from weighbridge.checks.forecast.models import evaluate
from weighbridge.checks.forecast.transfer import limit_transfer
from weighbridge.checks.forecast.userload import think_time, user_load
from weighbridge.checks.forecast.windows import Background, background_of
from weighbridge.checks.register import accounts, declared, rate_known, register
from weighbridge.connectors.base import Limit
from weighbridge.contracts.scale import Scale

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


def limit(name="daily_calls", cap=150_000.0, window="rolling 24 h", **changes):
    values = {
        "scope": "org",
        "unit": "calls",
        "used": None,
        "source": "declared",
        "environment": "production",
    } | changes
    return Limit(name=name, cap=cap, window=window, at=NOW.isoformat(), **values)


def demand(per_hour=62.5, seconds=0.1, source="measured"):
    spread = Spread(400, per_hour, per_hour, per_hour, per_hour) if per_hour else None
    one = Spread(10, 1, 1, 1, 1)
    took = Spread(10, seconds, seconds, seconds, seconds)
    return Demand(source, spread, {"lookup": {"calls": one, "seconds": took}}, 1.0, "", "")


def ask(what, *, scale=None, sharing=1.0, permissions=None, per_hour=62.5, **changes):
    scale = scale or Scale(reserve=0.0, calls_per_user_hour=per_hour or None)
    permissions = permissions or Permissions("staging", 10, 0, False)
    values = {
        "background": Background(), "background_known": True, "now": NOW, "accounts": 1.0,
        "transfer": limit_transfer(what.environment, permissions),
    } | changes  # fmt: skip
    return forecast_limit(Question(what, user_load(demand(per_hour), scale, sharing=sharing), scale, **values))


def test_the_worked_case_180_users():
    night = background_of([{"calls_per_hour": 15_000, "hours": "22:00-02:00"}])
    forecast = ask(limit(), background=night)
    assert forecast.users == pytest.approx(180)
    assert forecast.low < 180 < forecast.high
    assert forecast.when["ordinary"] is not None
    assert evaluate("quota", forecast.inputs) == pytest.approx(180)


def test_the_reserve_lowers_users_but_not_the_high_end():
    kept = ask(limit(), scale=Scale(reserve=0.2, calls_per_user_hour=62.5))
    assert kept.users == pytest.approx(240)
    assert kept.high >= 300


def test_points_on_one_quota_add_up():
    assert ask(limit(), sharing=3.0).users == pytest.approx(ask(limit()).users / 3)


@pytest.mark.parametrize(("window", "cap", "users"), [("300 s", 6_000, 384), ("bucket 20/s burst 100", 20, 384)])
def test_rates_are_met_in_the_busiest_hour(window, cap, users):
    forecast = ask(limit("requests", cap, window), scale=Scale(reserve=0, calls_per_user_hour=62.5, peak_factor=3))
    assert forecast.users == pytest.approx(users)


def test_a_cap_per_user_is_one_cap_for_all_behind_a_shared_account():
    what = limit("requests", 6_000, "300 s", scope="user")
    assert ask(what, accounts=1.0).users == pytest.approx(384)
    assert ask(what, accounts=4.0).users == pytest.approx(4 * 384)
    assert isinstance(ask(what, accounts=None), str)


def test_little_and_erlang_bound_the_concurrency():
    forecast = ask(limit("concurrent_calls", 25, "concurrent"))
    per_user = 62.5 * 3 / 3600 * 0.1
    assert forecast.users == pytest.approx(16.12 / per_user, rel=0.01)
    assert forecast.high == pytest.approx(25 / per_user, rel=0.01)
    assert evaluate("concurrency", forecast.inputs) == pytest.approx(forecast.users, rel=0.01)


def test_long_running_calls_only():
    what = limit("long_running", 25, "concurrent", detail={"longer_than_s": 20})
    assert "20 s" in ask(what)


def test_connections_less_what_others_hold():
    what = limit("connections", 100, None, unit="connections", used=20, source="reported", detail={"reserved": 3})
    forecast = ask(what, connections_per_user=0.5)
    assert forecast.users == pytest.approx((97 - 20) / 0.5)
    assert evaluate("connections", forecast.inputs) == pytest.approx(forecast.users)


def test_rows_in_proportion_to_users():
    forecast = ask(limit("rows", 1_048_576, None, unit="rows"), production_rows=2_097_152.0, extra={"rows_now": 9e5})
    assert forecast.users == pytest.approx(250)


def test_unknown_background_on_a_shared_limit_is_refused_with_where_to_look():
    forecast = ask(limit(), background_known=False)
    assert forecast.users is None
    assert "background" in forecast.next_probe
    assert ask(limit(scope="key"), background_known=False).users is not None


def test_what_the_system_says_is_used_stands_for_the_background():
    forecast = ask(limit(used=60_000, source="reported"), background_known=False)
    assert forecast.users == pytest.approx(180)


def test_no_demand_no_users():
    assert ask(limit(), per_hour=None, scale=Scale()).users is None


def test_a_cap_that_nobody_stated_is_unanswered():
    forecast = ask(limit(cap=None))
    assert forecast.users is None
    assert forecast.at_least is None


def test_a_limit_of_zero_breaks_and_never_divides():
    for window in ("rolling 24 h", "300 s", "concurrent", "midnight UTC"):
        assert ask(limit("zero", 0.0, window)).users == 0
    assert ask(limit("connections", 0.0, None, unit="connections")).users == 0


def test_a_window_nobody_knows_is_refused():
    assert ask(limit(window="whenever")).users is None


def test_limits_of_one_call_are_not_in_users():
    assert isinstance(ask(limit("page_rows", 2_000, None, unit="rows")), str)
    assert isinstance(ask(limit("odd", 5, None, unit="things")), str)
    assert isinstance(ask(limit(detail={"unlimited": True})), str)


@pytest.mark.parametrize("factor", [50.0, 0.5])
def test_a_staging_quota_is_never_productions(factor):
    staging = Permissions("staging", 10, 0, False, production_like=True, transfer_note="signed")
    reported = limit(cap=150_000 * factor, environment="staging", source="reported", used=10)
    alone = register([reported], [], staging, NOW.isoformat())
    assert not alone[0].transfer.answers
    both = register([reported], [{"name": "daily_calls", "cap": 150_000, "window": "rolling 24 h"}], staging, "")
    # a declaration without an environment is about where it is run; production must be said
    assert len(both) == 1
    said = {"name": "daily_calls", "cap": 150_000, "window": "rolling 24 h", "environment": "production"}
    entry = register([reported], [said], staging, "")[0]
    assert (entry.limit.cap, entry.transfer.answers, entry.other.cap) == (150_000, True, 150_000 * factor)
    assert rate_known([entry])
    assert not rate_known(alone)


def test_declared_limits_and_accounts():
    assert declared({"name": "connections", "cap": 5}, "staging", "").unit == "connections"
    assert declared({"name": "rate", "unlimited": True}, "production", "").detail["unlimited"]
    assert (accounts({}), accounts({"identity": "per_user"}), accounts({"identity": "pool:4"})) == (1.0, None, 4.0)


def test_think_time_and_no_think_time():
    assert think_time(Scale()) is None
    assert think_time(Scale(think_time_s=0)) == 0
    assert think_time(Scale(calls_per_user_hour=12)) == pytest.approx(100)
    user = user_load(demand(None), Scale(think_time_s=0.4))
    assert user.peak_per_s.mid == pytest.approx(2.0)
    assert user_load(demand(None), Scale()) is None


def test_declared_demand_widens_by_a_stated_factor():
    spread = Spread(0, 12, 12 / 1.25, 12, 12 * 1.25)
    user = user_load(Demand("declared", spread, {}, 1.0, "", ""), Scale(calls_per_user_hour=12))
    assert user.per_hour.high / user.per_hour.low == pytest.approx(1.25**2)
