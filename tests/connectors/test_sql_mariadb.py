"""The sql connector on a real MariaDB."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from weighbridge.connectors.conformance import ConnectorConformance, Make
from weighbridge.connectors.errors import (
    AccessError,
    AuthError,
    MissingObjectError,
    ThrottledError,
    UnreachableError,
)
from weighbridge.connectors.session import NO_RETRY, Session
from weighbridge.connectors.sql import SqlConnector
from weighbridge.sandbox.mariadb import MariaDbSandbox

SHOP = """
CREATE TABLE items (id INT UNSIGNED NOT NULL PRIMARY KEY, name VARCHAR(20) NOT NULL, price DECIMAL(8, 2),
  big BIGINT UNSIGNED, small TINYINT, kind ENUM('a', 'b'), day DATE, at DATETIME(6), clock TIME, ok BOOLEAN,
  doc JSON, raw VARBINARY(9), share DOUBLE, approx FLOAT, updated_at TIMESTAMP NULL, born YEAR)
INSERT INTO items VALUES
  (1, 'Zürich', 1.25, 18446744073709551615, -128, 'a', '2024-02-29', '2024-02-29 12:00:00.123456', '13:14:15', 1,
   '{"a": 1}', x'00ff', 0.1, 0.1, '2024-01-01 10:00:00', 1999),
  (2, 'a''b', NULL, NULL, NULL, NULL, '0000-00-00', '0000-00-00 00:00:00', '-25:00:00', 0, NULL, NULL, NULL, NULL,
   '2024-01-02 10:00:00', NULL),
  (3, '', 3, 0, 127, 'b', '9999-12-31', NULL, '838:59:59', NULL, NULL, x'', 1e300, 2, '2024-01-03 10:00:00', 2155)
INSERT INTO items (id, name, updated_at) VALUES (4, 'd', '2024-01-04'), (5, 'e', NULL), (6, 'f', '2024-01-06')
CREATE TABLE many (a INT NOT NULL, b VARCHAR(9) NOT NULL, PRIMARY KEY (a, b))
INSERT INTO many SELECT s.seq DIV 7, CONCAT('k', s.seq) FROM seq_1_to_500 s
"""


@pytest.fixture(scope="session")
def shop_url(mariadb: MariaDbSandbox) -> str:
    with mariadb.connect("shop") as admin, admin.cursor() as cursor:
        for statement in SHOP.strip().replace("\nINSERT", ";INSERT").replace("\nCREATE", ";CREATE").split(";"):
            cursor.execute(statement)
    return mariadb.url("shop", user="keeper", password="canary-4711")


@pytest.fixture
def shop(shop_url: str) -> Iterator[SqlConnector]:
    with SqlConnector({"url": shop_url}) as connector:
        yield connector


class TestSqlOnMariaDb(ConnectorConformance):
    @pytest.fixture
    def make_connector(self, shop_url: str) -> Make:
        return lambda session: SqlConnector({"url": shop_url}, session)

    @pytest.fixture
    def known_object(self) -> str:
        return "items"


def test_probe_and_limits(shop: SqlConnector) -> None:
    probe = shop.probe()
    assert (probe.product, probe.user) == ("MariaDB", "keeper@%")
    assert probe.facts["read_only"] is True
    assert probe.facts["can_write"] is False
    assert probe.facts["server_statement_timeout_ms"] == 0
    limits = {limit.name: limit for limit in shop.limits()}
    assert limits["connections"].cap == 40
    assert limits["connections"].used is not None
    assert limits["statement_timeout"].cap is None


def test_types_and_values(shop: SqlConnector) -> None:
    types = {c.name: c.type for c in shop.discover("items").columns}
    assert types["id"] == pa.uint32()
    assert types["big"] == pa.uint64()
    assert types["small"] == pa.int8()
    assert types["price"] == pa.decimal128(8, 2)
    assert types["approx"] == pa.float32()
    assert types["share"] == pa.float64()
    assert types["at"] == pa.timestamp("us")
    page = next(iter(shop.read("items")))
    first, _, third = page.batch.to_pylist()[:3]
    assert first["name"] == "Zürich"
    assert first["big"] == 18446744073709551615
    assert (first["price"], first["day"]) == (Decimal("1.25"), date(2024, 2, 29))
    assert first["at"] == datetime(2024, 2, 29, 12, 0, 0, 123456)  # noqa: DTZ001
    assert first["raw"] == b"\x00\xff"
    assert third["raw"] == b""
    odd = {(m.row, m.column): m.raw for m in page.misfits}
    assert odd[1, "day"] == "0000-00-00"
    assert odd[1, "at"] == "0000-00-00 00:00:00.000000"
    assert odd[1, "clock"] == str(timedelta(hours=-25))
    assert (2, "clock") in odd


def test_composite_keys_page_without_a_seam(shop: SqlConnector) -> None:
    rows = [tuple(r.values()) for p in shop.read("many", page_rows=11) for r in p.batch.to_pylist()]
    assert len(set(rows)) == len(rows) == 500


def test_errors_by_class(shop: SqlConnector, mariadb: MariaDbSandbox) -> None:
    once = Session(retry=NO_RETRY)
    with pytest.raises(AuthError, match="Access denied"):
        SqlConnector({"url": mariadb.url("shop", user="keeper", password="wrong")}, once).open()
    with pytest.raises(AccessError, match=r"command denied|READ ONLY"):
        shop.execute("DELETE FROM items")
    with pytest.raises(MissingObjectError, match="'items'"):
        shop.count("itmes")
    shop.session = shop.session.fork(retry=NO_RETRY)
    started = time.monotonic()
    with pytest.raises(UnreachableError, match="max_statement_time"):
        shop.execute("SELECT sum(a.seq * b.seq) FROM seq_1_to_100000 a, seq_1_to_100000 b", timeout=0.3)
    assert time.monotonic() - started < 5
    held: list[SqlConnector] = []
    try:
        with pytest.raises(ThrottledError, match="Too many connections"):  # noqa: PT012
            for _ in range(60):
                held.append(SqlConnector({"url": mariadb.url("shop", user="keeper", password="canary-4711")}, once))
                held[-1].open()
    finally:
        for connector in held:
            connector.close()


def test_write_find_delete(mariadb: MariaDbSandbox, shop_url: str) -> None:
    with mariadb.connect("shop") as admin, admin.cursor() as cursor:
        cursor.execute("CREATE TABLE w (id INT AUTO_INCREMENT PRIMARY KEY, code VARCHAR(5) UNIQUE, qty INT NOT NULL)")
    with SqlConnector({"url": mariadb.url("shop")}, Session(writes_allowed=True)) as connector:
        first = connector.write("w", [{"code": "a", "qty": 1}, {"code": "b", "qty": None}])
        assert [o.ok for o in first] == [True, False]
        again = connector.write("w", [{"code": "a", "qty": 5}, {"code": "c", "qty": 2}], key="code")
        assert [(o.ok, o.created) for o in again] == [(True, False), (True, True)]
        found = connector.find("w", "code", ["a", "c"])
        assert sorted((r["code"], r["qty"]) for r in found) == [("a", 5), ("c", 2)]
        assert all(o.ok for o in connector.delete("w", found))
        assert connector.count("w").value == 0
