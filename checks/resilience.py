"""What becomes of the data and of the user's call when the network and the system misbehave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from weighbridge.checks._resilience_cells import Cell, chosen
from weighbridge.checks._resilience_judge import Verdict, habits, judge
from weighbridge.checks._resilience_trial import Slice, Trials, opened
from weighbridge.checks.base import (
    Code,
    Context,
    Evidence,
    Finding,
    Inconclusive,
    Measurement,
    NotRun,
    Result,
    Severity,
)
from weighbridge.checks.fallback import CODES as FALLBACK_CODES
from weighbridge.checks.fallback import try_fallback, wanted_fallback
from weighbridge.connectors.base import Connector, ObjectRef
from weighbridge.contracts.models import IntegrationPoint

__all__ = ["ResilienceCheck"]


class ResilienceCheck:
    """A matrix of faults between connector and system, with books: every row once, the right error, in time.

    Breaks in production
        With ten users nothing fails; with five hundred a reset connection, a 503 or a slow answer comes every few
        minutes. Then an import loses a page without a word, a retry storm turns a hiccup into an outage, a call hangs
        until somebody kills it, or 'quota spent' is shown as 'wrong password' and sends people the wrong way. And the
        copy that was to answer meanwhile turns out empty, three weeks old, or looks like the live system.

    Fix
        One retry policy with backoff, jitter and a total deadline, for retriable errors only; a timeout on every
        call; Retry-After kept; errors classed by what the caller can do; pages taken up by key; connections closed;
        a fallback that answers without the system and says of what time it is.
    """

    name = "resilience"
    needs = ("landing",)
    facets = ()
    cost = "read"
    codes = (
        Code("resilience.records_lost", Severity.BREAK, "Never end a read normally unless the system said 'no more'."),
        Code(
            "resilience.records_duplicated",
            Severity.BREAK,
            "Take a read up behind the last row that was kept, and drop what is known by key.",
        ),
        Code(
            "resilience.records_changed",
            Severity.BREAK,
            "Check length and form of every answer before using it; never use part of one.",
        ),
        Code(
            "resilience.error_swallowed",
            Severity.BREAK,
            "Let the error through: look at content type and form as well as the status, and catch named errors only.",
        ),
        Code("resilience.hangs", Severity.BREAK, "Set connect and read timeouts on every call, and a total deadline."),
        Code(
            "resilience.not_recovered",
            Severity.BREAK,
            "Retry a retriable error with backoff; a moment's fault must not reach the user.",
        ),
        Code(
            "resilience.deadline_missed",
            Severity.BREAK,
            "Count pauses and attempts against one total deadline, and give up when it is reached.",
        ),
        Code(
            "resilience.retry_storm",
            Severity.BREAK,
            "Retry in one layer only, with few attempts; retries of retries multiply the load on a system in trouble.",
        ),
        Code(
            "resilience.connection_leak",
            Severity.BREAK,
            "Close the connection on every path, the failing ones first: use a context manager.",
        ),
        Code(
            "resilience.thread_leak",
            Severity.BREAK,
            "End on close every thread that was started on open; a thread for each session runs a server full.",
        ),
        Code(
            "resilience.memory_leak",
            Severity.BREAK,
            "Let go of a session when it is closed: no list, cache or callback of the class may hold it.",
        ),
        Code(
            "resilience.stale_answer",
            Severity.BREAK,
            "Do not answer from a cache as if the system had answered; give the age with it, or the error.",
        ),
        Code(
            "resilience.credentials_shown",
            Severity.BREAK,
            "Keep credentials in a type that hides them, and never put headers or addresses with logins into messages.",
        ),
        Code(
            "resilience.credentials_followed",
            Severity.BREAK,
            "Never send credentials to a host that the system only pointed at.",
        ),
        Code(
            "resilience.wrong_error",
            Severity.WARN,
            "Class the error by what the caller can do: wait, log in, ask for rights, report it.",
        ),
        Code(
            "resilience.retried_in_vain",
            Severity.WARN,
            "Do not retry what cannot get better by waiting: spent quota, refused login.",
        ),
        Code(
            "resilience.retry_after_ignored",
            Severity.WARN,
            "Wait as long as the system asked to; it may lock out whoever does not.",
        ),
        Code("resilience.no_backoff", Severity.WARN, "Pause before each retry, longer each time."),
        Code(
            "resilience.no_jitter",
            Severity.WARN,
            "Draw each pause at random: 500 clients that retry in step hit the system together.",
        ),
        Code(
            "resilience.http_not_tried",
            Severity.INFO,
            "Give the connector an option ca_file, or try the faults where no client certificate is asked for.",
        ),
        Code(
            "resilience.write_lost",
            Severity.BREAK,
            "Look at the system by key after a failed write, and send it again.",
        ),
        Code(
            "resilience.write_repeated",
            Severity.BREAK,
            "Never resend a write that may have been done without looking at the system, or upsert by a unique key.",
        ),
        Code(
            "resilience.not_cleaned_up",
            Severity.BREAK,
            "Remove the records named in the evidence by hand; then find out why the system keeps them.",
        ),
        Code(
            "resilience.writes_not_tried",
            Severity.INFO,
            "Declare a unique text column as customProperty weighbridge.write_key, and what else a new record needs "
            "as weighbridge.write_values.",
        ),
        *FALLBACK_CODES,
    )

    def __call__(self, point: IntegrationPoint, evidence: Evidence, context: Context) -> Iterable[Result]:
        connector = context.connector()
        if not connector.networked or not connector.endpoints():
            if wanted_fallback(point, context.settings) is None:
                raise NotRun("not_applicable", f"{point.id}: {connector.kind} has no network endpoint to disturb.")
            yield from try_fallback(point, evidence, context, None)
            return
        with opened(context, connector) as trials:
            yield from self._reads(point, evidence, context, trials)
            yield from self._writes(point, evidence, context, connector, trials)
            yield from try_fallback(point, evidence, context, trials)

    def _reads(self, point: IntegrationPoint, evidence: Evidence, context: Context, trials: Trials) -> Iterator[Result]:
        landing = evidence.landing
        ref = ObjectRef(point.object.physical_name, point.object.filter)
        columns, keys = list(landing.columns), list(landing.keys)
        measure, shape, calm = trials.slice(ref, columns, keys, landing.rows)
        if not shape.protocol:
            raise Inconclusive(
                f"{point.id}: the connector did not go through the fault proxy, so no fault could reach it.",
                remedy="Its endpoints() must name what it dials, and it must ask session.route before dialling.",
            )
        if not measure.rows:
            raise Inconclusive(
                f"{point.id}: there is no row to read, so nothing could be lost or kept.",
                remedy="Put some rows into this environment.",
            )
        verdicts: list[Verdict] = []
        for cell in chosen(shape, context.settings.get("fault_matrix", "default")):
            context.progress(f"{point.id}: {cell.name}")
            verdict = self._cell(ref, measure, cell, trials)
            if verdict.complaints and not verdict.trial.stuck:
                # Somebody else may have changed the rows, or this machine may have been too busy for its timeouts:
                # only what shows again is a finding; rows that are lost although nothing changed need no second time.
                fresh, _, _ = trials.slice(ref, columns, keys, landing.rows)
                steady, measure = fresh.rows == measure.rows, fresh
                if not (steady and verdict.outcome in ("lost", "duplicated", "changed")):
                    trials.patience *= 2
                    verdict = self._cell(ref, measure, cell, trials)
            verdicts.append(verdict)
            yield from _findings(point, cell, verdict)
            if verdict.trial.stuck:
                break  # its thread still holds the connector: more cells would only add to it
        for code, message, observed in habits(verdicts):
            yield Finding(code, f"{point.id}: {message}", observed=observed)
        yield from _left_behind(point, trials, len(verdicts))
        if shape.protocol == "tls":
            yield Finding(
                "resilience.http_not_tried",
                f"{point.id}: TLS could not be ended between connector and system, so only faults below it were tried.",
                expected="faults of HTTP and below",
                observed="faults below TLS",
            )
        yield Measurement("resilience", _numbers(verdicts, shape.protocol, calm.attempts, len(measure.rows)))

    @staticmethod
    def _cell(ref: str, measure: Slice, cell: Cell, trials: Trials) -> Verdict:
        verdict = judge(cell, measure, trials.trial(ref, measure, cell.faults, take_up=cell.recovers))
        own = any(e.get("status") in (429, 503) and not e.get("faults") for e in verdict.trial.wire)
        if verdict.complaints and own:
            # The system itself asked for a pause, and pauses are cut short here: give it one, and look again.
            trials.rest()
            verdict = judge(cell, measure, trials.trial(ref, measure, cell.faults, take_up=cell.recovers))
        return verdict

    @staticmethod
    def _writes(
        point: IntegrationPoint, evidence: Evidence, context: Context, connector: Connector, trials: Trials
    ) -> Iterator[Result]:
        from weighbridge.checks.ledger import try_writes

        yield from try_writes(point, evidence, context, connector, trials)


def _left_behind(point: IntegrationPoint, trials: Trials, cells: int) -> Iterator[Finding]:
    """What only shows over many sessions: one left behind may be a habit of Python's, half of them is a leak."""
    threads = trials.threads_left()
    if threads >= max(2, cells // 2):
        yield Finding(
            "resilience.thread_leak",
            f"{point.id}: {threads} threads of the connector still run after {cells} sessions were closed.",
            expected=0,
            observed=threads,
            business_effect=EFFECTS["resilience.thread_leak"],
        )
    held, forks = trials.forks_held()
    if held > max(2, forks // 2):
        yield Finding(
            "resilience.memory_leak",
            f"{point.id}: {held} of {forks} sessions are still held in memory after they were closed.",
            expected=0,
            observed=held,
            business_effect=EFFECTS["resilience.memory_leak"],
        )


EFFECTS = {
    "resilience.thread_leak": "The server runs out of threads after some days.",
    "resilience.memory_leak": "The process grows until it is killed.",
    "resilience.stale_answer": "Users decide on old figures that look like new ones.",
    "resilience.credentials_shown": "Whoever reads the logs can log in.",
    "resilience.records_lost": "Records disappear without any message when the network hiccups.",
    "resilience.records_duplicated": "Records are counted twice after a hiccup.",
    "resilience.records_changed": "Wrong values are taken for right ones.",
    "resilience.error_swallowed": "A failure looks like an empty or complete result; nobody notices.",
    "resilience.hangs": "Users wait without end; the job never finishes.",
    "resilience.not_recovered": "Every short disturbance becomes a user's error message.",
    "resilience.deadline_missed": "Users wait much longer than promised before they are told.",
    "resilience.retry_storm": "A hiccup of the system is made an outage by our own calls.",
    "resilience.connection_leak": "Connections run out after some hours of disturbances.",
    "resilience.credentials_followed": "Whoever controls the other host gets the credentials.",
}


def _findings(point: IntegrationPoint, cell: Cell, verdict: Verdict) -> Iterator[Finding]:
    for code, message, expected, observed in verdict.complaints:
        yield Finding(
            code,
            f"{point.id}: under '{cell.name}' {message}",
            expected=expected,
            observed=observed,
            evidence={
                "fault": [dict(f) for f in cell.faults],
                "attempts": verdict.trial.attempts,
                "seconds": round(verdict.trial.seconds, 3),
            },
            business_effect=EFFECTS.get(code, ""),
        )


def _numbers(verdicts: list[Verdict], protocol: str, calm: int, rows: int) -> dict[str, Any]:
    """What the report and the forecast use: outcomes by cell, and attempts for each call that was meant."""
    worst = max((v.amplification for v in verdicts), default=1.0)
    outage = [v.amplification for v in verdicts if not v.cell.recovers and v.cell.kind in ("server_error", "down")]
    return {
        "protocol": protocol,
        "rows": rows,
        "calls_undisturbed": calm,
        "cells": [
            {
                "cell": v.cell.name,
                "fault": v.cell.kind,
                "outcome": v.outcome,
                "error": v.error,
                "attempts": v.trial.attempts,
                "on_the_wire": len(v.trial.wire),
                "pauses": [round(p, 3) for p in v.trial.pauses],
                "seconds": round(v.trial.seconds, 3),
            }
            for v in verdicts
        ],
        "recovered": sum(v.outcome in ("recovered", "taken up") for v in verdicts),
        "clear_errors": sum(v.outcome == "clear error" for v in verdicts),
        "amplification": {"outage": max(outage, default=worst), "worst": worst},
    }
