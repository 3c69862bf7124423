"""What a burst says: capacity from its drain rate, slots and service time from its staircase, ceilings from refusals.

`k` calls released at once saturate any pool with fewer than `k` slots for a fraction of a second. The completions
between the 10th and the 80th percentile leave at the rate of the pool; who is served in the first wave tells a pool
from a lock; who is refused, and whether the next burst fares worse, tells a concurrency cap from a token bucket.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from weighbridge.checks.forecast.plan import Burst, Level
from weighbridge.checks.forecast.queueing import Station
from weighbridge.checks.forecast.ranges import Range
from weighbridge.checks.forecast.stats import SURE, ranks_above

__all__ = [
    "Bucket",
    "Capacity",
    "borne_at_once",
    "bucket_of",
    "capacity_of",
    "ceiling_holds",
    "ceiling_of",
    "drain_rate",
    "let_in_late",
    "overlap",
    "passing_rate",
]

SPREAD = 0.2
"""Variation of a lone call's time above which a slow end of a burst proves no queue by itself."""
RISES = 1.15
"""A drain rate that grows by more than this when the burst doubles has not reached the capacity."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the bursts say of the queue behind the point."""

    rate: Range
    """Calls a second when saturated; with `saturated` False only `low` means anything: a lower bound."""
    saturated: bool
    stations: tuple[Station, ...]
    """What explains the bursts, best first: a pool, a lock, or something between."""
    kind: str
    """`pool`, `lock`, `pool with a delay` or `not reached`."""
    reason: str
    sizes: dict[int, float] = field(default_factory=dict)
    """Burst size -> drain rate."""
    collapses: bool = False
    """The drain rate falls when the burst grows: more load does less work."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket seen by its refusals: calls let through before the first one, and the rate after it."""

    size: float
    rate: Range | None


def drain_rate(burst: Burst) -> float | None:
    """Completions a second between the 10th and the 80th percentile; None for fewer than 8 completions."""
    ends = sorted(end for _, end in burst.succeeded)
    n = len(ends)
    if n < 8:
        return None
    first, last = int(0.10 * n), int(0.80 * n)
    span = ends[last] - ends[first]
    return (last - first) / span if span > 0 else float("inf")


def _staircase_rate(ends: Sequence[float], service: float) -> float:
    """Drain rate by the least squares line through the middle completions: steps average out."""
    n = len(ends)
    lo, hi = int(0.10 * n), int(0.80 * n)
    # a staircase of few steps is cut at a step's edge or in its middle by chance: the line through the steps'
    # middles is not; where the steps are visible, take whole steps only
    steps = _steps(ends, service)
    if len(steps) >= 3:
        inner = steps[:-1] if len(steps) > 3 or steps[-1][1] < 0.7 * steps[0][1] else steps
        spans = inner[-1][0] - inner[0][0]
        if spans > 0:
            return sum(size for _, size in inner[:-1]) / spans
    span = ends[hi] - ends[lo]
    return (hi - lo) / span if span > 0 else float("inf")


def _steps(ends: Sequence[float], service: float) -> list[tuple[float, int]]:
    """(time, completions) of clear steps: gaps of at least a third of the service time; [] where there are none."""
    steps: list[tuple[float, int]] = []
    start, total, count = ends[0], 0.0, 0
    previous = ends[0]
    for end in ends:
        if end - previous > service / 3 and count:
            steps.append((total / count, count))
            total, count = 0.0, 0
            start = end
        total, count, previous = total + end, count + 1, end
    steps.append((total / count, count))
    del start
    sizes = [size for _, size in steps[:-1]]
    if len(sizes) >= 2 and min(sizes) >= 0.6 * max(sizes) and max(sizes) >= 2:
        return steps
    return []


