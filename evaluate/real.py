"""Cases that are really run: a queue server is probed as staging, and the users are really run to find the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluate.cases import RANGES, Case
from evaluate.simulate import System
from evaluate.tiny import Tiny
from weighbridge.checks.drive import EngineDrive, Pace
from weighbridge.checks.forecast.plan import Crew, Guards, Level, LoadPlan
from weighbridge.connectors.session import NO_RETRY, Session
from weighbridge.engine.threads import ThreadEngine
from weighbridge.sandbox.queue_server import QueueServer

R: dict[str, Any] = RANGES["real"]
MOST = 700
KEYS = [(i,) for i in range(500)]


@dataclass(frozen=True, slots=True)
class RealCase:
    case: Case
    staging: dict[str, Any]
    """Configuration of the queue server that is probed."""
    production: dict[str, Any]
    """Of the one whose users are really run."""
    paper: float
    """About where it breaks, from which the search for the truth starts."""


def real_cases(seed: int) -> Iterator[RealCase]:
    """Every kind in turn; half with staging unlike production or without permission to burst."""
    for number in range(R["count"]):
        rng = np.random.default_rng([seed, 99, number])
        yield _case(number, R["kinds"][number % len(R["kinds"])], rng)


def _between(rng: np.random.Generator, ends: list[float]) -> float:
    return float(rng.uniform(*ends))


def _case(number: int, kind: str, rng: np.random.Generator) -> RealCase:
    service, capacity = _between(rng, R["service_s"]), _between(rng, R["capacity"])
    think = _between(rng, R["think_s"])
    slots = max(3, round(capacity * service))
    capacity = slots / service
    config: dict[str, Any] = {"latency_ms": service * 1000, "seed": int(rng.integers(1 << 30))}
    extra: dict[str, Any] = {}
    alone = service
    if kind == "pool":
        config |= {"pool": slots, "jitter": str(rng.choice(["constant", "lognormal"]))}
        alone *= 1.3 if config["jitter"] == "lognormal" else 1
    elif kind == "lock":
        hold = _between(rng, R["lock_s"])
        config |= {"serial_ms": hold * 1000}
        capacity = 1 / hold
    elif kind == "bucket":
        config |= {"bucket_rate": capacity, "bucket_burst": int(_between(rng, R["bucket"]))}
    elif kind == "hidden_bucket":
        capacity = _between(rng, R["hidden_rate"])
        config |= {"bucket_rate": capacity, "bucket_burst": int(_between(rng, R["hidden_bucket"]))}
    elif kind == "cap":
        cap = int(_between(rng, R["cap"]))
        config |= {"concurrent": cap}
        capacity = cap / service
    elif kind == "combined":
        config |= {"pool": slots, "bucket_rate": capacity * 0.7, "bucket_burst": int(_between(rng, R["bucket"]))}
        capacity *= 0.7
    elif kind == "rows":
        config |= {"pool": slots, "latency_per_stored_row_us": service * 1e6 / 10_000, "stored_rows": 2_000,
                   "latency_ms": 20.0}  # fmt: skip
        alone = 0.02 + service
    elif kind == "hidden_pool":
        config |= {"pool": 400}
        capacity = 400 / service
    objective = max(R["objective_least_s"], alone * _between(rng, R["objective_over_service"]))
    production = dict(config)
    staged = 0.02 + service * 0.2 if kind == "rows" else alone
    if kind == "rows":
        production["stored_rows"] = 10_000
        grown = alone / staged
        extra["growth"] = (grown / 1.25, grown, min(5.0, grown * 1.25))
        capacity = slots / alone
    draw, burst, unlike, declared = rng.random(), 128, False, None
    if draw < 0.25:
        burst = 0
    elif draw < 0.55 and kind in ("pool", "rows", "lock"):
        unlike = True
        factor = float(rng.uniform(0.5, 1.5))
        production = _scaled(production, factor)
        capacity *= factor
        if rng.random() < 0.6:
            declared = (factor / 1.15, factor * 1.15)
    paper = {"cap": _cap_users(config, service, think)}.get(kind, capacity * (think + objective) * 0.93)
    if kind in ("bucket", "hidden_bucket", "combined"):
        paper = capacity * (think + service)
    case = Case(
        number=number, kind=kind, seed=int(rng.integers(1 << 30)),
        staging=System(1, staged), production=System(1, alone),
        think_s=think, objective_s=objective, target=int(rng.integers(200, 500)), ramp_to=int(rng.choice([10, 20, 40])),
        max_burst=burst, identifiable=not kind.startswith("hidden"), unlike=unlike, factor=declared,
        rate_known=kind not in ("bucket", "hidden_bucket", "combined"), **extra,
    )  # fmt: skip
    return RealCase(case, config, production, paper)


def _cap_users(config: dict[str, Any], service: float, think: float) -> float:
    from weighbridge.checks.forecast.queueing import users_at_blocking

    return users_at_blocking(config.get("concurrent", 1), service, think, 0.01)


def _scaled(config: dict[str, Any], factor: float) -> dict[str, Any]:
    if "serial_ms" in config:
        return config | {"serial_ms": config["serial_ms"] / factor}
    return config | {"pool": max(1, round(config["pool"] * factor))}


class Client:
    """A crew in front of one queue server; use in a `with` block."""

    def __init__(self, port: int) -> None:
        self._first = Tiny({"port": port}, Session("tiny", timeout=30.0, retry=NO_RETRY))
        self._first.open()
        self.crew = Crew(lambda: self._first.fork(self._first.session))
        self.engine = ThreadEngine()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.crew.close()
        self._first.close()

    def drive(self, case: Case) -> EngineDrive:
        guards = Guards(latency_s=max(5 * case.objective_s, 0.5), seconds=30.0)
        return EngineDrive(
            self.engine, self.crew, object="things", keys=KEYS, shares={"lookup": 1.0}, guards=guards,
            pace=Pace(None, 1.0, patience_s=0.0), seed=case.seed % 9973,
        )  # fmt: skip

    def users(self, case: Case, users: int) -> Level:
        plan = LoadPlan(
            self.crew, "things", KEYS, {"lookup": 1.0}, users, case.think_s, seconds=R["hold_s"], warm_up_s=4.0,
            guards=Guards(error_share=1.0, seconds=R["hold_s"] + 1, grace_s=12.0), seed=users,
        )  # fmt: skip
        level = self.engine.run(plan).level
        if level is None:
            raise RuntimeError("a level was asked for")
        return level


def real_truth(real: RealCase, *, most: int = MOST) -> tuple[float, bool]:
    """(users at which it really breaks, whether the search found both sides); from the paper's number on."""
    case = real.case
    low, high = 0.0, float("inf")
    users = max(2, min(most, round(real.paper)))
    with QueueServer(**real.production) as server, Client(server.port) as client:
        if "bucket_rate" in real.production:
            _spend(client, case, real.production)
        for _ in range(9):
            level = client.users(case, users)
            broke = (
                level.calls == 0
                or level.error_share > case.error_objective
                or (level.calls > level.failed and level.p95_s > case.objective_s)
            )
            low, high = (low, float(users)) if broke else (float(users), high)
            if low and high < float("inf") and high / low < 1.1:
                break
            if not broke and users >= most:
                return float(users), False
            if high == float("inf"):
                users = min(most, round(users * 1.18) + 1)
            elif low == 0:
                users = max(1, round(users / 1.2))
            else:
                users = round((low + high) / 2)
    if low == 0:
        return high, False
    return ((low + high) / 2 if high < float("inf") else low), high < float("inf")


def _spend(client: Client, case: Case, config: dict[str, Any]) -> None:
    """Empty the bucket: what it saved up is spent by the first minutes of a day."""
    for _ in range(4):
        level = client.drive(case).flat_out(150, 6.0, int(config["bucket_burst"] + 4 * config["bucket_rate"]))
        if level.failed > 5:
            return
