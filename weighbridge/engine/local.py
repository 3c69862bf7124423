"""Threads while one process can drive the users honestly, several processes beyond that."""

from __future__ import annotations

from collections.abc import Callable

from weighbridge.checks.forecast.plan import LoadPlan, Run
from weighbridge.engine.processes import ProcessEngine, cores
from weighbridge.engine.threads import ThreadEngine

__all__ = ["LocalEngine"]

BUSY = 0.45
"""Of a core: what one process may be expected to use. The audit voids latencies at 0.60."""


class LocalEngine:
    """Implements the `Engine` seam of checks on this machine.

    What a call costs the client is known from the level before; a level that would keep one interpreter busier than
    `BUSY` is driven from several. A burst is, once one before it was distorted.
    """

    def __init__(self, note: Callable[[str], None] = lambda _text: None) -> None:
        self._one, self._many = ThreadEngine(), ProcessEngine()
        self._note = note
        self._seen: dict[int, tuple[float, float]] = {}
        """Crew -> (client seconds a call, seconds a call) of its last level."""
        self._known: set[int] = set()
        self._crowded: set[int] = set()
        """Crews one of whose bursts the client distorted."""

    def run(self, plan: LoadPlan) -> Run:
        name = id(plan.crew)
        many = self._crowds(plan) and self._many.fits(plan)
        if many:
            self._note(f"{plan.users} users are driven from several processes")
            plan.crew.keep(1)  # the processes open their own, and the system must not hold twice as many
        elif plan.users > 1:
            self._many.leave(plan.crew)
        run = (self._many if many else self._one).run(plan)
        if name not in self._known:
            self._known.add(name)
            plan.crew.when_closed(lambda: self._forget(name))
        if run.level is not None and run.level.calls > run.level.failed:
            self._seen[name] = (run.level.audit.overhead_s, run.level.mean_s)
        if run.burst is not None and run.burst.audit.cpu_share > BUSY:
            self._crowded.add(name)
        return run

    def _forget(self, name: int) -> None:
        self._known.discard(name)
        self._seen.pop(name, None)
        self._crowded.discard(name)

    def _crowds(self, plan: LoadPlan) -> bool:
        if cores() < 2:
            return False
        if plan.burst:
            return id(plan.crew) in self._crowded
        seen = self._seen.get(id(plan.crew))
        if seen is None or plan.guards.error_share >= 1.0:
            return False  # what is held through every error is asked what is refused, not how long it takes
        overhead, latency = seen
        return overhead * plan.users / max(1e-6, plan.think_s + latency) > BUSY
