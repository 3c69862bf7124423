"""One contract, one set of rows, every engine: DuckDB, stock SQLite, and in place in PostgreSQL and SQLite."""

# ruff: noqa: E501 - a rule and what it counts read best on one line

from __future__ import annotations

import datetime as dt
import gc
import sqlite3
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from contract_kit import FakeEvidence, context, contract, point_of

from weighbridge.checks.base import Measurement, RuleResult
from weighbridge.checks.quality import QualityCheck
from weighbridge.connectors.base import Count, ObjectRef
from weighbridge.connectors.sql import SqlConnector
from weighbridge.landing import land
from weighbridge.sandbox.mariadb import MariaDbSandbox
from weighbridge.sandbox.mariadb import available as mariadb_missing
from weighbridge.sandbox.postgres import PostgresSandbox, available

CONTRACT = """\
schema:
  - name: Order
    physicalName: order lines
    properties:
      - {name: id, physicalName: ID, logicalType: integer, primaryKey: true}
      - name: account
        logicalType: string
        required: true
        unique: true
        logicalTypeOptions: {pattern: '^C-[0-9]+$', minLength: 3, maxLength: 4}
        quality:
          - {metric: nullValues, mustBeLessThan: 50, unit: percent}
          - {metric: missingValues, arguments: {missingValues: ['', 'D-1']}, mustBe: 0}
          - {metric: invalidValues, arguments: {validValues: [C-1, C-2]}, mustBeLessThan: 1}
      - {name: amount, logicalType: number, logicalTypeOptions: {minimum: 0, exclusiveMaximum: 10, multipleOf: 0.5}}
      - {name: qty, logicalType: integer, logicalTypeOptions: {maximum: 5, format: i8}}
      - {name: day, logicalType: date, logicalTypeOptions: {minimum: '2024-01-02'}}
      - {name: status, logicalType: string, enum: [{value: open}, {value: "it's"}]}
    quality:
      - {metric: rowCount, mustBeBetween: [4, 6]}
      - {metric: duplicateValues, arguments: {properties: [qty, status]}, mustBe: 0}
      - {type: sql, query: 'SELECT count(*) FROM ${object} WHERE qty > 2', mustBe: 2}
      - {type: custom, engine: greatExpectations, implementation: {type: expect_column_max_to_be_between, kwargs: {column: qty, max_value: 300}}}
"""
ROWS: list[tuple[Any, ...]] = [
    (1, "C-1", Decimal("1.5"), 1, dt.date(2024, 1, 1), "open"),
    (2, "C-1", Decimal(-1), 1, dt.date(2024, 1, 2), "open"),
    (3, None, Decimal(10), 200, None, "it's"),
    (4, "D-1", None, None, dt.date(2024, 6, 1), "other"),
    (5, "C-12345", Decimal("2.25"), 5, dt.date(2024, 6, 1), None),
]
COUNTS = {
    "primaryKey": 0,
    "account.required": 1,
    "account.unique": 1,
    "account.logicalTypeOptions.pattern": 1,
    "account.logicalTypeOptions.minLength": 0,
    "account.logicalTypeOptions.maxLength": 1,
    "account.quality.0": 1,
    "account.quality.1": 2,
    "account.quality.2": 2,
    "amount.logicalTypeOptions.minimum": 1,
    "amount.logicalTypeOptions.exclusiveMaximum": 1,
    "amount.logicalTypeOptions.multipleOf": 1,
    "qty.logicalTypeOptions.maximum": 1,
    "qty.logicalTypeOptions.format": 1,
    "day.logicalTypeOptions.minimum": 1,
    "status.enum": 1,
    "quality.0": None,
    "quality.1": 1,
    "quality.2": None,
    "quality.3": None,
}
TABLE = (
    'CREATE TABLE "order lines" ("ID" INTEGER PRIMARY KEY, account {text}, amount {number}, qty INTEGER, day DATE, '
    "status {text})"
)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresSandbox]:
    missing = available()
    if missing:
        pytest.skip(f"needs system package: {missing}")
    with PostgresSandbox(tmp_path_factory.mktemp("pg")) as server:
        yield server


