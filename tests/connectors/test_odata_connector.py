"""The OData connector against the stand-in over real sockets: both versions, every login, paging, limits and writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from weighbridge.connectors._odata_presets import PRESETS
from weighbridge.connectors.base import Count, Incremental, Loadable, ObjectRef, Page, Writable
from weighbridge.connectors.errors import (
    AuthError,
    MissingObjectError,
    QuotaExhausted,
    RejectedError,
    SettingsError,
    ThrottledError,
    WriteForbidden,
)
from weighbridge.connectors.odata import ODataConnector
from weighbridge.connectors.session import NO_RETRY, Retry, Session
from weighbridge.sandbox.server import Server, start

APP = "weighbridge.sandbox.odata.app:create"
SECRET = "canary-secret-word"
Limited = Callable[..., AbstractContextManager[Server]]
QUICK = Retry(attempts=3, base=0.01, cap=0.02, deadline=5)


@pytest.fixture(scope="module")
def standin() -> Iterator[Server]:
    services: dict[str, Any] = {
        "V4": {"rows": 330, "defects": True},
        "V2": {"version": 2, "rows": 330},
        "T4": {"dataset": "types", "rows": 9},
        "T2": {"version": 2, "dataset": "types", "rows": 9},
        "P": {"dataset": "numbers", "rows": 250, "page_rows": 100},
        "REL": {"dataset": "numbers", "rows": 250, "page_rows": 100, "quirks": {"relative_next": True}},
        "AWAY": {
            "version": 2,
            "dataset": "numbers",
            "rows": 250,
            "page_rows": 100,
            "quirks": {"next_host": "localhost"},
        },
        "NOKEY": {"dataset": "numbers", "rows": 250, "page_rows": 100, "quirks": {"keyset": False}},
        "NOCOUNT": {"dataset": "numbers", "rows": 25, "quirks": {"count": False}},
        "EMPTY": {"rows": 20, "defects": False, "quirks": {"empty_for_null": True}},
        "ZERO": {"dataset": "numbers", "rows": 0},
    }
    auth = {"kind": "basic", "username": "u", "password": SECRET}
    with start(APP, {"auth": auth, "csrf": "on", "services": services}) as server:
        yield server


@contextmanager
def opened(server: Server, *, session: Session | None = None, **options: Any) -> Iterator[ODataConnector]:
    login = {"username": "u", "password": SECRET}
    given = {"url": f"{server.url}/odata", **login, **options}
    connector = ODataConnector({k: v for k, v in given.items() if v is not None}, session or Session(retry=QUICK))
    with connector:
        yield connector


def table(pages: Iterator[Page]) -> list[dict[str, Any]]:
    return [row for page in pages for row in page.batch.to_pylist()]


@pytest.mark.parametrize("service", ["V4", "V2"])
@pytest.mark.parametrize("page_rows", [1000, 100, 7])
@pytest.mark.parametrize("paging", ["auto", "skip", "next_link"])
def test_every_page_size_gives_the_same_rows(standin: Server, service: str, page_rows: int, paging: str) -> None:
    with opened(standin, paging=paging) as c:
        name = f"{service}/A_SalesOrder"
        pages = list(c.read(name, page_rows=page_rows))
        rows = [row for page in pages for row in page.batch.to_pylist()]
        assert [r["SalesOrder"] for r in rows] == [f"SO-{n:07d}" for n in range(1, 331)]
        assert c.count(name).value == 330
        assert all(page.calls == 1 and page.seconds > 0 for page in pages)
        assert not any(page.misfits for page in pages)


@pytest.mark.parametrize("service", ["P", "REL", "AWAY", "NOKEY"])
@pytest.mark.parametrize("paging", ["auto", "next_link"])
def test_server_driven_paging(standin: Server, service: str, paging: str) -> None:
    with opened(standin, paging=paging) as c:
        pages = list(c.read(f"{service}/Numbers"))
        assert [p.batch.num_rows for p in pages] == [100, 100, 50]
        assert sum(len(set(p.batch["Id"].to_pylist())) for p in pages) == 250
        said = {o.code for p in pages for o in p.observations}
        by_link = paging == "next_link" or service == "NOKEY"
        assert ("unstable_paging" in said) is by_link
        assert ("next_link_other_host" in said) is (service == "AWAY" and by_link)


@pytest.mark.parametrize("paging", ["auto", "next_link", "skip"])
def test_a_read_resumes_behind_its_cursor(standin: Server, paging: str) -> None:
    with opened(standin, paging=paging) as c:
        pages = c.read("P/Numbers", page_rows=100)
        first = next(pages)
        rest = list(c.read("P/Numbers", page_rows=100, after=first.cursor))
        assert [n for p in rest for n in p.batch["Id"].to_pylist()] == list(range(101, 251))


@pytest.mark.parametrize("paging", ["auto", "next_link"])
def test_a_row_deleted_between_pages(paging: str) -> None:
    with start(APP, {"services": {"": {"dataset": "numbers", "rows": 30, "page_rows": 10}}}) as server:
        with opened(server, username=None, password=None, paging=paging) as c:
            pages = c.read("Numbers", page_rows=10)
            ids = next(pages).batch["Id"].to_pylist()
            server.control("delete", {"set": "Numbers", "key": [5]})
            said = set()
            for page in pages:
                ids += page.batch["Id"].to_pylist()
                said |= {o.code for o in page.observations}
        if paging == "auto":
            assert ids == list(range(1, 31))  # keyset paging: nothing disappears
        else:
            assert 11 not in ids  # the service's offset links lose it, and the first page said so


def test_a_row_added_between_pages_is_seen() -> None:
    services = {"": {"dataset": "numbers", "rows": 30, "page_rows": 10}}
    nobody = {"username": None, "password": None}
    with start(APP, {"services": services}) as server, opened(server, **nobody, paging="next_link") as c:
        pages = c.read("Numbers")
        next(pages)
        server.control("insert", {"set": "Numbers", "row": {"Id": "0", "Name": "new"}})
        said = {o.code for page in pages for o in page.observations}
    assert "page_overlap" in said


@pytest.mark.parametrize("service", ["T4", "T2"])
def test_types_at_their_extremes(standin: Server, service: str) -> None:
    with opened(standin) as c:
        schema = c.discover(f"{service}/AllTypes")
        (page,) = c.read(f"{service}/AllTypes")
        assert page.batch.schema.types == [column.type for column in schema.columns]
        rows = page.batch.to_pylist()
    assert not page.misfits
    assert rows[0]["Money"] == Decimal("12345678901234567891.1234567890")
    assert rows[0]["Big"] == 9_007_199_254_740_994
    assert rows[0]["Text"] == "näme 1 'q' \"d\" \u2028"
    assert rows[0]["Bytes"] == bytes([1, 250, 251, 252])
    assert {k: v for k, v in rows[1].items() if v is not None} == {"Id": 2}
    assert rows[2]["Big"] == 2**63 - 1
    assert rows[2]["Ratio"] == float("inf")
    assert rows[2]["Moment"] == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert rows[3]["Big"] == -(2**63)
    assert rows[3]["Moment"] == datetime(1, 1, 1, tzinfo=UTC)
    assert rows[3]["Money"] == Decimal("-0.0000000001")
    assert pa.types.is_decimal128(schema.columns[7].type)
    if service == "T4":
        assert schema.columns[-1].enum == ("Red", "Green", "Blue")
        assert rows[3]["Span"] == -timedelta(seconds=1)


def test_discover(standin: Server) -> None:
    with opened(standin) as c:
        orders = c.discover("V4/A_SalesOrder")
        assert orders.keys == ("SalesOrder",)
        key = orders.column("SalesOrder")
        assert key is not None
        assert (key.length, key.nullable, key.unique) == (10, False, True)
        amount = orders.column("TotalNetAmount")
        assert amount is not None
        assert (str(amount.type), amount.native) == ("decimal128(16, 2)", "Edm.Decimal")
        for service in ("V4", "V2"):
            item = c.discover(f"{service}/A_SalesOrderItem")
            assert item.keys == ("SalesOrder", "SalesOrderItem")
            first = item.column("SalesOrder")
            assert first is not None
            assert first.references == "A_SalesOrder.SalesOrder"
        with pytest.raises(MissingObjectError, match="A_SalesOrder"):
            c.discover("V4/A_SalesOrders")
        with pytest.raises(MissingObjectError, match="Nope"):
            list(c.read("V4/A_SalesOrder", columns=["Nope"]))
        with pytest.raises(MissingObjectError):
            c.discover("NOSERVICE/X")
        assert "V4/A_SalesOrder" in c.objects()


def test_filter_columns_and_count_agree(standin: Server) -> None:
    with opened(standin) as c:
        ref = ObjectRef("V4/A_SalesOrder", "TotalNetAmount lt 0 or OverallSDProcessStatus eq 'Z9'")
        rows = table(c.read(ref, columns=["TotalNetAmount"], page_rows=4))
        assert len(rows) == c.count(ref).value == 9
        assert list(rows[0]) == ["TotalNetAmount"]
        with pytest.raises(RejectedError):
            c.count(ObjectRef("V4/A_SalesOrder", "TotalNetAmount eq"))
        assert c.count("NOCOUNT/Numbers").value == 25
        assert c.count("ZERO/Numbers").value == 0
        assert list(c.read("ZERO/Numbers")) == []


def test_empty_is_null(standin: Server) -> None:
    names = {"SalesOrder": "SO-NULL", "SoldToParty": None}
    writer = Session(retry=QUICK, writes_allowed=True)
    with opened(standin, session=writer) as c, opened(standin, empty_is_null=True) as reads:
        assert c.write("EMPTY/A_SalesOrder", [names])[0].ok
        ref = ObjectRef("EMPTY/A_SalesOrder", "SalesOrder eq 'SO-NULL'")
        assert table(c.read(ref))[0]["SoldToParty"] == ""
        assert table(reads.read(ref))[0]["SoldToParty"] is None


def test_writes_under_csrf_and_etag(standin: Server) -> None:
    with opened(standin, session=Session(retry=QUICK, writes_allowed=True)) as c:
        writable = c.facet(Writable)
        assert writable is not None
        for service in ("V4", "V2"):
            name = f"{service}/A_SalesOrderItem"
            good = {"SalesOrder": "SO-W", "SalesOrderItem": 10, "Material": "x", "NetAmount": Decimal("1.50")}
            made = writable.write(name, [good, {"SalesOrder": "SO-W"}, good])
            assert [o.ok for o in made] == [True, False, False]
            assert made[0].id == ("SO-W", 10)
            assert "SalesOrderItem" in str(made[1].error)
            assert made[1].error_class == "RejectedError"
            assert writable.write(name, [{"SalesOrder": "SO-W", "Material": "y"}], key="SalesOrder")[0].created is False
            found = writable.find(name, "SalesOrder", ["SO-W"])
            assert [(r["Material"], r["NetAmount"]) for r in found] == [("y", Decimal("1.50"))]
            assert writable.delete(name, found)[0].ok
            assert writable.find(name, "SalesOrder", ["SO-W"]) == []
        order = "V4/A_SalesOrder"
        assert writable.write(order, [{"SalesOrder": "SO-E", "SoldToParty": "C-1"}])[0].ok
        seen = writable.find(order, "SalesOrder", ["SO-E"])
        assert writable.write(order, [{"SalesOrder": "SO-E", "SoldToParty": "C-2"}], key="SalesOrder")[0].ok
        stale = writable.delete(order, seen)[0]
        assert not stale.ok
        assert "changed" in str(stale.error)
        assert writable.delete(order, writable.find(order, "SalesOrder", ["SO-E"]))[0].ok
    with opened(standin) as reader, pytest.raises(WriteForbidden):
        reader.write("V4/A_SalesOrderItem", [{}])


def test_operations(standin: Server) -> None:
    with opened(standin, session=Session(retry=QUICK, writes_allowed=True)) as c:
        loadable = c.facet(Loadable)
        assert loadable is not None
        found = loadable.operations("V2/A_SalesOrder", [("SO-0000009",)])
        assert set(found) == {"lookup", "page", "write"}
        assert found["lookup"].call(("SO-0000009",)).calls == 1
        assert found["page"].call(("SO-0000009",)).rows == 100
        assert found["write"].call(("SO-0000009",)).rows == 1
        twin = c.fork(Session(retry=NO_RETRY))
        with pytest.raises(MissingObjectError):
            twin.operations("V2/A_SalesOrder", [])["lookup"].call(("SO-NOPE",))
        assert "write" not in twin.operations("V2/A_SalesOrder", [("x",)])
        twin.close()


def test_look_ups_by_the_contracts_own_key(standin: Server) -> None:
    """A contract may promise a key that is not the service's, or name its columns in another order."""
    with opened(standin, session=Session(retry=QUICK, writes_allowed=True)) as c:
        for service in ("V2", "V4"):
            order = next(iter(c.read(f"{service}/A_SalesOrder", page_rows=1))).batch.to_pylist()[0]
            name = "PurchaseOrderByCustomer"
            found = c.operations(ObjectRef(f"{service}/A_SalesOrder", key=(name,)), [(order[name],)])
            assert "write" not in found
            assert found["lookup"].call((order[name],)).rows == 1
            assert found["page"].call((order[name],)).rows == 100
            with pytest.raises(MissingObjectError):
                found["lookup"].call(("nobody's",))
            item = next(iter(c.read(f"{service}/A_SalesOrderItem", page_rows=1))).batch.to_pylist()[0]
            turned = ("SalesOrderItem", "SalesOrder")
            found = c.operations(ObjectRef(f"{service}/A_SalesOrderItem", key=turned), [])
            assert found["lookup"].call(tuple(item[n] for n in turned)).rows == 1
            with pytest.raises(RejectedError, match="1 values"):
                found["lookup"].call((1,))


