"""The pytest plugin: what it costs a project that does not use it, and how long it takes to collect 200 contracts.

python -m bench plugin
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.bench_nightly import prepare

ROUNDS = 12
CONTRACTS = 200
LIMIT_UNUSED_MS = 50
LIMIT_COLLECT_S = 1.0
PLUGIN = ("-p", "weighbridge.pytest_plugin", "-p", "no:cacheprovider")
_TIMED = """\
import time

class Timer:
    def pytest_collection(self):
        self.started, self.cpu = time.perf_counter(), time.process_time()

    def pytest_collection_finish(self, session):
        took, cpu = time.perf_counter() - self.started, time.process_time() - self.cpu
        print(f"collected {len(session.items)} in {took:.4f} s, {cpu:.4f} of CPU")

import pytest, sys
sys.exit(pytest.main(sys.argv[1:], plugins=[Timer()]))
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _unused(folder / "plain")
        _collected(folder / "contracts")


def _unused(folder: Path) -> None:
    """The whole of `pytest` on one empty test, without any plugin and with ours alone, in turns; the fastest count."""
    folder.mkdir()
    (folder / "test_one.py").write_text("def test_one():\n    pass\n", encoding="utf-8")
    plain, ours = [], []
    for _ in range(ROUNDS):
        plain.append(_seconds(folder))
        ours.append(_seconds(folder, *PLUGIN))
    more = 1000 * (min(ours) - min(plain))
    print(
        f"  unused: pytest alone {1000 * min(plain):.0f} ms, with the plugin {1000 * min(ours):.0f} ms, fastest of "
        f"{ROUNDS} each (medians {1000 * statistics.median(plain):.0f} and {1000 * statistics.median(ours):.0f}): "
        f"{more:.0f} ms (limit {LIMIT_UNUSED_MS})  {_mark(more < LIMIT_UNUSED_MS)}"
    )


def _environ(folder: Path) -> dict[str, str]:
    """No other plugins, and compiled modules kept, as on any machine where Python may write them."""
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPYCACHEPREFIX": str(folder.parent / "pycache")}


def _seconds(folder: Path, *arguments: str) -> float:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=_environ(folder), capture_output=True, timeout=60, check=True)
    return time.perf_counter() - started


def _collected(folder: Path) -> None:
    folder.mkdir()
    prepare(folder, contracts=CONTRACTS, rows=1)
    seen = []
    for _ in range(5):
        command = [sys.executable, "-c", _TIMED, "-q", "--collect-only", "-m", "integration", *PLUGIN]
        started = time.perf_counter()
        done = subprocess.run(
            command, cwd=folder, env=_environ(folder), capture_output=True, text=True, timeout=120, check=False
        )
        whole = time.perf_counter() - started
        words = next((line for line in done.stdout.splitlines() if line.startswith("collected ")), None)
        if words is None:
            print(done.stdout[-2000:], done.stderr[-2000:])
            return
        _, items, _, took, _, cpu, *_ = words.split()
        seen.append((float(took), float(cpu), int(items), whole))
    took, cpu, items, whole = sorted(seen)[len(seen) // 2]
    print(
        f"  collection of {CONTRACTS} contracts: {took:.2f} s ({cpu:.2f} of CPU) for {items} items, "
        f"{whole:.2f} s the whole command (limit {LIMIT_COLLECT_S} s)  {_mark(took < LIMIT_COLLECT_S)}"
    )


def _mark(ok: bool) -> str:
    return "ok" if ok else "OVER THE LIMIT"


if __name__ == "__main__":
    main()
