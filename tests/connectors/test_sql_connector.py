"""The sql connector on a real PostgreSQL and on SQLite files."""

from __future__ import annotations

import gc
import itertools
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from weighbridge.connectors.base import (
    Connector,
    DriverText,
    Files,
    Incremental,
    Loadable,
    ObjectRef,
    Sql,
    Writable,
)
from weighbridge.connectors.errors import (
    AccessError,
    AuthError,
    BudgetExceeded,
    ConnectorError,
    DriverError,
    FileError,
    MissingObjectError,
    ProtocolError,
    RejectedError,
    SettingsError,
    ThrottledError,
    UnreachableError,
    WriteForbidden,
)
from weighbridge.connectors.session import NO_RETRY, Budget, Endpoint, Retry, Session
from weighbridge.connectors.sql import SqlConnector
from weighbridge.sandbox.postgres import PostgresSandbox

Make = Callable[[str], str]

ORDERS = """
CREATE TABLE customers (id integer PRIMARY KEY, account varchar(20) NOT NULL UNIQUE);
INSERT INTO customers SELECT g, 'C-' || lpad(g::text, 6, '0') FROM generate_series(1, 50) g;
CREATE TABLE orders (
  id bigint PRIMARY KEY, customer integer NOT NULL REFERENCES customers (id), amount numeric(12, 2),
  placed timestamptz, day date, note text, ref uuid, flag boolean, weight real, score double precision,
  updated_at timestamp, raw bytea, code char(5));
INSERT INTO orders SELECT g, 1 + g % 50, g / 100.0, timestamptz '2024-01-01 00:00+02' + g * interval '1 h',
  date '2024-02-29' + g, CASE WHEN g % 7 = 0 THEN NULL WHEN g % 7 = 1 THEN '' ELSE 'a "b", c' || chr(10) || 'd' END,
  md5(g::text)::uuid, g % 2 = 0, 0.1, 0.1, timestamp '2024-01-01' + g * interval '1 h', '\\x00ff', 'A'
  FROM generate_series(1, 1000) g;
"""


@pytest.fixture(scope="module")
def orders_url(postgres: PostgresSandbox) -> str:
    """One database that is only read."""
    with postgres.connect() as admin:
        admin.execute("CREATE DATABASE orders")
    with postgres.connect("orders") as own:
        own.execute(ORDERS)
    return postgres.url("orders")


@pytest.fixture
def orders(orders_url: str) -> Iterator[SqlConnector]:
    with SqlConnector({"url": orders_url}) as connector:
        yield connector


def lite(path: Path, script: str) -> str:
    with sqlite3.connect(path) as db:
        db.executescript(script)
    db.close()
    gc.collect()
    return f"sqlite:///{path}"


def read_all(connector: Connector, name: str, **keywords) -> list[dict]:
    return [row for page in connector.read(name, **keywords) for row in page.batch.to_pylist()]


def test_probe_says_who_answers_and_proves_read_only(orders: SqlConnector) -> None:
    probe = orders.probe()
    assert (probe.product, probe.user) == ("PostgreSQL", "postgres")
    assert probe.version is not None
    assert probe.version.startswith("18.")
    assert probe.facts["read_only"] is True
    assert probe.facts["can_write"] is True, "the superuser may write, though this session may not"
    assert probe.facts["tls"] is False
    assert probe.facts["encoding"] == "UTF8"


def test_limits_are_those_of_the_server_and_the_login(postgres: PostgresSandbox, pg_database: Make) -> None:
    url = pg_database("CREATE TABLE t (id int)")
    with postgres.connect() as admin:
        admin.execute("DROP ROLE IF EXISTS few")
        admin.execute("CREATE ROLE few LOGIN PASSWORD 'x' CONNECTION LIMIT 7")
        admin.execute("ALTER ROLE few SET statement_timeout = '90s'")
    few = url.replace("postgres@", "few:x@")
    with SqlConnector({"url": few}) as connector:
        limits = {(limit.name, limit.scope): limit for limit in connector.limits()}
    server = limits["connections", "server"]
    assert server.cap == 57  # max_connections 60 minus 3 reserved for the superuser
    assert server.used is not None
    assert server.used >= 1
    assert limits["connections", "user"].cap == 7
    assert limits["connections", "user"].used == 1
    assert limits["statement_timeout", "user"].cap == 90
    assert all(limit.source == "reported" and limit.at for limit in limits.values())


