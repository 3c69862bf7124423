"""Reach whatever has an ODBC driver: by connection string or DSN, in autocommit, in bounded memory, never for ever."""

from __future__ import annotations

import difflib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self, TypeVar

from pydantic import Field, SecretStr, model_validator

from weighbridge.connectors._odbc_ahead import Ahead
from weighbridge.connectors._odbc_columns import (
    catalog_column,
    described_column,
)
from weighbridge.connectors._odbc_dialect import default_port, dialect_name, dialect_of
from weighbridge.connectors._odbc_driver import (
    Guarded,
    Lane,
    driver_missing,
    format_string,
    load_pyodbc,
    parse_string,
)
from weighbridge.connectors._odbc_reading import PLAIN, OdbcReading
from weighbridge.connectors._sql_connection import GRACE
from weighbridge.connectors._sql_dialects import Product, product_for
from weighbridge.connectors._sql_errors import classify
from weighbridge.connectors.base import (
    Column,
    Connector,
    ConnectorOptions,
    DriverText,
    Probe,
    TableSchema,
)
from weighbridge.connectors.errors import (
    DriverError,
    MissingObjectError,
    RejectedError,
    SettingsError,
)
from weighbridge.connectors.session import Endpoint, Session

__all__ = ["OdbcConnector", "OdbcOptions"]

F = TypeVar("F")

# ODBC's information types (sql.h)
DRIVER_NAME, DRIVER_VERSION, DBMS_NAME, DBMS_VERSION, QUOTE, DATABASE, USER = 6, 7, 17, 18, 29, 16, 47

FRAGILE = ("mdbodbc", "mdbtools")
"""Drivers whose catalog functions fail or crash the process, as mdbtools' SQLStatistics does: described by a query."""
HOST_KEYS = ("server", "servername", "host", "hostname")


class OdbcOptions(ConnectorOptions):
    """`connection_string`, secret as a whole, or `dsn` with `username` and `password` where it needs them."""

    connection_string: SecretStr | None = None
    dsn: str | None = None
    username: str | None = None
    password: SecretStr | None = None
    schema_: str | None = Field(default=None, alias="schema")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.connection_string is None) == (self.dsn is None):
            raise ValueError("give either connection_string or dsn")
        return self


