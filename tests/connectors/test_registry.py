"""The registry of connectors: lazy, read-only, and clear about what is missing, broken or doubled."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from weighbridge.connectors import registry
from weighbridge.connectors.errors import DriverError, SettingsError
from weighbridge.connectors.registry import GROUP, PluginError, Registry


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group=GROUP)


SQL = point("sql", "weighbridge.connectors.sql:SqlConnector")


def test_finds_the_class_by_its_word() -> None:
    from weighbridge.connectors.sql import SqlConnector

    assert Registry([SQL])["sql"] is SqlConnector
    assert "sql" in registry.connectors


def test_is_read_only() -> None:
    with pytest.raises(TypeError):
        registry.connectors["x"] = object  # type: ignore[index]


def test_unknown_kind_suggests_the_nearest() -> None:
    known = Registry([SQL, point("salesforce", "weighbridge.connectors.salesforce:SalesforceConnector")])
    with pytest.raises(SettingsError, match=r"no connector 'salesforse'.*mean 'salesforce'"):
        known["salesforse"]
    with pytest.raises(SettingsError, match="Known are: salesforce, sql"):
        known["zzz"]


def test_duplicate_raises_by_name_of_both() -> None:
    doubled = Registry([SQL, point("sql", "elsewhere:Other")])
    with pytest.raises(PluginError, match=r"'sql': sql = weighbridge.*elsewhere:Other"):
        list(doubled)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("weighbridge.connectors.sql:Nothing", "has no attribute 'Nothing'"),
        ("weighbridge.connectors.sql:__name__", "it is no Connector class"),
        ("weighbridge.connectors.nowhere:X", "No module named"),
        ("weighbridge.connectors.sql:SqlConnector", "calls itself 'sql', not 'mine'"),
    ],
)
def test_broken_plugin_raises_by_name(value: str, message: str) -> None:
    with pytest.raises(PluginError, match=rf"mine = .*{message}"):
        Registry([point("mine", value)])["mine"]


def test_missing_extra_names_its_pip_command(tmp_path, monkeypatch) -> None:
    (tmp_path / "needs_pyspark_xyz.py").write_text("import pyspark_not_here_xyz\nclass C: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DriverError, match=r"'pyspark_not_here_xyz'.*pip install 'pyspark_not_here_xyz'"):
        Registry([point("mine", "needs_pyspark_xyz:C")])["mine"]
    error = registry.missing_module(ModuleNotFoundError(name="pymysql"), "sql")
    assert "pip install 'weighbridge[mysql]'" in str(error)


def test_listing_imports_no_connector() -> None:
    code = (
        "import sys; from weighbridge.connectors.registry import connectors; list(connectors);"
        "heavy = {'sqlalchemy', 'pyarrow', 'pandas', 'pyodbc', 'duckdb'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
