"""The limit register against demand: one forecast for every cap, with the clock times and the month it is reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from weighbridge.checks.base import Forecast
from weighbridge.checks.forecast.queueing import erlang_load
from weighbridge.checks.forecast.ranges import Range
from weighbridge.checks.forecast.transfer import Transfer
from weighbridge.checks.forecast.userload import UserLoad
from weighbridge.checks.forecast.windows import (
    Background,
    Window,
    busy_times,
    clock_time,
    growth_month,
    parse_window,
)
from weighbridge.connectors.base import Limit
from weighbridge.contracts.scale import Scale

__all__ = ["NOT_IN_USERS", "Question", "forecast_limit"]

NOT_IN_USERS = frozenset({
    "page_rows", "request_bytes", "response_bytes", "statement_timeout", "timeout", "record_bytes", "lock_timeout",
    "batch_rows", "batch_records", "subrequests",
})  # fmt: skip
"""Limits that bound one call, not the number of users: they are registered and shown, never forecast in users."""
SHARED_SCOPES = frozenset({"org", "account", "server", "database", "tenant", "system", "instance", "file"})


@dataclass(frozen=True, slots=True)
class Question:
    """One limit asked against one demand at one scale."""

    limit: Limit
    user: UserLoad | None
    scale: Scale
    background: Background
    background_known: bool
    now: datetime
    transfer: Transfer
    accounts: float | None = None
    """Accounts behind which all users stand (1 for a shared one); None when every user has one's own."""
    shared_with: tuple[str, ...] = ()
    connections_per_user: float = 1.0
    production_rows: float | None = None
    own_calls: int = 0
    """Calls of this very run, already in what the system says is used."""
    elapsed_share: float = 1.0
    """Share of the quota's window that has passed; 1 for a rolling one."""
    extra: Mapping[str, Any] = field(default_factory=dict)


class Unbound(Exception):
    """This limit cannot bind here; `str()` says why."""


def forecast_limit(question: Question) -> Forecast | str:
    """A forecast (perhaps refused), or in words why this limit does not bind the number of users."""
    limit = question.limit
    if limit.name in NOT_IN_USERS or limit.unit in ("bytes", "seconds"):
        return f"bounds one call ({limit.unit}), not the number of users"
    if limit.detail.get("unlimited"):
        return "declared as unlimited"
    try:
        window = parse_window(limit.window)
    except ValueError as error:
        return _refuse(question, "rate", str(error), "write the window in one of these forms")
    if limit.cap is None:
        return _refuse(
            question, "quota" if window.daily else "rate", f"{limit.name} has a cap that nobody stated",
            "ask the vendor or the system's owner and declare it under [[systems.NAME.limits]]",
        )  # fmt: skip
    method = _method(limit, window)
    if method is None:
        return f"no model for a limit of {limit.unit} with window {limit.window!r}: shown, not forecast"
    try:
        return method(question, window)
    except Unbound as why:
        return str(why)


def _method(limit: Limit, window: Window) -> Callable[[Question, Window], Forecast] | None:
    if limit.unit == "rows":
        return _rows
    if limit.unit == "connections" or limit.name in ("connections", "sessions", "pool_size"):
        return _connections
    if limit.unit == "users" and window.kind == "plain":
        return _seats
    if window.kind == "concurrent" or limit.name in ("writers", "concurrent_calls"):
        return _concurrency
    if window.daily:
        return _quota
    if window.kind in ("rolling", "bucket"):
        return _rate
    return None


def _basis(limit: Limit) -> Literal["measured", "reported", "declared"]:
    return limit.source if limit.source in ("measured", "reported", "declared") else "declared"  # type: ignore[return-value]


def _refuse(question: Question, model: str, reason: str, next_probe: str) -> Forecast:
    return Forecast(
        limit=question.limit.name, users=None, low=None, high=None, at_least=None, basis=_basis(question.limit),
        measured_to=None, trust="unpredictable", environment=question.limit.environment, model=model, inputs={},
        transfer=question.transfer.note, answers_target=question.transfer.answers, shared_with=question.shared_with,
        reason=reason, next_probe=next_probe,
    )  # fmt: skip


