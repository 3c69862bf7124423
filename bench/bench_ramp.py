"""The default ramp of one point: under 60 s and under 2,000 calls, on the practice systems as a project has them.

    python -m bench ramp

The practice project shortens its ramps; here they are left at the default. What is printed is what the report says.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from weighbridge.sandbox.practice import start

LIMIT_S = 60.0
LIMIT_CALLS = 2_000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, start(Path(folder)):
        settings = Path(folder) / "weighbridge.toml"
        lines = settings.read_text(encoding="utf-8").splitlines(keepends=True)
        settings.write_text("".join(x for x in lines if not x.startswith("ramp_seconds")), encoding="utf-8")
        command = [
            sys.executable, "-m", "weighbridge", "run", "--config", str(settings), "--env", "sandbox",
            "--points", "crm,erp,legacy", "--checks", "load", "--json", "--quiet", "--no-history",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False, cwd=folder)
        if done.returncode not in (0, 1, 3):
            raise RuntimeError(f"the run ended with {done.returncode}: {done.stderr[-500:]}")
        report = json.loads(done.stdout)
    for point, data in ramps(report):
        held = data["seconds"] < LIMIT_S and data["calls"] < LIMIT_CALLS
        print(f"  {point}: {data['seconds']:.0f} s, {data['calls']} calls  {'ok' if held else 'OVER THE LIMIT'}")


def ramps(report: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(point, what its load check measured) of every point that has a ramp."""
    return [(point["id"], point["load"]) for point in report["points"] if point["load"]]


if __name__ == "__main__":
    main()
