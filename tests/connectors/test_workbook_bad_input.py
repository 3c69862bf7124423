"""Files that are damaged, hostile or no workbooks at all: one clear paragraph, in bounded time and memory."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from weighbridge.connectors._workbook_package import open_package
from weighbridge.connectors.errors import FileError
from weighbridge.connectors.excel import ExcelConnector
from weighbridge.connectors.workbook import inspect_workbook
from weighbridge.sandbox.workbook_writer import SheetPlan, WorkbookPlan, write_workbook

ROWS = [["id", "name"], *([n, f"name {n}"] for n in range(50))]
Spoil = Callable[[Path], None]


def book(path: Path) -> Path:
    return write_workbook(path, WorkbookPlan([SheetPlan("Data", ROWS)]))


def repacked(path: Path, change: Callable[[str, bytes], bytes | None], *extra: tuple[str, bytes]) -> None:
    """Rewrite the package with changed parts; None leaves a part out."""
    with zipfile.ZipFile(path) as old:
        parts = [(i.filename, old.read(i)) for i in old.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in parts:
            changed = change(name, data)
            if changed is not None:
                new.writestr(name, changed)
        for name, data in extra:
            new.writestr(name, data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-300])


def head_only(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def csv(path: Path) -> None:
    path.write_text("id;name\n1;x\n")


def page(path: Path) -> None:
    path.write_text("<html><table><tr><td>1</td></tr></table></html>")


def zeros(path: Path) -> None:
    path.write_bytes(bytes(5000))


def pdf(path: Path) -> None:
    path.write_bytes(b"%PDF-1.7\n" + bytes(100))


def ole_garbage(path: Path) -> None:
    path.write_bytes(bytes.fromhex("D0CF11E0A1B11AE1") + b"\xff" * 3000)


def other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no workbook")


def word(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", "<document/>")


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    at = data.find(b"xl/worksheets/sheet1.xml") + 60
    data[at : at + 40] = b"\xff" * 40
    path.write_bytes(bytes(data))


def no_sheet_part(path: Path) -> None:
    repacked(path, lambda name, data: None if "sheet1.xml" in name else data)


def broken_xml(path: Path) -> None:
    repacked(path, lambda name, data: data[:-40] if name == "xl/workbook.xml" else data)


def broken_sheet(path: Path) -> None:
    repacked(path, lambda name, data: data[: len(data) // 2] if "sheet1.xml" in name else data)


def nested(path: Path) -> None:
    deep = b"<a>" * 200_000 + b"</a>" * 200_000
    repacked(path, lambda name, data: deep if name == "xl/workbook.xml" else data)


def no_sheets(path: Path) -> None:
    repacked(path, lambda name, data: b"<workbook/>" if name == "xl/workbook.xml" else data)


def outside(path: Path) -> None:
    repacked(path, lambda name, data: data.replace(b'r="A2"', b'r="ZZZZ2"') if "sheet1.xml" in name else data)


MALFORMED = [
    empty, cut, head_only, csv, page, zeros, pdf, ole_garbage, other_zip, word, flipped, no_sheet_part, broken_xml,
    broken_sheet, outside, nested, no_sheets,
]  # fmt: skip


def swollen(path: Path, megabytes: int) -> int:
    """Replace the shared texts by one of so many megabytes; its size in bytes."""
    repacked(path, lambda name, data: None if name == "xl/sharedStrings.xml" else data)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("xl/sharedStrings.xml", "w") as part,
    ):
        size = part.write(b"<sst><si><t>")
        for _ in range(megabytes):
            size += part.write(b"A" * (1 << 20))
        return size + part.write(b"</t></si></sst>")


def bomb(path: Path) -> None:
    swollen(path, 300)
    assert path.stat().st_size < 400_000


def lying_bomb(path: Path) -> None:
    """The directory says 1,000 bytes, the part inflates to 40 MB."""
    size = swollen(path, 40)
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<I", size), struct.pack("<I", 1000)))


def twice(path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        repacked(path, lambda _n, data: data, ("xl/worksheets/sheet1.xml", b"<worksheet/>"))


def twice_by_case(path: Path) -> None:
    repacked(path, lambda _n, data: data, ("XL/Worksheets/Sheet1.xml", b"<worksheet/>"))


def doctype(path: Path) -> None:
    entities = b'<!DOCTYPE x [<!ENTITY a "AAAA"><!ENTITY b "&a;&a;&a;&a;">]>'
    repacked(path, lambda n, d: d.replace(b"<workbook", entities + b"<workbook", 1) if n == "xl/workbook.xml" else d)


def doctype_in_sheet(path: Path) -> None:
    entities = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    repacked(path, lambda n, d: d.replace(b"<worksheet", entities + b"<worksheet", 1) if "sheet1.xml" in n else d)


def doctype_in_utf16(path: Path) -> None:
    entities = b'<!DOCTYPE x [<!ENTITY a "AAAA">]>'

    def change(name: str, data: bytes) -> bytes:
        if "sheet1.xml" not in name:
            return data
        text = data.replace(b"<worksheet", entities + b"<worksheet", 1).replace(b"UTF-8", b"UTF-16")
        return text.decode().encode("utf-16")

    repacked(path, change)


def doctype_in_texts(path: Path) -> None:
    entities = b'<!DOCTYPE x [<!ENTITY a "AAAA">]>'
    repacked(path, lambda n, d: d.replace(b"<sst", entities + b"<sst", 1) if n == "xl/sharedStrings.xml" else d)


def overlapping(path: Path) -> None:
    """Two directory entries for the same bytes."""
    data = path.read_bytes()
    end = data.rfind(b"PK\x05\x06")
    start = struct.unpack_from("<I", data, end + 16)[0]
    first = data.find(b"PK\x01\x02", start)
    second = data.find(b"PK\x01\x02", first + 4)
    third = data.find(b"PK\x01\x02", second + 4)
    changed = bytearray(data)
    changed[third + 42 : third + 46] = changed[second + 42 : second + 46]
    path.write_bytes(bytes(changed))


HOSTILE = [
    lying_bomb, twice, twice_by_case, doctype, doctype_in_sheet, doctype_in_utf16, doctype_in_texts, overlapping,
]  # fmt: skip


@pytest.mark.parametrize("spoil", MALFORMED, ids=lambda f: f.__name__)
def test_a_damaged_file_is_one_paragraph_and_one_finding(tmp_path: Path, spoil: Spoil) -> None:
    path = book(tmp_path / "book.xlsx")
    spoil(path)
    started = time.monotonic()
    report = inspect_workbook(path)
    with pytest.raises(FileError) as caught, ExcelConnector({"path": path}) as connector:
        connector.count("Data")
    assert time.monotonic() - started < 10
    assert [h.code for h in report.hazards] == ["malformed"]
    assert report.readable is False
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    assert "Traceback" not in text


@pytest.mark.parametrize("spoil", HOSTILE, ids=lambda f: f.__name__)
def test_a_hostile_file_is_refused(tmp_path: Path, spoil: Spoil) -> None:
    path = book(tmp_path / "book.xlsx")
    spoil(path)
    started = time.monotonic()
    report = inspect_workbook(path)
    with pytest.raises(FileError) as caught, ExcelConnector({"path": path}) as connector:
        list(connector.read("Data"))
    assert time.monotonic() - started < 10
    assert [h.code for h in report.hazards] == ["hostile"]
    assert "\n" not in str(caught.value)


def test_300_kb_that_expand_to_300_mb_are_refused_without_cost(tmp_path: Path) -> None:
    path = book(tmp_path / "book.xlsx")
    bomb(path)
    program = (
        "import sys; from pathlib import Path; from weighbridge.connectors.workbook import inspect_workbook\n"
        "print([h.code for h in inspect_workbook(Path(sys.argv[1])).hazards])\n"
        "from weighbridge.connectors.excel import ExcelConnector\n"
        "try:\n    ExcelConnector({'path': sys.argv[1]}).open()\nexcept Exception as e: print(type(e).__name__)\n"
        "status = Path('/proc/self/status')\n"
        "text = status.read_text() if status.exists() else 'VmHWM: 0 kB'\n"
        "print(int(text.split('VmHWM:')[1].split()[0]) // 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    codes, error, peak = done.stdout.splitlines()
    assert (codes, error) == ("['hostile']", "WorkbookProblem")
    assert int(peak) < 300


def test_a_stray_cell_at_the_end_of_the_world_is_no_reason_to_take_all_memory(tmp_path: Path) -> None:
    path = book(tmp_path / "book.xlsx")
    stray = b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'
    repacked(path, lambda n, d: d.replace(b"</sheetData>", stray) if "sheet1.xml" in n else d)
    with ExcelConnector({"path": path}) as connector, pytest.raises(FileError, match="last value in XFD1048576"):
        connector.count("Data")
    report = inspect_workbook(path)
    assert report.sheets[0]["rows"] == 1_048_576
    assert "row_ceiling" in {h.code for h in report.hazards}


@pytest.mark.parametrize(
    ("at", "byte", "why"),
    [(4440, 49, "the reader broke on it"), (2055, 130, "it states a size that no workbook has")],
    ids=["panic", "26 GB"],
)
def test_what_would_end_the_reader_s_process_is_an_error_of_ours(
    at: int, byte: int, why: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    damaged = bytearray((Path(__file__).parent / "workbooks" / "legacy.xls").read_bytes())
    damaged[at] = byte
    path = tmp_path / "legacy.xls"
    path.write_bytes(damaged)
    assert why in (attempt(path) or "")
    assert capfd.readouterr().err == ""


def test_a_formula_longer_than_any_is_counted_and_said(tmp_path: Path) -> None:
    path = book(tmp_path / "long.xlsx")
    endless = b'<row r="60"><c r="A60"><f>' + b"1+" * 200_000 + b"1</f><v>1</v></c></row></sheetData>"
    repacked(path, lambda name, data: data.replace(b"</sheetData>", endless) if "sheet1" in name else data)
    assert "1 formula(s) longer than any that Excel takes" in inspect_workbook(path).not_looked_at


def test_sheets_that_are_all_one_part_are_refused(tmp_path: Path) -> None:
    """20,000 of them made a file of 100 KB cost minutes."""
    path = book(tmp_path / "sheets.xlsx")
    more = b"".join(b'<sheet name="s%d" sheetId="%d" r:id="rId1"/>' % (n, n + 9) for n in range(20_000))
    repacked(path, lambda n, d: d.replace(b"</sheets>", more + b"</sheets>") if n == "xl/workbook.xml" else d)
    started = time.monotonic()
    assert [h.code for h in inspect_workbook(path).hazards] == ["hostile"]
    assert "refused" in (attempt(path) or "")
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("bait", ["'" * 15_999, "A" * 16_000, "A1:" * 5000, "$A$1" * 4000, "[1]" * 5000, "[" * 16_000])
def test_a_formula_made_to_be_slow_is_not(tmp_path: Path, bait: str) -> None:
    path = book(tmp_path / "bait.xlsx")
    rows = "".join(f'<row r="{n}"><c r="A{n}"><f>{bait}</f><v>1</v></c></row>' for n in range(60, 160))
    end = f"{rows}</sheetData>".encode()
    repacked(path, lambda n, d: d.replace(b"</sheetData>", end) if "sheet1" in n else d)
    started = time.monotonic()
    assert inspect_workbook(path).sheets[0]["formulas"] == 100
    assert time.monotonic() - started < 10


def test_a_million_cell_formats_are_a_finding_in_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = book(tmp_path / "styles.xlsx")
    styles = b"<styleSheet><cellXfs>" + b'<xf numFmtId="14"/>' * 1_000_000 + b"</cellXfs></styleSheet>"
    repacked(path, lambda n, d: styles if n == "xl/styles.xml" else d)
    path.write_bytes(path.read_bytes())
    tracemalloc.start()
    try:
        found = {h.code: h.count for h in inspect_workbook(path).hazards}
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found in ({"style_explosion": 1_000_000}, {"hostile": 1})
    assert peak < 100 << 20


def test_names_without_end_are_refused_before_they_take_the_memory(tmp_path: Path) -> None:
    path = book(tmp_path / "names.xlsx")
    names = b"".join(b'<definedName name="name_%d">Data!$A$%d</definedName>' % (n, n + 1) for n in range(400_000))
    found = b"<definedNames>" + names + b"</definedNames></workbook>"
    repacked(path, lambda name, data: data.replace(b"</workbook>", found) if name == "xl/workbook.xml" else data)
    assert "where at most" in (attempt(path) or "")
    assert {h.code for h in inspect_workbook(path).hazards} == {"hostile"}


def test_a_missing_file_a_folder_and_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        ExcelConnector({"path": tmp_path / "none.xlsx"}).open()
    with pytest.raises(FileError, match="no such file"):
        open_package(tmp_path / "none.xlsx")
    with pytest.raises(FileError, match="a folder"):
        open_package(tmp_path)
    with pytest.raises(FileError, match="no workbook"):
        ExcelConnector({"path": tmp_path}).open()
    with pytest.raises(FileError, match="no workbook"):
        ExcelConnector({"glob": f"{tmp_path}/*.xlsx"}).open()


def test_the_name_does_not_matter_but_the_bytes_do(tmp_path: Path) -> None:
    path = book(tmp_path / "book.xls")
    with ExcelConnector({"path": path}) as connector:
        assert connector.count("Data").value == 50
    assert inspect_workbook(path).format == "xlsx"


def test_truncated_records_of_a_legacy_file(tmp_path: Path) -> None:
    whole = (Path(__file__).parent / "workbooks" / "legacy.xls").read_bytes()
    for size in (600, 1500, 3000, 6000):
        path = tmp_path / f"{size}.xls"
        path.write_bytes(whole[:size])
        assert inspect_workbook(path).hazards
        told = attempt(path)
        assert told is None or str(path) in told


@pytest.mark.parametrize("step", range(12))
def test_bytes_changed_anywhere_never_end_in_a_traceback(tmp_path: Path, step: int) -> None:
    source = Path(__file__).parent / "workbooks" / "legacy.xls" if step % 2 else book(tmp_path / "whole.xlsx")
    data = bytearray(source.read_bytes())
    for at in range(step * 7, len(data), len(data) // 20 + 1):
        data[at] ^= 0x5A
    path = tmp_path / f"changed{source.suffix}"
    path.write_bytes(bytes(data))
    inspect_workbook(path)
    assert "\n" not in (attempt(path) or "")


def attempt(path: Path) -> str | None:
    """Read everything; the text of the error, None where it went well. Anything but a FileError is a failure."""
    try:
        with ExcelConnector({"path": path}) as connector:
            for name in connector.objects():
                list(connector.read(name))
    except FileError as error:
        return str(error)
    return None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a system with named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.xlsx")
    with pytest.raises(FileError, match="a pipe or a device"):
        inspect_workbook(tmp_path / "pipe.xlsx")
