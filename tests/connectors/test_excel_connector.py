"""Values of workbooks are what the sheet shows: nothing becomes blank, nothing changes its kind unsaid."""

from __future__ import annotations

import datetime as dt
import io
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import xlsxwriter

from weighbridge.connectors.base import Files, Loadable, ObjectRef, Sql
from weighbridge.connectors.conformance import ConnectorConformance, Make
from weighbridge.connectors.errors import FileError, MissingObjectError, RejectedError, SettingsError
from weighbridge.connectors.excel import ExcelConnector
from weighbridge.connectors.session import Session
from weighbridge.sandbox.workbook_writer import ErrorCell, Formula, SheetPlan, TableArea, WorkbookPlan, write_workbook

WORKBOOKS = Path(__file__).parent / "workbooks"
HEADER = ["id", "account", "amount", "day"]
ROWS = [[n, f"C-{n:06d}", n * 1.25, dt.date(2025, 1, n)] for n in range(1, 13)]


def made(folder: Path, *sheets: SheetPlan, name: str = "book.xlsx", **more: Any) -> Path:
    return write_workbook(folder / name, WorkbookPlan(list(sheets), **more))


def read(path: Path, address: str, **options: Any) -> tuple[list[dict[str, Any]], list[tuple[int, str, str]]]:
    """All rows and all misfits as (row, column, raw)."""
    with ExcelConnector({"path": path, **options}) as connector:
        rows: list[dict[str, Any]] = []
        misfits: list[tuple[int, str, str]] = []
        for page in connector.read(address):
            misfits += [(m.row + len(rows), m.column, m.raw) for m in page.misfits]
            rows += page.batch.to_pylist()
        assert len(rows) == connector.count(address).value
    return rows, misfits


class TestExcel(ConnectorConformance):
    @pytest.fixture
    def make_connector(self, tmp_path: Path) -> Make:
        path = made(tmp_path, SheetPlan("Data", [HEADER, *ROWS]))
        return lambda session: ExcelConnector({"path": path}, session)

    @pytest.fixture
    def known_object(self) -> str:
        return "Data"


class TestExcelFolder(ConnectorConformance):
    @pytest.fixture
    def make_connector(self, tmp_path: Path) -> Make:
        for month in (1, 2, 3):
            made(tmp_path, SheetPlan("Data", [HEADER, *ROWS[:month]]), name=f"m{month}.xlsx")
        return lambda session: ExcelConnector({"glob": f"{tmp_path}/m*.xlsx"}, session)

    @pytest.fixture
    def known_object(self) -> str:
        return "Data"


# --- addresses ---------------------------------------------------------------------------------------------------


def test_a_sheet_a_range_a_table_and_a_name_are_addresses(tmp_path: Path) -> None:
    table = TableArea("Sales", "B3:E15", tuple(HEADER))
    rows = [["Report"], [], [None, *HEADER], *([None, *row] for row in ROWS), [], [None, "checked by M."]]
    path = made(tmp_path, SheetPlan("The 'Data'!", rows, tables=(table,)), names={"Area": "'The ''Data''!'!$B$3:$D$8"})
    whole, _ = read(path, "#Sales")
    assert [r["id"] for r in whole] == list(range(1, 13))
    assert whole[0]["day"] == dt.date(2025, 1, 1)
    part, _ = read(path, "@Area")
    assert [(r["id"], r["account"]) for r in part] == [(n, f"C-{n:06d}") for n in range(1, 6)]
    assert list(part[0]) == HEADER[:3]
    ranged, _ = read(path, "The 'Data'!!B3:C15")
    assert len(ranged) == 12
    assert list(ranged[0]) == ["id", "account"]
    open_end, _ = read(path, "The 'Data'!!B3:E")
    assert len(open_end) == 13
    by_sheet, _ = read(path, "The 'Data'!")
    assert by_sheet[0] == {"id": 1, "account": "C-000001", "amount": 1.25, "day": dt.date(2025, 1, 1)}


