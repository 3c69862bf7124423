from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from rich.console import Console

from weighbridge.report import escape, junit, md, view, xlsx
from weighbridge.report.model import CheckReport, PointReport, Report
from weighbridge.report.terminal import print_summary, summary
from weighbridge.report.writers import write_reports

HOSTILE = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1+1",
    " =1+1",
    "<script>alert(1)</script>",
    "\x1b[31mred\x1b[0m\x07",
    "abc\u202egnp.exe",
    "[link](javascript:alert(1)) ![i](https://example.com/x.png)",
    "@octocat #1 https://example.com www.example.com",
    "| a | b |\n# head\n```\ncode",
    "nul \x00 and _x0041_ and \ufffe",
    "1. list\r\n- item",
    "'; DROP TABLE x; --",
]


def with_sample(report: Report, text: str) -> Report:
    point = report.points[0]
    quality = next(c for c in point.checks if c.check == "quality")
    rows = [{**f, "message": text, "remedy": text, "business_effect": text, "observed": text} for f in quality.findings]
    rules = [{**r, "samples": [text, [text]], "name": text} for r in quality.rules]
    checks = [replace(quality, findings=rows, rules=rules), CheckReport(check="volume", status="unknown", error=text)]
    return replace(report, points=[replace(point, checks=checks, reason=text)])


# --- order and words ----------------------------------------------------------------------------------------------


def test_blockers_come_limiting_point_first_and_breaks_before_unknowns(report: Report) -> None:
    found = view.blockers(report)
    assert [(b.kind, b.point, b.check) for b in found] == [
        ("break", "crm.Account", "limits"),
        ("break", "crm.Account", "quality"),
        ("unknown", "crm.Account", "resilience"),
        ("unknown", "crm.Account", "volume"),
        ("unknown", "finance.Ledger", "schema"),
    ]
    assert found[0].owner == "revenue-ops@example.com"


def test_only_questions_that_ready_needs_stand_in_the_way(report: Report) -> None:
    point = report.points[0]
    checks = [
        CheckReport(check="operations", status="unknown", error="no drill"),
        CheckReport(check="load", status="skipped", reason="budget", message="the call budget is spent"),
        CheckReport(check="volume", status="skipped", reason="not_applicable"),
    ]
    asked = replace(report, points=[replace(point, checks=checks)])
    assert [(b.code, b.cause) for b in view.blockers(asked)] == [("load.budget", "the call budget is spent")]
    selected = replace(asked, run=replace(report.run, selected_checks=["operations", "load"]))
    assert [b.code for b in view.blockers(selected)] == ["load.budget", "operations.unknown"]


def test_a_point_at_risk_shows_what_puts_it_there(report: Report) -> None:
    row = _finding("limits.near", "warn", "too near")
    point = replace(
        report.points[1], status="AT_RISK", checks=[CheckReport(check="limits", status="warn", findings=[row])]
    )
    (blocker,) = view.blockers(replace(report, points=[point]))
    assert (blocker.kind, blocker.cause) == ("warn", "too near")
    assert "warn erp.SalesOrder limits: too near" in summary(replace(report, points=[point]))
    assert view.blockers(replace(report, points=[replace(point, status="READY")])) == []


def _finding(code: str, severity: str, message: str) -> dict[str, object]:
    blank: dict[str, object] = dict.fromkeys(("business_effect", "remedy", "retest"), "")
    return {
        **blank,
        "code": code,
        "severity": severity,
        "message": message,
        "expected": None,
        "observed": None,
        "evidence": {},
    }


def test_what_points_of_a_system_share_is_told_once(report: Report) -> None:
    point = report.points[0]
    limits = next(c for c in point.checks if c.check == "limits")
    shared = {**limits.findings[0], "message": "daily_calls is spent at about 180 users"}

    def with_limits(name: str) -> PointReport:
        row = {**shared, "message": f"{name}: {shared['message']}"}
        return replace(point, id=name, checks=[replace(limits, findings=[row])])

    both = replace(report, points=[with_limits("crm.Account"), with_limits("crm.Contact")])
    (group,) = view.groups(both)
    assert (group.title, group.also, group.more) == (shared["message"], ("crm.Contact",), 0)
    assert "also crm.Contact" in summary(both)
    assert [len(view.groups(report)), view.groups(report)[1].more] == [5, 0]


