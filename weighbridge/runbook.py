"""A runbook for each system that a stranger can follow at 2 am: what it is, how it fails, what to do, whom to call."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from weighbridge.connectors import errors
from weighbridge.report.escape import markdown, markdown_code
from weighbridge.report.model import Report
from weighbridge.report.view import STATUS_WORDS, blockers, moment, number, users_words

if TYPE_CHECKING:
    from weighbridge.checks.base import Check
    from weighbridge.contracts.models import IntegrationPoint
    from weighbridge.project import Fallback, Project, SystemSettings

__all__ = ["render", "sections"]

# What each class of error looks like to a user of the pilot, and the first thing to try: in the order of asking.
_FAILURES: tuple[tuple[type[Exception], str, str], ...] = (
    (
        errors.UnreachableError,
        "No answer: time-outs, refused or reset connections.",
        (
            "Can you open the system yourself, from this network? If nobody can, it is down: call its owner. If only "
            "we cannot: VPN, firewall, DNS, certificate; ask IT what changed today."
        ),
    ),
    (
        errors.AuthError,
        "Every call is refused at the login.",
        (
            "The credential expired, was rotated, or the account is locked. Do not try again and again: that locks "
            "accounts. Ask the owner for a new one and put it where the old one is kept."
        ),
    ),
    (
        errors.QuotaExhausted,
        "All was well until a certain hour; now every call is refused until the window resets.",
        (
            "Stop what is not urgent: batch jobs first. See who spends the calls (the system's own usage page). Trying "
            "again spends nothing but helps nobody. Ask the vendor for more, or batch the calls."
        ),
    ),
    (
        errors.ThrottledError,
        "Some calls are told to slow down (429, 503, too many connections).",
        "Lower the number of simultaneous users or workers; wait as long as the answer's Retry-After says.",
    ),
    (
        errors.AccessError,
        "The login works, one object or field does not.",
        "Somebody changed a role, a profile or a sharing rule. Ask the owner to compare it with the contract.",
    ),
    (
        errors.MissingObjectError,
        "An object or a column is gone or renamed.",
        "The system was changed. Find out what the new name is, then change the contract, or have the change undone.",
    ),
    (
        errors.RejectedError,
        "Single records or questions are refused.",
        "Read the system's own words in the report: a required field, a duplicate, a rule. Correct the data.",
    ),
    (
        errors.ProtocolError,
        "Answers are not what the interface promises: a login page, half an answer.",
        "Often a proxy, a maintenance page or a single sign-on page in between. Open the address in a browser.",
    ),
    (
        errors.FileError,
        "A workbook is missing, locked, encrypted or corrupt.",
        "Who saved it last, and with which program? Take the copy of yesterday, and keep the broken one.",
    ),
)


def render(
    project: Project,
    system: str,
    points: Sequence[IntegrationPoint],
    *,
    environment: str,
    checks: Sequence[Check],
    last: Report | None = None,
) -> str:
    """The runbook of one system as Markdown. `last` is the newest run of it, for what is known to be wrong."""
    settings = project.settings(system)
    mine = [p for p in points if p.system == system]
    lines = [
        f"# Runbook: {markdown(system)}",
        "",
        (
            f"Made by `weighbridge runbook` from weighbridge.toml, the contracts and the last run. Keep it where you "
            f"can read it while {markdown(system)} is down."
        ),
        "",
        *_first_minutes(system, settings, environment),
        *_who(settings),
        *_what(system, settings, mine),
        *_limits(settings, system, last),
        *_failures(),
        *_now(system, last),
        *_findings(system, last, checks),
        *_again(project, system, environment, mine),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _first_minutes(system: str, settings: SystemSettings, environment: str) -> list[str]:
    fallback = settings.fallback
    instead = (
        f"Say so to the users, and switch to the fallback: {markdown(_words(fallback))}."
        if fallback
        else ("Say so to the users. No fallback is named: decide with the business owner whether to switch it off.")
    )
    return [
        "## The first ten minutes",
        "",
        (f"1. Is it really down? `weighbridge run --env {environment} --points {system} --checks connection` asks with "
        "a handful of calls and says which kind of failure it is."),
        "2. Find that kind in the table [How it fails](#how-it-fails) and do what stands beside it.",
        f"3. {instead}",
        "4. Call the owner; after 15 minutes without an answer, the deputy. Write down when it began and what you saw.",
        (f"5. When it answers again: `weighbridge run --env {environment} --points {system} --checks "
        "connection,schema,quality,completeness`. A system that came back may have come back with half of its data."),
        "",
    ]  # fmt: skip


def _who(settings: SystemSettings) -> list[str]:
    rows = (
        ("Owner (call first)", settings.owner),
        ("Deputy", settings.deputy),
        ("Business owner (decides to wait or to switch off)", settings.business_owner),
        ("Runbook of the team", settings.runbook),
    )
    lines = ["## Whom to call", "", "| who | |", "|---|---|"]
    lines += [f"| {markdown(name)} | {markdown_code(item) if item else '**nobody is named**'} |" for name, item in rows]
    return [*lines, ""]


def _what(system: str, settings: SystemSettings, points: Sequence[IntegrationPoint]) -> list[str]:
    lines = [
        "## What it is",
        "",
        f"{markdown_code(system)} is reached by the connector {markdown_code(settings.connector)} as "
        f"{markdown(settings.identity.replace('_', ' '))} identity."
        + (
            f" Its credential expires on {markdown(settings.credentials_expire)}."
            if settings.credentials_expire
            else ""
        )
        + (f" It shares the quota {markdown_code(settings.quota_group)} with others." if settings.quota_group else ""),
        "",
        "| integration point | object | contract | users in production | rows expected |",
        "|---|---|---|---|---|",
    ]
    for p in points:
        rows, file = p.object.expected_rows, markdown_code(p.contract.path.name)
        lines.append(
            f"| {markdown_code(p.id)} | {markdown_code(p.object.physical_name)} | {file} | "
            f"{number(p.scale.production_users)} | {number(rows, unknown='')} |"
        )
    if not points:
        lines.append("| no contract names this system | | | | |")
    return [*lines, ""]


def _limits(settings: SystemSettings, system: str, last: Report | None) -> list[str]:
    rows: list[Mapping[str, Any]] = []
    if last is not None:
        rows = [limit for s in last.systems if s.id == system for limit in s.limits]
    if not rows:
        rows = [{**limit.model_dump(), "source": "declared"} for limit in settings.limits]
    if not rows:
        return ["## Its limits", "", "No limit is known. That is a question nobody has answered, not freedom.", ""]
    lines = ["## Its limits", "", "| limit | ceiling | window | how it is known |", "|---|---|---|---|"]
    lines += [
        f"| {markdown(limit['name'])} | {number(limit['cap'])} {markdown(limit.get('unit') or '')} | "
        f"{markdown(limit.get('window') or '')} | {markdown(limit['source'])}, {markdown(limit['environment'])} |"
        for limit in rows
    ]
    if last is not None:
        told = [(p, f) for p in last.points if p.system == system for f in p.forecast]
        lines += [
            f"\n{markdown_code(p.id)} reaches {markdown(f['limit'])} at {markdown(users_words(f))} users."
            for p, f in told
        ]
    return [*lines, ""]


def _failures() -> list[str]:
    lines = ["## How it fails", "", "| the run says | it looks like | do this |", "|---|---|---|"]
    lines += [f"| `{kind.__name__}` | {looks} | {todo} |" for kind, looks, todo in _FAILURES]
    return [*lines, ""]


def _now(system: str, last: Report | None) -> list[str]:
    if last is None:
        return ["## What is known to be wrong", "", "It has not been weighed yet: `weighbridge run`.", ""]
    mine = [b for b in blockers(last, warnings=True) if b.point.split(".", 1)[0] == system]
    status = next((s.status for s in last.systems if s.id == system), "UNKNOWN")
    lines = [
        "## What is known to be wrong",
        "",
        (
            f"{STATUS_WORDS.get(status, status)}, as of {moment(last.run.finished)} (run {markdown_code(last.run.id)}, "
            f"{last.run.environment})."
        ),
        "",
    ]
    lines += [f"- {markdown_code(b.point)} {markdown_code(b.code)}: {markdown(b.cause, limit=240)}" for b in mine[:25]]
    if len(mine) > 25:
        lines.append(f"- ... and {len(mine) - 25} more: `weighbridge report {last.run.id}`")
    if not mine:
        lines.append("Nothing.")
    return [*lines, ""]


def _findings(system: str, last: Report | None, checks: Sequence[Check]) -> list[str]:
    """What each finding means: those of the last run in full, then every other one that the checks can make."""
    seen = {
        f["code"] for p in (last.points if last else ()) if p.system == system for c in p.checks for f in c.findings
    }
    lines = ["## What each finding means", ""]
    for check in checks:
        told = sections(check)
        lines += [f"### {markdown(check.name)}", "", told.get("", ""), ""]
        if told.get("Breaks in production"):
            lines += [f"**Why it matters.** {told['Breaks in production']}", ""]
        if told.get("Fix"):
            lines += [f"**What to do.** {told['Fix']}", ""]
        lines += ["| finding | severity | do this |", "|---|---|---|"]
        for code in check.codes:
            mark = " **(seen in the last run)**" if code.name in seen else ""
            lines.append(f"| `{code.name}`{mark} | {code.severity} | {markdown(code.remedy)} |")
        lines.append("")
    return lines


def sections(check: Check) -> dict[str, str]:
    """A check's docstring by section: '' is its beginning, then `Breaks in production` and `Fix`."""
    text = inspect.getdoc(type(check)) or ""
    found: dict[str, list[str]] = {"": []}
    name = ""
    for line in text.splitlines():
        head = re.match(r"^(Breaks in production|Fix)\s*:?\s*$", line.strip())
        if head:
            name = head[1]
            found[name] = []
        elif not re.fullmatch(r"\s*-{3,}\s*", line):
            found[name].append(line.strip())
    return {key: " ".join(" ".join(part).split()) for key, part in found.items()}


def _again(project: Project, system: str, environment: str, points: Iterable[IntegrationPoint]) -> list[str]:
    folder = project.folder.name
    first = next(iter(points), None)
    lines = [
        "## How to look again",
        "",
        f"In the folder {markdown_code(folder)} (the one with weighbridge.toml):",
        "",
        "```",
        f"weighbridge run --env {environment} --points {system}            # everything",
        f"weighbridge nightly --env {environment}                          # the cheap checks, compared with yesterday",
        "weighbridge report latest --format html,terminal       # the last run again",
        "weighbridge diff previous latest                       # what changed",
    ]
    if first is not None:
        lines.append(
            f"weighbridge limits --env {environment}                           # what the system says it allows"
        )
    return [*lines, "```", ""]


def _words(item: Fallback) -> str:
    told = item.model_dump(include={"system", "object", "url", "file", "max_age_h"}, exclude_none=True)
    return ", ".join([*([item.words] if item.words else []), *(f"{k} {v}" for k, v in told.items())])
