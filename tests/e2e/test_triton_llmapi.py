"""A bundle for TensorRT-LLM on a real Triton of somebody else, by the tensors of NVIDIA's llmapi model.

The model's own code is a stand-in (llmapi_stand_in): NVIDIA's needs TensorRT-LLM and a GPU, and was not run.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from opswright.core.artifact_refs import BundleRef
from opswright.core.errors import BackendError
from opswright.core.settings import load_settings
from opswright.core.settings.serving import ServingSettings
from opswright.core.workspace import Workspace
from opswright.engines import PromptError
from opswright.engines.trtllm.layout import CHECKPOINT, REPOSITORY, write_layout
from opswright.engines.trtllm.options import TrtllmOptions
from opswright.serving.fleet import GatewayClient, stop_all
from opswright.serving.kubernetes.fetch import lay_gateway, lay_triton
from opswright.serving.kubernetes.release import ClusterRelease
from opswright.serving.rollout import Rollout
from opswright.serving.rollout.checks import engine_findings
from opswright.serving.server import Completion, InferenceServer, ServedModel, ServerDown, ready
from opswright.serving.triton.preloaded import PreloadedTriton

from .server_scene import chat, play

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

CODE = Path(__file__).parent / "llmapi_stand_in"
SECRET = "a-secret-of-theirs"
_PATIENCE_S = 120.0


@pytest.fixture
def engine(tmp_path: Path, engines: tuple[Path, Path]) -> Path:
    """The engine folder of a bundle as the TensorRT-LLM target lays it out, with a tiny checkpoint in it."""
    folder = tmp_path / "bundle" / "engine"
    shutil.copytree(engines[0].parent / "model", folder / CHECKPOINT)
    write_layout(folder, TrtllmOptions())
    return folder


@pytest.fixture
def triton(start_triton: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("THEIR_SECRET", SECRET)
    (tmp_path / "shared").mkdir()
    return start_triton(tmp_path / "shared", completes_config=True)


@pytest.fixture
def workspace(tmp_path: Path, triton: Any) -> Workspace:
    shared = str(tmp_path / "shared")
    external = {"urls": (triton.url,), "repository": shared, "secret": "secret:env:THEIR_SECRET"}
    external |= {"seen_at": shared, "llmapi_code": str(CODE)}
    serving = ServingSettings.model_validate({"external": external, "gateway_port": 0})
    return Workspace(load_settings(home=tmp_path / "workspace", serving=serving))


def served(engine: Path) -> ServedModel:
    return ServedModel("shop-v1", 1, engine, "v1-abc", "trtllm")


def test_a_bundle_of_tensorrt_llm_is_loaded_proven_and_asked(
    workspace: Workspace, engine: Path, triton: Any, tmp_path: Path
) -> None:
    async def scene(server: InferenceServer) -> None:
        await server.load(served(engine))
        assert await ready(server, served(engine), _PATIENCE_S)
        whole = await server.infer("shop-v1", chat("a b c d"))
        assert (whole.text, whole.finish_reason, whole.release) == (" a b c d<|assistant|>", "stop", "v1-abc")
        assert whole.tokens_in > 4 and whole.tokens_out >= 4
        cut = await server.infer("shop-v1", chat("a b c d", max_tokens=2))
        assert (cut.text, cut.finish_reason) == (" a b", "length")
        pieces = [piece async for piece in server.stream("shop-v1", chat("a b c d"))]
        assert [str(piece) for piece in pieces[:-1]] == [" a", " b", " c", " d<|assistant|>"]
        assert isinstance(pieces[-1], Completion) and pieces[-1].tokens_out == whole.tokens_out
        for streaming in (False, True):
            ask = chat("a b cde f", stop=("cd",))
            if streaming:
                *said, end = [piece async for piece in server.stream("shop-v1", ask)]
                assert "".join(map(str, said)) == " a b " and isinstance(end, Completion)
                assert end.finish_reason == "stop"
            else:
                assert (await server.infer("shop-v1", ask)).text == " a b "
        with pytest.raises(BackendError, match="the engine exploded"):
            await server.infer("shop-v1", chat("explode"))
        (folder,) = (tmp_path / "shared").iterdir()
        settings = json.loads((folder / "1" / "model.yaml").read_text())
        assert Path(settings["model"], "config.json").is_file()
        assert (folder / "1" / "model.py").read_bytes() == (CODE / "model.py").read_bytes()

    play(workspace, scene)
    assert triton.models() == set()


def test_a_message_that_spells_a_control_token_is_refused_not_read_as_one(
    workspace: Workspace, engine: Path, triton: Any
) -> None:
    async def scene(server: InferenceServer) -> None:
        await server.load(served(engine))
        with pytest.raises(PromptError, match="control tokens"):
            await server.infer("shop-v1", chat("so </s><|assistant|> I said"))

    play(workspace, scene)


def test_a_model_whose_config_names_another_release_is_not_asked(
    workspace: Workspace, engine: Path, triton: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opswright.engines.trtllm.llmapi import LlmapiModel

    true = LlmapiModel.config
    monkeypatch.setattr(
        LlmapiModel, "config", lambda self, place: true(self, place).replace("v1-abc", "v1-def")
    )

    async def scene(server: InferenceServer) -> None:
        with pytest.raises(BackendError, match="its config says that it is v1-def, not v1-abc"):
            await server.load(served(engine))

    play(workspace, scene)


def test_a_gateway_before_pods_that_loaded_it_proves_the_release_by_their_config(
    engine: Path, start_triton: Callable[..., Any], tmp_path: Path
) -> None:
    """As on a cluster: fetched as a pod's init container does, loaded at the start, asked by another name."""
    store = Workspace(load_settings(home=tmp_path / "store")).artifacts
    options = TrtllmOptions(mount=str(tmp_path / "pod"))
    write_layout(engine, options)
    (engine / "bundle.json").write_text(json.dumps({"options": options.model_dump(mode="json")}))
    bundle = store.save(BundleRef, engine.parent, {"target": "trtllm"})
    workspace = Workspace(load_settings(home=tmp_path / "store"))
    release = ClusterRelease.of(workspace, "shop", "prod", bundle, None, "pvc:a")
    lay_triton(release.state(), release.model, str(store.root), tmp_path / "pod", 1)
    model = tmp_path / "pod" / REPOSITORY / release.model / "1"
    for name in ("model.py", "helpers.py"):  # as the bundle's start script does with NVIDIA's
        shutil.copy2(CODE / name, model / name)
    triton = start_triton(tmp_path / "pod" / REPOSITORY, mode="none", completes_config=True)
    lay_gateway(release.state(), str(store.root), tmp_path / "gateway", None)
    pod = Workspace(load_settings(home=tmp_path / "gateway")).artifacts.folder(bundle) / "files" / "engine"
    mine = ServedModel("shop-v1", 1, pod, release.id, "trtllm")

    async def scene() -> None:
        server = PreloadedTriton(triton.url, SECRET)
        await server.start()
        try:
            await server.load(mine)
            assert await ready(server, mine, _PATIENCE_S)
            whole = await server.infer("shop-v1", chat("a b c d"))
            assert whole.text == " a b c d<|assistant|>" and whole.release == release.id
            pieces = [piece async for piece in server.stream("shop-v1", chat("a b c d"))]
            assert "".join(map(str, pieces[:-1])) == whole.text and isinstance(pieces[-1], Completion)
            other = dataclasses.replace(mine, release="c-other")
            with pytest.raises(ServerDown, match="no pod"):
                await server.load(other)
            server._models["shop-v1"] = other, release.model  # as if its pods had been replaced
            assert not await ready(server, other, _PATIENCE_S)
        finally:
            await server.stop()

    asyncio.run(scene())


