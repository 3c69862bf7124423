"""Reach a SQL database through its native driver: PostgreSQL, MySQL/MariaDB, SQLite, and what has a SQLAlchemy dialect.

One connection an instance, in autocommit, read only unless writes are allowed, with a statement timeout on the server:
nothing is ever left idle in a transaction on a system that must not be hurt.
"""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from pydantic import Field, SecretStr

from weighbridge.connectors._sql_dialects import DRIVERS, LIBRARIES, Product, product_for
from weighbridge.connectors._sql_errors import classify
from weighbridge.connectors._watchdog import fuse
from weighbridge.connectors.base import (
    Column,
    Connector,
    ConnectorOptions,
    Count,
    Limit,
    Misfit,
    Observation,
    Operation,
    OperationResult,
    Page,
    Probe,
    TableSchema,
    WriteOutcome,
    filter_of,
)
from weighbridge.connectors.errors import (
    AccessError,
    ConnectorError,
    DriverError,
    MissingObjectError,
    ProtocolError,
    RetriableError,
    SettingsError,
    UnreachableError,
)
from weighbridge.connectors.registry import missing_module
from weighbridge.connectors.session import Endpoint, Session

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Engine

__all__ = ["SqlConnector", "SqlOptions"]

T = TypeVar("T")
Key = tuple[Any, ...]

PAGE_ROWS = 10_000
WINDOW = 100_000
"""Rows one statement brings, in several pages, where the caller leaves the page size to us."""
MAX_WINDOW = 400_000
STREAM_TIMEOUT = 3600.0
"""Seconds for the single statement that reads a table without a key."""
GRACE = 2.0
"""Seconds a client waits longer than the server's own timeout, so that the server's message arrives."""
WATERMARKS = (
    "updated_at", "modified_at", "last_modified", "changed_at", "last_updated", "updated", "modified", "changed",
    "update_date", "modify_date", "change_date", "updated_on", "modified_on", "changed_on", "lastupdate", "last_update",
    "systemmodstamp", "write_date", "upd_ts", "update_ts", "mod_ts", "aedat",
)  # fmt: skip
"""Names under which legacy tables keep the time of the last change, most usual first."""


class SqlOptions(ConnectorOptions):
    """`url` as SQLAlchemy writes it, with or without a driver; secret as a whole, for it carries a login."""

    url: SecretStr
    schema_: str | None = Field(default=None, alias="schema")


