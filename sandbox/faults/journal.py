"""What passed a fault line and what was done to it: times, methods, path templates, statuses, bytes; never contents."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

__all__ = ["Journal", "path_template"]

KEPT = 50_000
_IN_BRACKETS = re.compile(r"\([^)]*\)")
_NUMBER = re.compile(r"^\d+$")
_UUID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$", re.IGNORECASE)
_LONG_ID = re.compile(r"^(?=.*\d)[0-9A-Za-z_-]{12,}$")
_VERSION = re.compile(r"^v?\d{1,3}\.\d{1,3}$")


def path_template(target: str) -> str:
    """`/orders('17')/items/42?$top=5` as `/orders({key})/items/{id}?$top`: the shape of a request, no value of it."""
    parts = urlsplit(target)
    segments: list[str] = []
    for segment in parts.path.split("/"):
        if _VERSION.match(segment):
            segments.append(segment)
        elif _NUMBER.match(segment) or _UUID.match(segment) or _LONG_ID.match(segment):
            segments.append("{id}")
        else:
            segments.append(_IN_BRACKETS.sub("({key})", segment))
    names = sorted({name for name, _ in parse_qsl(parts.query, keep_blank_values=True)})
    return "/".join(segments) + (f"?{'&'.join(names)}" if names else "")


class Journal:
    """Thread-safe, bounded; each entry is a plain mapping with `event` and `at` (seconds since the line opened)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def add(self, entry: dict[str, Any]) -> None:
        with self._lock:
            self._entries.append(entry)

    def entries(self) -> tuple[Mapping[str, Any], ...]:
        with self._lock:
            return tuple(self._entries)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
