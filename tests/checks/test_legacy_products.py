"""Every code of the legacy check on every product, natively and over ODBC: found where planted, silent on the twin."""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from legacy_looks import column, look, looked

from weighbridge.checks.base import Finding
from weighbridge.checks.legacy import LegacyCheck
from weighbridge.connectors.base import Connector
from weighbridge.connectors.odbc import OdbcConnector
from weighbridge.connectors.session import NO_RETRY, Session
from weighbridge.connectors.sql import SqlConnector
from weighbridge.sandbox.mariadb import MariaDbSandbox
from weighbridge.sandbox.mariadb import available as mariadb_missing
from weighbridge.sandbox.postgres import PostgresSandbox
from weighbridge.sandbox.postgres import available as postgres_missing

pytestmark = pytest.mark.slow

EBCDIC = "SMITH 4711".encode("cp037").decode("latin-1")
POLISH = "Zażółć gęślą jaźń".encode().decode("latin-1")
STAMP = "2024-03-01 10:00:00"
# (column, type, values of the five planted rows, values of the five rows of the clean twin)
COLUMNS: tuple[tuple[str, str, Sequence[Any], Sequence[Any]], ...] = (
    ("code", "{key} NOT NULL PRIMARY KEY", ["A1", "a1", "B2", "b2", "C3"], ["A1", "B2", "C3", "D4", "E5"]),
    ("kind_id", "integer", [1, 2, 7, 8, None], [1, 2, 1, None, 2]),
    ("line_no", "integer", [1, 1, 2, 3, None], [1, 1, 2, None, 2]),
    ("part_code", "varchar(9)", ["x", "y", "y", "x", "x"], ["x", "y", "x", "x", None]),
    ("name", "varchar(60)", ["MÃ¼ller", "it’s â€œgoodâ€\u009d", POLISH, None, "ok"],
     ["Müller 東京", "“good” – Spaß“", "Łódź»", None, "😀 İstanbul Ελλάδα"]),
    ("host", "varchar(40)", [EBCDIC, "plain", None, "ÄÖÜ", "x"], ["ÄÖÜÄ", "plain", None, "ÉÈÀ", "———"]),
    ("torn", "varchar(40)", ["M\ufffdller", None, "a", "b", "c"], ["😀😀", None, "a", "b?c", "c"]),
    ("pad", "varchar(40)", [" a", "b ", None, "d", " "], ["a a", "b", None, "d", ""]),
    ("zip", "varchar(9)", ["00501", "10115", "20095", None, "80331"], ["W1A 0AX", "10115", "SE-1", None, "80331"]),
    ("weight", "varchar(12)", ["12,5", "1.000,25", "3", "4,5", None], ["12.5", "1000.25", "3", "4.5", None]),
    ("compact", "varchar(12)", ["20240229", "19991231", "20600101", "00000000", None],
     ["SKU20240", "19991231", "20600101X", "47-11", None]),
    ("iso", "varchar(30)", ["2024-02-29", "1999/12/31", "9999-12-31 00:00:00", "9999-12-31", None],
     ["1.2.3", "10.4.12", "192.168.10.15", "v2", None]),
    ("local", "varchar(20)", ["29.02.2024", "1/2/1999", "31.12.9999", "01-02-2003", None],
     ["+49 30 1234", "(030) 12-34-56", "12/34", "0171/123", None]),
    ("short", "varchar(20)", ["29.02.24", "1/2/99", "03-04-05", "31.12.99", None],
     ["DE0212030", "GB82", "12-3", "1-2-3", None]),
    ("day", "date", ["1900-01-01", "9999-12-31", "1753-01-01", "1899-12-30", None],
     ["1999-12-31", "2060-01-01", "1970-01-01", "2024-02-29", None]),
    ("at", "{stamp}", ["1900-01-01 00:00:00", "9999-12-31 23:59:59", STAMP, None, STAMP], [STAMP, STAMP, None, STAMP,
     "1999-01-01 00:00:00"]),
    ("always", "varchar(3)", ["a", "b", "c", "d", "e"], ["a", None, "c", "d", "e"]),
    ("hash", "varchar(64)", ["d41d8cd98f00b204e9800998ecf8427e", None, "a3f5", "b", "c"],
     ["d41d8cd98f00b204e9800998ecf8427e", None, "a3f5", "00ff00ff", "1e10"]),
    ("price", "numeric(10, 2)", [1.5, None, 2, 3, 4], [1.5, None, 2, 3, 4]),
    ("unused", "varchar(9)", [None] * 5, [None] * 5),
)  # fmt: skip
ODD = ("Ship Date", "order", "Größe", "per%cent", "q?m", "a:b", "[br]", "it's", 'qu"ote', "2nd", "semi;colon")
PARENTS = (
    "CREATE TABLE kinds (kind_id integer NOT NULL PRIMARY KEY)",
    "INSERT INTO kinds VALUES (1), (2)",
    "CREATE TABLE parts (line_no integer NOT NULL, part_code varchar(9) NOT NULL, PRIMARY KEY (line_no, part_code))",
    "INSERT INTO parts VALUES (1, 'x'), (1, 'y'), (2, 'x'), (3, 'y')",
)


