"""Reads an OData `$metadata` document (CSDL, V2 to V4) into plain values.

Sources: OData CSDL XML 4.01 (OASIS) and [MC-CSDL] for V2. Parsed with a parser that refuses entities and DTDs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from weighbridge.connectors.errors import ProtocolError

__all__ = ["CsdlEntitySet", "CsdlNavigation", "CsdlProperty", "CsdlType", "Metadata", "parse_metadata"]

MAX_BASES = 32


@dataclass(frozen=True, slots=True)
class CsdlProperty:
    """One structural property with its facets as written."""

    name: str
    type: str
    """`Edm.Decimal`, `Namespace.Enum`, without `Collection(...)`."""
    collection: bool = False
    nullable: bool = True
    max_length: int | None = None
    precision: int | None = None
    scale: int | str | None = None
    """A number, `variable`, `floating`, or None where not given."""
    enum: tuple[str, ...] | None = None
    complex: bool = False
    filterable: bool = True


@dataclass(frozen=True, slots=True)
class CsdlNavigation:
    name: str
    target: str
    """Qualified name of the target's entity type."""
    collection: bool
    columns: tuple[tuple[str, str], ...]
    """(own property, target's property) of the referential constraint; empty where none is declared."""


@dataclass(frozen=True, slots=True)
class CsdlType:
    name: str
    keys: tuple[str, ...]
    properties: tuple[CsdlProperty, ...]
    navigation: tuple[CsdlNavigation, ...]

    def property(self, name: str) -> CsdlProperty | None:
        return next((p for p in self.properties if p.name == name), None)


@dataclass(frozen=True, slots=True)
class CsdlEntitySet:
    name: str
    type: CsdlType


@dataclass(frozen=True, slots=True)
class Metadata:
    """A service's entity sets by name and the protocol version its metadata shows."""

    version: int
    """2 or 4 (V1 and V3 documents read as 2)."""
    sets: Mapping[str, CsdlEntitySet]

    def set_of(self, qualified_type: str) -> str | None:
        """Name of the first entity set of a type, None where there is none."""
        return next((s.name for s in self.sets.values() if s.type.name == qualified_type), None)


def parse_metadata(document: bytes, *, where: str = "$metadata") -> Metadata:
    """The service's metadata; raises ProtocolError for anything that is not CSDL."""
    import defusedxml.ElementTree as SafeTree
    from defusedxml.common import DefusedXmlException

    try:
        root = SafeTree.fromstring(document, forbid_dtd=True)
    except (SafeTree.ParseError, DefusedXmlException, ValueError) as error:
        raise ProtocolError(
            f"{where} is not readable XML ({type(error).__name__}): it begins {_start(document)}.",
            remedy="Open the address in a browser as this user: a login page or a portal may answer in its place.",
        ) from None
    if _local(root) != "Edmx":
        raise ProtocolError(
            f"{where} is <{_local(root)}>, expected <Edmx>.",
            remedy="Let the url name the service root, the folder that $metadata lies in.",
        )
    return _Reader(root).metadata()


def _start(document: bytes) -> str:
    return repr(document[:60].decode("utf-8", "replace"))


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _children(element: Element, name: str) -> Iterator[Element]:
    return (child for child in element if _local(child) == name)


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isdigit() else None


