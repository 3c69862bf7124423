"""The HTTP side of a link: one exchange after another, each with the faults planned for it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h11

from weighbridge.sandbox.faults.answers import INSTEAD, answer_instead, render
from weighbridge.sandbox.faults.bulk import WORTH_IT
from weighbridge.sandbox.faults.flow import Cut, Flow
from weighbridge.sandbox.faults.journal import path_template
from weighbridge.sandbox.faults.spec import Fault

if TYPE_CHECKING:
    from weighbridge.sandbox.faults.link import Link, Side

__all__ = ["converse"]

HEAD_LIMIT = 1 << 18
READ = 1 << 18
AT_HAND = 1 << 16
Headers = list[tuple[bytes, bytes]]


class NotHttp(Exception):
    """What came is not HTTP that can be followed; relay it as it is."""

    def __init__(self, raw: bytes, *, to_client: bool) -> None:
        super().__init__("not http")
        self.raw = raw
        self.to_client = to_client


class Streams(asyncio.StreamReaderProtocol):
    """An end of the link as a stream; tells the link when it is lost."""

    def __init__(self, side: Side, reader: asyncio.StreamReader) -> None:
        super().__init__(reader)
        self._side = side

    def eof_received(self) -> bool | None:
        # A client that ends its side has given up waiting, as most proxies see it: so must the system's side end, or
        # requests that nobody waits for pile up there.
        if self._side.client and self._side.link.exchanging:
            self._side.link.close(hard=False)
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._side.lost = True
        if self._side.client:
            self._side.link.close(hard=exc is not None)


@dataclass(slots=True)
class End:
    """Reader and writer of one end."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def put(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


@dataclass(slots=True)
class Message:
    """A message's head: as it came, and what its framing is."""

    raw: bytes
    headers: Headers
    framing: str
    """`none`, `length`, `chunked` or `close`."""
    length: int
    keep_alive: bool
    method: str = ""
    target: str = ""
    status: int = 0
    version: bytes = b"1.1"
    reason: bytes = b""

    def get(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)


async def converse(link: Link, first: bytes) -> None:
    """Serve the exchanges of one client connection until an end closes."""
    try:
        client = _streams(link.client, first)
        await link.ready.wait()
        server = _streams(link.server, b"")
        try:
            while await _exchange(link, client, server):
                pass
        except NotHttp as error:
            await (client if error.to_client else server).put(error.raw)
            await _relay_both(client, server)
        link.close(hard=False)
    except Cut as cut:
        link.close(hard=cut.hard)
    except (OSError, asyncio.IncompleteReadError):
        link.close(hard=True)


