"""Reports to render: a small one that has everything in it, and a big one; both are valid by construction."""

from __future__ import annotations

from typing import Any

import pytest

from weighbridge.contracts.scale import Scale
from weighbridge.report.model import CheckReport, OverallVerdict, PointReport, Report, RunInfo, SystemReport, Target

CHECKS = ("connection", "schema", "quality", "completeness", "volume", "limits", "load", "resilience")


def finding(code: str, severity: str, message: str, **more: Any) -> dict[str, Any]:
    row = {
        "code": code,
        "severity": severity,
        "message": message,
        "expected": None,
        "observed": None,
        "evidence": {},
        "business_effect": "",
        "remedy": "",
        "retest": "",
    }
    return {**row, **more}


def rule(path: str, outcome: str = "passed", **more: Any) -> dict[str, Any]:
    row = {
        "id": path,
        "path": path,
        "name": path.rpartition(".")[2],
        "line": 12,
        "outcome": outcome,
        "reason": None,
        "severity": "error",
        "count": 0,
        "total": 1000,
        "observed": 0,
        "expected": "0 rows",
        "samples": [],
        "query": None,
    }
    return {**row, **more}


def forecast(limit: str, users: float | None, low: float | None, high: float | None, **more: Any) -> dict[str, Any]:
    row = {
        "limit": limit,
        "users": users,
        "low": low,
        "high": high,
        "at_least": low,
        "basis": "reported",
        "measured_to": 50.0,
        "trust": "extrapolated",
        "environment": "staging",
        "model": "quota",
        "inputs": {},
        "when": {},
        "transfer": None,
        "answers_target": True,
        "shared_with": [],
        "next_probe": None,
        "remedies": [],
        "reason": None,
    }
    return {**row, **more}


def passed(check: str, **more: Any) -> CheckReport:
    return CheckReport(check=check, status="pass", seconds=0.4, calls=3, **more)


