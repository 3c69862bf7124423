"""Lint: what the standard's schema lets through and no rule could run as written."""
# ruff: noqa: E501 - one mistake a line reads better than wrapped ones

from __future__ import annotations

from pathlib import Path

import pytest

from weighbridge.contracts.expectations import CORE
from weighbridge.contracts.lint import pattern_problem
from weighbridge.contracts.loader import check

HEAD = """\
apiVersion: v3.1.0
kind: DataContract
id: x
version: "1"
servers: [{server: crm, type: custom}]
schema:
  - name: T
    properties:
      - name: a
        logicalType: string
"""


def lint(folder: Path, text: str, **options) -> list[tuple[str, int, str]]:
    path = folder / "x.odcs.yaml"
    path.write_text(text, encoding="utf-8")
    return [(p.severity, p.line, p.message) for p in check(path, **options)[1]]


def prop(text: str) -> str:
    return HEAD + "".join(f"        {line}\n" for line in text.splitlines())


def rule(text: str) -> str:
    return prop(f"quality:\n  - {text}")


def table(text: str) -> str:
    return HEAD + "".join(f"    {line}\n" for line in text.splitlines())


BAD = {
    "look-around": (prop("logicalTypeOptions: {pattern: '^(?=a)b'}"), "at character"),
    "back-reference": (prop(r"logicalTypeOptions: {pattern: '(a)\1'}"), "cannot be searched"),
    "bad regex": (prop("logicalTypeOptions: {pattern: 'a(b'}"), "cannot be searched"),
    "duplicate property": (HEAD + "      - {name: a}\n", "stands twice"),
    "duplicate object": (HEAD + "  - {name: T, properties: [{name: b}]}\n", "stands twice"),
    "crossed lengths": (prop("logicalTypeOptions: {minLength: 5, maxLength: 2}"), "above"),
    "options without a type": (HEAD + "      - {name: b, logicalTypeOptions: {maxLength: 2}}\n", "need a logicalType"),
    "unknown severity": (rule("{metric: nullValues, mustBe: 0, severity: fatal}"), "severity"),
    "no operator": (rule("{metric: nullValues}"), "this one has none"),
    "two operators": (rule("{metric: nullValues, mustBe: 0, mustBeLessThan: 3}"), "mustBe and mustBeLessThan"),
    "operator not a number": (rule("{metric: nullValues, mustBe: many}"), "needs a number"),
    "between reversed": (rule("{metric: nullValues, mustBeBetween: [5, 1]}"), "smaller number first"),
    "unknown metric": (rule("{metric: rowcount, mustBe: 0}"), "rowcount"),
    "no metric": (rule("{type: library, mustBe: 0}"), "needs a metric"),
    "no metric, type left out": (rule("{mustBe: 0}"), "needs a metric"),
    "unknown unit": (rule("{metric: nullValues, mustBe: 0, unit: promille}"), "unit"),
    "row count of a property": (rule("{metric: rowCount, mustBe: 0}"), "belongs to the object"),
    "nulls of an object": (table("quality: [{metric: nullValues, mustBe: 0}]"), "belongs to a property"),
    "valid values missing": (rule("{metric: invalidValues, mustBe: 0}"), "validValues or arguments.pattern"),
    "valid values empty": (rule("{metric: invalidValues, mustBe: 0, arguments: {validValues: []}}"), "not empty"),
    "valid values by a bad pattern": (rule("{metric: invalidValues, mustBe: 0, arguments: {pattern: '('}}"), "pattern"),
    "unknown argument": (rule("{metric: invalidValues, mustBe: 0, arguments: {validValue: [a]}}"), "validValue"),
    "missing values missing": (rule("{metric: missingValues, mustBe: 0}"), "missingValues needs"),
    "duplicates of nothing": (table("quality: [{metric: duplicateValues, mustBe: 0}]"), "arguments.properties"),
    "duplicates of a stranger": (
        table("quality: [{metric: duplicateValues, mustBe: 0, arguments: {properties: [z]}}]"), "no property 'z'",
    ),
    "sql that writes": (rule("{type: sql, query: 'DELETE FROM T', mustBe: 0}"), "only SELECT"),
    "two statements": (rule("{type: sql, query: 'SELECT 1; DROP TABLE T', mustBe: 0}"), "2 statements"),
    "sql that is none": (rule("{type: sql, query: 'SELEC 1 FRM', mustBe: 0}"), "the statement"),
    "sql that reads files": (rule("{type: sql, query: \"SELECT count(*) FROM read_csv('/etc/passwd')\", mustBe: 0}"), "read_csv"),
    "sql that reads a file by name": (rule("{type: sql, query: 'SELECT count(*) FROM \"/etc/passwd\"', mustBe: 0}"), "reads the file"),
    "sql that waits": (rule("{type: sql, query: 'SELECT pg_sleep(1000)', mustBe: 0}"), "pg_sleep"),
    "sql that writes inside": (rule("{type: sql, query: 'WITH x AS (DELETE FROM T RETURNING 1) SELECT 1 FROM x', mustBe: 0}"), "DELETE"),
    "sql without a query": (rule("{type: sql, mustBe: 0}"), "needs a query"),
    "property in a rule of the object": (
        table("quality: [{type: sql, query: 'SELECT count(${property}) FROM ${object}', mustBe: 0}]"), "stands for nothing",
    ),
    "custom without a body": (rule("{type: custom, engine: greatExpectations}"), "implementation"),
    "unknown expectation": (
        rule("{type: custom, engine: greatExpectations, implementation: {type: expect_column_values_to_not_be_nul, kwargs: {}}}"),
        "did you mean expect_column_values_to_not_be_null",
    ),
    "expectation in broken text": (rule("{type: custom, engine: greatExpectations, implementation: 'type: [x'}"), "implementation"),
    "operator on text": (rule("{type: text, description: hm, mustBe: 3}"), "says nothing"),
    "rule ids twice": (prop("quality:\n  - {id: r, metric: nullValues, mustBe: 0}\n  - {id: r, metric: nullValues, mustBe: 1}"), "rule id 'r'"),
    "bad date limit": (HEAD + "      - {name: d, logicalType: date, logicalTypeOptions: {minimum: 'soon'}}\n", "not a date"),
    "bad date format": (HEAD + "      - {name: d, logicalType: date, logicalTypeOptions: {format: 'YYYY-QQ'}}\n", "not known"),
    "bad zone": (HEAD + "      - {name: d, logicalType: timestamp, logicalTypeOptions: {defaultTimezone: Mars/Base}}\n", "time zone"),
    "crossed limits": (HEAD + "      - {name: n, logicalType: integer, logicalTypeOptions: {minimum: 5, maximum: 1}}\n", "above the largest"),
    "old version": (HEAD.replace("v3.1.0", "v2.2.2"), "v2.2.2 is not read"),
    "no object": ("\n".join(HEAD.splitlines()[:5]) + "\nschema: []\n", "promises no object"),
    "sla about a stranger": (HEAD + "slaProperties: [{property: latency, value: 1, element: Z.a}]\n", "no object 'Z'"),
    "closed is not a word": (table("customProperties: [{property: weighbridge.closed, value: 'yes'}]"), "true or false"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_every_mistake_is_one_error_with_its_line(tmp_path: Path, case: str) -> None:
    text, words = BAD[case]
    errors = [(line, m) for severity, line, m in lint(tmp_path, text) if severity == "error"]
    assert any(words in m for _, m in errors), errors
    assert all(line > 0 for line, _ in errors)


def test_the_head_itself_is_clean(tmp_path: Path) -> None:
    assert lint(tmp_path, HEAD) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "slaProperties: [{property: freshnes, value: 1}]\n", "did you mean freshness"),
        (table("customProperties: [{property: weighbridge.close, value: true}]"), "weighbridge.closed"),
        (rule("{type: custom, engine: soda, implementation: 'x'}"), "not run here"),
        (HEAD.replace("servers: [{server: crm, type: custom}]\n", ""), "names no servers"),
        (prop("logicalTypeOptions: {format: iban}"), "format 'iban' is not known and is not run"),
    ],
)
def test_what_still_works_is_a_warning(tmp_path: Path, text: str, words: str) -> None:
    found = lint(tmp_path, text)
    assert [s for s, _, _ in found] == ["warning"], found
    assert words in found[0][2]


def test_an_unknown_system_is_an_error_where_systems_are_known(tmp_path: Path) -> None:
    assert any("did you mean 'crm2'" in m for _, _, m in lint(tmp_path, HEAD, systems=["crm2"]))
    assert lint(tmp_path, HEAD, systems=["crm"]) == []


def test_an_exploding_pattern_is_bounded() -> None:
    import time

    started = time.perf_counter()
    assert pattern_problem("(" * 500 + "a" + "){1,1000}" * 500) is not None
    assert pattern_problem("(a+)+$") is None  # RE2 searches it in linear time
    assert time.perf_counter() - started < 2


def test_the_list_of_core_expectations_is_the_installed_one() -> None:
    from weighbridge.checks import gx  # importing it quiets the deprecations of its dependencies

    assert gx.VERSION.startswith("1.24")
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    installed = {n for n in list_registered_expectation_implementations() if n.startswith(("expect_", "unexpected_"))}
    ours = {"expect_failing_rows_to_meet", "expect_query_to_meet"}
    assert installed - ours == CORE