def _streams(side: Side, first: bytes) -> End:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=HEAD_LIMIT, loop=loop)
    protocol = Streams(side, reader)
    transport = side.transport
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    if first:
        reader.feed_data(first)
    if side.ended:
        reader.feed_eof()
    return End(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


async def _exchange(link: Link, client: End, server: End) -> bool:
    """One request and its answer; False when the connection ends behind it."""
    request = await _request(client.reader)
    if request is None:
        return False
    line = link.line
    started = line.now()
    faults = _chosen(link, request)
    entry = line.book(
        {
            "event": "exchange",
            "connection": link.number,
            "protocol": "http",
            "method": request.method,
            "path": path_template(request.target),
            "status": None,
            "sent": 0,
            "received": 0,
            "seconds": None,
            "faults": tuple(fault.type for fault in faults),
        }
    )
    ways = _Ways(link, client, server, faults, entry)
    link.exchanging = True
    try:
        for fault in faults:
            if fault.type in INSTEAD or fault.type == "too_many_connections":
                return await _instead(ways, fault, request)
        await _send_request(ways, request)
        return await _answer(ways, request)
    except Cut:
        entry["cut"] = True  # whatever status the system gave, the client did not get it whole
        raise
    finally:
        link.exchanging = False
        entry["seconds"] = line.now() - started


class _Ways:
    """Both directions of one exchange, each under its faults, and the books."""

    def __init__(self, link: Link, client: End, server: End, faults: Sequence[Fault], entry: dict[str, Any]) -> None:
        self.link = link
        self.client = client
        self.server = server
        self.entry = entry
        self.shaping = [fault for fault in faults if fault.layer == "http" and fault.type not in INSTEAD]
        tcp = [fault for fault in faults if fault.layer == "tcp"]
        up = [fault for fault in tcp if fault.direction == "upstream"]
        down = [fault for fault in tcp if fault.direction == "downstream"]
        self._up = Flow(up, server.put, rng=link.rng, released=link.released) if up else None
        self.down_flow = Flow(down, client.put, rng=link.rng, released=link.released) if down else None

    @property
    def rng(self) -> random.Random:
        return self.link.rng

    async def up(self, data: bytes) -> None:
        self.entry["sent"] += len(data)
        await (self._up.send(data) if self._up else self.server.put(data))

    async def down(self, data: bytes) -> None:
        self.entry["received"] += len(data)
        await (self.down_flow.send(data) if self.down_flow else self.client.put(data))

    async def pause(self, milliseconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.link.released.wait(), milliseconds / 1000)


def _chosen(link: Link, request: Message) -> list[Fault]:
    line = link.line
    now = line.now()
    chosen = []
    for armed in line.armed:
        fault = armed.fault
        if fault.type == "down":
            continue
        if fault.type == "too_many_connections" and line.open_links <= int(fault["max"]):
            continue
        if armed.strikes(now, method=request.method, path=request.target):
            chosen.append(fault)
            line.struck(fault, connection=link.number, protocol="http", path=path_template(request.target))
    return chosen


async def _instead(ways: _Ways, fault: Fault, request: Message) -> bool:
    """Answer in the system's place; the request is read, so that the connection stays in step."""
    async for _ in _body(ways.client.reader, request):
        pass
    if fault.type == "too_many_connections":
        ways.entry["status"] = 503
        await ways.down(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        return False
    if fault.type == "garbage" and fault["raw"]:
        await ways.down(ways.rng.randbytes(int(fault["bytes"])))
        raise Cut(hard=False)
    answer = answer_instead(fault, request.target, rng=ways.rng, elsewhere=ways.link.line.elsewhere)
    ways.entry["status"] = answer.status
    await ways.down(render(answer, head_only=request.method == "HEAD"))
    return request.keep_alive


async def _send_request(ways: _Ways, request: Message) -> None:
    head = request.raw
    host = ways.link.line.host_header
    if host is not None:
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"host:")]
        lines.insert(1, b"Host: " + host.encode("latin-1"))
        head = b"\r\n".join(lines)
    whole = await _at_hand(ways.client.reader, request)
    if whole is not None:
        await ways.up(head + whole)
        return
    await ways.up(head)
    if (request.get(b"expect") or b"").lower() == b"100-continue":
        interim = await _response(ways.server.reader, request)
        await ways.down(interim.raw)
        if interim.status != 100:
            raise Cut(hard=False)
    async for data in _body(ways.client.reader, request):
        await ways.up(data)


async def _answer(ways: _Ways, request: Message) -> bool:
    response = await _response(ways.server.reader, request)
    while 100 <= response.status < 200:
        await ways.down(response.raw)
        if response.status == 101:
            raise NotHttp(b"", to_client=True)
        response = await _response(ways.server.reader, request)
    ways.entry["status"] = response.status
    flow = ways.down_flow
    if ways.shaping:
        keep = await _shaped(ways, ways.shaping[0], request, response)
    elif (whole := await _at_hand(ways.server.reader, response)) is not None:
        await ways.down(response.raw + whole)
        keep = True
    else:
        await ways.down(response.raw)
        left = await _handed_over(ways, response) if response.framing == "length" else response.length
        async for data in _body(ways.server.reader, response, left):
            await ways.down(data)
        keep = response.framing != "close"
    keep = keep and request.keep_alive and response.keep_alive
    if flow is not None and not keep:
        await flow.closing()
    return keep


async def _at_hand(reader: asyncio.StreamReader, message: Message) -> bytes | None:
    """A short body that has already come: head and body then go on in one packet."""
    if message.framing == "none":
        return b""
    if message.framing == "length" and message.length <= AT_HAND and len(reader._buffer) >= message.length:  # type: ignore[attr-defined]  # no public way to ask without waiting
        return await reader.readexactly(message.length)
    return None


