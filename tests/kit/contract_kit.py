"""Lands rows in DuckDB exactly as a run does and asks a check about them; no system needed."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from weighbridge.checks.base import Context, Inconclusive, Landing, Permissions
from weighbridge.connectors.base import Column, Count, TableSchema
from weighbridge.connectors.session import Session
from weighbridge.contracts.loader import load
from weighbridge.contracts.models import Contract, IntegrationPoint
from weighbridge.contracts.points import points
from weighbridge.contracts.scale import Scale

HEAD = """\
apiVersion: v3.1.0
kind: DataContract
id: test
version: "1"
servers:
  - {server: crm, type: custom}
"""


def contract(folder: Path, body: str, name: str = "c.odcs.yaml") -> Contract:
    path = folder / name
    path.write_text(HEAD + textwrap.dedent(body), encoding="utf-8")
    return load(path)


def land(
    folder: Path,
    table: pa.Table,
    *,
    misfits: list[tuple[int, str, str, str]] | None = None,
    keys: tuple[str, ...] = (),
    name: str = "landing",
) -> Landing:
    path = folder / f"{name}.duckdb"
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as database:
        database.register("arriving", table)
        columns = ", ".join('"' + c.replace('"', '""') + '"' for c in table.column_names)
        database.execute(
            f"CREATE TABLE rows AS SELECT {columns}, (row_number() OVER ()) - 1 AS _wb_row, 0 AS _wb_page FROM arriving"
        )
        database.execute("CREATE TABLE rows__misfits (row BIGINT, column_name VARCHAR, raw VARCHAR, reason VARCHAR)")
        for misfit in misfits or []:
            database.execute("INSERT INTO rows__misfits VALUES (?, ?, ?, ?)", list(misfit))
    return Landing(path, "rows", table.num_rows, tuple(table.column_names), keys, (), len(misfits or []), 0.0)


@dataclass
class FakeEvidence:
    """Evidence that is simply there."""

    landing: Landing
    schema: TableSchema | None = None
    count_before: Count | None = None
    profile: dict[str, Any] = field(default_factory=dict)
    probe: Any = None


def schema_of(table: pa.Table, *, keys: tuple[str, ...] = (), **changes: dict[str, Any]) -> TableSchema:
    return TableSchema(
        tuple(
            Column(
                **{"name": f.name, "type": f.type, "nullable": True, "native": str(f.type), **changes.get(f.name, {})}
            )
            for f in table.schema
        ),
        keys,
    )


def context(folder: Path, **changes: Any) -> Context:
    values: dict[str, Any] = {
        "permissions": Permissions("sandbox", 1, 0, writes=False),
        "connector": lambda session=None: None,
        "session": Session(),
        "now": lambda: datetime(2026, 11, 24, tzinfo=UTC),
        "seed": 1,
        "folder": folder,
    }
    return Context(**{**values, **changes})


def point_of(made: Contract, name: str | None = None) -> IntegrationPoint:
    found = points([made], Scale(), None)
    return next(p for p in found if name is None or p.object.name == name)


def ask(check: Any, folder: Path, made: Contract, table: pa.Table, **options: Any) -> list[Any]:
    """Everything the check yields for the contract's first object over `table`."""
    misfits = options.pop("misfits", None)
    name = options.pop("object", None)
    schema = options.pop("schema", None) or schema_of(table)
    landing = land(folder, table, misfits=misfits)
    evidence = FakeEvidence(landing, schema, Count(table.num_rows, exact=True), options.pop("profile", {}))
    return list(check(point_of(made, name), evidence, context(folder, **options)))


def refuse(*_: Any) -> Landing:
    raise Inconclusive("the server is down", remedy="start it")
