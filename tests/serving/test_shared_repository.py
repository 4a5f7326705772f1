"""The repository that servers elsewhere read: whole, with all they need, in a folder or an object store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from opswright.core.errors import NeedsError
from opswright.serving.server import ServedModel
from opswright.serving.triton.shared_repository import SharedRepository


@pytest.fixture(params=["folder", "object store"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "shared")
        return
    memory = fsspec.filesystem("memory")
    yield "memory://bucket/models"
    memory.store.clear()


@pytest.fixture
def model(tmp_path: Path) -> ServedModel:
    engine = tmp_path / "engine"
    (engine / "adapters").mkdir(parents=True)
    (engine / "model.onnx").write_bytes(b"weights")
    (engine / "adapters" / "one.onnx").write_bytes(b"more")
    return ServedModel("support-v1", 1, engine, "v1-abc", "onnx-int8")


def files(address: str) -> dict[str, Any]:
    fs, root = fsspec.core.url_to_fs(address)
    return {str(path).removeprefix(root).lstrip("/"): fs.cat_file(path) for path in fs.find(root)}


def test_a_models_folder_has_its_engine_and_names_it_by_no_path_of_this_machine(
    address: str, model: ServedModel, tmp_path: Path
) -> None:
    SharedRepository(address).write(model, threads=2, instances=3)
    found = files(address)
    assert found["support-v1/1/engine/model.onnx"] == b"weights"
    assert found["support-v1/1/engine/adapters/one.onnx"] == b"more"
    assert {"support-v1/1/model.py", "support-v1/1/batcher.py"} <= set(found)
    config = text_format.Parse(found["support-v1/config.pbtxt"].decode(), model_config_pb2.ModelConfig())
    assert config.parameters["engine"].string_value == "engine" and config.instance_group[0].count == 3
    assert not any(str(tmp_path).encode() in data for data in found.values())


def test_what_is_there_whole_is_not_written_again_and_what_is_not_is(
    address: str, model: ServedModel
) -> None:
    repository = SharedRepository(address)
    repository.write(model, threads=1)
    fs, root = fsspec.core.url_to_fs(address)
    fs.pipe_file(f"{root}/support-v1/kept", b"")
    repository.write(model, threads=1)
    assert "support-v1/kept" in files(address), "it was written again"
    fs.rm(f"{root}/support-v1/opswright.json")  # as after a crash in the middle
    repository.write(model, threads=1)
    assert "support-v1/kept" not in files(address)
    fs.pipe_file(f"{root}/support-v1/kept", b"")
    (model.engine / "model.onnx").write_bytes(b"other weights")
    repository.write(model, threads=1)
    assert files(address)["support-v1/1/engine/model.onnx"] == b"other weights"
    assert "support-v1/kept" not in files(address)


def test_only_the_model_itself_is_removed(address: str, model: ServedModel) -> None:
    repository = SharedRepository(address)
    repository.write(model, threads=1)
    fs, root = fsspec.core.url_to_fs(address)
    fs.makedirs(f"{root}/support-v10", exist_ok=True)
    fs.pipe_file(f"{root}/support-v10/config.pbtxt", b"theirs")
    repository.remove("support-v1")
    repository.remove("support-v1")
    assert files(address) == {"support-v10/config.pbtxt": b"theirs"}


@pytest.mark.parametrize("wrong", ["nowhere://bucket", "{file}/below"])
def test_a_place_that_cannot_be_used_is_said(wrong: str, model: ServedModel, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NeedsError, match=r"nowhere|cannot be used"):
        SharedRepository(wrong.format(file=tmp_path / "file")).write(model, threads=1)
