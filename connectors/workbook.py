"""Finds every hazard of a workbook file, without a contract and without opening it in Excel.

`inspect_workbook` never raises for what is wrong with the file: a damaged, encrypted or hostile one is a report with
that finding. It raises `FileError` only where the file cannot be got at (missing, not readable).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weighbridge.connectors._workbook_codes import HAZARDS, Level
from weighbridge.connectors._workbook_package import WorkbookProblem

__all__ = ["HAZARDS", "UNREADABLE", "Hazard", "WorkbookReport", "inspect_workbook", "sheets_of", "structure_changes"]

MAX_PLACES = 20
UNREADABLE = frozenset({"encrypted", "malformed", "hostile"})
"""Codes of a file whose cells could not be looked at."""


@dataclass(frozen=True, slots=True)
class Hazard:
    """One hazard with where it is: `places` are `Sheet!A1` or names, at most 20 of `count`."""

    code: str
    count: int
    severity: Level
    places: tuple[str, ...]
    message: str
    remedy: str
    details: Mapping[str, Any] | None = None
    by_sheet: Mapping[str, int] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As in the JSON of `weighbridge inspect`."""
        out: dict[str, Any] = {
            "code": f"workbook.{self.code}",
            "count": self.count,
            "severity": self.severity,
            "places": list(self.places),
            "message": self.message,
            "remedy": self.remedy,
        }
        if self.details is not None:
            out["details"] = dict(self.details)
        return out


@dataclass(slots=True)
class WorkbookReport:
    """What was found in one file, and what was not looked at."""

    file: str
    format: str
    sheets: list[dict[str, Any]] = field(default_factory=list)
    hazards: list[Hazard] = field(default_factory=list)
    not_looked_at: list[str] = field(default_factory=list)
    fingerprint: dict[str, Any] = field(default_factory=dict)
    """The structure: sheets, tables, names, headers, formula shapes, macros; for comparing two runs."""

    in_words: dict[str, list[str]] = field(default_factory=dict)
    """What `feeds` the workbook, what is `fed` by it, and what `breaks` when a row or a column is added."""

    @property
    def worst(self) -> Level | None:
        levels = {h.severity for h in self.hazards}
        order: tuple[Level, ...] = ("break", "warn", "info")
        return next((level for level in order if level in levels), None)

    @property
    def readable(self) -> bool:
        return not any(h.code in UNREADABLE for h in self.hazards if h.severity == "break")

    def add(
        self,
        code: str,
        count: int,
        places: list[str],
        message: str,
        *,
        severity: Level | None = None,
        details: Mapping[str, Any] | None = None,
        by_sheet: Mapping[str, int] | None = None,
    ) -> None:
        level, remedy = HAZARDS[code]
        shown = tuple(places[:MAX_PLACES])
        self.hazards.append(Hazard(code, count, severity or level, shown, message, remedy, details, by_sheet or {}))

    def plain(self) -> dict[str, Any]:
        """The JSON of `weighbridge inspect`: worst first, then by code."""
        order = {"break": 0, "warn": 1, "info": 2}
        findings = sorted(self.hazards, key=lambda h: (order[h.severity], h.code))
        out: dict[str, Any] = {
            "file": self.file,
            "format": self.format,
            "sheets": self.sheets,
            "findings": [h.plain() for h in findings],
        }
        if any(self.in_words.values()):
            out["in_words"] = self.in_words
        if self.not_looked_at:
            out["not_looked_at"] = self.not_looked_at
        return out


def sheets_of(path: Path, address: str, password: str | None = None) -> set[str]:
    """Names of the sheets that an object's address means; empty where the file has no such object or is unreadable."""
    from weighbridge.connectors._workbook_book import Book
    from weighbridge.connectors._workbook_table import regions
    from weighbridge.connectors.errors import FileError, MissingObjectError

    try:
        return {region.sheet.name for region in regions(Book(path, password), address)}
    except (MissingObjectError, FileError):
        return set()


def structure_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What differs between the fingerprints of two reports, one sentence each."""
    from weighbridge.connectors._workbook_fingerprint import changes

    return changes(before, now)


def inspect_workbook(path: Path, password: str | None = None) -> WorkbookReport:
    """Look for every hazard. Raises `FileError` where the file is missing or may not be read."""
    from weighbridge.connectors._workbook_book import Book, lock_owner  # numpy: paid for by those who look

    report = WorkbookReport(str(path), "unknown")
    try:
        book = Book(path, password)
        report.format = book.format
        from weighbridge.connectors._workbook_hazards import find_hazards

        find_hazards(book, report)
    except WorkbookProblem as problem:
        report.add(problem.code, 1, [path.name], problem.message)
        report.not_looked_at.append("the inside of the file, which could not be read")
    owner = lock_owner(path)
    if owner and not any(h.code == "locked" for h in report.hazards):
        report.add(
            "locked",
            1,
            [path.name],
            f"{path.name} is open: {owner} holds it. Excel lets one person write at a time; everybody else gets a "
            "read-only copy, and what they save becomes a second version.",
        )
    return report
