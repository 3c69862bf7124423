"""Answers that no Salesforce org promises, in the middle of a read: the right error, nothing lost, nothing twice."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest
from json_kit import Answer, Asked, as_json, serving
from odata_kit import JSON, QUICK

from weighbridge.connectors.errors import (
    AccessError,
    AuthError,
    ConnectorError,
    MissingObjectError,
    ProtocolError,
    QuotaExhausted,
    RetriableError,
    ThrottledError,
)
from weighbridge.connectors.salesforce import SalesforceConnector
from weighbridge.connectors.session import Session

SECRET = "canary-secret"
DATA = "/services/data/v59.0/"
MORE = f"{DATA}query/01g-200"
HTML = {"Content-Type": "text/html"}
FIELDS = [{"name": "Id", "type": "id", "length": 18}, {"name": "Name", "type": "string", "length": 80}]


def records(first: int, count: int = 2, **more: Any) -> list[dict[str, Any]]:
    return [{"Id": f"0010000000{n:05d}AAA", "Name": "x", **more} for n in range(first, first + count)]


def page(first: int, onward: str | None = None, **more: Any) -> Answer:
    body = {"totalSize": 4, "done": onward is None, "records": records(first)}
    return as_json(body | ({"nextRecordsUrl": onward} if onward else {}) | more)


def error(status: int, code: str, message: str = "no") -> Answer:
    return as_json([{"errorCode": code, "message": message}], status)


def read(second: Answer) -> tuple[list[str], ConnectorError | None, list[Asked]]:
    """Ids that came of an object whose second page is `second`, and the error that ended it."""

    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("/oauth2/token"):
            return as_json({"access_token": "00D!token", "instance_url": served.url, "id": f"{served.url}/id/00D/005"})
        if asked.path.endswith("/describe"):
            return as_json({"name": "Account", "fields": FIELDS})
        if asked.path == MORE:
            return second
        if "FROM Account" not in asked.query.get("q", ""):
            return as_json({"totalSize": 0, "done": True, "records": []})
        # a read that begins again behind its last record meets the same second page
        return second if " WHERE " in asked.query["q"] else page(1, MORE)

    found: list[str] = []
    with serving(answer) as served:
        options = {"instance_url": served.url, "client_id": "app", "client_secret": SECRET, "bulk": "never"}
        session = Session(retry=QUICK, timeout=15)
        with SalesforceConnector(options, session) as connector:
            started = time.monotonic()
            try:
                for one in connector.read("Account"):
                    found += one.batch["Id"].to_pylist()
            except ConnectorError as ended:
                return found, ended, served.asked
            finally:
                assert time.monotonic() - started < 60
    return found, None, served.asked


BAD: dict[str, tuple[Answer, type[ConnectorError]]] = {
    "a login page": ((200, HTML, b"<html><title>Log in</title><input type='password'></html>"), AuthError),
    "a maintenance page": ((200, HTML, b"<html><h1>Back soon</h1></html>"), ProtocolError),
    "truncated JSON": ((200, JSON, b'{"totalSize":4,"done":true,"records":[{"Id":"001'), ProtocolError),
    "a body shorter than it says": ((200, {**JSON, "Content-Length": "900"}, b'{"done":true}'), ProtocolError),
    "the wrong content type": ((200, {"Content-Type": "text/csv"}, b"Id;Name"), ProtocolError),
    "an empty body": ((200, JSON, b""), ProtocolError),
    "a list": (as_json([1]), ProtocolError),
    "no records": (as_json({"done": True}), ProtocolError),
    "records of something else": (as_json({"done": True, "totalSize": 4, "records": [1, 2]}), ProtocolError),
    "ten megabytes of nesting": ((200, JSON, b"[" * 5_000_000 + b"]" * 5_000_000), ProtocolError),
    "ten megabytes of empty arrays": ((200, JSON, b'{"records":[' + b"[]," * 3_300_000 + b"[]]}"), ProtocolError),
    "a field that disappears": (as_json({"done": True, "totalSize": 4, "records": [{"Id": "x"}]}), MissingObjectError),
    "a next page at another host": (page(3, "http://127.0.0.2:9/services"), ProtocolError),
    "pages in a circle": (page(3, MORE), ProtocolError),
    "a session that stays ended": (error(401, "INVALID_SESSION_ID"), AuthError),
    "an allow-list": (as_json([{"errorCode": "X", "message": "IP address is not allowed"}], 403), AccessError),
    "a spent quota": (error(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."), QuotaExhausted),
    "an object that went away": (error(400, "INVALID_TYPE"), MissingObjectError),
    "told to slow down": ((429, {**JSON, "Retry-After": "999999"}, b"[]"), ThrottledError),
    "an error of the server": (error(500, "UNKNOWN_EXCEPTION"), RetriableError),
    "a gateway's page": ((502, HTML, b"<html>Bad gateway</html>"), RetriableError),
}


@pytest.mark.parametrize("name", list(BAD))
def test_a_bad_second_page(name: str) -> None:
    answer, kind = BAD[name]
    found, ended, asked = read(answer)
    assert isinstance(ended, kind), ended
    assert found[:2] == [r["Id"] for r in records(1)], "what came before it was kept"
    assert len(found) == len(set(found)), "nothing twice"
    assert len(asked) < 30
    assert ended.remedy
    assert SECRET not in f"{ended!r} {ended}"


def test_a_page_that_repeats_the_first_is_read_behind() -> None:
    """A duplicate page is not counted: the read goes on behind the last record, and says that it had to."""
    found, ended, _ = read(page(1))
    assert found == [r["Id"] for r in records(1)]
    assert isinstance(ended, ProtocolError)
    assert "same page" in str(ended)


@pytest.mark.parametrize(
    "strange", [[], [1], "x", {}, {"records": [1], "totalSize": 1, "fields": [1], "sobjects": [1]}]
)
def test_json_of_another_form(strange: Any) -> None:
    """Every question of metadata, answered with JSON that means nothing: an error of ours, never a crash."""

    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("/oauth2/token"):
            return as_json({"access_token": "00D!token", "instance_url": served.url, "id": f"{served.url}/id/00D/005"})
        return as_json(strange)

    with serving(answer) as served:
        options = {"instance_url": served.url, "client_id": "app", "client_secret": SECRET}
        with SalesforceConnector(options, Session(retry=QUICK, timeout=15)) as connector:
            for ask in (
                connector.probe,
                connector.limits,
                connector.objects,
                lambda: connector.discover("Account"),
                lambda: connector.count("Account"),
                lambda: list(connector.read("Account")),
            ):
                with suppress(ConnectorError):
                    ask()
            with pytest.raises(ConnectorError):
                connector.discover("Account")
            with pytest.raises(ConnectorError):
                connector.count("Account")
