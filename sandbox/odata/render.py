"""Rows and metadata as OData writes them, V2 and V4: JSON forms of every type, `$metadata`, keys in addresses."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from xml.sax.saxutils import quoteattr

from weighbridge.sandbox.odata.model import Entity, Field, Table

__all__ = ["Writer", "key_predicate", "metadata"]

Text = Callable[[Any], str]
NAMESPACE = "Weighbridge.Practice"


def _string(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _plain(value: Any) -> str:
    return str(value)


def _quoted(value: Any) -> str:
    return f'"{value}"'


def _boolean(value: Any) -> str:
    return "true" if value else "false"


def _double(value: float) -> str:
    if value != value:
        return '"NaN"'
    if value in (float("inf"), float("-inf")):
        return '"INF"' if value > 0 else '"-INF"'
    return repr(value)


def _moment_v4(value: datetime) -> str:
    return f'"{value.astimezone(UTC).isoformat().replace("+00:00", "Z")}"'


def _millis(value: datetime) -> int:
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def iso_duration(value: timedelta) -> str:
    """`P1DT2H3M4.5S`."""
    micro = value // timedelta(microseconds=1)
    sign, micro = ("-", -micro) if micro < 0 else ("", micro)
    seconds, micro = divmod(micro, 1_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    part = f".{micro:06d}".rstrip("0") if micro else ""
    return f"{sign}P{days}DT{hours}H{minutes}M{seconds}{part}S"


def _time_v2(value: Any) -> str:
    return f'"PT{value.hour:02d}H{value.minute:02d}M{value.second:02d}S"'


def _writer_of(declared: Field, version: int, ieee: bool) -> Text:
    if declared.enum is not None:
        return _string
    if version == 2:
        return _V2.get(declared.type, _quoted)
    if declared.type in {"Edm.Int64", "Edm.Decimal"}:
        return _decimal_text if ieee else _decimal_plain
    return _V4.get(declared.type, _quoted)


def _decimal_text(value: Any) -> str:
    return f'"{value:f}"' if isinstance(value, Decimal) else f'"{value}"'


def _decimal_plain(value: Any) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


_V4: dict[str, Text] = {
    "Edm.String": _string,
    "Edm.Boolean": _boolean,
    "Edm.Byte": _plain,
    "Edm.SByte": _plain,
    "Edm.Int16": _plain,
    "Edm.Int32": _plain,
    "Edm.Double": _double,
    "Edm.Single": _double,
    "Edm.DateTimeOffset": _moment_v4,
    "Edm.Duration": lambda v: f'"{iso_duration(v)}"',
    "Edm.TimeOfDay": lambda v: f'"{v.isoformat()}"',
    "Edm.Binary": lambda v: f'"{base64.urlsafe_b64encode(v).decode()}"',
}
_V2: dict[str, Text] = {
    **_V4,
    "Edm.Double": _quoted,
    "Edm.Single": _quoted,
    "Edm.Decimal": _decimal_text,
    "Edm.DateTime": lambda v: f'"/Date({_millis(v)})/"',
    "Edm.DateTimeOffset": lambda v: f'"/Date({_millis(v)}+0000)/"',
    "Edm.Time": _time_v2,
    "Edm.Binary": lambda v: f'"{base64.b64encode(v).decode()}"',
}


class Writer:
    """Writes rows of one table in one form, keeping each row's text until the table changes."""

    def __init__(
        self, table: Table, *, version: int, ieee: bool, select: Sequence[str] | None, empty_for_null: bool = False
    ) -> None:
        self.table = table
        self.version = version
        fields = [f for f in table.entity.fields if select is None or f.name in select]
        self.parts = [
            (
                f.name,
                f"{_string(f.name)}:",
                _writer_of(f, version, ieee),
                '""' if empty_for_null and f.type == "Edm.String" else "null",
            )
            for f in fields
        ]
        self._kept: dict[tuple[Any, ...], str] = {}
        self._revision = table.revision

    def rows(self, keys: Iterable[tuple[Any, ...]], root: str) -> list[str]:
        if self._revision != self.table.revision:
            self._kept.clear()
            self._revision = self.table.revision
        kept = self._kept
        found: list[str] = []
        for key in keys:
            text = kept.get(key)
            if text is None:
                text = kept[key] = self._row(key, root)
            found.append(text)
        return found

    def _row(self, key: tuple[Any, ...], root: str) -> str:
        row = self.table.rows[key]
        body = ",".join(
            [head + (none if row[name] is None else write(row[name])) for name, head, write, none in self.parts]
        )
        entity = self.table.entity
        if self.version == 2:
            address = f"{root}/{entity.set_name}{key_predicate(entity, key, 2)}"
            about = {"id": address, "uri": address, "type": f"{NAMESPACE}.{entity.type_name}"}
            if entity.modified:
                about["etag"] = self.table.etag(key)
            deferred = "".join(
                f',{_string(n.name)}:{{"__deferred":{{"uri":{_string(address + "/" + n.name)}}}}}'
                for n in entity.navigation
            )
            return f'{{"__metadata":{_string(about)},{body}{deferred}}}'
        etag = f'"@odata.etag":{_string(self.table.etag(key))},' if entity.modified else ""
        return f"{{{etag}{body}}}"