def _answer(
    question: Question, model: str, users: Range, inputs: Mapping[str, Any], when: Mapping[str, str | None],
    remedies: Sequence[Mapping[str, Any]] = (), reason: str | None = None,
) -> Forecast:  # fmt: skip
    users = users.floored()
    return Forecast(
        limit=question.limit.name, users=round(users.mid, 1), low=round(users.low, 1), high=round(users.high, 1),
        at_least=round(users.low, 1), basis=_basis(question.limit), measured_to=None, trust=_trust(question),
        environment=question.limit.environment, model=model, inputs=dict(inputs), when=dict(when),
        transfer=question.transfer.note, answers_target=question.transfer.answers, shared_with=question.shared_with,
        remedies=tuple(remedies), reason=reason,
    )  # fmt: skip


def _trust(question: Question) -> Literal["interpolated", "extrapolated"]:
    """A known cap against measured demand is arithmetic; against declared demand it is a promise."""
    return "interpolated" if question.user is not None and question.user.source == "measured" else "extrapolated"


def _needs_user(question: Question, model: str) -> UserLoad | Forecast:
    if question.user is None:
        return _refuse(
            question, model, "nobody measured or declared how often a user calls, so there is no forecast in users",
            "`weighbridge demand SYSTEM` on the pilot's traffic, or calls_per_user_hour in [scale]",
        )  # fmt: skip
    return question.user


def _unknown_background(question: Question, model: str) -> Forecast | None:
    limit = question.limit
    if question.background_known or limit.used is not None or limit.scope not in SHARED_SCOPES:
        return None
    return _refuse(
        question, model, f"others draw on {limit.name} (scope {limit.scope}) and nobody said how much",
        limit.detail.get("where")
        or "look at the vendor's usage page for a normal week and declare it under [[systems.NAME.background]] "
        "(calls_per_hour = 0 where nothing else runs)",
    )  # fmt: skip


def _background_day(question: Question) -> Range:
    """Calls a day of others: declared, or what the system says is used, less our own."""
    declared = question.background.day
    if question.background_known or question.limit.used is None:
        return Range.exact(declared)
    used = max(0.0, question.limit.used - question.own_calls)
    share = max(0.05, min(1.0, question.elapsed_share))
    return Range(used, used / share, used / share * 1.1)


def _when(
    question: Question, window: Window, user: UserLoad, users: Range, *, cap: float | None = None
) -> dict[str, str | None]:
    scale = question.scale
    target = scale.production_users
    given = {
        "calls_per_day": target * user.per_day.mid, "peak_per_second": target * user.peak_per_s.mid, "scale": scale,
        "background": question.background, "now": question.now,
    }  # fmt: skip
    size = cap if cap is not None else float(question.limit.cap or 0.0)
    return {
        "ordinary": clock_time(window, size, **given),
        "month_end": clock_time(window, size, **given, factor=scale.month_end_factor),
        "month": _month(question, users.mid),
    }


def _month(question: Question, users: float) -> str | None:
    scale = question.scale
    return growth_month(
        users, users_now=scale.production_users, growth_per_year=scale.growth_per_year,
        horizon_months=scale.horizon_months, now=question.now,
    )  # fmt: skip


