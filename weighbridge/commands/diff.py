"""`weighbridge diff`: what changed between two runs."""

from __future__ import annotations

from pathlib import Path

import click

from weighbridge.commands import options

__all__ = ["command"]


@click.command()
@click.argument("old", default="previous")
@click.argument("new", default="latest")
@options.config
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, old: str, new: str, config: Path | None, as_json: bool) -> int:
    """Compare two runs (previous and latest by default): verdicts, ceilings, and findings new, fixed and still there.

    Exits 1 when something is new, 0 otherwise.
    """
    from weighbridge.comparison import compare
    from weighbridge.history import History
    from weighbridge.project import Project

    history = History.of(Project.load(config))
    try:
        result = compare(history.report(old), history.report(new))
    finally:
        history.close()
    if as_json:
        import json

        click.echo(json.dumps(result.to_dict(), indent=1, ensure_ascii=False))
    else:
        click.echo(result.text(), nl=False)
    return 1 if result.changes["new"] or result.worse else 0
