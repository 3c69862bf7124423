"""What reading a workbook costs: 200,000 x 12, values against openpyxl and calamine, the hazard scan against calamine.

    python -m bench excel          or          python bench/bench_excel.py [--rows 200000] [--rounds 5]

Each reader runs in a process of its own, in turn, round after round. Prints JSON with seconds, CPU seconds, peak MB and
the ratios of each round: the median and the worst. The ratios are of CPU seconds: all readers are bound by the CPU, and
a busy machine does not change them; those of the clock stand beside them.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import multiprocessing
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

FLOOR = 6.0
"""Values at least so many times faster than openpyxl read-only."""
CEILING_MB = 300
SCAN_CEILING = 3.0
"""The hazard scan takes at most so many times what calamine takes for the values alone."""
COLUMNS = ("id", "account", "name", "day", "amount", "qty", "flag", "city", "price", "note", "status", "reference")


def write(path: Path, rows: int) -> None:
    """A workbook as Excel writes it: shared texts, dates by format, every kind of cell."""
    import xlsxwriter

    rng = random.Random(7)
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet("Data")
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        sheet.write_row(0, 0, COLUMNS)
        for r in range(1, rows + 1):
            sheet.write_row(r, 0, (r, f"C-{r % 5000:06d}", f"Customer {r % 5000}"))
            sheet.write_datetime(r, 3, dt.date(2020, 1, 1) + dt.timedelta(days=r % 1500), day)
            sheet.write_row(r, 4, (round(rng.uniform(1, 9999), 2), r % 100))
            sheet.write_boolean(r, 6, r % 2 == 0)
            sheet.write_row(r, 7, (rng.choice(("Berlin", "Paris", "Rome")), r / 7, f"note {r}"))
            sheet.write_row(r, 10, (rng.choice(("open", "paid")), f"R{r:08d}"))


def with_openpyxl(path: str) -> int:
    import openpyxl

    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    return sum(1 for _ in book.worksheets[0].iter_rows(values_only=True)) - 1


def with_calamine(path: str) -> int:
    from python_calamine import CalamineWorkbook

    return sum(1 for _ in CalamineWorkbook.from_path(path).get_sheet_by_index(0).iter_rows()) - 1


def ours(path: str) -> int:
    """Types found, every value in Arrow, cross-checked with the package."""
    from weighbridge.connectors.excel import ExcelConnector

    with ExcelConnector({"path": path}) as connector:
        return sum(page.batch.num_rows for page in connector.read("Data"))


def scan(path: str) -> int:
    from weighbridge.connectors.workbook import inspect_workbook

    report = inspect_workbook(Path(path))
    assert report.hazards == [], report.hazards
    return int(report.sheets[0]["rows"]) - 1


READERS = {"openpyxl": with_openpyxl, "calamine": with_calamine, "weighbridge": ours, "scan": scan}


def _child(name: str, path: str, warm: bool, out: Any) -> None:
    if warm:
        import pyarrow as pa

        pa.array([1.0])  # its first use loads half of itself (and pandas), which is not the reader's time
        READERS[name](str(Path(path).with_name("small.xlsx")))
    started, cpu = time.perf_counter(), time.process_time()
    rows = READERS[name](path)
    seconds, spent = time.perf_counter() - started, time.process_time() - cpu
    status = Path("/proc/self/status")
    text = status.read_text() if status.exists() else "VmHWM: 0 kB"
    out.put({"rows": rows, "seconds": seconds, "cpu": spent, "mb": int(text.split("VmHWM:")[1].split()[0]) / 1024})


def measure(name: str, path: Path, *, warm: bool) -> dict[str, float]:
    """One reader in a process of its own: warm for its time, cold for its memory."""
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    child = context.Process(target=_child, args=(name, str(path), warm, out))
    child.start()
    found = out.get(timeout=600)
    child.join()
    return found


def main(rows: int = 200_000, rounds: int = 5) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "book.xlsx"
        write(path, rows)
        write(path.with_name("small.xlsx"), 50)
        seen: dict[str, list[dict[str, float]]] = {name: [] for name in READERS}
        for _ in range(rounds):
            for name in READERS:
                seen[name].append(measure(name, path, warm=True))
        cold = {name: measure(name, path, warm=False)["mb"] for name in READERS}
    assert all(run["rows"] == rows for runs in seen.values() for run in runs)
    faster = _ratios(seen, "openpyxl", "weighbridge")
    scans = _ratios(seen, "scan", "calamine")
    print(
        json.dumps(
            {
                "rows": rows,
                "rounds": rounds,
                "readers": {
                    name: {
                        "seconds": round(statistics.median(r["seconds"] for r in runs), 2),
                        "cpu": round(statistics.median(r["cpu"] for r in runs), 2),
                        "peak_mb": round(cold[name]),
                    }
                    for name, runs in seen.items()
                },
                "values_times_faster_than_openpyxl": faster,
                "at_least": FLOOR,
                "peak_mb": round(cold["weighbridge"]),
                "at_most_mb": CEILING_MB,
                "scan_times_calamine": scans,
                "at_most": SCAN_CEILING,
                "met": min(faster["cpu"]) >= FLOOR
                and max(scans["cpu"]) <= SCAN_CEILING
                and max(cold["weighbridge"], cold["scan"]) <= CEILING_MB,
            },
            indent=1,
        )
    )


def _ratios(seen: dict[str, list[dict[str, float]]], above: str, below: str) -> dict[str, list[float]]:
    """What one reader costs by what the other costs: smallest, median and largest of the rounds."""
    out: dict[str, list[float]] = {}
    for measured in ("cpu", "seconds"):
        ratios = [a[measured] / b[measured] for a, b in zip(seen[above], seen[below], strict=True)]
        out[measured] = [round(r, 2) for r in (min(ratios), statistics.median(ratios), max(ratios))]
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    main(options.rows, options.rounds)
