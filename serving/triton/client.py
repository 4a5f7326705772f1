"""A thin client of one Triton server: its repository, and the generate extension for inference.

Over HTTP on purpose. On gRPC streams server 2.51 keeps the last request of each stream, and with it the
model: unloading then never ends (docs/decisions/030-serving.md).
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ...core.errors import BackendError
from ..server import Completion, Generation, ServerDown
from .access import SOCKET_NAME, RemoteAccess, TritonAccess
from .questions import OwnQuestion, TritonQuestion, outputs_of
from .socket_pool import SocketPool

if TYPE_CHECKING:
    import aiohttp

_CALL_S = 5.0
_INDEX_S = 30.0  # the server lists its repository for it, which may lie in an object store
_POLL_S = 0.02
_CONNECTIONS = 512


class TritonClient:
    """Repository and inference of a server, on a socket or elsewhere; made in the event loop that uses it.

    On aiohttp alone: tritonclient speaks to TCP ports only. No redirect is followed: it would get the secret.
    """

    def __init__(self, access: TritonAccess | RemoteAccess) -> None:
        self._access = access
        self._folder = -1  # of the socket
        self._is_closed = False
        if isinstance(access, TritonAccess):
            self._folder = os.open(access.folder, os.O_PATH | os.O_DIRECTORY)
        self._sessions: dict[str, aiohttp.ClientSession] = {}  # one a model, so that one can be given up
        self._pools: dict[str, SocketPool] = {}  # for whole answers, likewise

    @property
    def socket_path(self) -> str:
        """The server's socket by its folder's descriptor: a path of more than 107 characters is refused."""
        return f"/proc/self/fd/{self._folder}/{SOCKET_NAME}"

    async def close(self) -> None:
        """End the connections; whoever waits for an answer gets ServerDown."""
        for name in {*self._sessions, *self._pools}:
            await self.drop(name)
        self._is_closed = True
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    async def drop(self, name: str) -> None:
        """Give everyone who waits for an answer of a model ServerDown: a dead stub never answers."""
        if (pool := self._pools.pop(name, None)) is not None:
            pool.close()
        if (session := self._sessions.pop(name, None)) is not None:
            await session.close()

    def _pool(self, name: str) -> SocketPool:
        if self._folder < 0:
            raise ServerDown("the connection to Triton is closed")
        if name not in self._pools:
            self._pools[name] = SocketPool(self.socket_path, self._access.headers)
        return self._pools[name]

    def _session(self, name: str) -> aiohttp.ClientSession:
        import aiohttp

        if self._is_closed:
            raise ServerDown("the connection to Triton is closed")
        if name not in self._sessions:
            connector = (
                aiohttp.TCPConnector(limit=_CONNECTIONS)
                if isinstance(self._access, RemoteAccess)
                else aiohttp.UnixConnector(self.socket_path, limit=_CONNECTIONS)
            )
            self._sessions[name] = aiohttp.ClientSession(
                self._access.url,
                headers=self._access.headers,
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CALL_S),
            )
        return self._sessions[name]

    async def _manage(
        self, method: str, path: str, doing: str, timeout_s: float = _CALL_S, body: Any = None
    ) -> Any:
        """One call with a clock: ServerDown when nobody answers, BackendError when Triton refuses."""
        import aiohttp

        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session("").request(method, f"/v2{path}", json=body, allow_redirects=False) as reply,
            ):
                found = json.loads(await reply.read() or b"{}")
        except TimeoutError as error:
            raise ServerDown(f"Triton gave no answer ({doing}) within {timeout_s:.0f} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ServerDown(f"Triton is gone ({doing}): {error}") from error
        except ValueError as error:
            raise BackendError(f"Triton's answer ({doing}) cannot be read: {error}") from error
        if reply.status != HTTPStatus.OK:
            raise BackendError(f"Triton refused {doing}: {found.get('error', reply.status)}")
        return found

    async def live(self, timeout_s: float = _CALL_S) -> bool:
        """Whether the server answers at all, in time."""
        try:
            await self._manage("GET", "/health/live", "a sign of life", timeout_s)
        except BackendError:
            return False
        return True

    async def version(self) -> str:
        """The server's version, as it tells it."""
        return str((await self._manage("GET", "", "its version"))["version"])

    async def load(self, name: str, timeout_s: float) -> None:
        """Load a model; BackendError with Triton's reason, and no waiting for ever on a stub that died."""
        await self._manage("POST", f"/repository/models/{name}/load", f"loading {name}", timeout_s, {})

    async def unload(self, name: str, timeout_s: float) -> None:
        """Unload a model and wait until the repository says it is gone: Triton answers before that."""
        await self._manage("POST", f"/repository/models/{name}/unload", f"unloading {name}", timeout_s, {})
        deadline = time.monotonic() + timeout_s
        while (await self.index()).get(name, ("UNAVAILABLE", 0, ""))[0] != "UNAVAILABLE":
            if time.monotonic() > deadline:
                raise BackendError(f"Triton did not unload {name} within {timeout_s:.0f} s")
            await asyncio.sleep(_POLL_S)

    async def index(self) -> dict[str, tuple[str, int, str]]:
        """State, version and reason of every model in the repository, by name."""
        rows = await self._manage("POST", "/repository/index", "its repository index", _INDEX_S, body={})
        return {
            row["name"]: (row.get("state", "UNAVAILABLE"), int(row.get("version", 0)), row.get("reason", ""))
            for row in rows
        }

    async def stated(self, name: str) -> dict[str, str]:
        """The parameters of a model's config, as the server has loaded it."""
        found = await self._manage("GET", f"/models/{name}/config", f"the config of {name}")
        told = found.get("parameters") or {}
        return {key: str(one.get("string_value", "")) for key, one in told.items()}

    async def infer(self, name: str, ask: Generation | TritonQuestion) -> Completion:
        """The whole answer; PromptError for a wrong prompt, ServerDown when healing may help."""
        path = f"/v2/models/{name}/generate"
        question = OwnQuestion(ask) if isinstance(ask, Generation) else ask
        if isinstance(self._access, TritonAccess):
            _, reply = await self._pool(name).post(path, question.body(), question.headers)
        else:
            reply = await self._post(name, path, question)
        for answer in question.pieces(reply, streaming=False):
            if isinstance(answer, Completion):
                return answer
        raise BackendError(f"Triton's model {name} answered a whole question in pieces")

    async def _post(self, name: str, path: str, question: TritonQuestion) -> bytes:
        """The body of a whole answer of a server elsewhere."""
        import aiohttp

        try:
            session, headers = self._session(name), question.headers
            async with session.post(
                path, data=question.body(), headers=headers, allow_redirects=False
            ) as reply:
                return await reply.read()
        except (aiohttp.ClientError, OSError) as error:
            raise ServerDown(f"Triton is gone: {error}") from error

    async def stream(self, name: str, ask: Generation | TritonQuestion) -> AsyncIterator[str | Completion]:
        """Pieces as the engine makes them, then the Completion; closing stops the engine."""
        question = OwnQuestion(ask) if isinstance(ask, Generation) else ask
        async with aclosing(self._events(name, question)) as events:
            async for event in events:
                for piece in question.pieces(event):
                    yield piece
                    if isinstance(piece, Completion):
                        return
        raise ServerDown("Triton ended the answer before its end")

    async def _events(self, name: str, question: TritonQuestion) -> AsyncGenerator[bytes]:
        """The documents of a streamed answer; ServerDown when it breaks off."""
        import aiohttp

        url, body, rest = f"/v2/models/{name}/generate_stream", question.body(streaming=True), b""
        try:
            async with self._session(name).post(
                url, data=body, headers=question.headers, allow_redirects=False
            ) as reply:
                async for data in reply.content.iter_any():
                    *events, rest = (rest + data).split(b"\n\n")
                    for event in events:
                        yield event.removeprefix(b"data: ")
                if rest:
                    outputs_of(rest)  # an error before the first event comes as bare JSON
        except (aiohttp.ClientError, OSError) as error:
            raise ServerDown(f"Triton's answer broke off: {error}") from error
