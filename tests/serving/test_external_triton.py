"""Several Triton servers of somebody else as one: who proved a release is asked, what is theirs is left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from opswright.core.errors import BackendError
from opswright.serving.server import Generation, ServedModel, ServerDown
from opswright.serving.triton import replica
from opswright.serving.triton.access import RemoteAccess
from opswright.serving.triton.external import ExternalTriton
from opswright.serving.triton.shared_repository import SharedRepository

SECRET = {"their-header": "a-secret-of-theirs"}
ASK = Generation('[{"role": "user", "content": "hello"}]')
ENDS = {"finish_reason": "stop", "num_input_tokens": 1, "num_output_tokens": 1}


class FakeTriton:
    """A server on a port. A model answers with its config's release, unless `answers_as` says another."""

    def __init__(self, repository: Path) -> None:
        self.repository = repository
        self.models: dict[str, str] = {"theirs": "their own"}  # READY, and the release that each says it is
        self.answers_as: str | None = None
        self.sends_to: str | None = None  # where it redirects who asks
        self.refuses = ""  # why it loads nothing
        self.silent = 0  # how many signs of life it owes
        self.asked: list[str] = []
        self.headers: list[str | None] = []

    async def start(self) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.headers.append(request.headers.get("their-header"))
        parts = request.path.split("/")
        if request.path.endswith("/live") and self.silent:
            self.silent -= 1
            await asyncio.sleep(2)
        if self.sends_to is not None:
            raise web.HTTPTemporaryRedirect(self.sends_to + request.path)
        if request.path.endswith("/index"):
            return web.json_response([{"name": one, "state": "READY", "version": "1"} for one in self.models])
        if request.path.endswith("/load"):
            return self._load(parts[-2])
        if request.path.endswith("/unload"):
            self.models.pop(parts[-2], None)
            return web.json_response({})
        if "/generate" in request.path:
            return self._generate(parts[3], is_stream=request.path.endswith("_stream"))
        return web.json_response({"version": "2.51.0"})

    def _load(self, name: str) -> web.Response:
        if self.refuses:
            return web.json_response({"error": self.refuses}, status=400)
        text = (self.repository / name / "config.pbtxt").read_text()
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
        self.models[name] = config.parameters["release"].string_value
        return web.json_response({})

    def _generate(self, name: str, *, is_stream: bool) -> web.Response:
        if name not in self.models:
            return web.json_response({"error": f"Request for unknown model: '{name}'"}, status=404)
        self.asked.append(name)
        text = json.dumps({**ENDS, "text_output": "", "release": self.answers_as or self.models[name]})
        return web.Response(text=f"data: {text}\n\n" if is_stream else text)


Scene = Callable[[ExternalTriton, FakeTriton, FakeTriton], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Scene], None]:
    """Runs a scene on two servers of one repository."""
    (tmp_path / "engine").mkdir()

    async def whole(scene: Scene) -> None:
        one, other = FakeTriton(tmp_path / "shared"), FakeTriton(tmp_path / "shared")
        urls = [await one.start(), await other.start()]
        repository = SharedRepository(str(tmp_path / "shared"))
        accesses = [RemoteAccess(url, SECRET) for url in urls]
        server = ExternalTriton(lambda: accesses, repository, "ops1-", lambda model: 1, 60, sweep_s=0)
        await server.start()
        try:
            await scene(server, one, other)
        finally:
            await server.stop()
            await one.stop()
            await other.stop()

    return lambda scene: asyncio.run(whole(scene))


def model(folder: Path) -> ServedModel:
    return ServedModel("shop-v1", 1, folder / "engine", "v1-abc", "onnx-int8")


async def settled(server: ExternalTriton) -> dict[str, str]:
    """Who lacks the release, once both servers were tried."""
    while "" in (found := server.missing("shop-v1")).values():
        await asyncio.sleep(0.01)
    return dict(found)


def test_both_are_asked_in_turns_each_with_the_secret(play: Callable[[Scene], None], tmp_path: Path) -> None:
    async def scene(server: ExternalTriton, one: FakeTriton, other: FakeTriton) -> None:
        await server.load(model(tmp_path))
        assert await settled(server) == {}
        before = len(one.asked), len(other.asked)
        for _ in range(4):
            await server.infer("shop-v1", ASK)
            assert [piece async for piece in server.stream("shop-v1", ASK)][-1].release == "v1-abc"  # type: ignore[union-attr]
        assert (len(one.asked) - before[0], len(other.asked) - before[1]) == (4, 4)
        assert set(one.headers) == {"a-secret-of-theirs"}

    play(scene)


def test_one_that_answers_as_another_release_never_serves(
    play: Callable[[Scene], None], tmp_path: Path
) -> None:
    async def scene(server: ExternalTriton, one: FakeTriton, other: FakeTriton) -> None:
        other.answers_as = "v0-old"
        await server.load(model(tmp_path))
        (why,) = (await settled(server)).values()
        assert why == "it answers as v0-old, not as v1-abc"
        before = len(other.asked)
        assert {(await server.infer("shop-v1", ASK)).release for _ in range(5)} == {"v1-abc"}
        assert len(other.asked) == before

    play(scene)


