"""What a new version of a contract does to those who rely on the old one: breaks consumers, breaks producers, is safe.

A promise that gets weaker breaks consumers: they may meet what they were told never comes. A demand that gets stronger
breaks producers: what they deliver today may no longer do. What does both is said twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from weighbridge.contracts.models import Contract

__all__ = ["KINDS", "Change", "diff"]

KINDS = ("consumers", "producers", "safe")
Row = Mapping[str, Any]
Effect = tuple[str, ...]

NOTHING: Effect = ("safe",)
CONSUMERS: Effect = ("consumers",)
PRODUCERS: Effect = ("producers",)
BOTH: Effect = ("consumers", "producers")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: where, what it does to whom, and both values."""

    path: str
    kind: str
    """`consumers`, `producers` or `safe`."""
    message: str
    old: Any = None
    new: Any = None


def diff(old: Contract, new: Contract) -> list[Change]:
    """Every difference between two versions, those that break first."""
    found = [*_top(old.raw, new.raw), *_objects(_named(old.raw, "schema"), _named(new.raw, "schema"))]
    return sorted(found, key=lambda c: (KINDS.index(c.kind), c.path))


# --- what a change of one value does ---------------------------------------------------------------------------------


def _never(_old: Any, _new: Any) -> Effect:
    return NOTHING


def _always(effect: Effect) -> Callable[[Any, Any], Effect]:
    return lambda _old, _new: effect


def _flag(old: Any, new: Any) -> Effect:
    """A promise that is on or off: dropped, it breaks consumers; made, it breaks producers."""
    if bool(old) == bool(new):
        return NOTHING
    return PRODUCERS if new else CONSUMERS


def _ceiling(old: Any, new: Any) -> Effect:
    """A largest value: absent is no ceiling; raised breaks consumers, lowered breaks producers."""
    return _ordered(old, new, higher=CONSUMERS)


def _floor(old: Any, new: Any) -> Effect:
    """A smallest value: absent is no floor; raised breaks producers, lowered breaks consumers."""
    return _ordered(old, new, higher=PRODUCERS)


def _ordered(old: Any, new: Any, *, higher: Effect) -> Effect:
    lower = PRODUCERS if higher == CONSUMERS else CONSUMERS
    if old is None:
        return PRODUCERS
    if new is None:
        return CONSUMERS
    try:
        return NOTHING if new == old else higher if new > old else lower
    except TypeError:
        return BOTH


def _domain(old: Any, new: Any) -> Effect:
    """A closed list of values: one more breaks consumers, one less breaks producers."""
    if old is None or new is None:
        return PRODUCERS if old is None else CONSUMERS
    before, after = {str(v) for v in old}, {str(v) for v in new}
    return (CONSUMERS if after - before else ()) + (PRODUCERS if before - after else ()) or NOTHING


def _multiple(old: Any, new: Any) -> Effect:
    if old is None or new is None:
        return PRODUCERS if old is None else CONSUMERS
    if old == new:
        return NOTHING
    if new and old and not old % new:
        return CONSUMERS
    return PRODUCERS if old and new and not new % old else BOTH


def _status(old: Any, new: Any) -> Effect:
    return CONSUMERS if str(new) in ("deprecated", "retired") and old != new else NOTHING


