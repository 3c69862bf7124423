"""Judges a trial: whole, clear error, wrong error, lost, duplicated, changed, swallowed or hanging; and its habits."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from weighbridge.checks._resilience_cells import Cell
from weighbridge.checks._resilience_trial import POLICY, Slice, Trial, error_of, is_one_of
from weighbridge.connectors.errors import RetriableError

__all__ = ["Verdict", "habits", "judge"]

Complaint = tuple[str, str, Any, Any]
"""Code, message, expected, observed."""
TOUCHING_S = 0.004
"""Two attempts closer than this had no pause between them."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one cell came to."""

    cell: Cell
    trial: Trial
    outcome: str
    """recovered, taken up, clear error, wrong error, not recovered, lost, duplicated, changed, swallowed, hang."""
    complaints: tuple[Complaint, ...]

    @property
    def error(self) -> str | None:
        return error_of(self.trial) or None

    @property
    def amplification(self) -> float:
        """Attempts for each call that was meant: retries on top of first tries."""
        first = max(1, self.trial.attempts - self.trial.retries)
        return round(max(self.trial.attempts, 1) / first, 3)


def judge(cell: Cell, measure: Slice, trial: Trial) -> Verdict:
    """Weigh one trial against what the cell asks for."""
    outcome, complaints = _outcome(cell, measure, trial)
    complaints += _behaviour(cell, trial)
    return Verdict(cell, trial, outcome, tuple(complaints))


def _outcome(cell: Cell, measure: Slice, trial: Trial) -> tuple[str, list[Complaint]]:
    if trial.hung:
        says = f"nothing came back within {trial.seconds:.0f} s, and there was no timeout."
        return "hang", [("resilience.hangs", says, f"an error within {POLICY.deadline:g} s", "none")]
    if trial.error is not None:
        return _failed(cell, trial, trial.error)
    code, says, expected, observed = _compare(measure, trial)
    if not code:
        if cell.recovers:
            return ("taken up" if trial.taken_up else "recovered"), _unaided(cell, trial)
        if cell.kind == "down" and measure.rows:
            says = "rows came although nothing could reach the system: they are old ones, and nothing says so."
            return "stale", [("resilience.stale_answer", says, " or ".join(cell.errors), f"{len(trial.rows):,} rows")]
        # The fault stays, and yet the whole slice came: it was struck only behind it.
        return "recovered", []
    if not cell.recovers and code == "resilience.records_lost":
        says = f"the read ended as if all were well, with {len(trial.rows):,} of {len(measure.rows):,} rows."
        return "swallowed", [("resilience.error_swallowed", says, " or ".join(cell.errors), "no error")]
    return code.rsplit("_", 1)[1], [(code, says, expected, observed)]


def _failed(cell: Cell, trial: Trial, error: BaseException) -> tuple[str, list[Complaint]]:
    name = type(error).__name__
    if cell.recovers:
        if cell.errors and is_one_of(error, cell.errors) and not isinstance(error, RetriableError):
            return "clear error", []
        says = f"the read failed with {name} after {trial.attempts} attempts, although the fault had passed."
        return "not recovered", [("resilience.not_recovered", says, "all rows", name)]
    if is_one_of(error, cell.errors):
        return "clear error", []
    says = f"the read failed with {name}: {str(error)[:200]}"
    return "wrong error", [("resilience.wrong_error", says, " or ".join(cell.errors), name)]


def _unaided(cell: Cell, trial: Trial) -> list[Complaint]:
    """A read that had to be taken up by the caller, where a retry within it would have been enough."""
    if not trial.taken_up or not cell.by_itself or cell.errors:
        return []
    name = type(trial.first_error).__name__
    says = f"the read failed with {name} after {trial.attempts} attempts; only reading on from outside completed it."
    return [("resilience.not_recovered", says, "recovered by a retry", name)]


