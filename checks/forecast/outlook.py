"""From what was measured to users: one forecast for every ceiling that a ramp and its bursts can speak of."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from weighbridge.checks.base import Forecast
from weighbridge.checks.forecast.burst import Capacity
from weighbridge.checks.forecast.plan import Level
from weighbridge.checks.forecast.queueing import (
    Station,
    bucket_load,
    crossing,
    machine_repair,
    open_rate,
    users_at_blocking,
)
from weighbridge.checks.forecast.ranges import Range
from weighbridge.checks.forecast.stats import percentile_ends
from weighbridge.checks.forecast.transfer import Transfer
from weighbridge.checks.forecast.weigh import Policy, Weighed, level_broke, level_held

__all__ = ["Setting", "load_forecasts", "proven_users"]

Trust = Literal["measured", "interpolated", "extrapolated", "unpredictable"]
TRUSTS: tuple[Trust, ...] = ("measured", "interpolated", "extrapolated", "unpredictable")
BURST_ERROR = 0.12
"""Floor of a burst-fed interval: think times, service distributions and clients are not the model's."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What turns calls into users, and here into production."""

    calls_per_user_hour: float
    """At the wire, in an average hour."""
    peak_factor: float
    target: int
    environment: str
    capacity: Transfer
    """May measured speed stand for production?"""
    limit: Transfer
    """May a cap that showed itself here stand for production's?"""
    rate_known: bool = False
    """Whether production's rate limits and quotas are declared or reported (or declared not to exist)."""
    concurrency_known: bool = False
    growth: Range = field(default_factory=lambda: Range.exact(1.0))
    """Service time with production's rows over the one measured."""
    growth_reason: str | None = None
    unproven_rows: str | None = None
    """Why nothing is known of the service time with production's rows; then no figure answers for production."""
    connections_per_user: float = 1.0

    @property
    def per_user_s(self) -> float:
        return self.calls_per_user_hour * self.peak_factor / 3600


def load_forecasts(seen: Weighed, setting: Setting) -> Iterator[Forecast]:
    """Latency, then the ceilings that refused, then the rate limit that nobody saw."""
    if not seen.levels:
        return
    void = seen.distorted
    yield _latency(seen, setting, void)
    if seen.opened is not None:
        yield _connections(seen, setting)
    if seen.ceiling is not None:
        yield _ceiling(seen, setting, seen.ceiling)
    if seen.bucket is not None:
        yield _bucket(seen, setting)
    elif seen.ceiling is None and (level := seen.refused_in_ramp) is not None:
        yield _refused_in_ramp(seen, setting, level)
    else:
        if not setting.rate_known:
            yield _unseen_rate(seen, setting)
        if not setting.concurrency_known and seen.ceiling is None and seen.opened is None:
            yield from _unseen_cap(seen, setting)


def proven_users(seen: Weighed, setting: Setting) -> float:
    """Users whose calls the ramp really sent and the system bore; 0 where none."""
    best = 0.0
    for level in seen.levels:
        if level_broke(level, seen.policy):
            break
        if not level_held(level, seen.policy):
            continue
        if seen.policy.think_s <= seen.policy.ramp_think_s:
            if level.think_s == seen.policy.ramp_think_s:
                best = max(best, float(level.users))
            continue
        # a compressed ramp: the same calls a second come from more users who pause longer, but those come in crowds,
        # and never more than the level's users were in progress at once, for as long as its calls took
        if level.calls < 3 * level.users:
            continue  # hardly a call a user: the crowd had not yet gathered
        rate = min(level.throughput, level.users / (level.think_s + max(level.mean_s, seen.alone_s)))
        rate = _unasked(rate, seen)
        sent = rate / setting.per_user_s if setting.per_user_s > 0 else 0.0
        best = max(best, min(sent, _crowd(level, seen.policy)))
    return best


def _unasked(rate: float, seen: Weighed) -> float:
    """What of a rate that a few users sustained holds when the calls of many come at random."""
    alone = sorted(seen.quiet)
    if not alone:
        return 0.0
    mean = statistics.fmean(alone)
    variation = statistics.pstdev(alone) / mean if mean > 0 else 0.0
    _, tail = percentile_ends(alone, 0.95)
    return open_rate(rate, seen.alone_s, variation, tail, seen.policy.objective_s)


def _crowd(level: Level, policy: Policy) -> float:
    """Users who pause as real ones do and hardly ever have more calls in progress than the level's users had."""
    return users_at_blocking(level.users, level.mean_s, policy.think_s, policy.error_objective)


