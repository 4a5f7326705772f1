"""Adapters that stay beside their base: evaluated, served, and refused where they do not belong."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import AdapterRef, CheckpointRef, DatasetRef
from opswright.core.contract import StepContext
from opswright.core.errors import AskError, BackendError, IntegrityError
from opswright.core.files import sha256_file, sha256_path
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.data.dataset import DatasetWriter
from opswright.data.sample import Sample
from opswright.engines import GenerationOptions
from opswright.engines.base import user_chat
from opswright.engines.checkpoint import CheckpointEngine
from opswright.engines.onnx import OnnxEngine
from opswright.engines.ort_llm.generation import ADAPTER
from opswright.evals.lineage import training_datasets
from opswright.evals.report import read_report
from opswright.serving.server import Generation, ServedModel
from opswright.serving.triton.environment import PlatformFacts, locate
from opswright.serving.triton.server import TritonServer
from opswright.skills.build_engine import BuildEngineRequest, build_engine
from opswright.skills.evaluate import EvaluateRequest, EvaluateResult, evaluate
from opswright.skills.finetune import FinetuneRequest, FinetuneResult, finetune

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
MAKE_BASE = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tiny_bases import CHATML, make_base
make_base(Path(sys.argv[2]), CHATML, json.loads(sys.argv[3]), hidden=int(sys.argv[4]))
"""
MAKE_ADAPTERS = """
import sys, torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
for rank, folder in ((8, sys.argv[2]), (4, sys.argv[3])):
    torch.manual_seed(rank)
    names = [f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")]
    config = LoraConfig(r=rank, target_modules=names, init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(sys.argv[1]), config).save_pretrained(folder)
"""


def line(a: str, b: str) -> str:
    said = [{"role": "user", "content": a}, {"role": "assistant", "content": b}]
    return json.dumps({"messages": said}) + "\n"


