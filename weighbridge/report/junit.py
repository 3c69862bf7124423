"""JUnit XML for CI servers: a suite a system, a case a check of a point."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from weighbridge.report.escape import xml
from weighbridge.report.model import CheckReport, PointReport, Report
from weighbridge.report.view import value

__all__ = ["render"]


def render(report: Report) -> bytes:
    """The report as JUnit XML: break is a failure, unknown an error, a warning passes with its text."""
    root = ET.Element("testsuites", name="weighbridge")
    totals = [0, 0, 0, 0]
    for system in dict.fromkeys(p.system for p in report.points):
        points = [p for p in report.points if p.system == system]
        suite = _suite(system, points, report)
        root.append(suite)
        totals = [
            t + int(suite.get(k, "0")) for t, k in zip(totals, ("tests", "failures", "errors", "skipped"), strict=True)
        ]
    for name, total in zip(("tests", "failures", "errors", "skipped"), totals, strict=True):
        root.set(name, str(total))
    ET.indent(root)
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)


def _suite(system: str, points: list[PointReport], report: Report) -> ET.Element:
    checks = [c for p in points for c in p.checks]
    tally = {s: sum(c.status == s for c in checks) for s in ("break", "unknown", "skipped")}
    suite = ET.Element(
        "testsuite",
        name=xml(system),
        tests=str(len(checks)),
        failures=str(tally["break"]),
        errors=str(tally["unknown"]),
        skipped=str(tally["skipped"]),
        time=f"{sum(c.seconds for c in checks):.3f}",
        timestamp=xml(report.run.started),
    )
    properties = ET.SubElement(suite, "properties")
    facts = {
        "run": report.run.id,
        "environment": report.run.environment,
        "target_users": report.target.production_users,
        "verdict": report.verdict.status,
    }
    for name, fact in facts.items():
        ET.SubElement(properties, "property", name=name, value=xml(fact))
    for point in points:
        for check in point.checks:
            suite.append(_case(point, check))
    return suite


def _case(point: PointReport, check: CheckReport) -> ET.Element:
    case = ET.Element("testcase", classname=xml(point.id), name=xml(check.check), time=f"{check.seconds:.3f}")
    properties = ET.SubElement(case, "properties")
    facts = {"status": check.status, "point_status": point.status, "calls": check.calls, "owner": point.owner}
    for name, fact in facts.items():
        ET.SubElement(properties, "property", name=name, value=xml(fact))
    told = "\n\n".join(_finding(row) for row in check.findings)
    if check.status == "break":
        first = next((r["message"] for r in check.findings if r["severity"] == "break"), "breaks")
        ET.SubElement(case, "failure", message=xml(first), type="break").text = xml(told)
    elif check.status == "unknown":
        why = check.error or check.message or check.reason or "could not look"
        ET.SubElement(case, "error", message=xml(why), type="unknown").text = xml(
            f"{why}\n{check.remedy or ''}".strip()
        )
    elif check.status == "skipped":
        ET.SubElement(case, "skipped", message=xml(check.message or check.reason or "skipped"))
    elif told:
        ET.SubElement(case, "system-out").text = xml(told)
    return case


def _finding(row: dict) -> str:
    lines = [f"{row['severity']} {row['code']}: {row['message']}"]
    lines += [f"{name}: {value(row[name])}" for name in ("expected", "observed") if row[name] is not None]
    lines += [
        f"{name.replace('_', ' ')}: {row[name]}" for name in ("business_effect", "remedy", "retest") if row.get(name)
    ]
    return "\n".join(lines)
