"""The org itself: users, sessions, records with their rules, deleted records, and who may see what."""

from __future__ import annotations

import base64
import bisect
import hashlib
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from weighbridge.sandbox.salesforce import soql
from weighbridge.sandbox.salesforce.model import ApiError, Field, SObject, make_id, stamp, to18

__all__ = ["Org", "Store", "User"]

Record = dict[str, Any]
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]{2,}")


@dataclass(slots=True)
class User:
    """One user; `hidden` are the fields its profile may not see, as `Account.Credit_Limit__c`."""

    id: str
    username: str
    password: str
    token: str = ""
    view_all: bool = True
    hidden: frozenset[str] = frozenset()
    api_enabled: bool = True
    view_setup: bool = True
    """May see Setup and Configuration: without it `/limits` is forbidden."""


@dataclass(slots=True)
class Client:
    """One connected app."""

    id: str
    secret: str | None = None
    certificate: str | None = None
    """PEM public key or certificate for JWT bearer."""
    run_as: str | None = None
    """Username of the client credentials flow."""


@dataclass(slots=True)
class Store:
    """The records of one type, with an index by id and by external id."""

    type: SObject
    live: dict[str, Record] = field(default_factory=dict)
    bin: dict[str, Record] = field(default_factory=dict)
    ordered: list[str] = field(default_factory=list)
    """Ids of live and deleted records, ascending."""
    index: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    next: int = 1

    def put(self, record: Record) -> None:
        bisect.insort(self.ordered, record["Id"])
        self.live[record["Id"]] = record
        self._note(record)

    def load(self, records: list[Record]) -> None:
        """Put many new records whose ids ascend behind all there are."""
        self.ordered += [r["Id"] for r in records]
        self.live.update((r["Id"], r) for r in records)
        for record in records:
            self._note(record)

    def indexed(self) -> list[str]:
        return [f.name for f in self.type.fields.values() if f.external_id or f.unique]

    def _note(self, record: Record) -> None:
        for name in self.indexed():
            value = record.get(name)
            if value is not None:
                self.index.setdefault(name, {}).setdefault(str(value).lower(), []).append(record["Id"])

    def forget(self, record: Record) -> None:
        for name in self.indexed():
            value = record.get(name)
            if value is not None:
                ids = self.index.get(name, {}).get(str(value).lower(), [])
                if record["Id"] in ids:
                    ids.remove(record["Id"])

    def by_value(self, name: str, value: Any) -> list[Record]:
        ids = self.index.get(name, {}).get(str(value).lower(), [])
        return [self.live[i] for i in ids if i in self.live]


