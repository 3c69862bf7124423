"""report.html: one self-contained page that a finance director and an engineer both can read.

Nothing is fetched: styles, scripts and charts are inside, and a content security policy forbids anything else. All
text from systems passes the template engine's escaping.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from weighbridge.checks.forecast.models import MODELS
from weighbridge.report import charts, view
from weighbridge.report.escape import one_line, printable
from weighbridge.report.model import CheckReport, PointReport, Report

__all__ = ["javascript", "render", "what_if_data"]

CARDS = 9
BARS = 24
OPEN_POINTS = 2
SHOWN_FINDINGS = 120
"""Findings of one check and code that the page lists; the rest are counted, and stand in the other files."""
SHOWN_RULES = 200
REMEDIES = 12
_RULE_FACTS = frozenset({"rule", "id", "line", "count", "total", "share", "samples", "query"})
LONG_VERDICT = 110
"""Characters beyond which only the verdict's first sentence is the headline."""
GLYPHS = {"pass": "\u2713", "warn": "!", "break": "\u2715", "unknown": "?", "skipped": "\u2013"}
WORDS = {"pass": "pass", "warn": "warn", "break": "break", "unknown": "unknown", "skipped": "skipped"}


def render(report: Report) -> str:
    """The report as one HTML page."""
    script = _asset("report.js").replace("/*FORMULAS*/", javascript())
    cards = view.groups(report)
    return _template().render(
        report=report,
        run=report.run,
        verdict=report.verdict,
        target=report.target,
        css=Markup(_asset("report.css")),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file and our own formulas
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=_data_block(what_if_data(report)),
        cards=cards[:CARDS],
        more_cards=cards[CARDS:],
        first=[(p, f, charts.bar(p, f, target=report.target.production_users, headroom=report.target.headroom))
               for p, f in view.first_breaks(report)],
        remedies=_remedies(report),
        load_ceiling=_load_ceiling(report),
        weakest=_weakest(report),
        headline=_headline(report.verdict.sentence),
        axis_end=charts.axis_end(report.target.production_users),
        ticks=charts.axis_ticks(charts.axis_end(report.target.production_users)),
        columns=view.columns(report),
        ordered=view.worst_first(report),
        trend=charts.trend_chart(report),
        open_points={p.id for p in view.worst_first(report)[:OPEN_POINTS] if p.status in ("BREAKS", "BROKEN")},
    )  # fmt: skip


def javascript() -> str:
    """The forecast models as JavaScript functions, translated from the very formulas that Python evaluates."""
    return ",\n".join(f"  {json.dumps(name)}: (x) => {_expression(model.formula)}" for name, model in MODELS.items())


def _expression(formula: str) -> str:
    return _js(ast.parse(formula, mode="eval").body)


def _js(node: ast.expr) -> str:
    if isinstance(node, ast.BinOp):
        signs = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
        return f"({_js(node.left)} {signs[type(node.op)]} {_js(node.right)})"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return f"(-{_js(node.operand)})"
    if isinstance(node, ast.Name):
        return f"x.{node.id}"
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return repr(node.value)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "pow":
        return f"Math.pow({', '.join(map(_js, node.args))})"
    raise ValueError(f"a forecast formula uses {ast.dump(node)}, which the report's panel cannot compute")


def what_if_data(report: Report) -> dict[str, Any]:
    """What the what-if panel computes from: every point's forecasts with their inputs."""
    scale = next((p.scale for p in report.points if p.scale), {})
    points = [
        {
            "id": p.id,
            "data": p.safe_users == 0,
            "monthEnd": p.scale.get("month_end_factor") or 1,
            "forecasts": [
                {
                    **{k: f[k] for k in ("limit", "users", "low", "high", "at_least", "model")},
                    "inputs": {k: v for k, v in f["inputs"].items() if isinstance(v, (int, float))},
                }
                for f in p.forecast
            ],
        }
        for p in report.points
    ]
    return {
        "target": report.target.production_users,
        "headroom": report.target.headroom,
        "reserve": scale.get("reserve", 0.2),
        "peak": scale.get("peak_factor", 3.0),
        "points": [p for p in points if p["forecasts"] or p["data"]],
    }


