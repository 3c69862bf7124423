"""What all tests share: skips for missing system packages are failures on a prepared machine."""

from __future__ import annotations

import os

import pytest

PREFIX = "needs system package:"

pytest_plugins = ("pytester",)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if os.environ.get("WEIGHBRIDGE_PREPARED") and report.skipped and PREFIX in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: skipped on a prepared machine: {report.longrepr}"
    return report


SHOP_TOML = """\
[scale]
calls_per_user_hour = 12

[systems.shop]
connector = "sql"
owner = "shop@example.com"

[systems.shop.sandbox]
url = "sqlite:///{database}"

[systems.shop.staging]
url = "${{SHOP_URL}}"
"""
SHOP_CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: shop
version: 1.0.0
status: active
servers:
  - server: shop
    type: custom
schema:
  - name: Order
    physicalName: orders
    properties:
      - name: id
        logicalType: integer
        primaryKey: true
        primaryKeyPosition: 1
      - name: account
        logicalType: string
        required: true
        logicalTypeOptions: {pattern: '^C-[0-9]{6}$'}
      - name: net
        logicalType: number
"""


@pytest.fixture
def shop(tmp_path):
    """A project of a user's own: one SQLite table of 300 orders and its contract; returns the folder."""
    import sqlite3

    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, account TEXT NOT NULL, net NUMERIC(10,2))")
        rows = [(i, f"C-{i % 50:06d}", i * 1.5) for i in range(1, 301)]
        database.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)
    database.close()
    (tmp_path / "weighbridge.toml").write_text(SHOP_TOML.format(database=tmp_path / "shop.db"))
    (tmp_path / "contracts").mkdir()
    (tmp_path / "contracts" / "shop.odcs.yaml").write_text(SHOP_CONTRACT)
    return tmp_path