class Org:
    """One Salesforce org in memory."""

    def __init__(self, *, version: str = "59.0", edition: str = "Enterprise Edition", sandbox: bool = True) -> None:
        self.version = version
        self.edition = edition
        self.sandbox = sandbox
        self.id = make_id("00D", 1)
        self.types: dict[str, SObject] = {}
        self.stores: dict[str, Store] = {}
        self.users: dict[str, User] = {}
        self.clients: dict[str, Client] = {}
        self.sessions: dict[str, tuple[User, float]] = {}
        self.session_s = 7200.0
        self.logins = 0
        self.journal: deque[dict[str, Any]] = deque(maxlen=20_000)
        self._serial = 0

    # --- set-up ---

    def add_type(self, sobject: SObject) -> Store:
        self.types[sobject.name.lower()] = sobject
        store = Store(sobject)
        self.stores[sobject.name.lower()] = store
        return store

    def store(self, name: str) -> Store:
        """Raises ApiError NOT_FOUND."""
        found = self.stores.get(name.lower())
        if found is None:
            raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
        return found

    def new_id(self, store: Store) -> str:
        made = make_id(store.type.prefix, store.next)
        store.next += 1
        return made

    # --- sessions ---

    def log_in(self, user: User) -> str:
        """A new session id for the user."""
        self.logins += 1
        self._serial += 1
        digest = hashlib.sha256(f"{self.id}{user.id}{self._serial}{time.time_ns()}".encode()).digest()
        token = f"{self.id[:15]}!AQ{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
        self.sessions[token] = (user, time.monotonic() + self.session_s)
        return token

    def session(self, token: str) -> User:
        """Raises ApiError INVALID_SESSION_ID."""
        found = self.sessions.get(token)
        if found is None or found[1] < time.monotonic():
            self.sessions.pop(token, None)
            raise ApiError(401, "INVALID_SESSION_ID", "Session expired or invalid")
        if not found[0].api_enabled:
            raise ApiError(403, "API_DISABLED_FOR_ORG", "API is not enabled for this Organization or Partner")
        return found[0]

    def now(self) -> str:
        return stamp(datetime.now(UTC))

    # --- what a user sees ---

    def hidden(self, sobject: SObject, user: User) -> frozenset[str]:
        prefix = sobject.name + "."
        return frozenset(h[len(prefix) :] for h in user.hidden if h.startswith(prefix))

    def visible(self, sobject: SObject, user: User) -> Callable[[Record], bool] | None:
        """A test for sharing, None where all records are visible."""
        if not sobject.private or user.view_all:
            return None
        mine = user.id
        return lambda record: record.get("OwnerId") == mine

    # --- records ---

    def find(self, store: Store, record_id: str, user: User) -> Record:
        record_id = to18(record_id)
        record = store.live.get(record_id)
        if record is None and record_id in store.bin:
            raise ApiError(404, "ENTITY_IS_DELETED", "entity is deleted")
        test = self.visible(store.type, user)
        if record is None or (test and not test(record)):
            raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
        return record

    def create(self, store: Store, values: Record, user: User) -> str:
        checked = self._checked(store, values, user, creating=True)
        now = self.now()
        record: Record = dict.fromkeys(store.type.fields)
        for f in store.type.fields.values():
            if f.type == "boolean":
                record[f.name] = False
        record.update(checked)
        record["Id"] = self.new_id(store)
        record["IsDeleted"] = False
        if "OwnerId" in record and record["OwnerId"] is None:
            record["OwnerId"] = user.id
        record.update(CreatedDate=now, LastModifiedDate=now, SystemModstamp=now)
        store.put(record)
        self._log("create", store, record)
        return record["Id"]

    def update(self, store: Store, record_id: str, values: Record, user: User) -> None:
        record = self.find(store, record_id, user)
        checked = self._checked(store, values, user, creating=False, own=record["Id"])
        store.forget(record)
        fresh = {**record, **checked, "LastModifiedDate": self.now(), "SystemModstamp": self.now()}
        store.live[record["Id"]] = fresh
        store._note(fresh)
        self._log("update", store, fresh)

    def delete(self, store: Store, record_id: str, user: User) -> None:
        record = self.find(store, record_id, user)
        if not store.type.writable:
            raise ApiError(400, "INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id")
        store.forget(record)
        del store.live[record["Id"]]
        store.bin[record["Id"]] = {**record, "IsDeleted": True, "SystemModstamp": self.now()}
        self._log("delete", store, record)

    def upsert(self, store: Store, name: str, value: str, values: Record, user: User) -> tuple[str, bool]:
        """(id, created). Raises ApiError 300 where the external id is not unique."""
        definition = self._external(store, name, user)
        matches = store.by_value(definition.name, value)
        if len(matches) > 1:
            raise ApiError(
                300, "DUPLICATE_EXTERNAL_ID", f"{definition.name}: more than one record found for external id field"
            )
        rest = {k: v for k, v in values.items() if k.lower() not in (definition.name.lower(), "id")}
        if matches:
            self.update(store, matches[0]["Id"], rest, user)
            return matches[0]["Id"], False
        return self.create(store, {**rest, definition.name: value}, user), True

    def _external(self, store: Store, name: str, user: User) -> Field:
        definition = self._field(store.type, name)
        if (
            definition is None
            or definition.name in self.hidden(store.type, user)
            or not (definition.external_id or definition.name == "Id")
        ):
            raise ApiError(404, "NOT_FOUND", "Provided external ID field does not exist or is not accessible: " + name)
        return definition

    def external_matches(self, store: Store, name: str, value: str, user: User) -> list[Record]:
        return store.by_value(self._external(store, name, user).name, value)

    def _log(self, action: str, store: Store, record: Record) -> None:
        self.journal.append({"action": action, "object": store.type.name, "id": record["Id"]})

    def _field(self, sobject: SObject, name: str) -> Field | None:
        exact = sobject.fields.get(name)
        if exact is not None:
            return exact
        lower = name.lower()
        return next((f for f in sobject.fields.values() if f.name.lower() == lower), None)

    def _checked(self, store: Store, values: Record, user: User, *, creating: bool, own: str | None = None) -> Record:
        if not store.type.writable:
            raise ApiError(400, "INSUFFICIENT_ACCESS_OR_READONLY", "entity type cannot be changed")
        hidden = self.hidden(store.type, user)
        checked: Record = {}
        for name, value in values.items():
            if name == "attributes":
                continue
            definition = self._field(store.type, name)
            if definition is None or definition.name in hidden:
                raise ApiError(400, "INVALID_FIELD", f"No such column '{name}' on sobject of type {store.type.name}")
            if not definition.writable:
                raise ApiError(
                    400,
                    "INVALID_FIELD_FOR_INSERT_UPDATE",
                    f"Unable to create/update fields: {definition.name}. Please check the security settings of this "
                    "field and verify that it is read/write for your profile or permission set.",
                    fields=(definition.name,),
                )
            checked[definition.name] = self._fit(definition, value)
        missing = [
            f.name
            for f in store.type.fields.values()
            if not f.nillable and not f.defaulted and f.type != "boolean"
            and (checked.get(f.name) in (None, "") if creating or f.name in checked else False)
        ]  # fmt: skip
        if missing:
            raise ApiError(
                400,
                "REQUIRED_FIELD_MISSING",
                f"Required fields are missing: [{', '.join(missing)}]",
                fields=tuple(missing),
            )
        for f in store.type.fields.values():
            if f.unique and checked.get(f.name) is not None:
                others = [r for r in store.by_value(f.name, checked[f.name]) if r["Id"] != own]
                if others:
                    raise ApiError(
                        400,
                        "DUPLICATE_VALUE",
                        f"duplicate value found: {f.name} duplicates value on record with id: {others[0]['Id'][:15]}",
                    )
        return checked

    def _fit(self, f: Field, value: Any) -> Any:
        if value is None or value == "":
            return None
        if f.type == "boolean":
            if isinstance(value, bool) or str(value).lower() in ("true", "false"):
                return value if isinstance(value, bool) else str(value).lower() == "true"
            raise self._wrong(f, value)
        if f.type in ("int", "double", "currency", "percent"):
            return self._number(f, value)
        if f.type in ("date", "datetime"):
            return self._moment(f, value)
        if not isinstance(value, str):
            raise self._wrong(f, value)
        if f.type in ("id", "reference"):
            return self._reference(f, value)
        if f.length and len(value) > f.length:
            raise ApiError(
                400,
                "STRING_TOO_LONG",
                f"{f.name}: data value too large: {value[:80]} (max length={f.length})",
                fields=(f.name,),
            )
        if f.type == "email" and not _EMAIL.fullmatch(value):
            raise ApiError(400, "INVALID_EMAIL_ADDRESS", f"{f.name}: invalid email address: {value}", fields=(f.name,))
        if f.restricted and value not in f.picklist:
            raise ApiError(
                400,
                "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
                f"{f.name}: bad value for restricted picklist field: {value}",
                fields=(f.name,),
            )
        return value

    def _number(self, f: Field, value: Any) -> Any:
        if isinstance(value, bool):
            raise self._wrong(f, value)
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise self._wrong(f, value) from None
        if f.type == "int":
            if number != int(number) or abs(number) > 2**31:
                raise self._wrong(f, value)
            return int(number)
        if f.precision and abs(number) >= 10 ** (f.precision - f.scale):
            raise ApiError(
                400, "NUMBER_OUTSIDE_VALID_RANGE", f"{f.name}: value outside of valid range", fields=(f.name,)
            )
        return round(number, f.scale or 2)

    def _moment(self, f: Field, value: Any) -> str:
        try:
            if f.type == "date":
                return datetime.fromisoformat(str(value)[:10]).date().isoformat()
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            raise ApiError(
                400, "JSON_PARSER_ERROR", f"Cannot deserialize instance of {f.type} from value {str(value)[:40]}"
            ) from None
        return stamp(moment if moment.tzinfo else moment.replace(tzinfo=UTC))

    def _reference(self, f: Field, value: str) -> str:
        if len(value) not in (15, 18) or not value.isalnum():
            raise ApiError(400, "MALFORMED_ID", f"{f.name}: id value of incorrect type: {value}", fields=(f.name,))
        value = to18(value)
        target = self.stores.get((f.reference_to or "").lower())
        if target is not None and value not in target.live:
            raise ApiError(
                400, "INVALID_CROSS_REFERENCE_KEY", f"{f.name}: invalid cross reference id", fields=(f.name,)
            )
        return value

    def _wrong(self, f: Field, value: Any) -> ApiError:
        return ApiError(
            400,
            "INVALID_TYPE_ON_FIELD_IN_RECORD",
            f"{f.name}: value not of required type: {str(value)[:60]}",
            fields=(f.name,),
        )

    # --- queries ---

    def lens(self, user: User) -> Lens:
        return Lens(self, user)


