"""What the pilot's own traffic says of one user: calls an hour and an action, retries, and the N+1 in it.

Requests come from a HAR file, an access log, the recording proxy or pg_stat_statements; kept are times, methods, path
templates, statuses and counts, never bodies, values or credentials.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from weighbridge.errors import UsageProblem

__all__ = [
    "Request",
    "Statement",
    "Traffic",
    "kept",
    "n_plus_one",
    "read_access_log",
    "read_har",
    "save",
    "statements_between",
    "summarise",
]

ACTION_GAP_S = 5.0
"""A pause of a user longer than this ends an action: programs answer faster, people slower."""
RETRY_S = 120.0
MANY = 5
"""One action that asks the same question for so many different keys asks it once a row."""
REFUSED = frozenset({408, 425, 429, 500, 502, 503, 504})
_CLF = re.compile(
    r'^(?P<host>\S+) \S+ (?P<user>\S+) \[(?P<time>[^\]]+)\] "(?P<method>[A-Z]+) (?P<path>\S+)[^"]*" (?P<status>\d{3}) '
)


@dataclass(frozen=True, slots=True)
class Request:
    """One call as it was seen: `at` in seconds, `what` the method and path template."""

    at: float
    user: str
    what: str
    status: int
    target: str = field(default="", repr=False)
    """Fingerprint of the very target, to tell a retry from another key; never printed or kept."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of pg_stat_statements with what was added between two looks."""

    words: str
    calls: int
    rows: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """Distributions over users' hours and over actions."""

    calls: int
    users: int
    hours: float
    retries: int
    per_user_hour: tuple[float, ...]
    """One value for each user and hour in which the user called."""
    per_action: tuple[int, ...]
    repeated: tuple[Mapping[str, Any], ...]
    """N+1: `what`, `times` an action, `after` the call that came before."""
    rows: int | None = None

    @property
    def amplification(self) -> float:
        meant = self.calls - self.retries
        return self.calls / meant if meant > 0 else 1.0


def read_har(path: Path) -> list[Request]:
    """The entries of a HAR file. Raises UsageProblem for a file that is none."""
    from weighbridge.sandbox.faults.journal import path_template

    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))["log"]["entries"]
        found = []
        for entry in entries:
            at = datetime.fromisoformat(entry["startedDateTime"]).timestamp()
            request = entry["request"]
            what = f"{request['method']} {path_template(request['url'])}"
            found.append(Request(at, "pilot", what, int(entry["response"]["status"]), _print_of(request["url"])))
        return found
    except (OSError, UnicodeDecodeError) as error:
        raise UsageProblem(f"{path}: could not be read ({getattr(error, 'strerror', None) or error}).") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageProblem(
            f"{path}: is not a HAR file ({error}). Export one from the browser's network panel."
        ) from None


def read_access_log(path: Path) -> list[Request]:
    """Common, combined and JSON lines (Caddy, Traefik, nginx with a JSON format); lines of other forms are counted out.

    Raises UsageProblem when no line could be read.
    """
    from weighbridge.sandbox.faults.journal import path_template

    found: list[Request] = []
    other = 0
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                fields = _json_line(line) if line.startswith("{") else _common_line(line)
                if fields is None:
                    other += bool(line.strip())
                    continue
                at, user, method, target, status = fields
                found.append(Request(at, user, f"{method} {path_template(target)}", status, _print_of(target)))
    except OSError as error:
        raise UsageProblem(f"{path}: could not be read ({getattr(error, 'strerror', None) or error}).") from None
    if not found:
        raise UsageProblem(
            f"{path}: no line is in the common, combined or a JSON log format ({other} lines seen). "
            'A line looks like: 10.0.0.1 - anna [02/Nov/2026:09:00:00 +0100] "GET /orders/1 HTTP/1.1" 200 123'
        )
    return found


def _common_line(line: str) -> tuple[float, str, str, str, int] | None:
    match = _CLF.match(line)
    if match is None:
        return None
    try:
        at = datetime.strptime(match["time"], "%d/%b/%Y:%H:%M:%S %z").timestamp()
    except ValueError:
        return None
    user = match["user"] if match["user"] != "-" else match["host"]
    return at, user, match["method"], match["path"], int(match["status"])


