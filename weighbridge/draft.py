"""Drafts a contract from what a system really holds: every guess is commented with its evidence and holds on that data.

What is proposed is a beginning for the people who know the data. Nothing is proposed that the rows at hand break, and
nothing that a few rows only seem to show.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from weighbridge.checks.base import Landing
from weighbridge.checks.conditions import FORMATS
from weighbridge.checks.dialects import DUCKDB
from weighbridge.checks.schema import kind_of
from weighbridge.connectors.base import Column, TableSchema

__all__ = ["Seen", "draft_contract", "draft_object"]

LEAST_ROWS = 30
"""With fewer rows nothing is proposed but names and types."""
LEAST_FOR_SETS = 100
MOST_VALUES = 12
SET_SHARE = 0.02
"""An enumeration has at most this share of distinct values."""
MOST_PROPERTIES = 150
MOST_LENGTH = 24
"""A pattern is proposed for codes of up to this many characters."""

_LOGICAL = {
    "text": "string", "integer": "integer", "decimal": "number", "float": "number", "boolean": "boolean",
    "date": "date", "timestamp": "timestamp", "timestamptz": "timestamp", "time": "time", "struct": "object",
    "list": "array", "binary": "string",
}  # fmt: skip
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_ .\-]*\Z")
_YAML_WORDS = frozenset({"yes", "no", "on", "off", "true", "false", "null", "y", "n"})
_IBAN = "^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$"
_PHONE = r"^(\+|00|0)[0-9][0-9 ()/.-]{5,}[0-9]$"
_ISO_DATE = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_PERSONAL = re.compile(
    r"(^|_)(first|last|sur|full|given|family|middle|maiden)_?name|e_?mail|phone|mobile|fax|birth|(^|_)born($|_)|(^|_)dob($|_)|iban|bic($|_)|"
    r"ssn|social_?sec|passport|tax_?(id|no|number)|street|address|postal|zip(_?code)?($|_)|(^|_)contact($|_)|salary|"
    r"vorname|nachname|geburt|strasse|plz|telefon|gehalt",
    re.IGNORECASE,
)
_COUNTED = re.compile(
    r"amount|price|total|qty|quantity|count|cost|revenue|weight|stock|size|age($|_)|menge|preis|betrag", re.IGNORECASE
)
_KEYLIKE = re.compile(r"(^|_)(id|no|nr|number|code|key|uuid|guid)$|id$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Seen:
    """One object as it was looked at: `whole` is False where only the first rows were read."""

    name: str
    schema: TableSchema
    landing: Landing | None
    whole: bool = True
    note: str = ""
    """Why it was not read, where `landing` is None."""


@dataclass(slots=True)
class _Line:
    """One property being drafted."""

    name: str
    parts: list[tuple[str, str]] = field(default_factory=list)
    options: list[tuple[str, str]] = field(default_factory=list)
    quality: list[str] = field(default_factory=list)
    inner: list[str] = field(default_factory=list)
    why: list[str] = field(default_factory=list)


def draft_contract(system: str, objects: Sequence[Seen], *, left_out: Sequence[str] = ()) -> str:
    """The contract as YAML text, ending in a newline."""
    lines = [
        "# A draft: every guess says what it rests on. Delete what is not meant, tighten what is.",
        "apiVersion: v3.1.0",
        "kind: DataContract",
        f"id: {_word(system)}",
        'version: "0.1.0"',
        "status: draft",
        "servers:",
        f"  - {{server: {_word(system)}, type: custom}}",
    ]
    if left_out:
        shown = ", ".join(left_out[:20]) + (f" and {len(left_out) - 20} more" if len(left_out) > 20 else "")
        lines.append(f"# not looked at: {shown}")
    lines.append("schema:")
    known = {o.name: o for o in objects}
    for item in objects:
        lines += draft_object(item, known)
    return "\n".join(lines) + "\n"


def draft_object(seen: Seen, known: Mapping[str, Seen]) -> list[str]:
    """The lines of one schema object, as an item of `schema`."""
    name = _object_name(seen.name)
    lines = [f"  - name: {_word(name)}"]
    if name != seen.name:
        lines.append(f"    physicalName: {_word(seen.name)}")
    rows = seen.landing.rows if seen.landing is not None else 0
    told = f"{rows:,} rows" if seen.whole else f"the first {rows:,} rows"
    lines.append(f"    # drafted from {told}" if seen.landing is not None else f"    # not read: {seen.note}")
    lines.append("    properties:")
    columns = seen.schema.columns[:MOST_PROPERTIES]
    facts = _facts(seen, columns) if seen.landing is not None and rows else {}
    key, key_why = _key(seen, facts)
    for column in columns:
        lines += _property(column, seen, facts.get(column.name), key, key_why, known)
    if len(seen.schema.columns) > MOST_PROPERTIES:
        rest = len(seen.schema.columns) - MOST_PROPERTIES
        lines.append(f"      # {rest} more columns are not drafted: more than a person reads")
    if rows:
        lines += ["    quality:", f"      - {{metric: rowCount, mustBeGreaterThan: 0}} # {rows:,} now"]
    return lines


def _object_name(physical: str) -> str:
    """A name for people from `service/Entity`, `schema.table` or a sheet."""
    tail = re.split(r"[/.]", physical)[-1] if re.fullmatch(r"[\w./]+", physical) else physical
    return tail or physical


def _word(text: str) -> str:
    """Text as a YAML scalar that every tool reads as the same text."""
    if _PLAIN.match(text) and text.lower() not in _YAML_WORDS and not text.endswith((" ", ":")) and " #" not in text:
        return text
    return _quoted(text)


def _quoted(text: str) -> str:
    """Between double quotes, with nothing in it that YAML forbids or that turns a reader's eyes around."""
    return "".join(
        c if c.isprintable() else f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"
        for c in json.dumps(text, ensure_ascii=False)
    )


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    return _quoted(str(value))


