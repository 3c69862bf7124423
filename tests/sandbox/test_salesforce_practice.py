"""The practice CRM: its defects are as many as the manifest says, and its quota ends where the paper says."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from weighbridge.connectors.errors import MissingObjectError, QuotaExhausted
from weighbridge.connectors.salesforce import SalesforceConnector
from weighbridge.connectors.session import NO_RETRY, Session
from weighbridge.contracts.loader import load
from weighbridge.sandbox.data import INDUSTRIES, companies
from weighbridge.sandbox.salesforce import practice
from weighbridge.sandbox.salesforce.practice import PRACTICE
from weighbridge.sandbox.salesforce.seed import PLANTED
from weighbridge.sandbox.server import start

CONTRACT = Path(practice.__file__).parents[2] / "contracts" / "practice" / "crm.odcs.yaml"


def rows(connector: SalesforceConnector, name: str) -> list[dict[str, Any]]:
    return [r for page in connector.read(name) for r in page.batch.to_pylist()]


def planted(connector: SalesforceConnector) -> dict[str, int]:
    accounts, contacts = rows(connector, "Account"), rows(connector, "Contact")
    numbers = Counter(a["ERP_Number__c"] for a in accounts)
    return {
        "duplicate_number": sum(n - 1 for n in numbers.values()),
        "missing_country": sum(a["BillingCountryCode"] is None for a in accounts),
        "unknown_industry": sum(a["Industry"] not in INDUSTRIES for a in accounts),
        "bad_email": sum(not re.search(r"^[^@ ]+@[^@ ]+\.[a-z]{2,}$", c["Email"]) for c in contacts),
        "orphan_contact": sum(c["AccountId"] is None for c in contacts),
    }


@pytest.mark.parametrize("clean", [False, True])
def test_what_is_planted_is_what_the_manifest_says(tmp_path: Path, clean: bool) -> None:
    running = PRACTICE.start(tmp_path, clean=clean, seed=7, rows=600)
    try:
        with SalesforceConnector(running.options, Session(retry=NO_RETRY)) as connector:
            assert planted(connector) == (dict.fromkeys(PLANTED, 0) if clean else dict(PLANTED))
            rating = connector.discover("Account").column("Rating__c")
            assert rating is not None
            assert rating.length == (40 if clean else 20)
            assert (connector.discover("Account").column("Credit_Limit__c") is None) is not clean
            numbers = {r["ERP_Number__c"] for r in rows(connector, "Account")}
            assert {c.number for c in companies(7, 600)} == numbers, "what other systems refer to is there"
            promised = {p.physical_name for o in load(CONTRACT).objects for p in o.properties if o.name == "Account"}
            if clean:
                connector.read("Account", columns=sorted(promised))
            else:
                with pytest.raises(MissingObjectError, match="Credit_Limit__c"):
                    connector.read("Account", columns=sorted(promised))
            daily = next(limit for limit in connector.limits() if limit.name == "daily_calls")
            assert daily.cap == (practice.CLEAN_QUOTA if clean else practice.QUOTA)
    finally:
        running.stop()


def test_the_paper(tmp_path: Path) -> None:
    running = PRACTICE.start(tmp_path, clean=False, seed=7, rows=100)
    running.stop()
    assert running.truth["users"] == 180
    running = PRACTICE.start(tmp_path, clean=True, seed=7, rows=100)
    running.stop()
    assert running.truth["users"] > 500 * 1.2 * 1.5, "ample, at month end too"


def test_a_quota_ends_at_its_last_call() -> None:
    with start("weighbridge.sandbox.salesforce.app:create", {"rows": 100, "limits": {"daily_quota": 25}}) as server:
        options = {
            "instance_url": server.url,
            "client_id": practice.CLIENT_ID,
            "client_secret": practice.CLIENT_SECRET,
        }
        with SalesforceConnector(options, Session(retry=NO_RETRY)) as connector:
            for _ in range(25):
                connector.count("Contact")
            with pytest.raises(QuotaExhausted):
                connector.count("Contact")
        stats = server.control("stats")
        assert (stats["daily_used"], stats["refused"], stats["logins"]) == (25, 1, 1)


def test_the_same_seed_is_the_same_org() -> None:
    seen = []
    for _ in range(2):
        config = {"rows": 100, "seed": 3, "defects": True}
        with start("weighbridge.sandbox.salesforce.app:create", config) as server:
            options = {
                "instance_url": server.url,
                "client_id": practice.CLIENT_ID,
                "client_secret": practice.CLIENT_SECRET,
            }
            with SalesforceConnector(options) as connector:
                seen.append(rows(connector, "Account") + rows(connector, "Contact"))
    assert seen[0] == seen[1]
