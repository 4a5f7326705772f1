"""The target `trtllm-engine`: engines that TensorRT compiles ahead, for TensorRT-LLM up to 1.2.1.

What would be run is planned, held to the contract and shown. It is not run: the engine is compiled on the GPU
that will run it, and its answers cannot be held against the checkpoint's anywhere else.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from pydantic import Field

from ..registry import EngineTarget, TargetOptions, TargetSubject
from .options import TrtllmOptions

if TYPE_CHECKING:
    from ...core.contract import Finding
    from ..base import Engine
    from ..builders.base import EngineBuilder

NAME = "trtllm-engine"
_ELSEWHERE = "TensorRT-LLM compiles and serves it on the GPU itself. No engine was ever built here"
# Architectures whose weights `examples/models/core/llama/convert_checkpoint.py` converts.
_FAMILY = "llama"
_ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM", "MixtralForCausalLM")
Weights = Literal["bfloat16", "int8", "int4"]


class EngineOptions(TrtllmOptions):
    """How an engine is compiled. `weights`: what they are kept in; activations stay in 16 bits."""

    quantisation: Literal["none"] = Field("none", description="ModelOpt quantises nothing for engines.")
    weights: Weights = Field("bfloat16", description="Numbers that weights are kept in.")


def commands(options: EngineOptions) -> tuple[list[str], list[str]]:
    """The options of convert_checkpoint.py and of trtllm-build, run one after the other."""
    folder = options.mount
    convert = {
        "--model_dir": f"{folder}/checkpoint",
        "--output_dir": f"{folder}/converted",
        "--dtype": "bfloat16",
        "--tp_size": options.tensor_parallel,
        "--pp_size": options.pipeline_parallel,
        **({} if options.weights == "bfloat16" else {"--weight_only_precision": options.weights}),
    }
    build = {
        "--checkpoint_dir": f"{folder}/converted",
        "--output_dir": f"{folder}/engine",
        "--max_batch_size": options.max_batch_size,
        "--max_num_tokens": options.max_num_tokens,
        "--max_seq_len": options.max_seq_len,
        "--max_beam_width": 1,
        "--workers": options.gpus,
    }
    told = [[str(word) for pair in given.items() for word in pair] for given in (convert, build)]
    if options.weights != "bfloat16":
        told[0].append("--use_weight_only")
    return told[0], told[1]


def shown(options: EngineOptions) -> str:
    """Both commands as they are typed in NVIDIA's container, beside a clone of the same version."""
    convert, build = commands(options)
    script = f"TensorRT-LLM/examples/models/core/{_FAMILY}/convert_checkpoint.py"
    return f"{shlex.join(['python3', script, *convert])} && {shlex.join(['trtllm-build', *build])}"


def _checks(subject: TargetSubject) -> Sequence[Finding]:
    """What every check finds, and the commands: the build itself is stopped on every machine."""
    from ...core.contract import Finding
    from .targets import checked

    options = cast(EngineOptions, subject.options)
    facts, found = checked(subject, builds_engines=True)
    if facts is not None and facts.architecture not in _ARCHITECTURES:
        message = f"no commands are known that convert a {facts.architecture} to an engine."
        found.append(Finding(level="stop", message=message, fix="Take target trtllm."))
    fitted = cast(EngineOptions, options.fitted(facts.positions if facts is not None else 0))
    said = Finding(level="stop", message=f"{_ELSEWHERE}.", fix=f"There it is: {shown(fitted)}")
    return [*found, said]


def _builder(options: TargetOptions) -> EngineBuilder:
    raise _refusal(cast(EngineOptions, options))


def _open(folder: Path, threads: int) -> Engine:
    raise _refusal(EngineOptions())


def _refusal(options: EngineOptions) -> Exception:
    from ...core.errors import NeedsError

    return NeedsError(
        f"{_ELSEWHERE}. On that machine, in TensorRT-LLM {options.tensorrt_llm}'s container: "
        f"{shown(cast(EngineOptions, options.fitted(0)))}"
    )


ENGINE = EngineTarget(
    name=NAME,
    summary="TensorRT-LLM's compiled engines, up to 1.2.1 (planned, not built)",
    open=_open,
    builder=_builder,
    options=EngineOptions,
    checks=_checks,
    elsewhere=_ELSEWHERE,
)
