"""The report: one JSON structure that is the truth, and the writers that render it."""

from __future__ import annotations

from weighbridge.report.model import (
    SCHEMA_VERSION,
    CheckReport,
    OverallVerdict,
    PointReport,
    Report,
    RunInfo,
    SystemReport,
    Target,
    finding_dict,
    forecast_dict,
    limit_dict,
    plain,
    rule_dict,
)
from weighbridge.report.writers import FORMATS, prepare_folder, write_reports

__all__ = [
    "FORMATS",
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
    "prepare_folder",
    "rule_dict",
    "write_reports",
]
