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
_KNOWN_TO_READ = re.compile(
    r"^(regexp_|rlike|list_|array_|jsonb?_(?!execute)|struct_|row$|map_|union_|bit_|bool_|approx_|arg_|arg(min|max)$|string|str|text_|char"
    r"|date|day|month|year|iso|week|hour|minute|second|milli|micro|nano|quarter|epoch|era$|century|decade|time|make_|to_|try_|is"
    r"|has|max|min|mode$|median|quantile|percentile|avg|mean|sum|fsum|kahan|product|count|var|std|corr|covar|regr_|skew|kurt"
    r"|entropy|mad$|histogram|first|last$|last_(?!insert|value_of|seq)|last_value$|any_|nth_|ntile|lead$|lag$|rank|dense|percent_|cume|row_number"
    r"|levenshtein|damerau|jaro|jaccard|hamming|editdist|mismatches|soundex|difference$|translate|unaccent|normalize|nfc_|strip_accents"
    r"|format|printf|concat|left|right|[lr]?pad|[lr]?trim|instr|position|locate|charindex|patindex|field$|find_in_set|elt$|len|length|datalength|octet"
    r"|ord$|ascii|unicode|chr$|reverse|repeat|replicate|space$|stuff$|insert$|substr|split|overlay|initcap|upper|lower|ucase|lcase"
    r"|greatest|least|coalesce|ifnull|nullif|nvl|decode|encode|iif$|if$|choose$|abs$|ceil|floor|round|trunc|sign|sqrt|cbrt"
    r"|exp$|ln$|log|pow|pi$|degrees|radians|a?(sin|cos|tan)h?$|atan2|cot$|gcd|lcm|factorial|mod$|div$|fdiv|fmod|even$|gamma|lgamma"
    r"|xor$|nextafter|width_bucket|md5|sha|hash|base64|from_|hex|unhex|un?bin|bin$|crc32|uuid$|generate_series|range$|unnest|cardinality"
    r"|element_at|contains|starts_with|ends_with|prefix|suffix|like|ilike|not_like|age$|extract|justify_|now$|get(utc)?date|sys(utc)?date"
    r"|current_|today|local|add_months|months_between|eomonth|next_day|period_|datename|julian|strftime|unixepoch|from_unixtime|maketime|makedate"
    r"|total$|typeof|pg_typeof|similarity|word_similarity|group_concat|listagg|grouping|any$|all$|filter$|reduce|apply$|zip|flatten|aggregate"
    r"|tuple|values$|columns$|cast|convert|parse|numeric|bround|likely|unlikely|conv$|inet_aton|inet_ntoa|version$|equi_width|bar$|ordinality"
    r"|add$|subtract$|multiply$|divide$|arbitrary$|enum_|favg|[gs]et_bit$|get_current_timestamp|millennium|sem$"
    r"|transaction_timestamp|clock_timestamp|statement_timestamp|url_|uuid|reservoir|error$)",
    re.IGNORECASE,
)
"""Functions that the parser does not know as its own, and that only work out a value, in the dialects we meet."""
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
    if "/*!" in query or "/*M!" in query:
        return "hides words in a comment that MySQL and MariaDB execute"
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
        exp.Into, exp.Lock, exp.Set, exp.Pragma, exp.Attach, exp.Detach, exp.NextValueFor, exp.Parameter,
        exp.SessionParameter,
    )  # fmt: skip
    for node in tree.walk():
        if isinstance(node, writing):
            return f"contains {type(node).__name__.upper()}; only reading is allowed"
        if isinstance(node, exp.Func):
            name = node.name if isinstance(node, exp.Anonymous) else node.sql_name()
            if _FORBIDDEN_FUNCTIONS.match(name):
                return f"calls {name.lower()}, which reaches out of the data or waits"
            if isinstance(node, exp.Anonymous) and not _KNOWN_TO_READ.match(name):
                return f"calls {name.lower()[:60]}, which is not known to read only"
        if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
            told = node.this.name
            if node.this.args.get("quoted") and ("/" in told or "\\" in told or "://" in told):
                return f"reads the file {told[:60]}"
    return None
