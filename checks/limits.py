"""Which known ceiling is reached at how many users, and at what time of which day."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import ClassVar
from zoneinfo import ZoneInfo

from weighbridge.checks.base import (
    Code,
    Context,
    Cost,
    Evidence,
    Finding,
    Forecast,
    Inconclusive,
    Measurement,
    Result,
    Severity,
)
from weighbridge.checks.forecast.caps import Question, forecast_limit
from weighbridge.checks.forecast.phrases import users_in_words
from weighbridge.checks.forecast.userload import outage_attempts, user_load, with_retries
from weighbridge.checks.forecast.windows import background_of, parse_window
from weighbridge.checks.register import (
    Entry,
    accounts,
    background_known,
    connections_per_user,
    is_shared,
    register,
    rows_ahead,
)
from weighbridge.connectors.base import Limit
from weighbridge.contracts.models import IntegrationPoint

__all__ = ["LimitsCheck"]


class LimitsCheck:
    """Sets every known limit against what the users cost.

    The register holds what the system reports, what its vendor publishes and what its owner declared. Each limit is
    answered in users, with the clock time of an ordinary and of a month-end day at which it is reached, and the month
    in which growth reaches it. Points that draw on one quota add up; others' use is subtracted; a cap per user is one
    cap for all behind a shared account.

    Breaks in production
        The quota that ten users never touch is spent by noon with five hundred: from then on every call is refused,
        for everybody, until the window moves on. A cap learned in staging hides it: production's is another.

    Fix
        Send fewer calls (batches, a cache, keyset reads), buy a larger limit, or spread what need not happen at once.
        Each forecast carries what each of these would move it to. Where a limit is unknown, ask its owner and
        declare it.
    """

    name: ClassVar[str] = "limits"
    needs: ClassVar[tuple[str, ...]] = ("limits", "demand")
    facets: ClassVar[tuple[type, ...]] = ()
    cost: ClassVar[Cost] = "cheap"
    codes: ClassVar[tuple[Code, ...]] = (
        Code(
            "limits.below_target",
            Severity.BREAK,
            "Send fewer calls (batches, cache), raise the limit, or spread the load; see the forecast's remedies.",
        ),
        Code(
            "limits.month_end",
            Severity.WARN,
            "Plan the month-end day: spread its jobs, or size the limit for it.",
        ),
        Code(
            "limits.reached_by_growth",
            Severity.INFO,
            "Put the month into the calendar, and order the larger limit before it.",
        ),
        Code(
            "limits.retry_storm",
            Severity.INFO,
            "Retry fewer times, with backoff and jitter, and stop all retries while most calls fail (a circuit "
            "breaker).",
        ),
        Code(
            "limits.shared_account",
            Severity.INFO,
            "Give users accounts of their own, or a pool of them (identity), if the vendor's terms allow it.",
        ),
    )

    def __call__(self, point: IntegrationPoint, evidence: Evidence, context: Context) -> Iterable[Result]:
        now = context.now()
        entries = register(evidence.limits, context.declared_limits, context.permissions, now.isoformat())
        silent: dict[str, str] = {}
        told: dict[str, tuple[Limit, Forecast, Question]] = {}
        for entry in entries:
            question = self._question(point, evidence, context, entry)
            answer = forecast_limit(question)
            if isinstance(answer, str):
                silent[entry.limit.name] = answer
                continue
            if answer.users is None:
                yield answer
                continue
            # one name in two scopes, a server's connections and a login's: the tighter one is met first
            before = told.get(answer.limit)
            if before is None or answer.users < (before[1].users or 0.0):
                told[answer.limit] = (entry.limit, answer, question)
        for limit, answer, question in told.values():
            attempts = outage_attempts(context.previous) if answer.model in ("quota", "rate") else 1.0
            yield _told(answer, attempts)
            yield from _findings(point, limit, answer, question)
            yield from _storm(point, limit, answer, attempts)
        yield Measurement("limits", {"not_binding": silent, "registered": [e.limit.name for e in entries]})

    def _question(self, point: IntegrationPoint, evidence: Evidence, context: Context, entry: Entry) -> Question:
        limit, scale, settings = entry.limit, point.scale, context.settings
        sharing = 1 + (context.shared_load if is_shared(limit) or limit.scope == "user" else 0)
        counts_calls = limit.unit == "calls" and limit.window != "concurrent"
        now = context.now()
        rows_now = production_rows = None
        if limit.unit == "rows":
            rows_now = _rows(evidence)
            if rows_now is not None:
                expected = point.object.expected_rows or scale.rows
                production_rows = rows_ahead(
                    rows_now, expected=expected, growth_per_year=scale.growth_per_year,
                    horizon_months=scale.horizon_months,
                )  # fmt: skip
        return Question(
            limit=limit,
            user=user_load(
                with_retries(evidence.demand, scale, context.previous),
                scale,
                sharing=float(sharing) if counts_calls else 1.0,
            ),
            scale=scale,
            background=background_of(context.background),
            background_known=background_known(context),
            now=now,
            transfer=entry.transfer,
            accounts=accounts(settings),
            shared_with=context.shared_points if sharing > 1 else (),
            connections_per_user=connections_per_user(settings),
            production_rows=production_rows,
            own_calls=context.session.meter.attempts,
            elapsed_share=_elapsed(limit, now),
            extra={"rows_now": rows_now or 0.0, "other": None if entry.other is None else entry.other.cap},
        )


def _reached(limit: Limit, forecast: Forecast, question: Question, where: str) -> str:
    """Where the limit is met, in words that need no statistics."""
    if limit.unit == "rows" and question.production_rows:
        return (
            f"{limit.name}{where} leaves room for {limit.cap:,.0f} rows, and production will hold "
            f"{question.production_rows:,.0f}"
        )
    if limit.name == "writers":
        return f"only {limit.cap:g} can write at the same time{where} ({limit.name})"
    return f"{limit.name}{where} is reached at {users_in_words(forecast)}"


def _told(forecast: Forecast, attempts: float) -> Forecast:
    """The forecast with what retries make of it while the system fails."""
    if attempts <= 1.0 or forecast.users is None:
        return forecast
    storm = {"outage_attempts": round(attempts, 2), "outage_users": round(forecast.users / attempts, 1)}
    return replace(forecast, inputs=dict(forecast.inputs) | storm)


def _storm(point: IntegrationPoint, limit: Limit, forecast: Forecast, attempts: float) -> Iterable[Finding]:
    """A limit that holds the users while all is well, and not their retries while the system fails."""
    target = point.scale.production_users
    if attempts <= 1.0 or forecast.low is None or forecast.low < target or forecast.low / attempts >= target:
        return
    yield Finding(
        "limits.retry_storm",
        f"{point.id}: {limit.name} holds {target} users while all is well; while the system fails each call is tried "
        f"{attempts:.2g} times, and then it holds about {forecast.low / attempts:,.0f}",
        expected=f"at least {target} users, retries included", observed=round(forecast.low / attempts, 1),
        evidence={"attempts_per_call": attempts},
        business_effect="A hiccup of minutes uses up the limit and lasts for as long as the limit does.",
    )  # fmt: skip


def _rows(evidence: Evidence) -> float | None:
    try:
        return float(evidence.count_before.value)
    except Inconclusive:
        return None


def _elapsed(limit: Limit, now: datetime) -> float:
    """Share of a midnight window that has passed, so that what is used so far can be carried to its whole day."""
    try:
        window = parse_window(limit.window)
    except ValueError:
        return 1.0
    if window.kind != "midnight":
        return 1.0
    local = now.astimezone(ZoneInfo(window.zone))
    return max(1, local.hour * 60 + local.minute) / 1440


def _findings(point: IntegrationPoint, limit: Limit, forecast: Forecast, question: Question) -> Iterable[Finding]:
    scale = point.scale
    target = scale.production_users
    if limit.scope == "user" and question.accounts is not None and forecast.users is not None:
        yield Finding(
            "limits.shared_account",
            f"{point.id}: {limit.name} counts per user, and all users share {question.accounts:.0f} account(s): "
            "it is one cap for all",
            expected=f"{limit.cap:g} a user", observed=f"{limit.cap:g} for {target} users",
        )  # fmt: skip
    if forecast.users is None or forecast.high is None or forecast.low is None:
        return
    where = "" if forecast.answers_target else f" (a limit of {forecast.environment})"
    if forecast.high < target:
        when = forecast.when.get("ordinary")
        clock = f", with {target} users at {when} on an ordinary day" if when else ""
        yield Finding(
            "limits.below_target",
            f"{point.id}: {_reached(limit, forecast, question, where)}{clock}; {target:,} users are wanted",
            expected=f"at least {target} users", observed=round(forecast.users, 1),
            evidence={"limit": limit.name, "cap": limit.cap, "window": limit.window, "source": limit.source,
                      "model": forecast.model, "inputs": dict(forecast.inputs)},
            business_effect="From then on the system refuses everybody, until the window moves on."
            if forecast.model in ("quota", "rate") else "Users beyond it are refused or wait.",
            severity=None if forecast.answers_target else Severity.INFO,
        )  # fmt: skip
        return
    if scale.month_end_factor > 1 and forecast.model == "quota" and forecast.low >= target * scale.headroom:
        at_month_end = forecast.low / scale.month_end_factor
        if at_month_end < target:
            yield Finding(
                "limits.month_end",
                f"{point.id}: {limit.name} holds on ordinary days, but on a month-end day "
                f"({scale.month_end_factor:g} times the calls) only for {at_month_end:.0f} users",
                expected=f"at least {target} users", observed=round(at_month_end, 1),
                evidence={"clock": forecast.when.get("month_end")},
            )  # fmt: skip
    if (month := forecast.when.get("month")) is not None:
        yield Finding(
            "limits.reached_by_growth",
            f"{point.id}: growth of {scale.growth_per_year:.0%} a year reaches {limit.name} in {month}",
            expected=f"beyond {scale.horizon_months} months", observed=month,
        )  # fmt: skip
