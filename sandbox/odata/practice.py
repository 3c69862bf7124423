"""The practice ERP: sales orders behind an OData V4 service with planted defects and a rate limit; its clean twin."""

from __future__ import annotations

from pathlib import Path

from weighbridge.sandbox.odata.data import PLANTED
from weighbridge.sandbox.practice import Defect, Running
from weighbridge.sandbox.server import start

__all__ = ["PRACTICE", "Erp"]

USERNAME = "WB_INTEGRATION"
PASSWORD = "practice-only"  # noqa: S105 - of a practice server on loopback
WINDOW_S = 5.0
CAP = 250
CLEAN_CAP = 1_500
CALLS_PER_USER_HOUR = 120
PEAK_FACTOR = 3
POINTS = 2
"""Orders and items are asked for alike, and draw on one limit."""
RESERVE = 0.2
SERVICE_MS = 5.0


def _quality(rule: str, kind: str, note: str, point: str = "erp.SalesOrder") -> Defect:
    return Defect(point, "quality", "quality.rule_failed", rule=rule, count=PLANTED[kind], note=note)


class Erp:
    """`PRACTICE` of the ERP."""

    name = "erp"
    connector = "odata"
    defects = (
        _quality("SalesOrder.SoldToParty.relationships.0", "orphan_customer", "orders of customers the CRM lacks"),
        _quality("SalesOrder.TotalNetAmount.logicalTypeOptions.minimum", "negative_amount", "returns booked as orders"),
        _quality("order_status_known", "unknown_status", "a status from another system"),
        _quality("SalesOrder.RequestedDeliveryDate.required", "missing_delivery_date", "no delivery date"),
        _quality("SalesOrder.PurchaseOrderByCustomer.unique", "duplicate_reference", "one reference used again"),
        Defect(
            "erp.SalesOrder", "quality", "quality.rule_failed", rule="gross_is_net_plus_tax", note="8 a cent too much"
        ),
        _quality(
            "SalesOrderItem.SalesOrder.relationships.0", "orphan_item", "items without an order", "erp.SalesOrderItem"
        ),
        _quality(
            "SalesOrderItem.RequestedQuantity.logicalTypeOptions.exclusiveMinimum",
            "zero_quantity",
            "nothing ordered",
            "erp.SalesOrderItem",
        ),
        Defect("erp.SalesOrder", "schema", "schema.missing", note="SalesDistrict was dropped by an upgrade"),
        Defect("erp.SalesOrder", "limits", "limits.below_target", note="250 calls in 5 s carry 200 users, not 500"),
        Defect("erp.SalesOrderItem", "limits", "limits.below_target", note="the same limit"),
    )

    def start(self, folder: Path, *, clean: bool, seed: int, rows: int) -> Running:
        """`folder` is not used: the service keeps its rows in memory."""
        del folder
        cap = CLEAN_CAP if clean else CAP
        server = start(
            "weighbridge.sandbox.odata.app:create",
            {
                "root": "sap/opu/odata4/sap/api_sales_order",
                "auth": {"kind": "basic", "username": USERNAME, "password": PASSWORD},
                "csrf": "on",
                "limits": {"requests_per_window": cap, "window_s": WINDOW_S, "latency_ms": SERVICE_MS},
                "services": {
                    "": {
                        "version": 4,
                        "dataset": "company",
                        "rows": max(200, rows),
                        "seed": seed,
                        "defects": not clean,
                        "page_rows": 1000,
                    }
                },
            },
        )
        per_user = POINTS * CALLS_PER_USER_HOUR * PEAK_FACTOR / 3600
        return Running(
            options={
                "url": f"{server.url}/sap/opu/odata4/sap/api_sales_order/",
                "username": USERNAME,
                "password": PASSWORD,
            },
            settings={"owner": "erp-operations@example.com"},
            stop=server.stop,
            truth={
                "limit": "requests_per_window",
                "users": round(cap / WINDOW_S * (1 - RESERVE) / per_user),
                "formula": f"{cap} calls / {WINDOW_S:g} s x (1 - {RESERVE} reserve) / "
                f"({POINTS} objects x {CALLS_PER_USER_HOUR} calls an hour x peak {PEAK_FACTOR} / 3600 s)",
            },
        )


PRACTICE = Erp()
