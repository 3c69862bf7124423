"""What twenty years do to a database: hazards of keys, dates, text, names and use, found by the database itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from weighbridge.checks._legacy_driver import Difference, differences
from weighbridge.checks._legacy_operation import operation_findings
from weighbridge.checks._legacy_sql import MOJIBAKE, SENTINELS, first_rows, folded, is_text, sample_of, sentinel, shape
from weighbridge.checks.base import (
    Code,
    Context,
    Cost,
    Evidence,
    Finding,
    Inconclusive,
    Measurement,
    Result,
    Severity,
)
from weighbridge.checks.masking import mask_value
from weighbridge.connectors.base import Column, Connector, DriverText, Incremental, Indexed, ObjectRef, Sql, TableSchema
from weighbridge.connectors.errors import ConnectorError, MissingObjectError, RejectedError
from weighbridge.contracts.models import IntegrationPoint

__all__ = ["LegacyCheck"]

SAMPLED_ABOVE = 1_000_000
SAMPLE_ROWS = 200_000
MAX_COLUMNS = 150
MAX_TABLES = 60
TEXT_ROWS = 200
TIMEOUT = 120.0
MOSTLY = 0.9
HALF = 0.5
TEXT_SHAPES = (
    "digits", "leading_zero", "decimal_comma", "compact_date", "iso_date", "local_date", "short_year", "zero_date",
    "mojibake", "ebcdic",
)  # fmt: skip
DATE_SHAPES = ("compact_date", "iso_date", "local_date", "short_year", "zero_date")


class LegacyCheck:
    """Looks for what makes an old database hard to integrate with.

    One pass of aggregates over the table (a sample above a million rows, and the report says which), one grouping by
    the key under trim and case, one anti-join for references that nobody enforces, and a few looks at the catalog.
    Reads only, one statement at a time in autocommit.

    Breaks in production
        Two customers are one, because 'c-000123 ' and 'C-000123' are two keys. A nightly sync reads the whole table,
        because nothing says what changed, and blocks the users of the morning. 9999-12-31 becomes a date of delivery,
        '12,5' becomes 125, '00501' becomes 501. A driver hands over less than the server holds, without a word.

    Fix
        Mend the rows where their owner can; else mend them once, in a view that integrations read. Add the index and
        the updated_at column. A login that reads only, with a statement timeout. Where a driver changes values, use
        another driver or the option that the finding names.
    """

    name: ClassVar[str] = "legacy"
    needs: ClassVar[tuple[str, ...]] = ("probe", "schema", "count_before")
    facets: ClassVar[tuple[type, ...]] = (Sql,)
    cost: ClassVar[Cost] = "read"
    codes: ClassVar[tuple[Code, ...]] = (
        Code("legacy.no_primary_key", Severity.WARN, "Mend the duplicates, then declare the key of the contract."),
        Code("legacy.similar_keys", Severity.WARN, "Merge the records; until then compare trimmed, in one case."),
        Code("legacy.padded_text", Severity.WARN, "Trim the values, or trim them in a view that integrations read."),
        Code("legacy.orphans", Severity.WARN, "Mend the references, then let the database enforce them."),
        Code("legacy.no_watermark", Severity.WARN, "Add a column updated_at that a trigger keeps, with an index."),
        Code("legacy.watermark_not_indexed", Severity.WARN, "Create an index on the watermark column."),
        Code("legacy.dates_as_text", Severity.WARN, "Give the contract's property a format, or convert in a view."),
        Code("legacy.sentinel_dates", Severity.WARN, "Treat these days as 'unknown' before anything counts with them."),
        Code("legacy.mojibake", Severity.WARN, "Convert once: UTF-8 was read as cp1252 and saved again."),
        Code("legacy.ebcdic", Severity.WARN, "Convert where it leaves the mainframe, its code page named (cp037)."),
        Code("legacy.lost_characters", Severity.WARN, "Take them again from where they came from."),
        Code("legacy.nul_characters", Severity.WARN, "Remove them: many drivers cut the text at the first one."),
        Code("legacy.code_page", Severity.WARN, "Name the code page in the connection, and check umlauts end to end."),
        Code("legacy.digits_as_text", Severity.INFO, "Keep it text everywhere: leading zeros are part of the value."),
        Code("legacy.decimal_commas", Severity.WARN, "Convert in a view, with the locale stated; never by guessing."),
        Code("legacy.never_null", Severity.INFO, "Declare it NOT NULL if it is meant so, or promise it as required."),
        Code("legacy.awkward_names", Severity.INFO, "Quote them in every statement, or read a view with plain ones."),
        Code("legacy.login_can_write", Severity.WARN, "Give the integration a login that can only read."),
        Code("legacy.connections_in_use", Severity.WARN, "Put a pool in front, or find out who holds the connections."),
        Code("legacy.lock_waits", Severity.WARN, "Find who holds the lock; keep transactions short."),
        Code("legacy.long_transactions", Severity.WARN, "End them, and set idle_in_transaction timeouts."),
        Code("legacy.no_statement_timeout", Severity.WARN, "Set a statement timeout for this login on the server."),
        Code("legacy.driver_changed", Severity.WARN, "Use another driver, or the option that the finding names."),
    )  # fmt: skip

    def __call__(self, point: IntegrationPoint, evidence: Evidence, context: Context) -> Iterable[Result]:
        connector = context.connector()
        sql = connector.facet(Sql)
        if sql is None:
            raise Inconclusive(f"{point.id}: the connector speaks no SQL.")
        look = _Look(point, connector, sql, evidence.schema, evidence.count_before.value)
        yield from _static(look, evidence.probe.facts)
        unseen: list[str] = []
        yield from look.tried(_columns, "the columns", unseen, evidence.probe.facts)
        yield from look.tried(_keys, "the keys", unseen, evidence.probe.version or "")
        yield from look.tried(_references, "the references", unseen)
        yield from look.tried(_watermark, "what changed", unseen)
        yield from look.tried(_driver, "what the driver changed", unseen, evidence.probe.facts)
        yield from operation_findings(point, sql, evidence, context, look.notes)
        yield Measurement(
            "legacy", {"rows": look.rows, "sample": look.sample, "statements": look.statements, "notes": look.notes}
        )
        if unseen:
            raise Inconclusive(f"{point.id}: could not look at {'; '.join(unseen)}")


@dataclass
class _Look:
    """One table being looked at, and what was done to it."""

    point: IntegrationPoint
    connector: Connector
    sql: Sql
    schema: TableSchema
    rows: int
    sample: str = "all rows"
    chosen: str = ""
    statements: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(self.point.object.physical_name, self.point.object.filter)

    @property
    def table(self) -> str:
        return self.sql.quoted(self.ref)

    @property
    def where(self) -> str:
        return f" WHERE ({self.ref.where})" if self.ref.where else ""

    def name(self, column: str) -> str:
        return self.sql.quoted_name(column)

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        self.statements += 1
        return self.sql.execute(statement, timeout=TIMEOUT)

    def tried(self, question: Any, what: str, unseen: list[str], *more: Any) -> Iterator[Finding]:
        """The question's findings; what could not be looked at is said at the end, after all else was asked."""
        try:
            yield from question(self, *more)
        except ConnectorError as error:
            unseen.append(f"{what}: {error.message}")

    def source(self) -> str:
        """What is looked at: the table, or a sample of it that `sample` puts into words."""
        if not self.chosen:
            self.chosen = self.table
            if self.rows > SAMPLED_ABOVE:
                self.chosen, self.sample = sample_of(self.sql.dialect, self.table, self.rows, SAMPLE_ROWS)
        return self.chosen

    def finding(self, code: str, message: str, **more: Any) -> Finding:
        return Finding(f"legacy.{code}", f"{self.point.id}: {message}", **more)


