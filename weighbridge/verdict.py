"""Folds what checks found into verdicts: of a point, a system, the whole. Nothing here looks at a system.

READY needs every required check that applies to have passed, and every ceiling's low end to clear the target with
headroom. The smallest ceiling decides. Whatever could not be answered is UNKNOWN, never READY.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weighbridge.report.model import CheckReport, OverallVerdict, PointReport

__all__ = ["PointVerdict", "fold", "judge", "overall", "point_verdict", "selected_status"]

ORDER = ("BREAKS", "AT_RISK", "UNKNOWN", "READY")
SELECTED_ORDER = ("BROKEN", "UNKNOWN", "HOLDS")
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PointVerdict:
    """A point's status with the number it rests on and the reason in one sentence."""

    status: str
    safe_users: float | None
    at_least: float | None
    reason: str


def fold(statuses: Iterable[str], order: Sequence[str] = ORDER) -> str:
    """The worst of several statuses; UNKNOWN of none at all."""
    found = set(statuses)
    return next((s for s in order if s in found), "UNKNOWN")


def selected_status(checks: Sequence[CheckReport]) -> str:
    """HOLDS, BROKEN or UNKNOWN: of a run that was asked about some checks only."""
    looked = [c for c in checks if not (c.status == "skipped" and c.reason in ("not_applicable", "deselected"))]
    if any(c.status == "break" for c in looked):
        return "BROKEN"
    if any(c.status in ("unknown", "skipped") and c.reason != "waived" for c in looked):
        return "UNKNOWN"
    return "HOLDS"


def point_verdict(
    checks: Sequence[CheckReport],
    forecasts: Sequence[Row],
    *,
    required: Sequence[str],
    target: int,
    headroom: float,
) -> PointVerdict:
    """The verdict of one point from its checks and forecasts."""
    verdicts: list[tuple[str, str]] = []
    by_name = {c.check: c for c in checks}
    forecasting = {f.get("check") for f in forecasts}
    data_break = False
    for check in checks:
        if check.status == "break":
            verdicts.append(("BREAKS", _first(check, "break") or f"the check {check.check} found a break"))
            data_break = data_break or check.check not in forecasting
    for name in required:
        check = by_name.get(name)
        if check is None or (check.status == "skipped" and check.reason not in ("not_applicable", "waived")):
            why = f" ({check.reason}: {check.message})" if check is not None and check.message else ""
            verdicts.append(("UNKNOWN", f"the question '{name}' was not answered{why}"))
        elif check.status == "unknown":
            verdicts.append(("UNKNOWN", f"the question '{name}' could not be answered: {check.error}"))
        elif check.status == "warn":
            verdicts.append(("AT_RISK", _first(check, "warn") or f"the check {name} warns"))
        elif check.reason == "waived":
            verdicts.append(("AT_RISK", f"a waiver stands in for the check {name}"))
    verdicts += [judge(forecast, target, target * headroom) for forecast in forecasts]
    status = fold(v for v, _ in verdicts) if verdicts else "READY"
    reason = next((why for v, why in verdicts if v == status and why), "every required question was answered well")
    if data_break:
        return PointVerdict(status, 0.0, 0.0, reason)
    safe, at_least = _safe(forecasts)
    return PointVerdict(status, safe, at_least, _reason(status, reason, forecasts, target))


def judge(forecast: Row, target: int, wanted: float) -> tuple[str, str]:
    """What one forecast says of the target: a status, and why in words (empty when all is well)."""
    name, where = forecast["limit"], forecast.get("environment")
    answers = forecast.get("answers_target", True)
    low, high, at_least = forecast.get("low"), forecast.get("high"), forecast.get("at_least")
    if forecast.get("users") is None or low is None or high is None:
        if answers and at_least is not None and at_least >= wanted:
            return "READY", ""
        bound = f"; it holds to at least {_users(at_least)}" if at_least else ""
        why = forecast.get("reason") or "this measurement cannot tell"
        more = f"; next: {forecast['next_probe']}" if forecast.get("next_probe") else ""
        return "UNKNOWN", f"{name}: {why}{bound}{more}"
    span = f"{name} is reached at about {_users(forecast['users'])} [{low:,.0f}, {high:,.0f}]"
    if f"{low:.0f}" == f"{high:.0f}":
        span = f"{name} is reached at {_users(forecast['users'])}"
    if forecast.get("model") == "rows":
        room, rows = (forecast["inputs"].get(key, 0) for key in ("cap", "rows"))
        span = f"{name}: there is room for {room:,.0f} rows, and production will hold {rows:,.0f}"
    if not answers:
        if high < target and forecast.get("basis") == "measured":
            return "BREAKS", f"{span}, measured in {where}"
        return "UNKNOWN", f"{name}: known of {where} only, which is not production; declare production's limit"
    if high < target:
        return "BREAKS", span
    if low >= wanted:
        return "READY", ""
    return "AT_RISK", f"{span}: too near to the target of {target} to be sure"


def _safe(forecasts: Sequence[Row]) -> tuple[float | None, float | None]:
    """(users, at_least) of the smallest ceiling; users None when an unanswered limit may lie below it."""
    told = [f for f in forecasts if f.get("users") is not None and f.get("low") is not None]
    refused = [f for f in forecasts if f.get("users") is None]
    bounds = [f["low"] for f in told] + [f.get("at_least") or 0.0 for f in refused]
    at_least = min(bounds) if bounds else None
    if not told:
        return None, at_least
    smallest = min(told, key=lambda f: f["users"])
    if any((f.get("at_least") or 0.0) < smallest["low"] for f in refused):
        return None, at_least
    return smallest["users"], at_least


