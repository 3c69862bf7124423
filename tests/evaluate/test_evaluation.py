"""A small seeded part of the evaluation: no false READY, truths inside their intervals."""

from __future__ import annotations

import pytest

from evaluate.cases import RANGES, cases
from evaluate.forecast import HEAD, row, tables
from evaluate.odd import ask
from evaluate.score import Scored, answer, case_truth


def score(share):
    return [Scored(c, case_truth(c), answer(c)) for c in cases(RANGES["seeds"]["test"], share=share)]


def judge(scored):
    assert [s.case.number for s in scored if s.false_ready] == []
    given = [s for s in scored if s.given]
    assert sum(s.covered for s in given) >= 0.7 * len(given)
    hidden = [s for s in scored if s.case.kind == "hidden_bucket"]
    assert all(not s.given and s.answer.verdict != "READY" for s in hidden)
    return given


def test_a_few_of_every_kind():
    scored = score(0.025)
    assert {s.case.kind for s in scored} == set(RANGES["counts"])
    judge(scored)
    assert len(row("some", scored).split("|")) == len(HEAD.splitlines()[0].split("|"))
    assert any("identifiable" in line for line in tables("title", scored))


@pytest.mark.slow
@pytest.mark.parametrize("number", [6, 452])
def test_few_hurried_users_prove_no_crowd(number):
    """Locks that ten users without much of a pause kept busy, in time: READY was said of both."""
    found = ask(20261124, number)
    assert found.truth < found.target
    assert found.verdict != "READY"


@pytest.mark.slow
def test_systems_at_the_edge_of_breaking_are_never_ready():
    asked = [ask(RANGES["seeds"]["test"], number) for number in range(30)]
    assert [o for o in asked if o.false_ready] == []
    assert any(o.verdict == "READY" for o in asked), "who never says READY is never wrong"
    assert sum(o.false_breaks for o in asked) <= 1


@pytest.mark.slow
def test_more_of_every_kind():
    scored = score(0.12)
    given = judge(scored)
    identifiable = [s for s in scored if s.case.rung == 3 and s.case.identifiable and not s.case.unlike]
    assert sum(s.given for s in identifiable) >= 0.8 * len(identifiable)
    assert sum(s.error <= 0.15 for s in given) >= 0.8 * len(given)


def test_the_ranges_ask_for_what_the_evaluation_promises():
    assert sum(RANGES["counts"].values()) >= 600
    assert RANGES["real"]["count"] >= 60
    assert len(RANGES["counts"]) >= 6
    assert RANGES["seeds"]["evaluation"] not in (RANGES["seeds"]["tuning"], RANGES["seeds"]["test"])
