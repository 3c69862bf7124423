"""`weighbridge nightly`: run the cheap checks, compare, and send one digest."""

from __future__ import annotations

from pathlib import Path

import click

from weighbridge.commands import options
from weighbridge.project import ENVIRONMENTS

__all__ = ["command"]


@click.command()
@options.config
@click.option(
    "--env", "environment", type=click.Choice(ENVIRONMENTS), help="[nightly] environment by default (staging)."
)
@click.option("--checks", callback=options.names, help="[nightly] checks by default: the cheap ones.")
@click.option("--always", is_flag=True, help="Send the digest although nothing changed.")
@click.option("--quiet", "-q", is_flag=True, help="No progress, and of the summary only the verdict.")
def command(
    *, config: Path | None, environment: str | None, checks: tuple[str, ...] | None, always: bool, quiet: bool
) -> int:
    """Run the cheap checks, compare with the runs before, and send one message when something is new or fixed.

    Exit codes: 0 what was asked holds, 1 something breaks, 3 something could not be looked at, 4 a message, file or
    ping could not be delivered and nothing else is wrong.
    """
    from weighbridge import plugins
    from weighbridge.alerts import channels
    from weighbridge.history import History
    from weighbridge.nightly import NightlySettings, nightly
    from weighbridge.project import Project
    from weighbridge.report.terminal import print_summary
    from weighbridge.weigh import Weighing, command_line, exit_code

    project = Project.load(config)
    settings = NightlySettings.of(project)
    if environment is not None:
        settings = settings.model_copy(update={"environment": environment})
    if checks is not None:
        settings = settings.model_copy(update={"checks": checks})
    plugins.checks(settings.checks)
    targets = channels(project)
    weighing = Weighing(
        project,
        project.points(),
        environment=settings.environment,
        checks=settings.checks,
        out=project.folder / settings.out,
        formats=("json", "html", "md"),
        quiet=quiet,
        command=command_line({"env": environment, "checks": checks}, "nightly"),
    )
    history = History.of(project)
    try:
        night = nightly(
            project,
            settings,
            lambda: (weighing.go(), weighing.undelivered),
            history=history,
            to=targets,
            always=always,
        )
    finally:
        history.close()
    print_summary(night.report, quiet=quiet, folder=weighing.folder)
    if night.sent:
        click.echo(f"Told {', '.join(night.sent)}: {night.digest.title}")
    elif night.digest.reason is None:
        click.echo("Nothing changed: nobody was told.")
    elif not targets:
        click.echo("No channel is configured in [alerts.channels]: nobody was told.")
    for problem in night.problems:
        click.echo(f"weighbridge: {problem}", err=True)
    code = exit_code(night.report)
    return code or (4 if night.problems else 0)
