"""Contracts as pytest items: their ids, when they run, and what each outcome is."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

ARGUMENTS = ("-p", "no:randomly", "-p", "no:cacheprovider", "--wb-env", "sandbox")


@pytest.fixture
def project(shop: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """The shop as the working folder of a pytest of its own, in a process of its own."""
    monkeypatch.chdir(shop)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_TESTRUNUID", raising=False)

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.run(
            os.environ.get("PYTHON", __import__("sys").executable), "-m", "pytest", *ARGUMENTS, *arguments, str(shop)
        )

    return run


def spoil(shop: Path) -> None:
    with sqlite3.connect(shop / "shop.db") as database:
        database.execute("UPDATE orders SET account = 'nobody' WHERE id <= 7")
    database.close()


def test_plain_pytest_touches_nothing(project, shop: Path) -> None:
    (shop / "shop.db").unlink()
    result = project()
    result.stdout.fnmatch_lines(["*deselected*"])
    assert not (shop / "shop.db").exists()
    assert not (shop / ".weighbridge").exists()


def test_ids_are_file_point_check(project) -> None:
    result = project("--collect-only", "-q", "-m", "integration")
    result.stdout.fnmatch_lines(["*contracts/shop.odcs.yaml::shop.Order::schema"])
    assert "workbook" not in result.stdout.str()


def test_one_check_alone_passes(project) -> None:
    project("-m", "completeness").assert_outcomes(passed=1, deselected=None)


@pytest.mark.slow
def test_keyword_and_marks_compose(project) -> None:
    project("-m", "integration and schema").assert_outcomes(passed=1)
    project("-m", "integration", "-k", "completeness").assert_outcomes(passed=1)


def test_a_break_fails_with_the_rule_and_its_line(project, shop: Path) -> None:
    spoil(shop)
    result = project("-m", "quality")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*shop.odcs.yaml:17:*pattern*7 of 300 rows*"])
    assert "Traceback" not in result.stdout.str()


def test_could_not_look_is_an_error(project, shop: Path) -> None:
    (shop / "shop.db").unlink()
    result = project("-m", "completeness or schema")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*could not look*"])
    assert "def setup" not in result.stdout.str()


def test_a_broken_contract_is_a_collection_error_in_one_paragraph(project, shop: Path) -> None:
    (shop / "contracts" / "shop.odcs.yaml").write_text("kind: [unclosed\n")
    result = project("-m", "integration")
    assert result.ret == 2
    assert "Traceback" not in result.stdout.str()
    result.stdout.fnmatch_lines(["*shop.odcs.yaml:*"])


@pytest.mark.slow
def test_last_failed_asks_again(project, shop: Path) -> None:
    spoil(shop)
    cached = ("-p", "cacheprovider", "-o", "cache_dir=.cache")
    project("-m", "quality or completeness", *cached).assert_outcomes(passed=1, failed=1)
    project("-m", "quality or completeness", "--lf", *cached).assert_outcomes(failed=1)


def test_the_report_is_written_and_valid(project, shop: Path) -> None:
    import json

    from weighbridge.report.model import validate

    project("-m", "completeness or schema", "--wb-report", str(shop / "out"), "--junit-xml", str(shop / "j.xml"))
    report = json.loads((shop / "out" / "report.json").read_text())
    assert validate(report) == []
    asked = {c["check"] for c in report["points"][0]["checks"] if c["reason"] != "not_applicable"}
    assert asked == {"completeness", "schema"}
    assert report["verdict"]["status"] == "HOLDS"
    assert report["run"]["partial"] is False
    assert 'name="weighbridge.point" value="shop.Order"' in (shop / "j.xml").read_text()


@pytest.mark.slow
def test_what_the_history_knows_counts(project, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drill that was held, and a channel that was tested, are known to the checks as in `weighbridge run`."""
    from weighbridge.history import History
    from weighbridge.project import Project

    monkeypatch.setenv("SHOP_URL", f"sqlite:///{shop / 'shop.db'}")
    staging = ("-m", "operations", "--wb-env", "staging")
    project(*staging).stdout.fnmatch_lines(["*no drill of shop in the last 90 days*"])
    history = History.of(Project.load(shop / "weighbridge.toml"))
    history.event("drill", "shop", ok=True, body={"environment": "staging", "fault": "down"})
    history.close()
    result = project(*staging)
    assert "no drill" not in result.stdout.str()
    assert result.parseoutcomes().get("errors") is None, result.stdout.str()


