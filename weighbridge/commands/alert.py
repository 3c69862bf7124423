"""`weighbridge alert`: prove that alerts arrive."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from weighbridge.commands import options

__all__ = ["command"]


@click.group()
def command() -> None:
    """Send a test alert and record that it was delivered."""


@command.command("test")
@click.argument("names", nargs=-1, metavar="[CHANNEL]...")
@options.config
@click.option("--no-ask", is_flag=True, help="Do not ask for the code; confirm it later with `alert confirm`.")
def test_command(names: tuple[str, ...], config: Path | None, *, no_ask: bool) -> int:
    """Send a code through every channel (or those named). It counts as delivered once somebody types it in.

    Exits 4 when a channel did not take the message.
    """
    from weighbridge.alerts import channels, confirm, send_test
    from weighbridge.errors import UsageProblem
    from weighbridge.history import History
    from weighbridge.project import Project

    project = Project.load(config)
    known = channels(project)
    if not known:
        raise UsageProblem(
            f"{project.file} has no [alerts.channels]. Add a line such as ops = "
            '"${OPS_ALERT_URL}" with an apprise address in that variable.'
        )
    missing = [n for n in names if n not in {c.name for c in known}]
    if missing:
        raise UsageProblem(
            f"There is no alert channel {', '.join(missing)}; there are {', '.join(c.name for c in known)}."
        )
    history = History.of(project)
    failed = False
    try:
        for channel in known:
            if names and channel.name not in names:
                continue
            sent, _ = send_test(channel, history, project=project.folder.name)
            failed = failed or not sent.ok
            if not sent.ok:
                click.echo(
                    f"{channel.name} ({channel.kind}): did not take the message, tried {sent.attempts} times.", err=True
                )
                continue
            click.echo(f"{channel.name} ({channel.kind}): sent in {sent.seconds:.1f} s.")
            if no_ask or not sys.stdin.isatty():
                click.echo("  When it arrives: weighbridge alert confirm CODE")
                continue
            code = click.prompt("  The code that arrived (empty to confirm later)", default="", show_default=False)
            if code:
                name, seconds = confirm(code, history)
                click.echo(f"  {name}: delivered and read after {seconds:.0f} s.")
    finally:
        history.close()
    return 4 if failed else 0


@command.command("confirm")
@click.argument("code")
@options.config
def confirm_command(code: str, config: Path | None) -> None:
    """Record that the CODE of a test alert arrived."""
    from weighbridge.alerts import confirm
    from weighbridge.history import History
    from weighbridge.project import Project

    history = History.of(Project.load(config))
    try:
        name, seconds = confirm(code, history)
    finally:
        history.close()
    click.echo(f"{name}: delivered and read after {seconds:.0f} s.")


@command.command("status")
@options.config
def status_command(config: Path | None) -> int:
    """List the channels and when each was last proved to deliver. Exits 1 when one was not, in the last 90 days."""
    from datetime import UTC, datetime, timedelta

    from weighbridge.alerts import channels
    from weighbridge.checks.operations import DRILL_DAYS
    from weighbridge.history import History
    from weighbridge.project import Project

    project = Project.load(config)
    history = History.of(project)
    unproved = False
    known = channels(project)
    if not known:
        click.echo(f"No channel yet. Write one under [alerts.channels] in {project.file.name}, then test it.")
    try:
        for channel in known:
            proved = next((e for e in history.events("alert", channel.name) if e["ok"]), None)
            fresh = proved and datetime.now(UTC) - datetime.fromisoformat(proved["at"]) <= timedelta(days=DRILL_DAYS)
            unproved = unproved or not fresh
            when = f"delivered on {proved['at'][:10]}" if proved else "never proved to deliver"
            click.echo(f"{channel.name} ({channel.kind}): {when}{'' if fresh or not proved else ', too long ago'}")
    finally:
        history.close()
    return 1 if unproved or not known else 0
