"""What stands in the columns: nulls, padding, code pages, numbers and dates as text, days that stand for 'unknown'."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from weighbridge.checks._legacy_look import Look, counted, exact, listed
from weighbridge.checks._legacy_rows import counts_of_rows
from weighbridge.checks._legacy_sql import (
    is_text,
    limited,
    lost,
    nul,
    padded_by_type,
    sentinel,
    shape,
    zero_parts,
)
from weighbridge.checks._legacy_text import DATE_SHAPES, SENTINELS, is_ebcdic, is_mojibake, sentinel_of
from weighbridge.checks.base import Finding
from weighbridge.checks.masking import mask_value
from weighbridge.connectors.base import Column
from weighbridge.connectors.errors import RejectedError

__all__ = ["columns"]

MOSTLY = 0.9
HALF = 0.5
MOST_EXPRESSIONS = 900
"""A statement: SQLite gives 2,000 columns at most, PostgreSQL 1,664."""
MOST_EXAMPLES = 200
TEXT_SHAPES = (
    "digits", "leading_zero", "decimal_comma", "compact_date", "iso_date", "local_date", "short_year", "zero_date",
    "sentinel", "mojibake", "ebcdic",
)  # fmt: skip
ZERO = "0000-00-00"


@dataclass(frozen=True, slots=True)
class Profile:
    """What was counted of one column, by kind."""

    column: Column
    rows: int
    counted: Mapping[str, Any]
    example: str | None = None

    def __getitem__(self, kind: str) -> int:
        return int(self.counted.get(kind) or 0)

    @property
    def text(self) -> bool:
        return "blank" in self.counted

    @property
    def filled(self) -> int:
        return self["present"] - self["blank"]

    def share(self, kind: str) -> float:
        return self[kind] / self.filled if self.filled > 0 else 0.0

    @property
    def dates(self) -> float:
        """The share of values that are dates written as text."""
        return sum(self.share(kind) for kind in DATE_SHAPES)


def columns(look: Look) -> Iterator[Finding]:
    """Findings of one pass of aggregates; a wide table takes several."""
    if look.rows == 0:
        look.notes.append("there are no rows to look at")
        return
    look.source()  # puts into words what is looked at
    said = look.sample
    profile = [p for p in (_by_sql(look) if look.spells else counts_of_rows(look, Profile)) if p.rows > 0]
    if not profile:
        look.notes.append("there are no rows to look at")
        return
    yield from _nulls(look, profile)
    yield from _texts(look, [p for p in profile if p.text])
    yield from _dates(look, profile)
    if look.counts and not look.spells and look.sample != said:
        look.notes.append(f"what stands in the columns was judged on {look.sample}")
        look.sample = said  # what follows is counted by the database


# --- asking the database -------------------------------------------------------------------------------------------


def _by_sql(look: Look) -> Iterator[Profile]:
    batch: dict[str, dict[str, str]] = {}
    size = 0
    for column in look.schema.columns:
        kinds = dict(_aggregates(look, column))
        if size + len(kinds) > MOST_EXPRESSIONS:
            yield from _asked(look, batch)
            batch, size = {}, 0
        batch[column.name] = kinds
        size += len(kinds)
    if batch:
        yield from _asked(look, batch)


def _asked(look: Look, batch: Mapping[str, Mapping[str, str]]) -> Iterator[Profile]:
    wanted = ", ".join(["COUNT(*)", *(sql for kinds in batch.values() for sql in kinds.values())])
    try:
        values = look.ask(f"SELECT {wanted} FROM {look.source()}{look.where}")[0]
    except RejectedError:
        if look.sample == "all rows":
            raise
        values = look.ask(f"SELECT {wanted} FROM {look.only_first()}{look.where}")[0]  # a view cannot be sampled
    rows, position = int(values[0]), 1
    for name, kinds in batch.items():
        column = look.schema.column(name)
        found = dict(zip(kinds, values[position : position + len(kinds)], strict=True))
        position += len(kinds)
        if column is not None:
            yield Profile(column, rows, found)


def _aggregates(look: Look, column: Column) -> Iterator[tuple[str, str]]:
    import pyarrow.types as pt

    name, dialect = look.name(column.name), look.dialect
    yield "present", f"COUNT({name})"
    if is_text(column):
        yield "blank", counted(f"TRIM({name}) = ''")
        padded = f"{exact(dialect, f'TRIM({name})')} <> {exact(dialect, name)}"
        if dialect != "sqlite" and column.native.lower().startswith(("char(", "nchar(", "bpchar")):
            # there the spaces are the type's own, which matters where they are part of a key
            padded = padded_by_type(dialect, name) if column.name in look.key else None
        conditions = {"padded": padded, "lost": lost(dialect, name, encoding=look.encoding), "nul": nul(dialect, name)}
        conditions |= {kind: shape(dialect, kind, name, encoding=look.encoding) for kind in TEXT_SHAPES}
        yield from ((kind, counted(condition)) for kind, condition in conditions.items() if condition)
    elif pt.is_date(column.type) or pt.is_timestamp(column.type):
        for day in SENTINELS:
            yield day, counted(sentinel(dialect, name, day=day))
        if dialect == "postgresql":
            yield "infinity", counted(f"NOT isfinite({name})")
        if zero := zero_parts(dialect, name):
            yield ZERO, counted(zero)


def _values(look: Look, p: Profile, kind: str) -> list[str]:
    """Some of the column's values of this kind, each once."""
    name = look.name(p.column.name)
    condition = shape(look.dialect, kind, name, encoding=look.encoding)
    where = f"{look.where} AND {condition}" if look.where else f" WHERE {condition}"
    statement = f"SELECT DISTINCT {name} FROM {look.source()}{where}"
    return [str(row[0]) for row in look.ask(limited(look.dialect, statement, MOST_EXAMPLES))]


