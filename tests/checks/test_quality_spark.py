"""The same contract on the same rows counts the same on Spark as on DuckDB; every kind of rule is in it."""

# ruff: noqa: E501 - a rule and what it counts read best on one line

from __future__ import annotations

import datetime as dt
import importlib.util
import os
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from contract_kit import ask, contract, land

from weighbridge.checks.base import Inconclusive, Measurement, RuleResult
from weighbridge.checks.quality import QualityCheck
from weighbridge.contracts.rules import KINDS, compile_rules

CONTRACT = """\
schema:
  - name: Order
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1}
      - {name: line, logicalType: integer, primaryKey: true, primaryKeyPosition: 2}
      - name: account
        logicalType: string
        required: true
        unique: true
        logicalTypeOptions: {pattern: '^C-[0-9]+$', minLength: 3, maxLength: 4}
        relationships: [{to: Account.number}]
        quality:
          - {metric: nullValues, mustBeLessThan: 20, unit: percent}
          - {metric: missingValues, arguments: {missingValues: ['', D-1, "it's \\\\ so"]}, mustBe: 0}
          - {metric: invalidValues, arguments: {validValues: [C-1, C-2], pattern: '\\d'}, mustBeLessThan: 1}
          - {metric: duplicateValues, mustBe: 0}
      - {name: mail, logicalType: string, logicalTypeOptions: {format: email}, enum: [{value: a@b.de}, {value: "it's"}]}
      - {name: amount, logicalType: number, logicalTypeOptions: {minimum: 0, exclusiveMaximum: 10, multipleOf: 0.5}}
      - {name: price, logicalType: number, logicalTypeOptions: {exclusiveMinimum: 0, maximum: 10, multipleOf: 0.1, format: f32}}
      - {name: qty, logicalType: integer, logicalTypeOptions: {maximum: 5, format: i8, multipleOf: 2}}
      - {name: day, logicalType: date, logicalTypeOptions: {minimum: '2024-01-02', exclusiveMaximum: '2024-06-01'}}
      - {name: at, logicalType: timestamp, logicalTypeOptions: {maximum: '2024-03-01T12:00:00Z', timezone: true}}
      - {name: local, logicalType: timestamp, logicalTypeOptions: {minimum: '2024-03-01T12:00:00', timezone: true}}
      - {name: written, logicalType: date, logicalTypeOptions: {format: 'dd.MM.yyyy'}}
      - {name: status code, logicalType: string, required: true, enum: [{value: open}, {value: "it's"}]}
      - {name: flag, logicalType: boolean, required: true, enum: [{value: true}]}
      - name: address
        logicalType: object
        logicalTypeOptions: {minProperties: 2, maxProperties: 2, required: [city]}
        properties: [{name: city, logicalType: string, required: true}]
      - name: tags
        logicalType: array
        logicalTypeOptions: {minItems: 1, maxItems: 1, uniqueItems: true}
        items: {logicalType: string, logicalTypeOptions: {maxLength: 1}}
      - {name: vector, logicalType: vector, logicalTypeOptions: {dimensions: 1}}
    quality:
      - {metric: rowCount, mustBeBetween: [5, 7]}
      - {metric: rowCount, mustNotBe: 6}
      - {metric: duplicateValues, arguments: {properties: [qty, status code]}, mustBe: 0, unit: percent}
      - {type: sql, query: 'SELECT count(*) FROM ${object} WHERE qty > 2', mustBe: 2}
      - {type: custom, engine: greatExpectations, implementation: {type: expect_column_max_to_be_between, kwargs: {column: qty, max_value: 300}}}
      - {type: custom, engine: soda, implementation: checks}
      - {type: text, description: for people}
  - name: Account
    properties: [{name: number, logicalType: string}]
"""
STAYS = {"zone", "date_format", "sql", "expectation", "text", "foreign", "min_items", "max_items", "unique_items",
         "dimensions", "min_properties", "max_properties", "required_properties"}  # fmt: skip
NAN = float("nan")
NOON = dt.datetime(2024, 3, 1, 12)  # noqa: DTZ001 - a column without a zone


