"""Who answers, as whom, over what, and is it the system and the login that were meant?"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from weighbridge.checks.base import (
    Code,
    Context,
    Cost,
    Evidence,
    Finding,
    Measurement,
    Result,
    Severity,
)
from weighbridge.connectors.base import Observation, Probe
from weighbridge.connectors.session import Endpoint
from weighbridge.contracts.models import IntegrationPoint

__all__ = ["ConnectionCheck"]

DAYS_AHEAD = 30
LOOPBACK = ("127.", "::1", "localhost")

OBSERVED: Mapping[str, str] = {
    # what connectors notice while probing -> the finding that it is; anything else is `noticed`
    "login_retiring": "connection.login_retiring",
    "login_can_write": "connection.login_can_write",
    "session_not_read_only": "connection.not_read_only",
    "version_out_of_support": "connection.out_of_support",
}


class ConnectionCheck:
    """Probes the system and reads what it says about itself.

    Product, version, login, encryption and the proof of read-only stand in the report. Facts that any connector may
    give are judged here: `read_only`, `superuser`, `sandbox`, `tls`, `certificate_expires`, `credential_expires`; so
    are the observations it makes while probing.

    Breaks in production
        The certificate or the password runs out on a Saturday. The login in the settings is an administrator's, and a
        faulty prompt deletes. What was weighed as staging was production, or the other way round. The login flow is
        switched off by the vendor.

    Fix
        A login of its own for the integration, that can read what it needs and nothing else; TLS with a certificate
        that renews itself; the dates in the calendar of the owner that the contract names.
    """

    name: ClassVar[str] = "connection"
    needs: ClassVar[tuple[str, ...]] = ("probe",)
    facets: ClassVar[tuple[type, ...]] = ()
    cost: ClassVar[Cost] = "cheap"
    codes: ClassVar[tuple[Code, ...]] = (
        Code(
            "connection.environment_mismatch", Severity.BREAK,
            "Point the settings of this environment at the system that is meant, or name the environment rightly.",
        ),
        Code(
            "connection.not_read_only", Severity.WARN,
            "Give the integration a login without the right to write, or a read-only replica.",
        ),
        Code(
            "connection.login_can_write", Severity.WARN,
            "Take the right to write from this login; give writes a login of their own.",
        ),
        Code(
            "connection.privileged_login", Severity.WARN,
            "Use a login of the integration's own instead of an administrator's.",
        ),
        Code(
            "connection.not_encrypted", Severity.WARN,
            "Turn TLS on: passwords and rows cross the network readable.",
        ),
        Code("connection.certificate_expired", Severity.BREAK, "Renew the server's certificate now."),
        Code(
            "connection.certificate_expires", Severity.WARN,
            "Renew the server's certificate, and let it renew itself from then on.",
        ),
        Code(
            "connection.credential_expires", Severity.WARN,
            "Renew the password or certificate of this login, and put the next date into the owner's calendar.",
        ),
        Code(
            "connection.login_retiring", Severity.WARN,
            "Move to the login flow that the message names before the vendor switches this one off.",
        ),
        Code("connection.out_of_support", Severity.WARN, "Plan the upgrade with the system's owner."),
        Code("connection.noticed", Severity.INFO, "Read it; it changes no status."),
    )  # fmt: skip

    def __call__(self, point: IntegrationPoint, evidence: Evidence, context: Context) -> Iterable[Result]:
        probe = evidence.probe
        endpoints = [context.connector().endpoints()] if probe.product else []
        encryption = list(_encryption(probe, [e for group in endpoints for e in group], context))
        yield Measurement("connection", _measured(probe, encryption, context))
        yield from _environment(point, probe, context)
        yield from _rights(point, probe, context)
        yield from _encrypted(point, encryption)
        yield from _dates(point, probe, encryption, context.now())
        yield from (_noticed(point, observation) for observation in probe.observations)


def _measured(probe: Probe, encryption: list[Mapping[str, Any]], context: Context) -> Mapping[str, Any]:
    proof = probe.facts.get("read_only")
    return {
        "product": probe.product,
        "version": probe.version,
        "user": probe.user,
        "seconds": round(probe.seconds, 4),
        "facts": dict(probe.facts),
        "encryption": encryption,
        "read_only": {
            "asked": not context.session.writes_allowed,
            "proved": None if proof is None else bool(proof),
            "why": "the system gives no proof" if proof is None else "the system says so of this session",
        },
    }


def _environment(point: IntegrationPoint, probe: Probe, context: Context) -> Iterator[Finding]:
    practice = probe.facts.get("sandbox")
    environment = context.permissions.environment
    if practice is None or environment == "sandbox":
        return
    if bool(practice) == (environment == "production"):
        what = "a sandbox" if practice else "the production system"
        yield Finding(
            "connection.environment_mismatch",
            f"{point.id}: these are the settings of {environment}, but the system says that it is {what}",
            expected=environment,
            observed=what,
            business_effect="Every figure of this run would be about another system than the one it names.",
        )


def _rights(point: IntegrationPoint, probe: Probe, context: Context) -> Iterator[Finding]:
    user = probe.user or "this login"
    if not context.session.writes_allowed and probe.facts.get("read_only") is False:
        yield Finding(
            "connection.not_read_only",
            f"{point.id}: nothing may be written here, but the system would let this session write",
            expected="a session that is refused when it writes",
            observed=f"{user} may write",
        )
    if probe.facts.get("superuser"):
        yield Finding(
            "connection.privileged_login",
            f"{point.id}: {user} is an administrator of {probe.product}",
            expected="a login with the rights it needs",
            observed="an administrator",
            business_effect="One wrong statement can change or drop anything.",
        )


def _encryption(probe: Probe, endpoints: list[Endpoint], context: Context) -> Iterator[Mapping[str, Any]]:
    """What is known of each endpoint: the connector's own word where it has one, else a handshake."""
    for endpoint in endpoints:
        told = probe.facts.get("tls")
        encrypted = endpoint.tls if told is None else bool(told)
        until = probe.facts.get("certificate_expires")
        if encrypted and until is None and told is None:
            with context.session.attempt("tls handshake"):
                until = _certificate_end(endpoint, context.session.route, context.session.timeout)
        yield {
            "host": endpoint.host,
            "port": endpoint.port,
            "tls": encrypted,
            "version": probe.facts.get("tls_version"),
            "certificate_expires": until,
        }


