"""EXPLAIN as a real PostgreSQL and a real MariaDB answer it: an index is not a scan, and a scan is not an index."""

from __future__ import annotations

import pytest

from weighbridge.checks.explain import explain
from weighbridge.connectors.base import ObjectRef, Sql
from weighbridge.connectors.session import Session
from weighbridge.connectors.sql import SqlConnector
from weighbridge.sandbox import mariadb, postgres

pytestmark = pytest.mark.slow

KEYED = "SELECT id, name FROM orders WHERE id = :key"
UNKEYED = "SELECT id, name FROM orders WHERE name = :key"
PAGE = "SELECT id, name FROM orders WHERE id > :key ORDER BY id LIMIT 100"
UNKEYED_PAGE = "SELECT id, name FROM orders WHERE name > :key ORDER BY name LIMIT 100"
ROWS = 20_000


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory):
    if missing := postgres.available():
        pytest.skip(f"needs system package: {missing}")
    with postgres.PostgresSandbox(tmp_path_factory.mktemp("pg")) as server:
        with server.connect() as admin:
            admin.execute("CREATE TABLE orders (id integer PRIMARY KEY, name text)")
            admin.execute(f"INSERT INTO orders SELECT i, 'n' || i FROM generate_series(1, {ROWS}) i")
            admin.execute("ANALYZE orders")
        yield server.url()


@pytest.fixture(scope="module")
def on_mariadb():
    if missing := mariadb.available():
        pytest.skip(f"needs system package: {missing}")
    with mariadb.MariaDbSandbox() as server:
        with server.connect() as admin, admin.cursor() as cursor:
            cursor.execute("CREATE DATABASE shop")
            cursor.execute("USE shop")
            cursor.execute("CREATE TABLE orders (id integer PRIMARY KEY, name varchar(40))")
            cursor.execute(f"INSERT INTO orders SELECT seq, concat('n', seq) FROM seq_1_to_{ROWS}")
            cursor.execute("ANALYZE TABLE orders")
        yield server.url("shop")


@pytest.fixture(scope="module")
def on_mariadb_by_mysqls_name(on_mariadb):
    """Most urls in the field say mysql, whichever of the two answers."""
    return on_mariadb.replace("mariadb", "mysql", 1)


@pytest.fixture(params=["on_postgres", "on_mariadb", "on_mariadb_by_mysqls_name"])
def shop(request):
    made = SqlConnector({"url": request.getfixturevalue(request.param)}, Session("shop"))
    made.open()
    yield made
    made.close()


def test_the_servers_own_plan_tells_a_scan_from_an_index(shop):
    sql = shop.facet(Sql)
    assert explain(sql, KEYED, {"key": 17}).scan is False
    assert explain(sql, PAGE, {"key": 17}).scan is False
    walked = explain(sql, UNKEYED, {"key": "n17"})
    assert walked.scan is True
    assert explain(sql, UNKEYED_PAGE, {"key": "n17"}).scan is True


def test_the_statements_of_the_connectors_own_operations_are_explained(shop):
    from weighbridge.connectors.base import Loadable

    operations = shop.facet(Loadable).operations(ObjectRef("orders", None, key=["id"]), [(17,)])
    seen = {n: explain(shop.facet(Sql), o.statement, {"key": 17}) for n, o in operations.items() if o.statement}
    assert seen["lookup"].scan is False


def test_a_statement_that_the_server_refuses_is_not_a_plan(shop):
    path = explain(shop.facet(Sql), "SELECT nothing FROM nowhere", {})
    assert path.scan is None
    assert "refused" in path.words