def _common(seen: Weighed, setting: Setting, transfer: Transfer) -> dict[str, Any]:
    answers = transfer.answers and setting.unproven_rows is None
    return {
        "basis": "measured",
        "environment": setting.environment,
        "transfer": transfer.note,
        "answers_target": answers,
        "measured_to": _measured_to(seen, setting),
    }


def _measured_to(seen: Weighed, setting: Setting) -> float | None:
    """Users really exercised: by the ramp, or by a burst whose calls in progress are those of so many users."""
    best = proven_users(seen, setting)
    if seen.capacity is not None and seen.capacity.saturated:
        largest = max((b.size for b in seen.bursts if len(b.refused) <= 0.02 * b.size), default=0)
        best = max(best, largest + seen.capacity.rate.mid * seen.policy.think_s)
    return round(best, 1) if best else None


def _doubt(trust: Trust, seen: Weighed, low: float) -> Trust:
    """The scalability law may lower trust by one step, never raise it."""
    held = max((lv.users for lv in seen.levels if level_broke(lv, seen.policy) is None), default=0)
    # a law that says the objective falls where it was seen to hold has been refuted, and doubts nothing
    if seen.usl is not None and held < seen.usl < low / 1.5:
        return TRUSTS[min(len(TRUSTS) - 1, TRUSTS.index(trust) + 1)]
    return trust


def _refused(
    limit: str, seen: Weighed, setting: Setting, *, model: str, reason: str, at_least: float | None,
    next_probe: str | None, transfer: Transfer, inputs: Mapping[str, Any],
) -> Forecast:  # fmt: skip
    return Forecast(
        limit=limit, users=None, low=None, high=None, at_least=at_least, trust="unpredictable", model=model,
        inputs=dict(inputs), reason=reason, next_probe=next_probe, **_common(seen, setting, transfer),
    )  # fmt: skip


# --- latency ---------------------------------------------------------------------------------------------------


def _latency(seen: Weighed, setting: Setting, void: str | None) -> Forecast:
    policy = seen.policy
    capacity = seen.capacity
    proven = proven_users(seen, setting)
    inputs: dict[str, Any] = {"think_s": policy.think_s, "objective_s": policy.objective_s}

    def refuse(reason: str, at_least: float | None, next_probe: str | None) -> Forecast:
        return _refused(
            "latency_objective", seen, setting, model="closed_queue", reason=reason, at_least=at_least,
            next_probe=next_probe, transfer=setting.capacity, inputs=inputs,
        )  # fmt: skip

    if void:
        # no number: but a call that left late only looks slower, so what held is a lower bound all the same
        bound = proven * setting.capacity.factor.low / max(1.0, setting.growth.high)
        return refuse(
            f"void: the load generator distorted it: {void}",
            round(bound, 1) or None,
            "run from a machine with free cores",
        )
    if (grown := seen.slows) is not None:
        return refuse(
            f"a lone call is {grown:.1f} times slower after the load than before it: the system changes with time",
            None, "a ramp that holds for minutes, watched by the system's owner",
        )  # fmt: skip
    if seen.levels[0].calls == seen.levels[0].failed:
        return refuse("no call of a lone user succeeded", None, "mend the errors first")
    crossed = _crossed_in_ramp(seen)
    if crossed is None and not seen.tail_proven:
        calls = sum(level.calls - level.failed for level in seen.levels)
        return refuse(
            f"of {calls} calls of few users too many were slow to be sure that 95 of 100 stay under the objective",
            None, "a longer ramp with few users (ramp_seconds)",
        )  # fmt: skip
    if capacity is not None and capacity.saturated:
        return _from_burst(seen, setting, capacity, crossed, inputs)
    if crossed is not None:
        low, high = crossed
        return _number(seen, setting, Range(low, (low * high) ** 0.5, high), "measured", inputs)
    if seen.fit is not None and seen.fit.users is not None and policy.think_s <= policy.ramp_think_s:
        users, station = seen.fit.users, seen.fit.station
        if station is not None:
            inputs |= _station_inputs(station, policy.think_s, policy.objective_s, users.mid)
        return _number(seen, setting, users, "extrapolated", inputs)
    bound = proven
    nxt = f"a ramp to {2 * max(1, seen.levels[-1].users)} users, or bursts of {_next_burst(seen)}"
    reason = seen.fit.reason if seen.fit else "too few levels"
    if seen.fit is not None and seen.fit.users is not None:
        reason = "the ramp's users pause less than real ones, so its curve is not theirs"
    if capacity is not None:
        # what a burst really did is a floor under the capacity
        floor = crossing(capacity.stations[0], policy.think_s, policy.objective_s)
        bound = max(bound, floor * 0.85)
        reason = capacity.reason
    for level in seen.flat:
        if not level.failed and level.calls >= 30 and level.p95_high_s <= policy.objective_s:
            rate = min(level.throughput, level.users / level.mean_s)
            bound = max(bound, min(0.9 * rate * (policy.think_s + level.mean_s), _crowd(level, policy)))
    bound *= setting.capacity.factor.low / max(1.0, setting.growth.high)
    return refuse(f"not predictable from this probe: {reason}", round(bound, 1) if bound else None, nxt)