def rows() -> pa.Table:
    return pa.table(
        {
            "id": pa.array([1, 1, 1, None, 2, 3], pa.int64()),
            "line": pa.array([1, 2, 2, 1, None, 1], pa.int32()),
            "account": ["C-1", "C-1", None, "D-1", "C-12345", "it's \\ so"],
            "mail": ["a@b.de", "a@b", "it's", None, "", "x y@z.de"],
            "amount": pa.array([Decimal("1.50"), Decimal(-1), Decimal(10), None, Decimal("2.25"), Decimal(0)], pa.decimal128(9, 2)),
            "price": pa.array([0.3, NAN, float("inf"), None, -0.0, 1e39], pa.float64()),
            "qty": pa.array([1, 1, 200, None, 5, -4], pa.int64()),
            "day": [dt.date(2024, 1, 1), dt.date(2024, 1, 2), None, dt.date(2024, 6, 1), dt.date(2024, 5, 31), dt.date(1900, 1, 1)],
            "at": pa.array([NOON, NOON + dt.timedelta(microseconds=1), None, NOON, NOON, NOON], pa.timestamp("us", "UTC")),
            "local": pa.array([NOON, NOON - dt.timedelta(seconds=1), None, NOON, NOON, NOON], pa.timestamp("ns")),
            "written": ["01.02.2024", "2024-02-01", None, "31.02.2024", "", "1.2.2024"],
            "status code": ["open", "open", "it's", "other", None, "OPEN"],
            "flag": [True, False, None, True, True, True],
            "address": [{"city": "x", "zip": "1"}, {"city": None, "zip": "1"}, None, {"city": "x", "zip": None}, None, None],
            "vector": [[1.0], [1.0, 2.0], None, [], None, None],
            "tags": [["a"], ["a", "a"], None, ["bb"], [], ["a", "b"]],
        }
    )  # fmt: skip


def judged(folder: Path, **settings: Any) -> tuple[dict[str, RuleResult], list[Any]]:
    folder.mkdir(exist_ok=True)
    made = contract(folder, CONTRACT)
    keys = land(folder, pa.table({"number": ["C-1", "C-12345"]}), keys=("number",), name="keys")
    found = ask(QualityCheck(), folder, made, rows(), object="Order", target_keys=lambda _: keys, settings=settings)
    return {r.path: r for r in found if isinstance(r, RuleResult)}, found


def said(results: dict[str, RuleResult]) -> dict[str, tuple[Any, ...]]:
    return {p: (r.outcome, r.count, r.total, r.observed, r.samples) for p, r in results.items()}


def test_every_kind_of_rule_is_in_the_contract(tmp_path: Path) -> None:
    made = contract(tmp_path, CONTRACT)
    kinds = {r.kind for r in compile_rules(made, made.objects[0]) if r.check == "quality"}
    assert kinds == set(KINDS) - {"presence", "type", "sla"}


@pytest.mark.skipif(importlib.util.find_spec("pyspark") is not None, reason="Spark is installed here")
def test_without_spark_nothing_is_green(tmp_path: Path) -> None:
    with pytest.raises(Inconclusive, match="Spark is not installed"):
        judged(tmp_path / "spark", judge="spark")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Spark's own, of sockets and pandas
def test_spark_counts_as_duckdb_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("pyspark") is None:
        pytest.skip("needs the extra: pip install 'weighbridge[spark]'")
    if not shutil.which("java") and not os.environ.get("JAVA_HOME"):
        pytest.skip("needs system package: openjdk-17-jre-headless")
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    monkeypatch.setenv(
        "PYSPARK_SUBMIT_ARGS",
        f"--master local[2] --conf spark.driver.bindAddress=127.0.0.1 --conf spark.sql.shuffle.partitions=2 "
        f"--conf spark.sql.warehouse.dir={tmp_path} --conf spark.driver.memory=1g pyspark-shell",
    )
    here, _ = judged(tmp_path / "duckdb")
    there, found = judged(tmp_path / "spark", judge="spark")
    assert said(there) == said(here)
    where = next(f for f in found if isinstance(f, Measurement))
    assert where.data["dialect"] == "spark"
    made = contract(tmp_path, CONTRACT)
    on_spark = set(where.data["in_place"])
    stayed = {r.kind for r in compile_rules(made, made.objects[0]) if r.check == "quality" and r.path not in on_spark}
    assert stayed <= STAYS | {"required", "max_length"}  # the last two of nested values
    assert len(on_spark) > 25
    assert not list((tmp_path / "spark").glob("*.spark"))
