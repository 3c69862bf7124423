"""`weighbridge run`: weigh the project's integration points and say which would break."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.commands import options
from weighbridge.project import ENVIRONMENTS

if TYPE_CHECKING:
    from weighbridge.checks.base import Engine

__all__ = ["command"]


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@options.config
@click.option("--env", "environment", type=click.Choice(ENVIRONMENTS), default="staging", show_default=True)
@click.option("--users", type=click.IntRange(min=1), help="Users of production; overrides contracts and [scale].")
@click.option("--checks", callback=options.names, help="Only these checks, separated by commas. No verdict then.")
@click.option("--points", "wanted", callback=options.names, help="Only these points or systems, separated by commas.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for the report.")
@click.option("--format", "formats", callback=options.names, help="json,html,md,xlsx,junit (all by default).")
@click.option("--json", "as_json", is_flag=True, help="Print report.json instead of the summary.")
@click.option("--plan", is_flag=True, help="Say every kind of call it would make, with counts, and send none.")
@click.option("--resume", is_flag=True, help="Go on with the newest unfinished run of this environment.")
@click.option("--keep", is_flag=True, help="Keep the landed rows after the run; they may be personal data.")
@click.option("--allow-at-risk", is_flag=True, help="Exit 0 for AT_RISK as well.")
@click.option("--data-docs", is_flag=True, help="Write Great Expectations' Data Docs beside the report.")
@click.option("--no-history", is_flag=True, help="Do not record this run.")
@click.option(
    "--engine",
    type=click.Choice(("local", "locust", "spark")),
    default="local",
    show_default=True,
    help="Instead of this machine: Locust workers drive the virtual users, or Spark judges the rules about data.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Locust workers to start here, or to wait for at --master.")
@click.option("--master", metavar="HOST[:PORT]", help="Drive the Locust master whose web interface is there.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of everything drawn at random.")
@click.option("--quiet", "-q", is_flag=True, help="No progress, and of the summary only the verdict.")
def command(
    *,
    paths: tuple[Path, ...],
    config: Path | None,
    environment: str,
    users: int | None,
    checks: tuple[str, ...] | None,
    wanted: tuple[str, ...] | None,
    out: Path | None,
    formats: tuple[str, ...] | None,
    as_json: bool,
    plan: bool,
    resume: bool,
    keep: bool,
    allow_at_risk: bool,
    data_docs: bool,
    no_history: bool,
    engine: str,
    workers: int | None,
    master: str | None,
    seed: int,
    quiet: bool,
) -> int:
    """Weigh the integration points of the contracts in PATHS (all of the project by default).

    Exit codes: 0 all READY or every selected check held, 1 something BREAKS or is AT_RISK, 2 usage or configuration,
    3 something UNKNOWN, 4 the report could not be written, 130 interrupted.
    """
    from weighbridge import plugins
    from weighbridge.errors import UsageProblem
    from weighbridge.project import Project
    from weighbridge.runner import latest_run
    from weighbridge.weigh import DEFAULT_FORMATS, Weighing, command_line, exit_code, interrupted, select_points

    if engine != "locust" and (workers or master):
        raise UsageProblem("--workers and --master need --engine locust.")
    project = Project.load(config, start=paths[0] if paths and paths[0].is_dir() else None)
    if checks:
        plugins.checks(checks)
    points = select_points(project.points(paths, users=users), wanted or ())
    if plan:
        from weighbridge.plan import print_plan

        print_plan(project, points, environment, checks)
        return 0
    resumed = latest_run(project, environment) if resume else None
    if resume and resumed is None:
        raise UsageProblem(f"There is no unfinished run of {environment} to resume. Run without --resume.")
    said = {"paths": paths, "env": environment, "users": users, "checks": checks, "points": wanted}
    said |= {} if engine == "local" else {"engine": engine, "workers": workers, "master": master}
    weighing = Weighing(
        project,
        points,
        environment=environment,
        checks=checks,
        out=out,
        formats=formats or DEFAULT_FORMATS,
        quiet=quiet or as_json,
        resume=resumed,
        keep=keep,
        seed=seed,
        command=command_line(said),
        data_docs=data_docs,
        users=users,
        remember=not no_history,
        judge="spark" if engine == "spark" else None,
    )
    try:
        with _driver(engine, project.folder, workers, master) as weighing.engine:
            report = weighing.go()
    except KeyboardInterrupt:
        click.echo(f"Interrupted. What was measured is kept: {weighing.folder}/report.json (partial).", err=True)
        click.echo("Go on with `weighbridge run --resume`.", err=True)
        interrupted()
        raise
    if as_json:
        click.echo(report.to_json(), nl=False)
    else:
        from weighbridge.report.terminal import print_summary

        print_summary(report, quiet=quiet, folder=weighing.folder)
    if weighing.undelivered:
        click.echo(f"weighbridge: {weighing.undelivered}", err=True)
        return 4
    return exit_code(report, allow_at_risk=allow_at_risk)


@contextmanager
def _driver(engine: str, folder: Path, workers: int | None, master: str | None) -> Iterator[Engine | None]:
    """The load engine that was asked for; None is the run's own."""
    if engine != "locust":
        yield None
        return
    from weighbridge.connectors.errors import DriverError
    from weighbridge.engine.distributed import LocustEngine
    from weighbridge.errors import UsageProblem

    try:
        driver = LocustEngine(folder, workers=workers or (0 if master else 2), master=master)
    except DriverError as error:
        raise UsageProblem(f"{error.message} {error.remedy}") from None
    with driver:
        yield driver