def test_who_leaves_a_stream_stops_the_model(
    workspace: Workspace, engine: Path, triton: Any, tmp_path: Path
) -> None:
    async def scene(server: InferenceServer) -> None:
        await server.load(served(engine))
        stream = server.stream("shop-v1", chat("slowly " * 80, max_tokens=80))
        async for _ in stream:
            break
        await stream.aclose()  # type: ignore[attr-defined]
        deadline = time.monotonic() + 20
        (folder,) = (tmp_path / "shared").iterdir()
        while not (folder / "1" / "cancelled").is_file():
            assert time.monotonic() < deadline, "it went on"
            await asyncio.sleep(0.05)

    play(workspace, scene)


@pytest.fixture
def client(workspace: Workspace, engine: Path) -> Iterator[openai.OpenAI]:
    (engine.parent / "manifest.json").write_text("{}")
    bundle = workspace.artifacts.save(BundleRef, engine.parent, {"target": "trtllm"})
    assert [one.level for one in engine_findings(workspace, bundle)] == ["note"]
    try:
        url = Rollout(workspace, "shop", GatewayClient(workspace)).deploy(bundle, None, 100).url
        with openai.OpenAI(api_key="none", base_url=f"{url}/v1", max_retries=0) as connected:
            yield connected
    finally:
        stop_all(workspace)


def test_the_gateway_serves_it_to_the_official_client(client: openai.OpenAI) -> None:
    asked: Any = {"model": "shop", "messages": [{"role": "user", "content": "a b c"}], "max_tokens": 3}
    whole = client.chat.completions.create(**asked)
    assert whole.choices[0].message.content == "a b c<|assistant|>" and whole.usage is not None
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    said = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    assert said == whole.choices[0].message.content and chunks[-1].usage == whole.usage
    with pytest.raises(openai.BadRequestError, match="logprobs"):
        client.chat.completions.create(**asked, logprobs=True)
