"""Landing a stream of pages beside writing the same Arrow batches to Parquet, in one run; the limit is 1.5 times.

    python -m bench landing
    python bench/bench_landing.py [ROWS ...]

Each writer runs in a process of its own, so that seconds and peak memory are its own. Both are given the same pages of
2,000 rows; Parquet is written as pyarrow does by default, once a page at a time and once in the portions that a
landing uses.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

PAGE_ROWS = 2_000
PORTION = 25
DISTINCT = 200_000
LIMIT = 1.5
TIMES = 3


def rows_of() -> pa.Table:
    """12 columns of the kinds business systems have."""
    import duckdb
    from bench_quality import ROWS_SQL

    made = duckdb.sql(f"SELECT * EXCLUDE (_wb_row, _wb_page) FROM ({ROWS_SQL.format(rows=DISTINCT)})")
    return made.to_arrow_table().combine_chunks()


def pages(table: pa.Table, rows: int) -> Iterator[pa.RecordBatch]:
    batches = table.to_batches(max_chunksize=PAGE_ROWS)
    sent = 0
    while sent < rows:
        for batch in batches:
            yield batch
            sent += batch.num_rows


def write_parquet(table: pa.Table, rows: int, folder: Path) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(folder / "rows.parquet", table.schema) as writer:
        for batch in pages(table, rows):
            writer.write_batch(batch)


def write_parquet_portions(table: pa.Table, rows: int, folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    waiting: list[pa.RecordBatch] = []
    with pq.ParquetWriter(folder / "rows.parquet", table.schema) as writer:
        for batch in pages(table, rows):
            waiting.append(batch)
            if len(waiting) == PORTION:
                writer.write_table(pa.Table.from_batches(waiting))
                waiting.clear()
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting))


def write_landing(table: pa.Table, rows: int, folder: Path) -> None:
    from types import SimpleNamespace

    from weighbridge.connectors.base import Column, Page, TableSchema
    from weighbridge.landing import land

    class Stream:
        session = SimpleNamespace(system="bench")

        def read(self, ref: str, *, columns: Sequence[str]) -> Iterator[Page]:
            for batch in pages(table, rows):
                yield Page(batch, ("id",), 0.0, 1)

    schema = TableSchema(tuple(Column(f.name, f.type, True, str(f.type)) for f in table.schema), ("id",))
    stream: Any = Stream()
    landed = land(stream, "t", folder / "t.duckdb", schema=schema, columns=table.column_names, keys=("id",))
    assert landed.rows == rows, landed.rows


WRITERS = {"parquet": write_parquet, "parquet portions": write_parquet_portions, "landing": write_landing}


def one(writer: str, rows: int) -> dict[str, float]:
    """The best of three, imports and the making of the rows left out."""
    sys.path.insert(0, str(Path(__file__).parent))
    table = rows_of()
    seconds, size = [], 0
    for _ in range(TIMES):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            WRITERS[writer](table, rows, Path(folder))
            seconds.append(time.perf_counter() - started)
            size = sum(p.stat().st_size for p in Path(folder).iterdir())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": min(seconds), "peak_mb": peak, "file_mb": size / 1e6}


def measure(writer: str, rows: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--writer", writer, str(rows)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def main(argv: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", type=int, default=[1_000_000])
    parser.add_argument("--writer", choices=list(WRITERS))
    given = parser.parse_args(list(argv))
    if given.writer:
        print(json.dumps(one(given.writer, given.rows[0])))
        return
    for rows in given.rows:
        found = {writer: measure(writer, rows) for writer in WRITERS}
        for writer, figures in found.items():
            ratio = figures["seconds"] / found["parquet"]["seconds"]
            limit = f"  (limit {LIMIT:.1f}x)" if writer == "landing" else ""
            print(
                f"{rows:>11,} rows  {writer:<17} {figures['seconds']:6.2f} s  {ratio:5.2f}x  "
                f"{figures['peak_mb']:5.0f} MB  file {figures['file_mb']:5.0f} MB{limit}"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
