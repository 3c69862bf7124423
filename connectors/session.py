"""The policy a connector works under: retries, deadline, budget, meter, route, and whether it may write.

A connector is handed a `Session` and asks it before every attempt; so one place decides how hard a system may be
pressed, and one place counts what was really sent.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from weighbridge.connectors.errors import BudgetExceeded, RetriableError, WriteForbidden

__all__ = ["NO_RETRY", "Attempt", "Budget", "Endpoint", "Meter", "Retry", "Session"]

T = TypeVar("T")
KEPT_ATTEMPTS = 10_000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a socket is dialled."""

    host: str
    port: int
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """Backoff with full jitter within a total deadline (seconds), after a `RetriableError` only.

    The pause before attempt n is drawn from [0, min(cap, base x 2^(n-1))], or is the system's own Retry-After where
    that is given and fits the deadline.
    """

    attempts: int = 5
    base: float = 0.25
    cap: float = 20.0
    deadline: float = 90.0


NO_RETRY = Retry(attempts=1, deadline=float("inf"))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One thing sent to the system: when (monotonic seconds), for how long, and how it ended."""

    at: float
    seconds: float
    outcome: str
    """`ok`, else the name of the error class."""
    operation: str = ""


class Meter:
    """Counts at the wire, thread safe: attempts, bytes, rows, seconds; keeps the last attempts for the books."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.attempts = 0
        self.retries = 0
        self.rows = 0
        self.bytes_sent = 0
        self.bytes_received = 0
        self.seconds = 0.0
        self.recent: deque[Attempt] = deque(maxlen=KEPT_ATTEMPTS)

    def add(self, attempt: Attempt) -> None:
        with self._lock:
            self.attempts += 1
            self.seconds += attempt.seconds
            self.recent.append(attempt)

    def book(self, attempts: int, seconds: float) -> None:
        """Count attempts that another process made; their single outcomes stay there."""
        with self._lock:
            self.attempts += attempts
            self.seconds += seconds

    def count(self, *, rows: int = 0, sent: int = 0, received: int = 0, retries: int = 0) -> None:
        with self._lock:
            self.rows += rows
            self.bytes_sent += sent
            self.bytes_received += received
            self.retries += retries


class Budget:
    """A ceiling on attempts, shared by all sessions of one system; None is no ceiling."""

    def __init__(self, calls: int | None = None) -> None:
        self._lock = threading.Lock()
        self.cap = calls
        self.used = 0

    def spend(self, system: str) -> None:
        """Take one call or raise `BudgetExceeded`."""
        with self._lock:
            if self.cap is not None and self.used >= self.cap:
                raise BudgetExceeded(
                    f"{system}: the call budget of {self.cap} is spent.",
                    remedy=f"Raise call_budget of [systems.{system}] or select fewer checks.",
                )
            self.used += 1

    def book(self, calls: int) -> None:
        """Count calls that another process sent on this budget's behalf."""
        with self._lock:
            self.used += calls

    @property
    def left(self) -> int | None:
        return None if self.cap is None else max(0, self.cap - self.used)


def _same(endpoint: Endpoint) -> Endpoint:
    return endpoint


@dataclass(slots=True)
class Session:
    """What a connector may do and how it is counted; `fork` gives a changed copy that shares budget and meter."""

    system: str = "system"
    environment: str = "sandbox"
    timeout: float = 30.0
    """Seconds for one attempt, connect and read alike."""
    retry: Retry = field(default_factory=Retry)
    budget: Budget = field(default_factory=Budget)
    meter: Meter = field(default_factory=Meter)
    route: Callable[[Endpoint], Endpoint] = _same
    """Where to dial instead: how a fault proxy is slipped in."""
    writes_allowed: bool = False
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    random: random.Random = field(default_factory=random.Random)

    @property
    def direct(self) -> bool:
        """Whether sockets are dialled where the system is, and not by way of a proxy of ours."""
        return self.route is _same

    def fork(self, **changes: object) -> Session:
        return replace(self, **changes)  # type: ignore[arg-type]  # names are checked by replace itself

    @contextmanager
    def attempt(self, operation: str = "") -> Iterator[None]:
        """Wrap exactly one send: spends the budget, times it, books its outcome."""
        self.budget.spend(self.system)
        started = self.clock()
        outcome = "ok"
        try:
            yield
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            self.meter.add(Attempt(started, self.clock() - started, outcome, operation))

    def run(self, call: Callable[[], T], *, operation: str = "", idempotent: bool = True) -> T:
        """Call once, and again after a `RetriableError` while policy and deadline allow.

        A call that is not idempotent is never sent twice: the caller must look at the system first.
        """
        started = self.clock()
        tries = self.retry.attempts if idempotent else 1
        for number in range(1, tries + 1):
            try:
                with self.attempt(operation):
                    return call()
            except RetriableError as error:
                pause = self._pause(number, error.retry_after)
                late = self.clock() - started + pause > self.retry.deadline
                if number == tries or late:
                    raise
            self.meter.count(retries=1)
            self.sleep(pause)
        raise AssertionError("unreachable: the loop returns or raises")

    def _pause(self, number: int, retry_after: float | None) -> float:
        if retry_after is not None:
            return retry_after + self.random.uniform(0, self.retry.base)
        return self.random.uniform(0, min(self.retry.cap, self.retry.base * 2 ** (number - 1)))

    def require_writes(self, what: str) -> None:
        """Raise `WriteForbidden` unless this session may write."""
        if not self.writes_allowed:
            raise WriteForbidden(
                f"{self.system}: {what} was asked for, but nothing may be written here.",
                remedy="Writes need read_only = false here and the contract's customProperty weighbridge.writes: true.",
            )
