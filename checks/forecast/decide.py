"""What a set of forecasts says of a target: the smallest ceiling decides, a refusal is never a yes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from weighbridge.checks.base import Forecast

__all__ = ["decide"]


def decide(
    forecasts: Sequence[Forecast], target: float, headroom: float
) -> Literal["READY", "AT_RISK", "BREAKS", "UNKNOWN"]:
    """BREAKS > AT_RISK > UNKNOWN > READY over the forecasts; none at all is UNKNOWN."""
    if not forecasts:
        return "UNKNOWN"
    numbers = [f for f in forecasts if f.users is not None and f.low is not None and f.high is not None]
    if any((f.high or 0.0) < target for f in numbers):
        return "BREAKS"
    if any((f.low or 0.0) < target * headroom for f in numbers):
        return "AT_RISK"
    for forecast in forecasts:
        if not forecast.answers_target:
            return "UNKNOWN"
        if forecast.users is None and (forecast.at_least or 0.0) < target * headroom:
            return "UNKNOWN"
    return "READY"
