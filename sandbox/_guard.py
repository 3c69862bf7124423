"""Ties a practice server to the process that started it: the one does not outlive the other, whatever kills it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["tie", "untie"]


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