def key_predicate(entity: Entity, key: tuple[Any, ...], version: int) -> str:
    """`('SO-1')` or `(A='x',B=2)`, as written in an address."""
    from urllib.parse import quote

    parts = [
        quote(_key_literal(entity.field(name), value, version), safe="'")
        for name, value in zip(entity.keys, key, strict=True)
    ]
    if len(parts) == 1:
        return f"({parts[0]})"
    return "(" + ",".join(f"{name}={part}" for name, part in zip(entity.keys, parts, strict=True)) + ")"


def _key_literal(declared: Field | None, value: Any, version: int) -> str:
    kind = declared.type if declared else "Edm.String"
    if isinstance(value, bool):
        return _boolean(value)
    if isinstance(value, datetime):
        text = value.isoformat().replace("+00:00", "Z")
        return text if version == 4 else f"{kind[4:].lower()}'{text}'"
    if isinstance(value, date):
        return value.isoformat()
    if kind == "Edm.Guid":
        return str(value) if version == 4 else f"guid'{value}'"
    if isinstance(value, int | Decimal):
        suffix = {"Edm.Int64": "L", "Edm.Decimal": "M"}.get(kind, "") if version == 2 else ""
        return f"{value}{suffix}"
    return "'" + str(value).replace("'", "''") + "'"


def metadata(tables: Mapping[str, Table], version: int) -> str:
    """The `$metadata` document."""
    return (_metadata_v2 if version == 2 else _metadata_v4)([t.entity for t in tables.values()])


def _property(declared: Field, version: int) -> str:
    kind = f"{NAMESPACE}.{declared.name}Values" if declared.enum is not None and version == 4 else declared.type
    if declared.enum is not None and version == 2:
        kind = "Edm.String"
    text = f"<Property Name={quoteattr(declared.name)} Type={quoteattr(kind)}"
    if not declared.nullable:
        text += ' Nullable="false"'
    for name, value in (
        ("MaxLength", declared.max_length),
        ("Precision", declared.precision),
        ("Scale", declared.scale),
    ):
        if value is not None:
            text += f' {name}="{value}"'
    return text + "/>"


def _keys(entity: Entity) -> str:
    return "<Key>" + "".join(f"<PropertyRef Name={quoteattr(k)}/>" for k in entity.keys) + "</Key>"


