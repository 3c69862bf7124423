"""The stand-in's data: entities with typed fields, rows kept in key order, every change numbered for delta links."""

from __future__ import annotations

import bisect
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, localcontext
from typing import Any

__all__ = ["BadRecord", "Entity", "Field", "Navigation", "Store", "Table"]

Key = tuple[Any, ...]
INTEGERS = {
    "Edm.Byte": (0, 255),
    "Edm.SByte": (-128, 127),
    "Edm.Int16": (-(2**15), 2**15 - 1),
    "Edm.Int32": (-(2**31), 2**31 - 1),
    "Edm.Int64": (-(2**63), 2**63 - 1),
}


class BadRecord(Exception):
    """A written value does not fit; `field` names it."""

    def __init__(self, field_: str, message: str) -> None:
        super().__init__(message)
        self.field = field_


@dataclass(frozen=True, slots=True)
class Field:
    """One property: an Edm type with its facets; `enum` holds the members of an enumeration."""

    name: str
    type: str
    nullable: bool = True
    max_length: int | None = None
    precision: int | None = None
    scale: int | None = None
    enum: tuple[str, ...] | None = None
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class Navigation:
    name: str
    target: str
    """Name of the target's entity set."""
    columns: tuple[tuple[str, str], ...]
    collection: bool = False


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity set and its type."""

    set_name: str
    type_name: str
    fields: tuple[Field, ...]
    keys: tuple[str, ...]
    navigation: tuple[Navigation, ...] = ()
    modified: str | None = None
    """The field that moves when a record changes; it feeds the ETag."""

    @property
    def names(self) -> frozenset[str]:
        return frozenset(f.name for f in self.fields)

    def field(self, name: str) -> Field | None:
        return next((f for f in self.fields if f.name == name), None)


class Table:
    """The rows of one entity set in key order."""

    def __init__(self, entity: Entity, rows: Sequence[dict[str, Any]], clock: Callable[[], datetime]) -> None:
        self.entity = entity
        self.clock = clock
        self.rows: dict[Key, dict[str, Any]] = {self.key(row): row for row in rows}
        if len(self.rows) != len(rows):
            raise ValueError(f"{entity.set_name}: two rows have the same key")
        self.order: list[Key] = sorted(self.rows)
        self.sequence = 0
        self.changed: dict[Key, int] = {}
        self.removed: dict[Key, int] = {}
        self.revision = 0

    def key(self, row: Mapping[str, Any]) -> Key:
        return tuple(row[name] for name in self.entity.keys)

    def etag(self, key: Key) -> str:
        moved = self.entity.modified and self.rows[key].get(self.entity.modified)
        stamp = moved.isoformat() if isinstance(moved, datetime) else ""
        return f"W/\"'{stamp}-{self.changed.get(key, 0)}'\""

    def behind(self, value: Any) -> list[Key]:
        """Keys greater than the single-part key `value`."""
        return self.order[bisect.bisect_right(self.order, (value,)) :]

    def put(self, row: dict[str, Any]) -> Key:
        """Insert or replace; moves the modified field and the change number."""
        key = self.key(row)
        if self.entity.modified:
            row[self.entity.modified] = self.clock()
        if key not in self.rows:
            bisect.insort(self.order, key)
        self.rows[key] = row
        self.removed.pop(key, None)
        self._number(self.changed, key)
        return key

    def remove(self, key: Key) -> None:
        del self.rows[key]
        self.order.pop(bisect.bisect_left(self.order, key))
        self.changed.pop(key, None)
        self._number(self.removed, key)

    def _number(self, book: dict[Key, int], key: Key) -> None:
        self.sequence += 1
        self.revision += 1
        book[key] = self.sequence

    def since(self, sequence: int) -> Iterator[tuple[Key, bool]]:
        """(key, removed) of what changed after `sequence`."""
        yield from ((key, False) for key, number in self.changed.items() if number > sequence)
        yield from ((key, True) for key, number in self.removed.items() if number > sequence)

    def snapshot(self) -> tuple[Any, ...]:
        return dict(self.rows), list(self.order), self.sequence, dict(self.changed), dict(self.removed)

    def restore(self, kept: tuple[Any, ...]) -> None:
        self.rows, self.order, self.sequence, self.changed, self.removed = kept
        self.revision += 1


@dataclass(slots=True)
class Store:
    """All tables of one service."""

    tables: dict[str, Table] = field(default_factory=dict)

    def add(self, table: Table) -> None:
        self.tables[table.entity.set_name] = table


def check_record(entity: Entity, record: Mapping[str, Any], *, partial: bool) -> dict[str, Any]:
    """The record as a row of Python values; raises BadRecord."""
    row: dict[str, Any] = {}
    for name, value in record.items():
        if "@" in name or name == "__metadata":
            continue
        declared = entity.field(name)
        if declared is None:
            raise BadRecord(name, f"The property '{name}' does not exist on type '{entity.type_name}'.")
        row[name] = _checked(declared, value)
    if not partial:
        for declared in entity.fields:
            if declared.name not in row:
                if not declared.nullable and declared.name != entity.modified:
                    raise BadRecord(declared.name, f"Property '{declared.name}' is required.")
                row[declared.name] = None
    return row


def _checked(declared: Field, value: Any) -> Any:
    if value is None:
        if not declared.nullable:
            raise BadRecord(declared.name, f"Property '{declared.name}' must not be null.")
        return None
    try:
        return _read(declared, value)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise BadRecord(
            declared.name, f"Cannot convert a value to '{declared.type}' for property '{declared.name}': {error}."
        ) from None


def _read(declared: Field, value: Any) -> Any:
    kind = declared.type
    if declared.enum is not None:
        if value not in declared.enum:
            raise ValueError(f"not one of {', '.join(declared.enum)}")
        return value
    if kind in INTEGERS:
        return _integer(kind, value)
    reader = _READERS.get(kind)
    if reader is None:
        raise ValueError("this type cannot be written here")
    return reader(declared, value)


def _integer(kind: str, value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError("a Boolean")
    low, high = INTEGERS[kind]
    number = int(value)
    if not low <= number <= high:
        raise ValueError("out of range")
    return number


def _string(declared: Field, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    value.encode()  # half a surrogate pair cannot be stored
    if declared.max_length is not None and len(value) > declared.max_length:
        raise ValueError(f"longer than {declared.max_length}")
    return value


def _boolean(_declared: Field, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("not true or false")
    return value


def _decimal(declared: Field, value: Any) -> Decimal:
    if isinstance(value, bool):
        raise TypeError("a Boolean")
    number = Decimal(str(value))
    if declared.scale is not None:
        with localcontext(prec=60):
            rounded = number.quantize(Decimal(1).scaleb(-declared.scale))
        if rounded != number:
            raise ValueError(f"more than {declared.scale} decimals")
        number = rounded
    if declared.precision is not None and len(number.as_tuple().digits) > declared.precision:
        raise ValueError(f"more than {declared.precision} digits")
    return number


def _moment(declared: Field, value: Any) -> datetime:
    found = re.match(r"^/Date\((-?\d+)(?:[+-]\d+)?\)/$", str(value))
    zoned = declared.type == "Edm.DateTimeOffset"
    if found:
        moment = datetime.fromtimestamp(int(found[1]) / 1000, UTC)
        return moment if zoned else moment.replace(tzinfo=None)
    moment = datetime.fromisoformat(str(value))
    if zoned and moment.tzinfo is None:
        raise ValueError("no zone")
    return moment


def _time(declared: Field, value: Any) -> time:
    if declared.type == "Edm.Time":
        from weighbridge.sandbox.odata.query import parse_literal

        return parse_literal(f"time'{value}'")
    return time.fromisoformat(str(value))


def _duration(_declared: Field, value: Any) -> timedelta:
    from weighbridge.sandbox.odata.query import parse_literal

    return parse_literal(f"duration'{value}'")


def _bytes(_declared: Field, value: Any) -> bytes:
    import base64

    return base64.b64decode(str(value).replace("-", "+").replace("_", "/"))


_READERS: dict[str, Callable[[Field, Any], Any]] = {
    "Edm.String": _string,
    "Edm.Guid": lambda _f, v: str(uuid.UUID(str(v))),
    "Edm.Boolean": _boolean,
    "Edm.Decimal": _decimal,
    "Edm.Double": lambda _f, v: float(v),
    "Edm.Single": lambda _f, v: float(v),
    "Edm.Date": lambda _f, v: date.fromisoformat(str(v)),
    "Edm.DateTime": _moment,
    "Edm.DateTimeOffset": _moment,
    "Edm.TimeOfDay": _time,
    "Edm.Time": _time,
    "Edm.Duration": _duration,
    "Edm.Binary": _bytes,
}
