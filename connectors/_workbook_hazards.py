"""Turns what was scanned of a workbook into hazards with sheet and cell."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

from weighbridge.connectors._workbook_book import Book
from weighbridge.connectors._workbook_cells import (
    BOOL,
    COLUMNS,
    DATE,
    ELAPSED,
    KINDS,
    NUMBER,
    TEXT,
    Marks,
    SheetScan,
    column_letters,
    place,
    scan_sheet,
)
from weighbridge.connectors._workbook_formulas import Formulas
from weighbridge.connectors._workbook_package import Package, WorkbookProblem, local
from weighbridge.connectors._workbook_parts import Sheet, chosen_texts, text_classes
from weighbridge.connectors._workbook_table import find_header
from weighbridge.connectors._workbook_text import DATE_TEXT, DECIMAL_COMMA, NUMBER_TEXT, SCIENTIFIC, classify
from weighbridge.connectors._workbook_values import complete
from weighbridge.connectors.workbook import WorkbookReport

__all__ = ["find_hazards"]

STYLE_WARN, STYLE_LIMIT = 10_000, 65_490
RULES_WARN = 500
PHANTOM = 100
MIXED_SHARE = 0.4
MIXED_CELLS = 10
BINARY_UNREAD = {
    # what the records of these formats would tell and is not read
    "xls": ("formulas without a value on sheets where other formulas have one", "what query tables are connected to"),
    "xlsb": (
        "formulas without a value, for which the format stores a number all the same",
        "what data connections and pivot caches in binary parts point to",
    ),
}
_COL = re.compile(rb'<col [^>]*?\bhidden="(?:1|true)"[^>]*>')
_MERGE = re.compile(rb'<mergeCell [^>]*?\bref="([A-Z]+\d+:[A-Z]+\d+)"')
_DIMENSION = re.compile(rb'<dimension [^>]*?\bref="([A-Z]+)(\d+)(?::([A-Z]+)(\d+))?"')
_PROTECTED = re.compile(rb'<sheetProtection [^>]*?\bsheet="(?:1|true)"')
_SECRET = re.compile(r"(?i)\b(pwd|password|passwd|secret|token|accesskey)(\s*=\s*)[^;\"]+")
_LOGIN = re.compile(r"(?i)(\w+://)[^/\s@\"]+@")


class _Looked:
    """One sheet with its scan and what was made of its first rows."""

    def __init__(self, sheet: Sheet, scan: SheetScan) -> None:
        self.sheet, self.scan = sheet, scan
        self.header = 0
        self.labels: dict[int, str] = {}
        self.top: dict[int, dict[int, int]] = {}
        """Kinds of the cells above and in the header: column -> kind -> count."""

    def at(self, packed: Iterable[int], limit: int = 20) -> list[str]:
        return [f"{self.sheet.name}!{place(p // COLUMNS, p % COLUMNS + 1)}" for p in list(packed)[:limit]]


def find_hazards(book: Book, report: WorkbookReport) -> None:
    """Fill the report of one readable workbook."""
    formulas = Formulas()
    looked = [_look(book, sheet, formulas) for sheet in book.parts.sheets if sheet.kind == "worksheet"]
    _headers(book, looked)
    report.sheets = [_sheet_line(book, sheet, looked) for sheet in book.parts.sheets]
    if book.package.encrypted:
        text = (
            f"{book.path.name} is encrypted; it was opened with its password, which every program that reads it needs."
        )
        report.add("encrypted", 1, [book.path.name], text, severity="warn")
    macros = _macros(book, report)
    _upstream(book, report, formulas)
    _sheets(book, report)
    _cells(report, looked)
    _formulas(book, report, formulas)
    _layout(book, report, looked)
    _columns(report, looked)
    report.not_looked_at.extend(dict.fromkeys(note for one in looked for note in one.scan.not_looked))
    if book.format in BINARY_UNREAD:
        report.not_looked_at.extend(f"in .{book.format}: {what}" for what in BINARY_UNREAD[book.format])
    report.fingerprint = _fingerprint(book, looked, formulas, macros)


def _look(book: Book, sheet: Sheet, formulas: Formulas) -> _Looked:
    if book.format in {"xls", "xlsb"}:
        scan = book.scan(sheet)
        complete(book, sheet, scan, classify)
        unknown = 0
        for row, column, text in book.formulas(sheet):
            formulas.add_text(sheet.name, row, column, text or "")
            unknown += text is None
        if unknown:
            scan.not_looked.append(f"{unknown} formula(s) of {sheet.name} that are written in a way not known here")
        return _Looked(sheet, scan)
    package = book.package
    if not package.has(sheet.part):
        raise WorkbookProblem(
            f"{book.path}: not a workbook that can be read: the part of the sheet {sheet.name} is missing.",
            code="malformed",
        )
    scan = scan_sheet(
        package,
        sheet.part,
        styles=book.styles.kinds,
        text_classes=_classes(book),
        classify=classify,
        on_formula=lambda row, column, attributes, text: formulas.add(sheet.name, row, column, attributes, text),
    )
    return _Looked(sheet, scan)


def _classes(book: Book) -> Any:
    if book.text_classes is None:
        book.text_classes = text_classes(book.package, book.parts.workbook, classify)
    return book.text_classes


def _headers(book: Book, looked: list[_Looked]) -> None:
    """Find each sheet's header row and its labels, with one pass over the shared texts for all of them."""
    wanted = {
        int(raw)
        for one in looked
        for _, _, kind, char, raw in one.scan.first_cells
        if kind == TEXT and char == b"s" and raw.isdigit()
    }
    texts = chosen_texts(book.package, book.parts.workbook, wanted) if wanted else {}
    for one in looked:
        rows: dict[int, dict[int, Any]] = {}
        kinds: dict[tuple[int, int], int] = {}
        for row, column, kind, char, raw in one.scan.first_cells:
            value: Any = 1.0
            if kind == TEXT:
                value = texts.get(int(raw), "") if char == b"s" and raw.isdigit() else raw.decode("utf-8", "replace")
            elif kind == NUMBER and raw:
                value = _numeric(raw)
            rows.setdefault(row, {})[column] = value
            kinds[row, column] = kind
        if not rows:
            continue
        width = max(max(cells) for cells in rows.values())
        last = max(rows)
        grid = [[rows.get(r, {}).get(c, "") for c in range(1, width + 1)] for r in range(1, last + 1)]
        one.header = find_header(grid)
        one.labels = {c: str(v) for c, v in rows.get(one.header, {}).items()}
        for (row, column), kind in kinds.items():
            if row <= one.header:
                counted = one.top.setdefault(column, {})
                counted[kind] = counted.get(kind, 0) + 1


