"""Compiles a contract's object into `Rule`s: every promise once, in normal form, in the order of the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from weighbridge.contracts._shape import OPERATORS
from weighbridge.contracts.lint import ENGINES, implementation_of
from weighbridge.contracts.models import Contract, Property, Relationship, Rule, SchemaObject, SlaProperty
from weighbridge.contracts.scale import Scale

__all__ = ["KINDS", "compile_rules", "compile_sla", "expected_words"]

KINDS = (
    # schema
    "presence", "type",
    # of a property, by row
    "required", "unique", "primary_key", "min_length", "max_length", "pattern", "format", "minimum", "maximum",
    "exclusive_minimum", "exclusive_maximum", "multiple_of", "number_format", "date_format", "zone", "enum",
    "min_items", "max_items", "unique_items", "dimensions", "min_properties", "max_properties", "required_properties",
    "relationship",
    # quality rules
    "null_values", "missing_values", "invalid_values", "duplicate_values", "row_count", "sql", "expectation",
    "text", "foreign",
    # service levels
    "sla",
)  # fmt: skip

_OPTIONS = {
    "minLength": "min_length", "maxLength": "max_length", "pattern": "pattern", "minimum": "minimum",
    "maximum": "maximum", "exclusiveMinimum": "exclusive_minimum", "exclusiveMaximum": "exclusive_maximum",
    "multipleOf": "multiple_of", "timezone": "zone", "minItems": "min_items", "maxItems": "max_items",
    "uniqueItems": "unique_items", "minProperties": "min_properties", "maxProperties": "max_properties",
    "required": "required_properties", "dimensions": "dimensions",
}  # fmt: skip
_METRICS = {
    "nullValues": "null_values", "missingValues": "missing_values", "invalidValues": "invalid_values",
    "duplicateValues": "duplicate_values", "rowCount": "row_count",
}  # fmt: skip
_WORDS = {
    "mustBe": "=", "mustNotBe": "≠", "mustBeGreaterThan": ">", "mustBeGreaterOrEqualTo": "≥", "mustBeLessThan": "<",
    "mustBeLessOrEqualTo": "≤",
}  # fmt: skip
_INTEGERS = {
    f"{sign}{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if sign == "i" else (0, 2**bits - 1)
    for sign in "iu"
    for bits in (8, 16, 32, 64, 128)
}
_SLA_CHECKS = {
    "freshness": "freshness", "retention": "freshness", "frequency": "freshness", "latency": "freshness",
    "throughput": "load", "errorRate": "load", "endOfLife": "freshness", "endOfSupport": "freshness",
    "generalAvailability": "freshness", "availability": "operations", "timeToDetect": "operations",
    "timeToNotify": "operations", "timeToRepair": "operations",
}  # fmt: skip


def compile_rules(contract: Contract, object: SchemaObject) -> tuple[Rule, ...]:
    """Every promise about `object`: schema, quality and the service levels that speak of it, in the file's order."""
    return (*_Compile(contract, object).rules(), *compile_sla(contract, object))


def compile_sla(contract: Contract, object: SchemaObject) -> Iterator[Rule]:
    """The service levels that speak of `object`, each under the check that answers it.

    Keys of `[scale]` are what is asked, not what is promised; they are in the point's scale and make no rule.
    """
    seen: dict[str, int] = {}
    for sla in contract.sla:
        if sla.property in Scale.model_fields:
            continue
        columns = _element_columns(sla, object)
        if columns is None:
            continue
        number = seen.get(sla.property, 0)
        seen[sla.property] = number + 1
        path = f"{object.name}.slaProperties.{sla.property}" + (f".{number}" if number else "")
        check = _SLA_CHECKS.get(sla.property, "operations")
        if sla.property == "latency" and not columns:
            check = "load"
        yield Rule(
            id=path,
            path=path,
            name=f"{sla.property} {sla.value} {sla.unit or ''}".strip(),
            line=sla.line,
            check=check,
            kind="sla",
            severity="error",
            columns=columns,
            arguments=_frozen(property=sla.property, value=sla.value, unit=sla.unit, element=sla.element),
            expected=f"{sla.value} {sla.unit or ''}".strip(),
            dimension="timeliness",
        )


