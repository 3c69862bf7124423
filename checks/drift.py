"""Whether the data still is what it was at the last accepted run: schema, volume, nulls, distributions, formats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from weighbridge.checks.base import Code, Context, Cost, Evidence, Finding, NotRun, Result, Severity
from weighbridge.contracts.models import IntegrationPoint

__all__ = ["DriftCheck", "category_drift", "mean_drift", "null_drift", "quantile_drift"]

CHANCE = 1e-6
"""Largest probability of chance at which a change is reported: a point has a hundred tests, a year has 365 nights."""
LEAST_ROWS = 200
"""Fewer rows on either side say nothing about a distribution."""
LEAST_NULLS = 0.01
"""A null rate that moved by less is not reported, however sure it is."""
LEAST_PSI = 0.02
"""Population stability index below which a change of frequencies is not worth a person's time (0.1 is 'some')."""
LEAST_DISTANCE = 0.02
"""Kolmogorov-Smirnov distance below which a change of a distribution is not reported."""
LEAST_MEAN = 0.03
"""Relative change of a mean below which it is not reported."""
VOLUME = 0.3
"""Relative change of the number of rows that is reported."""
Row = Mapping[str, Any]


class DriftCheck:
    """Compares schema, volume and each column's profile with the last accepted run of this point.

    Chance is said with every finding: the probability that two draws from unchanged data differ this much.
    Distributions of numbers and text lengths are compared by a Kolmogorov-Smirnov test on 33 quantiles and by their
    means, frequencies and formats by the population stability index and a chi-squared test, null rates by a
    two-proportion test. Keys and dates move by nature and are not compared.

    Breaks in production
        A field that the source stopped filling, an amount that changed its unit, a status nobody knew: each record is
        valid, no rule of the contract fails, and the answers are wrong from that night on.

    Fix
        Ask the system's owner what changed on that day. If it is meant, acknowledge it (`weighbridge history
        acknowledge`) and make it a rule of the contract; if not, have it mended before the go-live.
    """

    name: ClassVar[str] = "drift"
    needs: ClassVar[tuple[str, ...]] = ("schema", "count_before", "landing", "profile")
    facets: ClassVar[tuple[type, ...]] = ()
    cost: ClassVar[Cost] = "read"
    codes: ClassVar[tuple[Code, ...]] = (
        Code("drift.column_gone", Severity.WARN, "Ask the owner; a contract that names the column breaks."),
        Code("drift.column_new", Severity.INFO, "Add it to the contract if the integration is to read it."),
        Code("drift.type_changed", Severity.WARN, "Ask the owner; read it in its new type or have it changed back."),
        Code("drift.volume", Severity.WARN, "Ask what was loaded or deleted since the last accepted run."),
        Code("drift.nulls", Severity.WARN, "Ask why the source fills the field less, or more, than before."),
        Code("drift.distribution", Severity.WARN, "Ask whether a unit, a currency or a source changed."),
        Code("drift.frequencies", Severity.WARN, "Ask which values are new or gone; check what the integration does."),
        Code("drift.formats", Severity.WARN, "Ask whether the field is written another way now."),
    )

    def __call__(self, point: IntegrationPoint, evidence: Evidence, context: Context) -> Iterable[Result]:
        previous = context.previous
        if not previous or not (previous.get("profile") or previous.get("schema")):
            raise NotRun("not_applicable", "there is no earlier accepted run: this one becomes the baseline.")
        since = f"since {str(previous.get('at') or 'the last accepted run')[:16]}"
        yield from _schema(point, previous.get("schema") or {}, evidence, since)
        old, new = previous.get("profile") or {}, evidence.profile
        if not old:
            return
        yield from _volume(point, old, new, since)
        for name, now in new["columns"].items():
            was = (old.get("columns") or {}).get(name)
            if was is not None and was.get("type") == now["type"]:
                yield from _column(point, name, was, now, (_seen(old), _seen(new)), since)


def _seen(profile: Row) -> tuple[int, int]:
    return int(profile["rows"]), int(profile.get("sampled") or profile["rows"])


