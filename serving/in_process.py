"""The engine server for machines where Triton's wheel does not run: the same batcher, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from ..core.errors import AskError, BackendError
from ..engines.ort_llm.batcher import Batcher, Job, Sampling, WrongPrompt
from .server import Completion, Generation, ServedModel, ServerDown


class InProcessServer:
    """Engines on threads of this process; a crash of an engine takes the process with it."""

    kind = "in-process"

    def __init__(self, threads: Callable[[ServedModel], int]) -> None:
        self._threads = threads
        self._loaded: dict[str, tuple[ServedModel, Batcher]] = {}

    @property
    def version(self) -> str:
        """The engine library's version; there is no server that has one."""
        from importlib.metadata import version

        return version("onnxruntime-genai")

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
            batcher = await asyncio.to_thread(Batcher, model.engine, self._threads(model))
        except Exception as error:
            raise BackendError(
                f"the engine of {model.release} ({model.engine}) did not load: {error}"
            ) from error
        self._loaded[model.name] = (model, batcher)

    async def unload(self, name: str) -> None:
        """Take it out of the list, then wait until it answered what it had taken."""
        if (found := self._loaded.pop(name, None)) is not None:
            await asyncio.to_thread(found[1].close)

    async def versions(self) -> dict[str, int]:
        """Each loaded model's version, by name."""
        return {name: model.version for name, (model, _) in self._loaded.items()}

    async def infer(self, name: str, ask: Generation) -> Completion:
        """The whole answer; AskError for a prompt that the engine cannot take."""
        pieces: list[str] = []
        async for piece in self._run(name, ask, streaming=False):
            if isinstance(piece, Completion):
                return piece
            pieces.append(piece)
        raise ServerDown(f"the engine of {name} ended without an answer")

    def stream(self, name: str, ask: Generation) -> AsyncIterator[str | Completion]:
        """The answer's pieces as the batcher makes them; closing cancels the job."""
        return self._run(name, ask, streaming=True)

    async def _run(self, name: str, ask: Generation, *, streaming: bool) -> AsyncIterator[str | Completion]:
        if name not in self._loaded:
            raise ServerDown(f"model {name} is not loaded in-process")
        model, batcher = self._loaded[name]
        loop = asyncio.get_running_loop()
        inbox: asyncio.Queue[str | Completion | Exception] = asyncio.Queue()
        gone = False

        def tell(piece: str | Completion | Exception) -> None:
            loop.call_soon_threadsafe(inbox.put_nowait, piece)

        def done(text: str, reason: str, read: int, made: int) -> None:
            tell(Completion("" if streaming else text, reason, read, made, model.release))

        batcher.submit(
            Job(
                messages=ask.messages,
                max_tokens=ask.max_tokens,
                sampling=Sampling(ask.temperature, ask.top_k, ask.top_p, ask.seed),
                stop=ask.stop,
                on_text=tell if streaming else None,
                on_done=done,
                on_error=tell,
                is_cancelled=lambda: gone,
            )
        )
        try:
            while True:
                piece = await inbox.get()
                if isinstance(piece, WrongPrompt):
                    raise AskError(str(piece))
                if isinstance(piece, Exception):
                    raise BackendError(f"the engine of {model.release} failed: {piece}") from piece
                yield piece
                if isinstance(piece, Completion):
                    return
        finally:
            gone = True
