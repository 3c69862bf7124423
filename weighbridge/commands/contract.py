"""`weighbridge contract`: lint, show and compare contracts; touches no system."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.commands import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weighbridge.checks.suite import Planned
    from weighbridge.contracts.models import Contract, SchemaObject

__all__ = ["command"]

WORDS = {"consumers": "BREAKS CONSUMERS", "producers": "BREAKS PRODUCERS", "safe": "safe"}


@click.group()
def command() -> None:
    """Lint, show and compare contracts. Touches no system."""


@command.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@options.config
@click.option("--json", "as_json", is_flag=True, help="Complaints as JSON.")
@click.option("--strict", is_flag=True, help="Warnings fail too.")
def lint(*, paths: tuple[Path, ...], config: Path | None, as_json: bool, strict: bool) -> int:
    """Say everything that is wrong with the contracts in PATHS, with file, line and column.

    Exits 0 when nothing is, 1 when something is, 2 when there is nothing to lint.
    """
    from weighbridge.contracts.loader import check
    from weighbridge.errors import UsageProblem

    files = _files(paths, config)
    problems = [p for file in files for p in check(file)[1]]
    failing = [p for p in problems if strict or p.severity == "error"]
    if not files:
        raise UsageProblem("There is no contract (*.odcs.yaml) to lint.")
    if as_json:
        rows = [
            {"path": str(p.path), "line": p.line, "column": p.column, "severity": p.severity, "message": p.message}
            for p in problems
        ]
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        for problem in problems:
            click.echo(str(problem))
        click.echo(f"{len(files)} contract(s), {len(problems)} complaint(s).")
    return 1 if failing else 0


def _files(paths: tuple[Path, ...], config: Path | None) -> list[Path]:
    """Files named stand for themselves, whatever they are called; folders are searched; none is the project."""
    from weighbridge.project import Project

    if not paths:
        return Project.load(config).contract_files()
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted([*path.rglob("*.odcs.yaml"), *path.rglob("*.odcs.yml")])
        else:
            files.append(_there(path))
    return files


def _there(path: Path) -> Path:
    from weighbridge.errors import UsageProblem

    if not path.is_file():
        raise UsageProblem(f"{path}: there is no such file.")
    return path


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--as", "form", type=click.Choice(["text", "gx", "sql", "json"]), default="text", show_default=True)
@click.option("--object", "wanted", help="Only this object.")
def show(*, file: Path, form: str, wanted: str | None) -> None:
    """Show what FILE promises: as text for people, as a Great Expectations suite, as SQL, or as plain rules in JSON.

    The output is stable: the same contract gives the same text, so that it can be read in a review.
    """
    from weighbridge.contracts.loader import load
    from weighbridge.errors import UsageProblem

    contract = load(_there(file))
    objects = [o for o in contract.objects if wanted is None or o.name == wanted]
    if not objects:
        raise UsageProblem(f"{file} has no object '{wanted}'; it has {', '.join(o.name for o in contract.objects)}.")
    printer = {"text": _as_text, "gx": _as_gx, "sql": _as_sql, "json": _as_json}[form]
    click.echo(printer(contract, [o.name for o in objects]))


def _as_text(contract: Contract, names: list[str]) -> str:
    from weighbridge.contracts.rules import compile_rules

    lines = [f"{contract.name or contract.id} {contract.version} ({contract.path.name})"]
    for item in contract.objects:
        if item.name not in names:
            continue
        physical = f" = {item.physical_name}" if item.physical_name != item.name else ""
        lines += ["", f"{item.name}{physical}"]
        for rule in compile_rules(contract, item):
            severity = "" if rule.severity == "error" else f" ({rule.severity})"
            lines.append(f"  {rule.line:>4}  {rule.check:<10} {rule.path}: {rule.expected}{severity}")
    return "\n".join(lines)


def _as_json(contract: Contract, names: list[str]) -> str:
    from weighbridge.contracts.rules import compile_rules
    from weighbridge.report.model import plain

    rules = [plain(r) for o in contract.objects if o.name in names for r in compile_rules(contract, o)]
    return json.dumps(rules, indent=1, ensure_ascii=False)


def _as_gx(contract: Contract, names: list[str]) -> str:
    from weighbridge.report.model import plain

    suites = []
    for item in contract.objects:
        if item.name in names:
            planned = _planned(contract, item)
            suites.append(
                {
                    "name": f"{contract.id}.{item.name}",
                    "expectations": [p.expectation() for p in planned if p.type],
                    "meta": {"not_run": [{"rule": p.rule.path, "reason": p.reason} for p in planned if not p.type]},
                }
            )
    return json.dumps(plain(suites), indent=1, ensure_ascii=False)


def _planned(contract: Contract, item: SchemaObject) -> Sequence[Planned]:
    """The object's data promises as expectations; the check `schema` and the others answer the rest."""
    from weighbridge.checks.suite import compile_suite, declared_source
    from weighbridge.contracts.rules import compile_rules

    rules = [r for r in compile_rules(contract, item) if r.check == "quality"]
    return compile_suite(rules, declared_source(item))


def _as_sql(contract: Contract, names: list[str]) -> str:
    from weighbridge.checks.quality import failing_rows
    from weighbridge.checks.suite import declared_source

    lines: list[str] = []
    for item in contract.objects:
        if item.name not in names:
            continue
        lines.append(f"-- {item.name}: what each rule asks (DuckDB; the server's own dialect in place)")
        for planned in _planned(contract, item):
            lines += ["", f"-- {planned.rule.path}: {planned.rule.expected}"]
            if planned.condition is not None:
                lines.append(failing_rows(planned, declared_source(item)) + ";")
            elif planned.rule.kind == "row_count":
                lines.append(f"SELECT COUNT(*) FROM {declared_source(item).table};")
            elif "query" in planned.kwargs:
                lines.append(f"{planned.kwargs['query']};")
            else:
                lines.append(f"-- not as SQL: {planned.reason or planned.type}")
        lines.append("")
    return "\n".join(lines).rstrip()


@command.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Differences as JSON.")
@click.option(
    "--fail-on",
    type=click.Choice(["any", "consumers", "producers", "none"]),
    default="any",
    show_default=True,
    help="Whose breakage makes the exit code 1.",
)
def diff(*, old: Path, new: Path, as_json: bool, fail_on: str) -> int:
    """Compare two versions of a contract: what breaks its consumers, what breaks its producers, what is safe.

    Exits 0 when nothing breaks, 1 when something does.
    """
    from weighbridge.contracts.diff import diff as compare
    from weighbridge.contracts.loader import load
    from weighbridge.report.model import plain

    found = compare(load(_there(old)), load(_there(new)))
    if as_json:
        click.echo(json.dumps(plain(found), indent=1, ensure_ascii=False))
    else:
        for change in found:
            click.echo(f"{WORDS[change.kind]:<16}  {change.path}: {change.message}{_values(change.old, change.new)}")
        click.echo(f"{len(found)} difference(s)." if found else "No difference.")
    failing = {"any": {"consumers", "producers"}, "none": set()}.get(fail_on, {fail_on})
    return 1 if any(c.kind in failing for c in found) else 0


def _values(old: object, new: object) -> str:
    simple = (str, int, float, bool)
    if isinstance(old, simple) and isinstance(new, simple):
        return f" ({old} -> {new})"
    return ""
