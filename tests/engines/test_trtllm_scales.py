"""An export that lacks a scale is known by the headers of its weights alone."""

from __future__ import annotations

import pytest

from opswright.engines.hf_folder import TensorInfo
from opswright.engines.trtllm.dequantise import scale_faults
from opswright.engines.trtllm.recipes import RECIPES

ONE = TensorInfo("F32", (), 4)
LAYER = "model.layers.0.self_attn"
SCALES = {
    "fp8": ("weight_scale", "input_scale"),
    "fp8-kv8": ("weight_scale", "input_scale"),
    "int8-smoothquant": ("weight_scale", "input_scale", "pre_quant_scale"),
}


def export(quantisation: str) -> dict[str, TensorInfo]:
    """Two matrices with their scales, and an embedding that has none."""
    code = "I8" if quantisation == "int8-smoothquant" else "F8_E4M3"
    found = {"model.embed_tokens.weight": TensorInfo("BF16", (8, 4), 64)}
    for name in ("k_proj", "v_proj"):
        found[f"{LAYER}.{name}.weight"] = TensorInfo(code, (4, 4), 16)
        found |= {f"{LAYER}.{name}.{scale}": ONE for scale in SCALES[quantisation]}
    if quantisation == "fp8-kv8":
        found |= {f"{LAYER}.k_proj.k_scale": ONE, f"{LAYER}.v_proj.v_scale": ONE}
    return found


@pytest.mark.parametrize("quantisation", SCALES)
def test_each_scale_that_is_missing_is_named(quantisation: str) -> None:
    whole, recipe = export(quantisation), RECIPES[quantisation]
    assert scale_faults(whole, recipe) == []
    scales = [name for name in whole if name.endswith("_scale")]
    assert len(scales) >= 4
    for name in scales:
        rest = {key: one for key, one in whole.items() if key != name}
        if name.endswith("input_scale") and quantisation == "int8-smoothquant":
            continue  # activations are scaled token by token as they come
        assert scale_faults(rest, recipe) == [f"{name} is missing"]


def test_an_export_with_nothing_quantised_is_none() -> None:
    plain = {"model.embed_tokens.weight": TensorInfo("BF16", (8, 4), 64)}
    assert scale_faults(plain, RECIPES["fp8"]) == ["no matrix is quantised"]
