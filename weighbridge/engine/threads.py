"""Drives operations from plain threads, one connector a thread: connectors are synchronous, so threads are honest.

A user calls, waits for the answer, pauses and calls again (a closed loop). Latency counts from the moment the call
was meant to start, so a client that lags makes latencies worse and never better. The engine times its own CPU and
its own lateness, and hands both back: a verdict that the load generator distorted is void.
"""

from __future__ import annotations

import gc
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from weighbridge.checks.forecast.plan import Audit, Burst, Guards, Level, LoadPlan, Run
from weighbridge.checks.forecast.stats import level_of, percentile
from weighbridge.connectors.errors import ConnectorError

__all__ = ["OPENING_S", "Driven", "Guard", "Tally", "ThreadEngine", "descriptors_for", "level_from"]

SPARE_DESCRIPTORS = 64
WATCHED = 20
"""Calls whose median latency the latency guard looks at."""
OPENING_S = 5.0
"""Least time that is given to the opening of connections."""


def descriptors_for(users: int) -> int | None:
    """How many users fit under this process's limit of open files when `users` do not; None when they do."""
    try:
        import resource
    except ImportError:  # Windows has no such limit on sockets
        return None
    import psutil

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    free = soft - psutil.Process().num_fds() - SPARE_DESCRIPTORS
    return None if free >= users else max(0, free)


@dataclass(slots=True)
class Tally:
    """What one thread saw; merged after it ended, so that no lock is taken while calls are timed."""

    done: list[tuple[float, float]] = field(default_factory=list)
    """(meant to start, latency) of successful calls, seconds from the start."""
    failed: list[tuple[float, str]] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    sent: int = 0
    cpu: float = 0.0
    crash: BaseException | None = None


@dataclass(slots=True)
class Driven:
    """What one process saw while it drove a level, or its share of one."""

    tallies: list[Tally]
    wall: float
    hung: int
    warmed: int
    """Calls that opened a connection beforehand."""
    reason: str | None


