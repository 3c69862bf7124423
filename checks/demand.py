"""What one user costs: each operation of the mix is run some times and counted where the socket is dialled."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from weighbridge.checks.base import Demand, Spread
from weighbridge.checks.forecast.userload import DECLARED_FACTOR
from weighbridge.connectors.base import Connector, Key, Loadable, ObjectRef
from weighbridge.connectors.errors import ConnectorError
from weighbridge.connectors.session import NO_RETRY, Meter, Session
from weighbridge.contracts.models import IntegrationPoint
from weighbridge.contracts.scale import Scale

__all__ = ["RUNS", "measure", "spread_of"]

RUNS = {"lookup": 12, "page": 4, "write": 3}
"""How often each operation is run: enough for a spread, few enough for a polite first look."""


def spread_of(values: Sequence[float]) -> Spread:
    """Quantiles of a sample."""
    ordered = sorted(values)
    n = len(ordered)

    def at(share: float) -> float:
        return ordered[min(n - 1, max(0, round(share * (n - 1))))]

    return Spread(n=n, mean=sum(ordered) / n, low=at(0.05), median=at(0.5), high=at(0.95))


def measure(
    point: IntegrationPoint, keys: Sequence[Key], connect: Callable[[Session | None], Connector], session: Session,
    scale: Scale, *, now: Callable[[], datetime], pilot: Mapping[str, Any] | None = None,
) -> Demand:  # fmt: skip
    """Run every operation of the mix a few times under a meter of its own and say what a user costs.

    `pilot` is what `weighbridge demand` kept of the pilot's own traffic: `calls_per_user_hour` as `mean`, `low`,
    `median`, `high`, `n`, and `retry_amplification`; it wins over a declared number. A connector without everyday
    operations, or a point without keys, still yields what is declared.
    """
    per_operation: dict[str, dict[str, Spread]] = {}
    failed: list[str] = []
    meter = Meter()
    counted = session.fork(retry=NO_RETRY, meter=meter)
    connector = connect(counted)
    try:
        facet = connector.facet(Loadable)
        key = [p.physical_name for p in point.object.key]
        ref = ObjectRef(point.object.physical_name, point.object.filter, key=key)
        operations = facet.operations(ref, keys) if facet else {}
        for name in scale.shares:
            operation = operations.get(name)
            if operation is None or (name != "page" and not keys):
                continue
            if name == "write" and not session.writes_allowed:
                continue
            seen = _run(operation.call, keys, RUNS.get(name, 4), meter, failed)
            if seen:
                per_operation[name] = {field: spread_of([s[field] for s in seen]) for field in seen[0]}
    finally:
        connector.close()
    # the outer meter keeps the books of the whole run
    session.meter.count(rows=meter.rows, sent=meter.bytes_sent, received=meter.bytes_received)
    for attempt in meter.recent:
        session.meter.add(attempt)
    per_user, source = _per_user(scale, per_operation, pilot)
    runs = ", ".join(f"{int(s['calls'].n)} {name}" for name, s in per_operation.items()) or "no operation"
    return Demand(
        source=source,
        calls_per_user_hour=per_user,
        per_operation=per_operation,
        retry_amplification=float((pilot or {}).get("retry_amplification", 1.0)),
        at=now().isoformat(),
        sample=f"{runs} run and counted at the wire"
        + (f"; {len(failed)} failed ({failed[0]})" if failed else "")
        + ("; calls per user from the pilot's traffic" if pilot else "; calls per user as declared in the scale"),
    )


def _run(
    call: Callable[[Key], object], keys: Sequence[Key], runs: int, meter: Meter, failed: list[str]
) -> list[dict[str, float]]:
    seen = []
    for i in range(runs):
        before = (meter.attempts, meter.rows, meter.bytes_sent + meter.bytes_received)
        started = time.perf_counter()
        try:
            result = call(keys[i % len(keys)] if keys else ())
        except ConnectorError as error:
            failed.append(type(error).__name__)
            continue
        seconds = time.perf_counter() - started
        calls, rows, size = (
            meter.attempts - before[0],
            meter.rows - before[1],
            meter.bytes_sent + meter.bytes_received - before[2],
        )
        # the wire's own count wins; what the operation says of itself stands in where nothing was metered
        seen.append({
            "calls": float(calls or getattr(result, "calls", 1)), "rows": float(rows or getattr(result, "rows", 0)),
            "bytes": float(size or getattr(result, "bytes", 0)), "seconds": seconds,
        })  # fmt: skip
    if len(seen) > 3:
        # the first run opens the connection and fills caches: it is not what a user's tenth call costs
        seen = seen[1:]
    return seen


def _per_user(
    scale: Scale, per_operation: Mapping[str, Mapping[str, Spread]], pilot: Mapping[str, Any] | None
) -> tuple[Spread | None, Literal["measured", "declared"]]:
    """Wire calls of one user in an average hour, and whether measured or declared."""
    if pilot and pilot.get("mean"):
        mean = float(pilot["mean"])
        return Spread(
            n=int(pilot.get("n", 0)), mean=mean, low=float(pilot.get("low", mean / DECLARED_FACTOR)),
            median=float(pilot.get("median", mean)), high=float(pilot.get("high", mean * DECLARED_FACTOR)),
        ), "measured"  # fmt: skip
    if scale.calls_per_user_hour is None:
        return None, "declared"
    if pilot and pilot.get("calls_per_action"):
        # how often a user acts is declared, what an action costs is measured
        action = pilot["calls_per_action"]
        mean, low, high = (scale.calls_per_user_hour * float(action[k]) for k in ("mean", "low", "high"))
        return Spread(0, mean, min(low, mean / DECLARED_FACTOR), mean, max(high, mean * DECLARED_FACTOR)), "declared"
    wire = sum(
        share * (per_operation[name]["calls"].mean if name in per_operation else 1.0)
        for name, share in scale.shares.items()
    )
    mean = scale.calls_per_user_hour * (wire or 1.0)
    return Spread(n=0, mean=mean, low=mean / DECLARED_FACTOR, median=mean, high=mean * DECLARED_FACTOR), "declared"
