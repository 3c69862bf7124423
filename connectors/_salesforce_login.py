"""How Salesforce is logged in to without a person, and renewed once when a session ends.

JWT bearer, OAuth client credentials, a given access token, and the SOAP login that Salesforce is retiring. A `Login`
is shared by a connector and its forks: one token, one login at a time, 128 forks are not 128 logins.
"""

from __future__ import annotations

import threading
import time
from collections.abc import MutableMapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape

from pydantic import Field, SecretStr, model_validator

from weighbridge.connectors.errors import (
    AccessError,
    AuthError,
    ConnectorError,
    ProtocolError,
    RetriableError,
    SettingsError,
)
from weighbridge.connectors.http import Answer, HttpClient, HttpOptions

__all__ = ["Login", "SalesforceOptions"]

Headers = MutableMapping[str, str]
Flow = Literal["jwt", "client_credentials", "access_token", "soap"]
ASSERTION_S = 170
"""Lifetime of a JWT assertion; Salesforce accepts at most three minutes."""
SKEW_S = 30.0
_now = time.time


class SalesforceOptions(HttpOptions):
    """Where the org is and how to log in to it."""

    instance_url: SecretStr | None = None
    """The org's own address (My Domain); also the login host unless `domain` is given. http only on loopback."""
    domain: str | None = None
    """Login host as `login`, `test`, or `mycompany.my`; `.salesforce.com` is added."""
    client_id: str | None = None
    """Consumer key of the connected app."""
    private_key_file: str | None = None
    """PEM key whose certificate the connected app holds: JWT bearer, with `username`."""
    username: str | None = None
    client_secret: SecretStr | None = None
    """With `client_id`: OAuth client credentials (needs My Domain)."""
    access_token: SecretStr | None = None
    """A token that somebody else renews, with `instance_url`."""
    password: SecretStr | None = None
    """With `username`: the SOAP login, which Salesforce is retiring."""
    security_token: SecretStr | None = None
    api_version: str = Field(default="59.0", pattern=r"^\d{2}\.0$")
    deleted: bool = False
    """Count and read deleted records too (queryAll)."""
    bulk: Literal["auto", "always", "never"] = "auto"
    """Read through Bulk API 2.0: from `bulk_from_rows` on, always, or never."""
    bulk_from_rows: int = Field(default=100_000, ge=1)
    bulk_wait: float = Field(default=900, gt=0)
    """Seconds to wait for a bulk job."""

    @property
    def flow(self) -> Flow:
        if self.access_token is not None:
            return "access_token"
        if self.private_key_file is not None:
            return "jwt"
        return "client_credentials" if self.client_secret is not None else "soap"

    @model_validator(mode="after")
    def _one_complete_login(self) -> SalesforceOptions:
        given = [
            name
            for name, value in (
                ("access_token", self.access_token),
                ("private_key_file", self.private_key_file),
                ("client_secret", self.client_secret),
                ("password", self.password),
            )
            if value is not None
        ]
        if len(given) != 1:
            what = f"{' and '.join(given)} are given" if given else "none is given"
            raise ValueError(
                f"exactly one of access_token, private_key_file, client_secret, password says how to log in; {what}"
            )
        needs = {
            "access_token": ("instance_url",),
            "jwt": ("client_id", "username"),
            "client_credentials": ("client_id",),
            "soap": ("username",),
        }[self.flow]
        missing = [name for name in needs if getattr(self, name) is None]
        if missing:
            raise ValueError(f"{given[0]} needs {' and '.join(missing)}")
        if self.flow == "client_credentials" and self.instance_url is None and self.domain in (None, "login", "test"):
            raise ValueError("client credentials need the org's own address: instance_url, or domain = 'mycompany.my'")
        return self

    @property
    def login_url(self) -> str:
        if self.domain is not None:
            return f"https://{self.domain.removesuffix('.salesforce.com')}.salesforce.com"
        if self.instance_url is not None:
            return self.instance_url.get_secret_value().rstrip("/")
        return "https://login.salesforce.com"


