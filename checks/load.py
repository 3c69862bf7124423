"""At how many users this point stops answering in time: a polite ramp, growing bursts, and what they honestly say."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from weighbridge.checks.base import (
    Code,
    Context,
    Cost,
    Evidence,
    Finding,
    Forecast,
    Inconclusive,
    Measurement,
    NotRun,
    Result,
    Severity,
)
from weighbridge.checks.drive import EngineDrive, Pace
from weighbridge.checks.explain import AccessPath, explain
from weighbridge.checks.forecast.outlook import Setting, load_forecasts
from weighbridge.checks.forecast.phrases import users_in_words
from weighbridge.checks.forecast.plan import Crew, Guards, Level
from weighbridge.checks.forecast.ranges import Range
from weighbridge.checks.forecast.remedies import latency_remedies
from weighbridge.checks.forecast.stats import SURE, ranks_above
from weighbridge.checks.forecast.transfer import capacity_transfer, limit_transfer
from weighbridge.checks.forecast.userload import UserLoad, think_time, user_load, with_retries
from weighbridge.checks.forecast.weigh import Policy, Weighed, measure
from weighbridge.checks.forecast.windows import busy_times, parse_window
from weighbridge.checks.register import Entry, concurrency_known, connections_per_user, rate_known, register, rows_ahead
from weighbridge.connectors.base import Loadable, ObjectRef, Operation, Sql
from weighbridge.connectors.session import NO_RETRY
from weighbridge.contracts.models import IntegrationPoint

__all__ = ["CALLS", "SECONDS", "LoadCheck"]

CALLS = 1_900
SECONDS = 40.0
"""Of the ramp by default; bursts and the look back take a few seconds more: under 60 s and 2,000 calls a point."""
SHARE_OF_QUOTA = 0.1
"""Of what is left of a day's quota, the most that a probe may spend."""
SAME_KEY_CALLS = 20
ENOUGH_ROWS = 0.3
"""Staging with a smaller share of production's rows, on an access path nobody has proved, is never READY."""
TINY_TABLE = 500
"""Rows under which a planner scans although an index is there: such a plan proves nothing."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """What production's rows do to one call."""

    growth: Range
    reason: str | None = None
    unproven: str | None = None
    paths: tuple[Mapping[str, Any], ...] = ()
    scans: bool = False


