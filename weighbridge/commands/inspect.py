"""`weighbridge inspect FILE`: every hazard of a workbook, without a contract and without Excel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from weighbridge.connectors.workbook import WorkbookReport

__all__ = ["command"]

_HEADINGS = {
    "What feeds this workbook": "feeds",
    "What it feeds (other files that read it cannot be seen from here)": "fed",
    "What breaks when something is added": "breaks",
}
MARKS = {"break": "BREAK", "warn": "WARN ", "info": "info "}


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option(
    "--password-env", metavar="NAME", help="Environment variable that holds the password of an encrypted workbook."
)
def command(*, file: Path, as_json: bool, password_env: str | None) -> int:
    """Look for hazards in the workbook FILE (.xlsx, .xlsm, .xlsb, .xls); needs no contract and never changes it.

    Exits 0 where nothing is worse than a warning, 1 where something breaks, 3 where the file cannot be read
    (encrypted, damaged, hostile).
    """
    from weighbridge.connectors.workbook import inspect_workbook

    report = inspect_workbook(file, _password(password_env))
    click.echo(json.dumps(report.plain(), indent=2, ensure_ascii=False) if as_json else as_text(report))
    if not report.readable:
        return 3
    return 1 if report.worst == "break" else 0


def _password(variable: str | None) -> str | None:
    import os

    from weighbridge.errors import UsageProblem

    if variable is None:
        return None
    if not os.environ.get(variable):
        raise UsageProblem(f"--password-env {variable}: there is no such environment variable, or it is empty.")
    return os.environ[variable]


def as_text(report: WorkbookReport) -> str:
    """The report as a person reads it in a terminal."""
    plain = report.plain()
    lines = [f"{report.file}  ({report.format})"]
    for sheet in plain["sheets"]:
        size = f"{sheet['rows']:,} rows x {sheet['columns']:,} columns" if "rows" in sheet else sheet["kind"]
        state = "" if sheet["state"] == "visible" else f", {sheet['state']}"
        formulas = f", {sheet['formulas']:,} formulas" if sheet.get("formulas") else ""
        lines.append(f"  {sheet['name']}: {size}{formulas}{state}")
    for heading, told in _HEADINGS.items():
        sentences = report.in_words.get(told)
        if sentences:
            lines += ["", f"{heading}:", *(f"  - {sentence}." for sentence in sentences)]
    lines.append("")
    for finding in plain["findings"]:
        lines.append(f"{MARKS[finding['severity']]}  {finding['code']}  {finding['message']}")
        where = ", ".join(finding["places"][:5])
        more = finding["count"] - 5
        if where and finding["code"] != "workbook.macros":
            lines.append(f"       where: {where}{f' and {more:,} more' if more > 0 else ''}")
        lines.append(f"       do:    {finding['remedy']}")
    if not plain["findings"]:
        lines.append("No hazard found.")
    lines.extend(f"Not looked at: {note}." for note in plain.get("not_looked_at", ()))
    # names come out of the file: none of them may steer the terminal
    return "\n".join("".join(c if c.isprintable() else "\ufffd" for c in line) for line in lines)
