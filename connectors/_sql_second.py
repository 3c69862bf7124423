"""A second opinion on values: what the driver hands over beside the same values as text by the server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from weighbridge.connectors._sql_connection import quietly
from weighbridge.connectors._sql_writing import SqlWriting
from weighbridge.connectors.base import Column, Unreadable, filter_of
from weighbridge.connectors.errors import ProtocolError, RejectedError

__all__ = ["SqlSecond"]

AT_ONCE = 40
"""Columns compared by one statement."""
SMALL = 4_000
"""Characters that a column may declare to be compared together with others."""
LONGEST = 65_536
"""Characters or bytes of a value that is compared: two hundred of them are held at a time."""

Pair = tuple[Any, str | None]


class SqlSecond(SqlWriting):
    """A connection that can say what its driver changed."""

    def driver_text(self, object: str, columns: Sequence[str], rows: int) -> Iterator[tuple[str, list[Pair]]]:
        schema = self.discover(object)
        known = [c for name in columns if (c := schema.column(name)) is not None]
        together = [c for c in known if not _large(c)]
        found: dict[str, list[Pair]] = {}
        for i in range(0, len(together), AT_ONCE):
            found |= self._batch(object, together[i : i + AT_ONCE], rows)
        for column in known:
            if _large(column):
                yield from self._batch(object, [column], rows).items()
            elif column.name in found:
                yield column.name, found[column.name]

    def _batch(self, object: str, columns: Sequence[Column], rows: int) -> dict[str, list[Pair]]:
        try:
            return dict(self._compared(object, columns, rows))
        except (RejectedError, ProtocolError, ValueError):
            # one value, or one type, stopped them all: each by itself, then row by row
            return {name: pairs for column in columns for name, pairs in self._apart(object, column, rows)}

    def _apart(self, object: str, column: Column, rows: int) -> Iterator[tuple[str, list[Pair]]]:
        try:
            yield from self._compared(object, [column], rows)
        except (RejectedError, ProtocolError, ValueError):
            try:
                yield column.name, self._row_by_row(object, column, rows)
            except RejectedError:
                return  # the server has no text for this type

    def _pair_statement(self, object: str, columns: Sequence[Column], rows: int, *, values: bool = True) -> Any:
        import sqlalchemy as sa

        space, table = self._place(object)
        # one statement, so that both readings are of the same row
        chosen = [
            sa.literal_column(words).label(f"c{i}_{j}")
            for i, column in enumerate(columns)
            for j, words in enumerate([self.quoted_name(column.name)] * values + [self._as_text(column)])
        ]
        pair = sa.select(*chosen).select_from(sa.table(table, schema=space))
        if where := filter_of(object):
            pair = pair.where(sa.text(f"({where})"))
        if len(columns) == 1 and (length := self._length_words(columns[0])):
            name = self.quoted_name(columns[0].name)
            pair = pair.where(sa.text(f"({name} IS NULL OR {length.format(name)} <= {LONGEST})".replace(":", "\\:")))
        return self._compiled(pair.limit(rows))

    def _compared(self, object: str, columns: Sequence[Column], rows: int) -> Iterator[tuple[str, list[Pair]]]:
        text, bound = self._pair_statement(object, columns, rows)
        fetched = self._rows(text, bound or None, what="driver text")
        for i, column in enumerate(columns):
            yield column.name, [(row[2 * i], self._told(row[2 * i + 1])) for row in fetched]

    def _row_by_row(self, object: str, column: Column, rows: int) -> list[Pair]:
        """As far as the driver goes on behind a value that it raised on; what the server has there is asked alone."""
        statement, bound = self._pair_statement(object, [column], rows)
        alone, values = self._pair_statement(object, [column], rows, values=False)
        texts = [self._told(row[0]) for row in self._rows(alone, values or None, what="driver text")]

        def work(raw: Any) -> list[Pair]:
            cursor = raw.cursor()
            found: list[Pair] = []
            try:
                cursor.execute(statement, bound) if bound else cursor.execute(statement)
                for text in texts:
                    try:
                        row = cursor.fetchone()
                    except (*_classes(self._driver_errors()), ValueError) as error:
                        found.append((Unreadable(str(error.args[-1] if error.args else error)), text))
                        continue
                    if row is None:
                        break
                    found.append((row[0], self._told(row[1])))
            finally:
                quietly(cursor.close)
            return found

        return self._run(work, "driver text")

    def _told(self, value: Any) -> str | None:
        return None if value is None else self._text_back(value)

    def _as_text(self, column: Column) -> str:
        """SQL that gives a column as text by the server."""
        return self._product.as_text(self.quoted_name(column.name), column)

    def _length_words(self, column: Column) -> str | None:
        """SQL that gives the length of what may be large; None for all else."""
        if not _large(column):
            return None
        return {
            "postgresql": "octet_length(CAST({} AS text))",
            "mssql": "DATALENGTH({})",
            "firebird": "OCTET_LENGTH({})",
        }.get(self.dialect, "LENGTH({})")

    def _text_back(self, value: Any) -> str:
        return str(value)


def _large(column: Column) -> bool:
    import pyarrow.types as pt

    if not (pt.is_string(column.type) or pt.is_binary(column.type)):
        return False
    return column.length is None or not 0 < column.length <= SMALL


def _classes(errors: Any) -> tuple[type[BaseException], ...]:
    return errors if isinstance(errors, tuple) else (errors,)