def test_what_changed(standin: Server) -> None:
    with opened(standin, session=Session(retry=QUICK, writes_allowed=True)) as c:
        assert c.facet(Incremental) is c
        assert c.watermark("V4/A_SalesOrder") == "LastChangeDateTime"
        assert c.watermark("V4/A_SalesOrderItem") is None
        everything = table(c.read("V2/A_SalesOrder"))
        since = sorted(r["LastChangeDateTime"] for r in everything)[200]
        expected = sum(r["LastChangeDateTime"] >= since for r in everything)
        assert len(table(c.changes("V2/A_SalesOrder", since.isoformat()))) == expected
        link = c.track("P/Numbers")
        assert link is not None
        c.write("P/Numbers", [{"Id": 7001, "Name": "new"}])
        c.write("P/Numbers", [{"Id": 7, "Name": "changed"}], key="Id")
        c.write("P/Numbers", [{"Id": 7, "Name": "Number 7"}], key="Id")
        delta = c.delta("P/Numbers", link)
        assert delta.page.batch["Id"].to_pylist() == [7001, 7]
        c.delete("P/Numbers", c.find("P/Numbers", "Id", [7001]))
        later = c.delta("P/Numbers", delta.link)
        assert later.removed == ("Numbers(7001)",)
        assert c.track("V2/A_SalesOrder") is None


