"""The fault proxy in front of real servers: every fault does what its name says, and nothing is left behind."""

from __future__ import annotations

import http.client
import http.server
import json
import socket
import socketserver
import ssl
import threading
import time

import psutil
import pytest

from weighbridge.connectors.session import Endpoint
from weighbridge.sandbox.faults import TYPES, FaultProxy, parse_fault

BODY = json.dumps([{"id": n, "name": f"row {n}"} for n in range(200)]).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[str]

    def do_GET(self):
        self.server.seen.append(f"{self.command} {self.path}")
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        if self.path.startswith("/chunked"):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for at in range(0, len(BODY), 1000):
                part = BODY[at : at + 1000]
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
            return
        body = str(self.headers.get("Host")).encode() if self.path == "/host" else BODY
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append(f"POST {self.path} {data.decode()}")
        self.send_response(201)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def web():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen = []
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)


class TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


@pytest.fixture
def echo():
    server = TcpServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield Endpoint("127.0.0.1", server.server_address[1])
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def proxy():
    with FaultProxy(seed=1) as proxy:
        yield proxy


@pytest.fixture
def line(proxy, web):
    with proxy.between(Endpoint("127.0.0.1", web.server_address[1])) as line:
        yield line


@pytest.fixture
def raw(proxy, echo):
    with proxy.between(echo) as line:
        yield line


def get(line, path="/rows", *, timeout=3.0, connection=None, method="GET", body=None):
    own = connection is None
    connection = connection or http.client.HTTPConnection(line.endpoint.host, line.endpoint.port, timeout=timeout)
    try:
        connection.request(method, path, body=body)
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()
    finally:
        if own:
            connection.close()


def dial(line, timeout=3.0):
    return socket.create_connection((line.endpoint.host, line.endpoint.port), timeout=timeout)


def echoed(sock, data):
    sock.sendall(data)
    got = b""
    while len(got) < len(data):
        part = sock.recv(65536)
        if not part:
            break
        got += part
    return got


def drain(sock, into):
    while part := sock.recv(100):
        into += part


def knock(line):
    """Connect and say a word; a connection that is let in and dropped is an error, too."""
    with dial(line) as sock:
        if echoed(sock, b"\0a") != b"\0a":
            raise ConnectionResetError("dropped")


# --- HTTP ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/rows", "/chunked"])
def test_without_faults_everything_passes_on_one_connection(line, web, path):
    connection = http.client.HTTPConnection(line.endpoint.host, line.endpoint.port, timeout=3)
    for _ in range(3):
        assert get(line, path, connection=connection)[2] == BODY
    assert get(line, "/x", connection=connection, method="POST", body=b"hello")[::2] == (201, b"hello")
    connection.close()
    entries = [e for e in line.journal() if e["event"] == "exchange"]
    assert [e["status"] for e in entries] == [200, 200, 200, 201]
    assert {e["connection"] for e in entries} == {1}
    assert entries[0]["received"] > len(BODY)


def test_the_journal_holds_shapes_and_no_values(line):
    get(line, "/orders('S-17')/items/42?$filter=name%20eq%20'secret'&$top=5")
    (entry,) = [e for e in line.journal() if e["event"] == "exchange"]
    assert entry["path"] == "/orders({key})/items/{id}?$filter&$top"
    assert "secret" not in json.dumps(line.journal())


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("expired_token", 401),
        ("quota_exhausted", 403),
        ("request_timeout", 408),
        ("conflict", 409),
        ("too_many_requests", 429),
        ("type=server_error,status=502", 502),
        ("type=status,status=418", 418),
        ("login_page", 200),
        ("type=too_many_connections", 503),
    ],
)
def test_answers_in_the_systems_place(line, web, fault, status):
    line.plan(fault)
    got, headers, body = get(line)
    assert got == status
    assert web.seen == []
    if fault == "login_page":
        assert headers["Content-Type"].startswith("text/html")
        assert b"password" in body
    line.clear()
    assert get(line)[2] == BODY


@pytest.mark.parametrize(("given", "wanted"), [(None, None), (2, "2"), ("absurd", "31536000"), ("soon", "soon")])
def test_retry_after_is_as_planned(line, given, wanted):
    line.plan({"type": "too_many_requests", "retry_after": given})
    assert get(line)[1].get("Retry-After") == wanted
    line.plan({"type": "too_many_requests", "retry_after": "date"})
    assert get(line)[1]["Retry-After"].endswith("GMT")


