"""Drives a run from the command line: what to ask, progress while it runs, the report, the exit code."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from weighbridge.contracts.models import IntegrationPoint
from weighbridge.errors import DeliveryProblem, UsageProblem
from weighbridge.project import Project
from weighbridge.report.model import Report
from weighbridge.report.writers import prepare_folder, require_formats, write_reports
from weighbridge.runner import Event, Run

if TYPE_CHECKING:
    from weighbridge.checks.base import Engine
    from weighbridge.history import History

__all__ = ["DEFAULT_FORMATS", "Progress", "Weighing", "exit_code", "recollect", "select_points"]

DEFAULT_FORMATS = ("json", "html", "md", "xlsx", "junit")
OUT = "weighbridge-report"


def exit_code(report: Report, *, allow_at_risk: bool = False) -> int:
    """0 READY or HOLDS; 1 BREAKS, BROKEN or AT_RISK; 3 UNKNOWN."""
    status = report.verdict.status
    if status in ("READY", "HOLDS") or (status == "AT_RISK" and allow_at_risk):
        if status == "AT_RISK" and any(p.status == "UNKNOWN" for p in report.points):
            return 3
        return 0
    return 3 if status == "UNKNOWN" else 1


def select_points(points: Sequence[IntegrationPoint], wanted: Sequence[str]) -> list[IntegrationPoint]:
    """The points named, by id or by system; all when none is named. Raises UsageProblem for a name nobody has."""
    if not wanted:
        return list(points)
    known = {p.id for p in points} | {p.system for p in points}
    for name in wanted:
        if name not in known:
            import difflib

            close = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else f"Known are {', '.join(sorted(known))}."
            raise UsageProblem(f"There is no point or system '{name}' in the contracts. {hint}")
    return [p for p in points if p.id in wanted or p.system in wanted]


def recollect(run: Run, history: History) -> None:
    """Let the run's checks know what the history knows: the last accepted runs, drills, alert tests, availability."""
    from weighbridge.alerts import channel_names

    names = channel_names(run.project)
    run.previous = history.last_accepted
    run.standing = cache(lambda system, env: {**history.standing(system, env), "channels": names})


class Progress:
    """Shows what a run is doing: a live list on a terminal, one line an ended check elsewhere, nothing when quiet."""

    def __init__(self, total: int, *, quiet: bool = False) -> None:
        self._total = total
        self._done = 0
        self._quiet = quiet
        self._lock = threading.Lock()
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._tasks[""] = self._bar.add_task("weighing", total=self._total)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: Event) -> None:
        if self._quiet:
            return
        with self._lock:
            if event.kind == "end":
                self._done += 1
            if self._bar is not None:
                system = event.point.split(".", 1)[0]
                if system not in self._tasks:
                    self._tasks[system] = self._bar.add_task(system, total=None)
                text = f"{event.point} {event.check} {event.text}"[:90]
                self._bar.update(self._tasks[system], description=text)
                self._bar.update(self._tasks[""], completed=self._done)
            elif event.kind == "wait":
                print(f"{event.point}: {event.text}", file=sys.stderr, flush=True)  # noqa: T201 - as below
            elif event.kind == "end":
                print(  # noqa: T201 - progress belongs on stderr when there is no terminal to draw on
                    f"[{self._done}/{self._total}] {event.point} {event.check}: {event.text}",
                    file=sys.stderr,
                    flush=True,
                )


@dataclass(slots=True)
class Weighing:
    """One run as a command makes it. `go` prepares, runs, writes and returns the report."""

    project: Project
    points: Sequence[IntegrationPoint]
    environment: str = "staging"
    checks: tuple[str, ...] | None = None
    out: Path | None = None
    formats: Sequence[str] = DEFAULT_FORMATS
    quiet: bool = False
    resume: str | None = None
    keep: bool = False
    seed: int = 1
    command: str = ""
    again: Callable[[IntegrationPoint], str] | None = None
    """What repeats the questions about a point, where that is not `weighbridge run`."""
    data_docs: bool = False
    users: int | None = None
    engine: Engine | None = None
    """Drives load; None: this machine."""
    judge: str | None = None
    """`spark` judges rules about data there."""
    remember: bool = True
    """Record the run in the history."""
    written: dict[str, Path] = field(default_factory=dict)
    undelivered: str | None = None
    """Why a report could not be written, where that is so."""

    @property
    def folder(self) -> Path:
        return self.out or self.project.folder / OUT

    def go(self) -> Report:
        """Raises UsageProblem before any contact; KeyboardInterrupt after the partial report was saved."""
        require_formats(self.formats)
        folder = prepare_folder(self.folder)
        run = Run(
            self.project,
            self.points,
            environment=self.environment,
            selected=self.checks,
            id=self.resume,
            seed=self.seed,
            keep=self.keep,
            command=self.command,
            again=self.again,
            engine=self.engine,
            judge=self.judge,
            save=lambda report: self._save(report, folder, ("json",)),
        )
        run.everything, run.unread = self.project.everything(self.users)
        history = self._history()
        if history is not None:
            recollect(run, history)
        total = len(self.points) * len(run.checks())
        try:
            with Progress(total, quiet=self.quiet) as progress:
                run.on_event = progress
                report = run.execute(done=False)
        except KeyboardInterrupt:
            self._save(run.report(partial=True), folder, self.formats)
            raise
        finally:
            run.close()
        if self.data_docs:
            from weighbridge.report.data_docs import write_data_docs

            index = write_data_docs(report, self.points, folder / "data_docs")
            if index is not None:
                self.written["data_docs"] = index
        if history is not None:
            with contextlib.closing(history):
                report = self._told(report, folder, history)
        else:
            self._save(report, folder, self.formats)
        run.done(report)  # only now: a run that is killed before can be taken up, and repeats nothing
        return report

    def _told(self, report: Report, folder: Path, history: Any) -> Report:
        """Write the report, compared with earlier ones, and record it; neither keeps the other from being done."""
        problems: list[str] = []
        try:
            report = history.compared(report)
        except (DeliveryProblem, UsageProblem) as problem:
            problems.append(str(problem))
        self._save(report, folder, self.formats)
        try:
            history.record(report)
        except (DeliveryProblem, UsageProblem) as problem:
            problems.append(str(problem))
        if problems:
            self.undelivered = "\n".join(filter(None, [self.undelivered, *dict.fromkeys(problems)]))
        return report

    def _history(self) -> Any:
        if not self.remember:
            return None
        from weighbridge.history import History

        return History.of(self.project)

    def _save(self, report: Report, folder: Path, formats: Sequence[str]) -> None:
        try:
            self.written = write_reports(report, folder, formats)
            self.undelivered = None
        except DeliveryProblem as problem:
            self.undelivered = str(problem)


def interrupted() -> None:
    """End at once with 130: worker threads may be waiting for a system and are not worth waiting for."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(130)


def command_line(arguments: Mapping[str, Any], name: str = "run") -> str:
    """The command that repeats a run, as a person would type it."""
    import shlex

    parts = ["weighbridge", name]
    for flag, value in arguments.items():
        if value is None or value is False or value == ():
            continue
        if flag == "paths":
            parts += [str(v) for v in value]
        elif value is True:
            parts.append(f"--{flag}")
        else:
            parts += [f"--{flag}", ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    return shlex.join(parts)
