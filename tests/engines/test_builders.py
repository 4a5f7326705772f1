"""Engines: which builder a target has, and what a folder without an engine says."""

from __future__ import annotations

from pathlib import Path

import pytest

from opswright.core.errors import AskError, BackendError
from opswright.engines.builders import BuildResult, ParityCase
from opswright.engines.builders.onnx import OnnxBuilder
from opswright.engines.onnx import OnnxEngine
from opswright.engines.onnx_targets import OnnxOptions
from opswright.engines.registry import engine_target


def test_every_onnx_target_has_a_builder_and_a_mistyped_one_is_told_the_nearest() -> None:
    builder = engine_target("onnx-int8").builder(OnnxOptions())
    assert isinstance(builder, OnnxBuilder) and builder.precisions == ("int8", "fp32")
    with pytest.raises(AskError, match="Did you mean 'onnx-int8'"):
        engine_target("onnx-in8")


@pytest.mark.parametrize(
    ("target", "fall_back", "precisions"),
    [
        ("onnx-int4", True, ("int4", "int8", "fp32")),
        ("onnx-int4", False, ("int4",)),
        ("onnx-fp32", True, ("fp32",)),
    ],
)
def test_a_target_falls_back_to_finer_precisions_alone(
    target: str, fall_back: bool, precisions: tuple[str, ...]
) -> None:
    builder = engine_target(target).builder(OnnxOptions(fall_back=fall_back))
    assert isinstance(builder, OnnxBuilder) and builder.precisions == precisions


def test_agreement_is_the_share_of_cases_answered_alike(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_bytes(bytes(3))
    built = BuildResult(tmp_path, "onnx-int8", {}, (ParityCase("a", "x", "x"), ParityCase("b", "x", "y")))
    assert built.agreement == 0.5 and built.size_bytes == 3


def test_a_folder_that_holds_no_engine_is_reported_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="cannot load the engine"):
        OnnxEngine(tmp_path)
