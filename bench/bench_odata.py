"""What reading OData costs: 200,000 records against a bare loop of requests and json over the same pages.

    python -m bench odata          or          python bench/bench_odata.py [--rows 200000] [--page 2000] [--rounds 3]

Each reader runs in a process of its own, in turn, against one stand-in whose rows are rendered beforehand. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from typing import Any

import psutil

from weighbridge.sandbox.server import start

ACCEPT = "application/json;odata.metadata=minimal;IEEE754Compatible=true"
FLOOR = 0.6
CEILING_MB = 200
CALL_MS = 1.0


def _rss_mb() -> float:
    return psutil.Process().memory_info().rss / 1e6


def bare(url: str, page: int) -> dict[str, float]:
    """Keyset pages with requests and the standard json module; rows are counted and dropped."""
    import requests

    rows, last = 0, "0"
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Accept"] = ACCEPT
        started, cpu = time.perf_counter(), time.process_time()
        while True:
            query = f"?$filter=Id%20gt%20{last}&$orderby=Id&$top={page}"
            found = json.loads(session.get(url + query, timeout=60).content)["value"]
            if not found:
                break
            rows += len(found)
            last = found[-1]["Id"]
    return {"rows": rows, "seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu, "rss": _rss_mb()}


def ours(url: str, page: int) -> dict[str, float]:
    """The connector, into Arrow batches that are dropped."""
    from weighbridge.connectors.odata import ODataConnector

    root, _, name = url.rpartition("/")
    with ODataConnector({"url": root, "page_rows": page}) as connector:
        connector.discover(name)
        next(connector.read(name, page_rows=1))  # pyarrow's first use loads half of itself
        rows, quarter = 0, 0.0
        started, cpu = time.perf_counter(), time.process_time()
        for number, batch in enumerate(connector.read(name), start=1):
            rows += batch.batch.num_rows
            quarter = _rss_mb() if number == 25 else quarter
        seconds = time.perf_counter() - started
    spent = time.process_time() - cpu
    return {"rows": rows, "seconds": seconds, "cpu": spent, "rss": _rss_mb(), "rss_at_page_25": quarter}


def calls(url: str, number: int) -> dict[str, float]:
    """Client CPU of single look-ups, in milliseconds: what the connector itself costs, whatever the server does."""
    from weighbridge.connectors.odata import ODataConnector

    root, _, name = url.rpartition("/")
    spent: list[float] = []
    with ODataConnector({"url": root}) as connector:
        look_up = connector.operations(name, [])["lookup"].call
        look_up((1,))
        for n in range(number):
            cpu = time.thread_time()
            look_up((n % 1000 + 1,))
            spent.append((time.thread_time() - cpu) * 1000)
    spent.sort()
    return {"median": round(spent[number // 2], 3), "p95": round(spent[int(number * 0.95)], 3)}


def _apart(function: Any, *arguments: Any) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(function, arguments)


def main(rows: int = 200_000, page: int = 2000, rounds: int = 3) -> dict[str, Any]:
    services = {"": {"dataset": "numbers", "rows": rows}}
    with start("weighbridge.sandbox.odata.app:create", {"services": services}, ready_s=120) as server:
        url = f"{server.url}/odata/Numbers"
        _apart(bare, url, page)  # renders every row once, for both
        call = _apart(calls, url, 2000)
        pairs = [(_apart(bare, url, page), _apart(ours, url, page)) for _ in range(rounds)]
    for one, other in pairs:
        if one["rows"] != rows or other["rows"] != rows:
            raise SystemExit(f"the readers saw {one['rows']} and {other['rows']} rows of {rows}")
    ratio = statistics.median(one["seconds"] / other["seconds"] for one, other in pairs)
    last = pairs[-1][1]
    found = {
        "rows": rows,
        "page_rows": page,
        "bare_rows_per_s": round(rows / statistics.median(p[0]["seconds"] for p in pairs)),
        "ours_rows_per_s": round(rows / statistics.median(p[1]["seconds"] for p in pairs)),
        "ratio": round(ratio, 2),
        "ratio_floor": FLOOR,
        "ratio_ok": ratio >= FLOOR,
        "cpu_s": {"bare": round(pairs[-1][0]["cpu"], 2), "ours": round(last["cpu"], 2)},
        "rss_mb": {"page_25": round(last["rss_at_page_25"]), "end": round(last["rss"])},
        "client_cpu_ms_a_call": call,
        "call_ok": call["p95"] < CALL_MS,
        "rss_ok": last["rss"] < CEILING_MB,
    }
    print(json.dumps(found, indent=2))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--page", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    main(given.rows, given.page, given.rounds)
