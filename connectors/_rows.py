"""Turns the JSON rows of one answer into a `Page`: Arrow columns, misfits, and the seams to the page before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter, itemgetter
from typing import Any

import pyarrow as pa

from weighbridge.connectors._odata_types import MISSING, array_of
from weighbridge.connectors.base import Column, Misfit, Observation, Page
from weighbridge.connectors.errors import ProtocolError

__all__ = ["Arrays", "RowsToPage", "fruitless"]

MOST_EMPTY = 100
"""Pages without a row that may follow each other: some services skip over what a filter leaves out."""

Arrays = Callable[[Sequence[Any], Column], tuple[pa.Array, list[Misfit]]]
"""(values, column) -> the array and the values that did not fit."""


def fruitless(what: str, pages: int) -> None:
    """Raise ProtocolError after too many pages without a row: a next page that is always named never ends."""
    if pages > MOST_EMPTY:
        raise ProtocolError(
            f"{what}: {pages} pages came without a row, and each names a next one.",
            remedy="The server's paging does not end: nothing is missing from what was read; tell the system's owner.",
        )


def plain_arrays(values: Sequence[Any], column: Column) -> tuple[pa.Array, list[Misfit]]:
    return array_of(values, column.type, column=column.name, native=column.native)


@dataclass(slots=True)
class RowsToPage:
    """Makes pages of one read; remembers the last page's keys to see a page served twice."""

    what: str
    columns: Sequence[Column]
    keys: Sequence[str]
    arrays: Arrays = plain_arrays
    field_of: Callable[[Column], str] = attrgetter("name")
    """The row's field that a column is made of."""
    _last: list[tuple[Any, ...]] = field(default_factory=list)
    _seen: set[tuple[Any, ...]] = field(default_factory=set)

    def columns_of(self, rows: Sequence[Any], number: int) -> list[tuple[Column, list[Any]]]:
        """Each column's raw values; a field that no row of the page carries is an error, not a column of nulls."""
        found: list[tuple[Column, list[Any]]] = []
        for column in self.columns:
            name = self.field_of(column)
            try:
                values = list(map(itemgetter(name), rows))
            except KeyError:
                values = [row.get(name, MISSING) for row in rows]
                if all(value is MISSING for value in values):
                    raise ProtocolError(
                        f"{self.what}: the field '{name}' is missing from all {len(rows)} rows of page {number}.",
                        remedy="The interface changed while it was read, or hides the field: read it again; if it "
                        "stays, ask the system's owner what became of the field.",
                    ) from None
            except (TypeError, IndexError):
                raise ProtocolError(f"{self.what}: page {number} holds something that is not a row.") from None
            found.append((column, values))
        return found

    def page(
        self,
        rows: Sequence[Mapping[str, Any]],
        *,
        number: int,
        seconds: float,
        calls: int,
        cursor: str | None,
        observations: tuple[Observation, ...] = (),
    ) -> Page:
        arrays: list[pa.Array] = []
        misfits: list[Misfit] = []
        for column, values in self.columns_of(rows, number):
            array, wrong = self.arrays(values, column)
            arrays.append(array)
            misfits += wrong
        schema = pa.schema([pa.field(c.name, c.type) for c in self.columns])
        names = set(schema.names)
        return Page(
            batch=pa.RecordBatch.from_arrays(arrays, schema=schema),
            keys=tuple(k for k in self.keys if k in names),
            seconds=seconds,
            calls=calls,
            misfits=tuple(misfits),
            cursor=cursor,
            observations=observations,
        )

    def seam(self, keys: list[tuple[Any, ...]], number: int, *, strict: bool) -> tuple[Observation, ...]:
        """Compare a page's keys with the page before. `strict`: no row may come twice (keyset paging)."""
        before, self._last = self._last, keys
        seen, self._seen = self._seen, set(keys)
        if not before or not keys:
            return ()
        if keys == before:
            raise ProtocolError(
                f"{self.what}: page {number} is page {number - 1} once more ({len(keys)} rows).",
                remedy="The server does not move on (or a cache in between answers): nothing was counted twice; "
                "tell the system's owner.",
            )
        twice = self._seen & seen
        if twice and strict:
            raise ProtocolError(
                f"{self.what}: page {number} repeats {len(twice)} rows of the page before although only rows "
                "behind its last key were asked for.",
                remedy="The server ignores $filter or $orderby on the key: set paging = 'next_link' for this system.",
            )
        if not twice:
            return ()
        message = f"{len(twice)} rows of page {number - 1} came again on page {number}: rows were added meanwhile."
        return (Observation("page_overlap", message, {"rows": len(twice), "page": number}),)