class Login:
    """The token of one org, shared by a connector and its forks."""

    def __init__(self, options: SalesforceOptions) -> None:
        self.options = options
        self.logins = 0
        self.instance_url = ""
        self.user_id: str | None = None
        """Record id of the user, where the login told it."""
        self._token = ""
        self._lock = threading.Lock()

    def auth(self, headers: Headers) -> None:
        """Put the current token into the headers of a call."""
        headers["Authorization"] = f"Bearer {self._token}"

    @property
    def token(self) -> str:
        return self._token

    def open(self, client: HttpClient) -> None:
        """Log in if nobody has yet. `client` speaks to the login host."""
        with self._lock:
            if not self._token:
                self._log_in(client)

    def renew(self, failed: Headers, client: HttpClient) -> None:
        """Log in again, unless another thread has done so since the call that failed was sent."""
        with self._lock:
            if failed.get("Authorization") not in (None, f"Bearer {self._token}"):
                return
            if self.options.flow == "access_token":
                raise AuthError(
                    "Salesforce: the access token is not accepted: expired, revoked, or of another org.",
                    remedy="Give a new access_token, or use JWT bearer or client credentials, which renew themselves.",
                )
            self._log_in(client)

    def _log_in(self, client: HttpClient) -> None:
        options = self.options
        if options.flow == "access_token" and options.access_token and options.instance_url:
            token, address = options.access_token.get_secret_value(), options.instance_url.get_secret_value()
        elif options.flow == "soap":
            token, address = self._soap(client)
        else:
            token, address = self._oauth(client)
        if options.instance_url is not None and options.domain is None:
            # What the owner wrote wins: behind a gateway the address Salesforce names may not be reachable.
            address = options.instance_url.get_secret_value()
        client.mask(token)
        self._token, self.instance_url = token, address.rstrip("/")
        self.logins += 1

    def _oauth(self, client: HttpClient) -> tuple[str, str]:
        options = self.options
        headers: dict[str, str] = {}
        if options.flow == "jwt":
            form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": self._assertion()}
        else:
            form = {"grant_type": "client_credentials", "client_id": options.client_id or ""}
            form["client_secret"] = options.client_secret.get_secret_value() if options.client_secret else ""
        answer = client.request(
            "POST", "services/oauth2/token", data=form, headers=headers, operation="login", idempotent=True
        )
        told = answer.json()
        token = told.get("access_token") if isinstance(told, dict) else None
        address = told.get("instance_url") if isinstance(told, dict) else None
        if not isinstance(token, str) or not isinstance(address, str):
            raise ProtocolError("Salesforce: the token answer holds no access_token and instance_url.")
        self.user_id = str(told.get("id") or "").rpartition("/")[2] or None
        return token, address

    def _assertion(self) -> str:
        import jwt

        options = self.options
        try:
            key = Path(options.private_key_file or "").read_bytes()
        except OSError as error:
            raise SettingsError(
                f"private_key_file {options.private_key_file} cannot be read: {error.strerror}.",
                remedy="Give the path of the connected app's PEM key; paths are relative to weighbridge.toml.",
            ) from None
        practice = "test." in options.login_url or ".sandbox." in options.login_url
        claims = {
            "iss": options.client_id,
            "sub": options.username,
            "aud": "https://test.salesforce.com" if practice else "https://login.salesforce.com",
            "exp": int(_now()) + ASSERTION_S,
        }
        try:
            return jwt.encode(claims, key, algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError):
            raise SettingsError(
                f"private_key_file {options.private_key_file} is not a PEM private key for RS256.",
                remedy="Give the unencrypted RSA key in PEM form.",
            ) from None

    def _soap(self, client: HttpClient) -> tuple[str, str]:
        from defusedxml import ElementTree
        from defusedxml.common import DefusedXmlException

        options = self.options
        secret = options.password.get_secret_value() if options.password else ""
        secret += options.security_token.get_secret_value() if options.security_token else ""
        body = (
            '<?xml version="1.0" encoding="utf-8"?><env:Envelope xmlns:env="http://schemas.xmlsoap.org/soap/envelope/" '
            'xmlns:urn="urn:partner.soap.sforce.com"><env:Body><urn:login>'
            f"<urn:username>{escape(options.username or '')}</urn:username>"
            f"<urn:password>{escape(secret)}</urn:password></urn:login></env:Body></env:Envelope>"
        )
        answer = client.request(
            "POST",
            f"services/Soap/u/{options.api_version}",
            data=body.encode(),
            headers={"Content-Type": "text/xml; charset=UTF-8", "SOAPAction": "login"},
            operation="login",
            idempotent=True,
            accept="",
        )
        try:
            tree = ElementTree.fromstring(answer.body)
        except (ElementTree.ParseError, DefusedXmlException):
            raise ProtocolError(
                "Salesforce: the answer to the SOAP login is not XML.", remedy="Check instance_url or domain."
            ) from None
        found = {node.tag.rpartition("}")[2]: node.text or "" for node in tree.iter()}
        if not found.get("sessionId") or not found.get("serverUrl"):
            raise ProtocolError("Salesforce: the SOAP login answered without sessionId and serverUrl.")
        self.user_id = found.get("userId") or None
        return found["sessionId"], found["serverUrl"].partition("/services/")[0].replace("-api.", ".")


