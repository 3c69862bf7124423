"""Reach a SQL database through its native driver: PostgreSQL, MySQL/MariaDB, SQLite, and what has a SQLAlchemy dialect.

One connection an instance, in autocommit, read only unless writes are allowed, with a statement timeout on the server:
nothing is ever left idle in a transaction on a system that must not be hurt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, SecretStr

from weighbridge.connectors._sql_connection import Key
from weighbridge.connectors._sql_dialects import DRIVERS, Product, product_for
from weighbridge.connectors._sql_second import SqlSecond
from weighbridge.connectors.base import ConnectorOptions, Operation, OperationResult, TableSchema, filter_of
from weighbridge.connectors.errors import SettingsError
from weighbridge.connectors.session import Session

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = ["SqlConnector", "SqlOptions"]


class SqlOptions(ConnectorOptions):
    """`url` as SQLAlchemy writes it, with or without a driver; secret as a whole, for it carries a login."""

    url: SecretStr
    schema_: str | None = Field(default=None, alias="schema")


class SqlConnector(SqlSecond):
    """A database with a native driver."""

    kind: ClassVar[str] = "sql"
    options_model: ClassVar[type[ConnectorOptions]] = SqlOptions
    options: SqlOptions

    def __init__(self, options: Mapping[str, Any] | ConnectorOptions, session: Session | None = None) -> None:
        super().__init__(options, session)
        self._url = _parsed(self.options.url)
        self._product: Product = product_for(self._url.get_backend_name())
        self.networked = self._product.networked  # type: ignore[misc]  # a url decides it, not the class
        self._dialect: Any = None
        self._raw: Any = None
        self._engine: Engine | None = None
        self._schemas: dict[str, TableSchema] = {}
        self._places: dict[str, tuple[str | None, str]] = {}
        self._server_timeout: float | None = None

    def operations(self, object: str, keys: Sequence[Key]) -> Mapping[str, Operation]:
        """`lookup` by the key and `page` of 50 rows behind it, as an application would ask for them."""
        import sqlalchemy as sa

        schema = self.discover(object)
        promised: tuple[str, ...] = tuple(getattr(object, "key", ()))
        # without a key of its own the table is asked by the contract's, indexed or not: as an application would
        names = promised if promised and all(schema.column(n) for n in promised) else schema.keys or self._order(schema)
        if keys and len(keys[0]) != len(names):
            names = ()
        space, table = self._place(object)
        source = sa.table(table, *(sa.column(c.name) for c in schema.columns), schema=space)
        everything = sa.select(*source.c)
        if where := filter_of(object):
            everything = everything.where(sa.text(f"({where})"))
        found: dict[str, Operation] = {}
        if names:
            lookup = everything.where(sa.and_(*(source.c[n] == sa.bindparam(f"k{i}") for i, n in enumerate(names))))
            described = f"SELECT ... FROM {object} WHERE {' AND '.join(f'{n} = ?' for n in names)}"
            found["lookup"] = self._operation("lookup", lookup, len(names), described, space, table, names)
            first = names[0]
            page = everything.where(source.c[first] >= sa.bindparam("k0")).order_by(
                *(source.c[n] for n in names)
            ).limit(50)  # fmt: skip
            described = f"SELECT ... FROM {object} WHERE {first} >= ? ORDER BY {', '.join(names)} LIMIT 50"
            found["page"] = self._operation("page", page, 1, described, space, table, (first,))
        else:
            page = everything.limit(50)
            found["page"] = self._operation("page", page, 0, f"SELECT ... FROM {object} LIMIT 50", space, table, ())
        return found

    def _operation(
        self, name: str, statement: Any, parts: int, describe: str, schema: str | None, table: str, names: Sequence[str]
    ) -> Operation:
        text, sample = self._compiled(statement, {f"k{i}": i for i in range(parts)})
        positional = not isinstance(sample, dict)
        order = [next((i for i in range(parts) if v == i), 0) for v in sample] if positional else []

        def call(key: Key) -> OperationResult:
            if positional:
                bound: Any = tuple(key[i] for i in order) if parts else None
                if parts and len(sample) != parts:  # a dialect that binds its LIMIT as well
                    bound = self._compiled(statement, {f"k{i}": key[i] for i in range(parts)})[1]
            else:
                bound = {**sample, **{f"k{i}": key[i] for i in range(parts)}} or None
            before = self.session.meter.attempts
            rows = self._rows(text, bound, what=name)
            return OperationResult(calls=max(1, self.session.meter.attempts - before), rows=len(rows))

        place = f"{self.quoted_name(schema)}." if schema else ""
        shown = f"SELECT * FROM {place}{self.quoted_name(table)}"
        if name == "lookup":
            shown += " WHERE " + " AND ".join(f"{self.quoted_name(n)} = :key{i or ''}" for i, n in enumerate(names))
        elif names:
            shown += f" WHERE {self.quoted_name(names[0])} >= :key ORDER BY {self.quoted_name(names[0])} "
            shown += self._product.limit.format(50)
        return Operation(name, call, describe, shown)


def _parsed(secret: SecretStr) -> Any:
    import sqlalchemy as sa
    from sqlalchemy.exc import ArgumentError

    try:
        url = sa.make_url(secret.get_secret_value())
    except (ArgumentError, ValueError):
        raise SettingsError(
            "connector sql: url is not a database url.",
            remedy="It looks like postgresql://user:password@host:5432/database, special characters %-encoded.",
        ) from None
    return url.set(drivername=DRIVERS[url.drivername]) if url.drivername in DRIVERS else url
