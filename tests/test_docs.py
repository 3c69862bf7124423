"""The documentation is true: its commands exist and run, its reference is what the code says."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from weighbridge import plugins
from weighbridge.cli import COMMANDS, SECTIONS, cli

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    lines = [line.split(" #", 1)[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("weighbridge ")]


SHOWN = [(page.relative_to(ROOT), line) for page in PAGES for line in commands(page)]


@pytest.mark.parametrize(("page", "line"), SHOWN, ids=[f"{p}:{line}" for p, line in SHOWN])
def test_a_shown_command_can_be_typed(page: Path, line: str) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = cli
    context = click.Context(cli, info_name="weighbridge")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        _, command, words = command.resolve_command(context, words)  # type: ignore[assignment]
        assert command is not None
        context = click.Context(command, parent=context)
    if "..." not in line:
        try:
            command.make_context(command.name, list(words))
        except click.BadParameter as problem:
            assert "does not exist" in problem.message  # noqa: PT017 - an example's file is not there


def test_every_command_has_a_section_and_a_module() -> None:
    assert sorted(COMMANDS) == sorted(n for names in SECTIONS.values() for n in names)
    for name in COMMANDS:
        assert isinstance(importlib.import_module(f"weighbridge.commands.{name}").command, click.Command)


@pytest.mark.parametrize("name", plugins.check_names())
def test_a_check_says_what_breaks_and_how_to_mend_it(name: str) -> None:
    check = plugins.check(name)
    document = inspect.cleandoc(type(check).__doc__ or "")
    assert re.search(r"^Breaks in production:?$", document, re.MULTILINE)
    assert re.search(r"^Fix:?$", document, re.MULTILINE)
    assert check.name == name
    assert all(code.remedy for code in check.codes)


def test_codes_are_unique_and_snake_case() -> None:
    for name in plugins.codes():
        assert re.fullmatch(r"[a-z_]+\.[a-z0-9_]+", name), name


@pytest.mark.slow
def test_the_reference_is_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "docs.generate", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
SHELL = [line for block in re.findall(r"```bash\n(.*?)```", TUTORIAL, re.DOTALL) for line in block.splitlines()]
ELSEWHERE = ("python3 -m venv", "pip install", "weighbridge demo", "weighbridge faults run")
"""What the tests' own start, and tests of their own, type."""
ANSWERS = {"weighbridge init": "shop\nsql\n500\n10\n12\n"}
BAD_IS_AN_ANSWER = ("weighbridge run", "weighbridge nightly", "weighbridge inspect", "weighbridge alert test")
"""Commands that exit with what they found."""


def test_the_first_verdict_takes_less_than_ten_commands() -> None:
    first = next(i for i, line in enumerate(SHELL) if line.startswith("pip install"))
    last = SHELL.index("weighbridge run")
    assert 5 < last - first + 1 < 10
    without_demo = [line for line in SHELL[first : last + 1] if not line.startswith("weighbridge demo")]
    assert {8: "eight commands"}[len(without_demo)] in TUTORIAL


@pytest.fixture
def shell(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A POSIX shell in an empty folder whose `weighbridge` is this one."""
    tools, folder = tmp_path_factory.mktemp("bin"), tmp_path_factory.mktemp("project")
    (tools / "weighbridge").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m weighbridge "$@"\n', encoding="utf-8")
    (tools / "weighbridge").chmod(0o755)
    environ = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PWD": str(folder)}

    def run(line: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=folder,
            env={**environ, **more},
            input=ANSWERS.get(line, ""),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    run.folder = folder  # type: ignore[attr-defined]
    return run


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the tutorial is written for a POSIX shell")
def test_the_tutorial_from_an_empty_folder_and_every_how_to(shop: Path, shell: Any) -> None:
    """Each shown line is typed as it stands, in order, into a shell; what it needs to find there is put there."""
    folder: Path = shell.folder
    pages = sorted((ROOT / "docs" / "how-to").glob("*.md"))
    lines = [*SHELL, *(line for page in pages for line in commands(page))]
    typed = 0
    for line in lines:
        if line.startswith(ELSEWHERE):
            continue
        if line == "weighbridge doctor":
            (folder / ".env").write_text(f"SHOP_URL=sqlite:///{shop / 'shop.db'}\n", encoding="utf-8")
        if "--har" in line:
            (folder / "pilot.har").write_text(json.dumps(HAR), encoding="utf-8")
        if "inspect" in line:
            (folder / "books").mkdir()
            shutil.copy(ROOT / "examples" / "shop" / "orders.xlsx", folder / "books" / "receivables-2026-01.xlsx")
        if "alert test" in line:
            with (folder / "weighbridge.toml").open("a", encoding="utf-8") as toml:
                toml.write('\n[alerts.channels]\nops = "${OPS_ALERT_URL}"\n')
        done = shell(line, OPS_ALERT_URL="json://127.0.0.1:9/hook")
        fine = {0, 1, 3, 4} if line.startswith(BAD_IS_AN_ANSWER) else {0}
        assert done.returncode in fine, f"{line}: {done.returncode} {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, line
        typed += 1
    assert typed >= 14
    assert (folder / "weighbridge-report" / "report.html").is_file()


HAR = {
    "log": {
        "entries": [
            {
                "startedDateTime": f"2026-11-24T09:{minute:02d}:00Z",
                "request": {"method": "GET", "url": f"https://shop.example.com/orders/{minute}"},
                "response": {"status": 200},
            }
            for minute in range(0, 60, 4)
        ]
    }
}
