"""What a TensorRT-LLM bundle is asked to be: numbers, GPUs, versions, limits of the server."""

from __future__ import annotations

from typing import Annotated, Literal

from packaging.version import InvalidVersion, Version
from pydantic import AfterValidator, Field

from ...compute.gpus import DeclaredGpus
from ..registry import TargetOptions
from .recipes import RECIPES, QuantRecipe

CheckName = Literal[
    "adapters",
    "architecture",
    "backend-format",
    "build-memory",
    "container",
    "divisible",
    "engine-backend",
    "engine-gpu",
    "gpu-format",
    "gpu-known",
    "lengths",
    "quantise-tools",
    "quantised-already",
    "rope",
    "serving-memory",
    "tokenizer",
    "weights",
]
Quantisation = Literal["none", "fp8", "fp8-kv8", "int8-smoothquant", "int4-awq", "nvfp4", "mxfp8"]
_USUAL_LENGTH = 4096  # tokens
_REASON = 12  # characters that a reason has at least: a word is none


def _known_version(text: str) -> str:
    try:
        return str(Version(text))
    except InvalidVersion as error:
        raise ValueError(f"'{text[:40]}' is no version: expected one as 1.2.1 or 1.4.0rc1") from error


class TrtllmOptions(TargetOptions):
    """How a bundle for TensorRT-LLM is made, and for which GPUs. `gpu`: kind and number, as h100x2."""

    quantisation: Quantisation = Field("fp8", description="Numbers that weights are kept in.")
    gpu: DeclaredGpus | None = Field(
        None, description="GPUs it will run on, as h100x2; empty: those of this machine."
    )
    tensorrt_llm: Annotated[str, AfterValidator(_known_version)] = Field(
        "1.2.1", description="Version of TensorRT-LLM that will load it."
    )
    container: str | None = Field(
        None, pattern=r"^\d\d\.\d\d$", description="Tag of Triton's container that serves it, as 26.07."
    )
    tensor_parallel: int = Field(1, ge=1, le=64, description="GPUs that each layer is split over.")
    pipeline_parallel: int = Field(1, ge=1, le=64, description="Groups of layers on GPUs of their own.")
    instances: int = Field(1, ge=1, le=64, description="Copies of the model that Triton runs side by side.")
    max_batch_size: int = Field(64, ge=1, le=4096, description="Requests answered at once, at most.")
    max_num_tokens: int = Field(8192, ge=64, le=1_048_576, description="Tokens of one step, at most.")
    max_seq_len: int = Field(
        0,
        ge=0,
        le=10_485_760,
        description="Tokens of prompt and answer, at most; 0: as the model has positions, 4,096 at most.",
    )
    chunked_prefill: bool = Field(False, description="Read prompts longer than a step in pieces.")
    kv_cache_fraction: float = Field(
        0.8, gt=0, lt=1, description="Share of the memory left beside the weights that the KV cache takes."
    )
    mount: str = Field(
        "/bundle",
        pattern=r"^/[A-Za-z0-9._/-]*$",
        description="Folder of the server under which the bundle will lie.",
    )
    override: dict[CheckName, Annotated[str, Field(min_length=_REASON, max_length=500)]] = Field(
        default_factory=dict, description="Checks that may fail, each with the reason why."
    )

    @property
    def recipe(self) -> QuantRecipe:
        """How its weights are quantised."""
        return RECIPES[self.quantisation]

    def fitted(self, positions: int) -> TrtllmOptions:
        """These options with a max_seq_len, for a model of so many positions; 0: that is not known."""
        chosen = self.max_seq_len or min(positions or _USUAL_LENGTH, _USUAL_LENGTH)
        return self.model_copy(update={"max_seq_len": chosen})

    @property
    def gpus(self) -> int:
        """GPUs that one copy of the model takes."""
        return self.tensor_parallel * self.pipeline_parallel