def test_what_is_not_there_is_named_with_what_is(tmp_path: Path) -> None:
    path = made(tmp_path, SheetPlan("Data", [HEADER, *ROWS]), names={"Moving": "OFFSET(Data!$A$1,0,0,5,2)"})
    with ExcelConnector({"path": path}) as connector:
        with pytest.raises(MissingObjectError, match="it has Data"):
            connector.discover("Nope")
        with pytest.raises(MissingObjectError, match="its tables: none"):
            connector.discover("#Nope")
        with pytest.raises(MissingObjectError, match="not one plain range"):
            connector.discover("@Moving")
        with pytest.raises(MissingObjectError, match="no column nope; it has id"):
            list(connector.read("Data", columns=["nope"]))
        with pytest.raises(RejectedError, match="cannot be filtered"):
            connector.count(ObjectRef("Data", "id > 5"))


def test_a_sheet_pattern_reads_all_its_sheets(tmp_path: Path) -> None:
    path = made(tmp_path, *(SheetPlan(f"2025-{m:02d}", [HEADER, *ROWS[:m]]) for m in (1, 2, 3)), SheetPlan("Notes"))
    rows, _ = read(path, "2025-*")
    assert [r["_sheet"] for r in rows] == ["2025-01"] + ["2025-02"] * 2 + ["2025-03"] * 3


def test_path_or_glob_and_not_both(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="either path"):
        ExcelConnector({})
    with pytest.raises(SettingsError, match="either path"):
        ExcelConnector({"path": tmp_path, "glob": "*"})


# --- values ------------------------------------------------------------------------------------------------------


def test_every_kind_of_value_is_what_the_sheet_shows(tmp_path: Path) -> None:
    path = tmp_path / "kinds.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet("S")
        day, moment = book.add_format({"num_format": "dd/mm/yyyy"}), book.add_format({"num_format": "yyyy-mm-dd hh:mm"})
        clock, hours = book.add_format({"num_format": "hh:mm"}), book.add_format({"num_format": "[h]:mm"})
        sheet.write_row(0, 0, ["code", "whole", "part", "flag", "day", "moment", "clock", "hours", "empty"])
        for r in range(1, 6):
            sheet.write_string(r, 0, f"{r:05d}")
            sheet.write_number(r, 1, r)
            sheet.write_number(r, 2, r / 8)
            sheet.write_boolean(r, 3, r % 2)
            sheet.write_datetime(r, 4, dt.date(2025, 1, r), day)
            sheet.write_datetime(r, 5, dt.date(2025, 1, r), moment)
            sheet.write_number(r, 6, 0.25, clock)
            sheet.write_number(r, 7, 1.5, hours)
    with ExcelConnector({"path": path}) as connector:
        types = {c.name: c.type for c in connector.discover("S").columns}
    assert types == {
        "code": pa.string(),
        "whole": pa.int64(),
        "part": pa.float64(),
        "flag": pa.bool_(),
        "day": pa.date32(),
        "moment": pa.timestamp("us"),
        "clock": pa.time64("us"),
        "hours": pa.duration("us"),
        "empty": pa.string(),
    }
    rows, misfits = read(path, "S")
    assert misfits == []
    assert rows[0] == {
        "code": "00001",
        "whole": 1,
        "part": 1 / 8,
        "flag": True,
        "day": dt.date(2025, 1, 1),
        "moment": dt.datetime.fromisoformat("2025-01-01"),
        "clock": dt.time(6),
        "hours": dt.timedelta(hours=36),
        "empty": None,
    }


