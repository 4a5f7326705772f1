"""What stops a TensorRT-LLM bundle before a GPU is used: every check, in the order a reader wants them."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.contract import Finding
from . import checks_of_gpu as of_gpu
from . import checks_of_model as of_model
from . import checks_of_versions as of_versions
from .checks import FailureMode, Subject

CHECKS: Sequence[FailureMode] = (
    of_versions.engine_backend,
    of_versions.backend_format,
    of_versions.container,
    of_versions.quantise_tools,
    of_gpu.gpu_known,
    of_gpu.gpu_format,
    of_gpu.engine_gpu,
    of_model.architecture,
    of_model.rope,
    of_model.adapters,
    of_model.quantised_already,
    of_model.weights,
    of_model.tokenizer,
    of_model.divisible,
    of_model.lengths,
    of_gpu.serving_memory,
    of_gpu.build_memory,
)


def findings(subject: Subject) -> list[Finding]:
    """What every check found, those that could be decided."""
    return [found for one in CHECKS if (found := one.finding(subject)) is not None]