# --- what the catalog says -----------------------------------------------------------------------------------------


def _static(look: _Look, facts: Mapping[str, Any]) -> Iterator[Finding]:
    if not look.schema.keys:
        promised = ", ".join(p.physical_name for p in look.point.object.key)
        yield look.finding(
            "no_primary_key",
            f"{look.ref} has no primary key"
            + (f"; the contract counts on {promised}, which nothing keeps unique" if promised else ""),
            expected=promised or "a primary key", observed="none",
            business_effect="The same record can stand twice, and an update can hit the wrong one.",
        )  # fmt: skip
    awkward = [c.name for c in look.schema.columns if _awkward(look, c.name)]
    if awkward:
        yield look.finding(
            "awkward_names", f"{len(awkward)} column(s) must be quoted in every statement: {_listed(awkward)}",
            observed=awkward[:20],
        )  # fmt: skip
    encoding = str(facts.get("encoding") or "")
    if encoding and not encoding.upper().replace("-", "").startswith(("UTF8", "UTF16", "AL32UTF8")):
        yield look.finding(
            "code_page",
            f"the database stores text as {encoding}"
            + (": it checks nothing, so any bytes may stand there" if encoding.upper() == "SQL_ASCII" else ""),
            expected="UTF8", observed=encoding,
        )  # fmt: skip


