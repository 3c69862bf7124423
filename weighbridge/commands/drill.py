"""`weighbridge drill`: put one fault into staging and time the answer to it."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weighbridge.commands import options

if TYPE_CHECKING:
    from weighbridge.contracts.models import IntegrationPoint
    from weighbridge.project import Project

__all__ = ["command"]

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "second": 1, "minute": 60, "hour": 3600}
DETECT_S = 300.0


@click.command()
@click.argument("system")
@click.option("--fault", metavar="F", help="As in `down`, `latency,latency=3000`, `quota_exhausted`.")
@options.config
@click.option("--env", "environment", type=click.Choice(("sandbox", "staging")), default="staging", show_default=True)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Where the pilot finds the system; free one by default."
)
@click.option("--webhook", type=click.IntRange(0, 65535), help="Listen for the pilot's alert on this loopback port.")
@click.option(
    "--mailbox", type=click.Path(path_type=Path), help="Watch this mailbox file or folder for the pilot's alert."
)
@click.option("--pilot", metavar="COMMAND", help="Start the pilot; [systems.NAME] pilot_command by default.")
@click.option(
    "--within", type=click.FloatRange(min=0.1), help="Seconds to detect; the contract's timeToDetect by default."
)
@click.option(
    "--respond", type=click.FloatRange(min=0), default=900.0, show_default=True, help="Seconds to name the cause."
)
@click.option("--recover", type=click.FloatRange(min=0), default=300.0, show_default=True, help="Seconds to recover.")
@click.option(
    "--warm-up", type=click.FloatRange(min=0.1), default=60.0, show_default=True, help="Seconds to see traffic."
)
def command(
    *,
    system: str,
    fault: str | None,
    config: Path | None,
    environment: str,
    port: int,
    webhook: int | None,
    mailbox: Path | None,
    pilot: str | None,
    within: float | None,
    respond: float,
    recover: float,
    warm_up: float,
) -> int:
    """Apply one FAULT between the pilot and SYSTEM; record the times to detection, acknowledgement, cause, recovery.

    The pilot must reach the system through the address that is printed. Never in production. Exits 1 when the drill
    showed a weakness, 0 when somebody noticed, understood, and it recovered.
    """
    from weighbridge.drills import CAUSES, Signals, cause_of, hold
    from weighbridge.errors import UsageProblem
    from weighbridge.history import History
    from weighbridge.project import Project
    from weighbridge.sandbox.faults import FaultProxy, parse_fault

    if fault is None:
        raise UsageProblem("Say which fault, as in `--fault down`; `weighbridge faults list` names them all.")

    project = Project.load(config)
    try:
        planned = parse_fault(fault if "=" in fault.partition(",")[0] else f"type={fault}")
    except ValueError as error:
        raise UsageProblem(f"--fault {fault}: {error}") from None
    endpoint = _endpoint(project, system, environment)
    detect = within or _time_to_detect([p for p in project.points() if p.system == system]) or DETECT_S
    keyboard = webhook is None and mailbox is None
    history = History.of(project)
    with ExitStack() as stack:
        stack.callback(history.close)
        signals = Signals()
        if webhook is not None:
            heard = stack.enter_context(signals.webhook(webhook))
            click.echo(f"Send the pilot's alerts to http://127.0.0.1:{heard}/ (and /ack, /cause, /recovered).")
        if mailbox is not None:
            stack.enter_context(signals.mailbox(mailbox))
            click.echo(f"Watching {mailbox} for the pilot's alerts.")
        mode: Any = "plain" if planned.layer == "http" and endpoint.tls else None
        header = endpoint.host if mode == "plain" else None
        line = stack.enter_context(FaultProxy().between(endpoint, port=port, tls=mode, host_header=header))
        click.echo(f"{system} is reached through {line.endpoint.host}:{line.endpoint.port} now; nothing is wrong yet.")
        started = stack.enter_context(_running(pilot or project.settings(system).pilot_command, project, line.endpoint))
        _wait_for_traffic(line, warm_up, started=started)
        if keyboard:
            click.echo("Type what happens: alert, ack, cause WORD, recovered.")
        if keyboard or started is None:
            signals.keyboard()
        click.echo("Causes: " + ", ".join(f"{word} ({says})" for word, says in CAUSES.items()))
        result = hold(
            line,
            {"type": planned.type, **planned.parameters, "direction": planned.direction},
            signals,
            within_s=detect,
            respond_s=respond,
            recover_s=recover,
            say=click.echo,
        )
        body = {
            "environment": environment,
            "fault": result.fault,
            "detected_s": result.detected_s,
            "acknowledged_s": result.acknowledged_s,
            "diagnosed_s": result.diagnosed_s,
            "diagnosis": result.diagnosis,
            "right": result.right,
            "recovered_s": result.recovered_s,
            "within_s": result.within_s,
            "why": "; ".join(result.problems),
        }
        history.event("drill", system, ok=result.ok, body=body)
    _tell("detected", result.detected_s)
    _tell("acknowledged", result.acknowledged_s)
    named = "" if result.diagnosis is None else f" ({result.diagnosis}, {'right' if result.right else 'wrong'})"
    _tell(f"cause named{named}", result.diagnosed_s)
    _tell("recovered after the end of the fault", result.recovered_s)
    if result.right is False:
        click.echo(f"It was: {cause_of(result.fault)}, {CAUSES[cause_of(result.fault)]}.")
    for problem in result.problems:
        click.echo(f"Weakness: {problem}.")
    return 0 if result.ok else 1


def _tell(what: str, seconds: float | None) -> None:
    click.echo(f"  {what}: {'never' if seconds is None else f'{seconds:.1f} s'}")


def _endpoint(project: Project, name: str, environment: str) -> Any:
    from weighbridge.errors import UsageProblem

    connector = project.connector(name, environment)
    endpoints = connector.endpoints()
    if not endpoints:
        raise UsageProblem(
            f"{name} has no network endpoint (it is files, or its address is not known before the login): "
            "a network fault cannot be put in front of it."
        )
    return endpoints[0]


def _time_to_detect(points: list[IntegrationPoint]) -> float | None:
    """The shortest timeToDetect that the system's contracts promise, in seconds."""
    found = [
        float(sla.value) * _UNITS.get(str(sla.unit or "s").lower().rstrip("s") or "s", 1)
        for point in points
        for sla in point.contract.sla
        if sla.property == "timeToDetect" and isinstance(sla.value, (int, float))
    ]
    return min(found, default=None)


