"""Reads YAML 1.2 as plain data with a position for everything, bounded in size, depth and aliases.

Nothing is ever constructed but dict, list, str, int, float, bool and None: tags are complaints. Words that YAML 1.1
tools read differently (`NO`, `010`, `1e9`, unquoted times) are complaints too, so that two tools cannot read one
contract two ways unnoticed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from weighbridge.contracts.problems import Problem

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_NODES", "Document", "read", "read_text"]

MAX_BYTES = 4_000_000
MAX_NODES = 200_000
MAX_DEPTH = 50
MAX_DIGITS = 300
MAX_PROBLEMS = 200

_INT = re.compile(r"[-+]?[0-9]+\Z")
_BASED = re.compile(r"0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_SPECIAL = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    ".inf": math.inf, ".Inf": math.inf, ".INF": math.inf, "+.inf": math.inf, "-.inf": -math.inf,
    "-.Inf": -math.inf, ".nan": math.nan, ".NaN": math.nan, ".NAN": math.nan,
}  # fmt: skip
_BOOL_11 = frozenset({"yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF"})
_OCTAL_11 = re.compile(r"[-+]?0[0-9]+\Z")
_TIME_11 = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?\Z")
_BASE_60 = re.compile(r"[-+]?[0-9]+(?::[0-5]?[0-9])+(?:\.[0-9]*)?\Z")
_EXPONENT_11 = re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?[eE][0-9]+\Z|[-+]?[0-9]+[eE][-+]?[0-9]+\Z")
_STANDARD = "tag:yaml.org,2002:"

Place = tuple[int, int]


@dataclass(slots=True)
class Document:
    """Plain data with the place of every key and item."""

    path: Path
    data: Any = None
    problems: list[Problem] = field(default_factory=list)
    marks: dict[int, dict[Any, Place]] = field(default_factory=dict)
    """id of a container -> key or index -> (line, column); the key None is the container's own place."""

    def locate(self, path: Sequence[Any]) -> Place:
        """(line, column) of the deepest part of `path` that exists, counted from 1."""
        node, place = self.data, self.marks.get(id(self.data), {}).get(None, (1, 1))
        for part in path:
            marks = self.marks.get(id(node))
            if marks is None or part not in marks:
                break
            place = marks[part]
            node = node[part]
        return place

    def line(self, container: Any) -> int:
        """The line on which a container of `data` begins."""
        return self.marks.get(id(container), {}).get(None, (0, 0))[0]

    def line_of(self, container: Any, key: Any) -> int:
        """The line of a container's key or item, else of the container."""
        marks = self.marks.get(id(container), {})
        return marks.get(key, marks.get(None, (0, 0)))[0]

    def complain(self, message: str, place: Place, severity: Any = "error") -> None:
        self.problems.append(Problem(self.path, place[0], place[1], message, severity))


def read(path: Path) -> Document:
    """Read one file; what is wrong with it stands in `problems`, never raised."""
    document = Document(path)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            document.complain(f"the file has {size:,} bytes; a contract may have {MAX_BYTES:,}", (0, 0))
            return document
        raw = path.read_bytes()
    except OSError as error:
        document.complain(f"cannot be read: {error.strerror or error}", (0, 0))
        return document
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        document.complain("is not UTF-8 from here on; save it as UTF-8", (line, column))
        return document
    _parse(text, document)
    return document


def read_text(text: str, path: Path) -> Document:
    """The same for text already at hand; `path` names it in complaints."""
    document = Document(path)
    if len(text) > MAX_BYTES:
        document.complain(f"the text has {len(text):,} characters; {MAX_BYTES:,} are allowed", (0, 0))
        return document
    _parse(text, document)
    return document


def _parse(text: str, document: Document) -> None:
    base = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    loader = base(text)
    try:
        _Builder(document).run(loader)
    except _Stop:
        document.data = None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        document.complain(f"is not YAML: {' '.join(p for p in (error.context, error.problem) if p)}", place)
        document.data = None
    except yaml.YAMLError as error:
        document.complain(f"is not YAML: {' '.join(str(error).split())[:200]}", (0, 0))
        document.data = None
    finally:
        loader.dispose()


class _Stop(Exception):
    """Reading ends here: a bound was passed."""


@dataclass(slots=True)
class _Open:
    """A container being filled."""

    value: Any
    marks: dict[Any, Place]
    anchor: str | None
    nodes: int
    key: Any = None
    has_key: bool = False


