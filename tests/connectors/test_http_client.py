"""The HTTP seam against servers that misbehave on purpose: each ends in its class, in bounded time and memory."""

from __future__ import annotations

import datetime as dt
import gzip
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from weighbridge.connectors.errors import (
    AccessError,
    AuthError,
    ConnectorError,
    MissingObjectError,
    ProtocolError,
    QuotaExhausted,
    RejectedError,
    RetriableError,
    SettingsError,
    ThrottledError,
    UnreachableError,
)
from weighbridge.connectors.http import Answer, HttpClient, HttpOptions, parse_retry_after
from weighbridge.connectors.session import NO_RETRY, Endpoint, Retry, Session

Play = Callable[[socket.socket, bytes], None]


def answer(body: bytes | str = b"{}", *, status: str = "200 OK", kind: str = "application/json", **more: str) -> bytes:
    raw = body.encode() if isinstance(body, str) else body
    headers = {"Content-Type": kind, "Content-Length": str(len(raw))}
    headers |= {k.replace("_", "-"): v for k, v in more.items()}
    head = f"HTTP/1.1 {status}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
    return head.encode() + raw


class Raw:
    """A server whose answers are bytes or functions, by path; it keeps what it was sent."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.plays: dict[str, bytes | list[bytes] | Play] = {}
        self.requests: list[bytes] = []
        self.context = context
        self.names: list[str | None] = []
        self.ended = threading.Event()
        if context is not None:
            context.sni_callback = lambda _sock, name, _ctx: self.names.append(name)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(30)
        with suppress(OSError, ssl.SSLError):
            if self.context is not None:
                sock = self.context.wrap_socket(sock, server_side=True)
            with sock:
                while asked := self._read(sock):
                    self.requests.append(asked)
                    path = asked.split(b" ", 2)[1].decode().split("?")[0]
                    play = self.plays.get(path, answer())
                    if isinstance(play, list):
                        play = play.pop(0) if len(play) > 1 else play[0]
                    if callable(play):
                        play(sock, asked)
                        return
                    sock.sendall(play)

    def _read(self, sock: socket.socket) -> bytes:
        got = b""
        while b"\r\n\r\n" not in got:
            more = sock.recv(65536)
            if not more:
                return b""
            if more[0] == 0x16 and self.context is None:  # a TLS greeting: answered as plain servers do
                sock.sendall(answer("", status="400 Bad Request"))
                return b""
            got += more
        head, _, body = got.partition(b"\r\n\r\n")
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                while len(body) < int(line.split(b":")[1]):
                    body += sock.recv(65536)
        return head + b"\r\n\r\n" + body

    def close(self) -> None:
        self.ended.set()
        self.listener.close()


@pytest.fixture
def server() -> Iterator[Raw]:
    made = Raw()
    yield made
    made.close()


def client(server: Raw | str, session: Session | None = None, **options: Any) -> HttpClient:
    options.setdefault("timeout", 5)
    url = server if isinstance(server, str) else server.url
    return HttpClient(session or Session(retry=NO_RETRY), url, options=HttpOptions(**options))


QUICK = Retry(attempts=3, base=0.01, cap=0.02, deadline=5)


# --- what a good answer is ---------------------------------------------------------------------------------------


def test_a_plain_call(server: Raw) -> None:
    server.plays["/a/b"] = answer('{"x": [1, 2.5, null]}')
    session = Session(retry=NO_RETRY)
    with_auth = HttpClient(session, server.url + "/a", auth=lambda h: h.__setitem__("Authorization", "Bearer t0ken"))
    got = with_auth.request("GET", "b", params={"q": "x = 'ü'", "skip": None}, operation="look")
    assert got.json() == {"x": [1, 2.5, None]}
    assert got.status == 200
    sent = server.requests[0]
    assert sent.startswith(b"GET /a/b?q=x+%3D+%27%C3%BC%27 HTTP/1.1\r\n")
    assert b"Authorization: Bearer t0ken" in sent
    assert session.meter.bytes_sent == len(sent)
    assert session.meter.bytes_received == len(answer('{"x": [1, 2.5, null]}'))
    assert [(a.operation, a.outcome) for a in session.meter.recent] == [("look", "ok")]


def test_bodies(server: Raw) -> None:
    c = client(server)
    c.request("POST", "x", json={"a": "ü"})
    c.request("POST", "x", data={"a": "1 2", "b": None})
    c.request("POST", "x", data=b"raw", headers={"Content-Type": "text/plain"})
    c.request("POST", "x")
    bodies = [r.partition(b"\r\n\r\n")[2] for r in server.requests]
    assert bodies == [b'{"a": "\\u00fc"}', b"a=1+2", b"raw", b""]
    assert b"Content-Length: 0" in server.requests[3]


def test_one_connection_is_kept_and_forks_have_their_own(server: Raw) -> None:
    connections: set[int] = set()

    def note(sock: socket.socket, _asked: bytes) -> None:
        connections.add(sock.getpeername()[1])
        sock.sendall(answer())
        while more := sock.recv(65536):
            connections.add(sock.getpeername()[1])
            sock.sendall(answer() if more else b"")

    server.plays["/x"] = note
    c = client(server)
    for _ in range(3):
        c.request("GET", "x")
    assert len(connections) == 1
    fork = c.fork(Session(retry=NO_RETRY))
    fork.request("GET", "x")
    assert len(connections) == 2
    assert (c.sends, fork.sends) == (3, 1)


def test_the_route_is_dialled_and_the_host_stays(server: Raw) -> None:
    session = Session(retry=NO_RETRY, route=lambda _: Endpoint("127.0.0.1", server.port))
    HttpClient(session, "http://localhost:9").request("GET", "x")
    assert b"Host: localhost:9\r\n" in server.requests[0]


# --- no answer ---------------------------------------------------------------------------------------------------


def fails(c: HttpClient, path: str = "x", method: str = "GET", **more: Any) -> ConnectorError:
    with pytest.raises(ConnectorError) as caught:
        c.request(method, path, **more)
    return caught.value


def test_an_unknown_name() -> None:
    session = Session(retry=Retry(attempts=5, base=5))
    started = time.monotonic()
    error = fails(HttpClient(session, "https://nosuch.invalid"))
    assert isinstance(error, UnreachableError)
    assert "DNS" in error.message
    assert "VPN" in error.remedy
    assert error.retry_after is None
    assert session.meter.attempts == 1 or time.monotonic() - started < 60  # a resolver that is down is asked again


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = fails(client(f"http://127.0.0.1:{unused.getsockname()[1]}"))
    assert isinstance(error, UnreachableError)
    assert "refused" in error.message


def test_a_name_that_answers_and_a_port_that_hangs() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(3):  # fill the queue: further connections get no answer at all
            one = socket.socket()
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect(full.getsockname())
            waiting.append(one)
        error = fails(client(f"http://127.0.0.1:{full.getsockname()[1]}", timeout=0.5))
        for one in waiting:
            one.close()
    assert isinstance(error, UnreachableError)
    assert "connect timeout" in error.message
    assert "VPN" in error.remedy


def silent(sock: socket.socket, _asked: bytes) -> None:
    with suppress(OSError):
        sock.recv(1)


def drip(first: bytes, piece: bytes) -> Play:
    def play(sock: socket.socket, _asked: bytes) -> None:
        with suppress(OSError):
            sock.sendall(first)
            while True:
                sock.sendall(piece)
                time.sleep(0.05)

    return play


def reset(sock: socket.socket, _asked: bytes) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    sock.close()


@pytest.mark.parametrize(
    ("play", "said"),
    [
        (silent, "read timeout"),
        (drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"), "far too slowly"),
        (drip(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"), "far too slowly"),
        (drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"), "far too slowly"),
        (reset, "closed without an answer"),
        (lambda sock, _: sock.close(), "closed without an answer"),
    ],
    ids=["silent", "dripping-body", "dripping-head", "dripping-chunks", "reset", "closed"],
)
def test_no_whole_answer(server: Raw, play: Play, said: str) -> None:
    server.plays["/x"] = play
    started = time.monotonic()
    error = fails(client(server, timeout=0.4, answer_timeout=0.9))
    assert time.monotonic() - started < 4
    assert isinstance(error, UnreachableError)
    assert said in error.message


# --- broken answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("play", "said"),
    [
        (answer('{"a": [1, 2'), "not whole JSON"),
        (lambda s, _: s.sendall(answer(b'{"a": 1}')[:-4]), "cut off"),
        (lambda s, _: s.sendall(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a"'), "cut off"),
        (lambda s, _: s.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"), ""),
        (lambda s, _: s.sendall(b"SSH-2.0-OpenSSH_9.6\r\n"), ""),
        (answer("{}", kind="text/plain"), "content type 'text/plain'"),
        (answer("<html><body>Maintenance tonight</body></html>", kind="text/html"), "HTML page instead of JSON"),
        (answer("", kind="application/json"), "empty"),
        (answer('{"a": NaN}'), "not whole JSON"),
        (answer(b"\xff\xfe{", kind="application/json"), "not whole JSON"),
        (answer(b"not gzip", Content_Encoding="gzip"), "compression"),
    ],
    ids=["json", "length", "chunk", "chunk-size", "no-http", "type", "html", "empty", "nan", "bytes", "gzip"],
)
def test_an_answer_that_is_none_is_asked_again_and_then_a_protocol_error(server: Raw, play: Any, said: str) -> None:
    server.plays["/x"] = play
    session = Session(retry=QUICK)
    error = fails(client(server, session))
    assert isinstance(error, ProtocolError | UnreachableError)
    assert said in error.message
    assert session.meter.attempts == 3
    server.plays["/y"] = [play, answer('{"a": 1}')] if isinstance(play, bytes) else answer('{"a": 1}')
    assert client(server, Session(retry=QUICK)).request("GET", "y").json() == {"a": 1}


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("<html><title>Sign in</title><form><input type='password'></form></html>", "login page"),
        ("<html>Enter the verification code of your authenticator app</html>", "second factor (MFA)"),
        ("<html><body onload='document.forms[0].submit()'><input name=SAMLRequest></body></html>", "login page"),
    ],
)
def test_a_sign_in_page_with_status_200(server: Raw, page: str, said: str) -> None:
    server.plays["/x"] = answer(page, kind="text/html; charset=utf-8")
    session = Session(retry=QUICK)
    error = fails(client(server, session))
    assert isinstance(error, AuthError)
    assert said in error.message
    assert "interactively" in error.remedy
    assert session.meter.attempts == 1


def test_deep_nesting_is_not_followed(server: Raw) -> None:
    server.plays["/x"] = answer(b"[" * 10_000_000)
    started = time.monotonic()
    error = fails(client(server))
    assert isinstance(error, ProtocolError)
    assert "arrays" in error.message
    assert time.monotonic() - started < 10
    server.plays["/z"] = answer(b"[" * 900_000)
    assert "nested" in fails(client(server), "z").message
    server.plays["/y"] = answer(b'{"a":' * 50_000 + b"1" + b"}" * 50_000)
    assert "nested" in fails(client(server), "y").message


def test_ten_megabytes_of_small_arrays(server: Raw) -> None:
    server.plays["/x"] = answer(b"[" + b"[]," * 3_300_000 + b"1]")
    error = fails(client(server))
    assert isinstance(error, ProtocolError)
    assert "arrays and objects" in error.message


def test_an_answer_beyond_the_size_bound(server: Raw) -> None:
    big = b'"' + b"x" * 3_000_000 + b'"'
    server.plays["/declared"] = answer(big)
    server.plays["/streamed"] = lambda s, _: s.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + big
    )
    server.plays["/bomb"] = answer(gzip.compress(b" " * 50_000_000), Content_Encoding="gzip")
    for path in ("declared", "streamed", "bomb"):
        error = fails(client(server, max_response_mb=1), path)
        assert isinstance(error, ProtocolError), path
        assert "larger than the bound" in error.message
    fine = gzip.compress(b'{"a": 1}')
    server.plays["/fine"] = answer(fine, Content_Encoding="gzip")
    assert client(server, max_response_mb=1).request("GET", "fine").json() == {"a": 1}


# --- redirects and other hosts -----------------------------------------------------------------------------------


def test_credentials_do_not_follow_to_another_host(server: Raw) -> None:
    other = Raw()
    c = HttpClient(Session(retry=NO_RETRY), server.url, auth=lambda h: h.__setitem__("Authorization", "secret"))
    error = fails(c, f"{other.url}/next")
    assert isinstance(error, ProtocolError)
    assert "another host" in error.message
    server.plays["/moved"] = answer("", status="302 Found", Location=f"{other.url}/there")
    error = fails(c, "moved")
    assert isinstance(error, ProtocolError)
    assert "credentials do not follow" in error.message
    assert other.requests == []
    c.allow(other.url)
    c.request("GET", f"{other.url}/next")
    assert b"secret" not in other.requests[0], "an allowed host gets no credentials of ours"
    other.close()


def test_redirects_within_the_host(server: Raw) -> None:
    server.plays["/a"] = answer("", status="307 Temporary Redirect", Location="/b?x=1")
    server.plays["/b"] = answer('{"b": 1}')
    server.plays["/loop"] = answer("", status="302 Found", Location="/loop")
    assert client(server).request("GET", "a").json() == {"b": 1}
    assert "redirects" in fails(client(server), "loop").message
    assert isinstance(fails(client(server), "a", method="POST"), ProtocolError)


@pytest.mark.parametrize("where", ["https://sso.example.com/adfs/ls", "/login?next=/x", "https://x.okta.com/app"])
def test_sent_on_to_a_sign_in(server: Raw, where: str) -> None:
    server.plays["/x"] = answer("", status="302 Found", Location=where)
    error = fails(client(server))
    assert isinstance(error, AuthError)
    assert "SSO" in error.message


def test_http_in_the_clear_is_refused_unless_declared() -> None:
    with pytest.raises(SettingsError, match="in the clear"):
        client("http://erp.example.com")
    assert client("http://erp.example.com", allow_http=True).endpoint == Endpoint("erp.example.com", 80)
    for wrong in ("ftp://x", "erp.example.com", "http://"):
        with pytest.raises(SettingsError):
            client(wrong)


# --- statuses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "sent"),
    [
        ("400 Bad Request", RejectedError, 1),
        ("401 Unauthorized", AuthError, 1),
        ("403 Forbidden", AccessError, 1),
        ("404 Not Found", MissingObjectError, 1),
        ("405 Method Not Allowed", ProtocolError, 1),
        ("407 Proxy Authentication Required", UnreachableError, 1),
        ("408 Request Timeout", RetriableError, 3),
        ("409 Conflict", RejectedError, 1),
        ("422 Unprocessable Entity", RejectedError, 1),
        ("429 Too Many Requests", ThrottledError, 3),
        ("500 Internal Server Error", RetriableError, 3),
        ("501 Not Implemented", ProtocolError, 1),
        ("502 Bad Gateway", RetriableError, 3),
        ("503 Service Unavailable", ThrottledError, 3),
        ("504 Gateway Timeout", RetriableError, 3),
        ("522 Origin Timeout", RetriableError, 3),
    ],
)
def test_statuses(server: Raw, status: str, kind: type[ConnectorError], sent: int) -> None:
    server.plays["/x"] = answer('{"error": "said so"}', status=status)
    session = Session(retry=QUICK)
    error = fails(client(server, session), params={"key": "canary"})
    assert type(error) is kind
    assert session.meter.attempts == sent
    assert "canary" not in str(error), "a query string may hold values"
    assert error.remedy


def test_a_write_is_never_sent_twice(server: Raw) -> None:
    server.plays["/x"] = answer("{}", status="503 Service Unavailable")
    server.plays["/y"] = answer("{}", status="500 Internal Server Error")
    session = Session(retry=QUICK)
    c = client(server, session)
    assert isinstance(fails(c, "x", method="POST", json={}), ThrottledError)
    assert isinstance(fails(c, "y", method="POST", json={}), ProtocolError)
    assert session.meter.attempts == 2
    assert isinstance(fails(c, "x", method="POST", json={}, idempotent=True), ThrottledError)
    assert session.meter.attempts == 5


def test_passing_trouble_passes(server: Raw) -> None:
    server.plays["/x"] = [answer("{}", status="503 Service Unavailable"), answer('{"ok": true}')]
    session = Session(retry=QUICK)
    assert client(server, session).request("GET", "x").json() == {"ok": True}
    assert (session.meter.attempts, session.meter.retries) == (2, 1)


def test_the_address_is_not_on_the_allow_list(server: Raw) -> None:
    server.plays["/x"] = answer(
        "<h1>Access denied: your IP address 1.2.3.4</h1>", status="403 Forbidden", kind="text/html"
    )
    error = fails(client(server))
    assert isinstance(error, AccessError)
    assert "address" in error.message
    assert "allow-list" in error.remedy


def test_windows_sign_in_is_named(server: Raw) -> None:
    server.plays["/x"] = answer("", status="401 Unauthorized", WWW_Authenticate="Negotiate")
    assert "Windows sign-in" in fails(client(server)).message


IN_AN_HOUR = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(hours=1), usegmt=True)


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("3", 3, 3), (" 2.5 ", 2.5, 2.5), pytest.param(IN_AN_HOUR, 1200, 3600, id="in-an-hour"),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("-5", 0, 0), ("999999999999", 86400, 86400), ("1e400", 86400, 86400),
    ],
)  # fmt: skip
def test_retry_after(header: str, low: float, high: float) -> None:
    seconds = parse_retry_after(header)
    assert seconds is not None
    assert low <= seconds <= high


@pytest.mark.parametrize("header", [None, "", "soon", "nan", "Wed, 99 Foo", "12 apples"])
def test_retry_after_that_says_nothing(header: str | None) -> None:
    assert parse_retry_after(header) is None


@pytest.mark.parametrize("header", ["0", "1", None, "99999999", pytest.param(IN_AN_HOUR, id="in-an-hour"), "rubbish"])
def test_retry_after_is_kept_within_the_deadline(server: Raw, header: str | None) -> None:
    more = {} if header is None else {"Retry_After": header}
    server.plays["/x"] = [answer("{}", status="429 Too Many Requests", **more), answer('{"ok": 1}')]
    slept: list[float] = []
    session = Session(retry=QUICK, sleep=slept.append)
    c = client(server, session)
    if header in ("99999999", IN_AN_HOUR):
        error = fails(c)
        assert isinstance(error, ThrottledError)
        assert slept == [], "it is not waited for: the deadline would pass"
    else:
        assert c.request("GET", "x").json() == {"ok": 1}
        assert len(slept) == 1
        assert slept[0] >= float(header or 0) if header in ("0", "1") else slept[0] < 1


# --- hooks -------------------------------------------------------------------------------------------------------


def test_a_login_is_renewed_once(server: Raw) -> None:
    tokens = ["old", "new"]
    server.plays["/x"] = [answer("{}", status="401 Unauthorized"), answer('{"ok": 1}')]
    c = HttpClient(
        Session(retry=NO_RETRY), server.url,
        auth=lambda h: h.__setitem__("Authorization", tokens[0]), renew=lambda _failed: tokens.reverse(),
    )  # fmt: skip
    assert c.request("POST", "x", json={"a": 1}).json() == {"ok": 1}
    assert [b"Authorization: new" in r for r in server.requests] == [False, True]
    server.plays["/y"] = answer("{}", status="401 Unauthorized")
    before = len(server.requests)
    assert isinstance(fails(c, "y"), AuthError)
    assert len(server.requests) == before + 2, "a 401 that stays is no loop"


def test_classify_speaks_first_and_a_quota_is_not_retried(server: Raw) -> None:
    def classify(got: Answer) -> ConnectorError | None:
        return QuotaExhausted("spent", resets="midnight") if got.status == 403 else None

    server.plays["/x"] = answer("{}", status="403 Forbidden")
    session = Session(retry=QUICK)
    c = HttpClient(session, server.url, classify=classify)
    assert isinstance(fails(c), QuotaExhausted)
    assert session.meter.attempts == 1


def test_secrets_that_the_system_echoes_are_masked(server: Raw) -> None:
    server.plays["/x"] = answer('{"error": "key s3cr3t-canary is unknown"}', status="400 Bad Request")
    c = client(server)
    c.mask("s3cr3t-canary")
    error = fails(c)
    assert "canary" not in str(error)
    assert "canary" not in repr(error)
    assert "***" in error.message


# --- TLS, proxies ------------------------------------------------------------------------------------------------


class Authority:
    """A CA of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
        self.certificate = self._sign(self.name, self.key, ca=True)
        self.file = folder / "ca.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(
        self, subject: x509.Name, key: Any, *, ca: bool = False, days: int = 5, names: Any = ()
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        end = now + dt.timedelta(days=days)
        start = min(now, end) - dt.timedelta(days=10)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        ).add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if ca:
            usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
            builder = builder.add_extension(usage, critical=True)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, name: str, *names: str, days: int = 5) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        alternatives = [x509.IPAddress(ipaddress.ip_address(n)) if n[0].isdigit() else x509.DNSName(n) for n in names]
        certificate = self._sign(subject, key, days=days, names=alternatives)
        path = self.folder / f"{name}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def server(self, name: str, *names: str, days: int = 5, client: bool = False) -> Raw:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.issue(name, *names, days=days))
        if client:
            context.load_verify_locations(self.file)
            context.verify_mode = ssl.CERT_REQUIRED
        return Raw(context)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def test_a_private_ca(authority: Authority) -> None:
    server = authority.server("good", "127.0.0.1", "localhost")
    error = fails(client(server))
    assert isinstance(error, UnreachableError)
    assert "CA that this machine does not trust" in error.message
    assert "ca_file" in error.remedy
    assert client(server, ca_file=str(authority.file)).request("GET", "x").status == 200
    with pytest.raises(SettingsError, match="ca_file"):
        client(server, ca_file=str(authority.folder / "none.pem"))
    server.close()


