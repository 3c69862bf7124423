"""One proxied connection: finds out what is spoken on it and relays it, directly or under faults."""

from __future__ import annotations

import asyncio
import random
import re
import struct
from collections import deque
from typing import TYPE_CHECKING, Any

from weighbridge.sandbox.faults.flow import Cut, Flow, reset
from weighbridge.sandbox.faults.spec import Armed, Fault

if TYPE_CHECKING:
    from weighbridge.sandbox.faults.line import Line

__all__ = ["Link"]

QUEUED = 1 << 18
FULL_READ = 1 << 16
FULL_READS = 4
AT_THE_DOOR = ("down", "too_many_connections")
_HTTP = re.compile(rb"^[A-Z]{3,10} ")
_PG_STARTUP, _PG_SSL, _PG_GSS = 196608, 80877103, 80877104
_PG_ASKS_FOR_SAFETY = (struct.pack("!I", _PG_SSL), struct.pack("!I", _PG_GSS))


def spoken(first: bytes, *, by_client: bool) -> str:
    """The protocol that a connection's first bytes speak: http, tls, postgresql, mysql or tcp."""
    if not by_client:
        return "mysql" if len(first) > 4 and first[3] == 0 and first[4] in (9, 10, 255) else "tcp"
    if _HTTP.match(first):
        return "http"
    if first[:2] == b"\x16\x03":
        return "tls"
    if len(first) >= 8 and struct.unpack("!I", first[4:8])[0] in (_PG_STARTUP, _PG_STARTUP + 2, _PG_SSL, _PG_GSS):
        return "postgresql"
    return "tcp"


class Side(asyncio.Protocol):
    """The client's or the system's end of a link."""

    def __init__(self, link: Link, *, client: bool) -> None:
        self.link = link
        self.client = client
        self.transport: Any = None
        self.writable = asyncio.Event()
        self.writable.set()
        self.held: deque[bytes | None] = deque()
        self.held_bytes = 0
        self.pump: asyncio.Task[None] | None = None
        self.full_reads = 0
        self.ended = False
        self.lost = False

    @property
    def other(self) -> Side:
        return self.link.server if self.client else self.link.client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.link.connected(self)

    def data_received(self, data: bytes) -> None:
        self.link.received(self, data)

    def eof_received(self) -> bool:
        self.ended = True
        self.link.received(self, None)
        return self.transport.get_extra_info("sslcontext") is None  # TLS has no half-closed connection

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.writable.set()
        self.link.lost(self, hard=exc is not None)

    def pause_writing(self) -> None:
        self.writable.clear()
        if self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.writable.set()
        if self.other.transport is not None and self.other.held_bytes < QUEUED:
            self.other.transport.resume_reading()

    async def put(self, data: bytes) -> None:
        """Write and wait while the peer does not take it."""
        if self.transport is None or self.transport.is_closing():
            raise Cut(hard=True)
        self.transport.write(data)
        if not self.writable.is_set():
            await self.writable.wait()


