"""The recipe: a request compiled to the NeMo AutoModel YAML that trains it, on CPU and GPU alike.

The file is the one source of truth. Its paths are relative to the folder it runs in, which holds `data/`
(train.jsonl, validation.jsonl) and `base/` (a Hugging Face folder), so it runs wherever those two are.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import AskError
from ...core.files import sha256_json
from .request import FinetuneRequest

AUTOMODEL = "0.7.0"
CHECKPOINTS = "checkpoints"
_PACKAGE = __name__.rpartition(".")[0]
_NEMO = "nemo_automodel"
# Output heads that are one bare linear layer, so that the loss may apply them itself.
_PLAIN_HEADS = {"llama", "mistral", "qwen2", "qwen3"}
_HEADER = """\
# A NeMo AutoModel {version} recipe, made by Opswright. The same file runs on CPU and on GPU.
# Run it in a folder with data/ (train.jsonl, validation.jsonl) and base/ (a Hugging Face folder):
#   automodel recipe.yaml                                              on a GPU machine
#   python -m opswright.skills.finetune.worker job.json                on a machine without one
"""


@dataclass(frozen=True)
class DataFacts:
    """What the recipe has to know of the data."""

    train_rows: int
    validation_rows: int


@dataclass(frozen=True)
class BaseFacts:
    """What the recipe has to know of the base: its architecture's name, and whether it has weights yet."""

    model_type: str = "llama"
    has_weights: bool = False

    @classmethod
    def of_folder(cls, folder: Path) -> BaseFacts:
        """The facts of a Hugging Face folder; AskError without a config or safetensors, or with code."""
        config = folder / "config.json"
        if not config.is_file():
            raise AskError(f"{folder} is not a Hugging Face folder: config.json not found.")
        try:
            values = json.loads(config.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise AskError(f"{config} is not valid JSON: {error}") from error
        if not isinstance(values, dict) or "model_type" not in values:
            raise AskError(f"{config} has no model_type.")
        if "auto_map" in values:
            raise AskError(f"{config} asks to run its own code (auto_map), which is refused.")
        if not any(folder.glob("*.safetensors")):
            raise AskError(
                f"{folder} has no *.safetensors weights. Convert it first: model.save_pretrained(folder)."
            )
        if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
            raise AskError(f"{folder} has no tokenizer (tokenizer.json). Save it beside the weights.")
        return cls(model_type=str(values["model_type"]), has_weights=True)


@dataclass(frozen=True)
class Recipe:
    """A compiled recipe and how many steps it takes."""

    values: dict[str, Any]
    steps: int

    @property
    def digest(self) -> str:
        """SHA-256 of its values: the same training gives the same digest on every machine."""
        return sha256_json(self.values)

    def yaml(self) -> str:
        """The recipe as the file that AutoModel reads, with a header that says how to run it."""
        import yaml

        return _HEADER.format(version=AUTOMODEL) + yaml.safe_dump(self.values, sort_keys=False)


def total_steps(request: FinetuneRequest, data: DataFacts) -> int:
    """Optimizer steps of a request: the last batch of an epoch may be short, none is dropped."""
    steps = request.epochs * math.ceil(data.train_rows / request.batch_size)
    return min(steps, request.max_steps) if request.max_steps else steps


def compile_recipe(request: FinetuneRequest, data: DataFacts, base: BaseFacts) -> Recipe:
    """The recipe of a request. Nothing of this machine enters it.

    Raises AskError when the data has no rows or the warm-up is longer than the training.
    """
    if data.train_rows < 1:
        raise AskError(f"{request.data.short} has no training rows.")
    steps = total_steps(request, data)
    warmup = min(30, steps // 10) if request.warmup_steps is None else request.warmup_steps
    if warmup >= steps:
        raise AskError(
            f"warmup_steps {warmup} must be below the {steps} training steps. Lower it or train longer."
        )
    values: dict[str, Any] = {
        "recipe": "TrainFinetuneRecipeForNextTokenPrediction",
        "seed": request.seed,
        "step_scheduler": _schedule(request, data, steps),
        "dist_env": {"backend": "nccl", "timeout_minutes": 5},  # with one process AutoModel takes gloo
        "model": _model(request, base),
        "checkpoint": {
            "enabled": True,
            "checkpoint_dir": CHECKPOINTS,
            "model_save_format": "safetensors",
            "save_consolidated": "final",
            "max_recent_checkpoints": 2,
        },
        "distributed": {"strategy": "fsdp2", "dp_size": "none", "tp_size": 1, "cp_size": 1},
        "loss_fn": {"_target_": _loss(base)},
        "dataset": {**_dataset(request, "train"), "fill_to_multiple_of": request.batch_size},
        "packed_sequence": {"packed_sequence_size": 0},
        "dataloader": {
            "_target_": "torchdata.stateful_dataloader.StatefulDataLoader",
            "collate_fn": f"{_NEMO}.components.datasets.utils.default_collater",
            "group_by_length": True,  # batches of rows of one length: a third less to compute
        },
        "optimizer": {
            "_target_": "torch.optim.AdamW",
            "lr": request.rate,
            "betas": [0.9, 0.98],
            "weight_decay": request.weight_decay,
            "fused": True,
        },
        "lr_scheduler": {
            "lr_decay_style": "linear",
            "lr_warmup_steps": warmup,
            "min_lr": request.rate / 100,
        },
    }
    return Recipe({**values, **_optional(request, data, values["dataloader"])}, steps)


def _optional(request: FinetuneRequest, data: DataFacts, dataloader: dict[str, Any]) -> dict[str, Any]:
    """The sections that only some requests have: validation rows, adapters."""
    values: dict[str, Any] = {}
    if data.validation_rows:
        values["validation_dataset"] = _dataset(request, "validation")
        values["validation_dataloader"] = {
            "_target_": dataloader["_target_"],
            "collate_fn": dataloader["collate_fn"],
            "shuffle": False,
        }
    if request.method == "lora":
        values["peft"] = {
            "_target_": f"{_NEMO}.components._peft.lora.PeftConfig",
            "target_modules": "*_proj",
            "dim": request.lora_rank,
            "alpha": request.lora_alpha,
        }
    return values


def _schedule(request: FinetuneRequest, data: DataFacts, steps: int) -> dict[str, Any]:
    per_epoch = math.ceil(data.train_rows / request.batch_size)
    schedule = {
        "global_batch_size": request.batch_size,
        "local_batch_size": request.batch_size // request.gpus,
        "num_epochs": request.epochs,
        "ckpt_every_steps": request.checkpoint_every_steps,
        "save_checkpoint_every_epoch": False,
        "validate_on_checkpoint": False,
    }
    if request.max_steps:
        schedule["max_steps"] = steps
    if data.validation_rows:  # so that the last validation falls on the last step
        schedule["val_every_steps"] = per_epoch if steps % per_epoch == 0 else steps
    return schedule


def _model(request: FinetuneRequest, base: BaseFacts) -> dict[str, Any]:
    auto = f"{_NEMO}.NeMoAutoModelForCausalLM"
    if base.has_weights:
        where = {"_target_": f"{auto}.from_pretrained", "pretrained_model_name_or_path": "base"}
    else:
        where = {"_target_": f"{auto}.from_config", "config": "base"}
    return {**where, "torch_dtype": request.precision}


def _loss(base: BaseFacts) -> str:
    if base.model_type in _PLAIN_HEADS:
        return f"{_PACKAGE}.label_loss.LabelOnlyCrossEntropy"
    return f"{_NEMO}.components.loss.masked_ce.MaskedCrossEntropy"


def _dataset(request: FinetuneRequest, split: str) -> dict[str, Any]:
    return {
        "_target_": f"{_PACKAGE}.tokenised_chat.TokenisedChat",
        "path_or_dataset_id": f"data/{split}.jsonl",
        "max_tokens": request.max_tokens,
    }
