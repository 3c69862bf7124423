"""Fallback: with the system down, does it answer, how old is it, is that said? Real sockets, files and databases."""

from __future__ import annotations

import http.server
import json
import os
import socket
import sqlite3
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from weighbridge.checks.base import Finding, Inconclusive, Measurement
from weighbridge.checks.resilience import ResilienceCheck
from weighbridge.connectors.errors import SettingsError
from weighbridge.connectors.session import Session
from weighbridge.connectors.sql import SqlConnector
from weighbridge.errors import UsageProblem
from weighbridge.project import Project

CHECK = ResilienceCheck()
ONE = ["latency"]


def hours_ago(hours):
    return datetime.now(UTC) - timedelta(hours=hours)


@pytest.fixture
def tried(bench, ask, tmp_path):
    """`tried(fallback)`: codes of the fallback's findings, and its measurement."""

    def run(fallback, *, custom=None, system=None, kind=None):
        settings = {"fault_matrix": ONE, "fallback": fallback, "folder": str(tmp_path)}
        made = bench(*([kind] if kind else []), custom=custom, settings=settings)
        if system is not None:
            made.context = replace(made.context, system=system)
        results = ask(CHECK, made)
        rest = {r.code for r in results if isinstance(r, Finding) and "fallback" not in r.code}
        assert rest == set()
        found = {r.code.removeprefix("resilience.fallback_"): r for r in results if isinstance(r, Finding)}
        data = next((r.data for r in results if isinstance(r, Measurement) and r.name == "fallback"), None)
        return found, data

    return run


@contextmanager
def serving(answer):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, headers, body = answer(self)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def copy_of(shop, path, *, stamp, count=None):
    rows = [{"id": r["id"], "name": r["name"]} for r in list(shop.rows.values())[:count]]
    if stamp is not None:
        rows = [{**r, "copied_at": stamp.isoformat()} for r in rows]
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def test_words_alone_cannot_be_tried(tried):
    found, data = tried("the copy of last night")
    assert set(found) == {"not_tried"}
    assert "the copy of last night" in found["not_tried"].message
    assert data is None


@pytest.mark.slow
def test_nothing_is_said_where_no_fallback_is_named(tried):
    assert tried(None) == ({}, None)


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_fresh_dated_copy_is_good(tried, shop, tmp_path):
    copy_of(shop, tmp_path / "things.json", stamp=hours_ago(2))
    found, data = tried({"file": "things.json", "age_column": "copied_at", "max_age_h": 24})
    assert set(found) == {"answered"}
    assert (data["rows"], data["keys_asked"] >= 60, data["keys_missing"]) == (130, True, 0)
    assert 7_100 < data["age_s"] < 7_300
    assert data["label"] == "column copied_at in every row"


def test_a_copy_that_is_too_old_is_named(tried, shop, tmp_path):
    copy_of(shop, tmp_path / "things.json", stamp=hours_ago(80))
    found, _ = tried({"file": "things.json", "age_column": "copied_at", "max_age_h": 24})
    assert set(found) == {"too_old"}
    assert found["too_old"].observed == "3.3 days"


@pytest.mark.slow
def test_the_file_s_own_time_tells_the_age_and_is_no_label(tried, shop, tmp_path):
    path = copy_of(shop, tmp_path / "things.json", stamp=None)
    os.utime(path, (time.time() - 30 * 3600,) * 2)
    found, data = tried({"file": "things*.json", "max_age_h": 24})
    assert set(found) == {"too_old", "unlabelled"}
    assert data["aged_by"] == "the file's time of change"


def test_a_copy_that_lacks_records_is_named(tried, shop, tmp_path):
    copy_of(shop, tmp_path / "things-2026-11-24.json", stamp=None, count=90)
    found, data = tried({"file": "things-*.json", "max_age_h": 24})
    assert set(found) == {"answered", "incomplete"}
    assert data["label"] == "the date in its name"
    assert data["keys_missing"] == pytest.approx(40 * data["keys_asked"] / 130, abs=10)


@pytest.mark.slow
def test_leading_zeros_of_a_csv_stay(tried, shop, tmp_path):
    (tmp_path / "things.csv").write_text(
        "id,copied\n" + "".join(f"{n},{hours_ago(1).isoformat()}\n" for n in shop.rows)
    )
    found, data = tried({"file": "{object}.csv", "object": "things", "age_column": "copied", "max_age_h": 2})
    assert set(found) == {"answered"}
    assert data["keys_missing"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "there is no file"), (b"", "is empty"), (b'{"rows": [', "cannot be read"), (b"[]", "without a single row")],
    ids=["none", "empty", "cut short", "no rows"],
)
def test_a_file_that_says_nothing_is_silent(tried, tmp_path, content, says):
    if content is not None:
        (tmp_path / "things.json").write_bytes(content)
    found, _ = tried({"file": "things.json"})
    assert "silent" in found
    assert says in found["silent"].message


