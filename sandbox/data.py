"""The practice company's business data: the same customers and orders in every practice system.

Deterministic: the same seed and size give the same rows on every machine. Account number `C-000123` in the CRM is what
the ERP's sales orders, the legacy database and the finance workbook refer to.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

__all__ = ["EPOCH", "Company", "Order", "companies", "orders"]

EPOCH = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
"""The first moment of the practice company's year; nothing depends on today's date."""

_FIRST = (
    "Alder",
    "Birch",
    "Cedar",
    "Delta",
    "Elm",
    "Fjord",
    "Granite",
    "Harbour",
    "Iris",
    "Juniper",
    "Kestrel",
    "Larch",
)
_SECOND = (
    "Foods",
    "Logistics",
    "Metals",
    "Optics",
    "Paper",
    "Robotics",
    "Seeds",
    "Tools",
    "Textiles",
    "Marine",
    "Glass",
)
_FORM = ("GmbH", "Ltd", "S.A.", "BV", "AB", "Oy", "Inc", "SpA")
_CITIES = (
    ("Berlin", "DE"), ("Lyon", "FR"), ("Leeds", "GB"), ("Utrecht", "NL"), ("Malmö", "SE"), ("Turku", "FI"),
    ("Bologna", "IT"), ("Porto", "PT"), ("Graz", "AT"), ("Gdańsk", "PL"), ("Zürich", "CH"), ("Ghent", "BE"),
)  # fmt: skip
_GIVEN = (
    "Anna",
    "Bela",
    "Chiara",
    "Dirk",
    "Elif",
    "Fatima",
    "Goran",
    "Hanna",
    "Ivo",
    "Jana",
    "Kai",
    "Léa",
    "Mats",
    "Nora",
)
_FAMILY = (
    "Berg",
    "Costa",
    "Dubois",
    "Eriksen",
    "Fischer",
    "García",
    "Hughes",
    "Ito",
    "Janssen",
    "Kowalski",
    "Lang",
    "O'Brien",
)
STATUSES = ("open", "confirmed", "shipped", "invoiced", "cancelled")
INDUSTRIES = ("Manufacturing", "Retail", "Transport", "Energy", "Healthcare", "Agriculture")


@dataclass(frozen=True, slots=True)
class Company:
    """One customer."""

    number: str
    name: str
    city: str
    country: str
    industry: str
    email: str
    phone: str
    contact: str
    annual_revenue: Decimal
    created: datetime
    modified: datetime


@dataclass(frozen=True, slots=True)
class Order:
    """One order of a customer."""

    number: str
    account: str
    placed: datetime
    due: datetime
    status: str
    currency: str
    net: Decimal
    tax: Decimal
    lines: int
    modified: datetime


def companies(seed: int, n: int) -> list[Company]:
    """`n` customers `C-000001` ... in order of their number."""
    rng = random.Random(f"companies-{seed}")
    made: list[Company] = []
    for i in range(1, n + 1):
        name = f"{rng.choice(_FIRST)} {rng.choice(_SECOND)} {rng.choice(_FORM)}"
        city, country = rng.choice(_CITIES)
        given, family = rng.choice(_GIVEN), rng.choice(_FAMILY)
        created = EPOCH - timedelta(minutes=rng.randrange(60, 3 * 525_600))
        made.append(
            Company(
                number=f"C-{i:06d}",
                name=f"{name} {i}",
                city=city,
                country=country,
                industry=rng.choice(INDUSTRIES),
                email=f"office{i}@example.com",
                phone=f"+49 30 {rng.randrange(1_000_000, 9_999_999)}",
                contact=f"{given} {family}",
                annual_revenue=Decimal(rng.randrange(50_000, 90_000_000)) / 100,
                created=created,
                modified=created + timedelta(minutes=rng.randrange(0, 40_000)),
            )
        )
    return made


def orders(seed: int, n: int, customers: list[Company]) -> list[Order]:
    """`n` orders `SO-0000001` ... of the given customers; a fifth of the customers place most of them."""
    rng = random.Random(f"orders-{seed}")
    made: list[Order] = []
    for i in range(1, n + 1):
        skewed = int(len(customers) * rng.random() ** 2.2)
        placed = EPOCH + timedelta(minutes=rng.randrange(0, 300 * 1440))
        net = Decimal(rng.randrange(500, 2_500_000)) / 100
        made.append(
            Order(
                number=f"SO-{i:07d}",
                account=customers[skewed].number,
                placed=placed,
                due=placed + timedelta(days=rng.randrange(2, 45)),
                status=rng.choice(STATUSES),
                currency=rng.choice(("EUR", "EUR", "EUR", "GBP", "CHF")),
                net=net,
                tax=(net * Decimal("0.19")).quantize(Decimal("0.01")),
                lines=rng.randrange(1, 12),
                modified=placed + timedelta(minutes=rng.randrange(1, 20_000)),
            )
        )
    return made
