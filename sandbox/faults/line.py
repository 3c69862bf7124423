"""One open proxy in front of one system: its listener, its planned faults, its journal."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import random
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from weighbridge.connectors.session import Endpoint
from weighbridge.sandbox.faults.bulk import Bulk
from weighbridge.sandbox.faults.journal import Journal
from weighbridge.sandbox.faults.link import Link, Side
from weighbridge.sandbox.faults.spec import Armed, Fault, parse_fault

if TYPE_CHECKING:
    from weighbridge.sandbox.faults.proxy import Caller

__all__ = ["Line"]

LOOPBACK = "127.0.0.1"
DIAL_S = 30.0
BACKLOG = 512


class Line:
    """Dial `endpoint` (or give `route` to a Session); `plan` faults from any thread; read the `journal`."""

    def __init__(
        self,
        upstream: Any,
        call: Caller,
        *,
        seed: int,
        server_context: ssl.SSLContext | None = None,
        upstream_context: ssl.SSLContext | None = None,
        http: bool | None = None,
        host_header: str | None = None,
        port: int = 0,
    ) -> None:
        self.upstream = Endpoint(upstream.host, upstream.port, bool(getattr(upstream, "tls", False)))
        self.seed = seed
        self.http = http
        self.host_header = host_header
        self.armed: tuple[Armed, ...] = ()
        self.version = 0
        self.port = port
        self.bulk = Bulk()
        self._call = call
        self._server_context = server_context
        self._upstream_context = upstream_context
        self._journal = Journal()
        self._links: set[Link] = set()
        self._number = 0
        self._server: asyncio.Server | None = None
        self._elsewhere: asyncio.Server | None = None
        self._elsewhere_port = 0
        self._held: socket.socket | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._started = time.monotonic()
        self._closed = False

    # --- for the caller, from any thread

    @property
    def endpoint(self) -> Endpoint:
        """Where to dial instead of the system."""
        plain_client = self._upstream_context is not None and self._server_context is None
        return Endpoint(LOOPBACK, self.port, self.upstream.tls and not plain_client)

    def route(self, endpoint: Endpoint) -> Endpoint:
        """For `Session.route`: the system's endpoint becomes this line's, any other stays."""
        same = (endpoint.host, endpoint.port) == (self.upstream.host, self.upstream.port)
        return self.endpoint if same else endpoint

    def plan(self, *faults: Mapping[str, Any] | str) -> None:
        """Replace the faults in force; raises ValueError for a fault that is not known."""
        parsed = [parse_fault(fault) for fault in faults]
        self._call(self._install(parsed))

    def clear(self) -> None:
        """No faults any more; what hangs is let go."""
        self._call(self._install([]))

    def drop(self) -> None:
        """Reset every open connection, once."""
        self._call(self._drop())

    def journal(self) -> Sequence[Mapping[str, Any]]:
        """What passed and what was done to it, oldest first."""
        return [dict(entry) for entry in self._journal.entries()]

    def forget_journal(self) -> None:
        self._journal.clear()

    @property
    def open_links(self) -> int:
        """Connections open now."""
        return len(self._links)

    # --- within the loop

    def now(self) -> float:
        return time.monotonic()

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._elsewhere = await asyncio.start_server(self._visited, LOOPBACK, 0)
        self._elsewhere_port = self._elsewhere.sockets[0].getsockname()[1]
        self._reserve()
        await self._listen(loop)

    def _reserve(self) -> None:
        """Hold the port by a socket that never listens: refused while down, and nobody else can be given it."""
        if hasattr(socket, "SO_REUSEPORT"):
            self._held = socket.socket()
            self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._held.bind((LOOPBACK, self.port))
            self.port = self._held.getsockname()[1]

    async def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._server is None and not self._closed:
            self._server = await loop.create_server(
                self._accept,
                LOOPBACK,
                self.port,
                ssl=self._server_context,
                backlog=BACKLOG,
                reuse_address=True,
                reuse_port=self._held is not None,
            )
            self.port = self._server.sockets[0].getsockname()[1]

    def _accept(self) -> Side:
        self._number += 1
        return Link(self, self._number).client

    def accepted(self, link: Link) -> None:
        self._links.add(link)
        for armed in self.armed:
            if armed.fault.type == "down" and armed.strikes(self.now()):
                self.struck(armed.fault, connection=link.number, protocol=None)
                link.close(hard=True)
                return

    async def dial(self, side: Side) -> None:
        loop = asyncio.get_running_loop()
        context = self._upstream_context
        async with asyncio.timeout(DIAL_S):
            await loop.create_connection(
                lambda: side,
                self.upstream.host,
                self.upstream.port,
                ssl=context,
                server_hostname=self.upstream.host if context else None,
            )

    def forget(self, link: Link) -> None:
        self._links.discard(link)

    def book(self, entry: dict[str, Any]) -> dict[str, Any]:
        entry["at"] = self.now() - self._started
        entry["time"] = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        self._journal.add(entry)
        return entry

    def struck(self, fault: Fault, **details: Any) -> None:
        self.book({"event": "fault", "fault": fault.type, **details})

    @property
    def elsewhere(self) -> str:
        """Base URL of the other host that redirects lead to."""
        return f"http://localhost:{self._elsewhere_port}"

    async def _visited(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            async with asyncio.timeout(5):
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                credentials = any(name in head for name in (b"\r\nauthorization:", b"\r\ncookie:", b"\r\nx-api-key:"))
                self.book({"event": "elsewhere", "credentials": credentials})
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                await writer.drain()
        writer.close()

    async def _install(self, faults: Sequence[Fault]) -> None:
        now = self.now()
        self.version += 1
        rng = random.Random(f"{self.seed}:{self.version}")
        self.armed = tuple(Armed(fault, now, rng) for fault in faults)
        for link in list(self._links):
            link.released.set()
            link.released = asyncio.Event()
        for timer in self._timers:
            timer.cancel()
        loop = asyncio.get_running_loop()
        edges = {f.after_s for f in faults} | {f.after_s + f.for_s for f in faults if f.for_s is not None}
        self._timers = [
            loop.call_later(edge + 0.001, lambda: loop.create_task(self._match_listener())) for edge in edges if edge
        ]
        await self._match_listener()

    async def _match_listener(self) -> None:
        """Close or reopen the door as the plan has it: only a closed one gives 'connection refused'."""
        now = self.now()
        down = any(a.fault.type == "down" and not a.fault.counted and a.in_time(now) for a in self.armed)
        if down and self._server is not None:
            server, self._server = self._server, None
            server.close()
            self.book({"event": "fault", "fault": "down"})
            await self._drop()
        elif not down:
            await self._listen(asyncio.get_running_loop())

    async def _drop(self) -> None:
        for link in list(self._links):
            link.close(hard=True)

    async def close(self) -> None:
        self._closed = True
        for timer in self._timers:
            timer.cancel()
        for server in (self._server, self._elsewhere):
            if server is not None:
                server.close()
        if self._held is not None:
            self._held.close()
        tasks = [task for link in self._links for task in link.tasks]
        await self._drop()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
