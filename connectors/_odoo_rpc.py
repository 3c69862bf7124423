"""Calls to an Odoo server over JSON-RPC or the JSON-2 interface, with the server's exceptions as our errors.

JSON-RPC (Odoo 8 and later) answers 200 to everything and puts its exceptions into the body; JSON-2 (19 and later, API
key) uses statuses, 500 for a bad field among them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr, model_validator

from weighbridge.connectors.errors import (
    AccessError,
    AuthError,
    ConnectorError,
    MissingObjectError,
    ProtocolError,
    RejectedError,
    RetriableError,
)
from weighbridge.connectors.http import Answer, HttpClient, HttpOptions
from weighbridge.connectors.session import Session

__all__ = ["OdooOptions", "OdooRpc"]


_NOT_THERE = re.compile(
    r"(?i)invalid field|doesn't exist|does not exist on|no such database|database .* does not exist"
)
POSITIONAL = ("domain", "vals_list", "vals")


class OdooOptions(HttpOptions):
    """`url` is the server's address; `api_key` alone uses JSON-2 where the server has it, else it is the password."""

    url: SecretStr
    database: str
    username: str | None = None
    password: SecretStr | None = None
    api_key: SecretStr | None = None
    api: Literal["auto", "jsonrpc", "json2"] = "auto"
    archived: bool = False
    """Read archived records too."""
    company_ids: tuple[int, ...] = ()
    """Companies to look into; empty: all that the user may see."""
    page_rows: int = 1000

    @model_validator(mode="after")
    def _a_login(self) -> OdooOptions:
        if (self.password is None) == (self.api_key is None):
            raise ValueError("give either password or api_key")
        if self.password is not None and not self.username:
            raise ValueError("password needs username")
        if self.api == "json2" and self.api_key is None:
            raise ValueError("api = 'json2' needs api_key")
        if self.api == "jsonrpc" and not self.username:
            raise ValueError("api = 'jsonrpc' needs username")
        return self


