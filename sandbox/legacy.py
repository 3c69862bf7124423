"""The practice legacy database: customers and orders in a real PostgreSQL, with twenty years of habits; its clean twin.

Both twins are databases of one server. Where the platform has no PostgreSQL wheel, SQLite files take its place and a
warning is logged: then there is no connection limit to find.
"""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

from weighbridge.sandbox.data import Company, Order, companies, orders
from weighbridge.sandbox.postgres import PostgresSandbox, available
from weighbridge.sandbox.practice import Defect, Running

__all__ = ["CONNECTIONS", "PLANTED", "PRACTICE", "Legacy"]

CONNECTIONS = 200
"""The login's CONNECTION LIMIT in the defective database: 200 x (1 - 0.2 reserve) / 1 = 160 users."""
MAX_CONNECTIONS = 1_200
"""The server's; the clean login has no limit of its own, so 1,197 x 0.8 = 957 users."""
RESERVE = 0.2
PASSWORD = "practice-only"  # noqa: S105 - of a practice server on loopback

PLANTED = {
    "similar_key": 3,
    "mojibake": 4,
    "lost_characters": 2,
    "bad_email": 2,
    "duplicate_order": 5,
    "orphan_order": 6,
    "negative_amount": 4,
    "unknown_status": 3,
    "missing_due_date": 5,
    "sentinel_due_date": 7,
}
"""Rows of each defect; they never overlap."""

CUSTOMER_COLUMNS = ("customer_no", "name", "city", "country", "email", "created_on")
ORDER_COLUMNS = (
    "order_no", "customer_no", "order_date", "due_date", "status", "currency", "net_amount", "tax_amount", "updated_at",
)  # fmt: skip

CLEAN_TABLES = """
CREATE TABLE customers (
  customer_no varchar(10) NOT NULL PRIMARY KEY,
  name varchar(80) NOT NULL,
  city varchar(40) NOT NULL,
  country char(2) NOT NULL,
  email varchar(80) NOT NULL,
  created_on date NOT NULL,
  updated_at {timestamp} NOT NULL);
CREATE INDEX customers_updated ON customers (updated_at);
CREATE TABLE orders (
  order_no varchar(12) NOT NULL PRIMARY KEY,
  customer_no varchar(10) NOT NULL REFERENCES customers (customer_no),
  order_date date NOT NULL,
  due_date date NOT NULL,
  status varchar(12) NOT NULL,
  currency char(3) NOT NULL,
  net_amount numeric(12, 2) NOT NULL,
  tax_amount numeric(12, 2) NOT NULL,
  updated_at {timestamp} NOT NULL);
CREATE INDEX orders_customer ON orders (customer_no);
CREATE INDEX orders_updated ON orders (updated_at);
"""
LEGACY_TABLES = """
CREATE TABLE customers (
  customer_no varchar(10) NOT NULL PRIMARY KEY,
  name varchar(80) NOT NULL,
  city varchar(40) NOT NULL,
  country char(2) NOT NULL,
  email varchar(80) NOT NULL,
  created_on date NOT NULL,
  chg_ts {timestamp} NOT NULL);
CREATE TABLE orders (
  order_no varchar(12) NOT NULL,
  customer_no varchar(10) NOT NULL,
  order_date date NOT NULL,
  due_date date,
  status varchar(12) NOT NULL,
  currency char(3) NOT NULL,
  net_amount numeric(12, 2) NOT NULL,
  tax_amount numeric(12, 2) NOT NULL,
  updated_at {timestamp} NOT NULL,
  ship_date char(8),
  weight_kg varchar(12),
  "Order Notes" varchar(40));
"""


def _quality(point: str, rule: str, kind: str, note: str) -> Defect:
    return Defect(f"legacy.{point}", "quality", "quality.rule_failed", rule=rule, count=PLANTED[kind], note=note)


def _both(check: str, code: str, note: str) -> tuple[Defect, Defect]:
    return (Defect("legacy.Customer", check, code, note=note), Defect("legacy.Order", check, code, note=note))


