"""Rules and points: every promise once, in the order of the file, with the scale that the contract asks for."""

from __future__ import annotations

from pathlib import Path

import pytest
from contract_kit import contract

from weighbridge.contracts.loader import ContractError
from weighbridge.contracts.points import points, scale_of
from weighbridge.contracts.rules import KINDS, compile_rules
from weighbridge.contracts.scale import Scale

BODY = """\
schema:
  - name: A_SalesOrder
    id: order
    physicalName: SERVICE/A_SalesOrder
    properties:
      - name: SalesOrder
        id: number
        logicalType: string
        primaryKey: true
        required: true
        unique: true
      - name: SoldToParty
        logicalType: string
        required: true
        logicalTypeOptions: {maxLength: 10, pattern: '^C'}
        enum: [{value: a}]
        relationships: [{to: Customer.number}]
        quality:
          - {id: few_nulls, metric: nullValues, mustBeLessThan: 1, dimension: completeness, severity: info}
          - {type: text, description: looks right}
      - name: address
        logicalType: object
        properties: [{name: city, logicalType: string, required: true}]
    quality:
      - {id: order_rows, metric: rowCount, mustBeBetween: [1, 9]}
  - name: Customer
    properties: [{name: number, logicalType: string, unique: true}]
slaProperties:
  - {property: freshness, value: 4, unit: h, element: A_SalesOrder.SoldToParty}
  - {property: latency, value: 300, unit: ms}
  - {property: errorRate, value: 1, unit: percent}
  - {property: availability, value: 99.9, unit: percent}
  - {property: production_users, value: 300}
  - {property: rows, value: 1000000, element: Customer}
"""


def test_every_promise_stands_once_in_order(tmp_path: Path) -> None:
    made = contract(tmp_path, BODY)
    rules = compile_rules(made, made.objects[0])
    assert [(r.path.removeprefix("A_SalesOrder."), r.kind, r.check) for r in rules] == [
        ("SalesOrder.presence", "presence", "schema"),
        ("SalesOrder.logicalType", "type", "schema"),
        ("SoldToParty.presence", "presence", "schema"),
        ("SoldToParty.logicalType", "type", "schema"),
        ("address.presence", "presence", "schema"),
        ("address.logicalType", "type", "schema"),
        ("primaryKey", "primary_key", "quality"),
        ("SoldToParty.required", "required", "quality"),
        ("SoldToParty.logicalTypeOptions.maxLength", "max_length", "quality"),
        ("SoldToParty.logicalTypeOptions.pattern", "pattern", "quality"),
        ("SoldToParty.enum", "enum", "quality"),
        ("SoldToParty.relationships.0", "relationship", "quality"),
        ("SoldToParty.quality.few_nulls", "null_values", "quality"),
        ("SoldToParty.quality.1", "text", "quality"),
        ("address.city.required", "required", "quality"),
        ("quality.order_rows", "row_count", "quality"),
        ("slaProperties.freshness", "sla", "freshness"),
        ("slaProperties.latency", "sla", "load"),
        ("slaProperties.errorRate", "sla", "load"),
        ("slaProperties.availability", "sla", "operations"),
    ]
    assert len({r.path for r in rules}) == len(rules)
    assert {r.kind for r in rules} <= set(KINDS)
    few = next(r for r in rules if r.path.endswith("few_nulls"))
    assert (few.id, few.severity, few.dimension, few.line) == ("few_nulls", "info", "completeness", 25)
    assert rules == compile_rules(made, made.objects[0])


def test_scale_comes_from_service_levels_over_defaults_and_users_over_both(tmp_path: Path) -> None:
    made = contract(tmp_path, BODY)
    order, customer = made.objects
    default = Scale(calls_per_user_hour=7)
    scale = scale_of(made, order, default)
    assert (scale.production_users, scale.latency_objective_ms, scale.error_objective) == (300, 300, 0.01)
    assert (scale.calls_per_user_hour, scale.rows) == (7, None)
    assert scale_of(made, customer, default).rows == 1_000_000
    assert scale_of(made, order, default, users=42).production_users == 42


def test_a_service_level_that_does_not_fit_is_a_complaint_with_its_line(tmp_path: Path) -> None:
    made = contract(tmp_path, BODY.replace("value: 300}", "value: many}"))
    with pytest.raises(ContractError) as caught:
        points([made], Scale(), None)
    assert (caught.value.line, "production_users" in str(caught.value)) == (39, True)


def test_points_are_objects_times_systems(tmp_path: Path) -> None:
    made = contract(tmp_path, BODY)
    assert [p.id for p in points([made], Scale(), None)] == ["crm.A_SalesOrder", "crm.Customer"]


def test_a_point_that_occurs_twice_names_both_files(tmp_path: Path) -> None:
    one = contract(tmp_path, BODY, "one.odcs.yaml")
    two = contract(tmp_path, BODY, "two.odcs.yaml")
    with pytest.raises(ContractError) as caught:
        points([one, two], Scale(), None)
    words = str(caught.value)
    assert "crm.Customer" in words
    assert "one.odcs.yaml" in words
    assert "two.odcs.yaml" in words


def test_one_system_in_two_environments_is_one_point(tmp_path: Path) -> None:
    path = tmp_path / "e.odcs.yaml"
    from contract_kit import HEAD

    from weighbridge.contracts.loader import load

    servers = "".join(f"  - {{server: crm, type: custom, environment: {e}}}\n" for e in ("staging", "production"))
    path.write_text(HEAD.replace("  - {server: crm, type: custom}\n", servers) + BODY, encoding="utf-8")
    assert len(points([load(path)], Scale(), None)) == 2
