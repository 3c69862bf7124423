"""The practice systems, weighed whole: every planted defect is found, nothing else is, and the numbers are true.

One run of all systems and their clean twins; each test asks one thing of its report.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from weighbridge.project import Project
from weighbridge.report.model import PointReport, Report, validate
from weighbridge.sandbox import practice
from weighbridge.weigh import Weighing

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("practice")]

MANIFEST = practice.manifest()
DEFECTS = [(name, defect) for name, defects in MANIFEST["systems"].items() for defect in defects]
SYSTEMS = list(practice.SYSTEMS)
VARIANTS = [name + suffix for name in SYSTEMS for suffix in ("", practice.CLEAN)]
LOUD = ("warn", "break")


@pytest.fixture(scope="module")
def weighed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Report, dict[str, dict], Path]]:
    folder = tmp_path_factory.mktemp("practice")
    with practice.start(folder) as running:
        project = Project.load(folder / "weighbridge.toml")
        weighing = Weighing(
            project, project.points(), environment="sandbox", out=folder / "report", quiet=True, remember=False
        )
        report = weighing.go()
        yield report, {name: r.truth for name, r in running.running.items()}, folder / "report"


def points(report: Report, system: str) -> list[PointReport]:
    return [p for p in report.points if p.system == system]


def loud(report: Report, system: str) -> set[tuple[str, str, str]]:
    return {
        (p.id, c.check, f["code"])
        for p in points(report, system)
        for c in p.checks
        for f in c.findings
        if f["severity"] in LOUD
    }


@pytest.mark.parametrize(
    ("system", "defect"), DEFECTS, ids=[f"{d['point']}-{d['code']}-{d['rule'] or ''}".rstrip("-") for _, d in DEFECTS]
)
def test_a_planted_defect_is_found(weighed, system: str, defect: dict) -> None:
    report, _, _ = weighed
    point = report.point(defect["point"])
    assert point is not None
    check = next(c for c in point.checks if c.check == defect["check"])
    assert defect["code"] in {f["code"] for f in check.findings}, check
    if defect["rule"]:
        rule = next(r for r in check.rules if defect["rule"] in (r["id"], r["path"]))
        assert rule["outcome"] == "failed"
        if defect["count"] is not None:
            assert rule["count"] == defect["count"]


@pytest.mark.parametrize("system", SYSTEMS)
def test_nothing_else_is_reported(weighed, system: str) -> None:
    report, _, _ = weighed
    planted = {(d["point"], d["check"], d["code"]) for d in MANIFEST["systems"][system]}
    assert loud(report, system) == planted


@pytest.mark.parametrize("system", SYSTEMS)
def test_no_rule_fails_that_was_not_planted(weighed, system: str) -> None:
    report, _, _ = weighed
    planted = {d["rule"] for d in MANIFEST["systems"][system] if d["rule"]}
    failed = {
        (r["id"], r["path"])
        for p in points(report, system)
        for c in p.checks
        for r in c.rules
        if c.check == "quality" and r["outcome"] == "failed"
    }
    assert {ids for ids in failed if not planted & set(ids)} == set()


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_defective_system_breaks(weighed, system: str) -> None:
    report, _, _ = weighed
    assert next(s for s in report.systems if s.id == system).status == "BREAKS"


@pytest.mark.parametrize("system", [s + practice.CLEAN for s in SYSTEMS])
def test_a_clean_twin_has_no_finding(weighed, system: str) -> None:
    report, _, _ = weighed
    assert points(report, system)
    assert loud(report, system) == set()


@pytest.mark.parametrize("system", [s + practice.CLEAN for s in SYSTEMS])
def test_a_clean_twin_never_breaks(weighed, system: str) -> None:
    report, _, _ = weighed
    assert {p.status for p in points(report, system)} <= {"READY", "UNKNOWN"}, {
        p.id: p.reason for p in points(report, system)
    }


@pytest.mark.parametrize("system", VARIANTS)
def test_every_check_was_asked(weighed, system: str) -> None:
    report, _, _ = weighed
    for point in points(report, system):
        errors = {c.check: c.error for c in point.checks if c.error and "Error" in c.error.split(":", 1)[0]}
        assert errors == {}, point.id


@pytest.mark.parametrize("system", VARIANTS)
def test_all_rows_were_read(weighed, system: str) -> None:
    report, _, _ = weighed
    for point in points(report, system):
        assert point.rows["counted"] == point.rows["read"], point.id


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_forecast_holds_the_number_on_paper(weighed, system: str) -> None:
    report, truths, _ = weighed
    truth = truths[system]
    told = [f for p in points(report, system) for f in p.forecast if f["limit"] == truth["limit"]]
    assert told
    for forecast in told:
        assert forecast["low"] <= truth["users"] <= forecast["high"], forecast


def test_the_report_is_valid_and_says_practice(weighed) -> None:
    report, _, folder = weighed
    body = json.loads((folder / "report.json").read_text())
    assert validate(body) == []
    assert body["run"]["practice"] is True
    assert report.verdict.status == "BREAKS"


def test_no_password_reaches_a_report(weighed) -> None:
    _, _, folder = weighed
    for path in folder.iterdir():
        assert b"practice-only" not in path.read_bytes(), path.name
