"""What the formulas of a workbook say: volatile ones, circles, references outside, and their shape in R1C1."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from weighbridge.connectors._workbook_references import End, Named, pieces
from weighbridge.connectors._workbook_xml_text import unescape

__all__ = ["Formulas", "r1c1"]

KEPT = 50_000
"""Formulas of a workbook whose references are followed; beyond that it is said that they were not."""
SHAPED = 50_000
"""Formulas of a sheet whose shape is part of the fingerprint: its first, so that rows added below change nothing."""
MAX_EDGES = 2_000_000
MAX_AREAS = 400_000
"""References that are kept to be followed."""
SEARCHED = 8 << 20
"""Characters of a workbook's formulas whose references are followed, and of those whose shape is taken."""
LONGEST = 16_384
"""Characters of a formula that are searched: twice what Excel takes, for it writes newer functions with a prefix."""
_VOLATILE = re.compile(r"\b(?:NOW|TODAY|RAND|RANDBETWEEN|RANDARRAY|OFFSET|INDIRECT|CELL|INFO)\(", re.IGNORECASE)
_OUTSIDE = re.compile(r"\[\d+\]")
_STRING = re.compile(r'"[^"]*"')
_PLACE_ONLY = re.compile(r"\b(?:ROWS?|COLUMNS?|AREAS|ISREF|ISFORMULA|FORMULATEXT|SHEETS?)\([^()]*\)", re.IGNORECASE)
"""Functions that ask where a reference lies and not what is there."""
_BY_PLACE = re.compile(r"\b(?:[VH]LOOKUP\([^()]*,[^(),]*,\s*\d+\s*[,)]|INDIRECT\(\s*\")", re.IGNORECASE)
MAX_ROW, MAX_COLUMN = 1_048_576, 16_384
Cell = tuple[str, int, int]
Area = tuple[str, int, int, int, int]
"""Sheet, top, left, bottom, right."""


@dataclass(slots=True)
class _Formula:
    row: int
    column: int
    text: str
    """Empty for a cell that shares another cell's formula."""
    shared: str | None


@dataclass(slots=True)
class Formulas:
    """Collects formulas sheet by sheet."""

    sheets: tuple[str, ...] = ()
    """All sheets that formulas may name; those that hold formulas are known anyway."""
    kept: dict[str, list[_Formula]] = field(default_factory=lambda: defaultdict(list))
    count: int = 0
    volatile: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    volatile_count: int = 0
    external: int = 0
    shapes: dict[str, set[str]] = field(default_factory=dict)
    """Per sheet the distinct formulas in R1C1 form, hashed."""
    shaped: dict[str, int] = field(default_factory=dict)
    characters: int = 0
    too_long: int = 0
    """Formulas longer than `LONGEST`: counted, never searched."""
    _areas: dict[Cell, list[Area]] | None = None
    _unfollowed: bool = False

    def add(self, sheet: str, row: int, column: int, attributes: bytes, text: bytes) -> None:
        """One formula cell of the XML."""
        shared = None
        if b't="shared"' in attributes:
            found = re.search(rb'si="(\d+)"', attributes)
            shared = found[1].decode() if found else None
        self.add_text(sheet, row, column, unescape(text) if text else "", shared)

    def add_text(self, sheet: str, row: int, column: int, text: str, shared: str | None = None) -> None:
        """One formula cell; the first of those that share a formula has its text, the others none."""
        self.count += 1
        if len(text) > LONGEST:
            self.too_long += 1
            text = ""
        if text:
            clean = _STRING.sub("", text) if '"' in text else text
            if "(" in clean and _VOLATILE.search(clean):
                self.volatile_count += 1
                if len(self.volatile[sheet]) < 20:
                    self.volatile[sheet].append((row, column))
            if "[" in clean and _OUTSIDE.search(clean):
                self.external += 1
        seen = self.shaped.get(sheet, 0) + 1
        self.shaped[sheet] = seen
        self.characters += len(text)
        if seen <= SHAPED and text and self.characters <= SEARCHED:
            shape = r1c1(text, row, column)
            self.shapes.setdefault(sheet, set()).add(hashlib.sha256(shape.encode()).hexdigest()[:16])
        if self.complete:
            self.kept[sheet].append(_Formula(row, column, text, shared))

    @property
    def complete(self) -> bool:
        return self.count <= KEPT and self.characters <= SEARCHED and not self._unfollowed

    # --- circles -------------------------------------------------------------------------------------------

    def areas(self, names: Mapping[str, str]) -> dict[Cell, list[Area]]:
        """The rectangles that each formula cell refers to; `names` is what the workbook's defined names refer to."""
        if self._areas is None:
            self._areas = {}
            follow = _Areas({sheet.casefold(): sheet for sheet in (*self.sheets, *self.kept)}, names)
            count = 0
            for sheet, formulas in self.kept.items():
                masters: dict[str, _Formula] = {}
                for one in formulas:
                    if count > MAX_AREAS:
                        self._unfollowed = True
                        break
                    text, d_row, d_column = one.text, 0, 0
                    if one.shared is not None and one.text:
                        masters[one.shared] = one
                    elif one.shared is not None and (master := masters.get(one.shared)):
                        text, d_row, d_column = master.text, one.row - master.row, one.column - master.column
                    found = follow(text, sheet, d_row, d_column)
                    count += len(found)
                    self._areas[sheet, one.row, one.column] = found
        return self._areas

    def by_place(self) -> list[Cell]:
        """Formulas that ask for a column by its number or for a cell by its name as a text."""
        return [
            (sheet, one.row, one.column)
            for sheet, formulas in self.kept.items()
            for one in formulas
            if "(" in one.text and _BY_PLACE.search(one.text)
        ]

    def circles(self, names: Mapping[str, str] | None = None) -> tuple[list[Cell], str]:
        """Cells that depend on themselves, and which formulas were not followed (empty: all were)."""
        cells = self.areas(names or {})
        by_column: dict[tuple[str, int], list[int]] = defaultdict(list)
        for sheet, row, column in cells:
            by_column[sheet, column].append(row)
        for rows in by_column.values():
            rows.sort()
        filled: dict[str, list[int]] = defaultdict(list)
        for sheet, column in by_column:
            filled[sheet].append(column)
        edges = 0
        graph: dict[Cell, list[Cell]] = {}
        for cell, areas in cells.items():
            targets: list[Cell] = []
            for sheet, top, left, bottom, right in areas:
                for column in filled.get(sheet, ()) if right - left > 50 else range(left, right + 1):
                    rows = by_column.get((sheet, column)) if left <= column <= right else None
                    if rows:
                        low, high = bisect_left(rows, top), bisect_right(rows, bottom)
                        targets.extend((sheet, row, column) for row in rows[low:high])
                edges += len(targets)
                if edges > MAX_EDGES:
                    return [], f"circular references: the formulas refer to each other more than {MAX_EDGES:,} times"
            graph[cell] = targets
        rest = f"circular references beyond the first {len(cells):,} formulas"
        return _on_circles(graph), "" if self.complete else rest


