"""The recipe: what a request compiles to, and what is refused before anything is compiled."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock
from pydantic import ValidationError

from opswright.core.artifact_refs import CheckpointRef, DatasetRef
from opswright.core.contract import StepContext
from opswright.core.errors import AskError, NeedsError
from opswright.core.workspace import Workspace
from opswright.skills.finetune import FinetuneRequest, cpu_shim
from opswright.skills.finetune.base import BaseFacts
from opswright.skills.finetune.layout import lay_out
from opswright.skills.finetune.recipe import DataFacts, Recipe, compile_recipe, total_steps
from opswright.skills.finetune.status import FINGERPRINT, JOB, LOCK, Job
from opswright.skills.finetune.tiny_shape import TinyShape
from opswright.skills.finetune.worker import go_on

DATA = DatasetRef.of("d" * 64)
CHECKPOINT = CheckpointRef.of("c" * 64)
LLAMA = BaseFacts("llama", has_weights=True)


def compiled(
    rows: int = 1000, validation: int = 50, base: BaseFacts | None = None, **asked: object
) -> Recipe:
    request = FinetuneRequest.model_validate({"data": DATA, **asked})
    return compile_recipe(request, DataFacts(rows, validation), base or BaseFacts())


def test_a_plan_shows_what_the_tiny_base_takes_and_leaves_to_other_bases_what_they_decide(
    tmp_path: Path,
) -> None:
    tiny = FinetuneRequest(data=DATA).model_dump()
    assert (tiny["learning_rate"], tiny["max_tokens"], tiny["precision"], tiny["keep"]) == (
        2e-3, 256, "float32", "last",
    )  # fmt: skip
    for base in (CHECKPOINT, tmp_path, f"hf:owner/name@{'a' * 40}"):
        asked = FinetuneRequest.model_validate({"data": DATA, "base": base})
        assert (asked.learning_rate, asked.max_tokens, asked.precision) == (None, None, None)
    assert FinetuneRequest(data=DATA, learning_rate=0.5).learning_rate == 0.5


def test_the_tiny_base_is_as_large_as_asked_and_no_other_base_is(tmp_path: Path) -> None:
    asked = FinetuneRequest.model_validate({"data": DATA, "tiny": {"layers": 2, "vocabulary": 1024}})
    assert asked.model_dump()["tiny"] == {"layers": 2, "width": 128, "vocabulary": 1024}
    assert FinetuneRequest(data=DATA).tiny == TinyShape()  # a plan shows what it will be
    assert FinetuneRequest(data=DATA, base=CHECKPOINT).tiny is None
    with pytest.raises(ValidationError, match="tiny is the size of base 'tiny', and base is"):
        FinetuneRequest(data=DATA, base=CHECKPOINT, tiny=TinyShape(layers=2))
    for wrong in ({"width": 100}, {"vocabulary": 100}, {"layers": 0}, {"heads": 4}):
        with pytest.raises(ValidationError):
            FinetuneRequest.model_validate({"data": DATA, "tiny": wrong})


def test_another_shape_is_another_training(context: Callable[..., StepContext], workspace: Workspace) -> None:
    ctx = context()
    request = FinetuneRequest(data=save_data(workspace))
    data = workspace.artifacts.open(request.data)
    recipe = compile_recipe(request, DataFacts(2, 1), BaseFacts())
    marks = set()
    for shape in (TinyShape(), TinyShape(layers=2), TinyShape(vocabulary=1024)):
        lay_out(request.model_copy(update={"tiny": shape}), ctx, data, recipe, "cpu")
        assert Job.read(ctx.workdir / JOB).tiny == shape
        marks.add((ctx.workdir / FINGERPRINT).read_text())
    assert len(marks) == 3


def test_a_checkpoint_reference_is_no_path_and_tiny_is_neither() -> None:
    parse = FinetuneRequest.model_validate
    assert isinstance(parse({"data": DATA, "base": str(CHECKPOINT)}).base, CheckpointRef)
    assert parse({"data": DATA, "base": "tiny"}).base == "tiny"
    assert isinstance(parse({"data": DATA, "base": "models/llama"}).base, Path)


def test_adapters_on_a_model_without_weights_are_refused() -> None:
    with pytest.raises(ValidationError, match="base 'tiny' has none yet"):
        FinetuneRequest(data=DATA, method="lora")


def test_a_batch_that_does_not_divide_over_the_gpus_is_refused() -> None:
    with pytest.raises(ValidationError, match="batch_size 64 does not divide over 3 gpus"):
        FinetuneRequest(data=DATA, gpus=3)


def test_the_last_short_batch_of_an_epoch_is_a_step_too() -> None:
    request = FinetuneRequest(data=DATA, epochs=3, batch_size=64)
    assert total_steps(request, DataFacts(11_998, 0)) == 564
    assert total_steps(request.model_copy(update={"max_steps": 10}), DataFacts(11_998, 0)) == 10


@pytest.mark.parametrize(("asked", "last"), [({}, 48), ({"max_steps": 20}, 20)])
def test_the_last_validation_falls_on_the_last_step(asked: dict[str, Any], last: int) -> None:
    recipe = compiled(rows=1000, **asked)
    assert recipe.steps == last
    assert last % recipe.values["step_scheduler"]["val_every_steps"] == 0


def test_without_validation_rows_the_recipe_asks_for_no_validation() -> None:
    values = compiled(validation=0).values
    assert "validation_dataset" not in values
    assert "val_every_steps" not in values["step_scheduler"]


def test_the_warm_up_fits_short_trainings_and_one_that_does_not_is_refused() -> None:
    assert compiled(rows=11_998).values["lr_scheduler"]["lr_warmup_steps"] == 30
    assert compiled(rows=320, max_steps=12).values["lr_scheduler"]["lr_warmup_steps"] == 1
    with pytest.raises(AskError, match="warmup_steps 40 must be below the 12 training steps"):
        compiled(max_steps=12, warmup_steps=40)


def test_a_dataset_without_training_rows_is_refused() -> None:
    with pytest.raises(AskError, match="has no training rows"):
        compiled(rows=0)


def test_adapters_cover_every_projection_and_survive_the_yaml() -> None:
    request = FinetuneRequest(data=DATA, base=CHECKPOINT, method="lora", lora_rank=8, lora_alpha=24)
    recipe = compile_recipe(request, DataFacts(1000, 50), LLAMA)
    peft = yaml.safe_load(recipe.yaml())["peft"]
    assert (peft["target_modules"], peft["dim"], peft["alpha"]) == ("*_proj", 8, 24)


def test_the_tiny_base_starts_from_a_config_and_others_from_weights() -> None:
    assert compiled().values["model"]["_target_"].endswith(".from_config")
    assert compiled(base=LLAMA).values["model"]["_target_"].endswith(".from_pretrained")


def test_the_short_cut_loss_is_kept_from_models_with_a_head_of_their_own_kind() -> None:
    assert "LabelOnly" in compiled(base=LLAMA).values["loss_fn"]["_target_"]
    assert "MaskedCrossEntropy" in compiled(base=BaseFacts("gemma2", True)).values["loss_fn"]["_target_"]


def test_every_path_in_the_recipe_is_relative_to_its_folder() -> None:
    text = compiled().yaml()
    assert "data/train.jsonl" in text
    assert not any(word.startswith("/") for line in text.splitlines() for word in line.split())


def test_the_recipe_file_is_the_same_on_cpu_and_on_gpu(
    context: Callable[..., StepContext], workspace: Workspace
) -> None:
    ctx = context()
    request = FinetuneRequest(data=save_data(workspace))
    files = {}
    for device in ("cpu", "cuda"):
        data = workspace.artifacts.open(request.data)
        recipe = compile_recipe(request, DataFacts(2, 1), BaseFacts())
        lay_out(request, ctx, data, recipe, device)
        files[device] = (ctx.workdir / "recipe.yaml").read_bytes(), (ctx.workdir / "job.json").read_bytes()
    assert files["cpu"][0] == files["cuda"][0]
    assert files["cpu"][1] != files["cuda"][1]


def test_the_work_folder_keeps_checkpoints_of_the_same_training_only(
    context: Callable[..., StepContext], workspace: Workspace
) -> None:
    ctx = context()
    request = FinetuneRequest(data=save_data(workspace))
    data = workspace.artifacts.open(request.data)

    def lay(request: FinetuneRequest) -> bool:
        lay_out(request, ctx, data, compile_recipe(request, DataFacts(2, 1), BaseFacts()), "cpu")
        go_on(Job.read(ctx.workdir / "job.json"), ctx.workdir)
        return (ctx.workdir / "checkpoints").exists()

    lay(request)
    (ctx.workdir / "checkpoints").mkdir()
    assert lay(request)
    assert not lay(request.model_copy(update={"seed": 7}))
    assert data.path.exists()  # the link to it was replaced, not what it points to


def test_two_workers_never_train_in_one_folder(
    context: Callable[..., StepContext], workspace: Workspace
) -> None:
    ctx = context()
    request = FinetuneRequest(data=save_data(workspace))
    data = workspace.artifacts.open(request.data)
    recipe = compile_recipe(request, DataFacts(2, 1), BaseFacts())
    with (
        FileLock(ctx.workdir / LOCK, timeout=1),
        pytest.raises(NeedsError, match="another worker is training"),
    ):
        lay_out(request, ctx, data, recipe, "cpu", wait_s=0.05)


def test_a_folder_that_would_run_code_or_hold_pickles_is_no_base(tmp_path: Path) -> None:
    def refused(config: object, *files: str) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        if config is not None:
            (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
        for name in files:
            (folder / name).write_text("")
        with pytest.raises(AskError) as error:
            BaseFacts.of_folder(folder)
        return str(error.value)

    assert "config.json not found" in refused(None)
    assert "not valid JSON" in refused("{")
    assert "has no model_type" in refused({})
    assert "run its own code" in refused({"model_type": "x", "auto_map": {}}, "model.safetensors")
    assert "no *.safetensors" in refused({"model_type": "llama"}, "pytorch_model.bin", "tokenizer.json")
    assert "no tokenizer" in refused({"model_type": "llama"}, "model.safetensors")


def test_the_cpu_shim_refuses_a_version_it_was_not_checked_with() -> None:
    cpu_shim.check_version("0.7.0")
    with pytest.raises(NeedsError, match=r"needs nemo-automodel 0\.7\.0.*found 0\.8\.0.*pip install"):
        cpu_shim.check_version("0.8.0")
    with pytest.raises(NeedsError, match="not installed"):
        cpu_shim.check_version(None)


def save_data(workspace: Workspace) -> DatasetRef:
    line = json.dumps(
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "greeting"}]}
    )
    with workspace.artifacts.staging() as folder:
        (folder / "train.jsonl").write_text(f"{line}\n{line}\n")
        (folder / "validation.jsonl").write_text(f"{line}\n")
        return workspace.artifacts.save(DatasetRef, folder, {"train_rows": 2, "validation_rows": 1})