class OdooRpc:
    """One thread's way to the server; `fork` for another."""

    def __init__(self, session: Session, options: OdooOptions) -> None:
        self.options = options
        self.http = self._client(session)
        self.uid: int | None = None
        self.version: str | None = None
        self.json2 = False

    def _client(self, session: Session) -> HttpClient:
        client = HttpClient(session, self.options.url.get_secret_value(), options=self.options, classify=_classify)
        client.mask(self.options.password, self.options.api_key)
        return client

    def fork(self, session: Session) -> OdooRpc:
        other = object.__new__(OdooRpc)
        other.options, other.uid, other.version, other.json2 = self.options, self.uid, self.version, self.json2
        other.http = self.http.fork(session)
        return other

    @property
    def _word(self) -> str:
        word = self.options.password or self.options.api_key
        return word.get_secret_value() if word else ""

    def begin(self) -> None:
        """Find the server's version and interface, and log in."""
        self.version = self._find_version()
        major = int(found[0]) if self.version and (found := re.findall(r"\d+", self.version)) else 0
        wanted = self.options.api
        has_json2 = major >= 19 or self.version is None  # no version is told where JSON-RPC is switched off
        self.json2 = wanted == "json2" or (wanted == "auto" and self.options.api_key is not None and has_json2)
        if not self.json2 and not self.options.username:
            raise AuthError(
                "Odoo: an api_key without username needs the JSON-2 interface, which this server does not have "
                f"(version {self.version or 'unknown'}).",
                remedy="Set username beside api_key: the key then takes the password's place.",
            )
        if self.json2:
            self._json2("res.users", "context_get", {}, operation="login")  # the first call proves the key
            return
        uid = self._rpc("common", "login", [self.options.database, self.options.username, self._word], "login")
        if not isinstance(uid, int) or isinstance(uid, bool):
            raise AuthError(
                f"Odoo: the login of {self.options.username} on database {self.options.database} is not accepted.",
                remedy="Check username and password; with two-factor login on, use an API key (api_key) instead.",
            )
        self.uid = uid

    def _find_version(self) -> str | None:
        try:
            about = self._rpc("common", "version", [], "version")
        except (MissingObjectError, ProtocolError):
            if self.options.api_key is None:
                raise
            return None  # JSON-RPC may be switched off where JSON-2 is on
        found = about.get("server_version") if isinstance(about, dict) else None
        return str(found) if found else None

    def call(
        self,
        model: str,
        method: str,
        args: list[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        operation: str,
        idempotent: bool = True,
    ) -> Any:
        """Run `model.method`; a first positional argument is the record ids, as in every Odoo method of records."""
        named = dict(kwargs or {})
        if self.json2:
            if args:
                named["ids"] = args[0]
            return self._json2(model, method, named, operation=operation, idempotent=idempotent)
        # The names of first parameters changed between versions (search's `args` became `domain`): give them by place.
        positional = list(args or []) + [named.pop(name) for name in POSITIONAL if name in named]
        arguments = [self.options.database, self.uid, self._word, model, method, positional, named]
        try:
            return self._rpc("object", "execute_kw", arguments, operation, idempotent=idempotent)
        except ConnectorError as error:
            raise _placed(error, model, method) from None

    def _rpc(self, service: str, method: str, args: list[Any], operation: str, *, idempotent: bool = True) -> Any:
        body = {
            "jsonrpc": "2.0",
            "method": "call",
            "params": {"service": service, "method": method, "args": args},
            "id": 1,
        }
        answer = self.http.request("POST", "jsonrpc", json=body, operation=operation, idempotent=idempotent)
        told = answer.json()
        if not isinstance(told, dict) or "result" not in told:
            raise ProtocolError(
                "Odoo: the answer is JSON but no JSON-RPC result.",
                remedy="Check the url option: is it the Odoo server itself, without a path?",
            )
        return told["result"]

    def _json2(self, model: str, method: str, named: dict[str, Any], *, operation: str, idempotent: bool = True) -> Any:
        headers = {"Authorization": f"bearer {self._word}", "X-Odoo-Database": self.options.database}
        try:
            answer = self.http.request(
                "POST",
                f"json/2/{model}/{method}",
                json=named,
                headers=headers,
                operation=operation,
                idempotent=idempotent,
            )
        except ConnectorError as error:
            raise _placed(error, model, method) from None
        return answer.json()


def _placed(error: ConnectorError, model: str, method: str) -> ConnectorError:
    if model not in error.message:
        error.message = f"{model}.{method}: {error.message}"
        error.args = (error.message,)
    return error


def _classify(answer: Answer) -> ConnectorError | None:
    """The error an Odoo answer holds, whatever its status."""
    path = urlsplit(answer.url).path
    if "/json/2/" in path:
        if answer.status < 400:
            return None
        data: Any = _json(answer)
        return _exception(data, answer.status) if isinstance(data, dict) and "name" in data else None
    if answer.status != 200:
        return None
    body = answer.parsed
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return None
    data = error.get("data")
    if not isinstance(data, dict):
        return ProtocolError(f"Odoo: {str(error.get('message', 'an error without words'))[:200]}")
    return _exception(data, 200)


def _json(answer: Answer) -> Any:
    try:
        return answer.json()
    except ProtocolError:
        return None


def _exception(data: Mapping[str, Any], status: int) -> ConnectorError:
    name = str(data.get("name", ""))
    message = " ".join(str(data.get("message", "")).split())[:300]
    words = f"Odoo says {name.rpartition('.')[2] or 'error'}: {message}"
    if status == 401 or name.endswith(("AccessDenied", "SessionExpiredException", "Unauthorized")):
        return AuthError(words, remedy="Check the login or API key: wrong, expired or revoked?")
    if name.endswith("AccessError") or status == 403:
        return AccessError(words, remedy="Ask the Odoo administrator for access rights to this model or field.")
    if re.search(
        r"(?i)invalid field|doesn't exist|does not exist on|no such database|database .* does not exist", message
    ):
        return MissingObjectError(words, remedy="Check the names in the contract and the database option.")
    if name.endswith(("KeyError", "AttributeError")) or status == 404:
        return MissingObjectError(words, remedy="Check the model's name; is its module installed?")
    if "serializ" in name.lower() or re.search(r"(?i)could not serialize|concurrent update|deadlock", message):
        return RetriableError(words, remedy="Other transactions hold the record: try again later.")
    if name.endswith(("UserError", "ValidationError", "MissingError", "ValueError", "TypeError", "IntegrityError")):
        return RejectedError(words, remedy="Correct what was asked for or sent.")
    return ProtocolError(words, remedy="An error inside the server: its log has the traceback.")
