"""The closed list of forecast models: formulas plain enough to be computed again by whoever reads the report.

A forecast's `inputs` hold every name that its formula uses, so that a what-if panel can change one and see the
users move. Formulas use + - * / and `pow(a, b)`, nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["MODELS", "Model", "evaluate"]


@dataclass(frozen=True, slots=True)
class Model:
    """One formula for `users`, its inputs by name with unit and meaning, and where it comes from."""

    formula: str
    inputs: Mapping[str, str]
    says: str


_CALLS = "calls one user sends in an average working hour, retries and points on the same quota included"
_PEAK = "the busiest hour against the average one"
_RESERVE = "share of the limit kept free"

MODELS: dict[str, Model] = {
    "quota": Model(
        "(cap * (1 - reserve) - background) / (calls_per_user_hour * working_hours * day_factor)",
        {
            "cap": "calls a day", "reserve": _RESERVE, "background": "calls a day that others make",
            "calls_per_user_hour": _CALLS, "working_hours": "hours a day", "day_factor": "1, or the month-end factor",
        },
        "A day's quota, less reserve and what others use, divided by what one user costs a day.",
    ),
    "rate": Model(
        "(cap * (1 - reserve) / window_s - background_per_s) / (calls_per_user_hour * peak_factor / 3600)",
        {
            "cap": "calls a window", "reserve": _RESERVE, "window_s": "seconds",
            "background_per_s": "calls a second that others make in their busiest hour",
            "calls_per_user_hour": _CALLS, "peak_factor": _PEAK,
        },
        "Calls a second that a window or a token bucket lets through, divided by one user's calls in the busiest hour.",
    ),
    "concurrency": Model(
        "(load - background) / (calls_per_user_hour * peak_factor / 3600 * seconds)",
        {
            "load": "calls in progress on average at which `cap` slots refuse more than the error objective (Erlang B)",
            "cap": "calls in progress", "background": "calls in progress of others",
            "calls_per_user_hour": _CALLS, "peak_factor": _PEAK, "seconds": "one call takes",
        },
        "Little's law: calls in progress = calls a second x seconds a call, against the slots there are.",
    ),
    "connections": Model(
        "(cap * (1 - reserve) - background) / connections_per_user",
        {
            "cap": "connections", "reserve": _RESERVE, "background": "connections that others hold",
            "connections_per_user": "connections one user holds",
        },
        "Connections there are, less reserve and what others hold, divided by what one user holds.",
    ),
    "closed_queue": Model(
        "capacity * capacity_factor * (think_s + objective_s) * correction",
        {
            "capacity": "calls a second when saturated, measured", "capacity_factor": "production against here",
            "think_s": "seconds between a user's calls",
            "objective_s": "latency objective (95th percentile)",
            "correction": "simulated crossing of the objective over the crude law", "slots": "calls served at once",
            "service_s": "seconds a slot is held", "delay_s": "seconds outside the slots",
        },
        "Users who call, wait, think and call again: where the 95th percentile of the wait crosses the objective.",
    ),
    "proven_rate": Model(
        "rate / (calls_per_user_hour * peak_factor / 3600)",
        {"rate": "calls a second sustained without a refusal", "calls_per_user_hour": _CALLS, "peak_factor": _PEAK},
        "A lower bound: the users whose busiest hour has really been sent.",
    ),
    "rows": Model(
        "production_users * cap / rows",
        {"production_users": "users", "cap": "rows the platform holds", "rows": "rows that production will hold"},
        "Rows in proportion to users, against what the platform can hold.",
    ),
    "window": Model(
        "production_users * pow(window_s / seconds, 1 / exponent)",
        {
            "production_users": "users", "window_s": "seconds of the batch window",
            "seconds": "to read production's rows", "exponent": "by which time grows with rows (1 linear, 2 square)",
        },
        "The batch's time for production's rows against its window; rows in proportion to users.",
    ),
    "rows_latency": Model(
        "capacity * (think_s + objective_s) * correction / growth",
        {
            "capacity": "calls a second here", "think_s": "seconds between a user's calls",
            "objective_s": "latency objective", "correction": "simulated crossing over the crude law",
            "growth": "service time with production's rows over the one measured",
        },
        "A call that scans its table takes longer with production's rows, so fewer users fit.",
    ),
}  # fmt: skip


def evaluate(model: str, inputs: Mapping[str, Any]) -> float:
    """The model's users for these inputs, as the report computes it. Raises KeyError for a missing input."""
    names = {name: float(inputs[name]) for name in MODELS[model].inputs if name in inputs}
    code = compile(MODELS[model].formula, f"<model {model}>", "eval")
    # the formulas are the constants above, never input
    return float(eval(code, {"__builtins__": {}, "pow": pow}, names))  # noqa: S307
