"""OData's primitive types as Arrow types, and JSON values as Arrow arrays, without loss.

What does not fit its declared type becomes null and is kept raw as a misfit. Whole columns are converted at once;
only a column that refuses is looked at value by value.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute

from weighbridge.connectors.base import Misfit

if TYPE_CHECKING:
    from weighbridge.connectors._csdl import CsdlProperty

__all__ = ["MISSING", "Number", "array_of", "arrow_type", "convert_one", "literal"]

pc: Any = pyarrow.compute
"""Its functions are made at run time, so no type checker sees them."""
OPEN_SCALE = 10
"""Decimals whose metadata name no scale: decimal128(38, 10); a finer value is a misfit, never rounded."""
STRICT_TEXT = frozenset({"Edm.String", "Edm.Guid", "char", "text", "html", "selection"})
MAX_RAW = 200
"""Characters of a misfit kept."""
MISSING: Any = type("Missing", (), {"__repr__": lambda _self: "<missing>"})()


class Number(str):
    """A JSON number with a point or exponent, kept as its digits: no binary float ever stands between."""

    __slots__ = ()


_DATE_V2 = re.compile(r"^/Date\((-?\d+)([+-]\d{1,4})?\)/$")
_DURATION = re.compile(r"^(-)?P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.(\d+))?S)?)?$")
_MOMENT = re.compile(
    r"^(-?\d{4,})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,12}))?)?(Z|[+-]\d\d:\d\d)?$", re.IGNORECASE
)
_TEXTS: frozenset[type] = frozenset({str, Number})
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the count starts there in either reading

_SIMPLE: dict[str, pa.DataType] = {
    "Edm.String": pa.string(),
    "Edm.Guid": pa.string(),
    "Edm.Boolean": pa.bool_(),
    "Edm.Byte": pa.uint8(),
    "Edm.SByte": pa.int8(),
    "Edm.Int16": pa.int16(),
    "Edm.Int32": pa.int32(),
    "Edm.Int64": pa.int64(),
    "Edm.Single": pa.float32(),
    "Edm.Double": pa.float64(),
    "Edm.Date": pa.date32(),
    "Edm.DateTime": pa.timestamp("us"),
    "Edm.TimeOfDay": pa.time64("us"),
    "Edm.Time": pa.time64("us"),
    "Edm.Duration": pa.duration("us"),
    "Edm.Binary": pa.binary(),
}


def arrow_type(prop: CsdlProperty) -> pa.DataType:
    """The Arrow type that holds every value of the property: enumerations, complex values and collections are text."""
    if prop.collection or prop.complex or prop.enum is not None:
        return pa.string()
    if prop.type == "Edm.Decimal":
        return _decimal(prop)
    if prop.type == "Edm.DateTimeOffset":
        return pa.timestamp("us" if (prop.precision or 0) <= 6 else "ns", tz="UTC")
    return _SIMPLE.get(prop.type, pa.string())


def _decimal(prop: CsdlProperty) -> pa.DataType:
    if isinstance(prop.scale, int):
        scale = min(prop.scale, 38)
    elif prop.scale is None and prop.precision is not None:
        scale = 0  # CSDL 4.01, 7.2.4: no Scale means 0
    else:
        return pa.decimal128(38, OPEN_SCALE)
    return pa.decimal128(min(max(prop.precision or 38, scale), 38), scale)


def array_of(
    values: Sequence[Any], type_: pa.DataType, *, column: str, native: str, empty_is_null: bool = False
) -> tuple[pa.Array, list[Misfit]]:
    """One column: the array and the values that did not fit. `MISSING` marks a field the row lacked."""
    if empty_is_null:
        values = [None if v == "" else v for v in values]
    try:
        array = _fast(values, type_)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        array = None
    if array is not None:
        return array, []
    good: list[Any] = []
    misfits: list[Misfit] = []
    for row, value in enumerate(values):
        if value is None:
            good.append(None)
            continue
        try:
            good.append(convert_one(value, type_, native))
        except (ValueError, TypeError, OverflowError, InvalidOperation, pa.ArrowException) as error:
            good.append(None)
            reason = "the field is missing from the answer" if value is MISSING else f"not {native}: {error}"
            misfits.append(Misfit(row, column, "" if value is MISSING else str(value)[:MAX_RAW], reason[:MAX_RAW]))
    return pa.array(good, type_), misfits


def _fast(values: Sequence[Any], type_: pa.DataType) -> pa.Array | None:
    """The whole column at once, or None where only the slow way is safe. Arrow's own parser refuses what would lose."""
    if pa.types.is_boolean(type_):
        return pa.array(values, type_)
    kinds = set(map(type, values)) - {type(None)}
    if pa.types.is_string(type_):
        return pa.array(values, type_) if Number not in kinds else None
    if pa.types.is_floating(type_):
        floats = values if kinds <= {float} else [None if v is None else float(v) for v in values]
        return pa.array(floats, pa.float64()).cast(type_, safe=False)
    if pa.types.is_integer(type_):
        if kinds <= {int}:
            return pa.array(values, type_)
        return pa.array(values, pa.string()).cast(type_) if kinds <= _TEXTS else None
    if pa.types.is_decimal(type_):
        if kinds <= _TEXTS:
            return pa.array(values, pa.string()).cast(type_)
        if kinds <= _TEXTS | {int}:
            return pa.array([str(v) if type(v) is int else v for v in values], pa.string()).cast(type_)
        return None
    if pa.types.is_timestamp(type_) and kinds <= {str}:
        return pa.array(values, pa.string()).cast(type_)  # with a zone Arrow asks for an offset in each value
    if pa.types.is_date32(type_) and kinds <= {str}:
        strings = pa.array(values, pa.string())
        if pc.all(pc.equal(pc.utf8_length(strings), 10)).as_py() is False:
            return None  # Arrow would take a whole timestamp and cut its time
        return strings.cast(type_)
    return None