def _awkward(look: _Look, name: str) -> bool:
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)
    return plain is None or (look.sql.engine() is not None and look.name(name) != name)


# --- one pass of aggregates ----------------------------------------------------------------------------------------


def _columns(look: _Look, facts: Mapping[str, Any]) -> Iterator[Finding]:
    columns = look.schema.columns[:MAX_COLUMNS]
    if len(look.schema.columns) > MAX_COLUMNS:
        look.notes.append(f"the first {MAX_COLUMNS} of {len(look.schema.columns)} columns were looked at")
    shapes = TEXT_SHAPES
    if look.sql.dialect == "postgresql" and str(facts.get("encoding")).upper() != "UTF8":
        shapes = tuple(s for s in TEXT_SHAPES if s not in {"mojibake", "ebcdic"})
    asked: dict[tuple[str, str], str] = {}
    for column in columns:
        asked |= {(column.name, kind): sql for kind, sql in _aggregates(look, column, shapes)}
    values = _one_pass(look, list(asked.values()))
    rows, counted = int(values[0]), dict(zip(asked, values[1:], strict=True))
    if rows == 0:
        look.notes.append("there are no rows to look at")
        return
    profile = [_Profile(c, rows, {k: v for (n, k), v in counted.items() if n == c.name}) for c in columns]
    yield from _judge_nulls(look, profile)
    yield from _judge_text(look, profile)
    yield from _judge_dates(look, profile)


def _one_pass(look: _Look, expressions: Sequence[str]) -> tuple[Any, ...]:
    wanted = ", ".join(["COUNT(*)", *expressions])

    def statement(source: str) -> str:
        return f"SELECT {wanted} FROM {source}{look.where}"

    try:
        return look.ask(statement(look.source()))[0]
    except RejectedError:
        if look.sample == "all rows":
            raise
        look.chosen, look.sample = first_rows(look.table, SAMPLE_ROWS)  # a view cannot be sampled
        return look.ask(statement(look.chosen))[0]


def _aggregates(look: _Look, column: Column, shapes: Sequence[str]) -> Iterator[tuple[str, str]]:
    import pyarrow.types as pt

    name, dialect = look.name(column.name), look.sql.dialect
    yield "present", f"COUNT({name})"
    if is_text(column):
        yield "blank", _count(f"TRIM({name}) = ''")
        if not column.native.lower().startswith(("char(", "nchar(", "bpchar")):  # there padding is the type's own
            yield "padded", _count(f"{_exact(dialect, f'TRIM({name})')} <> {_exact(dialect, name)}")
        yield "lost", _count(f"{name} LIKE '%\ufffd%'")
        yield "lost_example", f"MIN(CASE WHEN {name} LIKE '%\ufffd%' THEN {name} END)"
        nul = {"sqlite": f"instr({name}, char(0)) > 0", "mysql": f"INSTR({name}, CHAR(0)) > 0"}
        if condition := nul.get("mysql" if dialect == "mariadb" else dialect):
            yield "nul", _count(condition)
        for kind in shapes:
            if condition := shape(dialect, kind, name):
                yield kind, _count(condition)
        for kind in ("mojibake", "ebcdic"):
            if (condition := shape(dialect, kind, name)) and kind in shapes:
                yield f"{kind}_example", f"MIN(CASE WHEN {condition} THEN {name} END)"
    elif pt.is_date(column.type) or pt.is_timestamp(column.type):
        for day in SENTINELS:
            yield day, _count(sentinel(dialect, name, day=day))
        if dialect == "postgresql":
            yield "infinity", _count(f"NOT isfinite({name})")
        if dialect in {"mysql", "mariadb", "sqlite"}:
            yield "0000-00-00", _count(f"{name} LIKE '0000%'")


def _count(condition: str) -> str:
    return f"SUM(CASE WHEN {condition} THEN 1 ELSE 0 END)"


