"""Runs checks on integration points and folds what they found into a report.

Systems run beside each other, points within a system one after the other. Each finished check is written at once, so
a run that is interrupted or killed keeps everything it had, and `resume` does not ask again.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from filelock import FileLock, Timeout

from weighbridge import plugins
from weighbridge.checks.base import Check, Context, Engine, Inconclusive, NotRun
from weighbridge.checks.forecast.windows import parse_window
from weighbridge.compose import compose
from weighbridge.connectors.base import Connector, Limit
from weighbridge.connectors.errors import BudgetExceeded, ConnectorError, SettingsError
from weighbridge.contracts.models import IntegrationPoint
from weighbridge.errors import DeliveryProblem, UsageProblem
from weighbridge.evidence import FailedEvidence, PointEvidence, Store, Systems, delete_rows, folder_name
from weighbridge.outcome import Outcome, make_outcome
from weighbridge.project import Project, System, Waiver
from weighbridge.report.files import write_atomically
from weighbridge.report.model import CheckReport, Report, plain

__all__ = ["Event", "Run", "latest_run", "new_run_id"]

LOCK_SECONDS = 600.0
LONGEST_SETTLING = 10.0
"""A rate window up to this many seconds is waited for after a load; longer ones are the next run's affair."""
RUNG_OF_COST = {"cheap": 0, "read": 1, "load": 2, "write": 4}
_CLOCK = time.monotonic


@dataclass(frozen=True, slots=True)
class Event:
    """Something to show: a check began, ended (with its status), or says what it is doing."""

    kind: str
    """`begin`, `end`, `note`, or `wait` (then `point` is the system)."""
    point: str
    check: str
    text: str = ""


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


def sweep(runs: Path, *, but: str) -> list[str]:
    """Remove the landed rows of runs that were killed before they could do it themselves; returns their names."""
    swept: list[str] = []
    for folder in {mark.parent for mark in runs.glob("*/alive-*.lock")}:
        if folder.name == but or _kept(folder) or any(_held(mark) for mark in folder.glob("alive-*.lock")):
            continue
        delete_rows(folder)
        for mark in folder.glob("alive-*.lock"):
            mark.unlink(missing_ok=True)
        swept.append(folder.name)
    return swept


def _kept(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / "state.json").read_text(encoding="utf-8")).get("keep"))
    except (OSError, ValueError):
        return False


