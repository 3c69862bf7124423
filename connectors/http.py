"""The HTTP seam that the web connectors share: one `HttpClient` a thread, one policy, one set of error words.

`HttpClient.request` sends under the injected `Session` (retry, budget, meter, route) and returns an `Answer`, or
raises the class of `weighbridge.connectors.errors` that says what the caller can do. `HttpClient.wire` is the
`requests.Session` underneath, for client libraries that bring their own calls: they get the same policy.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from json import dumps
from typing import Any, Self, cast
from urllib.parse import urlencode, urljoin, urlsplit

import requests
import urllib3
from pydantic import Field, SecretStr, field_validator
from requests.structures import CaseInsensitiveDict

from weighbridge.connectors import _wire
from weighbridge.connectors._http_answers import (
    Answer,
    Received,
    answer_of,
    charset_of,
    loads,
    parse_retry_after,
    place,
    require_json,
    status_error,
)
from weighbridge.connectors._wire import Adapter, Lane, endpoint_of, is_loopback
from weighbridge.connectors._wire_errors import NEVER, Garbled, refused_login, transport_error
from weighbridge.connectors.base import ConnectorOptions
from weighbridge.connectors.errors import AuthError, ConnectorError, ProtocolError, RetriableError, SettingsError
from weighbridge.connectors.session import Endpoint, Session

__all__ = ["Answer", "HttpClient", "HttpOptions", "kept", "parse_retry_after"]

JSON = "application/json"
MOST_HOPS = 5
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_AGENT = "weighbridge"


class HttpOptions(ConnectorOptions):
    """Options that every HTTP connector takes."""

    ca_file: str | None = None
    """PEM file of a private CA; then only it is trusted."""
    client_certificate: str | tuple[str, str] | None = None
    """PEM file with certificate and key, or both as [certificate, key]."""
    http_proxy: SecretStr | None = None
    """Proxy for all calls, with its login if it has one; proxies of the environment are not used."""
    allow_http: bool = False
    """Allow http:// to another machine: credentials then travel in the clear."""
    max_response_mb: float = Field(default=64, gt=0)
    """Largest answer accepted."""
    answer_timeout: float | None = Field(default=None, gt=0)
    """Seconds for a whole answer, however it drips; 4 x timeout if not given."""

    @field_validator("http_proxy")
    @classmethod
    def _a_proxy_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("http_proxy must be http://[user:password@]host:port")
        return value


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the next send is to be treated."""

    operation: str
    idempotent: bool
    accept: str
    authenticate: bool = False
    """Put our credentials over those of the client library that makes the call."""


_PLAIN_URL = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")


def _items(values: Any) -> list[tuple[Any, Any]]:
    pairs = list(values.items()) if isinstance(values, Mapping) else list(values)
    return [(k, v) for k, v in pairs if v is not None]


Classify = Callable[[Answer], ConnectorError | None]
Headers = MutableMapping[str, str]


class Wire(requests.Session):
    """A `requests.Session` that sends under our policy; what it raises are connector errors."""

    def __init__(self, session: Session, options: HttpOptions, shared: _Shared) -> None:
        super().__init__()
        self.session = session
        self.trust_env = False
        self.headers["User-Agent"] = _AGENT
        self._options = options
        self._shared = shared
        proxy = options.http_proxy.get_secret_value() if options.http_proxy else None
        self._proxy = f"{endpoint_of(proxy).host}:{endpoint_of(proxy).port}" if proxy else None
        self._adapter = Adapter(session, shared.context, proxy)
        self._adapter.response_class = Received
        for old in self.adapters.values():
            old.close()
        self.mount("https://", self._adapter)
        self.mount("http://", self._adapter)
        self._plan: _Plan | None = None
        self._renewing = False
        self.sends = 0
        """Requests this client put on the wire."""
        self.received = 0
        """Bytes it got for them."""

    @contextmanager
    def calling(self, operation: str, *, idempotent: bool = True, accept: str = JSON) -> Iterator[None]:
        """Name the operation for calls that a client library makes inside the block."""
        before = self._plan
        self._plan = _Plan(operation, idempotent, accept, authenticate=True)
        try:
            yield
        finally:
            self._plan = before

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        params: Any = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        **_kwargs: Any,
    ) -> requests.Response:
        """What client libraries call; options of `requests` that would go round the policy are ignored."""
        return self.send(self.prepared(method.upper(), url, params=params, data=data, headers=headers, json=json))

    def prepared(
        self, method: str, url: str, *, params: Any = None, data: Any = None, headers: Any = None, json: Any = None
    ) -> requests.PreparedRequest:
        """A request ready to send: what `requests` prepares, without the half millisecond it takes for it."""
        if params:
            text = params if isinstance(params, str) else urlencode(_items(params), doseq=True)
            url += ("&" if "?" in url else "?") + text
        if not _PLAIN_URL.fullmatch(url):
            url = requests.utils.requote_uri(url)
        made = requests.PreparedRequest()
        made.method, made.url, made.hooks = method, url, {"response": []}
        made.headers = CaseInsensitiveDict(self.headers)
        for name, value in (headers or {}).items():
            if value is not None:
                made.headers[name] = value
        made._cookies = self.cookies  # type: ignore[assignment]
        if len(self.cookies):
            made.prepare_cookies(self.cookies)
        if json is not None:
            data = dumps(json, allow_nan=False).encode()
            made.headers.setdefault("Content-Type", JSON)
        elif data is not None and not isinstance(data, str | bytes):
            data = urlencode(_items(data), doseq=True).encode()
            made.headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        body: bytes | None = data.encode() if isinstance(data, str) else data
        made.body = body
        if body is not None or method in ("POST", "PUT", "PATCH"):
            made.headers["Content-Length"] = str(len(body or b""))
        return made

    def send(self, request: requests.PreparedRequest, **_kwargs: Any) -> requests.Response:  # type: ignore[override]
        """Send under the policy; keyword arguments of `requests` are ignored, the options rule."""
        method = request.method or "GET"
        plan = self._plan or _Plan("", method in SAFE, "")
        self._check_target(request)
        if plan.authenticate and self._shared.auth is not None:
            self._shared.auth(cast("Headers", request.headers))
        renewed = False
        for _hop in range(MOST_HOPS + 2):
            try:
                response = self._run(request, plan)
            except AuthError:
                renew = self._shared.renew
                if renewed or renew is None or self._renewing:
                    raise
                renewed = True
                self._renew(renew, cast("Headers", request.headers))
                continue
            if response.status_code not in (301, 302, 303, 307, 308):
                return response
            request = self._follow(request, response)
        raise ProtocolError(
            f"{method} {place(request.url)}: more than {MOST_HOPS} redirects.", remedy="Check the url option."
        )

    def _renew(self, renew: Callable[[Headers], None], headers: Headers) -> None:
        self._renewing = True
        try:
            renew(headers)
        finally:
            self._renewing = False
        if self._shared.auth is not None:
            self._shared.auth(headers)

    def _check_target(self, request: requests.PreparedRequest) -> None:
        try:
            target = endpoint_of(request.url or "")
        except ValueError:
            raise ProtocolError(f"{request.url!r:.80} is not an http(s) address.") from None
        if target in self._shared.origins:
            return
        plain = Endpoint(target.host, target.port, tls=False)
        if target.tls and plain in self._shared.origins:
            # A client library that knows only https:// speaks to a practice server on loopback.
            request.url = "http://" + (request.url or "")[len("https://") :]
            return
        known = ", ".join(sorted(f"{o.host}:{o.port}" for o in self._shared.origins))
        raise ProtocolError(
            f"the system points to another host, {target.host}:{target.port}; credentials for {known} do not follow.",
            remedy="If that host is right, set the url option to it; else tell the system's owner about the link.",
        )

    def _run(self, request: requests.PreparedRequest, plan: _Plan) -> Received:
        try:
            return self.session.run(
                lambda: self._once(request, plan), operation=plan.operation, idempotent=plan.idempotent
            )
        except Garbled as error:
            raise ProtocolError(error.message, remedy=error.remedy) from error.__cause__
        except RetriableError as error:
            if error.retry_after == NEVER:
                error.retry_after = None
            raise

    def _once(self, request: requests.PreparedRequest, plan: _Plan) -> Received:
        patience = min(self.session.timeout, self._options.timeout)
        started = time.monotonic()
        lane = Lane(deadline=started + (self._options.answer_timeout or 4 * patience))
        _wire.current.lane = lane
        where = f"{request.method} {place(request.url)}"
        try:
            request.headers["Host"] = urlsplit(request.url or "").netloc.rpartition("@")[2]
            response = _wire.send(self._adapter, request, timeout=patience)
            body = _wire.read_body(response, limit=int(self._options.max_response_mb * 1024 * 1024))
        except ProtocolError as error:
            raise ProtocolError(f"{where}: {error.message}", remedy=error.remedy) from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            late, tls = time.monotonic() >= lane.deadline, (request.url or "").startswith("https:")
            raise transport_error(error, where, proxy=self._proxy, timeout=patience, late=late, tls=tls) from None
        finally:
            self.sends += 1
            self.received += lane.received
            self.session.meter.count(sent=lane.sent, received=lane.received)
        received = cast("Received", response)
        received._content = body  # type: ignore[attr-defined]
        received._content_consumed = True  # type: ignore[attr-defined]
        received.seconds = time.monotonic() - started
        if "Set-Cookie" in received.headers:
            self.cookies.update(received.cookies)
        self._judge(received, plan, where)
        return received

    def _judge(self, received: Received, plan: _Plan, where: str) -> None:
        status = received.status_code
        body = received.content
        wants_json = "json" in plan.accept
        if 200 <= status < 300 and wants_json and (body or received.request.method in SAFE) and status != 204:
            require_json(received, where)
            try:
                received.parsed = loads(body, self._shared.parse_float, charset_of(received.headers))
            except Garbled as error:
                raise Garbled(f"{where}: {error.message}", remedy=error.remedy) from None
        if self._shared.classify is None and 200 <= status < 300:
            return
        answer = answer_of(received)
        error = self._shared.classify(answer) if self._shared.classify else None
        if error is None and not 200 <= status < 300:
            error = status_error(answer, where, idempotent=plan.idempotent)
        if error is not None:
            raise self._scrubbed(error)

    def _scrubbed(self, error: ConnectorError) -> ConnectorError:
        for secret in self._shared.secrets:
            if secret and secret in error.message:
                error.message = error.message.replace(secret, "***")
                error.args = (error.message,)
        return error

    def _follow(self, request: requests.PreparedRequest, response: requests.Response) -> requests.PreparedRequest:
        where = f"{request.method} {place(request.url)}"
        target = urljoin(request.url or "", response.headers.get("Location", ""))
        if re.search(r"(?i)login|sign-?in|sso|saml|adfs|oauth2?/authorize|okta|microsoftonline", target):
            raise refused_login(where, f"sent on to a sign-in page at {place(target)} (SSO)")
        same = False
        with suppress(ValueError):
            same = endpoint_of(target) == endpoint_of(request.url or "")
        if not same or request.method not in SAFE:
            raise ProtocolError(
                f"{where}: sent on ({response.status_code}) to {place(target)}; credentials do not follow.",
                remedy="Set the url option to the address the system really answers at.",
            )
        onward = request.copy()
        onward.url = target
        return onward


@dataclass(slots=True)
class _Shared:
    """What a client and its forks have in common."""

    origins: set[Endpoint]
    auth: Callable[[Headers], None] | None
    classify: Classify | None
    renew: Callable[[Headers], None] | None
    parse_float: Callable[[str], Any] | None
    secrets: list[str]
    certificates: tuple[str | None, str | tuple[str, str] | None]
    tls: Any = None

    def context(self) -> Any:
        if self.tls is None:
            self.tls = _wire.tls_context(*self.certificates)
        return self.tls


@contextmanager
def kept(client: HttpClient) -> Iterator[None]:
    """Close the client if the block, which opens a connector, fails."""
    try:
        yield
    except BaseException:
        client.close()
        raise


class HttpClient:
    """Requests to one system under one `Session`; use from one thread, `fork` for another.

    `auth(headers)` adds the credentials, to the base address only. `classify(answer)` may turn any answer into an
    error of the system's own kind before the common reading of its status. `renew(headers)` is called once when an
    answer says that the login is no longer good (`headers` are those that failed); then `auth` again, and the call
    is repeated once.
    """

    def __init__(
        self,
        session: Session,
        base_url: str,
        *,
        options: HttpOptions | None = None,
        auth: Callable[[Headers], None] | None = None,
        classify: Classify | None = None,
        renew: Callable[[Headers], None] | None = None,
        parse_float: Callable[[str], Any] | None = None,
    ) -> None:
        self.options = options or HttpOptions()
        self.session = session
        self.base_url = base_url if base_url.endswith("/") else base_url + "/"
        certificates = (self.options.ca_file, self.options.client_certificate)
        self._shared = _Shared(set(), auth, classify, renew, parse_float, [], certificates)
        self.allow(base_url)
        self._base = endpoint_of(base_url)
        self.wire = Wire(session, self.options, self._shared)

    def allow(self, url: str) -> None:
        """Accept this address's host too (a token server, a login host); its calls get no `auth`."""
        try:
            target = endpoint_of(url)
        except ValueError:
            raise SettingsError(
                "the address is not an http(s) URL with a host.", remedy="Write it as https://host/path."
            ) from None
        if not target.tls and not is_loopback(target.host) and not self.options.allow_http:
            raise SettingsError(
                f"http:// to {target.host} would send credentials in the clear.",
                remedy="Use https://, or set allow_http = true if this network is trusted.",
            )
        if target.tls:
            self._shared.context()
        self._shared.origins.add(target)

    def mask(self, *secrets: str | SecretStr | None) -> None:
        """Never show these words in a message, whatever the system echoes."""
        for secret in secrets:
            value = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
            if value and len(value) >= 4 and value not in self._shared.secrets:
                self._shared.secrets.append(value)

    @property
    def endpoint(self) -> Endpoint:
        """What is dialled before routing: the system, or the proxy in front of it."""
        if self.options.http_proxy is not None:
            return endpoint_of(self.options.http_proxy.get_secret_value())
        return self._base

    @property
    def sends(self) -> int:
        """Requests this client put on the wire so far."""
        return self.wire.sends

    @property
    def received(self) -> int:
        """Bytes it got for them."""
        return self.wire.received

    def fork(
        self,
        session: Session,
        *,
        auth: Callable[[Headers], None] | None = None,
        classify: Classify | None = None,
        renew: Callable[[Headers], None] | None = None,
    ) -> Self:
        """Same address, credentials and TLS context; connections of its own; hooks of its own where given."""
        other = object.__new__(type(self))
        other.options, other.base_url, other._base = self.options, self.base_url, self._base
        other.session = session
        other._shared = replace(
            self._shared,
            auth=auth or self._shared.auth,
            classify=classify or self._shared.classify,
            renew=renew or self._shared.renew,
        )
        other.wire = Wire(session, self.options, other._shared)
        other.wire.cookies.update(self.wire.cookies)
        return other

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Any = None,
        json: Any = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        operation: str = "",
        idempotent: bool | None = None,
        accept: str = JSON,
        authenticate: bool = True,
    ) -> Answer:
        """Send and return the answer; `url` may be relative to the base. `accept=''` takes any body as it comes.

        A call that is not idempotent (anything but GET, HEAD, OPTIONS unless said) is never sent twice.
        """
        address = urljoin(self.base_url, url) if url else self.base_url
        sent: dict[str, str] = {"Accept": accept or "*/*", **(headers or {})}
        if self._shared.auth is not None and authenticate and self._at_home(address):
            self._shared.auth(sent)
        method = method.upper()
        request = self.wire.prepared(method, address, params=params, json=json, data=data, headers=sent)
        self.wire._plan = _Plan(operation, method in SAFE if idempotent is None else idempotent, accept)
        try:
            return answer_of(self.wire.send(request))
        finally:
            self.wire._plan = None

    def _at_home(self, address: str) -> bool:
        try:
            return endpoint_of(address) == self._base
        except ValueError:
            return False

    def close(self) -> None:
        self.wire.close()
