"""Run the legacy check on one table of an open connector, without a project around it."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from weighbridge.checks.base import Context, Finding, Measurement, Permissions
from weighbridge.checks.legacy import LegacyCheck
from weighbridge.connectors.base import Connector
from weighbridge.contracts.models import Property, SchemaObject

__all__ = ["column", "look", "looked"]


def column(name: str, *, key: bool = False, required: bool = False) -> Property:
    return Property(
        name=name, physical_name=name, logical_type=None, physical_type=None, options={}, required=required,
        unique=False, primary_key=key, primary_key_position=1 if key else -1, classification=None, critical=False,
        quality=(), relationships=(), properties=(), items=None, custom={}, line=1,
    )  # fmt: skip


def looked(
    connector: Any, *promised: Property, table: str = "t", where: str | None = None, writes: bool = False
) -> tuple[list[Finding], Measurement]:
    """All findings of the check, and what it measured."""
    custom = {"weighbridge.filter": where} if where else {}
    point: Any = SimpleNamespace(
        id=f"legacy.{table}",
        object=SchemaObject(
            name=table, id=None, physical_name=table, properties=promised, quality=(), relationships=(),
            custom=custom, line=1,
        ),
    )  # fmt: skip
    evidence: Any = SimpleNamespace(
        probe=connector.probe(), schema=connector.discover(table), count_before=connector.count(table),
        limits=connector.limits(),
    )  # fmt: skip
    context = Context(
        permissions=Permissions("staging", 10, 0, writes=writes), connector=lambda _session=None: connector,
        session=connector.session, now=lambda: datetime.now(UTC), seed=1,
    )  # fmt: skip
    results = list(LegacyCheck()(point, evidence, context))
    found = [r for r in results if isinstance(r, Finding)]
    assert {f.code for f in found} <= {c.name for c in LegacyCheck.codes}
    return found, next(r for r in results if isinstance(r, Measurement))


def look(connector: Connector, *promised: Property, **more: Any) -> tuple[dict[str, Finding], Measurement]:
    """The findings by their code, of which each comes once."""
    found, measured = looked(connector, *promised, **more)
    findings = {f.code.removeprefix("legacy."): f for f in found}
    assert len(findings) == len(found), "one finding a code"
    return findings, measured
