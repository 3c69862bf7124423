"""Compares two reports: verdicts, ceilings, and what is new, fixed and still there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weighbridge.history import changes, troubles
from weighbridge.report.escape import one_line
from weighbridge.report.model import PointReport, Report
from weighbridge.report.view import number

__all__ = ["Comparison", "compare"]

_RANK = {"READY": 0, "HOLDS": 0, "UNKNOWN": 1, "AT_RISK": 2, "BREAKS": 3, "BROKEN": 3}
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of each point between two runs."""

    old: Report
    new: Report
    moved: tuple[Row, ...]
    """Points whose status or ceiling differs: `{"point", "old", "new", "old_users", "new_users"}`."""
    appeared: tuple[str, ...]
    gone: tuple[str, ...]
    changes: Mapping[str, list[dict[str, Any]]]

    @property
    def worse(self) -> bool:
        """Whether some point's status got worse."""
        return any(_RANK[m["new"]] > _RANK[m["old"]] for m in self.moved)

    def to_dict(self) -> dict[str, Any]:
        return {
            "old": self.old.run.id,
            "new": self.new.run.id,
            "verdict": {"old": self.old.verdict.status, "new": self.new.verdict.status},
            "moved": [dict(m) for m in self.moved],
            "appeared": list(self.appeared),
            "gone": list(self.gone),
            "changes": {k: list(v) for k, v in self.changes.items()},
        }

    def text(self) -> str:
        """For a terminal."""
        lines = [f"{self.old.run.id} {self.old.verdict.status}  ->  {self.new.run.id} {self.new.verdict.status}"]
        for row in self.moved:
            users = f"  ({_users(row['old_users'])} -> {_users(row['new_users'])} users)"
            status = row["old"] if row["old"] == row["new"] else f"{row['old']} -> {row['new']}"
            lines.append(f"  {one_line(row['point'])}: {status}{users if row['old_users'] != row['new_users'] else ''}")
        lines += [f"  {one_line(p)}: new in this run" for p in self.appeared]
        lines += [f"  {one_line(p)}: not in this run" for p in self.gone]
        for kind, word in (("new", "NEW"), ("fixed", "fixed"), ("still", "still")):
            rows = self.changes[kind]
            if not rows:
                continue
            lines.append(f"{word} ({len(rows)})")
            shown = rows if kind != "still" else rows[:10]
            lines += [f"  {one_line(r['point'])} {r['code']}: {one_line(r['message'], limit=160)}" for r in shown]
            if len(rows) > len(shown):
                lines.append(f"  ... and {len(rows) - len(shown)} more")
        if len(lines) == 1:
            lines.append("Nothing changed.")
        return "\n".join(lines) + "\n"


def _users(figure: float | None) -> str:
    return number(figure, unknown="?")


def compare(old: Report, new: Report) -> Comparison:
    """Compare two runs; a point or check that only one of them asked is neither fixed nor still."""
    before = {p.id: p for p in old.points}
    now = {p.id: p for p in new.points}
    moved = [
        {
            "point": p.id,
            "old": before[p.id].status,
            "new": p.status,
            "old_users": before[p.id].safe_users,
            "new_users": p.safe_users,
        }
        for p in new.points
        if p.id in before and _differs(before[p.id], p)
    ]

    def earlier(point: str, check: str) -> dict[tuple[str, str], dict[str, Any]] | None:
        held = before.get(point)
        if held is None or not any(c.check == check and c.status != "skipped" for c in held.checks):
            return None
        return {(code, about): row for (name, code, about), row in troubles(held).items() if name == check}

    return Comparison(
        old,
        new,
        tuple(moved),
        tuple(sorted(set(now) - set(before))),
        tuple(sorted(set(before) - set(now))),
        changes(new, earlier),
    )


def _differs(old: PointReport, new: PointReport) -> bool:
    return old.status != new.status or old.safe_users != new.safe_users
