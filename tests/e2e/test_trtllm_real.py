"""A bundle for TensorRT-LLM, quantised by the real ModelOpt on this CPU; TensorRT-LLM itself is not run."""

from __future__ import annotations

import json
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import CheckpointRef, DatasetRef
from opswright.core.artifacts import Artifact
from opswright.core.contract import StepContext
from opswright.core.errors import AskError, BackendError
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.engines import GenerationOptions, user_chat
from opswright.engines.checkpoint import CheckpointEngine
from opswright.engines.hf_folder import read_tensors
from opswright.engines.registry import engine_target
from opswright.engines.trtllm import builder
from opswright.engines.trtllm.dequantise import scale_faults
from opswright.engines.trtllm.recipes import RECIPES
from opswright.engines.trtllm.transformers4 import link_checkpoint
from opswright.skills.build_engine import BuildEngineRequest, build_engine
from opswright.skills.finetune import FinetuneRequest, finetune

HOME = load_settings().build.modelopt
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not (HOME / "bin" / "python").is_file(), reason="no ModelOpt here: make modelopt"),
]
ASKED = {"door": "open", "gate": "close", "lamp": "light", "fire": "light", "book": "open", "shop": "close"}


def row(thing: str, n: int) -> str:
    asked = f"what do I do with {thing} number {n}?"
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": ASKED[thing]}]
    return json.dumps({"messages": messages}) + "\n"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(load_settings(home=tmp_path_factory.mktemp("trtllm") / "workspace", actor="tester"))


@pytest.fixture(scope="module")
def model(shared: Workspace) -> CheckpointRef:
    rows = [row(thing, n) for n in range(60) for thing in ASKED]
    with shared.artifacts.staging() as folder:
        (folder / "train.jsonl").write_text("".join(rows[:300]))
        (folder / "validation.jsonl").write_text("".join(rows[300:]))
        data = shared.artifacts.save(DatasetRef, folder, {"train_rows": 300, "validation_rows": 60})
    found = finetune(
        FinetuneRequest(data=data, max_steps=60, batch_size=32, epochs=20), step(shared, "model")
    )
    assert found.checkpoint is not None
    return found.checkpoint


def step(workspace: Workspace, name: str) -> StepContext:
    workdir = workspace.run_folder("run-0") / name
    workdir.mkdir(parents=True, exist_ok=True)
    return StepContext(workspace, "run-0", name, f"run-0-{name}", workdir)


def built(shared: Workspace, model: CheckpointRef, name: str, rows: int = 64, **options: Any) -> Artifact:
    told = {"gpu": "h100", **options}
    ask = BuildEngineRequest(
        model=model,
        target="trtllm",
        options=told,
        calibration_items=rows,
        min_agreement=0.9,
        max_score_drop=1,
    )
    result = build_engine(ask, step(shared, name))
    assert result.n == 60 and result.not_run is not None and "TensorRT-LLM was not run" in result.not_run
    return shared.artifacts.open(result.bundle)


@pytest.mark.parametrize("quantisation", ["fp8", "fp8-kv8", "int8-smoothquant", "none"])
def test_a_quantised_bundle_is_whole_close_to_its_checkpoint_and_answers_here(
    shared: Workspace, model: CheckpointRef, quantisation: str
) -> None:
    reason = {"backend-format": "only the quantising is looked at"}
    override = reason if quantisation == "int8-smoothquant" else {}
    bundle = built(shared, model, quantisation, quantisation=quantisation, override=override)
    export, recipe = bundle.path / "engine" / "checkpoint", RECIPES[quantisation]
    told = bundle.read_json("engine/bundle.json")
    assert "TokenizersBackend" not in (export / "tokenizer_config.json").read_text()
    assert json.loads((export / "config.json").read_text())["dtype"] == "bfloat16"
    assert told["live_agreement"] >= 0.9 and "not_run" in bundle.facts
    tensors = read_tensors(export)
    if recipe.preset is None:
        assert {one.dtype for one in tensors.values()} == {"BF16"}
    else:
        assert scale_faults(tensors, recipe) == []
        assert told["weights_alone_agreement"] >= 0.9 and 0.001 < told["weight_error_largest"] < 0.15
        said = json.loads((export / "hf_quant_config.json").read_text())["quantization"]
        assert said["quant_algo"] == recipe.algorithm
        assert (said["kv_cache_quant_algo"] == "FP8") == (recipe.cache_preset is not None)
        with pytest.raises(AskError, match="quantised by ModelOpt"):
            CheckpointEngine(export, "cpu")
    with closing(engine_target("trtllm").open(bundle.path / "engine", 2)) as engine:
        (answer,) = engine.generate(
            [user_chat("what do I do with gate number 3?")], GenerationOptions(max_tokens=8)
        )
        assert answer.text is not None and answer.text.strip() == "close"
        assert recipe.preset is None or "not TensorRT-LLM" in engine.version


_LOGITS = """
import json, sys, torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
with torch.inference_mode():
    print(json.dumps(model(torch.tensor([list(range(60))])).logits[0, -1].tolist()))
"""


def test_transformers_4_computes_from_a_bundles_config_what_5_does(tmp_path: Path) -> None:
    """A base of rotary positions that is none of the defaults, as many published models have it."""
    torch = pytest.importorskip("torch")
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=64,
        initializer_range=0.3,
        rope_parameters={"rope_type": "default", "rope_theta": 50.0},
    )
    model = LlamaForCausalLM(config).eval()  # type: ignore[no-untyped-call]
    model.save_pretrained(tmp_path / "5")
    with torch.inference_mode():
        ours = model(torch.tensor([list(range(60))])).logits[0, -1]
    link_checkpoint(tmp_path / "5", tmp_path / "4")
    found = {}
    for name in ("5", "4"):
        command = [HOME / "bin" / "python", "-I", "-c", _LOGITS, tmp_path / name]
        said = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, check=True, timeout=300
        ).stdout
        found[name] = float((torch.tensor(json.loads(said)) - ours).abs().max())
    assert found["4"] < 1e-4 < 0.1 < found["5"], "4 takes another base, unless it is told"


def test_a_setting_of_the_server_does_not_quantise_again(
    shared: Workspace, model: CheckpointRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = built(shared, model, "first", quantisation="fp8")
    monkeypatch.setattr(builder, "interpreter", lambda: Path("/nowhere/python"))
    other = built(shared, model, "other", quantisation="fp8", max_batch_size=3, kv_cache_fraction=0.5)
    weights = "engine/checkpoint/model.safetensors"
    assert first.files[weights]["sha256"] == other.files[weights]["sha256"]
    assert "--max_batch_size 3" in (other.path / "engine" / "serve.sh").read_text()
    with pytest.raises(BackendError):  # other rows choose other scales
        built(shared, model, "rows", rows=7, quantisation="fp8")


def test_what_a_gpu_does_not_compute_is_refused_before_anything_is_quantised(
    shared: Workspace, model: CheckpointRef
) -> None:
    with pytest.raises(AskError, match="a100-80gb does not compute fp8"):
        built(shared, model, "refused", quantisation="fp8", gpu="a100-80gb")
    assert not (shared.run_folder("run-0") / "refused" / "build").exists()
