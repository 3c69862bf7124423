"""The runner keeps what was measured, never turns an error into a pass, and goes on where it was stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from weighbridge import plugins
from weighbridge.checks.base import Code, Finding, Forecast, Inconclusive, NotRun, RuleResult, Severity
from weighbridge.connectors.base import Limit
from weighbridge.connectors.errors import BudgetExceeded, UnreachableError
from weighbridge.outcome import Outcome
from weighbridge.project import Project
from weighbridge.report.model import validate
from weighbridge.runner import Run, _settling, latest_run


class Probe:
    """A check whose answer the test chooses."""

    name = "probing"
    needs: tuple[str, ...] = ()
    facets: tuple[type, ...] = ()
    cost = "cheap"
    codes = (
        Code("probing.bad", Severity.BREAK, "Mend it."),
        Code("probing.odd", Severity.WARN, "Look at it."),
    )

    def __init__(self, *results, raises: BaseException | None = None, **attributes) -> None:
        self.results = results
        self.raises = raises
        self.asked = 0
        for name, value in attributes.items():
            setattr(self, name, value)

    def __call__(self, point, evidence, context):
        self.asked += 1
        yield from self.results
        if self.raises is not None:
            raise self.raises


@pytest.fixture
def ask(shop: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the given check over the shop and returns its CheckReport."""

    def asked(check: Probe, **settings) -> Outcome:
        monkeypatch.setattr(plugins, "checks", lambda _names=None: (check,))
        project = Project.load(start=shop)
        run = Run(project, project.points(), environment="sandbox", selected=(check.name,), **settings)
        try:
            report = run.execute()
        finally:
            run.close()
        assert validate(report.to_dict()) == []
        return run._outcomes["shop.Order", check.name]

    return asked


def rule(outcome: str, reason: str | None = None) -> RuleResult:
    return RuleResult("r", "Order.r", "r", 1, outcome, reason)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("check", "status", "reason"),
    [
        (Probe(), "pass", None),
        (Probe(Finding("probing.odd", "hm")), "warn", None),
        (Probe(Finding("probing.odd", "hm"), Finding("probing.bad", "no")), "break", None),
        (Probe(Finding("probing.bad", "told to inform", severity=Severity.INFO)), "pass", None),
        (Probe(rule("passed")), "pass", None),
        (Probe(rule("errored", "no such column")), "unknown", None),
        (Probe(rule("not_run", "no engine")), "unknown", None),
        (Probe(rule("not_run", "for people")), "pass", None),
        (Probe(raises=NotRun("not_applicable", "files only")), "skipped", "not_applicable"),
        (Probe(raises=BudgetExceeded("spent")), "skipped", "budget"),
        (Probe(raises=Inconclusive("could not tell")), "unknown", None),
        (Probe(raises=UnreachableError("no route")), "unknown", None),
        (Probe(raises=ZeroDivisionError("a defect of ours")), "unknown", None),
        (Probe(cost="write"), "skipped", "not_permitted"),
    ],
)
def test_status(ask, check: Probe, status: str, reason: str | None) -> None:
    report = ask(check).report
    assert (report.status, report.reason) == (status, reason)


def test_an_error_keeps_what_was_found_before_it(ask) -> None:
    report = ask(Probe(Finding("probing.bad", "seen"), raises=UnreachableError("gone", remedy="Plug it in."))).report
    assert [f["message"] for f in report.findings] == ["seen"]
    assert report.status == "unknown"
    assert report.remedy == "Plug it in."


def test_a_failed_need_makes_the_check_unknown_with_that_cause(ask, shop: Path) -> None:
    (shop / "shop.db").unlink()
    report = ask(Probe(needs=("landing",))).report
    assert report.status == "unknown"
    assert report.error


def test_an_undeclared_code_raises(ask) -> None:
    with pytest.raises(TypeError, match=r"probing\.other"):
        ask(Probe(Finding("probing.other", "never declared")))


def test_a_forecast_below_the_target_breaks_its_check(ask) -> None:
    forecast = Forecast(
        "daily_calls", 180, 165, 195, 165, "reported", 50, "interpolated", "sandbox", "quota", {"cap": 1}
    )
    assert ask(Probe(forecast)).report.status == "break"


def test_a_waiver_stands_in_and_says_who(ask, shop: Path) -> None:
    with (shop / "weighbridge.toml").open("a") as file:
        file.write(
            '[[waivers]]\npoint = "shop.Order"\ncode = "probing.bad"\napprover = "cfo@example.com"\n'
            'expires = 2999-01-01\nreason = "known"\n'
        )
    report = ask(Probe(Finding("probing.bad", "no"))).report
    assert (report.status, report.reason) == ("skipped", "waived")
    assert "cfo@example.com" in (report.message or "")


def test_an_expired_waiver_is_none(ask, shop: Path) -> None:
    with (shop / "weighbridge.toml").open("a") as file:
        file.write(
            '[[waivers]]\npoint = "*"\ncode = "probing.bad"\napprover = "x"\nexpires = 2020-01-01\nreason = "old"\n'
        )
    assert ask(Probe(Finding("probing.bad", "no"))).report.status == "break"


