"""`weighbridge sandbox`: start the practice systems and keep them running."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import click

from weighbridge.commands import options

__all__ = ["command"]


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("weighbridge-sandbox"),
    show_default=True,
    help="Folder of the project that points at them.",
)
@click.option("--systems", callback=options.names, help="Only these: crm, erp, legacy, finance.")
@click.option("--rows", type=click.IntRange(min=200), help="Rows of the largest object.")
@click.option("--seed", type=int, help="Seed of the practice data.")
@click.option("--manifest", is_flag=True, help="Print what is planted in them as JSON, and start nothing.")
@click.option("--truth", is_flag=True, help="Print at how many users each breaks, worked out on paper.")
def command(
    *, out: Path, systems: tuple[str, ...] | None, rows: int | None, seed: int | None, manifest: bool, truth: bool
) -> None:
    """Start the practice systems, defective and clean, on loopback; Ctrl-C ends them.

    Work in the folder it writes: `cd weighbridge-sandbox && weighbridge run --env sandbox`.
    """
    from weighbridge.errors import UsageProblem
    from weighbridge.report.files import prepare_folder
    from weighbridge.sandbox import practice

    chosen = systems or tuple(practice.SYSTEMS)
    unknown = [name for name in chosen if name not in practice.SYSTEMS]
    if unknown:
        raise UsageProblem(
            f"There is no practice system {', '.join(unknown)}; known are {', '.join(practice.SYSTEMS)}."
        )
    if manifest:
        click.echo(json.dumps(practice.manifest(chosen), indent=1, ensure_ascii=False))
        return
    ended = threading.Event()
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: ended.set())
    folder = prepare_folder(out.resolve())
    with practice.start(
        folder,
        names=chosen,
        seed=practice.SEED if seed is None else seed,
        rows=practice.ROWS if rows is None else rows,
        progress=lambda text: click.echo(f"  {text}", err=True),
    ) as running:
        if truth:
            click.echo(json.dumps({n: r.truth for n, r in running.running.items()}, indent=1, default=str))
        click.echo(f"Running. In another terminal: cd {folder} && weighbridge run --env sandbox", err=True)
        click.echo("Ctrl-C ends them.", err=True)
        try:
            ended.wait()
        except KeyboardInterrupt:
            click.echo("Stopping ...", err=True)
