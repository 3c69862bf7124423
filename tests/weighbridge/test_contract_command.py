"""`weighbridge contract`: lint says everything at once, show is stable, diff has an exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from weighbridge.commands.contract import command


def contract(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(a) for a in arguments], standalone_mode=False, catch_exceptions=False)


def file(shop: Path) -> Path:
    return shop / "contracts" / "shop.odcs.yaml"


def test_lint_of_a_clean_folder(shop: Path) -> None:
    done = contract("lint", shop)
    assert done.return_value == 0
    assert "1 contract(s), 0 complaint(s)" in done.output


def test_lint_says_every_complaint_with_its_place(shop: Path) -> None:
    text = file(shop).read_text().replace("logicalType: integer", "logicalType: integr").replace("^C-[", "^C-[[")
    file(shop).write_text(text)
    done = contract("lint", shop, "--json")
    assert done.return_value == 1
    assert {p["line"] for p in json.loads(done.output)} >= {14}


@pytest.mark.parametrize("form", ["text", "gx", "sql", "json"])
def test_show_is_stable_and_names_every_data_rule(shop: Path, form: str) -> None:
    first = contract("show", file(shop), "--as", form).output
    assert first == contract("show", file(shop), "--as", form).output
    for rule in ("Order.primaryKey", "Order.account.required", "Order.account.logicalTypeOptions.pattern"):
        assert rule in first


def test_the_shown_statement_finds_the_failing_rows(shop: Path) -> None:
    import duckdb

    text = contract("show", file(shop), "--as", "sql").output
    statement = next(s for s in text.splitlines() if "regexp_matches" in s)
    with duckdb.connect() as database:
        database.execute("CREATE TABLE orders (_wb_row BIGINT, id BIGINT, account VARCHAR, net DOUBLE)")
        database.execute("INSERT INTO orders VALUES (0, 1, 'C-000001', 1), (1, 2, 'nobody', 1), (2, 3, NULL, 1)")
        assert [row[1] for row in database.execute(statement).fetchall()] == [2]


def test_a_count_of_rows_is_shown_as_a_statement(tmp_path: Path) -> None:
    from contract_kit import HEAD

    path = tmp_path / "c.odcs.yaml"
    rule = "    quality: [{metric: rowCount, mustBeGreaterThan: 5}]\n"
    path.write_text(f"{HEAD}schema:\n  - name: T\n    physicalName: dbo t\n    properties: [{{name: a}}]\n{rule}")
    assert 'SELECT COUNT(*) FROM "dbo t";' in contract("show", path, "--as", "sql").output


def test_diff_exits_1_when_something_breaks(shop: Path) -> None:
    new = shop / "contracts" / "new.odcs.yaml"
    new.write_text(file(shop).read_text().replace("required: true", "required: false"))
    done = contract("diff", file(shop), new)
    assert done.return_value == 1
    assert "BREAKS CONSUMERS  Order.account.required" in done.output
    assert contract("diff", file(shop), new, "--fail-on", "producers").return_value == 0
    assert contract("diff", file(shop), file(shop)).return_value == 0