def _quota(question: Question, window: Window) -> Forecast:
    user = _needs_user(question, "quota")
    if isinstance(user, Forecast):
        return user
    if (refused := _unknown_background(question, "quota")) is not None:
        return refused
    scale, cap = question.scale, float(question.limit.cap or 0.0)
    days = 1.0 if window.kind == "midnight" else window.seconds / 86_400
    others = _background_day(question).times(days)
    room = cap * (1 - scale.reserve)
    per = user.per_day.times(days)
    left = Range(room - others.high, room - others.mid, room - others.low).floored()
    if _own_accounts(question):
        raise Unbound("each user has an account of one's own, and one user stays below its cap")
    many = (question.accounts or 1.0) if question.limit.scope == "user" else 1.0
    users = left.times(many).over(per)
    # the reserve is a wish of ours; the system itself refuses only when all of it is gone
    users = Range(users.low, users.mid, max(users.high, max(0.0, cap - others.mid) * many / per.mid))
    inputs = {
        "cap": cap, "reserve": scale.reserve, "background": round(others.mid, 1), "day_factor": 1.0,
        "calls_per_user_hour": round(user.per_hour.mid, 4), "working_hours": scale.working_hours * days,
        "calls_low": round(user.per_hour.low, 4), "calls_high": round(user.per_hour.high, 4),
        "used": question.limit.used, "month_end_users": round(users.mid / scale.month_end_factor, 1),
    }  # fmt: skip
    from weighbridge.checks.forecast.remedies import quota_remedies

    return _answer(
        question, "quota", users, inputs, _when(question, window, user, users), quota_remedies(inputs, users)
    )


def _own_accounts(question: Question) -> bool:
    """A per-user cap that every user has alone, and that one user does not reach."""
    limit, user = question.limit, question.user
    if limit.scope != "user" or question.accounts is not None or user is None or limit.cap is None:
        return False
    window = parse_window(limit.window)
    if window.daily:
        return user.per_day.high < limit.cap
    if window.kind == "bucket":
        return user.peak_per_s.high < window.rate
    if window.kind == "concurrent":
        return user.seconds is not None and user.peak_per_s.high * user.seconds.high * 4 < limit.cap
    return user.peak_per_s.high * window.seconds < limit.cap


def _rate(question: Question, window: Window) -> Forecast:
    user = _needs_user(question, "rate")
    if isinstance(user, Forecast):
        return user
    if _own_accounts(question):
        raise Unbound("each user has an account of one's own, and one user stays below its cap")
    if (refused := _unknown_background(question, "rate")) is not None:
        return refused
    scale, limit = question.scale, question.limit
    cap, seconds = (window.rate, 1.0) if window.kind == "bucket" else (float(limit.cap or 0.0), window.seconds)
    cap *= (question.accounts or 1.0) if limit.scope == "user" else 1.0
    others = question.background.busiest_per_second
    room = max(0.0, cap * (1 - scale.reserve) / seconds - others)
    users = Range.exact(room).over(user.peak_per_s)
    users = Range(users.low, users.mid, max(users.high, max(0.0, cap / seconds - others) / user.peak_per_s.mid))
    inputs = {
        "cap": cap, "reserve": scale.reserve, "window_s": seconds, "background_per_s": round(others, 4),
        "calls_per_user_hour": round(user.per_hour.mid, 4), "peak_factor": round(user.peak_factor, 4),
    }  # fmt: skip
    if window.kind == "bucket":
        inputs["burst"] = window.burst
    from weighbridge.checks.forecast.remedies import rate_remedies

    return _answer(
        question, "rate", users, inputs, _when(question, window, user, users, cap=cap), rate_remedies(inputs, users)
    )


