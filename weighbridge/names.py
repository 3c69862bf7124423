"""Names that must be known without importing anything heavy: the built-in checks, in running order."""

from __future__ import annotations

__all__ = ["CHECKS"]

CHECKS = (
    "connection",
    "schema",
    "quality",
    "completeness",
    "volume",
    "freshness",
    "drift",
    "legacy",
    "workbook",
    "limits",
    "operations",
    "load",
    "resilience",
    "edge_cases",
)
"""Cheap ones first, the heavy and the writing last; reports show them in this order too."""
