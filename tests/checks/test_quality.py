"""What each rule counts, names and reports: one test a line of the normative page, on rows landed as a run does."""
# ruff: noqa: E501 - a rule and what it counts read best on one line

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from contract_kit import ask, context, contract, land, refuse, schema_of

from weighbridge.checks.base import Finding, RuleResult, Severity
from weighbridge.checks.quality import QualityCheck

UTC = dt.UTC


def rules(found: list[Any]) -> dict[str, RuleResult]:
    return {r.path: r for r in found if isinstance(r, RuleResult)}


def one(folder: Path, properties: str, column: str, values: Any, *, type: Any = None, **options: Any) -> RuleResult:
    """The last rule of a contract about one column."""
    made = contract(folder, f"schema:\n  - name: T\n    properties:\n      - {properties}\n")
    table = pa.table({column: pa.array(values, type=type)})
    return list(rules(ask(QualityCheck(), folder, made, table, **options)).values())[-1]


def batch(folder: Path, cases: dict[str, tuple[str, Any, Any]]) -> dict[str, RuleResult]:
    """The last rule of each case, {name: (rule, values, type)}, all asked at once; short columns are padded with nulls."""
    rows = max(len(values) for _, values, _ in cases.values())
    body = "".join(f"      - {{name: {name}, {rule}}}\n" for name, (rule, _, _) in cases.items())
    made = contract(folder, f"schema:\n  - name: T\n    properties:\n{body}")
    table = pa.table(
        {
            name: pa.array([*values, *[None] * (rows - len(values))], type=kind)
            for name, (_, values, kind) in cases.items()
        }
    )
    found: dict[str, RuleResult] = {}
    for path, result in rules(ask(QualityCheck(), folder, made, table)).items():
        found[path.split(".")[1]] = result
    return found


def counts(results: dict[str, RuleResult]) -> dict[str, int | None]:
    assert not [r.reason for r in results.values() if r.outcome == "errored"]
    assert all(r.outcome == ("failed" if r.count else "passed") for r in results.values())
    return {name: r.count for name, r in results.items()}


def seen(result: RuleResult) -> tuple[str, int | None, int | None]:
    return result.outcome, result.count, result.total


# --- names and numbers --------------------------------------------------------------------------------------------


def test_ids_paths_names_lines_and_shares(tmp_path: Path) -> None:
    made = contract(
        tmp_path,
        """\
        schema:
          - name: Account
            physicalName: ACC
            properties:
              - name: name
                physicalName: NAME1
                logicalType: string
                logicalTypeOptions: {maxLength: 3}
                quality:
                  - {id: few, name: few are null, metric: nullValues, mustBeLessThan: 30, unit: percent}
                  - {metric: nullValues, mustBeLessThan: 20, unit: percent, severity: warning, businessImpact: bad}
            quality:
              - {id: order_rows, metric: rowCount, mustBe: 9, severity: info}
        """,
    )
    found = ask(QualityCheck(), tmp_path, made, pa.table({"NAME1": ["abcd", "ab", None, "a"]}))
    results = rules(found)
    assert list(results) == [
        "Account.name.logicalTypeOptions.maxLength",
        "Account.name.quality.few",
        "Account.name.quality.1",
        "Account.quality.order_rows",
    ]
    length, few, second, rows = results.values()
    assert (length.id, few.id, second.id, rows.id) == (length.path, "few", second.path, "order_rows")
    assert (few.name, few.line, few.outcome, few.count, few.total, few.observed) == (
        "few are null",
        16,
        "passed",
        1,
        4,
        25,
    )
    assert (second.outcome, second.observed, second.expected) == ("failed", 25, "nullValues < 20 %")
    assert (rows.outcome, rows.count, rows.total, rows.observed, rows.expected) == (
        "failed",
        None,
        None,
        4,
        "rowCount = 9",
    )
    findings = {f.evidence["rule"]: f for f in found if isinstance(f, Finding)}
    assert {f.code for f in findings.values()} == {"quality.rule_failed"}
    assert findings[length.path].severity is Severity.BREAK
    assert "NAME1" in findings[length.path].message
    assert (findings[second.path].severity, findings[second.path].business_effect) == (Severity.WARN, "bad")
    assert findings[second.path].evidence["share"] == 0.25
    assert findings[rows.path].severity is Severity.INFO
    assert "NAME1" in str(length.query)


def test_text_and_foreign_rules_are_not_run_by_name(tmp_path: Path) -> None:
    made = contract(
        tmp_path,
        """\
        schema:
          - name: T
            properties: [{name: a}]
            quality:
              - {type: text, description: names are polite}
              - {type: custom, engine: soda, implementation: 'checks'}
        """,
    )
    text, foreign = rules(ask(QualityCheck(), tmp_path, made, pa.table({"a": [1]}))).values()
    assert (text.outcome, text.reason) == ("not_run", "for people")
    assert foreign.outcome == "not_run"
    assert "soda" in str(foreign.reason)


# --- nulls ------------------------------------------------------------------------------------------------------


