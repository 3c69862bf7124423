"""The command line: finds a command by name, imports only that one, and turns errors into paragraphs and exit codes.

Exit codes: 0 all READY, or every selected check held; 1 something BREAKS or is AT_RISK; 2 usage or configuration, found
before any contact; 3 something UNKNOWN; 4 a report or an alert could not be delivered; 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from types import MappingProxyType

import click

from weighbridge import __version__
from weighbridge.secrets import Scrubbed

__all__ = ["COMMANDS", "main"]

SECTIONS = MappingProxyType(
    {
        "Start": ("demo", "init", "doctor", "completion"),
        "Weigh": ("run", "demand", "limits", "inspect"),
        "Contracts": ("contract", "infer"),
        "Every day": ("nightly", "schedule", "alert", "drill", "incident", "history", "diff", "report", "runbook"),
        "Practise": ("sandbox", "faults"),
    }
)
COMMANDS = MappingProxyType(
    {
        "alert": "Send a test alert and record that it was delivered.",
        "completion": "Print what lets your shell complete commands.",
        "contract": "Lint, show and compare contracts.",
        "demand": "Measure what one user of the pilot costs a system.",
        "demo": "Weigh four practice systems, here and now, and open the report.",
        "diff": "Compare two runs.",
        "doctor": "Look at drivers, versions, reach, clock and permissions.",
        "drill": "Put one fault into staging and time the answer to it.",
        "faults": "Put faults between a program and any server.",
        "history": "List earlier runs; acknowledge, prune.",
        "incident": "Draft a contract rule from a bad row or a log.",
        "infer": "Draft a contract from a live system.",
        "init": "Make a working project in this folder.",
        "inspect": "Look for hazards in a workbook; needs no contract.",
        "limits": "Read the limits of a system: metadata calls only.",
        "nightly": "Run the cheap checks, compare, and send one digest.",
        "report": "Render an earlier run again.",
        "run": "Weigh the project's integration points.",
        "runbook": "Write a runbook for each system.",
        "sandbox": "Start the practice systems and keep them running.",
        "schedule": "Write the cron line, timer or workflow for the nightly run.",
    }
)


class _Lazy(click.Group):
    """Commands by name; a command's module is imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [name for names in SECTIONS.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"weighbridge.commands.{cmd_name}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        import difflib

        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else "See `weighbridge --help`."
            raise click.UsageError(f"There is no command '{args[0]}'. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for section, names in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, COMMANDS[name]) for name in names])


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with `weighbridge demo`; it needs nothing and touches nothing of yours.",
)
@click.version_option(__version__, prog_name="weighbridge")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(*, debug: bool) -> None:
    """Will our integrations survive the go-live? Says which integration points would break at production scale, at how
    many users, why, and what to do."""
    del debug  # read by main, which must know it even when parsing fails


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with the code of the design."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    if debug:  # heard anywhere on the line: people add it at the end
        given = ["--debug", *[a for a in given if a != "--debug"]]
    sys.stdout, sys.stderr = Scrubbed(sys.stdout), Scrubbed(sys.stderr)  # type: ignore[assignment]  # as far as it is used
    sys.exit(_run(given, debug=debug))


def _run(arguments: Sequence[str], *, debug: bool) -> int:
    try:
        code = cli.main(args=list(arguments), prog_name="weighbridge", standalone_mode=False)
        _flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.Abort:
        _say("Interrupted.")
        return 130
    except click.ClickException as error:
        error.show()
        return 2
    except KeyboardInterrupt:
        _say("Interrupted.")
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`| head`); that is no error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        code = _exit_code(error)
        if debug or code is None:
            raise
        _say(_paragraph(error))
        return code


def _exit_code(error: Exception) -> int | None:
    """The design's exit code for an expected error; None for a defect of ours, which keeps its traceback."""
    from weighbridge.connectors.errors import ConnectorError, SettingsError
    from weighbridge.contracts.problems import ContractError
    from weighbridge.errors import DeliveryProblem, UsageProblem

    if isinstance(error, (UsageProblem, ContractError, SettingsError)):
        return 2
    if isinstance(error, ConnectorError):
        return 3
    if isinstance(error, DeliveryProblem):
        return 4
    if type(error).__name__ == "PluginError":
        return 2
    if type(error).__name__ in ("Inconclusive", "FailedEvidence"):
        return 3
    return None


def _paragraph(error: Exception) -> str:
    remedy = getattr(error, "remedy", "")
    text = str(error)
    return f"{text} {remedy}".strip() if remedy and remedy not in text else text


def _say(text: str) -> None:
    click.echo(f"weighbridge: {text}", err=True)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
