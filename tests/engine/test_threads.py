"""The thread engine on real sockets: closed loops, guards, bursts and its audit of itself."""

from __future__ import annotations

import threading
import time

import pytest
from load_kit import KEYS, open_tiny

from weighbridge.checks.forecast.plan import Audit, Crew, Guards, LoadPlan
from weighbridge.connectors.errors import UnreachableError
from weighbridge.connectors.session import NO_RETRY
from weighbridge.engine.threads import ThreadEngine, descriptors_for
from weighbridge.sandbox.queue_server import QueueServer


@pytest.fixture
def crew_of():
    opened = []

    def make(server, **options):
        connector = open_tiny(server.port, **options)
        crew = Crew(lambda: connector.fork(connector.session.fork(retry=NO_RETRY)))
        opened.append((crew, connector))
        return crew

    yield make
    for crew, connector in opened:
        crew.close()
        connector.close()


def plan(crew, **changes):
    values = {"crew": crew, "object": "things", "keys": KEYS, "shares": {"lookup": 1.0}, "users": 4, "seconds": 1.0}
    return LoadPlan(**(values | changes))


def test_a_closed_loop_obeys_the_law(crew_of):
    with QueueServer(latency_ms=20) as server:
        level = ThreadEngine().run(plan(crew_of(server), users=10, think_s=0.08, seconds=2.0)).level
    assert level.throughput == pytest.approx(10 / (0.08 + level.mean_s), rel=0.2)
    assert 0.02 <= level.p50_s < 0.2
    assert level.p95_low_s <= level.p95_s <= level.p95_high_s + 0.001
    assert level.failed == 0


def test_latency_counts_from_the_intended_start(crew_of):
    """A call that leaves late is late: what a client's own stutter costs is in the latency."""
    with QueueServer(latency_ms=5, slow_after_s=0.0) as server:
        crew = crew_of(server)
        engine = ThreadEngine()
        busy = threading.Event()

        def burn():
            while not busy.is_set():
                sum(i * i for i in range(2000))

        burners = [threading.Thread(target=burn) for _ in range(4)]
        for burner in burners:
            burner.start()
        try:
            level = engine.run(plan(crew, users=20, think_s=0.05, seconds=1.5)).level
        finally:
            busy.set()
            for burner in burners:
                burner.join()
    assert level.audit.send_lag_s > 0
    assert level.p95_s > level.audit.send_lag_s * 0.5


def test_the_audit_voids_what_the_client_distorted():
    assert Audit(0.7, 0.0).distorted(1.0)
    assert Audit(0.1, 0.06).distorted(1.0)
    assert Audit(0.1, 0.04).distorted(1.0) is None


def test_the_call_guard_stops_exactly(crew_of):
    with QueueServer(latency_ms=1) as server:
        level = ThreadEngine().run(plan(crew_of(server), users=5, seconds=5.0, guards=Guards(calls=37))).level
    assert level.sent == 37 + 5  # and one call each to open the connection
    assert "budget" in level.stopped


def test_the_error_guard_stops(crew_of):
    with QueueServer(latency_ms=1, error_body=True) as server:
        level = ThreadEngine().run(plan(crew_of(server), users=5, seconds=20.0)).level
    assert "error guard" in level.stopped
    assert level.sent < 65


def test_the_latency_guard_stops(crew_of):
    with QueueServer(latency_ms=60) as server:
        started = time.monotonic()
        level = ThreadEngine().run(plan(crew_of(server), users=10, seconds=20.0, guards=Guards(latency_s=0.03))).level
    assert "latency guard" in level.stopped
    assert time.monotonic() - started < 10


def test_a_hang_is_bounded_and_counted(crew_of):
    with QueueServer(latency_ms=1, hang_after=20) as server:
        started = time.monotonic()
        crew = crew_of(server, timeout=3.0)
        level = ThreadEngine().run(plan(crew, users=4, seconds=2.0, guards=Guards(seconds=2.0, grace_s=0.5))).level
        assert time.monotonic() - started < 12
    assert level.errors["Hung"] == 4


def test_a_burst_leaves_together_and_comes_back_by_the_pool(crew_of):
    with QueueServer(pool=10, latency_ms=50) as server:
        burst = ThreadEngine().run(plan(crew_of(server), users=40, burst=True, guards=Guards(seconds=10))).burst
    assert len(burst.succeeded) == 40
    assert max(start for start, _, _ in burst.calls) < 0.1
    ends = sorted(end for _, end, _ in burst.calls)
    assert ends[0] == pytest.approx(0.05, abs=0.03)
    assert ends[-1] == pytest.approx(0.2, abs=0.08)


def test_connections_are_opened_once_and_kept(crew_of):
    with QueueServer(latency_ms=1) as server:
        crew = crew_of(server)
        engine = ThreadEngine()
        for _ in range(3):
            engine.run(plan(crew, users=8, burst=True, guards=Guards(seconds=5)))
        assert len(crew.warm) == 8


def test_a_crowd_that_cannot_be_opened_in_time_shares_no_connection(crew_of, monkeypatch):
    """What is still being opened when time is up is left behind: two threads at one connection are errors of ours."""
    monkeypatch.setattr("weighbridge.engine.threads.OPENING_S", 0.5)
    with QueueServer(latency_ms=300) as server:
        crew = crew_of(server)
        asked = plan(crew, users=64, seconds=1.0, think_s=0.1, guards=Guards(seconds=1.0, error_share=1.0))
        level = ThreadEngine().run(asked).level
    assert level.errors == {}


def test_a_connection_that_arrives_after_its_user_was_given_up_is_nobodys():
    crew, made = Crew(lambda: made.wait(5) and connector), threading.Event()
    connector = object()
    crew.grow(1)
    seen = []

    def late():
        try:
            crew.connector(0)
        except UnreachableError as error:
            seen.append(error)

    thread = threading.Thread(target=late)
    thread.start()
    crew.abandon(0)
    made.set()
    thread.join(5)
    assert len(seen) == 1
    assert crew.connector(0) is connector  # opened anew, for whoever asks now


def test_a_user_that_crashes_is_raised_not_swallowed(crew_of):
    with QueueServer(latency_ms=1) as server:
        crew = crew_of(server)
        with pytest.raises(KeyError):
            ThreadEngine().run(plan(crew, shares={"nothing": 1.0}))


def test_interrupting_stops_the_users(crew_of, monkeypatch):
    with QueueServer(latency_ms=5) as server:
        crew = crew_of(server)

        def interrupted(*_args):
            time.sleep(0.2)
            raise KeyboardInterrupt

        monkeypatch.setattr(ThreadEngine, "_wait", staticmethod(interrupted))
        before = threading.active_count()
        with pytest.raises(KeyboardInterrupt):
            ThreadEngine().run(plan(crew, users=5, seconds=30.0, think_s=0.01))
        deadline = time.monotonic() + 5
        while threading.active_count() > before and time.monotonic() < deadline:
            time.sleep(0.02)
        assert threading.active_count() <= before


def test_descriptors():
    assert descriptors_for(1) is None
    short = descriptors_for(10**9)
    assert short is None or short < 10**9
