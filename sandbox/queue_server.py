"""A tiny server with a queue whose breaking point can be worked out on paper: what forecasts are weighed against.

One process, plain asyncio over HTTP/1.1, `GET /anything` answers `{"rows": 1}`. The ceilings are those of
`ServerLimits` (pool, lock, token bucket, cap, daily quota, rows), and `Moods` adds the ways in which real systems
misbehave. `python -m weighbridge.sandbox.queue_server '{"pool": 20, "latency_ms": 40}'` prints its port and serves
until its standard input closes.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from dataclasses import dataclass, fields
from typing import Any, Self

from weighbridge.sandbox.limits import Gate, Refused, ServerLimits

__all__ = ["Moods", "QueueServer", "serve"]

GOOD = b'{"rows": 1}'


@dataclass(frozen=True, slots=True)
class Moods:
    """Misbehaviour; 0 or False is none."""

    fail_share: float = 0.0
    """Share of calls that fail with 500, at random."""
    hang_after: int = 0
    """Calls after which nothing is answered any more."""
    error_body: bool = False
    """200 with an error in the body."""
    slow_after_s: float = 0.0
    """Seconds of life after which every call takes `slow_factor` times as long."""
    slow_after_calls: int = 0
    """The same after so many calls: what fills up, leaks or is throttled by use."""
    slow_factor: float = 5.0
    reset_above: int = 0
    """Calls in progress above which connections are reset."""
    same_key_ms: float = -1.0
    """A cache: a key asked for before is answered in this time; below 0 there is none."""
    jitter: str = "constant"
    """Distribution of the service time: constant, exponential or lognormal (variation 0.5)."""
    stored_rows: int = 0


class _Handler(asyncio.Protocol):
    def __init__(self, server: _Server) -> None:
        self._server = server
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a TCP server gives a Transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
            task = asyncio.ensure_future(self._server.answer(head.split(b" ", 2)[1]))
            self._server.tasks.add(task)
            task.add_done_callback(self._write)

    def _write(self, task: asyncio.Task[tuple[int, bytes] | None]) -> None:
        self._server.tasks.discard(task)
        if task.cancelled() or self._transport is None or self._transport.is_closing():
            return
        answer = task.result()
        if answer is None:
            self._transport.abort()
            return
        status, body = answer
        self._transport.write(
            b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (status, len(body), body)
        )


class _Server:
    def __init__(self, limits: ServerLimits, moods: Moods, seed: int) -> None:
        self.gate = Gate(limits)
        self.limits, self.moods = limits, moods
        self.rng = random.Random(seed)
        self.born = time.monotonic()
        self.calls = 0
        self.tasks: set[Any] = set()
        self.seen: set[bytes] = set()

    async def answer(self, path: bytes) -> tuple[int, bytes] | None:
        moods = self.moods
        self.calls += 1
        if path == b"/stats":
            return 200, json.dumps(self.gate.stats()).encode()
        if moods.hang_after and self.calls > moods.hang_after:
            await asyncio.sleep(3600)
        if moods.reset_above and self.gate.in_flight >= moods.reset_above:
            return None
        if moods.same_key_ms >= 0 and path in self.seen:
            await asyncio.sleep(moods.same_key_ms / 1000)
            return 200, GOOD
        self.seen.add(path)
        try:
            async with self.gate.admit(stored=moods.stored_rows):
                extra = self._extra()
                if extra > 0:
                    await asyncio.sleep(extra)
        except Refused as refused:
            return 429, json.dumps({"error": refused.kind}).encode()
        if self.rng.random() < moods.fail_share:
            return 500, b'{"error": "chance"}'
        return 200, b'{"error": "not really"}' if moods.error_body else GOOD

    def _extra(self) -> float:
        """Seconds on top of the constant latency: the tail of a distribution, or the weariness of age."""
        base = self.limits.latency_ms / 1000
        extra = 0.0
        old = self.moods.slow_after_s and time.monotonic() - self.born > self.moods.slow_after_s
        if old or (self.moods.slow_after_calls and self.calls > self.moods.slow_after_calls):
            extra += base * (self.moods.slow_factor - 1)
        return extra


class _Draws(_Server):
    """Holds the slot for a drawn time instead of a constant one."""

    async def answer(self, path: bytes) -> tuple[int, bytes] | None:
        if self.moods.jitter != "constant":
            base = self.limits.latency_ms
            drawn = (
                self.rng.expovariate(1 / base)
                if self.moods.jitter == "exponential"
                else self.rng.lognormvariate(-0.1116, 0.4724) * base
            )
            self.gate.limits = ServerLimits(**{**self.limits.as_dict(), "latency_ms": drawn})
        return await super().answer(path)


async def serve(config: dict[str, Any]) -> None:
    """Serve until standard input closes; the port is printed first."""
    mood_names = {f.name for f in fields(Moods)}
    moods = Moods(**{k: v for k, v in config.items() if k in mood_names})
    seed = int(config.get("seed", 1))
    limits = ServerLimits.of({k: v for k, v in config.items() if k not in mood_names and k != "seed"})
    server = _Draws(limits, moods, seed)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: _Handler(server), "127.0.0.1", 0, backlog=1024)
    print(listening.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - the parent reads the port
    await loop.run_in_executor(None, sys.stdin.read)
    listening.close()
    for task in list(server.tasks):
        task.cancel()


class QueueServer:
    """A queue server in a process of its own, for a `with` block; `port` is where it listens on 127.0.0.1."""

    def __init__(self, **config: Any) -> None:
        self._config = config
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "weighbridge.sandbox.queue_server", json.dumps(self._config)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line.strip().isdigit():
            self.__exit__()
            raise RuntimeError(f"the queue server did not start with {self._config}")
        self.port = int(line)
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        if process is None:
            return
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(3)
        if process.stdout:
            process.stdout.close()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}))
