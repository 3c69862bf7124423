"""With the system down: does the configured fallback answer, how old is what it says, and does it say so?

Part of the check `resilience`: the fault lines refuse every connection to the system while the fallback is asked.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from weighbridge.checks._fallback_ask import Answer, Unanswered, ask_file, ask_system, ask_url, place_of
from weighbridge.checks._resilience_trial import Trials
from weighbridge.checks.base import Code, Context, Evidence, Finding, Inconclusive, Measurement, Result, Severity
from weighbridge.checks.program import end_program
from weighbridge.connectors.base import ObjectRef
from weighbridge.connectors.errors import BudgetExceeded, ConnectorError
from weighbridge.connectors.session import Endpoint
from weighbridge.contracts.models import IntegrationPoint

__all__ = ["CODES", "EFFECTS", "PLACES", "try_fallback", "wanted_fallback"]

PLACES = ("system", "url", "file")
KEYS = 100
READY_S = 60.0
CLOCK_SKEW = timedelta(minutes=5)
_PER_OBJECT = ("object", "age_column", "age_field", "age_header", "label", "label_column", "max_age_h")
"""What a contract may say of its object's fallback; where it lies is said in weighbridge.toml only, for a contract may
come from a stranger."""

CODES = (
    Code(
        "resilience.fallback_silent",
        Severity.BREAK,
        "Put the fallback where it does not need the system, fill it by a job that is watched, and try it again.",
    ),
    Code(
        "resilience.fallback_too_old",
        Severity.BREAK,
        "Refresh the copy more often, watch the job that does, or allow more in max_age_h.",
    ),
    Code(
        "resilience.fallback_unlabelled",
        Severity.WARN,
        "Give every answer of the fallback the time it is from, and show that to the user.",
    ),
    Code(
        "resilience.fallback_age_unknown",
        Severity.WARN,
        "Keep the time of refresh in the copy, and name it as age_column, age_field or age_header.",
    ),
    Code(
        "resilience.fallback_incomplete",
        Severity.WARN,
        "Find out why the copy lacks records that the system has, and fill it whole.",
    ),
    Code(
        "resilience.fallback_answered",
        Severity.INFO,
        "Nothing to do. Name max_age_h where nothing says how old an answer may be.",
    ),
    Code(
        "resilience.fallback_not_tried",
        Severity.INFO,
        "Name where it is: fallback = {system = ...}, {url = ...} or {file = ...} in [systems.NAME].",
    ),
)
EFFECTS = {
    "resilience.fallback_silent": "While the system is down users get an error, although everybody counts on a copy.",
    "resilience.fallback_too_old": "Decisions are made on figures that are older than anybody agreed to.",
    "resilience.fallback_unlabelled": "Old figures look like new ones; nobody knows that the system is down.",
    "resilience.fallback_age_unknown": "Nobody can say how old the figures are that users get.",
    "resilience.fallback_incomplete": "Some records do not exist while the system is down.",
}


def wanted_fallback(point: IntegrationPoint, settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the configuration says of the point's fallback, with what its contract adds; None where nothing is named."""
    said = settings.get("fallback")
    if not said:
        return None
    table = {"words": said} if isinstance(said, str) else {k: v for k, v in dict(said).items() if v is not None}
    own = point.object.custom.get("weighbridge.fallback")
    if isinstance(own, Mapping):
        table |= {k: v for k, v in own.items() if k in _PER_OBJECT}
    return table


def try_fallback(
    point: IntegrationPoint, evidence: Evidence, context: Context, trials: Trials | None
) -> Iterator[Result]:
    """Ask the fallback while the system is down; nothing where none is named. `trials` None: there is no network."""
    wanted = wanted_fallback(point, context.settings)
    if wanted is None:
        return
    place = next((p for p in PLACES if wanted.get(p)), None)
    if place is None:
        words = str(wanted.get("words", ""))
        yield _untried(point, f"its fallback is only described in words ('{words[:80]}'), so nothing could be asked.")
        return
    context.progress(f"{point.id}: fallback")
    try:
        with ExitStack() as stack:
            if wanted.get("command"):
                quiet = stack.enter_context(_behind_the_fault(point, wanted, context))
                if quiet is not None:
                    yield _untried(point, quiet)
                    return
            elif trials is not None:
                stack.enter_context(_down(trials))
            answer = _asked(point, evidence, context, wanted, trials)
    except Unanswered as why:
        yield _finding("resilience.fallback_silent", f"{point.id}: with the system down, {why}.", "an answer", "none")
        yield Measurement("fallback", {"place": place, "answered": False})
        return
    yield from _judged(point, answer, wanted, context.now())
    age = None if answer.as_of is None else (context.now() - answer.as_of).total_seconds()
    yield Measurement(
        "fallback",
        {
            "place": place,
            "answered": True,
            "source": answer.source,
            "rows": answer.rows,
            "age_s": None if age is None else round(age),
            "aged_by": answer.aged_by,
            "label": answer.label,
            "keys_asked": answer.asked_keys,
            "keys_missing": len(answer.missing_keys),
        },
    )


