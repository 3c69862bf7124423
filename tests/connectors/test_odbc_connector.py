"""The odbc connector over real drivers: PostgreSQL, MariaDB, SQLite and an Access database."""

from __future__ import annotations

import gzip
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from weighbridge.checks._legacy_driver import differences
from weighbridge.connectors._odbc_driver import Lane, format_string, parse_string
from weighbridge.connectors.base import DriverText, ObjectRef, Sql
from weighbridge.connectors.conformance import ConnectorConformance, Make
from weighbridge.connectors.errors import (
    AccessError,
    AuthError,
    DriverError,
    MissingObjectError,
    ProtocolError,
    RejectedError,
    SettingsError,
    UnreachableError,
)
from weighbridge.connectors.odbc import OdbcConnector
from weighbridge.connectors.session import NO_RETRY, Endpoint, Session
from weighbridge.sandbox.mariadb import MariaDbSandbox
from weighbridge.sandbox.postgres import PostgresSandbox

ITEMS = """
CREATE TABLE items (id int NOT NULL PRIMARY KEY, name varchar(20) NOT NULL, price numeric(8, 2), updated_at timestamp);
INSERT INTO items VALUES
  (1, 'Zürich', 1.25, '2024-01-01 10:00:00'), (2, 'b', NULL, '2024-01-02 10:00:00'), (3, 'c', 3, '2024-01-02 10:00:00'),
  (4, 'd', 4, NULL), (5, 'e', 5.5, '2024-01-05 10:00:00'), (6, 'f', 6, '2024-01-06 10:00:00'),
  (7, 'g', 7, '2024-01-07 10:00:00');
"""
MARIA = """
CREATE TABLE odd (id INT NOT NULL PRIMARY KEY, big INT UNSIGNED, cut VARCHAR(9), zero DATE, half DATE, t DATETIME)
INSERT INTO odd VALUES (1, 4294967295, 'a\\0b', '0000-00-00', '2024-01-01', '2024-01-01 10:00:00'),
  (2, 1, 'c', '2024-01-01', '2020-00-00', NULL), (3, 2, 'd', '2024-01-02', '2024-01-03', '2024-01-03 10:00:00')
"""


def need(drivers: list[str], name: str, package: str) -> str:
    if name not in drivers:
        pytest.skip(f"needs system package: {package}")
    return name


@pytest.fixture(scope="session")
def psql(odbc_drivers: list[str], postgres: PostgresSandbox) -> Callable[..., str]:
    need(odbc_drivers, "PostgreSQL Unicode", "odbc-postgresql")
    with postgres.connect() as admin:
        admin.execute("CREATE DATABASE odbc")
        admin.execute("CREATE ROLE odbc_keeper LOGIN PASSWORD 'canary;4711'")
    with postgres.connect("odbc") as own:
        own.execute(ITEMS)
        own.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO odbc_keeper")

    def string(
        user: str = "odbc_keeper", password: str = "canary;4711", port: int | None = None, more: str = ""
    ) -> str:
        return (
            f"DRIVER={{PostgreSQL Unicode}};Server=127.0.0.1;Port={postgres.port};Database=odbc;"
            f"UID={user};PWD={{{password}}};{more}"
        )

    return string


@pytest.fixture(scope="session")
def maria(odbc_drivers: list[str], mariadb: MariaDbSandbox) -> str:
    need(odbc_drivers, "MariaDB Unicode", "odbc-mariadb")
    with mariadb.connect() as admin, admin.cursor() as cursor:
        cursor.execute("CREATE DATABASE odbc CHARACTER SET utf8mb4")
        cursor.execute("USE odbc")
        for statement in [
            s
            for s in (ITEMS.replace("numeric", "decimal") + MARIA.replace("\nINSERT", ";INSERT")).split(";")
            if s.strip()
        ]:
            cursor.execute(statement)
    return f"DRIVER={{MariaDB Unicode}};Server=127.0.0.1;Port={mariadb.port};Database=odbc;UID=root;"


@pytest.fixture
def lite(odbc_drivers: list[str], tmp_path: Path) -> str:
    need(odbc_drivers, "SQLite3", "libsqliteodbc")
    with sqlite3.connect(tmp_path / "items.db") as database:
        database.executescript(ITEMS)
        database.execute("CREATE TABLE comma (id integer PRIMARY KEY, n integer)")
        database.execute("INSERT INTO comma VALUES (1, '12,5'), (2, 3)")
    database.close()
    return f"DRIVER=SQLite3;Database={tmp_path}/items.db"


