"""From a bad row to a rule: drafts the contract rule that would have caught it, and a masked fixture that breaks it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from weighbridge.checks.masking import mask_value
from weighbridge.contracts.models import IntegrationPoint, Property
from weighbridge.errors import UsageProblem

__all__ = ["Draft", "Suspect", "drafts", "fixture", "read_rows", "snippet"]

ROWS = 1_000
"""Rows of one file that are looked at: an incident is a handful."""
_FILLERS = {"", "-", "--", "?", "n/a", "na", "#n/a", "none", "null", "nil", "nan", "undefined", "unknown", "tbd", "xxx"}
_EXCEL = re.compile(r"^#(REF|VALUE|NAME\?|DIV/0|NULL|NUM|N/A)!?$", re.IGNORECASE)
_BROKEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd]|\u00c3[\u0080-\u00bf]|\u00e2\u20ac")
_MANY = 8
YEARS_AHEAD = 10


@dataclass(frozen=True, slots=True)
class Suspect:
    """One value of one row that looks wrong, and why."""

    row: int
    """From 1."""
    column: str
    why: str
    caught: str | None = None
    """The promise that already forbids it; then the contract needs no new rule."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A change of one property of the contract, with what it is drafted from."""

    column: str
    change: Mapping[str, Any]
    why: str
    rows: tuple[int, ...]


# --- reading ----------------------------------------------------------------------------------------------------


def read_rows(text: str, *, source: str = "the file") -> list[dict[str, Any]]:
    """Rows from JSON, JSON lines, CSV with a header, or a log that holds JSON objects. Raises UsageProblem for none."""
    rows = list(_rows(text))[:ROWS]
    if not rows:
        raise UsageProblem(
            f"{source} holds no row: it is neither a JSON object or list, JSON lines, CSV with a header line, nor a "
            "log with JSON objects in its lines."
        )
    return rows


def _rows(text: str) -> Iterator[dict[str, Any]]:
    try:
        whole = json.loads(text)
    except ValueError:
        whole = None
    if whole is not None:
        yield from (r for r in (whole if isinstance(whole, list) else [whole]) if isinstance(r, dict))
        return
    found = [row for line in text.splitlines() for row in _objects(line)]
    if found:
        yield from found
        return
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        return
    try:
        shape = csv.Sniffer().sniff("\n".join(lines[:20]), delimiters=",;\t|")
    except csv.Error:
        return
    for row in csv.DictReader(io.StringIO("\n".join(lines)), dialect=shape):
        if None not in row and None not in row.values():
            yield {str(k): (None if v == "" else v) for k, v in row.items()}


def _objects(line: str) -> Iterator[dict[str, Any]]:
    """The JSON objects within one line of a log."""
    decoder, place = json.JSONDecoder(), line.find("{")
    while place >= 0:
        try:
            found, end = decoder.raw_decode(line, place)
        except ValueError:
            end = place + 1
        else:
            if isinstance(found, dict) and found:
                yield found
        place = line.find("{", end)


# --- judging ----------------------------------------------------------------------------------------------------


def drafts(
    point: IntegrationPoint, rows: Sequence[Mapping[str, Any]], *, columns: Sequence[str] = (), good: Sequence[str] = ()
) -> tuple[list[Draft], list[Suspect]]:
    """Rules that would have caught the rows, and every suspect value with what already forbids it.

    `columns` narrows to these properties; `good` are right values of the one column, from which a pattern is made when
    nothing else tells the bad value apart.
    """
    wanted = {c.lower() for c in columns}
    missing = wanted - {n.lower() for p in point.object.properties for n in (p.name, p.physical_name)}
    if missing:
        known = ", ".join(p.name for p in point.object.properties)
        raise UsageProblem(f"{point.id} has no property {', '.join(sorted(missing))}; it has {known}.")
    suspects: list[Suspect] = []
    made: dict[tuple[str, str], Draft] = {}
    for number, row in enumerate(rows, 1):
        for item in point.object.properties:
            named = not wanted or item.name.lower() in wanted or item.physical_name.lower() in wanted
            if not named or not (present := _lookup(row, item)):
                continue
            value = present[0]
            caught = _forbidden(item, value)
            told = _odd(item, value, good if wanted else ())
            if caught is not None:
                suspects.append(Suspect(number, item.name, f"{item.name} breaks a promise", caught))
            elif told is not None:
                why, change = told
                suspects.append(Suspect(number, item.name, why))
                key = (item.name, json.dumps(change, sort_keys=True))
                held = made.get(key)
                made[key] = Draft(item.name, change, why, (*(held.rows if held else ()), number))
    return list(made.values()), suspects


def _lookup(row: Mapping[str, Any], item: Property) -> tuple[Any] | None:
    """The property's value in the row, by its physical or logical name in any case; None where the row lacks it."""
    folded = {str(k).lower(): v for k, v in row.items()}
    for name in (item.physical_name.lower(), item.name.lower()):
        if name in folded:
            return (folded[name],)
    return None


def _forbidden(item: Property, value: Any) -> str | None:
    """The promise of the contract that the value already breaks."""
    if value is None:
        return "required" if item.required or item.primary_key else None
    options = item.options
    text = str(value)
    if "maxLength" in options and len(text) > options["maxLength"]:
        return "logicalTypeOptions.maxLength"
    if "minLength" in options and len(text) < options["minLength"]:
        return "logicalTypeOptions.minLength"
    if "pattern" in options and not _found(options["pattern"], text):
        return "logicalTypeOptions.pattern"
    number = _number(value)
    if item.logical_type in ("integer", "number") and number is None:
        return "logicalType"
    if number is not None:
        for key, bad in (("minimum", lambda n, x: n < x), ("maximum", lambda n, x: n > x)):
            edge = _number(options.get(key))
            if edge is not None and bad(number, edge):
                return f"logicalTypeOptions.{key}"
    return None


