"""Quality rules on landed rows beside one DuckDB aggregate query, Great Expectations on pandas and datacontract-cli.

    python -m bench quality
    python bench/bench_quality.py [ROWS ...] [--no-peers]

The limits: 3 times the one aggregate query and 1 GB at 10,000,000 rows, and a cost per row that does not grow. Each
engine runs in a process of its own, so that seconds and peak memory are its own. Importing an engine's libraries is
left out of its seconds: a run imports them once. The peers hold what they check in memory or take minutes, so they run
up to 1,000,000 rows. datacontract-cli is found where it is installed here or as a command on PATH (it needs an older
DuckDB than Weighbridge: `pipx install 'datacontract-cli[duckdb,parquet]'`); elsewhere its line says that it is skipped.
"""

# ruff: noqa: E501 - SQL and rules read best a line each

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: bench
version: "1"
servers: [{server: bench, type: custom}]
schema:
  - name: Order
    properties:
      - {name: id, logicalType: integer, primaryKey: true}
      - {name: account, logicalType: string, required: true, logicalTypeOptions: {pattern: '^C-[0-9]{6}$', maxLength: 8}}
      - {name: email, logicalType: string, logicalTypeOptions: {pattern: '^[^@ ]+@[^@ ]+$'}}
      - {name: status, logicalType: string, enum: [{value: open}, {value: paid}, {value: late}, {value: void}]}
      - {name: amount, logicalType: number, logicalTypeOptions: {minimum: 0, maximum: 1000}}
      - {name: qty, logicalType: integer, logicalTypeOptions: {minimum: 1}}
      - {name: day, logicalType: date, logicalTypeOptions: {minimum: '2020-01-01'}}
      - name: note
        logicalType: string
        quality: [{metric: nullValues, mustBeLessThan: 5, unit: percent}]
      - {name: price, logicalType: number}
      - {name: country, logicalType: string, required: true}
      - {name: flag, logicalType: boolean}
      - {name: changed, logicalType: timestamp}
    quality:
      - {metric: rowCount, mustBeGreaterThan: 1000}
"""
ROWS_SQL = """\
SELECT i AS id, 'C-' || lpad((i % 1000000)::VARCHAR, 6, '0') AS account, 'user' || i || '@example.com' AS email,
  ['open', 'paid', 'late', 'void'][1 + i % 4] AS status, (i * 7919 % 100000) / 100.0::DOUBLE AS amount,
  1 + i % 9 AS qty, DATE '2020-01-01' + (i % 1500)::INT AS day,
  CASE WHEN i % 50 = 0 THEN NULL ELSE 'note ' || (i % 997) END AS note, (i % 5000)::DECIMAL(12, 2) AS price,
  'DE' AS country, i % 3 = 0 AS flag, TIMESTAMP '2024-01-01' + INTERVAL (i) SECOND AS changed,
  i AS _wb_row, 0 AS _wb_page FROM range({rows}) r(i)
"""
AGGREGATE = """\
SELECT count(*), count(CASE WHEN id IS NULL THEN 1 END), count(id) - count(DISTINCT id),
  count(CASE WHEN account IS NULL THEN 1 END), count(CASE WHEN NOT regexp_matches(account, '^C-[0-9]{6}$') THEN 1 END),
  count(CASE WHEN length(account) > 8 THEN 1 END), count(CASE WHEN NOT regexp_matches(email, '^[^@ ]+@[^@ ]+$') THEN 1 END),
  count(CASE WHEN status NOT IN ('open', 'paid', 'late', 'void') THEN 1 END), count(CASE WHEN NOT amount >= 0 THEN 1 END),
  count(CASE WHEN NOT amount <= 1000 THEN 1 END), count(CASE WHEN qty < 1 THEN 1 END),
  count(CASE WHEN day < DATE '2020-01-01' THEN 1 END), count(CASE WHEN note IS NULL THEN 1 END),
  count(CASE WHEN country IS NULL THEN 1 END) FROM {table}
