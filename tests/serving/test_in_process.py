"""Engines on threads of the gateway's own process: what a stream's reader sees, and when."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from opswright.engines import Chat, GenerationListener, GenerationOptions, GenerationResult
from opswright.serving import in_process
from opswright.serving.in_process import InProcessServer
from opswright.serving.server import Completion, Generation, ServedModel

PIECES = 500
MODEL = ServedModel("quick", 1, Path("engine"), "v1", "quick")


class QuickEngine:
    """Tells its pieces in one breath, as a model of a few kilobytes does."""

    def __init__(self) -> None:
        self.told = 0

    def submit(self, chat: Chat, options: GenerationOptions, listener: GenerationListener) -> None:
        threading.Thread(target=self._tell, args=(listener,), daemon=True).start()

    def _tell(self, listener: GenerationListener) -> None:
        assert listener.on_text is not None
        for _ in range(PIECES):
            self.told += 1
            listener.on_text("x")
        listener.on_result(GenerationResult("", "length", 1, PIECES))

    def close(self) -> None: ...


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> QuickEngine:
    quick = QuickEngine()

    class Target:
        @staticmethod
        def open(_folder: Path, _threads: int) -> QuickEngine:
            return quick

    monkeypatch.setattr(in_process, "engine_target", lambda _name: Target)
    return quick


def test_a_piece_is_read_while_the_next_ones_are_made(
    engine: QuickEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_process._Inbox, "_PATIENCE_S", 60.0)

    async def scene() -> None:
        server = InProcessServer(lambda model: 1)
        await server.load(MODEL)
        lags, read = [], 0
        async for piece in server.stream("quick", Generation("[]")):
            if isinstance(piece, str):
                read += 1
                lags.append(engine.told - read)
                if read == 1:
                    time.sleep(0.1)  # the loop's thread has no processor while the engine's has one
        assert read == PIECES
        assert max(lags) < 20

    asyncio.run(scene())


def test_a_held_up_loop_holds_no_engine_up(engine: QuickEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_process._Inbox, "_PATIENCE_S", 0.0)

    async def scene() -> list[str | Completion]:
        server = InProcessServer(lambda model: 1)
        await server.load(MODEL)
        stream = server.stream("quick", Generation("[]"))
        first = await anext(aiter(stream))
        while engine.told < PIECES:  # never letting the loop turn
            pass
        return [first, *[piece async for piece in stream]]

    *texts, end = asyncio.run(scene())
    assert texts == ["x"] * PIECES
    assert isinstance(end, Completion)
