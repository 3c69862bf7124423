"""The documentation is true: its commands exist and run, its reference is what the code says."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from weighbridge import plugins
from weighbridge.cli import COMMANDS, SECTIONS, cli

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
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


TUTORIAL = [
    # what the tutorial types, with the answers a test must give; exit codes that are in order
    ("init --yes --system shop --connector sql --calls-per-user-hour 12", {0}),
    ("doctor", {0}),
    ("infer shop", {0}),
    ("contract lint", {0}),
    ("run --plan", {0}),
    ("run", {0, 1, 3}),
    ("nightly", {0, 1, 3}),
    ("schedule cron", {0}),
    ("history", {0}),
]


@pytest.mark.slow
def test_the_tutorial_from_an_empty_folder(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("tutorial")
    environ = {**os.environ, "SHOP_URL": f"sqlite:///{shop / 'shop.db'}"}
    shown = {line.split()[1] for line in commands(ROOT / "docs" / "tutorial.md")}
    typed = {line.split()[0] for line, _ in TUTORIAL}
    assert shown - typed <= {"demo", "demand"}  # the demo is a test of its own; demand has tests of its own
    assert len(commands(ROOT / "docs" / "tutorial.md")) < 12
    for line, codes in TUTORIAL:
        done = subprocess.run(
            [sys.executable, "-m", "weighbridge", *shlex.split(line)],
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode in codes, f"{line}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, line
    assert (folder / "weighbridge-report" / "report.html").is_file()
