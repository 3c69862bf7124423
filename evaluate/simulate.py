"""Systems with known truth on a simulated clock: a pool or a lock, a token bucket and a cap, in any combination."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from weighbridge.checks.forecast.plan import Audit, Burst, Level
from weighbridge.checks.forecast.stats import level_of

REFUSAL_S = 0.002
BACK_OFF_S = 0.02
IDLE = Audit(cpu_share=0.1, send_lag_s=0.0)


@dataclass(frozen=True, slots=True)
class System:
    """What stands behind a point. `slots` calls at once, `service_s` each; `delay_s` outside the slots."""

    slots: int
    service_s: float
    delay_s: float = 0.0
    shape: str = "constant"
    cv: float = 0.0
    cap: int | None = None
    rate: float | None = None
    bucket: float = 0.0

    def scaled(self, factor: float) -> System:
        """The same system with `factor` times the capacity: more or fewer slots, or a faster lock."""
        if self.slots > 2:
            slots = max(1, round(self.slots * factor))
            service = self.service_s * slots / (self.slots * factor)
            return replace(self, slots=slots, service_s=service)
        return replace(self, service_s=self.service_s / factor)


class Simulation:
    """Implements `Drive`: the clock runs on from level to burst, and a bucket remembers."""

    def __init__(self, system: System, seed: int) -> None:
        self.system = system
        self.rng = np.random.default_rng(seed)
        self.now = 0.0
        self.tokens = system.bucket
        self.filled = 0.0
        self.free = [0.0] * system.slots
        self.inside: list[float] = []
        self._pool: list[float] = []

    def _service(self) -> float:
        if not self._pool:
            s, n = self.system, 4096
            if s.shape == "exponential":
                self._pool = self.rng.exponential(s.service_s, n).tolist()
            elif s.shape == "lognormal" and s.cv > 0:
                sigma2 = math.log(1 + s.cv**2)
                mean = math.log(s.service_s) - sigma2 / 2
                self._pool = self.rng.lognormal(mean, math.sqrt(sigma2), n).tolist()
            else:
                self._pool = [s.service_s] * n
        return self._pool.pop()

    def serve(self, at: float) -> tuple[float, bool]:
        """(time the answer is there, whether it was refused) for a call at `at`; calls come in order of time."""
        s = self.system
        if s.cap is not None:
            while self.inside and self.inside[0] <= at:
                heapq.heappop(self.inside)
            if len(self.inside) >= s.cap:
                return at + REFUSAL_S, True
        if s.rate is not None:
            self.tokens = min(s.bucket, self.tokens + (at - self.filled) * s.rate)
            self.filled = at
            if self.tokens < 1:
                return at + REFUSAL_S, True
            self.tokens -= 1
        begin = max(self.free[0], at + s.delay_s / 2)
        end = begin + self._service()
        heapq.heapreplace(self.free, end)
        done = end + s.delay_s / 2
        if s.cap is not None:
            heapq.heappush(self.inside, done)
        return done, False

    def run(
        self, users: int, think_s: float, seconds: float, calls: int, warm_s: float, back_off_s: float = BACK_OFF_S
    ) -> tuple[list, Counter, int]:
        start = self.now
        thinks: list[float] = []

        def think() -> float:
            nonlocal thinks
            if think_s <= 0:
                return 0.0
            if not thinks:
                thinks = self.rng.exponential(think_s, 2048).tolist()
            return thinks.pop()

        ready = (start + self.rng.exponential(think_s, users) if think_s > 0 else np.full(users, start)).tolist()
        heapq.heapify(ready)
        good: list[tuple[float, float]] = []
        failed: list[float] = []
        sent = 0
        end = start + seconds
        last = start
        while sent < calls and ready[0] < end:
            at = ready[0]
            done, refused = self.serve(at)
            sent += 1
            last = max(last, done)
            if refused:
                failed.append(at)
            else:
                good.append((done, done - at))
            heapq.heapreplace(ready, done + (max(think(), back_off_s) if refused else think()))
        self.now = max(end if sent < calls else last, last)
        warm = start + min(warm_s, (self.now - start) / 4)
        errors = Counter({"ThrottledError": n} if (n := sum(at >= warm for at in failed)) else {})
        return [(done, latency) for done, latency in good if done - latency >= warm], errors, sent

    # --- Drive --------------------------------------------------------------------------------------------------

    def level(self, users: int, think_s: float, seconds: float, calls: int) -> Level:
        return self._hold(users, think_s, seconds, calls, 0.5 if users > 1 else 0.0)

    def _hold(
        self, users: int, think_s: float, seconds: float, calls: int, warm: float, back_off_s: float = BACK_OFF_S
    ) -> Level:
        start = self.now
        good, errors, sent = self.run(users, think_s, seconds, calls, warm, back_off_s)
        good.sort()
        warm = min(warm, (self.now - start) / 4)
        # calls are counted by when they were sent, so the time ends with the sending and not with the last answer
        sending = max(done - latency for done, latency in good) - start if sent >= calls and good else seconds
        span = max(1e-6, sending - warm)
        latencies = [latency for _, latency in good]
        return level_of(
            latencies, errors, users=users, think_s=think_s, seconds=span, sent=sent, audit=IDLE,
            elapsed_s=self.now - start, starts=[done - latency - start for done, latency in good],
        )  # fmt: skip

    def flat_out(self, users: int, seconds: float, calls: int, *, back_off_s: float = BACK_OFF_S) -> Level:
        return self._hold(users, 0.0, seconds, calls, 0.0, back_off_s)

    def burst(self, size: int) -> Burst:
        # a client's threads are released one after the other: 0.1 ms each, give or take
        starts = np.sort(self.rng.uniform(0, 1e-4 * size, size)).tolist()
        calls = []
        for start in starts:
            done, refused = self.serve(self.now + start)
            calls.append((start, done - self.now, "ThrottledError" if refused else "ok"))
        at = self.now
        self.now += max(end for _, end, _ in calls)
        return Burst(size, tuple(calls), IDLE, at)

    def pause(self, seconds: float) -> None:
        self.now += seconds


def truth(system: System, think_s: float, objective_s: float, error_objective: float, *, most: int = 6_000) -> float:
    """Users at which the 95th percentile or the errors pass their objective, by running the users (simulated)."""

    def breaks(users: int) -> bool:
        simulation = Simulation(system, 1_000_003 + users)
        per_second = users / (think_s + objective_s)
        if system.rate is not None:
            # what a bucket holds is spent before the measuring starts
            simulation.tokens = 0.0
        calls = int(min(30_000, max(4_000, 6 * users)))
        seconds = max(5.0, 4 * calls / max(1.0, per_second))
        good, errors, _ = simulation.run(users, think_s, seconds, calls, think_s + 2 * objective_s)
        failed = sum(errors.values())
        if failed > error_objective * (failed + len(good)):
            return True
        ordered = sorted(latency for _, latency in good)
        return not ordered or ordered[math.ceil(0.95 * len(ordered)) - 1] > objective_s

    low, high = 0, 8
    while not breaks(high):
        low, high = high, high * 2
        if high > most:
            return float(most)
    while high - low > max(1, high // 60):
        middle = (low + high) // 2
        low, high = (low, middle) if breaks(middle) else (middle, high)
    return (low + high) / 2
