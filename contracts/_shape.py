"""Holds a document against the standard's own JSON Schema and says in plain words what does not fit."""

from __future__ import annotations

import difflib
import json
from functools import cache
from importlib import resources
from typing import Any

from weighbridge.contracts._yaml import Document

__all__ = ["check_shape"]

OPERATORS = (
    "mustBe", "mustNotBe", "mustBeGreaterThan", "mustBeGreaterOrEqualTo", "mustBeLessThan",
    "mustBeLessOrEqualTo", "mustBeBetween", "mustNotBeBetween",
)  # fmt: skip
MAX_ERRORS = 300


@cache
def _schema() -> dict[str, Any]:
    text = resources.files("open_data_contract_standard").joinpath("schema.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    # The published conditions read "if logicalType is map, map is required"; a property without a logicalType meets
    # every such `if` by default, and would be refused though the standard leaves logicalType open.
    for branch in schema["$defs"]["SchemaBaseProperty"]["allOf"]:
        if "if" in branch:
            branch["if"] = {"allOf": [branch["if"], {"required": ["logicalType"]}]}
    return schema


@cache
def _validator() -> Any:
    # The Rust validator takes 0.1 ms for a contract on which the Python one takes 17: hundreds of contracts are
    # linted before every run.
    import jsonschema_rs

    return jsonschema_rs.validator_for(_schema())


@cache
def _known_keys() -> frozenset[str]:
    """Every key the schema knows anywhere: what is not among them is a typing error, not a consequence."""
    found: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("properties"), dict):
                found.update(node["properties"])
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(_schema())
    return frozenset(found)


def check_shape(document: Document) -> None:
    """Add a complaint to the document for everything the schema rejects, consequences left out."""
    if not isinstance(document.data, dict):
        document.complain("is not a contract: the top level must be a mapping", document.locate(()))
        return
    errors: list[tuple[tuple[Any, ...], str, list[str]]] = []
    for number, error in enumerate(_validator().iter_errors(document.data)):
        if number >= MAX_ERRORS:
            break
        path = tuple(error.instance_path)
        unexpected = getattr(error.kind, "unexpected", None)
        if unexpected is not None:
            errors.append((path, "", list(unexpected)))
        elif not _explained_elsewhere(path, error):
            errors.append((path, error.message, []))
    real = {path for path, message, _ in errors if message}
    seen: set[tuple[tuple[Any, ...], str]] = set()
    for path, message, unexpected in errors:
        names = [n for n in unexpected if n not in _known_keys()]
        if unexpected and not names and not any(p[: len(path)] == path for p in real):
            names = [n for n in unexpected if n not in _explained_keys(path)]
        for name in names:
            text = _unknown(name)
            if (path, text) not in seen:
                seen.add((path, text))
                document.complain(f"{_where(path)}{text}", document.locate((*path, name)))
        if message and (path, message) not in seen:
            seen.add((path, message))
            document.complain(f"{_where(path)}{_short(message)}", document.locate(path))


def _in_quality(path: tuple[Any, ...]) -> bool:
    return len(path) >= 2 and path[-2] == "quality"


def _explained_keys(path: tuple[Any, ...]) -> frozenset[str]:
    """Keys that the lint of quality rules names better than the schema does."""
    return (
        frozenset((*OPERATORS, "metric", "arguments", "query", "engine", "implementation"))
        if _in_quality(path)
        else frozenset()
    )


def _explained_elsewhere(path: tuple[Any, ...], error: Any) -> bool:
    """Complaints about quality operators and missing keys of rules are worded by the lint."""
    if not _in_quality(path):
        return False
    kind = type(error.kind).__name__
    return "OneOf" in kind or kind == "AnyOf" or "Required" in kind


def _where(path: tuple[Any, ...]) -> str:
    return ".".join(str(p) for p in path) + ": " if path else ""


def _unknown(name: str) -> str:
    if name == "rule":
        return "the key 'rule' is of v3.0: name the metric instead"
    close = [c for c in difflib.get_close_matches(name, _known_keys(), n=2) if c != name]
    hint = f"; did you mean '{close[0]}'?" if close and name not in _known_keys() else ""
    return f"the key '{name[:80]}' is not allowed here{hint}"


def _short(message: str) -> str:
    return message if len(message) <= 240 else f"{message[:120]} ... {message[-110:]}"
