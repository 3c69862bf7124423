"""The check `operations`: who is called when it breaks, and would they hear of it."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ClassVar

from weighbridge.checks.base import (
    Code,
    Context,
    Evidence,
    Finding,
    Inconclusive,
    NotRun,
    Result,
    RuleResult,
    Severity,
)
from weighbridge.connectors.base import Probe
from weighbridge.connectors.session import Endpoint
from weighbridge.contracts.models import IntegrationPoint, Property, Rule

__all__ = ["DRILL_DAYS", "OperationsCheck", "looks_personal"]

DRILL_DAYS = 90
"""A drill, and an alert's test, older than this proves nothing any more."""
WARN_DAYS = 30
LINK_SECONDS = 10.0
LEAST_RUNS = 20
"""Recorded runs below which an availability is an anecdote."""
_UNITS = {
    "s": 1, "sec": 1, "second": 1, "seconds": 1, "m": 60, "min": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hour": 3600, "hours": 3600, "d": 86_400, "day": 86_400, "days": 86_400,
}  # fmt: skip
_PERSONAL = re.compile(
    r"(?:^|_)(?:e_?mail|phone|mobile|fax|first_?name|last_?name|surname|given_?name|full_?name|birth(?:_?da(?:te|y))?|"
    r"date_?of_?birth|ssn|social_?security|passport|iban|street|postal_?code|zip_?code|salary|gender|nationality|"
    r"tax_?id|ip_?address)(?:_|$)",
    re.IGNORECASE,
)
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[\s.\-]+")


def looks_personal(name: str) -> bool:
    """Whether a column's name says that it holds personal data: `Email`, `first_name`, `BirthDate`, ..."""
    return bool(_PERSONAL.search(_WORDS.sub("_", name)))


class OperationsCheck:
    """Who answers for this system, would they hear of a failure, and what happens until it is mended.

    Asked outside of the practice systems only: nobody is called for those.

    Breaks in production:
        At 2 am the token expires. The alert goes to a channel that nobody ever tested, the runbook's link is dead,
        the owner has left, and the assistant answers from data of last week without saying so. Nothing of that is a
        defect of the data or of the load; all of it is an outage.

    Fix:
        Name an owner, a deputy and a business owner in weighbridge.toml, write the runbook (`weighbridge runbook`
        drafts one), test the alert (`weighbridge alert test`), hold a drill (`weighbridge drill SYSTEM --fault F`),
        give the reader a login that can only read, and say what answers while the system is down (`fallback`).
    """

    name: ClassVar[str] = "operations"
    needs: ClassVar[tuple[str, ...]] = ("probe",)
    facets: ClassVar[tuple[type, ...]] = ()
    cost: ClassVar[Any] = "cheap"
    codes: ClassVar[tuple[Code, ...]] = (
        Code("operations.owner_missing", Severity.WARN, "Set owner in [systems.NAME]: a person or a team's address."),
        Code(
            "operations.deputy_missing",
            Severity.WARN,
            "Set deputy in [systems.NAME]: who is called when the owner is away.",
        ),
        Code(
            "operations.business_owner_missing",
            Severity.WARN,
            "Set business_owner in [systems.NAME]: who decides when it is down.",
        ),
        Code(
            "operations.runbook_missing",
            Severity.WARN,
            "Set runbook in [systems.NAME]; `weighbridge runbook` drafts one.",
        ),
        Code("operations.runbook_unreachable", Severity.WARN, "Mend the link, or the page behind it."),
        Code("operations.alert_untested", Severity.WARN, "Run `weighbridge alert test` and answer what arrives."),
        Code(
            "operations.alert_missing",
            Severity.WARN,
            "Name a channel in [alerts.channels], then `weighbridge alert test`.",
        ),
        Code("operations.credential_expired", Severity.BREAK, "Renew the credential and correct credentials_expire."),
        Code("operations.credential_expiring", Severity.WARN, "Renew the credential before it expires."),
        Code(
            "operations.credential_expiry_unknown",
            Severity.INFO,
            "Set credentials_expire in [systems.NAME] (YYYY-MM-DD).",
        ),
        Code("operations.certificate_expired", Severity.BREAK, "Renew the server's certificate."),
        Code(
            "operations.certificate_expiring",
            Severity.WARN,
            "Ask the system's owner to renew the server's certificate.",
        ),
        Code("operations.too_much_privilege", Severity.WARN, "Give the integration a login that can only read."),
        Code("operations.unencrypted", Severity.WARN, "Turn TLS on for this connection."),
        Code(
            "operations.fallback_missing",
            Severity.WARN,
            "Set fallback in [systems.NAME]: what answers, how old it may be.",
        ),
        Code(
            "operations.personal_data_undeclared",
            Severity.WARN,
            "Give these properties a `classification` in the contract: they are masked then.",
        ),
        Code(
            "operations.retention_missing",
            Severity.WARN,
            "Set retention_days in [systems.NAME]: how long copies are kept.",
        ),
        Code("operations.drill_failed", Severity.WARN, "Mend what the drill showed, then hold it again."),
        Code("operations.level_missed", Severity.BREAK, "Mend what was slow, or promise what can be kept."),
    )

    def __call__(self, point: IntegrationPoint, evidence: Evidence, context: Context) -> Iterable[Result]:
        if context.permissions.environment == "sandbox":
            raise NotRun("not_applicable", "nobody is called for a practice system.")
        settings = context.settings
        today = context.now().date()
        yield from _people(settings)
        yield from _runbook(settings)
        yield from _credentials(settings, today)
        yield from _certificates(context, today)
        yield from _privilege(evidence.probe, settings)
        yield from _data(point, settings)
        standing = settings.get("standing")
        known = standing if isinstance(standing, Mapping) else {}
        yield from _alerts(known, context.now())
        drill = _recent(known.get("drill"), context.now())
        yield from _drill(drill)
        yield from _levels(point, known, drill)
        if context.permissions.environment == "staging" and drill is None:
            raise Inconclusive(
                f"no drill of {point.system} in the last {DRILL_DAYS} days: whether anybody would notice is unknown.",
                remedy=f"Hold one: `weighbridge drill {point.system} --fault down`.",
            )