def small() -> Report:
    quota = forecast(
        "daily_calls",
        180.0,
        165.0,
        195.0,
        inputs={
            "cap": 150000.0,
            "reserve": 0.2,
            "background": 60000.0,
            "calls_per_user_hour": 41.667,
            "working_hours": 8.0,
            "day_factor": 1.0,
        },
        when={"ordinary": "14:20", "month_end": "10:50", "month": "2027-03"},
        remedies=[
            {"remedy": "read in batches of 200", "users": 9000.0, "low": 8200.0, "high": 9900.0},
            {"remedy": "buy 100,000 more calls a day", "users": 340.0, "low": 310.0, "high": 370.0},
        ],
    )
    crm = PointReport(
        id="crm.Account",
        system="crm",
        connector="salesforce",
        object="Account",
        contract="contracts/crm.odcs.yaml",
        owner="revenue-ops@example.com",
        environment="sandbox",
        status="BREAKS",
        safe_users=180.0,
        at_least=165.0,
        reason="The CRM's daily call limit is spent at about 180 users.",
        rows={"counted": 1000, "exact": True, "read": 1000},
        retest="weighbridge run contracts/crm.odcs.yaml --checks limits",
        demand={
            "source": "measured",
            "calls_per_user_hour": {"n": 40, "mean": 62.0, "low": 55.0, "median": 62.0, "high": 70.0},
        },
        load={
            "levels": [
                {"users": 1, "throughput": 2.0, "p50_ms": 44.0, "p95_ms": 51.0, "errors": 0.0},
                {"users": 10, "throughput": 19.8, "p50_ms": 45.0, "p95_ms": 58.0, "errors": 0.0},
                {"users": 50, "throughput": 96.0, "p50_ms": 52.0, "p95_ms": 83.0, "errors": 0.0},
            ],
            "bursts": [{"size": 32, "drain_rate": 480.0, "errors": 0}],
            "audit": {"cpu_share": 0.21, "schedule_lag_ms": 0.4, "valid": True},
        },
        forecast=[
            quota,
            forecast(
                "latency",
                640.0,
                560.0,
                720.0,
                trust="extrapolated",
                basis="measured",
                model="closed_queue",
                inputs={
                    "capacity": 128.0,
                    "capacity_factor": 1.0,
                    "think_s": 4.0,
                    "objective_s": 1.0,
                    "correction": 1.0,
                    "slots": 20.0,
                    "service_s": 0.04,
                    "delay_s": 0.0,
                },
            ),
        ],
        scale={
            **Scale(month_end_factor=2.5, growth_per_year=0.4).model_dump(mode="json"),
            "weights": list(Scale().weights),
        },
        measurements={"volume": {"rows_per_second": 5200.0, "growth_exponent": 1.02}},
        checks=[
            passed("connection"),
            CheckReport(
                check="schema",
                status="warn",
                seconds=0.1,
                findings=[
                    finding("schema.undeclared_column", "info", "Account.Fax is in the system and not in the contract.")
                ],
            ),
            CheckReport(
                check="quality",
                status="break",
                seconds=1.2,
                rules=[
                    rule("Account.Name.required"),
                    rule(
                        "Account.AccountNumber.logicalTypeOptions.pattern",
                        "failed",
                        count=25,
                        observed=25,
                        expected="matches ^C-[0-9]{6}$",
                        samples=["C-00***", "=cmd|' /C calc'!A0", "<script>alert(1)</script>"],
                        query='SELECT * FROM "Account" WHERE NOT regexp_matches("AccountNumber", \'^C-[0-9]{6}$\')',
                    ),
                    rule("Account.quality.people", "not_run", reason="for people", count=None, total=None),
                ],
                findings=[
                    finding(
                        "quality.rule_failed",
                        "break",
                        "25 of 1,000 rows break 'pattern' of Account.AccountNumber.",
                        expected="matches ^C-[0-9]{6}$",
                        observed=25,
                        evidence={"rule": "Account.AccountNumber.logicalTypeOptions.pattern", "share": 0.025},
                        business_effect="Orders cannot be matched to these customers.",
                        remedy="Correct the account numbers in the CRM, or correct the contract.",
                        retest="weighbridge run contracts/crm.odcs.yaml --checks quality",
                    )
                ],
            ),
            passed("completeness"),
            CheckReport(
                check="volume", status="unknown", error="The read stopped after 90 s.", remedy="Raise timeout."
            ),
            CheckReport(
                check="limits",
                status="break",
                findings=[
                    finding(
                        "limits.quota_reached",
                        "break",
                        "daily_calls is spent at about 180 users [165, 195]; 500 are asked for.",
                        expected=600,
                        observed=180,
                        business_effect="Order look-ups stop at about 14:20 on an ordinary day.",
                        remedy="Read in batches of 200, or ask the vendor for more calls.",
                        retest="weighbridge run contracts/crm.odcs.yaml --checks limits",
                    )
                ],
            ),
            passed("load"),
            CheckReport(
                check="resilience", status="skipped", reason="not_permitted", message="Faults need the sandbox."
            ),
        ],
    )
    erp = PointReport(
        id="erp.SalesOrder",
        system="erp",
        connector="odata",
        object="SalesOrder",
        contract="contracts/erp.odcs.yaml",
        owner="finance-it@example.com",
        environment="sandbox",
        status="READY",
        at_least=700.0,
        safe_users=760.0,
        forecast=[forecast("requests_per_window", 760.0, 700.0, 830.0, trust="measured")],
        checks=[passed(name) for name in CHECKS],
    )
    book = PointReport(
        id="finance.Ledger",
        system="finance",
        connector="excel",
        object="Ledger",
        contract="contracts/finance.odcs.yaml",
        environment="sandbox",
        status="UNKNOWN",
        at_least=40.0,
        forecast=[
            forecast(
                "latency",
                None,
                None,
                None,
                at_least=40.0,
                trust="unpredictable",
                reason="no limit was seen",
                next_probe="80 users",
            )
        ],
        checks=[passed("connection"), CheckReport(check="schema", status="unknown", error="The sheet is encrypted.")],
    )
    return Report(
        run=RunInfo(
            id="20261124-230000-a1b2",
            started="2026-11-24T23:00:00+00:00",
            finished="2026-11-24T23:01:30+00:00",
            environment="sandbox",
            rung=4,
            versions={"weighbridge": "0.1.0", "python": "3.11.7"},
            seed=7,
            calls={"crm": 1234, "erp": 88},
            practice=True,
            project="acme",
            required_checks=list(CHECKS),
            command="weighbridge run --env sandbox",
        ),
        target=Target(pilot_users=10, production_users=500),
        verdict=OverallVerdict(
            status="BREAKS",
            safe_users=180.0,
            at_least=165.0,
            limiting_point="crm.Account",
            sentence="Not ready for 500 users. Safe to about 180. The CRM's daily limit stops look-ups at 14:20.",
            engineer="crm.Account BREAKS @180 [165, 195]: daily_calls 150,000 (reported, staging), reserve 20 %.",
        ),
        systems=[
            SystemReport(
                id="crm",
                status="BREAKS",
                connector="salesforce",
                product="Salesforce (practice)",
                owner="revenue-ops@example.com",
                deputy="ops-deputy@example.com",
                runbook="https://wiki.example.com/crm",
                rung=4,
                limits=[
                    {
                        "name": "daily_calls",
                        "scope": "org",
                        "cap": 150000.0,
                        "unit": "calls",
                        "window": "rolling 24 h",
                        "used": 60000.0,
                        "source": "reported",
                        "environment": "sandbox",
                        "at": "2026-11-24T23:00:01+00:00",
                        "detail": {},
                    }
                ],
            ),
            SystemReport(id="erp", status="READY", connector="odata", owner="finance-it@example.com"),
            SystemReport(id="finance", status="UNKNOWN", connector="excel", error="The workbook is encrypted."),
        ],
        points=[crm, erp, book],
        not_tested=[
            {
                "point": "crm.Account",
                "check": "quality",
                "rule": "Account.quality.people",
                "reason": "for people",
                "message": None,
            }
        ],
        waivers=[
            {
                "point": "erp.SalesOrder",
                "check": "freshness",
                "code": "freshness.late",
                "approver": "M. Weber",
                "expires": "2027-01-31",
                "reason": "Nightly load moves in January.",
            }
        ],
        assumptions=[
            "One user makes 62 calls an hour, measured over 40 look-ups.",
            "The peak hour has 3 times the average.",
        ],
        changes={
            "new": [
                {
                    "point": "crm.Account",
                    "check": "limits",
                    "code": "limits.quota_reached",
                    "message": "daily_calls is spent",
                }
            ],
            "fixed": [
                {
                    "point": "erp.SalesOrder",
                    "check": "schema",
                    "code": "schema.retyped",
                    "message": "NetValue is a decimal again",
                }
            ],
            "still": [],
        },
        trend=[
            {"run": "20261122", "at": "2026-11-22T23:00:00+00:00", "status": "BREAKS", "safe_users": 150.0},
            {"run": "20261123", "at": "2026-11-23T23:00:00+00:00", "status": "BREAKS", "safe_users": 172.0},
        ],
    )