@pytest.fixture
def access(odbc_drivers: list[str], tmp_path: Path) -> str:
    need(odbc_drivers, "MDBTools", "odbc-mdbtools")
    packed = Path(__file__).parent / "data" / "users.mdb.gz"
    (tmp_path / "users.mdb").write_bytes(gzip.decompress(packed.read_bytes()))
    return f"DRIVER=MDBTools;DBQ={tmp_path}/users.mdb"


def opened(string: str, **session: Any) -> OdbcConnector:
    return OdbcConnector({"connection_string": string}, Session(retry=NO_RETRY, **session))


class TestOdbcOnPostgres(ConnectorConformance):
    @pytest.fixture
    def make_connector(self, psql: Callable[..., str]) -> Make:
        return lambda session: OdbcConnector({"connection_string": psql()}, session)

    @pytest.fixture
    def known_object(self) -> str:
        return "items"


class TestOdbcOnMariaDb(ConnectorConformance):
    @pytest.fixture
    def make_connector(self, maria: str) -> Make:
        return lambda session: OdbcConnector({"connection_string": maria}, session)

    @pytest.fixture
    def known_object(self) -> str:
        return "items"


class TestOdbcOnSqlite(ConnectorConformance):
    @pytest.fixture
    def make_connector(self, lite: str) -> Make:
        return lambda session: OdbcConnector({"connection_string": lite}, session)

    @pytest.fixture
    def known_object(self) -> str:
        return "items"


def test_access(access: str) -> None:
    with opened(access) as connector:
        assert connector.probe().product == "MDBTOOLS"
        assert connector.objects() == ["Users"]
        assert connector.networked is False
        schema = connector.discover("Users")
        assert [c.name for c in schema.columns] == ["UserId", "UserName", "UserSex", "UserBirthday", "UserMarried"]
        assert connector.count("Users").value == 3
        for page_rows in (None, 1, 3):
            rows = [r for p in connector.read("Users", page_rows=page_rows) for r in p.batch.to_pylist()]
            assert [r["UserName"] for r in rows] == ["Nuintun", "Angela", "张三"]
            assert rows[0]["UserBirthday"] == datetime(1989, 1, 25)  # noqa: DTZ001
            assert rows[1]["UserMarried"] is False
        page = next(iter(connector.read("Users", columns=["UserSex"])))
        assert page.batch.to_pylist()[2] == {"UserSex": "男"}
        assert connector.operations("Users", [])["page"].call(()).rows == 3
        assert connector.facet(DriverText) is None
        assert connector.facet(Sql) is connector
        with pytest.raises(MissingObjectError, match="'Users'"):
            connector.discover("Usres")


def test_postgres_types_and_what_the_driver_changes(psql: Callable[..., str], postgres: PostgresSandbox) -> None:
    with postgres.connect("odbc") as own:
        own.execute(
            "CREATE TABLE IF NOT EXISTS kinds (id bigint PRIMARY KEY, flag bool, ts timestamptz, d double precision,"
            " r real, raw bytea, u uuid, t text)"
        )
        own.execute("TRUNCATE kinds")
        own.execute(
            "INSERT INTO kinds VALUES (9007199254740993, true, '2024-01-01 12:00+02', 0.1, 0.1, '\\x00ff', "
            "'00000000-0000-0000-0000-000000000001', 'x')"
        )
        own.execute("GRANT SELECT ON kinds TO odbc_keeper")
    with opened(psql()) as connector:
        types = {c.name: c.type for c in connector.discover("kinds").columns}
        row = next(iter(connector.read("kinds"))).batch.to_pylist()[0]
        text = dict(connector.driver_text("kinds", ["flag", "d", "ts"], 5))
        found = differences("flag", "bool(5)", text["flag"])
        assert connector.indexes("items") == [("id",)]
    assert types["id"] == pa.int64()
    assert types["ts"] == pa.timestamp("us", "UTC")
    assert row["id"] == 9007199254740993
    assert row["ts"].isoformat() == "2024-01-01T10:00:00+00:00"
    assert (row["d"], row["raw"]) == (0.1, b"\x00\xff")
    assert [d.kind for d in found] == ["boolean_text"]
    assert "BoolsAsChar=0" in found[0].remedy
    with opened(psql(more="BoolsAsChar=0")) as mended:
        text = dict(mended.driver_text("kinds", ["flag"], 5))
        assert differences("flag", "bool", text["flag"]) == []


