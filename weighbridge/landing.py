"""Lands what a connector reads: pages into one DuckDB table, in bounded memory, whole or not at all.

The file is written aside and renamed, mode 0600: a run that is killed leaves no half landing behind. One INSERT takes
in the whole stream beside the reading: an INSERT a portion writes everything twice and costs three times as much.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.checks.base import Inconclusive, Landing, PageLog
from weighbridge.connectors.base import Connector, Observation, Page, TableSchema
from weighbridge.connectors.errors import ProtocolError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

__all__ = ["TABLE", "land", "recall"]

TABLE = "rows"
BATCH_ROWS = 20_000
"""Pages are put together to so many rows: every batch that changes threads costs up to a switch interval (5 ms)."""
WAITING_BATCHES = 2
SAID_EVERY = 50_000
MEMORY = "512MB"
_KEPT_OBSERVATIONS = 200


def recall(path: Path) -> Landing | None:
    """The landing that lies at `path`, or None; one that does not fit its own notes is None too."""
    notes = path.with_suffix(".json")
    try:
        kept = json.loads(notes.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not path.is_file():
        return None
    pages = tuple(PageLog(**p) for p in kept.pop("pages"))
    observations = tuple(Observation(**o) for o in kept.pop("observations"))
    kept["columns"], kept["keys"] = tuple(kept["columns"]), tuple(kept["keys"])
    return Landing(database=path, pages=pages, observations=observations, **kept)


def land(
    connector: Connector,
    ref: str,
    path: Path,
    *,
    schema: TableSchema,
    columns: Sequence[str],
    keys: Sequence[str],
    progress: Callable[[str], None] = lambda _message: None,
) -> Landing:
    """Read the object once and keep it at `path`. Raises ConnectorError, or Inconclusive when the disk is full."""
    import duckdb

    aside = path.with_suffix(".part")
    _forget(aside)
    try:
        with _private_umask(), contextlib.closing(duckdb.connect(str(aside))) as database:
            database.execute(f"SET memory_limit='{MEMORY}'; SET threads=2")
            with _Writer(database, schema, columns, progress, ref) as writer:
                for page in connector.read(ref, columns=list(columns)):
                    writer.add(page)
                writer.finish()
        landing = writer.landing(path, keys)
        _keep(landing)
        aside.replace(path)
    except duckdb.Error as error:
        raise Inconclusive(
            f"{connector.session.system}: the rows of {ref} could not be kept in {path.parent} ({error}).",
            remedy="Free disk space there and run again with --resume.",
        ) from error
    finally:
        _forget(aside)
    return landing


class _Stream:
    """A table that takes in batches in a thread of its own; the connector stays in the caller's."""

    def __init__(self, database: duckdb.DuckDBPyConnection, table: str, shape: pa.Schema) -> None:
        self._database = database
        self._table = table
        self._shape = shape
        self._waiting: queue.Queue[pa.RecordBatch | None] = queue.Queue(WAITING_BATCHES)
        self._whole = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._take_in, name=f"landing {table}", daemon=True)
        self._thread.start()

    def put(self, batch: pa.RecordBatch | None) -> None:
        """Wait for room. Raises what the database raised."""
        while True:
            if self._error is not None:
                raise self._error
            with contextlib.suppress(queue.Full):
                self._waiting.put(batch, timeout=0.2)
                return

    def end(self) -> None:
        """Everything was put: wait until it is kept."""
        self._whole = True
        self.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def abandon(self) -> None:
        """Keep nothing of what was put, and leave no thread behind."""
        while self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._waiting.put(None, timeout=0.2)
                self._thread.join()

    def _take_in(self) -> None:
        import pyarrow as pa

        try:
            arriving = pa.RecordBatchReader.from_batches(self._shape, self._batches())
            self._database.register("stream", arriving)
            self._database.execute(f"INSERT INTO {self._table} SELECT * FROM stream")
            self._database.unregister("stream")
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that reads
            self._error = error

    def _batches(self) -> Iterator[pa.RecordBatch]:
        while (batch := self._waiting.get()) is not None:
            yield batch
        if not self._whole:
            raise _AbandonedError


class _AbandonedError(Exception):
    """The reading ended before the end of the rows."""


