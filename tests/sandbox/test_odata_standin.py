"""Clients written by others read the OData stand-in unchanged; what they do not call is called by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
import requests

from weighbridge.sandbox.server import Server, start

LOGIN = ("u", "secret-word")
CONFIG = {
    "auth": {"kind": "basic", "username": "u", "password": "secret-word"},
    "services": {
        "V4": {"rows": 250, "page_rows": 100},
        "V2": {"version": 2, "rows": 250, "page_rows": 100},
        "N": {"dataset": "numbers", "rows": 30},
    },
}


@pytest.fixture(scope="module")
def standin() -> Iterator[Server]:
    with start("weighbridge.sandbox.odata.app:create", CONFIG) as server:
        yield server


@pytest.fixture
def web() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.auth = LOGIN
        session.trust_env = False
        yield session


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pyodata itself
def test_pyodata_reads_v2(standin: Server, web: requests.Session) -> None:
    import pyodata

    client = pyodata.Client(f"{standin.url}/odata/V2/", web)
    orders = client.entity_sets.A_SalesOrder
    assert orders.get_entities().count().execute() == 250
    first = orders.get_entity("SO-0000001").execute()
    assert first.SalesOrder == "SO-0000001"
    assert first.LastChangeDateTime.tzinfo is not None
    assert Decimal(first.TotalNetAmount) > 0
    asked = orders.get_entities().select("SalesOrder,SoldToParty").filter("SalesOrder gt 'SO-0000240'").top(5)
    assert [o.SalesOrder for o in asked.execute()] == [f"SO-{n:07d}" for n in range(241, 246)]
    item = client.entity_sets.A_SalesOrderItem.get_entity(SalesOrder="SO-0000001", SalesOrderItem=10).execute()
    assert item.Material.startswith("MAT-")

    made = orders.create_entity().set(SalesOrder="SO-P", SoldToParty="C-000001", TotalNetAmount="1.25").execute()
    assert made.SalesOrder == "SO-P"
    change = orders.update_entity("SO-P")
    change.set(SoldToParty="C-000002")
    change.add_headers({"If-Match": "*"})
    change.execute()
    assert orders.get_entity("SO-P").execute().SoldToParty == "C-000002"
    gone = orders.delete_entity("SO-P")
    gone.add_headers({"If-Match": "*"})
    gone.execute()
    with pytest.raises(pyodata.exceptions.HttpError):
        orders.get_entity("SO-P").execute()

    batch = client.create_batch()
    batch.add_request(orders.get_entity("SO-0000001"))
    batch.add_request(orders.get_entity("SO-0000002"))
    assert [o.SalesOrder for o in batch.execute()] == ["SO-0000001", "SO-0000002"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of python-odata itself
def test_python_odata_reads_v4(standin: Server, web: requests.Session) -> None:
    from odata import ODataService

    service = ODataService(f"{standin.url}/odata/N/", session=web, reflect_entities=True, quiet_progress=True)
    numbers = service.entities["Numbers"]
    found = list(service.query(numbers).order_by(numbers.Id.asc()).limit(5).all())
    assert [int(n.Id) for n in found] == [1, 2, 3, 4, 5]
    assert found[0].Name == "Number 1"
    one = service.query(numbers).filter(numbers.Name == "Number 7").first()
    assert int(one.Id) == 7
    assert len(list(service.query(numbers).all())) >= 30


def test_types_as_strings_only_when_asked(standin: Server, web: requests.Session) -> None:
    url = f"{standin.url}/odata/N/Numbers(7)"
    plain = web.get(url).text
    strict = web.get(url, headers={"Accept": "application/json;IEEE754Compatible=true"}).json()
    assert '"Amount":7.07' in plain
    assert strict["Amount"] == "7.07"
    assert strict["Id"] == "7"


def test_paging_links_and_their_options(standin: Server, web: requests.Session) -> None:
    url = f"{standin.url}/odata/V4/A_SalesOrder?$select=SalesOrder&$orderby=SalesOrder desc&$count=true&$top=150"
    seen: list[str] = []
    while url:
        body = web.get(url, headers={"Prefer": "odata.maxpagesize=60"}).json()
        seen += [row["SalesOrder"] for row in body["value"]]
        assert len(body["value"]) <= 60
        url = body.get("@odata.nextLink")
    assert seen == [f"SO-{n:07d}" for n in range(250, 100, -1)]
    assert body["@odata.count"] == 250


def test_etags_and_errors(standin: Server, web: requests.Session) -> None:
    url = f"{standin.url}/odata/V4/A_SalesOrder('SO-0000005')"
    etag = web.get(url).json()["@odata.etag"]
    body = json.dumps({"SalesDistrict": "D99"})
    kind = {"Content-Type": "application/json"}
    assert web.patch(url, data=body, headers=kind).status_code == 428
    assert web.patch(url, data=body, headers={**kind, "If-Match": etag}).status_code == 204
    assert web.patch(url, data=body, headers={**kind, "If-Match": etag}).status_code == 412
    bad = web.get(f"{standin.url}/odata/V2/A_SalesOrder?$filter=Nope eq 1")
    assert bad.status_code == 400
    assert "Nope" in bad.json()["error"]["message"]["value"]
    assert web.get(f"{standin.url}/odata/V4/Nope").status_code == 404
    assert web.get(f"{standin.url}/odata/V4/A_SalesOrder?$nonsense=1").status_code == 400
    with requests.Session() as stranger:
        stranger.trust_env = False
        refused = stranger.get(f"{standin.url}/odata/V4/A_SalesOrder")
    assert refused.status_code == 401
    assert "Basic" in refused.headers["WWW-Authenticate"]


def test_a_change_set_is_all_or_nothing(standin: Server, web: requests.Session) -> None:
    good = {"SalesOrder": "SO-B1", "SalesOrderItem": 1, "Material": "M"}
    bad = {"SalesOrder": "SO-B2", "Material": "M"}

    def part(record: dict[str, object]) -> str:
        return (
            "--set\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
            "POST A_SalesOrderItem HTTP/1.1\r\nContent-Type: application/json\r\n\r\n" + json.dumps(record) + "\r\n"
        )

    def send(*records: dict[str, object]) -> str:
        body = "--b\r\nContent-Type: multipart/mixed; boundary=set\r\n\r\n"
        body += "".join(part(r) for r in records) + "--set--\r\n--b--\r\n"
        answer = web.post(
            f"{standin.url}/odata/V4/$batch", data=body, headers={"Content-Type": "multipart/mixed; boundary=b"}
        )
        assert answer.status_code == 200
        return answer.text

    where = f"{standin.url}/odata/V4/A_SalesOrderItem/$count?$filter=startswith(SalesOrder,'SO-B')"
    assert "HTTP/1.1 400" in send(good, bad)
    assert web.get(where).text == "0"
    assert "HTTP/1.1 201" in send(good)
    assert web.get(where).text == "1"
    asked = {"requests": [{"id": "1", "method": "GET", "url": "A_SalesOrder/$count"}]}
    answer = web.post(f"{standin.url}/odata/V4/$batch", json=asked).json()
    assert answer["responses"][0]["body"] == "250"


def test_limits_refuse_as_the_originals_do() -> None:
    config = {
        "services": {"": {"dataset": "numbers", "rows": 5}},
        "limits": {"requests_per_window": 3, "window_s": 60},
        "rate_headers": "dynamics",
    }
    with start("weighbridge.sandbox.odata.app:create", config) as server:
        answers = [requests.get(f"{server.url}/odata/Numbers", timeout=5) for _ in range(4)]
        assert [a.status_code for a in answers] == [200, 200, 200, 429]
        assert answers[0].headers["x-ms-ratelimit-burst-remaining-xrm-requests"] == "2"
        assert 0 < int(answers[3].headers["Retry-After"]) <= 60
        assert answers[3].json()["error"]["code"] == "0x80072322"
        assert server.control("stats")["refused"] == 1
        server.control("limits", {"concurrent": 2, "latency_ms": 200})
        with ThreadPoolExecutor(4) as pool:
            found = list(
                pool.map(lambda _: requests.get(f"{server.url}/odata/Numbers", timeout=5).status_code, range(4))
            )
        assert sorted(found) == [200, 200, 429, 429]