_DOCUMENTATION = (
    "authoritativeDefinitions", "businessName", "classification", "contractCreatedTs", "customProperties",
    "dataGranularityDescription", "dataProduct", "description", "domain", "encryptedName", "examples", "id", "kind",
    "name", "price", "roles", "support", "tags", "team", "tenant", "transformDescription",
    "transformLogic", "transformSourceObjects", "criticalDataElement", "partitioned", "partitionKeyPosition",
    "version", "apiVersion", "title", "$schema", "defaultTimezone",
)  # fmt: skip
_PROPERTY: Mapping[str, Callable[[Any, Any], Effect]] = MappingProxyType(
    {
        "physicalName": _always(BOTH),
        "physicalType": _always(BOTH),
        "logicalType": _always(BOTH),
        "required": _flag,
        "unique": _flag,
        "primaryKey": _flag,
        "primaryKeyPosition": _always(CONSUMERS),
        "enum": _domain,
    }
)
_OPTIONS: Mapping[str, Callable[[Any, Any], Effect]] = MappingProxyType(
    {
        "maxLength": _ceiling,
        "maximum": _ceiling,
        "exclusiveMaximum": _ceiling,
        "maxItems": _ceiling,
        "maxProperties": _ceiling,
        "minLength": _floor,
        "minimum": _floor,
        "exclusiveMinimum": _floor,
        "minItems": _floor,
        "minProperties": _floor,
        "multipleOf": _multiple,
        "uniqueItems": _flag,
        "required": lambda old, new: tuple(reversed(_domain(old or (), new or ()))),
        "pattern": _always(BOTH),
        "format": _always(BOTH),
        "timezone": _always(BOTH),
        "defaultTimezone": _always(BOTH),
    }
)
_SLA_LARGER_IS_WEAKER = frozenset(
    {"latency", "frequency", "errorRate", "timeToDetect", "timeToNotify", "timeToRepair", "freshness"}
)
_SLA_LARGER_IS_STRONGER = frozenset({"availability", "throughput", "retention"})
_OPERATORS: Mapping[str, Callable[[Any, Any], Effect]] = MappingProxyType(
    {
        "mustBeLessThan": _ceiling,
        "mustBeLessOrEqualTo": _ceiling,
        "mustBeGreaterThan": _floor,
        "mustBeGreaterOrEqualTo": _floor,
    }
)
_QUALITY_WORDS = ("name", "description", "dimension", "businessImpact", "tags", "schedule", "scheduler", "id",
                  "method", "authoritativeDefinitions", "customProperties")  # fmt: skip


# --- walking ---------------------------------------------------------------------------------------------------------


def _top(old: Row, new: Row) -> Iterator[Change]:
    handled = {"schema", "servers", "slaProperties"}
    for key in sorted((old.keys() | new.keys()) - handled):
        effect = _status if key == "status" else _never if key in _DOCUMENTATION else _always(BOTH)
        yield from _value(key, old.get(key), new.get(key), effect)
    for name, (before, after) in _pairs(old, new, "servers", "server"):
        effect = CONSUMERS if after is None else NOTHING if before is None else CONSUMERS
        yield from _value(f"servers.{name}", before, after, _always(effect))
    for name, (before, after) in _pairs(old, new, "slaProperties", "property"):
        yield from _sla(name, before, after)


def _sla(name: str, before: Row | None, after: Row | None) -> Iterator[Change]:
    property_name = name.split("@", 1)[0]
    path = f"slaProperties.{name}"
    if before is None or after is None:
        yield from _value(path, before, after, _always(CONSUMERS if after is None else PRODUCERS))
        return
    direction = (
        _ceiling
        if property_name in _SLA_LARGER_IS_WEAKER
        else _floor
        if property_name in _SLA_LARGER_IS_STRONGER
        else _always(NOTHING)
    )
    yield from _value(f"{path}.value", before.get("value"), after.get("value"), direction)
    if before.get("unit") != after.get("unit"):
        yield from _value(f"{path}.unit", before.get("unit"), after.get("unit"), _always(BOTH))
    for key in sorted((before.keys() | after.keys()) - {"value", "unit", "property", "element", "id"}):
        yield from _value(f"{path}.{key}", before.get(key), after.get(key), _never)


def _objects(old: Mapping[str, Row], new: Mapping[str, Row]) -> Iterator[Change]:
    for name in _ordered_union(old, new):
        before, after = old.get(name), new.get(name)
        if before is None or after is None:
            effect = CONSUMERS if after is None else NOTHING
            yield from _value(name, before and name, after and name, _always(effect), what="the object")
            continue
        for key in sorted((before.keys() | after.keys()) - {"properties", "quality", "relationships"}):
            effect = _always(BOTH) if key in ("physicalName", "physicalType", "logicalType") else _never
            yield from _value(f"{name}.{key}", before.get(key), after.get(key), effect)
        yield from _rules(name, before, after)
        yield from _properties(name, before, after)


def _properties(path: str, before: Row, after: Row) -> Iterator[Change]:
    old, new = _named(before, "properties"), _named(after, "properties")
    for name in _ordered_union(old, new):
        yield from _property(f"{path}.{name}", old.get(name), new.get(name))


