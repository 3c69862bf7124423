"""Canary secrets walk through every output: whatever goes right or wrong, no byte of any output carries one.

The systems are hostile: they send back, in bodies, headers, redirects and rows, the credentials they were sent.
"""

from __future__ import annotations

import base64
import gzip
import http.server
import io
import json
import os
import sqlite3
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

WORD = b"canary-"
"""Every secret carries it; `-` and letters survive quoting, so that only base64 needs forms of its own."""
SECRETS = {
    "API_TOKEN": "canary-bearer-7f3a91",
    "API_KEY": "canary-key-7f3a92",
    "ERP_PASSWORD": "canary-p@ss/w%rd 7f3a93",
    "OAUTH_SECRET": "canary-client-7f3a94",
    "DB_URL": "postgresql://keeper:canary-db-7f3a95@127.0.0.1:1/shop",
    "ODBC": "DRIVER={PostgreSQL Unicode};Server=127.0.0.1;Port=1;Database=shop;UID=keeper;PWD={canary-odbc-7f3a96}",
}
TOML = """\
[scale]
production_users = 50
calls_per_user_hour = 12

[alerts.channels]
ops = "${{HOOK}}"

[nightly]
ping = "${{PING}}"
pushgateway = "${{PUSH}}"
prometheus_file = "night.prom"
checks = ["connection", "schema", "quality", "freshness", "drift", "limits", "operations"]

[systems.api]
connector = "rest"
owner = "api@example.com"
[systems.api.fallback]
url = "${{CACHE}}"
max_age_h = 24
[systems.api.objects.things]
path = "/things"
types = {{id = "integer", note = "text", changed = "text"}}
[systems.api.staging]
url = "${{API_URL}}"
token = "${{API_TOKEN}}"
timeout = 2

[systems.keyed]
connector = "rest"
[systems.keyed.objects.things]
path = "/things"
[systems.keyed.staging]
url = "${{KEYED_URL}}"
api_key = "${{API_KEY}}"
timeout = 2

[systems.erp]
connector = "odata"
[systems.erp.staging]
url = "${{ERP_URL}}"
username = "keeper"
password = "${{ERP_PASSWORD}}"
timeout = 2

[systems.oauth]
connector = "odata"
[systems.oauth.staging]
url = "${{ERP_URL}}"
token_url = "{token_url}"
client_id = "pilot"
client_secret = "${{OAUTH_SECRET}}"
timeout = 2

[systems.db]
connector = "sql"
[systems.db.staging]
url = "${{DB_URL}}"
timeout = 2

[systems.driver]
connector = "odbc"
[systems.driver.staging]
connection_string = "${{ODBC}}"
timeout = 2
"""
CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: {name}
version: 1.0.0
status: active
servers:
  - {{server: {name}, type: custom}}
schema:
  - name: Thing
    physicalName: things
    properties:
      - {{name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1}}
      - {{name: note, logicalType: string, logicalTypeOptions: {{pattern: '^note [0-9]+$'}}}}
"""
SYSTEMS = ("api", "keyed", "erp", "oauth", "db", "driver")


@dataclass
class Echo:
    """A server that gives back what it was sent, in the way of its mode."""

    mode: str = "well"
    url: str = ""
    alerts: list[bytes] = field(default_factory=list)


def answer_of(mode: str, path: str, told: str, url: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body; `told` is all the request's headers and body."""
    rows = [{"id": n, "note": f"note {n}", "changed": "2026-11-01T00:00:00Z"} for n in range(1, 21)]
    well = json.dumps(rows).encode()
    kind = {"Content-Type": "application/json", "Server": told[:200], "Set-Cookie": f"s={quote(told)[:500]}"}
    said = json.dumps({"error": {"code": "E", "message": f"refused {told} at {path}"}, "errors": [told]}).encode()
    if mode in ("401", "403", "404", "409", "429", "500", "503"):
        return int(mode), kind, said
    return {
        "well": (200, kind, well),
        "echoes in rows": (200, kind, json.dumps([{**r, "note": told} for r in rows]).encode()),
        "login page": (200, {**kind, "Content-Type": "text/html"}, f"<title>{told}</title>{told}".encode()),
        "garbage": (200, kind, b'{"a": "' + told.encode("utf-8", "replace")),
        "wrong shape": (200, kind, json.dumps({told: told, "value": told}).encode()),
        "redirect": (302, {"Location": f"{url}/else?t={quote(told)}", "X": told[:200]}, told.encode()),
        "elsewhere": (302, {"Location": f"http://{quote(told, safe='')[:60]}@127.0.0.1:1/"}, b""),
    }[mode]


