"""Compiles contract rules to SQL: the condition under which a row breaks a rule, or an aggregate that counts such rows.

One place says what each rule counts; Great Expectations, the samples and `contract show --as sql` all read from here.
Nulls break `required`, `nullValues` and `missingValues` only; a duplicate is every row beyond the first of its kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from weighbridge.checks.dialects import DUCKDB, Unsupported, Words
from weighbridge.contracts.dates import parse_limit, strptime_formats
from weighbridge.contracts.models import Property, Rule, SchemaObject

__all__ = [
    "FORMATS",
    "ROW",
    "Condition",
    "MissingColumn",
    "Source",
    "Type",
    "at_path",
    "compile_condition",
    "misfit_flag",
    "pieces",
]

ROW = "_wb_row"
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
EMAIL = rf"^[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})+$"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "email": EMAIL,
        "uuid": "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
        "uri": r"^[A-Za-z][A-Za-z0-9+.-]*:[^\s]+$",
        "hostname": rf"^{_LABEL}(?:\.{_LABEL})*$",
        "ipv4": rf"^{_OCTET}(?:\.{_OCTET}){{3}}$",
        "ipv6": r"^(?:(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}|(?:[0-9A-Fa-f]{1,4}:){0,6}[0-9A-Fa-f]{0,4}"
        r"::(?:[0-9A-Fa-f]{1,4}:){0,6}[0-9A-Fa-f]{0,4})$",
        "byte": "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
    }
)


class MissingColumn(Exception):
    """The rule speaks of a column that the source does not have."""

    def __init__(self, column: str) -> None:
        super().__init__(column)
        self.column = column


@dataclass(frozen=True, slots=True)
class Type:
    """A column's type as far as rules care: `kind` is text, integer, decimal, float, boolean, date, timestamp,
    timestamptz, time, list, struct, map, json, binary or other."""

    kind: str
    children: Mapping[str, Type] = field(default_factory=dict)

    @property
    def numeric(self) -> bool:
        return self.kind in ("integer", "decimal", "float")


@dataclass(frozen=True, slots=True)
class Source:
    """What a rule is compiled for: the table's SQL, its columns by physical name, and the dialect's words."""

    object: SchemaObject
    columns: Mapping[str, Type]
    words: Words = DUCKDB
    misfits: Collection[str] = ()
    """Columns with values that did not fit their type: null in the table, yet not null in the system."""
    table: str = "rows"
    """How the rows are named in a FROM, quoted."""

    def physical(self, name: str) -> str:
        found = self.object.property(name)
        return found.physical_name if found is not None else name


@dataclass(frozen=True, slots=True)
class Condition:
    """How a rule is counted.

    `failing` is true for a row that breaks the rule; `count` is an aggregate that counts them where no condition on
    one row can (duplicates); `rows` selects the failing rows then.
    """

    failing: str | None = None
    count: str | None = None
    rows: str | None = None
    columns: tuple[str, ...] = ()
    """Physical names of the columns to show beside the key."""

    def aggregate(self) -> str:
        """An aggregate over the table: how many rows break the rule."""
        if self.count is not None:
            return self.count
        return f"COUNT(CASE WHEN {self.failing} THEN 1 END)"


def compile_condition(rule: Rule, source: Source) -> Condition:
    """The condition of a rule that counts rows. Raises MissingColumn, Unsupported, or KeyError for other kinds."""
    if rule.kind in ("primary_key", "duplicate_values", "unique"):
        return _duplicates(rule, source)
    steps = tuple(rule.columns[0].split("."))
    top, steps = _top(source.object, steps)
    physical = top.physical_name
    if physical not in source.columns:
        raise MissingColumn(physical)
    leaf = _LEAVES[rule.kind]

    def at(expression: str, kind: Type, item: Property) -> str:
        return leaf(_Cell(expression, kind, item, rule, source, nested=bool(steps)))

    condition = _descend(source.words.quoted(physical), source.columns[physical], top, steps, at, source)
    return Condition(failing=condition, columns=(physical,))


def _top(object: SchemaObject, steps: tuple[str, ...]) -> tuple[Property, tuple[str, ...]]:
    """The property a dotted path begins with and the rest; property names may hold dots themselves."""
    for length in range(len(steps), 0, -1):
        found = object.property(".".join(steps[:length]))
        if found is not None:
            return found, steps[length:]
    raise MissingColumn(".".join(steps))


def pieces(object: SchemaObject, path: str) -> tuple[str, ...]:
    """A dotted path as the name of a property and of what lies inside it; names may hold dots themselves."""
    try:
        top, steps = _top(object, tuple(path.split(".")))
    except MissingColumn:
        return (path,)
    return (top.name, *steps)


def _descend(
    expression: str,
    kind: Type,
    item: Property,
    steps: tuple[str, ...],
    leaf: Callable[[str, Type, Property], str],
    source: Source,
    depth: int = 0,
) -> str:
    if not steps:
        return leaf(expression, kind, item)
    if source.words.name != "duckdb":
        raise Unsupported
    if steps[0] == "items" and item.items is not None:
        name = f"e{depth}"
        if kind.kind in ("text", "json"):
            listed, child = f"CAST(json_extract({expression}, '$[*]') AS JSON[])", Type("json")
        elif kind.kind == "list":
            listed, child = expression, kind.children["child"]
        else:
            raise Unsupported
        inner = _descend(name, child, item.items, steps[1:], leaf, source, depth + 1)
        return f"len(list_filter({listed}, lambda {name}: coalesce({inner}, FALSE))) > 0"
    if steps[0] == "map" and len(steps) > 1 and item.map_key is not None and item.map_value is not None:
        name = f"e{depth}"
        listed, child = _half_of_map(expression, kind, steps[1])
        inner_item = item.map_key if steps[1] == "key" else item.map_value
        inner = _descend(name, child, inner_item, steps[2:], leaf, source, depth + 1)
        return f"len(list_filter({listed}, lambda {name}: coalesce({inner}, FALSE))) > 0"
    for length in range(len(steps), 0, -1):
        name = ".".join(steps[:length])
        child_item = next((p for p in item.properties if p.name == name), None)
        if child_item is not None:
            break
    else:
        raise MissingColumn(".".join(steps))
    physical = child_item.physical_name
    if kind.kind in ("text", "json"):
        path = source.words.literal("$." + '"' + physical.replace('"', '\\"') + '"')
        inner = _descend(
            f"json_extract({expression}, {path})", Type("json"), child_item, steps[length:], leaf, source, depth
        )
    elif kind.kind == "struct" and physical in kind.children:
        inner = _descend(
            f"struct_extract({expression}, {source.words.literal(physical)})",
            kind.children[physical], child_item, steps[length:], leaf, source, depth,
        )  # fmt: skip
    else:
        raise MissingColumn(f"{item.physical_name}.{physical}")
    # What is inside an absent object is absent with it, and no promise of its own is broken.
    return f"({expression} IS NOT NULL AND {inner})"


def _half_of_map(expression: str, kind: Type, half: str) -> tuple[str, Type]:
    """The keys or the values of a map as a list, and what each is."""
    if kind.kind == "map":
        return f"map_{half}s({expression})", kind.children[half]
    if kind.kind in ("text", "json"):
        if half == "key":
            return f"json_keys({expression})", Type("text")
        return f"CAST(json_extract({expression}, '$.*') AS JSON[])", Type("json")
    raise Unsupported


# --- the conditions of one value -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Cell:
    expression: str
    kind: Type
    item: Property
    rule: Rule
    source: Source
    nested: bool

    @property
    def words(self) -> Words:
        return self.source.words

    @property
    def value(self) -> Any:
        return self.rule.arguments["value"]

    @property
    def present(self) -> str:
        if self.kind.kind == "json":
            return f"({self.expression} IS NOT NULL AND json_type({self.expression}) <> 'NULL')"
        return f"{self.expression} IS NOT NULL"

    @property
    def missing(self) -> str:
        if self.kind.kind == "json":
            return f"({self.expression} IS NULL OR json_type({self.expression}) = 'NULL')"
        base = f"{self.expression} IS NULL"
        if not self.nested:
            base = _not_misfit(base, self.item.physical_name, self.source)
        return base

    @property
    def text(self) -> str:
        if self.kind.kind == "text":
            return self.expression
        if self.kind.kind == "json":
            return f"json_extract_string({self.expression}, '$')"
        if self.kind.kind == "binary":
            raise Unsupported
        return self.words.as_text.format(self.expression)

    @property
    def number(self) -> str:
        if self.kind.numeric:
            return self.expression
        if self.kind.kind == "boolean":
            raise Unsupported
        if self.kind.kind in ("text", "json", "other"):
            return self.words.as_number.format(self.text)
        raise Unsupported

    def fails(self, condition: str) -> str:
        """Broken where the value is there and `condition` holds."""
        return f"({self.present} AND {condition})"


def misfit_flag(physical: str) -> str:
    """The name of the column that says whether a row's value of `physical` did not fit its type."""
    return f"_wb_misfit:{physical}"


