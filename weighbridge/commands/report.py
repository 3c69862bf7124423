"""`weighbridge report`: render an earlier run again, in any format."""

from __future__ import annotations

from pathlib import Path

import click

from weighbridge.commands import options

__all__ = ["command"]


@click.command()
@click.argument("run", default="latest")
@options.config
@click.option(
    "--format", "formats", callback=options.names, help="html,md,xlsx,junit,json or terminal (html by default)."
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for the files.")
def command(*, run: str, config: Path | None, formats: tuple[str, ...] | None, out: Path | None) -> None:
    """Render RUN again: an id, the beginning of one, `latest`, `previous`, or the path of a report.json."""
    from weighbridge.report.model import Report
    from weighbridge.report.writers import write_reports

    wanted = formats or ("html",)
    path = Path(run)
    folder = out
    if path.suffix == ".json" and path.is_file():
        report = Report.from_json(path.read_bytes(), source=str(path))
        folder = folder or path.resolve().parent
    else:
        from weighbridge.history import History
        from weighbridge.project import Project

        project = Project.load(config)
        history = History.of(project)
        try:
            report = history.report(run)
        finally:
            history.close()
        folder = folder or project.folder / "weighbridge-report"
    if "terminal" in wanted:
        from weighbridge.report.terminal import print_summary

        print_summary(report)
    files = [w for w in wanted if w != "terminal"]
    if files:
        for name, file in write_reports(report, folder, files).items():
            if name in files:
                click.echo(str(file))
