"""Kept connections to a server's socket: answers whole or not at all, and never another request's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from opswright.serving.server import ServerDown
from opswright.serving.triton.socket_pool import SocketPool

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PATIENCE_S = 240.0


async def request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The next request's head and body; IncompleteReadError once the client hung up."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head, await reader.readexactly(length)


def in_front_of(tmp_path: Path, talk: Talk, story: Callable[[SocketPool], Awaitable[None]]) -> None:
    """Run a story with a pool before a server that talks like that on each connection."""
    path = str(tmp_path / "s")

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def run() -> None:
        async with asyncio.timeout(PATIENCE_S), await asyncio.start_unix_server(answered, path):
            pool = SocketPool(path, {"secret": "s3"})
            await story(pool)
            pool.close()

    asyncio.run(run())


def answering(*parts: bytes) -> Talk:
    """Answers each request with these bytes, some of them later than others."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.001)

    return talk


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        (HEAD + b'Content-Length: 7\r\n\r\n{"a":1}',),
        (HEAD, b"content-length:7\r\n", b'\r\n{"a"', b":1}"),
        (HEAD + b'Transfer-Encoding: chunked\r\n\r\n7\r\n{"a":1}\r\n0\r\n\r\n',),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b'3\r\n{"a\r\n4\r\n', b'":1}\r\n', b"0\r\n\r\n"),
    ],
)
def test_an_answer_in_whatever_parts_is_put_together(tmp_path: Path, parts: tuple[bytes, ...]) -> None:
    async def story(pool: SocketPool) -> None:
        assert [await pool.post("/x", b"1") for _ in range(3)] == [(200, b'{"a":1}')] * 3

    in_front_of(tmp_path, answering(*parts), story)


def test_a_chunk_that_looks_like_the_end_is_none(tmp_path: Path) -> None:
    async def story(pool: SocketPool) -> None:
        assert await pool.post("/x", b"1") == (400, b"a0\r\n\r\nb")

    head = b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n"
    in_front_of(tmp_path, answering(head + b"7\r\na0\r\n\r\n", b"b\r\n0\r\n\r\n"), story)


@pytest.mark.parametrize(
    "parts",
    [
        (b"nonsense\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\n\r\nof no length",),
        (HEAD + b"Content-Length: 1\r\n\r\nmore",),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n0\r\n\r\n",),
        (b"x" * 70_000,),
    ],
)
def test_what_is_no_answer_ends_the_connection(tmp_path: Path, parts: tuple[bytes, ...]) -> None:
    connections = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await answering(*parts)(reader, writer)

    async def story(pool: SocketPool) -> None:
        for _ in range(2):
            with pytest.raises(ServerDown, match="cannot be read"):
                await pool.post("/x", b"1")

    in_front_of(tmp_path, talk, story)
    assert len(connections) == 2


def test_who_is_cancelled_hangs_up_and_the_next_one_gets_an_answer_of_their_own(tmp_path: Path) -> None:
    came, hung_up = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                _, body = await request(reader)
                if body == b"slow":
                    came.set()
                    await reader.readexactly(1)
                writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        except asyncio.IncompleteReadError:
            hung_up.set()

    async def story(pool: SocketPool) -> None:
        slow = asyncio.create_task(pool.post("/x", b"slow"))
        await came.wait()
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
        assert await pool.post("/x", b"mine") == (200, b"mine")
        await hung_up.wait()

    in_front_of(tmp_path, talk, story)


def test_a_connection_is_used_again_and_a_closed_one_is_not(tmp_path: Path) -> None:
    connections = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        for _ in range(2):  # then it hangs up
            await request(reader)
            writer.write(HEAD + b"Content-Length: 2\r\n\r\nok")

    async def story(pool: SocketPool) -> None:
        for number in range(6):
            assert await pool.post("/x", b"1") == (200, b"ok")
            while number % 2 and pool.idle:  # until it has heard that the other side hung up
                await asyncio.sleep(0)

    in_front_of(tmp_path, talk, story)
    assert len(connections) == 3


def test_what_nobody_asked_for_is_not_the_beginning_of_the_next_answer(tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await request(reader)
            writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
            await asyncio.sleep(0.001)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n")

    async def story(pool: SocketPool) -> None:
        for body in (b"first", b"other"):
            assert await pool.post("/x", body) == (200, body)
            for _ in range(100_000):  # both sides run in this loop
                if pool.idle:
                    await asyncio.sleep(0)
            assert pool.idle == 0

    in_front_of(tmp_path, talk, story)


def test_who_waits_when_the_pool_is_closed_or_the_server_dies_is_told(tmp_path: Path) -> None:
    came = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await request(reader)
        came.set()
        if body == b"wait":
            await reader.readexactly(1)

    async def story(pool: SocketPool) -> None:
        with pytest.raises(ServerDown, match="gone"):
            await pool.post("/x", b"die")
        came.clear()
        waiting = asyncio.create_task(pool.post("/x", b"wait"))
        await came.wait()
        pool.close()
        with pytest.raises(ServerDown, match="closed"):
            await waiting

    in_front_of(tmp_path, talk, story)


def test_nobody_behind_the_socket_is_a_server_that_is_down(tmp_path: Path) -> None:
    with pytest.raises(ServerDown, match="gone"):
        asyncio.run(SocketPool(str(tmp_path / "none"), {}).post("/x", b"1"))
