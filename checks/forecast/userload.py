"""What one user costs a limit: calls an hour, calls a second at the peak, calls a day, seconds a call.

Every figure is at the wire: what one action costs in calls is already in it, retries too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from weighbridge.checks.base import Demand, Spread
from weighbridge.checks.forecast.ranges import Range
from weighbridge.contracts.scale import Scale

__all__ = ["DECLARED_FACTOR", "UserLoad", "outage_attempts", "think_time", "user_load", "with_retries"]

DECLARED_FACTOR = 1.25
"""A declared number of calls is taken to be right within this factor; a measured one brings its own spread."""


@dataclass(frozen=True, slots=True)
class UserLoad:
    """One user's load; `sharing` points on one quota are already summed into the calls."""

    per_hour: Range
    peak_per_s: Range
    peak_factor: float
    """Such that peak_per_s = per_hour x peak_factor / 3600."""
    per_day: Range
    seconds: Range | None
    """One call at the wire, unloaded; None where no operation was measured."""
    operation_seconds: dict[str, float]
    operation_rate: dict[str, float]
    """Operation -> calls a second of one user at the peak."""
    source: str


def think_time(scale: Scale, seconds: float = 0.0) -> float | None:
    """Mean pause between one user's calls at the peak; None where the scale does not say how much a user calls."""
    if scale.think_time_s is not None:
        return scale.think_time_s
    if scale.calls_per_user_hour is None:
        return None
    return max(0.0, 3600 / (scale.calls_per_user_hour * scale.peak_factor) - seconds)


def outage_attempts(previous: Mapping[str, Any] | None) -> float:
    """Attempts for each call while the system fails, as the check `resilience` last measured them; 1 where it has not.

    `previous` is the point's record in the history.
    """
    seen = (previous or {}).get("amplification") or {}
    return max(1.0, float(seen.get("outage") or 1.0))


def with_retries(demand: Demand, scale: Scale, previous: Mapping[str, Any] | None) -> Demand:
    """The demand with the retries of calls that fail: as many as are borne, each tried as often as was measured.

    What the pilot's own traffic showed of retries stays where it is more.
    """
    usual = 1 + scale.error_objective * (outage_attempts(previous) - 1)
    return replace(demand, retry_amplification=max(demand.retry_amplification, usual))


def user_load(demand: Demand, scale: Scale, *, sharing: float = 1.0) -> UserLoad | None:
    """One user's load, None where nobody measured or declared how often a user calls: then no forecast in users."""
    calls = demand.calls_per_user_hour
    seconds = _seconds(demand, scale)
    if calls is None:
        if scale.think_time_s is None or seconds is None:
            return None
        per_second = 1 / max(1e-6, scale.think_time_s + seconds.mid)
        mean = per_second * 3600 / scale.peak_factor
        calls = Spread(n=0, mean=mean, low=mean / DECLARED_FACTOR, median=mean, high=mean * DECLARED_FACTOR)
    width = _range(calls)
    per_hour = width.times(max(1.0, demand.retry_amplification) * sharing)
    peak_factor = scale.peak_factor
    if scale.think_time_s is not None and seconds is not None:
        # a stated pause is the peak itself: a user cannot call more often than pause and answer allow
        peak_factor = 3600 / max(1e-6, scale.think_time_s + seconds.mid) * sharing / max(1e-9, per_hour.mid)
    peak = per_hour.times(peak_factor / 3600)
    operation_seconds = {name: s["seconds"].mean for name, s in demand.per_operation.items() if "seconds" in s}
    rates = {name: peak.mid / sharing * share for name, share in scale.shares.items()}
    return UserLoad(
        per_hour=per_hour,
        peak_per_s=peak,
        peak_factor=peak_factor,
        per_day=per_hour.times(scale.working_hours),
        seconds=seconds,
        operation_seconds=operation_seconds,
        operation_rate=rates,
        source=demand.source,
    )


def _range(spread: Spread) -> Range:
    """The mean user decides a sum over hundreds of users, so its ends are the mean's, not one user's.

    A measured spread of n samples narrows by the square root of n and keeps at least 10 %.
    """
    if spread.n <= 0:
        return Range(spread.low, spread.mean, spread.high)
    half = max(0.10 * spread.mean, (spread.high - spread.low) / 2 / max(1.0, spread.n) ** 0.5)
    return Range(max(0.0, spread.mean - half), spread.mean, spread.mean + half)


def _seconds(demand: Demand, scale: Scale) -> Range | None:
    low = mid = high = total = 0.0
    for name, share in scale.shares.items():
        spread = demand.per_operation.get(name, {}).get("seconds")
        if spread is None:
            continue
        total += share
        low, mid, high = low + share * spread.low, mid + share * spread.mean, high + share * spread.high
    return Range(low / total, mid / total, high / total) if total > 0 else None
