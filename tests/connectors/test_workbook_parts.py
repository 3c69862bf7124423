"""The pieces of the workbook reader: references, formats, texts, formulas, odd XML, binary workbooks."""

from __future__ import annotations

import datetime as dt
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook
from xlsb_kit import binary_workbook, cell, record, row_head, wide

from weighbridge.connectors._workbook_cells import scan_sheet
from weighbridge.connectors._workbook_formulas import Formulas, r1c1
from weighbridge.connectors._workbook_package import open_package
from weighbridge.connectors._workbook_parts import number_kind, read_parts, shared_texts, styles_of
from weighbridge.connectors._workbook_scan import (
    DATE,
    DATETIME,
    ELAPSED,
    NUMBER,
    TIME,
    column_letters,
    column_number,
    place,
)
from weighbridge.connectors._workbook_text import (
    DATE_TEXT,
    DECIMAL_COMMA,
    LONG_DIGITS,
    NOTHING,
    NUMBER_TEXT,
    SCIENTIFIC,
    classify,
)
from weighbridge.connectors._workbook_xml_text import unescape
from weighbridge.connectors.excel import ExcelConnector
from weighbridge.connectors.workbook import inspect_workbook
from weighbridge.sandbox.workbook_writer import ErrorCell, Formula, SheetPlan, WorkbookPlan, write_workbook


@given(st.integers(1, 16_384))
def test_columns_have_letters_and_back(number: int) -> None:
    assert column_number(column_letters(number)) == number


def test_places() -> None:
    assert (place(1, 1), place(1_048_576, 16_384)) == ("A1", "XFD1048576")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("General", NUMBER),
        ("0.00E+00", NUMBER),
        ('"day" 0', NUMBER),
        ("#,##0.00 [$€-407];[Red]-#,##0.00", NUMBER),
        ("yyyy\\-mm\\-dd", DATE),
        ("[$-407]d. mmmm yyyy;@", DATE),
        ("mmm-yy", DATE),
        ("dd/mm/yyyy hh:mm", DATETIME),
        ("h:mm AM/PM", TIME),
        ("mm:ss", TIME),
        ("[h]:mm:ss", ELAPSED),
        ("[mm]:ss", ELAPSED),
        ("[Red]0.0", NUMBER),
        ("@", NUMBER),
    ],
)
def test_number_formats(code: str, kind: int) -> None:
    assert number_kind(code) == kind


def test_built_in_formats() -> None:
    assert [number_kind("", n) for n in (0, 4, 14, 20, 22, 46)] == [NUMBER, NUMBER, DATE, TIME, DATETIME, ELAPSED]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("12", NUMBER_TEXT),
        ("-1,234.50", NUMBER_TEXT),
        ("5%", NUMBER_TEXT),
        ("12,5", DECIMAL_COMMA),
        ("1.234.567,89 €", DECIMAL_COMMA),
        ("1.23457E+12", SCIENTIFIC),
        ("2025-01-31", DATE_TEXT),
        ("31.12.2025", DATE_TEXT),
        ("3 Mar 2025", DATE_TEXT),
        ("März 5, 2025", DATE_TEXT),
        ("12345678901234567890", LONG_DIGITS),
        ("00501", NOTHING),
        ("C-000123", NOTHING),
        ("1.2.3.4", NOTHING),
        ("2025-13-45", NOTHING),
        ("Main St 5", NOTHING),
        ("", NOTHING),
        ("x" * 100, NOTHING),
    ],
)
def test_texts_that_look_like_something_else(text: str, kind: int) -> None:
    assert classify(text) == kind


def test_formulas_that_are_filled_down_have_one_form() -> None:
    assert r1c1("SUM(A2:$B$9)*'My Sheet'!C3", 4, 3) == "SUM(R[-2]C[-2]:R9C2)*'My Sheet'!R[-1]C[0]"
    assert r1c1('IF(A1="B2",LOG10(A1),RATE2024)', 1, 2) == 'IF(R[0]C[-1]="B2",LOG10(R[0]C[-1]),RATE2024)'
    assert r1c1("A2*2", 2, 2) == r1c1("A77*2", 77, 2)


def circles(*cells: tuple[str, int, int, str]) -> list[tuple[str, int, int]]:
    formulas = Formulas()
    for sheet, row, column, text in cells:
        formulas.add(sheet, row, column, b"", text.encode())
    return formulas.circles()[0]


