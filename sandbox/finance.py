"""The practice finance department: a folder of monthly workbooks with twenty years of habits; its clean twin.

The defective folder is what people work in: titles above the table, totals below it, errors of lookups, amounts typed
as text, macros, links, hidden sheets, and one writer at a time. The clean twin is a nightly export, read-only.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from weighbridge.sandbox.data import Company, Order, companies, orders
from weighbridge.sandbox.practice import Defect, Running
from weighbridge.sandbox.vba_writer import vba_project
from weighbridge.sandbox.workbook_writer import ErrorCell, Formula, SheetPlan, WorkbookPlan, write_workbook

__all__ = ["EDIT_SECONDS", "PLANTED", "PRACTICE", "Finance"]

HEADER = (
    "Invoice", "Account", "Customer", "Sales Order", "Invoice Date", "Due Date", "Status", "Currency", "Net", "Tax",
    "Gross",
)  # fmt: skip
MONTHS = 3
EDIT_SECONDS = 60
"""How long a person holds a workbook to enter something."""
WRITERS = 1

PLANTED = {
    "duplicate_invoice": 3,
    "orphan_account": 4,
    "unknown_status": 3,
    "missing_due_date": 4,
    "negative_net": 3,
    "comma_amount": 5,
    "error_cell": 4,
    "uncached": 6,
}
"""Rows of each defect over all months; no row has two."""

OWNER = "M. Keller"
MACRO = """Attribute VB_Name = "MonthEnd"
' Written 2015 by J., who has left.
Sub Auto_Open()
    Call ImportRates
End Sub
Sub ImportRates()
    On Error Resume Next
    Workbooks.Open "\\\\fileserver\\treasury\\rates.xls"
    Range("K4:K200").Copy ThisWorkbook.Sheets("Receivables").Range("K4")
    ActiveWorkbook.Close False
End Sub
Sub ExportDatev()
    Dim c As Object
    Set c = CreateObject("ADODB.Connection")
    c.Open "Provider=SQLOLEDB;Data Source=erp01;Initial Catalog=ledger;User ID=sa;Password=practice-only"
    Open "C:\\Export\\datev.csv" For Output As #1
    Print #1, Cells(4, 9)
    Close #1
