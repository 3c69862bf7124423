"""Excel workbooks as a system: one file, a folder or a glob of monthly files; read only, never written.

Objects are addressed as `Sheet`, `Sheet!A3:F` (its first row is the header), `#Table`, `@Name`, or a sheet pattern
such as `2025-*`. Several files or sheets are one object; its rows then carry `_file` and `_sheet`.
"""

from __future__ import annotations

import glob as globbing
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, cast

from pydantic import Field, SecretStr, model_validator

from weighbridge.connectors._workbook_arrow import Profile, column_type
from weighbridge.connectors._workbook_book import Book, lock_owner
from weighbridge.connectors._workbook_rows import (
    Known,
    Pending,
    Ready,
    all_fitted,
    batches,
    differences,
    drop_empty,
    holds,
    keepable,
    origin_columns,
    profile_region,
    take,
)
from weighbridge.connectors._workbook_table import Region, regions, rows_of
from weighbridge.connectors.base import (
    Column,
    Connector,
    ConnectorOptions,
    Count,
    Limit,
    Misfit,
    Observation,
    Operation,
    OperationResult,
    Page,
    Probe,
    TableSchema,
    filter_of,
)
from weighbridge.connectors.errors import FileError, MissingObjectError, RejectedError
from weighbridge.connectors.session import Session

if TYPE_CHECKING:
    pass

__all__ = ["ExcelConnector", "ExcelOptions", "workbooks_among"]

SUFFIXES = {".xlsx", ".xlsm", ".xlsb", ".xls", ".xltx", ".xltm"}
PAGE_ROWS = 20_000
MAX_FILES = 2000
LARGE = 8 << 20
"""Bytes of a file from which everyday operations open it one at a time: each holds the whole sheet in memory."""


def workbooks_among(paths: Iterable[Path]) -> list[Path]:
    """The workbooks by name, without the owner files of those that somebody has open."""
    return sorted(
        p for p in paths if p.suffix.lower() in SUFFIXES and p.is_file() and not p.name.startswith(("~$", "."))
    )


class ExcelOptions(ConnectorOptions):
    """Options of `connector = "excel"`: `path` (file, folder or pattern) or `glob`, `password`, `edit_seconds`."""

    path: Path | None = None
    glob: str | None = None
    password: SecretStr | None = None
    edit_seconds: Annotated[float, Field(gt=0)] | None = None
    """How long a person holds the workbook to change something: what one writer at a time means depends on it."""

    @model_validator(mode="after")
    def _one_place(self) -> ExcelOptions:
        if (self.path is None) == (self.glob is None):
            raise ValueError("give either path (a file or a folder) or glob (such as finance/2025-*.xlsx)")
        return self


