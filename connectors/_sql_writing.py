"""Writes and deletes records one statement at a time, and says of each what the database said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weighbridge.connectors._sql_connection import bindable
from weighbridge.connectors._sql_reading import SqlReading
from weighbridge.connectors.base import WriteOutcome
from weighbridge.connectors.errors import AccessError, ConnectorError, RetriableError

__all__ = ["SqlWriting"]


class SqlWriting(SqlReading):
    """Tables that can be written where the session allows it."""

    def write(
        self,
        object: str,
        records: Sequence[Mapping[str, Any]],
        *,
        key: str | None = None,
    ) -> Sequence[WriteOutcome]:
        """One statement a record, each its own transaction: an outcome is what the database said of that record."""
        self.session.require_writes(f"a write to {object}")
        return [self._write_one(object, record, key) for record in records]

    def _write_one(self, object: str, record: Mapping[str, Any], key: str | None) -> WriteOutcome:
        columns = list(record)
        try:
            existed = bool(self.find(object, key, [record[key]])) if key is not None else False
            text, bound = self._insert(object, columns, record, key, existed=existed)
            self._change(text, bound, "write", idempotent=key is not None)
        except (RetriableError, AccessError):
            raise
        except ConnectorError as error:
            return WriteOutcome(ok=False, error=error.message, error_class=type(error).__name__)
        identity = record.get(key) if key is not None else None
        if identity is None:
            keys = self.discover(object).keys
            identity = tuple(record.get(k) for k in keys) if keys else None
            identity = identity[0] if identity is not None and len(identity) == 1 else identity
        return WriteOutcome(ok=True, id=identity, created=not existed)

    def _insert(
        self,
        object: str,
        columns: Sequence[str],
        record: Mapping[str, Any],
        key: str | None,
        *,
        existed: bool,
    ) -> tuple[str, Any]:
        import sqlalchemy as sa

        names = {c: f"v{i}" for i, c in enumerate(columns)}
        values = {names[c]: bindable(record[c]) for c in columns}
        if key is None:
            listed = ", ".join(map(self.quoted_name, columns))
            marks = ", ".join(f":{names[c]}" for c in columns)
            statement: str | None = f"INSERT INTO {self.quoted(object)} ({listed}) VALUES ({marks})"
        else:
            marks = ", ".join(f":{names[c]}" for c in columns)
            statement = self._product.upsert(self.quoted(object), columns, marks, key, self.quoted_name)
            if statement is None and existed:
                updates = ", ".join(f"{self.quoted_name(c)} = :{names[c]}" for c in columns if c != key)
                statement = f"UPDATE {self.quoted(object)} SET {updates} WHERE {self.quoted_name(key)} = :{names[key]}"
            elif statement is None:
                return self._insert(object, columns, record, None, existed=False)
        return self._compiled(sa.text(statement), values)

    def _change(self, text: str, bound: Any, what: str, *, idempotent: bool) -> int:
        def work(raw: Any) -> int:
            cursor = raw.cursor()
            try:
                cursor.execute(text, bound)
                return cursor.rowcount
            finally:
                cursor.close()

        return self._run(work, what, idempotent=idempotent)

    def find(self, object: str, column: str, values: Sequence[Any]) -> Sequence[Mapping[str, Any]]:
        import sqlalchemy as sa

        schema = self.discover(object)
        space, table = self._place(object)
        source = sa.table(table, *(sa.column(c.name) for c in schema.columns), schema=space)
        found: list[Mapping[str, Any]] = []
        for start in range(0, len(values), 500):
            chunk = [bindable(v) for v in values[start : start + 500]]
            statement = sa.select(*source.c).where(
                sa.or_(*(source.c[column] == sa.bindparam(f"v{i}", v) for i, v in enumerate(chunk)))
            )
            text, bound = self._compiled(statement)
            names = [c.name for c in schema.columns]
            found += [dict(zip(names, row, strict=True)) for row in self._rows(text, bound, what="find")]
        return found

    def delete(self, object: str, records: Sequence[Mapping[str, Any]]) -> Sequence[WriteOutcome]:
        self.session.require_writes(f"a delete from {object}")
        import sqlalchemy as sa

        schema = self.discover(object)
        keys = self._order(schema) or tuple(c.name for c in schema.columns)
        outcomes = []
        for record in records:
            parts = [
                f"{self.quoted_name(k)} IS NULL" if record[k] is None else f"{self.quoted_name(k)} = :v{i}"
                for i, k in enumerate(keys)
            ]
            values = {f"v{i}": bindable(record[k]) for i, k in enumerate(keys) if record[k] is not None}
            statement = f"DELETE FROM {self.quoted(object)} WHERE {' AND '.join(parts)}"
            text, bound = self._compiled(sa.text(statement), values)
            identity = record[keys[0]] if len(keys) == 1 else tuple(record[k] for k in keys)
            try:
                self._change(text, bound, "delete", idempotent=True)
                outcomes.append(WriteOutcome(ok=True, id=identity))
            except (RetriableError, AccessError):
                raise
            except ConnectorError as error:
                outcomes.append(WriteOutcome(False, identity, None, error.message, type(error).__name__))
        return outcomes