def _compare(measure: Slice, trial: Trial) -> Complaint | tuple[str, str, None, None]:
    """The rows against the measure: every key once, nothing else, no value changed."""
    wanted = len(measure.rows)
    rows = trial.rows if measure.whole else trial.rows[:wanted]
    if tuple(rows) == measure.rows:
        return "", "", None, None
    if not measure.keys and Counter(map(repr, rows)) == Counter(map(repr, measure.rows)):
        return "", "", None, None  # without a key there is no order to keep

    def key(row: tuple[Any, ...]) -> Any:
        return tuple(row[i] for i in measure.keys) if measure.keys else tuple(map(repr, row))

    there, should = Counter(map(key, rows)), Counter(map(key, measure.rows))
    twice = sum((there - should).values()) if measure.whole else sum(n - 1 for n in there.values() if n > 1)
    lost = sum((should - there).values())
    if twice and any(there[k] > should[k] for k in should):
        return "resilience.records_duplicated", f"{twice:,} rows came twice.", wanted, len(rows)
    if lost:
        return "resilience.records_lost", f"{lost:,} of {wanted:,} rows were lost without an error.", wanted, len(rows)
    changed = sum(a != b for a, b in zip(rows, measure.rows, strict=False)) or abs(len(rows) - wanted)
    return "resilience.records_changed", f"{changed:,} rows have other values.", 0, changed


def _behaviour(cell: Cell, trial: Trial) -> list[Complaint]:
    complaints: list[Complaint] = []
    if trial.credentials_followed:
        says = "the credentials were sent to another host that the system had pointed at."
        complaints.append(("resilience.credentials_followed", says, "no credentials", "credentials"))
    if trial.credentials_shown:
        says = f"{trial.credentials_shown} shows a credential."
        complaints.append(("resilience.credentials_shown", says, "no credentials", trial.credentials_shown))
    if trial.open_links:
        says = f"{trial.open_links} connections were still open after the connector had been closed."
        complaints.append(("resilience.connection_leak", says, 0, trial.open_links))
    # The last attempt may begin just inside the deadline.
    limit = POLICY.deadline + POLICY.attempts * trial.patience + 1
    if not trial.hung and trial.seconds > limit:
        says = f"the call took {trial.seconds:.1f} s with its pauses, {POLICY.deadline:g} s are allowed."
        complaints.append(("resilience.deadline_missed", says, POLICY.deadline, round(trial.seconds, 1)))
    struck = _struck(cell, trial)
    if cell.tries is not None and struck > cell.tries:
        says = f"the call was sent {struck} times, although waiting cannot help."
        complaints.append(("resilience.retried_in_vain", says, cell.tries, struck))
    elif struck > POLICY.attempts + 1 and not cell.recovers:
        says = f"one call became {struck} on the wire; the policy allows {POLICY.attempts} attempts."
        complaints.append(("resilience.retry_storm", says, POLICY.attempts, struck))
    if cell.pause is not None and trial.error is None and not trial.hung:
        waited = max([*trial.pauses, _widest(trial), 0.0])
        if waited < cell.pause * 0.95:
            says = f"the system asked to wait {cell.pause:g} s, the longest pause was {waited:.2f} s."
            complaints.append(("resilience.retry_after_ignored", says, cell.pause, round(waited, 3)))
    return complaints


def _struck(cell: Cell, trial: Trial) -> int:
    """Sends on the wire that met the fault."""
    return sum(cell.kind in (entry.get("faults") or ()) for entry in trial.wire)


def _widest(trial: Trial) -> float:
    times = [entry["at"] for entry in trial.wire]
    return max((b - a for a, b in itertools.pairwise(times)), default=0.0)


def habits(verdicts: Sequence[Verdict]) -> Iterator[tuple[str, str, Any]]:
    """What only shows over several cells: pauses that are missing, or always the same."""
    unpaused, retried = 0, 0
    for verdict in verdicts:
        hit = [e["at"] for e in verdict.trial.wire if verdict.cell.kind in (e.get("faults") or ())]
        if verdict.cell.pause is None and len(hit) > 1:
            retried += len(hit) - 1
            if not verdict.trial.pauses:
                unpaused += sum(b - a < TOUCHING_S for a, b in itertools.pairwise(hit))
    if unpaused >= 2 and unpaused * 2 >= retried:
        yield "resilience.no_backoff", f"{unpaused} of {retried} retries came at once, without a pause.", unpaused
    seconds = Counter(round(p, 4) for v in verdicts if v.cell.pause is None for p in v.trial.pauses if p > 0)
    total = sum(seconds.values())
    if total >= 6 and len(seconds) <= POLICY.attempts - 1 and max(seconds.values()) >= 3:
        yield (
            "resilience.no_jitter",
            f"{total} pauses had only {len(seconds)} different lengths; clients that fail together retry together.",
            sorted(seconds),
        )