def _numeric(raw: bytes) -> Any:
    try:
        number = float(raw)
    except ValueError:
        return 1.0
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def _sheet_line(book: Book, sheet: Sheet, looked: list[_Looked]) -> dict[str, Any]:
    line: dict[str, Any] = {"name": sheet.name, "state": sheet.state, "kind": sheet.kind}
    one = next((x for x in looked if x.sheet is sheet), None)
    if one is not None:
        line |= {
            "rows": one.scan.last_row,
            "columns": one.scan.last_column,
            "formulas": one.scan.formulas,
            "header_row": one.header or None,
            "tables": [t.name for t in book.parts.tables if t.sheet == sheet.name],
        }
    return line


# --- code and what feeds the workbook --------------------------------------------------------------------------


def _macros(book: Book, report: WorkbookReport) -> str | None:
    from weighbridge.connectors._workbook_vba import MAX_VBA, Macros, read_macros

    macros: Macros | None = None
    package = book.package
    if book.format == "xls":
        from weighbridge.connectors._workbook_biff import ole_streams

        if any("_VBA_PROJECT_CUR" in name.upper() for name in ole_streams(package)):
            with package.stream() as source:
                macros = read_macros(source.read(MAX_VBA + 1), book.path.name)
    else:
        part = next((n for n in package.parts if n.endswith("vbaproject.bin")), None)
        if part:
            macros = read_macros(package_bytes(package, part, MAX_VBA), "vbaProject.bin")
    if macros is not None:
        words = " ".join(macros.words())
        odd = " The file's name hides them: an .xlsx should hold none." if book.path.suffix.lower() == ".xlsx" else ""
        places = macros.entry_points or [m["name"] for m in macros.modules] or [book.path.name]
        report.add("macros", max(1, len(macros.modules)), places, words + odd, details=macros.details())
    xlm = [s.name for s in book.parts.sheets if s.kind == "macrosheet"]
    auto = [n.name for n in book.parts.names if n.name.lower().lstrip("_xlnm.").startswith(("auto_open", "auto_close"))]
    if xlm or auto:
        starts = f" They start by themselves ({', '.join(auto[:5])})." if auto else ""
        text = f"{len(xlm)} sheet(s) of Excel 4.0 macros, a technique of 1992 that current Excel switches off.{starts}"
        report.add("xlm_macros", len(xlm) or len(auto), xlm or auto, text)
    return macros.digest if macros else None