class LoadCheck:
    """Weighs one point: ramps virtual users, sends growing bursts where allowed, and forecasts in users.

    Users call, wait and pause (a closed loop) with distinct existing keys; latency counts from the intended start; no
    call is retried. A burst of simultaneous calls on open connections shows what a longer ramp cannot: how fast the
    system drains when it is full. From capacity, slots and service time the crossing of the latency objective is
    simulated. Where the probe cannot tell, it says so, with the lower bound it proved and the next probe.

    Breaks in production
        Ten users never fill a pool of twenty; five hundred do, and then every one of them waits for all others. A
        look-up that scans its table is quick over the pilot's rows only.

    Fix
        A larger pool or an index, a cache for look-ups, calls in batches; each forecast carries what these would give.
    """

    name: ClassVar[str] = "load"
    needs: ClassVar[tuple[str, ...]] = ("limits", "keys", "demand", "count_before")
    facets: ClassVar[tuple[type, ...]] = (Loadable,)
    cost: ClassVar[Cost] = "load"
    codes: ClassVar[tuple[Code, ...]] = (
        Code(
            "load.below_target", Severity.BREAK, "Widen the first ceiling; the forecast lists what each remedy gives."
        ),
        Code(
            "load.slow_alone", Severity.BREAK, "One call alone misses the objective: make it shorter before all else."
        ),
        Code("load.errors", Severity.BREAK, "Find out why calls fail at a load that the system should bear."),
        Code("load.some_errors", Severity.WARN, "Find out why single calls fail, and retry them with backoff."),
        Code("load.slows_with_time", Severity.WARN, "Look for leaks, full caches and throttling that sets in later."),
        Code(
            "load.slow_to_recover",
            Severity.WARN,
            "Bound the queues and shed load early; a full queue outlives its burst.",
        ),
        Code("load.collapses", Severity.WARN, "Limit the calls in progress in front of the system."),
        Code("load.scan", Severity.WARN, "Create an index on the columns of the look-up."),
        Code("load.cache_flatters", Severity.INFO, "Test with distinct keys; size the cache for production's keys."),
        Code(
            "load.distorted",
            Severity.INFO,
            "Run the probe from a machine with free cores, or with fewer systems at once.",
        ),
    )

    def __call__(self, point: IntegrationPoint, evidence: Evidence, context: Context) -> Iterable[Result]:
        if context.engine is None:
            raise Inconclusive(f"{point.id}: no load engine is set up.", remedy="Run it by `weighbridge run`.")
        user = user_load(with_retries(evidence.demand, point.scale, context.previous), point.scale)
        if user is None:
            raise Inconclusive(
                f"{point.id}: nobody measured or declared how often a user calls, so there is no forecast in users.",
                remedy="Measure it with `weighbridge demand`, or set calls_per_user_hour in [scale] or the contract.",
            )
        key = [p.physical_name for p in point.object.key]
        ref = ObjectRef(point.object.physical_name, point.object.filter, key=key)
        operations = _operations(ref, evidence, context)
        shares = _shares(point, operations, evidence, context)
        entries = register(evidence.limits, context.declared_limits, context.permissions, context.now().isoformat())
        rows = self._rows(point, evidence, context, operations)
        policy = self._policy(point, context, user, entries)
        started = time.monotonic()
        crew = Crew(lambda: context.connector(context.session.fork(retry=NO_RETRY)))
        with contextlib.closing(crew):
            drive = EngineDrive(
                context.engine, crew, object=ref, keys=evidence.keys, shares=shares, guards=_guards(policy),
                pace=_pace(entries, context, policy), seed=context.seed, progress=context.progress,
            )  # fmt: skip
            seen = measure(drive, policy)
            same = drive.same_key(SAME_KEY_CALLS) if _comparable(seen, evidence) else None
        if not seen.levels:
            raise Inconclusive(f"{point.id}: nothing could be sent: {seen.stopped or 'no level was run'}.")
        setting = self._setting(point, context, user, entries, rows)
        forecasts = [_with_remedies(f, seen, policy, setting) for f in load_forecasts(seen, setting)]
        forecasts = [
            f if f.users is None else replace(f, when=busy_times(f.users, point.scale, context.now()))
            for f in forecasts
        ]
        yield Measurement("load", _report(seen, policy, rows, same, shares, time.monotonic() - started))
        yield from forecasts
        yield from _findings(point, seen, policy, rows, same, forecasts)

    def _policy(self, point: IntegrationPoint, context: Context, user: UserLoad, entries: Sequence[Entry]) -> Policy:
        scale, permissions = point.scale, context.permissions
        seconds = user.seconds.mid if user.seconds else 0.05
        calls = CALLS
        left = context.session.budget.left
        if left is not None:
            calls = min(calls, left - 20)
        for entry in entries:
            limit = entry.limit
            if limit.environment != permissions.environment or limit.cap is None:
                continue
            with contextlib.suppress(ValueError):
                if parse_window(limit.window).daily:
                    calls = min(calls, int(SHARE_OF_QUOTA * max(0.0, limit.cap - (limit.used or 0.0))))
        if calls < 60:
            raise NotRun("budget", f"{point.id}: {max(0, calls)} calls are left for a ramp, and 60 are the least.")
        users = _users_that_fit(permissions.max_users, context)
        needed = scale.production_users * scale.headroom * user.peak_per_s.high
        return Policy(
            think_s=think_time(scale, seconds) or 0.0,
            objective_s=scale.latency_objective_ms / 1000,
            error_objective=scale.error_objective,
            max_users=users,
            # a file has no server that a burst could fill: the client itself does the work
            max_burst=_users_that_fit(permissions.max_burst, context) if context.connector().networked else 0,
            needed_per_s=needed,
            calls=calls,
            seconds=float(context.settings.get("ramp_seconds") or SECONDS),
        )

    def _setting(
        self, point: IntegrationPoint, context: Context, user: UserLoad, entries: Sequence[Entry], rows: _Rows
    ) -> Setting:
        permissions = context.permissions
        # databases and files have no limiter of calls a second: their ceilings are connections, slots and time
        here = context.connector()
        known = rate_known(entries) or here.facet(Sql) is not None or not here.networked
        return Setting(
            calls_per_user_hour=user.per_hour.mid,
            peak_factor=user.peak_factor,
            target=point.scale.production_users,
            environment=permissions.environment,
            capacity=capacity_transfer(permissions),
            limit=limit_transfer(permissions.environment, permissions),
            rate_known=known,
            concurrency_known=concurrency_known(entries) or here.facet(Sql) is not None or not here.networked,
            growth=rows.growth,
            growth_reason=rows.reason,
            unproven_rows=rows.unproven,
            connections_per_user=connections_per_user(context.settings),
        )

    def _rows(
        self, point: IntegrationPoint, evidence: Evidence, context: Context, operations: Mapping[str, Operation]
    ) -> _Rows:
        """What production's rows do to the service time: by EXPLAIN where there is SQL, else unproven or no matter."""
        scale = point.scale
        now = max(1, evidence.count_before.value)
        ahead = rows_ahead(
            now, expected=point.object.expected_rows or scale.rows, growth_per_year=scale.growth_per_year,
            horizon_months=scale.horizon_months,
        )  # fmt: skip
        few = now < ENOUGH_ROWS * ahead
        sql = context.connector().facet(Sql)
        unproven = (
            f"{now:,} rows here are {now / ahead:.1%} of production's {ahead:,.0f}, and how a call finds its row "
            "is not proved: the answer is about a small table"
            if few
            else None
        )
        if sql is None:
            return _Rows(Range.exact(1.0), unproven=unproven)
        paths: list[dict[str, Any]] = []
        states: list[AccessPath] = []
        for name, operation in operations.items():
            if operation.statement is None or name == "write" or not evidence.keys:
                continue
            path = explain(sql, operation.statement, _parameters(operation.statement, evidence.keys[0]))
            if path.scan and now < TINY_TABLE:
                path = replace(path, scan=None, words=f"{path.words} (over {now} rows a plan proves nothing)")
            states.append(path)
            paths.append({"operation": name, "scan": path.scan, "plan": path.words})
        if any(p.scan for p in states):
            growth = _scan_growth(sql, evidence, ahead / now)
            reason = (
                f"a call scans its table: with {ahead:,.0f} rows instead of {now:,} it takes about "
                f"{growth.mid:.1f} times as long"
            )
            return _Rows(growth, reason, None, tuple(paths), scans=True)
        if states and all(p.scan is False for p in states):
            return _Rows(Range.exact(1.0), None, None, tuple(paths))
        return _Rows(Range.exact(1.0), None, unproven, tuple(paths))


