"""`weighbridge history`: list earlier runs, acknowledge what changed, forget what is old."""

from __future__ import annotations

from pathlib import Path

import click

from weighbridge.commands import options
from weighbridge.project import ENVIRONMENTS

__all__ = ["command"]


@click.group(invoke_without_command=True)
@options.config
@click.option("--env", "environment", type=click.Choice(ENVIRONMENTS), help="Runs of this environment only.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, *, config: Path | None, environment: str | None, limit: int, as_json: bool) -> None:
    """List earlier runs, the newest first."""
    from weighbridge.history import History
    from weighbridge.project import Project

    ctx.obj = history = History.of(Project.load(config))
    ctx.call_on_close(history.close)
    if ctx.invoked_subcommand is not None:
        return
    rows = history.runs(environment=environment, limit=limit)
    if as_json:
        import json
        from dataclasses import asdict

        click.echo(json.dumps([asdict(r) for r in rows], indent=1))
        return
    if not rows:
        click.echo("No run is recorded yet. Start with `weighbridge run`.")
        return
    for row in rows:
        users = "?" if row.safe_users is None else f"{row.safe_users:,.0f}"
        scope = ",".join(row.selected) if row.selected else f"{users} of {row.target:,} users"
        partial = "  partial" if row.partial else ""
        click.echo(f"{row.id}  {row.environment:<10}  {row.status:<8}  {row.points:>3} points  {scope}{partial}")
    click.echo("\nSee one again with `weighbridge report RUN`, compare two with `weighbridge diff RUN RUN`.")


@command.command()
@click.argument("run")
@click.argument("points", nargs=-1)
@click.option("--by", required=True, metavar="NAME", help="Who answers for it.")
@click.option("--note", default="", help="Why the change is right.")
@click.pass_obj
def acknowledge(history, run: str, points: tuple[str, ...], by: str, note: str) -> None:
    """Accept what RUN saw (of all its points, or of POINTS) as the new normal that later runs are compared with."""
    for point in history.acknowledge(run, points, by=by, note=note):
        click.echo(f"{point}: accepted by {by}")


@command.command()
@click.option("--days", type=click.IntRange(min=1), help="Keep this many days; [history] keep_days by default.")
@click.pass_obj
def prune(history, days: int | None) -> None:
    """Forget runs older than the retention; each point's newest baseline stays."""
    gone = history.prune(keep_days=days)
    click.echo(f"{len(gone)} run{'' if len(gone) == 1 else 's'} forgotten.")
