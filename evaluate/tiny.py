"""A connector of a few lines over http.client: one keep-alive connection to a queue server."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from weighbridge.connectors.base import (
    Connector,
    ConnectorOptions,
    Count,
    Limit,
    Operation,
    OperationResult,
    Page,
    Probe,
    TableSchema,
)
from weighbridge.connectors.errors import ProtocolError, RejectedError, ThrottledError, UnreachableError
from weighbridge.connectors.session import Session


class TinyOptions(ConnectorOptions):
    port: int = 0


class Tiny(Connector):
    """One keep-alive connection; 429 is throttled, an error in the body is a broken promise."""

    kind: ClassVar[str] = "tiny"
    options_model: ClassVar[type[ConnectorOptions]] = TinyOptions
    reported: Sequence[Limit] = ()

    def open(self) -> None:
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        if getattr(self, "_connection", None) is not None:
            self._connection.close()
            self._connection = None

    def fork(self, session: Session) -> Tiny:
        other = type(self)(self.options, session)
        other.open()
        return other

    def probe(self) -> Probe:
        return Probe("tiny", None, None, 0.0)

    def limits(self) -> Sequence[Limit]:
        return self.reported

    def discover(self, object: str) -> TableSchema:
        return TableSchema((), ())

    def count(self, object: str) -> Count:
        return Count(1000, True)

    def read(self, object: str, *, columns=None, after=None, page_rows=None) -> Iterator[Page]:
        return iter(())

    def operations(self, object: str, keys: Sequence[Any]) -> Mapping[str, Operation]:
        return {name: Operation(name, self._call) for name in ("lookup", "page")}

    def _call(self, key: tuple[Any, ...]) -> OperationResult:
        with self.session.attempt("lookup"):
            try:
                if self._connection is None:
                    self._connection = http.client.HTTPConnection(
                        "127.0.0.1", self.options.port, timeout=self.session.timeout
                    )
                    self._connection.connect()
                    self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connection.request("GET", f"/{key[0] if key else ''}")
                answer = self._connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                raise UnreachableError(f"tiny: {type(error).__name__}") from error
        if answer.status == 429:
            raise ThrottledError("tiny: told to slow down")
        if answer.status != 200:
            raise RejectedError(f"tiny: {answer.status}")
        if "rows" not in json.loads(body):
            raise ProtocolError("tiny: 200, and the body is an error")
        return OperationResult(1, 1, len(body))
