"""`weighbridge runbook`: write a runbook for each system."""

from __future__ import annotations

from pathlib import Path

import click

from weighbridge.commands import options
from weighbridge.project import ENVIRONMENTS

__all__ = ["command"]


@click.command()
@click.argument("systems", nargs=-1)
@options.config
@click.option("--env", "environment", type=click.Choice(ENVIRONMENTS), default="staging", show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder; runbooks/ by default.")
def command(*, systems: tuple[str, ...], config: Path | None, environment: str, out: Path | None) -> None:
    """Write SYSTEM.md for each system (or those named): what it is, how it fails, what to do at 2 am, whom to call."""
    from weighbridge import plugins
    from weighbridge.errors import UsageProblem
    from weighbridge.history import History
    from weighbridge.project import Project
    from weighbridge.report.files import prepare_folder, write_atomically
    from weighbridge.runbook import render

    project = Project.load(config)
    unknown = [s for s in systems if s not in project.system_names]
    if unknown:
        raise UsageProblem(f"There is no system {', '.join(unknown)}; there are {', '.join(project.system_names)}.")
    points = project.points()
    folder = prepare_folder(out or project.folder / "runbooks")
    history = History.of(project)
    try:
        runs = [r for r in history.runs(environment=environment) if r.selected is None] or history.runs(
            environment=environment, limit=1
        )
        last = history.report(runs[0].id) if runs else None
    finally:
        history.close()
    for system in systems or project.system_names:
        text = render(project, system, points, environment=environment, checks=plugins.checks(), last=last)
        click.echo(str(write_atomically(folder / f"{system}.md", text)))
