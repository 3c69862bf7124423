"""The load check on real sockets: what it forecasts, what it refuses, and how it bears systems that misbehave."""

from __future__ import annotations

import time

import pytest
from load_kit import context, evidence, open_tiny, permissions, point

from weighbridge.checks.base import Finding, Forecast, Inconclusive, Measurement, NotRun
from weighbridge.checks.forecast.decide import decide
from weighbridge.checks.load import LoadCheck
from weighbridge.contracts.scale import Scale
from weighbridge.sandbox.queue_server import QueueServer

SCALE = {"think_time_s": 0.4, "latency_objective_ms": 600, "production_users": 400}
TRIES = 3


def weigh(server, **changes):
    """Weigh, and again when the probe itself says that this machine was too busy to be a scale."""
    for _ in range(TRIES):
        forecasts, codes, data = weigh_once(server, **changes)
        if "load.distorted" not in codes:
            break
    return forecasts, codes, data


def weigh_once(server, *, scale=None, seconds=2.0, settings=None, timeout=5.0, budget=None, declared=(), **allowed):
    connector = open_tiny(server.port, timeout=timeout, budget=budget)
    try:
        at = point(Scale(**(SCALE | (scale or {}))))
        seen = evidence(connector, at)
        with_settings = context(
            connector, permissions(**allowed), settings={"ramp_seconds": seconds} | (settings or {}),
            declared_limits=declared,
        )  # fmt: skip
        results = list(LoadCheck()(at, seen, with_settings))
    finally:
        connector.close()
    forecasts = {r.limit: r for r in results if isinstance(r, Forecast)}
    codes = {r.code for r in results if isinstance(r, Finding)}
    data = next((r.data for r in results if isinstance(r, Measurement)), {})
    return forecasts, codes, data


def verdict(forecasts, target=400):
    return decide(list(forecasts.values()), target, 1.2)


def test_a_pool_breaks_where_the_paper_says():
    with QueueServer(pool=20, latency_ms=100) as server:
        forecasts, codes, data = weigh(server)
    forecast = forecasts["latency_objective"]
    # 20 slots / 100 ms, 0.4 s pause, 600 ms: at most 200/s x 1.0 s = 200 users, somewhat fewer by running them
    assert forecast.low <= 190 <= forecast.high
    assert forecast.high < 400
    assert "load.below_target" in codes
    assert data["calls"] < 2_000
    assert data["capacity"]["kind"] in ("pool", "pool with a delay")
    assert verdict(forecasts) == "BREAKS"
    assert forecast.remedies
    assert forecast.when["ordinary"] is not None
    assert forecast.when["month_end"] <= forecast.when["ordinary"]


def test_a_system_that_carries_the_target_has_no_finding():
    with QueueServer(latency_ms=5) as server:
        forecasts, codes, data = weigh(
            server,
            scale={"think_time_s": None, "calls_per_user_hour": 12, "production_users": 500,
                   "latency_objective_ms": 1000},
            declared=[{"name": "rate", "unlimited": True, "environment": "sandbox"}],
        )  # fmt: skip
    assert codes == set()
    assert data["levels"][-1]["calls"] > 0
    assert verdict(forecasts, 500) == "READY"


@pytest.mark.slow
def test_without_burst_and_with_ten_users_it_refuses():
    with QueueServer(pool=20, latency_ms=100) as server:
        forecasts, _, data = weigh(server, max_users=10, max_burst=0, seconds=1.5)
    assert forecasts["latency_objective"].users is None
    assert data["bursts"] == []
    assert verdict(forecasts) == "UNKNOWN"


@pytest.mark.slow
def test_a_cap_with_429_is_found():
    # long calls: a burst that a busy machine sends over more than their time meets no cap, and tells nothing of one
    with QueueServer(concurrent=20, latency_ms=150) as server:
        forecasts, _, data = weigh(server, scale={"latency_objective_ms": 1000})
    seen = forecasts["concurrent_calls_seen"]
    # Engset: 20 slots, 150 ms, 0.4 s pause, 1 % refused: 48 users
    assert seen.low <= 48 <= seen.high
    assert data["bursts"][0]["refused"] == {"ThrottledError": 12}


def test_a_bucket_is_found_by_what_it_lets_through():
    with QueueServer(bucket_rate=150, bucket_burst=40, latency_ms=30) as server:
        forecasts, _, _ = weigh(server)
    rate = forecasts["request_rate"]
    assert rate.users == pytest.approx(150 * 0.43, rel=0.2)
    assert rate.high < 400


