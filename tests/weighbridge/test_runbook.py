from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from weighbridge.checks.completeness import CompletenessCheck
from weighbridge.checks.operations import OperationsCheck
from weighbridge.checks.schema import SchemaCheck
from weighbridge.errors import UsageProblem
from weighbridge.project import Project
from weighbridge.runbook import render, sections

SAMPLES = runpy.run_path(str(Path(__file__).parent.parent / "report" / "conftest.py"))
CHECKS = (SchemaCheck(), CompletenessCheck(), OperationsCheck())


def test_a_stranger_finds_what_to_do(shop: Path) -> None:
    toml = shop / "weighbridge.toml"
    toml.write_text(
        toml.read_text(encoding="utf-8").replace(
            'owner = "shop@example.com"',
            'owner = "shop@example.com"\ndeputy = "night@example.com"\nfallback = "the copy of last night"',
        ),
        encoding="utf-8",
    )
    project = Project.load(toml, environ={})
    report = SAMPLES["small"]()
    point = replace(report.points[0], id="shop.Order", system="shop")
    last = replace(report, points=[point], systems=[replace(report.systems[0], id="shop")])
    text = render(project, "shop", project.points(), environment="staging", checks=CHECKS, last=last)
    for wanted in (
        "# Runbook: shop",
        "weighbridge run --env staging --points shop --checks connection",
        "switch to the fallback: the copy of last night",
        "| Owner (call first) | `shop@example.com` |",
        "| Deputy | `night@example.com` |",
        "**nobody is named**",
        "`shop.Order`",
        "| `QuotaExhausted` |",
        "`limits.quota_reached`: daily\\_calls is spent",
        "reaches daily\\_calls at 180 \\[165, 195\\] users",
        "### completeness",
        "**What to do.**",
        "`schema.undeclared_column` **(seen in the last run)**" if _has("schema.undeclared_column") else "| finding |",
    ):
        assert wanted in text, wanted


def _has(code: str) -> bool:
    return any(c.name == code for check in CHECKS for c in check.codes)


def test_every_error_of_a_connector_has_a_line() -> None:
    from weighbridge.connectors import errors
    from weighbridge.runbook import _FAILURES

    told = {kind.__name__ for kind, _, _ in _FAILURES}
    seen_by_users = set(errors.__all__) - {
        "ConnectorError",
        "RetriableError",
        "DriverError",
        "SettingsError",
        "NotAllowed",
        "BudgetExceeded",
        "WriteForbidden",
    }
    assert told == seen_by_users


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.name)
def test_a_checks_docstring_is_read_by_section(check: object) -> None:
    found = sections(check)  # type: ignore[arg-type]
    assert all(found.get(name) for name in ("", "Breaks in production", "Fix"))
    assert "---" not in "".join(found.values())


def test_a_system_that_was_never_weighed_says_so(shop: Path) -> None:
    project = Project.load(shop / "weighbridge.toml", environ={})
    text = render(project, "shop", [], environment="staging", checks=())
    assert "It has not been weighed yet" in text
    assert "no contract names this system" in text
    assert "No limit is known" in text


def test_the_command_writes_one_file_a_system(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weighbridge.commands.runbook import command

    monkeypatch.setattr("weighbridge.plugins.checks", lambda _names=None: CHECKS)
    done = CliRunner().invoke(command, ["--config", str(shop / "weighbridge.toml")], catch_exceptions=False)
    assert done.output.strip() == str(shop / "runbooks" / "shop.md")
    with pytest.raises(UsageProblem, match="no system nobody; there are shop"):
        CliRunner().invoke(command, ["nobody", "--config", str(shop / "weighbridge.toml")], catch_exceptions=False)
