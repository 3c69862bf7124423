"""Put one HTTP request on the wire: routed, bounded in time and bytes, counted, and every failure named.

One adapter under `requests` decides where a socket is dialled (`Session.route`) while the Host header, the TLS server
name and the certificate check stay with the real host. Sockets are read through `_Timed`, so that a server that
drips bytes cannot outlive the attempt's deadline, neither in its headers nor in its body.
"""

from __future__ import annotations

import errno
import functools
import http.client
import io
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import certifi
import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.cookies import extract_cookies_to_jar
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.ssl_match_hostname import CertificateError

from weighbridge.connectors.errors import (
    AuthError,
    ConnectorError,
    ProtocolError,
    RetriableError,
    SettingsError,
    UnreachableError,
)
from weighbridge.connectors.session import Endpoint, Session

__all__ = ["Adapter", "Garbled", "Lane", "endpoint_of", "is_loopback", "read_body", "tls_context", "transport_error"]

NEVER = float("inf")
_PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


class Garbled(RetriableError):
    """An answer that arrived broken: worth another attempt, a ProtocolError if it stays so."""


@dataclass(slots=True)
class Lane:
    """The attempt under way on this thread: its deadline and the bytes that passed its sockets."""

    deadline: float = NEVER
    sent: int = 0
    received: int = 0


class _Current(threading.local):
    lane: Lane = Lane()


current = _Current()


class _Timed(io.RawIOBase):
    """A socket's raw reader that keeps the attempt's deadline and counts what it reads."""

    def __init__(self, raw: Any, sock: Any) -> None:
        self._raw = raw
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        lane = current.lane
        if lane.deadline != NEVER:
            left = lane.deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("deadline of the attempt")
            patience = self._sock.gettimeout()
            if patience is None or left < patience:
                self._sock.settimeout(left)
        got = self._raw.readinto(buffer)
        lane.received += got or 0
        return got

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        raw = self.fp.detach()  # type: ignore[union-attr]  # a BufferedReader at this moment
        self.fp = io.BufferedReader(_Timed(raw, sock), 65536)


class _Plain(HTTPConnection):
    response_class = _Answer

    def send(self, data: Any) -> None:
        super().send(data)
        current.lane.sent += len(data) if hasattr(data, "__len__") else 0


class _Secure(HTTPSConnection):
    response_class = _Answer

    def send(self, data: Any) -> None:
        super().send(data)
        current.lane.sent += len(data) if hasattr(data, "__len__") else 0


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain  # type: ignore[assignment]  # urllib3 types it as a protocol


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure  # type: ignore[assignment]  # urllib3 types it as a protocol


_POOLS = {"http": _PlainPool, "https": _SecurePool}


def endpoint_of(url: str) -> Endpoint:
    """The endpoint a URL names; ValueError for one without a host."""
    parts = urlsplit(url)
    return _endpoint(parts.scheme, parts.netloc)


@functools.lru_cache(256)
def _endpoint(scheme: str, netloc: str) -> Endpoint:
    parts = urlsplit(f"{scheme}://{netloc}")
    tls = parts.scheme == "https"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an http(s) address")
    return Endpoint(parts.hostname, parts.port or (443 if tls else 80), tls)


