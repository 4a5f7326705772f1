"""What is read of a Hugging Face folder without loading it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from opswright.core.errors import AskError
from opswright.engines.checkpoint import CheckpointEngine
from opswright.engines.hf_folder import (
    TensorInfo,
    count_parameters,
    read_config,
    read_tensors,
    refuse_codes,
)


def weights(folder: Path) -> Path:
    save_file({"a": np.zeros((2, 3), np.float32), "b": np.zeros(5, np.float16)}, folder / "model.safetensors")
    return folder / "model.safetensors"


def test_tensors_are_read_from_the_headers(tmp_path: Path) -> None:
    weights(tmp_path)
    assert read_tensors(tmp_path) == {"a": TensorInfo("F32", (2, 3), 24), "b": TensorInfo("F16", (5,), 10)}
    assert count_parameters(tmp_path) == 11


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_cut_file_is_refused_and_named(tmp_path: Path, cut: int) -> None:
    path = weights(tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(AskError, match=r"model\.safetensors is cut or no safetensors file"):
        read_tensors(tmp_path)


@pytest.mark.parametrize(
    "tensors",
    [
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 4]}},
        {
            "a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
            "b": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
        },
    ],
)
def test_a_header_whose_shapes_are_not_what_the_file_holds_is_refused(
    tmp_path: Path, tensors: dict[str, object]
) -> None:
    header = json.dumps(tensors).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    with pytest.raises(AskError, match="cut or no safetensors file"):
        read_tensors(tmp_path)


def test_a_pointer_to_large_storage_is_no_weights(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 135\n"
    (tmp_path / "model.safetensors").write_text(pointer)
    with pytest.raises(AskError, match="Get it again"):
        read_tensors(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "config.json not found"),
        ("{", "not valid JSON"),
        ("[]", "no model_type"),
        ("{}", "no model_type"),
    ],
)
def test_a_config_that_says_nothing_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(AskError, match=said):
        read_config(tmp_path)


def is_refused(folder: Path, quantisation: object = "no config at all") -> bool:
    if quantisation != "no config at all":
        (folder / "config.json").write_text(
            json.dumps({"model_type": "llama", "quantization_config": quantisation})
        )
    try:
        refuse_codes(folder)
    except AskError:
        return True
    return False


@pytest.mark.parametrize(
    "known",
    [None, "no mapping", *({"quant_method": method} for method in (None, "awq", "fp8", ["modelopt"]))],
)
def test_only_codes_that_transformers_does_not_know_are_refused(tmp_path: Path, known: object) -> None:
    assert not is_refused(tmp_path)
    assert not is_refused(tmp_path, known)
    assert is_refused(tmp_path, {"quant_method": "modelopt"})


def test_codes_are_never_opened_as_weights(tmp_path: Path) -> None:
    told = {"model_type": "llama", "quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8"}}
    (tmp_path / "config.json").write_text(json.dumps(told))
    with pytest.raises(AskError, match="its weights are codes"):
        CheckpointEngine(tmp_path, "cpu")
