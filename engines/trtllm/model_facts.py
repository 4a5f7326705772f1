"""What the checks need of a checkpoint: shape, tensors, tokenizer, and who quantised it before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.errors import AskError
from ..hf_folder import TensorInfo, read_config, read_tensors
from .transformers4 import has_rope_by_layer

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
_TEMPLATES = ("chat_template.jinja", "chat_template.json")


@dataclass(frozen=True)
class ModelFacts:
    """A checkpoint as its config, weight headers and tokenizer file describe it; 0 is what is not said.

    fault: what is wrong with the folder, empty when nothing is. tokens: tokens that its tokenizer knows, None
    where that cannot be read. quantised_by: the method of an earlier quantisation.
    """

    architecture: str
    hidden: int = 0
    intermediate: int = 0
    layers: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    vocabulary: int = 0
    positions: int = 0
    tensors: Mapping[str, TensorInfo] = field(default_factory=dict)
    tokenizer: str | None = None
    tokens: int | None = None
    has_chat_template: bool = False
    has_rope_by_layer: bool = False
    quantised_by: str | None = None
    fault: str = ""

    @property
    def parameters(self) -> int:
        """Weights in its files."""
        return sum(tensor.count for tensor in self.tensors.values())

    @property
    def weight_bytes(self) -> int:
        """Bytes of its weights as they lie in the files."""
        return sum(tensor.size_bytes for tensor in self.tensors.values())

    @property
    def quantisable(self) -> int:
        """Weights that ModelOpt's presets quantise: matrices of layers, neither embeddings nor the head."""
        return sum(tensor.count for name, tensor in self.tensors.items() if is_quantisable(name, tensor))


def is_quantisable(name: str, tensor: TensorInfo) -> bool:
    """Whether ModelOpt's presets quantise a tensor."""
    kept = ("embed" in name) or name.startswith("lm_head") or ("norm" in name)
    return len(tensor.shape) == 2 and name.endswith(".weight") and not kept


def read_facts(folder: Path) -> ModelFacts:
    """The facts of a Hugging Face folder; AskError when its config cannot be read."""
    config = read_config(folder)
    named = config.get("architectures")
    architecture = named[0] if isinstance(named, list) and named else config["model_type"]
    heads, hidden = _whole(config, "num_attention_heads"), _whole(config, "hidden_size")
    try:
        tensors, fault = read_tensors(folder), _missing(folder)
    except AskError as error:
        tensors, fault = {}, str(error)
    return ModelFacts(
        architecture=str(architecture),
        hidden=hidden,
        intermediate=_whole(config, "intermediate_size"),
        layers=_whole(config, "num_hidden_layers"),
        heads=heads,
        kv_heads=_whole(config, "num_key_value_heads") or heads,
        head_dim=_whole(config, "head_dim") or (hidden // heads if heads else 0),
        vocabulary=_whole(config, "vocab_size"),
        positions=_whole(config, "max_position_embeddings"),
        tensors=tensors,
        tokenizer=next((name for name in _TOKENIZERS if (folder / name).is_file()), None),
        tokens=_tokens(folder / "tokenizer.json"),
        has_chat_template=_has_template(folder),
        has_rope_by_layer=has_rope_by_layer(config),
        quantised_by=_quantised_by(config),
        fault=fault or ("" if tensors else f"{folder} has no *.safetensors weights."),
    )


def _whole(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _missing(folder: Path) -> str:
    """Which files the index of the weights names and the folder has not."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return ""
    try:
        named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"{index} cannot be read: {error!r}."
    absent = sorted(str(name) for name in named if not (folder / str(name)).is_file())
    return f"{index.name} names files that are not there: {', '.join(absent[:5])}." if absent else ""


def _tokens(path: Path) -> int | None:
    """The tokens of a tokenizer.json: one more than the largest id."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        vocabulary = read["model"]["vocab"]
        ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else list(range(len(vocabulary)))
        return 1 + int(max([*ids, *(token["id"] for token in read.get("added_tokens", ()))]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _has_template(folder: Path) -> bool:
    if any((folder / name).is_file() for name in _TEMPLATES):
        return True
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and bool(config.get("chat_template"))


def _quantised_by(config: Mapping[str, Any]) -> str | None:
    method = config.get("quantization_config")
    return str(method.get("quant_method", "unknown")) if isinstance(method, Mapping) else None
