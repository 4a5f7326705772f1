"""What a bundle takes of a GPU, against figures that NVIDIA printed itself."""

from __future__ import annotations

import pytest

from opswright.engines.hf_folder import TensorInfo
from opswright.engines.trtllm.memory import bytes_a_token, estimate, weight_bytes
from opswright.engines.trtllm.model_facts import ModelFacts
from opswright.engines.trtllm.options import TrtllmOptions


def llama_3_8b() -> ModelFacts:
    """The tensors of Llama 3 8B, as its config gives them."""
    hidden, inner, layers, vocabulary, kv = 4096, 14336, 32, 128_256, 1024
    shapes = {"model.embed_tokens.weight": (vocabulary, hidden), "lm_head.weight": (vocabulary, hidden)}
    for layer in range(layers):
        at = f"model.layers.{layer}"
        shapes |= {f"{at}.self_attn.{name}_proj.weight": (hidden, hidden) for name in "qo"}
        shapes |= {f"{at}.self_attn.{name}_proj.weight": (kv, hidden) for name in "kv"}
        shapes |= {f"{at}.mlp.{name}_proj.weight": (inner, hidden) for name in ("gate", "up")}
        shapes[f"{at}.mlp.down_proj.weight"] = (hidden, inner)
    tensors = {name: TensorInfo("BF16", (a, b), 2 * a * b) for name, (a, b) in shapes.items()}
    return ModelFacts(
        "LlamaForCausalLM", hidden, inner, layers, 32, 8, 128, vocabulary, 8192, tensors=tensors
    )


def test_the_cache_takes_what_nvidias_log_says() -> None:
    logged = 63.44 * 2**30 / 259_840  # legacy/reference/memory.md: 32 layers, 32 heads of 128, one byte
    model = ModelFacts("LlamaForCausalLM", layers=32, heads=32, kv_heads=32, head_dim=128)
    assert bytes_a_token(model, 1, 1, 1) == pytest.approx(logged, rel=1e-4)


def test_weights_and_cache_of_a_known_model_and_their_margin() -> None:
    model, options = llama_3_8b(), TrtllmOptions(quantisation="none", max_seq_len=2304)
    weights, cache = weight_bytes(model, options), bytes_a_token(model, 1, 1, 2) * 32 * 2304
    assert weights / 1e9 == pytest.approx(16.06, abs=0.01)
    assert cache / 1e9 == pytest.approx(9.66, abs=0.01)
    found = estimate(model, options, 141)
    said_by_nvidia = 28.14  # aiconfigurator 0.12.0 for the same, activations and buffers included
    assert said_by_nvidia <= found.weights_gb + cache / 1e9 + found.margin_gb < 1.12 * said_by_nvidia


def test_numbers_of_a_byte_halve_the_layers_and_leave_embeddings() -> None:
    model = llama_3_8b()
    whole, halved = (weight_bytes(model, TrtllmOptions(quantisation=one)) for one in ("none", "fp8"))
    embeddings = 2 * 2 * 128_256 * 4096
    assert halved - embeddings == pytest.approx((whole - embeddings) / 2)


def test_a_split_over_gpus_shares_weights_and_heads_and_a_head_is_not_cut() -> None:
    model = llama_3_8b()
    split = TrtllmOptions(tensor_parallel=2, pipeline_parallel=2)
    assert weight_bytes(model, split) == weight_bytes(model, TrtllmOptions()) / 4
    assert bytes_a_token(model, 2, 2, 1) == bytes_a_token(model, 1, 1, 1) / 4
    assert bytes_a_token(model, 16, 1, 1) == bytes_a_token(model, 8, 1, 1)


@pytest.mark.parametrize("fraction", [0.5, 0.8])
def test_the_cache_takes_its_share_of_what_is_left(fraction: float) -> None:
    found = estimate(llama_3_8b(), TrtllmOptions(kv_cache_fraction=fraction), 80)
    assert found.cache_gb == pytest.approx(fraction * (80 - found.weights_gb - found.margin_gb))
    assert found.tokens == int(found.cache_gb * 1e9 / 131_072)
    assert found.sequences == found.tokens // 4096 and f"{found.tokens:,} tokens" in str(found)


def test_what_does_not_fit_holds_nothing() -> None:
    found = estimate(llama_3_8b(), TrtllmOptions(quantisation="none"), 16)
    assert (found.tokens, found.sequences) == (0, 0)