def _exact(dialect: str, expression: str) -> str:
    """For comparisons that heed case and trailing spaces, which collations of some products do not."""
    return f"HEX({expression})" if dialect in {"mysql", "mariadb"} else expression


@dataclass
class _Profile:
    """What the pass counted of one column."""

    column: Column
    rows: int
    counted: Mapping[str, Any]

    def __getitem__(self, kind: str) -> int:
        return int(self.counted.get(kind) or 0)

    @property
    def filled(self) -> int:
        return self["present"] - self["blank"]

    def share(self, kind: str) -> float:
        return self[kind] / self.filled if self.filled > 0 else 0.0


def _judge_nulls(look: _Look, profile: Sequence[_Profile]) -> Iterator[Finding]:
    declared = {p.physical_name for p in look.point.object.properties if p.required}
    never = [
        p.column.name
        for p in profile
        if p.column.nullable and p["present"] == p.rows and p.column.name not in declared | set(look.schema.keys)
    ]
    if never:
        yield look.finding(
            "never_null", f"{len(never)} column(s) may be null by declaration but never are: {_listed(never)}",
            observed=never[:20], evidence={"sample": look.sample},
        )  # fmt: skip


def _judge_text(look: _Look, profile: Sequence[_Profile]) -> Iterator[Finding]:
    texts = [p for p in profile if "blank" in p.counted]
    yield from _by_column(look, "padded_text", "values with spaces around them", texts, "padded")
    yield from _by_column(look, "lost_characters", "values in which characters were replaced by U+FFFD", texts, "lost")
    yield from _by_column(look, "nul_characters", "values with a NUL character inside", texts, "nul")
    garbled = [p for p in texts if p["mojibake"] and is_mojibake(str(p.counted.get("mojibake_example")))]
    yield from _by_column(look, "mojibake", "values whose bytes were read in the wrong code page", garbled, "mojibake")
    foreign = [p for p in texts if p["ebcdic"] and is_ebcdic(str(p.counted.get("ebcdic_example")))]
    yield from _by_column(look, "ebcdic", "values that are EBCDIC bytes read as Latin text", foreign, "ebcdic")
    commas = [p for p in texts if p.share("decimal_comma") >= HALF]
    yield from _by_column(look, "decimal_commas", "numbers kept as text with a decimal comma", commas, "decimal_comma")
    dated = {p.column.name for p in texts if _date_share(p) >= MOSTLY}
    digits = [p for p in texts if p.share("digits") == 1 and p.column.name not in dated]
    yield from _by_column(
        look, "digits_as_text", "values of digits only, kept as text", digits, "digits",
        lambda p: {"leading_zeros": p["leading_zero"]},
    )  # fmt: skip


def _date_share(p: _Profile) -> float:
    return sum(p.share(kind) for kind in DATE_SHAPES)


def _judge_dates(look: _Look, profile: Sequence[_Profile]) -> Iterator[Finding]:
    texts = [p for p in profile if "blank" in p.counted and p.filled > 0 and _date_share(p) >= MOSTLY]
    if texts:
        names = [p.column.name for p in texts]
        short = [p.column.name for p in texts if p["short_year"]]
        yield look.finding(
            "dates_as_text",
            f"{len(names)} column(s) hold dates as text: {_listed(names)}"
            + (f"; two-digit years in {_listed(short)}" if short else ""),
            observed=names,
            evidence={p.column.name: {k: p[k] for k in DATE_SHAPES if p[k]} for p in texts} | {"sample": look.sample},
        )  # fmt: skip
    found: dict[str, dict[str, int]] = {}
    for p in profile:
        days = (*SENTINELS, "infinity", "0000-00-00") if "blank" not in p.counted else ()
        seen = {day: p[day] for day in days if p[day]}
        if p in texts and p["zero_date"]:
            seen["0000-00-00"] = p["zero_date"]
        if seen:
            found[p.column.name] = seen
    if found:
        total = sum(n for days in found.values() for n in days.values())
        listed = "; ".join(f"{c}: " + ", ".join(f"{d} ({n:,})" for d, n in days.items()) for c, days in found.items())
        yield look.finding(
            "sentinel_dates", f"{total:,} dates stand for 'unknown' or 'never': {listed}",
            expected="null where a date is not known", observed=total, evidence={**found, "sample": look.sample},
        )  # fmt: skip