# --- what the rows say -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Facts:
    rows: int
    filled: int
    misfits: int
    distinct: int
    low: Any = None
    high: Any = None
    longest: int | None = None
    shape: str | None = None
    """The one pattern that all values share, if they do."""
    matches: Mapping[str, int] = field(default_factory=dict)
    values: tuple[Any, ...] = ()
    whole: bool = True


def _facts(seen: Seen, columns: Sequence[Column]) -> dict[str, _Facts]:
    landing = seen.landing
    assert landing is not None, "only what was read has facts"  # noqa: S101
    found: dict[str, _Facts] = {}
    with closing(landing.connect()) as database:
        for column in columns:
            if column.name in landing.columns:
                found[column.name] = _column_facts(database, landing, column, whole=seen.whole)
    return found


def _column_facts(database: Any, landing: Landing, column: Column, *, whole: bool) -> _Facts:
    name, table, kind = DUCKDB.quoted(column.name), DUCKDB.quoted(landing.table), kind_of(column.type)
    misfits = 0
    if landing.misfits:
        aside = DUCKDB.quoted(f"{landing.table}__misfits")
        misfits = database.execute(
            f"SELECT count(DISTINCT row) FROM {aside} WHERE column_name = ?", [column.name]
        ).fetchone()[0]
    if kind not in ("text", "integer", "decimal", "float", "boolean", "date", "timestamp", "timestamptz", "time"):
        filled = database.execute(f"SELECT count({name}) FROM {table}").fetchone()[0]
        return _Facts(landing.rows, filled, misfits, 0, whole=whole)
    asked = [f"count({name})", f"count(DISTINCT {name})"]
    asked += [f"min({name})", f"max({name})"] if kind != "boolean" else ["NULL", "NULL"]
    tests: dict[str, str] = {}
    if kind == "text":
        tests = {
            "email": FORMATS["email"], "uuid": FORMATS["uuid"], "ipv4": FORMATS["ipv4"], "iban": _IBAN,
            "phone": _PHONE, "isodate": _ISO_DATE,
        }  # fmt: skip
        asked.append(f"max(length({name}))")
        asked += [f"count(CASE WHEN regexp_matches({name}, {DUCKDB.text(p)}) THEN 1 END)" for p in tests.values()]
    elif kind == "float":
        asked[2:4] = [
            f"min(CASE WHEN isfinite({name}) THEN {name} END)",
            f"max(CASE WHEN isnan({name}) THEN NULL ELSE {name} END)",
        ]
        asked.append(f"count(CASE WHEN isnan({name}) THEN 1 END)")
    row = database.execute(f"SELECT {', '.join(asked)} FROM {table}").fetchone()
    filled, distinct, low, high = row[:4]
    facts: dict[str, Any] = {"low": low, "high": high}
    if kind == "text":
        facts["longest"] = row[4]
        facts["matches"] = dict(zip(tests, row[5:], strict=True))
        if filled >= LEAST_FOR_SETS and facts["longest"] and facts["longest"] <= MOST_LENGTH:
            facts["shape"] = _shape(database, table, name)
    elif kind == "float" and row[4]:
        facts["low"] = None  # NaN is beside every range
    if distinct <= MOST_VALUES and filled >= LEAST_FOR_SETS and distinct <= max(2, filled * SET_SHARE):
        values = database.execute(f"SELECT DISTINCT {name} FROM {table} WHERE {name} IS NOT NULL ORDER BY 1").fetchall()
        facts["values"] = tuple(v for (v,) in values)
    return _Facts(landing.rows, filled, misfits, distinct, whole=whole, **facts)


