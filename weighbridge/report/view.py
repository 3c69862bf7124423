"""What every rendering derives from a report in the same way: blockers, their order, the matrix, numbers in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from weighbridge.report.model import CheckReport, PointReport, Report

__all__ = [
    "STATUS_WORDS",
    "Blocker",
    "Group",
    "blockers",
    "ceiling_words",
    "columns",
    "duration",
    "first_breaks",
    "groups",
    "moment",
    "number",
    "rung_words",
    "users_words",
    "value",
    "worst_first",
]

STATUS_WORDS: Mapping[str, str] = {
    "READY": "Ready",
    "AT_RISK": "At risk",
    "BREAKS": "Breaks",
    "UNKNOWN": "Unknown",
    "HOLDS": "Holds",
    "BROKEN": "Broken",
}
_ORDER = {"BREAKS": 0, "BROKEN": 0, "AT_RISK": 1, "UNKNOWN": 2, "HOLDS": 3, "READY": 4}
_RUNGS = ("metadata only", "single reads", "a ramp of users", "bursts", "bursts and writes")
_CHECK_ORDER = (
    "connection",
    "schema",
    "quality",
    "completeness",
    "volume",
    "freshness",
    "drift",
    "legacy",
    "workbook",
    "limits",
    "load",
    "resilience",
    "edge_cases",
    "operations",
)


@dataclass(frozen=True, slots=True)
class Group:
    """Blockers that are told as one: of one point and check, or one shared cause of several points of a system."""

    first: Blocker
    title: str
    """The cause without the point's name, which stands beside it."""
    more: int
    """Further blockers of the same point and check."""
    also: tuple[str, ...] = ()
    """Other points with the very same cause."""


@dataclass(frozen=True, slots=True)
class Blocker:
    """One thing that keeps a point from being ready: a finding that breaks, or a check that could not look."""

    point: str
    check: str
    kind: str
    """`break`, `unknown` or `warn`."""
    code: str
    cause: str
    effect: str
    owner: str
    remedy: str
    retest: str
    users: float | None = None
    """Where the point's ceiling lies, for the order."""


def blockers(report: Report, *, warnings: bool = False) -> list[Blocker]:
    """Everything that stands between this report and READY: the limiting point first, breaks before unknowns."""
    owners = {s.id: s.owner for s in report.systems}
    found: list[Blocker] = []
    for point in report.points:
        owner = point.owner or owners.get(point.system, "")
        for check in point.checks:
            found += _of_check(point, check, owner, warnings or point.status == "AT_RISK")
            if _unanswered(report, check):
                found.append(_question(point, check, owner))
    kinds = {"break": 0, "unknown": 1, "warn": 2}
    limiting = report.verdict.limiting_point

    def key(b: Blocker) -> tuple[Any, ...]:
        users = float("inf") if b.users is None else b.users
        return kinds[b.kind], b.point != limiting, users, _natural(b.point), b.check

    return sorted(found, key=key)


def groups(report: Report) -> list[Group]:
    """The blockers, told once for each point and check, and once for a cause that several points of a system share."""
    found: dict[tuple[str, str, str], list[Blocker]] = {}
    for blocker in blockers(report):
        found.setdefault((blocker.kind, blocker.point, blocker.check), []).append(blocker)
    systems = {p.id: p.system for p in report.points}
    merged: dict[tuple[str, ...], Group] = {}
    for members in found.values():
        first = members[0]
        title = _without(first.point, first.cause)
        # Only a cause that says nothing of the point itself is one cause of several.
        key = (first.kind, systems[first.point], first.code, title, "" if len(members) == 1 else first.point)
        held = merged.get(key)
        if held is None:
            merged[key] = Group(first, title, len(members) - 1)
        else:
            merged[key] = replace(held, also=(*held.also, first.point))
    return list(merged.values())


def _without(point: str, cause: str) -> str:
    for mark in (": ", "."):
        if cause.startswith(point + mark):
            return cause[len(point) + len(mark) :]
    return cause


def _of_check(point: PointReport, check: CheckReport, owner: str, warnings: bool) -> Iterable[Blocker]:
    wanted = {"break", "warn"} if warnings else {"break"}
    if check.status == "skipped":
        return
    for row in check.findings:
        if row["severity"] in wanted and not row.get("waived"):
            yield Blocker(
                point=point.id,
                check=check.check,
                kind=row["severity"],
                code=row["code"],
                cause=row["message"],
                effect=row["business_effect"],
                owner=owner,
                remedy=row["remedy"],
                retest=row["retest"] or point.retest,
                users=point.safe_users,
            )


def _unanswered(report: Report, check: CheckReport) -> bool:
    """Whether the check leaves a question open that READY, or this run of selected checks, needs answered."""
    required = report.run.required_checks
    asked = report.run.selected_checks is not None or not required or check.check in required
    return asked and (
        check.status == "unknown" or (check.status == "skipped" and check.reason in ("not_permitted", "budget"))
    )


