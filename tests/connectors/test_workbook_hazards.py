"""Every hazard of a workbook is found from the file itself, with sheet and cell; a clean workbook has none."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
from plan_kit import HEADER, ROWS, changed, data

from weighbridge.connectors._workbook_codes import HAZARDS
from weighbridge.connectors.workbook import Hazard, WorkbookReport, inspect_workbook, sheets_of
from weighbridge.sandbox.finance import MACRO
from weighbridge.sandbox.vba_writer import vba_project
from weighbridge.sandbox.workbook_writer import ErrorCell, Formula, SheetPlan, WorkbookPlan, write_workbook

WORKBOOKS = Path(__file__).parent / "workbooks"


def looked(folder: Path, *sheets: SheetPlan, name: str = "book.xlsx", **more: Any) -> WorkbookReport:
    return inspect_workbook(write_workbook(folder / name, WorkbookPlan(list(sheets), **more)))


def the(report: WorkbookReport, code: str) -> Hazard:
    found = [h for h in report.hazards if h.code == code]
    assert len(found) == 1, [h.code for h in report.hazards]
    return found[0]


def test_a_clean_workbook_has_no_hazard(tmp_path: Path) -> None:
    report = looked(tmp_path, data())
    assert report.hazards == []
    assert report.not_looked_at == []
    assert report.worst is None
    assert report.sheets == [
        {
            "name": "Data", "state": "visible", "kind": "worksheet", "rows": 21, "columns": 4, "formulas": 0,
            "header_row": 1, "tables": [],
        }
    ]  # fmt: skip


CASES: dict[str, tuple[SheetPlan | list[SheetPlan], dict[str, Any], int, list[str]]] = {
    "error_cells": (changed((2, 2, ErrorCell("#REF!")), (3, 1, ErrorCell())), {}, 2, ["Data!C4", "Data!B5"]),
    "uncached_formulas": (changed((2, 2, Formula("A4*2"))), {}, 1, ["Data!C4"]),
    "volatile_formulas": (changed((2, 2, Formula("NOW()*A4", 5))), {}, 1, ["Data!C4"]),
    "circular_references": (
        changed((2, 2, Formula("C5+1", 5)), (3, 2, Formula("SUM(C2:C4)", 5))),
        {},
        2,
        ["Data!C4", "Data!C5"],
    ),
    "broken_names": (data(), {"names": {"Lost": "#REF!$A$1", "Fine": "Data!$A$1"}}, 1, ["Lost"]),
    "hidden_sheets": ([data(), SheetPlan("Aside", state="hidden")], {}, 1, ["Aside"]),
    "very_hidden_sheets": ([data(), SheetPlan("Deep", state="veryHidden")], {}, 1, ["Deep"]),
    "hidden_rows": (data(hidden_rows=frozenset({3, 9})), {}, 2, ["Data!3:3", "Data!9:9"]),
    "hidden_columns": (data(hidden_columns=(2,)), {}, 1, ["Data!B:B"]),
    "merged_cells": (data(merged=("B3:B5",)), {}, 1, ["Data!B3:B5"]),
    "date1904": (data(), {"date1904": True}, 1, ["book.xlsx"]),
    "protected": (data(protected=True), {"protected": True}, 2, ["workbook", "Data"]),
    "numbers_as_text": (changed((2, 2, "1.234,50"), (3, 2, "17")), {}, 2, ["Data!C4", "Data!C5"]),
    "dates_as_text": (changed((2, 3, "03.04.2025")), {}, 1, ["Data!D4"]),
    "mixed_types": (changed((2, 2, "n/a"), (4, 0, "total?")), {}, 2, ["Data!A6", "Data!C4"]),
    "long_numbers": (changed((2, 0, 1234567890123456)), {}, 1, ["Data!A4"]),
    "duplicate_headers": (
        SheetPlan("Data", [["id", "Amount", "amount "], *([1, 2, 3] for _ in ROWS)]),
        {},
        1,
        ["Data!C1"],
    ),
    "blank_headers": (SheetPlan("Data", [["id", None, "amount"], *([1, 2, 3] for _ in ROWS)]), {}, 1, ["Data!B1"]),
    "phantom_rows": (data(empty_rows=500), {}, 500, ["Data!22:521"]),
    "style_explosion": (data(), {"styles": 12_000}, 12_004, ["book.xlsx"]),
    "external_links": (data(), {"links": ("file:///x/rates.xls",)}, 1, ["file:///x/rates.xls"]),
    "connections": (data(), {"connections": {"ledger": "DSN=x;PWD=(canary)"}}, 1, ["ledger: DSN=x;PWD=***"]),
    "xlm_macros": ([data(), SheetPlan("Auto", [[Formula("HALT()", 0)]], macro=True)], {}, 1, ["Auto"]),
}


@pytest.mark.parametrize("code", CASES)
def test_the_hazard_is_found_where_it_is(tmp_path: Path, code: str) -> None:
    sheets, more, count, places = CASES[code]
    report = looked(tmp_path, *(sheets if isinstance(sheets, list) else [sheets]), **more)
    hazard = the(report, code)
    assert (hazard.count, list(hazard.places)) == (count, places)
    assert hazard.message.endswith((".", ")"))
    assert hazard.remedy == HAZARDS[code][1]
    assert "canary" not in json.dumps(report.plain())


def test_every_code_has_a_case() -> None:
    elsewhere = {"macros", "pivot_caches", "encrypted", "malformed", "hostile", "locked", "row_ceiling"}
    assert set(CASES) | elsewhere == set(HAZARDS)


def test_macros_are_told_in_words(tmp_path: Path) -> None:
    report = looked(tmp_path, data(), vba=vba_project({"MonthEnd": MACRO, "Other": "Sub Print_It()\nEnd Sub\n"}))
    hazard = the(report, "macros")
    assert hazard.details is not None
    assert [m["name"] for m in hazard.details["modules"]] == ["MonthEnd.bas", "Other.bas"]
    assert "MonthEnd.Auto_Open" in hazard.details["entry_points"]
    assert any("rates.xls" in f for f in hazard.details["files"])
    assert "ADODB.Connection" in hazard.details["external_calls"]
    assert "What feeds this workbook" in hazard.message
    assert "What it feeds: C:\\Export\\datev.csv" in hazard.message
    assert "What breaks when a row or a column is added" in hazard.message
    assert "The file's name hides them" in hazard.message
    assert "practice-only" not in json.dumps(report.plain())


def test_macros_that_cannot_be_read_are_still_macros(tmp_path: Path) -> None:
    hazard = the(looked(tmp_path, data(), vba=b"\xd0\xcf\x11\xe0" + b"x" * 2000), "macros")
    assert "could not be read" in hazard.message


def test_a_pivot_names_its_source(tmp_path: Path) -> None:
    path = write_workbook(tmp_path / "pivot.xlsx", WorkbookPlan([data()]))
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/pivotCacheDefinition"
    with zipfile.ZipFile(path) as old:
        parts = {i.filename: old.read(i) for i in old.infolist()}
    relation = f'<Relationship Id="rIdP" Type="{kind}" Target="pivotCache/pivotCacheDefinition1.xml"/></Relationships>'
    rels = "xl/_rels/workbook.xml.rels"
    parts[rels] = parts[rels].replace(b"</Relationships>", relation.encode())
    parts["xl/pivotCache/pivotCacheDefinition1.xml"] = (
        b'<pivotCacheDefinition><cacheSource type="worksheet"><worksheetSource ref="A1:D21" sheet="Data"/>'
        b"</cacheSource></pivotCacheDefinition>"
    )
    with zipfile.ZipFile(path, "w") as new:
        for name, body in parts.items():
            new.writestr(name, body)
    assert the(inspect_workbook(path), "pivot_caches").places == ("from Data A1:D21",)


def test_a_workbook_that_somebody_has_open(tmp_path: Path) -> None:
    path = write_workbook(tmp_path / "book.xlsx", WorkbookPlan([data()]))
    (tmp_path / "~$book.xlsx").write_bytes(bytes([9]) + b"M. Keller".ljust(54) + bytes(110))
    assert "M. Keller holds it" in the(inspect_workbook(path), "locked").message
    (tmp_path / "~$book.xlsx").unlink()
    (tmp_path / ".~lock.book.xlsx#").write_text(",anna,desk-4,01.01.2025 10:00,file:///x;")
    assert "anna holds it" in the(inspect_workbook(path), "locked").message


def test_a_strict_workbook_is_looked_at_like_any_other(tmp_path: Path) -> None:
    sheets = (data(merged=("B3:B5",)), SheetPlan("Deep", state="veryHidden"))
    path = write_workbook(tmp_path / "strict.xlsx", WorkbookPlan(list(sheets)))
    strict = {
        b"http://schemas.openxmlformats.org/spreadsheetml/2006/main": b"http://purl.oclc.org/ooxml/spreadsheetml/main",
        b"http://schemas.openxmlformats.org/officeDocument/2006/relationships": (
            b"http://purl.oclc.org/ooxml/officeDocument/relationships"
        ),
    }
    with zipfile.ZipFile(path) as old:
        parts = {i.filename: old.read(i) for i in old.infolist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, body in parts.items():
            for loose, tight in strict.items():
                body = body.replace(loose, tight)  # noqa: PLW2901
            new.writestr(name, body)
    assert {h.code for h in inspect_workbook(path).hazards} == {"merged_cells", "very_hidden_sheets"}


def test_a_sharing_violation_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_workbook(tmp_path / "book.xlsx", WorkbookPlan([data()]))

    class Violation(PermissionError):
        winerror = 32

    def refuse(*_: object, **__: object) -> None:
        raise Violation(13, "in use")

    monkeypatch.setattr(Path, "open", refuse)
    assert "holds the workbook open" in the(inspect_workbook(path), "locked").message


def test_merged_titles_are_only_information(tmp_path: Path) -> None:
    sheet = SheetPlan("Data", [["Report"], [], HEADER, *ROWS], merged=("A1:D1",))
    assert the(looked(tmp_path, sheet), "merged_cells").severity == "info"


def test_codes_and_headers_of_digits_are_no_numbers_as_text(tmp_path: Path) -> None:
    rows = [["code", "2024", "2025"], *([f"{n:05d}", n, n] for n in range(20))]
    assert looked(tmp_path, SheetPlan("Data", rows)).hazards == []


def test_at_most_twenty_places_are_shown(tmp_path: Path) -> None:
    rows = [[n, ErrorCell()] for n in range(500)]
    hazard = the(looked(tmp_path, SheetPlan("Data", [["id", "x"], *rows])), "error_cells")
    assert (hazard.count, len(hazard.places)) == (500, 20)


def test_the_json_has_the_shape_that_was_promised(tmp_path: Path) -> None:
    plain = looked(tmp_path, changed((2, 2, ErrorCell()), (4, 0, "x"))).plain()
    assert set(plain) == {"file", "format", "sheets", "findings"}
    assert all(set(f) == {"code", "count", "severity", "places", "message", "remedy"} for f in plain["findings"])
    assert [f["severity"] for f in plain["findings"]] == ["break", "warn"]
    assert json.loads(json.dumps(plain)) == plain


def test_legacy_files_say_what_was_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "legacy.xls"
    shutil.copy(WORKBOOKS / "legacy.xls", path)
    report = inspect_workbook(path)
    codes = {h.code: h for h in report.hazards}
    assert codes["error_cells"].places == ("Data!D8",)
    assert codes["uncached_formulas"].count == 31
    assert codes["very_hidden_sheets"].places == ("Secret",)
    assert codes["hidden_sheets"].places == ("Hidden",)
    assert codes["hidden_columns"].places == ("Data!E:E",)
    assert codes["hidden_rows"].places == ("Data!10:10",)
    assert codes["volatile_formulas"].places == ("Data!D32",)
    assert "Data!A34:D34" in codes["merged_cells"].places
    assert any("formulas without a value" in note for note in report.not_looked_at)


def test_the_structure_has_a_fingerprint_that_values_do_not_change(tmp_path: Path) -> None:
    one = looked(tmp_path, changed((2, 2, Formula("A4*2", 6)), (3, 2, Formula("A5*2", 8))))
    two = looked(tmp_path, changed((5, 2, Formula("A7*2", 12)), (3, 2, Formula("A5*2", 99))))
    three = looked(tmp_path, changed((2, 2, Formula("A4*3", 6)), (3, 2, Formula("A5*2", 8))))
    assert one.fingerprint["digest"] == two.fingerprint["digest"]
    assert one.fingerprint["digest"] != three.fingerprint["digest"]


def test_what_feeds_it_and_what_breaks_is_told_in_words(tmp_path: Path) -> None:
    total = SheetPlan(
        "Sum",
        [["total", "first"], [Formula("SUM(Data!C2:C21)", 1), Formula("VLOOKUP(1,Data!A:D,3,FALSE)", 1)]],
    )
    names = {"Month": "Data!$A$1:$D$21"}
    report = looked(tmp_path, data(), total, connections={"ledger": "DSN=x"}, names=names)
    assert report.in_words == {
        "feeds": ["data connections: ledger: DSN=x"],
        "fed": [],
        "breaks": [
            "a row added below the data is left out by 1 formula(s): Sum!A2",
            "a row added below the data is left out by 1 name(s): Month",
            (
                "a column put in between makes 1 formula(s) read the wrong one, for they count columns or name a cell "
                "in a text: Sum!B2"
            ),
        ],
    }
    assert report.plain()["in_words"] == report.in_words
    whole = SheetPlan("Sum", [["total"], [Formula("SUM(Data!C:C)", 1)]])
    assert not any(looked(tmp_path, data(), whole, name="whole.xlsx").in_words.values())


def test_sheets_of_an_address(tmp_path: Path) -> None:
    path = write_workbook(tmp_path / "b.xlsx", WorkbookPlan([data(), SheetPlan("Other", [["x"], [1]])]))
    assert sheets_of(path, "Data!A1:B") == {"Data"}
    assert sheets_of(path, "Nope") == set()


def test_xlsxwriters_own_features_raise_no_false_alarm(tmp_path: Path) -> None:
    """A workbook of a good library, with rich text, comments, charts, a table, a filter and validation."""
    path = tmp_path / "rich.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet("Data")
        bold = book.add_format({"bold": True})
        sheet.add_table(0, 0, 20, 2, {"name": "T", "columns": [{"header": h} for h in ("id", "name", "amount")]})
        for r in range(1, 21):
            sheet.write_number(r, 0, r)
            sheet.write_rich_string(r, 1, "name ", bold, str(r), " x")
            sheet.write_formula(r, 2, f"=A{r + 1}*2", None, r * 2)
        sheet.write_comment("A2", "note")
        sheet.data_validation("A2:A20", {"validate": "integer", "criteria": ">", "value": 0})
        sheet.conditional_format("C2:C20", {"type": "3_color_scale"})
        chart = book.add_chart({"type": "line"})
        chart.add_series({"values": "=Data!$C$2:$C$20"})
        sheet.insert_chart("F2", chart)
        bars = book.add_chart({"type": "bar"})
        bars.add_series({"values": "=Data!$C$2:$C$20"})
        book.add_chartsheet("Chart").set_chart(bars)
    report = inspect_workbook(path)
    assert report.hazards == []
    assert [s["kind"] for s in report.sheets] == ["worksheet", "chartsheet"]