def _reason(status: str, reason: str, forecasts: Sequence[Row], target: int) -> str:
    if status != "BREAKS":
        return reason
    broken = [f for f in forecasts if f.get("high") is not None and f["high"] < target]
    if not broken:
        return reason
    first = min(broken, key=lambda f: f["users"])
    return judge(first, target, target)[1] or reason


def _first(check: CheckReport, severity: str) -> str | None:
    return next((f["message"] for f in check.findings if f["severity"] == severity and not f.get("waived")), None)


def _users(value: float | None) -> str:
    if value is None:
        return "an unknown number of users"
    return f"{value:,.0f} user{'' if round(value) == 1 else 's'}"


def overall(points: Sequence[PointReport], *, target: int, selected: bool) -> OverallVerdict:
    """The whole: the weakest point decides, and two sentences say so."""
    if selected:
        return _overall_selected(points)
    status = fold(p.status for p in points)
    worst = [p for p in points if p.status == status]
    known = [p for p in points if p.safe_users is not None]
    bounds = [p.at_least for p in points if p.at_least is not None]
    at_least = min(bounds) if bounds and len(bounds) == len(points) else None
    limiting = min(worst, key=lambda p: (p.safe_users is None, p.safe_users or 0.0, p.id)) if worst else None
    safe: float | None = None
    if known and limiting is not None:
        smallest = min(known, key=lambda p: p.safe_users or 0.0)
        unknown_below = any(p.safe_users is None and (p.at_least or 0.0) < (smallest.safe_users or 0.0) for p in points)
        safe = None if unknown_below and smallest.safe_users else smallest.safe_users
        if status == "BREAKS":
            limiting = min((p for p in worst), key=lambda p: (p.safe_users is None, p.safe_users or 0.0, p.id))
    sentence = _sentence(status, points, worst, limiting, target, safe, at_least)
    return OverallVerdict(
        status=status,
        safe_users=safe,
        at_least=at_least,
        limiting_point=limiting.id if limiting and status != "READY" else None,
        sentence=sentence,
        engineer=_engineer(points, status),
    )


def _engineer(points: Sequence[PointReport], status: str) -> str:
    """Why each of the deciding points stands as it does, in figures."""
    told = (f"{p.id} {p.status}: {p.reason.rstrip('. ')}" for p in points if p.status == status and p.reason)
    return "; ".join(told)[:2000]


def _overall_selected(points: Sequence[PointReport]) -> OverallVerdict:
    status = fold((p.status for p in points), SELECTED_ORDER)
    counts = {s: sum(p.status == s for p in points) for s in SELECTED_ORDER}
    words = {
        "HOLDS": f"What was asked holds at all {len(points)} integration points.",
        "BROKEN": f"{counts['BROKEN']} of {len(points)} integration points break what was asked of them.",
        "UNKNOWN": f"{counts['UNKNOWN']} of {len(points)} integration points could not be looked at.",
    }
    first = next((p for p in points if p.status == status), None)
    return OverallVerdict(
        status=status,
        limiting_point=first.id if first and status != "HOLDS" else None,
        sentence=words[status] + " Only the selected checks were run: this is no verdict on the go-live.",
        engineer=_engineer(points, status),
    )


def _sentence(
    status: str,
    points: Sequence[PointReport],
    worst: Sequence[PointReport],
    limiting: PointReport | None,
    target: int,
    safe: float | None,
    at_least: float | None,
) -> str:
    count = f"{len(worst)} of {len(points)} integration points"
    if status == "READY":
        return f"Ready for {target} users: all {len(points)} integration points carry them with headroom."
    if status == "BREAKS" and limiting is not None:
        parts = [f"Not ready for {target} users: {count} would break."]
        parts += _first_to_give_way(worst, target)
        data = [p for p in worst if p.safe_users == 0]
        if data:
            names = ", ".join(p.id for p in data[:3]) + (f" and {len(data) - 3} more" if len(data) > 3 else "")
            parts.append(f"At any number of users something must be mended first at {names}.")
        return " ".join(parts)
    if status == "AT_RISK":
        number = f" The first limit lies at about {safe:,.0f} users." if safe else ""
        return f"At risk for {target} users: {count} may not carry them.{number}"
    bound = f" What was measured holds to at least {at_least:,.0f} users." if at_least else ""
    return f"Not known for {target} users: {count} could not be fully answered.{bound}"


def _first_to_give_way(points: Sequence[PointReport], target: int) -> list[str]:
    """The ceilings that growth meets first, one a system: what would stop the go-live were the data sound."""
    ceilings: dict[str, tuple[float, str, str]] = {}
    for point in points:
        for forecast in point.forecast:
            if forecast.get("high") is not None and forecast["high"] < target:
                found = forecast["users"], point.id, str(forecast["limit"]).replace("_", " ")
                ceilings[point.system] = min(found, ceilings.get(point.system, found))
    if not ceilings:
        return []
    first, *rest = sorted(ceilings.values())
    said = [f"As users grow, {first[1]} gives way first, at about {_users(first[0])} ({first[2]})"]
    said += [f"{point} at about {users:,.0f} ({limit})" for users, point, limit in rest[:2]]
    return [", then ".join(said) + "."]
