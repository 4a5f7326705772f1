"""What lies in a Hugging Face folder, read from its config and the headers of its weights alone."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import AskError

MODELOPT = "modelopt"  # how its exports call their quantisation
_MOST_HEADER_BYTES = 100_000_000  # as safetensors itself limits it
_NUMBER_BYTES = {  # of safetensors' types that fill whole bytes
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2"), 1),
}


@dataclass(frozen=True)
class TensorInfo:
    """A tensor as its file's header describes it: safetensors' name of the type, shape, and bytes."""

    dtype: str
    shape: tuple[int, ...]
    size_bytes: int

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def read_config(folder: Path) -> dict[str, Any]:
    """A Hugging Face folder's config.json; AskError when it is missing, no JSON, or names no model type."""
    config = folder / "config.json"
    if not config.is_file():
        raise AskError(f"{folder} is not a Hugging Face folder: config.json not found.")
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise AskError(f"{config} is not valid JSON: {error}") from error
    if not isinstance(values, dict) or "model_type" not in values:
        raise AskError(f"{config} has no model_type.")
    return values


def refuse_codes(folder: Path) -> None:
    """AskError for weights that ModelOpt quantised, which transformers takes for what they are not.

    Measured on 5.14.1 and 5.18.0: it warns, and loads codes of up to 448 as weights. Other methods it knows.
    """
    file = folder / "config.json"
    try:
        method = json.loads(file.read_text(encoding="utf-8"))["quantization_config"]["quant_method"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if method == MODELOPT:
        raise AskError(
            f"{folder} was quantised by ModelOpt: its weights are codes, which only TensorRT-LLM, vLLM and "
            "the like read. Take the checkpoint it was made from, or the bundle that holds it."
        )


def read_tensors(folder: Path) -> dict[str, TensorInfo]:
    """Every tensor of a folder's safetensors files by name; AskError for a file that is cut or damaged."""
    found: dict[str, TensorInfo] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            found |= _read_header(path)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AskError(f"{path} is cut or no safetensors file: {error}. Get it again.") from error
    return found


def count_parameters(folder: Path) -> int:
    """Weights in a folder's safetensors files; AskError for one that is damaged."""
    return sum(tensor.count for tensor in read_tensors(folder).values())


def _check_size(name: str, tensor: TensorInfo) -> None:
    """ValueError for a tensor whose bytes do not hold its numbers: what its shape says would be wrong."""
    number_bytes = _NUMBER_BYTES.get(tensor.dtype)
    is_odd = number_bytes is not None and number_bytes * tensor.count != tensor.size_bytes
    if is_odd or min((*tensor.shape, tensor.size_bytes)) < 0:
        raise ValueError(f"tensor {name[:80]} of shape {list(tensor.shape)} has {tensor.size_bytes:,} bytes")


def _read_header(path: Path) -> dict[str, TensorInfo]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_MOST_HEADER_BYTES, size - 8):
            raise ValueError(f"its header would have {length:,} bytes")
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    tensors, end = {}, 0
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        tensors[name] = TensorInfo(entry["dtype"], tuple(map(int, entry["shape"])), last - first)
        _check_size(name, tensors[name])
        end = max(end, last)
    if end != sum(tensor.size_bytes for tensor in tensors.values()):
        raise ValueError("its tensors overlap, or leave gaps")
    if size != 8 + length + end:
        raise ValueError(f"it has {size:,} bytes and names {8 + length + end:,}")
    return tensors
