"""READY under attack: systems drawn around the very edge of breaking, of kinds that no range of the evaluation holds.

Caps just above the largest burst, pools that fill at the target, service times with long tails, locks, a pool behind a
cap, pauses from a third of a second to a minute. Nobody declares anything but the rate. What matters is one number: how
often READY was said of a system that breaks below the target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluate.score import HEADROOM
from evaluate.simulate import Simulation, System, truth
from weighbridge.checks.base import Permissions
from weighbridge.checks.forecast.decide import decide
from weighbridge.checks.forecast.outlook import Setting, load_forecasts
from weighbridge.checks.forecast.transfer import capacity_transfer, limit_transfer
from weighbridge.checks.forecast.weigh import Policy, measure

__all__ = ["KINDS", "Odd", "ask"]

KINDS = ("cap", "pool", "long tail", "pool behind a cap", "lock")


@dataclass(frozen=True, slots=True)
class Odd:
    """One system, what was said of it, and the truth."""

    kind: str
    system: System
    target: int
    verdict: str
    truth: float

    @property
    def false_ready(self) -> bool:
        return self.verdict == "READY" and self.truth < self.target

    @property
    def false_breaks(self) -> bool:
        return self.verdict == "BREAKS" and self.truth >= self.target


def ask(seed: int, number: int) -> Odd:
    """Draw a system, probe it with what is permitted, and find where it breaks by running the users (simulated)."""
    rng = np.random.default_rng([seed, number])
    kind = KINDS[number % len(KINDS)]
    service, think = _log(rng, 0.02, 2.0), _log(rng, 0.3, 60.0)
    target, stretch = int(rng.integers(50, 500)), float(rng.uniform(2, 8))
    system = _system(rng, kind, service, think, target)
    alone = system.service_s + system.delay_s
    users, burst = int(rng.choice([10, 20, 40])), int(rng.choice([0, 32, 64, 128]))
    per_user = 1 / (think + alone)
    permissions = Permissions(environment="sandbox", max_users=users, max_burst=burst, writes=False)
    policy = Policy(
        think_s=think, objective_s=alone * stretch, error_objective=0.01, max_users=users, max_burst=burst,
        needed_per_s=target * HEADROOM * per_user, seconds=40.0,
    )  # fmt: skip
    setting = Setting(
        calls_per_user_hour=per_user * 3600, peak_factor=1.0, target=target, environment="sandbox",
        capacity=capacity_transfer(permissions), limit=limit_transfer("sandbox", permissions), rate_known=True,
    )  # fmt: skip
    seen = measure(Simulation(system, seed * 1_000 + number), policy)
    verdict = decide(list(load_forecasts(seen, setting)), target, HEADROOM)
    return Odd(kind, system, target, verdict, truth(system, think, policy.objective_s, policy.error_objective))


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _system(rng: np.random.Generator, kind: str, service: float, think: float, target: int) -> System:
    busy = target * service / (service + think)  # calls in progress of the target's users, on average

    def around(low: float, high: float) -> int:
        return max(1, int(busy * rng.uniform(low, high)))

    usual = {"shape": "lognormal", "cv": 0.3}
    if kind == "cap":
        return System(2_000, service, cap=max(2, around(0.7, 2.0)), **usual)
    if kind == "pool":
        return System(around(0.7, 1.8), service, **usual)
    if kind == "long tail":
        return System(around(0.8, 2.0), service, shape="lognormal", cv=float(rng.uniform(1.0, 2.5)))
    if kind == "lock":
        hold = (service + think) / target * float(rng.uniform(0.4, 1.2))
        return System(1, hold, max(0.0, service - hold))
    slots = around(0.9, 2.0)
    return System(slots, service, cap=slots + int(rng.integers(1, 60)), **usual)
