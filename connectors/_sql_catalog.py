"""What a database says of itself: who answers, its limits, its tables, their columns, keys and indexes."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from weighbridge.connectors._sql_connection import Key, SqlConnection
from weighbridge.connectors._sql_dialects import Product
from weighbridge.connectors.base import Column, Count, Limit, Observation, Probe, TableSchema, filter_of
from weighbridge.connectors.errors import MissingObjectError

__all__ = ["SqlCatalog"]

T = TypeVar("T")
WATERMARKS = (
    "updated_at", "modified_at", "last_modified", "changed_at", "last_updated", "updated", "modified", "changed",
    "update_date", "modify_date", "change_date", "updated_on", "modified_on", "changed_on", "lastupdate", "last_update",
    "systemmodstamp", "write_date", "upd_ts", "update_ts", "mod_ts", "aedat",
)  # fmt: skip
"""Names under which legacy tables keep the time of the last change, most usual first."""


class SqlCatalog(SqlConnection):
    """A connection that knows what is there."""

    def probe(self) -> Probe:
        started = time.monotonic()
        facts = dict(self._product.facts(self._ask, self.options.schema_))
        tls = self._product.tls(self._ensure(), self._ask) if self._product.networked else None
        facts["driver"] = self._url.drivername
        facts["autocommit"] = True
        if tls is not None:
            facts |= {"tls": tls["tls"], "tls_version": tls["version"], "tls_cipher": tls["cipher"]}
            facts["certificate_expires"] = tls.get("certificate_expires")
        seen: list[Observation] = list(self._product.observations(facts))
        return Probe(
            product=self._product.name if self._product.name != Product.name else self.dialect,
            version=_text(facts.pop("version", None)),
            user=_text(facts.pop("user", None)),
            seconds=time.monotonic() - started,
            facts=facts,
            observations=tuple(seen),
        )

    def limits(self) -> Sequence[Limit]:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return [
            Limit(name, scope, cap, unit, window, used, "reported", self.session.environment, at, detail)
            for name, scope, cap, unit, window, used, detail in self._product.limits(self._ask)
        ]

    def _inspect(self, question: Callable[[Any], T], what: str) -> T:
        import warnings

        import sqlalchemy as sa
        from sqlalchemy.exc import SAWarning

        engine = self.engine()
        with warnings.catch_warnings():
            # a type SQLAlchemy does not know is read as text and says so in `native`
            warnings.simplefilter("ignore", SAWarning)
            with self._mapped(what):
                return question(sa.inspect(engine))

    def objects(self) -> Sequence[str]:
        schema = self.options.schema_
        names = self._inspect(
            lambda i: [*i.get_table_names(schema=schema), *i.get_view_names(schema=schema)], "list tables"
        )
        return sorted(names)

    def _place(self, object: str) -> tuple[str | None, str]:
        """Schema and table of a physical name: as it stands, else split at its last dot."""
        name = str(object)
        if name not in self._places:
            self._places[name] = self._looked_up(name)
        return self._places[name]

    def _looked_up(self, name: str) -> tuple[str | None, str]:
        schema, _, table = name.rpartition(".")
        unseen = (schema, table) if schema else (self.options.schema_, name)
        places = [(self.options.schema_, name)] + [unseen] * bool(schema)
        if self._folds:
            from sqlalchemy.sql import quoted_name

            # small letters mean the folded name first, as in SQL, then the name that was made between quotes
            places = [(space, n) for space, word in places for n in (word, quoted_name(word, quote=True))]
        if len(places) == 1:
            return unseen
        for space, word in places:
            if self._inspect(lambda i, s=space, t=word: i.has_table(t, schema=s), "look up"):
                return space, word
        return unseen

    @property
    def _folds(self) -> bool:
        """Whether names without quotes become capitals here, and SQLAlchemy gives them in small letters."""
        return bool(getattr(self._dialect, "requires_name_normalize", False))

    def _spelling(self, object: str) -> Callable[[str], str]:
        """How the names of this object's columns are given: as the object was asked for, in small letters or capitals.

        A contract that writes the table as the server keeps it (`ORDERS`) has its columns so too.
        """
        name = str(object).rpartition(".")[2]
        if self._folds and name != name.lower() and name == name.upper():
            return lambda column: column if getattr(column, "quote", None) else self._dialect.denormalize_name(column)
        return lambda column: column

    def quoted(self, object: str) -> str:
        schema, table = self._place(object)
        name = self._quoted(table)
        return f"{self._quoted(schema)}.{name}" if schema else name

    def _quoted(self, name: str) -> str:
        preparer = self._writer().identifier_preparer
        quoted = preparer.quote(name)
        # a dialect whose driver takes %s doubles each %: statements that we write go without parameters
        return quoted.replace("%%", "%") if getattr(preparer, "_double_percents", False) else quoted

    def quoted_name(self, column: str) -> str:
        return self._quoted(self._known_name(column))

    def _known_name(self, column: str) -> str:
        """A column's name as discovered: one that was made between quotes in small letters carries that mark."""
        if not self._folds or getattr(column, "quote", None) is not None:
            return column
        found = [c.name for schema in self._schemas.values() for c in schema.columns if c.name == column]
        return found[0] if found and all(getattr(name, "quote", None) for name in found) else column

    def discover(self, object: str) -> TableSchema:
        name = str(object)
        if name not in self._schemas:
            self._schemas[name] = self._discovered(name)
        return self._schemas[name]

    def _discovered(self, object: str) -> TableSchema:
        from sqlalchemy.exc import NoSuchTableError

        schema, table = self._place(object)
        spelled = self._spelling(object)
        stored = self._dialect.denormalize_name if self._folds else str
        told = self._product.types(self._ask, stored(table))
        mended = {self._dialect.normalize_name(c) if self._folds else c: type_ for c, type_ in told.items()}

        def question(inspector: Any) -> TableSchema:
            reflected = inspector.get_columns(table, schema=schema)
            columns = [{**c, "name": spelled(c["name"]), "type": mended.get(c["name"], c["type"])} for c in reflected]
            keys = tuple(map(spelled, inspector.get_pk_constraint(table, schema=schema)["constrained_columns"] or ()))
            references = {
                spelled(pair[0]): f"{spelled(fk['referred_table'])}.{spelled(pair[1])}"
                for fk in inspector.get_foreign_keys(table, schema=schema)
                for pair in zip(fk["constrained_columns"], fk["referred_columns"], strict=False)
            }
            unique = {
                spelled(i["column_names"][0])
                for i in inspector.get_indexes(table, schema=schema)
                if i.get("unique") and len(i["column_names"]) == 1
            } | {
                spelled(u["column_names"][0])
                for u in inspector.get_unique_constraints(table, schema=schema)
                if len(u["column_names"]) == 1
            }
            if len(keys) == 1:
                unique.add(keys[0])
            return TableSchema(tuple(self._column(c, references, unique) for c in columns), keys)

        try:
            found = self._inspect(question, f"discover {object}")
        except NoSuchTableError:
            found = None
        except MissingObjectError:
            found = None
        if found is None or not found.columns:
            raise MissingObjectError(
                f"{self.session.system}: there is no table or view {object!r}"
                + (f" in schema {schema!r}." if schema else "."),
                remedy=self._suggest(object),
            )
        return found

    def _suggest(self, object: str) -> str:
        known = self.objects()
        lowered = {name.lower(): name for name in known}
        close = difflib.get_close_matches(object.rpartition(".")[2].lower(), lowered, n=3)
        if close:
            return f"Did you mean {', '.join(repr(lowered[c]) for c in close)}?"
        shown = ", ".join(known[:10]) or "none this login may see"
        return f"There are: {shown}{' ...' if len(known) > 10 else ''}. Check physicalName and the option schema."

    def _column(self, c: Mapping[str, Any], references: Mapping[str, str], unique: set[str]) -> Column:
        from weighbridge.connectors._sql_types import arrow_type

        declared = c["type"]
        try:
            native = declared.compile(dialect=self._dialect)
        except Exception:  # noqa: BLE001 - SQLAlchemy raises several classes for types it cannot spell
            native = type(declared).__name__
        enums = getattr(declared, "enums", None)
        return Column(
            name=c["name"],
            type=arrow_type(declared, self.dialect),
            nullable=c.get("nullable"),
            native=str(native).lower(),
            length=getattr(declared, "length", None) if isinstance(getattr(declared, "length", None), int) else None,
            precision=getattr(declared, "precision", None),
            scale=getattr(declared, "scale", None),
            enum=tuple(enums) if enums else None,
            references=references.get(c["name"]),
            unique=c["name"] in unique,
        )

    def count(self, object: str) -> Count:
        statement = f"SELECT count(*) FROM {self.quoted(object)}{_where(filter_of(object))}"
        return Count(int(self._object_rows(object, statement, "count")[0][0]), exact=True)

    def _object_rows(self, object: str, statement: str, what: str) -> list[Key]:
        try:
            return self._rows(statement, what=what)
        except MissingObjectError as error:
            # a server may speak of it in capitals
            named = error.message if str(object) in error.message else f"{error.message} ({object!r} was asked for)"
            raise MissingObjectError(named, remedy=self._suggest(str(object))) from error

    def indexes(self, object: str) -> Sequence[tuple[str, ...]] | None:
        schema, table = self._place(object)
        spelled = self._spelling(object)
        told = self._product.indexes(self._ask, self._dialect.denormalize_name(table) if self._folds else table)
        if told is not None:
            return [tuple(spelled(self._dialect.normalize_name(c)) for c in columns) for columns in told]

        def question(inspector: Any) -> list[tuple[str, ...]]:
            found = [tuple(i["column_names"]) for i in inspector.get_indexes(table, schema=schema)]
            found += [tuple(u["column_names"]) for u in inspector.get_unique_constraints(table, schema=schema)]
            keys = tuple(inspector.get_pk_constraint(table, schema=schema).get("constrained_columns") or ())
            return list(dict.fromkeys([*([keys] if keys else []), *found]))

        return self._inspect(question, f"indexes of {object}")

    def watermark(self, object: str) -> str | None:
        import pyarrow as pa

        schema = self.discover(object)
        moving = {c.name.lower(): c.name for c in schema.columns if pa.types.is_timestamp(c.type)}
        return next((moving[name] for name in WATERMARKS if name in moving), None)


def _where(condition: str | None) -> str:
    return f" WHERE ({condition})" if condition else ""


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
