"""What the Odoo stand-in holds: the practice company's partners and sales orders, users with different sight."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from weighbridge.sandbox.data import companies, orders
from weighbridge.sandbox.odoo.orm import FieldDef, Model, Registry, User

__all__ = ["ARCHIVED_EVERY", "build"]

ARCHIVED_EVERY = 25
"""Every so-manieth partner is archived."""
STATES = (("draft", "Quotation"), ("sent", "Quotation Sent"), ("sale", "Sales Order"), ("cancel", "Cancelled"))
STATE_OF = {"open": "draft", "confirmed": "sale", "shipped": "sale", "invoiced": "sale", "cancelled": "cancel"}


def _models() -> list[Model]:
    name = FieldDef("char", "Name", required=True)
    return [
        Model("res.company", {"name": name}, description="Companies"),
        Model(
            "res.users",
            {
                "name": name,
                "login": FieldDef("char", "Login", required=True),
                "active": FieldDef("boolean", "Active"),
                "company_ids": FieldDef("many2many", "Companies", relation="res.company"),
            },
            description="User",
        ),
        Model("ir.model", {"name": name, "model": FieldDef("char", "Model", required=True)}, description="Models"),
        Model(
            "ir.rule",
            {
                "name": name,
                "model_id": FieldDef("many2one", "Model", relation="ir.model"),
                "domain_force": FieldDef("text", "Domain"),
                "active": FieldDef("boolean", "Active"),
            },
            description="Record Rule",
        ),
        Model(
            "res.partner",
            {
                "name": name,
                "ref": FieldDef("char", "Reference", size=20),
                "email": FieldDef("char", "Email"),
                "city": FieldDef("char", "City"),
                "comment": FieldDef("html", "Notes"),
                "is_company": FieldDef("boolean", "Is a Company"),
                "active": FieldDef("boolean", "Active"),
                "color": FieldDef("integer", "Color Index"),
                "credit_limit": FieldDef("float", "Credit Limit", digits=(16, 2), group="account"),
                "company_id": FieldDef("many2one", "Company", relation="res.company"),
                "image_128": FieldDef("binary", "Image"),
                "sale_order_ids": FieldDef(
                    "one2many", "Orders", relation="sale.order", inverse="partner_id", store=False, readonly=True
                ),
            },
            description="Contact",
        ),
        Model(
            "sale.order",
            {
                "name": name,
                "partner_id": FieldDef("many2one", "Customer", required=True, relation="res.partner"),
                "client_order_ref": FieldDef("char", "Customer Reference"),
                "state": FieldDef("selection", "Status", selection=STATES),
                "date_order": FieldDef("datetime", "Order Date", required=True),
                "commitment_date": FieldDef("date", "Delivery Date"),
                "amount_untaxed": FieldDef("monetary", "Untaxed Amount"),
                "amount_tax": FieldDef("monetary", "Taxes"),
                "amount_total": FieldDef("monetary", "Total"),
                "locked": FieldDef("boolean", "Locked"),
                "company_id": FieldDef("many2one", "Company", relation="res.company"),
            },
            description="Sales Order",
        ),
    ]


def build(*, rows: int, seed: int) -> Registry:
    """`rows` orders; partners an eighth of that; two companies; users admin, sales (record rule), one (one company)."""
    registry = Registry()
    registry.models = {model.name: model for model in _models()}
    fixed = datetime(2026, 1, 1, 6, 0, tzinfo=UTC).replace(tzinfo=None)
    stamps: dict[str, Any] = {"create_date": fixed, "write_date": fixed}
    registry.models["res.company"].load([{"name": "Practice GmbH", **stamps}, {"name": "Practice Nord AB", **stamps}])
    names = [(m.description, m.name) for m in registry.models.values()]
    registry.models["ir.model"].load({"name": name, "model": model, **stamps} for name, model in names)
    customers = companies(seed, max(20, rows // 8))
    numbers: dict[str, int] = {}
    for n, company in enumerate(customers, start=1):
        numbers[company.number] = n
        registry.models["res.partner"].add(
            {
                "name": company.name,
                "ref": company.number,
                "email": company.email if n % 7 else None,
                "city": company.city,
                "comment": "" if n % 5 else None,
                "is_company": True,
                "active": n % ARCHIVED_EVERY != 0,
                "color": n % 12,
                "credit_limit": n * 1000.0,
                "company_id": None if n % 3 else 2 if n % 2 else 1,
                "image_128": "iVBORw0KGgo=" if n == 1 else None,
                "create_date": _plain(company.created),
                "write_date": _plain(company.modified),
            }
        )
    for n, order in enumerate(orders(seed, rows, customers), start=1):
        registry.models["sale.order"].add(
            {
                "name": order.number,
                "partner_id": numbers[order.account],
                "client_order_ref": f"PO-{order.number[3:]}" if n % 4 else None,
                "state": STATE_OF[order.status],
                "date_order": _plain(order.placed),
                "commitment_date": order.due.date() if n % 9 else None,
                "amount_untaxed": float(order.net),
                "amount_tax": float(order.tax),
                "amount_total": float(order.net + order.tax),
                "locked": order.status == "invoiced",
                "company_id": 2 if n % 10 == 0 else 1,
                "create_date": _plain(order.placed),
                "write_date": _plain(order.modified),
            }
        )
    _users(registry, stamps)
    return registry


def _plain(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None, microsecond=0)


def _users(registry: Registry, stamps: dict[str, Any]) -> None:
    everyone = [
        User(1, "admin", "admin-word", "admin-key-0123456789", frozenset({"account", "system"}), (1, 2)),
        User(
            2,
            "sales",
            "sales-word",
            "sales-key-0123456789",
            rules={"sale.order": [["amount_total", "<", 10_000]]},
            company_ids=(1, 2),
            denied=frozenset({"ir.rule"}),
            readonly=True,
        ),
        User(3, "one", "one-word", "one-key-0123456789", frozenset({"account"}), (1,), denied=frozenset({"ir.rule"})),
        User(4, "guest", "guest-word", "guest-key-0123456789", denied=frozenset({"sale.order", "ir.rule"})),
    ]
    for user in everyone:
        registry.users[user.uid] = user
        registry.models["res.users"].add(
            {
                "id": user.uid,
                "name": user.login.title(),
                "login": user.login,
                "active": True,
                "company_ids": list(user.company_ids),
                **stamps,
            }
        )
    orders_model = next(n for n, r in registry.models["ir.model"].records.items() if r["model"] == "sale.order")
    registry.models["ir.rule"].add(
        {
            "name": "Small orders only",
            "model_id": orders_model,
            "domain_force": "[('amount_total', '<', 10000)]",
            "active": True,
            **stamps,
        }
    )