def test_a_waived_or_skipped_check_blocks_nothing(report: Report) -> None:
    point = report.points[0]
    checks = [replace(c, status="skipped", reason="waived") for c in point.checks]
    assert view.blockers(replace(report, points=[replace(point, checks=checks)])) == []


def test_what_breaks_first_stands_first(report: Report) -> None:
    assert [(p.id, f and f["limit"]) for p, f in view.first_breaks(report)] == [
        ("finance.Ledger", "latency"),
        ("crm.Account", "daily_calls"),
        ("erp.SalesOrder", "requests_per_window"),
    ]
    data = replace(report.points[1], safe_users=0.0, forecast=[])
    assert view.first_breaks(replace(report, points=[*report.points[:1], data]))[0][0].id == "erp.SalesOrder"


@pytest.mark.parametrize(
    ("figure", "words"),
    [(None, "unknown"), (1234567, "1,234,567"), (180.0, "180"), (12.345, "12.3"), (0.02, "0.02"), (1234.5, "1,234")],
)
def test_numbers(figure: float | None, words: str) -> None:
    assert view.number(figure) == words


# --- terminal -----------------------------------------------------------------------------------------------------


def test_the_terminal_says_the_verdict_then_the_blockers_then_the_points(report: Report) -> None:
    text = summary(report, width=120)
    places = [
        text.index(w) for w in ("PRACTICE", "BREAKS", "What stands in the way (5)", "daily_calls is spent", "conn")
    ]
    assert places == sorted(places)
    assert "180 [165, 195]" in text
    assert "at least 40" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 120


def test_it_fits_a_screen_whatever_the_size(big_report: Report) -> None:
    lines = summary(big_report, width=120).splitlines()
    assert len(lines) <= 40
    assert any("and 48 points more" in line for line in lines)


def test_no_colour_when_piped_and_colour_on_a_terminal(report: Report) -> None:
    piped, screen = io.StringIO(), io.StringIO()
    print_summary(report, Console(file=piped, width=100))
    print_summary(report, Console(file=screen, width=100, force_terminal=True, color_system="truecolor", _environ={}))
    assert "\x1b[" not in piped.getvalue()
    assert "\x1b[" in screen.getvalue()


def test_quiet_is_one_line(report: Report) -> None:
    file = io.StringIO()
    print_summary(report, Console(file=file, width=200), quiet=True)
    assert file.getvalue().splitlines() == [f"BREAKS  {report.verdict.sentence}"]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437"])
def test_a_windows_console_gets_only_what_it_can_show(report: Report, encoding: str) -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    print_summary(with_sample(report, "Müller \u2192 \U0001f600 \u017b"), Console(file=file, width=120))
    file.flush()
    assert b"BREAKS" in raw.getvalue()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_terminal_is_never_steered_by_data(report: Report, text: str) -> None:
    shown = summary(with_sample(report, text), width=120)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_one_line_is_one_line_of_printable_text(text: str) -> None:
    line = escape.one_line(text)
    assert "\n" not in line
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", line)
    assert escape.one_line(line) == line


# --- Markdown -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_data_and_renders_none_of_it(report: Report, text: str) -> None:
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").enable("table").parse(md.render(with_sample(report, text)))
    inline = [child for t in tokens for child in (t.children or [])]
    assert not [t for t in inline if t.type in {"link_open", "image", "html_inline"}]
    allowed = {"<details><summary>", "</details>"}
    html = [t.content for t in tokens if t.type == "html_block"]
    assert all(any(h.strip().startswith(a) for a in allowed) for h in html)
    assert "@octocat" not in "".join(t.content for t in inline if t.type == "text")
    tables = [t for t in tokens if t.type == "tr_open"]
    assert len(tables) == 2, "one header and one row: no value breaks the table"


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_code_span_shows_its_text_exactly(text: str) -> None:
    from markdown_it import MarkdownIt

    wanted = escape.one_line(text)
    inline = MarkdownIt("commonmark").parse("x " + escape.markdown_code(text).replace("\\|", "|") + " y")[1].children
    spans = [t.content for t in inline or [] if t.type == "code_inline"]
    assert spans == ([wanted] if wanted else [])


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_escaped_markdown_is_plain_text(text: str) -> None:
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").parse("x " + escape.markdown(text))
    kinds = {t.type for token in tokens for t in token.children or []}
    assert kinds <= {"text", "text_special"}
    shown = "".join(t.content for token in tokens for t in token.children or [])
    assert shown.replace("\u200b", "").strip() == f"x {escape.one_line(text)}".replace("\u200b", "").strip()


