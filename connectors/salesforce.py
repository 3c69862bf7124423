"""Reaches a Salesforce org: REST and Bulk API 2.0 over simple-salesforce, with what that library leaves out.

Ours are: timeouts on every call, retries within a deadline, the session renewed exactly once, an exhausted quota told
apart from a busy moment, page seams, field-level security and sharing said out loud.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import quote

from weighbridge.connectors._odata_types import Number
from weighbridge.connectors._salesforce_errors import classify, outcome_class, usage_of
from weighbridge.connectors._salesforce_login import Headers, Login, SalesforceOptions, login_error
from weighbridge.connectors._salesforce_read import PAGE, Question, bulk_pages, query_pages, quoted
from weighbridge.connectors._salesforce_types import schema_of, to_json
from weighbridge.connectors.base import (
    Column,
    Connector,
    Count,
    Key,
    Limit,
    Observation,
    Operation,
    OperationResult,
    Page,
    Probe,
    TableSchema,
    WriteOutcome,
    filter_of,
)
from weighbridge.connectors.errors import (
    AccessError,
    AuthError,
    ConnectorError,
    MissingObjectError,
    ProtocolError,
    RejectedError,
    SettingsError,
)
from weighbridge.connectors.http import Answer, HttpClient
from weighbridge.connectors.session import Session

if TYPE_CHECKING:
    from simple_salesforce.api import Salesforce

__all__ = ["SalesforceConnector", "SalesforceOptions"]

MOST_COLLECTED = 200
"""Records in one sObject collections call."""
LONGEST_QUERY = 15_000
"""Characters of a statement in a URL; Salesforce takes 16,384 with all the rest, and an account may have 800 fields."""
LIST_ROWS = 50
"""Rows of the page a user looks at."""
CONCURRENT_LONG = {"Developer Edition": 5, "Trial": 5}
_NOT_SHOWN = (AccessError, MissingObjectError, RejectedError)
"""What an org answers to a question about itself that this user may not ask."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}")
_ID = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?")


