"""The ONNX Runtime GenAI targets, for CPU, as other parts find them: nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import Field

from .registry import EngineTarget, TargetOptions

if TYPE_CHECKING:
    from .base import Engine
    from .builders.base import EngineBuilder

_PRECISIONS = ("int4", "int8", "fp32")  # each finer than the one before
_TINY_BYTES = 20_000_000
# A tiny model on 2 CPU cores: imports and export, then both answers to a case.
_BUILD_S, _CASE_S = 10.0, 0.002


def _open(folder: Path, threads: int) -> Engine:
    from .onnx import OnnxEngine

    return OnnxEngine(folder, threads)


def _build_s(model_bytes: int, prompts: int) -> float | None:
    """Seconds for a model of a few million weights; unknown for larger ones."""
    return _BUILD_S + _CASE_S * prompts if model_bytes <= _TINY_BYTES else None


class OnnxOptions(TargetOptions):
    """What a build is told besides the precision."""

    fall_back: bool = Field(
        True, description="Take the next finer precision when engine and checkpoint answer too differently."
    )


def _target(precision: str) -> EngineTarget:
    name = f"onnx-{precision}"

    def builder(options: TargetOptions, adapter: Path | None = None) -> EngineBuilder:
        from .builders.onnx import OnnxBuilder

        finer = _PRECISIONS[_PRECISIONS.index(precision) :]
        return OnnxBuilder(finer if cast(OnnxOptions, options).fall_back else finer[:1], adapter)

    return EngineTarget(
        name=name,
        summary="ONNX Runtime GenAI",
        open=_open,
        builder=builder,
        options=OnnxOptions,
        adapter_builder=builder,
        runs_with=("onnxruntime_genai",),
        builds_with=("torch", "transformers", "onnx", "onnx_ir", "onnxruntime_genai"),
        run_extras=("serve",),
        build_extras=("train", "serve"),
        triton=Path(__file__).parent / "ort_llm",
        build_s=_build_s,
        features=frozenset(("text", "tools", "json_schema", "logprobs")),
    )


INT4, INT8, FP32 = map(_target, _PRECISIONS)