def _schema(point: IntegrationPoint, old: Row, evidence: Evidence, since: str) -> Iterator[Finding]:
    was = {c["name"]: c for c in old.get("columns") or ()}
    now = {c.name: c for c in evidence.schema.columns}
    if not was:
        return
    for name in was:
        if name not in now:
            yield Finding(
                "drift.column_gone", f"{point.id}: the column {name} is gone {since}.",
                expected=was[name]["native"], observed=None, evidence={"column": name},
            )  # fmt: skip
        elif was[name]["native"] != now[name].native:
            yield Finding(
                "drift.type_changed", f"{point.id}: the type of {name} changed {since}.",
                expected=was[name]["native"], observed=now[name].native, evidence={"column": name},
            )  # fmt: skip
    for name, column in now.items():
        if name not in was:
            yield Finding(
                "drift.column_new", f"{point.id}: the column {name} is new {since}.",
                observed=column.native, evidence={"column": name},
            )  # fmt: skip


def _volume(point: IntegrationPoint, old: Row, new: Row, since: str) -> Iterator[Finding]:
    before, after = int(old["rows"]), int(new["rows"])
    # Counts of events scatter by their square root; a change must exceed that as well as the share.
    if abs(after - before) > max(VOLUME * before, 6 * math.sqrt(max(before, 1))):
        yield Finding(
            "drift.volume", f"{point.id}: {before:,} rows became {after:,} {since} ({_percent(before, after)}).",
            expected=before, observed=after, evidence={"object": point.object.name},
        )  # fmt: skip


def _percent(before: float, after: float) -> str:
    return "from none" if not before else f"{(after - before) / before:+.0%}"


def _column(
    point: IntegrationPoint, name: str, was: Row, now: Row, seen: tuple[tuple[int, int], tuple[int, int]], since: str
) -> Iterator[Finding]:
    (rows_was, sample_was), (rows_now, sample_now) = seen
    if min(rows_was, rows_now) < LEAST_ROWS:
        return
    where = {"column": name}
    share_was, share_now = was["nulls"] / rows_was, now["nulls"] / rows_now
    chance = null_drift(was["nulls"], rows_was, now["nulls"], rows_now)
    if abs(share_now - share_was) >= LEAST_NULLS and chance < CHANCE:
        yield Finding(
            "drift.nulls",
            f"{point.id}.{name}: {share_was:.1%} nulls became {share_now:.1%} {since} ({_odds(chance)}).",
            expected=share_was, observed=share_now, evidence={**where, "chance": chance},
        )  # fmt: skip
    if was.get("key") or now.get("key"):
        return
    filled = (
        max(0, round(sample_was * (1 - share_was))),
        max(0, round(sample_now * (1 - share_now))),
    )
    if min(filled) < LEAST_ROWS:
        return
    for label, a, b in (("values", was, now), ("lengths", was.get("lengths"), now.get("lengths"))):
        if a and b and a.get("quantiles") and b.get("quantiles"):
            yield from _distribution(point, name, label, a, b, filled, since)
    for code, key in (("drift.frequencies", "top"), ("drift.formats", "shapes")):
        if was.get(key) and now.get(key) and not (key == "shapes" and "top" in now):
            index, chance = category_drift(was[key], filled[0], now[key], filled[1])
            if index >= LEAST_PSI and chance < CHANCE:
                what = "frequencies of its values" if key == "top" else "formats of its values"
                yield Finding(
                    code,
                    f"{point.id}.{name}: the {what} changed {since} (PSI {index:.2f}, {_odds(chance)}).",
                    expected=f"PSI below {LEAST_PSI}", observed=index, evidence={**where, "chance": chance},
                )  # fmt: skip


def _distribution(
    point: IntegrationPoint, name: str, label: str, was: Row, now: Row, filled: tuple[int, int], since: str
) -> Iterator[Finding]:
    distance, chance = quantile_drift(was["quantiles"], filled[0], now["quantiles"], filled[1])
    shifted = mean_drift(was, filled[0], now, filled[1])
    moved = _relative(was.get("mean"), now.get("mean"))
    by_shape = distance >= LEAST_DISTANCE and chance < CHANCE
    by_mean = abs(moved) >= LEAST_MEAN and shifted < CHANCE
    if by_shape or by_mean:
        likely = min(chance if by_shape else 1.0, shifted if by_mean else 1.0)
        of_what = "" if label == "values" else f" {label}"
        yield Finding(
            "drift.distribution",
            f"{point.id}.{name}: the distribution of its{of_what or ' values'} changed {since}: "
            f"mean {was['mean']:.4g} became {now['mean']:.4g} ({moved:+.1%}), "
            f"distance {distance:.3f} ({_odds(likely)}).",
            expected=was["mean"], observed=now["mean"],
            evidence={"column": name, "of": label, "distance": distance, "chance": likely},
        )  # fmt: skip


