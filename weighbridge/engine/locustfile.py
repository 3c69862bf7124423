"""What a Locust master and its workers run: the operations of an integration point as Locust users.

    locust -f "$(python -m weighbridge.engine.locustfile)" --master
    LOCUST_SKIP_MONKEY_PATCH=1 locust -f "$(python -m weighbridge.engine.locustfile)" --worker --master-host HOST

A worker stands in a copy of the project's folder and opens the systems with secrets of its own: only names, keys and
measurements travel between master and workers. Connectors are synchronous, some of them in C, so calls run in gevent's
pool of real threads: without LOCUST_SKIP_MONKEY_PATCH on the workers they would block each other unseen.
"""

# Locust is an extra, so a type checker may not find it:
# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import random
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    print(__file__)  # noqa: T201 - what a shell puts behind `locust -f`
    sys.exit(0)

import gevent
from locust import User, constant, events, task
from locust.runners import MasterRunner, WorkerRunner

from weighbridge.checks.forecast.plan import Crew, Guards
from weighbridge.connectors.base import ObjectRef
from weighbridge.connectors.errors import ConnectorError
from weighbridge.connectors.session import NO_RETRY, Budget, Session
from weighbridge.engine.distributed import SPAWN_S, decode_key
from weighbridge.engine.threads import Guard, Tally

if TYPE_CHECKING:
    from weighbridge.connectors.base import Connector

READY, SAMPLES, PLAN, STOP = "weighbridge_ready", "weighbridge_samples", "weighbridge_plan", "weighbridge_stop"


# --- the master: hands plans on and keeps what comes back until it is asked for ------------------------------------


class _Desk:
    def __init__(self, environment: Any) -> None:
        self.environment = environment
        self.plan: dict[str, Any] | None = None
        self.ready: list[dict[str, Any]] = []
        self.samples: list[dict[str, Any]] = []
        environment.runner.register_message(READY, self._take)
        environment.runner.register_message(SAMPLES, self._take)
        app = environment.web_ui.app
        app.add_url_rule("/weighbridge/plan", view_func=self._new_plan, methods=["POST"])
        app.add_url_rule("/weighbridge/state", view_func=self._state)

    def _take(self, environment: Any, msg: Any, **_: Any) -> None:
        told = msg.data
        if self.plan is None or told["plan"] != self.plan["plan"]:
            return
        (self.ready if msg.type == READY else self.samples).append(told)
        if msg.type == SAMPLES and told["reason"]:
            environment.runner.send_message(STOP, {"plan": told["plan"], "reason": told["reason"]})

    def _new_plan(self) -> Any:
        from flask import request

        runner = self.environment.runner
        self.plan = plan = request.get_json()
        self.ready, self.samples = [], []
        workers = [client.id for client in runner.clients.all]
        for number, worker in enumerate(workers):
            runner.send_message(PLAN, {**plan, "number": number, "workers": len(workers)}, worker)
        return {"workers": len(workers)}

    def _state(self) -> Any:
        return {
            "workers": self.environment.runner.worker_count,
            "state": self.environment.runner.state,
            "ready": self.ready,
            "samples": self.samples,
        }


# --- a worker --------------------------------------------------------------------------------------------------------