class OdbcConnector(OdbcReading):
    """A database behind a driver of its vendor; what a native driver does better is `sql`'s."""

    kind: ClassVar[str] = "odbc"
    options_model: ClassVar[type[ConnectorOptions]] = OdbcOptions
    options: OdbcOptions  # type: ignore[assignment]  # the parent reads schema_ and timeout of it only

    def __init__(self, options: Mapping[str, Any] | ConnectorOptions, session: Session | None = None) -> None:
        Connector.__init__(self, options, session)
        self._parts = self._connection_parts()
        self._product: Product = Product()
        self.networked = bool(self.endpoints())  # type: ignore[misc]  # a connection string decides it, not the class
        self._dialect: Any = None
        self._raw: Any = None
        self._engine = None
        self._schemas: dict[str, TableSchema] = {}
        self._places: dict[str, tuple[str | None, str]] = {}
        self._server_timeout: float | None = None
        self._about: dict[str, str] = {}
        self._pyodbc: Any = None
        self._ahead = Ahead(self.session)

    def _connection_parts(self) -> dict[str, str]:
        if self.options.connection_string is None:
            parts = {"DSN": self.options.dsn or ""}
            if self.options.username is not None:
                parts["UID"] = self.options.username
            if self.options.password is not None:
                parts["PWD"] = self.options.password.get_secret_value()
            return parts
        try:
            return parse_string(self.options.connection_string.get_secret_value())
        except ValueError as error:
            raise SettingsError(
                f"connector odbc: {error}.", remedy="Braces go around values with ; or = in them."
            ) from None

    # --- connecting ----------------------------------------------------------------------------------------------

    def open(self) -> None:
        if self._raw is None:
            self._pyodbc = load_pyodbc()
            self._ensure()

    def _opened(self) -> bool:
        return self._pyodbc is not None

    def fork(self, session: Session) -> Self:
        twin = type(self)(self.options, session)
        twin._schemas, twin._places = dict(self._schemas), dict(self._places)
        twin.open()
        return twin

    def endpoints(self) -> Sequence[Endpoint]:
        """The server's address where the connection string names it; a DSN keeps it to itself."""
        keys = {k.lower(): v for k, v in self._parts.items()}
        address = next((keys[k] for k in HOST_KEYS if k in keys), None)
        if not address or address.startswith(("/", ".", "(")):
            return ()
        host, _, port = address.removeprefix("tcp:").partition(",")
        number = port or keys.get("port") or str(default_port(keys.get("driver", "")) or "")
        tls = keys.get("sslmode", "") in {"require", "verify-ca", "verify-full"} or keys.get("encrypt", "") in {
            "yes",
            "strict",
        }
        return (Endpoint(host, int(number), tls),) if number.isdigit() else ()

    def _routed(self) -> dict[str, str]:
        endpoint = next(iter(self.endpoints()), None)
        target = endpoint and self.session.route(endpoint)
        if endpoint is None or target is None or target == endpoint:
            return dict(self._parts)
        parts = {k: v for k, v in self._parts.items() if k.lower() != "port"}
        name = next(k for k in parts if k.lower() in HOST_KEYS)
        if "," in parts[name] or parts[name].startswith("tcp:"):
            return parts | {name: f"tcp:{target.host},{target.port}"}
        return parts | {name: target.host, "Port": str(target.port)}

    def _dial(self, **extra: str) -> Any:
        parts = self._routed()
        driver = next((v for k, v in parts.items() if k.lower() == "driver"), "")
        if "sqlite" in driver.lower():
            extra = {**extra, "BigInt": "1"}  # or a number of more than 32 bits arrives as another one
        elif "maria" in driver.lower():
            extra = {**extra, "CHARSET": "utf8mb4"}  # or statements may only have the letters of the machine's locale
        given = {k.lower() for k in parts}
        parts |= {k: v for k, v in extra.items() if k.lower() not in given}
        lane = Lane()
        seconds = max(1, round(self.timeout))
        try:
            with self._connecting(parts):
                raw = lane.run(
                    lambda: self._pyodbc.connect(format_string(parts), autocommit=True, timeout=seconds),
                    seconds + GRACE,
                )
        except BaseException:
            lane.end()
            raise
        guarded = Guarded(lane, raw, self._patience)
        try:
            with self._connecting(parts):
                self._settle(guarded)
        except BaseException:
            guarded.close()
            raise
        return guarded

    def _connecting(self, parts: Mapping[str, str]) -> _Connecting:
        return _Connecting(self, parts)

    def _settle(self, guarded: Guarded) -> None:
        """Learn what answers, and give this session its timeouts and its read-only mode."""
        if not self._about:
            for word, number in (("driver", DRIVER_NAME), ("driver_version", DRIVER_VERSION), ("product", DBMS_NAME),
                                 ("version", DBMS_VERSION), ("quote", QUOTE)):  # fmt: skip
                try:
                    self._about[word] = str(guarded.getinfo(number)).strip("\0 ")
                except self._pyodbc.Error:
                    self._about[word] = ""
            self._about["dialect"] = dialect_name(self._about)
            self._product = product_for(self._about["dialect"])
        if "maodbc" in self._about["driver"].lower():
            guarded.run(guarded.narrow_text)
        if self.dialect not in {"postgresql", "mariadb", "mysql", "sqlite"}:
            # elsewhere the driver carries the timeout; those above ignore or refuse it, and have one on the server
            try:
                guarded.run(lambda: setattr(guarded.raw, "timeout", max(1, round(self.timeout))))
            except self._pyodbc.Error:
                self._about["timeout"] = "this driver takes no query timeout"
        for statement in self._product.session_statements(self.timeout, writes=self.session.writes_allowed):
            cursor = guarded.cursor()
            cursor.execute(statement)
            if cursor.description:
                cursor.fetchall()
            cursor.close()

    @property
    def dialect(self) -> str:
        return self._about.get("dialect", "odbc")

    def _writer(self) -> Any:
        # only where plain words will not do: a read of a usual product never loads SQLAlchemy
        if self._dialect is None:
            self._dialect = dialect_of(self._about, self._pyodbc)
        return self._dialect

    def _driver_errors(self) -> Any:
        return getattr(self._pyodbc, "Error", ())

    def quoted(self, object: str) -> str:
        if self.dialect not in PLAIN:
            return super().quoted(object)
        schema, table = self._place(object)
        return f"{self.quoted_name(schema)}.{self.quoted_name(table)}" if schema else self.quoted_name(table)

    def quoted_name(self, column: str) -> str:
        mark = PLAIN.get(self.dialect)
        return super().quoted_name(column) if mark is None else f"{mark}{column.replace(mark, mark * 2)}{mark}"

    def engine(self) -> None:
        """There is no SQLAlchemy engine over plain ODBC: rules are checked on the landed rows."""
        return

    def facet(self, wanted: type[F]) -> F | None:
        if wanted is DriverText and self.dialect == "access":
            return None  # its SQL has no CAST
        return super().facet(wanted)

    # --- what is there -------------------------------------------------------------------------------------------

    def probe(self) -> Probe:
        started = time.monotonic()
        self._ensure()
        facts = dict(self._product.facts(self._ask, self.options.schema_))
        facts["driver"] = f"{self._about['driver']} {self._about['driver_version']}".strip()
        facts["autocommit"] = True
        if note := self._about.get("timeout"):
            facts["query_timeout"] = note
        if self.dialect == "postgresql":
            tls = self._product.tls(self._raw, self._ask)
            facts["tls"] = None if tls is None else tls["tls"]
        version = facts.pop("version", None) or self._about["version"]
        user = facts.pop("user", None)
        facts = {k: v for k, v in facts.items() if v is not None}
        return Probe(self._about["product"] or "ODBC", str(version), user, time.monotonic() - started, facts)

    def _catalog(self, function: str, **arguments: Any) -> list[Any]:
        def work(raw: Guarded) -> list[Any]:
            cursor = raw.cursor()
            try:
                return cursor.catalog(function, **{k: v for k, v in arguments.items() if v is not None})
            finally:
                cursor.close()

        return self._run(work, f"catalog {function}")

    @property
    def _fragile(self) -> bool:
        names = f"{self._about.get('driver', '')} {self._about.get('product', '')}".lower()
        return any(word in names for word in FRAGILE)

    def objects(self) -> Sequence[str]:
        rows = self._catalog("tables", schema=self.options.schema_)
        kinds = {"TABLE", "VIEW", "BASE TABLE"}
        hidden = {"information_schema", "pg_catalog", "pg_toast", "mysql", "performance_schema", "sys"}
        return sorted({r[2] for r in rows if r[3] in kinds and str(r[1] or r[0] or "").lower() not in hidden})

    def _place(self, object: str) -> tuple[str | None, str]:
        name = str(object)
        if name not in self._places:
            place = (self.options.schema_, name)
            if "." in name and not self._fragile and not self._catalog("tables", table=name, schema=place[0]):
                schema, _, table = name.rpartition(".")
                place = (schema, table)
            self._places[name] = place
        return self._places[name]

    def _discovered(self, object: str) -> TableSchema:
        schema, table = self._place(object)
        columns = () if self._fragile else self._by_catalog(schema, table)
        columns = columns or self._by_description(object)
        if self._fragile:
            return TableSchema(columns, ())
        keys = self._keys(schema, table)
        unique = {c[0] for c in self._unique(schema, table) if len(c) == 1} | ({keys[0]} if len(keys) == 1 else set())
        described = [c if c.name not in unique else replace(c, unique=True) for c in columns]
        return TableSchema(tuple(described), keys)

    def _by_catalog(self, schema: str | None, table: str) -> tuple[Column, ...]:
        try:
            rows = self._catalog("columns", table=table, schema=schema)
        except RejectedError:
            return ()
        return tuple(catalog_column(row, self.dialect) for row in rows if row[2] == table)

    def _by_description(self, object: str) -> tuple[Column, ...]:
        """What a query over no rows says of its columns: for drivers without a catalog."""

        def work(raw: Guarded) -> Any:
            cursor = raw.cursor()
            try:
                where = "" if self._fragile else " WHERE 1 = 0"
                cursor.execute(f"SELECT * FROM {self.quoted(object)}{where}")
                return cursor.description
            finally:
                cursor.close()

        try:
            described = self._run(work, f"describe {object}")
        except (MissingObjectError, RejectedError) as error:
            raise MissingObjectError(
                f"{self.session.system}: there is no table or view {object!r} here: {error.message}",
                remedy=self._suggest(str(object)),
            ) from error
        return tuple(described_column(d) for d in described)

    def _keys(self, schema: str | None, table: str) -> tuple[str, ...]:
        try:
            rows = self._catalog("primaryKeys", table=table, schema=schema)
        except (RejectedError, DriverError):
            return ()
        return tuple(row[3] for row in sorted(rows, key=lambda r: r[4]))

    def _unique(self, schema: str | None, table: str, *, only: bool = True) -> list[tuple[str, ...]]:
        try:
            rows = self._catalog("statistics", table=table, schema=schema, unique=only, quick=True)
        except (RejectedError, DriverError):
            return []
        found: dict[str, list[tuple[int, str]]] = {}
        for row in rows:
            if row[5] is not None and row[8] is not None:
                found.setdefault(row[5], []).append((row[7], row[8]))
        return [tuple(name for _, name in sorted(parts)) for parts in found.values()]

    def indexes(self, object: str) -> Sequence[tuple[str, ...]] | None:
        if self._fragile:
            return None
        schema, table = self._place(object)
        keys = self._keys(schema, table)
        return list(dict.fromkeys([*([keys] if keys else []), *self._unique(schema, table, only=False)]))

    def _suggest(self, object: str) -> str:
        known = self.objects()
        close = difflib.get_close_matches(object.rpartition(".")[2].lower(), [k.lower() for k in known], n=3)
        matches = [k for k in known if k.lower() in close]
        return f"Did you mean {', '.join(map(repr, matches))}?" if matches else f"There are: {', '.join(known[:10])}."

    def count(self, object: str) -> Any:
        self.discover(object)  # a missing table is told with suggestions, whatever words the driver has for it
        return super().count(object)


class _Connecting:
    """Maps what fails while connecting; a missing driver is told with the package to install."""

    def __init__(self, connector: OdbcConnector, parts: Mapping[str, str]) -> None:
        self.connector, self.parts = connector, parts

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or not isinstance(error, self.connector._pyodbc.Error):
            return
        system = self.connector.session.system
        mapped = classify(error, f"{system} (ODBC), connect")
        if isinstance(mapped, DriverError):
            named = {k.lower(): v for k, v in self.parts.items()}
            name = named.get("driver") or named.get("dsn") or named.get("filedsn") or "(none named)"
            raise driver_missing(name, list(self.connector._pyodbc.drivers()), system) from error
        raise mapped from error
