"""The engine skill: its parity gate, its prompts, its bundle, with a builder that answers as told."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from opswright.compute.local import LocalCompute
from opswright.core.artifact_refs import AdapterRef, CheckpointRef, DatasetRef, EvalReportRef
from opswright.core.contract import StepContext
from opswright.core.errors import AskError, BackendError, IntegrityError
from opswright.core.files import sha256_path
from opswright.core.machine import Machine
from opswright.core.workspace import Workspace
from opswright.engines import onnx_targets
from opswright.engines.base import Chat
from opswright.engines.builders import BuildResult, EngineBuilder, ParityCase, RunWorker, WorkerCall
from opswright.skills.build_engine import BuildEngineRequest, build, build_engine, run_as_job

LAPTOP = Machine("linux", "x86_64", "3.11.7", 2, 16.0, 100.0, ())


class FakeBuilder:
    def __init__(self, wrong: int = 0, target: str = "onnx-int8", **facts: Any) -> None:
        self.wrong, self.target, self.facts = wrong, target, facts
        self.asked: list[str] = []
        self.chats: list[Any] = []

    def build(
        self,
        checkpoint: Path,
        folder: Path,
        prompts: Sequence[Chat],
        *,
        calibration: Sequence[Chat],
        max_new_tokens: int,
        min_agreement: float,
        threads: int,
        kept: Path,
        run: RunWorker,
    ) -> BuildResult:
        self.checkpoint = checkpoint
        out = folder / "engine"
        out.mkdir(parents=True, exist_ok=True)
        (out / "model.onnx").write_bytes(bytes(10))
        self.chats = [list(chat) for chat in prompts]
        self.asked = [chat[-1]["content"] for chat in prompts]
        cases = tuple(
            ParityCase(text, "balance", "other" if i < self.wrong else "balance", i)
            for i, text in enumerate(self.asked)
        )
        return BuildResult(out, self.target, {"onnx": "1"}, cases, self.facts)


@pytest.fixture
def model(workspace: Workspace) -> CheckpointRef:
    with workspace.artifacts.staging() as folder:
        (folder / "config.json").write_text("{}")
        return workspace.artifacts.save(CheckpointRef, folder, {"parameters": 1})


@pytest.fixture
def prompts(workspace: Workspace) -> DatasetRef:
    lines = [
        json.dumps(
            {"messages": [{"role": "user", "content": f"text {i}"}, {"role": "assistant", "content": "x"}]}
        )
        for i in range(200)
    ]
    with workspace.artifacts.staging() as folder:
        (folder / "validation.jsonl").write_text("\n".join(lines) + "\n")
        return workspace.artifacts.save(DatasetRef, folder, {"train_rows": 0, "validation_rows": 200})


def test_an_engine_that_answers_alike_becomes_a_bundle_with_its_manifest(
    model: CheckpointRef, prompts: DatasetRef, context: Callable[..., StepContext], workspace: Workspace
) -> None:
    request = BuildEngineRequest(model=model, parity_data=prompts)
    builder: EngineBuilder = FakeBuilder(wrong=2)
    result = build(request, context(), builder)
    assert (result.agreed, result.n, result.agreement) == (198, 200, 0.99)
    bundle = workspace.artifacts.open(result.bundle)
    assert bundle.parents == (model,) and bundle.facts["target"] == "onnx-int8"
    assert bundle.facts["parity"]["agree"] == 198 and "engine/model.onnx" in bundle.files
    manifest = bundle.read_json("manifest.json")
    assert manifest["checkpoint"] == model and manifest["tools"] == {"onnx": "1"}
    assert manifest["differing"][0] == {"text": "text 0", "checkpoint": "balance", "engine": "other"}


def test_an_engine_that_answers_differently_is_not_saved_and_the_prompts_are_named(
    model: CheckpointRef, prompts: DatasetRef, context: Callable[..., StepContext], workspace: Workspace
) -> None:
    request = BuildEngineRequest(model=model, parity_data=prompts)
    with pytest.raises(BackendError, match=r"196 of 200 .*98\.0%; at least 98\.5%.*'text 0': checkpoint"):
        build(request, context(), FakeBuilder(wrong=4))
    assert workspace.artifacts.list("bundle") == []


def test_parity_prompts_are_spread_over_where_they_come_from(
    model: CheckpointRef, prompts: DatasetRef, context: Callable[..., StepContext]
) -> None:
    builder = FakeBuilder()
    build(BuildEngineRequest(model=model, parity_data=prompts, parity_items=4), context(), builder)
    assert builder.asked == ["text 0", "text 50", "text 100", "text 150"]


def test_without_a_dataset_the_prompts_are_the_suites(
    model: CheckpointRef, context: Callable[..., StepContext]
) -> None:
    builder = FakeBuilder()
    build(BuildEngineRequest(model=model, parity_suite="clinc150", parity_items=7), context(), builder)
    assert len(set(builder.asked)) == 7
    with pytest.raises(AskError, match="unknown suite 'clinc'"):
        build(BuildEngineRequest(model=model, parity_suite="clinc"), context(), builder)


SUITE = """
task: classify
prompt: {system: Answer in one word.}
samples:
  - {id: a, text: what is left, target: balance}
  - {id: b, text: what is due, target: balance}
  - {id: c, text: who is there, target: other}
  - {id: d, text: where is it, target: other}
