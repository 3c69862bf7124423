"""`weighbridge doctor`: what is installed, what can be reached, and what is allowed."""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.commands import options
from weighbridge.project import ENVIRONMENTS

if TYPE_CHECKING:
    from weighbridge.project import Project

__all__ = ["command"]

EXTRAS = {
    "pymysql": ("mysql", "MySQL and MariaDB through `sql`"),
    "mssql_python": ("mssql", "SQL Server without an ODBC driver"),
    "oracledb": ("oracle", "Oracle"),
    "ibm_db_sa": ("db2", "Db2"),
    "sqlalchemy_firebird": ("firebird", "Firebird"),
    "opentelemetry.exporter.otlp.proto.http": ("otel", "metrics of the nightly run to an OpenTelemetry collector"),
    "pyspark": ("spark", "contracts on a Spark cluster"),
    "locust": ("locust", "load from several machines"),
}
SKEW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Line:
    status: str
    """ok, note or bad."""
    what: str
    text: str


@click.command()
@options.config
@click.option("--env", "environment", type=click.Choice(ENVIRONMENTS), default="staging", show_default=True)
@click.option("--offline", is_flag=True, help="Look at this machine only; touch no system.")
@click.option("--request", "request", metavar="SYSTEM", help="Print a one-page permission request for its owner.")
def command(*, config: Path | None, environment: str, offline: bool, request: str | None) -> int:
    """Look at drivers, versions, reach, clock and permissions; says what each missing extra would add.

    Exits 0 when nothing is in the way, 3 when a system cannot be reached.
    """
    from weighbridge.errors import UsageProblem
    from weighbridge.project import Project

    if request is not None:
        click.echo(permission_request(Project.load(config), request, environment))
        return 0
    bad = _print("This machine", _machine())
    try:
        project = Project.load(config)
    except UsageProblem as problem:
        _print("Project", iter([_Line("note", "weighbridge.toml", str(problem))]))
        return 0
    bad += _print(f"Project {project.folder.name}", _project(project))
    for name in project.system_names:
        bad += _print(f"System {name} ({environment})", _system(project, name, environment, offline=offline))
    return 3 if bad else 0


def _print(title: str, lines: Iterator[_Line]) -> int:
    click.echo(title)
    bad = 0
    for line in lines:
        bad += line.status == "bad"
        click.echo(f"  {line.status:<5} {line.what}: {line.text}")
    return bad


def _machine() -> Iterator[_Line]:
    yield _Line("ok", "Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield _odbc()
    for module, (extra, what) in EXTRAS.items():
        if not _installed(module):
            yield _Line("note", f"extra {extra}", f"not installed; pip install 'weighbridge[{extra}]' adds {what}")
        else:
            yield _Line("ok", f"extra {extra}", what)


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it is missing
        return False


def _odbc() -> _Line:
    try:
        import pyodbc
    except ImportError as error:
        system = {"linux": "apt install unixodbc", "darwin": "brew install unixodbc"}.get(
            sys.platform, "an ODBC driver"
        )
        return _Line("note", "ODBC", f"no driver manager ({error}); the connector `odbc` needs it: {system}")
    drivers = pyodbc.drivers()
    found = ", ".join(drivers) if drivers else "no driver yet; install the one of your database"
    return _Line("ok", "ODBC", f"driver manager found; {found}")


def _project(project: Project) -> Iterator[_Line]:
    from weighbridge.contracts.problems import ContractError
    from weighbridge.errors import UsageProblem

    try:
        project.contract_files()
    except UsageProblem as none_yet:
        yield _Line("note", "contracts", str(none_yet))
        return
    try:
        contracts = project.contracts()
    except (UsageProblem, ContractError) as problem:
        yield _Line("bad", "contracts", str(problem).split("\n", 1)[0])
        return
    objects = sum(len(c.objects) for c in contracts)
    yield _Line("ok", "contracts", f"{len(contracts)} with {objects} objects")
    served = {s.server for c in contracts for s in c.servers}
    for name in sorted(served - set(project.system_names)):
        yield _Line("bad", f"server {name}", f"a contract names it, but there is no [systems.{name}]")
    for name in sorted(set(project.system_names) - served):
        yield _Line("note", f"system {name}", f"no contract is about it yet; draft one: weighbridge infer {name}")


def _system(project: Project, name: str, environment: str, *, offline: bool) -> Iterator[_Line]:
    from weighbridge.connectors.errors import ConnectorError
    from weighbridge.errors import UsageProblem

    try:
        system = project.system(name, environment)
    except UsageProblem as problem:
        yield _Line("bad", "settings", str(problem).removeprefix(f"{project.file}: "))
        return
    allowed = system.permissions()
    yield _Line(
        "ok",
        "permissions",
        f"rung {allowed.rung}: ramp to {allowed.max_users} users, bursts to {allowed.max_burst}, "
        f"{'writes where a contract allows them' if not system.read_only else 'no writes'}",
    )
    if offline:
        return
    try:
        with system.connector() as connector:
            probe = connector.probe()
    except ConnectorError as error:
        yield _Line("bad", "reach", str(error))
        return
    who = f" as {probe.user}" if probe.user else ""
    yield _Line("ok", "reach", f"{probe.product} {probe.version or ''}{who} in {probe.seconds * 1000:.0f} ms")
    yield from _clock(probe.facts.get("date"))


def _clock(said: object) -> Iterator[_Line]:
    if not isinstance(said, str):
        return
    try:
        then = parsedate_to_datetime(said)
    except ValueError:
        return
    skew = (datetime.now(UTC) - then).total_seconds()
    status = "ok" if abs(skew) < SKEW_SECONDS else "bad"
    yield _Line(status, "clock", f"{skew:+.0f} s against the system's; signed logins fail beyond a few minutes")


def permission_request(project: Project, name: str, environment: str) -> str:
    """A page for the system's owner: what would be done, how much, and what is asked for."""
    system = project.system(name, environment)
    allowed = system.permissions()
    scale = project.scale
    budget = system.policy.call_budget
    return f"""Permission request: {name} ({environment})
To: {system.settings.owner or "the system's owner"}

We are about to give {scale.production_users} people what {scale.pilot_users} have now, through this system.
Before that we want to know whether it carries them, by measuring in {environment}.

What is done now, without asking (rung {allowed.rung}):
  - metadata calls and a count and one read of each object that a contract names;
  - a ramp of at most {allowed.max_users} virtual users, stopping at the first error or slow-down, under 2,000 calls;
  - bursts of at most {allowed.max_burst} simultaneous calls (0 means none);
  - no writes{"" if system.read_only else ", except where the contract says weighbridge.writes: true"}.
  Call budget: {"none set" if budget is None else f"{budget:,} calls"}. Hours: {system.policy.allowed_hours or "any"}.

What we ask for, and why:
  [ ] max_users = 40        a ramp long enough to see service times
  [ ] max_burst = 128       a burst of 128 calls lasts under a second and shows the capacity that a ramp cannot
  [ ] production's limits   daily quota, rate, connections, and what other applications use of them
  [ ] production_like       is this environment as large as production? If not, by which factor?

Every call is counted and listed in the report. `weighbridge run --env {environment} --plan` prints what would be sent.

Allowed by: ______________________   Date: ____________   Hours: ____________
"""
