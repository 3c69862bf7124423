"""The legacy check on a real Firebird, whose SQL has no words for the shapes of text: rows are read and judged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from legacy_looks import column, look, looked

from weighbridge.connectors.session import NO_RETRY, Session
from weighbridge.connectors.sql import SqlConnector
from weighbridge.sandbox.firebird import FirebirdSandbox, available

PLANTED = """
CREATE TABLE kinds (kind_id INTEGER NOT NULL PRIMARY KEY);
CREATE TABLE t (code VARCHAR(12) NOT NULL PRIMARY KEY, kind_id INTEGER, name VARCHAR(40), pad VARCHAR(9),
  zip VARCHAR(9), weight VARCHAR(12), shipped CHAR(10), born DATE, torn VARCHAR(20),
  always VARCHAR(3), "Ship Date" VARCHAR(9));
COMMIT;
INSERT INTO kinds VALUES (1);
INSERT INTO t VALUES ('A1', 1, 'MÃ¼ller', ' a', '00501', '12,5', '31.12.2024', DATE '9999-12-31', 'a', 'x', NULL);
INSERT INTO t VALUES ('a1', 7, NULL, 'b ', '10115', '1.000,25', '01.02.2025', DATE '1900-01-01', 'M�ller', 'y', NULL);
INSERT INTO t VALUES ('B2 x', 1, 'ok', NULL, '20095', '3', '29.02.2024', NULL, NULL, 'z', NULL);
"""
CLEAN = """
CREATE TABLE kinds (kind_id INTEGER NOT NULL PRIMARY KEY);
CREATE TABLE t (code VARCHAR(12) NOT NULL PRIMARY KEY, kind_id INTEGER, name VARCHAR(40), pad CHAR(9), zip VARCHAR(9),
  weight VARCHAR(12), born DATE, updated_at TIMESTAMP NOT NULL);
CREATE INDEX t_updated ON t (updated_at);
COMMIT;
INSERT INTO kinds VALUES (1);
INSERT INTO t VALUES ('A1', 1, 'Müller', 'a', 'W1A 0AX', '12.5', DATE '2024-02-29', TIMESTAMP '2024-01-01 10:00:00');
INSERT INTO t VALUES ('B2', 1, 'Łódź', NULL, '10115', '3', DATE '1999-12-31', TIMESTAMP '2024-01-01 10:00:00');
INSERT INTO t VALUES ('C3', NULL, NULL, 'c', NULL, NULL, NULL, TIMESTAMP '2024-01-01 10:00:00');
"""
CODES = {
    "similar_keys", "padded_text", "orphans", "no_watermark", "dates_as_text", "sentinel_dates", "mojibake",
    "lost_characters", "digits_as_text", "decimal_commas", "never_null", "awkward_names",
}  # fmt: skip
OF_THE_LOGIN = {"login_can_write", "no_statement_timeout"}


@pytest.fixture(scope="module")
def server() -> Iterator[FirebirdSandbox]:
    if missing := available():
        pytest.skip(f"needs system package: {missing}")
    with FirebirdSandbox() as running:
        yield running


def opened(server: FirebirdSandbox, name: str, script: str) -> SqlConnector:
    server.create(name, script)
    return SqlConnector({"url": server.url(name)}, Session(retry=NO_RETRY))


def test_what_is_planted_is_found(server: FirebirdSandbox) -> None:
    with opened(server, "planted", PLANTED) as connector:
        findings, _ = look(connector, column("code", key=True))
    assert findings.keys() - OF_THE_LOGIN == CODES
    assert findings["similar_keys"].observed == 1
    assert findings["padded_text"].evidence["pad"] == {"rows": 2}
    assert findings["orphans"].observed == 1
    assert findings["dates_as_text"].observed == ["shipped"]
    assert findings["sentinel_dates"].observed == 2
    assert findings["digits_as_text"].evidence["zip"] == {"rows": 3, "leading_zeros": 1}
    assert findings["decimal_commas"].evidence["weight"]["rows"] == 2
    assert findings["awkward_names"].observed == ["Ship Date"]
    assert findings["login_can_write"].observed == "may write"


def test_the_clean_twin_is_silent(server: FirebirdSandbox) -> None:
    with opened(server, "clean", CLEAN) as connector:
        found, _ = looked(connector, column("code", key=True))
    assert [(f.code, f.message) for f in found if f.code.removeprefix("legacy.") not in OF_THE_LOGIN] == []


def test_what_was_not_compared_or_not_read_is_said(server: FirebirdSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weighbridge.checks._legacy_rows.MOST_ROWS", 2)
    more = "ALTER TABLE t ADD raw CHAR(4) CHARACTER SET OCTETS; COMMIT; UPDATE t SET raw = 'abcd';"
    with opened(server, "unsaid", CLEAN + more) as connector:
        _, measured = look(connector, column("code", key=True))
    notes = measured.data["notes"]
    assert "lock waits and long transactions were not looked at: no words for firebird" in notes
    assert "what stands in the columns was judged on the first 2 rows, as the database finds them" in notes
    assert any("no text for raw" in note for note in notes)
    assert measured.data["sample"] == "all rows", "of what the database itself counted"
