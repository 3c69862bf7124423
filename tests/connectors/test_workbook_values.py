"""Values are what the sheet's XML says: every way to write a cell, against the readers that others use."""

from __future__ import annotations

import datetime as dt
import re
import zipfile
from pathlib import Path

import openpyxl
import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook

from weighbridge.connectors._workbook_book import Book
from weighbridge.connectors._workbook_package import WorkbookProblem
from weighbridge.sandbox.workbook_writer import SheetPlan, WorkbookPlan, write_workbook

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
SHARED = (
    "<si><t>plain</t></si>",
    "<si><r><rPr><b/></rPr><t>rich </t></r><r><t xml:space='preserve'> text</t></r></si>",
    "<si><t>kana</t><rPh sb='0' eb='1'><t>never</t></rPh></si>",
    "<si><t/></si>",
    "<si/>",
    "<si><t>a_x000D_b _x005F_x000D_ &amp;#65; &#38;lt; &lt;&gt;</t></si>",
    "<si>\n <t> kept  </t>\n</si>",
    "<si><t>two\r\nlines</t></si>",
)
TEXTS = ("plain", "rich  text", "kana", "", "", "a\rb _x000D_ &#65; &lt; <>", " kept  ", "two\nlines")


def made(path: Path, cells: str, shared: str = "".join(SHARED)) -> Book:
    """A workbook whose only sheet holds these cells in its first row, written as they are."""
    write_workbook(path, WorkbookPlan([SheetPlan("Data", [["id"], [dt.date(2025, 1, 1)]])]))
    with zipfile.ZipFile(path) as old:
        parts = {i.filename: old.read(i) for i in old.infolist()}
    sheet = f'<worksheet xmlns="{MAIN}"><sheetData><row r="1">{cells}</row></sheetData></worksheet>'
    parts["xl/worksheets/sheet1.xml"] = sheet.encode()
    parts["xl/sharedStrings.xml"] = f'<sst xmlns="{MAIN}">{shared}</sst>'.encode()
    with zipfile.ZipFile(path, "w") as new:
        for name, body in parts.items():
            new.writestr(name, body)
    return Book(path)


def first_row(book: Book) -> list[object]:
    return next(iter(book.grid(book.parts.sheets[0]).rows(1, 1, 1, 12)))


def cells(*kinds: str) -> str:
    return "".join(kind.replace("<c", f'<c r="{chr(65 + i)}1"', 1) for i, kind in enumerate(kinds))


@pytest.mark.parametrize("odd", ["", "<!-- a remark -->"])
def test_shared_texts_are_what_the_user_sees(tmp_path: Path, odd: str) -> None:
    row = cells(*(f'<c t="s"><v>{n}</v></c>' for n in range(len(SHARED))))
    assert first_row(made(tmp_path / "b.xlsx", row, odd + "".join(SHARED)))[: len(TEXTS)] == list(TEXTS)


def test_shared_texts_in_cdata_and_with_a_prefix(tmp_path: Path) -> None:
    row = cells('<c t="s"><v>1</v></c>')
    assert first_row(made(tmp_path / "b.xlsx", row, "<si><t>x</t></si><si><t><![CDATA[a <b>]]></t></si>"))[0] == "a <b>"
    book = made(tmp_path / "p.xlsx", row)
    with zipfile.ZipFile(book.path) as old:
        parts = {i.filename: old.read(i) for i in old.infolist()}
    parts["xl/sharedStrings.xml"] = (
        f'<x:sst xmlns:x="{MAIN}"><x:si><x:t>p</x:t></x:si><x:si><x:t>q</x:t></x:si></x:sst>'.encode()
    )
    with zipfile.ZipFile(book.path, "w") as new:
        for name, body in parts.items():
            new.writestr(name, body)
    assert first_row(Book(book.path))[0] == "q"


