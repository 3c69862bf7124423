"""The charts of report.html as plain SVG, drawn here so that the page needs no library and no network.

Each has a text alternative; colours come from the page's own variables, so that light, dark and print all hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from markupsafe import escape as _escape

from weighbridge.report.escape import printable
from weighbridge.report.model import PointReport, Report
from weighbridge.report.view import number, users_words

__all__ = ["axis_end", "axis_ticks", "bar", "day_chart", "load_chart", "trend_chart"]

WIDTH, HEIGHT = 640, 264
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 18, 40


def axis_end(target: int) -> float:
    """Where the users axis of the bars ends: half again beyond the target, so that headroom is seen."""
    return max(1.0, target * 1.5)


def axis_ticks(end: float, *, count: int = 6) -> list[float]:
    """Round numbers from 0 to at most `end`."""
    if end <= 0:
        return [0.0]
    raw = end / count
    size = 10 ** math.floor(math.log10(raw))
    step = next(m * size for m in (1, 2, 2.5, 5, 10) if m * size >= raw)
    return [i * step for i in range(int(end / step + 1e-9) + 1)]


def bar(point: PointReport, row: Mapping[str, Any] | None, *, target: int, headroom: float) -> Markup:
    """One row of 'what breaks first': proven users solid, the interval lighter, what nobody knows hatched."""
    end = axis_end(target)

    def x(users: float) -> float:
        return max(0.0, min(1000.0, 1000.0 * users / end))

    parts = [_rect(0, 0, 1000, 26, "track")]
    data = point.safe_users == 0
    if row is not None and row["users"] is not None:
        low = row["low"] if row["low"] is not None else row["users"]
        high = row["high"] if row["high"] is not None else row["users"]
        parts.append(_rect(0, 5, x(low), 16, "proven"))
        parts.append(_rect(x(low), 5, max(2.0, x(high) - x(low)), 16, "interval"))
        if row["users"] <= end:
            parts.append(_rect(x(row["users"]) - 1.5, 1, 3, 24, "mark"))
    elif row is not None and row["at_least"] is not None:
        parts.append(_rect(0, 5, x(row["at_least"]), 16, "proven"))
        parts.append(_rect(x(row["at_least"]), 5, 1000 - x(row["at_least"]), 16, "hatched"))
    else:
        parts.append(_rect(0, 5, 1000, 16, "hatched"))
    parts.append(_rect(x(target * headroom) - 0.6, 0, 1.2, 26, "headroom"))
    parts.append(_rect(x(target) - 1.2, 0, 2.4, 26, "target"))
    if data:
        parts.append(_rect(0, 0, 9, 26, "nothing"))
    words = f"limit reached at {users_words(row)} users"
    if data:
        words = f"its data fail at any number of users; {words}"
    label = f"{point.id}: {words}; target {target}"
    return _svg(parts, "0 0 1000 26", label, "bar", stretch=True)


def load_chart(point: PointReport, *, target: int) -> Markup | None:
    """Latency over users: what was measured as a solid line, what the model expects dashed. None without levels."""
    levels = [lv for lv in point.load.get("levels", ()) if _num(lv.get("users")) and _num(lv.get("p95_ms")) is not None]
    if not levels:
        return None
    levels.sort(key=lambda lv: lv["users"])
    objective = _num(point.scale.get("latency_objective_ms"))
    expected, row = _expected(point, levels[-1], target)
    x_end = max([lv["users"] for lv in levels] + [n for n, _ in expected] + [1]) * 1.04
    y_end = max([lv["p95_ms"] for lv in levels] + [ms for _, ms in expected] + [objective or 0]) * 1.12
    plot = _Plot(x_end, y_end)
    parts = plot.frame("users at the same time", "milliseconds")
    if objective:
        parts.append(plot.across(objective, "goal", f"objective {number(objective)} ms"))
    if target <= x_end:
        parts.append(plot.upright(target, "target", f"target {number(target)}"))
    if row is not None and row["low"] is not None and row["high"] is not None and objective:
        y, left, right = plot.y(objective), plot.x(min(row["low"], x_end)), plot.x(min(row["high"], x_end))
        parts.append(_rect(left, y - 4, max(2.0, right - left), 8, "interval"))
    if expected:
        parts.append(plot.line([(levels[-1]["users"], levels[-1]["p95_ms"]), *expected], "forecast"))
    parts.append(
        plot.line([(lv["users"], lv["p50_ms"]) for lv in levels if _num(lv.get("p50_ms")) is not None], "median")
    )
    parts.append(plot.line([(lv["users"], lv["p95_ms"]) for lv in levels], "measured"))
    parts += [
        plot.dot(lv["users"], lv["p95_ms"], f"{number(lv['users'])} users: {number(lv['p95_ms'])} ms") for lv in levels
    ]
    label = (
        f"{point.id}: 95th percentile of the latency, measured from {number(levels[0]['users'])} to "
        f"{number(levels[-1]['users'])} users, last {number(levels[-1]['p95_ms'])} ms"
    )
    if row is not None:
        label += f"; expected to reach the objective at {users_words(row)} users"
    return _svg(parts, f"0 0 {WIDTH} {HEIGHT}", label, "chart")


def _expected(
    point: PointReport, last: Mapping[str, Any], target: int
) -> tuple[list[tuple[float, float]], Mapping[str, Any] | None]:
    """The dashed line: R(N) = N / (capacity x correction) - think time, from where it leaves what was measured."""
    for row in point.forecast:
        inputs = row.get("inputs") or {}
        capacity, think = _num(inputs.get("capacity")), _num(inputs.get("think_s"))
        if row["model"] != "closed_queue" or not capacity or think is None:
            continue
        rate = capacity * (_num(inputs.get("capacity_factor")) or 1.0) * (_num(inputs.get("correction")) or 1.0)
        start = last["users"]
        end = max(start * 1.2, min(1.15 * (row["users"] or target), 4.0 * target))
        steps = [start + (end - start) * i / 40 for i in range(1, 41)]
        return [(n, max(last["p95_ms"], (n / rate - think) * 1000)) for n in steps], row
    return [], None


def day_chart(point: PointReport, row: Mapping[str, Any], *, users: int) -> Markup | None:
    """A daily quota spent hour by hour: an ordinary day, a month-end day, and after growth. None for other models."""
    inputs = row.get("inputs") or {}
    cap, calls, hours = (
        _num(inputs.get("cap")),
        _num(inputs.get("calls_per_user_hour")),
        _num(inputs.get("working_hours")),
    )
    weights = point.scale.get("weights")
    if row["model"] != "quota" or not cap or not calls or not hours or not weights or len(weights) != 24:
        return None
    total = sum(weights) or 1.0
    others = _num(inputs.get("background")) or 0.0
    month_end = _num(point.scale.get("month_end_factor")) or 1.0
    growth, months = _num(point.scale.get("growth_per_year")) or 0.0, _num(point.scale.get("horizon_months")) or 0.0
    grown = (1 + growth) ** (months / 12)
    days = [("ordinary day", "day-ordinary", 1.0)]
    if month_end > 1:
        days.append(("month end", "day-month-end", month_end))
    if grown > 1.001:
        days.append((f"after {number(months)} months of growth", "day-grown", grown))

    def spent(factor: float) -> list[tuple[float, float]]:
        line, used = [(0.0, 0.0)], 0.0
        for hour, weight in enumerate(weights):
            used += users * calls * hours * factor * weight / total + others / 24
            line.append((hour + 1.0, used))
        return line

    lines = [(name, css, spent(factor)) for name, css, factor in days]
    plot = _Plot(24, max([cap] + [line[-1][1] for _, _, line in lines]) * 1.1)
    parts = plot.frame("hour of the day", f"{row['limit'].replace('_', ' ')}", x_ticks=[0, 6, 9, 12, 15, 18, 24])
    reserve = _num(inputs.get("reserve")) or 0.0
    parts.append(plot.across(cap, "goal", f"limit {number(cap)}"))
    if reserve:
        parts.append(plot.across(cap * (1 - reserve), "soft", f"less {reserve:.0%} reserve", below=True))
    heights: list[float] = []
    for name, css, line in sorted(lines, key=lambda item: -item[2][-1][1]):
        parts.append(plot.line(line, f"day {css}"))
        # Highest line first. A name stands above its line, or below it where the line above is too near.
        x, y = plot.x(24), plot.y(line[-1][1])
        place = y - 6 if not heights or y - 6 >= heights[-1] + 14 else max(y + 14, heights[-1] + 14)
        heights.append(place)
        parts.append(f'<text class="end {css}" x="{x - 4:.1f}" y="{place:.1f}" text-anchor="end">{escape(name)}</text>')
    when = row.get("when") or {}
    for key, css in (("ordinary", "day-ordinary"), ("month_end", "day-month-end")):
        at = _clock(when.get(key))
        if at is not None:
            words = f"{when[key]}"
            parts.append(plot.upright(at, f"moment {css}", words, low=key != "ordinary"))
    label = f"{point.id}: {row['limit']} spent through the day by {number(users)} users, limit {number(cap)}"
    if when.get("ordinary"):
        label += f"; spent at {when['ordinary']} on an ordinary day"
    if when.get("month_end"):
        label += f", at {when['month_end']} at month end"
    return _svg(parts, f"0 0 {WIDTH} {HEIGHT}", label, "chart")


def trend_chart(report: Report) -> Markup | None:
    """Safe users over the earlier runs and this one. None with fewer than two known numbers."""
    runs = [
        *report.trend,
        {"at": report.run.started, "status": report.verdict.status, "safe_users": report.verdict.safe_users},
    ]
    known = [(i, _num(r.get("safe_users"))) for i, r in enumerate(runs)]
    line = [(float(i), users) for i, users in known if users is not None]
    if len(line) < 2:
        return None
    target = report.target.production_users
    plot = _Plot(len(runs) - 1, max([u for _, u in line] + [target]) * 1.15)
    ticks = [0, len(runs) - 1]
    names = {0: str(runs[0]["at"])[:10], len(runs) - 1: "this run"}
    parts = plot.frame("run", "safe users", x_ticks=ticks, x_names=names)
    parts.append(plot.across(target, "goal", f"target {number(target)}"))
    parts.append(plot.line(line, "measured"))
    parts += [plot.dot(i, users, f"{str(runs[int(i)]['at'])[:10]}: {number(users)} users") for i, users in line]
    label = (
        f"Safe users over {len(runs)} runs, from {number(line[0][1])} to {number(line[-1][1])}; target {number(target)}"
    )
    return _svg(parts, f"0 0 {WIDTH} {HEIGHT}", label, "chart")


class _Plot:
    """Maps data to the picture and draws axes, lines and labels."""

    def __init__(self, x_end: float, y_end: float) -> None:
        self.x_end, self.y_end = x_end or 1.0, y_end or 1.0

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * value / self.x_end

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(value / self.y_end, 1.0)

    def frame(
        self,
        x_name: str,
        y_name: str,
        *,
        x_ticks: Sequence[float] | None = None,
        x_names: Mapping[Any, str] | None = None,
    ) -> list[str]:
        bottom = HEIGHT - BOTTOM
        parts: list[str] = []
        for tick in axis_ticks(self.y_end, count=4):
            y = self.y(tick)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_short(tick)}</text>')
        ticks = axis_ticks(self.x_end) if x_ticks is None else x_ticks
        for tick in ticks:
            words = (x_names or {}).get(tick, _short(tick))
            anchor = "end" if tick == ticks[-1] and x_names else "start" if tick == ticks[0] and x_names else "middle"
            parts.append(
                f'<text x="{self.x(tick):.1f}" y="{bottom + 17}" text-anchor="{anchor}">{escape(words)}</text>'
            )
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
        parts.append(
            f'<text class="name" x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{escape(x_name)}</text>'
        )
        parts.append(f'<text class="name" x="4" y="{TOP - 6}">{escape(y_name)}</text>')
        return parts

    def line(self, points: Sequence[tuple[float, float]], css: str) -> str:
        path = " ".join(f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in points)
        return f'<polyline class="{css}" points="{path}"/>' if path else ""

    def dot(self, a: float, b: float, words: str) -> str:
        place = f'cx="{self.x(a):.1f}" cy="{self.y(b):.1f}"'
        return f'<circle class="dot" {place} r="3.5"><title>{escape(words)}</title></circle>'

    def across(self, value: float, css: str, words: str, *, below: bool = False) -> str:
        y = self.y(value)
        return (
            f'<line class="{css}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="{css}" x="{LEFT + 6}" y="{y + 13 if below else y - 5:.1f}">{escape(words)}</text>'
        )

    def upright(self, value: float, css: str, words: str, *, low: bool = False) -> str:
        x, bottom = self.x(value), HEIGHT - BOTTOM
        left = x > WIDTH - 110
        anchor, shift = ("end", -5) if left else ("start", 5)
        y = TOP + 22 if low else TOP + 8
        return (
            f'<line class="{css}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>'
            f'<text class="{css}" x="{x + shift:.1f}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'
        )


def escape(words: object) -> Markup:
    return _escape(printable(str(words)))


def _num(item: Any) -> float | None:
    return (
        float(item) if isinstance(item, (int, float)) and not isinstance(item, bool) and math.isfinite(item) else None
    )


def _clock(text: Any) -> float | None:
    try:
        hour, minute = str(text).split(":")
        return int(hour) + int(minute) / 60
    except ValueError:
        return None


def _short(tick: float) -> str:
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if tick >= 10 * size or (tick >= size and tick % size == 0):
            return f"{tick / size:g}{unit}"
    return f"{tick:g}"


def _rect(x: float, y: float, width: float, height: float, css: str) -> str:
    return f'<rect class="{css}" x="{x:.1f}" y="{y:g}" width="{max(0.0, width):.1f}" height="{height:g}"/>'


def _svg(parts: Sequence[str], box: str, label: str, css: str, *, stretch: bool = False) -> Markup:
    ratio = ' preserveAspectRatio="none"' if stretch else ""
    # Every part is made in this module from numbers and escaped words.
    head = f'<svg class="{css}" viewBox="{box}"{ratio} role="img" aria-label="{escape(label)}">'
    return Markup(head + "".join(parts) + "</svg>")  # noqa: S704
