"""What Salesforce's own error bodies mean, in the connector's error classes, and its usage header."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from weighbridge.connectors.errors import (
    AccessError,
    AuthError,
    ConnectorError,
    MissingObjectError,
    ProtocolError,
    QuotaExhausted,
    RejectedError,
    RetriableError,
    ThrottledError,
)
from weighbridge.connectors.http import Answer, parse_retry_after

__all__ = ["LocatorGone", "classify", "outcome_class", "usage_of"]


class LocatorGone(RejectedError):
    """A query locator has expired: ask again behind the last record."""


def usage_of(headers: Mapping[str, str]) -> tuple[int, int] | None:
    """(used, cap) of `Sforce-Limit-Info: api-usage=18/5000`."""
    match = re.search(r"api-usage=(\d+)/(\d+)", headers.get("Sforce-Limit-Info") or "")
    return (int(match[1]), int(match[2])) if match else None


def classify(answer: Answer) -> ConnectorError | None:
    """The error of an answer that carries Salesforce's error body; None where it carries none."""
    if answer.status < 300 or "json" not in answer.media_type:
        return None
    try:
        body = answer.json()
    except ProtocolError:
        return None
    if answer.status == 300:
        count = len(body) if isinstance(body, list) else "several"
        return RejectedError(
            f"Salesforce: {count} records carry this external id, so none was written.",
            remedy="Remove the duplicates and mark the field as unique.",
        )
    first = body[0] if isinstance(body, list) and body else body
    if not isinstance(first, dict) or not isinstance(first.get("errorCode"), str):
        return None
    return _of_code(first["errorCode"], str(first.get("message", ""))[:300], answer)


def _of_code(code: str, text: str, answer: Answer) -> ConnectorError | None:
    said = f"Salesforce: {code}: {text}"
    if code == "INVALID_SESSION_ID" or answer.status == 401:
        return AuthError(said, remedy="The session has ended and could not be renewed; check the login.")
    if code == "REQUEST_LIMIT_EXCEEDED":
        if "concurrent" in text.lower():
            return ThrottledError(
                said,
                remedy="Too many calls of 20 s or longer run at once in this org: make queries shorter or fewer.",
                retry_after=parse_retry_after(answer.headers.get("Retry-After")),
            )
        return QuotaExhausted(
            said,
            remedy="The org's API calls of the last 24 hours are spent: use fewer or buy more; nothing is sent again.",
            resets="rolling 24 h",
        )
    kinds: dict[str, tuple[type[ConnectorError], str]] = {
        "INVALID_FIELD": (
            MissingObjectError,
            "The field does not exist, or field-level security hides it: ask the Salesforce administrator.",
        ),
        "INVALID_TYPE": (MissingObjectError, "The object does not exist, or the user may not see it."),
        "NOT_FOUND": (MissingObjectError, "Check the name; the user may lack access to it."),
        "ENTITY_IS_DELETED": (MissingObjectError, "The record was deleted."),
        "INVALID_QUERY_LOCATOR": (LocatorGone, "Start the query again."),
        "API_DISABLED_FOR_ORG": (AccessError, "Ask for the permission 'API Enabled' and an edition with API access."),
        "API_CURRENTLY_DISABLED": (AccessError, "Ask for the permission 'API Enabled'."),
        "INSUFFICIENT_ACCESS_OR_READONLY": (
            AccessError,
            "Ask for edit access to this object for the integration user.",
        ),
        "INSUFFICIENT_ACCESS": (AccessError, "Ask for access to this object for the integration user."),
        "QUERY_TIMEOUT": (RejectedError, "The query ran longer than two minutes: filter by an indexed field."),
        "OPERATION_TOO_LARGE": (RejectedError, "Filter by an indexed field, or give the user 'View All Data'."),
        "UNABLE_TO_LOCK_ROW": (RetriableError, "Another process holds the record: write in smaller, sorted batches."),
    }
    if code in kinds:
        kind, remedy = kinds[code]
        return kind(said, remedy=remedy)
    if 400 <= answer.status < 500 and answer.status not in (403, 408, 429):
        return RejectedError(said, remedy="Correct what was sent.")
    return None


_RETRIABLE = frozenset({"UNABLE_TO_LOCK_ROW", "SERVER_UNAVAILABLE", "REQUEST_RUNNING_TOO_LONG"})
_ACCESS = frozenset(
    {"INSUFFICIENT_ACCESS_OR_READONLY", "INSUFFICIENT_ACCESS", "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY"}
)


def outcome_class(errors: Any) -> tuple[str, str]:
    """(error text, name of the error class) of a save result's errors."""
    first = errors[0] if isinstance(errors, list) and errors else {}
    code = str(first.get("statusCode", "UNKNOWN"))
    fields = ", ".join(first.get("fields") or ())
    text = f"{code}: {first.get('message', '')}"[:300] + (f" [{fields}]" if fields else "")
    if code in _RETRIABLE:
        return text, "RetriableError"
    return text, "AccessError" if code in _ACCESS else "RejectedError"
