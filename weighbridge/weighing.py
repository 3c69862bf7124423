"""What the pytest plugin does with contracts: one run a project and session, asked one check at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge import plugins
from weighbridge.connectors.registry import connectors
from weighbridge.errors import DeliveryProblem
from weighbridge.project import Project

if TYPE_CHECKING:  # collecting contracts needs no runner, no history and no report
    from weighbridge.checks.base import Check
    from weighbridge.contracts.models import IntegrationPoint
    from weighbridge.history import History
    from weighbridge.outcome import Outcome
    from weighbridge.report.model import Report
    from weighbridge.runner import Run

__all__ = ["Sessions", "failure_text", "section_text"]

SHOWN = 20


@dataclass(slots=True)
class _Session:
    """One project: its points as they are collected, and the run they are asked in."""

    project: Project
    points: dict[str, IntegrationPoint] = field(default_factory=dict)
    run: Run | None = None
    history: History | None = None
    """What earlier runs, drills and alert tests told; a run of tests adds nothing to it."""


@dataclass
class Sessions:
    """Every project that a pytest session collects from, by its weighbridge.toml."""

    environment: str
    users: int | None
    seed: int
    run_id: str | None = None
    reports: list[Report] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @cached_property
    def _all(self) -> dict[Path, _Session]:
        return {}

    @cached_property
    def _by_folder(self) -> dict[Path, _Session]:
        return {}

    @cached_property
    def _by_kind(self) -> dict[str, list[Check]]:
        return {}

    @property
    def contracts(self) -> list[str]:
        """Files whose points were collected."""
        return sorted({str(p.contract.path) for s in self._all.values() for p in s.points.values()})

    def project_of(self, folder: Path) -> Project:
        """The project at or above `folder`. Raises UsageProblem where there is none."""
        return self._of(folder).project

    def _of(self, start: Path) -> _Session:
        folder = start if start.is_dir() else start.parent
        if folder not in self._by_folder:
            project = Project.load(start=folder)
            self._by_folder[folder] = self._all.setdefault(project.folder, _Session(project))
        return self._by_folder[folder]

    def points(self, contract: Path) -> list[IntegrationPoint]:
        """The integration points of one contract file."""
        session = self._of(contract)
        found = session.project.points([contract], users=self.users)
        for point in found:
            session.points[point.id] = point
        return found

    def all_points(self, folder: Path) -> list[IntegrationPoint]:
        """Every point of the project at or above `folder`."""
        return self._of(folder).project.points(users=self.users)

    def applicable(self, contract: Path, point: IntegrationPoint) -> list[Check]:
        """The checks that can apply to the point's kind of connector: what its class lacks is not collected."""
        name = self._of(contract).project.settings(point.system).connector
        if name not in self._by_kind:
            kind = connectors[name]
            self._by_kind[name] = [c for c in plugins.checks() if all(_may_have(kind, f) for f in c.facets)]
        return self._by_kind[name]

    def ask(self, contract: Path, point: IntegrationPoint, check: Check) -> Outcome:
        """Ask one check of one point, or take what another worker of this run was told."""
        session = self._of(contract)
        run = self._run(session)
        if point.id not in {p.id for p in run.points}:
            run.points = [*run.points, point]
        with run.system_lock(point.system):
            return run.check(point, check)

    def _run(self, session: _Session) -> Run:
        if session.run is None:
            from weighbridge.history import History
            from weighbridge.runner import Run
            from weighbridge.weigh import recollect

            session.run = Run(
                session.project, (), environment=self.environment, id=self.run_id, seed=self.seed, command="pytest"
            )
            session.run.everything, session.run.unread = session.project.everything(self.users)
            session.history = History.of(session.project)
            recollect(session.run, session.history)
        return session.run

    def finish(self, folder: Path | None, *, worker: bool) -> None:
        """Close the runs; outside of workers fold them into reports, and write those into `folder` when given."""
        for session in self._all.values():
            run = session.run
            if run is None and not worker and self.run_id and session.points:
                run = self._run(session)  # the controller of several workers: it asked nothing itself
            if run is None:
                continue
            if not worker:
                run.points = list(session.points.values())
                run.recall()
                run.points = [p for p in run.points if run.asked(p)]
                if run.points:
                    self._report(run, folder)
            run.close(delete=not worker)
            if session.history is not None:
                session.history.close()

    def _report(self, run: Run, folder: Path | None) -> None:
        whole = True
        for point in run.points:
            applicable = {c.name for c in self.applicable(point.contract.path, point)}
            whole = whole and applicable <= run.asked(point)
            for check in plugins.checks():
                if check.name not in applicable:
                    run.not_applicable(point, check, "systems of this kind have no such side")
        if not whole:
            # Only some questions were asked: what they say is no verdict on the go-live.
            names = set().union(*(run.asked(p) for p in run.points))
            run.selected = tuple(n for n in plugins.check_names() if n in names)
        report = run.report(partial=False)
        self.reports.append(report)
        if folder is not None:
            from weighbridge.report.writers import write_reports
            from weighbridge.weigh import DEFAULT_FORMATS

            try:
                write_reports(report, folder, DEFAULT_FORMATS)
                self.notes.append(f"report: {folder / 'report.html'}")
            except DeliveryProblem as problem:
                self.notes.append(f"weighbridge: {problem}")