def test_circles() -> None:
    assert circles(("S", 1, 1, "A1+1")) == [("S", 1, 1)]
    assert circles(("S", 10, 1, "SUM(A1:A10)")) == [("S", 10, 1)]
    assert circles(("S", 10, 1, "SUM(A1:A9)"), ("S", 5, 1, "B1")) == []
    assert circles(("S", 1, 1, "T!A1"), ("T", 1, 1, "S!B1"), ("S", 1, 2, "A1")) == [
        ("S", 1, 1),
        ("S", 1, 2),
        ("T", 1, 1),
    ]
    assert circles(("S", 1, 1, '"A1"&B1'), ("S", 1, 2, "C1")) == []


def test_a_long_chain_of_formulas_needs_no_recursion() -> None:
    chain = [("S", n, 1, f"A{n + 1}") for n in range(1, 5000)]
    assert circles(*chain) == []
    assert len(circles(*chain, ("S", 5000, 1, "A1"))) == 5000


def test_shared_formulas_are_followed_from_their_first_cell() -> None:
    formulas = Formulas()
    formulas.add("S", 1, 2, b' t="shared" ref="B1:B3" si="0"', b"A1*2")
    formulas.add("S", 2, 2, b' t="shared" si="0"', b"")
    formulas.add("S", 2, 1, b"", b"B2")
    assert formulas.circles()[0] == [("S", 2, 1), ("S", 2, 2)]
    assert len(formulas.shapes["S"]) == 2


def test_escapes() -> None:
    assert unescape(b"a &amp; b&#10;&#x41;_x000D_") == "a & b\nA\r"


# --- odd but valid XML -------------------------------------------------------------------------------------------

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
ODD = {
    "prefixed": (
        f'<x:worksheet xmlns:x="{MAIN}"><x:sheetData><x:row r="1">'
        '<x:c r="A1" t="inlineStr"><x:is><x:t>id</x:t></x:is></x:c>'
        '<x:c r="B1" t="inlineStr"><x:is><x:t>x</x:t></x:is></x:c></x:row>'
        '<x:row r="2"><x:c r="A2"><x:v>1</x:v></x:c><x:c r="B2" t="e"><x:v>#N/A</x:v></x:c></x:row>'
        "</x:sheetData></x:worksheet>"
    ),
    "attributes in another order": (
        f'<worksheet xmlns="{MAIN}"><sheetData><row r="1"><c t="inlineStr" r="A1"><is><t>id</t></is></c>'
        '<c t="inlineStr" r="B1"><is><t>x</t></is></c></row>'
        '<row r="2"><c s="0" r="A2"><v>1</v></c><c t="e" r="B2"><v>#N/A</v></c></row></sheetData></worksheet>'
    ),
    "no references": (
        f'<worksheet xmlns="{MAIN}"><sheetData><row><c t="inlineStr"><is><t>id</t></is></c>'
        '<c t="inlineStr"><is><t>x</t></is></c></row><row><c><v>1</v></c><c t="e"><v>#N/A</v></c></row>'
        "</sheetData></worksheet>"
    ),
    "indented": (
        f'<worksheet xmlns="{MAIN}">\n <sheetData>\n  <row r="1">\n   <c r="A1" t="inlineStr">\n    <is><t>id</t></is>'
        '\n   </c>\n   <c r="B1" t="inlineStr"><is><t>x</t></is></c>\n  </row>\n  <row r="2">\n   <c r="A2">\n'
        "    <v>1</v>\n"
        '   </c>\n   <c r="B2" t="e">\n    <v>#N/A</v>\n   </c>\n  </row>\n </sheetData>\n</worksheet>'
    ),
    "commented": (
        f'<worksheet xmlns="{MAIN}"><sheetData><row r="1"><c r="A1" t="inlineStr"><is><t><![CDATA[id]]></t></is></c>'
        '<!-- <c r="Z9"><v>1</v></c> --><c r="B1" t="inlineStr"><is><t>x</t></is></c></row>'
        '<row r="2"><c r="A2"><v>1</v></c><c r="B2" t="e"><v>#N/A</v></c></row></sheetData></worksheet>'
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_xml_written_another_way_is_scanned_all_the_same(tmp_path: Path, name: str) -> None:
    path = write_workbook(tmp_path / "b.xlsx", WorkbookPlan([SheetPlan("Data", [["id"], [1]])]))
    with zipfile.ZipFile(path) as old:
        parts = {i.filename: old.read(i) for i in old.infolist()}
    parts["xl/worksheets/sheet1.xml"] = ODD[name].encode()
    with zipfile.ZipFile(path, "w") as new:
        for part, body in parts.items():
            new.writestr(part, body)
    package = open_package(path)
    scan = scan_sheet(package, "xl/worksheets/sheet1.xml", styles=np.asarray([NUMBER], np.uint8))
    assert (scan.errors.places(), scan.filled, scan.last_row, scan.last_column) == (["B2"], 4, 2, 2)
    assert [h.code for h in inspect_workbook(path).hazards] == ["error_cells"]


def test_utf16_parts_are_read(tmp_path: Path) -> None:
    path = write_workbook(tmp_path / "b.xlsx", WorkbookPlan([SheetPlan("Dätä", [["id", "x"], [1, ErrorCell()]])]))
    with zipfile.ZipFile(path) as old:
        parts = {i.filename: old.read(i) for i in old.infolist()}
    for name in ("xl/worksheets/sheet1.xml", "xl/workbook.xml", "xl/sharedStrings.xml"):
        parts[name] = parts[name].decode().replace('encoding="UTF-8"', 'encoding="UTF-16"').encode("utf-16")
    with zipfile.ZipFile(path, "w") as new:
        for part, body in parts.items():
            new.writestr(part, body)
    report = inspect_workbook(path)
    assert [(h.code, h.places) for h in report.hazards] == [("error_cells", ("Dätä!B2",))]


CELL = st.one_of(
    st.none(),
    st.integers(-(10**14), 10**14),
    st.floats(-1e9, 1e9, allow_nan=False).map(lambda x: round(x, 4)),
    st.booleans(),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12),
    st.dates(dt.date(1950, 1, 1), dt.date(2100, 1, 1)),
    st.just(ErrorCell("#REF!")),
    st.just(Formula("A1+1")),
    st.just(Formula("A1+1", 4)),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(CELL, max_size=7), min_size=1, max_size=12))