def _people(settings: Mapping[str, Any]) -> Iterator[Finding]:
    for key, words, effect in (
        ("owner", "owner", "Nobody is called when it breaks."),
        ("deputy", "deputy", "Nobody is called when the owner is away."),
        ("business_owner", "business owner", "Nobody decides whether to switch it off or to wait."),
    ):
        if not settings.get(key):
            yield Finding(f"operations.{key}_missing", f"no {words} is named for this system.", business_effect=effect)
    if not settings.get("fallback"):
        yield Finding(
            "operations.fallback_missing",
            "nothing says what answers while this system is down, and how old that may be.",
            business_effect="Users get an error, or old figures that look new.",
        )


def _runbook(settings: Mapping[str, Any]) -> Iterator[Finding]:
    link = settings.get("runbook")
    if not link:
        yield Finding(
            "operations.runbook_missing",
            "no runbook is named for this system.",
            business_effect="Whoever is called at night starts from nothing.",
        )
        return
    why = _broken(str(link), settings.get("folder"))
    if why is not None:
        yield Finding(
            "operations.runbook_unreachable",
            f"the runbook {link} does not open: {why}.",
            observed=why,
            business_effect="Whoever is called at night starts from nothing.",
        )


def _broken(link: str, folder: Any) -> str | None:
    """Why a link leads nowhere; None where it resolves. A page that asks for a login is there."""
    import requests

    if not link.lower().startswith(("http://", "https://")):
        path = Path(str(folder or ".")) / link.partition("#")[0]
        return None if path.is_file() else "there is no such file"
    try:
        with requests.get(link, timeout=LINK_SECONDS, stream=True) as answer:
            status = answer.status_code
    except requests.RequestException as error:
        return f"no answer ({type(error).__name__})"
    return None if status < 400 or status in (401, 403, 405) else f"HTTP {status}"


def _credentials(settings: Mapping[str, Any], today: date) -> Iterator[Finding]:
    text = settings.get("credentials_expire")
    if not text:
        yield Finding("operations.credential_expiry_unknown", "nothing says when this system's credential expires.")
        return
    try:
        ends = date.fromisoformat(str(text)[:10])
    except ValueError:
        yield Finding(
            "operations.credential_expiry_unknown", f"credentials_expire = '{text}' is no date.", observed=str(text)
        )
        return
    yield from _expiry("credential", "the credential", ends, today)


