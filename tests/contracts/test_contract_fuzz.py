"""Whatever a contract file holds, loading it ends in a contract or in complaints, never in anything else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weighbridge.contracts._sql import refusal
from weighbridge.contracts.lint import pattern_problem
from weighbridge.contracts.loader import check
from weighbridge.contracts.rules import compile_rules

GOOD = """\
apiVersion: v3.1.0
kind: DataContract
id: crm
version: "1"
servers: [{server: crm, type: custom}]
schema:
  - name: Account
    properties:
      - {name: id, logicalType: string, primaryKey: true}
      - name: amount
        logicalType: number
        logicalTypeOptions: {minimum: 0, maximum: 10}
        relationships: [{to: Account.id}]
        quality:
          - {metric: nullValues, mustBeLessThan: 5, unit: percent}
          - {type: sql, query: 'SELECT count(*) FROM ${object}', mustBe: 1}
          - {type: custom, engine: greatExpectations, implementation: {type: expect_column_to_exist, kwargs: {}}}
    quality: [{metric: rowCount, mustBeBetween: [1, 5]}]
slaProperties: [{property: latency, value: 4, unit: h, element: Account.amount}]
customProperties: [{property: weighbridge.closed, value: true}]
"""
SNIPPETS = st.sampled_from(
    [
        "null",
        "[]",
        "{}",
        "-1",
        "1e400",
        "true",
        "'x'",
        "[1, [2]]",
        "{a: {b: 1}}",
        "!!int x",
        "&a",
        "*a",
        ": ",
        "- ",
        "#",
        '"',
        "~",
        "\t",
        "\x85",
    ]
)
quick = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def ends_well(path: Path) -> None:
    contract, problems = check(path)
    assert contract is not None or any(p.severity == "error" for p in problems)
    if contract is not None:
        for item in contract.objects:
            compile_rules(contract, item)


@quick
@given(data=st.binary(max_size=300))
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(data)
    ends_well(path)


@quick
@given(at=st.integers(0, len(GOOD)), cut=st.integers(0, 40), snippet=SNIPPETS)
def test_a_good_contract_with_a_piece_replaced(tmp_path: Path, at: int, cut: int, snippet: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(GOOD[:at] + snippet + GOOD[at + cut :], encoding="utf-8")
    ends_well(path)


def scalars(node: object, path: tuple = ()) -> list[tuple]:
    if isinstance(node, dict):
        return [p for k, v in node.items() for p in scalars(v, (*path, k))] + [path]
    if isinstance(node, list):
        return [p for i, v in enumerate(node) for p in scalars(v, (*path, i))] + [path]
    return [path]


VALUES = (None, [], {}, -1, 1.5, True, "x", "", [None], {"a": []}, [[1]], 10**20, "no.such", "\u0000x")


@pytest.mark.slow
@pytest.mark.parametrize("value", VALUES, ids=[repr(v) for v in VALUES])
def test_any_value_of_a_contract_may_be_of_any_type(tmp_path: Path, value: object) -> None:
    import copy
    import json

    import yaml

    data = yaml.safe_load(GOOD)
    for place in scalars(data):
        changed = copy.deepcopy(data)
        node = changed
        if not place:
            continue
        for step in place[:-1]:
            node = node[step]
        node[place[-1]] = value
        path = tmp_path / "x.yaml"
        path.write_text(json.dumps(changed), encoding="utf-8")
        ends_well(path)


@quick
@given(st.text(max_size=60))
def test_any_text_as_a_pattern_or_a_statement(text: str) -> None:
    assert pattern_problem(text) is None or isinstance(pattern_problem(text), str)
    refused = refusal(text)
    assert refused is None or isinstance(refused, str)
