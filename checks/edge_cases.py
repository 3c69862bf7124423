"""How values that travel badly fare: written and read back where that is allowed, else looked for in what is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from weighbridge.checks.base import (
    Code,
    Context,
    Evidence,
    Finding,
    Inconclusive,
    Landing,
    Measurement,
    Result,
    Severity,
)
from weighbridge.checks.edge_corpus import CORPUS, HARMLESS, PATTERNS, Edge, change_of
from weighbridge.checks.ledger import FATE_UNKNOWN, Recipe, recipe_for
from weighbridge.connectors.base import Connector, Incremental, ObjectRef, Writable
from weighbridge.connectors.errors import RejectedError
from weighbridge.contracts.models import IntegrationPoint, Property, Relationship

__all__ = ["EdgeCasesCheck"]

KINDS = {"string": "text", "date": "date", "timestamp": "timestamp", "number": "number"}
CLASSIFIED = ("personal", "confidential", "restricted", "sensitive", "secret", "pii")
EXAMPLES = 5


class EdgeCasesCheck:
    """The corpus of difficult values, and the same business key followed into the other systems.

    Breaks in production
        The pilot's customers are called Test GmbH. Production's are called O'Brien, MÜLLER and 00123: one is cut, one
        loses its zeros, one matches nothing in the next system because a space or a capital differs, and a note that
        begins with '=' runs in somebody's workbook.

    Fix
        Keep identifiers as text on every way; normalise (trim, NFC, case) in one place before keys are compared;
        refuse what does not fit, never cut it; escape values that begin with = + - @ when a workbook is written.
    """

    name = "edge_cases"
    needs = ("landing", "schema")
    facets = ()
    cost = "read"
    codes = (
        Code(
            "edge_cases.value_changed",
            Severity.WARN,
            "Find the place that changes it and carry the value as text, or let the system refuse it.",
        ),
        Code(
            "edge_cases.value_normalised",
            Severity.INFO,
            "Normalise in the same way wherever such values are compared.",
        ),
        Code("edge_cases.value_lost", Severity.BREAK, "Find out why the system said yes and has no such record."),
        Code(
            "edge_cases.value_refused",
            Severity.INFO,
            "A clear refusal is sound; check such values before they are sent.",
        ),
        Code("edge_cases.not_cleaned_up", Severity.BREAK, "Remove the records named in the evidence by hand."),
        Code(
            "edge_cases.seen",
            Severity.INFO,
            "Try these values in the pilot's own code before the go-live: they are there already.",
        ),
        Code(
            "edge_cases.key_mangled",
            Severity.WARN,
            "Normalise the key in one place, in the system that writes it, and correct the rows that are there.",
        ),
    )

    def __call__(self, point: IntegrationPoint, evidence: Evidence, context: Context) -> Iterable[Result]:
        seen = _seen(point, evidence.landing)
        yield from _report_seen(point, seen)
        yield from _followed(point, evidence.landing, context)
        written: list[dict[str, Any]] = []
        connector = context.connector()
        if context.permissions.writes and connector.facet(Writable) is not None:
            yield from _round_trips(point, evidence, context, connector, written)
        yield Measurement("edge_cases", {"seen": seen, "written": written})


# --- looked for in what is there --------------------------------------------------------------------------------------


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _seen(point: IntegrationPoint, landing: Landing) -> dict[str, dict[str, int]]:
    """Column -> kind of value -> rows, for the text columns."""
    found: dict[str, dict[str, int]] = {}
    with closing(landing.connect()) as database:
        described = database.execute(f"DESCRIBE {_quoted(landing.table)}").fetchall()
        texts = [row[0] for row in described if row[1] == "VARCHAR" and row[0] in landing.columns]
        for column in texts:
            name = _quoted(column)
            counts = ", ".join(f"count(*) FILTER (regexp_matches({name}, ?))" for _ in PATTERNS)
            row = database.execute(
                f"SELECT {counts} FROM {_quoted(landing.table)} WHERE {name} IS NOT NULL",
                [p.regex for p in PATTERNS],
            ).fetchall()[0]
            hits = {p.name: int(n) for p, n in zip(PATTERNS, row, strict=True) if n}
            longest = database.execute(f"SELECT max(length({name})) FROM {_quoted(landing.table)}").fetchall()[0][0]
            if longest and longest > 32_767:
                hits["longer than a workbook's cell"] = 1
            if hits:
                found[_declared_name(point, column)] = hits
    return found


def _declared_name(point: IntegrationPoint, column: str) -> str:
    return next((p.name for p in point.object.properties if p.physical_name == column), column)


def _report_seen(point: IntegrationPoint, seen: Mapping[str, Mapping[str, int]]) -> Iterator[Finding]:
    if not seen:
        return
    kinds = sorted({kind for hits in seen.values() for kind in hits})
    effects = {p.name: p.effect for p in PATTERNS}
    yield Finding(
        "edge_cases.seen",
        f"{point.id}: values that travel badly are there: {', '.join(kinds)}.",
        observed={column: dict(hits) for column, hits in seen.items()},
        business_effect=" ".join(dict.fromkeys(effects[k] for k in kinds if k in effects)),
    )


# --- the same key in another system -----------------------------------------------------------------------------------


def _followed(point: IntegrationPoint, landing: Landing, context: Context) -> Iterator[Finding]:
    if context.target_keys is None:
        return
    for relationship in _relationships(point):
        if relationship.target_file is None or len(relationship.columns) != 1:
            continue
        column = point.object.property(relationship.columns[0])
        if column is None or column.physical_name not in landing.columns:
            continue
        try:
            target = context.target_keys(relationship)
        except Inconclusive:
            continue  # quality answers for references whose target cannot be read
        yield from _mangled(point, landing, column, relationship, target)


def _relationships(point: IntegrationPoint) -> list[Relationship]:
    nested = [r for p in point.object.properties for r in p.relationships]
    return list(dict.fromkeys([*point.object.relationships, *nested]))


def _mangled(
    point: IntegrationPoint, landing: Landing, column: Property, relationship: Relationship, target: Landing
) -> Iterator[Finding]:
    """Keys that the other system does not have as they stand, but has in another spelling."""
    name, theirs = _quoted(column.physical_name), _quoted(target.columns[0])
    folded = "upper(regexp_replace(nfc_normalize({0}::VARCHAR), '[\\s\\x{{00A0}}]+', '', 'g'))"
    stripped = f"ltrim({folded}, '0')"
    with closing(landing.connect()) as database:
        database.execute(f"ATTACH '{str(target.database).replace(chr(39), chr(39) * 2)}' AS target (READ_ONLY)")
        rows = database.execute(
            f"WITH theirs AS (SELECT DISTINCT {theirs}::VARCHAR AS k FROM target.{_quoted(target.table)}), "
            f"mine AS (SELECT {name}::VARCHAR AS k, count(*) AS n FROM {_quoted(landing.table)} "
            f"WHERE {name} IS NOT NULL GROUP BY 1), "
            "lost AS (SELECT * FROM mine WHERE k NOT IN (SELECT k FROM theirs WHERE k IS NOT NULL)) "
            f"SELECT lost.k, any_value(theirs.k), any_value(lost.n) FROM lost JOIN theirs "
            f"ON {stripped.format('lost.k')} = {stripped.format('theirs.k')} GROUP BY lost.k ORDER BY lost.k"
        ).fetchall()
    if not rows:
        return
    ways = sorted({_way(mine, other) for mine, other, _ in rows})
    total = sum(int(n) for *_, n in rows)
    hidden = (column.classification or "").casefold() in CLASSIFIED
    yield Finding(
        "edge_cases.key_mangled",
        f"{point.id}: {len(rows):,} different values of {column.name} in {total:,} rows are in "
        f"{relationship.target_object}.{relationship.target_columns[0]} in another spelling only: {', '.join(ways)}.",
        expected="the same key in every system",
        observed=total,
        evidence={"examples": [] if hidden else [[mine, other] for mine, other, _ in rows[:EXAMPLES]], "ways": ways},
        business_effect="These records find nothing in the other system, although what they mean is there.",
    )


def _way(mine: str, other: str) -> str:
    bare, other_bare = "".join(mine.split()), "".join(other.split())
    if bare == other_bare:
        return "spaces differ"
    if bare.casefold() == other_bare.casefold():
        return "case differs"
    if bare.lstrip("0") == other_bare.lstrip("0"):
        return "leading zeros differ"
    return "accents, case or zeros differ"


# --- written and read back --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Trip:
    """One value's way into a column and back."""

    edge: Edge
    column: str
    key: str


