"""Reads tables in windows by key, or as one streamed statement, into Arrow."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from weighbridge.connectors._sql_catalog import SqlCatalog
from weighbridge.connectors._sql_connection import quietly
from weighbridge.connectors._sql_plan import Plan, batch_of, beyond, cursor_of, key_texts
from weighbridge.connectors._watchdog import fuse
from weighbridge.connectors.base import Misfit, Page, TableSchema, filter_of
from weighbridge.connectors.errors import MissingObjectError, ProtocolError, RetriableError, SettingsError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SqlReading"]

PAGE_ROWS = 10_000
WINDOW = 100_000
"""Rows one statement brings, in several pages, where the caller leaves the page size to us."""
MAX_WINDOW = 400_000
STREAM_TIMEOUT = 3600.0
"""Seconds for the single statement that reads a table without a key."""


class SqlReading(SqlCatalog):
    """A catalog whose tables can be read."""

    def read(
        self,
        object: str,
        *,
        columns: Sequence[str] | None = None,
        after: str | None = None,
        page_rows: int | None = None,
    ) -> Iterator[Page]:
        """Windows by key where there is one (short statements, resumable), else one streamed statement.

        With `page_rows` every page is one statement of so many rows; without, a statement brings several pages.
        """
        plan = self._plan(object, columns)
        if after is not None and not plan.order:
            raise SettingsError(
                f"{self.session.system}: {object} has no key, so reading cannot go on behind a cursor.",
                remedy="Read it from the start.",
            )
        return self._windows(plan, after, page_rows) if plan.order else self._stream(plan, page_rows or PAGE_ROWS)

    def _plan(self, object: str, columns: Sequence[str] | None) -> Plan:
        schema = self.discover(object)
        wanted = list(dict.fromkeys(columns)) if columns else [c.name for c in schema.columns]
        for at, name in enumerate(wanted):
            if (column := schema.column(name)) is not None:
                wanted[at] = column.name  # as discovered: it may carry the mark that it must be quoted
            else:
                close = difflib.get_close_matches(name, [c.name for c in schema.columns], n=1)
                raise MissingObjectError(
                    f"{self.session.system}: {object} has no column {name!r}.",
                    remedy=f"Did you mean {close[0]!r}?" if close else "",
                )
        order = self._order(schema)
        fetched = wanted + [k for k in order if k not in wanted]
        types = [c.type for name in fetched if (c := schema.column(name)) is not None]
        return Plan(object, tuple(wanted), tuple(fetched), tuple(types), order, schema.keys)

    def _order(self, schema: TableSchema) -> tuple[str, ...]:
        """Columns to page by: the primary key, else a unique column that cannot be null."""
        by_name = {c.name: c for c in schema.columns}
        keys = schema.keys
        # SQLite lets nulls into primary keys that are not INTEGER PRIMARY KEY or declared NOT NULL
        loose = self.dialect == "sqlite" and any(
            by_name[k].nullable and not (len(keys) == 1 and by_name[k].native == "integer") for k in keys
        )
        if keys and not loose:
            return keys
        return next(((c.name,) for c in schema.columns if c.unique and c.nullable is False), ())

    def _windows(self, plan: Plan, after: str | None, page_rows: int | None) -> Iterator[Page]:
        window = page_rows or WINDOW
        cursor, failures = after, 0
        while True:
            started, got, seconds = time.monotonic(), 0, 0.0
            self._ensure()
            try:
                for page in self._pages(plan, cursor, window, page_rows or PAGE_ROWS):
                    if page.cursor == cursor:
                        raise ProtocolError(
                            f"{self.session.system}: {plan.object} ends where the page before it ended, at the key "
                            f"{cursor}; going on would read the same rows for ever.",
                            remedy="The key is not ordered as it is compared: look at the column's type and collation.",
                        )
                    cursor, failures = page.cursor, 0
                    got += page.batch.num_rows
                    seconds = time.monotonic() - started
                    yield page
            except RetriableError as error:
                failures += 1
                # each window is a call of its own: go on behind the last page that arrived
                if failures >= self.session.retry.attempts:
                    raise
                self.session.meter.count(retries=1)
                self.session.sleep(
                    error.retry_after
                    if error.retry_after is not None
                    else self.session.random.uniform(
                        0, min(self.session.retry.cap, self.session.retry.base * 2 ** (failures - 1))
                    )
                )
                continue
            if got < window:
                return
            if page_rows is None:
                # keep statements short against the server's timeout, long enough to be quick
                if seconds > self.timeout / 4:
                    window = max(PAGE_ROWS, window // 2)
                elif seconds < self.timeout / 20:
                    window = min(MAX_WINDOW, window * 2)

    def _stream(self, plan: Plan, rows: int) -> Iterator[Page]:
        with self._within(STREAM_TIMEOUT):
            yield from self._pages(plan, None, None, rows)

    def _copies(self) -> bool:
        return self.dialect == "postgresql" and self._dialect.driver == "psycopg"

    def _pages(self, plan: Plan, after: str | None, limit: int | None, rows: int) -> Iterator[Page]:
        """The pages of one statement."""
        chunks = (self._copied if self._copies() else self._fetched)(plan, after, limit, rows)
        self._ensure()
        calls, started = 1, time.monotonic()
        with self.session.attempt("read"), self._mapped(f"read {plan.object}"):
            for batch, misfits in chunks:
                self.session.meter.count(rows=batch.num_rows)
                yield self._page(plan, batch, misfits, time.monotonic() - started, calls)
                calls, started = 0, time.monotonic()

    def _page(self, plan: Plan, batch: pa.RecordBatch, misfits: Sequence[Misfit], seconds: float, calls: int) -> Page:
        cursor = cursor_of(batch, plan.order, misfits) if plan.order else None
        if len(plan.fetched) > len(plan.wanted):
            batch = batch.select(list(plan.wanted))
            misfits = [m for m in misfits if m.column in plan.wanted]
        return Page(
            batch,
            keys=tuple(k for k in plan.keys if k in plan.wanted),
            seconds=seconds,
            calls=calls,
            misfits=tuple(misfits),
            cursor=cursor,
        )

    def _copied(
        self, plan: Plan, after: str | None, limit: int | None, rows: int
    ) -> Iterator[tuple[pa.RecordBatch, list[Misfit]]]:
        from weighbridge.connectors._sql_copy import copy_chunks, parse_chunk

        statement = f"COPY ({self._keyset_text(plan, after, limit)}) TO STDOUT (FORMAT csv)"
        raw = self._ensure()
        for data, held in copy_chunks(raw, statement, rows, self._patience()):
            self.session.meter.count(received=len(data))
            yield parse_chunk(data, plan.fetched, plan.types, held)

    def _keyset_text(self, plan: Plan, after: str | None, limit: int | None) -> str:
        name = self.quoted_name
        statement = f"SELECT {', '.join(map(name, plan.fetched))} FROM {self.quoted(plan.object)}"
        conditions = [f"({w})"] if (w := filter_of(plan.object)) else []
        if after is not None:
            # literals without a type take the column's: no cast, the index serves
            literals = ", ".join("'" + text.replace("'", "''") + "'" for text in key_texts(after, plan.order))
            conditions.append(f"({', '.join(map(name, plan.order))}) > ({literals})")
        if conditions:
            statement += " WHERE " + " AND ".join(conditions)
        if plan.order:
            statement += f" ORDER BY {', '.join(map(name, plan.order))}"
        return statement if limit is None else f"{statement} LIMIT {limit}"

    def _fetched(
        self, plan: Plan, after: str | None, limit: int | None, rows: int
    ) -> Iterator[tuple[pa.RecordBatch, list[Misfit]]]:
        raw = self._ensure()
        cursor = self._executed(raw, plan, after, limit)
        try:
            cursor.arraysize = rows
            taken = 0
            while True:
                with fuse(self._product.line(raw), self._patience()):
                    fetched = cursor.fetchmany(rows)
                if fetched:
                    self._arrived(fetched, plan, limit)
                    yield batch_of(fetched, plan)
                taken += len(fetched)
                # a short fetch is the last: some drivers begin again when asked once more
                if len(fetched) < rows or taken == limit:
                    return
        finally:
            quietly(cursor.close)

    def _executed(self, raw: Any, plan: Plan, after: str | None, limit: int | None) -> Any:
        """A cursor on which the window's statement was sent."""
        text, parameters = self._keyset(plan, after, limit)
        cursor = _streaming_cursor(raw, getattr(self._dialect, "driver", ""))
        try:
            with fuse(self._product.line(raw), self._patience()):
                cursor.execute(text, parameters) if parameters else cursor.execute(text)
        except BaseException:
            quietly(cursor.close)
            raise
        return cursor

    def _arrived(self, fetched: Sequence[Any], plan: Plan, limit: int | None) -> None:
        """Rows of a window are here and not packed yet; `limit` is how many the whole window may have."""

    def _keyset(self, plan: Plan, after: str | None, limit: int | None) -> tuple[str, Any]:
        """The window's statement through SQLAlchemy, which knows each dialect's LIMIT."""
        import sqlalchemy as sa

        from weighbridge.connectors._sql_types import key_value

        schema, table = self._place(plan.object)
        source = sa.table(table, *(sa.column(c) for c in plan.fetched), schema=schema)
        texts = {c: f"CAST({self.quoted_name(c)} AS {self._product.text_type})" for c in plan.as_text}
        chosen = (sa.literal_column(texts[c]).label(c) if c in texts else source.c[c] for c in plan.fetched)
        statement = sa.select(*chosen).select_from(source)
        if where := filter_of(plan.object):
            statement = statement.where(sa.text(f"({where})"))
        if plan.order:
            types = dict(zip(plan.fetched, plan.types, strict=True))
            if after is not None:
                parts = zip(key_texts(after, plan.order), plan.order, strict=True)
                values = [key_value(text, types[k]) for text, k in parts]
                statement = statement.where(beyond([source.c[k] for k in plan.order], values))
            statement = statement.order_by(*(source.c[k] for k in plan.order))
        if limit is not None:
            statement = statement.limit(limit)
        return self._compiled(statement)

    def changes(self, object: str, since: str, *, columns: Sequence[str] | None = None) -> Iterator[Page]:
        from weighbridge.connectors.base import ObjectRef

        column = self.watermark(object)
        if column is None:
            raise SettingsError(
                f"{self.session.system}: {object} has no column that moves when a record changes.",
                remedy="Read it whole, or have a column like updated_at added.",
            )
        declared = self.discover(object).column(column)
        moment = datetime.fromisoformat(since)
        zoned = declared is not None and getattr(declared.type, "tz", None) is not None
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC)
        spare = 10 ** (6 - self._product.fraction)
        moment = moment.replace(microsecond=moment.microsecond // spare * spare)
        text = moment.isoformat(sep=" ") if zoned else moment.replace(tzinfo=None).isoformat(sep=" ")
        if moment.microsecond and spare > 1:
            shorter = f"{moment.microsecond // spare:0{self._product.fraction}}"
            text = text.replace(f".{moment.microsecond:06}", f".{shorter}")
        condition = f"{self.quoted_name(column)} >= '{text}'"
        where = f"({f}) AND {condition}" if (f := filter_of(object)) else condition
        return self.read(ObjectRef(str(object), where), columns=columns)


def _streaming_cursor(raw: Any, driver: str) -> Any:
    if driver == "pymysql":
        import pymysql.cursors

        return raw.cursor(pymysql.cursors.SSCursor)
    return raw.cursor()