def _by_column(
    look: _Look, code: str, what: str, profile: Sequence[_Profile], kind: str, more: Any = lambda _p: {}
) -> Iterator[Finding]:
    hits = [p for p in profile if p[kind]]
    if not hits:
        return
    total = sum(p[kind] for p in hits)
    evidence: dict[str, Any] = {}
    for p in hits:
        example = p.counted.get(f"{kind}_example")
        evidence[p.column.name] = {"rows": p[kind], **more(p)} | (
            {"example": mask_value(example)} if example is not None else {}
        )
    yield look.finding(
        code, f"{total:,} {what}, in {_listed([p.column.name for p in hits])}",
        expected=0, observed=total, evidence={**evidence, "sample": look.sample},
    )  # fmt: skip


def is_mojibake(text: str) -> bool:
    """Whether some part of the text is UTF-8 that was read as cp1252 (or latin-1): its bytes spell another."""
    for match in re.finditer(MOJIBAKE, text):
        part = text[match.start() : match.end() + (1 if match.group() == "\u00e2\u20ac" else 0)]
        for codec in ("cp1252", "latin-1"):
            try:
                return part.encode(codec).decode("utf-8") != part
            except UnicodeError:
                continue
    return False


def is_ebcdic(text: str) -> bool:
    """Whether the characters, as bytes of a mainframe, spell plain words or numbers of more than one letter."""
    try:
        words = text.encode("latin-1").decode("cp037").strip()
    except UnicodeError:
        return False
    return bool(re.fullmatch(r"[A-Za-z0-9 .,/&'()-]+", words)) and len(set(words)) > 1


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


# --- keys, references, changes -------------------------------------------------------------------------------------


def _keys(look: _Look, version: str) -> Iterator[Finding]:
    """One grouping by the key under trim, case and Unicode form; only where it has text: numbers are never similar."""
    known = {c.name: c for c in look.schema.columns}
    promised = [p.physical_name for p in look.point.object.key if p.physical_name in known]
    names = list(look.schema.keys) or promised
    if not names or not any(is_text(known[n]) for n in names):
        return
    dialect = look.sql.dialect
    seen = [folded(dialect, look.name(n), version) if is_text(known[n]) else look.name(n) for n in names]
    texts = [_exact(dialect, look.name(n)) for n in names if is_text(known[n])]
    differ = " OR ".join(f"MIN({t}) <> MAX({t})" for t in texts)
    groups = f"SELECT COUNT(*) AS n FROM {look.table}{look.where} GROUP BY {', '.join(seen)} HAVING {differ}"
    found = look.ask(f"SELECT COUNT(*), SUM(n - 1) FROM ({groups}) g")[0]
    if found[0]:
        yield look.finding(
            "similar_keys",
            f"{int(found[1]):,} keys ({', '.join(names)}) are equal to another one but for case, spaces or "
            "how a letter is composed",
            expected=0, observed=int(found[1]), evidence={"groups": int(found[0])},
            business_effect="One customer or order is counted, written to and answered for as two.",
        )  # fmt: skip


def _references(look: _Look) -> Iterator[Finding]:
    """One anti-join for all references that the database does not enforce and the contract does not judge."""
    candidates = _candidates(look)
    if not candidates:
        return
    joins, sums = "", []
    for number, (column, table, key) in enumerate(candidates):
        target = look.sql.quoted(table)
        inner = f"SELECT DISTINCT {look.name(key)} AS k FROM {target}"
        joins += f" LEFT JOIN ({inner}) p{number} ON p{number}.k = t.{look.name(column)}"
        sums.append(_count(f"t.{look.name(column)} IS NOT NULL AND p{number}.k IS NULL"))
    source = look.source()
    rows = f"(SELECT * FROM {source}{look.where}) t"
    counted = look.ask(f"SELECT {', '.join(sums)} FROM {rows}{joins}")[0]
    orphans = {
        f"{column} -> {table}.{key}": int(n) for (column, table, key), n in zip(candidates, counted, strict=True) if n
    }
    if orphans:
        total = sum(orphans.values())
        listed = ", ".join(f"{path} ({n:,})" for path, n in orphans.items())
        yield look.finding(
            "orphans", f"{total:,} references lead nowhere: {listed}", expected=0, observed=total,
            evidence={**orphans, "sample": look.sample},
        )  # fmt: skip


