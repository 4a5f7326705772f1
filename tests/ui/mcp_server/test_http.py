"""MCP over HTTP: exact names, tokens, one principal a session, and a limit to what is read."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
import uvicorn
from mcp.shared.exceptions import MCPError

from opswright.core.errors import AskError
from opswright.ui.mcp.http import McpGuard, http_app, refuse_patterns
from opswright.ui.mcp.sessions import MOST_EACH, TokenSessions
from opswright.ui.mcp.tokens import McpTokenStore

from .bench import McpBench, ThreadWorker

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "raw", "version": "0"},
    },
}


class HttpBench:
    """A server on a port of its own, and raw requests to it."""

    def __init__(self, bench: McpBench, port: int) -> None:
        self.bench = bench
        self.port = port
        self.store = McpTokenStore(bench.workspace)
        self.ada = self.store.create("ada", "releaser", attended=True)
        self.url = f"http://127.0.0.1:{port}/mcp"

    def post(
        self,
        body: Any = INITIALIZE,
        token: str | None = "",
        host: str | None = None,
        path: str = "/mcp",
        **headers: str,
    ) -> tuple[int, dict[str, str], str]:
        """One raw request; `token` empty: ada's."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.putrequest("POST", path, skip_host=True)
        given = {
            "Host": host if host is not None else f"127.0.0.1:{self.port}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "Content-Length": str(len(data)),
            **({} if token is None else {"Authorization": f"Bearer {token or self.ada.text}"}),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        for name, value in given.items():
            connection.putheader(name, value)
        connection.endheaders()
        with suppress(OSError):  # it may answer, and close, before it has all of a body that it does not want
            connection.send(data)
        response = connection.getresponse()
        text = response.read(4_000).decode(errors="replace") if response.status != 200 else ""
        found = (response.status, {k.lower(): v for k, v in response.getheaders()}, text)
        connection.close()
        return found

    @asynccontextmanager
    async def client(self, token: str, **options: Any) -> AsyncIterator[Any]:
        """The official client with a token."""
        import httpx2
        from mcp import Client
        from mcp.client.streamable_http import streamable_http_client

        headers = {"Authorization": f"Bearer {token}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as bearer,
            Client(streamable_http_client(self.url, http_client=bearer), **options) as client,
        ):
            yield client


@pytest.fixture
def server(bench: McpBench, free_port: Callable[[], int]) -> Iterator[HttpBench]:
    port = free_port()
    made = HttpBench(bench, port)
    app: Any = http_app(
        bench.workspace, bench.registry, port, lambda workspace: ThreadWorker(workspace, bench.registry)
    )
    running = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=running.run)
    thread.start()
    with ExitStack() as ends:
        ends.callback(thread.join)
        ends.callback(setattr, running, "should_exit", True)
        while thread.is_alive() and not running.started:
            threading.Event().wait(0.02)
        yield made


def answer(result: Any) -> dict[str, Any]:
    return dict(result.structured_content)


def test_only_the_servers_exact_names_are_answered(server: HttpBench) -> None:
    """DNS rebinding: a page whose name was made to mean 127.0.0.1 sends its own name."""
    port = server.port
    assert server.post()[0] == 200 and server.post(host=f"localhost:{port}")[0] == 200
    for host in (
        "127.0.0.1.evil.example",
        f"127.0.0.1.evil.example:{port}",
        "localhost:x.evil.example",
        "localhost",
        f"localhost:{port + 1}",
        f"localhost:{port}.evil.example",
        f"127.0.0.1:{port}@evil.example",
        f"127.0.0.1:0{port}",
        f"[::1]:{port}",
        f"0.0.0.0:{port}",
        f"LOCALHOST:{port} ",
        "",
    ):
        status, _, text = server.post(host=host)
        assert status in (400, 421), (host, status, text)


