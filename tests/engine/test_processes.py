"""The process engine: the same seam, merged from several processes, and chosen only where one is too few."""

from __future__ import annotations

import os

import psutil
import pytest
from load_kit import KEYS, open_tiny

from weighbridge.checks.forecast.plan import Crew, Guards, LoadPlan
from weighbridge.connectors.base import ObjectRef
from weighbridge.connectors.session import NO_RETRY, Endpoint, Session
from weighbridge.connectors.sql import SqlConnector
from weighbridge.engine import local
from weighbridge.engine.local import LocalEngine
from weighbridge.engine.member import COMMAND, Seat
from weighbridge.engine.processes import ProcessEngine, _split
from weighbridge.sandbox import postgres
from weighbridge.sandbox.queue_server import QueueServer


@pytest.fixture
def crew_of():
    opened = []

    def make(server, **options):
        connector = open_tiny(server.port, **options)
        crew = Crew(lambda: connector.fork(connector.session.fork(retry=NO_RETRY)))
        opened.append((crew, connector))
        return crew, connector.session

    yield make
    for crew, connector in opened:
        crew.close()
        connector.close()


def plan(crew, **changes):
    values = {"crew": crew, "object": "things", "keys": KEYS, "shares": {"lookup": 1.0}, "users": 4, "seconds": 1.0}
    return LoadPlan(**(values | changes))


def members():
    return [p for p in psutil.Process(os.getpid()).children() if COMMAND in p.cmdline()]


@pytest.mark.slow
def test_levels_and_bursts_of_several_processes_are_one(crew_of):
    with QueueServer(pool=10, latency_ms=50) as server:
        crew, session = crew_of(server)
        engine = ProcessEngine(2)
        level = engine.run(plan(crew, users=9, think_s=0.1, seconds=2.0)).level
        assert level.users == 9
        assert level.failed == 0
        assert level.throughput == pytest.approx(9 / (0.1 + level.mean_s), rel=0.25)
        assert 0.05 <= level.p50_s < 0.15
        assert 0 < level.audit.overhead_s < 0.02
        burst = engine.run(plan(crew, users=40, burst=True, guards=Guards(seconds=10))).burst
        assert len(burst.succeeded) == 40
        assert max(start for start, _, _ in burst.calls) < 0.1
        assert max(end for _, end, _ in burst.calls) == pytest.approx(0.2, abs=0.1)
        # 9 warm-up calls, the level, then 31 more warm-up calls and the burst; each is booked where it belongs
        assert session.meter.attempts == level.sent + 31 + 40
        assert session.budget.used == session.meter.attempts
        assert len(members()) == 2
        crew.close()
        assert members() == []


@pytest.mark.slow
def test_one_process_that_stops_stops_all_and_caps_hold_in_sum(crew_of):
    with QueueServer(latency_ms=5) as server:
        crew, _ = crew_of(server, budget=1000)
        engine = ProcessEngine(2)
        level = engine.run(plan(crew, users=5, seconds=20.0, guards=Guards(calls=37, seconds=20.0))).level
        assert 30 <= level.sent <= 37 + 5
        assert level.stopped == "call budget of this level (37) spent"
        assert level.elapsed_s < 10
    with QueueServer(latency_ms=1, error_body=True) as server:
        crew, _ = crew_of(server)
        level = ProcessEngine(2).run(plan(crew, users=6, seconds=20.0)).level
        assert "error guard" in level.stopped
        assert level.elapsed_s < 10


@pytest.mark.slow
def test_a_spent_budget_ends_the_level_and_is_never_exceeded(crew_of):
    with QueueServer(latency_ms=1) as server:
        crew, session = crew_of(server, budget=60)
        level = ProcessEngine(2).run(plan(crew, users=4, seconds=20.0)).level
        assert session.budget.used <= 60
        assert level.stopped