async def _handed_over(ways: _Ways, response: Message) -> int:
    """Let a large body that no fault touches pass outside Python; returns the bytes still to be relayed."""
    left = response.length
    bulk, link = ways.link.line.bulk, ways.link
    reader, version = ways.server.reader, ways.link.line.version
    if left < WORTH_IT or ways.down_flow is not None:
        return left
    source, target = link.server.transport, link.client.transport
    source.pause_reading()
    try:
        while left > 0 and reader._buffer:  # type: ignore[attr-defined]  # what has been read already goes first
            data = await reader.read(min(left, READ))
            source.pause_reading()  # reading resumed it; before anything else may run, hold it again
            await ways.down(data)
            left -= len(data)
        while left >= WORTH_IT and bulk.possible(source, target) and not reader.at_eof():
            moved = await bulk.move(source, target, limit=left, stop=lambda: link.done or link.line.version != version)
            ways.entry["received"] += moved
            left -= moved
            if moved == 0 or link.line.version != version:
                break
            source.pause_reading()
    finally:
        if not source.is_closing():
            source.resume_reading()
    return left


async def _shaped(ways: _Ways, fault: Fault, request: Message, response: Message) -> bool:
    """The system's answer, spoiled on its way; False when the connection must end."""
    raw = [data async for data in _body(ways.server.reader, response)]
    whole = b"".join(raw)
    body = _unchunked(whole) if response.framing == "chunked" else whole
    kind = fault.type
    if kind == "slow_headers":
        for part in response.raw[:-4].split(b"\r\n"):
            await ways.down(part + b"\r\n")
            await ways.pause(float(fault["delay"]))
        await ways.down(b"\r\n" + whole)
        return response.framing != "close"
    if kind == "slow_drip":
        await ways.down(response.raw)
        size = max(1, int(fault["bytes"]))
        for at in range(0, len(whole), size):
            await ways.down(whole[at : at + size])
            await ways.pause(float(fault["delay"]))
        return response.framing != "close"
    if kind == "duplicate_answer":
        await ways.down(2 * (_head(response, length=len(body)) + body))
        return True
    if kind == "wrong_content_type":
        await ways.down(_head(response, length=len(body), content_type=str(fault["content_type"])) + body)
        return True
    if request.method == "HEAD" or not body:
        await ways.down(response.raw + whole)
        return response.framing != "close"
    await ways.down(_broken(fault, response, body))
    if kind == "wrong_length" and int(fault["delta"]) > 0:
        await ways.pause(1)
    return False


def _broken(fault: Fault, response: Message, body: bytes) -> bytes:
    kind = fault.type
    if kind == "wrong_length":
        return _head(response, length=max(0, len(body) + int(fault["delta"]))) + body
    if kind == "malformed_chunk":
        half = len(body) // 2
        return _head(response, length=None) + f"{half:x}\r\n".encode() + body[:half] + b"\r\nZZZ\r\n" + body[half:]
    keep = int(len(body) * float(fault["share"])) if fault["bytes"] is None else int(fault["bytes"])
    cut = body[: min(keep, len(body) - 1)]
    if response.framing == "chunked":
        return _head(response, length=None) + f"{len(body):x}\r\n".encode() + cut
    return _head(response, length=len(body)) + cut


def _head(response: Message, *, length: int | None, content_type: str | None = None) -> bytes:
    lines = [b"HTTP/1.1 %d %s" % (response.status, response.reason)]
    for name, value in response.headers:
        if name in (b"content-length", b"transfer-encoding") or (name == b"content-type" and content_type):
            continue
        lines.append(name + b": " + value)
    if content_type:
        lines.append(b"content-type: " + content_type.encode("latin-1"))
    lines.append(b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length)
    return b"\r\n".join(lines) + b"\r\n\r\n"


# --- reading HTTP ------------------------------------------------------------------------------------------------


async def _until_blank(reader: asyncio.StreamReader, *, to_client: bool) -> bytes | None:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise NotHttp(error.partial, to_client=to_client) from None
    except asyncio.LimitOverrunError:
        raise NotHttp(await reader.read(READ), to_client=to_client) from None


async def _request(reader: asyncio.StreamReader) -> Message | None:
    raw = await _until_blank(reader, to_client=False)
    if raw is None:
        return None
    plain = _plain_head(raw)
    if plain is not None and len(plain[0]) == 3 and plain[0][2] in (b"HTTP/1.1", b"HTTP/1.0"):
        (method, target, version), headers = plain
    else:
        event = _event(h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT), raw, to_client=False)
        if not isinstance(event, h11.Request):
            raise NotHttp(raw, to_client=False)
        method, target, version, headers = (
            event.method,
            event.target,
            b"HTTP/" + event.http_version,
            list(event.headers),
        )
    framing, length = _framing(headers, default="none")
    return Message(
        raw=raw,
        headers=headers,
        framing=framing,
        length=length,
        keep_alive=_keeps(headers, version),
        method=method.decode("latin-1"),
        target=target.decode("latin-1"),
    )