def is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def tls_context(ca_file: str | None, certificate: str | tuple[str, str] | None) -> ssl.SSLContext:
    """A verifying context: the machine's trust and certifi's, or only `ca_file`; with a client certificate if given."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"ca_file {ca_file} cannot be used: {error}.", remedy="Give a PEM file with the CA's certificate."
        ) from None
    if ca_file is None:
        context.load_verify_locations(certifi.where())
    if certificate:
        chain = (certificate, None) if isinstance(certificate, str) else certificate
        try:
            context.load_cert_chain(*chain, password=lambda: b"")
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"client_certificate {chain[0]} cannot be used: {error}.",
                remedy="Give a PEM file with certificate and unencrypted key, or [certificate, key].",
            ) from None
    return context


class Adapter(HTTPAdapter):
    """Dials where the session's route says; never retries, never reads proxies or CAs from the environment."""

    response_class: type[requests.Response] = requests.Response

    def __init__(self, session: Session, context: Any, proxy: str | None) -> None:
        self._session = session
        self._context = context
        """A function that gives the shared SSLContext, made on first use: loading a CA bundle takes 20 ms."""
        self._proxy = proxy
        self._pools: dict[tuple[Endpoint, Endpoint], Any] = {}
        super().__init__(pool_connections=4, pool_maxsize=2, max_retries=0)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def get_connection_with_tls_context(self, request: Any, *_args: Any, **_kwargs: Any) -> Any:
        target = endpoint_of(request.url)
        if self._proxy:
            manager = self.proxy_manager_for(self._routed_proxy(self._proxy))
            manager.pool_classes_by_scheme = _POOLS
            return manager.connection_from_host(
                target.host, target.port, "https" if target.tls else "http", pool_kwargs=self._tls(target)
            )
        dialled = self._session.route(target)
        pool = self._pools.get((target, dialled))
        if pool is None or pool.pool is None:  # urllib3 empties a pool's queue when it drops the pool
            tls = self._tls(target)
            if tls:
                tls |= {"server_hostname": target.host, "assert_hostname": target.host}
            pool = self.poolmanager.connection_from_host(
                dialled.host, dialled.port, "https" if target.tls else "http", pool_kwargs=tls
            )
            self._pools[target, dialled] = pool
        return pool

    def _tls(self, target: Endpoint) -> dict[str, Any] | None:
        return {"ssl_context": self._context(), "cert_reqs": "CERT_REQUIRED"} if target.tls else None

    def close(self) -> None:
        self._pools.clear()
        super().close()

    def build_response(self, req: Any, resp: Any) -> requests.Response:
        """The response without what nobody asks for here: no cookie jar is made for an answer that sets none."""
        response = self.response_class()
        response.status_code = resp.status
        response.headers = CaseInsensitiveDict(resp.headers)
        response.raw = resp
        response.reason = resp.reason
        response.url = req.url
        response.encoding = requests.utils.get_encoding_from_headers(response.headers)
        response.request = req
        if "Set-Cookie" in response.headers:
            extract_cookies_to_jar(response.cookies, req, resp)
        return response

    def _routed_proxy(self, proxy: str) -> str:
        parts = urlsplit(proxy)
        real = endpoint_of(proxy)
        dialled = self._session.route(real)
        if dialled == real:
            return proxy
        login = parts.netloc.rpartition("@")[0]
        return f"{parts.scheme}://{login + '@' if login else ''}{dialled.host}:{dialled.port}"

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """The context already carries the trust; `verify` is never consulted, so it can never be False."""

    def request_url(self, request: Any, proxies: Any) -> str:
        del proxies
        if self._proxy is None:
            parts = urlsplit(request.url)
            return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return super().request_url(request, {"http": self._proxy})


def send(adapter: Adapter, request: Any, *, timeout: float) -> requests.Response:
    return adapter.send(request, stream=True, timeout=(timeout, timeout))


def read_body(response: requests.Response, *, limit: int) -> bytes:
    """The decoded body, at most `limit` bytes; one that is larger raises ProtocolError before it is held."""
    declared = response.headers.get("Content-Length", "")
    if declared.isdigit() and int(declared) > limit:
        response.close()
        raise _too_large(limit)
    raw = response.raw
    if "Content-Encoding" not in response.headers:
        body = raw.read(limit + 1, decode_content=False)
        if len(body) > limit:
            response.close()
            raise _too_large(limit)
        if raw.length_remaining:
            response.close()
            raise urllib3.exceptions.IncompleteRead(len(body), raw.length_remaining)
        raw.release_conn()
        return body
    parts: list[bytes] = []
    size = 0
    while piece := raw.read(65536, decode_content=True):
        size += len(piece)
        if size > limit:
            response.close()
            raise _too_large(limit)
        parts.append(piece)
    raw.release_conn()
    return b"".join(parts)


