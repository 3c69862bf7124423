"""What reading Odoo costs: 200,000 records against a bare loop of requests and json over the same pages.

    python -m bench odoo          or          python -m bench.bench_odoo [--rows 200000] [--page 2000] [--rounds 3]

Each reader runs in a process of its own, in turn, against one stand-in. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from bench._reading import compared, counted
from weighbridge.sandbox.server import start

FIELDS = ["id", "name", "partner_id", "client_order_ref", "state", "date_order", "amount_total", "locked"]
COLUMNS = [*FIELDS, "partner_id.name"]


def bare(url: str, page: int) -> dict[str, float]:
    """JSON-RPC pages by id with requests and the standard json module; rows are counted and dropped."""
    import requests

    with requests.Session() as session:
        session.trust_env = False

        def call(service: str, method: str, args: list[Any]) -> Any:
            body = {"jsonrpc": "2.0", "method": "call", "params": {"service": service, "method": method, "args": args}}
            return json.loads(session.post(f"{url}/jsonrpc", json=body, timeout=60).content)["result"]

        uid = call("common", "login", ["practice", "admin", "admin-word"])

        def pages() -> Iterator[int]:
            last = 0
            while True:
                named = {"fields": FIELDS, "order": "id", "limit": page}
                args = ["practice", uid, "admin-word", "sale.order", "search_read", [[["id", ">", last]]], named]
                found = call("object", "execute_kw", args)
                if not found:
                    return
                last = found[-1]["id"]
                yield len(found)

        return counted(pages())


def ours(url: str, page: int) -> dict[str, float]:
    """The connector, into Arrow batches that are dropped."""
    from weighbridge.connectors.odoo import OdooConnector

    options = {"url": url, "database": "practice", "username": "admin", "password": "admin-word", "page_rows": page}
    with OdooConnector(options) as connector:
        next(connector.read("sale.order", columns=COLUMNS, page_rows=1))  # pyarrow's first use loads half of itself
        return counted(p.batch.num_rows for p in connector.read("sale.order", columns=COLUMNS))


def main(rows: int = 200_000, page: int = 2000, rounds: int = 3) -> None:
    with start("weighbridge.sandbox.odoo.app:create", {"rows": rows}, ready_s=180) as server:
        print(json.dumps(compared(bare, ours, server.url, rows=rows, page=page, rounds=rounds), indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--page", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    main(given.rows, given.page, given.rounds)