def test_landed_rows_are_private_and_gone_unless_kept(ask, shop: Path) -> None:
    ask(Probe(needs=("landing",)), keep=True)
    (landed,) = shop.rglob("*.duckdb")
    assert landed.stat().st_mode & 0o777 == 0o600
    assert landed.parent.stat().st_mode & 0o777 == 0o700
    landed.unlink()
    ask(Probe(needs=("landing",)))
    assert not list(shop.rglob("*.duckdb"))


def test_resume_does_not_ask_again(ask, shop: Path) -> None:
    first = Probe(Finding("probing.odd", "hm"))
    ask(first, id="one")
    again = Probe()
    outcome = ask(again, id="one")
    assert again.asked == 0
    assert outcome.report.findings[0]["message"] == "hm"


def test_budget_is_one_for_the_system(ask, shop: Path) -> None:
    toml = shop / "weighbridge.toml"
    toml.write_text(toml.read_text().replace("[systems.shop.staging]", "call_budget = 0\n[systems.shop.staging]"))
    report = ask(Probe(needs=("landing",))).report
    assert (report.status, report.reason) == ("skipped", "budget")


def test_allowed_hours_are_kept(ask, shop: Path) -> None:
    from datetime import UTC, datetime

    toml = shop / "weighbridge.toml"
    toml.write_text(
        toml.read_text().replace("[systems.shop.staging]", 'allowed_hours = "22:00-02:00"\n[systems.shop.staging]')
    )
    check = Probe(cost="read")
    noon = ask(check, now=lambda: datetime(2026, 5, 5, 12, tzinfo=UTC)).report
    assert (noon.status, noon.reason) == ("skipped", "not_permitted")
    assert ask(Probe(cost="read"), now=lambda: datetime(2026, 5, 5, 23, tzinfo=UTC)).report.status == "pass"


KILLED = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background of a shell
from weighbridge import plugins
from weighbridge.checks.base import Finding
from weighbridge.project import Project
from weighbridge.runner import Run
from weighbridge.weigh import Weighing

class First:
    name, needs, facets, cost, codes = "connection", (), (), "cheap", ()
    def __call__(self, point, evidence, context):
        return ()

class Second(First):
    name = "schema"
    def __call__(self, point, evidence, context):
        Path("reached").touch()
        time.sleep(60)
        return ()

plugins.checks = lambda names=None: (First(), Second())
project = Project.load()
Weighing(project, project.points(), environment="sandbox", checks=("connection", "schema"), remember=False).go()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_keeps_everything_it_had(shop: Path, how: signal.Signals) -> None:
    (shop / "go.py").write_text(KILLED)
    process = subprocess.Popen([sys.executable, "go.py"], cwd=shop, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (shop / "reached").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    os.kill(process.pid, how)
    process.communicate(timeout=30)
    project = Project.load(start=shop)
    run_id = latest_run(project, "sandbox")
    assert run_id is not None
    (kept,) = shop.glob(f".weighbridge/runs/{run_id}/points/*/check-connection.json")
    assert Outcome.from_json(kept.read_text()).report.status == "pass"
    if how is signal.SIGINT:
        partial = json.loads((shop / "weighbridge-report" / "report.json").read_text())
        assert validate(partial) == []
        assert partial["run"]["partial"] is True
        assert partial["verdict"]["status"] == "UNKNOWN"


def test_a_selected_point_shares_its_quota_with_all_others(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shop / "contracts" / "more.odcs.yaml").write_text(
        (shop / "contracts" / "shop.odcs.yaml")
        .read_text()
        .replace("id: shop", "id: more")
        .replace("name: Order\n", "name: Return\n")
        .replace("schema:\n", "slaProperties:\n  - {property: calls_per_user_hour, value: 36}\nschema:\n")
    )
    (shop / "contracts" / "broken.odcs.yaml").write_text("kind: [unclosed\n")
    seen = {}

    class Sharing(Probe):
        def __call__(self, point, evidence, context):
            seen[point.id] = (context.shared_points, context.shared_load)
            return ()

    monkeypatch.setattr(plugins, "checks", lambda _names=None: (Sharing(),))
    project = Project.load(start=shop)
    everything, unread = project.everything()
    chosen = project.points([shop / "contracts" / "shop.odcs.yaml"])
    run = Run(project, chosen, environment="sandbox", selected=("probing",), everything=everything, unread=unread)
    report = run.execute()
    run.close()
    assert seen == {"shop.Order": (("shop.Return",), 3.0)}
    assert any("broken.odcs.yaml" in line for line in report.assumptions)


def limit(window: str | None, unit: str = "calls") -> Limit:
    return Limit("requests_per_window", "user", 250, unit, window, None, "reported", "sandbox", "")


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        ([], 0),
        ([limit("5 s")], 5),
        ([limit("5 s"), limit("300 s")], 5),
        ([limit("rolling 24 h"), limit("midnight UTC"), limit(None), limit("concurrent")], 0),
        ([limit("5 s", "rows"), limit("whenever")], 0),
    ],
)
def test_a_short_rate_window_is_let_run_out_after_a_load(limits: list[Limit], seconds: float) -> None:
    assert _settling(limits) == seconds
