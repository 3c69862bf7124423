"""Reads a slice of a point through fault lines and notes what became of it: rows, error, attempts, pauses, time."""

from __future__ import annotations

import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from weighbridge.checks._resilience_cells import Shape
from weighbridge.checks.base import Context, FaultLine, Inconclusive
from weighbridge.connectors.base import Connector
from weighbridge.connectors.errors import ConnectorError, RetriableError
from weighbridge.connectors.session import Endpoint, Meter, Retry, Session

__all__ = ["POLICY", "Slice", "Trial", "Trials", "opened"]

POLICY = Retry(attempts=4, base=0.05, cap=0.4, deadline=8.0)
SHORTEST_S, LONGEST_S = 0.5, 3.0
"""Bounds of the timeout of one attempt under faults: several undisturbed attempts long, yet a hang costs little."""
SLEPT_S = 0.01
"""Longest pause really slept; what was asked for is noted in full."""
COLLECTED_S = 3.0
"""What is still held after so many seconds of asking is no matter of the collector's timing."""
HABIT = 2
"""Sessions that Python may keep without anybody leaking."""
SETTLE_S = 1.0
CLOSING_S = 6.0
"""Seconds for the proxy to see the end of a closed connection: on a busy machine one was once too few."""
REST_S = 6.0
SHORTEST_SECRET = 6
PAGES = 3
ROWS = 600


@dataclass(frozen=True, slots=True)
class Slice:
    """The first rows of the object as an undisturbed read gave them."""

    columns: tuple[str, ...]
    keys: tuple[int, ...]
    """Places of the key columns among `columns`."""
    rows: tuple[tuple[Any, ...], ...]
    whole: bool
    """The slice is the whole object: a read must also end behind it."""


@dataclass(slots=True)
class Trial:
    """What became of one read under one fault."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    ended: bool = False
    """The read came to its own end."""
    error: BaseException | None = None
    hung: bool = False
    stuck: bool = False
    """It did not even end when the fault was lifted."""
    taken_up: bool = False
    """A retriable error came, and a second read from there on completed it."""
    first_error: BaseException | None = None
    cursor: str | None = None
    seconds: float = 0.0
    patience: float = 0.0
    """Timeout of one attempt that it was given."""
    attempts: int = 0
    retries: int = 0
    wire: tuple[Mapping[str, Any], ...] = ()
    """Exchanges (or connections) as the proxy saw them."""
    pauses: tuple[float, ...] = ()
    open_links: int = 0
    """Connections still open after close."""
    credentials_followed: bool = False
    credentials_shown: str | None = None
    """Where a secret of the connector's options stood: a log record or the error's text."""


class Pauses:
    """A sleep that notes what was asked for and sleeps a little of it."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.skipped = 0.0

    def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        slept = min(seconds, SLEPT_S)
        self.skipped += seconds - slept
        time.sleep(slept)

    def clock(self) -> float:
        """Time as if every pause had been slept in full, so that deadlines hold."""
        return time.monotonic() + self.skipped


@contextmanager
def opened(context: Context, connector: Connector) -> Iterator[Trials]:
    """A fault line in front of each endpoint of the connector, for the length of the block.

    TLS is ended in between where the connector can be told whom to trust (its option `ca_file`), which takes one more
    login; else it passes through untouched, and only the faults below HTTP can be tried.
    """
    faults = context.faults
    if faults is None:
        raise Inconclusive("no fault proxy is at hand, so no fault could be tried.", remedy="Run through weighbridge.")
    ends = list(dict.fromkeys(connector.endpoints()))
    with ExitStack() as stack:
        trusting = _trusting(context, connector, stack) if any(end.tls for end in ends) else None
        if trusting is not None:
            proxy, options = trusting
            with ExitStack() as attempt:
                trials = Trials(context, _lines(proxy, ends, attempt))
                twin = type(connector)(options, context.session.fork(route=trials.route))
                try:
                    twin.open()
                    twin.probe()
                except ConnectorError:
                    twin.close()  # it asks for a client certificate, for instance: TLS has to pass through
                else:
                    attempt.callback(twin.close)
                    trials.source = twin
                    stack.enter_context(attempt.pop_all())
                    yield trials
                    return
        yield Trials(context, _lines(faults, ends, stack))


