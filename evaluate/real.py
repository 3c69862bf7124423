"""Cases that are really run: a queue server is probed as staging, and the users are really run to find the truth."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.cases import RANGES, Case
from evaluate.simulate import System, truth
from evaluate.tiny import Tiny
from weighbridge.checks.drive import EngineDrive, Pace
from weighbridge.checks.forecast.plan import Burst, Crew, Guards, Level, LoadPlan
from weighbridge.connectors.session import NO_RETRY, Session
from weighbridge.engine.threads import ThreadEngine
from weighbridge.sandbox.queue_server import QueueServer

R: dict[str, Any] = RANGES["real"]
MOST = 600
LEVELS = 7
MANY = 400
KEYS = [(i,) for i in range(500)]


@dataclass(frozen=True, slots=True)
class RealCase:
    case: Case
    staging: dict[str, Any]
    """Configuration of the queue server that is probed."""
    production: dict[str, Any]
    """Of the one whose users are really run."""

    @property
    def crowd(self) -> bool:
        """Whether only hundreds of users break it."""
        return self.case.kind == "hidden_pool"


def real_cases(seed: int) -> Iterator[RealCase]:
    """Every kind in turn; half with staging unlike production or without permission to burst."""
    for number in range(R["count"]):
        rng = np.random.default_rng([seed, 99, number])
        yield _case(number, R["kinds"][number % len(R["kinds"])], rng)


def _between(rng: np.random.Generator, ends: list[float]) -> float:
    low, high = ends
    return float(rng.uniform(low, high))


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
    elif kind == "bucket":
        config |= {"bucket_rate": capacity, "bucket_burst": int(_between(rng, R["bucket"]))}
    elif kind == "hidden_bucket":
        capacity = _between(rng, R["hidden_rate"])
        config |= {"bucket_rate": capacity, "bucket_burst": int(_between(rng, R["hidden_bucket"]))}
    elif kind == "cap":
        cap = int(_between(rng, R["cap"]))
        config |= {"concurrent": cap}
    elif kind == "combined":
        config |= {"pool": slots, "bucket_rate": capacity * 0.7, "bucket_burst": int(_between(rng, R["bucket"]))}
    elif kind == "rows":
        config |= {"pool": slots, "latency_per_stored_row_us": service * 1e6 / 10_000, "stored_rows": 2_000,
                   "latency_ms": 20.0}  # fmt: skip
        alone = 0.02 + service
    elif kind == "hidden_pool":
        config |= {"pool": 400}
    objective = max(R["objective_least_s"], alone * _between(rng, R["objective_over_service"]))
    production = dict(config)
    staged = 0.02 + service * 0.2 if kind == "rows" else alone
    if kind == "rows":
        production["stored_rows"] = 10_000
        grown = alone / staged
        extra["growth"] = (grown / 1.25, grown, min(5.0, grown * 1.25))
    draw, burst, unlike, declared = rng.random(), 128, False, None
    if draw < 0.25:
        burst = 0
    elif draw < 0.55 and kind in ("pool", "rows", "lock"):
        unlike = True
        factor = float(rng.uniform(0.5, 1.5))
        production = _scaled(production, factor)
        if rng.random() < 0.6:
            declared = (factor / 1.15, factor * 1.15)
    case = Case(
        number=number, kind=kind, seed=int(rng.integers(1 << 30)),
        staging=System(1, staged), production=System(1, alone),
        think_s=think, objective_s=objective, target=int(rng.integers(200, 500)), ramp_to=int(rng.choice([10, 20, 40])),
        max_burst=burst, identifiable=not kind.startswith("hidden"), unlike=unlike, factor=declared,
        rate_known=kind not in ("bucket", "hidden_bucket", "combined"), **extra,
    )  # fmt: skip
    return RealCase(case, config, production)


def on_paper(config: dict[str, Any]) -> System:
    """The simulated twin of a queue server."""
    service = config["latency_ms"] / 1000
    shape, cv = ("lognormal", 0.5) if config.get("jitter") == "lognormal" else ("constant", 0.0)
    if "serial_ms" in config:
        return System(1, config["serial_ms"] / 1000, service)
    service += config.get("latency_per_stored_row_us", 0.0) * config.get("stored_rows", 0) / 1e6
    return System(
        config.get("pool", 2_000), service, 0.0, shape, cv, config.get("concurrent"), config.get("bucket_rate"),
        float(config.get("bucket_burst", 0)),
    )  # fmt: skip


def _scaled(config: dict[str, Any], factor: float) -> dict[str, Any]:
    if "serial_ms" in config:
        return config | {"serial_ms": config["serial_ms"] / factor}
    return config | {"pool": max(1, round(config["pool"] * factor))}


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Cases run beside each other on one machine, but no two of them release their threads at the same moment."""
    from filelock import FileLock

    with FileLock(Path(tempfile.gettempdir()) / "weighbridge-evaluation.lock"):
        yield