class _Areas:
    """The rectangles that a formula refers to: by cells, whole rows or columns, and names."""

    def __init__(self, sheets: Mapping[str, str], names: Mapping[str, str]) -> None:
        self.sheets = sheets
        self.names = {name.casefold(): text for name, text in names.items()}
        self.named: dict[str, list[Area]] = {}

    def __call__(self, text: str, sheet: str, d_row: int = 0, d_column: int = 0) -> list[Area]:
        if "(" in text:
            text = _PLACE_ONLY.sub(_spaces, text)
        out: list[Area] = []
        for one in pieces(text):
            if isinstance(one, Named):
                out += self._name(one.name.casefold(), sheet) if self.names else ()
                continue
            rows, columns = [1, MAX_ROW], [1, MAX_COLUMN]
            if one.first.row:
                rows = [end.row + (0 if end.fixed_row else d_row) for end in (one.first, one.last)]
            if one.first.column:
                columns = [end.column + (0 if end.fixed_column else d_column) for end in (one.first, one.last)]
            out += self._area(one.sheet, sheet, (rows[0], columns[0], rows[1], columns[1]))
        return out

    def _area(self, prefix: str, sheet: str, corners: tuple[int, int, int, int]) -> Iterator[Area]:
        row, column, row2, column2 = corners
        if prefix:
            name = self.sheets.get(prefix.strip("'").replace("''", "'").casefold())
            if name is None:
                return
            sheet = name
        yield sheet, min(row, row2), min(column, column2), max(row, row2), max(column, column2)

    def _name(self, word: str, sheet: str) -> list[Area]:
        text = self.names.get(word)
        if text is None:
            return []
        if word not in self.named:
            self.named[word] = []  # a name that leads to itself ends here
            self.named[word] = self(text.lstrip("="), sheet)
        return self.named[word]


def _spaces(found: re.Match[str]) -> str:
    return " " * len(found[0])


def r1c1(text: str, row: int, column: int) -> str:
    """A formula with its references relative to its own cell, so that a filled-down column has one form."""
    text = text.replace("_xlfn.", "").replace("_xlws.", "")  # marks of newer functions, which not every program writes
    out, last = [], 0
    for one in pieces(text):
        if isinstance(one, Named) or not (one.first.row and one.first.column):
            continue
        out.append(text[last : one.begin])
        out.append(_one(one.first, row, column))
        if one.is_range:
            out.append(":" + _one(one.last, row, column))
        last = one.end
    out.append(text[last:])
    return "".join(out)


def _one(end: End, row: int, column: int) -> str:
    r = f"R{end.row}" if end.fixed_row else f"R[{end.row - row}]"
    return r + (f"C{end.column}" if end.fixed_column else f"C[{end.column - column}]")


def _on_circles(graph: dict[Cell, list[Cell]]) -> list[Cell]:
    """Cells in a strongly connected part of more than one cell, or that refer to themselves (Tarjan, iterative)."""
    index: dict[Cell, int] = {}
    low: dict[Cell, int] = {}
    on_stack: set[Cell] = set()
    stack: list[Cell] = []
    found: list[Cell] = []
    for root in graph:
        if root in index:
            continue
        work = [(root, 0)]
        while work:
            cell, step = work.pop()
            if step == 0:
                index[cell] = low[cell] = len(index)
                stack.append(cell)
                on_stack.add(cell)
            targets = graph[cell]
            deeper = False
            while step < len(targets):
                target = targets[step]
                step += 1
                if target not in index:
                    work.append((cell, step))
                    work.append((target, 0))
                    deeper = True
                    break
                if target in on_stack:
                    low[cell] = min(low[cell], index[target])
            if deeper:
                continue
            if low[cell] == index[cell]:
                group = []
                while True:
                    top = stack.pop()
                    on_stack.discard(top)
                    group.append(top)
                    if top == cell:
                        break
                if len(group) > 1 or cell in graph[cell]:
                    found.extend(group)
            if work:
                parent = work[-1][0]
                low[parent] = min(low[parent], low[cell])
    return sorted(found)
