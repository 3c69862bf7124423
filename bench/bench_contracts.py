"""200 contracts of 10 rules loaded, linted and compiled to plain data in one process; the limit is 2 seconds.

    python -m bench contracts
    python bench/bench_contracts.py [CONTRACTS]

Neither Great Expectations nor DuckDB nor pandas may have been imported at the end. datacontract-cli's lint of the same
files, of 20 of them, is timed beside it, where that tool is installed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

LIMIT = 2.0
RULES = 10
HEAVY = ("great_expectations", "duckdb", "pandas")
CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: bench-{number}
version: 1.0.0
name: Orders of branch {number}
status: active
servers:
  - {{server: erp, type: custom}}
schema:
  - name: Order{number}
    physicalName: orders_{number}
    description: What branch {number} sold.
    properties:
      - {{name: id, logicalType: integer, primaryKey: true}}
      - name: account
        logicalType: string
        required: true
        logicalTypeOptions: {{pattern: '^C-[0-9]{{6}}$', maxLength: 8}}
      - {{name: status, logicalType: string, enum: [{{value: open}}, {{value: paid}}, {{value: late}}]}}
      - {{name: amount, logicalType: number, logicalTypeOptions: {{minimum: 0}}}}
      - {{name: day, logicalType: date, logicalTypeOptions: {{minimum: '2020-01-01'}}}}
      - name: note
        logicalType: string
        quality:
          - {{metric: nullValues, mustBeLessThan: 5, unit: percent}}
    quality:
      - {{metric: rowCount, mustBeGreaterThan: {number}}}
      - {{type: sql, query: 'SELECT count(*) FROM ${{object}} WHERE amount > 1000000', mustBe: 0}}
"""


def write(folder: Path, count: int) -> list[Path]:
    made = []
    for number in range(count):
        path = folder / f"c{number:04}.odcs.yaml"
        path.write_text(CONTRACT.format(number=number), encoding="utf-8")
        made.append(path)
    return made


def weighbridge(folder: Path) -> dict[str, float]:
    """Loading, linting and compiling; importing our own modules is in the seconds."""
    started = time.perf_counter()
    from weighbridge.checks.suite import compile_suite, declared_source
    from weighbridge.contracts.loader import load
    from weighbridge.contracts.rules import compile_rules

    planned = 0
    for path in sorted(folder.glob("*.odcs.yaml")):
        contract = load(path)
        for item in contract.objects:
            rules = [r for r in compile_rules(contract, item) if r.check == "quality"]
            suite = compile_suite(rules, declared_source(item))
            assert len(suite) == RULES, [p.rule.path for p in suite]
            assert all(json.dumps(p.expectation()) for p in suite if p.type), "plain data"
            planned += len(suite)
    seconds = time.perf_counter() - started
    heavy = [name for name in HEAVY if name in sys.modules]
    assert not heavy, f"imported: {', '.join(heavy)}"
    return {"seconds": seconds, "rules": planned, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


PEER = """\
import glob, json, sys, time
started = time.perf_counter()
from datacontract.data_contract import DataContract
files = sorted(glob.glob(sys.argv[1] + "/*.odcs.yaml"))[:20]
assert all(DataContract(data_contract_file=f).lint().result.value == "passed" for f in files)
print(json.dumps({"seconds": time.perf_counter() - started}))
"""


def main(argv: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contracts", nargs="?", type=int, default=200)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args(list(argv))
    if given.folder:
        print(json.dumps(weighbridge(given.folder)))
        return
    sys.path.insert(0, str(Path(__file__).parent))
    from bench_quality import peer_python

    with tempfile.TemporaryDirectory() as name:
        write(Path(name), given.contracts)
        command = [sys.executable, __file__, "--folder", name]
        best = min((_run(command) for _ in range(3)), key=lambda f: f["seconds"])
        print(
            f"{given.contracts} contracts x {RULES} rules  weighbridge       {best['seconds']:6.2f} s  "
            f"{best['peak_mb']:4.0f} MB  loaded, linted, compiled; no {', '.join(HEAVY)}  (limit {LIMIT:.0f} s)"
        )
        python = peer_python()
        if python is None:
            print("                          datacontract-cli  skipped: not installed")
            return
        peer = _run([python, "-c", PEER, name])
        print(f" 20 contracts             datacontract-cli  {peer['seconds']:6.2f} s  linted only")


def _run(command: list[str]) -> dict[str, float]:
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


if __name__ == "__main__":
    main(sys.argv[1:])
