"""The Metadata API (SOAP): describe, list, read, create, update, delete, and deploy and retrieve of zipped components.

Fields made here are fields of the org: they are described, queried and written like any other. What else is deployed is
kept as it came and given back.
"""

from __future__ import annotations

import base64
import binascii
import copy
import io
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any
from xml.etree import ElementTree as ET

import defusedxml.ElementTree

from weighbridge.sandbox.salesforce.model import ApiError, Field, make_id
from weighbridge.sandbox.salesforce.org import Org, User

__all__ = ["MetadataApi"]

NS = "http://soap.sforce.com/2006/04/metadata"
ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
MOST = 10
"""Components in one call."""
TYPES = {
    "CustomObject": ("objects", "object"),
    "CustomField": ("objects", "object"),
    "ApexClass": ("classes", "cls"),
    "CustomLabels": ("labels", "labels"),
    "Layout": ("layouts", "layout"),
    "Profile": ("profiles", "profile"),
    "RemoteSiteSetting": ("remoteSiteSettings", "remoteSite"),
}
"""Type -> folder and suffix in a package."""
FIELD_TYPES = {
    "Text": "string", "TextArea": "textarea", "Number": "double", "Currency": "currency", "Percent": "percent",
    "Checkbox": "boolean", "Date": "date", "DateTime": "datetime", "Email": "email", "Phone": "phone", "Url": "url",
}  # fmt: skip
for _prefix, _address in (("soapenv", ENVELOPE), ("xsi", XSI)):
    ET.register_namespace(_prefix, _address)


@dataclass(slots=True)
class _Job:
    """A deploy or a retrieve; it is done when it is asked after for the first time."""

    id: str
    kind: str
    parts: list[str] = field(default_factory=list)
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    """(file, type, problem)."""
    files: dict[str, bytes] = field(default_factory=dict)
    check_only: bool = False