def test_error_cells_and_uncalculated_formulas_are_misfits_with_their_place(tmp_path: Path) -> None:
    rows = [list(row) for row in ROWS]
    rows[2][2] = ErrorCell("#DIV/0!")
    rows[4][2] = Formula("A6*2")
    rows[5][1] = Formula('VLOOKUP("x",A:B,2)', ErrorCell("#N/A"))
    path = made(tmp_path, SheetPlan("Data", [HEADER, *rows]))
    with ExcelConnector({"path": path}) as connector:
        page = next(connector.read("Data"))
        seen = [(m.row, m.column, m.raw, m.reason) for m in page.misfits]
        schema = connector.discover("Data")
    assert seen == [
        (2, "amount", "#DIV/0!", "error cell in Data!C4"),
        (4, "amount", "=A6*2", "formula never calculated in Data!C6"),
        (5, "account", "#N/A", "error cell in Data!B7"),
    ]
    assert page.batch.column("amount").null_count == 2
    observed = next(o for o in schema.observations if o.code == "cells_without_value")
    assert observed.data == {"amount": 2, "account": 1}


def test_a_row_of_nothing_but_errors_is_a_row(tmp_path: Path) -> None:
    rows = [*ROWS[:3], [ErrorCell()] * 4, [], *ROWS[3:]]
    path = made(tmp_path, SheetPlan("Data", [HEADER, *rows]))
    read_rows, misfits = read(path, "Data")
    assert len(read_rows) == 13
    assert len(misfits) == 4


def test_rows_of_nothing_but_uncalculated_formulas_are_rows_too(tmp_path: Path) -> None:
    rows = [*ROWS[:3], *([Formula(f"A{n}")] * 4 for n in range(3))]
    path = made(tmp_path, SheetPlan("Data", [HEADER, *rows]), SheetPlan("All", [[Formula("A9"), Formula("B9")]] * 3))
    found, misfits = read(path, "Data")
    assert (len(found), len(misfits)) == (6, 12)
    found, misfits = read(path, "All!A1:B")
    assert (len(found), len(misfits)) == (2, 4)


def test_twenty_digits_survive_as_text_and_as_number(tmp_path: Path) -> None:
    digits = "12345678901234567890"
    path = made(tmp_path, SheetPlan("Data", [["a", "b"], *([digits, Decimal(digits) + n] for n in range(5))]))
    rows, misfits = read(path, "Data")
    assert misfits == []
    assert rows[0]["a"] == digits
    assert [r["b"] for r in rows] == [Decimal(digits) + n for n in range(5)]


def test_the_kind_of_most_cells_is_the_columns_and_the_rest_is_kept(tmp_path: Path) -> None:
    rows = [list(row) for row in ROWS]
    rows[3][2] = "1.234,50"
    rows[7][1] = 501
    rows[8][3] = "tomorrow"
    rows[9][0] = True
    _, misfits = read(made(tmp_path, SheetPlan("Data", [HEADER, *rows])), "Data")
    assert misfits == [
        (3, "amount", "1.234,50"),
        (7, "account", "501"),
        (8, "day", "tomorrow"),
        (9, "id", "TRUE"),
    ]


def test_both_date_systems_give_the_same_day(tmp_path: Path) -> None:
    for date1904 in (False, True):
        path = made(tmp_path, SheetPlan("Data", [HEADER, *ROWS]), name=f"{date1904}.xlsx", date1904=date1904)
        rows, _ = read(path, "Data")
        assert [r["day"] for r in rows] == [row[3] for row in ROWS]


@pytest.mark.parametrize("number", ["-5", "60", "60.5"])
def test_a_number_that_is_no_day_of_the_calendar_is_no_date(tmp_path: Path, number: str) -> None:
    path = tmp_path / "early.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet("S")
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        sheet.write_row(0, 0, ["n", "day"])
        for r in range(1, 6):
            sheet.write_number(r, 0, r)
            sheet.write_number(r, 1, float(number) if r == 3 else 45000 + r, day)
    rows, misfits = read(path, "S")
    assert rows[2]["day"] is None
    assert misfits == [(2, "day", number)]


