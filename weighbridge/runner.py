"""Runs checks on integration points and folds what they found into a report.

Systems run beside each other, points within a system one after the other. Each finished check is written at once, so
a run that is interrupted or killed keeps everything it had, and `resume` does not ask again.
"""

from __future__ import annotations

import json
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from filelock import FileLock, Timeout

from weighbridge import plugins
from weighbridge.checks.base import (
    Check,
    Context,
    Finding,
    Forecast,
    Inconclusive,
    Measurement,
    NotRun,
    RuleResult,
    Severity,
)
from weighbridge.connectors.errors import BudgetExceeded, ConnectorError
from weighbridge.contracts.models import IntegrationPoint
from weighbridge.errors import UsageProblem
from weighbridge.evidence import FailedEvidence, PointEvidence, Store, Systems, folder_name
from weighbridge.project import Project, System, Waiver
from weighbridge.report.files import write_atomically
from weighbridge.report.model import (
    CheckReport,
    OverallVerdict,
    PointReport,
    Report,
    RunInfo,
    SystemReport,
    Target,
    finding_dict,
    forecast_dict,
    limit_dict,
    plain,
    rule_dict,
)
from weighbridge.verdict import fold, judge, overall, point_verdict, selected_status

__all__ = ["Event", "Outcome", "Run", "latest_run", "new_run_id"]

SHOWN_VERSIONS = ("weighbridge", "great-expectations", "duckdb", "pyarrow", "sqlalchemy", "requests")
LOCK_SECONDS = 600.0
RUNG_OF_COST = {"cheap": 0, "read": 1, "load": 2, "write": 4}
_CLOCK = time.monotonic


