"""The Salesforce connector against the stand-in: every login, every page size, every error, over real sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from weighbridge.connectors import _salesforce_login
from weighbridge.connectors.base import Incremental, Loadable, ObjectRef, Writable
from weighbridge.connectors.conformance import ConnectorConformance, Make
from weighbridge.connectors.errors import (
    AccessError,
    AuthError,
    MissingObjectError,
    QuotaExhausted,
    RejectedError,
    SettingsError,
    ThrottledError,
    WriteForbidden,
)
from weighbridge.connectors.salesforce import SalesforceConnector
from weighbridge.connectors.session import NO_RETRY, Budget, Retry, Session
from weighbridge.sandbox.salesforce import seed
from weighbridge.sandbox.server import Server, start

APP = "weighbridge.sandbox.salesforce.app:create"
ROWS = 450
READER = "reader@example.com.practice"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def key_file(key: rsa.RSAPrivateKey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.fixture(scope="module")
def config(key: rsa.RSAPrivateKey) -> dict[str, Any]:
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    app = {"id": seed.CLIENT_ID, "secret": seed.CLIENT_SECRET, "run_as": seed.USERNAME, "certificate": public.decode()}
    return {
        "rows": ROWS,
        "page_rows": 200,
        "users": [{"username": seed.USERNAME}, {"username": READER, "view_all": False}],
        "clients": [app, {"id": "reader", "secret": seed.CLIENT_SECRET, "run_as": READER}],
    }


@pytest.fixture(scope="module")
def still(config: dict[str, Any]) -> Iterator[Server]:
    """An org that no test changes."""
    with start(APP, config) as server:
        yield server


@pytest.fixture
def org(config: dict[str, Any]) -> Iterator[Server]:
    """An org of the test's own."""
    with start(APP, config) as server:
        yield server


def options(server: Server, **more: Any) -> dict[str, Any]:
    return {
        "instance_url": server.url, "client_id": seed.CLIENT_ID, "client_secret": seed.CLIENT_SECRET, **more,
    }  # fmt: skip


def connect(server: Server, session: Session | None = None, **more: Any) -> SalesforceConnector:
    return SalesforceConnector(options(server, **more), session or Session(retry=NO_RETRY))


def ids(pages: Any) -> list[str]:
    return [i for page in pages for i in page.batch.column("Id").to_pylist()]


@pytest.fixture(scope="module")
def small() -> Iterator[Server]:
    with start(APP, {"rows": 12}) as server:
        yield server


class TestConformance(ConnectorConformance):
    @pytest.fixture
    def make_connector(self, small: Server) -> Make:
        return lambda session: SalesforceConnector(options(small), session)

    @pytest.fixture
    def known_object(self) -> str:
        return "Account"


# --- logins ------------------------------------------------------------------------------------------------------


def test_jwt_bearer(still: Server, key_file: Path) -> None:
    login = {"instance_url": still.url, "client_id": seed.CLIENT_ID, "username": seed.USERNAME}
    with SalesforceConnector({**login, "private_key_file": str(key_file)}) as connector:
        probe = connector.probe()
        assert probe.user == seed.USERNAME
        assert probe.facts["login"] == "jwt"
        assert probe.facts["edition"] == "Enterprise Edition"
        assert probe.facts["api_usage"].endswith("/5000000")
        assert probe.observations == ()


def test_soap_login_works_and_is_said_to_be_retiring(still: Server) -> None:
    login = {"instance_url": still.url, "username": seed.USERNAME, "password": seed.PASSWORD}
    with SalesforceConnector({**login, "security_token": seed.TOKEN}) as connector:
        assert [o.code for o in connector.probe().observations] == ["login_retiring"]
        assert connector.count("Account").value == ROWS
    with (
        pytest.raises(AuthError, match="INVALID_LOGIN") as caught,
        SalesforceConnector({**login, "security_token": "no"}),
    ):
        pass
    assert seed.PASSWORD not in str(caught.value)