def test_mariadb_what_the_driver_changes_and_a_date_it_cannot_bear(maria: str) -> None:
    with opened(maria) as connector:
        page = next(iter(connector.read("odd")))
        assert page.batch.column("id").to_pylist() == [1, 2, 3], "no row is lost for one bad date"
        assert [(m.row, m.column, m.raw) for m in page.misfits if m.column == "half"] == [(1, "half", "2020-00-00")]
        with_zero = connector.driver_text("odd", ["big", "cut", "zero"], 5)
        kinds = {column: [d.kind for d in differences(column, "varchar(9)", pairs)] for column, pairs in with_zero}
    assert kinds["zero"] == ["zero_date"]
    assert kinds["cut"] == ["cut"]
    assert kinds["big"] in (["wrapped"], []), "newer drivers hand the unsigned number over as it is"


def test_sqlite_text_in_a_number_column(lite: str) -> None:
    with opened(lite) as connector:
        pairs = dict(connector.driver_text("comma", ["n"], 5))["n"]
    assert [d.kind for d in differences("n", "integer", pairs)] == ["number"]


def test_reads_only_in_autocommit(psql: Callable[..., str], postgres: PostgresSandbox) -> None:
    states: set[str] = set()
    done = threading.Event()

    def watch() -> None:
        with postgres.connect() as admin:
            while not done.is_set():
                states.update(
                    row[0] for row in admin.execute("SELECT state FROM pg_stat_activity WHERE usename = 'odbc_keeper'")
                )

    with opened(psql()) as connector:
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            for _ in range(10):
                assert sum(p.batch.num_rows for p in connector.read("items", page_rows=2)) == 7
                connector.count("items")
        finally:
            done.set()
            watcher.join(20)
        assert connector.probe().facts["read_only"] is True
        with pytest.raises(AccessError, match=r"read-only|permission denied"):
            connector.execute("DELETE FROM items")
    assert states <= {"active", "idle", None}


def test_a_table_without_a_key_is_fetched_as_it_is_asked_for(
    psql: Callable[..., str], postgres: PostgresSandbox
) -> None:
    with postgres.connect("odbc") as own:
        own.execute("CREATE TABLE IF NOT EXISTS keyless AS SELECT g AS v FROM generate_series(1, 25000) g")
        own.execute("GRANT SELECT ON keyless TO odbc_keeper")
    with opened(psql()) as connector:
        values = [v for p in connector.read("keyless") for v in p.batch.column("v").to_pylist()]
        assert sorted(values) == list(range(1, 25_001))
        assert connector.count("items").value == 7, "and the usual connection is back in its place"


def test_a_decimal_key_is_paged_as_a_number(psql: Callable[..., str], postgres: PostgresSandbox) -> None:
    with postgres.connect("odbc") as own:
        own.execute("CREATE TABLE by_decimal (k numeric(6, 1) PRIMARY KEY, v numeric(9, 3), d date)")
        own.execute(
            "INSERT INTO by_decimal SELECT g * 1.5, -g / 8.0, date '0044-03-15 BC' FROM generate_series(1, 30) g"
        )
        own.execute("GRANT SELECT ON by_decimal TO odbc_keeper")
    with OdbcConnector({"connection_string": psql()}) as connector:
        pages = list(connector.read("by_decimal", page_rows=7))
    keys = [k for page in pages for k in page.batch.column("k").to_pylist()]
    assert [float(k) for k in keys] == [g * 1.5 for g in range(1, 31)]
    values = [v for page in pages for v in page.batch.column("v").to_pylist()]
    assert [float(v) for v in values] == [-g / 8 for g in range(1, 31)]


