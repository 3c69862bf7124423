"""What was promised: a contract, its objects, properties and rules, as frozen values.

Everything here is plain data read from one ODCS v3 file; nothing here has contact with a system.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from weighbridge.contracts.scale import Scale

__all__ = [
    "Contract",
    "IntegrationPoint",
    "Property",
    "Relationship",
    "Rule",
    "SchemaObject",
    "Server",
    "SlaProperty",
]

RuleSeverity = Literal["error", "warning", "info"]
EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Relationship:
    """A reference from columns of one object to columns of another, perhaps of another contract."""

    type: str
    columns: tuple[str, ...]
    """The referring columns, by property `name`, of the object that carries the relationship."""
    target_file: str | None
    """Path of the target's contract relative to the referring file; None inside the same contract."""
    target_object: str
    """`name` of the target object."""
    target_columns: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Property:
    """One declared column (or nested property) of an object."""

    name: str
    physical_name: str
    logical_type: str | None
    physical_type: str | None
    options: Mapping[str, Any]
    """`logicalTypeOptions` as written."""
    required: bool
    unique: bool
    primary_key: bool
    primary_key_position: int
    classification: str | None
    critical: bool
    quality: tuple[Mapping[str, Any], ...]
    relationships: tuple[Relationship, ...]
    properties: tuple[Property, ...]
    """Nested properties of a `logicalType: object`."""
    items: Property | None
    """The item of a `logicalType: array`."""
    custom: Mapping[str, Any]
    line: int
    map_key: Property | None = None
    """The keys of a `logicalType: map`."""
    map_value: Property | None = None


@dataclass(frozen=True, slots=True)
class SchemaObject:
    """One table, entity, model or sheet that a contract promises."""

    name: str
    id: str | None
    physical_name: str
    properties: tuple[Property, ...]
    quality: tuple[Mapping[str, Any], ...]
    relationships: tuple[Relationship, ...]
    custom: Mapping[str, Any]
    """customProperties by name, for example `weighbridge.filter`."""
    line: int

    @property
    def key(self) -> tuple[Property, ...]:
        """The primary key's properties in their order; empty when none is declared."""
        keys = [p for p in self.properties if p.primary_key]
        return tuple(sorted(keys, key=lambda p: p.primary_key_position))

    @property
    def filter(self) -> str | None:
        """The system's own words that narrow this object, in count and read alike."""
        value = self.custom.get("weighbridge.filter")
        return None if value is None else str(value)

    @property
    def closed(self) -> bool:
        return self.custom.get("weighbridge.closed") is True

    @property
    def writes(self) -> bool:
        return self.custom.get("weighbridge.writes") is True

    @property
    def expected_rows(self) -> int | None:
        value = self.custom.get("weighbridge.expected_rows")
        return None if value is None else int(value)

    def property(self, name: str) -> Property | None:
        return next((p for p in self.properties if p.name == name), None)


@dataclass(frozen=True, slots=True)
class Server:
    """One entry of `servers`: its `server` is the system's name in weighbridge.toml."""

    server: str
    type: str
    environment: str | None
    line: int


@dataclass(frozen=True, slots=True)
class SlaProperty:
    property: str
    value: Any
    unit: str | None
    element: str | None
    line: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One promise in normal form: what GX, SQL and the text view are all made from.

    `kind` is from a closed list (see `weighbridge.contracts.rules.KINDS`); `arguments` are what the kind needs.
    """

    id: str
    path: str
    """`Object[.property].keyword[.option]`, a quality rule by its id, else its index."""
    name: str
    line: int
    check: str
    """The check that answers it: `quality`, `schema`, `freshness`, `load`, `operations`, ..."""
    kind: str
    severity: RuleSeverity
    columns: tuple[str, ...]
    """Property names the rule speaks of; empty for a rule about the whole object."""
    arguments: Mapping[str, Any]
    expected: str
    """The demand in words that a person reads, for example `matches ^C-[0-9]{6}$`."""
    dimension: str | None = None
    business_effect: str = ""


@dataclass(frozen=True, slots=True)
class Contract:
    """One ODCS file that has passed shape and lint."""

    path: Path
    id: str
    version: str
    api_version: str
    name: str | None
    status: str | None
    objects: tuple[SchemaObject, ...]
    servers: tuple[Server, ...]
    sla: tuple[SlaProperty, ...]
    custom: Mapping[str, Any]
    default_timezone: str
    owner: str | None
    """First team member or contact named by the contract, if any."""
    raw: Mapping[str, Any] = field(repr=False, hash=False, compare=False)
    """The document as plain data, for diff and for rules that need the original words."""

    def object(self, name: str) -> SchemaObject | None:
        return next((o for o in self.objects if o.name == name), None)


@dataclass(frozen=True, slots=True)
class IntegrationPoint:
    """One schema object of one contract on one system: the unit that gets a verdict."""

    system: str
    object: SchemaObject
    contract: Contract
    scale: Scale
    rules: tuple[Rule, ...]

    @property
    def id(self) -> str:
        return f"{self.system}.{self.object.name}"