End Sub
"""


def _quality(rule: str, kind: str, note: str) -> Defect:
    return Defect("finance.Invoice", "quality", "quality.rule_failed", rule=rule, count=PLANTED[kind], note=note)


def _unfit(column: str, kind: str, note: str) -> Defect:
    rule = f"Invoice.{column}.logicalType"
    return Defect("finance.Invoice", "schema", "schema.values_do_not_fit", rule=rule, count=PLANTED[kind], note=note)


def _hazard(code: str, note: str, count: int | None = None) -> Defect:
    return Defect("finance.Invoice", "workbook", f"workbook.{code}", count=count, note=note)


class Finance:
    """`PRACTICE` of the finance department."""

    name = "finance"
    connector = "excel"
    defects = (
        _quality("Invoice.primaryKey", "duplicate_invoice", "copied from last month's file"),
        _quality("Invoice.Account.relationships.0", "orphan_account", "accounts the CRM does not know"),
        _quality("invoice_status_known", "unknown_status", "'paid?' typed into the status"),
        _quality("Invoice.Due Date.required", "missing_due_date", "no due date"),
        _quality("Invoice.Net.logicalTypeOptions.minimum", "negative_net", "credit notes entered as invoices"),
        _unfit("Customer", "error_cell", "#N/A where a name belongs"),
        _unfit("Net", "comma_amount", "'1.234,50' is a text"),
        _unfit("Gross", "uncached", "formulas without a value"),
        _hazard("error_cells", "a lookup into a file that moved", PLANTED["error_cell"]),
        _hazard("uncached_formulas", "rows appended by a program that cannot calculate", PLANTED["uncached"]),
        _hazard("numbers_as_text", "'1.234,50' typed as text", PLANTED["comma_amount"]),
        _hazard("mixed_types", "the same amounts among numbers", PLANTED["comma_amount"]),
        _hazard("macros", "the month-end macro of 2015", MONTHS),
        _hazard("external_links", "the treasury's rates", MONTHS),
        _hazard("connections", "a query on the ledger", MONTHS),
        _hazard("volatile_formulas", "=TODAY() on the summary", MONTHS),
        _hazard("broken_names", "a name that lost its cells", MONTHS),
        _hazard("very_hidden_sheets", "_params", MONTHS),
        _hazard("locked", "somebody has the newest month open", 1),
        Defect("finance.Invoice", "limits", "limits.below_target", note="one writer at a time, not 500"),
    )

    def start(self, folder: Path, *, clean: bool, seed: int, rows: int) -> Running:
        place = folder / "receivables"
        place.mkdir(parents=True, exist_ok=True)
        months = _months(seed, rows)
        if not clean:
            _plant(months, seed)
        for number, invoices in enumerate(months, 1):
            _write(place, number, invoices, clean=clean)
        if not clean:
            _lock(place / f"receivables-2026-{MONTHS:02d}.xlsm")
        per_user = 12 * 3 / 3600 * 0.1 * EDIT_SECONDS
        truth = {
            "limit": None if clean else "writers",
            "users": WRITERS,
            "formula": f"{WRITERS} writer; each user holds the file {per_user:.2f} of the time, so two already collide",
        }
        options = {"path": str(place), "edit_seconds": EDIT_SECONDS}
        return Running(options, {"owner": "finance@example.com", "identity": "per_user"}, truth=truth)


@dataclass(slots=True)
class Invoice:
    """One row; values are what stands in the cells."""

    number: str
    account: str
    customer: Any
    order: str
    date: Any
    due: Any
    status: str
    currency: str
    net: Any
    tax: Any
    gross: Any

    def cells(self) -> list[Any]:
        return [
            self.number, self.account, self.customer, self.order, self.date, self.due, self.status, self.currency,
            self.net, self.tax, self.gross,
        ]  # fmt: skip


def _months(seed: int, rows: int) -> list[list[Invoice]]:
    """Invoices of the practice company's orders, in three months."""
    customers = companies(seed, max(60, rows // 4))
    placed = sorted(orders(seed, max(90, rows // 4), customers), key=lambda o: (o.placed, o.number))
    names = {c.number: c for c in customers}
    made = [_invoice(n, order, names[order.account]) for n, order in enumerate(placed, 1)]
    size = -(-len(made) // MONTHS)
    return [made[i * size : (i + 1) * size] for i in range(MONTHS)]


def _invoice(number: int, order: Order, customer: Company) -> Invoice:
    billed = order.placed.date() + timedelta(days=1)
    status = ("open", "paid", "paid", "overdue")[number % 4]
    gross = order.net + order.tax
    return Invoice(
        f"RE-{number:06d}", order.account, customer.name, order.number, billed, billed + timedelta(days=30), status,
        order.currency, order.net, order.tax, gross,
    )  # fmt: skip


def _plant(months: Sequence[list[Invoice]], seed: int) -> None:
    everything = [invoice for month in months for invoice in month]
    rng = random.Random(f"finance-{seed}")
    order = rng.sample(range(len(everything)), len(everything))

    def take(kind: str) -> list[Invoice]:
        return [everything[order.pop()] for _ in range(PLANTED[kind])]

    for n, invoice in enumerate(take("orphan_account")):
        invoice.account = f"C-9{n:05d}"
    for invoice in take("unknown_status"):
        invoice.status = "paid?"
    for invoice in take("missing_due_date"):
        invoice.due = None
    for invoice in take("negative_net"):
        invoice.net = -invoice.net
    for invoice in take("comma_amount"):
        whole, cents = divmod(round(invoice.net * 100), 100)
        invoice.net = f"{whole:,}".replace(",", ".") + f",{cents:02d}"
    for invoice in take("error_cell"):
        invoice.customer = Formula("VLOOKUP(B4,[1]Customers!A:B,2,0)", ErrorCell("#N/A"))
    for invoice in take("uncached"):
        invoice.gross = Formula("I4+J4")
    for invoice in take("duplicate_invoice"):
        invoice.number = months[0][0].number if invoice is not months[0][0] else months[0][1].number


def _write(place: Path, number: int, invoices: Sequence[Invoice], *, clean: bool) -> None:
    name = f"receivables-2026-{number:02d}"
    rows = [invoice.cells() for invoice in invoices]
    if clean:
        plan = WorkbookPlan([SheetPlan("Receivables", [HEADER, *rows])], author="nightly export")
        path = write_workbook(place / f"{name}.xlsx", plan)
        path.chmod(0o444)
        return
    last = len(rows) + 3
    total = [None] * 8 + [Formula(f"SUM({c}4:{c}{last})", 0) for c in "IJK"]
    receivables = SheetPlan(
        "Receivables",
        [[f"Receivables 2026-{number:02d}"], [], HEADER, *rows, ["Total", *total[1:]]],
        merged=("A1:K1",),
        hidden_rows=frozenset({5}),
    )
    summary = SheetPlan(
        "Summary", [["As of", Formula("TODAY()", 46027)], ["Gross", Formula(f"SUM(Receivables!K4:K{last})", 0)]]
    )
    sheets = [
        receivables,
        summary,
        SheetPlan("Corrections", [["Note", "Amount"], ["ask J. before closing", 0]], state="hidden"),
        SheetPlan("_params", [["rate", 1.08]], state="veryHidden"),
    ]
    plan = WorkbookPlan(
        sheets,
        names={"Rates": "'[1]Rates'!$A$1:$B$20", "Old_Ledger": "#REF!$A$1"},
        links=("file:///\\\\fileserver\\treasury\\rates.xls",),
        connections={"ledger": "Provider=SQLOLEDB;Data Source=erp01;User ID=sa;Password=practice-only"},
        vba=vba_project({"MonthEnd": MACRO}),
        author=OWNER,
    )
    write_workbook(place / f"{name}.xlsm", plan)


def _lock(path: Path) -> None:
    """The owner file that Excel leaves beside an open workbook."""
    name = OWNER.encode("cp1252")
    data = bytes([len(name)]) + name.ljust(54, b" ") + OWNER.encode("utf-16-le").ljust(110, b"\0")
    path.with_name(f"~${path.name}").write_bytes(data)


PRACTICE = Finance()
