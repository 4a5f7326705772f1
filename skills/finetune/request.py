"""What a fine-tuning is asked and what it gives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ...compute.gpus import DeclaredGpus
from ...compute.phrasing import WHERE_IT_RUNS
from ...core.artifact_refs import AdapterRef, CheckpointRef, ClassifierRef, DatasetRef
from ...core.contract import InputPath, Request, Result
from ...core.phrasing import Spoken
from ...core.suite_source import SuiteSource
from ..nemo_archive.importable import NemoImport
from .hub import HubModel
from .overrides import check_overrides
from .tiny_shape import TinyShape

# Written out when the request is made, so that a plan shows them: the base made from the data has no others.
_TINY = {
    "learning_rate": 2e-3,
    "max_tokens": 256,
    "precision": "float32",
    "keep": "last",
    "tiny": TinyShape(),
}


# Sections of a recipe that AutoModel's sequence classification does not read, or reads for adapters alone.
_NOT_OF_CLASSIFIERS = ("neftune", "packed_sequence", "peft", "quantization")


class FinetuneRequest(Request):
    """Which data teaches which base, by which method. What is empty, the base decides; pre-flight says it."""

    data: DatasetRef = Field(description="Chat-format rows to learn from.")
    base: Literal["tiny"] | CheckpointRef | HubModel | InputPath = Field(
        "tiny",
        description="Where training starts: 'tiny' (a Llama of about 1 M parameters made from the data), a "
        "checkpoint, a local Hugging Face folder with safetensors weights, hf:owner/name@commit, or a .nemo "
        "archive, which is imported as `nemo-archive` does it.",
    )
    nemo: NemoImport | None = Field(
        None,
        description="What the import of a .nemo base needs: {tokenizer: a folder, golden: a JSONL file}.",
    )
    tiny: TinyShape | None = Field(
        None,
        description="How large the base 'tiny' is made; empty: 4 layers of width 128 and 2,048 tokens.",
    )
    method: Annotated[
        Literal["sft", "lora", "qlora", "classifier"],
        Spoken(
            values={
                "lora": ("adapters", "low-rank adapters", "low rank"),
                "sft": ("full fine-tuning", "all weights", "every weight", "full"),
                "classifier": ("a classification head", "classification"),
            }
        ),
    ] = Field(
        "sft",
        description="Train every weight, or low-rank adapters that are merged afterwards; with qlora on a "
        "base in 4 bits (GPU only). classifier: every weight and a new head of labels, for a dataset of task "
        "classify; what comes out answers with a label and generates nothing.",
    )
    epochs: Annotated[int, Spoken(("epochs", "passes", "rounds"))] = Field(
        3, ge=1, le=1000, description="Passes over the training rows."
    )
    learning_rate: Annotated[float | None, Spoken(("lr", "rate"))] = Field(
        None,
        gt=0,
        le=1,
        description="Peak learning rate; empty: 0.002 for 'tiny'; else that of the base's own recipe (half, "
        "where it was trained from scratch); else by method and size.",
    )
    batch_size: Annotated[int, Spoken(("batch", "batches"))] = Field(
        64, ge=1, le=65_536, description="Rows a step, over all GPUs together."
    )
    micro_batch_size: int | None = Field(
        None,
        ge=1,
        le=65_536,
        description="Rows a GPU computes at once; a step adds up as many passes as it takes. Empty: all of "
        "its share for models below 10 M parameters, else what fits 8,192 tokens.",
    )
    warmup_steps: int | None = Field(
        None,
        ge=0,
        description="Steps to the peak rate; empty: a tenth of all, at most 30; none with packing.",
    )
    weight_decay: float = Field(0.1, ge=0, le=1, description="AdamW weight decay.")
    train_share: Annotated[
        float, Spoken(("of the rows", "of the data", "of rows", "of data", "of training rows"))
    ] = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the training rows to learn from, in whole groups. The rows of a smaller share "
        "are among those of a larger one of the same seed; `learning-curve` trains on several.",
    )
    max_steps: Annotated[int | None, Spoken(("steps", "iterations", "updates"))] = Field(
        None, ge=1, description="Stop after this many steps; empty: all epochs."
    )
    max_tokens: int | None = Field(
        None,
        ge=16,
        le=131_072,
        description="Longest row in tokens; empty: 256 for 'tiny', else that of the base's own recipe, else "
        "what the base reads, at most 2,048.",
    )
    too_long: Literal["drop", "refuse"] = Field(
        "drop",
        description="What is done with longer rows: left out where they are at most 5 % of all, or refused.",
    )
    learn: Literal["all", "last"] = Field(
        "all", description="Which of the assistant's turns are learned; the others are read as context."
    )
    teacher: CheckpointRef | HubModel | InputPath | None = Field(
        None,
        description="Model to distil from: the base learns what it would say, beside the rows' answers. It "
        "must have the base's tokenizer.",
    )
    teacher_share: float = Field(
        0.5, gt=0, le=1, description="Weight of the teacher in the loss; the rest is the rows' own answers."
    )
    teacher_temperature: float = Field(
        1.0, gt=0, le=100, description="Above 1 the teacher's less likely tokens count for more."
    )
    lora_rank: Annotated[int, Spoken(("rank", "lora rank", "r"))] = Field(
        16, ge=1, le=512, description="Rank of the adapters (lora, qlora)."
    )
    lora_alpha: int = Field(32, ge=1, le=1024, description="Scale of the adapters (lora, qlora).")
    lora_targets: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.*]{1,100}$")], ...] = Field(
        ("*_proj",),
        min_length=1,
        description="Modules that get adapters, by name; * stands for any part of it.",
    )
    precision: Annotated[
        Literal["float32", "mixed", "bfloat16"] | None,
        Spoken((), {"float32": ("fp32",), "bfloat16": ("bf16",), "mixed": ("mixed precision",)}),
    ] = Field(
        None,
        description="float32; mixed: weights and moments in float32, sums in bfloat16; bfloat16: all. Empty: "
        "float32 on CPU and below 10 M parameters, else mixed for sft and bfloat16 for adapters.",
    )
    packing: bool = Field(
        False,
        description="Put several rows into one sequence of max_tokens; batch_size then counts sequences.",
    )
    activation_checkpointing: bool = Field(
        False, description="Keep fewer activations and compute them again: less memory, a third more time."
    )
    keep: Annotated[
        Literal["last", "best"] | None,
        Spoken(
            values={
                "best": (
                    "keep the best",
                    "keep the best weights",
                    "keep the best checkpoint",
                    "keep the best epoch",
                    "lowest validation loss",
                    "lowest loss",
                    "best weights",
                    "best epoch",
                    "best validation loss",
                    "smallest validation loss",
                ),
                "last": ("last weights", "last epoch", "weights of the last epoch"),
            }
        ),
    ] = Field(
        None,
        description="Which weights become the checkpoint: those after the last step, or those with the "
        "lowest validation loss. Empty: last for 'tiny', else best where the data has validation rows.",
    )
    keep_by: SuiteSource | None = Field(
        None,
        description="Suite whose score decides which weights are kept, in place of the validation loss: its "
        "name, or its YAML file. Not one that a gate judges by.",
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="Stop early after this many validations without a lower loss, or with `keep_by` a higher "
        "score; empty: never.",
    )
    checkpoint_every_steps: int = Field(
        100, ge=1, description="Steps between intermediate checkpoints, from which a stopped run continues."
    )
    overrides: dict[str, Any] = Field(
        {},
        description="More of the NeMo AutoModel recipe by dotted key, as {optimizer.eps: 1e-7}; what names "
        "code or files is refused, and AutoModel checks the rest before anything starts.",
    )
    gpus: int = Field(1, ge=1, le=8, description="GPUs of each machine to share a step; no meaning on CPU.")
    nodes: int = Field(
        1,
        ge=1,
        le=64,
        description="Machines to share a step; more than one on Kubernetes alone, as a TrainJob.",
    )
    gpu: DeclaredGpus | None = Field(
        None,
        description="GPUs it is meant for, as h100 or a100-80gbx4: memory and time are checked for them, "
        "here or elsewhere. Empty: those of this machine.",
    )
    compute: Annotated[str | None, WHERE_IT_RUNS] = Field(
        None,
        min_length=1,
        description="Where it runs: local, slurm, kubernetes or an installed backend; empty: as set.",
    )
    seed: int = Field(1111, ge=0, lt=2**31, description="Seed of weights, order and dropout.")

    @model_validator(mode="before")
    @classmethod
    def _write_out_what_tiny_takes(cls, values: Any) -> Any:
        """A plan shows what will be used wherever that is known when the request is made."""
        if not isinstance(values, dict):
            return values
        written = dict(values)
        if written.get("keep_by") is not None and written.get("keep") is None:
            written["keep"] = "best"
        if str(written.get("base", "")).startswith("hf:"):  # else it would pass for a folder's name
            HubModel.checked(str(written["base"]))
        if written.get("base", "tiny") == "tiny":
            written |= {name: value for name, value in _TINY.items() if written.get(name) is None}
        declared = written.get("gpu")
        if isinstance(declared, str) and "gpus" not in written:
            written["gpus"] = DeclaredGpus.number_in(declared)
        return written

    @field_validator("overrides")
    @classmethod
    def _overrides_are_safe(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        return check_overrides(overrides)

    @model_validator(mode="after")
    def _fits_together(self) -> FinetuneRequest:
        if self.trains_adapters and self.base == "tiny":
            raise ValueError(
                f"method '{self.method}' adapts weights that exist, and base 'tiny' has none yet. Use method "
                "'sft', or a checkpoint as base"
            )
        if self.method == "classifier" and (field := self._of_generation()):
            raise ValueError(
                f"{field} is for a model that generates, and method is 'classifier'. Leave {field} out"
            )
        if self.teacher is not None and (why := self._cannot_be_taught()):
            raise ValueError(f"a teacher needs another training: {why}")
        if self.keep_by is not None and self.keep == "last":
            raise ValueError("keep_by chooses among the checkpoints, and keep is 'last'. Leave keep out")
        if self.keep_by is not None and self.processes > 1:
            raise ValueError(
                f"keep_by asks each checkpoint in one process, and this training has {self.processes}: the "
                "others would wait longer than they may. Use one GPU of one node, or leave keep_by out"
            )
        if self.tiny is not None and self.base != "tiny":
            raise ValueError(f"tiny is the size of base 'tiny', and base is '{self.base}'. Leave it out")
        if self.nemo is not None and not isinstance(self.base, Path):
            raise ValueError(f"nemo is for a .nemo file as base, and base is '{self.base}'. Leave it out")
        over = f"{self.gpus} gpus" + (f" of {self.nodes} nodes" if self.nodes > 1 else "")
        if self.batch_size % self.processes:
            raise ValueError(f"batch_size {self.batch_size} does not divide over {over}")
        share = self.batch_size // self.processes
        if self.micro_batch_size is not None and share % self.micro_batch_size:
            raise ValueError(
                f"a GPU's share of a step is {share} rows (batch_size {self.batch_size} over {over}), which "
                f"micro_batch_size {self.micro_batch_size} does not divide"
            )
        if self.gpu is not None and self.gpu.number != self.gpus:
            raise ValueError(f"gpu '{self.gpu}' is {self.gpu.number} GPU(s) and gpus is {self.gpus}")
        if self.method == "qlora" and self.precision not in (None, "bfloat16"):
            raise ValueError(f"method 'qlora' computes in bfloat16, and precision is '{self.precision}'")
        return self

    @property
    def processes(self) -> int:
        """How many share a step: one for each GPU of each machine."""
        return self.gpus * self.nodes

    def _of_generation(self) -> str:
        """The first field that is set and that only a model that generates has a use for; empty if none."""
        asked = {
            "teacher": self.teacher is not None,
            "packing": self.packing,
            "learn": self.learn != "all",
            "keep_by": self.keep_by is not None,
        }
        set_by_hand = {key.partition(".")[0] for key in self.overrides}
        asked |= {f"overrides of {one}": one in set_by_hand for one in _NOT_OF_CLASSIFIERS}
        return next((name for name, is_set in asked.items() if is_set), "")

    def _cannot_be_taught(self) -> str:
        """Why this training takes no teacher; empty when it does."""
        if self.base == "tiny":
            return (
                "base 'tiny' makes a tokenizer of its own, which is not the teacher's. Give a small model of "
                "the teacher's family as base"
            )
        if self.packing:
            return "packed rows were never tried with one. Leave packing out"
        if self.method == "qlora":
            return "a base in 4 bits was never tried with one. Take method 'sft' or 'lora'"
        return ""

    @property
    def trains_adapters(self) -> bool:
        """Whether the base's own weights stay as they are."""
        return self.method in ("lora", "qlora")


