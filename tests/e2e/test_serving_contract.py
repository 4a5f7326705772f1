"""One contract for every engine server, held by Triton and by the in-process server alike."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from opswright.core.errors import AskError, BackendError
from opswright.serving.in_process import InProcessServer
from opswright.serving.server import (
    Completion,
    Generation,
    InferenceServer,
    ServedModel,
    ServerDown,
    ready,
)
from opswright.serving.triton.environment import PlatformFacts, locate
from opswright.serving.triton.server import TritonServer

from .server_scene import Scene, chat

pytestmark = pytest.mark.e2e

_PATIENCE_S = 120.0
Play = Callable[[Callable[[InferenceServer], Coroutine[Any, Any, None]]], None]


@pytest.fixture(params=["triton", "in-process"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Runs a scene on a started server, and ends it with all it started."""

    def make() -> InferenceServer:
        if request.param == "in-process":
            return InProcessServer(lambda model: 1)
        home = request.getfixturevalue("triton_home")
        return TritonServer(
            tmp_path / "triton",
            tmp_path / "triton.log",
            lambda: locate(home, PlatformFacts.here(), print),
            lambda model: 1,
            timeout_s=_PATIENCE_S,
        )

    async def whole(scene: Scene) -> None:
        server = make()
        await server.start()
        try:
            await scene(server)
        finally:
            await server.stop()
            if isinstance(server, TritonServer):
                assert server.runtime.left_over() == []
                assert list(Path("/dev/shm").glob(f"{server.runtime.shm_prefix}*")) == []

    return lambda scene: asyncio.run(whole(scene))


def models(engines: tuple[Path, Path]) -> tuple[ServedModel, ServedModel]:
    return (
        ServedModel("support-v1", 1, engines[0], "v1-abc", "onnx-int8"),
        ServedModel("support-v2", 2, engines[1], "v2-def", "onnx-int8"),
    )


async def pieces(server: InferenceServer, name: str, ask: Generation) -> list[str | Completion]:
    return [piece async for piece in server.stream(name, ask)]


def test_two_releases_run_side_by_side_and_leave_independently(
    play: Play, engines: tuple[Path, Path]
) -> None:
    async def scene(server: InferenceServer) -> None:
        one, two = models(engines)
        assert server.version and await server.alive()
        await server.load(one)
        await server.load(two)
        assert await server.versions() == {"support-v1": 1, "support-v2": 2}
        assert await ready(server, one, _PATIENCE_S) and await ready(server, two, 10)
        first = await server.infer("support-v1", chat("transfer money", max_tokens=8))
        second = await server.infer("support-v2", chat("transfer money", max_tokens=8))
        assert (first.release, second.release) == ("v1-abc", "v2-def")
        assert first.text != second.text
        assert (first.finish_reason, first.tokens_out, first.tokens_in) == ("length", 8, 4)
        await server.unload("support-v1")
        await server.unload("support-v1")  # a second time is no error
        assert await server.versions() == {"support-v2": 2}
        assert (await server.infer("support-v2", chat("transfer money", max_tokens=8))).text == second.text
        with pytest.raises(ServerDown):
            await server.infer("support-v1", chat("transfer money"))

    play(scene)


def test_other_users_cannot_open_the_memory_that_holds_requests(
    play: Play, engines: tuple[Path, Path]
) -> None:
    async def scene(server: InferenceServer) -> None:
        await server.load(models(engines)[0])
        if isinstance(server, TritonServer):
            regions = list(Path("/dev/shm").glob(f"{server.runtime.shm_prefix}*"))
            assert regions and all(region.stat().st_mode & 0o077 == 0 for region in regions)

    play(scene)


def test_a_stream_is_the_same_answer_piece_by_piece(play: Play, engines: tuple[Path, Path]) -> None:
    async def scene(server: InferenceServer) -> None:
        await server.load(models(engines)[0])
        ask = chat("what is the weather", max_tokens=40)
        whole = await server.infer("support-v1", ask)
        *texts, end = await pieces(server, "support-v1", ask)
        assert "".join(str(text) for text in texts) == whole.text
        assert isinstance(end, Completion)
        assert (end.text, end.finish_reason, end.tokens_out, end.release) == ("", "length", 40, "v1-abc")
        assert len(texts) > 20  # token by token, not one lump

    play(scene)


