"""What the formulas of a workbook say: volatile ones, circles, references outside, and their shape in R1C1."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, field

from weighbridge.connectors._workbook_cells import column_number, unescape

__all__ = ["Formulas", "r1c1"]

KEPT = 50_000
"""Formulas of a workbook whose references are followed; beyond that it is said that they were not."""
MAX_EDGES = 2_000_000
_VOLATILE = re.compile(rb"\b(?:NOW|TODAY|RAND|RANDBETWEEN|RANDARRAY|OFFSET|INDIRECT|CELL|INFO)\(", re.IGNORECASE)
_STRING = re.compile(r'"(?:[^"]|"")*"')
_REFERENCE = re.compile(
    r"(?P<sheet>(?:'(?:[^']|'')+'|[\w.\[\]]+)!)?"
    r"(?P<ca>\$?)(?P<c>[A-Za-z]{1,3})(?P<ra>\$?)(?P<r>\d{1,7})"
    r"(?::(?P<ca2>\$?)(?P<c2>[A-Za-z]{1,3})(?P<ra2>\$?)(?P<r2>\d{1,7}))?"
    r"(?![\w(!.])"
)
_BEFORE = re.compile(r"[\w.$]$")
Cell = tuple[str, int, int]


@dataclass(slots=True)
class _Formula:
    row: int
    column: int
    text: str
    """Empty for a cell that shares another cell's formula."""
    shared: str | None


@dataclass(slots=True)
class Formulas:
    """Collects formulas sheet by sheet; `done` answers."""

    kept: dict[str, list[_Formula]] = field(default_factory=lambda: defaultdict(list))
    count: int = 0
    volatile: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    volatile_count: int = 0
    external: int = 0
    broken: int = 0

    def add(self, sheet: str, row: int, column: int, attributes: bytes, text: bytes) -> None:
        """One formula cell of the scan."""
        self.count += 1
        if text:
            if b"(" in text and _VOLATILE.search(text):
                self.volatile_count += 1
                if len(self.volatile[sheet]) < 20:
                    self.volatile[sheet].append((row, column))
            if b"[" in text and re.search(rb"\[\d+\]", text):
                self.external += 1
            if b"#REF!" in text:
                self.broken += 1
        if self.count > KEPT:
            return
        shared = None
        if b't="shared"' in attributes:
            found = re.search(rb'si="(\d+)"', attributes)
            shared = found[1].decode() if found else None
        self.kept[sheet].append(_Formula(row, column, unescape(text) if text else "", shared))

    @property
    def complete(self) -> bool:
        return self.count <= KEPT

    # --- shape ---------------------------------------------------------------------------------------------

    def shapes(self) -> dict[str, dict[str, int]]:
        """Per sheet the distinct formulas in R1C1 form, hashed, with the cells that hold them."""
        out: dict[str, dict[str, int]] = {}
        for sheet, formulas in self.kept.items():
            masters: dict[str, str] = {}
            counted: dict[str, int] = defaultdict(int)
            for one in formulas:
                if one.text:
                    shape = r1c1(one.text, one.row, one.column)
                    if one.shared is not None:
                        masters[one.shared] = shape
                else:
                    shape = masters.get(one.shared or "", "")
                counted[hashlib.sha256(shape.encode()).hexdigest()[:16]] += 1
            out[sheet] = dict(sorted(counted.items()))
        return out

    # --- circles -------------------------------------------------------------------------------------------

    def circles(self) -> tuple[list[Cell], bool]:
        """Cells that depend on themselves, and whether all formulas could be followed."""
        cells: dict[Cell, list[tuple[str, int, int, int, int]]] = {}
        by_column: dict[tuple[str, int], list[int]] = defaultdict(list)
        names = {sheet.casefold(): sheet for sheet in self.kept}
        for sheet, formulas in self.kept.items():
            masters: dict[str, _Formula] = {}
            for one in formulas:
                text, d_row, d_column = one.text, 0, 0
                if one.shared is not None and one.text:
                    masters[one.shared] = one
                elif one.shared is not None and (master := masters.get(one.shared)):
                    text, d_row, d_column = master.text, one.row - master.row, one.column - master.column
                cells[sheet, one.row, one.column] = list(_areas(text, sheet, names, d_row, d_column))
                by_column[sheet, one.column].append(one.row)
        for rows in by_column.values():
            rows.sort()
        edges = 0
        graph: dict[Cell, list[Cell]] = {}
        for cell, areas in cells.items():
            targets: list[Cell] = []
            for sheet, top, left, bottom, right in areas:
                for column in range(left, min(right, left + 16_384) + 1):
                    rows = by_column.get((sheet, column))
                    if rows:
                        low, high = bisect_left(rows, top), bisect_right(rows, bottom)
                        targets.extend((sheet, row, column) for row in rows[low:high])
                edges += len(targets)
                if edges > MAX_EDGES:
                    return [], False
            graph[cell] = targets
        return _on_circles(graph), self.complete


def _areas(
    text: str, sheet: str, names: dict[str, str], d_row: int, d_column: int
) -> list[tuple[str, int, int, int, int]]:
    out = []
    for found in _references(text):
        target = sheet
        if found["sheet"]:
            name = found["sheet"][:-1].strip("'").replace("''", "'").casefold()
            if name not in names:
                continue
            target = names[name]
        row = int(found["r"]) + (0 if found["ra"] else d_row)
        column = column_number(found["c"]) + (0 if found["ca"] else d_column)
        row2, column2 = row, column
        if found["r2"]:
            row2 = int(found["r2"]) + (0 if found["ra2"] else d_row)
            column2 = column_number(found["c2"]) + (0 if found["ca2"] else d_column)
        out.append((target, min(row, row2), min(column, column2), max(row, row2), max(column, column2)))
    return out


def _references(text: str) -> list[re.Match[str]]:
    clean = _STRING.sub(lambda m: " " * len(m[0]), text)
    return [m for m in _REFERENCE.finditer(clean) if not _BEFORE.search(clean, 0, m.start())]


def r1c1(text: str, row: int, column: int) -> str:
    """A formula with its references relative to its own cell, so that a filled-down column has one form."""
    out, last = [], 0
    for found in _references(text):
        out.append(text[last : found.start()])
        out.append(found["sheet"] or "")
        out.append(_one(found["ra"], found["r"], found["ca"], found["c"], row, column))
        if found["r2"]:
            out.append(":" + _one(found["ra2"], found["r2"], found["ca2"], found["c2"], row, column))
        last = found.end()
    out.append(text[last:])
    return "".join(out)


def _one(fixed_row: str, row: str, fixed_column: str, column: str, at_row: int, at_column: int) -> str:
    r = f"R{row}" if fixed_row else f"R[{int(row) - at_row}]"
    number = column_number(column)
    c = f"C{number}" if fixed_column else f"C[{number - at_column}]"
    return r + c


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
