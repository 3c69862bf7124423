"""What Weighbridge ships and drafts is accepted by the peers' own linter too, where datacontract-cli is installed.

pipx install datacontract-cli && python -m pytest -m slow tests/contracts/test_datacontract_cli.py
"""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest
from contract_kit import land, schema_of

from weighbridge.draft import Seen, draft_contract

ROOT = Path(__file__).parents[2]
SHIPPED = sorted([*ROOT.glob("contracts/practice/*.odcs.yaml"), *ROOT.glob("examples/*/contracts/*.odcs.yaml")])

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def datacontract() -> str:
    found = shutil.which("datacontract")
    if found is None:
        pytest.skip("needs the command datacontract: pipx install datacontract-cli")
    return found


def lint(command: str, path: Path) -> str:
    run = subprocess.run([command, "lint", str(path)], capture_output=True, text=True, timeout=60, check=False)
    return "clean" if run.returncode == 0 else run.stdout + run.stderr


def test_there_are_contracts_to_lint() -> None:
    assert len(SHIPPED) >= 7


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_what_is_shipped_lints_clean(path: Path, datacontract: str) -> None:
    assert lint(datacontract, path) == "clean"


def test_a_draft_of_odd_columns_lints_clean(tmp_path: Path, datacontract: str) -> None:
    number = range(200)
    rows = pa.table(
        {
            "id": list(number),
            "e mail": [f"user{i}@example.com" for i in number],
            "NO": [["yes", "NO", "1e9"][i % 3] for i in number],
            "total amount €": [i / 4 for i in number],
            'quo"te: #': ["a"] * 200,
            "x" * 300: [True] * 200,
            "born": [dt.date(1980, 1, 1) + dt.timedelta(days=i) for i in number],
            "when": [dt.datetime.fromisoformat("2024-01-01") + dt.timedelta(hours=i) for i in number],
            "address": [{"city": "x", "zip": str(i)} for i in number],
            "tags": [["a"] for _ in number],
            "raw": [b"x"] * 200,
            "at": [dt.time(12, 30)] * 200,
            "code": [f"C-{i:06}" for i in number],
            "empty": pa.array([None] * 200, pa.string()),
        }
    )
    seen = Seen("dbo.Order lines/2024", schema_of(rows, keys=("id",)), land(tmp_path, rows, keys=("id",)))
    path = tmp_path / "draft.odcs.yaml"
    path.write_text(draft_contract("our shop", [seen], left_out=["Other: #1"]), encoding="utf-8")
    assert lint(datacontract, path) == "clean"