def package_bytes(package: Package, part: str, limit: int) -> bytes:
    """A binary part whole, at most `limit` bytes and one."""
    out = b""
    for chunk in package.raw(part):
        out += chunk
        if len(out) > limit:
            break
    return out


def _upstream(book: Book, report: WorkbookReport, formulas: Formulas) -> None:
    package, parts = book.package, book.parts
    links, pivots = list(parts.external), []
    connections = list(parts.connections)
    dynamic = 0
    if book.format != "xls":
        for relation in package.relations(parts.workbook):
            if relation.kind in {"externalLink", "externalLinkPath"} and not relation.external:
                outside = [r.target for r in package.relations(relation.target) if r.external]
                live = _live_link(package, relation.target)
                dynamic += live is not None
                links += outside or [live or f"{relation.target.rsplit('/', 1)[-1]} (not decoded)"]
            elif relation.kind == "pivotCacheDefinition":
                pivots.append(_pivot(package, relation.target))
            elif relation.kind == "connections" and relation.target.endswith(".xml"):
                connections += _connections(package, relation.target)
            elif relation.kind == "connections":
                connections.append("data connections (binary part, not decoded)")
        connections += [f"query table {n.rsplit('/', 1)[-1]}" for n in package.named("xl/queryTables/")]
        for name in package.named("customXml/item"):
            if name.endswith(".xml") and b"DataMashup" in package_bytes(package, name, 4096):
                connections.append("Power Query")
                break
    else:
        from weighbridge.connectors._workbook_biff import ole_streams

        pivots = ["pivot cache" for name in ole_streams(package) if name.upper().startswith("_SX_DB_CUR/")]
    links = [_masked(link) for link in links]
    if links:
        used = f"; {formulas.external} formula(s) use them" if formulas.external else ""
        running = f" {dynamic} of them talk to a running program (DDE), which attackers like." if dynamic else ""
        text = (
            f"{len(links)} link(s) to other workbooks or programs ({', '.join(links[:3])}){used}. "
            "When one is moved or renamed, the "
            f"last known values stay and nobody is told.{running}"
        )
        report.add("external_links", len(links), links, text)
    if connections:
        shown = [c[:200] for c in connections]
        text = (
            f"{len(shown)} data connection(s) feed this workbook: {', '.join(shown[:3])}. What is "
            "read is as old as their last refresh."
        )
        report.add("connections", len(shown), shown, text)
    if pivots:
        text = (
            f"{len(pivots)} pivot table cache(s) hold a copy of their source as it was at the last "
            f"refresh: {', '.join(pivots[:3])}."
        )
        report.add("pivot_caches", len(pivots), pivots, text)


