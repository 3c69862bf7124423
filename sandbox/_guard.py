"""Ties a practice server to the process that started it: the one does not outlive the other, whatever kills it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Server", "program", "tie", "untie"]


class Server:
    """A practice server that runs for the length of a `with` block."""

    port = 0
    _home: Path | None = None
    _process: subprocess.Popen[Any] | None = None
    _guard: subprocess.Popen[Any] | None = None

    def start(self) -> Self:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


def program(*names: str) -> str | None:
    """The first of these programs that is installed; servers lie where only root looks."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


def tie(pid: int, folder: Path | None, *, by: str = "INT") -> subprocess.Popen[Any] | None:
    """A shell that waits on a pipe only we hold open, then ends the server by a signal and removes its folder."""
    if os.name == "nt":
        return None
    # a server that has not gone after that signal and five seconds is killed
    script = 'read _ ; kill -s "$2" "$0" 2>/dev/null ; sleep 5 ; kill -KILL "$0" 2>/dev/null ; rm -rf "$1"'
    return subprocess.Popen(
        ["/bin/sh", "-c", script, str(pid), str(folder or ""), by],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def untie(guard: subprocess.Popen[Any] | None) -> None:
    """The owner ends the server itself."""
    if guard is not None:
        guard.kill()
        guard.wait(10)
        if guard.stdin is not None:
            guard.stdin.close()
