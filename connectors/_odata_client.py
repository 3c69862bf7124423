"""Addresses, metadata and requests of an OData service: what reading and writing share."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from weighbridge.connectors._csdl import CsdlEntitySet, Metadata, parse_metadata
from weighbridge.connectors._odata_presets import Preset
from weighbridge.connectors._odata_protocol import V2, V4, CsrfRequired, NotAcceptable, Protocol, Rates, classify
from weighbridge.connectors._odata_types import Number
from weighbridge.connectors._web_auth import Login, LoginOptions
from weighbridge.connectors.errors import ConnectorError, MissingObjectError, ProtocolError, RejectedError
from weighbridge.connectors.http import Answer, HttpClient
from weighbridge.connectors.session import Session

__all__ = ["ODataClient", "Target", "query_text"]

Query = Mapping[str, str | None]
PLAIN = "application/json"


@dataclass(frozen=True, slots=True)
class Target:
    """One entity set, found in its service's metadata."""

    name: str
    service: str
    """Path of the service below the url; empty where the url is the service root."""
    entity_set: CsdlEntitySet
    metadata: Metadata
    protocol: Protocol
    url: str


@dataclass(slots=True)
class _Shared:
    """What a client and its forks have in common."""

    login: Login
    preset: Preset
    metadata_path: str | None = None
    """Where `$metadata` of the url itself lies, where that is not below it (Business Central's companies)."""
    parameters: dict[str, str] = field(default_factory=dict)
    """Query parameters of every call, `sap-client`."""
    metadata: dict[str, Metadata] = field(default_factory=dict)
    rates: Rates = field(default_factory=Rates)
    lock: threading.Lock = field(default_factory=threading.Lock)
    server: str | None = None
    no_keyset: set[str] = field(default_factory=set)
    """Objects whose keys the service would not compare."""
    no_count: set[str] = field(default_factory=set)
    """Services without /$count."""
    plain: bool = False
    """The service takes plain application/json only."""