def test_a_read_loads_no_more_than_it_needs(lite: str) -> None:
    code = (
        "import sys; from weighbridge.connectors.odbc import OdbcConnector\n"
        f"with OdbcConnector({{'connection_string': {lite!r}}}) as c:\n"
        "    assert [p.batch.num_rows for p in c.read('items', page_rows=4)] == [4, 3]\n"
        "print(sorted({'sqlalchemy', 'pandas', 'duckdb', 'pyarrow.compute'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_the_next_window_is_asked_for_early_and_nothing_is_lost_or_uncounted(
    psql: Callable[..., str], postgres: PostgresSandbox
) -> None:
    with postgres.connect("odbc") as own:
        own.execute("CREATE TABLE early AS SELECT g AS id, g / 7 * 0.25 AS n FROM generate_series(1, 20000) g")
        own.execute("ALTER TABLE early ADD PRIMARY KEY (id)")
        own.execute("GRANT SELECT ON early TO odbc_keeper")
    session = Session("odbc", retry=NO_RETRY)
    with OdbcConnector({"connection_string": psql()}, session) as connector:
        connector.discover("early")
        before = session.meter.attempts
        seen: list[int] = []
        for page in connector.read("early"):
            seen += page.batch["id"].to_pylist()
            assert connector.count("early").value == 20_000  # another statement while one is under way
        counted = session.meter.attempts - before - 3
        assert seen == list(range(1, 20_001))
        assert counted == 3
        reading = connector.read("early")
        before = session.meter.attempts
        next(reading)
        reading.close()  # type: ignore[attr-defined]  # a generator
        assert session.meter.attempts - before == 2  # the window that nobody took was sent all the same
        assert session.budget.used == session.meter.attempts


def test_a_connection_lost_between_windows_costs_no_row(psql: Callable[..., str], postgres: PostgresSandbox) -> None:
    with postgres.connect("odbc") as own:
        own.execute("CREATE TABLE torn (id int PRIMARY KEY)")
        own.execute("INSERT INTO torn SELECT generate_series(1, 12000)")
        own.execute("GRANT SELECT ON torn TO odbc_keeper")
    session = Session("odbc", sleep=lambda _seconds: None)
    with OdbcConnector({"connection_string": psql()}, session) as connector:
        seen: list[int] = []
        for number, page in enumerate(connector.read("torn")):
            seen += page.batch["id"].to_pylist()
            if number == 0:
                with postgres.connect("odbc") as own:
                    own.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'odbc_keeper'")
        assert seen == list(range(1, 12_001))


def test_an_unsigned_key_that_the_driver_wraps_is_read_once(maria: str, mariadb: MariaDbSandbox) -> None:
    with mariadb.connect() as admin, admin.cursor() as cursor:
        cursor.execute("USE odbc")
        cursor.execute("CREATE TABLE large (id INT UNSIGNED PRIMARY KEY, n INT)")
        cursor.execute("INSERT INTO large SELECT 2147477647 + seq, seq FROM seq_1_to_12000")
    with opened(maria) as connector:
        seen: list[tuple[int, int]] = []
        for page in connector.read("large"):
            assert page.misfits == ()
            seen += zip(page.batch["id"].to_pylist(), page.batch["n"].to_pylist(), strict=True)
            assert len(seen) <= 12_000
    assert seen == [(2147477647 + n, n) for n in range(1, 12_001)]


def test_letters_that_the_driver_takes_for_two(maria: str, mariadb: MariaDbSandbox) -> None:
    words = ["ÙÚ", "Ø", "כי", "Åse", "😀", "éÛ", *(f"Ù{i}" for i in range(200))]
    with mariadb.connect() as admin, admin.cursor() as cursor:
        cursor.execute("USE odbc")
        cursor.execute("CREATE TABLE letters (code VARCHAR(20) COLLATE utf8mb4_bin PRIMARY KEY, `né` INT, long_ TEXT)")
        cursor.executemany("INSERT INTO letters VALUES (%s, %s, %s)", [(w, i, w * i * 9) for i, w in enumerate(words)])
    with opened(maria) as connector:
        for rows in (None, 7):
            read = [r for page in connector.read("letters", page_rows=rows) for r in page.batch.to_pylist()]
            assert sorted(r["code"] for r in read) == sorted(words)
            assert all(r["long_"] == r["code"] * r["né"] * 9 for r in read)
        for number, word in enumerate(words[:60]):
            (page,) = connector.read(ObjectRef("letters", f"code = '{word}' AND `né` < 1000"))
            assert page.batch["né"].to_pylist() == [number]
            statement = "SELECT long_ FROM letters WHERE code = :code"
            assert connector.execute(statement, {"code": word}) == [(word * number * 9,)]
        (pairs,) = dict(connector.driver_text("letters", ["code"], 50)).values()
        assert [d.kind for d in differences("code", "varchar(20)", pairs)] == ["shortened"], "as others read it"
        assert next(iter(connector.read("letters", page_rows=1))).batch["code"].to_pylist() == [min(words)]
    with mariadb.connect() as admin, admin.cursor() as cursor:
        cursor.execute("USE odbc")
        cursor.execute("CREATE TABLE named (id INT PRIMARY KEY, `Østersø` INT)")
    with opened(maria) as connector:
        with pytest.raises(DriverError, match="misreads the letters"):
            list(connector.read("named"))
        with pytest.raises(DriverError, match="misreads the letters"):
            connector.discover("Østersø")


