"""Great Expectations' Data Docs from a report: for the data team that already reads them. Nothing is run again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weighbridge.contracts.models import IntegrationPoint
    from weighbridge.report.model import Report

__all__ = ["write_data_docs"]


def write_data_docs(report: Report, points: Sequence[IntegrationPoint], folder: Path) -> Path | None:
    """Render the data rules of every point into `folder`; the index page, None where no data rule was asked."""
    from weighbridge.checks.gx import SuiteResult, data_docs
    from weighbridge.checks.suite import compile_suite, declared_source

    by_id = {p.id: p for p in points}
    suites: list[SuiteResult] = []
    for shown in report.points:
        point = by_id.get(shown.id)
        rules = {r["path"]: r for c in shown.checks if c.check == "quality" for r in c.rules}
        if point is None or not rules:
            continue
        planned = compile_suite([r for r in point.rules if r.path in rules], declared_source(point.object))
        pairs = [(p.expectation(), rules[p.rule.path]) for p in planned if p.type is not None]
        if pairs:
            suites.append(SuiteResult(shown.id, pairs))
    if not suites:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    return data_docs(suites, folder, run=report.run.id, at=datetime.fromisoformat(report.run.started))
