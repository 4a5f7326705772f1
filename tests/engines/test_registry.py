"""An engine of another package, found by its entry point: built, evaluated and served like any other."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import BundleRef, CheckpointRef, DatasetRef
from opswright.core.contract import StepContext
from opswright.core.errors import AskError, BackendError
from opswright.core.machine import Machine
from opswright.core.settings import load_settings
from opswright.core.settings.serving import ServingSettings
from opswright.core.workspace import Workspace
from opswright.engines import PromptError
from opswright.engines.registry import GROUP, engine_target, engine_targets
from opswright.evals.report import read_report
from opswright.serving.in_process import InProcessServer
from opswright.serving.rollout.checks import engine_findings
from opswright.serving.server import Completion, Generation, ServedModel
from opswright.serving.triton.repository import ModelRepository
from opswright.skills.build_engine import BuildEngineRequest, build_engine
from opswright.skills.evaluate import EvaluateRequest, evaluate
from opswright.ui.doctor import examine

LAPTOP = Machine("linux", "x86_64", "3.11.7", 2, 16.0, 100.0, ())
BUILT_IN = ["onnx-int8", "onnx-int4", "onnx-fp32", "trtllm", "trtllm-engine"]
TOY = '''
"""An engine that says the words of its folder in turn: a package of its own would look like this."""
import time
from pathlib import Path

from opswright.engines import GenerationResult
from opswright.engines.builders import BuildResult, compare_engines
from opswright.engines.registry import EngineTarget


class Echo:
    version = "echo 1"

    def __init__(self, folder, threads):
        self.words = (Path(folder) / "words.txt").read_text()
        self.busy = False

    def generate(self, chats, options, progress=None):
        if self.busy:
            raise RuntimeError("asked by two at once")
        self.busy = True
        time.sleep(0.01)
        results = [self.answer(chat[-1]["content"], options) for chat in chats]
        self.busy = False
        if progress is not None:
            progress(len(chats), len(chats))
        return results

    def answer(self, text, options):
        if text == "too long":
            return GenerationResult.refused("it does not fit")
        said = f"{self.words} {text}".split()
        reason = "length" if len(said) > options.max_tokens else "stop"
        said = said[: options.max_tokens]
        return GenerationResult(" ".join(said), reason, len(text.split()), len(said))

    def close(self):
        self.words = ""


class EchoBuilder:
    def __init__(self, options):
        pass

    def build(self, checkpoint, folder, prompts, *, calibration, max_new_tokens, **given):
        engine = folder / "engine"
        engine.mkdir(parents=True)
        (engine / "words.txt").write_text((checkpoint / "words.txt").read_text())
        cases = compare_engines(Echo(checkpoint, 1), Echo(engine, 1), prompts, max_new_tokens)
        return BuildResult(engine, "echo", {"echo": "1"}, tuple(cases))


TARGET = EngineTarget("echo", "the echo", Echo, EchoBuilder, runs_with=("echo_engine",))
NOT_ONE = "echo"
'''


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package `echo-engine` on the path, as pip would lay it out."""
    folder = tmp_path / "site"
    info = folder / "echo_engine-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "echo_engine.py").write_text(TOY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: echo-engine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\necho = echo_engine:TARGET\n")
    monkeypatch.syspath_prepend(str(folder))
    yield
    sys.modules.pop("echo_engine", None)


@pytest.fixture
def checkpoint(workspace: Workspace) -> CheckpointRef:
    with workspace.artifacts.staging() as folder:
        (folder / "words.txt").write_text("play music")
        return workspace.artifacts.save(CheckpointRef, folder, {})


