"""One process of a load engine: opens the system anew and drives its share of the users when told to.

Orders come as pickles on standard input from the process that started it, answers go to standard output; it ends when
its input does. So credentials travel through a pipe and never over a command line, a file or a network.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import struct
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any

from weighbridge.checks.forecast.plan import Crew, Guards, LoadPlan
from weighbridge.connectors.base import Connector, ConnectorOptions, Key, Loadable
from weighbridge.connectors.session import NO_RETRY, Budget, Session

__all__ = ["COMMAND", "Answer", "Go", "Prepare", "Seat", "Stop", "main", "receive", "send"]

COMMAND = "from weighbridge.engine.member import main; main()"
"""For `python -c`: a module that is run is another one, whose messages nobody could read."""

_HEAD = struct.Struct("!Q")


@dataclass(frozen=True, slots=True)
class Seat:
    """What another process needs to open the same system as the same user."""

    connector: type[Connector]
    options: ConnectorOptions
    system: str
    environment: str
    timeout: float
    writes: bool

    @classmethod
    def of(cls, connector: Connector) -> Seat | None:
        """None where another process cannot: a class of the main script, a route through a proxy of ours."""
        kind, session = type(connector), connector.session
        if kind.__module__ == "__main__" or "<locals>" in kind.__qualname__ or not session.direct:
            return None
        return cls(
            kind, connector.options, session.system, session.environment, session.timeout, session.writes_allowed
        )

    def session(self) -> Session:
        return Session(self.system, self.environment, self.timeout, NO_RETRY, Budget(), writes_allowed=self.writes)


@dataclass(frozen=True, slots=True)
class Prepare:
    """Open what is not open yet for the plan that follows; a `LoadPlan` without its crew."""

    object: str
    keys: Sequence[Key]
    shares: Mapping[str, float]
    users: int
    think_s: float
    seconds: float
    warm_up_s: float
    burst: bool
    guards: Guards
    seed: int
    back_off_s: float
    budget: int | None
    """Calls that may be sent until the next order, opening included."""

    def plan(self, crew: Crew) -> LoadPlan:
        return LoadPlan(
            crew, self.object, self.keys, self.shares, self.users, self.think_s, self.seconds, self.warm_up_s,
            self.burst, self.guards, self.seed, self.back_off_s,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Go:
    """Start at this moment of `time.monotonic`, which all processes of a machine share."""

    at: float


@dataclass(frozen=True, slots=True)
class Stop:
    """End the level under way."""

    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """`value` is None after Prepare, a Driven or a Burst after Go; `error` is a traceback."""

    value: Any = None
    error: str | None = None
    attempts: int = 0
    """Since the last answer."""
    seconds: float = 0.0
    rows: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


def send(pipe: IO[bytes], message: Any) -> None:
    data = pickle.dumps(message)
    pipe.write(_HEAD.pack(len(data)) + data)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Any:
    """The next message; EOFError when the other side is gone."""
    head = pipe.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EOFError
    size = _HEAD.unpack(head)[0]
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return pickle.loads(data)  # noqa: S301 - our own parent or child at the other end of an inherited pipe


class _Member:
    def __init__(self, seat: Seat, out: IO[bytes]) -> None:
        from weighbridge.engine.threads import ThreadEngine

        self.engine = ThreadEngine()
        self.out = out
        self.session = seat.session()
        self.first = seat.connector(seat.options, self.session)
        self.first.open()
        self.crew = Crew(lambda: self.first.fork(self.session))
        self.plan: LoadPlan | None = None
        self.opened: list[str | None] = []
        self.warmed = 0
        self.guard: Any = None
        self._booked = (0, 0.0, 0, 0, 0)

    def prepare(self, order: Prepare) -> None:
        budget = self.session.budget
        budget.cap = None if order.budget is None else budget.used + order.budget
        self.plan = order.plan(self.crew)
        # what the first connector learns of the object, its forks need not ask again over connections of their own
        facet = self.first.facet(Loadable)
        if facet is not None:
            facet.operations(order.object, order.keys)
        self.crew.grow(order.users)
        self.warmed = sum(1 for i in range(order.users) if i not in self.crew.warm)
        self.opened = self.engine.open(self.plan) if self.warmed else [None] * order.users
        self.answer(None)

    def go(self, at: float) -> None:
        from weighbridge.engine.threads import Guard

        plan = self.plan
        if plan is None:
            raise RuntimeError("told to go before it was told where")
        start = time.perf_counter() + (at - time.monotonic())
        if plan.burst:
            burst = self.engine.burst(plan, opened=self.opened, at=start)
            self.answer(replace(burst, at=at))
            return
        self.guard = Guard(plan.guards)
        driven = self.engine.drive(plan, guard=self.guard, warmed=self.warmed, at=start)
        self.guard = None
        self.answer(driven)

    def answer(self, value: Any) -> None:
        meter = self.session.meter
        now = (meter.attempts, meter.seconds, meter.rows, meter.bytes_sent, meter.bytes_received)
        since = [a - b for a, b in zip(now, self._booked, strict=True)]
        self._booked = now
        send(self.out, Answer(value, None, int(since[0]), since[1], int(since[2]), int(since[3]), int(since[4])))

    def work(self, orders: queue.SimpleQueue[Any]) -> None:
        while True:
            order = orders.get()
            try:
                if isinstance(order, Prepare):
                    self.prepare(order)
                else:
                    self.go(order.at)
            except Exception:  # noqa: BLE001 - told to the parent, which raises it
                send(self.out, Answer(error=traceback.format_exc()))


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends us
    orders_in, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not stand between answers
    try:
        member = _Member(receive(orders_in), out)
    except EOFError:
        return
    except Exception:  # noqa: BLE001 - told to the parent, which raises it
        send(out, Answer(error=traceback.format_exc()))
        return
    todo: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=member.work, args=(todo,), daemon=True).start()
    while True:
        try:
            order = receive(orders_in)
        except EOFError:
            os._exit(0)  # calls in progress have nobody left to be reported to
        if isinstance(order, Stop):
            guard = member.guard
            if guard is not None:
                guard.halt(order.reason)
        else:
            todo.put(order)