def _not_misfit(condition: str, physical: str, source: Source) -> str:
    if physical not in source.misfits:
        return condition
    return f"({condition} AND NOT {source.words.quoted(misfit_flag(physical))})"


def _required(cell: _Cell) -> str:
    return cell.missing


def _min_length(cell: _Cell) -> str:
    return cell.fails(f"{cell.words.length.format(cell.text)} < {int(cell.value)}")


def _max_length(cell: _Cell) -> str:
    return cell.fails(f"{cell.words.length.format(cell.text)} > {int(cell.value)}")


def _matches(cell: _Cell, pattern: str) -> str:
    return cell.words.regexp(cell.text, cell.words.text(pattern))


def _pattern(cell: _Cell) -> str:
    return cell.fails(f"NOT ({_matches(cell, cell.value)})")


def _format(cell: _Cell) -> str:
    return cell.fails(f"NOT ({_matches(cell, FORMATS[cell.rule.arguments['format']])})")


def _limit(operator: str) -> Callable[[_Cell], str]:
    def condition(cell: _Cell) -> str:
        logical = cell.rule.arguments.get("logical_type")
        if logical in ("date", "timestamp", "time"):
            return _time_limit(cell, operator)
        number, limit = cell.number, cell.words.literal(cell.value)
        broken = f"NOT ({number} {operator} {limit})"
        if cell.kind.kind in ("float", "text", "json") and cell.words.is_nan:
            # NaN is beside every range; most engines sort it above all numbers.
            broken = f"({broken} OR {cell.words.is_nan.format(number)})"
        return f"({number} IS NOT NULL AND {broken})"

    return condition


