"""Reads a workbook's macros and says, in words for people who do not program, what they do and what they hang on."""

from __future__ import annotations

import hashlib
import logging
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Macros", "read_macros"]

MAX_VBA = 64 << 20


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_SUB = re.compile(
    r"^[ \t]*(?:Public |Private |Friend )?(?:Static )?(Sub|Function)[ \t]+(\w+)", re.IGNORECASE | re.MULTILINE
)
_EVENT = re.compile(
    r"^(?:auto_?(?:open|close|exec)|workbook_\w+|worksheet_\w+|app_\w+|\w+_(?:click|change|activate|initialize))$",
    re.IGNORECASE,
)
_DECLARE = re.compile(
    r"^[ \t]*(?:Public |Private )?Declare\s+(?:PtrSafe\s+)?(?:Sub|Function)\s+(\w+)\s+Lib\s+\"([^\"]+)\"",
    re.IGNORECASE | re.MULTILINE,
)
_OBJECT = _words(r"(?:CreateObject|GetObject)\s*\(\s*\"([^\"]+)\"")
_NEW = _words(r"\bAs\s+New\s+((?:ADODB|DAO|MSXML2|Outlook|Scripting|WinHttp)\.\w+)")
_LITERAL = re.compile(r'"((?:[^"]|"")*)"')
_SECRET = _words(r"\b(pwd|password|passwd|secret|token|apikey|api_key)(\s*=\s*)[^;\"&]+")
_PATH = _words(r"^(?:[a-z]:\\|\\\\|\w+://|.*\.(?:xls\w?|csv|txt|mdb|accdb|xml|json|pdf|docx?)$)")
_READS = _words(
    r"\bWorkbooks\.Open",
    r"\bFor\s+Input\b",
    r"\bOpenTextFile\b",
    r"\bQueryTables\.Add\b",
    r"\.Recordset\b",
    r"\bSELECT\s.+?\sFROM\b",
)
_WRITES = _words(
    r"\.SaveAs\b",
    r"\.SaveCopyAs\b",
    r"\.ExportAsFixedFormat\b",
    r"\bFor\s+(?:Output|Append)\b",
    r"\bCreateTextFile\b",
    r"\.SendMail\b",
    r"\bOutlook\.Application\b",
    r"\bINSERT\s+INTO\b",
    r"\bUPDATE\s+\w+\s+SET\b",
    r"\.PrintOut\b",
)
_FILES = _words(
    r"\bWorkbooks\.Open",
    r"\bOpen\s.+?\sFor\s+(?:Input|Output|Append|Binary|Random)\b",
    r"\b(?:Kill|FileCopy|MkDir|RmDir)\s",
    r"\bDir\$?\s*\(",
    r"\.(?:SaveAs|SaveCopyAs|ExportAsFixedFormat|OpenTextFile|CreateTextFile)\b",
    r"\bFileSystemObject\b",
)
_DATABASE = _words(
    r"\bADODB\b",
    r"\bDAO\.",
    r"\bOpenDatabase\b",
    r"\bOLEDB\b",
    r"\bODBC\b",
    r"\bQueryTables\.Add\b",
    r"\.CommandText\b",
    r"\b(?:Provider|DSN|DRIVER)\s*=",
)
_NETWORK = _words(
    r"XMLHTTP",
    r"\bWinHttp",
    r"\bURLDownloadToFile",
    r"\bInternetOpen",
    r"\bFollowHyperlink\b",
    r"\b(?:https?|ftp)://",
    r"\bInternetExplorer\.Application\b",
    r"\bOutlook\.Application\b",
    r"\.SendMail\b",
    r"\bCDO\.Message\b",
)
_PROGRAM = _words(
    r"\bShell\s*[(\"]",
    r"\bWScript\.Shell\b",
    r"\bShellExecute",
    r"\bCreateProcess",
    r"\bExecuteExcel4Macro\b",
    r"\bpowershell\b",
)
_FIXED = _words(
    r"\bRange\s*\(\s*\"\$?[a-z]{1,3}\$?\d+(?::\$?[a-z]{1,3}\$?\d+)?\"",
    r"\bCells\s*\(\s*[\w.+\- ]+,\s*(?:\d+|\"[a-z]{1,3}\")\s*\)",
    r"\bColumns\s*\(\s*(?:\d+|\"[a-z:]+\")",
    r"\bRows\s*\(\s*\d+",
    r"\[[a-z]{1,3}\d+\]",
)
_SHEETS = _words(r"\b(?:Work)?Sheets\s*\(\s*(?:\"([^\"]+)\"|(\d+))")
_QUIET = _words(r"\bOn\s+Error\s+Resume\s+Next\b")


