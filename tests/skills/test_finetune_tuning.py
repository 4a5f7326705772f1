"""What a base decides: rate, length, precision, rows at once; what a declared GPU can hold; overrides."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from opswright.compute.gpus import GPU_MODELS, known_gpu
from opswright.core.artifact_refs import CheckpointRef, DatasetRef
from opswright.core.errors import AskError
from opswright.core.machine import Machine
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.skills.finetune import FinetuneRequest, finetune
from opswright.skills.finetune.base import BaseFacts
from opswright.skills.finetune.needs import disk_bytes, hours, memory_gb
from opswright.skills.finetune.recipe import DataFacts, Recipe, compile_recipe
from opswright.skills.finetune.tuning import inherited, tune

DATA = DatasetRef.of("d" * 64)
CHECKPOINT = CheckpointRef.of("c" * 64)
SMALL = BaseFacts("llama", True, 1_100_000, 4_400_000)
# The sizes of models that people tune, by their published configurations.
ONE_B = BaseFacts("llama", True, 1_235_814_400, 2_471_628_800, 2048, 16, 128_256, 131_072, has_marks=False)
EIGHT_B = BaseFacts("llama", True, 8_030_261_248, 16_060_522_496, 4096, 32, 128_256, 8192, has_marks=False)
SEVENTY_B = replace(EIGHT_B, parameters=70_553_706_496, hidden=8192, layers=80)
LAPTOP = Machine("linux", "x86_64", "3.11.7", 2, 16.0, 100.0, ())


def asked(**more: Any) -> FinetuneRequest:
    return FinetuneRequest.model_validate({"data": DATA, "base": CHECKPOINT, **more})


def compiled(base: BaseFacts, device: str = "cuda", validation: int = 50, **more: Any) -> Recipe:
    return compile_recipe(asked(**more), DataFacts(10_000, validation, 5_000_000), base, device)


def trained_by(lr: float, start: str = "from_pretrained", **more: Any) -> dict[str, Any]:
    model = {"_target_": f"nemo_automodel.NeMoAutoModelForCausalLM.{start}"}
    return {"model": model, "optimizer": {"lr": lr}, "dataset": {"max_tokens": 1024}, **more}


@pytest.mark.parametrize(
    ("base", "method", "rate"),
    [
        (SMALL, "sft", 1e-3),
        (SMALL, "lora", 5e-3),
        (ONE_B, "sft", 2e-5),
        (ONE_B, "lora", 2e-4),
        (EIGHT_B, "qlora", 2e-4),
        (SEVENTY_B, "sft", 1e-5),
        (SEVENTY_B, "lora", 1e-4),
    ],
)
def test_the_rate_of_a_base_without_a_recipe_fits_its_size_and_the_method(
    base: BaseFacts, method: str, rate: float
) -> None:
    tuning = tune(asked(method=method), base, "cuda", has_validation=True)
    assert tuning.learning_rate == rate
    assert f"for {method} of" in tuning.rate_from


def test_a_model_that_was_tuned_at_2e_5_is_retrained_at_2e_5() -> None:
    base = replace(ONE_B, recipe=trained_by(2e-5))
    tuning = tune(asked(), base, "cuda", has_validation=True)
    assert (tuning.learning_rate, tuning.rate_from) == (2e-5, "that of the base's own recipe")
    assert tuning.max_tokens == 1024
    small = replace(SMALL, recipe=trained_by(3e-6))  # whatever its size
    assert tune(asked(), small, "cpu", has_validation=True).learning_rate == 3e-6


def test_a_model_trained_from_scratch_goes_on_at_half_its_rate() -> None:
    base = replace(SMALL, recipe=trained_by(2e-3, "from_config"))
    assert tune(asked(), base, "cpu", has_validation=True).learning_rate == 1e-3


def test_adapters_do_not_take_over_the_rate_of_a_full_training_nor_the_other_way() -> None:
    full, adapters = trained_by(2e-5), trained_by(3e-4, peft={"dim": 8})

    def of(recipe: dict[str, Any], method: str) -> float:
        base = replace(ONE_B, recipe=recipe)
        return tune(asked(method=method), base, "cuda", has_validation=True).learning_rate

    assert of(full, "lora") == 2e-4 and of(adapters, "sft") == 2e-5 and of(adapters, "lora") == 3e-4


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), 7, "2e-5", None, True, [1]])
def test_a_recipe_with_a_rate_that_is_none_is_not_believed(rate: Any) -> None:
    base = replace(ONE_B, recipe=trained_by(rate))
    assert tune(asked(), base, "cuda", has_validation=True).learning_rate == 2e-5
    assert "learning_rate" not in inherited(trained_by(rate), trains_adapters=False)


def test_what_a_retraining_inherits_is_the_recipe_s_own_and_not_what_cannot_be() -> None:
    recipe = trained_by(2e-5, step_scheduler={"global_batch_size": 128})
    assert inherited(recipe, trains_adapters=False) == {
        "learning_rate": 2e-5, "batch_size": 128, "max_tokens": 1024,
    }  # fmt: skip
    forged = {"optimizer": 3, "dataset": {"max_tokens": "all"}, "step_scheduler": {"global_batch_size": -1}}
    assert inherited(forged, trains_adapters=False) == {}


def test_a_step_of_a_large_model_is_computed_in_passes_that_fit_and_divide_it() -> None:
    schedule = compiled(EIGHT_B, max_tokens=2048).values["step_scheduler"]
    assert (schedule["global_batch_size"], schedule["local_batch_size"]) == (64, 4)
    schedule = compiled(EIGHT_B, max_tokens=2048, gpus=4, batch_size=24).values["step_scheduler"]
    assert schedule["local_batch_size"] == 3  # of the 6 rows that each GPU has
    assert compiled(SMALL).values["step_scheduler"]["local_batch_size"] == 64
    assert compiled(EIGHT_B, micro_batch_size=1).values["step_scheduler"]["local_batch_size"] == 1
    with pytest.raises(ValidationError, match="which micro_batch_size 3 does not divide"):
        asked(micro_batch_size=3)


def test_on_gpus_weights_stay_in_float32_and_sums_are_bfloat16() -> None:
    one, two, adapters = compiled(ONE_B), compiled(ONE_B, gpus=2), compiled(ONE_B, method="lora")
    assert one.values["model"]["torch_dtype"] == "float32"
    assert one.values["distributed"]["autocast_dtype"] == "bfloat16"
    assert "mp_policy" not in two.values["distributed"]  # FSDP2's own is bfloat16 over float32
    assert adapters.values["model"]["torch_dtype"] == "bfloat16"
    exact = compiled(ONE_B, gpus=2, precision="float32").values["distributed"]
    assert exact["mp_policy"] == {"param_dtype": "float32", "reduce_dtype": "float32"}
    assert compiled(ONE_B, device="cpu").tuning.precision == "float32"


def test_qlora_packing_and_checkpointing_are_in_the_recipe_as_automodel_names_them() -> None:
    values = compiled(EIGHT_B, method="qlora", packing=True, activation_checkpointing=True).values
    assert values["quantization"]["load_in_4bit"] is True and values["peft"]["dim"] == 16
    assert values["packed_sequence"] == {"packed_sequence_size": 2048, "packing_strategy": "neat"}
    assert values["distributed"]["activation_checkpointing"] is True
    assert values["dataloader"]["group_by_length"] is False
    assert (
        values["lr_scheduler"]["lr_warmup_steps"] == 0 and "val_every_steps" not in values["step_scheduler"]
    )
    targets = compiled(EIGHT_B, method="lora", lora_targets=["*q_proj", "*v_proj"]).values["peft"]
    assert targets["target_modules"] == ["*q_proj", "*v_proj"]


def test_a_template_without_marks_is_masked_by_automodel() -> None:
    assert compiled(ONE_B).values["dataset"]["mask_generation_prompt"] is True
    assert compiled(ONE_B).values["validation_dataset"]["mask_generation_prompt"] is True
    assert "mask_generation_prompt" not in compiled(SMALL).values["dataset"]


def test_the_best_weights_are_kept_where_there_is_something_to_judge_them_by() -> None:
    best = compiled(ONE_B)
    assert best.values["checkpoint"]["save_consolidated"] == "every"
    assert best.values["step_scheduler"]["validate_on_checkpoint"] is True
    assert compiled(ONE_B, validation=0).values["checkpoint"]["save_consolidated"] == "final"
    for wish in ({"keep": "best"}, {"patience": 2}):
        with pytest.raises(AskError, match="needs validation rows"):
            compiled(ONE_B, validation=0, **wish)


def test_rows_longer_than_the_base_reads_are_refused_before_training() -> None:
    with pytest.raises(AskError, match=r"max_tokens 9000 is more than the base reads .* 8192"):
        compiled(EIGHT_B, max_tokens=9000)
    assert compiled(EIGHT_B).tuning.max_tokens == 2048


def test_overrides_reach_the_recipe_and_leave_the_rest() -> None:
    plain, changed = (
        compiled(ONE_B),
        compiled(ONE_B, overrides={"optimizer.eps": 1e-6, "neftune": {"noise_alpha": 5}}),
    )
    assert changed.values["optimizer"]["eps"] == 1e-6 and changed.values["neftune"] == {"noise_alpha": 5}
    without = {name: part for name, part in changed.values.items() if name not in ("optimizer", "neftune")}
    assert without == {name: part for name, part in plain.values.items() if name != "optimizer"}
    assert plain.digest != changed.digest


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"optimizer._target_": "x"}, "names code to run"),
        ({"optimizer": {"_target_": "os.system"}}, "names code to run"),
        ({"dataloader.collate_fn": "x"}, "names code to run"),
        ({"model.pretrained_model_name_or_path": "x"}, "is not allowed"),
        ({"model.trust_remote_code": True}, "is not allowed"),
        ({"checkpoint.restore_from": "x"}, "is not allowed"),
        ({"checkpoint.allow_legacy_pickle_restore": True}, "is not allowed"),
        ({"dataset.path_or_dataset_id": "x"}, "is not allowed"),
        ({"optimiser.eps": 1}, "Did you mean 'optimizer'"),
        ({"optimizer.lr": 1}, "is what the field learning_rate sets"),
        ({"optimizer": "os.system"}, "is a section of the recipe"),
        ({"optimizer.eps": "${oc.env:SECRET}"}, "could name code, a file"),
        ({"compile.mode": "/etc/passwd"}, "could name code, a file"),
        ({"packed_sequence.packing_strategy": "my_pkg.Packing"}, "could name code"),
        ({"optimizer.eps": float("nan")}, "finite"),
        ({"optimizer..eps": 1}, "invalid override key"),
        ({"": 1}, "invalid override key"),
        ({"optimizer.eps": 1, "optimizer": {"eps": 2}}, "stands twice"),
        ({"optimizer.a": 1, "optimizer.a.b": 2}, "both whole and in part"),
        ({"optimizer.eps": "x" * 20_000}, "limited to"),
    ],
)  # fmt: skip
def test_an_override_that_names_code_files_or_what_a_field_sets_is_refused(
    overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message.replace("(", r"\(")):
        asked(overrides=overrides)


def test_declared_gpus_are_counted_and_a_mistyped_one_is_named() -> None:
    assert asked(gpu="h100x2").gpus == 2 and asked(gpu="l4").gpus == 1
    assert asked(gpu="a100-80gbx4", batch_size=64).gpu.number == 4  # type: ignore[union-attr]
    for wrong in ("h100x9", "h10", "x2", "", "h100x2x2", "H100"):
        with pytest.raises(ValidationError, match="unknown GPU"):
            asked(gpu=wrong)
    with pytest.raises(ValidationError, match=r"is 2 GPU\(s\) and gpus is 4"):
        asked(gpu="h100x2", gpus=4)


def test_nvml_s_names_find_their_kind() -> None:
    assert known_gpu("NVIDIA H100 80GB HBM3", 85.5) is GPU_MODELS["h100"]
    assert known_gpu("NVIDIA H100 PCIe", 85.5) is GPU_MODELS["h100-pcie"]
    assert known_gpu("NVIDIA A100-SXM4-40GB", 42.4) is GPU_MODELS["a100-40gb"]
    assert known_gpu("NVIDIA A100-SXM4-80GB", 85.9) is GPU_MODELS["a100-80gb"]
    assert known_gpu("NVIDIA H200", 150.0) is GPU_MODELS["h200"]
    assert known_gpu("Quadro P400", 2.0) is None


def test_memory_says_what_fits_where_as_is_known_of_these_models() -> None:
    def needed(base: BaseFacts, **more: Any) -> float:
        request = asked(micro_batch_size=1, max_tokens=2048, **more)
        return memory_gb(request, base, tune(request, base, "cuda", has_validation=True))

    assert needed(EIGHT_B) > 128  # 16 bytes a weight: no full training of 8 B on one 80 GB GPU
    assert needed(EIGHT_B, gpus=8) < 36
    assert 20 < needed(EIGHT_B, method="lora") < 40
    assert 8 < needed(EIGHT_B, method="qlora") < 24
    assert needed(EIGHT_B, activation_checkpointing=True) < needed(EIGHT_B) - 3
    assert needed(ONE_B) < 32


def test_time_falls_with_gpus_and_rises_with_weights() -> None:
    request = asked()
    tuning = tune(request, EIGHT_B, "cuda", has_validation=True)
    one = hours(request, EIGHT_B, GPU_MODELS["h100"], 1e8, tuning)
    assert 3.5 < one < 4.5  # 4.8e18 operations at a third of 989 TFLOPS
    assert hours(asked(gpus=4), EIGHT_B, GPU_MODELS["h100"], 1e8, tuning) == pytest.approx(one / 4)
    assert hours(asked(method="lora"), EIGHT_B, GPU_MODELS["h100"], 1e8, tuning) < one


def test_disk_counts_weights_moments_and_every_checkpoint_that_is_kept() -> None:
    request = asked(keep="last")
    tuning = tune(request, ONE_B, "cuda", has_validation=True)
    assert disk_bytes(request, ONE_B, tuning) == 9 * 4 * ONE_B.parameters
    best = tune(asked(), ONE_B, "cuda", has_validation=True)
    assert disk_bytes(asked(), ONE_B, best) > disk_bytes(request, ONE_B, tuning)
    lora = asked(method="lora", keep="last")
    small = disk_bytes(lora, ONE_B, tune(lora, ONE_B, "cuda", has_validation=True))
    assert small < 4 * ONE_B.weight_bytes


def big_base(folder: Path, parameters: int = 8_000_000_000) -> Path:
    """A folder that says it holds a large model: behind the header of its weights is a hole of their size."""
    folder.mkdir()
    weights = {"dtype": "BF16", "shape": [parameters // 1000, 1000], "data_offsets": [0, 2 * parameters]}
    header = json.dumps({"w": weights}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    os.truncate(folder / "model.safetensors", 8 + len(header) + 2 * parameters)
    sizes = {"hidden_size": 4096, "num_hidden_layers": 32, "vocab_size": 128_256}
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **sizes}))
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture
def data(workspace: Workspace) -> DatasetRef:
    with workspace.artifacts.staging() as folder:
        (folder / "train.jsonl").write_text("{}\n" * 1000)
        return workspace.artifacts.save(DatasetRef, folder, {"train_rows": 1000, "validation_rows": 0})


def found(request: FinetuneRequest, workspace: Workspace, machine: Machine = LAPTOP) -> list[str]:
    assert finetune.preflight
    return [f"{one.level}: {one.message}" for one in finetune.preflight(request, machine, workspace)]


def test_a_declared_gpu_is_judged_on_a_laptop_that_has_none(
    data: DatasetRef, workspace: Workspace, tmp_path: Path
) -> None:
    base = big_base(tmp_path / "base")
    lines = found(FinetuneRequest(data=data, base=base, gpu="h100"), workspace)
    assert any(line.startswith("stop: a step needs about") and "each GPU of h100" in line for line in lines)
    lines = found(FinetuneRequest(data=data, base=base, gpu="h100", method="lora"), workspace)
    assert any(line.startswith("ok: a step needs about") for line in lines)
    assert any("this machine has 0" in line for line in lines)
    assert any(
        line.startswith("note: learning rate 0.0002 (for lora of 8,000 M parameters)") for line in lines
    )


def test_a_base_is_judged_although_the_data_is_still_to_be_made(workspace: Workspace, tmp_path: Path) -> None:
    ask = FinetuneRequest(data=DatasetRef.pending(), base=big_base(tmp_path / "base"), gpu="h100")
    lines = found(ask, workspace)
    assert any(line.startswith("stop: a step needs about") for line in lines)
    assert any(line.startswith("note: learning rate 2e-05") for line in lines)
    assert any("the recipe is checked when it runs" in line for line in lines)


def test_the_time_on_a_declared_gpu_is_estimated_and_elsewhere_unknown(
    data: DatasetRef, workspace: Workspace, tmp_path: Path
) -> None:
    base = big_base(tmp_path / "base")
    assert finetune.estimate
    ask = FinetuneRequest(data=data, base=base, gpu="h100x2", method="lora", batch_size=64)
    cost = finetune.estimate(ask, LAPTOP, workspace)
    assert cost.minutes and cost.gpu_hours == pytest.approx(cost.minutes / 60 * 2)
    assert finetune.estimate(FinetuneRequest(data=data, base=base), LAPTOP, workspace).minutes is None


def test_a_gpu_without_bfloat16_and_methods_without_a_gpu_are_stopped(
    data: DatasetRef, workspace: Workspace, tmp_path: Path
) -> None:
    base = big_base(tmp_path / "base")
    lines = found(FinetuneRequest(data=data, base=base, gpu="t4"), workspace)
    assert any("'t4' computes in no bfloat16" in line for line in lines)
    lines = found(FinetuneRequest(data=data, base=base, method="qlora"), workspace)
    assert any("'qlora' needs a GPU" in line for line in lines)


@pytest.mark.parametrize(("method", "told"), [("lora", "note: training on GPUs"), ("qlora", "warn: method")])
def test_what_was_never_run_is_said_before_it_is(
    data: DatasetRef, workspace: Workspace, tmp_path: Path, method: str, told: str
) -> None:
    ask = {"data": data, "base": big_base(tmp_path / "base"), "gpu": "h100", "method": method}
    lines = found(FinetuneRequest.model_validate(ask), workspace)
    assert any(line.startswith(told) and "not run by Opswright's own tests" in line for line in lines)


def test_a_model_larger_than_the_memory_of_this_machine_is_stopped(data: DatasetRef, tmp_path: Path) -> None:
    workspace = Workspace(load_settings(home=tmp_path / "workspace", train={"device": "cpu"}))
    with workspace.artifacts.staging() as folder:
        (folder / "train.jsonl").write_text("{}\n" * 1000)
        data = workspace.artifacts.save(DatasetRef, folder, {"train_rows": 1000, "validation_rows": 0})
    ask = FinetuneRequest(data=data, base=big_base(tmp_path / "base"))
    assert any("of this machine, which can give 16.0 GB" in line for line in found(ask, workspace))


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, struct.pack("<Q", 10) + b"{" * 10, b"\x00" * 8])
def test_weights_that_are_cut_or_something_else_are_refused(tmp_path: Path, content: bytes) -> None:
    base = big_base(tmp_path / "base")
    (base / "model.safetensors").write_bytes(content)
    with pytest.raises(AskError, match="is cut or no safetensors file"):
        BaseFacts.of_folder(base)
