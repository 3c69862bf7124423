"""Turns rows of a sheet into Arrow columns: the type most values have, everything else kept as a misfit.

A sheet has no column types, only cells. A column takes the type of most of its filled cells (texts win a tie); a
cell of another type, an error, a formula that was never calculated, a number with more digits than a double holds:
each is null in the batch and stands among the misfits as it came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from weighbridge.connectors._workbook_book import within
from weighbridge.connectors._workbook_scan import COLUMNS, column_letters
from weighbridge.connectors.base import Misfit

if TYPE_CHECKING:
    import pyarrow as pa

    from weighbridge.connectors._workbook_table import Batch, Region

__all__ = ["Profile", "column_type", "convert", "fitted"]

EXACT = 2**53
_MIDNIGHT = time()
_KIND = {str: "text", float: "number", int: "number", bool: "boolean", date: "date", datetime: "date"}
_KIND |= {time: "time", timedelta: "duration"}


@dataclass(slots=True)
class Profile:
    """What was seen in one column, over all files."""

    types: Counter[type] = field(default_factory=Counter)
    whole: bool = True
    """All numbers are whole and fit a double exactly."""
    long_digits: int = 0
    """Most digits of a number that a double cannot hold; 0 where there is none."""
    timed: bool = False
    """A cell format of this column shows a time of day."""
    marked: int = 0
    """Error cells, formulas never calculated, dates that the calendar does not have."""
    blank: int = 0

    def add(self, values: Sequence[Any], *, keep: bool) -> pa.Array | None:
        """Count the values of a batch; with `keep` also gives them as Arrow where they are all of one kind."""
        seen = set(map(type, values))
        # counting is slower than looking, and most columns hold one type only
        types = Counter({seen.pop(): len(values)}) if len(seen) == 1 else Counter(map(type, values))
        blank = values.count("") if str in types else 0
        if blank:
            self.blank += blank
            types[str] -= blank
        self.types.update(types)
        kinds = frozenset(type_ for type_, count in types.items() if count > 0)
        array = _pure(values, kinds, blank) if keep else None
        if self.whole and float in kinds:
            if array is not None:
                numbers = array.drop_null().to_numpy()
                self.whole = bool((numbers == np.rint(numbers)).all()) and float(np.abs(numbers).max()) <= EXACT
            else:
                own = [v for v in values if type(v) is float]
                self.whole = all(map(float.is_integer, own)) and max(map(abs, own)) <= EXACT
        return array

    @property
    def empty(self) -> bool:
        """Nothing at all was seen in the column."""
        return self.marked == 0 and not any(count > 0 for count in self.types.values())

    def kinds(self) -> dict[str, int]:
        """Filled cells by kind."""
        out: Counter[str] = Counter()
        for type_, count in self.types.items():
            if count > 0:
                out[_KIND.get(type_, "text")] += count
        return dict(out)


def _pure(values: Sequence[Any], kinds: frozenset[type], blank: int) -> pa.Array | None:
    """The values as one Arrow column where they are all of one kind, else None."""
    import pyarrow as pa

    if not kinds:
        return pa.nulls(len(values))
    if kinds == {date, datetime}:
        return pa.array([None if v == "" else _at_midnight(v) for v in values], pa.timestamp("us"))
    word = _PURE.get(next(iter(kinds))) if len(kinds) == 1 else None
    if word is None:
        return None
    return pa.array([None if v == "" else v for v in values] if blank else values, word)


_PURE = {float: "float64", str: "string", bool: "bool", date: "date32", datetime: "timestamp[us]"}


def fitted(array: pa.Array, type_: pa.DataType) -> pa.Array | None:
    """A column of one kind in the type its whole column got; None where values would be lost."""
    import pyarrow as pa

    if array.type == type_:
        return array
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), type_)
    widens = pa.types.is_floating(array.type) and pa.types.is_int64(type_)
    if widens or (pa.types.is_date(array.type) and pa.types.is_timestamp(type_)):
        return array.cast(type_)
    return None


def column_type(profile: Profile) -> tuple[pa.DataType, str]:
    """The Arrow type of a column and Excel's word for it."""
    import pyarrow as pa

    kinds = profile.kinds()
    if not kinds:
        return pa.string(), "empty"
    most = max(kinds, key=lambda k: (kinds[k], k == "text"))
    if most == "number":
        if profile.whole and profile.long_digits == 0:
            return pa.int64(), "number"
        if profile.long_digits and profile.long_digits <= 38 and profile.whole:
            return pa.decimal128(38, 0), "number"
        return pa.float64(), "number"
    if most == "date":
        timed = profile.timed or profile.types.get(datetime, 0) > 0
        return (pa.timestamp("us"), "datetime") if timed else (pa.date32(), "date")
    if most == "boolean":
        return pa.bool_(), "boolean"
    if most == "time":
        return pa.time64("us"), "time"
    if most == "duration":
        return pa.duration("us"), "duration"
    return pa.string(), "text"