async def _response(reader: asyncio.StreamReader, request: Message) -> Message:
    raw = await _until_blank(reader, to_client=True)
    if raw is None:
        raise Cut(hard=False)
    plain = _plain_head(raw)
    if plain is not None and len(plain[0]) > 1 and plain[0][0].startswith(b"HTTP/1.") and plain[0][1].isdigit():
        first, headers = plain
        version, status, reason = first[0], int(first[1]), first[2] if len(first) > 2 else b""
    else:
        event = _event(h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT), raw, to_client=True)
        if not isinstance(event, h11.Response | h11.InformationalResponse):
            raise NotHttp(raw, to_client=True)
        version, status, reason = b"HTTP/" + event.http_version, event.status_code, bytes(event.reason)
        headers = list(event.headers)
    bodiless = request.method == "HEAD" or status in (204, 304) or status < 200
    framing, length = ("none", 0) if bodiless else _framing(headers, default="close")
    return Message(
        raw=raw,
        headers=headers,
        framing=framing,
        length=length,
        keep_alive=_keeps(headers, version),
        status=status,
        reason=reason,
    )


_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_DECIDE = (b"content-length", b"transfer-encoding")


def _plain_head(raw: bytes) -> tuple[list[bytes], Headers] | None:
    """First line and headers of a head without anything odd in it; h11, ten times slower, judges all others."""
    first, *lines = raw[:-4].split(b"\r\n")
    headers: Headers = []
    framing = 0
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name) or b"\n" in value or b"\0" in value:
            return None
        name = name.lower()
        framing += name in _DECIDE
        headers.append((name, value.strip(b" \t")))
    lengths = [value for name, value in headers if name == b"content-length"]
    if framing > 1 or any(not value.isdigit() for value in lengths):
        return None
    return first.split(b" ", 2), headers


def _event(machine: h11.Connection, raw: bytes, *, to_client: bool) -> Any:
    machine.receive_data(raw)
    try:
        return machine.next_event()
    except h11.ProtocolError:
        raise NotHttp(raw, to_client=to_client) from None


def _framing(headers: Headers, *, default: str) -> tuple[str, int]:
    values = dict(headers)
    if b"chunked" in values.get(b"transfer-encoding", b"").lower():
        return "chunked", 0
    if b"content-length" in values:
        return "length", int(values[b"content-length"])
    return default, 0


def _keeps(headers: Headers, version: bytes) -> bool:
    connection = b",".join(value for name, value in headers if name == b"connection").lower()
    return b"close" not in connection and (version >= b"HTTP/1.1" or b"keep-alive" in connection)


async def _body(reader: asyncio.StreamReader, message: Message, left: int | None = None) -> AsyncIterator[bytes]:
    """The body's bytes as they came, chunk framing included; raises IncompleteReadError when it ends early."""
    if message.framing == "length":
        left = message.length if left is None else left
        while left > 0:
            data = await reader.read(min(left, READ))
            if not data:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(data)
            yield data
    elif message.framing == "close":
        while data := await reader.read(READ):
            yield data
    elif message.framing == "chunked":
        async for data in _chunks(reader):
            yield data


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        size_line = await reader.readuntil(b"\n")
        yield size_line
        try:
            left = int(size_line.split(b";")[0], 16)
        except ValueError:
            raise NotHttp(b"", to_client=True) from None
        if left == 0:
            break
        left += 2
        while left > 0:
            data = await reader.read(min(left, READ))
            if not data:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(data)
            yield data
    while True:
        trailer = await reader.readuntil(b"\n")
        yield trailer
        if trailer in (b"\r\n", b"\n"):
            return


def _unchunked(raw: bytes) -> bytes:
    parts = []
    at = 0
    while True:
        end = raw.index(b"\n", at)
        size = int(raw[at:end].split(b";")[0], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(raw[end + 1 : end + 1 + size])
        at = end + 1 + size + 2


async def _relay_both(client: End, server: End) -> None:
    """What could not be followed goes through untouched."""

    async def one_way(source: End, target: End) -> None:
        while data := await source.reader.read(READ):
            await target.put(data)
        with contextlib.suppress(OSError):  # the other side is gone already: nobody is left to hear the end
            if target.writer.can_write_eof():
                target.writer.write_eof()

    await asyncio.gather(one_way(client, server), one_way(server, client))