def capacity_of(bursts: Sequence[Burst], unloaded: Sequence[float], *, quiet: Sequence[float] = ()) -> Capacity | None:
    """The queue behind the point from bursts of several sizes and the latencies of single calls; None without both.

    `quiet` are more calls that hardly waited, by which a long tail is seen.
    """
    clean = [b for b in bursts if len(b.succeeded) >= 8 and len(b.refused) <= 0.02 * b.size]
    if not clean or not unloaded:
        return None
    ordered = sorted(unloaded)
    alone = median(ordered)
    mean_alone = sum(ordered) / len(ordered)
    spread = (ordered[int(0.84 * (len(ordered) - 1))] - ordered[int(0.16 * (len(ordered) - 1))]) / 2
    cv = spread / mean_alone if mean_alone > 0 else 0.0
    by_size: dict[int, list[float]] = {}
    for burst in clean:
        ends = sorted(end for _, end in burst.succeeded)
        by_size.setdefault(burst.size, []).append(_staircase_rate(ends, alone))
    rates = {size: median(values) for size, values in sorted(by_size.items())}
    sizes = list(rates)
    largest = sizes[-1]
    stretch = _stretch(clean, largest, mean_alone)
    rises = len(sizes) > 1 and rates[largest] > RISES * rates[sizes[-2]]
    collapses = len(sizes) > 1 and _collapsed(clean, by_size, rates, largest)
    distorted = next((r for b in clean if b.size == largest and (r := _client_bound(b, rates[largest]))), None)
    # saturated: the last call waited long behind the others, so the drain is the system's and not the spread of
    # the release; and a larger burst does not drain faster
    # a burst must hold at least two rounds of the slots that its drain rate implies, or it saw the release only
    rounds = largest / max(1.0, rates[largest] * mean_alone)
    saturated = stretch >= 1.6 and rounds >= 1.5 and distorted is None and (not rises or rounds >= 2.2)
    if saturated and cv > SPREAD:
        # calls that take very different times end one after another without any queue: they must be slower than alone
        together = [end - start for b in clean if b.size == largest for start, end in b.succeeded]
        saturated = ranks_above(together, unloaded) > SURE
    if not saturated:
        proven = max(
            min(rates[largest], _proven_rate(clean, largest)), _slots_shown(clean, largest, ordered) / mean_alone
        )
        reason = distorted or (
            f"a burst of {largest} did not fill the system: its calls took {stretch:.1f} times as long as a single one"
        )
        return Capacity(
            Range(proven * 0.8, proven, float("inf")), False, _widest(proven * 0.8, mean_alone, cv, quiet or ordered),
            "not reached", reason, rates,
        )  # fmt: skip
    chosen = [s for s in sizes if s / max(1.0, rates[s] * mean_alone) >= 1.5 and rates[s] >= rates[largest] / RISES]
    chosen = [largest] if collapses else (chosen or [largest])
    values = [v for s in chosen for v in by_size[s]]
    weights = [s for s in chosen for _ in by_size[s]]
    rate = sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)
    error = _relative_error(values, weights, rate)
    half = max(0.05, 2 * error) + (0.05 if rounds < 2 else 0.0)
    stations, kind = _fit([b for b in clean if b.size in chosen], rate, mean_alone, cv)
    stations += _tailed(stations[0], quiet or ordered)
    # the last round of a burst leaves slots idle, which makes the drain look slow: the fit knows how slow
    rate *= stations[0].capacity / rate
    return Capacity(
        Range(rate * (1 - half), rate, rate * (1 + half)), True, stations, kind,
        f"bursts of {', '.join(str(s) for s in chosen)} drained at {rate:.0f} calls/s", rates, collapses,
    )  # fmt: skip


def _tailed(station: Station, unloaded: Sequence[float]) -> tuple[Station, ...]:
    """The station with the variation that single slow calls tell of, where that is much more than the usual one."""
    mean = sum(unloaded) / len(unloaded)
    wide = (sum((t - mean) ** 2 for t in unloaded) / max(1, len(unloaded) - 1)) ** 0.5 / mean if mean > 0 else 0.0
    # the slowest calls of such a kind are too rare to be in a small sample
    return (replace(station, cv=1.4 * wide),) if wide > max(0.5, 1.3 * station.cv) else ()


def _collapsed(bursts: Sequence[Burst], by_size: dict[int, list[float]], rates: dict[int, float], largest: int) -> bool:
    """Every repeat of the largest burst drained more slowly than the smaller ones, and not because of the client."""
    best = max(rate for size, rate in rates.items() if size != largest)
    mine = [b for b in bursts if b.size == largest]
    # a client whose own threads left one after another is slow by itself
    prompt = all(b.audit.send_lag_s < 0.15 * max(end for _, end in b.succeeded) for b in mine)
    return len(mine) >= 2 and prompt and max(by_size[largest]) < 0.75 * best


def _stretch(bursts: Sequence[Burst], size: int, alone: float) -> float:
    """How many times longer the later calls of a burst took than a single call does."""
    seen = []
    for burst in bursts:
        if burst.size == size:
            latencies = sorted(end - start for start, end in burst.succeeded)
            seen.append(latencies[int(0.9 * (len(latencies) - 1))])
    return median(seen) / alone if seen and alone > 0 else 0.0


def _proven_rate(bursts: Sequence[Burst], size: int) -> float:
    """Calls over the whole time of the burst, first to last: work that was really done."""
    return median([len(b.succeeded) / max(e for _, e in b.succeeded) for b in bursts if b.size == size])


def _slots_shown(bursts: Sequence[Burst], size: int, unloaded: Sequence[float]) -> float:
    """Slots that must be there for a burst's slow calls to be no slower than they were: at least this many."""
    alone = unloaded[int(0.9 * (len(unloaded) - 1))]
    seen = []
    for burst in bursts:
        if burst.size == size:
            latencies = sorted(end - start for start, end in burst.succeeded)
            seen.append(latencies[int(0.95 * (len(latencies) - 1))])
    slower = max(1.0, median(seen) / alone) if seen and alone > 0 else float("inf")
    return 0.85 * size / slower