def _concurrency(question: Question, window: Window) -> Forecast:
    del window
    user = _needs_user(question, "concurrency")
    if isinstance(user, Forecast):
        return user
    limit, scale = question.limit, question.scale
    rate, seconds = user.peak_per_s, user.seconds
    if limit.name == "writers":
        share = scale.shares.get("write", 0.0)
        if share <= 0:
            raise Unbound("the mix has no writes")
        held = limit.detail.get("held_s") or user.operation_seconds.get("write")
        rate, seconds = rate.times(share), Range.factor(held, 1.25) if held else None
    if seconds is None:
        return _refuse(
            question, "concurrency", "no operation of the mix was timed, so nobody knows how long a call takes",
            "allow single reads (rung 1), or declare think_time_s and measure the demand",
        )  # fmt: skip
    longer = next((limit.detail[k] for k in ("longer_than_s", "threshold_s", "min_seconds") if k in limit.detail), None)
    if longer is not None and seconds.high < float(longer) / 2:
        raise Unbound(f"counts only calls longer than {float(longer):g} s; these take {seconds.high:.2g} s at most")
    if _own_accounts(question):
        raise Unbound("each user has an account of one's own, and one user stays below its cap")
    if (refused := _unknown_background(question, "concurrency")) is not None and limit.scope != "file":
        return refused
    cap = float(limit.cap or 0.0) * ((question.accounts or 1.0) if limit.scope == "user" else 1.0)
    load = erlang_load(cap, scale.error_objective) if cap < 5_000 else cap
    others = max(0.0, limit.used or 0.0)
    per = Range(rate.low * seconds.low, rate.mid * seconds.mid, rate.high * seconds.high)
    # refusals start with the fluctuations (Erlang B); who waits politely can use the slots to the full (Little)
    users = Range(
        max(0.0, load - others) / per.high, max(0.0, load - others) / per.mid, max(0.0, cap - others) / per.mid
    )
    if limit.name == "writers":
        # as many users as may write at once never collide; Erlang B knows no crowd as small as that
        users = Range(max(users.low, cap), max(users.mid, cap), max(users.high, cap))
    inputs = {
        "cap": cap, "load": round(load, 4), "background": others, "seconds": round(seconds.mid, 5),
        "calls_per_user_hour": round(rate.mid * 3600 / user.peak_factor, 4), "peak_factor": round(user.peak_factor, 4),
    }  # fmt: skip
    when = busy_times(users.mid, scale, question.now)
    from weighbridge.checks.forecast.remedies import concurrency_remedies

    return _answer(question, "concurrency", users, inputs, when, concurrency_remedies(inputs, users))


def _connections(question: Question, window: Window) -> Forecast:
    del window
    limit, scale = question.limit, question.scale
    cap = float(limit.cap or 0.0)
    if (refused := _unknown_background(question, "connections")) is not None:
        return refused
    reserved = sum(float(limit.detail.get(k, 0) or 0) for k in ("reserved", "superuser_reserved"))
    others = max(0.0, (limit.used or 0.0) - (1 if question.own_calls else 0))
    per = question.connections_per_user
    room = cap - reserved
    mid = (room * (1 - scale.reserve) - others) / per
    # others hold more connections at other hours than at this one; without the reserve there is more room
    users = Range((room * (1 - scale.reserve) - others * 1.5) / per, mid, (room - others) / per).floored()
    inputs = {
        "cap": room, "reserve": scale.reserve, "background": others, "connections_per_user": per, "reserved": reserved,
    }  # fmt: skip
    when = busy_times(users.mid, scale, question.now)
    from weighbridge.checks.forecast.remedies import connection_remedies

    reason = f"a user is taken to hold {per:g} connection(s); connections_per_user in the system's table says otherwise"
    return _answer(question, "connections", users, inputs, when, connection_remedies(inputs), reason)


def _seats(question: Question, window: Window) -> Forecast:
    """A cap on users: licences, sessions."""
    del window
    cap = float(question.limit.cap or 0.0) - (question.limit.used or 0.0)
    inputs = {"cap": cap, "reserve": 0.0, "background": 0.0, "connections_per_user": 1.0}
    when = {"ordinary": None, "month_end": None, "month": _month(question, cap)}
    return _answer(question, "connections", Range.exact(cap), inputs, when)


def _rows(question: Question, window: Window) -> Forecast:
    del window
    rows, scale, cap = question.production_rows, question.scale, float(question.limit.cap or 0.0)
    if rows is None or rows <= 0:
        raise Unbound("there are no rows to grow")
    users = Range.exact(scale.production_users * cap / rows)
    inputs = {"production_users": scale.production_users, "cap": cap, "rows": rows}
    month = growth_month(
        cap, users_now=max(1.0, float(question.extra.get("rows_now", rows))), growth_per_year=scale.growth_per_year,
        horizon_months=scale.horizon_months, now=question.now,
    )  # fmt: skip
    reason = f"there is room for {cap:,.0f} rows, and production will hold {rows:,.0f}"
    return _answer(
        question, "rows", users, inputs, {"ordinary": None, "month_end": None, "month": month}, reason=reason
    )