def _time_limit(cell: _Cell, operator: str) -> str:
    arguments = cell.rule.arguments
    logical, zone = arguments["logical_type"], arguments.get("zone") or "UTC"
    limit = parse_limit(cell.value, logical, zone, arguments.get("format"))
    moment = _moment(cell, logical, zone)
    if isinstance(limit, datetime) and _zoned(cell, zone):
        told = cell.words.instant.format(f"'{limit.replace(tzinfo=None).isoformat(' ')}+00'")
    else:
        told = cell.words.literal(limit)
    return f"({moment} IS NOT NULL AND NOT ({moment} {operator} {told}))"


def _zoned(cell: _Cell, zone: str) -> bool:
    if cell.kind.kind == "timestamptz":
        return True
    if zone in ("UTC", "Etc/UTC"):
        return False
    if cell.words.name not in ("duckdb", "postgresql"):
        raise Unsupported
    return True


def _moment(cell: _Cell, logical: str, zone: str) -> str:
    """The cell as a value that a limit of its logical type can be compared with."""
    expression, kind = cell.expression, cell.kind.kind
    if kind in ("text", "json"):
        expression = _parsed(cell)
        kind = "timestamp"
    elif kind not in ("date", "timestamp", "timestamptz", "time"):
        raise Unsupported
    if logical == "date":
        if kind == "date":
            return expression
        return (
            f"date({expression})"
            if cell.words.name in ("sqlite", "mysql", "mariadb")
            else f"CAST({expression} AS DATE)"
        )
    if logical == "time":
        return expression if kind == "time" else f"CAST({expression} AS TIME)"
    if kind == "date":
        expression = f"CAST({expression} AS TIMESTAMP)" if cell.words.name != "sqlite" else expression
        kind = "timestamp"
    if kind == "timestamp" and _zoned(cell, zone):
        return f"({expression} AT TIME ZONE {cell.words.text(zone)})"
    return expression


