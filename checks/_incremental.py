"""Whether reading the changes brings what a full read brings: ties, late rows, deletes, the doubled hour of autumn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from weighbridge.checks.base import Context, Finding, Landing, Severity
from weighbridge.connectors.base import Incremental, ObjectRef
from weighbridge.contracts.models import IntegrationPoint

if TYPE_CHECKING:
    import duckdb

__all__ = ["asked", "books_of", "first", "incremental", "late", "quoted", "watermark_of"]

TAIL_ROWS = 2_000
DOUBLED_ROWS = 20_000
"""Changes since a doubled hour are read again where there are no more of them."""


def asked(database: duckdb.DuckDBPyConnection, query: str, values: list[Any] | None = None) -> list[Any]:
    return database.execute(query, values).fetchall()  # read whole, so that the connection is free again


def first(database: duckdb.DuckDBPyConnection, query: str, values: list[Any] | None = None) -> Any:
    rows = asked(database, query, values)
    return rows[0] if rows else None


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def watermark_of(point: IntegrationPoint, landing: Landing, context: Context) -> str | None:
    """The column that moves when a record changes, where changes can be read and it was landed."""
    facet = context.connector().facet(Incremental)
    if facet is None or not landing.rows:
        return None
    column = facet.watermark(ObjectRef(point.object.physical_name, point.object.filter))
    return column if column in landing.columns else None


def incremental(
    point: IntegrationPoint,
    database: duckdb.DuckDBPyConnection,
    landing: Landing,
    context: Context,
    column: str,
    *,
    steady: bool,
) -> Iterator[Finding]:
    """Rows read again as changes: since a value that several of the newest share, and since a doubled hour."""
    facet = context.connector().facet(Incremental)
    if facet is None:
        return
    ref = ObjectRef(point.object.physical_name, point.object.filter)
    table, name = quoted(landing.table), quoted(column)
    counted = first(database, f"SELECT count(*) - count({name}) FROM {table}")
    blind = int(counted[0]) if counted else 0
    if blind:
        yield Finding(
            "completeness.incremental_blind",
            f"{point.id}: {blind:,} of {landing.rows:,} rows have no {column}; reading changes never sees them.",
            expected=0,
            observed=blind,
            evidence={"column": column},
            business_effect="Whoever follows the changes only never gets these records.",
        )
    followed = point.object.custom.get("weighbridge.incremental") is True
    if not getattr(facet, "tells_deletes", False):
        yield Finding(
            "completeness.incremental_deletes",
            f"{point.id}: reading changes by {column} never tells that a record was deleted.",
            expected="deletes are told",
            observed="records that are there only",
            evidence={"column": column},
            business_effect="Whoever follows the changes only keeps deleted records for ever.",
            severity=Severity.WARN if followed else None,
        )
    kind = str((first(database, f"SELECT typeof({name}) FROM {table} LIMIT 1") or ("",))[0])
    if kind.startswith("TIMESTAMP") and "WITH TIME ZONE" not in kind:
        yield Finding(
            "completeness.incremental_local_time",
            f"{point.id}: {column} has no time zone; where it is local time, an hour comes twice every autumn.",
            expected="a time with zone",
            observed=kind,
            evidence={"column": column},
            business_effect="Changes of the doubled hour are read twice or never.",
            severity=Severity.WARN if followed else None,
        )
    if not steady or not landing.keys:
        return  # rows came or went meanwhile: what the two readings differ by would prove nothing
    for since in (_since(database, landing, column), _doubled_hour(point, database, landing, column)):
        if since is not None:
            text, value = since
            changed = facet.changes(ref, text, columns=[*landing.keys])
            yield from _missed(point, database, landing, column, value, changed)


def books_of(database: duckdb.DuckDBPyConnection, landing: Landing, column: str | None) -> dict[str, Any] | None:
    """The newest change and how many rows lie before it: what the next run compares with."""
    if column is None:
        return None
    table, name = quoted(landing.table), quoted(column)
    row = first(
        database,
        f"SELECT max({name})::VARCHAR, count(*) FILTER ({name} < (SELECT max({name}) FROM {table})) FROM {table}",
    )
    if row is None or row[0] is None:
        return None
    return {"column": column, "newest": row[0], "rows_before": int(row[1])}


def late(
    point: IntegrationPoint,
    database: duckdb.DuckDBPyConnection,
    landing: Landing,
    context: Context,
    books: dict[str, Any] | None,
) -> Iterator[Finding]:
    """Rows that lie before the newest change of the last run and were not there then."""
    earlier = (context.previous or {}).get("watermark")
    if books is None or not isinstance(earlier, dict) or earlier.get("column") != books["column"]:
        return
    kind = _type_of(database, landing, books["column"])
    row = first(
        database,
        f"SELECT count(*) FROM {quoted(landing.table)} WHERE {quoted(books['column'])} < try_cast(? AS {kind})",
        [earlier["newest"]],
    )
    behind = (int(row[0]) if row else 0) - int(earlier["rows_before"])
    # Changes and deletes only take rows away from there; more than before can only have come late.
    if behind > 0:
        yield Finding(
            "completeness.incremental_late",
            f"{point.id}: at least {behind:,} rows came after the last run with a {books['column']} before the "
            f"newest one of then ({earlier['newest']}).",
            expected=0,
            observed=behind,
            evidence={"column": books["column"], "since": str(earlier["newest"])},
            business_effect="Whoever reads on from the newest change never gets these records.",
        )


def _since(database: duckdb.DuckDBPyConnection, landing: Landing, column: str) -> tuple[str, Any] | None:
    """A value of the change column with at most some hundred rows at or after it, as ISO text and as it is."""
    table, name = quoted(landing.table), quoted(column)
    kind = first(database, f"SELECT typeof({name}) FROM {table} LIMIT 1")
    if kind is None or not str(kind[0]).startswith("TIMESTAMP"):
        return None
    row = first(
        database,
        f"SELECT {name}::VARCHAR, count(*) OVER (ORDER BY {name} DESC) AS newer FROM {table} "
        f"WHERE {name} IS NOT NULL QUALIFY newer <= {TAIL_ROWS} ORDER BY {name} LIMIT 1",
    )
    if row is None:
        return None
    iso = first(
        database,
        "SELECT strftime(?::TIMESTAMPTZ AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%f')"
        if "WITH TIME ZONE" in str(kind[0])
        else "SELECT strftime(?::TIMESTAMP, '%Y-%m-%dT%H:%M:%S.%f')",
        [row[0]],
    )
    return (f"{iso[0]}+00:00", row[0]) if iso else None


def _doubled_hour(
    point: IntegrationPoint, database: duckdb.DuckDBPyConnection, landing: Landing, column: str
) -> tuple[str, Any] | None:
    """The first change within the newest hour that the contract's time zone had twice, where rows lie in it."""
    if "WITH TIME ZONE" not in _type_of(database, landing, column):
        return None
    table, name = quoted(landing.table), quoted(column)
    ends = first(database, f"SELECT epoch(min({name})), epoch(max({name})) FROM {table}")
    if ends is None or ends[0] is None:
        return None
    for moment in _autumns(point.scale.timezone, ends[0], ends[1]):
        row = first(
            database,
            f"SELECT first_row::VARCHAR, (SELECT count(*) FROM {table} WHERE {name} >= first_row) FROM (SELECT "
            f"min({name}) AS first_row FROM {table} WHERE epoch({name}) >= ? AND epoch({name}) < ?)",
            [moment - 3600, moment + 3600],
        )
        if row is not None and row[0] is not None and row[1] <= DOUBLED_ROWS:
            iso = first(
                database, "SELECT strftime(?::TIMESTAMPTZ AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%f')", [row[0]]
            )
            return (f"{iso[0]}+00:00", row[0]) if iso else None
    return None