def test_nulls_are_passed_over_by_all_but_three_rules(tmp_path: Path) -> None:
    over = [
        "logicalTypeOptions: {pattern: 'b'}",
        "logicalTypeOptions: {minLength: 1}",
        "logicalTypeOptions: {maxLength: 1}",
        "logicalTypeOptions: {format: email}",
        "unique: true",
        "enum: [{value: c}]",
        "quality: [{metric: duplicateValues, mustBe: 0}]",
        "quality: [{metric: invalidValues, arguments: {validValues: [z]}, mustBe: 0}]",
    ]
    results = batch(
        tmp_path, {f"c{i}": (f"logicalType: string, {r}", [None] * 3, pa.string()) for i, r in enumerate(over)}
    )
    assert {seen(r) for r in results.values()} == {("passed", 0, 3)}


def test_nulls_are_counted_by_three_rules(tmp_path: Path) -> None:
    values = [None, "", "x", "N/A", None]
    cases = {
        "required": ("required: true", 2),
        "null_values": ("quality: [{metric: nullValues, mustBe: 0}]", 2),
        "missing": ("quality: [{metric: missingValues, arguments: {missingValues: ['', 'N/A']}, mustBe: 0}]", 4),
        "missing_null": ("quality: [{metric: missingValues, arguments: {missingValues: [null]}, mustBe: 0}]", 2),
    }
    results = batch(tmp_path, {n: (f"logicalType: string, {rule}", values, None) for n, (rule, _) in cases.items()})
    assert counts(results) == {n: count for n, (_, count) in cases.items()}


def test_a_value_that_did_not_fit_its_type_is_not_a_null(tmp_path: Path) -> None:
    result = one(
        tmp_path, "{name: a, logicalType: integer, required: true}", "a", [1, None, None], type=pa.int64(),
        misfits=[(1, "a", "twelve", "not a number")],
    )  # fmt: skip
    assert seen(result) == ("failed", 1, 3)


# --- keys and duplicates -----------------------------------------------------------------------------------------


def test_a_primary_key_is_one_rule_of_nulls_and_repeats(tmp_path: Path) -> None:
    made = contract(
        tmp_path,
        """\
        schema:
          - name: T
            properties:
              - {name: b, logicalType: string, primaryKey: true, primaryKeyPosition: 2, required: true}
              - {name: a, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
        """,
    )
    table = pa.table({"a": [1, 1, 1, None, 2], "b": ["x", "x", "x", "x", None]})
    results = rules(ask(QualityCheck(), tmp_path, made, table))
    assert list(results) == ["T.primaryKey"]
    key = results["T.primaryKey"]
    assert seen(key) == ("failed", 4, 5)
    assert key.samples[0] == "1 / x"
    assert len(key.samples) == 4


def test_a_key_of_one_column_implies_no_required_or_unique(tmp_path: Path) -> None:
    result = one(
        tmp_path, "{name: a, logicalType: string, primaryKey: true, required: true, unique: true}", "a", ["x", "x"]
    )
    assert result.path == "T.primaryKey"
    assert seen(result) == ("failed", 1, 2)


def test_duplicates_are_the_rows_beyond_the_first(tmp_path: Path) -> None:
    values = [1, 1, 1, 2, None, None]
    cases = {
        "u": ("unique: true", values, None),
        "d": ("quality: [{metric: duplicateValues, mustBe: 0}]", values, None),
    }
    assert counts(batch(tmp_path, cases)) == {"u": 2, "d": 2}


def test_duplicates_over_several_columns_pass_over_nulls(tmp_path: Path) -> None:
    made = contract(
        tmp_path,
        """\
        schema:
          - name: T
            properties: [{name: a}, {name: b}]
            quality: [{metric: duplicateValues, arguments: {properties: [a, b]}, mustBeLessThan: 1, unit: percent}]
        """,
    )
    table = pa.table({"a": [1, 1, 1, None, None], "b": [1, 1, 2, 1, 1]})
    result = rules(ask(QualityCheck(), tmp_path, made, table))["T.quality.0"]
    assert (*seen(result), result.observed) == ("failed", 1, 5, 20.0)


# --- operators, between, limits ----------------------------------------------------------------------------------


DEMANDS = {
    "mustBe: 2": True, "mustBe: 1": False, "mustNotBe: 2": False, "mustNotBe: 1": True,
    "mustBeGreaterThan: 1": True, "mustBeGreaterThan: 2": False, "mustBeGreaterOrEqualTo: 2": True,
    "mustBeGreaterOrEqualTo: 3": False, "mustBeLessThan: 3": True, "mustBeLessThan: 2": False,
    "mustBeLessOrEqualTo: 2": True, "mustBeLessOrEqualTo: 1": False,
    "mustBeBetween: [1, 3]": True, "mustBeBetween: [2, 3]": False, "mustBeBetween: [1, 2]": False,
    "mustNotBeBetween: [1, 3]": False, "mustNotBeBetween: [2, 3]": True, "mustNotBeBetween: [0, 2]": True,
}  # fmt: skip


