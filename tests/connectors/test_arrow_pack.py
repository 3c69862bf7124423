"""Arrays from lists of values: equal to what pyarrow makes, or refused."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.connectors._arrow_pack import pack, pack_decimal_texts

GOOD = [
    ([1, -1, 127], pa.int8()),
    ([2**63 - 1, -(2**63), None], pa.int64()),
    ([2**64 - 1, 0, None], pa.uint64()),
    ([1.5, float("inf"), None], pa.float64()),
    ([0.1, None], pa.float32()),
    ([True, False, None, True], pa.bool_()),
    (["a", "", None, "ü€😀", "x" * 1000], pa.string()),
    ([None, None], pa.string()),
    ([], pa.string()),
    ([b"\x00\xff", b"", None], pa.binary()),
    ([Decimal("1.50"), Decimal("-0.01"), None, Decimal("1E+2")], pa.decimal128(12, 2)),
    ([date(1, 1, 1), date(9999, 12, 31), None], pa.date32()),
    ([datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999), None], pa.timestamp("us")),  # noqa: DTZ001
]
BAD = [
    ([128], pa.int8()),
    ([-1], pa.uint32()),
    ([2**64], pa.uint64()),
    ([1.0], pa.int32()),
    (["1"], pa.int32()),
    ([True], pa.int32()),
    ([1], pa.bool_()),
    ([1], pa.string()),
    (["\ud800"], pa.string()),
    ([Decimal("1.005")], pa.decimal128(12, 2)),
    ([Decimal("NaN")], pa.decimal128(12, 2)),
    ([datetime(2024, 1, 1)], pa.date32()),  # noqa: DTZ001
    ([datetime(2024, 1, 1, tzinfo=UTC)], pa.timestamp("us")),
]


@pytest.mark.parametrize(("values", "type_"), GOOD)
def test_same_as_pyarrow(values: list, type_: pa.DataType) -> None:
    made = pack(tuple(values), type_)
    assert made is not None
    made.validate(full=True)
    assert made.type == type_
    assert made.to_pylist() == pa.array(values, type=type_).to_pylist()


@pytest.mark.parametrize(("values", "type_"), BAD)
def test_what_would_be_changed_is_refused(values: list, type_: pa.DataType) -> None:
    assert pack([*values, None], type_) is None


@given(st.data(), st.integers(1, 18), st.integers(0, 18))
def test_decimal_texts_are_what_decimal_says(data: st.DataObject, precision: int, scale: int) -> None:
    scale = min(scale, precision)
    units = st.integers(-(10**precision) + 1, 10**precision - 1)
    numbers = data.draw(st.lists(st.one_of(st.none(), units), min_size=1, max_size=30))
    exact = [None if n is None else Decimal(n).scaleb(-scale) for n in numbers]
    texts = [None if n is None else f"{n:.{scale}f}" for n in exact]
    type_ = pa.decimal128(precision, scale)
    made = pack_decimal_texts(texts, type_)
    assert made is None or made.to_pylist() == pa.array(exact, type=type_).to_pylist()
    # 20 characters are left to the careful path
    if scale < 18 and all(t is None or len(t) <= 19 for t in texts):
        assert made is not None
        made.validate(full=True)


@given(st.lists(st.text("0123456789.-+e \n\u0661", max_size=6), min_size=1, max_size=4))
def test_decimal_texts_spelled_otherwise_are_refused_or_right(texts: list[str]) -> None:
    made = pack_decimal_texts(texts, pa.decimal128(12, 2))
    if made is not None:
        assert made.to_pylist() == [Decimal(t) for t in texts]


@given(st.lists(st.one_of(st.none(), st.datetimes()), min_size=1, max_size=30))
def test_timestamps_are_exact(values: list[datetime | None]) -> None:
    made = pack(values, pa.timestamp("us"))
    assert made is not None
    assert made.to_pylist() == values


def test_pandas_is_not_imported() -> None:
    code = (
        "import sys, datetime, pyarrow as pa; from weighbridge.connectors._sql_types import column_array;"
        "[column_array(v, t, 'c') for v, t in (((1, None), pa.int32()), (('a',), pa.string()), (('1.5',), "
        "pa.decimal128(5, 2)), ((datetime.date(2024, 1, 1),), pa.date32()), ((1, 7), pa.bool_()))];"
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
