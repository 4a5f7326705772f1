"""What a fine-tuning is asked and what it gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from ...core.artifacts import CheckpointRef, DatasetRef
from ...core.contract import InputPath, Request, Result

_RATES = {"tiny": 2e-3, "checkpoint": 1e-3, "lora": 5e-3, "folder": 2e-5}


class FinetuneRequest(Request):
    """Which data teaches which base, by which method."""

    data: DatasetRef = Field(description="Chat-format rows to learn from.")
    base: Literal["tiny"] | CheckpointRef | InputPath = Field(
        "tiny",
        description="Where training starts: 'tiny' (a Llama of about 1 M parameters made from the data), a "
        "checkpoint, or a local Hugging Face folder with safetensors weights.",
    )
    method: Literal["sft", "lora"] = Field(
        "sft", description="Train every weight, or low-rank adapters that are merged afterwards."
    )
    epochs: int = Field(3, ge=1, le=1000, description="Passes over the training rows.")
    learning_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Peak learning rate; empty: 0.002 for 'tiny', 0.001 from a checkpoint (0.005 with lora), "
        "0.00002 from a folder.",
    )
    batch_size: int = Field(64, ge=1, le=65_536, description="Rows a step, over all GPUs together.")
    warmup_steps: int | None = Field(
        None, ge=0, description="Steps to the peak rate; empty: a tenth of all steps, at most 30."
    )
    weight_decay: float = Field(0.1, ge=0, le=1, description="AdamW weight decay.")
    max_steps: int | None = Field(None, ge=1, description="Stop after this many steps; empty: all epochs.")
    max_tokens: int = Field(
        256, ge=16, le=131_072, description="Longest row in tokens; a longer one is refused by its number."
    )
    lora_rank: int = Field(16, ge=1, le=512, description="Rank of the adapters (method lora).")
    lora_alpha: int = Field(32, ge=1, le=1024, description="Scale of the adapters (method lora).")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="Type of weights and sums.")
    checkpoint_every_steps: int = Field(
        100, ge=1, description="Steps between intermediate checkpoints, from which a stopped run continues."
    )
    gpus: int = Field(1, ge=1, le=8, description="GPUs of one machine to share a step; no meaning on CPU.")
    compute: str | None = Field(
        None,
        min_length=1,
        description="Where it runs: local, slurm or an installed backend; empty: as set.",
    )
    seed: int = Field(1111, ge=0, lt=2**31, description="Seed of weights, order and dropout.")

    @model_validator(mode="before")
    @classmethod
    def _write_out_the_rate(cls, values: Any) -> Any:
        """A plan shows the rate that will be used, so the default is decided when the request is made."""
        if isinstance(values, dict) and values.get("learning_rate") is None:
            base = values.get("base", "tiny")
            if base == "tiny":
                kind = "tiny"
            elif not isinstance(base, Path) and str(base).startswith(f"{CheckpointRef.kind}:"):
                kind = "lora" if values.get("method") == "lora" else "checkpoint"
            else:
                kind = "folder"
            return {**values, "learning_rate": _RATES[kind]}
        return values

    @model_validator(mode="after")
    def _fits_together(self) -> FinetuneRequest:
        if self.method == "lora" and self.base == "tiny":
            raise ValueError(
                "method 'lora' adapts weights that exist, and base 'tiny' has none yet. Use method 'sft', or "
                "a checkpoint as base"
            )
        if self.batch_size % self.gpus:
            raise ValueError(f"batch_size {self.batch_size} does not divide over {self.gpus} gpus")
        return self

    @property
    def rate(self) -> float:
        """The peak learning rate, written out."""
        return self.learning_rate if self.learning_rate is not None else _RATES["folder"]


class FinetuneResult(Result):
    """The trained checkpoint and what training it showed."""

    checkpoint: CheckpointRef = Field(description="The model as a Hugging Face folder.")
    steps: int = Field(description="Optimizer steps in all.")
    resumed_from: int = Field(0, description="The step it went on from; 0 when it started fresh.")
    final_loss: float = Field(description="Mean training loss of the last 20 steps.")
    validation_loss: float | None = Field(None, description="Loss on the validation rows at the end.")
    parameters: int = Field(description="Weights of the model.")
    tokens_per_second: float = Field(
        description="Median over the steps of this call; 0 when none was left to do."
    )
    seconds: float = Field(description="Wall time of the worker since it was last started.")
    device: str = Field(description="cpu or cuda.")
    compute: str = Field("local", description="Compute backend that ran it.")