@dataclass(frozen=True, slots=True)
class Event:
    """Something to show: a check began, ended (with its status), or says what it is doing."""

    kind: str
    """`begin`, `end` or `note`."""
    point: str
    check: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check of one point came to, with the numbers it brought."""

    report: CheckReport
    forecasts: tuple[dict[str, Any], ...] = ()
    measurements: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """Rows and demand of the point as they were known when the check ended."""

    def to_json(self) -> str:
        return json.dumps(plain(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Outcome:
        body = json.loads(text)
        return cls(
            CheckReport(**body["report"]), tuple(body["forecasts"]), body["measurements"], body.get("evidence", {})
        )


def new_run_id(now: datetime) -> str:
    """A run's name: sorts by time, never twice the same."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def latest_run(project: Project, environment: str) -> str | None:
    """The newest unfinished run of that environment, None when there is none."""
    runs = project.data_folder / "runs"
    for state in sorted(runs.glob("*/state.json"), reverse=True):
        try:
            body = json.loads(state.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if body.get("environment") == environment and not body.get("finished"):
            return state.parent.name
    return None


@dataclass(slots=True)
class Run:
    """One run: which points and checks, in which environment; `execute` does it, `report` folds what is there."""

    project: Project
    points: Sequence[IntegrationPoint]
    environment: str = "staging"
    selected: tuple[str, ...] | None = None
    """None asks everything; otherwise only these checks, and the run has no verdict on the go-live."""
    id: str | None = None
    seed: int = 1
    keep: bool = False
    """Keep the landed rows after the run."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    on_event: Callable[[Event], None] = lambda _event: None
    save: Callable[[Report], None] | None = None
    """Called with the partial report after every finished point."""
    command: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    previous: Callable[[str, str], Mapping[str, Any] | None] | None = None
    """(point id, environment) -> the last accepted record of it in the history."""
    started: datetime = field(init=False)
    folder: Path = field(init=False)
    store: Store = field(init=False)
    systems: Systems = field(init=False)
    _outcomes: dict[tuple[str, str], Outcome] = field(init=False, default_factory=dict)
    _load_lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _save_lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.project.require(dict.fromkeys(p.system for p in self.points), self.environment)
        self.started = self.now()
        self.id = self.id or new_run_id(self.started)
        self.folder = self.project.data_folder / "runs" / self.id
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise UsageProblem(
                f"{self.folder} cannot be written ({error.strerror}). Runs are kept beside weighbridge.toml: "
                "make that folder writable."
            ) from None
        self.folder.chmod(0o700)
        self.systems = Systems(self.project, self.environment)
        self.store = Store(self.folder, self.systems, seed=self.seed, now=self.now)

    # --- doing -------------------------------------------------------------------------------------------------

    def checks(self) -> tuple[Check, ...]:
        return plugins.checks(self.selected)

    def recall(self) -> None:
        """Take up every outcome that lies in the run's folder, whichever process put it there."""
        for point in self.points:
            for check in self.checks():
                if self._outcome_path(point.id, check.name).is_file():
                    self.check(point, check)

    def execute(self) -> Report:
        """Ask everything and return the whole report; KeyboardInterrupt passes through with all results kept."""
        self._state(finished=None)
        groups: dict[str, list[IntegrationPoint]] = {}
        for point in self.points:
            groups.setdefault(point.system, []).append(point)
        failures: list[BaseException] = []
        threads = [
            threading.Thread(target=self._system, args=(name, points, failures), name=f"system {name}", daemon=True)
            for name, points in groups.items()
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)  # in slices, so that Ctrl-C is heard on every platform
        except BaseException:
            self.stop.set()
            raise
        if failures:
            raise failures[0]
        report = self.report(finished=self.now())
        self._state(finished=report.run.finished)
        return report

    def asked(self, point: IntegrationPoint) -> bool:
        """Whether any check of the point has ended."""
        return any(asked == point.id for asked, _ in self._outcomes)

    def close(self, *, delete: bool = True) -> None:
        """Close the connections and remove landed rows, unless they are to be kept."""
        self.systems.close()
        if delete and not self.keep:
            self.store.delete_rows()

    def _system(self, name: str, points: Sequence[IntegrationPoint], failures: list[BaseException]) -> None:
        try:
            with self.system_lock(name):
                for point in points:
                    for check in self.checks():
                        if self.stop.is_set():
                            return
                        self.check(point, check)
                    if self.save is not None:
                        with self._save_lock:
                            self.save(self.report(partial=True))
        except BaseException as error:  # noqa: BLE001 - a thread's failure is handed to the thread that waits for it
            failures.append(error)
            self.stop.set()

    @contextmanager
    def system_lock(self, name: str) -> Iterator[None]:
        """One run at a time presses a system, whichever process it is in."""
        folder = self.project.data_folder / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{folder_name(f'{self.environment}.{name}')}.lock", timeout=LOCK_SECONDS)
        try:
            with lock:
                yield
        except Timeout:
            raise UsageProblem(
                f"{name}: another run has been using this system for {LOCK_SECONDS:.0f} s. Wait for it to end."
            ) from None

    def check(self, point: IntegrationPoint, check: Check) -> Outcome:
        """The outcome of one check of one point: from this run's folder if it is there, else asked now."""
        key = point.id, check.name
        if key in self._outcomes:
            return self._outcomes[key]
        path = self._outcome_path(*key)
        if path.is_file():
            try:
                kept = Outcome.from_json(path.read_text(encoding="utf-8"))
            except (ValueError, KeyError, TypeError):
                kept = None  # written by another version: asked again
            if kept is not None:
                self._outcomes[key] = kept
                return kept
        self.on_event(Event("begin", *key))
        outcome = self._ask(point, check)
        write_atomically(path, outcome.to_json(), mode=0o600)
        self._outcomes[key] = outcome
        self.on_event(Event("end", *key, outcome.report.status))
        return outcome

    def _outcome_path(self, point: str, check: str) -> Path:
        return self.store.point_folder(point) / f"check-{folder_name(check)}.json"

    def _ask(self, point: IntegrationPoint, check: Check) -> Outcome:
        system = self.systems.system(point.system)
        evidence = self.store.of(point, lambda text: self.on_event(Event("note", point.id, check.name, text)))
        started, calls = _CLOCK(), system.budget.used
        results: list[Any] = []
        status, reason, error, remedy, message = "pass", None, None, None, None
        try:
            self._permit(point, check, system, evidence)
            evidence.resolve(check.needs)
            with self._load_lock if check.cost == "load" else nullcontext():
                for result in check(point, evidence, self._context(point, check, system, evidence)):
                    results.append(result)  # noqa: PERF402 - what came before an error is kept
        except NotRun as skip:
            status, reason, message = "skipped", skip.reason, skip.message
        except BudgetExceeded as spent:
            status, reason, message = "skipped", "budget", str(spent)
        except FailedEvidence as failed:
            cause = failed.cause
            while isinstance(cause, FailedEvidence):
                cause = cause.cause
            if isinstance(cause, BudgetExceeded):
                status, reason, message = "skipped", "budget", str(cause)
            else:
                status, error, remedy = "unknown", f"{type(cause).__name__}: {cause.message}", cause.remedy
        except (ConnectorError, Inconclusive) as failed:
            status, error, remedy = "unknown", f"{type(failed).__name__}: {failed.message}", failed.remedy
        except Exception as bug:  # noqa: BLE001 - the one boundary: a broken check is unknown, never a pass
            status, error = "unknown", f"{type(bug).__name__}: {_safe_text(bug)}"
            remedy = f"The check {check.name} failed itself; run with --debug to see where, and report it."
            self._trace(point, check)
        return self._outcome(
            point,
            check,
            results,
            CheckReport(
                check=check.name,
                status=status,
                reason=reason,
                error=error,
                remedy=remedy,
                message=message,
                seconds=round(_CLOCK() - started, 3),
                calls=system.budget.used - calls,
            ),
            evidence,
        )

    def _trace(self, point: IntegrationPoint, check: Check) -> None:
        import traceback

        path = self.store.point_folder(point.id) / f"trace-{folder_name(check.name)}.txt"
        write_atomically(path, traceback.format_exc(), mode=0o600)

    def _permit(self, point: IntegrationPoint, check: Check, system: System, evidence: PointEvidence) -> None:
        permissions = system.permissions(point)
        if RUNG_OF_COST[check.cost] > permissions.rung and not (check.cost == "load" and permissions.max_burst > 0):
            raise NotRun(
                "not_permitted",
                f"{check.name} needs rung {RUNG_OF_COST[check.cost]} of the permission ladder; "
                f"{self.environment} allows {permissions.rung}.",
            )
        hours = system.policy.allowed_hours
        if hours and RUNG_OF_COST[check.cost] > 0 and not _within(hours, self.now(), point.scale.timezone):
            raise NotRun("not_permitted", f"{point.system} may be used {hours} ({point.scale.timezone}) only.")
        for facet in check.facets:
            if evidence.connector.facet(facet) is None:
                raise NotRun(
                    "not_applicable", f"{evidence.connector.kind} systems have no {facet.__name__.lower()} side."
                )

    def _context(self, point: IntegrationPoint, check: Check, system: System, evidence: PointEvidence) -> Context:
        from weighbridge.engine.threads import ThreadEngine
        from weighbridge.sandbox.faults import FaultProxy

        settings = {
            **system.settings.model_dump(mode="json", exclude={"limits", "background"}),
            **system.policy.model_dump(mode="json", exclude_none=True),
        }
        shared = self._shared(system)
        return Context(
            permissions=system.permissions(point),
            connector=evidence.connect,
            session=system.session(),
            now=self.now,
            seed=self.seed,
            engine=ThreadEngine(),
            faults=FaultProxy(),
            target_keys=lambda relationship: self.store.target(point, relationship),
            sibling=lambda name: self.store.sibling(point, name),
            previous=self.previous(point.id, self.environment) if self.previous else None,
            declared_limits=[limit.model_dump(mode="json") for limit in system.settings.limits],
            background=[b.model_dump(mode="json") for b in self._background(system)],
            settings=settings,
            shared_points=tuple(p.id for p in shared if p.id != point.id),
            folder=evidence.folder,
            progress=lambda text: self.on_event(Event("note", point.id, check.name, text)),
        )

    def _group(self, system: System) -> list[str]:
        """The systems that draw on one quota with this one, itself included."""
        group = system.settings.quota_group
        return self.project.quota_groups()[group] if group else [system.name]

    def _shared(self, system: System) -> list[IntegrationPoint]:
        names = self._group(system)
        return [p for p in self.points if p.system in names]

    def _background(self, system: System) -> list[Any]:
        return [b for name in self._group(system) for b in self.project.settings(name).background]

    # --- folding -----------------------------------------------------------------------------------------------

    def _outcome(
        self,
        point: IntegrationPoint,
        check: Check,
        results: Sequence[Any],
        report: CheckReport,
        evidence: PointEvidence,
    ) -> Outcome:
        codes = {code.name: code for code in check.codes}
        retest = self.retest(point, check.name)
        findings, rules, forecasts = [], [], []
        measurements: dict[str, Any] = {}
        for result in results:
            if isinstance(result, Finding):
                if result.code not in codes:
                    raise TypeError(f"the check {check.name} yields the code {result.code}, which it does not declare")
                findings.append(finding_dict(result, codes[result.code], retest=retest))
            elif isinstance(result, RuleResult):
                rules.append(rule_dict(result))
            elif isinstance(result, Forecast):
                forecasts.append({**forecast_dict(result), "check": check.name})
            elif isinstance(result, Measurement):
                measurements[result.name] = plain(result.data)
        waived = self._waive(point, check.name, findings)
        status, reason, error, message = report.status, report.reason, report.error, report.message
        if status == "pass":
            status, error = _status(findings, rules)
            status, error = _with_forecasts(status, error, forecasts, point)
        waiver = next((w for w in self._waivers(point) if w.code == check.name), None)
        if (waived and status == "pass") or (waiver is not None and status in ("unknown", "skipped")):
            who = waiver or waived[0]
            status, reason, message = "skipped", "waived", f"waived by {who.approver} until {who.expires}: {who.reason}"
        return Outcome(
            replace(report, status=status, reason=reason, error=error, message=message, rules=rules, findings=findings),
            tuple(forecasts),
            measurements,
            self._seen(evidence),
        )

    def _seen(self, evidence: PointEvidence) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        count, landing, demand = evidence.made("count_before"), evidence.made("landing"), evidence.made("demand")
        if count is not None:
            seen["counted"], seen["exact"] = count.value, count.exact
        if landing is not None:
            seen["read"] = landing.rows
        if demand is not None:
            seen["demand"] = plain(demand)
        for item in ("probe", "limits", "profile", "schema"):
            made = evidence.made(item)
            if made is not None:
                seen[item] = _schema(made) if item == "schema" else plain(made)
        return seen

    def _waivers(self, point: IntegrationPoint) -> list[Waiver]:
        today = self.now().date().isoformat()
        return [w for w in self.project.waivers if w.point in (point.id, point.system, "*") and w.expires >= today]

    def _waive(self, point: IntegrationPoint, check: str, findings: list[dict[str, Any]]) -> list[Waiver]:
        used: list[Waiver] = []
        for finding in findings:
            for waiver in self._waivers(point):
                if finding["code"] == waiver.code and finding["severity"] != "info":
                    finding["waived"] = waiver.model_dump()
                    used.append(waiver)
        del check
        return used

    def retest(self, point: IntegrationPoint, check: str) -> str:
        """The command that asks this question again."""
        try:
            path = point.contract.path.relative_to(self.project.folder)
        except ValueError:
            path = point.contract.path
        return f"weighbridge run {path} --env {self.environment} --points {point.id} --checks {check}"

    def report(self, *, finished: datetime | None = None, partial: bool | None = None) -> Report:
        """Everything known now, folded; `partial` unless every check of every point has ended."""
        checks = self.checks()
        points = [self._point(p, checks) for p in self.points]
        complete = all(len(p.checks) == len(checks) for p in points)
        partial = not complete if partial is None else partial and not complete
        target = max((p.scale.production_users for p in self.points), default=self.project.scale.production_users)
        verdict = (
            overall(points, target=target, selected=self.selected is not None)
            if points
            else OverallVerdict(status="UNKNOWN", sentence="No integration point was selected.")
        )
        if partial and verdict.status in ("READY", "HOLDS"):
            verdict = replace(verdict, status="UNKNOWN", sentence="The run was interrupted: nothing can be said yet.")
        practice = self.environment == "sandbox"
        return Report(
            run=RunInfo(
                id=str(self.id),
                started=self.started.isoformat(timespec="seconds"),
                finished=(finished or self.now()).isoformat(timespec="seconds"),
                environment=self.environment,
                partial=partial,
                selected_checks=list(self.selected) if self.selected is not None else None,
                rung=max((self.systems.system(p.system).permissions(p).rung for p in self.points), default=0),
                versions=_versions(),
                seed=self.seed,
                calls=self.systems.calls(),
                practice=practice,
                project=self.project.folder.name,
                required_checks=list(self.project.required_checks),
                command=self.command,
            ),
            target=Target(
                pilot_users=min((p.scale.pilot_users for p in self.points), default=self.project.scale.pilot_users),
                production_users=target,
                headroom=self.project.scale.headroom,
                horizon_months=self.project.scale.horizon_months,
            ),
            verdict=verdict,
            systems=self._systems(points),
            points=points,
            not_tested=self._not_tested(points),
            waivers=[
                {**f["waived"], "check": c.check, "point": p.id}
                for p in points
                for c in p.checks
                for f in c.findings
                if f.get("waived")
            ],
            assumptions=self._assumptions(),
        )

    def _point(self, point: IntegrationPoint, checks: Sequence[Check]) -> PointReport:
        outcomes = [self._outcomes[point.id, c.name] for c in checks if (point.id, c.name) in self._outcomes]
        reports = [o.report for o in outcomes]
        forecasts = [f for o in outcomes for f in o.forecasts]
        measurements: dict[str, Any] = {}
        seen: dict[str, Any] = {}
        for outcome in outcomes:
            measurements.update(outcome.measurements)
            seen.update(outcome.evidence)
        settings = self.project.settings(point.system)
        scale = point.scale
        if self.selected is None:
            verdict = point_verdict(
                reports,
                forecasts,
                required=self.project.required_checks,
                target=scale.production_users,
                headroom=scale.headroom,
            )
            status, safe, at_least, reason = verdict.status, verdict.safe_users, verdict.at_least, verdict.reason
        else:
            status, safe, at_least = selected_status(reports), None, None
            reason = next(
                (f["message"] for c in reports for f in c.findings if c.status == "break" and f["severity"] == "break"),
                next((c.error or c.message or "" for c in reports if c.status in ("unknown", "skipped")), ""),
            )
        return PointReport(
            id=point.id,
            system=point.system,
            connector=settings.connector,
            object=point.object.physical_name,
            contract=_relative(point.contract.path, self.project.folder),
            status=status,
            owner=settings.owner or point.contract.owner or "",
            environment=self.environment,
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
            retest=self.retest(point, ",".join(c.check for c in reports if c.status in ("break", "unknown")) or "load"),
            writes=point.object.writes,
        )

    def _systems(self, points: Sequence[PointReport]) -> list[SystemReport]:
        found: list[SystemReport] = []
        for name in dict.fromkeys(p.system for p in points):
            mine = [p for p in points if p.system == name]
            settings = self.project.settings(name)
            seen: dict[str, Any] = {}
            for (point_id, _), outcome in self._outcomes.items():
                if any(p.id == point_id for p in mine):
                    seen.update({k: v for k, v in outcome.evidence.items() if k in ("limits", "probe")})
            order = ("BROKEN", "UNKNOWN", "HOLDS") if self.selected is not None else None
            statuses = [p.status for p in mine]
            probe = seen.get("probe") or {}
            declared = [self._declared_limit(name, limit) for limit in settings.limits]
            found.append(
                SystemReport(
                    id=name,
                    status=fold(statuses, order) if order else fold(statuses),
                    limits=[*seen.get("limits", []), *declared],
                    connector=settings.connector,
                    product=" ".join(str(p) for p in (probe.get("product"), probe.get("version")) if p),
                    owner=settings.owner or "",
                    deputy=settings.deputy or "",
                    business_owner=settings.business_owner or "",
                    runbook=settings.runbook or "",
                    rung=max(
                        (self.systems.system(name).permissions(p).rung for p in self.points if p.system == name),
                        default=0,
                    ),
                    error=next((c.error for p in mine for c in p.checks if c.check == "connection" and c.error), None),
                )
            )
        return found

    def _declared_limit(self, system: str, limit: Any) -> dict[str, Any]:
        from weighbridge.connectors.base import Limit

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

    def _not_tested(self, points: Sequence[PointReport]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
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
        if self.selected is not None:
            left = [n for n in plugins.check_names() if n not in self.selected]
            rows += [_untested("*", name, None, "deselected", "not among the selected checks") for name in left]
        return rows

    def _assumptions(self) -> list[str]:
        scale = self.project.scale
        said = [
            f"Target {scale.production_users} users with headroom x{scale.headroom:g}, reserve {scale.reserve:.0%}.",
            f"Busiest hour {scale.peak_factor:g} times the average one; month end x{scale.month_end_factor:g}.",
            f"Day profile {scale.hourly_profile} ({scale.timezone}).",
            f"Growth {scale.growth_per_year:.0%} a year over {scale.horizon_months} months.",
        ]
        if self.environment == "sandbox":
            said.append("Practice systems: nothing here is evidence about a real system.")
        return said

    def _state(self, *, finished: str | None) -> None:
        body = {
            "id": self.id,
            "environment": self.environment,
            "selected": self.selected,
            "points": [p.id for p in self.points],
            "started": self.started.isoformat(),
            "finished": finished,
            "seed": self.seed,
        }
        write_atomically(self.folder / "state.json", json.dumps(body, indent=1), mode=0o600)


def _status(findings: Sequence[Mapping[str, Any]], rules: Sequence[Mapping[str, Any]]) -> tuple[str, str | None]:
    severities = {f["severity"] for f in findings if not f.get("waived")}
    if Severity.BREAK in severities:
        return "break", None
    unanswered = [
        r for r in rules if r["outcome"] == "errored" or (r["outcome"] == "not_run" and r.get("reason") != "for people")
    ]
    if unanswered:
        first = unanswered[0]
        more = f" and {len(unanswered) - 1} more" if len(unanswered) > 1 else ""
        return "unknown", f"the rule {first['id']}{more} was not answered: {first.get('reason') or first['outcome']}"
    return ("warn" if Severity.WARN in severities else "pass"), None


def _with_forecasts(
    status: str, error: str | None, forecasts: Sequence[Mapping[str, Any]], point: IntegrationPoint
) -> tuple[str, str | None]:
    """A check that forecasts is only as good as its worst forecast."""
    target = point.scale.production_users
    judged = [judge(f, target, target * point.scale.headroom) for f in forecasts]
    worst = fold((s for s, _ in judged), ("BREAKS", "UNKNOWN", "AT_RISK", "READY")) if judged else "READY"
    if worst == "BREAKS" or status == "break":
        return "break", None
    if worst == "UNKNOWN" and status != "unknown":
        return "unknown", next(why for s, why in judged if s == "UNKNOWN")
    return ("warn" if worst == "AT_RISK" and status == "pass" else status), error


def _untested(point: str, check: str, rule: str | None, reason: str | None, message: str | None) -> dict[str, Any]:
    return {"point": point, "check": check, "rule": rule, "reason": reason, "message": message or ""}


def _within(hours: str, now: datetime, zone: str) -> bool:
    begin, end = hours.split("-")
    clock = now.astimezone(ZoneInfo(zone)).strftime("%H:%M")
    return begin <= clock < end if begin <= end else clock >= begin or clock < end


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in SHOWN_VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _relative(path: Path, folder: Path) -> str:
    try:
        return str(path.relative_to(folder))
    except ValueError:
        return path.name


def _schema(schema: Any) -> dict[str, Any]:
    return {
        "columns": [
            {"name": c.name, "type": str(c.type), "native": c.native, "nullable": c.nullable, "length": c.length}
            for c in schema.columns
        ],
        "keys": list(schema.keys),
    }


def _safe_text(error: BaseException) -> str:
    """The first line of an unexpected error: without what drivers append, such as statements with their values."""
    return str(error).split("\n", 1)[0][:300]
