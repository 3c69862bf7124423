"""Each kind of schedule, read by its own validator where one is installed."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema_rs
import pytest
import yaml
from click.testing import CliRunner
from cronsim import CronSim

from weighbridge.commands.schedule import KINDS as OFFERED
from weighbridge.commands.schedule import command
from weighbridge.errors import UsageProblem
from weighbridge.schedules import KINDS, Plan, render

PLACES = ["plain", "with space", 'it\'s 100% "quoted" $HOME & <co>']


def plan(folder: Path, **changes: object) -> Plan:
    return Plan(
        **{"folder": folder, "environment": "staging", "hour": 2, "minute": 5, "secrets": ("CRM_KEY",), **changes}
    )  # type: ignore[arg-type]


def only(files: dict[str, str]) -> str:
    (text,) = files.values()
    return text


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.skipif(os.name == "nt", reason="cron is POSIX")
def test_the_cron_line_runs_what_it_says(tmp_path: Path, place: str) -> None:
    folder = tmp_path / place
    (folder / ".weighbridge").mkdir(parents=True)
    tool = tmp_path / "python of ours"
    tool.write_text('#!/bin/sh\npwd\nfor a in "$@"; do echo "$a"; done\n', encoding="utf-8")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    text = only(render("cron", plan(folder, python=str(tool))))
    assert "It needs CRM_KEY" in text
    fields, _, rest = text.splitlines()[-1].partition(" * * * ")
    assert fields == "5 2"
    assert not re.search(r"(?<!\\)%", rest), "an unescaped % ends a cron command"
    subprocess.run(["/bin/sh", "-c", rest.replace(r"\%", "%")], check=True, timeout=20)  # as cron hands it over
    log = (folder / ".weighbridge" / "nightly.log").read_text(encoding="utf-8").splitlines()
    assert log == [str(folder), "-m", "weighbridge", "nightly", "--env", "staging", "--quiet"]


@pytest.mark.parametrize("kind", ["cron", "github", "airflow"])
def test_the_times_are_cron_and_mean_every_night(tmp_path: Path, kind: str) -> None:
    """Read by an interpreter of Debian's cron: every line that is a time comes at 02:05, once a day."""
    text = only(render(kind, plan(tmp_path)))
    found = re.findall(r"(?:^|\")(5 2 \* \* \*)(?= |\"|$)", text, flags=re.MULTILINE)
    assert len(found) == 1
    times = CronSim(found[0], datetime(2026, 2, 27, 2, 5, tzinfo=UTC))
    assert [f"{next(times):%m-%d %H:%M}" for _ in range(3)] == ["02-28 02:05", "03-01 02:05", "03-02 02:05"]


@pytest.mark.parametrize("secrets", [(), ("CRM_KEY", "OPS_URL")])
def test_github_would_take_the_workflow(tmp_path: Path, secrets: tuple[str, ...]) -> None:
    """Checked against the published schema of GitHub workflows, which check-jsonschema carries."""
    schema = files("check_jsonschema.builtin_schemas.vendor").joinpath("github-workflows.json").read_text("utf-8")
    validator = jsonschema_rs.validator_for(schema)
    text = only(render("github", plan(tmp_path, secrets=secrets)))

    def read(text: str) -> object:
        body = yaml.safe_load(text)
        return {"on" if key is True else key: value for key, value in body.items()}  # YAML 1.1 reads `on` as true

    assert [e.message for e in validator.iter_errors(read(text))] == []
    assert not validator.is_valid(read(text.replace("runs-on:", "runs-om:"))), "it can say no"


@pytest.mark.parametrize("place", PLACES[:2])
def test_the_systemd_units_are_valid(tmp_path: Path, place: str) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs system package: systemd")
    folder = tmp_path / place
    folder.mkdir()
    files = render("systemd", plan(folder))
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in files)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "weighbridge" in line]
    assert ours == []


def test_the_timer_comes_every_night() -> None:
    files = render("systemd", plan(Path("/srv/acme")))
    assert list(files) == ["weighbridge-acme.service", "weighbridge-acme.timer"]
    assert "OnCalendar=*-*-* 02:05:00" in files["weighbridge-acme.timer"]
    service = files["weighbridge-acme.service"]
    assert "WorkingDirectory=/srv/acme\n" in service
    assert f'ExecStart="{sys.executable}" -m weighbridge nightly --env staging --quiet' in service


