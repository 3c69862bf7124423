"""The first minute: `weighbridge --help` under 0.3 s, the demo of four practice systems under 60 s on 2 cores.

python -m bench demo
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HELP_LIMIT_S = 0.3
DEMO_LIMIT_S = 60.0
ROUNDS = 7


def main() -> None:
    bare = statistics.median(_took([sys.executable, "-c", "pass"]) for _ in range(ROUNDS))
    shown = statistics.median(_took([sys.executable, "-m", "weighbridge", "--help"]) for _ in range(ROUNDS))
    print(
        f"  weighbridge --help: {shown:.2f} s, a bare interpreter {bare:.2f} s (limit {HELP_LIMIT_S} s)"
        f"  {'ok' if shown < HELP_LIMIT_S else 'OVER THE LIMIT'}"
    )
    with tempfile.TemporaryDirectory() as folder:
        took = _took([sys.executable, "-m", "weighbridge", "demo", "--no-open"], folder=Path(folder))
    mark = "ok" if took < DEMO_LIMIT_S else "OVER THE LIMIT"
    print(f"  weighbridge demo: {took:.0f} s (limit {DEMO_LIMIT_S:.0f} s)  {mark}")


def _took(command: list[str], *, folder: Path | None = None) -> float:
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    took = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-500:]}")
    return took


if __name__ == "__main__":
    main()
