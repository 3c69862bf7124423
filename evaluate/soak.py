"""Many users on one system while faults come and go by a seeded schedule: is the ledger exact, and is nothing left?

    python -m evaluate.soak [--seconds 600] [--users 200] [--seed 7]

Each user looks orders up and enters orders, each with a key of its own; a write whose answer is lost is looked up at
the system before it is sent again. At the end every key must be at the system exactly once, memory must be flat, and
no thread, connection or record may be left.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil

from weighbridge.checks.base import Inconclusive
from weighbridge.checks.ledger import Ledger, Recipe
from weighbridge.connectors.errors import ConnectorError, RetriableError
from weighbridge.connectors.odata import ODataConnector
from weighbridge.connectors.session import Meter, Retry, Session
from weighbridge.sandbox.faults import FaultProxy, Line
from weighbridge.sandbox.server import start

OBJECT = "A_SalesOrder"
THINK_S = 4.0
WRITE_SHARE = 0.15
FLAT = 0.10
"""Growth of the process's memory, second half against first, that still counts as flat."""
SCHEDULE: tuple[tuple[dict[str, Any], ...], ...] = (
    (),
    ({"type": "latency", "latency": 80, "jitter": 60},),
    ({"type": "server_error", "status": 503, "probability": 0.15},),
    ({"type": "too_many_requests", "retry_after": 1, "probability": 0.15},),
    ({"type": "reset_peer", "probability": 0.1},),
    ({"type": "lost_answer", "probability": 0.15, "method": "POST"},),
    ({"type": "truncated_body", "probability": 0.1}, {"type": "slicer", "average_size": 300, "delay": 200}),
    ({"type": "garbage", "probability": 0.05},),
    ({"type": "timeout", "probability": 0.03},),
    ({"type": "down", "for_s": 0.6},),
    ({"type": "down", "probability": 0.2},),
    ({"type": "duplicate_answer", "probability": 0.1},),
    ({"type": "wrong_length", "delta": -20, "probability": 0.1},),
    ({"type": "bandwidth", "rate": 400},),
)
RECIPE = Recipe(
    "PurchaseOrderByCustomer",
    unique=False,
    values={
        "SalesOrder": "WB{number}",
        "SoldToParty": "C-000001",
        "SalesOrderDate": "2026-02-28",
        "RequestedDeliveryDate": "2026-03-01",
        "TransactionCurrency": "EUR",
        "TotalNetAmount": 100,
        "TotalTaxAmount": 19,
        "TotalGrossAmount": 119,
    },
    longest=20,
)


