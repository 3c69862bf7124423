"""Practice systems listen on loopback only: nobody else on the network reaches them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from weighbridge.drills import Signals
from weighbridge.sandbox import mariadb, postgres
from weighbridge.sandbox.server import start


def listening(port: int) -> set[str]:
    """Addresses on which this process and its children listen at the port."""
    me = psutil.Process()
    found: set[str] = set()
    for process in [me, *me.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # a server's helpers come and go
            connections = process.net_connections(kind="tcp")
            found |= {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN and c.laddr.port == port}
    return found


@contextmanager
def stand_in(_folder: Path) -> Iterator[int]:
    with start("weighbridge.sandbox.odata.app:create", {"services": {"": {"dataset": "numbers", "rows": 3}}}) as server:
        yield server.port


@contextmanager
def webhook(_folder: Path) -> Iterator[int]:
    with Signals().webhook() as port:
        yield port


@contextmanager
def postgresql(folder: Path) -> Iterator[int]:
    missing = postgres.available()
    if missing:
        pytest.skip(missing)
    with postgres.PostgresSandbox(folder / "pg") as server:
        yield server.port


@contextmanager
def maria(_folder: Path) -> Iterator[int]:
    missing = mariadb.available()
    if missing:
        pytest.skip(missing)
    with mariadb.MariaDbSandbox() as server:
        yield server.port


@pytest.mark.parametrize(
    "place",
    [stand_in, webhook, pytest.param(postgresql, marks=pytest.mark.slow), pytest.param(maria, marks=pytest.mark.slow)],
)
def test_only_this_machine_is_answered(place, tmp_path: Path) -> None:
    with place(tmp_path) as port:
        found = listening(port)
        assert found
        assert all(ipaddress.ip_address(address).is_loopback for address in found)