def test_a_key_that_the_driver_changed_is_refused(maria: str, mariadb: MariaDbSandbox, monkeypatch: Any) -> None:
    with mariadb.connect() as admin, admin.cursor() as cursor:
        cursor.execute("USE odbc")
        cursor.execute("CREATE TABLE wrapped (id INT UNSIGNED PRIMARY KEY)")
        cursor.execute("INSERT INTO wrapped VALUES (1), (4294967295)")
    monkeypatch.setattr("weighbridge.connectors._odbc_reading.is_unsigned", lambda _type: False)
    with opened(maria) as connector, pytest.raises(ProtocolError, match="lose or double rows"):
        list(connector.read("wrapped"))


def test_a_key_that_the_driver_swallows_is_refused(lite: str, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "items.db") as database:
        database.execute("CREATE TABLE loose (id integer NOT NULL, code integer NOT NULL UNIQUE)")
        database.execute("INSERT INTO loose VALUES (1, 5), (2, 'five')")
    database.close()
    started = time.monotonic()
    with opened(lite) as connector, pytest.raises(ProtocolError, match="would lose rows"):
        list(connector.read("loose"))
    assert time.monotonic() - started < 10, "the cursor of a lost connection was waited for until the timeout"


def test_statement_timeouts_are_the_servers(psql: Callable[..., str], maria: str) -> None:
    for string, statement in (
        (psql(), "SELECT pg_sleep(20)"),
        (maria, "SELECT sum(a.seq * b.seq) FROM seq_1_to_100000 a, seq_1_to_100000 b"),
    ):
        with opened(string) as connector:
            started = time.monotonic()
            with pytest.raises(UnreachableError, match=r"timeout|max_statement_time"):
                connector.execute(statement, timeout=0.3)
            assert time.monotonic() - started < 5


def test_errors_by_class(psql: Callable[..., str], odbc_drivers: list[str]) -> None:
    del odbc_drivers
    with pytest.raises(AuthError) as caught:
        opened(psql(password="canary-wrong")).open()
    assert "canary" not in str(caught.value)
    with pytest.raises(DriverError, match=r"'No Such Driver' is not installed.*Installed are: .*PostgreSQL"):
        opened("DRIVER={No Such Driver};Server=x").open()
    with pytest.raises(DriverError, match=r"tdsodbc|Microsoft"):
        opened("DRIVER={ODBC Driver 18 for SQL Server};Server=x").open()
    with pytest.raises(DriverError, match="'nosuchdsn' is not installed"):
        OdbcConnector({"dsn": "nosuchdsn", "username": "u", "password": "canary"}, Session(retry=NO_RETRY)).open()
    with pytest.raises(SettingsError, match="either connection_string or dsn"):
        OdbcConnector({})
    with opened(psql()) as connector:
        with pytest.raises(RejectedError, match="syntax error"):
            connector.execute("SELEC 1")
        assert connector.execute("SELECT CAST(:a AS int) + 1", {"a": 4}) == [(5,)]


