"""The Odoo stand-in as an ASGI app: JSON-RPC, XML-RPC, the web client's own calls and the JSON-2 interface.

`create(config)` takes `database`, `rows`, `seed`, `version` (16 to 19; JSON-2 from 19), `limits` (see ServerLimits).
JSON-RPC reports every error with HTTP 200; JSON-2 uses real statuses, 500 for a bad field.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import xmlrpc.client
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from weighbridge.sandbox.limits import Gate, Refused, ServerLimits
from weighbridge.sandbox.odoo.data import build
from weighbridge.sandbox.odoo.orm import Fault, User

__all__ = ["create"]


class _App:
    def __init__(self, config: dict[str, Any]) -> None:
        self.database = str(config.get("database", "practice"))
        self.version = int(config.get("version", 19))
        self.registry = build(rows=int(config.get("rows", 400)), seed=int(config.get("seed", 7)))
        self.gate = Gate(ServerLimits.of(config.get("limits")))
        self.sessions: dict[str, User] = {}
        self.logins = 0

    # --- who --------------------------------------------------------------------------------------------------

    def login(self, database: Any, login: Any, word: Any) -> User | None:
        if database != self.database:
            raise Fault(
                "psycopg2.OperationalError",
                f'connection to server failed: FATAL:  database "{database}" does not exist',
            )
        self.logins += 1
        found = next((u for u in self.registry.users.values() if u.login == login), None)
        return found if found and word in (found.password, found.api_key) else None

    def user(self, database: Any, uid: Any, word: Any) -> User:
        if database != self.database:
            self.login(database, "", "")
        found = self.registry.users.get(uid) if isinstance(uid, int) else None
        if found is None or word not in (found.password, found.api_key):
            raise Fault("odoo.exceptions.AccessDenied", "Access Denied", 401)
        return found

    def version_info(self) -> dict[str, Any]:
        return {
            "server_version": f"{self.version}.0",
            "server_version_info": [self.version, 0, 0, "final", 0, ""],
            "server_serie": f"{self.version}.0",
            "protocol_version": 1,
        }

    async def weigh(self, result: Any) -> None:
        """The service time of each record that a call returned."""
        per_row = self.gate.limits.latency_per_row_ms
        if per_row and isinstance(result, list) and result:
            await asyncio.sleep(per_row * len(result) / 1000)

    # --- services ---------------------------------------------------------------------------------------------

    def service(self, service: str, method: str, args: list[Any]) -> Any:
        if service == "common":
            return self._common(method, args)
        if service == "db" and method == "list":
            return [self.database]
        if service == "object" and method in ("execute", "execute_kw") and len(args) >= 5:
            database, uid, word, model, name, *rest = args
            user = self.user(database, uid, word)
            if method == "execute":
                return self.registry.call(user, model, name, rest, {})
            positional = list(rest[0]) if rest else []
            return self.registry.call(user, model, name, positional, dict(rest[1]) if len(rest) > 1 else {})
        raise Fault("builtins.KeyError", f"no method {service}.{method} with these arguments")

    def _common(self, method: str, args: list[Any]) -> Any:
        if method == "version":
            return self.version_info()
        if method in ("login", "authenticate") and len(args) >= 3:
            user = self.login(*args[:3])
            return user.uid if user else False
        raise Fault("builtins.KeyError", f"no method common.{method}")

    # --- JSON-RPC ---------------------------------------------------------------------------------------------

    async def rpc(self, request: Request) -> Response:
        given = await _body(request)
        if given is None:
            return Response("Invalid JSON data", 400, media_type="text/plain")
        params = given.get("params") or {}
        path = request.url.path
        try:
            async with self.gate.admit():
                result, cookies = self._dispatch(request, path, params)
                await self.weigh(result)
        except Refused as refused:
            return _refuse(refused)
        except Fault as fault:
            return JSONResponse({"jsonrpc": "2.0", "id": given.get("id"), "error": _error(fault)})
        answer = JSONResponse({"jsonrpc": "2.0", "id": given.get("id"), "result": result})
        for name, value in cookies.items():
            answer.set_cookie(name, value, httponly=True, path="/")
        return answer

    def _dispatch(self, request: Request, path: str, params: dict[str, Any]) -> tuple[Any, dict[str, str]]:
        if path == "/jsonrpc":
            return self.service(
                str(params.get("service")), str(params.get("method")), list(params.get("args") or [])
            ), {}
        if path == "/web/webclient/version_info":
            return self.version_info(), {}
        if path == "/web/session/authenticate":
            user = self.login(params.get("db"), params.get("login"), params.get("password"))
            if user is None:
                raise Fault("odoo.exceptions.AccessDenied", "Access Denied", 401)
            token = secrets.token_hex(20)
            self.sessions[token] = user
            return self._session_info(user), {"session_id": token}
        user = self.sessions.get(request.cookies.get("session_id", ""))
        if user is None:
            raise Fault("odoo.http.SessionExpiredException", "Session expired")
        if path == "/web/session/get_session_info":
            return self._session_info(user), {}
        if path == "/web/session/destroy":
            self.sessions.pop(request.cookies.get("session_id", ""), None)
            return None, {}
        arguments, named = list(params.get("args") or []), dict(params.get("kwargs") or {})
        return self.registry.call(user, str(params["model"]), str(params["method"]), arguments, named), {}

    def _session_info(self, user: User) -> dict[str, Any]:
        context = {"lang": "en_US", "tz": "UTC", "uid": user.uid}
        return {
            "uid": user.uid,
            "db": self.database,
            "username": user.login,
            "user_context": context,
            "server_version": f"{self.version}.0",
        }

    # --- XML-RPC ----------------------------------------------------------------------------------------------

    async def xmlrpc(self, request: Request) -> Response:
        args, method = xmlrpc.client.loads(await request.body())
        try:
            async with self.gate.admit():
                result = self.service(request.path_params["service"], str(method), list(args))
            text = xmlrpc.client.dumps((result,), methodresponse=True, allow_none=True)
        except Refused as refused:
            return _refuse(refused)
        except Fault as fault:
            code = 3 if fault.name.endswith("AccessDenied") else 4 if fault.name.endswith("AccessError") else 1
            text = xmlrpc.client.dumps(xmlrpc.client.Fault(code, fault.message), allow_none=True)
        return Response(text, media_type="text/xml")

    # --- JSON-2 -----------------------------------------------------------------------------------------------

    async def json2(self, request: Request) -> Response:
        if self.version < 19:
            return Response("<!doctype html><title>404 Not Found</title>", 404, media_type="text/html")
        given = await _body(request)
        if given is None:
            return JSONResponse(_told("werkzeug.exceptions.BadRequest", "Invalid JSON"), 400)
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        user = next((u for u in self.registry.users.values() if u.api_key == key), None)
        if kind.lower() != "bearer" or user is None:
            return JSONResponse(_told("werkzeug.exceptions.Unauthorized", "Invalid apikey"), 401)
        if request.headers.get("x-odoo-database", self.database) != self.database:
            return JSONResponse(_told("werkzeug.exceptions.NotFound", "no such database"), 404)
        arguments: list[Any] = [given.pop("ids")] if "ids" in given else []
        try:
            async with self.gate.admit():
                result = self.registry.call(
                    user, request.path_params["model"], request.path_params["method"], arguments, given
                )
                await self.weigh(result)
        except Refused as refused:
            return _refuse(refused)
        except Fault as fault:
            return JSONResponse(_told(fault.name, fault.message), fault.status)
        return JSONResponse(result)

    async def about(self, _request: Request) -> Response:
        return JSONResponse({"version": f"{self.version}.0", "version_info": [self.version, 0, 0, "final", 0, ""]})

    # --- control ----------------------------------------------------------------------------------------------

    async def control(self, request: Request) -> Response:
        what = request.path_params["what"]
        given = json.loads(await request.body() or b"null") or {}
        if what == "stats":
            return JSONResponse({**self.gate.stats(), "logins": self.logins})
        if what == "limits":
            self.gate.configure(ServerLimits.of(given))
            return JSONResponse(self.gate.limits.as_dict())
        if what == "unlink":
            model = self.registry.models[given["model"]]
            self.registry.call(self.registry.users[1], model.name, "unlink", [given["ids"]], {})
            return JSONResponse({"rows": len(model.records)})
        if what == "drop_field":
            del self.registry.models[given["model"]].fields[given["field"]]
            return JSONResponse({"dropped": given["field"]})
        return JSONResponse({"error": f"no control '{what}'"}, 404)


async def _body(request: Request) -> dict[str, Any] | None:
    try:
        found = json.loads(await request.body())
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _told(name: str, message: str) -> dict[str, Any]:
    return {"name": name, "message": message, "arguments": [message], "context": {}, "debug": "Traceback ..."}


def _error(fault: Fault) -> dict[str, Any]:
    expired = "SessionExpired" in fault.name
    return {
        "code": 100 if expired else 200,
        "message": "Odoo Session Expired" if expired else "Odoo Server Error",
        "data": _told(fault.name, fault.message),
    }


def _refuse(refused: Refused) -> Response:
    # Odoo itself refuses nothing: the proxy of its hosting does.
    extra = {} if refused.retry_after is None else {"Retry-After": str(max(1, int(refused.retry_after + 0.999)))}
    return Response("Too Many Requests", 429, extra, media_type="text/plain")


def create(config: dict[str, Any]) -> Starlette:
    """The ASGI app."""
    app = _App(config)
    return Starlette(
        routes=[
            Route("/__sandbox__/{what}", app.control, methods=["POST"]),
            Route("/json/2/{model}/{method}", app.json2, methods=["POST"]),
            Route("/web/version", app.about, methods=["GET"]),
            Route("/xmlrpc/2/{service}", app.xmlrpc, methods=["POST"]),
            *(
                Route(path, app.rpc, methods=["POST"])
                for path in (
                    "/jsonrpc",
                    "/web/webclient/version_info",
                    "/web/session/authenticate",
                    "/web/session/get_session_info",
                    "/web/session/destroy",
                    "/web/dataset/call",
                    "/web/dataset/call_kw",
                    "/web/dataset/call_kw/{rest:path}",
                )
            ),
        ]
    )