def test_the_scan_agrees_with_what_was_written_and_with_calamine(
    tmp_path_factory: pytest.TempPathFactory, rows
) -> None:
    path = write_workbook(tmp_path_factory.mktemp("scan") / "b.xlsx", WorkbookPlan([SheetPlan("S", rows)]))
    package = open_package(path)
    parts = read_parts(package)
    scan = scan_sheet(package, parts.sheets[0].part, styles=styles_of(package, parts.workbook).kinds)
    cells = {(r, c): v for r, row in enumerate(rows, 1) for c, v in enumerate(row, 1) if v is not None}
    errors = sorted(at for at, v in cells.items() if isinstance(v, ErrorCell))
    uncached = sorted(at for at, v in cells.items() if isinstance(v, Formula) and v.value is None)
    assert scan.errors.places(10_000) == [place(*at) for at in errors]
    assert scan.uncached.places(10_000) == [place(*at) for at in uncached]
    assert scan.filled == len(cells)
    assert scan.formulas == sum(isinstance(v, Formula) for v in cells.values())
    assert scan.last_row == max((r for r, _ in cells), default=0)
    texts = sum(isinstance(v, str) for v in cells.values())
    assert sum(scan.counts(c).get("text", 0) for c in range(1, 9)) == texts
    assert len(list(shared_texts(package))) == len({v for v in cells.values() if isinstance(v, str)})
    if len(cells) > len(errors) + len(uncached):
        theirs = CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python(skip_empty_area=False)
        for (r, c), value in cells.items():
            # its sheet ends before formulas without a value
            seen = theirs[r - 1][c - 1] if r <= len(theirs) and c <= len(theirs[r - 1]) else ""
            assert (seen == "") == (
                isinstance(value, ErrorCell) or (isinstance(value, Formula) and value.value is None)
            )


# --- .xlsb -------------------------------------------------------------------------------------------------------


def test_a_binary_workbook_is_read_with_its_errors(tmp_path: Path) -> None:
    path = binary_workbook(tmp_path / "b.xlsb")
    with ExcelConnector({"path": path}) as connector:
        (page,) = connector.read("Data")
        assert connector.count("Data").value == 3
    assert page.batch.to_pylist() == [
        {"id": 1, "amount": 2.5, "day": dt.date(2023, 3, 16)},
        {"id": 2, "amount": 5.0, "day": dt.date(2023, 3, 17)},
        {"id": 3, "amount": None, "day": dt.date(2023, 3, 18)},
    ]
    assert [(m.row, m.column, m.raw) for m in page.misfits] == [(2, "amount", "#N/A")]
    report = inspect_workbook(path)
    found = {h.code: h.places for h in report.hazards}
    assert found == {
        "error_cells": ("Data!B4",),
        "very_hidden_sheets": ("Deep",),
        "hidden_rows": ("Data!3:3",),
        "hidden_columns": ("Data!B:B",),
        "merged_cells": ("Data!A2:A3",),
    }
    assert any(note.startswith("in .xlsb: formulas without a value") for note in report.not_looked_at)


