"""Runs the benchmarks: `python -m bench [NAME ...]`. Each prints ratios against its peer and its limit in one run."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path


def main(names: list[str]) -> int:
    found = sorted(p.stem.removeprefix("bench_") for p in Path(__file__).parent.glob("bench_*.py"))
    unknown = [n for n in names if n not in found]
    if unknown:
        print(f"there is no benchmark {', '.join(unknown)}; there are: {', '.join(found)}")
        return 2
    for name in names or found:
        print(f"\n## {name}", flush=True)
        started = time.monotonic()
        importlib.import_module(f"bench.bench_{name}").main()
        print(f"({time.monotonic() - started:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
