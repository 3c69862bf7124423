"""References that lead nowhere: declared ones that are not enforced, and columns named as another table's key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from weighbridge.checks._legacy_look import Look, counted
from weighbridge.checks.base import Finding
from weighbridge.connectors.base import Column, TableSchema
from weighbridge.connectors.errors import MissingObjectError

__all__ = ["references"]

MAX_TABLES = 60
MOST_JOINS = 20
KEY_WORDS = "id|no|nr|num|number|code|key"


@dataclass(frozen=True, slots=True)
class Reference:
    """Columns, and the table in whose key each of their values should stand."""

    columns: tuple[str, ...]
    table: str
    target: str
    """The table as it is written in SQL."""
    keys: tuple[str, ...]

    def __str__(self) -> str:
        own, keys = (", ".join(names) for names in (self.columns, self.keys))
        return f"{own} -> {self.table}.{keys}" if len(self.keys) == 1 else f"({own}) -> {self.table} ({keys})"


def references(look: Look) -> Iterator[Finding]:
    """One anti-join for all references that the database does not keep and the contract does not judge."""
    if not look.counts:
        look.notes.append("references were not looked at: this driver's SQL has no joins")
        return
    judged = _judged(look)
    declared = [(r, kept) for r, kept in _declared(look) if not set(r.columns) <= judged]
    taken = judged | {c for r, _ in declared for c in r.columns}
    wanted = [r for r, kept in declared if not kept]
    wanted += _named_alike(look, taken | {c.name for c in look.schema.columns if c.references})
    if len(wanted) > MOST_JOINS:
        look.notes.append(f"{MOST_JOINS} of {len(wanted)} possible references were looked at")
        wanted = wanted[:MOST_JOINS]
    if not wanted:
        return
    # a column may be named as the key of two tables: it refers to the one that knows most of its values
    fewest: dict[tuple[str, ...], tuple[int, Reference]] = {}
    for reference, n in zip(wanted, _counted(look, wanted), strict=True):
        if reference.columns not in fewest or n < fewest[reference.columns][0]:
            fewest[reference.columns] = (n, reference)
    orphans = {str(reference): n for n, reference in fewest.values() if n}
    if orphans:
        total = sum(orphans.values())
        listed = ", ".join(f"{path} ({n:,})" for path, n in orphans.items())
        yield look.finding(
            "orphans", f"{total:,} references lead nowhere: {listed}", expected=0, observed=total,
            evidence={**orphans, "sample": look.sample},
        )  # fmt: skip


def _counted(look: Look, wanted: list[Reference]) -> list[int]:
    joins, sums = "", []
    for number, reference in enumerate(wanted):
        inner = ", ".join(f"{look.name(key)} AS k{i}" for i, key in enumerate(reference.keys))
        own = [f"t.{look.name(column)}" for column in reference.columns]
        same = " AND ".join(f"p{number}.k{i} = {column}" for i, column in enumerate(own))
        joins += f" LEFT JOIN (SELECT DISTINCT {inner} FROM {reference.target}) p{number} ON {same}"
        # a reference of several columns with a null among them refers to nothing
        sums.append(counted(" AND ".join([*(f"{c} IS NOT NULL" for c in own), f"p{number}.k0 IS NULL"])))
    # only what is needed, for some products cannot give a whole row twice under one name
    columns = ", ".join(look.name(c) for c in dict.fromkeys(c for r in wanted for c in r.columns))
    rows = f"(SELECT {columns} FROM {look.source()}{look.where}) t"
    return [int(n or 0) for n in look.ask(f"SELECT {', '.join(sums)} FROM {rows}{joins}")[0]]


def _judged(look: Look) -> set[str]:
    """Columns whose relationship the contract states: another check counts those."""
    promised = look.point.object
    relations = [*promised.relationships, *(r for p in promised.properties for r in p.relationships)]
    judged = {name for relation in relations for name in relation.columns}
    return judged | {p.physical_name for p in promised.properties if p.name in judged}


# --- declared ------------------------------------------------------------------------------------------------------


def _declared(look: Look) -> list[tuple[Reference, bool]]:
    """Foreign keys of the table, and whether the database vouches for the rows that are there."""
    if look.dialect == "postgresql":
        table = look.table.replace("'", "''")
        rows = look.ask(
            "SELECT c.conname, CASE WHEN c.convalidated THEN 1 ELSE 0 END, n.nspname, r.relname, a.attname, b.attname "
            "FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_class r ON r.oid = c.confrelid "
            "JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace "
            "CROSS JOIN LATERAL unnest(c.conkey, c.confkey) WITH ORDINALITY AS k(own, other, place) "
            "JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.own "
            "JOIN pg_catalog.pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = k.other "
            f"WHERE c.contype = 'f' AND c.conrelid = CAST('{table}' AS regclass) ORDER BY c.conname, k.place"
        )
    elif look.dialect == "mysql":
        # what was loaded with foreign_key_checks=0 was never checked
        space, _, table = str(look.ref).replace("'", "''").rpartition(".")
        place = f"'{space}'" if space else "DATABASE()"
        rows = look.ask(
            "SELECT constraint_name, 0, referenced_table_schema, referenced_table_name, column_name, "
            "referenced_column_name FROM information_schema.key_column_usage WHERE referenced_table_name IS NOT NULL "
            f"AND table_schema = {place} AND table_name = '{table}' "
            "ORDER BY constraint_name, ordinal_position"
        )
    elif look.dialect == "sqlite":
        rows = _pragma(look)
    else:
        return [
            (Reference((c.name,), table, look.sql.quoted(table), (key,)), True)
            for c in look.schema.columns
            if c.references
            for table, _, key in [c.references.rpartition(".")]
        ]
    found: dict[str, list[tuple[Any, ...]]] = {}
    for row in rows:
        found.setdefault(str(row[0]), []).append(row)
    return [
        (
            Reference(
                tuple(str(r[4]) for r in parts), str(parts[0][3]), _placed(look, *parts[0][2:4]),
                tuple(str(r[5]) for r in parts),
            ),
            bool(int(parts[0][1])),
        )
        for parts in found.values()
    ]  # fmt: skip


def _pragma(look: Look) -> list[tuple[Any, ...]]:
    rows = look.ask(f"PRAGMA foreign_key_list({look.table})")
    found: list[tuple[Any, ...]] = []
    for number, place, table, own, other in sorted((r[:5] for r in rows), key=lambda r: (int(r[0]), int(r[1]))):
        schema = _schema_of(look, str(table))
        if schema is None or (other is None and len(schema.keys) <= int(place)):
            continue  # the table that it refers to is gone, or has no key
        found.append((number, 0, None, table, own, schema.keys[int(place)] if other is None else other))
    return found


def _placed(look: Look, schema: str | None, table: str) -> str:
    return f"{look.name(schema)}.{look.name(table)}" if schema else look.sql.quoted(table)


def _schema_of(look: Look, table: str) -> TableSchema | None:
    try:
        return look.connector.discover(table)
    except MissingObjectError:
        return None


# --- named alike ---------------------------------------------------------------------------------------------------


def _named_alike(look: Look, taken: set[str]) -> list[Reference]:
    """Columns named as another table's key, one by one or together, where nothing declares what they mean."""
    own = set(look.schema.keys)
    suspects = {c.name: c for c in look.schema.columns if c.name not in taken and _refers(c.name)}
    found: list[Reference] = []
    tables = list(look.connector.objects()) if suspects else []
    if len(tables) > MAX_TABLES:
        look.notes.append(f"references were looked for in {MAX_TABLES} of {len(tables)} tables")
    for table in tables[:MAX_TABLES]:
        schema = None if table == str(look.ref) else _schema_of(look, table)
        if schema is None or not schema.keys:
            continue
        target = look.sql.quoted(table)
        if len(schema.keys) == 1:
            key = schema.column(schema.keys[0])
            found += [
                Reference((c.name,), table, target, schema.keys)
                for c in suspects.values()
                if key is not None and own != {c.name} and _alike(key, c) and _names(c.name, table, key.name)
            ]
        elif set(schema.keys) != own and _together(look, schema, suspects):
            found.append(Reference(schema.keys, table, target, schema.keys))
    return found


