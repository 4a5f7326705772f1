"""Fine-tuning from a folder with its own chat template: passes, kept weights, early end, adapters."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import DatasetRef
from opswright.core.contract import NullEvents, StepContext
from opswright.core.errors import HeldError
from opswright.core.files import sha256_file
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.skills.finetune import FinetuneRequest, FinetuneResult, finetune

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
# A few words of arithmetic: nothing of the shipped example.
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
MAKE_BASE = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tiny_bases import CHATML, make_base
make_base(Path(sys.argv[2]), CHATML, json.loads(sys.argv[3]))
"""


def row(a: int, b: int) -> dict[str, Any]:
    turns = [("user", f"{WORDS[a]} plus {WORDS[b]}"), ("assistant", str(a + b + 2))]
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(load_settings(home=tmp_path_factory.mktemp("bases") / "workspace", actor="tester"))


@pytest.fixture(scope="module")
def data(shared: Workspace) -> DatasetRef:
    rows = [json.dumps(row(a, b)) + "\n" for a in range(8) for b in range(8)]
    wrong = [json.dumps(row(a, 7 - a)).replace('"9"', '"zero"') + "\n" for a in range(8)]
    with shared.artifacts.staging() as folder:
        (folder / "train.jsonl").write_text("".join(rows))
        (folder / "validation.jsonl").write_text("".join(wrong))  # so that learning makes it worse
        return shared.artifacts.save(DatasetRef, folder, {"train_rows": 64, "validation_rows": 8})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "base"
    texts = json.dumps([json.dumps(row(a, b)) for a in range(8) for b in range(8)])
    here = str(Path(__file__).parent)
    subprocess.run(
        [sys.executable, "-c", MAKE_BASE, here, str(folder), texts], check=True, capture_output=True
    )
    return folder


class Lines(NullEvents):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, step: str, line: str) -> None:
        self.lines.append(line)


def run(shared: Workspace, name: str, **asked: Any) -> tuple[FinetuneResult, list[str], Path]:
    workdir = shared.run_folder("run") / name
    workdir.mkdir(parents=True)
    ctx = StepContext(shared, "run", name, f"key-{name}", workdir)
    events = ctx.events = Lines()
    result = finetune(FinetuneRequest.model_validate({"batch_size": 16, "learning_rate": 3e-3, **asked}), ctx)
    return result, events.lines, workdir


def losses(shared: Workspace, result: FinetuneResult) -> list[float]:
    assert result.checkpoint is not None
    lines = (shared.artifacts.open(result.checkpoint).path / "training.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_a_step_in_passes_is_the_step_at_once_and_its_recipe_decides_when_it_is_trained_again(
    shared: Workspace, data: DatasetRef, base: Path
) -> None:
    same_rows = {"dataloader.group_by_length": False}
    ask = {"data": data, "base": base, "max_steps": 6, "keep": "last", "overrides": same_rows}
    whole, said, _ = run(shared, "whole", **ask)
    parts, _, _ = run(shared, "parts", **ask, micro_batch_size=4)
    assert losses(shared, parts) == pytest.approx(losses(shared, whole), rel=1e-3)
    assert any("labels of 64 rows of train.jsonl checked" in line for line in said)
    assert any(line.startswith("learning rate 0.003 (as asked), float32") for line in said)
    mixed, _, _ = run(shared, "mixed", **ask, precision="mixed")
    gaps = [abs(a - b) for a, b in zip(losses(shared, mixed), losses(shared, whole), strict=True)]
    assert 0 < max(gaps) < 0.05  # sums in bfloat16
    assert whole.checkpoint is not None
    facts = shared.artifacts.open(whole.checkpoint).facts
    assert len(facts["base_digest"]) == 64 and whole.kept_step == 6 and not whole.stopped_early
    again, said, _ = run(shared, "again", data=data, base=whole.checkpoint, max_steps=2, learning_rate=None)
    assert again.learning_rate == 3e-3
    assert any("learning rate 0.003 (that of the base's own recipe)" in line for line in said)


