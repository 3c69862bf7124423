"""Resilience on a real PostgreSQL: a reset in the result set, hang, refused and full, and not a row lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from weighbridge.checks.base import Finding, Measurement
from weighbridge.checks.resilience import ResilienceCheck
from weighbridge.connectors.sql import SqlConnector
from weighbridge.landing import land
from weighbridge.sandbox.postgres import PostgresSandbox, available


@pytest.fixture(scope="module")
def things_url(tmp_path_factory):
    missing = available()
    if missing:
        pytest.skip(missing)
    with PostgresSandbox(tmp_path_factory.mktemp("pg"), settings={"max_connections": 30}) as server:
        with server.connect() as admin:
            admin.execute(
                "CREATE TABLE things AS SELECT n AS id, 'name ' || n AS name, repeat('x', 80) AS note, "
                "now() AS changed FROM generate_series(1, 900) n"
            )
            admin.execute("ALTER TABLE things ADD PRIMARY KEY (id)")
        yield server.url()


@pytest.fixture
def database(bench, things_url, tmp_path):
    """`database(kind)`: the check's arguments for a SQL connector on the server."""
    made = bench(seen=False)
    open_connectors = []

    def make(kind=SqlConnector, cells=None):
        session = made.context.session.fork(system="shop", timeout=5)
        connector = kind({"url": things_url}, session)
        connector.open()
        open_connectors.append(connector)
        schema = connector.discover("things")
        names = [c.name for c in schema.columns]
        landing = land(connector, "things", tmp_path / "pg.duckdb", schema=schema, columns=names, keys=["id"])
        context = replace(
            made.context,
            connector=lambda session=None: connector if session is None else connector.fork(session),
            session=session,
            now=lambda: datetime.now(UTC),
            settings={"fault_matrix": cells or "default"},
        )
        evidence = SimpleNamespace(landing=landing, schema=schema)
        return SimpleNamespace(point=made.point, evidence=evidence, context=context)

    yield make
    for connector in open_connectors:
        connector.close()


def codes(results):
    return {r.code for r in results if isinstance(r, Finding)}


@pytest.mark.parametrize("matrix", ["default", pytest.param("full", marks=pytest.mark.slow)])
def test_the_sql_connector_is_clean(database, ask, matrix):
    results = ask(ResilienceCheck(), database(cells=matrix))
    assert [f"{r.code}: {r.message}" for r in results if isinstance(r, Finding)] == []
    data = next(r.data for r in results if isinstance(r, Measurement))
    assert data["protocol"] == "postgresql"
    outcomes = {cell["cell"]: (cell["outcome"], cell["error"]) for cell in data["cells"]}
    assert outcomes["too many connections"] == ("clear error", "ThrottledError")
    assert outcomes["down"] == ("clear error", "UnreachableError")
    assert outcomes["reset in the result, then well"][0] in ("recovered", "taken up")


def test_a_result_that_ends_at_the_reset_is_caught(database, ask):
    class TakesWhatCame(SqlConnector):
        def read(self, object, **options):
            pages = super().read(object, **options)
            while True:
                try:
                    yield next(pages)
                except Exception:  # noqa: BLE001 - the bug; also ends at StopIteration
                    return

    class NoRetry(TakesWhatCame):
        def fork(self, session):
            return super().fork(session.fork(retry=replace(session.retry, attempts=1)))

    results = ask(ResilienceCheck(), database(NoRetry, ["reset in the result, then well"]))
    assert "resilience.records_lost" in codes(results)
