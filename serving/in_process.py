"""The engine server where Triton's wheel does not run: engines of any target, in this process."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

from .. import __version__
from ..core.errors import BackendError
from ..engines import (
    Chat,
    Engine,
    GenerationListener,
    GenerationOptions,
    GenerationResult,
    PromptError,
    StreamingEngine,
    TextPiece,
)
from ..engines.registry import engine_target
from .server import Completion, Generation, ServedModel, ServerDown


@dataclass
class _Loaded:
    """A model with its engine; one that cannot stream answers one request after another."""

    model: ServedModel
    engine: Engine
    streaming: StreamingEngine | None  # the same engine, if it can
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class InProcessServer:
    """Engines on threads of this process; a crash of an engine takes the process with it."""

    kind = "in-process"

    def __init__(self, threads: Callable[[ServedModel], int]) -> None:
        self._threads = threads
        self._loaded: dict[str, _Loaded] = {}

    @property
    def version(self) -> str:
        """Opswright's own: there is no other server; what an engine was built with stands in its bundle."""
        return __version__

    async def start(self) -> None:
        """Return at once: engines start as they are loaded."""

    async def stop(self) -> None:
        """Finish what was asked and let the engines go."""
        for name in list(self._loaded):
            await self.unload(name)

    async def alive(self) -> bool:
        """As alive as the process that asks."""
        return True

    async def load(self, model: ServedModel) -> None:
        """Load the engine on a thread of its own."""
        await self.unload(model.name)
        try:
            target = engine_target(model.target)
            engine = await asyncio.to_thread(target.open, model.engine, self._threads(model))
        except Exception as error:
            raise BackendError(
                f"the engine of {model.release} ({model.engine}) did not load: {error}"
            ) from error
        streaming = engine if isinstance(engine, StreamingEngine) else None
        self._loaded[model.name] = _Loaded(model, engine, streaming)

    async def unload(self, name: str) -> None:
        """Take it out of the list, then wait until it answered what it had taken."""
        if (found := self._loaded.pop(name, None)) is not None:
            async with found.turn:
                await asyncio.to_thread(found.engine.close)

    async def versions(self) -> dict[str, int]:
        """Each loaded model's version, by name."""
        return {name: loaded.model.version for name, loaded in self._loaded.items()}

    def missing(self, name: str) -> Mapping[str, str]:
        """Nowhere: it has no replicas."""
        return {}

    async def infer(self, name: str, ask: Generation) -> Completion:
        """The whole answer; PromptError for a prompt that the engine cannot take."""
        async for piece in self._run(name, ask, streaming=False):
            if isinstance(piece, Completion):
                return piece
        raise ServerDown(f"the engine of {name} ended without an answer")

    def stream(self, name: str, ask: Generation) -> AsyncIterator[str | Completion]:
        """The answer's pieces as the engine makes them; closing cancels the job."""
        return self._run(name, ask, streaming=True)

    async def _run(self, name: str, ask: Generation, *, streaming: bool) -> AsyncIterator[str | Completion]:
        if name not in self._loaded:
            raise ServerDown(f"model {name} is not loaded in-process")
        loaded = self._loaded[name]
        chat, options = () if ask.text else _chat(ask.messages), _options(ask)
        if loaded.streaming is not None:
            pieces = _submitted(loaded.streaming, chat, options, streaming=streaming)
        else:
            pieces = _generated(loaded, chat, options, streaming=streaming)
        try:
            async for piece in pieces:
                yield piece if isinstance(piece, str) else _completion(piece, loaded.model)
        except PromptError:
            raise
        except Exception as error:
            raise BackendError(f"the engine of {loaded.model.release} failed: {error}") from error
        finally:
            await pieces.aclose()


async def _submitted(
    engine: StreamingEngine, chat: Chat, options: GenerationOptions, *, streaming: bool
) -> AsyncGenerator[str | GenerationResult]:
    """Pieces, then the result, of an engine that tells them from a thread of its own."""
    inbox = _Inbox(asyncio.get_running_loop())
    listener = GenerationListener(
        inbox.put, inbox.put, inbox.put if streaming else None, lambda: inbox.is_abandoned
    )
    engine.submit(chat, options, listener)
    try:
        while True:
            piece = await inbox.pieces.get()
            if isinstance(piece, Exception):
                raise piece
            yield piece
            if isinstance(piece, GenerationResult):
                return
    finally:
        inbox.is_abandoned = True


class _Inbox:
    """Pieces on their way from an engine's thread to the event loop.

    A small engine's thread can keep the processor that the loop's thread was woken on, and make a whole
    answer before its first piece is read. So `put` waits, briefly, once `_MAX_LAG` pieces are on their way;
    it never waits for a reader, only for the loop.
    """

    _MAX_LAG = 8  # pieces
    _PATIENCE_S = 0.05  # a loop that is held up longer holds no engine up

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.pieces: asyncio.Queue[str | GenerationResult | Exception] = asyncio.Queue()
        self.is_abandoned = False
        self._loop = loop
        self._room = threading.Semaphore(self._MAX_LAG)

    def put(self, piece: str | GenerationResult | Exception) -> None:
        """Send a piece to the loop; called from the engine's thread."""
        took_room = self._room.acquire(timeout=self._PATIENCE_S)
        self._loop.call_soon_threadsafe(self._arrive, piece, took_room)

    def _arrive(self, piece: str | GenerationResult | Exception, took_room: bool) -> None:
        self.pieces.put_nowait(piece)
        if took_room:
            self._room.release()


async def _generated(
    loaded: _Loaded, chat: Chat, options: GenerationOptions, *, streaming: bool
) -> AsyncGenerator[str | GenerationResult]:
    """The result of an engine that makes a text as a whole; a stream gets it in one piece."""
    async with loaded.turn:
        (result,) = await asyncio.to_thread(loaded.engine.generate, [chat], options)
    if result.text is None:
        raise (PromptError if result.finish_reason == "refused" else BackendError)(str(result.error))
    if streaming:
        yield TextPiece(result.text, result.logprobs)
    yield result._replace(text="", logprobs=()) if streaming else result


def _chat(messages: str) -> Chat:
    """The chat that JSON text holds; PromptError when it holds none."""
    try:
        chat = json.loads(messages)
        return [dict(message) for message in chat]
    except (ValueError, TypeError, AttributeError) as error:
        raise PromptError(f"the chat template does not take these messages: {error}") from error


def _options(ask: Generation) -> GenerationOptions:
    return GenerationOptions(
        max_tokens=ask.max_tokens,
        temperature=ask.temperature,
        top_k=ask.top_k,
        top_p=ask.top_p,
        seed=ask.seed,
        stop=ask.stop,
        prompt=ask.text,
        tools=ask.tools,
        json_schema=ask.json_schema,
        top_logprobs=ask.top_logprobs,
    )


def _completion(result: GenerationResult, model: ServedModel) -> Completion:
    return Completion(
        result.text or "",
        result.finish_reason,
        result.tokens_in,
        result.tokens_out,
        model.release,
        result.logprobs,
    )
