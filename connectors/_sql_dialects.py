"""What differs between database products: how to dial, what to set on the session, what to ask for limits.

One small class a product; `SqlConnector` knows only the base. Products that could not be had for a test have their
own words here as well, and stand in `UNPROVEN`.
"""

# ruff: noqa: ARG002 - the signatures are the seam: a product overrides what it needs and leaves the rest unused

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from weighbridge.connectors.base import Column, Observation
from weighbridge.connectors.errors import FileError
from weighbridge.connectors.session import Endpoint

__all__ = ["UNPROVEN", "Product", "Reported", "product_for"]

Rows = Sequence[tuple[Any, ...]]
Ask = Callable[[str], Rows]
"""Runs one statement and returns its rows."""

Reported = tuple[str, str, float | None, str, str | None, float | None, Mapping[str, Any]]
"""name, scope, cap, unit, window, used, detail: a `Limit` before source, environment and time are added."""

UNPROVEN = ("mssql", "oracle", "db2", "access")
"""Dialects whose connection is written after the vendor's documentation but was never run against a server."""

DRIVERS: Mapping[str, str] = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "mssql": "mssql+mssqlpython",
    "oracle": "oracle+oracledb",
}
"""The driver taken where a url names none; a url that names one keeps it."""

LIBRARIES: Mapping[str, str] = {
    "postgresql": "psycopg[binary]",
    "mysql": "weighbridge[mysql]",
    "mariadb": "weighbridge[mysql]",
    "mssql": "weighbridge[mssql]",
    "oracle": "weighbridge[oracle]",
    "db2": "weighbridge[db2]",
    "ibm_db_sa": "weighbridge[db2]",
    "firebird": "weighbridge[firebird]",
    "access": "weighbridge[access]",
}


class Product:
    """A database product in general terms: what works wherever SQL is spoken."""

    name: ClassVar[str] = "SQL database"
    default_port: ClassVar[int | None] = None
    text_type: ClassVar[str] = "VARCHAR(4000)"
    networked: ClassVar[bool] = True
    engine_keywords: ClassVar[Mapping[str, Any]] = {}
    """Given to SQLAlchemy's create_engine."""
    limit: ClassVar[str] = "LIMIT {}"
    """The words behind a SELECT for so many rows."""
    fraction: ClassVar[int] = 6
    """Digits behind the second that a timestamp as text may have."""

    reserved: ClassVar[frozenset[str]] = frozenset()
    """Words that must be quoted as names and are missing from SQLAlchemy's list."""

    def dial(self, dialect: Any, url: Any, *, timeout: float, route: Endpoint | None, writes: bool) -> Any:
        """A new DBAPI connection in autocommit; `route` is where to dial instead of the url's host."""
        if route is not None:
            url = url.set(host=route.host, port=route.port)
        arguments, keywords = dialect.create_connect_args(url)
        keywords = {**keywords, **self.connect_keywords(timeout)}
        connection = dialect.loaded_dbapi.connect(*arguments, **keywords)
        self.autocommit(connection)
        return connection

    def connect_keywords(self, timeout: float) -> dict[str, Any]:
        return {}

    def autocommit(self, connection: Any) -> None:
        """Every statement its own transaction, so that nothing is ever left open on the system."""
        setter = connection.autocommit
        if callable(setter):
            setter(True)
        else:
            connection.autocommit = True

    def session_statements(self, timeout: float, *, writes: bool) -> Sequence[str]:
        """What to send once after connecting: read only, timeouts on the server, UTC."""
        return ()

    def settle(self, connection: Any, timeout: float) -> None:
        """Client-side settings where the server has no timeout of its own."""

    def timeout_statement(self, seconds: float) -> str | None:
        """Changes the statement timeout of this session; None where only the client can, by `settle`."""
        return None

    def line(self, connection: Any) -> int | Callable[[], None] | None:
        """What to cut where a driver has no read timeout: its socket, or a function; None where it has one."""
        return None

    def tls(self, connection: Any, ask: Ask) -> Mapping[str, Any] | None:
        """`{"tls": bool, "version", "cipher"}`; None where it cannot be told."""
        return None

    def facts(self, ask: Ask, schema: str | None) -> Mapping[str, Any]:
        """Printable facts: version, user, database, read_only (session), can_write (login)."""
        return {}

    def observations(self, facts: Mapping[str, Any]) -> Sequence[Observation]:
        return ()

    def limits(self, ask: Ask) -> Sequence[Reported]:
        return ()

    def types(self, ask: Ask, table: str) -> Mapping[str, Any]:
        """SQLAlchemy types of the columns whose reflected type is wrong, by name as the server spells both."""
        return {}

    def indexes(self, ask: Ask, table: str) -> Sequence[tuple[str, ...]] | None:
        """Columns of each index that is in use, of a table as the server spells it; None: SQLAlchemy is asked."""
        return None

    def as_text(self, quoted: str, column: Column | None) -> str:
        """SQL that gives a quoted column as text by the server; null where there is no such text."""
        return f"CAST({quoted} AS {self.text_type})"

    def upsert(
        self, table: str, columns: Sequence[str], values: str, key: str, quoted: Callable[[str], str]
    ) -> str | None:
        """INSERT that updates the row of the same unique `key`; None where the product has no such statement."""
        return None