class SalesforceConnector(Connector):
    """One org under one user."""

    kind: ClassVar[str] = "salesforce"
    options_model = SalesforceOptions
    options: SalesforceOptions

    def __init__(self, options: Mapping[str, Any] | SalesforceOptions, session: Session | None = None) -> None:
        super().__init__(options, session)
        self._login = Login(self.options)
        self._described: dict[str, TableSchema] = {}
        self._raw_described: dict[str, Mapping[str, Any]] = {}
        self._usage: tuple[int, int] | None = None
        self._org: Mapping[str, Any] | None = None
        self._user: str | None = None
        self._client: HttpClient | None = None
        self._login_client: HttpClient | None = None
        self._sf: Salesforce | None = None

    # --- opening and closing ---

    def open(self) -> None:
        self._login.open(self._logging_in())
        self._connect()
        if self.options.flow == "access_token":
            try:
                self._get("limits", "open")
            except AccessError:  # it wants a permission of its own: a plain question tells whether the token is good
                with suppress(MissingObjectError, RejectedError):
                    self._rows("SELECT Id FROM Organization LIMIT 1", "open")

    def close(self) -> None:
        for client in (self._client, self._login_client):
            if client is not None:
                client.close()
        self._client = self._login_client = self._sf = None

    def fork(self, session: Session) -> Self:
        other = type(self)(self.options, session)
        other._login = self._login
        other._described, other._raw_described = self._described, self._raw_described
        other._org, other._user = self._org, self._user
        if self._client is None:
            other.open()
        else:
            other._connect(self._client)
        return other

    def endpoints(self) -> Sequence[Any]:
        if self._client is not None:
            return (self._client.endpoint,)
        return (self._logging_in().endpoint,)

    def _logging_in(self) -> HttpClient:
        if self._login_client is None:
            client = HttpClient(
                self.session, self.options.login_url, options=self.options, classify=login_error, parse_float=None
            )
            client.mask(self.options.client_secret, self.options.password, self.options.security_token)
            client.mask(self.options.access_token)
            self._login_client = client
        return self._login_client

    def _connect(self, origin: HttpClient | None = None) -> None:
        from simple_salesforce.api import Salesforce

        if self._client is not None:
            self._client.close()
        if origin is not None:
            client = origin.fork(self.session, auth=self._login.auth, renew=self._renew, classify=self._classify)
        else:
            client = HttpClient(
                self.session,
                self._login.instance_url,
                options=self.options,
                auth=self._login.auth,
                renew=self._renew,
                classify=self._classify,
                parse_float=Number,
            )
            client.mask(self._login.token, self.options.client_secret, self.options.password)
        self._client = client
        self._sf = Salesforce(
            session_id=self._login.token,
            instance_url=self._login.instance_url.replace("http://", "https://", 1),
            session=client.wire,
            version=self.options.api_version,
            object_pairs_hook=None,
        )

    def _renew(self, failed: Headers) -> None:
        self._login.renew(failed, self._logging_in())
        if self._client is not None:
            self._client.mask(self._login.token)

    def _classify(self, answer: Answer) -> ConnectorError | None:
        usage = usage_of(answer.headers)
        if usage is not None:
            self._usage = usage
        return None if answer.status < 300 else classify(answer)

    @property
    def _open(self) -> tuple[HttpClient, Salesforce]:
        if self._client is None or self._sf is None:
            raise SettingsError("the connector is not open.", remedy="Call open() or use it in a with block.")
        return self._client, self._sf

    def _rest(self, method: str, path: str, *, operation: str, idempotent: bool = True, **kwargs: Any) -> Any:
        client, sf = self._open
        with client.wire.calling(operation, idempotent=idempotent):
            return sf.restful(path, method=method, **kwargs)

    def _get(self, path: str, operation: str, **params: Any) -> Any:
        return self._rest("GET", path, operation=operation, params=params or None)

    def _rows(self, soql: str, operation: str, *, deleted: bool = False) -> Mapping[str, Any]:
        client, sf = self._open
        with client.wire.calling(operation):
            answer = sf.query(soql, include_deleted=deleted)
        if (
            not isinstance(answer, Mapping)
            or not isinstance(answer.get("totalSize"), int)
            or not isinstance(answer.get("records"), list)
            or not set(map(type, answer["records"])) <= {dict}
        ):
            raise _strange("a query")
        return answer

    # --- metadata ---

    def probe(self) -> Probe:
        started = time.monotonic()
        client, _ = self._open
        versions = client.request("GET", "services/data/", operation="probe").json()
        org = self._organisation()
        edition = org.get("OrganizationType")
        last = versions[-1] if isinstance(versions, list) and versions else None
        newest = last.get("version") if isinstance(last, dict) else None
        daily = self._told_limits("probe").get("DailyApiRequests") or {}
        facts: dict[str, Any] = {
            "edition": edition,
            "instance": org.get("InstanceName"),
            "sandbox": org.get("IsSandbox"),
            "organization": org.get("Id"),
            "api_version": self.options.api_version,
            "newest_api_version": newest,
            "login": self.options.flow,
            "daily_calls": daily.get("Max"),
            "daily_calls_left": daily.get("Remaining"),
        }
        if self._usage is not None:
            facts["api_usage"] = f"{self._usage[0]}/{self._usage[1]}"
        seen: list[Observation] = []
        if self.options.flow == "soap":
            seen.append(
                Observation(
                    "login_retiring",
                    "The SOAP login with password and security token is used; Salesforce is retiring it.",
                    {"flow": "soap", "instead": "JWT bearer or OAuth client credentials"},
                )
            )
        return Probe("Salesforce", edition, self._me(), time.monotonic() - started, facts, tuple(seen))

    def limits(self) -> Sequence[Limit]:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        told = self._told_limits("limits")
        found: list[Limit] = []

        def reported(name: str, key: str, unit: str, window: str | None, factor: float = 1) -> None:
            entry = told.get(key)
            if isinstance(entry, dict) and isinstance(entry.get("Max"), int):
                cap, left = entry["Max"] * factor, entry.get("Remaining")
                used = cap - left * factor if isinstance(left, int) else None
                found.append(
                    Limit(name, "org", cap, unit, window, used, "reported", self.session.environment, now, {"key": key})
                )

        reported("daily_calls", "DailyApiRequests", "calls", "rolling 24 h")
        if not found:
            # every answer carries it; where not even that is told, the quota is there all the same
            used, cap = self._usage or (None, None)
            detail = {"key": "Sforce-Limit-Info"}
            environment = self.session.environment
            found.append(
                Limit("daily_calls", "org", cap, "calls", "rolling 24 h", used, "reported", environment, now, detail)
            )
        # Jobs and batches are no calls of a user: shown, with no window that a forecast in users could use.
        reported("daily_bulk_query_jobs", "DailyBulkV2QueryJobs", "jobs", None)
        reported("daily_bulk_batches", "DailyBulkApiBatches", "batches", None)
        reported("storage", "DataStorageMB", "bytes", None, 1024 * 1024)

        def published(name: str, scope: str, cap: float, unit: str, window: str | None, **detail: Any) -> None:
            detail["said_by"] = "Salesforce Developer Limits and Allocations"
            found.append(Limit(name, scope, cap, unit, window, None, "declared", self.session.environment, now, detail))

        edition = str(self._organisation().get("OrganizationType"))
        published(
            "concurrent_long_calls", "org", CONCURRENT_LONG.get(edition, 25), "calls", "concurrent", longer_than_s=20
        )
        published("statement_timeout", "org", 600, "seconds", None)
        published("page_rows", "org", PAGE, "rows", None)
        published("batch_records", "org", MOST_COLLECTED, "records", None)
        return found

    def _told_limits(self, operation: str) -> Mapping[str, Any]:
        """`/limits`; empty for a user who may not see it, which needs 'View Setup and Configuration'."""
        try:
            told = self._get("limits", operation) or {}
        except AccessError:
            return {}
        if not isinstance(told, Mapping):
            raise _strange("its limits")
        return told

    def _organisation(self) -> Mapping[str, Any]:
        """The org's own record, read once; empty where the user may not see it."""
        if self._org is None:
            soql = "SELECT Id, OrganizationType, InstanceName, IsSandbox FROM Organization LIMIT 1"
            try:
                found = self._rows(soql, "probe")["records"]
            except _NOT_SHOWN:
                found = []
            known: Mapping[str, Any] = found[0] if found else {}
            self._org = known
            return known
        return self._org

    def _me(self) -> str | None:
        """The user's name: as given, as its record says, or as OpenID says; None where none of them tells."""
        if self.options.username is not None:
            return self.options.username
        if self._user is None:
            client, _ = self._open
            try:
                if self._login.user_id is not None and _ID.fullmatch(self._login.user_id):
                    soql = f"SELECT Username FROM User WHERE Id = {quoted(self._login.user_id)}"
                    found = self._rows(soql, "probe")["records"]
                    self._user = found[0].get("Username") if found else None
                else:
                    told = client.request("GET", "services/oauth2/userinfo", operation="probe").json() or {}
                    self._user = told.get("preferred_username")
            except (*_NOT_SHOWN, AuthError, ProtocolError):
                return None  # a token whose scope is the API alone is not told who it is
        return self._user

    def objects(self) -> Sequence[str]:
        client, sf = self._open
        with client.wire.calling("objects"):
            described = sf.describe() or {}
        listed = described.get("sobjects", ()) if isinstance(described, Mapping) else None
        if not isinstance(listed, list | tuple) or not all(isinstance(o, dict) and "name" in o for o in listed):
            raise _strange("its objects")
        return tuple(o["name"] for o in listed if o.get("queryable"))

    def discover(self, object: str) -> TableSchema:
        name = self._checked(object)
        client, sf = self._open
        try:
            with client.wire.calling("discover"):
                described = getattr(sf, name).describe()
        except MissingObjectError as error:
            raise MissingObjectError(
                f"Salesforce: there is no object {name} that this user can see.", remedy=error.remedy
            ) from None
        fields = described.get("fields") if isinstance(described, Mapping) else None
        if not isinstance(fields, list) or not all(
            isinstance(f, dict) and {"name", "type"} <= f.keys() for f in fields
        ):
            raise _strange(f"the description of {name}")
        schema = schema_of(described)
        cut = self._sharing(name)
        if cut is not None:
            schema = TableSchema(schema.columns, schema.keys, (cut,))
        self._described[name] = schema
        self._raw_described[name] = described
        return schema

    def _sharing(self, name: str) -> Observation | None:
        """Whether sharing rules may hide rows from this user: then count and read are cut alike."""
        try:
            model = self._rows(
                f"SELECT InternalSharingModel FROM EntityDefinition WHERE QualifiedApiName = {quoted(name)}", "discover"
            )["records"]
            if not model or model[0].get("InternalSharingModel") not in ("Private", "None", "ControlledByParent"):
                return None
            who = self._me() or ""
            powers = self._rows(
                "SELECT count() FROM PermissionSetAssignment WHERE PermissionSet.PermissionsViewAllData = true "
                f"AND Assignee.Username = {quoted(who)}",
                "discover",
            )
        except _NOT_SHOWN:
            return None
        if powers.get("totalSize"):
            return None
        return Observation(
            "sharing_limited",
            f"{name}: its records are private by sharing rules and the user {who} lacks 'View All Data': rows may be "
            "hidden from count and read alike. Ask the Salesforce administrator for 'View All' on this object.",
            {"cuts_rows": True, "sharing_model": model[0].get("InternalSharingModel")},
        )

    def _checked(self, object: str) -> str:
        if not _NAME.fullmatch(object):
            raise MissingObjectError(
                f"Salesforce: '{str(object)[:60]}' is not an object's API name.",
                remedy="Write it as Setup shows it, for example Account or Invoice__c.",
            )
        return str(object)

    def _schema(self, name: str) -> TableSchema:
        return self._described.get(name) or self.discover(name)

    def _columns(self, name: str, wanted: Sequence[str] | None) -> tuple[Column, ...]:
        schema = self._schema(name)
        if wanted is None:
            return schema.columns
        known = {c.name: c for c in schema.columns}
        missing = [w for w in wanted if w not in known]
        if missing:
            raise MissingObjectError(
                f"Salesforce: {name} has no field {', '.join(missing)} that this user can see.",
                remedy="The field does not exist, or field-level security hides it: ask the Salesforce administrator.",
            )
        names = list(dict.fromkeys(["Id", *wanted]))
        return tuple(known[n] for n in names)

    # --- counting and reading ---

    def count(self, object: str) -> Count:
        name = self._checked(object)
        where = filter_of(object)
        soql = f"SELECT count() FROM {name}" + (f" WHERE {where}" if where else "")
        return Count(int(self._rows(soql, "count", deleted=self.options.deleted)["totalSize"]), exact=True)

    def read(
        self,
        object: str,
        *,
        columns: Sequence[str] | None = None,
        after: str | None = None,
        page_rows: int | None = None,
    ) -> Iterator[Page]:
        name = self._checked(object)
        if after is not None and not _ID.fullmatch(after):
            raise RejectedError(f"{name}: '{after[:40]}' is not a cursor of this connector.")
        if page_rows is not None and page_rows < 1:
            raise RejectedError(f"{name}: page_rows must be at least 1.")
        question = Question(
            name, self._columns(name, columns), filter_of(object), after=None if after is None else (after,)
        )
        return self._pages(question, page_rows, resumed=after is not None)

    def _pages(self, question: Question, page_rows: int | None, *, resumed: bool = False) -> Iterator[Page]:
        client, sf = self._open
        deleted, mode = self.options.deleted, self.options.bulk
        turned = mode == "always" and not resumed
        if mode == "auto" and not resumed and len(quote(question.soql())) > LONGEST_QUERY:
            turned = True  # a job's query travels in a body
        if not turned:

            def give_way(total: int) -> bool:
                nonlocal turned
                turned = mode == "auto" and not resumed and page_rows is None and total >= self.options.bulk_from_rows
                return turned

            yield from query_pages(
                sf, client, self.session, question, deleted=deleted, page_rows=page_rows, give_way=give_way
            )
        if turned:
            yield from bulk_pages(
                sf, client, self.session, question, deleted=deleted, page_rows=page_rows, wait=self.options.bulk_wait
            )

    @property
    def tells_deletes(self) -> bool:
        """Deleted records are among the changes where they were asked for."""
        return self.options.deleted

    def watermark(self, object: str) -> str | None:
        schema = self._schema(self._checked(object))
        return next((n for n in ("SystemModstamp", "LastModifiedDate") if schema.column(n)), None)

    def changes(self, object: str, since: str, *, columns: Sequence[str] | None = None) -> Iterator[Page]:
        name = self._checked(object)
        mark = self.watermark(name)
        if mark is None:
            raise RejectedError(f"{name}: it has no SystemModstamp, so nothing tells what changed.")
        try:
            moment = datetime.fromisoformat(since)
        except ValueError:
            raise RejectedError(f"{name}: '{since[:40]}' is not an ISO 8601 time.") from None
        if moment.tzinfo is None:
            raise RejectedError(f"{name}: '{since[:40]}' has no zone.", remedy="Write it with Z or an offset.")
        text = moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        wanted = None if columns is None else list(dict.fromkeys([*columns, mark]))
        question = Question(
            name, self._columns(name, wanted), filter_of(object), order=(mark, "Id"), since=f"{mark} >= {text}"
        )
        client, sf = self._open
        return query_pages(sf, client, self.session, question, deleted=self.options.deleted, page_rows=None)

    # --- one operation at a time ---

    def operations(self, object: str, keys: Sequence[Key]) -> Mapping[str, Operation]:
        name = self._checked(object)
        where = filter_of(object)
        columns = self._columns(name, None)
        by_id = all(len(k) == 1 and _ID.fullmatch(str(k[0])) for k in keys)
        promised = tuple(getattr(object, "key", ()))
        known = {c.name for c in columns}
        if len(promised) == 1 and promised[0] in known and promised[0] != "Id":
            by_id, column = False, promised[0]
        else:
            column = "Id" if by_id else self._external_id(name)
        listed = ", ".join(c.name for c in columns[:12])
        write_key = _literal_of(next(c for c in columns if c.name == column))

        def lookup(key: Key) -> OperationResult:
            if by_id:
                return self._measured(lambda: self._get(f"sobjects/{name}/{key[0]}", "lookup"))
            soql = f"SELECT {listed} FROM {name} WHERE {column} = {write_key(key[0])}"
            return self._measured(lambda: self._rows(soql, "lookup"))

        def page(key: Key) -> OperationResult:
            test = f"{column} >= {write_key(key[0])}" + (f" AND ({where})" if where else "")
            soql = f"SELECT {listed} FROM {name} WHERE {test} ORDER BY {column} LIMIT {LIST_ROWS}"
            return self._measured(lambda: self._rows(soql, "page"))

        found = {
            "lookup": Operation("lookup", lookup, f"GET {name} by {column}"),
            "page": Operation("page", page, f"query {LIST_ROWS} records of {name} from {column} on"),
        }
        text = self._touched(name)
        if self.session.writes_allowed and text is not None and by_id:

            def write(key: Key) -> OperationResult:
                return self._measured(lambda: self._rewrite(name, str(key[0]), text))

            found["write"] = Operation("write", write, f"GET {text} of one {name}, PATCH it back unchanged")
        return found

    def _measured(self, call: Callable[[], Any]) -> OperationResult:
        client, _ = self._open
        sends, received = client.sends, client.received
        answer = call()
        rows = 0
        if isinstance(answer, Mapping):
            rows = len(answer["records"]) if "records" in answer else 1
        self.session.meter.count(rows=rows)
        return OperationResult(client.sends - sends, rows, client.received - received)

    def _external_id(self, name: str) -> str:
        self._schema(name)
        for field in self._raw_described[name]["fields"]:
            if field.get("externalId"):
                return str(field["name"])
        raise RejectedError(
            f"{name}: the keys are not record ids and the object has no external id field.",
            remedy="Make the contract's primary key Id, or mark the key as an external id in Salesforce.",
        )

    def _touched(self, name: str) -> str | None:
        """A text field that may be written back unchanged."""
        self._schema(name)
        fields = [f for f in self._raw_described[name]["fields"] if f.get("updateable") and f["type"] == "string"]
        preferred = sorted(fields, key=lambda f: (f["name"] != "Name", bool(f.get("externalId"))))
        return str(preferred[0]["name"]) if preferred else None

    def _rewrite(self, name: str, record: str, column: str) -> Mapping[str, Any]:
        self.session.require_writes(f"writing {name}")
        now = self._get(f"sobjects/{name}/{record}", "write", fields=column)
        self._rest("PATCH", f"sobjects/{name}/{record}", operation="write", json={column: now.get(column)})
        return now

    # --- writing ---

    def write(
        self,
        object: str,
        records: Sequence[Mapping[str, Any]],
        *,
        key: str | None = None,
    ) -> Sequence[WriteOutcome]:
        name = self._checked(object)
        self.session.require_writes(f"writing {name}")
        if key is not None and not _NAME.fullmatch(key):
            raise RejectedError(f"{name}: '{key[:40]}' is not a field's API name.")
        outcomes: list[WriteOutcome] = []
        for start in range(0, len(records), MOST_COLLECTED):
            part = records[start : start + MOST_COLLECTED]
            body = {
                "allOrNone": False,
                "records": [{"attributes": {"type": name}, **{k: to_json(v) for k, v in r.items()}} for r in part],
            }
            path = "composite/sobjects" if key is None else f"composite/sobjects/{name}/{key}"
            saved = self._rest(
                "POST" if key is None else "PATCH", path, operation="write", idempotent=key is not None, json=body
            )
            outcomes += self._outcomes(saved, len(part), name, created=True if key is None else None)
        return outcomes

    def _outcomes(self, saved: Any, expected: int, name: str, *, created: bool | None) -> list[WriteOutcome]:
        if not isinstance(saved, list) or len(saved) != expected:
            got = len(saved) if isinstance(saved, list) else 0
            raise ProtocolError(
                f"{name}: {expected} records were sent and {got} outcomes came back.",
                remedy="Look at the records in the org before anything is sent again.",
            )
        made: list[WriteOutcome] = []
        for entry in saved:
            if entry.get("success"):
                made.append(WriteOutcome(True, entry.get("id"), entry.get("created", created)))
            else:
                text, kind = outcome_class(entry.get("errors"))
                made.append(WriteOutcome(False, entry.get("id"), None, text, kind))
        return made

    def find(self, object: str, column: str, values: Sequence[Any]) -> Sequence[Mapping[str, Any]]:
        name = self._checked(object)
        columns = self._columns(name, None)
        wanted = next((c for c in columns if c.name == column), None)
        if wanted is None:
            raise MissingObjectError(f"Salesforce: {name} has no field {column} that this user can see.")
        write = _literal_of(wanted)
        found: list[Mapping[str, Any]] = []
        for start in range(0, len(values), MOST_COLLECTED):
            part = [write(v) for v in values[start : start + MOST_COLLECTED]]
            question = Question(name, columns, f"{column} IN ({', '.join(part)})")
            for page in self._found(question):
                found += page
        return found

    def _found(self, question: Question) -> Iterator[list[Mapping[str, Any]]]:
        client, sf = self._open
        for page in query_pages(sf, client, self.session, question, deleted=False, page_rows=None):
            yield page.batch.to_pylist()

    def delete(self, object: str, records: Sequence[Mapping[str, Any]]) -> Sequence[WriteOutcome]:
        name = self._checked(object)
        self.session.require_writes(f"deleting from {name}")
        outcomes: list[WriteOutcome] = []
        for start in range(0, len(records), MOST_COLLECTED):
            ids = [str(r["Id"]) for r in records[start : start + MOST_COLLECTED]]
            params = {"ids": ",".join(ids), "allOrNone": "false"}
            saved = self._rest("DELETE", "composite/sobjects", operation="delete", params=params)
            outcomes += self._outcomes(saved, len(ids), name, created=None)
        return outcomes


def _literal_of(column: Column) -> Callable[[Any], str]:
    """How a value of this column is written in SOQL: numbers, dates and booleans stand without quotes."""
    bare = column.native.split("(")[0] in (
        "int", "double", "currency", "percent", "date", "datetime", "boolean", "long",
    )  # fmt: skip
    return (lambda v: str(to_json(v))) if bare else (lambda v: quoted(to_json(v)))


def _strange(what: str) -> ProtocolError:
    """Whole JSON, and not what an org answers."""
    return ProtocolError(
        f"Salesforce: what came as {what} is JSON of another form.",
        remedy="Something in between answers in Salesforce's place: check instance_url, and ask for its owner.",
    )
