"""A change breaks consumers, producers, both, or nobody; every key of the standard is judged."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from weighbridge.contracts.diff import diff
from weighbridge.contracts.models import Contract

BASE = {
    "id": "c",
    "version": "1.0.0",
    "status": "active",
    "servers": [{"server": "crm", "type": "custom"}],
    "slaProperties": [
        {"property": "latency", "value": 4, "unit": "h"},
        {"property": "availability", "value": 99.5, "unit": "%"},
    ],
    "schema": [
        {
            "name": "Account",
            "physicalName": "account",
            "properties": [
                {
                    "name": "number",
                    "logicalType": "string",
                    "required": True,
                    "logicalTypeOptions": {"maxLength": 8, "minLength": 2, "pattern": "^C"},
                    "quality": [{"id": "known", "metric": "invalidValues", "mustBeLessThan": 5}],
                },
                {"name": "note", "logicalType": "string", "description": "free text"},
                {
                    "name": "prices",
                    "logicalType": "map",
                    "map": {
                        "key": {"logicalType": "string"},
                        "value": {"logicalType": "number", "logicalTypeOptions": {"minimum": 2}},
                    },
                },
            ],
        }
    ],
}


def contract(raw: dict) -> Contract:
    return Contract(Path("c.odcs.yaml"), "c", "1", "v3.1.0", None, None, (), (), (), {}, "UTC", None, raw)


def changed(edit) -> dict[str, set[str]]:
    new = copy.deepcopy(BASE)
    edit(new)
    found: dict[str, set[str]] = {}
    for change in diff(contract(BASE), contract(new)):
        found.setdefault(change.path, set()).add(change.kind)
    return found


def number(raw: dict) -> dict:
    return raw["schema"][0]["properties"][0]


def prices(raw: dict) -> dict:
    return raw["schema"][0]["properties"][2]["map"]


CASES = [
    (lambda r: None, {}),
    (lambda r: r.update(version="1.1.0"), {"version": {"safe"}}),
    (lambda r: r.update(status="deprecated"), {"status": {"consumers"}}),
    (lambda r: r["servers"].clear(), {"servers.crm": {"consumers"}}),
    (lambda r: r["servers"].append({"server": "erp"}), {"servers.erp": {"safe"}}),
    (lambda r: r["slaProperties"][0].update(value=8), {"slaProperties.latency.value": {"consumers"}}),
    (lambda r: r["slaProperties"][0].update(value=2), {"slaProperties.latency.value": {"producers"}}),
    (lambda r: r["slaProperties"][1].update(value=99.9), {"slaProperties.availability.value": {"producers"}}),
    (lambda r: r["slaProperties"][1].update(value=90), {"slaProperties.availability.value": {"consumers"}}),
    (lambda r: r["slaProperties"][0].update(unit="d"), {"slaProperties.latency.unit": {"consumers", "producers"}}),
    (lambda r: r["schema"].clear(), {"Account": {"consumers"}}),
    (lambda r: r["schema"].append({"name": "Contact"}), {"Contact": {"safe"}}),
    (lambda r: r["schema"][0].update(physicalName="acc"), {"Account.physicalName": {"consumers", "producers"}}),
    (lambda r: r["schema"][0]["properties"].pop(1), {"Account.note": {"consumers"}}),
    (lambda r: r["schema"][0]["properties"].append({"name": "new"}), {"Account.new": {"safe"}}),
    (
        lambda r: r["schema"][0]["properties"].append({"name": "new", "required": True}),
        {"Account.new": {"producers"}},
    ),
    (lambda r: number(r).update(logicalType="integer"), {"Account.number.logicalType": {"consumers", "producers"}}),
    (lambda r: number(r).update(required=False), {"Account.number.required": {"consumers"}}),
    (lambda r: number(r).update(unique=True), {"Account.number.unique": {"producers"}}),
    (lambda r: number(r).update(description="x"), {"Account.number.description": {"safe"}}),
    (
        lambda r: number(r)["logicalTypeOptions"].update(maxLength=9),
        {"Account.number.logicalTypeOptions.maxLength": {"consumers"}},
    ),
    (
        lambda r: number(r)["logicalTypeOptions"].update(maxLength=7),
        {"Account.number.logicalTypeOptions.maxLength": {"producers"}},
    ),
    (
        lambda r: number(r)["logicalTypeOptions"].pop("minLength"),
        {"Account.number.logicalTypeOptions.minLength": {"consumers"}},
    ),
    (
        lambda r: number(r)["logicalTypeOptions"].update(pattern="^D"),
        {"Account.number.logicalTypeOptions.pattern": {"consumers", "producers"}},
    ),
    (lambda r: number(r).update(quality=[]), {"Account.number.quality.known": {"consumers"}}),
    (
        lambda r: number(r)["quality"][0].update(mustBeLessThan=2),
        {"Account.number.quality.known.mustBeLessThan": {"producers"}},
    ),
    (
        lambda r: number(r)["quality"][0].update(severity="info"),
        {"Account.number.quality.known.severity": {"consumers"}},
    ),
    (
        lambda r: number(r)["quality"].append({"type": "text", "description": "be nice"}),
        {"Account.number.quality.1": {"safe"}},
    ),
    (
        lambda r: number(r)["quality"].append({"metric": "nullValues", "mustBe": 0}),
        {"Account.number.quality.1": {"producers"}},
    ),
    (
        lambda r: prices(r)["value"]["logicalTypeOptions"].update(minimum=5),
        {"Account.prices.map.value.logicalTypeOptions.minimum": {"producers"}},
    ),
    (
        lambda r: prices(r)["key"].update(logicalType="integer"),
        {"Account.prices.map.key.logicalType": {"consumers", "producers"}},
    ),
    (lambda r: r.update(slaDefaultElement="Account.note"), {"slaDefaultElement": {"consumers", "producers"}}),
]


@pytest.mark.parametrize(("edit", "expected"), CASES)
def test_one_change(edit, expected) -> None:
    assert changed(edit) == expected


def test_breaking_changes_come_first() -> None:
    new = copy.deepcopy(BASE)
    new["version"] = "2.0.0"
    number(new)["required"] = False
    kinds = [c.kind for c in diff(contract(BASE), contract(new))]
    assert kinds == ["consumers", "safe"]
