"""One connection to a database under the session's policy: dialled, settled, lost and dialled again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

from weighbridge.connectors._sql_dialects import LIBRARIES, Product
from weighbridge.connectors._sql_errors import classify
from weighbridge.connectors._watchdog import fuse
from weighbridge.connectors.base import Connector, TableSchema
from weighbridge.connectors.errors import (
    ConnectorError,
    DriverError,
    ProtocolError,
    SettingsError,
    UnreachableError,
)
from weighbridge.connectors.registry import missing_module
from weighbridge.connectors.session import Endpoint, Session

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = ["GRACE", "SqlConnection", "bindable", "quietly"]

T = TypeVar("T")
Key = tuple[Any, ...]

GRACE = 2.0
"""Seconds a client waits longer than the server's own timeout, so that the server's message arrives."""


class SqlConnection(Connector):
    """What every reader and writer of a database stands on; made by `SqlConnector`."""

    options: Any
    _url: Any
    _product: Product
    _dialect: Any
    _raw: Any
    _engine: Engine | None
    _schemas: dict[str, TableSchema]
    _places: dict[str, tuple[str | None, str]]
    _server_timeout: float | None

    @property
    def timeout(self) -> float:
        """Seconds for one attempt: the option's or the session's, whichever is shorter."""
        return min(self.options.timeout, self.session.timeout)

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
            dialect = dialect_class(dbapi=module)
            words = dialect.identifier_preparer
            words.reserved_words = words.reserved_words | self._product.reserved
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
                    with fuse(self._product.line(raw), self.timeout + GRACE):
                        cursor.execute(statement)
                        if cursor.description:
                            cursor.fetchall()
                    cursor.close()
            except BaseException:
                quietly(raw.close)
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
            quietly(raw.close)

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

    def _mapped(self, what: str) -> _Mapped:
        return _Mapped(self, f"{self.session.system} ({self._product.name}), {what}")

    def _run(self, work: Callable[[Any], T], what: str, *, idempotent: bool = True) -> T:
        """One statement under the session's policy; a lost connection is dialled again before a retry."""

        def once() -> T:
            raw = self._ensure()
            with self._mapped(what), fuse(self._product.line(raw), self._patience()) as watch:
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
        elif self._raw is not None:
            self._product.settle(self._raw, seconds)
        self._server_timeout = seconds

    def _writer(self) -> Any:
        """The SQLAlchemy dialect that writes statements."""
        return self._dialect

    def _driver_errors(self) -> Any:
        """The class of everything the driver raises; no class at all before it is loaded."""
        return getattr(getattr(self._dialect, "loaded_dbapi", None), "Error", ())

    def _compiled(self, statement: Any, values: Mapping[str, Any] | None = None) -> tuple[str, Any]:
        """A SQLAlchemy statement as this driver's text and parameters."""
        compiled = statement.compile(dialect=self._writer(), compile_kwargs={"render_postcompile": True})
        parameters = compiled.construct_params(values)
        if compiled.positional:
            return str(compiled), tuple(parameters[name] for name in compiled.positiontup)
        if not parameters and getattr(self._writer().identifier_preparer, "_double_percents", False):
            return str(compiled).replace("%%", "%"), {}  # without parameters the driver leaves each % as it is
        return str(compiled), dict(parameters)

    @property
    def dialect(self) -> str:
        return self._url.get_backend_name()

    def engine(self) -> Engine | None:
        """A pooled engine under the same policy: every statement it runs is an attempt of the session."""
        from weighbridge.connectors._sql_engine import pooled

        if self._engine is None:
            self.open()
            self._engine = pooled(self)
        return self._engine

    def execute(
        self, statement: str, parameters: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> list[Key]:
        """`parameters` are bound as `:name`; without them the statement goes as it is."""
        with self._within(timeout):
            if parameters is None:
                return self._rows(statement)
            import sqlalchemy as sa

            text, bound = self._compiled(sa.text(statement), parameters)
            return self._rows(text, bound)

    def _within(self, seconds: float | None) -> _Within:
        return _Within(self, seconds)


class _Mapped:
    """Turns what a driver raises into our classes, and lets go of a connection that is lost."""

    def __init__(self, connector: SqlConnection, where: str) -> None:
        self.connector, self.where = connector, where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or not isinstance(error, Exception):
            return
        original = getattr(error, "orig", None) or error
        driver_error = self.connector._driver_errors()
        if not isinstance(original, driver_error | OSError | ConnectorError):
            return
        mapped = classify(original, self.where)
        if isinstance(mapped, UnreachableError | ProtocolError) or getattr(self.connector._raw, "closed", False):
            self.connector._lost()
        if mapped is not error:
            raise mapped from original


class _Within:
    """Another statement timeout for the length of a `with` block."""

    def __init__(self, connector: SqlConnection, seconds: float | None) -> None:
        self.connector, self.seconds = connector, seconds

    def __enter__(self) -> None:
        if self.seconds is not None:
            self.connector._ensure()
            self.connector._set_timeout(self.seconds)

    def __exit__(self, *_: object) -> None:
        if self.seconds is not None and self.connector._raw is not None:
            self.connector._set_timeout(self.connector.timeout)


def quietly(close: Callable[[], Any]) -> None:
    try:
        close()
    except Exception:  # noqa: BLE001 - closing what is already broken; drivers raise classes of their own here
        return


def bindable(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
