"""Fills an org with the practice company's accounts and contacts, and plants defects into them when asked."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from weighbridge.sandbox.data import INDUSTRIES, companies
from weighbridge.sandbox.salesforce.model import Field, SObject, make_id, stamp
from weighbridge.sandbox.salesforce.org import Client, Org, User

__all__ = ["CLIENT_ID", "CLIENT_SECRET", "PASSWORD", "PLANTED", "USERNAME", "build"]

USERNAME = "integration@example.com.practice"
PASSWORD = "practice-only"  # noqa: S105 - opens nothing but this stand-in
TOKEN = "pRacTiCeToKeN"  # noqa: S105 - as above
CLIENT_ID = "weighbridge-practice"
CLIENT_SECRET = "practice-only-secret"  # noqa: S105 - as above

PLANTED: Mapping[str, int] = MappingProxyType(
    {
        "duplicate_number": 3,
        "missing_country": 7,
        "unknown_industry": 6,
        "bad_email": 4,
        "orphan_contact": 5,
    }
)
"""Defective rows by kind; each row carries one defect."""


def account_type(*, defects: bool) -> SObject:
    return SObject.of(
        "Account",
        "001",
        Field("Name", "string", 255, nillable=False),
        Field("ERP_Number__c", "string", 20, external_id=True, unique=not defects),
        Field("Type", "picklist", 255, picklist=("Customer", "Prospect", "Partner")),
        Field("Industry", "picklist", 255, picklist=INDUSTRIES),
        Field("BillingCity", "string", 40),
        Field("BillingCountryCode", "string", 10),
        Field("Phone", "phone", 40),
        Field("Website", "url", 255),
        Field("AnnualRevenue", "currency", precision=18, scale=2),
        Field("NumberOfEmployees", "int", precision=8),
        Field("Credit_Limit__c", "currency", precision=18, scale=2),
        Field("Rating__c", "string", 20 if defects else 40),
        Field("Active__c", "boolean", nillable=False, defaulted=True),
        Field("Customer_Since__c", "date"),
        Field("Description", "textarea", 32000),
        Field("ParentId", "reference", 18, reference_to="Account", relationship="Parent"),
    )


def contact_type() -> SObject:
    return SObject.of(
        "Contact",
        "003",
        Field("AccountId", "reference", 18, reference_to="Account", relationship="Account"),
        Field("FirstName", "string", 40),
        Field("LastName", "string", 80, nillable=False),
        Field("Email", "email", 80),
        Field("Phone", "phone", 40),
        Field("Birthdate", "date"),
        Field("Score__c", "double", precision=6, scale=2),
        Field("External_Key__c", "string", 40, external_id=True, unique=True),
        Field("HasOptedOutOfEmail", "boolean", nillable=False, defaulted=True),
    )


def _setup_types(org: Org) -> None:
    org.add_type(
        SObject.of("User", "005", Field("Username", "string", 80, nillable=False), Field("Email", "email", 128),
                   Field("Name", "string", 121), Field("IsActive", "boolean", nillable=False), owned=False)
    )  # fmt: skip
    org.add_type(
        SObject.of("Organization", "00D", Field("Name", "string", 80), Field("OrganizationType", "string", 40),
                   Field("InstanceName", "string", 5), Field("IsSandbox", "boolean", nillable=False),
                   writable=False, owned=False)
    )  # fmt: skip
    org.add_type(
        SObject.of("PermissionSet", "0PS", Field("Name", "string", 80),
                   Field("PermissionsViewAllData", "boolean", nillable=False), writable=False, owned=False)
    )  # fmt: skip
    org.add_type(
        SObject.of("PermissionSetAssignment", "0Pa",
                   Field("AssigneeId", "reference", 18, reference_to="User", relationship="Assignee"),
                   Field("PermissionSetId", "reference", 18, reference_to="PermissionSet",
                         relationship="PermissionSet"),
                   writable=False, owned=False)
    )  # fmt: skip
    org.add_type(
        SObject.of("EntityDefinition", "4ie", Field("QualifiedApiName", "string", 70),
                   Field("InternalSharingModel", "string", 40), writable=False, owned=False)
    )  # fmt: skip
    org.add_type(
        SObject.of("Attachment", "00P", Field("Name", "string", 255, nillable=False),
                   Field("ParentId", "reference", 18, reference_to="Account", relationship="Parent"),
                   Field("Body", "base64", nillable=False), Field("ContentType", "string", 120))
    )  # fmt: skip


def _blank(sobject: SObject, record_id: str, when: str, **values: Any) -> dict[str, Any]:
    record: dict[str, Any] = dict.fromkeys(sobject.fields)
    for f in sobject.fields.values():
        if f.type == "boolean":
            record[f.name] = False
    record |= {"Id": record_id, "CreatedDate": when, "LastModifiedDate": when, "SystemModstamp": when}
    return record | values


def _users(org: Org, wanted: list[dict[str, Any]], when: str) -> None:
    users, sets, given = org.store("User"), org.store("PermissionSet"), org.store("PermissionSetAssignment")
    powers = {
        flag: _blank(sets.type, org.new_id(sets), when, Name=f"set_{flag}", PermissionsViewAllData=flag)
        for flag in (False, True)
    }
    sets.load([powers[False], powers[True]])
    for entry in wanted:
        user = User(
            org.new_id(users),
            entry["username"],
            entry.get("password", PASSWORD),
            entry.get("token", TOKEN),
            bool(entry.get("view_all", True)),
            frozenset(entry.get("hidden", ())),
            bool(entry.get("api_enabled", True)),
        )
        org.users[user.username] = user
        name = user.username.split("@", 1)[0]
        users.load(
            [_blank(users.type, user.id, when, Username=user.username, Email=user.username, Name=name, IsActive=True)]
        )
        assigned = _blank(
            given.type, org.new_id(given), when, AssigneeId=user.id, PermissionSetId=powers[user.view_all]["Id"]
        )
        given.load([assigned])


def build(config: Mapping[str, Any]) -> Org:
    """An org from its configuration: seed, rows, defects, users, clients, private types, version, edition."""
    defects = bool(config.get("defects"))
    seed, rows = int(config.get("seed", 7)), int(config.get("rows", 200))
    org = Org(version=config.get("version", "59.0"), edition=config.get("edition", "Enterprise Edition"))
    org.session_s = float(config.get("session_s", 7200))
    _setup_types(org)
    made = companies(seed, rows)
    when = stamp(made[0].created) if made else org.now()
    hidden = ["Account.Credit_Limit__c"] if defects else []
    _users(org, config.get("users") or [{"username": USERNAME, "hidden": hidden}], when)
    for entry in config.get("clients") or [{"id": CLIENT_ID, "secret": CLIENT_SECRET, "run_as": USERNAME}]:
        org.clients[entry["id"]] = Client(**entry)
    organisation = org.store("Organization")
    organisation.load(
        [_blank(organisation.type, org.id, when, Name="Practice Company", OrganizationType=org.edition,
                InstanceName="WB1", IsSandbox=org.sandbox)]
    )  # fmt: skip
    owner = next(iter(org.users.values())).id
    _business(org, made, seed, owner, defects=defects)
    definitions = org.store("EntityDefinition")
    private = set(config.get("private", ()))
    for name in ("Account", "Contact"):
        org.store(name).type.private = name in private
        model = "Private" if name in private else "ReadWrite"
        definitions.load(
            [_blank(definitions.type, org.new_id(definitions), when, QualifiedApiName=name, InternalSharingModel=model)]
        )
    for name, share in (config.get("owned") or {}).items():
        _hand_over(org, name, float(share), seed)
    return org


def _hand_over(org: Org, name: str, share: float, seed: int) -> None:
    """Give all but `share` of the records to an owner nobody logs in as."""
    rng = random.Random(f"owners-{seed}")
    stranger = make_id("005", 999)
    for record in org.store(name).live.values():
        if rng.random() >= share:
            record["OwnerId"] = stranger


def _business(org: Org, made: list[Any], seed: int, owner: str, *, defects: bool) -> None:
    accounts = org.add_type(account_type(defects=defects))
    contacts = org.add_type(contact_type())
    rng = random.Random(f"salesforce-{seed}")
    rows: list[dict[str, Any]] = []
    people: list[dict[str, Any]] = []
    for company in made:
        created, modified = stamp(company.created), stamp(company.modified)
        row = _blank(
            accounts.type, org.new_id(accounts), modified, Name=company.name, ERP_Number__c=company.number,
            Type=rng.choice(("Customer", "Customer", "Prospect", "Partner")), Industry=company.industry,
            BillingCity=company.city, BillingCountryCode=company.country, Phone=company.phone,
            Website=f"https://{company.email.partition('@')[0]}.example.com",
            AnnualRevenue=float(company.annual_revenue), NumberOfEmployees=rng.randrange(1, 5000),
            Credit_Limit__c=float(rng.randrange(0, 200) * 500), Rating__c=rng.choice(("A", "B", "C")),
            Active__c=rng.random() < 0.9, Customer_Since__c=company.created.date().isoformat(),
            Description=None, OwnerId=owner, CreatedDate=created,
        )  # fmt: skip
        rows.append(row)
        given, _, family = company.contact.partition(" ")
        born = company.created.date() - timedelta(days=9000 + rng.randrange(0, 12000))
        people.append(
            _blank(
                contacts.type,
                org.new_id(contacts),
                modified,
                AccountId=row["Id"],
                FirstName=given,
                LastName=family,
                Email=company.email,
                Phone=company.phone,
                Birthdate=born.isoformat(),
                OwnerId=owner,
                Score__c=round(rng.random() * 1000, 2),
                External_Key__c=f"P-{company.number[2:]}",
                CreatedDate=created,
            )
        )
    if defects and len(rows) > 60:
        _plant(org, rows, people, random.Random(f"salesforce-defects-{seed}"))
    accounts.load(rows)
    contacts.load(people)


def _plant(org: Org, rows: list[dict[str, Any]], people: list[dict[str, Any]], rng: random.Random) -> None:
    chosen = iter(rng.sample(range(len(rows)), PLANTED["missing_country"] + PLANTED["unknown_industry"]))
    for _ in range(PLANTED["missing_country"]):
        rows[next(chosen)]["BillingCountryCode"] = None
    for _ in range(PLANTED["unknown_industry"]):
        rows[next(chosen)]["Industry"] = "Manufactoring"
    # The second record of a number is a row of its own: the number itself must stay, other systems refer to it.
    for original in rng.sample(range(len(rows)), PLANTED["duplicate_number"]):
        twin = dict(rows[original])
        twin["Id"] = org.new_id(org.store("Account"))
        twin["Name"] = twin["Name"] + " (2)"
        twin["BillingCountryCode"] = twin["BillingCountryCode"] or "DE"
        twin["Industry"] = twin["Industry"] if twin["Industry"] in INDUSTRIES else "Retail"
        rows.append(twin)
    chosen = iter(rng.sample(range(len(people)), PLANTED["bad_email"] + PLANTED["orphan_contact"]))
    for n in range(PLANTED["bad_email"]):
        people[next(chosen)]["Email"] = f"office{n} at example.com"
    for _ in range(PLANTED["orphan_contact"]):
        people[next(chosen)]["AccountId"] = None