ROWS = [(f"{a} plus {b}", str(n + m)) for n, a in enumerate(WORDS) for m, b in enumerate(WORDS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    items = [json.dumps({"text": a, "label": b}) + "\n" for a, b in ROWS[:24]]
    (folder / "sums.jsonl").write_text("".join(items))
    (folder / "sums.yaml").write_text("name: sums\nsamples: {file: sums.jsonl}\ntask: classify\n")
    return folder


@pytest.fixture(scope="module")
def shared(folder: Path) -> Workspace:
    return Workspace(load_settings(home=folder / "workspace", actor="tester"))


def make_base(folder: Path, hidden: int = 64) -> Path:
    texts = json.dumps([line(*row) for row in ROWS])
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", MAKE_BASE, here, str(folder), texts, str(hidden)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def base(folder: Path) -> Path:
    return make_base(folder / "base")


@pytest.fixture(scope="module")
def data(shared: Workspace) -> DatasetRef:
    with shared.artifacts.staging() as stage:
        with DatasetWriter(stage, seed=0) as writer:
            for number, (a, b) in enumerate(ROWS):
                writer.add(Sample.of(f"r{number}", a, b), "train", f"g{number}")
        return shared.artifacts.save(DatasetRef, stage, {"train_rows": 64, "validation_rows": 0})


def step(shared: Workspace, name: str) -> StepContext:
    workdir = shared.run_folder("run") / name
    workdir.mkdir(parents=True, exist_ok=True)
    return StepContext(shared, "run", name, f"key-{name}", workdir)


@pytest.fixture(scope="module")
def trained(shared: Workspace, data: DatasetRef, base: Path) -> FinetuneResult:
    ask = FinetuneRequest(
        data=data, base=base, method="lora", max_steps=160, epochs=40, batch_size=16, learning_rate=1e-2
    )
    return finetune(ask, step(shared, "lora"))


def measured(
    shared: Workspace, model: CheckpointRef | AdapterRef, folder: Path, name: str
) -> tuple[EvaluateResult, list[str | None]]:
    ask = EvaluateRequest(model=model, suite=folder / "sums.yaml", baselines=False, train=None)
    result = evaluate(ask, step(shared, name))
    items = read_report(shared.artifacts.open(result.report)).items
    return result, [item.got for item in items]


@pytest.fixture(scope="module")
def adapter(trained: FinetuneResult) -> AdapterRef:
    assert trained.adapter is not None
    return trained.adapter


def test_adapters_on_their_base_answer_as_the_merged_model_does(
    shared: Workspace, folder: Path, base: Path, trained: FinetuneResult, adapter: AdapterRef
) -> None:
    engine = CheckpointEngine(base)
    plain = [engine.generate([user_chat(a)], GenerationOptions(max_tokens=8))[0].text for a, _ in ROWS[:24]]
    with_them = CheckpointEngine(base, adapter=shared.artifacts.open(adapter).path)
    assert trained.checkpoint is not None
    merged = CheckpointEngine(shared.artifacts.open(trained.checkpoint).path)
    chats, answers = [user_chat(a) for a, _ in ROWS[:24]], [[b] for _, b in ROWS[:24]]
    unmerged_scores = [one[0].logprob for one in with_them.loglikelihood(chats, answers)]
    merged_scores = [one[0].logprob for one in merged.loglikelihood(chats, answers)]
    assert unmerged_scores == pytest.approx(merged_scores, abs=1e-3)
    told = [with_them.generate([chat], GenerationOptions(max_tokens=8))[0].text for chat in chats]
    assert told != plain and all(told)  # they change what the base says
    assert told == [merged.generate([chat], GenerationOptions(max_tokens=8))[0].text for chat in chats]


def test_a_suite_measures_adapters_and_finds_what_they_learned_from(
    shared: Workspace,
    folder: Path,
    data: DatasetRef,
    trained: FinetuneResult,
    adapter: AdapterRef,
) -> None:
    alone, got = measured(shared, adapter, folder, "unmerged")
    assert trained.checkpoint is not None
    merged, wanted = measured(shared, trained.checkpoint, folder, "merged")
    assert got == wanted and alone.value == merged.value
    assert training_datasets(shared.artifacts, adapter) == [data]
    facts = shared.artifacts.open(alone.report).facts
    assert facts["model"] == adapter
    assert (
        facts["size_bytes"] > shared.artifacts.open(adapter).size_bytes
    )  # the base's weights are part of it


def test_a_base_that_is_not_the_one_or_is_gone_is_refused(
    shared: Workspace, folder: Path, base: Path, adapter: AdapterRef
) -> None:
    weights, kept = base / "model.safetensors", (base / "model.safetensors").read_bytes()
    weights.write_bytes(kept[:-4] + b"\0\0\0\1")
    ask = EvaluateRequest(model=adapter, suite=folder / "sums.yaml", baselines=False)
    try:
        with pytest.raises(IntegrityError, match="is not the base that adapter:"):
            evaluate(ask, step(shared, "altered"))
        shutil.move(base, base.with_name("away"))
        with pytest.raises(AskError, match="adapters are nothing without it"):
            evaluate(ask, step(shared, "gone"))
        shutil.move(base.with_name("away"), base)
    finally:
        weights.write_bytes(kept)


def test_adapters_of_another_base_are_refused_not_half_used(
    shared: Workspace, tmp_path: Path, base: Path, adapter: AdapterRef
) -> None:
    own = shared.artifacts.open(adapter).path
    with pytest.raises(BackendError, match="do not fit the base"):
        CheckpointEngine(make_base(tmp_path / "other", hidden=96), adapter=own)
    cut = tmp_path / "cut"
    shutil.copytree(own, cut)
    config = json.loads((cut / "adapter_config.json").read_text())
    (cut / "adapter_config.json").write_text(json.dumps({**config, "target_modules": ["q_proj"]}))
    with pytest.raises(BackendError, match="are not for this base"):
        CheckpointEngine(base, adapter=cut)
    (cut / "adapter_model.safetensors").rename(cut / "adapter_model.bin")
    with pytest.raises(BackendError, match="pickles are not loaded"):
        CheckpointEngine(base, adapter=cut)


@pytest.fixture(scope="module")
def prompts(shared: Workspace) -> DatasetRef:
    """What the engines are compared on."""
    with shared.artifacts.staging() as stage:
        (stage / "validation.jsonl").write_text("".join(line(*row) for row in ROWS))
        return shared.artifacts.save(DatasetRef, stage, {"train_rows": 0, "validation_rows": len(ROWS)})


def build(
    shared: Workspace, prompts: DatasetRef, adapter: AdapterRef, target: str, min_agreement: float
) -> Path:
    """The engine folder of adapters."""
    ask = BuildEngineRequest(
        model=adapter, target=target, parity_data=prompts, min_agreement=min_agreement, max_new_tokens=8
    )
    result = build_engine(ask, step(shared, f"engine-{adapter.digest[:6]}"))
    bundle = shared.artifacts.open(result.bundle)
    assert bundle.parents == (adapter,) and bundle.facts["checkpoint"] == adapter
    return bundle.path / "engine"


@dataclass(frozen=True)
class Unmerged:
    """Adapters of random weights, and the engine made of them."""

    adapter: Path
    engine: Path


@pytest.fixture(scope="module")
def pair(shared: Workspace, base: Path, folder: Path, prompts: DatasetRef) -> list[Unmerged]:
    """Two of different rank and different modules' values on one base; what they say is gibberish."""
    command = [sys.executable, "-c", MAKE_ADAPTERS, str(base), str(folder / "r8"), str(folder / "r4")]
    subprocess.run(command, check=True, capture_output=True)
    facts = {"base": str(base), "base_digest": sha256_path(base)}
    made = []
    for name in ("r8", "r4"):
        ref = shared.artifacts.save(AdapterRef, folder / name, facts)
        engine = build(shared, prompts, ref, "onnx-fp32", min_agreement=0)
        made.append(Unmerged(folder / name, engine))
    return made


def first_logits(engine: Path, text: str) -> Any:
    """The logits (vocabulary) after a text, by the library itself."""
    import onnxruntime_genai as og

    model = og.Model(str(engine))
    generator = og.Generator(model, og.GeneratorParams(model))
    if (engine / ADAPTER).is_file():
        adapters = og.Adapters(model)
        adapters.load(str(engine / ADAPTER), "given")
        generator.set_active_adapter(adapters, "given")
    generator.append_tokens(og.Tokenizer(model).encode(text))
    return generator.get_logits().reshape(-1)


def expected_logits(base: Path, adapter: Path | None, text: str) -> Any:
    """The logits (vocabulary) after a text, by the base with the adapters on it."""
    import torch

    checkpoint = CheckpointEngine(base, adapter=adapter)
    with torch.inference_mode():
        ids = checkpoint.tokenizer(text, return_tensors="pt").input_ids
        return checkpoint.model(input_ids=ids).logits[0, -1].numpy()


def test_an_engine_with_adapters_gives_the_logits_of_the_checkpoint_with_them(
    base: Path, pair: list[Unmerged], tmp_path: Path
) -> None:
    text = "<|im_start|>user\none plus two"
    for one in pair:
        assert abs(first_logits(one.engine, text) - expected_logits(base, one.adapter, text)).max() < 1e-4
    alone = tmp_path / "alone"
    shutil.copytree(pair[0].engine, alone)
    (alone / ADAPTER).unlink()
    assert abs(first_logits(alone, text) - expected_logits(base, None, text)).max() < 1e-4


def said(engine: Path) -> list[str | None]:
    chats = [user_chat(a) for a, _ in ROWS[:24]]
    return [one.text for one in OnnxEngine(engine).generate(chats, GenerationOptions(max_tokens=8))]


def test_one_base_serves_whichever_adapters_lie_beside_it(pair: list[Unmerged], tmp_path: Path) -> None:
    one, other = pair
    for name in ("model.onnx", "model.onnx.data"):  # the base is the same to the byte, whatever the rank
        assert sha256_file(one.engine / name) == sha256_file(other.engine / name)
    swapped = tmp_path / "swapped"
    shutil.copytree(one.engine, swapped)
    shutil.copy2(other.engine / ADAPTER, swapped / ADAPTER)
    assert said(swapped) == said(other.engine) != said(one.engine)


def test_adapters_that_are_cut_are_no_engine(pair: list[Unmerged], tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(pair[0].engine, cut)
    (cut / ADAPTER).write_bytes((cut / ADAPTER).read_bytes()[:1000])
    with pytest.raises(BackendError, match="cannot load the engine"):
        OnnxEngine(cut)


def test_triton_serves_adapters_unmerged(
    shared: Workspace, prompts: DatasetRef, adapter: AdapterRef, triton_home: Path, tmp_path: Path
) -> None:
    engine = build(shared, prompts, adapter, "onnx-int8", min_agreement=0.9)
    server = TritonServer(
        tmp_path / "triton",
        tmp_path / "triton.log",
        lambda: locate(triton_home, PlatformFacts.here(), print),
        lambda model: 1,
        timeout_s=60,
    )

    async def served() -> list[str | None]:
        await server.start()
        try:
            await server.load(ServedModel("sums", 1, engine, "v1", "onnx-int8"))
            asked = [Generation(json.dumps(user_chat(a)), max_tokens=8) for a, _ in ROWS[:24]]
            return [(await server.infer("sums", one)).text for one in asked]
        finally:
            await server.stop()

    answers = asyncio.run(served())
    assert answers == said(engine) and all(answers)
