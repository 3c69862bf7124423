"""What a ramp alone says: a profile likelihood over (capacity, slots), the refusal rule, and the USL as a doubter.

A smooth curve says little: a 20-slot pool looks the same at 40 users as a system without any limit. So a number is
given only if the limit explains the ramp ten times better than no limit does **and** the interval is narrower than
a factor of two; everything else is a refusal with its lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weighbridge.checks.forecast.plan import Level
from weighbridge.checks.forecast.queueing import Station, crossing, machine_repair
from weighbridge.checks.forecast.ranges import Range

if TYPE_CHECKING:
    import numpy as np

__all__ = ["MODEL_ERROR", "RampFit", "fit_ramp", "usl_crossing"]

MODEL_ERROR = 0.15
"""No interval of a fitted curve is narrower than this: the models are not the systems."""
LIKELIHOOD_RATIO = 10.0
WIDEST = 2.0


@dataclass(frozen=True, slots=True)
class RampFit:
    """`users` None: refused, with `reason`."""

    users: Range | None
    station: Station | None
    likelihood_ratio: float
    reason: str


def fit_ramp(levels: Sequence[Level], objective_s: float) -> RampFit:
    """Users at which the objective falls, from the ramp alone, or a refusal."""
    usable = [level for level in levels if level.calls - level.failed >= 15]
    if len(usable) < 3:
        return RampFit(None, None, 1.0, "fewer than three levels with enough calls")
    think = usable[-1].think_s
    alone = usable[0].mean_s
    top = max(level.throughput for level in usable)
    # errors of a level's mean: its own, doubled because neighbours in a queue wait together, and 3 % of the model
    errors = [
        math.hypot(2 * level.sd_s / math.sqrt(max(1, level.calls - level.failed)), 0.03 * level.mean_s)
        for level in usable
    ]

    def score(rate: float, slots: int) -> float:
        service = slots / rate
        delay = max(0.0, alone - service)
        if service > alone * 1.15 and slots > 1:
            return -math.inf
        total = 0.0
        for level, error in zip(usable, errors, strict=True):
            _, seen = machine_repair(level.users, slots, service, level.think_s + delay)
            total -= ((level.mean_s - seen - delay) / error) ** 2 / 2
        return total

    flat = -sum(((level.mean_s - alone) / error) ** 2 / 2 for level, error in zip(usable, errors, strict=True))
    grid = [top * 1.01 * 1.06**i for i in range(60)]
    best: tuple[float, float, int] = (-math.inf, 0.0, 1)
    profile: list[tuple[float, float, int]] = []
    for rate in grid:
        options = [(score(rate, m), m) for m in _slots(rate * alone)]
        value, slots = max(options)
        profile.append((value, rate, slots))
        best = max(best, (value, rate, slots))
    ratio = math.exp(min(700.0, best[0] - flat))
    if ratio <= LIKELIHOOD_RATIO:
        return RampFit(None, None, ratio, "the ramp looks the same with and without a limit")
    inside = [(rate, slots) for value, rate, slots in profile if value > best[0] - 1.92]
    users = [
        crossing(Station(m, m / rate, max(0.0, alone - m / rate), 1.0), think, objective_s) for rate, m in inside[::3]
    ]
    station = Station(best[2], best[2] / best[1], max(0.0, alone - best[2] / best[1]), 1.0)
    middle = crossing(station, think, objective_s)
    low = min([*users, middle]) * (1 - MODEL_ERROR)
    high = max([*users, middle]) * (1 + MODEL_ERROR)
    if inside[-1][0] >= grid[-1] * 0.99 or high / max(1e-9, low) > WIDEST:
        return RampFit(None, station, ratio, f"the ramp allows anything from {low:.0f} to {high:.0f} users and more")
    return RampFit(Range(low, middle, high), station, ratio, "profile likelihood over capacity and slots")


def _slots(most: float) -> list[int]:
    whole = max(1, round(most))
    return sorted({1, whole} | {m for m in (2, 4, 8, 16, 32, 64, 128) if m < whole})


def usl_crossing(levels: Sequence[Level], objective_s: float) -> float | None:
    """Users at which the Universal Scalability Law sees the objective fall; None where it never does or cannot fit.

    X(N) = lambda N / (1 + sigma (N - 1) + kappa N (N - 1)) (Gunther). A cross-check only: on pools and locks its
    interval held the truth in none of the runs that it was tried on.
    """
    import numpy as np

    points = [(level.users, level.throughput) for level in levels if level.throughput > 0]
    if len(points) < 3:
        return None
    n = np.array([p[0] for p in points], dtype=float)
    x = np.array([p[1] for p in points])
    # N/X = (1 + sigma (N-1) + kappa N (N-1)) / lambda is linear in (1, N-1, N(N-1)) / lambda
    design = np.stack([np.ones_like(n), n - 1, n * (n - 1)], axis=1)
    weights = x / n
    solution = _nonnegative(design * weights[:, None])
    a, b, c = solution
    if a <= 0:
        return None
    think = levels[-1].think_s
    for step in range(1, 400):
        users = 1.03**step * levels[0].users
        latency = a + b * (users - 1) + c * users * (users - 1) - think
        if latency > objective_s / 1.3:
            return users
    return None


def _nonnegative(design: np.ndarray) -> tuple[float, float, float]:
    """Least squares of `design @ x = 1` with no x below zero: the best of the seven choices of columns."""
    import numpy as np

    ones = np.ones(len(design))
    best, found = float("inf"), (0.0, 0.0, 0.0)
    for mask in range(1, 8):
        columns = [i for i in range(3) if mask >> i & 1]
        if len(columns) > len(design):
            continue
        x, *_ = np.linalg.lstsq(design[:, columns], ones, rcond=None)
        if (x < 0).any():
            continue
        error = float(((design[:, columns] @ x - ones) ** 2).sum())
        if error < best - 1e-12:
            values = [0.0, 0.0, 0.0]
            for column, value in zip(columns, x.tolist(), strict=True):
                values[column] = value
            best, found = error, (values[0], values[1], values[2])
    return found
