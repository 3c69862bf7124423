"""The limit register of one point: what the system reports and what its owner declared, each with whom it speaks for.

Production's cap wins over staging's of the same name; a staging cap alone is kept, and says that it is staging's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from weighbridge.checks.base import Context, Permissions
from weighbridge.checks.forecast.caps import SHARED_SCOPES
from weighbridge.checks.forecast.ranges import Range
from weighbridge.checks.forecast.transfer import Transfer, limit_transfer
from weighbridge.checks.forecast.windows import parse_window
from weighbridge.connectors.base import Limit

__all__ = [
    "Entry", "accounts", "background_known", "concurrency_known",
    "connections_per_user", "declared", "rate_known", "register", "rows_ahead",
]  # fmt: skip


ANYWHERE = Transfer(True, Range.exact(1.0), None)


@dataclass(frozen=True, slots=True)
class Entry:
    """One limit with what it may say of production; `other` is the same name's cap in another environment."""

    limit: Limit
    transfer: Transfer
    other: Limit | None = None


def declared(entry: Mapping[str, Any], environment: str, at: str) -> Limit:
    """One `[[systems.NAME.limits]]` table as a `Limit`."""
    name = str(entry.get("name", "limit"))
    unit = str(entry.get("unit") or ("connections" if "connection" in name else "rows" if "rows" in name else "calls"))
    cap = entry.get("cap")
    said = entry.get("source")
    return Limit(
        name=name,
        scope=str(entry.get("scope") or "account"),
        cap=None if cap is None else float(cap),
        unit=unit,
        window=entry.get("window"),
        used=None if entry.get("used") is None else float(entry["used"]),
        source="declared",
        environment=str(entry.get("environment") or environment),
        at=str(entry.get("at") or at),
        detail={"said_by": said, "unlimited": bool(entry.get("unlimited", False))},
    )


def register(
    reported: Sequence[Limit], declarations: Sequence[Mapping[str, Any]], permissions: Permissions, at: str
) -> list[Entry]:
    """One entry for each name and scope, sorted by name."""
    here = permissions.environment
    known = [*reported, *(declared(d, here, at) for d in declarations)]
    by_name: dict[str, list[Limit]] = {}
    for limit in known:
        if limit.environment in (here, "production"):
            by_name.setdefault(limit.name, []).append(limit)
    entries = []
    # in the sandbox the practice system stands for itself; elsewhere production's figure is the one that counts
    wanted = here if here == "sandbox" else "production"
    for name in sorted(by_name):
        found = by_name[name]
        chosen = [x for x in found if x.environment == wanted] or found
        # what an owner declares wins over what is reported; several scopes of one name are several limits
        chosen = [x for x in chosen if x.source == "declared" and x.cap is not None] or chosen
        for first in {x.scope: x for x in chosen}.values():
            other = next((x for x in found if x.environment != first.environment), None)
            used = next((x.used for x in found if x.used is not None and x.environment == first.environment), None)
            kept = replace(first, used=used) if first.used is None and used is not None else first
            # A file format's ceilings are the same wherever the file lies.
            transfer = ANYWHERE if first.scope == "file" else limit_transfer(first.environment, permissions)
            entries.append(Entry(kept, transfer, other))
    return entries


def accounts(settings: Mapping[str, Any]) -> float | None:
    """Accounts behind which all users stand: `identity` shared is 1 (the default), `pool:4` 4, `per_user` None."""
    identity = str(settings.get("identity") or "shared")
    if identity == "per_user":
        return None
    return float(identity.split(":", 1)[1]) if identity.startswith("pool:") else 1.0


def background_known(context: Context) -> bool:
    """Whether somebody said what else draws on the system; a practice system has nobody else."""
    if context.permissions.environment == "sandbox":
        return all(entry.get("calls_per_hour") is not None for entry in context.background)
    return bool(context.background) and all(e.get("calls_per_hour") is not None for e in context.background)


def rate_known(entries: Sequence[Entry]) -> bool:
    """Whether production's rate of calls is bounded by something known, so that no limiter is left to guess at."""
    for entry in entries:
        if not entry.transfer.answers:
            continue
        if entry.limit.detail.get("unlimited"):
            return True
        try:
            window = parse_window(entry.limit.window)
        except ValueError:
            continue
        if entry.limit.cap is not None and window.kind in ("rolling", "midnight", "bucket"):
            return True
    return False


def concurrency_known(entries: Sequence[Entry]) -> bool:
    """Whether production's calls in progress are bounded by something known, or declared not to be bounded."""
    for entry in entries:
        with contextlib.suppress(ValueError):
            if parse_window(entry.limit.window).kind == "concurrent" and entry.transfer.answers:
                return entry.limit.cap is not None or bool(entry.limit.detail.get("unlimited"))
    return False


def connections_per_user(settings: Mapping[str, Any]) -> float:
    """Connections one user holds: `connections_per_user` under `[systems.NAME.demand]`, else one."""
    demand = settings.get("demand") or {}
    return float(demand.get("connections_per_user") or 1.0)


def rows_ahead(rows: float, *, expected: float | None, growth_per_year: float, horizon_months: int) -> float:
    """Rows that production will hold: as stated, else today's grown over the horizon."""
    if expected is not None:
        return float(expected)
    return rows * (1 + growth_per_year) ** (horizon_months / 12)


def is_shared(limit: Limit) -> bool:
    return limit.scope in SHARED_SCOPES
