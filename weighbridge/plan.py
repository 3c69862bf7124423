"""Says what a run would send, kind by kind with counts, and sends nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from weighbridge import plugins
from weighbridge.checks.base import Check
from weighbridge.contracts.models import IntegrationPoint
from weighbridge.project import Project
from weighbridge.runner import RUNG_OF_COST

__all__ = ["PlannedCall", "plan", "print_plan"]

WRITE_CALLS = 100
LOAD_CALLS = 2_000
"""A point's ramp and bursts stay under this by default; see the check `load`."""
PAGE_ROWS = 1_000
"""Assumed where the page size of a system is not known before it is asked."""


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One kind of call to one point: at most `most` of them, None where only the system's size can say."""

    system: str
    point: str
    kind: str
    most: int | None
    why: str


def plan(
    project: Project, points: Sequence[IntegrationPoint], environment: str, checks: Sequence[str] | None
) -> list[PlannedCall]:
    """Every kind of call the run would make. Raises UsageProblem for settings that cannot be used."""
    project.require(dict.fromkeys(p.system for p in points), environment)
    chosen = plugins.checks(checks)
    calls: list[PlannedCall] = []
    for name in dict.fromkeys(p.system for p in points):
        calls.append(PlannedCall(name, "", "log in", 1, "once a system"))
        calls.append(PlannedCall(name, "", "probe and limits (metadata)", 8, "identity, version, ceilings"))
    for point in points:
        calls += _point(project, point, environment, chosen)
    return calls


def _point(project: Project, point: IntegrationPoint, environment: str, checks: Sequence[Check]) -> list[PlannedCall]:
    allowed = project.system(point.system, environment).permissions(point)
    permitted = [c for c in checks if RUNG_OF_COST[c.cost] <= allowed.rung]
    calls = [PlannedCall(point.system, point.id, "describe the object", 2, "types, keys")]
    if any(c.cost != "cheap" for c in permitted) or any("landing" in c.needs for c in permitted):
        rows = point.object.expected_rows or point.scale.rows
        pages = None if rows is None else math.ceil(rows / PAGE_ROWS)
        calls.append(PlannedCall(point.system, point.id, "count", 2, "before and after the read"))
        calls.append(PlannedCall(point.system, point.id, "read pages", pages, "each row once, landed and shared"))
    for check in permitted:
        if check.cost == "load":
            calls.append(
                PlannedCall(
                    point.system,
                    point.id,
                    check.name,
                    LOAD_CALLS,
                    f"ramp to {allowed.max_users} users, bursts to {allowed.max_burst} simultaneous calls",
                )
            )
        elif check.cost == "write":
            calls.append(PlannedCall(point.system, point.id, check.name, None, "test records, removed and proved gone"))
        elif check.name == "resilience":
            calls.append(PlannedCall(point.system, point.id, check.name, None, "a few pages again under each fault"))
            if project.settings(point.system).fallback is not None:
                calls.append(
                    PlannedCall(point.system, point.id, "ask the fallback", None, "its copy, with the system down")
                )
        if allowed.writes and check.name in ("resilience", "edge_cases"):
            calls.append(
                PlannedCall(
                    point.system,
                    point.id,
                    f"{check.name}: write",
                    WRITE_CALLS,
                    "practice records with keys of their own, removed and proved gone",
                )
            )
    return calls


def print_plan(
    project: Project, points: Sequence[IntegrationPoint], environment: str, checks: Sequence[str] | None
) -> None:
    """Print the plan as a table."""
    from rich.console import Console
    from rich.table import Table

    calls = plan(project, points, environment, checks)
    table = Table(title=f"What a run in {environment} would send; nothing was sent", title_justify="left")
    for heading in ("system", "point", "kind of call", "at most", "why"):
        table.add_column(heading, overflow="fold")
    for call in calls:
        most = "by its size" if call.most is None else f"{call.most:,}"
        table.add_row(call.system, call.point, call.kind, most, call.why)
    console = Console()
    console.print(table)
    for name in dict.fromkeys(c.system for c in calls):
        system = project.system(name, environment)
        budget = system.policy.call_budget
        allowed = system.permissions()
        console.print(
            f"{name}: rung {allowed.rung}, call budget {'none' if budget is None else f'{budget:,}'}, "
            f"hours {system.policy.allowed_hours or 'any'}",
            highlight=False,
        )
