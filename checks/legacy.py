"""What twenty years do to a database: hazards of keys, dates, text, names and use, found by the database itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

from weighbridge.checks._legacy_columns import columns
from weighbridge.checks._legacy_driver import differences
from weighbridge.checks._legacy_keys import keys, watermark
from weighbridge.checks._legacy_look import Look, listed
from weighbridge.checks._legacy_operation import operation_findings
from weighbridge.checks._legacy_references import references
from weighbridge.checks._legacy_sql import needs_quotes
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
from weighbridge.connectors.base import DriverText, Sql
from weighbridge.contracts.models import IntegrationPoint

__all__ = ["LegacyCheck"]

TEXT_ROWS = 200
UNICODE = ("UTF8", "UTF16", "UTF32", "UCS2", "AL32UTF8")


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
        facts = evidence.probe.facts
        encoding = str(facts.get("encoding") or "").upper().replace("-", "")
        look = Look(
            point, connector, sql, evidence.schema, evidence.count_before.value, encoding, evidence.probe.version or ""
        )
        unseen: list[str] = []
        yield from _names(look)
        yield from look.tried(_code_pages, "the code pages", unseen)
        yield from look.tried(columns, "the columns", unseen)
        yield from look.tried(keys, "the keys", unseen)
        yield from look.tried(references, "the references", unseen)
        yield from look.tried(watermark, "what changed", unseen)
        driver = str(facts.get("driver") or connector.kind)
        yield from look.tried(lambda one: _driver(one, driver), "what the driver changed", unseen)
        yield from operation_findings(point, sql, evidence, context, look.notes)
        yield Measurement(
            "legacy", {"rows": look.rows, "sample": look.sample, "statements": look.statements, "notes": look.notes}
        )
        if unseen:
            raise Inconclusive(f"{point.id}: could not look at {'; '.join(unseen)}")


def _names(look: Look) -> Iterator[Finding]:
    awkward = [c.name for c in look.schema.columns if needs_quotes(look.sql.dialect, c.name)]
    table = [part for part in str(look.ref).split(".") if needs_quotes(look.sql.dialect, part)]
    if awkward or table:
        words = [f"the table's name {look.ref!s}"] if table else []
        words += [f"{len(awkward)} column(s): {listed(awkward)}"] if awkward else []
        yield look.finding(
            "awkward_names", f"must be quoted in every statement: {'; '.join(words)}",
            observed=(table + awkward)[:20], evidence={"table": table, "columns": len(awkward)},
        )  # fmt: skip


def _code_pages(look: Look) -> Iterator[Finding]:
    """The database's encoding, and in MySQL's family that of each column."""
    said: list[str] = []
    if look.encoding and not look.encoding.startswith(UNICODE):
        more = ": it checks nothing, so any bytes may stand there" if look.encoding == "SQL_ASCII" else ""
        said.append(f"the database stores text as {look.encoding}{more}")
    odd: dict[str, str] = {}
    if look.dialect == "mysql":
        space, _, table = str(look.ref).replace("'", "''").rpartition(".")
        place = f"'{space}'" if space else "DATABASE()"
        rows = look.ask(
            "SELECT column_name, character_set_name FROM information_schema.columns "
            f"WHERE table_schema = {place} AND table_name = '{table}' AND character_set_name IS NOT NULL"
        )
        odd = {str(name): str(page) for name, page in rows if not str(page).upper().startswith((*UNICODE, "ASCII"))}
        said += [
            f"{len(odd)} column(s) are not Unicode: {listed([f'{n} ({page})' for n, page in odd.items()])}"
        ] * bool(odd)
    if said:
        yield look.finding(
            "code_page", "; ".join(said), expected="UTF8", observed=look.encoding, evidence=dict(odd),
        )  # fmt: skip


def _driver(look: Look, driver: str) -> Iterator[Finding]:
    second = look.connector.facet(DriverText)
    if second is None:
        look.notes.append("this connector cannot read values a second time as text")
        return
    names = [c.name for c in look.schema.columns]
    compared: set[str] = set()
    for column, pairs in second.driver_text(look.ref, names, TEXT_ROWS):
        if not pairs or any(text is not None or value is None for value, text in pairs):
            compared.add(column)
        declared = look.schema.column(column)
        for difference in differences(column, declared.native if declared else "", pairs):
            yield look.finding(
                "driver_changed",
                f"the driver {driver} {difference.what} in {difference.column}: "
                f"{difference.count} of the {difference.looked} values looked at",
                expected=mask_value(difference.text), observed=mask_value(difference.value),
                evidence={"column": difference.column, "kind": difference.kind, "driver": driver},
                business_effect="What arrives is not what the server holds, and nobody is told.",
                remedy=difference.remedy,
            )  # fmt: skip
    if left := [name for name in names if name not in compared]:
        look.notes.append(f"the server has no text for {listed(left)}: what the driver makes of it was not compared")