def skew_of(answer: Answer) -> float | None:
    """Seconds this machine's clock is ahead of the server's; None where the server does not say."""
    try:
        theirs = parsedate_to_datetime(answer.headers.get("Date", ""))
    except (ValueError, TypeError):
        return None
    return _now() - theirs.timestamp()


_REMEDIES = {
    "invalid_client_id": "client_id is not the consumer key of a connected app in this org.",
    "invalid_client": "client_id and client_secret do not belong together; a new app takes ten minutes to be known.",
    "invalid_app_access": "Ask the Salesforce administrator to give the user access to the connected app.",
    "inactive_user": "The integration user is deactivated: ask the Salesforce administrator.",
    "inactive_org": "The org is locked or closed: ask the Salesforce administrator.",
}


def login_error(answer: Answer) -> ConnectorError | None:
    """What the token endpoint or the SOAP login says, as an error; None for success or for what is not theirs."""
    if answer.status < 400 or answer.status >= 600:
        return None
    if "xml" in answer.media_type:
        return _soap_error(answer)
    if "json" not in answer.media_type:
        return None
    told = answer.json()
    if not isinstance(told, dict) or not isinstance(told.get("error"), str):
        return None
    code, text = told["error"], str(told.get("error_description", ""))[:200]
    lower = text.lower()
    if "rate" in lower and "exceeded" in lower:
        return RetriableError(f"Salesforce: too many logins ({text}).", remedy="Log in less often.")
    if "ip restricted" in lower or "ip range" in lower:
        return AccessError(
            f"Salesforce: the login is refused because of this machine's address ({text}).",
            remedy="Ask IT to add this machine's public IP address to the connected app's or profile's IP ranges.",
        )
    skew = skew_of(answer)
    if skew is not None and abs(skew) > SKEW_S and code == "invalid_grant":
        return AuthError(
            f"Salesforce: the login is refused ({text}), and this machine's clock is {abs(skew):.0f} s "
            f"{'ahead of' if skew > 0 else 'behind'} Salesforce's.",
            remedy="Set this machine's clock (NTP): a signed login is valid for three minutes only.",
        )
    remedy = _REMEDIES.get(code, "Check client_id, username and key or secret; look at the user's login history.")
    if "approved" in lower:
        remedy = (
            "Ask the Salesforce administrator to pre-authorize the user for the connected app (permitted users: "
            "'Admin approved', and a permission set): nobody can approve it interactively at night."
        )
    return AuthError(f"Salesforce: the login is refused ({code}: {text}).", remedy=remedy)


def _soap_error(answer: Answer) -> ConnectorError | None:
    from defusedxml import ElementTree
    from defusedxml.common import DefusedXmlException

    try:
        tree = ElementTree.fromstring(answer.body)
    except (ElementTree.ParseError, DefusedXmlException):
        return None
    found = {node.tag.rpartition("}")[2]: node.text or "" for node in tree.iter()}
    code = found.get("exceptionCode") or found.get("faultcode", "").removeprefix("sf:")
    text = (found.get("exceptionMessage") or found.get("faultstring", ""))[:200]
    if not code:
        return None
    remedy = "Check username, password and security_token; see whether the user is locked."
    if "SECURITY_TOKEN" in code or "multi-factor" in text.lower():
        remedy = (
            "This user needs a second factor or a security token from here: use JWT bearer or client credentials, or "
            "ask IT for an API-only user with this machine's address in its IP ranges."
        )
    if code in ("API_DISABLED_FOR_ORG", "API_CURRENTLY_DISABLED"):
        return AccessError(f"Salesforce: {code}: {text}.", remedy="Ask for the permission 'API Enabled'.")
    return AuthError(f"Salesforce: the login is refused ({code}: {text}).", remedy=remedy)