def test_logins() -> None:
    number = {"": {"dataset": "numbers", "rows": 3}}
    nothing = {"username": None, "password": None}
    with start(APP, {"services": number, "auth": {"kind": "bearer", "token": SECRET}}) as server:
        with opened(server, **nothing, token=SECRET) as c:
            assert c.count("Numbers").value == 3
        with pytest.raises(AuthError) as caught, opened(server, **nothing, token="wrong-token-canary"):
            pass
        assert "wrong-token-canary" not in str(caught.value)
    key = {**nothing, "api_key": SECRET, "api_key_header": "X-Key"}
    auth = {"kind": "api_key", "header": "X-Key", "key": SECRET}
    with start(APP, {"services": number, "auth": auth}) as server, opened(server, **key) as c:
        assert c.count("Numbers").value == 3
    auth = {"kind": "oauth2", "client_id": "app", "client_secret": SECRET}
    with start(APP, {"services": number, "auth": auth}) as server:
        flow = {**nothing, "token_url": f"{server.url}/oauth2/token", "client_id": "app", "client_secret": SECRET}
        with opened(server, **flow) as c:
            assert c.count("Numbers").value == 3
            assert c.probe().user == "app"
            forks = [c.fork(Session(retry=NO_RETRY)) for _ in range(5)]
            server.control("expire_tokens")
            assert [f.count("Numbers").value for f in forks] == [3] * 5  # a 401 in the middle: one renewal for all
            assert server.control("stats")["logins"] == 2
            for fork in forks:
                fork.close()
        with (
            pytest.raises(AuthError, match="app") as caught,
            opened(server, **{**flow, "client_secret": "nope-canary"}),
        ):
            pass
        assert "nope-canary" not in str(caught.value)