@dataclass(slots=True)
class Macros:
    """What was read of the macros; empty `modules` with a `problem` is 'could not be read'."""

    modules: list[dict[str, Any]] = field(default_factory=list)
    entry_points: list[str] = field(default_factory=list)
    external_calls: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    databases: list[str] = field(default_factory=list)
    network: list[str] = field(default_factory=list)
    programs: list[str] = field(default_factory=list)
    fixed_places: list[str] = field(default_factory=list)
    fixed_count: int = 0
    sheets: list[str] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    swallowed_errors: int = 0
    digest: str = ""
    problem: str | None = None

    def details(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "modules": self.modules,
            "entry_points": self.entry_points,
            "external_calls": self.external_calls,
            "files": self.files,
            "databases": self.databases,
            "network": self.network,
            "reads": self.reads,
            "writes": self.writes,
            "programs": self.programs,
            "fixed_places": self.fixed_places,
            "sheets_by_name": self.sheets,
            "swallowed_errors": self.swallowed_errors,
            "problem": self.problem,
            "in_words": self.words(),
        }

    def words(self) -> list[str]:
        """Sentences a finance person can read."""
        if self.problem:
            return [f"There are macros, but they could not be read: {self.problem}"]
        lines = sum(m["lines"] for m in self.modules)
        out = [f"{len(self.modules)} macro module(s) with {lines} lines of program."]
        runs = [e for e in self.entry_points if _EVENT.match(e.rsplit(".", 1)[-1])]
        if runs:
            out.append(f"Starts by itself or at a click: {_some(runs)}.")
        feeds = self.reads + [f"database: {d}" for d in self.databases]
        if feeds:
            out.append(f"What feeds this workbook: {_some(feeds)}.")
        if self.writes:
            out.append(f"What it feeds: {_some(self.writes)}.")
        if self.network:
            out.append(f"Talks to the network: {_some(self.network)}.")
        if self.programs:
            out.append(f"Starts other programs: {_some(self.programs)}.")
        if self.external_calls:
            out.append(f"Needs on every computer: {_some(self.external_calls)}.")
        if self.fixed_count:
            out.append(
                f"What breaks when a row or a column is added: {self.fixed_count} place(s) name fixed cells, "
                f"for example {_some(self.fixed_places, 3)}; they will then read or overwrite the wrong cell "
                "without a word."
            )
        if self.sheets:
            out.append(f"What breaks when a sheet is renamed: {_some(self.sheets)}.")
        if self.swallowed_errors:
            out.append(f"{self.swallowed_errors} place(s) go on after an error as if nothing had happened.")
        return out


def _some(items: list[str], limit: int = 5) -> str:
    shown = ", ".join(items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit} more"


