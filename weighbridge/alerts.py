"""Alert channels: sending through apprise, and proving that what is sent arrives.

A channel is a name and an apprise address in `[alerts.channels]`; addresses are secret and never shown.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from weighbridge.errors import UsageProblem

if TYPE_CHECKING:
    from weighbridge.history import History
    from weighbridge.project import Project

__all__ = ["Channel", "Sent", "channel_names", "channels", "confirm", "send", "send_test"]

ATTEMPTS = 3
PAUSE_S = 2.0
CONFIRM_HOURS = 24
_LETTERS = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Without those that are misread on a phone at night."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One way to reach somebody. `kind` is the address's scheme: `mailto`, `slack`, `json`, ..."""

    name: str
    kind: str
    url: SecretStr = field(repr=False)

    @property
    def mail(self) -> bool:
        return self.kind in ("mailto", "mailtos", "ses", "sendgrid", "mailgun", "sparkpost", "smtp2go")


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one message on one channel."""

    channel: str
    ok: bool
    attempts: int
    seconds: float


def channels(project: Project) -> list[Channel]:
    """The project's channels. Raises UsageProblem for what is no address, by name, never showing it."""
    section = project.section("alerts")
    unknown = sorted(set(section) - {"channels"})
    if unknown:
        raise UsageProblem(f"{project.file}: [alerts] takes only channels, not {', '.join(unknown)}.")
    named = section.get("channels", {})
    if not isinstance(named, Mapping):
        raise UsageProblem(f'{project.file}: [alerts.channels] is a table, as in ops = "${{OPS_ALERT_URL}}".')
    found: list[Channel] = []
    for name, item in named.items():
        url = item.get_secret_value() if isinstance(item, SecretStr) else item
        kind, mark, _ = str(url).partition("://")
        if not isinstance(url, str) or not mark or not _understood(url):
            raise UsageProblem(
                f"{project.file}: alerts.channels.{name} is no address that apprise understands. "
                "It looks like slack://..., mailtos://... or json://host/path; put it into an environment variable."
            )
        found.append(Channel(str(name), kind.lower(), SecretStr(url)))
    return found


def channel_names(project: Project) -> list[str]:
    """The names alone; empty where the section cannot be resolved (the nightly run then says why)."""
    try:
        named = project.section("alerts").get("channels", {})
    except UsageProblem:
        return []
    return list(named) if isinstance(named, Mapping) else []


def _understood(url: str) -> bool:
    return _apprise().Apprise.instantiate(url, suppress_exceptions=True) is not None


@cache
def _apprise() -> Any:
    """The library with its plugins loaded and its log silenced: it logs addresses that it could not parse."""
    logger = logging.getLogger("apprise")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    with warnings.catch_warnings():
        # it imports a module that the standard library has deprecated; nobody here can mend that
        warnings.simplefilter("ignore", DeprecationWarning)
        import apprise

        apprise.Apprise.instantiate("json://localhost")
    return apprise


def send(
    channel: Channel,
    *,
    title: str,
    body: str,
    attach: Path | None = None,
    bad: bool = True,
    sleep: Callable[[float], None] = time.sleep,
) -> Sent:
    """Send one message, trying again twice. `attach` goes along where the channel is e-mail."""
    apprise = _apprise()
    started = time.monotonic()
    target = apprise.Apprise()
    target.add(channel.url.get_secret_value())
    kind = apprise.NotifyType.FAILURE if bad else apprise.NotifyType.SUCCESS
    extra: dict[str, Any] = {"attach": str(attach)} if attach is not None and channel.mail else {}
    for attempt in range(1, ATTEMPTS + 1):
        if target.notify(title=title, body=body, notify_type=kind, body_format=apprise.NotifyFormat.TEXT, **extra):
            return Sent(channel.name, True, attempt, time.monotonic() - started)
        if attempt < ATTEMPTS:
            sleep(PAUSE_S * attempt)
    return Sent(channel.name, False, ATTEMPTS, time.monotonic() - started)


def send_test(
    channel: Channel, history: History, *, project: str, sleep: Callable[[float], None] = time.sleep
) -> tuple[Sent, str]:
    """Send a code and record that it went out; it counts as delivered only after `confirm`. Returns the code too."""
    nonce = "WB-" + "".join(secrets.choice(_LETTERS) for _ in range(8))
    sent = send(
        channel,
        title=f"Weighbridge: test of the alert channel '{channel.name}' ({project})",
        body=(
            f"This is a test, nothing is broken.\n\nCode: {nonce}\n\n"
            f"Whoever reads this proves that alerts arrive: weighbridge alert confirm {nonce}"
        ),
        bad=False,
        sleep=sleep,
    )
    body = {"sent": sent.ok, "attempts": sent.attempts, "confirmed": False, "code": _digest(nonce)}
    history.event("alert", channel.name, ok=False, body=body)
    return sent, nonce


def confirm(
    nonce: str, history: History, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> tuple[str, float]:
    """Record that a code arrived; returns the channel and the seconds it took. Raises UsageProblem for a wrong one."""
    wanted = _digest(nonce)
    for event in history.events("alert", limit=200):
        if event.get("code") != wanted:
            continue
        took = now() - datetime.fromisoformat(event["at"])
        if took > timedelta(hours=CONFIRM_HOURS):
            raise UsageProblem(
                f"The code {nonce} is older than {CONFIRM_HOURS} h. Send another: weighbridge alert test."
            )
        history.event(
            "alert", event["subject"], ok=True, body={"confirmed": True, "seconds": round(took.total_seconds(), 1)}
        )
        return event["subject"], took.total_seconds()
    raise UsageProblem(
        f"No test sent the code {nonce}. Check it for typing errors, or send another: weighbridge alert test."
    )


def _digest(nonce: str) -> str:
    clean = nonce.strip().upper().removeprefix("WB-")
    return hashlib.sha256(clean.encode()).hexdigest()