@dataclass(slots=True)
class Books:
    """What all users did, under one lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    lookups: int = 0
    wrong: int = 0
    """Look-ups that ended well and did not bring exactly one record."""
    errors: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    ledgers: list[Ledger] = field(default_factory=list)
    numbers: int = 0

    def new_ledger(self) -> Ledger:
        with self.lock:
            self.numbers += 1
            ledger = Ledger(OBJECT, RECIPE, [f"WB-{self.numbers:06}"])
            self.ledgers.append(ledger)
            return ledger

    def failed(self, error: BaseException) -> None:
        with self.lock:
            self.errors[type(error).__name__] += 1
            if not isinstance(error, ConnectorError):
                self.unexpected.append(f"{type(error).__name__}: {error}"[:300])


class User(threading.Thread):
    """Looks up and writes until told to stop; then finishes what it has begun."""

    def __init__(self, connector: Any, keys: Sequence[Any], books: Books, stop: threading.Event, seed: str) -> None:
        super().__init__(name="soak-user", daemon=True)
        self.connector = connector
        self.keys = keys
        self.books = books
        self.stopped = stop
        self.rng = random.Random(seed)
        self.open: list[Ledger] = []

    def run(self) -> None:
        operation = self.connector.operations(OBJECT, self.keys)["lookup"]
        while not self.stopped.wait(self.rng.expovariate(1 / THINK_S)):
            try:
                if self.rng.random() < WRITE_SHARE:
                    self.open.append(self.books.new_ledger())
                self.settle()
                result = operation.call(self.rng.choice(self.keys))
                with self.books.lock:
                    self.books.lookups += 1
                    self.books.wrong += result.rows != 1
            except (ConnectorError, Inconclusive) as error:
                self.books.failed(error)
            except Exception as error:  # noqa: BLE001 - any other error is what the soak is looking for
                self.books.failed(error)
        try:
            for _ in range(20):
                try:
                    self.settle()
                    break
                except RetriableError:
                    time.sleep(0.2)
        finally:
            self.connector.close()

    def settle(self) -> None:
        """Bring every write that is still open to the system."""
        while self.open:
            self.open[0].submit(self.connector)
            self.open.pop(0)


def faults(line: Line, stop: threading.Event, seed: int, struck: Counter[str]) -> None:
    """Another plan every few seconds, in an order that the seed decides; counts what struck and lets the journal go."""
    rng = random.Random(seed)
    while True:
        ended = stop.wait(rng.uniform(1.5, 4))
        struck.update(str(e["fault"]) for e in line.journal() if e["event"] == "fault")
        line.forget_journal()
        if ended:
            break
        line.plan(*rng.choice(SCHEDULE))
        struck["plans"] += 1
    line.clear()


def soak(*, seconds: float, users: int, seed: int) -> list[str]:
    """Run it; returns what is wrong, nothing when all is well. Prints the figures."""
    process = psutil.Process()
    books, stop = Books(), threading.Event()
    struck: Counter[str] = Counter()
    memory: list[int] = []
    config = {"auth": {"kind": "none"}, "services": {"": {"version": 4, "dataset": "company", "rows": 2000}}}
    with start("weighbridge.sandbox.odata.app:create", config) as server:
        session = Session(
            system="erp", timeout=5.0, writes_allowed=True, retry=Retry(attempts=5, base=0.1, cap=2, deadline=40)
        )
        with ODataConnector({"url": f"{server.url}/odata/"}, session) as main, FaultProxy(seed=seed) as proxy:
            page = next(iter(main.read(OBJECT, page_rows=500)))
            keys = [(value,) for value in page.batch.column("SalesOrder").to_pylist()]
            started_threads, started_sockets = threading.active_count(), _sockets(process)
            with proxy.between(main.endpoints()[0]) as line:
                crowd = [
                    User(
                        main.fork(session.fork(route=line.route, meter=Meter(), random=random.Random(f"{seed}:{n}"))),
                        keys,
                        books,
                        stop,
                        f"{seed}:{n}",
                    )
                    for n in range(users)
                ]
                schedule = threading.Thread(target=faults, args=(line, stop, seed, struck), name="soak-faults")
                schedule.start()
                for user in crowd:
                    user.start()
                ended = time.monotonic() + seconds
                while (left := ended - time.monotonic()) > 0:
                    time.sleep(min(left, max(0.5, seconds / 60)))
                    memory.append(process.memory_info().rss)
                stop.set()
                schedule.join()
                for user in crowd:
                    user.join(60)
                hung = sum(user.is_alive() for user in crowd)
                del crowd
            gc.collect()
            counted = Counter()
            for at in range(0, len(books.ledgers), 50):
                part = Ledger(OBJECT, RECIPE, [key for ledger in books.ledgers[at : at + 50] for key in ledger.keys])
                counted.update(part.at_the_system(main).values())
                part.clean(main)
            after = main.find(OBJECT, RECIPE.column, [k for ledger in books.ledgers[:200] for k in ledger.keys])
            threads, sockets = threading.active_count() - started_threads, _sockets(process) - started_sockets
    growth = _growth(memory)
    plans = struck.pop("plans", 0)
    print(f"{users} users for {seconds:g} s, seed {seed}: {books.lookups} look-ups, {len(books.ledgers)} writes")
    print(f"plans: {plans}; faults struck: {sum(struck.values())} of {len(struck)} types")
    print(f"errors that reached a user: {dict(books.errors) or 'none'}")
    print(f"ledger: {dict(counted)} (times at the system: records); left after cleaning: {len(after)}")
    print(f"memory, second half against first: {growth:+.1%}; threads left {threads}, sockets left {sockets}")
    return _complaints(books, counted, hung=hung, left=len(after), growth=growth, threads=threads, sockets=sockets)


def _complaints(
    books: Books, counted: Counter[int], *, hung: int, left: int, growth: float, threads: int, sockets: int
) -> list[str]:
    wrong = []
    if counted[1] != len(books.ledgers):
        wrong.append(f"the ledger is not exact: {dict(counted)} for {len(books.ledgers)} records")
    if books.wrong:
        wrong.append(f"{books.wrong} look-ups brought none or several records")
    if not books.lookups or not books.ledgers:
        wrong.append("nothing was done")
    wrong += [f"an error that no caller can act on: {text}" for text in books.unexpected[:5]]
    if hung:
        wrong.append(f"{hung} users hang")
    if left:
        wrong.append(f"{left} records are left")
    if growth > FLAT:
        wrong.append(f"memory grew by {growth:.0%}")
    if threads > 0 or sockets > 1:
        wrong.append(f"left behind: {threads} threads, {sockets} sockets")
    return wrong


def _sockets(process: psutil.Process) -> int:
    return len([c for c in process.net_connections(kind="tcp") if c.status != psutil.CONN_TIME_WAIT])


def _growth(memory: Sequence[int]) -> float:
    """The last quarter's median against the second quarter's: the first one is warming up."""
    quarter = max(1, len(memory) // 4)
    early = sorted(memory[quarter : 2 * quarter])
    late = sorted(memory[-quarter:])
    return late[len(late) // 2] / early[len(early) // 2] - 1 if early and late else 0.0


def main(arguments: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=20, help="600 for the full soak")
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    wrong = soak(seconds=options.seconds, users=options.users, seed=options.seed)
    for line in wrong:
        print(f"WRONG: {line}")
    print("sound" if not wrong else f"{len(wrong)} things are wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
