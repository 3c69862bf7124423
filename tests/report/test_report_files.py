from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from weighbridge.errors import DeliveryProblem, UsageProblem
from weighbridge.report.files import prepare_folder, write_atomically
from weighbridge.report.model import Report
from weighbridge.report.writers import write_reports


def test_writing_replaces_and_leaves_nothing_aside(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    assert write_atomically(path, "new") == path
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_an_unwritable_folder_is_known_before_contact(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(UsageProblem, match=r"cannot be written .*--out DIR"):
        prepare_folder(blocker / "out")
    assert prepare_folder(tmp_path / "a" / "b").is_dir()
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_place_that_vanished_is_a_delivery_problem(tmp_path: Path) -> None:
    with pytest.raises(DeliveryProblem, match="could not be written"):
        write_atomically(tmp_path / "gone" / "report.json", "x")


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_full_disk_keeps_the_old_report_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    script = textwrap.dedent(
        """
        import resource, signal, sys
        from pathlib import Path
        from weighbridge.errors import DeliveryProblem
        from weighbridge.report.files import write_atomically
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write_atomically(Path(sys.argv[1]), "x" * 5000)
        except DeliveryProblem as error:
            print(error)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=30, check=True
    )
    assert "the disk is full" in done.stdout
    assert "5,000 bytes" in done.stdout
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_the_truth_is_always_written(report: Report, tmp_path: Path) -> None:
    written = write_reports(report, tmp_path / "out", [])
    assert list(written) == ["json"]
    assert Report.from_json(written["json"].read_bytes()) == report


def test_an_unknown_format_is_bad_use(report: Report, tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match=r"no report format 'pdf'\. Known are html, json, junit, md, xlsx"):
        write_reports(report, tmp_path, ["pdf"])
    assert list(tmp_path.iterdir()) == []