def _relative(before: float | None, after: float | None) -> float:
    if before is None or after is None:
        return 0.0
    if before == 0:
        return math.copysign(1.0, after) if after else 0.0
    return (after - before) / abs(before)


def _odds(chance: float) -> str:
    return "by chance less than once in a million" if chance < CHANCE else f"by chance once in {1 / chance:,.0f}"


# --- the tests ---------------------------------------------------------------------------------------------------


def null_drift(nulls_a: int, rows_a: int, nulls_b: int, rows_b: int) -> float:
    """Probability of chance for two null counts (two-proportion z test with pooled variance)."""
    pooled = (nulls_a + nulls_b) / (rows_a + rows_b)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / rows_a + 1 / rows_b))
    if spread == 0:
        return 1.0
    return math.erfc(abs(nulls_a / rows_a - nulls_b / rows_b) / spread / math.sqrt(2))


def mean_drift(a: Row, rows_a: int, b: Row, rows_b: int) -> float:
    """Probability of chance for two means (Welch's test, normal for the hundreds of rows asked for)."""
    if None in (a.get("mean"), b.get("mean"), a.get("sd"), b.get("sd")):
        return 1.0
    spread = math.sqrt(a["sd"] ** 2 / rows_a + b["sd"] ** 2 / rows_b)
    if spread == 0:
        return 1.0 if a["mean"] == b["mean"] else 0.0
    return math.erfc(abs(a["mean"] - b["mean"]) / spread / math.sqrt(2))


def quantile_drift(a: Sequence[float], rows_a: int, b: Sequence[float], rows_b: int) -> tuple[float, float]:
    """Kolmogorov-Smirnov distance of two quantile sketches, and the probability of chance.

    A sketch of 33 quantiles places the distribution to within 1/32; the distance is taken only where both sketches
    are certain, so that coarseness never makes a drift: it can only hide a small one, which the means then show.
    """
    distance = 0.0
    for x in {*a, *b}:
        low_a, high_a = _placed(a, x)
        low_b, high_b = _placed(b, x)
        distance = max(distance, low_a - high_b, low_b - high_a)
    effective = rows_a * rows_b / (rows_a + rows_b)
    # Massart's bound for the tail of the Kolmogorov distribution.
    return distance, min(1.0, 2 * math.exp(-2 * effective * distance**2))


def _placed(quantiles: Sequence[float], x: float) -> tuple[float, float]:
    """Bounds of the share of values up to x: what the sketch knows for certain."""
    steps = len(quantiles) - 1
    up_to = sum(q <= x for q in quantiles)
    below = sum(q < x for q in quantiles)
    return max(0.0, (up_to - 1) / steps), min(1.0, max(up_to, below + 1) / steps)


def category_drift(
    a: Sequence[Sequence[Any]], rows_a: int, b: Sequence[Sequence[Any]], rows_b: int
) -> tuple[float, float]:
    """Population stability index of two lists of frequent values, and the probability of chance.

    Values outside either list count as 'other'. Without a change the index times the harmonic size is chi-squared with
    one degree fewer than there are groups.
    """
    first, second = {str(k): int(n) for k, n in a}, {str(k): int(n) for k, n in b}
    named = [k for k in first.keys() | second.keys() if k in first and k in second]
    lost = [
        k for k in first.keys() ^ second.keys() if max(first.get(k, 0), second.get(k, 0)) >= 0.01 * min(rows_a, rows_b)
    ]
    groups = [(first.get(k, 0), second.get(k, 0)) for k in sorted([*named, *lost])]
    rest_a, rest_b = rows_a - sum(x for x, _ in groups), rows_b - sum(y for _, y in groups)
    groups.append((max(0, rest_a), max(0, rest_b)))
    groups = [(x, y) for x, y in groups if x + y > 0]
    if len(groups) < 2:
        return 0.0, 1.0
    size_a, size_b = sum(x for x, _ in groups), sum(y for _, y in groups)
    index = statistic = 0.0
    for x, y in groups:
        p, q = (x + 0.5) / (size_a + 0.5 * len(groups)), (y + 0.5) / (size_b + 0.5 * len(groups))
        index += (p - q) * math.log(p / q)
        pooled = (x + y) / (size_a + size_b)
        statistic += (x / size_a - y / size_b) ** 2 / (pooled * (1 / size_a + 1 / size_b))
    return index, _chi_squared_tail(statistic, len(groups) - 1)


def _chi_squared_tail(statistic: float, degrees: int) -> float:
    from scipy.special import gammaincc

    return float(gammaincc(degrees / 2, statistic / 2))
