"""The seam to a system: `Connector`, what it returns, and the optional facets.

A connector sees and says; it never judges. What it says is a `Probe`, `Limit`s, a `TableSchema`, a `Count` and
`Page`s of Arrow records in the system's own types.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict, ValidationError

from weighbridge.connectors.errors import SettingsError
from weighbridge.connectors.session import Session

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Engine

__all__ = [
    "Column",
    "Connector",
    "ConnectorOptions",
    "Count",
    "DriverText",
    "Files",
    "Incremental",
    "Indexed",
    "Limit",
    "Loadable",
    "Misfit",
    "ObjectRef",
    "Observation",
    "Operation",
    "OperationResult",
    "Page",
    "Probe",
    "Sql",
    "TableSchema",
    "Unreadable",
    "Writable",
    "WriteOutcome",
    "filter_of",
]

F = TypeVar("F")
Key = tuple[Any, ...]


class ObjectRef(str):
    """An object's physical name, with the filter that narrows it; a plain `str` is the whole object."""

    __slots__ = ("everything", "key", "where")
    where: str | None
    everything: bool
    """Deleted and archived records included, where the system keeps them: how a reference's targets are read."""
    key: tuple[str, ...]
    """The columns of the contract's key: what keys given to `operations` are values of; empty: the system's own."""

    def __new__(cls, name: str, where: str | None = None, *, everything: bool = False, key: Sequence[str] = ()) -> Self:
        self = super().__new__(cls, name)
        self.where = where
        self.everything = everything
        self.key = tuple(key)
        return self


def filter_of(object: str) -> str | None:
    """The filter of an `ObjectRef`, None of a plain name."""
    return getattr(object, "where", None)


@dataclass(frozen=True, slots=True)
class Observation:
    """What a connector saw and says without judging; `code` is snake_case, a check turns it into a finding."""

    code: str
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Probe:
    """Who and what answered: product, version, user, in the system's words; `facts` is printable, never secret."""

    product: str
    version: str | None
    user: str | None
    seconds: float
    facts: Mapping[str, Any] = field(default_factory=dict)
    observations: tuple[Observation, ...] = ()


@dataclass(frozen=True, slots=True)
class Limit:
    """A ceiling. `cap` None is a limit whose size is not known: unanswered, not infinite."""

    name: str
    """`daily_calls`, `concurrent_calls`, `requests_per_window`, `connections`, `statement_timeout`, `rows`,
    `page_rows`, `request_bytes`, `writers`, ..."""
    scope: str
    """`org`, `account`, `user`, `server`, `file`, `database`, ..."""
    cap: float | None
    unit: str
    """`calls`, `connections`, `rows`, `seconds`, `bytes`, `users`."""
    window: str | None
    """`rolling 24 h`, `midnight UTC`, `300 s`, `bucket 200/s burst 100`, `concurrent`; None for a plain ceiling."""
    used: float | None
    source: str
    """`measured`, `reported` or `declared`."""
    environment: str
    at: str
    """ISO 8601 time with zone at which it was learned."""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Column:
    """One column as the system declares it."""

    name: str
    type: pa.DataType
    nullable: bool | None
    native: str
    """The system's own type word, `varchar(40)`, `Edm.Decimal`, `picklist`."""
    length: int | None = None
    """Characters, for text."""
    precision: int | None = None
    scale: int | None = None
    enum: tuple[str, ...] | None = None
    references: str | None = None
    """`table.column` or entity that the system says this refers to."""
    unique: bool = False


@dataclass(frozen=True, slots=True)
class TableSchema:
    """The columns of an object and its key, in the system's words."""

    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    """Names of the key columns; empty when the system declares none."""
    observations: tuple[Observation, ...] = ()

    def column(self, name: str) -> Column | None:
        return next((c for c in self.columns if c.name == name), None)


