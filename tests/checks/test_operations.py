from __future__ import annotations

import datetime as dt
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from weighbridge.checks.base import Context, Finding, Inconclusive, NotRun, Permissions, RuleResult, registered_codes
from weighbridge.checks.operations import OperationsCheck, looks_personal
from weighbridge.connectors.base import Probe
from weighbridge.connectors.session import Endpoint, Session
from weighbridge.contracts.loader import load
from weighbridge.contracts.models import IntegrationPoint
from weighbridge.contracts.points import points
from weighbridge.contracts.scale import Scale

NOW = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)
CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: crm
version: "1"
status: active
servers:
  - {server: crm, type: custom}
schema:
  - name: Account
    properties:
      - {name: Id, logicalType: string}
      - {name: EmailAddress, logicalType: string, classification: restricted}
"""
CHANNEL = {"at": "2026-11-01T00:00:00+00:00", "ok": True}
DRILL = {"at": "2026-11-02T00:00:00+00:00", "ok": True, "fault": "down", "detected_s": 40.0, "recovered_s": 300.0}


class Reached:
    """Stands for an open connector: all that the check asks of it is where it dials."""

    def __init__(self, *endpoints: Endpoint) -> None:
        self._endpoints = endpoints

    def endpoints(self) -> tuple[Endpoint, ...]:
        return self._endpoints


class Evidence:
    def __init__(self, **facts: Any) -> None:
        self.probe = Probe("CRM", "1", "reader", 0.1, facts)


@pytest.fixture
def runbook(tmp_path: Path) -> Path:
    path = tmp_path / "crm.md"
    path.write_text("# CRM", encoding="utf-8")
    return path


@pytest.fixture
def settings(runbook: Path) -> dict[str, Any]:
    """A system of which nothing is missing."""
    return {
        "owner": "ops@example.com",
        "deputy": "deputy@example.com",
        "business_owner": "sales@example.com",
        "runbook": runbook.name,
        "folder": str(runbook.parent),
        "fallback": "the copy of last night",
        "credentials_expire": "2027-06-30",
        "retention_days": 30,
        "standing": {"channels": ["ops"], "alert_tests": {"ops": CHANNEL}, "drill": DRILL},
    }


def point(folder: Path, body: str = CONTRACT) -> IntegrationPoint:
    path = folder / "crm.odcs.yaml"
    path.write_text(body, encoding="utf-8")
    return points([load(path)], Scale())[0]


def ask(
    folder: Path,
    settings: dict[str, Any],
    *,
    environment: str = "staging",
    endpoints: tuple[Endpoint, ...] = (),
    facts: dict[str, Any] | None = None,
    body: str = CONTRACT,
) -> tuple[list[Any], Inconclusive | None]:
    context = Context(
        permissions=Permissions(environment, 10, 0, writes=False),
        connector=lambda _session=None: Reached(*endpoints),  # type: ignore[arg-type]
        session=Session(system="crm", environment=environment),
        now=lambda: NOW,
        seed=1,
        settings=settings,
    )
    results: list[Any] = []
    try:
        for result in OperationsCheck()(point(folder, body), Evidence(**(facts or {})), context):  # type: ignore[arg-type]
            results.append(result)
    except Inconclusive as error:
        return results, error
    return results, None


def codes(results: list[Any]) -> list[str]:
    known = registered_codes([OperationsCheck()])
    found = [r.code for r in results if isinstance(r, Finding)]
    assert set(found) <= set(known)
    return [c.removeprefix("operations.") for c in found]


def test_a_system_that_is_looked_after_passes(tmp_path: Path, settings: dict[str, Any]) -> None:
    assert ask(tmp_path, settings) == ([], None)


def test_a_system_that_nobody_looks_after(tmp_path: Path) -> None:
    results, unknown = ask(
        tmp_path, {"standing": {"channels": []}}, facts={"can_write": True, "superuser": True, "tls": False}
    )
    assert codes(results) == [
        "owner_missing",
        "deputy_missing",
        "business_owner_missing",
        "fallback_missing",
        "runbook_missing",
        "credential_expiry_unknown",
        "too_much_privilege",
        "unencrypted",
        "retention_missing",
        "alert_missing",
    ]
    assert unknown is not None
    assert "no drill of crm" in unknown.message
    assert "weighbridge drill crm --fault down" in unknown.remedy


def test_nobody_is_called_for_a_practice_system(tmp_path: Path) -> None:
    with pytest.raises(NotRun, match="practice system") as skipped:
        ask(tmp_path, {}, environment="sandbox")
    assert skipped.value.reason == "not_applicable"


# --- the runbook --------------------------------------------------------------------------------------------------


@pytest.fixture
def wiki() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response({"/there": 200, "/login": 401, "/moved": 302}.get(self.path, 404))
            if self.path == "/moved":
                self.send_header("Location", "/there")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.mark.parametrize(("path", "why"), [("/there", None), ("/login", None), ("/moved", None), ("/gone", "HTTP 404")])
def test_the_runbooks_link(tmp_path: Path, settings: dict[str, Any], wiki: str, path: str, why: str | None) -> None:
    results, _ = ask(tmp_path, {**settings, "runbook": wiki + path})
    assert codes(results) == ([] if why is None else ["runbook_unreachable"])
    assert [r.observed for r in results] == ([] if why is None else [why])


def test_a_runbook_that_is_nowhere(tmp_path: Path, settings: dict[str, Any]) -> None:
    results, _ = ask(tmp_path, {**settings, "runbook": "gone.md"})
    assert results[0].observed == "there is no such file"
    results, _ = ask(tmp_path, {**settings, "runbook": "http://127.0.0.1:9/x"})
    assert codes(results) == ["runbook_unreachable"]


# --- what expires -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ("2026-11-23", "credential_expired"),
        ("2026-12-01", "credential_expiring"),
        ("2027-01-01", None),
        ("soon", "credential_expiry_unknown"),
    ],
)
def test_the_credentials_days(tmp_path: Path, settings: dict[str, Any], ends: str, code: str | None) -> None:
    results, _ = ask(tmp_path, {**settings, "credentials_expire": ends})
    assert codes(results) == ([code] if code else [])


def certificate(folder: Path, ends: dt.datetime) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - dt.timedelta(days=400))
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@pytest.mark.parametrize(("days", "code"), [(-2, "certificate_expired"), (9, "certificate_expiring"), (200, None)])
def test_the_servers_certificate(tmp_path: Path, settings: dict[str, Any], days: int, code: str | None) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = certificate(tmp_path, NOW + dt.timedelta(days=days)).wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        results, _ = ask(tmp_path, settings, endpoints=(Endpoint("127.0.0.1", server.server_port, tls=True),))
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
    assert codes(results) == ([code] if code else [])


def test_plain_text_is_told_beyond_this_machine_only(tmp_path: Path, settings: dict[str, Any]) -> None:
    results, _ = ask(tmp_path, settings, endpoints=(Endpoint("127.0.0.1", 80), Endpoint("crm.example.com", 80)))
    assert [r.message for r in results] == ["crm.example.com:80 is reached without TLS."]


# --- privilege, data ----------------------------------------------------------------------------------------------


def test_a_writer_is_fine_where_writing_is_asked(tmp_path: Path, settings: dict[str, Any]) -> None:
    assert codes(ask(tmp_path, settings, facts={"can_write": True})[0]) == ["too_much_privilege"]
    assert ask(tmp_path, {**settings, "read_only": False}, facts={"can_write": True})[0] == []
    assert codes(ask(tmp_path, {**settings, "read_only": False}, facts={"superuser": True})[0]) == [
        "too_much_privilege"
    ]


def test_personal_data_without_a_classification(tmp_path: Path, settings: dict[str, Any]) -> None:
    body = CONTRACT + "      - {name: BirthDate, logicalType: date}\n"
    results, _ = ask(tmp_path, settings, body=body)
    assert codes(results) == ["personal_data_undeclared"]
    assert results[0].observed == ["BirthDate"]


@pytest.mark.parametrize(
    ("name", "personal"),
    [
        ("Email", True),
        ("first_name", True),
        ("FirstName", True),
        ("billing.street", True),
        ("e-mail", True),
        ("DateOfBirth", True),
        ("IBAN", True),
        ("ShippingPostalCode", True),
        ("Name", False),
        ("AccountNumber", False),
        ("emailed_orders", False),
        ("streetlight", False),
    ],
)
def test_names_of_personal_data(name: str, personal: bool) -> None:
    assert looks_personal(name) is personal


# --- alerts, drills, levels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("test", "found"),
    [
        (CHANNEL, []),
        (None, ["alert_untested"]),
        ({"at": "2026-11-01T00:00:00+00:00", "ok": False}, ["alert_untested"]),
        ({"at": "2026-01-01T00:00:00+00:00", "ok": True}, ["alert_untested"]),
    ],
)
def test_a_channel_counts_when_it_delivered_lately(
    tmp_path: Path, settings: dict[str, Any], test: Any, found: list[str]
) -> None:
    standing = {**settings["standing"], "alert_tests": {"ops": test} if test else {}}
    assert codes(ask(tmp_path, {**settings, "standing": standing})[0]) == found


def test_an_old_drill_proves_nothing_and_a_failed_one_is_a_finding(tmp_path: Path, settings: dict[str, Any]) -> None:
    old = {**settings["standing"], "drill": {**DRILL, "at": "2026-07-01T00:00:00+00:00"}}
    assert ask(tmp_path, {**settings, "standing": old})[1] is not None
    assert ask(tmp_path, {**settings, "standing": old}, environment="production")[1] is None
    failed = {**settings["standing"], "drill": {**DRILL, "ok": False, "why": "no alert within 300 s"}}
    results, unknown = ask(tmp_path, {**settings, "standing": failed})
    assert codes(results) == ["drill_failed"]
    assert unknown is None


LEVELS = """\
slaProperties:
  - {property: timeToDetect, value: 5, unit: m}
  - {property: timeToRepair, value: 2, unit: minutes}
  - {property: availability, value: 99.5, unit: percent}
