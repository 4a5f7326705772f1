"""Adapters that stay beside their base: evaluated as they are, and refused where they do not belong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from opswright.core.artifacts import AdapterRef, CheckpointRef, DatasetRef
from opswright.core.contract import StepContext
from opswright.core.errors import AskError, BackendError, IntegrityError
from opswright.core.machine import Machine
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.data.dataset import DatasetWriter
from opswright.data.sample import Sample
from opswright.engines import GenerationOptions
from opswright.engines.base import user_chat
from opswright.engines.checkpoint import CheckpointEngine
from opswright.evals.lineage import training_datasets
from opswright.evals.report import read_report
from opswright.skills.build_engine import BuildEngineRequest, build_engine
from opswright.skills.evaluate import EvaluateRequest, EvaluateResult, evaluate
from opswright.skills.finetune import FinetuneRequest, FinetuneResult, finetune

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
MAKE_BASE = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tiny_bases import CHATML, make_base
make_base(Path(sys.argv[2]), CHATML, json.loads(sys.argv[3]), hidden=int(sys.argv[4]))
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
        data=data, base=base, method="lora", max_steps=40, epochs=20, batch_size=16, learning_rate=2e-2
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
    merged = CheckpointEngine(shared.artifacts.open(trained.checkpoint).path)
    chats, answers = [user_chat(a) for a, _ in ROWS[:24]], [[b] for _, b in ROWS[:24]]
    unmerged_scores = [one[0].logprob for one in with_them.loglikelihood(chats, answers)]
    merged_scores = [one[0].logprob for one in merged.loglikelihood(chats, answers)]
    assert unmerged_scores == pytest.approx(merged_scores, abs=1e-3)
    told = [with_them.generate([chat], GenerationOptions(max_tokens=8))[0].text for chat in chats]
    assert told != plain  # they change what the base says
    assert told == [merged.generate([chat], GenerationOptions(max_tokens=8))[0].text for chat in chats]


def test_a_suite_measures_adapters_and_finds_what_they_learned_from(
    shared: Workspace,
    folder: Path,
    data: DatasetRef,
    trained: FinetuneResult,
    adapter: AdapterRef,
) -> None:
    alone, got = measured(shared, adapter, folder, "unmerged")
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


def test_an_engine_of_merged_weights_is_not_built_from_adapters(
    shared: Workspace, trained: FinetuneResult, adapter: AdapterRef
) -> None:
    ask = BuildEngineRequest(model=adapter, target="onnx-int8")
    machine = Machine.here(shared.root)
    assert build_engine.preflight is not None
    found = list(build_engine.preflight(ask, machine, shared))
    told = next(one for one in found if one.level == "stop")
    assert "merged weights" in told.message and trained.checkpoint in told.fix
    with pytest.raises(AskError, match="merged weights"):
        build_engine(ask, step(shared, "engine"))