def convert(
    batch: Batch, region: Region, columns: Sequence[tuple[int, str, pa.DataType]]
) -> tuple[list[pa.Array], list[Misfit]]:
    """The columns (offset in the row, name, type) of a batch, and what did not fit."""
    misfits: list[Misfit] = []
    arrays: list[pa.Array] = []
    special = _special(batch, region)
    turned = list(zip(*batch.rows, strict=True))
    for offset, name, type_ in columns:
        values: Sequence[Any] = turned[offset] if turned else ()
        own = special.get(region.left + offset, {})
        arrays.append(_array(values, name, type_, own, misfits))
    misfits.sort(key=lambda m: m.row)
    return arrays, misfits


def _special(batch: Batch, region: Region) -> dict[int, dict[int, tuple[str, str]]]:
    """column -> {row in the batch -> (raw, reason)} of the cells that calamine's values do not show rightly."""
    scan = region.book.scan(region.sheet)
    if not batch.numbers:
        return {}
    first, last = batch.numbers[0], batch.numbers[-1]
    place_of: dict[int, int] | None = None
    out: dict[int, dict[int, tuple[str, str]]] = {}
    for marks, reason in (
        (scan.errors, "error cell"),
        (scan.uncached, "formula never calculated"),
        (scan.long_numbers, "long number"),
        (scan.no_dates, "date that the calendar does not have"),
    ):
        if not len(marks):
            continue
        inside = within(marks.packed, first, last, region.left, region.right)
        if not len(inside):
            continue
        if place_of is None:
            place_of = {number: i for i, number in enumerate(batch.numbers)}
        for packed in inside.tolist():
            row, column = packed // COLUMNS, packed % COLUMNS + 1
            at = place_of.get(row)
            if at is not None:
                raw = marks.raw.get(packed, "#ERROR" if reason == "error cell" else "=...")
                where = f"{reason} in {region.sheet.name}!{column_letters(column)}{row}"
                out.setdefault(column, {})[at] = (raw, where)
    return out


def _array(
    values: Sequence[Any],
    name: str,
    type_: pa.DataType,
    special: dict[int, tuple[str, str]],
    misfits: list[Misfit],
) -> pa.Array:
    import pyarrow as pa

    kinds = set(map(type, values))
    if special:
        values = list(values)
        for at, (raw, reason) in special.items():
            values[at], fits = _mended(raw, reason, type_)
            if not fits:
                misfits.append(Misfit(at, name, raw, reason))
        kinds = set(map(type, values))
    accepted, change = _ACCEPT[_family(type_)]
    if kinds <= accepted and change is None and "" not in values:
        plain: Sequence[Any] = values
    else:
        plain = _clean(values, name, type_, accepted, change, misfits)
    if pa.types.is_int64(type_):
        return pa.array(plain, pa.float64()).cast(type_)
    return pa.array(plain, type_)


def _mended(raw: str, reason: str, type_: pa.DataType) -> tuple[Any, bool]:
    """The value to put in place of calamine's, and whether it fits the column."""
    import decimal

    import pyarrow as pa

    if not reason.startswith("long number"):
        return None, False
    if pa.types.is_decimal(type_):
        return decimal.Decimal(raw), True
    if pa.types.is_floating(type_) and ("E" in raw or int(raw) == int(float(raw))):
        return float(raw), True
    return None, False


def _clean(
    values: Sequence[Any],
    name: str,
    type_: pa.DataType,
    accepted: frozenset[type],
    change: Any,
    misfits: list[Misfit],
) -> list[Any]:
    import pyarrow as pa

    out: list[Any] = [None] * len(values)
    whole = pa.types.is_int64(type_)
    for at, value in enumerate(values):
        if value is None or value == "":
            continue
        if type(value) in accepted and not (whole and isinstance(value, float) and not value.is_integer()):
            out[at] = value if change is None else change(value)
        else:
            misfits.append(
                Misfit(at, name, shown(value), f"{_KIND.get(type(value), 'value')} in a {_family(type_)} column")
            )
    return out


def shown(value: Any) -> str:
    """A value as the sheet shows it, near enough to find it there."""
    if type(value) is float:
        return str(int(value)) if value.is_integer() and abs(value) < 1e16 else repr(value)
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    return str(value)


def _family(type_: pa.DataType) -> str:
    import pyarrow as pa

    types = pa.types
    if types.is_decimal(type_):
        return "decimal"
    if types.is_int64(type_) or types.is_floating(type_):
        return "number"
    if types.is_timestamp(type_):
        return "datetime"
    if types.is_date(type_):
        return "date"
    if types.is_boolean(type_):
        return "boolean"
    if types.is_time(type_):
        return "time"
    return "duration" if types.is_duration(type_) else "text"


def _at_midnight(value: date) -> datetime:
    return value if isinstance(value, datetime) else datetime.combine(value, _MIDNIGHT)


def _decimal(value: Any) -> Any:
    import decimal

    return value if isinstance(value, decimal.Decimal) else decimal.Decimal(int(value))


def _accept() -> dict[str, tuple[frozenset[type], Any]]:
    import decimal

    return {
        "number": (frozenset({float, int}), None),
        "decimal": (frozenset({float, int, decimal.Decimal}), _decimal),
        "text": (frozenset({str}), None),
        "boolean": (frozenset({bool}), None),
        "date": (frozenset({date}), None),
        "datetime": (frozenset({date, datetime}), _at_midnight),
        "time": (frozenset({time}), None),
        "duration": (frozenset({timedelta}), None),
    }


_ACCEPT = _accept()