def test_every_operator_and_strict_between(tmp_path: Path) -> None:
    nulls = "".join(f"          - {{metric: nullValues, {d}}}\n" for d in DEMANDS)
    rows = "".join(f"      - {{metric: rowCount, {d}}}\n" for d in DEMANDS)
    made = contract(
        tmp_path,
        "schema:\n  - name: T\n    properties:\n      - name: a\n        logicalType: integer\n        quality:\n"
        f"{nulls}    quality:\n{rows}",
    )
    results = rules(ask(QualityCheck(), tmp_path, made, pa.table({"a": pa.array([None, None], pa.int64())})))
    for prefix in ("T.a.quality", "T.quality"):
        got = {d: results[f"{prefix}.{i}"].outcome == "passed" for i, d in enumerate(DEMANDS)}
        assert got == DEMANDS, prefix


def test_minimum_and_maximum_include_their_ends_in_every_type(tmp_path: Path) -> None:
    options = {"minimum": 1, "exclusiveMinimum": 2, "maximum": 1, "exclusiveMaximum": 2}
    columns: dict[str, tuple[list[Any], Any]] = {
        "int": ([1, 2, 3, None], pa.int64()),
        "float": ([1.0, 2.0, 3.0, None], pa.float64()),
        "decimal": ([Decimal(1), Decimal(2), Decimal(3), None], pa.decimal128(9, 2)),
        "text": (["1", "2", "3", None], pa.string()),
    }
    cases = {
        f"{name}_{option}": (f"logicalType: number, logicalTypeOptions: {{{option}: 2}}", values, kind)
        for name, (values, kind) in columns.items()
        for option in options
    }
    assert counts(batch(tmp_path, cases)) == {f"{n}_{o}": c for n in columns for o, c in options.items()}


def test_nan_is_beside_every_range_and_infinity_beyond_it(tmp_path: Path) -> None:
    nan, inf = float("nan"), float("inf")
    cases = {
        "low": ("minimum: 0", [1.0, nan]), "high": ("maximum: 100", [1.0, nan]), "over": ("exclusiveMinimum: 0", [1.0, nan]),
        "step": ("multipleOf: 0.5", [1.0, nan]), "most": ("maximum: 5", [inf, -inf, 1.0]), "steps": ("multipleOf: 1", [inf, 1.0]),
    }  # fmt: skip
    asked = {n: (f"logicalType: number, logicalTypeOptions: {{{o}}}", v, pa.float64()) for n, (o, v) in cases.items()}
    assert counts(batch(tmp_path, asked)) == dict.fromkeys(cases, 1)


def test_multiples_and_integer_formats(tmp_path: Path) -> None:
    cases: dict[str, tuple[str, list[Any], Any, int]] = {
        "floats": ("multipleOf: 0.1", [0.3, 0.1, 0.7000000000000001, 0.25], pa.float64(), 1),
        "ints": ("multipleOf: 5", [10, 15, 7], pa.int64(), 1),
        "decimals": ("multipleOf: 0.05", [Decimal("0.10"), Decimal("0.15"), Decimal("0.12")], pa.decimal128(9, 2), 1),
        "halves": ("multipleOf: 0.5", [1, 2, 3], pa.int64(), 0),
        "bytes": ("format: u8", [0, 255, 256, -1, None], pa.int64(), 2),
    }
    logical = {"bytes": "integer"}
    asked = {
        n: (f"logicalType: {logical.get(n, 'number')}, logicalTypeOptions: {{{o}}}", v, k)
        for n, (o, v, k, _) in cases.items()
    }
    assert counts(batch(tmp_path, asked)) == {n: c for n, (*_, c) in cases.items()}


# --- text --------------------------------------------------------------------------------------------------------


def test_patterns_are_searched_and_lengths_count_characters(tmp_path: Path) -> None:
    cases: dict[str, tuple[str, list[Any], int]] = {
        "search": ("pattern: 'b'", ["abc", "bca", "a"], 1),
        "start": ("pattern: '^b'", ["abc", "bca", "a"], 2),
        "whole": ("pattern: '^[a-c]+$'", ["abc", "bca", "a"], 0),
        "end": ("pattern: 'c$'", ["abc", "bcc", "a"], 1),
        "characters": ("maxLength: 2", ["äö", "😀😀", "abc", None], 1),
    }
    asked = {n: (f"logicalType: string, logicalTypeOptions: {{{o}}}", v, None) for n, (o, v, _) in cases.items()}
    assert counts(batch(tmp_path, asked)) == {n: c for n, (*_, c) in cases.items()}


def test_text_formats(tmp_path: Path) -> None:
    cases = {
        "email": (["a.b+c@x-y.example.com"], ["a@b", "a b@c.de", "@x.de", "a@-x.de"]),
        "uuid": (["123e4567-e89b-12d3-a456-426614174000"], ["123e4567e89b12d3a456426614174000"]),
        "uri": (["https://example.com/x", "urn:isbn:1"], ["example.com", "a b:c"]),
        "hostname": (["db-1.example.com"], ["-x", "a..b", "a_b"]),
        "ipv4": (["10.0.0.255"], ["256.1.1.1", "1.2.3"]),
        "ipv6": (["::1", "2001:db8::8a2e:370:7334"], ["12345::", "1.2.3.4"]),
        "byte": (["YWJj", "YQ=="], ["YQ=", "??"]),
    }
    asked = {
        n: (f"logicalType: string, logicalTypeOptions: {{format: {n}}}", [*g, *b], None) for n, (g, b) in cases.items()
    }
    assert counts(batch(tmp_path, asked)) == {n: len(b) for n, (_, b) in cases.items()}


