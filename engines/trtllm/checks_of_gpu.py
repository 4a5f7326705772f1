"""Checks of the GPUs: are they known, do they compute these numbers, does it all fit."""

from __future__ import annotations

from .checks import Said, Subject, check, ok, stop, warn
from .known import hardware
from .memory import estimate


@check("gpu-known", "TensorRT-LLM#1515, #5510")
def gpu_known(subject: Subject) -> Said | None:
    """A GPU of which nothing is known, none at all, too old a one, or fewer than asked."""
    gpu, wanted = subject.gpu, subject.options.gpus * subject.options.instances
    if gpu is None:
        return stop(
            "no GPU is declared, and this machine has none.",
            "Declare what it will run on: gpu: h100, or h100x2 for two.",
        )
    if gpu.number < wanted:
        return stop(
            f"tensor_parallel x pipeline_parallel x instances takes {wanted} GPUs; there are {gpu.number} x "
            f"{gpu.name}.",
            f"Declare gpu: {gpu.name}x{wanted}, or take fewer.",
        )
    if gpu.capability is None or gpu.capability not in hardware().formats:
        return stop(
            f"{gpu.name} has compute capability {gpu.capability or 'unknown'}, of which nothing is known; "
            f"known are {', '.join(hardware().formats)}.",
            "Choose a known GPU.",
        )
    return ok(f"{gpu.number} x {gpu.name}, compute capability {gpu.capability}.")


@check("gpu-format", "TensorRT-LLM#1428, #796, #642")
def gpu_format(subject: Subject) -> Said | None:
    """Numbers that the GPU does not compute with."""
    gpu, recipe = subject.gpu, subject.options.recipe
    if gpu is None or gpu.capability is None:
        return None
    has = hardware().formats.get(gpu.capability, frozenset())
    missing = [name for name in recipe.formats if name not in has]
    if not missing:
        return ok(f"{gpu.name} computes {subject.options.quantisation}.")
    others = hardware().with_format(missing[0])
    return stop(
        f"{gpu.name} does not compute {missing[0]}, which {subject.options.quantisation} needs.",
        f"These do: {', '.join(others)}."
        if others
        else f"No GPU of the table is said to: {hardware().source}",
    )


@check("engine-gpu", "TensorRT-LLM#3031")
def engine_gpu(subject: Subject) -> Said | None:
    """An engine compiled on one kind of GPU and started on another."""
    if not subject.builds_engines or subject.gpu is None:
        return None
    if subject.built_on is None:
        return stop(
            "an engine is compiled on the GPU that will run it, and this machine has none.",
            "Build on a machine with that GPU, or take target trtllm, which compiles when it starts.",
        )
    if subject.built_on != subject.gpu.capability:
        return stop(
            f"an engine compiled here (compute capability {subject.built_on}) does not start on "
            f"{subject.gpu.name} ({subject.gpu.capability}).",
            f"Build on a {subject.gpu.name}.",
        )
    return ok(f"built and run on compute capability {subject.built_on}.")


@check("serving-memory", "TensorRT-LLM#486, #1400, #5872")
def serving_memory(subject: Subject) -> Said | None:
    """Weights and KV cache that do not fit beside each other."""
    model, gpu, options = subject.model, subject.gpu, subject.options
    if model is None or gpu is None or not model.layers:
        return None
    found = estimate(model, options, gpu.free_gb)
    busy = gpu.memory_gb - gpu.free_gb
    taken = f" {busy:.0f} GB are held by other processes." if busy > 0.05 * gpu.memory_gb else ""
    if found.sequences < 1:
        return stop(
            f"not one request of {options.max_seq_len:,} tokens fits: {found}.{taken}",
            "Take more GPUs (tensor_parallel), a smaller number format, or a smaller max_seq_len.",
        )
    if found.sequences < options.max_batch_size:
        return warn(
            f"the KV cache holds fewer requests of full length than max_batch_size "
            f"{options.max_batch_size}: {found}.{taken}",
            "Longer requests will wait; lower max_seq_len or max_batch_size to say what is meant.",
        )
    return ok(f"{found}.{taken}")


@check("build-memory", "TensorRT-LLM#1543, #2451, #346, #538")
def build_memory(subject: Subject) -> Said | None:
    """Too little memory to quantise, or to compile, in."""
    if subject.model is None:
        return None
    on_cpu = subject.options.recipe.preset is not None and not subject.has_cuda
    needed = subject.model.parameters * (4 if on_cpu else 2) * 2.2 / 1e9 + 1.0
    if needed > subject.memory_gb:
        return stop(
            f"quantising takes about {needed:.0f} GB of memory, this machine has {subject.memory_gb:.0f}.",
            "Build on a machine with more memory.",
        )
    return ok(f"quantising takes about {needed:.1f} of {subject.memory_gb:.0f} GB.")
