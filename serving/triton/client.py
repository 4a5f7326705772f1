"""A thin client of one Triton server: its repository, and the generate extension for inference.

Over HTTP on purpose. On gRPC streams server 2.51 keeps the last request of each stream, and with it the
model: unloading then never ends (docs/decisions/030-serving.md).
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from ...core.errors import BackendError
from ...engines import PromptError, TextPiece
from ..server import Completion, Generation, ServerDown
from .access import SOCKET_NAME, RemoteAccess, TritonAccess
from .socket_pool import SocketPool

if TYPE_CHECKING:
    import aiohttp

_GONE = ("not healthy", "Stub process", "is not ready", "unknown model", "not found", "unloading")
_CALL_S = 5.0
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

    async def live(self) -> bool:
        """Whether the server answers at all."""
        try:
            await self._manage("GET", "/health/live", "a sign of life")
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
        rows = await self._manage("POST", "/repository/index", "its repository index", body={})
        return {
            row["name"]: (row.get("state", "UNAVAILABLE"), int(row.get("version", 0)), row.get("reason", ""))
            for row in rows
        }

    async def infer(self, name: str, ask: Generation) -> Completion:
        """The whole answer; PromptError for a wrong prompt, ServerDown when healing may help."""
        path = f"/v2/models/{name}/generate"
        if isinstance(self._access, TritonAccess):
            _, reply = await self._pool(name).post(path, _body(ask), ask.trace_headers)
        else:
            reply = await self._post(name, path, ask)
        answer = _piece(reply)
        if isinstance(answer, str):
            raise BackendError(f"Triton's model {name} answered a whole question in pieces")
        return answer

    async def _post(self, name: str, path: str, ask: Generation) -> bytes:
        """The body of a whole answer of a server elsewhere."""
        import aiohttp

        try:
            session, headers = self._session(name), ask.trace_headers
            async with session.post(path, data=_body(ask), headers=headers, allow_redirects=False) as reply:
                return await reply.read()
        except (aiohttp.ClientError, OSError) as error:
            raise ServerDown(f"Triton is gone: {error}") from error

    async def stream(self, name: str, ask: Generation) -> AsyncIterator[str | Completion]:
        """Pieces as the engine makes them, then the Completion; closing stops the engine."""
        import aiohttp

        url, body, rest = f"/v2/models/{name}/generate_stream", _body(ask, streaming=True), b""
        try:
            async with self._session(name).post(
                url, data=body, headers=ask.trace_headers, allow_redirects=False
            ) as reply:
                async for data in reply.content.iter_any():
                    *events, rest = (rest + data).split(b"\n\n")
                    for event in events:
                        piece = _piece(event.removeprefix(b"data: "))
                        yield piece
                        if isinstance(piece, Completion):
                            return
                if rest:
                    _piece(rest)  # an error before the first event comes as bare JSON
        except (aiohttp.ClientError, OSError) as error:
            raise ServerDown(f"Triton's answer broke off: {error}") from error
        raise ServerDown("Triton ended the answer before its end")


def _body(ask: Generation, *, streaming: bool = False) -> bytes:
    """The generate extension's JSON for one generation; what the engine does by default is left out."""
    prompt = {"text_input": ask.text} if ask.text else {"messages": ask.messages}
    fields: dict[str, Any] = {**prompt, "sampling_param_max_tokens": ask.max_tokens}
    fields.update(
        (name, value) for name, value in (("tools", ask.tools), ("json_schema", ask.json_schema)) if value
    )
    if ask.top_logprobs is not None:
        fields["top_logprobs"] = ask.top_logprobs
    if streaming:
        fields["streaming"] = True
    if ask.temperature > 0:
        fields["sampling_param_temperature"] = ask.temperature
        fields["sampling_param_top_k"] = ask.top_k
        fields["sampling_param_top_p"] = ask.top_p
        fields["sampling_param_seed"] = ask.seed
    if ask.stop:
        fields["sampling_param_stop"] = json.dumps(ask.stop)
    return to_json(fields)


def _piece(data: bytes) -> str | Completion:
    """A reply's JSON: a piece of text, or the end of the answer. An error may come with status 200.

    Raises PromptError when the prompt is at fault, ServerDown when healing may help, else BackendError.
    """
    try:
        found = json.loads(data)
    except ValueError as error:  # of something between us and the server
        raise ServerDown(f"Triton's answer cannot be read: {data[:80]!r}") from error
    if "error" in found:
        message = str(found["error"])
        if found.get("finish_reason") == "wrong prompt":
            raise PromptError(message)
        family = ServerDown if any(mark in message for mark in _GONE) else BackendError
        raise family(f"Triton's model failed: {message}")
    if "finish_reason" not in found:
        return TextPiece(str(found["text_output"]), json.loads(found.get("logprobs") or "[]"))
    return Completion(
        text=found["text_output"],
        finish_reason=found["finish_reason"],
        tokens_in=int(found["num_input_tokens"]),
        tokens_out=int(found["num_output_tokens"]),
        release=found["release"],
        logprobs=tuple(json.loads(found.get("logprobs") or "[]")),
    )
