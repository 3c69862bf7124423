"""Drafting contracts: what is proposed holds on the data, says why, and leaves what people wrote alone."""

from __future__ import annotations

import datetime as dt
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from contract_kit import FakeEvidence, context, land, schema_of

from weighbridge.checks.base import Count, RuleResult, Severity
from weighbridge.checks.quality import QualityCheck
from weighbridge.checks.schema import SchemaCheck
from weighbridge.commands.infer import command
from weighbridge.contracts.loader import check, load
from weighbridge.contracts.points import points
from weighbridge.contracts.scale import Scale
from weighbridge.draft import Seen, draft_contract


def table(rows: int = 200) -> pa.Table:
    number = range(rows)
    return pa.table(
        {
            "id": list(number),
            "code": [f"C-{i:06}" for i in number],
            "e mail": [f"user{i}@example.com" for i in number],
            "status": [["open", "paid", "NO"][i % 3] for i in number],
            "amount": [i / 4 for i in number],
            "odd": [float("nan"), *[1.0] * (rows - 1)],
            "half": [None if i % 2 else "x" * (i % 7) for i in number],
            "born": [dt.date(1980, 1, 1) + dt.timedelta(days=i) for i in number],
            "empty": pa.array([None] * rows, pa.string()),
            "when": [dt.datetime.fromisoformat("2024-01-01") + dt.timedelta(hours=i) for i in number],
            "iban": ["DE89370400440532013000"] * rows,
            "account_no": [f"{i:05}" for i in number],
            "address": [{"city": "x", "zip": str(i)} for i in number],
            "tags": [["a"] for _ in number],
            "yes": [i % 2 == 0 for i in number],
            'quo"te': ["a"] * rows,
        }
    )


def drafted(folder: Path, data: pa.Table, **schema: Any) -> tuple[str, Any]:
    seen = Seen("Account", schema_of(data, keys=("id",), **schema), land(folder, data, keys=("id",)))
    text = draft_contract("crm", [seen], left_out=["Other"])
    path = folder / "draft.odcs.yaml"
    path.write_text(text, encoding="utf-8")
    return text, path


def test_a_draft_lints_clean_and_passes_on_its_own_data(tmp_path: Path) -> None:
    data = table()
    text, path = drafted(tmp_path, data, code={"length": 12}, half={"length": 3})
    assert check(path)[1] == []
    contract = load(path)
    point = points([contract], Scale(), None)[0]
    evidence = FakeEvidence(land(tmp_path, data, name="again"), schema_of(data), Count(data.num_rows, exact=True))
    outcomes: dict[str, str] = {}
    for asked in (SchemaCheck(), QualityCheck()):
        for result in asked(point, evidence, context(tmp_path)):
            if isinstance(result, RuleResult):
                outcomes[result.path] = result.outcome
            else:
                assert result.severity in (None, Severity.INFO), result
    assert set(outcomes.values()) == {"passed"}, {k: v for k, v in outcomes.items() if v != "passed"}
    assert len(outcomes) > 40
    assert len(text.splitlines()) < 80


def test_every_guess_says_its_evidence(tmp_path: Path) -> None:
    text, path = drafted(tmp_path, table(), code={"length": 12}, half={"length": 3})
    lines = {
        line.split("name: ")[1].split(",")[0].split(" #")[0]: line
        for line in text.splitlines()
        if "- {name: " in line or "- name: " in line
    }
    assert "the system's own key" in lines["id"]
    assert "^C-[0-9]{6}$" in lines["code"]
    assert "all 200 have this shape" in lines["code"]
    assert "format: email" in text
    assert "looks personal: 100% are e-mail addresses" in text
    assert "distinct 3 of 200: proposed as an enumeration" in text
    assert '"NO"' in text
    assert "null in 50.0%" in lines["half"]
    assert "longest 6, though the system says 3" in lines["half"]
    assert "maxLength" not in lines["half"]
    assert "looks personal by its name" in lines["born"]
    assert "minimum: 0" in lines["amount"]
    assert "always null" in lines["empty"]
    assert "# not looked at: Other" in text
    contract = load(path)
    restricted = {p.name for p in contract.objects[0].properties if p.classification == "restricted"}
    assert restricted == {"e mail", "born", "iban", "address"}


