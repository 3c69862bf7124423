"""The HTTP answers that faults give instead of, or made out of, the system's own."""

from __future__ import annotations

import datetime as dt
import json
import random
from dataclasses import dataclass
from typing import Any

from weighbridge.sandbox.faults.spec import Fault

__all__ = ["INSTEAD", "Answer", "answer_instead", "render"]

INSTEAD = frozenset(
    {
        "status",
        "expired_token",
        "quota_exhausted",
        "request_timeout",
        "conflict",
        "too_many_requests",
        "server_error",
        "garbage",
        "login_page",
        "redirect_elsewhere",
    }
)
"""Types that answer in the system's place: it never sees the request."""

ABSURD_S = 60 * 60 * 24 * 365
REASONS = {
    200: "OK",
    302: "Found",
    307: "Temporary Redirect",
    401: "Unauthorized",
    403: "Forbidden",
    408: "Request Timeout",
    409: "Conflict",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
LOGIN_PAGE = """<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Your session has ended</h1>
<form action="/login" method="post"><label>User <input name="user"></label>
<label>Password <input type="password" name="password"></label><button>Sign in</button></form></body></html>"""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def render(answer: Answer, *, head_only: bool = False) -> bytes:
    """The bytes of an answer; without a body for a HEAD request."""
    lines = [f"HTTP/1.1 {answer.status} {REASONS.get(answer.status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    lines.append(f"Content-Length: {len(answer.body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (b"" if head_only else answer.body)


def answer_instead(fault: Fault, target: str, *, rng: random.Random, elsewhere: str) -> Answer:
    """What the client gets in place of the system's answer; `elsewhere` is the other host's base URL."""
    kind = fault.type
    if kind == "status":
        body = fault["body"]
        text = f"status {fault['status']}" if body is None else str(body)
        return _text(int(fault["status"]), text, fault["content_type"] or "text/plain", fault["retry_after"])
    if kind == "login_page":
        return _text(200, LOGIN_PAGE, "text/html; charset=utf-8", None)
    if kind == "garbage":
        return Answer(200, (("Content-Type", "application/json"),), rng.randbytes(int(fault["bytes"])))
    if kind == "redirect_elsewhere":
        location = fault["location"] or elsewhere + target
        return Answer(int(fault["status"]), (("Location", str(location)),), b"")
    return _refusal(fault, _style(fault, target))


def _refusal(fault: Fault, style: str) -> Answer:
    if fault.type == "expired_token":
        body = _error(style, "INVALID_SESSION_ID", "Session expired or invalid")
        return Answer(401, (_JSON, ("WWW-Authenticate", 'Bearer error="invalid_token"')), body)
    if fault.type == "quota_exhausted":
        return Answer(403, (_JSON,), _error(style, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."))
    status = {"request_timeout": 408, "conflict": 409, "too_many_requests": 429}.get(fault.type)
    if status is None:
        status = int(fault["status"])
    reason = REASONS.get(status, "Error")
    headers = (_JSON, *_retry_after(fault.parameters.get("retry_after")))
    return Answer(status, headers, _error(style, reason.upper().replace(" ", "_"), reason))


_JSON = ("Content-Type", "application/json")


def _style(fault: Fault, target: str) -> str:
    style = fault.parameters.get("style", "auto")
    if style != "auto":
        return str(style)
    return "salesforce" if target.startswith("/services/") else "odata"


def _error(style: str, code: str, message: str) -> bytes:
    document: Any = {"error": {"code": code, "message": message}}
    if style == "salesforce":
        document = [{"errorCode": code, "message": message}]
    return json.dumps(document).encode()


def _text(status: int, body: str, content_type: str, retry_after: Any) -> Answer:
    return Answer(status, (("Content-Type", content_type), *_retry_after(retry_after)), body.encode())


def _retry_after(value: Any) -> tuple[tuple[str, str], ...]:
    if value is None or value == "none":
        return ()
    if value == "absurd":
        value = ABSURD_S
    if value == "date":
        moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
        value = moment.strftime("%a, %d %b %Y %H:%M:%S GMT")
    return (("Retry-After", str(value)),)