@contextmanager
def _running(pilot: str | None, project: Project, endpoint: Any) -> Iterator[subprocess.Popen[bytes] | None]:
    """The pilot, told where the system is by WEIGHBRIDGE_HOST and WEIGHBRIDGE_PORT; ended with the drill."""
    if not pilot:
        yield None
        return
    from weighbridge.checks.program import end_program
    from weighbridge.errors import UsageProblem

    environ = {**os.environ, "WEIGHBRIDGE_HOST": endpoint.host, "WEIGHBRIDGE_PORT": str(endpoint.port)}
    try:
        process = subprocess.Popen(shlex.split(pilot), cwd=project.folder, env=environ)
    except OSError as error:
        raise UsageProblem(f"The pilot could not be started ({error.strerror}): {pilot}") from None
    try:
        yield process
    finally:
        end_program(process)


def _wait_for_traffic(line: Any, seconds: float, *, started: subprocess.Popen[bytes] | None) -> None:
    from weighbridge.errors import UsageProblem

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if line.journal() or line.open_links:
            return
        if started is not None and started.poll() is not None:
            raise UsageProblem(f"The pilot ended with exit code {started.returncode} before it called the system.")
        time.sleep(0.1)
    raise UsageProblem(
        f"Within {seconds:.0f} s nothing called {line.endpoint.host}:{line.endpoint.port}: point the pilot at that "
        "address (its configuration, or WEIGHBRIDGE_HOST and WEIGHBRIDGE_PORT), or give it more time with --warm-up."
    )