@dataclass(frozen=True, slots=True)
class Count:
    value: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Misfit:
    """A value that did not fit the type `discover` said: null in the batch, kept here as it came."""

    row: int
    """Row within its page, from 0."""
    column: str
    raw: str
    reason: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page as the system sent it."""

    batch: pa.RecordBatch
    keys: tuple[str, ...]
    """Names of the key columns that are in `batch`."""
    seconds: float
    calls: int
    misfits: tuple[Misfit, ...] = ()
    cursor: str | None = None
    """Give it to `read(after=...)` to go on behind this page; None where the system cannot resume."""
    observations: tuple[Observation, ...] = ()
    raw_rows: int | None = None
    """Rows the system sent where that is not `batch.num_rows` (a cut totals row, a skipped blank)."""


class ConnectorOptions(BaseModel):
    """Base of a connector's options; unknown keys are errors. A secret field is a `SecretStr`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout: float = 30.0
    """Seconds for one attempt."""

    @classmethod
    def names(cls) -> list[str]:
        """The options as they are written in weighbridge.toml."""
        return [field.alias or name for name, field in cls.model_fields.items()]


class Connector(ABC):
    """Reaches one kind of system. Use from one thread; `fork` gives another thread its own."""

    kind: ClassVar[str]
    """The word in `connector = "..."`."""
    options_model: ClassVar[type[ConnectorOptions]]
    concurrent_points: ClassVar[bool] = False
    """Whether points of one system may be read at the same time."""
    networked: ClassVar[bool] = True
    """False where there is no network endpoint (a file): network faults do not apply."""

    def __init__(self, options: Mapping[str, Any] | ConnectorOptions, session: Session | None = None) -> None:
        if not isinstance(options, ConnectorOptions):
            try:
                options = self.options_model.model_validate(dict(options))
            except ValidationError as error:
                raise SettingsError(_settings_message(self.kind, self.options_model, error)) from None
        self.options = options
        self.session = session or Session()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.session.system}>"

    @abstractmethod
    def open(self) -> None:
        """Log in and connect. Raises AuthError, UnreachableError, SettingsError, DriverError, FileError."""

    @abstractmethod
    def close(self) -> None:
        """Let go of every connection; safe to call twice."""

    @abstractmethod
    def fork(self, session: Session) -> Self:
        """Same credentials and token, new connections, for another thread: no second login. Already open."""

    @abstractmethod
    def probe(self) -> Probe:
        """Who answers, as which user, in at most a handful of metadata calls."""

    @abstractmethod
    def limits(self) -> Sequence[Limit]:
        """Every ceiling the system reports or its vendor publishes; a handful of metadata calls."""

    @abstractmethod
    def discover(self, object: str) -> TableSchema:
        """The object's columns and key. Raises MissingObjectError."""

    def objects(self) -> Sequence[str]:
        """Names of the objects that could be addressed, for messages and `infer`; empty where not known."""
        return ()

    @abstractmethod
    def count(self, object: str) -> Count:
        """Rows the source says it has (with the filter of an `ObjectRef`)."""

    @abstractmethod
    def read(
        self,
        object: str,
        *,
        columns: Sequence[str] | None = None,
        after: str | None = None,
        page_rows: int | None = None,
    ) -> Iterator[Page]:
        """Pages of the object, lazily and in bounded memory, behind the cursor `after` when given."""

    def endpoints(self) -> Sequence[Any]:
        """The network `Endpoint`s this connector dials, before routing; empty for files."""
        return ()

    def facet(self, wanted: type[F]) -> F | None:
        """The connector as one of the facets below, None where it lacks it."""
        return self if isinstance(self, wanted) else None


def _settings_message(kind: str, model: type[ConnectorOptions], error: ValidationError) -> str:
    import difflib

    known = [field.alias or name for name, field in model.model_fields.items()]
    parts: list[str] = []
    for item in error.errors(include_input=False, include_url=False, include_context=False):
        name = ".".join(str(p) for p in item["loc"])
        if item["type"] == "extra_forbidden":
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"it takes {', '.join(sorted(known))}."
            parts.append(f"unknown option '{name}'; {hint}")
        else:
            parts.append(f"{name}: {item['msg']}" if name else item["msg"])
    return f"connector {kind}: " + "; ".join(parts)


# --- facets: what only some connectors can do ------------------------------------------------------------------


