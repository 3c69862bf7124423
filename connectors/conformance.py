"""The test suite that every connector passes: subclass it, give it two fixtures, run pytest.

    class TestMine(ConnectorConformance):
        @pytest.fixture
        def make_connector(self, ...):          # session -> Connector, not yet open
            return lambda session: MyConnector({...}, session)

        @pytest.fixture
        def known_object(self):                 # an object with 5 to 1,000 rows that nobody changes meanwhile
            return "orders"

The system must be real: a server on loopback or a file. A test that does not apply skips with the reason; none of them
returns early, and an object without rows fails, for it would prove nothing.
"""

# ruff: noqa: S101 - a test suite asserts

from __future__ import annotations

import itertools
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from pydantic import SecretStr

from weighbridge.connectors.base import (
    Connector,
    ConnectorOptions,
    Count,
    DriverText,
    Files,
    Incremental,
    Limit,
    Loadable,
    Page,
    Probe,
    Sql,
    TableSchema,
    Writable,
)
from weighbridge.connectors.errors import (
    BudgetExceeded,
    MissingObjectError,
    SettingsError,
    UnreachableError,
    WriteForbidden,
)
from weighbridge.connectors.session import NO_RETRY, Budget, Endpoint, Session

__all__ = ["ConnectorConformance"]

Make = Callable[[Session], Connector]
MISSING = "no_such_object_xyz"
SNAKE = re.compile(r"[a-z][a-z0-9_]*")


def _session(**changes: Any) -> Session:
    return Session(system="conformance", retry=NO_RETRY, **changes)


def _rows(pages: Iterator[Page]) -> list[dict[str, Any]]:
    return [row for page in pages for row in page.batch.to_pylist()]


