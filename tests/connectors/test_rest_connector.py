"""The described-API connector: every paging style, login and bad answer over real sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from json_kit import Answer, Asked, Served, as_json, serving

from weighbridge.connectors._odata_types import Number
from weighbridge.connectors._rest_infer import at_path, flatten, infer
from weighbridge.connectors.base import Connector, Incremental, ObjectRef, Writable
from weighbridge.connectors.conformance import ConnectorConformance
from weighbridge.connectors.errors import AuthError, MissingObjectError, ProtocolError, SettingsError
from weighbridge.connectors.rest import RestConnector
from weighbridge.connectors.session import NO_RETRY, Session

TOKEN = "canary-api-token"
ROWS = [
    {
        "id": n,
        "name": f"Contact {n}",
        "amount": n * 1.25,
        "score": None if n % 3 else n,
        "active": n % 2 == 0,
        "born": "2026-01-02",
        "updated": f"2026-01-02T03:04:{n % 60:02d}Z",
        "address": {"city": "Köln", "geo": {"lat": 1}},
        "tags": ["a"],
    }
    for n in range(1, 24)
]


def api(asked: Asked) -> Answer:
    """Five lists of the same rows, one a paging style."""
    if asked.headers.get("authorization") != f"Bearer {TOKEN}":
        return as_json({"message": "who are you"}, 401)
    rows = ROWS
    if "updated_since" in asked.query:
        rows = [r for r in rows if str(r["updated"]) >= asked.query["updated_since"].replace("+00:00", "Z")]
    if "active" in asked.query:
        rows = [r for r in rows if r["active"] is (asked.query["active"] == "true")]
    size = min(int(asked.query.get("limit", 10)), 10)
    where = f"http://{asked.headers['host']}{asked.path}"
    style, _, key = asked.path.strip("/").partition("/")
    if key == "count":
        return as_json({"data": {"total": len(rows)}})
    if key:
        found = [r for r in rows if str(r["id"]) == key]
        return as_json(found[0]) if found else as_json({"message": "no"}, 404)
    if style == "none":
        return as_json(rows, X_Total_Count=str(len(rows)))
    start = int(asked.query.get("after", asked.query.get("offset", 0)))
    if style == "page":
        start = (int(asked.query["page"]) - 1) * size
    page, more = rows[start : start + size], start + size < len(rows)
    if style == "link":
        follow = f'<{where}?after={start + size}&limit={size}>; rel="next", <{where}>; rel="first"'
        return as_json(page, Link=follow) if more else as_json(page)
    if style == "cursor":
        wrapped = [{"id": r["id"], "properties": {k: v for k, v in r.items() if k != "id"}} for r in page]
        following = {"next": {"after": str(start + size)}} if more else {}
        return as_json({"results": wrapped, "paging": following, "total": len(rows)})
    return as_json({"items": page})


OBJECTS: dict[str, Any] = {
    "all": {"path": "/none", "count_header": "X-Total-Count", "lookup": "/none/{id}"},
    "link": {"path": "/link", "paging": "link_header", "size_parameter": "limit", "count_path": "/link/count",
             "count_value": "data.total", "lookup": "/link/{id}"},
    "cursor": {"path": "/cursor", "rows": "results", "record": "properties", "paging": "cursor",
               "cursor": "paging.next.after", "cursor_parameter": "after", "size_parameter": "limit",
               "count_value": "total", "modified": "updated", "modified_parameter": "updated_since",
               "lookup": "/cursor/{id}"},
    "offset": {"path": "/offset", "rows": "items", "paging": "offset", "size_parameter": "limit"},
    "page": {"path": "/page", "rows": "items", "paging": "page", "size_parameter": "limit"},
}  # fmt: skip


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(api) as found:
        yield found


def make(url: str, session: Session | None = None, **more: Any) -> RestConnector:
    return RestConnector({"url": url, "token": TOKEN, "objects": OBJECTS, **more}, session or Session(retry=NO_RETRY))


class TestLink(ConnectorConformance):
    @pytest.fixture
    def make_connector(self, served: Served) -> Callable[[Session], Connector]:
        return lambda session: make(served.url, session)

    @pytest.fixture
    def known_object(self) -> str:
        return "link"


class TestCursor(TestLink):
    @pytest.fixture
    def known_object(self) -> str:
        return "cursor"


@pytest.mark.parametrize("name", list(OBJECTS))
def test_every_style_reads_every_row_once(served: Served, name: str) -> None:
    with make(served.url) as c:
        pages = list(c.read(name))
        rows = [row for page in pages for row in page.batch.to_pylist()]
        assert [r["id"] for r in rows] == [r["id"] for r in ROWS]
        assert c.count(name).value == 23
        assert rows[0]["amount"] == Decimal("1.25")
        assert rows[0]["updated"] == datetime(2026, 1, 2, 3, 4, 1, tzinfo=UTC)
        assert rows[0]["born"] == date(2026, 1, 2)
        assert rows[0]["address.city"] == "Köln"
        assert rows[0]["tags"] == '["a"]'
        assert rows[2]["score"] == 3
        said = {o.code for p in pages for o in p.observations}
        assert ("unstable_paging" in said) is (name in ("offset", "page"))
        ref = ObjectRef(name, "active=true")
        if name != "link":  # its next links forget the filter, as some APIs' do
            assert c.count(ref).value == sum(p.batch.num_rows for p in c.read(ref)) == 11


def test_what_it_can_and_cannot(served: Served) -> None:
    with make(served.url) as c:
        assert c.facet(Writable) is None
        incremental = c.facet(Incremental)
        assert incremental is not None
        assert incremental.watermark("cursor") == "updated"
        assert incremental.watermark("page") is None
        found = list(incremental.changes("cursor", "2026-01-02T03:04:20+00:00"))
        assert [r for p in found for r in p.batch["id"].to_pylist()] == [20, 21, 22, 23]
        operations = c.operations("cursor", [(3,)])
        assert operations["page"].call((3,)).rows == 10
        with pytest.raises(MissingObjectError):
            operations["lookup"].call((99,))
        with pytest.raises(MissingObjectError, match="nothing"):
            c.discover("nothing")
    with pytest.raises(AuthError) as caught, make(served.url, token="wrong-canary") as c:
        c.probe()
    assert "wrong-canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"path": "/x", "paging": "cursor"}, "needs cursor"),
        ({"path": "/x", "pagin": "cursor"}, "pagin"),
        ({"path": "/x", "types": {"a": "money"}}, "no type 'money'"),
    ],
)
def test_descriptions_that_are_wrong(about: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        RestConnector({"url": "http://127.0.0.1:1", "objects": {"x": about}})


PLAIN = {"x": {"path": "/x", "rows": "items", "paging": "cursor", "cursor": "next"}}
OTHERS: dict[str, tuple[Callable[[Asked], Answer], str]] = {
    "a cursor that comes again": (
        lambda a: as_json({"items": [{"id": len(a.query)}], "next": "same"}),
        "circle|once more",
    ),
    "a duplicate page": (
        lambda a: as_json({"items": [{"id": 1}], "next": a.query.get("cursor", "") + "x"}),
        "once more",
    ),
    "no list": (lambda _a: as_json({"items": {"id": 1}}), "no list of records"),
    "no records": (lambda _a: as_json({"items": [1, 2]}), "no list of records"),
    "no key": (lambda _a: as_json({"items": [{"a": 1}]}), "without its key"),
    "another host": (lambda _a: as_json({"items": [{"id": 1}], "next": "http://127.0.0.2:9/x"}), "127.0.0.2"),
}


@pytest.mark.parametrize("name", list(OTHERS))
def test_bad_answers(name: str) -> None:
    answer, words = OTHERS[name]
    with serving(answer) as served, make(served.url, objects=PLAIN) as c:
        with pytest.raises(ProtocolError, match=words):
            for _ in c.read("x"):
                pass
        assert len(served.asked) < 20


def test_a_field_that_disappears_is_said() -> None:
    def answer(asked: Asked) -> Answer:
        if asked.query.get("offset", "0") == "0":
            return as_json([{"id": 1, "a": 1}, {"id": 2, "a": 2}])
        return as_json([{"id": 3, "b": 1}] if asked.query["offset"] == "2" else [])

    objects = {"x": {"path": "/x", "paging": "offset"}}
    with serving(answer) as served, make(served.url, objects=objects) as c:
        c.discover("x")
        c._shared.schemas["x"] = type(c.discover("x"))(
            infer([{"id": 1, "a": 1}], keys=("id",), types={}), ("id",)
        )  # as if the sample had ended before the field came
        said = {o.code for p in c.read("x") for o in p.observations}
    assert {"field_missing", "field_unknown"} <= said


def test_inference() -> None:
    rows = [
        {
            "i": 1,
            "d": Number("1.50"),
            "mix": 1,
            "e": Number("1e3"),
            "big": 2**70,
            "t": "2026-01-01T00:00:00",
            "n": None,
        },
        {"i": 2, "d": 3, "mix": "x", "e": 1, "big": 1, "t": "2026-01-01T00:00:00.5", "n": None},
    ]
    found = {c.name: str(c.type) for c in infer(rows, keys=("i",), types={"n": "timestamp"})}
    assert found == {
        "i": "int64",
        "d": "decimal128(38, 10)",
        "mix": "string",
        "e": "double",
        "big": "decimal128(38, 0)",
        "t": "timestamp[us]",
        "n": "timestamp[us, tz=UTC]",
    }
    assert at_path({"a": [{"b": 1}]}, "a.0.b") == 1
    assert at_path({"a": 1}, "a.b") is None
    assert flatten({"a": {"b": {"c": 1}}, "d": [1]}) == {"a.b": {"c": 1}, "d": [1]}