def _question(point: PointReport, check: CheckReport, owner: str) -> Blocker:
    permitted = check.status != "skipped"
    return Blocker(
        point=point.id,
        check=check.check,
        kind="unknown",
        code=f"{check.check}.{'unknown' if permitted else check.reason}",
        cause=check.error or check.message or check.reason or "This check could not look.",
        effect="",
        owner=owner,
        remedy=check.remedy or ("" if permitted else "Ask the system's owner: `weighbridge doctor --request SYSTEM`."),
        retest=point.retest,
        users=point.safe_users,
    )


def columns(report: Report) -> list[str]:
    """The checks of the matrix, in the order in which they are asked."""
    seen = {c.check for p in report.points for c in p.checks} | set(report.run.required_checks)
    known = [c for c in _CHECK_ORDER if c in seen]
    return known + sorted(seen - set(known))


def worst_first(report: Report) -> list[PointReport]:
    """The points, the worst status and the lowest ceiling first."""

    def key(point: PointReport) -> tuple[Any, ...]:
        ceiling = point.safe_users if point.safe_users is not None else point.at_least
        return _ORDER.get(point.status, 9), float("inf") if ceiling is None else ceiling, _natural(point.id)

    return sorted(report.points, key=key)


def first_breaks(report: Report) -> list[tuple[PointReport, dict[str, Any] | None]]:
    """Each point with the forecast that decides it (the lowest), the first to break first."""
    found = [(p, _deciding(p)) for p in report.points]

    def key(item: tuple[PointReport, dict[str, Any] | None]) -> tuple[Any, ...]:
        point, row = item
        name = _natural(point.id)
        if row is None:
            return (0 if point.safe_users == 0 else 2), 0.0, name
        known = row["users"] if row["users"] is not None else row["at_least"]
        return (1, known, name) if known is not None else (2, 0.0, name)

    return sorted(found, key=key)


def _natural(name: str) -> list[tuple[int, str]]:
    # Object2 before Object10
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"([0-9]+)", name)]


def _deciding(point: PointReport) -> dict[str, Any] | None:
    known = [f for f in point.forecast if f["users"] is not None]
    if known:
        return min(known, key=lambda f: f["users"])
    refused = [f for f in point.forecast if f["at_least"] is not None]
    if refused:
        return min(refused, key=lambda f: f["at_least"])
    return point.forecast[0] if point.forecast else None


def number(figure: Any, *, unknown: str = "unknown") -> str:
    """1,234 or 12.5; what is not known says so."""
    if figure is None:
        return unknown
    if isinstance(figure, bool):
        return "yes" if figure else "no"
    if isinstance(figure, int):
        return f"{figure:,}"
    if isinstance(figure, float):
        if abs(figure) >= 100 or figure == int(figure):
            return f"{figure:,.0f}"
        return f"{figure:.3g}"
    return str(figure)


def users_words(row: Mapping[str, Any] | None) -> str:
    """`180 [165, 195]`, `at least 40` or `unknown`, from a forecast."""
    if row is None:
        return "unknown"
    if row.get("model") == "rows" and row["users"] is not None and (row.get("inputs") or {}).get("cap"):
        return f"{number(row['inputs']['cap'])} rows"  # half a million users of a sheet say nothing to anybody
    if row["users"] is not None:
        return number(row["users"]) + _interval(row)
    if row["at_least"] is not None:
        return f"at least {number(row['at_least'])}"
    return "unknown"


def _interval(row: Mapping[str, Any]) -> str:
    """` [165, 195]`; nothing where it is no interval."""
    low, high = row.get("low"), row.get("high")
    if low is None or high is None or number(low) == number(high):
        return ""
    return f" [{number(low)}, {number(high)}]"


def ceiling_words(point: PointReport, row: Mapping[str, Any] | None) -> str:
    """Where the point breaks; a point whose data fail says so first, then where its load would break it."""
    if point.safe_users != 0:
        return users_words(row)
    return "data" if row is None or users_words(row) == "unknown" else f"data; {users_words(row)}"


def value(item: Any) -> str:
    """Any value of a finding in one short line."""
    if item is None:
        return ""
    if isinstance(item, (int, float)):
        return number(item)
    if isinstance(item, Mapping):
        return ", ".join(f"{k} {value(v)}" for k, v in item.items() if v is not None)
    if isinstance(item, (list, tuple)):
        return ", ".join(value(v) for v in item)
    return str(item)


def moment(text: str | None) -> str:
    """An ISO time as `2026-11-24 23:01 UTC`; what is no time stays as it is."""
    if not text:
        return ""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    zone = at.strftime("%Z") if at.tzinfo else ""
    return f"{at:%Y-%m-%d %H:%M} {zone}".strip()


def duration(start: str | None, end: str | None) -> str:
    """The time between two ISO times in words, empty where one is missing."""
    try:
        seconds = (datetime.fromisoformat(end or "") - datetime.fromisoformat(start or "")).total_seconds()
    except (TypeError, ValueError):
        return ""
    if seconds < 0:
        return ""
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = round(seconds / size)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds:.0f} seconds"


def rung_words(rung: int) -> str:
    """The rung of the permission ladder in words."""
    return f"rung {rung} of 4, {_RUNGS[rung] if 0 <= rung < len(_RUNGS) else 'unknown'}"
