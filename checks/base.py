"""The seam of the questions: `Check`, what it is given and what it yields.

A check declares what it needs and maps (point, evidence, context) to what it learned: findings, results of contract
rules, forecasts and measurements. 'Could not look' is raised, never yielded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from weighbridge.connectors.base import Connector, Count, Limit, Probe, TableSchema
from weighbridge.connectors.session import Session
from weighbridge.contracts.models import IntegrationPoint, Relationship

if TYPE_CHECKING:
    import duckdb

__all__ = [
    "Check",
    "Code",
    "Context",
    "Demand",
    "Evidence",
    "Faults",
    "Finding",
    "Forecast",
    "Inconclusive",
    "Landing",
    "Measurement",
    "NotRun",
    "PageLog",
    "Permissions",
    "Result",
    "RuleResult",
    "Severity",
    "Spread",
    "registered_codes",
]

Status = Literal["pass", "warn", "break", "unknown", "skipped"]
SkipReason = Literal["not_applicable", "deselected", "not_permitted", "budget", "waived"]
Cost = Literal["cheap", "read", "load", "write"]


class Severity(StrEnum):
    INFO = "info"
    WARN = "warn"
    BREAK = "break"


@dataclass(frozen=True, slots=True)
class Code:
    """A finding's stable name with its severity and remedy; declared by its check."""

    name: str
    severity: Severity
    remedy: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Looked, and this is what is so."""

    code: str
    message: str
    expected: Any = None
    observed: Any = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    business_effect: str = ""
    severity: Severity | None = None
    """None takes the code's own; a rule's severity may say otherwise."""
    remedy: str | None = None
    """None takes the code's own."""


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What became of one promise of the contract."""

    id: str
    path: str
    name: str
    line: int
    outcome: Literal["passed", "failed", "errored", "not_run"]
    reason: str | None = None
    severity: str = "error"
    count: int | None = None
    """Rows that break the rule; None for a rule about one number."""
    total: int | None = None
    observed: Any = None
    expected: Any = None
    samples: tuple[Any, ...] = ()
    """Up to 20 keys of failing rows, masked."""
    query: str | None = None
    """The statement that shows all failing rows."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """At how many users a limit is reached. `users` None: refused; then `at_least` is the proven lower bound."""

    limit: str
    users: float | None
    low: float | None
    high: float | None
    at_least: float | None
    basis: Literal["measured", "reported", "declared"]
    measured_to: float | None
    """Users (or simultaneous calls expressed as users) really exercised."""
    trust: Literal["measured", "interpolated", "extrapolated", "unpredictable"]
    environment: str
    model: str
    """An id from `weighbridge.checks.forecast.MODELS`."""
    inputs: Mapping[str, Any]
    when: Mapping[str, str | None] = field(default_factory=dict)
    """`ordinary` and `month_end` clock times, `month` of growth (YYYY-MM); None where never within the horizon."""
    transfer: str | None = None
    """Why a staging figure may stand for production; None where it may not or need not."""
    answers_target: bool = True
    """False where the figure is about staging only and says nothing of production."""
    shared_with: tuple[str, ...] = ()
    next_probe: str | None = None
    remedies: tuple[Mapping[str, Any], ...] = ()
    """`{"remedy", "users", "low", "high"}`: what would move the ceiling, forecast by the same model."""
    reason: str | None = None
    """Why it was refused."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Numbers for the report that are not a judgement: `name` is `load`, `volume`, `resilience`, ..."""

    name: str
    data: Mapping[str, Any]


Result = Finding | RuleResult | Forecast | Measurement


class Inconclusive(Exception):
    """Could not look: the check ends unknown, with this cause and what to do."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class NotRun(Exception):
    """The check does not apply or may not run here."""

    def __init__(self, reason: SkipReason, message: str) -> None:
        super().__init__(message)
        self.reason: SkipReason = reason
        self.message = message


# --- evidence --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PageLog:
    """One page as it was landed: rows from `first_row` (0-based), seconds and calls it cost."""

    number: int
    first_row: int
    rows: int
    seconds: float
    calls: int
    cursor: str | None = None
    raw_rows: int | None = None
    """Rows the system sent where that is not `rows`."""


@dataclass(frozen=True, slots=True)
class Landing:
    """The rows read once: a DuckDB table with the contract's physical column names, plus the page log.

    Columns `_wb_row` (BIGINT, 0-based order of arrival) and `_wb_page` (INTEGER) are added. Misfits stand in table
    `<table>__misfits (row BIGINT, column_name VARCHAR, raw VARCHAR, reason VARCHAR)`.
    """

    database: Path
    table: str
    rows: int
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    pages: tuple[PageLog, ...]
    misfits: int
    seconds: float
    observations: tuple[Any, ...] = ()
    peak_bytes: int | None = None

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A read-only connection; close it after use."""
        import duckdb

        return duckdb.connect(str(self.database), read_only=True)


@dataclass(frozen=True, slots=True)
class Spread:
    """A measured distribution: `n` samples and their quantiles, in the unit of its name."""

    n: int
    mean: float
    low: float
    """5th percentile."""
    median: float
    high: float
    """95th percentile."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What one user costs, measured or declared."""

    source: Literal["measured", "declared"]
    calls_per_user_hour: Spread | None
    """Average working hour; None where neither measured nor declared: no forecast in users then."""
    per_operation: Mapping[str, Mapping[str, Spread]]
    """operation -> {`calls`, `rows`, `bytes`, `seconds`} counted at the wire."""
    retry_amplification: float
    """Attempts sent for each call that was meant, at least 1."""
    at: str
    sample: str
    """What it was measured on, in words."""


