from __future__ import annotations

import sqlite3

import duckdb
import pytest
from load_kit import KEYS, NOW, open_tiny, point

from weighbridge.checks.base import Landing
from weighbridge.checks.demand import measure
from weighbridge.checks.explain import explain
from weighbridge.checks.keysample import sample, skewed
from weighbridge.contracts.scale import Scale
from weighbridge.sandbox.queue_server import QueueServer


def landing(tmp_path, rows, columns=("id",)):
    path = tmp_path / "l.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"CREATE TABLE t AS SELECT range AS id, range AS _wb_row, 0 AS _wb_page FROM range({rows})")
    return Landing(path, "t", rows, columns, columns, (), 0, 0.0)


def test_keys_are_distinct_spread_and_repeatable(tmp_path):
    at = point(Scale())
    kept = landing(tmp_path, 5_000)
    keys = sample(kept, at, 3, 200)
    assert keys == sample(kept, at, 3, 200)
    assert len(set(keys)) == 200
    assert max(k[0] for k in keys) > 4_000
    assert sample(landing_of_none(tmp_path), at, 3, 10) == []


def landing_of_none(tmp_path):
    path = tmp_path / "none.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE t (id INTEGER, _wb_row BIGINT, _wb_page INTEGER)")
    return Landing(path, "t", 0, ("id",), ("id",), (), 0, 0.0)


def test_few_keys_are_skewed_when_many_are_wanted():
    drawn = skewed([(i,) for i in range(20)], 1.1, n=2_000, seed=1)
    counts = sorted((drawn.count(k) for k in set(drawn)), reverse=True)
    assert len(counts) == 20
    assert counts[0] > 4 * counts[-1]
    flat = skewed([(i,) for i in range(20)], 0.0, n=2_000, seed=1)
    assert max(flat.count(k) for k in set(flat)) < 160


def run(at, keys, connector, **changes):
    return measure(at, keys, lambda s: connector.fork(s or connector.session), connector.session, at.scale,
                   now=lambda: NOW, **changes)  # fmt: skip


def test_demand_is_counted_at_the_wire():
    with QueueServer(latency_ms=10) as server:
        connector = open_tiny(server.port)
        demand = run(point(Scale(calls_per_user_hour=12)), KEYS, connector)
        used = connector.session.meter.attempts
        connector.close()
    assert used == 16
    assert demand.per_operation["lookup"]["calls"].mean == 1
    assert 0.009 < demand.per_operation["lookup"]["seconds"].median < 0.2
    assert demand.calls_per_user_hour.mean == pytest.approx(12)
    assert demand.source == "declared"


def test_the_pilots_traffic_wins_over_a_declared_number():
    with QueueServer(latency_ms=1) as server:
        connector = open_tiny(server.port)
        pilot = {"mean": 40.0, "low": 20.0, "high": 90.0, "median": 35.0, "n": 12, "retry_amplification": 1.1}
        demand = run(point(Scale(calls_per_user_hour=12)), KEYS, connector, pilot=pilot)
        none = run(point(Scale()), [], connector)
        connector.close()
    assert (demand.source, demand.calls_per_user_hour.mean, demand.retry_amplification) == ("measured", 40.0, 1.1)
    assert none.calls_per_user_hour is None


class Lite:
    dialect = "sqlite"

    def __init__(self, path):
        self.connection = sqlite3.connect(path)

    def execute(self, statement, parameters=None, *, timeout=None):
        return self.connection.execute(statement, parameters or {}).fetchall()


def test_a_scan_is_told_from_an_index(tmp_path):
    sql = Lite(tmp_path / "x.db")
    sql.connection.execute("CREATE TABLE orders (id INTEGER, customer TEXT)")
    statement = "SELECT * FROM orders WHERE id = :key"
    assert explain(sql, statement, {"key": 1}).scan is True
    sql.connection.execute("CREATE INDEX i ON orders (id)")
    assert explain(sql, statement, {"key": 1}).scan is False
    sql.dialect = "other"
    assert explain(sql, statement, {"key": 1}).scan is None
    sql.connection.close()
