"""Loads contract files: shape, lint and references checked, every complaint at once, then frozen models."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from weighbridge.contracts._build import build
from weighbridge.contracts._shape import check_shape
from weighbridge.contracts._yaml import Document, read
from weighbridge.contracts.lint import check_meaning
from weighbridge.contracts.models import Contract
from weighbridge.contracts.problems import ContractError, Problem

__all__ = ["ContractError", "Problem", "check", "load", "load_all"]


def load(path: str | Path, *, root: Path | None = None, systems: Sequence[str] | None = None) -> Contract:
    """The contract in `path`.

    `root` is the project's folder (None: the nearest one above with a weighbridge.toml, else the file's own);
    references may not leave it. `systems` are the names that `servers` may use, None: any. Raises ContractError
    with every complaint; warnings do not raise (see `check`).
    """
    contract, problems = check(path, root=root, systems=systems)
    if contract is None:
        raise ContractError([p for p in problems if p.severity == "error"])
    return contract


def load_all(
    paths: Iterable[str | Path], root: Path | None = None, *, systems: Sequence[str] | None = None
) -> list[Contract]:
    """Every contract of `paths`, in order; one ContractError carries the complaints about all of them."""
    contracts: list[Contract] = []
    problems: list[Problem] = []
    cache: dict[Path, Document] = {}
    for path in paths:
        contract, found = check(path, root=root, systems=systems, cache=cache)
        problems += [p for p in found if p.severity == "error"]
        if contract is not None:
            contracts.append(contract)
    if problems:
        raise ContractError(problems)
    return contracts


def check(
    path: str | Path,
    *,
    root: Path | None = None,
    systems: Sequence[str] | None = None,
    cache: dict[Path, Document] | None = None,
) -> tuple[Contract | None, list[Problem]]:
    """The contract, None where it cannot be used, and every complaint, warnings included, in order of place."""
    path = Path(path)
    cache = {} if cache is None else cache
    document = _read(path, cache)
    if document.data is None:
        if not document.problems:
            document.complain("the file is empty", (1, 1))
        return None, sorted(document.problems)
    document = Document(path, document.data, list(document.problems), document.marks)
    check_shape(document)
    contract: Contract | None = None
    if isinstance(document.data, dict):
        check_meaning(document, systems=systems)
        if not _errors(document):
            contract = build(document, _follow(path, root, cache))
    if _errors(document):
        contract = None
    return contract, sorted(set(document.problems))


def _errors(document: Document) -> bool:
    return any(p.severity == "error" for p in document.problems)


def _read(path: Path, cache: dict[Path, Document]) -> Document:
    key = Path(os.path.realpath(path))
    if key not in cache:
        cache[key] = read(path)
    return cache[key]


def project_root(path: Path) -> Path:
    """The nearest folder above `path` that holds a weighbridge.toml, else the file's own folder."""
    folder = Path(os.path.realpath(path)).parent
    for candidate in (folder, *folder.parents):
        if (candidate / "weighbridge.toml").is_file():
            return candidate
    return folder


def _follow(path: Path, root: Path | None, cache: dict[Path, Document]):
    base = Path(os.path.realpath(root)) if root is not None else None

    def other(file: str) -> Document | str:
        if "://" in file:
            return "contracts are not fetched over a network; keep a copy in the project"
        allowed = base or project_root(path)
        target = Path(os.path.realpath(path.parent / file))
        if not target.is_relative_to(allowed):
            return f"it leaves the project's folder {allowed}"
        if not target.is_file():
            return f"there is no file {target}"
        document = _read(target, cache)
        if not isinstance(document.data, dict):
            return f"{file} cannot be read; lint it"
        return document

    return other