def test_a_comment_never_exceeds_what_github_takes(big_report: Report) -> None:
    text = md.render(big_report)
    assert len(text) < 65_536
    huge = replace(big_report, not_tested=[], assumptions=["a long assumption " * 20] * 400)
    cut = md.render(huge)
    assert len(cut) < 65_536
    assert cut.endswith("report.json._\n")


# --- JUnit --------------------------------------------------------------------------------------------------------


def test_junit_counts_what_the_report_says(report: Report) -> None:
    root = ET.fromstring(junit.render(report))
    assert {k: root.get(k) for k in ("tests", "failures", "errors", "skipped")} == {
        "tests": "18",
        "failures": "2",
        "errors": "2",
        "skipped": "1",
    }
    case = root.find(".//testcase[@classname='crm.Account'][@name='quality']")
    assert case is not None
    failure = case.find("failure")
    assert failure is not None
    assert "25 of 1,000 rows" in (failure.get("message") or "")
    assert "retest: weighbridge run" in (failure.text or "")
    warned = root.find(".//testcase[@classname='crm.Account'][@name='schema']")
    assert warned is not None
    assert warned.find("failure") is None
    assert "Fax" in (warned.findtext("system-out") or "")


@pytest.mark.parametrize("text", HOSTILE)
def test_junit_stays_xml(report: Report, text: str) -> None:
    ET.fromstring(junit.render(with_sample(report, text)))


# --- xlsx ---------------------------------------------------------------------------------------------------------


def opened(report: Report) -> openpyxl.Workbook:
    return openpyxl.load_workbook(io.BytesIO(xlsx.render(report)))


def test_the_workbook_has_its_sheets_filters_and_frozen_headers(report: Report) -> None:
    book = opened(report)
    assert book.sheetnames == [
        "Summary",
        "Points",
        "Blockers",
        "Findings",
        "Rules",
        "Samples",
        "Forecast",
        "Limits",
        "Not tested",
        "Waivers",
    ]
    for name in book.sheetnames[1:]:
        assert book[name].freeze_panes == "B2", name
        assert book[name].auto_filter.ref, name
        assert list(book[name].conditional_formatting), name
    points = list(book["Points"].values)
    assert points[1][:8] == (
        "crm.Account",
        "crm",
        "salesforce",
        "Account",
        "revenue-ops@example.com",
        "sandbox",
        "BREAKS",
        180,
    )
    rules = [dict(zip(next(book["Rules"].values), row, strict=True)) for row in list(book["Rules"].values)[1:]]
    failed = next(r for r in rules if r["outcome"] == "failed")
    assert (failed["failing rows"], failed["rows"], failed["share"]) == (25, 1000, 0.025)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_cell_is_ever_a_formula(report: Report, text: str) -> None:
    book = opened(with_sample(report, text))
    cells = [c for sheet in book for row in sheet.iter_rows() for c in row if c.value is not None]
    assert not [c.coordinate for c in cells if c.data_type == "f"]
    risky = [c for c in cells if isinstance(c.value, str) and c.value.startswith(("=", "+", "-", "@"))]
    assert all(c.quotePrefix for c in risky)
    if text[0] in "=+-@":
        assert risky


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_cell_holds_any_text(text: str) -> None:
    clean, risky = escape.spreadsheet(text)
    assert not ILLEGAL_CHARACTERS_RE.search(clean)
    assert len(clean) <= 32_767
    assert risky or not clean.lstrip().startswith(("=", "+", "-", "@"))
    assert escape.spreadsheet("x" * 40_000)[0].endswith("...")


# --- all ----------------------------------------------------------------------------------------------------------


def test_every_format_is_written(report: Report, tmp_path: Path) -> None:
    written = write_reports(report, tmp_path, ["html", "md", "xlsx", "junit"])
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in written.values())
    assert json.loads(written["json"].read_text(encoding="utf-8"))["run"]["id"] == report.run.id
