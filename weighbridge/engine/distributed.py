"""Drives operations from Locust workers, on this machine or on others, where one machine is too few.

A Locust master and its workers run `locustfile.py`; this engine hands them one level after another over the master's
web interface and merges what they saw. Bursts need one clock, so they leave from this machine alone.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from weighbridge.checks.forecast.plan import LoadPlan, Run
from weighbridge.connectors.base import Connector, Key, filter_of
from weighbridge.connectors.errors import DriverError
from weighbridge.connectors.session import Session
from weighbridge.engine.threads import Driven, Tally, ThreadEngine, level_from

__all__ = ["SPAWN_S", "LocustEngine", "decode_key", "encode_key"]

FILE = Path(__file__).with_name("locustfile.py")
WEB_PORT = 8089
JOIN_S = 60.0
"""Seconds within which every worker must have joined."""
OPEN_S = 120.0
"""Seconds within which every worker must have opened its connections."""
SPAWN_S = 1.0
"""Seconds in which the master spawns all users; they count as warm-up."""
MOST_KEYS = 2_000
"""Keys that travel with a level."""
_KINDS: Mapping[str, Any] = {
    "decimal": Decimal,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "uuid": UUID,
}


def encode_key(key: Key) -> list[Any]:
    """A key as JSON holds it, its types kept."""
    return [_encode(value) for value in key]


def _encode(value: Any) -> Any:
    if isinstance(value, Decimal):
        return {"decimal": str(value)}
    if isinstance(value, datetime):
        return {"datetime": value.isoformat()}
    if isinstance(value, date):
        return {"date": value.isoformat()}
    if isinstance(value, UUID):
        return {"uuid": str(value)}
    return value


def decode_key(key: Sequence[Any]) -> Key:
    return tuple(_decode(value) for value in key)


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        kind, text = next(iter(value.items()))
        return _KINDS[kind](text)
    return value


class LocustEngine:
    """Implements the `Engine` seam of checks with a Locust master: its own with `workers` here, or one at `master`.

    `folder` is the project's: local workers stand in it; workers elsewhere stand in a copy of it.
    """

    def __init__(self, folder: Path, *, workers: int = 0, master: str | None = None) -> None:
        if importlib.util.find_spec("locust") is None:
            raise DriverError(
                "the Locust engine needs Locust, which is not installed.",
                remedy="pip install 'weighbridge[locust]', or leave --engine away.",
            )
        self._folder, self._workers, self._master = folder, workers, master
        self._processes: list[subprocess.Popen[bytes]] = []
        self._web = ""
        self._plans = itertools.count(secrets.randbelow(10**9))
        self._local = ThreadEngine()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes that this engine started."""
        processes, self._processes = self._processes, []
        for process in reversed(processes):
            process.terminate()
        for process in reversed(processes):
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)

    def run(self, plan: LoadPlan) -> Run:
        """Run one level on the workers, or from here what needs one clock from its first moment on."""
        plan.crew.grow(plan.users if plan.from_here else 1)
        if plan.from_here:
            return self._local.run(plan)
        self._start()
        first = plan.crew.connector(0)
        number = next(self._plans)
        workers = self._ask("POST", "plan", self._told(plan, number, first))["workers"]
        warmed = 0
        for told in self._gathered("ready", workers, OPEN_S + plan.guards.seconds):
            _book(told, first.session)
            if told["problem"]:
                raise RuntimeError(f"a Locust worker could not open {first.session.system}: {told['problem']}")
            warmed += told["warmed"]
        self._swarm(plan.users)
        try:
            seconds = min(plan.seconds, plan.guards.seconds) + SPAWN_S
            samples = self._samples(plan, workers, seconds + plan.guards.grace_s + 20.0)
        finally:
            self._stop()
        parts = []
        for told in samples:
            _book(told, first.session)
            parts.append(_driven(told))
        parts[0].warmed = warmed
        return Run(level=level_from(_lengthened(plan), parts))

    def _told(self, plan: LoadPlan, number: int, first: Connector) -> dict[str, Any]:
        guards, session = plan.guards, first.session
        return {
            "plan": number, "system": session.system, "environment": session.environment, "object": str(plan.object),
            "where": filter_of(plan.object), "everything": bool(getattr(plan.object, "everything", False)),
            "key": list(getattr(plan.object, "key", ())), "keys": [encode_key(k) for k in plan.keys[:MOST_KEYS]],
            "shares": dict(plan.shares), "users": plan.users, "think_s": plan.think_s, "seconds": plan.seconds,
            "seed": plan.seed, "back_off_s": plan.back_off_s, "writes": session.writes_allowed,
            "budget": session.budget.left,
            "guards": {
                "error_share": guards.error_share, "least_calls": guards.least_calls, "latency_s": guards.latency_s,
                "calls": guards.calls, "seconds": guards.seconds, "grace_s": guards.grace_s,
            },
        }  # fmt: skip

    # --- the master ---------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Have a master with its workers, once."""
        if self._web:
            self._alive()
            return
        if self._master is not None:
            host, _, port = self._master.partition(":")
            self._web = f"http://{host}:{port or WEB_PORT}"
        else:
            web, bind = _free_port(), _free_port()
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
            common = [sys.executable, "-m", "locust", "-f", str(FILE), "--skip-log-setup"]
            place = ["--web-host", "127.0.0.1", "--web-port", str(web)]
            self._launch(
                [*common, "--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", str(bind), *place],
                environment,
            )
            for _ in range(max(1, self._workers)):
                self._launch(
                    [*common, "--worker", "--master-host", "127.0.0.1", "--master-port", str(bind)],
                    environment | {"LOCUST_SKIP_MONKEY_PATCH": "1"},
                )
            self._web = f"http://127.0.0.1:{web}"
        wanted = max(1, self._workers)
        late = time.monotonic() + JOIN_S
        while True:
            self._alive()
            with suppress(OSError):
                if self._ask("GET", "state")["workers"] >= wanted:
                    return
            if time.monotonic() > late:
                where, self._web = self._web, ""
                raise RuntimeError(f"no Locust master with {wanted} workers was found at {where} within {JOIN_S:.0f} s")
            time.sleep(0.2)

    def _launch(self, command: list[str], environment: dict[str, str]) -> None:
        self._processes.append(
            subprocess.Popen(
                command,
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )

    def _alive(self) -> None:
        ended = [p.returncode for p in self._processes if p.poll() is not None]
        if ended:
            raise RuntimeError(f"a Locust process ended with status {ended[0]}; `locust -f {FILE}` says why")

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        return self._web_call(method, f"weighbridge/{path}", json=body).json()

    def _web_call(self, method: str, path: str, **content: Any) -> Any:
        import requests

        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(method, f"{self._web}/{path}", timeout=30, **content)
        answer.raise_for_status()
        return answer

    def _gathered(self, what: str, workers: int, seconds: float) -> list[dict[str, Any]]:
        late = time.monotonic() + seconds
        while True:
            found = self._ask("GET", "state")[what]
            if workers and len(found) >= workers:
                return found
            self._alive()
            if time.monotonic() > late:
                raise RuntimeError(f"{len(found)} of {workers} Locust workers answered within {seconds:.0f} s ({what})")
            time.sleep(0.1)

    def _samples(self, plan: LoadPlan, workers: int, seconds: float) -> list[dict[str, Any]]:
        """What the workers saw; one that got none of the users has nothing to tell."""
        started = time.monotonic()
        stopped: float | None = None
        while True:
            found = self._ask("GET", "state")["samples"]
            if len(found) >= workers or sum(told["users"] for told in found) >= plan.users:
                return found
            if any(told["reason"] for told in found):  # then users that were not there yet will not come
                stopped = stopped or time.monotonic()
                if time.monotonic() > stopped + plan.guards.grace_s + 2.0:
                    return found
            self._alive()
            if time.monotonic() > started + seconds:
                raise RuntimeError(f"{len(found)} of {workers} Locust workers told what they saw in {seconds:.0f} s")
            time.sleep(0.1)

    def _swarm(self, users: int) -> None:
        self._web_call("POST", "swarm", data={"user_count": users, "spawn_rate": max(1.0, users / SPAWN_S)})

    def _stop(self) -> None:
        self._web_call("POST", "stop")
        late = time.monotonic() + 15.0
        while self._ask("GET", "state")["state"] not in ("ready", "stopped") and time.monotonic() < late:
            time.sleep(0.05)


def _driven(told: Mapping[str, Any]) -> Driven:
    """A worker's samples as those of any other process; its CPU is that of the whole process."""
    tally = Tally(
        [(at, latency) for at, latency in told["done"]], [(at, name) for at, name in told["failed"]],
        list(told["lags"]), int(told["sent"]), float(told["cpu"]),
    )  # fmt: skip
    return Driven([tally], told["wall"], told["hung"], 0, told["reason"])


def _lengthened(plan: LoadPlan) -> LoadPlan:
    """The level as it was held: Locust spawns its users within the first second, which is no measurement."""
    from dataclasses import replace

    return replace(plan, seconds=plan.seconds + SPAWN_S, warm_up_s=plan.warm_up_s + SPAWN_S)


def _book(told: Mapping[str, Any], session: Session) -> None:
    session.budget.book(int(told["attempts"]))
    session.meter.book(int(told["attempts"]), float(told["seconds"]))
    session.meter.count(rows=int(told["rows"]), sent=int(told["bytes_sent"]), received=int(told["bytes_received"]))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