def big(points: int = 60, findings: int = 5000) -> Report:
    base = small()
    crm = base.points[0]
    each, rest = divmod(findings, points)
    made = []
    from dataclasses import replace

    for number in range(points):
        rows = [
            finding(
                "quality.rule_failed",
                "break" if i % 5 == 0 else "warn",
                f"{i + 3} of 120,000 rows break 'pattern' of Object{number}.Field{i}.",
                expected="matches ^C-[0-9]{6}$",
                observed=i + 3,
                evidence={
                    "rule": f"Object{number}.Field{i}.pattern",
                    "share": 0.01,
                    "keys": [f"C-{k:06d}" for k in range(6)],
                },
                business_effect="Orders cannot be matched to these customers.",
                remedy="Correct the account numbers in the CRM, or correct the contract.",
                retest=f"weighbridge run contracts/c{number}.odcs.yaml --checks quality",
            )
            for i in range(each + (1 if number < rest else 0))
        ]
        checks = [replace(c, findings=rows) if c.check == "quality" else c for c in crm.checks]
        made.append(
            replace(crm, id=f"crm.Object{number}", object=f"Object{number}", checks=checks, system=f"s{number % 4}")
        )
    return replace(base, points=made)


@pytest.fixture
def report() -> Report:
    return small()


@pytest.fixture
def big_report() -> Report:
    return big()