def read_macros(data: bytes, name: str) -> Macros:
    """Macros of a vbaProject.bin, or of a whole .xls given as bytes."""
    digest = hashlib.sha256(data).hexdigest()[:16]
    if len(data) > MAX_VBA:
        return Macros(digest=digest, problem=f"the macro project has {len(data):,} bytes.")
    logging.getLogger("olevba").setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it uses names that its own parser library has deprecated
            from oletools.olevba import VBA_Parser

        parser = VBA_Parser(name, data=data)
        try:
            if parser.type == "Text":  # it takes whatever it does not know for the source of a macro
                return Macros(digest=digest, problem="its project is no macro project at all.")
            sources = [
                (str(module), _as_text(code)) for _, _, module, code in parser.extract_macros() if code is not None
            ]
        finally:
            parser.close()
    except Exception as error:  # noqa: BLE001 - a damaged project makes the parser raise nearly anything
        return Macros(digest=digest, problem=f"its project is damaged or hidden on purpose ({type(error).__name__}).")
    if not sources:
        return Macros(digest=digest, problem="the project holds no readable source; it may have been stripped.")
    macros = _analyse(sources)
    text = "\n".join(f"{module}\n{code}" for module, code in sorted(sources))
    macros.digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return macros


def _as_text(code: Any) -> str:
    return code.decode("utf-8", "replace") if isinstance(code, bytes) else str(code)


def _analyse(sources: list[tuple[str, str]]) -> Macros:
    macros = Macros()
    for module, whole in sources:
        code = "\n".join(
            line for line in _joined(whole).splitlines() if not line.lstrip().lower().startswith("attribute ")
        )
        lines = [line for line in code.splitlines() if line.strip()]
        if not lines:
            continue
        macros.modules.append({"name": module, "lines": len(lines)})
        stem = module.rsplit(".", 1)[0]
        macros.entry_points += [f"{stem}.{found[2]}" for found in _SUB.finditer(code) if found[1].lower() == "sub"]
        macros.external_calls += [f"{library} ({function})" for function, library in _DECLARE.findall(code)]
        macros.external_calls += _OBJECT.findall(code) + _NEW.findall(code)
        body = [_without_comment(line) for line in lines]
        macros.files += _lines(_FILES, body, stem)
        macros.databases += _lines(_DATABASE, body, stem)
        macros.network += _lines(_NETWORK, body, stem)
        macros.programs += _lines(_PROGRAM, body, stem)
        macros.reads += _lines(_READS, body, stem)
        macros.writes += _lines(_WRITES, body, stem)
        macros.swallowed_errors += sum(1 for line in body if _QUIET.search(line))
        for line in body:
            found = [m[0] if m[0].endswith((")", "]")) else m[0] + ")" for m in _FIXED.finditer(line)]
            macros.fixed_count += len(found)
            macros.fixed_places += [f"{f} in {stem}" for f in found]
            macros.sheets += [name or f"sheet number {number}" for name, number in _SHEETS.findall(line)]
    for field_name in ("external_calls", "files", "databases", "network", "programs", "fixed_places", "sheets"):
        setattr(macros, field_name, _distinct(getattr(macros, field_name)))
    macros.reads, macros.writes = _distinct(macros.reads), _distinct(macros.writes)
    return macros


def _joined(code: str) -> str:
    """Continued lines in one."""
    return re.sub(r"[ \t]_\r?\n[ \t]*", " ", code)


def _without_comment(line: str) -> str:
    inside = False
    for at, char in enumerate(line):
        if char == '"':
            inside = not inside
        elif char == "'" and not inside:
            return line[:at]
    return line


def _lines(pattern: re.Pattern[str], body: list[str], module: str) -> list[str]:
    out = []
    for line in body:
        if pattern.search(line):
            names = [text for text in _LITERAL.findall(line) if _PATH.match(text)]
            shown = names[0] if names else line.strip()
            out.append(f"{_masked(shown)[:120]} ({module})")
    return out


def _masked(text: str) -> str:
    """A line without what looks like a credential."""
    text = re.sub(r"(?i)(\w+://)[^/\s@\"]+@", r"\1***@", text)
    return _SECRET.sub(r"\1\2***", text)


def _distinct(items: Iterable[str], limit: int = 50) -> list[str]:
    return list(dict.fromkeys(items))[:limit]
