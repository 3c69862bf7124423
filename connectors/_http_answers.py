"""One HTTP answer, and what its status, its type and its JSON say before any connector looks at it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from json import JSONDecoder
from typing import Any
from urllib.parse import urlsplit

import requests

from weighbridge.connectors._wire_errors import Garbled, refused_login, stays
from weighbridge.connectors.errors import (
    AccessError,
    AuthError,
    ConnectorError,
    MissingObjectError,
    ProtocolError,
    RejectedError,
    RetriableError,
    ThrottledError,
    UnreachableError,
)

__all__ = [
    "Answer",
    "Received",
    "answer_of",
    "charset_of",
    "loads",
    "parse_retry_after",
    "place",
    "require_json",
    "status_error",
]

LONGEST_WAIT = 86_400.0
"""Seconds; a Retry-After beyond a day is taken as a day, which no deadline allows: the call fails at once."""
MOST_CONTAINERS = 2_000_000
"""Arrays and objects in one answer; 10 MB of `[[],[],...` would otherwise become 300 MB of lists."""
WORTH_COUNTING = 4_000_000
"""Bytes below which an answer cannot become more than 100 MB of containers: counting them costs a tenth of parsing."""


class Received(requests.Response):
    """A response whose JSON was already read once, inside the attempt that may still be repeated."""

    parsed: Any = None
    seconds: float = 0.0

    def json(self, **kwargs: Any) -> Any:
        if self.parsed is not None:
            return self.parsed
        return super().json(**kwargs)


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer with its whole body. `json()` was read when the answer came."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str
    seconds: float = 0.0
    parsed: Any = None

    def json(self) -> Any:
        """The body as JSON values; raises ProtocolError where it is none."""
        if self.parsed is not None or not self.body:
            return self.parsed
        try:
            return loads(self.body, None, charset_of(self.headers))
        except Garbled as error:
            raise ProtocolError(f"{place(self.url)}: {error.message}", remedy=error.remedy) from None

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def media_type(self) -> str:
        return self.headers.get("Content-Type", "").split(";", 1)[0].strip().lower()

    @property
    def excerpt(self) -> str:
        """The first words of the body without markup, for messages."""
        text = re.sub(r"(?is)<(script|style).*?</\1>|<[^>]{0,500}>", " ", self.text[:4000])
        return " ".join(text.split())[:200]


def answer_of(response: Any) -> Answer:
    return Answer(
        response.status_code,
        response.headers,
        response.content,
        response.url,
        getattr(response, "seconds", 0.0),
        getattr(response, "parsed", None),
    )


def place(url: str | None) -> str:
    """Host and path of a URL: its query may hold values, its login a password."""
    parts = urlsplit(url or "")
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}"


def require_json(received: Received, where: str) -> None:
    kind = received.headers.get("Content-Type", "").split(";", 1)[0].strip().lower()
    start = received.content[:512].lstrip(b"\xef\xbb\xbf \r\n\t")
    if "json" in kind or (not kind and not start.startswith(b"<")):
        return
    if "html" in kind or start[:1] == b"<":
        answer = answer_of(received)
        page = answer.text[:20_000].lower()
        if re.search(r"multi-?factor|two-?factor|\bmfa\b|verification code|authenticator", page):
            raise refused_login(where, "answered with a page that asks for a second factor (MFA)")
        if re.search(r"type=[\"']?password|log ?in|sign[ -]?in|saml|single sign|\bsso\b", page):
            raise refused_login(where, f"answered with a login page ({answer.excerpt[:60]!r}), status 200")
        raise Garbled(
            f"{where}: answered with an HTML page instead of JSON ({answer.excerpt[:80]!r}).",
            remedy="Check the url option; a proxy or a maintenance page may stand in between.",
        )
    raise Garbled(
        f"{where}: answered with content type '{kind[:60]}' instead of JSON.",
        remedy="Check the url option; ask the system's owner what changes the content type on the way.",
    )


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


@lru_cache(8)
def _decoder(parse_float: Callable[[str], Any] | None) -> JSONDecoder:
    return JSONDecoder(parse_float=parse_float, parse_constant=_refuse_constant)


def _decoded(body: bytes, charset: str) -> str:
    """JSON is UTF-8; what is none is read as its sender declared it, or by its byte order mark."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        declared = charset or ("utf-16" if body[:2] in (b"\xff\xfe", b"\xfe\xff") else "")
        if not declared:
            raise
        try:
            return body.decode(declared)
        except LookupError:
            raise ValueError(f"its charset {charset[:30]!r} is not known") from None


def charset_of(headers: Mapping[str, str]) -> str:
    found = re.search(r"(?i)charset\s*=\s*[\"']?([\w.:-]+)", headers.get("Content-Type", ""))
    return found[1] if found else ""