def _autumns(zone: str, first: float, last: float) -> Iterator[float]:
    """Moments (Unix seconds) at which clocks of the zone went back, the newest first, within the span and 20 years."""
    where = ZoneInfo(zone)
    hour = int(last) // 3600 + 1
    oldest = max(int(first) // 3600, hour - 24 * 366 * 20)
    while hour > oldest:
        step = min(24 * 7, hour - oldest)
        late, early = (_offset(where, h) for h in (hour, hour - step))
        if late < early:
            turn = next(h for h in range(hour - step + 1, hour + 1) if _offset(where, h) < _offset(where, h - 1))
            yield turn * 3600.0
        hour -= step


def _offset(zone: ZoneInfo, hour: int) -> float:
    found = datetime.fromtimestamp(hour * 3600, zone).utcoffset()
    return found.total_seconds() if found is not None else 0.0


def _missed(
    point: IntegrationPoint,
    database: duckdb.DuckDBPyConnection,
    landing: Landing,
    column: str,
    value: Any,
    pages: Iterable[Any],
) -> Iterator[Finding]:
    import pyarrow as pa

    batches = [page.batch.select(list(landing.keys)) for page in pages]
    table, name = quoted(landing.table), quoted(column)
    wanted = f"SELECT * FROM {table} WHERE {name} >= ?::{_type_of(database, landing, column)}"
    if batches:
        database.register("changed", pa.Table.from_batches(batches))
        same = " AND ".join(f"c.{quoted(k)}::VARCHAR = w.{quoted(k)}::VARCHAR" for k in landing.keys)
        missing = f"SELECT count(*) FROM ({wanted}) w WHERE NOT EXISTS (SELECT 1 FROM changed c WHERE {same})"
    else:
        missing = f"SELECT count(*) FROM ({wanted})"
    try:
        row = first(database, missing, [value])
    finally:
        if batches:
            database.unregister("changed")
    lost = int(row[0]) if row else 0
    if lost:
        yield Finding(
            "completeness.incremental_misses",
            f"{point.id}: of the rows whose {column} is at or after {value}, {lost:,} do not come when the changes "
            "since then are read.",
            expected=0,
            observed=lost,
            evidence={"column": column, "since": str(value)},
            business_effect="Whoever follows the changes only never gets these records.",
        )


def _type_of(database: duckdb.DuckDBPyConnection, landing: Landing, column: str) -> str:
    row = first(database, f"SELECT typeof({quoted(column)}) FROM {quoted(landing.table)} LIMIT 1")
    return str(row[0]) if row else "TIMESTAMP"
