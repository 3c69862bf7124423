"""Data Docs are rendered from results that are already there, and never show an unanswered rule as met."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from contract_kit import ask, contract, point_of

from weighbridge.checks import gx
from weighbridge.checks.base import RuleResult
from weighbridge.checks.quality import QualityCheck
from weighbridge.checks.suite import compile_suite, declared_source

BODY = """\
schema:
  - name: Account
    properties:
      - {name: id, logicalType: string, primaryKey: true}
      - {name: email, logicalType: string, required: true, logicalTypeOptions: {pattern: '@'}}
      - {name: gone, logicalType: string, logicalTypeOptions: {maxLength: 3}}
    quality:
      - {metric: rowCount, mustBeGreaterThan: 1}
"""


def test_a_site_with_every_rule_and_its_counts(tmp_path: Path) -> None:
    made = contract(tmp_path, BODY)
    found = ask(QualityCheck(), tmp_path, made, pa.table({"id": ["a", "a"], "email": ["x@y.example", None]}))
    rows = {r.path: dataclasses.asdict(r) for r in found if isinstance(r, RuleResult)}
    planned = compile_suite([r for r in point_of(made).rules if r.path in rows], declared_source(made.objects[0]))
    suite = gx.SuiteResult("crm.Account", [(p.expectation(), rows[p.rule.path]) for p in planned if p.type])
    index = gx.data_docs([suite], tmp_path / "docs", run="r1", at=datetime(2026, 11, 24, tzinfo=UTC))
    assert index.is_file()
    pages = [p.read_text(encoding="utf-8") for p in index.parent.rglob("validations/**/*.html")]
    assert len(pages) == 1
    for path in rows:
        assert path in pages[0]
    assert "the system has no column" in pages[0]
    assert "x@y.example" not in pages[0]
    assert "crm.Account" in index.read_text(encoding="utf-8")
