"""The summary that a terminal shows: the verdict, blockers first, and the points, on about one screen.

Words, never symbols alone, so that it reads without colour, through a pipe and on a Windows console.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from weighbridge.report.escape import one_line
from weighbridge.report.model import CheckReport, PointReport, Report
from weighbridge.report.view import (
    STATUS_WORDS,
    Group,
    blockers,
    ceiling_words,
    columns,
    first_breaks,
    groups,
    moment,
    number,
    rung_words,
    worst_first,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = ["print_summary", "summary"]

SHOWN_BLOCKERS = 3
SHOWN_POINTS = 12
SHOWN_CHANGES = 3
ENGINEER = 190
"""Characters of the verdict in figures; the report has it whole."""
_STYLES = {
    "READY": "bold green",
    "HOLDS": "bold green",
    "AT_RISK": "bold yellow",
    "BREAKS": "bold red",
    "BROKEN": "bold red",
    "UNKNOWN": "bold magenta",
}
_CELLS = {
    "pass": ("ok", "green"),
    "warn": ("warn", "yellow"),
    "break": ("BREAK", "bold red"),
    "unknown": ("?", "magenta"),
}
_SHORT = {
    "connection": "conn",
    "completeness": "compl",
    "resilience": "resil",
    "edge_cases": "edge",
    "operations": "ops",
    "quality": "qual",
    "volume": "vol",
    "freshness": "fresh",
    "workbook": "wbook",
}


def summary(report: Report, *, width: int = 100, folder: Path | None = None) -> str:
    """The summary as plain text."""
    from rich.console import Console

    file = io.StringIO()
    print_summary(report, Console(file=file, width=width, color_system=None, legacy_windows=False), folder=folder)
    return file.getvalue()


def print_summary(
    report: Report, console: Console | None = None, *, quiet: bool = False, folder: Path | None = None
) -> None:
    """Print the summary; `quiet` prints the verdict line alone. Colour only on a terminal."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    out = console or Console(highlight=False)
    encoding = getattr(out.file, "encoding", None) or "utf-8"

    def say(*parts: tuple[str, str], indent: int = 0) -> None:
        text = Text.assemble(*((_keep_ends(words, encoding), style) for words, style in parts))
        out.print(Padding(text, (0, 0, 0, indent), expand=False), highlight=False)

    run, verdict = report.run, report.verdict
    if not quiet:
        banner = [("PRACTICE systems, not your own  ", "bold")] if run.practice else []
        partial = [("  INTERRUPTED, partial", "bold yellow")] if run.partial else []
        facts = f"{run.project or 'weighbridge'}  {run.environment}  {moment(run.finished or run.started)}"
        target = f"  target {number(report.target.production_users)} users  {rung_words(run.rung)}"
        say(*banner, (facts + "  " + target.strip(), "dim"), *partial)
    say(
        (STATUS_WORDS.get(verdict.status, verdict.status).upper() + "  ", _STYLES.get(verdict.status, "bold")),
        (verdict.sentence, ""),
    )
    if quiet:
        return
    if verdict.engineer:
        say((one_line(verdict.engineer, limit=ENGINEER), "dim"))
    out.print()
    _blockers(groups(report), len(blockers(report)), say)
    _points(report, out, encoding)
    _changes(report, say, shown={(g.first.point, g.first.check) for g in groups(report)[:SHOWN_BLOCKERS]})
    left_out = len(report.not_tested)
    if left_out or report.waivers:
        say((f"Not tested: {left_out}   waived: {len(report.waivers)}   (listed in the report)", "dim"))
    if folder is not None:
        say(("Read next: ", ""), (str(folder / "report.html"), "bold"))


def _keep_ends(text: str, encoding: str) -> str:
    # Spaces at the ends separate the parts of a line.
    body = one_line(text, encoding=encoding)
    return (
        " " * (len(text) - len(text.lstrip(" "))) + body + (" " * (len(text) - len(text.rstrip(" "))) if body else "")
    )


