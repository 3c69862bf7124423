"""A JSON API of 600 contacts behind a bearer token, one list a paging style: what the fault matrix reads by `rest`."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

__all__ = ["OBJECTS", "TOKEN", "create"]

TOKEN = "practice-only"
ROWS = [{"id": n, "name": f"Contact {n}", "city": "Köln", "amount": n * 1.25} for n in range(1, 601)]
PAGE = 200
OBJECTS: dict[str, Any] = {
    "link": {"path": "/link", "paging": "link_header", "size_parameter": "limit", "count_header": "X-Total-Count"},
    "cursor": {
        "path": "/cursor", "rows": "results", "paging": "cursor", "cursor": "next", "cursor_parameter": "after",
        "size_parameter": "limit", "count_value": "total",
    },
    "page": {
        "path": "/page", "rows": "results", "paging": "page", "size_parameter": "limit", "count_value": "total",
    },
}  # fmt: skip


def create(_config: dict[str, Any]) -> Starlette:
    async def answer(request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return JSONResponse({"message": "who are you"}, 401)
        style, asked = request.url.path.strip("/"), request.query_params
        size = min(int(asked.get("limit", PAGE)), PAGE)
        first = (int(asked.get("page", 1)) - 1) * size if style == "page" else int(asked.get("after", 0))
        page, more = ROWS[first : first + size], first + size < len(ROWS)
        headers = {"X-Total-Count": str(len(ROWS))}
        if style == "link":
            where = f"{request.url.scheme}://{request.headers['host']}/link?after={first + size}&limit={size}"
            return JSONResponse(page, headers=headers | ({"Link": f'<{where}>; rel="next"'} if more else {}))
        return JSONResponse({"results": page, "total": len(ROWS), "next": str(first + size) if more else None})

    return Starlette(routes=[Route(f"/{name}", answer) for name in OBJECTS])
