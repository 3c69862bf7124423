"""What a failed send or read means, in words for the person who must call IT."""

from __future__ import annotations

import errno
import http.client
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import requests
import urllib3
from urllib3.util.ssl_match_hostname import CertificateError

from weighbridge.connectors.errors import (
    AuthError,
    ConnectorError,
    ProtocolError,
    RetriableError,
    UnreachableError,
)

__all__ = ["NEVER", "Garbled", "refused_login", "stays", "transport_error"]

NEVER = float("inf")
_PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


class Garbled(RetriableError):
    """An answer that arrived broken: worth another attempt, a ProtocolError if it stays so."""


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
    error: BaseException, where: str, *, proxy: str | None, timeout: float, late: bool, tls: bool = False
) -> ConnectorError:
    """What a failed send or read means, in words for the person who must call IT. `where` is `GET host:port/path`."""
    errors = list(_chain(error))
    found = _proxy_error(errors, where, proxy)
    found = found or _tls_error(errors, where)
    found = found or _connect_error(errors, f"the proxy {proxy}" if proxy else where, timeout)
    return found or _read_error(errors, where, timeout, late=late, tls=tls)


def stays(error: RetriableError) -> RetriableError:
    error.retry_after = NEVER  # waiting does not help: `Session.run` gives up at once
    return error


def _proxy_error(errors: list[BaseException], where: str, proxy: str | None) -> ConnectorError | None:
    if not proxy:
        return None
    text = " ".join(str(e) for e in errors if isinstance(e, OSError))
    if "Tunnel connection failed" not in text:
        return None
    if "407" in text:
        return stays(
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
        return stays(UnreachableError(f"{where}: {message}.", remedy=remedy))
    failed = _find(errors, ssl.SSLError)
    if failed is None:
        return None
    reason = str(getattr(failed, "reason", "") or failed)
    if any(word in reason for word in _CLIENT_CERTIFICATE):
        return stays(
            UnreachableError(
                f"{where}: the server ended the TLS handshake ({reason}): it asks for a client certificate.",
                remedy="Ask IT for a client certificate for this service and set client_certificate to its PEM file.",
            )
        )
    if "WRONG_VERSION_NUMBER" in reason or "HTTP_REQUEST" in reason:
        return stays(
            UnreachableError(
                f"{where}: no TLS is spoken on this port.", remedy="Check port and scheme: http there, not https?"
            )
        )
    if "PROTOCOL" in reason:
        return stays(
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
        return wrong if unknown.errno == socket.EAI_AGAIN else stays(wrong)
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


def _read_error(errors: list[BaseException], where: str, timeout: float, *, late: bool, tls: bool) -> ConnectorError:
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
            remedy="A firewall, a load balancer's idle limit or a crash of the server; ask the system's owner."
            + (
                " A server that asks for a client certificate may end like this too: set client_certificate."
                if tls
                else ""
            ),
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
