"""Killed at any moment, or out of disk: what is there stays whole, a run goes on, rows do not stay behind."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from weighbridge.history import History
from weighbridge.landing import recall
from weighbridge.outcome import Outcome
from weighbridge.project import Project
from weighbridge.report.model import validate
from weighbridge.runner import Run, latest_run, sweep

CHECKS = "connection,schema,quality,completeness,volume,freshness,limits"
ARGUMENTS = ("run", "--env", "sandbox", "--checks", CHECKS)
KILLS_ITSELF = """
import os, signal, sys
moment = int(sys.argv.pop(1))
seen = 0
def event(name, arguments):
    global seen
    # what changes a file's place, and what the database of the history writes through
    if name in ("os.rename", "sqlite3.connect", "os.remove", "tempfile.mkstemp"):
        seen += 1
        if seen == moment:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(event)
from weighbridge.cli import main
main()
"""


def start(folder: Path, *words: str, moment: int | None = None) -> subprocess.Popen[bytes]:
    program = ["-m", "weighbridge"] if moment is None else ["-c", KILLS_ITSELF, str(moment)]
    return subprocess.Popen(
        [sys.executable, *program, *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(folder: Path, *words: str) -> tuple[int, str]:
    process = start(folder, *words)
    said, _ = process.communicate(timeout=120)
    return process.returncode, said.decode()


def rows_left(folder: Path) -> list[Path]:
    runs = folder / ".weighbridge" / "runs"
    return [p for kind in ("*.duckdb", "*.duckdb.wal", "*.part*") for p in runs.rglob(kind)]


def is_whole(folder: Path) -> None:
    """Everything that lies there can be read, and only its owner can."""
    data = folder / ".weighbridge"
    for path in data.rglob("check-*.json"):
        Outcome.from_json(path.read_text())
        assert path.stat().st_mode & 0o077 == 0
    for path in data.rglob("state.json"):
        json.loads(path.read_text())
    for notes in data.rglob("landing.json"):
        landing = recall(notes.with_suffix(".duckdb"))
        if landing is not None:
            with closing(landing.connect()) as database:
                assert database.execute(f"SELECT count(*) FROM {landing.table}").fetchall() == [(landing.rows,)]
    for path in rows_left(folder):
        assert path.stat().st_mode & 0o077 == 0, path
    report = folder / "weighbridge-report" / "report.json"
    if report.exists():
        assert validate(json.loads(report.read_text())) == []
    if (data / "history.sqlite").exists():
        with sqlite3.connect(data / "history.sqlite") as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        database.close()
        with closing(History.of(Project.load(start=folder))) as history:
            for row in history.runs():
                assert validate(json.loads(history.report(row.id).to_json())) == []


def ended(folder: Path) -> dict[str, int]:
    return {
        str(p.relative_to(folder)): p.stat().st_mtime_ns
        for p in folder.glob(".weighbridge/runs/*/points/*/check-*.json")
    }


def goes_on(folder: Path) -> None:
    """What was killed is whole; resumed, it asks only what had not ended, and is recorded once."""
    is_whole(folder)
    before = ended(folder)
    unfinished = latest_run(Project.load(start=folder), "sandbox")
    code, said = finish(folder, *ARGUMENTS, *(["--resume"] if unfinished else []))
    assert "Traceback" not in said
    assert code == 0, said
    after = ended(folder)
    assert {name: after[name] for name in before} == before, "a check that had ended was asked again"
    is_whole(folder)
    assert rows_left(folder) == []
    with closing(History.of(Project.load(start=folder))) as history:
        runs = [r.id for r in history.runs()]
    assert len(runs) == len(set(runs)) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("moment", [1, 5, 9, 13, 17, 21, 25, 30, 36, 44])
def test_killed_at_a_write_it_goes_on(shop: Path, moment: int) -> None:
    process = start(shop, *ARGUMENTS, moment=moment)
    process.communicate(timeout=120)
    assert process.returncode in (-signal.SIGKILL, 0)
    goes_on(shop)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_a_random_time_it_goes_on(shop: Path, seed: int) -> None:
    began = time.monotonic()
    assert finish(shop, *ARGUMENTS, "--no-history")[0] == 0
    took = time.monotonic() - began
    process = start(shop, *ARGUMENTS)
    time.sleep(random.Random(seed).uniform(0.3, 1.0) * took)
    process.kill()
    process.communicate()
    goes_on(shop)


def test_rows_of_a_killed_run_are_removed_by_the_next_one(shop: Path) -> None:
    script = (
        "import os, signal\n"
        "from weighbridge.project import Project\nfrom weighbridge.runner import Run\n"
        "project = Project.load()\nrun = Run(project, project.points(), environment='sandbox', id='dead')\n"
        "run._state(finished=None)\nrun.store.of(run.points[0]).landing\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=shop, check=False).returncode == -signal.SIGKILL
    assert [p.name for p in rows_left(shop)] == ["landing.duckdb"]
    project = Project.load(start=shop)
    alive = Run(project, project.points(), environment="sandbox", id="alive")
    assert rows_left(shop) == []
    assert alive.store.of(alive.points[0]).landing.rows == 300
    assert sweep(alive.folder.parent, but="other") == [], "a run that lives keeps its rows"
    assert len(rows_left(shop)) == 1
    alive.close()
    assert rows_left(shop) == []


def test_rows_that_are_to_be_kept_are_kept(shop: Path) -> None:
    project = Project.load(start=shop)
    run = Run(project, project.points(), environment="sandbox", selected=("completeness",), keep=True)
    run.execute()
    run.close()
    assert len(rows_left(shop)) == 1
    Run(project, project.points(), environment="sandbox").close()
    assert len(rows_left(shop)) == 1


# --- out of disk ------------------------------------------------------------------------------------------------------

FULL = """
import resource, sys
limit = int(sys.argv.pop(1))
from weighbridge.cli import main
import duckdb, sqlalchemy
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
main()
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="file size limits are POSIX")
@pytest.mark.parametrize("limit", [200, 2_000, 30_000, 300_000])
def test_a_full_disk_is_said_in_words(shop: Path, limit: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(limit), *ARGUMENTS],
        cwd=shop,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    if done.returncode:
        assert done.returncode in (3, 4), said
        assert any(word in said for word in ("disk is full", "disk space", "quota")), said
    is_whole(shop)
    code, said = finish(shop, *ARGUMENTS)
    assert code == 0, said


def test_a_history_without_room_is_said_in_words(shop: Path) -> None:
    script = (
        "import resource\nfrom weighbridge.project import Project\nfrom weighbridge.history import History\n"
        "from weighbridge.errors import DeliveryProblem\nimport sqlalchemy\n"
        "history = History.of(Project.load())\nhistory.runs()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n    history.event('drill', 'crm', ok=True, body={'why': 'x' * 100_000})\n"
        "except DeliveryProblem as problem:\n    print(problem)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=shop, capture_output=True, text=True, check=False)
    assert "disk is full" in done.stdout, done.stderr
