"""The folders at the root are one import package, however it is installed, and shadow nothing."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("checks", "connectors", "contracts", "sandbox")
PROBE = (
    "import weighbridge.connectors.base as b, weighbridge.contracts.models, weighbridge.checks.base,"
    " weighbridge.sandbox.practice, weighbridge.connectors; print(b.__file__)"
)


def run(*command: object, cwd: Path | None = None) -> str:
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pip(*arguments: object) -> None:
    run(sys.executable, "-m", "pip", *arguments, "-q", "--no-deps", "--no-build-isolation", "--no-index")


def environment(folder: Path) -> Path:
    """An empty environment that finds the libraries of this one, but not this project."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])").strip())
    libraries = folder / "libraries"
    libraries.mkdir()
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if "weighbridge" not in entry.name and entry.suffix != ".pth":
            (libraries / entry.name).symlink_to(entry)
    (site / "libraries.pth").write_text(str(libraries))
    return python


def clone(folder: Path, *, symlinks: bool) -> Path:
    run("git", "-c", f"core.symlinks={str(symlinks).lower()}", "clone", "-q", ROOT, folder)
    return folder


def test_packages_are_listed_as_the_tree_has_them() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {"weighbridge"}
    for top in (*FOLDERS, "weighbridge"):
        for init in (ROOT / top).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT).parts
            if len(parts) > 1 and parts[0] == "weighbridge" and parts[1] in FOLDERS:
                continue  # seen through the symbolic link
            found.add(".".join(parts if parts[0] == "weighbridge" else ("weighbridge", *parts)))
    assert sorted(listed) == sorted(found)


@pytest.mark.slow
@pytest.mark.parametrize("symlinks", [True, False])
def test_a_wheel_holds_one_package_and_imports(tmp_path: Path, symlinks: bool) -> None:
    source = clone(tmp_path / "clone", symlinks=symlinks)
    pip("wheel", source, "-w", tmp_path / "wheels")
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    python = environment(tmp_path / "env")
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])").strip())
    ours = {e.name for e in site.iterdir() if not e.name.endswith(".pth")}
    assert {n.split("-")[0] for n in ours} == {"weighbridge"}
    assert str(site) in run(python, "-c", PROBE, cwd=tmp_path)
    shipped = run(python, "-c", "import weighbridge.contracts.practice as p, os; print(os.listdir(p.__path__[0]))")
    assert ".odcs.yaml" in shipped


@pytest.mark.slow
@pytest.mark.parametrize("symlinks", [True, False])
def test_an_editable_install_imports_and_leaves_no_generic_name(tmp_path: Path, symlinks: bool) -> None:
    source = clone(tmp_path / "clone", symlinks=symlinks)
    python = environment(tmp_path / "env")
    pip("--python", python, "install", "-e", source)
    assert str(source) in run(python, "-c", PROBE, cwd=tmp_path)
    for name in FOLDERS:
        code = f"import importlib.util as u; print(u.find_spec({name!r}))"
        assert run(python, "-c", code, cwd=tmp_path).strip() == "None", name


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_users_own_folder_shadows_nothing(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "__init__.py").write_text("raise RuntimeError('shadowed')")
    assert "base.py" in run(sys.executable, "-c", PROBE, cwd=tmp_path)
