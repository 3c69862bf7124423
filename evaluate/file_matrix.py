"""Faults of files: what becomes of a read when a workbook or a database file vanishes, is cut, locked or replaced.

There is no network to disturb here. Each read runs in a process of its own, for a driver may crash or hang on what it
is given; that is an outcome too.
"""

from __future__ import annotations

import gzip
import multiprocessing
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

__all__ = ["FileCell", "run", "table"]

SECONDS = 60.0
ACCESS = Path(__file__).resolve().parent.parent / "tests" / "connectors" / "data" / "users.mdb.gz"
PAGE = b"<!DOCTYPE html><html><title>Sign in</title><body>Please sign in to SharePoint.</body></html>"


@dataclass(frozen=True, slots=True)
class FileCell:
    """What came of one fault on one file."""

    source: str
    fault: str
    outcome: str
    """whole, clear error, wrong error, lost, changed, crash, hang."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Source:
    name: str
    file: Path
    kind: str
    options: Mapping[str, Any]
    object: str


def _read(kind: str, options: Mapping[str, Any], object: str, pipe: Connection) -> None:
    from weighbridge.connectors.errors import ConnectorError
    from weighbridge.connectors.registry import connectors
    from weighbridge.connectors.session import NO_RETRY, Session

    try:
        with connectors[kind](dict(options), Session(retry=NO_RETRY, timeout=5)) as connector:
            pipe.send("open")
            pipe.recv()
            rows = [repr(row) for page in connector.read(object) for row in page.batch.to_pylist()]
        pipe.send(("rows", rows))
    except ConnectorError as error:
        pipe.send(("clear", type(error).__name__))
    except Exception as error:  # noqa: BLE001 - any other class is what is looked for
        pipe.send(("wrong", f"{type(error).__name__}: {error}"[:200]))


def _tried(source: _Source, *, opened: Callable[[], None] = lambda: None) -> tuple[str, Any]:
    """Read in another process; `opened` is done between opening and reading."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_read, args=(source.kind, source.options, source.object, theirs), daemon=True)
    child.start()
    theirs.close()
    try:
        while True:
            if not ours.poll(SECONDS):
                return "hang", None
            said = ours.recv()
            if said != "open":
                return said
            opened()
            ours.send("go on")
    except (EOFError, BrokenPipeError):
        return "crash", None
    finally:
        child.kill()
        child.join()
        ours.close()


def _sources(folder: Path) -> Iterator[_Source]:
    from openpyxl import Workbook

    book = Workbook()
    sheet: Any = book.active
    sheet.title = "Lines"
    sheet.append(["no", "note", "amount"])
    for n in range(1, 3001):
        sheet.append([n, f"line {n} of the list, with some words to fill it", n * 1.25])
    book.save(folder / "lines.xlsx")
    yield _Source("workbook", folder / "lines.xlsx", "excel", {"path": str(folder / "lines.xlsx")}, "Lines")
    with closing(sqlite3.connect(folder / "lines.sqlite")) as database:
        database.execute("CREATE TABLE lines (no INTEGER PRIMARY KEY, note TEXT, amount NUMERIC)")
        rows = [(n, f"line {n} of the list, with some words to fill it", n * 1.25) for n in range(1, 3001)]
        database.executemany("INSERT INTO lines VALUES (?, ?, ?)", rows)
        database.commit()
    url = {"url": f"sqlite:///{folder / 'lines.sqlite'}"}
    yield _Source("SQLite", folder / "lines.sqlite", "sql", url, "lines")
    from evaluate.fault_matrix import drivers

    if "SQLite3" in drivers():
        string = {"connection_string": f"DRIVER=SQLite3;Database={folder / 'lines.sqlite'}"}
        yield _Source("SQLite over ODBC", folder / "lines.sqlite", "odbc", string, "lines")
    if "MDBTools" in drivers() and ACCESS.is_file():
        (folder / "users.mdb").write_bytes(gzip.decompress(ACCESS.read_bytes()))
        string = {"connection_string": f"DRIVER=MDBTools;DBQ={folder / 'users.mdb'}"}
        yield _Source("Access over ODBC", folder / "users.mdb", "odbc", string, "Users")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield


def _cut(path: Path, share: float) -> None:
    body = path.read_bytes()
    path.write_bytes(body[: int(len(body) * share)])


def run(folder: Path, *, only: Sequence[str] = ()) -> list[FileCell]:
    """Every fault on every kind of file that this machine has a driver for."""
    cells: list[FileCell] = []
    for source in _sources(folder):
        kept = folder / "kept"
        shutil.copy(source.file, kept)
        state, whole = _tried(source)
        if state != "rows" or not whole:
            cells.append(FileCell(source.name, "none", "wrong error", str(whole)))
            continue

        def judged(fault: str, said: tuple[str, Any], source: _Source = source, whole: Any = whole) -> FileCell:
            state, found = said
            if state == "rows":
                lost = len(found) < len(whole)
                return FileCell(source.name, fault, "whole" if found == whole else "lost" if lost else "changed")
            word = {"clear": "clear error", "wrong": "wrong error"}.get(state, state)
            return FileCell(source.name, fault, word, str(found or ""))

        def before(fault: str, change: Callable[[Path], Any], source: _Source = source, kept: Path = kept) -> None:
            change(source.file)
            cells.append(judged(fault, _tried(source)))
            shutil.copy(kept, source.file)

        before("not there", lambda path: path.unlink())
        before("empty", lambda path: path.write_bytes(b""))
        before("a login page instead", lambda path: path.write_bytes(PAGE))
        before("cut to a half", lambda path: _cut(path, 0.5))
        before("cut to 95 %", lambda path: _cut(path, 0.95))
        before("zeros instead", lambda path: path.write_bytes(bytes(20_000)))
        cells.append(judged("gone after opening", _tried(source, opened=source.file.unlink)))
        shutil.copy(kept, source.file)
        if source.file.suffix == ".sqlite":
            with _locked(source.file):
                cells.append(judged("locked by a writer", _tried(source)))
        kept.unlink()
        with suppress(OSError):
            source.file.with_suffix(".sqlite-journal").unlink()
    return [c for c in cells if not only or c.source in only]


def table(cells: Sequence[FileCell]) -> str:
    sources, faults = (list(dict.fromkeys(x)) for x in zip(*((c.source, c.fault) for c in cells), strict=True))
    found = {(c.source, c.fault): c for c in cells}
    lines = ["## Files\n", f"| fault | {' | '.join(sources)} |\n|---|{'---|' * len(sources)}"]
    for fault in faults:
        said = []
        for source in sources:
            cell = found.get((source, fault))
            if cell is None:
                said.append("-")
            elif cell.outcome == "whole":
                said.append("whole")
            elif cell.outcome == "clear error":
                said.append(cell.error)
            else:
                said.append(f"**{cell.outcome}** {cell.error}".strip())
        lines.append(f"| {fault} | {' | '.join(said)} |")
    return "\n".join(lines) + "\n"
