"""The next window of a reading, asked for while the caller still works on the one before.

The driver waits for its server without holding the interpreter, so the server works while rows are being packed. One
window at most is under way, and one that nobody took is still counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from weighbridge.connectors._odbc_driver import Guarded, GuardedCursor
from weighbridge.connectors._sql_connection import quietly
from weighbridge.connectors._sql_plan import Plan
from weighbridge.connectors.session import Session

__all__ = ["STORES", "Ahead"]

STORES = ("postgresql", "mariadb", "mysql", "sqlite")
"""Products whose drivers keep a result on this side, so that another statement may be sent before it is read."""


@dataclass(slots=True)
class _UnderWay:
    owner: Guarded
    plan: Plan
    after: str | None
    limit: int | None
    wait: Callable[[], Any]


class Ahead:
    """At most one statement that was sent before it was asked for."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._one: _UnderWay | None = None

    def send(
        self, owner: Guarded, plan: Plan, after: str | None, limit: int | None, statement: str, parameters: Any
    ) -> None:
        """Send the window's statement unless the call budget is spent."""
        if self._session.budget.left == 0:
            return

        raw = owner.run(owner.raw.cursor)

        def work() -> GuardedCursor:
            try:
                owner.send(raw, statement, parameters)
            except BaseException:
                quietly(raw.close)
                raise
            return GuardedCursor(owner, raw)

        self._one = _UnderWay(owner, plan, after, limit, owner.start(work))

    def take(self, owner: Guarded, plan: Plan, after: str | None, limit: int | None) -> GuardedCursor | None:
        """The window's cursor if it is the one under way, else None; raises what its statement raised."""
        one = self._one
        if one is None:
            return None
        if (one.owner, one.plan, one.after, one.limit) != (owner, plan, after, limit):
            self.drop()
            return None
        self._one = None
        return one.wait()

    def drop(self) -> None:
        """Nobody will take it: its call is counted, its cursor closed."""
        one, self._one = self._one, None
        if one is not None:
            self._session.budget.book(1)
            self._session.meter.book(1, 0.0)
            if not one.owner.closed:
                quietly(lambda: one.wait().close())
