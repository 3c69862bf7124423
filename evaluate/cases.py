"""Seeded cases: a system, what staging shows of it, what is permitted, and the truth."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.simulate import System

RANGES: dict[str, Any] = tomllib.loads((Path(__file__).parent / "ranges.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Case:
    number: int
    kind: str
    seed: int
    staging: System
    production: System
    think_s: float
    objective_s: float
    target: int
    ramp_to: int
    max_burst: int
    identifiable: bool
    unlike: bool
    """Staging is not like production."""
    factor: tuple[float, float] | None = None
    """capacity_factor as declared, None where nothing is."""
    rate_known: bool = True
    growth: tuple[float, float, float] = (1.0, 1.0, 1.0)
    quota: dict[str, float] = field(default_factory=dict)
    error_objective: float = 0.01

    @property
    def rung(self) -> int:
        return 3 if self.max_burst else 2


def cases(seed: int, *, share: float = 1.0) -> Iterator[Case]:
    """All kinds, `share` of their counts."""
    number = 0
    for index, (kind, count) in enumerate(RANGES["counts"].items()):
        for i in range(max(1, round(count * share))):
            yield _case(number, kind, np.random.default_rng([seed, index, i]))
            number += 1


def _between(rng: np.random.Generator, ends: list[float], *, log: bool = False) -> float:
    low, high = ends
    return float(np.exp(rng.uniform(np.log(low), np.log(high)))) if log else float(rng.uniform(low, high))


def _case(number: int, kind: str, rng: np.random.Generator) -> Case:
    scale, staging = RANGES["scale"], RANGES["staging"]
    ranges = RANGES[kind]
    think = 0.0 if rng.random() < scale["think_zero_share"] else _between(rng, scale["think_s"])
    system, extra = _system(kind, ranges, rng)
    served = extra.get("production", system)
    objective = (served.service_s + served.delay_s) * _between(rng, scale["objective_over_service"])
    max_burst = int(rng.choice(scale["max_burst"]))
    factor, unlike, declared = 1.0, False, None
    draw = rng.random()
    if draw < staging["no_burst_share"]:
        max_burst = 0
    elif draw < staging["no_burst_share"] + staging["unlike_share"]:
        unlike = True
        factor = _between(rng, staging["capacity_factor"], log=True)
        if rng.random() < staging["factor_declared_share"]:
            wide = _between(rng, [1.1, 1.5])
            declared = (factor / wide, factor * wide)
    production = extra.pop("production", system)
    if unlike:
        production = production.scaled(factor)
    identifiable = not kind.startswith("hidden")
    if kind in ("pool", "hidden_pool") and max_burst and system.slots > max_burst / 2:
        identifiable = False
    if kind in ("bucket", "combined", "cap") and max_burst and _needs(system) > max_burst:
        identifiable = False
    seed = int(rng.integers(1 << 31))
    if extra.get("quota") and not quota_declared(seed):
        identifiable = False
    return Case(
        number=number, kind=kind, seed=seed, staging=system, production=production,
        think_s=think, objective_s=objective, target=int(rng.integers(*scale["target"])),
        ramp_to=int(rng.choice(scale["ramp_to"])), max_burst=max_burst, identifiable=identifiable, unlike=unlike,
        factor=declared, rate_known=kind not in ("hidden_bucket", "bucket", "combined"), **extra,
    )  # fmt: skip


def quota_declared(seed: int) -> bool:
    """Production's quota is declared in two cases of three; staging's alone says nothing of production."""
    return seed % 3 != 0


def _needs(system: System) -> float:
    return max(system.bucket, (system.cap or 0) * 1.3)


def _system(kind: str, r: dict[str, Any], rng: np.random.Generator) -> tuple[System, dict[str, Any]]:
    def whole(name: str) -> int:
        return round(_between(rng, r[name], log=True))

    def real(name: str) -> float:
        return _between(rng, r[name])

    if kind == "pool":
        shape = str(rng.choice(r["shapes"]))
        return System(whole("slots"), real("service_s"), real("delay_s"), shape, real("cv")), {}
    if kind == "lock":
        return System(1, real("hold_s"), real("delay_s")), {}
    if kind in ("bucket", "hidden_bucket"):
        return System(2_000, real("service_s"), shape="lognormal", cv=0.3, rate=real("rate"), bucket=whole("burst")), {}
    if kind == "cap":
        return System(2_000, real("service_s"), shape="lognormal", cv=0.3, cap=whole("cap")), {}
    if kind == "combined":
        return System(
            whole("slots"), real("service_s"), shape="lognormal", cv=0.3, rate=real("rate"), bucket=whole("burst")
        ), {}
    if kind == "scan":
        fixed, table, share = real("fixed_s"), real("per_production_table_s"), real("staging_share")
        slots = whole("slots")
        staged = System(slots, fixed + table * share, shape="lognormal", cv=0.2)
        real_one = System(slots, fixed + table, shape="lognormal", cv=0.2)
        # what LoadCheck derives from two sizes of the table: the fixed part is known only roughly
        grown = (fixed + table) / (fixed + table * share)
        most = 1 / share
        return staged, {"production": real_one, "growth": (max(1.0, grown / 1.25), grown, min(most, grown * 1.25))}
    if kind == "quota":
        cap = _between(rng, r["cap"], log=True)
        quota = {
            "cap": cap, "staging_cap": cap * _between(rng, r["staging_over_production"], log=True),
            "background": cap * real("background_share"), "calls_per_user_hour": real("calls_per_user_hour"),
        }  # fmt: skip
        return System(2_000, 0.03, shape="lognormal", cv=0.3), {"quota": quota}
    slots = whole("slots")
    return System(slots, real("service_s"), shape="lognormal", cv=0.3), {}
