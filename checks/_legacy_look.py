"""One table being looked at by the legacy check, and what was asked of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from weighbridge.checks._legacy_sql import first_rows, sample_of, shape
from weighbridge.checks.base import Finding
from weighbridge.connectors.base import Connector, ObjectRef, Sql, TableSchema
from weighbridge.connectors.errors import ConnectorError
from weighbridge.contracts.models import IntegrationPoint

__all__ = ["Look", "counted", "exact", "listed"]

SAMPLED_ABOVE = 1_000_000
SAMPLE_ROWS = 200_000
TIMEOUT = 120.0


@dataclass
class Look:
    """The table, the connector that reaches it, and the notes for the report."""

    point: IntegrationPoint
    connector: Connector
    sql: Sql
    schema: TableSchema
    rows: int
    encoding: str = ""
    """The database's, in capitals without hyphens; '' where the probe did not tell."""
    version: str = ""
    sample: str = "all rows"
    chosen: str = ""
    statements: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(self.point.object.physical_name, self.point.object.filter)

    @property
    def table(self) -> str:
        return self.sql.quoted(self.ref)

    @property
    def dialect(self) -> str:
        """The dialect in SQLAlchemy's words, MariaDB and MySQL as one family."""
        return "mysql" if self.sql.dialect == "mariadb" else self.sql.dialect

    @property
    def where(self) -> str:
        return f" WHERE ({self.ref.where})" if self.ref.where else ""

    @property
    def key(self) -> tuple[str, ...]:
        """The table's key, else the one that the contract counts on."""
        if self.schema.keys:
            return tuple(self.schema.keys)
        promised = [p.physical_name for p in self.point.object.key]
        return tuple(promised) if all(self.schema.column(name) for name in promised) else ()

    @property
    def counts(self) -> bool:
        """Whether the SQL behind the connector has aggregates at all."""
        return self.sql.dialect != "access"

    @property
    def spells(self) -> bool:
        """Whether the shapes of text can be asked for in this dialect's words; else rows are read and judged here."""
        return shape(self.dialect, "digits", "c") is not None

    def name(self, column: str) -> str:
        return self.sql.quoted_name(column)

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        self.statements += 1
        return self.sql.execute(statement, timeout=TIMEOUT)

    def tried(self, question: Callable[[Look], Iterator[Finding]], what: str, unseen: list[str]) -> Iterator[Finding]:
        """The question's findings; what could not be looked at is said at the end, after all else was asked."""
        try:
            yield from question(self)
        except ConnectorError as error:
            unseen.append(f"{what}: {error.message}")

    def source(self) -> str:
        """What is looked at: the table, or a sample of it that `sample` puts into words."""
        if not self.chosen:
            self.chosen = self.table
            if self.rows > SAMPLED_ABOVE:
                self.chosen, self.sample = sample_of(self.sql.dialect, self.table, self.rows, SAMPLE_ROWS)
        return self.chosen

    def only_first(self) -> str:
        """What is looked at instead where no sample could be drawn, as of a view."""
        self.chosen, self.sample = first_rows(self.sql.dialect, self.table, SAMPLE_ROWS)
        return self.chosen

    def finding(self, code: str, message: str, **more: Any) -> Finding:
        return Finding(f"legacy.{code}", f"{self.point.id}: {message}", **more)


def counted(condition: str) -> str:
    """SQL that counts the rows for which the condition holds."""
    return f"SUM(CASE WHEN {condition} THEN 1 ELSE 0 END)"


def exact(dialect: str, expression: str) -> str:
    """For comparisons that heed case and trailing spaces, which collations of some products do not."""
    if dialect in {"mysql", "mariadb"}:
        return f"HEX({expression})"
    # where spaces at the end are nothing to a comparison, something stands behind them
    return f"({expression} || '|')" if dialect == "firebird" else expression


def listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