def _client_bound(burst: Burst, rate: float) -> str | None:
    if burst.audit.cpu_share > 0.60:
        return (
            f"the client itself used {burst.audit.cpu_share:.0%} of a core during the burst, so its {rate:.0f} calls/s "
            "may be the client's and not the system's"
        )
    return None


def _widest(rate: float, alone: float, cv: float, unloaded: Sequence[float]) -> tuple[Station, ...]:
    slots = max(1, round(rate * alone))
    station = Station(slots, slots / rate if rate > 0 else alone, 0.0, cv)
    return _tailed(station, unloaded) or (station,)  # a bound is pessimistic


def _relative_error(values: Sequence[float], weights: Sequence[float], mean: float) -> float:
    """Standard error of the weighted mean, relative; 10 % for a single value."""
    if len(values) < 2 or mean <= 0:
        return 0.10
    total = sum(weights)
    variance = sum(w * (v - mean) ** 2 for v, w in zip(values, weights, strict=True)) / total
    effective = total * total / sum(w * w for w in weights)
    return (variance / max(1.0, effective - 1)) ** 0.5 / mean


def _fit(bursts: Sequence[Burst], rate: float, alone: float, cv: float) -> tuple[tuple[Station, ...], str]:
    """Slots and delay that reproduce the first waves: a pool's first wave ends as fast as one call alone."""
    most = max(1, round(rate * alone))
    candidates = sorted({1, most} | {m for m in (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192) if m < most})
    scored: list[tuple[float, Station]] = []
    for slots in candidates:
        for more in (1.0, 1.06, 1.12, 1.2) if slots * 4 > min(b.size for b in bursts) else (1.0,):
            service = slots / (rate * more)
            station = Station(slots, service, max(0.0, alone - service), cv)
            # the plain drain rate is believed unless another one explains the burst clearly better
            penalty = 1.0 if more == 1.0 else 1.1
            scored.append((penalty * sum(_misfit(b, station) for b in bursts) / len(bursts), station))
    scored.sort(key=lambda pair: pair[0])
    best = scored[0][0]
    near = tuple(s for score, s in scored if score <= best * 1.25 + 0.01)[:3]
    slots = near[0].slots
    if slots == 1:
        kind = "lock"
    elif slots >= 0.7 * most:
        kind = "pool"
    else:
        kind = "pool with a delay"
    return near, kind


def _misfit(burst: Burst, station: Station) -> float:
    """Mean absolute difference between the sorted ends seen and those the station gives, over the burst's length."""
    calls = sorted(burst.succeeded)
    starts = [start for start, _ in calls]
    seen = sorted(end for _, end in calls)
    total = [0.0] * len(seen)
    rounds = 3 if station.cv >= 0.02 else 1
    for seed in range(rounds):
        for i, end in enumerate(_replay(starts, station, seed)):
            total[i] += end / rounds
    return sum(abs(a - b) for a, b in zip(seen, total, strict=True)) / len(seen) / max(1e-9, seen[-1])


def _replay(starts: Sequence[float], station: Station, seed: int) -> list[float]:
    import heapq

    import numpy as np

    from weighbridge.checks.forecast.queueing import _draws

    service = _draws(station.service_s, station.cv, len(starts), np.random.default_rng(seed))
    free = [0.0] * station.slots
    ends = []
    # half of what happens outside the slots comes before them, half after: only the sum is known
    before = station.delay_s
    for start, held in zip(starts, service, strict=True):
        begin = max(free[0], start + before)
        heapq.heapreplace(free, begin + held)
        ends.append(begin + held)
    return sorted(ends)


# --- refusals --------------------------------------------------------------------------------------------------


def overlap(burst: Burst) -> list[int]:
    """For every refusal: successful calls that were in progress when it came back."""
    good = burst.succeeded
    return [sum(1 for s, e in good if s <= end <= e) for _, end, _ in burst.refused]


