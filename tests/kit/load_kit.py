"""The plain objects that a load check is called with, around the tiny connector."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from evaluate.tiny import Tiny
from weighbridge.checks.base import Context, Demand, Inconclusive, Permissions
from weighbridge.checks.demand import measure
from weighbridge.connectors.base import Connector, Count
from weighbridge.connectors.session import Budget, Retry, Session
from weighbridge.contracts.models import Contract, IntegrationPoint, Property, SchemaObject
from weighbridge.contracts.scale import Scale
from weighbridge.engine.threads import ThreadEngine

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
KEYS = [(i,) for i in range(200)]


def point(scale: Scale, *, system: str = "tiny", expected_rows: int | None = None) -> IntegrationPoint:
    key = Property("id", "id", "integer", None, {}, True, True, True, 1, None, False, (), (), (), None, {}, 1)
    custom = {"weighbridge.expected_rows": expected_rows} if expected_rows else {}
    thing = SchemaObject("Thing", None, "things", (key,), (), (), custom, 1)
    contract = Contract(
        None,
        "c",
        "1",
        "v3.1.0",
        None,
        None,
        (thing,),
        (),
        (),
        {},
        "UTC",
        None,
        {},  # type: ignore[arg-type]
    )
    return IntegrationPoint(system, thing, contract, scale, ())


def permissions(environment: str = "sandbox", **changes: Any) -> Permissions:
    values = {"environment": environment, "max_users": 40, "max_burst": 128, "writes": False} | changes
    return Permissions(**values)


def context(connector: Connector, allowed: Permissions, **changes: Any) -> Context:
    return Context(
        permissions=allowed,
        connector=lambda session=None: connector if session is None else connector.fork(session),
        session=connector.session,
        now=lambda: NOW,
        seed=3,
        engine=ThreadEngine(),
        **changes,
    )


def evidence(connector: Connector, at: IntegrationPoint, *, keys: Sequence[Any] = KEYS, rows: int = 1000) -> Any:
    def unmade() -> Any:
        raise Inconclusive("not made in this test")

    demand: Demand = measure(
        at, keys, lambda s: connector.fork(s or connector.session), connector.session, at.scale, now=lambda: NOW
    )
    return SimpleNamespace(
        limits=connector.limits(), keys=keys, demand=demand, count_before=Count(rows, True), landing=None, made=unmade
    )


def open_tiny(port: int, *, timeout: float = 5.0, budget: int | None = None) -> Tiny:
    connector = Tiny({"port": port}, Session("tiny", timeout=timeout, retry=Retry(), budget=Budget(budget)))
    connector.open()
    return connector