def _live_link(package: Package, part: str) -> str | None:
    """A link to a running program (DDE), as `program|topic`."""
    if not package.has(part):
        return None
    if part.endswith(".bin"):
        from weighbridge.connectors._workbook_xlsb import live_link

        return live_link(package, part)
    node = next((n for n in package.xml(part).iter() if local(n) == "ddeLink"), None)
    return None if node is None else f"DDE {node.get('ddeService') or '?'}|{node.get('ddeTopic') or ''}"


def _masked(text: str) -> str:
    return _SECRET.sub(r"\1\2***", _LOGIN.sub(r"\1***@", text))[:200]


def _connections(package: Package, part: str) -> list[str]:
    out = []
    for node in package.xml(part):
        if local(node) != "connection":
            continue
        source = next((c.get("connection") or c.get("url") or c.get("sourceFile") for c in node), None)
        name = node.get("name") or "connection"
        out.append(f"{name}: {_masked(source)}" if source else name)
    return out


def _pivot(package: Package, part: str) -> str:
    if not package.has(part) or part.endswith(".bin"):
        return part.rsplit("/", 1)[-1]
    for node in package.xml(part).iter():
        if local(node) == "worksheetSource":
            return f"from {node.get('sheet') or node.get('name') or 'a sheet'} {node.get('ref') or ''}".strip()
        if local(node) == "cacheSource" and node.get("type") == "external":
            return "from a data connection"
    return part.rsplit("/", 1)[-1]


# --- sheets and names ------------------------------------------------------------------------------------------


def _sheets(book: Book, report: WorkbookReport) -> None:
    parts = book.parts
    hidden = [s.name for s in parts.sheets if s.state == "hidden"]
    very = [s.name for s in parts.sheets if s.state == "veryHidden"]
    if hidden:
        report.add("hidden_sheets", len(hidden), hidden, f"{len(hidden)} hidden sheet(s): {', '.join(hidden[:5])}.")
    if very:
        text = f"{len(very)} sheet(s) that the Unhide menu does not list: {', '.join(very[:5])}."
        report.add("very_hidden_sheets", len(very), very, text)
    if parts.date1904:
        text = (
            "Dates count from 1 January 1904, as on old Macs; a program that does not look reads "
            "them four years and a day early."
        )
        report.add("date1904", 1, [book.path.name], text)
    broken = [n for n in parts.names if "#REF!" in n.refers_to]
    if broken:
        names = [f"{n.sheet}!{n.name}" if n.sheet else n.name for n in broken]
        text = f"{len(names)} name(s) point to cells that no longer exist: {', '.join(names[:5])}."
        report.add("broken_names", len(names), names, text)


# --- cells -----------------------------------------------------------------------------------------------------


def _gathered(looked: list[_Looked], pick: Any) -> tuple[int, list[str], dict[str, int]]:
    """Count, places and count by sheet of the marks that `pick` names."""
    total, places, by_sheet = 0, [], {}
    for one in looked:
        marks: Marks = pick(one.scan)
        if len(marks):
            total += len(marks)
            by_sheet[one.sheet.name] = len(marks)
            places += one.at(marks.packed[:20].tolist())
    return total, places, by_sheet


def _cells(report: WorkbookReport, looked: list[_Looked]) -> None:
    count, places, by_sheet = _gathered(looked, lambda s: s.errors)
    if count:
        kinds: dict[str, int] = {}
        for one in looked:
            for raw in one.scan.errors.raw.values():
                kinds[raw] = kinds.get(raw, 0) + 1
        shown = ", ".join(sorted(kinds, key=lambda k: -kinds[k])[:4])
        text = f"{count} cell(s) show an error ({shown}). Most programs read them as blank."
        report.add("error_cells", count, places, text, by_sheet=by_sheet)
    count, places, by_sheet = _gathered(looked, lambda s: s.uncached)
    if count:
        text = (
            f"{count} formula(s) were never calculated: the file holds no value for them, and "
            "programs read them as blank."
        )
        report.add("uncached_formulas", count, places, text, by_sheet=by_sheet)
    count, places, by_sheet = _gathered(looked, lambda s: s.long_numbers)
    if count:
        text = (
            f"{count} number(s) have more than 15 digits; Excel has already set the rest to zero, "
            "or will when it saves."
        )
        report.add("long_numbers", count, places, text, by_sheet=by_sheet)


