"""Build Arrow arrays from lists of Python values through NumPy buffers.

`pyarrow.array` would do, but its first call imports pandas where that is installed: two seconds and 60 MB for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import repeat
from operator import attrgetter, is_not, sub
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

__all__ = ["pack", "pack_decimal_texts"]

EPOCH_DAY = date(1970, 1, 1)
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - what has a zone is for the careful path
NEWLINE, MINUS, POINT, ZERO = b"\n-.0"
MOST_DIGITS = 19
"""Characters of a number of 18 digits with a sign or a point: with one more it might not fit 64 bits."""


def pack_decimal_texts(values: Sequence[str | None], type_: pa.DataType) -> pa.Array | None:
    """Numbers spelled with exactly the type's digits behind the point, as servers spell them; None for all others.

    Arrow's own cast does it too, but loads the library's compute functions: 10 MB for one conversion.
    """
    if not pt.is_decimal128(type_) or not 0 <= type_.scale <= type_.precision <= 18:
        return None
    count, scale = len(values), type_.scale
    filler = f"0.{'0' * scale}" if scale else "0"
    try:
        joined = ("\n".join([filler if v is None else v for v in values]) + "\n").encode("ascii")
    except (TypeError, ValueError):
        return None
    text = np.frombuffer(joined, dtype=np.uint8)
    ends = np.flatnonzero(text == NEWLINE)
    if len(ends) != count or joined.translate(None, b"0123456789-.\n"):
        return None
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts
    plain = (
        lengths.min() > scale
        and lengths.max() <= MOST_DIGITS
        and np.count_nonzero(text == MINUS) == np.count_nonzero(text[starts] == MINUS)
        and np.count_nonzero(text == POINT) == (count if scale else 0)
        and (not scale or bool((text[ends - scale - 1] == POINT).all()))
        # a digit must stand before every end, and somebody who writes none before the point is not read here
        and bool((text[ends - 1] >= ZERO).all())
        and (not scale or bool((text[ends - scale - 2] >= ZERO).all()))
    )
    if not plain:
        return None
    made = np.empty((count, 2), dtype=np.int64)
    made[:, 0] = np.fromstring(joined.replace(b".", b"").decode("ascii"), dtype=np.int64, sep="\n")
    if int(np.abs(made[:, 0]).max(initial=0)) >= 10**type_.precision:
        return None
    made[:, 1] = made[:, 0] >> 63
    return _array(type_, count, _bitmap(values) if None in values else None, pa.py_buffer(made))


def pack(values: Sequence[Any], type_: pa.DataType) -> pa.Array | None:
    """The values as an array of exactly this type; None where any of them is of another kind or does not fit."""
    for test, kind, filler, build in _BUILDERS:
        if test(type_):
            kinds = set(map(type, values))
            validity = None
            if type(None) in kinds:
                kinds.discard(type(None))
                if not kinds:
                    return pa.nulls(len(values), type_)
                validity = _bitmap(values)
                values = [filler if v is None else v for v in values]
            if not kinds <= {kind}:
                return None
            try:
                return build(values, type_, validity)
            except (OverflowError, TypeError, ValueError, pa.ArrowException):
                return None
    return None


def _bitmap(values: Sequence[Any]) -> pa.Buffer:
    present = np.fromiter(map(is_not, values, repeat(None)), dtype=bool, count=len(values))
    return pa.py_buffer(np.packbits(present, bitorder="little"))


def _array(type_: pa.DataType, count: int, *buffers: Any) -> pa.Array:
    return pa.Array.from_buffers(type_, count, list(buffers))


def _integers(values: Sequence[int], type_: pa.DataType, validity: Any) -> pa.Array:
    wanted = np.dtype(type_.to_pandas_dtype())
    wide = np.fromiter(values, dtype=np.uint64 if wanted == np.uint64 else np.int64, count=len(values))
    if wanted.itemsize < 8 and len(wide):
        bounds = np.iinfo(wanted)
        if wide.min() < bounds.min or wide.max() > bounds.max:
            raise OverflowError
    return _array(type_, len(values), validity, pa.py_buffer(wide.astype(wanted, copy=False)))


def _floats(values: Sequence[float], type_: pa.DataType, validity: Any) -> pa.Array:
    made = np.fromiter(values, dtype=np.float64, count=len(values)).astype(type_.to_pandas_dtype(), copy=False)
    return _array(type_, len(values), validity, pa.py_buffer(made))


def _booleans(values: Sequence[bool], type_: pa.DataType, validity: Any) -> pa.Array:
    made = np.fromiter(values, dtype=bool, count=len(values))
    return _array(type_, len(values), validity, pa.py_buffer(np.packbits(made, bitorder="little")))


def _strings(values: Sequence[str], type_: pa.DataType, validity: Any) -> pa.Array:
    joined = "".join(values)
    if joined.isascii():
        lengths, data = map(len, values), joined.encode("ascii")
    else:
        encoded = [v.encode() for v in values]  # a lone surrogate is a ValueError: it becomes a misfit
        lengths, data = map(len, encoded), b"".join(encoded)
    return _variable(type_, len(values), validity, lengths, data)


def _bytes(values: Sequence[bytes], type_: pa.DataType, validity: Any) -> pa.Array:
    return _variable(type_, len(values), validity, map(len, values), b"".join(values))


def _variable(type_: pa.DataType, count: int, validity: Any, lengths: Any, data: bytes) -> pa.Array:
    offsets = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(np.fromiter(lengths, dtype=np.int64, count=count), out=offsets[1:])
    if offsets[-1] > np.iinfo(np.int32).max:
        raise OverflowError
    return _array(type_, count, validity, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data))


def _days(values: Sequence[date]) -> np.ndarray:
    # a pass an attribute is ten times faster than numpy's own reading of date objects
    return np.fromiter(map(date.toordinal, values), dtype=np.int64, count=len(values)) - EPOCH_DAY.toordinal()


def _part(values: Sequence[timedelta], name: str) -> np.ndarray:
    return np.fromiter(map(attrgetter(name), values), dtype=np.int64, count=len(values))


def _timestamps(values: Sequence[datetime], type_: pa.DataType, validity: Any) -> pa.Array:
    since = list(map(sub, values, repeat(EPOCH)))  # a zone is a TypeError
    made = (_part(since, "days") * 86_400 + _part(since, "seconds")) * 1_000_000 + _part(since, "microseconds")
    return _array(type_, len(values), validity, pa.py_buffer(made))


def _dates(values: Sequence[date], type_: pa.DataType, validity: Any) -> pa.Array:
    return _array(type_, len(values), validity, pa.py_buffer(_days(values).astype(np.int32)))


def _decimals(values: Sequence[Decimal], type_: pa.DataType, validity: Any) -> pa.Array:
    return _strings(list(map(str, values)), pa.string(), validity).cast(type_)


_BUILDERS: tuple[tuple[Callable[[Any], bool], type, Any, Callable[..., pa.Array]], ...] = (
    (pt.is_integer, int, 0, _integers),
    (pt.is_string, str, "", _strings),
    (pt.is_floating, float, 0.0, _floats),
    (pt.is_boolean, bool, False, _booleans),
    (pt.is_decimal, Decimal, Decimal(0), _decimals),
    (pt.is_date32, date, EPOCH_DAY, _dates),
    (lambda t: pt.is_timestamp(t) and t.unit == "us", datetime, EPOCH, _timestamps),
    (pt.is_binary, bytes, b"", _bytes),
)