class Guard:
    """Shared stop sign; the first reason wins."""

    def __init__(self, guards: Guards) -> None:
        self.guards = guards
        self.stop = threading.Event()
        self.reason: str | None = None
        self._lock = threading.Lock()
        self._sent = 0
        self._ended = 0
        self._failed = 0
        self._last: deque[float] = deque(maxlen=WATCHED)
        self._bells: list[threading.Lock] = []

    def bell(self) -> threading.Lock:
        """A lock that opens when all must stop: one call into the kernel a pause, where an event takes dozens."""
        bell = threading.Lock()
        with self._lock:
            if not self.stop.is_set():
                bell.acquire()
                self._bells.append(bell)
        return bell

    def ring(self) -> None:
        """Wake every user that pauses; they end."""
        self.stop.set()
        with self._lock:
            bells, self._bells = self._bells, []
        for bell in bells:
            bell.release()

    def halt(self, reason: str) -> None:
        with self._lock:
            if self.reason is None:
                self.reason = reason
        self.ring()

    def may_send(self) -> bool:
        cap = self.guards.calls
        with self._lock:
            if cap is not None and self._sent >= cap:
                full = True
            else:
                self._sent += 1
                full = False
        if full:
            self.halt(f"call budget of this level ({cap}) spent")
        return not full

    def ended(self, latency: float, failed: bool) -> None:
        guards = self.guards
        why = None
        with self._lock:
            self._ended += 1
            self._failed += failed
            if not failed:
                self._last.append(latency)
            if self._ended >= guards.least_calls and self._failed > guards.error_share * self._ended:
                why = f"error guard: {self._failed} of {self._ended} calls failed"
            elif guards.latency_s is not None and len(self._last) == WATCHED:
                middle = sorted(self._last)[WATCHED // 2]
                if middle > guards.latency_s:
                    why = f"latency guard: median of the last {WATCHED} calls {middle:.2f} s"
        if why:
            self.halt(why)


class ThreadEngine:
    """Implements the `Engine` seam of checks with threads."""

    def run(self, plan: LoadPlan) -> Run:
        """Run one level or one burst. KeyboardInterrupt stops the users, then goes on its way."""
        plan.crew.grow(plan.users)
        return Run(burst=self.burst(plan)) if plan.burst else Run(level=level_from(plan, [self.drive(plan)]))

    # --- levels -------------------------------------------------------------------------------------------------

    def drive(
        self, plan: LoadPlan, *, guard: Guard | None = None, warmed: int | None = None, at: float | None = None
    ) -> Driven:
        """Hold the plan's users; the start is now, or `at` on `time.perf_counter`. `warmed`: connections are open."""
        if warmed is None:
            # a first call opens a connection, which is not what a user's tenth call costs: it is made beforehand
            warmed = sum(1 for i in range(plan.users) if i not in plan.crew.warm)
            if warmed:
                self.open(plan)
        guard = guard or Guard(plan.guards)
        tallies = [Tally() for _ in range(plan.users)]
        if at is not None:
            time.sleep(max(0.0, at - time.perf_counter()))
        started = time.perf_counter() if at is None else at
        threads = [
            threading.Thread(target=self._user, args=(plan, i, tallies[i], guard, started), daemon=True)
            for i in range(plan.users)
        ]
        gc.freeze()  # a walk through all that is long-lived would stop every user for a tenth of a second
        try:
            for thread in threads:
                thread.start()
            hung = self._wait(threads, guard, started, plan)
        except KeyboardInterrupt:
            guard.halt("interrupted")
            for thread in threads:
                thread.join(1.0)
            raise
        finally:
            gc.unfreeze()
        wall = time.perf_counter() - started
        for tally in tallies:
            if tally.crash is not None:
                raise tally.crash
        return Driven(tallies, wall, hung, warmed, guard.reason)

    @staticmethod
    def _wait(threads: list[threading.Thread], guard: Guard, started: float, plan: LoadPlan) -> int:
        """Wait until the hold is over and calls in progress ended, at most `grace_s` more; how many never did."""
        end = started + min(plan.seconds, plan.guards.seconds)
        while not guard.stop.wait(max(0.0, min(0.2, end - time.perf_counter()))):
            if time.perf_counter() >= end or not any(t.is_alive() for t in threads):
                break
        guard.ring()
        late = time.perf_counter() + plan.guards.grace_s
        hung = 0
        for number, thread in enumerate(threads):
            thread.join(max(0.0, late - time.perf_counter()))
            if thread.is_alive():
                # its connector is still in that call's hands: the next level opens another
                hung += 1
                plan.crew.abandon(number)
        return hung

    def _user(self, plan: LoadPlan, number: int, tally: Tally, guard: Guard, started: float) -> None:
        rng = random.Random(plan.seed * 1_000_003 + number)  # noqa: S311 - pauses, not secrets
        cpu = time.thread_time()
        end = started + min(plan.seconds, plan.guards.seconds)
        clock, done, lags = time.perf_counter, tally.done, tally.lags
        pause, bell = plan.think_s, guard.bell()
        # users start as if they had been there for long: a memoryless pause has the same remainder at any moment
        meant = clock() + (rng.expovariate(1 / pause) if pause > 0 else 0.0)
        try:
            draw = self._draws(plan, number, rng)
            while meant < end:
                wait = meant - clock()
                if wait > 0 and bell.acquire(timeout=wait):
                    break
                if guard.stop.is_set() or not guard.may_send():
                    break
                tally.sent += 1
                sent = clock()
                lags.append(sent - meant)
                problem = draw()
                ended = clock()
                if problem is None:
                    done.append((meant - started, ended - meant))
                else:
                    tally.failed.append((meant - started, problem))
                guard.ended(ended - meant, problem is not None)
                if problem == "BudgetExceeded":
                    guard.halt("the system's call budget is spent")
                    break
                think = rng.expovariate(1 / pause) if pause > 0 else 0.0
                meant = ended + (max(think, plan.back_off_s) if problem else think)
        except BaseException as error:  # noqa: BLE001 - carried to the main thread and raised there
            tally.crash = error
            guard.halt("a user crashed")
        tally.cpu = time.thread_time() - cpu

    def _draws(self, plan: LoadPlan, number: int, rng: random.Random) -> Callable[[], str | None]:
        """A call of one user: draws operation and key, returns None or the error class. Opens the connector late."""
        names = [name for name, share in plan.shares.items() if share > 0]
        weights = [plan.shares[name] for name in names]
        keys, crew = plan.keys, plan.crew

        def call() -> str | None:
            name = names[0] if len(names) == 1 else rng.choices(names, weights)[0]
            key = keys[rng.randrange(len(keys))] if keys else ()
            try:
                crew.operations(number, plan.object, keys)[name].call(key)
            except ConnectorError as error:
                return type(error).__name__
            except OSError as error:
                crew.drop(number)
                return type(error).__name__
            return None

        return call

    # --- bursts -------------------------------------------------------------------------------------------------

    def burst(self, plan: LoadPlan, *, opened: list[str | None] | None = None, at: float | None = None) -> Burst:
        """Release one call a user at once: now, or `at` on `time.perf_counter`."""
        size = plan.users
        opened = self.open(plan) if opened is None else opened
        barrier = threading.Barrier(sum(1 for problem in opened if problem is None) + 1)
        results: list[tuple[float, float, str] | None] = [
            None if problem is None else (0.0, 0.0, f"open:{problem}") for problem in opened
        ]
        cpus = [0.0] * size
        crash: list[BaseException] = []
        release = [0.0]

        def member(number: int) -> None:
            rng = random.Random(plan.seed * 1_000_003 + number)  # noqa: S311
            draw = self._draws(plan, number, rng)
            try:
                barrier.wait(30)
                cpu = time.thread_time()
                start = time.perf_counter()
                problem = draw()
                end = time.perf_counter()
                cpus[number] = time.thread_time() - cpu
                results[number] = (start - release[0], end - release[0], problem or "ok")
            except threading.BrokenBarrierError:
                pass
            except BaseException as error:  # noqa: BLE001 - raised in the main thread
                crash.append(error)

        ready = [i for i, problem in enumerate(opened) if problem is None]
        threads = [threading.Thread(target=member, args=(i,), daemon=True) for i in ready]
        try:
            for thread in threads:
                thread.start()
            while barrier.n_waiting < len(threads) and not crash:
                time.sleep(0.001)
            if at is not None:
                time.sleep(max(0.0, at - time.perf_counter()))
            moment = time.monotonic()
            release[0] = time.perf_counter() if at is None else at
            barrier.wait(5)
        except KeyboardInterrupt:
            barrier.abort()
            raise
        except threading.BrokenBarrierError:
            moment = time.monotonic()
        late = time.perf_counter() + plan.guards.seconds
        for number, thread in zip(ready, threads, strict=True):
            thread.join(max(0.0, late - time.perf_counter()))
            if thread.is_alive():
                plan.crew.abandon(number)
        if crash:
            raise crash[0]
        passed = time.perf_counter() - release[0]
        calls = [r if r is not None else (0.0, passed, "Hung") for r in list(results)]
        starts = sorted(start for start, _, outcome in calls if not outcome.startswith("open:"))
        wall = max((end for _, end, _ in calls), default=0.0)
        # what counts for a drain rate is the client's share while the burst ran, in cores
        audit = Audit(sum(cpus) / wall if wall > 0 else 0.0, percentile(starts, 0.95) if starts else 0.0)
        return Burst(size, tuple(calls), audit, moment)

    def open(self, plan: LoadPlan) -> list[str | None]:
        """Open and warm every connection, a few at a time; per user None or the class of the error."""
        problems: list[str | None] = [None] * plan.users
        cold = [i for i in range(plan.users) if i not in plan.crew.warm]
        crash: list[BaseException] = []
        over = threading.Event()

        def warm(numbers: list[int]) -> None:
            for number in numbers:
                if over.is_set():
                    return  # its user opens it, and nobody else may be at the same connector then
                rng = random.Random(plan.seed + number)  # noqa: S311
                try:
                    problem = self._draws(plan, number, rng)()
                except BaseException as error:  # noqa: BLE001 - raised in the main thread
                    crash.append(error)
                    return
                if over.is_set():
                    return  # it was left behind
                problems[number] = problem
                if problem is None:
                    plan.crew.warm.add(number)
                elif problem != "BudgetExceeded":
                    plan.crew.drop(number)

        # some at a time, and more for a crowd, which would otherwise be asked before all of it is there
        lanes = min(max(8, plan.users // 16), len(cold)) or 1
        threads = [threading.Thread(target=warm, args=(cold[lane::lanes],), daemon=True) for lane in range(lanes)]
        for thread in threads:
            thread.start()
        late = time.perf_counter() + max(OPENING_S, plan.guards.seconds)
        for thread in threads:
            thread.join(max(0.0, late - time.perf_counter()))
        over.set()
        if crash:
            raise crash[0]
        for number in cold:
            if number not in plan.crew.warm and problems[number] is None:
                problems[number] = "Hung"
                plan.crew.abandon(number)
        return problems


def level_from(plan: LoadPlan, parts: Sequence[Driven]) -> Level:
    """The level that one process or several drove together; users of all count, the busiest process is audited."""
    wall = max(part.wall for part in parts)
    tallies = [t for part in parts for t in part.tallies]
    hung = sum(part.hung for part in parts)
    warm = min(plan.warm_up_s, wall / 4) if plan.users > 1 else 0.0
    good = sorted(
        ((at, latency) for t in tallies for at, latency in list(t.done) if at >= warm), key=lambda p: p[0] + p[1]
    )
    errors = Counter(name for t in tallies for at, name in list(t.failed) if at >= warm)
    if hung:
        errors["Hung"] += hung
    lags = sorted(lag for t in tallies for lag in list(t.lags))
    sent = sum(t.sent for t in tallies)
    reason = next((part.reason for part in parts if part.reason), None)
    # calls are counted by when they were sent, so the time ends with the sending and not with the last answer
    last = max((at for t in tallies for at, _ in [*t.done, *t.failed]), default=wall)
    measured = max(1e-6, (last if reason else min(wall, plan.seconds)) - warm)
    spent = [sum(t.cpu for t in part.tallies) for part in parts]
    share = max((cpu / part.wall for cpu, part in zip(spent, parts, strict=True) if part.wall > 0), default=0.0)
    audit = Audit(share, percentile(lags, 0.95) if lags else 0.0, sum(spent) / max(1, sent))
    stopped = f"{hung} calls never came back" if hung else reason
    return level_of(
        [latency for _, latency in good], errors, users=plan.users, think_s=plan.think_s, seconds=measured,
        sent=sent + sum(part.warmed for part in parts), audit=audit, stopped=stopped, elapsed_s=wall,
        starts=[at for at, _ in good],
    )  # fmt: skip
