"""simple-salesforce itself, unchanged, passes a script of the calls it offers against the stand-in, logins included."""

from __future__ import annotations

import csv
import io
import json
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from requests.adapters import HTTPAdapter
from simple_salesforce import Salesforce, SalesforceLogin
from simple_salesforce.exceptions import (
    SalesforceAuthenticationFailed,
    SalesforceExpiredSession,
    SalesforceGeneralError,
    SalesforceMalformedRequest,
    SalesforceMoreThanOneRecord,
    SalesforceRefusedRequest,
    SalesforceResourceNotFound,
)

from weighbridge.sandbox.salesforce import seed
from weighbridge.sandbox.server import Server, start

OURS = "ERP_Number__c LIKE 'C-%'"
"""What no other test of this module adds or removes."""
USER = {"username": seed.USERNAME, "password": seed.PASSWORD}


class ToLoopback(HTTPAdapter):
    """Sends every https:// request to the stand-in: simple-salesforce knows no other scheme and no port for logins."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server

    def send(self, request, **kwargs):
        parts = urlsplit(request.url)
        request.url = f"{self.server.url}{parts.path}" + (f"?{parts.query}" if parts.query else "")
        kwargs["timeout"] = 20
        return super().send(request, **kwargs)


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def public(key: rsa.RSAPrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


@pytest.fixture(scope="module")
def server(key: rsa.RSAPrivateKey) -> Iterator[Server]:
    client = {
        "id": seed.CLIENT_ID,
        "secret": seed.CLIENT_SECRET,
        "run_as": seed.USERNAME,
        "certificate": public(key),
    }
    with start(
        "weighbridge.sandbox.salesforce.app:create", {"rows": 450, "clients": [client], "page_rows": 200}
    ) as made:
        yield made


@pytest.fixture
def http(server: Server) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.mount("https://", ToLoopback(server))
        yield session


@pytest.fixture
def sf(http: requests.Session) -> Salesforce:
    return Salesforce(**USER, security_token=seed.TOKEN, session=http)


def test_every_login(http: requests.Session, key: rsa.RSAPrivateKey) -> None:
    app = {"consumer_key": seed.CLIENT_ID, "session": http}
    for made in (
        Salesforce(**USER, security_token=seed.TOKEN, session=http),
        Salesforce(**USER, organizationId="00D000000000001", session=http),
        Salesforce(**USER, **app, consumer_secret=seed.CLIENT_SECRET),
        Salesforce(username=seed.USERNAME, privatekey=pem(key), **app),
        Salesforce(**app, consumer_secret=seed.CLIENT_SECRET, domain="practice.my"),
    ):
        assert made.query(f"SELECT count() FROM Account WHERE {OURS}")["totalSize"] == 450
    token, instance = SalesforceLogin(**USER, security_token=seed.TOKEN, session=http)
    direct = Salesforce(session_id=token, instance=instance, session=http)
    assert direct.is_sandbox() is True
    assert direct.oauth2("userinfo")["preferred_username"] == seed.USERNAME


def test_refused_logins(http: requests.Session, key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(SalesforceAuthenticationFailed, match="INVALID_LOGIN"):
        Salesforce(username=seed.USERNAME, password="wrong", security_token=seed.TOKEN, session=http)
    with pytest.raises(SalesforceAuthenticationFailed, match="invalid client credentials"):
        Salesforce(consumer_key=seed.CLIENT_ID, consumer_secret="wrong", domain="practice.my", session=http)
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(SalesforceAuthenticationFailed, match="invalid assertion"):
        Salesforce(username=seed.USERNAME, consumer_key=seed.CLIENT_ID, privatekey=pem(other), session=http)
    late = jwt.encode(
        {
            "iss": seed.CLIENT_ID,
            "sub": seed.USERNAME,
            "aud": "https://login.salesforce.com",
            "exp": int(time.time()) - 600,
        },
        pem(key),
        algorithm="RS256",
    )
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": late}
    answer = http.post("https://login.salesforce.com/services/oauth2/token", form)
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_grant"


def test_describe_and_limits(sf: Salesforce) -> None:
    assert {"Account", "Contact", "User"} <= {o["name"] for o in sf.describe()["sobjects"]}
    described = {f["name"]: f for f in sf.Account.describe()["fields"]}
    assert described["Name"]["length"] == 255
    assert described["Name"]["nillable"] is False
    assert described["ParentId"]["referenceTo"] == ["Account"]
    assert {v["value"] for v in described["Industry"]["picklistValues"]} >= {"Retail", "Energy"}
    assert sf.Account.metadata()["objectDescribe"]["name"] == "Account"
    assert sf.Account.describe_layout("012000000000000AAA")["detailLayoutSections"]
    assert sf.limits()["DailyApiRequests"]["Max"] == 5_000_000
    assert sf.api_usage["api-usage"].total == 5_000_000


def test_queries(sf: Salesforce) -> None:
    assert sf.query("SELECT Id FROM Account LIMIT 3")["totalSize"] == 3
    page = sf.query("SELECT Id, Name, Owner.Username FROM Account ORDER BY Name DESC")
    assert page["done"] is False
    assert page["records"][0]["Owner"]["Username"] == seed.USERNAME
    more = sf.query_more(page["nextRecordsUrl"], identifier_is_url=True)
    assert len(more["records"]) == 200
    by_id = sf.query_more(page["nextRecordsUrl"].rsplit("/", 1)[1])
    assert [r["Id"] for r in by_id["records"]] == [r["Id"] for r in more["records"]]
    everything = sf.query_all(f"SELECT Id FROM Account WHERE {OURS}")
    assert len({r["Id"] for r in everything["records"]}) == 450
    assert sum(1 for _ in sf.query_all_iter("SELECT Id FROM Contact WHERE Account.BillingCountryCode != null")) == 450
    for where, test in (
        ("Industry IN ('Retail', 'Energy') AND NOT Type = 'Prospect'", None),
        ("Name LIKE 'alder%' OR (NumberOfEmployees >= 4000 AND Active__c = true)", None),
        ("Customer_Since__c > 2024-01-01 AND CreatedDate < 2026-01-05T08:00:00Z", None),
        ("SystemModstamp = LAST_N_DAYS:4000", 450),
    ):
        found = sf.query(f"SELECT count() FROM Account WHERE {OURS} AND ({where})")["totalSize"]
        assert 0 < found <= 450
        assert test is None or found == test
    grouped = sf.query(
        f"SELECT Industry, COUNT(Id) n, MAX(AnnualRevenue) top FROM Account WHERE {OURS} GROUP BY Industry"
    )
    assert sum(r["n"] for r in grouped["records"]) == 450
    with pytest.raises(SalesforceMalformedRequest, match="No such column 'Nope'"):
        sf.query("SELECT Nope FROM Account")
    with pytest.raises(SalesforceMalformedRequest, match="MALFORMED_QUERY"):
        sf.query("SELECT FROM Account")
    with pytest.raises(SalesforceMalformedRequest, match="should not be enclosed in quotes"):
        sf.query("SELECT Id FROM Account WHERE CreatedDate > '2026-01-01'")


def test_records(sf: Salesforce) -> None:
    made = sf.Account.create({"Name": "Test & Söhne", "ERP_Number__c": "T-1"})
    assert made["success"] is True
    record = sf.Account.get(made["id"])
    assert record["Name"] == "Test & Söhne"
    assert sf.Account.get(made["id"][:15])["Id"] == made["id"]
    assert sf.Account.get_by_custom_id("ERP_Number__c", "T-1")["Id"] == made["id"]
    assert sf.Account.update(made["id"], {"BillingCity": "Köln"}) == 204
    assert sf.Account.upsert("ERP_Number__c/T-1", {"Name": "Renamed"}) == 200
    assert sf.Account.upsert("ERP_Number__c/T-2", {"Name": "New"}) == 201
    raw = sf.Account.update(made["id"], {"BillingCity": None}, raw_response=True)
    assert raw.status_code == 204
    start = datetime.now(UTC) - timedelta(minutes=5)
    end = datetime.now(UTC) + timedelta(minutes=5)
    assert made["id"] in sf.Account.updated(start, end)["ids"]
    assert sf.Account.delete(made["id"]) == 204
    assert made["id"] in {d["id"] for d in sf.Account.deleted(start, end)["deletedRecords"]}
    with pytest.raises(SalesforceResourceNotFound, match="ENTITY_IS_DELETED"):
        sf.Account.get(made["id"])
    gone = f"SELECT Id, IsDeleted FROM Account WHERE Id = '{made['id']}'"
    assert sf.query(gone)["totalSize"] == 0
    assert sf.query(gone, include_deleted=True)["records"][0]["IsDeleted"] is True
    for wrong, code in (
        ({}, "REQUIRED_FIELD_MISSING"),
        ({"Name": "x" * 256}, "STRING_TOO_LONG"),
        ({"Name": "x", "NumberOfEmployees": "many"}, "INVALID_TYPE_ON_FIELD_IN_RECORD"),
        ({"Name": "x", "Colour": "red"}, "INVALID_FIELD"),
        ({"Name": "x", "CreatedDate": "2026-01-01T00:00:00Z"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ({"Name": "x", "ParentId": "nope"}, "MALFORMED_ID"),
        ({"Name": "x", "ERP_Number__c": "T-2"}, "DUPLICATE_VALUE"),
    ):
        with pytest.raises(SalesforceMalformedRequest, match=code):
            sf.Account.create(wrong)


def test_files_passwords_search(sf: Salesforce, tmp_path) -> None:
    parent = sf.query("SELECT Id FROM Account LIMIT 1")["records"][0]["Id"]
    body = tmp_path / "body.txt"
    body.write_bytes(b"first")
    made = sf.Attachment.create({"Name": "a.txt", "ParentId": parent, "Body": "eA=="})
    assert sf.Attachment.update_base64(made["id"], str(body)) == 204
    assert sf.Attachment.get_base64(made["id"]) == b"first"
    with pytest.raises(SalesforceMalformedRequest, match="REQUIRED_FIELD_MISSING"):
        sf.Attachment.upload_base64(str(body))
    user = sf.query("SELECT Id FROM User LIMIT 1")["records"][0]["Id"]
    assert sf.set_password(user, seed.PASSWORD) is None
    assert len(sf.search("FIND {office7@example.com} IN ALL FIELDS RETURNING Contact(Id, Email)")["searchRecords"]) == 1
    assert sf.quick_search("C-000007")["searchRecords"][0]["attributes"]["type"] == "Account"


def test_composite_tooling_apex(sf: Salesforce) -> None:
    answer = sf.restful(
        "composite",
        method="POST",
        json={
            "compositeRequest": [
                {
                    "method": "POST",
                    "url": "/services/data/v59.0/sobjects/Account",
                    "referenceId": "a",
                    "body": {"Name": "Chain", "ERP_Number__c": "T-9"},
                },
                {
                    "method": "POST",
                    "url": "/services/data/v59.0/sobjects/Contact",
                    "referenceId": "c",
                    "body": {"LastName": "Link", "AccountId": "@{a.id}"},
                },
            ]
        },
    )
    assert [r["httpStatusCode"] for r in answer["compositeResponse"]] == [201, 201]
    both = sf.restful(
        "composite/sobjects",
        method="POST",
        json={
            "allOrNone": False,
            "records": [{"attributes": {"type": "Contact"}, "LastName": "Ok"}, {"attributes": {"type": "Contact"}}],
        },
    )
    assert [r["success"] for r in both] == [True, False]
    assert sf.restful(
        "composite/batch", method="POST", json={"batchRequests": [{"method": "GET", "url": "v59.0/limits"}]}
    )
    tree = {"records": [{"attributes": {"type": "Account", "referenceId": "r1"}, "Name": "Tree"}]}
    assert sf.restful("composite/tree/Account", method="POST", json=tree)["hasErrors"] is False
    assert sf.toolingexecute("query/", params={"q": "SELECT count() FROM Account"})["totalSize"] >= 450
    assert sf.apexecute("echo", method="POST", data={"a": 1})["body"] == {"a": 1}


def test_bulk_one(sf: Salesforce) -> None:
    created = sf.bulk.Contact.insert([{"LastName": f"Bulk {n}", "External_Key__c": f"B-{n}"} for n in range(3)] + [{}])
    assert [r["success"] for r in created] == [True, True, True, False]
    again = sf.bulk.Contact.upsert([{"LastName": "Bulk 0b", "External_Key__c": "B-0"}], "External_Key__c")
    assert again[0]["created"] is False
    ids = [{"Id": r["id"]} for r in created[:3]]
    assert all(r["success"] for r in sf.bulk.Contact.update([{**i, "FirstName": "B"} for i in ids]))
    assert len(sf.bulk.Contact.query("SELECT Id FROM Contact WHERE FirstName = 'B'")) == 3
    assert all(r["success"] for r in sf.bulk.Contact.delete(ids[:2]))
    assert all(r["success"] for r in sf.bulk.Contact.hard_delete(ids[2:]))
    assert len(sf.bulk.Contact.query_all("SELECT Id FROM Contact WHERE FirstName = 'B'")) == 2
    done = sf.bulk.submit_dml("Contact", "insert", [{"LastName": "Dml"}])
    assert done[0]["success"] is True


def test_bulk_two(sf: Salesforce, tmp_path) -> None:
    records = [{"LastName": f"Two {n}", "External_Key__c": f"TWO-{n}"} for n in range(4)]
    job = sf.bulk2.Contact.insert(wait=0.01, records=[*records, {"LastName": "", "External_Key__c": "TWO-x"}])[0]
    assert (job["numberRecordsProcessed"], job["numberRecordsFailed"]) == (5, 1)
    assert "REQUIRED_FIELD_MISSING" in sf.bulk2.Contact.get_failed_records(job["job_id"])
    good = list(csv.DictReader(io.StringIO(sf.bulk2.Contact.get_successful_records(job["job_id"]))))
    assert [g["sf__Created"] for g in good] == ["true"] * 4
    assert sf.bulk2.Contact.get_unprocessed_records(job["job_id"]).strip()
    everything = sf.bulk2.Contact.get_all_ingest_records(job["job_id"])
    assert [len(everything[f"{kind}Records"]) for kind in ("successful", "failed", "unprocessed")] == [4, 1, 0]
    kept = tmp_path / "failed.csv"
    sf.bulk2.Contact.get_failed_records(job["job_id"], file=str(kept))
    assert "TWO-x" in kept.read_text()
    upserted = sf.bulk2.Contact.upsert(wait=0.01, records=records, external_id_field="External_Key__c")[0]
    assert upserted["numberRecordsFailed"] == 0
    ids = [{"Id": g["sf__Id"]} for g in good]
    assert (
        sf.bulk2.Contact.update(wait=0.01, records=[{**i, "FirstName": "Zwei"} for i in ids])[0]["numberRecordsFailed"]
        == 0
    )
    pages = list(
        sf.bulk2.Contact.query("SELECT Id, Email FROM Contact WHERE FirstName = 'Zwei'", wait=0.01, max_records=3)
    )
    assert [len(list(csv.DictReader(io.StringIO(p)))) for p in pages] == [3, 1]
    files = sf.bulk2.Contact.download("SELECT Id FROM Contact WHERE FirstName = 'Zwei'", wait=0.01, path=str(tmp_path))
    assert sum(f["number_of_records"] for f in files) == 4
    assert sf.bulk2.Contact.delete(wait=0.01, records=ids[:2])[0]["numberRecordsFailed"] == 0
    assert sf.bulk2.Contact.hard_delete(wait=0.01, records=ids[2:])[0]["numberRecordsFailed"] == 0
    left = "".join(sf.bulk2.Contact.query_all("SELECT Id FROM Contact WHERE FirstName = 'Zwei'", wait=0.01))
    assert len(list(csv.DictReader(io.StringIO(left)))) == 2


def test_bulk_two_jobs_one_by_one(sf: Salesforce) -> None:
    from simple_salesforce.bulk2 import Operation

    client = sf.bulk2.Contact._client
    job = client.create_job(Operation.query, query="SELECT Id FROM Contact LIMIT 1")["id"]
    client.wait_for_job(job, True, 0.01)
    with pytest.raises(requests.exceptions.JSONDecodeError):
        client.delete_job(job, True)  # the API answers 204 without a body, which the library tries to read
    with pytest.raises(SalesforceResourceNotFound):
        client.get_job(job, True)
    upload = client.create_job(Operation.insert)["id"]
    assert client.abort_job(upload, False)["state"] == "Aborted"


def test_metadata(sf: Salesforce, server: Server, tmp_path: Path) -> None:
    api = sf.mdapi
    api._client.transport.session.mount("https://", ToLoopback(server))  # its SOAP client has a session of its own
    api._client.transport.session.trust_env = False
    assert "CustomObject" in {o.xmlName for o in api.describe_metadata().metadataObjects}
    queries = [api._client.get_type("ns0:ListMetadataQuery")(type="CustomField")]
    assert "Account.ERP_Number__c" in {p.fullName for p in api.list_metadata(queries)}
    field = api.CustomField(fullName="Account.Region__c", label="Region", type="Text", length=40)
    api.CustomField.create([field])
    assert {f["name"]: f["length"] for f in sf.Account.describe()["fields"]}["Region__c"] == 40
    assert sf.query("SELECT Region__c FROM Account LIMIT 1")["records"][0]["Region__c"] is None
    with pytest.raises(Exception, match="DUPLICATE_DEVELOPER_NAME"):
        api.CustomField.create([field])
    api.CustomField.update([api.CustomField(fullName="Account.Region__c", label="Region", type="Text", length=60)])
    assert api.CustomField.read(["Account.Region__c"]).length == 60
    assert len(api.CustomObject.read(["Account", "Contact"])) == 2
    assert api.CustomObject.describe().apiCreatable is True
    about = {"url": "https://erp.example.com", "isActive": True, "disableProtocolSecurity": False}
    site = api.RemoteSiteSetting(fullName="Erp", **about)
    api.RemoteSiteSetting.upsert([site])
    api.RemoteSiteSetting.rename("Erp", "Erp2")
    assert api.RemoteSiteSetting.read(["Erp2"]).url == "https://erp.example.com"
    api.RemoteSiteSetting.delete(["Erp2"])
    with pytest.raises(Exception, match="INVALID_CROSS_REFERENCE_KEY"):
        api.RemoteSiteSetting.delete(["Erp2"])
    api.CustomField.delete(["Account.Region__c"])
    with pytest.raises(SalesforceMalformedRequest, match="INVALID_FIELD"):
        sf.query("SELECT Region__c FROM Account LIMIT 1")


def test_deploy_and_retrieve(sf: Salesforce, server: Server, tmp_path: Path) -> None:
    package = """<?xml version="1.0"?><Package xmlns="http://soap.sforce.com/2006/04/metadata"><types>
        <members>Echo</members><name>ApexClass</name></types><version>59.0</version></Package>"""
    path = tmp_path / "package.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("package.xml", package)
        archive.writestr("classes/Echo.cls", "public class Echo {}")
    started = sf.deploy(str(path), sandbox=True)
    assert started["state"] == "Queued"
    status = sf.checkDeployStatus(started["asyncId"])
    assert (status["state"], status["deployment_detail"]["deployed_count"]) == ("Succeeded", "1")
    sf.mdapi.download_unit_test_logs(started["asyncId"])
    number, _ = sf.mdapi.retrieve("1", unpackaged={"ApexClass": ["Echo", "Nope"], "CustomObject": ["Account"]})
    assert sf.mdapi.check_retrieve_status(number)[0] == "Succeeded"
    state, _, _, packed = sf.mdapi.retrieve_zip(number)
    assert state == "Succeeded"
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.read("classes/Echo.cls") == b"public class Echo {}"
        assert b"ERP_Number__c" in archive.read("objects/Account.object")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("package.xml", package)
    failed = sf.checkDeployStatus(sf.deploy(str(path), sandbox=False, checkOnly=True)["asyncId"])
    assert failed["state"] == "Failed"
    assert failed["deployment_detail"]["errors"][0]["file"] == "classes/Echo.cls"
    server.control("act", {"action": "expire_sessions"})
    with pytest.raises(SalesforceGeneralError, match="INVALID_SESSION_ID"):
        sf.mdapi.deploy(str(path), sandbox=True)


def test_sessions_expire_and_quota_ends(http: requests.Session, server: Server, sf: Salesforce) -> None:
    server.control("act", {"action": "expire_sessions"})
    assert sf.query("SELECT count() FROM User")["totalSize"] == 1  # it logs in again by itself
    direct = Salesforce(session_id="00Dnope!x", instance="x.my.salesforce.com", session=http)
    with pytest.raises(SalesforceExpiredSession, match="INVALID_SESSION_ID"):
        direct.query("SELECT Id FROM User")
    server.control("limits", {"daily_quota": 10, "daily_used": 10})
    try:
        with pytest.raises(SalesforceRefusedRequest, match="REQUEST_LIMIT_EXCEEDED"):
            sf.limits()
    finally:
        server.control("limits", {"daily_used": 0})


def test_an_external_id_that_is_not_unique() -> None:
    made = start("weighbridge.sandbox.salesforce.app:create", {"rows": 100, "defects": True})
    with made, requests.Session() as session:
        session.mount("https://", ToLoopback(made))
        sf = Salesforce(**USER, security_token=seed.TOKEN, session=session)
        rows = sf.query_all("SELECT ERP_Number__c, COUNT(Id) n FROM Account GROUP BY ERP_Number__c")["records"]
        twice = next(r["ERP_Number__c"] for r in rows if r["n"] > 1)
        with pytest.raises(SalesforceMoreThanOneRecord):
            sf.Account.upsert(f"ERP_Number__c/{twice}", {"Name": "x"})
        assert "Credit_Limit__c" not in {f["name"] for f in sf.Account.describe()["fields"]}
        assert json.loads(json.dumps(sf.Account.get(sf.query("SELECT Id FROM Account LIMIT 1")["records"][0]["Id"])))