def _too_large(limit: int) -> ProtocolError:
    return ProtocolError(
        f"the answer is larger than the bound of {limit:,} bytes.",
        remedy="Ask for smaller pages (page_rows), or raise max_response_mb if such answers are expected.",
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    queue: list[Any] = [error]
    while queue:
        item = queue.pop(0)
        if not isinstance(item, BaseException) or id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        queue += [*item.args, getattr(item, "reason", None), item.__cause__, item.__context__]


def _find(errors: list[BaseException], *kinds: type[BaseException]) -> Any:
    return next((e for e in errors if isinstance(e, kinds)), None)


def transport_error(
    error: BaseException, where: str, *, proxy: str | None, timeout: float, late: bool
) -> ConnectorError:
    """What a failed send or read means, in words for the person who must call IT. `where` is `GET host:port/path`."""
    errors = list(_chain(error))
    found = _proxy_error(errors, where, proxy)
    found = found or _tls_error(errors, where)
    found = found or _connect_error(errors, f"the proxy {proxy}" if proxy else where, timeout)
    return found or _read_error(errors, where, timeout, late)


def _stays(error: RetriableError) -> RetriableError:
    error.retry_after = NEVER  # waiting does not help: `Session.run` gives up at once
    return error


def _proxy_error(errors: list[BaseException], where: str, proxy: str | None) -> ConnectorError | None:
    if not proxy:
        return None
    text = " ".join(str(e) for e in errors if isinstance(e, OSError))
    if "Tunnel connection failed" not in text:
        return None
    if "407" in text:
        return _stays(
            UnreachableError(
                f"{where}: the proxy {proxy} wants a login of its own (407).",
                remedy="Ask IT for a proxy account for services and write it as http_proxy = 'http://user:password@...'.",
            )
        )
    status = text.split("Tunnel connection failed:", 1)[1].strip()[:60]
    return UnreachableError(
        f"{where}: the proxy {proxy} refused to connect there ({status}).",
        remedy="Ask IT to allow this host on the proxy for the account that runs this.",
    )


_CA_CODES = (18, 19, 20, 21, 2)
_CLIENT_CERTIFICATE = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "ALERT_UNKNOWN_CA", "ALERT_BAD_CERTIFICATE")


def _tls_error(errors: list[BaseException], where: str) -> ConnectorError | None:
    failed = _find(errors, ssl.SSLCertVerificationError, CertificateError)
    if failed is not None:
        code, text = getattr(failed, "verify_code", 62), getattr(failed, "verify_message", "")
        if code == 10:
            message = "the server's TLS certificate has expired"
            remedy = "Ask the system's owner to renew the certificate; check this machine's clock too."
        elif code == 62 or "match" in str(text):
            message = "the server's TLS certificate is for another name"
            remedy = "Use the name that stands in the certificate; an address or alias will not do."
        elif code in _CA_CODES:
            message = "the server's TLS certificate is signed by a CA that this machine does not trust"
            remedy = "Ask IT for the CA certificate (a private CA or an inspecting proxy) and set ca_file to it."
        else:
            message = f"the server's TLS certificate is not acceptable ({text})"
            remedy = "Ask the system's owner to look at the certificate."
        return _stays(UnreachableError(f"{where}: {message}.", remedy=remedy))
    failed = _find(errors, ssl.SSLError)
    if failed is None:
        return None
    reason = str(getattr(failed, "reason", "") or failed)
    if any(word in reason for word in _CLIENT_CERTIFICATE):
        return _stays(
            UnreachableError(
                f"{where}: the server ended the TLS handshake ({reason}): it asks for a client certificate.",
                remedy="Ask IT for a client certificate for this service and set client_certificate to its PEM file.",
            )
        )
    if "WRONG_VERSION_NUMBER" in reason or "HTTP_REQUEST" in reason:
        return _stays(
            UnreachableError(
                f"{where}: no TLS is spoken on this port.", remedy="Check port and scheme: http there, not https?"
            )
        )
    if "PROTOCOL" in reason:
        return _stays(
            UnreachableError(
                f"{where}: the server offers no TLS version that is still safe ({reason}).",
                remedy="Ask the system's owner for TLS 1.2 or newer.",
            )
        )
    if "EOF" in reason.upper():
        return None
    return UnreachableError(f"{where}: TLS failed ({reason}).", remedy="Ask the system's owner to look at its TLS.")


