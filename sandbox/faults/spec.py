"""The faults that can be planned: their types, parameters and when each of them strikes.

TCP types and parameters carry Toxiproxy's names (times in milliseconds, `rate` in KB/s, `slicer.delay` in
microseconds); HTTP types stand beside them. Every fault also takes

    direction     upstream (towards the system) or downstream (towards the client); Toxiproxy's `stream`
    probability   share of the occurrences that it strikes, drawn from the line's seed; Toxiproxy's `toxicity`
    skip, first   leave the first `skip` occurrences alone, strike at most `first` times, then recover
    every         strike each Nth occurrence only
    path, method  HTTP only: a regular expression searched in the path with its query, and a method
    after_s, for_s   strike from `after_s` seconds after the plan on, for `for_s` seconds

An occurrence is one HTTP exchange, or one connection where the protocol is not HTTP.
"""

from __future__ import annotations

import difflib
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["TYPES", "Armed", "Fault", "FaultType", "parse_fault"]

Direction = Literal["upstream", "downstream"]


@dataclass(frozen=True, slots=True)
class FaultType:
    """One type of fault: `layer` tcp works on any protocol, `http` needs HTTP; parameters with their defaults."""

    layer: Literal["tcp", "http"]
    parameters: Mapping[str, Any]
    says: str
    direction: Direction = "downstream"


TYPES: dict[str, FaultType] = {
    "latency": FaultType("tcp", {"latency": 100, "jitter": 0}, "delay by latency +/- jitter ms"),
    "bandwidth": FaultType("tcp", {"rate": 100}, "at most rate KB/s"),
    "slow_close": FaultType("tcp", {"delay": 1000}, "close the connection only delay ms later"),
    "timeout": FaultType(
        "tcp", {"timeout": 0, "bytes": 0}, "after `bytes` pass nothing on; close after timeout ms, 0: never"
    ),
    "reset_peer": FaultType("tcp", {"timeout": 0, "bytes": 0}, "after `bytes` and timeout ms reset the connection"),
    "slicer": FaultType(
        "tcp", {"average_size": 64, "size_variation": 32, "delay": 1000}, "cut into small packets, delay µs apart"
    ),
    "limit_data": FaultType("tcp", {"bytes": 1024}, "close the connection after so many bytes"),
    "down": FaultType("tcp", {}, "connection refused (with first, every or probability: reset at once)"),
    "too_many_connections": FaultType(
        "tcp",
        {"protocol": "auto", "max": 0},
        "connections beyond `max` get the database's own 'too many connections'",
    ),
    "lost_answer": FaultType("tcp", {"timeout": 0}, "the system gets and does it all; its answer is lost to a reset"),
    "status": FaultType(
        "http", {"status": 500, "body": None, "content_type": None, "retry_after": None}, "any status and body"
    ),
    "expired_token": FaultType("http", {"style": "auto"}, "401, the session or token has expired"),
    "quota_exhausted": FaultType("http", {"style": "auto"}, "403, the quota is spent"),
    "request_timeout": FaultType("http", {}, "408"),
    "conflict": FaultType("http", {}, "409"),
    "too_many_requests": FaultType(
        "http", {"retry_after": None}, "429; retry_after: none, seconds, 'date', 'absurd' or a raw text"
    ),
    "server_error": FaultType("http", {"status": 503, "retry_after": None}, "500, 502, 503 or 504"),
    "truncated_body": FaultType("http", {"bytes": None, "share": 0.5}, "the body stops short, then close"),
    "wrong_length": FaultType("http", {"delta": -20}, "Content-Length is off by delta bytes"),
    "malformed_chunk": FaultType("http", {}, "chunked, with a chunk size that is none"),
    "garbage": FaultType("http", {"bytes": 200, "raw": False}, "random bytes as the body (raw: as the whole answer)"),
    "wrong_content_type": FaultType("http", {"content_type": "text/html"}, "the right body under a wrong type"),
    "login_page": FaultType("http", {}, "an HTML login page with status 200"),
    "redirect_elsewhere": FaultType(
        "http", {"location": None, "status": 302}, "redirect to another host, which notes whether credentials follow"
    ),
    "slow_headers": FaultType("http", {"delay": 200}, "one header line each delay ms"),
    "slow_drip": FaultType("http", {"bytes": 16, "delay": 50}, "so many body bytes each delay ms"),
    "duplicate_answer": FaultType("http", {}, "the same answer twice on the connection"),
}
ALIASES = {"refused": "down", "hang": "timeout", "reset": "reset_peer"}
SELECTORS = ("direction", "probability", "skip", "first", "every", "path", "method", "after_s", "for_s")
RENAMED = {"stream": "direction", "toxicity": "probability"}