def _json_line(line: str) -> tuple[float, str, str, str, int] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    request = entry.get("request") if isinstance(entry.get("request"), dict) else entry
    method = request.get("method") or entry.get("RequestMethod")
    target = request.get("uri") or entry.get("RequestPath") or entry.get("path") or entry.get("request_uri")
    status = entry.get("status") or entry.get("DownstreamStatus")
    at = entry.get("ts") or entry.get("time") or entry.get("StartUTC") or entry.get("@timestamp")
    user = entry.get("user_id") or entry.get("remote_user") or request.get("remote_ip") or entry.get("ClientHost")
    if not (method and target and status and at):
        return None
    try:
        when = float(at) if isinstance(at, int | float) else datetime.fromisoformat(at).timestamp()
        return when, str(user or entry.get("remote_addr") or "?"), str(method), str(target), int(status)
    except ValueError:
        return None


def _print_of(target: str) -> str:
    import hashlib

    return hashlib.sha256(target.encode()).hexdigest()[:16]


def recorded(journal: Iterable[Mapping[str, Any]]) -> list[Request]:
    """The exchanges of a proxy's journal."""
    return [
        Request(float(e["at"]), "pilot", f"{e['method']} {e['path']}", int(e.get("status") or 0))
        for e in journal
        if e.get("event") == "exchange" and e.get("method")
    ]


def summarise(
    requests: Sequence[Request], *, actions: int | None = None, users: int | None = None, hours: float | None = None
) -> Traffic:
    """Distributions of the calls; `actions` says how many the sample holds where pauses do not tell."""
    ordered = sorted(requests, key=lambda r: r.at)
    if not ordered:
        raise UsageProblem("No call to the system was seen. Let the pilot work while it is recorded.")
    people = {r.user for r in ordered}
    span = max(1.0, ordered[-1].at - ordered[0].at) / 3600
    groups = _actions(ordered)
    per_action = tuple(len(g) for g in groups)
    if actions:
        per_action = tuple([round(len(ordered) / actions)] * actions)
        groups = [ordered] if actions == 1 else groups
    return Traffic(
        calls=len(ordered), users=users or len(people), hours=hours or span, retries=_retries(ordered),
        per_user_hour=_per_user_hour(ordered, users, hours), per_action=per_action,
        repeated=n_plus_one(groups, actions),
    )  # fmt: skip


def _actions(ordered: Sequence[Request]) -> list[list[Request]]:
    """Calls of one user without a pause belong to one action."""
    open_: dict[str, list[Request]] = {}
    done: list[list[Request]] = []
    for request in ordered:
        current = open_.get(request.user)
        if current is not None and request.at - current[-1].at <= ACTION_GAP_S:
            current.append(request)
        else:
            if current is not None:
                done.append(current)
            open_[request.user] = [request]
    return [*done, *open_.values()]


def _per_user_hour(ordered: Sequence[Request], users: int | None, hours: float | None) -> tuple[float, ...]:
    if users or hours:
        span = hours or max(1.0, ordered[-1].at - ordered[0].at) / 3600
        return (len(ordered) / (users or len({r.user for r in ordered})) / span,)
    if ordered[-1].at - ordered[0].at < 1800:
        return ()  # half an hour of traffic does not say what an hour holds
    start, span = ordered[0].at, (ordered[-1].at - ordered[0].at) / 3600
    buckets = max(1, round(span))
    width = span / buckets  # about an hour: the sample does not begin on the hour
    counts = Counter((r.user, min(buckets - 1, int((r.at - start) / 3600 / width))) for r in ordered)
    return tuple(n / width for n in counts.values())


def _retries(ordered: Sequence[Request]) -> int:
    """Calls that repeat a refused one of the same user to the same target."""
    refused: dict[tuple[str, str, str], float] = {}
    count = 0
    for request in ordered:
        key = (request.user, request.what, request.target)
        before = refused.pop(key, None)
        if before is not None and request.at - before <= RETRY_S:
            count += 1
        if request.status in REFUSED or request.status == 0:
            refused[key] = request.at
    return count