def test_every_way_to_write_a_cell(tmp_path: Path) -> None:
    row = cells(
        "<c><v>1.5</v></c>",
        '<c t="n"><v> -2E-3 </v></c>',
        '<c t="b"><v>1</v></c>',
        '<c t="b"><v>false</v></c>',
        '<c t="str"><f>A1</f><v>00501</v></c>',
        '<c t="inlineStr"><is><t xml:space="preserve"> in </t></is></c>',
        '<c t="inlineStr"><is><r><t>ri</t></r><r><t>ch</t></r></is></c>',
        '<c t="d"><v>2025-03-04T06:00:00</v></c>',
        '<c t="e"><v>#N/A</v></c>',
        "<c><f>A1</f></c>",
        "<c/>",
        "<c><v/></c>",
    )
    day = dt.datetime(2025, 3, 4, 6)  # noqa: DTZ001 - a sheet knows no zones
    expected = [1.5, -0.002, True, False, "00501", " in ", "rich", day, "", "", "", ""]
    assert first_row(made(tmp_path / "b.xlsx", row)) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        '<c t="s"><v>99</v></c>',
        '<c t="s"><v>99999999999999999999999</v></c>',
        '<c t="s"><v>-1</v></c>',
        "<c><v>abc</v></c>",
        "<c><v>1_0</v></c>",
        '<c t="d"><v>x</v></c>',
    ],
)
def test_a_cell_that_is_not_of_its_kind_is_said_and_not_guessed(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(WorkbookProblem, match="cannot be read"):
        first_row(made(tmp_path / "b.xlsx", cells(wrong)))


def test_the_date_system_is_read_where_an_extension_has_an_element_of_its_name(tmp_path: Path) -> None:
    path = made(tmp_path / "b.xlsx", "").path
    with zipfile.ZipFile(path) as old:
        parts = {i.filename: old.read(i) for i in old.infolist()}
    extension = b'<extLst><ext><x15:workbookPr xmlns:x15="urn:x" chartTrackingRefBase="1"/></ext></extLst></workbook>'
    main = re.sub(rb"<workbookPr[^>]*>", b'<workbookPr date1904="1"/>', parts["xl/workbook.xml"])
    parts["xl/workbook.xml"] = main.replace(b"</workbook>", extension)
    with zipfile.ZipFile(path, "w") as new:
        for part, body in parts.items():
            new.writestr(part, body)
    assert Book(path).parts.date1904


def test_cells_out_of_order_stand_where_they_say(tmp_path: Path) -> None:
    row = '<c r="C1"><v>3</v></c><c r="A1"><v>1</v></c>'
    assert first_row(made(tmp_path / "b.xlsx", row))[:3] == [1.0, "", 3.0]


VALUE = st.one_of(
    st.none(),
    st.floats(-1e15, 1e15, allow_nan=False),
    st.integers(-(10**15), 10**15),
    st.booleans(),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12),
    st.dates(dt.date(1904, 1, 2), dt.date(9999, 12, 31)),
    st.datetimes(dt.datetime(1904, 1, 2), dt.datetime(2200, 1, 1)),  # noqa: DTZ001
    st.times(),
    st.timedeltas(dt.timedelta(0), dt.timedelta(days=400)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(VALUE, min_size=1, max_size=6), min_size=1, max_size=10), st.booleans())
def test_values_are_those_of_calamine_and_openpyxl(tmp_path_factory: pytest.TempPathFactory, rows, date1904) -> None:
    path = tmp_path_factory.mktemp("values") / "b.xlsx"
    with xlsxwriter.Workbook(path, {"date_1904": date1904, "strings_to_urls": False}) as out:
        sheet = out.add_worksheet("S")
        formats = {
            dt.date: out.add_format({"num_format": "yyyy-mm-dd"}),
            dt.datetime: out.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}),
            dt.time: out.add_format({"num_format": "hh:mm:ss"}),
            dt.timedelta: out.add_format({"num_format": "[h]:mm:ss"}),
        }
        for r, row in enumerate(rows):
            for c, value in enumerate(row):
                if isinstance(value, str):
                    sheet.write_string(r, c, value)
                elif type(value) in formats:
                    sheet.write_datetime(r, c, value, formats[type(value)])
                elif value is not None:
                    sheet.write(r, c, value)
    book = Book(path)
    scan = book.scan(book.parts.sheets[0])
    if not scan.filled:
        return
    ours = list(book.grid(book.parts.sheets[0]).rows(1, None, 1, scan.last_column))
    theirs = CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python(skip_empty_area=False)
    others = openpyxl.load_workbook(path).worksheets[0]
    for r, row in enumerate(ours):
        for c, value in enumerate(row):
            other = others.cell(r + 1, c + 1).value
            if isinstance(value, float | str | bool) and value != "":
                assert value == other
            if isinstance(value, dt.date | dt.timedelta | dt.time):
                # theirs gives a time of day for the first day of 1904
                first = date1904 and isinstance(theirs[r][c], dt.time) and not isinstance(value, dt.time)
                assert first or value == theirs[r][c]
            elif value != "":
                assert value == theirs[r][c]
