"""`weighbridge faults` from the outside: a program behind the proxy, and what is said of it."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading

import pytest

GOOD = """
import sys, time, urllib.request, urllib.error
for attempt in range(4):
    try:
        urllib.request.urlopen(sys.argv[1], timeout=3).read()
        sys.exit(0)
    except urllib.error.HTTPError:
        time.sleep(0.01)
sys.exit(1)
"""
PILOT = """
import http.server, os, sys, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        for attempt in range(int(sys.argv[2])):
            try:
                body = urllib.request.urlopen(os.environ["WEIGHBRIDGE_PROXY_URL"], timeout=3).read()
                break
            except OSError:
                body = None
        self.send_response(200 if body else 500)
        self.end_headers()
        self.wfile.write(body or b"")
    def log_message(self, *args):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *args):
        pass


@pytest.fixture
def hello():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def faults(*arguments, timeout=60):
    words = [sys.executable, "-m", "weighbridge", "faults", *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)


def test_a_program_that_retries_bears_two_503(hello, tmp_path):
    journal = tmp_path / "journal.jsonl"
    words = ["--upstream", hello, "--fault", "server_error,status=503,first=2", "--journal", str(journal)]
    done = faults("run", *words, "--", sys.executable, "-c", GOOD, "{url}")
    assert done.returncode == 0, done.stderr
    assert "server_error struck 2 times" in done.stdout
    assert "3 HTTP exchanges" in done.stdout
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [e["status"] for e in entries if e["event"] == "exchange"] == [503, 503, 200]


def test_a_program_that_fails_is_told(hello):
    done = faults("run", "--upstream", hello, "--fault", "server_error", "--", sys.executable, "-c", GOOD, "{url}")
    assert done.returncode == 1
    assert "ended with 1" in done.stderr


@pytest.mark.parametrize(("tries", "code"), [(3, 0), (1, 1)])
def test_a_server_is_asked_while_the_faults_are_in_force(hello, tries, code):
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--upstream", hello, "--fault", "server_error,every=2", "--calls", "4"]
    words += ["--check-url", f"http://127.0.0.1:{port}/"]
    done = faults("run", *words, "--", sys.executable, "-c", PILOT, str(port), str(tries))
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout.count("  call ") == 4


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "--upstream", "nowhere"], "give HOST:PORT"),
        (["run", "--upstream", "h:1", "--fault", "latencyy"], "did you mean 'latency'"),
        (["run", "--upstream", "https://h", "--tls", "terminate"], "--ca-out"),
        (["run", "--upstream", "127.0.0.1:9", "--", "/no/such/program"], "cannot be started"),
    ],
)
def test_bad_use_ends_with_2_and_a_hint(words, says):
    done = faults(*words)
    assert done.returncode == 2
    assert says in done.stderr


def test_the_list_names_every_fault():
    from weighbridge.sandbox.faults import TYPES

    done = faults("list")
    assert done.returncode == 0
    assert all(f"type={name}" in done.stdout for name in TYPES)
