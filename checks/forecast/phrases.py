"""A forecast's users as a sentence says them: no brackets, no false exactness, one user is one user."""

from __future__ import annotations

from weighbridge.checks.base import Forecast

__all__ = ["users_in_words"]


def users_in_words(forecast: Forecast) -> str:
    """`about 180 users (between 165 and 195)`, or `1 user` where both ends are the same."""
    if forecast.users is None or forecast.low is None or forecast.high is None:
        return "a number of users that nobody knows"
    low, mid, high = (f"{value:,.0f}" for value in (forecast.low, forecast.users, forecast.high))
    word = "user" if mid == "1" else "users"
    return f"{mid} {word}" if low == high else f"about {mid} {word} (between {low} and {high})"