def sqlite_url(folder: Path) -> str:
    path = folder / "shop.db"
    with sqlite3.connect(path) as database:
        database.execute(TABLE.format(text="VARCHAR(20)", number="NUMERIC"))
        values = [
            tuple(str(v) if isinstance(v, dt.date) else float(v) if isinstance(v, Decimal) else v for v in r)
            for r in ROWS
        ]
        database.executemany('INSERT INTO "order lines" VALUES (?, ?, ?, ?, ?, ?)', values)
    database.close()
    gc.collect()
    return f"sqlite:///{path}"


def postgres_url(server: PostgresSandbox) -> str:
    with server.connect() as database:
        database.execute('DROP TABLE IF EXISTS "order lines"')
        database.execute(TABLE.format(text="VARCHAR(20)", number="NUMERIC(9, 2)"))
        with database.cursor() as cursor:
            cursor.executemany('INSERT INTO "order lines" VALUES (%s, %s, %s, %s, %s, %s)', ROWS)
    return server.url()


def run(folder: Path, url: str, **options: Any) -> tuple[dict[str, RuleResult], list[Any]]:
    point = point_of(contract(folder, CONTRACT))
    with SqlConnector({"url": url}) as connector:
        ref = ObjectRef("order lines")
        schema = connector.discover(ref)
        columns = [p.physical_name for p in point.object.properties]
        landing = land(connector, ref, folder / "landing.duckdb", schema=schema, columns=columns, keys=("ID",))
        evidence = FakeEvidence(landing, schema, Count(5, exact=True))
        found = list(
            QualityCheck()(point, evidence, context(folder, connector=lambda session=None: connector, **options))
        )
    return {r.path.removeprefix("Order."): r for r in found if isinstance(r, RuleResult)}, found


def agreed(results: dict[str, RuleResult]) -> None:
    assert {p: r.count for p, r in results.items()} == COUNTS, {p: r.reason for p, r in results.items() if r.reason}
    failed = {p for p, r in results.items() if r.outcome == "failed"}
    expected = {p for p, count in COUNTS.items() if count} - {"account.quality.0"}
    assert failed == expected
    assert (results["quality.0"].observed, results["quality.2"].observed, results["quality.3"].observed) == (5, 2, 200)
    assert {r.total for p, r in results.items() if COUNTS[p] is not None} == {5}


def test_duckdb(tmp_path: Path) -> None:
    agreed(run(tmp_path, sqlite_url(tmp_path))[0])


def test_stock_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weighbridge.checks import gx

    monkeypatch.setattr(gx, "_SELF_TEST", ["not on this machine"])
    results, _ = run(tmp_path, sqlite_url(tmp_path))
    agreed(results)


def test_in_place_in_sqlite(tmp_path: Path) -> None:
    results, found = run(tmp_path, sqlite_url(tmp_path), settings={"in_place": True})
    agreed(results)
    where = next(f for f in found if isinstance(f, Measurement))
    assert where.data["dialect"] == "sqlite"
    assert len(where.data["in_place"]) == len(COUNTS)


def test_in_place_in_postgresql(tmp_path: Path, postgres: PostgresSandbox) -> None:
    results, found = run(tmp_path, postgres_url(postgres), settings={"in_place": True})
    agreed(results)
    where = next(f for f in found if isinstance(f, Measurement))
    assert where.data["dialect"] == "postgresql"
    assert len(where.data["in_place"]) == len(COUNTS)
    pattern = results["account.logicalTypeOptions.pattern"]
    assert (pattern.samples, '"order lines"' in str(pattern.query), " ~ " in str(pattern.query)) == (
        ("4 (account: D-1)",),
        True,
        True,
    )


