"""The pieces of the OData connector that need no server: metadata, types, rate headers, addresses."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.connectors._csdl import parse_metadata
from weighbridge.connectors._odata_client import query_text
from weighbridge.connectors._odata_protocol import V2, V4, Rates
from weighbridge.connectors._odata_types import MISSING, Number, array_of, arrow_type, literal
from weighbridge.connectors.errors import ProtocolError

V4_XML = b"""<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>
<Schema Namespace="Long.Name" Alias="S" xmlns="http://docs.oasis-open.org/odata/ns/edm">
<EnumType Name="Colour"><Member Name="Red"/><Member Name="Blue"/></EnumType>
<TypeDefinition Name="Money" UnderlyingType="Edm.Decimal" Precision="12" Scale="4"/>
<ComplexType Name="Address"><Property Name="City" Type="Edm.String"/></ComplexType>
<EntityType Name="Base" Abstract="true"><Key><PropertyRef Name="Id"/></Key>
<Property Name="Id" Type="Edm.Guid" Nullable="false"/></EntityType>
<EntityType Name="Order" BaseType="S.Base"><Property Name="Total" Type="S.Money"/>
<Property Name="Any" Type="Edm.Decimal" Scale="variable"/><Property Name="Whole" Type="Edm.Decimal" Precision="9"/>
<Property Name="Shade" Type="S.Colour"/><Property Name="Where" Type="S.Address"/>
<Property Name="Tags" Type="Collection(Edm.String)"/><Property Name="BuyerId" Type="Edm.Guid"/>
<NavigationProperty Name="Buyer" Type="S.Buyer"><ReferentialConstraint Property="BuyerId" ReferencedProperty="Id"/>
</NavigationProperty></EntityType>
<EntityType Name="Buyer" BaseType="S.Base"/>
<EntityContainer Name="C"><EntitySet Name="Orders" EntityType="S.Order"/>
<EntitySet Name="Buyers" EntityType="Long.Name.Buyer"/>
</EntityContainer></Schema></edmx:DataServices></edmx:Edmx>"""


def test_metadata_v4() -> None:
    found = parse_metadata(V4_XML)
    assert found.version == 4
    kind = found.sets["Orders"].type
    assert kind.keys == ("Id",)
    types = {p.name: str(arrow_type(p)) for p in kind.properties}
    assert types == {
        "Id": "string",
        "Total": "decimal128(12, 4)",
        "Any": "decimal128(38, 10)",
        "Whole": "decimal128(9, 0)",
        "Shade": "string",
        "Where": "string",
        "Tags": "string",
        "BuyerId": "string",
    }
    shade = kind.property("Shade")
    assert shade is not None
    assert shade.enum == ("Red", "Blue")
    assert kind.navigation[0].columns == (("BuyerId", "Id"),)
    assert found.set_of("Long.Name.Buyer") == "Buyers"


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html><body>Please log in</body></html>",
        b"{}",
        b"<edmx:Edmx",
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><Edmx Version="4.0">&a;</Edmx>',
        V4_XML.replace(b'Name="Base" Abstract="true"', b'Name="Base" BaseType="S.Order"'),
    ],
)
def test_metadata_that_is_none(document: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_metadata(document)


FIRST, LAST = datetime.fromisoformat("0001-01-02"), datetime.fromisoformat("9999-12-30")
UTC_US = pa.timestamp("us", tz="UTC")
CASES: list[tuple[str, pa.DataType, Any, Any]] = [
    (
        "Edm.Decimal",
        pa.decimal128(34, 10),
        "12345678901234567890.1234567890",
        Decimal("12345678901234567890.1234567890"),
    ),
    ("Edm.Decimal", pa.decimal128(10, 2), Number("1.5e2"), Decimal("150.00")),
    ("Edm.Decimal", pa.decimal128(10, 2), 7, Decimal("7.00")),
    ("Edm.Decimal", pa.decimal128(10, 2), "1.2300", Decimal("1.23")),
    ("Edm.Int64", pa.int64(), "9223372036854775807", 2**63 - 1),
    ("Edm.Int64", pa.int64(), -(2**63), -(2**63)),
    ("Edm.Double", pa.float64(), "INF", float("inf")),
    ("Edm.Double", pa.float64(), Number("0.1"), 0.1),
    ("Edm.DateTimeOffset", UTC_US, "2026-01-02T03:04:05.5+01:00", datetime(2026, 1, 2, 2, 4, 5, 500000, UTC)),
    ("Edm.DateTimeOffset", UTC_US, "/Date(1767323045123+0060)/", datetime(2026, 1, 2, 3, 4, 5, 123000, UTC)),
    ("Edm.DateTime", pa.timestamp("us"), "/Date(-62135596800000)/", datetime.fromisoformat("0001-01-01T00:00:00")),
    ("Edm.DateTime", pa.timestamp("us"), "2026-01-02T03:04:05", datetime.fromisoformat("2026-01-02T03:04:05")),
    ("Edm.Date", pa.date32(), "9999-12-31", date(9999, 12, 31)),
    ("Edm.Time", pa.time64("us"), "PT05H16M00S", time(5, 16)),
    ("Edm.TimeOfDay", pa.time64("us"), "05:16:00.25", time(5, 16, 0, 250000)),
    ("Edm.Duration", pa.duration("us"), "-PT1M0.5S", -timedelta(seconds=60, microseconds=500000)),
    ("Edm.Binary", pa.binary(), "-_8=", b"\xfb\xff"),
    ("Edm.Boolean", pa.bool_(), True, True),
    ("S.Address", pa.string(), {"City": "Köln"}, '{"City":"Köln"}'),
    ("Collection(Edm.String)", pa.string(), ["a", "b"], '["a","b"]'),
]


@pytest.mark.parametrize(("native", "type_", "raw", "value"), CASES)
def test_json_to_arrow_without_loss(native: str, type_: pa.DataType, raw: Any, value: Any) -> None:
    array, misfits = array_of([raw, None], type_, column="c", native=native)
    assert misfits == []
    assert array.type == type_
    assert array.to_pylist() == [value, None]


MISFITS: list[tuple[str, pa.DataType, Any]] = [
    ("Edm.Decimal", pa.decimal128(10, 2), "1.239"),
    ("Edm.Decimal", pa.decimal128(5, 2), "12345.67"),
    ("Edm.Decimal", pa.decimal128(5, 2), ""),
    ("Edm.Decimal", pa.decimal128(5, 2), "NaN"),
    ("Edm.Int64", pa.int64(), "9223372036854775808"),
    ("Edm.Int32", pa.int32(), Number("1.5")),
    ("Edm.Int32", pa.int32(), True),
    ("Edm.Int32", pa.int32(), 2**31),
    ("Edm.DateTimeOffset", UTC_US, "2026-01-02T03:04:05"),
    ("Edm.DateTimeOffset", UTC_US, "2026-01-02T03:04:05.1234567Z"),
    ("Edm.DateTimeOffset", UTC_US, "2026-13-02T03:04:05Z"),
    ("Edm.Date", pa.date32(), "2026-02-30"),
    ("Edm.Date", pa.date32(), "2026-02-03T04:05:06"),
    ("Edm.Time", pa.time64("us"), "PT25H"),
    ("Edm.Boolean", pa.bool_(), "true"),
    ("Edm.String", pa.string(), 5),
    ("Edm.String", pa.string(), {"a": 1}),
]


@pytest.mark.parametrize(("native", "type_", "raw"), MISFITS)
def test_what_does_not_fit_is_kept_raw(native: str, type_: pa.DataType, raw: Any) -> None:
    array, misfits = array_of([None, raw], type_, column="c", native=native)
    assert array.to_pylist() == [None, None]
    assert [(m.row, m.column, m.raw) for m in misfits] == [(1, "c", str(raw))]


def test_a_missing_field_is_no_null() -> None:
    _, misfits = array_of(["a", MISSING], pa.string(), column="c", native="Edm.String")
    assert misfits[0].row == 1
    assert "missing" in misfits[0].reason


def test_empty_is_null_only_where_asked() -> None:
    kept, _ = array_of([""], pa.string(), column="c", native="Edm.String")
    gone, _ = array_of([""], pa.string(), column="c", native="Edm.String", empty_is_null=True)
    assert (kept[0].as_py(), gone[0].as_py()) == ("", None)


@settings(max_examples=200, deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=6))
def test_every_decimal_survives(value: Decimal) -> None:
    array, misfits = array_of(
        [format(value, "f"), Number(value)], pa.decimal128(38, 6), column="c", native="Edm.Decimal"
    )
    assert misfits == []
    assert array.to_pylist() == [value, value]


@settings(max_examples=200, deadline=None)
@given(st.datetimes(min_value=FIRST, max_value=LAST))
def test_every_moment_survives(value: datetime) -> None:
    aware = value.replace(tzinfo=UTC)
    array, misfits = array_of([V4.json_value(aware, "Edm.DateTimeOffset")], UTC_US, column="c", native="x")
    assert misfits == []
    assert array[0].as_py() == aware
    whole = aware.replace(microsecond=value.microsecond // 1000 * 1000)
    array, _ = array_of([V2.json_value(whole, "Edm.DateTimeOffset")], UTC_US, column="c", native="x")
    assert array[0].as_py() == whole


def test_literals_of_both_versions() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert literal("O'Brien", "Edm.String", 4) == "'O''Brien'"
    assert literal("7", "Edm.Int64", 4) == "7"
    assert literal("7", "Edm.Int64", 2) == "7L"
    assert literal(Decimal("1.50"), "Edm.Decimal", 2) == "1.50M"
    assert literal(moment, "Edm.DateTimeOffset", 4) == "2026-01-02T03:04:05Z"
    assert literal(moment, "Edm.DateTimeOffset", 2) == "datetimeoffset'2026-01-02T03:04:05Z'"
    assert literal("/Date(1767323045000)/", "Edm.DateTime", 2) == "datetime'2026-01-02T03:04:05'"
    assert literal("ab", "Edm.Guid", 2) == "guid'ab'"
    assert literal("ab", "Edm.Guid", 4) == "ab"
    assert literal(None, "Edm.String", 4) == "null"
    assert literal(True, "Edm.Boolean", 2) == "true"


def test_a_query_never_writes_plus_for_a_space() -> None:
    text = query_text({"$filter": "A eq 'x+y & z'", "$top": None})
    assert text == "?$filter=A%20eq%20'x%2By%20%26%20z'"


@pytest.mark.parametrize(
    ("headers", "cap", "remaining", "window"),
    [
        ({"RateLimit-Policy": '"w";q=100;w=60', "RateLimit": '"w";r=40;t=12'}, 100, 40, 60),
        ({"RateLimit-Limit": "10", "RateLimit-Remaining": "3"}, 10, 3, None),
        ({"X-RateLimit-Limit": "10, 10;w=1", "X-RateLimit-Remaining": "0"}, 10, 0, None),
        ({"X-RateLimit-Limit": "many"}, None, None, None),
    ],
)
def test_rate_headers(
    headers: dict[str, str], cap: float | None, remaining: float | None, window: float | None
) -> None:
    rates = Rates()
    rates.notice(headers)
    assert (rates.cap, rates.remaining, rates.window) == (cap, remaining, window)
    assert rates.seen is (cap is not None)


def test_a_json_number_where_text_was_declared_is_a_misfit():
    array, misfits = array_of(["1.5", Number("1.5"), 2], pa.string(), column="c", native="Edm.String")
    assert array.to_pylist() == ["1.5", None, None]
    assert [(m.row, m.raw) for m in misfits] == [(1, "1.5"), (2, "2")]
