"""What a bundle takes of a GPU's memory, by arithmetic: weights, KV cache, and a margin for all else.

KV cache, bytes a token and GPU: 2 x layers / pp x ceil(kv heads / tp) x head size x bytes of a number.
NVIDIA's own log (TensorRT-LLM docs, legacy/reference/memory.md) has 63.44 GiB for 259,840 tokens of
32 layers, 32 heads of 128 in one byte: 262,155 bytes a token, where the formula gives 262,144; and a cache
of 0.9 x 70.48 GiB. Embeddings, head and norms stay in 16 bits. Activations and buffers: a tenth of the rest
and 2 GB; aiconfigurator 0.12.0 says 28.14 GB where weights and cache of Llama 3 8B alone are 25.7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .model_facts import ModelFacts
from .options import TrtllmOptions

_MARGIN_SHARE, _MARGIN_GB = 0.10, 2.0


@dataclass(frozen=True)
class MemoryEstimate:
    """GB (10^9 bytes) of each GPU, and what the KV cache holds.

    cache_gb: what is left for the cache; tokens: that fit into it; sequences: of max_seq_len that fit.
    """

    gpu_gb: float
    weights_gb: float
    margin_gb: float
    cache_gb: float
    bytes_a_token: int
    max_seq_len: int

    @property
    def tokens(self) -> int:
        """Tokens of prompts and answers that the cache holds."""
        return max(0, int(self.cache_gb * 1e9 / self.bytes_a_token)) if self.bytes_a_token else 0

    @property
    def sequences(self) -> int:
        """Requests of full length that the cache holds at once."""
        return self.tokens // self.max_seq_len

    def __str__(self) -> str:
        return (
            f"of {self.gpu_gb:.0f} GB each GPU: weights {self.weights_gb:.1f}, activations and buffers about "
            f"{self.margin_gb:.1f}, KV cache {max(self.cache_gb, 0):.1f} for {self.tokens:,} tokens "
            f"({self.sequences:,} requests of {self.max_seq_len:,})"
        )


def bytes_a_token(model: ModelFacts, tensor_parallel: int, pipeline_parallel: int, number_bytes: int) -> int:
    """Bytes of the KV cache for a token on each GPU."""
    layers = math.ceil(model.layers / pipeline_parallel)
    return 2 * layers * math.ceil(model.kv_heads / tensor_parallel) * model.head_dim * number_bytes


def weight_bytes(model: ModelFacts, options: TrtllmOptions) -> float:
    """Bytes of the weights on each GPU once they are quantised."""
    quantised = model.quantisable * options.recipe.weight_bytes
    return (quantised + 2 * (model.parameters - model.quantisable)) / options.gpus


def estimate(model: ModelFacts, options: TrtllmOptions, gpu_gb: float) -> MemoryEstimate:
    """What of so many free GB goes where. The cache takes its fraction of what weights and margin leave."""
    weights = weight_bytes(model, options) / 1e9
    margin = _MARGIN_SHARE * weights + _MARGIN_GB
    return MemoryEstimate(
        gpu_gb=gpu_gb,
        weights_gb=weights,
        margin_gb=margin,
        cache_gb=options.kv_cache_fraction * (gpu_gb - weights - margin),
        bytes_a_token=bytes_a_token(
            model, options.tensor_parallel, options.pipeline_parallel, options.recipe.cache_bytes
        ),
        max_seq_len=options.fitted(model.positions).max_seq_len,
    )