def _operations(ref: ObjectRef, evidence: Evidence, context: Context) -> Mapping[str, Operation]:
    facet = context.connector().facet(Loadable)
    if facet is None:
        raise NotRun("not_applicable", "this system has no operations of one user.")
    return facet.operations(ref, evidence.keys)


def _shares(
    point: IntegrationPoint, operations: Mapping[str, Operation], evidence: Evidence, context: Context
) -> dict[str, float]:
    """The mix as far as it can be sent here, summing to 1."""
    possible = {
        name: share
        for name, share in point.scale.shares.items()
        if name in operations
        and (name != "write" or context.permissions.writes)
        and (name != "lookup" or evidence.keys)
    }
    total = sum(possible.values())
    if total <= 0:
        raise Inconclusive(
            f"{point.id}: none of the mix ({', '.join(point.scale.shares)}) can be sent: "
            + (
                "no keys were found."
                if not evidence.keys
                else f"the connector offers {', '.join(operations) or 'none'}."
            ),
            remedy="Declare a primary key in the contract, or another mix in [scale].",
        )
    return {name: share / total for name, share in possible.items()}


def _users_that_fit(users: int, context: Context) -> int:
    """Users that this process has file descriptors for."""
    try:
        import resource

        import psutil
    except ImportError:
        return users
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return users
    room = soft - psutil.Process().num_fds() - 64
    if room < users:
        context.progress(f"{users} users do not fit the limit of {soft} open files: at most {max(1, room)}")
    return min(users, max(1, room))


def _guards(policy: Policy) -> Guards:
    return Guards(
        error_share=0.10, latency_s=max(5 * policy.objective_s, 0.5), seconds=policy.seconds,
        grace_s=min(5.0, max(1.0, 3 * policy.objective_s)),
    )  # fmt: skip


def _pace(entries: Sequence[Entry], context: Context, policy: Policy) -> Pace:
    """The tightest rate limit that is known of this very environment."""
    tightest: tuple[float, float, float] | None = None
    for entry in entries:
        limit = entry.limit
        if limit.environment != context.permissions.environment or limit.cap is None:
            continue
        try:
            window = parse_window(limit.window)
        except ValueError:
            continue
        if window.daily or window.kind not in ("rolling", "bucket"):
            continue
        cap, seconds = (window.rate, 1.0) if window.kind == "bucket" else (limit.cap, window.seconds)
        if cap > 0 and (tightest is None or cap / seconds < tightest[0]):
            tightest = (cap / seconds, cap, seconds)
    cap, seconds = (tightest[1], tightest[2]) if tightest else (None, 1.0)
    since = time.monotonic() - seconds
    spent = [attempt.at for attempt in list(context.session.meter.recent) if attempt.at > since] if tightest else []
    return Pace(cap, seconds, patience_s=policy.seconds / 2, spent=spent)


