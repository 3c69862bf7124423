"""One read of one entity set: pages by key, by the service's links or by offset; what changed since a delta link."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow as pa

from weighbridge.connectors._odata_client import Target
from weighbridge.connectors._odata_types import array_of
from weighbridge.connectors._rows import RowsToPage, fruitless
from weighbridge.connectors.base import Column, Key, Misfit, Observation, OperationResult, Page
from weighbridge.connectors.errors import MissingObjectError, ProtocolError, RejectedError, SettingsError

if TYPE_CHECKING:
    from weighbridge.connectors.odata import ODataConnector

__all__ = ["Cursor", "DeltaPage", "ReadPlan"]

SORTABLE_KEYS = frozenset(
    {
        "Edm.String",
        "Edm.Byte",
        "Edm.SByte",
        "Edm.Int16",
        "Edm.Int32",
        "Edm.Int64",
        "Edm.Decimal",
        "Edm.Date",
        "Edm.DateTime",
        "Edm.DateTimeOffset",
    }
)
"""Key types that every service can compare; a Guid's order differs from server to server."""


@dataclass(frozen=True, slots=True)
class DeltaPage:
    """What changed since a delta link: rows as they are now, addresses of removed ones, and the next link."""

    page: Page
    removed: tuple[str, ...]
    link: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a read goes on: behind a key, at a link, or at an offset."""

    kind: str
    value: Any

    def text(self) -> str:
        return json.dumps([self.kind, self.value])

    @classmethod
    def of(cls, text: str | None) -> Cursor | None:
        if text is None:
            return None
        try:
            kind, value = json.loads(text)
        except (ValueError, TypeError):
            raise SettingsError("the cursor to read after is not one of this connector.") from None
        return cls(kind, value)


class ReadPlan:
    """One read of one entity set: what to ask for, page by page."""

    def __init__(
        self,
        connector: ODataConnector,
        target: Target,
        columns: Sequence[str] | None,
        where: str | None,
        page_rows: int | None,
        *,
        promised: Sequence[str] = (),
    ) -> None:
        self.connector = connector
        self.client = connector.client
        self.target = target
        self.where = where
        self.page_rows = connector._page_rows(page_rows)
        schema = connector.discover(target.name)
        wanted: list[Column] = []
        for name in columns if columns is not None else [c.name for c in schema.columns]:
            column = schema.column(name)
            if column is None:
                raise MissingObjectError(
                    f"{target.name} has no column '{name}'.",
                    remedy=f"It has {', '.join(c.name for c in schema.columns[:40])}.",
                )
            wanted.append(column)
        self.columns = wanted
        self.keys = schema.keys
        self.promised = tuple(promised) or schema.keys
        """The columns that the keys of look-ups are values of: the contract's key, which need not be the service's."""
        asked = [c.name for c in wanted]
        self.select = ",".join(asked + [k for k in schema.keys if k not in asked]) if columns is not None else None
        self.maker = RowsToPage(target.name, wanted, schema.keys, arrays=self._arrays)
        self.meter = connector.session.meter

    def _arrays(self, values: Sequence[Any], column: Column) -> tuple[pa.Array, list[Misfit]]:
        return array_of(
            values,
            column.type,
            column=column.name,
            native=column.native,
            empty_is_null=self.connector.options.empty_is_null,
        )

    def keyset_possible(self, *, forced: bool) -> bool:
        if self.target.name in self.client.shared.no_keyset or not self.keys:
            return False
        kinds = [p for p in self.target.entity_set.type.properties if p.name in self.keys]
        return forced or all(p.type in SORTABLE_KEYS and p.enum is None and p.filterable for p in kinds)

    def _fetch(self, url: str, query: Mapping[str, str | None] | None, *, prefer: str | None = None) -> Fetched:
        before = self.meter.attempts
        started = time.monotonic()
        answer = self.client.get(self.target, url, query, operation="read", prefer=prefer)
        rows, following, envelope = self.target.protocol.rows(answer.json(), self.target.name)
        self.meter.count(rows=len(rows))
        seconds = time.monotonic() - started
        return Fetched(rows, following, envelope, answer.url, seconds, max(1, self.meter.attempts - before))

    def _keys_of(self, rows: list[Any]) -> list[tuple[Any, ...]]:
        try:
            return list(zip(*(map(itemgetter(k), rows) for k in self.keys), strict=True))
        except (KeyError, TypeError):
            raise ProtocolError(
                f"{self.target.name}: a row without its key ({', '.join(self.keys)}).",
                remedy="The service hides or drops key fields: ask its owner.",
            ) from None

    def _behind(self, last: tuple[Any, ...] | None) -> str | None:
        """`$filter` for everything behind the key `last`, within the object's own filter."""
        if last is None:
            return self.where
        kind = self.target.entity_set.type
        parts: list[str] = []
        for n, name in enumerate(self.keys):
            equal = [f"{k} eq {self._word(k, last[i], kind)}" for i, k in enumerate(self.keys[:n])]
            parts.append(" and ".join([*equal, f"{name} gt {self._word(name, last[n], kind)}"]))
        behind = parts[0] if len(parts) == 1 else "(" + " or ".join(f"({p})" for p in parts) + ")"
        return f"({self.where}) and {behind}" if self.where else behind

    def _word(self, name: str, value: Any, kind: Any) -> str:
        declared = kind.property(name)
        return self.target.protocol.literal(value, declared.type if declared else "Edm.String")

    def by_key(self, last: tuple[Any, ...] | None) -> Iterator[Page]:
        """Every page starts behind the last key of the one before: rows that come or go hide no other row.

        Only an empty page is the end: a short one may be a server's own limit, of which nothing is said.
        """
        order = ",".join(self.keys)
        number = 0
        while True:
            query = {
                "$select": self.select,
                "$filter": self._behind(last),
                "$orderby": order,
                "$top": str(self.page_rows),
            }
            got = self._fetch(self.target.url, query)
            number += 1
            if not got.rows:
                return
            keys = self._keys_of(got.rows)
            self.maker.seam(keys, number, strict=True)
            if last is not None and keys[0] == last:
                raise ProtocolError(
                    f"{self.target.name}: the service does not move on behind a key.",
                    remedy="Set paging = 'next_link' for this system.",
                )
            last = keys[-1]
            yield self._page(got, number, Cursor("key", list(last)).text(), ())

    def by_link(self, address: str | None) -> Iterator[Page]:
        """Follow the service's own links; whether rows can be hidden by others depends on the service."""
        size = str(self.page_rows)
        prefer = f"odata.maxpagesize={size}" if self.target.protocol.version == 4 else None
        query: Mapping[str, str | None] | None = None
        observations: tuple[Observation, ...] = ()
        if address is None:
            address = self.target.url
            query = {"$select": self.select, "$filter": self.where}
            observations = (
                Observation(
                    "unstable_paging",
                    "pages follow the service's links: a row added or removed while it is read may hide another one.",
                ),
            )
        seen: set[bytes] = set()
        number = empty = 0
        while True:
            got = self._fetch(address, query, prefer=prefer)
            query = None
            number += 1
            empty = 0 if got.rows else empty + 1
            fruitless(self.target.name, empty)
            if self.keys:
                observations += self.maker.seam(self._keys_of(got.rows), number, strict=False)
            cursor = None
            if got.following is not None:
                address, elsewhere = self.client.onward(got.following, got.url, self.target)
                if elsewhere and number == 1:
                    observations += (self._elsewhere(got.following),)
                mark = hashlib.blake2b(address.encode(), digest_size=16).digest()
                if mark in seen:
                    raise ProtocolError(
                        f"{self.target.name}: the links between pages go in a circle (page {number}).",
                        remedy="Tell the service's owner; try paging = 'keyset' or 'skip' for this system.",
                    )
                seen.add(mark)
                parts = urlsplit(address)
                cursor = Cursor("link", f"{parts.path}?{parts.query}").text()
            if got.rows:
                yield self._page(got, number, cursor, observations)
                observations = ()
            if got.following is None:
                return

    @staticmethod
    def _elsewhere(link: str) -> Observation:
        return Observation(
            "next_link_other_host",
            f"links to the next page name another host ({urlsplit(link).hostname}); they were read at the configured "
            "host, no credentials went there.",
        )

    def by_skip(self, offset: int) -> Iterator[Page]:
        """$top and $skip in key order, for services without links that cannot compare keys."""
        number = 0
        while True:
            query = {
                "$select": self.select,
                "$filter": self.where,
                "$orderby": ",".join(self.keys) or None,
                "$top": str(self.page_rows),
                "$skip": str(offset),
            }
            got = self._fetch(self.target.url, query)
            number += 1
            if not got.rows:
                return
            observations = self.maker.seam(self._keys_of(got.rows), number, strict=False) if self.keys else ()
            if number == 1:
                observations += (
                    Observation(
                        "unstable_paging",
                        "pages by $skip: a row added or removed while it is read may hide another one.",
                    ),
                )
            offset += len(got.rows)
            yield self._page(got, number, Cursor("skip", offset).text(), observations)

    def _page(self, got: Fetched, number: int, cursor: str | None, said: tuple[Observation, ...]) -> Page:
        return self.maker.page(
            got.rows, number=number, seconds=got.seconds, calls=got.calls, cursor=cursor, observations=said
        )

    # --- one call of a user -----------------------------------------------------------------------------------

    def look_up(self, key: Key) -> OperationResult:
        return self._counted(lambda: self._one(key))

    def _one(self, key: Key) -> int:
        if len(key) != len(self.promised) or not key:
            raise RejectedError(
                f"{self.target.name}: {len(key)} values were given for its key ({', '.join(self.promised) or 'none'}).",
                remedy="Correct the primary key in the contract; its columns are those of the service.",
            )
        if set(self.promised) != set(self.keys):
            return self._one_by_columns(key)
        url = self.client.key_url(self.target, [key[self.promised.index(k)] for k in self.keys])
        answer = self.client.get(self.target, url, {"$select": self.select}, operation="lookup")
        self.target.protocol.entity(answer.json(), self.target.name)
        return 1

    def _one_by_columns(self, key: Key) -> int:
        """A look-up by the contract's own key, which is no key of the service."""
        kind = self.target.entity_set.type
        where = " and ".join(f"{n} eq {self._word(n, v, kind)}" for n, v in zip(self.promised, key, strict=True))
        query = {"$select": self.select, "$filter": where, "$top": "1"}
        answer = self.client.get(self.target, self.target.url, query, operation="lookup")
        if not self.target.protocol.rows(answer.json(), self.target.name)[0]:
            raise MissingObjectError(f"{self.target.name}: there is no row with this key (any more).")
        return 1

    def one_page(self, key: Key) -> OperationResult:
        return self._counted(lambda: self._some(key))

    def _some(self, key: Key) -> int:
        query = {"$select": self.select, "$filter": self.where, "$top": str(self.page_rows)}
        if self.keyset_possible(forced=False) and len(key) == len(self.keys) and self.promised == self.keys:
            query |= {"$orderby": ",".join(self.keys), "$filter": self._behind(tuple(key))}
        answer = self.client.get(self.target, self.target.url, query, operation="page")
        return len(self.target.protocol.rows(answer.json(), self.target.name)[0])

    def _counted(self, call: Any) -> OperationResult:
        attempts, received = self.meter.attempts, self.meter.bytes_received
        rows = call()
        self.meter.count(rows=rows)
        return OperationResult(max(1, self.meter.attempts - attempts), rows, self.meter.bytes_received - received)

    # --- delta ------------------------------------------------------------------------------------------------

    def delta_link(self) -> str | None:
        if self.target.protocol.version == 2:
            return None
        address, query = self.target.url, {"$select": self.select, "$filter": self.where}
        asked: Mapping[str, str | None] | None = query
        for _page in range(1_000_000):
            got = self._fetch(address, asked, prefer="odata.track-changes")
            asked = None
            if got.following is None:
                return self.target.protocol.delta_link(got.envelope)
            onward, _ = self.client.onward(got.following, got.url, self.target)
            if onward == address:
                break
            address = onward
        raise ProtocolError(f"{self.target.name}: change tracking does not come to an end.")

    def delta(self, link: str) -> DeltaPage:
        address, _ = self.client.onward(link, self.target.url, self.target)
        rows: list[Any] = []
        removed: list[str] = []
        seconds, calls = 0.0, 0
        seen: set[str] = set()
        while True:
            if address in seen:
                raise ProtocolError(f"{self.target.name}: the delta links go in a circle.")
            seen.add(address)
            got = self._fetch(address, None)
            seconds, calls = seconds + got.seconds, calls + got.calls
            for row in got.rows:
                if isinstance(row, dict) and ("@removed" in row or "@odata.removed" in row):
                    removed.append(str(row.get("@id") or row.get("@odata.id") or row.get("id")))
                else:
                    rows.append(row)
            if got.following is None:
                following = self.target.protocol.delta_link(got.envelope)
                page = self.maker.page(rows, number=1, seconds=seconds, calls=calls, cursor=None)
                return DeltaPage(page, tuple(removed), following or link)
            address, _ = self.client.onward(got.following, got.url, self.target)


@dataclass(frozen=True, slots=True)
class Fetched:
    rows: list[Any]
    following: str | None
    envelope: Mapping[str, Any]
    url: str
    seconds: float
    calls: int
