"""The practice ERP: what is planted is there, in the numbers of the manifest; its twin is clean."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import weighbridge.contracts as contracts_folder
from weighbridge.connectors.errors import MissingObjectError
from weighbridge.connectors.odata import ODataConnector
from weighbridge.contracts.loader import load
from weighbridge.contracts.rules import compile_rules
from weighbridge.sandbox.odata.data import PLANTED, customers_of
from weighbridge.sandbox.odata.practice import PRACTICE

ROWS = 300
KNOWN = {"open", "confirmed", "shipped", "invoiced", "cancelled"}


def found(clean: bool, folder: Path) -> tuple[dict[str, int], dict[str, Any], set[str]]:
    running = PRACTICE.start(folder, clean=clean, seed=7, rows=ROWS)
    try:
        with ODataConnector(running.options) as c:
            orders = [r for p in c.read("A_SalesOrder") for r in p.batch.to_pylist()]
            items = [r for p in c.read("A_SalesOrderItem") for r in p.batch.to_pylist()]
            columns = {column.name for column in c.discover("A_SalesOrder").columns}
            assert c.count("A_SalesOrder").value == len(orders) == ROWS
            limits = {one.name: one.cap for one in c.limits()}
            if not clean:
                with pytest.raises(MissingObjectError, match="SalesDistrict"):
                    next(c.read("A_SalesOrder", columns=["SalesDistrict"]))
    finally:
        running.stop()
    customers = {f"C-{n:06d}" for n in range(1, customers_of(ROWS) + 1)}
    numbers = {r["SalesOrder"] for r in orders}
    references = Counter(r["PurchaseOrderByCustomer"] for r in orders)
    counted = {
        "orphan_customer": sum(r["SoldToParty"] not in customers for r in orders),
        "negative_amount": sum(r["TotalNetAmount"] < 0 for r in orders),
        "unknown_status": sum(r["OverallSDProcessStatus"] not in KNOWN for r in orders),
        "missing_delivery_date": sum(r["RequestedDeliveryDate"] is None for r in orders),
        "duplicate_reference": sum(n - 1 for n in references.values()),
        "wrong_gross": sum(r["TotalGrossAmount"] != r["TotalNetAmount"] + r["TotalTaxAmount"] for r in orders),
        "orphan_item": sum(r["SalesOrder"] not in numbers for r in items),
        "zero_quantity": sum(r["RequestedQuantity"] <= 0 for r in items),
    }
    return counted, {**running.truth, "cap": limits["requests_per_window"]}, columns


def test_the_defective_variant(tmp_path: Path) -> None:
    counted, truth, columns = found(False, tmp_path)
    assert counted == PLANTED
    assert "SalesDistrict" not in columns
    assert truth["users"] == 200
    assert truth["cap"] == 250


def test_the_clean_twin(tmp_path: Path) -> None:
    counted, truth, columns = found(True, tmp_path)
    assert counted == dict.fromkeys(PLANTED, 0)
    assert "SalesDistrict" in columns
    assert truth["users"] * 0.8 > 500 * 1.2


def test_the_manifest_names_rules_of_the_contract() -> None:
    folder = Path(str(contracts_folder.__file__)).parent / "practice"
    made = load(folder / "erp.odcs.yaml")
    ids = {rule.id for thing in made.objects for rule in compile_rules(made, thing)}
    assert {d.rule for d in PRACTICE.defects if d.rule} <= ids
    assert {d.point for d in PRACTICE.defects} <= {f"erp.{thing.name}" for thing in made.objects}
