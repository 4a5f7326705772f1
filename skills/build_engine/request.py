"""What the skill `build-engine` is asked and gives back."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from ...compute.phrasing import WHERE_IT_RUNS
from ...core.artifact_refs import AdapterRef, BundleRef, CheckpointRef, DatasetRef
from ...core.contract import InputPath, Request, Result
from ...core.errors import AskError
from ...core.phrasing import Spoken
from ...core.suite_source import SuiteSource
from ...engines.registry import DEFAULT_TARGET, TargetOptions, engine_target


def _known_target(name: str) -> str:
    try:
        return engine_target(name).name
    except AskError as error:
        raise PydanticCustomError("unknown_target", "{error}", {"error": str(error)}) from error


TargetName = Annotated[
    Literal["onnx-int8", "onnx-int4", "onnx-fp32", "trtllm", "trtllm-engine"] | str,  # what completion offers
    AfterValidator(_known_target),
]


class BuildEngineRequest(Request):
    """Which checkpoint becomes an engine of which kind, and how alike the two must answer."""

    model: CheckpointRef | AdapterRef = Field(
        description="Checkpoint to build from, or adapters, which stay unmerged beside their base."
    )
    target: Annotated[
        TargetName,
        Spoken(
            values={
                "onnx-int8": ("int8", "8 bit", "8 bits"),
                "onnx-int4": ("int4", "4 bit", "4 bits"),
                "onnx-fp32": ("fp32", "float32", "full precision"),
                "trtllm": ("tensorrt", "tensorrt-llm", "trt"),
            }
        ),
    ] = Field(
        DEFAULT_TARGET,
        description="Engine and precision: ONNX Runtime GenAI on CPU in int8, int4 or fp32, a bundle for "
        "TensorRT-LLM, or one that an installed package brings.",
    )
    parity_data: DatasetRef | None = Field(
        None, description="Take the parity prompts from this dataset's validation rows, not from a suite."
    )
    parity_suite: SuiteSource | None = Field(
        None,
        description="Suite that the parity prompts come from; empty: the one that the model was judged on by "
        "the record, else validation rows of its own dataset.",
    )
    trust: InputPath | None = Field(
        None, description="Folder whose Python scorers may be run; without it, none is."
    )
    parity_items: int = Field(1000, ge=1, le=1_000_000, description="Prompts of the parity check, at most.")
    min_agreement: float = Field(
        0.985, ge=0, le=1, description="Least share of prompts that engine and checkpoint answer alike."
    )
    max_score_drop: float = Field(
        0.015, ge=0, le=1, description="Largest drop of the suite's first score from checkpoint to engine."
    )
    max_new_tokens: int = Field(
        32, ge=1, le=4096, description="Longest answer of the parity check in tokens."
    )
    calibration_items: int = Field(
        128, ge=1, le=100_000, description="Training rows by which a target that calibrates chooses scales."
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="What the target may be told besides; `opswright targets NAME` lists it.",
    )
    compute: Annotated[str | None, WHERE_IT_RUNS] = Field(
        None,
        min_length=1,
        description="Where it runs: local, slurm, kubernetes or an installed backend; empty: as set.",
    )

    @field_validator("options")
    @classmethod
    def _of_the_target(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """The options with every default written out."""
        target = info.data.get("target")
        if target is None:
            return options
        return engine_target(target).options.model_validate(options).model_dump(mode="json")

    @property
    def told(self) -> TargetOptions:
        """The options as the target reads them."""
        return engine_target(self.target).options.model_validate(self.options)


class BuildEngineResult(Result):
    """The bundle and how closely it follows its checkpoint."""

    bundle: BundleRef = Field(description="The engine with its manifest.")
    target: str = Field(description="What was built: as asked, or a finer precision.")
    fell_back: str | None = Field(None, description="Why it is a finer precision; empty: it is as asked.")
    agreement: float = Field(description="Share of prompts answered alike, 0 to 1.")
    agreed: int = Field(description="Prompts answered alike.")
    n: int = Field(description="Prompts asked.")
    metric: str | None = Field(None, description="What scored the answers; empty: nothing did.")
    checkpoint_score: float | None = Field(None, description="Mean score of the checkpoint's answers.")
    engine_score: float | None = Field(None, description="Mean score of the engine's answers.")
    size_bytes: int = Field(description="Size of the engine.")
    compute: str = Field("local", description="Compute backend that ran the build.")
    not_run: str | None = Field(None, description="What this machine could not do; empty: nothing.")
