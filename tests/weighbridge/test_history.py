from __future__ import annotations

import gzip
import json
import runpy
import sqlite3
import subprocess
import sys
import textwrap
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from weighbridge.comparison import compare
from weighbridge.errors import UsageProblem
from weighbridge.history import VERSION, History
from weighbridge.project import Project
from weighbridge.report.model import CheckReport, Report, validate

SAMPLES = runpy.run_path(str(Path(__file__).parent.parent / "report" / "conftest.py"))
NOW = datetime(2026, 11, 24, 23, 0, tzinfo=UTC)


def night(number: int, **changes: object) -> Report:
    """The small report as of that night, with a profile and a schema."""
    base: Report = SAMPLES["small"]()
    at = (NOW + timedelta(days=number)).isoformat()
    point = replace(
        base.points[0],
        measurements={"profile": {"columns": {"Name": {"nulls": number}}}, "schema": {"columns": [number]}},
    )
    run = replace(base.run, id=f"night-{number:02d}", started=at, finished=at)
    report = replace(
        base, run=run, points=[point, *base.points[1:]], trend=[], changes={"new": [], "fixed": [], "still": []}
    )
    return replace(report, **changes)


def with_checks(report: Report, *checks: CheckReport) -> Report:
    point = report.points[0]
    names = {c.check for c in checks}
    kept = [c for c in point.checks if c.check not in names]
    return replace(report, points=[replace(point, checks=[*kept, *checks]), *report.points[1:]])


def drifted(report: Report) -> Report:
    row = SAMPLES["finding"]("drift.null_rate", "warn", "Name is null in 9 % of rows, 1 % before.")
    return with_checks(report, CheckReport(check="drift", status="warn", findings=[row]))


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(f"sqlite:///{tmp_path / 'history.sqlite'}", now=lambda: NOW + timedelta(days=10))


def test_a_run_is_kept_whole_and_found_again(history: History) -> None:
    first, second = night(1), night(2)
    history.record(first)
    history.record(second)
    assert [r.id for r in history.runs()] == ["night-02", "night-01"]
    assert history.report("night-01") == first
    assert history.report("latest") == second
    assert history.report("previous") == first
    row = history.runs()[0]
    assert (row.status, row.safe_users, row.target, row.points, row.partial) == ("BREAKS", 180.0, 500, 3, False)
    history.record(second)
    assert len(history.runs()) == 2


def test_a_run_is_found_by_how_it_begins(history: History) -> None:
    with pytest.raises(UsageProblem, match="no latest run in the history yet"):
        history.resolve("latest")
    history.record(night(1))
    history.record(night(12))
    assert history.resolve("night-12") == "night-12"
    assert history.resolve("night-0") == "night-01"
    with pytest.raises(UsageProblem, match="begins 2 runs"):
        history.resolve("night")
    with pytest.raises(UsageProblem, match=r"no run 'x' in the history. The newest are night-12, night-01"):
        history.resolve("x")


# --- baselines ----------------------------------------------------------------------------------------------------


def test_a_quiet_run_is_the_next_baseline(history: History) -> None:
    assert history.last_accepted("crm.Account", "sandbox") is None
    history.record(night(1))
    history.record(night(2))
    base = history.last_accepted("crm.Account", "sandbox")
    assert base is not None
    assert base["run"] == "night-02"
    assert base["profile"] == {"columns": {"Name": {"nulls": 2}}}
    assert base["schema"] == {"columns": [2]}
    assert base["rows"]["counted"] == 1000
    assert len(base["fingerprint"]) == 32
    assert history.last_accepted("crm.Account", "staging") is None