"""


def test_a_suites_prompts_are_asked_as_the_suite_asks_them_and_scored_by_its_first_scorer(
    model: CheckpointRef, context: Callable[..., StepContext], tmp_path: Path, workspace: Workspace
) -> None:
    suite = tmp_path / "ask.yaml"
    suite.write_text(SUITE)
    builder = FakeBuilder()
    result = build(BuildEngineRequest(model=model, parity_suite=suite), context(), builder)
    assert builder.chats[0][0] == {"role": "system", "content": "Answer in one word."}
    assert (result.metric, result.checkpoint_score, result.engine_score) == ("exact_match", 0.5, 0.5)
    assert workspace.artifacts.open(result.bundle).facts["parity"]["prompts"] == "suite ask"
    asked = {"model": model, "parity_suite": suite, "min_agreement": 0.5}
    with pytest.raises(BackendError, match=r"scores 25\.0% by exact_match, its checkpoint 50\.0%"):
        build(BuildEngineRequest(**asked), context(), FakeBuilder(wrong=1))
    lenient = BuildEngineRequest(**asked, max_score_drop=0.3)
    assert build(lenient, context(), FakeBuilder(wrong=1)).engine_score == 0.25


def test_without_a_suite_it_is_the_one_the_model_was_judged_on(
    model: CheckpointRef, prompts: DatasetRef, context: Callable[..., StepContext], workspace: Workspace
) -> None:
    with workspace.artifacts.staging() as folder:
        (folder / "items.jsonl").write_text("")
        facts = {"model": str(model), "suite": "banking77", "suite_digest": "d" * 64, "value": 0.9}
        workspace.artifacts.save(EvalReportRef, folder, facts)
    builder = FakeBuilder()
    result = build(BuildEngineRequest(model=model, parity_items=3), context(), builder)
    assert workspace.artifacts.open(result.bundle).facts["parity"]["prompts"] == "suite banking77"
    named = build(BuildEngineRequest(model=model, parity_data=prompts), context(), FakeBuilder())
    assert workspace.artifacts.open(named.bundle).facts["parity"]["prompts"] == prompts


def test_without_either_the_prompts_are_of_the_data_the_model_was_trained_on(
    prompts: DatasetRef, model: CheckpointRef, context: Callable[..., StepContext], workspace: Workspace
) -> None:
    with workspace.artifacts.staging() as folder:
        (folder / "weights").write_text("w")
        trained = workspace.artifacts.save(CheckpointRef, folder, {}, [prompts])
    builder = FakeBuilder()
    build(BuildEngineRequest(model=trained, parity_items=2), context(), builder)
    assert builder.asked == ["text 0", "text 100"]
    with pytest.raises(AskError, match="does not say what it was trained on"):
        build(BuildEngineRequest(model=model), context(), builder)


def test_a_dataset_without_validation_rows_has_nothing_to_compare_on(
    model: CheckpointRef, context: Callable[..., StepContext], workspace: Workspace
) -> None:
    with workspace.artifacts.staging() as folder:
        (folder / "validation.jsonl").write_text("")
        empty = workspace.artifacts.save(DatasetRef, folder, {})
    with pytest.raises(AskError, match="no prompts for the parity check"):
        build(BuildEngineRequest(model=model, parity_data=empty), context(), FakeBuilder())


def test_a_target_there_is_no_builder_for_is_refused_by_the_request(model: CheckpointRef) -> None:
    with pytest.raises(ValidationError, match="onnx-int8"):
        BuildEngineRequest.model_validate({"model": model, "target": "onnx-int7"})


def test_the_builders_command_is_a_job_in_its_folder(
    context: Callable[..., StepContext], tmp_path: Path
) -> None:
    ctx, folder = context(), tmp_path / "build"

    def prepare() -> None:
        folder.mkdir()
        (folder / "asked").write_text("int8\n")

    command = ("bash", "-c", "cat asked > engine; echo $THREADS >> engine; echo told")
    call = WorkerCall(
        command=command,
        folder=folder,
        inputs=("asked",),
        outputs=("engine",),
        environment={"THREADS": "2"},
        prepare=prepare,
    )
    done = run_as_job(ctx, LocalCompute(), tmp_path / "log", call)
    assert (done / "engine").read_text() == "int8\n2\n" and (tmp_path / "log").read_text() == "told\n"
    assert ctx.job is not None and ctx.job.backend == "local"


def test_a_compute_backend_there_is_none_of_stops_the_plan(
    model: CheckpointRef, workspace: Workspace
) -> None:
    assert build_engine.preflight
    request = BuildEngineRequest(model=model, compute="slrum")
    stops = [f for f in build_engine.preflight(request, LAPTOP, workspace) if f.level == "stop"]
    assert [f.message for f in stops] == [
        "unknown compute backend 'slrum' (there are: local, slurm, kubernetes). Did you mean 'slurm'?"
    ]


def test_preflight_is_content_and_minutes_are_known_for_a_small_model(
    model: CheckpointRef, workspace: Workspace
) -> None:
    request = BuildEngineRequest(model=model)
    assert build_engine.preflight and build_engine.estimate
    assert {f.level for f in build_engine.preflight(request, LAPTOP, workspace)} == {"ok"}
    pending = request.model_copy(update={"model": CheckpointRef.pending()})
    assert {f.level for f in build_engine.preflight(pending, LAPTOP, workspace)} == {"ok"}
    minutes = build_engine.estimate(request, LAPTOP, workspace).minutes
    assert minutes is not None and minutes < 1


def adapters_on(base: Path, workspace: Workspace) -> AdapterRef:
    with workspace.artifacts.staging() as folder:
        (folder / "adapter_model.safetensors").write_bytes(b"adapters")
        facts = {"base": str(base), "base_digest": sha256_path(base)}
        return workspace.artifacts.save(AdapterRef, folder, facts)


def test_adapters_are_built_on_the_very_base_they_were_trained_on(
    prompts: DatasetRef, context: Callable[..., StepContext], workspace: Workspace, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "model.safetensors").write_bytes(bytes(100))
    adapter = adapters_on(base, workspace)
    ask = BuildEngineRequest(model=adapter, parity_data=prompts)
    builder = FakeBuilder()
    result = build(ask, context(), builder)
    assert workspace.artifacts.open(result.bundle).parents == (adapter,) and builder.checkpoint == base
    assert build_engine.preflight is not None and build_engine.estimate is not None
    assert not [one for one in build_engine.preflight(ask, LAPTOP, workspace) if one.level == "stop"]
    assert (build_engine.estimate(ask, LAPTOP, workspace).disk_bytes or 0) > 400  # the base's weights too
    (base / "model.safetensors").write_bytes(b"\1" * 100)
    with pytest.raises(IntegrityError, match="is not the base that adapter:"):
        build(ask, context(), builder)


def test_a_target_of_merged_weights_names_the_checkpoint_that_has_them(
    context: Callable[..., StepContext],
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "model.safetensors").write_bytes(bytes(100))
    adapter = adapters_on(base, workspace)
    with workspace.artifacts.staging() as folder:
        (folder / "config.json").write_text("{}")
        facts = workspace.artifacts.open(adapter).facts
        merged = workspace.artifacts.save(CheckpointRef, folder, facts)
    monkeypatch.setattr(onnx_targets, "INT4", replace(onnx_targets.INT4, adapter_builder=None))
    ask = BuildEngineRequest(model=adapter, target="onnx-int4")
    with pytest.raises(AskError, match=f"onnx-int4 is built from merged weights.*{merged}"):
        build_engine(ask, context())
    assert build_engine.preflight is not None
    told = [one for one in build_engine.preflight(ask, LAPTOP, workspace) if one.level == "stop"]
    assert merged in told[0].fix


def test_what_stops_a_target_stops_its_step_too(
    workspace: Workspace, prompts: DatasetRef, context: Callable[..., StepContext]
) -> None:
    """The step may run later than pre-flight did, on a checkpoint that was not there then."""
    with workspace.artifacts.staging() as folder:
        (folder / "config.json").write_text('{"model_type": "llama"}')
        model = workspace.artifacts.save(CheckpointRef, folder, {})
    options = {"gpu": "h100", "quantisation": "none", "container": "26.07", "tensorrt_llm": "1.2.0"}
    asked = BuildEngineRequest(model=model, target="trtllm", parity_data=prompts, options=options)
    with pytest.raises(AskError, match=r"has TensorRT-LLM 1\.2\.1, the bundle is for 1\.2\.0"):
        build_engine(asked, context("engine"))


def test_a_finer_precision_than_was_asked_is_said_in_result_and_bundle(
    model: CheckpointRef, prompts: DatasetRef, context: Callable[..., StepContext]
) -> None:
    ctx = context("engine")
    tried = [{"precision": "int8", "agree": 150, "n": 200}]
    asked = BuildEngineRequest(model=model, parity_data=prompts)
    built = build(asked, ctx, FakeBuilder(target="onnx-fp32", fell_back=tried))
    assert built.target == "onnx-fp32" and built.fell_back == (
        "onnx-int8 was asked for and onnx-fp32 built: int8 answered 150 of 200 prompts alike, under 98.5%."
    )
    bundle = ctx.artifacts.open(built.bundle)
    assert (bundle.facts["target"], bundle.facts["fell_back"]) == ("onnx-fp32", tried)
    plain = build(asked, context("plain"), FakeBuilder())
    assert plain.target == "onnx-int8" and plain.fell_back is None


def test_the_finest_precision_that_still_differs_is_refused_by_its_own_name(
    model: CheckpointRef, prompts: DatasetRef, context: Callable[..., StepContext]
) -> None:
    tried = [{"precision": "int8", "agree": 150, "n": 200}]
    with pytest.raises(BackendError, match="the onnx-fp32 engine answers 150 of 200 prompts"):
        build(
            BuildEngineRequest(model=model, parity_data=prompts),
            context("engine"),
            FakeBuilder(50, target="onnx-fp32", fell_back=tried),
        )