def test_an_expired_certificate(authority: Authority) -> None:
    server = authority.server("old", "127.0.0.1", days=-1)
    error = fails(client(server, Session(retry=QUICK), ca_file=str(authority.file)))
    assert isinstance(error, UnreachableError)
    assert "expired" in error.message
    server.close()


def test_a_certificate_for_another_name(authority: Authority) -> None:
    server = authority.server("other", "crm.example.com")
    assert "another name" in fails(client(server, ca_file=str(authority.file))).message
    routed = Session(retry=NO_RETRY, route=lambda _: Endpoint("127.0.0.1", server.port, tls=True))
    c = HttpClient(routed, "https://crm.example.com", options=HttpOptions(ca_file=str(authority.file)))
    assert c.request("GET", "x").status == 200, "the real host's name is verified wherever it is dialled"
    assert server.names[-1] == "crm.example.com"
    assert b"Host: crm.example.com\r\n" in server.requests[-1]
    server.close()


def test_a_client_certificate_is_asked_for(authority: Authority) -> None:
    server = authority.server("mutual", "127.0.0.1", client=True)
    error = fails(client(server, ca_file=str(authority.file)))
    assert isinstance(error, UnreachableError)
    assert "client certificate" in str(error), "said by the alert, or guessed where the reset overtakes it"
    own = authority.issue("me")
    c = client(server, ca_file=str(authority.file), client_certificate=str(own))
    assert c.request("GET", "x").status == 200
    with pytest.raises(SettingsError, match="client_certificate"):
        client(server, ca_file=str(authority.file), client_certificate=str(authority.file))
    server.close()


