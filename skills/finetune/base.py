"""What a base is: the facts of a Hugging Face folder that a training and its estimate need."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...core.errors import AskError
from ...engines.hf_folder import count_parameters, read_config, refuse_codes
from .chat_rows import folder_template, has_marks
from .tiny_shape import TinyShape

# Words that a model's dimensions have in config.json, the usual ones first.
_HIDDEN = ("hidden_size", "n_embd", "d_model")
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers")
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")


@dataclass(frozen=True)
class BaseFacts:
    """A base's architecture, sizes, weights, and the recipe that trained it, where it is one of ours.

    parameters: weights in its files, or that the tiny base will have; positions: the tokens it reads, 0 when
    it does not say; has_marks: whether its chat template marks what the assistant says.
    """

    model_type: str = "llama"
    has_weights: bool = False
    parameters: int = 0
    weight_bytes: int = 0
    hidden: int = 128
    layers: int = 4
    vocabulary: int = 2048
    positions: int = 0
    has_marks: bool = True
    recipe: Mapping[str, Any] | None = None

    @classmethod
    def of_tiny(cls, shape: TinyShape) -> BaseFacts:
        """The facts of the base that will be made from the data."""
        return cls(
            parameters=shape.parameters, hidden=shape.width, layers=shape.layers, vocabulary=shape.vocabulary
        )

    @classmethod
    def of_folder(cls, folder: Path) -> BaseFacts:
        """The facts of a Hugging Face folder; AskError without a config or safetensors, or with code."""
        config = folder / "config.json"
        values = read_config(folder)
        if "auto_map" in values:
            raise AskError(f"{config} asks to run its own code (auto_map), which is refused.")
        if "ForSequenceClassification" in str(values.get("architectures")):
            raise AskError(
                f"{folder} holds a classifier, whose head would be lost. As base take what it was made of."
            )
        if _asks_for_code(folder / "tokenizer_config.json"):
            raise AskError(
                f"{folder / 'tokenizer_config.json'} asks to run its own code (auto_map), which is refused."
            )
        refuse_codes(folder)
        if not any(folder.glob("*.safetensors")):
            raise AskError(
                f"{folder} has no *.safetensors weights. Convert it first: model.save_pretrained(folder)."
            )
        if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
            raise AskError(f"{folder} has no tokenizer (tokenizer.json). Save it beside the weights.")
        return replace(
            cls.of_config(
                values,
                parameters=count_parameters(folder),
                weight_bytes=sum(path.stat().st_size for path in folder.glob("*.safetensors")),
            ),
            has_marks=has_marks(folder_template(folder)),
            recipe=own_recipe(folder),
        )

    @classmethod
    def of_config(cls, values: Mapping[str, Any], *, parameters: int, weight_bytes: int) -> BaseFacts:
        """What a Hugging Face config says of a model with weights."""
        return cls(
            model_type=str(values.get("model_type")),
            has_weights=True,
            parameters=parameters,
            weight_bytes=weight_bytes,
            hidden=_number(values, _HIDDEN),
            layers=_number(values, _LAYERS),
            vocabulary=_number(values, ("vocab_size",)),
            positions=_number(values, _POSITIONS),
        )


def _asks_for_code(path: Path) -> bool:
    """Whether a JSON file names code of its own; AutoModel would run a teacher's."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return False
    return isinstance(values, dict) and "auto_map" in values


def own_recipe(folder: Path) -> dict[str, Any] | None:
    """The recipe that a checkpoint folder says it was trained by; None without one that can be read."""
    import yaml

    try:
        values = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    return values if isinstance(values, dict) else None


def _number(values: Mapping[str, Any], names: tuple[str, ...]) -> int:
    """The first of these that a config has as a number above 0, also in the part for text; else 0."""
    for part in (values, values.get("text_config")):
        if isinstance(part, Mapping):
            for name in names:
                value = part.get(name)
                if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                    return value
    return 0