def convert_one(value: Any, type_: pa.DataType, native: str) -> Any:
    """One JSON value as the Python value Arrow takes; raises ValueError with the reason."""
    if value is MISSING:
        raise ValueError("missing")
    for applies, convert in _CONVERTERS:
        if applies(type_):
            result = convert(value, type_, native)
            pa.scalar(result, type_)
            return result
    raise ValueError(f"no reading for {type_}")


def _text(value: Any, _type: pa.DataType, native: str) -> str:
    if isinstance(value, str) and not (isinstance(value, Number) and native in STRICT_TEXT):
        return str(value)
    if native in STRICT_TEXT:
        kind = "number" if isinstance(value, Number) else type(value).__name__
        raise TypeError(f"a JSON {kind} where text was declared")
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _boolean(value: Any, _type: pa.DataType, _native: str) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("neither true nor false")


def _integer(value: Any, _type: pa.DataType, _native: str) -> int:
    if isinstance(value, bool):
        raise TypeError("true or false where a number was declared")
    number = Decimal(str(value))
    if number != number.to_integral_value():
        raise ValueError("not whole")
    return int(number)


def _float(value: Any, _type: pa.DataType, _native: str) -> float:
    if isinstance(value, bool):
        raise TypeError("true or false where a number was declared")
    return float(value)


def _exact(value: Any, type_: pa.DataType, _native: str) -> Decimal:
    if isinstance(value, bool):
        raise TypeError("true or false where a number was declared")
    number = Decimal(str(value))
    if not number.is_finite():
        raise ValueError("not a finite number")
    sign, digits, exponent = number.as_tuple()
    surplus = -int(exponent) - type_.scale
    if surplus <= 0:
        return number
    if any(digits[-surplus:]):
        raise ValueError(f"more than {type_.scale} decimals")
    return Decimal((sign, digits[:-surplus] or (0,), -type_.scale))


def _day(value: Any, _type: pa.DataType, _native: str) -> date:
    return date.fromisoformat(str(value))


def _moment(value: Any, type_: pa.DataType, _native: str) -> Any:
    """Units since the epoch of the type, as an int: years beyond Python's datetime then refuse as misfits."""
    per_second = {"us": 1_000_000, "ns": 1_000_000_000}[type_.unit]
    found = _DATE_V2.match(str(value))
    if found:
        # The V2 offset only says how the sender displays the instant; the milliseconds are UTC already.
        return int(found[1]) * per_second // 1000
    found = _MOMENT.match(str(value))
    if not found:
        raise ValueError("not a date and time")
    if type_.tz and not found[8]:
        raise ValueError("no zone")
    if not type_.tz and found[8]:
        raise ValueError("a zone where none was declared")
    try:
        moment = datetime(  # noqa: DTZ001 - the zone is applied below, as an offset
            int(found[1]), int(found[2]), int(found[3]), int(found[4]), int(found[5]), int(found[6] or 0)
        )
    except ValueError as error:
        raise ValueError(f"not a date and time: {error}") from None
    seconds = (moment - _EPOCH) // timedelta(seconds=1) - _offset(found[8])
    fraction = (found[7] or "").ljust(12, "0")
    kept = 6 if type_.unit == "us" else 9
    if fraction[kept:].strip("0"):
        raise ValueError(f"finer than {type_.unit}")
    return seconds * per_second + int(fraction[:kept])