def _candidates(look: _Look) -> list[tuple[str, str, str]]:
    """(column, table, key): declared where nothing enforces it, else a column named as another table's key."""
    promised = look.point.object
    relations = [*promised.relationships, *(r for p in promised.properties for r in p.relationships)]
    judged = {name for relation in relations for name in relation.columns}
    judged |= {p.physical_name for p in promised.properties if p.name in judged}
    found: list[tuple[str, str, str]] = []
    enforced = look.sql.dialect != "sqlite"
    for column in look.schema.columns:
        if column.references and column.name not in judged and not enforced:
            table, _, key = column.references.rpartition(".")
            found.append((column.name, table, key))
    taken = judged | set(look.schema.keys) | {c.name for c in look.schema.columns if c.references}
    suspects = [c for c in look.schema.columns if c.name not in taken and _refers(c.name)]
    if not suspects:
        return found
    for table in list(look.connector.objects())[:MAX_TABLES]:
        if table == str(look.ref):
            continue
        try:
            schema = look.connector.discover(table)
        except MissingObjectError:
            continue
        if len(schema.keys) != 1:
            continue
        key = schema.column(schema.keys[0])
        if key is not None:
            found += [
                (c.name, table, key.name) for c in suspects if key.type == c.type and _names(c.name, table, key.name)
            ]
    return found


def _refers(column: str) -> bool:
    return re.search(r"(?i)(_id|_no|_nr|_num|_number|_code|_key|id)$", column) is not None


def _names(column: str, table: str, key: str) -> bool:
    """Whether `customer_id` speaks of table `customers` with key `id`, or `customer_no` of one with that very key."""
    column, table, key = column.lower(), table.lower(), key.lower()
    stem = re.sub(r"_?(id|no|nr|num|number|code|key)$", "", column)
    own = re.sub(r"_?(id|no|nr|num|number|code|key)$", "", key)
    same_table = bool(stem) and table.rstrip("s") in {stem, stem.rstrip("s")}
    return (column == key and bool(own)) or (same_table and (own in {"", stem}))


def _watermark(look: _Look) -> Iterator[Finding]:
    import pyarrow.types as pt

    incremental = look.connector.facet(Incremental)
    column = None if incremental is None else incremental.watermark(look.ref)
    if column is None:
        stamps = [c.name for c in look.schema.columns if pt.is_timestamp(c.type)]
        yield look.finding(
            "no_watermark",
            f"{look.ref} has no column by which changes could be found"
            + (f" ({_listed(stamps)} may be one under another name)" if stamps else ""),
            expected="a column like updated_at", observed=stamps or "none",
            evidence={"deletes": "are invisible as well: only a full read shows them"},
            business_effect=f"Every sync reads all {look.rows:,} rows.",
        )  # fmt: skip
        return
    indexed = look.connector.facet(Indexed)
    indexes = None if indexed is None else indexed.indexes(look.ref)
    if indexes is None:
        look.notes.append("the driver does not say which columns are indexed")
    elif not any(columns and columns[0] == column for columns in indexes):
        yield look.finding(
            "watermark_not_indexed", f"{column} says what changed, but no index begins with it",
            expected=f"an index on {column}", observed=[", ".join(c) for c in indexes] or "no index",
            business_effect="Asking for what changed costs as much as reading everything.",
        )  # fmt: skip


# --- what the driver changed ---------------------------------------------------------------------------------------


def _driver(look: _Look, facts: Mapping[str, Any]) -> Iterator[Finding]:
    second = look.connector.facet(DriverText)
    if second is None:
        look.notes.append("this connector cannot read values a second time as text")
        return
    names = [c.name for c in look.schema.columns[:MAX_COLUMNS]]
    changed: list[Difference] = []
    for column, pairs in second.driver_text(look.ref, names, TEXT_ROWS):
        look.statements += 1
        declared = look.schema.column(column)
        changed += differences(column, declared.native if declared else "", pairs)
    for difference in changed:
        driver = str(facts.get("driver") or look.connector.kind)
        yield look.finding(
            "driver_changed",
            f"the driver {driver} {difference.what} in {difference.column}: "
            f"{difference.count} of the {difference.looked} values looked at",
            expected=mask_value(difference.text), observed=mask_value(difference.value),
            evidence={"column": difference.column, "kind": difference.kind, "driver": driver},
            business_effect="What arrives is not what the server holds, and nobody is told.",
            remedy=difference.remedy,
        )  # fmt: skip
