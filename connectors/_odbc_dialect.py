"""What answered behind a driver: its dialect in SQLAlchemy's words, which is used to write statements only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["default_port", "dialect_name", "dialect_of"]

DIALECTS: tuple[tuple[str, str], ...] = (
    # how a DBMS calls itself -> SQLAlchemy's dialect
    ("postgres", "postgresql"),
    ("mariadb", "mariadb"),
    ("mysql", "mysql"),
    ("sqlite", "sqlite"),
    ("microsoft sql server", "mssql"),
    ("oracle", "oracle"),
    ("mdbtools", "access"),
    ("access", "access"),
)


def default_port(driver: str) -> int | None:
    ports = (("postgres", 5432), ("maria", 3306), ("mysql", 3306), ("sql server", 1433), ("oracle", 1521))
    return next((port for word, port in ports if word in driver.lower()), None)


def dialect_name(about: Mapping[str, str]) -> str:
    """SQLAlchemy's name for what answered; `odbc` for what it has no name for."""
    words = f"{about['product']} {about['driver']}".lower()
    name = next((dialect for word, dialect in DIALECTS if word in words), "odbc")
    return "mariadb" if name == "mysql" and "maria" in f"{words} {about['version']}".lower() else name


def dialect_of(about: Mapping[str, str], pyodbc: Any) -> Any:
    """A SQLAlchemy dialect as a writer of statements."""
    from sqlalchemy.engine import default
    from sqlalchemy.engine.url import URL

    name = about["dialect"]
    try:
        kind: Any = URL.create(name).get_dialect()
    except Exception:  # noqa: BLE001 - whatever a missing dialect raises: the general one writes plain SQL
        kind = default.DefaultDialect
    dialect = kind(paramstyle="qmark")
    dialect.dbapi = pyodbc
    dialect.positional = True
    if name in {"access", "odbc"} and about["quote"] and about["quote"] != '"':
        dialect.identifier_preparer.initial_quote = dialect.identifier_preparer.final_quote = about["quote"]
    return dialect
