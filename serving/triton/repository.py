"""The model repository: a folder a release, written whole or not at all, config through Triton's protobuf."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Collection
from pathlib import Path

from ...core.errors import BackendError
from ...core.files import write_atomically
from ...engines.registry import engine_target
from ..server import ServedModel

# tensor names of NVIDIA's llmapi model; messages, tools, json_schema, top_logprobs and release are ours
INPUTS = {
    "text_input": "TYPE_STRING",
    "messages": "TYPE_STRING",
    "tools": "TYPE_STRING",
    "json_schema": "TYPE_STRING",
    "top_logprobs": "TYPE_INT32",
    "streaming": "TYPE_BOOL",
    "sampling_param_max_tokens": "TYPE_INT32",
    "sampling_param_temperature": "TYPE_FP32",
    "sampling_param_top_k": "TYPE_INT32",
    "sampling_param_top_p": "TYPE_FP32",
    "sampling_param_seed": "TYPE_UINT64",
    "sampling_param_stop": "TYPE_STRING",
}
OUTPUTS = {
    "text_output": "TYPE_STRING",
    "finish_reason": "TYPE_STRING",
    "num_input_tokens": "TYPE_INT32",
    "num_output_tokens": "TYPE_INT32",
    "logprobs": "TYPE_STRING",
    "release": "TYPE_STRING",
    "error": "TYPE_STRING",
}


def config_pbtxt(model: ServedModel, threads: int, instances: int = 1) -> str:
    """The model's config.pbtxt, made of Triton's own message type, so that a wrong field cannot be written.

    Decoupled without a batch dimension: each instance batches by itself, as the llmapi model does.
    """
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2 as pb

    config = pb.ModelConfig(name=model.name, backend="python", max_batch_size=0)
    config.model_transaction_policy.decoupled = True
    config.instance_group.add(count=instances, kind=pb.ModelInstanceGroup.KIND_CPU)
    for name, kind in INPUTS.items():
        config.input.add(name=name, data_type=pb.DataType.Value(kind), dims=[1], optional=True)
    for name, kind in OUTPUTS.items():
        config.output.add(name=name, data_type=pb.DataType.Value(kind), dims=[1])
    for name, value in (("engine", str(model.engine)), ("release", model.release), ("threads", str(threads))):
        config.parameters[name].string_value = value
    return str(text_format.MessageToString(config))


def model_code(model: ServedModel) -> list[Path]:
    """The files that Triton's Python backend runs a model with; BackendError when its target has none."""
    code = engine_target(model.target).triton
    if code is None:
        raise BackendError(
            f"Triton cannot run a bundle of target '{model.target}': it is served in-process only. "
            "Set OPSWRIGHT_SERVING__SERVER=in-process and start the gateway again."
        )
    return sorted(path for path in code.iterdir() if path.is_file() and path.name != "__init__.py")


_STAGING = ".staging-"


class ModelRepository:
    """The folder that Triton reads models from."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, model: ServedModel, threads: int, instances: int = 1) -> Path:
        """Put a model's folder in place in one rename; Triton never sees a part of it."""
        self.root.mkdir(parents=True, exist_ok=True)
        stage = self.root.parent / f"{_STAGING}{uuid.uuid4().hex[:8]}"
        try:
            version = stage / str(model.version)
            version.mkdir(parents=True)
            for source in model_code(model):
                shutil.copyfile(source, version / source.name)
            write_atomically(stage / "config.pbtxt", config_pbtxt(model, threads, instances).encode())
            self.remove(model.name)
            stage.rename(self.root / model.name)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
        return self.root / model.name

    def remove(self, name: str) -> None:
        """Take a model's folder away; none there is no error."""
        shutil.rmtree(self.root / name, ignore_errors=True)

    def prune(self, kept: Collection[str]) -> None:
        """Take away every folder but those of some models, and what a killed writer left beside it."""
        for folder in self.root.iterdir() if self.root.is_dir() else ():
            if folder.name not in kept:
                self.remove(folder.name)
        for stage in self.root.parent.glob(f"{_STAGING}*"):
            shutil.rmtree(stage, ignore_errors=True)

    def clear(self) -> None:
        """Take every model away: what is served is decided by the endpoints' desired state alone."""
        self.prune(())
        self.root.mkdir(parents=True, exist_ok=True)
