"""A drill: one fault between the pilot and a system, and the times until somebody noticed, understood and mended it."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

__all__ = ["CAUSES", "DrillResult", "Faulty", "Signals", "cause_of", "hold"]

CAUSES: Mapping[str, str] = MappingProxyType(
    {
        "down": "the system is down or cannot be reached",
        "slow": "the system or the network is slow",
        "cut": "connections break off in the middle",
        "credential": "our credential expired or is refused",
        "quota": "a quota is spent",
        "rate": "we are told to slow down",
        "connections": "there are no connections left",
        "error": "the system answers with errors of its own",
        "nonsense": "answers are not what the interface promises",
    }
)
"""What a responder may say; one of these words."""
_CAUSE_OF = {
    "down": "down", "latency": "slow", "bandwidth": "slow", "slow_close": "slow", "timeout": "slow", "slicer": "slow",
    "slow_headers": "slow", "slow_drip": "slow", "request_timeout": "slow", "reset_peer": "cut", "limit_data": "cut",
    "lost_answer": "cut", "truncated_body": "cut", "expired_token": "credential", "quota_exhausted": "quota",
    "too_many_requests": "rate", "too_many_connections": "connections", "server_error": "error", "status": "error",
    "conflict": "error", "wrong_length": "nonsense", "malformed_chunk": "nonsense", "garbage": "nonsense",
    "wrong_content_type": "nonsense", "login_page": "nonsense", "redirect_elsewhere": "nonsense",
    "duplicate_answer": "nonsense",
}  # fmt: skip
KINDS = ("alert", "ack", "cause", "recovered")
POLL_S = 0.2
BODY = 100_000


def cause_of(fault: str) -> str:
    """The right diagnosis of a fault type."""
    return _CAUSE_OF.get(fault, "error")


class Faulty(Protocol):
    """The line between pilot and system, as far as a drill needs it."""

    def plan(self, *faults: Mapping[str, Any] | str) -> None: ...
    def clear(self) -> None: ...


@dataclass(frozen=True, slots=True)
class DrillResult:
    """What a drill showed. Seconds count from the fault, `recovered_s` from its end; None is never."""

    fault: str
    detected_s: float | None
    acknowledged_s: float | None
    diagnosed_s: float | None
    diagnosis: str | None
    right: bool | None
    recovered_s: float | None
    within_s: float
    """What detection was allowed to take."""

    @property
    def problems(self) -> list[str]:
        found: list[str] = []
        if self.detected_s is None:
            return [f"no alert came within {self.within_s:.0f} s"]
        if self.right is None:
            found.append("nobody named a cause")
        elif not self.right:
            found.append(f"the wrong cause was named ({self.diagnosis})")
        if self.recovered_s is None:
            found.append("nothing said that it works again")
        return found

    @property
    def ok(self) -> bool:
        return not self.problems


@dataclass
class Signals:
    """What people and the pilot's own alerting say, from a webhook, a mailbox file and the keyboard alike."""

    _queues: dict[str, queue.Queue[str]] = field(default_factory=lambda: {kind: queue.Queue() for kind in KINDS})
    _alerted: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def say(self, kind: str, text: str = "") -> None:
        self._queues[kind].put(text)

    def notice(self, text: str = "") -> None:
        """A message of the pilot's own: the first is the alert, whatever comes after the fault is gone the recovery."""
        with self._lock:
            kind, self._alerted = ("recovered" if self._alerted else "alert"), True
        self.say(kind, text)

    def drain(self, kind: str) -> None:
        """Forget what was said too early."""
        held = self._queues[kind]
        while not held.empty():
            held.get_nowait()

    def wait(self, kind: str, seconds: float) -> str | None:
        """What was said, or None when nobody said it in time."""
        try:
            return self._queues[kind].get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None

    @contextmanager
    def webhook(self, port: int = 0) -> Iterator[int]:
        """Listen on loopback: POST /ack, /cause (its body), /recovered; any other path is the pilot's own message."""
        signals = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = min(int(self.headers.get("Content-Length") or 0), BODY)
                text = self.rfile.read(length).decode("utf-8", "replace")
                kind = self.path.strip("/").partition("?")[0]
                if kind in KINDS:
                    signals.say(kind, text)
                else:
                    signals.notice(text)
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": POLL_S}, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    @contextmanager
    def mailbox(self, path: Path) -> Iterator[None]:
        """Watch a mailbox file (or a folder of mails): each time it grows, a message has come."""
        stop = threading.Event()
        before = _size(path)

        def watch() -> None:
            size = before
            while not stop.wait(POLL_S):
                now = _size(path)
                if now > size:
                    self.notice(f"{path} grew")
                size = now

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def keyboard(self) -> None:
        """Take lines from standard input: `alert`, `ack`, `cause quota`, `recovered`."""

        def read() -> None:
            for line in sys.stdin:
                kind, _, text = line.strip().partition(" ")
                if kind in KINDS:
                    self.say(kind, text)

        threading.Thread(target=read, daemon=True).start()


def _size(path: Path) -> int:
    try:
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size
    except OSError:
        return 0


def hold(
    line: Faulty,
    fault: Mapping[str, Any],
    signals: Signals,
    *,
    within_s: float,
    respond_s: float,
    recover_s: float,
    say: Callable[[str], None] = lambda _text: None,
    clock: Callable[[], float] = time.monotonic,
) -> DrillResult:
    """Plan the fault, wait for the alert, the acknowledgement, the cause; end it, and wait for the recovery.

    The fault is always lifted, whatever happens here.
    """
    name = str(fault["type"])
    began = clock()

    def seconds() -> float:
        return round(clock() - began, 2)

    detected = acknowledged = diagnosed = recovered = None
    cause: str | None = None
    try:
        line.plan(fault)
        say(f"The fault is in force. Waiting {within_s:.0f} s for the pilot's own alert.")
        if signals.wait("alert", within_s) is None:
            return DrillResult(name, None, None, None, None, None, None, within_s)
        detected = seconds()
        say(f"Alert after {detected:.1f} s. Who takes it? (ack), and what is it? (cause WORD)")
        until = clock() + respond_s
        if signals.wait("ack", until - clock()) is not None:
            acknowledged = seconds()
        said = signals.wait("cause", until - clock())
        if said is not None:
            cause, diagnosed = said.strip().lower(), seconds()
            acknowledged = acknowledged if acknowledged is not None else diagnosed
    finally:
        line.clear()
    signals.drain("recovered")
    mended = clock()
    say("The fault is lifted. Waiting for the pilot to say that it works again.")
    if signals.wait("recovered", recover_s) is not None:
        recovered = round(clock() - mended, 2)
    right = None if cause is None else cause == cause_of(name)
    return DrillResult(name, detected, acknowledged, diagnosed, cause, right, recovered, within_s)
