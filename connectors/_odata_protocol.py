"""What V2 and V4 of OData write differently, as two values of one class; errors and rate headers as they are told."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from weighbridge.connectors._odata_types import literal
from weighbridge.connectors.errors import (
    AccessError,
    ConnectorError,
    MissingObjectError,
    ProtocolError,
    QuotaExhausted,
    RejectedError,
)
from weighbridge.connectors.http import Answer

__all__ = ["V2", "V4", "CsrfRequired", "NotAcceptable", "Protocol", "Rates", "classify", "error_text"]


class NotAcceptable(ProtocolError):
    """The service does not know the media type's parameters."""


class CsrfRequired(AccessError):
    """The service wants a CSRF token before it lets anything be written."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """One version's ways."""

    version: int
    next_key: str
    delta_key: str
    accept: str
    content_type: str
    update: str
    """Method of a partial update."""
    headers: Mapping[str, str]
    inline_count: tuple[str, str]

    def rows(self, body: Any, what: str) -> tuple[list[Any], str | None, Mapping[str, Any]]:
        """(rows, next link, envelope) of a collection; raises ProtocolError."""
        envelope = body.get("d") if self.version == 2 and isinstance(body, dict) else body
        if self.version == 2 and isinstance(envelope, list):  # protocol version 1
            envelope = {"results": envelope}
        if self.version == 2 and envelope is None and isinstance(body.get("value"), list):  # V3's light form
            envelope = {
                "results": body["value"],
                "__next": body.get("odata.nextLink"),
                "__count": body.get("odata.count"),
            }
        inner = "results" if self.version == 2 else "value"
        if not isinstance(envelope, dict) or not isinstance(envelope.get(inner), list):
            raise ProtocolError(
                f"{what}: the answer is JSON but no OData V{self.version} collection (no '{inner}').",
                remedy="Check the url option; a gateway in between may wrap or change answers.",
            )
        following = self._control(envelope, self.next_key)
        if following is not None and not isinstance(following, str):
            raise ProtocolError(
                f"{what}: the link to the next page is not text.",
                remedy="Tell the service's owner; try paging = 'skip'.",
            )
        return envelope[inner], following or None, envelope

    @staticmethod
    def _control(envelope: Mapping[str, Any], key: str) -> Any:
        """Control information by its name; 4.01 may leave `odata.` away."""
        found = envelope.get(key)
        return envelope.get(key.replace("odata.", "")) if found is None else found

    def delta_link(self, envelope: Mapping[str, Any]) -> str | None:
        found = self._control(envelope, self.delta_key)
        return found if isinstance(found, str) else None

    def entity(self, body: Any, what: str) -> Mapping[str, Any]:
        found = body.get("d") if self.version == 2 and isinstance(body, dict) else body
        if isinstance(found, dict) and isinstance(found.get("results"), dict):
            found = found["results"]
        if not isinstance(found, dict):
            raise ProtocolError(f"{what}: the answer is no OData V{self.version} entity.")
        return found

    def etag(self, row: Mapping[str, Any]) -> str | None:
        found = row.get("__metadata", {}).get("etag") if self.version == 2 else self._control(row, "@odata.etag")
        return found if isinstance(found, str) else None

    def count(self, envelope: Mapping[str, Any]) -> int | None:
        found = self._control(envelope, "__count" if self.version == 2 else "@odata.count")
        try:
            return None if found is None else int(found)
        except (TypeError, ValueError):
            return None

    def literal(self, value: Any, native: str) -> str:
        return literal(value, native, self.version)

    def json_value(self, value: Any, native: str) -> Any:
        """A Python value as it is written into a body."""
        if isinstance(value, Decimal):
            return format(value, "f")
        if native == "Edm.Int64" and isinstance(value, int):
            return str(value)
        if isinstance(value, bytes):
            coded = base64.b64encode(value) if self.version == 2 else base64.urlsafe_b64encode(value)
            return coded.decode()
        if isinstance(value, timedelta):
            return f"PT{value.total_seconds():.6f}".rstrip("0").rstrip(".") + "S"
        if isinstance(value, datetime):
            return self._moment(value)
        if isinstance(value, date):
            return self._moment(datetime.combine(value, time())) if self.version == 2 else value.isoformat()
        if isinstance(value, time):
            return value.strftime("PT%HH%MM%SS") if self.version == 2 else value.isoformat()
        return value

    def _moment(self, value: datetime) -> str:
        if self.version == 4:
            return value.isoformat().replace("+00:00", "Z")
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        millis = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
        return f"/Date({millis}{'+0000' if value.tzinfo else ''})/"


