"""What reading OData costs: 200,000 records against a bare loop of requests and json over the same pages.

    python -m bench odata          or          python -m bench.bench_odata [--rows 200000] [--page 2000] [--rounds 3]

Each reader runs in a process of its own, in turn, against one stand-in whose rows are rendered beforehand. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator

from bench._reading import CALL_MS, apart, compared, counted
from weighbridge.sandbox.server import start

ACCEPT = "application/json;odata.metadata=minimal;IEEE754Compatible=true"


def bare(url: str, page: int) -> dict[str, float]:
    """Keyset pages with requests and the standard json module; rows are counted and dropped."""
    import requests

    with requests.Session() as session:
        session.trust_env = False
        session.headers["Accept"] = ACCEPT

        def pages() -> Iterator[int]:
            last = "0"
            while True:
                query = f"?$filter=Id%20gt%20{last}&$orderby=Id&$top={page}"
                found = json.loads(session.get(url + query, timeout=60).content)["value"]
                if not found:
                    return
                last = found[-1]["Id"]
                yield len(found)

        return counted(pages())


def ours(url: str, page: int) -> dict[str, float]:
    """The connector, into Arrow batches that are dropped."""
    from weighbridge.connectors.odata import ODataConnector

    root, _, name = url.rpartition("/")
    with ODataConnector({"url": root, "page_rows": page}) as connector:
        connector.discover(name)
        next(connector.read(name, page_rows=1))  # pyarrow's first use loads half of itself
        return counted(p.batch.num_rows for p in connector.read(name))


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


def main(rows: int = 200_000, page: int = 2000, rounds: int = 3) -> None:
    services = {"": {"dataset": "numbers", "rows": rows}}
    with start("weighbridge.sandbox.odata.app:create", {"services": services}, ready_s=120) as server:
        url = f"{server.url}/odata/Numbers"
        apart(bare, url, page)  # renders every row once, for both
        call = apart(calls, url, 2000)
        found = compared(bare, ours, url, rows=rows, page=page, rounds=rounds)
    found |= {"client_cpu_ms_a_call": call, "call_ok": call["p95"] < CALL_MS}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--page", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    main(given.rows, given.page, given.rounds)
