"""The ways into the org: OAuth (JWT bearer, client credentials, password) and the SOAP login that is being retired."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from weighbridge.sandbox.salesforce.org import Client, Org, User

__all__ = ["Login"]

MOST_SECONDS = 300
"""An assertion may not live longer than this, and a clock may be this far off before it is refused."""
AUDIENCES = ("https://login.salesforce.com", "https://test.salesforce.com")
Answer = tuple[int, dict[str, Any]]


class Login:
    """Answers the token endpoint and the SOAP login; `base` is this org's own address."""

    def __init__(self, org: Org) -> None:
        self.org = org
        self.mfa_for_soap = False

    def token(self, form: Mapping[str, str], authorization: str, base: str) -> Answer:
        """The OAuth token endpoint: (status, JSON)."""
        grant = form.get("grant_type", "")
        if grant == "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return self._jwt(form.get("assertion", ""), base)
        if grant == "client_credentials":
            return self._client_credentials(form, authorization, base)
        if grant == "password":
            return self._password(form, base)
        return _no("unsupported_grant_type", "grant type not supported")

    def _client(self, client_id: str) -> Client | None:
        return self.org.clients.get(client_id)

    def _granted(self, user: User, base: str) -> Answer:
        token = self.org.log_in(user)
        return 200, {
            "access_token": token,
            "instance_url": base,
            "id": f"{base}/id/{self.org.id}/{user.id}",
            "token_type": "Bearer",
            "scope": "api",
            "issued_at": str(int(time.time() * 1000)),
            "signature": base64.b64encode(token[-24:].encode()).decode(),
        }

    def _jwt(self, assertion: str, base: str) -> Answer:
        import jwt  # here, for it takes half of the time that the stand-in needs to start

        try:
            claims = jwt.decode(assertion, options={"verify_signature": False})
            header = jwt.get_unverified_header(assertion)
        except jwt.PyJWTError:
            return _no("invalid_grant", "invalid assertion")
        client = self._client(str(claims.get("iss", "")))
        if client is None:
            return _no("invalid_client_id", "client identifier invalid")
        if client.certificate is None or header.get("alg") != "RS256":
            return _no("invalid_grant", "invalid assertion")
        try:
            jwt.decode(
                assertion,
                _public_key(client.certificate),
                algorithms=["RS256"],
                options={"verify_exp": False, "verify_aud": False, "verify_iat": False, "verify_nbf": False},
            )
        except (jwt.PyJWTError, ValueError):
            return _no("invalid_grant", "invalid assertion")
        if str(claims.get("aud", "")).rstrip("/") not in (*AUDIENCES, base):
            return _no("invalid_grant", "audience is invalid")
        now = time.time()
        try:
            left = float(claims.get("exp", 0)) - now
        except (TypeError, ValueError):
            return _no("invalid_grant", "invalid assertion")
        if left <= 0 or left > MOST_SECONDS:
            return _no("invalid_grant", "assertion expired or its lifetime is out of bounds")
        user = self.org.users.get(str(claims.get("sub", "")))
        if user is None:
            return _no("invalid_grant", "user hasn't approved this consumer")
        return self._granted(user, base)

    def _client_credentials(self, form: Mapping[str, str], authorization: str, base: str) -> Answer:
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        if authorization.lower().startswith("basic "):
            try:
                client_id, _, secret = base64.b64decode(authorization[6:]).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return _no("invalid_client", "invalid client credentials")
        client = self._client(client_id)
        if client is None or client.secret is None or client.secret != secret:
            return _no("invalid_client", "invalid client credentials")
        user = self.org.users.get(client.run_as or "")
        if user is None:
            return _no("invalid_grant", "no client credentials user enabled")
        return self._granted(user, base)

    def _password(self, form: Mapping[str, str], base: str) -> Answer:
        client = self._client(form.get("client_id", ""))
        if client is None:
            return _no("invalid_client_id", "client identifier invalid")
        if client.secret != form.get("client_secret"):
            return _no("invalid_client", "invalid client credentials")
        user = self.org.users.get(form.get("username", ""))
        if user is None or form.get("password") not in (user.password, user.password + user.token):
            return _no("invalid_grant", "authentication failure")
        return self._granted(user, base)

    def userinfo(self, user: User, base: str) -> dict[str, Any]:
        """`/services/oauth2/userinfo`."""
        return {
            "sub": f"{base}/id/{self.org.id}/{user.id}",
            "user_id": user.id,
            "organization_id": self.org.id,
            "preferred_username": user.username,
            "name": user.username.split("@", 1)[0],
            "email": user.username,
            "user_type": "STANDARD",
            "zoneinfo": "Europe/Berlin",
            "urls": {"rest": f"{base}/services/data/v{{version}}/"},
        }

    def soap(self, body: bytes, base: str) -> tuple[int, str]:
        """The SOAP `login()` call: (status, XML)."""
        import defusedxml.ElementTree

        try:
            tree = defusedxml.ElementTree.fromstring(body)
        except (defusedxml.ElementTree.ParseError, defusedxml.DefusedXmlException):
            return 500, _fault("sf:INVALID_SOAP", "The request was not well formed")
        username, password = "", ""
        organisation = None
        for node in tree.iter():
            name = node.tag.rpartition("}")[2]
            if name == "username":
                username = node.text or ""
            elif name == "password":
                password = node.text or ""
            elif name == "organizationId":
                organisation = node.text or ""
        user = self.org.users.get(username)
        wanted = None
        if user is not None:
            wanted = (user.password + user.token,) if organisation is None else (user.password,)
            if not user.token:
                wanted = (user.password,)
        if user is None or wanted is None or password not in wanted:
            return 500, _fault(
                "sf:INVALID_LOGIN",
                "INVALID_LOGIN: Invalid username, password, security token; or user locked out.",
            )
        if self.mfa_for_soap:
            return 500, _fault("sf:LOGIN_MUST_USE_SECURITY_TOKEN", "LOGIN_MUST_USE_SECURITY_TOKEN: multi-factor")
        token = self.org.log_in(user)
        url = f"{base}/services/Soap/u/{self.org.version}/{self.org.id[:15]}"
        return 200, (
            '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope '
            'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:partner.soap.sforce.com" '
            'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body><loginResponse><result>'
            f"<metadataServerUrl>{escape(url)}</metadataServerUrl><passwordExpired>false</passwordExpired>"
            f"<sandbox>{str(self.org.sandbox).lower()}</sandbox><serverUrl>{escape(url)}</serverUrl>"
            f"<sessionId>{escape(token)}</sessionId><userId>{user.id}</userId><userInfo>"
            f"<organizationId>{self.org.id}</organizationId><userName>{escape(user.username)}</userName>"
            f"<sessionSecondsValid>{int(self.org.session_s)}</sessionSecondsValid></userInfo>"
            "</result></loginResponse></soapenv:Body></soapenv:Envelope>"
        )


def _public_key(pem: str) -> Any:
    if "BEGIN CERTIFICATE" in pem:
        from cryptography.x509 import load_pem_x509_certificate

        return load_pem_x509_certificate(pem.encode()).public_key()
    return pem


def _no(error: str, description: str) -> Answer:
    return 400, {"error": error, "error_description": description}


def _fault(code: str, message: str) -> str:
    short = code.removeprefix("sf:")
    return (
        '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope '
        'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:sf="urn:fault.partner.soap.sforce.com" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body><soapenv:Fault>'
        f"<faultcode>{code}</faultcode><faultstring>{escape(message)}</faultstring><detail>"
        f'<sf:LoginFault xsi:type="sf:LoginFault"><sf:exceptionCode>{short}</sf:exceptionCode>'
        f"<sf:exceptionMessage>{escape(message)}</sf:exceptionMessage></sf:LoginFault></detail>"
        "</soapenv:Fault></soapenv:Body></soapenv:Envelope>"
    )