class Lens:
    """The org as one user sees it: resolves fields and runs queries."""

    def __init__(self, org: Org, user: User) -> None:
        self.org = org
        self.user = user

    def field_of(self, sobject: SObject, path: str) -> tuple[Callable[[Record], Any], Field]:
        """A getter and the definition; raises ApiError INVALID_FIELD."""
        head, _, rest = path.partition(".")
        if (
            rest
            and head.lower() == sobject.name.lower()
            and not any((f.relationship or "").lower() == head.lower() for f in sobject.fields.values())
        ):
            return self.field_of(sobject, rest)
        if not rest:
            definition = self.org._field(sobject, head)
            if definition is None or definition.name in self.org.hidden(sobject, self.user):
                raise ApiError(
                    400,
                    "INVALID_FIELD",
                    f"No such column '{head}' on entity '{sobject.name}'. If you are attempting to use a custom field, "
                    "be sure to append the '__c' after the custom field name. Please reference your WSDL or the "
                    "describe call for the appropriate names.",
                )
            return itemgetter(definition.name), definition
        link = next((f for f in sobject.fields.values() if (f.relationship or "").lower() == head.lower()), None)
        if link is None or link.reference_to is None:
            raise ApiError(
                400, "INVALID_FIELD", f"Didn't understand relationship '{head}' in field path. "
                "If you are attempting to use a custom relationship, be sure to append the '__r'."
            )  # fmt: skip
        parents = self.org.store(link.reference_to)
        inner, definition = self.field_of(parents.type, rest)
        link_name = link.name

        def through(record: Record) -> Any:
            parent = parents.live.get(record[link_name] or "")
            return None if parent is None else inner(parent)

        return through, definition

    def matching(self, query: soql.Query, *, deleted: bool) -> list[Record]:
        """Records of a query in order, before aggregation, with LIMIT and OFFSET applied."""
        store = self.org.stores.get(query.object.lower())
        if store is None:
            raise ApiError(
                400,
                "INVALID_TYPE",
                f"sObject type '{query.object}' is not supported. If you are attempting to use a custom object, be "
                "sure to append the '__c' after the entity name. Please reference your WSDL or the describe call for "
                "the appropriate names.",
            )
        test = soql.compile_where(query.where, store.type, self)
        shared = self.org.visible(store.type, self.user)
        by_id = not query.order or (
            len(query.order) == 1 and query.order[0][0].lower() == "id" and not query.order[0][1]
        )
        most = None
        if by_id and query.limit is not None and not query.aggregated and not query.count_only:
            most = query.limit + query.offset
        found: list[Record] = []
        for record in self._candidates(store, query, deleted):
            if (shared is None or shared(record)) and test(record):
                found.append(record)
                if most is not None and len(found) >= most:
                    break
        if not by_id:
            for path, down, nulls_first in reversed(query.order):
                getter, definition = self.field_of(store.type, path)
                found.sort(key=soql.sort_key(getter, definition, nulls_last=nulls_first == down), reverse=down)
        if not query.aggregated:
            end = None if query.limit is None else query.offset + query.limit
            found = found[query.offset : end]
        return found

    def _candidates(self, store: Store, query: soql.Query, deleted: bool) -> Iterator[Record]:
        ids: list[str] | None = None
        start = 0
        for part in soql.conjuncts(query.where):
            if part[0] == "cmp" and part[2] == "=" and part[3].kind == "string":
                f = self.org._field(store.type, part[1])
                if f is not None and f.type == "id":
                    ids = [to18(part[3].value)]
                elif f is not None and (f.external_id or f.unique) and not deleted:
                    ids = [r["Id"] for r in store.by_value(f.name, part[3].value)]
            elif part[0] == "in" and not part[3] and part[1].lower() == "id":
                ids = sorted(to18(str(v.value)) for v in part[2])
            elif part[0] == "cmp" and part[1].lower() == "id" and part[2] in (">", ">=") and part[3].kind == "string":
                start = max(start, bisect.bisect_left(store.ordered, to18(part[3].value)))
        live, gone, ordered = store.live, store.bin, store.ordered
        if ids is None:
            ids = ordered if start == 0 else ordered[start:] if query.limit is None else _from(ordered, start)  # type: ignore[assignment]
        for record_id in ids:  # type: ignore[union-attr]  # set above
            record = live.get(record_id)
            if record is None and deleted:
                record = gone.get(record_id)
            if record is not None:
                yield record

    def projector(self, query: soql.Query) -> Callable[[Record], Record]:
        """A function that makes the JSON record of a match."""
        store = self.org.store(query.object)
        version, name = self.org.version, store.type.name
        base = f"/services/data/v{version}/sobjects/{name}/"
        flat: list[str] = []
        nested: dict[str, list[str]] = {}
        for item in self._expanded(query, store):
            if "." in item.path:
                self.field_of(store.type, item.path)
                head, _, rest = item.path.partition(".")
                if head.lower() == name.lower():
                    flat.append(self.field_of(store.type, rest)[1].name)
                else:
                    nested.setdefault(head, []).append(rest)
            else:
                flat.append(self.field_of(store.type, item.path)[1].name)
        parents = [self._parent(store, head, rests) for head, rests in nested.items()]

        def project(record: Record) -> Record:
            out: Record = {"attributes": {"type": name, "url": base + record["Id"]}}
            for column in flat:
                out[column] = record[column]
            for head, make in parents:
                out[head] = make(record)
            return out

        return project

    def _expanded(self, query: soql.Query, store: Store) -> list[soql.Selected]:
        items: list[soql.Selected] = []
        for item in query.selected:
            if not item.path.startswith("FIELDS("):
                items.append(item)
                continue
            if query.limit is None or query.limit > 200:
                raise soql.malformed("The SOQL FIELDS function must have a LIMIT of at most 200")
            hidden = self.org.hidden(store.type, self.user)
            items += [soql.Selected(n) for n in store.type.fields if n not in hidden]
        return items

    def _parent(self, store: Store, head: str, rests: list[str]) -> tuple[str, Callable[[Record], Any]]:
        link = next(f for f in store.type.fields.values() if (f.relationship or "").lower() == head.lower())
        parents = self.org.store(link.reference_to or "")
        inner = self.projector(soql.Query(parents.type.name, [soql.Selected(r) for r in rests]))

        def make(record: Record) -> Any:
            parent = parents.live.get(record[link.name] or "")
            return None if parent is None else inner(parent)

        return link.relationship or head, make

    def aggregate(self, query: soql.Query, records: list[Record]) -> list[Record]:
        """The AggregateResult records of a query with aggregates or GROUP BY."""
        store = self.org.store(query.object)
        groups: dict[tuple[Any, ...], list[Record]] = {}
        getters = [self.field_of(store.type, g)[0] for g in query.group]
        for record in records:
            groups.setdefault(tuple(g(record) for g in getters), []).append(record)
        if not query.group:
            groups = {(): records}
        made: list[Record] = []
        for key, members in groups.items():
            out: Record = {"attributes": {"type": "AggregateResult"}}
            unnamed = 0
            for item in query.selected:
                if item.aggregate is None:
                    if item.path not in query.group:
                        raise soql.malformed(f"Field must be grouped or aggregated: {item.path}")
                    out[item.path] = key[query.group.index(item.path)]
                    continue
                name = item.alias or f"expr{unnamed}"
                unnamed += item.alias is None
                out[name] = _aggregate(item.aggregate, self.field_of(store.type, item.path)[0], members)
            made.append(out)
        end = None if query.limit is None else query.offset + query.limit
        return made[query.offset : end]


def _from(ordered: list[str], start: int) -> Iterator[str]:
    for at in range(start, len(ordered)):
        yield ordered[at]


def _aggregate(function: str, getter: Callable[[Record], Any], records: list[Record]) -> Any:
    values = [v for r in records if (v := getter(r)) is not None]
    if function == "COUNT":
        return len(values)
    if function == "COUNT_DISTINCT":
        return len({str(v).lower() for v in values})
    if not values:
        return None
    if function == "MIN":
        return min(values)
    if function == "MAX":
        return max(values)
    total = sum(values)
    return total if function == "SUM" else total / len(values)