def _expiry(kind: str, words: str, ends: date, today: date) -> Iterator[Finding]:
    days = (ends - today).days
    effect = "Every call is refused from that day on."
    if days < 0:
        yield Finding(
            f"operations.{kind}_expired", f"{words} expired on {ends}.", expected=f">= {WARN_DAYS} days", observed=days,
            evidence={"expires": ends.isoformat()}, business_effect=effect,
        )  # fmt: skip
    elif days < WARN_DAYS:
        yield Finding(
            f"operations.{kind}_expiring", f"{words} expires on {ends}, in {days} days.", observed=days,
            expected=f">= {WARN_DAYS} days", evidence={"expires": ends.isoformat()}, business_effect=effect,
        )  # fmt: skip


def _certificates(context: Context, today: date) -> Iterator[Finding]:
    for endpoint in dict.fromkeys(context.connector().endpoints()):
        if not endpoint.tls:
            if not _loopback(endpoint.host):
                yield Finding(
                    "operations.unencrypted",
                    f"{endpoint.host}:{endpoint.port} is reached without TLS.",
                    business_effect="Anybody on the way reads the data, and perhaps the password.",
                )
            continue
        ends = _certificate_end(context, endpoint)
        if ends is not None:
            words = f"the certificate of {endpoint.host}"
            yield from _expiry("certificate", words, ends, today)


def _certificate_end(context: Context, endpoint: Endpoint) -> date | None:
    """The last day of the certificate that answers; None where no TLS handshake comes about."""
    from cryptography import x509

    # The certificate is only read here, not trusted: the connector itself verifies it.
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    dialled = context.session.route(endpoint)
    try:
        with (
            context.session.attempt("certificate"),
            socket.create_connection((dialled.host, dialled.port), timeout=LINK_SECONDS) as raw,
            tls.wrap_socket(raw, server_hostname=endpoint.host) as secured,
        ):
            sent = secured.getpeercert(binary_form=True)
    except OSError:
        return None
    return x509.load_der_x509_certificate(sent).not_valid_after_utc.date() if sent else None


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _privilege(probe: Probe, settings: Mapping[str, Any]) -> Iterator[Finding]:
    facts = probe.facts
    reading = settings.get("read_only") is not False
    powers = [
        words
        for key, words in (
            ("superuser", "is a superuser"),
            ("administrator", "may create databases or roles"),
            ("can_create", "may create tables"),
        )
        if facts.get(key) is True
    ]
    if reading and facts.get("can_write") is True:
        powers.append("may write")
    if powers:
        yield Finding(
            "operations.too_much_privilege",
            f"the login {probe.user or ''} {', '.join(powers)}, and only reading is asked of it.".replace("  ", " "),
            expected="a login that can only read",
            observed=powers,
            business_effect="A mistake, or somebody who steals the password, can change or delete the business's data.",
        )
    if facts.get("tls") is False:
        yield Finding(
            "operations.unencrypted",
            "the connection is not encrypted.",
            business_effect="Anybody on the way reads the data, and perhaps the password.",
        )


def _data(point: IntegrationPoint, settings: Mapping[str, Any]) -> Iterator[Finding]:
    bare = [p.name for p in _flat(point.object.properties) if p.classification is None and looks_personal(p.name)]
    if bare:
        yield Finding(
            "operations.personal_data_undeclared",
            f"{len(bare)} properties look like personal data and have no classification: {', '.join(bare[:10])}.",
            observed=bare[:50],
            evidence={"object": point.object.name},
            business_effect="Personal data is copied and shown without anybody having decided so.",
        )
    promised = any(sla.property == "retention" for sla in point.contract.sla)
    if settings.get("retention_days") is None and not promised:
        yield Finding("operations.retention_missing", "nothing says how long copies of this system's data are kept.")


def _flat(properties: Iterable[Property]) -> Iterator[Property]:
    for item in properties:
        yield item
        yield from _flat(item.properties)


