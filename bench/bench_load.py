"""What the load generator itself costs: 500 users with 1 s think time against a 50 ms server, and flat out.

    python -m bench load

Calls go through `requests`, one session a user: that of the web connectors (a `requests.Session` that prepares its
requests more cheaply) and, for comparison, a plain one. The same crowd of bare sockets in one event loop, timed from
its sends, shows what server and machine take; what is beyond that is what the client adds. Crowds are driven from one
process and from as many as `run` would use; the limits hold for the connectors' session and the latter: under 3 ms at
p95 in the median of the rounds, 1,500 calls/s. The flat-out server answers at once and does as little as a server can,
for it shares the machine's cores with the client.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import socket
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bench._reading import apart
from bench.bench_http import answer_at_once
from evaluate.tiny import Tiny, TinyOptions
from weighbridge.checks.forecast.plan import Crew, Guards, Level, LoadPlan
from weighbridge.connectors.base import Key, Operation, OperationResult
from weighbridge.connectors.http import HttpClient
from weighbridge.connectors.session import NO_RETRY, Session
from weighbridge.engine.processes import ProcessEngine
from weighbridge.engine.threads import ThreadEngine
from weighbridge.sandbox.queue_server import QueueServer

KEYS = [(i,) for i in range(1000)]
ROUNDS = 5


class Wire(Tiny):
    """The tiny connector over the web connectors' own client."""

    options: TinyOptions

    def open(self) -> None:
        super().open()
        self._client = HttpClient(self.session, f"http://127.0.0.1:{self.options.port}")

    def close(self) -> None:
        self._client.close()

    def operations(self, object: str, keys: Sequence[Any]) -> Mapping[str, Operation]:
        return {"lookup": Operation("lookup", self._get)}

    def _get(self, key: Key) -> OperationResult:
        answer = self._client.request("GET", str(key[0]), operation="lookup")
        return OperationResult(1, 1, len(answer.body))


class Plain(Wire):
    """The same over a plain `requests` session."""

    def open(self) -> None:
        import requests

        super().open()
        self._session = requests.Session()
        self._session.trust_env = False

    def close(self) -> None:
        super().close()
        self._session.close()

    def _get(self, key: Key) -> OperationResult:
        with self.session.attempt("lookup"):
            answer = self._session.get(f"http://127.0.0.1:{self.options.port}/{key[0]}", timeout=self.session.timeout)
            answer.raise_for_status()
        return OperationResult(1, 1, len(answer.content))


def run(port: int, users: int, think_s: float, seconds: float, engine: Any, kind: type[Wire] = Wire) -> Level:
    first = kind({"port": port}, Session("bench", timeout=30.0, retry=NO_RETRY))
    first.open()
    crew = Crew(lambda: first.fork(first.session))
    plan = LoadPlan(
        crew, "things", KEYS, {"lookup": 1.0}, users, think_s, seconds=seconds, warm_up_s=2.0,
        guards=Guards(error_share=1.0, seconds=seconds + 5), seed=users,
    )  # fmt: skip
    try:
        return engine.run(plan).level
    finally:
        crew.close()
        first.close()


def per_call(port: int, calls: int = 600) -> dict[str, float]:
    """Client CPU milliseconds of one call, alone."""
    spent = {}
    for kind in (Plain, Wire):
        connector = kind({"port": port}, Session("bench", timeout=30.0, retry=NO_RETRY))
        connector.open()
        operation = connector.operations("things", KEYS)["lookup"].call
        for i in range(30):
            operation((i,))
        started = time.thread_time()
        for i in range(calls):
            operation((i,))
        spent[kind.__name__.lower()] = round((time.thread_time() - started) / calls * 1000, 3)
        connector.close()
    return spent


async def _bare_user(port: int, seed: int, end: float, seen: list[float]) -> None:
    draw = random.Random(seed)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while True:
        await asyncio.sleep(draw.expovariate(1.0))
        sent = time.perf_counter()
        if sent > end:
            break
        writer.write(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % draw.randrange(1000))
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.rpartition(b"Content-Length: ")[2]))
        seen.append(time.perf_counter() - sent)
    writer.close()


def bare_crowd(port: int, users: int, seconds: float) -> dict[str, float]:
    """What a crowd of bare sockets sees, in milliseconds."""

    async def all_of_them(seen: list[float]) -> None:
        end = time.perf_counter() + seconds
        await asyncio.gather(*(_bare_user(port, n, end, seen) for n in range(users)))

    seen: list[float] = []
    asyncio.run(all_of_them(seen))
    seen.sort()
    return {
        "calls_per_s": round(len(seen) / seconds, 1),
        "p50_ms": round(seen[len(seen) // 2] * 1000, 2),
        "p95_ms": round(seen[int(len(seen) * 0.95)] * 1000, 2),
    }


@contextmanager
def at_once() -> Iterator[int]:
    """A server in a process of its own that answers without looking; its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        process = multiprocessing.get_context("fork").Process(target=answer_at_once, args=(listener,), daemon=True)
        process.start()
        try:
            yield listener.getsockname()[1]
        finally:
            process.terminate()
            process.join(5)


def told(level: Level) -> dict[str, Any]:
    return {
        "calls_per_s": round(level.throughput, 1),
        "p50_ms": round(level.p50_s * 1000, 2),
        "p95_ms": round(level.p95_s * 1000, 2),
        "cpu_share": round(level.audit.cpu_share, 3),
        "send_lag_p95_ms": round(level.audit.send_lag_s * 1000, 2),
        "errors": dict(level.errors),
    }


def _beyond(crowd: Level, bare: Mapping[str, float]) -> float:
    """Milliseconds that the client adds at the 95th percentile."""
    return round(crowd.p95_s * 1000 - bare["p95_ms"], 2)


def main() -> None:
    one, many = ThreadEngine(), ProcessEngine()
    rounds = []
    with QueueServer(latency_ms=50) as server:
        single = run(server.port, 500, 1.0, 8.0, one)
        for _ in range(ROUNDS):
            bare = apart(bare_crowd, server.port, 500, 6.0)
            crowd = run(server.port, 500, 1.0, 6.0, many)
            rounds.append({"bare": bare, "crowd": told(crowd), "added_p95_ms": _beyond(crowd, bare)})
    with at_once() as port:
        flats = {
            "one": run(port, 64, 0.0, 6.0, one),
            "many": run(port, 64, 0.0, 6.0, many),
            "many_plain": run(port, 64, 0.0, 6.0, many, Plain),
        }
        cost = per_call(port)
    added = [entry["added_p95_ms"] for entry in rounds]
    found = {
        "users_500_one_process": told(single) | {"added_p95_ms": _beyond(single, rounds[0]["bare"])},
        "users_500": rounds,
        "added_p95_ms": {"median": statistics.median(added), "worst": max(added), "limit": 3.0},
        "added_ok": statistics.median(added) < 3.0,
        "flat_out": {name: told(flat) for name, flat in flats.items()},
        "flat_out_least": 1500,
        "flat_out_ok": flats["many"].throughput >= 1500,
        "cpu_ms_per_call": cost,
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
