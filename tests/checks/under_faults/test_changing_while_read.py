"""Rows come and go while an object is read page by page: whoever was there throughout is read once, on real servers."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager

import pytest
from json_kit import as_json, serving

from weighbridge.connectors.odata import ODataConnector
from weighbridge.connectors.odoo import OdooConnector
from weighbridge.connectors.rest import RestConnector
from weighbridge.connectors.salesforce import SalesforceConnector
from weighbridge.connectors.session import Session
from weighbridge.connectors.sql import SqlConnector
from weighbridge.sandbox.postgres import PostgresSandbox, available
from weighbridge.sandbox.salesforce import seed
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


@contextmanager
def odoo():
    login = {"database": "practice", "username": "admin", "password": "admin-word"}
    with (
        start("weighbridge.sandbox.odoo.app:create", {"rows": 6 * ROWS}) as server,
        OdooConnector({"url": server.url, **login}, Session(writes_allowed=True)) as connector,
    ):
        yield connector, "res.partner", "name", lambda key: {"name": key}, ("AA1", "ZZ1")


@contextmanager
def salesforce():
    login = {"client_id": seed.CLIENT_ID, "client_secret": seed.CLIENT_SECRET}
    with (
        start("weighbridge.sandbox.salesforce.app:create", {"rows": ROWS, "page_rows": 50}) as server,
        SalesforceConnector({"instance_url": server.url, **login}, Session(writes_allowed=True)) as connector,
    ):
        yield connector, "Contact", "Id", lambda key: {"LastName": key}, ("AA1", "ZZ1")


PLACES = {"odata 4": lambda _p: odata(4), "odata 2": lambda _p: odata(2), "postgresql": postgres,
          "odoo": lambda _p: odoo(), "salesforce": lambda _p: salesforce()}  # fmt: skip


SLOW = pytest.mark.slow


@pytest.mark.parametrize("kind", [pytest.param(k, marks=SLOW if k in ("odoo", "salesforce") else ()) for k in PLACES])
def test_who_was_there_throughout_is_read_once(kind, tmp_path):
    with PLACES[kind](tmp_path) as (connector, name, column, record, new):
        keys = list(dict.fromkeys([*connector.discover(name).keys, column]))

        def identities(page):
            return list(zip(*(page.batch.column(k).to_pylist() for k in keys), strict=True))

        before = [i for page in connector.read(name, page_rows=500) for i in identities(page)]
        assert len(before) >= 150
        writer = connector.fork(connector.session)
        gone = [before[5], before[len(before) // 2], before[-1]]
        read: list[tuple] = []
        for number, page in enumerate(connector.read(name, page_rows=50)):
            read += identities(page)
            if number == 1:
                writer.write(name, [record(key) for key in new])
                writer.delete(name, writer.find(name, column, [g[-1] for g in gone]))
        writer.close()
        seen = Counter(i[:-1] or i for i in read)
        assert [key for key, n in seen.items() if n > 1] == []
        lost = {i[:-1] or i for i in before} - {g[:-1] or g for g in gone} - set(seen)
        assert lost == set()


# --- an API that is only described ------------------------------------------------------------------------------------

STYLES = {
    "link": {"path": "/link", "paging": "link_header", "size_parameter": "limit"},
    "cursor": {"path": "/cursor", "rows": "rows", "paging": "cursor", "cursor": "next", "cursor_parameter": "after",
               "size_parameter": "limit"},
    "offset": {"path": "/offset", "rows": "rows", "paging": "offset", "size_parameter": "limit"},
    "page": {"path": "/page", "rows": "rows", "paging": "page", "size_parameter": "limit"},
}  # fmt: skip


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    "change",
    [
        "insert in front",
        "delete in front",
        *(pytest.param(c, marks=SLOW) for c in ("update", "insert behind", "delete behind")),
    ],
)
def test_a_described_api_is_read_once_or_says_that_its_pages_are_not_stable(style, change):
    rows = {n: {"id": n, "note": "old"} for n in range(10, 110)}
    reading: list[object] = []

    def api(asked):
        size = int(asked.query.get("limit", 20))
        place = int(asked.query.get("after", asked.query.get("offset", 0)))
        if reading:
            reading.append(place)
        if len(reading) == 3:  # the second page
            {
                "insert in front": lambda: rows.update({1: {"id": 1, "note": "new"}}),
                "delete in front": lambda: rows.pop(10),
                "update": lambda: rows[100].update(note="new"),
                "insert behind": lambda: rows.update({500: {"id": 500, "note": "new"}}),
                "delete behind": lambda: rows.pop(109),
            }[change]()
        held = [rows[k] for k in sorted(rows)]
        if style in ("offset", "page"):
            first = (int(asked.query["page"]) - 1) * size if style == "page" else place
            return as_json({"rows": held[first : first + size]})
        rest = [r for r in held if r["id"] > place]
        page, more = rest[:size], len(rest) > size
        if style == "cursor":
            return as_json({"rows": page, "next": page[-1]["id"] if more else None})
        follow = f'<http://{asked.headers["host"]}/link?after={page[-1]["id"]}&limit={size}>; rel="next"'
        return as_json(page, Link=follow) if more else as_json(page)

    with serving(api) as served, RestConnector({"url": served.url, "objects": STYLES}, Session()) as connector:
        connector.discover(style)
        reading.append("begins")
        pages = list(connector.read(style, page_rows=20))
        said = {o.code for page in pages for o in page.observations}
        seen = Counter(i for page in pages for i in page.batch.column("id").to_pylist())
    throughout = set(range(10, 110)) - ({10} if change == "delete in front" else set())
    throughout -= {109} if change == "delete behind" else set()
    exact = all(seen[i] == 1 for i in throughout)
    assert exact or "unstable_paging" in said
    # By offset a row that comes or goes in front moves all others: this is what keeps the test from proving nothing.
    assert exact is not (style in ("offset", "page") and change.endswith("in front"))