class _Reader:
    def __init__(self, root: Element) -> None:
        self.version = 4 if root.get("Version", "1.0").startswith("4") else 2
        self.schemas = [e for e in root.iter() if _local(e) == "Schema"]
        self.aliases = {s.get("Alias", ""): s.get("Namespace", "") for s in self.schemas if s.get("Alias")}
        self.elements: dict[str, Element] = {}
        for schema in self.schemas:
            for child in schema:
                if child.get("Name"):
                    self.elements.setdefault(f"{schema.get('Namespace')}.{child.get('Name')}", child)
        self.types: dict[str, CsdlType] = {}

    def metadata(self) -> Metadata:
        sets: dict[str, CsdlEntitySet] = {}
        for schema in self.schemas:
            for container in _children(schema, "EntityContainer"):
                for item in _children(container, "EntitySet"):
                    kind = self._qualified(item.get("EntityType", ""))
                    if kind in self.elements:
                        name = item.get("Name", "")
                        sets[name] = CsdlEntitySet(name, self._type(kind))
        return Metadata(self.version, sets)

    def _qualified(self, name: str) -> str:
        prefix, _, last = name.rpartition(".")
        return f"{self.aliases[prefix]}.{last}" if prefix in self.aliases else name

    def _type(self, name: str) -> CsdlType:
        if name not in self.types:
            chain = self._bases(name)
            keys: tuple[str, ...] = ()
            properties: list[CsdlProperty] = []
            navigation: list[CsdlNavigation] = []
            for element in reversed(chain):
                for key in _children(element, "Key"):
                    keys = tuple(ref.get("Name", "") for ref in _children(key, "PropertyRef"))
                properties += [self._property(p) for p in _children(element, "Property")]
                navigation += [n for p in _children(element, "NavigationProperty") for n in self._navigation(p)]
            self.types[name] = CsdlType(name, keys, tuple(properties), tuple(navigation))
        return self.types[name]

    def _bases(self, name: str) -> list[Element]:
        chain: list[Element] = []
        while name in self.elements:
            if len(chain) >= MAX_BASES:
                raise ProtocolError(f"$metadata: the type {name} has a circle or over {MAX_BASES} base types.")
            chain.append(self.elements[name])
            name = self._qualified(self.elements[name].get("BaseType", ""))
        return chain

    def _property(self, element: Element) -> CsdlProperty:
        type_name, collection = _uncollect(element.get("Type", "Edm.String"))
        type_name = self._qualified(type_name)
        facets: dict[str, str] = dict(element.attrib)
        declared = self.elements.get(type_name)
        if declared is not None and _local(declared) == "TypeDefinition":
            facets = {**declared.attrib, **facets}
            type_name = declared.get("UnderlyingType", "Edm.String")
            declared = None
        enum: tuple[str, ...] | None = None
        if declared is not None and _local(declared) == "EnumType":
            enum = tuple(m.get("Name", "") for m in _children(declared, "Member"))
        scale = facets.get("Scale")
        return CsdlProperty(
            name=element.get("Name", ""),
            type=type_name,
            collection=collection,
            nullable=facets.get("Nullable", "true").lower() != "false",
            max_length=_whole(facets.get("MaxLength")),
            precision=_whole(facets.get("Precision")),
            scale=None if scale is None else (int(scale) if scale.isdigit() else scale.lower()),
            enum=enum,
            complex=enum is None and not type_name.startswith("Edm."),
            filterable=_sap(element, "filterable") != "false",
        )

    def _navigation(self, element: Element) -> Iterator[CsdlNavigation]:
        name = element.get("Name", "")
        if element.get("Type"):  # V4
            target, collection = _uncollect(element.get("Type", ""))
            columns = tuple(
                (c.get("Property", ""), c.get("ReferencedProperty", ""))
                for c in _children(element, "ReferentialConstraint")
            )
            yield CsdlNavigation(name, self._qualified(target), collection, columns)
            return
        association = self.elements.get(self._qualified(element.get("Relationship", "")))
        if association is None:
            return
        ends = {end.get("Role"): end for end in _children(association, "End")}
        end = ends.get(element.get("ToRole"))
        if end is None:
            return
        columns = ()
        for constraint in _children(association, "ReferentialConstraint"):
            roles = {_local(side): side for side in constraint}
            dependent, principal = roles.get("Dependent"), roles.get("Principal")
            if dependent is None or principal is None or principal.get("Role") != element.get("ToRole"):
                continue
            columns = tuple(
                zip(
                    (ref.get("Name", "") for ref in _children(dependent, "PropertyRef")),
                    (ref.get("Name", "") for ref in _children(principal, "PropertyRef")),
                    strict=False,
                )
            )
        yield CsdlNavigation(name, self._qualified(end.get("Type", "")), end.get("Multiplicity") == "*", columns)


def _uncollect(name: str) -> tuple[str, bool]:
    if name.startswith("Collection(") and name.endswith(")"):
        return name[11:-1], True
    return name, False


def _sap(element: Element, attribute: str) -> str | None:
    return element.get(f"{{http://www.sap.com/Protocols/SAPData}}{attribute}")
