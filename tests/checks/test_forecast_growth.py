from __future__ import annotations

import random

import pytest

from weighbridge.checks.forecast.growth import fit_growth


def log(pages, rows, per_row, per_offset, noise=0.1, seed=1):
    rng = random.Random(seed)
    return [
        (i * rows, rows, rows * (per_row + per_offset * i * rows) * rng.uniform(1 - noise, 1 + noise))
        for i in range(pages)
    ]


def test_linear_reads_stay_linear():
    growth = fit_growth(log(30, 100, 1e-4, 0.0))
    assert not growth.square
    assert growth.exponent == pytest.approx(1.0, abs=0.1)
    assert growth.seconds(1_000_000).low <= 100 <= growth.seconds(1_000_000).high


def test_offset_paging_costs_the_square():
    growth = fit_growth(log(40, 100, 1e-4, 1e-7))
    assert growth.square
    assert growth.exponent > 1.3
    assert growth.exponent_at(1_000_000) > 1.9
    real = 1e-4 * 1e6 + 1e-7 / 2 * 1e12
    assert growth.seconds(1e6).low <= real <= growth.seconds(1e6).high
    assert growth.linear_seconds(1e6) < 200


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_not_growth(seed):
    assert not fit_growth(log(25, 100, 1e-4, 0.0, noise=0.5, seed=seed)).square


def test_three_sizes_are_measured():
    assert len(fit_growth(log(12, 100, 1e-4, 0.0)).sizes) == 3


def test_nothing_to_fit():
    assert fit_growth([]) is None
    assert fit_growth([(0, 0, 1.0)]) is None
    assert fit_growth([(0, 10, 0.1)]).seconds(100).mid == pytest.approx(1.0)
