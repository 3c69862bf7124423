"""Turns a document that passed shape and lint into the frozen models, and resolves its references."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from weighbridge.contracts._yaml import Document
from weighbridge.contracts.models import Contract, Property, Relationship, SchemaObject, Server, SlaProperty

__all__ = ["build"]

EMPTY: Mapping[str, Any] = MappingProxyType({})
_FULL = re.compile(r"(?:(?P<file>[^#]*)#)?/?schema/(?P<object>[^/]+)/properties/(?P<property>[^/]+)\Z")


def build(document: Document, other: Callable[[str], Document | str]) -> Contract:
    """The contract of a clean document; complaints about references are added to the document.

    `other(file)` reads the contract that a reference names, or says in words why it cannot.
    """
    return _Build(document, other).contract()


class Lined(dict[str, Any]):
    """A mapping as written that knows its line in the file."""

    line: int = 0

    @classmethod
    def of(cls, raw: dict[str, Any], document: Document) -> Lined:
        made = cls(raw)
        made.line = document.line(raw)
        return made


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _custom(item: Mapping[str, Any]) -> Mapping[str, Any]:
    found = {c["property"]: c["value"] for c in _list(item.get("customProperties"))}
    return MappingProxyType(found) if found else EMPTY


class _Build:
    def __init__(self, document: Document, other: Callable[[str], Document | str]) -> None:
        self.document = document
        self.data = document.data
        self.other = other

    def contract(self) -> Contract:
        data = self.data
        custom = _custom(data)
        return Contract(
            path=self.document.path,
            id=data["id"],
            version=data["version"],
            api_version=data["apiVersion"],
            name=data.get("name"),
            status=data.get("status"),
            objects=tuple(self.object(o, ("schema", i)) for i, o in enumerate(_list(data.get("schema")))),
            servers=tuple(
                Server(s["server"], s["type"], s.get("environment"), self.document.line(s))
                for s in _list(data.get("servers"))
            ),
            sla=tuple(
                SlaProperty(s["property"], s.get("value"), s.get("unit"), _element(s, data), self.document.line(s))
                for s in _list(data.get("slaProperties"))
            ),
            custom=custom,
            default_timezone=str(custom.get("defaultTimezone", "UTC")),
            owner=_owner(data),
            raw=data,
        )

    def object(self, item: dict[str, Any], path: tuple[Any, ...]) -> SchemaObject:
        relations: list[Relationship] = []
        for index, raw in enumerate(_list(item.get("relationships"))):
            source = raw.get("from")
            words = source if isinstance(source, list) else [source]
            columns = tuple(self.local_name(item, w) for w in words)
            relations.extend(self.relation(raw, columns, (*path, "relationships", index)))
        return SchemaObject(
            name=item["name"],
            id=item.get("id"),
            physical_name=item.get("physicalName") or item["name"],
            properties=tuple(
                self.property(p, (*path, "properties", i)) for i, p in enumerate(_list(item.get("properties")))
            ),
            quality=tuple(Lined.of(q, self.document) for q in _list(item.get("quality"))),
            relationships=tuple(relations),
            custom=_custom(item),
            line=self.document.line(item),
        )

    def property(self, item: dict[str, Any], path: tuple[Any, ...]) -> Property:
        name = item.get("name") or "items"
        options = dict(item.get("logicalTypeOptions") or {})
        if item.get("enum"):
            # Kept beside the options so that rules need only the model.
            options["enum"] = tuple(e["value"] for e in item["enum"])
        relations: list[Relationship] = []
        for index, raw in enumerate(_list(item.get("relationships"))):
            relations.extend(self.relation(raw, (name,), (*path, "relationships", index)))
        inner = item.get("items")
        made = item.get("map")
        pair: dict[str, Any] = made if item.get("logicalType") == "map" and isinstance(made, dict) else {}
        return Property(
            name=name,
            physical_name=item.get("physicalName") or name,
            logical_type=item.get("logicalType"),
            physical_type=item.get("physicalType"),
            options=MappingProxyType(options) if options else EMPTY,
            required=item.get("required") is True,
            unique=item.get("unique") is True,
            primary_key=item.get("primaryKey") is True,
            primary_key_position=item.get("primaryKeyPosition", -1),
            classification=item.get("classification"),
            critical=item.get("criticalDataElement") is True,
            quality=tuple(Lined.of(q, self.document) for q in _list(item.get("quality"))),
            relationships=tuple(relations),
            properties=tuple(
                self.property(p, (*path, "properties", i)) for i, p in enumerate(_list(item.get("properties")))
            ),
            items=self.property(inner, (*path, "items")) if isinstance(inner, dict) else None,
            custom=_custom(item),
            line=self.document.line(item),
            map_key=self.property(pair["key"], (*path, "map", "key")) if pair else None,
            map_value=self.property(pair["value"], (*path, "map", "value")) if pair else None,
        )

    def local_name(self, item: dict[str, Any], word: str) -> str:
        tail = word.rsplit("/", 1)[-1] if "/" in word else word.split(".", 1)[-1]
        for candidate in _list(item.get("properties")):
            if tail in (candidate.get("name"), candidate.get("id")):
                return candidate["name"]
        return tail

    def relation(self, raw: dict[str, Any], columns: tuple[str, ...], path: tuple[Any, ...]) -> list[Relationship]:
        to = raw["to"]
        words = to if isinstance(to, list) else [to]
        place = self.document.locate((*path, "to"))
        if len(words) != len(columns):
            self.document.complain(
                f"the relationship refers from {len(columns)} to {len(words)} columns; they must be as many", place
            )
            return []
        targets: list[tuple[str | None, str, str]] = []
        for word in words:
            found = self.target(word)
            if isinstance(found, str):
                self.document.complain(found, place)
                return []
            targets.append(found)
        files = {(file, name) for file, name, _ in targets}
        if len(files) != 1:
            self.document.complain("the columns of one relationship must lie in one object", place)
            return []
        file, name = files.pop()
        return [
            Relationship(
                type=raw.get("type", "foreignKey"),
                columns=columns,
                target_file=file,
                target_object=name,
                target_columns=tuple(column for _, _, column in targets),
                line=self.document.line(raw),
            )
        ]

    def target(self, word: str) -> tuple[str | None, str, str] | str:
        """(file, object, property) by name that a reference means, else what is wrong with it."""
        full = _FULL.match(word)
        if full:
            file, where, what = full["file"] or None, full["object"], full["property"]
            keys = ("id", "name")
        elif "." in word and "/" not in word and "#" not in word:
            where, what = word.split(".", 1)
            file, keys = None, ("name",)
        else:
            return f"the reference '{word[:100]}' is neither object.property nor FILE#/schema/ID/properties/ID"
        data = self.data
        if file:
            found = self.other(file)
            if isinstance(found, str):
                return f"the reference '{word[:100]}' cannot be followed: {found}"
            data = found.data
        place = f" in {file}" if file else ""
        target = _named(_list(data.get("schema")), where, keys)
        if target is None:
            return f"the reference '{word[:100]}' names no object{place}"
        column = _named(_list(target.get("properties")), what, keys)
        if column is None:
            return f"the reference '{word[:100]}' names no property of {target.get('name')}{place}"
        return file, target["name"], column["name"]


def _element(sla: dict[str, Any], data: dict[str, Any]) -> str | None:
    """What a service level is about; the contract's default where it says nothing and is about data."""
    about_data = sla["property"] in ("freshness", "retention", "frequency", "latency")
    return sla.get("element") or (data.get("slaDefaultElement") if about_data else None)


def _named(items: list[Any], word: str, keys: tuple[str, ...]) -> dict[str, Any] | None:
    for key in keys:
        for item in items:
            if isinstance(item, dict) and item.get(key) == word and isinstance(item.get("name"), str):
                return item
    return None


def _owner(data: dict[str, Any]) -> str | None:
    team = data.get("team")
    members = team if isinstance(team, list) else _list((team or {}).get("members"))
    for member in members:
        name = member.get("username") or member.get("name")
        if name:
            return str(name)
    if isinstance(team, dict) and team.get("name"):
        return str(team["name"])
    return None
