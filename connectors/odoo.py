"""Reaches Odoo (14 to 19) over JSON-RPC, or JSON-2 with an API key."""

from __future__ import annotations

import ast
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Self
from urllib.parse import urlsplit

from weighbridge.connectors._odoo_rpc import OdooOptions, OdooRpc
from weighbridge.connectors._odoo_types import column_of, plain_value, to_arrays
from weighbridge.connectors._rows import RowsToPage
from weighbridge.connectors.base import (
    Column,
    Connector,
    Count,
    Key,
    Limit,
    ObjectRef,
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
    MissingObjectError,
    ProtocolError,
    RejectedError,
    RetriableError,
    SettingsError,
)
from weighbridge.connectors.http import kept
from weighbridge.connectors.session import Session

__all__ = ["OdooConnector", "OdooOptions"]

MOST_PAGE_ROWS = 10_000
SUPERUSERS = frozenset({"admin", "__system__"})
USER_PAGE = 80
"""Rows of one list view in Odoo's own web client."""
ATTRIBUTES = ["type", "string", "required", "relation", "selection", "size", "digits", "store", "name"]
PER_RECORD = (RejectedError, AccessError, MissingObjectError, RetriableError, ProtocolError)
Domain = list[Any]


class OdooConnector(Connector):
    """Odoo models as tables; pages by id, so that rows that come or go hide no other row."""

    kind = "odoo"
    options_model = OdooOptions
    options: OdooOptions

    def __init__(self, options: Any, session: Session | None = None) -> None:
        super().__init__(options, session)
        self._rpc: OdooRpc | None = None
        self._fields: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    # --- life -------------------------------------------------------------------------------------------------

    @property
    def rpc(self) -> OdooRpc:
        if self._rpc is None:
            raise SettingsError("connector odoo: it is not open.", remedy="Call open() first.")
        return self._rpc

    def open(self) -> None:
        if self._rpc is not None:
            return
        rpc = OdooRpc(self.session, self.options)
        with kept(rpc.http):
            rpc.begin()
        self._rpc = rpc

    def close(self) -> None:
        if self._rpc is not None:
            self._rpc.http.close()
            self._rpc = None

    def fork(self, session: Session) -> Self:
        other = type(self)(self.options, session)
        other._rpc = self.rpc.fork(session)
        other._fields, other._lock = self._fields, self._lock
        return other

    def endpoints(self) -> Sequence[Any]:
        rpc = self._rpc or OdooRpc(self.session, self.options)
        return [rpc.http.endpoint]

    # --- who, limits, what ------------------------------------------------------------------------------------

    def _call(self, model: str, method: str, args: list[Any] | None = None, **kwargs: Any) -> Any:
        operation = kwargs.pop("_operation", method)
        idempotent = kwargs.pop("_idempotent", True)
        return self.rpc.call(model, method, args, kwargs, operation=operation, idempotent=idempotent)

    def _context(self, **more: Any) -> dict[str, Any]:
        context: dict[str, Any] = dict(more)
        if self.options.archived:
            context["active_test"] = False
        if self.options.company_ids:
            context["allowed_company_ids"] = list(self.options.company_ids)
        return context

    def probe(self) -> Probe:
        started = time.monotonic()
        user = self._me()
        seconds = time.monotonic() - started
        facts: dict[str, Any] = {
            "database": self.options.database,
            "interface": "JSON-2" if self.rpc.json2 else "JSON-RPC",
            "companies": user.get("company_ids", []),
            "archived": self.options.archived,
            "superuser": str(user.get("login")) in SUPERUSERS,
            "host": urlsplit(self.options.url.get_secret_value()).hostname,
        }
        said: list[Observation] = []
        if not self.rpc.json2 and self._major >= 19:
            said.append(
                Observation(
                    "login_retiring",
                    "JSON-RPC is deprecated from Odoo 19; an api_key uses the JSON-2 interface instead.",
                )
            )
        return Probe("Odoo", self.rpc.version, str(user.get("login") or "") or None, seconds, facts, tuple(said))

    @property
    def _major(self) -> int:
        head = (self.rpc.version or "").replace("saas~", "").partition(".")[0]
        return int(head) if head.isdigit() else 0

    def _me(self) -> Mapping[str, Any]:
        uid = self.rpc.uid
        if uid is None:
            context = self._call("res.users", "context_get", _operation="probe")
            uid = context.get("uid") if isinstance(context, dict) else None
            if not isinstance(uid, int):
                return {"login": self.options.username}
        try:
            rows = self._call("res.users", "read", [[uid]], fields=["login", "company_ids"], _operation="probe")
        except AccessError:  # a portal user may not read even itself
            rows = []
        found = _records(rows, "res.users.read")
        return found[0] if found else {"login": self.options.username}

    def limits(self) -> Sequence[Limit]:
        """Odoo reports no ceiling of its own; its hosting's are for the project to declare."""
        return ()

    def objects(self) -> Sequence[str]:
        try:
            rows = self._call("ir.model", "search_read", domain=[], fields=["model"], _operation="objects")
        except AccessError:
            return ()
        return sorted(str(row["model"]) for row in _records(rows, "ir.model.search_read", "model"))

    def discover(self, object: str) -> TableSchema:
        model = str(object)
        columns = [c for name, about in self._about(model).items() for c in column_of(name, about)]
        return TableSchema(tuple(columns), ("id",), self._sight(model))

    def _about(self, model: str) -> dict[str, Any]:
        with self._lock:
            found = self._fields.get(model)
            if found is None:
                told = self._call(model, "fields_get", attributes=ATTRIBUTES, _operation="discover")
                if not isinstance(told, dict) or "id" not in told or not set(map(type, told.values())) <= {dict}:
                    raise ProtocolError(f"{model}: fields_get answered something that is no field list.")
                found = self._fields[model] = {"id": told["id"]} | {n: told[n] for n in sorted(told)}
            return found

    def _sight(self, model: str) -> tuple[Observation, ...]:
        """Whether record rules may cut rows for this user: count and read are then cut alike."""
        domain = [["model_id.model", "=", model]]
        fields = ["name", "domain_force"]
        try:
            rules = self._call("ir.rule", "search_read", domain=domain, fields=fields, _operation="discover")
        except (AccessError, MissingObjectError, RejectedError):
            text = (
                f"record rules of {model} may hide rows from this user, who may not read them. Count and read are cut "
                "alike: declare weighbridge.expected_rows to be sure."
            )
            return (Observation("rows_may_be_hidden", text, {"model": model, "rules": None, "cuts_rows": True}),)
        # A rule about companies alone is answered by the companies that the probe names.
        rules = _records(rules, "ir.rule.search_read")
        names = [str(rule.get("name")) for rule in rules if not _about_companies(str(rule.get("domain_force") or ""))]
        if not names:
            return ()
        text = (
            f"record rules of {model} may hide rows from this user: {', '.join(names[:5])}. "
            "Declare weighbridge.expected_rows to be sure."
        )
        return (Observation("rows_may_be_hidden", text, {"model": model, "rules": names, "cuts_rows": True}),)

    def count(self, object: str) -> Count:
        value = self._call(
            str(object), "search_count", domain=_domain(filter_of(object)), context=self._context(), _operation="count"
        )
        if not isinstance(value, int):
            raise ProtocolError(f"{object}: search_count answered {str(value)[:60]!r}, not a number.")
        return Count(value, exact=True)

    # --- reading ----------------------------------------------------------------------------------------------

    def read(
        self,
        object: str,
        *,
        columns: Sequence[str] | None = None,
        after: str | None = None,
        page_rows: int | None = None,
    ) -> Iterator[Page]:
        model = str(object)
        wanted = self._wanted(model, columns)
        fields = list(dict.fromkeys(_field_of(c) for c in wanted))
        maker = RowsToPage(model, wanted, ("id",), arrays=to_arrays, field_of=_field_of)
        size = min(page_rows or self.options.page_rows, MOST_PAGE_ROWS)
        domain = _domain(filter_of(object))
        last = _cursor(after)
        meter = self.session.meter
        said = self._left_out(model, domain)
        number = 0
        while True:
            before, started = meter.attempts, time.monotonic()
            rows = self._call(
                model,
                "search_read",
                domain=[*domain, ["id", ">", last]],
                fields=fields,
                order="id",
                limit=size,
                context=self._context(),
                _operation="read",
            )
            seconds = time.monotonic() - started
            if not isinstance(rows, list):
                raise ProtocolError(f"{model}: search_read answered something that is no list.")
            if not rows:
                return
            number += 1
            meter.count(rows=len(rows))
            last = self._moved_on(model, rows, last, number)
            yield maker.page(
                rows,
                number=number,
                seconds=seconds,
                calls=max(1, meter.attempts - before),
                cursor=str(last),
                observations=said,
            )
            said = ()
            if len(rows) < size:
                return

    def _wanted(self, model: str, columns: Sequence[str] | None) -> list[Column]:
        known = {c.name: c for name, about in self._about(model).items() for c in column_of(name, about)}
        if columns is None:
            return list(known.values())
        missing = [name for name in columns if name not in known]
        if missing:
            raise MissingObjectError(
                f"{model} has no field {', '.join(missing)} for this user.",
                remedy="Check the spelling; a field may be hidden from this user's groups.",
            )
        return [known[name] for name in columns]

    @staticmethod
    def _moved_on(model: str, rows: list[Any], last: int, number: int) -> int:
        try:
            ids = [int(row["id"]) for row in rows]
        except (KeyError, TypeError, ValueError):
            raise ProtocolError(f"{model}: page {number} has a row without its id.") from None
        if ids[0] <= last or any(a >= b for a, b in pairwise(ids)):
            raise ProtocolError(
                f"{model}: page {number} does not go on behind id {last}: rows would be counted twice.",
                remedy="A cache or proxy in between answers with an old page; ask the administrator.",
            )
        return ids[-1]

    def _left_out(self, model: str, domain: Domain) -> tuple[Observation, ...]:
        """How many archived records a plain search leaves out."""
        if self.options.archived or "active" not in self._about(model):
            return ()
        context = self._context(active_test=False)
        hidden = self._call(
            model,
            "search_count",
            domain=[*domain, ["active", "=", False]],
            context=context,
            _operation="count",
        )
        if not hidden:
            return ()
        message = f"{hidden} archived records are left out; archived = true reads them too."
        return (Observation("archived_left_out", message, {"rows": hidden}),)

    # --- facets -----------------------------------------------------------------------------------------------

    def watermark(self, object: str) -> str | None:
        return "write_date" if "write_date" in self._about(str(object)) else None

    def changes(self, object: str, since: str, *, columns: Sequence[str] | None = None) -> Iterator[Page]:
        moment = datetime.fromisoformat(since).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
        domain = [*_domain(filter_of(object)), ["write_date", ">=", moment]]
        return self.read(ObjectRef(str(object), json.dumps(domain)), columns=columns)

    def operations(self, object: str, keys: Sequence[Key]) -> Mapping[str, Operation]:
        model = str(object)
        promised = tuple(getattr(object, "key", ())) or ("id",)
        about = self._about(model)
        fields = [n for n, a in about.items() if a.get("type") != "binary" and a.get("store", True)]
        found = {
            "lookup": Operation(
                "lookup",
                lambda key: self._look_up(model, key, fields, promised),
                f"read one {model} by {', '.join(promised)}",
            ),
            "page": Operation(
                "page",
                lambda key: self._one_page(object, key if promised == ("id",) else (0,), fields),
                f"search_read {USER_PAGE} {model}",
            ),
        }
        text = next((n for n, a in about.items() if a.get("type") == "char" and a.get("store") and n != "id"), None)
        if self.session.writes_allowed and keys and text and promised == ("id",):
            found["write"] = Operation(
                "write", lambda key: self._rewrite(model, key, text), f"read and write {model}.{text}, unchanged"
            )
        return found

    def _counted(self, call: Callable[[], int]) -> OperationResult:
        meter = self.session.meter
        attempts, received = meter.attempts, meter.bytes_received
        rows = call()
        meter.count(rows=rows)
        return OperationResult(max(1, meter.attempts - attempts), rows, meter.bytes_received - received)

    def _look_up(self, model: str, key: Key, fields: list[str], columns: Sequence[str]) -> OperationResult:
        def run() -> int:
            if tuple(columns) == ("id",):
                rows = self._call(model, "read", [[key[0]]], fields=fields, _operation="lookup")
            else:  # a contract's key that is not the record's id
                kinds = {name: str(self._about(model).get(name, {}).get("type")) for name in columns}
                domain = [[n, "=", plain_value(v, kinds[n])] for n, v in zip(columns, key, strict=True)]
                rows = self._call(model, "search_read", domain=domain, fields=fields, limit=1, _operation="lookup")
            if not rows:
                raise MissingObjectError(f"{model}: there is no record {key[0]} (any more).")
            return 1

        return self._counted(run)

    def _one_page(self, object: str, key: Key, fields: list[str]) -> OperationResult:
        domain = [*_domain(filter_of(object)), ["id", ">=", key[0]]]

        def run() -> int:
            rows = self._call(
                str(object),
                "search_read",
                domain=domain,
                fields=fields,
                order="id",
                limit=USER_PAGE,
                context=self._context(),
                _operation="page",
            )
            return len(_records(rows, f"{object}.search_read"))

        return self._counted(run)

    def _rewrite(self, model: str, key: Key, field: str) -> OperationResult:
        def run() -> int:
            rows = self._call(model, "read", [[key[0]]], fields=[field], _operation="write")
            if not rows:
                raise MissingObjectError(f"{model}: there is no record {key[0]} (any more).")
            self._call(model, "write", [[key[0]]], vals={field: rows[0][field]}, _operation="write", _idempotent=False)
            return 1

        return self._counted(run)

    def write(
        self,
        object: str,
        records: Sequence[Mapping[str, Any]],
        *,
        key: str | None = None,
    ) -> Sequence[WriteOutcome]:
        self.session.require_writes(f"writing {len(records)} records of {object}")
        return [_outcome(lambda r=record: self._write_one(str(object), r, key)) for record in records]

    def _write_one(self, model: str, record: Mapping[str, Any], key: str | None) -> WriteOutcome:
        about = self._about(model)
        values = {
            name: plain_value(value, str(about.get(name, {}).get("type")))
            for name, value in record.items()
            if name != "id" and not name.endswith(".name")
        }
        if key is not None:
            context = self._context(active_test=False)
            domain = [[key, "=", plain_value(record[key], str(about.get(key, {}).get("type")))]]
            found = self._call(model, "search", domain=domain, context=context, _operation="find")
            if len(found) > 1:
                raise RejectedError(f"{model}: {len(found)} records have the same {key}; none was changed.")
            if found:
                self._call(model, "write", [found], vals=values, _operation="write", _idempotent=False)
                return WriteOutcome(True, id=found[0], created=False)
        made = self._call(model, "create", vals_list=[values], _operation="write", _idempotent=False)
        return WriteOutcome(True, id=made[0] if isinstance(made, list) else made, created=True)

    def find(self, object: str, column: str, values: Sequence[Any]) -> Sequence[Mapping[str, Any]]:
        model = str(object)
        wanted = self._wanted(model, None)
        kind = str(self._about(model).get(column, {}).get("type"))
        rows = self._call(
            model,
            "search_read",
            domain=[[column, "in", [plain_value(v, kind) for v in values]]],
            fields=list(dict.fromkeys(_field_of(c) for c in wanted)),
            order="id",
            context=self._context(active_test=False),
            _operation="find",
        )
        if not rows:
            return []
        maker = RowsToPage(model, wanted, ("id",), arrays=to_arrays, field_of=_field_of)
        page = maker.page(rows, number=1, seconds=0, calls=1, cursor=None)
        return page.batch.to_pylist()

    def delete(self, object: str, records: Sequence[Mapping[str, Any]]) -> Sequence[WriteOutcome]:
        self.session.require_writes(f"deleting {len(records)} records of {object}")
        return [_outcome(lambda r=record: self._unlink(str(object), int(r["id"]))) for record in records]

    def _unlink(self, model: str, number: int) -> WriteOutcome:
        self._call(model, "unlink", [[number]], _operation="delete", _idempotent=False)
        return WriteOutcome(True, id=number, created=False)