"""


def prepare(folder: Path, rows: int, *, parquet: bool) -> Path:
    import duckdb

    path = folder / f"rows{rows}.duckdb"
    if not path.exists():
        with duckdb.connect(str(path)) as database:
            database.execute("SET memory_limit='600MB'; SET threads=2")
            database.execute(f"CREATE TABLE rows AS {ROWS_SQL.format(rows=rows)}")
            database.execute(
                "CREATE TABLE rows__misfits (row BIGINT, column_name VARCHAR, raw VARCHAR, reason VARCHAR)"
            )
            if parquet:
                database.execute(f"COPY rows TO '{path.with_suffix('.parquet')}'")
    return path


def run_aggregate(path: Path, rows: int) -> float:
    import duckdb

    with duckdb.connect(str(path), read_only=True) as database:
        database.execute("SET memory_limit='320MB'; SET threads=2")
        return _best(lambda: database.execute(AGGREGATE.replace("{table}", "rows")).fetchall())


def run_parquet(path: Path, rows: int) -> float:
    import duckdb

    with duckdb.connect(":memory:") as database:
        database.execute("SET memory_limit='320MB'; SET threads=2")
        return _best(
            lambda: database.execute(AGGREGATE.replace("{table}", f"'{path.with_suffix('.parquet')}'")).fetchall()
        )


def run_weighbridge(path: Path, rows: int) -> float:
    from weighbridge.checks import gx
    from weighbridge.checks.base import Landing
    from weighbridge.checks.suite import compile_suite
    from weighbridge.checks.workspace import DATA, Workspace
    from weighbridge.contracts.loader import load
    from weighbridge.contracts.rules import compile_rules

    file = path.with_suffix(".odcs.yaml")
    file.write_text(CONTRACT, encoding="utf-8")
    contract = load(file)
    rules = [r for r in compile_rules(contract, contract.objects[0]) if r.check == "quality"]
    names = tuple(p.physical_name for p in contract.objects[0].properties)
    landing = Landing(path, "rows", rows, names, ("id",), (), 0, 0.0)
    assert gx.duckdb_problem() is None

    def once() -> None:
        with Workspace(landing, contract.objects[0]) as workspace:
            engine = gx.duckdb_engine_of(workspace)
            verdicts = gx.validate(engine, DATA, compile_suite(rules, workspace.source))
            assert all(v.success for v in verdicts), [v for v in verdicts if not v.success]
            engine.dispose()

    return _best(once)


def run_pandas(path: Path, rows: int) -> float:
    import duckdb
    import great_expectations as gx
    import great_expectations.expectations as gxe

    with duckdb.connect(str(path), read_only=True) as database:
        frame = database.execute("SELECT * EXCLUDE (_wb_row, _wb_page) FROM rows").df()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("p").add_dataframe_asset("a")
    batch = asset.add_batch_definition_whole_dataframe("b").get_batch({"dataframe": frame})
    suite = context.suites.add(
        gx.ExpectationSuite(
            "s",
            expectations=[
                gxe.ExpectColumnValuesToNotBeNull(column="id"), gxe.ExpectColumnValuesToBeUnique(column="id"),
                gxe.ExpectColumnValuesToNotBeNull(column="account"),
                gxe.ExpectColumnValuesToMatchRegex(column="account", regex="^C-[0-9]{6}$"),
                gxe.ExpectColumnValueLengthsToBeBetween(column="account", max_value=8),
                gxe.ExpectColumnValuesToMatchRegex(column="email", regex="^[^@ ]+@[^@ ]+$"),
                gxe.ExpectColumnValuesToBeInSet(column="status", value_set=["open", "paid", "late", "void"]),
                gxe.ExpectColumnValuesToBeBetween(column="amount", min_value=0, max_value=1000),
                gxe.ExpectColumnValuesToBeBetween(column="qty", min_value=1),
                gxe.ExpectColumnValuesToNotBeNull(column="note", mostly=0.95),
                gxe.ExpectColumnValuesToNotBeNull(column="country"),
                gxe.ExpectTableRowCountToBeBetween(min_value=1000),
            ],
        )
    )  # fmt: skip
    return _best(lambda: batch.validate(suite))


PEER = """\
import json, resource, sys, time
from datacontract.data_contract import DataContract