def _blockers(found: list[Group], count: int, say: Callable[..., None]) -> None:
    if not found:
        return
    say((f"What stands in the way ({count})", "bold"))
    for group in found[:SHOWN_BLOCKERS]:
        blocker = group.first
        style = {"break": "bold red", "warn": "yellow"}.get(blocker.kind, "magenta")
        word = {"break": "BREAK ", "warn": "warn "}.get(blocker.kind, "? ")
        more = [f"{group.more} more of this check"] if group.more else []
        more += [f"also {', '.join(group.also[:3])}"] if group.also else []
        tail = f" ({'; '.join(more)})" if more else ""
        where = (f"{blocker.point} {blocker.check}: ", "bold")
        say((word, style), where, (one_line(group.title, limit=200), ""), (tail, "dim"), indent=2)
        if blocker.remedy:
            who = f" ({blocker.owner})" if blocker.owner else ""
            say(("fix: ", "dim"), (one_line(blocker.remedy, limit=110) + who, ""), indent=4)
        if blocker.retest:
            say(("retest: ", "dim"), (blocker.retest, ""), indent=4)
    if len(found) > SHOWN_BLOCKERS:
        say((f"... and {len(found) - SHOWN_BLOCKERS} more, in the report", "dim"), indent=2)
    say(("", ""))


def _changes(report: Report, say: Callable[..., None], *, shown: set[tuple[str, str]]) -> None:
    """What is new and fixed against the runs before, in a few lines; not again what stands above."""
    for kind, style in (("new", "bold"), ("fixed", "green")):
        rows = report.changes.get(kind, [])
        if rows:
            say((f"{kind.capitalize()} since the last run ({len(rows)})", style))
        rows = [r for r in rows if kind == "fixed" or (r["point"], r.get("check")) not in shown]
        for row in rows[:SHOWN_CHANGES]:
            say(
                (f"{row['point']} {row['code']}: ", "bold"),
                (one_line(row.get("message") or "", limit=140), ""),
                indent=2,
            )
        if len(rows) > SHOWN_CHANGES:
            say((f"... and {len(rows) - SHOWN_CHANGES} more", "dim"), indent=2)


def _points(report: Report, out: Console, encoding: str) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    lines = box.SIMPLE_HEAD if _has_lines(encoding) else box.ASCII2
    table = Table(box=lines, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("point", no_wrap=True, overflow="ellipsis", min_width=12, max_width=32)
    table.add_column("status", no_wrap=True, min_width=7)
    table.add_column("users", no_wrap=True, justify="right", min_width=7)
    names = columns(report)
    # Narrow terminals get the count of each outcome instead of a column a check.
    wide = out.width >= 40 + 7 * len(names)
    for name in names if wide else ():
        table.add_column(_SHORT.get(name, name)[:6], no_wrap=True, min_width=min(6, len(_SHORT.get(name, name))))
    if not wide:
        table.add_column("checks")
    deciding = {p.id: f for p, f in first_breaks(report)}
    ordered = worst_first(report)
    for point in ordered[:SHOWN_POINTS]:
        by_name = {c.check: c for c in point.checks}
        cells = [_cell(by_name.get(n)) for n in names] if wide else [_counts(point)]
        users = ceiling_words(point, deciding[point.id])
        row = [
            Text(one_line(point.id, encoding=encoding)),
            Text(STATUS_WORDS.get(point.status, point.status), style=_STYLES.get(point.status, "")),
            Text(users),
            *cells,
        ]
        table.add_row(*row)
    out.print(table)
    if len(ordered) > SHOWN_POINTS:
        out.print(Text(f"... and {len(ordered) - SHOWN_POINTS} points more, in the report", style="dim"))


def _has_lines(encoding: str) -> bool:
    try:
        "\u2500".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _cell(check: CheckReport | None) -> Text:
    from rich.text import Text

    if check is None or check.status == "skipped":
        return Text("-" if check is None or check.reason in {"not_applicable", "deselected"} else "skip", style="dim")
    word, style = _CELLS[check.status]
    return Text(word, style=style)


def _counts(point: PointReport) -> str:
    tally: dict[str, int] = {}
    for check in point.checks:
        tally[check.status] = tally.get(check.status, 0) + 1
    words = (("break", "break"), ("warn", "warn"), ("unknown", "unknown"), ("pass", "ok"), ("skipped", "skipped"))
    return ", ".join(f"{tally[status]} {word}" for status, word in words if status in tally)
