"""How the time of a read grows with its rows: a page log fitted by what a page costs wherever it stands.

A page costs `a + b x (rows before it)`. With b = 0 the read is linear; OFFSET paging makes the server walk over all
rows before the page, so b > 0 and the whole read costs the square of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from weighbridge.checks.forecast.ranges import Range

__all__ = ["Growth", "fit_growth"]

LEAST_PAGES = 6
SURE = 4.0
"""Standard errors by which the slope must differ from zero before it is believed."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Seconds to read R rows: `per_row x R + per_row_pair x R^2`, the second zero unless it is sure."""

    per_row: float
    per_row_pair: float
    error: float
    """Relative standard error of a prediction."""
    rows: int
    pages: int
    page_rows: float
    sizes: tuple[tuple[int, float], ...]
    """(rows, rows a second) at three sizes."""
    exponent: float
    """Measured between a quarter and the whole of the rows: 1 linear, 2 square."""

    def seconds(self, rows: float) -> Range:
        mid = self.per_row * rows + self.per_row_pair * rows * rows
        stretch = 1 + max(0.0, math.log10(max(1.0, rows / max(1, self.rows)))) * 0.5
        half = min(0.6, max(0.10, 2 * self.error) * stretch)
        return Range(mid * (1 - half), mid, mid * (1 + half))

    def linear_seconds(self, rows: float) -> float:
        """If every page cost what the first one costs."""
        return self.per_row * rows

    def exponent_at(self, rows: float) -> float:
        whole = self.per_row + self.per_row_pair * rows
        return 1.0 if whole <= 0 else (self.per_row + 2 * self.per_row_pair * rows) / whole

    def page_seconds(self, rows: float) -> float:
        """The page that stands behind `rows` rows."""
        return (self.per_row + 2 * self.per_row_pair * rows) * self.page_rows

    @property
    def square(self) -> bool:
        return self.per_row_pair > 0


def fit_growth(pages: Sequence[tuple[int, int, float]]) -> Growth | None:
    """From (first row, rows, seconds) of each page, in order; None without rows or time."""
    used = [(first, rows, seconds) for first, rows, seconds in pages if rows > 0 and seconds > 0]
    total_rows = sum(rows for _, rows, _ in used)
    total = sum(seconds for _, _, seconds in used)
    if not used or total_rows == 0 or total <= 0:
        return None
    pair = 0.0
    # the first page opens connections and cursors; with enough others it would only blur the slope
    body = used[1:] if len(used) > LEAST_PAGES else used
    n = len(body)
    # a machine that stood still for a moment is not a slow system: the slowest tenth of the pages is left out
    quick = sorted(body, key=lambda page: page[2] / page[1])[: max(1, n - n // 10)]
    per_row = sum(seconds for _, _, seconds in quick) / sum(rows for _, rows, _ in quick)
    error = 0.3
    if n >= LEAST_PAGES:
        x = [float(first) for first, _, _ in body]
        y = [seconds / rows for _, rows, seconds in body]
        # a stutter of the machine must not look like growth: slopes of medians (Theil and Sen)
        slopes = sorted((y[j] - y[i]) / (x[j] - x[i]) for i in range(n) for j in range(i + 1, n) if x[j] > x[i])
        slope = slopes[len(slopes) // 2]
        offsets = sorted(b - slope * a for a, b in zip(x, y, strict=True))
        start = offsets[n // 2]
        rest = sorted(abs(b - start - slope * a) for a, b in zip(x, y, strict=True))
        noise = 1.4826 * rest[n // 2] or 1e-12
        spread = math.sqrt(sum((a - sum(x) / n) ** 2 for a in x))
        middle = sum(y) / n
        error = min(0.4, noise / max(1e-12, middle) / math.sqrt(n) + 0.02)
        if slope > SURE * noise / max(1e-12, spread) and slope * total_rows > 0.5 * max(start, 0.1 * middle):
            # per row at offset o: start + slope * o; the integral over all rows gives R^2 / 2
            per_row, pair = max(start, 0.05 * middle), slope / 2
    return Growth(
        per_row, pair, error, total_rows, len(used), total_rows / len(used), _sizes(used), _exponent(used)
    )  # fmt: skip


def _cumulative(pages: Sequence[tuple[int, int, float]]) -> list[tuple[int, float]]:
    rows, seconds, out = 0, 0.0, []
    for _, count, took in pages:
        rows, seconds = rows + count, seconds + took
        out.append((rows, seconds))
    return out


def _sizes(pages: Sequence[tuple[int, int, float]]) -> tuple[tuple[int, float], ...]:
    running = _cumulative(pages)
    n = len(running)
    picks = sorted({max(0, n // 4 - 1), max(0, n // 2 - 1), n - 1})
    return tuple((running[i][0], round(running[i][0] / running[i][1], 1)) for i in picks)


def _exponent(pages: Sequence[tuple[int, int, float]]) -> float:
    running = _cumulative(pages[1:] if len(pages) > LEAST_PAGES else pages)
    if len(running) < 3:
        return 1.0
    points = [running[max(0, len(running) // 4 - 1)], running[len(running) // 2 - 1], running[-1]]
    logs = [(math.log(r), math.log(s)) for r, s in points]
    mx, my = sum(p[0] for p in logs) / 3, sum(p[1] for p in logs) / 3
    below = sum((p[0] - mx) ** 2 for p in logs)
    return round(sum((p[0] - mx) * (p[1] - my) for p in logs) / below, 3) if below > 0 else 1.0
