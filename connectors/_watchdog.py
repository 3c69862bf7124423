"""Cut a wait that is overdue: for drivers that have no read timeout of their own."""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

__all__ = ["Fuse", "fuse"]


class Fuse:
    """One wait in hand; `blown` says whether it was cut."""

    __slots__ = ("blown", "cut", "done")

    def __init__(self, cut: Callable[[], None] | None) -> None:
        self.cut = cut
        self.blown = False
        self.done = False


class _Watchdog:
    """One thread a process, started on first use; holds deadlines in a heap."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._heap: list[tuple[float, int, Fuse]] = []
        self._prune_at = 1_000
        self._number = itertools.count()
        self._thread: threading.Thread | None = None

    def add(self, fuse_: Fuse, deadline: float) -> None:
        with self._lock:
            if len(self._heap) >= self._prune_at:
                self._heap = [entry for entry in self._heap if not entry[2].done]
                heapq.heapify(self._heap)
                self._prune_at = max(1_000, 2 * len(self._heap))
            first = not self._heap or deadline < self._heap[0][0]
            heapq.heappush(self._heap, (deadline, next(self._number), fuse_))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._watch, name="weighbridge-watchdog", daemon=True)
                self._thread.start()
            elif first:
                self._lock.notify()

    def settle(self, fuse_: Fuse) -> None:
        with self._lock:
            fuse_.done = True

    def _watch(self) -> None:
        with self._lock:
            while True:
                while self._heap and self._heap[0][2].done:
                    heapq.heappop(self._heap)
                if not self._heap:
                    self._lock.wait()
                    continue
                deadline, _, waiting = self._heap[0]
                left = deadline - time.monotonic()
                if left > 0:
                    self._lock.wait(left)
                    continue
                heapq.heappop(self._heap)
                waiting.blown = True
                if waiting.cut is not None:
                    waiting.cut()


def _cut(fd: int) -> None:
    # a duplicate, because closing a socket object would close the driver's own descriptor
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as twin:
        twin.shutdown(socket.SHUT_RDWR)


_watchdog = _Watchdog()


@contextlib.contextmanager
def fuse(line: int | Callable[[], None] | None, seconds: float) -> Iterator[Fuse]:
    """Cut the `line` if the block takes longer than `seconds`: a socket's number is shut down, a function is called.

    The function runs on the watchdog's thread, must not wait, and never runs once the block was left. None: no watch.
    """
    waiting = Fuse(functools.partial(_cut, line) if isinstance(line, int) else line)
    if line is None:
        yield waiting
        return
    _watchdog.add(waiting, time.monotonic() + seconds)
    try:
        yield waiting
    finally:
        _watchdog.settle(waiting)