def test_a_given_token_is_tried_when_it_is_opened(still: Server) -> None:
    with connect(still) as connector:
        token = connector._login.token
    with SalesforceConnector({"instance_url": still.url, "access_token": token}) as connector:
        assert connector.count("Contact").value == ROWS
    with pytest.raises(AuthError, match="access token is not accepted") as caught:
        SalesforceConnector({"instance_url": still.url, "access_token": "00Dcanary"}).open()
    assert "canary" not in str(caught.value)


def test_a_login_that_wants_a_second_factor(config: dict[str, Any]) -> None:
    with start(APP, {**config, "mfa_for_soap": True}) as server:
        login = {"instance_url": server.url, "username": seed.USERNAME, "password": seed.PASSWORD + seed.TOKEN}
        with pytest.raises(AuthError, match="second factor") as caught:
            SalesforceConnector(login).open()
        assert seed.PASSWORD not in str(caught.value)


def test_who_we_are_is_known_from_every_login(still: Server) -> None:
    with connect(still) as by_secret:
        assert by_secret.probe().user == seed.USERNAME
        token = by_secret._login.token
    with SalesforceConnector({"instance_url": still.url, "access_token": token}) as by_token:
        assert by_token.probe().user == seed.USERNAME


def test_wrong_secret(still: Server) -> None:
    with pytest.raises(AuthError, match="invalid_client") as caught:
        connect(still, client_secret="wrong-canary").open()
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(("seconds", "said"), [(-900, "behind"), (900, "ahead of")])
def test_a_clock_that_is_off_is_named(
    still: Server, key_file: Path, monkeypatch: pytest.MonkeyPatch, seconds: int, said: str
) -> None:
    monkeypatch.setattr(_salesforce_login, "_now", lambda: time.time() + seconds)
    login = {"instance_url": still.url, "client_id": seed.CLIENT_ID, "username": seed.USERNAME}
    with pytest.raises(AuthError, match=rf"clock is \d+ s {said}"):
        SalesforceConnector({**login, "private_key_file": str(key_file)}).open()


