"""Closed queues: users who call, wait, think and call again, in front of a pool, a lock or a cap.

Laws (Little; Denning and Buzen's operational laws): X = N / (R + Z), concurrency = X R, X <= capacity. The place
where the 95th percentile crosses an objective has no law worth trusting, so it is simulated.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from functools import lru_cache

__all__ = [
    "Station",
    "bucket_load",
    "crossing",
    "engset_blocking",
    "erlang_load",
    "machine_repair",
    "open_rate",
    "simulate",
    "users_at_blocking",
]

MOST_USERS = 2_000
"""Above this the crossing is found with fewer users who call more often: the arrivals are as good as Poisson."""


@dataclass(frozen=True, slots=True)
class Station:
    """`slots` served at once, each held for `service_s` (variation `cv`), and `delay_s` outside the slots."""

    slots: int
    service_s: float
    delay_s: float = 0.0
    cv: float = 0.0

    @property
    def capacity(self) -> float:
        return self.slots / self.service_s if self.service_s > 0 else float("inf")

    @property
    def unloaded_s(self) -> float:
        return self.service_s + self.delay_s


def _draws(mean: float, cv: float, n: int, rng) -> list[float]:
    if mean <= 0 or cv < 0.02:
        return [mean] * n
    sigma2 = math.log(1 + cv * cv)
    return rng.lognormal(math.log(mean) - sigma2 / 2, math.sqrt(sigma2), n).tolist()


def simulate(
    station: Station, users: int, think_s: float, *, calls: int = 4000, seed: int = 0, exponential: bool = False
) -> list[float]:
    """Latencies of `calls` calls in the steady state, in order of arrival."""
    import numpy as np

    rng = np.random.default_rng(seed)
    warm = max(200, calls // 4, users)
    total = calls + warm
    if exponential:
        service = rng.exponential(station.service_s, total).tolist()
    else:
        service = _draws(station.service_s, station.cv, total, rng)
    thinks = rng.exponential(think_s, total).tolist() if think_s > 0 else [0.0] * total
    # start near the steady state: who does not fit in thinking and in service stands in the queue already
    queued = max(0, min(users, int(users - station.capacity * (think_s + station.delay_s))))
    first = rng.exponential(think_s, users - queued).tolist() if think_s > 0 else [0.0] * (users - queued)
    ready = [0.0] * queued + first
    heapq.heapify(ready)
    free = [0.0] * station.slots
    delay = station.delay_s
    out: list[float] = []
    replace, replace_free = heapq.heapreplace, heapq.heapreplace
    for i in range(total):
        at = ready[0]
        start = max(at, free[0])
        end = start + service[i]
        replace_free(free, end)
        done = end + delay
        if i >= warm:
            out.append(done - at)
        replace(ready, done + thinks[i])
    return out


def p95(values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(0.95 * len(ordered)) - 1)]


@lru_cache(maxsize=512)
def crossing(station: Station, think_s: float, objective_s: float, seed: int = 0) -> float:
    """Users at which the 95th percentile of the latency crosses the objective; 0 when one user is above it."""
    capacity = station.capacity
    if station.unloaded_s > objective_s:
        return 0.0
    crude = capacity * (think_s + objective_s)
    if crude > MOST_USERS:
        short = max(0.0, MOST_USERS / capacity - objective_s)
        if short < think_s:
            users, mean = _bisect(station, short, objective_s, seed)
            return users / (short + mean) * (think_s + mean)
    return _bisect(station, think_s, objective_s, seed)[0]


def _bisect(station: Station, think_s: float, objective_s: float, seed: int) -> tuple[float, float]:
    low, high = 1.0, station.capacity * (think_s + objective_s) * 1.15 + station.slots * 0.2 + 3
    mean = station.unloaded_s
    while high / low > 1.02 and high - low > 0.6:
        middle = max(low + 0.3, (low * high) ** 0.5 if high > 4 * low else (low + high) / 2)
        users = max(1, round(middle))
        seen = simulate(station, users, think_s, calls=min(12_000, max(2_500, 5 * users)), seed=seed)
        if p95(seen) > objective_s:
            high = middle
        else:
            low = middle
            mean = sum(seen) / len(seen)
    return (low + high) / 2, mean


def machine_repair(users: int, slots: int, service_s: float, think_s: float) -> tuple[float, float]:
    """(calls a second, mean latency) of M/M/slots//users, exactly, by its birth-death chain."""
    if think_s <= 0:
        busy = min(users, slots)
        rate = busy / service_s
        return rate, users / rate
    weight, total, busy_sum, inside = 1.0, 1.0, 0.0, 0.0
    ratio = service_s / think_s
    for n in range(1, users + 1):
        weight *= (users - n + 1) * ratio / min(n, slots)
        if total > 1e200:
            weight, total, busy_sum, inside = weight / 1e200, total / 1e200, busy_sum / 1e200, inside / 1e200
        total += weight
        busy_sum += weight * min(n, slots)
        inside += weight * n
    rate = busy_sum / total / service_s
    return rate, (inside / total) / rate


