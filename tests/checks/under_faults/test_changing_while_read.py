"""Rows come and go while an object is read page by page: whoever was there throughout is read once, on real servers."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager

import pytest

from weighbridge.connectors.odata import ODataConnector
from weighbridge.connectors.session import Session
from weighbridge.connectors.sql import SqlConnector
from weighbridge.sandbox.postgres import PostgresSandbox, available
from weighbridge.sandbox.server import start

ROWS = 300


@contextmanager
def odata(version):
    service = {"version": version, "dataset": "company", "rows": ROWS, "page_rows": 100}
    config = {"auth": {"kind": "none"}, "services": {"": service}}
    with (
        start("weighbridge.sandbox.odata.app:create", config) as server,
        ODataConnector({"url": f"{server.url}/odata/"}, Session(writes_allowed=True)) as connector,
    ):
        values = {
            "SoldToParty": "C-000001",
            "SalesOrderDate": "2026-02-28",
            "RequestedDeliveryDate": "2026-03-01",
            "TransactionCurrency": "EUR",
            "TotalNetAmount": 100,
            "TotalTaxAmount": 19,
            "TotalGrossAmount": 119,
        }
        yield connector, "A_SalesOrder", "SalesOrder", lambda key: {"SalesOrder": key, **values}, ("AA1", "ZZ1")


@contextmanager
def postgres(tmp_path):
    missing = available()
    if missing:
        pytest.skip(missing)
    with PostgresSandbox(tmp_path / "pg") as server:
        with server.connect() as admin:
            admin.execute("CREATE TABLE orders (number text PRIMARY KEY, note text)")
            admin.execute(f"INSERT INTO orders SELECT 'SO-' || n, 'x' FROM generate_series(10000, {9999 + ROWS}) n")
        with SqlConnector({"url": server.url()}, Session(writes_allowed=True)) as connector:
            yield connector, "orders", "number", lambda key: {"number": key, "note": "new"}, ("AA1", "ZZ1")


@pytest.mark.parametrize("kind", ["odata 4", "odata 2", "postgresql"])
def test_who_was_there_throughout_is_read_once(kind, tmp_path):
    place = postgres(tmp_path) if kind == "postgresql" else odata(int(kind[-1]))
    with place as (connector, name, column, record, new):
        before = [k for page in connector.read(name, page_rows=500) for k in page.batch.column(column).to_pylist()]
        assert len(before) >= ROWS - 1
        writer = connector.fork(connector.session)
        gone = [before[5], before[150], before[-1]]
        read: list[str] = []
        for number, page in enumerate(connector.read(name, page_rows=50)):
            read += page.batch.column(column).to_pylist()
            if number == 1:
                writer.write(name, [record(key) for key in new])
                writer.delete(name, writer.find(name, column, gone))
        writer.close()
        seen = Counter(read)
        assert [key for key, n in seen.items() if n > 1] == []
        assert [key for key in before if key not in gone and key not in seen] == []