def test_discover_is_lossless(orders: SqlConnector) -> None:
    schema = orders.discover("orders")
    types = {c.name: c.type for c in schema.columns}
    assert types == {
        "id": pa.int64(),
        "customer": pa.int32(),
        "amount": pa.decimal128(12, 2),
        "placed": pa.timestamp("us", "UTC"),
        "day": pa.date32(),
        "note": pa.string(),
        "ref": pa.string(),
        "flag": pa.bool_(),
        "weight": pa.float32(),
        "score": pa.float64(),
        "updated_at": pa.timestamp("us"),
        "raw": pa.binary(),
        "code": pa.string(),
    }
    assert schema.keys == ("id",)
    customer = schema.column("customer")
    assert customer is not None
    assert customer.references == "customers.id"
    assert customer.nullable is False
    account = orders.discover("customers").column("account")
    assert account is not None
    assert (account.native, account.length, account.unique) == ("varchar(20)", 20, True)


def test_objects_and_missing_ones_with_the_nearest_name(orders: SqlConnector) -> None:
    assert orders.objects() == ["customers", "orders"]
    for ask in (orders.discover, orders.count, lambda name: next(iter(orders.read(name)))):
        with pytest.raises(MissingObjectError, match=r"ordres.*Did you mean 'orders'"):
            ask("ordres")
    with pytest.raises(MissingObjectError, match=r"no column 'amout'.*'amount'"):
        orders.read("orders", columns=["amout"])


def test_schema_option_and_dotted_names(pg_database: Make) -> None:
    table = 'app."Order Lines"'
    script = f"CREATE SCHEMA app; CREATE TABLE {table} (id int PRIMARY KEY); INSERT INTO {table} VALUES (1)"
    url = pg_database(script)
    with SqlConnector({"url": url, "schema": "app"}) as connector:
        assert connector.objects() == ["Order Lines"]
        assert connector.count("Order Lines").value == 1
        assert connector.quoted("Order Lines") == 'app."Order Lines"'
    with SqlConnector({"url": url}) as connector:
        assert read_all(connector, "app.Order Lines") == [{"id": 1}]


@pytest.mark.parametrize("page_rows", [None, 1, 7, 1000, 5000])
def test_read_gives_every_row_once_and_exactly(orders: SqlConnector, page_rows: int | None) -> None:
    rows = read_all(orders, "orders", page_rows=page_rows)
    assert [r["id"] for r in rows] == list(range(1, 1001))
    assert orders.count("orders").value == 1000
    first, seventh = rows[0], rows[6]
    assert first["note"] == ""
    assert seventh["note"] is None
    assert rows[1]["note"] == 'a "b", c\nd'
    assert first["amount"] == Decimal("0.01")
    assert first["placed"] == datetime(2023, 12, 31, 23, 0, tzinfo=UTC)
    assert first["day"] == date(2024, 3, 1)
    assert first["raw"] == b"\x00\xff"
    assert first["code"] == "A    ", "char padding is the system's and stays"
    assert first["flag"] is False


def test_pages_resume_behind_their_cursor(orders: SqlConnector) -> None:
    pages = list(itertools.islice(orders.read("orders", page_rows=100), 3))
    assert [p.calls for p in pages] == [1, 1, 1]
    assert pages[0].keys == ("id",)
    rest = read_all(orders, "orders", after=pages[2].cursor, page_rows=100)
    assert [r["id"] for r in rest] == list(range(301, 1001))
    with pytest.raises(SettingsError, match="not a cursor"):
        next(iter(orders.read("orders", after="[1, 2]")))