def _found(pattern: str, text: str) -> bool:
    import re2

    return re2.search(pattern, text) is not None


def _odd(item: Property, value: Any, good: Sequence[str]) -> tuple[str, dict[str, Any]] | None:
    """What looks wrong with a value, and the change that forbids it."""
    if value is None:
        return f"{item.name} is null", {"required": True}
    if isinstance(value, str) and value.strip().lower() in _FILLERS:
        quality = {"metric": "missingValues", "arguments": {"missingValues": [value]}, "mustBe": 0}
        return f"{item.name} holds {value!r} instead of a value", {"quality": [quality]}
    number = _number(value)
    if number is not None and item.logical_type in ("integer", "number", None) and number < 0:
        return f"{item.name} is negative", {"logicalTypeOptions": {"minimum": 0}}
    day = _day(value)
    if day is not None and item.logical_type in ("date", "timestamp", "string", None):
        return _odd_day(item, day)
    if isinstance(value, str):
        return _odd_text(item, value, good)
    return None


def _odd_text(item: Property, value: str, good: Sequence[str]) -> tuple[str, dict[str, Any]] | None:
    if _EXCEL.match(value.strip()):
        return f"{item.name} holds a spreadsheet's error", {"logicalTypeOptions": {"pattern": "^[^#]"}}
    if _BROKEN.search(value):
        pattern = "^[^\\x00-\\x1f\\x7f\\x{fffd}\\x{c3}]*$"
        return f"{item.name} holds broken characters", {"logicalTypeOptions": {"pattern": pattern}}
    if value != value.strip():
        return f"{item.name} has blanks at its ends", {"logicalTypeOptions": {"pattern": r"^\S(.*\S)?$"}}
    pattern = _shape(good)
    if pattern is not None and not _found(pattern, value):
        return f"{item.name} has not the shape of {good[0]!r}", {"logicalTypeOptions": {"pattern": pattern}}
    return None


def _odd_day(item: Property, day: date) -> tuple[str, dict[str, Any]] | None:
    this = datetime.now(UTC).year
    form = "{}-01-01" if item.logical_type != "timestamp" else "{}-01-01T00:00:00Z"
    if day.year < 1900:
        return f"{item.name} lies in {day.year}", {"logicalTypeOptions": {"minimum": form.format(1900)}}
    if day.year > this + YEARS_AHEAD:
        return f"{item.name} lies in {day.year}", {"logicalTypeOptions": {"maximum": form.format(this + YEARS_AHEAD)}}
    return None


def _shape(good: Sequence[str]) -> str | None:
    """A pattern that every right value fits: `C-000123` gives `^C-[0-9]{6}$`. None where they share no shape."""
    if not good:
        return None
    parts = [re.findall(r"[0-9]+|[A-Za-z]+|[^0-9A-Za-z]+", text) for text in good]
    if len({len(p) for p in parts}) != 1 or len(parts[0]) > _MANY:
        return None
    pattern = ""
    for column in zip(*parts, strict=True):
        if len(set(column)) == 1 and not column[0][0].isdigit():
            pattern += re.sub(r"([^0-9A-Za-z])", r"\\\1", column[0])
            continue
        sizes = sorted({len(piece) for piece in column})
        count = f"{{{sizes[0]}}}" if len(sizes) == 1 else f"{{{sizes[0]},{sizes[-1]}}}"
        if all(piece.isdigit() for piece in column):
            pattern += f"[0-9]{count}"
        elif all(piece.isalpha() for piece in column):
            pattern += (
                f"[A-Z]{count}" if all(p.isupper() for p in column)
                else f"[a-z]{count}" if all(p.islower() for p in column)
                else f"[A-Za-z]{count}"
            )  # fmt: skip
        else:
            return None
    return f"^{pattern}$"


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d+(\.\d+)?([eE][+-]?\d+)?\s*", value):
        return float(value)
    return None


def _day(value: Any) -> date | None:
    if not isinstance(value, str) or not re.match(r"^\d{4}-\d{2}-\d{2}", value):
        return None
    try:
        return date.fromisoformat(value[:10])
    except ValueError:
        return None


# --- writing ----------------------------------------------------------------------------------------------------


def snippet(point: IntegrationPoint, made: Iterable[Draft]) -> str:
    """The changes as YAML to put into the contract's properties, each with the evidence above it."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 110
    out = io.StringIO()
    out.write(f"# {point.contract.path.name}, schema object {point.object.name}: merge into these properties\n")
    for draft in made:
        rows = ", ".join(map(str, draft.rows[:5])) + (" ..." if len(draft.rows) > 5 else "")
        out.write(f"# {draft.why} (row {rows})\n")
        yaml.dump([{"name": draft.column, **draft.change}], out)
    return out.getvalue()


def fixture(point: IntegrationPoint, rows: Sequence[Mapping[str, Any]], made: Sequence[Draft]) -> list[dict[str, Any]]:
    """The rows for a test: declared columns only, masked, but for the harmless values that the drafts are about."""
    about = {d.column for d in made}
    kept: list[dict[str, Any]] = []
    for row in rows:
        shown: dict[str, Any] = {}
        for item in point.object.properties:
            present = _lookup(row, item)
            if present is None:
                continue
            value = present[0]
            masked = mask_value(value, item.classification)
            harmless = item.classification is None and item.name in about and str(masked) == str(value)
            shown[item.name] = value if harmless else masked
        kept.append(shown)
    return kept