def _shape(database: Any, table: str, name: str) -> str | None:
    """The pattern of a code: what never changes stays, digits become classes; None where values differ in shape."""
    plain = f"regexp_replace({name}, '[0-9]', '9', 'g')"
    found = database.execute(f"SELECT DISTINCT {plain} FROM {table} WHERE {name} IS NOT NULL LIMIT 2").fetchall()
    if len(found) != 1 or "9" not in found[0][0]:
        return None
    pattern = ""
    for run in re.finditer(r"9+|[^9]+", found[0][0]):
        text = run.group(0)
        pattern += f"[0-9]{{{len(text)}}}" if text[0] == "9" else re.sub(r"([^\w\s/:#@&%=,;<>\"'`~!-])", r"\\\1", text)
    return f"^{pattern}$"


def _key(seen: Seen, facts: Mapping[str, _Facts]) -> tuple[tuple[str, ...], str]:
    """The key to promise, which the rows at hand keep, and why."""
    if seen.schema.keys and all(k in facts for k in seen.schema.keys):
        names = tuple(seen.schema.keys)
        if _is_key(seen, names):
            return names, "the system's own key"
        return (), ""
    for column in seen.schema.columns:
        fact = facts.get(column.name)
        if (
            fact is not None
            and fact.rows >= LEAST_ROWS
            and fact.filled == fact.distinct == fact.rows
            and _KEYLIKE.search(column.name)
        ):
            return (column.name,), f"distinct in all {fact.rows:,} rows; the system declares no key"
    return (), ""


def _is_key(seen: Seen, names: tuple[str, ...]) -> bool:
    landing = seen.landing
    assert landing is not None  # noqa: S101 - the caller has facts, so it was read
    columns = [DUCKDB.quoted(n) for n in names]
    whole = " AND ".join(f"{c} IS NOT NULL" for c in columns)
    with closing(landing.connect()) as database:
        row = database.execute(
            f"SELECT count(CASE WHEN {whole} THEN 1 END), count(DISTINCT ROW({', '.join(columns)})) "
            f"FROM {DUCKDB.quoted(landing.table)}"
        ).fetchone()
    return row is not None and row[0] == row[1] == landing.rows


# --- what is proposed ------------------------------------------------------------------------------------------------


def _property(
    column: Column,
    seen: Seen,
    fact: _Facts | None,
    key: tuple[str, ...],
    key_why: str,
    known: Mapping[str, Seen],
) -> Iterator[str]:
    line = _Line(column.name)
    kind = kind_of(column.type)
    logical = _LOGICAL.get(kind)
    if logical:
        line.parts.append(("logicalType", logical))
    if column.name in key:
        line.parts.append(("primaryKey", "true"))
        if len(key) > 1:
            line.parts.append(("primaryKeyPosition", str(key.index(column.name) + 1)))
        line.why.append(key_why)
    personal = _personal(column, fact)
    if fact is not None:
        _presence(line, column, fact, key)
        if fact.filled and not (personal and kind in ("date", "timestamp", "timestamptz", "integer")):
            _VALUES.get(kind, _nothing)(line, column, fact)
    if personal:
        line.parts.append(("classification", "restricted"))
        line.why.append(personal)
        line.quality = [q for q in line.quality if "validValues" not in q]
    reference = _reference(column, seen, known)
    if kind == "struct":
        line.inner = list(_nested(column.type))
    yield from _written(line, reference)