def test_few_rows_prove_nothing(tmp_path: Path) -> None:
    text, _ = drafted(tmp_path, table(5))
    for word in ("required", "pattern", "validValues", "format", "minimum"):
        assert word not in text


def test_a_key_that_is_none_is_not_proposed(tmp_path: Path) -> None:
    data = pa.table({"id": [1, 1, *range(2, 100)], "name": ["a"] * 100})
    text, path = drafted(tmp_path, data)
    assert "primaryKey" not in text
    assert load(path).objects[0].key == ()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    database = tmp_path / "shop.db"
    with sqlite3.connect(database) as connection:
        connection.executescript(
            "CREATE TABLE customer (id INTEGER PRIMARY KEY, email TEXT NOT NULL);"
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customer(id), total REAL);"
        )
        connection.executemany("INSERT INTO customer VALUES (?, ?)", [(i, f"u{i}@example.com") for i in range(50)])
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?)", [(i, i % 50, i * 1.5) for i in range(400)])
    connection.close()
    (tmp_path / "weighbridge.toml").write_text(
        f'[systems.shop]\nconnector = "sql"\n[systems.shop.sandbox]\nurl = "sqlite:///{database}"\n', encoding="utf-8"
    )
    return tmp_path


def run(project: Path, *arguments: str) -> Any:
    return CliRunner().invoke(
        command, [*arguments, "--env", "sandbox", "--config", str(project / "weighbridge.toml")], catch_exceptions=True
    )


def test_a_live_system_is_drafted_with_its_references(project: Path) -> None:
    result = run(project, "shop")
    assert result.exit_code == 0, result.output
    path = project / "contracts" / "shop.odcs.yaml"
    contract = load(path)
    assert {o.name for o in contract.objects} == {"customer", "orders"}
    orders = contract.object("orders")
    assert orders is not None
    relation = orders.property("customer_id").relationships  # type: ignore[union-attr]
    assert [(r.target_object, r.target_columns) for r in relation] == [("customer", ("id",))]
    again = run(project, "shop")
    assert "exists" in str(again.exception)


def test_only_the_first_rows_are_read_and_said(project: Path) -> None:
    result = run(project, "shop", "orders", "--rows", "100", "--out", "-")
    assert "drafted from the first 100 rows" in result.output
    assert "mustBeGreaterThan: 0}" in result.output


def test_adding_to_a_contract_keeps_its_words_and_comments(project: Path) -> None:
    path = project / "mine.odcs.yaml"
    mine = (
        "# ours\napiVersion: v3.1.0\nkind: DataContract\nid: shop\nversion: '1' # first\nservers:\n"
        "  - {server: shop, type: custom}\nschema:\n  - name: Customers\n    physicalName: customer\n    properties:\n"
        "      - name: id # the key, agreed in March\n        logicalType: integer\n        primaryKey: true\n"
    )
    path.write_text(mine, encoding="utf-8")
    result = run(project, "shop", "--into", str(path))
    assert "1 object(s), 1 column(s) added" in result.output, (result.output, result.exception)
    text = path.read_text(encoding="utf-8")
    for line in mine.splitlines():
        assert line in text
    contract = load(path)
    assert [p.name for p in contract.objects[0].properties] == ["id", "email"]
    assert contract.objects[1].name == "orders"
    assert "nothing is new" in run(project, "shop", "--into", str(path)).output


def test_names_from_a_stranger_stay_one_name(tmp_path: Path) -> None:
    evil = "\x1b]0;t\x07\x9b31m\u202e: {a}\r\n  - x # \u2028 \U000e0041 'q\" 🙂"
    text, path = drafted(tmp_path, pa.table({"id": list(range(60)), evil: ["a"] * 60}))
    assert not set(text) & set("\x1b\x07\x9b\u202e\u2028\r")
    assert [p.physical_name for p in load(path).objects[0].properties] == ["id", evil]
