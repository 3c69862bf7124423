"""How a web service is logged in to without a person: basic, bearer token, OAuth2 client credentials, API key."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, MutableMapping

from pydantic import SecretStr, model_validator

from weighbridge.connectors.errors import AuthError, ConnectorError, ProtocolError, RejectedError
from weighbridge.connectors.http import HttpClient, HttpOptions

__all__ = ["Login", "LoginOptions"]

Headers = MutableMapping[str, str]


class LoginOptions(HttpOptions):
    """The login of a web service; one kind, or none."""

    username: str | None = None
    """Basic login."""
    password: SecretStr | None = None
    token: SecretStr | None = None
    """A bearer token that somebody else renews."""
    token_url: str | None = None
    """OAuth2 token address for the client credentials flow."""
    client_id: str | None = None
    client_secret: SecretStr | None = None
    scope: str | None = None
    """OAuth2 scope, for example `https://org.crm4.dynamics.com/.default`."""
    api_key: SecretStr | None = None
    api_key_header: str = "X-API-Key"
    """The header that carries `api_key`."""

    @model_validator(mode="after")
    def _one_kind(self) -> LoginOptions:
        kinds = {
            "username": self.username,
            "token": self.token,
            "token_url": self.token_url,
            "api_key": self.api_key,
        }
        given = [name for name, value in kinds.items() if value]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given: one kind of login only")
        if self.username and self.password is None:
            raise ValueError("username needs password")
        if self.token_url and not (self.client_id and self.client_secret):
            raise ValueError("token_url needs client_id and client_secret")
        return self

    @property
    def login_kind(self) -> str:
        if self.username:
            return "basic"
        if self.token:
            return "bearer token"
        if self.token_url:
            return "OAuth2 client credentials"
        return "API key" if self.api_key else "none"


class Login:
    """The credentials on their way into headers, shared by all forks: one token, renewed once for all."""

    def __init__(self, options: LoginOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._token: str | None = None
        self._fixed: Callable[[Headers], None] = self._recipe()

    def __call__(self, headers: Headers) -> None:
        self._fixed(headers)

    def _recipe(self) -> Callable[[Headers], None]:
        options = self._options
        if options.username and options.password:
            pair = f"{options.username}:{options.password.get_secret_value()}".encode()
            return _setter("Authorization", "Basic " + base64.b64encode(pair).decode())
        if options.token:
            return _setter("Authorization", "Bearer " + options.token.get_secret_value())
        if options.token_url:
            return self._bearer
        if options.api_key:
            return _setter(options.api_key_header, options.api_key.get_secret_value())
        return lambda _headers: None

    def _bearer(self, headers: Headers) -> None:
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"

    @property
    def renewable(self) -> bool:
        return self._options.token_url is not None

    def attach(self, client: HttpClient) -> None:
        """Hide this login's words in messages and let the client reach the token address."""
        options = self._options
        client.mask(options.password, options.token, options.client_secret, options.api_key)
        if options.token_url:
            client.allow(options.token_url)

    def begin(self, client: HttpClient) -> None:
        """Fetch the first token where one is needed."""
        if self.renewable and self._token is None:
            self._fetch(client)

    def renew(self, client: HttpClient, failed: Headers) -> None:
        """A new token, unless another fork fetched one since `failed` was sent."""
        with self._lock:
            if self._token and failed.get("Authorization") != f"Bearer {self._token}":
                return
            self._fetch(client)

    def _fetch(self, client: HttpClient) -> None:
        options = self._options
        secret = options.client_secret
        form = {
            "grant_type": "client_credentials",
            "client_id": options.client_id or "",
            "client_secret": secret.get_secret_value() if secret else "",
        }
        if options.scope:
            form["scope"] = options.scope
        try:
            answer = client.request(
                "POST", options.token_url or "", data=form, operation="login", idempotent=True, authenticate=False
            )
        except (AuthError, RejectedError) as error:
            raise AuthError(
                f"OAuth2 login as client {options.client_id}: {error.message}",
                remedy="Check client_id, client_secret (expired?) and scope with the owner of the app registration.",
            ) from None
        except ConnectorError:
            raise
        told = answer.json()
        token = told.get("access_token") if isinstance(told, dict) else None
        if not isinstance(token, str) or not token:
            raise ProtocolError(
                "the token address answered without an access_token.", remedy="Check token_url: is it the OAuth2 one?"
            )
        client.mask(token)
        self._token = token


def _setter(name: str, value: str) -> Callable[[Headers], None]:
    def put(headers: Headers) -> None:
        headers[name] = value

    return put
