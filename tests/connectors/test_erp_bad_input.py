"""Answers no interface promises, over real sockets: each ends in the right error, in bounded time and memory."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from json_kit import Answer, Asked, as_json, serving
from odata_kit import JSON, METADATA, QUICK, page, rows

from weighbridge.connectors.base import Page
from weighbridge.connectors.errors import (
    AccessError,
    AuthError,
    ConnectorError,
    MissingObjectError,
    ProtocolError,
    RejectedError,
    RetriableError,
    ThrottledError,
    UnreachableError,
)
from weighbridge.connectors.odata import ODataConnector
from weighbridge.connectors.odoo import OdooConnector
from weighbridge.connectors.session import Retry, Session

SECRET = "canary-password"
HTML: dict[str, str] = {"Content-Type": "text/html"}
LOGIN_PAGE = b"<html><title>Sign in</title><form><input type='password' name='p'></form></html>"
Reply = Callable[[Asked], Answer]


def read_odata(answer: Reply, *, paging: str = "next_link", retry: Retry = QUICK, **more: Any) -> tuple[list[int], Any]:
    """The ids that were read, and the error that ended it (None: the end)."""

    def route(asked: Asked) -> Answer:
        return (200, {"Content-Type": "application/xml"}, METADATA) if "$metadata" in asked.path else answer(asked)

    found: list[int] = []
    with serving(route) as served:
        options = {"url": f"{served.url}/svc/", "username": "u", "password": SECRET, "paging": paging, **more}
        session = Session(retry=retry, timeout=15)
        with ODataConnector(options, session) as c:
            started, worked = time.monotonic(), time.thread_time()
            error = ended(c.read("Things", page_rows=3), found, "Id")
            assert time.thread_time() - worked < 5, "bounded work, however large the answer"
            assert time.monotonic() - started < 60, "bounded waiting, on a busy machine too"
            assert len(served.asked) < 30
    if error is not None:
        assert SECRET not in f"{error!r} {error}"
        assert error.remedy
    return found, error


def ended(pages: Iterator[Page], found: list[int], key: str) -> ConnectorError | None:
    """Read into `found`; the error that ended it."""
    try:
        for one in pages:
            found += one.batch[key].to_pylist()
    except ConnectorError as error:
        return error
    return None


def second(asked: Asked) -> bool:
    return "page" in asked.query


def then(answer: Answer) -> Reply:
    """A good first page whose link leads to `answer`."""
    return lambda asked: answer if second(asked) else page(1, "Things?page=2")


NESTED = b"[" * 5_000_000 + b"]" * 5_000_000
WIDE = b'{"value":[' + b"[]," * 3_300_000 + b"[]]}"
BAD: dict[str, tuple[Answer, type[ConnectorError]]] = {
    "a login page with status 200": ((200, HTML, LOGIN_PAGE), AuthError),
    "a maintenance page": ((200, HTML, b"<html><h1>Back soon</h1></html>"), ProtocolError),
    "truncated JSON": ((200, JSON, b'{"value":[{"Id":4,"Na'), ProtocolError),
    "a body shorter than it says": ((200, {**JSON, "Content-Length": "5000"}, b'{"value":[]}'), ProtocolError),
    "the wrong content type": ((200, {"Content-Type": "text/csv"}, b"Id;Name"), ProtocolError),
    "an empty body": ((200, JSON, b""), ProtocolError),
    "JSON that is no collection": (as_json({"Id": 4}), ProtocolError),
    "a list instead of an object": (as_json([1]), ProtocolError),
    "rows that are no objects": (as_json({"value": [1, 2]}), ProtocolError),
    "rows without their key": (as_json({"value": [{"Name": "x"}]}), ProtocolError),
    "a field that disappears": (as_json({"value": [{"Id": 4}]}), ProtocolError),
    "a link that is a number": (as_json({"value": rows(4), "@odata.nextLink": 7}), ProtocolError),
    "ten megabytes of nesting": ((200, JSON, NESTED), ProtocolError),
    "ten megabytes of empty arrays": ((200, JSON, WIDE), ProtocolError),
    "a 401 in the middle": ((401, {"Content-Type": "text/plain"}, b"Unauthorized"), AuthError),
    "an allow-list": (as_json({"error": {"message": "Your IP address is not allowed"}}, 403), AccessError),
    "no access": (as_json({"error": {"message": "no"}}, 403), AccessError),
    "a bad filter": (as_json({"error": {"code": "1", "message": {"value": "Bad filter"}}}, 400), RejectedError),
    "gone": (as_json({"error": {"message": "Resource not found"}}, 404), MissingObjectError),
    "an error of the server": (as_json({"error": {"message": "short dump"}}, 500), RetriableError),
    "not allowed to page": ((302, {"Location": "https://login.example.com/saml"}, b""), AuthError),
    "sent to another host": ((302, {"Location": "http://127.0.0.2:9/odata"}, b""), ProtocolError),
    "a duplicate page": (page(1, "Things?page=3"), ProtocolError),
    "a link to itself": (page(4, "Things?page=2"), ProtocolError),
    "a link to another host": (page(4, "http://127.0.0.2:9/elsewhere/Things?page=3"), ProtocolError),
}


@pytest.mark.parametrize("name", list(BAD))
def test_odata_bad_second_page(name: str) -> None:
    answer, kind = BAD[name]
    found, error = read_odata(then(answer))
    assert type(error) is kind or isinstance(error, kind), error
    assert len(found) == len(set(found)), "nothing twice"
    assert found[:3] == [1, 2, 3], "what came before it was kept"


def test_a_chain_of_links_that_closes() -> None:
    def answer(asked: Asked) -> Answer:
        number = int(asked.query.get("page", 1))
        return page(number * 3, f"Things?page={number % 4 + 1}")

    found, error = read_odata(answer)
    assert isinstance(error, ProtocolError)
    assert "circle" in str(error)
    assert len(found) <= 15


def test_credentials_never_reach_another_host() -> None:
    stolen: list[Asked] = []

    def other(asked: Asked) -> Answer:
        stolen.append(asked)
        return page(100)

    with serving(other) as thief:
        found, error = read_odata(lambda _a: page(1, f"{thief.url}/loot/Things"))
        assert isinstance(error, ProtocolError)
        assert "another host" in str(error)
        # The same path at another host is read at home instead, and said.
        asked: list[str] = []

        def home(one: Asked) -> Answer:
            asked.append(one.query.get("page", ""))
            return page(4) if second(one) else page(1, f"{thief.url}/svc/Things?page=2")

        found, error = read_odata(home)
        assert (found, error) == ([1, 2, 3, 4, 5, 6], None)
        assert asked == ["", "2"]
    assert stolen == []


@pytest.mark.parametrize(
    ("value", "words"), [("5", "wait 5 s"), ("99999999999", "wait"), ("soon", "429"), (None, "429"), ("-3", "429")]
)
def test_retry_after(value: str | None, words: str) -> None:
    headers = {**JSON} if value is None else {**JSON, "Retry-After": value}
    body = json.dumps({"error": {"code": "0x80072322", "message": "too many requests"}}).encode()
    found, error = read_odata(then((429, headers, body)))
    assert found == [1, 2, 3]
    assert isinstance(error, ThrottledError)
    assert words in str(error)


def test_a_passing_failure_loses_nothing_and_repeats_nothing() -> None:
    failed: list[str] = []

    def answer(asked: Asked) -> Answer:
        if second(asked) and not failed:
            failed.append(asked.path)
            return 503, {**JSON, "Retry-After": "0"}, b"{}"
        return page(4) if second(asked) else page(1, "Things?page=2")

    assert read_odata(answer) == ([1, 2, 3, 4, 5, 6], None)


def test_a_server_that_ignores_the_key_filter() -> None:
    found, error = read_odata(lambda _a: page(1), paging="keyset")
    assert found == [1, 2, 3]
    assert isinstance(error, ProtocolError)


def test_a_silent_cap_without_a_link_is_noticed() -> None:
    """A server that sends 50 rows whatever is asked, and no link: the read goes on behind the last key."""

    def answer(asked: Asked) -> Answer:
        last = int(asked.query["$filter"].rpartition(" ")[2]) if "$filter" in asked.query else 0
        return page(last + 1, count=min(50, 120 - last))

    def route(asked: Asked) -> Answer:
        return (200, {"Content-Type": "application/xml"}, METADATA) if "$metadata" in asked.path else answer(asked)

    with serving(route) as served, ODataConnector({"url": f"{served.url}/svc"}, Session(retry=QUICK)) as c:
        assert sum(p.batch.num_rows for p in c.read("Things")) == 120


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((200, HTML, LOGIN_PAGE), (AuthError, ProtocolError)),
        ((200, {"Content-Type": "application/xml"}, b"<a><b/></a>"), ProtocolError),
        ((200, {"Content-Type": "application/xml"}, b""), ProtocolError),
        ((200, {"Content-Type": "application/xml"}, b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'), ProtocolError),
        ((401, HTML, b"no"), AuthError),
        ((503, JSON, b"{}"), ThrottledError),
    ],
)
def test_metadata_that_is_none(answer: Answer, kind: type[Exception]) -> None:
    with serving(lambda _a: answer) as served, pytest.raises(kind):
        ODataConnector({"url": served.url}, Session(retry=QUICK, timeout=15)).open()


def test_nobody_there() -> None:
    with serving(lambda a: as_json({})) as served:
        url = served.url
    for kind, more in ((ODataConnector, {}), (OdooConnector, {"database": "d", "username": "u", "password": SECRET})):
        with pytest.raises(UnreachableError):
            kind({"url": url, **more}, Session(retry=QUICK, timeout=1)).open()


# --- Odoo --------------------------------------------------------------------------------------------------------


def odoo_server(records: Reply) -> Reply:
    def route(asked: Asked) -> Answer:
        params = json.loads(asked.body)["params"]
        if params["service"] == "common":
            return as_json({"result": {"server_version": "17.0"} if params["method"] == "version" else 2})
        method = params["args"][4]
        if method == "fields_get":
            return as_json({"result": {"id": {"type": "integer"}, "name": {"type": "char"}}})
        return records(asked)

    return route


def told(name: str, message: str = "words") -> Answer:
    data = {"name": name, "message": message, "debug": f"Traceback {SECRET}"}
    return as_json({"error": {"code": 200, "message": "Odoo Server Error", "data": data}})


ODOO_BAD: dict[str, tuple[Answer, type[ConnectorError]]] = {
    "an HTML login": ((200, HTML, LOGIN_PAGE), AuthError),
    "no result": (as_json({"jsonrpc": "2.0", "id": 1}), ProtocolError),
    "not an object": (as_json([1]), ProtocolError),
    "truncated": ((200, JSON, b'{"result":[{"id"'), ProtocolError),
    "the same page": (as_json({"result": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]}), ProtocolError),
    "out of order": (as_json({"result": [{"id": 9, "name": "a"}, {"id": 8, "name": "b"}]}), ProtocolError),
    "no id": (as_json({"result": [{"name": "a"}]}), ProtocolError),
    "no name": (as_json({"result": [{"id": 3}, {"id": 4}]}), ProtocolError),
    "an access error": (told("odoo.exceptions.AccessError"), AccessError),
    "access denied": (told("odoo.exceptions.AccessDenied"), AuthError),
    "session expired": (told("odoo.http.SessionExpiredException"), AuthError),
    "a bad field": (told("builtins.ValueError", "Invalid field 'x' on model 'y'"), MissingObjectError),
    "a bad domain": (told("builtins.ValueError", "malformed domain"), RejectedError),
    "a lock": (told("psycopg2.errors.SerializationFailure", "could not serialize access"), RetriableError),
    "a traceback": (told("builtins.ZeroDivisionError", "division by zero"), ProtocolError),
    "too many": ((429, {"Retry-After": "1"}, b"slow down"), ThrottledError),
    "bad gateway": ((502, HTML, b"<html>bad gateway</html>"), RetriableError),
}


@pytest.mark.parametrize("name", list(ODOO_BAD))
def test_odoo_bad_second_page(name: str) -> None:
    answer, kind = ODOO_BAD[name]

    def records(asked: Asked) -> Answer:
        domain = json.loads(asked.body)["params"]["args"][5][0]
        if domain[-1] == ["id", ">", 0]:
            return as_json({"result": [{"id": 1, "name": "a"}, {"id": 2, "name": False}]})
        return answer

    found: list[int] = []
    with serving(odoo_server(records)) as served:
        options = {"url": served.url, "database": "d", "username": "u", "password": SECRET}
        with OdooConnector(options, Session(retry=QUICK, timeout=15)) as c:
            error = ended(c.read("res.partner", page_rows=2), found, "id")
            assert isinstance(error, kind), error
            assert found == [1, 2]
            assert SECRET not in f"{error!r} {error}"
