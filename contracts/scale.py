"""What production asks of an integration point: users, calls, peaks, growth, rows, windows."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["OPERATIONS", "PROFILES", "Scale"]

OPERATIONS = ("lookup", "page", "write")

PROFILES: dict[str, tuple[float, ...]] = {
    # 24 weights, one an hour from midnight; only their proportions matter. Shapes, not measurements: a project
    # that knows its own day writes its own 24 weights.
    "flat": (1,) * 24,
    "office": (0, 0, 0, 0, 0, 0, 1, 3, 8, 11, 12, 10, 6, 8, 11, 11, 9, 6, 2, 1, 1, 0, 0, 0),
    "retail": (1, 0, 0, 0, 0, 0, 1, 2, 4, 6, 7, 8, 8, 7, 7, 7, 8, 9, 9, 8, 7, 5, 3, 2),
}

Positive = Annotated[float, Field(gt=0)]


class Scale(BaseModel):
    """The keys of `[scale]`; a contract's slaProperties override them, `--users` overrides both."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pilot_users: Annotated[int, Field(ge=1)] = 10
    """Users of the pilot today."""
    production_users: Annotated[int, Field(ge=1)] = 500
    """Users after the go-live: the target that every verdict is about."""
    calls_per_user_hour: Positive | None = None
    """Calls one user makes in an average working hour; None: not declared, so measured demand is needed."""
    peak_factor: Annotated[float, Field(ge=1)] = 3.0
    """Busiest hour against the average one."""
    hourly_profile: Literal["flat", "office", "retail"] | tuple[Annotated[float, Field(ge=0)], ...] = "office"
    """How a day's calls fall on its hours: `flat`, `office`, `retail`, or 24 weights from midnight."""
    timezone: str = "UTC"
    """IANA name; the profile's hours and clock times of forecasts are in it."""
    month_end_factor: Annotated[float, Field(ge=1)] = 1.0
    """Calls of a month-end day against an ordinary one."""
    growth_per_year: Annotated[float, Field(ge=0)] = 0.0
    """Growth of users and rows, a share a year (0.4 = 40 %)."""
    horizon_months: Annotated[int, Field(ge=0, le=120)] = 12
    """How far ahead growth is looked at."""
    reserve: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of every quota kept free."""
    headroom: Annotated[float, Field(ge=1)] = 1.2
    """READY only when the low end of every ceiling clears the target times this."""
    mix: dict[Literal["lookup", "page", "write"], Annotated[float, Field(ge=0)]] = {"lookup": 0.8, "page": 0.2}
    """Shares of the operations that a user's calls are: lookup by key, page, write."""
    rows: Annotated[int, Field(ge=0)] | None = None
    """Rows production will hold; None: today's count grown by `growth_per_year` over the horizon."""
    batch_window_h: Positive | None = None
    """Hours in which the nightly read of all rows must end."""
    latency_objective_ms: Positive = 1000.0
    """95th percentile a user will bear for one call."""
    error_objective: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Share of calls that may fail."""
    working_hours: Positive = 8.0
    """Hours a user works a day: calls a day are calls an hour times this."""
    think_time_s: Annotated[float, Field(ge=0)] | None = None
    """Pause between a user's calls; None: 3600 / (calls_per_user_hour x peak_factor)."""

    @field_validator("hourly_profile")
    @classmethod
    def _a_whole_day(cls, value: Any) -> Any:
        if not isinstance(value, str) and (len(value) != 24 or sum(value) <= 0):
            raise ValueError("hourly_profile needs 24 weights, one an hour from midnight, not all zero")
        return value

    @property
    def weights(self) -> tuple[float, ...]:
        """24 shares of a day's calls, one an hour from midnight, that sum to 1."""
        raw = PROFILES[self.hourly_profile] if isinstance(self.hourly_profile, str) else self.hourly_profile
        total = sum(raw)
        return tuple(w / total for w in raw)

    @property
    def shares(self) -> dict[str, float]:
        """The mix of operations as shares that sum to 1."""
        total = sum(self.mix.values())
        return {name: share / total for name, share in self.mix.items() if share > 0} if total else {}