def _may_have(kind: type[Any], facet: type[Any]) -> bool:
    members = getattr(facet, "__protocol_attrs__", None) or {n for n in vars(facet) if not n.startswith("_")}
    return all(hasattr(kind, name) for name in members)


def failure_text(outcome: Outcome, point: IntegrationPoint, *, allow_at_risk: bool) -> str | None:
    """Why the test fails, in words; None when it does not."""
    from weighbridge.verdict import judge

    target = point.scale.production_users
    judged = [judge(f, target, target * point.scale.headroom) for f in outcome.forecasts]
    risks = [why for status, why in judged if status == "AT_RISK"]
    if outcome.report.status != "break" and (allow_at_risk or not risks):
        return None
    lines = [f"{point.id} ({point.contract.path.name}): {outcome.report.check}"]
    lines += [f"  BREAKS: {why}" for status, why in judged if status == "BREAKS"]
    lines += [f"  AT RISK: {why}" for why in risks]
    lines += _findings(outcome, ("break", "warn"))
    lines += _rules(outcome, point)
    lines.append("  again: " + (outcome.report.findings[0]["retest"] if outcome.report.findings else "pytest --lf"))
    return "\n".join(lines)


def section_text(outcome: Outcome) -> str:
    """Warnings and information of a check that passed."""
    return "\n".join(_findings(outcome, ("warn", "info")))


def _findings(outcome: Outcome, severities: Sequence[str]) -> list[str]:
    lines: list[str] = []
    for finding in outcome.report.findings[:SHOWN]:
        if finding["severity"] not in severities:
            continue
        lines.append(f"  {finding['severity'].upper()} {finding['code']}: {finding['message']}")
        if finding.get("expected") is not None or finding.get("observed") is not None:
            lines.append(f"    expected {finding.get('expected')}, observed {finding.get('observed')}")
        if finding.get("remedy"):
            lines.append(f"    what to do: {finding['remedy']}")
    left = len(outcome.report.findings) - SHOWN
    return [*lines, f"  and {left} findings more"] if left > 0 else lines


def _rules(outcome: Outcome, point: IntegrationPoint) -> list[str]:
    return [
        f"  {point.contract.path}:{rule['line']}: {rule['id']} {rule['outcome']}"
        + (f", {rule['count']} of {rule['total']} rows" if rule.get("count") is not None else "")
        for rule in outcome.report.rules
        if rule["outcome"] in ("failed", "errored")
    ][:SHOWN]