def test_drift_does_not_become_normal_by_being_seen_twice(history: History) -> None:
    history.record(night(1))
    history.record(drifted(night(2)))
    history.record(drifted(night(3)))
    base = history.last_accepted("crm.Account", "sandbox")
    assert base is not None
    assert base["run"] == "night-01"
    assert history.acknowledge("night-03", ["crm.Account"], by="M. Weber", note="new import") == ["crm.Account"]
    base = history.last_accepted("crm.Account", "sandbox")
    assert base is not None
    assert base["run"] == "night-03"
    with pytest.raises(UsageProblem, match=r"has no point crm.Nobody; it has crm.Account"):
        history.acknowledge("night-03", ["crm.Nobody"], by="x")


def test_a_partial_or_blind_run_is_no_baseline(history: History) -> None:
    history.record(night(1))
    partial = night(2)
    history.record(replace(partial, run=replace(partial.run, partial=True)))
    blind = night(3)
    point = replace(blind.points[0], measurements={}, rows={"counted": None, "exact": False, "read": None})
    history.record(replace(blind, points=[point]))
    base = history.last_accepted("crm.Account", "sandbox")
    assert base is not None
    assert base["run"] == "night-01"


def test_a_run_without_a_profile_keeps_the_last_known_one(history: History) -> None:
    history.record(night(1))
    later = night(2)
    history.record(replace(later, points=[replace(later.points[0], measurements={"schema": {"columns": [9]}})]))
    base = history.last_accepted("crm.Account", "sandbox")
    assert base is not None
    assert (base["run"], base["schema"], base["profile"]) == (
        "night-02",
        {"columns": [9]},
        {"columns": {"Name": {"nulls": 1}}},
    )


# --- changes ------------------------------------------------------------------------------------------------------


def test_the_first_run_has_no_news(history: History) -> None:
    assert history.compared(night(1)).changes == {"new": [], "fixed": [], "still": []}


def test_new_still_and_fixed(history: History) -> None:
    history.record(night(1))
    report = night(2)
    quality = next(c for c in report.points[0].checks if c.check == "quality")
    moved = {
        **quality.findings[0],
        "message": "31 of 1,004 rows break 'pattern' of Account.AccountNumber.",
        "observed": 31,
    }
    added = SAMPLES["finding"](
        "quality.rule_failed", "break", "2 rows are null.", evidence={"rule": "Account.Name.required"}
    )
    report = with_checks(
        report,
        replace(quality, findings=[moved, added]),
        CheckReport(check="limits", status="pass"),
        CheckReport(check="volume", status="unknown", error="The read stopped after 91 s."),
    )
    found = history.compared(report)
    assert [r["code"] for r in found.changes["new"]] == ["quality.rule_failed"]
    assert found.changes["new"][0]["message"] == "2 rows are null."
    assert [r["code"] for r in found.changes["fixed"]] == ["limits.quota_reached"]
    assert sorted(r["code"] for r in found.changes["still"]) == [
        "quality.rule_failed",
        "schema.unknown",
        "volume.unknown",
    ]
    assert validate(found.to_dict()) == []


def test_a_check_that_could_not_look_fixes_nothing(history: History) -> None:
    history.record(night(1))
    report = with_checks(
        night(2),
        CheckReport(check="quality", status="unknown", error="unreachable"),
        CheckReport(check="limits", status="skipped", reason="deselected"),
    )
    found = history.compared(report)
    assert found.changes["fixed"] == []
    assert [r["code"] for r in found.changes["new"]] == ["quality.unknown"]


def test_a_selected_run_is_compared_with_the_newest_that_asked(history: History) -> None:
    history.record(night(1))
    only = night(2)
    history.record(
        replace(
            only,
            run=replace(only.run, selected_checks=["connection"]),
            points=[replace(only.points[0], checks=[CheckReport(check="connection", status="pass")])],
        )
    )
    found = history.compared(night(3))
    assert found.changes["new"] == []
    assert len(found.changes["still"]) == 4


def test_the_trend_has_the_runs_of_this_kind_oldest_first(history: History) -> None:
    for number in (1, 2):
        history.record(night(number))
    selected = night(3)
    history.record(replace(selected, run=replace(selected.run, selected_checks=["quality"])))
    assert [r["run"] for r in history.compared(night(4)).trend] == ["night-01", "night-02"]