def _parsed(cell: _Cell) -> str:
    """Text read as a time by the property's format, else by ISO 8601; null where it cannot be read."""
    if cell.words.name != "duckdb":
        raise Unsupported
    words = cell.item.options.get("format")
    if not words:
        return f"TRY_CAST({cell.text} AS TIMESTAMP)"
    formats = ", ".join(cell.words.text(f) for f in strptime_formats(words))
    return f"try_strptime({cell.text}, [{formats}])"


def _date_format(cell: _Cell) -> str:
    if cell.kind.kind in ("date", "timestamp", "timestamptz", "time"):
        return "FALSE"  # a real date has no spelling that could be wrong
    return cell.fails(f"{_parsed(cell)} IS NULL")


def _zone(cell: _Cell) -> str:
    wanted = cell.value is True
    if cell.kind.kind == "timestamptz":
        return "FALSE" if wanted else cell.present
    if cell.kind.kind in ("timestamp", "date"):
        return cell.present if wanted else "FALSE"
    if cell.words.name != "duckdb":
        raise Unsupported
    carries = f"regexp_matches({cell.text}, '(Z|z|[+-][0-9]{{2}}:?[0-9]{{2}})$')"
    return cell.fails(f"NOT {carries}" if wanted else carries)


def _multiple_of(cell: _Cell) -> str:
    number, step = cell.number, cell.words.literal(cell.value)
    if cell.kind.kind in ("integer", "decimal") and not (isinstance(cell.value, float) and cell.kind.kind == "integer"):
        # The remainder of a negative decimal is -0.00 in MariaDB, which it holds to differ from 0.
        rest = f"{number} % {step}" if cell.words.name == "mssql" else f"mod({number}, {step})"
        return cell.fails(f"abs({rest}) > 0")
    ratio = f"({number} / {step})"
    broken = f"abs({ratio} - round({ratio})) > 1e-9 * CASE WHEN abs({ratio}) > 1 THEN abs({ratio}) ELSE 1 END"
    if cell.words.name == "duckdb":
        broken = f"(NOT isfinite(CAST({number} AS DOUBLE)) OR {broken})"
    elif cell.kind.kind == "float" and cell.words.is_nan:
        broken = f"({cell.words.is_nan.format(number)} OR {broken})"
    return f"({number} IS NOT NULL AND {broken})"


def _number_format(cell: _Cell) -> str:
    span = cell.rule.arguments.get("range")
    number = cell.number
    if span is None:
        if cell.rule.arguments["format"] != "f32":
            return "FALSE"
        return f"({number} IS NOT NULL AND abs({number}) > 3.4028235e38)"
    low, high = span
    return f"({number} IS NOT NULL AND NOT ({number} BETWEEN {low} AND {high}))"


def _in_set(cell: _Cell, values: Sequence[Any]) -> str | None:
    """True where the value is one of `values`; None where `values` holds none that a value could equal."""
    wanted = [v for v in values if v is not None]
    if not wanted:
        return None
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in wanted)
    booleans = all(isinstance(v, bool) for v in wanted)
    if (cell.kind.numeric and numbers) or (cell.kind.kind == "boolean" and booleans):
        shown = [cell.words.literal(v) for v in wanted]
        return f"{cell.expression} IN ({', '.join(shown)})"
    if cell.kind.numeric:
        # Numbers held against words: compared as numbers where the word is one.
        shown = [str(v) for v in wanted if _is_number(v)]
        return f"{cell.expression} IN ({', '.join(shown)})" if shown else "FALSE"
    shown = [cell.words.text(_as_written(v)) for v in wanted]
    return f"{cell.text} IN ({', '.join(shown)})"


