"""The REST data API over an `Org`: queries with locators, records, collections, composite, search, limits."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from weighbridge.sandbox.salesforce import soql
from weighbridge.sandbox.salesforce.bulk import Bulk
from weighbridge.sandbox.salesforce.model import ApiError, stamp
from weighbridge.sandbox.salesforce.org import Org, Record, Store, User

__all__ = ["Call", "Reply", "Rest"]

MOST_CURSORS = 10
MOST_COLLECTED = 200
ALL_DAYS = 30


@dataclass(slots=True)
class Call:
    """One call behind `/services/data/vX/`."""

    method: str
    parts: list[str]
    params: Mapping[str, str]
    body: bytes
    user: User
    headers: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            raise ApiError(
                400, "JSON_PARSER_ERROR", "The request body is not well formed: unexpected character"
            ) from None


@dataclass(slots=True)
class Reply:
    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    media: str = "application/json;charset=UTF-8"
    rows: int = 0


@dataclass(slots=True)
class Cursor:
    query: soql.Query
    ids: list[str]
    deleted: bool
    batch: int
    user: User
    total: int


class Rest:
    """Answers `Call`s; `plan` holds what is to happen after the n-th page of a query."""

    def __init__(self, org: Org, usage: Callable[[], tuple[int, int]]) -> None:
        self.org = org
        self.usage = usage
        self.bulk = Bulk(org)
        self.cursors: dict[str, Cursor] = {}
        self.pages = 0
        self.plan: list[dict[str, Any]] = []
        self.repeat = 0
        self.page_rows = 2000
        self._serial = 0
        self._actions: dict[str, Callable[[Call], Reply]] = {
            "": self._root,
            "sobjects": self._sobjects,
            "query": self._query,
            "queryAll": self._query,
            "search": self._search,
            "parameterizedSearch": self._search,
            "limits": self._limits,
            "composite": self._composite,
            "jobs": lambda call: self.bulk.handle(call, Reply),
            "tooling": self._tooling,
        }

    def handle(self, call: Call) -> Reply:
        """Raises ApiError for every refusal."""
        head = call.parts[0] if call.parts else ""
        action = self._actions.get(head)
        if action is None:
            raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
        return action(call)

    @property
    def base(self) -> str:
        return f"/services/data/v{self.org.version}"

    def _root(self, _call: Call) -> Reply:
        names = ("sobjects", "query", "queryAll", "search", "limits", "composite", "jobs", "tooling")
        return Reply(200, {n: f"{self.base}/{n}" for n in names})

    # --- queries ---

    def _query(self, call: Call) -> Reply:
        if len(call.parts) > 1 and call.parts[1]:
            return self._more(call)
        deleted = call.parts[0] == "queryAll"
        query = soql.parse(call.params.get("q", ""))
        lens = self.org.lens(call.user)
        found = lens.matching(query, deleted=deleted)
        if query.count_only:
            return Reply(200, {"totalSize": len(found), "done": True, "records": []})
        if query.aggregated:
            made = lens.aggregate(query, found)
            if len(made) > 2000:
                raise ApiError(400, "EXCEEDED_ID_LIMIT", "Aggregate query does not support queryMore()")
            return Reply(200, {"totalSize": len(made), "done": True, "records": made}, rows=len(made))
        project = lens.projector(query)
        batch = self._batch(call)
        page = [project(r) for r in found[:batch]]
        answer: dict[str, Any] = {"totalSize": len(found), "done": len(found) <= batch, "records": page}
        if len(found) > batch:
            locator = self._locator(Cursor(query, [r["Id"] for r in found], deleted, batch, call.user, len(found)))
            answer["nextRecordsUrl"] = f"{self.base}/query/{locator}-{batch}"
        self._page_served(query)
        return Reply(200, answer, rows=len(page))

    def _batch(self, call: Call) -> int:
        match = re.search(r"batchSize=(\d+)", call.headers.get("sforce-query-options", ""))
        return max(200, min(self.page_rows, int(match[1]))) if match else self.page_rows

    def _locator(self, cursor: Cursor) -> str:
        mine = [k for k, c in self.cursors.items() if c.user is cursor.user]
        if len(mine) >= MOST_CURSORS:
            del self.cursors[mine[0]]
        self._serial += 1
        name = f"0r8xx{self._serial:010d}AAA"
        self.cursors[name] = cursor
        return name

    def _more(self, call: Call) -> Reply:
        name, _, offset = call.parts[1].partition("-")
        cursor = self.cursors.get(name)
        if cursor is None or cursor.user is not call.user or not offset.isdigit():
            raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        start = int(offset)
        lens = self.org.lens(call.user)
        project = lens.projector(cursor.query)
        store = self.org.store(cursor.query.object)
        end = start + cursor.batch
        page: list[Record] = []
        for record_id in cursor.ids[start:end]:
            record = store.live.get(record_id) or (store.bin.get(record_id) if cursor.deleted else None)
            if record is not None:
                page.append(project(record))
        answer: dict[str, Any] = {"totalSize": cursor.total, "done": end >= len(cursor.ids), "records": page}
        if self.repeat > 0:
            self.repeat -= 1
            answer["done"] = False
            answer["nextRecordsUrl"] = f"{self.base}/query/{name}-{start}"
        elif not answer["done"]:
            answer["nextRecordsUrl"] = f"{self.base}/query/{name}-{end}"
        else:
            del self.cursors[name]
        self._page_served(cursor.query)
        return Reply(200, answer, rows=len(page))

    def _page_served(self, query: soql.Query) -> None:
        if not self.org.store(query.object).type.writable:
            return  # pages of the business's records are counted, not those of the org's own tables
        self.pages += 1
        due = [p for p in self.plan if p["after"] <= self.pages]
        self.plan = [p for p in self.plan if p["after"] > self.pages]
        for step in due:
            self.act(step)

    def act(self, step: Mapping[str, Any]) -> None:
        """Do one planted thing: expire_sessions, expire_locators, repeat, delete, insert, hide, drop_field."""
        action = step["action"]
        admin = next(iter(self.org.users.values()))
        if action == "expire_sessions":
            self.org.sessions.clear()
        elif action == "expire_locators":
            self.cursors.clear()
        elif action == "repeat":
            self.repeat = int(step.get("times", 1))
        elif action == "delete":
            store = self.org.store(step["object"])
            for record_id in step["ids"]:
                if record_id in store.live:
                    self.org.delete(store, record_id, admin)
        elif action == "insert":
            store = self.org.store(step["object"])
            for values in step["records"]:
                self.org.create(store, values, admin)
        elif action == "hide":
            for user in self.org.users.values():
                user.hidden = user.hidden | {step["field"]}
        elif action == "drop_field":
            name, _, column = step["field"].partition(".")
            self.org.store(name).type.fields.pop(column, None)
        else:
            raise ValueError(f"unknown action {action}")

    # --- records ---

    def _sobjects(self, call: Call) -> Reply:
        parts = [p for p in call.parts[1:] if p]
        if not parts:
            found = [s.type.summary(self.org.version) for s in self.org.stores.values()]
            return Reply(200, {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": found})
        store = self.org.store(parts[0])
        if len(parts) == 1:
            return self._type(call, store)
        if parts[1] == "describe":
            return self._describe(call, store, parts[2:])
        if parts[1] in ("deleted", "updated"):
            return self._changes(call, store, parts[1])
        if len(parts) == 2:
            return self._record(call, store, parts[1])
        if store.type.name == "User" and parts[2] == "password":
            return self._password(call, store, parts[1])
        if self.org._field(store.type, parts[1]) is not None:
            return self._by_external_id(call, store, parts[1], parts[2])
        if len(parts) == 3 and call.method == "GET":
            return self._blob(call, store, parts[1], parts[2])
        if len(parts) == 3 and call.method == "PATCH":
            self.org._external(store, parts[1], call.user)
        raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")

    def _type(self, call: Call, store: Store) -> Reply:
        if call.method == "GET":
            return Reply(200, {"objectDescribe": store.type.summary(self.org.version), "recentItems": []})
        if call.method == "POST":
            made = self.org.create(store, _record_body(call.json()), call.user)
            location = f"{self.base}/sobjects/{store.type.name}/{made}"
            return Reply(201, {"id": made, "success": True, "errors": []}, {"Location": location})
        raise _bad_method(call)

    def _describe(self, call: Call, store: Store, rest: list[str]) -> Reply:
        hidden = self.org.hidden(store.type, call.user)
        if rest and rest[0] == "layouts":
            names = [f for f in store.type.fields if f not in hidden]
            rows = [{"numItems": 1, "layoutItems": [{"label": n, "required": False}]} for n in names]
            layout = {"detailLayoutSections": [{"heading": "Information", "layoutRows": rows}]}
            return Reply(200, layout if len(rest) > 1 else {"layouts": [layout], "recordTypeMappings": []})
        return Reply(200, store.type.describe(self.org.version, hidden))

    def _changes(self, call: Call, store: Store, which: str) -> Reply:
        try:
            start, end = (stamp(datetime.fromisoformat(call.params[k].replace(" ", "+"))) for k in ("start", "end"))
        except (KeyError, ValueError):
            raise ApiError(400, "INVALID_ARGUMENT", "start and end must be dates with a zone") from None
        if start > end or start < stamp(datetime.now(UTC) - timedelta(ALL_DAYS)):
            raise ApiError(400, "INVALID_REPLICATION_DATE", "startDate before org replication enabled date")
        if which == "updated":
            ids = [r["Id"] for r in store.live.values() if start <= r["SystemModstamp"] < end]
            return Reply(200, {"ids": ids, "latestDateCovered": end}, rows=len(ids))
        gone = [
            {"id": r["Id"], "deletedDate": r["SystemModstamp"]}
            for r in store.bin.values()
            if start <= r["SystemModstamp"] < end
        ]
        earliest = stamp(datetime.now(UTC) - timedelta(ALL_DAYS))
        body = {"deletedRecords": gone, "earliestDateAvailable": earliest, "latestDateCovered": end}
        return Reply(200, body, rows=len(gone))

    def _record(self, call: Call, store: Store, record_id: str) -> Reply:
        if len(record_id) not in (15, 18) or not record_id.isalnum():
            raise ApiError(
                404, "NOT_FOUND", "Provided external ID field does not exist or is not accessible: " + record_id
            )
        if call.method == "GET":
            return Reply(200, self._shown(call, store, self.org.find(store, record_id, call.user)), rows=1)
        if call.method == "PATCH":
            self.org.update(store, record_id, _record_body(call.json()), call.user)
            return Reply(204)
        if call.method == "DELETE":
            self.org.delete(store, record_id, call.user)
            return Reply(204)
        raise _bad_method(call)

    def _shown(self, call: Call, store: Store, record: Record) -> Record:
        hidden = self.org.hidden(store.type, call.user)
        names = [n for n in store.type.fields if n not in hidden]
        if wanted := call.params.get("fields"):
            lens = self.org.lens(call.user)
            names = [lens.field_of(store.type, n.strip())[1].name for n in wanted.split(",")]
        url = f"{self.base}/sobjects/{store.type.name}/{record['Id']}"
        out: Record = {"attributes": {"type": store.type.name, "url": url}}
        for name in names:
            value = record[name]
            out[name] = f"{url}/{name}" if store.type.fields[name].type == "base64" and value else value
        return out

    def _by_external_id(self, call: Call, store: Store, name: str, value: str) -> Reply:
        if call.method == "PATCH":
            matches = self.org.external_matches(store, name, value, call.user)
            if len(matches) > 1:
                return Reply(300, [f"{self.base}/sobjects/{store.type.name}/{r['Id']}" for r in matches])
            made, created = self.org.upsert(store, name, value, _record_body(call.json()), call.user)
            return Reply(201 if created else 200, {"id": made, "success": True, "errors": [], "created": created})
        matches = self.org.external_matches(store, name, value, call.user)
        if not matches:
            raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
        if len(matches) > 1:
            return Reply(300, [f"{self.base}/sobjects/{store.type.name}/{r['Id']}" for r in matches])
        return self._record(call, store, matches[0]["Id"])

    def _blob(self, call: Call, store: Store, record_id: str, name: str) -> Reply:
        record = self.org.find(store, record_id, call.user)
        definition = self.org._field(store.type, name)
        if definition is None or definition.type != "base64":
            raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
        return Reply(200, raw=base64.b64decode(record[definition.name] or ""), media="application/octet-stream")

    def _password(self, call: Call, store: Store, user_id: str) -> Reply:
        self.org.find(store, user_id, call.user)
        if call.method == "GET":
            return Reply(200, {"isExpired": False})
        wanted = str(call.json().get("NewPassword", ""))
        if len(wanted) < 8:
            raise ApiError(400, "INVALID_NEW_PASSWORD", "Your password must be at least 8 characters long")
        for user in self.org.users.values():
            if user.id == user_id:
                user.password = wanted
        return Reply(204)

    # --- search and limits ---

    def _search(self, call: Call) -> Reply:
        match = re.match(
            r"(?is)\s*FIND\s*\{(?P<term>.+?)\}(\s+IN\s+\w+\s+FIELDS)?(\s+RETURNING\s+(?P<returning>.+?))?(\s+LIMIT\s+(?P<limit>\d+))?\s*$",
            call.params.get("q", ""),
        )
        if not match:
            raise ApiError(400, "MALFORMED_SEARCH", "No search term found. The search term must be enclosed in braces.")
        term = match["term"].strip().strip('"')
        if len(term.replace("*", "").replace("?", "")) < 2:
            raise ApiError(400, "MALFORMED_SEARCH", "search term must be longer than one character: " + term)
        words = [re.escape(w).replace(r"\*", r"\w*").replace(r"\?", r"\w") for w in term.split()]
        patterns = [re.compile(rf"\b{w}\b", re.IGNORECASE) for w in words]
        wanted = _returning(match["returning"]) if match["returning"] else [
            (s.type.name, ["Id"]) for s in self.org.stores.values() if s.type.writable
        ]  # fmt: skip
        found: list[Record] = []
        for name, columns in wanted:
            found += self._found(call, name, columns, patterns)
        return Reply(200, {"searchRecords": found[: int(match["limit"] or 2000)]}, rows=len(found))

    def _found(self, call: Call, name: str, columns: list[str], patterns: list[re.Pattern[str]]) -> list[Record]:
        store = self.org.store(name)
        hidden = self.org.hidden(store.type, call.user)
        searched = [
            f.name
            for f in store.type.fields.values()
            if f.type in ("string", "email", "phone", "url") and f.name not in hidden
        ]
        project = self.org.lens(call.user).projector(soql.Query(name, [soql.Selected(c) for c in columns]))
        shared = self.org.visible(store.type, call.user)
        made: list[Record] = []
        for record in store.live.values():
            if shared and not shared(record):
                continue
            text = " ".join(str(record[c]) for c in searched if record[c])
            if all(p.search(text) for p in patterns):
                made.append(project(record))
        return made

    def _limits(self, call: Call) -> Reply:
        if len(call.parts) > 1 and call.parts[1] == "recordCount":
            names = [n for n in call.params.get("sObjects", "").split(",") if n] or [
                s.type.name for s in self.org.stores.values()
            ]
            counts = [
                {"count": len(s.live), "name": s.type.name} for n in names if (s := self.org.stores.get(n.lower()))
            ]
            return Reply(200, {"sObjects": counts})
        if not call.user.view_setup:
            raise ApiError(403, "FORBIDDEN", "You do not have access to this resource")
        used, cap = self.usage()
        jobs = len(self.bulk.jobs)
        return Reply(
            200,
            {
                "ConcurrentAsyncGetReportInstances": {"Max": 200, "Remaining": 200},
                "DailyApiRequests": {"Max": cap, "Remaining": max(0, cap - used)},
                "DailyAsyncApexExecutions": {"Max": 250000, "Remaining": 250000},
                "DailyBulkApiBatches": {"Max": 15000, "Remaining": 15000 - jobs},
                "DailyBulkV2QueryFileStorageMB": {"Max": 976562, "Remaining": 976562},
                "DailyBulkV2QueryJobs": {"Max": 10000, "Remaining": 10000 - jobs},
                "DataStorageMB": {"Max": 1024, "Remaining": 900},
                "FileStorageMB": {"Max": 1024, "Remaining": 1000},
                "HourlyTimeBasedWorkflow": {"Max": 1000, "Remaining": 1000},
                "SingleEmail": {"Max": 5000, "Remaining": 5000},
            },
        )

    def _tooling(self, call: Call) -> Reply:
        parts = call.parts[1:]
        if parts and parts[0] == "query":
            return self._query(Call("GET", ["query", *parts[1:]], call.params, b"", call.user, call.headers))
        if parts and parts[0] == "sobjects":
            return self._sobjects(Call(call.method, parts, call.params, call.body, call.user, call.headers))
        if parts and parts[0] == "executeAnonymous":
            compiled = bool(call.params.get("anonymousBody", "").strip().endswith(";"))
            body = {"compiled": compiled, "success": compiled, "line": -1, "column": -1, "exceptionMessage": None}
            return Reply(200, body | {"compileProblem": None if compiled else "unexpected end of statement"})
        raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")

    # --- composite ---

    def _composite(self, call: Call) -> Reply:
        kind = call.parts[1] if len(call.parts) > 1 else ""
        if kind == "sobjects":
            return self._collection(call, call.parts[2:])
        if call.method != "POST":
            raise _bad_method(call)
        if kind == "batch":
            return self._batch_requests(call)
        if kind == "tree" and len(call.parts) > 2:
            return self._tree(call, self.org.store(call.parts[2]))
        if kind == "":
            return self._chain(call)
        raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")

    def _inner(self, call: Call, method: str, url: str, body: Any) -> Reply:
        parts = urlsplit(url)
        path = parts.path
        path = re.sub(r"^/?(services/data/)?v\d+\.\d+/", "", path).strip("/")
        inner = Call(
            method.upper(),
            [unquote(p) for p in path.split("/")],
            dict(parse_qsl(parts.query)),
            b"" if body is None else json.dumps(body).encode(),
            call.user,
            {},
        )
        try:
            return self.handle(inner)
        except ApiError as error:
            return Reply(error.status, error.body)

    def _batch_requests(self, call: Call) -> Reply:
        asked = call.json().get("batchRequests", [])
        if len(asked) > 25:
            raise ApiError(400, "LIMIT_EXCEEDED", "The number of subrequests exceeds the limit of 25")
        results = [self._inner(call, r.get("method", "GET"), r.get("url", ""), r.get("richInput")) for r in asked]
        return Reply(
            200,
            {
                "hasErrors": any(r.status >= 300 for r in results),
                "results": [{"statusCode": r.status, "result": r.body} for r in results],
            },
        )

    def _chain(self, call: Call) -> Reply:
        asked = call.json()
        steps = asked.get("compositeRequest", [])
        if len(steps) > 25:
            raise ApiError(400, "LIMIT_EXCEEDED", "The number of subrequests exceeds the limit of 25")
        known: dict[str, Any] = {}
        answers: list[dict[str, Any]] = []
        for step in steps:
            filled = _filled(step, known)
            reply = self._inner(call, filled.get("method", "GET"), filled.get("url", ""), filled.get("body"))
            known[step["referenceId"]] = reply.body
            answers.append(
                {
                    "body": reply.body,
                    "httpHeaders": reply.headers,
                    "httpStatusCode": reply.status,
                    "referenceId": step["referenceId"],
                }
            )
        return Reply(200, {"compositeResponse": answers})

    def _tree(self, call: Call, store: Store) -> Reply:
        records = call.json().get("records", [])
        results: list[dict[str, Any]] = []
        for record in records:
            reference = record.get("attributes", {}).get("referenceId", "")
            flat = {k: v for k, v in record.items() if not isinstance(v, dict)}
            try:
                results.append({"referenceId": reference, "id": self.org.create(store, flat, call.user)})
            except ApiError as error:
                for done in results:
                    self.org.delete(store, done["id"], call.user)
                failed = {"referenceId": reference, **error.save_result}
                return Reply(400, {"hasErrors": True, "results": [failed]})
        return Reply(201, {"hasErrors": False, "results": results})

    def _collection(self, call: Call, rest: list[str]) -> Reply:
        if call.method == "DELETE":
            ids = [i for i in call.params.get("ids", "").split(",") if i]
            self._at_most(ids)
            return Reply(200, [self._saved(lambda i=i: self._drop(i, call.user)) for i in ids])
        asked = {} if call.method == "GET" else call.json()
        if rest and (call.method == "GET" or "ids" in asked):
            store = self.org.store(rest[0])
            ids = asked.get("ids") or call.params.get("ids", "").split(",")
            names = asked.get("fields") or call.params.get("fields", "Id").split(",")
            shown = Call("GET", [], {"fields": ",".join(names)}, b"", call.user)
            return Reply(200, [self._shown(shown, store, r) if (r := store.live.get(i)) else None for i in ids])
        body = asked
        records = body.get("records", [])
        self._at_most(records)
        results = [self._saved(lambda record=record: self._save(call, rest, record)) for record in records]
        if body.get("allOrNone") and any(not r["success"] for r in results):
            for r in results:
                if r["success"] and call.method == "POST":
                    self._drop(r["id"], call.user)
                    r.clear()
                    r.update(ApiError(400, "ALL_OR_NONE_OPERATION_ROLLED_BACK", "rolled back").save_result)
        return Reply(200, results, rows=len(results))

    def _at_most(self, items: list[Any]) -> None:
        if not items or len(items) > MOST_COLLECTED:
            raise ApiError(
                400, "LIMIT_EXCEEDED", f"record limit reached. cannot submit more than {MOST_COLLECTED} records"
            )

    def _saved(self, do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        try:
            return {**do(), "success": True, "errors": []}
        except ApiError as error:
            return error.save_result

    def _save(self, call: Call, rest: list[str], record: Record) -> dict[str, Any]:
        name = (record.get("attributes") or {}).get("type") or (rest[0] if rest else "")
        if not name:
            raise ApiError(400, "INVALID_TYPE", "attributes.type is missing")
        store = self.org.store(name)
        if len(rest) == 2:
            value = next((v for k, v in record.items() if k.lower() == rest[1].lower()), None)
            if value in (None, ""):
                raise ApiError(400, "MISSING_ARGUMENT", f"{rest[1]} not specified", fields=(rest[1],))
            made, created = self.org.upsert(store, rest[1], str(value), record, call.user)
            return {"id": made, "created": created}
        if call.method == "PATCH":
            record_id = next((v for k, v in record.items() if k.lower() == "id"), "")
            self.org.update(store, record_id, {k: v for k, v in record.items() if k.lower() != "id"}, call.user)
            return {"id": record_id}
        return {"id": self.org.create(store, record, call.user)}

    def _drop(self, record_id: str, user: User) -> dict[str, Any]:
        store = next((s for s in self.org.stores.values() if s.type.prefix == record_id[:3]), None)
        if store is None:
            raise ApiError(400, "MALFORMED_ID", "malformed id " + record_id)
        self.org.delete(store, record_id, user)
        return {"id": record_id}


def _record_body(body: Any) -> Record:
    if not isinstance(body, dict):
        raise ApiError(400, "JSON_PARSER_ERROR", "Cannot deserialize instance of a record from this value")
    return body


def _bad_method(call: Call) -> ApiError:
    return ApiError(405, "METHOD_NOT_ALLOWED", f"HTTP Method '{call.method}' not allowed.")


def _returning(text: str) -> list[tuple[str, list[str]]]:
    """`Account(Id, Name WHERE ...), Contact` as (type, columns) pairs."""
    pairs = re.findall(r"(\w+)\s*(?:\(([^()]*)\))?", text)
    lists = [(name, re.split(r"(?i)\b(?:where|order|limit)\b", inner or "Id")[0]) for name, inner in pairs]
    return [(name, [c.strip() for c in columns.split(",") if c.strip()]) for name, columns in lists]


def _filled(value: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {k: _filled(v, known) for k, v in value.items()}
    if isinstance(value, list):
        return [_filled(v, known) for v in value]
    if isinstance(value, str):
        return re.sub(r"@\{(\w+)\.([\w.\[\]]+)\}", lambda m: str(_reach(known.get(m[1]), m[2])), value)
    return value


def _reach(value: Any, path: str) -> Any:
    for name, index in re.findall(r"(\w+)|\[(\d+)\]", path):
        try:
            value = value[int(index)] if index else value[name]
        except (KeyError, IndexError, TypeError):
            raise ApiError(
                400, "PROCESSING_HALTED", f"Invalid reference specified. No value for {path} found"
            ) from None
    return value
