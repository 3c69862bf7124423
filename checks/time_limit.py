"""A bound on time for work that only its own engine can interrupt."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["interrupted_after"]


@contextmanager
def interrupted_after(seconds: float, interrupt: Callable[[], object], *, every: float = 0.1) -> Iterator[None]:
    """Call `interrupt` after `seconds`, again and again: stopped between two statements, the next one would run on."""
    done = threading.Event()

    def watch() -> None:
        if not done.wait(seconds):
            while not done.wait(every):
                interrupt()

    watcher = threading.Thread(target=watch, name="time limit", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
