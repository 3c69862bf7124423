"""When in the day a limit is reached: a limit's window rule parsed, and the day simulated against it.

A daily quota that resets at midnight and one that rolls are reached at different hours by the same people, so the
window is simulated minute by minute, never averaged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from weighbridge.contracts.scale import Scale

__all__ = ["DAY_S", "Background", "Window", "background_of", "busy_times", "clock_time", "growth_month", "parse_window"]

DAY_S = 86_400
MINUTES = 1_440
UNITS = {
    "s": 1, "sec": 1, "second": 1, "seconds": 1, "min": 60, "m": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hour": 3600, "hours": 3600, "d": DAY_S, "day": DAY_S, "days": DAY_S,
}  # fmt: skip
_ROLLING = re.compile(r"^(?:rolling|sliding|per)?\s*(\d+(?:\.\d+)?)?\s*([a-z]+)$")
_BUCKET = re.compile(r"^bucket\s+(\d+(?:\.\d+)?)\s*/\s*([a-z]+)\s+burst\s+(\d+(?:\.\d+)?)$")


@dataclass(frozen=True, slots=True)
class Window:
    """A window rule. `seconds` is the span a cap counts over; `rate` (a second) and `burst` are a bucket's."""

    kind: Literal["plain", "concurrent", "rolling", "midnight", "bucket"]
    seconds: float = 0.0
    zone: str = "UTC"
    rate: float = 0.0
    burst: float = 0.0

    @property
    def daily(self) -> bool:
        """Whether it counts over a day or longer: then the day's total matters, not its busiest hour."""
        return self.kind == "midnight" or (self.kind == "rolling" and self.seconds >= DAY_S / 2)


def parse_window(text: str | None) -> Window:
    """`rolling 24 h`, `midnight ZONE`, `300 s`, `bucket 200/s burst 100`, `concurrent`, None; else ValueError."""
    if text is None or not text.strip():
        return Window("plain")
    words = " ".join(text.split())
    lower = words.lower()
    if lower == "concurrent":
        return Window("concurrent")
    if lower.startswith("midnight"):
        zone = words[len("midnight") :].strip() or "UTC"
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"window '{text}': no time zone is named '{zone}'") from error
        return Window("midnight", seconds=DAY_S, zone=zone)
    bucket = _BUCKET.match(lower)
    if bucket and bucket[2] in UNITS:
        return Window("bucket", seconds=1.0, rate=float(bucket[1]) / UNITS[bucket[2]], burst=float(bucket[3]))
    rolling = _ROLLING.match(lower)
    if rolling and rolling[2] in UNITS:
        seconds = float(rolling[1] or 1) * UNITS[rolling[2]]
        if seconds > 0:
            return Window("rolling", seconds=seconds)
    raise ValueError(
        f"window '{text}' is none of: 'rolling 24 h', 'midnight ZONE', '300 s', 'bucket 200/s burst 100', 'concurrent'"
    )


@dataclass(frozen=True, slots=True)
class Background:
    """What already runs: calls an hour, for each hour of the day."""

    hours: tuple[float, ...] = (0.0,) * 24

    @property
    def day(self) -> float:
        return sum(self.hours)

    @property
    def busiest_per_second(self) -> float:
        return max(self.hours) / 3600


def background_of(entries: Sequence[Mapping[str, Any]]) -> Background:
    """The `[[systems.X.background]]` tables summed: `calls_per_hour` within `hours = "22:00-02:00"`, else all day."""
    total = [0.0] * 24
    for entry in entries:
        per_hour = float(entry.get("calls_per_hour") or 0.0)
        for hour, share in enumerate(_hour_shares(str(entry.get("hours") or "00:00-24:00"))):
            total[hour] += per_hour * share
    return Background(tuple(total))