@pytest.fixture
def echo() -> Iterator[Echo]:
    state = Echo()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path.startswith("/alert"):
                state.alerts.append(body)  # what an alert says; its own login is in a header, where it belongs
                return self.send(200, {}, b"")
            if self.path.startswith(("/push", "/ping")):
                state.alerts.append(body)
                return self.send(500 if state.mode != "well" else 200, {}, body)
            heads = " ".join(f"{k}={v}" for k, v in self.headers.items() if k.lower() not in ("host", "accept"))
            told = f"{heads} {body.decode('utf-8', 'replace')}".replace("\r", " ").replace("\n", " ")
            return self.send(*answer_of(state.mode, self.path, told, state.url))

        do_GET = do_POST = do_PUT = answer

        def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value.encode("latin-1", "replace").decode("latin-1"))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

        def version_string(self) -> str:
            return "echo"

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def project(tmp_path: Path, echo: Echo) -> Path:
    folder = tmp_path / "shop"
    (folder / "contracts").mkdir(parents=True)
    (folder / "weighbridge.toml").write_text(TOML.format(token_url=f"{echo.url}/token"))
    for name in SYSTEMS:
        (folder / "contracts" / f"{name}.odcs.yaml").write_text(CONTRACT.format(name=name))
    return folder


def environment(echo: Echo) -> dict[str, str]:
    host = echo.url.removeprefix("http://")
    return {
        **os.environ,
        **SECRETS,
        "API_URL": f"http://{host}/api",
        "KEYED_URL": f"http://keeper:canary-userinfo-7f3a97@{host}/api",
        "ERP_URL": f"http://{host}/odata/",
        "HOOK": f"json://keeper:canary-hook-7f3a98@{host}/alert/canary-path-7f3a99",
        "PING": f"http://{host}/ping/canary-ping-7f3aa0",
        "PUSH": f"http://keeper:canary-push-7f3aa1@{host}/push",
        "CACHE": f"http://keeper:canary-cache-7f3aa2@{host}/api/cache?key=canary-query-7f3aa3",
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
    }


def command(project: Path, echo: Echo, *words: str, program: str = "weighbridge") -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", program, *words],
        cwd=project,
        env=environment(echo),
        capture_output=True,
        timeout=240,
        check=False,
    )
    return done.stdout + done.stderr


# --- looking ----------------------------------------------------------------------------------------------------------


def forms() -> list[bytes]:
    """The word as it is, and the middle of its base64 at each of the three offsets."""
    found = [WORD]
    for shift in range(3):
        coded = base64.b64encode(b"x" * shift + WORD)
        found.append(coded[(0, 2, 3)[shift] : len(coded) - 4])
    return found


def opened(data: bytes) -> Iterator[bytes]:
    """The bytes, and what is packed in them."""
    yield data
    if data[:2] == b"\x1f\x8b":
        yield from opened(gzip.decompress(data))
    if data[:2] == b"PK" and zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield from opened(archive.read(name))


def database_rows(path: Path) -> Iterator[bytes]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in database.execute(f'SELECT * FROM "{table}"').fetchall():
                for value in row:
                    yield value if isinstance(value, bytes) else str(value).encode()
    database.close()