def test_columns_and_filter(orders: SqlConnector) -> None:
    big = ObjectRef("orders", "amount > 9.95 AND note <> '100%'")
    assert read_all(orders, big, columns=["amount"]) == [
        {"amount": Decimal(v) / 100} for v in range(996, 1001) if v % 7 != 0
    ]
    assert orders.count(big).value == 5
    page = next(iter(orders.read("orders", columns=["amount"], page_rows=5)))
    assert page.keys == ()
    assert page.cursor == '["5"]'


def test_composite_text_keys_page_without_a_seam(pg_database: Make) -> None:
    url = pg_database(
        "CREATE TABLE k (a text, b date, PRIMARY KEY (a, b));"
        "INSERT INTO k SELECT chr(65 + g % 5) || '''' || g % 3, date '2024-01-01' + g FROM generate_series(1, 200) g"
    )
    with SqlConnector({"url": url}) as connector:
        rows = read_all(connector, "k", page_rows=7)
    assert len({(r["a"], r["b"]) for r in rows}) == len(rows) == 200


def test_a_table_without_a_key_is_streamed(pg_database: Make) -> None:
    url = pg_database("CREATE TABLE n AS SELECT g AS v FROM generate_series(1, 25000) g")
    with SqlConnector({"url": url}) as connector:
        pages = list(connector.read("n"))
        assert sum(p.batch.num_rows for p in pages) == 25_000
        assert {p.cursor for p in pages} == {None}
        with pytest.raises(SettingsError, match="has no key"):
            connector.read("n", after='["1"]')
        assert connector.execute("SELECT current_setting('statement_timeout')") == [("30s",)]


def test_what_fits_no_type_is_kept_as_misfit(pg_database: Make) -> None:
    url = pg_database(
        "CREATE TABLE odd (id int PRIMARY KEY, ts timestamp, n numeric, d date, s numeric(5, 2));"
        "INSERT INTO odd VALUES (1, 'infinity', 1.5, '0044-03-15 BC', 1), (2, '2024-01-01', 'NaN', '2024-01-01', 2),"
        "(3, NULL, 123456789012345678901234567890.5, NULL, 'NaN')"
    )
    with SqlConnector({"url": url}) as connector:
        page = next(iter(connector.read("odd")))
        assert dict(connector.driver_text("odd", ["ts"], 5))["ts"][0] == ("infinity", "infinity")
    assert {(m.row, m.column, m.raw) for m in page.misfits} == {
        (0, "ts", "infinity"),
        (0, "d", "0044-03-15 BC"),
        (1, "n", "NaN"),
        (2, "n", "123456789012345678901234567890.5"),
        (2, "s", "NaN"),
    }
    assert page.batch.column("ts").to_pylist() == [None, datetime(2024, 1, 1), None]  # noqa: DTZ001
    assert page.batch.schema.field("n").type == pa.decimal128(38, 18)


def test_a_reader_that_stops_early_leaves_the_connection_usable(orders: SqlConnector) -> None:
    pages = orders.read("orders")
    next(pages)
    pages.close()
    assert orders.count("orders").value == 1000


def test_nothing_is_ever_idle_in_transaction(orders: SqlConnector, postgres: PostgresSandbox) -> None:
    seen: set[str] = set()
    done = threading.Event()

    def watch() -> None:
        with postgres.connect() as admin:
            while not done.is_set():
                seen.update(
                    row[0]
                    for row in admin.execute(
                        "SELECT state FROM pg_stat_activity "
                        "WHERE application_name = 'weighbridge' AND state IS NOT NULL"
                    )
                )

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for page in orders.read("orders", page_rows=20):
            assert page.batch.num_rows == 20
        engine = orders.engine()
        assert engine is not None
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM orders")
            orders.count("orders")
        ops = orders.operations("orders", [(1,)])
        for i in range(100):
            ops["lookup"].call((i,))
    finally:
        done.set()
        watcher.join(10)
    assert "idle" in seen
    assert not {s for s in seen if "transaction" in s}


