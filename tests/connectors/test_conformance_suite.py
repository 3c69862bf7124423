"""The conformance suite: sql passes it on two databases, a stranger's connector passes it, a wrong one does not."""

from __future__ import annotations

import csv
import itertools
import sqlite3
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pytest

from weighbridge.connectors.base import Column, Connector, ConnectorOptions, Count, Limit, Page, Probe, TableSchema
from weighbridge.connectors.conformance import ConnectorConformance, Make
from weighbridge.connectors.errors import FileError, MissingObjectError
from weighbridge.connectors.session import Session
from weighbridge.connectors.sql import SqlConnector
from weighbridge.sandbox.postgres import PostgresSandbox

ITEMS = """
CREATE TABLE items (id int NOT NULL PRIMARY KEY, name varchar(20) NOT NULL, price numeric(8, 2), updated_at timestamp);
INSERT INTO items VALUES
  (1, 'a', 1.25, '2024-01-01 10:00:00'), (2, 'b', NULL, '2024-01-02 10:00:00'), (3, '', 3, '2024-01-02 10:00:00'),
  (4, 'd', 4, NULL), (5, 'e', 5.5, '2024-01-05 10:00:00'), (6, 'f', 6, '2024-01-06 10:00:00'),
  (7, 'g', 7, '2024-01-07 10:00:00');
"""


@pytest.fixture(scope="session")
def items_url(postgres: PostgresSandbox) -> str:
    with postgres.connect() as admin:
        admin.execute("CREATE DATABASE items")
        admin.execute("DROP ROLE IF EXISTS keeper")
        admin.execute("CREATE ROLE keeper LOGIN PASSWORD 'canary-4711'")
    with postgres.connect("items") as own:
        own.execute(ITEMS)
        own.execute("GRANT SELECT ON items TO keeper")
    return postgres.url("items", user="keeper", password="canary-4711")


class TestSqlOnPostgres(ConnectorConformance):
    @pytest.fixture
    def make_connector(self, items_url: str) -> Make:
        return lambda session: SqlConnector({"url": items_url}, session)

    @pytest.fixture
    def known_object(self) -> str:
        return "items"


class TestSqlOnSqlite(ConnectorConformance):
    @pytest.fixture
    def make_connector(self, tmp_path: Path) -> Make:
        with sqlite3.connect(tmp_path / "items.db") as database:
            database.executescript(ITEMS)
        database.close()
        return lambda session: SqlConnector({"url": f"sqlite:///{tmp_path}/items.db"}, session)

    @pytest.fixture
    def known_object(self) -> str:
        return "items"


# --- a stranger's connector, in a page -----------------------------------------------------------------------------


class CsvOptions(ConnectorOptions):
    folder: Path


class CsvConnector(Connector):
    """A folder of CSV files, all columns text, `id` the key: what a third party would write."""

    kind = "csv_folder"
    options_model = CsvOptions
    options: CsvOptions
    networked = False

    def open(self) -> None:
        if not self.options.folder.is_dir():
            raise FileError(f"there is no folder {self.options.folder}.")

    def close(self) -> None:
        return None

    def fork(self, session: Session) -> Self:
        return type(self)(self.options, session)

    def probe(self) -> Probe:
        return Probe("CSV", None, None, 0.0, {"files": len(self.objects())})

    def limits(self) -> Sequence[Limit]:
        at = datetime.now(UTC).isoformat()
        return [Limit("writers", "file", 1, "users", "concurrent", None, "reported", self.session.environment, at)]

    def objects(self) -> Sequence[str]:
        return sorted(path.stem for path in self.options.folder.glob("*.csv"))

    def _records(self, name: str) -> Iterator[dict[str, Any]]:
        path = self.options.folder / f"{name}.csv"
        if not path.is_file():
            raise MissingObjectError(f"there is no {name}.csv; there are {', '.join(self.objects())}.")
        with path.open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)

    def discover(self, object: str) -> TableSchema:
        first = next(self._records(object))
        return TableSchema(tuple(Column(n, pa.string(), n != "id", "text") for n in first), ("id",))

    def count(self, object: str) -> Count:
        return Count(sum(1 for _ in self._records(object)), exact=True)

    def read(
        self,
        object: str,
        *,
        columns: Sequence[str] | None = None,
        after: str | None = None,
        page_rows: int | None = None,
    ) -> Iterator[Page]:
        names = list(columns or [c.name for c in self.discover(object).columns])
        records = self._records(object)
        done = int(after or 0)
        for _ in range(done):
            next(records)
        while chunk := list(itertools.islice(records, page_rows or 1000)):
            started = time.monotonic()
            if missing := set(names) - set(chunk[0]):
                raise MissingObjectError(f"{object} has no column {', '.join(missing)}.")
            batch = pa.RecordBatch.from_arrays(
                [pa.array([r[n] for r in chunk], pa.string()) for n in names], names=names
            )
            done += len(chunk)
            yield Page(batch, tuple(k for k in ("id",) if k in names), time.monotonic() - started, 0, cursor=str(done))


