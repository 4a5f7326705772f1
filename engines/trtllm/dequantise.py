"""A checkpoint that ModelOpt exported, back as plain weights: what a CPU can check of it.

Transformers loads such an export with a warning and takes the codes for weights (measured on 5.14.1 and
5.18.0: numbers up to 448, answers that mean nothing). So it is only ever opened through here.
Weight = code x weight_scale (x pre_quant_scale of its column, where SmoothQuant folded one in).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import BackendError
from ..hf_folder import MODELOPT, TensorInfo, read_config, read_tensors
from .recipes import QuantRecipe

if TYPE_CHECKING:
    import torch

_CODES = {"F8_E4M3", "I8"}
_SCALE, _INPUT, _SMOOTH = "weight_scale", "input_scale", "pre_quant_scale"
_CACHE = {"k_proj": "k_scale", "v_proj": "v_scale"}  # of the KV cache, beside the layers that fill it
_KEPT_OUT = ("model.safetensors", "model.safetensors.index.json", "hf_quant_config.json", "config.json")


def scale_faults(tensors: Mapping[str, TensorInfo], recipe: QuantRecipe) -> list[str]:
    """Scales that an export lacks: of a quantised matrix and, where quantised, of activations or cache."""
    quantised = [name.removesuffix(".weight") for name, one in tensors.items() if one.dtype in _CODES]
    if not quantised:
        return ["no matrix is quantised"]
    wanted = [_SCALE, *([_INPUT] if recipe.algorithm == "FP8" else [])]
    wanted += [_SMOOTH] if recipe.algorithm == "W8A8_SQ_PER_CHANNEL" else []
    asked = [f"{at}.{one}" for at in quantised for one in wanted]
    if recipe.cache_preset:
        asked += [f"{at}.{_CACHE[end]}" for at in quantised for end in _CACHE if at.endswith(end)]
    return [f"{at} is missing" for at in asked if at not in tensors]


def dequantise(folder: Path, out: Path) -> Path:
    """Write an export's weights into a new folder as float32, with what else lies beside them.

    Raises BackendError for a folder that ModelOpt did not export, and for packed 4-bit weights, which are
    not unpacked here.
    """
    from safetensors.torch import load_file, save_file

    config = read_config(folder)
    method = (config.pop("quantization_config", None) or {}).get("quant_method")
    if method != MODELOPT:
        raise BackendError(f"{folder} was not exported by ModelOpt (quant_method: {method}).")
    if packed := [name for name, one in read_tensors(folder).items() if one.dtype == "U8"]:
        raise BackendError(f"{packed[0]} of {folder} is packed in 4 bits, which is not unpacked on a CPU.")
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns("*.safetensors", *_KEPT_OUT))
    stored: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        stored |= load_file(path)
    plain: dict[str, torch.Tensor] = {
        name: _weight(name, tensor, stored).contiguous()
        for name, tensor in stored.items()
        if not name.endswith("_scale")
    }
    save_file(plain, out / "model.safetensors", metadata={"format": "pt"})
    config["dtype"] = "float32"
    config.pop("torch_dtype", None)
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return out


def _weight(name: str, codes: torch.Tensor, stored: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """A tensor as a plain weight, (out, in)."""
    at = name.removesuffix(".weight")
    scale = stored.get(f"{at}.{_SCALE}")
    found = codes.float()
    if scale is None:
        return found
    scale = scale.float()
    found = found * (scale if scale.ndim == 0 or scale.numel() == 1 else scale.reshape(-1, 1))
    smooth = stored.get(f"{at}.{_SMOOTH}")
    return found if smooth is None else found * smooth.float().reshape(1, -1)


def is_export(config: Mapping[str, Any]) -> bool:
    """Whether a config.json says that ModelOpt quantised what lies beside it."""
    said = config.get("quantization_config")
    return isinstance(said, Mapping) and said.get("quant_method") == MODELOPT