def test_session_may_not_write(orders: SqlConnector) -> None:
    with pytest.raises(AccessError, match="read-only"):
        orders.execute("DELETE FROM orders")
    with pytest.raises(WriteForbidden):
        orders.write("orders", [{"id": 1}])
    engine = orders.engine()
    assert engine is not None
    with engine.connect() as connection, pytest.raises(Exception, match="read-only"):
        connection.exec_driver_sql("DELETE FROM orders")


def test_statement_timeout_is_the_servers(orders: SqlConnector) -> None:
    orders.session.retry = NO_RETRY
    started = time.monotonic()
    with pytest.raises(UnreachableError, match="statement timeout"):
        orders.execute("SELECT pg_sleep(20)", timeout=0.2)
    assert time.monotonic() - started < 5
    assert orders.execute("SELECT current_setting('statement_timeout')") == [("30s",)]


def test_errors_by_class(pg_database: Make, postgres: PostgresSandbox, tmp_path: Path) -> None:
    url = pg_database("CREATE TABLE secret (id int); CREATE TABLE t (id int)")
    with postgres.connect() as admin:
        admin.execute("DROP ROLE IF EXISTS mouse")
        admin.execute("CREATE ROLE mouse LOGIN PASSWORD 'canary-77' CONNECTION LIMIT 1")
    mouse = url.replace("postgres@", "mouse:canary-77@")
    one = Session(retry=NO_RETRY)

    def failing(target: str, session: Session = one) -> Exception:
        with pytest.raises(ConnectorError) as caught, SqlConnector({"url": target}, session) as connector:
            connector.probe()
        assert "canary" not in repr(caught.value) + str(caught.value)
        return caught.value

    assert type(failing(mouse.replace("canary-77", "canary-wrong"))) is AuthError
    assert type(failing(url.rsplit("/", 1)[0] + "/nowhere")) is AuthError
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        assert type(failing(f"postgresql://a:canary-1@127.0.0.1:{port}/x")) is UnreachableError
    assert type(failing("postgresql://a:canary-1@host.invalid:5432/x")) is UnreachableError
    with SqlConnector({"url": mouse}, one) as connector:
        assert type(failing(mouse)) is ThrottledError
        with pytest.raises(AccessError, match="permission denied"):
            connector.count("secret")
        with pytest.raises(RejectedError, match="syntax error"):
            connector.execute("SELEC 1")
        assert "canary" not in repr(connector) + repr(connector.options)
    assert type(failing("nosuchdb://x")) is DriverError
    with pytest.raises(SettingsError, match="not a database url"):
        SqlConnector({"url": "canary"})
    with pytest.raises(SettingsError, match="did you mean 'schema'"):
        SqlConnector({"url": url, "shema": "x"})
    assert type(failing(f"sqlite:///{tmp_path}/none.db")) is FileError
    (tmp_path / "junk.db").write_text("this is no database, however long it goes on " * 50)
    assert type(failing(f"sqlite:///{tmp_path}/junk.db")) is FileError
    assert not (tmp_path / "none.db").exists()


def test_a_missing_driver_names_the_pip_command() -> None:
    with pytest.raises(DriverError, match=r"pip install 'weighbridge\[oracle\]'"):
        SqlConnector({"url": "oracle://u:p@127.0.0.1/x"}).open()


def test_a_lost_connection_is_dialled_again(orders: SqlConnector, postgres: PostgresSandbox) -> None:
    orders.session.retry = Retry(attempts=3, base=0.01)
    assert orders.count("orders").value == 1000
    with postgres.connect() as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'weighbridge' "
            "AND datname = %s",
            [orders.probe().facts["database"]],
        )
    assert orders.count("orders").value == 1000
    assert orders.session.meter.retries == 1