def _offset(zone: str | None) -> int:
    if not zone or zone in "Zz":
        return 0
    sign = -1 if zone[0] == "-" else 1
    return sign * (int(zone[1:3]) * 3600 + int(zone[4:6]) * 60)


def _span(value: Any) -> int:
    found = _DURATION.match(str(value))
    if not found or str(value) in {"P", "-P", "PT"}:
        raise ValueError("not a duration")
    fraction = (found[6] or "").ljust(6, "0")
    if fraction[6:].strip("0"):
        raise ValueError("finer than us")
    seconds = int(found[2] or 0) * 86400 + int(found[3] or 0) * 3600 + int(found[4] or 0) * 60 + int(found[5] or 0)
    micro = seconds * 1_000_000 + int(fraction[:6])
    return -micro if found[1] else micro


def _clock(value: Any, _type: pa.DataType, native: str) -> Any:
    if native == "Edm.Time":
        micro = _span(value)
        if not 0 <= micro < 86_400_000_000:
            raise ValueError("not a time of day")
        return micro
    text = str(value)
    head, _, fraction = text.partition(".")
    if fraction[6:].strip("0"):
        raise ValueError("finer than us")
    return time.fromisoformat(head + ("." + fraction[:6].ljust(6, "0") if fraction else ""))


def _binary(value: Any, _type: pa.DataType, _native: str) -> bytes:
    text = str(value).replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None


_CONVERTERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[Any, pa.DataType, str], Any]], ...] = (
    (pa.types.is_string, _text),
    (pa.types.is_boolean, _boolean),
    (pa.types.is_integer, _integer),
    (pa.types.is_floating, _float),
    (pa.types.is_decimal, _exact),
    (pa.types.is_date32, _day),
    (pa.types.is_timestamp, _moment),
    (pa.types.is_duration, lambda v, _t, _n: _span(v)),
    (pa.types.is_time64, _clock),
    (pa.types.is_binary, _binary),
)


def literal(value: Any, native: str, version: int) -> str:
    """A value, raw from JSON or a Python one, as it is written in `$filter` and in key predicates."""
    return (_literal_v2 if version == 2 else _literal_v4)(value, native)


def _quoted(value: Any) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _iso(value: Any) -> str:
    if isinstance(value, datetime):
        moment = value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
        return moment.isoformat() + ("" if value.tzinfo is None else "Z")
    if isinstance(value, (date, time)):
        return value.isoformat()
    return str(value)


def _literal_v4(value: Any, native: str) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if native in {"Edm.String", "Edm.Untyped"} or not native.startswith("Edm."):
        return _quoted(value)
    if native == "Edm.Duration":
        return f"duration'{value}'"
    if native == "Edm.Binary":
        return f"binary'{value}'"
    return _iso(value)


def _literal_v2(value: Any, native: str) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if native in {"Edm.DateTime", "Edm.DateTimeOffset"}:
        return f"{native[4:].lower()}'{_iso_v2(value)}{'Z' if native.endswith('Offset') else ''}'"
    suffix = {"Edm.Int64": "L", "Edm.Decimal": "M", "Edm.Double": "D", "Edm.Single": "F"}.get(native)
    if suffix:
        return f"{value}{suffix}"
    if native in {"Edm.Int32", "Edm.Int16", "Edm.Byte", "Edm.SByte", "Edm.Boolean"}:
        return str(value)
    prefix = {"Edm.Guid": "guid", "Edm.Time": "time", "Edm.Binary": "binary"}.get(native, "")
    return prefix + _quoted(value)


def _iso_v2(value: Any) -> str:
    found = _DATE_V2.match(value) if isinstance(value, str) else None
    if found:
        return (_EPOCH + timedelta(milliseconds=int(found[1]))).isoformat()
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(timezone.utc).replace(tzinfo=None)  # noqa: UP017 - beside the naive form
    text = _iso(value)
    return text.removesuffix("Z").removesuffix("+00:00")
