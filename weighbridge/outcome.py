"""What one check of one point came to: its results judged, waived where somebody answers for them, kept as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from weighbridge.checks.base import Check, Finding, Forecast, Measurement, RuleResult, Severity
from weighbridge.contracts.models import IntegrationPoint
from weighbridge.project import Waiver
from weighbridge.report.model import CheckReport, finding_dict, forecast_dict, plain, rule_dict
from weighbridge.verdict import fold, judge

__all__ = ["Outcome", "make_outcome"]

Row = dict[str, Any]
FOR_PEOPLE = "for people"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check of one point came to, with the numbers it brought."""

    report: CheckReport
    forecasts: tuple[Row, ...] = ()
    measurements: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """Rows, demand, limits, profile of the point as they were known when the check ended."""

    def to_json(self) -> str:
        return json.dumps(plain(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Outcome:
        """Raises ValueError, KeyError or TypeError for what is no outcome of this version."""
        body = json.loads(text)
        return cls(CheckReport(**body["report"]), tuple(body["forecasts"]), body["measurements"], body["evidence"])


def make_outcome(
    point: IntegrationPoint,
    check: Check,
    ended: CheckReport,
    *,
    results: Iterable[Any],
    waivers: Sequence[Waiver],
    evidence: Mapping[str, Any],
    retest: str,
) -> Outcome:
    """Judge the results of a check that `ended` in some way. Raises TypeError for a code it does not declare."""
    codes = {code.name: code for code in check.codes}
    findings: list[Row] = []
    rules: list[Row] = []
    forecasts: list[Row] = []
    measurements: Row = {}
    for result in results:
        if isinstance(result, Finding):
            if result.code not in codes:
                raise TypeError(f"the check {check.name} yields the code {result.code}, which it does not declare")
            findings.append(finding_dict(result, codes[result.code], retest=retest))
        elif isinstance(result, RuleResult):
            rules.append(rule_dict(result))
        elif isinstance(result, Forecast):
            forecasts.append({**forecast_dict(result), "check": check.name})
        elif isinstance(result, Measurement):
            measurements[result.name] = plain(result.data)
    waived = _waive(findings, waivers)
    report = replace(ended, findings=findings, rules=rules)
    if report.status == "pass":
        status, error = _with_forecasts(*_judged(findings, rules), forecasts, point)
        report = replace(report, status=status, error=error)
    whole = (
        next((w for w in waivers if w.code == check.name), None) if report.status in ("unknown", "skipped") else None
    )
    answers = whole or (waived[0] if waived and report.status == "pass" else None)
    if answers is not None and report.reason != "not_applicable":
        message = f"waived by {answers.approver} until {answers.expires}: {answers.reason}"
        report = replace(report, status="skipped", reason="waived", message=message)
    return Outcome(report, tuple(forecasts), measurements, evidence)


def _waive(findings: Sequence[Row], waivers: Sequence[Waiver]) -> list[Waiver]:
    """Mark the findings somebody answers for; returns the waivers used."""
    used: list[Waiver] = []
    for finding in findings:
        for waiver in waivers:
            if finding["code"] == waiver.code and finding["severity"] != Severity.INFO:
                finding["waived"] = waiver.model_dump()
                used.append(waiver)
    return used


def _judged(findings: Sequence[Row], rules: Sequence[Row]) -> tuple[str, str | None]:
    """A status, and the error where a rule was not answered."""
    severities = {f["severity"] for f in findings if not f.get("waived")}
    if Severity.BREAK in severities:
        return "break", None
    unanswered = [
        r for r in rules if r["outcome"] == "errored" or (r["outcome"] == "not_run" and r.get("reason") != FOR_PEOPLE)
    ]
    if unanswered:
        first = unanswered[0]
        more = f" and {len(unanswered) - 1} more" if len(unanswered) > 1 else ""
        return "unknown", f"the rule {first['id']}{more} was not answered: {first.get('reason') or first['outcome']}"
    return ("warn" if Severity.WARN in severities else "pass"), None


def _with_forecasts(
    status: str, error: str | None, forecasts: Sequence[Row], point: IntegrationPoint
) -> tuple[str, str | None]:
    """A check that forecasts is only as good as its worst forecast."""
    target = point.scale.production_users
    judged = [judge(f, target, target * point.scale.headroom) for f in forecasts]
    worst = fold((s for s, _ in judged), ("BREAKS", "UNKNOWN", "AT_RISK", "READY")) if judged else "READY"
    if worst == "BREAKS" or status == "break":
        return "break", None
    if worst == "UNKNOWN" and status != "unknown":
        return "unknown", next(why for s, why in judged if s == "UNKNOWN")
    return ("warn" if worst == "AT_RISK" and status == "pass" else status), error
