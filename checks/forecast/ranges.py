"""An estimate with its ends: what every figure of a forecast is made of."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Range"]


@dataclass(frozen=True, slots=True)
class Range:
    """`low <= mid <= high`, all in the unit of its name."""

    low: float
    mid: float
    high: float

    @classmethod
    def exact(cls, value: float) -> Range:
        return cls(value, value, value)

    @classmethod
    def around(cls, value: float, share: float) -> Range:
        """`value` give or take `share` of it (0.15 = 15 %)."""
        return cls(value * (1 - share), value, value * (1 + share))

    @classmethod
    def factor(cls, value: float, by: float) -> Range:
        """`value` divided and multiplied by `by`."""
        return cls(value / by, value, value * by)

    def times(self, factor: float) -> Range:
        return Range(self.low * factor, self.mid * factor, self.high * factor)

    def plus(self, other: Range) -> Range:
        return Range(self.low + other.low, self.mid + other.mid, self.high + other.high)

    def over(self, other: Range) -> Range:
        """Self divided by `other`, ends crossed: the low end is the least that both can give."""
        return Range(_ratio(self.low, other.high), _ratio(self.mid, other.mid), _ratio(self.high, other.low))

    def floored(self) -> Range:
        """Nothing below zero."""
        return Range(max(0.0, self.low), max(0.0, self.mid), max(0.0, self.high))

    @property
    def spread(self) -> float:
        """high / low; infinite where low is not positive."""
        return self.high / self.low if self.low > 0 else float("inf")


def _ratio(top: float, bottom: float) -> float:
    return top / bottom if bottom > 0 else float("inf")
