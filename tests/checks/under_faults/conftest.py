"""A small paged HTTP system on a real socket, an honest connector to it, and ways to make both dishonest."""

from __future__ import annotations

import http.client
import http.server
import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from select import select
from types import MappingProxyType, SimpleNamespace
from urllib.parse import parse_qs, urlencode, urlsplit

import pyarrow as pa
import pytest

from weighbridge.checks.base import Context, Permissions
from weighbridge.connectors import errors
from weighbridge.connectors.base import (
    Column,
    Connector,
    ConnectorOptions,
    Count,
    Page,
    Probe,
    TableSchema,
    WriteOutcome,
)
from weighbridge.connectors.session import Endpoint, Retry, Session
from weighbridge.contracts.models import Contract, IntegrationPoint, Property, SchemaObject, Server
from weighbridge.contracts.scale import Scale
from weighbridge.landing import land
from weighbridge.sandbox.faults import FaultProxy
from weighbridge.sandbox.faults.authority import Authority

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("name", pa.string()),
        ("note", pa.string()),
        ("changed", pa.timestamp("us", tz="UTC")),
    ]
)
TOKEN = "good-word-4711"
START = datetime(2026, 3, 29, 0, 30, tzinfo=UTC).timestamp()  # the hour of a daylight-saving change in Europe
PAGE = 40


class ShopHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer: Nagle and delayed acknowledgement would cost 40 ms each
    disable_nagle_algorithm = True

    def do_GET(self):
        shop = self.server.shop
        url = urlsplit(self.path)
        asked = {k: v[0] for k, v in parse_qs(url.query).items()}
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": {"code": "INVALID_SESSION_ID"}})
        with shop.lock:
            if shop.on_get is not None:
                shop.on_get(shop, asked)
            if url.path == "/count":
                return self.answer(200, {"count": len(shop.rows) + shop.count_off})
            rows = [shop.rows[k] for k in sorted(shop.rows)]
            if url.path == "/find":
                wanted = asked["values"].split("|")
                return self.answer(200, {"rows": [r for r in rows if str(r[asked["column"]]) in wanted]})
            if "since" in asked:
                since = datetime.fromisoformat(asked["since"]).timestamp()
                rows = [r for r in rows if r["changed"] is not None and r["changed"] >= since]
            size = min(int(asked.get("size", PAGE)), PAGE)
            if "offset" in asked:
                at = int(asked["offset"])
                page, more = rows[at : at + size], len(rows) > at + size
                following = str(at + size)
            else:
                rest = [r for r in rows if r["id"] > int(asked.get("after", 0))]
                page, more = rest[:size], len(rest) > size
                following = str(page[-1]["id"]) if page else None
            body = {"rows": page, "next": following if more else None}
        return self.answer(200, body)

    def do_POST(self):
        shop = self.server.shop
        record = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        once = self.headers.get("Idempotency-Key")
        with shop.lock:
            if once in shop.done:
                return self.answer(201, shop.done[once])
            key = self.headers.get("X-Upsert")
            found = [r for r in shop.rows.values() if key and r[key] == record[key]]
            number = found[0]["id"] if found else max(shop.rows, default=0) + 1
            shop.rows[number] = {"id": number, "note": "", "changed": START, **record}
            shop.writes.append(record)
            if once is not None:
                shop.done[once] = {"id": number, "created": not found}
        return self.answer(201, {"id": number, "created": not found})

    def do_DELETE(self):
        shop = self.server.shop
        with shop.lock:
            shop.rows.pop(int(self.path.rsplit("/", 1)[1]), None)
        return self.answer(200, {})

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class ShopServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


@dataclass
class Shop:
    rows: dict
    lock: threading.Lock = field(default_factory=threading.Lock)
    on_get: object = None
    count_off: int = 0
    writes: list = field(default_factory=list)
    done: dict = field(default_factory=dict)
    """Answers by idempotency key."""
    port: int = 0
    scheme: str = "http"
    ca_file: str | None = None

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}"


class ShopOptions(ConnectorOptions):
    url: str
    token: str = TOKEN
    ca_file: str | None = None


