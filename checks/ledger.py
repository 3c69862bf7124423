"""Books of what was written: every record once at the system, whatever happened to the answers."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from weighbridge.checks.base import Context, Evidence, Finding, Inconclusive, Measurement, Result
from weighbridge.connectors.base import Connector, Incremental, ObjectRef, Writable
from weighbridge.connectors.errors import ConnectorError, RetriableError
from weighbridge.contracts.models import IntegrationPoint

if TYPE_CHECKING:
    from weighbridge.checks._resilience_trial import Trials

__all__ = ["Ledger", "Recipe", "recipe_for", "try_writes"]

RECORDS = 3
KILL_S = 20.0
FATE_UNKNOWN = ("RetriableError", "UnreachableError", "ThrottledError", "ProtocolError", "Garbled")
"""Classes of a record's error after which only the system knows whether it was written."""
Fault = Mapping[str, Any]
LOST_ANSWER: tuple[Fault, ...] = tuple(
    {"type": "lost_answer", "first": 1, "method": method} for method in ("POST", "PATCH", "PUT")
)
HANGING: tuple[Fault, ...] = tuple({"type": "timeout", "method": method} for method in ("POST", "PATCH", "PUT"))


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a practice record of an object is made: a key of its own, and what else a new record needs."""

    column: str
    """Physical name of the text column that carries the key."""
    unique: bool
    """The system keeps it unique, so that it can be upserted by."""
    values: Mapping[str, Any]
    longest: int | None
    """Characters that the key column takes."""

    def key(self, nonce: str, number: int) -> str:
        text = f"WB-{nonce}{number}"
        return text if self.longest is None else text[-self.longest :]

    def record(self, key: str) -> dict[str, Any]:
        """A new record; `{key}` and `{number}` (six digits) in declared values become this record's own."""
        filled = {
            name: value.replace("{key}", key).replace("{number}", key[-6:]) if isinstance(value, str) else value
            for name, value in self.values.items()
        }
        return {**filled, self.column: key}


@dataclass(slots=True)
class Ledger:
    """Records to be written once each; `submit` may be called as often as it takes."""

    object: str
    recipe: Recipe
    keys: list[str] = field(default_factory=list)

    def missing(self, writer: Writable) -> list[str]:
        """Keys that the system does not have."""
        there = self.at_the_system(writer)
        return [key for key in self.keys if not there[key]]

    def at_the_system(self, writer: Writable) -> dict[str, int]:
        """How often the system has each key."""
        found = writer.find(self.object, self.recipe.column, self.keys) if self.keys else []
        counted = dict.fromkeys(self.keys, 0)
        for record in found:
            key = str(record.get(self.recipe.column))
            if key in counted:
                counted[key] += 1
        return counted

    def submit(self, writer: Writable) -> int:
        """Write what the system does not have yet; returns how many. Raises Inconclusive when it refuses a record."""
        wanted = self.missing(writer)
        if wanted:
            self.send(writer, wanted)
        return len(wanted)

    def send(self, writer: Writable, keys: Sequence[str], *, upsert: bool = True) -> None:
        """Write the records without looking first."""
        by = self.recipe.column if upsert and self.recipe.unique else None
        outcomes = writer.write(self.object, [self.recipe.record(key) for key in keys], key=by)
        refused = next((o for o in outcomes if not o.ok), None)
        if refused is not None and refused.error_class in FATE_UNKNOWN:
            raise RetriableError(f"{self.object}: {refused.error}")
        if refused is not None:
            raise Inconclusive(
                f"{self.object}: the system refused the practice record: {refused.error}",
                remedy="Declare what a new record needs as customProperty weighbridge.write_values.",
            )

    def clean(self, writer: Writable) -> int:
        """Remove every record of this ledger; returns how many are still there, looked up afterwards."""
        found = writer.find(self.object, self.recipe.column, self.keys) if self.keys else []
        if found:
            writer.delete(self.object, found)
        return sum(self.at_the_system(writer).values())