def _metadata_v4(entities: Sequence[Entity]) -> str:
    types = {e.set_name: f"{NAMESPACE}.{e.type_name}" for e in entities}
    out: list[str] = []
    for e in entities:
        navigation = "".join(
            f"<NavigationProperty Name={quoteattr(n.name)} Type="
            + quoteattr(f"Collection({types[n.target]})" if n.collection else types[n.target])
            + ">"
            + "".join(
                f"<ReferentialConstraint Property={quoteattr(a)} ReferencedProperty={quoteattr(b)}/>"
                for a, b in n.columns
                if not n.collection
            )
            + "</NavigationProperty>"
            for n in e.navigation
        )
        properties = "".join(_property(f, 4) for f in e.fields)
        out.append(f"<EntityType Name={quoteattr(e.type_name)}>{_keys(e)}{properties}{navigation}</EntityType>")
    seen: dict[str, tuple[str, ...]] = {f.name: f.enum for e in entities for f in e.fields if f.enum is not None}
    for name, members in seen.items():
        listed = "".join(f"<Member Name={quoteattr(m)} Value='{i}'/>" for i, m in enumerate(members))
        out.append(f"<EnumType Name={quoteattr(name + 'Values')}>{listed}</EnumType>")
    sets = "".join(
        f"<EntitySet Name={quoteattr(e.set_name)} EntityType={quoteattr(types[e.set_name])}>"
        + "".join(
            f"<NavigationPropertyBinding Path={quoteattr(n.name)} Target={quoteattr(n.target)}/>" for n in e.navigation
        )
        + "</EntitySet>"
        for e in entities
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>'
        f'<Schema Namespace="{NAMESPACE}" xmlns="http://docs.oasis-open.org/odata/ns/edm">'
        + "".join(out)
        + f'<EntityContainer Name="Container">{sets}</EntityContainer></Schema></edmx:DataServices></edmx:Edmx>'
    )


def _metadata_v2(entities: Sequence[Entity]) -> str:
    by_set = {e.set_name: e for e in entities}
    types: list[str] = []
    associations: list[str] = []
    ends: list[str] = []
    for e in entities:
        navigation: list[str] = []
        for n in e.navigation:
            target = by_set[n.target]
            name = f"{e.type_name}_{n.name}"
            navigation.append(
                f'<NavigationProperty Name={quoteattr(n.name)} Relationship="{NAMESPACE}.{name}" '
                f'FromRole="From_{name}" ToRole="To_{name}"/>'
            )
            many = "*" if n.collection else "0..1"
            principal, dependent = ("From", "To") if n.collection else ("To", "From")
            pairs = [(b, a) for a, b in n.columns] if n.collection else list(n.columns)
            associations.append(
                f'<Association Name="{name}">'
                f'<End Type="{NAMESPACE}.{e.type_name}" Multiplicity="*" Role="From_{name}"/>'
                f'<End Type="{NAMESPACE}.{target.type_name}" Multiplicity="{many}" Role="To_{name}"/>'
                f'<ReferentialConstraint><Principal Role="{principal}_{name}">'
                + "".join(f"<PropertyRef Name={quoteattr(b)}/>" for _, b in pairs)
                + f'</Principal><Dependent Role="{dependent}_{name}">'
                + "".join(f"<PropertyRef Name={quoteattr(a)}/>" for a, _ in pairs)
                + "</Dependent></ReferentialConstraint></Association>"
            )
            ends.append(
                f'<AssociationSet Name="{name}Set" Association="{NAMESPACE}.{name}">'
                f'<End EntitySet={quoteattr(e.set_name)} Role="From_{name}"/>'
                f'<End EntitySet={quoteattr(n.target)} Role="To_{name}"/></AssociationSet>'
            )
        properties = "".join(_property(f, 2) for f in e.fields)
        types.append(
            f"<EntityType Name={quoteattr(e.type_name)}>{_keys(e)}{properties}{''.join(navigation)}</EntityType>"
        )
    sets = "".join(
        f'<EntitySet Name={quoteattr(e.set_name)} EntityType="{NAMESPACE}.{e.type_name}"/>' for e in entities
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<edmx:Edmx Version="1.0" xmlns:edmx="http://schemas.microsoft.com/ado/2007/06/edmx">'
        '<edmx:DataServices m:DataServiceVersion="2.0" '
        'xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata">'
        f'<Schema Namespace="{NAMESPACE}" xmlns="http://schemas.microsoft.com/ado/2008/09/edm">'
        + "".join(types)
        + "".join(associations)
        + f'<EntityContainer Name="Container" m:IsDefaultEntityContainer="true">{sets}{"".join(ends)}'
        "</EntityContainer></Schema></edmx:DataServices></edmx:Edmx>"
    )