def test_two_reports_side_by_side() -> None:
    old, new = night(1), night(2)
    point = replace(new.points[1], status="BREAKS", safe_users=90.0)
    extra = replace(new.points[2], id="finance.Other")
    result = compare(old, replace(new, points=[new.points[0], point, extra]))
    assert result.worse
    assert (result.appeared, result.gone) == (("finance.Other",), ("finance.Ledger",))
    assert "erp.SalesOrder: READY -> BREAKS  (760 -> 90 users)" in result.text()
    assert compare(old, old).text().splitlines()[1].startswith("still")
    assert json.loads(json.dumps(result.to_dict()))["verdict"] == {"old": "BREAKS", "new": "BREAKS"}


# --- the store ----------------------------------------------------------------------------------------------------


def test_two_processes_writing_at_once_lose_nothing(tmp_path: Path) -> None:
    script = tmp_path / "writer.py"
    script.write_text(
        textwrap.dedent(
            """
            import runpy, sys
            from dataclasses import replace
            from weighbridge.history import History
            sample = runpy.run_path(sys.argv[3])["small"]()
            history = History(sys.argv[1])
            for number in range(10):
                run = replace(sample.run, id=f"{sys.argv[2]}-{number:02d}")
                history.record(replace(sample, run=run))
            """
        ),
        encoding="utf-8",
    )
    url = f"sqlite:///{tmp_path / 'new.sqlite'}"
    samples = str(Path(__file__).parent.parent / "report" / "conftest.py")
    writers = [
        subprocess.Popen([sys.executable, str(script), url, name, samples], stderr=subprocess.PIPE) for name in "ab"
    ]
    for writer in writers:
        _, error = writer.communicate(timeout=90)
        assert writer.returncode == 0, error.decode()
    history = History(url)
    assert len(history.runs(limit=None)) == 20
    assert history.report("b-07").run.id == "b-07"


def test_it_lives_in_postgresql_as_well(tmp_path: Path) -> None:
    from weighbridge.sandbox.postgres import PostgresSandbox, available

    missing = available()
    if missing:
        pytest.skip(missing)
    with PostgresSandbox(tmp_path / "pg") as server:
        url = server.url().replace("postgresql://", "postgresql+psycopg://")
        history = History(url, now=lambda: NOW)
        history.record(night(1))
        history.record(drifted(night(2)))
        assert [r.id for r in history.runs()] == ["night-02", "night-01"]
        base = history.last_accepted("crm.Account", "sandbox")
        assert base is not None
        assert base["run"] == "night-01"
        assert len(history.compared(night(3)).changes["still"]) == 4
        history.close()


def test_an_older_history_is_brought_forward(tmp_path: Path) -> None:
    file = tmp_path / "old.sqlite"
    history = History(f"sqlite:///{file}", now=lambda: NOW)
    history.record(night(1))
    history.close()
    with sqlite3.connect(file) as raw:  # as the first version left it
        raw.execute("DROP TABLE wb_event")
        raw.execute("UPDATE wb_meta SET value = '1' WHERE name = 'version'")
    raw.close()
    history = History(f"sqlite:///{file}", now=lambda: NOW)
    history.event("drill", "crm", ok=True, body={"fault": "down"})
    assert [e["fault"] for e in history.events("drill", "crm")] == ["down"]
    assert history.report("night-01") == night(1)
    with sqlite3.connect(file) as raw:
        assert raw.execute("SELECT value FROM wb_meta").fetchall() == [(str(VERSION),)]
    raw.close()


def test_a_newer_history_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "new.sqlite"
    History(f"sqlite:///{file}").record(night(1))
    with sqlite3.connect(file) as raw:
        raw.execute("UPDATE wb_meta SET value = '99' WHERE name = 'version'")
    raw.close()
    with pytest.raises(UsageProblem, match=r"written by a newer version .* \(schema 99, this one knows"):
        History(f"sqlite:///{file}").runs()