class _Builder:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[Any, int] | None] = {}
        self.nodes = 0
        self.documents = 0

    def run(self, loader: Any) -> None:
        while True:
            event = loader.get_event()
            if event is None or isinstance(event, yaml.StreamEndEvent):
                return
            self.take(event)

    def take(self, event: Any) -> None:
        kind = type(event)
        place = (event.start_mark.line + 1, event.start_mark.column + 1)
        if kind is yaml.ScalarEvent:
            self.count(1, place)
            value = self.scalar(event, place)
            if event.anchor:
                self.anchors[event.anchor] = (value, 1)
            self.put(value, place)
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            self.start(event, {} if kind is yaml.MappingStartEvent else [], place)
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            closed = self.stack.pop()
            if closed.anchor:
                self.anchors[closed.anchor] = (closed.value, self.nodes - closed.nodes + 1)
        elif kind is yaml.AliasEvent:
            self.alias(event, place)
        elif kind is yaml.DocumentStartEvent:
            self.documents += 1
            if self.documents > 1:
                self.document.complain("holds a second YAML document; one file holds one contract", place)
                raise _Stop

    def count(self, nodes: int, place: Place) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            self.document.complain(f"has more than {MAX_NODES:,} values; split the contract", place)
            raise _Stop
        if len(self.document.problems) >= MAX_PROBLEMS:
            self.document.complain("has more complaints than are worth listing", place)
            raise _Stop

    def start(self, event: Any, value: Any, place: Place) -> None:
        self.count(1, place)
        if len(self.stack) >= MAX_DEPTH:
            self.document.complain(f"is nested deeper than {MAX_DEPTH} levels", place)
            raise _Stop
        if event.tag and event.tag not in (f"{_STANDARD}map", f"{_STANDARD}seq", "!"):
            self.document.complain(f"the tag {event.tag} is not allowed in a contract", place)
        marks: dict[Any, Place] = {None: place}
        self.document.marks[id(value)] = marks
        self.put(value, place)
        if event.anchor:
            self.anchors[event.anchor] = None
        self.stack.append(_Open(value, marks, event.anchor, self.nodes))

    def alias(self, event: Any, place: Place) -> None:
        if event.anchor not in self.anchors:
            self.document.complain(f"the alias *{event.anchor} has no anchor before it", place)
            self.put(None, place)
            return
        known = self.anchors[event.anchor]
        if known is None:
            self.document.complain(f"the alias *{event.anchor} stands inside its own anchor", place)
            raise _Stop
        self.count(known[1], place)
        self.put(known[0], place)

    def put(self, value: Any, place: Place) -> None:
        if not self.stack:
            self.document.data = value
            return
        top = self.stack[-1]
        if isinstance(top.value, list):
            top.marks[len(top.value)] = place
            top.value.append(value)
        elif not top.has_key:
            if not isinstance(value, str):
                self.document.complain(f"the key {value!r:.60} is not text; quote it", place)
                value = str(value)
            elif value == "<<":
                self.document.complain("the merge key << is not read; write the keys out", place)
            if value in top.value:
                self.document.complain(f"the key '{value:.60}' stands twice", place)
            top.key, top.has_key = value, True
            top.marks[value] = place
        else:
            top.value[top.key] = value
            top.has_key = False

    def scalar(self, event: Any, place: Place) -> Any:
        text = event.value
        tag = event.tag
        if tag and tag != "!":
            if tag != f"{_STANDARD}str":
                shown = tag.replace(_STANDARD, "!!")
                self.document.complain(f"the tag {shown} is not allowed in a contract; quote text instead", place)
            return text
        if event.style or tag == "!" or not event.implicit[0]:
            return text
        if text in _SPECIAL:
            return _SPECIAL[text]
        first = text[0]
        if first in "+-.0123456789":
            return self.number(text, place)
        if text in _BOOL_11:
            self.document.complain(
                f"{text} without quotes is a boolean in YAML 1.1 and text in YAML 1.2; "
                f"write true or false, or quote it",
                place,
            )
        return text

    def number(self, text: str, place: Place) -> Any:
        if _INT.match(text):
            if _OCTAL_11.match(text):
                self.document.complain(
                    f"{text:.60} without quotes is octal in YAML 1.1 and decimal in YAML 1.2; "
                    "quote it or drop the leading zero",
                    place,
                )
                return text
            if len(text) > MAX_DIGITS:
                self.document.complain(f"a number of {len(text)} digits is not read; quote it", place)
                return text
            return int(text)
        if _BASED.match(text):
            return int(text[2:], 8 if text[1] == "o" else 16) if len(text) <= MAX_DIGITS else text
        if _FLOAT.match(text):
            if _EXPONENT_11.match(text):
                self.document.complain(
                    f"{text:.60} is a number here and text to YAML 1.1 tools; write it out", place, "warning"
                )
            value = float(text)
            if math.isinf(value):
                self.document.complain(f"{text:.60} is beyond what a number holds; quote it", place)
            return value
        if _TIME_11.match(text):
            self.document.complain(
                f"{text:.60} without quotes is text here and a time to YAML 1.1 tools; quote it", place, "warning"
            )
        elif _BASE_60.match(text):
            self.document.complain(
                f"{text:.60} without quotes is text here and a number to YAML 1.1 tools; quote it", place, "warning"
            )
        return text
