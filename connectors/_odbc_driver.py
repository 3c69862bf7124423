"""The rim of ODBC: connection strings, what to install where, and a lane that no driver can block for ever."""

from __future__ import annotations

import platform
import queue
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

from weighbridge.connectors.errors import DriverError, UnreachableError

__all__ = ["Guarded", "Lane", "driver_missing", "format_string", "load_pyodbc", "parse_string"]

MANAGER: Mapping[str, str] = {
    # what brings the driver manager, per operating system; Windows has its own
    "debian": "apt-get install unixodbc",
    "fedora": "dnf install unixODBC",
    "alpine": "apk add unixodbc",
    "darwin": "brew install unixodbc",
    "linux": "install the package unixodbc (Debian, Alpine) or unixODBC (Fedora, SUSE)",
    "windows": "Windows brings it: reinstall pyodbc",
}
DRIVERS: tuple[tuple[str, Mapping[str, str]], ...] = (
    # a pattern of driver names -> where that driver comes from, per operating system
    (r"postgres", {
        "debian": "apt-get install odbc-postgresql", "fedora": "dnf install postgresql-odbc",
        "darwin": "brew install psqlodbc", "windows": "install psqlODBC from the PostgreSQL project",
    }),
    (r"maria|mysql", {
        "debian": "apt-get install odbc-mariadb", "fedora": "dnf install mariadb-connector-odbc",
        "darwin": "brew install mariadb-connector-odbc", "windows": "install MariaDB Connector/ODBC",
    }),
    (r"sqlite", {
        "debian": "apt-get install libsqliteodbc", "fedora": "dnf install sqliteodbc",
        "darwin": "brew install sqliteodbc", "windows": "install the SQLite ODBC driver",
    }),
    (r"mdb|access", {
        "debian": "apt-get install odbc-mdbtools", "darwin": "brew install mdbtools",
        "windows": "install the Microsoft Access Database Engine of the same bitness as Python",
    }),
    (r"sql server|freetds", {
        "debian": "install msodbcsql18 from Microsoft's repository, or apt-get install tdsodbc",
        "darwin": "brew install msodbcsql18", "windows": "install the Microsoft ODBC Driver 18 for SQL Server",
    }),
    (r"oracle", {"linux": "install the ODBC package of Oracle Instant Client"}),
    (r"db2|ibm", {"linux": "install the IBM Data Server Driver for ODBC and CLI"}),
    (r"firebird|interbase", {"linux": "install the Firebird ODBC driver"}),
)  # fmt: skip


def system() -> str:
    """The key of the tables above for this machine."""
    name = platform.system().lower()
    if name != "linux":
        return name
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return "linux"
    family = f"{release.get('ID', '')} {release.get('ID_LIKE', '')}"
    return next((k for k in ("debian", "fedora", "alpine") if k in family), "linux")


def load_pyodbc() -> Any:
    """The module, without its pool. Raises DriverError naming what to install."""
    try:
        import pyodbc
    except ImportError as error:
        here = system()
        raise DriverError(
            f"pyodbc cannot be loaded: {error}.",
            remedy=f"ODBC needs a driver manager: {MANAGER.get(here, MANAGER['linux'])}"
            if "odbc" in str(error) and not isinstance(error, ModuleNotFoundError)
            else "Run: pip install pyodbc",
        ) from error
    # the pool would keep connections of finished checks open, and hand them on with their settings
    pyodbc.pooling = False
    return pyodbc


def driver_missing(name: str, installed: list[str], what: str) -> DriverError:
    """The error for a driver or data source that the driver manager does not know."""
    here = system()
    for pattern, sources in DRIVERS:
        if re.search(pattern, name.lower()):
            remedy = sources.get(here) or sources.get("linux") or sources.get("debian", "")
            break
    else:
        remedy = "Install the vendor's ODBC driver"
    listed = ", ".join(installed) if installed else "none at all"
    return DriverError(
        f"{what}: the ODBC driver or data source {name!r} is not installed here.",
        remedy=f"{remedy[:1].upper()}{remedy[1:]}. Installed are: {listed}.",
    )