class _Writer:
    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        schema: TableSchema,
        columns: Sequence[str],
        progress: Callable[[str], None],
        name: str,
    ) -> None:
        import pyarrow as pa

        types = {c.name: c.type for c in schema.columns}
        self.shape = pa.schema([(c, types.get(c, pa.string())) for c in columns])
        self._database = database
        self._progress = progress
        self._name = name
        self._pending: list[pa.RecordBatch] = []
        self._waiting = 0
        self.rows = 0
        self.seconds = 0.0
        self.misfits = 0
        self.pages: list[PageLog] = []
        self.observations: list[Observation] = []
        self.peak = 0
        self._said = 0
        empty = self._framed(pa.RecordBatch.from_pylist([], schema=self.shape), 0, 0)
        database.register("arriving", pa.Table.from_batches([empty]))
        database.execute(f"CREATE TABLE {TABLE} AS SELECT * FROM arriving")
        database.unregister("arriving")
        database.execute(
            f"CREATE TABLE {TABLE}__misfits (row BIGINT, column_name VARCHAR, raw VARCHAR, reason VARCHAR)"
        )
        self._aside = database.cursor()
        self._stream = _Stream(database, TABLE, empty.schema)

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.abandon()
        self._aside.close()

    def add(self, page: Page) -> None:
        batch = page.batch
        if batch.schema.names != self.shape.names:
            missing = [n for n in self.shape.names if n not in batch.schema.names]
            if missing:
                raise ProtocolError(
                    f"{self._name}: page {len(self.pages) + 1} came without {', '.join(missing)}, "
                    "which the pages before it had.",
                    remedy="The object's structure changed while it was read; run again when the change is done.",
                )
            batch = batch.select(self.shape.names)
        if page.misfits:
            self._misfits(page)
        self.pages.append(
            PageLog(
                len(self.pages),
                self.rows,
                batch.num_rows,
                page.seconds,
                page.calls,
                cursor=page.cursor,
                raw_rows=page.raw_rows,
            )
        )
        room = _KEPT_OBSERVATIONS - len(self.observations)
        self.observations += page.observations[:room]
        self.seconds += page.seconds
        self._pending.append(self._framed(batch, self.rows, len(self.pages) - 1))
        self.rows += batch.num_rows
        self._waiting += batch.num_rows
        if self._waiting >= BATCH_ROWS:
            self._flush()
        if self.rows - self._said >= SAID_EVERY:
            self._said = self.rows
            self._look()
            self._progress(f"{self._name}: {self.rows:,} rows read")

    def finish(self) -> None:
        self._flush()
        self._stream.end()
        self._look()
        self._database.execute("CHECKPOINT")

    def landing(self, path: Path, keys: Sequence[str]) -> Landing:
        return Landing(
            database=path,
            table=TABLE,
            rows=self.rows,
            columns=tuple(self.shape.names),
            keys=tuple(keys),
            pages=tuple(self.pages),
            misfits=self.misfits,
            seconds=self.seconds,
            observations=tuple(self.observations),
            peak_bytes=self.peak or None,
        )

    def _framed(self, batch: pa.RecordBatch, first: int, page: int) -> pa.RecordBatch:
        import numpy as np
        import pyarrow as pa

        shape = self.shape
        if batch.schema.types != shape.types:
            batch = pa.RecordBatch.from_arrays(
                [batch.column(n).cast(shape.field(n).type) for n in shape.names], names=shape.names
            )
        order = pa.array(np.arange(first, first + batch.num_rows, dtype=np.int64))
        number = pa.array(np.full(batch.num_rows, page, dtype=np.int32))
        return pa.RecordBatch.from_arrays([*batch.columns, order, number], names=[*shape.names, "_wb_row", "_wb_page"])

    def _misfits(self, page: Page) -> None:
        import pyarrow as pa

        found = page.misfits
        self.misfits += len(found)
        rows = pa.table(
            {
                "row": pa.array([self.rows + m.row for m in found], pa.int64()),
                "column_name": pa.array([m.column for m in found], pa.string()),
                "raw": pa.array([m.raw for m in found], pa.string()),
                "reason": pa.array([m.reason for m in found], pa.string()),
            }
        )
        self._aside.register("misfits", rows)
        self._aside.execute(f"INSERT INTO {TABLE}__misfits SELECT * FROM misfits")
        self._aside.unregister("misfits")

    def _flush(self) -> None:
        if not self._pending:
            return
        import pyarrow as pa

        for batch in pa.Table.from_batches(self._pending).combine_chunks().to_batches():
            self._stream.put(batch)
        self._pending, self._waiting = [], 0

    def _look(self) -> None:
        import psutil

        self.peak = max(self.peak, psutil.Process().memory_info().rss)


def _keep(landing: Landing) -> None:
    from weighbridge.report.files import write_atomically
    from weighbridge.report.model import plain

    notes: dict[str, Any] = {k: v for k, v in asdict(landing).items() if k != "database"}
    write_atomically(landing.database.with_suffix(".json"), json.dumps(plain(notes)), mode=0o600)


def _forget(path: Path) -> None:
    for name in (path, Path(f"{path}.wal")):
        name.unlink(missing_ok=True)


@contextlib.contextmanager
def _private_umask() -> Any:
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
