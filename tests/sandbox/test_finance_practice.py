"""The practice finance department: the same on every machine, its defects really in it, its twin free of them."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import openpyxl
import pytest

from weighbridge.connectors.excel import ExcelConnector
from weighbridge.sandbox.data import companies
from weighbridge.sandbox.finance import PLANTED, PRACTICE


def started(folder: Path, *, clean: bool) -> Path:
    folder.mkdir(exist_ok=True)
    return Path(PRACTICE.start(folder, clean=clean, seed=7, rows=800).options["path"])


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    def digest(folder: Path) -> list[str]:
        return [hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())]

    one, two = started(tmp_path / "a", clean=False), started(tmp_path / "b", clean=False)
    assert digest(one) == digest(two)


@pytest.mark.parametrize("clean", [True, False])
def test_rows_refer_to_the_crms_accounts(tmp_path: Path, clean: bool) -> None:
    known = {c.number for c in companies(7, 800)}
    with ExcelConnector({"path": started(tmp_path / "f", clean=clean)}) as connector:
        rows = [r for p in connector.read("Receivables") for r in p.batch.to_pylist()]
        misfits = sum(len(p.misfits) for p in connector.read("Receivables"))
        writers = [x for x in connector.limits() if x.name == "writers"]
    assert len(rows) == 200
    orphans = sum(r["Account"] not in known for r in rows)
    assert orphans == (0 if clean else PLANTED["orphan_account"])
    assert misfits == (0 if clean else PLANTED["error_cell"] + PLANTED["comma_amount"] + PLANTED["uncached"])
    assert sum(r["Due Date"] is None for r in rows) == (0 if clean else PLANTED["missing_due_date"])
    assert len(rows) - len({r["Invoice"] for r in rows}) == (0 if clean else PLANTED["duplicate_invoice"])
    assert len(writers) == (0 if clean else 1)


def test_another_library_reads_the_same_workbook(tmp_path: Path) -> None:
    path = min(started(tmp_path / "f", clean=True).iterdir())
    with contextlib.closing(openpyxl.load_workbook(path, read_only=True)) as book:
        theirs = [row[0] for row in book["Receivables"].iter_rows(min_row=2, values_only=True)]
    with ExcelConnector({"path": path}) as connector:
        ours = [v for p in connector.read("Receivables") for v in p.batch.column("Invoice").to_pylist()]
    assert ours == theirs


def test_a_small_size_still_holds_every_defect(tmp_path: Path) -> None:
    running = PRACTICE.start(tmp_path, clean=False, seed=1, rows=1)
    with ExcelConnector({"path": running.options["path"]}) as connector:
        assert connector.count("Receivables").value == 90
    assert running.truth["limit"] == "writers"