class ShopConnector(Connector):
    """Does everything as it should; the broken ones below change one thing each."""

    kind = "shop"
    options_model = ShopOptions
    style = "keyset"
    tells_deletes = True

    def open(self) -> None:
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        if getattr(self, "_connection", None) is not None:
            self._connection.close()
            self._connection = None

    def fork(self, session: Session):
        twin = type(self)(self.options, session)
        twin.open()
        return twin

    def endpoints(self):
        url = urlsplit(self.options.url)
        return (Endpoint(url.hostname, url.port, tls=url.scheme == "https"),)

    def probe(self) -> Probe:
        return Probe("shop", "1", "me", 0.0)

    def limits(self):
        return ()

    def discover(self, object: str) -> TableSchema:
        columns = tuple(Column(f.name, f.type, f.name != "id", str(f.type)) for f in SCHEMA)
        return TableSchema(columns, ("id",))

    def count(self, object: str) -> Count:
        return Count(self.get("/count", {})["count"], True)

    def read(self, object, *, columns=None, after=None, page_rows=None) -> Iterator[Page]:
        asked = {"size": page_rows or PAGE}
        word = "after" if self.style == "keyset" else "offset"
        place = after or "0"
        while True:
            answer = self.get("/rows", {**asked, word: place})
            yield self.page(answer["rows"], columns, answer["next"])
            place = answer["next"]
            if place is None:
                return

    def page(self, rows, columns, cursor) -> Page:
        values = [dict(r, changed=r["changed"] and datetime.fromtimestamp(r["changed"], UTC)) for r in rows]
        batch = pa.RecordBatch.from_pylist(values, schema=SCHEMA)
        if columns:
            batch = batch.select(list(columns))
        return Page(batch, tuple(k for k in ("id",) if not columns or k in columns), 0.0, 1, cursor=cursor)

    # incremental

    def watermark(self, object: str) -> str | None:
        return "changed"

    def changes(self, object, since, *, columns=None):
        place = "0"
        while place is not None:
            answer = self.get("/rows", {"after": place, "since": since})
            yield self.page(answer["rows"], columns, None)
            place = answer["next"]

    # writing

    def write(self, object, records, *, key=None) -> Sequence[WriteOutcome]:
        self.session.require_writes("a write")
        outcomes = []
        for record in records:
            headers = {"X-Upsert": key} if key else {}
            body = self.call("POST", "/rows", body=dict(record), headers=headers, idempotent=key is not None)
            outcomes.append(WriteOutcome(True, body["id"], body["created"]))
        return outcomes

    def find(self, object, column, values) -> Sequence[Mapping]:
        return self.get("/find", {"column": column, "values": "|".join(str(v) for v in values)})["rows"]

    def delete(self, object, records) -> Sequence[WriteOutcome]:
        self.session.require_writes("a delete")
        for record in records:
            self.call("DELETE", f"/rows/{record['id']}", idempotent=True)
        return [WriteOutcome(True, record["id"]) for record in records]

    # the wire

    def get(self, path, asked):
        return self.call("GET", f"{path}?{urlencode(asked)}" if asked else path)

    def call(self, method, path, *, body=None, headers=None, idempotent=True):
        return self.session.run(
            lambda: self.once(method, path, body, headers or {}), operation=method, idempotent=idempotent
        )

    def once(self, method, path, body, headers):
        if self._connection is not None and self._connection.sock and select([self._connection.sock], [], [], 0)[0]:
            self.drop()  # something came that nobody asked for: this connection is out of step, or closed
        if self._connection is None:
            self._connection = self.dial()
        wire = None if body is None else json.dumps(body).encode()
        try:
            self._connection.request(method, path, wire, {"Authorization": "Bearer " + self.options.token, **headers})
            response = self._connection.getresponse()
            data = self.body(response)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.drop()
            raise errors.UnreachableError(f"{method} {path}: {type(error).__name__}") from None
        return self.judged(response, data)

    def body(self, response):
        """The whole body, within a time of its own: each read's timeout alone would let it drip for ever."""
        until, data = time.monotonic() + 4 * self.session.timeout, b""
        while piece := response.read1(65_536):
            data += piece
            if time.monotonic() > until:
                raise TimeoutError
        if (response.length or 0) > 0:
            raise http.client.IncompleteRead(data, response.length)
        response.read()  # nothing is left: this says so to the connection
        return data

    def dial(self):
        where = self.session.route(self.endpoints()[0])
        if where.tls:
            return trusting(self, self.options.ca_file)
        return http.client.HTTPConnection(where.host, where.port, timeout=self.session.timeout)

    def drop(self):
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def judged(self, response, data):
        status = response.status
        if response.getheader("Connection", "").lower() == "close":
            self.drop()
        if status >= 400 or 300 <= status < 400:
            self.refused(status, response.getheader("Retry-After"), data)
        if "json" not in response.getheader("Content-Type", ""):
            self.drop()
            raise errors.ProtocolError(f"{response.getheader('Content-Type')} instead of JSON")
        try:
            return json.loads(data)
        except ValueError:
            self.drop()
            raise errors.RetriableError("the answer is no JSON") from None

    def refused(self, status, retry_after, data):
        wait = float(retry_after) if retry_after and retry_after.isdigit() else None
        if status == 401:
            raise errors.AuthError("401")
        if status == 403:
            raise errors.QuotaExhausted("403") if b"LIMIT" in data else errors.AccessError("403")
        if status in (429, 503):
            raise errors.ThrottledError(str(status), retry_after=wait)
        if status >= 500 or status == 408:
            raise errors.RetriableError(str(status), retry_after=wait)
        if 300 <= status < 400:
            raise errors.ProtocolError(f"redirected ({status})")
        raise errors.RejectedError(str(status))