class Fault(Exception):
    """Answers with a SOAP fault."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class MetadataApi:
    """Answers `/services/Soap/m/<version>/`; `handle` gives (status, XML)."""

    def __init__(self, org: Org) -> None:
        self.org = org
        self.kept: dict[str, dict[str, list[ET.Element]]] = {}
        """Type -> full name -> what was written, as it came."""
        self.files: dict[str, bytes] = {}
        """Path in a package -> content, of everything that was deployed."""
        self.jobs: dict[str, _Job] = {}
        self._calls: dict[str, Callable[[ET.Element], Iterable[ET.Element]]] = {
            "describeMetadata": self._describe,
            "describeValueType": self._value_type,
            "listMetadata": self._list,
            "readMetadata": self._read,
            "createMetadata": lambda call: self._save(call, create=True),
            "updateMetadata": lambda call: self._save(call, create=False),
            "upsertMetadata": lambda call: self._save(call, create=None),
            "deleteMetadata": self._delete,
            "renameMetadata": self._rename,
            "deploy": self._deploy,
            "checkDeployStatus": self._deployed,
            "retrieve": self._retrieve,
            "checkRetrieveStatus": self._retrieved,
        }

    def handle(self, body: bytes) -> tuple[int, bytes]:
        try:
            tree = defusedxml.ElementTree.fromstring(body)
            session = tree.findtext(f"{{{ENVELOPE}}}Header/{{{NS}}}SessionHeader/{{{NS}}}sessionId") or ""
            self._user = self._logged_in(session)
            call = tree.find(f"{{{ENVELOPE}}}Body/*")
            name = "" if call is None else call.tag.rpartition("}")[2]
            if call is None or name not in self._calls:
                return 500, _fault("UNKNOWN_OPERATION", f"No operation available for request {name}")
            answer = ET.Element(f"{{{NS}}}{name}Response")
            answer.extend(self._calls[name](call))
        except (ET.ParseError, defusedxml.DefusedXmlException):
            return 500, _fault("INVALID_SOAP", "The request was not well formed")
        except Fault as fault:
            return 500, _fault(fault.code, str(fault))
        return 200, _envelope(answer)

    def _logged_in(self, session: str) -> User:
        try:
            return self.org.session(session)
        except ApiError as error:
            raise Fault("INVALID_SESSION_ID", f"INVALID_SESSION_ID: {error.message}") from None

    # --- what there is ------------------------------------------------------------------------------------------

    def _names(self, kind: str) -> list[str]:
        names = list(self.kept.get(kind, ()))
        stores = list(self.org.stores.values())
        if kind == "CustomObject":
            names += [s.type.name for s in stores]
        elif kind == "CustomField":
            names += [f"{s.type.name}.{f}" for s in stores for f in s.type.fields if f.endswith("__c")]
        return sorted(set(names))

    def _describe(self, _call: ET.Element) -> list[ET.Element]:
        result = _made("result")
        for name, (folder, suffix) in TYPES.items():
            if name == "CustomField":
                continue  # part of its object, as in the original
            entry = _made(
                "metadataObjects", directoryName=folder, inFolder=False, metaFile=name == "ApexClass", suffix=suffix,
                xmlName=name,
            )  # fmt: skip
            if name == "CustomObject":
                entry.insert(0, _made("childXmlNames", "CustomField"))
            result.append(entry)
        result.extend(
            [_made("organizationNamespace", ""), _made("partialSaveAllowed", True), _made("testRequired", False)]
        )
        return [result]

    def _value_type(self, call: ET.Element) -> list[ET.Element]:
        kind = (_text(call, "type") or "").rpartition("}")[2]
        if kind not in TYPES:
            raise Fault("INVALID_TYPE", f"INVALID_TYPE: {kind} is not a known metadata type")
        result = _made("result", apiCreatable=True, apiDeletable=True, apiReadable=True, apiUpdatable=True)
        result.append(
            _made(
                "valueTypeFields",
                isForeignKey=False,
                isNameField=True,
                minOccurs=0,
                name="fullName",
                soapType="string",
                valueRequired=True,
            )
        )
        return [result]

    def _list(self, call: ET.Element) -> list[ET.Element]:
        found: list[ET.Element] = []
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for query in call.findall(f"{{{NS}}}queries"):
            kind = _text(query, "type") or ""
            if kind not in TYPES:
                raise Fault("INVALID_TYPE", f"INVALID_TYPE: Unknown type:{kind}")
            folder, suffix = TYPES[kind]
            for number, name in enumerate(self._names(kind)):
                found.append(
                    _made(
                        "result",
                        createdById=self._user.id,
                        createdByName=self._user.username,
                        createdDate=now,
                        fileName=f"{folder}/{name.partition('.')[0]}.{suffix}",
                        fullName=name,
                        id=make_id("00N", number + 1),
                        lastModifiedById=self._user.id,
                        lastModifiedByName=self._user.username,
                        lastModifiedDate=now,
                        manageableState="unmanaged",
                        type=kind,
                    )
                )
        return found

    def _read(self, call: ET.Element) -> list[ET.Element]:
        kind = _text(call, "type") or ""
        result = _made("result")
        for name in _texts(call, "fullNames"):
            record = _made("records")
            record.set(f"{{{XSI}}}type", ET.QName(NS, kind))  # type: ignore[arg-type]  # a name with its prefix
            record.extend(self._parts(kind, name))
            result.append(record)  # one that is not there is an empty record, as in the original
        return [result]

    def _parts(self, kind: str, name: str) -> list[ET.Element]:
        kept = self.kept.get(kind, {}).get(name)
        if kept is not None:
            return [copy.deepcopy(part) for part in kept]
        if name not in self._names(kind):
            return []
        store = self.org.stores[name.partition(".")[0].lower()]
        if kind == "CustomField":
            return self._field_parts(name, store.type.fields[name.partition(".")[2]])
        fields = []
        for known in store.type.fields.values():
            if known.name.endswith("__c"):
                entry = _made("fields")
                entry.extend(self._field_parts(known.name, known))
                fields.append(entry)
        return [_made("fullName", name), *fields, _made("label", name), _made("sharingModel", "ReadWrite")]

    @staticmethod
    def _field_parts(name: str, known: Field) -> list[ET.Element]:
        words = {system: word for word, system in FIELD_TYPES.items()}
        parts = [
            _made("fullName", name), _made("label", known.name.removesuffix("__c").replace("_", " ")),
            _made("type", words.get(known.type, "Text")), _made("unique", known.unique),
            _made("externalId", known.external_id),
        ]  # fmt: skip
        if known.length:
            parts.append(_made("length", known.length))
        if known.precision:
            parts += [_made("precision", known.precision), _made("scale", known.scale)]
        return parts

    # --- changing it --------------------------------------------------------------------------------------------

    def _save(self, call: ET.Element, *, create: bool | None) -> list[ET.Element]:
        """Create (True), update (False) or upsert (None)."""
        given = call.findall(f"{{{NS}}}metadata")
        if len(given) > MOST:
            raise Fault("LIMIT_EXCEEDED", f"LIMIT_EXCEEDED: {len(given)} components, and {MOST} are the most")
        results = []
        for entry in given:
            kind = entry.get(f"{{{XSI}}}type", "").rpartition(":")[2]
            name = _text(entry, "fullName") or ""
            there = name in self._names(kind)
            problem = self._refused(kind, name, there=there, create=create)
            if problem is None:
                problem = self._keep(kind, name, entry)
            result = _outcome(name, problem)
            if create is None:
                result.insert(0, _made("created", problem is None and not there))
            results.append(result)
        return results

    @staticmethod
    def _refused(kind: str, name: str, *, there: bool, create: bool | None) -> tuple[str, str] | None:
        if kind not in TYPES:
            return "INVALID_TYPE", f"Unknown type {kind}"
        if not name:
            return "REQUIRED_FIELD_MISSING", "Required field is missing: fullName"
        if create is True and there:
            return "DUPLICATE_DEVELOPER_NAME", f"There is already a {kind} named {name}"
        if create is False and not there:
            return "INVALID_CROSS_REFERENCE_KEY", f"In field: fullName - no {kind} named {name} found"
        return None

    def _keep(self, kind: str, name: str, entry: ET.Element) -> tuple[str, str] | None:
        if kind == "CustomField":
            return self._keep_field(name, entry)
        self.kept.setdefault(kind, {})[name] = [copy.deepcopy(part) for part in entry]
        return None

    def _keep_field(self, name: str, entry: ET.Element) -> tuple[str, str] | None:
        object_name, _, field_name = name.partition(".")
        store = self.org.stores.get(object_name.lower())
        word = _text(entry, "type") or ""
        if store is None or not field_name.endswith("__c"):
            return "INVALID_CROSS_REFERENCE_KEY", f"Entity of CustomField {name} does not exist"
        if word not in FIELD_TYPES:
            return "FIELD_INTEGRITY_EXCEPTION", f"{name}: type {word or 'missing'} is not offered here"
        known = store.type.fields.get(field_name)
        store.type.fields[field_name] = Field(
            field_name, FIELD_TYPES[word], length=int(_text(entry, "length") or (255 if word == "Text" else 0)),
            unique=_text(entry, "unique") == "true", external_id=_text(entry, "externalId") == "true",
            precision=int(_text(entry, "precision") or 0), scale=int(_text(entry, "scale") or 0),
        )  # fmt: skip
        if known is None:
            for record in (*store.live.values(), *store.bin.values()):
                record[field_name] = None
        return None

    def _delete(self, call: ET.Element) -> list[ET.Element]:
        kind = _text(call, "type") or ""
        results = []
        for name in _texts(call, "fullNames"):
            problem = None
            if self.kept.get(kind, {}).pop(name, None) is None and not self._drop_field(kind, name):
                problem = ("INVALID_CROSS_REFERENCE_KEY", f"In field: fullName - no {kind} named {name} found")
            results.append(_outcome(name, problem))
        return results

    def _drop_field(self, kind: str, name: str) -> bool:
        object_name, _, field_name = name.partition(".")
        store = self.org.stores.get(object_name.lower())
        if kind != "CustomField" or store is None or field_name not in store.type.fields:
            return False
        del store.type.fields[field_name]
        for record in (*store.live.values(), *store.bin.values()):
            record.pop(field_name, None)
        return True

    def _rename(self, call: ET.Element) -> list[ET.Element]:
        kind, old, new = (_text(call, n) or "" for n in ("type", "oldFullName", "newFullName"))
        kept = self.kept.get(kind, {})
        if old not in kept:
            problem = ("INVALID_CROSS_REFERENCE_KEY", f"In field: fullName - no {kind} named {old} found")
            return [_outcome(old, problem)]
        parts = kept.pop(old)
        for part in parts:
            if part.tag == f"{{{NS}}}fullName":
                part.text = new
        kept[new] = parts
        return [_outcome(new, None)]

    # --- packages -----------------------------------------------------------------------------------------------

    def _job(self, kind: str) -> _Job:
        job = _Job(make_id("0Af" if kind == "deploy" else "09S", len(self.jobs) + 1), kind)
        self.jobs[job.id] = job
        return job

    def _started(self, job: _Job) -> list[ET.Element]:
        return [_made("result", done=False, id=job.id, state="Queued")]

    def _deploy(self, call: ET.Element) -> list[ET.Element]:
        options = call.find(f"{{{NS}}}DeployOptions")
        job = self._job("deploy")
        job.check_only = options is not None and (_text(options, "checkOnly") or "").lower() == "true"
        try:
            files = _unzipped(_text(call, "ZipFile") or "")
            package = defusedxml.ElementTree.fromstring(files.pop("package.xml"))
        except (zipfile.BadZipFile, binascii.Error, KeyError, ET.ParseError, defusedxml.DefusedXmlException):
            job.failures.append(("package.xml", "", "No package.xml found"))
            return self._started(job)
        for types in package.findall(f"{{{NS}}}types"):
            kind = _text(types, "name") or ""
            for member in _texts(types, "members"):
                folder, suffix = TYPES.get(kind, ("", ""))
                path = f"{folder}/{member}.{suffix}"
                if kind not in TYPES:
                    job.failures.append(("package.xml", kind, f"Unknown type name '{kind}' specified in package.xml"))
                elif path not in files:
                    problem = f"An object '{member}' of type {kind} was named in package.xml, but was not found"
                    job.failures.append((path, kind, problem))
                else:
                    job.parts.append(path)
                    job.files[path] = files[path]
                    self._note(job, kind, member, files[path])
        if not job.failures and not job.check_only:
            self.files.update(job.files)
        return self._started(job)

    def _note(self, job: _Job, kind: str, name: str, content: bytes) -> None:
        """A component of XML is one that can be read; others (code) are files alone."""
        if kind == "ApexClass":
            return
        try:
            tree = defusedxml.ElementTree.fromstring(content)
        except (ET.ParseError, defusedxml.DefusedXmlException) as error:
            job.failures.append((job.parts[-1], kind, f"Error parsing file: {error}"))
            return
        if not job.check_only:
            self.kept.setdefault(kind, {})[name] = [_made("fullName", name), *tree]

    def _known(self, call: ET.Element, kind: str) -> _Job:
        job = self.jobs.get(_text(call, "asyncProcessId") or "")
        if job is None or job.kind != kind:
            raise Fault("INVALID_ID_FIELD", "INVALID_ID_FIELD: no such process")
        return job

    def _deployed(self, call: ET.Element) -> list[ET.Element]:
        job = self._known(call, "deploy")
        failed = len(job.failures)
        result = _made(
            "result", checkOnly=job.check_only, done=True, id=job.id, numberComponentErrors=failed,
            numberComponentsDeployed=0 if failed else len(job.parts), numberComponentsTotal=len(job.parts) + failed,
            numberTestErrors=0, numberTestsCompleted=0, numberTestsTotal=0, rollbackOnError=True,
            status="Failed" if failed else "Succeeded", success=not failed,
        )  # fmt: skip
        details = _made("details")
        for path, kind, problem in job.failures:
            details.append(
                _made(
                    "componentFailures",
                    componentType=kind,
                    fileName=path,
                    problem=problem,
                    problemType="Error",
                    success=False,
                )
            )
        result.insert(1, details)
        return [result]

    def _retrieve(self, call: ET.Element) -> list[ET.Element]:
        job = self._job("retrieve")
        package = _made("Package")
        for types in call.iter():
            if types.tag.rpartition("}")[2] != "types":
                continue
            kind = _loose(types, "name")[0] if _loose(types, "name") else ""
            folder, suffix = TYPES.get(kind, ("", ""))
            listed = _made("types")
            for member in _loose(types, "members"):
                for name in self._names(kind) if member == "*" else [member]:
                    path = f"{folder}/{name}.{suffix}"
                    parts = self._parts(kind, name)
                    if path in self.files:
                        job.files[path] = self.files[path]
                    elif parts:
                        tree = _made(kind)
                        tree.extend(p for p in parts if p.tag != f"{{{NS}}}fullName")
                        job.files[path] = ET.tostring(tree, encoding="UTF-8", default_namespace=NS)
                    else:
                        problem = f"Entity of type '{kind}' named '{name}' cannot be found"
                        job.failures.append(("unpackaged/package.xml", kind, problem))
                        continue
                    listed.append(_made("members", name))
            listed.append(_made("name", kind))
            package.append(listed)
        job.files["package.xml"] = ET.tostring(package, encoding="UTF-8", default_namespace=NS)
        return self._started(job)

    def _retrieved(self, call: ET.Element) -> list[ET.Element]:
        job = self._known(call, "retrieve")
        result = _made("result", done=True, id=job.id)
        for path, _kind, problem in job.failures:
            result.append(_made("messages", fileName=path, problem=problem))
        result.extend([_made("status", "Succeeded"), _made("success", True)])
        if (_text(call, "includeZip") or "").lower() == "true":
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                for path, content in job.files.items():
                    archive.writestr(path, content)
            result.append(_made("zipFile", base64.b64encode(packed.getvalue()).decode()))
        return [result]


def _unzipped(text: str) -> dict[str, bytes]:
    """The package's files by their path in it, the folder of a single package stripped."""
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(text, validate=True))) as archive:
        names = [n for n in archive.namelist() if not n.endswith("/")]
        depth = 0 if "package.xml" in names else 1
        return {str(PurePosixPath(*PurePosixPath(n).parts[depth:])): archive.read(n) for n in names}