def _presence(line: _Line, column: Column, fact: _Facts, key: tuple[str, ...]) -> None:
    nulls = fact.rows - fact.filled - fact.misfits
    if fact.misfits:
        line.why.append(f"{fact.misfits:,} values did not fit the type")
    if column.name not in key:
        if nulls <= 0 and fact.rows >= LEAST_ROWS:
            line.parts.append(("required", "true"))
            line.why.append(f"no null in {fact.rows:,}")
        elif nulls > 0:
            line.why.append(f"null in {nulls / fact.rows:.1%}" if nulls < fact.rows else "always null")
        if (
            (column.unique or (_KEYLIKE.search(column.name) and not key))
            and fact.rows >= LEAST_ROWS
            and fact.filled
            and fact.distinct == fact.filled
        ):
            line.parts.append(("unique", "true"))
            line.why.append(f"{fact.distinct:,} distinct of {fact.filled:,}")


def _nothing(_line: _Line, _column: Column, _fact: _Facts) -> None:
    """Nothing can be proposed about such values."""


def _text(line: _Line, column: Column, fact: _Facts) -> None:
    if column.length is not None and (fact.longest or 0) <= column.length:
        line.options.append(("maxLength", str(column.length)))
        line.why.append(f"longest {fact.longest}")
    elif fact.longest is not None and column.length is not None:
        line.why.append(f"longest {fact.longest}, though the system says {column.length}")
    enough = fact.filled >= LEAST_ROWS
    for name in ("email", "uuid", "ipv4"):
        count = fact.matches.get(name, 0)
        if enough and count == fact.filled:
            line.options.append(("format", name))
            line.why.append(f"all look like {name}")
            return
        if enough and count >= 0.9 * fact.filled:
            line.why.append(f"{count / fact.filled:.1%} look like {name}: not proposed")
    if enough and fact.matches.get("iban") == fact.filled:
        line.options.append(("pattern", _scalar(_IBAN)))
        line.why.append("all look like IBANs")
    elif enough and fact.matches.get("isodate") == fact.filled:
        line.why.append("all look like dates written as yyyy-MM-dd")
        line.options.append(("pattern", _scalar(_ISO_DATE)))
    elif column.enum or fact.values:
        _values(line, column, fact)
    elif fact.shape:
        line.options.append(("pattern", _scalar(fact.shape)))
        line.why.append(f"all {fact.filled:,} have this shape")


def _values(line: _Line, column: Column, fact: _Facts) -> None:
    listed = set(column.enum or ())
    if column.enum and fact.values and set(fact.values) <= listed and len(listed) <= 4 * MOST_VALUES:
        values: Sequence[Any] = list(column.enum)
        line.why.append(f"the system's own list; {fact.distinct} of {len(listed)} occur")
    elif fact.values:
        values = fact.values
        line.why.append(f"distinct {fact.distinct} of {fact.filled:,}: proposed as an enumeration")
    else:
        return
    shown = ", ".join(_scalar(v) for v in values)
    line.quality.append(f"{{metric: invalidValues, arguments: {{validValues: [{shown}]}}, mustBe: 0}}")


def _number(line: _Line, column: Column, fact: _Facts) -> None:
    if fact.low is not None and fact.high is not None:
        line.why.append(f"{_short(fact.low)} to {_short(fact.high)}")
        if fact.rows >= LEAST_ROWS and fact.low >= 0 and _COUNTED.search(column.name):
            line.options.append(("minimum", "0"))


def _moment(line: _Line, _column: Column, fact: _Facts) -> None:
    line.why.append(f"{_short(fact.low)} to {_short(fact.high)}")


