"""Starts a stand-in as a process of its own on loopback, so that its work never shares the client's interpreter.

`start("package.module:create", config)` runs uvicorn on the ASGI app that `create(config)` returns. The child ends with
its parent: it watches a pipe that closes when the parent dies, however it dies.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Self

__all__ = ["Server", "start"]

READY = "READY"


@dataclass(slots=True)
class Server:
    """A running stand-in; leave its `with` block or call `stop()` to end it."""

    url: str
    port: int
    process: subprocess.Popen[str] = field(repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def control(self, path: str, body: Any = None, *, timeout: float = 10.0) -> Any:
        """POST JSON to the stand-in's own `/__sandbox__/<path>`: read its ledger, change its state, plant drift."""
        import requests

        with requests.Session() as client:
            client.trust_env = False
            answer = client.post(f"{self.url}/__sandbox__/{path}", json=body, timeout=timeout)
        answer.raise_for_status()
        return answer.json()

    def stop(self) -> None:
        """End the process and wait for it; safe to call twice."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None and not stream.closed:
                stream.close()


def start(app: str, config: dict[str, Any] | None = None, *, port: int = 0, ready_s: float = 30.0) -> Server:
    """Start `module:function` (called with `config`, returning an ASGI app) and wait until it answers.

    Raises RuntimeError, with what the child printed, when it does not become ready.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "weighbridge.sandbox.server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the stand-in's pipes could not be opened")
    try:
        process.stdin.write(json.dumps({"app": app, "config": config or {}, "port": port}) + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        process.wait(5)
    timer = threading.Timer(ready_s, process.kill)
    timer.daemon = True
    timer.start()
    line = process.stdout.readline().strip()
    timer.cancel()
    if not line.startswith(READY):
        process.kill()
        process.wait(5)
        for stream in (process.stdin, process.stdout):
            stream.close()
        raise RuntimeError(f"the stand-in {app} did not start: {line or 'it ended without a word'}")
    bound = int(line.split()[1])
    return Server(f"http://127.0.0.1:{bound}", bound, process)


def _serve() -> None:
    import uvicorn

    order = json.loads(sys.stdin.readline())
    module, _, function = order["app"].partition(":")
    app = getattr(importlib.import_module(module), function)(order["config"])
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", order["port"]))
    listener.listen(2048)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    )
    threading.Thread(target=_end_with_parent, args=(server,), daemon=True).start()
    threading.Thread(target=_say_ready, args=(server, listener.getsockname()[1]), daemon=True).start()
    server.run(sockets=[listener])


def _say_ready(server: Any, port: int) -> None:
    while not server.started:
        time.sleep(0.005)
    sys.stdout.write(f"{READY} {port}\n")
    sys.stdout.flush()


def _end_with_parent(server: Any) -> None:
    sys.stdin.read()  # returns when the parent closes the pipe or dies
    server.should_exit = True
    time.sleep(3)
    os._exit(0)


if __name__ == "__main__":
    _serve()
