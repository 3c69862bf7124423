"""Landing a stream: whole or not at all, in order, read in the caller's thread, with no thread left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from weighbridge import landing
from weighbridge.checks.base import Inconclusive
from weighbridge.connectors.base import Column, Misfit, Page, TableSchema
from weighbridge.connectors.errors import ProtocolError, RetriableError
from weighbridge.landing import land, recall

SCHEMA = TableSchema((Column("id", pa.int64(), False, "int"), Column("word", pa.string(), True, "text")), ("id",))


class Stream:
    """Pages of the given sizes; afterwards raises what it is told to."""

    session = SimpleNamespace(system="s")

    def __init__(self, sizes: Sequence[int], *, then: Exception | None = None, last: pa.RecordBatch | None = None):
        self.sizes, self.then, self.last = sizes, then, last
        self.threads: set[int] = set()

    def read(self, ref: str, *, columns: Sequence[str]) -> Iterator[Page]:
        first = 0
        for size in self.sizes:
            self.threads.add(threading.get_ident())
            ids = range(first, first + size)
            batch = pa.record_batch({"id": pa.array(ids, pa.int64()), "word": pa.array([f"w{i}" for i in ids])})
            misfits = (Misfit(0, "id", "twelve", "not a number"),) if size else ()
            yield Page(batch, ("id",), 0.0, 1, misfits=misfits)
            first += size
        if self.last is not None:
            yield Page(self.last, ("id",), 0.0, 1)
        if self.then is not None:
            raise self.then


def landed(folder: Path, stream: Stream, **options: Any) -> Any:
    source: Any = stream
    return land(source, "t", folder / "t.duckdb", schema=SCHEMA, columns=["id", "word"], keys=("id",), **options)


def writers() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("landing ")]


def test_pages_of_any_size_land_in_order(tmp_path: Path) -> None:
    said: list[str] = []
    stream = Stream([1, 0, 3, 70_000, 1, 5_000])
    made = landed(tmp_path, stream, progress=said.append)
    assert (made.rows, made.misfits, [p.rows for p in made.pages]) == (75_005, 5, list(stream.sizes))
    with made.connect() as database:
        right = "count(*), count(CASE WHEN id = _wb_row AND word = 'w' || id THEN 1 END), max(_wb_page)"
        assert database.execute(f"SELECT {right} FROM rows").fetchone() == (75_005, 75_005, 5)
        assert database.execute("SELECT row FROM rows__misfits ORDER BY 1").fetchall() == [
            (0,), (1,), (4,), (70_004,), (70_005,),
        ]  # fmt: skip
    assert stream.threads == {threading.get_ident()}
    assert said == ["t: 70,004 rows read"]
    assert recall(tmp_path / "t.duckdb") == made
    assert writers() == []


def test_no_page_is_an_empty_landing(tmp_path: Path) -> None:
    made = landed(tmp_path, Stream([]))
    with made.connect() as database:
        assert database.execute("SELECT count(*) FROM rows").fetchone() == (0,)


@pytest.mark.parametrize("sizes", [[10], [30_000] * 4])
def test_a_reading_that_breaks_off_leaves_nothing(tmp_path: Path, sizes: list[int]) -> None:
    with pytest.raises(RetriableError, match="cut"):
        landed(tmp_path, Stream(sizes, then=RetriableError("cut", remedy="again")))
    assert list(tmp_path.iterdir()) == []
    assert writers() == []


def test_a_page_without_a_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="without word"):
        landed(tmp_path, Stream([5], last=pa.record_batch({"id": pa.array([1], pa.int64())})))
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_cannot_keep_the_rows_stops_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing, "MEMORY", "1MB")
    stream = Stream([20_000] * 500)
    with pytest.raises(Inconclusive, match="could not be kept"):
        landed(tmp_path, stream)
    assert list(tmp_path.glob("t.*")) == []
    assert writers() == []
