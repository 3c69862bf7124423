"""What an engine is asked to drive and what it brings back: plans, levels, bursts and the engine's audit of itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from weighbridge.connectors.base import Connector, Key, Loadable, Operation
from weighbridge.connectors.errors import UnreachableError

__all__ = ["Audit", "Burst", "Crew", "Drive", "Guards", "Level", "LoadPlan", "Run"]


@dataclass(frozen=True, slots=True)
class Guards:
    """When a run stops itself."""

    error_share: float = 0.10
    """Stop when more than this share of at least `least_calls` calls failed."""
    least_calls: int = 20
    latency_s: float | None = None
    """Stop when the median of the last calls is above this."""
    calls: int | None = None
    """Stop before this many calls are exceeded."""
    seconds: float = 60.0
    """Wall time after which nothing is started any more, and calls in progress are waited for `grace_s` at most."""
    grace_s: float = 5.0


class Crew:
    """Connectors opened beforehand, one a virtual user; kept over the levels and bursts of one point.

    `connect` gives an open connector of its own for one thread. Not thread safe but for `connector(i)` with
    different `i` after `grow`.
    """

    def __init__(self, connect: Callable[[], Connector]) -> None:
        self._connect = connect
        self._members: list[Connector | None] = []
        self._abandoned: list[Connector] = []
        self._left: dict[int, int] = {}
        """User -> how often a call of that user was left behind, perhaps while it still opened the connection."""
        self._ready: dict[int, Mapping[str, Operation]] = {}
        self._beside: list[Callable[[], None]] = []
        self.warm: set[int] = set()

    def when_closed(self, let_go: Callable[[], None]) -> None:
        """Call `let_go` when the crew is let go: what an engine holds on to between levels of this point."""
        self._beside.append(let_go)

    def grow(self, size: int) -> None:
        self._members.extend([None] * (size - len(self._members)))

    def connector(self, number: int) -> Connector:
        if number >= len(self._members):
            raise UnreachableError("the crew was let go while this user was still opening a connection")
        member = self._members[number]
        if member is None:
            before = self._left.get(number, 0)
            member = self._connect()
            if number >= len(self._members):
                member.close()
                raise UnreachableError("the crew was let go while this user was still opening a connection")
            if self._left.get(number, 0) != before:
                self._abandoned.append(member)
                raise UnreachableError("this user was given up while the connection was being opened")
            self._members[number] = member
        return member

    def operations(self, number: int, object: str, keys: Sequence[Key]) -> Mapping[str, Operation]:
        """The operations of one user, made once: `object` is the crew's one object."""
        ready = self._ready.get(number)
        if ready is None:
            facet = self.connector(number).facet(Loadable)
            if facet is None:
                raise TypeError("a crew needs connectors whose everyday operations can be run")
            ready = self._ready[number] = facet.operations(object, keys)
        return ready

    def drop(self, number: int) -> None:
        """Forget a connector that failed; the next use opens another."""
        if number >= len(self._members):
            return  # a call that came back after the crew was let go
        member, self._members[number] = self._members[number], None
        self._ready.pop(number, None)
        self.warm.discard(number)
        if member is not None:
            member.close()

    def keep(self, first: int) -> None:
        """Let go of the connections of all users but the first ones: no system is to hold two for one user."""
        for number in range(first, len(self._members)):
            self.drop(number)

    def abandon(self, number: int) -> None:
        """Leave a connector to the call that is still using it: nobody else may; it is closed with the crew."""
        if number < len(self._members):
            self._left[number] = self._left.get(number, 0) + 1
            member, self._members[number] = self._members[number], None
            self._ready.pop(number, None)
            self.warm.discard(number)
            if member is not None:
                self._abandoned.append(member)

    def close(self) -> None:
        beside, self._beside = self._beside, []
        for let_go in beside:
            let_go()
        members, self._members = [*self._members, *self._abandoned], []
        self._abandoned.clear()
        self.warm.clear()
        self._ready.clear()
        for member in members:
            if member is not None:
                member.close()


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """One level (users who call and think) or, with `burst`, one barrier release of `users` simultaneous calls."""

    crew: Crew
    object: str
    keys: Sequence[Key]
    shares: Mapping[str, float]
    """Operation -> share of the calls."""
    users: int
    think_s: float = 0.0
    """Mean of the exponential pause between one user's calls."""
    seconds: float = 5.0
    warm_up_s: float = 0.5
    burst: bool = False
    guards: Guards = field(default_factory=Guards)
    seed: int = 0
    back_off_s: float = 0.02
    """Least pause of a user after an error, so that refusals do not become a storm."""
    first_moment: bool = False
    """Whether a level's very first calls matter: then it is not driven from other machines."""

    @property
    def from_here(self) -> bool:
        return self.burst or self.first_moment


