"""Says whether a statement of a contract only reads: one SELECT, no writing, no reaching out of the database."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["refusal", "substitute"]

MAX_STATEMENT = 20_000

_FORBIDDEN_FUNCTIONS = re.compile(
    r"^(read_|parquet_|sniff_|glob$|query$|query_table$|pg_read|pg_write|pg_ls|lo_|dblink|load_file|pg_sleep|sleep$"
    r"|benchmark$|xp_|openrowset|openquery|opendatasource|system$|shell|getenv$|install|pragma_|duckdb_secrets"
    r"|which_secret|copy_|write_|iceberg_|delta_|sqlite_|postgres_|mysql_|st_read|load_extension|readfile|writefile"
    r"|nextval$|setval$|set_config$|pg_terminate|pg_cancel|pg_reload|pg_advisory|txid_|query_to_xml|database_to_xml"
    r"|table_to_xml|cursor_to_xml|schema_to_xml|pg_export|pg_switch|pg_promote|pg_stat_file|pg_current_logfile"
    r"|get_lock$|release_lock|force_|edit$|fts3_tokenizer|checkpoint|force_checkpoint)",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(r"\$\{(object|property|table|column)\}")


def substitute(query: str, *, object: str, property: str | None) -> str:
    """The query with `${object}` and `${property}` (and the standard's older `${table}`, `${column}`) filled in."""
    names = {"object": object, "table": object, "property": property, "column": property}
    return _PLACEHOLDER.sub(lambda m: names[m.group(1)] or m.group(0), query)


@lru_cache(maxsize=1024)
def refusal(query: str, dialect: str | None = None) -> str | None:
    """Why this statement is not run; None for one that only reads."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    if len(query) > MAX_STATEMENT:
        return f"has {len(query):,} characters; {MAX_STATEMENT:,} are allowed"
    text = _PLACEHOLDER.sub(r"wb_\1", query)
    try:
        trees = [t for t in sqlglot.parse(text, read=dialect) if t is not None]
    except SqlglotError as error:
        first = " ".join(str(error).replace("\x1b[4m", "").replace("\x1b[0m", "").split())
        return f"cannot be parsed, so it cannot be known to read only: {first[:200]}"
    except RecursionError:
        return "is nested too deeply"
    if len(trees) != 1:
        return f"holds {len(trees)} statements; one SELECT is allowed"
    tree = trees[0]
    if not isinstance(tree, exp.Query):
        return f"is a {type(tree).__name__.upper()} statement; only SELECT is allowed"
    writing = (
        exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Drop, exp.Alter, exp.Command, exp.Copy,
        exp.Into, exp.Lock, exp.Set, exp.Pragma, exp.Attach, exp.Detach,
    )  # fmt: skip
    for node in tree.walk():
        if isinstance(node, writing):
            return f"contains {type(node).__name__.upper()}; only reading is allowed"
        if isinstance(node, exp.Func):
            name = node.name if isinstance(node, exp.Anonymous) else node.sql_name()
            if _FORBIDDEN_FUNCTIONS.match(name):
                return f"calls {name.lower()}, which reaches out of the data or waits"
        if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
            told = node.this.name
            if node.this.args.get("quoted") and ("/" in told or "\\" in told or "://" in told):
                return f"reads the file {told[:60]}"
    return None
