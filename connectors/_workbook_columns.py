"""Finds what is wrong with a sheet's columns: headers, kinds that mix, numbers and dates that stand as texts."""

from __future__ import annotations

import re

from weighbridge.connectors._workbook_looked import Looked
from weighbridge.connectors._workbook_scan import BOOL, COLUMNS, DATE, ELAPSED, KINDS, NUMBER, TEXT, place
from weighbridge.connectors._workbook_text import DATE_TEXT, DECIMAL_COMMA, NUMBER_TEXT, SCIENTIFIC
from weighbridge.connectors.workbook import WorkbookReport

__all__ = ["find_column_hazards"]

MIXED_SHARE = 0.4
MIXED_CELLS = 10


_GROUPS = {NUMBER: "number", DATE: "date", 3: "date", 4: "time", ELAPSED: "time", BOOL: "yes/no", TEXT: "text"}


def find_column_hazards(report: WorkbookReport, looked: list[Looked]) -> None:
    texts = _TextColumns()
    duplicate: list[str] = []
    blank: list[str] = []
    mixed: list[str] = []
    mixed_count = 0
    mixed_sheets: dict[str, int] = {}
    for one in looked:
        scan, name = one.scan, one.sheet.name
        table_like = one.header and len(one.labels) >= 2 and scan.last_row > one.header + 1
        if table_like:
            duplicate += _duplicates(one)
            blank += [
                f"{name}!{place(one.header, c)}"
                for c in range(min(one.labels), scan.last_column + 1)
                if not one.labels.get(c, "").strip() and _below(one, c) > 1
            ]
        for column in range(1, len(scan.kinds) + 1):
            counts = _grouped(one, column)
            if table_like:
                minority = _minority(counts)
                if minority:
                    number = sum(counts[g] for g in minority)
                    mixed_count += number
                    mixed_sheets[name] = mixed_sheets.get(name, 0) + number
                    mixed += _sampled(one, column, minority)
            texts.add(one, column, counts)
    if duplicate:
        report.add("duplicate_headers", len(duplicate), duplicate, f"{len(duplicate)} header(s) stand more than once.")
    if blank:
        text = f"{len(blank)} column(s) hold data under an empty header: {', '.join(blank[:5])}."
        report.add("blank_headers", len(blank), blank, text)
    if mixed:
        text = f"{mixed_count} cell(s) are of another kind than the rest of their column, for example {mixed[0]}."
        report.add("mixed_types", mixed_count, mixed, text, by_sheet=mixed_sheets)
    texts.report(report)


class _TextColumns:
    """Numbers and dates that stand as texts."""

    def __init__(self) -> None:
        self.numbers = self.dates = self.cut = 0
        self.bad = False
        self.number_places: list[str] = []
        self.date_places: list[str] = []
        self.cut_places: list[str] = []
        self.number_sheets: dict[str, int] = {}
        self.date_sheets: dict[str, int] = {}

    def add(self, one: Looked, column: int, counts: dict[str, int]) -> None:
        scan, name = one.scan, one.sheet.name
        if column > len(scan.text_classes):
            return
        line = scan.text_classes[column - 1]
        numbers = int(line[NUMBER_TEXT] + line[DECIMAL_COMMA])
        places = _classed(one, column, (NUMBER_TEXT, DECIMAL_COMMA))
        above = sum(1 for p in places if int(re.sub(r"\D", "", p.rsplit("!", 1)[1])) <= one.header)
        numbers, places = numbers - above, places[above:]
        if numbers > 0:
            self.numbers += numbers
            self.number_sheets[name] = self.number_sheets.get(name, 0) + numbers
            self.number_places += places
            # a column of digits alone may be a column of codes; next to numbers or with decimals it is not
            self.bad |= bool(counts.get("number")) or line[DECIMAL_COMMA] > 0
        if line[DATE_TEXT]:
            self.dates += int(line[DATE_TEXT])
            self.date_sheets[name] = self.date_sheets.get(name, 0) + int(line[DATE_TEXT])
            self.date_places += _classed(one, column, (DATE_TEXT,))
        if line[SCIENTIFIC]:
            self.cut += int(line[SCIENTIFIC])
            self.cut_places += _classed(one, column, (SCIENTIFIC,))

    def report(self, report: WorkbookReport) -> None:
        if self.numbers:
            level = "warn" if self.bad else "info"
            text = f"{self.numbers} number(s) are kept as text; sums leave them out and programs read words."
            report.add(
                "numbers_as_text", self.numbers, self.number_places, text, severity=level, by_sheet=self.number_sheets
            )
        if self.dates:
            text = f"{self.dates} date(s) are kept as text; day and month may be read the wrong way round."
            report.add("dates_as_text", self.dates, self.date_places, text, by_sheet=self.date_sheets)
        if self.cut:
            text = (
                f"{self.cut} text(s) are numbers in scientific notation, as an id looks that Excel has "
                "once cut to 15 digits."
            )
            known = next((h for h in report.hazards if h.code == "long_numbers"), None)
            if known is None:
                report.add("long_numbers", self.cut, self.cut_places, text)


def _classed(one: Looked, column: int, classes: tuple[int, ...]) -> list[str]:
    found: list[int] = []
    for number in classes:
        marks = one.scan.classed.get(number)
        if marks is not None:
            packed = marks.packed
            found += packed[packed % COLUMNS + 1 == column][:40].tolist()
    return one.at(sorted(found), 40)


def _below(one: Looked, column: int) -> int:
    return sum(_grouped(one, column).values())


def _grouped(one: Looked, column: int) -> dict[str, int]:
    """Filled cells of a column below the header by what a person would call them."""
    if column > len(one.scan.kinds):
        return {}
    out: dict[str, int] = {}
    above = one.top.get(column, {})
    for kind in range(1, len(KINDS)):
        count = int(one.scan.kinds[column - 1][kind]) - above.get(kind, 0)
        if count > 0 and kind in _GROUPS:
            out[_GROUPS[kind]] = out.get(_GROUPS[kind], 0) + count
    return out


def _minority(counts: dict[str, int]) -> list[str]:
    total = sum(counts.values())
    if len(counts) < 2 or total < MIXED_CELLS:
        return []
    most = max(counts, key=lambda g: counts[g])
    rest = total - counts[most]
    return [g for g in counts if g != most] if rest <= MIXED_SHARE * total else []


def _sampled(one: Looked, column: int, groups: list[str]) -> list[str]:
    packed = [
        p
        for kind, group in _GROUPS.items()
        if group in groups
        for p in one.scan.samples.get((column, kind), [])
        if p // COLUMNS > one.header
    ]
    return one.at(sorted(packed))


def _duplicates(one: Looked) -> list[str]:
    seen: set[str] = set()
    out = []
    for column, label in sorted(one.labels.items()):
        plain = label.strip().casefold()
        if plain and plain in seen:
            out.append(f"{one.sheet.name}!{place(one.header, column)}")
        seen.add(plain)
    return out
