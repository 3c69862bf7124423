"""The registry of report formats: which file each writes, imported only when asked for."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType

from weighbridge.errors import DeliveryProblem, UsageProblem
from weighbridge.report.files import prepare_folder, write_atomically
from weighbridge.report.model import Report

__all__ = ["FORMATS", "GROUP", "Renderer", "formats", "prepare_folder", "render", "require_formats", "write_reports"]

GROUP = "weighbridge.reporters"
Renderer = Callable[[Report], "bytes | str"]

FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "json": "report.json",
        "html": "report.html",
        "md": "report.md",
        "xlsx": "report.xlsx",
        "junit": "junit.xml",
    }
)
"""Built-in formats and the file each writes. `json` is the truth and always written first."""

_BUILT_IN = {
    "json": "weighbridge.report.model:Report.to_json",
    "html": "weighbridge.report.html:render",
    "md": "weighbridge.report.md:render",
    "xlsx": "weighbridge.report.xlsx:render",
    "junit": "weighbridge.report.junit:render",
}


def formats() -> dict[str, str]:
    """Every format that can be written and its file's name; an installed plugin adds `report.<name>`.

    Raises UsageProblem, by name, when two plugins claim one format.
    """
    found = dict(FORMATS)
    for point in entry_points(group=GROUP):
        if point.name in found:
            raise UsageProblem(f"the report format '{point.name}' is defined twice, the second time by {point.value}.")
        found[point.name] = f"report.{point.name}"
    return found


def _renderer(name: str) -> Renderer:
    if name in _BUILT_IN:
        module, _, path = _BUILT_IN[name].partition(":")
        target: object = import_module(module)
        for part in path.split("."):
            target = getattr(target, part)
        return target  # type: ignore[return-value]  # the table above names functions only
    for point in entry_points(group=GROUP):
        if point.name == name:
            return point.load()
    raise UsageProblem(f"There is no report format '{name}'. Known are {', '.join(sorted(formats()))}.")


def require_formats(wanted: Iterable[str]) -> list[str]:
    """The formats that will be written; json always is. Raises UsageProblem for an unknown one."""
    names = ["json", *(n for n in dict.fromkeys(wanted) if n != "json")]
    known = formats()
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else f"Known are {', '.join(sorted(known))}."
            raise UsageProblem(f"There is no report format '{name}'. {hint}")
    return names


def render(report: Report, name: str) -> bytes:
    """The report in one format."""
    body = _renderer(name)(report)
    return body.encode("utf-8") if isinstance(body, str) else body


def write_reports(report: Report, folder: Path, wanted: Iterable[str] = ("json", "html")) -> dict[str, Path]:
    """Write the report into the folder in each format, `json` always and first; returns the files by format.

    Raises UsageProblem for an unknown format or an unusable folder, DeliveryProblem when a file could not be written.
    One that fails does not keep the others from being written.
    """
    names = require_formats(wanted)
    files = formats()
    prepare_folder(folder)
    written: dict[str, Path] = {}
    failed: list[str] = []
    for name in names:
        try:
            written[name] = write_atomically(folder / files[name], render(report, name))
        except DeliveryProblem as error:
            failed.append(str(error))
    if failed:
        raise DeliveryProblem("\n".join(failed))
    return written
