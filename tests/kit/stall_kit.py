"""A relay in front of a server that goes silent: connections stay open, and nothing comes any more."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

__all__ = ["Stalling", "stalling"]


@dataclass
class Stalling:
    """`port` is where to connect; `silent` is set when nothing is to come through any more."""

    port: int
    after: int | None
    """Bytes of the server that a connection gets before it is silent."""
    silent: threading.Event = field(default_factory=threading.Event)


@contextmanager
def stalling(to: int, after: int | None = None) -> Iterator[Stalling]:
    listener = socket.create_server(("127.0.0.1", 0))
    relay = Stalling(listener.getsockname()[1], after)
    ends: list[socket.socket] = []

    def pump(source: socket.socket, sink: socket.socket, most: int | None) -> None:
        sent = 0
        with suppress(OSError):
            while data := source.recv(65536):
                if most is not None:
                    data = data[: most - sent]
                if relay.silent.is_set() or (most is not None and not data):
                    continue
                sink.sendall(data)
                sent += len(data)
            sink.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                here, _ = listener.accept()
                there = socket.create_connection(("127.0.0.1", to))
                ends.extend((here, there))
                for one, other, most in ((here, there, None), (there, here, after)):
                    threading.Thread(target=pump, args=(one, other, most), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield relay
    finally:
        listener.close()
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
