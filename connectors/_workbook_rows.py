"""Turns the regions of an object into pages: profiles their columns, gathers their rows, and says how they differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.connectors._workbook_arrow import Profile, convert, fitted
from weighbridge.connectors._workbook_book import within
from weighbridge.connectors._workbook_table import Batch, Region, rows_of
from weighbridge.connectors.base import Column, Misfit, Observation, Page, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Known",
    "Pending",
    "Ready",
    "all_fitted",
    "batches",
    "differences",
    "drop_empty",
    "holds",
    "keepable",
    "origin_columns",
    "profile_region",
    "take",
]

KEPT_CELLS = 8_000_000
"""Cells of an object that are kept as Arrow from the first look (at 8 to 20 bytes each) instead of read again."""
FILE_COLUMN, SHEET_COLUMN = "_file", "_sheet"


@dataclass(slots=True)
class Known:
    """An object that was looked at: its regions, its columns and its number of rows."""

    stamps: tuple[tuple[Path, tuple[int, int]], ...]
    regions: list[Region]
    schema: TableSchema
    rows: int
    observations: tuple[Observation, ...] = ()
    ready: list[Ready] | None = None
    """All rows, where every column is of one kind and nothing would be a misfit: then they are not read twice."""


@dataclass(slots=True)
class Ready:
    """A batch that was turned into Arrow while it was looked at."""

    rows: int
    left_out: int
    columns: dict[str, pa.Array]


@dataclass(slots=True)
class Pending:
    """Arrow columns gathered up to a page."""

    batches: list[pa.RecordBatch] = field(default_factory=list)
    misfits: list[Misfit] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    rows: int = 0
    left_out: int = 0
    """Blank and totals rows since the last page."""


def holds(region: Region, key: tuple[Any, ...], columns: tuple[str, ...]) -> bool:
    """Whether a row has the key: in its columns where they are known, else anywhere."""
    wanted = [float(k) if isinstance(k, int) and not isinstance(k, bool) else k for k in key]
    offsets = dict(zip(region.names, region.kept, strict=True))
    at = [offsets[name] for name in columns if name in offsets]
    for batch in rows_of(region):
        for row in batch.rows:
            if (
                all(row[i] == w for i, w in zip(at, wanted, strict=True))
                if len(at) == len(wanted)
                else all(w in row for w in wanted)
            ):
                return True
    return False


def batches(
    known: Known, region: Region, wanted: list[Column], schema: pa.Schema, skip: int
) -> Iterator[tuple[int, int, tuple[pa.RecordBatch, list[Misfit]] | None]]:
    """(rows, rows left out, Arrow rows with their misfits) of a region; nothing of its first `skip` rows."""
    import pyarrow as pa

    if known.ready is not None:
        for ready in known.ready:
            before, skip = min(skip, ready.rows), max(0, skip - ready.rows)
            arrays = [ready.columns[c.name].slice(before) for c in wanted]
            rest = (pa.RecordBatch.from_arrays(arrays, schema=schema), []) if before < ready.rows else None
            yield ready.rows, ready.left_out, rest
        return
    for batch in rows_of(region):
        count = len(batch.rows)
        before, skip = min(skip, count), max(0, skip - count)
        if before:
            batch.numbers, batch.rows = batch.numbers[before:], batch.rows[before:]
        yield count, batch.left_out, _converted(region, batch, wanted, schema) if batch.rows else None


def _converted(
    region: Region, batch: Batch, wanted: list[Column], schema: pa.Schema
) -> tuple[pa.RecordBatch, list[Misfit]]:
    """A batch in the wanted columns; those the region lacks are null, its origin where it is asked for."""
    import pyarrow as pa

    count = len(batch.rows)
    offsets = dict(zip(region.names, region.kept, strict=True))
    present = [(offsets[c.name], c.name, c.type) for c in wanted if c.name in offsets]
    arrays, misfits = convert(batch, region, present)
    by_name = dict(zip((name for _, name, _ in present), arrays, strict=True))
    origin = {FILE_COLUMN: region.book.path.name, SHEET_COLUMN: region.sheet.name}
    ready = [
        by_name[c.name]
        if c.name in by_name
        else pa.array([origin[c.name]] * count, pa.string())
        if c.name in origin
        else pa.nulls(count, c.type)
        for c in wanted
    ]
    return pa.RecordBatch.from_arrays(ready, schema=schema), misfits


def keepable(region: Region) -> bool:
    """Whether the rows may be kept from the first look: not too many, and no cell that values do not show rightly."""
    scan = region.book.scan(region.sheet)
    if scan.last_row * max(1, len(region.kept)) > KEPT_CELLS:
        return False
    last = region.last or scan.last_row
    marks = (scan.errors, scan.uncached, scan.no_dates, scan.long_numbers)
    return not any(len(m) and len(within(m.packed, region.first, last, region.left, region.right)) for m in marks)


def all_fitted(ready: list[Ready], schema: TableSchema) -> list[Ready] | None:
    """The kept batches in the columns' final types; None where one does not fit."""
    for batch in ready:
        columns: dict[str, pa.Array] = {}
        for column in schema.columns:
            array = fitted(batch.columns[column.name], column.type) if column.name in batch.columns else None
            if array is None:
                return None
            columns[column.name] = array
        batch.columns = columns
    return ready


