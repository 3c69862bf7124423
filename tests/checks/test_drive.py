"""The pace under a known rate limit: what was just sent counts, and a window that others used is waited out."""

from __future__ import annotations

import pytest

from weighbridge.checks.drive import POLITE, EngineDrive, Pace
from weighbridge.checks.forecast.plan import Audit, Burst, Crew, Guards, Run
from weighbridge.checks.forecast.stats import level_of
from weighbridge.checks.forecast.weigh import Exhausted

AUDIT = Audit(0.0, 0.0)


class Clock:
    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class Window:
    """A load engine in front of a window of `cap` calls in `seconds` that somebody else has used up before."""

    def __init__(self, clock, *, cap, seconds, used):
        self.clock, self.cap, self.seconds = clock, cap, seconds
        self.sent = [clock.now] * used

    def run(self, plan):
        self.sent = [at for at in self.sent if at > self.clock.now - self.seconds]
        asked = plan.guards.calls if not plan.burst else plan.users
        passed = min(asked, max(0, self.cap - len(self.sent)))
        self.sent += [self.clock.now] * passed
        refused = asked - passed
        if plan.burst:
            outcomes = [(0.0, 0.1, "ok")] * passed + [(0.0, 0.1, "ThrottledError")] * refused
            return Run(burst=Burst(asked, outcomes, AUDIT))
        errors = {"ThrottledError": refused} if refused else {}
        level = level_of(
            [0.01] * passed, errors, users=plan.users, think_s=plan.think_s, seconds=1.0, sent=asked, audit=AUDIT
        )
        return Run(level=level)


def drive(clock, engine, pace):
    return EngineDrive(
        engine, Crew(lambda: None), object="things", keys=[(1,)], shares={"lookup": 1.0}, guards=Guards(), pace=pace,
        seed=1,
    )  # fmt: skip


def pace(clock, *, cap=100, window=5.0, patience=20.0, spent=()):
    return Pace(cap, window, patience_s=patience, clock=clock, sleep=clock.sleep, spent=spent)


def test_what_this_run_has_just_sent_counts_in_the_same_window():
    clock = Clock()
    fresh, used = pace(clock), pace(clock, spent=[clock.now - 1.0] * 60)
    assert fresh.room() == pytest.approx(100 * POLITE)
    assert used.room() == pytest.approx(100 * POLITE - 60)
    clock.now += 4.5
    assert used.room() == pytest.approx(100 * POLITE)


def test_a_window_that_somebody_else_used_is_waited_out_and_is_no_error():
    clock = Clock()
    engine = Window(clock, cap=100, seconds=5.0, used=100)
    driver = drive(clock, engine, pace(clock))
    level = driver.level(4, 0.0, 1.0, 30)
    assert level.errors == {}
    assert level.sent == 60, "both tries are in the books"
    engine.sent = [clock.now] * 90
    assert not driver.burst(32).refused


def test_without_a_known_window_a_refusal_is_what_it_is():
    clock = Clock()
    engine = Window(clock, cap=100, seconds=5.0, used=100)
    started = clock.now
    assert drive(clock, engine, Pace(None, 1.0, patience_s=20.0)).level(4, 0.0, 1.0, 30).errors == {
        "ThrottledError": 30
    }
    assert clock.now == started


def test_patience_ends():
    clock = Clock()
    engine = Window(clock, cap=0, seconds=5.0, used=0)
    level = drive(clock, engine, pace(clock, patience=7.0)).level(4, 0.0, 1.0, 30)
    assert level.failed == 30
    with pytest.raises(Exhausted):
        pace(clock, patience=1.0, spent=[clock.now] * 70).take(50)


def test_a_short_level_gets_only_what_the_window_has_left():
    """A window that was filled a moment ago frees nothing within the next second, however the rate reads."""
    clock = Clock()
    filled = pace(clock, cap=250)
    filled.sent(170)
    clock.sleep(1.0)
    assert filled.room_for(0.8) == pytest.approx(250 * POLITE - 170)
    assert filled.room_for(15.0) == pytest.approx(250 * POLITE - 170 + 10.0 * 250 * POLITE / 5.0)
