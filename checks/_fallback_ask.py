"""Asks a fallback (another system, a URL, a file) for its data: rows, the time they are from, and how it says so."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

__all__ = ["Answer", "Unanswered", "ask_file", "ask_system", "ask_url", "place_of"]

MOST_ROWS = 200_000
"""Rows of a copy that are looked at; its age is told by all of them where there are no more."""
MOST_BYTES = 5_000_000
SECONDS = 10.0
_SAYS_STALE = re.compile(
    r"\b(?:stale|cached|outdated|snapshot|as of|last (?:updated|refreshed|synced)|veraltet|zwischengespeichert|"
    r"stand vom|nicht aktuell)\b",
    re.IGNORECASE,
)
_DATED = re.compile(r"(?<!\d)20\d\d-?[01]\d-?[0-3]\d")
_OBJECT = re.compile(r"^(?!\.)[\w.\- ]+$")


class Unanswered(Exception):
    """The fallback gave nothing that anybody could work with."""


@dataclass(slots=True)
class Answer:
    """What a fallback said."""

    source: str
    rows: int | None = None
    """None where it is not a table."""
    as_of: datetime | None = None
    aged_by: str | None = None
    """What told the age."""
    label: str | None = None
    """How the answer itself says that it is no live one; None where it does not."""
    asked_keys: int = 0
    missing_keys: list[str] = field(default_factory=list)


def place_of(text: str, object: str) -> str:
    """A path or address with `{object}` filled in; a name that would lead elsewhere is refused."""
    if "{object}" not in text:
        return text
    if not _OBJECT.match(object):
        raise Unanswered(f"the object's name {object!r} cannot stand in a path or an address")
    return text.replace("{object}", object)


# --- another system ---------------------------------------------------------------------------------------------------


def ask_system(
    connector: Any, object: str, wanted: Mapping[str, Any], keys: Mapping[str, Sequence[str]], zone: str
) -> Answer:
    """Read the copy of an object; `keys` are the key columns with values that the system itself has."""
    schema = connector.discover(object)
    known = {c.name for c in schema.columns}
    answer = Answer(f"{connector.session.system}.{object}")
    aged = wanted.get("age_column")
    label = wanted.get("label_column") or aged
    for name, column in (("age_column", aged), ("label_column", wanted.get("label_column"))):
        if column is not None and column not in known:
            raise Unanswered(f"{answer.source} has no column {column}, which {name} names")
    columns = list(dict.fromkeys([*(k for k in keys if k in known), *(c for c in (aged, label) if c)]))
    seen = _Seen(answer, [k for k in keys if k in known] if set(keys) <= known else [], keys, zone)
    for page in connector.read(object, columns=columns or None):
        names = page.batch.schema.names
        values = {name: page.batch.column(name).to_pylist() for name in columns if name in names}
        seen.page(page.batch.num_rows, values, aged, label)
        if seen.rows >= MOST_ROWS:
            break
    seen.end(aged, label, whole=seen.rows < MOST_ROWS)
    return answer


class _Seen:
    """Adds up the pages of a table."""

    def __init__(self, answer: Answer, columns: list[str], keys: Mapping[str, Sequence[str]], zone: str) -> None:
        self.answer = answer
        self.columns = columns
        self.zone = zone
        self.wanted = set(zip(*(keys[c] for c in columns), strict=True)) if columns else set()
        self.found: set[tuple[str, ...]] = set()
        self.rows = 0
        self.newest: datetime | None = None
        self.labelled = 0

    def page(self, rows: int, values: Mapping[str, list[Any]], aged: str | None, label: str | None) -> None:
        self.rows += rows
        if self.columns:
            self.found |= self.wanted & set(zip(*([str(v) for v in values[c]] for c in self.columns), strict=True))
        if aged is not None:
            times = [t for t in (as_time(v, self.zone) for v in values[aged]) if t is not None]
            self.newest = max([*times, *([self.newest] if self.newest else [])], default=None)
        if label is not None:
            self.labelled += sum(v not in (None, "") for v in values[label])

    def end(self, aged: str | None, label: str | None, *, whole: bool) -> None:
        answer = self.answer
        answer.rows = self.rows
        if self.newest is not None:
            answer.as_of, answer.aged_by = self.newest, f"column {aged}"
        if label is not None and self.rows and self.labelled == self.rows:
            answer.label = f"column {label} in every row"
        if self.columns and whole:
            answer.asked_keys = len(self.wanted)
            answer.missing_keys = sorted(" / ".join(k) for k in self.wanted - self.found)


# --- a URL ------------------------------------------------------------------------------------------------------------


def ask_url(url: str, wanted: Mapping[str, Any], zone: str, now: datetime) -> Answer:
    """One GET; a redirect is no answer, for it may lead back to the system."""
    import requests

    parts = urlsplit(url)
    answer = Answer(f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}")
    try:
        with (
            requests.Session() as session,
            session.get(url, timeout=SECONDS, stream=True, allow_redirects=False) as got,
        ):
            body = _bounded(got.iter_content(65_536))
            status, headers = got.status_code, dict(got.headers)
            text = body.decode(got.encoding or "utf-8", "replace")
    except requests.RequestException as error:
        raise Unanswered(f"{answer.source} gave no answer ({type(error).__name__})") from None
    if not 200 <= status < 300:
        raise Unanswered(f"{answer.source} answered with {status}")
    if not body.strip():
        raise Unanswered(f"{answer.source} answered with nothing")
    document = _document(text)
    answer.rows = len(document) if isinstance(document, list) else None
    _age_of_document(answer, document, wanted, zone)
    if answer.as_of is None:
        _age_of_headers(answer, {k.lower(): v for k, v in headers.items()}, wanted, zone, now)
    answer.label = answer.label or _label(wanted, "\n".join(f"{k}: {v}" for k, v in headers.items()), text)
    return answer


def _bounded(pieces: Iterable[bytes]) -> bytes:
    body = b""
    for piece in pieces:
        body += piece
        if len(body) > MOST_BYTES:
            break
    return body


def _document(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _age_of_document(answer: Answer, document: Any, wanted: Mapping[str, Any], zone: str) -> None:
    path = wanted.get("age_field")
    if path is None:
        return
    found = document
    for part in str(path).split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    answer.as_of = as_time(found, zone)
    if answer.as_of is not None:
        answer.aged_by, answer.label = f"field {path}", f"field {path}"


def _age_of_headers(
    answer: Answer, headers: Mapping[str, str], wanted: Mapping[str, Any], zone: str, now: datetime
) -> None:
    named = wanted.get("age_header")
    for name in [str(named).lower()] if named else ["age", "last-modified"]:
        value = headers.get(name)
        if value is None:
            continue
        if re.fullmatch(r"\d{1,9}", value.strip()):
            answer.as_of = now - timedelta(seconds=int(value))
        else:
            answer.as_of = _http_date(value) or as_time(value, zone)
        if answer.as_of is not None:
            answer.aged_by = f"header {name}"
            if name != "last-modified":
                answer.label = f"header {name}"
            return


def _http_date(value: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _label(wanted: Mapping[str, Any], *texts: str) -> str | None:
    """The words by which an answer says that it is not a live one."""
    pattern = wanted.get("label")
    if pattern is not None:
        hit = next((m for m in (re.search(str(pattern), text, re.IGNORECASE) for text in texts) if m), None)
        return None if hit is None else f"says '{hit[0][:60]}'"
    for text in texts:
        hit = _SAYS_STALE.search(text) or re.search(r"(?im)^warning: 11[013]\b", text)
        if hit is not None:
            return f"says '{hit[0]}'"
    return None


# --- a file -----------------------------------------------------------------------------------------------------------

_READERS = {
    ".csv": "read_csv(?, all_varchar=true)",
    ".tsv": "read_csv(?, all_varchar=true)",
    ".json": "read_json_auto(?, maximum_object_size=50000000)",
    ".ndjson": "read_json_auto(?)",
    ".jsonl": "read_json_auto(?)",
    ".parquet": "read_parquet(?)",
}


def ask_file(pattern: Path, wanted: Mapping[str, Any], keys: Mapping[str, Sequence[str]], zone: str) -> Answer:
    """The newest file that the pattern finds; CSV, JSON and Parquet are looked into."""
    files = [p for p in pattern.parent.glob(pattern.name) if p.is_file()] if pattern.parent.is_dir() else []
    if not files:
        raise Unanswered(f"there is no file {pattern.name} in {pattern.parent}")
    path = max(files, key=lambda p: p.stat().st_mtime)
    answer = Answer(path.name)
    if not path.stat().st_size:
        raise Unanswered(f"{path.name} is empty")
    reader = _READERS.get(path.suffix.lower())
    if reader is not None:
        _look_into(path, reader, answer, wanted, keys, zone)
    if path.suffix.lower() == ".json" and path.stat().st_size <= MOST_BYTES:
        document = _document(path.read_text("utf-8", "replace"))
        if document is None:
            raise Unanswered(f"{path.name} is no JSON")
        if isinstance(document, Mapping):
            answer.rows = None  # one document, not a table
        _age_of_document(answer, document, wanted, zone)
    if answer.as_of is None and not (wanted.get("age_column") or wanted.get("age_field")):
        answer.as_of = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        answer.aged_by = "the file's time of change"
    if answer.label is None and _DATED.search(path.name):
        answer.label = "the date in its name"
    if answer.label is None and wanted.get("label") and path.suffix.lower() in (*_READERS, ".txt", ".html", ".xml"):
        with path.open("rb") as opened:
            answer.label = _label(wanted, opened.read(65_536).decode("utf-8", "replace"))
    return answer


def _look_into(
    path: Path,
    reader: str,
    answer: Answer,
    wanted: Mapping[str, Any],
    keys: Mapping[str, Sequence[str]],
    zone: str,
) -> None:
    import duckdb

    with closing(duckdb.connect()) as database:
        try:
            found = database.sql(f"SELECT * FROM {reader} LIMIT {MOST_ROWS}", params=[str(path)])
            table: Any = found.to_arrow_table()
        except duckdb.Error as error:
            raise Unanswered(f"{path.name} cannot be read ({type(error).__name__})") from None
    known = set(table.schema.names)
    aged = wanted.get("age_column")
    label = wanted.get("label_column") or aged
    for name, column in (("age_column", aged), ("label_column", wanted.get("label_column"))):
        if column is not None and column not in known:
            raise Unanswered(f"{path.name} has no column {column}, which {name} names")
    held = [k for k in keys if k in known] if set(keys) <= known else []
    seen = _Seen(answer, held, keys, zone)
    needed = dict.fromkeys([*held, *(c for c in (aged, label) if c)])
    seen.page(table.num_rows, {name: table.column(name).to_pylist() for name in needed}, aged, label)
    seen.end(aged, label, whole=table.num_rows < MOST_ROWS)


def as_time(value: Any, zone: str) -> datetime | None:
    """A moment from what a system, a file or a header says; without a zone it is in `zone`. None if it is no time."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        if isinstance(value, (int, float)):
            return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, UTC)
        if isinstance(value, datetime):
            found = value
        elif hasattr(value, "isoformat"):
            found = datetime.fromisoformat(value.isoformat())
        else:
            found = datetime.fromisoformat(str(value).strip())
    except (ValueError, OverflowError, OSError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=ZoneInfo(zone))