def _certificate_end(endpoint: Endpoint, route: Callable[[Endpoint], Endpoint], timeout: float) -> str | None:
    """Last day of the certificate that the server shows, in ISO form; None where it shows none in time.

    It is read, not trusted: the connector's own handshake has verified it, or would have failed the probe.
    """
    import socket

    from cryptography import x509

    target = route(endpoint)
    reading = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    reading.check_hostname = False
    reading.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((target.host, target.port), timeout=timeout) as plain,
            reading.wrap_socket(plain, server_hostname=endpoint.host) as secure,
        ):
            shown = secure.getpeercert(binary_form=True)
    except OSError:
        return None
    return x509.load_der_x509_certificate(shown).not_valid_after_utc.isoformat() if shown else None


def _encrypted(point: IntegrationPoint, encryption: list[Mapping[str, Any]]) -> Iterator[Finding]:
    for line in encryption:
        if not line["tls"] and not str(line["host"]).startswith(LOOPBACK):
            yield Finding(
                "connection.not_encrypted",
                f"{point.id}: the connection to {line['host']}:{line['port']} is not encrypted",
                expected="TLS",
                observed="plain text",
                business_effect="Anybody on the way reads the password and the rows.",
            )


def _dates(
    point: IntegrationPoint, probe: Probe, encryption: list[Mapping[str, Any]], now: datetime
) -> Iterator[Finding]:
    for line in encryption:
        days = _days(line["certificate_expires"], now)
        if days is not None and days < DAYS_AHEAD:
            ended = days < 0
            yield Finding(
                "connection.certificate_expired" if ended else "connection.certificate_expires",
                f"{point.id}: the certificate of {line['host']}:{line['port']} "
                + (f"ended {-days} days ago" if ended else f"ends in {days} days"),
                expected=f"at least {DAYS_AHEAD} days",
                observed=days,
                evidence={"until": line["certificate_expires"]},
                business_effect="On that day every call fails, for everybody at once.",
            )
    days = _days(probe.facts.get("credential_expires"), now)
    if days is not None and days < DAYS_AHEAD:
        yield Finding(
            "connection.credential_expires",
            f"{point.id}: the credential of {probe.user or 'this login'} ends in {days} days",
            expected=f"at least {DAYS_AHEAD} days",
            observed=days,
            evidence={"until": str(probe.facts["credential_expires"])},
        )


def _days(until: Any, now: datetime) -> int | None:
    if until is None:
        return None
    moment = until if isinstance(until, datetime) else datetime.fromisoformat(str(until))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - now).days


def _noticed(point: IntegrationPoint, observation: Observation) -> Finding:
    return Finding(
        OBSERVED.get(observation.code, "connection.noticed"),
        f"{point.id}: {observation.message}",
        observed=observation.code,
        evidence=dict(observation.data),
    )
