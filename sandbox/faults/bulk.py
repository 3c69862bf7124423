"""Moves large bodies between two sockets without copying them through Python, where the system can (Linux)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["WORTH_IT", "Bulk"]

WORTH_IT = 1 << 20
"""Bytes from which a hand-over pays."""
PIPE = 1 << 20
IDLE_MS = 10
WORKERS = 4


class Bulk:
    """A few threads that splice; who finds none free relays the ordinary way."""

    def __init__(self) -> None:
        self._free = threading.Semaphore(WORKERS)

    def possible(self, source: Any, target: Any) -> bool:
        """Both transports are plain sockets with nothing left to write."""
        if not hasattr(os, "splice"):
            return False
        plain = source.get_extra_info("sslcontext") is None and target.get_extra_info("sslcontext") is None
        return plain and target.get_write_buffer_size() == 0 and not target.is_closing()

    async def move(self, source: Any, target: Any, *, limit: int | None, stop: Callable[[], bool]) -> int:
        """Splice up to `limit` bytes until the source is idle, ends, or `stop` says so; returns how many.

        The source's reading is paused meanwhile; errors are left for the event loop to find at the sockets.
        """
        if not self._free.acquire(blocking=False):
            return 0
        try:
            source.pause_reading()
            ends = [os.dup(transport.get_extra_info("socket").fileno()) for transport in (source, target)]
            try:
                work = asyncio.get_running_loop().run_in_executor(None, _splice, ends[0], ends[1], limit, stop)
                # The thread must be done with its descriptors before they are closed, also when this is cancelled.
                while True:
                    try:
                        return await asyncio.shield(work)
                    except asyncio.CancelledError:
                        if work.done():
                            raise
                        await _outlast(work)
                        raise
            finally:
                for end in ends:
                    os.close(end)
                if not source.is_closing():
                    with contextlib.suppress(RuntimeError):
                        source.resume_reading()
        finally:
            self._free.release()


async def _outlast(work: asyncio.Future[int]) -> None:
    while not work.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([work])


def _splice(source: int, target: int, limit: int | None, stop: Callable[[], bool]) -> int:
    reading, writing = os.pipe()
    moved = 0
    readable, writable = select.poll(), select.poll()
    readable.register(source, select.POLLIN)
    writable.register(target, select.POLLOUT)
    try:
        with contextlib.suppress(OSError):
            import fcntl

            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE)  # type: ignore[attr-defined]  # Linux, Python 3.10+
        with contextlib.suppress(OSError):
            while not stop() and (limit is None or moved < limit):
                if not readable.poll(IDLE_MS):
                    break
                ask = PIPE if limit is None else min(PIPE, limit - moved)
                try:
                    held = os.splice(source, writing, ask, flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK)
                except BlockingIOError:
                    continue
                if held == 0:
                    break
                moved += _empty(reading, target, held, writable, stop)
        return moved
    finally:
        os.close(reading)
        os.close(writing)


def _empty(pipe: int, target: int, held: int, writable: select.poll, stop: Callable[[], bool]) -> int:
    """Move what the pipe holds on; what was taken from the source must arrive, unless the link is gone."""
    done = 0
    while done < held:
        if not writable.poll(IDLE_MS):
            if stop() and not writable.poll(1000):
                break
            continue
        try:
            done += os.splice(pipe, target, held - done, flags=os.SPLICE_F_MOVE)
        except BlockingIOError:
            continue
    return done
