"""The workbook check on real files: findings with place and effect, silence on a clean one, changes between runs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import contract_kit as kit
import openpyxl
import pytest

from weighbridge.checks.base import Finding, Measurement, NotRun, Severity, registered_codes
from weighbridge.checks.workbook import WorkbookCheck
from weighbridge.connectors.excel import ExcelConnector
from weighbridge.connectors.workbook import HAZARDS, inspect_workbook, structure_changes
from weighbridge.sandbox.finance import PRACTICE
from weighbridge.sandbox.vba_writer import vba_project
from weighbridge.sandbox.workbook_writer import (
    ErrorCell,
    Formula,
    SheetPlan,
    TableArea,
    WorkbookPlan,
    write_workbook,
)

CONTRACT = """
    schema:
      - name: Invoice
        physicalName: Data
        properties:
          - {name: id, logicalType: integer}
    """
ROWS = [["id", "amount"], *([n, n * 1.5] for n in range(1, 21))]


def asked(folder: Path, path: Path, previous: Any = None) -> tuple[list[Finding], dict[str, Any]]:
    point = kit.point_of(kit.contract(folder, CONTRACT))
    with ExcelConnector({"path": path}) as connector:
        context = kit.context(folder, connector=lambda session=None: connector, previous=previous)
        results = list(WorkbookCheck()(point, kit.FakeEvidence(None), context))  # type: ignore[arg-type]
    codes = registered_codes([WorkbookCheck()])
    findings = [r for r in results if isinstance(r, Finding)]
    assert all(f.code in codes for f in findings)
    measured = next(r for r in results if isinstance(r, Measurement))
    return findings, dict(measured.data)


def write(path: Path, *sheets: SheetPlan, **more: Any) -> Path:
    return write_workbook(path, WorkbookPlan(list(sheets), **more))


def test_a_clean_workbook_passes(tmp_path: Path) -> None:
    findings, measured = asked(tmp_path, write(tmp_path / "b.xlsx", SheetPlan("Data", ROWS)))
    assert findings == []
    assert measured["files"] == 1
    assert measured["structure"]["b.xlsx"]["headers"] == {"Data": ["id", "amount"]}


def test_the_finance_department_breaks_and_its_export_does_not(tmp_path: Path) -> None:
    for clean in (False, True):
        (tmp_path / str(clean)).mkdir()
        PRACTICE.start(tmp_path / str(clean), clean=clean, seed=7, rows=400)
    dirty, _ = asked(tmp_path, tmp_path / "False" / "receivables")
    loud = {f.code for f in dirty if f.severity is not Severity.INFO}
    assert loud == {d.code for d in PRACTICE.defects if d.check == "workbook"}
    for defect in PRACTICE.defects:
        if defect.check == "workbook":
            finding = next(f for f in dirty if f.code == defect.code)
            assert finding.observed == defect.count, defect.code
            assert finding.evidence["places"]
    assert asked(tmp_path, tmp_path / "True" / "receivables")[0] == []


def test_a_locked_workbook_says_what_that_means_for_everybody(tmp_path: Path) -> None:
    path = write(tmp_path / "b.xlsx", SheetPlan("Data", ROWS))
    (tmp_path / "~$b.xlsx").write_bytes(bytes([3]) + b"Eva" + bytes(161))
    (finding,) = asked(tmp_path, path)[0]
    assert finding.code == "workbook.locked"
    assert "Eva" in finding.message
    assert "At 500 users everybody but one gets a read-only copy" in finding.business_effect


def test_an_error_on_another_sheet_does_not_break_this_point(tmp_path: Path) -> None:
    errors = [["id", "x"], *([n, ErrorCell()] for n in range(20))]
    path = write(tmp_path / "b.xlsx", SheetPlan("Data", ROWS), SheetPlan("Scratch", errors))
    (finding,) = asked(tmp_path, path)[0]
    assert (finding.code, finding.severity) == ("workbook.error_cells", Severity.INFO)
    assert "None of them is on the sheets of Invoice" in finding.message
    path = write(tmp_path / "b.xlsx", SheetPlan("Data", errors))
    (finding,) = asked(tmp_path, path)[0]
    assert finding.severity is Severity.BREAK
    assert finding.evidence["places"][0] == "Data!B2"


def test_a_damaged_file_among_others_is_a_finding_not_an_end(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    write(folder / "a.xlsx", SheetPlan("Data", ROWS))
    write(folder / "b.xlsx", SheetPlan("Data", ROWS))
    point = kit.point_of(kit.contract(tmp_path, CONTRACT))
    with ExcelConnector({"path": folder}) as connector:
        shutil.copyfile(__file__, folder / "b.xlsx")
        context = kit.context(tmp_path, connector=lambda session=None: connector)
        results = list(WorkbookCheck()(point, kit.FakeEvidence(None), context))  # type: ignore[arg-type]
    (finding,) = [r for r in results if isinstance(r, Finding)]
    assert (finding.code, finding.severity) == ("workbook.malformed", Severity.BREAK)
    assert "b.xlsx" in finding.message


def test_a_changed_structure_is_told_in_words(tmp_path: Path) -> None:
    path = write(
        tmp_path / "b.xlsx",
        SheetPlan("Data", ROWS),
        names={"Rate": "Data!$B$2"},
        vba=vba_project({"M": "Sub A()\nEnd Sub"}),
    )
    _, before = asked(tmp_path, path)
    same, _ = asked(tmp_path, path, {"workbook": before})
    assert [f.code for f in same] == ["workbook.macros"]
    rows = [["id", "net"], *ROWS[1:-1], [20, Formula("A20*2", 40)]]
    write(path, SheetPlan("Data", rows), SheetPlan("New", ROWS), vba=vba_project({"M": "Sub B()\nEnd Sub"}))
    findings, _ = asked(tmp_path, path, {"workbook": before})
    changed = next(f for f in findings if f.code == "workbook.structure_changed")
    assert changed.evidence["changes"] == [
        "b.xlsx: sheet New is new",
        "b.xlsx: headers of Data: gone amount, new net",
        "b.xlsx: formulas of Data are new",
        "b.xlsx: name Rate is gone",
        "b.xlsx: the macros changed",
    ]


def structure(folder: Path, *sheets: SheetPlan, **more: Any) -> dict[str, Any]:
    return inspect_workbook(write(folder / "b.xlsx", *sheets, **more)).fingerprint


FILLED = [[*ROWS[0], "double"], *([a, b, Formula(f"B{n}*2", b * 2)] for n, (a, b) in enumerate(ROWS[1:], 2))]
SUM = SheetPlan("Sum", [["total"], [Formula("SUM(Data!B:B)", 1)]])
KEPT: dict[str, Any] = {"names": {"Rate": "Data!$B$2"}, "vba": vba_project({"M": "Sub A()\nEnd Sub"})}
TABLE = TableArea("Sales", "A1:C21", ("id", "amount", "double"))
CHANGED: dict[str, tuple[list[SheetPlan], dict[str, Any], list[str]]] = {
    "renamed": ([SheetPlan("Daten", FILLED), SUM], KEPT, ["sheet Data is now called Daten"]),
    "moved": ([SUM, SheetPlan("Data", FILLED)], KEPT, ["the sheets stand in another order: Sum, Data"]),
    "hidden": (
        [SheetPlan("Data", FILLED), replace(SUM, state="hidden")],
        KEPT,
        ["sheet Sum is hidden, before visible"],
    ),
    "gone": ([SheetPlan("Data", FILLED)], KEPT, ["sheet Sum is gone"]),
    "header": (
        [SheetPlan("Data", [["id", "net", "double"], *FILLED[1:]]), SUM],
        KEPT,
        ["headers of Data: gone amount, new net"],
    ),
    "columns swapped": (
        [SheetPlan("Data", [["amount", "id", "double"], *FILLED[1:]]), SUM],
        KEPT,
        ["headers of Data: in another order"],
    ),
    "formula": (
        [SheetPlan("Data", [*FILLED[:-1], [20, 30.0, Formula("B21*3", 90)]]), SUM],
        KEPT,
        ["formulas of Data changed (2 different ones, 1 before)"],
    ),
    "name": (
        [SheetPlan("Data", FILLED), SUM],
        KEPT | {"names": {"Rate": "Data!$B$3"}},
        ["name Rate refers to Data!$B$3, before to Data!$B$2"],
    ),
    "macro": (
        [SheetPlan("Data", FILLED), SUM],
        KEPT | {"vba": vba_project({"M": "Sub A()\nMsgBox 1\nEnd Sub"})},
        ["the macros changed"],
    ),
    "macros gone": ([SheetPlan("Data", FILLED), SUM], KEPT | {"vba": None}, ["the macros are gone"]),
    "table": ([SheetPlan("Data", FILLED, tables=(TABLE,)), SUM], KEPT, ["table Sales is new"]),
    "values and rows": (
        [SheetPlan("Data", [*FILLED[:-1], [20, 99.0, Formula("B21*2", 1)], [21, 1.0, Formula("B22*2", 2)]]), SUM],
        KEPT,
        [],
    ),
}


@pytest.mark.parametrize("what", CHANGED)
def test_each_part_of_the_structure_is_named_when_it_changes(tmp_path: Path, what: str) -> None:
    sheets, more, told = CHANGED[what]
    before = structure(tmp_path, SheetPlan("Data", FILLED), SUM, **KEPT)
    assert list(structure_changes(json.loads(json.dumps(before)), structure(tmp_path, *sheets, **more))) == told


def test_a_value_that_changes_beside_a_label_is_no_change_of_structure(tmp_path: Path) -> None:
    before = structure(tmp_path, SheetPlan("Input", [["Rate", 0.19], ["Days", 30]]))
    assert list(structure_changes(before, structure(tmp_path, SheetPlan("Input", [["Rate", 0.2], ["Days", 31]])))) == []


def test_more_formulas_on_one_sheet_are_no_change_of_the_next(tmp_path: Path) -> None:
    def built(rows: int) -> dict[str, Any]:
        many = SheetPlan("Data", [["id", "x"], *([n, Formula(f"A{n + 2}*2", 1)] for n in range(rows))])
        return structure(tmp_path, many, SheetPlan("Sum", [["total"], [Formula("SUM(Data!B:B)", 1)]]))

    assert list(structure_changes(built(49_900), built(50_100))) == []


def test_saved_again_by_another_program_it_is_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "b.xlsx", SheetPlan("Data", FILLED), SUM, names={"Rate": "Data!$B$2"})
    before = inspect_workbook(path).fingerprint
    openpyxl.load_workbook(path).save(path)
    assert list(structure_changes(before, inspect_workbook(path).fingerprint)) == []


def test_it_does_not_apply_where_there_are_no_files(tmp_path: Path) -> None:
    class NoFiles:
        def facet(self, _wanted: type) -> None:
            return None

    point = kit.point_of(kit.contract(tmp_path, CONTRACT))
    context = kit.context(tmp_path, connector=lambda session=None: NoFiles())
    with pytest.raises(NotRun):
        list(WorkbookCheck()(point, kit.FakeEvidence(None), context))  # type: ignore[arg-type]


def test_codes_carry_severity_and_remedy() -> None:
    codes = registered_codes([WorkbookCheck()])
    assert set(codes) == {f"workbook.{name}" for name in HAZARDS} | {"workbook.structure_changed"}
    assert all(code.remedy for code in codes.values())