"""


def test_service_levels_are_answered_or_say_why_not(tmp_path: Path, settings: dict[str, Any]) -> None:
    standing = {**settings["standing"], "availability": {"runs": 200, "up": 200}}
    results, _ = ask(tmp_path, {**settings, "standing": standing}, body=CONTRACT + LEVELS)
    rules = {r.path.rpartition(".")[2]: r for r in results if isinstance(r, RuleResult)}
    assert {k: r.outcome for k, r in rules.items()} == {
        "timeToDetect": "passed",
        "timeToRepair": "failed",
        "availability": "passed",
    }
    assert codes(results) == ["level_missed"]

    few = {**standing, "availability": {"runs": 3, "up": 3}, "drill": None}
    results, unknown = ask(tmp_path, {**settings, "standing": few}, body=CONTRACT + LEVELS)
    assert unknown is not None
    reasons = [r.reason for r in results if isinstance(r, RuleResult)]
    assert reasons == [
        "no drill in the last 90 days measured it",
        "no drill in the last 90 days measured it",
        "needs 20 recorded runs, 3 are there",
    ]


def test_an_availability_below_its_promise_breaks(tmp_path: Path, settings: dict[str, Any]) -> None:
    standing = {**settings["standing"], "availability": {"runs": 200, "up": 198}}
    results, _ = ask(tmp_path, {**settings, "standing": standing}, body=CONTRACT + LEVELS)
    missed = [r for r in results if isinstance(r, Finding) and "availability" in r.message]
    assert missed[0].observed == "99.00 % of 200 runs"


def test_the_docstring_carries_what_the_docs_are_made_from() -> None:
    text = OperationsCheck.__doc__ or ""
    assert "Breaks in production" in text
    assert "Fix" in text
