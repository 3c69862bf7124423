from __future__ import annotations

from datetime import UTC, datetime

import pytest

from weighbridge.checks.forecast.windows import (
    Background,
    background_of,
    clock_time,
    growth_month,
    parse_window,
)
from weighbridge.contracts.scale import Scale

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
OFFICE = Scale(timezone="UTC")


@pytest.mark.parametrize(
    ("text", "kind", "seconds"),
    [
        (None, "plain", 0),
        ("concurrent", "concurrent", 0),
        ("rolling 24 h", "rolling", 86_400),
        ("rolling 60 s", "rolling", 60),
        ("300 s", "rolling", 300),
        ("5 min", "rolling", 300),
        ("midnight Europe/Berlin", "midnight", 86_400),
    ],
)
def test_windows_are_parsed(text, kind, seconds):
    window = parse_window(text)
    assert (window.kind, window.seconds) == (kind, seconds)


def test_a_bucket_has_rate_and_burst():
    window = parse_window("bucket 200/s burst 100")
    assert (window.kind, window.rate, window.burst) == ("bucket", 200, 100)
    assert parse_window("bucket 600/min burst 10").rate == 10


@pytest.mark.parametrize("text", ["fortnightly", "midnight Mars/Base", "bucket 5/s", "rolling 0 s", "-3 s"])
def test_a_window_nobody_knows_is_an_error(text):
    with pytest.raises(ValueError, match="window"):
        parse_window(text)


def test_background_within_hours_over_midnight():
    background = background_of([{"name": "sync", "calls_per_hour": 15_000, "hours": "22:00-02:00"}])
    assert background.day == pytest.approx(60_000)
    assert background.hours[23] == pytest.approx(15_000)
    assert background.hours[12] == 0
    assert background_of([{"name": "?", "calls_per_hour": None, "hours": None}]).day == 0


def _clock(text, cap, calls, **changes):
    values = {"calls_per_day": calls, "peak_per_second": 0, "scale": OFFICE, "background": Background(), "now": NOW}
    return clock_time(parse_window(text), cap, **(values | changes))


def test_midnight_quota_is_reached_where_the_profile_says_so():
    weights, total, minute = OFFICE.weights, 0.0, 0
    while total <= 100_000:
        total += 200_000 * weights[minute // 60] / 60
        minute += 1
    assert _clock("midnight UTC", 100_000, 200_000) == f"{(minute - 1) // 60:02d}:{(minute - 1) % 60:02d}"


def test_a_rolling_window_is_reached_at_another_hour_than_a_midnight_one():
    night = background_of([{"calls_per_hour": 15_000, "hours": "22:00-02:00"}])
    midnight = _clock("midnight UTC", 150_000, 250_000, background=night)
    rolling = _clock("rolling 24 h", 150_000, 250_000, background=night)
    assert midnight is not None
    assert rolling is not None
    assert rolling < midnight  # what ran last evening still counts


def test_what_fits_is_never_reached():
    assert _clock("midnight UTC", 300_000, 250_000) is None
    assert _clock("rolling 24 h", 300_000, 250_000) is None


def test_a_month_end_day_is_reached_earlier():
    ordinary, month_end = (_clock("midnight UTC", 150_000, 250_000, factor=f) for f in (1.0, 2.0))
    assert month_end < ordinary


def test_a_quota_that_resets_at_its_own_midnight():
    berlin = Scale(timezone="Europe/Berlin")
    home = _clock("midnight Europe/Berlin", 150_000, 250_000, scale=berlin)
    pacific = _clock("midnight America/Los_Angeles", 150_000, 250_000, scale=berlin)
    assert home != pacific


def test_short_windows_are_reached_in_the_first_busy_hour():
    assert _clock("bucket 10/s burst 100", 10, 0, peak_per_second=20.0) == "08:00"
    assert _clock("bucket 30/s burst 100", 30, 0, peak_per_second=20.0) is None


def test_growth_names_its_month():
    grown = growth_month(600, users_now=500, growth_per_year=0.4, horizon_months=12, now=NOW)
    assert grown == "2027-06"
    assert growth_month(900, users_now=500, growth_per_year=0.4, horizon_months=12, now=NOW) is None
    assert growth_month(400, users_now=500, growth_per_year=0.0, horizon_months=12, now=NOW) == "2026-11"
