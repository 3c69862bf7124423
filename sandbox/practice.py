"""The practice systems by name, what is planted in them, and how to start them as one project.

Each system lives in a module of its own with an object `PRACTICE`; this one starts them and writes the
weighbridge.toml that points at them. The manifest of planted defects is made from the same objects.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, Self

__all__ = [
    "SYSTEMS",
    "Defect",
    "PracticeProject",
    "PracticeSystem",
    "Running",
    "manifest",
    "practice",
    "start",
]

SYSTEMS: Mapping[str, str] = MappingProxyType(
    {
        "crm": "weighbridge.sandbox.salesforce.practice",
        "erp": "weighbridge.sandbox.odata.practice",
        "legacy": "weighbridge.sandbox.legacy",
        "finance": "weighbridge.sandbox.finance",
    }
)
SEED = 7
ROWS = 2_000
RAMP_SECONDS = 2.5
"""A practice system answers at once and never tires: a short ramp tells as much as a long one."""
CLEAN = "_clean"


@dataclass(frozen=True, slots=True)
class Defect:
    """One planted defect: the finding that a run must make of it."""

    point: str
    """`crm.Account`, always of the defective variant."""
    check: str
    code: str
    rule: str | None = None
    """Id or path of the contract's rule that fails, for `quality`."""
    count: int | None = None
    note: str = ""


@dataclass(slots=True)
class Running:
    """A started practice system."""

    options: dict[str, Any]
    """Connector options, as they stand under `[systems.NAME.sandbox]`."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What stands under `[systems.NAME]`: limits, background, owner, ..."""
    stop: Callable[[], None] = lambda: None
    truth: dict[str, Any] = field(default_factory=dict)
    """What follows on paper from its configuration: `limit`, `users`, `formula`."""


class PracticeSystem(Protocol):
    name: str
    connector: str
    defects: tuple[Defect, ...]

    def start(self, folder: Path, *, clean: bool, seed: int, rows: int) -> Running: ...


def practice(name: str) -> PracticeSystem:
    """The practice system of that name. Raises KeyError."""
    return importlib.import_module(SYSTEMS[name]).PRACTICE


def manifest(names: Iterable[str] = tuple(SYSTEMS)) -> dict[str, Any]:
    """All planted defects, as plain data."""
    return {
        "schema_version": 1,
        "seed": SEED,
        "rows": ROWS,
        "systems": {name: [asdict(d) for d in practice(name).defects] for name in names},
    }


@dataclass(slots=True)
class PracticeProject:
    """The running practice systems and the project folder that points at them."""

    folder: Path
    running: dict[str, Running]
    _stack: ExitStack = field(repr=False, default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stack.close()


def start(
    folder: Path,
    *,
    names: Iterable[str] = tuple(SYSTEMS),
    clean: Iterable[bool] = (False, True),
    seed: int = SEED,
    rows: int = ROWS,
    contracts: Path | None = None,
    progress: Callable[[str], None] = lambda _message: None,
) -> PracticeProject:
    """Start the systems, defective and clean, and write `folder/weighbridge.toml`.

    `contracts` is where the project finds its contracts, the shipped practice contracts by default.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stack = ExitStack()
    wanted = [(name, is_clean) for name in names for is_clean in clean]

    def one(item: tuple[str, bool]) -> tuple[str, Running]:
        name, is_clean = item
        full = name + (CLEAN if is_clean else "")
        place = folder / full
        place.mkdir(exist_ok=True)
        running = practice(name).start(place, clean=is_clean, seed=seed, rows=rows)
        stack.callback(running.stop)
        progress(f"{full} is up")
        return full, running

    try:
        with ThreadPoolExecutor(max_workers=4) as pool:
            started = dict(pool.map(one, wanted))
        where = contracts or Path(__file__).resolve().parent.parent / "contracts" / "practice"
        (folder / "weighbridge.toml").write_text(_toml(started, where), encoding="utf-8")
    except BaseException:
        stack.close()
        raise
    return PracticeProject(folder, started, stack)


def _toml(started: Mapping[str, Running], contracts: Path) -> str:
    lines = [
        "# Written by the sandbox: the practice systems that are running now.",
        f"contracts = {_value(str(contracts))}",
        "",
        "[scale]",
        "pilot_users = 10",
        "production_users = 500",
        "calls_per_user_hour = 12",
        "peak_factor = 3",
        'hourly_profile = "office"',
        'timezone = "Europe/Berlin"',
        "growth_per_year = 0.4",
        "month_end_factor = 1.5",
        "",
    ]
    for name, running in started.items():
        kind = practice(name.removesuffix(CLEAN)).connector
        lines += _table(f"systems.{name}", {"connector": kind, **running.settings})
        lines += _table(f"systems.{name}.sandbox", {**running.options, "ramp_seconds": RAMP_SECONDS})
    return "\n".join(lines) + "\n"


def _table(name: str, values: Mapping[str, Any]) -> list[str]:
    lines = [f"[{name}]"]
    tables: list[str] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            tables += _table(f"{name}.{key}", value)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for item in value:
                tables += ["[" + line + "]" if n == 0 else line for n, line in enumerate(_table(f"{name}.{key}", item))]
        elif value is not None:
            lines.append(f"{key} = {_value(value)}")
    return [*lines, "", *tables]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    import json

    return json.dumps(str(value), ensure_ascii=False)  # a JSON string is a TOML basic string
