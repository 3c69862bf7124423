"""odoorpc and the standard library's XML-RPC client read the Odoo stand-in unchanged."""

from __future__ import annotations

import xmlrpc.client
from collections.abc import Iterator
from typing import ClassVar

import odoorpc
import pytest
import requests

from weighbridge.sandbox.odoo.domain import BadDomain, compile_domain
from weighbridge.sandbox.server import Server, start


@pytest.fixture(scope="module")
def standin() -> Iterator[Server]:
    with start("weighbridge.sandbox.odoo.app:create", {"rows": 240}) as server:
        yield server


def test_odoorpc_script(standin: Server) -> None:
    odoo = odoorpc.ODOO("127.0.0.1", port=standin.port, timeout=10)
    assert odoo.version == "19.0"
    assert odoo.db.list() == ["practice"]
    with pytest.raises(odoorpc.error.RPCError):
        odoo.login("practice", "admin", "wrong")
    odoo.login("practice", "admin", "admin-word")
    assert odoo.env.user.name == "Admin"
    assert "sale.order" in odoo.env
    assert "no.such" not in odoo.env
    orders = odoo.env["sale.order"]
    ids = orders.search([("id", ">", 230)], order="id")
    assert ids == list(range(231, 241))
    assert orders.search_count([]) == 240
    record = orders.browse(1)
    assert record.name == "SO-0000001"
    assert record.partner_id.ref == "C-000001"
    assert record.date_order.year == 2026
    assert isinstance(record.locked, bool)
    partners = odoo.env["res.partner"]
    made = partners.create({"name": "New one", "email": "x@example.com"})
    partners.browse(made).write({"city": "Oslo"})
    assert partners.read([made], ["city", "comment"])[0] == {"id": made, "city": "Oslo", "comment": False}
    assert partners.browse(made).sale_order_ids.ids == []
    partners.unlink([made])
    assert partners.read([made], ["city"]) == []
    with pytest.raises(odoorpc.error.RPCError) as caught:
        partners.search_read([], ["nope"])
    assert caught.value.info["data"]["name"] == "builtins.ValueError"
    assert odoo.execute_kw("res.partner", "name_search", ["Alder"], {"limit": 2})
    archived = partners.search_count([("active", "=", False)])
    assert archived > 0
    assert odoo.execute_kw("res.partner", "search_count", [[]], {"context": {"active_test": False}}) == (
        partners.search_count([]) + archived
    )
    odoo.logout()


def test_xmlrpc(standin: Server) -> None:
    common = xmlrpc.client.ServerProxy(f"{standin.url}/xmlrpc/2/common", allow_none=True)
    assert common.authenticate("practice", "sales", "nope", {}) is False
    uid = common.authenticate("practice", "sales", "sales-word", {})
    with xmlrpc.client.ServerProxy(f"{standin.url}/xmlrpc/2/object", allow_none=True) as models:
        seen = models.execute_kw("practice", uid, "sales-word", "sale.order", "search_count", [[]])
        assert 0 < seen < 240  # the record rule cuts silently
        with pytest.raises(xmlrpc.client.Fault, match="rights"):
            models.execute_kw("practice", uid, "sales-word", "res.partner", "read", [[1], ["credit_limit"]])
        with pytest.raises(xmlrpc.client.Fault):
            models.execute_kw("practice", uid, "wrong", "sale.order", "search_count", [[]])
    common("close")()


def test_json2_has_real_statuses(standin: Server) -> None:
    def post(path: str, body: object, key: str = "admin-key-0123456789") -> requests.Response:
        return requests.post(
            f"{standin.url}/json/2/{path}", json=body, headers={"Authorization": f"bearer {key}"}, timeout=10
        )

    found = post("sale.order/search_read", {"domain": [["id", "=", 3]], "fields": ["name", "partner_id"]}).json()
    assert found[0]["name"] == "SO-0000003"
    assert isinstance(found[0]["partner_id"], list)
    assert post("sale.order/read", {"ids": [1], "fields": ["name"]}).json() == [{"id": 1, "name": "SO-0000001"}]
    assert post("sale.order/search_read", {"fields": ["nope"]}).status_code == 500
    assert post("sale.order/search", {}, key="wrong").status_code == 401
    assert post("no.such/search", {}).status_code == 404
    assert post("sale.order/search", {}, key="guest-key-0123456789").status_code == 403
    assert post("sale.order/search", {"nonsense": 1}).status_code == 422
    old = {"version": 17, "rows": 20}
    with start("weighbridge.sandbox.odoo.app:create", old) as server:
        assert requests.post(f"{server.url}/json/2/res.partner/search", json={}, timeout=10).status_code == 404


class _Rows:
    rows: ClassVar[dict[int, dict[str, object]]] = {
        1: {"a": 1, "t": "Äpfel", "n": None},
        2: {"a": 2, "t": "birne", "n": 5},
    }

    def value(self, record: int, path: str) -> object:
        return self.rows[record][path]

    def check(self, path: str) -> str:
        if path not in ("a", "t", "n"):
            raise BadDomain(path)
        return "char" if path == "t" else "integer"

    def names(self, record: int, path: str) -> list[str]:
        return []


@pytest.mark.parametrize(
    ("domain", "ids"),
    [
        ([], [1, 2]),
        ([["a", "=", 1]], [1]),
        ([["a", ">", 0], ["t", "ilike", "BIR"]], [2]),
        (["|", ["a", "=", 1], ["a", "=", 2]], [1, 2]),
        (["!", ["a", "in", [1]]], [2]),
        (["&", ["a", ">", 0], "!", ["n", "=", False]], [2]),
        ([["n", "!=", False]], [2]),
        ([["t", "=like", "b%e"]], [2]),
        ([["t", "not ilike", "bir"]], [1]),
    ],
)
def test_domains(domain: list[object], ids: list[int]) -> None:
    test = compile_domain(domain, _Rows())
    assert [n for n in (1, 2) if test(n)] == ids


@pytest.mark.parametrize(
    "domain", ["a", [["a"]], ["|", ["a", "=", 1]], [["z", "=", 1]], [["a", "~", 1]], [["a", "in", 3]]]
)
def test_bad_domains(domain: object) -> None:
    with pytest.raises(BadDomain):
        compile_domain(domain, _Rows())(1)
