"""The fault matrix: which faults are tried on which protocol, and what a sound connector does under each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Cell", "Shape", "chosen", "matrix"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What an undisturbed read of the slice looked like on the wire."""

    protocol: str
    exchanges: int
    received: int
    """Bytes towards the client, over all connections."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One fault and what must come of it.

    `recovers`: the fault passes, so the read must end whole, by itself or when it is taken up again after a
    retriable error. Otherwise the read must fail with one of `errors` (class names; subclasses count).
    """

    name: str
    faults: tuple[Mapping[str, Any], ...]
    recovers: bool
    errors: tuple[str, ...] = ()
    """Classes that are right where it does not recover; where it recovers, also right instead (besides retriable)."""
    tries: int | None = None
    """Attempts that are enough for one call under this fault; None: what the retry policy allows."""
    pause: float | None = None
    """Seconds the system asked to wait, which must be kept."""
    by_itself: bool = True
    """Whether a retry within the read must be enough; False where a streamed result cannot be taken up silently."""

    @property
    def kind(self) -> str:
        return str(self.faults[0]["type"])


def matrix(shape: Shape, *, full: bool) -> Sequence[Cell]:
    """The cells that make sense for what the connector speaks, in running order."""
    if shape.protocol == "http":
        return [*_http(shape), *(_http_more(shape) if full else ())]
    return [*_database(shape), *(_database_more() if full else ())]


def chosen(shape: Shape, wanted: Any) -> Sequence[Cell]:
    """The setting `fault_matrix`: `default`, `full`, or a list of cells by name; raises ValueError for others."""
    if wanted in ("default", "full", None):
        return matrix(shape, full=wanted == "full")
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    known = {cell.name: cell for cell in matrix(shape, full=True)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"fault_matrix: no cell is named {unknown[0]!r}; there are default, full, {', '.join(known)}")
    return [known[name] for name in names]


def _cell(name: str, fault: Mapping[str, Any], **rest: Any) -> Cell:
    return Cell(name, (fault,), **rest)


NO_ANSWER = ("RetriableError",)
BAD_ANSWER = ("ProtocolError", "RetriableError")
LOGGED_OUT = ("AuthError", "ProtocolError", "AccessError")