class SqlConnector(Connector):
    """A database with a native driver."""

    kind: ClassVar[str] = "sql"
    options_model: ClassVar[type[ConnectorOptions]] = SqlOptions
    options: SqlOptions

    def __init__(self, options: Mapping[str, Any] | ConnectorOptions, session: Session | None = None) -> None:
        super().__init__(options, session)
        self._url = _parsed(self.options.url)
        self._product: Product = product_for(self._url.get_backend_name())
        self.networked = self._product.networked  # type: ignore[misc]  # a url decides it, not the class
        self._dialect: Any = None
        self._raw: Any = None
        self._engine: Engine | None = None
        self._schemas: dict[str, TableSchema] = {}
        self._places: dict[str, tuple[str | None, str]] = {}
        self._server_timeout: float | None = None

    @property
    def timeout(self) -> float:
        """Seconds for one attempt: the option's or the session's, whichever is shorter."""
        return min(self.options.timeout, self.session.timeout)

    # --- connecting ----------------------------------------------------------------------------------------------

    def open(self) -> None:
        if self._raw is not None:
            return
        if self._dialect is None:
            self._dialect = self._load_dialect()
        self._ensure()

    def _load_dialect(self) -> Any:
        from sqlalchemy.exc import NoSuchModuleError

        name = self._url.get_backend_name()
        try:
            dialect_class = self._url.get_dialect()
            module = dialect_class.import_dbapi()
            dialect = dialect_class()
            dialect.dbapi = module
        except NoSuchModuleError:
            raise DriverError(
                f"{self.session.system}: SQLAlchemy has no dialect for {self._url.drivername!r} here.",
                remedy=f"Run: pip install '{LIBRARIES.get(name, name)}'",
            ) from None
        except ModuleNotFoundError as error:
            raise missing_module(error, f"{self.session.system}: {self._url.drivername}") from error
        except ImportError as error:
            raise DriverError(
                f"{self.session.system}: the driver of {self._url.drivername!r} cannot be loaded: {error}.",
                remedy="Install the system library that it names.",
            ) from error
        return dialect

    def _dial(self) -> Any:
        endpoint = next(iter(self.endpoints()), None)
        target = None if endpoint is None else self.session.route(endpoint)
        with self._mapped("connect"):
            raw = self._product.dial(
                self._dialect,
                self._url,
                timeout=self.timeout,
                route=None if target == endpoint else target,
                writes=self.session.writes_allowed,
            )
            try:
                self._product.settle(raw, self.timeout)
                for statement in self._product.session_statements(self.timeout, writes=self.session.writes_allowed):
                    cursor = raw.cursor()
                    with fuse(self._product.fileno(raw), self.timeout + GRACE):
                        cursor.execute(statement)
                        if cursor.description:
                            cursor.fetchall()
                    cursor.close()
            except BaseException:
                _quietly(raw.close)
                raise
        return raw

    def _opened(self) -> bool:
        return self._dialect is not None

    def _ensure(self) -> Any:
        """The open connection, dialled again if it was lost."""
        if not self._opened():
            raise SettingsError(f"{self.session.system}: the connector is not open.")
        if self._raw is None:
            self._raw = self.session.run(self._dial, operation="connect")
            self._server_timeout = self.timeout
        return self._raw

    def _lost(self) -> None:
        raw, self._raw = self._raw, None
        if raw is not None:
            _quietly(raw.close)

    def close(self) -> None:
        self._lost()
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()

    def fork(self, session: Session) -> Self:
        """A database has no token: a fork is one more connection of the same login, as one more user would be."""
        twin = type(self)(self.options, session)
        twin._dialect = self._dialect or self._load_dialect()
        twin._schemas = dict(self._schemas)
        twin._places = dict(self._places)
        twin.open()
        return twin

    def endpoints(self) -> Sequence[Endpoint]:
        if not self._product.networked or str(self._url.host or "").startswith("/"):
            return ()
        host, port = self._url.host, self._url.port or self._product.default_port
        query = {k.lower(): str(v).lower() for k, v in self._url.query.items()}
        tls = query.get("sslmode", "") in {"require", "verify-ca", "verify-full"} or "ssl_ca" in query
        return () if host is None or port is None else (Endpoint(host, int(port), tls),)

    # --- statements ----------------------------------------------------------------------------------------------

    def _mapped(self, what: str) -> _Mapped:
        return _Mapped(self, f"{self.session.system} ({self._product.name}), {what}")

    def _run(self, work: Callable[[Any], T], what: str, *, idempotent: bool = True) -> T:
        """One statement under the session's policy; a lost connection is dialled again before a retry."""

        def once() -> T:
            raw = self._ensure()
            with self._mapped(what), fuse(self._product.fileno(raw), self._patience()) as watch:
                try:
                    return work(raw)
                except Exception as error:
                    if watch.blown:
                        raise UnreachableError(
                            f"{self.session.system}: {what} brought no answer within {self.timeout:g} s.",
                            remedy="The server or the route to it has stalled.",
                        ) from error
                    raise

        self._ensure()
        return self.session.run(once, operation=what, idempotent=idempotent)

    def _patience(self) -> float:
        seconds = self._server_timeout or self.timeout
        return seconds + min(GRACE, seconds)  # a short timeout is meant to be short

    def _rows(self, statement: str, parameters: Any = None, *, what: str = "query") -> list[Key]:
        def work(raw: Any) -> list[Key]:
            cursor = raw.cursor()
            try:
                cursor.execute(statement) if parameters is None else cursor.execute(statement, parameters)
                return [tuple(row) for row in cursor.fetchall()] if cursor.description else []
            finally:
                cursor.close()

        rows = self._run(work, what)
        self.session.meter.count(rows=len(rows))
        return rows

    def _ask(self, statement: str) -> list[Key]:
        return self._rows(statement, what="metadata")

    def _set_timeout(self, seconds: float) -> None:
        if seconds == self._server_timeout:
            return
        statement = self._product.timeout_statement(seconds)
        if statement is not None:
            self._rows(statement, what="set timeout")
        self._server_timeout = seconds

    def _compiled(self, statement: Any, values: Mapping[str, Any] | None = None) -> tuple[str, Any]:
        """A SQLAlchemy statement as this driver's text and parameters."""
        compiled = statement.compile(dialect=self._dialect, compile_kwargs={"render_postcompile": True})
        parameters = compiled.construct_params(values)
        if compiled.positional:
            return str(compiled), tuple(parameters[name] for name in compiled.positiontup)
        return str(compiled), dict(parameters)

    # --- facet Sql -----------------------------------------------------------------------------------------------

    @property
    def dialect(self) -> str:
        return self._url.get_backend_name()

    def engine(self) -> Engine | None:
        """A pooled engine under the same policy: every statement it runs is an attempt of the session."""
        import sqlalchemy as sa
        from sqlalchemy import event
        from sqlalchemy.pool import QueuePool

        if self._engine is None:
            self.open()
            engine = sa.create_engine(
                self._url,
                creator=lambda: self.session.run(self._dial, operation="connect"),
                poolclass=QueuePool,
                pool_size=1,
                max_overflow=2,
                isolation_level="AUTOCOMMIT",
                hide_parameters=True,
                **self._product.engine_keywords,
            )
            event.listen(engine, "before_cursor_execute", self._before)
            event.listen(engine, "after_cursor_execute", self._after)
            event.listen(engine, "handle_error", self._failed)
            self._engine = engine
        return self._engine

    def _before(self, connection: Any, *_: Any) -> None:
        attempt = self.session.attempt("engine")
        attempt.__enter__()
        connection.info.setdefault("weighbridge_attempts", []).append(attempt)

    def _after(self, connection: Any, *_: Any) -> None:
        attempts = connection.info.get("weighbridge_attempts")
        if attempts:
            attempts.pop().__exit__(None, None, None)

    def _failed(self, context: Any) -> None:
        attempts = None if context.connection is None else context.connection.info.get("weighbridge_attempts")
        if attempts:
            error = context.original_exception
            try:
                attempts.pop().__exit__(type(error), error, None)
            except BaseException as raised:
                if raised is not error:
                    raise

    def execute(
        self, statement: str, parameters: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> list[Key]:
        """`parameters` are bound as `:name`; without them the statement goes as it is."""
        import sqlalchemy as sa

        with self._within(timeout):
            if parameters is None:
                return self._rows(statement)
            text, bound = self._compiled(sa.text(statement), parameters)
            return self._rows(text, bound)

    def _within(self, seconds: float | None) -> _Within:
        return _Within(self, seconds)

    def quoted(self, object: str) -> str:
        schema, table = self._place(object)
        preparer = self._dialect.identifier_preparer
        name = preparer.quote(table)
        return f"{preparer.quote(schema)}.{name}" if schema else name

    def quoted_name(self, column: str) -> str:
        return self._dialect.identifier_preparer.quote(column)

    # --- what is there -------------------------------------------------------------------------------------------

    def probe(self) -> Probe:
        started = time.monotonic()
        facts = dict(self._product.facts(self._ask, self.options.schema_))
        tls = self._product.tls(self._ensure(), self._ask) if self._product.networked else None
        facts["driver"] = self._url.drivername
        facts["autocommit"] = True
        if tls is not None:
            facts |= {"tls": tls["tls"], "tls_version": tls["version"], "tls_cipher": tls["cipher"]}
            facts["certificate_expires"] = tls.get("certificate_expires")
        seen: list[Observation] = list(self._product.observations(facts))
        return Probe(
            product=self._product.name if self._product.name != Product.name else self.dialect,
            version=_text(facts.pop("version", None)),
            user=_text(facts.pop("user", None)),
            seconds=time.monotonic() - started,
            facts=facts,
            observations=tuple(seen),
        )

    def limits(self) -> Sequence[Limit]:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return [
            Limit(name, scope, cap, unit, window, used, "reported", self.session.environment, at, detail)
            for name, scope, cap, unit, window, used, detail in self._product.limits(self._ask)
        ]

    def _inspect(self, question: Callable[[Any], T], what: str) -> T:
        import warnings

        import sqlalchemy as sa
        from sqlalchemy.exc import SAWarning

        engine = self.engine()
        with warnings.catch_warnings():
            # a type SQLAlchemy does not know is read as text and says so in `native`
            warnings.simplefilter("ignore", SAWarning)
            with self._mapped(what):
                return question(sa.inspect(engine))

    def objects(self) -> Sequence[str]:
        schema = self.options.schema_
        names = self._inspect(
            lambda i: [*i.get_table_names(schema=schema), *i.get_view_names(schema=schema)], "list tables"
        )
        return sorted(names)

    def _place(self, object: str) -> tuple[str | None, str]:
        """Schema and table of a physical name: as it stands, else split at its last dot."""
        name = str(object)
        if name not in self._places:
            place = (self.options.schema_, name)
            if "." in name and not self._inspect(lambda i: i.has_table(name, schema=place[0]), "look up"):
                schema, _, table = name.rpartition(".")
                place = (schema, table)
            self._places[name] = place
        return self._places[name]

    def discover(self, object: str) -> TableSchema:
        name = str(object)
        if name not in self._schemas:
            self._schemas[name] = self._discovered(name)
        return self._schemas[name]

    def _discovered(self, object: str) -> TableSchema:
        from sqlalchemy.exc import NoSuchTableError

        schema, table = self._place(object)

        def question(inspector: Any) -> TableSchema:
            columns = inspector.get_columns(table, schema=schema)
            keys = tuple(inspector.get_pk_constraint(table, schema=schema).get("constrained_columns") or ())
            references = {
                pair[0]: f"{fk['referred_table']}.{pair[1]}"
                for fk in inspector.get_foreign_keys(table, schema=schema)
                for pair in zip(fk["constrained_columns"], fk["referred_columns"], strict=False)
            }
            unique = {
                i["column_names"][0]
                for i in inspector.get_indexes(table, schema=schema)
                if i.get("unique") and len(i["column_names"]) == 1
            } | {
                u["column_names"][0]
                for u in inspector.get_unique_constraints(table, schema=schema)
                if len(u["column_names"]) == 1
            }
            if len(keys) == 1:
                unique.add(keys[0])
            return TableSchema(tuple(self._column(c, references, unique) for c in columns), keys)

        try:
            found = self._inspect(question, f"discover {object}")
        except NoSuchTableError:
            found = None
        except MissingObjectError:
            found = None
        if found is None or not found.columns:
            raise MissingObjectError(
                f"{self.session.system}: there is no table or view {object!r}"
                + (f" in schema {schema!r}." if schema else "."),
                remedy=self._suggest(object),
            )
        return found

    def _suggest(self, object: str) -> str:
        known = self.objects()
        lowered = {name.lower(): name for name in known}
        close = difflib.get_close_matches(object.rpartition(".")[2].lower(), lowered, n=3)
        if close:
            return f"Did you mean {', '.join(repr(lowered[c]) for c in close)}?"
        shown = ", ".join(known[:10]) or "none this login may see"
        return f"There are: {shown}{' ...' if len(known) > 10 else ''}. Check physicalName and the option schema."

    def _column(self, c: Mapping[str, Any], references: Mapping[str, str], unique: set[str]) -> Column:
        from weighbridge.connectors._sql_types import arrow_type

        declared = c["type"]
        try:
            native = declared.compile(dialect=self._dialect)
        except Exception:  # noqa: BLE001 - SQLAlchemy raises several classes for types it cannot spell
            native = type(declared).__name__
        enums = getattr(declared, "enums", None)
        return Column(
            name=c["name"],
            type=arrow_type(declared, self.dialect),
            nullable=c.get("nullable"),
            native=str(native).lower(),
            length=getattr(declared, "length", None) if isinstance(getattr(declared, "length", None), int) else None,
            precision=getattr(declared, "precision", None),
            scale=getattr(declared, "scale", None),
            enum=tuple(enums) if enums else None,
            references=references.get(c["name"]),
            unique=c["name"] in unique,
        )

    def count(self, object: str) -> Count:
        statement = f"SELECT count(*) FROM {self.quoted(object)}{_where(filter_of(object))}"
        return Count(int(self._object_rows(object, statement, "count")[0][0]), exact=True)

    def _object_rows(self, object: str, statement: str, what: str) -> list[Key]:
        try:
            return self._rows(statement, what=what)
        except MissingObjectError as error:
            raise MissingObjectError(error.message, remedy=self._suggest(str(object))) from error

    # --- reading -------------------------------------------------------------------------------------------------

    def read(
        self,
        object: str,
        *,
        columns: Sequence[str] | None = None,
        after: str | None = None,
        page_rows: int | None = None,
    ) -> Iterator[Page]:
        """Windows by key where there is one (short statements, resumable), else one streamed statement.

        With `page_rows` every page is one statement of so many rows; without, a statement brings several pages.
        """
        plan = self._plan(object, columns)
        if after is not None and not plan.order:
            raise SettingsError(
                f"{self.session.system}: {object} has no key, so reading cannot go on behind a cursor.",
                remedy="Read it from the start.",
            )
        return self._windows(plan, after, page_rows) if plan.order else self._stream(plan, page_rows or PAGE_ROWS)

    def _plan(self, object: str, columns: Sequence[str] | None) -> _Plan:
        schema = self.discover(object)
        wanted = list(dict.fromkeys(columns)) if columns else [c.name for c in schema.columns]
        for name in wanted:
            if schema.column(name) is None:
                close = difflib.get_close_matches(name, [c.name for c in schema.columns], n=1)
                raise MissingObjectError(
                    f"{self.session.system}: {object} has no column {name!r}.",
                    remedy=f"Did you mean {close[0]!r}?" if close else "",
                )
        order = self._order(schema)
        fetched = wanted + [k for k in order if k not in wanted]
        types = [c.type for name in fetched if (c := schema.column(name)) is not None]
        return _Plan(object, tuple(wanted), tuple(fetched), tuple(types), order, schema.keys)

    def _order(self, schema: TableSchema) -> tuple[str, ...]:
        """Columns to page by: the primary key, else a unique column that cannot be null."""
        by_name = {c.name: c for c in schema.columns}
        keys = schema.keys
        # SQLite lets nulls into primary keys that are not INTEGER PRIMARY KEY or declared NOT NULL
        loose = self.dialect == "sqlite" and any(
            by_name[k].nullable and not (len(keys) == 1 and by_name[k].native == "integer") for k in keys
        )
        if keys and not loose:
            return keys
        return next(((c.name,) for c in schema.columns if c.unique and c.nullable is False), ())

    def _windows(self, plan: _Plan, after: str | None, page_rows: int | None) -> Iterator[Page]:
        window = page_rows or WINDOW
        cursor, failures = after, 0
        while True:
            started, got, seconds = time.monotonic(), 0, 0.0
            self._ensure()
            try:
                for page in self._pages(plan, cursor, window, page_rows or PAGE_ROWS):
                    cursor, failures = page.cursor, 0
                    got += page.batch.num_rows
                    seconds = time.monotonic() - started
                    yield page
            except RetriableError as error:
                failures += 1
                # each window is a call of its own: go on behind the last page that arrived
                if failures >= self.session.retry.attempts:
                    raise
                self.session.meter.count(retries=1)
                self.session.sleep(
                    error.retry_after
                    if error.retry_after is not None
                    else self.session.random.uniform(
                        0, min(self.session.retry.cap, self.session.retry.base * 2 ** (failures - 1))
                    )
                )
                continue
            if got < window:
                return
            if page_rows is None:
                # keep statements short against the server's timeout, long enough to be quick
                if seconds > self.timeout / 4:
                    window = max(PAGE_ROWS, window // 2)
                elif seconds < self.timeout / 20:
                    window = min(MAX_WINDOW, window * 2)

    def _stream(self, plan: _Plan, rows: int) -> Iterator[Page]:
        with self._within(STREAM_TIMEOUT):
            yield from self._pages(plan, None, None, rows)

    def _copies(self) -> bool:
        return self.dialect == "postgresql" and self._dialect.driver == "psycopg"

    def _pages(self, plan: _Plan, after: str | None, limit: int | None, rows: int) -> Iterator[Page]:
        """The pages of one statement."""
        chunks = (self._copied if self._copies() else self._fetched)(plan, after, limit, rows)
        self._ensure()
        calls, started = 1, time.monotonic()
        with self.session.attempt("read"), self._mapped(f"read {plan.object}"):
            for batch, misfits in chunks:
                self.session.meter.count(rows=batch.num_rows)
                yield self._page(plan, batch, misfits, time.monotonic() - started, calls)
                calls, started = 0, time.monotonic()

    def _page(self, plan: _Plan, batch: pa.RecordBatch, misfits: Sequence[Misfit], seconds: float, calls: int) -> Page:
        cursor = _cursor_of(batch, plan.order, misfits) if plan.order else None
        if len(plan.fetched) > len(plan.wanted):
            batch = batch.select(list(plan.wanted))
            misfits = [m for m in misfits if m.column in plan.wanted]
        return Page(
            batch,
            keys=tuple(k for k in plan.keys if k in plan.wanted),
            seconds=seconds,
            calls=calls,
            misfits=tuple(misfits),
            cursor=cursor,
        )

    def _copied(
        self, plan: _Plan, after: str | None, limit: int | None, rows: int
    ) -> Iterator[tuple[pa.RecordBatch, list[Misfit]]]:
        from weighbridge.connectors._sql_copy import copy_chunks, parse_chunk

        statement = f"COPY ({self._keyset_text(plan, after, limit)}) TO STDOUT (FORMAT csv)"
        raw = self._ensure()
        for data, held in copy_chunks(raw, statement, rows, self._patience()):
            self.session.meter.count(received=len(data))
            yield parse_chunk(data, plan.fetched, plan.types, held)

    def _keyset_text(self, plan: _Plan, after: str | None, limit: int | None) -> str:
        name = self.quoted_name
        statement = f"SELECT {', '.join(map(name, plan.fetched))} FROM {self.quoted(plan.object)}"
        conditions = [f"({w})"] if (w := filter_of(plan.object)) else []
        if after is not None:
            # literals without a type take the column's: no cast, the index serves
            literals = ", ".join("'" + text.replace("'", "''") + "'" for text in _key_texts(after, plan.order))
            conditions.append(f"({', '.join(map(name, plan.order))}) > ({literals})")
        if conditions:
            statement += " WHERE " + " AND ".join(conditions)
        if plan.order:
            statement += f" ORDER BY {', '.join(map(name, plan.order))}"
        return statement if limit is None else f"{statement} LIMIT {limit}"

    def _fetched(
        self, plan: _Plan, after: str | None, limit: int | None, rows: int
    ) -> Iterator[tuple[pa.RecordBatch, list[Misfit]]]:
        raw = self._ensure()
        text, parameters = self._keyset(plan, after, limit)
        cursor = _streaming_cursor(raw, getattr(self._dialect, "driver", ""))
        try:
            cursor.arraysize = rows
            with fuse(self._product.fileno(raw), self._patience()):
                cursor.execute(text, parameters) if parameters else cursor.execute(text)
            taken = 0
            while True:
                with fuse(self._product.fileno(raw), self._patience()):
                    fetched = cursor.fetchmany(rows)
                if fetched:
                    yield _batch(fetched, plan)
                taken += len(fetched)
                # a short fetch is the last: some drivers begin again when asked once more
                if len(fetched) < rows or taken == limit:
                    return
        finally:
            _quietly(cursor.close)

    def _keyset(self, plan: _Plan, after: str | None, limit: int | None) -> tuple[str, Any]:
        """The window's statement through SQLAlchemy, which knows each dialect's LIMIT."""
        import sqlalchemy as sa

        from weighbridge.connectors._sql_types import key_value

        schema, table = self._place(plan.object)
        source = sa.table(table, *(sa.column(c) for c in plan.fetched), schema=schema)
        texts = {c: f"CAST({self.quoted_name(c)} AS {self._product.text_type})" for c in plan.as_text}
        chosen = (sa.literal_column(texts[c]).label(c) if c in texts else source.c[c] for c in plan.fetched)
        statement = sa.select(*chosen).select_from(source)
        if where := filter_of(plan.object):
            statement = statement.where(sa.text(f"({where})"))
        if plan.order:
            types = dict(zip(plan.fetched, plan.types, strict=True))
            if after is not None:
                parts = zip(_key_texts(after, plan.order), plan.order, strict=True)
                values = [key_value(text, types[k]) for text, k in parts]
                statement = statement.where(_beyond([source.c[k] for k in plan.order], values))
            statement = statement.order_by(*(source.c[k] for k in plan.order))
        if limit is not None:
            statement = statement.limit(limit)
        return self._compiled(statement)

    # --- facet Loadable ------------------------------------------------------------------------------------------

    def operations(self, object: str, keys: Sequence[Key]) -> Mapping[str, Operation]:
        """`lookup` by the key and `page` of 50 rows behind it, as an application would ask for them."""
        import sqlalchemy as sa

        schema = self.discover(object)
        promised: tuple[str, ...] = tuple(getattr(object, "key", ()))
        # without a key of its own the table is asked by the contract's, indexed or not: as an application would
        names = promised if promised and all(schema.column(n) for n in promised) else schema.keys or self._order(schema)
        if keys and len(keys[0]) != len(names):
            names = ()
        space, table = self._place(object)
        source = sa.table(table, *(sa.column(c.name) for c in schema.columns), schema=space)
        everything = sa.select(*source.c)
        if where := filter_of(object):
            everything = everything.where(sa.text(f"({where})"))
        found: dict[str, Operation] = {}
        if names:
            lookup = everything.where(sa.and_(*(source.c[n] == sa.bindparam(f"k{i}") for i, n in enumerate(names))))
            described = f"SELECT ... FROM {object} WHERE {' AND '.join(f'{n} = ?' for n in names)}"
            found["lookup"] = self._operation("lookup", lookup, len(names), described, space, table, names)
            first = names[0]
            page = everything.where(source.c[first] >= sa.bindparam("k0")).order_by(
                *(source.c[n] for n in names)
            ).limit(50)  # fmt: skip
            described = f"SELECT ... FROM {object} WHERE {first} >= ? ORDER BY {', '.join(names)} LIMIT 50"
            found["page"] = self._operation("page", page, 1, described, space, table, (first,))
        else:
            page = everything.limit(50)
            found["page"] = self._operation("page", page, 0, f"SELECT ... FROM {object} LIMIT 50", space, table, ())
        return found

    def _operation(
        self, name: str, statement: Any, parts: int, describe: str, schema: str | None, table: str, names: Sequence[str]
    ) -> Operation:
        text, sample = self._compiled(statement, {f"k{i}": i for i in range(parts)})
        positional = not isinstance(sample, dict)
        order = [next((i for i in range(parts) if v == i), 0) for v in sample] if positional else []

        def call(key: Key) -> OperationResult:
            if positional:
                bound: Any = tuple(key[i] for i in order) if parts else None
                if parts and len(sample) != parts:  # a dialect that binds its LIMIT as well
                    bound = self._compiled(statement, {f"k{i}": key[i] for i in range(parts)})[1]
            else:
                bound = {**sample, **{f"k{i}": key[i] for i in range(parts)}} or None
            before = self.session.meter.attempts
            rows = self._rows(text, bound, what=name)
            return OperationResult(calls=max(1, self.session.meter.attempts - before), rows=len(rows))

        place = f"{self.quoted_name(schema)}." if schema else ""
        shown = f"SELECT * FROM {place}{self.quoted_name(table)}"
        if name == "lookup":
            shown += " WHERE " + " AND ".join(f"{self.quoted_name(n)} = :key{i or ''}" for i, n in enumerate(names))
        elif names:
            shown += f" WHERE {self.quoted_name(names[0])} >= :key ORDER BY {self.quoted_name(names[0])} LIMIT 50"
        return Operation(name, call, describe, shown)

    # --- facet Writable ------------------------------------------------------------------------------------------

    def write(
        self,
        object: str,
        records: Sequence[Mapping[str, Any]],
        *,
        key: str | None = None,
    ) -> Sequence[WriteOutcome]:
        """One statement a record, each its own transaction: an outcome is what the database said of that record."""
        self.session.require_writes(f"a write to {object}")
        return [self._write_one(object, record, key) for record in records]

    def _write_one(self, object: str, record: Mapping[str, Any], key: str | None) -> WriteOutcome:
        columns = list(record)
        try:
            existed = bool(self.find(object, key, [record[key]])) if key is not None else False
            text, bound = self._insert(object, columns, record, key, existed=existed)
            self._change(text, bound, "write", idempotent=key is not None)
        except (RetriableError, AccessError):
            raise
        except ConnectorError as error:
            return WriteOutcome(ok=False, error=error.message, error_class=type(error).__name__)
        identity = record.get(key) if key is not None else None
        if identity is None:
            keys = self.discover(object).keys
            identity = tuple(record.get(k) for k in keys) if keys else None
            identity = identity[0] if identity is not None and len(identity) == 1 else identity
        return WriteOutcome(ok=True, id=identity, created=not existed)

    def _insert(
        self,
        object: str,
        columns: Sequence[str],
        record: Mapping[str, Any],
        key: str | None,
        *,
        existed: bool,
    ) -> tuple[str, Any]:
        import sqlalchemy as sa

        names = {c: f"v{i}" for i, c in enumerate(columns)}
        values = {names[c]: _bindable(record[c]) for c in columns}
        if key is None:
            listed = ", ".join(map(self.quoted_name, columns))
            marks = ", ".join(f":{names[c]}" for c in columns)
            statement: str | None = f"INSERT INTO {self.quoted(object)} ({listed}) VALUES ({marks})"
        else:
            marks = ", ".join(f":{names[c]}" for c in columns)
            statement = self._product.upsert(self.quoted(object), columns, marks, key, self.quoted_name)
            if statement is None and existed:
                updates = ", ".join(f"{self.quoted_name(c)} = :{names[c]}" for c in columns if c != key)
                statement = f"UPDATE {self.quoted(object)} SET {updates} WHERE {self.quoted_name(key)} = :{names[key]}"
            elif statement is None:
                return self._insert(object, columns, record, None, existed=False)
        return self._compiled(sa.text(statement), values)

    def _change(self, text: str, bound: Any, what: str, *, idempotent: bool) -> int:
        def work(raw: Any) -> int:
            cursor = raw.cursor()
            try:
                cursor.execute(text, bound)
                return cursor.rowcount
            finally:
                cursor.close()

        return self._run(work, what, idempotent=idempotent)

    def find(self, object: str, column: str, values: Sequence[Any]) -> Sequence[Mapping[str, Any]]:
        import sqlalchemy as sa

        schema = self.discover(object)
        space, table = self._place(object)
        source = sa.table(table, *(sa.column(c.name) for c in schema.columns), schema=space)
        found: list[Mapping[str, Any]] = []
        for start in range(0, len(values), 500):
            chunk = [_bindable(v) for v in values[start : start + 500]]
            statement = sa.select(*source.c).where(
                sa.or_(*(source.c[column] == sa.bindparam(f"v{i}", v) for i, v in enumerate(chunk)))
            )
            text, bound = self._compiled(statement)
            names = [c.name for c in schema.columns]
            found += [dict(zip(names, row, strict=True)) for row in self._rows(text, bound, what="find")]
        return found

    def delete(self, object: str, records: Sequence[Mapping[str, Any]]) -> Sequence[WriteOutcome]:
        self.session.require_writes(f"a delete from {object}")
        import sqlalchemy as sa

        schema = self.discover(object)
        keys = self._order(schema) or tuple(c.name for c in schema.columns)
        outcomes = []
        for record in records:
            parts = [
                f"{self.quoted_name(k)} IS NULL" if record[k] is None else f"{self.quoted_name(k)} = :v{i}"
                for i, k in enumerate(keys)
            ]
            values = {f"v{i}": _bindable(record[k]) for i, k in enumerate(keys) if record[k] is not None}
            statement = f"DELETE FROM {self.quoted(object)} WHERE {' AND '.join(parts)}"
            text, bound = self._compiled(sa.text(statement), values)
            identity = record[keys[0]] if len(keys) == 1 else tuple(record[k] for k in keys)
            try:
                self._change(text, bound, "delete", idempotent=True)
                outcomes.append(WriteOutcome(ok=True, id=identity))
            except (RetriableError, AccessError):
                raise
            except ConnectorError as error:
                outcomes.append(WriteOutcome(False, identity, None, error.message, type(error).__name__))
        return outcomes

    # --- facet Incremental ---------------------------------------------------------------------------------------

    def watermark(self, object: str) -> str | None:
        import pyarrow as pa

        schema = self.discover(object)
        moving = {c.name.lower(): c.name for c in schema.columns if pa.types.is_timestamp(c.type)}
        return next((moving[name] for name in WATERMARKS if name in moving), None)

    def changes(self, object: str, since: str, *, columns: Sequence[str] | None = None) -> Iterator[Page]:
        from weighbridge.connectors.base import ObjectRef

        column = self.watermark(object)
        if column is None:
            raise SettingsError(
                f"{self.session.system}: {object} has no column that moves when a record changes.",
                remedy="Read it whole, or have a column like updated_at added.",
            )
        declared = self.discover(object).column(column)
        moment = datetime.fromisoformat(since)
        zoned = declared is not None and getattr(declared.type, "tz", None) is not None
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC)
        text = moment.isoformat(sep=" ") if zoned else moment.replace(tzinfo=None).isoformat(sep=" ")
        condition = f"{self.quoted_name(column)} >= '{text}'"
        where = f"({f}) AND {condition}" if (f := filter_of(object)) else condition
        return self.read(ObjectRef(str(object), where), columns=columns)

    # --- facet Indexed -------------------------------------------------------------------------------------------

    def indexes(self, object: str) -> Sequence[tuple[str, ...]] | None:
        schema, table = self._place(object)

        def question(inspector: Any) -> list[tuple[str, ...]]:
            found = [tuple(i["column_names"]) for i in inspector.get_indexes(table, schema=schema)]
            found += [tuple(u["column_names"]) for u in inspector.get_unique_constraints(table, schema=schema)]
            keys = tuple(inspector.get_pk_constraint(table, schema=schema).get("constrained_columns") or ())
            return list(dict.fromkeys([*([keys] if keys else []), *found]))

        return self._inspect(question, f"indexes of {object}")

    # --- facet DriverText ----------------------------------------------------------------------------------------

    def driver_text(
        self, object: str, columns: Sequence[str], rows: int
    ) -> Iterator[tuple[str, list[tuple[Any, str | None]]]]:
        import sqlalchemy as sa

        space, table = self._place(object)
        for column in columns:
            name = self.quoted_name(column)
            # one statement, so that both readings are of the same row
            pair = sa.select(
                sa.literal_column(name), sa.literal_column(self._text_words().format(name))
            ).select_from(sa.table(table, schema=space))  # fmt: skip
            if where := filter_of(object):
                pair = pair.where(sa.text(f"({where})"))
            text, bound = self._compiled(pair.limit(rows))
            fetched = self._rows(text, bound or None, what="driver text")
            yield column, [(value, None if cast is None else self._text_back(cast)) for value, cast in fetched]

    def _text_words(self) -> str:
        """SQL that gives a column as text by the server; `{}` is the column."""
        return f"CAST({{}} AS {self._product.text_type})"

    def _text_back(self, value: Any) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one read fetches: the columns asked for, those fetched for paging, their types, the paging order."""

    object: str
    wanted: tuple[str, ...]
    fetched: tuple[str, ...]
    types: tuple[Any, ...]
    order: tuple[str, ...]
    keys: tuple[str, ...]
    as_text: frozenset[str] = frozenset()
    """Columns that the server is to cast to text, for their driver cannot bear all values."""


class _Mapped:
    """Turns what a driver raises into our classes, and lets go of a connection that is lost."""

    def __init__(self, connector: SqlConnector, where: str) -> None:
        self.connector, self.where = connector, where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        from sqlalchemy.exc import NoSuchTableError

        if error is None or not isinstance(error, Exception) or isinstance(error, NoSuchTableError):
            return
        original = getattr(error, "orig", None) or error
        dialect = self.connector._dialect
        driver_error = getattr(getattr(dialect, "loaded_dbapi", None), "Error", ())
        if not isinstance(original, driver_error | OSError | ConnectorError):
            return
        mapped = classify(original, self.where)
        if isinstance(mapped, UnreachableError | ProtocolError) or getattr(self.connector._raw, "closed", False):
            self.connector._lost()
        if mapped is not error:
            raise mapped from original


class _Within:
    """Another statement timeout for the length of a `with` block."""

    def __init__(self, connector: SqlConnector, seconds: float | None) -> None:
        self.connector, self.seconds = connector, seconds

    def __enter__(self) -> None:
        if self.seconds is not None:
            self.connector._ensure()
            self.connector._set_timeout(self.seconds)

    def __exit__(self, *_: object) -> None:
        if self.seconds is not None and self.connector._raw is not None:
            self.connector._set_timeout(self.connector.timeout)


def _parsed(secret: SecretStr) -> Any:
    import sqlalchemy as sa
    from sqlalchemy.exc import ArgumentError

    try:
        url = sa.make_url(secret.get_secret_value())
    except (ArgumentError, ValueError):
        raise SettingsError(
            "connector sql: url is not a database url.",
            remedy="It looks like postgresql://user:password@host:5432/database, special characters %-encoded.",
        ) from None
    return url.set(drivername=DRIVERS[url.drivername]) if url.drivername in DRIVERS else url


def _where(condition: str | None) -> str:
    return f" WHERE ({condition})" if condition else ""


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _quietly(close: Callable[[], Any]) -> None:
    try:
        close()
    except Exception:  # noqa: BLE001 - closing what is already broken; drivers raise classes of their own here
        return


def _bindable(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _cursor_of(batch: pa.RecordBatch, order: Sequence[str], misfits: Sequence[Misfit]) -> str:
    from weighbridge.connectors._sql_types import key_text

    last = batch.num_rows - 1
    texts: list[str] = []
    for name in order:
        value = batch.column(name)[last].as_py()
        if value is None:
            raw = next((m.raw for m in misfits if m.row == last and m.column == name), None)
            if raw is None:
                raise ProtocolError(f"the key column {name} holds a null; paging by it would lose rows.")
            value = raw
        texts.append(key_text(value))
    return json.dumps(texts, ensure_ascii=False)


def _key_texts(cursor: str, order: Sequence[str]) -> list[str]:
    try:
        texts = json.loads(cursor)
    except ValueError:
        texts = None
    if not isinstance(texts, list) or len(texts) != len(order) or not all(isinstance(t, str) for t in texts):
        raise SettingsError(f"{cursor!r} is not a cursor of this object.", remedy="Give one that a page carried.")
    return texts


def _beyond(columns: Sequence[Any], values: Sequence[Any]) -> Any:
    """(a, b) > (x, y) written out, for dialects without row values."""
    import sqlalchemy as sa

    alternatives = []
    for i, (column, value) in enumerate(zip(columns, values, strict=True)):
        same = [c == sa.literal(v, sa.types.NullType()) for c, v in zip(columns[:i], values[:i], strict=True)]
        alternatives.append(sa.and_(*same, column > sa.literal(value, sa.types.NullType())))
    return sa.or_(*alternatives)


def _streaming_cursor(raw: Any, driver: str) -> Any:
    if driver == "pymysql":
        import pymysql.cursors

        return raw.cursor(pymysql.cursors.SSCursor)
    return raw.cursor()


def _batch(rows: Sequence[Any], plan: _Plan) -> tuple[pa.RecordBatch, list[Misfit]]:
    import pyarrow as pa

    from weighbridge.connectors._sql_types import column_array

    arrays, misfits = [], []
    for name, type_, values in zip(plan.fetched, plan.types, zip(*rows, strict=True), strict=True):
        array, odd = column_array(values, type_, name)
        arrays.append(array)
        misfits += odd
    return pa.RecordBatch.from_arrays(arrays, names=list(plan.fetched)), misfits
