"""The OData stand-in as an ASGI app: authentication, limits, CSRF and the services below one root.

`create(config)` takes: `root` (path), `services` ({name: {version, dataset, rows, seed, defects, quirks, page_rows}}),
`auth` ({kind: none|basic|bearer|oauth2|api_key, ...}), `csrf` (off|on|no_token), `limits` (see ServerLimits),
`rate_headers` (ietf|dynamics|none), `refusal` ({status, retry_after: seconds|date|absurd|missing}).
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from weighbridge.sandbox.limits import Gate, Refused, ServerLimits
from weighbridge.sandbox.odata.data import build
from weighbridge.sandbox.odata.service import Call, Quirks, Reply, Service

__all__ = ["create"]

WRITES = {"POST", "PUT", "PATCH", "MERGE", "DELETE"}
REFUSALS = {
    # Dataverse's own codes (Microsoft, "Service protection API limits")
    "rate": ("0x80072322", "Number of requests exceeded the limit of {cap} over time window of {window} seconds."),
    "concurrency": ("0x80072326", "Number of concurrent requests exceeded the limit of {cap}."),
    "quota": ("QuotaExceeded", "The daily quota of {cap} calls is used up."),
}


@dataclass(slots=True)
class _Auth:
    kind: str = "none"
    username: str = ""
    password: str = ""
    token: str = ""
    client_id: str = ""
    client_secret: str = ""
    expires_in: float = 3600.0
    header: str = "x-api-key"
    key: str = ""
    issued: dict[str, float] = field(default_factory=dict)
    logins: int = 0

    def accepts(self, headers: dict[str, str]) -> bool:
        given = headers.get("authorization", "")
        if self.kind == "none":
            return True
        if self.kind == "basic":
            wanted = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
            return secrets.compare_digest(given.encode(), f"Basic {wanted}".encode())
        if self.kind == "bearer":
            return secrets.compare_digest(given.encode(), f"Bearer {self.token}".encode())
        if self.kind == "oauth2":
            return self.issued.get(given.removeprefix("Bearer "), 0) > time.monotonic()
        return secrets.compare_digest(headers.get(self.header.lower(), "").encode(), self.key.encode())

    def issue(self, request: Request, body: bytes) -> Response:
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        basic = request.headers.get("authorization", "")
        if basic.startswith("Basic "):
            user, _, word = base64.b64decode(basic[6:]).decode().partition(":")
            form |= {"client_id": unquote(user), "client_secret": unquote(word)}
        if form.get("grant_type") != "client_credentials":
            return JSONResponse({"error": "unsupported_grant_type"}, 400)
        if (form.get("client_id"), form.get("client_secret")) != (self.client_id, self.client_secret):
            return JSONResponse({"error": "invalid_client", "error_description": "Client authentication failed."}, 401)
        self.logins += 1
        token = secrets.token_urlsafe(24)
        self.issued[token] = time.monotonic() + self.expires_in
        return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": int(self.expires_in)})


class _App:
    def __init__(self, config: dict[str, Any]) -> None:
        self.root = "/" + str(config.get("root", "odata")).strip("/")
        self.auth = _Auth(**config.get("auth", {}))
        self.csrf = str(config.get("csrf", "off"))
        self.rate_headers = str(config.get("rate_headers", "ietf"))
        self.refusal = {"status": 429, "retry_after": "seconds", **config.get("refusal", {})}
        limits = ServerLimits.of(config.get("limits"))
        self.gate = Gate(limits)
        self.services: dict[str, Service] = {}
        for name, wanted in config.get("services", {"": {}}).items():
            self.services[name] = _service(name, dict(wanted), limits)
        self.tokens: set[str] = set()
        self.served: list[dict[str, Any]] = []

    # --- one call ---------------------------------------------------------------------------------------------

    async def call(self, request: Request) -> Response:
        body = await request.body()
        headers = {n.lower(): v for n, v in request.headers.items()}
        path = unquote(request.scope["raw_path"].decode("ascii").partition("?")[0])
        if path == "/oauth2/token" and request.method == "POST":
            return self.auth.issue(request, body)
        service, below = self._service(path)
        if service is None:
            return Response("Not Found", 404, media_type="text/plain")
        if not self.auth.accepts(headers):
            scheme = "Basic" if self.auth.kind == "basic" else "Bearer"
            about = {"WWW-Authenticate": f'{scheme} realm="practice"'}
            return Response("Unauthorized", 401, about, media_type="text/plain")
        try:
            async with self.gate.admit(stored=self._stored(service, below)):
                return await self._answer(request, service, below, headers, body)
        except Refused as refused:
            return self._refuse(service, refused)

    async def _answer(
        self, request: Request, service: Service, below: str, headers: dict[str, str], body: bytes
    ) -> Response:
        extra = self._rates()
        if self.csrf != "off":
            refused = self._csrf(request, headers, extra)
            if refused is not None:
                return refused
        root = f"{request.url.scheme}://{headers.get('host', 'localhost')}{self.root}"
        if service.name:
            root += f"/{service.name}"
        query = request.scope["query_string"].decode("ascii")
        reply = service.answer(Call(request.method, below, query, headers, body, root))
        if self.gate.limits.latency_per_row_ms and request.method == "GET":
            rows = max(1, reply.body.count(b'"@odata.etag"') or reply.body.count(b"},{") + 1)
            await asyncio.sleep(self.gate.limits.latency_per_row_ms * rows / 1000)
        return _response(reply, extra)

    def _service(self, path: str) -> tuple[Service | None, str]:
        if not (path == self.root or path.startswith(self.root + "/")):
            return None, ""
        below = path[len(self.root) :].strip("/")
        name, _, rest = below.partition("/")
        if name in self.services:
            return self.services[name], rest
        return self.services.get(""), below

    def _stored(self, service: Service, below: str) -> int:
        table = service.store.tables.get(below.partition("(")[0].partition("/")[0])
        return len(table.rows) if table else 0

    def _csrf(self, request: Request, headers: dict[str, str], extra: dict[str, str]) -> Response | None:
        given = headers.get("x-csrf-token", "")
        if given.lower() == "fetch":
            if self.csrf == "on":
                token = secrets.token_hex(12)
                self.tokens.add(token)
                extra["x-csrf-token"] = token
                extra["set-cookie"] = f"SAP_SESSIONID={token}; path=/; HttpOnly"
            return None
        if self.csrf == "on" and request.method in WRITES:
            cookie = request.cookies.get("SAP_SESSIONID")
            if given not in self.tokens or cookie != given:
                return Response(
                    "CSRF token validation failed", 403, {"x-csrf-token": "Required"}, media_type="text/plain"
                )
        return None

    def _rates(self) -> dict[str, str]:
        limits = self.gate.limits
        if not limits.requests_per_window or self.rate_headers == "none":
            return {}
        left = self.gate.window_remaining
        if self.rate_headers == "dynamics":
            return {
                "x-ms-ratelimit-burst-remaining-xrm-requests": str(left),
                "x-ms-ratelimit-time-remaining-xrm-requests": f"{limits.window_s * 4:.2f}",
            }
        return {
            "RateLimit-Policy": f'"window";q={limits.requests_per_window};w={limits.window_s:g}',
            "RateLimit": f'"window";r={left};t={limits.window_s:g}',
        }

    def _refuse(self, service: Service, refused: Refused) -> Response:
        limits = self.gate.limits
        code, text = REFUSALS[refused.kind]
        caps = {"rate": limits.requests_per_window or limits.bucket_rate, "concurrency": limits.concurrent}
        message = text.format(cap=caps.get(refused.kind, limits.daily_quota), window=f"{limits.window_s:g}")
        extra = self._rates()
        status = int(self.refusal["status"])
        if refused.kind == "quota":
            status = 403
        elif refused.retry_after is not None:
            after = _retry_after(str(self.refusal["retry_after"]), refused.retry_after)
            if after is not None:
                extra["Retry-After"] = after
        return _response(service.error(status, code, message), extra)

    # --- control ----------------------------------------------------------------------------------------------

    async def control(self, request: Request) -> Response:
        what = request.path_params["what"]
        given = json.loads(await request.body() or b"null") or {}
        action = getattr(self, f"_do_{what}", None)
        if action is None:
            return JSONResponse({"error": f"no control '{what}'"}, 404)
        return JSONResponse(action(given))

    def _do_stats(self, _given: dict[str, Any]) -> dict[str, Any]:
        return {**self.gate.stats(), "logins": self.auth.logins}

    def _do_limits(self, given: dict[str, Any]) -> dict[str, Any]:
        self.gate.configure(ServerLimits.of(given))
        for service in self.services.values():
            service.page_rows = self.gate.limits.page_rows
        return self.gate.limits.as_dict()

    def _do_answers(self, given: dict[str, Any]) -> dict[str, Any]:
        """Change how a refusal looks and which rate headers are sent."""
        self.refusal = {"status": 429, "retry_after": "seconds", **given.get("refusal", {})}
        self.rate_headers = str(given.get("rate_headers", "ietf"))
        return {"refusal": self.refusal, "rate_headers": self.rate_headers}

    def _do_expire_tokens(self, _given: dict[str, Any]) -> dict[str, Any]:
        self.auth.issued.clear()
        self.tokens.clear()
        return {"expired": True}

    def _do_quirks(self, given: dict[str, Any]) -> dict[str, Any]:
        service = self.services[given.pop("service", "")]
        service.quirks = replace(service.quirks, **given)
        service.forget()
        return {"ok": True}

    def _do_insert(self, given: dict[str, Any]) -> dict[str, Any]:
        service = self.services[given.get("service", "")]
        reply = service.answer(Call("POST", given["set"], "", {}, json.dumps(given["row"]).encode(), ""))
        return {"status": reply.status, "body": reply.body.decode()}

    def _do_delete(self, given: dict[str, Any]) -> dict[str, Any]:
        table = self.services[given.get("service", "")].store.tables[given["set"]]
        table.remove(tuple(given["key"]))
        return {"rows": len(table.rows)}

    def _do_drop_field(self, given: dict[str, Any]) -> dict[str, Any]:
        """Plant schema drift: the field is gone from metadata and data."""
        service = self.services[given.get("service", "")]
        table = service.store.tables[given["set"]]
        kept = tuple(f for f in table.entity.fields if f.name != given["field"])
        table.entity = replace(table.entity, fields=kept)
        table.revision += 1
        service.forget()
        return {"fields": [f.name for f in kept]}


def _retry_after(form: str, seconds: float) -> str | None:
    whole = max(1, int(seconds + 0.999))
    if form == "date":
        return format_datetime(datetime.now(UTC) + timedelta(seconds=whole), usegmt=True)
    return {"seconds": str(whole), "absurd": "99999999999", "garbage": "soon", "missing": None}[form]


def _response(reply: Reply, extra: dict[str, str]) -> Response:
    return Response(reply.body, reply.status, {**reply.headers, **extra})


def _service(name: str, wanted: dict[str, Any], limits: ServerLimits) -> Service:
    version = int(wanted.get("version", 4))
    store = build(
        str(wanted.get("dataset", "company")),
        version=version,
        rows=int(wanted.get("rows", 500)),
        seed=int(wanted.get("seed", 7)),
        defects=bool(wanted.get("defects", False)),
    )
    quirks = Quirks(**wanted.get("quirks", {}))
    return Service(name, version, store, quirks=quirks, page_rows=wanted.get("page_rows", limits.page_rows))


def create(config: dict[str, Any]) -> Starlette:
    """The ASGI app. Raises KeyError, TypeError or ValueError for a configuration it does not know."""
    app = _App(config)
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "MERGE", "HEAD"]
    return Starlette(
        routes=[
            Route("/__sandbox__/{what}", app.control, methods=["POST"]),
            Route("/{path:path}", app.call, methods=methods),
        ]
    )
