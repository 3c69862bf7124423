"""`weighbridge demand` on a HAR file, access logs, a recorded program and statement counts; `weighbridge limits`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from weighbridge.commands.demand import command as demand
from weighbridge.commands.limits import command as limits
from weighbridge.errors import UsageProblem
from weighbridge.sandbox.queue_server import QueueServer
from weighbridge.traffic import (
    Statement,
    kept,
    of_statements,
    read_access_log,
    read_har,
    statements_between,
    summarise,
)

TOML = """\
[scale]
calls_per_user_hour = 12

[systems.api]
connector = "odata"
[systems.api.sandbox]
url = "{url}"
[systems.files]
connector = "excel"
[systems.files.sandbox]
path = "book.xlsx"
"""


@pytest.fixture
def project(tmp_path):
    def make(port=1):
        path = tmp_path / "weighbridge.toml"
        path.write_text(TOML.format(url=f"http://127.0.0.1:{port}/"))
        return path

    return make


def har(tmp_path, calls):
    entries = [
        {"startedDateTime": datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z"),
         "request": {"method": "GET", "url": f"https://crm.example.com{path}", "postData": {"text": "secret"}},
         "response": {"status": status}}
        for at, path, status in calls
    ]  # fmt: skip
    path = tmp_path / "pilot.har"
    path.write_text(json.dumps({"log": {"entries": entries}}))
    return path


def test_an_n_plus_one_is_named_as_one(tmp_path):
    calls = [(1e9, "/orders?$top=20", 200)] + [(1e9 + 0.1 * i, f"/orders/{1000 + i}", 200) for i in range(1, 21)]
    traffic = summarise(read_har(har(tmp_path, calls)))
    assert traffic.per_action == (21,)
    found = traffic.repeated[0]
    assert found["what"].startswith("GET ")
    assert (found["times"], "orders" in found["after"]) == (20, True)


def test_pages_of_a_list_are_no_n_plus_one(tmp_path):
    calls = [(1e9 + 0.1 * i, f"/orders?$skip={i}00", 200) for i in range(20)]
    assert summarise(read_har(har(tmp_path, calls))).repeated == ()


def test_retries_are_counted_and_other_keys_are_not(tmp_path):
    calls = [(1e9, "/orders/1000", 429), (1e9 + 1, "/orders/1000", 200), (1e9 + 2, "/orders/1001", 200)]
    traffic = summarise(read_har(har(tmp_path, calls)))
    assert traffic.retries == 1
    assert traffic.amplification == pytest.approx(1.5)


def log_line(user, minute, path="/orders/17", status=200, hour=9):
    return (
        f'10.0.0.1 - {user} [02/Nov/2026:{hour:02d}:{minute:02d}:00 +0100] "GET {path} HTTP/1.1" {status} 123 "-" "x"'
    )


def test_an_access_log_gives_calls_per_user_and_hour(tmp_path):
    lines = [log_line("anna", m) for m in range(0, 60, 3)] + [log_line("ben", m) for m in range(0, 60, 6)]
    path = tmp_path / "access.log"
    path.write_text("\n".join([*lines, "garbage"]))
    traffic = summarise(read_access_log(path))
    assert sorted(traffic.per_user_hour) == pytest.approx([10, 20], rel=0.1)
    assert traffic.users == 2


def test_json_lines_are_read_too(tmp_path):
    path = tmp_path / "caddy.log"
    entry = {"ts": 1e9, "request": {"method": "GET", "uri": "/a/1", "remote_ip": "10.0.0.9"}, "status": 200}
    traefik = {"StartUTC": "2026-11-02T09:00:00Z", "RequestMethod": "GET", "RequestPath": "/a", "DownstreamStatus": 200}
    path.write_text(json.dumps(entry) + "\n" + json.dumps(traefik) + "\n{broken\n")
    assert [r.what.split()[0] for r in read_access_log(path)] == ["GET", "GET"]


def test_statements_between_two_looks():
    before = {"SELECT a": (10, 10)}
    after = {"SELECT a": (11, 40), "SELECT * FROM o WHERE id = $1": (30, 30), "select from pg_stat_statements": (2, 9)}
    found = statements_between(before, after)
    assert found == [Statement("SELECT * FROM o WHERE id = $1", 30, 30), Statement("SELECT a", 1, 30)]
    traffic = of_statements(found, 1)
    assert (traffic.rows, traffic.repeated[0]["times"]) == (60, 30)
    with pytest.raises(UsageProblem, match="pg_stat_statements"):
        of_statements([], 1)


def run(what, *arguments):
    return CliRunner().invoke(what, [str(a) for a in arguments], standalone_mode=False)


def test_the_command_keeps_a_distribution_and_nothing_secret(tmp_path, project):
    calls = [(1e9 + 600 * i, f"/orders/{i}?token=hush", 200) for i in range(12)]
    result = run(demand, "api", "--config", project(), "--env", "sandbox", "--har", har(tmp_path, calls))
    assert result.exception is None
    assert "calls per user and hour" in result.output
    text = (tmp_path / ".weighbridge" / "demand" / "api.json").read_text()
    assert "hush" not in text
    assert "secret" not in text
    assert kept(tmp_path / ".weighbridge", "api")["mean"] == pytest.approx(6, abs=1)
    assert kept(tmp_path / ".weighbridge", "other") is None


def test_a_program_is_recorded_behind_the_proxy(tmp_path, project):
    script = tmp_path / "pilot.py"
    script.write_text(
        "import sys, urllib.request\n"
        "base = sys.argv[1]\n"
        "urllib.request.urlopen(base + '/orders').read()\n"
        "[urllib.request.urlopen(f'{base}/orders/{1000 + i}').read() for i in range(9)]\n"
    )
    with QueueServer(latency_ms=1) as server:
        config = project(server.port)
        result = run(demand, "api", "--config", config, "--env", "sandbox", "--actions", 1, "--",
                     sys.executable, script, "{url}")  # fmt: skip
    assert result.exception is None, result.output
    assert "N+1: GET /orders/{id} is called 9 times" in result.output
    assert kept(tmp_path / ".weighbridge", "api")["calls"] == 10


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["api"], "exactly one"),
        (["apy", "--har", "x.har"], "Did you mean 'api'"),
        (["api", "--har", "missing.har"], "could not be read"),
        (["files", "--env", "sandbox", "--", "true"], "no network endpoint"),
        (["api", "--env", "sandbox", "--", "no-such-program"], "could not be started"),
        (["api", "--env", "sandbox", "--", sys.executable, "-c", "raise SystemExit(4)"], "ended with 4"),
    ],
)
def test_bad_use_is_named(tmp_path, project, arguments, says):
    result = run(demand, "--config", project(), *arguments)
    assert isinstance(result.exception, UsageProblem)
    assert says in str(result.exception)


@pytest.mark.parametrize("text", ["nothing", "{}", '{"log": {"entries": [{}]}}'])
def test_files_that_are_neither(tmp_path, text):
    path = tmp_path / "x"
    path.write_text(text)
    with pytest.raises(UsageProblem, match="HAR"):
        read_har(path)
    with pytest.raises(UsageProblem, match="no line"):
        read_access_log(path)


def test_limits_lists_its_calls_before_it_sends_them(project):
    with QueueServer(latency_ms=1) as server:
        planned = run(limits, "--config", project(server.port), "--env", "sandbox", "--plan", "api")
    assert planned.exception is None
    assert "metadata only" in planned.output


def test_limits_of_a_system_that_cannot_be_asked(project):
    result = run(limits, "--config", project(1), "--env", "sandbox", "files")
    assert result.return_value == 3
    assert "could not be asked" in result.output


@pytest.mark.slow
def test_a_real_postgres_counts_the_statements_of_the_pilot(tmp_path):
    """pg_stat_statements before and after: calls, rows and the N+1, of the pilot's own database only."""
    from weighbridge.sandbox.postgres import PostgresSandbox, available

    if missing := available():
        pytest.skip(f"needs system package: {missing}")
    settings = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track": "all"}
    with PostgresSandbox(tmp_path / "pg", settings=settings) as server:
        with server.connect() as admin:
            admin.execute("CREATE EXTENSION pg_stat_statements")
            admin.execute("CREATE TABLE orders (id integer PRIMARY KEY, customer integer)")
            admin.execute("INSERT INTO orders SELECT i, i FROM generate_series(1, 100) i")
            admin.execute("CREATE DATABASE other")
        pilot = tmp_path / "pilot.py"
        pilot.write_text(
            "import sys, psycopg\n"
            "with psycopg.connect(sys.argv[1], autocommit=True) as mine, psycopg.connect(sys.argv[2]) as other:\n"
            "    for _ in range(50):\n"
            "        other.execute('SELECT 1 AS elsewhere')\n"
            "    ids = mine.execute('SELECT id FROM orders LIMIT 30').fetchall()\n"
            "    for (i,) in ids:\n"
            "        mine.execute('SELECT customer FROM orders WHERE id = %s', (i,)).fetchone()\n"
        )
        path = tmp_path / "weighbridge.toml"
        path.write_text(
            "[scale]\ncalls_per_user_hour = 12\n[systems.shop]\nconnector = 'sql'\n[systems.shop.sandbox]\n"
            f"url = '{server.url()}'\n"
        )
        plain = [server.url(name).replace("postgresql+psycopg://", "postgresql://") for name in ("postgres", "other")]
        result = run(
            demand, "shop", "--config", path, "--env", "sandbox", "--statements", "--actions", 1, "--",
            sys.executable, pilot, *plain,
        )  # fmt: skip
    assert result.exception is None
    assert "N+1" in result.output
    assert "WHERE id = $1" in result.output
    found = kept(tmp_path / ".weighbridge", "shop")
    assert found["calls_per_action"]["mean"] == 31
    assert found["rows"] == 60


@pytest.mark.slow
def test_without_the_extension_it_says_who_turns_it_on(tmp_path):
    from weighbridge.sandbox.postgres import PostgresSandbox, available

    if missing := available():
        pytest.skip(f"needs system package: {missing}")
    with PostgresSandbox(tmp_path / "pg") as server:
        path = tmp_path / "weighbridge.toml"
        path.write_text(f"[systems.shop]\nconnector = 'sql'\n[systems.shop.sandbox]\nurl = '{server.url()}'\n")
        result = run(demand, "shop", "--config", path, "--env", "sandbox", "--statements", "--", sys.executable, "-V")
    assert isinstance(result.exception, UsageProblem)
    assert "CREATE EXTENSION pg_stat_statements" in str(result.exception)
