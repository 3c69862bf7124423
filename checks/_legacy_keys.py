"""Keys, and what changed since: keys that are missing or alike, and the column that tells changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weighbridge.checks._legacy_look import Look, exact, listed
from weighbridge.checks._legacy_rows import rows_of
from weighbridge.checks._legacy_sql import folded, is_text
from weighbridge.checks.base import Finding
from weighbridge.connectors.base import Incremental, Indexed
from weighbridge.connectors.errors import ConnectorError

__all__ = ["keys", "watermark"]

MOST_CANDIDATES = 8


def keys(look: Look) -> Iterator[Finding]:
    """One grouping by the key under trim, case and Unicode form; without a key also what could be one."""
    if look.schema.keys:
        if any(is_text(c) for c in look.schema.columns if c.name in look.key):  # numbers are never alike
            yield from _alike(look, *_grouped(look))
        return
    if not look.key:
        yield _no_key(look, unique=_candidates(look))
        return
    try:
        groups, alike, same = _grouped(look)
    except ConnectorError:
        yield _no_key(look)
        raise
    yield _no_key(look, same=same)
    yield from _alike(look, groups, alike, same)


def _alike(look: Look, groups: int, alike: int, _same: int) -> Iterator[Finding]:
    if groups:
        yield look.finding(
            "similar_keys",
            f"{alike:,} keys ({', '.join(look.key)}) are equal to another one but for case, spaces or "
            "how a letter is composed",
            expected=0, observed=alike, evidence={"groups": groups},
            business_effect="One customer or order is counted, written to and answered for as two.",
        )  # fmt: skip


def _no_key(look: Look, *, same: int | None = None, unique: list[str] | None = None) -> Finding:
    promised = ", ".join(p.physical_name for p in look.point.object.key)
    message = f"{look.ref} has no primary key"
    evidence: dict[str, Any] = {}
    if promised:
        message += f"; the contract counts on {promised}, which nothing keeps unique"
    if same is not None:
        evidence["rows_with_a_key_seen_before"] = same
        message += f": {same:,} rows repeat one" if same else ", though it is unique now"
    if unique:
        evidence |= {"unique_now": unique, "sample": look.sample}
        message += f"; {listed(unique)} could be one: unique in {look.sample}"
    return look.finding(
        "no_primary_key", message, expected=promised or "a primary key", observed="none", evidence=evidence,
        business_effect="The same record can stand twice, and an update can hit the wrong one.",
    )  # fmt: skip


def _grouped(look: Look) -> tuple[int, int, int]:
    """Groups of keys that are alike, the keys in them beyond the first, and rows that repeat a key exactly."""
    if not look.counts:
        return _grouped_rows(look)
    dialect = look.dialect
    texts = {c.name for c in look.schema.columns if is_text(c)}
    seen = [
        exact(dialect, folded(dialect, look.name(n), look.version, look.encoding)) if n in texts else look.name(n)
        for n in look.key
    ]
    forms = [exact(dialect, look.name(n)) for n in look.key if n in texts]
    differ = " OR ".join(f"MIN({f}) <> MAX({f})" for f in forms) or "1 = 0"
    groups = (
        f"SELECT COUNT(*) AS n, CASE WHEN {differ} THEN 1 ELSE 0 END AS unlike "
        f"FROM {look.table}{look.where} GROUP BY {', '.join(seen)} HAVING COUNT(*) > 1"
    )
    row = look.ask(f"SELECT SUM(unlike), SUM(unlike * (n - 1)), SUM((1 - unlike) * (n - 1)) FROM ({groups}) g")[0]
    groups_alike, alike, same = (int(v or 0) for v in row)
    return groups_alike, alike, same


def _grouped_rows(look: Look) -> tuple[int, int, int]:
    import unicodedata

    forms: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for row in rows_of(look, list(look.key)):
        key = tuple(row[n] for n in look.key)
        plain = tuple(unicodedata.normalize("NFC", v).strip().upper() if isinstance(v, str) else v for v in key)
        forms.setdefault(plain, []).append(key)
    unlike = [keys for keys in forms.values() if len(set(keys)) > 1]
    same = sum(len(keys) - 1 for keys in forms.values() if len(set(keys)) == 1)
    return len(unlike), sum(len(keys) - 1 for keys in unlike), same


def _candidates(look: Look) -> list[str]:
    """Columns that hold no value twice; of the sample where the table is large."""
    import pyarrow.types as pt

    fit = [
        c.name
        for c in look.schema.columns
        if pt.is_integer(c.type)
        or (is_text(c) and c.length is not None and 0 < c.length <= 100)
        or pt.is_decimal(c.type)
    ][:MOST_CANDIDATES]
    if not fit or not look.counts or look.rows < 2:
        return []
    counts = ", ".join(f"COUNT(DISTINCT {look.name(n)})" for n in fit)
    row = look.ask(f"SELECT COUNT(*), {counts} FROM {look.source()}{look.where}")[0]
    return [name for name, n in zip(fit, row[1:], strict=True) if int(n) == int(row[0]) > 1]


def watermark(look: Look) -> Iterator[Finding]:
    """Whether changes can be asked for, and found by an index."""
    import pyarrow.types as pt

    if look.rows < 2:
        return  # one row is read whole in any case
    incremental = look.connector.facet(Incremental)
    column = None if incremental is None else incremental.watermark(look.ref)
    if column is None:
        stamps = [c.name for c in look.schema.columns if pt.is_timestamp(c.type)]
        yield look.finding(
            "no_watermark",
            f"{look.ref} has no column by which changes could be found"
            + (f" ({listed(stamps)} may be one under another name)" if stamps else ""),
            expected="a column like updated_at", observed=stamps or "none",
            evidence={"deletes": "are invisible as well: only a full read shows them"},
            business_effect=f"Every sync reads all {look.rows:,} rows.",
        )  # fmt: skip
        return
    indexed = look.connector.facet(Indexed)
    indexes = None if indexed is None else indexed.indexes(look.ref)
    if indexes is None:
        look.notes.append("the driver does not say which columns are indexed")
    elif not any(columns and columns[0] == column for columns in indexes):
        yield look.finding(
            "watermark_not_indexed", f"{column} says what changed, but no index begins with it",
            expected=f"an index on {column}", observed=[", ".join(c) for c in indexes] or "no index",
            business_effect="Asking for what changed costs as much as reading everything.",
        )  # fmt: skip
