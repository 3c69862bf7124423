"""`weighbridge inspect`: what it prints, and the exit codes a script relies on."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from msoffcrypto.format.ooxml import OOXMLFile

from weighbridge.commands.inspect import command
from weighbridge.sandbox.finance import MACRO
from weighbridge.sandbox.vba_writer import vba_project
from weighbridge.sandbox.workbook_writer import ErrorCell, SheetPlan, WorkbookPlan, write_workbook

ROWS = [["id", "amount"], *([n, n * 1.5] for n in range(1, 300))]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, standalone_mode=False)


def write(path: Path, *sheets: SheetPlan, **more: object) -> Path:
    return write_workbook(path, WorkbookPlan(list(sheets), **more))  # type: ignore[arg-type]


def test_a_clean_workbook_exits_0(tmp_path: Path) -> None:
    result = run(str(write(tmp_path / "b.xlsx", SheetPlan("Data", ROWS))))
    assert result.return_value == 0
    assert "No hazard found." in result.output
    assert "Data: 300 rows x 2 columns" in result.output


def test_a_warning_exits_0_and_a_break_1(tmp_path: Path) -> None:
    path = write(tmp_path / "b.xlsm", SheetPlan("Data", ROWS), vba=vba_project({"M": MACRO}))
    result = run(str(path))
    assert result.return_value == 0
    assert "WARN   workbook.macros" in result.output
    assert "What feeds this workbook" in result.output
    path = write(tmp_path / "c.xlsx", SheetPlan("Data", [*ROWS, [ErrorCell(), 1]]))
    result = run(str(path))
    assert result.return_value == 1
    assert "BREAK  workbook.error_cells" in result.output
    assert "where: Data!A301" in result.output


def test_json_is_json_and_nothing_else(tmp_path: Path) -> None:
    result = run(str(write(tmp_path / "c.xlsx", SheetPlan("Data", [*ROWS, [ErrorCell(), 1]]))), "--json")
    assert result.return_value == 1
    body = json.loads(result.stdout)
    assert [f["code"] for f in body["findings"]] == ["workbook.error_cells"]
    assert body["format"] == "xlsx"


def test_what_cannot_be_read_exits_3_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "b.xlsx").write_bytes(b"")
    result = run(str(tmp_path / "b.xlsx"), "--json")
    assert result.return_value == 3
    (finding,) = json.loads(result.stdout)["findings"]
    assert finding["code"] == "workbook.malformed"
    assert "0 bytes" in finding["message"]


def test_a_password_comes_from_the_environment_and_is_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = io.BytesIO()
    with write(tmp_path / "b.xlsx", SheetPlan("Data", ROWS)).open("rb") as plain:
        OOXMLFile(plain).encrypt("canary-4711", sealed)
    path = tmp_path / "sealed.xlsx"
    path.write_bytes(sealed.getvalue())
    assert run(str(path)).return_value == 3
    monkeypatch.setenv("BOOK_PASSWORD", "canary-4711")
    result = run(str(path), "--password-env", "BOOK_PASSWORD")
    assert result.return_value == 0
    assert "workbook.encrypted" in result.output
    assert "canary" not in result.output


def test_a_missing_file_and_a_missing_variable_are_usage_errors(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "weighbridge", "inspect", str(tmp_path / "none.xlsx")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "none.xlsx" in done.stderr
    path = write(tmp_path / "b.xlsx", SheetPlan("Data", ROWS))
    assert "NO_SUCH_VARIABLE_HERE" in str(run(str(path), "--password-env", "NO_SUCH_VARIABLE_HERE").exception)


def test_several_files_and_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "books"
    folder.mkdir()
    write(folder / "a.xlsx", SheetPlan("It's Ümlaut 📊", [*ROWS, [ErrorCell(), 1]]))
    write(folder / "b.xlsx", SheetPlan("Data", ROWS))
    (folder / "~$a.xlsx").write_bytes(b"\x03Eva".ljust(165, b"\0"))
    (folder / "notes.txt").write_text("no workbook")
    result = run(str(folder), "--json")
    assert result.return_value == 1
    first, second = json.loads(result.stdout)
    assert [Path(r["file"]).name for r in (first, second)] == ["a.xlsx", "b.xlsx"]
    assert [(f["code"], f["places"]) for f in first["findings"]] == [
        ("workbook.error_cells", ["It's Ümlaut 📊!A301"]),
        ("workbook.locked", ["a.xlsx"]),
    ]
    assert second["findings"] == []
    (tmp_path / "c.xlsx").write_bytes(b"")
    result = run(str(folder / "b.xlsx"), str(tmp_path / "c.xlsx"))
    assert result.return_value == 3
    assert "No hazard found." in result.output
    assert "0 bytes" in result.output
    (tmp_path / "none").mkdir()
    assert "no workbook" in str(run(str(tmp_path / "none")).exception)


def test_a_sheet_name_cannot_steer_the_terminal(tmp_path: Path) -> None:
    path = write(tmp_path / "b.xlsx", SheetPlan("Data\u202eevil", ROWS))
    assert "\u202e" not in run(str(path)).output