class Legacy:
    """`PRACTICE` of the legacy database."""

    name = "legacy"
    connector = "sql"
    defects = (
        _quality(
            "Customer", "Customer.customer_no.logicalTypeOptions.pattern", "similar_key",
            "'c-000001 ' beside 'C-000001': one customer, two keys",
        ),
        _quality("Customer", "Customer.email.logicalTypeOptions.pattern", "bad_email",
            "'n/a' typed where an address was asked",
        ),
        Defect("legacy.Customer", "schema", "schema.missing", note="updated_at is called chg_ts here since 2019"),
        Defect("legacy.Customer", "legacy", "legacy.similar_keys", count=PLANTED["similar_key"]),
        Defect("legacy.Customer", "legacy", "legacy.padded_text", count=PLANTED["similar_key"]),
        Defect("legacy.Customer", "legacy", "legacy.mojibake", count=PLANTED["mojibake"], note="'ZÃ¼rich'"),
        Defect("legacy.Customer", "legacy", "legacy.lost_characters", count=PLANTED["lost_characters"], note="U+FFFD"),
        _quality("Order", "Order.primaryKey", "duplicate_order", "the same order number twice: there is no key"),
        _quality("Order", "Order.customer_no.relationships.0", "orphan_order", "orders of customers that were deleted"),
        _quality("Order", "Order.net_amount.logicalTypeOptions.minimum", "negative_amount", "returns booked as orders"),
        _quality("Order", "order_status_known", "unknown_status", "a status code of the old system"),
        _quality("Order", "Order.due_date.required", "missing_due_date", "no due date"),
        Defect("legacy.Order", "legacy", "legacy.no_primary_key"),
        Defect("legacy.Order", "legacy", "legacy.watermark_not_indexed", note="updated_at has no index"),
        Defect("legacy.Order", "legacy", "legacy.sentinel_dates", count=PLANTED["sentinel_due_date"]),
        Defect("legacy.Order", "legacy", "legacy.dates_as_text", note="ship_date char(8)"),
        Defect("legacy.Order", "legacy", "legacy.decimal_commas", note="weight_kg '12,5'"),
        Defect("legacy.Customer", "legacy", "legacy.no_watermark", note="nothing by which a change could be found"),
        *_both("legacy", "legacy.login_can_write", "the integration's login may change every table"),
        *_both("legacy", "legacy.no_statement_timeout", "a bad query runs for ever"),
        *_both("limits", "limits.below_target", f"{CONNECTIONS} connections of the login carry 160 users, not 500"),
    )  # fmt: skip

    def start(self, folder: Path, *, clean: bool, seed: int, rows: int) -> Running:
        customers, placed = _business_data(seed, rows)
        tables = _clean_rows(customers, placed) if clean else _legacy_rows(customers, placed, seed)
        settings = {"owner": "it-operations@example.com", "identity": "shared"}
        reason = available()
        if reason is not None:
            logging.getLogger("weighbridge.sandbox").warning("legacy: SQLite instead of PostgreSQL: %s", reason)
            url = _sqlite(folder, tables, clean=clean)
            return Running({"url": url}, settings, truth={"limit": None, "why": reason})
        server = _shared.take(folder.parent)
        try:
            options = {"url": _postgres(server, tables, clean=clean)}
        except BaseException:
            _shared.give_back(folder.parent)
            raise
        cap = MAX_CONNECTIONS - 3 if clean else CONNECTIONS
        truth = {
            "limit": "connections",
            "users": round(cap * (1 - RESERVE)),
            "formula": f"{cap} connections x (1 - {RESERVE} reserve) / 1 connection a user",
        }
        return Running(options, settings, lambda: _shared.give_back(folder.parent), truth)