def _key_values(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[tuple[Any, ...]]:
    return [tuple(row[k] for k in keys) for row in rows]


def _printed(connector: Connector, *more: object) -> str:
    return " ".join(map(repr, (connector, connector.options, *more))) + " ".join(map(str, more))


class ConnectorConformance:
    """Every verb's contract, asserted on a real system."""

    @pytest.fixture
    def make_connector(self) -> Make:
        """`session -> Connector`, not yet open."""
        raise NotImplementedError("give the fixture make_connector: a callable that takes a Session")

    @pytest.fixture
    def known_object(self) -> str:
        """The physical name of an object with 5 to 1,000 rows."""
        raise NotImplementedError("give the fixture known_object: the name of an object with 5 to 1,000 rows")

    @pytest.fixture
    def opened(self, make_connector: Make) -> Iterator[Connector]:
        """The connector, open."""
        with make_connector(_session()) as connector:
            yield connector

    # --- being a connector ---------------------------------------------------------------------------------------

    def test_declares_itself(self, make_connector: Make) -> None:
        connector = make_connector(_session())
        assert SNAKE.fullmatch(connector.kind), "kind is the word in weighbridge.toml: snake_case"
        assert issubclass(connector.options_model, ConnectorOptions)
        assert isinstance(connector.options, connector.options_model)
        for name, field in connector.options_model.model_fields.items():
            secret = name in {"password", "token", "api_key", "client_secret", "security_token", "access_token"}
            if secret or name in {"connection_string", "url", "instance_url"}:
                assert "SecretStr" in str(field.annotation), f"the option {name} must be a SecretStr"

    def test_making_one_touches_nothing(self, make_connector: Make) -> None:
        session = _session(budget=Budget(0))
        make_connector(session)
        assert session.meter.attempts == 0

    def test_an_unknown_option_is_an_error_that_names_it(self, make_connector: Make) -> None:
        connector = make_connector(_session())
        with pytest.raises(SettingsError, match="nosuchoption"):
            type(connector)({"nosuchoption": 1}, _session())

    def test_opens_twice_and_closes_twice(self, make_connector: Make) -> None:
        connector = make_connector(_session())
        connector.close()
        connector.open()
        connector.open()
        assert connector.probe().product
        connector.close()
        connector.close()
        connector.open()
        assert connector.probe().product
        connector.close()

    def test_secrets_are_never_printed(self, opened: Connector, known_object: str) -> None:
        secrets = [
            value.get_secret_value()
            for value in vars(opened.options).values()
            if isinstance(value, SecretStr) and value.get_secret_value()
        ]
        with pytest.raises(MissingObjectError) as caught:
            opened.discover(MISSING)
        shown = _printed(opened, opened.probe(), opened.limits(), opened.discover(known_object), caught.value)
        assert not [s for s in secrets if s in shown], "a secret stands in a repr, a probe or an error"

    # --- looking -------------------------------------------------------------------------------------------------

    def test_probe(self, opened: Connector) -> None:
        probe = opened.probe()
        assert isinstance(probe, Probe)
        assert probe.product.strip()
        assert probe.seconds >= 0
        json.dumps(dict(probe.facts), default=str)
        assert all(SNAKE.fullmatch(o.code) and o.message for o in probe.observations)

    def test_limits(self, opened: Connector) -> None:
        limits = opened.limits()
        assert all(isinstance(limit, Limit) for limit in limits)
        for limit in limits:
            assert SNAKE.fullmatch(limit.name), limit
            assert limit.source in {"measured", "reported", "declared"}, limit
            assert limit.environment == opened.session.environment, limit
            assert limit.cap is None or limit.cap >= 0, limit
            assert limit.used is None or limit.used >= 0, limit
            assert datetime.fromisoformat(limit.at).tzinfo is not None, limit
        names = [(limit.name, limit.scope, limit.window) for limit in limits]
        assert len(set(names)) == len(names), "a limit is reported twice"

    def test_discover(self, opened: Connector, known_object: str) -> None:
        schema = opened.discover(known_object)
        assert isinstance(schema, TableSchema)
        names = [c.name for c in schema.columns]
        assert names, "an object has columns"
        assert len(set(names)) == len(names), "column names are unique"
        assert set(schema.keys) <= set(names), "keys are columns"
        assert all(isinstance(c.type, pa.DataType) for c in schema.columns)
        assert all(c.native for c in schema.columns), "the system's own type word"
        assert all(c.nullable is not True for c in schema.columns if c.name in schema.keys) or schema.keys
        again = opened.discover(known_object)
        assert [(c.name, c.type) for c in again.columns] == [(c.name, c.type) for c in schema.columns]

    def test_objects(self, opened: Connector, known_object: str) -> None:
        objects = opened.objects()
        assert len(set(objects)) == len(objects)
        if objects and not any(mark in known_object for mark in "!#@."):
            assert known_object in objects

    @pytest.mark.parametrize("verb", ["discover", "count", "read"])
    def test_a_missing_object_is_a_missing_object(self, opened: Connector, verb: str) -> None:
        ask: dict[str, Callable[[], Any]] = {
            "discover": lambda: opened.discover(MISSING),
            "count": lambda: opened.count(MISSING),
            "read": lambda: next(iter(opened.read(MISSING))),
        }
        with pytest.raises(MissingObjectError, match=MISSING):
            ask[verb]()

    # --- reading -------------------------------------------------------------------------------------------------

    def test_read_gives_what_discover_and_count_said(self, opened: Connector, known_object: str) -> None:
        schema = opened.discover(known_object)
        count = opened.count(known_object)
        assert isinstance(count, Count)
        declared = {c.name: c.type for c in schema.columns}
        seen: list[tuple[Any, ...]] = []
        total = 0
        for page in opened.read(known_object):
            assert isinstance(page.batch, pa.RecordBatch)
            assert page.batch.num_rows > 0, "a page without rows is not sent on"
            assert {f.name: f.type for f in page.batch.schema} == declared
            assert page.seconds >= 0
            assert page.calls >= 0
            assert set(page.keys) <= set(page.batch.schema.names)
            for misfit in page.misfits:
                assert 0 <= misfit.row < page.batch.num_rows
                assert page.batch.column(misfit.column)[misfit.row].as_py() is None, "a misfit is null in the batch"
                assert misfit.reason
            if schema.keys:
                assert page.keys == schema.keys
                seen += _key_values(page.batch.to_pylist(), schema.keys)
            total += page.batch.num_rows
        assert 5 <= total <= 1_000, "known_object must have 5 to 1,000 rows, else nothing is proved"
        if count.exact:
            assert total == count.value
        if schema.keys:
            assert len(set(seen)) == len(seen), "a key was read twice"
            assert not [k for k in seen if None in k], "a key is null"

    def test_read_is_lazy_and_can_be_left(self, opened: Connector, known_object: str) -> None:
        pages = opened.read(known_object, page_rows=2)
        assert iter(pages) is pages, "read gives an iterator"
        first = next(pages)
        assert first.batch.num_rows <= 2
        del pages
        assert opened.count(known_object).value >= 1, "the connector is usable after a read that was left"

    @pytest.mark.parametrize("page_rows", [1, 2, 10_000])
    def test_page_size_changes_no_row(self, opened: Connector, known_object: str, page_rows: int) -> None:
        whole = _rows(opened.read(known_object))
        paged = _rows(opened.read(known_object, page_rows=page_rows))
        assert len(paged) == len(whole)
        assert sorted(map(repr, paged)) == sorted(map(repr, whole))

    def test_a_cursor_resumes_behind_its_page(self, opened: Connector, known_object: str) -> None:
        pages = list(itertools.islice(opened.read(known_object, page_rows=2), 4))
        if pages[0].cursor is None:
            pytest.skip("this connector cannot resume: its pages carry no cursor")
        whole = [repr(r) for r in _rows(opened.read(known_object, page_rows=2))]
        done = 0
        for page in pages:
            done += page.batch.num_rows
            assert page.cursor is not None
            rest = [repr(r) for r in _rows(opened.read(known_object, after=page.cursor, page_rows=2))]
            assert sorted(rest) == sorted(whole[done:])

    def test_columns_narrow_the_read(self, opened: Connector, known_object: str) -> None:
        schema = opened.discover(known_object)
        chosen = [c.name for c in schema.columns][-1:]
        page = next(iter(opened.read(known_object, columns=chosen)))
        assert set(chosen) <= set(page.batch.schema.names) <= set(chosen) | set(schema.keys)
        with pytest.raises(MissingObjectError, match="no_such_column_xyz"):
            next(iter(opened.read(known_object, columns=["no_such_column_xyz"])))

    # --- the session's policy ------------------------------------------------------------------------------------

    def test_forks_work_in_threads_and_are_counted_apart(self, opened: Connector, known_object: str) -> None:
        rows: dict[int, int] = {}
        sessions = [_session() for _ in range(3)]
        twins = [opened.fork(session) for session in sessions]

        def work(number: int) -> None:
            rows[number] = len(_rows(twins[number].read(known_object)))
            twins[number].close()

        threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
        before = opened.session.meter.attempts
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert opened.session.meter.attempts == before, "a fork's calls are booked on its own session"
        expected = len(_rows(opened.read(known_object)))
        assert rows == dict.fromkeys(range(3), expected), "and the parent is usable after its forks were closed"
        if opened.networked:
            assert all(session.meter.attempts > 0 for session in sessions)

    def test_attempts_are_metered_and_budgeted(self, make_connector: Make, known_object: str) -> None:
        session = _session()
        with make_connector(session) as connector:
            if not connector.networked:
                pytest.skip("a source without a network endpoint sends nothing that could be counted")
            connector.count(known_object)
            assert session.meter.attempts > 0
            assert session.budget.used == session.meter.attempts
            session.budget.cap = session.budget.used
            with pytest.raises(BudgetExceeded):
                connector.count(known_object)

    def test_nothing_is_written_where_nothing_may_be(self, opened: Connector, known_object: str) -> None:
        writable = opened.facet(Writable)
        if writable is None:
            pytest.skip("this connector has no facet Writable")
        record = next(iter(opened.read(known_object))).batch.slice(0, 1).to_pylist()[0]
        before = opened.count(known_object)
        with pytest.raises(WriteForbidden):
            writable.write(known_object, [record])
        with pytest.raises(WriteForbidden):
            writable.delete(known_object, [record])
        assert opened.count(known_object) == before

    def test_the_route_is_dialled(self, make_connector: Make) -> None:
        asked: list[Endpoint] = []
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            nobody = Endpoint("127.0.0.1", closed.getsockname()[1])

            def route(endpoint: Endpoint) -> Endpoint:
                asked.append(endpoint)
                return nobody

            connector = make_connector(_session(route=route))
            if not connector.networked:
                assert list(connector.endpoints()) == []
                pytest.skip("a source without a network endpoint has no route")
            assert connector.endpoints(), "a networked connector names what it dials"
            with pytest.raises(UnreachableError), connector:
                connector.probe()
        assert asked

    def test_a_silent_system_ends_in_unreachable(self, make_connector: Make) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            there = Endpoint("127.0.0.1", silent.getsockname()[1])
            connector = make_connector(_session(route=lambda _: there, timeout=0.5))
            if not connector.networked:
                pytest.skip("a source without a network endpoint cannot be silent")
            started = time.monotonic()
            with pytest.raises(UnreachableError), connector:
                connector.probe()
            assert time.monotonic() - started < 15, "the session's timeout bounds the wait"

    # --- facets --------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("facet", [Sql, Files, Loadable, Writable, Incremental, DriverText])
    def test_facets_are_honest(self, opened: Connector, facet: type) -> None:
        found = opened.facet(facet)
        assert found is None or isinstance(found, facet)

    def test_sql(self, opened: Connector, known_object: str) -> None:
        sql = opened.facet(Sql)
        if sql is None:
            pytest.skip("this connector has no facet Sql")
        assert sql.dialect
        name = opened.discover(known_object).columns[0].name
        statement = f"SELECT count(*), max({sql.quoted_name(name)}) FROM {sql.quoted(known_object)}"
        assert sql.execute(statement)[0][0] == opened.count(known_object).value

    def test_files(self, opened: Connector) -> None:
        files = opened.facet(Files)
        if files is None:
            pytest.skip("this connector has no facet Files")
        paths = list(files.paths())
        assert paths
        assert paths == sorted(paths)
        assert all(path.exists() for path in paths)

    def test_operations_cost_what_they_say(self, opened: Connector, known_object: str) -> None:
        loadable = opened.facet(Loadable)
        if loadable is None:
            pytest.skip("this connector has no facet Loadable")
        keys = opened.discover(known_object).keys
        sample = _key_values(_rows(opened.read(known_object)), keys)[:5] if keys else []
        operations = loadable.operations(known_object, sample)
        assert operations
        assert set(operations) <= {"lookup", "page"}, "no write where nothing may be written"
        for name, operation in operations.items():
            assert operation.name == name
            assert operation.describe
            result = operation.call(sample[0] if sample else ())
            assert result.calls >= 1
            assert result.rows >= 1, f"{name} of an existing key brings rows"

    def test_changes(self, opened: Connector, known_object: str) -> None:
        incremental = opened.facet(Incremental)
        column = None if incremental is None else incremental.watermark(known_object)
        if incremental is None or column is None:
            pytest.skip("this object has no watermark")
        assert opened.discover(known_object).column(column) is not None
        everything = _rows(incremental.changes(known_object, "1970-01-02T00:00:00+00:00"))
        stamped = [r for r in _rows(opened.read(known_object)) if r[column] is not None]
        assert len(everything) == len(stamped)
        assert _rows(incremental.changes(known_object, "2999-01-01T00:00:00+00:00")) == []

    def test_driver_text(self, opened: Connector, known_object: str) -> None:
        second = opened.facet(DriverText)
        if second is None:
            pytest.skip("this connector has no facet DriverText")
        columns = [c.name for c in opened.discover(known_object).columns]
        read = dict(second.driver_text(known_object, columns, 3))
        assert list(read) == columns
        for pairs in read.values():
            assert 1 <= len(pairs) <= 3
            assert all(text is None or isinstance(text, str) for _, text in pairs)
