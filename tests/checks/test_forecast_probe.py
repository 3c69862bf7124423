"""Bursts, ramps and the whole probe against simulated systems whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evaluate.simulate import Simulation, System, truth
from weighbridge.checks.base import Permissions
from weighbridge.checks.forecast.burst import capacity_of, drain_rate
from weighbridge.checks.forecast.decide import decide
from weighbridge.checks.forecast.outlook import Setting, load_forecasts
from weighbridge.checks.forecast.plan import Audit
from weighbridge.checks.forecast.ranges import Range
from weighbridge.checks.forecast.transfer import capacity_transfer, limit_transfer
from weighbridge.checks.forecast.weigh import Policy, level_broke, measure, planned

THINK, OBJECTIVE = 0.4, 0.15


def policy(**changes):
    values = {
        "think_s": THINK, "objective_s": OBJECTIVE, "error_objective": 0.01, "max_users": 40, "max_burst": 128,
        "needed_per_s": float("inf"), "seconds": 20.0,
    } | changes  # fmt: skip
    return Policy(**values)


def allowed(environment="sandbox", **changes):
    values = {"environment": environment, "max_users": 40, "max_burst": 128, "writes": False} | changes
    return Permissions(**values)


def setting(permissions=None, **changes):
    permissions = permissions or allowed()
    values = {
        "calls_per_user_hour": 3600 / (THINK + 0.04), "peak_factor": 1.0, "target": 400,
        "environment": permissions.environment, "capacity": capacity_transfer(permissions),
        "limit": limit_transfer(permissions.environment, permissions), "rate_known": True,
    } | changes  # fmt: skip
    return Setting(**values)


def weigh(system, *, seed=5, to=None, **changes):
    seen = measure(Simulation(system, seed), policy(**changes))
    return seen, {f.limit: f for f in load_forecasts(seen, to or setting())}


@pytest.mark.parametrize(
    "system",
    [System(20, 0.04), System(20, 0.04, shape="exponential"), System(1, 0.002, 0.038), System(8, 0.03, 0.01)],
    ids=["pool", "pool with exponential service", "lock", "pool with delay"],
)
def test_a_burst_forecasts_what_the_users_then_find(system):
    forecast = weigh(system)[1]["latency_objective"]
    real = truth(system, THINK, OBJECTIVE, 0.01)
    assert forecast.low <= real <= forecast.high
    assert abs(forecast.users - real) < 0.12 * real


def test_a_pool_and_a_lock_of_the_same_capacity_are_told_apart():
    pool, lock = weigh(System(20, 0.04))[0], weigh(System(1, 0.002, 0.038))[0]
    assert pool.capacity.kind == "pool"
    assert pool.capacity.stations[0].slots == pytest.approx(20, abs=2)
    assert lock.capacity.kind == "lock"


def test_a_pool_larger_than_the_burst_is_refused_with_a_bound():
    system = System(300, 0.04)
    forecast = weigh(system)[1]["latency_objective"]
    assert forecast.users is None
    assert forecast.trust == "unpredictable"
    assert "bursts of 256" in forecast.next_probe
    assert 40 <= forecast.at_least <= truth(system, THINK, OBJECTIVE, 0.01)


def test_without_a_burst_ten_users_say_nothing_of_a_pool():
    forecast = weigh(System(20, 0.04), max_burst=0, max_users=10)[1]["latency_objective"]
    assert forecast.users is None
    assert forecast.at_least == 10


def test_a_cap_that_refuses_is_a_ceiling_and_a_bucket_is_a_rate():
    cap = weigh(System(2000, 0.1, cap=20, shape="lognormal", cv=0.3))
    assert cap[0].bucket is None
    assert cap[0].ceiling.mid == pytest.approx(20, abs=2)
    real = truth(System(2000, 0.1, cap=20, shape="lognormal", cv=0.3), THINK, 10.0, 0.01)
    seen = cap[1]["concurrent_calls_seen"]
    assert seen.low <= real <= seen.high
    bucket = weigh(System(2000, 0.04, rate=200.0, bucket=60))
    assert bucket[0].ceiling is None
    assert bucket[0].bucket.rate.low <= 200 <= bucket[0].bucket.rate.high
    assert bucket[1]["request_rate"].users == pytest.approx(200 * (THINK + 0.04), rel=0.1)


@pytest.mark.parametrize(("rate", "size", "service"), [(56, 36, 0.32), (49, 24, 0.37), (52, 15, 0.49), (33, 25, 0.27)])
def test_a_bucket_that_fills_as_fast_as_a_cap_would_free_itself_is_no_cap(rate, size, service):
    system = System(2_000, service, rate=rate, bucket=size)
    seen, forecasts = weigh(
        system, think_s=1.2, objective_s=1.5, to=setting(calls_per_user_hour=3600 / (1.2 + service))
    )
    assert seen.ceiling is None
    assert "request_rate" in forecasts
    real = truth(system, 1.2, 1.5, 0.01)
    assert forecasts["request_rate"].low <= real <= forecasts["request_rate"].high


@pytest.mark.parametrize(("cap", "service"), [(20, 0.38), (25, 0.28), (25, 0.46), (6, 0.31), (40, 0.05)])
def test_a_cap_is_no_bucket_however_its_waves_fall(cap, service):
    system = System(2_000, service, cap=cap)
    seen, forecasts = weigh(
        system, think_s=1.0, objective_s=1.5, to=setting(calls_per_user_hour=3600 / (1.0 + service))
    )
    assert seen.bucket is None
    assert seen.ceiling.mid == pytest.approx(cap, abs=1.5)
    real = truth(system, 1.0, 1.5, 0.01)
    assert forecasts["concurrent_calls_seen"].low <= real <= forecasts["concurrent_calls_seen"].high


def test_a_limiter_met_by_the_ramp_is_told_by_a_burst_and_without_one_both_are_allowed_for():
    system = System(2_000, 0.29, cap=7)
    to = setting(calls_per_user_hour=3600 / 1.77)
    asked = {"think_s": 1.48, "objective_s": 1.0, "to": to, "seconds": 30.0}
    seen, forecasts = weigh(system, **asked)
    real = truth(system, 1.48, 1.0, 0.01)
    assert seen.refused_in_ramp is not None
    assert forecasts["concurrent_calls_seen"].low <= real <= forecasts["concurrent_calls_seen"].high
    alone = weigh(system, **asked, max_burst=0)[1]["refused_in_ramp"]
    assert alone.low <= real <= alone.high
    assert "permit bursts" in alone.next_probe


def test_a_minute_of_calls_proves_no_hour_of_them():
    # 1,900 calls pass in a minute, and an hour of 500 users needs 18,000: a limit of 5,000 an hour shows itself later
    system = System(2_000, 0.03, rate=5_000 / 3600, bucket=5_000)
    hidden = setting(rate_known=False, calls_per_user_hour=36, target=500)
    asked = {"think_s": 100.0, "objective_s": 1.0, "needed_per_s": 6.0, "to": hidden}
    forecasts = weigh(system, **asked)[1]
    assert forecasts["request_rate"].at_least < 139
    assert decide(list(forecasts.values()), 500, 1.2) != "READY"
    # a target whose busiest hour the probe has really sent is proven
    few = setting(rate_known=False, calls_per_user_hour=36, target=8)
    assert weigh(system, **asked | {"to": few})[1]["request_rate"].at_least > 8 * 1.2


def test_a_cap_above_the_largest_burst_is_never_a_yes():
    # 128 calls at once pass; 400 users have some 160 in progress, and 140 are allowed
    system = System(2_000, 1.0, cap=140)
    calm = setting(calls_per_user_hour=3600 / 2.5, target=400)
    asked = {"think_s": 1.5, "objective_s": 5.0}
    seen, forecasts = weigh(system, **asked, to=calm)
    assert seen.ceiling is None
    assert forecasts["concurrent_calls"].at_least <= truth(system, 1.5, 5.0, 0.01)
    assert decide(list(forecasts.values()), 400, 1.2) == "UNKNOWN"
    declared = weigh(system, **asked, to=replace(calm, concurrency_known=True))[1]
    assert "concurrent_calls" not in declared  # the register answers for it
    # where the target's calls in progress stay far below what was borne, nothing is asked
    assert "concurrent_calls" not in weigh(system, **asked, to=replace(calm, target=60))[1]


@pytest.mark.parametrize(
    ("staging", "production"),
    [(System(40, 0.04), System(12, 0.04)), (System(16, 0.04), System(4, 0.04)), (System(1, 0.002), System(1, 0.005))],
    ids=["larger pool in staging", "fewer workers in production", "faster lock in staging"],
)
@pytest.mark.parametrize("seed", range(4))
def test_a_stronger_staging_never_makes_production_ready(staging, production, seed):
    real = truth(production, THINK, OBJECTIVE, 0.01)
    to = setting(allowed("staging"), target=round(1.1 * real))
    forecasts = weigh(staging, seed=seed, to=to)[1]
    assert decide(list(forecasts.values()), to.target, 1.2) != "READY"
    # nor does a signed factor that is honest
    factor = production.slots / production.service_s / (staging.slots / staging.service_s)
    signed = allowed("staging", capacity_factor=(0.8 * factor, 1.25 * factor), transfer_note="ops, 2026-11-02")
    carried = weigh(staging, seed=seed, to=setting(signed, target=to.target))[1]
    assert decide(list(carried.values()), to.target, 1.2) != "READY"


@pytest.mark.parametrize(
    ("system", "think", "objective", "users", "target"),
    [
        (System(11, 1.18, shape="lognormal", cv=0.3, cap=25), 23.9, 5.4, 40, 236),
        (System(1, 0.43, shape="lognormal", cv=1.26), 58.9, 3.2, 10, 97),
    ],
    ids=["a pool behind a cap", "one slot with a long tail"],
)
def test_few_users_who_hardly_pause_prove_no_crowd_that_does(system, think, objective, users, target):
    to = setting(calls_per_user_hour=3600 / (think + system.service_s), target=target)
    asked = {"think_s": think, "objective_s": objective, "max_users": users, "seconds": 40.0, "to": to}
    real = truth(system, think, objective, 0.01)
    for seed in range(4):
        forecasts = weigh(system, seed=seed, needed_per_s=1.2 * target / (think + system.service_s), **asked)[1]
        for forecast in forecasts.values():
            assert forecast.users is not None or (forecast.at_least or 0.0) <= real * 1.05
        assert decide(list(forecasts.values()), target, 1.2) != "READY"


@pytest.mark.parametrize(
    ("system", "think", "objective", "target", "asked"),
    [
        (System(22, 0.161, shape="lognormal", cv=2.36), 0.65, 0.49, 62, {"max_users": 20, "max_burst": 64}),
        (System(9, 0.058, shape="lognormal", cv=2.06), 0.66, 0.206, 82, {"max_users": 40, "max_burst": 32}),
        (System(5, 0.034, shape="lognormal", cv=2.3), 3.2, 0.163, 340, {"max_users": 10, "max_burst": 64}),
    ],
    ids=["alone too slow", "nearly so", "a long tail in front of few slots"],
)
@pytest.mark.parametrize("seed", range(3))
def test_seldom_but_very_slow_calls_are_never_ready(system, think, objective, target, asked, seed):
    to = setting(calls_per_user_hour=3600 / (think + system.service_s), target=target)
    asked |= {"think_s": think, "objective_s": objective, "seconds": 40.0}
    forecasts = weigh(system, seed=seed, to=to, needed_per_s=1.2 * target / (think + system.service_s), **asked)[1]
    assert truth(system, think, objective, 0.01) < target
    assert decide(list(forecasts.values()), target, 1.2) != "READY"


def test_a_long_tail_is_no_queue():
    system = System(472, 1.28, shape="lognormal", cv=2.5)
    for seed in range(6):
        seen = weigh(system, seed=seed, think_s=0.37, objective_s=8.5, max_users=20, max_burst=32)[0]
        assert not seen.capacity.saturated


def test_a_hidden_bucket_is_never_a_yes():
    system = System(2000, 0.03, rate=150.0, bucket=3000)
    seen, forecasts = weigh(system, to=setting(rate_known=False, target=200))
    assert seen.bucket is None
    assert forecasts["request_rate"].users is None
    assert forecasts["request_rate"].at_least <= truth(system, THINK, OBJECTIVE, 0.01)
    assert decide(list(forecasts.values()), 200, 1.2) == "UNKNOWN"


def test_a_ramp_that_meets_the_objective_has_measured_it():
    forecast = weigh(System(2, 0.04), max_burst=0)[1]["latency_objective"]
    assert forecast.trust == "measured"
    assert forecast.low <= truth(System(2, 0.04), THINK, OBJECTIVE, 0.01) <= forecast.high


def test_staging_alone_never_answers_for_production():
    staging = setting(allowed("staging"))
    forecast = weigh(System(60, 0.02), to=staging)[1]["latency_objective"]
    assert not forecast.answers_target
    assert "staging only" in forecast.transfer
    assert decide([forecast], 10, 1.2) == "UNKNOWN"


def test_a_signed_factor_carries_to_production():
    plain = weigh(System(20, 0.04))[1]["latency_objective"]
    signed = setting(allowed("staging", capacity_factor=(0.5, 0.8), transfer_note="A. Admin, 2026-10-01"))
    halved = weigh(System(20, 0.04), to=signed)[1]["latency_objective"]
    assert halved.answers_target
    assert halved.low == pytest.approx(plain.low * 0.5, rel=0.02)
    assert halved.high == pytest.approx(plain.high * 0.8, rel=0.02)
    assert "A. Admin" in halved.transfer


def test_rows_of_production_shrink_a_scan_and_unproved_ones_answer_nothing():
    grown = setting(growth=Range(8.0, 10.0, 12.0), growth_reason="a call scans its table")
    forecast = weigh(System(20, 0.004), to=grown)[1]["latency_objective"]
    assert forecast.model == "rows_latency"
    assert forecast.trust != "measured"
    unproved = weigh(System(20, 0.04), to=setting(unproven_rows="1 % of the rows"))[1]["latency_objective"]
    assert not unproved.answers_target


def test_users_who_do_not_pause():
    system = System(10, 0.03)
    # constant service and no pause: 51 users wait 5 rounds and a bit, so the objective is not put on a round's edge
    _seen, forecasts = weigh(system, think_s=0.0, objective_s=0.155, to=setting(calls_per_user_hour=120_000))
    real = truth(system, 0.0, 0.155, 0.01)
    assert forecasts["latency_objective"].low <= real <= forecasts["latency_objective"].high


def test_a_probe_stays_within_its_calls():
    seen, _ = weigh(System(300, 0.01), calls=500)
    assert seen.calls <= 500
    assert planned(policy())[-1]["calls"] == 1_900
    assert [s["size"] for s in planned(policy(max_burst=100)) if s["kind"] == "burst"] == [32, 64, 100]


@pytest.mark.parametrize("cap", [60, 100, 120])
def test_no_more_calls_at_once_than_a_burst_may_have(cap):
    seen = weigh(System(2_000, 0.2, cap=cap), think_s=1.0, objective_s=1.5)[0]
    assert seen.flat
    assert max(level.users for level in seen.flat) <= 128
    assert seen.ceiling.mid == pytest.approx(cap, abs=2)


class _Busy(Simulation):
    """A client that had no time: its audit says so."""

    def level(self, users, think_s, seconds, calls):
        return replace(super().level(users, think_s, seconds, calls), audit=Audit(0.9, 0.0))


class _Thrashing(Simulation):
    """Above 32 calls at once it does a third of the work, and a lone call afterwards is slow for seconds."""

    shaken = 0.0

    def burst(self, size):
        seen = super().burst(size)
        if size <= 32:
            return seen
        self.shaken = self.now + 30
        return replace(seen, calls=[(start, 3 * end, outcome) for start, end, outcome in seen.calls])

    def level(self, users, think_s, seconds, calls):
        seen = super().level(users, think_s, seconds, calls)
        return replace(seen, p50_s=10 * seen.p50_s) if self.now < self.shaken else seen


def test_what_the_client_distorted_is_void_and_never_a_yes():
    seen = measure(_Busy(System(400, 0.04), 3), policy())
    forecasts = {f.limit: f for f in load_forecasts(seen, setting(target=100))}
    assert forecasts["latency_objective"].users is None
    assert "void" in forecasts["latency_objective"].reason
    assert decide(list(forecasts.values()), 100, 1.2) == "UNKNOWN"


def test_a_system_that_stays_shaken_is_left_alone():
    seen = measure(_Thrashing(System(10, 0.04), 3), policy(max_burst=256))
    assert max(burst.size for burst in seen.bursts) == 64
    assert any("stayed slow" in note for note in seen.notes)
    assert seen.capacity.collapses


def test_the_scalability_law_lowers_trust_and_never_raises_it():
    seen = weigh(System(20, 0.04))[0]
    seen.usl = None
    before = next(iter(load_forecasts(seen, setting())))
    order = ["measured", "interpolated", "extrapolated", "unpredictable"]
    for usl in (1e6, before.low * 0.9):
        seen.usl = usl
        assert next(iter(load_forecasts(seen, setting()))).trust == before.trust
    seen.usl = before.low / 2
    after = next(iter(load_forecasts(seen, setting())))
    assert order.index(after.trust) == order.index(before.trust) + 1
    assert (after.low, after.users, after.high) == (before.low, before.users, before.high)


def test_nobody_permitted_nothing_sent():
    seen = measure(Simulation(System(1, 0.1), 1), policy(max_users=0))
    assert seen.calls == 0
    assert list(load_forecasts(seen, setting())) == []


def test_drain_rate_needs_enough_completions():
    simulation = Simulation(System(20, 0.04), 2)
    assert drain_rate(simulation.burst(6)) is None
    assert capacity_of([], []) is None


def test_a_level_too_short_for_an_answer_says_nothing():
    level = Simulation(System(1, 0.1), 1).level(1, 0.0, 0.01, 0)
    assert level_broke(level, policy()) is None


def test_nothing_known_is_unknown():
    assert decide([], 500, 1.2) == "UNKNOWN"
