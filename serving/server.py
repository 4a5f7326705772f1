"""What runs engines: one Protocol, with Triton and the in-process server behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..core.errors import BackendError

_CHARACTERS_A_TOKEN = 3


@dataclass(frozen=True)
class ServedModel:
    """One release's engine as a server knows it: a name of its own, so it loads and leaves independently.

    `target` is what kind of engine it is, as its bundle says.
    """

    name: str
    version: int
    engine: Path
    release: str
    target: str


@dataclass(frozen=True)
class Generation:
    """What to generate: chat messages as JSON text, and how tokens are chosen (temperature 0: greedy).

    text: a prompt that no chat template is put around, in place of messages. tools: JSON that the template is
    given. json_schema: what the answer must fit. top_logprobs: how many likeliest tokens are told beside each
    chosen one; None: no log-probabilities. What of these an engine can is in its target's `features`.
    trace_headers: those by which a server adds its part to a trace.
    """

    messages: str
    max_tokens: int = 64
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    text: str = ""
    tools: str = ""
    json_schema: str = ""
    top_logprobs: int | None = None
    trace_headers: tuple[tuple[str, str], ...] = ()

    @property
    def most_tokens(self) -> int:
        """About how many tokens it may read and make at most; languages differ."""
        read = len(self.messages) + len(self.text) + len(self.tools)
        return read // _CHARACTERS_A_TOKEN + self.max_tokens


@dataclass(frozen=True)
class Completion:
    """What was generated, and which release says it made it: the engine tells, the gateway only passes on.

    logprobs: one entry a token, as OpenAI's `logprobs.content`, when they were asked for.
    """

    text: str
    finish_reason: str
    tokens_in: int
    tokens_out: int
    release: str
    logprobs: tuple[dict[str, Any], ...] = ()


class ServerDown(BackendError):
    """The server, or the worker of this model, is gone: asking again after it was healed may succeed."""


class InferenceServer(Protocol):
    """A place where engines run. All methods belong to one event loop."""

    @property
    def kind(self) -> str:
        """`triton` or `in-process`: what is shown and recorded as the server."""

    @property
    def version(self) -> str:
        """The server's own version; of the engine's library where it has none."""

    async def start(self) -> None:
        """Come up with nothing loaded, ending what an earlier start may have left."""

    async def stop(self) -> None:
        """Go, with every child and every shared-memory region."""

    async def alive(self) -> bool:
        """Whether the server itself answers; says nothing of its models."""

    async def load(self, model: ServedModel) -> None:
        """Load an engine, again when it is loaded already; BackendError with the server's reason."""

    async def unload(self, name: str) -> None:
        """Take a model out; returns when it is gone. A name that is not loaded is no error."""

    async def versions(self) -> dict[str, int]:
        """The loaded models and their versions."""

    def missing(self, name: str) -> Mapping[str, str]:
        """The replicas of this server that do not serve a loaded model, each with why ("": it is loading)."""

    async def infer(self, name: str, ask: Generation) -> Completion:
        """Generate; AskError for a prompt that cannot be, ServerDown when healing may help."""

    def stream(self, name: str, ask: Generation) -> AsyncIterator[str | Completion]:
        """Generate piece by piece; the Completion, its text empty, ends it. Closing it stops the engine.

        A piece is a TextPiece where log-probabilities were asked for; the Completion then has none.
        """


PROOF = Generation(messages='[{"role":"user","content":"ready?"}]', max_tokens=1)


async def ready(server: InferenceServer, model: ServedModel, timeout_s: float) -> bool:
    """Whether a model answers a real inference in time; a server's own ready flag stays up when it cannot."""
    import asyncio

    try:
        answer = await asyncio.wait_for(server.infer(model.name, PROOF), timeout_s)
    except (BackendError, TimeoutError):
        return False
    return answer.release == model.release
