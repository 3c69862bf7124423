from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from weighbridge.contracts.loader import load
from weighbridge.contracts.models import IntegrationPoint
from weighbridge.contracts.points import points
from weighbridge.contracts.scale import Scale
from weighbridge.errors import UsageProblem
from weighbridge.incidents import _shape, drafts, fixture, read_rows, snippet

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: crm
version: "1"
status: active
servers:
  - {server: crm, type: custom}
schema:
  - name: Order
    properties:
      - {name: Id, logicalType: string, required: true}
      - {name: Account, logicalType: string, logicalTypeOptions: {maxLength: 12}}
      - {name: Quantity, logicalType: integer}
      - {name: Due, logicalType: date}
      - {name: Email, logicalType: string, classification: restricted}
      - {name: Note, logicalType: string}
"""


def point(folder: Path, body: str = CONTRACT) -> IntegrationPoint:
    path = folder / "crm.odcs.yaml"
    path.write_text(body, encoding="utf-8")
    return points([load(path)], Scale())[0]


@pytest.mark.parametrize(
    "text",
    [
        '{"Id": "1", "Quantity": -4}',
        '[{"Id": "1", "Quantity": -4}]',
        '{"Id": "1", "Quantity": -4}\n',
        '2026-11-24 ERROR cannot book {"Id": "1", "Quantity": -4} (attempt 3) {not json}\n',
        "Id,Quantity\n1,-4\n",
        "Id;Quantity\n1;-4\n",
    ],
)
def test_rows_are_found_in_what_people_have(text: str) -> None:
    (row,) = read_rows(text)
    assert {k: str(v) for k, v in row.items()} == {"Id": "1", "Quantity": "-4"}


def test_a_file_without_rows_says_so() -> None:
    with pytest.raises(UsageProblem, match="holds no row"):
        read_rows("nothing to see\nhere at all\n")


@pytest.mark.parametrize(
    ("row", "change"),
    [
        ({"Account": None}, {"required": True}),
        (
            {"Account": "N/A"},
            {"quality": [{"metric": "missingValues", "arguments": {"missingValues": ["N/A"]}, "mustBe": 0}]},
        ),
        ({"Quantity": -4}, {"logicalTypeOptions": {"minimum": 0}}),
        ({"QUANTITY": "-4"}, {"logicalTypeOptions": {"minimum": 0}}),
        ({"Due": "1026-11-24"}, {"logicalTypeOptions": {"minimum": "1900-01-01"}}),
        ({"Note": " padded"}, {"logicalTypeOptions": {"pattern": r"^\S(.*\S)?$"}}),
        ({"Note": "#REF!"}, {"logicalTypeOptions": {"pattern": "^[^#]"}}),
    ],
)
def test_what_looks_wrong_is_drafted_as_a_rule(tmp_path: Path, row: dict[str, Any], change: dict[str, Any]) -> None:
    (made,), _ = drafts(point(tmp_path), [row])
    assert made.change == change
    assert made.rows == (1,)


def test_what_is_fine_is_left_alone(tmp_path: Path) -> None:
    row = {"Id": "1", "Account": "C-000123", "Quantity": 4, "Due": "2026-11-24", "Note": "Ring twice"}
    assert drafts(point(tmp_path), [row]) == ([], [])


def test_what_is_promised_already_is_said(tmp_path: Path) -> None:
    made, suspects = drafts(point(tmp_path), [{"Id": None, "Account": "far too long for it", "Quantity": "many"}])
    assert made == []
    assert [(s.column, s.caught) for s in suspects] == [
        ("Id", "required"),
        ("Account", "logicalTypeOptions.maxLength"),
        ("Quantity", "logicalType"),
    ]


def test_right_values_give_a_pattern(tmp_path: Path) -> None:
    (made,), _ = drafts(point(tmp_path), [{"Account": "123"}], columns=["account"], good=["C-000123", "C-004711"])
    assert made.change == {"logicalTypeOptions": {"pattern": r"^C\-[0-9]{6}$"}}
    with pytest.raises(UsageProblem, match="has no property nobody; it has Id, Account"):
        drafts(point(tmp_path), [{}], columns=["nobody"])


@pytest.mark.parametrize(
    ("good", "pattern"),
    [
        ([], None),
        (["A1", "B22"], "^[A-Z]{1}[0-9]{1,2}$"),
        (["ab-1", "cd-2"], r"^[a-z]{2}\-[0-9]{1}$"),
        (["1", "1-2"], None),
    ],
)
def test_shapes(good: list[str], pattern: str | None) -> None:
    assert _shape(good) == pattern


def test_the_draft_is_a_valid_contract_and_the_row_breaks_it(tmp_path: Path) -> None:
    rows = [{"Account": "N/A", "Quantity": -4, "Due": "1026-11-24", "Note": "#REF!"}, {"Account": None}]
    made, _ = drafts(point(tmp_path), rows)
    body = YAML(typ="safe").load(CONTRACT)
    for change in YAML(typ="safe").load(snippet(point(tmp_path), made)):
        target = next(p for p in body["schema"][0]["properties"] if p["name"] == change["name"])
        for key, value in change.items():
            held = target.get(key)
            target[key] = (
                {**held, **value} if isinstance(held, dict) else [*held, *value] if isinstance(held, list) else value
            )
    import io

    out = io.StringIO()
    YAML(typ="safe").dump(body, out)
    mended = point(tmp_path, out.getvalue())
    left, suspects = drafts(mended, [{"Quantity": -4}, {"Note": "#REF!"}, {"Account": None}])
    assert left == []
    assert [s.caught for s in suspects] == ["logicalTypeOptions.minimum", "logicalTypeOptions.pattern", "required"]


def test_the_fixture_is_masked(tmp_path: Path) -> None:
    row = {"Id": "1", "Account": "C-1", "Quantity": -4, "Email": "jo.canary@example.com", "Undeclared": "canary"}
    made, _ = drafts(point(tmp_path), [row])
    (shown,) = fixture(point(tmp_path), [row], made)
    assert shown["Quantity"] == -4
    assert "canary" not in json.dumps(shown)


def test_the_command(shop: Path) -> None:
    from weighbridge.commands.incident import command

    log = shop / "app.log"
    log.write_text('ERROR {"id": 7, "account": "C-000001", "net": -1.5}\n', encoding="utf-8")
    toml = str(shop / "weighbridge.toml")
    out = shop / "row.json"
    done = CliRunner().invoke(
        command,
        [str(log), "--point", "shop.Order", "--config", toml, "--fixture", str(out)],
        catch_exceptions=False,
        standalone_mode=False,
    )
    assert done.return_value == 0
    assert "minimum: 0" in done.stdout
    assert json.loads(out.read_text(encoding="utf-8"))[0]["net"] == -1.5
    with pytest.raises(UsageProblem, match=r"no integration point 'x'; there are shop.Order"):
        CliRunner().invoke(command, [str(log), "--point", "x", "--config", toml], catch_exceptions=False)
    with pytest.raises(UsageProblem, match="exactly one --column"):
        CliRunner().invoke(command, [str(log), "--point", "x", "--good", "1", "--config", toml], catch_exceptions=False)