def test_the_first_piece_comes_before_the_last_is_made(play: Play, engines: tuple[Path, Path]) -> None:
    async def scene(server: InferenceServer) -> None:
        await server.load(models(engines)[0])
        shares = []
        for _attempt in range(5):  # a busy machine may hold one of them up
            began = time.perf_counter()
            moments = []
            async for _ in server.stream("support-v1", chat("what is the weather", max_tokens=240)):
                moments.append(time.perf_counter() - began)
            shares.append(moments[0] / moments[-1])
        assert min(shares) < 0.8

    play(scene)


def test_a_stop_word_ends_an_answer_before_it_and_never_shows(play: Play, engines: tuple[Path, Path]) -> None:
    async def scene(server: InferenceServer) -> None:
        await server.load(models(engines)[0])
        whole = await server.infer("support-v1", chat("what is the weather", max_tokens=24))
        word = whole.text[4:9]
        ask = chat("what is the weather", max_tokens=24, stop=(word, "never said"))
        cut = await server.infer("support-v1", ask)
        assert (cut.text, cut.finish_reason) == (whole.text.partition(word)[0], "stop")
        *texts, _ = await pieces(server, "support-v1", ask)
        assert "".join(str(text) for text in texts) == cut.text

    play(scene)


def test_many_at_once_get_what_they_would_get_alone(play: Play, engines: tuple[Path, Path]) -> None:
    async def scene(server: InferenceServer) -> None:
        await server.load(models(engines)[0])
        asks = [chat("card " * (n % 7 + 1), max_tokens=n % 5 + 1) for n in range(70)]
        alone = [await server.infer("support-v1", ask) for ask in asks[:35]]
        together = await asyncio.gather(*(server.infer("support-v1", ask) for ask in asks))
        assert together[:35] == alone
        assert together[35:] == alone

    play(scene)


def test_a_seed_means_one_answer_whoever_asks_beside_it(play: Play, engines: tuple[Path, Path]) -> None:
    async def scene(server: InferenceServer) -> None:
        await server.load(models(engines)[0])
        warm = [chat("transfer money", max_tokens=12, temperature=1.5, seed=seed) for seed in (1, 1, 2, 3)]
        one, same, *others = await asyncio.gather(*(server.infer("support-v1", ask) for ask in warm))
        assert one.text == same.text
        assert {other.text for other in others} != {one.text}

    play(scene)


def test_a_prompt_that_cannot_be_is_the_callers_error_and_costs_nobody_else(
    play: Play, engines: tuple[Path, Path]
) -> None:
    async def scene(server: InferenceServer) -> None:
        await server.load(models(engines)[0])
        with pytest.raises(AskError, match="this engine takes 255"):
            await server.infer("support-v1", chat("money " * 300))
        with pytest.raises(AskError, match="chat template"):
            await server.infer("support-v1", Generation("no json"))
        with pytest.raises(AskError):
            await pieces(server, "support-v1", chat("money " * 300))
        assert (await server.infer("support-v1", chat("transfer money", max_tokens=2))).tokens_out == 2

    play(scene)


def test_a_broken_engine_is_refused_with_its_reason_and_disturbs_nobody(
    play: Play, engines: tuple[Path, Path], tmp_path: Path
) -> None:
    async def scene(server: InferenceServer) -> None:
        one, _ = models(engines)
        await server.load(one)
        with pytest.raises(BackendError, match="genai_config"):
            await server.load(ServedModel("support-v2", 2, tmp_path, "v2-def", "onnx-int8"))
        assert await server.versions() == {"support-v1": 1}
        assert await ready(server, one, _PATIENCE_S)

    play(scene)


def test_loading_again_replaces_and_a_dropped_stream_stops_the_engine(
    play: Play, engines: tuple[Path, Path]
) -> None:
    async def scene(server: InferenceServer) -> None:
        one, _ = models(engines)
        await server.load(one)
        stream = server.stream("support-v1", chat("transfer money", max_tokens=240))
        async for _ in stream:
            break
        await stream.aclose()  # type: ignore[attr-defined]
        await server.load(one)
        assert await server.versions() == {"support-v1": 1}
        assert await ready(server, one, _PATIENCE_S)
        await server.unload("support-v1")  # which waits for the engine
        assert await server.versions() == {}

    play(scene)
