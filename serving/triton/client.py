"""A thin client of one Triton server: tritonclient for its repository, the generate extension for inference.

Over HTTP on purpose. On gRPC streams server 2.51 keeps the last request of each stream, and with it the
model: unloading then never ends (docs/decisions/030-serving.md).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, Any, TypeVar

from ...core.errors import AskError, BackendError
from ..server import Completion, Generation, ServerDown

if TYPE_CHECKING:
    import aiohttp

_GONE = ("not healthy", "Stub process", "is not ready", "unknown model", "not found", "unloading")
_CALL_S = 5.0
_POLL_S = 0.02
_CONNECTIONS = 512
T = TypeVar("T")


class TritonClient:
    """Repository, inference and statistics of a server on 127.0.0.1; made in the event loop that uses it."""

    def __init__(self, http: int, metrics: int, load_timeout_s: float = 120) -> None:
        from tritonclient.http.aio import InferenceServerClient

        self._api = InferenceServerClient(f"127.0.0.1:{http}", conn_timeout=load_timeout_s)
        self._models = f"http://127.0.0.1:{http}/v2/models"
        self._metrics_url = f"http://127.0.0.1:{metrics}/metrics"
        self._sessions: dict[str, aiohttp.ClientSession] = {}  # one a model, so that one can be given up

    async def close(self) -> None:
        """End the connections; whoever waits for an answer gets ServerDown."""
        for name in list(self._sessions):
            await self.drop(name)
        await self._api.close()

    async def drop(self, name: str) -> None:
        """Give everyone who waits for an answer of a model ServerDown: a dead stub never answers."""
        if (session := self._sessions.pop(name, None)) is not None:
            await session.close()

    def _session(self, name: str) -> aiohttp.ClientSession:
        import aiohttp

        if name not in self._sessions:
            self._sessions[name] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CALL_S),
            )
        return self._sessions[name]

    async def live(self) -> bool:
        """Whether the server answers at all."""
        try:
            return bool(await _bounded(self._api.is_server_live(), "a sign of life"))
        except BackendError:
            return False

    async def version(self) -> str:
        """The server's version, as it tells it."""
        return str((await _bounded(self._api.get_server_metadata(), "its version"))["version"])

    async def load(self, name: str, timeout_s: float) -> None:
        """Load a model; BackendError with Triton's reason, and no waiting for ever on a stub that died."""
        await _bounded(self._api.load_model(name), f"loading {name}", timeout_s)

    async def unload(self, name: str, timeout_s: float) -> None:
        """Unload a model and wait until the repository says it is gone: Triton answers before that."""
        await _bounded(self._api.unload_model(name), f"unloading {name}", timeout_s)
        deadline = time.monotonic() + timeout_s
        while (await self.index()).get(name, ("UNAVAILABLE", 0, ""))[0] != "UNAVAILABLE":
            if time.monotonic() > deadline:
                raise BackendError(f"Triton did not unload {name} within {timeout_s:.0f} s")
            await asyncio.sleep(_POLL_S)

    async def index(self) -> dict[str, tuple[str, int, str]]:
        """State, version and reason of every model in the repository, by name."""
        rows = await _bounded(self._api.get_model_repository_index(), "its repository index")
        return {
            row["name"]: (row.get("state", "UNAVAILABLE"), int(row.get("version", 0)), row.get("reason", ""))
            for row in rows
        }

    async def statistics(self, name: str) -> dict[str, int]:
        """Inferences, executions and failures of a model since it was loaded."""
        reply = await _bounded(self._api.get_inference_statistics(name), f"statistics of {name}")
        found = reply["model_stats"][0]
        return {
            "inferences": int(found["inference_count"]),
            "executions": int(found["execution_count"]),
            "failures": int(found["inference_stats"]["fail"]["count"]),
        }

    async def metrics(self) -> dict[str, float]:
        """The server's own Prometheus figures: `name{label="value"}` to value."""
        from prometheus_client.parser import text_string_to_metric_families

        async with self._session("").get(self._metrics_url) as reply:
            text = await reply.text()
        figures = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
                figures[f"{sample.name}{{{labels}}}"] = float(sample.value)
        return figures

    async def infer(self, name: str, ask: Generation) -> Completion:
        """One whole answer."""
        import aiohttp

        try:
            async with self._session(name).post(f"{self._models}/{name}/generate", data=_body(ask)) as reply:
                answer = _piece(await reply.read())
        except (aiohttp.ClientError, OSError) as error:
            raise ServerDown(f"Triton is gone: {error}") from error
        if isinstance(answer, str):
            raise BackendError(f"Triton's model {name} answered a whole question in pieces")
        return answer

    async def stream(self, name: str, ask: Generation) -> AsyncIterator[str | Completion]:
        """Pieces as the engine makes them, then the Completion; closing stops the engine."""
        import aiohttp

        url, body, rest = f"{self._models}/{name}/generate_stream", _body(ask, streaming=True), b""
        try:
            async with self._session(name).post(url, data=body) as reply:
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
    fields: dict[str, Any] = {"messages": ask.messages, "sampling_param_max_tokens": ask.max_tokens}
    if streaming:
        fields["streaming"] = True
    if ask.temperature > 0:
        fields["sampling_param_temperature"] = ask.temperature
        fields["sampling_param_top_k"] = ask.top_k
        fields["sampling_param_top_p"] = ask.top_p
        fields["sampling_param_seed"] = ask.seed
    if ask.stop:
        fields["sampling_param_stop"] = json.dumps(ask.stop)
    return json.dumps(fields).encode()


def _piece(data: bytes) -> str | Completion:
    """A reply's JSON: a piece of text, or the end of the answer. An error may come with status 200.

    Raises AskError when the prompt is at fault, ServerDown when healing may help, else BackendError.
    """
    found = json.loads(data)
    if "error" in found:
        message = str(found["error"])
        if found.get("finish_reason") == "wrong prompt":
            raise AskError(message)
        family = ServerDown if any(mark in message for mark in _GONE) else BackendError
        raise family(f"Triton's model failed: {message}")
    if "finish_reason" not in found:
        return str(found["text_output"])
    return Completion(
        text=found["text_output"],
        finish_reason=found["finish_reason"],
        tokens_in=int(found["num_input_tokens"]),
        tokens_out=int(found["num_output_tokens"]),
        release=found["release"],
    )


async def _bounded(call: Awaitable[T], doing: str, timeout_s: float = _CALL_S) -> T:
    """One management call with a clock: ServerDown when nobody answers, BackendError when Triton refuses."""
    import aiohttp
    from tritonclient.utils import InferenceServerException

    try:
        return await asyncio.wait_for(call, timeout_s)
    except TimeoutError as error:
        raise ServerDown(f"Triton gave no answer ({doing}) within {timeout_s:.0f} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ServerDown(f"Triton is gone ({doing}): {error}") from error
    except InferenceServerException as error:
        raise BackendError(f"Triton refused {doing}: {error.message()}") from error
