"""`weighbridge init`: a working project in this folder, asking only what it cannot find out."""

from __future__ import annotations

import os
from pathlib import Path

import click

__all__ = ["command"]

# What each kind of system needs, as environment variables: (option, question, secret).
NEEDS: dict[str, tuple[tuple[str, str, bool], ...]] = {
    "sql": (("url", "Database URL (postgresql://user:password@host:5432/name)", True),),
    "odbc": (("connection_string", "ODBC connection string", True),),
    "excel": (("path", "Workbook, or folder or pattern of workbooks", False),),
    "salesforce": (
        ("domain", "Login domain: test for a sandbox org, login, or your My Domain", False),
        ("client_id", "Connected app's consumer key", False),
        ("client_secret", "Connected app's consumer secret", True),
    ),
    "odata": (
        ("url", "Service root", True),
        ("username", "User name", False),
        ("password", "Password", True),
    ),
    "odoo": (
        ("url", "Address of the Odoo server", True),
        ("database", "Database", False),
        ("username", "User name", False),
        ("api_key", "API key", True),
    ),
    "rest": (("url", "Base address", True), ("token", "Bearer token", True)),
}


@click.command()
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), default=Path(), show_default=True)
@click.option("--system", help="Name of the first system, for example crm.")
@click.option("--connector", type=click.Choice(sorted(NEEDS)), help="What kind of system it is.")
@click.option("--users", type=click.IntRange(min=1), help="Users of production.")
@click.option("--pilot-users", type=click.IntRange(min=1), help="Users of the pilot.")
@click.option("--calls-per-user-hour", type=float, help="Calls one user makes in an average working hour.")
@click.option("--yes", "-y", is_flag=True, help="Ask nothing; take defaults for what was not given.")
def command(
    *,
    folder: Path,
    system: str | None,
    connector: str | None,
    users: int | None,
    pilot_users: int | None,
    calls_per_user_hour: float | None,
    yes: bool,
) -> None:
    """Write weighbridge.toml, contracts/, .env.example and .gitignore into FOLDER. Overwrites nothing."""
    from weighbridge.errors import UsageProblem

    target = folder / "weighbridge.toml"
    if target.exists():
        raise UsageProblem(f"{target} is there already. Edit it, or run `weighbridge doctor` to have it looked at.")

    def ask(given: object, question: str, default: object) -> object:
        return given if given is not None else default if yes else click.prompt(question, default=default)

    system = str(ask(system, "Name of the first system", "crm"))
    if not system.replace("_", "").replace("-", "").isalnum():
        raise UsageProblem(f"'{system}' cannot be a system's name: use letters, digits, - and _.")
    kinds = click.Choice(sorted(NEEDS))
    kind = str(connector or ("sql" if yes else click.prompt("What kind of system is it", default="sql", type=kinds)))
    users = int(str(ask(users, "Users of production", 500)))
    pilot_users = int(str(ask(pilot_users, "Users of the pilot", 10)))
    if calls_per_user_hour is None and not yes:
        answer = click.prompt("Calls one user makes an hour (empty if not known)", default="", show_default=False)
        calls_per_user_hour = float(answer) if answer.strip() else None
    _write(folder, system, kind, users, pilot_users, calls_per_user_hour)
    click.echo(f"Wrote {target}, contracts/, .env.example and .gitignore.")
    click.echo("Next:")
    copy = "copy" if os.name == "nt" else "cp"
    steps = {
        f"{copy} .env.example .env": "and fill it in",
        "weighbridge doctor": "looks whether everything can be reached",
        f"weighbridge infer {system}": "drafts contracts from what is there",
        "weighbridge run": "weighs it (staging, 10 users at most, reads only)",
    }
    for step, what in steps.items():
        click.echo(f"  {step:<{max(map(len, steps))}}  {what}")


def _write(
    folder: Path, system: str, kind: str, users: int, pilot_users: int, calls_per_user_hour: float | None
) -> None:
    from weighbridge.errors import UsageProblem

    options: list[str] = []
    variables: list[str] = []
    for option, question, _secret in NEEDS[kind]:
        name = f"{system}_{option}".upper().replace("-", "_")
        options.append(f'{option} = "${{{name}}}"')
        variables.append(f"# {question}\n{name}=")
    calls = (
        f"calls_per_user_hour = {calls_per_user_hour:g}"
        if calls_per_user_hour
        else f"# calls_per_user_hour = 12       # not known yet: measure it with `weighbridge demand {system}`"
    )
    text = f"""# What production asks, and where the systems are. Contracts lie in contracts/.
# Secrets stand in the environment or in .env, never here.

[scale]
pilot_users = {pilot_users}
production_users = {users}
{calls}
peak_factor = 3                  # busiest hour against the average one
hourly_profile = "office"        # flat, office, retail or 24 weights
timezone = "{_zone()}"
growth_per_year = 0.4
month_end_factor = 1.5

[systems.{system}]
connector = "{kind}"
# owner = "team@example.com"     # whom to call
# runbook = "https://wiki.example.com/{system}"
# identity = "shared"            # or per_user: one account for all, or one each

# What production allows; staging's own limits say nothing about it.
# [[systems.{system}.limits]]
# name = "daily_calls"
# cap = 100000
# window = "rolling 24 h"

# What already runs there.
# [[systems.{system}.background]]
# name = "nightly sync"
# calls_per_hour = 1000
# hours = "22:00-02:00"

[systems.{system}.staging]
{chr(10).join(options)}
# max_users = 20                 # how far a ramp may go; 10 by default
# max_burst = 64                 # calls released at once; 0, none, by default: ask the system's owner
"""
    try:
        (folder / "contracts").mkdir(parents=True, exist_ok=True)
        _new(folder / "weighbridge.toml", text)
        _new(folder / ".env.example", "\n".join(variables) + "\n")
        _new(folder / ".gitignore", ".env\n.weighbridge/\nweighbridge-report/\n")
    except OSError as error:
        raise UsageProblem(f"{folder} cannot be written ({error.strerror}). Choose another with --folder.") from None


def _new(path: Path, text: str) -> None:
    if not path.exists():
        path.write_text(text, encoding="utf-8")


def _zone() -> str:
    """This machine's time zone, where it says one by name."""
    named = os.environ.get("TZ")
    if named and "/" in named:
        return named
    try:
        link = str(Path("/etc/localtime").resolve())
    except OSError:
        return "UTC"
    return link.split("zoneinfo/", 1)[1] if "zoneinfo/" in link else "UTC"
