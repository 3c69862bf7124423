"""Odoo's search domains: prefix logic, the operators, and dotted paths, compiled to tests over records."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any, Protocol

__all__ = ["BadDomain", "Resolver", "compile_domain"]

Test = Callable[[int], bool]


class BadDomain(ValueError):
    """The domain is malformed or names a field that is not there."""


class Resolver(Protocol):
    """What a domain asks of the model it is about."""

    def value(self, record: int, path: str) -> Any:
        """The raw value at a dotted path: id for a many2one, None for null, a list of ids for x2many."""
        ...

    def check(self, path: str) -> str:
        """The field's type at the end of the path; raises BadDomain."""
        ...

    def names(self, record: int, path: str) -> list[str]:
        """Display names behind a relational field, for comparison with text."""
        ...


def compile_domain(domain: Any, resolver: Resolver) -> Test:
    """The domain as a test of a record's id; raises BadDomain."""
    if not isinstance(domain, list | tuple):
        raise BadDomain(f"Domain should be a list, got {type(domain).__name__}")
    terms = list(domain)
    parts: list[Test] = []
    while terms:
        parts.append(_take(terms, resolver, 0))
    if not parts:
        return lambda _record: True
    return lambda record: all(part(record) for part in parts)


def _take(terms: list[Any], resolver: Resolver, depth: int) -> Test:
    if not terms or depth > 200:
        raise BadDomain("Domain is malformed: an operator lacks its operands")
    term = terms.pop(0)
    if term == "!":
        inner = _take(terms, resolver, depth + 1)
        return lambda record: not inner(record)
    if term in ("&", "|"):
        left, right = _take(terms, resolver, depth + 1), _take(terms, resolver, depth + 1)
        if term == "&":
            return lambda record: left(record) and right(record)
        return lambda record: left(record) or right(record)
    if isinstance(term, list | tuple) and len(term) == 3:
        return _leaf(str(term[0]), str(term[1]), term[2], resolver)
    raise BadDomain(f"Invalid leaf {term!r:.80}")


def _leaf(path: str, operator: str, wanted: Any, resolver: Resolver) -> Test:
    kind = resolver.check(path)
    relational = kind in {"many2one", "one2many", "many2many"}
    by_name = relational and (isinstance(wanted, str) or operator in _PATTERNS)
    if operator in _PATTERNS:
        pattern, negative = _PATTERNS[operator](str(wanted)), operator.startswith("not ")

        def matches(record: int) -> bool:
            texts = resolver.names(record, path) if relational else [resolver.value(record, path)]
            return any(text is not None and pattern.search(str(text)) for text in texts) != negative

        return matches
    if operator not in _COMPARE:
        raise BadDomain(f"Invalid operator {operator!r} in leaf")
    if by_name:
        return lambda record: any(_COMPARE[operator](name, wanted) for name in resolver.names(record, path))
    right = _converted(wanted, kind)
    compare = _COMPARE[operator]

    def test(record: int) -> bool:
        value = resolver.value(record, path)
        if isinstance(value, list):
            if right is None:
                return (not value) == (operator == "=")
            return any(compare(item, right) for item in value)
        return compare(value, right)

    return test


def _converted(wanted: Any, kind: str) -> Any:
    if isinstance(wanted, list | tuple):
        return [_converted(item, kind) for item in wanted]
    if wanted is False and kind != "boolean":
        return None
    try:
        if kind == "datetime" and isinstance(wanted, str):
            return datetime.fromisoformat(wanted)
        if kind == "date" and isinstance(wanted, str):
            return date.fromisoformat(wanted[:10])
    except ValueError:
        raise BadDomain(f"Invalid {kind} value {wanted!r} in leaf") from None
    return wanted


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def run(a: Any, b: Any) -> bool:
        if a is None or b is None:
            return False
        try:
            return test(a, b)
        except TypeError:
            raise BadDomain(f"cannot compare {type(a).__name__} with {type(b).__name__}") from None

    return run


def _inside(a: Any, b: Any) -> bool:
    if not isinstance(b, Sequence) or isinstance(b, str):
        raise BadDomain("the operator 'in' takes a list")
    return a in b


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<>": lambda a, b: a != b,
    "=?": lambda a, b: b is None or a == b,
    ">": _ordered(lambda a, b: a > b),
    ">=": _ordered(lambda a, b: a >= b),
    "<": _ordered(lambda a, b: a < b),
    "<=": _ordered(lambda a, b: a <= b),
    "in": _inside,
    "not in": lambda a, b: not _inside(a, b),
}


def _like(text: str, *, whole: bool, fold: bool) -> re.Pattern[str]:
    body = "".join(".*" if c == "%" else "." if c == "_" else re.escape(c) for c in text)
    return re.compile(f"^{body}$" if whole else body, re.DOTALL | (re.IGNORECASE if fold else 0))


_PATTERNS: dict[str, Callable[[str], re.Pattern[str]]] = {
    "like": lambda t: _like(t, whole=False, fold=False),
    "not like": lambda t: _like(t, whole=False, fold=False),
    "ilike": lambda t: _like(t, whole=False, fold=True),
    "not ilike": lambda t: _like(t, whole=False, fold=True),
    "=like": lambda t: _like(t, whole=True, fold=False),
    "=ilike": lambda t: _like(t, whole=True, fold=True),
}