def _connect_error(errors: list[BaseException], where: str, timeout: float) -> ConnectorError | None:
    unknown = _find(errors, socket.gaierror)
    if unknown is not None:
        wrong = UnreachableError(
            f"{where}: the host's name is not known here (DNS: {unknown.strerror}).",
            remedy="Check the spelling; if the name exists only inside the company, connect the VPN first."
            + _environment_proxy(),
        )
        return wrong if unknown.errno == socket.EAI_AGAIN else _stays(wrong)
    if _find(errors, urllib3.exceptions.ConnectTimeoutError) is not None and not _find(errors, ConnectionRefusedError):
        return UnreachableError(
            f"{where}: the name is known but nothing answered within {timeout:g} s (connect timeout).",
            remedy="Is the VPN down, or does a firewall drop this port? Ask IT to open it for this machine."
            + _environment_proxy(),
        )
    if _find(errors, ConnectionRefusedError) is not None:
        return UnreachableError(
            f"{where}: the connection was refused: nothing listens on this port.",
            remedy="Check host and port, and that the service runs." + _environment_proxy(),
        )
    for item in errors:
        if isinstance(item, OSError) and item.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            return UnreachableError(
                f"{where}: there is no route to this host ({os.strerror(item.errno)}).",
                remedy="Check this machine's network and VPN." + _environment_proxy(),
            )
    return None


def _environment_proxy() -> str:
    if any(os.environ.get(name) for name in _PROXY_VARIABLES):
        return " This machine's environment names a proxy; it is used only if http_proxy is set."
    return ""


def _read_error(errors: list[BaseException], where: str, timeout: float, late: bool) -> ConnectorError:
    if late:
        return UnreachableError(
            f"{where}: the answer did not end within its deadline: the server sends, but far too slowly.",
            remedy="Ask the system's owner about its load; raise timeout if such answers are expected.",
        )
    if _find(errors, urllib3.exceptions.ReadTimeoutError, TimeoutError) is not None:
        return UnreachableError(
            f"{where}: connected, but no answer within {timeout:g} s (read timeout).",
            remedy="The system is slow or hangs; raise timeout if such answers are expected.",
        )
    short = _find(errors, urllib3.exceptions.IncompleteRead, http.client.IncompleteRead)
    if short is not None or _find(errors, urllib3.exceptions.InvalidChunkLength) is not None:
        return Garbled(
            f"{where}: the answer was cut off: the connection ended before the body did.",
            remedy="A proxy or the server ends answers early; ask the system's owner for the reason.",
        )
    gone = _find(errors, ConnectionResetError, BrokenPipeError, ConnectionAbortedError, http.client.RemoteDisconnected)
    if gone is not None or _find(errors, ssl.SSLError, ssl.SSLEOFError) is not None:
        return UnreachableError(
            f"{where}: the connection was closed without an answer (reset).",
            remedy="A firewall, a load balancer's idle limit or a crash of the server; ask the system's owner.",
        )
    if _find(errors, urllib3.exceptions.DecodeError) is not None:
        return Garbled(f"{where}: the answer's compression is broken.", remedy="Look at the proxies in between.")
    if _find(errors, requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader) is not None:
        return ProtocolError(f"{where}: the address or a header cannot be sent.", remedy="Check the url option.")
    names = ", ".join(dict.fromkeys(type(e).__name__ for e in errors))
    return Garbled(f"{where}: the answer is not HTTP ({names}).", remedy="Check host and port.")


def refused_login(where: str, what: str) -> AuthError:
    """An interactive page stands where the interface should be."""
    return AuthError(
        f"{where}: {what}.",
        remedy="Nothing can sign in interactively at night: ask IT for a service account that is exempt from SSO and "
        "MFA for API access (OAuth client credentials or a key), or whether the session ended.",
    )