_VALUES = {
    "text": _text,
    "integer": _number,
    "decimal": _number,
    "float": _number,
    "date": _moment,
    "timestamp": _moment,
    "timestamptz": _moment,
    "time": _moment,
}


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text[:26]


def _personal(column: Column, fact: _Facts | None) -> str | None:
    """Why this column may hold personal data; by its values first, then by its name."""
    if fact is not None and fact.filled >= LEAST_ROWS:
        for name, word in (("email", "e-mail addresses"), ("iban", "IBANs"), ("phone", "phone numbers")):
            if fact.matches.get(name, 0) >= 0.5 * fact.filled:
                return f"looks personal: {fact.matches[name] / fact.filled:.0%} are {word}"
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column.name)
    if _PERSONAL.search(snake) and kind_of(column.type) in ("text", "date", "timestamp", "integer", "struct"):
        return "looks personal by its name"
    return None


def _reference(column: Column, seen: Seen, known: Mapping[str, Seen]) -> tuple[str | None, str]:
    """(target as `Object.column` where every value exists there, remark)."""
    if not column.references:
        return None, ""
    table, _, target = column.references.rpartition(".")
    other = known.get(table) or known.get(table.rsplit(".", 1)[-1])
    if other is None or other.landing is None or seen.landing is None:
        return None, f"refers to {column.references}"
    if target not in other.landing.columns or column.name not in seen.landing.columns or not other.whole:
        return None, f"refers to {column.references}"
    orphans = _orphans(seen.landing, column.name, other.landing, target)
    name = f"{_object_name(other.name)}.{target}"
    if orphans or not re.fullmatch(r"[A-Za-z_][\w-]*\.[A-Za-z_][\w-]*", name):
        return None, f"refers to {column.references}; {orphans:,} rows refer to nothing: not proposed"
    return name, f"the system's own reference to {column.references}"


def _orphans(mine: Landing, column: str, theirs: Landing, target: str) -> int:
    import duckdb

    with closing(duckdb.connect(":memory:")) as database:
        for name, landing in (("mine", mine), ("theirs", theirs)):
            database.execute(f"ATTACH {DUCKDB.text(str(landing.database))} AS {name} (READ_ONLY)")
        row = database.execute(
            f"SELECT count(*) FROM mine.{DUCKDB.quoted(mine.table)} m WHERE m.{DUCKDB.quoted(column)} IS NOT NULL AND "
            f"CAST(m.{DUCKDB.quoted(column)} AS VARCHAR) NOT IN (SELECT CAST(t.{DUCKDB.quoted(target)} AS VARCHAR) "
            f"FROM theirs.{DUCKDB.quoted(theirs.table)} t WHERE t.{DUCKDB.quoted(target)} IS NOT NULL)"
        ).fetchone()
    return row[0] if row else 0


def _nested(type: Any) -> Iterator[str]:
    for inner in list(type)[:MOST_VALUES]:
        logical = _LOGICAL.get(kind_of(inner.type))
        kind = f", logicalType: {logical}" if logical and logical not in ("object", "array") else ""
        yield f"{{name: {_scalar(inner.name)}{kind}}}"


def _written(line: _Line, reference: tuple[str | None, str]) -> Iterator[str]:
    why = [*line.why, *([reference[1]] if reference[1] else [])]
    comment = f" # {'; '.join(why)}" if why else ""
    flow = [f"name: {_scalar(line.name) if _word(line.name) != line.name else line.name}"]
    flow += [f"{k}: {v}" for k, v in line.parts]
    if line.options:
        flow.append("logicalTypeOptions: {" + ", ".join(f"{k}: {v}" for k, v in line.options) + "}")
    if not line.quality and not line.inner and reference[0] is None:
        yield f"      - {{{', '.join(flow)}}}{comment}"
        return
    first, *rest = flow
    yield f"      - {first}{comment}"
    for part in rest:
        yield f"        {part}"
    for name, items in (("quality", line.quality), ("properties", line.inner)):
        if items:
            yield f"        {name}:"
            for item in items:
                yield f"          - {item}"
    if reference[0] is not None:
        yield "        relationships:"
        yield f"          - {{to: {reference[0]}}}"