def test_a_read_goes_on_behind_the_last_page_after_a_cut(orders: SqlConnector, postgres: PostgresSandbox) -> None:
    orders.session.retry = Retry(attempts=3, base=0.01)
    seen: list[int] = []
    for number, page in enumerate(orders.read("orders", page_rows=100)):
        seen += page.batch.column("id").to_pylist()
        if number == 3:
            with postgres.connect() as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'weighbridge'"
                )
    assert seen == list(range(1, 1001))


class Gate:
    """A listener that takes connections and, once closed, swallows everything: a stalled route."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.upstream = upstream
        self.stalled = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.dialled = 0
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            self.dialled += 1
            far = socket.create_connection(self.upstream)
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(a, b), daemon=True).start()

    def _pump(self, a: socket.socket, b: socket.socket) -> None:
        try:
            while data := a.recv(65536):
                if not self.stalled.is_set():
                    b.sendall(data)
        except OSError:
            pass
        finally:
            a.close()
            b.close()

    def close(self) -> None:
        self.listener.close()


def test_route_is_dialled_and_a_stalled_route_ends_in_time(orders_url: str, postgres: PostgresSandbox) -> None:
    gate = Gate(("127.0.0.1", postgres.port))
    session = Session(route=lambda _: Endpoint("127.0.0.1", gate.port), retry=NO_RETRY)
    try:
        with SqlConnector({"url": orders_url, "timeout": 0.5}, session) as connector:
            assert connector.endpoints() == (Endpoint("127.0.0.1", postgres.port),)
            assert connector.count("orders").value == 1000
            connector.discover("orders")
            assert gate.dialled >= 1
            gate.stalled.set()
            started = time.monotonic()
            with pytest.raises(UnreachableError, match="no answer within"):
                connector.count("orders")
            gate.stalled.clear()
            assert connector.count("orders").value == 1000
            gate.stalled.set()
            with pytest.raises(UnreachableError, match=r"no more rows came|no answer"):
                list(connector.read("orders"))
            assert time.monotonic() - started < 12
    finally:
        gate.close()


def test_every_statement_is_an_attempt_within_the_budget(orders_url: str) -> None:
    session = Session(budget=Budget(40))
    with SqlConnector({"url": orders_url}, session) as connector:
        engine = connector.engine()
        assert engine is not None
        before = session.meter.attempts
        with engine.connect() as connection:
            at_connect = session.meter.attempts
            connection.exec_driver_sql("SELECT 1")
        assert session.meter.attempts == at_connect + 1
        assert at_connect > before
        with pytest.raises(BudgetExceeded):
            any(connector.count("orders").value < 0 for _ in range(50))
        assert session.meter.attempts == 40


def test_forks_work_in_threads_and_do_not_share_a_connection(orders: SqlConnector) -> None:
    twins = [orders.fork(orders.session.fork(retry=NO_RETRY)) for _ in range(8)]
    results: list[int] = []

    def work(twin: SqlConnector) -> None:
        ops = twin.operations("orders", [(1,)])
        results.append(sum(ops["lookup"].call((i,)).rows for i in range(1, 51)))
        twin.close()

    threads = [threading.Thread(target=work, args=(t,)) for t in twins]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert results == [50] * 8


def test_operations_cost_one_call(orders: SqlConnector) -> None:
    ops = orders.operations(ObjectRef("orders", "amount > 1"), [(500,)])
    assert set(ops) == {"lookup", "page"}
    looked = ops["lookup"].call((500,))
    assert (looked.calls, looked.rows) == (1, 1)
    assert ops["lookup"].call((5,)).rows == 0, "the filter holds here too"
    assert ops["page"].call((500,)).rows == 50
    statement = ops["lookup"].statement
    assert statement == "SELECT * FROM orders WHERE id = :key"
    assert orders.execute(f"EXPLAIN {statement}", {"key": 1})


def test_write_find_delete(pg_database: Make) -> None:
    url = pg_database(
        "CREATE TABLE w (id serial PRIMARY KEY, code varchar(5) UNIQUE, qty int CHECK (qty > 0), at timestamptz)"
    )
    with SqlConnector({"url": url}, Session(writes_allowed=True)) as connector:
        first = connector.write("w", [{"code": "a", "qty": 1}, {"code": "b", "qty": -1}, {"code": "toolong", "qty": 1}])
        assert [o.ok for o in first] == [True, False, False]
        assert first[1].error is not None
        assert "check constraint" in first[1].error
        assert first[1].error_class == "RejectedError"
        again = connector.write("w", [{"code": "a", "qty": 5}, {"code": "c", "qty": 2}], key="code")
        assert [(o.ok, o.created, o.id) for o in again] == [(True, False, "a"), (True, True, "c")]
        found = connector.find("w", "code", ["a", "c", "zz"])
        assert [(r["code"], r["qty"]) for r in found] == [("a", 5), ("c", 2)]
        assert all(o.ok for o in connector.delete("w", found))
        assert connector.count("w").value == 0


def test_changes_since(orders: SqlConnector) -> None:
    assert orders.watermark("orders") == "updated_at"
    assert orders.watermark("customers") is None
    pages = orders.changes("orders", "2024-02-11T15:00:00+00:00", columns=["id"])
    assert [i for p in pages for i in p.batch.column("id").to_pylist()] == list(range(999, 1001))
    assert list(orders.changes("orders", "2199-01-01T00:00:00+00:00")) == []
    with pytest.raises(SettingsError, match="no column that moves"):
        orders.changes("customers", "2024-01-01T00:00:00+00:00")


def test_facets(orders: SqlConnector) -> None:
    for facet in (Sql, Loadable, Writable, Incremental, DriverText):
        assert orders.facet(facet) is orders
    assert orders.facet(Files) is None
    assert orders.dialect == "postgresql"


LITE = """
CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price DECIMAL(8, 2), bought DATE, at DATETIME,
  qty INTEGER, ok BOOLEAN, data BLOB);
