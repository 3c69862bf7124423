"""Lets Great Expectations judge the landed rows on Spark, for data that one machine is too small for.

The rows go to Parquet and Spark reads them; the session is the one that spark-defaults.conf, SPARK_REMOTE or
PYSPARK_SUBMIT_ARGS name, else local. What Spark's SQL has no words for (nested values, dates in text, statements that a
contract wrote in DuckDB's dialect) stays with DuckDB; nothing is left out, and nothing is counted otherwise.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.checks.base import Inconclusive
from weighbridge.checks.conditions import Source
from weighbridge.checks.dialects import DUCKDB, SPARK
from weighbridge.checks.suite import Planned, compile_suite
from weighbridge.checks.time_limit import interrupted_after
from weighbridge.checks.workspace import DATA, Workspace

if TYPE_CHECKING:
    from weighbridge.checks.gx import Verdict

__all__ = ["OnSpark", "judge_on_spark"]

_KEPT = frozenset({"text", "integer", "decimal", "float", "boolean", "date", "timestamp", "timestamptz"})
"""Kinds that Parquet takes to Spark with every value the same."""


@dataclass(frozen=True, slots=True)
class OnSpark:
    """What Spark was asked and said, by the rule's path."""

    source: Source
    planned: Mapping[str, Planned]
    verdicts: Mapping[str, Verdict]


def judge_on_spark(
    rules: Sequence[Planned], workspace: Workspace, *, target_columns: Mapping[str, Sequence[str]], seconds: float
) -> OnSpark:
    """Great Expectations' verdict on every rule that Spark can count exactly as DuckDB does.

    Raises Inconclusive where there is no Spark. A rule on which Spark fails has no verdict here: DuckDB answers it.
    """
    columns = {n: t for n, t in workspace.source.columns.items() if t.kind in _KEPT}
    source = Source(workspace.object, columns, words=SPARK, misfits=workspace.source.misfits, table=DATA)
    asked = [p.rule for p in rules if p.type is not None and p.rule.kind not in ("sql", "expectation")]
    views = workspace.target_types
    planned = {
        plan.rule.path: plan
        for plan in compile_suite(asked, source, targets=views, target_columns=target_columns)
        if plan.type is not None
    }
    if not planned:
        return OnSpark(source, {}, {})
    from weighbridge.checks import gx

    folder = workspace.landing.database.with_suffix(".spark")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        flags = [f"_wb_misfit:{n}" for n in source.misfits]
        _to_parquet(workspace, DATA, [*columns, *flags], folder / "rows.parquet")
        with _session() as spark:
            frame = spark.read.parquet((folder / "rows.parquet").resolve().as_uri())
            frame.createOrReplaceTempView(DATA)
            for number, view in enumerate(_views(planned.values(), views)):
                path = folder / f"keys{number}.parquet"
                _to_parquet(workspace, DUCKDB.quoted(view), [c for c in views[view] if not c.startswith("_wb_")], path)
                spark.read.parquet(path.resolve().as_uri()).createOrReplaceTempView(SPARK.quoted(view))
            with interrupted_after(seconds, spark.interruptAll, every=0.5):
                found = gx.validate_frame(frame, list(planned.values()))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    verdicts = {path: v for path, v in zip(planned, found, strict=True) if v.error is None}
    return OnSpark(source, planned, verdicts)


def _views(planned: Any, views: Mapping[str, Any]) -> list[str]:
    asked = [str(p.kwargs.get("query", "")) for p in planned]
    return [v for v in views if any(SPARK.quoted(v) in query for query in asked)]


def _to_parquet(workspace: Workspace, origin: str, names: Sequence[str], path: Path) -> None:
    """The rows as Spark reads them: what has no unambiguous type there is text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    shown = ", ".join(DUCKDB.quoted(n) for n in names) or "1 AS nothing"
    batches = pa.RecordBatchReader.from_stream(workspace.raw.sql(f"SELECT {shown} FROM {origin}"))
    shape = pa.schema([pa.field(f.name, _plain(f.type)) for f in batches.schema])
    with pq.ParquetWriter(path, shape, coerce_timestamps="us", allow_truncated_timestamps=True) as writer:
        for batch in batches:
            writer.write_table(pa.Table.from_batches([batch]).cast(shape))
    path.chmod(0o600)


def _plain(kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if pa.types.is_unsigned_integer(kind):
        return pa.decimal128(20, 0) if kind.bit_width == 64 else pa.int64()
    if pa.types.is_dictionary(kind):
        return kind.value_type
    return kind


@contextmanager
def _session() -> Iterator[Any]:
    try:
        sessions = import_module("pyspark.sql").SparkSession
    except ImportError as error:
        raise Inconclusive(
            "Spark is not installed here.", remedy="pip install 'weighbridge[spark]', and a Java 17 runtime."
        ) from error
    before = sessions.getActiveSession()
    try:
        spark = (
            sessions.builder.appName("weighbridge")
            .config("spark.sql.session.timeZone", "UTC")
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .getOrCreate()
        )
    except Exception as error:
        raise Inconclusive(
            f"Spark could not be started ({' '.join(str(error).split())[:200]}).",
            remedy="Check JAVA_HOME (Java 17) and the cluster that spark-defaults.conf or SPARK_REMOTE names.",
        ) from error
    zone = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    try:
        yield spark
    finally:
        spark.conf.set("spark.sql.session.timeZone", zone)
        if before is None:
            spark.stop()
