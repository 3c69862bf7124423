"""Finds what the standard's JSON Schema lets through: everything here would make a rule wrong or impossible to run."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from weighbridge.contracts import _sql
from weighbridge.contracts._shape import OPERATORS
from weighbridge.contracts._yaml import Document, read_text
from weighbridge.contracts.expectations import CORE
from weighbridge.contracts.scale import Scale

__all__ = ["ENGINES", "METRICS", "SEVERITIES", "SLA_NAMES", "check_meaning", "implementation_of", "pattern_problem"]

SEVERITIES = ("error", "warning", "info")
METRICS = ("nullValues", "missingValues", "invalidValues", "duplicateValues", "rowCount")
ENGINES = ("greatexpectations", "great-expectations")
SLA_NAMES = (
    "availability", "throughput", "errorRate", "retention", "frequency", "latency", "freshness", "timeToDetect",
    "timeToNotify", "timeToRepair", "endOfSupport", "endOfLife", "generalAvailability",
)  # fmt: skip
CUSTOM_NAMES = ("filter", "closed", "writes", "expected_rows", "write_key", "write_values", "key_skew")
STRING_FORMATS = ("password", "byte", "binary", "email", "uuid", "uri", "hostname", "ipv4", "ipv6")
MAX_PROPERTIES = 10_000
MAX_PATTERN = 4_000
ORDERED = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_ARGUMENTS = {
    "missingValues": ("missingValues",),
    "invalidValues": ("validValues", "pattern"),
    "duplicateValues": ("properties",),
    "nullValues": (),
    "rowCount": (),
}

Path = tuple[Any, ...]


def check_meaning(document: Document, *, systems: Sequence[str] | None = None) -> None:
    """Add a complaint to the document for every promise that cannot be kept as written."""
    _Lint(document, systems).run()


def pattern_problem(pattern: str) -> str | None:
    """Why RE2 cannot search this pattern, with the place inside it; None where it can."""
    import re2

    if len(pattern) > MAX_PATTERN:
        return f"the pattern has {len(pattern):,} characters; {MAX_PATTERN:,} are allowed"
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 8 << 20
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        raw = error.args[0] if error.args else error
        words = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
        part = words.rsplit(": ", 1)[-1] if ": " in words else ""
        at = pattern.find(part) if part else -1
        place = f" at character {at + 1}" if at >= 0 else ""
        return f"the pattern cannot be searched{place}: {words} (look-around and back-references are not available)"
    except UnicodeError:
        return "the pattern holds characters that are not text (a lone surrogate)"
    return None


def implementation_of(rule: Any) -> tuple[str, dict[str, Any]] | str:
    """The (expectation type, kwargs) of a custom Great Expectations rule in string or object form, else why not."""
    from pathlib import Path as FilePath

    made = rule.get("implementation")
    if isinstance(made, str):
        inner = read_text(made, FilePath("implementation"))
        errors = [p for p in inner.problems if p.severity == "error"]
        if errors:
            return f"the implementation {errors[0].message} (its line {errors[0].line})"
        made = inner.data
    if not isinstance(made, dict):
        return "the implementation must be an expectation with type and kwargs"
    kind = made.get("type", made.get("expectation_type"))
    kwargs = made.get("kwargs", {})
    if not isinstance(kind, str) or not isinstance(kwargs, dict):
        return "the implementation needs type (expect_...) and kwargs (a mapping)"
    unknown = set(made) - {"type", "expectation_type", "kwargs", "meta", "notes", "id", "severity", "description"}
    if unknown:
        return f"the implementation has the unknown key '{min(unknown)}'"
    kind = _snake(kind)
    if kind not in CORE:
        close = difflib.get_close_matches(kind, CORE, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{kind[:80]} is not an expectation of Great Expectations{hint}"
    return kind, kwargs


def _snake(name: str) -> str:
    if name.startswith("Expect") and "_" not in name:
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
    return name


class _Lint:
    def __init__(self, document: Document, systems: Sequence[str] | None) -> None:
        self.document = document
        self.data = document.data
        self.systems = systems
        self.properties = 0

    def say(self, path: Path, message: str, severity: str = "error") -> None:
        where = ".".join(str(p) for p in path)
        self.document.complain(f"{where}: {message}" if where else message, self.document.locate(path), severity)

    def run(self) -> None:
        data = self.data
        version = data.get("apiVersion")
        if isinstance(version, str) and not version.startswith("v3."):
            self.say(("apiVersion",), f"{version} is not read; write the contract in v3.1.0 (or v3.0.x, v3.2.0)")
        self.servers(_items(data.get("servers")))
        objects = _items(data.get("schema"))
        if not objects:
            self.say(("schema",) if "schema" in data else (), "the contract promises no object: schema is empty")
        self.distinct(objects, ("schema",), "name", "object")
        self.distinct(objects, ("schema",), "id", "object id")
        for index, item in enumerate(objects):
            if isinstance(item, dict):
                self.object(item, ("schema", index))
        self.sla(_items(data.get("slaProperties")))

    def servers(self, servers: list[Any]) -> None:
        if not servers:
            self.say((), "names no servers, so it is not tied to any system", "warning")
        for index, server in enumerate(servers):
            name = server.get("server") if isinstance(server, dict) else None
            if isinstance(name, str) and self.systems is not None and name not in self.systems:
                close = difflib.get_close_matches(name, self.systems, n=1)
                hint = f"; did you mean '{close[0]}'?" if close else ""
                self.say(("servers", index, "server"), f"weighbridge.toml has no system '{name:.80}'{hint}")

    def distinct(self, items: list[Any], path: Path, key: str, word: str) -> None:
        seen: dict[str, int] = {}
        for index, item in enumerate(items):
            name = item.get(key) if isinstance(item, dict) else None
            if not isinstance(name, str):
                continue
            if name in seen:
                first = self.document.locate((*path, seen[name], key))[0]
                self.say((*path, index, key), f"the {word} '{name:.80}' stands twice (first on line {first})")
            else:
                seen[name] = index

    def object(self, item: dict[str, Any], path: Path) -> None:
        if item.get("name") == "":
            self.say((*path, "name"), "an object needs a name")
        properties = _items(item.get("properties"))
        if not properties:
            self.say(path, "the object promises no property, so nothing of it would be read")
        self.fields(properties, (*path, "properties"))
        self.rules(item, path, level="object")
        names = _texts(properties, "name")
        for index, relation in enumerate(_items(item.get("relationships"))):
            self.sources(item, relation, (*path, "relationships", index), names)
        self.keys(properties, (*path, "properties"))
        self.custom(_items(item.get("customProperties")), (*path, "customProperties"))

    def keys(self, properties: list[Any], path: Path) -> None:
        positions: dict[int, int] = {}
        for index, item in enumerate(properties):
            if not isinstance(item, dict) or item.get("primaryKey") is not True:
                continue
            position = item.get("primaryKeyPosition", -1)
            if isinstance(position, int) and position > 0 and position in positions:
                self.say((*path, index, "primaryKeyPosition"), f"position {position} of the key is taken twice")
            positions[position] = index

    def sources(self, item: dict[str, Any], relation: Any, path: Path, names: frozenset[str]) -> None:
        if not isinstance(relation, dict):
            return
        source = relation.get("from")
        for word in source if isinstance(source, list) else [source]:
            if not isinstance(word, str):
                continue
            name = word.rsplit("/", 1)[-1] if "/" in word else word.split(".", 1)[-1]
            ids = _texts(_items(item.get("properties")), "id")
            if name not in names and name not in ids:
                self.say((*path, "from"), f"the object has no property '{name:.80}'")

    def fields(self, properties: list[Any], path: Path) -> None:
        self.properties += len(properties)
        if self.properties > MAX_PROPERTIES:
            if self.properties - len(properties) <= MAX_PROPERTIES:
                self.say(path, f"the contract has more than {MAX_PROPERTIES:,} properties; split it")
            return
        self.distinct(properties, path, "name", "property")
        self.distinct(properties, path, "id", "property id")
        for index, item in enumerate(properties):
            if isinstance(item, dict):
                self.field(item, (*path, index))

    def field(self, item: dict[str, Any], path: Path) -> None:
        if item.get("name") == "":
            self.say((*path, "name"), "a property needs a name")
        options = item.get("logicalTypeOptions")
        kind = item.get("logicalType")
        if isinstance(options, dict):
            if options and kind is None:
                self.say((*path, "logicalTypeOptions"), "options need a logicalType to belong to")
            self.options(options, kind, (*path, "logicalTypeOptions"))
        self.enum(item, path)
        self.rules(item, path, level="property")
        if isinstance(item.get("properties"), list):
            self.fields(item["properties"], (*path, "properties"))
        if isinstance(item.get("items"), dict):
            self.field(item["items"], (*path, "items"))
        for part in ("key", "value"):
            if isinstance(item.get("map"), dict) and isinstance(item["map"].get(part), dict):
                self.field(item["map"][part], (*path, "map", part))

    def enum(self, item: dict[str, Any], path: Path) -> None:
        seen: set[str] = set()
        for index, value in enumerate(_items(item.get("enum"))):
            if isinstance(value, dict) and "value" in value:
                if repr(value["value"]) in seen:
                    self.say((*path, "enum", index), f"the value {value['value']!r:.60} stands twice", "warning")
                seen.add(repr(value["value"]))

    def options(self, options: dict[str, Any], kind: Any, path: Path) -> None:
        if isinstance(options.get("pattern"), str):
            problem = pattern_problem(options["pattern"])
            if problem:
                self.say((*path, "pattern"), problem)
        for low, high in (("minLength", "maxLength"), ("minItems", "maxItems"), ("minProperties", "maxProperties")):
            a, b = options.get(low), options.get(high)
            if isinstance(a, int) and isinstance(b, int) and a > b:
                self.say((*path, low), f"{low} {a} is above {high} {b}")
        if kind in ("integer", "number"):
            self.limits(options, path, lambda v: isinstance(v, (int, float)) and math.isfinite(v))
        elif kind in ("date", "timestamp", "time"):
            self.times(options, kind, path)
        elif kind == "string" and options.get("format", "uuid") not in STRING_FORMATS:
            said = str(options["format"])[:60]
            known = ", ".join(STRING_FORMATS)
            self.say(
                (*path, "format"), f"the format '{said}' is not known and is not run; known are {known}", "warning"
            )

    def limits(self, options: dict[str, Any], path: Path, good: Callable[[Any], bool]) -> None:
        for key in ORDERED:
            if key in options and (isinstance(options[key], bool) or not good(options[key])):
                self.say((*path, key), f"{options[key]!r:.60} is not a limit that a value can be held against")
                return
        low = options.get("minimum", options.get("exclusiveMinimum"))
        high = options.get("maximum", options.get("exclusiveMaximum"))
        if low is not None and high is not None and low > high:
            self.say(path, f"the smallest value {low} is above the largest {high}")

    def times(self, options: dict[str, Any], kind: str, path: Path) -> None:
        from weighbridge.contracts.dates import format_problem, parse_limit

        if isinstance(options.get("format"), str):
            problem = format_problem(options["format"])
            if problem:
                self.say((*path, "format"), problem)
        zone = options.get("defaultTimezone")
        if isinstance(zone, str):
            from zoneinfo import ZoneInfo

            try:
                ZoneInfo(zone)
            except (KeyError, ValueError, OSError):
                self.say((*path, "defaultTimezone"), f"the time zone '{zone:.60}' is not known")
                return
        found: dict[str, Any] = {}
        for key in ORDERED:
            if isinstance(options.get(key), str):
                try:
                    found[key] = parse_limit(options[key], kind, zone or "UTC", options.get("format"))
                except ValueError as error:
                    self.say((*path, key), str(error))
        low = found.get("minimum", found.get("exclusiveMinimum"))
        high = found.get("maximum", found.get("exclusiveMaximum"))
        if low is not None and high is not None and low > high:
            self.say(path, "the earliest value is after the latest")

    # --- quality -----------------------------------------------------------------------------------------------

    def rules(self, owner: dict[str, Any], path: Path, *, level: str) -> None:
        rules = _items(owner.get("quality"))
        self.distinct(rules, (*path, "quality"), "id", "rule id")
        for index, rule in enumerate(rules):
            if isinstance(rule, dict):
                self.rule(rule, owner, (*path, "quality", index), level)

    def rule(self, rule: dict[str, Any], owner: dict[str, Any], path: Path, level: str) -> None:
        severity = rule.get("severity")
        if severity is not None and severity not in SEVERITIES:
            self.say((*path, "severity"), f"the severity {severity!r:.40} is not one of {', '.join(SEVERITIES)}")
        kind = rule.get("type", "library")
        if kind == "library":
            self.metric(rule, owner, path, level)
        elif kind == "sql":
            self.sql(rule, path, level)
        elif kind == "custom":
            self.foreign(rule, path, level)
        elif kind == "text" and not (rule.get("description") or rule.get("name")):
            self.say(path, "a text rule needs a description to read")
        if kind in ("text", "custom"):
            for key in OPERATORS:
                if key in rule:
                    self.say((*path, key), f"{key} says nothing in a {kind} rule")

    def operator(self, rule: dict[str, Any], path: Path, *, numbers: bool) -> None:
        given = [key for key in OPERATORS if key in rule]
        if len(given) != 1:
            has = f"has {' and '.join(given)}" if given else "has none"
            self.say(path, f"a rule needs exactly one of {', '.join(OPERATORS)}; this one {has}")
            return
        key = given[0]
        value = rule[key]
        values = value if isinstance(value, list) else [value]
        if numbers and not all(
            isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values
        ):
            self.say((*path, key), f"{key} needs a number here, not {value!r:.60}")
        elif key.endswith("Between"):
            if not (isinstance(value, list) and len(value) == 2 and all(isinstance(v, (int, float)) for v in value)):
                self.say((*path, key), f"{key} needs two numbers")
            elif value[0] >= value[1]:
                self.say((*path, key), f"{key} needs the smaller number first")

    def metric(self, rule: dict[str, Any], owner: dict[str, Any], path: Path, level: str) -> None:
        metric = rule.get("metric")
        if metric not in METRICS:
            if not isinstance(metric, str):
                self.say(path, f"a library rule needs a metric: {', '.join(METRICS)}")
            return
        self.operator(rule, path, numbers=True)
        unit = rule.get("unit")
        if unit not in (None, "rows", "percent"):
            self.say((*path, "unit"), f"the unit {unit!r:.40} is not rows or percent")
        if metric == "rowCount" and unit == "percent":
            self.say((*path, "unit"), "a row count in percent says nothing")
        if metric in ("duplicateValues", "rowCount") or level == "property":
            if metric == "rowCount" and level == "property":
                self.say((*path, "metric"), "rowCount belongs to the object, not to a property")
        else:
            self.say((*path, "metric"), f"{metric} belongs to a property, not to the object")
        self.arguments(rule, owner, path, level)

    def arguments(self, rule: dict[str, Any], owner: dict[str, Any], path: Path, level: str) -> None:
        metric = rule["metric"]
        arguments = rule.get("arguments")
        arguments = arguments if isinstance(arguments, dict) else {}
        place = (*path, "arguments")
        for key in arguments:
            if key not in _ARGUMENTS[metric]:
                known = ", ".join(_ARGUMENTS[metric]) or "no arguments"
                self.say((*place, key), f"{metric} does not take '{key:.60}'; it takes {known}")
        if metric == "missingValues" and not isinstance(arguments.get("missingValues"), list):
            self.say(path, "missingValues needs arguments.missingValues, a list of what counts as missing")
        if metric == "invalidValues":
            if "validValues" not in arguments and "pattern" not in arguments:
                self.say(path, "invalidValues needs arguments.validValues or arguments.pattern")
            if "validValues" in arguments and not (
                isinstance(arguments["validValues"], list) and arguments["validValues"]
            ):
                self.say((*place, "validValues"), "validValues must be a list that is not empty")
            if "pattern" in arguments:
                pattern = arguments["pattern"]
                problem = pattern_problem(pattern) if isinstance(pattern, str) else "the pattern must be text"
                if problem:
                    self.say((*place, "pattern"), problem)
        if metric == "duplicateValues":
            self.duplicates(arguments, owner, path, level)

    def duplicates(self, arguments: dict[str, Any], owner: dict[str, Any], path: Path, level: str) -> None:
        wanted = arguments.get("properties")
        if level == "property":
            if wanted is not None:
                self.say((*path, "arguments"), "duplicateValues of a property takes no properties")
            return
        if not isinstance(wanted, list) or not wanted:
            self.say(path, "duplicateValues of an object needs arguments.properties, a list of property names")
            return
        names = _texts(_items(owner.get("properties")), "name")
        for index, name in enumerate(wanted):
            if name not in names:
                self.say((*path, "arguments", "properties", index), f"the object has no property '{name!s:.80}'")

    def sql(self, rule: dict[str, Any], path: Path, level: str) -> None:
        query = rule.get("query")
        if not isinstance(query, str) or not query.strip():
            self.say(path, "an sql rule needs a query")
            return
        self.operator(rule, path, numbers=False)
        if level == "object" and ("${property}" in query or "${column}" in query):
            self.say((*path, "query"), "${property} stands for nothing in a rule of the object")
        refused = _sql.refusal(query)
        if refused:
            self.say((*path, "query"), f"the statement {refused}")

    def foreign(self, rule: dict[str, Any], path: Path, level: str) -> None:
        engine = rule.get("engine")
        if not isinstance(engine, str) or "implementation" not in rule:
            self.say(path, "a custom rule needs an engine and an implementation")
            return
        if engine.lower() not in ENGINES:
            self.say((*path, "engine"), f"the engine {engine:.40} is not run here; the rule ends not run", "warning")
            return
        found = implementation_of(rule)
        if isinstance(found, str):
            self.say((*path, "implementation"), found)
            return
        kind, kwargs = found
        if level == "object" and kind.startswith("expect_column_v") and "column" not in kwargs:
            self.say((*path, "implementation"), f"{kind} needs a column in its kwargs")

    # --- service levels and custom properties -------------------------------------------------------------------

    def sla(self, items: list[Any]) -> None:
        known = (*SLA_NAMES, *Scale.model_fields)
        for index, item in enumerate(items):
            if not isinstance(item, dict):
                continue
            name = item.get("property")
            path: Path = ("slaProperties", index)
            if isinstance(name, str) and name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {close[0]}?" if close else ""
                self.say(
                    (*path, "property"), f"the service level '{name:.60}' is not known and is not run{hint}", "warning"
                )
            element = item.get("element")
            if isinstance(element, str):
                self.elements(element, (*path, "element"))

    def elements(self, text: str, path: Path) -> None:
        for element in (e.strip() for e in text.split(",")):
            head, _, tail = element.partition(".")
            owner = next(
                (o for o in _items(self.data.get("schema")) if isinstance(o, dict) and o.get("name") == head), None
            )
            if owner is None:
                self.say(path, f"the contract has no object '{head:.80}'")
            elif tail and not any(
                isinstance(p, dict) and p.get("name") == tail for p in _items(owner.get("properties"))
            ):
                self.say(path, f"the object '{head:.80}' has no property '{tail:.80}'")

    def custom(self, items: list[Any], path: Path) -> None:
        for index, item in enumerate(items):
            name = item.get("property") if isinstance(item, dict) else None
            if not isinstance(name, str) or not name.startswith("weighbridge."):
                continue
            word, value = name.removeprefix("weighbridge."), item.get("value")
            if word not in CUSTOM_NAMES:
                close = difflib.get_close_matches(word, CUSTOM_NAMES, n=1)
                hint = f"; did you mean weighbridge.{close[0]}?" if close else ""
                self.say((*path, index, "property"), f"the property '{name:.60}' is not known{hint}", "warning")
            elif word in ("closed", "writes") and not isinstance(value, bool):
                self.say((*path, index, "value"), f"{name} must be true or false")
            elif word == "expected_rows" and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
                self.say((*path, index, "value"), f"{name} must be a whole number")


def _texts(items: list[Any], key: str) -> frozenset[str]:
    """The texts that the items have under `key`."""
    return frozenset(i[key] for i in items if isinstance(i, dict) and isinstance(i.get(key), str))


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def walk_properties(properties: list[Any]) -> Iterator[dict[str, Any]]:
    """Every property of raw data, nested ones included."""
    for item in properties:
        if isinstance(item, dict):
            yield item
            yield from walk_properties(_items(item.get("properties")))
            if isinstance(item.get("items"), dict):
                yield from walk_properties([item["items"]])
            if isinstance(item.get("map"), dict):
                yield from walk_properties([item["map"].get("key"), item["map"].get("value")])
