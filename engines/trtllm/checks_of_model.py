"""Checks of the checkpoint: is it whole, is it supported, can it be split."""

from __future__ import annotations

from packaging.version import Version

from .checks import Said, Subject, check, ok, stop
from .known import versions


@check("architecture", "TensorRT-LLM#1026, #1515, #5510")
def architecture(subject: Subject) -> Said | None:
    """A model that TensorRT-LLM has no code for, or a GPU from before Ampere."""
    gpu, model = subject.gpu, subject.model
    if gpu is not None and gpu.capability is not None and Version(gpu.capability) < Version("8.0"):
        return stop(
            f"{gpu.name} (compute capability {gpu.capability}) is older than Ampere, the oldest taken.",
            "Choose a newer GPU.",
        )
    if model is None:
        return None
    if model.architecture not in versions().architectures:
        known = ", ".join(sorted(versions().architectures))
        return stop(
            f"{model.architecture} is not among the architectures of the PyTorch path: {known}.",
            "Serve it with another target.",
        )
    return ok(f"{model.architecture} is supported.")


@check("rope", "vllm#42624; srt-slurm#20")
def rope(subject: Subject) -> Said | None:
    """Rotary positions of transformers 5 that have no place in a config of 4, as TensorRT-LLM 1.2 reads."""
    if subject.model is None:
        return None
    if subject.model.has_rope_by_layer:
        return stop(
            "the checkpoint's rotary positions differ by kind of layer, as transformers 5 writes them; "
            "TensorRT-LLM reads configs with transformers 4, which would compute others without a word.",
            "Build from a config.json of transformers 4.",
        )
    return ok("rotary positions stand where transformers 4 and 5 read the same.")


@check("weights", "TensorRT-LLM#2052")
def weights(subject: Subject) -> Said | None:
    """Weights that are cut, pointers to large storage, or absent."""
    if subject.model is None:
        return None
    if subject.model.fault:
        return stop(subject.model.fault, "Get the checkpoint again.")
    return ok(f"{subject.model.parameters:,} weights, every file whole.")


@check("quantised-already", "TensorRT-LLM#1528, #6530, #1677")
def quantised_already(subject: Subject) -> Said | None:
    """A checkpoint that somebody quantised before, by ModelOpt or otherwise."""
    if subject.model is None or subject.model.quantised_by is None:
        return None
    return stop(
        f"the checkpoint is quantised already, by '{subject.model.quantised_by}'.",
        "Build from the weights before that.",
    )


@check("adapters", "tensorrtllm_backend#426; TensorRT-LLM#11077, #2733")
def adapters(subject: Subject) -> Said | None:
    """Adapters whose rank or targets a server does not take: none is built from unmerged ones."""
    if not subject.has_adapters:
        return None
    return stop(
        "a TensorRT-LLM bundle is built from merged weights; these are adapters.",
        "Build from the checkpoint of the same training, which has them merged.",
    )


@check("tokenizer", "tensorrtllm_backend#109, #234")
def tokenizer(subject: Subject) -> Said | None:
    """A tokenizer that is missing, knows more tokens than the model, or cannot render a chat."""
    model = subject.model
    if model is None:
        return None
    if model.tokenizer is None:
        return stop("the checkpoint has no tokenizer.", "Save one beside it.")
    if model.tokens is not None and model.vocabulary and model.tokens > model.vocabulary:
        return stop(
            f"the tokenizer knows {model.tokens:,} tokens, the model {model.vocabulary:,}.",
            "Save the tokenizer that the model was trained with beside it.",
        )
    if not model.has_chat_template:
        return stop(
            "the checkpoint has no chat template, so no server can put a message to it as in training.",
            "Save one with its tokenizer.",
        )
    return ok(f"{model.tokenizer} with a chat template.")


@check("divisible", "TensorRT-LLM#679, #894; Qwen-TensorRT-LLM#118")
def divisible(subject: Subject) -> Said | None:
    """Layers that cannot be split over so many GPUs, or into groups that share a scale."""
    model, options = subject.model, subject.options
    if model is None or not model.hidden:
        return None
    split, group = options.tensor_parallel, options.recipe.group or 1
    wrong = [
        f"{what} {size:,} by {part}"
        for what, size, part in (
            ("hidden size", model.hidden, split * group),
            ("intermediate size", model.intermediate, split * group),
            ("heads", model.heads, split),
            ("layers", model.layers, options.pipeline_parallel),
        )
        if size % part
    ]
    if model.kv_heads % split and split % max(model.kv_heads, 1):
        wrong.append(f"KV heads {model.kv_heads} by {split}")
    if not wrong:
        return ok(f"every size of the model can be split {split} ways.")
    shared = f", {group} weights sharing a scale" if group > 1 else ""
    return stop(
        f"cannot split evenly: {', '.join(wrong)} (tensor_parallel {split}{shared}).",
        "Choose another tensor_parallel or pipeline_parallel" + (", or fp8." if group > 1 else "."),
    )


@check("lengths", "TensorRT-LLM#6539, #2702, #4641; tensorrtllm_backend#141")
def lengths(subject: Subject) -> Said | None:
    """Prompts that the model was not made for, or that a step cannot take."""
    options, model = subject.options, subject.model
    if model is not None and model.positions and options.max_seq_len > model.positions:
        return stop(
            f"max_seq_len {options.max_seq_len:,} is more than the model's {model.positions:,} positions.",
            f"Set max_seq_len to {model.positions} or less.",
        )
    if options.max_num_tokens < options.max_seq_len and not options.chunked_prefill:
        return stop(
            f"a prompt of up to {options.max_seq_len:,} tokens does not fit into a step of "
            f"max_num_tokens {options.max_num_tokens:,}.",
            f"Set max_num_tokens to {options.max_seq_len}, or chunked_prefill: true.",
        )
    return ok(f"prompts and answers of up to {options.max_seq_len:,} tokens fit.")