def test_no_page_of_another_origin_may_call_not_even_one_of_localhost(server: HttpBench) -> None:
    for origin in (
        "http://localhost.evil.example",
        "http://localhost:1@evil.example",
        f"http://localhost:{server.port}",
        f"http://127.0.0.1:{server.port}.evil.example",
        "null",
        "https://evil.example",
    ):
        assert server.post(Origin=origin)[0] == 403, origin


def test_the_guard_compares_names_in_full_before_anything_else_looks(server: HttpBench) -> None:
    """The SDK compares names too; this is the guard before an application that takes everything."""
    own, origin = b"127.0.0.1:1", b"https://own.example"

    async def ask(*headers: tuple[bytes, bytes]) -> int:
        seen: list[int] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append(200)

        async def send(message: Any) -> None:
            seen.append(message.get("status", 0))

        guard = McpGuard(app, server.store, [own.decode()], [origin.decode()])
        bearer = (b"authorization", f"Bearer {server.ada.text}".encode())
        await guard({"type": "http", "path": "/mcp", "headers": [*headers, bearer]}, None, send)  # type: ignore[arg-type]
        return seen[0]

    async def main() -> None:
        for other in (
            b"127.0.0.1.evil.example",
            b"127.0.0.1:1.evil.example",
            b"127.0.0.1",
            b"127.0.0.1:12",
            b"",
        ):
            assert await ask((b"host", other)) == 421, other
        assert await ask() == await ask((b"host", own), (b"host", b"evil.example")) == 421
        assert await ask((b"host", own)) == await ask((b"host", own), (b"origin", origin)) == 200
        for page in (b"https://own.example.evil", b"https://own.example:444", b"http://own.example", b"null"):
            assert await ask((b"host", own), (b"origin", page)) == 403, page
        assert await ask((b"host", own), (b"origin", origin), (b"origin", b"https://evil.example")) == 403

    anyio.run(main)
    with pytest.raises(AskError, match="in full"):
        refuse_patterns(["http://localhost:*"])


def test_without_a_valid_token_nothing_is_told(server: HttpBench) -> None:
    wrong = server.ada.text[:-1] + ("A" if server.ada.text[-1] != "A" else "B")
    for token in (None, "x", wrong, server.ada.token.hash, "opsmcp_" + server.ada.token.id + "_" + "A" * 43):
        status, headers, text = server.post(token=token)
        assert status == 401 and "bearer" in headers["www-authenticate"].lower() and "tools" not in text
    assert server.post(path="/mcp?token=" + server.ada.text, token=None)[0] == 401
    assert server.post(path="/other")[0] == 404
    assert server.ada.text not in (server.bench.workspace.root / "mcp-tokens.json").read_text()


def test_a_token_that_is_revoked_opens_nothing_from_then_on(server: HttpBench) -> None:
    async def main() -> None:
        async with server.client(server.ada.text, mode="legacy") as client:
            assert await client.list_tools()
            server.store.revoke("ada")
            with pytest.raises(MCPError):
                await client.list_tools(cache_mode="bypass")

    anyio.run(main)
    assert server.post()[0] == 401


def test_bodies_of_ten_megabytes_are_refused_unread(server: HttpBench) -> None:
    big = {**INITIALIZE, "params": {**INITIALIZE["params"], "pad": "x" * 10_000_000}}  # type: ignore[dict-item]
    assert server.post(big)[0] == 413


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[]", b"\xff\xfe", b'{"jsonrpc":"2.0"}', b"[" * 20_000, b'{"jsonrpc":"1.0","id":1}'],
)
def test_what_is_no_message_is_refused_and_the_server_goes_on(server: HttpBench, body: bytes) -> None:
    assert 400 <= server.post(body)[0] < 500
    assert server.post()[0] == 200


def test_an_unknown_protocol_version_is_refused_or_answered_with_one_that_is_known(server: HttpBench) -> None:
    assert 400 <= server.post(MCP_Protocol_Version="1999-01-01")[0] < 500
    asked = {**INITIALIZE, "params": {**INITIALIZE["params"], "protocolVersion": "1999-01-01"}}  # type: ignore[dict-item]
    assert server.post(asked)[0] == 200  # the handshake names the newest one that both may speak