@pytest.mark.slow
def test_a_document_tells_its_time_in_a_field(tried, tmp_path):
    (tmp_path / "things.json").write_text(
        json.dumps({"meta": {"as_of": hours_ago(5).isoformat()}, "things": {"1": {}}})
    )
    found, data = tried({"file": "things.json", "age_field": "meta.as_of", "max_age_h": 6})
    assert set(found) == {"answered"}
    assert (data["aged_by"], data["label"]) == ("field meta.as_of", "field meta.as_of")


@pytest.mark.slow
def test_a_time_in_the_future_is_no_age(tried, shop, tmp_path):
    copy_of(shop, tmp_path / "things.json", stamp=hours_ago(-48))
    found, _ = tried({"file": "things.json", "age_column": "copied_at", "max_age_h": 24})
    assert set(found) == {"age_unknown"}


@pytest.mark.slow
def test_an_object_s_name_does_not_lead_out_of_the_folder(tried, tmp_path):
    found, _ = tried({"file": "{object}.json"}, custom={"weighbridge.fallback": {"object": "../../etc/passwd"}})
    assert "cannot stand in a path" in found["silent"].message


def test_a_contract_cannot_say_where_the_fallback_is(tried, tmp_path):
    (tmp_path / "things.json").write_text("[{}]")
    custom = {"weighbridge.fallback": {"file": "/etc/passwd", "url": "http://127.0.0.1:1/", "command": "touch x"}}
    found, data = tried({"file": "things.json"}, custom=custom)
    assert data["source"] == "things.json"
    assert not (tmp_path / "x").exists()
    assert "answered" in found


@pytest.mark.slow
def test_a_source_without_network_has_its_fallback_tried_too(tried, kinds, shop, tmp_path):
    class OnDisk(kinds.ShopConnector):
        networked = False

    copy_of(shop, tmp_path / "things.json", stamp=hours_ago(1))
    found, _ = tried({"file": "things.json", "age_column": "copied_at", "max_age_h": 24}, kind=OnDisk)
    assert set(found) == {"answered"}


# --- URLs -------------------------------------------------------------------------------------------------------------


def test_a_url_that_says_its_age_is_good(tried):
    with serving(lambda _h: (200, {"Age": "7200"}, b'[{"id": 1}]')) as url:
        found, data = tried({"url": f"{url}/{{object}}", "max_age_h": 3})
    assert set(found) == {"answered"}
    assert data["source"].endswith("/Things")
    assert data["age_s"] == pytest.approx(7200, abs=5)


def test_a_url_that_looks_live_is_unlabelled(tried):
    with serving(lambda _h: (200, {}, b'[{"id": 1}]')) as url:
        found, data = tried({"url": url})
    assert set(found) == {"age_unknown", "unlabelled"}
    assert data["rows"] == 1


@pytest.mark.slow
def test_words_on_the_page_label_it(tried):
    page = b"<p>Stand vom 24.11.2026, das System ist nicht erreichbar</p>"
    when = "Tue, 24 Nov 2026 10:00:00 GMT"
    with serving(lambda _h: (200, {"Last-Modified": when, "Content-Type": "text/html"}, page)) as url:
        found, data = tried({"url": url, "max_age_h": 1_000_000, "label": "nicht erreichbar"})
    assert "unlabelled" not in found
    assert data["label"] == "says 'nicht erreichbar'"


@pytest.mark.parametrize(
    "status", [302, pytest.param(500, marks=pytest.mark.slow), pytest.param(404, marks=pytest.mark.slow)]
)
def test_a_url_that_fails_or_leads_elsewhere_is_silent(tried, status):
    with serving(lambda _h: (status, {"Location": "http://127.0.0.1:1/"}, b"no")) as url:
        found, _ = tried({"url": url})
    assert set(found) == {"silent"}
    assert str(status) in found["silent"].message


def test_a_fallback_on_the_system_itself_goes_down_with_it(tried, shop):
    found, _ = tried({"url": f"{shop.url}/rows"})
    assert set(found) == {"silent"}
    assert "is the system itself" in found["silent"].message


# --- another system ---------------------------------------------------------------------------------------------------


def database_with(path, shop, *, stamp):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT, copied_at TIMESTAMP)")
        rows = [(r["id"], r["name"], stamp.strftime("%Y-%m-%d %H:%M:%S.%f")) for r in shop.rows.values()]
        db.executemany("INSERT INTO things VALUES (?, ?, ?)", rows)
    db.close()
    return lambda name, route: SqlConnector({"url": f"sqlite:///{path}"}, Session(system=name, route=route))


