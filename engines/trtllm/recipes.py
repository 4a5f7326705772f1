"""Ways to quantise: ModelOpt's presets, what their exports are called, and what they ask of a GPU."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class QuantRecipe:
    """One way to quantise.

    preset, cache_preset: names of ModelOpt's configurations for weights and for the KV cache; None: left as
    they are. algorithm: as the export calls it. weight_bytes: bytes of one quantised weight, scales included.
    formats: what a GPU must compute with, as `hardware.yaml` names it. group: weights that share a scale.
    on_cuda: ModelOpt quantises it on CUDA alone. is_calibrated: it looks at rows to choose scales.
    """

    preset: str | None
    algorithm: str | None
    weight_bytes: float
    formats: tuple[str, ...] = ()
    cache_preset: str | None = None
    group: int | None = None
    on_cuda: bool = False
    is_calibrated: bool = True

    @property
    def cache_bytes(self) -> int:
        """Bytes of one number in the KV cache."""
        return 1 if self.cache_preset else 2


RECIPES = {
    "none": QuantRecipe(None, None, 2, is_calibrated=False),
    "fp8": QuantRecipe("FP8_DEFAULT_CFG", "FP8", 1, ("fp8",)),
    "fp8-kv8": QuantRecipe("FP8_DEFAULT_CFG", "FP8", 1, ("fp8", "fp8_kv"), cache_preset="FP8_KV_CFG"),
    "int8-smoothquant": QuantRecipe("INT8_SMOOTHQUANT_CFG", "W8A8_SQ_PER_CHANNEL", 1, ("int8_sq",)),
    "int4-awq": QuantRecipe("INT4_AWQ_CFG", "W4A16_AWQ", 0.516, ("w4a16_awq",), group=128),
    "nvfp4": QuantRecipe("NVFP4_DEFAULT_CFG", "NVFP4", 0.563, ("nvfp4",), group=16, on_cuda=True),
    "mxfp8": QuantRecipe("MXFP8_DEFAULT_CFG", "MXFP8", 1.032, ("mxfp8",), group=32, on_cuda=True),
}
