"""`weighbridge incident`: draft a contract rule from a bad row or a log."""

from __future__ import annotations

import json
from pathlib import Path

import click

from weighbridge.commands import options

__all__ = ["command"]


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--point", "point_id", required=True, metavar="SYSTEM.OBJECT", help="The integration point the rows are of."
)
@click.option("--column", "columns", callback=options.names, help="Only these properties, separated by commas.")
@click.option("--good", callback=options.names, help="Right values of the one --column; a pattern is made from them.")
@click.option(
    "--fixture", "fixture_path", type=click.Path(path_type=Path, dir_okay=False), help="Write the masked rows here."
)
@options.config
def command(
    *,
    file: Path,
    point_id: str,
    columns: tuple[str, ...] | None,
    good: tuple[str, ...] | None,
    fixture_path: Path | None,
    config: Path | None,
) -> int:
    """Read bad rows from FILE (JSON, JSON lines, CSV, or a log with JSON in it) and draft the rules that forbid them.

    Nothing is changed: the draft is printed, to be merged into the contract. Exits 1 when no rule could be drafted and
    none exists.
    """
    from weighbridge.errors import UsageProblem
    from weighbridge.incidents import drafts, fixture, read_rows, snippet
    from weighbridge.project import Project
    from weighbridge.report.escape import one_line
    from weighbridge.report.files import write_atomically

    if good and (not columns or len(columns) != 1):
        raise UsageProblem("--good needs exactly one --column: they are right values of that column.")
    project = Project.load(config)
    points = {p.id: p for p in project.points()}
    point = points.get(point_id)
    if point is None:
        raise UsageProblem(f"There is no integration point '{point_id}'; there are {', '.join(points)}.")
    rows = read_rows(file.read_text(encoding="utf-8", errors="replace"), source=str(file))
    made, suspects = drafts(point, rows, columns=columns or (), good=good or ())
    caught = [s for s in suspects if s.caught]
    for suspect in caught[:20]:
        click.echo(
            f"# row {suspect.row}: {one_line(suspect.column)} already breaks {suspect.caught}; "
            "a run of the check quality or schema finds it",
            err=True,
        )
    if made:
        click.echo(snippet(point, made), nl=False)
    elif not caught:
        click.echo(
            f"Nothing looks wrong in the {len(rows)} row(s) of {file.name}. If you know the column, name it with "
            "--column and give right values with --good.",
            err=True,
        )
    if fixture_path is not None:
        text = json.dumps(fixture(point, rows, made), indent=1, ensure_ascii=False) + "\n"
        click.echo(f"# fixture: {write_atomically(fixture_path, text)}", err=True)
    return 0 if made or caught else 1
