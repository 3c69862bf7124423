"""The schema check: both ways, every difference by name, compatible types by their values."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from contract_kit import ask, contract, schema_of

from weighbridge.checks.base import Finding, RuleResult, Severity
from weighbridge.checks.schema import SchemaCheck

CONTRACT = """\
schema:
  - name: Account
    physicalName: ACC
    properties:
      - {name: id, physicalName: ID, logicalType: string, primaryKey: true, logicalTypeOptions: {maxLength: 18}}
      - {name: revenue, physicalName: REVENUE, logicalType: number, required: true}
"""
TABLE = pa.table({"ID": ["a"], "REVENUE": [1.5]})


def results(found: list[Any]) -> dict[str, str]:
    return {r.path: r.outcome for r in found if isinstance(r, RuleResult)}


def codes(found: list[Any]) -> list[str]:
    return [f.code for f in found if isinstance(f, Finding)]


def test_a_system_as_promised_passes(tmp_path: Path) -> None:
    schema = schema_of(TABLE, keys=("ID",), ID={"nullable": False, "length": 18}, REVENUE={"nullable": False})
    found = ask(SchemaCheck(), tmp_path, contract(tmp_path, CONTRACT), TABLE, schema=schema)
    assert codes(found) == []
    assert results(found) == {
        "Account.id.presence": "passed",
        "Account.id.logicalType": "passed",
        "Account.revenue.presence": "passed",
        "Account.revenue.logicalType": "passed",
    }


def test_a_missing_column_breaks_and_names_the_nearest(tmp_path: Path) -> None:
    table = pa.table({"ID": ["a"], "REVENUES": [1.5]})
    found = ask(SchemaCheck(), tmp_path, contract(tmp_path, CONTRACT), table, schema=schema_of(table, keys=("ID",)))
    missing = next(f for f in found if isinstance(f, Finding) and f.code == "schema.missing")
    assert missing.evidence == {"rule": "Account.revenue.presence", "column": "REVENUE", "nearest": "REVENUES"}
    assert "Account.revenue (column REVENUE)" in missing.message
    assert results(found)["Account.revenue.presence"] == "failed"
    assert results(found)["Account.revenue.logicalType"] == "errored"


@pytest.mark.parametrize(("closed", "severity"), [(False, None), (True, Severity.WARN)])
def test_undeclared_columns_are_one_finding(tmp_path: Path, closed: bool, severity: Severity | None) -> None:
    body = CONTRACT + ("    customProperties: [{property: weighbridge.closed, value: true}]\n" if closed else "")
    table = pa.table({**{n: TABLE[n] for n in TABLE.column_names}, "X": [1], "Y": [2]})
    schema = schema_of(table, keys=("ID",))
    extra = [
        f
        for f in ask(SchemaCheck(), tmp_path, contract(tmp_path, body), table, schema=schema)
        if isinstance(f, Finding)
    ]
    found = [f for f in extra if f.code == "schema.undeclared"]
    assert [(f.evidence["columns"], f.severity) for f in found] == [(["X", "Y"], severity)]


def test_a_retyped_column_breaks(tmp_path: Path) -> None:
    table = pa.table({"ID": ["a"], "REVENUE": ["1,5"]})
    found = ask(SchemaCheck(), tmp_path, contract(tmp_path, CONTRACT), table, schema=schema_of(table, keys=("ID",)))
    assert "schema.retyped" in codes(found)
    assert results(found)["Account.revenue.logicalType"] == "failed"


WIDE = """\
schema:
  - name: T
    properties:
      - {name: a, logicalType: %s%s}
"""
NOON = dt.datetime.fromisoformat("2024-01-01T12:00:00")
MIDNIGHT = dt.datetime.fromisoformat("2024-01-01T00:00:00")


@pytest.mark.parametrize(
    ("logical", "values", "outcome"),
    [
        ("integer", [1, 2], "passed"),
        ("integer", [1.0, 2.0, None], "passed"),
        ("integer", [1.0, 2.5], "failed"),
        ("integer", [float("nan")], "failed"),
        ("integer", [Decimal("1.00")], "passed"),
        ("integer", [Decimal("1.01")], "failed"),
        ("integer", ["1"], "failed"),
        ("number", [1], "passed"),
        ("number", [1.5], "passed"),
        ("number", [Decimal("1.5")], "passed"),
        ("number", [True], "failed"),
        ("string", ["x"], "passed"),
        ("string", [1], "failed"),
        ("boolean", [True], "passed"),
        ("boolean", [0, 1], "passed"),
        ("boolean", [0, 2], "failed"),
        ("date", [MIDNIGHT.date()], "passed"),
        ("date", [MIDNIGHT], "passed"),
        ("date", [NOON], "failed"),
        ("date", ["2024-01-01"], "failed"),
        ("timestamp", [NOON], "passed"),
        ("timestamp", [NOON.date()], "failed"),
        ("time", [dt.time(1)], "passed"),
        ("object", [{"b": 1}], "passed"),
        ("object", ['{"b": 1}'], "passed"),
        ("array", [[1]], "passed"),
        ("array", [1], "failed"),
        ("string", [None], "passed"),
    ],
)
def test_the_table_of_compatible_types(tmp_path: Path, logical: str, values: list[Any], outcome: str) -> None:
    found = ask(SchemaCheck(), tmp_path, contract(tmp_path, WIDE % (logical, "")), pa.table({"a": values}))
    assert results(found)["T.a.logicalType"] == outcome
    assert bool(codes(found)) == (outcome == "failed")


def test_a_text_date_needs_a_format(tmp_path: Path) -> None:
    body = WIDE % ("date", ", logicalTypeOptions: {format: dd.MM.yyyy}")
    assert results(ask(SchemaCheck(), tmp_path, contract(tmp_path, body), pa.table({"a": ["31.12.2024"]}))) == {
        "T.a.presence": "passed",
        "T.a.logicalType": "passed",
    }


def test_values_that_did_not_fit_are_type_evidence(tmp_path: Path) -> None:
    table = pa.table({"a": pa.array([1, None, None], pa.int64())})
    misfits = [(1, "a", "call me: +49 170 1234567", "not a number")]
    found = ask(SchemaCheck(), tmp_path, contract(tmp_path, WIDE % ("integer", "")), table, misfits=misfits)
    finding = next(f for f in found if isinstance(f, Finding))
    assert (finding.code, finding.evidence["count"], finding.evidence["total"]) == ("schema.values_do_not_fit", 1, 3)
    assert "1234567" not in str(finding)
    result = next(r for r in found if isinstance(r, RuleResult) and r.outcome == "failed")
    assert (result.path, result.count, result.total) == ("T.a.logicalType", 1, 3)


def test_nullable_lengths_and_keys(tmp_path: Path) -> None:
    made = contract(tmp_path, CONTRACT)
    schema = schema_of(TABLE, keys=("OTHER",), ID={"nullable": False, "length": 10})
    found = [f for f in ask(SchemaCheck(), tmp_path, made, TABLE, schema=schema) if isinstance(f, Finding)]
    assert [(f.code, f.expected, f.observed) for f in found] == [
        ("schema.length", 18, 10),
        ("schema.nullable", "not nullable", "nullable"),
        ("schema.key", ["ID"], ["OTHER"]),
    ]
    longer = schema_of(TABLE, ID={"nullable": False, "length": 40}, REVENUE={"nullable": False})
    found = [f for f in ask(SchemaCheck(), tmp_path, made, TABLE, schema=longer) if isinstance(f, Finding)]
    assert [(f.code, f.severity) for f in found] == [("schema.longer", None), ("schema.key", Severity.INFO)]
