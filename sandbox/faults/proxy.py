"""The fault proxy: a background thread that opens lines in front of real systems, on loopback only."""

from __future__ import annotations

import asyncio
import itertools
import ssl
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypeVar

from weighbridge.sandbox.faults.authority import Authority
from weighbridge.sandbox.faults.line import Line

__all__ = ["Caller", "FaultProxy", "TlsMode"]

T = TypeVar("T")
CALL_S = 30.0
TlsMode = Literal["through", "terminate", "plain"]


class Caller(Protocol):
    """Runs a coroutine in the proxy's loop and waits for it."""

    def __call__(self, work: Coroutine[Any, Any, T], /) -> T: ...


class FaultProxy:
    """Opens a line in front of any TCP or HTTP system: `with proxy.between(endpoint) as line`.

    The protocol of each connection is told by its first bytes, so one line serves HTTP, PostgreSQL, MySQL and plain
    TCP alike. TLS is passed through untouched (TCP faults only), or ended here (`tls="terminate"`) with a
    certificate of a local authority, whose `ca_file` the client must trust; `tls="plain"` takes plain bytes from the
    client and speaks TLS to the system. The thread runs from the first line, or from `start`, until the last line is
    closed, or `stop`.
    """

    def __init__(self, *, seed: int = 0, authority_folder: Path | None = None, upstream_ca: str | None = None) -> None:
        self._seed = seed
        self._authority = None if authority_folder is None else Authority(authority_folder)
        self._upstream_ca = upstream_ca
        self._lock = threading.Lock()
        self._users = 0
        self._numbers = itertools.count(1)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def ca_file(self) -> Path | None:
        """The certificate that a client must trust where TLS is ended here."""
        return None if self._authority is None else self._authority.ca_file

    def with_authority(self, folder: Path, *, upstream_ca: str | None = None) -> FaultProxy:
        """A proxy like this one that ends TLS, with its authority in `folder`; `upstream_ca` as in the client's own."""
        return FaultProxy(seed=self._seed, authority_folder=folder, upstream_ca=upstream_ca)

    def start(self) -> None:
        """Start the thread, or count one more user of it."""
        with self._lock:
            self._users += 1
            if self._thread is not None:
                return
            loop = self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_run, args=(loop,), name="weighbridge-faults", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """One user less; the last one ends the thread."""
        with self._lock:
            self._users -= 1
            if self._users > 0 or self._thread is None or self._loop is None:
                return
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._thread = self._loop = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @contextmanager
    def between(
        self,
        upstream: Any,
        *,
        tls: TlsMode | None = None,
        http: bool | None = None,
        host_header: str | None = None,
        port: int = 0,
    ) -> Iterator[Line]:
        """A line in front of the `Endpoint` upstream for the length of the block.

        `http=False` treats HTTP as plain TCP; `host_header` replaces the Host that the client sends;
        `port` is where it listens, chosen by the system when 0.
        """
        self.start()
        try:
            mode: TlsMode = tls or ("terminate" if self._authority is not None else "through")
            line = Line(
                upstream,
                self._call,
                seed=self._seed * 1000 + next(self._numbers),
                server_context=self._shown(upstream) if upstream.tls and mode == "terminate" else None,
                upstream_context=self._trusted() if upstream.tls and mode != "through" else None,
                http=http,
                host_header=host_header,
                port=port,
            )
            try:
                self._call(line.open())
                yield line
            finally:
                self._call(line.close())
        finally:
            self.stop()

    def _shown(self, upstream: Any) -> ssl.SSLContext:
        if self._authority is None:
            raise ValueError("TLS can be ended at the proxy only with an authority: give authority_folder")
        return self._authority.server_context(upstream.host)

    def _trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._upstream_ca)

    def _call(self, work: Coroutine[Any, Any, T], /) -> T:
        loop = self._loop
        if loop is None:
            work.close()
            raise RuntimeError("the fault proxy is not running")
        return asyncio.run_coroutine_threadsafe(work, loop).result(CALL_S)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()
