"""The practice CRM: a Salesforce org with planted defects and a small daily quota; its clean twin has an ample one."""

from __future__ import annotations

from pathlib import Path

from weighbridge.sandbox.practice import Defect, Running
from weighbridge.sandbox.salesforce.seed import CLIENT_ID, CLIENT_SECRET, PLANTED
from weighbridge.sandbox.server import start

__all__ = ["PRACTICE", "Crm"]

QUOTA = 48_200
CLEAN_QUOTA = 5_000_000
BACKGROUND_PER_HOUR = 1_000
BACKGROUND_HOURS = 4
CALLS_PER_USER_HOUR = 12
POINTS = 2
"""Accounts and contacts draw on one quota."""
WORKING_HOURS = 8
RESERVE = 0.2
SERVICE_MS = 5.0


def _quality(rule: str, kind: str, note: str, point: str = "crm.Account") -> Defect:
    return Defect(point, "quality", "quality.rule_failed", rule=rule, count=PLANTED[kind], note=note)


class Crm:
    """`PRACTICE` of the CRM."""

    name = "crm"
    connector = "salesforce"
    defects = (
        _quality("Account.ERP_Number__c.unique", "duplicate_number", "accounts entered a second time"),
        _quality("Account.BillingCountryCode.required", "missing_country", "no country"),
        _quality("industry_known", "unknown_industry", "a misspelt industry in a picklist that takes any value"),
        _quality("Contact.Email.logicalTypeOptions.pattern", "bad_email", "addresses of an old import", "crm.Contact"),
        _quality("Contact.AccountId.required", "orphan_contact", "people without a company", "crm.Contact"),
        Defect("crm.Account", "schema", "schema.missing", note="Credit_Limit__c is hidden by field-level security"),
        Defect("crm.Account", "schema", "schema.length", note="Rating__c holds 20 characters, 40 are promised"),
        Defect("crm.Account", "limits", "limits.below_target", note="48,200 calls a day carry 180 users, not 500"),
        Defect("crm.Contact", "limits", "limits.below_target", note="the same quota"),
    )

    def start(self, folder: Path, *, clean: bool, seed: int, rows: int) -> Running:
        """`folder` is not used: the org keeps its records in memory."""
        del folder
        quota = CLEAN_QUOTA if clean else QUOTA
        server = start(
            "weighbridge.sandbox.salesforce.app:create",
            {
                "seed": seed,
                "rows": max(100, rows),
                "defects": not clean,
                "limits": {"daily_quota": quota, "latency_ms": SERVICE_MS},
            },
        )
        background = BACKGROUND_PER_HOUR * BACKGROUND_HOURS
        per_user = CALLS_PER_USER_HOUR * POINTS * WORKING_HOURS
        return Running(
            options={"instance_url": server.url, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET},
            settings={
                "owner": "revenue-operations@example.com",
                "quota_group": "salesforce-org-clean" if clean else "salesforce-org",
                "background": [
                    {"name": "nightly sync", "calls_per_hour": BACKGROUND_PER_HOUR, "hours": "22:00-02:00"},
                ],
            },
            stop=server.stop,
            truth={
                "limit": "daily_calls",
                "users": int((quota * (1 - RESERVE) - background) / per_user),
                "formula": f"({quota} calls x {1 - RESERVE:g} - {background} of the nightly sync) / "
                f"({CALLS_PER_USER_HOUR} calls x {POINTS} objects x {WORKING_HOURS} h)",
            },
        )


PRACTICE = Crm()