def everything(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        name = str(path.relative_to(folder))
        pieces = [path.read_bytes()]
        if path.suffix == ".sqlite":
            pieces += database_rows(path)
        for piece in pieces:
            for data in opened(piece):
                yield name, data


def leaks(outputs: Iterator[tuple[str, bytes]]) -> list[str]:
    found = []
    for name, data in outputs:
        for form in forms():
            place = data.find(form)
            if place >= 0:
                found.append(f"{name}: ...{data[max(0, place - 120) : place + 60]!r}")
                break
    return found


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    for shift in range(3):
        coded = base64.b64encode(b"k" * shift + b"eeper:"[: 6 - 0] + b"canary-x")
        assert leaks(iter([("b64", coded)]))
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sheet.xml", "a canary-x")
    (tmp_path / "b.json").write_text("nothing")
    assert [name.split(":")[0] for name in leaks(everything(tmp_path))] == ["a.xlsx"]
    with sqlite3.connect(tmp_path / "h.sqlite") as database:
        database.execute("CREATE TABLE t (v BLOB)")
        database.execute("INSERT INTO t VALUES (?)", [gzip.compress(b"canary-x")])
    database.close()
    assert [name.split(":")[0] for name in leaks(everything(tmp_path))] == ["a.xlsx", "h.sqlite"]


# --- walking ----------------------------------------------------------------------------------------------------------

WAYS = (
    "well", "echoes in rows", "401", "403", "404", "409", "429", "500", "503", "login page", "garbage", "wrong shape",
    "redirect", "elsewhere",
)  # fmt: skip
CHEAP = "connection,schema,quality,completeness,volume,freshness,drift,limits,operations"
FEW = "connection,schema,limits"
WHOLE = ("well", "echoes in rows", "500", "garbage")


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_run_says_nothing_of_its_secrets(project: Path, echo: Echo, way: str) -> None:
    echo.mode = way
    # rows that are kept on request are the system's own, whatever it puts into them
    keep = ("--keep",) if way != "echoes in rows" else ()
    said = command(project, echo, "--debug", "run", "--checks", CHEAP if way in WHOLE else FEW, "--data-docs", *keep)
    assert b"weighbridge" in said
    assert (project / "weighbridge-report" / "report.json").is_file()
    assert leaks(iter([("terminal", said)])) == []
    assert leaks(everything(project)) == []


@pytest.mark.slow
@pytest.mark.parametrize("way", ["well", "500"])
def test_every_other_command_says_nothing_either(project: Path, echo: Echo, way: str) -> None:
    echo.mode = way
    book = (
        ("run", "--plan"),
        ("run", "--checks", "resilience,load,limits", "--points", "api"),
        ("nightly", "--always"),
        ("nightly", "--always"),
        ("doctor",),
        ("doctor", "--request", "api"),
        ("limits",),
        ("runbook",),
        ("history",),
        ("history", "list"),
        ("report", "latest", "--format", "json,html,md,xlsx,junit,terminal"),
        ("diff", "previous", "latest"),
        ("infer", "api"),
        ("--debug", "infer", "erp"),
        ("--debug", "infer", "db"),
        ("contract", "lint"),
        ("alert", "test"),
        ("schedule",),
        ("demand", "api"),
        ("drill", "api", "--fault", "down", "--within", "0.2", "--warm-up", "0.3", "--webhook", "0"),
    )
    for words in book:
        said = command(project, echo, *words)
        assert leaks(iter([(" ".join(words), said)])) == []
    tested = command(
        project,
        echo,
        "-m",
        "schema or quality",
        "-p",
        "no:randomly",
        "--junitxml=junit.xml",
        "-vv",
        "-l",
        program="pytest",
    )
    assert b"shop" in tested or b"contracts" in tested
    assert leaks(iter([("pytest", tested)])) == []
    assert echo.alerts
    assert leaks((f"alert {n}", data) for n, data in enumerate(echo.alerts)) == []
    assert leaks(everything(project)) == []


@pytest.mark.slow
def test_a_history_that_cannot_be_reached_keeps_its_address(project: Path, echo: Echo) -> None:
    toml = project / "weighbridge.toml"
    toml.write_text(toml.read_text() + '\n[history]\nurl = "${DB_URL}"\n')
    for words in (("run",), ("--debug", "run"), ("history", "list"), ("--debug", "nightly")):
        said = command(project, echo, *words)
        assert b"history" in said
        assert leaks(iter([(" ".join(words), said)])) == []


def test_a_wrong_setting_is_told_without_its_value(project: Path, echo: Echo) -> None:
    toml = project / "weighbridge.toml"
    toml.write_text(
        toml.read_text().replace('token = "${API_TOKEN}"', 'token = "${API_TOKEN}"\ntimeout_s = "${API_KEY}"')
    )
    said = command(project, echo, "run")
    assert b"timeout_s" in said
    assert leaks(iter([("terminal", said)])) == []


def test_addresses_have_no_place_in_the_search(echo: Echo) -> None:
    assert urlsplit(echo.url).hostname == "127.0.0.1"
    assert all(WORD.decode() in value for value in SECRETS.values())
