"""Services that keep the protocol in other ways than our stand-ins: nothing is lost, nothing twice, nothing guessed."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from json_kit import Answer, Asked, as_json, serving
from odata_kit import JSON, METADATA, QUICK, page, rows

from weighbridge.connectors.base import ObjectRef
from weighbridge.connectors.errors import ConnectorError, ProtocolError, RejectedError
from weighbridge.connectors.http import HttpClient, HttpOptions
from weighbridge.connectors.odata import ODataConnector
from weighbridge.connectors.odoo import OdooConnector
from weighbridge.connectors.rest import RestConnector
from weighbridge.connectors.session import Session

XML = {"Content-Type": "application/xml"}
V3 = METADATA.replace(b'Version="4.0"', b'Version="1.0"').replace(
    b"http://docs.oasis-open.org/odata/ns/edmx", b"http://schemas.microsoft.com/ado/2007/06/edmx"
)


def ids(connector: ODataConnector, **more: Any) -> list[int]:
    return [n for p in connector.read("Things", **more) for n in p.batch["Id"].to_pylist()]


@contextmanager
def odata(answer: Any, metadata: bytes = METADATA, **options: Any) -> Iterator[ODataConnector]:
    def route(asked: Asked) -> Answer:
        return (200, XML, metadata) if "$metadata" in asked.path else answer(asked)

    with serving(route) as served:
        given = {"url": f"{served.url}/svc/", "paging": "next_link", **options}
        with ODataConnector(given, Session(retry=QUICK, timeout=15)) as connector:
            yield connector


# --- OData ---------------------------------------------------------------------------------------------------------


def test_control_information_without_its_prefix() -> None:
    """4.01 lets a service write @nextLink and @count."""

    def answer(asked: Asked) -> Answer:
        if "$count" in asked.path:
            return as_json({}, 404)
        if "$count" in asked.query:
            return as_json({"@count": 5, "value": []})
        return as_json(
            {"value": rows(4, 2)} if "page" in asked.query else {"value": rows(1), "@nextLink": "Things?page=2"}
        )

    with odata(answer) as connector:
        assert ids(connector) == [1, 2, 3, 4, 5]
        assert connector.count("Things").value == 5


def test_version_three_in_its_light_form() -> None:
    def answer(asked: Asked) -> Answer:
        if "page" in asked.query:
            return as_json({"odata.metadata": "x", "value": rows(4, 2)})
        return as_json({"odata.metadata": "x", "value": rows(1), "odata.nextLink": "Things?page=2", "odata.count": "5"})

    with odata(answer, V3) as connector:
        assert ids(connector) == [1, 2, 3, 4, 5]


def test_a_service_that_knows_plain_json_only() -> None:
    asked_for: list[str] = []

    def answer(asked: Asked) -> Answer:
        accept = asked.headers.get("accept", "")
        asked_for.append(accept)
        return page(1) if accept == "application/json" else as_json({"error": {"message": "not acceptable"}}, 406)

    with odata(answer) as connector:
        assert ids(connector) == [1, 2, 3]
        assert ids(connector) == [1, 2, 3]
        assert len(asked_for) == 3, "it is tried the other way once"


@pytest.mark.parametrize("status", [400, 404, 405, 501])
@pytest.mark.parametrize("top", ["0", "1"])
def test_no_count_of_its_own(status: int, top: str) -> None:
    def answer(asked: Asked) -> Answer:
        if "$count" in asked.path:
            return as_json({"error": {"message": "no"}}, status)
        if asked.query.get("$top") != top:
            return as_json({"error": {"message": "$top"}}, 400) if top == "1" else as_json({"value": []})
        return as_json({"@odata.count": "7", "value": []})

    with odata(answer) as connector:
        assert connector.count("Things").value == 7


@pytest.mark.parametrize(
    "link",
    [
        "Things?$skiptoken=a%2Fb%26c%3D%27d%27%20e",
        "./Things?$skiptoken=a%2Fb%26c%3D%27d%27%20e",
        "/svc/Things?$skiptoken=a%2Fb%26c%3D%27d%27%20e",
        "?$skiptoken=a%2Fb%26c%3D%27d%27%20e",
    ],
)
def test_links_of_every_kind_are_followed_to_the_letter(link: str) -> None:
    seen: list[str] = []

    def answer(asked: Asked) -> Answer:
        if "$skiptoken" in asked.query:
            seen.append(asked.query["$skiptoken"])
            return page(4)
        return page(1, link)

    with odata(answer) as connector:
        assert ids(connector) == [1, 2, 3, 4, 5, 6]
    assert seen == ["a/b&c='d' e"]


def test_links_that_never_end_and_bring_nothing() -> None:
    def answer(asked: Asked) -> Answer:
        return as_json({"value": [], "@odata.nextLink": f"Things?page={int(asked.query.get('page', 1)) + 1}"})

    with odata(answer) as connector, pytest.raises(ProtocolError, match="without a row"):
        ids(connector)


@pytest.mark.parametrize("cap", [7, 50, 77])
def test_a_silent_cap_of_any_size(cap: int) -> None:
    """A server that sends so many rows whatever is asked, and no link."""

    def answer(asked: Asked) -> Answer:
        last = int(asked.query["$filter"].rpartition(" ")[2]) if "$filter" in asked.query else 0
        return page(last + 1, count=max(0, min(cap, 90 - last)))

    with odata(answer, paging="keyset") as connector:
        assert ids(connector) == list(range(1, 91))


def test_whole_numbers_as_texts_and_texts_as_numbers() -> None:
    """IEEE754Compatible makes numbers texts; a number where text was declared is no text."""

    def answer(asked: Asked) -> Answer:
        return as_json({"value": [{"Id": "1", "Name": "1.5"}, {"Id": 2, "Name": 1.5}]})

    with odata(answer) as connector:
        found = next(iter(connector.read("Things")))
    assert found.batch.to_pylist() == [{"Id": 1, "Name": "1.5"}, {"Id": 2, "Name": None}]
    assert [(m.row, m.column, m.raw) for m in found.misfits] == [(1, "Name", "1.5")]


# --- the wire ------------------------------------------------------------------------------------------------------


@contextmanager
def raw_server(*answers: bytes, close: bool) -> Iterator[str]:
    """Sends these bytes, one answer a request; closes after each where told."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        left = list(answers)
        with suppress(OSError):
            while left:
                connection, _ = listener.accept()
                with connection:
                    while left:
                        asked = b""
                        while b"\r\n\r\n" not in asked:
                            piece = connection.recv(65536)
                            if not piece:
                                break
                            asked += piece
                        if not asked:
                            break
                        connection.sendall(left.pop(0))
                        if close:
                            break

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()
        thread.join(5)