def n_plus_one(groups: Sequence[Sequence[Request]], actions: int | None = None) -> tuple[Mapping[str, Any], ...]:
    """Questions asked once a row within one action: the same template for many different targets."""
    found: dict[str, list[int]] = defaultdict(list)
    after: dict[str, str] = {}
    for group in groups:
        counts = Counter(r.what for r in group)
        share = (actions or 1) if len(groups) == 1 else 1
        for what, times in counts.items():
            distinct = len({r.target for r in group if r.what == what and r.target})
            if times / share < MANY or (distinct and distinct < MANY):
                continue
            if "{" not in what:
                continue  # pages of a list are the same path too; a key in the path makes it one a row
            found[what].append(round(times / share))
            first = next(i for i, r in enumerate(group) if r.what == what)
            if first:
                after[what] = group[first - 1].what
    return tuple(
        {"what": what, "times": max(times), "actions": len(times), "after": after.get(what)}
        for what, times in sorted(found.items())
    )


def statements_between(before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]) -> list[Statement]:
    """What pg_stat_statements counted between two looks, most called first; its own look is left out."""
    found = []
    for words, (calls, rows) in after.items():
        was_calls, was_rows = before.get(words, (0, 0))
        if calls > was_calls and "pg_stat_statements" not in words:
            found.append(Statement(words, calls - was_calls, rows - was_rows))
    return sorted(found, key=lambda s: -s.calls)


def of_statements(statements: Sequence[Statement], actions: int) -> Traffic:
    """Traffic of a database: one statement is one call."""
    calls = sum(s.calls for s in statements)
    if calls == 0:
        raise UsageProblem("No statement was counted in between. Is pg_stat_statements on, and did the pilot work?")
    repeated = tuple(
        {"what": " ".join(s.words.split())[:160], "times": round(s.calls / actions), "actions": actions, "after": None}
        for s in statements
        if s.calls / actions >= MANY and "$" in s.words and s.words.lstrip().lower().startswith("select")
    )
    return Traffic(
        calls, 1, 0.0, 0, (), tuple([round(calls / actions)] * actions), repeated, rows=sum(s.rows for s in statements)
    )


def _spread(values: Sequence[float]) -> dict[str, float]:
    from weighbridge.checks.demand import spread_of

    found = spread_of(values)
    return {"n": found.n, "mean": found.mean, "low": found.low, "median": found.median, "high": found.high}


def _words(spread: Mapping[str, float]) -> str:
    return f"{spread['mean']:.1f} (median {spread['median']:.1f}, {spread['low']:.1f} to {spread['high']:.1f})"


def save(folder: Path, system: str, traffic: Traffic, *, at: datetime, sample: str) -> Path:
    """Keep the distribution with date and sample; nothing of what was asked or answered."""
    body: dict[str, Any] = {
        "system": system, "at": at.isoformat(), "sample": sample, "calls": traffic.calls, "users": traffic.users,
        "hours": round(traffic.hours, 3), "retry_amplification": round(traffic.amplification, 4),
        "calls_per_action": _spread(traffic.per_action), "rows": traffic.rows,
        "repeated": [dict(r) for r in traffic.repeated],
    }  # fmt: skip
    if traffic.per_user_hour:
        body |= _spread(traffic.per_user_hour)
    path = folder / "demand" / f"{system}.json"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    aside.replace(path)
    return path


def kept(folder: Path, system: str) -> Mapping[str, Any] | None:
    """What `save` kept of a system's pilot, None where nothing was measured."""
    path = folder / "demand" / f"{system}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UsageProblem(f"{path}: could not be read ({error}). Measure again with `weighbridge demand`.") from None


def lines(traffic: Traffic, system: str) -> Iterator[str]:
    """What the terminal shows."""
    yield f"{system}: {traffic.calls} calls of {traffic.users} user(s)" + (
        f" in {traffic.hours:.2f} h" if traffic.hours >= 0.01 else ""
    )
    if traffic.per_user_hour:
        s = _spread(traffic.per_user_hour)
        yield f"  calls per user and hour  {_words(s)}"
    a = _spread(traffic.per_action)
    yield f"  calls per action         {_words(a)}"
    if traffic.rows is not None:
        yield f"  rows                     {traffic.rows}"
    yield f"  retries                  {traffic.retries}  ({traffic.amplification:.2f} calls for each that was meant)"
    for item in traffic.repeated:
        behind = f" after {item['after']}" if item["after"] else ""
        yield (
            f"  N+1: {item['what']} is called {item['times']} times in one action{behind}: "
            "ask for all rows at once (a list filter, a batch, an expand, a join)"
        )
