"""What transformers 5 wrote is written so that 4 reads it, and 5 still reads the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from opswright.engines.trtllm.transformers4 import (
    config_for_4,
    copy_beside,
    has_rope_by_layer,
    link_checkpoint,
    tokenizer_for_4,
)

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
BY_LAYER = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}


def config(rope: object) -> dict[str, Any]:
    return {"model_type": "llama", "hidden_size": 64, "rope_parameters": rope}


@pytest.mark.parametrize(
    ("rope", "said"),
    [
        ({"rope_type": "default", "rope_theta": 1e6}, {"rope_theta": 1e6, "rope_scaling": None}),
        (
            {"rope_theta": 1e4, "partial_rotary_factor": 0.5},
            {"rope_theta": 1e4, "partial_rotary_factor": 0.5, "rope_scaling": None},
        ),
        (
            LLAMA3,
            {
                "rope_theta": 500_000.0,
                "rope_scaling": {name: value for name, value in LLAMA3.items() if name != "rope_theta"},
            },
        ),
    ],
)
def test_rotary_positions_stand_where_4_looks_for_them(rope: object, said: dict[str, Any]) -> None:
    told = config_for_4(config(rope))
    assert told == {"model_type": "llama", "hidden_size": 64, **said}


def test_what_4_wrote_is_left_as_it_is() -> None:
    old = {"model_type": "llama", "rope_theta": 1e6, "rope_scaling": None}
    assert config_for_4(old) == old


def test_positions_by_kind_of_layer_are_known_and_not_guessed_at() -> None:
    assert has_rope_by_layer(config(BY_LAYER)) and not has_rope_by_layer(config(LLAMA3))
    assert config_for_4(config(BY_LAYER)) == config(BY_LAYER)


def test_the_tokenizer_has_the_name_and_the_list_that_4_knows() -> None:
    told = tokenizer_for_4(
        {"backend": "tokenizers", "tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<a>"]}
    )
    assert told == {"tokenizer_class": "PreTrainedTokenizerFast", "additional_special_tokens": ["<a>"]}
    other = {"tokenizer_class": "LlamaTokenizerFast", "extra_special_tokens": {"image_token": "<i>"}}
    assert tokenizer_for_4(other) == other


def test_a_checkpoint_is_linked_without_what_was_noted_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    names = ("model.safetensors", "tokenizer.json", "chat_template.jinja", "training.jsonl", "recipe.yaml")
    for name in names:
        (folder / name).write_text("{}")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "TokenizersBackend", "pad": "é"}')
    (folder / "config.json").write_text(json.dumps(config(LLAMA3)))
    out = link_checkpoint(folder, tmp_path / "out")
    assert sorted(path.name for path in out.iterdir()) == [
        "chat_template.jinja",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert (out / "model.safetensors").resolve() == folder / "model.safetensors"
    assert "TokenizersBackend" in (folder / "tokenizer_config.json").read_text(), (
        "the checkpoint is not touched"
    )
    assert json.loads((out / "tokenizer_config.json").read_text())["pad"] == "é"
    again = tmp_path / "again"
    again.mkdir()
    copy_beside(out, again)
    assert (again / "tokenizer_config.json").read_bytes() == (out / "tokenizer_config.json").read_bytes()