class ODataClient:
    """One thread's way to the service; `fork` for another."""

    def __init__(
        self,
        session: Session,
        options: LoginOptions,
        preset: Preset,
        *,
        url: str,
        metadata_path: str | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        self.shared = _Shared(Login(options), preset, metadata_path, dict(parameters or {}))
        self.http = HttpClient(
            session,
            url,
            options=options,
            auth=self.shared.login,
            classify=self._classify,
            renew=self._renew if self.shared.login.renewable else None,
            parse_float=Number,
        )
        self.shared.login.attach(self.http)
        self.csrf_token: dict[str, str] = {}

    def fork(self, session: Session) -> ODataClient:
        other = object.__new__(ODataClient)
        other.shared = self.shared
        other.http = self.http.fork(
            session, classify=other._classify, renew=other._renew if other.shared.login.renewable else None
        )
        other.csrf_token = dict(self.csrf_token)
        return other

    def _renew(self, failed: MutableMapping[str, str]) -> None:
        self.shared.login.renew(self.http, failed)

    def _classify(self, answer: Answer) -> ConnectorError | None:
        self.shared.rates.notice(answer.headers)
        if self.shared.server is None and answer.headers.get("Server"):
            self.shared.server = answer.headers["Server"][:60]
        return None if answer.status < 400 else classify(answer, urlsplit(answer.url).path)

    # --- addresses and metadata -------------------------------------------------------------------------------

    def metadata(self, service: str) -> Metadata:
        """The service's metadata, fetched once for all forks."""
        with self.shared.lock:
            found = self.shared.metadata.get(service)
            if found is None:
                path = f"{service}/$metadata" if service else self.shared.metadata_path or "$metadata"
                answer = self.request(
                    "GET",
                    path,
                    accept="application/xml",
                    headers=self.shared.preset.headers,
                    operation="metadata",
                )
                found = parse_metadata(answer.body, where=urlsplit(answer.url).path)
                self.shared.metadata[service] = found
            return found

    def target(self, name: str) -> Target:
        """The entity set of that name: `Entity`, or `SERVICE/Entity` below a root. Raises MissingObjectError."""
        service, _, set_name = str(name).strip("/").rpartition("/")
        metadata = self.metadata(service)
        entity_set = metadata.sets.get(set_name)
        if entity_set is None:
            import difflib

            close = difflib.get_close_matches(set_name, list(metadata.sets), n=3)
            hint = f"Did you mean {', '.join(close)}?" if close else "Look at the service's $metadata for its names."
            raise MissingObjectError(f"the service has no entity set '{set_name}'.", remedy=hint)
        protocol = V2 if metadata.version == 2 else V4
        url = urljoin(self.http.base_url, f"{service}/{set_name}" if service else set_name)
        return Target(str(name), service, entity_set, metadata, protocol, url)

    def key_url(self, target: Target, key: Iterable[Any]) -> str:
        kind = target.entity_set.type
        parts: list[str] = []
        for name, value in zip(kind.keys, key, strict=True):
            declared = kind.property(name)
            text = target.protocol.literal(value, declared.type if declared else "Edm.String")
            parts.append((f"{name}=" if len(kind.keys) > 1 else "") + quote(text, safe="'"))
        return f"{target.url}({','.join(parts)})"

    def onward(self, link: str, current: str, target: Target) -> tuple[str, bool]:
        """(address of the next page, whether the link named another host).

        A link to another host is read at our own host if it stays inside the service; credentials never follow it.
        """
        address = urljoin(current, link)
        there, home = urlsplit(address), urlsplit(self.http.base_url)
        if (there.scheme, there.netloc.rpartition("@")[2]) == (home.scheme, home.netloc.rpartition("@")[2]):
            return address, False
        if there.path == urlsplit(target.url).path:
            return f"{target.url}?{there.query}", True
        raise ProtocolError(
            f"{target.name}: the link to the next page leads to another host, {there.hostname}; it was not followed.",
            remedy="Credentials never follow a link to another host: ask the service's owner to correct the host name "
            "it puts into its links (a reverse proxy must pass Host on).",
        )

    # --- requests ---------------------------------------------------------------------------------------------

    def request(self, method: str, url: str, **more: Any) -> Answer:
        """`HttpClient.request` with the parameters that every call of this system carries."""
        address = urljoin(self.http.base_url, url)
        named = {part.partition("=")[0] for part in urlsplit(address).query.split("&")}
        missing = {name: value for name, value in self.shared.parameters.items() if quote(name) not in named}
        if missing:
            extra = query_text(missing)
            address += "&" + extra[1:] if "?" in address else extra
        return self.http.request(method, address, **more)

    def get(
        self, target: Target, url: str, query: Query | None = None, *, operation: str, prefer: str | None = None
    ) -> Answer:
        address = url + query_text(query) if query else url
        headers = {**target.protocol.headers, **self.shared.preset.headers}
        if prefer:
            headers["Prefer"] = prefer
        accept = PLAIN if self.shared.plain else target.protocol.accept
        try:
            return self.request("GET", address, headers=headers, operation=operation, accept=accept)
        except NotAcceptable:
            if accept == PLAIN:
                raise
            self.shared.plain = True  # numbers then come as the service likes; they are read digit by digit anyway
            return self.request("GET", address, headers=headers, operation=operation, accept=PLAIN)

    def send(
        self, target: Target, method: str, url: str, *, body: Any = None, etag: str | None = None, operation: str
    ) -> Answer:
        """A write, sent once; a CSRF token is fetched when the service asks for one."""
        import json

        # Data-Access-Intent and the like are for reading only.
        headers = {**target.protocol.headers, "Content-Type": target.protocol.content_type}
        if etag:
            headers["If-Match"] = etag
        try:
            data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise RejectedError(
                f"{target.name}: a text holds half a character ({error.reason}), which no UTF-8 can carry.",
                remedy="Correct the text where it is made; it was cut in the middle of a character.",
            ) from None
        for attempt in (1, 2):
            token = self.csrf_token.get(target.service)
            if token:
                headers["X-CSRF-Token"] = token
            try:
                return self.request(
                    method, url, data=data, headers=headers, operation=operation, accept=target.protocol.accept
                )
            except CsrfRequired:
                if attempt == 2 or not self._fetch_csrf(target):
                    raise
        raise AssertionError("unreachable: the loop returns or raises")

    def _fetch_csrf(self, target: Target) -> bool:
        """Ask for a token; some services answer the fetch without one."""
        address = urljoin(self.http.base_url, target.service + "/" if target.service else "")
        answer = self.request(
            "GET", address, headers={"X-CSRF-Token": "Fetch"}, operation="csrf", accept=target.protocol.accept
        )
        token = answer.headers.get("x-csrf-token", "")
        if not token or token.lower() == "required":
            return False
        self.http.mask(token)
        self.csrf_token[target.service] = token
        return True


def query_text(query: Query) -> str:
    """`?$filter=...` with what OData services want left readable; a space is %20, never `+`."""
    safe = "$,'()/:@*!"
    given = [f"{name}={quote(value, safe=safe)}" for name, value in query.items() if value is not None]
    return "?" + "&".join(given) if given else ""