def _next_burst(seen: Weighed) -> int:
    return 2 * max((b.size for b in seen.bursts), default=16)


def _crossed_in_ramp(seen: Weighed) -> tuple[float, float] | None:
    """(last level that held, first that did not) when the ramp itself met the objective; None otherwise."""
    policy = seen.policy
    broke = next((lv for lv in seen.levels if level_broke(lv, policy)), None)
    if broke is not None and broke is seen.refused_in_ramp:
        return None  # a limiter's refusals are another ceiling
    if broke is None or policy.think_s > policy.ramp_think_s:
        if broke is not None and broke is seen.levels[0]:
            return 0.0, 1.0
        return None
    held = max((lv.users for lv in seen.levels if lv.users < broke.users and level_held(lv, policy)), default=0)
    # a short level bears what a long one would not: its users are a low end only less a tenth
    return 0.9 * held, float(broke.users)


def _station_inputs(station: Station, think: float, objective: float, users: float) -> dict[str, Any]:
    crude = station.capacity * (think + objective)
    return {
        "capacity": round(station.capacity, 3), "slots": station.slots, "service_s": round(station.service_s, 5),
        "delay_s": round(station.delay_s, 5), "correction": round(users / crude, 4) if crude else 0.0,
    }  # fmt: skip


def _from_burst(
    seen: Weighed, setting: Setting, capacity: Capacity, crossed: tuple[float, float] | None, inputs: dict[str, Any]
) -> Forecast:
    policy = seen.policy
    options = [crossing(s, policy.think_s, policy.objective_s) for s in capacity.stations]
    mid = options[0]
    rel = max(BURST_ERROR, (capacity.rate.high - capacity.rate.low) / 2 / max(1e-9, capacity.rate.mid) + 0.03)
    low, high = min(options) * (1 - rel), max(options) * (1 + rel)
    inputs |= _station_inputs(capacity.stations[0], policy.think_s, policy.objective_s, mid)
    inputs["kind"] = capacity.kind
    needed = mid - capacity.rate.mid * policy.think_s
    largest = max((b.size for b in seen.bursts), default=0)
    trust: Trust = "interpolated" if largest >= needed else "extrapolated"
    if crossed is not None and crossed[1] <= seen.policy.max_users:
        # the ramp really met it: the queue model only says where between the two levels
        low, high = max(low, crossed[0]), min(high, crossed[1])
        if low > high:
            low, high = crossed
        mid, trust = min(max(mid, low), high), "measured"
    return _number(seen, setting, Range(low, mid, high), trust, inputs, capacity.stations)


def _number(
    seen: Weighed, setting: Setting, users: Range, trust: Trust, inputs: dict[str, Any],
    stations: tuple[Station, ...] = (),
) -> Forecast:  # fmt: skip
    factor = setting.capacity.factor
    model = "closed_queue"
    if setting.growth.high > 1.05:
        model = "rows_latency"
        inputs["growth"] = round(setting.growth.mid, 3)
        users = users.over(setting.growth)
        if trust == "measured":
            trust = "extrapolated"
    inputs["capacity_factor"] = round(factor.mid, 3)
    users = _carried(users, factor, stations, seen)
    return Forecast(
        limit="latency_objective", users=round(users.mid, 1), low=round(users.low, 1), high=round(users.high, 1),
        at_least=round(users.low, 1),
        trust=_doubt(trust, seen, users.low), model=model, inputs=inputs,
        reason=setting.unproven_rows or setting.growth_reason, **_common(seen, setting, setting.capacity),
    )  # fmt: skip


