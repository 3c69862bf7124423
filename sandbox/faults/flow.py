"""Sends bytes on in one direction under the TCP faults in force there."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from weighbridge.sandbox.faults.spec import Fault

__all__ = ["Cut", "Flow", "reset"]

BURST_S = 0.02
TICK_S = 0.05
Send = Callable[[bytes], Awaitable[None]]


class Cut(Exception):
    """The connection ends here: `hard` by a reset, else by closing it."""

    def __init__(self, *, hard: bool) -> None:
        super().__init__("cut")
        self.hard = hard


def reset(transport: asyncio.BaseTransport) -> None:
    """End a connection with RST, so that the peer sees 'connection reset' and not an orderly end."""
    sock: Any = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    abort = getattr(transport, "abort", transport.close)
    abort()


class Flow:
    """One direction of one exchange (or connection): `send` passes bytes on as the faults allow."""

    def __init__(self, faults: Sequence[Fault], send: Send, *, rng: random.Random, released: asyncio.Event) -> None:
        self._faults = {fault.type: fault for fault in faults}
        self._send = send
        self._rng = rng
        self._released = released
        """Set when the plan that struck has been replaced: what hangs then ends."""
        self.passed = 0
        self._last = -1e9
        self._drained: float | None = None

    async def send(self, data: bytes) -> None:
        """Pass `data` on; raises `Cut` where a fault ends the connection."""
        faults = self._faults
        await self._delay()
        for name in ("reset_peer", "lost_answer", "timeout", "limit_data"):
            fault = faults.get(name)
            if fault is None:
                continue
            left = int(fault.parameters.get("bytes", 0)) - self.passed
            if left < len(data):
                if left > 0:
                    await self._paced(data[:left])
                await self._end(name, fault)
        await self._paced(data)

    async def closing(self) -> None:
        """Wait as long as `slow_close` holds back an orderly end."""
        fault = self._faults.get("slow_close")
        if fault is not None:
            await self._pause(float(fault["delay"]) / 1000)

    async def _delay(self) -> None:
        fault = self._faults.get("latency")
        now = asyncio.get_running_loop().time()
        # Bytes of one burst travel together: each is late by the latency, they are not late one after another.
        if fault is not None and now - self._last > BURST_S:
            jitter = float(fault["jitter"])
            await self._pause(max(0.0, float(fault["latency"]) + self._rng.uniform(-jitter, jitter)) / 1000)
        self._last = asyncio.get_running_loop().time()

    async def _end(self, name: str, fault: Fault) -> None:
        if name == "limit_data":
            raise Cut(hard=False)
        wait = float(fault["timeout"]) / 1000
        if name == "timeout" and wait <= 0:
            await self._released.wait()
        else:
            await self._pause(wait)
        raise Cut(hard=name != "timeout")

    async def _paced(self, data: bytes) -> None:
        slicer, bandwidth = self._faults.get("slicer"), self._faults.get("bandwidth")
        if slicer is None and bandwidth is None:
            await self._put(data)
            return
        view = memoryview(data)
        while view:
            size = len(view) if slicer is None else self._slice(slicer)
            if bandwidth is not None:
                size = min(size, max(1, int(float(bandwidth["rate"]) * 1024 * TICK_S)))
            piece, view = bytes(view[:size]), view[size:]
            await self._put(piece)
            if bandwidth is not None:
                await self._pause(len(piece) / max(1.0, float(bandwidth["rate"]) * 1024))
            if slicer is not None and view:
                await self._pause(float(slicer["delay"]) / 1e6)

    def _slice(self, slicer: Fault) -> int:
        variation = int(slicer["size_variation"])
        return max(1, int(slicer["average_size"]) + self._rng.randint(-variation, variation))

    async def _put(self, data: bytes) -> None:
        self.passed += len(data)
        await self._send(data)
        self._last = asyncio.get_running_loop().time()

    async def _pause(self, seconds: float) -> None:
        if seconds <= 0:
            return
        # An ended plan ends its pauses, too: clearing the faults frees whoever waits in them.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._released.wait(), seconds)
