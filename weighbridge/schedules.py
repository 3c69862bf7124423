"""Ready-made schedules for the nightly run: cron, systemd, GitHub Actions, Windows Task Scheduler, Airflow."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from xml.sax.saxutils import escape

__all__ = ["KINDS", "Plan", "render"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run, where and when."""

    folder: Path
    """The project's folder."""
    environment: str
    hour: int
    minute: int
    secrets: tuple[str, ...] = ()
    """Names of the environment variables that the configuration refers to."""
    python: str = sys.executable

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("-m", "weighbridge", "nightly", "--env", self.environment, "--quiet")

    @property
    def name(self) -> str:
        return "weighbridge-" + (re.sub(r"[^a-z0-9]+", "-", self.folder.name.lower()).strip("-") or "project")


def render(kind: str, plan: Plan) -> dict[str, str]:
    """The files of one kind of schedule: name and content."""
    return KINDS[kind](plan)


def _cron(plan: Plan) -> dict[str, str]:
    # A % ends a cron command; everything after it would be its standard input.
    folder, python = (shlex.quote(str(p)).replace("%", r"\%") for p in (plan.folder, plan.python))
    log = shlex.quote(str(plan.folder / ".weighbridge" / "nightly.log")).replace("%", r"\%")
    line = f"{plan.minute} {plan.hour} * * * cd {folder} && {python} {' '.join(plan.arguments)} >> {log} 2>&1"
    needs = _needs(plan, "# ", f"write them into {plan.folder / '.env'} (mode 600): cron has no environment of yours")
    return {"weighbridge.cron": f"# Add with: crontab -e\n{needs}{line}\n"}


def _systemd(plan: Plan) -> dict[str, str]:
    def quoted(word: object) -> str:
        text = str(word).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
        return f'"{text}"'

    # WorkingDirectory and EnvironmentFile take a path as it is, with % doubled.
    folder = str(plan.folder).replace("%", "%%")
    command = " ".join([quoted(plan.python), *plan.arguments])
    service = f"""[Unit]
Description=Weighbridge nightly run of {plan.folder.name.replace("%", "%%")}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
WorkingDirectory={folder}
EnvironmentFile=-{folder}/.env
ExecStart={command}
# 1 and 3 are answers, not failures of the run: the digest tells them
SuccessExitStatus=1 3
TimeoutStartSec=2h
NoNewPrivileges=yes
PrivateTmp=yes
"""
    timer = f"""[Unit]
Description=Weighbridge nightly run, every night

[Timer]
OnCalendar=*-*-* {plan.hour:02d}:{plan.minute:02d}:00
RandomizedDelaySec=5min
Persistent=true

[Install]
WantedBy=timers.target
"""
    return {f"{plan.name}.service": service, f"{plan.name}.timer": timer}


def _github(plan: Plan) -> dict[str, str]:
    env = "".join(f"          {name}: ${{{{ secrets.{name} }}}}\n" for name in plan.secrets)
    settings = f"        env:\n{env}" if env else ""
    text = f"""name: weighbridge nightly
on:
  schedule:
    - cron: "{plan.minute} {plan.hour} * * *"  # UTC
  workflow_dispatch:
permissions:
  contents: read
concurrency:
  group: weighbridge-nightly
  cancel-in-progress: false
jobs:
  nightly:
    runs-on: ubuntu-latest
    timeout-minutes: 120
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
          cache: pip
          cache-dependency-path: weighbridge.toml
      - run: python -m pip install weighbridge
      - name: Take up the history
        uses: actions/cache@v4
        with:
          path: .weighbridge/history.sqlite
          key: weighbridge-history-${{{{ github.run_id }}}}
          restore-keys: weighbridge-history-
      - name: Weigh
        run: python {" ".join(plan.arguments)}
{settings}      - name: Keep the report
        if: always()
        uses: actions/upload-artifact@v4
        with:
          name: weighbridge-nightly
          path: .weighbridge/nightly/
          include-hidden-files: true
          if-no-files-found: warn
"""
    return {".github/workflows/weighbridge.yml": text}


def _windows(plan: Plan) -> dict[str, str]:
    arguments = escape(" ".join(plan.arguments))
    text = f"""<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>Weighbridge nightly run of {escape(plan.folder.name)}</Description>
  </RegistrationInfo>
  <Triggers>
    <CalendarTrigger>
      <StartBoundary>2026-01-01T{plan.hour:02d}:{plan.minute:02d}:00</StartBoundary>
      <Enabled>true</Enabled>
      <ScheduleByDay>
        <DaysInterval>1</DaysInterval>
      </ScheduleByDay>
    </CalendarTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <LogonType>S4U</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <StartWhenAvailable>true</StartWhenAvailable>
    <RunOnlyIfNetworkAvailable>true</RunOnlyIfNetworkAvailable>
    <ExecutionTimeLimit>PT2H</ExecutionTimeLimit>
    <Enabled>true</Enabled>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{escape(plan.python)}</Command>
      <Arguments>{arguments}</Arguments>
      <WorkingDirectory>{escape(str(plan.folder))}</WorkingDirectory>
    </Exec>
  </Actions>
</Task>
"""
    return {f"{plan.name}.xml": text}


def _airflow(plan: Plan) -> dict[str, str]:
    command = shlex.join([plan.python, *plan.arguments])
    text = f'''"""Weighbridge nightly run of {plan.folder.name!r}: place this file into Airflow's dags folder."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow import DAG

try:
    from airflow.providers.standard.operators.bash import BashOperator
except ImportError:
    from airflow.operators.bash import BashOperator

with DAG(
    dag_id={plan.name.replace("-", "_")!r},
    schedule="{plan.minute} {plan.hour} * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={{"retries": 0, "execution_timeout": timedelta(hours=2)}},
):
    BashOperator(
        task_id="nightly",
        # exit codes 1 and 3 are answers, told by the digest; only 2 and 4 are failures of the run itself
        bash_command={command!r} + "; code=$?; case $code in 0|1|3) exit 0;; *) exit $code;; esac",
        cwd={str(plan.folder)!r},
        append_env=True,
    )
'''
    return {f"{plan.name.replace('-', '_')}_dag.py": text}


def _needs(plan: Plan, mark: str, how: str) -> str:
    if not plan.secrets:
        return ""
    return f"{mark}It needs {', '.join(plan.secrets)}: {how}.\n"


KINDS: Mapping[str, Callable[[Plan], dict[str, str]]] = MappingProxyType(
    {"cron": _cron, "systemd": _systemd, "github": _github, "windows": _windows, "airflow": _airflow}
)
