"""The recipe: a request compiled to the NeMo AutoModel YAML that trains it, on CPU and GPU alike.

The file is the one source of truth. Its paths are relative to the folder it runs in, which holds `data/`
(train.jsonl, validation.jsonl) and `base/` (a Hugging Face folder), so it runs wherever those two are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ...core.errors import AskError
from ...core.files import sha256_json
from .base import BaseFacts
from .classifier import as_classifier
from .overrides import merged
from .request import FinetuneRequest
from .teacher import teacher_sections
from .tuning import Tuning, tune

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
    """What the recipe and the estimate have to know of the data."""

    train_rows: int
    validation_rows: int
    train_bytes: int = 0
    labels: int = 0  # that a classifier learns


@dataclass(frozen=True)
class Recipe:
    """A compiled recipe, how many steps it takes, and the settings that its base decided."""

    values: dict[str, Any]
    steps: int
    tuning: Tuning

    @property
    def digest(self) -> str:
        """SHA-256 of its values: the same training gives the same digest on every machine."""
        return sha256_json(self.values)

    def yaml(self) -> str:
        """The recipe as the file that AutoModel reads, with a header that says how to run it."""
        import yaml

        return _HEADER.format(version=AUTOMODEL) + yaml.safe_dump(self.values, sort_keys=False)


def total_steps(request: FinetuneRequest, data: DataFacts) -> int:
    """Optimizer steps of a request: the last batch of an epoch may be short, none is dropped.

    With packing it is the most there can be: a sequence then holds several rows.
    """
    steps = request.epochs * math.ceil(data.train_rows / request.batch_size)
    return min(steps, request.max_steps) if request.max_steps else steps


def compile_recipe(request: FinetuneRequest, data: DataFacts, base: BaseFacts, device: str = "cpu") -> Recipe:
    """The recipe of a request. Of the machine nothing but `device` enters it, and that not for the small.

    Raises AskError when the data has no rows, the warm-up is longer than the training, a row may be longer
    than the base reads, or weights are to be kept by a validation that the data has no rows for.
    """
    if data.train_rows < 1:
        raise AskError(f"{request.data.short} has no training rows.")
    _check_validation(request, data)
    tuning = tune(request, base, device, has_validation=data.validation_rows > 0)
    if base.positions and base.has_weights and tuning.max_tokens > base.positions:
        raise AskError(
            f"max_tokens {tuning.max_tokens} is more than the base reads (max_position_embeddings "
            f"{base.positions}). Set max_tokens={base.positions} or less."
        )
    steps = total_steps(request, data)
    warmup = request.warmup_steps
    if warmup is None:
        warmup = 0 if request.packing else min(30, steps // 10)
    if warmup >= steps:
        raise AskError(
            f"warmup_steps {warmup} must be below the {steps} training steps. Lower it or train longer."
        )
    values: dict[str, Any] = {
        "recipe": "TrainFinetuneRecipeForNextTokenPrediction",
        "seed": request.seed,
        "step_scheduler": _schedule(request, data, steps, tuning),
        "dist_env": {"backend": _meeting(request, device), "timeout_minutes": 5},
        "model": _model(base, tuning),
        "checkpoint": {
            "enabled": True,
            "checkpoint_dir": CHECKPOINTS,
            "model_save_format": "safetensors",
            "save_consolidated": "every" if tuning.keep_best else "final",
            "max_recent_checkpoints": 2,
        },
        "distributed": _distributed(request, tuning),
        "loss_fn": {"_target_": _loss(base)},
        "dataset": {**_dataset(request, "train", base, tuning), "fill_to_multiple_of": request.batch_size},
        "packed_sequence": _packing(request, tuning),
        "dataloader": {
            "_target_": "torchdata.stateful_dataloader.StatefulDataLoader",
            "collate_fn": f"{_NEMO}.components.datasets.utils.default_collater",
            "group_by_length": not request.packing,  # batches of rows of one length: a third less to compute
        },
        **_optimizer(request, tuning, warmup),
    }
    if data.validation_rows:
        values["validation_dataset"] = _dataset(request, "validation", base, tuning)
        values["validation_dataloader"] = {
            "_target_": values["dataloader"]["_target_"],
            "collate_fn": values["dataloader"]["collate_fn"],
            "shuffle": False,
        }
    values |= {**_adapters(request), **teacher_sections(request, tuning)}
    if request.method == "classifier":
        values = as_classifier(values, data.labels)
    return Recipe(merged(values, request.overrides), steps, tuning)


def _meeting(request: FinetuneRequest, device: str) -> str:
    """How processes meet: with one of them AutoModel takes gloo, whatever stands there."""
    return "gloo" if device == "cpu" and request.nodes > 1 else "nccl"


def _optimizer(request: FinetuneRequest, tuning: Tuning, warmup: int) -> dict[str, Any]:
    """AdamW, and a rate that rises through the warm-up and falls to a hundredth in a straight line."""
    return {
        "optimizer": {
            "_target_": "torch.optim.AdamW",
            "lr": tuning.learning_rate,
            "betas": [0.9, 0.98],
            "weight_decay": request.weight_decay,
            "fused": True,
        },
        "lr_scheduler": {
            "lr_decay_style": "linear",
            "lr_warmup_steps": warmup,
            "min_lr": tuning.learning_rate / 100,
        },
    }


def _check_validation(request: FinetuneRequest, data: DataFacts) -> None:
    wants = [
        name
        for name, asked in (("keep=best", request.keep == "best"), ("patience", request.patience))
        if asked and request.keep_by is None
    ]
    if wants and not data.validation_rows:
        raise AskError(
            f"{' and '.join(wants)} needs validation rows, and {request.data.short} has none. Curate with a "
            "validation_fraction above 0, or leave it out."
        )


def _adapters(request: FinetuneRequest) -> dict[str, Any]:
    """The sections of a training that leaves the base's own weights as they are."""
    if not request.trains_adapters:
        return {}
    targets = list(request.lora_targets)
    values: dict[str, Any] = {
        "peft": {
            "_target_": f"{_NEMO}.components._peft.lora.PeftConfig",
            "target_modules": targets[0] if len(targets) == 1 else targets,
            "dim": request.lora_rank,
            "alpha": request.lora_alpha,
        }
    }
    if request.method == "qlora":
        values["quantization"] = {
            "load_in_4bit": True,
            "load_in_8bit": False,
            "bnb_4bit_compute_dtype": "bfloat16",
            "bnb_4bit_use_double_quant": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_quant_storage": "bfloat16",
        }
    return values


