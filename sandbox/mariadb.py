"""A real MariaDB on loopback from the system's own package, for tests and practice; gone without a trace."""

from __future__ import annotations

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

from weighbridge.sandbox._guard import Server, program, tie, untie

__all__ = ["MariaDbSandbox", "available"]

START_TIMEOUT = 60.0


def available() -> str | None:
    """None where the server is installed, else the package that brings it."""
    server = program("mariadbd", "mysqld")
    setup = program("mariadb-install-db", "mysql_install_db")
    return None if server and setup else "mariadb-server"


class MariaDbSandbox(Server):
    """One server with the login root without a password on TCP; also a context manager."""

    def __init__(self, *, settings: Mapping[str, Any] | None = None) -> None:
        self.settings = dict(settings or {})

    def start(self) -> Self:
        server, setup = program("mariadbd", "mysqld"), program("mariadb-install-db", "mysql_install_db")
        if server is None or setup is None:
            raise RuntimeError("MariaDB is not installed; it comes with the package mariadb-server")
        # a path of its own: the socket's name is bounded to some 100 characters
        self._home = Path(tempfile.mkdtemp(prefix="weighbridge-mariadb-"))
        user = [f"--user={_user()}"] if os.geteuid() == 0 else []
        if user:
            shutil.chown(self._home, _user())
        data = self._home / "data"
        common = ["--no-defaults", f"--datadir={data}", *user]
        try:
            install = [setup, *common, "--auth-root-authentication-method=normal", "--skip-test-db"]
            # two of them at the same moment have been seen to fail: once more, from nothing
            if subprocess.run(install, check=False, capture_output=True, timeout=120).returncode:
                shutil.rmtree(data, ignore_errors=True)
                subprocess.run(install, check=True, capture_output=True, timeout=120)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
            arguments = [
                server, *common, f"--port={self.port}", "--bind-address=127.0.0.1", f"--socket={self._home}/s",
                f"--pid-file={self._home}/pid", "--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0",
                "--skip-name-resolve", "--skip-log-bin", f"--log-error={self._home}/log",
            ]  # fmt: skip
            arguments += [f"--{name.replace('_', '-')}={value}" for name, value in self.settings.items()]
            self._process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            self._guard = tie(self._process.pid, self._home, by="TERM")
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as there:
                if there.recv(1):  # the greeting: it takes logins
                    return
            time.sleep(0.05)
        log = self._home / "log" if self._home else None
        tail = log.read_text(errors="replace")[-800:] if log and log.exists() else ""
        raise RuntimeError(f"MariaDB did not start; its log ends: {tail}")

    def stop(self) -> None:
        guard, self._guard = self._guard, None
        untie(guard)
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        home, self._home = self._home, None
        if home is not None:
            shutil.rmtree(home, ignore_errors=True)

    def url(self, database: str = "mysql", *, user: str = "root", password: str = "") -> str:
        login = f"{user}:{password}" if password else user
        return f"mariadb://{login}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str | None = None) -> Any:
        """An administrator's pymysql connection in autocommit."""
        import pymysql

        return pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", database=database, autocommit=True, charset="utf8mb4"
        )


def _user() -> str:
    import pwd

    for name in ("mysql", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    return "nobody"
