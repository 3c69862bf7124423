"""What a contract promises about the inside of objects, arrays, maps and vectors is counted, or says why not."""

# ruff: noqa: E501 - a rule and what it counts read best on one line

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from contract_kit import HEAD, ask, contract, land

from weighbridge.checks.base import RuleResult
from weighbridge.checks.quality import QualityCheck
from weighbridge.contracts.loader import check

CONTRACT = """\
schema:
  - name: T
    properties:
      - name: a
        logicalType: object
        properties:
          - {name: key, physicalName: K, logicalType: string, primaryKey: true, enum: [{value: x}]}
          - name: q.r
            logicalType: string
            relationships: [{to: U.id}]
            quality:
              - {metric: nullValues, mustBe: 0}
              - {metric: duplicateValues, mustBe: 0}
              - {type: custom, engine: greatExpectations, implementation: {type: expect_column_values_to_not_be_null}}
          - name: in
            logicalType: object
            properties:
              - name: n
                logicalType: integer
                unique: true
                quality: [{type: sql, query: 'SELECT count(*) FROM ${object} WHERE ${property} = 1', mustBe: 2}]
      - name: list
        logicalType: array
        items: {logicalType: string, required: true, unique: true, logicalTypeOptions: {maxLength: 1}}
      - name: m
        logicalType: map
        map:
          key: {logicalType: string, logicalTypeOptions: {maxLength: 1}}
          value: {logicalType: integer, required: true, logicalTypeOptions: {minimum: 2}, quality: [{metric: nullValues, mustBeLessThan: 1}]}
      - {name: v, logicalType: vector, logicalTypeOptions: {dimensions: 3, elementType: float32}}
      - {name: phone, logicalType: string, logicalTypeOptions: {format: phone}}
  - name: U
    properties: [{name: id, logicalType: string}]
"""
EXPECTED: dict[str, tuple[str, Any]] = {
    "a.primaryKey": ("failed", 2),  # one repeats, one is absent
    "a.key.enum": ("failed", 1),
    "a.q.r.relationships.0": ("failed", 1),
    "a.q.r.quality.0": ("failed", 1),
    "a.q.r.quality.1": ("failed", 1),
    "a.q.r.quality.2": ("errored", None),
    "a.in.n.unique": ("failed", 1),
    "a.in.n.quality.0": ("passed", None),
    "list.items.required": ("failed", 1),
    "list.items.unique": ("errored", None),
    "list.items.logicalTypeOptions.maxLength": ("failed", 1),
    "m.map.key.logicalTypeOptions.maxLength": ("failed", 1),
    "m.map.value.required": ("failed", 1),
    "m.map.value.logicalTypeOptions.minimum": ("failed", 2),
    "m.map.value.quality.0": ("failed", 1),
    "v.logicalTypeOptions.dimensions": ("failed", 2),
    "phone.logicalTypeOptions.format": ("not_run", None),
}


def rows() -> pa.Table:
    return pa.table(
        {
            "a": [
                {"K": "x", "q.r": "u", "in": {"n": 1}},
                {"K": "x", "q.r": "u", "in": {"n": 1}},
                {"K": "y", "q.r": "lost", "in": {"n": 2}},
                {"K": "x2", "q.r": None, "in": None},
                None,
            ],
            "list": [["a"], ["a", None], ["bb"], [], None],
            "m": pa.array(
                [[("kk", 1)], [("k", 3), ("l", None)], [("k", 1)], [], None], pa.map_(pa.string(), pa.int64())
            ),
            "v": pa.array([[1.0, 2, 3], [1.0], [], None, None]),
            "phone": ["1"] * 5,
        }
    )


def outcomes(found: list[Any]) -> dict[str, tuple[str, Any]]:
    return {r.path.removeprefix("T."): (r.outcome, r.count) for r in found if isinstance(r, RuleResult)}


def test_every_promise_inside_ends_by_name(tmp_path: Path) -> None:
    made = contract(tmp_path, CONTRACT)
    keys = land(tmp_path, pa.table({"id": ["u"]}), keys=("id",), name="keys")
    found = ask(QualityCheck(), tmp_path, made, rows(), object="T", target_keys=lambda _: keys)
    expected = EXPECTED | {"a.key.enum": ("failed", 2)}
    assert outcomes(found) == expected


def test_a_map_in_json_text_is_looked_into(tmp_path: Path) -> None:
    made = contract(
        tmp_path,
        """\
        schema:
          - name: T
            properties:
              - name: m
                logicalType: map
                map:
                  key: {logicalType: string, logicalTypeOptions: {maxLength: 1}}
                  value: {logicalType: integer, required: true, logicalTypeOptions: {minimum: 2}}
        """,
    )
    table = pa.table({"m": ['{"kk": 1}', '{"k": null}', '{"k": 3}', None]})
    assert outcomes(ask(QualityCheck(), tmp_path, made, table)) == {
        "m.map.key.logicalTypeOptions.maxLength": ("failed", 1),
        "m.map.value.required": ("failed", 1),
        "m.map.value.logicalTypeOptions.minimum": ("failed", 1),
    }


def test_an_object_in_json_text_has_keys_and_references(tmp_path: Path) -> None:
    made = contract(
        tmp_path,
        """\
        schema:
          - name: T
            properties:
              - name: a
                logicalType: object
                properties:
                  - {name: key, physicalName: K, logicalType: string, primaryKey: true}
                  - name: in
                    logicalType: object
                    properties:
                      - {name: 'q"x', logicalType: string, unique: true, relationships: [{to: U.id}]}
          - name: U
            properties: [{name: id, logicalType: string}]
        """,
    )
    keys = land(tmp_path, pa.table({"id": ["u"]}), keys=("id",), name="keys")
    table = pa.table(
        {
            "a": [
                '{"K": 1, "in": {"q\\"x": "u"}}',
                '{"K": 1, "in": {"q\\"x": "u"}}',
                '{"K": null, "in": {"q\\"x": "lost"}}',
                None,
            ]
        }
    )
    found = ask(QualityCheck(), tmp_path, made, table, object="T", target_keys=lambda _: keys)
    assert outcomes(found) == {
        "a.primaryKey": ("failed", 3),
        'a.in.q"x.unique': ("failed", 1),
        'a.in.q"x.relationships.0': ("failed", 1),
    }


def test_mistakes_inside_a_map_are_found(tmp_path: Path) -> None:
    path = tmp_path / "c.odcs.yaml"
    path.write_text(HEAD + CONTRACT.replace("maxLength: 1}}\n          value", "pattern: '('}}\n          value"))
    assert [p.line for p in check(path)[1] if p.severity == "error"] == [34]


def test_the_default_element_of_service_levels(tmp_path: Path) -> None:
    from weighbridge.contracts.rules import compile_sla

    body = CONTRACT + "slaDefaultElement: T.phone\nslaProperties: [{property: retention, value: 3, unit: y}]\n"
    made = contract(tmp_path, body)
    assert [r.columns for o in made.objects for r in compile_sla(made, o)] == [("phone",)]