def loads(body: bytes, parse_float: Callable[[str], Any] | None, charset: str = "") -> Any:
    if len(body) > WORTH_COUNTING and body.count(b"[") + body.count(b"{") > MOST_CONTAINERS:
        raise ProtocolError(
            f"the answer holds more than {MOST_CONTAINERS:,} arrays and objects.", remedy="Ask for smaller pages."
        )
    try:
        return _decoder(parse_float).decode(_decoded(body, charset))
    except RecursionError:
        raise ProtocolError(
            "the answer's JSON is nested deeper than any interface promises.",
            remedy="Tell the system's owner; the answer was not taken in.",
        ) from None
    except ValueError as error:
        what = "empty" if not body.strip() else f"not whole JSON ({str(error)[:80]})"
        raise Garbled(
            f"the answer is {what}.", remedy="It is cut or changed on the way; ask the system's owner."
        ) from None


def parse_retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header: a number or an HTTP date; None where it is missing or says nothing usable."""
    if value is None or not (value := value.strip()):
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            then = parsedate_to_datetime(value)
        except (ValueError, TypeError, IndexError):
            return None
        if then.tzinfo is None:
            then = then.replace(tzinfo=UTC)
        seconds = (then - datetime.now(UTC)).total_seconds()
    if seconds != seconds:  # not a number
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT)


_BY_ADDRESS = re.compile(
    r"(?is)\bip\b.{0,80}(not (allowed|permitted|authori[sz]ed)|restrict|blocked|denied|allow-?list|whitelist|range)|"
    r"(not (allowed|permitted)|restrict|blocked|denied).{0,80}\b(ip|address)\b"
)


def status_error(answer: Answer, where: str, *, idempotent: bool = True) -> ConnectorError | None:
    """The common reading of an HTTP status that is not success; None for one that is no error."""
    status = answer.status
    said = f" The system says: {answer.excerpt}" if answer.excerpt else ""
    if status in (301, 302, 303, 304, 307, 308):
        return None
    if status < 200:
        return ProtocolError(
            f"{where}: the server wants to speak another protocol ({status}).", remedy="Check the url option."
        )
    if status == 401:
        return _unauthorised(answer, where, said)
    if status == 403:
        if _BY_ADDRESS.search(answer.text[:4000]):
            return AccessError(
                f"{where}: refused because of this machine's address (403).{said}",
                remedy="Ask IT to add this machine's public IP address to the system's allow-list.",
            )
        return AccessError(
            f"{where}: logged in, but not allowed (403).{said}",
            remedy="Ask the system's owner to give the integration user access to this.",
        )
    if status in (400, 495, 496) and re.search(r"(?i)required ssl certificate|client certificate", answer.text[:2000]):
        return stays(
            UnreachableError(
                f"{where}: the server asks for a client certificate ({status}).{said}",
                remedy="Ask IT for a client certificate for this service and set client_certificate to its PEM file.",
            )
        )
    if status in (404, 410):
        return MissingObjectError(
            f"{where}: there is no such thing ({status}).{said}", remedy="Check the name and the url option."
        )
    if status == 407:
        return stays(
            UnreachableError(
                f"{where}: the proxy wants a login of its own (407).",
                remedy="Ask IT for a proxy account for services; write it as http_proxy = 'http://user:password@...'.",
            )
        )
    if status in (429, 503):
        wait = parse_retry_after(answer.headers.get("Retry-After"))
        asked = "" if wait is None else f", asks to wait {wait:.0f} s"
        return ThrottledError(
            f"{where}: told to slow down ({status}{asked}).{said}",
            remedy="Lower the load or ask the system's owner for a higher limit.",
            retry_after=wait,
        )
    if status in (408, 502, 504) or 520 <= status <= 530:
        wait = parse_retry_after(answer.headers.get("Retry-After"))
        return RetriableError(
            f"{where}: the system or a proxy gave up ({status}).{said}",
            remedy="Passing trouble of the system; ask its owner if it stays.",
            retry_after=wait,
        )
    if status == 500 and idempotent:
        return RetriableError(
            f"{where}: the system failed (500).{said}", remedy="Ask the system's owner to look into its log."
        )
    if status >= 500 or status in (405, 406, 415, 426):
        return ProtocolError(
            f"{where}: the system cannot do this ({status}).{said}",
            remedy="Look at the system before you send it again; check the url option and the version.",
        )
    return RejectedError(f"{where}: the request was refused ({status}).{said}", remedy="Correct what was asked for.")


def _unauthorised(answer: Answer, where: str, said: str) -> AuthError:
    scheme = answer.headers.get("WWW-Authenticate", "").split(" ", 1)[0].lower()
    if scheme in ("negotiate", "ntlm"):
        return AuthError(
            f"{where}: wants a Windows sign-in ({scheme}, 401).",
            remedy="Ask IT for a service account with basic, OAuth or key login for this interface.",
        )
    return AuthError(
        f"{where}: the credentials are not accepted (401).{said}",
        remedy="Check the credentials: wrong, expired, locked, or a second factor asked for.",
    )