@pytest.mark.parametrize("start", [(0, 0), (0, 3), (7, 2)])
def test_the_table_is_found_wherever_it_stands(tmp_path: Path, start: tuple[int, int]) -> None:
    down, right = start
    rows: list[list[Any]] = [[] for _ in range(down)]
    rows += [[None] * right + row for row in [HEADER, *ROWS]]
    found, misfits = read(made(tmp_path, SheetPlan("Data", rows)), "Data")
    assert (found[0]["id"], found[-1]["account"], len(found), misfits) == (1, "C-000012", 12, [])


# --- header, totals, layout --------------------------------------------------------------------------------------


def test_titles_above_and_totals_below_are_not_data_and_it_is_said(tmp_path: Path) -> None:
    rows = [["Receivables"], ["as of", dt.date(2025, 1, 31)], HEADER, *ROWS, ["Total", None, 97.5], ["E&OE"]]
    path = made(tmp_path, SheetPlan("Data", rows))
    with ExcelConnector({"path": path}) as connector:
        pages = list(connector.read("Data"))
        codes = [o.code for p in pages for o in p.observations]
        assert connector.count("Data").value == 12
    assert sum(p.batch.num_rows for p in pages) == 12
    assert pages[-1].raw_rows == 14
    assert {"header_row_found", "totals_row_cut"} <= set(codes)


def test_a_customer_called_total_is_no_totals_row(tmp_path: Path) -> None:
    rows = [["customer", "amount"], *([f"Customer {n}", n] for n in range(5)), ["Total Energies SE", 7], ["Zeta", 1]]
    found, _ = read(made(tmp_path, SheetPlan("Data", rows)), "Data")
    assert len(found) == 7


def test_a_tables_totals_row_is_cut(tmp_path: Path) -> None:
    table = TableArea("Sales", "A1:D14", tuple(HEADER), totals=True)
    path = made(tmp_path, SheetPlan("Data", [HEADER, *ROWS, ["", "", 97.5]], tables=(table,)))
    found, _ = read(path, "#Sales")
    assert len(found) == 12


def test_headers_that_are_missing_or_stand_twice_get_a_name_and_it_is_said(tmp_path: Path) -> None:
    path = made(tmp_path, SheetPlan("Data", [["id", "x", None, "x ", None], *([n, 1, 2, 3] for n in range(4))]))
    with ExcelConnector({"path": path}) as connector:
        schema = connector.discover("Data")
    assert [c.name for c in schema.columns] == ["id", "x", "column_C", "x_2"]
    assert {o.code for o in schema.observations} == {"blank_headers", "duplicate_headers", "spaces_in_headers"}


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_sheet_as_wide_as_can_be_is_read_in_seconds(tmp_path: Path) -> None:
    wide = [["same"] * 8_192 + [f"c{n}" for n in range(8_192)], [1.0] * 16_384, [2.0] * 16_384]
    path = made(tmp_path, SheetPlan("Data", wide))
    with ExcelConnector({"path": path}) as connector:
        names = [c.name for c in connector.discover("Data").columns]
        assert names[:3] == ["same", "same_2", "same_3"]
        assert (names[8_191], len(set(names))) == ("same_8192", 16_384)
        assert connector.count("Data").value == 2


def test_blank_rows_between_are_skipped_and_counted(tmp_path: Path) -> None:
    rows = [HEADER, *ROWS[:4], [], [], *ROWS[4:]]
    with ExcelConnector({"path": made(tmp_path, SheetPlan("Data", rows))}) as connector:
        page = next(connector.read("Data"))
    assert (page.batch.num_rows, page.raw_rows) == (12, 14)


def test_an_empty_sheet_has_no_columns_and_no_rows(tmp_path: Path) -> None:
    path = made(tmp_path, SheetPlan("Empty"), SheetPlan("Header", [HEADER]))
    with ExcelConnector({"path": path}) as connector:
        assert connector.count("Empty").value == 0
        assert next(iter(connector.read("Empty"))).batch.num_rows == 0
        assert [c.name for c in connector.discover("Header").columns] == HEADER
        assert connector.count("Header").value == 0


