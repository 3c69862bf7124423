"""Whether every row of the object was read, each once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from weighbridge.checks._incremental import asked, books_of, first, incremental, late, quoted, watermark_of
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
from weighbridge.connectors.base import Count
from weighbridge.contracts.models import IntegrationPoint

if TYPE_CHECKING:
    import duckdb

__all__ = ["CUT_CODES", "CompletenessCheck"]

CUT_CODES = frozenset(
    {"rows_cut", "rows_hidden", "rows_limited", "row_security", "row_level_security", "sharing_limited"}
)
"""Observations with one of these codes, or with `cuts_rows` true in their data, say that this user sees less."""
UNSTABLE_CODES = frozenset({"unstable_paging", "page_overlap"})
"""Observations that say that the pages of this read were not cut by key."""
SAMPLES = 5


class CompletenessCheck:
    """Every row once: rows read against rows counted before and after, keys, page seams, incremental against full.

    Breaks in production
        A pilot of ten users reads the first page and looks fine. In production the last page is dropped, an unstable
        order shows one customer twice and another never, a row that is inserted while pages are read shifts the seam,
        or the integration user simply is not allowed to see half of the rows. Totals are then wrong without an error.

    Fix
        Page by key (or by the system's own cursor), never by offset over an unstable order; compare with a count
        taken before and after; give the integration user the rights the contract assumes, or declare the number of
        rows it must see as customProperty weighbridge.expected_rows.
    """

    name = "completeness"
    needs = ("count_before", "landing", "count_after")
    facets = ()
    cost = "read"
    codes = (
        Code(
            "completeness.rows_missing",
            Severity.BREAK,
            "Read by key or by the system's own cursor until it says that there is no more; compare with its count.",
        ),
        Code(
            "completeness.rows_unexpected",
            Severity.BREAK,
            "Find which rows the count leaves out: a filter, a totals row, or rows that are read twice.",
        ),
        Code(
            "completeness.read_twice",
            Severity.BREAK,
            "Order the pages by a unique key; an offset over an unstable order repeats some rows and loses others.",
        ),
        Code(
            "completeness.page_repeated",
            Severity.BREAK,
            "The system gives the same continuation twice: report it to its vendor and page by key.",
        ),
        Code(
            "completeness.page_unaccounted",
            Severity.BREAK,
            "Rows of a page got lost between the wire and the landing; report it with the report's page numbers.",
        ),
        Code(
            "completeness.rows_skipped",
            Severity.INFO,
            "Make sure that the rows left out (blank lines, a totals row) are no data.",
        ),
        Code(
            "completeness.misfits_unaccounted",
            Severity.BREAK,
            "A value that did not fit its type was neither kept raw nor set to null; report it.",
        ),
        Code(
            "completeness.changed_while_reading",
            Severity.INFO,
            "Nothing to do where the difference is explained; read at a quiet hour to be exact.",
        ),
        Code(
            "completeness.expected_rows",
            Severity.BREAK,
            "Give the integration user access to the missing rows, or correct weighbridge.expected_rows.",
        ),
        Code(
            "completeness.incremental_misses",
            Severity.BREAK,
            "Read changes with 'at or after' the last value and drop what is known by key; 'after' loses ties.",
        ),
        Code(
            "completeness.unstable_pages",
            Severity.WARN,
            "Page by key where the system can compare keys; else read at a quiet hour and compare with the count.",
        ),
        Code(
            "completeness.noticed",
            Severity.INFO,
            "Read what the connector saw while it paged; nothing was judged.",
        ),
        Code(
            "completeness.incremental_blind",
            Severity.WARN,
            "Fill the change column for every row, by default and by trigger, or read this object in full.",
        ),
        Code(
            "completeness.incremental_deletes",
            Severity.INFO,
            "Compare the keys with a full read from time to time, or ask for a log of deletes. Who follows the changes "
            "only says so by weighbridge.incremental: true, and is warned.",
        ),
        Code(
            "completeness.incremental_local_time",
            Severity.INFO,
            "Keep times with their zone (UTC), or read the changes with an overlap of two hours.",
        ),
        Code(
            "completeness.incremental_late",
            Severity.WARN,
            "Read the changes with an overlap as long as the longest transaction or batch, and drop what is known by "
            "key.",
        ),
    )

    def __call__(self, point: IntegrationPoint, evidence: Evidence, context: Context) -> Iterable[Result]:
        before, landing, after = evidence.count_before, evidence.landing, evidence.count_after
        cut = _cut(evidence, landing)
        expected = point.object.expected_rows
        with closing(landing.connect()) as database:
            twice = _read_twice(database, landing)
            findings = [
                *_pages(point, landing),
                *_misfits(point, database, landing),
                *_twice(point, evidence, twice),
                *_counted(point, before, after, landing, twice["rows"] if _systems_own(evidence, landing) else 0),
            ]
            if expected is not None and landing.rows != expected:
                findings.append(_expected(point, expected, landing.rows))
            column = watermark_of(point, landing, context)
            books = books_of(database, landing, column)
            if column is not None:
                findings += incremental(point, database, landing, context, column, steady=before == after)
                findings += late(point, database, landing, context, books)
            findings += _noticed(point, landing)
        yield from findings
        yield Measurement(
            "completeness",
            {
                "counted_before": before.value,
                "counted_after": after.value,
                "exact": before.exact and after.exact,
                "read": landing.rows,
                "distinct_keys": twice["keys"],
                "pages": len(landing.pages),
                "misfits": landing.misfits,
                "watermark": books,
            },
        )
        if any(_severity(self, f) is Severity.BREAK for f in findings):
            return
        if cut is not None and expected is None:
            raise Inconclusive(
                f"{point.id}: {landing.rows:,} rows were read, but the system says that this user does not see all "
                f"rows ({cut}).",
                remedy="Give the integration user the rights to see all rows, or declare the number it must see as "
                "customProperty weighbridge.expected_rows.",
            )
        if not (before.exact or after.exact) and expected is None:
            raise Inconclusive(
                f"{point.id}: {landing.rows:,} rows were read, but the system only estimates its number of rows "
                f"({before.value:,}), so completeness cannot be proved.",
                remedy="Declare the number of rows as customProperty weighbridge.expected_rows.",
            )


def _severity(check: CompletenessCheck, finding: Finding) -> Severity:
    return finding.severity or next(code.severity for code in check.codes if code.name == finding.code)


def _cut(evidence: Evidence, landing: Landing) -> str | None:
    """The system's word that this user sees only part of the rows."""
    seen = [*landing.observations]
    seen += [*evidence.schema.observations, *evidence.probe.observations]
    for observation in seen:
        if observation.code in CUT_CODES or observation.data.get("cuts_rows") is True:
            return observation.message
    return None


def _noticed(point: IntegrationPoint, landing: Landing) -> Iterator[Finding]:
    """What the connector saw while it paged, each kind once; what cuts rows is answered as inconclusive instead."""
    told: set[str] = set()
    for observation in landing.observations:
        if observation.code in told or observation.code in CUT_CODES or observation.data.get("cuts_rows") is True:
            continue
        told.add(observation.code)
        unstable = observation.code in UNSTABLE_CODES
        yield Finding(
            "completeness.unstable_pages" if unstable else "completeness.noticed",
            f"{point.id}: {observation.message}",
            observed=observation.code,
            evidence=dict(observation.data),
            business_effect="A row that others change meanwhile may be missing from lists and sums."
            if unstable
            else "",
        )


def _systems_own(evidence: Evidence, landing: Landing) -> bool:
    """Whether the landing's key is one that the system itself keeps unique: then a second row is our reading."""
    return bool(landing.keys) and set(landing.keys) == set(evidence.schema.keys)


def _read_twice(database: duckdb.DuckDBPyConnection, landing: Landing) -> dict[str, Any]:
    """Keys, rows beyond the first of theirs, how many of those lie on another page, and a few of the pages."""
    if not landing.keys:
        return {"keys": None, "rows": 0, "other_page": 0, "pages": []}
    keys = ", ".join(quoted(k) for k in landing.keys)
    whole = " AND ".join(f"{quoted(k)} IS NOT NULL" for k in landing.keys)
    table = quoted(landing.table)
    grouped = (
        f"SELECT count(*) AS n, min(_wb_page) AS low, max(_wb_page) AS high FROM {table} WHERE {whole} GROUP BY {keys}"
    )
    totals = first(
        database,
        "SELECT count(*), coalesce(sum(n - 1), 0), coalesce(sum(CASE WHEN high > low THEN n - 1 ELSE 0 END), 0) "
        f"FROM ({grouped})",
    )
    seams = asked(
        database,
        f"SELECT low, high, count(*) FROM ({grouped}) WHERE n > 1 "
        f"GROUP BY low, high ORDER BY low, high LIMIT {SAMPLES}",
    )
    distinct, rows, other_page = totals or (0, 0, 0)
    return {
        "keys": int(distinct),
        "rows": int(rows),
        "other_page": int(other_page),
        "pages": [{"first_on_page": low + 1, "again_on_page": high + 1, "keys": n} for low, high, n in seams],
    }


def _twice(point: IntegrationPoint, evidence: Evidence, twice: dict[str, Any]) -> Iterator[Finding]:
    landing = evidence.landing
    # A contract's key that the system does not enforce may simply be broken in the data: that is quality's finding.
    if not twice["rows"] or not _systems_own(evidence, landing):
        return
    yield Finding(
        "completeness.read_twice",
        f"{point.id}: {twice['rows']:,} of {landing.rows:,} rows came with a key that had been read before, "
        f"{twice['other_page']:,} of them on another page.",
        expected="every key once",
        observed=twice["rows"],
        evidence={"keys": list(landing.keys), "seams": twice["pages"]},
        business_effect="Sums and lists count these records twice, and as many others may be missing.",
    )


def _counted(point: IntegrationPoint, before: Count, after: Count, landing: Landing, twice: int) -> Iterator[Finding]:
    if not (before.exact or after.exact):
        return
    counts = [c.value for c in (before, after) if c.exact]
    low, high = min(counts), max(counts)
    read = landing.rows - twice
    span = f"{low:,}" if low == high else f"{low:,} to {high:,} (it changed while it was read)"
    if read < low:
        yield Finding(
            "completeness.rows_missing",
            f"{point.id}: the system counts {span} rows, {read:,} different ones were read: {low - read:,} are "
            "missing.",
            expected=low,
            observed=read,
            evidence={"pages": len(landing.pages), "last_page_rows": landing.pages[-1].rows if landing.pages else 0},
            business_effect=f"{low - read:,} records do not exist for whoever works with what was read.",
        )
    elif read > high:
        yield Finding(
            "completeness.rows_unexpected",
            f"{point.id}: the system counts {span} rows, {read:,} were read: {read - high:,} too many.",
            expected=high,
            observed=read,
            evidence={"pages": len(landing.pages)},
            business_effect="Sums and lists hold records that the system does not count.",
        )
    elif low != high:
        yield Finding(
            "completeness.changed_while_reading",
            f"{point.id}: the number of rows went from {before.value:,} to {after.value:,} while it was read; "
            f"{read:,} read lies between. Up to {high - low:,} rows are not proved.",
            expected=before.value,
            observed=after.value,
        )


def _pages(point: IntegrationPoint, landing: Landing) -> Iterator[Finding]:
    place, skipped = 0, 0
    cursors: dict[str, int] = {}
    for page in landing.pages:
        if page.first_row != place:
            yield Finding(
                "completeness.page_unaccounted",
                f"{point.id}: page {page.number + 1} begins at row {page.first_row:,}, {place:,} was expected.",
                expected=place,
                observed=page.first_row,
                business_effect="Rows are missing between two pages, or stand there twice.",
            )
        place = page.first_row + page.rows
        skipped += max(0, (page.raw_rows if page.raw_rows is not None else page.rows) - page.rows)
        if page.cursor is not None and page.cursor in cursors and page.rows:
            yield Finding(
                "completeness.page_repeated",
                f"{point.id}: page {page.number + 1} ends with the same continuation as page "
                f"{cursors[page.cursor] + 1}.",
                expected="a new continuation on every page",
                observed="the same one twice",
                business_effect="The same rows come again; others may never come.",
            )
        elif page.cursor is not None:
            cursors[page.cursor] = page.number
    if place != landing.rows:
        yield Finding(
            "completeness.page_unaccounted",
            f"{point.id}: the pages hold {place:,} rows, {landing.rows:,} were landed.",
            expected=place,
            observed=landing.rows,
            business_effect="Rows are missing between two pages, or stand there twice.",
        )
    if skipped:
        yield Finding(
            "completeness.rows_skipped",
            f"{point.id}: the system sent {skipped:,} rows that were left out as no data.",
            expected=0,
            observed=skipped,
        )


def _misfits(point: IntegrationPoint, database: duckdb.DuckDBPyConnection, landing: Landing) -> Iterator[Finding]:
    """Every value that did not fit is kept raw, and its place in the rows is empty."""
    table, kept = quoted(landing.table), quoted(f"{landing.table}__misfits")
    found = asked(database, f"SELECT column_name, count(*) FROM {kept} GROUP BY column_name")
    wrong = landing.misfits - sum(int(n) for _, n in found)
    for column, _ in found:
        if column not in landing.columns:
            continue
        row = first(
            database,
            f"SELECT count(*) FROM {kept} m LEFT JOIN {table} t ON t._wb_row = m.row "
            f"WHERE m.column_name = ? AND (t._wb_row IS NULL OR t.{quoted(column)} IS NOT NULL)",
            [column],
        )
        wrong += int(row[0]) if row else 0
    if wrong:
        yield Finding(
            "completeness.misfits_unaccounted",
            f"{point.id}: {abs(wrong):,} values that did not fit their type are not accounted for.",
            expected=0,
            observed=abs(wrong),
            business_effect="A value was lost or changed on its way without being noted.",
        )


def _expected(point: IntegrationPoint, expected: int, read: int) -> Finding:
    return Finding(
        "completeness.expected_rows",
        f"{point.id}: the contract says that {expected:,} rows must be seen, {read:,} were read.",
        expected=expected,
        observed=read,
        business_effect="The user that reads does not see what the business has, or the contract is out of date.",
    )
