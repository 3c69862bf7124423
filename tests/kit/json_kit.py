"""A threaded HTTP server on loopback that answers with what a function returns: for APIs described in a test."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, Mapping[str, str], bytes]


@dataclass(slots=True)
class Asked:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Served:
    url: str
    asked: list[Asked] = field(default_factory=list)


def as_json(value: Any, status: int = 200, **headers: str) -> Answer:
    about = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    return status, about, json.dumps(value).encode()


@contextmanager
def serving(answer: Callable[[Asked], Answer]) -> Iterator[Served]:
    """Every request is answered by `answer`; `Served.asked` keeps what was asked."""
    served = Served("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or each answer waits 40 ms for the client's delayed acknowledgement

        def do_any(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = {k: v[0] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
            headers = {k.lower(): v for k, v in self.headers.items()}
            asked = Asked(self.command, parts.path, query, headers, body)
            served.asked.append(asked)
            status, about, content = answer(asked)
            self.send_response(status)
            for name, value in about.items():
                self.send_header(name, value)
            if "Content-Length" not in about:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            if "Content-Length" in about:
                self.close_connection = True

        do_GET = do_POST = do_PATCH = do_DELETE = do_MERGE = do_any

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