@pytest.mark.slow
def test_a_process_that_dies_is_told_and_leaves_nothing_behind(crew_of):
    with QueueServer(latency_ms=5) as server:
        crew, _ = crew_of(server)
        engine = ProcessEngine(2)
        engine.run(plan(crew, users=2, seconds=0.2))
        members()[0].kill()
        with pytest.raises(RuntimeError, match="load engine"):
            engine.run(plan(crew, users=2, seconds=0.2))
        assert members() == []


@pytest.mark.slow
def test_processes_are_used_only_where_one_is_too_busy(crew_of, monkeypatch):
    monkeypatch.setattr(local, "BUSY", 0.02)
    said = []
    with QueueServer(latency_ms=5) as server:
        crew, _ = crew_of(server)
        engine = LocalEngine(said.append)
        engine.run(plan(crew, users=1, seconds=0.3))
        assert members() == []
        few = engine.run(plan(crew, users=1, think_s=1.0, seconds=0.3)).level
        assert members() == []
        many = engine.run(plan(crew, users=20, seconds=0.5)).level
        assert members()
        assert few.failed == many.failed == 0
        assert said == ["20 users are driven from several processes"]


@pytest.mark.slow
def test_one_user_never_has_two_connections(crew_of, monkeypatch):
    with QueueServer(latency_ms=5) as server:
        crew, _ = crew_of(server)
        engine = LocalEngine()

        def open_now():
            processes = [psutil.Process(), *members()]
            return sum(c.raddr.port == server.port for p in processes for c in p.net_connections() if c.raddr)

        before = open_now()
        engine.run(plan(crew, users=20, burst=True, guards=Guards(seconds=10)))
        assert open_now() - before == 20
        monkeypatch.setattr(local, "BUSY", 0.0)
        engine.run(plan(crew, users=20, seconds=0.3))
        engine.run(plan(crew, users=20, seconds=0.3))
        assert members()
        assert open_now() - before <= 21, "one stays with the first process, which knows the way"
        monkeypatch.setattr(local, "BUSY", 10.0)
        engine.run(plan(crew, users=20, seconds=0.3))
        assert members() == []
        assert open_now() - before == 20


@pytest.mark.slow
def test_a_database_sees_one_connection_a_user(tmp_path):
    """A connection a process asks the catalog with would halve the ceiling that a burst of connections finds."""
    if missing := postgres.available():
        pytest.skip(f"needs system package: {missing}")
    with postgres.PostgresSandbox(tmp_path) as server, server.connect() as admin:
        admin.execute("CREATE TABLE things (id integer PRIMARY KEY, name text)")
        admin.execute("INSERT INTO things SELECT i, 'n' || i FROM generate_series(1, 100) i")
        connector = SqlConnector({"url": server.url()}, Session("shop"))
        connector.open()
        crew = Crew(lambda: connector.fork(connector.session))
        # a plan names the object as the point does: with its key
        things = ObjectRef("things", key=("id",))
        keys = [(i,) for i in range(1, 50)]
        ProcessEngine(2).run(plan(crew, object=things, keys=keys, users=12, burst=True, guards=Guards(seconds=10)))
        asked = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        held = admin.execute(asked).fetchone()[0]
        crew.close()
        connector.close()
    # the users', two by which each process knows the way, and this process's own four
    assert held <= 12 + 2 * 2 + 4


def test_what_only_this_process_can_reach_stays_here(crew_of):
    with QueueServer(latency_ms=5) as server:
        crew, session = crew_of(server)
        crew.grow(1)
        assert Seat.of(crew.connector(0)) is not None
        crew.connector(0).session.route = lambda _e: Endpoint("127.0.0.1", server.port)
        assert Seat.of(crew.connector(0)) is None
        with pytest.raises(RuntimeError, match="another process"):
            ProcessEngine(2).run(plan(crew))
        assert not ProcessEngine.fits(plan(crew))
        assert session.meter.attempts == 0


def test_shares_sum_to_the_whole():
    assert _split(10, 3) == [3, 3, 4]
    assert _split(7, 3, [1, 0, 2]) == [2, 0, 5]
    assert sum(_split(500, 7)) == 500