def _parameters(statement: str, key: tuple[Any, ...]) -> dict[str, Any]:
    """The values for `:key`, or `:key`, `:key_1`, ... of a composite key."""
    values = {"key": key[0]} | {f"key_{i}": value for i, value in enumerate(key)}
    return {name: value for name, value in values.items() if f":{name}" in statement}


def _scan_growth(sql: Sql, evidence: Evidence, ratio: float) -> Range:
    """Service time with `ratio` times the rows: what a call costs beyond an empty one grows with them."""
    timings = []
    for _ in range(5):
        started = time.perf_counter()
        sql.execute("SELECT 1", timeout=10.0)
        timings.append(time.perf_counter() - started)
    fixed = sorted(timings)[len(timings) // 2]
    seconds = [s["seconds"].median for s in evidence.demand.per_operation.values() if "seconds" in s]
    alone = max(seconds, default=fixed)
    moving = max(0.0, alone - fixed) / alone if alone > 0 else 1.0
    mid = 1 + moving * (ratio - 1)
    most = 1 + min(1.0, 1.4 * moving + 0.05) * (ratio - 1)
    return Range(max(1.0, 1 + 0.7 * moving * (ratio - 1)), mid, max(mid, most))


def _comparable(seen: Weighed, evidence: Evidence) -> bool:
    return seen.stopped is None and len(evidence.keys) > 1 and seen.calls + SAME_KEY_CALLS < seen.policy.calls


def _with_times(forecast: Forecast, point: IntegrationPoint, context: Context) -> Forecast:
    if forecast.users is None:
        return forecast
    return replace(forecast, when=busy_times(forecast.users, point.scale, context.now()))


def _with_remedies(forecast: Forecast, seen: Weighed, policy: Policy, setting: Setting) -> Forecast:
    if forecast.model not in ("closed_queue", "rows_latency") or forecast.users is None or seen.capacity is None:
        return forecast
    if forecast.low is None or forecast.high is None:
        return forecast
    users = Range(forecast.low, forecast.users, forecast.high)
    found = latency_remedies(
        seen.capacity.stations[0], policy.think_s, policy.objective_s, users, growth=setting.growth
    )
    return replace(forecast, remedies=tuple(found))


def _report(
    seen: Weighed, policy: Policy, rows: _Rows, same: Level | None, shares: Mapping[str, float], seconds: float
) -> dict[str, Any]:
    levels = list(seen.levels)
    capacity = seen.capacity
    return {
        "levels": [level.summary() for level in levels],
        "bursts": [burst.summary() for burst in seen.bursts],
        "audit": {
            "cpu_share": round(max((lv.audit.cpu_share for lv in levels), default=0.0), 3),
            "burst_cpu_share": round(max((b.audit.cpu_share for b in seen.bursts), default=0.0), 3),
            "send_lag_ms": round(1000 * max((lv.audit.send_lag_s for lv in levels), default=0.0), 2),
            "client_ms_per_call": round(1000 * max((lv.audit.overhead_s for lv in levels), default=0.0), 3),
            "distorted": seen.distorted,
        },
        "calls": seen.calls + (seen.after.sent if seen.after else 0) + (same.sent if same else 0),
        "seconds": round(seconds, 2), "mix": dict(shares), "think_s": round(policy.think_s, 3),
        "ramp_think_s": round(policy.ramp_think_s, 3), "objective_ms": policy.objective_s * 1000,
        "max_users": policy.max_users, "max_burst": policy.max_burst, "stopped": seen.stopped, "notes": seen.notes,
        "capacity": None if capacity is None else {
            "rate": round(capacity.rate.mid, 2), "low": round(capacity.rate.low, 2), "saturated": capacity.saturated,
            "kind": capacity.kind, "why": capacity.reason,
            "slots": capacity.stations[0].slots, "service_ms": round(capacity.stations[0].service_s * 1000, 3),
        },
        "same_key": None if same is None else same.summary(), "paths": list(rows.paths),
        "usl_users": None if seen.usl is None else round(seen.usl, 1),
        "likelihood_ratio": None if seen.fit is None else round(min(1e9, seen.fit.likelihood_ratio), 2),
    }  # fmt: skip


def _error_floor(failed: int, calls: int) -> float:
    """Lower 95 % end of an error share (Wilson)."""
    if calls == 0:
        return 0.0
    z, p = 1.645, failed / calls
    middle = p + z * z / (2 * calls)
    half = z * ((p * (1 - p) + z * z / (4 * calls)) / calls) ** 0.5
    return max(0.0, (middle - half) / (1 + z * z / calls))


def _findings(
    point: IntegrationPoint, seen: Weighed, policy: Policy, rows: _Rows, same: Level | None,
    forecasts: Sequence[Forecast],
) -> Iterable[Finding]:  # fmt: skip
    first, target = seen.levels[0], point.scale.production_users
    objective = policy.objective_s * 1000
    if seen.distorted:
        yield Finding("load.distorted", f"{point.id}: the latencies are void: {seen.distorted}")
    yield from _error_findings(point, seen, policy)
    if first.calls > first.failed and first.p95_s > policy.objective_s and not seen.distorted:
        yield Finding(
            "load.slow_alone",
            f"{point.id}: a lone user waits {first.p95_s * 1000:.0f} ms (95th percentile) for one call",
            expected=f"at most {objective:.0f} ms", observed=round(first.p95_s * 1000, 1),
        )  # fmt: skip
    for forecast in forecasts:
        if forecast.users is not None and forecast.high is not None and forecast.high < target:
            where = "" if forecast.answers_target else f" (of {forecast.environment} only)"
            yield Finding(
                "load.below_target",
                f"{point.id}: {forecast.limit}{where} is reached at {users_in_words(forecast)}; "
                f"{target:,} users are wanted",
                expected=f"at least {target} users", observed=forecast.users,
                evidence={"limit": forecast.limit, "model": forecast.model, "inputs": dict(forecast.inputs),
                          "measured_to": forecast.measured_to},
                business_effect="Beyond it users wait longer than they will bear, or are refused.",
            )  # fmt: skip
    if (grown := seen.slows) is not None and seen.after is not None:
        yield Finding(
            "load.slows_with_time",
            f"{point.id}: after the load a lone call takes {seen.after.p50_s * 1000:.0f} ms, before it "
            f"{first.p50_s * 1000:.0f} ms ({grown:.1f} times)",
            expected="as fast as before", observed=round(grown, 2),
        )  # fmt: skip
    if any("stayed slow" in note for note in seen.notes):
        yield Finding(
            "load.slow_to_recover", f"{point.id}: single calls stayed slow for more than a second after a burst",
            expected="as fast as before within a second", observed="still slow",
        )  # fmt: skip
    if seen.capacity is not None and seen.capacity.collapses and not seen.distorted:
        sizes = ", ".join(f"{size}: {rate:.0f}/s" for size, rate in seen.capacity.sizes.items())
        yield Finding(
            "load.collapses", f"{point.id}: larger bursts drain more slowly ({sizes}): more load does less work",
            expected="the same drain rate", observed=sizes,
        )  # fmt: skip
    if rows.scans and rows.growth.mid > 1.5:
        yield Finding(
            "load.scan", f"{point.id}: {rows.reason}", expected="an index on the key",
            observed="; ".join(f"{p['operation']}: {p['plan']}" for p in rows.paths if p["scan"]),
        )  # fmt: skip
    if same is not None and same.calls > same.failed and first.calls > first.failed and not seen.distorted:
        flatters = first.p50_s / same.p50_s if same.p50_s > 0 else 1.0
        sure = ranks_above(first.latencies, same.latencies) > SURE
        if sure and flatters > 1.5 and first.p50_s - same.p50_s > 0.002:
            yield Finding(
                "load.cache_flatters",
                f"{point.id}: one key over and over is answered {flatters:.1f} times faster than distinct keys: a test "
                "with one key would weigh a cache",
                expected="about the same", observed=round(flatters, 2),
            )  # fmt: skip


def _error_findings(point: IntegrationPoint, seen: Weighed, policy: Policy) -> Iterable[Finding]:
    """Errors of the ramp that no ceiling explains, and those of a lone user always."""
    explained = seen.bucket is not None or seen.ceiling is not None
    levels = seen.levels[:1] if explained else [*seen.levels, *([seen.after] if seen.after else [])]
    calls, failed = sum(lv.calls for lv in levels), sum(lv.failed for lv in levels)
    classes: dict[str, int] = {}
    for level in levels:
        for name, count in level.errors.items():
            classes[name] = classes.get(name, 0) + count
    if not failed:
        return
    words = ", ".join(f"{count} {name}" for name, count in sorted(classes.items()))
    code = "load.errors" if _error_floor(failed, calls) > policy.error_objective else "load.some_errors"
    yield Finding(
        code, f"{point.id}: {failed} of {calls} calls of the ramp failed ({words})",
        expected=f"at most {policy.error_objective:.1%}", observed=f"{failed / max(1, calls):.1%}",
        evidence={"classes": classes},
    )  # fmt: skip
