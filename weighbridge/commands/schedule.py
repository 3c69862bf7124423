"""`weighbridge schedule`: write the cron line, timer or workflow for the nightly run."""

from __future__ import annotations

import re
from pathlib import Path

import click

from weighbridge.commands import options
from weighbridge.project import ENVIRONMENTS

__all__ = ["command"]

KINDS = ("cron", "systemd", "github", "windows", "airflow")


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
@options.config
@click.option("--env", "environment", type=click.Choice(ENVIRONMENTS), help="[nightly] environment by default.")
@click.option("--at", metavar="HH:MM", help="[nightly] at by default (02:30). GitHub counts in UTC.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write files into this folder; print them by default.",
)
def command(*, kind: str, config: Path | None, environment: str | None, at: str | None, out: Path | None) -> None:
    """Write what makes KIND of scheduler run `weighbridge nightly` every night, for this project and this Python."""
    from weighbridge.errors import UsageProblem
    from weighbridge.nightly import NightlySettings
    from weighbridge.project import Project
    from weighbridge.report.files import prepare_folder, write_atomically
    from weighbridge.schedules import Plan, render

    project = Project.load(config)
    settings = NightlySettings.of(project)
    clock = at or settings.at
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", clock):
        raise UsageProblem(f"--at {clock} is no time of the day. Write HH:MM, as in 02:30.")
    names = sorted(set(re.findall(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", project.file.read_text(encoding="utf-8"))))
    plan = Plan(
        folder=project.folder,
        environment=environment or settings.environment,
        hour=int(clock[:2]),
        minute=int(clock[3:]),
        secrets=tuple(names),
    )
    for name, text in render(kind, plan).items():
        if out is None:
            click.echo(f"# --- {name}" if kind != "windows" else f"<!-- {name} -->", err=True)
            click.echo(text)
            continue
        path = out / name
        prepare_folder(path.parent)
        # Task Scheduler reads the encoding that the file's first line names.
        click.echo(str(write_atomically(path, text.encode("utf-16") if kind == "windows" else text)))
