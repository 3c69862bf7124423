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
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option(
    "--password-env", metavar="NAME", help="Environment variable that holds the password of an encrypted workbook."
)
def command(*, files: tuple[Path, ...], as_json: bool, password_env: str | None) -> int:
    """Look for hazards in each workbook FILE (.xlsx, .xlsm, .xlsb, .xls); needs no contract and never changes it.

    A folder stands for the workbooks in it. Exits 0 where nothing is worse than a warning, 1 where something breaks, 3
    where a file cannot be read (encrypted, damaged, hostile). The JSON is one object for one file, else a list.
    """
    from weighbridge.connectors.workbook import inspect_workbook

    password = _password(password_env)
    reports = (inspect_workbook(path, password) for path in _workbooks(files))
    code, told = 0, []
    for report in reports:
        told.append(report.plain())
        if not as_json:
            click.echo(("\n" if len(told) > 1 else "") + as_text(report))
        code = max(code, 3 if not report.readable else 1 if report.worst == "break" else 0)
    if as_json:
        one = len(files) == 1 and not files[0].is_dir()
        click.echo(json.dumps(told[0] if one else told, indent=2, ensure_ascii=False))
    return code


def _workbooks(files: tuple[Path, ...]) -> list[Path]:
    """The files, and those in the folders, by name."""
    from weighbridge.connectors.excel import workbooks_among
    from weighbridge.errors import UsageProblem

    found: list[Path] = []
    for path in files:
        inside = workbooks_among(path.iterdir()) if path.is_dir() else [path]
        if not inside:
            raise UsageProblem(f"{path}: no workbook (.xlsx, .xlsm, .xlsb, .xls) is in this folder.")
        found += inside
    return found


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
