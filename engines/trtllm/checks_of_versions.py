"""Checks of the tools: do these versions go together, and are they there."""

from __future__ import annotations

from packaging.version import Version

from .checks import Said, Subject, check, ok, stop
from .known import versions


@check("engine-backend", "TensorRT-LLM#15767, migration guide")
def engine_backend(subject: Subject) -> Said | None:
    """Engines asked of a TensorRT-LLM that builds none any more."""
    last = versions().last_with_engines
    if not subject.builds_engines or Version(subject.options.tensorrt_llm) <= Version(last):
        return None
    return stop(
        f"TensorRT-LLM {subject.options.tensorrt_llm} builds no engines: trtllm-build and convert_checkpoint "
        f"are gone after {last}.",
        "Take target trtllm: the server loads the quantised checkpoint itself, nothing is compiled ahead.",
    )


@check("backend-format", "TensorRT-LLM#3554; Model-Optimizer docs, unified Hugging Face checkpoints")
def backend_format(subject: Subject) -> Said | None:
    """Numbers that no code of the server takes, whatever the GPU; or a version from before there was any."""
    algorithm, options = subject.options.recipe.algorithm, subject.options
    oldest = Version(versions().oldest_for_modelopt if algorithm else versions().oldest)
    if Version(options.tensorrt_llm) < oldest:
        return stop(
            f"TensorRT-LLM {options.tensorrt_llm} does not load such checkpoints; {oldest} and later do.",
            f"Set tensorrt_llm to {versions().stable}.",
        )
    if not subject.builds_engines and algorithm in versions().not_loaded_by_pytorch:
        return stop(
            f"TensorRT-LLM's PyTorch path has no code for {algorithm} ({options.quantisation}).",
            "Take fp8 or int4-awq, or target trtllm-engine.",
        )
    return ok(f"TensorRT-LLM {options.tensorrt_llm} loads {algorithm or 'bf16'}.")


@check("container", "tensorrtllm_backend#531, #320; TensorRT-LLM#1038")
def container(subject: Subject) -> Said | None:
    """A server of another TensorRT-LLM than the bundle is for."""
    tag, wanted = subject.options.container, subject.options.tensorrt_llm
    if tag is None:
        return None
    has = versions().triton.get(tag)
    if has is None:
        known = ", ".join(versions().triton)
        return stop(
            f"which TensorRT-LLM Triton's container {tag} has is not known.", f"Choose one of {known}."
        )
    if has != wanted:
        fitting = versions().container_of(wanted)
        fix = f"Choose container {fitting}." if fitting else f"Set tensorrt_llm to {has}."
        return stop(f"Triton's container {tag} has TensorRT-LLM {has}, the bundle is for {wanted}.", fix)
    return ok(f"Triton's container {tag} has TensorRT-LLM {has}.")


@check("quantise-tools", "TensorRT-LLM#2597, #1774, #4275")
def quantise_tools(subject: Subject) -> Said | None:
    """No ModelOpt to quantise with, or one that needs CUDA."""
    recipe, options = subject.options.recipe, subject.options
    if recipe.preset is None:
        return None
    if recipe.on_cuda and not subject.has_cuda:
        return stop(
            f"ModelOpt quantises to {options.quantisation} on CUDA alone, and this machine has none.",
            "Take fp8, which it also makes on CPU, or build on a machine with a GPU.",
        )
    if subject.quantiser:
        return stop(subject.quantiser)
    return ok("ModelOpt is there, in an environment of its own.")
