"""Firebird's driver as a connection in autocommit: each statement is a transaction of its own, and ends in time.

The driver begins a transaction with the first statement and leaves it open, and it has no timeout. Here a transaction
ends with the statement's last row, and a statement that takes too long is cancelled on the server.
"""

from __future__ import annotations

import codecs
import contextlib
import decimal
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from weighbridge.connectors._watchdog import fuse
from weighbridge.connectors.errors import DriverError

__all__ = ["AutocommitConnection", "attach", "load_client"]

EXPLAIN = "EXPLAIN "
"""Before a statement: its plan is the one row. Firebird has no such statement; its plans come with preparing."""
GRACE = 2.0
"""Seconds that a connection may take to close."""
_registering = threading.Lock()


def load_client(library: str | None = None) -> None:
    """Load Firebird's client library; raises DriverError with the package that brings it."""
    from firebird.driver import fbapi

    precision = decimal.getcontext().prec
    try:
        fbapi.load_api(library)
    except (OSError, RuntimeError) as error:
        raise DriverError(
            f"Firebird's client library cannot be loaded: {error}",
            remedy="apt-get install libfbclient2, dnf install libfbclient2, on Windows and macOS Firebird itself; "
            "or name it in the url: ?fb_client_library=/path/to/libfbclient.so",
        ) from error
    finally:
        decimal.getcontext().prec = precision  # the driver sets 34 digits for everything in this thread


def attach(
    address: str, *, port: int | None, timeout: float, writes: bool, options: dict[str, Any]
) -> AutocommitConnection:
    """Connect to a database address like `inet://host:port/path`; `options` are those of the driver's `connect`.

    `port` is the address's, None without a network: what stalls while connecting is cut there.
    """
    import firebird.driver

    whole = max(1, round(timeout))
    name = f"{address} {whole}"
    with _registering:  # the time to connect is a setting of a named database, not of a call
        settings = firebird.driver.driver_config
        if settings.get_database(name) is None:
            database = settings.register_database(name)
            database.dsn.value = address
            database.timeout.value = whole
            database.utf8filename.value = True
    # the driver's own time to connect ends with the first answer; what stalls later is cut at its socket
    before = _sockets()
    with fuse(None if port is None else lambda: _cut_since(before, port), timeout + 1):
        raw = firebird.driver.connect(name, **options)
    return AutocommitConnection(raw, writes=writes, timeout=timeout)


def _sockets() -> frozenset[tuple[int, str]]:
    """Descriptors of this process that are sockets, where the system lists them."""
    found = []
    with contextlib.suppress(OSError):
        for entry in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(entry.readlink())
                if target.startswith("socket:"):
                    found.append((int(entry.name), target))
    return frozenset(found)


def _cut_since(before: frozenset[tuple[int, str]], port: int) -> None:
    """Shut what was opened since to this server's port, and nothing that another system has opened meanwhile."""
    for number, _ in _sockets() - before:
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as twin:
            if twin.family in (socket.AF_INET, socket.AF_INET6) and twin.getpeername()[1] == port:
                twin.shutdown(socket.SHUT_RDWR)


class AutocommitConnection:
    """As much of DB-API 2.0 as the connector and SQLAlchemy use."""

    def __init__(self, raw: Any, *, writes: bool, timeout: float) -> None:
        self._raw = raw
        self._writes = writes
        self.timeout = timeout
        self.encoding = str(raw._encoding)

    @property
    def info(self) -> Any:
        return self._raw.info

    @property
    def closed(self) -> bool:
        return bool(self._raw.is_closed())

    def cursor(self) -> AutocommitCursor:
        return AutocommitCursor(self)

    def begun(self) -> Any:
        """A transaction in hand: it sees what is committed, and reads only unless writes are allowed."""
        from firebird.driver import TPB, DefaultAction, Isolation, TraAccessMode

        buffer = TPB(
            isolation=Isolation.READ_COMMITTED_RECORD_VERSION,
            access_mode=TraAccessMode.WRITE if self._writes else TraAccessMode.READ,
            lock_timeout=max(1, round(self.timeout)),
        ).get_buffer()
        transaction = self._raw.transaction_manager(buffer, DefaultAction.ROLLBACK)
        try:
            transaction.begin()
        except BaseException:
            transaction.close()
            raise
        return transaction

    def in_time(self, work: Callable[[], Any]) -> Any:
        """`work`'s outcome; after `timeout` seconds the server is told to stop it."""
        from firebird.driver import CancelType, DatabaseError

        with fuse(partial(self._tell, CancelType.RAISE), self.timeout) as watch:
            done = work()
        if watch.blown:  # it was just finished: the order to stop would strike the next statement
            try:
                with self.begun() as transaction:
                    transaction.execute_immediate("EXECUTE BLOCK AS BEGIN END")
            except DatabaseError:
                pass
        return done

    def abort(self) -> None:
        """Let go of the line, whatever the server does; another thread's wait for it ends with an error."""
        from firebird.driver import CancelType

        self._tell(CancelType.ABORT)

    def _tell(self, order: Any) -> None:
        from firebird.driver import DatabaseError

        attachment = self._raw._att
        if attachment is not None:
            try:
                attachment.cancel_operation(order)
            except DatabaseError:
                return  # nothing to stop

    def close(self) -> None:
        from firebird.driver import DatabaseError

        raw = self._raw
        if raw.is_closed():
            return
        try:
            with fuse(self.abort, GRACE):  # a server that is silent does not even take leave
                raw.close()
        except DatabaseError:
            # the line is gone, and the server has ended what was begun; the driver would end it once more
            for statement in [s() for s in raw._statements]:
                _forget_statement(statement)
            for transaction in (raw._tra_main, raw._tra_qry, *raw._transactions):
                transaction._tra = None
            raw._att = None

    # what SQLAlchemy asks of a connection: there is never anything to commit or to take back

    def is_active(self) -> bool:
        return False

    def set_isolation_level(self, level: str) -> None:
        if level != "autocommit":
            raise ValueError(f"this connection is in autocommit, not {level}")

    def commit(self) -> None:
        """Done already."""

    def rollback(self) -> None:
        """Nothing is open."""

    terminate = close


