"""What reading Odoo costs: 200,000 records against a bare loop of requests and json over the same pages.

    python -m bench odoo          or          python bench/bench_odoo.py [--rows 200000] [--page 2000] [--rounds 3]

Each reader runs in a process of its own, in turn, against one stand-in. Prints JSON.
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

FIELDS = ["id", "name", "partner_id", "client_order_ref", "state", "date_order", "amount_total", "locked"]
COLUMNS = [*FIELDS, "partner_id.name"]
FLOOR = 0.6
CEILING_MB = 200


def _rss_mb() -> float:
    return psutil.Process().memory_info().rss / 1e6


def bare(url: str, page: int) -> dict[str, float]:
    """JSON-RPC pages by id with requests and the standard json module; rows are counted and dropped."""
    import requests

    rows, last = 0, 0
    with requests.Session() as session:
        session.trust_env = False

        def call(service: str, method: str, args: list[Any]) -> Any:
            body = {"jsonrpc": "2.0", "method": "call", "params": {"service": service, "method": method, "args": args}}
            return json.loads(session.post(f"{url}/jsonrpc", json=body, timeout=60).content)["result"]

        uid = call("common", "login", ["practice", "admin", "admin-word"])
        started, cpu = time.perf_counter(), time.process_time()
        while True:
            named = {"fields": FIELDS, "order": "id", "limit": page}
            args = ["practice", uid, "admin-word", "sale.order", "search_read", [[["id", ">", last]]], named]
            found = call("object", "execute_kw", args)
            if not found:
                break
            rows += len(found)
            last = found[-1]["id"]
    return {"rows": rows, "seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu, "rss": _rss_mb()}


def ours(url: str, page: int) -> dict[str, float]:
    """The connector, into Arrow batches that are dropped."""
    from weighbridge.connectors.odoo import OdooConnector

    options = {"url": url, "database": "practice", "username": "admin", "password": "admin-word", "page_rows": page}
    with OdooConnector(options) as connector:
        next(connector.read("sale.order", columns=COLUMNS, page_rows=1))  # pyarrow's first use loads half of itself
        rows, early = 0, 0.0
        started, cpu = time.perf_counter(), time.process_time()
        for number, batch in enumerate(connector.read("sale.order", columns=COLUMNS), start=1):
            rows += batch.batch.num_rows
            early = _rss_mb() if number == 25 else early
        seconds = time.perf_counter() - started
    spent = time.process_time() - cpu
    return {"rows": rows, "seconds": seconds, "cpu": spent, "rss": _rss_mb(), "rss_at_page_25": early}


def _apart(function: Any, *arguments: Any) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(function, arguments)


def main(rows: int = 200_000, page: int = 2000, rounds: int = 3) -> dict[str, Any]:
    with start("weighbridge.sandbox.odoo.app:create", {"rows": rows}, ready_s=180) as server:
        pairs = [(_apart(bare, server.url, page), _apart(ours, server.url, page)) for _ in range(rounds)]
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