def _carried(users: Range, factor: Range, stations: tuple[Station, ...], seen: Weighed) -> Range:
    """The users with `factor` times the capacity: it may be slots or speed that differ, and few slots queue worse."""
    plain = Range(users.low * factor.low, users.mid * factor.mid, users.high * factor.high)
    if factor == Range.exact(1.0) or not stations or users.mid <= 0:
        return plain
    policy, station = seen.policy, stations[0]
    base = crossing(station, policy.think_s, policy.objective_s) or 1.0

    def ends(f: float) -> list[float]:
        slots = max(1, round(station.slots * f))
        held = station.service_s * slots / (station.slots * f)
        fewer = Station(slots, held, station.delay_s, station.cv)
        slower = Station(station.slots, station.service_s / f, station.delay_s, station.cv)
        return [crossing(s, policy.think_s, policy.objective_s) / base for s in (fewer, slower)]

    low, mid, high = ends(factor.low), ends(factor.mid), ends(factor.high)
    return Range(
        min(plain.low, users.low * min(low)), users.mid * sum(mid) / 2, max(plain.high, users.high * max(high))
    )


# --- ceilings that refused ---------------------------------------------------------------------------------------


def _connections(seen: Weighed, setting: Setting) -> Forecast:
    cap = float(seen.opened or 0)
    per = setting.connections_per_user
    users = Range(max(0.0, cap - 2) / per, cap / per, (cap + 2) / per)
    return Forecast(
        limit="connections_seen", users=round(users.mid, 1), low=round(users.low, 1), high=round(users.high, 1),
        at_least=round(users.low, 1), trust="measured", model="connections",
        inputs={"cap": cap, "reserve": 0.0, "background": 0.0, "connections_per_user": per},
        **_common(seen, setting, setting.limit),
    )  # fmt: skip


def _ceiling(seen: Weighed, setting: Setting, cap: Range) -> Forecast:
    policy = seen.policy
    share = policy.error_objective
    service = seen.alone_s

    def at(slots: float) -> float:
        return users_at_blocking(max(1, round(slots)), service, policy.think_s, share)

    mid = at(cap.mid)
    low, high = min(at(cap.low), mid * 0.88), max(at(cap.high), mid * 1.12)
    per_user = setting.per_user_s * service
    return Forecast(
        limit="concurrent_calls_seen", users=round(mid, 1), low=round(low, 1), high=round(high, 1),
        at_least=round(low, 1), trust="interpolated", model="concurrency",
        inputs={
            "cap": round(cap.mid, 1), "load": round(mid * per_user, 4), "background": 0.0,
            "calls_per_user_hour": setting.calls_per_user_hour, "peak_factor": setting.peak_factor,
            "seconds": round(service, 5),
        },
        **_common(seen, setting, setting.limit),
    )  # fmt: skip


def _refused_in_ramp(seen: Weighed, setting: Setting, level: Level) -> Forecast:
    """The ramp met a limiter, and no burst told whether it counts calls in progress or calls a second: either."""
    policy, per = seen.policy, setting.per_user_s
    held = level.throughput * seen.alone_s
    # as a cap, its refusals begin with the fluctuations; as a rate, when the calls a second exceed it
    low = 0.9 * users_at_blocking(max(1, round(held)), seen.alone_s, policy.think_s, policy.error_objective)
    high = 1.1 * level.throughput / per if per > 0 else float("inf")
    if policy.think_s <= policy.ramp_think_s:
        high = min(high, 1.1 * level.users)
    low = min(low, 0.9 * high)
    mid = (low * high) ** 0.5
    return Forecast(
        limit="refused_in_ramp", users=round(mid, 1), low=round(low, 1), high=round(high, 1), at_least=round(low, 1),
        trust="measured", model="concurrency",
        inputs={
            "cap": round(held, 1), "load": round(mid * per * seen.alone_s, 4), "background": 0.0,
            "calls_per_user_hour": setting.calls_per_user_hour, "peak_factor": setting.peak_factor,
            "seconds": round(seen.alone_s, 5),
        },
        reason=f"{level.failed} of {level.calls} calls of {level.users} users were refused; without bursts nobody "
        "tells a cap on calls in progress from a rate limit",
        next_probe="permit bursts, or declare the limit under [[systems.NAME.limits]]",
        **_common(seen, setting, setting.limit),
    )  # fmt: skip


