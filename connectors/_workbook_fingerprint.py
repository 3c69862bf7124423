"""The structure of a workbook as data that two runs can compare, and what differs between two of them in words.

Sheets and their order, headers, tables, names, formulas in R1C1 form, macros. Values are no part of it, and neither are
rows added under a formula that is filled down.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from weighbridge.connectors._workbook_book import Book
from weighbridge.connectors._workbook_formulas import Formulas
from weighbridge.connectors._workbook_looked import Looked
from weighbridge.connectors._workbook_scan import TEXT

__all__ = ["changes", "fingerprint"]


def fingerprint(book: Book, looked: list[Looked], formulas: Formulas, macros: str | None) -> dict[str, Any]:
    """Plain data with a digest of all of it; `macros` is the hash of the macros' text."""
    shapes = {sheet: {"shapes": len(found), "digest": _hash(sorted(found))} for sheet, found in formulas.shapes.items()}
    # what programs keep under names of their own (print areas, filters) grows with the rows
    named = [n for n in book.parts.names if not n.hidden and not n.name.startswith("_xlnm.")]
    structure: dict[str, Any] = {
        "sheets": {s.name: s.state for s in book.parts.sheets},
        "order": [s.name for s in book.parts.sheets],
        "headers": {one.sheet.name: labels for one in looked if (labels := _labels(one))},
        "tables": {t.name: list(t.columns) for t in book.parts.tables},
        "names": {f"{n.sheet}!{n.name}" if n.sheet else n.name: n.refers_to for n in named},
        "formulas": shapes,
        "macros": macros,
    }
    return {"digest": _hash(structure), **structure}


def _hash(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def _labels(one: Looked) -> list[str]:
    """The header's texts; its numbers too (years) where it is a row of texts, but not where it may be a row of data."""
    texts = {c for c in one.labels if one.header_kinds.get(c) == TEXT}
    whole = len(texts) >= 0.8 * len(one.labels)
    return [one.labels[c] for c in sorted(one.labels) if whole or c in texts]


# --- what differs ----------------------------------------------------------------------------------------------


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two fingerprints, one sentence each; a sheet that is new or gone is told once."""
    if before.get("digest") == now.get("digest"):
        return
    renamed = dict(_renamed(before, now))
    for old, new in renamed.items():
        yield f"sheet {old} is now called {new}"
    yield from _appeared("sheet", before["sheets"], now["sheets"], renamed)
    pairs: list[tuple[str, str]] = [
        (s, renamed.get(s) or s) for s in before["sheets"] if (renamed.get(s) or s) in now["sheets"]
    ]
    yield from _order(before, now, pairs)
    for old, new in pairs:
        yield from _sheet(before, now, old, new)
    yield from _appeared("table", before["tables"], now["tables"])
    for name in sorted(set(before["tables"]) & set(now["tables"])):
        if before["tables"][name] != now["tables"][name]:
            yield f"table {name}: {_listed(before['tables'][name], now['tables'][name])}"
    yield from _appeared("name", before["names"], now["names"])
    for name in sorted(set(before["names"]) & set(now["names"])):
        if before["names"][name] != now["names"][name]:
            yield f"name {name} refers to {now['names'][name]}, before to {before['names'][name]}"
    if before.get("macros") != now.get("macros"):
        what = "are new" if not before.get("macros") else "changed" if now.get("macros") else "are gone"
        yield f"the macros {what}"


def _appeared(
    word: str, before: Mapping[str, Any], now: Mapping[str, Any], renamed: Mapping[str, str] | None = None
) -> Iterator[str]:
    skip = {*(renamed or {}), *(renamed or {}).values()}
    for gone in sorted(set(before) - set(now) - skip):
        yield f"{word} {gone} is gone"
    for added in sorted(set(now) - set(before) - skip):
        yield f"{word} {added} is new"


def _renamed(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Sheets that went and came with the same headers and formulas, where there is no doubt which became which."""
    gone = [s for s in before["sheets"] if s not in now["sheets"]]
    new = [s for s in now["sheets"] if s not in before["sheets"]]

    def build(structure: Mapping[str, Any], sheet: str) -> Any:
        return structure["headers"].get(sheet), structure["formulas"].get(sheet), structure["sheets"][sheet]

    for old in gone:
        mine = build(before, old)
        if sum(build(before, s) == mine for s in gone) > 1 or mine[:2] == (None, None):
            continue
        same = [s for s in new if build(now, s) == mine]
        if len(same) == 1:
            yield old, same[0]


def _order(before: Mapping[str, Any], now: Mapping[str, Any], pairs: list[tuple[str, str]]) -> Iterator[str]:
    known = dict(pairs)
    was = [known[s] for s in before.get("order") or () if s in known]
    is_now = [s for s in now.get("order") or () if s in set(known.values())]
    if was and is_now and was != is_now:
        yield f"the sheets stand in another order: {', '.join(is_now[:10])}"


def _sheet(before: Mapping[str, Any], now: Mapping[str, Any], old: str, new: str) -> Iterator[str]:
    words = {"visible": "visible", "hidden": "hidden", "veryHidden": "hidden so that the Unhide menu does not list it"}
    was, is_now = before["sheets"][old], now["sheets"][new]
    if was != is_now:
        yield f"sheet {new} is {words.get(is_now, is_now)}, before {words.get(was, was)}"
    was, is_now = before["headers"].get(old) or [], now["headers"].get(new) or []
    if was != is_now:
        yield f"headers of {new}: {_listed(was, is_now)}"
    was, is_now = before["formulas"].get(old), now["formulas"].get(new)
    if was != is_now:
        if was and is_now:
            yield f"formulas of {new} changed ({is_now['shapes']} different ones, {was['shapes']} before)"
        else:
            yield f"formulas of {new} are {'new' if is_now else 'gone'}"


def _listed(old: list[str], new: list[str]) -> str:
    gone = [h for h in old if h not in new]
    added = [h for h in new if h not in old]
    if not gone and not added:
        return "in another order" if sorted(old) == sorted(new) else "another number of the same ones"
    parts = [f"gone {', '.join(gone)}" if gone else "", f"new {', '.join(added)}" if added else ""]
    return ", ".join(p for p in parts if p)
