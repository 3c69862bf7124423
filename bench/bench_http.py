"""What the web connectors cost: reading 200,000 Salesforce records against a bare loop, and one call's client side.

    python -m bench http          or          python -m bench.bench_http [--rows 200000] [--calls 3000]

Prints JSON. Both readers fetch the same pages of the same stand-in, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import selectors
import socket
import statistics
import time
from typing import Any

from bench._reading import apart
from weighbridge.sandbox.salesforce import seed
from weighbridge.sandbox.server import start

QUERY = "SELECT {} FROM Account ORDER BY Id"


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def bare(url: str) -> dict[str, Any]:
    """A loop with requests and the standard json module: log in, query, follow nextRecordsUrl, count."""
    import requests

    with requests.Session() as session:
        session.trust_env = False
        form = {
            "grant_type": "client_credentials",
            "client_id": seed.CLIENT_ID,
            "client_secret": seed.CLIENT_SECRET,
        }
        token = session.post(f"{url}/services/oauth2/token", form, timeout=30).json()["access_token"]
        session.headers["Authorization"] = f"Bearer {token}"
        base = f"{url}/services/data/v59.0"
        described = session.get(f"{base}/sobjects/Account/describe", timeout=30).json()
        names = ", ".join(f["name"] for f in described["fields"])
        before = _peak_mb()
        started, cpu, rows = time.perf_counter(), time.process_time(), 0
        answer = session.get(f"{base}/query/", params={"q": QUERY.format(names)}, timeout=60)
        while True:
            page = json.loads(answer.content)
            rows += len(page["records"])
            if page["done"]:
                break
            answer = session.get(url + page["nextRecordsUrl"], timeout=60)
        return {
            "rows": rows,
            "seconds": time.perf_counter() - started,
            "cpu": time.process_time() - cpu,
            "peak_mb": _peak_mb(),
            "start_mb": before,
        }


def ours(url: str, bulk: str = "never") -> dict[str, Any]:
    """The connector's read of the same pages, into Arrow batches."""
    from weighbridge.connectors.salesforce import SalesforceConnector

    options = {
        "instance_url": url,
        "client_id": seed.CLIENT_ID,
        "client_secret": seed.CLIENT_SECRET,
        "bulk": bulk,
    }
    with SalesforceConnector(options) as connector:
        connector.discover("Account")
        before = _peak_mb()
        started, cpu, rows, half = time.perf_counter(), time.process_time(), 0, 0.0
        for page in connector.read("Account"):
            rows += page.batch.num_rows
            if not half and rows >= 50_000:
                half = _peak_mb()
        return {
            "rows": rows,
            "seconds": time.perf_counter() - started,
            "cpu": time.process_time() - cpu,
            "peak_mb": _peak_mb(),
            "start_mb": before,
            "at_50000_mb": half,
        }


def answer_at_once(listener: socket.socket) -> None:
    """An instant server in one thread: one canned small answer to each request, so that only the client costs."""
    body = b'{"id": "001000000000001AAA", "Name": "x"}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    waiting = selectors.DefaultSelector()
    waiting.register(listener, selectors.EVENT_READ)
    while True:
        for ready, _ in waiting.select():
            connection = ready.fileobj
            if connection is listener:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                waiting.register(connection, selectors.EVENT_READ)
            elif isinstance(connection, socket.socket):
                asked = connection.recv(65536)  # a small GET comes in one piece on loopback
                if asked.endswith(b"\r\n\r\n"):
                    connection.sendall(answer)
                elif not asked:
                    waiting.unregister(connection)
                    connection.close()


def per_call(url: str, calls: int) -> dict[str, Any]:
    """Milliseconds of one GET through `HttpClient` against the instant server, and its CPU alone."""
    from weighbridge.connectors.http import HttpClient
    from weighbridge.connectors.session import NO_RETRY, Session

    client = HttpClient(Session(retry=NO_RETRY), url, auth=lambda h: h.__setitem__("Authorization", "Bearer x"))
    walls: list[float] = []
    for n in range(calls + 200):
        started = time.perf_counter()
        client.request("GET", "services/data/v59.0/sobjects/Account/001", operation="lookup").json()
        if n >= 200:
            walls.append((time.perf_counter() - started) * 1000)
    cpu = time.process_time()
    for _ in range(calls):
        client.request("GET", "services/data/v59.0/sobjects/Account/001", operation="lookup").json()
    spent = (time.process_time() - cpu) * 1000 / calls
    import requests

    with requests.Session() as plain:
        plain.trust_env = False
        cpu = time.process_time()
        for _ in range(calls):
            plain.get(f"{url}/services/data/v59.0/sobjects/Account/001", timeout=30).json()
        bare_cpu = (time.process_time() - cpu) * 1000 / calls
    walls.sort()
    return {
        "median_ms": statistics.median(walls),
        "p95_ms": walls[int(len(walls) * 0.95)],
        "cpu_ms": spent,
        "bare_requests_cpu_ms": bare_cpu,
    }


def main(rows: int = 200_000, calls: int = 3000) -> None:
    result: dict[str, Any] = {}
    with start("weighbridge.sandbox.salesforce.app:create", {"rows": rows}, ready_s=180) as server:
        readings = {"bare": bare, "connector": ours}
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in readings}
        for _ in range(2):  # in turns, so that a busy machine is busy for both
            for name, reader in readings.items():
                runs[name].append(apart(reader, server.url))
        for name, seen in runs.items():
            result[name] = min(seen, key=lambda r: r["seconds"])
        result["bulk"] = apart(ours, server.url, "always")
    result["share_of_bare"] = result["bare"]["seconds"] / result["connector"]["seconds"]
    result["share_of_bare_cpu"] = result["bare"]["cpu"] / result["connector"]["cpu"]
    listener = socket.create_server(("127.0.0.1", 0))
    server_process = multiprocessing.get_context("fork").Process(target=answer_at_once, args=(listener,), daemon=True)
    server_process.start()
    result["call"] = apart(per_call, f"http://127.0.0.1:{listener.getsockname()[1]}", calls)
    server_process.terminate()
    server_process.join(5)
    listener.close()
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--calls", type=int, default=3000)
    given = parser.parse_args()
    main(given.rows, given.calls)
