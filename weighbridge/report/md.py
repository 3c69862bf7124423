"""The report as Markdown, sized for a pull-request comment."""

from __future__ import annotations

from weighbridge.report.escape import markdown, markdown_code
from weighbridge.report.model import CheckReport, PointReport, Report
from weighbridge.report.view import (
    STATUS_WORDS,
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

__all__ = ["LIMIT", "render"]

LIMIT = 60_000
"""GitHub refuses comments beyond 65,536 characters."""
SHOWN = 20
_MARKS = {"pass": "pass", "warn": "warn", "break": "**BREAK**", "unknown": "**?**"}


def render(report: Report) -> str:
    """The report as Markdown; cut at a line, and saying so, when it would not fit a comment."""
    lines = [*_head(report), *_blockers(report), *_matrix(report), *_changes(report), *_rest(report)]
    text = "\n".join(lines).rstrip() + "\n"
    if len(text) <= LIMIT:
        return text
    kept = text[:LIMIT].rsplit("\n", 1)[0]
    return f"{kept}\n\n_Cut here: the whole report is in report.html and report.json._\n"


def _head(report: Report) -> list[str]:
    run, verdict = report.run, report.verdict
    lines = [f"## Weighbridge: {STATUS_WORDS.get(verdict.status, verdict.status).upper()}", ""]
    if run.practice:
        lines += ["> **PRACTICE**: these are practice systems, not your own.", ""]
    if run.partial:
        lines += ["> **Partial**: the run was interrupted.", ""]
    lines += [f"**{markdown(verdict.sentence)}**", ""]
    if verdict.engineer:
        lines += [markdown(verdict.engineer), ""]
    facts = [
        f"target {number(report.target.production_users)} users",
        markdown(run.environment),
        markdown(moment(run.finished or run.started)),
        markdown(rung_words(run.rung)),
        f"run {markdown_code(run.id)}",
    ]
    return [*lines, " · ".join(facts), ""]


def _blockers(report: Report) -> list[str]:
    found = blockers(report)
    if not found:
        return []
    lines = [f"### What stands in the way ({len(found)})", ""]
    told = groups(report)
    for number_, group in enumerate(told[:SHOWN], 1):
        b = group.first
        kind = {"break": "BREAK", "warn": "warning"}.get(b.kind, "unknown")
        also = "".join(f", {markdown_code(p)}" for p in group.also[:5])
        more = f" (and {group.more} more of this check)" if group.more else ""
        place = f"{markdown_code(b.point)}{also} {markdown_code(b.code)}"
        lines.append(f"{number_}. **{kind}** {place}: {markdown(group.title, limit=400)}{more}")
        if b.effect:
            lines.append(f"   - effect: {markdown(b.effect, limit=300)}")
        if b.remedy:
            owner = f" ({markdown_code(b.owner)})" if b.owner else ""
            lines.append(f"   - fix: {markdown(b.remedy, limit=300)}{owner}")
        if b.retest:
            lines.append(f"   - retest: {markdown_code(b.retest)}")
    if len(told) > SHOWN:
        lines.append(f"\n... and {len(told) - SHOWN} more.")
    return [*lines, ""]


def _matrix(report: Report) -> list[str]:
    names = columns(report)
    deciding = {p.id: f for p, f in first_breaks(report)}
    lines = [
        "### Integration points",
        "",
        "| point | status | users | " + " | ".join(markdown(n) for n in names) + " |",
        "|---" * (3 + len(names)) + "|",
    ]
    for point in worst_first(report):
        by_name = {c.check: c for c in point.checks}
        users = ceiling_words(point, deciding[point.id])
        cells = [markdown_code(point.id), _status(point), markdown(users), *(_cell(by_name.get(n)) for n in names)]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _status(point: PointReport) -> str:
    word = STATUS_WORDS.get(point.status, point.status)
    return f"**{word}**" if point.status in {"BREAKS", "BROKEN"} else word


def _cell(check: CheckReport | None) -> str:
    if check is None:
        return "-"
    if check.status == "skipped":
        return "-" if check.reason in {"not_applicable", "deselected"} else markdown(check.reason or "skipped")
    return _MARKS[check.status]


def _changes(report: Report) -> list[str]:
    lines: list[str] = []
    for kind in ("new", "fixed"):
        rows = report.changes.get(kind, [])
        if rows:
            lines.append(f"**{kind.capitalize()} ({len(rows)})**")
            for row in rows[:SHOWN]:
                what = markdown(row.get("message") or "", limit=200)
                lines.append(f"- {markdown_code(row['point'])} {markdown_code(row['code'])} {what}")
            lines.append("")
    return ["### What changed", "", *lines] if lines else []


def _rest(report: Report) -> list[str]:
    lines: list[str] = []
    if report.not_tested:
        lines += [f"<details><summary>Not tested ({len(report.not_tested)})</summary>", ""]
        for row in report.not_tested[:100]:
            place = " ".join(markdown_code(row[k]) for k in ("point", "check", "rule") if row.get(k))
            lines.append(
                f"- {place}: {markdown(row['reason'])} {markdown(row.get('message') or '', limit=200)}".rstrip()
            )
        lines += ["", "</details>", ""]
    if report.waivers:
        lines += ["**Waived**", ""]
        lines += [
            f"- {markdown_code(w['point'])} {markdown_code(w.get('code') or '')}: {markdown(w.get('reason') or '')} "
            f"(approved by {markdown(w['approver'])}, until {markdown(w['expires'])})"
            for w in report.waivers
        ]
        lines.append("")
    if report.assumptions:
        lines += ["<details><summary>Assumptions</summary>", ""]
        lines += [f"- {markdown(a)}" for a in report.assumptions]
        lines += ["", "</details>"]
    return lines