@dataclass(frozen=True)
class Product:
    """How one product is filled and reached; `run` runs statements as its owner."""

    name: str
    mark: str
    """The quotation mark of its names."""
    types: Mapping[str, str]
    run: Callable[[str, Sequence[tuple[str, Sequence[Any]]]], None]
    native: Callable[[str], Mapping[str, Any]]
    odbc: Callable[[str], str]

    def open(self, access: str, database: str, odbc_drivers: Callable[[], list[str]]) -> Connector:
        session = Session(retry=NO_RETRY)
        if access == "native":
            return SqlConnector(self.native(database), session)
        odbc_drivers()
        return OdbcConnector({"connection_string": self.odbc(database)}, session)

    def quoted(self, name: str) -> str:
        return f"{self.mark}{name.replace(self.mark, self.mark * 2)}{self.mark}"


def drivers() -> list[str]:
    try:
        import pyodbc
    except ImportError:
        pytest.skip("needs system package: unixodbc")
    return pyodbc.drivers()


def need(name: str, package: str) -> None:
    if name not in drivers():
        pytest.skip(f"needs system package: {package}")


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresSandbox]:
    if missing := postgres_missing():
        pytest.skip(f"needs system package: {missing}")
    with PostgresSandbox(tmp_path_factory.mktemp("hazards"), settings={"max_connections": 60}) as server:
        with server.connect() as admin:
            admin.execute("CREATE ROLE reader LOGIN PASSWORD 'r'")
            admin.execute("ALTER ROLE reader SET statement_timeout = '60s'")
        yield server


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDbSandbox]:
    if missing := mariadb_missing():
        pytest.skip(f"needs system package: {missing}")
    with MariaDbSandbox(settings={"sql_mode": "", "max_connections": 40}) as server:
        with server.connect() as admin, admin.cursor() as cursor:
            cursor.execute("CREATE USER reader@'%' IDENTIFIED BY 'r' WITH MAX_STATEMENT_TIME 60")
            cursor.execute("GRANT SELECT ON `hz%`.* TO reader@'%'")
            cursor.execute("GRANT PROCESS ON *.* TO reader@'%'")
        yield server


def on_postgres(server: PostgresSandbox) -> Product:
    def run(database: str, statements: Sequence[tuple[str, Sequence[Any]]]) -> None:
        with server.connect() as admin:
            if not admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchall():
                admin.execute(f"CREATE DATABASE {database}")
        with server.connect(database) as own:
            for text, values in statements:
                own.execute(text.replace("?", "%s") if values else text, values or None)
            own.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")

    def odbc(database: str) -> str:
        need("PostgreSQL Unicode", "odbc-postgresql")
        return (
            f"DRIVER={{PostgreSQL Unicode}};Server=127.0.0.1;Port={server.port};Database={database};UID=reader;PWD=r;"
            "BoolsAsChar=0;"
        )

    return Product(
        "postgresql", '"', {"key": "varchar(12)", "stamp": "timestamp"}, run,
        lambda database: {"url": server.url(database, user="reader", password="r")}, odbc,
    )  # fmt: skip


def on_mariadb(server: MariaDbSandbox) -> Product:
    def run(database: str, statements: Sequence[tuple[str, Sequence[Any]]]) -> None:
        with server.connect() as admin, admin.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE IF NOT EXISTS {database} CHARACTER SET utf8mb4")
            cursor.execute(f"USE {database}")
            for text, values in statements:
                cursor.execute(text.replace("?", "%s") if values else text, tuple(values) or None)

    def odbc(database: str) -> str:
        need("MariaDB Unicode", "odbc-mariadb")
        return f"DRIVER={{MariaDB Unicode}};Server=127.0.0.1;Port={server.port};Database={database};UID=reader;PWD=r;"

    key = "varchar(12) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    return Product(
        "mariadb", "`", {"key": key, "stamp": "datetime"}, run,
        lambda database: {"url": server.url(database, user="reader", password="r")}, odbc,
    )  # fmt: skip