def _http(shape: Shape) -> list[Cell]:
    # Where the read takes several requests, the second one is struck: that is where pages are lost.
    second = {"skip": 1} if shape.exchanges > 1 else {}
    return [
        _cell("latency", {"type": "latency", "latency": 40, "jitter": 20}, recovers=True),
        _cell("packets in slices", {"type": "slicer", "average_size": 400, "delay": 200}, recovers=True),
        _cell("reset, then well", {"type": "reset_peer", "first": 1, **second}, recovers=True),
        _cell("refused twice, then well", {"type": "down", "first": 2}, recovers=True),
        _cell("no answer, then well", {"type": "timeout", "first": 1, **second}, recovers=True),
        _cell(
            "hang in the body, then well",
            {"type": "timeout", "first": 1, "bytes": max(1, shape.received // max(1, shape.exchanges) // 2)},
            recovers=True,
        ),
        _cell("503 twice, then well", {"type": "server_error", "status": 503, "first": 2, **second}, recovers=True),
        _cell(
            "429 with Retry-After, then well",
            {"type": "too_many_requests", "retry_after": 2, "first": 1, **second},
            recovers=True,
            pause=2.0,
        ),
        _cell(
            "body cut short, then well",
            {"type": "truncated_body", "first": 1, **second},
            recovers=True,
            errors=BAD_ANSWER,
        ),
        _cell(
            "wrong length, then well",
            {"type": "wrong_length", "delta": -20, "first": 1, **second},
            recovers=True,
            errors=BAD_ANSWER,
        ),
        _cell("answered twice", {"type": "duplicate_answer", "first": 1}, recovers=True, errors=BAD_ANSWER),
        _cell("garbage", {"type": "garbage", **second}, recovers=False, errors=BAD_ANSWER),
        _cell("login page with 200", {"type": "login_page", **second}, recovers=False, errors=LOGGED_OUT),
        _cell("token expired", {"type": "expired_token", **second}, recovers=False, errors=("AuthError",), tries=3),
        _cell(
            "quota spent",
            {"type": "quota_exhausted", **second},
            recovers=False,
            errors=("QuotaExhausted", "AccessError"),
            tries=1,
        ),
        _cell(
            "429 for a year",
            {"type": "too_many_requests", "retry_after": "absurd"},
            recovers=False,
            errors=("ThrottledError", "QuotaExhausted"),
        ),
        _cell("500 without end", {"type": "server_error", "status": 500}, recovers=False, errors=NO_ANSWER),
        _cell("redirect to another host", {"type": "redirect_elsewhere"}, recovers=False, errors=("ConnectorError",)),
        _cell("down", {"type": "down"}, recovers=False, errors=("UnreachableError",)),
    ]


def _http_more(shape: Shape) -> list[Cell]:
    second = {"skip": 1} if shape.exchanges > 1 else {}
    middle = {"bytes": max(1, shape.received // max(1, shape.exchanges) // 2)}
    return [
        _cell("408, then well", {"type": "request_timeout", "first": 1, **second}, recovers=True, errors=NO_ANSWER),
        _cell("409", {"type": "conflict"}, recovers=False, errors=("RejectedError", "RetriableError", "ProtocolError")),
        _cell("429 without Retry-After", {"type": "too_many_requests", "first": 2, **second}, recovers=True),
        _cell("429 with a date", {"type": "too_many_requests", "retry_after": "date", "first": 1}, recovers=True),
        _cell("429 with nonsense", {"type": "too_many_requests", "retry_after": "soon", "first": 1}, recovers=True),
        *(
            _cell(f"{status}, then well", {"type": "server_error", "status": status, "first": 1}, recovers=True)
            for status in (500, 502, 504)
        ),
        _cell(
            "503 with Retry-After, then well",
            {"type": "server_error", "status": 503, "retry_after": 1, "first": 1},
            recovers=True,
            pause=1.0,
        ),
        _cell("503 now and then", {"type": "server_error", "status": 503, "probability": 0.3}, recovers=True),
        _cell("every other call 503", {"type": "server_error", "status": 503, "every": 2}, recovers=True),
        _cell("token expired once", {"type": "expired_token", "first": 1}, recovers=True, errors=("AuthError",)),
        _cell(
            "wrong chunk, then well",
            {"type": "malformed_chunk", "first": 1, **second},
            recovers=True,
            errors=BAD_ANSWER,
        ),
        _cell("longer than it is", {"type": "wrong_length", "delta": 20, "first": 1}, recovers=True, errors=BAD_ANSWER),
        _cell("garbage once", {"type": "garbage", "first": 1, **second}, recovers=True, errors=BAD_ANSWER),
        _cell("no HTTP at all", {"type": "garbage", "raw": True}, recovers=False, errors=BAD_ANSWER),
        _cell(
            "wrong content type",
            {"type": "wrong_content_type", "first": 1},
            recovers=True,
            errors=(*BAD_ANSWER, "AuthError"),
        ),
        _cell("slow headers", {"type": "slow_headers", "delay": 20}, recovers=True, errors=NO_ANSWER),
        _cell(
            "dripping", {"type": "slow_drip", "bytes": 2000, "delay": 2, "first": 1}, recovers=True, errors=NO_ANSWER
        ),
        _cell(
            "dripping without end, then well",
            {"type": "slow_drip", "bytes": 1, "delay": 100, "first": 1},
            recovers=True,
        ),
        _cell("narrow line", {"type": "bandwidth", "rate": 400}, recovers=True, errors=NO_ANSWER),
        _cell("closed late", {"type": "slow_close", "delay": 100}, recovers=True),
        _cell(
            "reset in the body, then well",
            {"type": "reset_peer", "first": 1, **middle},
            recovers=True,
            errors=BAD_ANSWER,
        ),
        _cell(
            "closed in the body, then well",
            {"type": "limit_data", "first": 1, **middle},
            recovers=True,
            errors=BAD_ANSWER,
        ),
        _cell("answer lost, then well", {"type": "lost_answer", "first": 1, **second}, recovers=True),
        _cell("no room, then well", {"type": "too_many_connections", "first": 1}, recovers=True),
        _cell("no answer at all", {"type": "timeout"}, recovers=False, errors=("UnreachableError",)),
        _cell("404-like page", {"type": "status", "status": 418}, recovers=False, errors=("ConnectorError",)),
    ]


def _database(shape: Shape) -> list[Cell]:
    middle = {"bytes": max(200, shape.received * 3 // 4)}
    return [
        _cell("latency", {"type": "latency", "latency": 30, "jitter": 10}, recovers=True),
        _cell("packets in slices", {"type": "slicer", "average_size": 800, "delay": 100}, recovers=True),
        _cell("refused once, then well", {"type": "down", "first": 1}, recovers=True, by_itself=False),
        _cell(
            "reset in the result, then well",
            {"type": "reset_peer", "first": 1, **middle},
            recovers=True,
            by_itself=False,
        ),
        _cell(
            "hang in the result, then well", {"type": "timeout", "first": 1, **middle}, recovers=True, by_itself=False
        ),
        _cell(
            "closed in the result, then well",
            {"type": "limit_data", "first": 1, **middle},
            recovers=True,
            by_itself=False,
        ),
        _cell(
            "too many connections",
            {"type": "too_many_connections"},
            recovers=False,
            errors=("ThrottledError", "UnreachableError"),
        ),
        _cell("down", {"type": "down"}, recovers=False, errors=("UnreachableError",)),
    ]


def _database_more() -> list[Cell]:
    return [
        _cell(
            "too many connections once", {"type": "too_many_connections", "first": 1}, recovers=True, by_itself=False
        ),
        _cell("narrow line", {"type": "bandwidth", "rate": 400}, recovers=True, errors=NO_ANSWER, by_itself=False),
        _cell("closed late", {"type": "slow_close", "delay": 100}, recovers=True),
        _cell("hang at the door", {"type": "timeout", "first": 1}, recovers=True, by_itself=False),
        _cell("hang without end", {"type": "timeout"}, recovers=False, errors=("UnreachableError",)),
        _cell("reset at the door", {"type": "reset_peer", "first": 1}, recovers=True, by_itself=False),
        _cell(
            "request lost",
            {"type": "reset_peer", "direction": "upstream", "bytes": 100, "first": 1},
            recovers=True,
            by_itself=False,
        ),
    ]