class _Job:
    """One level's share of one worker."""

    def __init__(self, told: dict[str, Any], bench: _Bench) -> None:
        self.told = told
        self.bench = bench
        self.keys = [decode_key(key) for key in told["keys"]]
        self.object = ObjectRef(told["object"], told["where"], everything=told["everything"], key=tuple(told["key"]))
        shares = {name: share for name, share in told["shares"].items() if share > 0}
        self.names, self.weights = list(shares), list(shares.values())
        guards = Guards(**told["guards"])
        cap = guards.calls
        if cap is not None:  # fewer users than workers leave some of these without any
            cap = max(1, cap // min(told["workers"], told["users"]))
        self.grace_s = guards.grace_s
        self.guard = Guard(
            Guards(guards.error_share, guards.least_calls, guards.latency_s, cap, guards.seconds, guards.grace_s)
        )
        self.seconds = min(told["seconds"], guards.seconds) + SPAWN_S
        self.tallies: dict[int, Tally] = {}
        self.flying = 0
        self.started: float | None = None
        self.cpu = 0.0
        self.lock = threading.Lock()

    @property
    def over(self) -> bool:
        return self.guard.stop.is_set() or (
            self.started is not None and time.perf_counter() >= self.started + self.seconds
        )

    def begin(self) -> None:
        """The first user of the level starts its clock."""
        if self.started is None:
            self.started, self.cpu = time.perf_counter(), time.process_time()
            gevent.spawn(self._finish)

    def call(self, number: int, rng: random.Random, meant: float) -> tuple[float, str | None, str]:
        """One call, in a thread of the pool: (end, error class, operation)."""
        tally = self.tallies[number]
        name = self.names[0] if len(self.names) == 1 else rng.choices(self.names, self.weights)[0]
        key = self.keys[rng.randrange(len(self.keys))] if self.keys else ()
        sent = time.perf_counter()
        tally.sent += 1
        tally.lags.append(sent - meant)
        problem: str | None = None
        try:
            self.bench.crew.operations(number, self.object, self.keys)[name].call(key)
        except ConnectorError as error:
            problem = type(error).__name__
        except OSError as error:
            self.bench.crew.drop(number)
            problem = type(error).__name__
        ended = time.perf_counter()
        at = meant - (self.started or 0.0)
        if problem is None:
            tally.done.append((at, ended - meant))
        else:
            tally.failed.append((at, problem))
        self.guard.ended(ended - meant, problem is not None)
        if problem == "BudgetExceeded":
            self.guard.halt("the system's call budget is spent")
        return ended, problem, name

    def _finish(self) -> None:
        while not self.over:
            gevent.sleep(0.05)
        self.guard.stop.set()
        started = self.started or time.perf_counter()
        wall = time.perf_counter() - started
        late = time.perf_counter() + self.grace_s
        while self.flying and time.perf_counter() < late:
            gevent.sleep(0.02)
        cpu = time.process_time() - self.cpu
        done = list(self.tallies.values())
        meter = self.bench.meter_since()
        self.bench.runner.send_message(
            SAMPLES,
            {
                "plan": self.told["plan"], "wall": wall, "hung": self.flying, "reason": self.guard.reason,
                "users": len(self.tallies), "cpu": cpu,
                "done": [pair for t in done for pair in t.done], "failed": [pair for t in done for pair in t.failed],
                "lags": [lag for t in done for lag in t.lags], "sent": sum(t.sent for t in done), **meter,
            },
        )  # fmt: skip


class _Bench:
    """What a worker keeps between levels: one open system and its crew."""

    def __init__(self, environment: Any) -> None:
        self.runner = environment.runner
        self.job: _Job | None = None
        self.crew = Crew(self._fork)
        self._first: Connector | None = None
        self._session = Session()
        self._place: tuple[str, str] | None = None
        self._booked = (0, 0.0, 0, 0, 0)
        self.runner.register_message(PLAN, self._new_plan, concurrent=True)
        self.runner.register_message(STOP, self._stop)

    def _fork(self) -> Connector:
        if self._first is None:
            raise RuntimeError("no system is open")
        return self._first.fork(self._session)

    def meter_since(self) -> dict[str, float]:
        """What was sent since the last time it was asked."""
        meter = self._session.meter
        now = (meter.attempts, meter.seconds, meter.rows, meter.bytes_sent, meter.bytes_received)
        since = [a - b for a, b in zip(now, self._booked, strict=True)]
        self._booked = now
        return dict(zip(("attempts", "seconds", "rows", "bytes_sent", "bytes_received"), since, strict=True))

    def _stop(self, msg: Any, **_: Any) -> None:
        job = self.job
        if job is not None and job.told["plan"] == msg.data["plan"]:
            job.guard.halt(msg.data["reason"])

    def _new_plan(self, msg: Any, **_: Any) -> None:
        told = msg.data
        problem, warmed = None, 0
        try:
            self.job = None
            pool = gevent.get_hub().threadpool
            pool.maxsize = max(pool.maxsize, told["users"] + 8)
            job = _Job(told, self)
            warmed = pool.apply(self._open, (job,))
            self.job = job
        except Exception as error:  # noqa: BLE001 - told to the engine, which raises it
            problem = f"{type(error).__name__}: {error}"
        self.runner.send_message(
            READY, {"plan": told["plan"], "problem": problem, "warmed": warmed, **self.meter_since()}
        )

    def _open(self, job: _Job) -> int:
        """Open what this worker's users need, with one call each; how many calls that took."""
        from weighbridge.project import Project

        told = job.told
        system = Project.load().system(told["system"], told["environment"])
        allowed = system.permissions()
        if told["users"] > allowed.max_users:
            raise PermissionError(f"{told['users']} users are asked for, {allowed.max_users} are allowed here")
        if self._place != (system.name, system.environment):
            self.crew.close()
            self.crew = Crew(self._fork)
            if self._first is not None:
                self._first.close()
            writes = told["writes"] and system.environment != "production" and not system.read_only
            self._session = system.session(retry=NO_RETRY, writes_allowed=writes, budget=Budget(None))
            self._booked = (0, 0.0, 0, 0, 0)
            self._first = system.connector(self._session)
            self._first.open()
            self._place = (system.name, system.environment)
        budget, left = self._session.budget, told["budget"]
        budget.cap = None if left is None else budget.used + left // told["workers"]
        share = -(-told["users"] // told["workers"])
        self.crew.close()  # another object may be asked for: operations are a crew's own
        self.crew = Crew(self._fork)
        self.crew.grow(share)
        rng = random.Random(told["seed"] + told["number"])  # noqa: S311 - keys, not secrets
        warmed = 0
        for number in range(share):
            key = job.keys[rng.randrange(len(job.keys))] if job.keys else ()
            try:
                self.crew.operations(number, job.object, job.keys)[job.names[0]].call(key)
                warmed += 1
            except ConnectorError:
                self.crew.drop(number)  # its first call in the level says why
        return warmed


_benches: list[_Bench] = []
"""This worker's one, none on a master."""
_numbers: list[int] = []
"""Of users that ended; the next users take their places."""
_next = iter(range(10**9))


class PointUser(User):
    """Calls, waits for the answer, pauses and calls again, as the user of every other engine does."""

    wait_time = constant(0.0)

    def on_start(self) -> None:
        self.number = _numbers.pop() if _numbers else next(_next)
        self.plan: int | None = None
        self.meant = 0.0
        self.rng = random.Random()  # noqa: S311

    def on_stop(self) -> None:
        _numbers.append(self.number)

    @task
    def call(self) -> None:
        job = _benches[0].job if _benches else None
        if job is None or (job.over and job.started is not None):
            gevent.sleep(0.1)
            return
        pause = job.told["think_s"]
        if self.plan != job.told["plan"]:
            job.begin()
            self.plan = job.told["plan"]
            self.rng.seed((job.told["seed"] * 31 + job.told["number"]) * 1_000_003 + self.number)
            job.tallies[self.number] = Tally()
            job.bench.crew.grow(self.number + 1)
            self.meant = time.perf_counter() + (self.rng.expovariate(1 / pause) if pause > 0 else 0.0)
        while (wait := self.meant - time.perf_counter()) > 0:
            gevent.sleep(min(wait, 0.25))
            if job.over:
                return
        if job.over or not job.guard.may_send():
            return
        with job.lock:
            job.flying += 1
        try:
            ended, problem, name = gevent.get_hub().threadpool.apply(job.call, (self.number, self.rng, self.meant))
        finally:
            with job.lock:
                job.flying -= 1
        events.request.fire(
            request_type="weighbridge", name=f"{job.told['object']} {name}", response_time=(ended - self.meant) * 1000,
            response_length=0, exception=None if problem is None else RuntimeError(problem), context={},
        )  # fmt: skip
        think = self.rng.expovariate(1 / pause) if pause > 0 else 0.0
        self.meant = ended + (max(think, job.told["back_off_s"]) if problem else think)


@events.init.add_listener
def _begin(environment: Any, **_: Any) -> None:
    if isinstance(environment.runner, MasterRunner):
        _Desk(environment)
    elif isinstance(environment.runner, WorkerRunner):
        _benches.append(_Bench(environment))