def engset_blocking(users: int, slots: int, offered: float) -> float:
    """Share of calls refused when `users` with `offered` = service / think meet `slots` without a queue (Engset)."""
    if users <= slots:
        return 0.0
    blocking = 1.0
    for i in range(1, slots + 1):
        a = (users - i) * offered * blocking
        blocking = a / (i + a)
    return blocking


def open_rate(most: float, service_s: float, variation: float, tail_s: float, objective_s: float) -> float:
    """Calls a second, no more than `most`, that may come unasked and still meet the objective.

    A few users who wait for their answers hold themselves back; a crowd does not. What a few were seen to sustain is
    taken for the work of the fewest slots that could have done it (a tenth of error allowed), and carried to calls that
    come at random: Erlang C, its tail stretched by the variation of the service. `tail_s` is the unloaded 95th
    percentile; a wait may fill what is left of the objective in 3 of 100 calls.
    """
    left = objective_s - tail_s
    if left <= 0 or most <= 0 or service_s <= 0:
        return 0.0
    slots = max(1, math.ceil(0.9 * most * service_s))
    stretch = (1 + variation**2) / 2

    def holds(rate: float) -> bool:
        load = rate * service_s
        if load >= slots:
            return False
        blocking = 1.0
        for number in range(1, slots + 1):
            blocking = load * blocking / (number + load * blocking)
        waits = slots * blocking / (slots - load * (1 - blocking))
        return waits * math.exp(-(slots / service_s - rate) * left / stretch) <= 0.03

    if holds(most):
        return most
    low, high = 0.0, most
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def users_at_blocking(slots: int, service_s: float, think_s: float, share: float) -> float:
    """Users at which `share` of the calls is refused by `slots` slots."""
    if slots <= 0:
        return 0.0
    if think_s <= 0:
        return float(slots)
    offered = service_s / think_s
    low, high = slots, slots + 1
    while engset_blocking(high, slots, offered) <= share:
        low, high = high, high * 2
        if high > 10_000_000:
            return float(high)
    while high - low > 1:
        middle = (low + high) // 2
        if engset_blocking(middle, slots, offered) > share:
            high = middle
        else:
            low = middle
    return float(low)


def erlang_load(slots: float, share: float) -> float:
    """Mean calls in progress that `slots` carry while at most `share` of the calls is refused (Erlang B)."""
    whole = int(slots)
    if whole <= 0:
        return 0.0

    def refused(load: float) -> float:
        blocking = 1.0
        for i in range(1, whole + 1):
            blocking = load * blocking / (i + load * blocking)
        return blocking

    low, high = 0.0, float(whole)
    while refused(high) < share:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if refused(middle) <= share else (low, middle)
    return low


def bucket_load(size: float, share: float) -> float:
    """Calls sent over tokens filled in at which a bucket of `size` refuses `share` of the calls.

    Diffusion of M/D/1/K: at equal rates 1 in 2 `size` is refused; a large bucket refuses only what exceeds its rate.
    """
    size = max(1.0, size - 1)

    def refused(load: float) -> float:
        over = (load - 1) / load
        drift = 2 * over * size
        if abs(drift) < 1e-6:
            return 1 / (2 * size)
        if drift < -500:
            return 0.0
        return over / (1 - math.exp(-drift))

    low, high = 0.05, 1 / (1 - min(0.9, share)) + 0.01
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if refused(middle) <= share else (low, middle)
    return low