def trusting(connector, ca_file):
    """A TLS connection to where the connector's session routes it."""
    where = connector.session.route(connector.endpoints()[0])
    context = ssl.create_default_context(cafile=ca_file)
    return http.client.HTTPSConnection(where.host, where.port, timeout=connector.session.timeout, context=context)


def made_rows(count):
    return {
        n: {"id": n, "name": f"name {n}", "note": f"note ü {n}", "changed": START + (n // 7) * 600}
        for n in range(1, count + 1)
    }


@pytest.fixture
def shop(shop_server):
    return shop_server.shop


@pytest.fixture
def shop_server():
    server = ShopServer(("127.0.0.1", 0), ShopHandler)
    server.shop = Shop(made_rows(130), port=server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def tls_shop(shop_server, tmp_path):
    """The same shop behind TLS, with a certificate of an authority of its own."""
    authority = Authority(tmp_path)
    shop_server.socket = authority.server_context("127.0.0.1").wrap_socket(
        shop_server.socket, server_side=True, do_handshake_on_connect=False
    )
    shop = shop_server.shop
    shop.scheme, shop.ca_file = "https", str(authority.ca_file)
    return shop


def prop(name, logical="string", **changes):
    values = {
        "name": name,
        "physical_name": name,
        "logical_type": logical,
        "physical_type": None,
        "options": {},
        "required": False,
        "unique": False,
        "primary_key": False,
        "primary_key_position": -1,
        "classification": None,
        "critical": False,
        "quality": (),
        "relationships": (),
        "properties": (),
        "items": None,
        "custom": {},
        "line": 1,
    }
    return Property(**{**values, **changes})


def made_point(custom=None):
    properties = (
        prop("id", "integer", primary_key=True, primary_key_position=1),
        prop("name", required=True, unique=True),
        prop("note"),
        prop("changed", "timestamp"),
    )
    thing = SchemaObject("Things", None, "things", properties, (), (), MappingProxyType(custom or {}), 1)
    contract = Contract(
        Path("shop.odcs.yaml"),
        "shop",
        "1.0.0",
        "v3.1.0",
        None,
        None,
        (thing,),
        (Server("shop", "custom", None, 1),),
        (),
        {},
        "UTC",
        None,
        {},
    )
    return IntegrationPoint("shop", thing, contract, Scale(), ())


class Seen:
    """Evidence read from the shop by a connector, each item once."""

    def __init__(self, connector, folder):
        self.connector = connector
        self.folder = folder

    def take(self, *, before=None, after=None):
        self.probe = self.connector.probe()
        self.schema = self.connector.discover("things")
        self.count_before = before or self.connector.count("things")
        names = [c.name for c in self.schema.columns]
        path = self.folder / "landing.duckdb"
        self.landing = land(
            self.connector, "things", path, schema=self.schema, columns=names, keys=list(self.schema.keys)
        )
        self.count_after = after or self.connector.count("things")
        return self


@pytest.fixture
def bench(shop, tmp_path):
    """`bench(kind)`: everything a check is called with, for one connector class."""
    open_connectors = []

    def make(kind=ShopConnector, *, custom=None, writes=False, settings=None, seen=True, take=None):
        session = Session(system="shop", retry=Retry(attempts=3, base=0.01, cap=0.05, deadline=5), timeout=3)
        connector = kind({"url": shop.url, "ca_file": shop.ca_file}, session)
        connector.open()
        open_connectors.append(connector)
        evidence = Seen(connector, tmp_path)
        if seen:
            evidence.take(**(take or {}))
        context = Context(
            permissions=Permissions("sandbox", 500, 128, writes),
            connector=lambda session=None: connector if session is None else connector.fork(session),
            session=session.fork(writes_allowed=writes),
            now=lambda: datetime.now(UTC),
            seed=7,
            faults=FaultProxy(seed=7),
            settings=settings or {},
            folder=tmp_path,
        )
        return SimpleNamespace(
            point=made_point(custom), evidence=evidence, context=context, connector=connector, shop=shop
        )

    yield make
    for connector in open_connectors:
        connector.close()


@pytest.fixture
def ask():
    """`ask(check, bench)`: the results of a check, with every code checked against those it declares."""

    def run(check, made):
        results = list(check(made.point, made.evidence, made.context))
        declared = {code.name for code in check.codes}
        assert {r.code for r in results if hasattr(r, "code")} <= declared
        return results

    return run


@pytest.fixture
def kinds():
    """The classes that tests derive from."""
    return SimpleNamespace(
        ShopConnector=ShopConnector,
        trusting=trusting,
        errors=errors,
        Retry=Retry,
        PAGE=PAGE,
        START=START,
        clock=time,
        Count=Count,
    )
