"""Overrides: parts of the AutoModel recipe that a request sets itself, by dotted key."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ...core.errors import did_you_mean

# What a recipe may say besides what the request's own fields decide. The rest names code, files or networks.
_SECTIONS = (
    "clip_grad_norm",
    "compile",
    "dataloader",
    "dist_env",
    "distributed",
    "fp8",
    "lr_scheduler",
    "neftune",
    "optimizer",
    "packed_sequence",
    "peft",
    "quantization",
    "rng",
    "step_scheduler",
)
_OURS = {
    "optimizer.lr": "learning_rate",
    "optimizer.weight_decay": "weight_decay",
    "lr_scheduler.lr_warmup_steps": "warmup_steps",
    "step_scheduler.global_batch_size": "batch_size",
    "step_scheduler.local_batch_size": "micro_batch_size",
    "step_scheduler.num_epochs": "epochs",
    "step_scheduler.max_steps": "max_steps",
    "step_scheduler.ckpt_every_steps": "checkpoint_every_steps",
    "peft.dim": "lora_rank",
    "peft.alpha": "lora_alpha",
    "peft.target_modules": "lora_targets",
    "packed_sequence.packed_sequence_size": "packing and max_tokens",
    "distributed.activation_checkpointing": "activation_checkpointing",
}
_MOST_CHARACTERS = 10_000
_WORD = re.compile(r"[A-Za-z0-9_-]{1,60}")


def check_overrides(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides, flat by dotted key; ValueError, naming the key, for what a request may not set there."""
    if len(json.dumps(dict(overrides), default=str)) > _MOST_CHARACTERS:
        raise ValueError(f"overrides are limited to {_MOST_CHARACTERS:,} characters")
    flat: dict[str, Any] = {}
    for key, value in _flat(overrides):
        if key in flat:
            raise ValueError(f"override '{key}' stands twice")
        if any(other.startswith(f"{key}.") or key.startswith(f"{other}.") for other in flat):
            raise ValueError(f"override '{key}' is set both whole and in part")
        flat[key] = value
        section = key.partition(".")[0]
        if section not in _SECTIONS:
            raise ValueError(
                f"override '{key}' is not allowed: expected a key of {', '.join(_SECTIONS)}."
                + did_you_mean(section, _SECTIONS)
            )
        if section == key:
            raise ValueError(
                f"override '{key}' is a section of the recipe: name a key of it, as '{key}.name'"
            )
        if key in _OURS:
            raise ValueError(f"override '{key}' is what the field {_OURS[key]} sets; set that")
        last = key.rpartition(".")[2]
        if any(part.startswith("_") for part in key.split(".")) or last.endswith("_fn"):
            raise ValueError(f"override '{key}' names code to run, which is refused")
        _check_value(key, value)
    return dict(overrides)


def merged(recipe: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with the overrides in it; neither is changed."""
    values: dict[str, Any] = json.loads(json.dumps(recipe))
    for key, value in _flat(overrides):
        *sections, last = key.split(".")
        place = values
        for section in sections:
            inner = place.get(section)
            place[section] = inner = inner if isinstance(inner, dict) else {}
            place = inner
        place[last] = value
    return values


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        key = f"{before}{name}"
        if not all(key.split(".")):
            raise ValueError(f"invalid override key '{key}': expected names with dots between them")
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{key}.")
        else:
            yield key, value


def _check_value(key: str, value: Any) -> None:
    """ValueError for a value that AutoModel would fill from the environment, or take for a path or code."""
    for one in value if isinstance(value, list | tuple) else [value]:
        if isinstance(one, float) and not math.isfinite(one):
            raise ValueError(f"override '{key}' is {one}: expected a finite number")
        if one is not None and not isinstance(one, str | int | float | bool):
            raise ValueError(f"override '{key}' is a {type(one).__name__}: expected a plain value")
        if isinstance(one, str) and not _WORD.fullmatch(one):
            raise ValueError(
                f"override '{key}' is '{one[:40]}': expected a word, a number or true or false. A text "
                "with other marks could name code, a file, an address or the environment, which is refused"
            )
