"""Triton servers that somebody else started: used by their address, never started, ended or cleared out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.core.errors import BackendError
from opswright.core.settings import load_settings
from opswright.core.settings.serving import ServingSettings
from opswright.core.workspace import Workspace
from opswright.serving.rollout.checks import platform_findings
from opswright.serving.server import Completion, InferenceServer, ServedModel, ready
from opswright.serving.server_selection import build, choose

from .server_scene import chat, play

pytestmark = pytest.mark.e2e

SECRET = "a-secret-of-theirs"
_PATIENCE_S = 120.0


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEIR_SECRET", SECRET)


def workspace_of(tmp_path: Path, *urls: str, **changed: Any) -> Workspace:
    external = {"urls": urls, "repository": str(tmp_path / "shared"), "secret": "secret:env:THEIR_SECRET"}
    serving = ServingSettings.model_validate({"external": {**external, **changed}, "gateway_port": 0})
    return Workspace(load_settings(home=tmp_path / "workspace", serving=serving))


def model(engines: tuple[Path, Path], number: int = 1) -> ServedModel:
    return ServedModel(f"support-v{number}", number, engines[number - 1], f"v{number}-abc", "onnx-int8")


async def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)


def faults(workspace: Workspace) -> list[str]:
    return [one.message for one in platform_findings(workspace) if one.level == "stop"]


def test_a_release_is_loaded_asked_and_taken_out_and_the_server_stays(
    start_triton: Callable[..., Any], engines: tuple[Path, Path], tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    (shared / "theirs").mkdir(parents=True)
    triton = start_triton(shared)
    workspace = workspace_of(tmp_path, triton.url)
    assert faults(workspace) == []

    async def scene(server: InferenceServer) -> None:
        one, two = model(engines), model(engines, 2)
        await server.load(one)
        await server.load(two)
        assert await server.versions() == {"support-v1": 1, "support-v2": 2}
        assert await ready(server, one, _PATIENCE_S) and server.missing("support-v1") == {}
        whole = await server.infer("support-v1", chat("transfer money", max_tokens=8))
        pieces = [piece async for piece in server.stream("support-v1", chat("transfer money", max_tokens=8))]
        assert "".join(str(piece) for piece in pieces[:-1]) == whole.text
        assert isinstance(pieces[-1], Completion) and pieces[-1].release == "v1-abc"
        (folder,) = (one for one in shared.iterdir() if one.name.endswith("-support-v1"))
        assert (folder / "1" / "engine" / "genai_config.json").is_file(), "it needs nothing of this machine"
        await server.unload("support-v1")
        assert not folder.exists() and len(triton.models()) == 1

    play(workspace, scene)
    assert triton.is_live() and triton.models() == set()
    assert [path.name for path in shared.iterdir()] == ["theirs"]


def test_another_gateway_finds_what_is_loaded_and_another_workspaces_models_stay(
    start_triton: Callable[..., Any], engines: tuple[Path, Path], tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    triton = start_triton(shared)
    first, other = workspace_of(tmp_path, triton.url), workspace_of(tmp_path, triton.url)
    other.root = tmp_path / "other"

    async def scene() -> None:
        theirs = build(other, choose(other), print)
        await theirs.start()
        await theirs.load(model(engines))
        dies = build(first, choose(first), print)
        await dies.start()
        await dies.load(model(engines))
        stubs = {stub.pid for stub in triton.stubs()}
        again = build(first, choose(first), print)
        await again.start()
        assert await again.versions() == {"support-v1": 0}
        await again.load(model(engines))
        assert {stub.pid for stub in triton.stubs()} == stubs, "it was loaded anew"
        await again.stop()
        assert len(triton.models()) == 1
        assert await ready(theirs, model(engines), _PATIENCE_S)
        await dies.stop()
        await theirs.stop()

    asyncio.run(scene())


def test_a_release_counts_on_those_that_proved_it_and_the_others_are_named(
    start_triton: Callable[..., Any], engines: tuple[Path, Path], tmp_path: Path
) -> None:
    shared, old = tmp_path / "shared", tmp_path / "old"
    shared.mkdir()
    old.mkdir()
    good, stale = start_triton(shared), start_triton(old)

    async def scene(server: InferenceServer) -> None:
        one = model(engines)
        await server.load(one)
        await until(lambda: any(server.missing(one.name).values()), "it was not noticed")
        (why,) = server.missing(one.name).items()
        assert why[0] == stale.url and str(shared) in why[1]
        for _ in range(6):
            assert (await server.infer(one.name, chat("hello", max_tokens=2))).release == "v1-abc"

    play(workspace_of(tmp_path, good.url, stale.url), scene)


def test_a_server_that_answers_as_another_release_is_not_asked(
    start_triton: Callable[..., Any], engines: tuple[Path, Path], tmp_path: Path
) -> None:
    """One that holds an old model under the very name: its repository is a copy that nobody refreshed."""
    shared, copy = tmp_path / "shared", tmp_path / "copy"
    shared.mkdir()
    copy.mkdir()
    good, stale = start_triton(shared), start_triton(copy)
    old = ServedModel("support-v1", 1, engines[1], "v1-old", "onnx-int8")

    async def fill(server: InferenceServer) -> None:
        await server.load(old)
        await until(lambda: stale.models() != set(), "not loaded")
        server.unload = lambda name: asyncio.sleep(0)  # type: ignore[method-assign]  # it dies here

    play(workspace_of(tmp_path, stale.url, repository=str(copy)), fill)

    async def scene(server: InferenceServer) -> None:
        one = model(engines)
        await server.load(one)
        await until(lambda: any(server.missing(one.name).values()), "it was not noticed")
        assert set(server.missing(one.name)) == {stale.url}
        answers = [await server.infer(one.name, chat("hello", max_tokens=2)) for _ in range(6)]
        assert {answer.release for answer in answers} == {"v1-abc"}

    play(workspace_of(tmp_path, good.url, stale.url), scene)


@pytest.mark.parametrize("harm", ["kill", "freeze"])
def test_who_asks_is_answered_while_a_server_dies_and_it_serves_again_when_it_is_back(
    start_triton: Callable[..., Any], engines: tuple[Path, Path], tmp_path: Path, harm: str
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    stays, dies = start_triton(shared), start_triton(shared)

    async def scene(server: InferenceServer) -> None:
        one = model(engines)
        await server.load(one)
        await until(lambda: not server.missing(one.name), "both were to serve it")
        answered = 0
        getattr(dies, harm)()
        while not any(server.missing(one.name).values()):
            assert (await server.infer(one.name, chat("hello", max_tokens=2))).release == "v1-abc"
            answered += 1
        assert answered and set(server.missing(one.name)) == {dies.url} and await server.alive()
        if harm == "kill":
            dies.start()
        else:
            dies.thaw()
        await until(lambda: not server.missing(one.name), "it did not come back")

    play(workspace_of(tmp_path, stays.url, dies.url), scene)


def test_a_model_whose_worker_died_is_served_again_under_another_name(
    start_triton: Callable[..., Any], engines: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "shared").mkdir()
    triton = start_triton(tmp_path / "shared")

    async def scene(server: InferenceServer) -> None:
        one = model(engines)
        await server.load(one)
        (stub,) = triton.stubs()
        stub.kill()
        await until(lambda: bool(server.missing(one.name)), "its death was not noticed")
        await until(lambda: not server.missing(one.name), "it was not loaded again")
        assert (await server.infer(one.name, chat("hello", max_tokens=2))).release == "v1-abc"

    play(workspace_of(tmp_path, triton.url), scene)


@pytest.mark.parametrize(
    ("started", "changed", "reason"),
    [
        ({"mode": "poll"}, {}, "--model-control-mode=explicit"),
        ({}, {"secret": None}, "refuses the secret"),
        ({"secret": "another-secret"}, {}, "refuses the secret"),
        ({}, {"secret": "secret:env:NOT_THERE"}, "NOT_THERE is not set"),
        ({}, {"repository": "nowhere://bucket/models"}, "nowhere"),
    ],
)
def test_what_stands_in_the_way_is_said_before_anything_is_done(
    start_triton: Callable[..., Any], tmp_path: Path, started: Any, changed: Any, reason: str
) -> None:
    (tmp_path / "shared").mkdir()
    triton = start_triton(tmp_path / "shared", **started)
    (fault,) = faults(workspace_of(tmp_path, triton.url, **changed))
    assert reason in fault and SECRET not in fault


def test_an_open_control_api_and_a_server_that_is_gone_are_said(
    start_triton: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "shared").mkdir()
    triton = start_triton(tmp_path / "shared", secret="")
    workspace = workspace_of(tmp_path, triton.url)
    assert any("running code" in one.message for one in platform_findings(workspace) if one.level == "warn")
    triton.kill()
    assert "does not answer" in faults(workspace)[0]
    with pytest.raises(BackendError, match=r"none of the Triton servers answers"):
        play(workspace, lambda server: asyncio.sleep(0))