@contextmanager
def _down(trials: Trials) -> Iterator[None]:
    """Nothing reaches the system through the lines; proved by knocking."""
    trials.plan({"type": "down"})
    try:
        for line in trials.lines.values():
            end = line.endpoint
            with suppress(OSError), socket.create_connection((end.host, end.port), timeout=2):
                raise Inconclusive("the system could not be taken down by the fault proxy, so no fallback was needed.")
        yield
    finally:
        trials.clear()


def _asked(
    point: IntegrationPoint, evidence: Evidence, context: Context, wanted: Mapping[str, Any], trials: Trials | None
) -> Answer:
    zone = point.contract.default_timezone
    keys = _sample(evidence)
    lines = trials.lines if trials is not None else {}
    if wanted.get("system"):
        copy = str(wanted.get("object") or point.object.physical_name)
        return _system(str(wanted["system"]), copy, context, trials, wanted, keys, zone)
    name = str(wanted.get("object") or point.object.name)
    if wanted.get("url"):
        url = place_of(str(wanted["url"]), name)
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if (parts.hostname, port) in lines:
            raise Unanswered(f"the fallback is gone too: {parts.hostname}:{port} is the system itself")
        return ask_url(url, wanted, zone, context.now())
    path = Path(str(context.settings.get("folder") or ".")) / place_of(str(wanted["file"]), name)
    return ask_file(path, wanted, keys, zone)


def _system(
    name: str,
    object: str,
    context: Context,
    trials: Trials | None,
    wanted: Mapping[str, Any],
    keys: Mapping[str, Sequence[str]],
    zone: str,
) -> Answer:
    if context.system is None:
        raise Inconclusive("no other system can be opened here.", remedy="Run through weighbridge.")
    route = (lambda end: end) if trials is None else trials.route
    try:
        with closing(context.system(name, route)) as connector:
            shared = trials is not None and any((e.host, e.port) in trials.lines for e in connector.endpoints())
            if shared:
                raise Unanswered(f"the fallback {name} is gone too: it is reached at the same address as the system")
            connector.open()
            return ask_system(connector, ObjectRef(object), wanted, keys, zone)
    except BudgetExceeded:
        raise
    except ConnectorError as error:
        raise Unanswered(f"the fallback {name} did not answer: {type(error).__name__}: {error.message}") from None


