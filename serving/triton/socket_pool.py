"""Whole answers over kept connections to a server's socket, at a fifth of what a general HTTP client costs.

It speaks as much HTTP/1.1 as Triton does when it answers in one piece: a status, a body of a length that is
told, or in chunks without trailers.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import cast

from ..server import ServerDown

_HEAD_ENDS = b"\r\n\r\n"
_MOST_HEAD_BYTES = 64 << 10
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})[ \r]")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+) *\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked *\r\n", re.IGNORECASE)
_LAST_CHUNK = b"0\r\n\r\n"


class SocketPool:
    """The connections to one socket; as many as requests are made at once."""

    def __init__(self, path: str, headers: Mapping[str, str]) -> None:
        self._path = path
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._fixed = f"Host: triton\r\nContent-Type: application/json\r\n{lines}Content-Length: "
        self._free: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._is_closed = False

    @property
    def idle(self) -> int:
        """How many connections wait for a request."""
        return sum(connection.is_open for connection in self._free)

    async def post(
        self, path: str, body: bytes, headers: Iterable[tuple[str, str]] = ()
    ) -> tuple[int, bytes]:
        """Status and body of the answer; ServerDown when none comes. Who is cancelled hangs up."""
        connection = self._take() or await self._connect()
        try:
            more = "".join(f"{name}: {value}\r\n" for name, value in headers)
            head = f"POST {path} HTTP/1.1\r\n{more}{self._fixed}{len(body)}\r\n\r\n"
            answer = await connection.ask(head.encode("latin-1") + body)
        except BaseException:
            self._all.discard(connection)
            connection.close()
            raise
        if not self._is_closed:
            self._free.append(connection)
        return answer

    def close(self) -> None:
        """End the connections; whoever waits for an answer gets ServerDown."""
        self._is_closed = True
        for connection in self._all:
            connection.close()
        self._all.clear()
        self._free.clear()

    def _take(self) -> _Connection | None:
        while self._free:
            connection = self._free.pop()
            if connection.is_open:
                return connection
            self._all.discard(connection)
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_unix_connection(_Connection, self._path)
        except OSError as error:
            raise ServerDown(f"Triton is gone: {error}") from error
        if self._is_closed:
            connection.close()
            raise ServerDown("the connection to Triton is closed")
        self._all.add(connection)
        return connection


class _Connection(asyncio.Protocol):
    """One request after another, each answered before the next is sent."""

    def __init__(self) -> None:
        self.is_open = False
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._received = b""

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and wait for its answer."""
        if self._transport is None or not self.is_open:
            raise ServerDown("Triton has closed the connection")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            self._answer = None

    def close(self) -> None:
        """Hang up; who waits gets ServerDown."""
        self.is_open = False
        self._fail("the connection to Triton was closed")
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """Put an answer together, and hand it over when it is whole."""
        if self._answer is None or self._answer.done():
            self._give_up(data)  # nobody asked for it
            return
        self._received = received = self._received + data if self._received else data
        head, ends, body = received.partition(_HEAD_ENDS)
        if not ends:
            if len(received) > _MOST_HEAD_BYTES:
                self._give_up(received)
            return
        status = _STATUS.match(head)
        try:
            whole = _body(head, body)
        except ValueError:
            status = whole = None
        if status is None:
            self._give_up(received)
        elif whole is not None:
            self._received = b""
            self._answer.set_result((int(status[1]), whole))

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self.is_open = False
        self._fail(f"Triton is gone: {error or 'it closed the connection'}")

    def _give_up(self, received: bytes) -> None:
        """Hang up on an answer that is none: what follows it would be read as the next one."""
        self._fail(f"Triton's answer cannot be read: {received[:80]!r}")
        self.close()

    def _fail(self, message: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ServerDown(message))


def _body(head: bytes, sent: bytes) -> bytes | None:
    """The body of an answer, once all of it was sent; ValueError for what is none."""
    fields = head + b"\r\n"
    if _CHUNKED.search(fields):
        return _joined(sent) if sent.endswith(_LAST_CHUNK) else None
    length = _LENGTH.search(fields)
    if length is None or len(sent) > int(length[1]):
        raise ValueError
    return sent if len(sent) == int(length[1]) else None


def _joined(chunks: bytes) -> bytes | None:
    """The bytes in chunks; None while the last one is not there: what looks like it may stand within one."""
    parts: list[bytes] = []
    at = 0
    while at < len(chunks):
        line_ends = chunks.index(b"\r\n", at)
        size, start = int(chunks[at:line_ends], 16), line_ends + 2
        at = start + size + 2
        if size == 0:
            if at != len(chunks):
                raise ValueError
            return b"".join(parts)
        parts.append(chunks[start : start + size])
    return None