class Link:
    """A client's connection and the one made to the system for it."""

    def __init__(self, line: Line, number: int) -> None:
        self.line = line
        self.number = number
        self.client = Side(self, client=True)
        self.server = Side(self, client=False)
        self.protocol: str | None = None
        self.released = asyncio.Event()
        self.rng = random.Random(f"{line.seed}:{number}")
        self.tasks: set[asyncio.Task[Any]] = set()
        self.opened = line.now()
        self.entry: dict[str, Any] = {}
        self._early: list[bytes | None] = []
        self._decided: dict[Armed, bool] = {}
        self._flows: dict[str, tuple[tuple[Fault, ...], Flow | None]] = {}
        self._version = -1
        self.done = False
        self._full = False
        self.exchanging = False
        """HTTP: a request is under way."""
        self.ready = asyncio.Event()
        """Set when the system has been reached."""

    # --- the ends come and go

    def connected(self, side: Side) -> None:
        if side is self.client:
            self.line.accepted(self)
            if not self.done:
                self.spawn(self._dial())
            return
        if self.done:
            side.transport.abort()
            return
        self.ready.set()
        early, self._early = self._early, []
        for data in early:
            self._forward(self.client, data)

    async def _dial(self) -> None:
        try:
            await self.line.dial(self.server)
        except OSError as error:
            self.line.book({"event": "upstream_failed", "connection": self.number, "error": type(error).__name__})
            self.close(hard=True)

    def lost(self, side: Side, *, hard: bool) -> None:
        if self.done:
            return
        if not hard and side is self.server and side.pump is not None:
            return  # held bytes and a slow close are still on their way to the client
        self.close(hard=hard)

    def close(self, *, hard: bool) -> None:
        """End both ends; a reset on the client's side when `hard`."""
        if self.done:
            return
        self.done = True
        self.released.set()
        for side in (self.client, self.server):
            if side.transport is not None:
                if hard:
                    reset(side.transport)
                else:
                    side.transport.close()
        if self.entry:
            self.entry["seconds"] = self.line.now() - self.opened
            self.entry["closed"] = "reset" if hard else "closed"
        current = asyncio.current_task()
        for task in list(self.tasks):
            if task is not current:
                task.cancel()
        self.line.forget(self)

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    # --- bytes

    def received(self, side: Side, data: bytes | None) -> None:
        if self.done:
            return
        if self.protocol is None:
            self._sniffed(side, data or b"")
            if self.protocol == "http":
                return
        if self._full:
            self._turn_away(data)
            return
        if side.client and self.server.transport is None:
            self._early.append(data)
            return
        self._forward(side, data)

    def _sniffed(self, side: Side, first: bytes) -> None:
        self.protocol = spoken(first, by_client=side.client) if first else "tcp"
        if self.line.http is False and self.protocol == "http":
            self.protocol = "tcp"
        if self.protocol == "http":
            from weighbridge.sandbox.faults.http import converse

            self.spawn(converse(self, first))
            return
        self.entry = self.line.book(
            {"event": "connection", "connection": self.number, "protocol": self.protocol, "sent": 0, "received": 0}
        )
        self._full = self._is_full()

    def _forward(self, side: Side, data: bytes | None) -> None:
        """From `side` to its other; at once when no fault is in force there."""
        flow = self._flow("upstream" if side.client else "downstream") if self.line.armed else None
        if self.done:
            return
        if flow is None and side.pump is None:
            self._write(side, data)
            return
        side.held.append(data)
        side.held_bytes += len(data or b"")
        if side.held_bytes >= QUEUED:
            side.transport.pause_reading()
        if side.pump is None:
            side.pump = self.spawn(self._pump(side))

    def _write(self, side: Side, data: bytes | None) -> None:
        other = side.other
        if other.transport is None or other.transport.is_closing():
            return
        if data is None:
            try:
                if other.transport.can_write_eof():
                    other.transport.write_eof()
            except OSError:
                # The other side is gone already: nobody is left to hear the end, and nothing may stay open for it.
                self.close(hard=False)
                return
            if other.ended or not other.transport.can_write_eof():
                self.close(hard=False)
            return
        self.entry["sent" if side.client else "received"] += len(data)
        other.transport.write(data)
        side.full_reads = side.full_reads + 1 if len(data) >= FULL_READ else 0
        if side.full_reads >= FULL_READS and not self.line.armed and side.pump is None:
            side.full_reads = 0
            side.pump = self.spawn(self._hand_over(side))

    async def _hand_over(self, side: Side) -> None:
        """A stream in full flow passes outside Python until it pauses or faults are planned."""
        line, version, target = self.line, self.line.version, side.other
        try:
            side.transport.pause_reading()
            await target.writable.wait()
            while target.transport.get_write_buffer_size() and not self.done:
                await asyncio.sleep(0.001)
            moved = 0
            if not self.done and not side.held and line.bulk.possible(side.transport, target.transport):
                moved = await line.bulk.move(
                    side.transport, target.transport, limit=None, stop=lambda: self.done or line.version != version
                )
            self.entry["sent" if side.client else "received"] += moved
        finally:
            side.pump = None
            if not side.transport.is_closing():
                side.transport.resume_reading()
        if side.held and not self.done:
            side.pump = self.spawn(self._pump(side))

    async def _pump(self, side: Side) -> None:
        try:
            while side.held:
                data = side.held.popleft()
                side.held_bytes -= len(data or b"")
                flow = self._flow("upstream" if side.client else "downstream")
                if data is None:
                    if flow is not None:
                        await flow.closing()
                    self._write(side, None)
                    continue
                if flow is None:
                    self._write(side, data)
                    await side.other.writable.wait()
                else:
                    self.entry["sent" if side.client else "received"] += len(data)
                    await flow.send(data)
                if side.held_bytes < QUEUED and side.other.writable.is_set() and not side.lost:
                    side.transport.resume_reading()
            if side.lost:
                self.close(hard=False)
        except Cut as cut:
            self.close(hard=cut.hard)
        finally:
            side.pump = None

    # --- faults of a connection that is not HTTP

    def _flow(self, direction: str) -> Flow | None:
        line = self.line
        if self._version != line.version:
            self._version = line.version
            self._decided.clear()
            self._flows.clear()
        now = line.now()
        active: list[Fault] = []
        for armed in line.armed:
            fault = armed.fault
            if fault.layer != "tcp" or fault.type in AT_THE_DOOR or fault.direction != direction:
                continue
            if armed not in self._decided and armed.in_time(now):
                self._decided[armed] = self._begins(armed, now)
            if self._decided.get(armed) and armed.in_time(now):
                active.append(fault)
        kept = self._flows.get(direction)
        if kept is None or kept[0] != tuple(active):
            target = self.client if direction == "downstream" else self.server
            made = Flow(active, target.put, rng=self.rng, released=self.released) if active else None
            kept = self._flows[direction] = (tuple(active), made)
        return kept[1]

    def _begins(self, armed: Armed, now: float) -> bool:
        struck = armed.strikes(now)
        if struck:
            self.line.struck(armed.fault, connection=self.number, protocol=self.protocol)
        return struck

    def _is_full(self) -> bool:
        """Whether this new connection is one too many."""
        for armed in self.line.armed:
            if armed.fault.type == "too_many_connections" and self.line.open_links > int(armed.fault["max"]):
                return self._begins(armed, self.line.now())
        return False

    def _turn_away(self, data: bytes | None) -> None:
        """The database's own words for 'no more connections', then the end."""
        transport = self.client.transport
        if self.protocol == "postgresql" and data and data[4:8] in _PG_ASKS_FOR_SAFETY:
            transport.write(b"N")  # no TLS, no GSSAPI: now it sends the start-up message
            return
        if self.protocol == "postgresql":
            fields = b"SFATAL\0VFATAL\0C53300\0Msorry, too many clients already\0\0"
            transport.write(b"E" + struct.pack("!I", len(fields) + 4) + fields)
        elif self.protocol == "mysql":
            payload = b"\xff" + struct.pack("<H", 1040) + b"#08004Too many connections"
            transport.write(struct.pack("<I", len(payload))[:3] + b"\x00" + payload)
        self.close(hard=self.protocol not in ("postgresql", "mysql"))
