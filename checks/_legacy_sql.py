"""The SQL of the legacy check: shapes of text, sampling and dates in the words of each dialect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from weighbridge.connectors.base import Column

__all__ = ["MOJIBAKE", "SENTINELS", "folded", "is_text", "sample_of", "sentinel", "shape"]

SENTINELS = ("1900-01-01", "9999-12-31", "1899-12-30", "1753-01-01", "0001-01-01", "2999-12-31", "1111-11-11")
"""Days that stand for 'unknown' or 'never' in old systems, and the zero days of Excel, SQL Server and .NET."""

# UTF-8 read as cp1252: the lead bytes C3, C2 and E2 80 as characters, then a continuation byte as cp1252 shows it
_CONTINUATION = "\u00a0-\u00bf\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u017d"
_CONTINUATION += "\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u017e\u0178"
MOJIBAKE = f"[\u00c2\u00c3][{_CONTINUATION}]|\u00e2\u20ac"

# EBCDIC read as latin-1: capitals and digits as accented letters, a space as @, small letters as signs and controls
_CAPITALS = "\u00c1-\u00c9\u00d1-\u00d9\u00e2-\u00e9\u00f0-\u00f9"
_EBCDIC = f"{_CAPITALS}@Kka`\u0081-\u0089\u0091-\u0099\u00a2-\u00a9"

REGEX: Mapping[str, str] = {
    "digits": "^[0-9]+$",
    "leading_zero": "^0[0-9]+$",
    "decimal_comma": "^[+-]?([0-9]+|[0-9]{1,3}([.][0-9]{3})+),[0-9]+$",
    "compact_date": "^(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])$",
    "iso_date": "^[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])([ T].*)?$",
    "local_date": "^[0-9]{1,2}[./][0-9]{1,2}[./][12][0-9]{3}$",
    "short_year": "^[0-9]{1,2}[./-][0-9]{1,2}[./-][0-9]{2}$",
    "zero_date": "^0000-?00-?00",
    "mojibake": MOJIBAKE,
    "ebcdic": f"^[{_CAPITALS}][{_EBCDIC}]{{3,}}$",
}
_DAY = "[0-3][0-9]"
_MONTH = "[01][0-9]"
GLOBS: Mapping[str, Sequence[str]] = {
    # the same in the patterns of SQLite's GLOB: any of these; digits and commas are written out below
    "compact_date": (f"19[0-9][0-9]{_MONTH}{_DAY}", f"20[0-9][0-9]{_MONTH}{_DAY}"),
    "iso_date": (f"[12][0-9][0-9][0-9]-{_MONTH}-{_DAY}*",),
    "local_date": tuple(
        f"{d}{s}{m}{s}[12][0-9][0-9][0-9]" for d in (_DAY, "[0-9]") for m in (_MONTH, "[0-9]") for s in "./"
    ),
    "short_year": tuple(f"{d}{s}{m}{s}[0-9][0-9]" for d in (_DAY, "[0-9]") for m in (_MONTH, "[0-9]") for s in "./-"),
    "zero_date": ("0000-00-00*", "00000000*"),
    "mojibake": (f"*[\u00c2\u00c3][{_CONTINUATION}]*", "*\u00e2\u20ac*"),
}
TEXT_WORDS = ("char", "text", "clob", "string", "memo", "alpha")
TEXT_EXACT = ("citext", "name")


def is_text(column: Column) -> bool:
    """Whether the system itself calls the column text; a uuid or a document read as text is none."""
    import pyarrow.types as pt

    native = column.native.lower()
    known = native in TEXT_EXACT or any(word in native for word in TEXT_WORDS)
    return pt.is_string(column.type) and known and "[]" not in native


def shape(dialect: str, kind: str, column: str) -> str | None:
    """A condition that holds where the text `column` looks like `kind`; None where this dialect has no words for it."""
    if dialect == "sqlite":
        return _globbed(kind, column)
    pattern = "'" + REGEX[kind].replace("'", "''") + "'"
    if dialect == "postgresql":
        return f"CAST({column} AS text) ~ {pattern}"
    if dialect in {"mysql", "mariadb"}:
        return f"{column} REGEXP {pattern}"
    if dialect == "oracle":
        return f"REGEXP_LIKE({column}, {pattern})"
    return None


def _globbed(kind: str, column: str) -> str:
    if kind == "digits":
        return f"({column} GLOB '[0-9]*' AND {column} NOT GLOB '*[^0-9]*')"
    if kind == "leading_zero":
        return f"({column} GLOB '0[0-9]*' AND {column} NOT GLOB '*[^0-9]*')"
    if kind == "decimal_comma":
        number = f"{column} GLOB '*[0-9],[0-9]*' AND {column} NOT GLOB '*,*,*' AND {column} NOT GLOB '*[^-+0-9,.]*'"
        return f"({number})"
    if kind == "ebcdic":
        rest = f"[{_EBCDIC}]" * 3
        return f"({column} GLOB '[{_CAPITALS}]{rest}*' AND {column} NOT GLOB '*[^{_EBCDIC}]*')"
    return "(" + " OR ".join(f"{column} GLOB '{pattern}'" for pattern in GLOBS[kind]) + ")"


def folded(dialect: str, column: str, version: str) -> str:
    """A text with what the eye does not see taken away: spaces around it (hard ones too), case, composed letters."""
    text = f"REPLACE({column}, '\u00a0', ' ')"
    major = version.split(".", maxsplit=1)[0]
    if dialect == "postgresql" and major.isdigit() and int(major) >= 13:
        text = f"normalize(CAST({text} AS text))"
    return f"UPPER(TRIM({text}))"


def sample_of(dialect: str, table: str, rows: int, wanted: int) -> tuple[str, str]:
    """A FROM item of about `wanted` of the table's `rows`, and in words how they were chosen."""
    share = max(0.0001, min(100.0, 100.0 * wanted / max(1, rows)))
    if dialect == "postgresql":
        return f"{table} TABLESAMPLE SYSTEM ({share:.4f})", f"{share:.2g} % of the table's pages, chosen at random"
    if dialect == "mssql":
        return f"{table} TABLESAMPLE ({share:.4f} PERCENT)", f"{share:.2g} % of the table's pages, chosen at random"
    if dialect == "oracle":
        return f"{table} SAMPLE ({share:.4f})", f"{share:.2g} % of the rows, chosen at random"
    return first_rows(table, wanted)


def first_rows(table: str, wanted: int) -> tuple[str, str]:
    """What works where there is no sampling, and on views: the first rows as the database finds them."""
    return f"(SELECT * FROM {table} LIMIT {wanted}) s", f"the first {wanted:,} rows, as the database finds them"


def sentinel(dialect: str, column: str, *, day: str) -> str:
    """A condition that holds where a date or timestamp column is that day."""
    if dialect == "sqlite":
        return f"substr({column}, 1, 10) = '{day}'"
    if dialect in {"mysql", "mariadb", "mssql"}:
        return f"CAST({column} AS DATE) = '{day}'"
    return f"CAST({column} AS DATE) = DATE '{day}'"