@runtime_checkable
class Sql(Protocol):
    """The system speaks SQL."""

    @property
    def dialect(self) -> str:
        """SQLAlchemy's dialect name: `postgresql`, `mysql`, `mariadb`, `sqlite`, `mssql`, ..."""
        ...

    def engine(self) -> Engine | None:
        """A SQLAlchemy engine for validation in place; None where there is no dialect (plain ODBC)."""
        ...

    def execute(
        self, statement: str, parameters: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> list[Key]:
        """Run one read-only statement (autocommit, never idle in transaction) and return its rows."""
        ...

    def quoted(self, object: str) -> str:
        """The object's name, schema-qualified and quoted for this dialect."""
        ...

    def quoted_name(self, column: str) -> str:
        """A column's name quoted for this dialect."""
        ...


@runtime_checkable
class Files(Protocol):
    """The system is files on disk."""

    def paths(self) -> Sequence[Path]:
        """The workbooks this system consists of, sorted."""
        ...

    def file_password(self) -> str | None:
        """The password for encrypted files; callers never print it."""
        ...


@dataclass(frozen=True, slots=True)
class OperationResult:
    """What one operation cost: counted at the wire."""

    calls: int
    rows: int
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Operation:
    """Something one user does: `name` is lookup, page or write; `call` does it once for one key."""

    name: str
    call: Callable[[Key], OperationResult]
    describe: str = ""
    """The request in words for the report, for example `GET Account by Id`; no values."""
    statement: str | None = None
    """For SQL: the statement with a `:key` parameter, so that a check can EXPLAIN it."""


@runtime_checkable
class Loadable(Protocol):
    """The system's everyday operations can be run one at a time, as a user would."""

    def operations(self, object: str, keys: Sequence[Key]) -> Mapping[str, Operation]:
        """The operations by name; `keys` are existing keys to draw from. `write` only where allowed."""
        ...


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """What became of one record: `ok`, the system's `id`, or `error` in its words."""

    ok: bool
    id: Any = None
    created: bool | None = None
    error: str | None = None
    error_class: str | None = None


@runtime_checkable
class Writable(Protocol):
    """Records can be written, found again and removed. Every call requires `session.writes_allowed`."""

    def write(
        self,
        object: str,
        records: Sequence[Mapping[str, Any]],
        *,
        key: str | None = None,
    ) -> Sequence[WriteOutcome]:
        """Create the records, or upsert them by the unique column `key`; one outcome a record, in order."""
        ...

    def find(self, object: str, column: str, values: Sequence[Any]) -> Sequence[Mapping[str, Any]]:
        """All records whose `column` is one of `values`, as the system has them now."""
        ...

    def delete(self, object: str, records: Sequence[Mapping[str, Any]]) -> Sequence[WriteOutcome]:
        """Remove records that `find` returned."""
        ...


@runtime_checkable
class Incremental(Protocol):
    """The system can say what changed.

    A connector whose `changes` also brings deleted records says so by the attribute `tells_deletes = True`.
    """

    def watermark(self, object: str) -> str | None:
        """The column that moves when a record changes; None where there is none."""
        ...

    def changes(self, object: str, since: str, *, columns: Sequence[str] | None = None) -> Iterator[Page]:
        """Pages of records changed at or after `since` (ISO 8601 with zone), ties included."""
        ...


@runtime_checkable
class Indexed(Protocol):
    """The system says by which columns it finds rows quickly."""

    def indexes(self, object: str) -> Sequence[tuple[str, ...]] | None:
        """Columns of each index, the primary key's included; None where it does not say."""
        ...


@dataclass(frozen=True, slots=True)
class Unreadable:
    """In place of a value: the driver raised on it, and handed its row over to nobody."""

    reason: str


@runtime_checkable
class DriverText(Protocol):
    """A second opinion on values: the same rows, cast to text by the server."""

    def driver_text(
        self,
        object: str,
        columns: Sequence[str],
        rows: int,
    ) -> Iterator[tuple[str, list[tuple[Any, str | None]]]]:
        """For each column its name and up to `rows` pairs (value as the driver gave it, text as the server has it).

        Bytes are hexadecimal digits as text. A column that the server cannot write as text is left out; a value on
        which the driver raises is an `Unreadable`.
        """
        ...
