"""`$filter` and `$orderby` of OData V2 and V4, compiled to functions over rows.

The grammar is the common part of both versions' URL conventions: comparison, `and or not in`, arithmetic, the string
and date functions, and the literals of each version. A comparison with null is false, save `eq null` and `ne null`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

__all__ = ["BadQuery", "Seek", "compile_filter", "compile_order", "parse_literal", "seek_of"]

Row = Mapping[str, Any]
Function = Callable[[Row], Any]
MAX_DEPTH = 60


class BadQuery(Exception):
    """The question cannot be understood or names a property that is not there."""


_TOKEN = re.compile(
    r"""\s*(?:
      (?P<typed>(?:datetimeoffset|datetime|time|guid|binary|X|duration|[A-Za-z_][\w.]*\.[A-Za-z_]\w*)'(?:[^']|'')*')
    | (?P<text>'(?:[^']|'')*')
    | (?P<moment>-?\d{4,}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?)
    | (?P<guid>[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})
    | (?P<day>-?\d{4,}-\d\d-\d\d)
    | (?P<clock>\d\d:\d\d(?::\d\d(?:\.\d+)?)?)
    | (?P<number>[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?[LlMmDdFf]?)
    | (?P<name>[A-Za-z_$@][\w.]*(?:/[A-Za-z_][\w.]*)*)
    | (?P<sign>[(),-])
    )""",
    re.VERBOSE,
)
_DURATION = re.compile(r"^(-)?P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    text = text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match or match.end() == at:
            raise BadQuery(f"Syntax error at position {at + 1} in '{text[:120]}'.")
        found.append(_Token(str(match.lastgroup), match[str(match.lastgroup)]))
        at = match.end()
    return found


def _moment(text: str) -> datetime:
    if len(text) == 16:
        text += ":00"
    try:
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text.replace("Z", "+00:00")))
    except ValueError as error:
        raise BadQuery(f"'{text}' is not a date and time: {error}.") from None


def _span(text: str) -> timedelta:
    match = _DURATION.match(text)
    if not match:
        raise BadQuery(f"'{text}' is not a duration.")
    whole = timedelta(
        days=int(match[2] or 0), hours=int(match[3] or 0), minutes=int(match[4] or 0), seconds=float(match[5] or 0)
    )
    return -whole if match[1] else whole


def _v2_time(text: str) -> time:
    return (datetime(1970, 1, 1) + _span(text)).time()  # noqa: DTZ001 - a time of day has no zone


_TYPED: dict[str, Callable[[str], Any]] = {
    "datetime": _moment,
    "datetimeoffset": _moment,
    "time": _v2_time,
    "guid": str.lower,
    "duration": _span,
    "binary": lambda text: text.encode(),
    "X": bytes.fromhex,
}


def _literal(token: _Token) -> Any:
    text = token.text
    match token.kind:
        case "text":
            return text[1:-1].replace("''", "'")
        case "typed":
            prefix, _, rest = text.partition("'")
            return _TYPED.get(prefix, str)(rest[:-1].replace("''", "'"))
        case "number":
            digits = text.rstrip("LlMmDdFf")
            return int(digits) if re.fullmatch(r"[+-]?\d+", digits) else Decimal(digits)
        case "moment":
            return _moment(text)
        case "day":
            return date.fromisoformat(text)
        case "clock":
            return time.fromisoformat(text)
        case "guid":
            return text.lower()
    raise BadQuery(f"'{text}' is not a literal.")


def parse_literal(text: str) -> Any:
    """One literal, as in a key predicate."""
    tokens = _tokens(text)
    if len(tokens) == 1 and tokens[0].kind not in {"name", "sign"}:
        return _literal(tokens[0])
    if len(tokens) == 1 and tokens[0].text in {"true", "false", "null"}:
        return {"true": True, "false": False, "null": None}[tokens[0].text]
    raise BadQuery(f"'{text}' is not a literal.")


def _align(left: Any, right: Any) -> tuple[Any, Any]:
    """Make two values comparable; raises BadQuery where the types forbid it."""
    if isinstance(left, bool) != isinstance(right, bool):
        raise BadQuery("Incompatible types: a Boolean is compared with another type.")
    if isinstance(left, datetime) and isinstance(right, datetime):
        if (left.tzinfo is None) != (right.tzinfo is None):
            return left.replace(tzinfo=None), right.replace(tzinfo=None)
    elif isinstance(left, datetime) and isinstance(right, date):
        return left.date(), right
    elif isinstance(right, datetime) and isinstance(left, date):
        return left, right.date()
    elif isinstance(left, int | float | Decimal) and isinstance(right, int | float | Decimal):
        if isinstance(left, float) != isinstance(right, float):
            return Decimal(left), Decimal(right)
    elif type(left) is not type(right):
        raise BadQuery(f"Incompatible types: {type(left).__name__} and {type(right).__name__} cannot be compared.")
    return left, right


def _compare(operator: str, left: Function, right: Function) -> Function:
    def equal(row: Row) -> bool:
        a, b = left(row), right(row)
        if a is None or b is None:
            return a is b
        a, b = _align(a, b)
        return a == b

    def ordered(test: Callable[[Any, Any], bool]) -> Function:
        def run(row: Row) -> bool:
            a, b = left(row), right(row)
            if a is None or b is None:
                return False
            return test(*_align(a, b))

        return run

    tests: dict[str, Function] = {
        "eq": equal,
        "ne": lambda row: not equal(row),
        "gt": ordered(lambda a, b: a > b),
        "ge": ordered(lambda a, b: a >= b),
        "lt": ordered(lambda a, b: a < b),
        "le": ordered(lambda a, b: a <= b),
    }
    return tests[operator]


def _arithmetic(operator: str, left: Function, right: Function) -> Function:
    def divide(a: Any, b: Any) -> Any:
        if b == 0:
            raise BadQuery("Division by zero.")
        return a // b if isinstance(a, int) and isinstance(b, int) else a / b

    actions: dict[str, Callable[[Any, Any], Any]] = {
        "add": lambda a, b: a + b,
        "sub": lambda a, b: a - b,
        "mul": lambda a, b: a * b,
        "div": divide,
        "mod": lambda a, b: a % b,
    }

    def run(row: Row) -> Any:
        a, b = left(row), right(row)
        try:
            return None if a is None or b is None else actions[operator](a, b)
        except TypeError:
            raise BadQuery(f"'{operator}' does not fit these types.") from None

    return run


_FUNCTIONS: dict[str, tuple[tuple[int, ...], Callable[..., Any]]] = {
    "contains": ((2,), lambda a, b: b in a),
    "substringof": ((2,), lambda a, b: a in b),
    "startswith": ((2,), lambda a, b: a.startswith(b)),
    "endswith": ((2,), lambda a, b: a.endswith(b)),
    "indexof": ((2,), lambda a, b: a.find(b)),
    "length": ((1,), len),
    "substring": ((2, 3), lambda a, start, n=None: a[start:] if n is None else a[start : start + n]),
    "tolower": ((1,), lambda a: a.lower()),
    "toupper": ((1,), lambda a: a.upper()),
    "trim": ((1,), lambda a: a.strip()),
    "concat": ((2,), lambda a, b: a + b),
    "replace": ((3,), lambda a, b, c: a.replace(b, c)),
    "year": ((1,), lambda a: a.year),
    "month": ((1,), lambda a: a.month),
    "day": ((1,), lambda a: a.day),
    "hour": ((1,), lambda a: a.hour),
    "minute": ((1,), lambda a: a.minute),
    "second": ((1,), lambda a: a.second),
    "date": ((1,), lambda a: a.date()),
    "time": ((1,), lambda a: a.time()),
    "round": ((1,), lambda a: Decimal(a).to_integral_value()),
    "floor": ((1,), lambda a: Decimal(a).to_integral_value("ROUND_FLOOR")),
    "ceiling": ((1,), lambda a: Decimal(a).to_integral_value("ROUND_CEILING")),
    "now": ((0,), lambda: datetime.now(UTC)),
}
_COMPARE = ("eq", "ne", "gt", "ge", "lt", "le")


class _Parser:
    def __init__(self, text: str, known: frozenset[str]) -> None:
        self.tokens = _tokens(text)
        self.known = known
        self.at = 0
        self.depth = 0

    def peek(self) -> _Token:
        return self.tokens[self.at] if self.at < len(self.tokens) else _Token("end", "")

    def take(self) -> _Token:
        token = self.peek()
        self.at += 1
        return token

    def word(self, *words: str) -> str | None:
        token = self.peek()
        if token.kind == "name" and token.text in words:
            self.at += 1
            return token.text
        return None

    def expect(self, sign: str) -> None:
        token = self.take()
        if token.text != sign:
            raise BadQuery(f"Expected '{sign}', found '{token.text or 'the end'}'.")

    def whole(self) -> Function:
        found = self.either()
        if self.peek().kind != "end":
            raise BadQuery(f"Unexpected '{self.peek().text}'.")
        return found

    def either(self) -> Function:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise BadQuery("The expression is nested too deeply.")
        left = self.both()
        while self.word("or"):
            left = self._or(left, self.both())
        self.depth -= 1
        return left

    @staticmethod
    def _or(a: Function, b: Function) -> Function:
        return lambda row: bool(a(row)) or bool(b(row))

    def both(self) -> Function:
        left = self.negation()
        while self.word("and"):
            left = self._and(left, self.negation())
        return left

    @staticmethod
    def _and(a: Function, b: Function) -> Function:
        return lambda row: bool(a(row)) and bool(b(row))

    def negation(self) -> Function:
        if self.word("not"):
            inner = self.negation()
            return lambda row: not inner(row)
        return self.comparison()

    def comparison(self) -> Function:
        left = self.sum()
        operator = self.word(*_COMPARE)
        if operator:
            return _compare(operator, left, self.sum())
        if self.word("in"):
            self.expect("(")
            items = [self.sum()]
            while self.peek().text == ",":
                self.take()
                items.append(self.sum())
            self.expect(")")
            tests = [_compare("eq", left, item) for item in items]
            return lambda row: any(test(row) for test in tests)
        return left

    def sum(self) -> Function:
        left = self.product()
        while operator := self.word("add", "sub"):
            left = _arithmetic(operator, left, self.product())
        return left

    def product(self) -> Function:
        left = self.atom()
        while operator := self.word("mul", "div", "mod"):
            left = _arithmetic(operator, left, self.atom())
        return left

    def atom(self) -> Function:
        token = self.take()
        if token.text == "(":
            inner = self.either()
            self.expect(")")
            return inner
        if token.text == "-":
            inner = self.atom()
            return lambda row: None if (v := inner(row)) is None else -v
        if token.kind == "name":
            return self.named(token.text)
        if token.kind == "end":
            raise BadQuery("The expression ends too early.")
        value = _literal(token)
        return lambda _row: value

    def named(self, name: str) -> Function:
        if name in {"true", "false", "null"}:
            constant = {"true": True, "false": False, "null": None}[name]
            return lambda _row: constant
        if self.peek().text == "(":
            return self.call(name)
        if name not in self.known:
            raise BadQuery(f"Could not find a property named '{name}'.")
        return lambda row: row[name]

    def call(self, name: str) -> Function:
        if name not in _FUNCTIONS:
            raise BadQuery(f"Unknown function '{name}'.")
        self.expect("(")
        arguments: list[Function] = []
        while self.peek().text != ")":
            arguments.append(self.either())
            if self.peek().text == ",":
                self.take()
            elif self.peek().text != ")":
                raise BadQuery(f"Expected ',' or ')' in {name}(...).")
        self.expect(")")
        counts, action = _FUNCTIONS[name]
        if len(arguments) not in counts:
            raise BadQuery(f"{name} takes {' or '.join(map(str, counts))} arguments.")

        def run(row: Row) -> Any:
            values = [argument(row) for argument in arguments]
            try:
                return None if any(v is None for v in values) else action(*values)
            except (TypeError, AttributeError):
                raise BadQuery(f"{name} does not fit these types.") from None

        return run


def compile_filter(text: str, known: frozenset[str]) -> Callable[[Row], bool]:
    """The `$filter` as a test; raises BadQuery."""
    function = _Parser(text, known).whole()
    return lambda row: bool(function(row))


def compile_order(text: str, known: frozenset[str]) -> list[tuple[str, bool]]:
    """The `$orderby` as (property, descending); raises BadQuery."""
    found: list[tuple[str, bool]] = []
    for part in text.split(","):
        words = part.split()
        if not words or len(words) > 2 or (len(words) == 2 and words[1] not in {"asc", "desc"}):
            raise BadQuery(f"Syntax error in $orderby: '{text[:80]}'.")
        if words[0] not in known:
            raise BadQuery(f"Could not find a property named '{words[0]}'.")
        found.append((words[0], len(words) == 2 and words[1] == "desc"))
    return found


@dataclass(frozen=True, slots=True)
class Seek:
    """A filter that an index on the key answers: everything behind `value`."""

    value: Any


def seek_of(text: str, keys: Sequence[str]) -> Seek | None:
    """The filter as an index seek if it is exactly `Key gt literal` on a single key."""
    if len(keys) != 1:
        return None
    tokens = _tokens(text.strip())
    while len(tokens) > 2 and tokens[0].text == "(" and tokens[-1].text == ")":
        tokens = tokens[1:-1]
    if (
        len(tokens) == 3
        and tokens[0].text == keys[0]
        and tokens[1].text == "gt"
        and tokens[2].kind not in {"name", "sign"}
    ):
        return Seek(_literal(tokens[2]))
    return None