def test_a_template_s_end_token_is_where_generation_stops(
    shared: Workspace, data: DatasetRef, base: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in base.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    config = json.loads((other / "tokenizer_config.json").read_text())
    (other / "tokenizer_config.json").write_text(json.dumps({**config, "eos_token": "</s>"}))
    (other / "generation_config.json").write_text(json.dumps({"eos_token_id": 1}))
    result, _, _ = run(shared, "end", data=data, base=other, max_steps=2)
    assert result.checkpoint is not None
    generation = json.loads(
        (shared.artifacts.open(result.checkpoint).path / "generation_config.json").read_text()
    )
    tokens = json.loads((other / "tokenizer.json").read_text())["added_tokens"]
    end = next(token["id"] for token in tokens if token["content"] == "<|im_end|>")
    assert generation["eos_token_id"] == [end, 1]


def test_the_weights_with_the_lowest_validation_loss_are_kept_and_it_ends_early(
    shared: Workspace, data: DatasetRef, base: Path
) -> None:
    result, said, workdir = run(
        shared, "early", data=data, base=base, epochs=30, patience=3, learning_rate=1e-2
    )
    lines = [json.loads(one) for one in (workdir / "result" / "validation.jsonl").read_text().splitlines()]
    by_step = {one["step"] + 1: one["val_loss"] for one in lines}
    best = min(by_step, key=lambda step: by_step[step])
    assert result.stopped_early and result.steps < 30 * 4
    assert result.kept_step == best and result.validation_loss == pytest.approx(by_step[best])
    assert list(by_step)[-1] == result.steps and len([s for s in by_step if s > best]) == 3
    assert any("did not fall in 3 validations" in line for line in said)
    assert result.checkpoint is not None
    assert shared.artifacts.open(result.checkpoint).facts["kept_step"] == best


def test_stopped_and_taken_up_again_it_ends_early_where_it_would_have(
    shared: Workspace, data: DatasetRef, base: Path
) -> None:
    ask: dict[str, Any] = {"data": data, "base": base, "epochs": 30, "patience": 3, "learning_rate": 1e-2}
    ask["checkpoint_every_steps"] = 3
    whole, _, _ = run(shared, "whole-early", **ask)
    workdir = shared.run_folder("run") / "cut-early"
    workdir.mkdir(parents=True)
    ctx = StepContext(shared, "run", "cut-early", "key-cut-early", workdir)

    class StopAtStep6(NullEvents):
        def progress(self, step: str, done: float, total: float | None, unit: str) -> None:
            if done >= 6:
                ctx.cancelled.set()

    ctx.events = StopAtStep6()
    request = FinetuneRequest.model_validate({"batch_size": 16, **ask})
    with pytest.raises(HeldError):
        finetune(request, ctx)
    again = finetune(request, StepContext(shared, "run", "cut-early", "key-cut-early", workdir))
    assert again.resumed_from >= 6 and again.stopped_early
    assert again.checkpoint == whole.checkpoint  # the same bytes as without the stop


def test_adapters_are_an_artifact_of_their_own_and_the_merged_model_gives_their_logits(
    shared: Workspace, data: DatasetRef, base: Path
) -> None:
    ask = {"data": data, "base": base, "method": "lora", "max_steps": 8, "keep": "last", "lora_rank": 4}
    result, said, _ = run(shared, "lora", **ask, lora_targets=["*q_proj", "*v_proj"])
    assert result.adapter is not None
    adapter = shared.artifacts.open(result.adapter)
    assert {"adapter_model.safetensors", "adapter_config.json", "recipe.yaml"} <= set(adapter.files)
    config = adapter.read_json("adapter_config.json")
    assert config["r"] == 4 and adapter.facts["method"] == "lora"
    assert adapter.parents == (data,)
    assert any(line.startswith("adapters merged: logits differ by at most") for line in said)
    assert result.checkpoint is not None
    merged = shared.artifacts.open(result.checkpoint)
    assert merged.files["model.safetensors"]["sha256"] != sha256_file(base / "model.safetensors")


def test_packed_rows_take_fewer_steps_and_are_validated_at_the_end(
    shared: Workspace, data: DatasetRef, base: Path
) -> None:
    ask = {"data": data, "base": base, "packing": True, "max_tokens": 128, "batch_size": 4, "epochs": 2}
    result, _, _ = run(shared, "packed", **ask)
    assert 0 < result.steps < 32 and not result.stopped_early  # 64 rows of about 40 tokens
    assert result.validation_loss is not None


def test_a_share_of_the_rows_is_what_is_learned_from(shared: Workspace, data: DatasetRef) -> None:
    result, _, workdir = run(shared, "share", data=data, base="tiny", epochs=1, train_share=0.25)
    assert result.steps == 1
    assert len((workdir / "data" / "train.jsonl").read_text().splitlines()) == 16
    assert result.checkpoint is not None
    assert shared.artifacts.open(result.checkpoint).facts["train_rows"] == 16


def test_few_long_rows_are_left_out_and_the_training_goes_on(shared: Workspace) -> None:
    rows = [json.dumps(row(a, b)) + "\n" for a in range(8) for b in range(8)]
    long = json.dumps(row(0, 0)).replace("one plus", "one " * 200 + "plus") + "\n"
    with shared.artifacts.staging() as folder:
        (folder / "train.jsonl").write_text("".join([*rows, long]))
        ref = shared.artifacts.save(DatasetRef, folder, {"train_rows": 65, "validation_rows": 0})
    result, said, _ = run(shared, "long", data=ref, base="tiny", epochs=1, max_tokens=64)
    assert result.steps == 5
    assert any("1 of 65 rows have more than max_tokens 64" in line for line in said)