def parse_string(text: str) -> dict[str, str]:
    """Keys as written and values without braces; in an ODBC connection string `}}` inside braces is one brace."""
    found: dict[str, str] = {}
    pattern = r"\s*([^=;{}]+?)\s*=\s*(\{(?:[^}]|\}\})*\}|[^;]*)\s*(?:;|$)"
    position = 0
    while position < len(text) and text[position:].strip(" ;"):
        match = re.compile(pattern).match(text, position)
        if match is None:
            raise ValueError("a connection string is KEY=value;KEY=value")
        value = match.group(2).strip()
        if value.startswith("{"):
            value = value[1:-1].replace("}}", "}")
        found[match.group(1)] = value
        position = match.end()
    return found


def format_string(parts: Mapping[str, str]) -> str:
    def value(text: str) -> str:
        plain = re.fullmatch(r"[^;{}\[\](),?*=!@]*", text) and text == text.strip()
        return text if plain else "{" + text.replace("}", "}}") + "}"

    return ";".join(f"{key}={value(text)}" for key, text in parts.items())


HANDOVER = 0.005
"""Seconds a thread waits for another to take its call up: an interpreter's usual turn."""
QUOTE = "'"
SQL_CHAR, SQL_WCHAR = 1, -8
"""sql.h, sqlucode.h"""


def miscounted(text: Any) -> bool:
    """Whether MariaDB's driver (3.1) takes a letter of this UTF-16 for two: those whose code ends in D8 to DB.

    Ø, Ù, Ú, Û and the Hebrew yod are among them. What it hands over is cut by as many letters. What it is given is
    followed by as many of whatever stands behind it in memory: `LIMIT 5000` may then be any number, and what it
    writes elsewhere can end the process.
    """
    if not isinstance(text, str) or text.isascii():
        return False
    return any(unit & 0xFC == 0xD8 for unit in text.encode("utf-16-le", "surrogatepass")[::2])


def refuse_miscounted(*texts: Any) -> None:
    """Raise DriverError for what such a driver must not be given."""
    found = next((text for text in texts if miscounted(text)), None)
    if found is not None:
        raise DriverError(
            "MariaDB's ODBC driver misreads the letters Ø, Ù, Ú, Û and their like in names, and in values beside "
            "names that are not ASCII, and may end the process.",
            remedy="Use the connector sql, or a view with plain names.",
        )


def spelled(statement: str) -> str:
    """The statement with its texts in digits where such a driver would misread them. Raises DriverError for names."""
    if not miscounted(statement):
        return statement

    def digits(found: re.Match[str]) -> str:
        text = found[0]
        if text[0] != "'" or "\\" in text or not miscounted(text):
            return text
        return f"_utf8mb4 x'{text[1:-1].replace(QUOTE * 2, QUOTE).encode().hex()}'"

    statement = re.sub(r"`(?:[^`]|``)*`|'(?:[^'\\]|''|\\.)*'|\"(?:[^\"\\]|\"\"|\\.)*\"", digits, statement)
    refuse_miscounted(statement)
    return statement


class Job:
    """One call of a driver, and what came of it."""

    __slots__ = ("begun", "call", "done", "error", "value")

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call
        self.value: Any = None
        self.error: BaseException | None = None
        self.begun = threading.Event()
        self.done = threading.Event()


class Lane:
    """One thread that makes the driver's calls: a call that does not come back is left behind with its thread."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.stuck = self.ended = False
        threading.Thread(target=self._work, name="weighbridge-odbc", daemon=True).start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.begun.set()
            try:
                job.value = job.call()
            except BaseException as error:  # noqa: BLE001 - handed to the caller's thread as it is
                job.error = error
            job.done.set()
            del job  # or a page of rows would be held until the next call

    def run(self, call: Callable[[], Any], seconds: float) -> Any:
        """The call's result or error. Raises UnreachableError when it takes longer than `seconds`."""
        return self.wait(self.start(call), seconds)

    def start(self, call: Callable[[], Any]) -> Job:
        """Give the call to the thread and come back at once; `wait` brings what came of it."""
        if self.stuck:
            raise UnreachableError("the ODBC driver never came back from an earlier call.")
        if self.ended:  # nobody would ever do it
            raise UnreachableError("the ODBC connection is closed.")
        job = Job(call)
        self._jobs.put(job)
        return job

    def wait(self, job: Job, seconds: float) -> Any:
        if not job.done.wait(seconds):
            self.stuck = True
            raise UnreachableError(
                f"the ODBC driver did not come back within {seconds:g} s.",
                remedy="The server or the route to it has stalled, and this driver has no read timeout.",
            )
        if job.error is not None:
            raise job.error
        return job.value

    def end(self) -> None:
        self.ended = True
        self._jobs.put(None)


