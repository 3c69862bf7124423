"""Reading over ODBC: a page a statement, whatever its driver keeps, changes or cannot bear."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from weighbridge.connectors._odbc_ahead import STORES, Ahead
from weighbridge.connectors._odbc_columns import is_decimal, is_temporal, is_unsigned
from weighbridge.connectors._odbc_driver import Guarded
from weighbridge.connectors._sql_errors import classify
from weighbridge.connectors._sql_plan import Plan, cursor_behind, key_texts
from weighbridge.connectors.base import Column, Misfit, Operation, OperationResult, Page, TableSchema, filter_of
from weighbridge.connectors.errors import ProtocolError, RejectedError
from weighbridge.connectors.sql import SqlConnector

__all__ = ["PLAIN", "OdbcReading"]

DRIVER_OPTIONS: Mapping[str, Mapping[str, str]] = {
    # for reading a table without a key in one statement: rows are fetched as they are asked for, not all at once
    "postgresql": {"UseDeclareFetch": "1", "Fetch": "10000"},
    "mariadb": {"FORWARDONLY": "1", "NO_CACHE": "1"},
    "mysql": {"FORWARDONLY": "1", "NO_CACHE": "1"},
}
PLAIN: Mapping[str, str] = {"postgresql": '"', "sqlite": '"', "mariadb": "`", "mysql": "`"}
"""Products whose reading statements are written here, and their quotation mark."""
ROW_VALUES = ("postgresql", "sqlite")
"""Products that compare (a, b) > (x, y) by their index; the others get it written out."""
HEXED = ("mysql", "mariadb", "sqlite")
PAGE_ROWS = 8_000


class OdbcReading(SqlConnector):
    """What reads; `OdbcConnector` connects and knows what is there."""

    _about: dict[str, str]
    _pyodbc: Any
    _ahead: Ahead

    def _dial(self, **extra: str) -> Any:
        raise NotImplementedError

    def _order(self, schema: TableSchema) -> tuple[str, ...]:
        return () if self.dialect in {"access", "odbc"} else super()._order(schema)

    def _copies(self) -> bool:
        return False

    def _windows(self, plan: Plan, after: str | None, page_rows: int | None) -> Iterator[Any]:
        # a driver may keep a statement's whole result: one page a statement keeps memory flat without its help
        plan = replace(plan, ahead=page_rows is None and self.dialect in STORES)
        try:
            yield from super()._windows(plan, after, page_rows or PAGE_ROWS)
        finally:
            self._ahead.drop()

    def _executed(self, raw: Any, plan: Plan, after: str | None, limit: int | None) -> Any:
        cursor = self._ahead.take(raw, plan, after, limit)
        return super()._executed(raw, plan, after, limit) if cursor is None else cursor

    def _arrived(self, fetched: Sequence[Any], plan: Plan, limit: int | None) -> None:
        if plan.ahead and len(fetched) == limit:
            behind = cursor_behind(fetched[-1], plan)
            self._ahead.send(self._raw, plan, behind, limit, *self._keyset(plan, behind, limit))

    def _stream(self, plan: Plan, rows: int) -> Iterator[Any]:
        options = DRIVER_OPTIONS.get(self.dialect)
        if self.dialect == "access":
            # mdbtools begins again behind the last row: the count bounds it
            yield from self._pages(plan, None, max(1, self.count(plan.object).value), rows)
            return
        if not options:
            yield from super()._stream(plan, rows)
            return
        usual, self._raw = self._raw, self.session.run(lambda: self._dial(**options), operation="connect")
        try:
            yield from super()._stream(plan, rows)
        finally:
            self._lost()
            self._raw = usual

    def driver_text(
        self, object: str, columns: Sequence[str], rows: int
    ) -> Iterator[tuple[str, list[tuple[Any, str | None]]]]:
        guarded = self._ensure()
        if not guarded.narrow:
            yield from super().driver_text(object, columns, rows)
            return
        # what the driver does to the values of any program, not what this connector makes of it
        guarded.run(guarded.usual_text)
        try:
            yield from super().driver_text(object, columns, rows)
        finally:
            if not guarded.closed:
                guarded.run(guarded.narrow_text)

    def _as_text(self, column: Column) -> str:
        # the second reading goes through the same driver: as digits nothing in it can be cut at a NUL
        usual = super()._as_text(column)
        # and SQLite's HEX of a null is no null
        return f"CASE WHEN {usual} IS NOT NULL THEN HEX({usual}) END" if self.dialect in HEXED else usual

    def _text_back(self, value: Any) -> str:
        if self.dialect not in HEXED:
            return str(value)
        return bytes.fromhex(str(value)).decode("utf-8", "replace")

    def operations(self, object: str, keys: Sequence[tuple[Any, ...]]) -> Mapping[str, Operation]:
        if self.dialect != "access":
            return super().operations(object, keys)
        text, _ = self._keyset(self._plan(object, None), None, None)

        def call(_key: tuple[Any, ...]) -> OperationResult:
            def work(raw: Guarded) -> int:
                cursor = raw.cursor()
                try:
                    cursor.execute(text)
                    return len(cursor.fetchmany(50))
                finally:
                    cursor.close()

            return OperationResult(calls=1, rows=self._run(work, "page"))

        return {"page": Operation("page", call, f"SELECT ... FROM {object}, the first 50 rows", text)}

    def _plan(self, object: str, columns: Sequence[str] | None) -> Plan:
        plan = super()._plan(object, columns)
        if self.dialect not in PLAIN:
            return plan
        # a driver hands decimals over as text, which pyodbc would turn into objects and we into text again
        typed = dict(zip(plan.fetched, plan.types, strict=True))
        decimals = {name for name, type_ in typed.items() if is_decimal(type_) and name not in plan.order}
        # and one that knows no unsigned numbers makes negative ones of the large
        return replace(
            plan, as_text=frozenset(decimals | {name for name, type_ in typed.items() if is_unsigned(type_)})
        )

    def _page(self, plan: Plan, batch: Any, misfits: Sequence[Misfit], seconds: float, calls: int) -> Page:
        # dates that Python cannot bear are the server's own text, by which it compares them
        keys = {n for n, t in zip(plan.fetched, plan.types, strict=True) if n in plan.order and not is_temporal(t)}
        changed = next((m for m in misfits if m.column in keys and m.row == batch.num_rows - 1), None)
        if changed is not None:
            raise ProtocolError(
                f"{self.session.system}: the driver {self._about['driver']} hands over a key of {plan.object}, "
                f"{changed.column}, as {changed.raw!r}: {changed.reason}. Paging by it would lose or double rows.",
                remedy="Read the column CAST AS varchar in a view, or use the connector sql if it knows the database.",
            )
        return super()._page(plan, batch, misfits, seconds, calls)

    def _fetched(self, plan: Plan, after: str | None, limit: int | None, rows: int) -> Iterator[Any]:
        try:
            yield from super()._fetched(plan, after, limit, rows)
        except (self._pyodbc.Error, ValueError) as error:
            mapped = classify(error, f"{self.session.system}: the driver {self._about['driver']}, {plan.object}")
            times = frozenset(n for n, t in zip(plan.fetched, plan.types, strict=True) if is_temporal(t))
            if not isinstance(mapped, RejectedError) or times <= plan.as_text:
                raise
            if limit is None:
                message = f"{mapped.message} One value stopped the whole fetch."
                raise RejectedError(message, remedy="Read the column CAST AS varchar in a view.") from error
            # one value that the driver cannot bear ('2020-00-00') stops its fetch: take dates as the server's text
            yield from super()._fetched(replace(plan, as_text=plan.as_text | times), after, limit, rows)

    def _keyset(self, plan: Plan, after: str | None, limit: int | None) -> tuple[str, Any]:
        name, values = self.quoted_name, ()
        if self.dialect == "access":
            # mdbtools speaks plain SQL: no qualified names, no ORDER BY
            where = f" WHERE {w}" if (w := filter_of(plan.object)) else ""
            return f"SELECT {', '.join(map(name, plan.fetched))} FROM {self.quoted(plan.object)}{where}", None
        if self.dialect not in PLAIN:
            return super()._keyset(plan, after, limit)
        cast = f"CAST({{}} AS {self._product.text_type})"
        # a name of its own for what is cast: ORDER BY must mean the column, not its text
        chosen = ", ".join(
            f"{cast.format(name(c))} AS {name(f'as text {i}')}" if c in plan.as_text else name(c)
            for i, c in enumerate(plan.fetched)
        )
        text = f"SELECT {chosen} FROM {self.quoted(plan.object)}"
        conditions = [f"({w})"] if (w := filter_of(plan.object)) else []
        if after is not None:
            condition, values = self._behind(plan, after)
            conditions.append(condition)
        if conditions:
            text += " WHERE " + " AND ".join(conditions)
        if plan.order:
            text += " ORDER BY " + ", ".join(map(name, plan.order))
        return (text if limit is None else f"{text} LIMIT {limit}"), values or None

    def _written(self, value: Any) -> str | None:
        """A key's value as part of the statement; None where it goes as a parameter."""
        if type(value) is int:
            return str(value)  # a statement with parameters costs the server two more answers
        if isinstance(value, str) and not value.isascii() and self.dialect in {"mysql", "mariadb"}:
            return f"_utf8mb4 x'{value.encode().hex()}'"  # beside such names their driver would change it
        return None

    def _behind(self, plan: Plan, after: str) -> tuple[str, tuple[Any, ...]]:
        """The condition of the rows behind a cursor, and its values."""
        from weighbridge.connectors._sql_types import key_value

        types = dict(zip(plan.fetched, plan.types, strict=True))
        parts = zip(key_texts(after, plan.order), plan.order, strict=True)
        values = tuple(key_value(text, types[k]) for text, k in parts)
        marks = [self._written(v) or "?" for v in values]
        bound = [() if self._written(v) else (v,) for v in values]
        names = [self.quoted_name(k) for k in plan.order]
        if self.dialect in ROW_VALUES:
            return f"({', '.join(names)}) > ({', '.join(marks)})", tuple(chain.from_iterable(bound))
        alternatives, taken = [], []
        for i, name in enumerate(names):
            same = "".join(f"{n} = {m} AND " for n, m in zip(names[:i], marks[:i], strict=True))
            alternatives.append(f"({same}{name} > {marks[i]})")
            taken += bound[: i + 1]
        return f"({' OR '.join(alternatives)})", tuple(chain.from_iterable(taken))
