"""The installed checks by name: a lazy, read-only view of the entry-point group `weighbridge.checks`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from types import MappingProxyType

from weighbridge.checks.base import Check, Code, registered_codes
from weighbridge.connectors.registry import PluginError
from weighbridge.errors import UsageProblem
from weighbridge.names import CHECKS

__all__ = ["GROUP", "PluginError", "check", "check_names", "checks", "codes"]

GROUP = "weighbridge.checks"


@cache
def _entry_points() -> Mapping[str, metadata.EntryPoint]:
    found: dict[str, metadata.EntryPoint] = {}
    for point in metadata.entry_points(group=GROUP):
        other = found.get(point.name)
        if other is not None and other.value != point.value:
            raise PluginError(f"the check '{point.name}' is defined twice: by {other.value} and by {point.value}")
        found[point.name] = point
    return MappingProxyType(found)


def check_names() -> tuple[str, ...]:
    """Names of every installed check, built-in ones first and in their order; imports none of them."""
    found = _entry_points()
    return (*(n for n in CHECKS if n in found), *sorted(n for n in found if n not in CHECKS))


@cache
def check(name: str) -> Check:
    """The check of that name. Raises UsageProblem for an unknown one, PluginError, by name, for a broken one."""
    point = _entry_points().get(name)
    if point is None:
        close = difflib.get_close_matches(name, check_names(), n=1)
        hint = f"Did you mean '{close[0]}'?" if close else f"Known are {', '.join(check_names())}."
        raise UsageProblem(f"There is no check named '{name}'. {hint}")
    try:
        made: Check = point.load()()
        registered_codes([made])
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise PluginError(f"the check '{name}' ({point.value}) cannot be used: {error}") from error
    return made


def checks(names: Iterable[str] | None = None) -> tuple[Check, ...]:
    """The checks of those names in running order, or all."""
    wanted = set(check_names() if names is None else names)
    for name in wanted:
        check(name)
    return tuple(check(n) for n in check_names() if n in wanted)


def codes() -> dict[str, Code]:
    """Every finding code of every installed check."""
    return registered_codes(checks())