def test_first_n_then_recover_and_every_nth_and_skip(line):
    line.plan({"type": "server_error", "first": 2})
    assert [get(line)[0] for _ in range(4)] == [503, 503, 200, 200]
    line.plan({"type": "server_error", "every": 2})
    assert [get(line)[0] for _ in range(4)] == [200, 503, 200, 503]
    line.plan({"type": "server_error", "skip": 1, "first": 1})
    assert [get(line)[0] for _ in range(4)] == [200, 503, 200, 200]


def test_path_method_and_probability(line):
    line.plan({"type": "server_error", "path": "^/a", "method": "post"})
    assert get(line, "/a")[0] == 200
    assert get(line, "/b", method="POST", body=b"x")[0] == 201
    assert get(line, "/a", method="POST", body=b"x")[0] == 503
    line.plan({"type": "server_error", "probability": 0.5})
    struck = sum(get(line)[0] == 503 for _ in range(60))
    assert 15 <= struck <= 45


def test_a_time_span_begins_and_ends(line):
    line.plan({"type": "server_error", "for_s": 0.3})
    assert get(line)[0] == 503
    deadline = time.monotonic() + 3
    while get(line)[0] == 503 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert get(line)[0] == 200


@pytest.mark.parametrize("path", ["/rows", "/chunked"])
def test_a_truncated_body_is_shorter_than_promised(line, path):
    line.plan("truncated_body")
    with pytest.raises(http.client.IncompleteRead):
        get(line, path)


def test_wrong_length_both_ways(line):
    line.plan({"type": "wrong_length", "delta": 10})
    with pytest.raises(http.client.IncompleteRead):
        get(line)
    line.plan({"type": "wrong_length", "delta": -10})
    assert get(line)[2] == BODY[:-10]


def test_malformed_chunk_garbage_and_type(line):
    line.plan("malformed_chunk")
    with pytest.raises((http.client.IncompleteRead, ValueError, http.client.HTTPException)):
        get(line)
    line.plan("garbage")
    status, headers, body = get(line)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert body != BODY
    line.plan("type=garbage,raw=true")
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        get(line)
    line.plan("wrong_content_type")
    assert get(line)[1]["content-type"] == "text/html"


def test_slow_headers_and_slow_drip_take_their_time(line):
    for fault, least in (("type=slow_headers,delay=50", 0.15), ("type=slow_drip,bytes=1000,delay=30", 0.1)):
        line.plan(fault)
        started = time.monotonic()
        assert get(line)[2] == BODY
        assert time.monotonic() - started >= least


def test_a_duplicate_answer_is_on_the_wire(line):
    line.plan("duplicate_answer")
    with dial(line) as sock:
        sock.sendall(b"GET /rows HTTP/1.1\r\nHost: x\r\n\r\n")
        got = b""
        while got.count(BODY) < 2:
            part = sock.recv(65536)
            assert part
            got += part
    assert got.count(b"HTTP/1.1 200") == 2


def test_redirect_elsewhere_notes_whether_credentials_follow(line):
    import requests

    line.plan("redirect_elsewhere")
    url = f"http://127.0.0.1:{line.endpoint.port}/rows"
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(url, headers={"Authorization": "Bearer s3cret"}, timeout=3)
    assert answer.status_code == 404
    (entry,) = [e for e in line.journal() if e["event"] == "elsewhere"]
    assert entry["credentials"] is False


def test_a_lost_answer_was_done_at_the_system(line, web):
    line.plan({"type": "lost_answer", "first": 1, "method": "POST"})
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        get(line, "/orders", method="POST", body=b"one")
    assert web.seen == ["POST /orders one"]
    assert [e.get("cut") for e in line.journal() if e["event"] == "exchange"] == [True]
    assert get(line, "/orders", method="POST", body=b"two")[0] == 201


@pytest.mark.parametrize("fault", ["reset_peer", "type=limit_data,bytes=1000", "type=timeout,timeout=50"])
def test_tcp_faults_end_http_exchanges(line, fault):
    line.plan(fault)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        get(line)
    line.clear()
    assert get(line)[2] == BODY


def test_a_hang_is_let_go_by_clear(line):
    line.plan("timeout")
    with pytest.raises(TimeoutError):
        get(line, timeout=0.2)
    line.clear()
    assert get(line)[2] == BODY


def test_a_client_that_gives_up_leaves_no_connection_to_the_system(line):
    line.plan("type=latency,latency=5000")
    for _ in range(3):
        with pytest.raises(TimeoutError):
            get(line, timeout=0.1)
    deadline = time.monotonic() + 3
    while line.open_links and time.monotonic() < deadline:
        time.sleep(0.01)
    assert line.open_links == 0


