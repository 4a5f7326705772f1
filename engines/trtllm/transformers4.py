"""A checkpoint as transformers 4 reads it: TensorRT-LLM 1.2 has that one, ours is 5 and writes otherwise.

Rotary positions: 4 does not look into `rope_parameters` and computes with a base of 10000, without a word
(vllm#42624). The tokenizer: 4 knows no class `TokenizersBackend` and stops (unsloth#8444, srt-slurm#20).
What is written here both read, and compute the same from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..hf_folder import read_config

_COPIED = (
    "*.jinja",
    "*.model",
    "added_tokens.json",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer*",
    "vocab.json",
)
_ROPE = "rope_parameters"


def link_checkpoint(folder: Path, out: Path) -> Path:
    """A new folder with the weights of a checkpoint, linked, and what lies beside them, written for 4."""
    out.mkdir()
    for path in folder.glob("*.safetensors*"):
        (out / path.name).symlink_to(path.resolve())
    copy_beside(folder, out)
    config = json.dumps(config_for_4(read_config(folder)), indent=2) + "\n"
    (out / "config.json").write_text(config, encoding="utf-8")
    return out


def copy_beside(folder: Path, out: Path) -> None:
    """Copy tokenizer, chat template and settings of generating, and nothing else: no rows, no logs."""
    for path in (path for pattern in _COPIED for path in folder.glob(pattern) if path.is_file()):
        shutil.copyfile(path, out / path.name)
    file = out / "tokenizer_config.json"
    if file.is_file():
        told = tokenizer_for_4(json.loads(file.read_text(encoding="utf-8")))
        file.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def config_for_4(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json with rotary positions where 4 looks for them; those by kind of layer stay as they are."""
    told = dict(config)
    if not isinstance(config.get(_ROPE), Mapping) or has_rope_by_layer(config):
        return told
    rope = dict(told.pop(_ROPE))
    for name in ("rope_theta", "partial_rotary_factor"):
        if (value := rope.pop(name, None)) is not None:
            told[name] = value
    told["rope_scaling"] = None if rope.get("rope_type", "default") == "default" else rope
    return told


def has_rope_by_layer(config: Mapping[str, Any]) -> bool:
    """Whether rotary positions are given for each kind of layer."""
    rope = config.get(_ROPE)
    return isinstance(rope, Mapping) and any(isinstance(value, Mapping) for value in rope.values())


def tokenizer_for_4(config: Mapping[str, Any]) -> dict[str, Any]:
    """A tokenizer_config.json with the class's older name, and special tokens as 4 lists them."""
    told = {name: value for name, value in config.items() if name != "backend"}
    if told.get("tokenizer_class") == "TokenizersBackend":
        told["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(more := told.get("extra_special_tokens"), list):
        del told["extra_special_tokens"]
        told["additional_special_tokens"] = more
    return told