def _property(path: str, before: Row | None, after: Row | None) -> Iterator[Change]:
    if before is None or after is None:
        # A new column that may be empty asks nothing of producers; one that may not, does.
        demands = after is not None and bool(after.get("required") or after.get("primaryKey"))
        effect = CONSUMERS if after is None else PRODUCERS if demands else NOTHING
        yield from _value(path, before and path, after and path, _always(effect), what="the property")
        return
    nested = {"properties", "items", "map", "quality", "relationships", "logicalTypeOptions"}
    for key in sorted((before.keys() | after.keys()) - nested):
        effect = _PROPERTY.get(key) or (_never if key in _DOCUMENTATION else _always(BOTH))
        yield from _value(f"{path}.{key}", before.get(key), after.get(key), effect)
    old, new = before.get("logicalTypeOptions") or {}, after.get("logicalTypeOptions") or {}
    for key in sorted(old.keys() | new.keys()):
        yield from _value(
            f"{path}.logicalTypeOptions.{key}", old.get(key), new.get(key), _added(_OPTIONS.get(key, _always(BOTH)))
        )
    yield from _rules(path, before, after)
    yield from _properties(path, before, after)
    if before.get("items") or after.get("items"):
        yield from _property(f"{path}.items", before.get("items"), after.get("items"))
    was, now = before.get("map") or {}, after.get("map") or {}
    for part in sorted(was.keys() | now.keys()):
        yield from _property(f"{path}.map.{part}", was.get(part), now.get(part))


def _added(effect: Callable[[Any, Any], Effect]) -> Callable[[Any, Any], Effect]:
    """An option that is new is a demand; one that is gone is a promise dropped; whatever its value."""

    def judged(old: Any, new: Any) -> Effect:
        if old is None or new is None:
            return PRODUCERS if old is None else CONSUMERS
        return effect(old, new)

    return judged


def _rules(path: str, before: Row, after: Row) -> Iterator[Change]:
    for key in ("quality", "relationships"):
        old, new = _keyed(before.get(key)), _keyed(after.get(key))
        for name in _ordered_union(old, new):
            where = f"{path}.{key}.{name}"
            was, now = old.get(name), new.get(name)
            if was is None or now is None:
                text = (was or now or {}).get("type") == "text"
                effect = NOTHING if text else CONSUMERS if now is None else PRODUCERS
                yield from _value(where, was, now, _always(effect), what="the rule")
            else:
                yield from _rule(where, was, now)


def _rule(path: str, was: Row, now: Row) -> Iterator[Change]:
    for key in sorted(was.keys() | now.keys()):
        effect: Callable[[Any, Any], Effect]
        if key in _OPERATORS:
            effect = _added(_OPERATORS[key])
        elif key == "severity":
            effect = _severity
        else:
            effect = _never if key in _QUALITY_WORDS else _always(BOTH)
        yield from _value(f"{path}.{key}", was.get(key), now.get(key), effect)


def _severity(old: Any, new: Any) -> Effect:
    rank = {"info": 0, "warning": 1, "error": 2, None: 2}
    before, after = rank.get(old, 2), rank.get(new, 2)
    return NOTHING if before == after else PRODUCERS if after > before else CONSUMERS


def _value(path: str, old: Any, new: Any, effect: Callable[[Any, Any], Effect], *, what: str = "") -> Iterator[Change]:
    if old == new:
        return
    verb = "is new" if old is None else "is gone" if new is None else "changed"
    for kind in effect(old, new):
        yield Change(path, kind, f"{what or path.rsplit('.', 1)[-1]} {verb}", old, new)


# --- reading the plain document -------------------------------------------------------------------------------------


def _named(row: Row, key: str) -> dict[str, Row]:
    return {str(item.get("name")): item for item in row.get(key) or () if isinstance(item, Mapping)}


def _keyed(items: Any) -> dict[str, Row]:
    """Rules by their id, else their name, else their place."""
    found: dict[str, Row] = {}
    for place, item in enumerate(items or ()):
        if isinstance(item, Mapping):
            found[str(item.get("id") or item.get("name") or place)] = item
    return found


def _pairs(old: Row, new: Row, key: str, name: str) -> Iterator[tuple[str, tuple[Row | None, Row | None]]]:
    def by_name(row: Row) -> dict[str, Row]:
        return {
            str(i.get(name)) + (f"@{i['element']}" if i.get("element") else ""): i
            for i in row.get(key) or ()
            if isinstance(i, Mapping)
        }

    before, after = by_name(old), by_name(new)
    for found in _ordered_union(before, after):
        yield found, (before.get(found), after.get(found))


def _ordered_union(old: Mapping[str, Any], new: Mapping[str, Any]) -> Sequence[str]:
    return list(dict.fromkeys([*old, *new]))
