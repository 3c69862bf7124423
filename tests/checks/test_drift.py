"""Stationary data stays quiet; what changed is found every time, with how likely chance is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from weighbridge.checks.base import NotRun
from weighbridge.checks.drift import DriftCheck, null_drift, quantile_drift
from weighbridge.checks.profile import profile
from weighbridge.connectors.base import Column, Page, TableSchema
from weighbridge.landing import land

ROWS = 10_000
POINT = SimpleNamespace(id="crm.Account", object=SimpleNamespace(name="Account"))
STATUS = ("open", "shipped", "invoiced", "cancelled")


class Memory:
    """A connector that reads one table from memory: all that landing needs of one."""

    session = SimpleNamespace(system="crm")

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.schema = TableSchema(tuple(Column(f.name, f.type, True, str(f.type)) for f in table.schema), ())

    def read(self, object, *, columns):
        for batch in self.table.select(columns).to_batches():
            yield Page(batch, (), 0.0, 1)


def draw(seed: int, rows: int = ROWS, *, nulls: float = 0.1, shift: float = 1.0, odd: float = 0.0) -> pa.Table:
    rng = np.random.default_rng(seed)
    status = rng.choice(STATUS, rows, p=(0.4, 0.3, 0.2, 0.1)).astype(object)
    status[rng.random(rows) < odd] = "unheard of"
    email = np.array([f"user{n}@example.com" for n in rng.integers(1, 10_000_000, rows)], dtype=object)
    email[rng.random(rows) < nulls] = None
    return pa.table(
        {
            "amount": rng.lognormal(4, 0.8, rows) * shift,
            "wait": rng.exponential(30, rows) * shift,
            "lines": rng.poisson(5, rows),
            "status": pa.array(status, pa.string()),
            "email": pa.array(email, pa.string()),
        }
    )


def profiled(folder: Path, table: pa.Table) -> dict:
    path = folder / "landing.duckdb"
    path.unlink(missing_ok=True)
    memory = Memory(table)
    landing = land(memory, "Account", path, schema=memory.schema, columns=table.column_names, keys=())  # type: ignore[arg-type]
    return {"profile": profile(landing), "schema": memory.schema}


def drift(old: dict, new: dict) -> set[str]:
    evidence = SimpleNamespace(profile=new["profile"], schema=new["schema"])
    columns = [{"name": c.name, "native": c.native} for c in old["schema"].columns]
    previous = {"profile": old["profile"], "schema": {"columns": columns}, "at": "2026-05-05T02:00:00+00:00"}
    context = SimpleNamespace(previous=previous)
    return {f.code for f in DriftCheck()(POINT, evidence, context)}  # type: ignore[arg-type]


@pytest.mark.slow
def test_stationary_data_stays_quiet_over_200_draws(tmp_path: Path) -> None:
    old = profiled(tmp_path, draw(1))
    alarms = sum(bool(drift(old, profiled(tmp_path, draw(seed)))) for seed in range(1_000, 1_200))
    assert alarms <= 1  # under 1 %


def test_stationary_data_stays_quiet(tmp_path: Path) -> None:
    old = profiled(tmp_path, draw(1))
    for seed in range(20, 28):
        assert drift(old, profiled(tmp_path, draw(seed))) == set()


@pytest.mark.parametrize("seed", range(5))
def test_a_null_rate_five_points_higher_is_found(tmp_path: Path, seed: int) -> None:
    assert "drift.nulls" in drift(profiled(tmp_path, draw(seed)), profiled(tmp_path, draw(seed + 50, nulls=0.15)))


@pytest.mark.parametrize("seed", range(5))
def test_a_mean_a_tenth_higher_is_found(tmp_path: Path, seed: int) -> None:
    found = drift(profiled(tmp_path, draw(seed)), profiled(tmp_path, draw(seed + 50, shift=1.1)))
    assert found == {"drift.distribution"}


def test_an_unheard_of_value_is_found(tmp_path: Path) -> None:
    assert drift(profiled(tmp_path, draw(1)), profiled(tmp_path, draw(2, odd=0.03))) == {"drift.frequencies"}


def test_volume_type_and_columns(tmp_path: Path) -> None:
    old = profiled(tmp_path, draw(1))
    assert "drift.volume" in drift(old, profiled(tmp_path, draw(2, rows=6_000)))
    gone = draw(2).drop_columns(["email"])
    assert drift(old, profiled(tmp_path, gone)) == {"drift.column_gone"}
    retyped = draw(2).set_column(2, "lines", pa.array(["5"] * ROWS))
    assert "drift.type_changed" in drift(old, profiled(tmp_path, retyped))
    assert "drift.column_new" in drift(profiled(tmp_path, gone), profiled(tmp_path, draw(3)))


def test_formats_are_shapes_and_no_text_is_kept(tmp_path: Path) -> None:
    old = profiled(tmp_path, draw(1))
    assert "example.com" not in str(old["profile"])
    moved = draw(2)
    other = pa.array([f"+49 30 {n:07d}" for n in range(ROWS)])
    assert {"drift.formats"} <= drift(old, profiled(tmp_path, moved.set_column(4, "email", other)))


def test_the_first_run_is_the_baseline() -> None:
    with pytest.raises(NotRun) as caught:
        list(DriftCheck()(POINT, SimpleNamespace(), SimpleNamespace(previous=None)))  # type: ignore[arg-type]
    assert caught.value.reason == "not_applicable"


def test_few_rows_say_nothing(tmp_path: Path) -> None:
    old = profiled(tmp_path, draw(1, rows=60))
    assert drift(old, profiled(tmp_path, draw(2, rows=60, shift=2.0))) == set()


def test_chance_is_a_probability() -> None:
    assert null_drift(0, 1000, 0, 1000) == 1.0
    assert null_drift(100, 1000, 300, 1000) < 1e-9
    distance, chance = quantile_drift([0.0] * 33, 500, [0.0] * 33, 500)
    assert (distance, chance) == (0.0, 1.0)


def test_an_empty_table_has_a_profile(tmp_path: Path) -> None:
    empty = profiled(tmp_path, draw(1).slice(0, 0))
    assert empty["profile"]["rows"] == 0
    assert "drift.volume" in drift(profiled(tmp_path, draw(1)), empty)