def _round_trips(
    point: IntegrationPoint,
    evidence: Evidence,
    context: Context,
    connector: Connector,
    written: list[dict[str, Any]],
) -> Iterator[Finding]:
    ref = ObjectRef(point.object.physical_name, point.object.filter)
    changes = connector.facet(Incremental)
    stamped = changes.watermark(ref) if changes else None
    recipe = recipe_for(point, evidence, stamped=stamped)
    if recipe is None:
        return
    columns = _columns(point, evidence, recipe, stamped)
    nonce = f"{context.now():%y%m%d}-E{int(context.now().timestamp()) % 10_000:04}"
    trips = [
        _Trip(edge, columns[edge.kind].physical_name, recipe.key(nonce, n))
        for n, edge in enumerate(_fitting(columns, evidence))
        if edge.kind in columns
    ]
    if not trips:
        return
    writer: Any = context.connector(context.session.fork(writes_allowed=True))
    try:
        context.progress(f"{point.id}: {len(trips)} difficult values written and read back")
        try:
            refusals = [_sent(point, ref, writer, recipe, trip) for trip in trips]
            found = {
                str(r.get(recipe.column)): r for r in writer.find(ref, recipe.column, [trip.key for trip in trips])
            }
            for trip, refused in zip(trips, refusals, strict=True):
                yield from _judged(point, trip, refused, found.get(trip.key), written)
        finally:
            left = _clean(ref, writer, recipe, [trip.key for trip in trips])
    finally:
        writer.close()
    if left:
        yield Finding(
            "edge_cases.not_cleaned_up",
            f"{point.id}: {left} practice records could not be removed.",
            expected=0,
            observed=left,
            evidence={"column": recipe.column, "keys": [trip.key for trip in trips]},
        )


