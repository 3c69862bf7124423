"""`weighbridge demo`: four practice systems are started here, weighed, and reported on."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from weighbridge.commands import options

__all__ = ["command"]


@click.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for the report.")
@click.option("--systems", callback=options.names, help="Only these: crm, erp, legacy, finance.")
@click.option("--clean", is_flag=True, help="Weigh the clean twins as well: the same systems without defects.")
@click.option("--rows", type=click.IntRange(min=200), help="Rows of the largest object.")
@click.option("--seed", type=int, help="Seed of the practice data.")
@click.option("--no-open", is_flag=True, help="Do not open the report in a browser.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def command(
    *,
    out: Path | None,
    systems: tuple[str, ...] | None,
    clean: bool,
    rows: int | None,
    seed: int | None,
    no_open: bool,
    quiet: bool,
) -> int:
    """Weigh four practice systems: a CRM, an ERP, a legacy database and a finance workbook, with known defects.

    Real servers on loopback and real files; nothing of yours is touched. Exits 0 when the tour worked, and prints
    what a run against real systems would have exited with.
    """
    from weighbridge.errors import UsageProblem
    from weighbridge.project import Project
    from weighbridge.report.terminal import print_summary
    from weighbridge.sandbox import practice
    from weighbridge.weigh import Weighing, exit_code, interrupted

    chosen = systems or tuple(practice.SYSTEMS)
    unknown = [name for name in chosen if name not in practice.SYSTEMS]
    if unknown:
        raise UsageProblem(
            f"There is no practice system {', '.join(unknown)}; known are {', '.join(practice.SYSTEMS)}."
        )

    def say(text: str) -> None:
        if not quiet:
            click.echo(text, err=True)

    folder = (out or Path.cwd() / "weighbridge-demo").resolve()
    say(f"Starting {len(chosen)} practice systems on loopback ...")
    with tempfile.TemporaryDirectory(prefix="weighbridge-demo-") as temporary:
        scratch = Path(temporary) / "practice systems"  # the report's title is the folder's name
        twins = (False, True) if clean else (False,)
        with practice.start(
            scratch,
            names=chosen,
            clean=twins,
            seed=practice.SEED if seed is None else seed,
            rows=practice.ROWS if rows is None else rows,
            progress=lambda text: say(f"  {text}"),
        ) as running:
            project = Project.load(scratch / "weighbridge.toml")
            points = [p for p in project.points() if p.system in running.running]
            say(f"Weighing {len(points)} integration points for {project.scale.production_users} users ...")
            weighing = Weighing(
                project,
                points,
                environment="sandbox",
                out=folder,
                quiet=quiet,
                command="weighbridge demo",
                again=lambda point: _again(point.system),
                remember=False,
            )
            try:
                report = weighing.go()
            except KeyboardInterrupt:
                click.echo(f"Interrupted. What was measured is kept: {folder}/report.json (partial).", err=True)
                running.stop()
                interrupted()
                raise
    print_summary(report, folder=folder)
    if weighing.undelivered:
        click.echo(f"weighbridge: {weighing.undelivered}", err=True)
        return 4
    click.echo(f"A run against real systems would have exited with {exit_code(report)}.")
    click.echo("Next: `weighbridge init` makes a project for your own systems.")
    if not no_open and sys.stdout.isatty():
        import webbrowser

        webbrowser.open((folder / "report.html").as_uri())
    return 0


def _again(system: str) -> str:
    from weighbridge.sandbox.practice import CLEAN

    name = system.removesuffix(CLEAN)
    return f"weighbridge demo --systems {name}{' --clean' if system != name else ''}"