def test_the_workflow_is_yaml_and_hands_over_the_secrets(tmp_path: Path) -> None:
    (name, text), *_ = render("github", plan(tmp_path)).items()
    assert name == ".github/workflows/weighbridge.yml"
    body = yaml.safe_load(text)
    assert body[True]["schedule"] == [{"cron": "5 2 * * *"}]
    steps = body["jobs"]["nightly"]["steps"]
    weigh = next(s for s in steps if s.get("name") == "Weigh")
    assert weigh["run"] == "python -m weighbridge nightly --env staging --quiet"
    assert weigh["env"] == {"CRM_KEY": "${{ secrets.CRM_KEY }}"}
    assert body["permissions"] == {"contents": "read"}
    bare = yaml.safe_load(only(render("github", plan(tmp_path, secrets=()))))
    assert "env" not in next(s for s in bare["jobs"]["nightly"]["steps"] if s.get("name") == "Weigh")


@pytest.mark.parametrize("place", PLACES)
def test_the_windows_task_is_xml(tmp_path: Path, place: str) -> None:
    text = only(render("windows", plan(tmp_path / place, python=r"C:\Program Files\Python & Co\python.exe")))
    space = {"t": "http://schemas.microsoft.com/windows/2004/02/mit/task"}
    task = ET.fromstring(text.partition("?>")[2])
    assert task.findtext(".//t:WorkingDirectory", namespaces=space) == str(tmp_path / place)
    assert task.findtext(".//t:Command", namespaces=space) == r"C:\Program Files\Python & Co\python.exe"
    assert (task.findtext(".//t:StartBoundary", namespaces=space) or "").endswith("T02:05:00")


@pytest.mark.parametrize("place", PLACES)
def test_the_dag_is_python(tmp_path: Path, place: str) -> None:
    folder = tmp_path / place
    (name, text), *_ = render("airflow", plan(folder)).items()
    assert name.endswith("_dag.py")
    tree = ast.parse(text)
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "BashOperator"]
    given = {k.arg: k.value for k in calls[0].keywords}
    assert ast.literal_eval(given["cwd"]) == str(folder)


_READ_BY_AIRFLOW = """
import json, sys
from airflow.dag_processing.dagbag import DagBag

bag = DagBag(dag_folder=sys.argv[1])
dags = {name: [str(dag.schedule), [task.task_id for task in dag.tasks], dag.catchup] for name, dag in bag.dags.items()}
print("ANSWER", json.dumps([bag.import_errors, dags]))
"""


@pytest.mark.slow
def test_airflow_takes_the_dag(tmp_path: Path) -> None:
    """Airflow's own reader takes it, in an environment of its own: Airflow pins older what the product needs newer."""
    python = os.environ.get("WEIGHBRIDGE_AIRFLOW_PYTHON")
    if not python:
        pytest.skip("needs an environment with apache-airflow, named by WEIGHBRIDGE_AIRFLOW_PYTHON")
    dags = tmp_path / "dags"
    dags.mkdir()
    (name, text), *_ = render("airflow", plan(tmp_path / PLACES[1])).items()
    (dags / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [python, "-c", _READ_BY_AIRFLOW, str(dags)],
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path / "home"), "AIRFLOW__CORE__UNIT_TEST_MODE": "True"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    answers = [line.removeprefix("ANSWER ") for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert answers, done.stderr
    errors, found = json.loads(answers[0])
    assert errors == {}
    ((_, [schedule, tasks, catchup]),) = found.items()
    assert (schedule, tasks, catchup) == ("5 2 * * *", ["nightly"], False)


def test_the_command_offers_every_kind(shop: Path, tmp_path: Path) -> None:
    assert set(OFFERED) == set(KINDS)
    toml = str(shop / "weighbridge.toml")
    shown = CliRunner().invoke(command, ["cron", "--config", toml, "--at", "23:45"], catch_exceptions=False)
    assert "45 23 * * * cd " in shown.output
    assert "SHOP_URL" in shown.output
    out = tmp_path / "out"
    CliRunner().invoke(command, ["windows", "--config", toml, "--out", str(out)], catch_exceptions=False)
    (file,) = out.iterdir()
    assert file.read_bytes()[:2] in (b"\xff\xfe", b"\xfe\xff")
    ET.fromstring(file.read_bytes())
    with pytest.raises(UsageProblem, match="no time of the day"):
        CliRunner().invoke(command, ["cron", "--config", toml, "--at", "24:00"], catch_exceptions=False)