def test_wrong_password_names_no_secret(standin: Server) -> None:
    with pytest.raises(AuthError) as caught, opened(standin, password="another-canary") as c:
        c.count("V4/A_SalesOrder")
    assert "another-canary" not in f"{caught.value!r} {caught.value}"
    assert SECRET not in repr(ODataConnector({"url": standin.url, "username": "u", "password": SECRET}).options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "http://127.0.0.1/", "usrname": "u"}, "username"),
        ({"url": "http://127.0.0.1/", "username": "u"}, "password"),
        ({"url": "http://127.0.0.1/", "token": "t", "api_key": "k"}, "one kind"),
        ({"url": "http://127.0.0.1/", "preset": "sap"}, "sap_s4"),
        ({"url": "http://127.0.0.1/", "token_url": "http://127.0.0.1/t"}, "client_id"),
    ],
)
def test_settings(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        ODataConnector(options)


@pytest.mark.parametrize("url", ["http://erp.example.com/odata", "not a url", "http://127.0.0.1/x?y=1"])
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        ODataConnector({"url": url}).open()


@pytest.fixture(scope="module")
def gated() -> Iterator[Server]:
    with start(APP, {"services": {"": {"dataset": "numbers", "rows": 50}}}) as server:
        yield server


@pytest.fixture
def limited(gated: Server) -> Limited:
    """`with limited({...limits}, **answers) as server`: the same server under other limits, without any afterwards."""

    @contextmanager
    def use(limits: dict[str, Any], **answers: Any) -> Iterator[Server]:
        if "daily_quota" in limits:
            limits = {**limits, "daily_quota": limits["daily_quota"] + gated.control("stats")["daily_used"]}
        gated.control("answers", answers)
        gated.control("limits", limits)
        try:
            yield gated
        finally:
            gated.control("limits", {})

    return use


@pytest.mark.parametrize(("status", "form"), [(429, "seconds"), (503, "date"), (429, "missing")])
def test_told_to_slow_down_and_obeys(limited: Limited, status: int, form: str) -> None:
    waits: list[float] = []
    refusal = {"status": status, "retry_after": form}
    with limited({"requests_per_window": 2, "window_s": 0.6}, refusal=refusal) as server:
        import time

        def pause(seconds: float) -> None:
            waits.append(seconds)
            time.sleep(min(seconds, 1.2))

        patient = Session(retry=Retry(attempts=8, base=0.4, cap=0.8, deadline=20), sleep=pause)
        with opened(server, username=None, password=None, session=patient) as c:
            assert len(table(c.read("Numbers", page_rows=15))) == 50
    assert waits


@pytest.mark.parametrize("form", ["absurd", "garbage"])
def test_an_absurd_retry_after_is_not_waited_for(limited: Limited, form: str) -> None:
    session = Session(retry=Retry(attempts=3, base=0.01, cap=0.02, deadline=5))
    refusal = {"status": 429, "retry_after": form}
    nobody: dict[str, Any] = {"username": None, "password": None, "session": session}
    with (
        limited({"requests_per_window": 2, "window_s": 60}, refusal=refusal) as server,
        opened(server, **nobody) as c,
        pytest.raises(ThrottledError),
    ):
        list(c.read("Numbers", page_rows=5))


def test_a_quota_is_no_rate_limit(limited: Limited) -> None:
    with limited({"daily_quota": 3}) as server, opened(server, username=None, password=None) as c:
        before = c.session.meter.attempts
        with pytest.raises(QuotaExhausted):
            list(c.read("Numbers", page_rows=5))
        assert c.session.meter.attempts - before == 3  # never retried


def test_limits_are_reported(limited: Limited) -> None:
    limits = {"requests_per_window": 300, "window_s": 60}
    nobody = {"username": None, "password": None}
    with limited(limits) as server, opened(server, **nobody) as c:
        (limit,) = c.limits()
        assert (limit.name, limit.cap, limit.window) == ("requests_per_window", 300, "60 s")
        assert (limit.source, limit.used) == ("reported", 1)
    with limited(limits, rate_headers="dynamics") as server, opened(server, **nobody, preset="dataverse") as c:
        found = {one.name: one for one in c.limits()}
        assert found["requests_per_window"].cap == 6000
        assert found["requests_per_window"].detail["remaining"] == 299
        assert found["concurrent_calls"].cap == 52
        assert "preset_unproven" in {o.code for o in c.probe().observations}


@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_preset_reads_a_plain_service(standin: Server, preset: str) -> None:
    with opened(standin, preset=preset) as c:
        assert len({r["Id"] for r in table(c.read("NOCOUNT/Numbers"))}) == 25
        assert PRESETS[preset].proven is (preset == "plain")
        assert ("preset_unproven" in {o.code for o in c.probe().observations}) is (preset != "plain")
        assert all(one.detail["published"] for one in c.limits() if one.source == "declared")


def test_a_count_that_stops_is_not_exact() -> None:
    nobody = {"username": None, "password": None, "preset": "dataverse"}
    services = {"": {"dataset": "numbers", "rows": 5000}}
    with start(APP, {"services": services}) as server, opened(server, **nobody) as c:
        assert c.count("Numbers") == Count(5000, exact=False)
        assert c.count(ObjectRef("Numbers", "Id le 4999")) == Count(4999, exact=True)


def test_parameters_and_metadata_elsewhere(standin: Server) -> None:
    options: dict[str, Any] = {
        "url": f"{standin.url}/odata/P/",
        "metadata_path": "../P/$metadata",
        "parameters": {"sap-client": "100"},
    }
    with opened(standin, **options, paging="next_link") as c:
        pages = list(c.read("Numbers", columns=["Id"]))
        assert sum(p.batch.num_rows for p in pages) >= 250
        assert pages[0].cursor is not None
        assert pages[0].cursor.count("sap-client=100") == 1
        assert c.count("Numbers").value >= 250


def test_forks_share_login_and_metadata(standin: Server) -> None:
    with opened(standin) as c:
        c.count("V4/A_SalesOrder")
        session = Session(retry=NO_RETRY)
        other = c.fork(session)
        assert other.count("V4/A_SalesOrder").value == 330
        assert session.meter.attempts == 1  # no second $metadata
        assert session.meter.bytes_received > 0
        other.close()
        other.close()
