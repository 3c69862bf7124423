"""What would move a ceiling: a small catalogue, each remedy evaluated in the same model as the ceiling itself.

Every entry is a forecast, not a promise: `{"remedy", "users", "low", "high", "assumes"}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weighbridge.checks.forecast.models import evaluate
from weighbridge.checks.forecast.queueing import Station, crossing, erlang_load
from weighbridge.checks.forecast.ranges import Range

__all__ = [
    "concurrency_remedies", "connection_remedies", "latency_remedies", "quota_remedies", "rate_remedies",
    "window_remedies",
]  # fmt: skip

BATCH = 25
"""Records a composite request carries (Salesforce composite: 25 sub-requests; OData $batch takes more)."""
CACHED = 0.7
"""Share of look-ups that a cache of the day answers; a project measures its own."""


def _entry(remedy: str, users: float, like: Range, assumes: str) -> Mapping[str, Any]:
    scale = users / like.mid if like.mid > 0 else 1.0
    low, high = (like.low * scale, like.high * scale) if like.mid > 0 else (users, users)
    return {
        "remedy": remedy, "users": round(users, 1), "low": round(low, 1), "high": round(high, 1), "assumes": assumes,
        "forecast": True,
    }  # fmt: skip


def quota_remedies(inputs: Mapping[str, Any], users: Range) -> Sequence[Mapping[str, Any]]:
    batched = dict(inputs) | {"calls_per_user_hour": inputs["calls_per_user_hour"] * (0.2 + 0.8 / BATCH)}
    cached = dict(inputs) | {"calls_per_user_hour": inputs["calls_per_user_hour"] * (1 - CACHED * 0.8)}
    bought = dict(inputs) | {"cap": inputs["cap"] * 2}
    found = [
        _entry(f"batch calls (composite or bulk, {BATCH} records a call)", evaluate("quota", batched), users,
               "80 % of the calls can be batched"),
        _entry("cache look-ups for the day", evaluate("quota", cached), users,
               f"look-ups are 80 % of the calls and {CACHED:.0%} of them hit"),
        _entry("buy the next licence tier or an add-on that doubles the quota", evaluate("quota", bought), users,
               "the quota doubles"),
    ]  # fmt: skip
    if inputs.get("background"):
        moved = dict(inputs) | {"background": inputs["background"] / BATCH}
        found.append(_entry("move the background jobs to a bulk interface", evaluate("quota", moved), users,
                            f"{BATCH} records a call"))  # fmt: skip
    return found


def rate_remedies(inputs: Mapping[str, Any], users: Range) -> Sequence[Mapping[str, Any]]:
    flat = dict(inputs) | {"peak_factor": max(1.0, inputs["peak_factor"] / 2)}
    batched = dict(inputs) | {"calls_per_user_hour": inputs["calls_per_user_hour"] * (0.2 + 0.8 / BATCH)}
    return [
        _entry("batch calls (composite, $batch)", evaluate("rate", batched), users, "80 % of the calls can be batched"),
        _entry("queue and spread what need not happen at once", evaluate("rate", flat), users, "the peak halves"),
        _entry("one service account for every 100 users", users.mid * 5, users,
               "the cap counts per account, and the vendor's terms allow it"),
    ]  # fmt: skip


def concurrency_remedies(inputs: Mapping[str, Any], users: Range) -> Sequence[Mapping[str, Any]]:
    shorter = dict(inputs) | {"seconds": inputs["seconds"] / 2}
    more = dict(inputs) | {"load": erlang_load(min(5_000, inputs["cap"] * 2), 0.01)}
    found = [
        _entry("make the call shorter (fewer columns, an index, smaller pages)", evaluate("concurrency", shorter),
               users, "half the seconds a call"),
        _entry("raise the cap (licence tier, more workers)", evaluate("concurrency", more), users, "twice the slots"),
    ]  # fmt: skip
    return [entry for entry in found if entry["users"] > users.mid]  # a cap of one holds one user, whatever helps many


def connection_remedies(inputs: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    users = Range.exact(evaluate("connections", inputs))
    pooled = dict(inputs) | {"connections_per_user": inputs["connections_per_user"] / 10}
    more = dict(inputs) | {"cap": inputs["cap"] * 2}
    return [
        _entry("put a connection pool in front (PgBouncer, the driver's pool)", evaluate("connections", pooled), users,
               "ten users share a connection"),
        _entry("raise the server's maximum", evaluate("connections", more), users,
               "twice the connections, and the memory"),
    ]  # fmt: skip


def latency_remedies(
    station: Station, think_s: float, objective_s: float, users: Range, *, growth: Range | None = None
) -> Sequence[Mapping[str, Any]]:
    bigger = Station(station.slots * 2, station.service_s, station.delay_s, station.cv)
    faster = Station(station.slots, station.service_s / 2, station.delay_s, station.cv)
    ratio = users.mid / max(1e-9, crossing(station, think_s, objective_s))
    what = "a second lane past the lock (shards, row locks)" if station.slots == 1 else "twice the pool"
    found = [
        _entry(what, crossing(bigger, think_s, objective_s) * ratio, users, "what is behind the pool keeps up"),
        _entry("cache look-ups", crossing(station, think_s, objective_s) * ratio / (1 - CACHED * 0.8), users,
               f"look-ups are 80 % of the calls and {CACHED:.0%} of them hit"),
        _entry("halve the time of the call (index, fewer columns)", crossing(faster, think_s, objective_s) * ratio,
               users, "half the service time"),
    ]  # fmt: skip
    if growth is not None and growth.mid > 1.05:
        found.insert(0, _entry("an index on the key", users.mid * growth.mid, users, "no scan: rows no longer matter"))
    return found


def window_remedies(inputs: Mapping[str, Any], users: Range) -> Sequence[Mapping[str, Any]]:
    exponent = inputs["exponent"]
    found = []
    if exponent > 1.3 and inputs.get("linear_seconds"):
        linear = dict(inputs) | {"exponent": 1.0, "seconds": inputs["linear_seconds"]}
        found.append(_entry("page by key (keyset) instead of by offset", evaluate("window", linear), users,
                            "every page costs what the first one costs"))  # fmt: skip
    bulk = dict(inputs) | {"seconds": inputs["seconds"] / 4}
    found.append(_entry("read by the bulk interface or in four parallel ranges", evaluate("window", bulk), users,
                        "a quarter of the time"))  # fmt: skip
    return found
