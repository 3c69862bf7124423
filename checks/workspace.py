"""A locked DuckDB over what was landed: the point's rows, its siblings and the keys it refers to, as views.

Nothing but the landed files can be read from it: no other file, no network, no extension, no setting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.checks.base import Inconclusive, Landing
from weighbridge.checks.conditions import ROW, Source, Type, misfit_flag
from weighbridge.checks.dialects import DUCKDB
from weighbridge.checks.time_limit import interrupted_after
from weighbridge.contracts.models import SchemaObject

if TYPE_CHECKING:
    import duckdb

__all__ = ["DATA", "TimedOut", "Workspace", "type_of"]

DATA = "_wb_data"
MEMORY = "320MB"
_KINDS = {
    "varchar": "text", "enum": "text", "uuid": "text", "boolean": "boolean", "date": "date", "float": "float",
    "double": "float", "decimal": "decimal", "timestamp with time zone": "timestamptz", "blob": "binary",
    "timestamp": "timestamp", "timestamp_s": "timestamp", "timestamp_ms": "timestamp", "timestamp_ns": "timestamp",
    "time": "time", "time with time zone": "time", "time_ns": "time", "map": "map", "array": "list", "list": "list",
    "struct": "struct",
}  # fmt: skip
_INTEGERS = frozenset(
    {"tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint", "uhugeint"}
)


class TimedOut(Exception):
    """A statement ran longer than it may."""


def type_of(native: Any) -> Type:
    """DuckDB's own type as the kinds that rules know."""
    name = native.id
    if name in _INTEGERS:
        return Type("integer")
    if str(native) == "JSON":
        return Type("json")
    kind = _KINDS.get(name, "other")
    if kind == "struct":
        return Type("struct", {n: type_of(t) for n, t in native.children})
    if kind == "list":
        return Type("list", {"child": type_of(dict(native.children)["child"])})
    if kind == "map":
        return Type("map", {n: type_of(t) for n, t in native.children})
    return Type(kind)


class Workspace:
    """Open it in a `with` block; `source` is what conditions are compiled for."""

    def __init__(
        self,
        landing: Landing,
        object: SchemaObject,
        *,
        siblings: Mapping[str, tuple[Landing, SchemaObject]] | None = None,
        targets: Mapping[str, Landing] | None = None,
        memory: str = MEMORY,
    ) -> None:
        self.landing = landing
        self.object = object
        self._siblings = siblings or {}
        self._targets = targets or {}
        self._memory = memory
        self._attached: dict[Path, str] = {}
        self._raw: duckdb.DuckDBPyConnection | None = None
        self._cursors: list[duckdb.DuckDBPyConnection] = []
        self.source: Source
        self.target_types: dict[str, dict[str, Type]] = {}

    def __enter__(self) -> Workspace:
        import duckdb

        try:
            self._raw = duckdb.connect(":memory:")
            self._raw.execute(f"SET memory_limit='{self._memory}'; SET threads=2; SET TimeZone='UTC'")
            spill = DUCKDB.text(str(self.landing.database.with_suffix(".tmp")))
            self._raw.execute(f"SET temp_directory={spill}; SET preserve_insertion_order=false")
            self.source = self._rows()
            self._named(self.landing, self.object)
            for name, (landing, other) in self._siblings.items():
                if name != self.object.name:
                    self._named(landing, other)
            for view, landing in self._targets.items():
                table = self._table(landing)
                self._raw.execute(f"CREATE VIEW {DUCKDB.quoted(view)} AS SELECT * FROM {table}")
                self.target_types[view] = self._types(DUCKDB.quoted(view))
            self._raw.execute("SET enable_external_access=false; SET lock_configuration=true")
        except duckdb.Error as error:
            self.__exit__()
            raise Inconclusive(
                f"the landed rows of {self.object.name} cannot be opened ({_first_line(error)}).",
                remedy="Run again without --resume, so that they are read afresh.",
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._raw is not None:
            for cursor in self._cursors:
                cursor.close()
            self._cursors.clear()
            self._raw.close()
            self._raw = None

    @property
    def raw(self) -> duckdb.DuckDBPyConnection:
        assert self._raw is not None, "the workspace is open only inside its with block"  # noqa: S101
        return self._raw

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A further connection to the same database, stopped by `limited` too."""
        made = self.raw.cursor()
        self._cursors.append(made)
        return made

    def _table(self, landing: Landing) -> str:
        path = landing.database.resolve()
        if path not in self._attached:
            name = f"land{len(self._attached)}"
            self.raw.execute(f"ATTACH {DUCKDB.text(str(path))} AS {name} (READ_ONLY)")
            self._attached[path] = name
        return f"{self._attached[path]}.main.{DUCKDB.quoted(landing.table)}"

    def _types(self, table: str) -> dict[str, Type]:
        found = self.raw.sql(f"SELECT * FROM {table} LIMIT 0")
        return {n: type_of(t) for n, t in zip(found.columns, found.types, strict=True)}

    def _rows(self) -> Source:
        """The view of the point's own rows, with a flag for each column that has misfits."""
        table = self._table(self.landing)
        misfits: list[str] = []
        if self.landing.misfits:
            catalog = self._attached[self.landing.database.resolve()]
            aside = f"{catalog}.main.{DUCKDB.quoted(self.landing.table + '__misfits')}"
            found = self.raw.execute(f"SELECT DISTINCT column_name FROM {aside} ORDER BY 1").fetchall()
            misfits = [name for (name,) in found if name in self.landing.columns]
            joins = "".join(
                f" LEFT JOIN (SELECT DISTINCT row FROM {aside} WHERE column_name = {DUCKDB.text(name)}) m{i} "
                f"ON m{i}.row = r.{ROW}"
                for i, name in enumerate(misfits)
            )
            flags = "".join(
                f", (m{i}.row IS NOT NULL) AS {DUCKDB.quoted(misfit_flag(name))}" for i, name in enumerate(misfits)
            )
            self.raw.execute(f"CREATE VIEW {DATA} AS SELECT r.*{flags} FROM {table} r{joins}")
        else:
            self.raw.execute(f"CREATE VIEW {DATA} AS SELECT * FROM {table}")
        types = {n: t for n, t in self._types(DATA).items() if not n.startswith("_wb_")}
        return Source(self.object, types, misfits=frozenset(misfits), table=DATA)

    def _named(self, landing: Landing, object: SchemaObject) -> None:
        """A view under the object's name with columns under the properties' names, for rules written in SQL."""
        shown = [
            f"{DUCKDB.quoted(p.physical_name)} AS {DUCKDB.quoted(p.name)}"
            for p in object.properties
            if p.physical_name in landing.columns
        ]
        columns = ", ".join(shown) or "NULL AS nothing"
        self.raw.execute(f"CREATE VIEW {DUCKDB.quoted(object.name)} AS SELECT {columns} FROM {self._table(landing)}")

    @contextmanager
    def limited(self, seconds: float) -> Iterator[None]:
        """Interrupt what runs inside after `seconds`; it then raises DuckDB's InterruptException."""
        with interrupted_after(seconds, self._interrupt):
            yield

    def _interrupt(self) -> None:
        for connection in (self.raw, *self._cursors):
            connection.interrupt()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.raw.execute(query).fetchall()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
