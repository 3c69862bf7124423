"""The stand-in's SOQL against plain Python over the same records, and its refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from weighbridge.sandbox.salesforce import soql
from weighbridge.sandbox.salesforce.model import ApiError, make_id, stamp, to18
from weighbridge.sandbox.salesforce.org import Lens, Org
from weighbridge.sandbox.salesforce.seed import build

ORG: Org = build({"rows": 120, "defects": True, "seed": 5})
LENS: Lens = ORG.lens(next(iter(ORG.users.values())))
ACCOUNTS = list(ORG.store("Account").live.values())
Record = dict[str, Any]


def ask(text: str) -> list[Record]:
    return LENS.matching(soql.parse(text), deleted=False)


@pytest.mark.parametrize(
    ("where", "test"),
    [
        ("Name LIKE 'alder%'", lambda r: r["Name"].lower().startswith("alder")),
        ("Name LIKE '%_MBH 7'", lambda r: r["Name"].lower().endswith("gmbh 7")),
        ("Industry = 'retail'", lambda r: r["Industry"] == "Retail"),
        ("Industry != 'Retail'", lambda r: r["Industry"] != "Retail"),
        ("BillingCountryCode = null", lambda r: r["BillingCountryCode"] is None),
        ("BillingCountryCode != null", lambda r: r["BillingCountryCode"] is not None),
        ("BillingCountryCode NOT IN ('DE', 'FR')", lambda r: r["BillingCountryCode"] not in ("DE", "FR")),
        ("NumberOfEmployees >= 100 AND NumberOfEmployees < 2000", lambda r: 100 <= r["NumberOfEmployees"] < 2000),
        ("AnnualRevenue > 450000.5", lambda r: r["AnnualRevenue"] > 450000.5),
        ("Active__c = FALSE", lambda r: r["Active__c"] is False),
        ("Customer_Since__c <= 2024-06-30", lambda r: r["Customer_Since__c"] <= "2024-06-30"),
        ("CreatedDate > 2024-06-30T02:00:00+02:00", lambda r: r["CreatedDate"] > "2024-06-30T00:00:00.000+0000"),
        (
            "(Industry = 'Retail' OR Industry = 'Energy') AND NOT (Type = 'Partner')",
            lambda r: r["Industry"] in ("Retail", "Energy") and r["Type"] != "Partner",
        ),
        ("Owner.Username = 'integration@example.com.practice'", lambda _: True),
        ("ERP_Number__c IN ('C-000001', 'c-000002', 'x')", lambda r: r["ERP_Number__c"] in ("C-000001", "C-000002")),
    ],
)
def test_where(where: str, test: Callable[[Record], bool]) -> None:
    found = ask(f"SELECT Id FROM Account WHERE {where}")
    assert [r["Id"] for r in found] == [r["Id"] for r in ACCOUNTS if test(r)]


def test_ids_order_limits() -> None:
    middle = ACCOUNTS[50]["Id"]
    behind = ask(f"SELECT Id FROM Account WHERE Id > '{middle}' ORDER BY Id LIMIT 5")
    assert [r["Id"] for r in behind] == [r["Id"] for r in ACCOUNTS[51:56]]
    assert ask(f"SELECT Id FROM Account WHERE Id = '{middle[:15]}'")[0]["Id"] == middle
    names = [r["Name"] for r in ask("SELECT Name FROM Account ORDER BY Name DESC LIMIT 10 OFFSET 3")]
    assert names == sorted((r["Name"] for r in ACCOUNTS), key=str.lower, reverse=True)[3:13]
    first = ask("SELECT Id FROM Account ORDER BY BillingCountryCode NULLS LAST, Name")
    assert first[-1]["BillingCountryCode"] is None
    assert ask("SELECT Id FROM Account ORDER BY BillingCountryCode")[0]["BillingCountryCode"] is None


def test_aggregates() -> None:
    query = soql.parse(
        "SELECT Type, COUNT(Id) n, SUM(NumberOfEmployees), AVG(AnnualRevenue) a FROM Account GROUP BY Type"
    )
    groups = LENS.aggregate(query, LENS.matching(query, deleted=False))
    assert sum(g["n"] for g in groups) == len(ACCOUNTS)
    assert sum(g["expr0"] for g in groups) == sum(r["NumberOfEmployees"] for r in ACCOUNTS)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "MALFORMED_QUERY"),
        ("SELECT", "MALFORMED_QUERY"),
        ("SELECT Id Account", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE Name = 'x", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE (Name = 'x'", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account LIMIT x", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account; DROP", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE CreatedDate > 2026-13-45", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE"),
        ("SELECT Id FROM Nothing__c", "INVALID_TYPE"),
        ("SELECT Nope FROM Account", "INVALID_FIELD"),
        ("SELECT Credit_Limit__c FROM Account", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE Credit_Limit__c > 5", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE NumberOfEmployees = 'many'", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE Active__c = 1", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE Description = 'x'", "INVALID_FIELD"),
        ("SELECT Nope.Name FROM Account", "INVALID_FIELD"),
    ],
)
def test_refusals(text: str, code: str) -> None:
    def run() -> None:
        query = soql.parse(text)
        LENS.matching(query, deleted=False)
        LENS.projector(query)

    with pytest.raises(ApiError) as caught:
        run()
    assert caught.value.code == code


def test_identifiers() -> None:
    assert to18("001D000000IqhSL") == "001D000000IqhSLIAZ"  # Salesforce's own example
    made = [make_id("001", n) for n in (1, 61, 62, 3843, 3844, 10**9)]
    assert made == sorted(made)
    assert all(len(m) == 18 for m in made)


def test_stamps() -> None:
    from datetime import datetime

    assert stamp(datetime.fromisoformat("2026-01-05T09:00:00.5+01:00")) == "2026-01-05T08:00:00.500+0000"