class FinetuneResult(Result):
    """The trained checkpoint and what training it showed."""

    checkpoint: CheckpointRef | None = Field(
        None, description="The model as a Hugging Face folder; none for a classifier."
    )
    adapter: AdapterRef | None = Field(None, description="The adapters alone (lora, qlora), in PEFT's form.")
    classifier: ClassifierRef | None = Field(
        None, description="The classifier as a Hugging Face folder, its labels in config.json (classifier)."
    )
    steps: int = Field(description="Optimizer steps in all.")
    kept_step: int = Field(0, description="The step whose weights the checkpoint has.")
    kept_score: float | None = Field(None, description="Score of the kept weights by `keep_by`, 0 to 1.")
    stopped_early: bool = Field(False, description="Whether loss or score ended it before its steps.")
    resumed_from: int = Field(0, description="The step it went on from; 0 when it started fresh.")
    final_loss: float = Field(description="Mean training loss of the last 20 steps.")
    validation_loss: float | None = Field(None, description="Loss on the validation rows of what was kept.")
    learning_rate: float = Field(0.0, description="Peak learning rate that was used.")
    parameters: int = Field(description="Weights of the model.")
    tokens_per_second: float = Field(
        description="Median over the steps of this call; 0 when none was left to do."
    )
    seconds: float = Field(description="Wall time of the worker since it was last started.")
    device: str = Field(description="cpu or cuda.")
    compute: str = Field("local", description="Compute backend that ran it.")