def _records(answer: Any, what: str, *fields: str) -> list[dict[str, Any]]:
    """The answer as a list of records that have these fields; raises ProtocolError."""
    if not isinstance(answer, list) or not all(isinstance(r, dict) and all(f in r for f in fields) for r in answer):
        raise ProtocolError(
            f"Odoo: {what} answered something that is no list of records.",
            remedy="Something in between answers in Odoo's place: check the url option, and ask for its owner.",
        )
    return answer


def _about_companies(domain: str) -> bool:
    named = set(re.findall(r"\(\s*['\"]([\w.]+)['\"]\s*,", domain))
    return bool(named) and all("company" in name for name in named)


def _outcome(call: Callable[[], WriteOutcome]) -> WriteOutcome:
    try:
        return call()
    except PER_RECORD as error:
        return WriteOutcome(False, error=error.message, error_class=type(error).__name__)


def _field_of(column: Column) -> str:
    return column.name.removesuffix(".name") if column.native == "many2one name" else column.name


def _domain(text: str | None) -> Domain:
    """A filter in Odoo's own words, `[('state', '=', 'sale')]`, as JSON or as a Python literal."""
    if not text:
        return []
    try:
        found = json.loads(text)
    except ValueError:
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise RejectedError(
                f"the filter {text[:80]!r} is no Odoo domain.", remedy="Write it as [('state', '=', 'sale')]."
            ) from None
    if not isinstance(found, list):
        raise RejectedError(f"the filter {text[:80]!r} is no list.", remedy="Write it as [('state', '=', 'sale')].")
    return found


def _cursor(after: str | None) -> int:
    if after is None:
        return 0
    if not after.isdigit():
        raise SettingsError("the cursor to read after is not one of this connector.")
    return int(after)
