"""Puts a load engine in front of one point: levels and bursts, paced under the rate limits that are known.

A window that lets 1,000 calls through in 5 s is not there to be met by surprise: what is known is kept to at 70 %, so
that the probe weighs the system and not its limiter.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from weighbridge.checks.base import Engine
from weighbridge.checks.forecast.plan import Burst, Crew, Guards, Level, LoadPlan
from weighbridge.checks.forecast.weigh import Exhausted
from weighbridge.connectors.base import Key

__all__ = ["EngineDrive", "Pace"]

POLITE = 0.7


class Pace:
    """Calls sent within a sliding window, kept under a share of its cap; a cap of None never waits."""

    def __init__(
        self, cap: float | None, window_s: float, *, patience_s: float,
        clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep,
        spent: Iterable[float] = (),
    ) -> None:  # fmt: skip
        self.cap = None if cap is None else POLITE * cap
        self.window_s = window_s
        self._patience = patience_s
        self._clock, self._sleep = clock, sleep
        # what other checks and points of this run have just sent counts in the same window
        self._sent: deque[tuple[float, int]] = deque((at, 1) for at in sorted(spent))

    @property
    def rate(self) -> float:
        """Calls a second that may be held."""
        return float("inf") if self.cap is None else self.cap / self.window_s

    def room(self) -> float:
        """Calls that may leave now."""
        if self.cap is None:
            return float("inf")
        edge = self._clock() - self.window_s
        while self._sent and self._sent[0][0] <= edge:
            self._sent.popleft()
        return self.cap - sum(n for _, n in self._sent)

    def room_for(self, seconds: float) -> float:
        """Calls that may leave over a level of so many seconds: more than now only where it outlasts the window."""
        return self.room() + (self.rate * (seconds - self.window_s) if seconds > self.window_s else 0.0)

    def take(self, calls: int) -> None:
        """Wait until `calls` may leave; raises `Exhausted` when that needs more patience than there is."""
        if self.cap is not None and calls > self.cap:
            raise Exhausted(f"{calls} calls at once do not fit the known limit ({self.cap / POLITE:g} a window)")
        while self.room() < calls:
            wait = max(0.01, self._sent[0][0] + self.window_s - self._clock())
            if wait > self._patience:
                raise Exhausted("waiting for the known rate limit would take too long")
            self._patience -= wait
            self._sleep(wait)

    def wait_out(self) -> bool:
        """Leave the system alone until a whole window has passed, where a window is known and patience lasts."""
        if self.cap is None or self.window_s > self._patience:
            return False
        self._patience -= self.window_s
        self._sleep(self.window_s)
        return True

    def sent(self, calls: int) -> None:
        if self.cap is not None:
            self._sent.append((self._clock(), calls))


class EngineDrive:
    """Implements `Drive` with an engine; close it to let go of the connections."""

    def __init__(
        self, engine: Engine, crew: Crew, *, object: str, keys: Sequence[Key], shares: Mapping[str, float],
        guards: Guards, pace: Pace, seed: int, progress: Callable[[str], None] = lambda _m: None,
    ) -> None:  # fmt: skip
        self._engine, self._crew, self._pace = engine, crew, pace
        self._object, self._keys, self._shares = object, keys, shares
        self._guards, self._seed, self._progress = guards, seed, progress
        self._number = 0

    def level(self, users: int, think_s: float, seconds: float, calls: int) -> Level:
        level = self._held(users, think_s, seconds, calls)
        # less was sent than the known limit lets through: somebody else, or an earlier run, has used the window
        if "ThrottledError" in level.errors and self._pace.wait_out():
            again = self._held(users, think_s, seconds, calls)
            level = replace(again, sent=level.sent + again.sent)
        return level

    def _held(self, users: int, think_s: float, seconds: float, calls: int) -> Level:
        self._progress(f"{users} users")
        cold = sum(1 for i in range(users) if i not in self._crew.warm)
        calls = max(1, int(min(calls, self._pace.room_for(seconds) - cold)))
        run = self._engine.run(self._plan(users, think_s, seconds, calls, self._keys, burst=False))
        self._pace.sent(run.level.sent)
        return run.level

    def burst(self, size: int) -> Burst:
        self._progress(f"a burst of {size}")
        cold = sum(1 for i in range(size) if i not in self._crew.warm)
        self._pace.take(size + cold)
        burst = self._engine.run(self._plan(size, 0.0, 1.0, 2 * size, self._keys, burst=True)).burst
        self._pace.sent(size + cold)
        if any(outcome == "ThrottledError" for _, _, outcome in burst.calls) and self._pace.wait_out():
            burst = self._engine.run(self._plan(size, 0.0, 1.0, 2 * size, self._keys, burst=True)).burst
            self._pace.sent(size)
        return burst

    def flat_out(self, users: int, seconds: float, calls: int, *, back_off_s: float = 0.02) -> Level:
        self._progress(f"{users} users without a pause")
        plan = self._plan(users, 0.0, seconds, calls, self._keys, burst=False)
        open_guard = replace(plan.guards, error_share=1.0)
        run = self._engine.run(
            replace(plan, guards=open_guard, warm_up_s=0.0, back_off_s=back_off_s, first_moment=True)
        )
        self._pace.sent(run.level.sent)
        return run.level

    def same_key(self, calls: int) -> Level:
        """One user asking for one key over and over."""
        calls = max(1, int(min(calls, self._pace.room())))
        run = self._engine.run(self._plan(1, 0.0, 2.0, calls, self._keys[:1], burst=False))
        self._pace.sent(run.level.sent)
        return run.level

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def _plan(
        self, users: int, think_s: float, seconds: float, calls: int, keys: Sequence[Key], *, burst: bool
    ) -> LoadPlan:
        self._number += 1
        guards = Guards(
            error_share=self._guards.error_share, least_calls=self._guards.least_calls,
            latency_s=self._guards.latency_s, calls=calls, seconds=min(self._guards.seconds, max(seconds, 10.0)),
            grace_s=self._guards.grace_s,
        )  # fmt: skip
        return LoadPlan(
            crew=self._crew,
            object=self._object,
            keys=keys,
            shares=self._shares,
            users=users,
            think_s=think_s,
            seconds=seconds,
            burst=burst,
            guards=guards,
            seed=self._seed * 7919 + self._number,
        )
