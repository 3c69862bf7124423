"""Keys to call with: distinct existing ones, spread over the table, some called far more often than others.

A ramp that asks for one key over and over weighs a cache. Real people ask for many keys, a few of them often.
"""

from __future__ import annotations

import random
from typing import Any

from weighbridge.checks.base import Landing
from weighbridge.contracts.models import IntegrationPoint

__all__ = ["sample", "skewed"]

MOST_KEYS = 2_000
SKEW = 1.1
"""Zipf exponent where the contract says nothing: some keys are hot, most are cold."""


def sample(landing: Landing, point: IntegrationPoint, seed: int, n: int = 500) -> list[tuple[Any, ...]]:
    """Up to `n` keys, with repetition by skew, drawn from the landed rows; [] where the point has no key.

    customProperty `weighbridge.key_skew` of the object sets the Zipf exponent (0: every key as often as any other).
    """
    columns = [p.physical_name for p in point.object.key if p.physical_name in landing.columns]
    if not columns or len(columns) != len(point.object.key):
        columns = [c for c in landing.keys if c in landing.columns]
    if not columns or landing.rows == 0:
        return []
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    wanted = min(MOST_KEYS, n, landing.rows)
    step = max(1, landing.rows // wanted)
    quoted = ", ".join('"' + c.replace('"', '""') + '"' for c in columns)
    alive = " AND ".join('"' + c.replace('"', '""') + '" IS NOT NULL' for c in columns)
    with landing.connect() as connection:
        found = connection.execute(
            f'SELECT {quoted} FROM "{landing.table}" WHERE {alive} AND _wb_row % ? = ? ORDER BY _wb_row LIMIT ?',
            [step, rng.randrange(step) if landing.rows > step else 0, wanted],
        ).fetchall()
    distinct = list(dict.fromkeys(tuple(row) for row in found))
    return skewed(distinct, float(point.object.custom.get("weighbridge.key_skew", SKEW)), n=n, seed=seed)


def skewed(keys: list[tuple[Any, ...]], exponent: float, *, n: int, seed: int) -> list[tuple[Any, ...]]:
    """`n` draws from `keys`: every key once while they last, then by Zipf weights in a seeded order of heat."""
    if not keys:
        return []
    rng = random.Random(seed)  # noqa: S311
    heat = keys[:]
    rng.shuffle(heat)
    drawn = heat[:n]
    if len(drawn) < n:
        weights = [1 / (rank**exponent) for rank in range(1, len(heat) + 1)]
        drawn += rng.choices(heat, weights, k=n - len(drawn))
    rng.shuffle(drawn)
    return drawn
