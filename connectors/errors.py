"""Errors of connectors, classed by what the caller can do about them.

ConnectorError                 could not look; message says what, where, and `remedy` what to do
├── RetriableError             the same call may succeed later (`retry_after`, seconds, or None)
│   ├── UnreachableError       no answer: name, route, refused, reset, timed out
│   └── ThrottledError         told to slow down: 429, 503, 'too many connections'
├── QuotaExhausted             a quota is spent; waiting seconds does not help (`resets`, if told)
├── AuthError                  these credentials are not accepted (wrong, expired, locked, MFA asked)
├── AccessError                logged in, but not allowed to see or do this
├── MissingObjectError         the system has no such object or column
├── RejectedError              the system refused the data or the question (a bad record, a bad filter)
├── ProtocolError              an answer that is not what the interface promises (HTML, truncated, looped)
├── FileError                  a file that is not there, not readable, corrupt, encrypted or hostile
├── DriverError                a driver, library or extra that is not installed; remedy names the package
├── SettingsError              an option of this connector is missing, unknown or contradictory
└── NotAllowed                 our own policy said no
    ├── BudgetExceeded         the call budget of the system is spent
    └── WriteForbidden         a write where none is allowed
"""

from __future__ import annotations

import re

__all__ = [
    "AccessError",
    "AuthError",
    "BudgetExceeded",
    "ConnectorError",
    "DriverError",
    "FileError",
    "MissingObjectError",
    "NotAllowed",
    "ProtocolError",
    "QuotaExhausted",
    "RejectedError",
    "RetriableError",
    "SettingsError",
    "ThrottledError",
    "UnreachableError",
    "WriteForbidden",
]


_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What a system may put into its words to move a terminal's cursor, set its title, or turn the text around."""


class ConnectorError(Exception):
    """Could not look. `str()` is one paragraph: what, where, what to do; never a credential."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        message = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", message)
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class RetriableError(ConnectorError):
    """The same call may succeed later; `retry_after` is what the system asked for, in seconds."""

    def __init__(self, message: str, *, remedy: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


class UnreachableError(RetriableError):
    """No answer came: unknown name, no route, refused, reset, or timed out."""


class ThrottledError(RetriableError):
    """The system asked to slow down."""


class QuotaExhausted(ConnectorError):
    """A quota is spent. Never retried within a run."""

    def __init__(self, message: str, *, remedy: str = "", resets: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.resets = resets


class AuthError(ConnectorError):
    """The credentials are not accepted."""


class AccessError(ConnectorError):
    """Logged in, but not allowed to see or do this."""


class MissingObjectError(ConnectorError):
    """The system has no such object or column."""


class RejectedError(ConnectorError):
    """The system refused the data or the question."""


class ProtocolError(ConnectorError):
    """The answer is not what the interface promises."""


class FileError(ConnectorError):
    """A file is not there, not readable, corrupt, encrypted or hostile."""


class DriverError(ConnectorError):
    """A driver or library is not installed."""


class SettingsError(ConnectorError):
    """An option of the connector is missing, unknown or contradictory."""


class NotAllowed(ConnectorError):
    """Our own policy said no."""


class BudgetExceeded(NotAllowed):
    """The call budget of the system is spent."""


class WriteForbidden(NotAllowed):
    """A write where none is allowed."""
