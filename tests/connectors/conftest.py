"""One real PostgreSQL for a worker's tests; a fresh database for each test that asks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from weighbridge.sandbox.firebird import FirebirdSandbox
from weighbridge.sandbox.firebird import available as firebird_missing
from weighbridge.sandbox.mariadb import MariaDbSandbox
from weighbridge.sandbox.mariadb import available as mariadb_missing
from weighbridge.sandbox.postgres import PostgresSandbox, available

_number = itertools.count()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresSandbox]:
    """A running server; `stop` at the end of the session."""
    missing = available()
    if missing:
        pytest.skip(f"needs system package: {missing}")
    with PostgresSandbox(tmp_path_factory.mktemp("postgres"), settings={"max_connections": 60}) as server:
        yield server


@pytest.fixture
def pg_database(postgres: PostgresSandbox) -> Iterator[Callable[[str], str]]:
    """`pg_database(sql)` makes a fresh database, runs the script and gives its url."""
    made: list[str] = []

    def make(script: str) -> str:
        name = f"t{next(_number)}"
        with postgres.connect() as admin:
            admin.execute(f"CREATE DATABASE {name}")
        made.append(name)
        with postgres.connect(name) as own:
            own.execute(script)
        return postgres.url(name)

    yield make
    with postgres.connect() as admin:
        for name in made:
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDbSandbox]:
    """A running MariaDB with a database `shop`."""
    missing = mariadb_missing()
    if missing:
        pytest.skip(f"needs system package: {missing}")
    with MariaDbSandbox(settings={"sql_mode": "", "max_connections": 40}) as server:
        with server.connect() as admin, admin.cursor() as cursor:
            cursor.execute("CREATE DATABASE shop CHARACTER SET utf8mb4")
            cursor.execute("CREATE USER keeper@'%' IDENTIFIED BY 'canary-4711'")
            cursor.execute("GRANT SELECT ON shop.* TO keeper@'%'")
        yield server


@pytest.fixture(scope="session")
def firebird() -> Iterator[FirebirdSandbox]:
    """A running Firebird with a login `keeper` that has no rights of its own."""
    missing = firebird_missing()
    if missing:
        pytest.skip(f"needs system package: {missing}")
    with FirebirdSandbox() as server:
        server.create("shared", "CREATE USER keeper PASSWORD 'canary-4711';")
        yield server


@pytest.fixture(scope="session")
def odbc_drivers() -> list[str]:
    """Installed ODBC drivers; skips where there is no driver manager."""
    try:
        import pyodbc
    except ImportError:
        pytest.skip("needs system package: unixodbc")
    return pyodbc.drivers()