def _schedule(request: FinetuneRequest, data: DataFacts, steps: int, tuning: Tuning) -> dict[str, Any]:
    per_epoch = math.ceil(data.train_rows / request.batch_size)
    schedule = {
        "global_batch_size": request.batch_size,
        "local_batch_size": tuning.micro_batch_size,
        "num_epochs": request.epochs,
        "ckpt_every_steps": request.checkpoint_every_steps,
        "save_checkpoint_every_epoch": tuning.keep_best,
        "validate_on_checkpoint": tuning.keep_best and data.validation_rows > 0,
    }
    if request.max_steps:
        schedule["max_steps"] = steps
    if (
        request.packing
    ):  # how many steps there are is known when the rows are packed; the last is a checkpoint
        schedule["validate_on_checkpoint"] = data.validation_rows > 0
        return schedule
    if data.validation_rows and not tuning.keep_best:  # so that the last validation falls on the last step
        schedule["val_every_steps"] = per_epoch if steps % per_epoch == 0 else steps
    if request.patience is not None and not tuning.keep_best:
        schedule["val_every_steps"] = min(per_epoch, steps)
    return schedule


def _model(base: BaseFacts, tuning: Tuning) -> dict[str, Any]:
    auto = f"{_NEMO}.NeMoAutoModelForCausalLM"
    if base.has_weights:
        where = {"_target_": f"{auto}.from_pretrained", "pretrained_model_name_or_path": "base"}
    else:
        where = {"_target_": f"{auto}.from_config", "config": "base"}
    return {**where, "torch_dtype": "bfloat16" if tuning.precision == "bfloat16" else "float32"}


def _distributed(request: FinetuneRequest, tuning: Tuning) -> dict[str, Any]:
    """FSDP2, whose own policy on several GPUs computes in bfloat16; on one it does nothing of the kind."""
    values: dict[str, Any] = {"strategy": "fsdp2", "dp_size": "none", "tp_size": 1, "cp_size": 1}
    if request.activation_checkpointing:
        values["activation_checkpointing"] = True
    if tuning.precision == "mixed" and request.processes == 1:
        values["autocast_dtype"] = "bfloat16"
    if tuning.precision == "float32" and request.processes > 1:
        values["mp_policy"] = {"param_dtype": "float32", "reduce_dtype": "float32"}
    return values


def _packing(request: FinetuneRequest, tuning: Tuning) -> dict[str, Any]:
    if not request.packing:
        return {"packed_sequence_size": 0}
    return {"packed_sequence_size": tuning.max_tokens, "packing_strategy": "neat"}


def _loss(base: BaseFacts) -> str:
    if base.model_type in _PLAIN_HEADS:
        return f"{_PACKAGE}.label_loss.LabelOnlyCrossEntropy"
    return f"{_NEMO}.components.loss.masked_ce.MaskedCrossEntropy"


def _dataset(request: FinetuneRequest, split: str, base: BaseFacts, tuning: Tuning) -> dict[str, Any]:
    values: dict[str, Any] = {
        "_target_": f"{_PACKAGE}.tokenised_chat.TokenisedChat",
        "path_or_dataset_id": f"data/{split}.jsonl",
        "max_tokens": tuning.max_tokens,
    }
    if not base.has_marks:
        values["mask_generation_prompt"] = True
    if request.learn == "last":
        values["last_turn_only"] = True
    if request.too_long != "drop":
        values["too_long"] = request.too_long
    return values
