"""What the fault proxy costs: time added to a small call at the 95th percentile, share of direct throughput kept.

Server, client and proxy are three processes on loopback; direct and proxied calls alternate in one run, so that both
see the same machine. `python bench/bench_proxy.py`; exits 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import http.client
import multiprocessing
import socket
import statistics
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

from weighbridge.connectors.session import Endpoint
from weighbridge.sandbox.faults import FaultProxy

GOAL_ADDED_MS = 1.0
GOAL_SHARE = 0.6
SMALL = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n" + b'{"answer": "yes"}'


def serve(pipe: Connection, large: int) -> None:
    """A server as fast as Python can be: canned bytes, one thread a connection."""
    import threading

    body = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % large + bytes(large)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    pipe.send(listener.getsockname()[1])

    def talk(sock: socket.socket) -> None:
        with sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while request := sock.recv(4096):
                sock.sendall(body if b"/large" in request else SMALL)

    while True:
        threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()


def small_calls(connection: http.client.HTTPConnection, calls: int) -> list[float]:
    took = []
    for _ in range(calls):
        started = time.perf_counter()
        connection.request("GET", "/small")
        connection.getresponse().read()
        took.append(time.perf_counter() - started)
    return took


def large_read(connection: http.client.HTTPConnection, buffer: bytearray) -> float:
    started = time.perf_counter()
    connection.request("GET", "/large")
    response = connection.getresponse()
    total = 0
    while got := response.readinto(buffer):
        total += got
    return total / (time.perf_counter() - started) / 1e6


def measure(pipe: Connection, direct: int, proxied: int, calls: int, reads: int) -> None:
    """Alternate direct and proxied calls from a process of its own."""
    ports = {"direct": direct, "proxy": proxied}
    ends = {name: http.client.HTTPConnection("127.0.0.1", port, timeout=60) for name, port in ports.items()}
    took: dict[str, list[float]] = {"direct": [], "proxy": []}
    speed: dict[str, list[float]] = {"direct": [], "proxy": []}
    buffer = bytearray(1 << 20)
    for name, connection in ends.items():
        small_calls(connection, 100)
        large_read(connection, buffer)
        took[name].clear()
    for _ in range(max(1, calls // 50)):
        for name, connection in ends.items():
            took[name] += small_calls(connection, 50)
    for _ in range(reads):
        for name, connection in ends.items():
            speed[name].append(large_read(connection, buffer))
    for connection in ends.values():
        connection.close()
    pipe.send((took, speed))


def p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[18] * 1000


def main(arguments: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--reads", type=int, default=8)
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--tcp", action="store_true", help="as plain TCP, as in front of a database")
    options = parser.parse_args(arguments)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs, options.megabytes * 1_000_000), daemon=True)
    server.start()
    port = ours.recv()
    with FaultProxy().between(Endpoint("127.0.0.1", port), http=False if options.tcp else None) as line:
        arguments = (theirs, port, line.endpoint.port, options.calls, options.reads)
        client = context.Process(target=measure, args=arguments, daemon=True)
        client.start()
        took, speed = ours.recv()
        client.join()
    server.terminate()
    server.join()
    added = p95(took["proxy"]) - p95(took["direct"])
    share = statistics.median(speed["proxy"]) / statistics.median(speed["direct"])
    print(f"small calls, p95: direct {p95(took['direct']):.3f} ms, proxied {p95(took['proxy']):.3f} ms")
    print(f"  added at p95: {added:.3f} ms (goal: under {GOAL_ADDED_MS} ms)")
    direct, proxied = statistics.median(speed["direct"]), statistics.median(speed["proxy"])
    print(f"large reads, median: direct {direct:.0f} MB/s, proxied {proxied:.0f} MB/s")
    print(f"  share kept: {share:.0%} (goal: at least {GOAL_SHARE:.0%})")
    return 0 if added < GOAL_ADDED_MS and share >= GOAL_SHARE else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