def _is_number(value: Any) -> bool:
    return re.fullmatch(r"[-+]?[0-9]+(\.[0-9]+)?", str(value)) is not None


def _as_written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _enum(cell: _Cell) -> str:
    found = _in_set(cell, cell.rule.arguments["values"])
    return cell.fails(f"NOT ({found})") if found else cell.present


def _invalid_values(cell: _Cell) -> str:
    parts = []
    if cell.rule.arguments.get("values") is not None:
        found = _in_set(cell, cell.rule.arguments["values"])
        parts.append(f"NOT ({found})" if found else cell.words.truth[0])
    if cell.rule.arguments.get("pattern") is not None:
        parts.append(f"NOT ({_matches(cell, cell.rule.arguments['pattern'])})")
    return cell.fails(f"({' OR '.join(parts)})")


def _missing_values(cell: _Cell) -> str:
    found = _in_set(cell, cell.rule.arguments["values"])
    return f"({cell.missing} OR {cell.fails(found)})" if found else cell.missing


def _items(cell: _Cell) -> str:
    if cell.kind.kind == "list":
        return f"len({cell.expression})"
    if cell.kind.kind in ("text", "json"):
        return f"json_array_length({cell.expression})"
    raise Unsupported


def _min_items(cell: _Cell) -> str:
    return cell.fails(f"{_items(cell)} < {int(cell.value)}")


def _max_items(cell: _Cell) -> str:
    return cell.fails(f"{_items(cell)} > {int(cell.value)}")


def _dimensions(cell: _Cell) -> str:
    return cell.fails(f"{_items(cell)} <> {int(cell.value)}")


def _unique_items(cell: _Cell) -> str:
    listed = cell.expression
    if cell.kind.kind in ("text", "json"):
        listed = f"CAST(json_extract({cell.expression}, '$[*]') AS VARCHAR[])"
    elif cell.kind.kind != "list":
        raise Unsupported
    return cell.fails(f"len(list_distinct({listed})) < len(list_filter({listed}, lambda e: e IS NOT NULL))")


def _properties(cell: _Cell) -> str:
    if cell.kind.kind == "struct":
        shown = [f"struct_extract({cell.expression}, {cell.words.literal(n)})" for n in cell.kind.children]
        return " + ".join(f"CASE WHEN {s} IS NULL THEN 0 ELSE 1 END" for s in shown) or "0"
    if cell.kind.kind in ("text", "json"):
        return f"len(json_keys({cell.expression}))"
    raise Unsupported


def _min_properties(cell: _Cell) -> str:
    return cell.fails(f"({_properties(cell)}) < {int(cell.value)}")


def _max_properties(cell: _Cell) -> str:
    return cell.fails(f"({_properties(cell)}) > {int(cell.value)}")


def _required_properties(cell: _Cell) -> str:
    parts = []
    for name in cell.value:
        if cell.kind.kind == "struct":
            if name not in cell.kind.children:
                raise MissingColumn(f"{cell.item.physical_name}.{name}")
            parts.append(f"struct_extract({cell.expression}, {cell.words.literal(name)}) IS NULL")
        elif cell.kind.kind in ("text", "json"):
            parts.append(f"NOT list_contains(json_keys({cell.expression}), {cell.words.literal(name)})")
        else:
            raise Unsupported
    return cell.fails(f"({' OR '.join(parts)})")


