"""What is wrong with the workbook itself, whatever its numbers say: macros, links, errors, locks, layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from weighbridge.checks.base import (
    Code,
    Context,
    Cost,
    Evidence,
    Finding,
    Inconclusive,
    Measurement,
    NotRun,
    Result,
    Severity,
)
from weighbridge.connectors.base import Files
from weighbridge.connectors.workbook import (
    HAZARDS,
    MAX_PLACES,
    Hazard,
    WorkbookReport,
    inspect_workbook,
    sheets_of,
    structure_changes,
)
from weighbridge.contracts.models import IntegrationPoint

__all__ = ["WorkbookCheck"]

_EFFECTS = {
    "macros": "Part of the process lives in a program that nobody tests and that runs only where Excel runs.",
    "xlm_macros": "The step that these macros did silently no longer happens.",
    "external_links": "Numbers go stale when the other file moves, and nobody is told.",
    "connections": "Numbers are as old as the last refresh by hand.",
    "error_cells": "Rows go missing from totals and from whatever reads the sheet.",
    "uncached_formulas": "The reader sees blanks where people see numbers.",
    "circular_references": "The total shown is wrong.",
    "merged_cells": "Rows below the first of a merge lose their value when read.",
    "date1904": "Dates are four years off after a copy into another workbook.",
    "numbers_as_text": "Sums leave these amounts out.",
    "dates_as_text": "The third of April becomes the fourth of March.",
    "long_numbers": "Account and card numbers end in zeros that were other digits.",
    "row_ceiling": "New rows are cut off without a message.",
    "hostile": "Opening the file can stop a server.",
}


class WorkbookCheck:
    """Looks at the workbook package itself and reports every hazard with sheet and cell.

    The cells are only half of a workbook: macros, links, hidden sheets, cached values and formats decide whether the
    numbers read are the numbers meant. All are read from the file's own XML or records, without Excel. Error cells,
    formulas that were never calculated and mixed columns break a point only on its own sheets; elsewhere they are
    told as information. The structure (sheets, tables, names, headers, formulas, macros) is compared with the last
    accepted run.

    Breaks in production
        A workbook has one writer at a time: with ten users somebody waits, with five hundred most of those who want
        to write get a read-only copy, save it under another name, and then there are two truths. A macro of 2015 that
        names `Range("A1:F200")` drops row 201 without a word. A cell that shows #N/A arrives as blank. A link to
        a colleague's drive keeps the value of the day it broke.

    Fix
        Move what many write into a system with transactions and let the workbook read it. List what macros and links
        feed, and give each an owner. Mend errors at their source, write values instead of uncalculated formulas, make
        the data a table (Ctrl+T) so that rows added are part of it, and unhide what counts.
    """

    name: ClassVar[str] = "workbook"
    needs: ClassVar[tuple[str, ...]] = ()
    facets: ClassVar[tuple[type, ...]] = (Files,)
    cost: ClassVar[Cost] = "read"
    codes: ClassVar[tuple[Code, ...]] = (
        *(Code(f"workbook.{name}", Severity(level), remedy) for name, (level, remedy) in HAZARDS.items()),
        Code(
            "workbook.structure_changed",
            Severity.WARN,
            "Ask who changed the workbook and why; adapt the contract, then accept the run as the new baseline.",
        ),
    )

    def __call__(self, point: IntegrationPoint, evidence: Evidence, context: Context) -> Iterable[Result]:
        del evidence  # the file itself is the evidence
        files = context.connector().facet(Files)
        if files is None:
            raise NotRun("not_applicable", "the system is not made of files")
        password = files.file_password()
        reports: list[WorkbookReport] = []
        own: dict[str, set[str]] = {}
        for path in files.paths():
            context.progress(f"{point.id}: looking into {path.name}")
            reports.append(inspect_workbook(path, password))
            own[str(path)] = sheets_of(path, point.object.physical_name, password)
        if not reports:
            raise Inconclusive(f"{point.id}: there is no workbook.", remedy="Check path or glob of the system.")
        for code in HAZARDS:
            found = [(r, h) for r in reports for h in r.hazards if h.code == code]
            if found:
                yield _finding(point, code, found, own, len(reports))
        structure = {_short(r): r.fingerprint for r in reports if r.fingerprint}
        unseen = sorted({note for r in reports for note in r.not_looked_at})
        yield Measurement("workbook", {"files": len(reports), "structure": structure, "not_looked_at": unseen})
        yield from _changes(point, structure, context.previous)


def _short(report: WorkbookReport) -> str:
    return report.file.replace("\\", "/").rsplit("/", 1)[-1]


def _finding(
    point: IntegrationPoint,
    code: str,
    found: list[tuple[WorkbookReport, Hazard]],
    own: Mapping[str, set[str]],
    files: int,
) -> Finding:
    count = sum(h.count for _, h in found)
    prefix = files > 1
    places = [f"{_short(r)}: {p}" if prefix else p for r, h in found for p in h.places][:MAX_PLACES]
    texts = [f"{_short(r)}: {h.message}" for r, h in found]
    message = " ".join(texts[:3]) + (f" And {len(texts) - 3} more files." if len(texts) > 3 else "")
    order = ("info", "warn", "break")
    severity = max((_severity(r, h, own) for r, h in found), key=order.index)
    if severity == "info" and any(h.severity != "info" for _, h in found):
        message += f" None of them is on the sheets of {point.object.name}."
    evidence: dict[str, Any] = {"places": places, "count": count}
    details = [h.details for _, h in found if h.details]
    if details:
        evidence["details"] = details[0] if len(details) == 1 else {"files": details}
    return Finding(
        f"workbook.{code}",
        message,
        expected=0,
        observed=count,
        evidence=evidence,
        business_effect=_effect(point, code),
        severity=Severity(severity),
    )


def _severity(report: WorkbookReport, hazard: Hazard, own: Mapping[str, set[str]]) -> str:
    """A hazard of cells counts in full only where the point's own rows are."""
    mine = own.get(report.file) or set()
    if hazard.by_sheet and mine and not mine & set(hazard.by_sheet):
        return "info"
    return hazard.severity


def _effect(point: IntegrationPoint, code: str) -> str:
    if code == "locked":
        users = point.scale.production_users
        return (
            f"Excel lets one person write at a time. At {users} users everybody but one gets a read-only copy, "
            "and what they save becomes a second version of the truth."
        )
    return _EFFECTS.get(code, "")


# --- structure -------------------------------------------------------------------------------------------------


def _changes(point: IntegrationPoint, now: Mapping[str, Any], previous: Mapping[str, Any] | None) -> Iterator[Finding]:
    before = ((previous or {}).get("workbook") or {}).get("structure")
    if not before:
        return
    changes: list[str] = []
    for file in sorted(set(before) & set(now)):
        changes += [f"{file}: {text}" for text in structure_changes(before[file], now[file])]
    if changes:
        yield Finding(
            "workbook.structure_changed",
            f"{point.id}: the workbook is not built as in the last accepted run: {'; '.join(changes[:5])}"
            f"{f' and {len(changes) - 5} more' if len(changes) > 5 else ''}.",
            expected="the same sheets, tables, names, headers, formulas and macros",
            observed=changes[:MAX_PLACES],
            evidence={"changes": changes[:200]},
            business_effect="Whatever reads by position or by name may read something else from today on.",
        )
