"""The ONNX Runtime GenAI targets, for CPU, as other parts find them: nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .registry import EngineTarget

if TYPE_CHECKING:
    from .base import Engine
    from .builders.base import EngineBuilder

_TINY_BYTES = 20_000_000
# A tiny model on 2 CPU cores: imports and export, then both answers to a case.
_BUILD_S, _CASE_S = 10.0, 0.002


def _open(folder: Path, threads: int) -> Engine:
    from .onnx import OnnxEngine

    return OnnxEngine(folder, threads)


def _build_s(model_bytes: int, prompts: int) -> float | None:
    """Seconds for a model of a few million weights; unknown for larger ones."""
    return _BUILD_S + _CASE_S * prompts if model_bytes <= _TINY_BYTES else None


def _target(precision: str) -> EngineTarget:
    name = f"onnx-{precision}"

    def builder(adapter: Path | None = None) -> EngineBuilder:
        from .builders.onnx import OnnxBuilder

        return OnnxBuilder(name, precision, adapter)

    return EngineTarget(
        name=name,
        summary="ONNX Runtime GenAI",
        open=_open,
        builder=builder,
        adapter_builder=builder,
        runs_with=("onnxruntime_genai",),
        builds_with=("torch", "transformers", "onnx", "onnx_ir", "onnxruntime_genai"),
        run_extras=("serve",),
        build_extras=("train", "serve"),
        triton=Path(__file__).parent / "ort_llm",
        build_s=_build_s,
        features=frozenset(("text", "tools", "json_schema", "logprobs")),
    )


INT8, INT4, FP32 = (_target(precision) for precision in ("int8", "int4", "fp32"))