def _element_columns(sla: SlaProperty, object: SchemaObject) -> tuple[str, ...] | None:
    """The object's columns an `element` names; () where it names none, None where it speaks of other objects."""
    if not sla.element:
        return ()
    columns: list[str] = []
    meant = False
    for element in (e.strip() for e in sla.element.split(",")):
        head, _, tail = element.partition(".")
        if head == object.name:
            meant = True
            if tail:
                columns.append(tail)
    return tuple(columns) if meant else None


def _frozen(**values: Any) -> Mapping[str, Any]:
    return MappingProxyType(values)


def expected_words(operator: str, value: Any, unit: str | None = None) -> str:
    """The demand of a rule about one number, `> 5 %` or `strictly between 1 and 9 rows`."""
    tail = {"percent": " %", "rows": " rows"}.get(unit or "", "")
    if operator == "mustBeBetween":
        return f"strictly between {value[0]} and {value[1]}{tail}"
    if operator == "mustNotBeBetween":
        return f"not strictly between {value[0]} and {value[1]}{tail}"
    return f"{_WORDS[operator]} {value}{tail}"


class _Compile:
    def __init__(self, contract: Contract, object: SchemaObject) -> None:
        self.contract = contract
        self.object = object

    def rules(self) -> Iterator[Rule]:
        for item in self.object.properties:
            yield from self.schema_rules(item)
        if self.object.key:
            names = tuple(p.name for p in self.object.key)
            yield self.make(
                (), "primaryKey", "primary_key", names, {}, f"{', '.join(names)} present and unique",
                line=self.object.key[0].line, dimension="uniqueness",
            )  # fmt: skip
        alone = len(self.object.key) == 1
        for item in self.object.properties:
            # A key of one column is present and unique already; a part of a longer key is present.
            yield from self.property_rules(item, (item.name,), key=item.primary_key, single=alone)
        for index, relation in enumerate(self.object.relationships):
            yield self.relation(relation, (), index)
        yield from self.quality(self.object.quality, (), ())

    def make(
        self,
        steps: tuple[str, ...],
        keyword: str,
        kind: str,
        columns: tuple[str, ...],
        arguments: Mapping[str, Any],
        expected: str,
        *,
        line: int,
        check: str = "quality",
        dimension: str | None = None,
    ) -> Rule:
        path = ".".join((self.object.name, *steps, keyword))
        return Rule(
            id=path, path=path, name=f"{'.'.join(steps) or self.object.name}: {expected}", line=line, check=check,
            kind=kind, severity="error", columns=columns, arguments=_frozen(**arguments), expected=expected,
            dimension=dimension,
        )  # fmt: skip

    def schema_rules(self, item: Property) -> Iterator[Rule]:
        steps, columns = (item.name,), (item.name,)
        yield self.make(
            steps, "presence", "presence", columns, {"physical_name": item.physical_name}, "is there",
            line=item.line, check="schema", dimension="conformity",
        )  # fmt: skip
        if item.logical_type:
            yield self.make(
                steps, "logicalType", "type", columns, {"logical_type": item.logical_type},
                f"is {_article(item.logical_type)}", line=item.line, check="schema", dimension="conformity",
            )  # fmt: skip

    def property_rules(
        self, item: Property, steps: tuple[str, ...], *, key: bool = False, single: bool = False
    ) -> Iterator[Rule]:
        columns = (".".join(steps),)
        line = item.line
        if item.required and not key:
            yield self.make(
                steps, "required", "required", columns, {}, "is never null", line=line, dimension="completeness"
            )
        if item.unique and not (key and single):
            yield self.make(steps, "unique", "unique", columns, {}, "is unique", line=line, dimension="uniqueness")
        for option, value in item.options.items():
            yield from self.option(item, steps, option, value)
        for index, relation in enumerate(item.relationships):
            yield self.relation(relation, steps, index)
        yield from self.quality(item.quality, steps, columns)
        parts = sorted((p for p in item.properties if p.primary_key), key=lambda p: p.primary_key_position)
        if parts:
            names = tuple(".".join((*steps, p.name)) for p in parts)
            yield self.make(
                steps, "primaryKey", "primary_key", names, {}, f"{', '.join(names)} present and unique",
                line=parts[0].line, dimension="uniqueness",
            )  # fmt: skip
        for inner in item.properties:
            yield from self.property_rules(
                inner, (*steps, inner.name), key=inner.primary_key, single=inner.primary_key and len(parts) == 1
            )
        if item.items is not None:
            yield from self.property_rules(item.items, (*steps, "items"))
        if item.map_key is not None and item.map_value is not None:
            yield from self.property_rules(item.map_key, (*steps, "map", "key"))
            yield from self.property_rules(item.map_value, (*steps, "map", "value"))

    def option(self, item: Property, steps: tuple[str, ...], option: str, value: Any) -> Iterator[Rule]:
        columns, keyword, line = (".".join(steps),), f"logicalTypeOptions.{option}", item.line
        arguments: dict[str, Any] = {"value": value, "logical_type": item.logical_type}
        if option == "enum":
            words = ", ".join(str(v) for v in value[:8]) + (", ..." if len(value) > 8 else "")
            yield self.make(
                steps, "enum", "enum", columns, {"values": tuple(value)}, f"is one of {words}", line=line,
                dimension="conformity",
            )  # fmt: skip
        elif option == "format":
            yield from self.format(item, steps, value)
        elif option == "timezone":
            expected = "carries a time zone" if value else "carries no time zone"
            yield self.make(steps, keyword, "zone", columns, arguments, expected, line=line, dimension="conformity")
        elif option == "uniqueItems":
            if value is True:
                yield self.make(
                    steps, keyword, "unique_items", columns, arguments, "has no item twice", line=line,
                    dimension="uniqueness",
                )  # fmt: skip
        elif option in _OPTIONS:
            kind = _OPTIONS[option]
            if kind in ("minimum", "maximum", "exclusive_minimum", "exclusive_maximum"):
                arguments["zone"] = item.options.get("defaultTimezone", self.contract.default_timezone)
                arguments["format"] = item.options.get("format")
            yield self.make(
                steps,
                keyword,
                kind,
                columns,
                arguments,
                _option_words(option, value),
                line=line,
                dimension="conformity",
            )

    def format(self, item: Property, steps: tuple[str, ...], value: Any) -> Iterator[Rule]:
        columns, keyword, line = (".".join(steps),), "logicalTypeOptions.format", item.line
        if item.logical_type in ("date", "timestamp", "time"):
            arguments = {"format": value, "logical_type": item.logical_type}
            yield self.make(
                steps,
                keyword,
                "date_format",
                columns,
                arguments,
                f"reads as {value}",
                line=line,
                dimension="conformity",
            )
        elif item.logical_type == "string":
            if value not in ("password", "binary"):  # those two say how it is shown or stored, not what it holds
                yield self.make(
                    steps, keyword, "format", columns, {"format": value}, f"is {_article(value)}", line=line,
                    dimension="conformity",
                )  # fmt: skip
        elif item.logical_type in ("integer", "number"):
            arguments = {"format": value, "range": _INTEGERS.get(value)}
            yield self.make(
                steps, keyword, "number_format", columns, arguments, f"fits {value}", line=line, dimension="conformity"
            )

    def relation(self, relation: Relationship, steps: tuple[str, ...], index: int) -> Rule:
        target = f"{relation.target_object}.{', '.join(relation.target_columns)}"
        columns = (".".join(steps),) if len(steps) > 1 else relation.columns
        return self.make(
            steps, f"relationships.{index}", "relationship", columns, {"relationship": relation},
            f"refers to an existing {target}", line=relation.line, dimension="consistency",
        )  # fmt: skip

    # --- quality ---------------------------------------------------------------------------------------------

    def quality(
        self, rules: tuple[Mapping[str, Any], ...], steps: tuple[str, ...], columns: tuple[str, ...]
    ) -> Iterator[Rule]:
        for index, raw in enumerate(rules):
            yield self.quality_rule(raw, index, steps, columns)

    def quality_rule(
        self, raw: Mapping[str, Any], index: int, steps: tuple[str, ...], columns: tuple[str, ...]
    ) -> Rule:
        own = raw.get("id")
        path = ".".join((self.object.name, *steps, "quality", str(own if own is not None else index)))
        kind, arguments, expected, columns = _quality_body(raw, columns)
        name = raw.get("name") or raw.get("description") or f"{'.'.join(steps) or self.object.name}: {expected}"
        return Rule(
            id=str(own) if own is not None else path,
            path=path,
            name=str(name),
            line=getattr(raw, "line", 0),
            check="quality",
            kind=kind,
            severity=raw.get("severity", "error"),
            columns=columns,
            arguments=MappingProxyType(arguments),
            expected=expected,
            dimension=raw.get("dimension"),
            business_effect=str(raw.get("businessImpact", "")),
        )


