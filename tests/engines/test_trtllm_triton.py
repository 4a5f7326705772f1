"""Triton's model repository of a bundle: Triton's own message type reads it, NVIDIA's code is never in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from opswright.engines.trtllm.contract import contract
from opswright.engines.trtllm.layout import write_layout
from opswright.engines.trtllm.options import TrtllmOptions
from opswright.engines.trtllm.triton_config import config_pbtxt
from opswright.serving.triton.repository import INPUTS, OUTPUTS

SERVER = '#!/bin/sh\nprintf "%s\\n" "$@"\nls "$2/tensorrt_llm" "$2/tensorrt_llm/1"\n'


def test_triton_finds_the_checkpoint_where_the_bundle_is_mounted(tmp_path: Path) -> None:
    write_layout(tmp_path, TrtllmOptions(mount="/models/a", quantisation="fp8-kv8"))
    said = yaml.safe_load((tmp_path / "triton" / "tensorrt_llm" / "1" / "model.yaml").read_text())
    assert said["model"] == "/models/a/checkpoint" and said["kv_cache_config"]["dtype"] == "fp8"
    assert said["triton_config"] == {"decoupled": True, "max_batch_size": 0}


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (TrtllmOptions(), ""),
        (TrtllmOptions(instances=2, tensor_parallel=2), "0,1;2,3"),
        (TrtllmOptions(instances=3), "0;1;2"),
    ],
)
def test_triton_reads_the_config_and_finds_the_gpus_of_each_instance(
    options: TrtllmOptions, ids: str
) -> None:
    config = text_format.Parse(config_pbtxt(options), pb.ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == ("tensorrt_llm", "python", 0)
    (group,) = config.instance_group
    assert group.count == options.instances and group.kind == pb.ModelInstanceGroup.KIND_CPU
    assert config.parameters["gpu_device_ids"].string_value == ids
    assert not config.HasField("model_transaction_policy"), "model.py says it, from model.yaml"
    assert [one.name for one in config.input if not one.optional] == ["text_input"]


def test_a_client_names_the_same_tensors_on_cpu_and_gpu() -> None:
    """What is asked as a chat, with its tools and schemas, what is counted and told besides: our own."""
    ours = {"messages", "tools", "json_schema", "top_logprobs", "logprobs", "release", "error"}
    ours |= {"num_input_tokens", "num_output_tokens"}
    known = {one.name: one.type for one in (*contract().inputs, *contract().outputs)}
    for name, kind in {**INPUTS, **OUTPUTS}.items():
        assert name in ours or known[name] == kind


@pytest.fixture
def container(tmp_path: Path) -> dict[str, str]:
    """A container in name: its server says what it is started with, its Python has TensorRT-LLM 1.2.1."""
    tools = tmp_path / "bin"
    source = tmp_path / "llmapi" / "tensorrt_llm" / "1"
    tools.mkdir()
    source.mkdir(parents=True)
    for name, text in (("tritonserver", SERVER), ("python3", "#!/bin/sh\necho 1.2.1\n")):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    for name in ("model.py", "helpers.py"):
        (source / name).write_text("# of NVIDIA")
    return {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "SOURCE": str(tmp_path / "llmapi")}


def started(bundle: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    bundle.mkdir(exist_ok=True)
    write_layout(bundle, TrtllmOptions())
    words = [str(bundle / "triton.sh"), "--log-verbose", "1"]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


def test_the_script_adds_nvidias_code_to_a_copy_and_starts_triton(
    tmp_path: Path, container: dict[str, str]
) -> None:
    bundle = tmp_path / "my bundle"
    done = started(bundle, container)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[2:4] == ["--log-verbose", "1"]
    assert {"config.pbtxt", "model.yaml", "model.py", "helpers.py"} <= set(done.stdout.split())
    assert not list(bundle.rglob("*.py")), "the bundle itself stays as it is"


def test_another_tensorrt_llm_than_the_bundles_is_refused(tmp_path: Path, container: dict[str, str]) -> None:
    (tmp_path / "bin" / "python3").write_text("#!/bin/sh\necho 1.1.0\n")
    done = started(tmp_path / "bundle", container)
    assert done.returncode == 1 and "is for TensorRT-LLM 1.2.1; here is: 1.1.0" in done.stderr
    assert "tritonserver:26.07-trtllm-python-py3" in done.stderr and done.stdout == ""


def test_without_nvidias_code_it_is_said_where_to_get_it(tmp_path: Path, container: dict[str, str]) -> None:
    (tmp_path / "llmapi" / "tensorrt_llm" / "1" / "helpers.py").unlink()
    done = started(tmp_path / "bundle", container)
    assert done.returncode == 1 and "-b v1.2.1" in done.stderr and done.stdout == ""