@pytest.fixture
def bundle(
    installed: None,
    checkpoint: CheckpointRef,
    workspace: Workspace,
    context: Callable[..., StepContext],
) -> BundleRef:
    with workspace.artifacts.staging() as folder:
        rows = [{"messages": [{"role": "user", "content": text}]} for text in ("one", "two", "too long")]
        (folder / "validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        prompts = workspace.artifacts.save(DatasetRef, folder, {})
    ask = BuildEngineRequest(model=checkpoint, target="echo", parity_data=prompts)
    result = build_engine(ask, context("engine"))
    assert (result.agreement, result.n) == (1.0, 2)  # what both refuse is not compared
    return result.bundle


def test_a_target_that_is_not_known_is_told_the_nearest_one() -> None:
    with pytest.raises(AskError, match=r"unknown engine target 'onnx-in8' .*Did you mean 'onnx-int8'"):
        engine_target("onnx-in8")
    with pytest.raises(AskError, match=r"argument 'target': .*Did you mean 'onnx-int8'"):
        build_engine.parse({"model": str(CheckpointRef.of("1" * 64)), "target": "onnx-in8"})


def test_an_entry_point_that_is_no_target_is_named_and_cannot_take_a_built_in_name(installed: None) -> None:
    wrong = EntryPoint("echo", "echo_engine:NOT_ONE", GROUP)
    with pytest.raises(BackendError, match="echo_engine:NOT_ONE is not the EngineTarget 'echo'"):
        engine_target("echo", [wrong])
    twice = EntryPoint("onnx-int8", "echo_engine:TARGET", GROUP)
    assert engine_target("onnx-int8", [twice]).summary == "ONNX Runtime GenAI"
    assert [target.name for target in engine_targets([twice])] == BUILT_IN
    with pytest.raises(BackendError, match="is not the EngineTarget 'louder'"):
        engine_target("louder", [EntryPoint("louder", "echo_engine:TARGET", GROUP)])


def test_an_installed_engine_stands_beside_the_built_in_ones(installed: None, workspace: Workspace) -> None:
    assert [target.name for target in engine_targets()] == [*BUILT_IN, "echo"]
    lines = {line.ability: line.can for line in examine(workspace)}
    assert lines["build and run engines with the echo"] == "yes"
    assert sum("ONNX Runtime GenAI" in ability for ability in lines) == 1


def test_preflight_and_estimate_ask_the_target(
    installed: None, checkpoint: CheckpointRef, workspace: Workspace
) -> None:
    assert build_engine.preflight and build_engine.estimate
    ask = BuildEngineRequest(model=checkpoint, target="echo")
    assert {one.level for one in build_engine.preflight(ask, LAPTOP, workspace)} == {"ok"}
    assert build_engine.estimate(ask, LAPTOP, workspace).minutes is None  # nobody knows, so it is not guessed


def test_its_bundle_is_evaluated_and_what_was_cut_is_said(
    bundle: BundleRef, workspace: Workspace, context: Callable[..., StepContext]
) -> None:
    assert evaluate.preflight is not None
    ask = EvaluateRequest(model=bundle, suite="clinc150", limit=20, max_new_tokens=2)
    assert {one.level for one in evaluate.preflight(ask, LAPTOP, workspace)} <= {"ok", "warn"}
    result = evaluate(ask, context("eval"))
    report = read_report(workspace.artifacts.open(result.report))
    assert result.cut == result.n == 20 and {item.got for item in report.items} == {"play music"}
    assert "20 of 20 answers were cut at 2 tokens" in result.note
    assert {item.finish for item in report.items} == {"length"}
    free = evaluate(ask.model_copy(update={"max_new_tokens": 200}), context("free"))
    assert free.cut == 0 and "cut" not in free.note


def test_its_bundle_is_served_in_process_whole_and_as_a_stream(
    bundle: BundleRef, workspace: Workspace
) -> None:
    engine = workspace.artifacts.open(bundle).path / "engine"

    async def scene() -> None:
        server = InProcessServer(lambda model: 1)
        await server.load(ServedModel("support-v1", 1, engine, "v1-abc", "echo"))
        ask = Generation('[{"role": "user", "content": "jazz"}]')
        assert await server.infer("support-v1", ask) == Completion("play music jazz", "stop", 1, 3, "v1-abc")
        pieces = [piece async for piece in server.stream("support-v1", ask)]
        assert pieces == ["play music jazz", Completion("", "stop", 1, 3, "v1-abc")]
        together = await asyncio.gather(*(server.infer("support-v1", ask) for _ in range(5)))
        assert len(set(together)) == 1
        with pytest.raises(PromptError, match="it does not fit"):
            await server.infer("support-v1", Generation('[{"role": "user", "content": "too long"}]'))
        with pytest.raises(PromptError, match="chat template"):
            await server.infer("support-v1", Generation("no json"))
        await server.stop()
        assert await server.versions() == {}

    asyncio.run(scene())


def test_triton_says_that_it_cannot_run_it(
    bundle: BundleRef, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_SERVER", str(tmp_path / "tritonserver"))
    (stop,) = engine_findings(workspace, bundle)
    assert (stop.level, "target 'echo' here: it is served in-process only" in stop.message) == ("stop", True)
    serving = ServingSettings.model_validate({"server": "in-process"})
    in_process = Workspace(load_settings(home=workspace.root, serving=serving))
    assert engine_findings(in_process, bundle) == []
    with workspace.artifacts.staging() as folder:
        (folder / "manifest.json").write_text("{}")
        gone = workspace.artifacts.save(BundleRef, folder, {"target": "gone"})
    assert "unknown engine target 'gone'" in engine_findings(in_process, gone)[0].message
    model = ServedModel("support-v1", 1, tmp_path, "v1-abc", "echo")
    with pytest.raises(BackendError, match="target 'echo': it is served in-process only"):
        ModelRepository(tmp_path / "repository").write(model, threads=1)
    assert [path.name for path in tmp_path.glob(".staging*")] == []


def test_a_bundle_whose_engine_is_gone_is_named_by_its_target(
    bundle: BundleRef, workspace: Workspace, context: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: Sequence[str] = [path for path in sys.path if not path.endswith("site")]
    monkeypatch.setattr(sys, "path", list(kept))
    with pytest.raises(AskError, match="unknown engine target 'echo'"):
        evaluate(EvaluateRequest(model=bundle, suite="clinc150"), context())
