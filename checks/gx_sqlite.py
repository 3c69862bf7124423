"""The stock path of Great Expectations: the landed rows copied to SQLite, for when DuckDB and GX do not fit together.

About ten times slower, and without nested data; it needs no adaptation, so it works with whatever GX is installed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from weighbridge.checks.conditions import Source
from weighbridge.checks.dialects import DIALECTS, DUCKDB
from weighbridge.checks.suite import Planned, compile_suite
from weighbridge.checks.workspace import DATA, Workspace

if TYPE_CHECKING:
    from weighbridge.checks.gx import Verdict

__all__ = ["validate_in_sqlite"]

BATCH = 20_000
_AFFINITY = {"integer": "BIGINT", "boolean": "BOOLEAN", "float": "FLOAT", "decimal": "DECIMAL"}


def validate_in_sqlite(planned: Sequence[Planned], workspace: Workspace) -> dict[int, Verdict]:
    """GX's verdict by id of the plan, from a copy of the rows in SQLite."""
    import sqlalchemy as sa

    from weighbridge.checks import gx

    words = DIALECTS["sqlite"]
    columns = {n: t for n, t in workspace.source.columns.items() if t.kind not in ("struct", "list", "map", "binary")}
    source = Source(workspace.object, columns, words=words, misfits=workspace.source.misfits, table=DATA)
    path = workspace.landing.database.with_suffix(".sqlite")
    path.unlink(missing_ok=True)
    views = dict(workspace.target_types)
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.pool.StaticPool)
    try:
        _copy(workspace, path, source)
        for view in views:
            _copy_view(workspace, path, view)
        again = compile_suite(
            [p.rule for p in planned], source, targets=views, target_columns={v: list(t) for v, t in views.items()}
        )
        runnable = [(old, new) for old, new in zip(planned, again, strict=True) if new.type is not None]
        verdicts = gx.validate(engine, DATA, [new for _, new in runnable])
        found = {id(old): verdict for (old, _), verdict in zip(runnable, verdicts, strict=True)}
        for old, new in zip(planned, again, strict=True):
            if new.type is None:
                found[id(old)] = gx.Verdict(None, error=new.reason)
        return {key: replace(v) for key, v in found.items()}
    finally:
        engine.dispose()
        path.unlink(missing_ok=True)


def _copy(workspace: Workspace, path: object, source: Source) -> None:
    flags = [f"_wb_misfit:{n}" for n in source.misfits]
    names = [*source.columns, *flags, "_wb_row"]
    kinds = [*(_AFFINITY.get(t.kind, "TEXT") for t in source.columns.values()), *("BOOLEAN" for _ in flags), "BIGINT"]
    _fill(workspace, path, DATA, DATA, names, kinds)


def _copy_view(workspace: Workspace, path: object, view: str) -> None:
    types = {n: t for n, t in workspace.target_types[view].items() if not n.startswith("_wb_")}
    kinds = [_AFFINITY.get(t.kind, "TEXT") for t in types.values()]
    _fill(workspace, path, DUCKDB.quoted(view), DUCKDB.quoted(view), list(types), kinds)


def _fill(
    workspace: Workspace, path: object, origin: str, table: str, names: Sequence[str], kinds: Sequence[str]
) -> None:
    quoted = [DUCKDB.quoted(n) for n in names]
    shown = ", ".join(
        q if k in ("BIGINT", "BOOLEAN", "FLOAT") else (f"CAST({q} AS {'DOUBLE' if k == 'DECIMAL' else 'VARCHAR'})")
        for q, k in zip(quoted, kinds, strict=True)
    )
    rows = workspace.raw.execute(f"SELECT {shown} FROM {origin}")
    with sqlite3.connect(str(path)) as database:
        declared = ", ".join(f"{q} {k}" for q, k in zip(quoted, kinds, strict=True))
        database.execute(f"CREATE TABLE {table} ({declared})")
        marks = ", ".join("?" for _ in names)
        while batch := rows.fetchmany(BATCH):
            database.executemany(f"INSERT INTO {table} VALUES ({marks})", batch)
    database.close()