class _Shared:
    """One server a project folder, for both twins: started by the first, stopped by the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._servers: dict[Path, tuple[PostgresSandbox, int]] = {}

    def take(self, folder: Path) -> PostgresSandbox:
        with self._lock:
            server, users = self._servers.get(folder) or (None, 0)
            if server is None:
                server = PostgresSandbox(folder / "postgres", settings={"max_connections": MAX_CONNECTIONS}).start()
            self._servers[folder] = (server, users + 1)
            return server

    def give_back(self, folder: Path) -> None:
        with self._lock:
            server, users = self._servers[folder]
            if users > 1:
                self._servers[folder] = (server, users - 1)
                return
            del self._servers[folder]
            server.stop()


_shared = _Shared()


@dataclass(frozen=True, slots=True)
class _Tables:
    customer_columns: tuple[str, ...]
    customers: Sequence[tuple[Any, ...]]
    order_columns: tuple[str, ...]
    orders: Sequence[tuple[Any, ...]]


def _business_data(seed: int, rows: int) -> tuple[list[Company], list[Order]]:
    customers = companies(seed, max(60, rows // 4))
    return customers, orders(seed, max(200, rows), customers)


def _customer(c: Company) -> tuple[Any, ...]:
    changed = c.modified.astimezone(UTC).replace(tzinfo=None)
    return c.number, c.name, c.city, c.country, c.email, c.created.date(), changed


def _order(o: Order) -> tuple[Any, ...]:
    changed = o.modified.astimezone(UTC).replace(tzinfo=None)
    return (
        o.number, o.account, o.placed.date(), o.due.date(), o.status, o.currency, o.net, o.tax, changed,
    )  # fmt: skip


def _clean_rows(customers: Sequence[Company], placed: Sequence[Order]) -> _Tables:
    return _Tables(
        (*CUSTOMER_COLUMNS, "updated_at"), [_customer(c) for c in customers], ORDER_COLUMNS, [_order(o) for o in placed]
    )


def _legacy_rows(customers: Sequence[Company], placed: Sequence[Order], seed: int) -> _Tables:
    rng = random.Random(f"legacy-{seed}")
    people = [list(_customer(c)) for c in customers]
    takes = _Takes(rng, len(people))
    for i in takes.next("mojibake"):
        people[i][2] = "ZÃ¼rich"  # 'Zürich' as UTF-8, read as cp1252 and saved
    for i in takes.next("lost_characters"):
        people[i][1] = people[i][1].replace("a", "\ufffd", 1) + " \ufffd"
    for i in takes.next("bad_email"):
        people[i][4] = "n/a"
    similar = [[f"{people[i][0].lower()} ", *people[i][1:]] for i in takes.next("similar_key")]

    bought = [[*_order(o), _text_date(o), _comma(rng), _note(rng)] for o in placed]
    takes = _Takes(rng, len(bought))
    for i in takes.next("orphan_order"):
        bought[i][1] = f"C-9{i:05d}"
    for i in takes.next("negative_amount"):
        bought[i][6] = -bought[i][6]
    for i in takes.next("unknown_status"):
        bought[i][4] = "ST-07"
    for i in takes.next("missing_due_date"):
        bought[i][3] = None
    for i in takes.next("sentinel_due_date"):
        bought[i][3] = bought[i][3].replace(year=9999, month=12, day=31)
    twice = [list(bought[i]) for i in takes.next("duplicate_order")]
    return _Tables(
        (*CUSTOMER_COLUMNS, "chg_ts"),
        [tuple(p) for p in people + similar],
        (*ORDER_COLUMNS, "ship_date", "weight_kg", "Order Notes"),
        [tuple(b) for b in bought + twice],
    )


class _Takes:
    """Draws rows so that no row carries two planted defects."""

    def __init__(self, rng: random.Random, rows: int) -> None:
        self._order = rng.sample(range(rows), rows)

    def next(self, kind: str) -> list[int]:
        taken, self._order = self._order[: PLANTED[kind]], self._order[PLANTED[kind] :]
        return taken


def _text_date(order: Order) -> str:
    return (order.placed + timedelta(days=3)).strftime("%Y%m%d")


def _comma(rng: random.Random) -> str:
    return f"{rng.randrange(1, 900)},{rng.randrange(10)}"


def _note(rng: random.Random) -> str | None:
    return rng.choice((None, "call before delivery", "ramp at the back", "gate 4"))


def _postgres(server: PostgresSandbox, tables: _Tables, *, clean: bool) -> str:
    import psycopg
    from psycopg import sql

    base = "legacy_clean" if clean else "legacy"
    login = f"{base}_reader"
    with server.connect() as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(base)))
        admin.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} CONNECTION LIMIT {}").format(
                sql.Identifier(login), PASSWORD, sql.Literal(-1 if clean else CONNECTIONS)
            )
        )
        if clean:
            admin.execute(sql.SQL("ALTER ROLE {} SET statement_timeout = '60s'").format(sql.Identifier(login)))
    with psycopg.connect(server.url(base), connect_timeout=10) as own:
        own.execute((CLEAN_TABLES if clean else LEGACY_TABLES).format(timestamp="timestamp").encode())
        for name, columns, rows in _each(tables):
            target = sql.SQL("COPY {} ({}) FROM STDIN").format(
                sql.Identifier(name), sql.SQL(", ").join(map(sql.Identifier, columns))
            )
            with own.cursor() as cursor, cursor.copy(target) as copy:
                for row in rows:
                    copy.write_row(row)
        rights = sql.SQL("SELECT") if clean else sql.SQL("SELECT, INSERT, UPDATE, DELETE")
        grant = sql.SQL("GRANT {} ON ALL TABLES IN SCHEMA public TO {}")
        own.execute(grant.format(rights, sql.Identifier(login)))
    with psycopg.connect(server.url(base), autocommit=True, connect_timeout=10) as own:
        own.execute("VACUUM (ANALYZE)")
    return server.url(base, user=login, password=PASSWORD)


def _each(tables: _Tables) -> Iterator[tuple[str, tuple[str, ...], Iterable[tuple[Any, ...]]]]:
    yield "customers", tables.customer_columns, tables.customers
    yield "orders", tables.order_columns, tables.orders


def _sqlite(folder: Path, tables: _Tables, *, clean: bool) -> str:
    path = folder / "legacy.db"
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as database:
        database.executescript((CLEAN_TABLES if clean else LEGACY_TABLES).format(timestamp="DATETIME"))
        for name, columns, rows in _each(tables):
            listed = ", ".join(f'"{c}"' for c in columns)
            marks = ", ".join("?" * len(columns))
            plain = [tuple(v if v is None or isinstance(v, int | str) else _plain(v) for v in row) for row in rows]
            database.executemany(f'INSERT INTO "{name}" ({listed}) VALUES ({marks})', plain)
    database.close()
    return f"sqlite:///{path}"


def _plain(value: Any) -> Any:
    text = str(value)
    return float(text) if text.replace(".", "", 1).lstrip("-").isdigit() else text


PRACTICE = Legacy()
