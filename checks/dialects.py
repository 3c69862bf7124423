"""The few words in which SQL dialects differ, for the conditions that contract rules compile to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from decimal import Decimal
from types import MappingProxyType
from typing import Any

__all__ = ["DIALECTS", "DUCKDB", "SPARK", "Unsupported", "Words"]


class Unsupported(Exception):
    """This dialect has no words for that rule."""


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _backslashed(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _unsupported(*_: str) -> str:
    raise Unsupported


@dataclass(frozen=True, slots=True)
class Words:
    """One dialect's words; functions take and give SQL text."""

    name: str
    quote: tuple[str, str] = ('"', '"')
    text: Callable[[str], str] = _text
    length: str = "length({})"
    as_text: str = "CAST({} AS VARCHAR)"
    as_number: str = "TRY_CAST({} AS DOUBLE)"
    regexp: Callable[[str, str], str] = _unsupported
    """(expression, pattern as a literal) -> condition that is true where the pattern is found."""
    truth: tuple[str, str] = ("TRUE", "FALSE")
    timestamp: str = "TIMESTAMP {}"
    instant: str = "TIMESTAMPTZ {}"
    day: str = "DATE {}"
    clock: str = "TIME {}"
    is_nan: str | None = None
    distinct_rows: Callable[[list[str]], str] | None = None
    """How several columns are counted as one value; None where this dialect cannot."""
    limit: str = "LIMIT {}"
    escapes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def quoted(self, name: str) -> str:
        left, right = self.quote
        return f"{left}{name.replace(right, right * 2)}{right}"

    def literal(self, value: Any) -> str:
        """A value as it stands in SQL."""
        if value is None:
            return "NULL"
        if isinstance(value, bool):
            return self.truth[0 if value else 1]
        if isinstance(value, (int, Decimal)):
            return str(value)
        if isinstance(value, float):
            return repr(value)
        if isinstance(value, datetime):
            return self.timestamp.format(_text(value.replace(tzinfo=None).isoformat(" ")))
        if isinstance(value, date):
            return self.day.format(_text(value.isoformat()))
        if isinstance(value, time):
            return self.clock.format(_text(value.isoformat()))
        return self.text(str(value))


DUCKDB = Words(
    name="duckdb",
    regexp=lambda column, pattern: f"regexp_matches({column}, {pattern})",
    is_nan="isnan({})",
    distinct_rows=lambda columns: f"ROW({', '.join(columns)})",
)

_POSTGRES = Words(
    name="postgresql",
    length="char_length({})",
    as_text="CAST({} AS TEXT)",
    as_number="CASE WHEN CAST({0} AS TEXT) ~ '^\\s*[-+]?[0-9]+(\\.[0-9]*)?([eE][-+]?[0-9]+)?\\s*$' "
    "THEN CAST(CAST({0} AS TEXT) AS DOUBLE PRECISION) END",
    regexp=lambda column, pattern: f"{column} ~ {pattern}",
    is_nan="({}) = 'NaN'",
    distinct_rows=lambda columns: f"({', '.join(columns)})",
)

_MYSQL = Words(
    name="mysql",
    quote=("`", "`"),
    text=_backslashed,
    length="char_length({})",
    as_text="CAST({} AS CHAR)",
    as_number="CASE WHEN CAST({0} AS CHAR) REGEXP '^[-+]?[0-9]+([.][0-9]*)?$' THEN CAST({0} AS DOUBLE) END",
    regexp=lambda column, pattern: f"REGEXP_LIKE({column}, {pattern}, 'c')",
)

# MariaDB has no REGEXP_LIKE, and MySQL's ICU refuses BINARY; both ways mind upper and lower case.
_MARIADB = replace(_MYSQL, name="mariadb", regexp=lambda column, pattern: f"{column} REGEXP BINARY {pattern}")

_SQLITE = Words(
    name="sqlite",
    as_text="CAST({} AS TEXT)",
    as_number="CASE WHEN typeof({0}) IN ('integer', 'real') THEN {0} "
    "WHEN trim({0}) GLOB '[-+0-9]*' AND trim({0}) NOT GLOB '*[^-+.0-9eE]*' THEN CAST({0} AS REAL) END",
    regexp=lambda column, pattern: f"{column} REGEXP {pattern}",
    truth=("1", "0"),
    timestamp="{}",
    day="{}",
    clock="{}",
)

_MSSQL = Words(
    name="mssql",
    quote=("[", "]"),
    text=lambda value: "N" + _text(value),
    length="len({})",
    as_text="CAST({} AS NVARCHAR(MAX))",
    as_number="TRY_CAST({} AS FLOAT)",
    truth=("1", "0"),
    timestamp="CAST({} AS DATETIME2)",
    day="CAST({} AS DATE)",
    clock="CAST({} AS TIME)",
    limit="OFFSET 0 ROWS FETCH NEXT {} ROWS ONLY",
)


def _escaped(value: str) -> str:
    # Spark joins literals that stand side by side, so a doubled quote would vanish.
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


SPARK = Words(
    name="spark",
    quote=("`", "`"),
    text=_escaped,
    length="char_length({})",
    as_text="CAST({} AS STRING)",
    as_number="try_cast({} AS DOUBLE)",
    regexp=lambda column, pattern: f"{column} RLIKE {pattern}",
    timestamp="TIMESTAMP_NTZ {}",
    instant="TIMESTAMP_LTZ {}",
    is_nan="isnan({})",
    distinct_rows=lambda columns: f"struct({', '.join(columns)})",
)

DIALECTS: Mapping[str, Words] = MappingProxyType(
    {
        "duckdb": DUCKDB,
        "postgresql": _POSTGRES,
        "mysql": _MYSQL,
        "mariadb": _MARIADB,
        "sqlite": _SQLITE,
        "mssql": _MSSQL,
    }
)