def _sample(evidence: Evidence) -> dict[str, list[str]]:
    """Key column -> values as text of some rows spread over what the system itself has."""
    landing = evidence.landing
    names = [c for c in landing.keys if c in landing.columns]
    if not names or not landing.rows:
        return {}
    step = -(-landing.rows // KEYS)
    columns = ", ".join('"' + n.replace('"', '""') + '"' for n in names)
    with closing(landing.connect()) as database:
        rows = database.execute(
            f'SELECT {columns} FROM "{landing.table}" WHERE _wb_row % {step} = 0 ORDER BY _wb_row LIMIT {KEYS}'
        ).fetchall()
    return {name: [str(row[place]) for row in rows] for place, name in enumerate(names)}


# --- judged -----------------------------------------------------------------------------------------------------------


def _judged(point: IntegrationPoint, answer: Answer, wanted: Mapping[str, Any], now: datetime) -> Iterator[Finding]:
    if answer.rows == 0:
        says = f"{point.id}: with the system down, {answer.source} answers without a single row."
        yield _finding("resilience.fallback_silent", says, "rows", 0)
        return
    most = wanted.get("max_age_h")
    age = None if answer.as_of is None else now - answer.as_of
    rows = "" if answer.rows is None else f" with {answer.rows:,} rows"
    if age is None or age < -CLOCK_SKEW:
        why = "lies in the future" if age is not None else "is told by nothing"
        says = f"{point.id}: with the system down, {answer.source} answers{rows}, and its age {why}."
        yield _finding("resilience.fallback_age_unknown", says, "a time", str(answer.as_of or "none"))
    elif most is not None and age > timedelta(hours=float(most)):
        says = (
            f"{point.id}: with the system down, {answer.source} answers{rows} of {_span(age)} ago "
            f"({answer.aged_by}); {float(most):g} h are allowed."
        )
        yield _finding("resilience.fallback_too_old", says, f"<= {float(most):g} h", _span(age))
    else:
        limit = "nothing says how old it may be" if most is None else f"{float(most):g} h are allowed"
        says = f"{point.id}: with the system down, {answer.source} answers{rows} of {_span(age)} ago; {limit}."
        yield _finding("resilience.fallback_answered", says, limit, _span(age))
    if answer.label is None:
        says = f"{point.id}: nothing in the answer of {answer.source} says that it is not a live one."
        yield _finding("resilience.fallback_unlabelled", says, "a time or a word in the answer", "none")
    if answer.missing_keys:
        says = (
            f"{point.id}: of {answer.asked_keys} records that the system has, {answer.source} lacks "
            f"{len(answer.missing_keys)}."
        )
        yield _finding(
            "resilience.fallback_incomplete", says, answer.asked_keys, answer.asked_keys - len(answer.missing_keys)
        )


def _finding(code: str, message: str, expected: Any, observed: Any) -> Finding:
    return Finding(code, message, expected=expected, observed=observed, business_effect=EFFECTS.get(code, ""))


def _untried(point: IntegrationPoint, why: str) -> Finding:
    return _finding("resilience.fallback_not_tried", f"{point.id}: {why}", "an answer", "not tried")


def _span(age: timedelta) -> str:
    hours = age.total_seconds() / 3600
    if hours < 1:
        return f"{max(0.0, hours * 60):.0f} min"
    return f"{hours:.1f} h" if hours < 72 else f"{hours / 24:.1f} days"


# --- a program of the user's that falls back by itself ----------------------------------------------------------------


@contextmanager
def _behind_the_fault(point: IntegrationPoint, wanted: Mapping[str, Any], context: Context) -> Iterator[str | None]:
    """The program of `command`, started with the system up and then down; yields why nothing would be shown, or None.

    It finds the system at WEIGHBRIDGE_PROXY_HOST, _PORT and _URL, or as {host}, {port}, {url} in its arguments.
    """
    if not wanted.get("url"):
        yield "command is given without url: nothing says where the program answers."
        return
    ends: Sequence[Endpoint] = context.connector().endpoints()
    if context.faults is None or not ends:
        yield "the system has no network endpoint that could be taken away from the program."
        return
    url = place_of(str(wanted["url"]), str(wanted.get("object") or point.object.name))
    faults: Any = context.faults
    tls = {"tls": "plain", "host_header": ends[0].host} if ends[0].tls else {}
    with faults.between(ends[0], **tls) as line, _started(str(wanted["command"]), line.endpoint, context) as program:
        until = time.monotonic() + READY_S
        while True:
            try:
                ask_url(url, {}, "UTC", context.now())
                break
            except Unanswered as why:
                if program.poll() is not None or time.monotonic() > until:
                    raise Inconclusive(
                        f"{point.id}: the program of the fallback does not answer even with the system up: {why}.",
                        remedy="See that fallback.command starts it and fallback.url asks it.",
                    ) from None
                time.sleep(0.1)
        if not any(e["event"] in ("exchange", "connection") for e in line.journal()) and not line.open_links:
            yield (
                f"the program never called the system at {line.endpoint.host}:{line.endpoint.port}: it must take the "
                "address from WEIGHBRIDGE_PROXY_URL."
            )
            return
        line.plan({"type": "down"})
        yield None


@contextmanager
def _started(command: str, at: Any, context: Context) -> Iterator[subprocess.Popen[bytes]]:
    url = f"{'https' if at.tls else 'http'}://{at.host}:{at.port}"
    words = [
        w.replace("{url}", url).replace("{host}", at.host).replace("{port}", str(at.port)) for w in shlex.split(command)
    ]
    environment = {
        **os.environ,
        "WEIGHBRIDGE_PROXY_URL": url,
        "WEIGHBRIDGE_PROXY_HOST": at.host,
        "WEIGHBRIDGE_PROXY_PORT": str(at.port),
    }
    try:
        program = subprocess.Popen(
            words,
            cwd=context.settings.get("folder") or None,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        raise Inconclusive(f"the program of the fallback could not be started ({error.strerror}): {words[0]}") from None
    try:
        yield program
    finally:
        end_program(program)