INSERT INTO items VALUES (1, 'a', 1.25, '2024-02-29', '2024-02-29 12:00:00', 3, 1, x'00ff');
INSERT INTO items VALUES (2, 'b', 'n/a', '0000-00-00', NULL, '12,5', 7, NULL);
INSERT INTO items VALUES (3, CAST(x'c328' AS TEXT), 3, NULL, NULL, 2.5, 0, NULL);
CREATE TABLE loose (k TEXT PRIMARY KEY, v INT);
INSERT INTO loose VALUES (NULL, 1), (NULL, 2), ('x', 3);
CREATE VIEW seen AS SELECT id FROM items;
"""


def test_sqlite_reads_what_is_there_and_keeps_what_does_not_fit(tmp_path: Path) -> None:
    with SqlConnector({"url": lite(tmp_path / "shop.db", LITE)}) as connector:
        assert connector.networked is False
        assert connector.endpoints() == ()
        probe = connector.probe()
        assert probe.product == "SQLite"
        assert probe.facts["read_only"] is True
        assert connector.objects() == ["items", "loose", "seen"]
        page = next(iter(connector.read("items")))
        rows = page.batch.to_pylist()
        assert rows[0] == {
            "id": 1, "name": "a", "price": Decimal("1.25"), "bought": date(2024, 2, 29),
            "at": datetime(2024, 2, 29, 12, 0), "qty": 3, "ok": True, "data": b"\x00\xff",  # noqa: DTZ001
        }  # fmt: skip
        assert {(m.row, m.column, m.raw) for m in page.misfits} == {
            (1, "price", "n/a"), (1, "bought", "0000-00-00"), (1, "qty", "12,5"), (1, "ok", "7"),
            (2, "name", "\xc3("), (2, "qty", "2.5"),
        }  # fmt: skip
        assert len(read_all(connector, "loose", page_rows=1)) == 3, "null keys are not lost between pages"
        assert connector.limits()[0].name == "writers"
        with pytest.raises(AccessError, match="readonly"):
            connector.execute("DELETE FROM items")


def test_sqlite_pages_and_writes(tmp_path: Path) -> None:
    url = lite(tmp_path / "n.db", "CREATE TABLE n (id INTEGER PRIMARY KEY, v TEXT)")
    with SqlConnector({"url": url}, Session(writes_allowed=True)) as connector:
        assert all(o.ok for o in connector.write("n", [{"id": i, "v": f"v{i}"} for i in range(250)]))
        again = connector.write("n", [{"id": 3, "v": "new"}], key="id")
        assert (again[0].ok, again[0].created) == (True, False)
        rows = read_all(connector, "n", page_rows=100)
        assert [r["id"] for r in rows] == list(range(250))
        assert rows[3]["v"] == "new"
        assert connector.operations("n", [(1,)])["lookup"].call((4,)).rows == 1
        assert connector.operations("n", [(1,)])["page"].call((4,)).rows == 50


def test_a_paging_that_stands_still_is_an_error_and_not_endless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite3.connect(tmp_path / "still.db") as database:
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
        database.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(20)])
    database.close()
    usual = SqlConnector._keyset
    monkeypatch.setattr(SqlConnector, "_keyset", lambda self, plan, _after, limit: usual(self, plan, None, limit))
    with SqlConnector({"url": f"sqlite:///{tmp_path}/still.db"}) as connector:
        seen: list[int] = []
        with pytest.raises(ProtocolError, match="the same rows for ever"):
            seen += [n for page in connector.read("t", page_rows=5) for n in page.batch["id"].to_pylist()]


def test_reading_is_flat_in_memory(pg_database: Make) -> None:
    url = pg_database(
        "CREATE TABLE big (id int PRIMARY KEY, t text);"
        "INSERT INTO big SELECT g, repeat('x', 100) FROM generate_series(1, 200000) g"
    )
    with SqlConnector({"url": url}) as connector:
        base = pa.total_allocated_bytes()
        peak = max(pa.total_allocated_bytes() + page.batch.nbytes - base for page in connector.read("big"))
    assert peak < 8_000_000


def test_a_table_without_a_key_is_asked_by_the_contracts(pg_database: Make) -> None:
    url = pg_database("CREATE TABLE n AS SELECT 'K' || g % 100 AS code, g AS v FROM generate_series(1, 300) g")
    with SqlConnector({"url": url}) as connector:
        ops = connector.operations(ObjectRef("n", key=("code",)), [("K7",)])
        assert ops["lookup"].call(("K7",)).rows == 3
        assert ops["lookup"].statement == "SELECT * FROM n WHERE code = :key"
        assert set(connector.operations("n", [("K7",)])) == {"page"}


@pytest.mark.parametrize("names", [("nothing", "returning", "do"), ("over", "window", "filter"), ("a%b", "c:d", "e?f")])
def test_columns_named_like_words_of_the_dialect(names: tuple[str, ...], tmp_path: Path) -> None:
    columns = ", ".join(f'"{name}" integer' for name in names)
    rows = [(1, 2, 3, 4), (2, 5, 6, 7)]
    script = f'CREATE TABLE "nothing" (id integer PRIMARY KEY, {columns});INSERT INTO "nothing" VALUES {rows}'
    script = script.replace("[", "").replace("]", "")
    with SqlConnector({"url": lite(tmp_path / "words.db", script)}) as connector:
        assert connector.count("nothing").value == 2
        pages = list(connector.read("nothing", page_rows=1))
        assert [tuple(row.values()) for page in pages for row in page.batch.to_pylist()] == rows
        assert [name for name, _ in connector.driver_text("nothing", list(names), 5)] == list(names)
        assert (
            connector.execute(f"SELECT COUNT({connector.quoted_name(names[0])}) FROM {connector.quoted('nothing')}")[0][
                0
            ]
            == 2
        )
