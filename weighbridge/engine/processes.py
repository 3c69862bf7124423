"""Drives operations from threads in several processes, where one interpreter cannot drive the users honestly.

Each process opens the system itself, once, and forks a connector for each of its users; all start at one moment of the
machine's clock. What they saw is merged as if one had seen it; the audit is that of the busiest.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from weighbridge.checks.forecast.plan import Audit, Burst, Crew, LoadPlan, Run
from weighbridge.connectors.session import Session
from weighbridge.engine.member import COMMAND, Answer, Go, Prepare, Seat, Stop, receive, send
from weighbridge.engine.threads import OPENING_S, Driven, level_from

__all__ = ["ProcessEngine", "cores"]

START_S = 60.0
"""Seconds that a process may take to import its libraries and to log in."""
HEADSTART_S = 0.05
"""Between the order to start and the start, so that it has arrived everywhere."""


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


class _Process:
    """One member and the thread that reads its answers."""

    def __init__(self, seat: Seat) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", COMMAND],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
        )  # fmt: skip
        self._answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.tell(seat)

    def _listen(self) -> None:
        if self._process.stdout is None:
            return
        try:
            while True:
                self._answers.put(receive(self._process.stdout))
        except (EOFError, OSError, ValueError):
            self._answers.put(None)
        except Exception as error:  # noqa: BLE001 - an answer that cannot be read is told where it is waited for
            self._answers.put(Answer(error=f"its answer cannot be read: {error!r}"))

    def tell(self, order: Any) -> None:
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # its last answer says why it is gone
                send(self._process.stdin, order)

    def answer(self, seconds: float) -> Answer:
        """Its answer; RuntimeError where it failed, ended or is silent for too long."""
        try:
            found = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise RuntimeError(f"a process of the load engine did not answer within {seconds:.0f} s") from None
        if found is None:
            raise RuntimeError(f"a process of the load engine ended with status {self._process.wait(5)}")
        if found.error is not None:
            raise RuntimeError(f"a process of the load engine failed:\n{found.error}")
        return found

    def end(self) -> None:
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(3)
        if self._process.stdout is not None:
            self._process.stdout.close()


class ProcessEngine:
    """Implements the `Engine` seam of checks with threads in `processes` processes, by default one a core."""

    def __init__(self, processes: int | None = None) -> None:
        self._size = processes or max(2, cores())
        self._teams: dict[int, list[_Process]] = {}

    @staticmethod
    def fits(plan: LoadPlan) -> bool:
        """Whether another process could drive this plan's connectors."""
        plan.crew.grow(1)
        return Seat.of(plan.crew.connector(0)) is not None

    def run(self, plan: LoadPlan) -> Run:
        """Run one level or one burst. KeyboardInterrupt stops the users, then goes on its way."""
        plan.crew.grow(1)
        first = plan.crew.connector(0)
        seat = Seat.of(first)
        if seat is None:
            raise RuntimeError(f"{first!r} cannot be opened by another process")
        team = self._team(plan.crew, seat)[: plan.users]
        sizes = _split(plan.users, len(team))
        try:
            self._prepare(plan, team, sizes, first.session)
            at = time.monotonic() + HEADSTART_S + (0.0005 * plan.users if plan.burst else 0.0)
            for process in team:
                process.tell(Go(at))
            limit = OPENING_S + plan.guards.seconds + plan.guards.grace_s + START_S
            answers = self._collect(team, limit, first.session)
        except BaseException:
            self._let_go(id(plan.crew))
            raise
        if plan.burst:
            return Run(burst=_burst_from(plan.users, answers, at))
        return Run(level=level_from(plan, _parts(plan, answers)))

    def _team(self, crew: Crew, seat: Seat) -> list[_Process]:
        name = id(crew)
        team = self._teams.get(name)
        if team is None:
            team = self._teams[name] = [_Process(seat) for _ in range(self._size)]
            crew.when_closed(lambda: self._let_go(name))
        return team

    def leave(self, crew: Crew) -> None:
        """End the processes that drove this crew, and with them their connections."""
        self._let_go(id(crew))

    def _let_go(self, name: int) -> None:
        for process in self._teams.pop(name, ()):
            process.end()

    def _prepare(self, plan: LoadPlan, team: Sequence[_Process], sizes: Sequence[int], session: Session) -> None:
        calls = plan.guards.calls
        caps = [None] * len(team) if calls is None else _split(calls, len(team), sizes)
        left = session.budget.left
        budgets = [None] * len(team) if left is None else _split(left, len(team), sizes)
        for number, process in enumerate(team):
            process.tell(
                Prepare(
                    plan.object,
                    plan.keys,
                    plan.shares,
                    sizes[number],
                    plan.think_s,
                    plan.seconds,
                    plan.warm_up_s,
                    plan.burst,
                    replace(plan.guards, calls=caps[number]),
                    plan.seed * 31 + number,
                    plan.back_off_s,
                    budgets[number],
                )
            )
        for process in team:
            _book(process.answer(START_S + OPENING_S + plan.guards.seconds), session)

    def _collect(self, team: Sequence[_Process], limit: float, session: Session) -> list[Any]:
        """Every process's answer; the first that stopped itself stops the others."""
        found: list[Any] = [None] * len(team)
        arrived: queue.SimpleQueue[tuple[int, Answer | Exception]] = queue.SimpleQueue()

        def wait(number: int) -> None:
            try:
                arrived.put((number, team[number].answer(limit)))
            except RuntimeError as error:
                arrived.put((number, error))

        for number in range(len(team)):
            threading.Thread(target=wait, args=(number,), daemon=True).start()
        for _ in team:
            number, answer = arrived.get()
            if isinstance(answer, Exception):
                raise answer
            _book(answer, session)
            found[number] = answer.value
            if isinstance(answer.value, Driven) and answer.value.reason:
                for other, process in enumerate(team):
                    if found[other] is None:
                        process.tell(Stop(answer.value.reason))
        return found


def _parts(plan: LoadPlan, answers: Sequence[Driven]) -> list[Driven]:
    cap = plan.guards.calls
    for part in answers:
        if part.reason and part.reason.startswith("call budget of this level") and cap is not None:
            part.reason = f"call budget of this level ({cap}) spent"
    return list(answers)


def _burst_from(size: int, parts: Sequence[Burst], at: float) -> Burst:
    audit = Audit(max(p.audit.cpu_share for p in parts), max(p.audit.send_lag_s for p in parts))
    return Burst(size, tuple(call for part in parts for call in part.calls), audit, at)


def _book(answer: Answer, session: Session) -> None:
    session.budget.book(answer.attempts)
    session.meter.book(answer.attempts, answer.seconds)
    session.meter.count(rows=answer.rows, sent=answer.bytes_sent, received=answer.bytes_received)


def _split(total: int, parts: int, weights: Sequence[int] | None = None) -> list[int]:
    """Whole shares that sum to `total`, even or by weight."""
    weights = weights or [1] * parts
    whole = sum(weights)
    ends = [total * sum(weights[: i + 1]) // whole for i in range(parts)]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]