def _bucket(seen: Weighed, setting: Setting) -> Forecast:
    bucket = seen.bucket
    if bucket is None or bucket.rate is None:
        return _refused(
            "request_rate", seen, setting, model="rate", transfer=setting.limit, inputs={},
            at_least=proven_users(seen, setting) or None,
            reason=f"a rate limit refused calls after about {bucket.size if bucket else 0:.0f}; its rate was not found",
            next_probe="ask the system's owner for the rate limit, and declare it",
        )  # fmt: skip
    # users come in crowds: a small bucket refuses some while on average fewer come than it lets through
    per, share = setting.per_user_s, seen.policy.error_objective
    small = large = bucket_load(bucket.size, share)
    if seen.refused_in_ramp is not None:
        large = bucket_load(max(100.0, bucket.size), share)  # the ramp had emptied it: it may be any size
    low, mid, high = (
        bucket.rate.low * small / per, bucket.rate.mid * (small * large) ** 0.5 / per, bucket.rate.high * large / per
    )  # fmt: skip
    low, high = min(low, mid * 0.93), max(high, mid * 1.07)
    return Forecast(
        limit="request_rate", users=round(mid, 1), low=round(low, 1), high=round(high, 1), at_least=round(low, 1),
        trust="interpolated", model="rate",
        inputs={
            "cap": round(mid * setting.per_user_s, 2), "reserve": 0.0, "window_s": 1.0, "background_per_s": 0.0,
            "refill": round(bucket.rate.mid, 2),
            "calls_per_user_hour": setting.calls_per_user_hour, "peak_factor": setting.peak_factor,
            "burst": round(bucket.size, 1),
        },
        **_common(seen, setting, setting.limit),
    )  # fmt: skip


def _unseen_cap(seen: Weighed, setting: Setting) -> Iterator[Forecast]:
    """A cap on calls in progress just above the largest burst shows nothing; said only where users would meet it."""
    largest = max((b.size for b in seen.bursts if not b.refused), default=0)
    if not largest:
        return
    policy, seconds = seen.policy, seen.alone_s
    if seen.capacity is not None and seen.capacity.saturated:
        # who waits for a slot is in progress too
        station = seen.capacity.stations[0]
        waits = machine_repair(setting.target, station.slots, station.service_s, policy.think_s + station.delay_s)[1]
        seconds = max(seconds, waits + station.delay_s)
    think = max(policy.think_s, 1 / setting.per_user_s - seconds if setting.per_user_s > 0 else 0.0)
    users = users_at_blocking(largest, seconds, think, policy.error_objective)
    if users >= 2 * setting.target:
        return
    yield _refused(
        "concurrent_calls", seen, setting, model="concurrency", transfer=setting.limit, inputs={"cap": largest},
        at_least=round(0.95 * users, 1),
        reason=f"{largest} calls at once were borne, {setting.target} users would have more in progress, and no cap on "
        "calls in progress is known",
        next_probe=f"bursts of {2 * largest}, or the cap declared (window = 'concurrent') in [[systems.NAME.limits]]",
    )  # fmt: skip


def _unseen_rate(seen: Weighed, setting: Setting) -> Forecast:
    """A limiter whose bucket is larger than every burst shows nothing: only what was sustained is proven."""
    proven = proven_users(seen, setting) * min(1.0, setting.capacity.factor.low)
    rate = max((lv.throughput for lv in seen.levels if level_broke(lv, seen.policy) is None), default=0.0)
    # a limiter that saves up, or counts by the hour, lets a minute of this pass and not an hour of it: calls a second
    # prove nothing, only as many users as there really were, or whose busiest hour's calls were really sent
    there = max((lv.users for lv in seen.levels if level_held(lv, seen.policy)), default=0)
    hour = seen.calls / (3600 * setting.per_user_s) if setting.per_user_s > 0 else 0.0
    proven = min(proven, max(min(there, setting.target - 1), hour))
    return _refused(
        "request_rate", seen, setting, model="proven_rate", transfer=setting.limit,
        inputs={
            "rate": round(rate, 2), "calls_per_user_hour": setting.calls_per_user_hour,
            "peak_factor": setting.peak_factor,
        },
        at_least=round(proven, 1) if proven else None,
        reason="no rate limit is declared or reported, and none showed itself: "
        f"{rate:.0f} calls/s were sustained without a refusal, more was not tried",
        next_probe="declare production's rate limit (or `unlimited = true`) under [[systems.NAME.limits]]",
    )  # fmt: skip
