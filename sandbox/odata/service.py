"""One OData service of the stand-in: answers a request with a reply, V2 or V4, knowing nothing of sockets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from weighbridge.sandbox.odata.model import BadRecord, Entity, Key, Store, Table, check_record
from weighbridge.sandbox.odata.query import BadQuery, compile_filter, compile_order, parse_literal, seek_of
from weighbridge.sandbox.odata.render import Writer, key_predicate, metadata

__all__ = ["Call", "Problem", "Quirks", "Reply", "Service"]

XML = "application/xml"
BATCH = "multipart/mixed"


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a service; `path` is below the service root, decoded; header names are lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""
    root: str = ""
    """The service's own address as the client wrote it."""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Quirks:
    """How real services differ; each was seen on one."""

    relative_next: bool = False
    """nextLinks without scheme and host (V4 allows it)."""
    next_host: str | None = None
    """Another host name in nextLinks: `localhost` for 127.0.0.1, or a host inside the data centre."""
    ignore_maxpagesize: bool = False
    keyset: bool = True
    """False: `gt` on a key is refused with 501, as some services do."""
    count: bool = True
    """False: no /$count."""
    empty_for_null: bool = False
    """Sends '' where a text is null."""
    next_loop: bool = False
    """From the second page on the nextLink names the same page again."""


