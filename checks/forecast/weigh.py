"""The weighing itself: an adaptive ramp, then growing bursts, within what is permitted, stopping at the first sign.

It drives whatever implements `Drive`: a load engine in front of a real system, or a simulation of one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import median

from weighbridge.checks.forecast.burst import (
    Bucket,
    Capacity,
    borne_at_once,
    bucket_of,
    capacity_of,
    ceiling_holds,
    ceiling_of,
    passing_rate,
)
from weighbridge.checks.forecast.plan import Burst, Drive, Level
from weighbridge.checks.forecast.ramp import RampFit, fit_ramp, usl_crossing
from weighbridge.checks.forecast.ranges import Range
from weighbridge.checks.forecast.stats import SURE, percentile_ends, ranks_above

__all__ = [
    "Exhausted",
    "Policy",
    "Weighed",
    "analyse",
    "level_broke",
    "level_held",
    "measure",
    "planned",
]

REPEATS = 4
LEAST_SLOWER = 0.05
"""Share of the objective by which a lone call must have slowed down to be worth a word."""
SMALLEST_BURST = 32
SHARE_FOR_RAMP = 0.5
OPENING_REFUSED = frozenset({"open:ThrottledError", "open:UnreachableError", "open:QuotaExhausted"})
LIMITERS = frozenset({"ThrottledError"})
"""Not a day's quota that is spent: more calls would teach nothing and only be refused."""
LEAST_LEVEL_S = 0.8
"""A level shorter than this sees hardly a call a user."""
FOR_RATE = 450
"""Calls kept for the level that measures a bucket's rate."""


class Exhausted(Exception):
    """A `Drive` will not send more: a known limit stands in the way. Not an error: the probe ends here."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is asked and what is permitted."""

    think_s: float
    """One user's pause between calls at the peak."""
    objective_s: float
    error_objective: float
    max_users: int
    max_burst: int
    needed_per_s: float
    """Calls a second of the target users with headroom: proven when really sustained."""
    calls: int = 1_900
    seconds: float = 45.0
    """For the ramp; bursts take a few seconds more."""

    @property
    def ramp_think_s(self) -> float:
        """Virtual users pause no longer than this: with a pause of minutes a short ramp would send nothing.

        Where users pause for longer than a second, few virtual ones who pause less send what many real ones would.
        """
        if self.think_s <= 1.5:
            return self.think_s
        few = max(1, min(self.max_users, 32))
        return min(0.3, max(0.05, few / (1.5 * self.needed_per_s))) if self.needed_per_s > 0 else 0.3