def _quality_body(raw: Mapping[str, Any], columns: tuple[str, ...]) -> tuple[str, dict[str, Any], str, tuple[str, ...]]:
    kind = raw.get("type", "library")
    if kind == "text":
        return "text", {}, str(raw.get("description") or raw.get("name") or ""), columns
    if kind == "custom":
        if str(raw.get("engine", "")).lower() not in ENGINES:
            engine = str(raw.get("engine"))
            return "foreign", {"engine": engine}, f"checked by {engine}", columns
        found = implementation_of(raw)
        assert not isinstance(found, str), "lint refused what cannot be read"  # noqa: S101 - a promise of lint
        expectation, kwargs = found
        kwargs = dict(kwargs)
        if columns and "column" not in kwargs and _takes_column(expectation):
            kwargs["column"] = columns[0]
        named = columns or tuple(v for k, v in kwargs.items() if k == "column" and isinstance(v, str))
        return "expectation", {"type": expectation, "kwargs": kwargs}, expectation, named
    operator = next(key for key in OPERATORS if key in raw)
    value = tuple(raw[operator]) if isinstance(raw[operator], list) else raw[operator]
    if kind == "sql":
        return (
            "sql",
            {"query": raw["query"], "operator": operator, "value": value},
            expected_words(operator, value),
            columns,
        )
    metric = raw["metric"]
    unit = raw.get("unit") or ("rows" if metric != "rowCount" else None)
    arguments: dict[str, Any] = {"operator": operator, "value": value, "unit": unit}
    given = raw.get("arguments") or {}
    words = f"{metric} {expected_words(operator, value, unit)}"
    if metric == "missingValues":
        arguments["values"] = tuple(given["missingValues"])
    elif metric == "invalidValues":
        arguments["values"] = tuple(given["validValues"]) if "validValues" in given else None
        arguments["pattern"] = given.get("pattern")
    elif metric == "duplicateValues" and given.get("properties"):
        columns = tuple(given["properties"])
    return _METRICS[metric], arguments, words, columns


def _takes_column(expectation: str) -> bool:
    return expectation.startswith("expect_column_") and not expectation.startswith("expect_column_pair")


def _article(word: str) -> str:
    return f"{'an' if word[:1].lower() in 'aeio' else 'a'} {word}"


def _option_words(option: str, value: Any) -> str:
    return {
        "minLength": "has at least {} characters", "maxLength": "has at most {} characters", "pattern": "matches {}",
        "minimum": "≥ {}", "maximum": "≤ {}", "exclusiveMinimum": "> {}", "exclusiveMaximum": "< {}",
        "multipleOf": "is a multiple of {}", "minItems": "has at least {} items", "maxItems": "has at most {} items",
        "minProperties": "has at least {} properties", "maxProperties": "has at most {} properties",
        "required": "has the properties {}", "dimensions": "has {} dimensions",
    }[option].format(", ".join(value) if isinstance(value, list) else value)  # fmt: skip
