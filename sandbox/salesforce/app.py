"""The org as an HTTP server: `create(config)` returns the ASGI app that `weighbridge.sandbox.server` runs.

Configuration: seed, rows, defects, users, clients, private, owned, version, session_s, `limits` (ServerLimits),
long_running and long_s (calls that have run this long count against the concurrent limit), page_rows, bulk_latency_s.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from weighbridge.sandbox.limits import Gate, Refused, ServerLimits
from weighbridge.sandbox.salesforce.login import Login
from weighbridge.sandbox.salesforce.metadata import MetadataApi
from weighbridge.sandbox.salesforce.model import ApiError, Field
from weighbridge.sandbox.salesforce.org import User
from weighbridge.sandbox.salesforce.rest import Call, Reply, Rest
from weighbridge.sandbox.salesforce.seed import build

__all__ = ["App", "create"]

UNLIMITED = 5_000_000
LARGEST_BODY = 150 * 1024 * 1024
LONGEST_URI = 16_384
HTML = "text/html; charset=UTF-8"


def create(config: Mapping[str, Any]) -> App:
    """The ASGI app. Raises ValueError for a limit it does not know."""
    return App(config)


class App:
    """Routes a request, keeps the gate, writes the answer."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = dict(config)
        self.org = build(config)
        self.gate = Gate(ServerLimits.of(config.get("limits")))
        self.rest = Rest(self.org, self._usage)
        self.rest.page_rows = int(config.get("page_rows", 2000))
        self.rest.bulk.latency_s = float(config.get("bulk_latency_s", 0))
        self.login = Login(self.org)
        self.metadata = MetadataApi(self.org)
        self.login.mfa_for_soap = bool(config.get("mfa_for_soap"))
        self.long_running = int(config.get("long_running", 25))
        self.long_s = float(config.get("long_s", 20))
        self._running: dict[int, float] = {}
        self._serial = 0
        self.seen: Counter[str] = Counter()

    def _usage(self) -> tuple[int, int]:
        return self.gate.used, self.gate.limits.daily_quota or UNLIMITED

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = await _body(receive)
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        reply = await self._answer(scope, headers, body)
        payload = reply.raw
        if payload is None:
            payload = b"" if reply.body is None else json.dumps(reply.body, separators=(",", ":")).encode()
        out = [(b"content-length", str(len(payload)).encode())]
        if payload:
            out.append((b"content-type", reply.media.encode()))
        out += [(k.encode("latin-1"), v.encode("latin-1")) for k, v in reply.headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": out})
        await send({"type": "http.response.body", "body": payload})

    async def _answer(self, scope: Any, headers: Mapping[str, str], body: bytes) -> Reply:
        path = [unquote(p) for p in scope["raw_path"].decode("latin-1").partition("?")[0].strip("/").split("/")]
        params = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        host, port = scope["server"]
        base = self.config.get("instance_url") or f"http://{host}:{port}"
        self.seen["/".join(path[:2])] += 1
        if len(scope["raw_path"]) + len(scope["query_string"]) > LONGEST_URI:
            return Reply(414, raw=b"<html><h1>URI Too Long</h1></html>", media=HTML)
        if path[0] == "__sandbox__":
            return self._control("/".join(path[1:]), json.loads(body or b"null"))
        if path[0] != "services" or len(path) < 2:
            return Reply(
                200, raw=b"<html><title>Login | Practice</title><form><input type=password></form></html>", media=HTML
            )
        if path[1] == "Soap":
            if len(path) > 2 and path[2] == "m":
                status, answer = self.metadata.handle(body)
                return Reply(status, raw=answer, media="text/xml; charset=UTF-8")
            if len(path) > 2 and path[2] in ("u", "c"):
                status, text = self.login.soap(body, base)
                return Reply(status, raw=text.encode(), media="text/xml; charset=UTF-8")
            return Reply(404, raw=b"<html>Not found</html>", media=HTML)
        if path[1:3] == ["oauth2", "token"]:
            form = dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True))
            status, answer = self.login.token(form, headers.get("authorization", ""), base)
            return Reply(status, answer)
        if path[1] == "data" and len(path) == 2:
            numbers = [f"{n}.0" for n in range(50, int(float(self.org.version)) + 1)]
            return Reply(200, [{"label": f"v{n}", "url": f"/services/data/v{n}", "version": n} for n in numbers])
        try:
            return await self._guarded(scope["method"], path, params, headers, body, base)
        except ApiError as error:
            return self._with_usage(Reply(error.status, error.body))

    def _with_usage(self, reply: Reply) -> Reply:
        used, cap = self._usage()
        reply.headers["Sforce-Limit-Info"] = f"api-usage={used}/{cap}"
        return reply

    def _user(self, headers: Mapping[str, str]) -> User:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if not token or scheme.lower() not in ("bearer", "oauth"):
            token = headers.get("x-sfdc-session", "")
        return self.org.session(token)

    async def _guarded(
        self,
        method: str,
        path: list[str],
        params: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
        base: str,
    ) -> Reply:
        user = self._user(headers)
        now = time.monotonic()
        if sum(now - t >= self.long_s for t in self._running.values()) >= self.long_running:
            raise ApiError(
                403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded."
            )
        self._serial += 1
        mine = self._serial
        self._running[mine] = now
        try:
            async with self.gate.admit(stored=self._stored(path, params)):
                reply = self._handle(method, path, params, headers, body, user, base)
                if self.gate.limits.latency_per_row_ms and reply.rows:
                    await asyncio.sleep(self.gate.limits.latency_per_row_ms * reply.rows / 1000)
        except Refused as refused:
            return self._with_usage(_refusal(refused))
        finally:
            del self._running[mine]
        return self._with_usage(reply)

    def _stored(self, path: list[str], params: Mapping[str, str]) -> int:
        if not self.gate.limits.latency_per_stored_row_us:
            return 0
        name = path[4] if path[3:4] == ["sobjects"] and len(path) > 4 else ""
        if match := re.search(r"(?i)\bfrom\s+(\w+)", params.get("q", "")):
            name = match[1]
        store = self.org.stores.get(name.lower())
        return len(store.live) if store else 0

    def _handle(
        self, method: str, path: list[str], params: Mapping[str, str], headers: Mapping[str, str], body: bytes,
        user: User, base: str,
    ) -> Reply:  # fmt: skip
        if path[1:3] == ["oauth2", "userinfo"]:
            return Reply(200, self.login.userinfo(user, base))
        if path[1] == "apexrest":
            echoed = json.loads(body) if body else None
            return Reply(200, {"method": method, "path": "/".join(path[2:]), "body": echoed})
        if path[1] == "async" and len(path) > 3:
            return self.rest.bulk.handle_v1(Call(method, path[3:], params, body, user, headers), Reply)
        if path[1] != "data":
            raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
        if not re.fullmatch(r"v\d+\.0", path[2]) or not 20 <= float(path[2][1:]) <= float(self.org.version):
            raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
        return self.rest.handle(Call(method, path[3:], params, body, user, headers))

    # --- the stand-in's own controls ---

    def _control(self, what: str, order: Any) -> Reply:
        order = order or {}
        if what == "stats":
            stats = {**self.gate.stats(), "logins": self.org.logins, "seen": dict(self.seen), "pages": self.rest.pages}
            return Reply(200, stats | {"rows": {s.type.name: len(s.live) for s in self.org.stores.values()}})
        if what == "act":
            self.rest.act(order)
        elif what == "plan":
            self.rest.pages = 0
            self.rest.plan = list(order)
        elif what == "limits":
            self.gate.configure(ServerLimits.of(order))
            self.gate.used = int(order.get("daily_used", self.gate.used))
        elif what == "field":
            for change in order if isinstance(order, list) else [order]:
                self._change_field(change)
        elif what == "user":
            user = self.org.users[order["username"]]
            user.view_all = bool(order.get("view_all", user.view_all))
            user.hidden = frozenset(order.get("hidden", user.hidden))
            user.api_enabled = bool(order.get("api_enabled", user.api_enabled))
            user.view_setup = bool(order.get("view_setup", user.view_setup))
        elif what == "journal":
            return Reply(200, list(self.org.journal))
        else:
            return Reply(404, {"error": f"no control {what}"})
        return Reply(200, {"ok": True})

    def _change_field(self, change: Mapping[str, Any]) -> None:
        """Drift: change a field's definition, or add a field that is null everywhere."""
        store = self.org.store(change["object"])
        known = store.type.fields.get(change["name"])
        if known is None:
            store.type.fields[change["name"]] = Field(change["name"], **change.get("set", {"type": "string"}))
            for record in (*store.live.values(), *store.bin.values()):
                record[change["name"]] = None
            return
        for key, value in change["set"].items():
            setattr(known, key, value)


def _refusal(refused: Refused) -> Reply:
    error = ApiError(503, "SERVER_UNAVAILABLE", "The server is temporarily unavailable")
    if refused.kind == "quota":
        error = ApiError(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
    elif refused.kind == "concurrency":
        error = ApiError(403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded.")
    reply = Reply(error.status, error.body)
    if error.status == 503 and refused.retry_after is not None:
        reply.headers["Retry-After"] = str(max(1, round(refused.retry_after)))
    return reply


async def _body(receive: Any) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size <= LARGEST_BODY:
            parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)