def got(url: str, times: int = 1) -> list[Any]:
    client = HttpClient(Session(retry=QUICK, timeout=10), url)
    try:
        return [client.request("GET", "x").json() for _ in range(times)]
    finally:
        client.close()


def test_an_http_1_0_server_that_hangs_up() -> None:
    old = b'HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{"a": 1}'
    with raw_server(old, old, old, close=True) as url:
        assert got(url, 3) == [{"a": 1}] * 3


def test_chunks_with_extensions_and_trailers() -> None:
    odd = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: Chunked\r\nTrailer: X-Sum\r\n\r\n"
        b'04;name="a;b"\r\n{"a"\r\n00000004;x\r\n: 1}\r\n000\r\nX-Sum: 7\r\n\r\n'
    )
    with raw_server(odd, odd, close=False) as url:
        assert got(url, 2) == [{"a": 1}] * 2


def test_hints_before_the_answer() -> None:
    """103 and 102 are no answers: taken for one, the real answer would be read as that of the next question."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    plain = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{"a": %d}'
    with raw_server(hints + plain % 1, hints + plain % 2, close=False) as url:
        assert got(url, 2) == [{"a": 1}, {"a": 2}]


def test_a_server_that_changes_the_protocol() -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n"
    with raw_server(switch, close=True) as url, pytest.raises(ProtocolError, match="another protocol"):
        got(url)


def test_more_bytes_than_were_asked_for() -> None:
    """A second answer to one question is never taken for the answer to the next."""
    plain = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{"a": %d}'
    with raw_server(plain % 1 + plain % 9, plain % 2, close=False) as url:
        assert got(url, 2) == [{"a": 1}, {"a": 2}]


def test_headers_that_come_twice() -> None:
    twice = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Type: application/json\r\n"
        b'Content-Length: 8\r\nContent-Length: 8\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n{"a": 1}'
    )
    with raw_server(twice, twice, close=False) as url:
        assert got(url, 2) == [{"a": 1}] * 2


@pytest.mark.parametrize(
    ("charset", "codec"),
    [("iso-8859-1", "latin-1"), ('"windows-1252"', "cp1252"), ("utf-16", "utf-16"), ("iso-8859-1", "utf-8")],
)
def test_json_in_another_charset(charset: str, codec: str) -> None:
    body = json.dumps({"name": "Zoë Müller"}, ensure_ascii=False).encode(codec)
    with serving(lambda _a: (200, {"Content-Type": f"application/json; charset={charset}"}, body)) as served:
        assert got(served.url) == [{"name": "Zoë Müller"}]


@pytest.mark.parametrize("kind", ["application/json; charset=x-unheard-of", "application/json"])
def test_json_in_no_charset_that_is_known(kind: str) -> None:
    with (
        serving(lambda _a: (200, {"Content-Type": kind}, b'{"name": "M\xfcller"}')) as served,
        pytest.raises(ProtocolError, match="not whole JSON"),
    ):
        got(served.url)


def test_an_answer_that_unpacks_to_a_thousand_times_its_size() -> None:
    bomb = gzip.compress(b"[" + b"0," * 10_000_000 + b"0]", 9)
    headers = {**JSON, "Content-Encoding": "gzip"}
    with serving(lambda _a: (200, headers, bomb)) as served:
        client = HttpClient(Session(retry=QUICK), served.url, options=HttpOptions(max_response_mb=1))
        with pytest.raises(ProtocolError, match="larger than the bound"):
            client.request("GET", "x")
        client.close()


# --- rest ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [404, 200])
def test_a_page_behind_the_last_that_is_not_there(end: int) -> None:
    def answer(asked: Asked) -> Answer:
        number = int(asked.query["page"])
        if number > 2:
            return as_json({"detail": "Invalid page."} if end == 404 else {"results": []}, end)
        return as_json({"results": rows(number * 2 - 1, 2)})

    with serving(answer) as served:
        things = {"path": "things", "rows": "results", "key": "Id", "paging": "page"}
        options = {"url": served.url, "objects": {"things": things, "none": things | {"first_page": 9}}}
        with RestConnector(options, Session(retry=QUICK)) as connector:
            found = [n for p in connector.read("things") for n in p.batch["Id"].to_pylist()]
            assert found == [1, 2, 3, 4]


@pytest.mark.parametrize("paging", ["page", "offset"])
def test_an_api_that_ignores_the_paging_parameter(paging: str) -> None:
    with serving(lambda _a: as_json({"results": rows(1)})) as served:
        things = {"path": "things", "rows": "results", "key": "Id", "paging": paging}
        options = {"url": served.url, "objects": {"things": things}}
        with RestConnector(options, Session(retry=QUICK)) as connector:
            with pytest.raises(ProtocolError, match="again and again"):
                connector.count("things")
            with pytest.raises(ProtocolError, match="again and again"):
                list(connector.read("things"))
        assert len(served.asked) < 10


def test_cursors_that_never_end_and_bring_nothing() -> None:
    def answer(asked: Asked) -> Answer:
        return as_json({"results": [], "next": str(int(asked.query.get("cursor", 1)) + 1)})

    with serving(answer) as served:
        things = {"path": "things", "rows": "results", "key": "Id", "paging": "cursor", "cursor": "next"}
        with (
            RestConnector({"url": served.url, "objects": {"things": things}}, Session(retry=QUICK)) as connector,
            pytest.raises(ProtocolError, match="without a row"),
        ):
            connector.count("things")


def test_look_ups_by_the_contracts_own_key() -> None:
    with serving(lambda _a: as_json({"a": 1})) as served:
        things = {"path": "things", "key": ["a", "b"], "lookup": "things/{a}/{b}"}
        with RestConnector({"url": served.url, "objects": {"things": things}}, Session(retry=QUICK)) as connector:
            connector.operations(ObjectRef("things", key=("b", "a")), [])["lookup"].call((2, 1))
            assert served.asked[-1].path == "/things/1/2"
            assert "lookup" not in connector.operations(ObjectRef("things", key=("c",)), [])
            with pytest.raises(RejectedError):
                connector.operations("things", [])["lookup"].call((1,))


# --- Odoo ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["8.0-20150101", "14.0+e-20210101", "saas~17.4+e", "19.0", "master", None])
def test_versions_of_every_spelling(version: str | None) -> None:
    def answer(asked: Asked) -> Answer:
        params = json.loads(asked.body)["params"]
        result: Any = 7
        if params["method"] == "version":
            result = {"server_version": version, "protocol_version": 1}
        elif params["service"] == "object":
            model, method = params["args"][3:5]
            result = {
                "fields_get": {"id": {"type": "integer"}, "name": {"type": "char", "store": True}},
                "search_read": [{"id": 1, "name": "x"}],
                "search_count": 1,
            }.get(method, [])
            if model == "res.users":
                result = [{"id": 7, "login": "u", "company_ids": [1]}]
        return as_json({"jsonrpc": "2.0", "id": 1, "result": result})

    options = {"database": "d", "username": "u", "password": "secret-word"}
    with serving(answer) as served, OdooConnector({"url": served.url, **options}, Session(retry=QUICK)) as connector:
        assert connector.probe().version == version
        assert [p.batch.num_rows for p in connector.read("res.partner")] == [1]


@pytest.mark.parametrize(
    "strange", [[], [1], "x", {}, {"id": 1}, [{"id": "x"}], 7, None, True, {"id": {"type": 5}}, [[1]]]
)
def test_results_of_another_form(strange: Any) -> None:
    """Every question, answered with JSON that means nothing: an error of ours, never a crash."""

    def answer(asked: Asked) -> Answer:
        params = json.loads(asked.body)["params"]
        plain = {"login": 7, "version": {"server_version": "17.0"}}
        return as_json({"result": plain.get(params["method"], strange)})

    options = {"database": "d", "username": "u", "password": "secret-word"}
    with serving(answer) as served, OdooConnector({"url": served.url, **options}, Session(retry=QUICK)) as connector:
        for ask in (
            connector.probe,
            connector.objects,
            lambda: connector.discover("res.partner"),
            lambda: connector.count("res.partner"),
            lambda: list(connector.read("res.partner")),
            lambda: [o.call((1,)) for o in connector.operations("res.partner", [(1,)]).values()],
        ):
            with suppress(ConnectorError):
                ask()
