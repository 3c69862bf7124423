"""Find connectors by the word in `connector = "..."`: a read-only, lazy view of an entry-point group."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata as metadata
from collections.abc import Iterable, Iterator, Mapping

from weighbridge.connectors.base import Connector
from weighbridge.connectors.errors import DriverError, SettingsError

__all__ = ["GROUP", "PluginError", "Registry", "connectors"]

GROUP = "weighbridge.connectors"

EXTRAS: Mapping[str, str] = {
    # module that is missing -> what to install; the extras are those of pyproject.toml
    "pymysql": "weighbridge[mysql]",
    "mssql_python": "weighbridge[mssql]",
    "oracledb": "weighbridge[oracle]",
    "ibm_db_sa": "weighbridge[db2]",
    "ibm_db": "weighbridge[db2]",
    "sqlalchemy_firebird": "weighbridge[firebird]",
    "firebird": "weighbridge[firebird]",
    "sqlalchemy_access": "weighbridge[access]",
    "pyspark": "weighbridge[spark]",
    "locust": "weighbridge[locust]",
}


class PluginError(Exception):
    """An installed plugin is broken or claims a name that another one has; the message names it."""


def missing_module(error: ModuleNotFoundError, what: str) -> DriverError:
    """The `DriverError` for a library that is not installed, with the pip command that installs it."""
    module = (error.name or "").split(".")[0]
    package = EXTRAS.get(module, module)
    return DriverError(
        f"{what} needs the Python package {module!r}, which is not installed.",
        remedy=f"Run: pip install '{package}'",
    )


class Registry(Mapping[str, type[Connector]]):
    """Connector classes by kind. Nothing is imported before it is asked for.

    Raises `SettingsError` for a kind nobody registered (with the nearest name), `DriverError` for a plugin whose
    extra is not installed, `PluginError` for a duplicate or broken plugin.
    """

    def __init__(self, entry_points: Iterable[metadata.EntryPoint] | None = None) -> None:
        self._given = None if entry_points is None else tuple(entry_points)
        self._points: dict[str, metadata.EntryPoint] | None = None
        self._loaded: dict[str, type[Connector]] = {}

    def _table(self) -> dict[str, metadata.EntryPoint]:
        if self._points is None:
            found: dict[str, metadata.EntryPoint] = {}
            for point in self._given if self._given is not None else metadata.entry_points(group=GROUP):
                other = found.get(point.name)
                if other is not None and other.value != point.value:
                    raise PluginError(
                        f"two connectors are registered as {point.name!r}: {_origin(other)} and {_origin(point)}. "
                        "Uninstall one of them or ask its author for another name."
                    )
                found[point.name] = point
            self._points = found
        return self._points

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._table()))

    def __len__(self) -> int:
        return len(self._table())

    def __contains__(self, kind: object) -> bool:
        return kind in self._table()

    def __repr__(self) -> str:
        return f"<Registry {', '.join(self)}>"

    def __getitem__(self, kind: str) -> type[Connector]:
        if kind not in self._loaded:
            self._loaded[kind] = self._load(kind)
        return self._loaded[kind]

    def _load(self, kind: str) -> type[Connector]:
        point = self._table().get(kind)
        if point is None:
            close = difflib.get_close_matches(kind, self._table(), n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Known are: {', '.join(self)}."
            raise SettingsError(f"there is no connector {kind!r}.", remedy=hint)
        try:
            loaded = getattr(importlib.import_module(point.module), point.attr)
        except ModuleNotFoundError as error:
            own = (error.name or "").split(".")[0] == point.module.split(".")[0]
            if not own:
                raise missing_module(error, f"connector {kind!r}") from error
            raise PluginError(f"the connector plugin {_origin(point)} is broken: {error}.") from error
        except (ImportError, AttributeError, SyntaxError) as error:
            raise PluginError(f"the connector plugin {_origin(point)} is broken: {error}.") from error
        if not (isinstance(loaded, type) and issubclass(loaded, Connector)):
            raise PluginError(f"the connector plugin {_origin(point)} is broken: it is no Connector class.")
        if loaded.kind != kind:
            raise PluginError(
                f"the connector plugin {_origin(point)} is broken: it calls itself {loaded.kind!r}, not {kind!r}."
            )
        return loaded


def _origin(point: metadata.EntryPoint) -> str:
    package = point.dist.name if point.dist is not None else "an unnamed package"
    return f"{point.name} = {point.value} (package {package})"


connectors: Mapping[str, type[Connector]] = Registry()
"""What is installed in this environment."""
