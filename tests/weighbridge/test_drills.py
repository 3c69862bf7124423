"""Drills: a pilot of our own, a real system on loopback, the fault proxy between them."""

from __future__ import annotations

import sys
import textwrap
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from weighbridge.drills import CAUSES, DrillResult, Signals, cause_of, hold
from weighbridge.errors import UsageProblem
from weighbridge.history import History
from weighbridge.project import Project
from weighbridge.sandbox.faults import TYPES


class Line:
    """A line that only remembers what was planned."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def plan(self, *faults: Mapping[str, Any] | str) -> None:
        self.said.append(f"plan {faults}")

    def clear(self) -> None:
        self.said.append("clear")


def post(port: int, path: str, text: str = "x") -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=text.encode(), method="POST")
    with urllib.request.urlopen(request, timeout=5):
        pass


def quick(signals: Signals, line: Line | None = None, **times: float) -> DrillResult:
    allowed = {"within_s": 5.0, "respond_s": 5.0, "recover_s": 5.0, **times}
    return hold(line or Line(), {"type": "down"}, signals, **allowed)  # type: ignore[arg-type]


def test_every_fault_has_a_cause_and_every_cause_a_word() -> None:
    assert {cause_of(name) for name in TYPES} <= set(CAUSES)
    from weighbridge.drills import _CAUSE_OF

    assert set(_CAUSE_OF) == set(TYPES)


def test_a_good_answer(tmp_path: Path) -> None:
    signals, line = Signals(), Line()
    with signals.webhook() as port:
        told: list[str] = []

        def respond(text: str) -> None:
            told.append(text)
            if "in force" in text:
                post(port, "/anything", "ALERT: shop does not answer")
            elif "Who takes it" in text:
                post(port, "/ack")
                post(port, "/cause", " Down ")
            elif "lifted" in text:
                post(port, "/anything", "recovered")

        result = hold(line, {"type": "down"}, signals, within_s=5, respond_s=5, recover_s=5, say=respond)
    assert result.ok
    assert result.right
    assert result.detected_s is not None
    assert result.recovered_s is not None
    assert line.said == ["plan ({'type': 'down'},)", "clear"]
    assert len(told) == 3


def test_nobody_notices() -> None:
    line = Line()
    result = quick(Signals(), line, within_s=0.05)
    assert result.problems == ["no alert came within 0 s"]
    assert line.said[-1] == "clear"


def test_the_wrong_cause_and_no_recovery_are_weaknesses() -> None:
    signals = Signals()
    signals.notice("alert")
    signals.say("ack")
    signals.say("cause", "quota")
    result = quick(signals, recover_s=0.05)
    assert result.right is False
    assert result.problems == ["the wrong cause was named (quota)", "nothing said that it works again"]


def test_the_fault_is_lifted_even_when_the_drill_is_interrupted() -> None:
    line = Line()

    def interrupt(_text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hold(line, {"type": "down"}, Signals(), within_s=1, respond_s=1, recover_s=1, say=interrupt)
    assert line.said[-1] == "clear"


def test_a_mailbox_that_grows_is_an_alert(tmp_path: Path) -> None:
    box = tmp_path / "mbox"
    box.write_text("", encoding="utf-8")
    signals = Signals()
    with signals.mailbox(box):
        with box.open("a", encoding="utf-8") as file:
            file.write("From: pilot\n\nshop is down\n")
        assert signals.wait("alert", 10) is not None


# --- the command --------------------------------------------------------------------------------------------------

PILOT = """
import os, sys, time, urllib.request
system = f"http://{os.environ['WEIGHBRIDGE_HOST']}:{os.environ['WEIGHBRIDGE_PORT']}/orders"
hook = sys.argv[1]

def tell(path, text):
    urllib.request.urlopen(urllib.request.Request(hook + path, data=text.encode(), method="POST"), timeout=5).close()

up = True
while True:
    try:
        urllib.request.urlopen(system, timeout=2).close()
        works = True
    except OSError:
        works = False
    if works != up:
        tell("/pilot", "recovered" if works else "ALERT")
        if not works:
            tell("/ack", "")
            tell("/cause", sys.argv[2])
        up = works
    time.sleep(0.05)
"""


@pytest.fixture
def orders() -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def drill(tmp_path: Path, orders: int) -> Callable[..., Result]:
    (tmp_path / "weighbridge.toml").write_text(
        textwrap.dedent(
            """
            [systems.erp]
            connector = "odata"
            [systems.erp.staging]
            url = "${ERP_URL}"
            """
        ),
        encoding="utf-8",
    )
    (tmp_path / ".env").write_text(f"ERP_URL=http://127.0.0.1:{orders}/\n", encoding="utf-8")
    (tmp_path / "contracts").mkdir()
    (tmp_path / "contracts" / "erp.odcs.yaml").write_text(
        textwrap.dedent(
            """
            apiVersion: v3.1.0
            kind: DataContract
            id: erp
            version: "1"
            status: active
            servers:
              - {server: erp, type: custom}
            schema:
              - name: Order
                properties:
                  - {name: Id, logicalType: string}
            slaProperties:
              - {property: timeToDetect, value: 20, unit: s}
            """
        ),
        encoding="utf-8",
    )
    (tmp_path / "pilot.py").write_text(PILOT, encoding="utf-8")

    def run(*arguments: str) -> Result:
        from weighbridge.commands.drill import command

        return CliRunner().invoke(
            command,
            ["erp", *arguments, "--config", str(tmp_path / "weighbridge.toml")],
            catch_exceptions=False,
            standalone_mode=False,
        )

    return run


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(("cause", "code"), [("down", 0), ("quota", 1)])
def test_a_drill_from_end_to_end(drill: Callable[..., Result], tmp_path: Path, cause: str, code: int) -> None:
    port = free_port()
    pilot = f"{sys.executable} pilot.py http://127.0.0.1:{port} {cause}"
    done = drill("--fault", "down", "--webhook", str(port), "--pilot", pilot, "--recover", "20", "--respond", "20")
    assert done.return_value == code, done.output
    history = History.of(Project.load(tmp_path / "weighbridge.toml"))
    standing = history.standing("erp", "staging")["drill"]
    history.close()
    assert standing["ok"] is (code == 0)
    assert 0 <= standing["detected_s"] < 20
    assert standing["within_s"] == 20
    assert standing["right"] is (code == 0)
    assert standing["recovered_s"] is not None
    assert ("It was: down" in done.output) is (code == 1)


def test_a_pilot_that_goes_elsewhere_is_told(drill: Callable[..., Result]) -> None:
    with pytest.raises(UsageProblem, match=r"nothing called 127\.0\.0\.1:"):
        drill("--fault", "down", "--webhook", "0", "--warm-up", "0.3")
    with pytest.raises(UsageProblem, match="ended with exit code 3"):
        drill("--fault", "down", "--webhook", "0", "--pilot", f"{sys.executable} -c 'raise SystemExit(3)'")
    with pytest.raises(UsageProblem, match="--fault dwon"):
        drill("--fault", "dwon", "--webhook", "0")