def test_sets_and_enumerations(tmp_path: Path) -> None:
    cases: list[tuple[list[Any], str, int]] = [
        (["a", "b", None], "[a]", 1), ([1, 2, None], "[1, 3]", 1), ([1, 2], "['1', x]", 1), (["1", "2"], "[1]", 1),
        ([True, False], "[true]", 1), (["it's", "x"], "[\"it's\"]", 1), ([1.0, 2.5], "[1, 2.5]", 0),
    ]  # fmt: skip
    asked = {}
    for i, (values, allowed, _) in enumerate(cases):
        rule = f"quality: [{{metric: invalidValues, arguments: {{validValues: {allowed}}}, mustBe: 0}}]"
        listed = ", ".join(f"{{value: {v}}}" for v in allowed.strip("[]").split(", "))
        asked[f"v{i}"] = (rule, values, None)
        asked[f"e{i}"] = (f"enum: [{listed}]", values, None)
    assert counts(batch(tmp_path, asked)) == {f"{k}{i}": c for i, (*_, c) in enumerate(cases) for k in "ve"}


def test_invalid_values_by_pattern(tmp_path: Path) -> None:
    text = "{name: a, quality: [{metric: invalidValues, arguments: {pattern: '^C-[0-9]+$'}, mustBeLessThan: 40, unit: percent}]}"
    result = one(tmp_path, text, "a", ["C-1", "D-1", None])
    assert (*seen(result), round(result.observed, 2)) == ("passed", 1, 3, 33.33)


# --- dates and zones ---------------------------------------------------------------------------------------------


def moments(*texts: str) -> list[dt.datetime]:
    return [dt.datetime.fromisoformat(t) for t in texts]


def test_limits_and_values_without_a_zone(tmp_path: Path) -> None:
    noon = moments("2024-06-01T12:00:00", "2024-06-01T12:00:01")
    utc = "logicalType: timestamp, logicalTypeOptions: {maximum: '2024-06-01T12:00:00'}"
    berlin = (
        "logicalType: timestamp, logicalTypeOptions: {defaultTimezone: Europe/Berlin, maximum: '2024-06-01T10:00:00Z'}"
    )
    day = "logicalType: date, logicalTypeOptions: {minimum: '2024-01-02'}"
    cases: dict[str, tuple[str, list[Any], Any]] = {
        "plain": (utc, noon, pa.timestamp("us")),
        "zoned": (utc, [v.replace(tzinfo=UTC) for v in noon], pa.timestamp("us", tz="UTC")),
        "berlin": (berlin, noon, pa.timestamp("us")),
        "day": (day, [dt.date(2024, 1, 1), dt.date(2024, 1, 2), None], None),
        "midnight": (day, moments("2024-01-01", "2024-01-02"), pa.timestamp("us")),
        "clock": (
            "logicalType: time, logicalTypeOptions: {maximum: '18:00'}", [dt.time(18), dt.time(18, 0, 1)], pa.time64("us"),
        ),
        "carries": (
            "logicalType: timestamp, logicalTypeOptions: {timezone: true}",
            ["2024-01-01T00:00:00Z", "2024-01-01T00:00:00"], None,
        ),
        "carries_none": ("logicalType: timestamp, logicalTypeOptions: {timezone: true}", moments("2024-01-01"), pa.timestamp("us")),
    }  # fmt: skip
    assert counts(batch(tmp_path, cases)) == dict.fromkeys(cases, 1)


def test_text_dates_are_read_by_their_formats(tmp_path: Path) -> None:
    text = "{name: a, logicalType: date, logicalTypeOptions: {format: 'dd.MM.yyyy|yyyy-MM-dd', minimum: '2024-01-01'}}"
    made = contract(tmp_path, f"schema:\n  - name: T\n    properties:\n      - {text}\n")
    table = pa.table({"a": ["31.12.2024", "2024-02-30", "2023-05-05", "soon", None]})
    results = rules(ask(QualityCheck(), tmp_path, made, table))
    assert seen(results["T.a.logicalTypeOptions.format"]) == ("failed", 2, 5)
    assert seen(results["T.a.logicalTypeOptions.minimum"]) == ("failed", 1, 5)


# --- nested -----------------------------------------------------------------------------------------------------