# --- several files, pages, formats -------------------------------------------------------------------------------


def test_monthly_files_are_one_object_and_differences_are_said(tmp_path: Path) -> None:
    made(tmp_path, SheetPlan("Data", [HEADER, *ROWS[:3]]), name="2025-01.xlsx")
    made(tmp_path, SheetPlan("Data", [[*HEADER, "new"], *([*row, "n"] for row in ROWS[3:5])]), name="2025-02.xlsx")
    made(tmp_path, SheetPlan("Other", [HEADER]), name="2025-03.xlsx")
    (tmp_path / "~$2025-01.xlsx").write_bytes(b"\x02ab")
    with ExcelConnector({"path": f"{tmp_path}/2025-*.xlsx"}) as connector:
        schema = connector.discover("Data")
        rows = [r for p in connector.read("Data") for r in p.batch.to_pylist()]
        assert connector.count("Data").value == 5
        locked = connector.probe().observations
    assert [r["_file"] for r in rows] == ["2025-01.xlsx"] * 3 + ["2025-02.xlsx"] * 2
    assert [r["new"] for r in rows] == [None] * 3 + ["n"] * 2
    assert {o.code for o in schema.observations} == {"files_without_object", "columns_differ"}
    assert [(o.code, o.data["owner"]) for o in locked] == [("locked", "ab")]


def test_pages_are_as_large_as_asked_and_a_cursor_goes_on(tmp_path: Path) -> None:
    rows = [list(row) for row in ROWS]
    rows[6][2] = ErrorCell()
    path = made(tmp_path, SheetPlan("Data", [HEADER, *rows]))
    with ExcelConnector({"path": path}) as connector:
        pages = list(connector.read("Data", page_rows=5))
        assert [p.batch.num_rows for p in pages] == [5, 5, 2]
        assert [[m.row for m in p.misfits] for p in pages] == [[], [1], []]
        assert [p.raw_rows for p in pages] == [None] * 3
        rest = list(connector.read("Data", after=pages[0].cursor, page_rows=5, columns=["id"]))
        assert [v for p in rest for v in p.batch.column("id").to_pylist()] == list(range(6, 13))
        assert [m.row for m in rest[0].misfits] == []


def test_a_legacy_xls_is_read_with_its_errors_and_uncalculated_formulas() -> None:
    rows, misfits = read(WORKBOOKS / "legacy.xls", "Data")
    assert len(rows) == 30
    assert rows[0]["day"] == dt.date(2025, 1, 1)
    assert (6, "amount", "#N/A") in misfits
    assert sum(column == "calc" for _, column, _ in misfits) == 30


def test_an_encrypted_workbook_opens_with_its_password_only(tmp_path: Path) -> None:
    from msoffcrypto.format.ooxml import OOXMLFile

    # below 4,096 bytes the library's own encryption is broken
    plain = made(tmp_path, SheetPlan("Data", [HEADER, *([n, f"C-{n:06d}", n / 7, None] for n in range(300))]))
    locked = tmp_path / "locked.xlsx"
    target = io.BytesIO()
    with plain.open("rb") as source:
        OOXMLFile(source).encrypt("correct horse", target)
    locked.write_bytes(target.getvalue())
    rows, _ = read(locked, "Data", password="correct horse")
    assert len(rows) == 300
    for options in ({}, {"password": "canary-4711"}):
        with pytest.raises(FileError, match="encrypted") as caught:
            ExcelConnector({"path": locked, **options}).open()
        assert "canary" not in str(caught.value)


def test_a_file_saved_meanwhile_is_looked_at_anew(tmp_path: Path) -> None:
    path = made(tmp_path, SheetPlan("Data", [HEADER, *ROWS]))
    with ExcelConnector({"path": path}) as connector:
        assert connector.count("Data").value == 12
        made(tmp_path, SheetPlan("Data", [HEADER, *ROWS[:5]]))
        assert connector.count("Data").value == 5