def on_sqlite(folder: Path) -> Product:
    def run(database: str, statements: Sequence[tuple[str, Sequence[Any]]]) -> None:
        with closing(sqlite3.connect(folder / f"{database}.db", isolation_level=None)) as own:
            for text, values in statements:
                own.execute(text, tuple(values))

    def odbc(database: str) -> str:
        need("SQLite3", "libsqliteodbc")
        return f"DRIVER=SQLite3;Database={folder}/{database}.db"

    return Product(
        "sqlite", '"', {"key": "varchar(12)", "stamp": "timestamp"}, run,
        lambda database: {"url": f"sqlite:///{folder}/{database}.db"}, odbc,
    )  # fmt: skip


@pytest.fixture(scope="module", params=["postgresql", "mariadb", "sqlite"])
def product(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Product:
    if request.param == "sqlite":
        return on_sqlite(tmp_path_factory.mktemp("lite"))
    server = request.getfixturevalue("postgres" if request.param == "postgresql" else "mariadb")
    return on_postgres(server) if request.param == "postgresql" else on_mariadb(server)


@pytest.fixture(params=["native", "odbc"])
def access(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def nobody_may_write_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere


def insert(product: Product, table: str, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[Any]:
    listed = ", ".join(product.quoted(n).replace("%", "%%" if product.name != "sqlite" else "%") for n in names)
    listed = listed.replace("?", "\0")
    marks = ", ".join("?" * len(names))
    text = f"INSERT INTO {product.quoted(table)} ({listed}) VALUES ({marks})"
    if product.name == "sqlite":
        return [(text.replace("\0", "?"), row) for row in rows]
    return [(text.replace("?", "%s").replace("\0", "?"), row) for row in rows]


def planted(product: Product) -> list[tuple[str, Sequence[Any]]]:
    columns = ", ".join(f"{product.quoted(n)} {t.format(**product.types)}" for n, t, _, _ in COLUMNS)
    odd = ", ".join(f"{product.quoted(n)} varchar(9)" for n in ODD)
    statements: list[Any] = [(s, ()) for s in PARENTS]
    statements.append((f"CREATE TABLE {product.quoted('t')} ({columns}, {odd}, {extra(product)})", ()))
    names = [n for n, *_ in COLUMNS]
    statements += insert(product, "t", names, list(zip(*(values for _, _, values, _ in COLUMNS), strict=True)))
    if product.name == "mariadb":
        statements.append(("UPDATE t SET zero = '0000-00-00', half = '2020-00-00' WHERE code = 'A1'", ()))
    if product.name != "postgresql":
        statements += (
            [("UPDATE t SET bin = 'a' || char(0) || 'b' WHERE code = 'A1'", ())]
            if (product.name == "sqlite")
            else [("UPDATE t SET bin = CONCAT('a', CHAR(0), 'b') WHERE code = 'A1'", ())]
        )
    keyless = f"CREATE TABLE keyless (id integer, code {product.types['key']}, updated_at {product.types['stamp']})"
    statements.append((keyless, ()))
    statements += insert(
        product, "keyless", ("id", "code", "updated_at"),
        [(1, "A1", STAMP), (2, "a1", STAMP), (3, "B2", None), (3, "B2", STAMP)],
    )  # fmt: skip
    return statements


def extra(product: Product) -> str:
    return {
        "mariadb": "zero date, half date, bin varchar(9), page varchar(9) CHARACTER SET latin1",
        "sqlite": "bin varchar(9)",
        "postgresql": 'bin varchar(9), "MixedCase" integer',
    }[product.name]


def clean(product: Product) -> list[tuple[str, Sequence[Any]]]:
    columns = ", ".join(f"{product.quoted(n)} {t.format(**product.types)}" for n, t, _, _ in COLUMNS)
    statements: list[Any] = [(s, ()) for s in PARENTS]
    statements.append((f"CREATE TABLE t ({columns}, updated_at {product.types['stamp']} NOT NULL)", ()))
    statements.append(("CREATE INDEX t_updated ON t (updated_at)", ()))
    rows = [(*row, STAMP) for row in zip(*(values for *_, values in COLUMNS), strict=True)]
    return [*statements, *insert(product, "t", [*(n for n, *_ in COLUMNS), "updated_at"], rows)]


IMPOSSIBLE: Mapping[str, Mapping[str, str]] = {
    # what a product cannot have, and why
    "postgresql": {"nul_characters": "text takes no NUL", "code_page": "its own test: the database's encoding"},
    "mariadb": {},
    "sqlite": {
        "code_page": "text is UTF-8 or UTF-16", "lock_waits": "a file has no sessions",
        "long_transactions": "a file has no sessions", "connections_in_use": "a file has no connections",
        "no_statement_timeout": "there is no server that could have one",
    },
}  # fmt: skip
ELSEWHERE = {"watermark_not_indexed", "login_can_write", "no_statement_timeout", "connections_in_use", "lock_waits",
             "long_transactions", "no_primary_key", "driver_changed"}  # fmt: skip
"""Codes with a test of their own below."""


def test_every_code_is_found(product: Product, access: str) -> None:
    database = f"hzp_{access}"
    product.run(database, planted(product))
    with product.open(access, database, drivers) as connector:
        found, measured = looked(connector, column("code", key=True))
        keyless, _ = look_one_driver(connector, "keyless", column("code", key=True))
        bare, _ = look_one_driver(connector, "keyless")
    findings = {f.code.removeprefix("legacy."): f for f in found if f.code != "legacy.driver_changed"}
    wanted = {c.name.removeprefix("legacy.") for c in LegacyCheck.codes} - ELSEWHERE - set(IMPOSSIBLE[product.name])
    assert findings.keys() == wanted
    assert findings["similar_keys"].observed == 2
    orphans = findings["orphans"].evidence
    assert orphans.pop("sample") == "all rows"
    assert orphans == {"kind_id -> kinds.kind_id": 2, "(line_no, part_code) -> parts (line_no, part_code)": 2}
    assert set(findings["mojibake"].evidence) == {"name", "sample"}
    assert findings["mojibake"].observed == 3
    assert findings["ebcdic"].observed == 1
    assert findings["lost_characters"].observed == 1
    assert set(findings["lost_characters"].evidence) == {"torn", "sample"}
    assert findings["padded_text"].observed == 3
    assert set(findings["digits_as_text"].evidence) == {"zip", "sample"}
    assert findings["digits_as_text"].evidence["zip"] == {"rows": 4, "leading_zeros": 1}
    assert findings["decimal_commas"].evidence["weight"]["rows"] == 3
    assert findings["dates_as_text"].observed == ["compact", "iso", "local", "short"]
    assert findings["dates_as_text"].evidence["compact"] == {"compact_date": 3, "zero_date": 1}
    days = dict(findings["sentinel_dates"].evidence)
    assert days.pop("sample") == "all rows"
    expected = {
        "compact": {"0000-00-00": 1}, "iso": {"9999-12-31": 2}, "local": {"9999-12-31": 1},
        "day": dict.fromkeys(("1900-01-01", "9999-12-31", "1753-01-01", "1899-12-30"), 1),
        "at": {"1900-01-01": 1, "9999-12-31": 1},
    }  # fmt: skip
    if product.name == "mariadb":
        expected |= {"zero": {"0000-00-00": 1}, "half": {"0000-00-00": 1}}
        assert findings["code_page"].evidence == {"page": "latin1"}
    assert days == expected
    if product.name != "postgresql":
        assert findings["nul_characters"].evidence["bin"] == {"rows": 1}
    assert {"always"} == {n for n in findings["never_null"].observed if n != "part_code"}
    more = ["MixedCase"] if product.name == "postgresql" else []
    assert sorted(findings["awkward_names"].observed) == sorted([*ODD, *more])
    assert "at may be one under another name" in findings["no_watermark"].message
    assert measured.data["sample"] == "all rows"
    assert keyless["no_primary_key"].evidence["rows_with_a_key_seen_before"] == 1
    assert keyless["similar_keys"].observed == 1
    assert "watermark_not_indexed" in keyless
    assert "unique_now" not in bare["no_primary_key"].evidence


def look_one_driver(connector: Connector, table: str, *promised: Any) -> tuple[dict[str, Finding], Any]:
    found, measured = looked(connector, *promised, table=table)
    return {f.code.removeprefix("legacy."): f for f in found}, measured


def test_the_clean_twin_is_silent(product: Product, access: str) -> None:
    database = f"hzc_{access}"
    product.run(database, clean(product))
    with product.open(access, database, drivers) as connector:
        found, measured = looked(connector, column("code", key=True))
    assert [(f.code, f.message) for f in found] == []
    assert measured.data["notes"] == []


def test_an_access_file_is_judged_by_its_rows(tmp_path: Path) -> None:
    need("MDBTools", "odbc-mdbtools")
    packed = Path(__file__).parents[1] / "connectors" / "data" / "users.mdb.gz"
    (tmp_path / "users.mdb").write_bytes(gzip.decompress(packed.read_bytes()))
    string = f"DRIVER=MDBTools;DBQ={tmp_path}/users.mdb"
    with OdbcConnector({"connection_string": string}, Session(retry=NO_RETRY)) as connector:
        findings, measured = look(connector, table="Users")
    assert findings.keys() == {"never_null", "no_primary_key", "no_watermark"}
    assert findings["never_null"].observed == ["UserName", "UserSex"]
    assert "references were not looked at: this driver's SQL has no joins" in measured.data["notes"]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "WIN1252", "LATIN2"])
def test_a_postgres_that_is_not_unicode(postgres: PostgresSandbox, access: str, encoding: str) -> None:
    database = f"page_{encoding.lower()}"
    with postgres.connect() as admin:
        if not admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchall():
            admin.execute(
                f"CREATE DATABASE {database} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
            )
            with postgres.connect(database) as own:
                own.execute("CREATE TABLE t (code varchar(12) PRIMARY KEY, name varchar(40), updated_at timestamp)")
                own.execute("CREATE INDEX ON t (updated_at)")
                own.execute("INSERT INTO t VALUES ('a', 'plain', NULL), ('A', '12,5', NULL), ('c', NULL, now())")
                own.execute("GRANT SELECT ON t TO reader")
    product = on_postgres(postgres)
    with product.open(access, database, drivers) as connector:
        findings, _ = look(connector, column("code", key=True))
    assert findings.keys() == {"code_page", "similar_keys", "decimal_commas"}
    assert encoding in findings["code_page"].message


WIDE = ", ".join(f"c{i} varchar(3)" for i in range(1_599))
OBJECTS: Mapping[str, tuple[Sequence[str], set[str]]] = {
    # what is made, and the codes beside never_null and no_watermark
    "wide": ([f"CREATE TABLE wide (id int PRIMARY KEY, {WIDE})",
              "INSERT INTO wide (id, c1598) VALUES (1, ' z'), (2, 'q')"], {"padded_text"}),
    "seen": (["CREATE VIEW seen AS SELECT 1 AS id, ' x' AS name UNION ALL SELECT 2, 'y'"],
             {"padded_text", "no_primary_key"}),
    "kept": (["CREATE MATERIALIZED VIEW kept AS SELECT 1 AS id, ' x'::varchar(9) AS name UNION SELECT 2, 'y'"],
             {"padded_text", "no_primary_key"}),
    "parted": (["CREATE TABLE parted (id int, day date, s varchar(9), PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
                "CREATE TABLE part1 PARTITION OF parted FOR VALUES FROM ('2020-01-01') TO ('2030-01-01')",
                "INSERT INTO parted VALUES (1, '2024-01-01', ' q'), (2, '2025-01-01', 'r')"], {"padded_text"}),
    "other.moved": (["CREATE SCHEMA other", "CREATE TABLE other.moved (id int PRIMARY KEY, name varchar(9))",
                     "INSERT INTO other.moved VALUES (1, ' a'), (2, 'b')", "GRANT USAGE ON SCHEMA other TO reader",
                     "GRANT SELECT ON other.moved TO reader"], {"padded_text"}),
    "Odd Name.x": (['CREATE TABLE "Odd Name.x" (id int PRIMARY KEY, "a.b" varchar(9))',
                    "INSERT INTO \"Odd Name.x\" VALUES (1, ' a'), (2, 'b')"], {"padded_text", "awkward_names"}),
}  # fmt: skip


def test_objects_that_are_no_plain_table(postgres: PostgresSandbox, access: str) -> None:
    product, database = on_postgres(postgres), f"objects_{access}"
    product.run(database, [(text, ()) for texts, _ in OBJECTS.values() for text in texts])
    product.run(database, [("CREATE TABLE empty (id int PRIMARY KEY, name varchar(9))", ())])
    with product.open(access, database, drivers) as connector:
        for name, (_, codes) in OBJECTS.items():
            assert sum(page.batch.num_rows for page in connector.read(name)) == connector.count(name).value == 2
            findings, _ = look(connector, table=name)
            assert findings.keys() == {"never_null", "no_watermark"} | codes, name
        findings, measured = look(connector, table="empty")
    assert findings == {}
    assert measured.data["notes"] == ["there are no rows to look at"]