NESTED = """\
schema:
  - name: T
    properties:
      - name: lines
        logicalType: array
        logicalTypeOptions: {minItems: 1, maxItems: 2, uniqueItems: true}
        items:
          logicalType: object
          properties:
            - {name: sku, logicalType: string, required: true, logicalTypeOptions: {pattern: '^S'}}
      - name: address
        logicalType: object
        logicalTypeOptions: {required: [city]}
        properties:
          - {name: city, logicalType: string, logicalTypeOptions: {maxLength: 4}}
          - {name: zip, logicalType: string, required: true}
"""
LINES = [[{"sku": "S1"}], [], None, [{"sku": "X"}, {"sku": None}, {"sku": "S1"}], [{"sku": "S2"}, {"sku": "S2"}]]
ADDRESSES = [
    {"city": "Rome", "zip": "1"},
    {"city": None, "zip": "1"},
    None,
    {"city": "Paris", "zip": None},
    {"city": "a", "zip": "b"},
]


@pytest.mark.parametrize("as_text", [False, True], ids=["struct", "json text"])
def test_objects_and_arrays_are_looked_into(tmp_path: Path, as_text: bool) -> None:
    import json

    made = contract(tmp_path, NESTED)
    lines: list[Any] = LINES
    addresses: list[Any] = ADDRESSES
    if as_text:
        lines = [None if v is None else json.dumps(v) for v in LINES]
        addresses = [
            None if v is None else json.dumps({k: w for k, w in v.items() if w is not None}) for v in ADDRESSES
        ]
    results = rules(ask(QualityCheck(), tmp_path, made, pa.table({"lines": lines, "address": addresses})))
    counts = {path.removeprefix("T."): r.count for path, r in results.items()}
    assert counts == {
        "lines.logicalTypeOptions.minItems": 1,
        "lines.logicalTypeOptions.maxItems": 1,
        "lines.logicalTypeOptions.uniqueItems": 1,
        "lines.items.sku.required": 1,
        "lines.items.sku.logicalTypeOptions.pattern": 1,
        "address.logicalTypeOptions.required": 1,
        "address.city.logicalTypeOptions.maxLength": 1,
        "address.zip.required": 1,
    }, {p: r.reason for p, r in results.items()}


# --- references ----------------------------------------------------------------------------------------------------


REFERENCES = """\
schema:
  - name: Account
    properties: [{name: nr, logicalType: string}, {name: country, logicalType: string}]
  - name: Order
    properties:
      - {name: id, logicalType: integer, primaryKey: true}
      - {name: account, logicalType: string, relationships: [{to: Account.nr}]}
      - {name: country, logicalType: string}
    relationships:
      - {from: [Order.account, Order.country], to: [Account.nr, Account.country]}
"""


def orders(folder: Path, **options: Any) -> dict[str, RuleResult]:
    made = contract(folder, REFERENCES)
    table = pa.table({"id": [1, 2, 3, 4], "account": ["A", "B", None, "Z"], "country": ["DE", "FR", "DE", None]})
    return rules(ask(QualityCheck(), folder, made, table, object="Order", **options))


def test_references_must_exist_and_nulls_are_passed_over(tmp_path: Path) -> None:
    accounts = land(tmp_path, pa.table({"nr": ["A", "B", "B"], "country": ["DE", "DE", None]}), name="accounts")
    results = orders(tmp_path, target_keys=lambda r: replace(accounts, keys=r.target_columns))
    single, composite = results["Order.account.relationships.0"], results["Order.relationships.0"]
    assert (*seen(single), single.samples) == ("failed", 1, 4, ("4 (account: Z)",))
    assert (*seen(composite), composite.samples) == ("failed", 1, 4, ("2 (account: B, country: FR)",))


def test_references_compare_across_types(tmp_path: Path) -> None:
    made = contract(
        tmp_path,
        """\
        schema:
          - name: A
            properties: [{name: nr, logicalType: integer}]
          - name: B
            properties: [{name: a, logicalType: string, relationships: [{to: A.nr}]}]
        """,
    )
    keys = land(tmp_path, pa.table({"nr": [1, 2]}), name="keys")
    found = ask(QualityCheck(), tmp_path, made, pa.table({"a": ["1", "3"]}), object="B", target_keys=lambda _r: keys)
    assert seen(rules(found)["B.a.relationships.0"]) == ("failed", 1, 2)


def test_a_target_that_cannot_be_read_is_an_error_not_a_pass(tmp_path: Path) -> None:
    results = orders(tmp_path, target_keys=refuse)
    for result in (results["Order.account.relationships.0"], results["Order.relationships.0"]):
        assert result.outcome == "errored"
        assert "the server is down" in str(result.reason)
    assert results["Order.primaryKey"].outcome == "passed"


# --- sql -----------------------------------------------------------------------------------------------------------


SQL = """\
schema:
  - name: Order Lines
    physicalName: ol
    properties:
      - {name: the amount, physicalName: AMT, logicalType: number, quality: [{type: sql, query: 'SELECT max(${property}) FROM ${object}', mustBeLessThan: 10}]}
    quality:
      - {type: sql, query: 'SELECT count(*) FROM "Order Lines" l JOIN Customer c ON c.id = l."the amount"', mustBe: 1}
      - {type: sql, query: 'SELECT 1 FROM range(3)', mustBe: 1}
      - {type: sql, query: 'SELECT NULL', mustBe: 1}
      - {type: sql, query: 'SELECT count(*) FROM nowhere', mustBe: 1}
      - {type: sql, query: "SELECT 'ok'", mustBe: ok}
      - {type: sql, query: 'SELECT 100.0 * count(*) / 3 FROM ${object}', mustBeBetween: [66, 67]}
  - name: Customer
    properties: [{name: id, physicalName: CID, logicalType: integer}]
"""