def test_a_key_that_is_none(still: Server, tmp_path: Path) -> None:
    login = {"instance_url": still.url, "client_id": seed.CLIENT_ID, "username": seed.USERNAME}
    with pytest.raises(SettingsError, match="cannot be read"):
        SalesforceConnector({**login, "private_key_file": str(tmp_path / "none.pem")}).open()
    (tmp_path / "junk.pem").write_text("junk")
    with pytest.raises(SettingsError, match="not a PEM private key"):
        SalesforceConnector({**login, "private_key_file": str(tmp_path / "junk.pem")}).open()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "none is given"),
        ({"client_id": "x", "client_secret": "s"}, "own address"),
        ({"access_token": "t"}, "needs instance_url"),
        ({"private_key_file": "k"}, "needs client_id and username"),
        ({"instance_url": "https://x", "access_token": "t", "password": "p", "username": "u"}, "are given"),
        ({"instance_url": "https://x", "access_token": "t", "api_version": "v59"}, "api_version"),
        ({"instnce_url": "https://x", "access_token": "t"}, "did you mean 'instance_url'"),
    ],
)
def test_options_that_do_not_fit(given: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        SalesforceConnector(given)


def test_http_to_another_machine_is_refused() -> None:
    with pytest.raises(SettingsError, match="in the clear"):
        SalesforceConnector({"instance_url": "http://crm.example.com", "access_token": "t"}).open()


# --- sessions and limits -----------------------------------------------------------------------------------------


def test_a_session_that_ends_in_the_middle_of_a_read_is_renewed_once(org: Server) -> None:
    org.control("plan", [{"after": 1, "action": "expire_sessions"}])
    with connect(org) as connector:
        found = ids(connector.read("Account"))
        assert len(set(found)) == len(found) == ROWS
        assert connector._login.logins == 2
    assert org.control("stats")["logins"] == 2


def test_many_forks_are_one_login_and_renew_once(org: Server) -> None:
    with connect(org) as connector:
        forks = [connector.fork(Session(retry=NO_RETRY)) for _ in range(16)]
        org.control("act", {"action": "expire_sessions"})
        counts: list[int] = []
        threads = [threading.Thread(target=lambda f=f: counts.append(f.count("Account").value)) for f in forks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        for fork in forks:
            fork.close()
    assert counts == [ROWS] * 16
    assert org.control("stats")["logins"] == 2


def test_a_login_that_stays_refused_ends(org: Server) -> None:
    with connect(org) as connector:
        org.control("user", {"username": seed.USERNAME, "api_enabled": False})
        before = connector.session.meter.attempts
        with pytest.raises(AccessError, match="API_DISABLED"):
            connector.count("Account")
        assert connector.session.meter.attempts == before + 1


def test_an_exhausted_quota_is_never_sent_again(org: Server) -> None:
    session = Session(retry=Retry(attempts=5, base=0.01))
    with connect(org, session) as connector:
        org.control("limits", {"daily_quota": 5, "daily_used": 5})
        before = session.meter.attempts
        with pytest.raises(QuotaExhausted, match="TotalRequests") as caught:
            connector.count("Account")
        assert caught.value.resets == "rolling 24 h"
        assert session.meter.attempts == before + 1


def test_busy_is_not_exhausted(org: Server) -> None:
    session = Session(retry=Retry(attempts=3, base=0.01, cap=0.02))
    with connect(org, session) as connector:
        org.control("limits", {"concurrent": 0})
        before = session.meter.attempts
        with pytest.raises(ThrottledError, match="Concurrent"):
            connector.count("Account")
        assert session.meter.attempts == before + 3


def test_limits(config: dict[str, Any]) -> None:
    with (
        start(APP, {**config, "limits": {"daily_quota": 5000, "daily_used": 40}}) as server,
        connect(server) as connector,
    ):
        limits = {limit.name: limit for limit in connector.limits()}
        daily = limits["daily_calls"]
        assert (daily.cap, daily.unit, daily.window, daily.scope) == (5000, "calls", "rolling 24 h", "org")
        assert daily.used is not None
        assert 40 <= daily.used <= 45
        assert daily.source == "reported"
        long = limits["concurrent_long_calls"]
        assert (long.cap, long.window, long.detail["longer_than_s"]) == (25, "concurrent", 20)


def test_a_user_who_may_not_see_the_limits(org: Server) -> None:
    """`/limits` wants 'View Setup and Configuration'; the quota is then read from what every answer carries."""
    org.control("user", {"username": seed.USERNAME, "view_setup": False})
    with connect(org) as connector:
        assert connector.probe().product == "Salesforce"
        daily = next(limit for limit in connector.limits() if limit.name == "daily_calls")
        assert (daily.cap, daily.source, daily.detail["key"]) == (5_000_000, "reported", "Sforce-Limit-Info")
        token = connector._login.token
    with SalesforceConnector({"instance_url": org.url, "access_token": token}) as connector:
        assert connector.count("Contact").value == ROWS
    org.control("user", {"username": seed.USERNAME, "api_enabled": False})
    with pytest.raises(AccessError, match="API is not enabled"):
        SalesforceConnector({"instance_url": org.url, "access_token": token}).open()


def test_a_budget_is_kept(still: Server) -> None:
    session = Session(budget=Budget(3))
    with connect(still, session) as connector:
        connector.count("Account")
        connector.count("Account")
        assert session.budget.left == 0


# --- reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page_rows", [1, 7, 200, 201, 2000, 10_000, None])
def test_every_page_size_gives_every_record_once(still: Server, page_rows: int | None) -> None:
    with connect(still) as connector:
        query = ObjectRef("Account", "ERP_Number__c <= 'C-000030'") if page_rows == 1 else "Account"
        found = ids(connector.read(query, columns=["Name"], page_rows=page_rows))
        assert len(set(found)) == len(found) == connector.count(query).value
        assert found == sorted(found)


def test_types_come_without_loss(still: Server) -> None:
    with connect(still) as connector:
        batch = next(connector.read("Account", page_rows=5)).batch
        types = {f.name: f.type for f in batch.schema}
        assert types["AnnualRevenue"] == pa.decimal128(18, 2)
        assert types["NumberOfEmployees"] == pa.int64()
        assert types["Active__c"] == pa.bool_()
        assert types["Customer_Since__c"] == pa.date32()
        assert types["SystemModstamp"] == pa.timestamp("us", "UTC")
        revenue = batch.column("AnnualRevenue")[0].as_py()
        assert isinstance(revenue, Decimal)
        schema = connector.discover("Account")
        industry = schema.column("Industry")
        assert industry is not None
        assert industry.enum is not None
        assert "Retail" in industry.enum
        parent = schema.column("ParentId")
        assert parent is not None
        assert parent.references == "Account.Id"
        number = schema.column("ERP_Number__c")
        assert number is not None
        assert (number.length, number.unique, number.native) == (20, True, "string(20)")


def test_bulk_and_rest_read_the_same(still: Server) -> None:
    with connect(still, bulk="never") as rest, connect(still, bulk="always") as bulk:
        one = [r for p in rest.read("Account") for r in p.batch.to_pylist()]
        two = [r for p in bulk.read("Account", page_rows=100) for r in p.batch.to_pylist()]
        assert sorted(one, key=lambda r: r["Id"]) == sorted(two, key=lambda r: r["Id"])
        assert rest.count("Account").value == len(two)


def test_bulk_keeps_every_character(org: Server) -> None:
    nasty = ["comma, inside", 'quote "inside"', "line\nbreak", "cr\r\nlf", " space ", "ü 漢 😀", "=1+1", "NULL", "\\N"]
    with connect(org, Session(writes_allowed=True, retry=NO_RETRY), bulk="always") as connector:
        connector.write("Contact", [{"LastName": n, "External_Key__c": f"X-{i}"} for i, n in enumerate(nasty)])
        ours = ObjectRef("Contact", "External_Key__c LIKE 'X-%'")
        read = {r["External_Key__c"]: r for p in connector.read(ours) for r in p.batch.to_pylist()}
        assert [read[f"X-{i}"]["LastName"] for i in range(len(nasty))] == nasty
        assert read["X-0"]["Email"] is None
        assert list(connector.read(ObjectRef("Contact", "LastName = 'nobody'"))) == []


def test_bulk_is_chosen_by_size(still: Server) -> None:
    with connect(still, bulk_from_rows=100) as connector:
        pages = list(connector.read("Contact"))
        assert sum(p.batch.num_rows for p in pages) == ROWS
        assert all(p.cursor is None for p in pages)
        small = list(connector.read(ObjectRef("Contact", "LastName = 'Berg'")))
        assert all(p.cursor for p in small)


def test_an_object_with_very_many_fields(org: Server) -> None:
    org.control("field", [{"object": "Account", "name": f"Very_Long_Name_{n}__c"} for n in range(700)])
    with connect(org) as connector:
        batch = next(connector.read("Account")).batch
        assert batch.num_columns > 700
        assert batch.num_rows == ROWS
    with connect(org, bulk="never") as connector, pytest.raises(RejectedError, match="414"):
        list(connector.read("Account"))


def test_a_bulk_job_that_takes_too_long(config: dict[str, Any]) -> None:
    slow = start(APP, {**config, "bulk_latency_s": 60})
    with slow, connect(slow, bulk="always", bulk_wait=0.3) as connector, pytest.raises(RejectedError, match="not done"):
        list(connector.read("Account"))


def test_filter_in_count_and_read_alike(still: Server) -> None:
    retail = ObjectRef("Account", "Industry = 'Retail' OR Industry = 'Energy'")
    with connect(still) as connector:
        assert len(ids(connector.read(retail))) == connector.count(retail).value < ROWS


def test_deleted_records(org: Server) -> None:
    with connect(org) as connector:
        gone = ids(connector.read("Account"))[:5]
        org.control("act", {"action": "delete", "object": "Account", "ids": gone})
        assert connector.count("Account").value == ROWS - 5
        assert not set(gone) & set(ids(connector.read("Account")))
    with connect(org, deleted=True) as connector:
        assert connector.count("Account").value == ROWS
        rows = {r["Id"]: r["IsDeleted"] for p in connector.read("Account") for r in p.batch.to_pylist()}
        assert [rows[g] for g in gone] == [True] * 5


@pytest.mark.parametrize("page_rows", [50, 200])
def test_records_that_come_and_go_between_pages_hide_no_other(org: Server, page_rows: int) -> None:
    with connect(org) as connector:
        before = ids(connector.read("Account"))
        gone = [before[3], before[100], before[300]]
        org.control(
            "plan",
            [
                {"after": 1, "action": "delete", "object": "Account", "ids": gone},
                {"after": 1, "action": "insert", "object": "Account", "records": [{"Name": "New"}]},
            ],
        )
        pages = list(connector.read("Account", page_rows=page_rows))
        found = ids(pages)
        assert len(set(found)) == len(found)
        stayed = [i for i in before if i not in gone]
        assert set(stayed) <= set(found), "a record that was there all the time was read"
        moved = [o for p in pages for o in p.observations if o.code == "rows_moved"]
        assert bool(moved) == (page_rows == 200), "a query with a locator says that its rows moved"


def test_a_page_that_comes_twice_is_read_once(org: Server) -> None:
    org.control("plan", [{"after": 2, "action": "repeat", "times": 2}])
    with connect(org) as connector:
        pages = list(connector.read("Account"))
        found = ids(pages)
        assert len(set(found)) == len(found) == ROWS
        assert "page_repeated" in [o.code for o in pages[-1].observations]


def test_a_server_whose_pages_loop_for_ever_is_read_once(org: Server) -> None:
    org.control("plan", [{"after": 2, "action": "repeat", "times": 1_000_000}])
    with connect(org) as connector:
        found = ids(connector.read("Account"))
        assert len(set(found)) == len(found) == ROWS
        assert connector.session.meter.attempts < 20


def test_an_expired_locator_loses_nothing(org: Server) -> None:
    org.control("plan", [{"after": 1, "action": "expire_locators"}])
    with connect(org) as connector:
        pages = list(connector.read("Account"))
        found = ids(pages)
        assert len(set(found)) == len(found) == ROWS
        assert "locator_expired" in [o.code for o in pages[-1].observations]


def test_a_field_that_disappears_between_pages(org: Server) -> None:
    org.control("plan", [{"after": 1, "action": "hide", "field": "Account.Industry"}])
    with connect(org) as connector, pytest.raises(MissingObjectError, match="Industry"):
        list(connector.read("Account"))


# --- who may see what --------------------------------------------------------------------------------------------


def test_a_hidden_field_is_missing_not_an_error(org: Server) -> None:
    org.control("user", {"username": seed.USERNAME, "hidden": ["Account.Credit_Limit__c"]})
    with connect(org) as connector:
        assert connector.discover("Account").column("Credit_Limit__c") is None
        assert len(ids(connector.read("Account"))) == ROWS
        with pytest.raises(MissingObjectError, match="field-level security"):
            connector.read("Account", columns=["Credit_Limit__c"])


def test_rows_hidden_by_sharing_rules_are_said(config: dict[str, Any]) -> None:
    server = start(APP, {**config, "private": ["Account"], "owned": {"Account": 0.5}})
    with server, connect(server) as everything, connect(server, client_id="reader") as cut:
        assert everything.discover("Account").observations == ()
        seen = cut.discover("Account").observations
        assert [(o.code, o.data["cuts_rows"]) for o in seen] == [("sharing_limited", True)]
        assert cut.discover("Contact").observations == ()
        assert everything.count("Account").value == ROWS
        assert cut.count("Account").value == len(ids(cut.read("Account"))) < ROWS


@pytest.mark.parametrize("name", ["Nope__c", "Account; DROP", "../limits", ""])
def test_an_object_that_is_none(still: Server, name: str) -> None:
    with connect(still) as connector:
        for ask in (connector.discover, connector.count, lambda n: list(connector.read(n))):
            with pytest.raises(MissingObjectError):
                ask(name)


def test_a_filter_that_is_wrong(still: Server) -> None:
    with connect(still) as connector:
        with pytest.raises(MissingObjectError, match="No such column"):
            connector.count(ObjectRef("Account", "Colour = 'red'"))
        with pytest.raises(RejectedError, match="MALFORMED_QUERY"):
            connector.count(ObjectRef("Account", "Name ="))


def test_schema_drift_is_seen(org: Server) -> None:
    with connect(org) as connector:
        org.control("field", {"object": "Account", "name": "BillingCity", "set": {"length": 20}})
        org.control("field", {"object": "Account", "name": "Extra__c"})
        schema = connector.discover("Account")
        city = schema.column("BillingCity")
        assert city is not None
        assert city.length == 20
        assert schema.column("Extra__c") is not None


# --- facets ------------------------------------------------------------------------------------------------------


def test_upsert_says_what_became_of_each_record(org: Server) -> None:
    with connect(org, Session(writes_allowed=True, retry=NO_RETRY)) as connector:
        writable = connector.facet(Writable)
        assert writable is not None
        records: list[dict[str, Any]] = [{"External_Key__c": f"W-{n}", "LastName": f"W {n}"} for n in range(450)]
        records[7]["LastName"] = None
        records[300]["Email"] = "not an address"
        outcomes = writable.write("Contact", records, key="External_Key__c")
        assert len(outcomes) == 450
        assert [n for n, o in enumerate(outcomes) if not o.ok] == [7, 300]
        assert outcomes[7].error_class == "RejectedError"
        assert "REQUIRED_FIELD_MISSING" in str(outcomes[7].error)
        assert all(o.created for o in outcomes if o.ok)
        again = writable.write(
            "Contact", [{"External_Key__c": "W-0", "Score__c": Decimal("12.25")}], key="External_Key__c"
        )
        assert again[0].created is False
        found = writable.find("Contact", "External_Key__c", [f"W-{n}" for n in range(450)])
        assert len(found) == 448
        first = next(f for f in found if f["External_Key__c"] == "W-0")
        assert first["Score__c"] == Decimal("12.25")
        removed = writable.delete("Contact", found)
        assert all(o.ok for o in removed)
        assert not all(o.ok for o in writable.delete("Contact", found[:1]))
        assert connector.count("Contact").value == ROWS


def test_an_external_id_that_two_records_carry() -> None:
    server = start(APP, {"rows": 100, "defects": True})
    with server, connect(server, Session(writes_allowed=True, retry=NO_RETRY)) as connector:
        rows = [r for p in connector.read("Account") for r in p.batch.to_pylist()]
        numbers = [r["ERP_Number__c"] for r in rows]
        twice = next(n for n in numbers if numbers.count(n) > 1)
        outcome = connector.write("Account", [{"ERP_Number__c": twice, "Name": "x"}], key="ERP_Number__c")[0]
        assert not outcome.ok
        assert "more than one" in str(outcome.error)


def test_values_with_quotes_are_found(org: Server) -> None:
    with connect(org, Session(writes_allowed=True, retry=NO_RETRY)) as connector:
        nasty = ["O'Brien", 'say "hi"', "back\\slash", "new\nline", "%_", "ü 漢 😀", "{{=1+1}}"]
        connector.write("Contact", [{"LastName": n, "External_Key__c": f"N-{i}"} for i, n in enumerate(nasty)])
        assert sorted(f["LastName"] for f in connector.find("Contact", "LastName", nasty)) == sorted(
            [*nasty, *[r["LastName"] for p in connector.read(ObjectRef("Contact", "LastName = 'O\\'Brien'"))
                       for r in p.batch.to_pylist() if r["External_Key__c"][0] == "P"]]
        )  # fmt: skip


def test_writes_need_permission(still: Server) -> None:
    with connect(still) as connector:
        with pytest.raises(WriteForbidden):
            connector.write("Contact", [{"LastName": "x"}])
        loadable = connector.facet(Loadable)
        assert loadable is not None
        assert set(loadable.operations("Account", [])) == {"lookup", "page"}


def test_operations_count_their_calls(org: Server) -> None:
    session = Session(writes_allowed=True, retry=NO_RETRY)
    with connect(org, session) as connector:
        keys = [(i,) for i in ids(connector.read("Account"))[:3]]
        by_number = [(f"C-00000{n}",) for n in (1, 2, 3)]
        for wanted in (keys, by_number):
            operations = connector.operations("Account", wanted)
            for name, expected in (("lookup", 1), ("page", 1)):
                before = session.meter.attempts
                result = operations[name].call(wanted[1])
                assert result.calls == session.meter.attempts - before == expected
                assert result.rows >= 1
                assert result.bytes > 100
        one = next(connector.read("Account")).batch.to_pylist()[0]
        for column in ("Name", "NumberOfEmployees", "CreatedDate"):
            own = connector.operations(ObjectRef("Account", key=(column,)), [(one[column],)])
            assert own["lookup"].call((one[column],)).rows >= 1, "by the contract's own key"
            assert own["page"].call((one[column],)).rows >= 1
            assert "write" not in own
        before = next(connector.read(ObjectRef("Account", f"Id = '{keys[0][0]}'"))).batch.to_pylist()[0]
        assert connector.operations("Account", keys)["write"].call(keys[0]).calls == 2
        after = next(connector.read(ObjectRef("Account", f"Id = '{keys[0][0]}'"))).batch.to_pylist()[0]
        assert {k for k in before if before[k] != after[k]} <= {"SystemModstamp", "LastModifiedDate"}


def test_changes_since_include_ties(still: Server) -> None:
    with connect(still) as connector:
        incremental = connector.facet(Incremental)
        assert incremental is not None
        mark = incremental.watermark("Account")
        assert mark == "SystemModstamp"
        stamps = sorted(v for p in connector.read("Account") for v in p.batch.column(mark).to_pylist())
        middle = stamps[len(stamps) // 2]
        changed = [r for p in incremental.changes("Account", middle.isoformat()) for r in p.batch.to_pylist()]
        assert len(changed) == sum(s >= middle for s in stamps)
        assert [c[mark] for c in changed] == sorted(c[mark] for c in changed)
        with pytest.raises(RejectedError, match="no zone"):
            incremental.changes("Account", "2026-01-01T00:00:00")


def test_routing_keeps_the_host(still: Server) -> None:
    from weighbridge.connectors.session import Endpoint

    asked: list[Endpoint] = []

    def route(endpoint: Endpoint) -> Endpoint:
        asked.append(endpoint)
        return Endpoint("127.0.0.1", still.port)

    name = {"instance_url": "http://localhost:9"}
    with SalesforceConnector(options(still) | name, Session(route=route, retry=NO_RETRY)) as connector:
        assert connector.count("Account").value == ROWS
    assert {e.port for e in asked} == {9}