def test_one_that_turns_out_to_serve_another_release_is_left_in_the_middle(
    play: Callable[[Scene], None], tmp_path: Path
) -> None:
    async def scene(server: ExternalTriton, one: FakeTriton, other: FakeTriton) -> None:
        await server.load(model(tmp_path))
        assert await settled(server) == {}
        one.answers_as = "v0-old"
        found = [await server.infer("shop-v1", ASK) for _ in range(4)]
        assert {answer.release for answer in found} == {"v1-abc"}
        assert list(server.missing("shop-v1")), "it is an alarm"

    play(scene)


def test_when_none_can_load_it_the_reason_is_told_and_nothing_is_left(
    play: Callable[[Scene], None], tmp_path: Path
) -> None:
    async def scene(server: ExternalTriton, one: FakeTriton, other: FakeTriton) -> None:
        one.refuses = other.refuses = "ModuleNotFoundError: No module named 'onnxruntime_genai'"
        with pytest.raises(BackendError, match=r"No module named.*pip install onnxruntime-genai"):
            await server.load(model(tmp_path))
        assert await server.versions() == {} and list((tmp_path / "shared").iterdir()) == []

    play(scene)


def test_what_is_somebody_elses_stays_whatever_happens(play: Callable[[Scene], None], tmp_path: Path) -> None:
    servers: list[FakeTriton] = []

    async def scene(server: ExternalTriton, one: FakeTriton, other: FakeTriton) -> None:
        servers.extend((one, other))
        one.models["ops2-shop-v1"] = one.models["ops1-gone-v7"] = "v1-xyz"
        await server.start()
        assert await server.versions() == {"gone-v7": 0}, "of this workspace, by an earlier gateway"
        await server.load(model(tmp_path))
        await server.unload("gone-v7")
        assert await settled(server) == {}
        other.models["ops1-shop-v9"] = "v9-xyz"  # of this workspace, and wanted by nobody
        while "ops1-shop-v9" in other.models:
            await asyncio.sleep(0.01)
        assert set(one.models) == {"theirs", "ops2-shop-v1", "ops1-shop-v1"}

    play(scene)
    assert set(servers[0].models) == {"theirs", "ops2-shop-v1"} and set(servers[1].models) == {"theirs"}


def test_a_redirect_gets_neither_the_secret_nor_the_question(
    play: Callable[[Scene], None], tmp_path: Path
) -> None:
    async def scene(server: ExternalTriton, one: FakeTriton, other: FakeTriton) -> None:
        await server.load(model(tmp_path))
        assert await settled(server) == {}
        thief = FakeTriton(tmp_path / "shared")
        one.sends_to = other.sends_to = await thief.start()
        with pytest.raises(ServerDown):
            await server.infer("shop-v1", ASK)
        with pytest.raises(BackendError):
            await server.load(ServedModel("shop-v2", 2, tmp_path / "engine", "v2-def", "onnx-int8"))
        assert thief.headers == []
        await thief.stop()

    play(scene)


def test_without_any_that_answers_it_does_not_start(tmp_path: Path) -> None:
    async def scene() -> None:
        triton = FakeTriton(tmp_path)
        url = await triton.start()
        await triton.stop()
        accesses = [RemoteAccess(url, SECRET)]
        server = ExternalTriton(
            lambda: accesses, SharedRepository(str(tmp_path)), "ops1-", lambda model: 1, 60
        )
        with pytest.raises(BackendError, match="none of the Triton servers answers") as told:
            await server.start()
        assert url in str(told.value) and SECRET["their-header"] not in str(told.value)
        assert not await server.alive()

    asyncio.run(scene())


def test_the_repository_holds_what_is_served_and_no_more(
    play: Callable[[Scene], None], tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    for left in (
        "ops1-shop-v0",
        "ops1-shop-v7.2",
        "ops2-shop-v0",
        "theirs",
    ):  # as of a gateway that was killed
        (shared / left).mkdir(parents=True)
        (shared / left / "config.pbtxt").touch()

    def held() -> set[str]:
        return {path.name for path in shared.iterdir()}

    async def scene(server: ExternalTriton, one: FakeTriton, other: FakeTriton) -> None:
        releases = [
            ServedModel(f"shop-v{number}", number, tmp_path / "engine", f"v{number}-abc", "onnx-int8")
            for number in range(1, 13)
        ]
        for former, release in zip([None, *releases], releases, strict=False):
            await server.load(release)
            if former is not None:
                await server.unload(former.name)
        await server.load(releases[3])  # rolled back to one that was taken out
        async with asyncio.timeout(20):
            while held() != {"ops1-shop-v12", "ops1-shop-v4", "ops2-shop-v0", "theirs"}:
                await asyncio.sleep(0.05)
        assert {(await server.infer("shop-v4", ASK)).release for _ in range(4)} == {"v4-abc"}

    play(scene)


@pytest.mark.parametrize(("owed", "is_lost"), [(1, False), (1000, True)])
def test_one_that_gives_no_sign_of_life_is_not_asked_and_one_late_sign_is_none(
    play: Callable[[Scene], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owed: int,
    is_lost: bool,
) -> None:
    monkeypatch.setattr(replica, "_LOOK_S", 0.3)

    async def scene(server: ExternalTriton, one: FakeTriton, other: FakeTriton) -> None:
        await server.load(model(tmp_path))
        assert await settled(server) == {}
        one.silent = owed
        lost: set[str] = set()
        for _ in range(60):
            await asyncio.sleep(0.05)
            lost |= server.missing("shop-v1").keys()
        assert len(lost) == is_lost

    play(scene)