def test_sql_sees_the_contract_s_names(tmp_path: Path) -> None:
    made = contract(tmp_path, SQL)
    customers = land(tmp_path, pa.table({"CID": [3, 4]}), name="customers")
    found = ask(QualityCheck(), tmp_path, made, pa.table({"AMT": [3, 12]}), sibling=lambda _name: customers)
    largest, joined, many, null, nowhere, word, share = rules(found).values()
    assert (largest.outcome, largest.observed, largest.count, largest.total) == ("failed", 12, None, None)
    assert (joined.outcome, joined.observed) == ("passed", 1)
    assert (many.outcome, many.reason) == ("errored", "the statement returns 2 row(s); a rule needs exactly one value")
    assert null.outcome == "errored"
    assert nowhere.outcome == "errored"
    assert "nowhere" in str(nowhere.reason)
    assert word.outcome == "passed", word.reason
    assert share.outcome == "passed"


def test_sql_that_gives_no_number_is_an_error_and_dates_are_compared(tmp_path: Path) -> None:
    cases = {
        "nan": ("SELECT 'NaN'::DOUBLE", "mustNotBe: 5", "errored"),
        "nan_between": ("SELECT 'NaN'::DOUBLE", "mustNotBeBetween: [1, 5]", "errored"),
        "nothing": ("SELECT NULL", "mustNotBe: 5", "errored"),
        "text": ("SELECT 'x'", "mustBeGreaterThan: 1", "errored"),
        "rows": ("SELECT a FROM T", "mustBe: 1", "errored"),
        "date": ("SELECT max(DATE '2024-01-31')", "mustBe: '2024-01-31'", "passed"),
        "moment": ("SELECT TIMESTAMP '2024-01-31 10:00:00'", "mustBe: '2024-01-31T10:00:00'", "passed"),
        "late": ("SELECT DATE '2024-02-01'", "mustBe: '2024-01-31'", "failed"),
    }
    body = "".join(f'      - {{id: {n}, type: sql, query: "{q}", {op}}}\n' for n, (q, op, _) in cases.items())
    made = contract(tmp_path, f"schema:\n  - name: T\n    properties: [{{name: a}}]\n    quality:\n{body}")
    found = rules(ask(QualityCheck(), tmp_path, made, pa.table({"a": [1, 2]})))
    assert {r.id: r.outcome for r in found.values()} == {n: outcome for n, (_, _, outcome) in cases.items()}


def test_sql_that_never_ends_is_stopped(tmp_path: Path) -> None:
    made = contract(
        tmp_path,
        """\
        schema:
          - name: T
            properties: [{name: a, logicalType: integer, required: true}]
            quality:
              - type: sql
                query: SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE a.range + b.range = 7
                mustBe: 0
        """,
    )
    found = rules(ask(QualityCheck(), tmp_path, made, pa.table({"a": [1]}), settings={"rule_seconds": 0.5}))
    assert found["T.quality.0"].outcome == "errored"
    assert "was stopped" in str(found["T.quality.0"].reason)
    assert found["T.a.required"].outcome == "passed"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM read_text('{file}')",
        "SELECT count(*) FROM '{file}'",
        "COPY (SELECT 1) TO '{file}.out'",
        "ATTACH '{file}' AS x",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "CREATE TABLE x AS SELECT 1",
        "INSERT INTO land0.main.rows SELECT * FROM land0.main.rows",
    ],
)
def test_the_workspace_itself_is_locked(tmp_path: Path, query: str) -> None:
    import duckdb

    from weighbridge.checks.workspace import Workspace

    made = contract(tmp_path, "schema: [{name: T, properties: [{name: a}]}]\n")
    secret = tmp_path / "secret.txt"
    secret.write_text("secret", encoding="utf-8")
    landing = land(tmp_path, pa.table({"a": [1]}))
    with Workspace(landing, made.objects[0]) as workspace:
        if query.startswith("CREATE"):
            workspace.rows(query)  # in memory of this workspace only; gone with it
        else:
            with pytest.raises(duckdb.Error):
                workspace.rows(query.format(file=secret))
    assert landing.connect().execute("SELECT count(*) FROM rows").fetchone() == (1,)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.odcs.yaml", "landing.duckdb", "secret.txt"]


# --- Great Expectations' own rules ---------------------------------------------------------------------------------


