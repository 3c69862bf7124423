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
