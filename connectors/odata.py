"""Reaches OData services, V4 and V2: SAP, Dynamics, Business Central and everything that speaks the protocol."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal, Self
from urllib.parse import urljoin, urlsplit

import pyarrow as pa
from pydantic import Field, SecretStr, field_validator

from weighbridge.connectors import _odata_write
from weighbridge.connectors._odata_client import ODataClient, Target
from weighbridge.connectors._odata_presets import PRESETS, Preset
from weighbridge.connectors._odata_read import Cursor, DeltaPage, ReadPlan
from weighbridge.connectors._odata_types import arrow_type
from weighbridge.connectors._web_auth import LoginOptions
from weighbridge.connectors.base import (
    Column,
    Connector,
    Count,
    Key,
    Limit,
    ObjectRef,
    Observation,
    Operation,
    Page,
    Probe,
    TableSchema,
    WriteOutcome,
    filter_of,
)
from weighbridge.connectors.errors import (
    ConnectorError,
    MissingObjectError,
    ProtocolError,
    RejectedError,
    SettingsError,
)
from weighbridge.connectors.http import kept
from weighbridge.connectors.session import Session

__all__ = ["DeltaPage", "ODataConnector", "ODataOptions"]

MOST_PAGE_ROWS = 20_000


class ODataOptions(LoginOptions):
    """`url` is a service root, or a root below which `physicalName` is SERVICE/Entity."""

    url: SecretStr
    preset: str | None = None
    paging: Literal["auto", "keyset", "next_link", "skip"] | None = None
    """None: as the preset says; auto: by key where the service compares keys, else by its links."""
    page_rows: int | None = Field(default=None, ge=1, le=MOST_PAGE_ROWS)
    empty_is_null: bool = False
    """The service sends '' where a text is null."""
    metadata_path: str | None = None
    """Where `$metadata` lies, relative to the url, where that is not below it: `../$metadata`."""
    parameters: dict[str, str] = Field(default_factory=dict)
    """Query parameters of every call, for example `{ sap-client = "100" }`; nothing secret."""
    modified_field: str | None = None
    """The column that moves when a record changes, where it cannot be guessed."""

    @field_validator("preset")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in PRESETS:
            raise ValueError(f"no preset '{value}'; there are {', '.join(PRESETS)}")
        return value


class ODataConnector(Connector):
    """OData V4 and V2; the version is found from `$metadata`."""

    kind = "odata"
    options_model = ODataOptions
    options: ODataOptions

    def __init__(self, options: Any, session: Session | None = None) -> None:
        super().__init__(options, session)
        self.preset: Preset = PRESETS[self.options.preset or "plain"]
        self._client: ODataClient | None = None
        self._etags: dict[tuple[str, Key], str] = {}

    # --- life -------------------------------------------------------------------------------------------------

    @property
    def client(self) -> ODataClient:
        if self._client is None:
            raise SettingsError("connector odata: it is not open.", remedy="Call open() first.")
        return self._client

    def open(self) -> None:
        if self._client is not None:
            return
        client = self._new_client()
        with kept(client.http):
            client.shared.login.begin(client.http)
            with suppress(MissingObjectError):  # the url is a root: each physicalName names its service
                client.metadata("")
        self._client = client

    def _new_client(self) -> ODataClient:
        url = self.options.url.get_secret_value()
        if "?" in url or "#" in url:
            raise SettingsError("connector odata: the url has a query.", remedy="Give the service root alone.")
        options = self.options
        return ODataClient(
            self.session,
            options,
            self.preset,
            url=url,
            metadata_path=options.metadata_path,
            parameters=options.parameters,
        )

    def close(self) -> None:
        if self._client is not None:
            self._client.http.close()
            self._client = None

    def fork(self, session: Session) -> Self:
        other = type(self)(self.options, session)
        other._client = self.client.fork(session)
        return other

    def endpoints(self) -> Sequence[Any]:
        client = self._client or self._new_client()
        return [client.http.endpoint]

    # --- who, limits, what ------------------------------------------------------------------------------------

    def probe(self) -> Probe:
        client = self.client
        started = time.monotonic()
        try:
            answer = client.request("GET", client.http.base_url, headers=self.preset.headers, operation="probe")
            version = answer.headers.get("OData-Version") or answer.headers.get("DataServiceVersion")
        except MissingObjectError:
            version = None
        seconds = time.monotonic() - started
        services = {
            name or "(url)": {"version": m.version, "entity_sets": len(m.sets)}
            for name, m in client.shared.metadata.items()
        }
        observations: list[Observation] = []
        if not self.preset.proven:
            observations.append(
                Observation(
                    "preset_unproven",
                    f"the preset for {self.preset.product} is written from its documentation and was not proven here.",
                )
            )
        return Probe(
            product=self.preset.product,
            version=version.rstrip(";") if version else None,
            user=self.options.username or self.options.client_id,
            seconds=seconds,
            facts={
                "login": self.options.login_kind,
                "services": services,
                "server": client.shared.server,
                "host": urlsplit(client.http.base_url).hostname,
            },
            observations=tuple(observations),
        )

    def limits(self) -> Sequence[Limit]:
        client = self.client
        if not client.shared.rates.seen:
            known = next(iter(client.shared.metadata), "")
            address = urljoin(client.http.base_url, f"{known}/" if known else "")
            with suppress(MissingObjectError, RejectedError):
                client.request("GET", address, headers=self.preset.headers, operation="limits")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        environment = self.session.environment
        found = [
            Limit(p.name, p.scope, p.cap, p.unit, p.window, None, "declared", environment, now, {"published": p.page})
            for p in self.preset.limits
        ]
        rates = client.shared.rates
        if rates.cap is not None:
            used = None if rates.remaining is None else max(0.0, rates.cap - rates.remaining)
            window = f"{rates.window:g} s" if rates.window else None
            found.append(
                Limit("requests_per_window", "user", rates.cap, "calls", window, used, "reported", environment, now)
            )
        for name, unit, left in (
            ("requests_per_window", "calls", rates.burst_remaining),
            ("execution_seconds_per_window", "seconds", rates.time_remaining),
        ):
            if left is not None and not any(one.name == name for one in found):
                # Dataverse tells what is left, never the ceiling: at least this much.
                found.append(
                    Limit(name, "user", None, unit, "300 s", None, "reported", environment, now, {"remaining": left})
                )
            elif left is not None:
                found = [self._with_used(one, name, left) for one in found]
        return found

    @staticmethod
    def _with_used(one: Limit, name: str, left: float) -> Limit:
        if one.name != name or one.cap is None:
            return one
        detail = {**one.detail, "remaining": left}
        used = max(0.0, one.cap - left)
        return Limit(
            one.name, one.scope, one.cap, one.unit, one.window, used, one.source, one.environment, one.at, detail
        )

    def objects(self) -> Sequence[str]:
        found: list[str] = []
        for service, metadata in self.client.shared.metadata.items():
            found += [f"{service}/{name}" if service else name for name in metadata.sets]
        return found

    def discover(self, object: str) -> TableSchema:
        target = self.client.target(object)
        kind = target.entity_set.type
        references = self._references(target)
        columns = tuple(
            Column(
                name=p.name,
                type=arrow_type(p),
                nullable=p.nullable,
                native=f"Collection({p.type})" if p.collection else p.type,
                length=p.max_length,
                precision=p.precision,
                scale=p.scale if isinstance(p.scale, int) else None,
                enum=p.enum,
                references=references.get(p.name),
                unique=kind.keys == (p.name,),
            )
            for p in kind.properties
            if p.type != "Edm.Stream"
        )
        return TableSchema(columns, kind.keys)

    def _references(self, target: Target) -> dict[str, str]:
        found: dict[str, str] = {}
        for navigation in target.entity_set.type.navigation:
            referred = target.metadata.set_of(navigation.target)
            if referred is None or navigation.collection or len(navigation.columns) != 1:
                continue
            own, theirs = navigation.columns[0]
            found[own] = f"{referred}.{theirs}"
        return found

    def count(self, object: str) -> Count:
        client = self.client
        target = client.target(object)
        where = filter_of(object)
        value: int | None = None
        if target.service not in client.shared.no_count:
            value = self._plain_count(target, where)
        if value is None:
            value = self._inline_count(target, where)
            if value is not None:
                client.shared.no_count.add(target.service)
        if value is None:
            raise ProtocolError(
                f"{target.name}: the service does not say how many rows it has.",
                remedy="Declare weighbridge.expected_rows in the contract; completeness is unknown without it.",
            )
        return Count(value, exact=value != self.preset.count_cap)

    def _plain_count(self, target: Target, where: str | None) -> int | None:
        client = self.client
        from weighbridge.connectors._odata_client import query_text

        try:
            answer = client.request(
                "GET",
                f"{target.url}/$count" + query_text({"$filter": where}),
                headers={**target.protocol.headers, **self.preset.headers},
                operation="count",
                accept="",
            )
        except (MissingObjectError, RejectedError, ProtocolError):
            return None  # a service without it, or a wrong filter, which the next question is refused for as well
        text = answer.body.decode("utf-8-sig", "replace").strip()
        if not text.isdigit():
            raise ProtocolError(
                f"{target.name}/$count answered {text[:60]!r}, not a number.",
                remedy="A login page or a gateway may stand in between: open the address as this user.",
            )
        return int(text)

    def _inline_count(self, target: Target, where: str | None) -> int | None:
        name, word = target.protocol.inline_count
        for top in ("0", "1"):  # some services take no $top of nothing
            query = {name: word, "$top": top, "$filter": where}
            try:
                answer = self.client.get(target, target.url, query, operation="count")
            except RejectedError:
                if top == "1":
                    raise
                continue
            _, _, envelope = target.protocol.rows(answer.json(), target.name)
            value = target.protocol.count(envelope)
            if value is not None:
                return value
        return None

    # --- reading ----------------------------------------------------------------------------------------------

    def read(
        self,
        object: str,
        *,
        columns: Sequence[str] | None = None,
        after: str | None = None,
        page_rows: int | None = None,
    ) -> Iterator[Page]:
        target = self.client.target(object)
        plan = ReadPlan(self, target, columns, filter_of(object), page_rows)
        cursor = Cursor.of(after)
        paging = self.options.paging or self.preset.paging
        if cursor is not None:
            yield from self._resume(plan, cursor)
            return
        if paging == "skip":
            yield from plan.by_skip(0)
            return
        if paging in {"auto", "keyset"} and plan.keyset_possible(forced=paging == "keyset"):
            pages = plan.by_key(None)
            begun: list[Page] = []
            try:
                # The first question names no key yet: only the second shows whether the service compares keys.
                begun += islice(pages, 1)
                begun += islice(pages, 1)
            except RejectedError:
                if paging == "keyset":
                    raise
                self.client.shared.no_keyset.add(target.name)
                plan = ReadPlan(self, target, columns, filter_of(object), page_rows)
            except ConnectorError:
                yield from begun
                raise
            else:
                yield from begun
                yield from pages
                return
        yield from plan.by_link(None)

    def _resume(self, plan: ReadPlan, cursor: Cursor) -> Iterator[Page]:
        if cursor.kind == "key":
            return plan.by_key(tuple(cursor.value))
        if cursor.kind == "skip":
            return plan.by_skip(int(cursor.value))
        return plan.by_link(urljoin(self.client.http.base_url, str(cursor.value)))

    # --- facets -----------------------------------------------------------------------------------------------

    def watermark(self, object: str) -> str | None:
        names = (self.options.modified_field,) if self.options.modified_field else self.preset.modified
        schema = self.discover(object)
        for name in names:
            column = schema.column(name) if name else None
            if column is not None and pa.types.is_timestamp(column.type):
                return column.name
        return None

    def changes(self, object: str, since: str, *, columns: Sequence[str] | None = None) -> Iterator[Page]:
        column = self.watermark(object)
        if column is None:
            raise MissingObjectError(
                f"{object}: no column says when a record changed.", remedy="Set modified_field for this system."
            )
        target = self.client.target(object)
        declared = target.entity_set.type.property(column)
        moment = datetime.fromisoformat(since).astimezone(UTC)
        native = declared.type if declared else "Edm.DateTimeOffset"
        if native == "Edm.DateTime":
            moment = moment.replace(tzinfo=None)
        changed = f"{column} ge {target.protocol.literal(moment, native)}"
        where = filter_of(object)
        narrowed = ObjectRef(str(object), f"({where}) and {changed}" if where else changed)
        return self.read(narrowed, columns=columns)

    def track(self, object: str) -> str | None:
        """Start change tracking: reads the object through once; the delta link, None where the service offers none."""
        target = self.client.target(object)
        return ReadPlan(self, target, None, filter_of(object), None).delta_link()

    def delta(self, object: str, link: str) -> DeltaPage:
        """What changed since `link` (of `track` or the last `delta`)."""
        return ReadPlan(self, self.client.target(object), None, filter_of(object), None).delta(link)

    def operations(self, object: str, keys: Sequence[Key]) -> Mapping[str, Operation]:
        target = self.client.target(object)
        promised = getattr(object, "key", ())
        own = not promised or set(promised) == set(target.entity_set.type.keys)
        rows = min(100, self._page_rows(None))
        plan = ReadPlan(self, target, None, filter_of(object), rows, promised=promised)
        found = {
            "lookup": Operation(
                "lookup",
                plan.look_up,
                f"GET {target.entity_set.name} by " + ("its key" if own else ", ".join(promised)),
            ),
            "page": Operation("page", plan.one_page, f"GET {plan.page_rows} rows of {target.entity_set.name}"),
        }
        if self.session.writes_allowed and keys and own:
            text = _odata_write.rewritable(target)
            if text is not None:
                found["write"] = Operation(
                    "write",
                    lambda key: _odata_write.rewrite(self.client, target, key, text),
                    f"GET and PATCH {target.entity_set.name}, its text {text} set to what it was",
                )
        return found

    def write(
        self,
        object: str,
        records: Sequence[Mapping[str, Any]],
        *,
        key: str | None = None,
    ) -> Sequence[WriteOutcome]:
        self.session.require_writes(f"writing {len(records)} records of {object}")
        return _odata_write.write(self.client, self.client.target(object), records, key=key)

    def find(self, object: str, column: str, values: Sequence[Any]) -> Sequence[Mapping[str, Any]]:
        target = self.client.target(object)
        return _odata_write.find(self.client, target, self.discover(object), column, values, self._etags)

    def delete(self, object: str, records: Sequence[Mapping[str, Any]]) -> Sequence[WriteOutcome]:
        self.session.require_writes(f"deleting {len(records)} records of {object}")
        return _odata_write.delete(self.client, self.client.target(object), records, self._etags)

    def _page_rows(self, asked: int | None) -> int:
        return min(asked or self.options.page_rows or self.preset.page_rows, MOST_PAGE_ROWS)