def _formulas(book: Book, report: WorkbookReport, formulas: Formulas) -> None:
    count = formulas.volatile_count
    if count:
        places = [f"{sheet}!{place(r, c)}" for sheet, cells in formulas.volatile.items() for r, c in cells]
        text = (
            f"{count} formula(s) change whenever the file is opened or calculated (NOW, TODAY, "
            "RAND, OFFSET, INDIRECT): two readers see two values."
        )
        report.add("volatile_formulas", count, places, text)
    circles, unfollowed = formulas.circles({n.name: n.refers_to for n in book.parts.names})
    if circles:
        places = [f"{sheet}!{place(row, column)}" for sheet, row, column in circles[:20]]
        text = f"{len(circles)} cell(s) depend on themselves; Excel shows 0 there or the value of an earlier round."
        report.add("circular_references", len(circles), places, text)
    if unfollowed:
        report.not_looked_at.append(unfollowed)


# --- layout ----------------------------------------------------------------------------------------------------


def _layout(book: Book, report: WorkbookReport, looked: list[_Looked]) -> None:
    protected = list(book.parts.protected)
    rules = 0
    rows, columns, merged_data, merged_top, phantom, full = [], [], [], [], [], []
    hidden_rows = phantom_count = 0
    for one in looked:
        scan, name = one.scan, one.sheet.name
        hidden_rows += scan.hidden_rows
        rows += [f"{name}!{r}:{r}" for r in scan.hidden_row_places]
        columns += [f"{name}!{c}:{c}" for c in [*scan.hidden_columns, *_hidden_columns(scan.head)]]
        for reference in [*scan.merged, *(m.decode() for m in _MERGE.findall(scan.tail))]:
            top = int(re.sub(r"\D", "", reference.split(":")[0]) or 0)
            inside = one.header and one.header < top <= scan.last_row and scan.last_row - one.header > 2
            (merged_data if inside else merged_top).append(f"{name}!{reference}")
        if _PROTECTED.search(scan.tail) or scan.protected:
            protected.append(name)
        rules += scan.tail.count(b"<cfRule ") + scan.rules
        extra = scan.styled_row - scan.last_row
        if extra > PHANTOM and scan.last_row:
            phantom_count += extra
            phantom.append(f"{name}!{scan.last_row + 1}:{scan.styled_row}")
        _ceiling(book, one, full)
    if hidden_rows:
        text = f"{hidden_rows} hidden row(s), by hand or by a filter; programs read them all the same."
        report.add("hidden_rows", hidden_rows, rows, text)
    if columns:
        report.add("hidden_columns", len(columns), columns, f"{len(columns)} hidden column(s), which programs read.")
    if merged_data or merged_top:
        places = merged_data + merged_top
        where = f"{len(merged_data)} of them among the data" if merged_data else "all of them above or beside the data"
        level = "warn" if merged_data else "info"
        report.add("merged_cells", len(places), places, f"{len(places)} merged area(s), {where}.", severity=level)
    if protected or book.parts.read_only:
        what = protected or ["the file asks to be opened read-only"]
        report.add("protected", len(what), what, f"Protected against changes: {', '.join(what[:5])}.")
    if phantom:
        text = (
            f"{phantom_count} empty row(s) below the data are stored, which makes the file slow and "
            "programs read blanks."
        )
        report.add("phantom_rows", phantom_count, phantom, text)
    if full:
        worst = max(full, key=lambda f: f[1])
        level = "break" if worst[1] >= worst[2] else "warn"
        text = f"The sheet {worst[0]} has {worst[1]:,} of {worst[2]:,} rows; what comes after the last is lost."
        report.add("row_ceiling", len(full), [f[0] for f in full], text, severity=level)
    _styles(book, report, rules)


