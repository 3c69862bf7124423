"""What the load generator itself costs: 500 users with 1 s think time against a 50 ms server, and flat out.

    python -m bench load          or          python bench/bench_load.py

Calls go through `requests`, one session a user, as the connectors' do. The lone user beside them has the same server
and the same client, so the difference is what the crowd's threads add. Limits: under 3 ms at p95, 1,500 calls/s.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from evaluate.tiny import Tiny
from weighbridge.checks.forecast.plan import Crew, Guards, Level, LoadPlan
from weighbridge.connectors.base import Key, Operation, OperationResult
from weighbridge.connectors.session import NO_RETRY, Session
from weighbridge.engine.threads import ThreadEngine
from weighbridge.sandbox.queue_server import QueueServer

KEYS = [(i,) for i in range(1000)]


class Requests(Tiny):
    """The tiny connector over a `requests` session of its own."""

    def open(self) -> None:
        import requests

        super().open()
        self._session = requests.Session()
        self._session.trust_env = False

    def close(self) -> None:
        self._session.close()

    def operations(self, object: str, keys: Sequence[Any]) -> Mapping[str, Operation]:
        return {"lookup": Operation("lookup", self._get)}

    def _get(self, key: Key) -> OperationResult:
        with self.session.attempt("lookup"):
            answer = self._session.get(f"http://127.0.0.1:{self.options.port}/{key[0]}", timeout=self.session.timeout)
            answer.raise_for_status()
        return OperationResult(1, 1, len(answer.content))


def run(port: int, users: int, think_s: float, seconds: float) -> Level:
    first = Requests({"port": port}, Session("bench", timeout=30.0, retry=NO_RETRY))
    first.open()
    crew = Crew(lambda: first.fork(first.session))
    plan = LoadPlan(
        crew, "things", KEYS, {"lookup": 1.0}, users, think_s, seconds=seconds, warm_up_s=2.0,
        guards=Guards(error_share=1.0, seconds=seconds + 5), seed=users,
    )  # fmt: skip
    try:
        return ThreadEngine().run(plan).level
    finally:
        crew.close()
        first.close()


def per_call(port: int, calls: int = 600) -> tuple[float, float]:
    """Client CPU milliseconds of one call: of plain `requests`, and of the same through a connector's operation."""
    import time

    import requests

    plain = requests.Session()
    plain.trust_env = False
    ours = Requests({"port": port}, Session("bench", timeout=30.0, retry=NO_RETRY))
    ours.open()
    operation = ours.operations("things", KEYS)["lookup"].call
    spent = []
    for call in (lambda i: plain.get(f"http://127.0.0.1:{port}/{i}", timeout=30.0), lambda i: operation((i,))):
        for i in range(30):
            call(i)
        started = time.thread_time()
        for i in range(calls):
            call(i)
        spent.append((time.thread_time() - started) / calls * 1000)
    ours.close()
    plain.close()
    return spent[0], spent[1]


def main() -> int:
    with QueueServer(latency_ms=50) as server:
        alone = run(server.port, 1, 0.05, 5.0)
        crowd = run(server.port, 500, 1.0, 12.0)
    with QueueServer(latency_ms=5) as server:
        flat = run(server.port, 64, 0.0, 6.0)
    with QueueServer(latency_ms=0) as server:
        plain, ours = per_call(server.port)
    added = (crowd.p95_s - alone.p95_s) * 1000
    print(json.dumps({
        "alone_p95_ms": round(alone.p95_s * 1000, 2),
        "users_500": {"calls_per_s": round(crowd.throughput, 1), "p50_ms": round(crowd.p50_s * 1000, 2),
                      "p95_ms": round(crowd.p95_s * 1000, 2), "added_p95_ms": round(added, 2), "limit_ms": 3.0,
                      "cpu_share": round(crowd.audit.cpu_share, 3),
                      "send_lag_p95_ms": round(crowd.audit.send_lag_s * 1000, 2), "errors": dict(crowd.errors)},
        "flat_out": {"calls_per_s": round(flat.throughput), "least": 1500, "cpu_share": round(flat.audit.cpu_share, 2),
                     "errors": dict(flat.errors)},
        "cpu_ms_per_call": {"plain_requests": round(plain, 3), "through_a_connector": round(ours, 3)},
    }, indent=2))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