class Postgres(Product):
    name = "PostgreSQL"
    default_port = 5432
    text_type = "TEXT"
    # asking for hstore's type number opens a transaction
    engine_keywords: ClassVar[Mapping[str, Any]] = {"use_native_hstore": False}

    def dial(self, dialect: Any, url: Any, *, timeout: float, route: Endpoint | None, writes: bool) -> Any:
        arguments, keywords = dialect.create_connect_args(url)
        keywords = {**keywords, "connect_timeout": max(2, round(timeout)), "autocommit": True}
        keywords.setdefault("application_name", "weighbridge")
        if route is not None:
            # libpq dials hostaddr and goes on checking the certificate against host
            host = keywords.get("host") or "localhost"
            keywords |= {"host": host, "hostaddr": socket.gethostbyname(route.host), "port": route.port}
        if dialect.driver != "psycopg":
            keywords.pop("autocommit")
            keywords.pop("connect_timeout")
        connection = dialect.loaded_dbapi.connect(*arguments, **keywords)
        self.autocommit(connection)
        if dialect.driver == "psycopg":
            _keep_odd_dates(connection)
        return connection

    def session_statements(self, timeout: float, *, writes: bool) -> Sequence[str]:
        settings = {
            "statement_timeout": f"{round(timeout * 1000)}",
            "lock_timeout": f"{round(timeout * 1000)}",
            "idle_in_transaction_session_timeout": f"{round(timeout * 1000)}",
            "default_transaction_read_only": "off" if writes else "on",
            "TimeZone": "UTC",
            "DateStyle": "ISO, YMD",
            "IntervalStyle": "iso_8601",
            "bytea_output": "hex",
            "extra_float_digits": "1",
            "client_encoding": "UTF8",
            "application_name": "weighbridge",
        }
        return ["SELECT " + ", ".join(f"set_config('{k}', '{v}', false)" for k, v in settings.items())]

    def timeout_statement(self, seconds: float) -> str | None:
        return f"SELECT set_config('statement_timeout', '{round(seconds * 1000)}', false)"

    def line(self, connection: Any) -> int | None:
        return connection.fileno() if hasattr(connection, "fileno") else None

    def tls(self, connection: Any, ask: Ask) -> Mapping[str, Any] | None:
        rows = ask("SELECT ssl, version, cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        # the client's own word: behind a proxy that ends TLS the server sees plain text
        wire = getattr(connection, "pgconn", None)
        encrypted = bool(wire.ssl_in_use) if wire is not None else bool(rows) and _truth(rows[0][0])
        version, cipher = rows[0][1:] if rows else (None, None)
        until = _certificate_end(connection) if encrypted else None
        return {"tls": encrypted, "version": version, "cipher": cipher, "certificate_expires": until}

    def facts(self, ask: Ask, schema: str | None) -> Mapping[str, Any]:
        space = "current_schema()" if schema is None else "'" + schema.replace("'", "''") + "'"
        row = ask(
            "SELECT current_setting('server_version'), current_user, current_database(), "
            "current_setting('server_encoding'), current_setting('TimeZone'), "
            "current_setting('default_transaction_read_only') = 'on', "
            "(SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user), "
            "(SELECT r.rolcreatedb OR r.rolcreaterole FROM pg_catalog.pg_roles r WHERE r.rolname = current_user), "
            f"(SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
            f"WHERE n.nspname = {space} AND c.relkind IN ('r', 'p') AND "
            "has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')), "
            f"COALESCE(has_schema_privilege({space}, 'CREATE'), false), "
            "pg_is_in_recovery(), "
            # what the login starts with, before this connector set its own
            "(SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'statement_timeout')"
        )[0]
        return {
            "version": row[0],
            "user": row[1],
            "database": row[2],
            "encoding": row[3],
            "timezone": row[4],
            "read_only": _truth(row[5]) or _truth(row[10]),
            "superuser": _truth(row[6]),
            "administrator": _truth(row[7]),
            "writable_tables": int(row[8]),
            "can_create": _truth(row[9]),
            "replica": _truth(row[10]),
            "server_statement_timeout_ms": int(row[11] or 0),
            "can_write": _truth(row[6]) or int(row[8]) > 0 or _truth(row[9]),
        }

    def limits(self, ask: Ask) -> Sequence[Reported]:
        row = ask(
            "SELECT current_setting('max_connections')::int, "
            "current_setting('superuser_reserved_connections')::int, "
            "COALESCE(current_setting('reserved_connections', true), '0')::int, "
            "(SELECT rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = current_user), "
            "(SELECT datconnlimit FROM pg_catalog.pg_database WHERE datname = current_database()), "
            "(SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend'), "
            "(SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE usename = current_user), "
            "(SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datname = current_database() "
            "AND backend_type = 'client backend'), "
            "(SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE application_name = 'weighbridge' "
            "AND usename = current_user AND datname = current_database()), "
            "(SELECT reset_val::bigint FROM pg_catalog.pg_settings WHERE name = 'statement_timeout')"
        )[0]
        maximum, reserved, also, role, base, used, by_user, by_base, own, timeout = (int(v) for v in row)
        # what this application holds itself is no background: one connection stands for it
        used, by_user, by_base = (max(0, n - own) + 1 for n in (used, by_user, by_base))
        detail = {"max_connections": maximum, "kept_for_superuser": reserved + also, "own": own}
        found: list[Reported] = [
            ("connections", "server", maximum - reserved - also, "connections", "concurrent", used, detail)
        ]
        if role >= 0:
            found.append(("connections", "user", role, "connections", "concurrent", by_user, {"own": own}))
        if base >= 0:
            found.append(("connections", "database", base, "connections", "concurrent", by_base, {"own": own}))
        cap = timeout / 1000 if timeout else None
        found.append(("statement_timeout", "user", cap, "seconds", None, None, {"set": timeout > 0}))
        return found

    def upsert(
        self, table: str, columns: Sequence[str], values: str, key: str, quoted: Callable[[str], str]
    ) -> str | None:
        return _on_conflict(table, columns, values, key, quoted)


def _truth(value: Any) -> bool:
    # psqlodbc hands truth values over as '0' and '1' unless it is told otherwise
    return value in (True, 1, "1", "t", "true")


SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""PostgreSQL's wire protocol: length 8, code 80877103; the server answers S or N."""


def _certificate_end(connection: Any) -> str | None:
    """Last day of the server's certificate; libpq does not hand it out, so one handshake of our own reads it.

    It is read, not trusted: libpq has verified it as far as sslmode asks.
    """
    from cryptography import x509

    reading = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    reading.check_hostname = False
    reading.verify_mode = ssl.CERT_NONE
    info = getattr(connection, "info", None)
    if info is None:
        return None
    try:
        with socket.create_connection((info.hostaddr or info.host, info.port), timeout=10) as plain:
            plain.sendall(SSL_REQUEST)
            if plain.recv(1) != b"S":
                return None
            with reading.wrap_socket(plain, server_hostname=info.host) as secure:
                shown = secure.getpeercert(binary_form=True)
    except OSError:
        return None
    return x509.load_der_x509_certificate(shown).not_valid_after_utc.isoformat() if shown else None


def _keep_odd_dates(connection: Any) -> None:
    """'infinity' and years beyond 9999 arrive as the text they are; psycopg would stop the whole fetch."""
    from psycopg import DataError
    from psycopg.types import datetime as loaders

    def kept(base: Any) -> Any:
        class Kept(base):
            def load(self, data: Any) -> Any:
                try:
                    return super().load(data)
                except DataError:
                    return bytes(data).decode()

        return Kept

    for name, base in (
        ("date", loaders.DateLoader),
        ("timestamp", loaders.TimestampLoader),
        ("timestamptz", loaders.TimestamptzLoader),
    ):
        connection.adapters.register_loader(name, kept(base))


class MySql(Product):
    name = "MySQL"
    default_port = 3306
    text_type = "CHAR"

    def __init__(self, *, mariadb: bool) -> None:
        self.mariadb = mariadb
        if mariadb:
            self.name = "MariaDB"  # type: ignore[misc]  # one class for two products of one family

    def dial(self, dialect: Any, url: Any, *, timeout: float, route: Endpoint | None, writes: bool) -> Any:
        arguments, keywords = dialect.create_connect_args(url)
        if dialect.driver != "pymysql":
            return super().dial(dialect, url, timeout=timeout, route=route, writes=writes)
        keywords = {
            **keywords,
            "connect_timeout": max(1, round(timeout)),
            "read_timeout": timeout + 2,
            "write_timeout": timeout + 2,
            "autocommit": True,
        }
        keywords.setdefault("charset", "utf8mb4")
        keywords.setdefault("program_name", "weighbridge")
        if route is None:
            connection = dialect.loaded_dbapi.connect(*arguments, **keywords)
        else:
            # a socket of our own: the driver goes on naming the real host in the TLS handshake
            connection = dialect.loaded_dbapi.connect(*arguments, **{**keywords, "defer_connect": True})
            connection.connect(socket.create_connection((route.host, route.port), timeout=timeout))
        # a url of either product reaches the other one too: the server says which it is
        self.mariadb = "mariadb" in str(connection.get_server_info()).lower()
        self.name = "MariaDB" if self.mariadb else "MySQL"  # type: ignore[misc]  # as above
        return connection

    def session_statements(self, timeout: float, *, writes: bool) -> Sequence[str]:
        statements = ["SET time_zone = '+00:00'"]
        if not writes:
            statements.append("SET SESSION TRANSACTION READ ONLY")
        text = self.timeout_statement(timeout)
        return [*statements, text] if text else statements

    def timeout_statement(self, seconds: float) -> str | None:
        if self.mariadb:
            return f"SET SESSION max_statement_time = {seconds:.3f}"
        return f"SET SESSION max_execution_time = {round(seconds * 1000)}"

    def as_text(self, quoted: str, column: Column | None) -> str:
        if column is not None and column.native.lower().startswith("bit"):
            return f"CAST({quoted} + 0 AS CHAR)"
        return _hex_of_bytes(column, quoted) or super().as_text(quoted, column)

    def tls(self, connection: Any, ask: Ask) -> Mapping[str, Any] | None:
        status = {str(k).lower(): v for k, v in ask("SHOW SESSION STATUS LIKE 'Ssl_%'")}
        return {
            "tls": bool(status.get("ssl_cipher")),
            "version": status.get("ssl_version") or None,
            "cipher": status.get("ssl_cipher") or None,
        }

    def facts(self, ask: Ask, schema: str | None) -> Mapping[str, Any]:
        version, user, database, charset, zone, read_only = ask(
            "SELECT version(), current_user(), database(), @@character_set_database, @@time_zone, "
            + ("@@tx_read_only" if self.mariadb else "@@transaction_read_only")
        )[0]
        grants = [str(row[0]) for row in ask("SHOW GRANTS")]
        # without the columns that a right may be limited to
        writing = [g for g in grants if _GRANT_WRITES.match(re.sub(r" \((`[^`]*`(, )?)+\)", "", g))]
        # a login may have a timeout of its own, which only its grants tell
        own = next((float(m.group(1)) for g in grants if (m := _GRANT_TIMEOUT.search(g))), 0.0)
        timeout = own or self._timeout(ask)
        return {
            "version": version,
            "user": user,
            "database": database,
            "encoding": charset,
            "timezone": zone,
            "read_only": bool(read_only),
            "superuser": any(re.search(r"GRANT ALL PRIVILEGES ON \*\.\*|\bSUPER\b", g) for g in grants),
            "can_write": bool(writing),
            "server_statement_timeout_ms": round(timeout * 1000),
        }

    def _timeout(self, ask: Ask) -> float:
        value = ask("SELECT @@global.max_statement_time" if self.mariadb else "SELECT @@global.max_execution_time")[0][
            0
        ]
        return float(value) if self.mariadb else float(value) / 1000

    def limits(self, ask: Ask) -> Sequence[Reported]:
        maximum, by_user = ask("SELECT @@max_connections, @@max_user_connections")[0]
        status = {str(k): v for k, v in ask("SHOW GLOBAL STATUS WHERE Variable_name IN "
                                            "('Threads_connected', 'Max_used_connections')")}  # fmt: skip
        connected = status.get("Threads_connected")
        used = None if connected is None else float(connected)
        peak = status.get("Max_used_connections")
        detail = {"max_connections": int(maximum), "most_ever": None if peak is None else int(peak)}
        found: list[Reported] = [("connections", "server", float(maximum), "connections", "concurrent", used, detail)]
        if by_user:
            found.append(("connections", "user", float(by_user), "connections", "concurrent", None, {}))
        timeout = self._timeout(ask)
        found.append(("statement_timeout", "server", timeout or None, "seconds", None, None, {"set": timeout > 0}))
        return found

    def upsert(
        self, table: str, columns: Sequence[str], values: str, key: str, quoted: Callable[[str], str]
    ) -> str | None:
        names = ", ".join(quoted(c) for c in columns)
        updates = ", ".join(f"{quoted(c)} = VALUES({quoted(c)})" for c in columns if c != key)
        updates = updates or f"{quoted(key)} = {quoted(key)}"
        return f"INSERT INTO {table} ({names}) VALUES ({values}) ON DUPLICATE KEY UPDATE {updates}"


_GRANT_TIMEOUT = re.compile(r"(?i)\bMAX_STATEMENT_TIME ([0-9.]+)")
_GRANT_WRITES = re.compile(
    r"(?i)^GRANT\s+(?:[^`]*\b)?(?:ALL PRIVILEGES|INSERT|UPDATE|DELETE|DROP|CREATE|ALTER|SUPER)\b[^`]*?\bON\b"
)


class Sqlite(Product):
    name = "SQLite"
    text_type = "TEXT"
    networked = False
    reserved = frozenset({"nothing", "returning"})  # all of SQLite 3.40's keywords were tried

    def dial(self, dialect: Any, url: Any, *, timeout: float, route: Endpoint | None, writes: bool) -> Any:
        import sqlite3

        if not url.database or url.database == ":memory:":
            return sqlite3.connect(":memory:", timeout=timeout, isolation_level=None, check_same_thread=False)
        path = Path(url.database.removeprefix("file:").split("?")[0])
        if not path.is_file():
            raise FileError(
                f"there is no database file {path}.", remedy="Check the url; nothing was created in its place."
            )
        mode = "rw" if writes else "ro"
        address = f"file:{quote(str(path))}?mode={mode}"
        connection = sqlite3.connect(address, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False)
        connection.text_factory = _text_or_bytes
        return connection

    def session_statements(self, timeout: float, *, writes: bool) -> Sequence[str]:
        return [] if writes else ["PRAGMA query_only = ON"]

    def facts(self, ask: Ask, schema: str | None) -> Mapping[str, Any]:
        import os

        version = ask("SELECT sqlite_version()")[0][0]
        file = next((row[2] for row in ask("PRAGMA database_list") if row[1] == "main"), "")
        encoding = ask("PRAGMA encoding")[0][0]
        return {
            "version": version,
            "user": None,
            "database": Path(file).name or ":memory:",
            "encoding": encoding,
            "journal_mode": ask("PRAGMA journal_mode")[0][0],
            "read_only": bool(ask("PRAGMA query_only")[0][0]),
            "can_write": bool(file) and os.access(file, os.W_OK),
        }

    def as_text(self, quoted: str, column: Column | None) -> str:
        return _hex_of_bytes(column, quoted) or super().as_text(quoted, column)

    def limits(self, ask: Ask) -> Sequence[Reported]:
        return [
            ("writers", "database", 1, "users", "concurrent", None, {"why": "SQLite has one writer at a time"}),
        ]

    def upsert(
        self, table: str, columns: Sequence[str], values: str, key: str, quoted: Callable[[str], str]
    ) -> str | None:
        return _on_conflict(table, columns, values, key, quoted)


def _hex_of_bytes(column: Column | None, quoted: str) -> str | None:
    """Bytes as digits: as text they would be read in some code page."""
    import pyarrow.types as pt

    return f"HEX({quoted})" if column is not None and pt.is_binary(column.type) else None


def _text_or_bytes(raw: bytes) -> str | bytes:
    # SQLite stores any bytes as text; what is no UTF-8 must arrive as it is, not stop the whole read
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _on_conflict(table: str, columns: Sequence[str], values: str, key: str, quoted: Callable[[str], str]) -> str:
    names = ", ".join(quoted(c) for c in columns)
    updates = ", ".join(f"{quoted(c)} = excluded.{quoted(c)}" for c in columns if c != key)
    action = f"DO UPDATE SET {updates}" if updates else "DO NOTHING"
    return f"INSERT INTO {table} ({names}) VALUES ({values}) ON CONFLICT ({quoted(key)}) {action}"


class MsSql(Product):
    name = "Microsoft SQL Server"
    default_port = 1433
    text_type = "NVARCHAR(4000)"
    limit = "OFFSET 0 ROWS FETCH NEXT {} ROWS ONLY"

    def session_statements(self, timeout: float, *, writes: bool) -> Sequence[str]:
        return [f"SET LOCK_TIMEOUT {round(timeout * 1000)}", "SET DEADLOCK_PRIORITY LOW"]

    def settle(self, connection: Any, timeout: float) -> None:
        connection.timeout = max(1, round(timeout))  # a query timeout of the driver, carried out by the server

    def facts(self, ask: Ask, schema: str | None) -> Mapping[str, Any]:
        row = ask(
            "SELECT CAST(SERVERPROPERTY('ProductVersion') AS NVARCHAR(128)), SUSER_SNAME(), DB_NAME(), "
            "HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'INSERT'), IS_SRVROLEMEMBER('sysadmin')"
        )[0]
        return {
            "version": row[0], "user": row[1], "database": row[2], "read_only": False,
            "superuser": bool(row[4]), "can_write": bool(row[3]),
        }  # fmt: skip

    def limits(self, ask: Ask) -> Sequence[Reported]:
        maximum = float(ask("SELECT @@MAX_CONNECTIONS")[0][0])
        return [("connections", "server", maximum, "connections", "concurrent", None, {})]


class Oracle(Product):
    name = "Oracle Database"
    default_port = 1521
    text_type = "VARCHAR2(4000)"
    limit = "FETCH FIRST {} ROWS ONLY"

    def session_statements(self, timeout: float, *, writes: bool) -> Sequence[str]:
        return ["ALTER SESSION SET TIME_ZONE = 'UTC'"]

    def settle(self, connection: Any, timeout: float) -> None:
        connection.call_timeout = round(timeout * 1000)

    def facts(self, ask: Ask, schema: str | None) -> Mapping[str, Any]:
        row = ask(
            "SELECT (SELECT version FROM product_component_version WHERE ROWNUM = 1), "
            "SYS_CONTEXT('USERENV', 'SESSION_USER'), SYS_CONTEXT('USERENV', 'DB_NAME'), "
            "(SELECT COUNT(*) FROM session_privs WHERE privilege LIKE 'INSERT ANY%' OR privilege LIKE 'CREATE TABLE') "
            "FROM dual"
        )[0]
        return {"version": row[0], "user": row[1], "database": row[2], "read_only": False, "can_write": row[3] > 0}


def _firebird() -> Product:
    from weighbridge.connectors._sql_firebird import Firebird

    return Firebird()


PRODUCTS: Mapping[str, Callable[[], Product]] = {
    "postgresql": Postgres,
    "mysql": lambda: MySql(mariadb=False),
    "mariadb": lambda: MySql(mariadb=True),
    "sqlite": Sqlite,
    "mssql": MsSql,
    "oracle": Oracle,
    "firebird": _firebird,
}


def product_for(dialect: str) -> Product:
    """The product behind a SQLAlchemy dialect name; the general one where we know no better."""
    return PRODUCTS.get(dialect, Product)()
