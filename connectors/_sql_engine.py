"""A SQLAlchemy engine over a connector's own connections: its statements are counted, mapped and kept in bounds too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = ["pooled"]

ATTEMPTS = "weighbridge_attempts"


def pooled(connector: Any) -> Engine:
    """One connection and two more where they are needed at once."""
    import sqlalchemy as sa
    from sqlalchemy import event
    from sqlalchemy.pool import QueuePool

    engine = sa.create_engine(
        connector._url,
        creator=lambda: connector.session.run(connector._dial, operation="connect"),
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=2,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        **connector._product.engine_keywords,
    )

    def before(connection: Any, *_: Any) -> None:
        attempt = connector.session.attempt("engine")
        attempt.__enter__()
        connection.info.setdefault(ATTEMPTS, []).append(attempt)

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", _after)
    event.listen(engine, "handle_error", _failed)
    return engine


def _after(connection: Any, *_: Any) -> None:
    attempts = connection.info.get(ATTEMPTS)
    if attempts:
        attempts.pop().__exit__(None, None, None)


def _failed(context: Any) -> None:
    attempts = None if context.connection is None else context.connection.info.get(ATTEMPTS)
    if attempts:
        error = context.original_exception
        try:
            attempts.pop().__exit__(type(error), error, None)
        except BaseException as raised:
            if raised is not error:
                raise
