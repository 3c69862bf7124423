"""Reading a million rows from PostgreSQL through `sql` and `odbc`, beside the bare drivers; the legacy check's scans.

    python -m bench sql

Each reader runs in a process of its own, so that seconds and peak memory are its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROWS = 1_000_000
LARGE = 5_000_000
TABLE = """
CREATE TABLE t (id int PRIMARY KEY, account varchar(20), amount numeric(12, 2), qty int, price float8,
  created timestamptz, day date, ok bool, note text, code char(6));
INSERT INTO t SELECT g, 'C-' || lpad((g % 5000)::text, 6, '0'), (g % 100000) / 100.0, g % 17, g * 1.1,
  timestamptz '2024-01-01 00:00+00' + g * interval '1 minute', date '2024-01-01' + g % 700, g % 2 = 0, 'note ' || g,
  'A' || g % 1000 FROM generate_series(1, {rows}) g;
"""
ODBC = "DRIVER={{PostgreSQL Unicode}};Server=127.0.0.1;Port={port};Database=postgres;UID=postgres;PWD=x"


def rows_per_second(seconds: float) -> str:
    return f"{ROWS / seconds:,.0f} rows/s"


def read_sql(port: int) -> int:
    from weighbridge.connectors.sql import SqlConnector

    with SqlConnector({"url": f"postgresql://postgres@127.0.0.1:{port}/postgres"}) as connector:
        return sum(page.batch.num_rows for page in connector.read("t"))


def read_odbc(port: int) -> int:
    from weighbridge.connectors.odbc import OdbcConnector

    with OdbcConnector({"connection_string": ODBC.format(port=port)}) as connector:
        return sum(page.batch.num_rows for page in connector.read("t"))


def read_bare_psycopg(port: int) -> int:
    import psycopg

    total = 0
    with (
        psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres") as connection,
        connection.cursor("bench") as cursor,
    ):
        cursor.execute("SELECT * FROM t")
        while rows := cursor.fetchmany(10_000):
            total += len(rows)
    return total


def read_bare_pyodbc(port: int) -> int:
    import pyodbc

    total = 0
    connection = pyodbc.connect(ODBC.format(port=port) + ";UseDeclareFetch=1;Fetch=10000", autocommit=True)
    cursor = connection.cursor()
    cursor.execute("SELECT * FROM t")
    while rows := cursor.fetchmany(10_000):
        total += len(rows)
    connection.close()
    return total


READERS = {
    "bare psycopg, server cursor": read_bare_psycopg,
    "sql (Arrow)": read_sql,
    "bare pyodbc, fetchmany": read_bare_pyodbc,
    "odbc (Arrow)": read_odbc,
}


def one(name: str, port: int) -> None:
    """In a process of its own: seconds and peak memory of one reader, imports left out of the seconds."""
    if "odbc" in name:
        import pyodbc  # noqa: F401
    if "Arrow" in name:
        from weighbridge.connectors import _sql_types, odbc, sql  # noqa: F401
    if name.startswith("sql"):
        import sqlalchemy.dialects.postgresql.psycopg  # noqa: F401
    started = time.perf_counter()
    total = READERS[name](port)
    seconds = time.perf_counter() - started
    assert total == ROWS
    print(json.dumps({"seconds": seconds, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))


def legacy_scans(server: Any) -> None:
    """How often the legacy check reads each row of a large table, and how long it takes."""
    from types import SimpleNamespace

    from weighbridge.checks.legacy import LegacyCheck
    from weighbridge.connectors.sql import SqlConnector
    from weighbridge.contracts.models import SchemaObject

    with server.connect() as admin:
        admin.execute("CREATE DATABASE large")
    with server.connect("large") as own:
        own.execute(TABLE.format(rows=LARGE))
        own.execute("CREATE TABLE k AS SELECT 'K' || id AS code, account, amount, day FROM t; DROP TABLE t")
        own.execute("ALTER TABLE k ADD PRIMARY KEY (code)")
        own.execute("VACUUM ANALYZE k")
        own.execute("SELECT pg_stat_reset()")
    with SqlConnector({"url": server.url("large"), "timeout": 300}) as connector:
        connector.session.timeout = 300
        named = SchemaObject("k", None, "k", (), (), (), {}, 1)
        started = time.perf_counter()
        evidence = SimpleNamespace(
            probe=connector.probe(), schema=connector.discover("k"), count_before=connector.count("k"),
            limits=connector.limits(),
        )  # fmt: skip
        context = SimpleNamespace(connector=lambda: connector, permissions=SimpleNamespace(writes=False))
        point = SimpleNamespace(id="large.k", object=named)
        results = list(LegacyCheck()(point, evidence, context))  # type: ignore[arg-type]
        seconds = time.perf_counter() - started
    with server.connect("large") as own:
        own.execute("SELECT pg_stat_force_next_flush()")
        read = own.execute(
            "SELECT t.seq_tup_read + COALESCE(t.idx_tup_fetch, 0), i.idx_tup_read FROM pg_stat_user_tables t "
            "JOIN pg_stat_user_indexes i USING (relid)"
        ).fetchone()
    scans = max(read) / LARGE if read else 0.0
    print(f"legacy check, {LARGE:,} rows: {seconds:.1f} s, every row read {scans:.2f} times (at most 3), "
          f"{len(results)} results")  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    from weighbridge.sandbox.postgres import PostgresSandbox

    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--one")
    given.add_argument("--port", type=int)
    given.add_argument("--rounds", type=int, default=3)
    options = given.parse_args(argv or [])
    if options.one:
        one(options.one, options.port)
        return
    with tempfile.TemporaryDirectory() as folder, PostgresSandbox(Path(folder)) as server:
        with server.connect() as admin:
            admin.execute(TABLE.format(rows=ROWS))
            admin.execute("VACUUM ANALYZE t")
        best: dict[str, dict[str, float]] = {}
        for _ in range(options.rounds):
            for name in READERS:
                if "odbc" in name and not _odbc():
                    continue
                done = subprocess.run(
                    [sys.executable, __file__, "--one", name, "--port", str(server.port)],
                    capture_output=True, text=True, check=True,
                )  # fmt: skip
                seen = json.loads(done.stdout.splitlines()[-1])
                if name not in best or seen["seconds"] < best[name]["seconds"]:
                    best[name] = seen
        for name, seen in best.items():
            print(f"{name:30} {seen['seconds']:6.2f} s  {rows_per_second(seen['seconds']):>18}  {seen['mb']:4.0f} MB")
        if "odbc (Arrow)" in best:
            share = best["bare pyodbc, fetchmany"]["seconds"] / best["odbc (Arrow)"]["seconds"]
            print(f"odbc reads at {share:.0%} of a bare pyodbc fetchmany loop (at least 80 %)")
        legacy_scans(server)


def _odbc() -> bool:
    try:
        import pyodbc
    except ImportError:
        print("odbc left out: it needs unixodbc and odbc-postgresql")
        return False
    return "PostgreSQL Unicode" in pyodbc.drivers()


if __name__ == "__main__":
    main(sys.argv[1:])