def test_a_session_is_its_principals_alone(server: HttpBench) -> None:
    eve = server.store.create("eve", "releaser")
    status, headers, _ = server.post()
    session = headers["mcp-session-id"]
    listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    assert status == 200
    assert server.post(listing, Mcp_Session_Id=session)[0] == 200
    assert server.post(listing, token=eve.text, Mcp_Session_Id=session)[0] == 404
    twin = server.store.create("ada", "viewer")  # the same name is not the same principal
    assert server.post(listing, token=twin.text, Mcp_Session_Id=session)[0] == 404


def test_two_clients_at_once_each_act_as_themselves(server: HttpBench) -> None:
    bob = server.store.create("bob", "releaser", attended=True)
    plans: dict[str, dict[str, Any]] = {}

    async def act(name: str, token: str, least: int) -> None:
        person = server.bench.person()
        async with server.client(token, elicitation_callback=person) as client:
            arguments = {"source": "lines.txt", "least_rows": least}
            plan = plans[name] = answer(await client.call_tool("collect", arguments))
            done = await client.call_tool("run_plan", {"plan_id": plan["plan"]})
            assert answer(done)["outcome"] == "done", answer(done)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(act, "ada", server.ada.text, 1)
            group.start_soon(act, "bob", bob.text, 2)

    anyio.run(main)
    for name, plan in plans.items():
        mine = [record for record in server.bench.records() if record.run == plan["run"]]
        assert {record.actor for record in mine} == {name}
        assert {record.authenticated_by.partition(" ")[0] for record in mine} == {"mcp"}


def test_a_role_that_the_policy_lost_opens_nothing(server: HttpBench) -> None:
    ghost = server.store.create("ghost", "conjurer")

    async def main() -> None:
        async with server.client(ghost.text) as client:
            refused = await client.call_tool("collect", {"source": "lines.txt"})
            assert refused.is_error and "unknown role" in answer(refused)["message"]

    anyio.run(main)


def test_the_server_listens_on_the_loopback_address_only(server: HttpBench) -> None:
    other = socket.gethostbyname(socket.gethostname())
    if other.startswith("127."):
        pytest.skip("this machine has no other address")
    with socket.socket() as probe:
        probe.settimeout(2)
        assert probe.connect_ex((other, server.port)) != 0


def test_one_callers_sessions_leave_room_for_the_others(server: HttpBench) -> None:
    opened = [server.post() for _ in range(MOST_EACH)]
    assert {status for status, _, _ in opened} == {200}
    status, _, text = server.post()
    assert status == 429 and "DELETE" in text
    for version in ("2025-11-25", "2026-07-28", "9999-99-99"):  # a word that a client says of itself
        assert "mcp-session-id" not in server.post(mcp_protocol_version=version)[1]
    other = server.store.create("bob", "viewer")
    assert server.post(token=other.text)[0] == 200
    assert server.post(token=other.text, mcp_session_id=opened[0][1]["mcp-session-id"])[0] == 404


def test_a_session_that_ended_makes_room_for_another() -> None:
    now = 0.0
    sessions = TokenSessions(100, lambda: now)
    for number in range(MOST_EACH):
        sessions.opened("ada", str(number))
    sessions.closed("bob", "0")  # not bob's
    sessions.used("bob", "1")
    assert not sessions.may_open("ada") and sessions.may_open("bob")
    sessions.closed("ada", "0")
    assert sessions.may_open("ada")
    sessions.opened("ada", "more")
    now = 60.0
    sessions.used("ada", "1")
    now = 120.0  # all but one were idle for too long
    for number in range(MOST_EACH - 1):
        assert sessions.may_open("ada")
        sessions.opened("ada", f"again {number}")
    assert not sessions.may_open("ada")