def _held(mark: Path) -> bool:
    """Whether the process that made the mark still lives: the lock goes with it, however it ends."""
    try:
        with FileLock(mark, timeout=0):
            return False
    except Timeout:
        return True


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
    again: Callable[[IntegrationPoint], str] | None = None
    """What repeats the questions about a point, where that is not `weighbridge run`."""
    engine: Engine | None = None
    """Drives load; None: threads and, where these are too few, processes of this machine."""
    judge: str | None = None
    """Where rules about data are judged: `spark`, or None for DuckDB over the landed rows (or in place)."""
    stop: threading.Event = field(default_factory=threading.Event)
    previous: Callable[[str, str], Mapping[str, Any] | None] | None = None
    """(point id, environment) -> the last accepted record of it in the history."""
    standing: Callable[[str, str], Mapping[str, Any]] | None = None
    """(system, environment) -> alert tests, drills and availability, for the check `operations`."""
    everything: Sequence[IntegrationPoint] | None = None
    """All points of the project, selected or not: shared quotas are shared with these. None takes `points`."""
    unread: Sequence[Path] = ()
    """Contracts that could not be read, so that what they ask of shared quotas is not counted."""
    started: datetime = field(init=False)
    folder: Path = field(init=False)
    store: Store = field(init=False)
    systems: Systems = field(init=False)
    _alive: FileLock = field(init=False)
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
        self._alive = FileLock(self.folder / f"alive-{os.getpid()}.lock")
        with suppress(Timeout):  # another Run of this process says it already
            self._alive.acquire(timeout=0)
        sweep(self.folder.parent, but=self.id)
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

    def execute(self, *, done: bool = True) -> Report:
        """Ask everything and return the whole report; KeyboardInterrupt passes through with all results kept.

        With `done` False somebody else calls `done` when the report is where it belongs.
        """
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
        if done:
            self.done(report)
        return report

    def done(self, report: Report) -> None:
        """Nothing is left to do for this run: it cannot be resumed any more."""
        self._state(finished=report.run.finished)

    def asked(self, point: IntegrationPoint) -> set[str]:
        """Names of the point's checks that have ended."""
        return {check for asked, check in self._outcomes if asked == point.id}

    def not_applicable(self, point: IntegrationPoint, check: Check, message: str) -> None:
        """Note that a check cannot apply to the point, without contact."""
        ended = CheckReport(check=check.name, status="skipped", reason="not_applicable", message=message)
        self._outcomes.setdefault((point.id, check.name), Outcome(ended))

    def close(self, *, delete: bool = True) -> None:
        """Close the connections and remove landed rows, unless they are to be kept."""
        self.systems.close()
        if delete and not self.keep:
            self.store.delete_rows()
        if self._alive.is_locked:
            self._alive.release()
            Path(self._alive.lock_file).unlink(missing_ok=True)

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
        lock = FileLock(folder / f"{folder_name(f'{self.environment}.{name}')}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            self.on_event(Event("wait", name, "", "another run is using this system: waiting for it to end"))
            try:
                lock.acquire(timeout=LOCK_SECONDS)
            except Timeout:
                raise UsageProblem(
                    f"{name}: another run has been using this system for {LOCK_SECONDS:.0f} s. Wait for it to end."
                ) from None
        try:
            yield
        finally:
            lock.release()

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
        outcome = self._without_secrets(self._ask(point, check))
        write_atomically(path, outcome.to_json(), mode=0o600)
        self._outcomes[key] = outcome
        self.on_event(Event("end", *key, outcome.report.status))
        return outcome

    def _without_secrets(self, outcome: Outcome) -> Outcome:
        """A system may send back what it was sent: in a header, an error, a row."""
        text = outcome.to_json()
        shown = self.project.hidden.hide(text)
        return outcome if shown == text else Outcome.from_json(shown)

    def _outcome_path(self, point: str, check: str) -> Path:
        return self.store.point_folder(point) / f"check-{folder_name(check)}.json"

    def _ask(self, point: IntegrationPoint, check: Check) -> Outcome:
        system = self.systems.system(point.system)
        evidence = self.store.of(point, lambda text: self.on_event(Event("note", point.id, check.name, text)))
        if check.cost != "load":
            return self._answer(point, check, system, evidence)
        # What the questions before spent of a short rate window must not be held against the load, nor what the load
        # spent against the question that comes next.
        window = _settling(evidence.made("limits") or ())
        self.stop.wait(window)
        with self._load_lock:
            outcome = self._answer(point, check, system, evidence)
        self.stop.wait(window)
        return outcome

    def _answer(self, point: IntegrationPoint, check: Check, system: System, evidence: PointEvidence) -> Outcome:
        started, calls = _CLOCK(), system.budget.used
        results: list[Any] = []
        status, reason, error, remedy, message = "pass", None, None, None, None
        try:
            self._permit(point, check, system, evidence)
            evidence.resolve(check.needs)
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
                status, error, remedy = "unknown", _told(cause), cause.remedy
        except (ConnectorError, Inconclusive) as failed:
            status, error, remedy = "unknown", _told(failed), failed.remedy
        except (UsageProblem, DeliveryProblem) as problem:  # the history, for instance, has no room
            status, error = "unknown", str(problem)
        except Exception as bug:  # noqa: BLE001 - the one boundary: a broken check is unknown, never a pass
            status, error = "unknown", f"{type(bug).__name__}: {_safe_text(bug)}"
            remedy = f"The check {check.name} failed itself; run with --debug to see where, and report it."
            self._trace(point, check)
        ended = CheckReport(
            check=check.name,
            status=status,
            reason=reason,
            error=error,
            remedy=remedy,
            message=message,
            seconds=round(_CLOCK() - started, 3),
            calls=system.budget.used - calls,
        )
        return make_outcome(
            point,
            check,
            ended,
            results=results,
            waivers=self._waivers(point),
            evidence=self._seen(evidence),
            retest=self.retest(point, check.name),
        )

    def _trace(self, point: IntegrationPoint, check: Check) -> None:
        import traceback

        path = self.store.point_folder(point.id) / f"trace-{folder_name(check.name)}.txt"
        write_atomically(path, self.project.hidden.hide(traceback.format_exc()), mode=0o600)

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
        from weighbridge.engine.local import LocalEngine
        from weighbridge.sandbox.faults import FaultProxy

        settings = {
            **system.settings.model_dump(mode="json", exclude={"limits", "background"}),
            **system.policy.model_dump(mode="json", exclude_none=True),
            "folder": str(self.project.folder),
            "judge": self.judge,
        }
        if self.standing is not None:
            settings["standing"] = self.standing(system.name, self.environment)
        shared = [p for p in self._shared(system) if p.id != point.id]

        def note(text: str) -> None:
            self.on_event(Event("note", point.id, check.name, text))

        return Context(
            permissions=system.permissions(point),
            connector=evidence.connect,
            session=system.session(),
            now=self.now,
            seed=self.seed,
            engine=self.engine or LocalEngine(note),
            faults=FaultProxy(),
            target_keys=lambda relationship: self.store.target(point, relationship),
            sibling=lambda name: self.store.sibling(point, name),
            system=self._another,
            previous=self.previous(point.id, self.environment) if self.previous else None,
            declared_limits=[limit.model_dump(mode="json") for limit in system.settings.limits],
            background=[b.model_dump(mode="json") for b in self._background(system)],
            settings=settings,
            shared_points=tuple(p.id for p in shared),
            shared_load=sum(_calls_for_one(other, point) for other in shared),
            folder=evidence.folder,
            progress=note,
        )

    def _another(self, name: str, route: Callable[[Any], Any]) -> Connector:
        try:
            system = self.project.system(name, self.environment)
        except UsageProblem as problem:
            raise SettingsError(str(problem)) from None
        return system.connector(system.session(route=route))

    def _group(self, system: System) -> list[str]:
        """The systems that draw on one quota with this one, itself included."""
        group = system.settings.quota_group
        return self.project.quota_groups()[group] if group else [system.name]

    def _shared(self, system: System) -> list[IntegrationPoint]:
        names = self._group(system)
        return [p for p in (self.points if self.everything is None else self.everything) if p.system in names]

    def _background(self, system: System) -> list[Any]:
        return [b for name in self._group(system) for b in self.project.settings(name).background]

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

    def retest(self, point: IntegrationPoint, checks: str | None) -> str:
        """The command that asks these questions again, or all; to be typed in the project's folder."""
        if self.again is not None:
            return self.again(point)
        words = ["weighbridge", "run"]
        path = point.contract.path
        if path.is_relative_to(self.project.folder):
            words.append(str(path.relative_to(self.project.folder)))
        elif all(p.contract.path != path for p in self.everything or ()):
            words.append(str(path))  # no contract of the project's own: it is only found by its name
        words += ["--env", self.environment, "--points", point.id]
        return shlex.join([*words, "--checks", checks] if checks else words)

    def report(self, *, finished: datetime | None = None, partial: bool | None = None) -> Report:
        """Everything known now, folded; `partial` unless every check of every point has ended."""
        names = [c.name for c in self.checks()]
        complete = all((p.id, n) in self._outcomes for p in self.points for n in names)
        return compose(
            self,
            dict(self._outcomes),
            finished=finished or self.now(),
            partial=not complete if partial is None else partial and not complete,
        )

    def _state(self, *, finished: str | None) -> None:
        body = {
            "id": self.id,
            "environment": self.environment,
            "selected": self.selected,
            "points": [p.id for p in self.points],
            "started": self.started.isoformat(),
            "finished": finished,
            "seed": self.seed,
            "keep": self.keep,
        }
        write_atomically(self.folder / "state.json", json.dumps(body, indent=1), mode=0o600)


def _settling(limits: Sequence[Limit]) -> float:
    """Seconds until the longest of the short rate windows is empty again."""
    spans = [0.0]
    for limit in limits:
        try:
            window = parse_window(limit.window)
        except ValueError:
            continue  # a window in words of its own is no short one that we know of
        if window.kind == "rolling" and limit.unit == "calls" and window.seconds <= LONGEST_SETTLING:
            spans.append(window.seconds)
    return max(spans)


def _calls_for_one(other: IntegrationPoint, point: IntegrationPoint) -> float:
    """Calls of `other` for each call of `point`; as many where either declares none."""
    theirs, own = other.scale.calls_per_user_hour, point.scale.calls_per_user_hour
    return theirs / own if theirs and own else 1.0


def _within(hours: str, now: datetime, zone: str) -> bool:
    begin, end = hours.split("-")
    clock = now.astimezone(ZoneInfo(zone)).strftime("%H:%M")
    return begin <= clock < end if begin <= end else clock >= begin or clock < end


def _schema(schema: Any) -> dict[str, Any]:
    return {
        "columns": [
            {"name": c.name, "type": str(c.type), "native": c.native, "nullable": c.nullable, "length": c.length}
            for c in schema.columns
        ],
        "keys": list(schema.keys),
    }


def _told(cause: ConnectorError | Inconclusive) -> str:
    """An error's kind tells the reader whom to ask; that a check could not tell needs no name."""
    return cause.message if isinstance(cause, Inconclusive) else f"{type(cause).__name__}: {cause.message}"


def _safe_text(error: BaseException) -> str:
    """The first line of an unexpected error: without what drivers append, such as statements with their values."""
    return str(error).split("\n", 1)[0][:300]
