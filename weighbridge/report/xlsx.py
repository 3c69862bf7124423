"""The report as a workbook for the data team: filters, a frozen header, colours that follow the values.

Every text is written as text: nothing that came from a system can run as a formula.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from weighbridge.errors import DeliveryProblem
from weighbridge.report.escape import spreadsheet
from weighbridge.report.model import Report
from weighbridge.report.view import STATUS_WORDS, blockers, columns, first_breaks, moment, rung_words, worst_first

if TYPE_CHECKING:
    from openpyxl import Workbook
    from openpyxl.worksheet.worksheet import Worksheet

__all__ = ["render"]

_COLOURS = {
    "bad": ("FBD5D5", "8A1C1C", ("break", "BREAKS", "BROKEN", "failed")),
    "warn": ("FCE9C4", "7A4B00", ("warn", "AT_RISK")),
    "unknown": ("E6DDF3", "4B2E83", ("unknown", "UNKNOWN", "errored", "not_run")),
    "good": ("D5EFDD", "14532D", ("pass", "READY", "HOLDS", "passed")),
}
_WIDEST = 70


def render(report: Report) -> bytes:
    """The report as xlsx: Summary, Points, Blockers, Findings, Rules, Samples, Forecast, Limits, Not tested."""
    from openpyxl import Workbook

    book = Workbook()
    book.remove(book.worksheets[0])
    book.properties.creator = "weighbridge"
    _summary(book, report)
    _table(book, "Points", _POINT_HEAD + columns(report), _points(report))
    _table(
        book,
        "Blockers",
        ["point", "check", "severity", "code", "cause", "business effect", "owner", "remedy", "retest"],
        [[b.point, b.check, b.kind, b.code, b.cause, b.effect, b.owner, b.remedy, b.retest] for b in blockers(report)],
    )
    _table(book, "Findings", _FINDING_HEAD, _findings(report))
    _table(book, "Rules", _RULE_HEAD, _rules(report))
    _table(book, "Samples", ["point", "rule", "sample"], _samples(report))
    _table(book, "Forecast", _FORECAST_HEAD, _forecasts(report))
    _table(
        book,
        "Limits",
        ["system", *_LIMIT_KEYS],
        [[s.id, *(row.get(k) for k in _LIMIT_KEYS)] for s in report.systems for row in s.limits],
    )
    _table(
        book,
        "Not tested",
        ["point", "check", "rule", "reason", "message"],
        [[row.get(k) for k in ("point", "check", "rule", "reason", "message")] for row in report.not_tested],
    )
    _table(
        book,
        "Waivers",
        ["point", "check", "code", "approver", "expires", "reason"],
        [[row.get(k) for k in ("point", "check", "code", "approver", "expires", "reason")] for row in report.waivers],
    )
    out = io.BytesIO()
    try:
        book.save(out)
    except Exception as error:
        # Sheets are written aside first, and what writes them has an error of its own for a full disk.
        if isinstance(error, OSError) or type(error).__name__ == "SerialisationError":
            raise DeliveryProblem(
                f"report.xlsx could not be made: no room in the folder for temporary files ({error}). The disk is "
                "full or a quota is reached: free some space, then `weighbridge report RUN --format xlsx`."
            ) from None
        raise
    return out.getvalue()


_POINT_HEAD = [
    "point",
    "system",
    "connector",
    "object",
    "owner",
    "environment",
    "status",
    "safe users",
    "at least",
    "rows",
    "contract",
]
_FINDING_HEAD = [
    "point",
    "check",
    "severity",
    "code",
    "message",
    "expected",
    "observed",
    "business effect",
    "remedy",
    "retest",
    "evidence",
]
_RULE_HEAD = [
    "point",
    "path",
    "outcome",
    "severity",
    "failing rows",
    "rows",
    "share",
    "expected",
    "observed",
    "reason",
    "contract",
    "line",
    "query",
]
_FORECAST_KEYS = (
    "limit",
    "users",
    "low",
    "high",
    "at_least",
    "basis",
    "measured_to",
    "trust",
    "environment",
    "transfer",
    "model",
    "next_probe",
    "reason",
)
_FORECAST_HEAD = [
    "point",
    *(k.replace("_", " ") for k in _FORECAST_KEYS),
    "ordinary day",
    "month end",
    "month of growth",
]
_LIMIT_KEYS = ("name", "scope", "cap", "unit", "window", "used", "source", "environment", "at")


def _points(report: Report) -> Iterable[list[Any]]:
    names = columns(report)
    for p in worst_first(report):
        by_name = {c.check: c.status for c in p.checks}
        yield [
            p.id, p.system, p.connector, p.object, p.owner, p.environment, p.status, p.safe_users, p.at_least,
            p.rows.get("counted"), p.contract, *(by_name.get(n, "") for n in names),
        ]  # fmt: skip


def _findings(report: Report) -> Iterable[list[Any]]:
    order = {"break": 0, "warn": 1, "info": 2}
    rows = [(p, c, f) for p in report.points for c in p.checks for f in c.findings]
    for p, c, f in sorted(rows, key=lambda r: (order[r[2]["severity"]], r[0].id)):
        yield [
            p.id, c.check, f["severity"], f["code"], f["message"], f["expected"], f["observed"], f["business_effect"],
            f["remedy"], f["retest"] or p.retest, f["evidence"] or None,
        ]  # fmt: skip


def _rules(report: Report) -> Iterable[list[Any]]:
    for p in report.points:
        for c in p.checks:
            for r in c.rules:
                share = r["count"] / r["total"] if r["count"] is not None and r["total"] else None
                yield [
                    p.id, r["path"], r["outcome"], r.get("severity"), r["count"], r["total"], share, r["expected"],
                    r["observed"], r["reason"], p.contract, r["line"], r.get("query"),
                ]  # fmt: skip


def _samples(report: Report) -> Iterable[list[Any]]:
    for p in report.points:
        for c in p.checks:
            for r in c.rules:
                for sample in r["samples"]:
                    yield [p.id, r["path"], sample]


def _forecasts(report: Report) -> Iterable[list[Any]]:
    ordered = [p for p, _ in first_breaks(report)]
    for p in ordered:
        for f in p.forecast:
            when = f.get("when") or {}
            yield [
                p.id,
                *(f.get(k) for k in _FORECAST_KEYS),
                when.get("ordinary"),
                when.get("month_end"),
                when.get("month"),
            ]


def _summary(book: Workbook, report: Report) -> None:
    from openpyxl.styles import Alignment, Font

    sheet = book.create_sheet("Summary")
    run, verdict = report.run, report.verdict
    rows = [
        ("Verdict", STATUS_WORDS.get(verdict.status, verdict.status)),
        ("In words", verdict.sentence),
        ("In figures", verdict.engineer),
        ("Safe users", verdict.safe_users),
        ("At least", verdict.at_least),
        ("Target users", report.target.production_users),
        ("Limiting point", verdict.limiting_point),
        ("Environment", run.environment),
        ("Practice systems", "yes, not your own" if run.practice else "no"),
        ("Partial", "yes, the run was interrupted" if run.partial else "no"),
        ("Started", moment(run.started)),
        ("Finished", moment(run.finished)),
        ("Permission", rung_words(run.rung)),
        ("Run", run.id),
        ("Repeat with", run.command),
        *((f"Calls to {name}", calls) for name, calls in run.calls.items()),
        *(("Assumption", text) for text in report.assumptions),
    ]
    for row, (label, item) in enumerate(rows, 1):
        _put(sheet, row, 1, label)
        _put(sheet, row, 2, item)
        sheet.cell(row, 1).font = Font(bold=True)
        sheet.cell(row, 2).alignment = Alignment(wrap_text=True, vertical="top", horizontal="left")
    sheet.column_dimensions["A"].width = 22
    sheet.column_dimensions["B"].width = 100


def _table(book: Workbook, title: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    from openpyxl.styles import Alignment, Font, PatternFill
    from openpyxl.utils import get_column_letter

    sheet = book.create_sheet(title)
    widths = [len(h) + 4 for h in head]
    for column, name in enumerate(head, 1):
        _put(sheet, 1, column, name)
        cell = sheet.cell(1, column)
        cell.font = Font(bold=True, color="FFFFFF")
        cell.fill = PatternFill("solid", fgColor="2B3A4A")
        cell.alignment = Alignment(vertical="center")
    last = 1
    for last, row in enumerate(rows, 2):
        for column, item in enumerate(row, 1):
            length = _put(sheet, last, column, item)
            widths[column - 1] = min(_WIDEST, max(widths[column - 1], length + 2))
            if head[column - 1] == "share":
                sheet.cell(last, column).number_format = "0.00%"
    for column, width in enumerate(widths, 1):
        sheet.column_dimensions[get_column_letter(column)].width = width
    sheet.freeze_panes = "B2"
    area = f"A1:{get_column_letter(len(head))}{last}"
    sheet.auto_filter.ref = area
    _colour(sheet, f"A2:{get_column_letter(len(head))}{max(2, last)}")


def _colour(sheet: Worksheet, area: str) -> None:
    from openpyxl.formatting.rule import CellIsRule
    from openpyxl.styles import Font, PatternFill

    for fill, ink, words in _COLOURS.values():
        for word in words:
            # Cell by cell, so that the colours stay right when somebody sorts or edits the sheet.
            rule = CellIsRule(
                operator="equal", formula=[f'"{word}"'], fill=PatternFill("solid", bgColor=fill), font=Font(color=ink)
            )
            sheet.conditional_formatting.add(area, rule)


def _put(sheet: Worksheet, row: int, column: int, item: Any) -> int:
    """Write one value; numbers stay numbers, everything else is text that never runs. Returns its length."""
    if item is None or item == "":
        return 0
    cell: Any = sheet.cell(row, column)
    if isinstance(item, (int, float)) and not isinstance(item, bool):
        cell.value = item
        return len(str(item))
    text = item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)
    clean, risky = spreadsheet(text)
    cell.value = clean
    cell.data_type = "s"
    if risky:
        # The apostrophe of spreadsheets: still text after somebody edits the cell.
        cell.quotePrefix = True
    return max(map(len, clean.splitlines()), default=0)
