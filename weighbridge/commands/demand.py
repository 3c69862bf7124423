"""`weighbridge demand`: what one user of the pilot costs a system, from the pilot's own traffic."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weighbridge.commands import options

if TYPE_CHECKING:
    from weighbridge.project import Project
    from weighbridge.traffic import Traffic

__all__ = ["command"]

# one server counts for all its databases: those of others are not the pilot's
STATEMENTS = """
SELECT query, sum(calls), sum(rows) FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) GROUP BY query
"""
ENVIRONMENTS = ("sandbox", "staging", "production")


@click.command()
@click.argument("system")
@options.config
@click.option("--env", "environment", type=click.Choice(ENVIRONMENTS), default="staging", show_default=True)
@click.option("--har", type=click.Path(path_type=Path, dir_okay=False), help="A HAR file of the pilot's browser.")
@click.option("--access-log", type=click.Path(path_type=Path, dir_okay=False), help="Common, combined or JSON lines.")
@click.option("--statements", is_flag=True, help="pg_stat_statements before and after the PROGRAM.")
@click.option("--actions", type=click.IntRange(min=1), help="User actions in the sample, where pauses do not tell.")
@click.option("--users", type=click.IntRange(min=1), help="Users in the sample, where the log does not name them.")
@click.option("--hours", type=float, help="Hours that the sample covers, where its times do not say.")
@click.option("--dry-run", is_flag=True, help="Show it, and keep nothing.")
@click.argument("program", nargs=-1, type=click.UNPROCESSED)
def command(
    *,
    system: str,
    config: Path | None,
    environment: str,
    har: Path | None,
    access_log: Path | None,
    statements: bool,
    actions: int | None,
    users: int | None,
    hours: float | None,
    dry_run: bool,
    program: tuple[str, ...],
) -> int:
    """Measure what one user costs SYSTEM: calls an hour and an action, rows, retries, and any N+1.

    From a HAR file, an access log, or a PROGRAM (after --) that is run behind a recording pass-through proxy: it finds
    the proxy as {host}, {port} or {url} in its arguments, or as WEIGHBRIDGE_PROXY_URL in its environment. What is kept
    is a distribution with date and sample, never a body, a value or a credential; later runs use it instead of what
    was declared.

    Example: weighbridge demand crm --actions 5 -- python pilot.py {url}
    """
    from weighbridge.errors import UsageProblem
    from weighbridge.project import Project
    from weighbridge.traffic import lines, read_access_log, read_har, save, summarise

    ways = [har is not None, access_log is not None, bool(program)]
    if sum(ways) != 1:
        raise UsageProblem("Give exactly one of --har FILE, --access-log FILE or a program after --.")
    project = Project.load(config)
    project.settings(system)  # an unknown system is named here, before anything is read
    sizes: dict[str, Any] = {"actions": actions, "users": users, "hours": hours}
    if har is not None:
        traffic, sample = summarise(read_har(har), **sizes), f"HAR file {har.name}"
    elif access_log is not None:
        traffic, sample = summarise(read_access_log(access_log), **sizes), f"access log {access_log.name}"
    elif statements:
        traffic, sample = _statements(project, system, environment, program, actions or 1), "pg_stat_statements"
    else:
        traffic, sample = _record(project, system, environment, program, sizes), "recorded behind a pass-through proxy"
    for line in lines(traffic, system):
        click.echo(line)
    if not dry_run:
        path = save(project.data_folder, system, traffic, at=datetime.now(UTC), sample=sample)
        click.echo(f"Kept in {path}; `weighbridge run` uses it from now on.")
        if not traffic.per_user_hour:
            click.echo("It does not say how many actions a user makes an hour: calls_per_user_hour of [scale] does.")
    return 0


def _record(
    project: Project, system: str, environment: str, program: tuple[str, ...], sizes: Mapping[str, Any]
) -> Traffic:
    """Run the program behind the proxy and read the proxy's journal."""
    from weighbridge.errors import UsageProblem
    from weighbridge.sandbox.faults import FaultProxy
    from weighbridge.traffic import recorded, summarise

    connector = project.system(system, environment).connector()
    endpoints = list(connector.endpoints())
    if not endpoints:
        raise UsageProblem(f"{system} has no network endpoint that could be recorded. Use --har or --access-log.")
    upstream = endpoints[0]
    mode: dict[str, Any] = {"tls": "plain", "host_header": upstream.host} if upstream.tls else {}
    with FaultProxy().between(upstream, **mode) as line:
        _run(program, line.endpoint.host, line.endpoint.port)
        journal = line.journal()
    return summarise(recorded(journal), **dict(sizes))


def _run(program: tuple[str, ...], host: str, port: int) -> None:
    from weighbridge.errors import UsageProblem

    url = f"http://{host}:{port}"
    given = [part.replace("{host}", host).replace("{port}", str(port)).replace("{url}", url) for part in program]
    environ = os.environ | {
        "WEIGHBRIDGE_PROXY_HOST": host, "WEIGHBRIDGE_PROXY_PORT": str(port), "WEIGHBRIDGE_PROXY_URL": url,
    }  # fmt: skip
    try:
        ended = subprocess.run(given, env=environ, check=False)
    except OSError as error:
        raise UsageProblem(f"{given[0]} could not be started: {error}.") from None
    if ended.returncode != 0:
        raise UsageProblem(f"{given[0]} ended with {ended.returncode}: what a failing pilot costs says nothing.")


def _statements(project: Project, system: str, environment: str, program: tuple[str, ...], actions: int) -> Traffic:
    """Look at pg_stat_statements, run the program against the system itself, and look again."""
    from weighbridge.connectors.base import Sql
    from weighbridge.connectors.errors import ConnectorError
    from weighbridge.errors import UsageProblem
    from weighbridge.traffic import of_statements, statements_between

    connector = project.system(system, environment).connector()
    connector.open()
    with contextlib.closing(connector):
        sql = connector.facet(Sql)
        if sql is None or sql.dialect != "postgresql":
            raise UsageProblem(f"{system} is not a PostgreSQL system; --statements needs one.")

        def look() -> dict[str, tuple[int, int]]:
            try:
                rows = sql.execute(STATEMENTS)
            except ConnectorError as error:
                raise UsageProblem(
                    f"{system}: pg_stat_statements cannot be read ({error.message}). An administrator turns it on with "
                    "shared_preload_libraries and CREATE EXTENSION pg_stat_statements."
                ) from None
            return {str(words): (int(calls), int(count)) for words, calls, count in rows}

        before = look()
        endpoint = next(iter(connector.endpoints()), None)
        _run(program, endpoint.host if endpoint else "", endpoint.port if endpoint else 0)
        after = look()
    return of_statements(statements_between(before, after), actions)