def _lines(faults: Any, ends: Sequence[Endpoint], stack: ExitStack) -> dict[tuple[str, int], FaultLine]:
    return {(end.host, end.port): stack.enter_context(faults.between(end)) for end in ends}


def _trusting(context: Context, connector: Connector, stack: ExitStack) -> tuple[Any, Any] | None:
    """A proxy that ends TLS, and the connector's options with trust in it; None where either cannot be had."""
    make = getattr(context.faults, "with_authority", None)
    if make is None or "ca_file" not in type(connector.options).model_fields:
        return None
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="fault-ca-", dir=context.folder)))
    proxy = make(folder, upstream_ca=getattr(connector.options, "ca_file", None))
    return proxy, connector.options.model_copy(update={"ca_file": str(proxy.ca_file)})


class Trials:
    """Runs reads through the lines."""

    def __init__(self, context: Context, lines: Mapping[tuple[str, int], FaultLine]) -> None:
        self.context = context
        self.lines = lines
        self.source: Connector | None = None
        """The connector that forks are made of, where it is not the point's own."""
        self.patience = context.session.timeout
        self._trials = 0
        self._forks: list[weakref.ref[Connector]] = []
        self._threads: set[int] = set()
        """Threads of the connector's own that were there before."""
        self._secrets = _secrets(context.connector().options)
        self._threads = {id(t) for t in self._own_threads()}

    def forks_held(self) -> tuple[int, int]:
        """Of the forks that were closed, how many something still holds; and how many there were."""
        deadline = time.monotonic() + COLLECTED_S
        while True:
            gc.collect()  # does nothing where a collection begun by another thread is still under way
            held = sum(fork() is not None for fork in self._forks)
            if held <= HABIT or time.monotonic() > deadline:
                return held, len(self._forks)
            time.sleep(0.05)

    def threads_left(self) -> int:
        """Threads that the connector's code has started since and that still run."""
        deadline = time.monotonic() + SETTLE_S
        while (left := sum(id(t) not in self._threads for t in self._own_threads())) and time.monotonic() < deadline:
            time.sleep(0.02)
        return left

    def _own_threads(self) -> list[threading.Thread]:
        modules = {base.__module__ for base in type(self.connector).__mro__} - _NOT_ITS_OWN
        # What a thread runs is told by no public attribute; other systems' threads must not be counted.
        targets = [(t, getattr(t, "_target", None)) for t in threading.enumerate()]
        return [t for t, target in targets if {getattr(target, "__module__", ""), type(t).__module__} & modules]

    @property
    def connector(self) -> Connector:
        return self.source or self.context.connector()

    def fork(self, session: Session) -> Connector:
        """A fork under the session, whose connections go through the lines."""
        return self.context.connector(session) if self.source is None else self.source.fork(session)

    @property
    def hang_after(self) -> float:
        """Seconds after which a read hangs: beyond its deadline, and every attempt of two reads timed out."""
        return max(2 * POLICY.attempts * self.patience, POLICY.deadline + self.patience) + 3

    def route(self, endpoint: Endpoint) -> Endpoint:
        line = self.lines.get((endpoint.host, endpoint.port))
        return endpoint if line is None else line.endpoint

    def session(self, pauses: Pauses, **changes: Any) -> Session:
        session = self.context.session
        self._trials += 1
        settings: dict[str, Any] = {"timeout": min(session.timeout, self.patience), **changes}
        return session.fork(
            route=self.route,
            retry=POLICY,
            meter=Meter(),
            sleep=pauses.sleep,
            clock=pauses.clock,
            random=Random(f"{self.context.seed}:{self._trials}"),  # noqa: S311 - spreads retries, guards nothing
            **settings,
        )

    def plan(self, *faults: Mapping[str, Any]) -> None:
        for line in self.lines.values():
            line.plan(*faults)

    def clear(self) -> None:
        for line in self.lines.values():
            line.clear()

    def rest(self) -> None:
        """Leave the system alone for as long as a rate limit's window usually is."""
        time.sleep(REST_S)

    def entries(self) -> list[Mapping[str, Any]]:
        return sorted((e for line in self.lines.values() for e in line.journal()), key=lambda e: e["at"])

    def seen(self, since: float, event: tuple[str, ...] = ("exchange", "connection")) -> tuple[Mapping[str, Any], ...]:
        return tuple(e for e in self.entries() if e["event"] in event and e["at"] >= since)

    def now(self) -> float:
        """The place in the journal up to which everything is known."""
        entries = self.entries()
        return entries[-1]["at"] + 1e-9 if entries else 0.0

    # --- reading

    def slice(self, ref: str, columns: Sequence[str], keys: Sequence[str], rows: int) -> tuple[Slice, Shape, Trial]:
        """Read undisturbed, through the lines: the measure of all that follows. Raises the connector's own error."""
        self.clear()
        self.patience = self.context.session.timeout
        since = self.now()
        page_rows = max(1, min(200, -(-rows // PAGES)))
        trial = self._run(lambda t, s: self._read(t, s, ref, columns, page_rows, ROWS))
        if trial.error is not None:
            raise trial.error
        wire = self.seen(since)
        shape = Shape(
            protocol=str(wire[0]["protocol"]) if wire else "",
            exchanges=len(wire),
            received=sum(int(e.get("received") or 0) for e in wire),
        )
        self.patience = min(max(6 * trial.seconds / max(1, trial.attempts), SHORTEST_S), LONGEST_S)
        places = tuple(columns.index(k) for k in keys)
        return Slice(tuple(columns), places, tuple(trial.rows), trial.ended), shape, trial

    def trial(self, ref: str, measure: Slice, faults: Sequence[Mapping[str, Any]], *, take_up: bool) -> Trial:
        """Read the slice under the faults; with `take_up`, a retriable error is answered by reading on from there."""
        self.plan(*faults)
        since = self.now()
        wanted = len(measure.rows) + (1 if measure.whole else 0)
        page_rows = max(1, min(200, -(-len(measure.rows) // PAGES)))

        def work(trial: Trial, session: Session) -> None:
            try:
                self._read(trial, session, ref, measure.columns, page_rows, wanted)
            except RetriableError as error:
                if not take_up:
                    raise
                trial.first_error = _light(error)
                self._read(trial, session, ref, measure.columns, page_rows, wanted, after=trial.cursor)
                trial.taken_up = True

        trial = self._run(work)
        self.clear()
        trial.wire = self.seen(since)
        trial.credentials_followed = any(e.get("credentials") for e in self.seen(since, ("elsewhere",)))
        return trial

    def _read(
        self,
        trial: Trial,
        session: Session,
        ref: str,
        columns: Sequence[str],
        page_rows: int,
        wanted: int,
        after: str | None = None,
    ) -> None:
        if after is None:
            trial.rows.clear()  # nothing to take up from: from the beginning again
        fork = self.fork(session)
        with suppress(TypeError):  # a class with slots may not allow it
            self._forks.append(weakref.ref(fork))
        try:
            pages = fork.read(ref, columns=list(columns), page_rows=page_rows, after=after)
            for page in islice(pages, 10_000):
                table = page.batch.select(list(columns))
                values = [_plain(table.column(i)) for i in range(len(columns))]
                trial.rows += zip(*values, strict=True) if columns else []
                trial.cursor = page.cursor
                if len(trial.rows) >= wanted:
                    return
            trial.ended = True
        finally:
            fork.close()

    def _run(self, work: Callable[[Trial, Session], None]) -> Trial:
        trial, pauses = Trial(), Pauses()
        session = self.session(pauses)

        def guarded() -> None:
            try:
                work(trial, session)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is the trial's outcome, and is judged
                trial.error = _light(error)

        thread = threading.Thread(target=guarded, name="weighbridge-trial", daemon=True)
        trial.patience = self.patience
        started = time.monotonic()
        with _listening(type(self.connector).__module__) as heard:
            thread.start()
            thread.join(self.hang_after)
        trial.credentials_shown = self._shown(trial, heard)
        trial.hung = thread.is_alive()
        trial.seconds = time.monotonic() - started + pauses.skipped
        if trial.hung:
            self.clear()
            for line in self.lines.values():
                getattr(line, "drop", lambda: None)()
            thread.join(SETTLE_S)
            trial.stuck = thread.is_alive()
        trial.attempts, trial.retries = session.meter.attempts, session.meter.retries
        trial.pauses = tuple(pauses.asked)
        self.clear()
        trial.open_links = self._left_open()
        return trial

    def _shown(self, trial: Trial, heard: Sequence[str]) -> str | None:
        texts = [("its log", text) for text in heard]
        if trial.error is not None:
            texts.append(("its error", f"{trial.error} {trial.error!r}"))
        return next((place for place, text in texts if any(secret in text for secret in self._secrets)), None)

    def _left_open(self) -> int:
        """Connections still open a moment after everything was closed."""
        deadline = time.monotonic() + CLOSING_S
        while True:
            left = sum(int(getattr(line, "open_links", 0)) for line in self.lines.values())
            if left == 0 or time.monotonic() > deadline:
                return left
            if time.monotonic() > deadline - CLOSING_S / 2:
                gc.collect()  # a cycle is no leak
            time.sleep(0.01)


_LEVELS: dict[str, tuple[int, int]] = {}
"""Listeners of each logger, and its level before the first."""
_LEVELS_LOCK = threading.Lock()
_NOT_ITS_OWN = {"builtins", "abc", "typing", "weighbridge.connectors.base"}


def _secrets(options: Any) -> tuple[str, ...]:
    """The connector's secrets that are long enough to be told from words."""
    found = [getattr(options, name) for name in type(options).model_fields]
    values = [v.get_secret_value() for v in found if isinstance(v, SecretStr)]
    named = [str(getattr(options, n)) for n in type(options).model_fields if n in ("password", "token", "api_key")]
    # An address may be shown; the login in it may not.
    parts = [urlsplit(v).password or "" if "://" in v else v for v in [*values, *named]]
    return tuple({part for part in parts if len(part) >= SHORTEST_SECRET and part != "None"})


@contextmanager
def _listening(module: str) -> Iterator[list[str]]:
    """What is logged by the connector's package, down to DEBUG, and by anybody at the levels that are on."""
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            with suppress(Exception):  # a record that cannot be formatted says nothing
                heard.append(record.getMessage())

    ear, own = Ear(), logging.getLogger(module.partition(".")[0])
    with _LEVELS_LOCK:  # other systems listen at the same time: the last one puts the level back
        listeners, level = _LEVELS.get(own.name, (0, own.level))
        _LEVELS[own.name] = listeners + 1, level
        own.setLevel(logging.DEBUG)
    for logger in (own, logging.getLogger()):
        logger.addHandler(ear)
    try:
        yield heard
    finally:
        for logger in (own, logging.getLogger()):
            logger.removeHandler(ear)
        with _LEVELS_LOCK:
            listeners, level = _LEVELS.pop(own.name)
            if listeners > 1:
                _LEVELS[own.name] = listeners - 1, level
            else:
                own.setLevel(level)


def _light(error: BaseException) -> BaseException:
    """The error without its frames: they would hold responses, and with them connections, open."""
    seen: dict[int, BaseException] = {}
    waiting: list[BaseException | None] = [error]
    while waiting:
        item = waiting.pop()
        if item is None or id(item) in seen:
            continue
        seen[id(item)] = item
        item.__traceback__ = None
        waiting += [item.__cause__, item.__context__]
    return error


def _plain(column: Any) -> list[Any]:
    """Values that compare by what they are: NaN equals NaN, lists can be counted."""
    values = column.to_pylist()
    if any(isinstance(v, float | list | dict) for v in values[:50]):
        return [repr(v) if isinstance(v, list | dict) or v != v else v for v in values]
    return values


def error_of(trial: Trial) -> str:
    """Class of the trial's error, empty when it ended well."""
    return "" if trial.error is None else type(trial.error).__name__


def is_one_of(error: BaseException, names: Sequence[str]) -> bool:
    """Whether the error's class or one of its bases has one of the names."""
    return isinstance(error, ConnectorError) and any(base.__name__ in names for base in type(error).__mro__)