@pytest.fixture
def csv_folder(tmp_path: Path) -> Path:
    (tmp_path / "parts.csv").write_text("id,name\n" + "".join(f"{i},part {i}\n" for i in range(1, 10)))
    return tmp_path


class TestAStrangersConnector(ConnectorConformance):
    @pytest.fixture
    def make_connector(self, csv_folder: Path) -> Make:
        return lambda session: CsvConnector({"folder": csv_folder}, session)

    @pytest.fixture
    def known_object(self) -> str:
        return "parts"


# --- connectors that are wrong in one way each fail it ---------------------------------------------------------------

WRONG = {
    "loses a row between pages": (
        "def read(self, object, **k):\n    yield from (p for p in super().read(object, **k) if p.cursor != '4')\n",
        "test_page_size_changes_no_row",
    ),
    "reads a key twice": (
        "def read(self, object, **k):\n    for p in super().read(object, **k):\n        yield p\n        yield p\n",
        "test_read_gives_what_discover_and_count_said",
    ),
    "says a table is there that is not": (
        "def count(self, object):\n    return super().count('parts')\n",
        "test_a_missing_object_is_a_missing_object",
    ),
    "ignores the cursor": (
        "def read(self, object, *, after=None, **k):\n    yield from super().read(object, **k)\n",
        "test_a_cursor_resumes_behind_its_page",
    ),
    "prints its secret": (
        "def __repr__(self):\n    return self.options.key.get_secret_value()\n",
        "test_secrets_are_never_printed",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_connector_fails_the_suite(fault: str, pytester: pytest.Pytester) -> None:
    body, named = WRONG[fault]
    indented = "".join(f"    {line}\n" for line in body.splitlines())
    here = Path(__file__)
    pytester.makepyfile(
        f"""
import importlib.util, sys, pytest
from pydantic import SecretStr
from weighbridge.connectors.conformance import ConnectorConformance
spec = importlib.util.spec_from_file_location("good", {str(here)!r})
good = importlib.util.module_from_spec(spec)
sys.modules["good"] = good
spec.loader.exec_module(good)

Path = good.Path

class Options(good.CsvOptions):
    key: SecretStr = SecretStr("canary-99")

class Wrong(good.CsvConnector):
    options_model = Options
{indented}
class TestWrong(ConnectorConformance):
    @pytest.fixture
    def make_connector(self, tmp_path):
        (tmp_path / "parts.csv").write_text("id,name\\n" + "".join(f"{{i}},part {{i}}\\n" for i in range(1, 10)))
        return lambda session: Wrong({{"folder": tmp_path}}, session)

    @pytest.fixture
    def known_object(self):
        return "parts"
"""
    )
    result = pytester.inline_run("-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-k", f"{named} or test_probe")
    passed, _, failures = result.listoutcomes()
    failed = {report.nodeid.split("::")[-1].split("[")[0] for report in failures}
    assert named in failed
    assert [p for p in passed if "test_probe" in p.nodeid], "the suite tells the wrong from the right"