class Evidence(Protocol):
    """What was seen of one point, each item made once a run, on first use, and kept.

    Reading an item whose making failed raises `Inconclusive` with the cause.
    """

    @property
    def probe(self) -> Probe: ...
    @property
    def limits(self) -> Sequence[Limit]: ...
    @property
    def schema(self) -> TableSchema: ...
    @property
    def count_before(self) -> Count: ...
    @property
    def landing(self) -> Landing: ...
    @property
    def count_after(self) -> Count: ...
    @property
    def profile(self) -> Mapping[str, Any]: ...
    @property
    def keys(self) -> Sequence[tuple[Any, ...]]: ...
    @property
    def demand(self) -> Demand: ...


# --- context ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Permissions:
    """What the owner of this environment allows."""

    environment: str
    max_users: int
    max_burst: int
    writes: bool
    """Environment and contract both allow writing to this point."""
    production_like: bool = False
    capacity_factor: tuple[float, float] | None = None
    transfer_note: str | None = None
    """Author and date of `production_like` or `capacity_factor`."""

    @property
    def rung(self) -> int:
        """0 metadata; 1 single reads; 2 a ramp; 3 bursts; 4 writes."""
        if self.writes:
            return 4
        if self.max_burst > 0:
            return 3
        if self.max_users > 1:
            return 2
        return 1 if self.environment != "production" else 0


class Faults(Protocol):
    """Puts faults between a connector and its system; implemented by the sandbox's fault proxy."""

    def between(self, upstream: Any) -> AbstractContextManager[FaultLine]:
        """Open a proxy in front of the `Endpoint` upstream for the length of a `with` block."""
        ...


class FaultLine(Protocol):
    """One open proxy: dial `endpoint`, plan faults, read its journal."""

    @property
    def endpoint(self) -> Any: ...

    def plan(self, *faults: Mapping[str, Any]) -> None:
        """Replace the faults in force; each is `{"type": ..., parameters by Toxiproxy's names, "first": N, ...}`."""
        ...

    def clear(self) -> None: ...

    def journal(self) -> Sequence[Mapping[str, Any]]:
        """What passed and what was done to it, oldest first."""
        ...


@runtime_checkable
class Engine(Protocol):
    """Drives operations as virtual users; threads here, or Locust workers."""

    def run(self, plan: Any) -> Any:
        """Run a `weighbridge.checks.forecast` load plan and return its samples."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """What a check may use besides its evidence."""

    permissions: Permissions
    connector: Callable[..., Connector]
    """`connector(session=None)`: the point's open connector, or a fork of it under another session."""
    session: Session
    now: Callable[[], datetime]
    seed: int
    engine: Engine | None = None
    faults: Faults | None = None
    target_keys: Callable[[Relationship], Landing] | None = None
    """Lands the key columns of a relationship's target, in the same environment; raises Inconclusive."""
    system: Callable[[str, Callable[[Any], Any]], Connector] | None = None
    """`system(name, route)`: another system of the project in the same environment, not yet opened, dialling where
    `route` says; raises SettingsError for one that is not configured."""
    sibling: Callable[[str], Landing] | None = None
    """The landing of another object of the same contract, by its name."""
    previous: Mapping[str, Any] | None = None
    """The last accepted run's record of this point from the history: profile, schema, rows, fingerprint, the
    `watermark` that completeness saw, and the retry `amplification` (`outage`, `worst`) that resilience measured."""
    declared_limits: Sequence[Mapping[str, Any]] = ()
    background: Sequence[Mapping[str, Any]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The system's own keys of weighbridge.toml that are not connector options: owner, runbook, identity, ..."""
    shared_points: tuple[str, ...] = ()
    """Other points that draw on the same quota group."""
    shared_load: float = 0.0
    """Calls those other points make for each call of this one, by their declared calls per user and hour; a point that
    declares none counts as much as this one."""
    folder: Path | None = None
    """Scratch folder of this point, mode 0700, removed after the run."""
    progress: Callable[[str], None] = lambda _message: None


class Check(Protocol):
    """One question. Its docstring carries the sections 'Breaks in production' and 'Fix'."""

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    """Evidence items resolved beforehand: a failed one makes the check unknown with that cause."""
    facets: ClassVar[tuple[type, ...]]
    """Facets the connector must have; lacking one is `not_applicable`."""
    cost: ClassVar[Cost]
    codes: ClassVar[tuple[Code, ...]]

    def __call__(self, point: IntegrationPoint, evidence: Evidence, context: Context) -> Iterable[Result]: ...


def registered_codes(checks: Iterable[Check]) -> dict[str, Code]:
    """Every code of the given checks by name; raises ValueError for one declared twice or misnamed."""
    found: dict[str, Code] = {}
    for check in checks:
        for code in check.codes:
            if not code.name.startswith(f"{check.name}."):
                raise ValueError(f"check {check.name} declares the code {code.name}, which is not its own")
            if code.name in found:
                raise ValueError(f"the code {code.name} is declared twice")
            found[code.name] = code
    return found