# --- judging -------------------------------------------------------------------------------------------------------


def _nulls(look: Look, profile: Sequence[Profile]) -> Iterator[Finding]:
    declared = {p.physical_name for p in look.point.object.properties if p.required}
    never = [
        p.column.name
        for p in profile
        if p.column.nullable and p.rows > 1 and p["present"] == p.rows and p.column.name not in declared | {*look.key}
    ]
    if never:
        yield look.finding(
            "never_null", f"{len(never)} column(s) may be null by declaration but never are: {listed(never)}",
            observed=never[:20], evidence={"sample": look.sample},
        )  # fmt: skip


def _texts(look: Look, texts: Sequence[Profile]) -> Iterator[Finding]:
    yield from _by_column(look, "padded_text", "values with spaces around them", texts, "padded")
    yield from _by_column(look, "lost_characters", "values in which characters were replaced by U+FFFD", texts, "lost")
    yield from _by_column(look, "nul_characters", "values with a NUL character inside", texts, "nul")
    garbled = _confirmed(look, texts, "mojibake", is_mojibake)
    yield from _by_column(look, "mojibake", "values whose bytes were read in the wrong code page", garbled, "mojibake")
    foreign = _confirmed(look, texts, "ebcdic", is_ebcdic)
    yield from _by_column(look, "ebcdic", "values that are EBCDIC bytes read as Latin text", foreign, "ebcdic")
    commas = [p for p in texts if p.share("decimal_comma") >= HALF]
    yield from _by_column(look, "decimal_commas", "numbers kept as text with a decimal comma", commas, "decimal_comma")
    digits = [p for p in texts if p.share("digits") == 1 and p.dates < MOSTLY]
    yield from _by_column(
        look, "digits_as_text", "values of digits only, kept as text", digits, "digits",
        lambda p: {"leading_zeros": p["leading_zero"]},
    )  # fmt: skip
    if not shape(look.dialect, "mojibake", "c", encoding=look.encoding) and look.spells and texts:
        look.notes.append(f"mojibake was not looked for: {look.encoding or look.sql.dialect} has no words for it")


def _confirmed(look: Look, texts: Sequence[Profile], kind: str, judge: Callable[[str], bool]) -> Iterator[Profile]:
    """What a pattern picked out is judged here; the rows are those that the pattern counted if all of it is."""
    for p in texts:
        if not p[kind]:
            continue
        values = [str(p.example)] if not look.spells else _values(look, p, kind)
        good = [value for value in values if judge(value)]
        if good:
            rows = p[kind] if len(good) == len(values) else len(good)
            yield replace(p, counted={**p.counted, kind: rows}, example=good[0])


def _dates(look: Look, profile: Sequence[Profile]) -> Iterator[Finding]:
    texts = [p for p in profile if p.text and p.filled > 0 and p.dates >= MOSTLY]
    if texts:
        names = [p.column.name for p in texts]
        short = [p.column.name for p in texts if p["short_year"]]
        yield look.finding(
            "dates_as_text",
            f"{len(names)} column(s) hold dates as text: {listed(names)}"
            + (f"; two-digit years in {listed(short)}" if short else ""),
            observed=names,
            evidence={p.column.name: {k: p[k] for k in DATE_SHAPES if p[k]} for p in texts} | {"sample": look.sample},
        )  # fmt: skip
    found: dict[str, dict[str, int]] = {}
    for p in profile:
        if p in texts:
            seen = _spelled(look, p) if p["sentinel"] else {}
            seen |= {ZERO: p["zero_date"]} if p["zero_date"] else {}
        else:
            seen = {day: p[day] for day in (*SENTINELS, "infinity", ZERO) if p[day] and not p.text}
        if seen:
            found[p.column.name] = seen
    if found:
        total = sum(n for days in found.values() for n in days.values())
        words = "; ".join(f"{c}: " + ", ".join(f"{d} ({n:,})" for d, n in days.items()) for c, days in found.items())
        yield look.finding(
            "sentinel_dates", f"{total:,} dates stand for 'unknown' or 'never': {words}",
            expected="null where a date is not known", observed=total, evidence={**found, "sample": look.sample},
        )  # fmt: skip


def _spelled(look: Look, p: Profile) -> dict[str, int]:
    """The sentinel days of a text column with their rows."""
    if not look.spells:
        return {day: p[day] for day in SENTINELS if p[day]}
    name = look.name(p.column.name)
    condition = shape(look.dialect, "sentinel", name)
    where = f"{look.where} AND {condition}" if look.where else f" WHERE {condition}"
    grouped = f"SELECT {name}, COUNT(*) FROM {look.source()}{where} GROUP BY {name}"
    found: dict[str, int] = {}
    for text, rows in look.ask(limited(look.dialect, grouped, MOST_EXAMPLES)):
        if day := sentinel_of(str(text)):
            found[day] = found.get(day, 0) + int(rows)
    return found


def _by_column(
    look: Look,
    code: str,
    what: str,
    profile: Iterator[Profile] | Sequence[Profile],
    kind: str,
    more: Callable[[Profile], Mapping[str, Any]] = lambda _p: {},
) -> Iterator[Finding]:
    hits = [p for p in profile if p[kind]]
    if not hits:
        return
    total = sum(p[kind] for p in hits)
    evidence: dict[str, Any] = {}
    for p in hits:
        shown = {} if p.example is None else {"example": mask_value(p.example)}
        evidence[p.column.name] = {"rows": p[kind], **more(p), **shown}
    yield look.finding(
        code, f"{total:,} {what}, in {listed([p.column.name for p in hits])}",
        expected=0, observed=total, evidence={**evidence, "sample": look.sample},
    )  # fmt: skip
