"""A real Firebird on loopback from the system's own package, for tests and practice; gone without a trace."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from weighbridge.sandbox._guard import Server, program, tie, untie

__all__ = ["PASSWORD", "FirebirdSandbox", "available"]

START_TIMEOUT = 60.0
PASSWORD = "masterkey"  # noqa: S105 - of a practice server on loopback
SERVERS = ("/usr/sbin/firebird", "/opt/firebird/bin/firebird")
SHELLS = ("isql-fb", "/opt/firebird/bin/isql")
ROOTS = ("/usr/lib/*/firebird/[3-9]*", "/opt/firebird")
SECURITY = ("/usr/share/firebird/*/security.sql", "/opt/firebird/security.sql")


def _newest(patterns: Sequence[str]) -> Path | None:
    return next((max(found) for p in patterns if (found := list(Path("/").glob(p.lstrip("/"))))), None)


def available() -> str | None:
    """None where the server is installed, else the package that brings it."""
    there = program(*SERVERS) and program(*SHELLS) and _newest(ROOTS) and _newest(SECURITY)
    return None if there else "firebird3.0-server"


class FirebirdSandbox(Server):
    """One server with a folder of databases and the administrator SYSDBA; also a context manager."""

    def __init__(self, *, settings: Mapping[str, Any] | None = None) -> None:
        self.settings = dict(settings or {})

    @property
    def home(self) -> Path:
        assert self._home is not None, "the server was not started"  # noqa: S101
        return self._home

    def start(self) -> Self:
        server, root = program(*SERVERS), _newest(ROOTS)
        if server is None or root is None or available() is not None:
            raise RuntimeError("Firebird is not installed; it comes with the package firebird3.0-server")
        self._home = Path(tempfile.mkdtemp(prefix="weighbridge-firebird-"))
        try:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
            self._furnish(root)
            self._script(
                f"CREATE DATABASE '{self.home}/security.fdb'; COMMIT; IN {_newest(SECURITY)}; COMMIT; "
                f"CREATE USER SYSDBA PASSWORD '{PASSWORD}'; COMMIT;",
                "-user", "SYSDBA",
            )  # fmt: skip
            self._process = subprocess.Popen(
                [server], env=self._environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            self._guard = tie(self._process.pid, self._home, by="KILL")
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def _furnish(self, root: Path) -> None:
        """A root folder of its own, in which the server finds its plugins, its settings and its users."""
        for name in ("lock", "tmp", "data"):
            (self.home / name).mkdir()
        for part in ("plugins", "UDF", "firebird.msg", "tzdata"):
            if (root / part).exists():
                (self.home / part).symlink_to(root / part)
        shutil.copytree(root / "intl", self.home / "intl")
        (self.home / "databases.conf").touch()
        shutil.copy(root / "plugins.conf", self.home)
        settings = {
            "RemoteServicePort": self.port,
            "RemoteBindAddress": "127.0.0.1",
            "SecurityDatabase": f"{self.home}/security.fdb",
            "ServerMode": "Super",
            **self.settings,
        }
        (self.home / "firebird.conf").write_text("".join(f"{k} = {v}\n" for k, v in settings.items()))

    def _environment(self) -> dict[str, str]:
        own = {"FIREBIRD": self.home, "FIREBIRD_LOCK": self.home / "lock", "FIREBIRD_TMP": self.home / "tmp"}
        return {**os.environ, **{k: str(v) for k, v in own.items()}}

    def _script(self, script: str, *arguments: str) -> None:
        shell = program(*SHELLS)
        assert shell is not None, "looked for before"  # noqa: S101
        done = subprocess.run(
            [shell, "-q", "-b", "-ch", "UTF8", *arguments], input=script, env=self._environment(), capture_output=True,
            text=True, timeout=120, check=False,
        )  # fmt: skip
        if done.returncode or "Statement failed" in done.stderr:  # what else stands there are warnings
            raise RuntimeError(f"Firebird refused a script: {' '.join((done.stderr + done.stdout).split())[:800]}")

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5):
                return
            time.sleep(0.02)
        raise RuntimeError("Firebird did not start")

    def stop(self) -> None:
        guard, self._guard = self._guard, None
        untie(guard)
        # asked politely it waits ten seconds for its clients; what it holds is thrown away anyway
        self.kill()
        self._process = None
        home, self._home = self._home, None
        if home is not None:
            shutil.rmtree(home, ignore_errors=True)

    def kill(self) -> None:
        """End the server as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def path(self, database: str) -> str:
        return f"{self.home}/data/{database}.fdb"

    def url(self, database: str, *, user: str = "SYSDBA", password: str = PASSWORD, **query: str) -> str:
        more = "?" + "&".join(f"{k}={quote(v)}" for k, v in query.items()) if query else ""
        return f"firebird://{user}:{quote(password)}@127.0.0.1:{self.port}/{self.path(database)}{more}"

    def create(self, database: str, script: str = "", *, charset: str = "UTF8", dialect: int = 3) -> None:
        """A fresh database, filled by a script in the language of isql."""
        login = f"USER 'SYSDBA' PASSWORD '{PASSWORD}'"
        made = f"CREATE DATABASE '{self._remote(database)}' {login} DEFAULT CHARACTER SET {charset};"
        self._script(f"SET SQL DIALECT {dialect};\n{made}\n{script}\nCOMMIT;")

    def run(self, database: str, script: str) -> None:
        """A script in the language of isql, by the administrator."""
        self._script(f"CONNECT '{self._remote(database)}' USER 'SYSDBA' PASSWORD '{PASSWORD}';\n{script}\nCOMMIT;")

    def _remote(self, database: str) -> str:
        return f"127.0.0.1/{self.port}:{self.path(database)}"