_LEAVES: Mapping[str, Callable[[_Cell], str]] = MappingProxyType(
    {
        "required": _required,
        "null_values": _required,
        "min_length": _min_length,
        "max_length": _max_length,
        "pattern": _pattern,
        "format": _format,
        "minimum": _limit(">="),
        "maximum": _limit("<="),
        "exclusive_minimum": _limit(">"),
        "exclusive_maximum": _limit("<"),
        "multiple_of": _multiple_of,
        "number_format": _number_format,
        "date_format": _date_format,
        "zone": _zone,
        "enum": _enum,
        "invalid_values": _invalid_values,
        "missing_values": _missing_values,
        "min_items": _min_items,
        "max_items": _max_items,
        "unique_items": _unique_items,
        "dimensions": _dimensions,
        "min_properties": _min_properties,
        "max_properties": _max_properties,
        "required_properties": _required_properties,
    }
)


# --- conditions over several rows ----------------------------------------------------------------------------------


def at_path(source: Source, path: str) -> tuple[str, str, Type]:
    """(the column's physical name, SQL, type) of the one value a row that a dotted path names."""
    top, steps = _top(source.object, tuple(path.split(".")))
    if top.physical_name not in source.columns:
        raise MissingColumn(top.physical_name)
    expression, kind, item = source.words.quoted(top.physical_name), source.columns[top.physical_name], top
    while steps:
        found = next(
            (n for n in range(len(steps), 0, -1) if any(p.name == ".".join(steps[:n]) for p in item.properties)), None
        )
        if kind.kind not in ("struct", "text", "json") or found is None or source.words.name != "duckdb":
            raise Unsupported  # a list or a map has many values a row
        item = next(p for p in item.properties if p.name == ".".join(steps[:found]))
        if kind.kind != "struct":
            inside = source.words.literal("$." + '"' + item.physical_name.replace('"', '\\"') + '"')
            expression, kind, steps = f"json_extract_string({expression}, {inside})", Type("text"), steps[found:]
            continue
        if item.physical_name not in kind.children:
            raise MissingColumn(f"{top.physical_name}.{item.physical_name}")
        kind = kind.children[item.physical_name]
        expression = f"struct_extract({expression}, {source.words.literal(item.physical_name)})"
        steps = steps[found:]
    return top.physical_name, expression, kind


def _duplicates(rule: Rule, source: Source) -> Condition:
    words = source.words
    names: list[str] = []
    expressions: list[str] = []
    for column in rule.columns:
        name, expression, _ = at_path(source, column)
        names.append(name)
        expressions.append(expression)
    whole = " AND ".join(f"{e} IS NOT NULL" for e in expressions)
    gaps = ""
    if rule.kind == "primary_key":
        missing = [_not_misfit(f"{e} IS NULL", n, source) for e, n in zip(expressions, names, strict=True)]
        gaps = " OR ".join(missing)
    count = _count_duplicates(expressions, whole, words)
    if count is not None and gaps:
        count = f"COUNT(CASE WHEN {gaps} THEN 1 END) + {count}"
    order = ROW if words.name == "duckdb" else expressions[0]
    partition = ", ".join(expressions)
    inner = (
        f"SELECT t.*, CASE WHEN {whole} THEN ROW_NUMBER() OVER (PARTITION BY {partition} ORDER BY {order}) "
        f"ELSE 0 END AS wb_place FROM {source.table} t"
    )
    where = "wb_place > 1" + (f" OR {gaps}" if gaps else "")
    rows = f"SELECT * FROM ({inner}) numbered WHERE {where}"
    return Condition(count=count, rows=rows, columns=tuple(names))


def _count_duplicates(expressions: list[str], whole: str, words: Words) -> str | None:
    """Rows beyond the first as an aggregate, which shares one pass with all other rules; None where impossible."""
    if len(expressions) == 1:
        return f"COUNT({expressions[0]}) - COUNT(DISTINCT {expressions[0]})"
    if words.distinct_rows is None:
        return None
    return (
        f"COUNT(CASE WHEN {whole} THEN 1 END) - "
        f"COUNT(DISTINCT CASE WHEN {whole} THEN {words.distinct_rows(expressions)} END)"
    )
