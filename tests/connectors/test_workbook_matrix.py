"""Every hazard is found in every format that can hold it, with its places; the same workbook without it is quiet."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plan_kit import FORMATS, HEADER, PASSWORD, PIVOT, ROWS, changed, data, practice_macros, write_plan

from weighbridge.connectors._workbook_codes import HAZARDS
from weighbridge.connectors.excel import ExcelConnector
from weighbridge.connectors.workbook import Hazard, WorkbookReport, inspect_workbook
from weighbridge.sandbox.workbook_writer import ErrorCell, Formula, SheetPlan, WorkbookPlan

WORKBOOKS = Path(__file__).parent / "workbooks"
SLOW_BUT_ONE = [f if f == "xlsx" else pytest.param(f, marks=pytest.mark.slow) for f in FORMATS]
"""The values of binary formats are read by another process first: 200 cases of it are for the long run."""


def plan(*sheets: SheetPlan, **more: Any) -> WorkbookPlan:
    return WorkbookPlan(list(sheets) or [data()], **more)


Planted = tuple[WorkbookPlan, int, list[str]]
CASES: dict[str, Planted] = {
    "macros": (plan(vba=practice_macros()), 1, ["MonthEnd.Auto_Open"]),
    "xlm_macros": (plan(data(), SheetPlan("Auto", [[Formula("HALT()", 0)]], macro=True)), 1, ["Auto"]),
    "external_links": (plan(links=("rates.xls", "fx.xls")), 2, ["rates.xls", "fx.xls"]),
    "connections": (plan(connections={"ledger": "DSN=x;PWD=(canary)"}), 1, ["ledger: DSN=x;PWD=***"]),
    "pivot_caches": (plan(links=(PIVOT,)), 1, ["from Data A1:D21"]),
    "error_cells": (plan(changed((2, 2, ErrorCell("#REF!")), (3, 1, ErrorCell()))), 2, ["Data!C4", "Data!B5"]),
    "uncached_formulas": (plan(changed((2, 2, Formula("A4*2")))), 1, ["Data!C4"]),
    "volatile_formulas": (plan(changed((2, 2, Formula("NOW()*A4", 5)))), 1, ["Data!C4"]),
    "circular_references": (
        plan(changed((2, 2, Formula("C5+1", 5)), (3, 2, Formula("SUM(C2:C4)", 5)))),
        2,
        ["Data!C4", "Data!C5"],
    ),
    "broken_names": (plan(names={"Lost": "#REF!$A$1", "Fine": "Data!$A$1"}), 1, ["Lost"]),
    "hidden_sheets": (plan(data(), SheetPlan("Aside", state="hidden")), 1, ["Aside"]),
    "very_hidden_sheets": (plan(data(), SheetPlan("Deep", state="veryHidden")), 1, ["Deep"]),
    "hidden_rows": (plan(data(hidden_rows=frozenset({3, 9}))), 2, ["Data!3:3", "Data!9:9"]),
    "hidden_columns": (plan(data(hidden_columns=(2, 4))), 2, ["Data!B:B", "Data!D:D"]),
    "merged_cells": (plan(data(merged=("B3:B5",))), 1, ["Data!B3:B5"]),
    "date1904": (plan(date1904=True), 1, ["book"]),
    "protected": (plan(data(protected=True), protected=True), 2, ["workbook", "Data"]),
    "numbers_as_text": (plan(changed((2, 2, "1.234,50"), (3, 2, "17"))), 2, ["Data!C4", "Data!C5"]),
    "dates_as_text": (plan(changed((2, 3, "03.04.2025"))), 1, ["Data!D4"]),
    "mixed_types": (plan(changed((2, 2, "n/a"), (4, 0, "total?"))), 2, ["Data!A6", "Data!C4"]),
    "long_numbers": (plan(changed((2, 0, 1234567890123456))), 1, ["Data!A4"]),
    "duplicate_headers": (
        plan(SheetPlan("Data", [["id", "Amount", "amount "], *([1, 2, 3] for _ in ROWS)])),
        1,
        ["Data!C1"],
    ),
    "blank_headers": (plan(SheetPlan("Data", [["id", None, "amount"], *([1, 2, 3] for _ in ROWS)])), 1, ["Data!B1"]),
    "phantom_rows": (plan(data(empty_rows=500)), 500, ["Data!22:521"]),
    "style_explosion": (plan(styles=12_000), 12_004, ["book"]),
}
OTHERWISE = {("style_explosion", "xls"): 3_519}
"""Counts of formats that hold less: .xls takes some 4,000 cell formats."""
CANNOT = {
    ("uncached_formulas", "xlsb"): "stores a number all the same",
}
"""What a format cannot say; the report says so itself."""


def looked(path: Path) -> WorkbookReport:
    return inspect_workbook(path, PASSWORD)


def the(report: WorkbookReport, code: str) -> Hazard | None:
    return next((h for h in report.hazards if h.code == code), None)


def values(path: Path, address: str = "Data") -> list[dict[str, Any]]:
    with ExcelConnector({"path": path, "password": PASSWORD}) as connector:
        return [row for page in connector.read(address) for row in page.batch.to_pylist()]


@pytest.mark.parametrize("form", SLOW_BUT_ONE)
@pytest.mark.parametrize("code", CASES)
def test_a_planted_hazard_is_found_where_it_is(tmp_path: Path, code: str, form: str) -> None:
    planted, count, places = CASES[code]
    path = write_plan(tmp_path, copy.deepcopy(planted), form)
    report = looked(path)
    hazard = the(report, code)
    if (code, form) in CANNOT:
        assert hazard is None
        assert any(CANNOT[code, form] in note for note in report.not_looked_at)
        return
    assert hazard is not None, [h.code for h in report.hazards]
    assert hazard.count == OTHERWISE.get((code, form), count)
    assert list(hazard.places) == [path.name if p == "book" else p for p in places]
    assert "canary" not in str(report.plain())
    holds_code = code in {"macros", "xlm_macros"} and form in {"xlsx", "encrypted"}
    assert report.format == ("xlsm" if holds_code else "xlsx" if form == "encrypted" else form)


@pytest.mark.parametrize("form", SLOW_BUT_ONE)
def test_the_same_workbook_without_it_is_quiet(tmp_path: Path, form: str) -> None:
    path = write_plan(tmp_path, plan(), form)
    report = looked(path)
    assert [h.code for h in report.hazards] == (["encrypted"] if form == "encrypted" else [])
    expected = [dict(zip(HEADER, row, strict=True)) for row in ROWS]
    assert values(path) == expected


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def held(path: Path) -> None:
    path.with_name(f"~${path.name}").write_bytes(b"\x03Eva".ljust(165, b"\0"))


SPOILED: dict[str, list[Callable[[Path], None]]] = {"malformed": [empty, cut], "locked": [held]}


@pytest.mark.parametrize("form", SLOW_BUT_ONE)
@pytest.mark.parametrize("code", SPOILED)
def test_what_happens_to_the_file_is_found_whatever_its_format(tmp_path: Path, code: str, form: str) -> None:
    for spoil in SPOILED[code]:
        path = write_plan(tmp_path, plan(), form)
        spoil(path)
        assert the(looked(path), code) is not None


def test_every_code_stands_in_the_matrix() -> None:
    elsewhere = {"encrypted", "hostile", "row_ceiling"}
    """Below, in test_workbook_bad_input.py, and below."""
    assert set(CASES) | set(SPOILED) | elsewhere == set(HAZARDS)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["xlsx", "xlsb", "xls"])
def test_a_sheet_that_is_nearly_full(tmp_path: Path, form: str) -> None:
    """The last row alone: what counts is where the data end."""
    last = 52_429 if form == "xls" else 838_861
    path = write_plan(tmp_path, plan(), form)
    if form == "xls":
        full = plan(SheetPlan("Data", [["id"], *([n] for n in range(1, last))]))
        report = looked(write_plan(tmp_path, full, form))
    else:
        report = looked(_with_row(path, last, form))
    found = the(report, "row_ceiling")
    assert found is not None
    assert (found.count, found.places) == (1, ("Data",))
    assert f"{last:,} of {65_536 if form == 'xls' else 1_048_576:,} rows" in found.message


def _with_row(path: Path, row: int, form: str) -> Path:
    import struct
    import zipfile

    from xlsb_kit import cell, record, row_head

    with zipfile.ZipFile(path) as archive:
        parts = {i.filename: archive.read(i) for i in archive.infolist()}
    if form == "xlsb":
        name, end = "xl/worksheets/sheet1.bin", record(146)
        more = row_head(row - 1) + cell(5, 0, struct.pack("<d", 1.0)) + end
    else:
        name, end = "xl/worksheets/sheet1.xml", b"</sheetData>"
        more = f'<row r="{row}"><c r="A{row}"><v>1</v></c></row></sheetData>'.encode()
    parts[name] = parts[name].replace(end, more)
    with zipfile.ZipFile(path, "w") as archive:
        for part, body in parts.items():
            archive.writestr(part, body)
    return path


# --- files that another program wrote --------------------------------------------------------------------------


def test_the_pivot_table_of_a_legacy_file_names_its_source() -> None:
    found = the(looked(WORKBOOKS / "pivot.xls"), "pivot_caches")
    assert found is not None
    assert found.places == ("from Data A1:B4",)


def test_the_links_and_the_web_query_of_a_legacy_file() -> None:
    report = looked(WORKBOOKS / "links.xls")
    links, query = the(report, "external_links"), the(report, "connections")
    assert links is not None
    assert query is not None
    assert links.places == (r"\finance\rates 2026.xls", "DDE prices|feed")
    assert "1 of them talk to a running program" in links.message
    assert query.places == ("prices in Web: a web page http://127.0.0.1/prices.html",)
    errors = the(report, "error_cells")
    assert errors is not None
    assert errors.places == ("It's Ümläut!B2", "It's Ümläut!B3")


def test_the_macros_of_a_legacy_file_are_told_like_any_other() -> None:
    found = the(looked(WORKBOOKS / "macros.xls"), "macros")
    assert found is not None
    assert found.details is not None
    assert found.details["entry_points"][0] == "MonthEnd.Auto_Open"
    assert any("rates.xls" in f for f in found.details["files"])


def test_an_encrypted_legacy_file_opens_with_its_password_only() -> None:
    path = WORKBOOKS / "encrypted.xls"
    shut = inspect_workbook(path)
    assert [h.code for h in shut.hazards] == ["encrypted"]
    assert shut.hazards[0].severity == "break"
    report = inspect_workbook(path, "weighbridge")
    assert {h.code: h.severity for h in report.hazards}["encrypted"] == "warn"
    errors, hidden = the(report, "error_cells"), the(report, "hidden_sheets")
    assert errors is not None
    assert hidden is not None
    assert errors.places == ("Data!C5", "Data!C6")
    assert hidden.places == ("Deep",)
    with ExcelConnector({"path": path, "password": "weighbridge"}) as connector:
        assert connector.count("Data").value == 20