def _hour_shares(text: str) -> list[float]:
    match = re.match(r"^\s*(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})\s*$", text)
    if not match:
        raise ValueError(f"background hours '{text}' are not of the form '22:00-02:00'")
    start, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    if end <= start:
        end += MINUTES
    shares = [0.0] * 24
    for minute in range(start, end):
        shares[minute % MINUTES // 60] += 1 / 60
    return shares


def clock_time(
    window: Window, cap: float, *, calls_per_day: float, peak_per_second: float, scale: Scale, background: Background,
    now: datetime, factor: float = 1.0,
) -> str | None:  # fmt: skip
    """HH:MM (in the scale's zone) at which `cap` is first reached on a day with `factor` times the calls; else None.

    `calls_per_day` and `peak_per_second` are those of all users together. Days before it are ordinary ones; calls
    that a full quota refuses are not counted by the system.
    """
    if window.kind in ("plain", "concurrent"):
        return None
    if window.daily:
        return _daily(window, cap, calls_per_day, scale, background, now, factor)
    top = max(scale.weights)
    limit = window.rate if window.kind == "bucket" else cap / window.seconds
    for hour, weight in enumerate(scale.weights):
        rate = peak_per_second * factor * weight / top + background.hours[hour] / 3600
        if rate > limit:
            # a bucket or window is full only after its allowance is spent at the rate by which demand exceeds it
            allowance = window.burst if window.kind == "bucket" else 0.0
            minute = min(59, int(allowance / (rate - limit) / 60)) if rate > limit else 0
            return f"{hour:02d}:{minute:02d}"
    return None


def _daily(
    window: Window, cap: float, calls: float, scale: Scale, background: Background, now: datetime, factor: float
) -> str | None:
    minutes = [calls * scale.weights[m // 60] / 60 for m in range(MINUTES)]
    others = [background.hours[m // 60] / 60 for m in range(MINUTES)]
    if window.kind == "midnight":
        reset = _reset_minute(window.zone, scale.timezone, now)
        used = 0.0
        first: str | None = None
        # start at the reset before this day's midnight, so that a reset in the middle of the day is right too
        for step in range(reset - MINUTES if reset else 0, MINUTES):
            minute = step % MINUTES
            if minute == reset:
                used = 0.0
            today = step >= 0
            used += minutes[minute] * (factor if today else 1.0) + others[minute]
            if used > cap and today and first is None:
                first = f"{minute // 60:02d}:{minute % 60:02d}"
        return first
    span = max(1, int(window.seconds // 60))
    past: list[float] = []
    inside = 0.0
    # what stands in the window when the day begins: the others' calls, and the pilot's, of the day before
    before = scale.pilot_users / scale.production_users
    days = 1 + max(1, -(-span // MINUTES))
    for step in range(days * MINUTES):
        if len(past) >= span:
            inside -= past[step - span]
        minute = step % MINUTES
        last = step >= (days - 1) * MINUTES
        asked = minutes[minute] * (factor if last else before) + others[minute]
        let = min(asked, max(0.0, cap - inside))
        if last and asked > let + 1e-9:
            return f"{minute // 60:02d}:{minute % 60:02d}"
        past.append(let)
        inside += let
    return None


def _reset_minute(zone: str, home: str, now: datetime) -> int:
    """The minute of the home day at which the quota's own midnight falls."""
    midnight = now.astimezone(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    there = midnight.astimezone(ZoneInfo(home))
    return there.hour * 60 + there.minute


def growth_month(
    users_limit: float, *, users_now: float, growth_per_year: float, horizon_months: int, now: datetime
) -> str | None:
    """YYYY-MM in which `users_now` grown by `growth_per_year` reaches `users_limit`; None beyond the horizon."""
    for month in range(horizon_months + 1):
        if users_now * (1 + growth_per_year) ** (month / 12) >= users_limit:
            when = now.month - 1 + month
            return f"{now.year + when // 12:04d}-{when % 12 + 1:02d}"
    return None


def busy_times(users: float, scale: Scale, now: datetime) -> dict[str, str | None]:
    """When a ceiling that holds `users` in the busiest hour is met: hour of an ordinary day, of a month-end day, month.

    None where it is not met on such a day, or within the horizon.
    """
    top = max(scale.weights)
    need = users / scale.production_users

    def first(factor: float) -> str | None:
        return next((f"{h:02d}:00" for h, w in enumerate(scale.weights) if w / top * factor > need), None)

    month = growth_month(
        users, users_now=scale.production_users, growth_per_year=scale.growth_per_year,
        horizon_months=scale.horizon_months, now=now,
    )  # fmt: skip
    return {"ordinary": first(1.0), "month_end": first(scale.month_end_factor), "month": month}
