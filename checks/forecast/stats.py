"""Percentiles of a level with their confidence, by HdrHistogram and order statistics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from weighbridge.checks.forecast.plan import Audit, Level

__all__ = ["SURE", "level_of", "percentile", "percentile_ends", "ranks_above"]

HIGHEST_US = 600_000_000
SURE = 2.6
"""Standard errors by which ranks must differ before one is called slower than the other."""


def percentile(ordered: Sequence[float], share: float) -> float:
    """Of sorted values; not a number for none."""
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def percentile_ends(ordered: Sequence[float], share: float) -> tuple[float, float]:
    """95 % confidence ends of a percentile from order statistics (normal approximation of the binomial)."""
    n = len(ordered)
    if n == 0:
        return float("nan"), float("nan")
    half = 1.96 * math.sqrt(n * share * (1 - share))
    low = min(n - 1, max(0, math.floor(n * share - half) - 1))
    high = min(n - 1, max(0, math.ceil(n * share + half)))
    return ordered[low], ordered[high]


def level_of(
    latencies: Sequence[float], errors: Mapping[str, int], *, users: int, think_s: float, seconds: float, sent: int,
    audit: Audit, stopped: str | None = None, elapsed_s: float = 0.0, starts: Sequence[float] = (),
) -> Level:  # fmt: skip
    """A `Level` from its successful calls' latencies (seconds from the intended start, in order of completion)."""
    from hdrh.histogram import HdrHistogram

    histogram = HdrHistogram(1, HIGHEST_US, 3)
    for latency in latencies:
        histogram.record_value(max(1, min(HIGHEST_US, int(latency * 1e6))))
    ordered = sorted(latencies)
    n = len(ordered)
    mean = sum(ordered) / n if n else float("nan")
    sd = math.sqrt(sum((x - mean) ** 2 for x in ordered) / (n - 1)) if n > 1 else 0.0
    low, high = percentile_ends(ordered, 0.95)

    def at(share: float) -> float:
        return histogram.get_value_at_percentile(share) / 1e6 if n else float("nan")

    return Level(
        users=users, think_s=think_s, seconds=seconds, calls=n + sum(errors.values()), errors=dict(errors),
        throughput=n / seconds if seconds > 0 else 0.0, mean_s=mean, p50_s=at(50), p95_s=at(95), p99_s=at(99),
        p95_low_s=low, p95_high_s=high, sd_s=sd, sent=sent, audit=audit, stopped=stopped, latencies=tuple(latencies),
        elapsed_s=elapsed_s, starts=tuple(starts),
    )  # fmt: skip


def ranks_above(these: Sequence[float], those: Sequence[float]) -> float:
    """Standard errors by which `these` rank above `those` (Mann and Whitney): medians of few calls differ by chance."""
    n, m = len(these), len(those)
    wins = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a in these for b in those)
    return (wins - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
