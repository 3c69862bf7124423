"""A nightly run of 50 contracts against a practice database: limit 2 minutes on 2 cores.

python -m bench nightly
"""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONTRACTS = 50
ROWS = 2_000
LIMIT_S = 120.0
_CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: shop-{n}
version: 1.0.0
status: active
servers: [{{server: shop, type: custom}}]
schema:
  - name: Order{n}
    physicalName: orders_{n}
    properties:
      - {{name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1}}
      - {{name: account, logicalType: string, required: true, logicalTypeOptions: {{pattern: '^C-[0-9]{{6}}$'}}}}
      - {{name: net, logicalType: number, logicalTypeOptions: {{minimum: 0}}}}
      - name: state
        logicalType: string
        quality: [{{metric: invalidValues, arguments: {{validValues: [open, paid]}}, mustBe: 0}}]
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        for night in ("first", "second"):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            started = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "weighbridge", "nightly", "--quiet"],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=900,
                check=False,
            )
            took = time.perf_counter() - started
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            mark = "ok" if took < LIMIT_S else "OVER THE LIMIT"
            print(
                f"  {night} night, {CONTRACTS} contracts: {took:.1f} s, {cpu:.1f} s of CPU, exit {done.returncode} "
                f"(limit {LIMIT_S:.0f} s)  {mark}"
            )
            if done.returncode not in (0, 1, 3):
                print(done.stderr)


def prepare(folder: Path, *, contracts: int = CONTRACTS, rows: int = ROWS) -> None:
    """A project of `contracts` contracts, each of one table of a database in the folder."""
    with sqlite3.connect(folder / "shop.db") as database:
        for n in range(contracts):
            database.execute(f"CREATE TABLE orders_{n} (id INTEGER PRIMARY KEY, account TEXT, net REAL, state TEXT)")
            data = [(i, f"C-{i % 90:06d}", i * 1.5, "open" if i % 3 else "paid") for i in range(1, rows + 1)]
            database.executemany(f"INSERT INTO orders_{n} VALUES (?, ?, ?, ?)", data)
    database.close()
    (folder / "weighbridge.toml").write_text(
        "[scale]\ncalls_per_user_hour = 12\n\n"
        f'[systems.shop]\nconnector = "sql"\n\n[systems.shop.sandbox]\nurl = "sqlite:///{folder / "shop.db"}"\n\n'
        '[nightly]\nenvironment = "sandbox"\n',
        encoding="utf-8",
    )
    (folder / "contracts").mkdir()
    for n in range(contracts):
        (folder / "contracts" / f"shop_{n}.odcs.yaml").write_text(_CONTRACT.format(n=n), encoding="utf-8")


if __name__ == "__main__":
    main()
