"""Reaches any JSON API that a page of configuration can describe: HubSpot, an in-house service, a price list."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import parse_qsl, quote, urljoin, urlsplit

from weighbridge.connectors._odata_protocol import Rates
from weighbridge.connectors._odata_types import Number
from weighbridge.connectors._rest_infer import at_path, infer
from weighbridge.connectors._rest_options import RestObject, RestOptions
from weighbridge.connectors._rest_pages import Step, rows_of
from weighbridge.connectors._rows import RowsToPage, fruitless
from weighbridge.connectors._web_auth import Login
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
    filter_of,
)
from weighbridge.connectors.errors import (
    ConnectorError,
    MissingObjectError,
    ProtocolError,
    RejectedError,
    SettingsError,
)
from weighbridge.connectors.http import Answer, HttpClient, kept
from weighbridge.connectors.session import Session

__all__ = ["RestConnector", "RestObject", "RestOptions"]

SAMPLE_ROWS = 500
"""Rows that columns are inferred from; at most SAMPLE_PAGES pages."""
SAMPLE_PAGES = 5
_NOTHING = ""


@dataclass(slots=True)
class _Shared:
    login: Login
    rates: Rates = field(default_factory=Rates)
    schemas: dict[str, TableSchema] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class RestConnector(Connector):
    """A described JSON API; reads only."""

    kind = "rest"
    options_model = RestOptions
    options: RestOptions

    def __init__(self, options: Any, session: Session | None = None) -> None:
        super().__init__(options, session)
        self._client: HttpClient | None = None
        self._shared = _Shared(Login(self.options))

    # --- life -------------------------------------------------------------------------------------------------

    @property
    def client(self) -> HttpClient:
        if self._client is None:
            raise SettingsError("connector rest: it is not open.", remedy="Call open() first.")
        return self._client

    def open(self) -> None:
        if self._client is None:
            client = self._new_client()
            with kept(client):
                self._shared.login.begin(client)
            self._client = client

    def _new_client(self) -> HttpClient:
        login = self._shared.login
        client = HttpClient(
            self.session,
            self.options.url.get_secret_value(),
            options=self.options,
            auth=login,
            classify=self._notice,
            renew=self._renew if login.renewable else None,
            parse_float=Number,
        )
        login.attach(client)
        return client

    def _renew(self, failed: Any) -> None:
        self._shared.login.renew(self.client, failed)

    def _notice(self, answer: Answer) -> ConnectorError | None:
        self._shared.rates.notice(answer.headers)
        return None

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def fork(self, session: Session) -> Self:
        other = type(self)(self.options, session)
        other._shared = self._shared
        renew = other._renew if self._shared.login.renewable else None
        other._client = self.client.fork(session, renew=renew)
        return other

    def endpoints(self) -> Sequence[Any]:
        return [(self._client or self._new_client()).endpoint]

    # --- who, limits, what ------------------------------------------------------------------------------------

    def _object(self, name: str) -> RestObject:
        found = self.options.objects.get(str(name))
        if found is None:
            raise MissingObjectError(
                f"connector rest: '{name}' is not described.",
                remedy=f"Add it to the option objects, which has {', '.join(self.options.objects) or 'none'}.",
            )
        return found

    def probe(self) -> Probe:
        name = next(iter(self.options.objects), None)
        started = time.monotonic()
        server = None
        if name is not None:
            about = self.options.objects[name]
            answer = self._get(about.path, self._first(about, 1, None), operation="probe")
            server = answer.headers.get("Server")
        seconds = time.monotonic() - started
        host = urlsplit(self.client.base_url).hostname
        facts = {"login": self.options.login_kind, "host": host, "server": server, "asked": name}
        return Probe("JSON API", None, self.options.username or self.options.client_id, seconds, facts)

    def limits(self) -> Sequence[Limit]:
        rates = self._shared.rates
        if not rates.seen:
            self.probe()
        if rates.cap is None:
            return ()
        used = None if rates.remaining is None else max(0.0, rates.cap - rates.remaining)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        window = f"{rates.window:g} s" if rates.window else None
        return (
            Limit(
                "requests_per_window",
                "account",
                rates.cap,
                "calls",
                window,
                used,
                "reported",
                self.session.environment,
                now,
            ),
        )

    def objects(self) -> Sequence[str]:
        return list(self.options.objects)

    def discover(self, object: str) -> TableSchema:
        about = self._object(object)
        with self._shared.lock:
            found = self._shared.schemas.get(str(object))
            if found is None:
                found = self._shared.schemas[str(object)] = self._inferred(str(object), about)
            return found

    def _inferred(self, name: str, about: RestObject) -> TableSchema:
        rows: list[dict[str, Any]] = []
        for number, got in enumerate(self._pages(name, about, None, None, None), start=1):
            rows += got.rows
            if len(rows) >= SAMPLE_ROWS or number >= SAMPLE_PAGES:
                break
        said = Observation(
            "schema_inferred",
            f"the API declares no types: they were inferred from {len(rows)} rows.",
            {"rows": len(rows)},
        )
        return TableSchema(infer(rows, keys=about.keys, types=about.types), about.keys, (said,))

    def count(self, object: str) -> Count:
        about = self._object(object)
        where = _filter(object)
        if about.count_path or about.count_value or about.count_header:
            path = about.count_path or about.path
            query = {**about.parameters, **where} if about.count_path else self._first(about, 1, where)
            answer = self._get(path, query, operation="count")
            told: Any = at_path(answer.json(), about.count_value or "")
            if about.count_header:
                told = answer.headers.get(about.count_header)
            try:
                return Count(int(told), exact=True)
            except (TypeError, ValueError):
                raise ProtocolError(
                    f"{object}: the answer says no number of rows where count_value or count_header points.",
                    remedy="Correct the description; leave it out if the API does not count.",
                ) from None
        total = sum(len(got.rows) for got in self._pages(str(object), about, where, None, None))
        return Count(total, exact=True)

    # --- reading ----------------------------------------------------------------------------------------------

    def read(
        self,
        object: str,
        *,
        columns: Sequence[str] | None = None,
        after: str | None = None,
        page_rows: int | None = None,
    ) -> Iterator[Page]:
        yield from self._read(object, _filter(object), columns, after, page_rows)

    def _read(
        self,
        object: str,
        where: Mapping[str, str],
        columns: Sequence[str] | None,
        after: str | None,
        page_rows: int | None,
    ) -> Iterator[Page]:
        about = self._object(object)
        schema = self.discover(object)
        wanted = _wanted(str(object), schema, columns)
        maker = RowsToPage(str(object), wanted, schema.keys)
        known = {c.name for c in schema.columns}
        gone: set[str] = set()
        said: tuple[Observation, ...] = ()
        if about.paging in ("offset", "page"):
            text = f"pages by {about.paging}: a row added or removed while it is read may hide another one."
            said = (Observation("unstable_paging", text),)
        for number, got in enumerate(self._pages(str(object), about, where, after, page_rows), start=1):
            said += maker.seam(_key_values(str(object), got.rows, about.keys), number, strict=False)
            said += _changed_fields(got.rows, known, gone, number)
            rows = [{c.name: row.get(c.name) for c in wanted} for row in got.rows]
            yield maker.page(
                rows, number=number, seconds=got.seconds, calls=got.calls, cursor=got.cursor, observations=said
            )
            said = ()

    def _first(self, about: RestObject, size: int | None, where: Mapping[str, str] | None) -> dict[str, str]:
        query = {**about.parameters, **(where or {})}
        if about.size_parameter:
            query[about.size_parameter] = str(size or about.page_rows)
        return query

    def _pages(
        self,
        name: str,
        about: RestObject,
        where: Mapping[str, str] | None,
        after: str | None,
        page_rows: int | None,
    ) -> Iterator[_Got]:
        """Every page with rows. A cursor, an address or an offset that comes again is an error, not a loop."""
        step = Step.of(about, after)
        base = self._first(about, page_rows, where)
        seen: set[str] = set()
        meter = self.session.meter
        first, last, empty = meter.attempts, b"", 0
        while True:
            before, started = meter.attempts, time.monotonic()
            path, query = step.request(about, base)
            try:
                answer = self._get(path, query, operation="read")
            except MissingObjectError:
                if before == first or about.paging not in ("offset", "page"):
                    raise
                return  # many frameworks answer 404 to the page behind the last
            rows = rows_of(name, about, answer.json())
            if rows and answer.body == last:
                raise ProtocolError(
                    f"{name}: the same page comes again and again: the API does not know the paging parameter.",
                    remedy="Correct paging and its parameters in the description; nothing was counted twice.",
                )
            last = answer.body
            empty = 0 if rows else empty + 1
            fruitless(name, empty)
            meter.count(rows=len(rows))
            following = step.following(about, answer, rows)
            mark = json.dumps([following.address, following.cursor]) if following else ""
            if following is not None and about.paging in ("cursor", "link_header"):
                if mark in seen:
                    raise ProtocolError(
                        f"{name}: the pages go in a circle: the same next page is named twice.",
                        remedy="Tell the API's owner; nothing was counted twice.",
                    )
                seen.add(mark)
            if rows:
                cursor = following.text() if following else None
                yield _Got(rows, time.monotonic() - started, max(1, meter.attempts - before), cursor)
            if following is None or (not rows and about.paging in ("offset", "page")):
                return
            step = following

    def _get(self, path: str, query: Mapping[str, str] | None, *, operation: str) -> Answer:
        address = urljoin(self.client.base_url, path.lstrip("/") if "://" not in path else path)
        if query:
            text = "&".join(f"{quote(k)}={quote(v, safe=_NOTHING)}" for k, v in query.items())
            address += ("&" if "?" in address else "?") + text
        return self.client.request("GET", address, operation=operation)

    # --- facets -----------------------------------------------------------------------------------------------

    def watermark(self, object: str) -> str | None:
        about = self._object(object)
        return about.modified if about.modified_parameter else None

    def changes(self, object: str, since: str, *, columns: Sequence[str] | None = None) -> Iterator[Page]:
        about = self._object(object)
        if about.modified_parameter is None:
            raise MissingObjectError(
                f"{object}: the description names no modified_parameter.",
                remedy="Add it if the API can narrow by time.",
            )
        yield from self._read(object, {**_filter(object), about.modified_parameter: since}, columns, None, None)

    def operations(self, object: str, keys: Sequence[Key]) -> Mapping[str, Operation]:  # noqa: ARG002
        about = self._object(object)
        found = {"page": Operation("page", lambda _key: self._one_page(object, about), f"GET a page of {object}")}
        promised = tuple(getattr(object, "key", ())) or about.keys
        # the description knows a path by its own key alone
        if about.lookup and set(promised) == set(about.keys):
            found["lookup"] = Operation(
                "lookup", lambda key: self._look_up(about, key, promised), f"GET one of {object}"
            )
        return found

    def _one_page(self, name: str, about: RestObject) -> OperationResult:
        meter = self.session.meter
        attempts, received = meter.attempts, meter.bytes_received
        answer = self._get(about.path, self._first(about, None, _filter(name)), operation="page")
        rows = len(rows_of(str(name), about, answer.json()))
        meter.count(rows=rows)
        return OperationResult(max(1, meter.attempts - attempts), rows, meter.bytes_received - received)

    def _look_up(self, about: RestObject, key: Key, names: Sequence[str]) -> OperationResult:
        if len(key) != len(names):
            raise RejectedError(f"{len(key)} values were given for the key {', '.join(names)}.")
        meter = self.session.meter
        attempts, received = meter.attempts, meter.bytes_received
        path = str(about.lookup)
        for name, value in zip(names, key, strict=True):
            path = path.replace("{" + name + "}", quote(str(value), safe=""))
        self._get(path, about.parameters, operation="lookup")
        meter.count(rows=1)
        return OperationResult(max(1, meter.attempts - attempts), 1, meter.bytes_received - received)


@dataclass(frozen=True, slots=True)
class _Got:
    rows: list[dict[str, Any]]
    seconds: float
    calls: int
    cursor: str | None


def _key_values(name: str, rows: list[dict[str, Any]], keys: Sequence[str]) -> list[tuple[Any, ...]]:
    try:
        return [tuple(row[k] if not isinstance(row[k], list) else str(row[k]) for k in keys) for row in rows]
    except KeyError as missing:
        raise ProtocolError(
            f"{name}: a row without its key {missing}.", remedy="Correct the option key, or ask the API's owner."
        ) from None


def _changed_fields(
    rows: list[dict[str, Any]], known: set[str], gone: set[str], number: int
) -> tuple[Observation, ...]:
    """Fields that a whole page lacks, and fields the sample did not have; each is said once."""
    present = set().union(*rows)
    said: list[Observation] = []
    missing = (known - present) - gone
    if missing:
        text = f"page {number} has no row with {', '.join(sorted(missing))}: null there, or gone from the API."
        said.append(Observation("field_missing", text, {"fields": sorted(missing), "page": number}))
        gone |= missing
    new = (present - known) - gone
    if new:
        text = f"page {number} has fields the sample did not: {', '.join(sorted(new)[:10])}; they were not read."
        said.append(Observation("field_unknown", text, {"fields": sorted(new), "page": number}))
        gone |= new
    return tuple(said)


def _wanted(name: str, schema: TableSchema, columns: Sequence[str] | None) -> list[Column]:
    if columns is None:
        return list(schema.columns)
    found: list[Column] = []
    for wanted in columns:
        column = schema.column(wanted)
        if column is None:
            raise MissingObjectError(
                f"{name} has no field '{wanted}' in its sample.",
                remedy="Declare it under types if it is rarely filled.",
            )
        found.append(column)
    return found


def _filter(name: str) -> dict[str, str]:
    """The object's filter as query parameters, `status=open&owner=7`."""
    return dict(parse_qsl(filter_of(name) or "", keep_blank_values=True))
