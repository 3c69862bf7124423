"""The Locust engine with a master and two workers on loopback: the same levels, the same verdicts, the same bounds."""

from __future__ import annotations

import importlib.util
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from click.testing import CliRunner

from weighbridge.checks.forecast.plan import Crew, Guards, LoadPlan
from weighbridge.cli import cli
from weighbridge.connectors.session import NO_RETRY
from weighbridge.engine.distributed import LocustEngine, decode_key, encode_key
from weighbridge.errors import UsageProblem
from weighbridge.project import Project
from weighbridge.sandbox.queue_server import QueueServer
from weighbridge.sandbox.server import start

locust = pytest.mark.skipif(importlib.util.find_spec("locust") is None, reason="needs the extra: weighbridge[locust]")
KEYS = [(i,) for i in range(300)]


def project_at(folder, port):
    (folder / "weighbridge.toml").write_text(f"""
[systems.queue]
connector = "rest"
[systems.queue.sandbox]
url = "http://127.0.0.1:{port}"
max_users = 100
call_budget = 4000
[systems.queue.sandbox.objects.things]
path = "things"
key = "id"
lookup = "things/{{id}}"
types = {{ rows = "integer" }}
""")
    return Project.load(folder / "weighbridge.toml")


def test_keys_travel_with_their_types():
    key = (1, "a", None, True, Decimal("1.10"), date(2026, 1, 2), datetime(2026, 1, 2, 3, tzinfo=UTC), UUID(int=7))
    assert decode_key(encode_key(key)) == key
    assert [type(v) for v in decode_key(encode_key(key))] == [type(v) for v in key]


def test_flags_without_their_engine_are_usage(tmp_path):
    (tmp_path / "weighbridge.toml").write_text("")
    outcome = CliRunner().invoke(cli, ["run", "--config", str(tmp_path / "weighbridge.toml"), "--workers", "2"])
    assert isinstance(outcome.exception, UsageProblem)  # which `main` ends with 2
    assert "--engine locust" in str(outcome.exception)


@locust
@pytest.mark.slow
def test_a_master_and_two_workers_hold_a_level(tmp_path):
    with QueueServer(latency_ms=20) as server:
        system = project_at(tmp_path, server.port).system("queue", "sandbox")
        session = system.session(retry=NO_RETRY)
        with system.connector(session) as connector, LocustEngine(tmp_path, workers=2) as engine:
            crew = Crew(lambda: connector.fork(session))

            def plan(**changes):
                values = {"crew": crew, "object": "things", "keys": KEYS, "shares": {"lookup": 1.0}, "users": 20}
                return LoadPlan(**(values | {"think_s": 0.2, "seconds": 3.0} | changes))

            before = session.meter.attempts
            level = engine.run(plan()).level
            assert level.users == 20
            assert level.failed == 0
            assert level.throughput == pytest.approx(20 / (0.2 + level.mean_s), rel=0.25)
            assert 0.02 <= level.p50_s < 0.1
            assert session.meter.attempts - before == level.sent
            assert session.budget.used == session.meter.attempts
            again = engine.run(plan(users=6, guards=Guards(calls=30))).level
            assert again.sent <= 30 + 6
            assert "budget" in again.stopped
            burst = engine.run(plan(users=8, burst=True, guards=Guards(seconds=10))).burst
            assert len(burst.succeeded) == 8
            with pytest.raises(RuntimeError, match="100 are allowed"):
                engine.run(plan(users=101))
            crew.close()


CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: numbers
version: 1.0.0
status: active
servers: [{server: erp, type: custom, environment: sandbox}]
slaProperties:
  - {property: calls_per_user_hour, value: 1200}
  - {property: latency_objective_ms, value: 500}
schema:
  - name: Number
    physicalName: Numbers
    properties:
      - {name: Id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
"""


@locust
@pytest.mark.slow
def test_the_same_report_comes_out(tmp_path):
    services = {"": {"dataset": "numbers", "rows": 500}}
    limits = {"latency_ms": 30, "pool": 4}
    with start("weighbridge.sandbox.odata.app:create", {"services": services, "limits": limits}) as server:
        (tmp_path / "contracts").mkdir()
        (tmp_path / "contracts" / "numbers.odcs.yaml").write_text(CONTRACT)
        (tmp_path / "weighbridge.toml").write_text(f"""
[systems.erp]
connector = "odata"
[systems.erp.sandbox]
url = "{server.url}/odata"
max_users = 8
max_burst = 16
ramp_seconds = 12
""")
        found = {}
        for engine, more in (("local", []), ("locust", ["--workers", "2"])):
            folder = tmp_path / engine
            line = ["run", "--config", str(tmp_path / "weighbridge.toml"), "--env", "sandbox", "--checks", "load"]
            outcome = CliRunner().invoke(
                cli, [*line, "--engine", engine, *more, "--out", str(folder), "--format", "json", "-q", "--no-history"]
            )
            assert (folder / "report.json").is_file(), outcome.output
            found[engine] = json.loads((folder / "report.json").read_text())["points"][0]
    here, there = found["local"], found["locust"]
    # what is said may differ from run to run (a burst that the client distorted), how it is said may not
    assert set(here["load"]) == set(there["load"]), there["checks"][0]
    for levels in (here["load"]["levels"], there["load"]["levels"]):
        assert max(level["users"] for level in levels) == 8
        assert all(not level["errors"] for level in levels)
        assert all(30 <= level["p50_ms"] < 300 for level in levels)
    assert {f["limit"] for f in there["forecast"]} == {f["limit"] for f in here["forecast"]}