@pytest.mark.slow
def test_a_known_rate_limit_is_not_run_into():
    declared = [{"name": "requests", "cap": 300, "window": "2 s", "environment": "sandbox"}]
    with QueueServer(requests_per_window=300, window_s=2.0, latency_ms=10) as server:
        forecasts, codes, data = weigh(server, declared=declared, scale={"latency_objective_ms": 500}, seconds=3.0)
    assert all(not level["errors"] for level in data["levels"])
    assert all(not burst["refused"] for burst in data["bursts"])
    assert "request_rate" not in forecasts  # the register answers it
    assert "load.errors" not in codes


def test_a_cache_that_flatters_is_named():
    with QueueServer(latency_ms=30, same_key_ms=1) as server:
        _, codes, _ = weigh(server, max_burst=0, max_users=1, seconds=4.0)
    assert "load.cache_flatters" in codes


def test_staging_is_not_production():
    with QueueServer(latency_ms=5) as server:
        forecasts, _, _ = weigh(server, environment="staging", max_users=5, max_burst=0, seconds=1.0)
    assert all(not f.answers_target for f in forecasts.values())
    assert verdict(forecasts, 2) == "UNKNOWN"


def test_the_call_budget_is_kept():
    with QueueServer(latency_ms=2) as server:
        _, _, data = weigh(server, budget=200, seconds=1.5)
        assert data["calls"] <= 200
        with pytest.raises(NotRun, match="are left"):
            weigh(server, budget=70)


def test_no_demand_is_unknown():
    with QueueServer(latency_ms=2) as server, pytest.raises(Inconclusive, match="how often a user calls"):
        weigh(server, scale={"think_time_s": None})


# --- systems that misbehave ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_system_that_hangs_is_bounded_and_never_ready():
    started = time.monotonic()
    with QueueServer(latency_ms=5, hang_after=60) as server:
        forecasts, codes, _ = weigh(server, timeout=0.5, seconds=2.0)
    assert time.monotonic() - started < 30
    assert codes & {"load.errors", "load.some_errors"}
    assert verdict(forecasts, 5) != "READY" or codes


def test_200_with_an_error_body_is_an_error():
    with QueueServer(latency_ms=5, error_body=True) as server:
        forecasts, codes, _ = weigh(server, seconds=1.0, scale={"calls_per_user_hour": 600})
    assert "load.errors" in codes
    assert forecasts["latency_objective"].users is None
    assert verdict(forecasts, 5) == "UNKNOWN"


def test_a_system_that_slows_down_later():
    with QueueServer(latency_ms=10, slow_after_calls=70, slow_factor=20) as server:
        forecasts, codes, _ = weigh(server, seconds=2.5, scale={"latency_objective_ms": 2000})
    assert "load.slows_with_time" in codes
    assert forecasts["latency_objective"].users is None


@pytest.mark.parametrize("share", [0.01, 0.03])
def test_random_errors_of_a_few_in_a_hundred_are_seen(share):
    with QueueServer(latency_ms=5, fail_share=share, seed=5) as server:
        _, codes, _ = weigh(server, seconds=2.5, max_burst=0, scale={"think_time_s": 0.05})
    assert codes & {"load.errors", "load.some_errors"}


@pytest.mark.slow
def test_resets_at_a_burst_are_a_ceiling():
    with QueueServer(latency_ms=60, reset_above=16) as server:
        forecasts, _, _ = weigh(server, scale={"latency_objective_ms": 1000}, seconds=1.5)
    numbers = [f for f in forecasts.values() if f.users is not None]
    assert numbers
    assert min(f.users for f in numbers) < 400
    assert verdict(forecasts) != "READY"


@pytest.mark.slow
def test_a_clock_that_jumps_changes_nothing(monkeypatch):
    hours = iter(range(10_000))
    monkeypatch.setattr(time, "time", lambda: 1e9 + 3600 * next(hours))
    with QueueServer(pool=8, latency_ms=40) as server:
        forecasts, _, _ = weigh(server, seconds=1.5)
    assert 120 < forecasts["latency_objective"].users < 240


def test_more_users_than_file_descriptors():
    resource = pytest.importorskip("resource")
    psutil = pytest.importorskip("psutil")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = psutil.Process().num_fds() + 64 + 12
    try:
        with QueueServer(latency_ms=5) as server:
            resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
            _, _, data = weigh(server, max_users=400, max_burst=128, seconds=1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert data["max_users"] <= 12
    assert all(not level["errors"] for level in data["levels"])