def test_a_server_that_says_it_wants_a_certificate(server: Raw) -> None:
    page = "<html><title>400 No required SSL certificate was sent</title></html>"
    server.plays["/x"] = answer(page, status="400 Bad Request", kind="text/html")
    error = fails(client(server, Session(retry=QUICK)))
    assert isinstance(error, UnreachableError)
    assert "client certificate" in error.message


def test_no_tls_on_the_port(server: Raw) -> None:
    assert "no TLS" in fails(client(server.url.replace("http:", "https:"))).message


class Proxy(Raw):
    """A forward proxy: CONNECT and absolute addresses, with or without a login of its own."""

    def __init__(self, *, login: str | None = None, refuse: bool = False) -> None:
        self.login, self.refuse = login, refuse
        super().__init__()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(20)
        with suppress(OSError), sock:
            asked = self._read(sock)
            self.requests.append(asked)
            if self.login is not None and self.login.encode() not in asked:
                sock.sendall(answer("", status="407 Proxy Authentication Required"))
                return
            if self.refuse:
                sock.sendall(answer("", status="403 Forbidden"))
                return
            method, target = asked.split(b" ")[:2]
            host = target if method == b"CONNECT" else target.split(b"/")[2]
            name, _, port = host.decode().partition(":")
            with socket.create_connection((name, int(port))) as onward:
                if method == b"CONNECT":
                    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                else:
                    onward.sendall(asked)
                back = threading.Thread(target=self._pump, args=(onward, sock), daemon=True)
                back.start()
                self._pump(sock, onward)

    def _pump(self, one: socket.socket, two: socket.socket) -> None:
        with suppress(OSError):
            while got := one.recv(65536):
                two.sendall(got)