def test_latency_bandwidth_and_slicer_on_http(line):
    for fault, least in (
        ("type=latency,latency=150,jitter=10", 0.13),
        ("type=bandwidth,rate=40", 0.1),
        ("type=slicer,average_size=500,size_variation=100,delay=10000", 0.08),
    ):
        line.plan(fault)
        started = time.monotonic()
        assert get(line)[2] == BODY
        assert time.monotonic() - started >= least, fault


def test_the_host_header_can_be_replaced(proxy, web):
    with proxy.between(Endpoint("127.0.0.1", web.server_address[1]), host_header="crm.example.com") as line:
        assert get(line, "/host")[2] == b"crm.example.com"


def test_what_is_not_quite_http_is_relayed_as_it_is(raw):
    with dial(raw) as sock:
        request = b"GET / HTTP/9.bad\r\n\r\n"
        assert echoed(sock, request) == request


# --- TCP -----------------------------------------------------------------------------------------------------------


def test_tcp_passes_large_data_untouched(raw):
    data = bytes(range(256)) * 8192
    with dial(raw) as sock:
        sender = threading.Thread(target=sock.sendall, args=(b"\0" + data,))
        sender.start()
        got = b""
        while len(got) <= len(data):
            got += sock.recv(1 << 20)
        sender.join()
    assert got == b"\0" + data


def test_half_close_passes(raw):
    with dial(raw) as sock:
        sock.sendall(b"\0hello")
        sock.shutdown(socket.SHUT_WR)
        got = b""
        while part := sock.recv(100):
            got += part
    assert got == b"\0hello"


def test_refused_and_reopened_on_the_same_port(raw):
    with dial(raw) as sock:
        assert echoed(sock, b"\0a") == b"\0a"
        raw.plan("down")
        with pytest.raises(ConnectionRefusedError):
            dial(raw)
        with pytest.raises(ConnectionResetError):
            echoed(sock, b"b")
    raw.clear()
    with dial(raw) as sock:
        assert echoed(sock, b"\0a") == b"\0a"


def test_nobody_else_is_given_the_port_while_it_is_down(raw):
    raw.plan("down")
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((raw.endpoint.host, raw.endpoint.port))
    raw.clear()
    knock(raw)


def test_down_for_a_time_then_up_by_itself(raw):
    raw.plan("type=down,for_s=0.3")
    with pytest.raises(ConnectionRefusedError):
        dial(raw)
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        try:
            with dial(raw) as sock:
                assert echoed(sock, b"\0a") == b"\0a"
            return
        except ConnectionRefusedError:
            time.sleep(0.03)
    pytest.fail("never came back")


def test_down_for_the_first_two_connections(raw):
    raw.plan("type=down,first=2")
    for _ in range(2):
        with pytest.raises(ConnectionError):
            knock(raw)
    with dial(raw) as sock:
        assert echoed(sock, b"\0a") == b"\0a"


def test_reset_in_the_middle_of_a_result_set(raw):
    with dial(raw) as sock:
        assert echoed(sock, b"\0a") == b"\0a"
        raw.plan({"type": "reset_peer", "bytes": 1000})
        got = bytearray()
        sock.sendall(b"x" * 5000)
        with pytest.raises(ConnectionResetError):
            drain(sock, got)
    assert len(got) <= 1000


def test_limit_data_closes_in_order(raw):
    raw.plan("type=limit_data,bytes=1000")
    with dial(raw) as sock:
        assert len(echoed(sock, b"\0" * 5000)) == 1000


def test_hang_and_release(raw):
    raw.plan("hang")
    with dial(raw, timeout=0.2) as sock:
        sock.sendall(b"\0a")
        with pytest.raises(TimeoutError):
            sock.recv(1)
        raw.clear()
        sock.settimeout(3)
        assert sock.recv(1) == b""


@pytest.mark.parametrize("direction", ["upstream", "downstream"])
def test_latency_on_tcp_each_way(raw, direction):
    raw.plan({"type": "latency", "latency": 120, "stream": direction})
    with dial(raw) as sock:
        started = time.monotonic()
        assert echoed(sock, b"\0a") == b"\0a"
        assert 0.11 <= time.monotonic() - started < 1


