"""All that is written for TensorRT-LLM keeps to the contract, whatever the options."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from pathlib import Path
from typing import get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from opswright.engines.trtllm.contract import contract
from opswright.engines.trtllm.layout import (
    llm_settings,
    serve_options,
    start_script,
    triton_settings,
    write_layout,
)
from opswright.engines.trtllm.options import Quantisation, TrtllmOptions

whatever = st.builds(
    TrtllmOptions,
    quantisation=st.sampled_from(get_args(Quantisation)),
    tensor_parallel=st.integers(1, 64),
    pipeline_parallel=st.integers(1, 64),
    instances=st.integers(1, 64),
    max_batch_size=st.integers(1, 4096),
    max_num_tokens=st.integers(64, 1_048_576),
    max_seq_len=st.integers(16, 10_485_760),
    chunked_prefill=st.booleans(),
    kv_cache_fraction=st.floats(0.01, 0.99),
    mount=st.from_regex(r"/[A-Za-z0-9._/-]{0,20}", fullmatch=True),
)


@given(whatever)
def test_all_that_is_written_keeps_to_the_contract(options: TrtllmOptions) -> None:
    agreed = contract()
    assert agreed.command_faults(serve_options(options)) == []
    assert agreed.settings_faults(llm_settings(options)) == []
    assert agreed.settings_faults(triton_settings(options), of_triton=True) == []


@given(whatever)
def test_files_say_what_was_meant(options: TrtllmOptions) -> None:
    assert yaml.safe_load(yaml.safe_dump(triton_settings(options))) == triton_settings(options)
    line = next(one for one in start_script(options).splitlines() if one.startswith("options="))
    assert shlex.split(line.removeprefix("options=(").removesuffix(")")) == serve_options(options)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--no_such_flag", "1"], "--no_such_flag is no option"),
        (["--tp_size", "two"], "--tp_size: 'two' is no integer"),
        (["--tp_size"], "--tp_size has no value"),
        (["--log_level", "loud"], "'loud' is none of"),
    ],
)
def test_a_wrong_command_is_named(words: list[str], fault: str) -> None:
    assert fault in contract().command_faults(words)[0]


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"kv_cache": {"dtype": "fp8"}}, "kv_cache.dtype is no setting"),
        ({"kv_cache_config": {"dtype": "fp16"}}, "'fp16' is none of auto, fp8"),
        ({"enable_chunked_prefill": "yes"}, "'yes' is no boolean"),
        ({"max_batch_size": True}, "True is no integer"),
        ({"triton_config": {"decoupled": True}}, "triton_config.decoupled is no setting"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, object], fault: str) -> None:
    assert fault in contract().settings_faults(values)[0]


@pytest.mark.parametrize("mount", ["bundle", "/a b", '/"; rm -rf /', "/x\n"])
def test_a_mount_that_is_no_plain_path_is_refused(mount: str) -> None:
    with pytest.raises(ValidationError):
        TrtllmOptions(mount=mount)


def test_the_script_starts_the_server_on_its_own_folder(tmp_path: Path) -> None:
    """A stand-in for trtllm-serve notes what it is started with; the real one needs a GPU."""
    bundle, tools = tmp_path / "my bundle", tmp_path / "bin"
    bundle.mkdir()
    tools.mkdir()
    write_layout(bundle, TrtllmOptions(tensor_parallel=2))
    fake = tools / "trtllm-serve"
    fake.write_text(
        '#!/bin/sh\nif [ "$2" = --help ]; then echo "  --no-telemetry"; else printf "%s\\n" "$@"; fi\n'
    )
    fake.chmod(0o755)
    assert stat.S_IMODE((bundle / "serve.sh").stat().st_mode) == 0o755
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [bundle / "serve.sh", "0.0.0.0", "9000"],
        env={"PATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    model, *words = done.stdout.splitlines()
    assert model == str(bundle / "checkpoint")
    assert words.pop() == "--no-telemetry"
    assert contract().command_faults(words) == []
    assert words[:6] == [
        "--host",
        "0.0.0.0",
        "--port",
        "9000",
        "--extra_llm_api_options",
        f"{bundle}/llm_api.yaml",
    ]
    assert words[6:8] == ["--tp_size", "2"]
    assert yaml.safe_load((bundle / "llm_api.yaml").read_text()) == llm_settings(TrtllmOptions())
