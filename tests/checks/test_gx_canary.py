"""Canaries for what is pinned: they say when Great Expectations, SQLAlchemy or DuckDB change under the adaptation."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa
from contract_kit import contract, land, point_of

from weighbridge.checks import gx
from weighbridge.checks.suite import compile_suite
from weighbridge.checks.workspace import DATA, Workspace


def test_the_adaptation_fits_the_installed_versions() -> None:
    assert gx.duckdb_problem() is None
    assert gx.VERSION.startswith("1.24.")


def test_without_the_adaptation_it_still_fails_so_it_is_still_needed() -> None:
    import duckdb
    import duckdb_engine

    from weighbridge.checks.suite import Planned

    raw = duckdb.connect(":memory:")
    raw.execute("CREATE TABLE t AS SELECT 1 AS n")
    engine = sa.create_engine(
        "duckdb:///:memory:", creator=lambda: duckdb_engine.ConnectionWrapper(raw), poolclass=sa.pool.StaticPool
    )
    planned = [Planned(gx._CANARY, "expect_column_values_to_not_be_null", {"column": "n"})]
    assert gx.validate(engine, "t", planned)[0].error is not None
    engine.dispose()
    raw.close()


def test_gx_still_keeps_its_regex_words_where_we_teach_them() -> None:
    gx.teach_regex()
    assert all(getattr(m.get_dialect_regex_expression, "taught", False) for m in gx.REGEX_MODULES)


def test_one_context_a_thread_counts_right(tmp_path: Path) -> None:
    made = contract(
        tmp_path,
        "schema: [{name: T, properties: [{name: a, logicalType: string, required: true, "
        "logicalTypeOptions: {pattern: '^a'}, unique: true}]}]\n",
    )
    rules = [r for r in point_of(made).rules if r.check == "quality"]
    counts: dict[int, list[int | None]] = {}

    def run(number: int) -> None:
        table = pa.table({"a": ["a"] * number + ["b"] * number + [None] * number})
        landing = land(tmp_path, table, name=f"l{number}")
        with Workspace(landing, made.objects[0]) as workspace:
            engine = gx.duckdb_engine_of(workspace)
            planned = compile_suite(rules, workspace.source)
            counts[number] = [v.count for v in gx.validate(engine, DATA, planned)]
            engine.dispose()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(2, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == {n: [n, 2 * n - 2, n] for n in range(2, 7)}


def test_the_garbage_collector_closes_nobody_s_connection(tmp_path: Path) -> None:
    import gc

    made = contract(tmp_path, "schema: [{name: T, properties: [{name: a, required: true}]}]\n")
    rules = [r for r in point_of(made).rules if r.check == "quality"]
    with Workspace(land(tmp_path, pa.table({"a": [1]})), made.objects[0]) as workspace:
        engine = gx.duckdb_engine_of(workspace)
        planned = compile_suite(rules, workspace.source)
        with engine.connect() as ours:
            gx.validate(engine, DATA, planned)
            gc.collect()
            assert ours.execute(sa.text("SELECT 1")).scalar() == 1
        engine.dispose()


@pytest.mark.slow  # another process loads all of it
def test_what_is_left_out_of_gx_is_there_for_everybody_else() -> None:
    program = """
import sys, weighbridge.checks.gx
print('scipy.stats' in sys.modules, 'altair' in sys.modules)
import scipy.stats, altair
print(scipy.stats.norm.cdf(0.0), altair.Chart.__name__)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False", "0.5", "Chart"]