def test_slicer_bandwidth_and_slow_close_on_tcp(raw):
    raw.plan("type=slicer,average_size=100,size_variation=0,delay=5000")
    with dial(raw) as sock:
        started = time.monotonic()
        assert echoed(sock, b"\0" * 3000) == b"\0" * 3000
        assert time.monotonic() - started >= 0.1
    raw.plan("type=bandwidth,rate=10")
    with dial(raw) as sock:
        started = time.monotonic()
        assert echoed(sock, b"\0" * 3000) == b"\0" * 3000
        assert time.monotonic() - started >= 0.2
    raw.plan("type=slow_close,delay=200")
    with dial(raw) as sock:
        assert echoed(sock, b"\0a") == b"\0a"
        sock.shutdown(socket.SHUT_WR)
        started = time.monotonic()
        assert sock.recv(1) == b""
        assert time.monotonic() - started >= 0.15


def test_postgresql_too_many_connections(raw):
    raw.plan("too_many_connections")
    with dial(raw) as sock:
        sock.sendall(b"\x00\x00\x00\x08\x04\xd2\x16\x2f")
        assert sock.recv(1) == b"N"
        sock.sendall(b"\x00\x00\x00\x13\x00\x03\x00\x00user\x00me\x00\x00\x00")
        got = b""
        while part := sock.recv(1000):
            got += part
    assert b"53300" in got
    assert b"too many clients" in got


# --- TLS, planning, leaving nothing behind ---------------------------------------------------------------------------


def test_tls_is_ended_with_a_local_authority(tmp_path, web):
    with FaultProxy(authority_folder=tmp_path) as inner:
        assert inner.ca_file is not None
        context = inner._authority.server_context("crm.example.com")
        web.socket = context.wrap_socket(web.socket, server_side=True)
        port = web.server_address[1]
        folder = tmp_path / "outer"
        folder.mkdir()
        with FaultProxy(authority_folder=folder, upstream_ca=str(inner.ca_file)) as proxy:
            with proxy.between(Endpoint("127.0.0.1", port, tls=True)) as line:
                assert line.endpoint.tls
                trusting = ssl.create_default_context(cafile=str(proxy.ca_file))
                line.plan("type=server_error,first=1")
                statuses = []
                for _ in range(2):
                    connection = http.client.HTTPSConnection(
                        "127.0.0.1", line.endpoint.port, context=trusting, timeout=3
                    )
                    connection.request("GET", "/rows")
                    response = connection.getresponse()
                    response.read()
                    statuses.append(response.status)
                    connection.close()
                assert statuses == [503, 200]
            with proxy.between(Endpoint("127.0.0.1", port, tls=True), tls="plain") as line:
                assert not line.endpoint.tls
                assert get(line)[2] == BODY


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("latencyy", "did you mean 'latency'"),
        ("type=latency,latecy=3", "did you mean 'latency'"),
        ("type=latency,latency=fast", "is a number"),
        ("type=latency,probability=2", "between 0 and 1"),
        ("type=latency,direction=sideways", "upstream or downstream"),
        ("type=down,path=/x", "no path"),
    ],
)
def test_a_wrong_plan_is_refused_with_a_hint(line, given, says):
    with pytest.raises(ValueError, match=says):
        line.plan(given)


def test_every_type_parses_with_its_defaults():
    for name in TYPES:
        assert parse_fault(name).type == name


def test_toxiproxys_own_form_is_understood():
    fault = parse_fault({"type": "latency", "stream": "upstream", "toxicity": 0.5, "attributes": {"latency": 9}})
    assert (fault.direction, fault.probability, fault["latency"]) == ("upstream", 0.5, 9)


def test_listens_on_loopback_only_and_leaves_no_thread_and_no_socket(echo):
    process = psutil.Process()

    def sockets():
        return {c.fd for c in process.net_connections(kind="tcp")}

    threads, before = threading.active_count(), sockets()
    proxy = FaultProxy()
    with proxy.between(echo) as line:
        assert line.endpoint.host == "127.0.0.1"
        held = [dial(line) for _ in range(5)]
        assert all(echoed(sock, b"\0a") == b"\0a" for sock in held)
        line.plan("hang")
        held[0].sendall(b"b")
    for sock in held:
        sock.close()
    deadline = time.monotonic() + 3
    while (threading.active_count() > threads + 5 or sockets() - before) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(t.name == "weighbridge-faults" for t in threading.enumerate())
    assert {c.laddr.port for c in process.net_connections(kind="tcp")}.isdisjoint({line.port})


def test_an_unreachable_system_is_a_reset_and_is_booked(proxy):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with proxy.between(Endpoint("127.0.0.1", port)) as line:
        with pytest.raises(ConnectionError):
            knock(line)
        assert any(e["event"] == "upstream_failed" for e in line.journal())
