"""Formulas of .xls and .xlsb: written out from their tokens, and the hazards in them found as in .xlsx."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xlsb_kit import binary_workbook, cell, record, row_head, wide

from weighbridge.connectors._workbook_book import Book
from weighbridge.connectors._workbook_tokens import Linked, Scope, formula_text
from weighbridge.connectors.excel import ExcelConnector
from weighbridge.connectors.workbook import inspect_workbook

WORKBOOKS = Path(__file__).parent / "workbooks"


def texts(path: Path) -> dict[tuple[str, int, int], str | None]:
    book = Book(path)
    return {(s.name, row, column): text for s in book.parts.sheets for row, column, text in book.formulas(s)}


def test_a_legacy_files_formulas_are_written_out_as_they_were_entered() -> None:
    found = texts(WORKBOOKS / "formulas.xls")
    assert {r: found["Data", r, 3] for r in range(2, 12)} == {r: f"B{r}*0.19" for r in range(2, 12)}  # one shared
    assert {r: found["Data", r, 4] for r in range(2, 12)} == {r: f"ROUND(B{r}+C{r},2)" for r in range(2, 12)}
    assert [found["Data", r, 6] for r in range(1, 9)] == [
        "SUM(B2:B11)",
        "VLOOKUP(A2,Data!$A$2:$D$11,4,FALSE)",
        "ROWS(F$3:F3)+ROW(F3)",
        "Rate*2",
        "SUMPRODUCT((A2:A11>3)*{...})",
        "CHOOSE(2,A1,B2,C2)",
        'IF(A2="NOW()",-A2%^2,LEN("TODAY("))',
        "SUM(A2:A11*B2:B11)",
    ]
    assert found["Data", 4, 7] == 'IF(A2=1,OFFSET(A1,1,0),INDIRECT("A"&ROW()))'
    assert found["Data", 3, 7] == "'My Other'!A2+1"


def test_circles_and_volatile_formulas_of_a_legacy_file() -> None:
    found = {h.code: h.places for h in inspect_workbook(WORKBOOKS / "formulas.xls").hazards}
    assert found["circular_references"] == ("Data!G2", "Data!H2", "Data!G3", "Data!G6", "Data!G9", "My Other!A2")
    assert found["volatile_formulas"] == ("Data!G4", "Data!G5", "Data!G7")
    assert inspect_workbook(WORKBOOKS / "formulas_clean.xls").hazards == []


def test_the_names_of_a_legacy_file_are_addresses() -> None:
    with ExcelConnector({"path": WORKBOOKS / "formulas.xls"}) as connector:
        assert connector.count("@Sales").value == 10
        assert [c.name for c in connector.discover("@Sales").columns] == ["id", "amount", "vat", "total"]


def formula(column: int, tokens: bytes, extra: bytes = b"") -> bytes:
    body = struct.pack("<d", 2.0) + b"\0\0" + struct.pack("<I", len(tokens)) + tokens
    return cell(9, column, body + struct.pack("<I", len(extra)) + extra)


def reference(row: int, column: int, *, fixed: bool = False) -> bytes:
    return b"\x44" + struct.pack("<IH", row, column | (0 if fixed else 0xC000))


def test_circles_shared_formulas_and_links_of_a_binary_workbook(tmp_path: Path) -> None:
    add_one = b"\x1e\x01\0\x03"
    near = b"\x4c" + struct.pack("<IH", 0xFFFFF, 0xC000)  # one row up, same column
    cells = row_head(4) + formula(3, reference(4, 4) + add_one) + formula(4, reference(4, 3, fixed=True) + add_one)
    cells += row_head(5) + formula(3, b"\x01" + struct.pack("<I", 5), struct.pack("<I", 3))
    cells += record(427, struct.pack("<IIII", 5, 6, 3, 3) + struct.pack("<I", len(near + add_one)) + near + add_one)
    cells += row_head(6) + formula(3, b"\x01" + struct.pack("<I", 5), struct.pack("<I", 3))
    cells += formula(4, b"\x5a" + struct.pack("<HIH", 1, 0, 0xC000) + add_one)
    cells += formula(5, b"\x5a" + struct.pack("<HIH", 0, 6, 0xC005) + add_one)
    links = record(353) + record(357) + record(355, wide("rId9"))
    links += record(362, struct.pack("<IIiiIii", 2, 0, 0, 0, 1, 1, 1)) + record(354)
    path = binary_workbook(tmp_path / "b.xlsb", cells=cells, names=links)
    with zipfile.ZipFile(path) as old:
        parts = {i.filename: old.read(i) for i in old.infolist()}
    office = b"http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    name = "xl/_rels/workbook.bin.rels"
    link = b'<Relationship Id="rId9" Type="' + office + b'/externalLink" Target="externalLinks/externalLink1.bin"/>'
    parts[name] = parts[name].replace(b"</Relationships>", link + b"</Relationships>")
    parts["xl/externalLinks/externalLink1.bin"] = record(359, struct.pack("<I", 2) + wide("Jan") + wide("Feb"))
    parts["xl/externalLinks/_rels/externalLink1.bin.rels"] = (
        b'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" '
        b'Type="' + office + b'/externalLinkPath" Target="other.xlsx" TargetMode="External"/></Relationships>'
    )
    with zipfile.ZipFile(path, "w") as new:
        for part, body in parts.items():
            new.writestr(part, body)
    found = texts(path)
    assert found == {
        ("Data", 5, 4): "E5+1",
        ("Data", 5, 5): "$D$5+1",
        ("Data", 6, 4): "D5+1",
        ("Data", 7, 4): "D6+1",
        ("Data", 7, 5): "[1]Feb!A1+1",
        ("Data", 7, 6): "Data!F7+1",
    }
    report = inspect_workbook(path)
    hazards = {h.code: h for h in report.hazards}
    assert hazards["circular_references"].places == ("Data!D5", "Data!E5", "Data!F7")
    assert "1 formula(s) use them" in hazards["external_links"].message
    assert report.fingerprint["formulas"]["Data"]["shapes"] == 5  # the two filled down have one


def test_a_binary_table_is_an_address(tmp_path: Path) -> None:
    path = binary_workbook(tmp_path / "b.xlsb")
    head = struct.pack("<8I", 0, 3, 0, 1, 0, 1, 1, 0) + bytes(32) + wide("Tabelle1") + wide("Amounts")
    column = bytes(24)
    table = record(343, head) + record(347, column + wide("id") + wide("id"))
    table += record(347, column + wide("amount") + struct.pack("<I", 0xFFFFFFFF)) + record(344)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("xl/tables/table1.bin", table)
        office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
        archive.writestr(
            "xl/worksheets/_rels/sheet1.bin.rels",
            '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r" '
            f'Type="{office}/table" Target="../tables/table1.bin"/></Relationships>',
        )
    with ExcelConnector({"path": path}) as connector:
        assert "#Amounts" in connector.objects()
        assert [c.name for c in connector.discover("#Amounts").columns] == ["id", "amount"]
        assert connector.count("#Amounts").value == 3
    assert inspect_workbook(path).fingerprint["tables"] == {"Amounts": ["id", "amount"]}


BINARY_CASES = {
    "date1904": ({"names": record(153, struct.pack("<II", 1, 0) + wide(""))}, 1, ("b.xlsb",)),
    "protected": (
        {"names": record(534, bytes(8)), "after": record(535, struct.pack("<HI", 0, 1))},
        2,
        ("workbook", "Data"),
    ),
    "phantom_rows": ({"cells": b"".join(row_head(n) for n in range(4, 300))}, 296, ("Data!5:300",)),
    "long_numbers": (
        {"cells": row_head(4) + cell(5, 0, struct.pack("<d", 1234567890123456.0))},
        1,
        ("Data!A5",),
    ),
}


@pytest.mark.parametrize("code", BINARY_CASES)
def test_hazards_of_a_binary_workbook_are_counted_with_their_place(tmp_path: Path, code: str) -> None:
    more, count, places = BINARY_CASES[code]
    found = {h.code: h for h in inspect_workbook(binary_workbook(tmp_path / "b.xlsb", **more)).hazards}
    assert (found[code].count, found[code].places) == (count, places)
    (tmp_path / "clean").mkdir()
    assert code not in {h.code for h in inspect_workbook(binary_workbook(tmp_path / "clean" / "b.xlsb")).hazards}


def test_long_numbers_of_a_binary_workbook_are_read_as_they_are(tmp_path: Path) -> None:
    cells = row_head(4) + cell(5, 0, struct.pack("<d", 1234567890123456.0))
    path = binary_workbook(tmp_path / "b.xlsb", cells=cells)
    with ExcelConnector({"path": path}) as connector:
        (page,) = connector.read("Data")
    assert [int(v.as_py()) for v in page.batch["id"]] == [1, 2, 3, 1234567890123456]
    assert not [m for m in page.misfits if m.column == "id"]


SCOPES = [
    Scope(wide, ["A", "B"], ["Total"], [Linked(own=True), Linked(sheets=["X"], names=["Rate"])], [(0, 0, 1), (1, 0, 0)])
    for wide in (False, True)
]


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (b"\x23\x01\0\0\0", "Total"),
        (b"\x3b\0\0" + struct.pack("<HHHH", 0, 4, 0xC000, 0xC001), "'A:B'!A1:B5"),
        (b"\x3a\x01\0" + struct.pack("<HH", 1, 0), "[1]X!$A$2"),
        (b"\x39\x01\0\x01\0\0\0", "[1]!Rate"),
        (b"\x3c\0\0\0\0\0\0", "'A:B'!#REF!"),
        (b"\x2a\0\0\0\0", "#REF!"),
        (b"\x17\x02\0ab", '"ab"'),
        (b"\x1c\x2a", "#N/A"),
        (b"\x1e\x05\0\x13\x14\x15", "(-5%)"),
        (b"\x21\x13\0", "PI()"),
        (b"\x19\x01\0\0\x41\xdd\0", "TODAY()"),
        (b"\x7f", None),
        (b"\x03", None),
        (b"\x44\0", None),
        (b"", None),
    ],
)
def test_narrow_tokens(tokens: bytes, text: str | None) -> None:
    assert formula_text(tokens, SCOPES[0]) == text


@given(st.binary(max_size=60), st.sampled_from(SCOPES))
def test_any_bytes_are_a_formula_or_none(tokens: bytes, scope: Scope) -> None:
    text = formula_text(tokens, scope, 5, 5)
    assert text is None or isinstance(text, str)