def once():
    started = time.perf_counter()
    run = DataContract(data_contract_file=sys.argv[1]).test()
    failed = [c.name for c in run.checks if c.result not in ("passed", "warning")]
    assert len(run.checks) > 30 and not failed, failed
    return time.perf_counter() - started

best = min(once() for _ in range(3))
print(json.dumps({"seconds": best, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def peer_python() -> str | None:
    """The interpreter that has datacontract-cli: ours, or the one beside the command on PATH; None where there is none."""
    if importlib.util.find_spec("datacontract") is not None:
        return sys.executable
    command = shutil.which("datacontract")
    beside = Path(command).resolve().parent / "python" if command else None
    return str(beside) if beside is not None and beside.exists() else None


def measure_datacontract(path: Path) -> dict[str, float] | str:
    """The same contract on the same rows as Parquet; its checks of types are only warnings there."""
    python = peer_python()
    if python is None:
        return "skipped: not installed"
    file = path.with_name("peer.odcs.yaml")
    server = f"servers: [{{server: bench, type: local, path: '{path.with_suffix('.parquet')}', format: parquet}}]"
    file.write_text(CONTRACT.replace("servers: [{server: bench, type: custom}]", server), encoding="utf-8")
    run = subprocess.run([python, "-c", PEER, str(file)], capture_output=True, text=True, check=False)
    if run.returncode:
        return f"failed: {(run.stderr.strip().splitlines() or ['no word'])[-1][:200]}"
    return json.loads(run.stdout.splitlines()[-1])


def _best(work: Any, times: int = 3) -> float:
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


MOST_FOR_PEERS = 1_000_000
ENGINES = {"aggregate": run_aggregate, "parquet": run_parquet, "weighbridge": run_weighbridge, "pandas": run_pandas}


def measure(engine: str, path: Path, rows: int) -> dict[str, float]:
    run = subprocess.run(
        [sys.executable, __file__, "--engine", engine, "--path", str(path), str(rows)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(run.stdout.splitlines()[-1])


def main(argv: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", type=int, default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--engine")
    parser.add_argument("--path", type=Path)
    given = parser.parse_args(list(argv))
    if given.engine:
        seconds = ENGINES[given.engine](given.path, given.rows[0])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak_mb": peak}))
        return
    ours: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for rows in given.rows:
            peers = not given.no_peers and rows <= MOST_FOR_PEERS
            path = prepare(Path(folder), rows, parquet=peers)
            engines = ["aggregate", "weighbridge", *(["parquet", "pandas"] if peers else [])]
            found: dict[str, dict[str, float] | str] = {engine: measure(engine, path, rows) for engine in engines}
            if peers:
                found["datacontract-cli"] = measure_datacontract(path)
            base = found["aggregate"]
            assert isinstance(base, dict)
            for engine, figures in found.items():
                if isinstance(figures, str):
                    print(f"{rows:>11,} rows  {engine:<16} {figures}")
                    continue
                if engine == "weighbridge":
                    ours[rows] = figures["seconds"] / rows
                print(
                    f"{rows:>11,} rows  {engine:<16} {figures['seconds']:7.3f} s  "
                    f"{figures['seconds'] / base['seconds']:6.2f}x  {figures['seconds'] / rows * 1e6:7.3f} us/row  "
                    f"{figures['peak_mb']:6.0f} MB" + ("  (limit 3x, 1,024 MB)" if engine == "weighbridge" else "")
                )
            path.unlink()
    if len(ours) > 1:
        least, most = min(ours), max(ours)
        print(
            f"cost of a row at {most:,} rows is {ours[most] / ours[least]:.2f} of that at {least:,} "
            "(limit 1: it does not grow; the fixed cost of a suite weighs more on few rows)"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
