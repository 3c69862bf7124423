"""What reading through a connector costs against a bare loop of requests and json over the same pages."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil

__all__ = ["CALL_MS", "CEILING_MB", "FLOOR", "apart", "compared", "counted", "rss_mb"]

FLOOR = 0.6
CEILING_MB = 200
CALL_MS = 1.0
EARLY = 25
"""The page at which memory is looked at first: what it grows by afterwards grows with the rows."""
Reader = Callable[[str, int], dict[str, float]]
"""(url, rows a page) -> rows, seconds, cpu, rss and, of the connector, rss_early."""


def rss_mb() -> float:
    return psutil.Process().memory_info().rss / 1e6


def counted(pages: Iterator[int]) -> dict[str, float]:
    """Run through pages, given as their numbers of rows: rows, seconds, CPU seconds and memory."""
    rows, early = 0, 0.0
    started, cpu = time.perf_counter(), time.process_time()
    for number, count in enumerate(pages, start=1):
        rows += count
        early = rss_mb() if number == EARLY else early
    seconds, spent = time.perf_counter() - started, time.process_time() - cpu
    return {"rows": rows, "seconds": seconds, "cpu": spent, "rss": rss_mb(), "rss_early": early}


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def compared(bare: Reader, ours: Reader, url: str, *, rows: int, page: int, rounds: int) -> dict[str, Any]:
    """Both readers in turn, so that a busy machine is busy for both; SystemExit if either missed a row."""
    pairs = [(apart(bare, url, page), apart(ours, url, page)) for _ in range(rounds)]
    for one, other in pairs:
        if one["rows"] != rows or other["rows"] != rows:
            raise SystemExit(f"the readers saw {one['rows']} and {other['rows']} rows of {rows}")
    ratio = statistics.median(one["seconds"] / other["seconds"] for one, other in pairs)
    last = pairs[-1][1]
    return {
        "rows": rows,
        "page_rows": page,
        "bare_rows_per_s": round(rows / statistics.median(p[0]["seconds"] for p in pairs)),
        "ours_rows_per_s": round(rows / statistics.median(p[1]["seconds"] for p in pairs)),
        "ratio": round(ratio, 2),
        "ratio_floor": FLOOR,
        "ratio_ok": ratio >= FLOOR,
        "cpu_s": {"bare": round(pairs[-1][0]["cpu"], 2), "ours": round(last["cpu"], 2)},
        "rss_mb": {f"page_{EARLY}": round(last["rss_early"]), "end": round(last["rss"]), "limit": CEILING_MB},
        "rss_ok": last["rss"] < CEILING_MB,
    }
