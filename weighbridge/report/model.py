"""The report as plain values: what `report.json` holds, and how it is read back.

The fields mirror the JSON one to one. Lists of limits, findings, rules and forecasts are plain dictionaries, made by
`finding_dict`, `rule_dict`, `forecast_dict` and `limit_dict`; nothing in a report is a live object.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from importlib.resources import files
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, SecretBytes, SecretStr

from weighbridge.errors import UsageProblem

if TYPE_CHECKING:
    from weighbridge.checks.base import Code, Finding, Forecast, RuleResult
    from weighbridge.connectors.base import Limit

__all__ = [
    "SCHEMA_VERSION",
    "CheckReport",
    "OverallVerdict",
    "PointReport",
    "Report",
    "RunInfo",
    "SystemReport",
    "Target",
    "finding_dict",
    "forecast_dict",
    "limit_dict",
    "plain",
    "rule_dict",
    "schema",
    "validate",
]

SCHEMA_VERSION = 1
"""Raised only when an old reader would misread a new report; new keys alone do not raise it."""

T = TypeVar("T")
MASK = "**********"
Row = dict[str, Any]


def plain(value: Any) -> Any:  # noqa: C901 - a flat list of types reads best
    """The value as JSON can hold it: NaN and infinities null, dates ISO 8601, a secret only ever a mask."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (SecretStr, SecretBytes)):
        return MASK
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, str):
        # A lone surrogate is no Unicode text and cannot be written; shown as its escape.
        return str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "0x" + bytes(value).hex()
    if isinstance(value, (PurePath, UUID)):
        return str(value)
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(plain(k)): plain(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((plain(v) for v in value), key=repr)
    if isinstance(value, Sequence):
        return [plain(v) for v in value]
    to_list = getattr(value, "tolist", None)  # NumPy, scalars and arrays alike
    if callable(to_list):
        return plain(to_list())
    return plain(str(value))


def _decimal(value: Decimal) -> Any:
    if not value.is_finite():
        return None
    if value == value.to_integral_value() and abs(value) < 2**53:
        return int(value)
    near = float(value)
    # A decimal that a double cannot hold keeps its digits as text: money is never rounded by a report.
    return near if Decimal(repr(near)) == value else str(value)


def finding_dict(finding: Finding, code: Code, *, retest: str = "") -> Row:
    """One finding as the report holds it; `code` gives severity and remedy where the finding leaves them open."""
    return {
        "code": finding.code,
        "severity": plain(finding.severity or code.severity),
        "message": plain(finding.message),
        "expected": plain(finding.expected),
        "observed": plain(finding.observed),
        "evidence": plain(finding.evidence),
        "business_effect": plain(finding.business_effect),
        "remedy": plain(code.remedy if finding.remedy is None else finding.remedy),
        "retest": retest,
    }


def rule_dict(rule: RuleResult) -> Row:
    """What became of one promise, as the report holds it."""
    return plain(rule)


def forecast_dict(forecast: Forecast) -> Row:
    """One forecast as the report holds it."""
    return plain(forecast)


def limit_dict(limit: Limit) -> Row:
    """One limit as the report holds it."""
    return plain(limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """When, where and under which permission the run looked."""

    id: str
    started: str
    finished: str = ""
    environment: str = "staging"
    partial: bool = False
    selected_checks: list[str] | None = None
    """None is a whole run; a list is a run of these checks only."""
    rung: int = 0
    """Highest rung of the permission ladder that any system allowed: 0 metadata, ..., 4 writes."""
    versions: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    calls: dict[str, int] = field(default_factory=dict)
    practice: bool = False
    """The systems are practice systems: every rendering carries a banner."""
    project: str = ""
    evidence_from: str | None = None
    """Time of the oldest evidence used; None where it is the run's own."""
    required_checks: list[str] = field(default_factory=list)
    command: str = ""
    """The command line that repeats this run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What production asks of the whole."""

    pilot_users: int
    production_users: int
    headroom: float = 1.2
    horizon_months: int = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class OverallVerdict:
    """The answer: a status, the number it rests on, and the sentence that says it."""

    status: str
    safe_users: float | None = None
    at_least: float | None = None
    limiting_point: str | None = None
    sentence: str = ""
    """For a finance director."""
    engineer: str = ""
    """The same in figures, for an engineer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemReport:
    """One system: status, its limits, whom to call."""

    id: str
    status: str
    limits: list[Row] = field(default_factory=list)
    connector: str = ""
    product: str = ""
    owner: str = ""
    deputy: str = ""
    business_owner: str = ""
    runbook: str = ""
    rung: int = 0
    error: str | None = None
    """Why the system could not be looked at, where that is so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What one check of one point came to."""

    check: str
    status: str
    reason: str | None = None
    error: str | None = None
    remedy: str | None = None
    """What to do about `error`."""
    message: str | None = None
    """The reason in words, for a skipped check."""
    seconds: float = 0.0
    calls: int = 0
    rules: list[Row] = field(default_factory=list)
    findings: list[Row] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class PointReport:
    """One integration point: its verdict and everything the verdict rests on."""

    id: str
    system: str
    connector: str
    object: str
    contract: str
    status: str
    owner: str = ""
    environment: str = "staging"
    rows: Row = field(default_factory=lambda: {"counted": None, "exact": False, "read": None})
    demand: Row = field(default_factory=dict)
    load: Row = field(default_factory=lambda: {"levels": [], "bursts": [], "audit": {}})
    forecast: list[Row] = field(default_factory=list)
    checks: list[CheckReport] = field(default_factory=list)
    safe_users: float | None = None
    at_least: float | None = None
    reason: str = ""
    """Why this status, in one sentence."""
    scale: Row = field(default_factory=dict)
    """The point's Scale as plain values, `weights` (24 shares) included."""
    measurements: Row = field(default_factory=dict)
    """Measurements by name other than `load`."""
    filter: str | None = None
    retest: str = ""
    writes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole; `to_json` writes it, `from_json` reads it back."""

    run: RunInfo
    target: Target
    verdict: OverallVerdict
    systems: list[SystemReport] = field(default_factory=list)
    points: list[PointReport] = field(default_factory=list)
    not_tested: list[Row] = field(default_factory=list)
    """`{"point", "check", "rule", "reason", "message"}`."""
    waivers: list[Row] = field(default_factory=list)
    """`{"point", "check", "code", "approver", "expires", "reason"}`."""
    assumptions: list[str] = field(default_factory=list)
    changes: dict[str, list[Row]] = field(default_factory=lambda: {"new": [], "fixed": [], "still": []})
    """Against the run before: `{"point", "check", "code", "message"}` each."""
    trend: list[Row] = field(default_factory=list)
    """Earlier runs, oldest first: `{"run", "at", "status", "safe_users"}`."""
    schema_version: int = SCHEMA_VERSION

    def to_dict(self) -> Row:
        """The report as plain data, `schema_version` first."""
        body = plain(self)
        return {"schema_version": body.pop("schema_version"), **body}

    def to_json(self) -> str:
        """The report as JSON text; the same report always gives the same text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, source: str = "report.json") -> Report:
        """Read a report; raises UsageProblem for what is no report or a newer one. Unknown keys are passed over."""
        try:
            body = json.loads(text)
        except ValueError as error:
            raise UsageProblem(f"{source} is not JSON ({error}); run `weighbridge run` again.") from None
        return cls.from_dict(body, source=source)

    @classmethod
    def from_dict(cls, body: Any, *, source: str = "report.json") -> Report:
        """Read a report from plain data; see `from_json`."""
        version = body.get("schema_version") if isinstance(body, dict) else None
        if not isinstance(version, int):
            raise UsageProblem(f"{source} has no schema_version: it is not a report of weighbridge.")
        if version > SCHEMA_VERSION:
            raise UsageProblem(
                f"{source} has schema_version {version}, this version reads up to {SCHEMA_VERSION}: "
                "upgrade weighbridge to read it."
            )
        try:
            points = [
                _build(PointReport, {**row, "checks": [_build(CheckReport, c) for c in row.get("checks", ())]})
                for row in body["points"]
            ]
            parts = {
                "run": _build(RunInfo, body["run"]),
                "target": _build(Target, body["target"]),
                "verdict": _build(OverallVerdict, body["verdict"]),
                "systems": [_build(SystemReport, row) for row in body["systems"]],
                "points": points,
            }
            return _build(cls, {**body, **parts})
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageProblem(f"{source} is not a whole report: {error!s}.") from None

    def point(self, name: str) -> PointReport | None:
        return next((p for p in self.points if p.id == name), None)


def _build(kind: type[T], row: Mapping[str, Any]) -> T:
    known = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]  # only dataclasses are passed
    return kind(**{k: v for k, v in row.items() if k in known})


@cache
def schema() -> Row:
    """The shipped JSON Schema of `report.json`."""
    return json.loads(files("weighbridge.report").joinpath("report.schema.json").read_text(encoding="utf-8"))


def validate(body: Any) -> list[str]:
    """What in `body` is against the schema, one line each with its place; empty when all is well."""
    from jsonschema import Draft202012Validator

    found = Draft202012Validator(schema()).iter_errors(body)
    return [f"{e.json_path}: {e.message}" for e in sorted(found, key=lambda e: e.json_path)]