def ceiling_of(bursts: Sequence[Burst]) -> Range | None:
    """Calls in progress that the system allows at once, from bursts that were partly refused; None without one."""
    partly = [b for b in bursts if b.refused and b.succeeded]
    if not partly:
        return None
    seen = sorted(o for b in partly for o in overlap(b))
    if not seen:
        return None
    # what was in progress when refusals came back is the cap, seen late by a network's breath
    cap = max(median(seen), min(len(b.succeeded) for b in partly) if _short(partly) else 0)
    return Range(max(1.0, min(seen[len(seen) // 10], cap) * 0.97), cap, max(seen[-1], cap) * 1.03)


def _short(bursts: Sequence[Burst]) -> bool:
    """Whether all calls were sent before the first one ended: then what succeeded is the cap itself."""
    return all(max(s for s, _, _ in b.calls) < min(e for _, e in b.succeeded) for b in bursts)


def borne_at_once(bursts: Sequence[Burst]) -> float:
    """Calls in progress when others were refused, over the bursts; not those that were let in, for some had left."""
    seen = sorted(o for b in bursts if b.refused and b.succeeded for o in overlap(b))
    return float(max(1, median(seen))) if seen else 0.0


def let_in_late(level: Level, alone_s: float) -> tuple[int, int] | None:
    """(calls let in at once, calls let in after those and before any call had ended); None where nobody tells.

    A cap is full until somebody leaves, which is a service time after the first call; a bucket fills all the time.
    """
    calls = sorted(zip(level.starts, level.latencies, strict=True)) if level.starts else []
    if not calls or not level.failed:
        return None
    first = calls[0][0]
    free = min(*(start + latency for start, latency in calls), first + 0.9 * alone_s)
    # users who start together take a moment to be let in
    settled = first + 0.35 * (free - first)
    late = sum(1 for start, _ in calls if settled < start <= free)
    return sum(1 for start, _ in calls if start <= settled), late


def passing_rate(level: Level, alone_s: float) -> float:
    """Calls a second let in, once what was saved up at the start is spent."""
    since = min(1.2 * alone_s, level.seconds / 3)
    span = level.seconds - since
    passed = sum(1 for start in level.starts if start > since)
    return passed / span if level.starts and span > 0 else level.throughput


def in_progress(level: Level, alone_s: float) -> tuple[float, float] | None:
    """(calls in progress for all but 5 % of the time, on average), after the first service time, of those let in.

    The most at any moment would be the client's doing: an answer that it reads late overlaps with the next call.
    """
    calls = sorted(zip(level.starts, level.latencies, strict=True)) if level.starts else []
    if not calls:
        return None
    steps = sorted([(at, 1) for at, _ in calls] + [(at + latency, -1) for at, latency in calls])
    since, until = calls[0][0] + alone_s, calls[-1][0]
    now, before, peak = 0, since, 0
    held: dict[int, float] = {}
    for at, step in steps:
        if since < at <= until:
            held[now] = held.get(now, 0.0) + at - before
            before = at
        now += step
        peak = max(peak, now)
    total = sum(held.values())
    if total <= 0:
        return float(peak), float(peak)  # it was over before anybody could be let in again
    above, most = 0.0, 0
    for most in sorted(held, reverse=True):
        above += held[most]
        if above > 0.05 * total:
            break
    return float(most), sum(n * seconds for n, seconds in held.items()) / total


def ceiling_holds(bursts: Sequence[Burst], flat: Sequence[Level], alone_s: float) -> bool:
    """Whether a crowd of users without a pause was held to what a burst let through, all the time, as a cap does."""
    refused, through = _refusing(flat), borne_at_once(bursts)
    if not through or not refused or refused[0].users <= 0.9 * through:
        return False
    seen, entered = in_progress(refused[0], alone_s), let_in_late(refused[0], alone_s)
    if seen is None or entered is None:
        return False
    most, usual = seen
    # a call that is answered is in progress here for a network's breath longer than there
    return most <= 1.25 * through + 2 and usual >= 0.75 * through - 1 and entered[1] <= max(2, 0.2 * through)


def _refusing(flat: Sequence[Level]) -> list[Level]:
    return [lv for lv in flat if lv.failed >= 3 and lv.error_share > 0.02]


def bucket_of(bursts: Sequence[Burst], flat: Sequence[Level], alone_s: float) -> Bucket | None:
    """A token bucket, when levels without a pause were refused otherwise than a cap refuses; None where there is none.

    Its rate is None where it is a bucket and no level met its rate.
    """
    partly = [b for b in bursts if b.refused and b.succeeded]
    if not partly:
        return None
    size = max(len(b.succeeded) for b in partly)
    through = borne_at_once(bursts)
    refused = _refusing(flat)
    if not refused:
        # more in progress than a burst let through, and nobody refused: no cap, and its rate was not met
        most = max((lv.throughput * alone_s for lv in flat if lv.calls >= 20), default=0.0)
        return Bucket(float(size), None) if most > 1.2 * through else None
    if ceiling_holds(bursts, flat, alone_s):
        return None
    # the first of them also let through what was saved up; the last one only what came in
    last = refused[-1]
    rate = passing_rate(last, alone_s)
    passed = last.calls - last.failed
    if passed < 20 or rate <= 0 or last.calls < 40 or len(refused) < 2:
        return Bucket(float(size), None)
    half = max(0.05, 1.5 / passed + 0.5 / passed**0.5)
    return Bucket(float(size), Range.around(rate, min(0.5, half)))