class Guarded:
    """A pyodbc connection whose calls run in a lane, each within `patience()` seconds."""

    def __init__(self, lane: Lane, raw: Any, patience: Callable[[], float]) -> None:
        self._lane, self.raw, self._patience = lane, raw, patience
        self.narrow = False
        """Whether text goes and comes as UTF-8, for this driver counts the letters of UTF-16 wrongly."""

    def narrow_text(self) -> None:
        """Let text go and come as UTF-8."""
        self.narrow = True
        self.raw.setdecoding(SQL_WCHAR, encoding="utf-8", ctype=SQL_CHAR)

    def usual_text(self) -> None:
        """Let text come as to any program, until `narrow_text` is called again."""
        self.raw.setdecoding(SQL_WCHAR, encoding="utf-16le", ctype=SQL_WCHAR)

    def send(self, cursor: Any, statement: str, parameters: Any = None) -> None:
        """Execute on a bare cursor; for the lane's thread."""
        if self.narrow:
            statement = spelled(statement)
            if statement.isascii():
                self.raw.setencoding(encoding="utf-8", ctype=SQL_CHAR)
            else:  # as UTF-8 such a statement would be read in another code page
                self.raw.setencoding(encoding="utf-16le", ctype=SQL_WCHAR)
                refuse_miscounted(*(parameters or ()))
        cursor.execute(statement, parameters) if parameters else cursor.execute(statement)

    def run(self, call: Callable[[], Any]) -> Any:
        return self._lane.run(call, self._patience())

    def start(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """The call under way; what comes back waits for it and gives its result or error."""
        job = self._lane.start(call)
        # until the driver waits for its server; else this thread, busy with rows, would keep it from sending
        job.begun.wait(HANDOVER)
        return lambda: self._lane.wait(job, self._patience())

    def cursor(self) -> GuardedCursor:
        return GuardedCursor(self, self.run(self.raw.cursor))

    def getinfo(self, number: int) -> Any:
        return self.run(lambda: self.raw.getinfo(number))

    @property
    def closed(self) -> bool:
        return self._lane.stuck or self._lane.ended or bool(getattr(self.raw, "closed", False))

    def close(self) -> None:
        try:
            if not self.closed:
                self.run(self.raw.close)
        finally:
            self._lane.end()


class GuardedCursor:
    """The few verbs of a cursor that the connector uses."""

    def __init__(self, owner: Guarded, raw: Any) -> None:
        self._owner, self.raw = owner, raw
        self.arraysize = 1

    @property
    def description(self) -> Any:
        return self.raw.description

    @property
    def rowcount(self) -> int:
        return self.raw.rowcount

    def execute(self, statement: str, parameters: Any = None) -> None:
        self._owner.run(lambda: self._owner.send(self.raw, statement, parameters))

    def fetchmany(self, rows: int) -> list[Any]:
        return self._owner.run(lambda: self.raw.fetchmany(rows))

    def fetchone(self) -> Any:
        return self._owner.run(self.raw.fetchone)

    def fetchall(self) -> list[Any]:
        return self._owner.run(self.raw.fetchall)

    def catalog(self, function: str, **arguments: Any) -> list[Any]:
        """Rows of an ODBC catalog function: tables, columns, primaryKeys, statistics."""

        if self._owner.narrow:
            refuse_miscounted(*arguments.values())

        def call() -> list[Any]:
            # dialect-neutral: fetched in the same job, for some drivers allow one catalog result a connection
            return getattr(self.raw, function)(**arguments).fetchall()

        return self._owner.run(call)

    def close(self) -> None:
        self._owner.run(self.raw.close)
