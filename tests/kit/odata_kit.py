"""A service of one entity set that a test describes by what it answers."""

from __future__ import annotations

from typing import Any

from json_kit import Answer, as_json

from weighbridge.connectors.session import Retry

QUICK = Retry(attempts=2, base=0.01, cap=0.02, deadline=3)
JSON: dict[str, str] = {"Content-Type": "application/json"}
METADATA = b"""<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>
<Schema Namespace="S" xmlns="http://docs.oasis-open.org/odata/ns/edm"><EntityType Name="T"><Key><PropertyRef Name="Id"/>
</Key><Property Name="Id" Type="Edm.Int32" Nullable="false"/><Property Name="Name" Type="Edm.String"/></EntityType>
<EntityContainer Name="C"><EntitySet Name="Things" EntityType="S.T"/></EntityContainer></Schema>
</edmx:DataServices></edmx:Edmx>"""


def rows(first: int, count: int = 3, **more: Any) -> list[dict[str, Any]]:
    return [{"Id": n, "Name": "x", **more} for n in range(first, first + count)]


def page(first: int, link: str | None = None, count: int = 3) -> Answer:
    return as_json({"value": rows(first, count), **({"@odata.nextLink": link} if link else {})})
