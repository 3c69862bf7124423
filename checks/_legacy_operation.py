"""How the database is being used at this moment: rights of the login, connections, locks, timeouts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weighbridge.checks.base import Context, Evidence, Finding, Inconclusive
from weighbridge.connectors.base import Sql
from weighbridge.connectors.errors import ConnectorError
from weighbridge.contracts.models import IntegrationPoint

__all__ = ["operation_findings"]

CROWDED = 0.8
LONG_SECONDS = 300

ACTIVITY: Mapping[str, str] = {
    # waiting for a lock; transactions open for longer than LONG_SECONDS; both of this database, our own left out
    "postgresql": (
        "SELECT COUNT(*) FILTER (WHERE wait_event_type = 'Lock'), "
        f"COUNT(*) FILTER (WHERE xact_start < now() - interval '{LONG_SECONDS} seconds'), "
        "COUNT(*) FILTER (WHERE state IS NULL AND backend_type IS NULL) "
        "FROM pg_catalog.pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ),
    "mysql": (
        "SELECT SUM(trx_state = 'LOCK WAIT'), "
        f"SUM(trx_started < NOW() - INTERVAL {LONG_SECONDS} SECOND), 0 FROM information_schema.innodb_trx"
    ),
}

WITHOUT_SESSIONS = ("sqlite", "access")
"""Files: nobody else's session could be seen there."""


def operation_findings(
    point: IntegrationPoint, sql: Sql, evidence: Evidence, context: Context, notes: list[str]
) -> Iterator[Finding]:
    facts = evidence.probe.facts
    if facts.get("can_write") and not context.permissions.writes:
        yield Finding(
            "legacy.login_can_write",
            f"{point.id}: the login {evidence.probe.user or 'of the file'} may write"
            + (f" ({facts['writable_tables']} tables)" if facts.get("writable_tables") else ""),
            expected="a login that can only read", observed="may write",
            business_effect="A fault in the integration can destroy what it should only read.",
        )  # fmt: skip
    if facts.get("server_statement_timeout_ms") == 0:
        yield Finding(
            "legacy.no_statement_timeout",
            f"{point.id}: the server lets a statement of this login run for ever",
            expected="a statement timeout", observed="none",
            business_effect="One bad question blocks the database until somebody ends it by hand.",
        )  # fmt: skip
    yield from _connections(point, evidence, notes)
    yield from _activity(point, sql, notes)


def _connections(point: IntegrationPoint, evidence: Evidence, notes: list[str]) -> Iterator[Finding]:
    try:
        limits = evidence.limits
    except Inconclusive as error:
        notes.append(f"connections were not looked at: {error.message}")
        return
    for limit in limits:
        if limit.name == "connections" and limit.cap and limit.used and limit.used / limit.cap > CROWDED:
            yield Finding(
                "legacy.connections_in_use",
                f"{point.id}: {limit.used:.0f} of {limit.cap:.0f} connections ({limit.scope}) are taken now",
                expected=f"at most {CROWDED:.0%}", observed=round(limit.used / limit.cap, 2),
                business_effect="The next few users are refused.",
            )  # fmt: skip


def _activity(point: IntegrationPoint, sql: Sql, notes: list[str]) -> Iterator[Finding]:
    statement = ACTIVITY.get("mysql" if sql.dialect == "mariadb" else sql.dialect)
    if statement is None:
        if sql.dialect not in WITHOUT_SESSIONS:
            notes.append(f"lock waits and long transactions were not looked at: no words for {sql.dialect}")
        return
    try:
        row: tuple[Any, ...] = sql.execute(statement)[0]
    except ConnectorError as error:
        notes.append(f"locks were not looked at: {error.message}")
        return
    waiting, long, hidden = (int(v or 0) for v in row)
    if hidden:
        notes.append(f"what {hidden} other sessions do is hidden from this login")
    if waiting:
        yield Finding(
            "legacy.lock_waits", f"{point.id}: {waiting} session(s) wait for a lock at this moment",
            expected=0, observed=waiting,
        )  # fmt: skip
    if long:
        yield Finding(
            "legacy.long_transactions",
            f"{point.id}: {long} transaction(s) have been open for more than {LONG_SECONDS // 60} minutes",
            expected=0, observed=long, business_effect="They hold locks and keep dead rows alive.",
        )  # fmt: skip
