"""Building engines for real: ONNX Runtime GenAI exports a trained model, and both must answer alike."""

from __future__ import annotations

import json
import random
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

import opswright
from opswright.compute.local import LocalCompute
from opswright.core.artifact_refs import CheckpointRef, DatasetRef
from opswright.core.contract import StepContext
from opswright.core.errors import BackendError, HeldError
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.engines import GenerationOptions, user_chat
from opswright.engines.builders.onnx import OnnxBuilder
from opswright.engines.onnx import OnnxEngine
from opswright.engines.registry import engine_target
from opswright.skills.build_engine import BuildEngineRequest, build_engine, run_as_job
from opswright.skills.finetune import FinetuneRequest, finetune

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
RAW = Path(opswright.__file__).parent / "examples" / "support_router" / "raw" / "clinc150"


def chat(text: str, label: str) -> str:
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": label}]
    return json.dumps({"messages": messages}) + "\n"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(load_settings(home=tmp_path_factory.mktemp("engines") / "workspace", actor="tester"))


@pytest.fixture(scope="module")
def data(shared: Workspace) -> DatasetRef:
    intents = set(json.loads((RAW / "domains.json").read_text())["banking"])
    rows = [
        (text, intent)
        for text, intent in json.loads((RAW / "data_full.json").read_text())["train"]
        if intent in intents
    ]
    random.Random(1).shuffle(rows)
    with shared.artifacts.staging() as folder:
        (folder / "train.jsonl").write_text("".join(chat(*row) for row in rows[:300]))
        (folder / "validation.jsonl").write_text("".join(chat(*row) for row in rows[300:500]))
        return shared.artifacts.save(DatasetRef, folder, {"train_rows": 300, "validation_rows": 200})


@pytest.fixture(scope="module")
def model(shared: Workspace, data: DatasetRef) -> CheckpointRef:
    ask = FinetuneRequest(data=data, max_steps=80, batch_size=32, epochs=20)
    made = finetune(ask, step(shared, "model")).checkpoint
    assert made is not None
    return made


def step(workspace: Workspace, name: str) -> StepContext:
    workdir = workspace.run_folder("run-0") / name
    workdir.mkdir(parents=True, exist_ok=True)
    return StepContext(workspace, "run-0", name, f"run-0-{name}", workdir)


def test_an_int8_engine_answers_as_its_checkpoint_and_runs_from_its_bundle(
    shared: Workspace, data: DatasetRef, model: CheckpointRef
) -> None:
    ask = BuildEngineRequest(model=model, parity_data=data, min_agreement=0.95)
    result = build_engine(ask, step(shared, "int8"))
    assert result.n == 200 and result.agreement >= 0.95
    bundle = shared.artifacts.open(result.bundle)
    assert {"engine/model.onnx", "engine/genai_config.json", "engine/tokenizer.json"} <= set(bundle.files)
    assert bundle.size_bytes < shared.artifacts.open(model).size_bytes

    engine = OnnxEngine(bundle.path / "engine")
    texts = ["what is my balance", "i want to pay my bill now please", "freeze my account", "balance"]
    options = GenerationOptions(max_tokens=8)
    together = [one.text for one in engine.generate([user_chat(text) for text in texts], options)]
    assert together == [engine.generate([user_chat(text)], options)[0].text for text in texts]
    assert all(together)


def test_the_engine_reads_and_writes_odd_text_as_its_checkpoint_does(
    shared: Workspace, data: DatasetRef, model: CheckpointRef
) -> None:
    import onnxruntime_genai as og
    from transformers import AutoTokenizer

    result = build_engine(
        BuildEngineRequest(model=model, parity_data=data, min_agreement=0.9), step(shared, "odd")
    )
    ours = AutoTokenizer.from_pretrained(shared.artifacts.open(model).path)
    theirs = og.Tokenizer(og.Model(str(shared.artifacts.open(result.bundle).path / "engine")))
    texts = [
        '{"name": "search_docs", "arguments": {"max_new_tokens": 64}}',
        "def f_1(a_b):\r\n\treturn a_b  # x",
        "__init__ _a a_ a__b 12_345",
        "re\u0301sume\u0301 \u65e5\u672c_\u8a9e don't",
        "  two  spaces \t",
    ]
    for text in texts:
        tokens = ours.encode(text, add_special_tokens=False)
        assert theirs.encode(text).tolist() == tokens and theirs.decode(tokens) == text


def test_full_precision_agrees_on_every_prompt_and_an_impossible_bar_is_refused(
    shared: Workspace, data: DatasetRef, model: CheckpointRef
) -> None:
    ask = BuildEngineRequest(model=model, parity_data=data, target="onnx-fp32", min_agreement=1.0)
    assert build_engine(ask, step(shared, "fp32")).agreement == 1.0
    coarse = ask.model_copy(update={"target": "onnx-int4", "options": {"fall_back": False}})
    before = len(shared.artifacts.list("bundle"))
    with pytest.raises(BackendError, match=r"onnx-int4 engine answers \d+ of 200 prompts.*They differ on '"):
        build_engine(coarse, step(shared, "int4"))
    assert len(shared.artifacts.list("bundle")) == before


def test_a_precision_that_answers_differently_gives_way_to_the_next_and_it_is_said(
    shared: Workspace, data: DatasetRef, model: CheckpointRef
) -> None:
    ask = BuildEngineRequest(model=model, parity_data=data, target="onnx-int4", min_agreement=1.0)
    result = build_engine(ask, step(shared, "finer"))
    assert result.agreement == 1.0 and result.target in ("onnx-int8", "onnx-fp32")
    assert result.fell_back is not None and "onnx-int4 was asked for" in result.fell_back
    bundle = shared.artifacts.open(result.bundle)
    assert bundle.facts["target"] == result.target
    assert bundle.facts["fell_back"][0]["precision"] == "int4"
    with closing(engine_target(result.target).open(bundle.path / "engine", 1)) as engine:
        (answer,) = engine.generate([user_chat("what is my balance")], GenerationOptions(max_tokens=8))
    assert answer.text


def test_a_build_that_fails_names_the_reason_and_the_log(shared: Workspace, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    run = partial(run_as_job, step(shared, "fails"), LocalCompute(), tmp_path / "log")
    asked = ({"role": "user", "content": "hi"},)
    with pytest.raises(BackendError) as error:
        OnnxBuilder(["int8"]).build(
            checkpoint, tmp_path / "out", [asked], max_new_tokens=4, threads=1, run=run
        )
    assert error.value.log == tmp_path / "log" and "ended with code 1" in str(error.value)


def test_a_build_that_is_stopped_leaves_nothing_behind(
    shared: Workspace, data: DatasetRef, model: CheckpointRef
) -> None:
    ctx = step(shared, "stopped")
    ctx.cancelled.set()
    with pytest.raises(HeldError):
        build_engine(BuildEngineRequest(model=model, parity_data=data), ctx)
    assert not list(ctx.workdir.rglob("*.onnx")) and ctx.job is None