def recipe_for(point: IntegrationPoint, evidence: Evidence, *, stamped: str | None = None) -> Recipe | None:
    """A recipe from the contract's custom properties, else from its unique text column and a row that is there.

    `stamped` is the column that the system itself sets when a record changes.
    """
    custom = point.object.custom
    wanted = custom.get("weighbridge.write_key")
    texts = [p for p in point.object.properties if p.logical_type in (None, "string") and not p.primary_key]
    if wanted is not None:
        column = next((p for p in point.object.properties if p.name == wanted), None)
    else:
        column = next((p for p in texts if p.unique), None)
    if column is None:
        return None
    given = custom.get("weighbridge.write_values")
    if isinstance(given, str):
        given = json.loads(given)
    names: dict[str, str] = {p.name: p.physical_name for p in point.object.properties}
    if given is not None:
        values: dict[str, Any] = {names.get(str(name), str(name)): value for name, value in dict(given).items()}
    else:
        values = _from_a_row(point, evidence, (column.name, stamped))
    known = evidence.schema.column(column.physical_name)
    longest = column.options.get("maxLength") or (known.length if known else None)
    unique = column.unique or bool(known and known.unique)
    return Recipe(column.physical_name, unique, values, None if longest is None else int(longest))


def _from_a_row(point: IntegrationPoint, evidence: Evidence, without: Sequence[str | None]) -> dict[str, Any]:
    """The required values of the first row: what the system took once it will take again."""
    landing = evidence.landing
    wanted = [
        p.physical_name
        for p in point.object.properties
        if p.required and not p.primary_key and not p.unique and not {p.name, p.physical_name} & {*without}
    ]
    wanted = [name for name in wanted if name in landing.columns]
    if not wanted or not landing.rows:
        return {}
    columns = ", ".join('"' + name.replace('"', '""') + '"' for name in wanted)
    database = landing.connect()
    try:
        rows = database.execute(f'SELECT {columns} FROM "{landing.table}" ORDER BY _wb_row LIMIT 1').fetchall()
    finally:
        database.close()
    return {name: value for name, value in zip(wanted, rows[0], strict=True) if value is not None}


# --- the trials of the check `resilience` -------------------------------------------------------------------------


def try_writes(
    point: IntegrationPoint, evidence: Evidence, context: Context, connector: Connector, trials: Trials
) -> Iterator[Result]:
    """Submit twice, lose the answer, kill between send and answer; reconcile at the system; clean up and prove it."""
    if not context.permissions.writes or connector.facet(Writable) is None:
        return
    ref = ObjectRef(point.object.physical_name, point.object.filter)
    changes = connector.facet(Incremental)
    recipe = recipe_for(point, evidence, stamped=changes.watermark(ref) if changes else None)
    if recipe is None:
        yield Finding(
            "resilience.writes_not_tried",
            f"{point.id}: writing is allowed, but the contract names no column that can carry a key of our own.",
            expected="a unique text column",
            observed=None,
        )
        return
    session = _Writing(context, trials)
    stages: list[dict[str, Any]] = []
    ledgers: list[Ledger] = []
    nonce = f"{context.now():%y%m%d}-{int(context.now().timestamp()) % 100_000:05}"
    tried: list[tuple[str, Callable[[_Writing, Ledger], str]]] = [
        ("submitted twice", _twice),
        ("answer lost", _answer_lost),
        ("killed before the answer", _killed),
    ]
    try:
        for place, (name, stage) in enumerate(tried):
            context.progress(f"{point.id}: write, {name}")
            ledger = Ledger(ref, recipe, [recipe.key(nonce, place * RECORDS + n) for n in range(RECORDS)])
            ledgers.append(ledger)
            note = stage(session, ledger)
            with session.writer() as writer:
                counted = ledger.at_the_system(writer)
            stages.append({"stage": name, "records": len(ledger.keys), "note": note, "at_the_system": counted})
            yield from _reconciled(point, name, counted)
    finally:
        left = _cleaned(session, ledgers)
    if left:
        yield Finding(
            "resilience.not_cleaned_up",
            f"{point.id}: {left} practice records could not be removed.",
            expected=0,
            observed=left,
            evidence={"column": recipe.column, "keys": [key for ledger in ledgers for key in ledger.keys]},
        )
    yield Measurement("ledger", {"column": recipe.column, "stages": stages, "left_behind": left})


class _Writing:
    """Opens forks that may write, through the fault lines."""

    def __init__(self, context: Context, trials: Trials) -> None:
        self.context = context
        self.trials = trials

    def writer(self) -> _Fork:
        return _Fork(self)


class _Fork:
    def __init__(self, writing: _Writing) -> None:
        self._writing = writing
        self._connector: Connector | None = None

    def __enter__(self) -> Any:
        from weighbridge.checks._resilience_trial import Pauses

        patient = self._writing.context.session.timeout  # nothing hangs here, and a write may take its time
        session = self._writing.trials.session(Pauses(), writes_allowed=True, timeout=patient)
        self._connector = self._writing.trials.fork(session)
        return self._connector

    def __exit__(self, *_: object) -> None:
        if self._connector is not None:
            with suppress(ConnectorError):  # the connection may just have been reset on purpose
                self._connector.close()