def test_what_the_server_cannot_count_is_counted_on_the_landed_rows(tmp_path: Path, postgres: PostgresSandbox) -> None:
    body = """\
    schema:
      - name: Order
        physicalName: listed
        properties:
          - {name: id, logicalType: integer, primaryKey: true}
          - {name: tags, logicalType: array, logicalTypeOptions: {minItems: 2}}
        quality: [{type: sql, query: 'SELECT count(*) FROM ${object} WHERE cardinality(tags) > 1', mustBe: 0}]
    """
    with postgres.connect() as database:
        database.execute("CREATE TABLE listed (id int PRIMARY KEY, tags text)")
        database.execute("INSERT INTO listed VALUES (1, '[1]'), (2, '[1, 2]'), (3, NULL)")
    point = point_of(contract(tmp_path, body))
    with SqlConnector({"url": postgres.url()}) as connector:
        ref = ObjectRef("listed")
        schema = connector.discover(ref)
        landing = land(connector, ref, tmp_path / "l.duckdb", schema=schema, columns=["id", "tags"], keys=("id",))
        evidence = FakeEvidence(landing, schema, Count(3, exact=True))
        asked = context(tmp_path, connector=lambda session=None: connector, settings={"in_place": True})
        found = list(QualityCheck()(point, evidence, asked))
    results = {r.path.removeprefix("Order."): (r.outcome, r.count) for r in found if isinstance(r, RuleResult)}
    assert results == {
        "primaryKey": ("passed", 0),
        "tags.logicalTypeOptions.minItems": ("failed", 1),
        "quality.0": ("errored", None),
    }
    where = next(f for f in found if isinstance(f, Measurement))
    assert set(where.data["in_place"]) == {"Order.primaryKey", "Order.quality.0"}


def test_in_place_a_statement_that_never_ends_is_stopped_by_the_server(
    tmp_path: Path, postgres: PostgresSandbox
) -> None:
    body = """\
    schema:
      - name: Order
        physicalName: endless
        properties: [{name: id, logicalType: integer, required: true}]
        quality: [{type: sql, query: 'SELECT count(*) FROM generate_series(1, 1000000000000)', mustBe: 0}]
    """
    with postgres.connect() as database:
        database.execute("CREATE TABLE endless (id int); INSERT INTO endless VALUES (1)")
    point = point_of(contract(tmp_path, body))
    with SqlConnector({"url": postgres.url(), "timeout": 0.5}) as connector:
        schema = connector.discover("endless")
        landing = land(connector, "endless", tmp_path / "l.duckdb", schema=schema, columns=["id"], keys=())
        asked = context(tmp_path, connector=lambda session=None: connector, settings={"in_place": True})
        started = time.monotonic()
        found = QualityCheck()(point, FakeEvidence(landing, schema, Count(1, exact=True)), asked)
        results = {r.path: r for r in found if isinstance(r, RuleResult)}
    assert time.monotonic() - started < 20
    assert results["Order.id.required"].outcome == "passed"
    assert results["Order.quality.0"].outcome == "errored"
    assert "timeout" in str(results["Order.quality.0"].reason)


@pytest.fixture(scope="module")
def mariadb_url() -> Iterator[str]:
    missing = mariadb_missing()
    if missing:
        pytest.skip(f"needs system package: {missing}")
    with MariaDbSandbox(settings={"sql_mode": ""}) as server:
        with server.connect() as admin, admin.cursor() as cursor:
            cursor.execute("CREATE DATABASE shop CHARACTER SET utf8mb4")
        with server.connect("shop") as admin, admin.cursor() as cursor:
            cursor.execute(TABLE.format(text="VARCHAR(20)", number="DECIMAL(9, 2)").replace('"', "`"))
            cursor.executemany("INSERT INTO `order lines` VALUES (%s, %s, %s, %s, %s, %s)", ROWS)
            cursor.execute("CREATE USER keeper@'%' IDENTIFIED BY 'canary-4711'")
            cursor.execute("GRANT SELECT ON shop.* TO keeper@'%'")
            admin.commit()
        yield server.url("shop", user="keeper", password="canary-4711")


@pytest.mark.slow
def test_in_place_in_mariadb(tmp_path: Path, mariadb_url: str) -> None:
    results, found = run(tmp_path, mariadb_url, settings={"in_place": True})
    agreed(results)
    where = next(f for f in found if isinstance(f, Measurement))
    assert where.data["dialect"] in ("mysql", "mariadb")
    assert len(where.data["in_place"]) > 15


def test_a_filtered_object_is_judged_on_the_landed_rows(tmp_path: Path) -> None:
    from weighbridge.checks.in_place import why_not

    body = CONTRACT + "    customProperties: [{property: weighbridge.filter, value: qty > 1}]\n"
    with SqlConnector({"url": sqlite_url(tmp_path)}) as connector:
        assert "weighbridge.filter" in str(why_not(connector, point_of(contract(tmp_path, body))))
        assert why_not(connector, point_of(contract(tmp_path, CONTRACT))) is None
    assert why_not(None, point_of(contract(tmp_path, CONTRACT))) == "the system does not speak SQL"
