"""The limits a stand-in keeps, so that it breaks at a number that can be worked out on paper.

`ServerLimits` is the configuration; a `Gate` keeps it on an asyncio server, in this order: daily quota, rate (bucket or
window), concurrency, then the wait for a slot of the pool and the service time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any

__all__ = ["Gate", "Refused", "ServerLimits"]


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """None or 0 means: no such limit."""

    latency_ms: float = 0.0
    """Service time of one call."""
    latency_per_row_ms: float = 0.0
    """Added for each row a call returns."""
    latency_per_stored_row_us: float = 0.0
    """Added for each row the object holds: an unindexed look-up."""
    serial_ms: float = 0.0
    """Part of the service time spent holding the server's one lock."""
    pool: int | None = None
    """Calls worked on at once; further ones wait."""
    concurrent: int | None = None
    """Calls in flight at once; further ones are refused."""
    requests_per_window: int | None = None
    window_s: float = 60.0
    bucket_rate: float | None = None
    """Token bucket: tokens a second."""
    bucket_burst: int = 100
    daily_quota: int | None = None
    daily_used: int = 0
    """Calls other applications have used of the quota before we came."""
    page_rows: int | None = None
    """The server's own largest page."""
    retry_after: bool = True
    """Whether a refusal says when to come back."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, values: dict[str, Any] | None) -> ServerLimits:
        """Raises ValueError for an unknown key."""
        values = values or {}
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"unknown server limit: {', '.join(sorted(unknown))}")
        return cls(**values)


class Refused(Exception):
    """The gate is shut: `kind` is quota, rate or concurrency; `retry_after` in seconds, None when it is not said."""

    def __init__(self, kind: str, retry_after: float | None) -> None:
        super().__init__(kind)
        self.kind = kind
        self.retry_after = retry_after


class Gate:
    """Keeps `ServerLimits` for one server; use `async with gate.admit(...)` around the work of one call."""

    def __init__(self, limits: ServerLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.configure(limits)
        self.used = limits.daily_used
        self.calls = 0
        self.refused = 0
        self.in_flight = 0
        self.most_in_flight = 0

    def configure(self, limits: ServerLimits) -> None:
        """Change the limits from now on; what was used stays used."""
        self.limits = limits
        self._lock = asyncio.Lock()
        self._slots = asyncio.Semaphore(limits.pool) if limits.pool else None
        self._sent: deque[float] = deque()
        self._tokens = float(limits.bucket_burst)
        self._filled = self._clock()

    @property
    def remaining(self) -> int | None:
        """Calls left of the daily quota."""
        return None if self.limits.daily_quota is None else max(0, self.limits.daily_quota - self.used)

    @property
    def window_remaining(self) -> int | None:
        if not self.limits.requests_per_window:
            return None
        self._expire()
        return max(0, self.limits.requests_per_window - len(self._sent))

    def stats(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "refused": self.refused,
            "in_flight": self.in_flight,
            "most_in_flight": self.most_in_flight,
            "daily_used": self.used,
        }

    def enter(self) -> None:
        """Count one call in, or raise `Refused`."""
        limits = self.limits
        self.calls += 1
        if limits.daily_quota is not None and self.used >= limits.daily_quota:
            self._refuse("quota", None)
        if limits.requests_per_window:
            self._expire()
            if len(self._sent) >= limits.requests_per_window:
                self._refuse("rate", self._sent[0] + limits.window_s - self._clock())
        if limits.bucket_rate:
            now = self._clock()
            self._tokens = min(limits.bucket_burst, self._tokens + (now - self._filled) * limits.bucket_rate)
            self._filled = now
            if self._tokens < 1:
                self._refuse("rate", (1 - self._tokens) / limits.bucket_rate)
            self._tokens -= 1
        if limits.concurrent is not None and self.in_flight >= limits.concurrent:
            self._refuse("concurrency", 1.0)
        if limits.requests_per_window:
            self._sent.append(self._clock())
        self.used += 1

    @asynccontextmanager
    async def admit(self, *, rows: int = 0, stored: int = 0) -> AsyncIterator[None]:
        """Hold one call for its service time, waiting for the pool and the lock; raises `Refused` at a shut gate."""
        self.enter()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self._slots is None:
                await self._serve(rows, stored)
            else:
                async with self._slots:
                    await self._serve(rows, stored)
            yield
        finally:
            self.in_flight -= 1

    async def _serve(self, rows: int, stored: int) -> None:
        limits = self.limits
        work = limits.latency_ms + limits.latency_per_row_ms * rows + limits.latency_per_stored_row_us * stored / 1000
        if limits.serial_ms:
            async with self._lock:
                await asyncio.sleep(limits.serial_ms / 1000)
        if work:
            await asyncio.sleep(work / 1000)

    def _expire(self) -> None:
        edge = self._clock() - self.limits.window_s
        while self._sent and self._sent[0] <= edge:
            self._sent.popleft()

    def _refuse(self, kind: str, retry_after: float | None) -> None:
        self.refused += 1
        raise Refused(kind, retry_after if self.limits.retry_after else None)
