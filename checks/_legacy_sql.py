"""The SQL of the legacy check: shapes of text, sampling, dates and names in the words of each dialect."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from weighbridge.checks._legacy_text import (
    CONTINUED_IN,
    GLOBS,
    PATTERNS,
    STRANGE_CAPITALS,
    STRANGE_LETTERS,
    mojibake_pattern,
)
from weighbridge.connectors.base import Column

__all__ = [
    "first_rows", "folded", "is_text", "limited", "lost", "needs_quotes", "nul", "padded_by_type", "sample_of",
    "sentinel", "shape", "zero_parts",
]  # fmt: skip

TEXT_WORDS = ("char", "text", "clob", "string", "memo", "alpha")
TEXT_EXACT = ("citext", "name")
FOLDS_UP = ("oracle", "db2", "ibm_db_sa", "firebird")
FAMILY = ("mysql", "mariadb")
LOST, HARD_SPACE = "%\ufffd%", "\u00a0"


def is_text(column: Column) -> bool:
    """Whether the system itself calls the column text; a uuid or a document read as text is none."""
    import pyarrow.types as pt

    native = column.native.lower()
    known = native in TEXT_EXACT or any(word in native for word in TEXT_WORDS)
    return pt.is_string(column.type) and known and "[]" not in native


def shape(dialect: str, kind: str, column: str, *, encoding: str = "") -> str | None:
    """A condition that holds where the text `column` looks like `kind`; None where this dialect has no words for it.

    `encoding` is the database's: what it cannot even spell is not looked for.
    """
    if dialect == "sqlite":
        return _globbed(kind, column)
    regex = PATTERNS[kind]
    if dialect == "postgresql" and kind in {"mojibake", "ebcdic"} and encoding:
        if encoding not in CONTINUED_IN or (kind == "ebcdic" and encoding == "WIN1252"):
            return None
        regex = mojibake_pattern(CONTINUED_IN[encoding]) if kind == "mojibake" else regex
    pattern = _literal(dialect, regex)
    if dialect == "postgresql":
        return f"CAST({column} AS text) ~ {pattern}"
    if dialect in FAMILY:
        return f"CONVERT({column} USING utf8mb4) REGEXP {pattern}"  # a latin1 column cannot meet other letters
    if dialect == "oracle":
        return f"REGEXP_LIKE({column}, {pattern})"
    return None


def _literal(dialect: str, text: str) -> str:
    if dialect in FAMILY and not text.isascii():
        # in digits: MariaDB's ODBC driver takes the bytes behind a statement for part of it where it holds some letters
        return f"_utf8mb4 x'{text.encode().hex()}'"
    return "'" + text.replace("'", "''") + "'"


def _globbed(kind: str, column: str) -> str:
    if kind == "digits":
        return f"({column} GLOB '[0-9]*' AND {column} NOT GLOB '*[^0-9]*')"
    if kind == "leading_zero":
        return f"({column} GLOB '0[0-9]*' AND {column} NOT GLOB '*[^0-9]*')"
    if kind == "decimal_comma":
        number = f"{column} GLOB '*[0-9],[0-9]*' AND {column} NOT GLOB '*,*,*' AND {column} NOT GLOB '*[^-+0-9,.]*'"
        return f"({number})"
    if kind == "ebcdic":
        rest = f"[{STRANGE_LETTERS}]" * 3
        return f"({column} GLOB '[{STRANGE_CAPITALS}]{rest}*' AND {column} NOT GLOB '*[^{STRANGE_LETTERS}]*')"
    return "(" + " OR ".join(f"{column} GLOB '{pattern}'" for pattern in GLOBS[kind]) + ")"


def lost(dialect: str, column: str, *, encoding: str = "") -> str | None:
    """A condition for text with U+FFFD in it; None where the database cannot hold that character."""
    if dialect == "postgresql" and encoding and encoding not in {"UTF8", "SQL_ASCII"}:
        return None
    if dialect in FAMILY:
        # by its bytes: to utf8mb4_general_ci every emoji equals U+FFFD
        return f"CONVERT({column} USING utf8mb4) COLLATE utf8mb4_bin LIKE {_literal(dialect, LOST)}"
    return f"{column} LIKE '%\ufffd%'"


def nul(dialect: str, column: str) -> str | None:
    """A condition for text with a NUL character in it; None where text cannot hold one, or no words are known."""
    if dialect in FAMILY:
        # by its bytes: to many collations a NUL is nothing at all, and so is found everywhere
        return f"LOCATE(x'00', CAST(CONVERT({column} USING utf8mb4) AS BINARY)) > 0"
    return f"instr({column}, char(0)) > 0" if dialect == "sqlite" else None


def padded_by_type(dialect: str, column: str) -> str | None:
    """A condition for values of a char(n) that the type fills up with spaces."""
    if dialect == "postgresql":
        return f"octet_length({column}) <> octet_length(CAST({column} AS text))"
    return None


def folded(dialect: str, column: str, version: str, encoding: str = "") -> str:
    """A text with what the eye does not see taken away: spaces around it (hard ones too), case, composed letters."""
    text = column
    if dialect != "postgresql" or not encoding or encoding.startswith(("UTF8", "LATIN", "WIN")):
        text = f"REPLACE({text}, {_literal(dialect, HARD_SPACE)}, ' ')"
    major = version.split(".", maxsplit=1)[0]
    if dialect == "postgresql" and encoding in {"", "UTF8"} and major.isdigit() and int(major) >= 13:
        text = f"normalize(CAST({text} AS text))"
    return f"UPPER(TRIM({text}))"


def sample_of(dialect: str, table: str, rows: int, wanted: int) -> tuple[str, str]:
    """A FROM item of about `wanted` of the table's `rows`, and in words how they were chosen."""
    share = max(0.0001, min(100.0, 100.0 * wanted / max(1, rows)))
    words = f"{share:.2g} % of the table's pages, chosen at random"
    if dialect == "postgresql":
        return f"{table} TABLESAMPLE SYSTEM ({share:.4f}) REPEATABLE (1)", words
    if dialect == "mssql":
        return f"{table} TABLESAMPLE ({share:.4f} PERCENT) REPEATABLE (1)", words
    if dialect == "oracle":
        return f"{table} SAMPLE ({share:.4f}) SEED (1)", f"{share:.2g} % of the rows, chosen at random"
    return first_rows(dialect, table, wanted)


