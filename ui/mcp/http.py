"""MCP over HTTP on 127.0.0.1: a guard before the SDK's application, which knows hosts, origins and tokens.

The SDK's own lists take patterns such as `localhost:*`, which match by their beginning; here every name is
held against a list in full.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from ...agents.worker import Worker
from ...core.errors import AskError, NeedsError, OpswrightError
from ...core.registry import Registry
from ...core.workspace import Workspace
from .callers import TokenCallers
from .following import RunWorker
from .server import build_server
from .sessions import MOST_EACH, TokenSessions
from .tokens import McpTokenStore

PATH = "/mcp"
MOST_BODY_BYTES = 1 << 20
IDLE_S = 1800.0
_MOST_SESSIONS = 100
_SESSION = b"mcp-session-id"
_WITHOUT_SESSIONS = "2026-07-28"  # from this version of the protocol on

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


class McpGuard:
    """An ASGI application in front of another: only our names, no page of others, and a valid token."""

    def __init__(self, app: Asgi, store: McpTokenStore, hosts: Iterable[str], origins: Iterable[str]) -> None:
        self._app = app
        self._store = store
        self._hosts = frozenset(hosts)
        self._origins = frozenset(origins)
        self._sessions = TokenSessions(IDLE_S)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        hosts, origins = _headers(scope, b"host"), _headers(scope, b"origin")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            await refuse(send, 421, "this server has another name; see allowed_hosts in [mcp]")
        elif len(origins) > 1 or any(one not in self._origins for one in origins):
            await refuse(send, 403, "pages of this origin may not call it; see allowed_origins in [mcp]")
        elif scope["path"] != PATH:
            await refuse(send, 404, f"there is nothing here: the server is at {PATH}")
        elif (user := await self._user(scope)) is None:
            await refuse(send, 401, "a valid bearer token is needed: opswright mcp token create NAME")
        else:
            scope["user"] = user
            await self._pass_on(scope, receive, send, user.access_token.client_id)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, token: str) -> None:
        """Pass a request on, unless it would be one session too many of its token."""
        session = next(iter(_headers(scope, _SESSION)), None)
        version = next(iter(_headers(scope, b"mcp-protocol-version")), "")
        if session is not None:
            self._sessions.used(token, session)
        elif version < _WITHOUT_SESSIONS and not self._sessions.may_open(token):
            await refuse(send, 429, f"this token has {MOST_EACH} sessions open: close one (DELETE)")
            return

        async def told(message: MutableMapping[str, Any]) -> None:
            given = [value.decode("latin-1") for key, value in message.get("headers", ()) if key == _SESSION]
            if session is None and given:
                self._sessions.opened(token, given[0])
            elif session is not None and scope["method"] == "DELETE" and message.get("status") == 200:
                self._sessions.closed(token, session)
            await send(message)

        await self._app(scope, receive, told)

    async def _user(self, scope: Scope) -> Any:
        """Whose token the request brings, as the SDK knows users; None for none."""
        from anyio.to_thread import run_sync
        from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
        from mcp.server.auth.provider import AccessToken

        given = _headers(scope, b"authorization")
        kind, _, text = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        if kind.lower() != "bearer":
            return None
        try:
            token = await run_sync(self._store.find, text.strip())
        except OpswrightError:  # a file of tokens that cannot be trusted lets nobody in
            return None
        if token is None:
            return None
        return AuthenticatedUser(AccessToken(token="", client_id=token.id, scopes=[], subject=token.name))


def http_app(
    workspace: Workspace,
    registry: Registry,
    port: int,
    make_worker: Callable[[Workspace], RunWorker] = Worker,
) -> Asgi:
    """The guarded ASGI application for a port of 127.0.0.1."""
    from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
    from mcp.server.transport_security import TransportSecuritySettings

    settings = workspace.settings.mcp
    refuse_patterns((*settings.allowed_hosts, *settings.allowed_origins))
    hosts = [f"127.0.0.1:{port}", f"localhost:{port}", *settings.allowed_hosts]
    server = build_server(workspace, registry, TokenCallers(workspace), make_worker)
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=MOST_BODY_BYTES,
        max_sessions=_MOST_SESSIONS,
        session_idle_timeout=IDLE_S,
        transport_security=TransportSecuritySettings(
            allowed_hosts=hosts, allowed_origins=list(settings.allowed_origins)
        ),
    )
    return McpGuard(AuthContextMiddleware(app), McpTokenStore(workspace), hosts, settings.allowed_origins)


def refuse_patterns(names: Iterable[str]) -> None:
    """AskError for a name that is a pattern: each is taken in full."""
    for name in names:
        if "*" in name or not name.strip():
            raise AskError(f"invalid name {name!r} in [mcp]: hosts and origins are given in full.")


def serve_http(workspace: Workspace, registry: Registry, port: int, ready: Callable[[str], None]) -> None:
    """Serve until interrupted; `ready` gets the address. NeedsError when nobody has a token."""
    import uvicorn

    if not any(token.revoked is None for token in McpTokenStore(workspace).tokens().values()):
        raise NeedsError(
            "nobody has a token, so nobody could call this server. Make one: opswright mcp token create NAME"
        )
    # named TCP: asyncio sends at once (TCP_NODELAY) only on what it knows for TCP; an answer takes 40 ms less
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        taken = listening.getsockname()[1]
        app: Any = http_app(workspace, registry, taken)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=5
        )
        listening.listen(128)
        ready(f"http://127.0.0.1:{taken}{PATH}")
        uvicorn.Server(config).run(sockets=[listening])


async def refuse(send: Send, status: int, message: str) -> None:
    """A refusal in words, as JSON."""
    body = json.dumps({"error": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer error="invalid_token"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]