def test_what_is_no_database_says_so_without_the_password(tmp_path: Path) -> None:
    file = tmp_path / "noise.sqlite"
    file.write_bytes(b"this is no database at all, and long enough to be read as a header" * 20)
    with pytest.raises(UsageProblem, match="could not be used"):
        History(f"sqlite:///{file}").runs()
    with pytest.raises(UsageProblem) as told:
        History("postgresql+psycopg://u:canary-91@127.0.0.1:1/x").runs()
    assert "canary-91" not in str(told.value)


def test_old_runs_go_and_baselines_stay(tmp_path: Path) -> None:
    history = History(f"sqlite:///{tmp_path / 'h.sqlite'}", keep_days=30, now=lambda: NOW + timedelta(days=2))
    history.record(night(1))
    history.record(drifted(night(2)))
    later = History(f"sqlite:///{tmp_path / 'h.sqlite'}", keep_days=30, now=lambda: NOW + timedelta(days=60))
    assert later.prune() == ["night-02"]
    assert [r.id for r in later.runs()] == ["night-01"]
    assert later.last_accepted("crm.Account", "sandbox") is not None


def test_nothing_secret_is_kept(history: History, tmp_path: Path) -> None:
    history.record(night(1))
    history.close()
    with sqlite3.connect(tmp_path / "history.sqlite") as raw:
        blob = raw.execute("SELECT report FROM wb_run").fetchone()[0]
    raw.close()
    assert json.loads(gzip.decompress(blob))["run"]["id"] == "night-01"


# --- commands -----------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "weighbridge.toml").write_text('[history]\nurl = "sqlite:///runs.sqlite"\n', encoding="utf-8")
    return Project.load(tmp_path / "weighbridge.toml", environ={})


def invoke(name: str, project: Project, *arguments: str):
    from importlib import import_module

    command = import_module(f"weighbridge.commands.{name}").command
    return CliRunner().invoke(command, [*arguments, "--config", str(project.file)], catch_exceptions=False)


def test_the_commands(project: Project, tmp_path: Path) -> None:
    assert "No run is recorded yet" in invoke("history", project).output
    history = History.of(project)
    history.record(night(1))
    fixed = with_checks(night(2), CheckReport(check="limits", status="pass"))
    history.record(history.compared(drifted(fixed)))
    history.close()
    assert (tmp_path / "runs.sqlite").is_file()

    listed = invoke("history", project).output.splitlines()
    assert listed[0].startswith("night-02  sandbox     BREAKS      3 points  180 of 500 users")

    told = invoke("diff", project)
    assert "NEW (1)" in told.output
    assert "drift.null_rate" in told.output
    assert "fixed (1)" in told.output

    out = invoke("report", project, "night-01", "--format", "html,md,terminal", "--out", str(tmp_path / "again"))
    assert sorted(p.name for p in (tmp_path / "again").iterdir()) == ["report.html", "report.json", "report.md"]
    assert "What stands in the way" in out.output

    again = invoke("report", project, str(tmp_path / "again" / "report.json"), "--format", "xlsx")
    assert again.output.strip().endswith("report.xlsx")

    result = CliRunner().invoke(
        __import__("weighbridge.commands.history", fromlist=["command"]).command,
        ["--config", str(project.file), "acknowledge", "latest", "--by", "M. Weber"],
        catch_exceptions=False,
    )
    assert "crm.Account: accepted by M. Weber" in result.output


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    (tmp_path / "weighbridge.toml").write_text('[history]\nuri = "x"\n', encoding="utf-8")
    with pytest.raises(UsageProblem, match="takes url and keep_days, not uri"):
        History.of(Project.load(tmp_path / "weighbridge.toml", environ={}))
    (tmp_path / "weighbridge.toml").write_text("[history]\nkeep_days = 0\n", encoding="utf-8")
    with pytest.raises(UsageProblem, match="at least 1"):
        History.of(Project.load(tmp_path / "weighbridge.toml", environ={}))
