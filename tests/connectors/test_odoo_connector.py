"""The Odoo connector against the stand-in over real sockets, by both interfaces and as users with different sight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import pytest
from json_kit import Answer, Asked, as_json, serving

from weighbridge.connectors._odoo_types import column_of, to_arrays
from weighbridge.connectors.base import ObjectRef, Page
from weighbridge.connectors.errors import (
    AccessError,
    AuthError,
    MissingObjectError,
    ProtocolError,
    RejectedError,
    SettingsError,
    ThrottledError,
    WriteForbidden,
)
from weighbridge.connectors.odoo import OdooConnector
from weighbridge.connectors.session import NO_RETRY, Session
from weighbridge.sandbox.odoo.data import ARCHIVED_EVERY
from weighbridge.sandbox.server import Server, start

APP = "weighbridge.sandbox.odoo.app:create"
ROWS = 260


@pytest.fixture(scope="module")
def standin() -> Iterator[Server]:
    with start(APP, {"rows": ROWS}) as server:
        yield server


@contextmanager
def opened(server: Server, user: str = "admin", *, json2: bool = False, **more: Any) -> Iterator[OdooConnector]:
    session = more.pop("session", None) or Session(retry=NO_RETRY)
    login = {"api_key": f"{user}-key-0123456789"} if json2 else {"username": user, "password": f"{user}-word"}
    with OdooConnector({"url": server.url, "database": "practice", **login, **more}, session) as connector:
        yield connector


def table(pages: Iterator[Page]) -> list[dict[str, Any]]:
    return [row for page in pages for row in page.batch.to_pylist()]


@pytest.mark.parametrize("json2", [False, True])
@pytest.mark.parametrize("page_rows", [1000, 100, 13])
def test_every_page_size_gives_the_same_rows(standin: Server, page_rows: int, json2: bool) -> None:
    with opened(standin, json2=json2) as c:
        pages = list(c.read("sale.order", page_rows=page_rows))
        assert [r["id"] for p in pages for r in p.batch.to_pylist()] == list(range(1, ROWS + 1))
        assert c.count("sale.order").value == ROWS
        assert not any(p.misfits for p in pages)
        rest = list(c.read("sale.order", page_rows=page_rows, after=pages[0].cursor))
        assert sum(p.batch.num_rows for p in rest) == ROWS - pages[0].batch.num_rows


def test_types(standin: Server) -> None:
    with opened(standin) as c:
        schema = c.discover("sale.order")
        assert schema.keys == ("id",)
        partner = schema.column("partner_id")
        assert partner is not None
        assert (partner.references, partner.native, str(partner.type)) == ("res.partner.id", "many2one", "int64")
        state = schema.column("state")
        assert state is not None
        assert state.enum == ("draft", "sent", "sale", "cancel")
        rows = table(c.read("sale.order", columns=["id", "partner_id", "partner_id.name", "date_order", "locked"]))
        assert rows[0]["partner_id"] == 1 or isinstance(rows[0]["partner_id"], int)
        assert rows[0]["partner_id.name"].endswith(str(rows[0]["partner_id"]))
        assert rows[0]["date_order"].utcoffset().total_seconds() == 0
        assert {r["locked"] for r in rows} == {True, False}
        more = table(c.read("sale.order", columns=["client_order_ref", "commitment_date", "amount_total"]))
        assert more[3]["client_order_ref"] is None
        assert more[8]["commitment_date"] is None
        assert isinstance(more[0]["commitment_date"], date)
        assert isinstance(more[0]["amount_total"], float)
        partners = table(c.read("res.partner", columns=["comment", "company_id", "color", "sale_order_ids"]))
        assert {p["comment"] for p in partners} == {"", None}  # an empty text is no null
        assert {p["company_id"] for p in partners} == {None, 1, 2}
        assert all(isinstance(p["color"], int) for p in partners)
        assert partners[0]["sale_order_ids"].startswith("[")
        assert c.discover("res.partner").column("image_128") is None


def test_false_against_null_by_type() -> None:
    about = {"char": "text", "boolean": False, "integer": 0}
    assert about
    (flag,) = column_of("f", {"type": "boolean"})
    (text,) = column_of("t", {"type": "char"})
    (when,) = column_of("w", {"type": "datetime"})
    (number,) = column_of("n", {"type": "integer"})
    link, name = column_of("l", {"type": "many2one", "relation": "x"})
    assert to_arrays([False, True], flag)[0].to_pylist() == [False, True]
    assert to_arrays([False, "", "a"], text)[0].to_pylist() == [None, "", "a"]
    assert to_arrays([False, "2026-01-02 03:04:05"], when)[0].to_pylist() == [
        None,
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    ]
    assert to_arrays([[7, "Seven"], False], link)[0].to_pylist() == [7, None]
    assert to_arrays([[7, "Seven"], False], name)[0].to_pylist() == ["Seven", None]
    array, misfits = to_arrays([0, False], number)
    assert array.to_pylist() == [0, None]
    assert misfits[0].row == 1  # a false where a number must be is no 0
    array, misfits = to_arrays(["2026-02-30 00:00:00", "gestern"], when)
    assert array.to_pylist() == [None, None]
    assert len(misfits) == 2


def test_archived_records(standin: Server) -> None:
    partners = max(20, ROWS // 8)
    hidden = partners // ARCHIVED_EVERY
    with opened(standin) as c:
        first = next(c.read("res.partner"))
        assert c.count("res.partner").value == first.batch.num_rows == partners - hidden
        said = {o.code: o for o in first.observations}
        assert said["archived_left_out"].data["rows"] == hidden
    with opened(standin, archived=True) as c:
        (page,) = c.read("res.partner")
        assert c.count("res.partner").value == page.batch.num_rows == partners
        assert page.observations == ()


def test_a_record_rule_cuts_count_and_read_alike_and_says_so(standin: Server) -> None:
    with opened(standin, "sales") as c:
        rows = table(c.read("sale.order"))
        assert 0 < len(rows) == c.count("sale.order").value < ROWS
        (said,) = c.discover("sale.order").observations
        assert said.code == "rows_may_be_hidden"
        assert said.data["rules"] is None
    with opened(standin) as c:
        assert c.discover("sale.order").observations[0].data["rules"] == ["Small orders only"]
        assert c.discover("res.partner").observations == ()


def test_companies(standin: Server) -> None:
    with opened(standin) as c:
        assert c.probe().facts["companies"] == [1, 2]
    with opened(standin, company_ids=[2]) as c:
        assert c.count("sale.order").value == len(table(c.read("sale.order"))) == ROWS // 10
    with opened(standin, "one") as c:
        assert c.count("sale.order").value == ROWS - ROWS // 10
    with opened(standin, "one", company_ids=[2]) as c, pytest.raises(AccessError, match="companies"):
        c.count("sale.order")


@pytest.mark.parametrize("json2", [False, True])
def test_access(standin: Server, json2: bool) -> None:
    with opened(standin, "guest", json2=json2) as c, pytest.raises(AccessError, match=r"sale\.order"):
        c.count("sale.order")
    with opened(standin, "sales", json2=json2) as c:
        assert c.discover("res.partner").column("credit_limit") is None
        with pytest.raises(MissingObjectError, match="credit_limit"):
            next(c.read("res.partner", columns=["credit_limit"]))
        with pytest.raises(AccessError):  # a field the user may not see, asked for in a filter's field list
            c.rpc.call("res.partner", "search_read", None, {"domain": [], "fields": ["credit_limit"]}, operation="x")
        with pytest.raises(MissingObjectError, match=r"nope"):
            c.rpc.call("res.partner", "search_read", None, {"domain": [], "fields": ["nope"]}, operation="x")
        with pytest.raises(MissingObjectError):
            c.count("no.such.model")
        with pytest.raises(MissingObjectError):
            c.count(ObjectRef("res.partner", "[('nope', '=', 1)]"))
        with pytest.raises(RejectedError):
            c.count(ObjectRef("res.partner", "this is no domain"))
        assert c.count(ObjectRef("res.partner", "[('city', '=', 'Lyon')]")).value >= 1
        assert c.count(ObjectRef("res.partner", '["|", ["city", "=", "Lyon"], ["city", "=", "Leeds"]]')).value >= 1


def test_logins(standin: Server) -> None:
    with pytest.raises(AuthError, match="not accepted") as caught, opened(standin, password="canary-word"):
        pass
    assert "canary-word" not in f"{caught.value!r} {caught.value}"
    bad_key = {"url": standin.url, "database": "practice", "api_key": "canary-key-xyz"}
    with pytest.raises(AuthError) as caught, OdooConnector(bad_key):
        pass
    assert "canary-key" not in str(caught.value)
    with pytest.raises(MissingObjectError, match="nodatabase"), opened(standin, database="nodatabase"):
        pass
    with opened(standin, json2=True) as c:
        probe = c.probe()
        assert (probe.user, probe.facts["interface"], probe.version) == ("admin", "JSON-2", "19.0")
    with opened(standin) as c:
        assert {o.code for o in c.probe().observations} == {"login_retiring"}
    with start(APP, {"rows": 20, "version": 16}) as old:
        with pytest.raises(AuthError, match="JSON-2"), opened(old, json2=True):
            pass
        with opened(old, json2=True, username="admin") as c:  # the key in the password's place
            assert c.probe().facts["interface"] == "JSON-RPC"
            assert c.count("sale.order").value == 20


def test_json2_where_json_rpc_is_switched_off() -> None:
    def answer(asked: Asked) -> Answer:
        if not asked.path.startswith("/json/2/"):
            return 404, {"Content-Type": "text/html"}, b"<h1>Not Found</h1>"
        return as_json({"uid": 7} if asked.path.endswith("context_get") else 42)

    with serving(answer) as served:
        options = {"url": served.url, "database": "practice", "api_key": "key-0123456789"}
        with OdooConnector(options, Session(retry=NO_RETRY)) as c:
            assert c.count("sale.order").value == 42
        assert {a.headers["authorization"] for a in served.asked[1:]} == {"bearer key-0123456789"}
        assert {a.headers["x-odoo-database"] for a in served.asked[1:]} == {"practice"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"username": "u"}, "password or api_key"),
        ({"password": "p"}, "username"),
        ({"api": "json2", "username": "u", "password": "p"}, "api_key"),
        ({"username": "u", "password": "p", "databse": "x"}, "database"),
    ],
)
def test_settings(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        OdooConnector({"url": "http://127.0.0.1:1", "database": "d", **options})


@pytest.mark.parametrize("json2", [False, True])
def test_writes(json2: bool) -> None:
    with start(APP, {"rows": 40}) as server:
        with opened(server, json2=json2, session=Session(retry=NO_RETRY, writes_allowed=True)) as c:
            made = c.write(
                "res.partner", [{"name": "A", "ref": "X-1"}, {"city": "no name"}, {"name": "B", "ref": "X-2"}]
            )
            assert [o.ok for o in made] == [True, False, True]
            assert made[1].error_class == "RejectedError"
            assert c.write("res.partner", [{"ref": "X-1", "city": "Oslo"}], key="ref")[0].created is False
            found = c.find("res.partner", "ref", ["X-1", "X-2", "X-3"])
            assert [(r["ref"], r["city"]) for r in found] == [("X-1", "Oslo"), ("X-2", None)]
            order = {"name": "T", "partner_id": found[0]["id"], "date_order": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}
            assert c.write("sale.order", [order])[0].ok
            (back,) = c.find("sale.order", "name", ["T"])
            assert (back["partner_id.name"], back["date_order"]) == ("A", order["date_order"])
            assert not c.write("sale.order", [{**order, "partner_id": 99_999}])[0].ok
            assert all(o.ok for o in c.delete("res.partner", found))
            assert c.find("res.partner", "ref", ["X-1", "X-2"]) == []
            before = c.session.meter.attempts
            ops = c.operations("sale.order", [(1,)])
            assert {n: o.call((1,)).rows for n, o in ops.items()} == {"lookup": 1, "page": 41, "write": 1}
            assert c.session.meter.attempts == before + 4
            with pytest.raises(MissingObjectError):
                ops["lookup"].call((99_999,))
        with opened(server, "sales", session=Session(retry=NO_RETRY, writes_allowed=True)) as c:
            assert c.write("res.partner", [{"name": "Z"}])[0].error_class == "AccessError"
        with opened(server) as c, pytest.raises(WriteForbidden):
            c.write("res.partner", [{"name": "Z"}])


def test_what_is_deleted_between_pages_hides_nothing_else() -> None:
    with start(APP, {"rows": 60}) as server, opened(server) as c:
        pages = c.read("sale.order", page_rows=20)
        ids = next(pages).batch["id"].to_pylist()
        server.control("unlink", {"model": "sale.order", "ids": [5, 30]})
        ids += [n for p in pages for n in p.batch["id"].to_pylist()]
        assert ids == [n for n in range(1, 61) if n != 30]
        # A field that disappears between pages ends the read; it does not become nulls.
        pages = c.read("sale.order", page_rows=20)
        next(pages)
        server.control("drop_field", {"model": "sale.order", "field": "client_order_ref"})
        with pytest.raises((MissingObjectError, ProtocolError), match="client_order_ref"):
            list(pages)


def test_what_changed(standin: Server) -> None:
    with opened(standin) as c:
        assert c.watermark("sale.order") == "write_date"
        rows = table(c.read("sale.order", columns=["write_date"]))
        since = sorted(r["write_date"] for r in rows)[100]
        expected = sum(r["write_date"] >= since for r in rows)
        assert len(table(c.changes("sale.order", since.isoformat()))) == expected


def test_throttled(standin: Server) -> None:
    with opened(standin) as c:
        standin.control("limits", {"requests_per_window": 4, "window_s": 60})
        try:
            with pytest.raises(ThrottledError) as caught:
                [c.count("sale.order") for _ in range(9)]
        finally:
            standin.control("limits", {})
        assert caught.value.retry_after is not None


def test_look_ups_by_the_contracts_own_key(standin: Server) -> None:
    with opened(standin, session=Session(retry=NO_RETRY, writes_allowed=True)) as c:
        one = next(iter(c.read("sale.order", page_rows=1))).batch.to_pylist()[0]
        found = c.operations(ObjectRef("sale.order", key=("name",)), [(one["name"],)])
        assert "write" not in found
        assert found["lookup"].call((one["name"],)).rows == 1
        assert found["page"].call((one["name"],)).rows == 80
        with pytest.raises(MissingObjectError):
            found["lookup"].call(("nobody's",))