def _ceiling(book: Book, one: _Looked, full: list[tuple[str, int, int]]) -> None:
    if one.scan.last_row >= 0.8 * book.max_rows:
        full.append((one.sheet.name, one.scan.last_row, book.max_rows))


def _hidden_columns(head: bytes) -> list[str]:
    out: list[str] = []
    for tag in _COL.findall(head):
        low, high = re.search(rb'\bmin="(\d+)"', tag), re.search(rb'\bmax="(\d+)"', tag)
        if low and high:
            last = min(int(high[1]), int(low[1]) + 50)
            out += [column_letters(c) for c in range(int(low[1]), last + 1)]
    return out


def _styles(book: Book, report: WorkbookReport, rules: int) -> None:
    formats = book.parts.cell_formats if book.format == "xls" else book.styles.cell_formats
    limit = 4_000 if book.format == "xls" else STYLE_LIMIT
    warn = 3_000 if book.format == "xls" else STYLE_WARN
    if formats >= warn or rules >= RULES_WARN:
        level = "break" if formats >= limit * 0.95 else "warn"
        text = (
            f"{formats:,} cell formats of at most {limit:,} and {rules:,} conditional formatting "
            "rules: Excel becomes slow, then refuses to save."
        )
        report.add("style_explosion", max(formats, rules), [book.path.name], text, severity=level)


# --- columns ---------------------------------------------------------------------------------------------------

_GROUPS = {NUMBER: "number", DATE: "date", 3: "date", 4: "time", ELAPSED: "time", BOOL: "yes/no", TEXT: "text"}


def _columns(report: WorkbookReport, looked: list[_Looked]) -> None:
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

    def add(self, one: _Looked, column: int, counts: dict[str, int]) -> None:
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


def _classed(one: _Looked, column: int, classes: tuple[int, ...]) -> list[str]:
    found: list[int] = []
    for number in classes:
        marks = one.scan.classed.get(number)
        if marks is not None:
            packed = marks.packed
            found += packed[packed % COLUMNS + 1 == column][:40].tolist()
    return one.at(sorted(found), 40)


def _below(one: _Looked, column: int) -> int:
    return sum(_grouped(one, column).values())


def _grouped(one: _Looked, column: int) -> dict[str, int]:
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


def _sampled(one: _Looked, column: int, groups: list[str]) -> list[str]:
    packed = [
        p
        for kind, group in _GROUPS.items()
        if group in groups
        for p in one.scan.samples.get((column, kind), [])
        if p // COLUMNS > one.header
    ]
    return one.at(sorted(packed))


def _duplicates(one: _Looked) -> list[str]:
    seen: set[str] = set()
    out = []
    for column, label in sorted(one.labels.items()):
        plain = label.strip().casefold()
        if plain and plain in seen:
            out.append(f"{one.sheet.name}!{place(one.header, column)}")
        seen.add(plain)
    return out


# --- fingerprint -----------------------------------------------------------------------------------------------


def _fingerprint(book: Book, looked: list[_Looked], formulas: Formulas, macros: str | None) -> dict[str, Any]:
    shapes = {
        sheet: {"shapes": len(found), "digest": hashlib.sha256(repr(sorted(found)).encode()).hexdigest()[:16]}
        for sheet, found in formulas.shapes().items()
    }
    structure: dict[str, Any] = {
        "sheets": {s.name: s.state for s in book.parts.sheets},
        "headers": {one.sheet.name: [one.labels[c] for c in sorted(one.labels)] for one in looked if one.labels},
        "tables": {t.name: list(t.columns) for t in book.parts.tables},
        "names": {n.name: n.refers_to for n in book.parts.names if not n.hidden},
        "formulas": shapes,
        "macros": macros,
    }
    digest = hashlib.sha256(repr(sorted(structure.items())).encode()).hexdigest()[:16]
    return {"digest": digest, **structure}
