"""Compiled engines are planned for versions that have them, and refused with the way on for others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from opswright.core.errors import NeedsError
from opswright.core.machine import Gpu, Machine
from opswright.engines.registry import TargetSubject, engine_target
from opswright.engines.trtllm.contract import contract
from opswright.engines.trtllm.legacy import EngineOptions, commands, shown

LAPTOP = Machine("linux", "x86_64", "3.11.7", 2, 16.0, 100.0, ())
H100 = Machine("linux", "x86_64", "3.11.7", 2, 64.0, 100.0, (Gpu("NVIDIA H100", 80, 80, "9.0"),))
whatever = st.builds(
    EngineOptions,
    weights=st.sampled_from(["bfloat16", "int8", "int4"]),
    tensor_parallel=st.integers(1, 64),
    pipeline_parallel=st.integers(1, 64),
    max_batch_size=st.integers(1, 4096),
    max_seq_len=st.integers(1, 100_000),
    mount=st.from_regex(r"/[A-Za-z0-9._/-]{0,20}", fullmatch=True),
)


@given(whatever)
def test_both_commands_keep_to_the_contract(options: EngineOptions) -> None:
    for words in commands(options):
        assert contract().engine_faults(words) == []
    assert (commands(options)[0][-1] == "--use_weight_only") == (options.weights != "bfloat16")


def found(machine: Machine, checkpoint: Path | None = None, **options: object) -> dict[str, list[str]]:
    target = engine_target("trtllm-engine")
    told = target.options.model_validate(options)
    by_level: dict[str, list[str]] = {}
    for one in target.checks(TargetSubject(told, checkpoint, False, machine)):
        by_level.setdefault(one.level, []).append(f"{one.message} {one.fix}")
    return by_level


def test_the_commands_are_shown_and_without_the_gpu_it_is_stopped() -> None:
    said = found(LAPTOP, gpu="h100x2", tensor_parallel=2)
    assert "--tp_size 2" in said["stop"][-1] and "trtllm-build --checkpoint_dir" in said["stop"][-1]
    assert any("this machine has none" in one for one in said["stop"])


@pytest.mark.parametrize("version", ["1.3.0rc29", "1.4.0rc1"])
def test_a_version_without_engines_is_refused_with_the_way_on(version: str) -> None:
    said, _ = found(H100, tensorrt_llm=version)["stop"]
    assert f"{version} builds no engines" in said and "Take target trtllm" in said


def test_another_model_than_the_commands_convert_is_refused(tmp_path: Path) -> None:
    config = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_size": 64}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert any("convert a Qwen3ForCausalLM" in one for one in found(H100, tmp_path)["stop"])


def test_building_and_opening_are_refused_with_the_commands() -> None:
    target = engine_target("trtllm-engine")
    with pytest.raises(NeedsError, match=r"No engine was ever built here.*convert_checkpoint"):
        target.builder(EngineOptions())
    with pytest.raises(NeedsError, match="trtllm-build"):
        target.open(Path(), 1)


def test_modelopts_numbers_are_not_taken_for_engines() -> None:
    with pytest.raises(ValidationError, match="quantisation"):
        EngineOptions.model_validate({"quantisation": "fp8"})
    assert "--max_seq_len 4096" in shown(EngineOptions(max_seq_len=4096))
