"""What a training takes, by arithmetic on the base's sizes: memory, disk, time. Estimates, and called so.

Activations: 34 x hidden bytes a token and layer in 16 bits, twice that in 32 (Korthikanti et al. 2022,
equation 2, without the attention scores, which are not stored); with checkpointing 2 x hidden and one whole
layer. Work: 6 operations a weight and token for all weights, 4 with adapters, 2 more with checkpointing
(Kaplan et al. 2020, section 2.1). A GPU reaches about a third of its data sheet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .classifier import METHOD
from .tuning import Tuning

if TYPE_CHECKING:
    from ...compute.gpus import GpuModel
    from .base import BaseFacts
    from .recipe import DataFacts
    from .request import FinetuneRequest

_UTILISATION = 0.33
_BYTES_A_TOKEN = 3.0  # of a row's JSON: fewer than any tokenizer makes of running text, so an upper bound
_RUNTIME_GB = 1.5  # CUDA context, libraries, buffers
_ADAPTER_SHARE = 0.0008  # weights of adapters of rank 1 on every projection, as a share of the base's, about
USABLE = 0.92  # of a GPU's memory; the rest is fragments


def memory_gb(
    request: FinetuneRequest, base: BaseFacts, tuning: Tuning, teacher: BaseFacts | None = None
) -> float:
    """Memory of each GPU (or of the machine, on CPU) at the peak of a step, in GB of 10^9 bytes.

    A teacher adds its weights, which are not trained, and its logits.
    """
    weight = 2 if tuning.precision == "bfloat16" else 4
    if request.trains_adapters:
        stored = 0.6 if request.method == "qlora" else weight  # 4 bits and their scales
        adapters = min(1.0, _ADAPTER_SHARE * request.lora_rank)
        state = base.parameters * (stored + adapters * 4 * weight)
    else:
        state = base.parameters * 4 * weight  # weights, gradients, two moments
    tokens = tuning.micro_batch_size * tuning.max_tokens
    half = 1 if tuning.precision != "float32" else 2
    layer = 34 * base.hidden * half
    if request.activation_checkpointing:
        activations = tokens * (2 * half * base.hidden * base.layers + layer)
    else:
        activations = tokens * layer * base.layers
    words = 0 if request.method == METHOD else base.vocabulary  # a head of labels weighs next to nothing
    logits = tokens * words * (4 + 4 + 2 * half)  # logits, their gradient, the head's own copy
    taught = 0.0
    if teacher is not None:
        half_teacher = 1 if tuning.precision != "float32" else 2
        taught = 2 * half_teacher * (teacher.parameters / request.processes + tokens * base.vocabulary)
    return (state / request.processes + activations + logits + taught) / 1e9 + _RUNTIME_GB


def disk_bytes(request: FinetuneRequest, base: BaseFacts, tuning: Tuning) -> int:
    """Bytes written: the checkpoints kept at once, the exported model, and the artifact."""
    weights = base.parameters * (2 if tuning.precision == "bfloat16" else 4)
    kept = 3 if tuning.keep_best else 2
    if request.trains_adapters:
        adapters = int(3 * weights * min(1.0, _ADAPTER_SHARE * request.lora_rank))
        return kept * adapters + 2 * base.weight_bytes
    consolidated = kept if tuning.keep_best else 1
    return (3 * kept + consolidated + 2) * weights  # weights and two moments in each


def training_tokens(request: FinetuneRequest, data: DataFacts, tuning: Tuning, steps: int) -> float:
    """Tokens of the whole training, at most."""
    rows = steps * request.batch_size
    whole = rows * tuning.max_tokens
    if data.train_bytes and data.train_rows:
        return float(min(whole, rows * data.train_bytes / data.train_rows / _BYTES_A_TOKEN))
    return float(whole)


def hours(request: FinetuneRequest, base: BaseFacts, gpu: GpuModel, tokens: float, tuning: Tuning) -> float:
    """Wall hours on the request's GPUs, of a kind, at a third of their data sheet."""
    operations = (4 if request.trains_adapters else 6) + 2 * request.activation_checkpointing
    peak = gpu.tflops / (8 if tuning.precision == "float32" else 1)  # TF32 and float32 units are far slower
    seconds = operations * base.parameters * tokens / (peak * 1e12 * _UTILISATION * request.processes)
    return seconds / 3600
