"""The model repository: what Triton reads is whole, and says what NVIDIA's llmapi model says."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from opswright.serving.server import ServedModel
from opswright.serving.triton.repository import ModelRepository, config_pbtxt
from opswright.serving.triton.runtime import TritonRuntime


def model(number: int = 1, engine: str = "/engines/one") -> ServedModel:
    return ServedModel(f"support-v{number}", number, Path(engine), f"v{number}-abc", "onnx-int8")


def test_the_config_is_tritons_own_and_names_engine_and_release() -> None:
    config = text_format.Parse(config_pbtxt(model(), threads=2), model_config_pb2.ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == ("support-v1", "python", 0)
    assert config.model_transaction_policy.decoupled
    given = {name: value.string_value for name, value in config.parameters.items()}
    assert given == {"engine": "/engines/one", "release": "v1-abc", "threads": "2"}
    inputs = {tensor.name for tensor in config.input}
    assert {"text_input", "streaming", "sampling_param_max_tokens"} <= inputs
    assert {"text_output", "finish_reason"} <= {tensor.name for tensor in config.output}


def test_an_engine_path_with_quotes_and_spaces_stays_one_value() -> None:
    odd = model(engine='/my "engines"/one\\two')
    config = text_format.Parse(config_pbtxt(odd, threads=1), model_config_pb2.ModelConfig())
    assert config.parameters["engine"].string_value == '/my "engines"/one\\two'


def test_a_model_is_put_in_place_whole_and_replaced_whole(tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path / "repository")
    for engine in ("/engines/one", "/engines/two"):
        folder = repository.write(model(engine=engine), threads=1)
        assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
            "1/batcher.py",
            "1/generation.py",
            "1/model.py",
            "1/prompts.py",
            "config.pbtxt",
        ]
        assert engine in (folder / "config.pbtxt").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]


def test_models_leave_one_by_one_or_all_at_once(tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path / "repository")
    repository.write(model(1), threads=1)
    repository.write(model(2), threads=1)
    repository.remove("support-v1")
    repository.remove("never-there")
    assert [path.name for path in repository.root.iterdir()] == ["support-v2"]
    repository.clear()
    assert list(repository.root.iterdir()) == []


def test_two_workspaces_never_share_their_servers_memory(tmp_path: Path) -> None:
    one = TritonRuntime(tmp_path / "one", tmp_path / "log")
    two = TritonRuntime(tmp_path / "two", tmp_path / "log")
    assert one.shm_prefix != two.shm_prefix