def _together(look: Look, schema: TableSchema, suspects: dict[str, Column]) -> bool:
    """Whether all columns of the other key stand here too, one of them as a reference by its name."""
    pairs = [(schema.column(k), look.schema.column(k)) for k in schema.keys]
    if not all(theirs is not None and ours is not None and _alike(theirs, ours) for theirs, ours in pairs):
        return False
    bare = any(re.fullmatch(f"(?i){KEY_WORDS}", k) for k in schema.keys)  # an id of its own, in every table
    return not bare and any(k in suspects for k in schema.keys)


def _alike(one: Column, other: Column) -> bool:
    import pyarrow.types as pt

    return one.type == other.type or (pt.is_integer(one.type) and pt.is_integer(other.type))


def _refers(column: str) -> bool:
    return re.search(f"(?i)(_({KEY_WORDS})|id)$", column) is not None


def _names(column: str, table: str, key: str) -> bool:
    """Whether `customer_id` speaks of table `customers` with key `id`, or `customer_no` of one with that very key."""
    column, table, key = column.lower(), table.lower(), key.lower()
    stem = re.sub(f"_?({KEY_WORDS})$", "", column)
    own = re.sub(f"_?({KEY_WORDS})$", "", key)
    same_table = bool(stem) and table.rstrip("s") in {stem, stem.rstrip("s")}
    return (column == key and bool(own)) or (same_table and (own in {"", stem}))