def profile_region(
    region: Region, profiles: dict[str, Profile], observations: list[Observation], ready: list[Ready] | None
) -> int:
    """Count the types of the region's columns into `profiles`; returns its data rows. `ready` keeps what it can."""
    import pyarrow as pa

    scan = region.book.scan(region.sheet)
    rows = 0
    last = region.first - 1
    own = [profiles.setdefault(name, Profile()) for name in region.names]
    for batch in rows_of(region):
        observations.extend(o for o in batch.observations if o not in observations)
        if not batch.rows:
            if ready is not None:
                ready.append(Ready(0, batch.left_out, {name: pa.nulls(0) for name in region.names}))
            continue
        rows += len(batch.rows)
        last = batch.numbers[-1]
        turned = list(zip(*batch.rows, strict=True))
        kept = [p.add(turned[o], keep=ready is not None) for o, p in zip(region.kept, own, strict=True)]
        if ready is not None:
            named = {name: array for name, array in zip(region.names, kept, strict=True) if array is not None}
            ready.append(Ready(len(batch.rows), batch.left_out, named))
    for offset, profile in zip(region.kept, own, strict=True):
        column = region.left + offset
        kinds = scan.counts(column)
        profile.timed |= kinds.get("datetime", 0) > 0
        for marks in (scan.errors, scan.uncached, scan.no_dates):
            if len(marks):
                profile.marked += len(within(marks.packed, region.first, last, column, column))
        if len(scan.long_numbers):
            inside = within(scan.long_numbers.packed, region.first, last, column, column).tolist()
            raws = [scan.long_numbers.raw[p] for p in inside]
            digits = [len(raw.lstrip("-")) for raw in raws if raw.lstrip("-").isdigit()]
            if digits:
                profile.long_digits = max(profile.long_digits, *digits)
                profile.whole |= profile.types.get(float, 0) == len(raws)
    return rows


def drop_empty(found: list[Region], profiles: dict[str, Profile]) -> Iterator[Observation]:
    """Forget columns without header and without data; say which have data but no header."""
    for region in found:
        with_data = {name: letters for name, letters in region.unnamed.items() if not profiles[name].empty}
        if with_data:
            yield Observation(
                "blank_headers",
                f"{region.sheet.name}: column(s) {', '.join(with_data.values())} hold data without a header; "
                f"they are named {', '.join(with_data)}.",
                {"columns": list(with_data.values()), "sheet": region.sheet.name},
            )
    for name in {name for region in found for name in region.unnamed}:
        if profiles[name].empty:
            del profiles[name]


def differences(found: list[Region]) -> Iterator[Observation]:
    first = found[0]
    for region in found[1:]:
        if set(region.names) != set(first.names):
            gone = sorted(set(first.names) - set(region.names))
            new = sorted(set(region.names) - set(first.names))
            where = f"{region.book.path.name}, sheet {region.sheet.name}"
            yield Observation(
                "columns_differ",
                f"{where}: its columns are not those of {first.book.path.name}: "
                f"missing {gone or 'none'}, new {new or 'none'}.",
                {"file": region.book.path.name, "sheet": region.sheet.name, "missing": gone, "new": new},
            )


def origin_columns(found: list[Region], profiles: dict[str, Profile]) -> list[Column]:
    import pyarrow as pa

    out = []
    if len({r.book.path for r in found}) > 1 and FILE_COLUMN not in profiles:
        out.append(Column(FILE_COLUMN, pa.string(), False, "file name"))
    if len({(r.book.path, r.sheet.name) for r in found}) > len({r.book.path for r in found}):
        out.append(Column(SHEET_COLUMN, pa.string(), False, "sheet name"))
    return out


def take(pending: Pending, size: int, schema: pa.Schema) -> tuple[Page, Pending]:
    """The first `size` rows as a page, and what is left."""
    import pyarrow as pa

    table = pa.Table.from_batches(pending.batches, schema=schema)
    first = table.slice(0, size).combine_chunks().to_batches()
    batch = first[0] if first else pa.RecordBatch.from_pylist([], schema=schema)
    raw = size + pending.left_out if pending.left_out else None
    own = tuple(m for m in pending.misfits if m.row < size)
    page = Page(batch, (), 0.0, 0, own, None, tuple(pending.observations), raw)
    later = [Misfit(m.row - size, m.column, m.raw, m.reason) for m in pending.misfits if m.row >= size]
    return page, Pending(table.slice(size).to_batches(), later, [], pending.rows - size)
