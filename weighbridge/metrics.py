"""A report as gauges, and as Prometheus text for node_exporter's textfile collector or a Pushgateway."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from weighbridge.errors import DeliveryProblem
from weighbridge.report.model import Report

__all__ = ["Gauge", "gauges", "push", "text"]

_STATUSES = ("READY", "AT_RISK", "BREAKS", "UNKNOWN", "HOLDS", "BROKEN")
PUSH_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Gauge:
    """One figure of a run, for each set of labels."""

    name: str
    says: str
    rows: tuple[tuple[Mapping[str, str], float], ...]


def gauges(report: Report) -> Iterator[Gauge]:
    """Everything that is told of one run; a figure that is not known has no row, a gauge without rows is left out."""
    for name, says, rows in _gauges(report):
        known = tuple((labels, float(figure)) for labels, figure in rows if figure is not None)
        if known:
            yield Gauge(name, says, known)


def _gauges(report: Report) -> Iterator[tuple[str, str, Iterable[tuple[Mapping[str, str], float | None]]]]:
    run = report.run
    env = {"environment": run.environment}
    yield "run_finished_timestamp_seconds", "When the run ended.", [(env, _seconds(run.finished))]
    started, finished = _seconds(run.started), _seconds(run.finished)
    took = finished - started if started is not None and finished is not None else None
    yield "run_duration_seconds", "How long the run took.", [(env, took)]
    yield "run_partial", "1 when the run was interrupted.", [(env, float(run.partial))]
    yield (
        "verdict",
        "1 for the status of the whole, 0 for the others.",
        [({**env, "status": s}, float(report.verdict.status == s)) for s in _STATUSES],
    )
    yield "target_users", "Users that production asks for.", [(env, report.target.production_users)]
    yield "safe_users", "Users at which the weakest point reaches its limit.", [(env, report.verdict.safe_users)]
    points = [({**env, "point": p.id, "system": p.system}, p) for p in report.points]
    yield "point_status", "1 for the point's status.", [({**labels, "status": p.status}, 1.0) for labels, p in points]
    yield (
        "point_safe_users",
        "Users at which the point reaches its limit.",
        [(labels, p.safe_users) for labels, p in points],
    )
    yield "point_rows", "Rows counted at the source.", [(labels, p.rows.get("counted")) for labels, p in points]
    yield (
        "check_status",
        "1 for what the check of the point came to.",
        [({**labels, "check": c.check, "status": c.status}, 1.0) for labels, p in points for c in p.checks],
    )
    findings = [f for p in report.points for c in p.checks for f in c.findings]
    yield (
        "findings",
        "Findings by severity.",
        [({**env, "severity": s}, float(sum(f["severity"] == s for f in findings))) for s in ("info", "warn", "break")],
    )
    yield "calls", "Calls sent to the system in this run.", [({**env, "system": s}, n) for s, n in run.calls.items()]
    changed = [({**env, "kind": kind}, float(len(rows))) for kind, rows in report.changes.items()]
    yield "changes", "Troubles new, fixed and still there against the runs before.", changed


def text(report: Report) -> str:
    """All gauges of one run in the text exposition format."""
    lines: list[str] = []
    for gauge in gauges(report):
        lines.append(f"# HELP weighbridge_{gauge.name} {gauge.says}")
        lines.append(f"# TYPE weighbridge_{gauge.name} gauge")
        lines.extend(f"weighbridge_{gauge.name}{_labels(labels)} {figure:.15g}" for labels, figure in gauge.rows)
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
