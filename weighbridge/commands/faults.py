"""`weighbridge faults`: put faults between a program, yours for instance, and any server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from weighbridge.sandbox.faults import Line

__all__ = ["command"]

STOP_S = 5.0


@click.group()
def command() -> None:
    """Put faults between a program and any server: TCP, HTTP, databases."""


@command.command(name="list")
def list_() -> None:
    """List the faults with their parameters."""
    from weighbridge.sandbox.faults import TYPES

    for layer, title in (("tcp", "Any protocol"), ("http", "HTTP only")):
        click.echo(f"{title}:")
        for name, kind in TYPES.items():
            if kind.layer == layer:
                parameters = "".join(f",{key}={value}" for key, value in kind.parameters.items() if value is not None)
                click.echo(f"  type={name}{parameters}")
                click.echo(f"      {kind.says}")
    click.echo(
        "Each also takes direction=upstream|downstream, probability=0..1, skip=N, first=N, every=N,\n"
        "after_s=SECONDS, for_s=SECONDS, and on HTTP path=REGEX, method=WORD."
    )


@command.command()
@click.option(
    "--upstream", required=True, metavar="HOST:PORT", help="The server; https://HOST for one that speaks TLS."
)
@click.option("--fault", "faults", multiple=True, metavar="TYPE,NAME=VALUE,...", help="See `weighbridge faults list`.")
@click.option("--http/--tcp", "http", default=None, help="Follow HTTP, or treat all as bytes; told by itself.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Listen here on 127.0.0.1 (default: any).")
@click.option(
    "--tls",
    type=click.Choice(["through", "terminate", "plain"]),
    help="TLS passed through, ended here by a local CA, or plain towards you (the default for https://).",
)
@click.option(
    "--ca-out", type=click.Path(path_type=Path, dir_okay=False), help="Write the local CA's certificate here."
)
@click.option("--host-header", metavar="NAME", help="Host to send to the server; its own name with https://.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of probabilities and jitter.")
@click.option("--check-url", metavar="URL", help="Ask this URL of your program while the faults are in force.")
@click.option("--expect", type=int, default=200, show_default=True, help="Status that --check-url must answer with.")
@click.option("--calls", type=click.IntRange(min=1), default=5, show_default=True, help="How often to ask it.")
@click.option("--within", type=float, default=10.0, show_default=True, help="Seconds in which each must be answered.")
@click.option("--ready-within", type=float, default=30.0, show_default=True, help="Seconds the program has to start.")
@click.option("--for", "seconds", type=float, help="Without a command: end after so many seconds.")
@click.option("--journal", type=click.Path(path_type=Path, dir_okay=False), help="Write what passed as JSON lines.")
@click.argument("program", nargs=-1, type=click.UNPROCESSED)
def run(
    *,
    upstream: str,
    faults: tuple[str, ...],
    http: bool | None,
    port: int,
    tls: str | None,
    ca_out: Path | None,
    host_header: str | None,
    seed: int,
    check_url: str | None,
    expect: int,
    calls: int,
    within: float,
    ready_within: float,
    seconds: float | None,
    journal: Path | None,
    program: tuple[str, ...],
) -> int:
    """Open a proxy with faults; with `-- PROGRAM ...` run it behind the proxy and say how it bore them.

    PROGRAM finds the proxy as {host}, {port} or {url} in its arguments, or as WEIGHBRIDGE_PROXY_HOST, _PORT and _URL in
    its environment. With --check-url the program is a server: it is started, asked while the faults are in force,
    and ended. Exits 0 when the program ended with 0 and each call was answered as expected, else 1.

    Example: weighbridge faults run --upstream crm:80 --fault server_error,first=2 -- python pilot.py {url}
    """
    from weighbridge.connectors.session import Endpoint
    from weighbridge.errors import UsageProblem
    from weighbridge.sandbox.faults import FaultProxy, parse_fault

    host, target_port, encrypted = _upstream(upstream)
    for fault in faults:
        try:
            parse_fault(fault)
        except ValueError as error:
            raise UsageProblem(f"--fault {fault}: {error}") from None
    mode = tls or ("plain" if encrypted else None)
    if mode == "terminate" and ca_out is None:
        raise UsageProblem("--tls terminate needs --ca-out FILE: your program must trust that certificate.")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weighbridge-ca-")))
        proxy = FaultProxy(seed=seed, authority_folder=folder if mode == "terminate" else None)
        if ca_out is not None and proxy.ca_file is not None:
            ca_out.write_bytes(proxy.ca_file.read_bytes())
        try:
            line = stack.enter_context(
                proxy.between(
                    Endpoint(host, target_port, encrypted),
                    tls=mode,  # type: ignore[arg-type]  # click has checked the word
                    http=http,
                    host_header=host_header or (host if encrypted and mode != "through" else None),
                    port=port,
                )
            )
        except OSError as error:
            raise UsageProblem(f"port {port} cannot be listened on ({error.strerror}). Leave --port out.") from None
        line.plan(*faults)
        scheme = "https" if line.endpoint.tls else "http"
        place = _Place(line.endpoint.host, line.endpoint.port, f"{scheme}://{line.endpoint.host}:{line.endpoint.port}")
        click.echo(f"Dial {place.host}:{place.port} instead of {host}:{target_port}.", err=True)
        for fault in faults:
            click.echo(f"  fault: {fault}", err=True)
        if program:
            code = _with_program(program, place, _Asking(check_url, expect, calls, within, ready_within))
        else:
            code = _until_told(check_url, seconds, _Asking(check_url, expect, calls, within, ready_within))
        entries = line.journal()
        _summary(entries, line)
        if journal is not None:
            journal.write_text("".join(json.dumps(dict(e)) + "\n" for e in entries), encoding="utf-8")
    return code


@dataclass(frozen=True, slots=True)
class _Place:
    host: str
    port: int
    url: str


@dataclass(frozen=True, slots=True)
class _Asking:
    """What to ask of the program."""

    url: str | None
    status: int
    calls: int
    within: float
    ready_within: float


def _upstream(text: str) -> tuple[str, int, bool]:
    from urllib.parse import urlsplit

    from weighbridge.errors import UsageProblem

    encrypted = text.startswith("https://")
    parts = urlsplit(text if "://" in text else f"tcp://{text}")
    try:
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        port = None
    if not parts.hostname or port is None or parts.username:
        raise UsageProblem(f"--upstream {text}: give HOST:PORT, or http(s)://HOST, without a login.")
    return parts.hostname, port, encrypted


def _with_program(program: Sequence[str], place: _Place, asking: _Asking) -> int:
    from weighbridge.errors import UsageProblem

    words = [
        word.replace("{host}", place.host).replace("{port}", str(place.port)).replace("{url}", place.url)
        for word in program
    ]
    environment = {
        **os.environ,
        "WEIGHBRIDGE_PROXY_HOST": place.host,
        "WEIGHBRIDGE_PROXY_PORT": str(place.port),
        "WEIGHBRIDGE_PROXY_URL": place.url,
    }
    try:
        child = subprocess.Popen(words, env=environment, start_new_session=True)
    except OSError as error:
        raise UsageProblem(f"{words[0]} cannot be started ({error.strerror}).") from None
    try:
        if asking.url is None:
            code = child.wait()
            click.echo(f"The program ended with {code}.", err=True)
            return 0 if code == 0 else 1
        if not _ready(asking, child):
            click.echo(f"{asking.url} did not answer within {asking.ready_within:g} s of the start.", err=True)
            return 1
        return _ask(asking)
    finally:
        from weighbridge.checks.program import end_program

        end_program(child, patience_s=STOP_S)


def _ready(asking: _Asking, child: subprocess.Popen[bytes]) -> bool:
    """Whether something listens where the program is to be asked; its own answers come under faults, later."""
    import socket
    from urllib.parse import urlsplit

    parts = urlsplit(asking.url or "")
    deadline = time.monotonic() + asking.ready_within
    while time.monotonic() < deadline and child.poll() is None:
        with suppress(OSError), socket.create_connection((parts.hostname, parts.port or 80), timeout=1):
            return True
        time.sleep(0.05)
    return False


def _ask(asking: _Asking) -> int:
    import requests

    failed = 0
    with requests.Session() as session:
        session.trust_env = False
        for number in range(1, asking.calls + 1):
            started = time.monotonic()
            try:
                answer = session.get(asking.url or "", timeout=asking.within)
                said, ok = str(answer.status_code), answer.status_code == asking.status
            except requests.RequestException as error:
                said, ok = type(error).__name__, False
            took = time.monotonic() - started
            ok = ok and took <= asking.within
            failed += not ok
            click.echo(f"  call {number}: {said} after {took:.2f} s  {'ok' if ok else 'NOT as expected'}")
    verdict = "bore the faults" if not failed else f"did not: {failed} of {asking.calls} calls failed"
    click.echo(f"The program {verdict}.")
    return 1 if failed else 0


def _until_told(check_url: str | None, seconds: float | None, asking: _Asking) -> int:
    if check_url is not None:
        return _ask(asking)
    if seconds is None:
        click.echo("Ctrl-C ends it.", err=True)
    with suppress(KeyboardInterrupt):
        threading.Event().wait(seconds)
    return 0


def _summary(entries: Sequence[Mapping[str, Any]], line: Line) -> None:
    exchanges = [e for e in entries if e["event"] == "exchange"]
    connections = [e for e in entries if e["event"] == "connection"]
    struck = Counter(str(e["fault"]) for e in entries if e["event"] == "fault")
    statuses = Counter("cut" if e.get("cut") else str(e["status"] or "none") for e in exchanges)
    said = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    click.echo(
        f"Passed: {len(exchanges)} HTTP exchanges{f' ({said})' if said else ''}, {len(connections)} connections."
    )
    for name, count in sorted(struck.items()):
        click.echo(f"  {name} struck {count} times")
    for armed in line.armed:
        if not armed.struck and not (armed.fault.type == "down" and struck.get("down")):
            click.echo(f"  {armed.fault.type} never struck: nothing that it matches came by", err=True)
    for entry in entries:
        if entry["event"] == "elsewhere" and entry["credentials"]:
            click.echo("  WARNING: credentials were sent to another host after a redirect.")
    sys.stdout.flush()
