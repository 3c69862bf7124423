"""`weighbridge limits`: the limit register of every system, read by a handful of metadata calls listed beforehand."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from weighbridge.commands import options

__all__ = ["command"]

ENVIRONMENTS = ("sandbox", "staging", "production")


@click.command()
@click.argument("systems", nargs=-1)
@options.config
@click.option("--env", "environment", type=click.Choice(ENVIRONMENTS), default="staging", show_default=True)
@click.option("--plan", "plan_only", is_flag=True, help="List the calls it would make, and make none.")
@click.option("--json", "as_json", is_flag=True, help="Print the register as JSON.")
@click.option("--yes", is_flag=True, help="Do not ask before metadata calls to production.")
def command(
    *, systems: tuple[str, ...], config: Path | None, environment: str, plan_only: bool, as_json: bool, yes: bool
) -> int:
    """Read the limits that SYSTEMS report, beside those that were declared: metadata calls only, listed first.

    What production reports can be written into weighbridge.toml under [[systems.NAME.limits]] as it is printed.
    Exits 3 when a system could not be asked.
    """
    from weighbridge.connectors.errors import ConnectorError
    from weighbridge.connectors.session import Budget
    from weighbridge.project import Project

    project = Project.load(config)
    names = list(systems) or [n for n in project.system_names if environment in project.environments(n)]
    chosen = project.require(names, environment)
    for system in chosen:
        kind = system.settings.connector
        click.echo(
            f"{system.name} ({environment}): log in once; then ask {kind} for its limits: metadata only", err=True
        )
    if plan_only:
        return 0
    if environment == "production" and not yes and not click.confirm("Send these calls to production?", default=True):
        return 0
    failed = False
    register: dict[str, Any] = {}
    for system in chosen:
        # whatever a connector means to do, this many calls are all that it can do here
        session = system.session(budget=Budget(20))
        connector = system.connector(session)
        try:
            with contextlib.closing(connector):
                connector.open()
                found = list(connector.limits())
        except ConnectorError as error:
            failed = True
            click.echo(f"{system.name}: could not be asked: {error}", err=True)
            continue
        register[system.name] = {
            "environment": environment, "at": datetime.now(UTC).isoformat(), "calls": session.meter.attempts,
            "limits": [_row(limit) for limit in found],
        }  # fmt: skip
        if not as_json:
            _show(
                system.name, found, [d.model_dump(mode="json") for d in system.settings.limits], session.meter.attempts
            )
    if as_json:
        click.echo(json.dumps(register, indent=2, default=str))
    return 3 if failed else 0


def _row(limit: Any) -> dict[str, Any]:
    return {
        "name": limit.name, "scope": limit.scope, "cap": limit.cap, "unit": limit.unit, "window": limit.window,
        "used": limit.used, "source": limit.source, "environment": limit.environment, "at": limit.at,
    }  # fmt: skip


def _show(name: str, found: list[Any], declared: list[dict[str, Any]], calls: int) -> None:
    click.echo(f"{name}: {len(found)} limits by {calls} calls")
    for limit in sorted(found, key=lambda x: x.name):
        cap = "unknown" if limit.cap is None else f"{limit.cap:,.0f}"
        used = "" if limit.used is None else f", {limit.used:,.0f} used"
        window = f" in {limit.window}" if limit.window else ""
        click.echo(f"  {limit.name:<24} {cap} {limit.unit}{window}{used}  ({limit.scope}, {limit.source})")
    for limit in declared:
        cap = "unknown" if limit.get("cap") is None else f"{limit['cap']:,.0f}"
        click.echo(f"  {limit['name']:<24} {cap}  (declared for {limit.get('environment')})")