def _alerts(standing: Mapping[str, Any], now: datetime) -> Iterator[Finding]:
    channels = standing.get("channels")
    if channels is None:
        return
    if not channels:
        yield Finding(
            "operations.alert_missing",
            "no alert channel is configured: a failure is found by its users.",
            business_effect="The first to notice are the customers.",
        )
        return
    tests = standing.get("alert_tests") or {}
    for channel in channels:
        test = _recent(tests.get(channel), now)
        if test is None or not test.get("ok"):
            last = f"last tested on {str(tests[channel]['at'])[:10]}" if channel in tests else "never tested"
            vain = ", in vain" if channel in tests and not tests[channel].get("ok") else ""
            yield Finding(
                "operations.alert_untested",
                f"the alert channel '{channel}' is not proved to deliver: {last}{vain}.",
                expected=f"a delivery in the last {DRILL_DAYS} days",
                evidence={"object": f"channel {channel}"},
                business_effect="An alert may go where nobody reads it.",
            )


def _recent(event: Any, now: datetime) -> Mapping[str, Any] | None:
    """An event of the history, None where there is none within the last 90 days."""
    if not isinstance(event, Mapping):
        return None
    at = datetime.fromisoformat(str(event["at"]))
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return event if now - at <= timedelta(days=DRILL_DAYS) else None


def _drill(drill: Mapping[str, Any] | None) -> Iterator[Finding]:
    if drill is not None and not drill.get("ok"):
        yield Finding(
            "operations.drill_failed",
            f"the drill of {str(drill['at'])[:10]} failed: {drill.get('why', 'no alert came')}.",
            evidence={"fault": drill.get("fault")},
            business_effect="A real failure of this kind would go unnoticed, or be mended late.",
        )


def _levels(point: IntegrationPoint, standing: Mapping[str, Any], drill: Mapping[str, Any] | None) -> Iterator[Result]:
    """The service levels of the contract that operation answers: availability and the times of an incident."""
    for rule in point.rules:
        if rule.check != "operations":
            continue
        name = str(rule.arguments.get("property"))
        if name == "availability":
            result = _availability(rule, standing.get("availability") or {})
        elif name in ("timeToDetect", "timeToNotify", "timeToRepair"):
            result = _time_level(rule, drill, name)
        else:
            result = _rule(rule, "not_run", reason="for people")
        yield result
        if result.outcome == "failed":
            yield Finding(
                "operations.level_missed",
                f"{name} is {result.observed} and {rule.expected} is promised.",
                expected=rule.expected,
                observed=result.observed,
                evidence={"rule": rule.path},
            )


def _availability(rule: Rule, seen: Mapping[str, Any]) -> RuleResult:
    runs, up = int(seen.get("runs", 0)), int(seen.get("up", 0))
    if runs < LEAST_RUNS:
        return _rule(rule, "not_run", reason=f"needs {LEAST_RUNS} recorded runs, {runs} are there")
    try:
        promised = float(str(rule.arguments.get("value")).rstrip("% "))
    except ValueError:
        return _rule(rule, "errored", reason=f"'{rule.arguments.get('value')}' is no share in percent")
    share = 100.0 * up / runs
    return _rule(rule, "passed" if share >= promised else "failed", observed=f"{share:.2f} % of {runs} runs")


def _time_level(rule: Rule, drill: Mapping[str, Any] | None, name: str) -> RuleResult:
    if drill is None:
        return _rule(rule, "not_run", reason=f"no drill in the last {DRILL_DAYS} days measured it")
    seconds = drill.get(
        {"timeToDetect": "detected_s", "timeToNotify": "detected_s", "timeToRepair": "recovered_s"}[name]
    )
    unit = _UNITS.get(str(rule.arguments.get("unit") or "s").strip().lower())
    try:
        promised = float(rule.arguments["value"]) * (unit or 1)
    except (TypeError, ValueError):
        unit = None
        promised = 0.0
    if unit is None:
        return _rule(rule, "errored", reason=f"'{rule.expected}' is no time")
    if seconds is None:
        return _rule(rule, "failed", observed="never in the drill")
    return _rule(rule, "passed" if seconds <= promised else "failed", observed=f"{seconds:.0f} s in the drill")


def _rule(rule: Rule, outcome: Any, *, reason: str | None = None, observed: Any = None) -> RuleResult:
    return RuleResult(
        id=rule.id,
        path=rule.path,
        name=rule.name,
        line=rule.line,
        outcome=outcome,
        reason=reason,
        severity=rule.severity,
        observed=observed,
        expected=rule.expected,
    )
