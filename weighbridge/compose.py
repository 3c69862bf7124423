"""Composes the report of a run from the outcomes it has: of points, systems, and the whole."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge import plugins
from weighbridge.connectors.base import Limit
from weighbridge.contracts.models import IntegrationPoint
from weighbridge.outcome import Outcome
from weighbridge.report.model import (
    OverallVerdict,
    PointReport,
    Report,
    RunInfo,
    SystemReport,
    Target,
    limit_dict,
)
from weighbridge.verdict import SELECTED_ORDER, fold, overall, point_verdict, selected_status

if TYPE_CHECKING:
    from weighbridge.runner import Run

__all__ = ["compose"]

Row = dict[str, Any]
SHOWN_VERSIONS = ("weighbridge", "great-expectations", "duckdb", "pyarrow", "sqlalchemy", "requests")


def compose(run: Run, outcomes: Mapping[tuple[str, str], Outcome], *, finished: datetime, partial: bool) -> Report:
    """Everything the outcomes say, folded; a partial run never says READY."""
    names = [c.name for c in run.checks()]
    points = [_point(run, p, [outcomes[p.id, n] for n in names if (p.id, n) in outcomes]) for p in run.points]
    project = run.project
    target = max((p.scale.production_users for p in run.points), default=project.scale.production_users)
    verdict = (
        overall(points, target=target, selected=run.selected is not None)
        if points
        else OverallVerdict(status="UNKNOWN", sentence="No integration point was selected.")
    )
    if partial and verdict.status in ("READY", "HOLDS"):
        verdict = replace(verdict, status="UNKNOWN", sentence="The run was interrupted: nothing can be said yet.")
    return Report(
        run=RunInfo(
            id=str(run.id),
            started=run.started.isoformat(timespec="seconds"),
            finished=finished.isoformat(timespec="seconds"),
            environment=run.environment,
            partial=partial,
            selected_checks=list(run.selected) if run.selected is not None else None,
            rung=max((run.systems.system(p.system).permissions(p).rung for p in run.points), default=0),
            versions=_versions(),
            seed=run.seed,
            calls=run.systems.calls(),
            practice=run.environment == "sandbox",
            project=project.folder.name,
            required_checks=list(project.required_checks),
            command=run.command,
        ),
        target=Target(
            pilot_users=min((p.scale.pilot_users for p in run.points), default=project.scale.pilot_users),
            production_users=target,
            headroom=project.scale.headroom,
            horizon_months=project.scale.horizon_months,
        ),
        verdict=verdict,
        systems=[_system(run, name, points, outcomes) for name in dict.fromkeys(p.system for p in points)],
        points=points,
        not_tested=_not_tested(run, points),
        waivers=[
            {**finding["waived"], "check": check.check, "point": point.id}
            for point in points
            for check in point.checks
            for finding in check.findings
            if finding.get("waived")
        ],
        assumptions=_assumptions(run),
    )


def _point(run: Run, point: IntegrationPoint, outcomes: Sequence[Outcome]) -> PointReport:
    reports = [o.report for o in outcomes]
    forecasts = [f for o in outcomes for f in o.forecasts]
    measurements: Row = {}
    seen: Row = {}
    for outcome in outcomes:
        measurements.update(outcome.measurements)
        seen.update(outcome.evidence)
    settings = run.project.settings(point.system)
    scale = point.scale
    if run.selected is None:
        verdict = point_verdict(
            reports,
            forecasts,
            required=run.project.required_checks,
            target=scale.production_users,
            headroom=scale.headroom,
        )
        status, safe, at_least, reason = verdict.status, verdict.safe_users, verdict.at_least, verdict.reason
    else:
        status, safe, at_least, reason = selected_status(reports), None, None, _selected_reason(reports)
    again = ",".join(c.check for c in reports if c.status in ("break", "unknown"))
    return PointReport(
        id=point.id,
        system=point.system,
        connector=settings.connector,
        object=point.object.physical_name,
        contract=_relative(point.contract.path, run.project.folder),
        status=status,
        owner=settings.owner or point.contract.owner or "",
        environment=run.environment,
        rows={"counted": seen.get("counted"), "exact": seen.get("exact", False), "read": seen.get("read")},
        demand=seen.get("demand", {}),
        load=measurements.pop("load", {"levels": [], "bursts": [], "audit": {}}),
        forecast=forecasts,
        checks=reports,
        safe_users=safe,
        at_least=at_least,
        reason=reason,
        scale={**scale.model_dump(mode="json"), "weights": list(scale.weights)},
        measurements={**measurements, **{k: seen[k] for k in ("profile", "schema") if k in seen}},
        filter=point.object.filter,
        retest=run.retest(point, again or None),
        writes=point.object.writes,
    )


def _selected_reason(reports: Sequence[Any]) -> str:
    for check in reports:
        for finding in check.findings:
            if check.status == "break" and finding["severity"] == "break":
                return finding["message"]
    for status in ("unknown", "skipped"):
        for check in reports:
            if check.status == status:
                return check.error or check.message or ""
    return ""


def _system(
    run: Run, name: str, points: Sequence[PointReport], outcomes: Mapping[tuple[str, str], Outcome]
) -> SystemReport:
    mine = [p for p in points if p.system == name]
    ids = {p.id for p in mine}
    settings = run.project.settings(name)
    seen: Row = {}
    for (point, _), outcome in outcomes.items():
        if point in ids:
            seen.update({k: v for k, v in outcome.evidence.items() if k in ("limits", "probe")})
    probe = seen.get("probe") or {}
    statuses = [p.status for p in mine]
    system = run.systems.system(name)
    return SystemReport(
        id=name,
        status=fold(statuses, SELECTED_ORDER) if run.selected is not None else fold(statuses),
        limits=[*seen.get("limits", []), *(_declared(name, limit) for limit in settings.limits)],
        connector=settings.connector,
        product=" ".join(str(p) for p in (probe.get("product"), probe.get("version")) if p),
        owner=settings.owner or "",
        deputy=settings.deputy or "",
        business_owner=settings.business_owner or "",
        runbook=settings.runbook or "",
        rung=max((system.permissions(p).rung for p in run.points if p.system == name), default=0),
        error=next((c.error for p in mine for c in p.checks if c.check == "connection" and c.error), None),
    )


def _declared(system: str, limit: Any) -> Row:
    return limit_dict(
        Limit(
            name=limit.name,
            scope=limit.scope,
            cap=limit.cap,
            unit=limit.unit,
            window=limit.window,
            used=limit.used,
            source="declared",
            environment=limit.environment,
            at=limit.at or "",
            detail={"by": limit.source or f"weighbridge.toml, systems.{system}"},
        )
    )


def _not_tested(run: Run, points: Sequence[PointReport]) -> list[Row]:
    rows: list[Row] = []
    for point in points:
        for check in point.checks:
            if check.status == "skipped" and check.reason != "not_applicable":
                rows.append(_untested(point.id, check.check, None, check.reason, check.message))
            elif check.status == "unknown":
                rows.append(_untested(point.id, check.check, None, "unknown", check.error))
            rows += [
                _untested(point.id, check.check, rule["id"], rule["outcome"], rule.get("reason"))
                for rule in check.rules
                if rule["outcome"] in ("not_run", "errored")
            ]
    if run.selected is not None:
        left = [n for n in plugins.check_names() if n not in run.selected]
        rows += [_untested("*", name, None, "deselected", "not among the selected checks") for name in left]
    return rows


def _untested(point: str, check: str, rule: str | None, reason: str | None, message: str | None) -> Row:
    return {"point": point, "check": check, "rule": rule, "reason": reason, "message": message or ""}


def _assumptions(run: Run) -> list[str]:
    scale = run.project.scale
    said = [
        f"Target {scale.production_users} users with headroom x{scale.headroom:g}, reserve {scale.reserve:.0%}.",
        f"Busiest hour {scale.peak_factor:g} times the average one; month end x{scale.month_end_factor:g}.",
        f"Day profile {scale.hourly_profile} ({scale.timezone}).",
        f"Growth {scale.growth_per_year:.0%} a year over {scale.horizon_months} months.",
    ]
    if run.unread:
        names = ", ".join(path.name for path in run.unread)
        said.append(f"Not counted against shared quotas, for these contracts could not be read: {names}.")
    if run.environment == "sandbox":
        said.append("Practice systems: nothing here is evidence about a real system.")
    return said


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in SHOWN_VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _relative(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else path.name
