"""Verdicts fold as the design says; nothing unanswered is ever READY."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.report.model import CheckReport, PointReport
from weighbridge.verdict import fold, judge, overall, point_verdict, selected_status

REQUIRED = ("connection", "load")


def passed(*names: str) -> list[CheckReport]:
    return [CheckReport(check=n, status="pass") for n in names]


def forecast(users=None, low=None, high=None, at_least=None, **more):
    return {
        "limit": "daily_calls",
        "users": users,
        "low": low,
        "high": high,
        "at_least": at_least,
        "environment": "sandbox",
        "basis": "reported",
        "check": "load",
        "answers_target": True,
        **more,
    }


def verdict(checks, forecasts=()):
    return point_verdict(checks, forecasts, required=REQUIRED, target=500, headroom=1.2)


@pytest.mark.parametrize(
    ("numbers", "status"),
    [
        ({"users": 180, "low": 165, "high": 195, "at_least": 165}, "BREAKS"),
        ({"users": 480, "low": 400, "high": 560, "at_least": 400}, "AT_RISK"),
        ({"users": 550, "low": 510, "high": 590, "at_least": 510}, "AT_RISK"),
        ({"users": 900, "low": 600, "high": 1200, "at_least": 600}, "READY"),
        ({"at_least": 599}, "UNKNOWN"),
        ({"at_least": 600}, "READY"),
        ({"at_least": None}, "UNKNOWN"),
        ({"users": 9000, "low": 8000, "high": 9900, "answers_target": False}, "UNKNOWN"),
        ({"users": 90, "low": 80, "high": 99, "answers_target": False, "basis": "measured"}, "BREAKS"),
        ({"users": 90, "low": 80, "high": 99, "answers_target": False, "basis": "reported"}, "UNKNOWN"),
    ],
)
def test_one_forecast_decides(numbers, status) -> None:
    assert verdict(passed(*REQUIRED), [forecast(**numbers)]).status == status


@pytest.mark.parametrize("reason", ["deselected", "not_permitted", "budget"])
def test_a_required_check_that_did_not_run_keeps_a_point_from_ready(reason) -> None:
    checks = [*passed("connection"), CheckReport(check="load", status="skipped", reason=reason)]
    found = verdict(checks)
    assert found.status == "UNKNOWN"
    assert "load" in found.reason


def test_a_required_check_that_is_missing_is_named() -> None:
    found = verdict(passed("connection"))
    assert found.status == "UNKNOWN"
    assert "'load'" in found.reason


def test_not_applicable_never_blocks() -> None:
    checks = [*passed("connection"), CheckReport(check="load", status="skipped", reason="not_applicable")]
    assert verdict(checks).status == "READY"


def test_a_waiver_and_a_warning_stand_in_for_proof_only() -> None:
    waived = [*passed("connection"), CheckReport(check="load", status="skipped", reason="waived")]
    assert verdict(waived).status == "AT_RISK"
    warned = [*passed("connection"), CheckReport(check="load", status="warn")]
    assert verdict(warned).status == "AT_RISK"


def test_a_data_break_makes_safe_users_zero() -> None:
    finding = {"severity": "break", "message": "orphans"}
    checks = [*passed(*REQUIRED), CheckReport(check="quality", status="break", findings=[finding])]
    found = verdict(checks, [forecast(users=900, low=800, high=1000, at_least=800)])
    assert (found.status, found.safe_users, found.reason) == ("BREAKS", 0.0, "orphans")


def test_a_refused_limit_below_the_known_ceiling_leaves_the_number_open() -> None:
    found = verdict(passed(*REQUIRED), [forecast(users=180, low=165, high=195), forecast(at_least=60)])
    assert (found.status, found.safe_users, found.at_least) == ("BREAKS", None, 60)


@given(
    st.lists(
        st.sampled_from(["pass", "warn", "break", "unknown", "skipped"]).flatmap(
            lambda s: st.tuples(
                st.just(s),
                st.sampled_from(["not_applicable", "not_permitted", "budget", "waived"])
                if s == "skipped"
                else st.none(),
            )
        ),
        min_size=2,
        max_size=2,
    ),
    st.lists(st.floats(1, 5000), max_size=4),
)
def test_ready_only_when_everything_required_is_answered(statuses, lows) -> None:
    checks = [CheckReport(check=n, status=s, reason=r) for n, (s, r) in zip(REQUIRED, statuses, strict=True)]
    forecasts = [forecast(users=low * 1.1, low=low, high=low * 1.2, at_least=low) for low in lows]
    found = verdict(checks, forecasts)
    answered = all(s == "pass" or r == "not_applicable" for s, r in statuses)
    assert (found.status == "READY") == (answered and all(low >= 600 for low in lows))


def test_fold_takes_the_worst() -> None:
    assert fold(["READY", "UNKNOWN", "AT_RISK"]) == "AT_RISK"
    assert fold([]) == "UNKNOWN"


def test_selected_checks_never_say_ready() -> None:
    assert selected_status(passed("schema")) == "HOLDS"
    assert selected_status([CheckReport(check="schema", status="unknown")]) == "UNKNOWN"
    assert selected_status([CheckReport(check="schema", status="break")]) == "BROKEN"


def point(name: str, status: str, safe, at_least, *forecasts) -> PointReport:
    return PointReport(
        id=name,
        forecast=list(forecasts),
        system=name.partition(".")[0],
        connector="sql",
        object="o",
        contract="c",
        status=status,
        safe_users=safe,
        at_least=at_least,
    )


def test_the_whole_names_the_first_to_give_way() -> None:
    whole = overall(
        [
            point("s.a", "BREAKS", 300.0, 280.0, forecast(users=300, low=280, high=320)),
            point("s.b", "BREAKS", 180.0, 165.0, forecast(users=180, low=165, high=195)),
            point("s.c", "READY", 900.0, 800.0, forecast(users=900, low=800, high=990)),
        ],
        target=500,
        selected=False,
    )
    assert (whole.status, whole.limiting_point, whole.safe_users, whole.at_least) == ("BREAKS", "s.b", 180.0, 165.0)
    assert "180" in whole.sentence


def test_the_whole_is_null_where_a_point_may_break_below() -> None:
    whole = overall(
        [point("s.a", "BREAKS", 300.0, 280.0), point("s.b", "UNKNOWN", None, 40.0)], target=500, selected=False
    )
    assert whole.safe_users is None
    assert whole.at_least == 40.0


def test_a_staging_quota_is_never_productions() -> None:
    generous = forecast(users=25_000, low=24_000, high=26_000, answers_target=False, environment="staging")
    assert judge(generous, 500, 600)[0] == "UNKNOWN"


def test_data_that_must_be_mended_does_not_hide_where_growth_would_stop() -> None:
    broken = point("crm.a", "BREAKS", 0.0, 0.0, forecast(users=180, low=165, high=195))
    other = point("erp.b", "BREAKS", 0.0, 0.0, forecast(users=90, low=80, high=99))
    sentence = overall([broken, other], target=500, selected=False).sentence
    assert "erp.b gives way first, at about 90 users (daily calls), then crm.a at about 180" in sentence
    assert "must be mended first at crm.a, erp.b" in sentence