class Turns(EngineDrive):
    """Bursts and levels without a pause in turns with those of the other cases."""

    def burst(self, size: int) -> Burst:
        with one_at_a_time():
            return super().burst(size)

    def flat_out(self, users: int, seconds: float, calls: int, *, back_off_s: float = 0.02) -> Level:
        with one_at_a_time():
            return super().flat_out(users, seconds, calls, back_off_s=back_off_s)


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

    def drive(self, case: Case) -> Turns:
        guards = Guards(latency_s=max(5 * case.objective_s, 0.5), seconds=30.0)
        return Turns(
            self.engine, self.crew, object="things", keys=KEYS, shares={"lookup": 1.0}, guards=guards,
            pace=Pace(None, 1.0, patience_s=0.0), seed=case.seed % 9973,
        )  # fmt: skip

    def users(self, case: Case, users: int) -> Level:
        # with many users a second of the clock holds as many calls as a minute with few
        hold = R["hold_s"] if users < MANY else R["hold_many_s"]
        plan = LoadPlan(
            self.crew, "things", KEYS, {"lookup": 1.0}, users, case.think_s, seconds=hold, warm_up_s=4.0,
            guards=Guards(error_share=1.0, seconds=hold + 1, grace_s=12.0), seed=users,
        )  # fmt: skip
        level = self.engine.run(plan).level
        if level is None:
            raise RuntimeError("a level was asked for")
        return level


def broke_by(level: Level, case: Case) -> float:
    """How far beyond what users bear a level is: above 1 it broke. Of errors and latency, whichever is worse."""
    if level.calls == level.failed:
        return float("inf") if level.failed else 0.0
    return max(level.error_share / case.error_objective, level.p95_s / case.objective_s)


def real_truth(real: RealCase, *, most: int = MOST) -> tuple[float, bool]:
    """(users at which it really breaks, whether the search found both sides); the paper only says where to begin.

    Refusals come in clusters, so a level near the break is held for long, and the break is read off the line between
    the levels on its two sides instead of off the one that happened to be tried.
    """
    case = real.case
    found: dict[int, float] = {}
    paper = truth(on_paper(real.production), case.think_s, case.objective_s, case.error_objective, most=2 * most)
    users = max(2, min(most, round(0.94 * paper)))
    with QueueServer(**real.production) as server, Client(server.port) as client:
        for _ in range(LEVELS):
            if "bucket_rate" in real.production:
                _spend(client, case, real.production)
            level = client.users(case, users)
            found[users] = broke_by(level, case)
            if found[users] > 1 and (why := level.audit.distorted(case.objective_s)):
                raise RuntimeError(f"{users} users: {why}")
            held = [n for n, by in found.items() if by <= 1]
            broke = [n for n, by in found.items() if by > 1 and n > max(held, default=0)]
            if held and broke and min(broke) / max(held) < 1.18:
                return _between_levels(max(held), min(broke), found), True
            if not broke and max(held) >= most:
                return float(max(held)), False
            if not broke:
                users = min(most, round(max(held) * 1.13) + 1)
            elif not held:
                users = max(1, round(min(broke) / 1.13))
            else:
                users = round((max(held) + min(broke)) / 2)
    held = [n for n, by in found.items() if by <= 1]
    broke = [n for n, by in found.items() if by > 1 and n > max(held, default=0)]
    if held and broke:
        return _between_levels(max(held), min(broke), found), True
    return float(max(held) if held else min(broke)), False


def _between_levels(held: int, broke: int, found: dict[int, float]) -> float:
    """Where the line between two levels passes 1; their middle where one of them has no finite place on it."""
    low, high = found[held], found[broke]
    if high > 30:
        share = 0.5
    elif low > 0.1:
        # refusals grow by factors, and between neighbours a latency may as well
        share = math.log(1 / low) / math.log(high / low)
    else:
        share = (1 - low) / (high - low)
    return held + (broke - held) * share


def _spend(client: Client, case: Case, config: dict[str, Any]) -> None:
    """Empty the bucket: what it saved up is spent by the first minutes of a day."""
    for _ in range(4):
        calls = int(config["bucket_burst"] + 4 * config["bucket_rate"])
        level = client.drive(case).flat_out(150, 6.0, calls, back_off_s=0.2)
        if level.failed > 5:
            return