class Problem(Exception):
    """A request the service refuses, with the status and code of its error."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = headers or {}


@dataclass(slots=True)
class _Options:
    """The system query options of one call."""

    select: tuple[str, ...] | None
    where: str | None
    order: str | None
    top: int | None
    skip: int
    count: bool
    token: int
    delta: int | None


KNOWN = {
    "$select", "$filter", "$orderby", "$top", "$skip", "$count", "$inlinecount", "$skiptoken", "$deltatoken", "$format",
    "$expand", "$search", "sap-client", "sap-language",
}  # fmt: skip


class Service:
    """Stateful; `answer` may be called for one request at a time."""

    def __init__(self, name: str, version: int, store: Store, *, quirks: Quirks, page_rows: int | None) -> None:
        self.name = name
        self.version = version
        self.store = store
        self.quirks = quirks
        self.page_rows = page_rows
        self._writers: dict[tuple[Any, ...], Writer] = {}

    # --- dispatch ---------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Drop what was kept of the rows' texts, after an entity changed its shape."""
        self._writers.clear()

    def answer(self, call: Call) -> Reply:
        """The reply, errors included."""
        try:
            return self._answer(call)
        except Problem as problem:
            return self.error(problem.status, problem.code, problem.message, headers=problem.headers)
        except BadQuery as problem:
            return self.error(400, "BadRequest", str(problem))
        except BadRecord as problem:
            return self.error(400, "BadRequest", str(problem), target=problem.field)

    def _answer(self, call: Call) -> Reply:
        path = call.path.strip("/")
        if path == "":
            return self._document(call)
        if path == "$metadata":
            return Reply(200, metadata(self.store.tables, self.version).encode(), {"Content-Type": XML})
        if path == "$batch":
            from weighbridge.sandbox.odata.batch import answer_batch

            return answer_batch(self, call)
        found = re.match(r"^(\w+)(?:\((.*)\))?(?:/(.+))?$", path, re.DOTALL)
        table = self.store.tables.get(found[1]) if found else None
        if found is None or table is None:
            raise Problem(404, "NotFound", f"Resource not found for the segment '{path[:80]}'.")
        predicate, rest = found[2], found[3]
        if predicate is None:
            return self._on_set(call, table, rest)
        return self._on_entity(call, table, self._key(table.entity, predicate), rest)

    def _on_set(self, call: Call, table: Table, rest: str | None) -> Reply:
        if rest == "$count" and call.method == "GET":
            if not self.quirks.count:
                raise Problem(404, "NotFound", "Resource not found for the segment '$count'.")
            options = self._options(call)
            return Reply(200, str(len(self._matching(table, options))).encode(), {"Content-Type": "text/plain"})
        if rest is not None:
            raise Problem(404, "NotFound", f"Resource not found for the segment '{rest[:80]}'.")
        if call.method == "GET":
            return self._list(call, table)
        if call.method == "POST":
            return self._create(call, table)
        raise Problem(405, "MethodNotAllowed", f"{call.method} is not allowed on a collection.")

    def _on_entity(self, call: Call, table: Table, key: Key, rest: str | None) -> Reply:
        if key not in table.rows:
            if call.method in {"PATCH", "PUT"} and self.version == 4 and call.headers.get("if-match") is None:
                return self._create(call, table, key)
            raise Problem(404, "NotFound", f"Resource '{table.entity.set_name}' with this key was not found.")
        if rest is not None:
            return self._property(call, table, key, rest)
        method = call.method
        if method == "POST" and call.headers.get("x-http-method"):
            method = call.headers["x-http-method"].upper()
        if method == "GET":
            return self._one(call, table, key, 200)
        if method in {"PATCH", "MERGE", "PUT"}:
            return self._update(call, table, key, whole=method == "PUT")
        if method == "DELETE":
            self._precondition(call, table, key)
            table.remove(key)
            return Reply(204)
        raise Problem(405, "MethodNotAllowed", f"{method} is not allowed on an entity.")

    # --- reading ----------------------------------------------------------------------------------------------

    def _options(self, call: Call) -> _Options:
        given = dict(parse_qsl(call.query, keep_blank_values=True))
        for name in given:
            if name.startswith("$") and name not in KNOWN:
                raise Problem(400, "BadRequest", f"The query parameter '{name}' is not supported.")
        if given.get("$expand") or given.get("$search"):
            raise Problem(501, "NotImplemented", "$expand and $search are not supported by this service.")
        select = given.get("$select")
        wanted = self._count_wanted(given)
        return _Options(
            select=None if not select or select == "*" else tuple(s.strip() for s in select.split(",")),
            where=given.get("$filter") or None,
            order=given.get("$orderby") or None,
            top=_whole(given, "$top"),
            skip=_whole(given, "$skip") or 0,
            count=wanted,
            token=_whole(given, "$skiptoken") or 0,
            delta=_whole(given, "$deltatoken"),
        )

    def _count_wanted(self, given: Mapping[str, str]) -> bool:
        mine, other = ("$count", "$inlinecount") if self.version == 4 else ("$inlinecount", "$count")
        if other in given:
            raise Problem(400, "BadRequest", f"The query parameter '{other}' is not supported.")
        return given.get(mine) in {"true", "allpages"}

    def _matching(self, table: Table, options: _Options) -> list[Key]:
        keys: list[Key] = table.order
        if options.where:
            seek = seek_of(options.where, table.entity.keys)
            if seek is not None and not self.quirks.keyset:
                raise Problem(501, "NotImplemented", "The operator 'gt' is not supported on this property.")
            if seek is not None and isinstance(seek.value, type(keys[0][0]) if keys else object):
                keys = table.behind(seek.value)
            else:
                if not self.quirks.keyset and re.search(r"\bgt\b", options.where):
                    raise Problem(501, "NotImplemented", "The operator 'gt' is not supported on this property.")
                test = compile_filter(options.where, table.entity.names)
                keys = [key for key in table.order if test(table.rows[key])]
        if options.order:
            order = compile_order(options.order, table.entity.names)
            if order != [(name, False) for name in table.entity.keys]:
                keys = list(keys)
                for name, descending in reversed(order):
                    keys.sort(key=lambda k: _sortable(table.rows[k][name]), reverse=descending)
        return keys

    def _list(self, call: Call, table: Table) -> Reply:
        options = self._options(call)
        self._known(table.entity, options.select)
        if options.delta is not None:
            return self._changes(call, table, options)
        keys = self._matching(table, options)
        first = options.skip + options.token
        last = len(keys) if options.top is None else min(len(keys), options.skip + options.top)
        size, applied = self._page_size(call)
        until = last if size is None else min(last, first + size)
        rows = self._writer(call, table, options.select).rows(keys[first:until], call.root)
        following = None
        if until < last:
            step = options.token if self.quirks.next_loop and options.token else until - options.skip
            following = self._next(call, table, step)
        delta = None
        if following is None and "track-changes" in call.headers.get("prefer", ""):
            delta = self._link(call, table, {"$deltatoken": str(table.sequence)}, keep=("$select", "$filter"))
        count = len(keys) if options.count else None
        headers = {"Preference-Applied": applied} if applied else {}
        return self._collection(call, table, rows, following, count=count, delta=delta, headers=headers)

    def _changes(self, call: Call, table: Table, options: _Options) -> Reply:
        keys: list[Key] = []
        gone: list[str] = []
        for key, removed in table.since(options.delta or 0):
            if removed:
                address = json.dumps(table.entity.set_name + key_predicate(table.entity, key, 4))
                gone.append(f'{{"@removed":{{"reason":"deleted"}},"@id":{address}}}')
            else:
                keys.append(key)
        rows = self._writer(call, table, options.select).rows(keys, call.root) + gone
        delta = self._link(call, table, {"$deltatoken": str(table.sequence)}, keep=("$select", "$filter"))
        return self._collection(call, table, rows, None, delta=delta)

    def _page_size(self, call: Call) -> tuple[int | None, str | None]:
        asked = re.search(r"maxpagesize\s*=\s*(\d+)", call.headers.get("prefer", ""))
        if not asked or self.version == 2 or self.quirks.ignore_maxpagesize or int(asked[1]) == 0:
            return self.page_rows, None
        size = int(asked[1]) if self.page_rows is None else min(self.page_rows, int(asked[1]))
        return size, f"odata.maxpagesize={size}"

    def _next(self, call: Call, table: Table, offset: int) -> str:
        return self._link(call, table, {"$skiptoken": str(offset)}, keep=None)

    def _link(self, call: Call, table: Table, changes: dict[str, str], *, keep: tuple[str, ...] | None) -> str:
        given = dict(parse_qsl(call.query, keep_blank_values=True))
        if keep is not None:
            given = {name: value for name, value in given.items() if name in keep}
        query = urlencode({**given, **changes}, quote_via=quote, safe="$,'()")
        if self.quirks.relative_next and self.version == 4:
            return f"{table.entity.set_name}?{query}"
        root = call.root
        if self.quirks.next_host:
            root = re.sub(r"^(https?://)[^:/]+", rf"\g<1>{self.quirks.next_host}", root)
        return f"{root}/{table.entity.set_name}?{query}"

    def _writer(self, call: Call, table: Table, select: tuple[str, ...] | None) -> Writer:
        ieee = "ieee754compatible=true" in call.headers.get("accept", "").lower()
        cached = (table.entity.set_name, ieee, select, call.root if self.version == 2 else "")
        writer = self._writers.get(cached)
        if writer is None:
            if len(self._writers) > 30:
                self._writers.clear()
            writer = self._writers[cached] = Writer(
                table,
                version=self.version,
                ieee=ieee,
                select=select,
                empty_for_null=self.quirks.empty_for_null,
            )
        return writer

    def _collection(
        self,
        call: Call,
        table: Table,
        rows: list[str],
        following: str | None,
        *,
        count: int | None = None,
        delta: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        inner = ",".join(rows)
        if self.version == 2:
            counted = "" if count is None else f'"__count":"{count}",'
            more = "" if following is None else f',"__next":{json.dumps(following)}'
            return self._json(call, f'{{"d":{{{counted}"results":[{inner}]{more}}}}}', headers=headers)
        about = f'"@odata.context":{json.dumps(f"{call.root}/$metadata#{table.entity.set_name}")}'
        counted = "" if count is None else f',"@odata.count":{count}'
        more = "" if following is None else f',"@odata.nextLink":{json.dumps(following)}'
        more += "" if delta is None else f',"@odata.deltaLink":{json.dumps(delta)}'
        return self._json(call, f'{{{about}{counted},"value":[{inner}]{more}}}', headers=headers)

    def _one(self, call: Call, table: Table, key: Key, status: int) -> Reply:
        options = self._options(replace(call, query=call.query if call.method == "GET" else ""))
        self._known(table.entity, options.select)
        text = self._writer(call, table, options.select).rows([key], call.root)[0]
        headers = {"ETag": table.etag(key)} if table.entity.modified else {}
        if status == 201:
            headers["Location"] = f"{call.root}/{table.entity.set_name}{key_predicate(table.entity, key, self.version)}"
        if self.version == 2:
            return self._json(call, f'{{"d":{text}}}', status=status, headers=headers)
        about = f'"@odata.context":{json.dumps(f"{call.root}/$metadata#{table.entity.set_name}/$entity")},'
        return self._json(call, "{" + about + text[1:], status=status, headers=headers)

    def _property(self, call: Call, table: Table, key: Key, rest: str) -> Reply:
        name, _, raw = rest.partition("/")
        declared = table.entity.field(name)
        if declared is None or call.method != "GET" or raw not in {"", "$value"}:
            raise Problem(404, "NotFound", f"Resource not found for the segment '{rest[:80]}'.")
        value = table.rows[key][name]
        if raw:
            return Reply(204) if value is None else Reply(200, str(value).encode(), {"Content-Type": "text/plain"})
        written = dict(json.loads(self._writer(call, table, (name,)).rows([key], call.root)[0]))[name]
        body = {"d": {name: written}} if self.version == 2 else {"value": written}
        return self._json(call, json.dumps(body))

    def _document(self, call: Call) -> Reply:
        names = list(self.store.tables)
        if self.version == 2:
            return self._json(call, json.dumps({"d": {"EntitySets": names}}))
        sets = [{"name": n, "kind": "EntitySet", "url": n} for n in names]
        return self._json(call, json.dumps({"@odata.context": f"{call.root}/$metadata", "value": sets}))

    # --- writing ----------------------------------------------------------------------------------------------

    def _record(self, call: Call, entity: Entity, *, partial: bool) -> dict[str, Any]:
        try:
            given = json.loads(call.body, parse_float=str)
        except ValueError:
            raise Problem(400, "BadRequest", "The body is not JSON.") from None
        if not isinstance(given, dict):
            raise Problem(400, "BadRequest", "The body is not an object.")
        return check_record(entity, given.get("d", given) if self.version == 2 else given, partial=partial)

    def _create(self, call: Call, table: Table, key: Key | None = None) -> Reply:
        given = self._record(call, table.entity, partial=True)
        if key is not None:
            given |= dict(zip(table.entity.keys, key, strict=True))
        row = {f.name: given.get(f.name) for f in table.entity.fields}
        for declared in table.entity.fields:
            missing = row[declared.name] is None and not declared.nullable
            if missing and declared.name != table.entity.modified:
                raise BadRecord(declared.name, f"Property '{declared.name}' is required.")
        if table.key(row) in table.rows:
            raise Problem(409 if self.version == 4 else 400, "DuplicateKey", "An entity with this key exists already.")
        return self._one(call, table, table.put(row), 201)

    def _update(self, call: Call, table: Table, key: Key, *, whole: bool) -> Reply:
        self._precondition(call, table, key)
        given = self._record(call, table.entity, partial=not whole)
        for name, part in zip(table.entity.keys, key, strict=True):
            given[name] = part  # a key in the body is ignored, as the protocol says
        table.put({**table.rows[key], **given})
        return Reply(204, headers={"ETag": table.etag(key)} if table.entity.modified else {})

    def _precondition(self, call: Call, table: Table, key: Key) -> None:
        if table.entity.modified is None:
            return
        wanted = call.headers.get("if-match")
        if wanted is None:
            raise Problem(428, "PreconditionRequired", "The request needs an If-Match header.")
        if wanted != "*" and table.etag(key) not in [w.strip() for w in wanted.split(",")]:
            raise Problem(412, "PreconditionFailed", "The entity was changed by another user: the ETag does not match.")

    # --- words ------------------------------------------------------------------------------------------------

    def _key(self, entity: Entity, predicate: str) -> Key:
        text = unquote(predicate)
        parts = re.findall(r"(?:(\w+)\s*=\s*)?((?:\w+)?'(?:[^']|'')*'|[^,']+)", text)
        values = {(name or (entity.keys[0] if len(entity.keys) == 1 else "")): parse_literal(v) for name, v in parts}
        try:
            return tuple(values[name] for name in entity.keys)
        except KeyError:
            raise Problem(400, "BadRequest", "The key in the address does not fit this entity.") from None

    def _known(self, entity: Entity, select: tuple[str, ...] | None) -> None:
        for name in select or ():
            if name not in entity.names:
                raise Problem(
                    400, "BadRequest", f"Could not find a property named '{name}' on type '{entity.type_name}'."
                )

    def _json(self, call: Call, text: str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
        if self.version == 2:
            about = {"Content-Type": "application/json", "DataServiceVersion": "2.0"}
        else:
            ieee = "ieee754compatible=true" in call.headers.get("accept", "").lower()
            kind = "application/json;odata.metadata=minimal" + (";IEEE754Compatible=true" if ieee else "")
            about = {"Content-Type": kind, "OData-Version": "4.0"}
        return Reply(status, text.encode(), {**about, **(headers or {})})

    def error(
        self,
        status: int,
        code: str,
        message: str,
        *,
        target: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """An error in the words of the version."""
        if self.version == 2:
            body: dict[str, Any] = {
                "code": code,
                "message": {"lang": "en", "value": message},
                "innererror": {"transactionid": "0123456789ABCDEF", "errordetails": []},
            }
            about = {"Content-Type": "application/json", "DataServiceVersion": "1.0"}
        else:
            body = {"code": code, "message": message}
            if target:
                body["target"] = target
            about = {"Content-Type": "application/json", "OData-Version": "4.0"}
        return Reply(status, json.dumps({"error": body}).encode(), {**about, **(headers or {})})


def _whole(given: Mapping[str, str], name: str) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if not text.isdigit():
        raise Problem(400, "BadRequest", f"Invalid value for {name}: '{text[:40]}'.")
    return int(text)


def _sortable(value: Any) -> tuple[bool, Any]:
    return (value is not None, value)  # nulls come first in ascending order (OData 4.01, 11.2.6.2)