V4 = Protocol(
    version=4,
    next_key="@odata.nextLink",
    delta_key="@odata.deltaLink",
    accept="application/json;odata.metadata=minimal;IEEE754Compatible=true",
    content_type="application/json;IEEE754Compatible=true",
    update="PATCH",
    headers={"OData-MaxVersion": "4.0"},
    inline_count=("$count", "true"),
)
V2 = Protocol(
    version=2,
    next_key="__next",
    delta_key="__delta",
    accept="application/json",
    content_type="application/json",
    update="MERGE",
    headers={"MaxDataServiceVersion": "2.0"},
    inline_count=("$inlinecount", "allpages"),
)


def error_text(answer: Answer) -> tuple[str, str]:
    """(code, message) of an error body, V2 or V4; the excerpt where it is neither."""
    try:
        body = answer.json()
    except ProtocolError:
        return "", answer.excerpt
    error = body.get("error", body.get("odata.error")) if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return "", answer.excerpt
    message = error.get("message")
    if isinstance(message, dict):
        message = message.get("value")
    return str(error.get("code", "")), " ".join(str(message or "").split())[:300]


def classify(answer: Answer, place: str) -> ConnectorError | None:
    """The error of an OData answer where the service's words say more than the status; None leaves it to the status."""
    status = answer.status
    if status < 400:
        return None
    code, message = error_text(answer)
    words = f"{place}: {message or 'no reason given'}" + (f" ({status}, {code})" if code else f" ({status})")
    if status == 403 and answer.headers.get("x-csrf-token", "").lower() == "required":
        return CsrfRequired(f"{place}: a CSRF token is required.", remedy="Set csrf = true if this stays.")
    if status in (403, 429) and re.search(r"(?i)daily|quota|entitlement", f"{code} {message}"):
        return QuotaExhausted(words, remedy="A quota is used up: ask the system's owner for its size and reset time.")
    if status in (400, 404) and re.search(r"(?i)property named|segment|resource not found|invalid property", message):
        return MissingObjectError(words, remedy="Check the names in the contract against the service's $metadata.")
    if status in (406, 415):
        return NotAcceptable(words, remedy="The service answers no JSON: check the url option and the version.")
    if status == 412:
        return RejectedError(words, remedy="The record was changed by somebody else meanwhile: read it again.")
    if status in (400, 409, 422, 428, 501):
        return RejectedError(words, remedy="Correct what was asked for or sent; the message is the service's own.")
    return None


@dataclass(slots=True)
class Rates:
    """What the rate headers said last: RateLimit (IETF draft), X-RateLimit-*, and Dataverse's x-ms-ratelimit-*."""

    cap: float | None = None
    remaining: float | None = None
    window: float | None = None
    burst_remaining: float | None = None
    time_remaining: float | None = None
    seen: bool = False

    def notice(self, headers: Mapping[str, str]) -> None:
        """Take in one answer's headers."""
        if not any("ratelimit" in name.lower() for name in headers):
            return
        policy = headers.get("RateLimit-Policy")
        if policy:
            self._take("cap", re.search(r"\bq=(\d+(?:\.\d+)?)", policy) or re.match(r"\s*(\d+)", policy))
            self._take("window", re.search(r"\bw=(\d+(?:\.\d+)?)", policy))
        current = headers.get("RateLimit")
        if current:
            self._take("remaining", re.search(r"\br=(\d+)", current))
        for name, field in _PLAIN_RATES:
            value = headers.get(name)
            if value is not None:
                self._take(field, re.match(r"\s*(\d+(?:\.\d+)?)", value))

    def _take(self, name: str, found: re.Match[str] | None) -> None:
        if found:
            setattr(self, name, float(found[1]))
            self.seen = True


_PLAIN_RATES = (
    ("RateLimit-Limit", "cap"),
    ("RateLimit-Remaining", "remaining"),
    ("X-RateLimit-Limit", "cap"),
    ("X-RateLimit-Remaining", "remaining"),
    ("X-HubSpot-RateLimit-Max", "cap"),
    ("X-HubSpot-RateLimit-Remaining", "remaining"),
    ("x-ms-ratelimit-burst-remaining-xrm-requests", "burst_remaining"),
    ("x-ms-ratelimit-time-remaining-xrm-requests", "time_remaining"),
)