def _data_block(body: Any) -> Markup:
    # Inside a script element only "<" could end it; escaped in JSON's own way it stays data.
    text = json.dumps(body, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return Markup(text)  # noqa: S704


def _load_ceiling(report: Report) -> float | None:
    """Where the load alone would break the first point, for a report whose data fail at any number of users."""
    known = [f["users"] for p in report.points for f in p.forecast if f["users"] is not None]
    return min(known) if report.verdict.safe_users == 0 and known else None


def _weakest(report: Report) -> tuple[PointReport, dict[str, Any] | None] | None:
    """The point that gives way first as users grow, with the forecast that says so; else the one that decides."""
    for point, row in view.first_breaks(report):
        if row is not None and row["users"] is not None:
            return point, row
    point = report.point(report.verdict.limiting_point or "")
    return (point, None) if point is not None else None


def _headline(sentence: str) -> tuple[str, str]:
    """A long verdict as its first sentence and the rest: what stands in large letters must be read at a glance."""
    first, stop, rest = sentence.partition(". ")
    return (first + ".", rest) if stop and len(sentence) > LONG_VERDICT else (sentence, "")


def _remedies(report: Report) -> list[dict[str, Any]]:
    """What would move the limits that lie below the target, those met first in front; a shared limit is told once."""
    enough = report.target.production_users * report.target.headroom
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for point, row in view.first_breaks(report):
        if row is None or row["users"] is None or row["users"] >= enough:
            continue
        better = [r for r in row.get("remedies") or () if (r.get("users") or 0) > row["users"]]
        for r in sorted(better, key=lambda r: -r["users"])[:3]:
            key = (point.system, row["limit"], r["remedy"], round(r["users"]))
            held = found.setdefault(key, {**r, "limit": row["limit"], "now": row["users"], "points": []})
            held["points"].append(point.id)
    return list(found.values())[:REMEDIES]


def _groups(check: CheckReport) -> list[dict[str, Any]]:
    """A check's findings by severity and code: what all of one code share is told once."""
    order = {"break": 0, "warn": 1, "info": 2}
    rows = sorted(check.findings, key=lambda f: (order[f["severity"]], f["code"], f["remedy"], f["business_effect"]))
    found = []
    for (severity, code, remedy, effect), group in groupby(
        rows, key=lambda f: (f["severity"], f["code"], f["remedy"], f["business_effect"])
    ):
        members = list(group)
        found.append(
            {
                "severity": severity,
                "code": code,
                "remedy": remedy,
                "effect": effect,
                "retest": members[0]["retest"],
                "count": len(members),
                "rows": members[:SHOWN_FINDINGS],
                "left": max(0, len(members) - SHOWN_FINDINGS),
            }
        )
    return found


def _failed_rules(check: CheckReport) -> list[dict[str, Any]]:
    return [r for r in check.rules if r["outcome"] != "passed"][:SHOWN_RULES]


def _evidence(finding: Mapping[str, Any], check: CheckReport) -> dict[str, Any]:
    """A finding's evidence without what the table of failing rules, right below it, shows of the same rule."""
    known = {r["id"] for r in _failed_rules(check)}
    shown = _RULE_FACTS if finding["evidence"].get("id") in known else ()
    return {name: item for name, item in finding["evidence"].items() if name not in shown}


def _facts(rows: Mapping[str, Any], *, depth: int = 0) -> list[tuple[str, str]]:
    """A mapping as short lines of name and value, nested names joined; long lists counted."""
    found: list[tuple[str, str]] = []
    for name, item in rows.items():
        words = str(name).replace("_", " ")
        if item is None or item == {} or item == []:
            continue
        if isinstance(item, Mapping) and depth < 2:
            found += [(f"{words}: {k}", v) for k, v in _facts(item, depth=depth + 1)]
        else:
            found.append((words, one_line(view.value(item), limit=240)))
    return found


def _measurements(point: PointReport) -> Iterable[tuple[str, list[tuple[str, str]]]]:
    for name, body in point.measurements.items():
        if name in ("profile", "schema") or not isinstance(body, Mapping):
            continue
        facts = _facts(body)
        if facts:
            yield name.replace("_", " "), facts[:24]


def _printable(item: Any) -> Any:
    """Every text that the template shows, without control characters and reversals of the reading direction."""
    return printable(item) if type(item) is str else item


def _detailed(check: CheckReport) -> bool:
    """Whether the point's section has a part about this check."""
    if check.status == "skipped":
        return check.reason in ("not_permitted", "budget")
    return bool(check.status != "pass" or check.findings or check.rules)


def _anchor(text: str) -> str:
    """A stable id for a link within the page."""
    return "p-" + "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}" for c in text)


@cache
def _asset(name: str) -> str:
    return files("weighbridge.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _template() -> Any:
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, finalize=_printable
    )
    environment.filters.update(
        number=view.number,
        users=view.users_words,
        moment=view.moment,
        value=lambda item: one_line(view.value(item), limit=400),
        line=one_line,
        status=lambda s: view.STATUS_WORDS.get(s, s),
        rung=view.rung_words,
        anchor=_anchor,
        words=lambda s: str(s).replace("_", " "),
        facts=_facts,
        groups=_groups,
        evidence=_evidence,
        failed_rules=_failed_rules,
        detailed=_detailed,
        by_name=lambda p: {c.check: c for c in p.checks},
        measurements=lambda p: list(_measurements(p)),
    )
    environment.globals.update(
        GLYPHS=GLYPHS,
        BARS=BARS,
        WORDS=WORDS,
        MODELS=MODELS,
        load_chart=charts.load_chart,
        day_chart=charts.day_chart,
        duration=view.duration,
    )
    return environment.from_string(_asset("report.html"))
