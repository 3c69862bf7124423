"""What an sObject type is: fields, describe, ids with their checksum, and Salesforce's own error bodies."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

__all__ = ["ApiError", "Field", "SObject", "stamp", "to18"]

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SUFFIX = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"

SOAP_TYPES = {
    "id": "tns:ID",
    "reference": "tns:ID",
    "boolean": "xsd:boolean",
    "int": "xsd:int",
    "double": "xsd:double",
    "currency": "xsd:double",
    "percent": "xsd:double",
    "date": "xsd:date",
    "datetime": "xsd:dateTime",
    "base64": "xsd:base64Binary",
}


class ApiError(Exception):
    """Answers with Salesforce's error body: `[{"message", "errorCode", "fields"}]`."""

    def __init__(self, status: int, code: str, message: str, *, fields: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.fields = fields

    @property
    def body(self) -> list[dict[str, Any]]:
        entry: dict[str, Any] = {"message": self.message, "errorCode": self.code}
        if self.fields:
            entry["fields"] = list(self.fields)
        return [entry]

    @property
    def save_result(self) -> dict[str, Any]:
        """The error as a collection's save result carries it."""
        return {
            "success": False,
            "errors": [{"statusCode": self.code, "message": self.message, "fields": list(self.fields)}],
        }


def to18(short: str) -> str:
    """The case-safe 18 character form of a 15 character id."""
    if len(short) != 15:
        return short
    suffix = ""
    for chunk in (short[0:5], short[5:10], short[10:15]):
        bits = sum(1 << i for i, c in enumerate(chunk) if "A" <= c <= "Z")
        suffix += _SUFFIX[bits]
    return short + suffix


def make_id(prefix: str, number: int) -> str:
    digits = ""
    while number:
        number, rest = divmod(number, 62)
        digits = _DIGITS[rest] + digits
    return to18(prefix + digits.rjust(12, "0"))


def stamp(moment: datetime) -> str:
    """A datetime as the REST API writes it: `2026-01-05T08:00:00.000+0000`."""
    moment = moment.astimezone(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}+0000"


def day(value: date) -> str:
    return value.isoformat()


@dataclass(slots=True)
class Field:
    """One field of an sObject type, as describe tells it."""

    name: str
    type: str
    length: int = 0
    nillable: bool = True
    unique: bool = False
    external_id: bool = False
    picklist: tuple[str, ...] = ()
    restricted: bool = False
    reference_to: str | None = None
    relationship: str | None = None
    precision: int = 0
    scale: int = 0
    writable: bool = True
    defaulted: bool = False

    def describe(self) -> dict[str, Any]:
        custom = self.name.endswith("__c")
        return {
            "name": self.name,
            "label": self.name.removesuffix("__c").replace("_", " "),
            "type": self.type,
            "soapType": SOAP_TYPES.get(self.type, "xsd:string"),
            "length": self.length,
            "byteLength": self.length * 3,
            "digits": self.precision if self.type == "int" else 0,
            "precision": 0 if self.type == "int" else self.precision,
            "scale": self.scale,
            "nillable": self.nillable,
            "unique": self.unique,
            "externalId": self.external_id,
            "idLookup": self.type == "id" or self.external_id or self.name == "Email",
            "caseSensitive": False,
            "createable": self.writable,
            "updateable": self.writable,
            "filterable": self.type not in ("textarea", "base64"),
            "sortable": self.type not in ("textarea", "base64"),
            "groupable": self.type not in ("textarea", "base64", "double", "currency", "datetime"),
            "aggregatable": True,
            "calculated": False,
            "autoNumber": False,
            "custom": custom,
            "defaultedOnCreate": self.defaulted,
            "defaultValue": False if self.type == "boolean" else None,
            "nameField": self.name == "Name",
            "permissionable": self.writable and self.nillable,
            "restrictedPicklist": self.restricted,
            "picklistValues": [
                {"active": True, "defaultValue": False, "label": v, "validFor": None, "value": v} for v in self.picklist
            ],
            "referenceTo": [self.reference_to] if self.reference_to else [],
            "relationshipName": self.relationship,
            "deprecatedAndHidden": False,
            "encrypted": False,
            "htmlFormatted": False,
            "inlineHelpText": None,
        }


AUDIT = (
    Field("CreatedDate", "datetime", nillable=False, writable=False, defaulted=True),
    Field("LastModifiedDate", "datetime", nillable=False, writable=False, defaulted=True),
    Field("SystemModstamp", "datetime", nillable=False, writable=False, defaulted=True),
)


@dataclass(slots=True)
class SObject:
    """One sObject type with its fields in order."""

    name: str
    prefix: str
    fields: dict[str, Field] = field(default_factory=dict)
    writable: bool = True
    private: bool = False
    """Records are visible to their owner only, unless the user views all data."""

    @classmethod
    def of(cls, name: str, prefix: str, *fields: Field, writable: bool = True, owned: bool = True) -> SObject:
        head = [
            Field("Id", "id", 18, nillable=False, writable=False, defaulted=True),
            Field("IsDeleted", "boolean", nillable=False, writable=False, defaulted=True),
        ]
        owner = (
            [
                Field(
                    "OwnerId",
                    "reference",
                    18,
                    nillable=False,
                    reference_to="User",
                    relationship="Owner",
                    defaulted=True,
                )
            ]
            if owned
            else []
        )
        return cls(name, prefix, {f.name: f for f in (*head, *fields, *owner, *AUDIT)}, writable)

    def summary(self, version: str) -> dict[str, Any]:
        base = f"/services/data/v{version}/sobjects/{self.name}"
        return {
            "name": self.name,
            "label": self.name,
            "labelPlural": self.name + "s",
            "keyPrefix": self.prefix,
            "custom": self.name.endswith("__c"),
            "createable": self.writable,
            "updateable": self.writable,
            "deletable": self.writable,
            "queryable": True,
            "retrieveable": True,
            "searchable": True,
            "replicateable": True,
            "undeletable": self.writable,
            "urls": {"sobject": base, "describe": f"{base}/describe", "rowTemplate": base + "/{ID}"},
        }

    def describe(self, version: str, hidden: frozenset[str]) -> dict[str, Any]:
        return {
            **self.summary(version),
            "fields": [f.describe() for f in self.fields.values() if f.name not in hidden],
            "recordTypeInfos": [],
            "childRelationships": [],
        }