def test_any_engine_spelling_in_string_and_object_form(tmp_path: Path) -> None:
    forms = [
        "{type: expect_column_values_to_be_in_set, kwargs: {value_set: [a]}}",
        '"type: expect_column_values_to_be_in_set\\nkwargs: {value_set: [a]}"',
        """'{"expectation_type": "ExpectColumnValuesToBeInSet", "kwargs": {"column": "the name", "value_set": ["a"]}}'""",
    ]
    engines = ["greatExpectations", "great-expectations", "GREATEXPECTATIONS"]
    body = "".join(
        f"          - {{type: custom, engine: {engine}, implementation: {form}}}\n"
        for engine in engines
        for form in forms
    )
    made = contract(
        tmp_path,
        "schema:\n  - name: T\n    properties:\n      - name: the name\n        physicalName: NAME\n        quality:\n"
        + body,
    )
    results = rules(ask(QualityCheck(), tmp_path, made, pa.table({"NAME": ["a", "b", None]})))
    assert len(results) == 9
    assert {seen(r) for r in results.values()} == {("failed", 1, 3)}, [r.reason for r in results.values()]


MORE = {
    "expect_column_mean_to_be_between": ({"column": "n", "min_value": 2, "max_value": 2}, "passed"),
    "expect_column_max_to_be_between": ({"column": "n", "max_value": 2}, "failed"),
    "expect_column_sum_to_be_between": ({"column": "n", "min_value": 6, "max_value": 6}, "passed"),
    "expect_column_unique_value_count_to_be_between": ({"column": "n", "min_value": 3, "max_value": 3}, "passed"),
    "expect_column_distinct_values_to_be_in_set": ({"column": "w", "value_set": ["a", "b"]}, "passed"),
    "expect_column_values_to_be_unique": ({"column": "n"}, "passed"),
    "expect_column_values_to_not_match_regex": ({"column": "w", "regex": "^z"}, "passed"),
    "expect_column_values_to_match_regex_list": ({"column": "w", "regex_list": ["^a", "^b"]}, "passed"),
    "expect_column_pair_values_a_to_be_greater_than_b": ({"column_A": "m", "column_B": "n"}, "passed"),
    "expect_compound_columns_to_be_unique": ({"column_list": ["n", "w"]}, "passed"),
    "expect_table_columns_to_match_set": ({"column_set": ["n", "m", "w"], "exact_match": False}, "passed"),
    "expect_table_row_count_to_be_between": ({"min_value": 4}, "failed"),
    "expect_column_to_exist": ({"column": "n"}, "passed"),
    "expect_column_median_to_be_between": ({"column": "n", "min_value": 2, "max_value": 2}, "passed"),
    "expect_column_stdev_to_be_between": ({"column": "n", "min_value": 0.9, "max_value": 1.1}, "passed"),
    "expect_column_quantile_values_to_be_between": (
        {"column": "n", "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[2, 2]]}}, "passed",
    ),
    "unexpected_rows_expectation": ({"unexpected_rows_query": "SELECT * FROM {batch} WHERE n > 2"}, "failed"),
}  # fmt: skip


def test_many_core_expectations_run_on_duckdb(tmp_path: Path) -> None:
    import json

    bodies = "\n".join(
        f"              - {{type: custom, engine: greatExpectations, id: {kind}, "
        f"implementation: {{type: {kind}, kwargs: {json.dumps(kwargs)}}}}}"
        for kind, (kwargs, _) in MORE.items()
    )
    made = contract(
        tmp_path,
        "schema:\n  - name: T\n    properties: [{name: n}, {name: m}, {name: w}]\n    quality:\n"
        + bodies.replace("              -", "      -"),
    )
    table = pa.table({"n": [1, 2, 3], "m": [2, 3, 4], "w": ["a", "b", "a"]})
    results = {r.id: r for r in rules(ask(QualityCheck(), tmp_path, made, table)).values()}
    assert {k: r.outcome for k, r in results.items()} == {k: v for k, (_, v) in MORE.items()}, {
        k: r.reason for k, r in results.items() if r.reason
    }


def test_an_exception_inside_great_expectations_is_an_error(tmp_path: Path) -> None:
    text = (
        "{name: a, logicalType: string, required: true, quality: [{type: custom, engine: greatExpectations, "
        "implementation: {type: expect_column_mean_to_be_between, kwargs: {min_value: 1}}}]}"
    )
    made = contract(tmp_path, f"schema:\n  - name: T\n    properties:\n      - {text}\n")
    results = rules(ask(QualityCheck(), tmp_path, made, pa.table({"a": ["x", "y"]})))
    assert results["T.a.quality.0"].outcome == "errored"
    assert results["T.a.required"].outcome == "passed"


def test_an_expectation_may_not_write(tmp_path: Path) -> None:
    text = (
        "{name: a, quality: [{type: custom, engine: greatExpectations, implementation: {type: "
        "unexpected_rows_expectation, kwargs: {unexpected_rows_query: 'DROP TABLE {batch}'}}}]}"
    )
    result = one(tmp_path, text, "a", [1])
    assert (result.outcome, "only SELECT" in str(result.reason)) == ("errored", True)


# --- bad input -----------------------------------------------------------------------------------------------------


def test_a_column_that_the_system_lacks_is_an_error_by_name(tmp_path: Path) -> None:
    made = contract(
        tmp_path, "schema: [{name: T, properties: [{name: a, required: true}, {name: gone, required: true}]}]\n"
    )
    results = rules(ask(QualityCheck(), tmp_path, made, pa.table({"a": [1]})))
    assert results["T.a.required"].outcome == "passed"
    assert (results["T.gone.required"].outcome, results["T.gone.required"].reason) == (
        "errored",
        "the system has no column 'gone'",
    )


def test_rules_about_rows_prove_nothing_without_rows(tmp_path: Path) -> None:
    made = contract(
        tmp_path,
        """\
        schema:
          - name: T
            properties:
              - {name: a, required: true, quality: [{metric: nullValues, mustBeLessThan: 5, unit: percent}]}
            quality: [{metric: rowCount, mustBeGreaterThan: 0}]
        """,
    )
    found = ask(QualityCheck(), tmp_path, made, pa.table({"a": pa.array([], pa.int64())}))
    results = rules(found)
    assert results["T.a.required"].outcome == results["T.a.quality.0"].outcome == "not_run"
    assert (results["T.quality.0"].outcome, results["T.quality.0"].observed) == ("failed", 0)
    assert [f.code for f in found if isinstance(f, Finding)] == ["quality.no_rows", "quality.rule_failed"]


NAMES = [
    'it"s',
    "two words",
    "😀",
    "select",
    "qualify",
    "n" * 300,
    "a'b",
    "a;b--",
    "x.y",
    "100%",
    ":colon",
    "{brace}",
    "CamelCase",
]


def test_every_rule_works_on_odd_names(tmp_path: Path) -> None:
    import json

    body = "".join(
        f"      - {{name: {json.dumps(name, ensure_ascii=False)}, logicalType: string, required: true, unique: true, "
        "logicalTypeOptions: {maxLength: 1, pattern: a}, enum: [{value: a}]}\n"
        for name in NAMES
    )
    made = contract(tmp_path, f"schema:\n  - name: T\n    properties:\n{body}")
    results = rules(ask(QualityCheck(), tmp_path, made, pa.table({n: ["a", "bb", "a", None] for n in NAMES})))
    assert len(results) == 5 * len(NAMES)
    assert {r.count for r in results.values()} == {1}, [r.reason for r in results.values() if r.count != 1]


def test_an_exploding_pattern_is_searched_in_linear_time(tmp_path: Path) -> None:
    import time

    started = time.perf_counter()
    text = "{name: a, logicalType: string, logicalTypeOptions: {pattern: '^(a+)+$'}}"
    assert one(tmp_path, text, "a", ["a" * 5_000 + "!"]).count == 1
    assert time.perf_counter() - started < 20


def test_mixed_types_in_text_are_counted_not_crashed(tmp_path: Path) -> None:
    text = "{name: a, logicalType: number, logicalTypeOptions: {minimum: 2}}"
    assert seen(one(tmp_path, text, "a", ["1", "x", "", "3", "NaN", "inf", None])) == ("failed", 2, 7)


def test_at_most_twenty_samples_masked(tmp_path: Path) -> None:
    made = contract(
        tmp_path,
        """\
        schema:
          - name: T
            properties:
              - {name: id, logicalType: string, primaryKey: true, classification: restricted}
              - {name: mail, logicalType: string, logicalTypeOptions: {maxLength: 3}}
        """,
    )
    table = pa.table({"id": [f"C-{i:06}" for i in range(100)], "mail": [f"user{i}@example.com" for i in range(100)]})
    found = ask(QualityCheck(), tmp_path, made, table)
    result = rules(found)["T.mail.logicalTypeOptions.maxLength"]
    assert (result.count, len(result.samples)) == (100, 20)
    shown = " ".join(result.samples) + " ".join(str(f) for f in found)
    assert "example.com" not in shown
    assert "000001" not in shown
    assert "user1" not in shown


def test_the_check_says_nothing_of_a_contract_without_data_promises(tmp_path: Path) -> None:
    made = contract(tmp_path, "schema: [{name: T, properties: [{name: a}]}]\n")
    assert ask(QualityCheck(), tmp_path, made, pa.table({"a": [1]})) == []


def test_a_slower_stock_engine_takes_over_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weighbridge.checks import gx

    monkeypatch.setattr(gx, "_SELF_TEST", ["the canary died"])
    made = contract(
        tmp_path,
        """\
        schema:
          - name: T
            properties:
              - {name: id, logicalType: integer, primaryKey: true}
              - {name: a, logicalType: string, required: true, unique: true, logicalTypeOptions: {maxLength: 2, pattern: '^a'}}
              - {name: n, logicalType: number, logicalTypeOptions: {minimum: 2}}
        """,
    )
    table = pa.table({"id": [1, 2, 2], "a": ["abc", None, "b"], "n": [1.5, 2.0, None]})
    found = ask(QualityCheck(), tmp_path, made, table)
    slower = next(f for f in found if isinstance(f, Finding))
    assert (slower.code, "the canary died" in slower.message) == ("quality.slower_engine", True)
    assert [r.count for r in rules(found).values()] == [1, 1, 0, 1, 1, 1], [r.reason for r in rules(found).values()]


def test_context_is_only_read(tmp_path: Path) -> None:
    assert context(tmp_path).permissions.rung >= 0
    assert schema_of(pa.table({"a": [1]})).column("a") is not None