def test_a_dsn_is_found(psql: Callable[..., str], tmp_path: Path) -> None:
    parts = parse_string(psql())
    (tmp_path / "odbc.ini").write_text(
        f"[shop]\nDriver = {parts['DRIVER']}\nServername = 127.0.0.1\nPort = {parts['Port']}\nDatabase = odbc\n"
    )
    code = (
        "from weighbridge.connectors.odbc import OdbcConnector\n"
        "c = OdbcConnector({'dsn': 'shop', 'username': 'odbc_keeper', 'password': 'canary;4711'})\n"
        "assert c.networked is False and list(c.endpoints()) == []\n"
        "c.open(); print(c.count('items').value); c.close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "ODBCINI": str(tmp_path / "odbc.ini")}, check=True,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == "7"


@pytest.mark.parametrize(
    ("stub", "message"),
    [
        ("raise ImportError('libodbc.so.2: cannot open shared object file')", "unixodbc"),
        ("raise ModuleNotFoundError(\"No module named 'pyodbc'\", name='pyodbc')", "pip install pyodbc"),
    ],
)
def test_a_missing_driver_manager_names_the_package(tmp_path: Path, stub: str, message: str) -> None:
    (tmp_path / "pyodbc.py").write_text(stub)
    code = (
        "from weighbridge.connectors.odbc import OdbcConnector\n"
        "from weighbridge.connectors.errors import DriverError\n"
        "try: OdbcConnector({'dsn': 'x'}).open()\n"
        "except DriverError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(tmp_path)}, check=True,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert message in done.stdout


def test_route_replaces_the_address(psql: Callable[..., str]) -> None:
    asked: list[Endpoint] = []

    def route(endpoint: Endpoint) -> Endpoint:
        asked.append(endpoint)
        return Endpoint("127.0.0.1", endpoint.port)

    with opened(psql().replace("127.0.0.1", "db.invalid"), route=route) as connector:
        assert connector.count("items").value == 7
    assert asked[0].host == "db.invalid"


def test_mssql_addresses() -> None:
    string = "DRIVER={ODBC Driver 18 for SQL Server};Server=tcp:erp.example.com,1444;Encrypt=yes;UID=u;PWD={a;b}}c}"
    connector = opened(string, route=lambda _: Endpoint("127.0.0.1", 7))
    assert connector.endpoints() == (Endpoint("erp.example.com", 1444, tls=True),)
    assert connector._routed()["Server"] == "tcp:127.0.0.1,7"
    assert connector._parts["PWD"] == "a;b}c"


@pytest.mark.parametrize("value", ["plain", "a;b", "a}b", "{x}", " pad", "a=b", "", "p@ss"])
def test_connection_strings_round_trip(value: str) -> None:
    assert parse_string(format_string({"PWD": value, "UID": "u"})) == {"PWD": value, "UID": "u"}


def test_a_driver_that_never_comes_back_is_left_behind() -> None:
    lane = Lane()
    held = threading.Event()
    try:
        with pytest.raises(UnreachableError, match=r"did not come back within 0\.2 s"):
            lane.run(held.wait, 0.2)
        with pytest.raises(UnreachableError, match="never came back"):
            lane.run(lambda: 1, 0.2)
    finally:
        held.set()
        lane.end()


def test_rare_types_of_mariadb_are_read_to_the_end_and_compared(maria: str, mariadb: MariaDbSandbox) -> None:
    with mariadb.connect() as admin, admin.cursor() as cursor:
        cursor.execute("USE odbc")
        cursor.execute(
            "CREATE TABLE rare (id INT UNSIGNED PRIMARY KEY, bi BIT(9), one BIT(1), dt DATETIME(6), ti TIME(3),"
            " dc DECIMAL(65,30), bl BLOB, p POINT, u UUID, ip INET6)"
        )
        cursor.execute(
            "INSERT INTO rare VALUES (4294967295, b'101010101', b'1', '2020-00-00', '-838:59:59.5',"
            " 1234567890123456789.123456789, x'00ff', POINT(1, 2), 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '::1'),"
            " (1, NULL, NULL, '9999-12-31 23:59:59.999999', '13:14:15.5', NULL, NULL, NULL, NULL, NULL)"
        )
    with opened(maria) as connector:
        rows = [r for p in connector.read("rare", page_rows=1) for r in p.batch.to_pylist()]
        names = [c.name for c in connector.discover("rare").columns]
        native = {c.name: c.native for c in connector.discover("rare").columns}
        pairs = dict(connector.driver_text("rare", names, 9))
    assert [r["id"] for r in rows] == [1, 4294967295]
    assert (rows[1]["u"], rows[1]["ip"], rows[1]["bl"]) == ("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "::1", b"\x00\xff")
    kinds = {n: {d.kind for d in differences(n, native[n], pairs[n])} for n in pairs}
    assert set(names) == set(pairs)
    assert kinds["dt"] == {"unreadable"}
    assert kinds["ti"] == {"unreadable", "fraction"}, "13:14:15.5 arrives as 13:14:15"
    assert {n for n, k in kinds.items() if k} <= {"id", "dt", "ti"}


def test_a_whole_number_of_more_than_32_bits_in_sqlite(lite: str, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "items.db") as database:
        database.execute("CREATE TABLE wide (id integer PRIMARY KEY, n integer, s integer)")
        database.execute("INSERT INTO wide VALUES (1, 9007199254740993, NULL)")
    database.close()
    with opened(lite) as connector:
        assert next(iter(connector.read("wide"))).batch.to_pylist() == [{"id": 1, "n": 9007199254740993, "s": None}]
        pairs = dict(connector.driver_text("wide", ["n", "s"], 5))
    assert differences("n", "integer", pairs["n"]) == []
    assert pairs["s"] == [(None, None)], "a null is no empty text"