@dataclass(frozen=True, slots=True)
class Fault:
    """One planned fault with its parameters and its selectors."""

    type: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    direction: Direction = "downstream"
    probability: float = 1.0
    skip: int = 0
    first: int | None = None
    every: int = 1
    path: re.Pattern[str] | None = None
    method: str | None = None
    after_s: float = 0.0
    for_s: float | None = None

    @property
    def layer(self) -> str:
        return TYPES[self.type].layer

    @property
    def counted(self) -> bool:
        """Whether it strikes some occurrences only, so that each must be let in to be counted."""
        return self.first is not None or self.every > 1 or self.probability < 1 or self.skip > 0

    def __getitem__(self, name: str) -> Any:
        return self.parameters[name]


def parse_fault(given: Mapping[str, Any] | str) -> Fault:
    """A fault from `{"type": "latency", "latency": 500, "first": 2}` or from `type=latency,latency=500,first=2`.

    Raises ValueError that names the unknown type or parameter and the nearest known one.
    """
    values = dict(_from_text(given)) if isinstance(given, str) else dict(given)
    values.update(values.pop("attributes", None) or {})
    name = str(values.pop("type", ""))
    name = ALIASES.get(name, name)
    known = TYPES.get(name)
    if known is None:
        raise ValueError(f"unknown fault type '{name}'; {_nearest(name, [*TYPES, *ALIASES])}")
    parameters = dict(known.parameters)
    selectors: dict[str, Any] = {"direction": known.direction}
    for key, value in values.items():
        key = RENAMED.get(key, key)  # noqa: PLW2901 - Toxiproxy's word for ours
        if key in parameters:
            parameters[key] = value
        elif key in SELECTORS:
            selectors[key] = value
        else:
            raise ValueError(f"fault {name}: unknown '{key}'; {_nearest(key, [*parameters, *SELECTORS])}")
    return _checked(name, parameters, selectors)


def _checked(name: str, parameters: dict[str, Any], selectors: dict[str, Any]) -> Fault:
    if selectors["direction"] not in ("upstream", "downstream"):
        raise ValueError(f"fault {name}: direction is upstream or downstream, not '{selectors['direction']}'")
    probability = float(selectors.get("probability", 1.0))
    if not 0 <= probability <= 1:
        raise ValueError(f"fault {name}: probability is between 0 and 1, not {probability}")
    every = int(selectors.get("every", 1))
    if every < 1:
        raise ValueError(f"fault {name}: every is at least 1, not {every}")
    for key, value in parameters.items():
        default = TYPES[name].parameters[key]
        if isinstance(default, int | float) and not isinstance(default, bool) and not isinstance(value, int | float):
            raise ValueError(  # noqa: TRY004 - a value from a file or flag
                f"fault {name}: {key} is a number, not '{value}'"
            )
    path = selectors.get("path")
    if (path is not None or selectors.get("method")) and name == "down":
        raise ValueError("fault down: a refused connection has no path or method to match")
    first, for_s = selectors.get("first"), selectors.get("for_s")
    return Fault(
        type=name,
        parameters=parameters,
        direction=selectors["direction"],
        probability=probability,
        skip=int(selectors.get("skip", 0)),
        first=None if first is None else int(first),
        every=every,
        path=None if path is None else re.compile(str(path)),
        method=str(selectors["method"]).upper() if selectors.get("method") else None,
        after_s=float(selectors.get("after_s", 0.0)),
        for_s=None if for_s is None else float(for_s),
    )


def _from_text(text: str) -> Mapping[str, Any]:
    values: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals and not values:
            key, value = "type", key
        elif not equals:
            raise ValueError(f"fault '{text}': '{part}' is not name=value")
        values[key.strip()] = _scalar(value.strip())
    return values


def _scalar(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known are {', '.join(sorted(known))}"


class Armed:
    """A planned fault with its books: what it has seen and how often it has struck."""

    def __init__(self, fault: Fault, started: float, rng: random.Random) -> None:
        self.fault = fault
        self.started = started
        self.rng = rng
        self.seen = 0
        self.struck = 0

    def in_time(self, now: float) -> bool:
        age = now - self.started
        fault = self.fault
        return age >= fault.after_s and (fault.for_s is None or age < fault.after_s + fault.for_s)

    def strikes(self, now: float, *, method: str | None = None, path: str | None = None) -> bool:
        """Whether this occurrence is struck; counts it."""
        fault = self.fault
        if not self.in_time(now):
            return False
        if fault.method is not None and fault.method != method:
            return False
        if fault.path is not None and (path is None or not fault.path.search(path)):
            return False
        self.seen += 1
        place = self.seen - fault.skip
        if place < 1 or place % fault.every != 0:
            return False
        if fault.first is not None and self.struck >= fault.first:
            return False
        if fault.probability < 1 and self.rng.random() >= fault.probability:
            return False
        self.struck += 1
        return True
