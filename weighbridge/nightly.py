"""The nightly run: the cheap checks, compared with the runs before, told in one message, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from weighbridge.alerts import Channel, channels, send
from weighbridge.digest import Digest, digest
from weighbridge.errors import DeliveryProblem, UsageProblem
from weighbridge.history import History
from weighbridge.report.files import write_atomically
from weighbridge.report.model import Report

if TYPE_CHECKING:
    from weighbridge.project import Project

__all__ = ["CHECKS", "Night", "NightlySettings", "nightly"]

CHECKS = ("connection", "schema", "quality", "freshness", "drift", "limits", "operations")
PING_SECONDS = 15.0


class NightlySettings(BaseModel):
    """The keys of `[nightly]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    environment: Literal["sandbox", "staging", "production"] = "staging"
    """Which one is looked at."""
    checks: tuple[str, ...] = CHECKS
    """What is asked: the cheap checks."""
    ping: SecretStr | None = None
    """Dead-man address: called when the night is over and everything was delivered."""
    prometheus_file: str | None = None
    """Where the metrics are written for node_exporter's textfile collector."""
    pushgateway: SecretStr | None = None
    """Prometheus Pushgateway that takes the metrics."""
    otlp: SecretStr | None = None
    """OpenTelemetry collector that takes the metrics by OTLP over HTTP, `http://collector:4318`; the extra `otel`."""
    out: str = ".weighbridge/nightly"
    """Folder of the night's report."""
    at: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "02:30"
    """When `weighbridge schedule` lets it run, local time."""

    @classmethod
    def of(cls, project: Project) -> NightlySettings:
        """Raises UsageProblem naming every wrong key."""
        try:
            return cls.model_validate(project.section("nightly"))
        except ValidationError as error:
            told = "; ".join(
                f"nightly.{'.'.join(map(str, e['loc']))}: {e['msg']}"
                for e in error.errors(include_input=False, include_url=False, include_context=False)
            )
            raise UsageProblem(f"{project.file}: {told}") from None


@dataclass(slots=True)
class Night:
    """What one night came to."""

    report: Report
    digest: Digest
    sent: list[str] = field(default_factory=list)
    """Channels that took the message."""
    problems: list[str] = field(default_factory=list)
    """What could not be delivered, in words."""


def nightly(
    project: Project,
    settings: NightlySettings,
    weigh: Callable[[], tuple[Report, str | None]],
    *,
    history: History,
    to: Sequence[Channel] | None = None,
    always: bool = False,
) -> Night:
    """Run (`weigh` gives the compared report and why a file of it could not be written), tell, and ping.

    The message goes out when something is new or fixed, or when the last one did not arrive. The dead-man address is
    called only after everything was delivered, so that its owner hears of a night that ended halfway.
    """
    targets = channels(project) if to is None else list(to)
    told = history.events("digest", settings.environment, limit=1)
    first = not told  # whatever was weighed by hand before: nobody was told of it yet
    undelivered = bool(told) and not told[0]["ok"]
    report, unwritten = weigh()
    night = Night(report, digest(report, first=first, undelivered=undelivered))
    if unwritten:
        night.problems.append(unwritten)
    _metrics(project, settings, night)
    if night.digest.reason or always:
        _tell(project, settings, night, targets)
        body: dict[str, Any] = {"run": report.run.id, "reason": night.digest.reason, "channels": night.sent}
        delivered = len(night.sent) == len(targets)
        if targets:
            history.event("digest", settings.environment, ok=delivered, body=body)
    if settings.ping is not None and not night.problems:
        _ping(settings.ping, night)
    return night


def _tell(project: Project, settings: NightlySettings, night: Night, targets: Sequence[Channel]) -> None:
    page = project.folder / settings.out / "report.html"
    for channel in targets:
        sent = send(
            channel,
            title=night.digest.title,
            body=night.digest.body,
            attach=page if page.is_file() else None,
            bad=night.digest.bad,
        )
        if sent.ok:
            night.sent.append(channel.name)
        else:
            night.problems.append(
                f"The alert channel '{channel.name}' did not take the message after {sent.attempts} tries."
            )


def _metrics(project: Project, settings: NightlySettings, night: Night) -> None:
    from weighbridge import metrics

    def collector(address: str) -> None:
        from weighbridge import otel

        otel.push(night.report, address)

    def secret(address: SecretStr | None) -> str | None:
        return None if address is None else address.get_secret_value()

    ways: tuple[tuple[str | None, Callable[[str], object]], ...] = (
        (settings.prometheus_file, lambda place: write_atomically(project.folder / place, metrics.text(night.report))),
        (secret(settings.pushgateway), lambda address: metrics.push(night.report, address)),
        (secret(settings.otlp), collector),
    )
    for place, put in ways:
        try:
            if place is not None:
                put(place)
        except (DeliveryProblem, UsageProblem) as problem:
            night.problems.append(str(problem))


def _ping(address: SecretStr, night: Night) -> None:
    import requests

    try:
        answer = requests.get(address.get_secret_value(), timeout=PING_SECONDS)
        if answer.status_code < 300:
            return
        why = f"HTTP {answer.status_code}"
    except requests.RequestException as error:
        why = type(error).__name__
    night.problems.append(f"The dead-man address of nightly.ping could not be called ({why}).")