@pytest.mark.parametrize("dist", ["loadgroup", pytest.param("load", marks=pytest.mark.slow)])
def test_workers_share_one_run(project, shop: Path, dist: str) -> None:
    import json

    result = project("-m", "completeness or schema", "-n", "2", "--dist", dist, "--wb-report", str(shop / "out"))
    result.assert_outcomes(passed=2)
    report = json.loads((shop / "out" / "report.json").read_text())
    assert {c["check"] for c in report["points"][0]["checks"]} >= {"completeness", "schema"}
    assert not list(shop.rglob("*.duckdb"))


@pytest.mark.slow
def test_a_group_is_a_system(project, shop: Path) -> None:
    """Four checks of one system under two workers: one worker asks them all, whatever becomes of the mark."""
    asked = "connection or schema or freshness or completeness"
    result = project("-m", asked, "-n", "2", "--dist", "loadgroup", "-v")
    workers = {line.split("]")[0] for line in result.outlines if line.startswith("[gw")}
    assert len(workers) == 1, result.outlines


HOLDER = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_workers_press_a_system_one_after_the_other(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one process asks of a system waits until no other process asks: `--dist load` changes nothing about that."""
    from weighbridge import plugins
    from weighbridge.errors import UsageProblem
    from weighbridge.weighing import Sessions

    sessions = Sessions(environment="sandbox", users=None, seed=1)
    contract = shop / "contracts" / "shop.odcs.yaml"
    (point,) = sessions.points(contract)
    lock = shop / ".weighbridge" / "locks" / "sandbox.shop.lock"
    lock.parent.mkdir(parents=True)
    monkeypatch.setattr("weighbridge.runner.LOCK_SECONDS", 0.2)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UsageProblem, match="another run has been using this system"):
            sessions.ask(contract, point, plugins.check("load"))
        other.communicate("")
    assert sessions.ask(contract, point, plugins.check("connection")).report.status == "pass"
    sessions.finish(None, worker=False)


@pytest.mark.slow
def test_a_failure_points_into_the_contract_and_takes_its_time(project, shop: Path) -> None:
    spoil(shop)
    junit = ("--junit-xml", str(shop / "j.xml"), "-o", "junit_family=xunit1")
    result = project("-m", "quality", "--durations=3", "-vv", *junit)
    result.stdout.fnmatch_lines(["*s setup*contracts/shop.odcs.yaml::shop.Order::quality"])
    text = (shop / "j.xml").read_text(encoding="utf-8")
    schema = (shop / "contracts" / "shop.odcs.yaml").read_text(encoding="utf-8").splitlines()
    assert f'file="contracts/shop.odcs.yaml" line="{schema.index("  - name: Order")}"' in text


@pytest.mark.slow
def test_the_practice_systems_are_a_fixture(project, shop: Path) -> None:
    (shop / "test_own.py").write_text(
        "def test_practice(sandbox):\n"
        "    assert (sandbox.folder / 'weighbridge.toml').is_file()\n"
        "    assert {'crm', 'erp', 'legacy', 'finance'} <= set(sandbox.running)\n"
    )
    project("-k", "practice").assert_outcomes(passed=1, deselected=None)


@pytest.mark.slow
def test_random_order_html_and_timeout_get_along(shop: Path, project) -> None:
    result = project(
        "-m", "completeness or schema", "-p", "randomly", "--html", str(shop / "r.html"), "--timeout", "60"
    )
    result.assert_outcomes(passed=2)


FIXTURES = """
import pytest

def test_every_point(integration_point, connector, scale):
    assert connector.count(integration_point.object.physical_name).value == 300
    assert scale.production_users == 500

@pytest.mark.wb_point("shop.Order")
def test_one_point(integration_point):
    assert integration_point.id == "shop.Order"

@pytest.mark.wb_point("shop.Nothing")
def test_no_such_point(integration_point):
    pass

def test_untouched(faults):
    assert faults is not None
"""


@pytest.mark.slow
def test_fixtures(project, shop: Path) -> None:
    (shop / "test_own.py").write_text(FIXTURES)
    project().assert_outcomes(passed=1)
    result = project("-m", "integration", "-k", "test_")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*known are shop.Order*"])


def test_ini_options(project, shop: Path) -> None:
    (shop / "pytest.ini").write_text("[pytest]\nwb_run = true\n")
    project("-k", "completeness").assert_outcomes(passed=1)


def test_a_project_without_weighbridge_toml_is_left_alone(project, shop: Path) -> None:
    (shop / "weighbridge.toml").unlink()
    assert project("-m", "integration").ret == 5
