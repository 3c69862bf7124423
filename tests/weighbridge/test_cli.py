"""Bad input gets one paragraph, the design's exit code, and no traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def weighbridge(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "weighbridge", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environ},
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu"], "Did you mean 'run'"),
        (["run", "--checks", "shcema"], "Did you mean 'schema'"),
        (["run", "--env", "prod"], "production"),
        (["run", "--users", "0"], "--users"),
        (["run", "nope.odcs.yaml"], "no such file"),
        (["run"], "${SHOP_URL} is not set"),
        (["run", "--env", "production"], "it has: sandbox, staging"),
        (["run", "--env", "sandbox", "--points", "shop.Ordr"], "Did you mean 'shop.Order'"),
        (["run", "--env", "sandbox", "--resume"], "no unfinished run"),
        (["run", "--env", "sandbox", "--format", "htm"], "Did you mean 'html'"),
        (["drill", "shop"], "--fault down"),
    ],
)
def test_usage_errors_exit_2_before_any_contact(shop: Path, arguments: list[str], said: str) -> None:
    done = weighbridge(*arguments, cwd=shop)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_contract_names_file_line_and_column(shop: Path) -> None:
    contract = shop / "contracts" / "shop.odcs.yaml"
    contract.write_text(contract.read_text().replace("logicalType: integer", "logicalType: integr"))
    done = weighbridge("run", "--env", "sandbox", cwd=shop)
    assert done.returncode == 2
    assert f"{contract.name}:14:" in done.stderr
    assert "Traceback" not in done.stderr


def test_broken_yaml_names_the_line(shop: Path) -> None:
    (shop / "contracts" / "shop.odcs.yaml").write_text("kind: [unclosed\nid: x\n")
    done = weighbridge("run", "--env", "sandbox", cwd=shop)
    assert done.returncode == 2
    assert "shop.odcs.yaml:" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unwritable_output_folder_is_found_first(shop: Path) -> None:
    (shop / "taken").write_text("a file, not a folder")
    done = weighbridge("run", "--env", "sandbox", "--out", "taken/report", cwd=shop)
    assert done.returncode == 2
    assert "taken" in done.stderr
    assert not (shop / ".weighbridge" / "runs").exists()


def test_an_unreachable_system_is_unknown_and_exits_3(shop: Path) -> None:
    done = weighbridge(
        "run", "--checks", "connection,schema", cwd=shop, SHOP_URL="postgresql://u:hunter2@127.0.0.1:1/nothing"
    )
    assert done.returncode == 3, done.stdout + done.stderr
    everything = (
        done.stdout
        + done.stderr
        + "".join(
            p.read_text(errors="replace")
            for p in shop.rglob("*")
            if p.is_file() and p.suffix in {".json", ".html", ".md"}
        )
    )
    assert "hunter2" not in everything
    assert "Traceback" not in done.stderr


def test_quiet_says_the_verdict_and_no_more(shop: Path) -> None:
    done = weighbridge("run", "--env", "sandbox", "--checks", "connection,schema", "--quiet", cwd=shop, COLUMNS="300")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    assert line.startswith("HOLDS  What was asked holds")


HOLDER = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_that_waits_for_another_says_so(shop: Path) -> None:
    lock = shop / ".weighbridge" / "locks" / "sandbox.shop.lock"
    lock.parent.mkdir(parents=True)
    pipes = {"stdout": subprocess.PIPE, "text": True, "cwd": shop}
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdin=subprocess.PIPE, **pipes) as other:
        assert other.stdout.readline() == "held\n"
        asked = ["-m", "weighbridge", "run", "--env", "sandbox", "--checks", "connection"]
        with subprocess.Popen([sys.executable, *asked], stderr=subprocess.PIPE, **pipes) as run:
            assert "shop: another run is using this system: waiting" in run.stderr.readline()
            other.communicate("")
            assert "HOLDS" in run.communicate(timeout=60)[0]
    assert run.returncode == 0


@pytest.mark.slow
def test_could_not_tell_is_said_in_words(shop: Path) -> None:
    toml = shop / "weighbridge.toml"
    toml.write_text(toml.read_text().replace("calls_per_user_hour = 12", ""))
    done = weighbridge("run", "--env", "sandbox", "--checks", "load", "--quiet", cwd=shop)
    assert done.returncode == 3
    whole = weighbridge("report", "--format", "md", cwd=shop)
    text = (shop / "weighbridge-report" / "report.md").read_text(encoding="utf-8")
    assert whole.returncode == 0, whole.stderr
    assert "nobody measured or declared how often" in text
    assert "Inconclusive" not in text


def test_a_list_of_no_channels_says_what_to_do(shop: Path) -> None:
    done = weighbridge("alert", "status", cwd=shop)
    assert done.returncode == 1
    assert "[alerts.channels]" in done.stdout


def test_plan_sends_nothing(shop: Path) -> None:
    (shop / "shop.db").unlink()
    done = weighbridge("run", "--env", "sandbox", "--plan", cwd=shop)
    assert done.returncode == 0, done.stderr
    assert "nothing was sent" in done.stdout
    assert not (shop / "shop.db").exists()


@pytest.mark.slow
def test_the_demo_weighs_and_says_what_can_be_pasted(tmp_path: Path) -> None:
    done = weighbridge("demo", "--no-open", "--systems", "finance", "--rows", "300", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "would have exited with 1" in done.stdout
    report = json.loads((tmp_path / "weighbridge-demo" / "report.json").read_text(encoding="utf-8"))
    assert report["run"]["practice"] is True
    again = {f["retest"] for p in report["points"] for c in p["checks"] for f in c["findings"]}
    assert again | {p["retest"] for p in report["points"]} == {"weighbridge demo --systems finance"}
    assert (tmp_path / "weighbridge-demo" / "report.html").is_file()


def test_help_is_light() -> None:
    code = (
        "import sys; from weighbridge.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'great_expectations', 'pandas', 'pyodbc', 'duckdb', 'pyarrow', 'sqlalchemy', 'pydantic'}\n"
        "found = heavy & set(sys.modules); assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_plugin_is_light() -> None:
    code = (
        "import sys, pytest\nbefore = set(sys.modules)\nimport weighbridge.pytest_plugin\n"
        "new = {n for n in set(sys.modules) - before if n.startswith('weighbridge')}\n"
        "assert new <= {'weighbridge', 'weighbridge.names', 'weighbridge.pytest_plugin'}, new"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    """In a real bash: the printed script is sourced, and what a Tab would show is asked of its function."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs system package: bash")
    tool = tmp_path / "weighbridge"
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m weighbridge "$@"\n', encoding="utf-8")
    tool.chmod(0o755)
    script = """
        eval "$(weighbridge completion bash)"
        complete -p weighbridge
        ask() {
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
            _weighbridge_completion "$1"
            echo "${COMPREPLY[@]}"
        }
        ask weighbridge ni
        ask weighbridge run --al
        ask weighbridge run --env ""
    """
    done = subprocess.run(
        [bash, "--norc", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        check=False,
    )
    assert done.stdout.splitlines()[1:] == ["nightly", "--allow-at-risk", "sandbox staging production"], done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_the_script(shell: str, tmp_path: Path) -> None:
    done = weighbridge("completion", shell, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "_WEIGHBRIDGE_COMPLETE" in done.stdout
    if shutil.which(shell) is not None:
        read = subprocess.run([shell, "-n"], input=done.stdout, capture_output=True, text=True, timeout=30, check=False)
        assert read.returncode == 0, read.stderr


def test_init_writes_a_project_and_overwrites_nothing(tmp_path: Path) -> None:
    done = weighbridge("init", "--yes", "--system", "erp", "--connector", "odata", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "infer erp" in done.stdout
    again = weighbridge("init", "--yes", cwd=tmp_path)
    assert again.returncode == 2
    assert "there already" in again.stderr


def test_doctor_names_what_is_missing(tmp_path: Path) -> None:
    weighbridge("init", "--yes", cwd=tmp_path)
    done = weighbridge("doctor", "--offline", cwd=tmp_path)
    assert done.returncode == 3
    assert "${CRM_URL} is not set" in done.stdout


def test_a_reader_that_goes_away_is_no_error(shop: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "weighbridge", "run", "--help"], cwd=shop, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert b"Traceback" not in errors
