"""A real subset of SOQL: parsed, type-checked against the fields a user may see, and compiled to functions.

SELECT fields, parent fields, count(), aggregates with GROUP BY; WHERE with AND, OR, NOT, parentheses, = != < <= > >=,
LIKE, IN, NOT IN, date literals; ORDER BY with NULLS FIRST|LAST; LIMIT; OFFSET.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol

from weighbridge.sandbox.salesforce.model import ApiError, Field, SObject, stamp, to18

__all__ = ["Query", "Resolver", "compile_where", "parse", "sort_key"]

_TOKEN = re.compile(
    r"\s*(?:(?P<string>'(?:[^'\\]|\\.)*')"
    r"|(?P<datetime>\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:?\d\d))"
    r"|(?P<date>\d{4}-\d\d-\d\d)"
    r"|(?P<number>[+-]?\d+(?:\.\d+)?)"
    r"|(?P<word>[A-Za-z_][\w.]*(?::\d+)?)"
    r"|(?P<op><=|>=|!=|<>|=|<|>)"
    r"|(?P<mark>[(),]))"
)
_AGGREGATES = ("COUNT", "COUNT_DISTINCT", "MIN", "MAX", "SUM", "AVG")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
MOST_OFFSET = 2000


def malformed(message: str) -> ApiError:
    return ApiError(400, "MALFORMED_QUERY", message)


@dataclass(frozen=True, slots=True)
class Literal:
    kind: str
    value: Any


@dataclass(frozen=True, slots=True)
class Selected:
    path: str
    aggregate: str | None = None
    alias: str | None = None


@dataclass(slots=True)
class Query:
    """One parsed statement."""

    object: str
    selected: list[Selected] = field(default_factory=list)
    count_only: bool = False
    where: Any = None
    group: list[str] = field(default_factory=list)
    order: list[tuple[str, bool, bool]] = field(default_factory=list)
    """(path, descending, nulls first)."""
    limit: int | None = None
    offset: int = 0

    @property
    def aggregated(self) -> bool:
        return bool(self.group) or any(s.aggregate for s in self.selected)


class Resolver(Protocol):
    """What compiling needs of an org: field definitions and parent records."""

    def field_of(self, sobject: SObject, path: str) -> tuple[Callable[[dict[str, Any]], Any], Field]: ...


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    position = 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if not match:
            raise malformed(f"unexpected token: '{text[position : position + 20].strip()}'")
        kind = match.lastgroup or ""
        found.append((kind, match.group(kind)))
        position = match.end()
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at = 0

    def peek(self, ahead: int = 0) -> tuple[str, str]:
        at = self.at + ahead
        return self.tokens[at] if at < len(self.tokens) else ("end", "<EOF>")

    def take(self) -> tuple[str, str]:
        token = self.peek()
        self.at += 1
        return token

    def word(self, *wanted: str) -> bool:
        kind, text = self.peek()
        if kind == "word" and text.upper() in wanted:
            self.at += 1
            return True
        return False

    def need(self, *wanted: str) -> None:
        if not self.word(*wanted):
            raise malformed(f"unexpected token: '{self.peek()[1]}', expecting {' or '.join(wanted)}")

    def mark(self, wanted: str) -> bool:
        if self.peek() == ("mark", wanted):
            self.at += 1
            return True
        return False

    def name(self) -> str:
        kind, text = self.take()
        if kind != "word":
            raise malformed(f"unexpected token: '{text}'")
        return text

    def number(self) -> int:
        kind, text = self.take()
        if kind != "number" or not text.isdigit():
            raise malformed(f"unexpected token: '{text}', expecting a number")
        return int(text)

    def query(self) -> Query:
        self.need("SELECT")
        selected, count_only = self._select()
        self.need("FROM")
        query = Query(self.name(), selected, count_only)
        if self.peek()[0] == "word" and self.peek()[1].upper() not in (
            "WHERE",
            "ORDER",
            "LIMIT",
            "OFFSET",
            "GROUP",
            "ALL",
        ):
            self.name()  # an alias; paths are taken as written
        if self.word("WHERE"):
            query.where = self._or()
        if self.word("GROUP"):
            self.need("BY")
            query.group.append(self.name())
            while self.mark(","):
                query.group.append(self.name())
        if self.word("ORDER"):
            self.need("BY")
            query.order = self._order()
        if self.word("LIMIT"):
            query.limit = self.number()
        if self.word("OFFSET"):
            query.offset = self.number()
            if query.offset > MOST_OFFSET:
                raise ApiError(400, "NUMBER_OUTSIDE_VALID_RANGE", f"Maximum SOQL offset allowed is {MOST_OFFSET}")
        if self.word("ALL"):
            self.need("ROWS")
        if self.peek()[0] != "end":
            raise malformed(f"unexpected token: '{self.peek()[1]}'")
        return query

    def _select(self) -> tuple[list[Selected], bool]:
        if self.peek()[1].upper() == "COUNT" and self.peek(1)[1] == "(" and self.peek(2)[1] == ")":
            self.at += 3
            return [], True
        items = [self._selected()]
        while self.mark(","):
            items.append(self._selected())
        return items, False

    def _selected(self) -> Selected:
        name = self.name()
        if not self.mark("("):
            return Selected(name)
        function = name.upper()
        if function == "FIELDS":
            which = self.name().upper()
            if not self.mark(")"):
                raise malformed("unexpected token, expecting ')'")
            return Selected(f"FIELDS({which})")
        if function not in _AGGREGATES:
            raise malformed(f"unknown function: {name}")
        path = self.name()
        if not self.mark(")"):
            raise malformed(f"unexpected token: '{self.peek()[1]}', expecting ')'")
        alias = None
        if self.peek()[0] == "word" and self.peek()[1].upper() != "FROM":
            alias = self.name()
        return Selected(path, function, alias)

    def _order(self) -> list[tuple[str, bool, bool]]:
        found: list[tuple[str, bool, bool]] = []
        while True:
            path = self.name()
            down = self.word("DESC")
            if not down:
                self.word("ASC")
            first = not down
            if self.word("NULLS"):
                first = self.word("FIRST")
                if not first:
                    self.need("LAST")
            found.append((path, down, first))
            if not self.mark(","):
                return found

    def _or(self) -> Any:
        parts = [self._and()]
        while self.word("OR"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else ("or", parts)

    def _and(self) -> Any:
        parts = [self._not()]
        while self.word("AND"):
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else ("and", parts)

    def _not(self) -> Any:
        if self.word("NOT"):
            return ("not", self._not())
        if self.mark("("):
            inner = self._or()
            if not self.mark(")"):
                raise malformed(f"unexpected token: '{self.peek()[1]}', expecting ')'")
            return inner
        return self._comparison()

    def _comparison(self) -> Any:
        path = self.name()
        if self.word("LIKE"):
            return ("cmp", path, "LIKE", self._literal())
        if self.word("NOT"):
            self.need("IN")
            return ("in", path, self._list(), True)
        if self.word("IN"):
            return ("in", path, self._list(), False)
        kind, op = self.take()
        if kind != "op":
            raise malformed(f"unexpected token: '{op}'")
        return ("cmp", path, "!=" if op == "<>" else op, self._literal())

    def _list(self) -> list[Literal]:
        if not self.mark("("):
            raise malformed(f"unexpected token: '{self.peek()[1]}', expecting '('")
        values = [self._literal()]
        while self.mark(","):
            values.append(self._literal())
        if not self.mark(")"):
            raise malformed(f"unexpected token: '{self.peek()[1]}', expecting ')'")
        return values

    def _literal(self) -> Literal:
        kind, text = self.take()
        if kind == "string":
            return Literal("string", re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), text[1:-1]))
        if kind == "number":
            return Literal("number", float(text) if "." in text else int(text))
        if kind == "date":
            try:
                return Literal("date", date.fromisoformat(text).isoformat())
            except ValueError:
                raise malformed(f"line 1: Invalid date: {text}") from None
        if kind == "datetime":
            try:
                moment = datetime.fromisoformat(text.upper())
            except ValueError:
                raise malformed(f"line 1: Invalid datetime: {text}") from None
            return Literal("datetime", stamp(moment))
        if kind == "word":
            upper = text.upper()
            if upper in ("TRUE", "FALSE"):
                return Literal("boolean", upper == "TRUE")
            if upper == "NULL":
                return Literal("null", None)
            return Literal("range", _named_range(upper))
        raise malformed(f"unexpected token: '{text}'")


def _named_range(word: str) -> tuple[date, date]:
    """First day and the day behind the last of a date literal."""
    today = datetime.now(UTC).date()
    name, _, count = word.partition(":")
    days = int(count or 0)
    if name == "LAST_N_DAYS":
        return today - timedelta(days), today + timedelta(1)
    if name == "NEXT_N_DAYS":
        return today + timedelta(1), today + timedelta(days + 1)
    ranges = {
        "TODAY": (today, today + timedelta(1)),
        "YESTERDAY": (today - timedelta(1), today),
        "TOMORROW": (today + timedelta(1), today + timedelta(2)),
        "THIS_MONTH": (today.replace(day=1), (today.replace(day=1) + timedelta(32)).replace(day=1)),
        "THIS_YEAR": (date(today.year, 1, 1), date(today.year + 1, 1, 1)),
        "LAST_YEAR": (date(today.year - 1, 1, 1), date(today.year, 1, 1)),
    }
    if name not in ranges:
        raise malformed(f"unexpected token: '{word}'")
    return ranges[name]


def parse(text: str) -> Query:
    """Raises ApiError MALFORMED_QUERY."""
    if not text.strip():
        raise malformed("A query string has to be specified")
    return _Parser(text).query()


Test = Callable[[dict[str, Any]], bool]


def compile_where(node: Any, sobject: SObject, org: Resolver) -> Test:
    """A function that says whether a record matches; raises ApiError INVALID_FIELD for what cannot be asked."""
    if node is None:
        return lambda _record: True
    kind = node[0]
    if kind in ("and", "or"):
        tests = [compile_where(n, sobject, org) for n in node[1]]
        if kind == "and":
            return lambda r: all(t(r) for t in tests)
        return lambda r: any(t(r) for t in tests)
    if kind == "not":
        inner = compile_where(node[1], sobject, org)
        return lambda r: not inner(r)
    getter, definition = org.field_of(sobject, node[1])
    if definition.type in ("textarea", "base64"):
        raise ApiError(400, "INVALID_FIELD", f"field '{node[1]}' can not be filtered in a query call")
    if kind == "in":
        fold = _fold(definition)
        wanted = {fold(_typed(v, definition)) for v in node[2]}
        if node[3]:
            return lambda r: fold(getter(r)) not in wanted
        return lambda r: fold(getter(r)) in wanted
    return _compare(getter, definition, node[2], node[3])


def _folded(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _as_is(value: Any) -> Any:
    return value


def _fold(definition: Field) -> Callable[[Any], Any]:
    """Text compares without regard to case, ids with it."""
    return _as_is if definition.type in ("id", "reference") else _folded


def _typed(literal: Literal, definition: Field) -> Any:
    """The literal's value in the field's own form, or the error that Salesforce gives."""
    kind, value, wanted = literal.kind, literal.value, definition.type
    if kind == "null":
        return None
    if wanted in ("datetime", "date"):
        if kind == "string":
            raise ApiError(
                400,
                "INVALID_FIELD",
                f"value of filter criterion for field '{definition.name}' must be of type "
                f"{'dateTime' if wanted == 'datetime' else 'date'} and should not be enclosed in quotes",
            )
        if kind == "date":
            return value if wanted == "date" else f"{value}T00:00:00.000+0000"
        if kind == "datetime":
            return value[:10] if wanted == "date" else value
    elif wanted == "boolean":
        if kind == "boolean":
            return value
    elif wanted in ("int", "double", "currency", "percent"):
        if kind == "number":
            return value
    elif kind == "string":
        return to18(value) if wanted in ("id", "reference") else value
    raise ApiError(
        400, "INVALID_FIELD", f"value of filter criterion for field '{definition.name}' must be of type {wanted}"
    )


def _compare(getter: Callable[[dict[str, Any]], Any], definition: Field, op: str, literal: Literal) -> Test:
    if literal.kind == "range":
        return _in_range(getter, definition, op, literal.value)
    value = _typed(literal, definition)
    if op == "LIKE":
        pattern = "".join({"%": ".*", "_": "."}.get(c, re.escape(c)) for c in str(value or ""))
        like = re.compile(pattern, re.IGNORECASE | re.DOTALL)
        return lambda r: isinstance(v := getter(r), str) and like.fullmatch(v) is not None
    fold = _fold(definition)
    folded = fold(value)
    if op == "=":
        return lambda r: fold(getter(r)) == folded
    if op == "!=":
        return lambda r: fold(getter(r)) != folded
    order: dict[str, Callable[[Any], bool]] = {
        "<": lambda v: v < value,
        "<=": lambda v: v <= value,
        ">": lambda v: v > value,
        ">=": lambda v: v >= value,
    }
    test = order[op]
    return lambda r: (v := getter(r)) is not None and value is not None and test(v)


def _in_range(getter: Callable[[dict[str, Any]], Any], definition: Field, op: str, days: tuple[date, date]) -> Test:
    tail = "T00:00:00.000+0000" if definition.type == "datetime" else ""
    low, high = days[0].isoformat() + tail, days[1].isoformat() + tail
    tests: dict[str, Callable[[str], bool]] = {
        "=": lambda v: low <= v < high,
        "!=": lambda v: not low <= v < high,
        "<": lambda v: v < low,
        "<=": lambda v: v < high,
        ">": lambda v: v >= high,
        ">=": lambda v: v >= low,
    }
    test = tests[op]
    return lambda r: (v := getter(r)) is not None and test(v)


def sort_key(
    getter: Callable[[dict[str, Any]], Any], definition: Field, *, nulls_last: bool
) -> Callable[[dict[str, Any]], Any]:
    """A key for `list.sort` in which nulls stand where the query wants them."""

    fold = _fold(definition)

    def key(record: dict[str, Any]) -> Any:
        value = getter(record)
        if value is None:
            return (1 if nulls_last else -1, 0)
        return (0, fold(value))

    return key


def conjuncts(node: Any) -> list[Any]:
    """The parts of a top-level AND."""
    if node is None:
        return []
    return list(node[1]) if node[0] == "and" else [node]