def _made(tag: str, value: Any = None, /, **children: Any) -> ET.Element:
    element = ET.Element(f"{{{NS}}}{tag}")
    if value is not None:
        element.text = str(value).lower() if isinstance(value, bool) else str(value)
    for child, inner in children.items():
        element.append(_made(child, inner))
    return element


def _text(element: ET.Element, name: str) -> str | None:
    return element.findtext(f"{{{NS}}}{name}")


def _texts(element: ET.Element, name: str) -> list[str]:
    return [child.text or "" for child in element.findall(f"{{{NS}}}{name}")]


def _loose(element: ET.Element, name: str) -> list[str]:
    """Texts of children by their local name: clients write the types of a retrieve without a namespace."""
    return [child.text or "" for child in element if child.tag.rpartition("}")[2] == name]


def _outcome(name: str, problem: tuple[str, str] | None) -> ET.Element:
    result = _made("result")
    if problem is not None:
        result.append(_made("errors", message=problem[1], statusCode=problem[0]))
    result.extend([_made("fullName", name), _made("success", problem is None)])
    return result


def _envelope(answer: ET.Element) -> bytes:
    envelope = ET.Element(f"{{{ENVELOPE}}}Envelope")
    ET.SubElement(envelope, f"{{{ENVELOPE}}}Body").append(answer)
    return ET.tostring(envelope, encoding="UTF-8", xml_declaration=True)


def _fault(code: str, message: str) -> bytes:
    fault = ET.Element(f"{{{ENVELOPE}}}Fault")
    ET.SubElement(fault, "faultcode").text = f"sf:{code}"
    ET.SubElement(fault, "faultstring").text = message
    return _envelope(fault)
