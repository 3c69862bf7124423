"""What the OData stand-in holds: the practice company's sales orders, every Edm type at its extremes, plain numbers.

Defects are planted at fixed places of the seeded rows, so that their number is known on paper.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from weighbridge.sandbox.data import EPOCH, Order, companies, orders
from weighbridge.sandbox.odata.model import Entity, Field, Navigation, Store, Table

__all__ = ["DATASETS", "PLANTED", "build", "customers_of"]

Row = dict[str, Any]

PLANTED: Mapping[str, int] = {
    "orphan_customer": 7,
    "negative_amount": 5,
    "unknown_status": 4,
    "missing_delivery_date": 6,
    "duplicate_reference": 3,
    "wrong_gross": 8,
    "orphan_item": 3,
    "zero_quantity": 4,
}
"""Rows that carry each defect in the company data set, whatever its size (from 200 orders on)."""

ORDER = Entity(
    "A_SalesOrder",
    "A_SalesOrderType",
    (
        Field("SalesOrder", "Edm.String", nullable=False, max_length=10),
        Field("SoldToParty", "Edm.String", max_length=10),
        Field("PurchaseOrderByCustomer", "Edm.String", max_length=35),
        Field("SalesOrderDate", "Edm.Date"),
        Field("RequestedDeliveryDate", "Edm.Date"),
        Field("OverallSDProcessStatus", "Edm.String", max_length=10),
        Field("TransactionCurrency", "Edm.String", max_length=5),
        Field("TotalNetAmount", "Edm.Decimal", precision=16, scale=2),
        Field("TotalTaxAmount", "Edm.Decimal", precision=16, scale=2),
        Field("TotalGrossAmount", "Edm.Decimal", precision=16, scale=2),
        Field("SalesDistrict", "Edm.String", max_length=6),
        Field("LastChangeDateTime", "Edm.DateTimeOffset", nullable=False, precision=6),
    ),
    ("SalesOrder",),
    (Navigation("to_Item", "A_SalesOrderItem", (("SalesOrder", "SalesOrder"),), collection=True),),
    modified="LastChangeDateTime",
)
ITEM = Entity(
    "A_SalesOrderItem",
    "A_SalesOrderItemType",
    (
        Field("SalesOrder", "Edm.String", nullable=False, max_length=10),
        Field("SalesOrderItem", "Edm.Int32", nullable=False),
        Field("Material", "Edm.String", max_length=40),
        Field("RequestedQuantity", "Edm.Decimal", precision=15, scale=3),
        Field("NetAmount", "Edm.Decimal", precision=16, scale=2),
    ),
    ("SalesOrder", "SalesOrderItem"),
    (Navigation("to_SalesOrder", "A_SalesOrder", (("SalesOrder", "SalesOrder"),)),),
)


def customers_of(rows: int) -> int:
    """Customers that `rows` orders are spread over: the first accounts of the CRM."""
    return max(20, rows // 8)


def _v2(entity: Entity) -> Entity:
    """The entity with V2's types: dates are Edm.DateTime, times Edm.Time."""
    changes = {"Edm.Date": "Edm.DateTime", "Edm.TimeOfDay": "Edm.Time"}
    fields = tuple(replace(f, type=changes.get(f.type, f.type)) for f in entity.fields)
    return replace(entity, fields=fields)


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many and which: the arguments of a data set."""

    version: int
    rows: int
    seed: int
    defects: bool


def _order_row(order: Order, wanted: Wanted) -> Row:
    def day(moment: datetime) -> Any:
        return datetime.combine(moment.date(), time()) if wanted.version == 2 else moment.date()

    return {
        "SalesOrder": order.number,
        "SoldToParty": order.account,
        "PurchaseOrderByCustomer": f"PO-{order.number[3:]}",
        "SalesOrderDate": day(order.placed),
        "RequestedDeliveryDate": day(order.due),
        "OverallSDProcessStatus": order.status,
        "TransactionCurrency": order.currency,
        "TotalNetAmount": order.net,
        "TotalTaxAmount": order.tax,
        "TotalGrossAmount": order.net + order.tax,
        "SalesDistrict": f"D{int(order.account[2:]) % 9:02d}",
        "LastChangeDateTime": order.modified,
    }


def _company(wanted: Wanted) -> Iterable[tuple[Entity, list[Row]]]:
    made = orders(wanted.seed, wanted.rows, companies(wanted.seed, customers_of(wanted.rows)))
    heads = [_order_row(order, wanted) for order in made]
    items: list[Row] = []
    for order in made:
        count = min(order.lines, 2)
        for n in range(1, count + 1):
            net = order.net if count == 1 else (order.net / 2 if n == 1 else order.net - order.net / 2)
            items.append(
                {
                    "SalesOrder": order.number,
                    "SalesOrderItem": n * 10,
                    "Material": f"MAT-{(int(order.number[3:]) * 7 + n) % 400:04d}",
                    "RequestedQuantity": Decimal(n * 5),
                    "NetAmount": net.quantize(Decimal("0.01")),
                }
            )
    if wanted.defects:
        _plant(heads, items, random.Random(f"odata-{wanted.seed}"))
    adapt = _v2 if wanted.version == 2 else (lambda e: e)
    order_entity = ORDER
    if wanted.defects:  # the district was dropped by an upgrade: the contract still promises it
        order_entity = replace(ORDER, fields=tuple(f for f in ORDER.fields if f.name != "SalesDistrict"))
        for row in heads:
            del row["SalesDistrict"]
    yield adapt(order_entity), heads
    yield adapt(ITEM), items


def _plant(heads: list[Row], items: list[Row], rng: random.Random) -> None:
    """Each defective row carries one defect, so that counts stay apart."""
    chosen = rng.sample(range(1, len(heads)), sum(PLANTED[n] for n in list(PLANTED)[:6]))
    take = iter(chosen)
    for n in range(PLANTED["orphan_customer"]):
        heads[next(take)]["SoldToParty"] = f"C-9{n:05d}"
    for _ in range(PLANTED["negative_amount"]):
        row = heads[next(take)]
        for name in ("TotalNetAmount", "TotalTaxAmount", "TotalGrossAmount"):
            row[name] = -row[name]
    for _ in range(PLANTED["unknown_status"]):
        heads[next(take)]["OverallSDProcessStatus"] = "Z9"
    for _ in range(PLANTED["missing_delivery_date"]):
        heads[next(take)]["RequestedDeliveryDate"] = None
    for _ in range(PLANTED["duplicate_reference"]):
        heads[next(take)]["PurchaseOrderByCustomer"] = heads[0]["PurchaseOrderByCustomer"]
    for _ in range(PLANTED["wrong_gross"]):
        heads[next(take)]["TotalGrossAmount"] += Decimal("0.01")
    picked = iter(rng.sample(range(len(items)), PLANTED["orphan_item"] + PLANTED["zero_quantity"]))
    for n in range(PLANTED["orphan_item"]):
        items[next(picked)]["SalesOrder"] = f"SO-99{n:05d}"
    for _ in range(PLANTED["zero_quantity"]):
        items[next(picked)]["RequestedQuantity"] = Decimal(0)


TYPES_V4 = Entity(
    "AllTypes",
    "AllType",
    (
        Field("Id", "Edm.Int32", nullable=False),
        Field("Text", "Edm.String", max_length=80),
        Field("Flag", "Edm.Boolean"),
        Field("Tiny", "Edm.Byte"),
        Field("Small", "Edm.Int16"),
        Field("Signed", "Edm.SByte"),
        Field("Big", "Edm.Int64"),
        Field("Money", "Edm.Decimal", precision=34, scale=10),
        Field("Ratio", "Edm.Double"),
        Field("Narrow", "Edm.Single"),
        Field("Day", "Edm.Date"),
        Field("Moment", "Edm.DateTimeOffset", precision=6),
        Field("Clock", "Edm.TimeOfDay", precision=6),
        Field("Span", "Edm.Duration"),
        Field("Unique", "Edm.Guid"),
        Field("Bytes", "Edm.Binary"),
        Field("Colour", "Edm.String", enum=("Red", "Green", "Blue")),
    ),
    ("Id",),
)


def _types(wanted: Wanted) -> Iterable[tuple[Entity, list[Row]]]:
    """Row 1 ordinary, 2 all null, 3 and 4 extremes; then ordinary ones."""
    entity = TYPES_V4
    rows: list[Row] = [
        {
            "Id": i,
            "Text": f"näme {i} 'q' \"d\" \u2028",
            "Flag": i % 2 == 0,
            "Tiny": i % 256,
            "Small": i,
            "Signed": -(i % 100),
            "Big": 9_007_199_254_740_993 + i,
            "Money": Decimal(f"{12345678901234567890 + i}.1234567890"),
            "Ratio": i / 3,
            "Narrow": i / 4,
            "Day": date(2024, 2, 29) + timedelta(days=i),
            "Moment": datetime(2024, 2, 29, 23, 59, 59, 123456, UTC) + timedelta(hours=i),
            "Clock": time(i % 24, 16, 7),
            "Span": timedelta(days=i, seconds=3),
            "Unique": f"00000000-0000-0000-0000-{i:012x}",
            "Bytes": bytes([i % 256, 250, 251, 252]),
            "Colour": ("Red", "Green", "Blue")[i % 3],
        }
        for i in range(1, max(4, wanted.rows) + 1)
    ]
    rows[1] = {name: (2 if name == "Id" else None) for name in rows[1]}
    rows[2] |= {
        "Text": "", "Big": 2**63 - 1, "Money": Decimal("999999999999999999999999.9999999999"), "Ratio": float("inf"),
        "Day": date(9999, 12, 31), "Moment": datetime(9999, 12, 31, 23, 59, 59, 0, UTC), "Small": 32767,
    }  # fmt: skip
    rows[3] |= {
        "Big": -(2**63), "Money": Decimal("-0.0000000001"), "Ratio": float("nan"), "Day": date(1, 1, 1),
        "Moment": datetime(1, 1, 1, 0, 0, 0, 0, UTC), "Small": -32768, "Span": timedelta(seconds=-1),
    }  # fmt: skip
    if wanted.version == 2:
        changes = {"Edm.Date": "Edm.DateTime", "Edm.TimeOfDay": "Edm.Time"}
        fields = tuple(replace(f, type=changes.get(f.type, f.type)) for f in entity.fields if f.type != "Edm.Duration")
        entity = replace(entity, fields=fields)
        for row in rows:
            del row["Span"]
            for name in ("Moment",):
                if row[name] is not None:
                    row[name] = row[name].replace(microsecond=row[name].microsecond // 1000 * 1000)
            if row["Day"] is not None:
                row["Day"] = datetime(row["Day"].year, row["Day"].month, row["Day"].day)  # noqa: DTZ001
    yield entity, rows


NUMBERS = Entity(
    "Numbers",
    "NumberType",
    (
        Field("Id", "Edm.Int64", nullable=False),
        Field("Name", "Edm.String", max_length=40),
        Field("Group", "Edm.String", max_length=10),
        Field("Amount", "Edm.Decimal", precision=15, scale=2),
        Field("Count", "Edm.Int32"),
        Field("Active", "Edm.Boolean"),
        Field("Day", "Edm.Date"),
        Field("Changed", "Edm.DateTimeOffset", nullable=False),
    ),
    ("Id",),
    modified="Changed",
)


def _numbers(wanted: Wanted) -> Iterable[tuple[Entity, list[Row]]]:
    rows = [
        {
            "Id": i,
            "Name": f"Number {i}",
            "Group": f"G{i % 7}",
            "Amount": Decimal(i * 101 % 100_000) / 100,
            "Count": i % 1000,
            "Active": i % 3 != 0,
            "Day": EPOCH.date() + timedelta(days=i % 365)
            if wanted.version == 4
            else datetime(2026, 1, 5) + timedelta(days=i % 365),  # noqa: DTZ001
            "Changed": EPOCH + timedelta(seconds=i),
        }
        for i in range(1, wanted.rows + 1)
    ]
    yield (_v2(NUMBERS) if wanted.version == 2 else NUMBERS), rows


DATASETS: Mapping[str, Callable[[Wanted], Iterable[tuple[Entity, list[Row]]]]] = {
    "company": _company,
    "types": _types,
    "numbers": _numbers,
}


def build(dataset: str, *, version: int, rows: int, seed: int, defects: bool) -> Store:
    """The tables of a data set. Raises KeyError for an unknown name."""
    store = Store()
    for entity, content in DATASETS[dataset](Wanted(version, rows, seed, defects)):
        store.add(Table(entity, content, _now))
    return store


def _now() -> datetime:
    return datetime.now(UTC)