def test_through_a_proxy(server: Raw, authority: Authority) -> None:
    proxy = Proxy()
    c = client(server, http_proxy=proxy.url)
    assert c.endpoint == Endpoint("127.0.0.1", proxy.port)
    assert c.request("GET", "x").status == 200
    assert proxy.requests[0].startswith(f"GET {server.url}/x HTTP/1.1".encode())
    secure = authority.server("proxied", "127.0.0.1")
    c = client(secure, http_proxy=proxy.url, ca_file=str(authority.file))
    assert c.request("GET", "y").status == 200
    assert proxy.requests[1].startswith(b"CONNECT 127.0.0.1")
    secure.close()
    proxy.close()


def test_a_proxy_with_a_login_of_its_own(server: Raw, authority: Authority) -> None:
    proxy = Proxy(login="Basic c3ZjOmNhbmFyeQ==")  # svc:canary
    secure = authority.server("behind", "127.0.0.1")
    for target in (server, secure):
        error = fails(client(target, http_proxy=proxy.url, ca_file=str(authority.file)))
        assert isinstance(error, UnreachableError)
        assert "407" in error.message
        assert "http_proxy" in error.remedy
        with_login = proxy.url.replace("://", "://svc:canary@")
        c = client(target, http_proxy=with_login, ca_file=str(authority.file))
        assert c.request("GET", "x").status == 200
        assert "canary" not in repr(c.options)
    secure.close()
    proxy.close()


