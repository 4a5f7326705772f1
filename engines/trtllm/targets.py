"""The TensorRT-LLM target, as other parts find it: nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..registry import EngineTarget, TargetOptions, TargetSubject
from .options import TrtllmOptions

if TYPE_CHECKING:
    from ...core.contract import Finding
    from ..base import Engine
    from ..builders.base import EngineBuilder
    from ..triton_text import TritonTextModel
    from .checks import GpuTarget
    from .model_facts import ModelFacts

NAME = "trtllm"
_ELSEWHERE = (
    "TensorRT-LLM serves it: its `serve.sh` on a machine with the GPU, or its `triton.sh` in Triton's "
    "container. Neither was run on a GPU"
)


def _builder(options: TargetOptions) -> EngineBuilder:
    from .builder import TrtllmBuilder

    return TrtllmBuilder(NAME, cast(TrtllmOptions, options))


def _open(folder: Path, threads: int) -> Engine:
    from .on_cpu import DequantisedEngine

    return DequantisedEngine(folder, threads)


def _triton_text(folder: Path) -> TritonTextModel:
    from .llmapi import LlmapiModel

    return LlmapiModel(folder)


def _lacking() -> str:
    from .environment import missing

    return missing()


def _checks(subject: TargetSubject) -> Sequence[Finding]:
    """What every check finds, and that TensorRT-LLM itself is not run."""
    from ...core.contract import Finding

    _, found = checked(subject)
    later = "" if subject.checkpoint is not None else " The checkpoint's own checks follow when it is there."
    return [Finding(level="note", message=f"{_ELSEWHERE}.{later}"), *found]


def checked(
    subject: TargetSubject, *, builds_engines: bool = False
) -> tuple[ModelFacts | None, list[Finding]]:
    """The facts of the checkpoint, where it is there, and what every check finds.

    builds_engines: an engine is compiled ahead, on this machine.
    """
    from .checks import Subject
    from .environment import missing
    from .model_facts import read_facts
    from .preflight import findings

    machine = subject.machine
    model = None if subject.checkpoint is None else read_facts(subject.checkpoint)
    options = cast(TrtllmOptions, subject.options).fitted(model.positions if model is not None else 0)
    asked = Subject(
        options=options,
        model=model,
        gpu=_gpu(subject),
        memory_gb=machine.memory_gb,
        quantiser=missing() if options.recipe.preset else "",
        has_cuda=bool(machine.gpus),
        has_adapters=subject.has_adapters,
        builds_engines=builds_engines,
        built_on=machine.gpus[0].capability if machine.gpus else None,
    )
    return model, findings(asked)


def _gpu(subject: TargetSubject) -> GpuTarget | None:
    """The GPUs that are declared, else those of this machine, which are taken to be of one kind."""
    from .checks import GpuTarget

    declared = cast(TrtllmOptions, subject.options).gpu
    if declared is not None:
        kind = declared.model
        return GpuTarget(declared.kind, declared.number, kind.capability, kind.memory_gb, kind.memory_gb)
    own = subject.machine.gpus
    if not own:
        return None
    free = min(gpu.memory_gb if gpu.free_gb is None else gpu.free_gb for gpu in own)
    return GpuTarget(own[0].name, len(own), own[0].capability, own[0].memory_gb, free)


TRTLLM = EngineTarget(
    name=NAME,
    summary="TensorRT-LLM (quantised and laid out; run on a GPU)",
    open=_open,
    builder=_builder,
    options=TrtllmOptions,
    checks=_checks,
    calibrates=lambda options: cast(TrtllmOptions, options).recipe.is_calibrated,
    runs_with=("torch", "transformers"),
    builds_with=("torch", "transformers", "safetensors", "tritonclient"),
    run_extras=("train",),
    build_extras=("train", "serve"),
    elsewhere=_ELSEWHERE,
    lacking=_lacking,
    triton_text=_triton_text,
)