def _twice(writing: _Writing, ledger: Ledger) -> str:
    with writing.writer() as writer:
        ledger.submit(writer)
        again = ledger.submit(writer)
        if ledger.recipe.unique:
            ledger.send(writer, ledger.keys)
    return f"{again} written by the second submission"


def _answer_lost(writing: _Writing, ledger: Ledger) -> str:
    """The system commits, the answer is lost; what the connector does by itself shows in the count."""
    error = "none"
    with writing.writer() as writer:
        ledger.missing(writer)  # logged in and connected: what is struck now is the write
        writing.trials.plan(*_lost(writing))
        try:
            ledger.send(writer, ledger.keys, upsert=False)
        except RetriableError as lost:
            error = type(lost).__name__
        finally:
            writing.trials.clear()
    with writing.writer() as writer:
        again = ledger.submit(writer)
    return f"error {error}; {again} of {len(ledger.keys)} had to be sent again"


def _lost(writing: _Writing) -> Sequence[Fault]:
    speaks_http = any(e.get("protocol") == "http" for e in writing.trials.entries())
    return LOST_ANSWER if speaks_http else ({"type": "reset_peer", "first": 1},)


def _killed(writing: _Writing, ledger: Ledger) -> str:
    """Another process sends and is killed with SIGKILL before it hears; a new one takes up the work."""
    note = _send_and_die(writing, ledger)
    with writing.writer() as writer:
        again = ledger.submit(writer)
    return f"{note}; {again} of {len(ledger.keys)} had to be sent again"


_CHILD = """
import pickle, sys
from weighbridge.connectors.session import Endpoint, Session
kind, options, system, environment, routes, ledger = pickle.load(sys.stdin.buffer)
session = Session(system=system, environment=environment, writes_allowed=True, timeout=60.0)
session.route = lambda end: routes.get((end.host, end.port), end)
connector = kind(options, session)
connector.open()
ledger.missing(connector)
print("ready", flush=True)
sys.stdin.buffer.readline()
ledger.send(connector, ledger.keys)
"""


def _send_and_die(writing: _Writing, ledger: Ledger) -> str:
    trials = writing.trials
    connector = trials.connector
    routes = {place: line.endpoint for place, line in trials.lines.items()}
    session = writing.context.session
    try:
        job = pickle.dumps((type(connector), connector.options, session.system, session.environment, routes, ledger))
    except (pickle.PicklingError, AttributeError, TypeError):
        return "not killed: this connector cannot be rebuilt in another process"
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert child.stdin is not None  # noqa: S101 - both are pipes, as asked for above
        assert child.stdout is not None  # noqa: S101
        with suppress(BrokenPipeError):  # a child that could not start says so by ending
            child.stdin.write(job)
            child.stdin.flush()
        if child.stdout.readline().strip() != b"ready":
            return "not killed: the connector could not be opened in another process"
        since = trials.now()
        speaks_http = any(e.get("protocol") == "http" for e in trials.entries())
        trials.plan(*(HANGING if speaks_http else ({"type": "timeout"},)))
        child.stdin.write(b"go\n")
        child.stdin.flush()
        deadline = time.monotonic() + KILL_S
        while not trials.seen(since, ("fault",)) and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        struck = bool(trials.seen(since, ("fault",)))
    finally:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        trials.clear()
    return "killed before the answer" if struck else "killed before anything was sent"


def _reconciled(point: IntegrationPoint, stage: str, counted: Mapping[str, int]) -> Iterator[Finding]:
    lost = [key for key, n in counted.items() if n == 0]
    twice = [key for key, n in counted.items() if n > 1]
    if lost:
        yield Finding(
            "resilience.write_lost",
            f"{point.id}: write, {stage}: {len(lost)} of {len(counted)} records are not at the system.",
            expected=len(counted),
            observed=len(counted) - len(lost),
            evidence={"keys": lost},
            business_effect="Orders or changes that somebody entered do not exist.",
        )
    if twice:
        yield Finding(
            "resilience.write_repeated",
            f"{point.id}: write, {stage}: {len(twice)} of {len(counted)} records are at the system more than once.",
            expected=1,
            observed=max(counted.values()),
            evidence={"keys": twice},
            business_effect="Orders or changes are carried out twice.",
        )


def _cleaned(writing: _Writing, ledgers: Sequence[Ledger]) -> int:
    writing.trials.clear()
    left = 0
    with writing.writer() as writer:
        for ledger in ledgers:
            left += ledger.clean(writer)
    return left
