"""The conformance suite on the connectors to ERPs, each against its stand-in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from weighbridge.connectors.base import Connector
from weighbridge.connectors.conformance import ConnectorConformance
from weighbridge.connectors.errors import MissingObjectError
from weighbridge.connectors.odata import ODataConnector
from weighbridge.connectors.odoo import OdooConnector
from weighbridge.connectors.session import Session
from weighbridge.sandbox.server import Server, start

Make = Callable[[Session], Connector]
LOGIN = {"username": "u", "password": "conformance-secret"}


@pytest.fixture(scope="module")
def odata() -> Iterator[Server]:
    services: dict[str, Any] = {
        "V4": {"dataset": "numbers", "rows": 25},
        "V2": {"version": 2, "dataset": "company", "rows": 20, "page_rows": 10},
    }
    with start(
        "weighbridge.sandbox.odata.app:create", {"auth": {"kind": "basic", **LOGIN}, "services": services}
    ) as server:
        yield server


@pytest.fixture(scope="module")
def odoo() -> Iterator[Server]:
    with start("weighbridge.sandbox.odoo.app:create", {"rows": 30}) as server:
        yield server


class TestODataV4(ConnectorConformance):
    @pytest.fixture
    def make_connector(self, odata: Server) -> Make:
        return lambda session: ODataConnector({"url": f"{odata.url}/odata/V4", **LOGIN}, session)

    @pytest.fixture
    def known_object(self) -> str:
        return "Numbers"


@pytest.mark.slow
class TestODataV4ByLinks(ConnectorConformance):
    @pytest.fixture
    def make_connector(self, odata: Server) -> Make:
        options = {"url": f"{odata.url}/odata/", "paging": "next_link", **LOGIN}
        return lambda session: ODataConnector(options, session)

    @pytest.fixture
    def known_object(self) -> str:
        return "V4/Numbers"

    @pytest.mark.parametrize("verb", ["discover", "count", "read"])
    def test_a_missing_object_is_a_missing_object(self, opened: Connector, verb: str) -> None:
        with pytest.raises(MissingObjectError, match="nosuch"):
            opened.discover(f"V4/nosuch{verb}")


class TestODataV2(ConnectorConformance):
    @pytest.fixture
    def make_connector(self, odata: Server) -> Make:
        return lambda session: ODataConnector({"url": f"{odata.url}/odata/V2/", **LOGIN}, session)

    @pytest.fixture
    def known_object(self) -> str:
        return "A_SalesOrderItem"


class TestOdooJsonRpc(ConnectorConformance):
    options: dict[str, Any] = {"username": "admin", "password": "admin-word"}  # noqa: RUF012 - not changed

    @pytest.fixture
    def make_connector(self, odoo: Server) -> Make:
        options = {"url": odoo.url, "database": "practice", **self.options}
        return lambda session: OdooConnector(options, session)

    @pytest.fixture
    def known_object(self) -> str:
        return "sale.order"


@pytest.mark.slow
class TestOdooJson2(TestOdooJsonRpc):
    options: dict[str, Any] = {"api_key": "admin-key-0123456789"}  # noqa: RUF012 - not changed