@dataclass(frozen=True, slots=True)
class Audit:
    """Whether the load generator itself distorted what it measured."""

    cpu_share: float
    """Client CPU seconds over wall seconds, in cores; of the busiest process where several drive."""
    send_lag_s: float
    """95th percentile of (really sent - meant to be sent)."""
    overhead_s: float = 0.0
    """Client seconds a call costs outside the wire, mean."""

    def distorted(self, objective_s: float) -> str | None:
        """Why a latency verdict from this run is void, None where it is not."""
        if self.cpu_share > 0.60:
            return f"the client used {self.cpu_share:.0%} of a core (limit 60 %)"
        if self.send_lag_s > 0.05 * objective_s:
            return (
                f"calls left {self.send_lag_s * 1000:.0f} ms late (limit {0.05 * objective_s * 1000:.0f} ms, "
                "5 % of the latency objective)"
            )
        return None


@dataclass(frozen=True, slots=True)
class Level:
    """What `users` virtual users saw while held."""

    users: int
    think_s: float
    seconds: float
    """Measured, after the warm-up."""
    calls: int
    errors: Mapping[str, int]
    """Error class -> calls, in the measured part."""
    throughput: float
    """Successful calls a second."""
    mean_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    p95_low_s: float
    p95_high_s: float
    """95 % confidence ends of the 95th percentile, from order statistics."""
    sd_s: float
    sent: int
    """All calls sent, warm-up included."""
    audit: Audit
    stopped: str | None = None
    latencies: Sequence[float] = field(default=(), repr=False)
    """Seconds from the intended start, successful calls in order of completion."""
    elapsed_s: float = 0.0
    starts: Sequence[float] = field(default=(), repr=False)
    """When each of `latencies` started, seconds into the level; empty where the engine does not say."""

    @property
    def failed(self) -> int:
        return sum(self.errors.values())

    @property
    def error_share(self) -> float:
        return self.failed / self.calls if self.calls else 0.0

    def summary(self) -> dict[str, Any]:
        """For the report."""
        return {
            "users": self.users, "think_s": self.think_s, "seconds": round(self.seconds, 3), "calls": self.calls,
            "errors": dict(self.errors), "throughput": round(self.throughput, 3), "mean_ms": _ms(self.mean_s),
            "p50_ms": _ms(self.p50_s), "p95_ms": _ms(self.p95_s), "p99_ms": _ms(self.p99_s),
            "p95_ci_ms": [_ms(self.p95_low_s), _ms(self.p95_high_s)], "stopped": self.stopped,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Burst:
    """One barrier release: per call (seconds from release at which it was sent, at which it ended, outcome)."""

    size: int
    calls: Sequence[tuple[float, float, str]]
    """Outcome `ok` or the name of the error class."""
    audit: Audit
    at: float = 0.0
    """Monotonic seconds of the release."""

    @property
    def succeeded(self) -> list[tuple[float, float]]:
        return [(start, end) for start, end, outcome in self.calls if outcome == "ok"]

    @property
    def refused(self) -> list[tuple[float, float, str]]:
        return [call for call in self.calls if call[2] != "ok"]

    def summary(self) -> dict[str, Any]:
        """For the report."""
        ends = sorted(end for _, end in self.succeeded)
        classes: dict[str, int] = {}
        for _, _, outcome in self.refused:
            classes[outcome] = classes.get(outcome, 0) + 1
        return {
            "size": self.size, "succeeded": len(ends), "refused": classes,
            "first_ms": _ms(ends[0]) if ends else None, "last_ms": _ms(ends[-1]) if ends else None,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """What `Engine.run` returns: the level or the burst that was asked for."""

    level: Level | None = None
    burst: Burst | None = None


class Drive(Protocol):
    """Runs levels and bursts: a load engine against a real system, or a simulation of one."""

    def level(self, users: int, think_s: float, seconds: float, calls: int) -> Level:
        """Hold `users` for `seconds`, at most `calls` calls."""
        ...

    def flat_out(self, users: int, seconds: float, calls: int, *, back_off_s: float = 0.02) -> Level:
        """Hold `users` who do not pause, through refusals, counted from the very first call."""
        ...

    def burst(self, size: int) -> Burst:
        """Release `size` calls at once."""
        ...

    def pause(self, seconds: float) -> None:
        """Leave the system alone."""
        ...


def _ms(seconds: float) -> float | None:
    return None if math.isnan(seconds) else round(seconds * 1000, 2)