class ExcelConnector(Connector):
    """Reads workbooks: values from the package's own XML, of binary formats by calamine and checked against records."""

    kind: ClassVar[str] = "excel"
    options_model: ClassVar[type[ConnectorOptions]] = ExcelOptions
    networked: ClassVar[bool] = False

    def __init__(self, options: Mapping[str, Any] | ConnectorOptions, session: Session | None = None) -> None:
        super().__init__(options, session)
        self._books: dict[Path, Book] = {}
        self._known: dict[str, Known] = {}
        self._single = threading.Lock()

    @property
    def _options(self) -> ExcelOptions:
        return cast("ExcelOptions", self.options)

    # --- Files -----------------------------------------------------------------------------------------------

    def paths(self) -> Sequence[Path]:
        """The workbooks, sorted by name. Raises `FileError` where there is none."""
        options = self._options
        path, pattern = options.path, options.glob
        if path is not None and pattern is None and not path.exists() and any(c in str(path) for c in "*?["):
            pattern = str(path)
        where = pattern or str(path)
        if pattern is not None:
            # the pattern may be absolute or relative, which Path.glob does not take alike
            found = [Path(name) for name in globbing.glob(pattern, recursive=True)]  # noqa: PTH207
        elif path is not None and path.is_dir():
            found = list(path.iterdir())
        elif path is not None and path.exists():
            return [path]
        else:
            raise FileError(f"{where}: there is no such file.", remedy="Check path of this system.")
        books = workbooks_among(found)
        if not books:
            raise FileError(
                f"{where}: no workbook (.xlsx, .xlsm, .xlsb, .xls) is there.",
                remedy="Check path or glob of this system.",
            )
        if len(books) > MAX_FILES:
            raise FileError(f"{where}: {len(books):,} workbooks, above the {MAX_FILES:,} that make one system.")
        return books

    def file_password(self) -> str | None:
        """The password for encrypted files."""
        return self._options.password.get_secret_value() if self._options.password else None

    # --- opening ---------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open every workbook's container. Raises `FileError`."""
        with self.session.attempt("open"):
            for path in self.paths():
                self._book(path)

    def close(self) -> None:
        """Let go of everything read."""
        self._books.clear()
        self._known.clear()

    def fork(self, session: Session) -> Self:
        """Another reader of the same files for another thread."""
        twin = type(self)(self.options, session)
        twin._single = self._single
        return twin

    def _book(self, path: Path) -> Book:
        book = self._books.get(path)
        if book is None or book.changed():
            book = Book(path, self.file_password())
            self.session.meter.count(received=book.stamp[1])
            self._books[path] = book
        return book

    def probe(self) -> Probe:
        """Which files, how large, how old, written by what, and who has them open."""
        started = time.perf_counter()
        with self.session.attempt("probe"):
            paths = self.paths()
            books = [self._book(p) for p in paths]
        newest = max(books, key=lambda b: b.stamp[0])
        observations: list[Observation] = []
        for path in paths:
            owner = lock_owner(path)
            if owner:
                observations.append(
                    Observation(
                        "locked", f"{path.name} is open: {owner} holds it.", {"file": path.name, "owner": owner}
                    )
                )
        facts: dict[str, Any] = {
            "files": len(paths),
            "bytes": sum(b.stamp[1] for b in books),
            "modified": datetime.fromtimestamp(newest.stamp[0] / 1e9, UTC).isoformat(timespec="seconds"),
            "newest": newest.path.name,
            "formats": sorted({b.format for b in books}),
            "encrypted": sum(b.package.encrypted for b in books),
            "last_saved_by": newest.parts.modified_by,
            "locked_by": [o.data["owner"] for o in observations],
        }
        product = f"Excel workbook (.{newest.format})" if len(paths) == 1 else f"{len(paths)} Excel workbooks"
        return Probe(product, newest.parts.application, None, time.perf_counter() - started, facts, tuple(observations))

    def limits(self) -> Sequence[Limit]:
        """The ceilings of the format, and one writer at a time where the file may be written."""
        paths = self.paths()
        books = [self._book(p) for p in paths]
        smallest = min(books, key=lambda b: b.max_rows)
        at = datetime.now(UTC).isoformat(timespec="seconds")

        def limit(name: str, cap: float, unit: str, used: float | None, window: str | None, **detail: Any) -> Limit:
            environment = self.session.environment
            return Limit(name, "file", cap, unit, window, used, "reported", environment, at, detail)

        seen = [scan.last_row for book in books for scan in book._scans.values()]
        found = [
            limit("rows", smallest.max_rows, "rows", max(seen) if seen else None, None, per="sheet"),
            limit("columns", smallest.max_columns, "columns", None, None, per="sheet"),
            limit("cell_characters", 32_767, "characters", None, None, per="cell"),
        ]
        writable = [p for p in paths if p.stat().st_mode & 0o222]
        if writable:
            held = sum(1 for p in writable if lock_owner(p))
            found.append(
                limit(
                    "writers",
                    1,
                    "users",
                    float(held),
                    "concurrent",
                    files=len(writable),
                    held_s=self._options.edit_seconds,
                    note="Excel locks the file for the first who opens it; everybody else gets a read-only copy",
                )
            )
        return found

    def objects(self) -> Sequence[str]:
        """Sheets, tables and plain named ranges of the first workbook."""
        parts = self._book(self.paths()[0]).parts
        visible = [s.name for s in parts.sheets if s.kind == "worksheet"]
        return [*visible, *(f"#{t.name}" for t in parts.tables)]

    # --- looking at one object -------------------------------------------------------------------------------

    def discover(self, object: str) -> TableSchema:
        """Columns with the types most of their cells have. Raises `MissingObjectError`, `FileError`."""
        return self._look(object).schema

    def count(self, object: str) -> Count:
        """Data rows: without header, blank and totals rows."""
        return Count(self._look(object).rows, exact=True)

    def _look(self, address: str) -> Known:
        if filter_of(address):
            raise RejectedError(
                f"{self.session.system}: a workbook cannot be filtered ({filter_of(address)}).",
                remedy="Remove weighbridge.filter from the object and address a sheet, range or table instead.",
            )
        address = str(address)
        books = [self._book(p) for p in self.paths()]
        stamps = tuple((b.path, b.stamp) for b in books)
        known = self._known.get(address)
        if known is not None and known.stamps == stamps:
            return known
        with self.session.attempt("discover"):
            known = self._profile(address, books, stamps)
        self._known[address] = known
        return known

    def _profile(self, address: str, books: list[Book], stamps: Any) -> Known:
        found: list[Region] = []
        observations: list[Observation] = []
        missing: list[str] = []
        profiles: dict[str, Profile] = {}
        rows = 0
        ready: list[Ready] | None = None
        for book in books:
            try:
                own = regions(book, address)
            except MissingObjectError:
                if len(books) == 1:
                    raise
                missing.append(book.path.name)
                continue
            ready = [] if len(books) == len(own) == 1 and keepable(own[0]) else None
            for region in own:
                observations.extend(region.observations)
                rows += profile_region(region, profiles, observations, ready)
            if ready is None:
                book.release()  # one file's values in memory at a time
            found.extend(own)
        if not found:
            raise MissingObjectError(f"None of {len(books)} files has {address}: {', '.join(missing[:10])}.")
        if missing:
            observations.insert(
                0,
                Observation(
                    "files_without_object",
                    f"{len(missing)} of {len(books)} files have no {address}: {', '.join(missing[:10])}.",
                    {"files": missing},
                ),
            )
        observations.extend(differences(found))
        observations.extend(drop_empty(found, profiles))
        columns = [
            Column(name, type_, None, native)
            for name, profile in profiles.items()
            for type_, native in [column_type(profile)]
        ]
        columns.extend(origin_columns(found, profiles))
        marked = {name: p.marked for name, p in profiles.items() if p.marked}
        if marked:
            listed = ", ".join(f"{n} in {name}" for name, n in marked.items())
            observations.append(
                Observation(
                    "cells_without_value",
                    f"Cells that show an error or were never calculated, read as misfits: {listed}.",
                    marked,
                )
            )
        schema = TableSchema(tuple(columns), (), tuple(observations))
        known = Known(stamps, found, schema, rows, tuple(observations), all_fitted(ready, schema) if ready else None)
        if known.ready is not None:
            found[0].book.release()
        return known

    def read(
        self,
        object: str,
        *,
        columns: Sequence[str] | None = None,
        after: str | None = None,
        page_rows: int | None = None,
    ) -> Iterator[Page]:
        """Pages in the order of files, sheets and rows; `after` is the number of rows already read."""
        known = self._look(object)
        wanted = list(known.schema.columns)
        if columns is not None:
            wanted = []
            for name in columns:
                column = known.schema.column(name)
                if column is None:
                    have = ", ".join(c.name for c in known.schema.columns[:30])
                    raise MissingObjectError(f"{object}: there is no column {name}; it has {have}.")
                wanted.append(column)
        skip = int(after) if after and after.isdigit() else 0
        return self._pages(known, wanted, skip, page_rows or PAGE_ROWS)

    def _pages(self, known: Known, wanted: list[Column], skip: int, size: int) -> Iterator[Page]:
        import pyarrow as pa

        schema = pa.schema([pa.field(c.name, c.type) for c in wanted])
        done = skip
        pending = Pending(observations=list(known.observations))
        started, calls = time.perf_counter(), 1
        for region in known.regions:
            if region.book.changed():
                raise FileError(
                    f"{region.book.path}: somebody saved it while it was read.",
                    remedy="Run again, or read a copy that nobody works in.",
                )
            passed = 0
            for seen, left_out, batch in batches(known, region, wanted, schema, skip):
                passed += seen
                pending.left_out += left_out
                if batch is None:
                    continue
                rows, misfits = batch
                pending.misfits.extend(Misfit(m.row + pending.rows, m.column, m.raw, m.reason) for m in misfits)
                pending.batches.append(rows)
                pending.rows += rows.num_rows
                self.session.meter.count(rows=rows.num_rows)
                while pending.rows >= size:
                    page, pending = take(pending, size, schema)
                    done += page.batch.num_rows
                    yield replace(page, seconds=time.perf_counter() - started, calls=calls, cursor=str(done))
                    started, calls = time.perf_counter(), 0
            skip = max(0, skip - passed)
            if len(known.regions) > 1:
                region.book.release()
        if pending.rows or pending.left_out or calls:
            page, _ = take(pending, pending.rows, schema)
            done += page.batch.num_rows
            yield replace(page, seconds=time.perf_counter() - started, calls=calls, cursor=str(done))

    # --- Loadable --------------------------------------------------------------------------------------------

    def operations(self, object: str, keys: Sequence[tuple[Any, ...]]) -> Mapping[str, Operation]:  # noqa: ARG002
        """What a user of a workbook does: open it and find a row, or open it and look at the first page.

        There is no server: every user opens the whole file. So that is what is measured.
        """
        address, columns = str(object), tuple(getattr(object, "key", ()))
        paths = self.paths()

        def opened(path: Path) -> tuple[Region, int]:
            with self.session.attempt("open workbook"):
                book = Book(path, self.file_password())
                region = regions(book, address)[0]
                book.grid(region.sheet)
            self.session.meter.count(received=book.stamp[1])
            return region, book.stamp[1]

        def guarded(body: Callable[[], OperationResult]) -> OperationResult:
            if max(p.stat().st_size for p in paths) < LARGE:
                return body()
            with self._single:
                return body()

        def lookup(key: tuple[Any, ...]) -> OperationResult:
            def body() -> OperationResult:
                size = 0
                for calls, path in enumerate(paths, 1):
                    region, more = opened(path)
                    size += more
                    if holds(region, key, columns):
                        return OperationResult(calls, 1, size)
                return OperationResult(len(paths), 0, size)

            return guarded(body)

        def page(_key: tuple[Any, ...]) -> OperationResult:
            def body() -> OperationResult:
                region, size = opened(paths[-1])
                batch = next(iter(rows_of(region)), None)
                return OperationResult(1, min(100, len(batch.rows)) if batch else 0, size)

            return guarded(body)

        files = paths[0].name if len(paths) == 1 else f"up to {len(paths)} workbooks"
        return {
            "lookup": Operation("lookup", lookup, f"open {files} and find the row of one key"),
            "page": Operation("page", page, f"open {paths[-1].name} and show the first 100 rows"),
        }
