"""Completeness says where pages could not be cut by key, and where the system cuts rows for this user."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from contract_kit import context, contract, land, point_of

from weighbridge.checks.base import Finding, Inconclusive, PageLog
from weighbridge.checks.completeness import CompletenessCheck
from weighbridge.connectors.base import Connector
from weighbridge.connectors.odata import ODataConnector
from weighbridge.connectors.odoo import OdooConnector
from weighbridge.connectors.session import NO_RETRY, Session
from weighbridge.sandbox.server import Server, start


@pytest.fixture(scope="module")
def odata() -> Iterator[Server]:
    services = {"": {"dataset": "numbers", "rows": 25, "page_rows": 10}}
    with start("weighbridge.sandbox.odata.app:create", {"services": services}) as server:
        yield server


@pytest.fixture(scope="module")
def odoo() -> Iterator[Server]:
    with start("weighbridge.sandbox.odoo.app:create", {"rows": 200}) as server:
        yield server


@dataclass
class Seen:
    landing: Any
    schema: Any
    count_before: Any
    count_after: Any
    probe: Any


def asked(connector: Connector, folder: Path, name: str, key: str) -> list[Any]:
    """The check's results for an object read from a real server."""
    body = f"""
    schema:
      - name: Thing
        physicalName: {name}
        properties:
          - {{name: {key}, logicalType: integer, primaryKey: true, primaryKeyPosition: 1}}
    """
    with connector:
        pages = list(connector.read(name, columns=[key], page_rows=10))
        table = pa.Table.from_batches([p.batch for p in pages])
        first = 0
        logs: list[PageLog] = []
        for number, page in enumerate(pages):
            logs.append(PageLog(number, first, page.batch.num_rows, page.seconds, page.calls, page.cursor))
            first += page.batch.num_rows
        said = tuple(o for p in pages for o in p.observations)
        landing = replace(land(folder, table, keys=(key,)), pages=tuple(logs), observations=said)
        count = connector.count(name)
        seen = Seen(landing, connector.discover(name), count, count, connector.probe())
        point = point_of(contract(folder, body))
        given: Any = seen
        return list(CompletenessCheck()(point, given, context(folder, connector=lambda session=None: connector)))


def codes(results: list[Any]) -> set[str]:
    return {r.code for r in results if isinstance(r, Finding)}


@pytest.mark.parametrize(("paging", "said"), [("keyset", set()), ("next_link", {"completeness.unstable_pages"})])
def test_pages_that_are_not_cut_by_key_are_said(odata: Server, tmp_path: Path, paging: str, said: set[str]) -> None:
    connector = ODataConnector({"url": f"{odata.url}/odata", "paging": paging}, Session(retry=NO_RETRY))
    assert codes(asked(connector, tmp_path, "Numbers", "Id")) & {"completeness.unstable_pages"} == said


def test_archived_records_are_said_and_cut_rows_are_unknown(odoo: Server, tmp_path: Path) -> None:
    options = {"url": odoo.url, "database": "practice"}
    admin = OdooConnector({**options, "username": "admin", "password": "admin-word"}, Session(retry=NO_RETRY))
    assert codes(asked(admin, tmp_path, "res.partner", "id")) == {"completeness.noticed"}
    sales = OdooConnector({**options, "username": "sales", "password": "sales-word"}, Session(retry=NO_RETRY))
    with pytest.raises(Inconclusive, match="does not see all"):
        asked(sales, tmp_path, "sale.order", "id")
