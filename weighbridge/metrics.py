"""A report as Prometheus text, for node_exporter's textfile collector or a Pushgateway."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from weighbridge.errors import DeliveryProblem
from weighbridge.report.model import Report

__all__ = ["push", "text"]

_STATUSES = ("READY", "AT_RISK", "BREAKS", "UNKNOWN", "HOLDS", "BROKEN")
_OUTCOMES = ("pass", "warn", "break", "unknown", "skipped")
PUSH_SECONDS = 15.0


def text(report: Report) -> str:
    """All gauges of one run in the text exposition format."""
    run = report.run
    lines: list[str] = []

    def gauge(name: str, says: str, rows: Iterable[tuple[Mapping[str, str], float | None]]) -> None:
        known = [(labels, figure) for labels, figure in rows if figure is not None]
        if known:
            lines.append(f"# HELP weighbridge_{name} {says}")
            lines.append(f"# TYPE weighbridge_{name} gauge")
            lines.extend(f"weighbridge_{name}{_labels(labels)} {figure:.15g}" for labels, figure in known)

    env = {"environment": run.environment}
    gauge("run_finished_timestamp_seconds", "When the run ended.", [(env, _seconds(run.finished))])
    started, finished = _seconds(run.started), _seconds(run.finished)
    took = finished - started if started is not None and finished is not None else None
    gauge("run_duration_seconds", "How long the run took.", [(env, took)])
    gauge("run_partial", "1 when the run was interrupted.", [(env, float(run.partial))])
    gauge(
        "verdict",
        "1 for the status of the whole, 0 for the others.",
        [({**env, "status": s}, float(report.verdict.status == s)) for s in _STATUSES],
    )
    gauge("target_users", "Users that production asks for.", [(env, report.target.production_users)])
    gauge("safe_users", "Users at which the weakest point reaches its limit.", [(env, report.verdict.safe_users)])
    points = [({**env, "point": p.id, "system": p.system}, p) for p in report.points]
    gauge(
        "point_status",
        "1 for the point's status.",
        [({**labels, "status": p.status}, 1.0) for labels, p in points],
    )
    gauge(
        "point_safe_users",
        "Users at which the point reaches its limit.",
        [(labels, p.safe_users) for labels, p in points],
    )
    gauge("point_rows", "Rows counted at the source.", [(labels, p.rows.get("counted")) for labels, p in points])
    gauge(
        "check_status",
        "1 for what the check of the point came to.",
        [({**labels, "check": c.check, "status": c.status}, 1.0) for labels, p in points for c in p.checks],
    )
    findings = [f for p in report.points for c in p.checks for f in c.findings]
    gauge(
        "findings",
        "Findings by severity.",
        [({**env, "severity": s}, float(sum(f["severity"] == s for f in findings))) for s in ("info", "warn", "break")],
    )
    gauge("calls", "Calls sent to the system in this run.", [({**env, "system": s}, n) for s, n in run.calls.items()])
    changed = [({**env, "kind": kind}, float(len(rows))) for kind, rows in report.changes.items()]
    gauge("changes", "Troubles new, fixed and still there against the runs before.", changed)
    return "\n".join(lines) + "\n"


def push(report: Report, address: str, *, job: str = "weighbridge") -> None:
    """Put the gauges on a Pushgateway. Raises DeliveryProblem, without the address, when that fails."""
    import requests

    url = f"{address.rstrip('/')}/metrics/job/{job}/environment/{report.run.environment}"
    try:
        answer = requests.put(
            url, data=text(report).encode(), headers={"Content-Type": "text/plain; version=0.0.4"}, timeout=PUSH_SECONDS
        )
    except requests.RequestException as error:
        raise DeliveryProblem(
            f"The metrics could not be pushed ({type(error).__name__}); check nightly.pushgateway."
        ) from None
    if answer.status_code >= 300:
        raise DeliveryProblem(
            f"The Pushgateway refused the metrics (HTTP {answer.status_code}); check nightly.pushgateway."
        )


def _labels(labels: Mapping[str, str]) -> str:
    def clean(word: str) -> str:
        return str(word).replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')

    inside = ",".join(f'{name}="{clean(word)}"' for name, word in labels.items())
    return f"{{{inside}}}" if inside else ""


def _seconds(when: str) -> float | None:
    try:
        return datetime.fromisoformat(when).timestamp()
    except ValueError:
        return None