# --- limits, facets ----------------------------------------------------------------------------------------------


def test_a_workbook_has_one_writer_unless_nobody_may_write(tmp_path: Path) -> None:
    path = made(tmp_path, SheetPlan("Data", [HEADER, *ROWS]))
    with ExcelConnector({"path": path, "edit_seconds": 60}) as connector:
        limits = {x.name: x for x in connector.limits()}
        assert (limits["rows"].cap, limits["cell_characters"].cap) == (1_048_576, 32_767)
        assert (limits["writers"].cap, limits["writers"].unit, limits["writers"].detail["held_s"]) == (1, "users", 60)
        path.chmod(0o444)
        assert "writers" not in {x.name for x in connector.limits()}
    with ExcelConnector({"path": WORKBOOKS / "legacy.xls"}) as connector:
        assert next(x.cap for x in connector.limits() if x.name == "rows") == 65_536


def test_facets(tmp_path: Path) -> None:
    path = made(tmp_path, SheetPlan("Data", [HEADER, *ROWS]))
    with ExcelConnector({"path": path}, Session()) as connector:
        files = connector.facet(Files)
        assert files is not None
        assert list(files.paths()) == [path]
        assert connector.facet(Sql) is None
        loadable = connector.facet(Loadable)
        assert loadable is not None
        operations = loadable.operations("Data", [(3,)])
        found = operations["lookup"].call((3,))
        assert (found.calls, found.rows, found.bytes) == (1, 1, path.stat().st_size)
        assert operations["lookup"].call((99,)).rows == 0
        assert operations["page"].call((3,)).rows == 12
        assert connector.networked is False


def test_a_lookup_opens_one_month_after_the_other(tmp_path: Path) -> None:
    for month in (1, 2):
        made(tmp_path, SheetPlan("Data", [HEADER, *ROWS[month * 3 : month * 3 + 3]]), name=f"m{month}.xlsx")
    with ExcelConnector({"path": tmp_path}) as connector:
        operations = connector.operations(ObjectRef("Data", key=("account",)), [])
        assert [operations["lookup"].call((f"C-{n:06d}",)).calls for n in (4, 7)] == [1, 2]
        assert operations["lookup"].call(("C-000004",)).rows == 1
        assert operations["lookup"].call((4,)).rows == 0


def test_nothing_is_written_to_the_source(tmp_path: Path) -> None:
    path = made(tmp_path, SheetPlan("Data", [HEADER, *ROWS]))
    before = (path.read_bytes(), path.stat().st_mtime_ns, sorted(tmp_path.iterdir()))
    read(path, "Data")
    assert (path.read_bytes(), path.stat().st_mtime_ns, sorted(tmp_path.iterdir())) == before


@pytest.mark.slow
def test_two_hundred_thousand_rows_stay_below_300_mb(tmp_path: Path) -> None:
    path = tmp_path / "big.xlsx"
    with xlsxwriter.Workbook(path, {"constant_memory": True}) as book:
        sheet = book.add_worksheet("Data")
        sheet.write_row(0, 0, [f"c{n}" for n in range(12)])
        for r in range(1, 200_001):
            sheet.write_row(r, 0, [r, f"C-{r % 5000:06d}", r / 7, r % 100, "open", f"note {r}", r * 2, "x", 1, 2, 3, 4])
    program = (
        "import sys; from weighbridge.connectors.excel import ExcelConnector\n"
        "with ExcelConnector({'path': sys.argv[1]}) as c:\n"
        "    print(sum(p.batch.num_rows for p in c.read('Data')))\n"
        "print(int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) // 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True, timeout=120
    )
    rows, peak = map(int, done.stdout.split())
    assert rows == 200_000
    assert peak < 300