@dataclass(slots=True)
class Weighed:
    """What was seen, and what it says."""

    policy: Policy
    levels: list[Level] = field(default_factory=list)
    bursts: list[Burst] = field(default_factory=list)
    flat: list[Level] = field(default_factory=list)
    """Levels without a pause and without an error guard, after a refusal: what passes."""
    after: Level | None = None
    """One user again at the end: what the load left behind."""
    notes: list[str] = field(default_factory=list)
    stopped: str | None = None
    capacity: Capacity | None = None
    ceiling: Range | None = None
    bucket: Bucket | None = None
    opened: int | None = None
    """Connections that could be opened when not all could."""
    fit: RampFit | None = None
    usl: float | None = None

    @property
    def calls(self) -> int:
        return sum(level.sent for level in [*self.levels, *self.flat]) + sum(b.size for b in self.bursts)

    @property
    def unloaded(self) -> list[float]:
        alone = list(self.levels[0].latencies) if self.levels else []
        return alone + (list(self.after.latencies) if self.after is not None and self.slows is None else [])

    @property
    def quiet(self) -> list[float]:
        """Calls of the levels whose usual call waited for nobody: enough of them to see a long tail."""
        if not self.levels:
            return []
        usual = 1.15 * self.levels[0].p50_s
        return [t for level in self.levels if level.p50_s <= usual for t in level.latencies]

    @property
    def tail_proven(self) -> bool:
        """Whether few users' calls were so many, and so seldom slow, that 95 of 100 surely stay under the objective."""
        calls: list[float] = []
        for level in self.levels:
            calls += level.latencies
            if calls and percentile_ends(sorted(calls), 0.95)[1] <= self.policy.objective_s:
                return True
        return False

    @property
    def alone_s(self) -> float:
        """Mean seconds of one call with nobody else there."""
        return self.levels[0].mean_s if self.levels else float("nan")

    @property
    def refused_in_ramp(self) -> Level | None:
        """The level at which a limiter's refusals, and nothing else, ended the ramp; None where they did not."""
        last = self.levels[-1] if self.levels else None
        if last is None or last.users < 2 or level_broke(last, self.policy) is None:
            return None
        good = last.calls > last.failed and last.p95_s <= self.policy.objective_s
        return last if good and last.failed >= 3 and set(last.errors) <= LIMITERS else None

    @property
    def distorted(self) -> str | None:
        """Why the ramp's latencies are void: the client itself was in the way."""
        return next((r for lv in self.levels if (r := lv.audit.distorted(self.policy.objective_s))), None)

    @property
    def slows(self) -> float | None:
        """Factor by which a lone call became slower over the run, where that is more than half; None otherwise."""
        before, after = self.levels[0] if self.levels else None, self.after
        if before is None or after is None or after.calls - after.failed < 5 or before.calls - before.failed < 5:
            return None
        grown = after.p50_s / before.p50_s if before.p50_s > 0 else 1.0
        slower = grown > 1.5 and after.p50_s - before.p50_s > LEAST_SLOWER * self.policy.objective_s
        return grown if slower and ranks_above(after.latencies, before.latencies) > SURE else None


def planned(policy: Policy) -> list[dict[str, float | int | str]]:
    """What would be sent at most, step by step, for `run --plan`."""
    steps: list[dict[str, float | int | str]] = [
        {"kind": "level", "users": users, "think_s": policy.ramp_think_s} for users in _steps(policy)
    ]
    steps += [{"kind": "burst", "size": size, "repeats": REPEATS} for size in _sizes(policy)]
    return [*steps, {"kind": "at most", "calls": policy.calls, "seconds": policy.seconds}]


def measure(drive: Drive, policy: Policy) -> Weighed:
    """Ramp, burst, look again; then what it says."""
    seen = Weighed(policy)
    if policy.max_users < 1:
        seen.stopped = "no user is permitted"
        return seen
    _ramp(drive, policy, seen)
    # a system that refuses politely protects itself: that is no distress, and a burst tells what it was that refused
    if (seen.stopped is None or seen.refused_in_ramp is not None) and policy.max_burst >= 8 and seen.levels:
        try:
            _bursts(drive, policy, seen)
        except Exhausted as why:
            seen.notes.append(f"bursts ended: {why}")
    if seen.levels and seen.levels[0].calls > seen.levels[0].failed:
        drive.pause(0.2)
        seen.after = drive.level(1, min(policy.ramp_think_s, 0.05), 1.5, 12)
    analyse(seen)
    return seen


def _steps(policy: Policy) -> list[int]:
    """1, 2, 4, 10, 20, 40, ... to what is permitted, and no further than the target needs; fewer in a short ramp."""
    top = policy.max_users
    if policy.think_s > policy.ramp_think_s:
        # virtual users who pause less stand for many: more than the target's calls a second prove nothing
        needed = policy.needed_per_s * (policy.ramp_think_s + 0.1) * 1.6
        top = max(1, min(top, max(10, math.ceil(needed) if math.isfinite(needed) else top)))
    steps = [1]
    while steps[-1] < top:
        steps.append(min(top, 2 if steps[-1] == 1 else steps[-1] * 2 if steps[-1] != 4 else 10))
    most = max(3, int(policy.seconds / LEAST_LEVEL_S))
    if len(steps) <= most:
        return steps
    chosen = {round(i * (len(steps) - 1) / (most - 1)) for i in range(most)}
    return [step for i, step in enumerate(steps) if i in chosen]