def first_rows(dialect: str, table: str, wanted: int) -> tuple[str, str]:
    """What works where there is no sampling, and on views: the first rows as the database finds them."""
    first = limited(dialect, f"SELECT * FROM {table}", wanted)
    return f"({first}) s", f"the first {wanted:,} rows, as the database finds them"


def limited(dialect: str, statement: str, rows: int) -> str:
    """The statement's first rows."""
    standard = dialect in {"oracle", "mssql", "db2", "ibm_db_sa", "firebird"}
    return f"{statement} FETCH FIRST {rows} ROWS ONLY" if standard else f"{statement} LIMIT {rows}"


def sentinel(dialect: str, column: str, *, day: str) -> str:
    """A condition that holds where a date or timestamp column is that day."""
    if dialect == "sqlite":
        return f"substr({column}, 1, 10) = '{day}'"
    if dialect in {*FAMILY, "mssql"}:
        return f"CAST({column} AS DATE) = '{day}'"
    return f"CAST({column} AS DATE) = DATE '{day}'"


def zero_parts(dialect: str, column: str) -> str | None:
    """A condition for the dates that no calendar has, 0000-00-00 and 2020-00-00, where a database takes them."""
    return f"{column} LIKE '%-00%'" if dialect in {*FAMILY, "sqlite"} else None


@lru_cache
def _preparer(dialect: str) -> Any:
    from sqlalchemy.engine import default
    from sqlalchemy.engine.url import URL

    try:
        kind: Any = URL.create(dialect).get_dialect()
    except Exception:  # noqa: BLE001 - whatever a missing dialect raises: the general one knows the usual words
        kind = default.DefaultDialect
    return kind().identifier_preparer


def needs_quotes(dialect: str, name: str) -> bool:
    """Whether a name cannot be written as it is: signs, spaces, reserved words, case where the database folds it."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is None:
        return True
    if dialect in FOLDS_UP and name not in {name.lower(), name.upper()}:
        return True
    spelled = name if dialect == "postgresql" else name.lower()
    return _preparer(dialect).quote(spelled) != spelled