def test_formulas_names_headers_and_texts_of_a_binary_workbook(tmp_path: Path) -> None:
    now = struct.pack("<d", 45000.5) + b"\0\0" + struct.pack("<I", 7) + b"\x19\x01\0\0\x21\x4a\0"
    plain = struct.pack("<d", 2.0) + b"\0\0" + struct.pack("<I", 3) + b"\x1e\x02\0"
    words = wide("x") + b"\0\0" + struct.pack("<I", 3) + b"\x21\xdd\0"  # TODAY, without the attribute before it
    cells = b""
    for n in range(4, 20):
        cells += row_head(n) + cell(6, 0, wide(f"{n},5")) + cell(9, 1, plain) + cell(6, 2, wide("01.02.2024"))
    cells += row_head(20) + cell(9, 0, now) + cell(8, 1, words) + cell(6, 3, wide("no header"))
    cells += row_head(21) + cell(6, 3, wide("none"))
    links = record(353) + record(357) + record(362, struct.pack("<IIII", 1, 0, 0, 0)) + record(354)
    gone = struct.pack("<IBI", 0, 0, 0xFFFFFFFF) + wide("Lost") + struct.pack("<I", 9) + b"\x3c" + bytes(8)
    kept = struct.pack("<IBI", 0, 0, 0) + wide("Kept") + struct.pack("<I", 9) + b"\x3a" + bytes(8)
    path = binary_workbook(
        tmp_path / "b.xlsb", cells=cells, after=record(463) * 600, names=links + record(39, gone) + record(39, kept)
    )
    report = inspect_workbook(path)
    found = {h.code: h for h in report.hazards}
    assert found["volatile_formulas"].places == ("Data!A21", "Data!B21")
    assert found["broken_names"].places == ("Lost",)
    assert found["numbers_as_text"].count == 16
    assert found["numbers_as_text"].places[0] == "Data!A5"
    assert found["dates_as_text"].count == 16
    assert found["mixed_types"].count >= 3
    assert found["blank_headers"].places == ("Data!D1",)
    assert found["style_explosion"].count == 600
    assert report.fingerprint["headers"] == {"Data": ["id", "amount", "day"]}
    assert next(s for s in report.sheets if s["name"] == "Data")["formulas"] == 18


def test_a_running_program_behind_a_binary_link(tmp_path: Path) -> None:
    path = binary_workbook(tmp_path / "b.xlsb")
    link = record(360, struct.pack("<H", 1) + wide("cmd") + wide("/c calc.exe"))
    with zipfile.ZipFile(path) as old:
        parts = {i.filename: old.read(i) for i in old.infolist()}
    office = b"http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    more = b'<Relationship Id="rId9" Type="' + office + b'/externalLink" Target="externalLinks/externalLink1.bin"/>'
    name = "xl/_rels/workbook.bin.rels"
    parts[name] = parts[name].replace(b"</Relationships>", more + b"</Relationships>")
    parts["xl/externalLinks/externalLink1.bin"] = link
    with zipfile.ZipFile(path, "w") as new:
        for part, body in parts.items():
            new.writestr(part, body)
    (found,) = [h for h in inspect_workbook(path).hazards if h.code == "external_links"]
    assert found.places == ("DDE cmd|/c calc.exe",)


def test_a_binary_workbook_cut_short_is_malformed(tmp_path: Path) -> None:
    path = binary_workbook(tmp_path / "b.xlsb")
    with zipfile.ZipFile(path) as old:
        parts = {i.filename: old.read(i) for i in old.infolist()}
    parts["xl/worksheets/sheet1.bin"] = parts["xl/worksheets/sheet1.bin"][:-30]
    with zipfile.ZipFile(path, "w") as new:
        for part, body in parts.items():
            new.writestr(part, body)
    assert [h.code for h in inspect_workbook(path).hazards] == ["malformed"]