class AutocommitCursor:
    """One statement at a time, in a transaction that ends with its last row, its error or its closing."""

    arraysize = 1
    stream_blob_threshold = 0
    """SQLAlchemy sets it; documents always come whole here."""

    def __init__(self, connection: AutocommitConnection) -> None:
        self._connection = connection
        self._transaction: Any = None
        self._cursor: Any = None
        self._plan: list[tuple[Any, ...]] = []
        self.description: Any = None
        self.rowcount = -1

    def execute(self, statement: str, parameters: Sequence[Any] | None = None) -> AutocommitCursor:
        self.close()
        self._transaction = self._connection.begun()
        try:
            self._cursor = self._transaction.cursor()
            self._cursor.stream_blob_threshold = -1
            if statement.startswith(EXPLAIN):
                self._explain(statement.removeprefix(EXPLAIN))
                return self
            self._connection.in_time(lambda: self._cursor.execute(statement, parameters or ()))
            self.description = self._cursor.description
            if self.description is None:
                self.rowcount = self._cursor.affected_rows
                self._end()
        except BaseException:
            self._drop()
            raise
        return self

    def _explain(self, statement: str) -> None:
        prepared = self._cursor.prepare(statement)
        try:
            self._plan = [(prepared.plan,)]
        finally:
            prepared.free()
        self.description = (("PLAN", str, None, None, None, None, True),)
        self._end()

    def executemany(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        for row in rows:
            self.execute(statement, row)

    def fetchone(self) -> tuple[Any, ...] | None:
        rows = self.fetchmany(1)
        return rows[0] if rows else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        return list(self)

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        if self._plan:
            rows, self._plan = self._plan, []
            return rows
        if self._cursor is None:
            return []
        wanted = size or self.arraysize
        try:
            rows = self._connection.in_time(partial(self._taken, wanted))
        except BaseException:
            self._drop()
            raise
        if len(rows) < wanted:
            self._end()
        return rows

    def _taken(self, wanted: int) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        take = self._cursor.fetchone
        while len(rows) < wanted:
            try:
                row = take()
            except UnicodeDecodeError:
                row = self._with_bytes()
            if row is None:
                break
            rows.append(row)
        return rows

    def _with_bytes(self) -> tuple[Any, ...]:
        """The row in hand once more: text in no code page (charset NONE) as the bytes it is."""
        encoding = self._connection.encoding
        self._cursor._encoding = _lenient(encoding)
        try:
            row = self._cursor._unpack_output()
        finally:
            self._cursor._encoding = encoding
        return tuple(_bytes(value, encoding) for value in row)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        while rows := self.fetchmany(1_000):
            yield from rows

    def _end(self) -> None:
        """Commit; from here on nothing of this statement is left on the server."""
        if self._transaction is not None:
            self._transaction.commit()
            self._drop()

    def _drop(self) -> None:
        """Let go of the statement, and of the transaction if it was not committed."""
        from firebird.driver import DatabaseError

        transaction, cursor = self._transaction, self._cursor
        self._transaction = self._cursor = None
        for part in (cursor, transaction):
            if part is not None:
                try:
                    part.close()
                except DatabaseError:
                    _forget(part)

    def close(self) -> None:
        self._plan, self.description, self.rowcount = [], None, -1
        self._drop()

    def setinputsizes(self, sizes: Any) -> None:
        """Nothing to set."""

    setoutputsize = setinputsizes


def _forget(part: Any) -> None:
    """A cursor or transaction that went with its line: what is left of it must not speak to the server again."""
    _forget_statement(getattr(part, "_stmt", None))
    for name in ("_tra", "_stmt", "_result"):
        if getattr(part, name, None) is not None:
            setattr(part, name, None)


def _forget_statement(statement: Any) -> None:
    for name in ("_in_meta", "_out_meta", "_istmt"):
        if getattr(statement, name, None) is not None:
            setattr(statement, name, None)


PREFIX = "weighbridge_"


@cache
def _lenient(encoding: str) -> str:
    """The name of a codec like `encoding` that lets bytes through which are no characters of it."""
    codecs.register(_lenient_codec)
    return PREFIX + encoding


def _lenient_codec(name: str) -> codecs.CodecInfo | None:
    if not name.startswith(PREFIX):
        return None
    real = codecs.lookup(name.removeprefix(PREFIX))

    def decode(data: Any, errors: str = "strict") -> tuple[str, int]:
        del errors
        return real.decode(bytes(data), "surrogateescape")

    return codecs.CodecInfo(real.encode, decode, name=name)


def _bytes(value: Any, encoding: str) -> Any:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode(encoding, "surrogateescape")
    return value