def _columns(point: IntegrationPoint, evidence: Evidence, recipe: Recipe, stamped: str | None) -> dict[str, Property]:
    """For each kind of value a column that is free to take it: the widest text, the first date, time and number."""
    chosen: dict[str, Property] = {}
    widest = -1
    for prop in point.object.properties:
        kind = KINDS.get(prop.logical_type or "")
        declared = evidence.schema.column(prop.physical_name)
        taken = prop.physical_name in (recipe.column, stamped) or prop.physical_name in recipe.values
        bound = prop.primary_key or prop.unique or prop.required or prop.relationships or "pattern" in prop.options
        if kind is None or declared is None or taken or bound or declared.enum or declared.references or prop.quality:
            continue
        if kind != "text":
            chosen.setdefault(kind, prop)
            continue
        width = int(prop.options.get("maxLength") or declared.length or 1_000_000)
        if width > widest:
            chosen[kind], widest = prop, width
    return chosen


def _fitting(columns: Mapping[str, Property], evidence: Evidence) -> Iterator[Edge]:
    """The corpus, its longest texts replaced by one that just fits and one that just does not."""
    text = columns.get("text")
    declared = evidence.schema.column(text.physical_name) if text else None
    width = declared.length if declared else None
    for edge in CORPUS:
        if edge.kind == "text" and width and isinstance(edge.value, str) and len(edge.value) > width:
            continue
        yield edge
    if width and width < 32_767:
        yield Edge("as long as it may be", "text", "ü" * width, "A text is cut.")
        yield Edge("a character too long", "text", "n" * (width + 1), "A text is cut without a word.")


def _sent(point: IntegrationPoint, ref: str, writer: Any, recipe: Recipe, trip: _Trip) -> str | None:
    """Write one value; the refusal in the system's words, None when it was taken."""
    record = {**recipe.record(trip.key), trip.column: trip.edge.value}
    try:
        (outcome,) = writer.write(ref, [record])
    except (UnicodeError, RejectedError) as error:
        return f"{type(error).__name__}: {error}"
    if outcome.error_class in FATE_UNKNOWN:
        raise Inconclusive(f"{point.id}: '{trip.edge.name}' could not be written: {outcome.error}")
    return None if outcome.ok else outcome.error or "refused"


def _judged(
    point: IntegrationPoint,
    trip: _Trip,
    refused: str | None,
    record: Mapping[str, Any] | None,
    written: list[dict[str, Any]],
) -> Iterator[Finding]:
    edge, place = trip.edge, f"{point.object.name}.{_declared_name(point, trip.column)}"
    written.append({"value": edge.name, "place": place, "outcome": "refused" if refused else "lost"})
    if refused is not None:
        yield Finding(
            "edge_cases.value_refused",
            f"{point.id}: '{edge.name}' is refused in {place}: {refused[:200]}",
            expected="refused, or taken as it is",
            observed="refused",
        )
        return
    if record is None:
        yield Finding(
            "edge_cases.value_lost",
            f"{point.id}: '{edge.name}' was taken in {place}, but the record is not there.",
            expected="one record",
            observed="none",
            business_effect=edge.effect,
        )
        return
    change = change_of(edge.value, record.get(trip.column))
    written[-1]["outcome"] = change or "unchanged"
    if change is None:
        return
    blank = edge.value in ("", None) and record.get(trip.column) in ("", None)
    yield Finding(
        "edge_cases.value_normalised" if blank or change in HARMLESS else "edge_cases.value_changed",
        f"{point.id}: '{edge.name}' does not come back from {place} as it went: {change}.",
        expected="the same value",
        observed=change,
        business_effect=edge.effect,
    )


def _clean(ref: str, writer: Any, recipe: Recipe, keys: list[str]) -> int:
    found = writer.find(ref, recipe.column, keys)
    if found:
        writer.delete(ref, found)
    return len(writer.find(ref, recipe.column, keys))