@pytest.mark.parametrize(("hours", "said"), [(3, {"answered"}), (100, {"too_old"})])
def test_another_system_answers(tried, shop, tmp_path, hours, said):
    system = database_with(tmp_path / "replica.sqlite", shop, stamp=hours_ago(hours))
    found, data = tried({"system": "replica", "age_column": "copied_at", "max_age_h": 24}, system=system)
    assert set(found) == said
    assert (data["rows"], data["keys_missing"]) == (130, 0)


@pytest.mark.slow
def test_another_system_that_lacks_the_object_is_silent(tried, shop, tmp_path):
    system = database_with(tmp_path / "replica.sqlite", shop, stamp=hours_ago(1))
    found, _ = tried({"system": "replica", "object": "elsewhere"}, system=system)
    assert set(found) == {"silent"}
    assert "MissingObjectError" in found["silent"].message


def test_another_system_at_the_same_address_goes_down_too(tried, shop, kinds):
    def system(name, route):
        return kinds.ShopConnector({"url": shop.url}, Session(system=name, route=route))

    found, _ = tried({"system": "replica"}, system=system)
    assert "same address as the system" in found["silent"].message


@pytest.mark.slow
def test_a_system_that_is_not_configured_is_silent(tried):
    def system(name, route):
        raise SettingsError(f"there is no [systems.{name}]")

    found, _ = tried({"system": "replica"}, system=system)
    assert "there is no [systems.replica]" in found["silent"].message


# --- a program that falls back by itself ------------------------------------------------------------------------------

PROGRAM = """
import http.server, os, sys, time, urllib.request
mode = sys.argv[2]
kept = {}
class Portal(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            if mode == "never asks":
                raise OSError
            asked = urllib.request.Request(os.environ["WEIGHBRIDGE_PROXY_URL"] + "/count")
            asked.add_header("Authorization", "Bearer good-word-4711")
            kept["body"], kept["at"] = urllib.request.urlopen(asked, timeout=2).read(), time.time()
            return self.say(200, kept["body"])
        except OSError:
            if mode == "no cache":
                return self.say(502, b"down")
        headers = {"Age": str(int(time.time() - kept["at"]))} if mode == "labels" else {}
        self.say(200, kept.get("body", b"{}"), headers)
    def say(self, status, body, headers={}):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Portal).serve_forever()
"""


@pytest.fixture
def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


@pytest.fixture
def program(tmp_path, free_port):
    (tmp_path / "portal.py").write_text(PROGRAM)

    def table(mode):
        command = f'"{sys.executable}" portal.py {free_port} "{mode}"'
        return {"url": f"http://127.0.0.1:{free_port}/", "command": command, "max_age_h": 1}

    return table


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("labels", {"answered"}),
        ("silently", {"age_unknown", "unlabelled"}),
        ("no cache", {"silent"}),
        ("never asks", {"not_tried"}),
    ],
)
def test_a_program_is_asked_with_the_system_up_and_then_down(tried, program, mode, said):
    found, _ = tried(program(mode))
    assert set(found) == said


@pytest.mark.slow
def test_a_program_that_does_not_start_is_unknown(tried, program, tmp_path):
    with pytest.raises(Inconclusive, match="does not answer even with the system up"):
        tried({**program("labels"), "command": f'"{sys.executable}" -c pass'})
    with pytest.raises(Inconclusive, match="could not be started"):
        tried({**program("labels"), "command": "no-such-program-anywhere"})


# --- configuration ----------------------------------------------------------------------------------------------------


def settings_with(tmp_path, table):
    (tmp_path / "weighbridge.toml").write_text(
        f'[systems.shop]\nconnector = "sql"\nfallback = {table}\n[systems.shop.sandbox]\nurl = "sqlite://"\n'
    )
    return Project.load(tmp_path / "weighbridge.toml", environ={"CACHE": "http://u:canary@127.0.0.1:1/x"})


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('{fil = "x"}', "did you mean 'file'"),
        ('{file = "x", url = "http://a/"}', "name one of system, url and file"),
        ('{url = "http://u:canary@a/"}', "carries a login"),
        ('{file = "x", max_age_h = 0}', "greater than 0"),
        ('{file = "x", label = "("}', "no regular expression"),
    ],
)
def test_a_wrong_table_is_told_before_any_contact(tmp_path, table, says):
    with pytest.raises(UsageProblem, match=says) as told:
        settings_with(tmp_path, table).settings("shop")
    assert "canary" not in str(told.value)


def test_words_and_references_are_taken(tmp_path):
    assert settings_with(tmp_path, '"the copy"').settings("shop").fallback.words == "the copy"
    project = settings_with(tmp_path, '{url = "${CACHE}"}')
    assert project.settings("shop").fallback.url == "${CACHE}"
    assert project.system("shop", "sandbox").settings.fallback.url.startswith("http://u:")
