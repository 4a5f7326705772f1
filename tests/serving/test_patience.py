"""Callers that leave, bodies and headers that do not come, answers that take too long."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from opswright.serving.gateway.traffic_log import TrafficRow, read
from opswright.serving.keys.store import Limits

if TYPE_CHECKING:
    from tests.serving.conftest import House

NEVER_S = 600.0  # longer than any test may take
PATIENCE_S = 240.0


@pytest.fixture
def served(house: House) -> House:
    house.rollout().deploy(house.bundle("one"), None, 100)
    return house


@pytest.fixture
def held(served: House) -> Iterator[House]:
    """A house whose engine answers nobody for now."""
    gate = asyncio.Event()
    served.server.gate = gate
    yield served
    served.loop.call_soon_threadsafe(gate.set)


def rows(house: House) -> list[TrafficRow]:
    return read(house.workspace, "support")


def request(text: str = "hello", **fields: Any) -> bytes:
    body = json.dumps({"model": "support", "messages": [{"role": "user", "content": text}], **fields})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


@contextmanager
def connected(address: tuple[str, int]) -> Iterator[socket.socket]:
    with socket.create_connection(address, timeout=PATIENCE_S) as connection:
        yield connection


def all_of(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_that_leaves_is_noticed_its_work_cancelled_and_written_down_as_cancelled(
    held: House, stream: bool
) -> None:
    with held.on_a_socket() as address:
        with connected(address) as connection:
            connection.sendall(request(stream=stream))
            held.wait(lambda: len(held.server.asked) > 0, "the engine is asked")
        held.wait(lambda: len(rows(held)) == 1, "the request is written down while the engine still works")
        assert held.controller.in_flight == 0
    (row,) = rows(held)
    assert (row.status, row.finish) == ("cancelled", "cancelled")


def test_who_leaves_pays_what_was_held_for_the_work(held: House) -> None:
    made = held.keys.create("ada", limits=Limits(budget_tokens=10_000))
    head = f"Authorization: Bearer {made.text}\r\nContent-Length".encode()
    with held.on_a_socket() as address:
        with connected(address) as connection:
            connection.sendall(request().replace(b"Content-Length", head, 1))
            held.wait(lambda: len(held.server.asked) > 0, "the engine is asked")
        held.wait(lambda: len(rows(held)) == 1, "the request is written down")
    assert held.usage.used(made.key).tokens > 256


def test_an_answer_that_takes_longer_than_its_caller_would_wait_is_ended_with_504(held: House) -> None:
    reply = held.chat("hello", {"x-request-timeout": "0.05"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (504, "deadline")
    assert [(row.status, row.finish) for row in rows(held)] == [("cancelled", "cancelled")]
    assert held.controller.in_flight == 0


def test_the_gateways_own_deadline_holds_whatever_a_caller_asks_for(
    house: House, reopened: Callable[..., None]
) -> None:
    reopened(request_timeout_s=0.2)
    house.rollout().deploy(house.bundle("one"), None, 100, probes=())
    gate = asyncio.Event()
    house.server.gate = gate
    for wish in ("900", "soon", "-1", "nan"):
        assert house.chat("hello", {"x-request-timeout": wish}).status_code == 504
    assert {(row.status, row.finish) for row in rows(house)} == {("error", "error: DeadlineError")}
    house.loop.call_soon_threadsafe(gate.set)


def test_a_stream_that_takes_too_long_ends_with_an_error_event(held: House) -> None:
    release = asyncio.Event()

    async def half(name: str, ask: Any) -> Any:
        yield " half"
        await release.wait()

    held.server.stream = half  # type: ignore[method-assign]
    reply = held.chat("hello", {"x-request-timeout": "0.5"}, stream=True)
    held.loop.call_soon_threadsafe(release.set)
    assert reply.status_code == 200
    assert "half" in reply.text
    assert json.loads(reply.text.strip().rpartition("data: ")[2])["error"]["code"] == "deadline"
    assert rows(held)[-1].finish == "cancelled"


def test_a_body_that_does_not_come_is_answered_408(house: House, reopened: Callable[..., None]) -> None:
    reopened(body_timeout_s=0.2)
    with house.on_a_socket() as address, connected(address) as connection:
        connection.sendall(request()[:-5])
        said = all_of(connection)
    assert said.startswith(b"HTTP/1.1 408")
    assert b"request_timeout" in said


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: 127", b"GET /heal"])
def test_a_connection_that_sends_no_whole_headers_is_closed(
    house: House, reopened: Callable[..., None], sent: bytes
) -> None:
    reopened(headers_timeout_s=0.2)
    with house.on_a_socket() as address, connected(address) as connection:
        connection.sendall(sent)
        assert all_of(connection) == b""


def test_a_second_request_whose_headers_do_not_come_is_closed_too(
    house: House, reopened: Callable[..., None]
) -> None:
    reopened(headers_timeout_s=0.2)
    with house.on_a_socket() as address, connected(address) as connection:
        whole = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        connection.sendall(whole)
        connection.recv(65536)
        connection.sendall(whole[:20])
        assert b"HTTP/1.1 200" not in all_of(connection)


def test_headers_that_came_set_no_clock_on_the_answer(house: House, reopened: Callable[..., None]) -> None:
    reopened(headers_timeout_s=0.2)
    house.rollout().deploy(house.bundle("one"), None, 100, probes=())
    gate = asyncio.Event()
    house.server.gate = gate
    with house.on_a_socket() as address, connected(address) as connection:
        connection.sendall(request())
        house.wait(lambda: len(house.server.asked) > 0, "the engine is asked")
        house.run(asyncio.sleep(0.5))  # room for the clock to strike, if there were one
        house.loop.call_soon_threadsafe(gate.set)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_half_open_connections_do_not_stay_while_others_are_answered(
    house: House, reopened: Callable[..., None]
) -> None:
    reopened(headers_timeout_s=0.5)
    with house.on_a_socket() as address:
        idle = [socket.create_connection(address, timeout=PATIENCE_S) for _ in range(100)]
        for connection in idle:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: ")
        with connected(address) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            assert all_of(connection).startswith(b"HTTP/1.1 200")
        assert [all_of(connection) for connection in idle] == [b""] * 100
        for connection in idle:
            connection.close()
