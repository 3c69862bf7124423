"""The one message a night: what is new, what is fixed, how much is still there; silence when nothing changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from weighbridge.report.escape import one_line
from weighbridge.report.model import Report
from weighbridge.report.view import STATUS_WORDS

__all__ = ["Digest", "digest"]

SHOWN_NEW = 15
SHOWN_FIXED = 8
SHOWN_STILL = 5


@dataclass(frozen=True, slots=True)
class Digest:
    """A message, and why it is worth sending; `reason` None is a quiet night."""

    title: str
    body: str
    reason: str | None
    bad: bool


def digest(report: Report, *, first: bool = False, undelivered: bool = False) -> Digest:
    """The night's message. `first`: no earlier run to compare with; `undelivered`: the last message did not arrive."""
    new, fixed, still = (report.changes.get(kind, []) for kind in ("new", "fixed", "still"))
    if first:
        # Nothing to compare with: whatever stands is news once.
        new, still = _standing(report), []
    reason = None
    if new:
        reason = "new"
    elif fixed:
        reason = "fixed"
    elif undelivered:
        reason = "undelivered"
    where = f"{report.run.project or 'weighbridge'} {report.run.environment}"
    return Digest(
        _title(where, new, fixed, still), _body(report, new, fixed, still, undelivered), reason, bool(new or still)
    )


def _standing(report: Report) -> list[dict[str, Any]]:
    from weighbridge.history import troubles

    return [row for point in report.points for row in troubles(point).values()]


def _title(where: str, new: list[Any], fixed: list[Any], still: list[Any]) -> str:
    if not new and not still:
        return f"{where}: recovered" if fixed else f"{where}: nothing wrong"
    parts = [f"{len(rows)} {word}" for rows, word in ((new, "new"), (fixed, "fixed"), (still, "still there")) if rows]
    return f"{where}: {', '.join(parts)}"


def _body(report: Report, new: list[Any], fixed: list[Any], still: list[Any], undelivered: bool) -> str:
    status = STATUS_WORDS.get(report.verdict.status, report.verdict.status)
    lines = [f"{status}. {one_line(report.verdict.sentence)}"]
    if undelivered:
        lines.append("The last message could not be delivered; this one stands for both.")
    owners = {p.id: p.owner for p in report.points}
    for rows, word, shown in ((new, "NEW", SHOWN_NEW), (fixed, "FIXED", SHOWN_FIXED), (still, "STILL", SHOWN_STILL)):
        if not rows:
            continue
        lines += ["", f"{word} ({len(rows)})"]
        for row in rows[:shown]:
            owner = f" [{one_line(owners[row['point']])}]" if word == "NEW" and owners.get(row["point"]) else ""
            lines.append(f"- {one_line(row['point'])} {row['code']}: {one_line(row['message'], limit=180)}{owner}")
        if len(rows) > shown:
            lines.append(f"- ... and {len(rows) - shown} more")
    lines += ["", f"Run {report.run.id}. Look closer: weighbridge report {report.run.id}"]
    return "\n".join(lines)
