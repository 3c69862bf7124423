"""Put one HTTP request on the wire: routed, bounded in time and bytes, counted, and every failure named.

One adapter under `requests` decides where a socket is dialled (`Session.route`) while the Host header, the TLS server
name and the certificate check stay with the real host. Sockets are read through `_Timed`, so that a server that
drips bytes cannot outlive the attempt's deadline, neither in its headers nor in its body.
"""

from __future__ import annotations

import functools
import http.client
import io
import ssl
import threading
import time
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

from weighbridge.connectors._wire_errors import NEVER
from weighbridge.connectors.errors import ProtocolError, SettingsError
from weighbridge.connectors.session import Endpoint, Session

__all__ = ["Adapter", "Lane", "current", "endpoint_of", "is_loopback", "read_body", "send", "tls_context"]


MOST_HINTS = 10


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

    def _read_status(self) -> tuple[str, int, str]:
        """Early hints and the like come before the answer; `http.client` knows 100 alone."""
        for _ in range(MOST_HINTS):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # not in the type stubs
            if not 101 < status < 200:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.BadStatusLine(f"more than {MOST_HINTS} answers before the answer")


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
        kind = response.headers.get("Content-Type", "")
        plain = kind.lower() == "application/json"
        response.encoding = "utf-8" if plain else requests.utils.get_encoding_from_headers(response.headers)
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
