"""`$batch` of the stand-in: multipart/mixed with change sets (V2, V4) and the JSON form (V4.01)."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote, urlsplit

from weighbridge.sandbox.odata.service import Call, Problem, Reply, Service

__all__ = ["answer_batch"]

MOST_PARTS = 1000
REASONS = {
    200: "OK",
    201: "Created",
    204: "No Content",
    400: "Bad Request",
    404: "Not Found",
    409: "Conflict",
    412: "Precondition Failed",
}


def answer_batch(service: Service, call: Call) -> Reply:
    """Runs every part; a change set is all or nothing."""
    if call.method != "POST":
        raise Problem(405, "MethodNotAllowed", "$batch takes POST.")
    kind = call.headers.get("content-type", "")
    if kind.startswith("application/json") and service.version == 4:
        return _json_batch(service, call)
    boundary = _boundary(kind)
    if boundary is None:
        raise Problem(415, "UnsupportedMediaType", "$batch takes multipart/mixed with a boundary.")
    parts: list[str] = []
    for headers, body in _split(call.body.decode(), boundary):
        inner = _boundary(headers.get("content-type", ""))
        if inner is None:
            parts.append(_part(service.answer(_request(body, call))))
        else:
            parts.append(_change_set(service, call, _split(body, inner)))
    text = "".join(f"--reply\r\n{part}\r\n" for part in parts) + "--reply--\r\n"
    # V2 servers answer 202 Accepted, V4 ones 200.
    status = 202 if service.version == 2 else 200
    return Reply(status, text.encode(), {"Content-Type": "multipart/mixed; boundary=reply"})


def _change_set(service: Service, call: Call, items: list[tuple[dict[str, str], str]]) -> str:
    kept = {name: table.snapshot() for name, table in service.store.tables.items()}
    done: list[str] = []
    for headers, body in items:
        reply = service.answer(_request(body, call))
        if reply.status >= 400:
            for name, table in service.store.tables.items():
                table.restore(kept[name])
            return _part(reply)
        done.append(_part(reply, headers.get("content-id")))
    text = "".join(f"--changes\r\n{part}\r\n" for part in done) + "--changes--\r\n"
    return f"Content-Type: multipart/mixed; boundary=changes\r\nContent-Length: {len(text)}\r\n\r\n{text}"


def _part(reply: Reply, content_id: str | None = None) -> str:
    head = "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
    if content_id:
        head += f"Content-ID: {content_id}\r\n"
    status = f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Error')}\r\n"
    inner = "".join(f"{n}: {v}\r\n" for n, v in {**reply.headers, "Content-Length": str(len(reply.body))}.items())
    return f"{head}\r\n{status}{inner}\r\n{reply.body.decode()}"


def _boundary(kind: str) -> str | None:
    found = re.search(r"multipart/mixed\s*;.*boundary=\"?([^\";]+)", kind, re.IGNORECASE)
    return found[1].strip() if found else None


def _split(text: str, boundary: str) -> list[tuple[dict[str, str], str]]:
    found: list[tuple[dict[str, str], str]] = []
    pieces = re.split(rf"(?:^|\r?\n)--{re.escape(boundary)}(?:--)?[ \t]*(?:\r?\n|$)", text)
    for piece in pieces[1:-1]:
        if not piece.strip():
            continue
        head, _, body = re.sub(r"\r\n", "\n", piece.lstrip("\r\n")).partition("\n\n")
        found.append((_headers(head), body))
        if len(found) > MOST_PARTS:
            raise Problem(413, "TooLarge", f"A batch holds at most {MOST_PARTS} parts.")
    return found


def _headers(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.split("\n") if ":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _request(text: str, outer: Call) -> Call:
    head, _, body = text.lstrip("\n").partition("\n\n")
    first, _, rest = head.partition("\n")
    words = first.split()
    if len(words) < 2:
        raise Problem(400, "BadRequest", "A part of the batch is not a request.")
    return _call(words[0], words[1], _headers(rest), body.strip().encode(), outer)


def _call(method: str, address: str, headers: dict[str, str], body: bytes, outer: Call) -> Call:
    parts = urlsplit(address)
    path = parts.path
    base = urlsplit(outer.root).path
    if path.startswith(base + "/"):
        path = path[len(base) :]
    inherited = {n: v for n, v in outer.headers.items() if n in {"accept", "prefer"}}
    if "json" not in inherited.get("accept", ""):
        inherited["accept"] = "application/json"
    return Call(method.upper(), unquote(path), parts.query, {**inherited, **headers}, body, outer.root)


def _json_batch(service: Service, call: Call) -> Reply:
    try:
        wanted = json.loads(call.body)["requests"]
    except (ValueError, KeyError, TypeError):
        raise Problem(400, "BadRequest", "A JSON batch has an array 'requests'.") from None
    answers: list[dict[str, Any]] = []
    for item in wanted[:MOST_PARTS]:
        headers = {str(n).lower(): str(v) for n, v in (item.get("headers") or {}).items()}
        body = json.dumps(item["body"]).encode() if "body" in item else b""
        reply = service.answer(_call(str(item["method"]), str(item["url"]), headers, body, call))
        is_json = "json" in reply.headers.get("Content-Type", "")
        answers.append(
            {
                "id": item.get("id"),
                "status": reply.status,
                "headers": dict(reply.headers),
                **({"body": json.loads(reply.body) if is_json else reply.body.decode()} if reply.body else {}),
            }
        )
    return Reply(200, json.dumps({"responses": answers}).encode(), {"Content-Type": "application/json"})
