"""Answers one case with the product's own code and scores it against the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from evaluate.cases import Case, quota_declared
from evaluate.simulate import Simulation, truth
from weighbridge.checks.base import Demand, Forecast, Permissions, Spread
from weighbridge.checks.forecast.caps import Question, forecast_limit
from weighbridge.checks.forecast.decide import decide
from weighbridge.checks.forecast.outlook import Setting, load_forecasts
from weighbridge.checks.forecast.ranges import Range
from weighbridge.checks.forecast.transfer import capacity_transfer, limit_transfer
from weighbridge.checks.forecast.userload import user_load
from weighbridge.checks.forecast.weigh import Policy, measure
from weighbridge.checks.forecast.windows import Background
from weighbridge.connectors.base import Limit
from weighbridge.contracts.scale import Scale

HEADROOM = 1.2


@dataclass(frozen=True, slots=True)
class Answer:
    """The point's answer: a number only where no refused ceiling could come first."""

    verdict: str
    users: float | None
    low: float | None
    high: float | None
    at_least: float
    calls: int
    first: str = ""


@dataclass(frozen=True, slots=True)
class Scored:
    case: Case
    truth: float
    answer: Answer

    @property
    def given(self) -> bool:
        return self.answer.users is not None

    @property
    def covered(self) -> bool:
        a = self.answer
        return a.low is not None and a.high is not None and a.low <= self.truth <= a.high

    @property
    def error(self) -> float:
        return abs((self.answer.users or 0.0) - self.truth) / max(1.0, self.truth)

    @property
    def false_ready(self) -> bool:
        return self.answer.verdict == "READY" and self.truth < self.case.target

    @property
    def false_breaks(self) -> bool:
        return self.answer.verdict == "BREAKS" and self.truth >= self.case.target

    @property
    def bound_holds(self) -> bool:
        return self.answer.at_least <= self.truth * 1.001


def case_truth(case: Case) -> float:
    """Users at which production breaks: simulated, and for a quota by arithmetic."""
    ends = [truth(case.production, case.think_s, case.objective_s, case.error_objective)]
    if case.quota:
        per_day = case.quota["calls_per_user_hour"] * 8
        ends.append((case.quota["cap"] - case.quota["background"]) / per_day)
    return min(ends)


def answer(case: Case, drive=None, *, burst: bool = True) -> Answer:
    """The product's answer to one case; `drive` is a simulation unless a real one is given."""
    drive = drive or Simulation(case.staging, case.seed)
    alone = case.staging.service_s + case.staging.delay_s
    per_user = 1 / (case.think_s + alone)
    max_burst = case.max_burst if burst else 0
    policy = Policy(
        think_s=case.think_s, objective_s=case.objective_s, error_objective=case.error_objective,
        max_users=case.ramp_to, max_burst=max_burst, needed_per_s=float("inf"), seconds=30.0,
    )  # fmt: skip
    permissions = Permissions(
        environment="staging", max_users=case.ramp_to, max_burst=max_burst, writes=False,
        production_like=not case.unlike, capacity_factor=case.factor, transfer_note="evaluation",
    )  # fmt: skip
    # a case whose staging is like production is run as production's own practice twin for refusing caps
    learned = replace(permissions, environment="sandbox") if not case.unlike else permissions
    setting = Setting(
        calls_per_user_hour=per_user * 3600, peak_factor=1.0, target=case.target, environment="staging",
        capacity=capacity_transfer(permissions), limit=limit_transfer("staging", learned), rate_known=case.rate_known,
        concurrency_known=case.rate_known and case.kind != "cap",
        growth=Range(*case.growth), growth_reason="scan" if case.growth[1] > 1.05 else None,
    )  # fmt: skip
    seen = measure(drive, policy)
    forecasts = list(load_forecasts(seen, setting))
    if case.quota:
        forecasts += _quota(case, permissions)
    return _fold(case, forecasts, seen.calls)


def usl_alone(case: Case) -> Answer:
    """What the Universal Scalability Law says of the same ramp, taken at its word give or take 15 %."""
    policy = Policy(
        think_s=case.think_s, objective_s=case.objective_s, error_objective=case.error_objective,
        max_users=case.ramp_to, max_burst=0, needed_per_s=float("inf"), seconds=30.0,
    )  # fmt: skip
    seen = measure(Simulation(case.staging, case.seed), policy)
    if seen.usl is None:
        # it sees no limit at all: taken at its word, that is a yes
        return Answer("READY", None, None, None, 0.0, seen.calls)
    low, high = seen.usl * 0.85, seen.usl * 1.15
    verdict = "BREAKS" if high < case.target else "READY" if low >= case.target * HEADROOM else "AT_RISK"
    return Answer(verdict, seen.usl, low, high, low, seen.calls, "usl")


def _quota(case: Case, permissions: Permissions) -> list[Forecast]:
    cpuh = case.quota["calls_per_user_hour"]
    # demand is a measured sample, a tenth off on either side as often as not
    wrong = 1 + 0.06 * ((case.seed % 201) - 100) / 100
    spread = Spread(n=40, mean=cpuh * wrong, low=cpuh * wrong * 0.6, median=cpuh * wrong, high=cpuh * wrong * 1.5)
    demand = Demand("measured", spread, {}, 1.0, "", "")
    scale = Scale(reserve=0.0, production_users=case.target, calls_per_user_hour=cpuh)
    now = datetime(2026, 11, 2, tzinfo=UTC)
    found = []
    declared = quota_declared(case.seed)
    cap, where = (case.quota["cap"], "production") if declared else (case.quota["staging_cap"], "staging")
    limit = Limit("daily_calls", "org", cap, "calls", "rolling 24 h", None, "declared", where, now.isoformat())
    background = Background((case.quota["background"] / 24,) * 24)
    result = forecast_limit(Question(
        limit, user_load(demand, scale), scale, background, True, now, limit_transfer(where, permissions),
    ))  # fmt: skip
    if isinstance(result, Forecast):
        found.append(result)
    return found


def _fold(case: Case, forecasts: list[Forecast], calls: int) -> Answer:
    verdict = decide(forecasts, case.target, HEADROOM)
    numbers = [f for f in forecasts if f.users is not None and f.answers_target]
    silent = [f for f in forecasts if f.users is None or not f.answers_target]
    at_least = min(
        ((f.low if f.users is not None else f.at_least) or 0.0) if f.answers_target else 0.0 for f in forecasts
    )
    first = min(numbers, key=lambda f: f.users or 0.0, default=None)
    # a ceiling that refused may come before the one that has a number, unless what it proved is already higher
    open_below = (
        any(not f.answers_target or (f.at_least or 0.0) < (first.low or 0.0) for f in silent) if first else True
    )
    if first is None or (open_below and (first.high or 0.0) >= case.target):
        return Answer(verdict, None, None, None, at_least, calls)
    return Answer(verdict, first.users, first.low, first.high, at_least, calls, first.limit)
