from __future__ import annotations

import re

import pytest

from weighbridge.checks.forecast.models import MODELS, evaluate
from weighbridge.checks.forecast.queueing import (
    Station,
    crossing,
    engset_blocking,
    erlang_load,
    machine_repair,
    open_rate,
    p95,
    simulate,
    users_at_blocking,
)


@pytest.mark.parametrize("name", MODELS)
def test_a_formula_uses_its_inputs_and_nothing_else(name):
    words = set(re.findall(r"[a-z_]+", MODELS[name].formula)) - {"pow"}
    assert words <= set(MODELS[name].inputs)
    assert re.fullmatch(r"[a-z_0-9 +\-*/().,]+", MODELS[name].formula)


def test_the_worked_case_of_a_daily_quota():
    inputs = {
        "cap": 150_000, "reserve": 0.0, "background": 60_000, "calls_per_user_hour": 62.5, "working_hours": 8,
        "day_factor": 1,
    }  # fmt: skip
    assert evaluate("quota", inputs) == pytest.approx(180)


def test_a_missing_input_is_an_error():
    with pytest.raises(NameError):
        evaluate("quota", {"cap": 1})


def test_a_lone_user_of_a_station_waits_for_nobody():
    assert p95(simulate(Station(1, 0.01, 0.02), 1, 0.5, calls=200)) == pytest.approx(0.03)


def test_throughput_never_exceeds_the_capacity():
    seen = simulate(Station(4, 0.04), 100, 0.1, calls=3000)
    mean = sum(seen) / len(seen)
    assert 100 / (mean + 0.1) == pytest.approx(100, rel=0.05)


def test_the_crossing_lies_under_the_crude_law_and_near_it():
    station = Station(20, 0.04)
    assert 0.85 * 500 * 0.55 < crossing(station, 0.4, 0.15) < 500 * 0.55
    assert crossing(Station(1, 0.002, 0.038), 0.4, 0.15) == pytest.approx(250, rel=0.15)


def test_an_objective_below_the_service_time_is_never_met():
    assert crossing(Station(4, 0.2), 1.0, 0.1) == 0.0


def test_users_who_pause_for_minutes_are_forecast_too():
    assert crossing(Station(20, 0.04), 100.0, 1.0) == pytest.approx(500 * 101, rel=0.1)


def test_machine_repair_is_the_exact_chain_of_a_simulated_queue():
    rate, latency = machine_repair(40, 4, 0.05, 0.5)
    seen = simulate(Station(4, 0.05), 40, 0.5, calls=20_000, exponential=True)
    assert sum(seen) / len(seen) == pytest.approx(latency, rel=0.1)
    assert rate * (latency + 0.5) == pytest.approx(40)


def test_erlang_and_engset():
    assert erlang_load(25, 0.01) == pytest.approx(16.12, abs=0.02)  # Erlang B table
    assert erlang_load(0, 0.01) == 0
    assert engset_blocking(5, 5, 10.0) == 0
    users = users_at_blocking(25, 0.2, 1.0, 0.01)
    assert engset_blocking(int(users), 25, 0.2) <= 0.01 < engset_blocking(int(users) + 1, 25, 0.2)
    assert users_at_blocking(0, 0.2, 1.0, 0.01) == 0


def test_what_a_few_sustained_a_crowd_may_not():
    """Ten users kept a lock of 54 ms busy all the time and still waited in turn; 340 who come at random pile up."""
    assert open_rate(18.7, 0.055, 0.3, 0.09, 0.394) < 0.8 / 0.054
    # a tail that fills the objective leaves no room for a wait
    assert open_rate(11.3, 0.042, 1.2, 0.16, 0.2) < 3.0
    assert open_rate(11.3, 0.042, 1.2, 0.25, 0.2) == 0.0
    # far from full, nothing is taken away
    assert open_rate(30.0, 0.01, 0.3, 0.015, 0.2) == 30.0