def test_a_proxy_that_refuses_or_is_gone(authority: Authority) -> None:
    proxy = Proxy(refuse=True)
    secure = authority.server("refused", "127.0.0.1")
    login = proxy.url.replace("://", "://svc:canary@")
    error = fails(client(secure, http_proxy=login, ca_file=str(authority.file)))
    assert "refused to connect there" in error.message
    assert "canary" not in str(error)
    proxy.close()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{unused.getsockname()[1]}"
        error = fails(client(secure, http_proxy=gone, ca_file=str(authority.file)))
    assert isinstance(error, UnreachableError)
    assert "proxy" in error.message
    secure.close()


def test_the_environments_proxy_is_not_used_but_mentioned(monkeypatch: pytest.MonkeyPatch, server: Raw) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    assert client(server).request("GET", "x").status == 200
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = fails(client(f"http://127.0.0.1:{unused.getsockname()[1]}"))
    assert "http_proxy" in error.remedy


def test_what_a_client_library_sends_goes_under_the_policy(server: Raw) -> None:
    server.plays["/x"] = [answer("{}", status="503 Service Unavailable"), answer('{"ok": 1}')]
    session = Session(retry=QUICK)
    c = HttpClient(session, server.url, auth=lambda h: h.__setitem__("Authorization", "ours"))
    with c.wire.calling("library"):
        got = c.wire.request(
            "get", f"https://127.0.0.1:{server.port}/x", headers={"Authorization": "theirs"}, verify=False
        )
    assert got.json() == {"ok": 1}
    assert [a.operation for a in session.meter.recent] == ["library", "library"]
    assert all(b"Authorization: ours" in r for r in server.requests)
    assert json.loads(got.text) == {"ok": 1}


def test_the_seams_public_names() -> None:
    from weighbridge.connectors import http, salesforce

    assert http.__all__ == ["Answer", "HttpClient", "HttpOptions", "kept", "parse_retry_after"]
    assert salesforce.__all__ == ["SalesforceConnector", "SalesforceOptions"]