def _sizes(policy: Policy) -> list[int]:
    sizes = []
    size = SMALLEST_BURST
    while size < policy.max_burst:
        sizes.append(size)
        size *= 2
    return [*sizes, policy.max_burst] if policy.max_burst >= 8 else []


def level_broke(level: Level, policy: Policy) -> str | None:
    """Why this level is beyond what users bear, None where it is not."""
    if level.calls >= 20 and level.error_share > max(policy.error_objective, 0.02) * 1.5 and level.failed >= 3:
        return f"{level.error_share:.1%} of the calls failed"
    if level.calls == level.failed:
        return None
    # of few calls the 95th percentile is the slowest one: its lower confidence end must be above the objective
    few = level.calls - level.failed < 20
    if (level.p50_s if few else level.p95_low_s) > policy.objective_s:
        return f"95th percentile {level.p95_s * 1000:.0f} ms above the objective of {policy.objective_s * 1000:.0f} ms"
    return None


def level_held(level: Level, policy: Policy) -> bool:
    """Whether this level proves anything: enough calls, in time, and no more errors than are borne."""
    good = level.calls - level.failed
    return good >= 10 and level.failed <= policy.error_objective * level.calls and level.p95_s <= policy.objective_s


def _ramp(drive: Drive, policy: Policy, seen: Weighed) -> None:
    steps = _steps(policy)
    calls_left = int(policy.calls * (SHARE_FOR_RAMP if policy.max_burst >= 8 else 0.95))
    seconds_left = policy.seconds
    think = policy.ramp_think_s
    for number, users in enumerate(steps):
        remaining = len(steps) - number
        seconds = seconds_left / remaining if number else min(seconds_left * 0.2, max(2.0, seconds_left / remaining))
        share = calls_left if remaining == 1 else max(30, calls_left // remaining)
        if number and users > 2 and share < 2 * users:
            seen.notes.append(f"the ramp ended before {users} users: they would cost more calls than are left")
            return
        # a lone user without a pause tells the unloaded time in few calls
        pause = min(think, 0.05) if number == 0 else think
        level = drive.level(users, pause, seconds, share)
        seen.levels.append(level)
        calls_left -= level.sent
        seconds_left -= level.elapsed_s or seconds
        if reason := level_broke(level, policy):
            seen.stopped = f"the ramp stopped at {users} users: {reason}" if number else f"one user alone: {reason}"
            return
        if number == 0 and level.calls and level.failed > 0.5 * level.calls:
            seen.stopped = f"one user alone: {level.failed} of {level.calls} calls failed"
            return
        if level.throughput > 1.5 * policy.needed_per_s and users >= 10:
            seen.notes.append(f"the ramp ended at {users} users: the target's calls a second are sustained already")
            return
        if seconds_left <= 0.5 or calls_left < 2 * users:
            return


def _bursts(drive: Drive, policy: Policy, seen: Weighed) -> None:
    left = policy.calls - seen.calls - 12
    for size in _sizes(policy):
        refused_at: int | None = None
        for repeat in range(REPEATS):
            if left < size:
                seen.notes.append(f"bursts ended before {size}: the call budget is spent")
                return
            burst = drive.burst(size)
            seen.bursts.append(burst)
            left -= size
            if len(burst.refused) > 0.02 * size:
                refused_at = repeat if refused_at is None else refused_at
                if any(outcome.startswith("open:") for _, _, outcome in burst.refused):
                    seen.notes.append(
                        f"only {len(burst.succeeded)} of {size} connections could be opened: no more bursts"
                    )
                    return
                if repeat - refused_at >= 2:
                    break
            # in quick succession: a bucket larger than one burst is spent only if it has no time to fill
            drive.pause(0.02)
        if refused_at is not None:
            _flat_out(drive, left, seen)
            return
        if not _recovered(drive, seen):
            seen.notes.append(f"after bursts of {size} a single call stayed slow: no larger burst was sent")
            return
        state = capacity_of(seen.bursts, seen.unloaded, quiet=seen.quiet)
        if state is not None and (state.collapses or (state.saturated and _settled(state, size))):
            return


def _settled(state: Capacity, size: int) -> bool:
    """Whether a larger burst would teach nothing: this one already held several rounds of the slots."""
    sizes = sorted(state.sizes)
    if len(sizes) < 2:
        return state.stations[0].slots * 6 <= size
    return state.sizes[sizes[-1]] < 1.05 * state.sizes[sizes[-2]]


def _recovered(drive: Drive, seen: Weighed) -> bool:
    """Whether a lone call is as fast as before, within a second of peace; some systems stay collapsed."""
    for _ in range(3):
        drive.pause(0.1)
        level = drive.level(1, 0.0, 1.0, 3)
        if level.calls > level.failed and level.p50_s <= max(2.0 * seen.alone_s, seen.alone_s + 0.02):
            return True
        drive.pause(0.3)
    return False


def _flat_out(drive: Drive, left: int, seen: Weighed) -> None:
    """Tell a cap from a token bucket: users without a pause, first fewer than a burst let through, then more.

    A cap lets fewer than itself through without a refusal, and with more of them holds as many in progress as before,
    letting nobody in until somebody leaves. A bucket refuses whoever calls more often than it fills, however few they
    are, and lets calls in all the time.
    """
    through = borne_at_once(seen.bursts)
    alone = seen.alone_s
    back_off = max(0.02, alone / 5)
    most = max(1, int(0.9 * through))
    users = max(1, min(most, round(100 * alone)))
    # without a pause users are as many calls at once: no more of them than a burst may have
    allowed = max(seen.policy.max_users, seen.policy.max_burst)
    crowded = False
    while left > FOR_RATE + 60:
        seconds = max(0.8, 4 * alone)
        level = drive.flat_out(users, seconds, min(left - FOR_RATE, 300), back_off_s=back_off)
        seen.flat.append(level)
        left -= level.sent
        if level.failed >= 3 and level.error_share > 0.02:
            break
        if users < most:
            users = min(most, users * 2)
        else:
            # more than a burst let through: a bucket may let them pass for as long as it fills fast enough
            more = min(allowed, math.ceil(1.6 * (users if crowded else through)) + 1)
            if more <= users:
                return
            users, crowded = more, True
    if not seen.flat or seen.flat[-1].failed < 3 or ceiling_holds(seen.bursts, seen.flat, alone):
        return
    # a bucket: once more, now that what was saved up is spent, with hardly more calls than can pass
    rate = passing_rate(seen.flat[-1], alone)
    just = max(2, min(2 * users, allowed, round(1.6 * rate * alone) + 1))
    seconds = max(0.9, 5 * alone)
    seen.flat.append(drive.flat_out(just, seconds, max(1, min(left, FOR_RATE + 200)), back_off_s=back_off))


def analyse(seen: Weighed) -> None:
    """Fill in what the levels and bursts say."""
    policy = seen.policy
    failed_open = [b for b in seen.bursts if any(o.startswith("open:") for _, _, o in b.calls)]
    refused_open = [b for b in failed_open if any(o in OPENING_REFUSED for _, _, o in b.calls)]
    if refused_open:
        # what is refused is a cap; what merely did not open in time says nothing of one
        seen.opened = int(median(len(b.succeeded) for b in refused_open))
    seen.bucket = bucket_of(seen.bursts, seen.flat, seen.alone_s)
    refusing = [b for b in seen.bursts if len(b.refused) > 0.02 * b.size]
    if seen.bucket is None and refusing and not failed_open:
        seen.ceiling = ceiling_of(refusing)
    seen.capacity = capacity_of(seen.bursts, seen.unloaded, quiet=seen.quiet)
    if seen.capacity is not None and seen.capacity.saturated:
        seen.usl = _usl(seen)
        return
    ramp = [lv for lv in seen.levels if lv.users == 1 or lv.think_s == policy.ramp_think_s]
    seen.fit = fit_ramp(ramp, policy.objective_s)
    seen.usl = _usl(seen)


def _usl(seen: Weighed) -> float | None:
    policy = seen.policy
    return usl_crossing([lv for lv in seen.levels if lv.think_s == policy.ramp_think_s], policy.objective_s)
