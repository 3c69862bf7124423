"""Alerts, digests and the nightly run, against a real web server and a real mail server on loopback."""

from __future__ import annotations

import asyncio
import email
import json
import re
import runpy
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP
from click.testing import CliRunner, Result
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from weighbridge import metrics
from weighbridge.alerts import Channel, channels, confirm, send, send_test
from weighbridge.digest import digest
from weighbridge.errors import DeliveryProblem, UsageProblem
from weighbridge.history import History
from weighbridge.nightly import Night, NightlySettings, _metrics
from weighbridge.project import Project
from weighbridge.report.model import Report

SAMPLES = runpy.run_path(str(Path(__file__).parent.parent / "report" / "conftest.py"))


@dataclass
class Web:
    """A web server that takes everything, or refuses the first calls, and remembers."""

    url: str = ""
    refuse: int = 0
    seen: list[tuple[str, str, bytes]] = field(default_factory=list)

    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(body) for method, path, body in self.seen if path == "/hook" and method == "POST"]

    def paths(self) -> list[str]:
        return [path for _, path, _ in self.seen]


@pytest.fixture
def web() -> Iterator[Web]:
    state = Web()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            state.seen.append((self.command, self.path, body))
            refused, state.refuse = state.refuse > 0, max(0, state.refuse - 1)
            self.send_response(503 if refused else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_PUT = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join(5)


class Mailbox:
    def __init__(self) -> None:
        self.mails: list[Message] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(email.message_from_bytes(envelope.content))
        return "250 OK"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(
        loop.create_server(lambda: SMTP(box, hostname="localhost", loop=loop), host="127.0.0.1", port=0)
    )
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield box, server.sockets[0].getsockname()[1]
    loop.call_soon_threadsafe(server.close)
    asyncio.run_coroutine_threadsafe(_settled(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


async def _settled() -> None:
    mine = asyncio.current_task()
    pending = [t for t in asyncio.all_tasks() if t is not mine]
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


def hook(web: Web, name: str = "ops") -> Channel:
    return Channel(name, "json", SecretStr(f"{web.url.replace('http', 'json')}/hook"))


def no_wait(_seconds: float) -> None:
    pass


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    found = History(f"sqlite:///{tmp_path / 'history.sqlite'}")
    yield found
    found.close()


# --- channels -----------------------------------------------------------------------------------------------------


def test_a_webhook_gets_the_message(web: Web) -> None:
    sent = send(hook(web), title="T", body="B", sleep=no_wait)
    assert (sent.ok, sent.attempts) == (True, 1)
    assert (web.messages()[0]["title"], web.messages()[0]["message"]) == ("T", "B")


def test_it_is_tried_again_and_then_given_up(web: Web) -> None:
    web.refuse = 1
    assert send(hook(web), title="T", body="B", sleep=no_wait).attempts == 2
    web.refuse = 9
    sent = send(hook(web), title="T", body="B", sleep=no_wait)
    assert (sent.ok, sent.attempts) == (False, 3)


def test_a_mail_carries_the_report(mailbox: tuple[Mailbox, int], tmp_path: Path) -> None:
    box, port = mailbox
    page = tmp_path / "report.html"
    page.write_text("<!doctype html><title>x</title>", encoding="utf-8")
    url = f"mailto://127.0.0.1:{port}?from=wb@example.com&to=ops@example.com&mode=insecure"
    assert send(Channel("mail", "mailto", SecretStr(url)), title="Title", body="Body", attach=page, sleep=no_wait).ok
    mail = box.mails[0]
    assert mail["Subject"] == "Title"
    assert "ops@example.com" in mail["To"]
    names = [part.get_filename() for part in mail.walk() if part.get_filename()]
    assert names == ["report.html"]


def project(folder: Path, text: str, **environ: str) -> Project:
    (folder / "weighbridge.toml").write_text(text, encoding="utf-8")
    return Project.load(folder / "weighbridge.toml", environ=environ)


def test_what_is_no_address_is_named_and_never_shown(tmp_path: Path) -> None:
    bad = project(tmp_path, '[alerts.channels]\nops = "${OPS}"\n', OPS="nonsense-canary-55")
    with pytest.raises(UsageProblem, match=r"alerts.channels.ops is no address") as told:
        channels(bad)
    assert "canary-55" not in str(told.value)
    with pytest.raises(UsageProblem, match=r"takes only channels, not chanels"):
        channels(project(tmp_path, "[alerts.chanels]\n"))
    good = channels(
        project(tmp_path, '[alerts.channels]\nops = "${OPS}"\n', OPS="slack://canary/56/77777777/abcdefghij")
    )
    assert "canary" not in repr(good) or not good


# --- proving delivery ---------------------------------------------------------------------------------------------


def test_a_code_counts_once_it_was_read(web: Web, history: History) -> None:
    sent, nonce = send_test(hook(web), history, project="acme", sleep=no_wait)
    assert sent.ok
    arrived = re.search(r"Code: (WB-[A-Z0-9]{8})", web.messages()[0]["message"])
    assert arrived is not None
    assert arrived[1] == nonce
    assert history.standing("crm", "staging")["alert_tests"]["ops"]["ok"] is False
    with pytest.raises(UsageProblem, match="No test sent the code WB-XXXXXXXX"):
        confirm("WB-XXXXXXXX", history)
    assert confirm(nonce.lower(), history)[0] == "ops"
    tests = history.standing("crm", "staging")["alert_tests"]
    assert tests["ops"]["ok"] is True
    # a later test that nobody answered yet takes nothing back
    send_test(hook(web), history, project="acme", sleep=no_wait)
    assert history.standing("crm", "staging")["alert_tests"]["ops"]["ok"] is True


def test_an_old_code_proves_nothing(web: Web, history: History) -> None:
    _, nonce = send_test(hook(web), history, project="acme", sleep=no_wait)
    with pytest.raises(UsageProblem, match="older than 24 h"):
        confirm(nonce, history, now=lambda: datetime.now(UTC) + timedelta(hours=25))


def test_the_code_itself_is_not_kept(web: Web, history: History, tmp_path: Path) -> None:
    _, nonce = send_test(hook(web), history, project="acme", sleep=no_wait)
    history.close()
    assert nonce.removeprefix("WB-").encode() not in (tmp_path / "history.sqlite").read_bytes()


# --- the digest ---------------------------------------------------------------------------------------------------


def changed(**kinds: int) -> Report:
    rows = {
        kind: [
            {"point": "crm.Account", "check": "quality", "code": "quality.rule_failed", "message": f"{kind} {i}"}
            for i in range(kinds.get(kind, 0))
        ]
        for kind in ("new", "fixed", "still")
    }
    return replace(SAMPLES["small"](), changes=rows)


def test_an_unchanged_night_is_quiet() -> None:
    assert digest(changed(still=7)).reason is None
    assert digest(changed()).reason is None


def test_news_and_recoveries_are_told_once_in_one_message() -> None:
    told = digest(changed(new=2, fixed=1, still=3))
    assert told.title == "acme sandbox: 2 new, 1 fixed, 3 still there"
    assert (told.reason, told.bad) == ("new", True)
    assert "- crm.Account quality.rule_failed: new 0 [revenue-ops@example.com]" in told.body
    recovered = digest(changed(fixed=1))
    assert (recovered.title, recovered.reason, recovered.bad) == ("acme sandbox: recovered", "fixed", False)


def test_a_flood_is_one_message_of_one_screen() -> None:
    told = digest(changed(new=500, still=900))
    assert "... and 485 more" in told.body
    assert len(told.body.splitlines()) < 40


def test_the_first_night_tells_what_stands() -> None:
    told = digest(changed(), first=True)
    assert told.reason == "new"
    assert "limits.quota_reached" in told.body


# --- metrics ------------------------------------------------------------------------------------------------------


def test_the_metrics_are_prometheus_text() -> None:
    report = changed(new=2)
    hostile = replace(report.points[1], id='erp."Sales\\Order"\n')
    families = {
        f.name: f
        for f in text_string_to_metric_families(metrics.text(replace(report, points=[report.points[0], hostile])))
    }
    verdict = {s.labels["status"]: s.value for s in families["weighbridge_verdict"].samples}
    assert verdict == {"READY": 0, "AT_RISK": 0, "BREAKS": 1, "UNKNOWN": 0, "HOLDS": 0, "BROKEN": 0}
    assert families["weighbridge_safe_users"].samples[0].value == 180
    points = {s.labels["point"]: s.value for s in families["weighbridge_point_safe_users"].samples}
    assert points == {"crm.Account": 180, 'erp."Sales\\Order"\n': 760}
    assert {s.labels["kind"]: s.value for s in families["weighbridge_changes"].samples}["new"] == 2
    assert families["weighbridge_run_duration_seconds"].samples[0].value == 90


def test_what_is_not_known_has_no_sample() -> None:
    report = changed()
    text = metrics.text(replace(report, verdict=replace(report.verdict, safe_users=None)))
    assert "weighbridge_safe_users" not in text


def test_a_pushgateway_gets_them(web: Web) -> None:
    metrics.push(changed(), web.url)
    method, path, body = web.seen[0]
    assert (method, path) == ("PUT", "/metrics/job/weighbridge/environment/sandbox")
    assert b"weighbridge_verdict" in body
    web.refuse = 1
    with pytest.raises(DeliveryProblem, match="HTTP 503"):
        metrics.push(changed(), web.url)
    with pytest.raises(DeliveryProblem, match="ConnectionError"):
        metrics.push(changed(), "http://127.0.0.1:9")


def test_an_opentelemetry_collector_gets_them(web: Web) -> None:
    """What arrives at a socket, decoded by the protocol's own messages, is what the Prometheus text says."""
    message = pytest.importorskip("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")
    from weighbridge import otel

    report = changed(new=2)
    otel.push(report, web.url)
    (method, path, body), *more = web.seen
    assert (method, path, more) == ("POST", "/v1/metrics", [])
    request = message.ExportMetricsServiceRequest()
    request.ParseFromString(body)
    (resource,) = request.resource_metrics
    assert {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"] == "weighbridge"
    arrived = {
        (
            m.name.replace("weighbridge.", "weighbridge_"),
            tuple(sorted((a.key, a.value.string_value) for a in p.attributes)),
        ): p.as_double
        for m in resource.scope_metrics[0].metrics
        for p in m.gauge.data_points
    }
    told = {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(metrics.text(report))
        for s in family.samples
    }
    assert arrived == told
    assert len(arrived) > 30


def test_a_night_sends_them_where_its_settings_say(web: Web, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    night = Night(changed(), digest(changed()))
    settings = NightlySettings(otlp=SecretStr(web.url), pushgateway=SecretStr(web.url), prometheus_file="wb.prom")
    _metrics(project(tmp_path, ""), settings, night)
    assert web.paths() == ["/metrics/job/weighbridge/environment/sandbox", "/v1/metrics"]
    assert (tmp_path / "wb.prom").is_file()
    assert night.problems == []
    web.refuse = 1
    _metrics(project(tmp_path, ""), settings, night)
    assert len(night.problems) == 1, "one way that fails does not keep the others from being tried"
    assert web.paths()[-1] == "/v1/metrics"


def test_a_collector_that_refuses_is_a_problem_without_its_address(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    from weighbridge import otel

    for address in ("http://canary-77@127.0.0.1:9", f"{web.url}/canary-77"):
        web.refuse = 99
        with pytest.raises(DeliveryProblem, match=r"did not take the metrics; check nightly.otlp") as told:
            otel.push(changed(), address, timeout=1.0)
        assert "canary" not in str(told.value) + caplog.text


# --- the command --------------------------------------------------------------------------------------------------

Invoke = Callable[..., Result]


@pytest.fixture
def night(shop: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """The shop with a channel, a dead-man address and metrics; runs a night."""
    toml = shop / "weighbridge.toml"
    toml.write_text(
        toml.read_text(encoding="utf-8")
        + f"""
[alerts.channels]
ops = "${{OPS_URL}}"

[nightly]
environment = "sandbox"
checks = ["connection", "schema"]
ping = "{web.url}/ping"
prometheus_file = "weighbridge.prom"
""",
        encoding="utf-8",
    )
    monkeypatch.setenv("OPS_URL", f"{web.url.replace('http', 'json')}/hook")
    monkeypatch.setattr("weighbridge.alerts.PAUSE_S", 0.0)

    def run(*arguments: str, command: str = "nightly") -> Result:
        from importlib import import_module

        group = import_module(f"weighbridge.commands.{command}").command
        return CliRunner().invoke(
            group, [*arguments, "--config", str(toml)], catch_exceptions=False, standalone_mode=False
        )

    return run


def spoil(shop: Path) -> None:
    with sqlite3.connect(shop / "shop.db") as database:
        database.execute("ALTER TABLE orders RENAME COLUMN account TO customer")
    database.close()


def mend(shop: Path) -> None:
    with sqlite3.connect(shop / "shop.db") as database:
        database.execute("ALTER TABLE orders RENAME COLUMN customer TO account")
    database.close()


def test_a_week_of_nights(night: Invoke, shop: Path, web: Web) -> None:
    first = night("--quiet")
    assert first.return_value == 0, first.output
    assert "Nothing changed: nobody was told." in first.output
    assert web.paths() == ["/ping"]
    assert "weighbridge_verdict" in (shop / "weighbridge.prom").read_text(encoding="utf-8")

    spoil(shop)
    second = night("--quiet")
    assert second.return_value == 1
    assert "Told ops: " in second.output
    message = web.messages()[0]
    assert "1 new" in message["title"]
    assert "shop.Order schema.missing: " in message["message"]
    assert web.paths() == ["/ping", "/hook", "/ping"]

    third = night("--quiet")
    assert third.return_value == 1
    assert len(web.messages()) == 1, "the same trouble is not told twice"

    mend(shop)
    fourth = night("--quiet")
    assert fourth.return_value == 0
    assert "recovered" in web.messages()[1]["title"]
    assert (shop / ".weighbridge" / "nightly" / "report.html").is_file()


def test_what_a_run_by_hand_found_is_told_on_the_first_night(night: Invoke, shop: Path, web: Web) -> None:
    spoil(shop)
    assert night("--env", "sandbox", "--checks", "schema", "--quiet", command="run").return_value == 1
    assert "Told ops: " in night("--quiet").output
    assert "schema.missing" in web.messages()[0]["message"]
    assert "Nothing changed" in night("--quiet").output


def test_what_nobody_could_be_told_is_told_once_there_is_a_channel(night: Invoke, shop: Path, web: Web) -> None:
    spoil(shop)
    toml = shop / "weighbridge.toml"
    whole = toml.read_text(encoding="utf-8")
    toml.write_text(whole.replace('ops = "${OPS_URL}"', ""), encoding="utf-8")
    assert "No channel is configured" in night("--quiet").output
    toml.write_text(whole, encoding="utf-8")
    assert "Told ops: " in night("--quiet").output


def test_a_message_that_did_not_arrive_is_told_the_next_night(night: Invoke, shop: Path, web: Web) -> None:
    night("--quiet")
    spoil(shop)
    web.refuse = 3
    lost = night("--quiet")
    assert lost.return_value == 1
    assert "'ops' did not take the message after 3 tries" in lost.stderr
    assert web.paths().count("/ping") == 1, "no ping for a night that told nobody"
    again = night("--quiet")
    assert "The last message could not be delivered" in web.messages()[-1]["message"]
    assert again.return_value == 1
    mend(shop)
    night("--quiet")
    assert night("--quiet").return_value == 0


def test_only_an_undelivered_ping_is_exit_4(night: Invoke, shop: Path, web: Web) -> None:
    web.refuse = 1
    done = night("--quiet")
    assert done.return_value == 4
    assert "nightly.ping could not be called (HTTP 503)" in done.stderr
    assert web.url not in done.output


def test_the_alert_commands(night: Invoke, web: Web) -> None:
    assert night("status", command="alert").return_value == 1
    sent = night("test", "--no-ask", command="alert")
    assert "ops (json): sent in" in sent.output
    nonce = re.findall(r"WB-[A-Z0-9]{8}", web.messages()[0]["message"])[0]
    assert "ops: delivered and read after" in night("confirm", nonce, command="alert").output
    assert night("status", command="alert").return_value == 0
    web.refuse = 3
    assert night("test", "--no-ask", command="alert").return_value == 4


def test_wrong_settings_are_all_named(tmp_path: Path) -> None:
    bad = project(tmp_path, '[nightly]\nenvironment = "prod"\nat = "25:00"\npnig = "x"\n')
    with pytest.raises(UsageProblem) as told:
        NightlySettings.of(bad)
    assert all(word in str(told.value) for word in ("nightly.environment", "nightly.at", "nightly.pnig"))
