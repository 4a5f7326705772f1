"""The config.pbtxt of NVIDIA's llmapi model, made of Triton's own message type: no wrong field is written."""

from __future__ import annotations

from .contract import contract
from .options import TrtllmOptions

MODEL = "tensorrt_llm"  # the name that NVIDIA's llmapi model has


def config_pbtxt(options: TrtllmOptions) -> str:
    """Tensors, instances and the GPUs of each.

    Batching and streaming are not said here: NVIDIA's model.py puts them in, as model.yaml has them. Its
    instances are of the CPU's kind, since TensorRT-LLM takes the GPUs itself.
    """
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2 as pb

    config = pb.ModelConfig(name=MODEL, backend="python")
    config.instance_group.add(count=options.instances, kind=pb.ModelInstanceGroup.KIND_CPU)
    if options.instances > 1:
        config.parameters["gpu_device_ids"].string_value = gpu_device_ids(options)
    for tensor in contract().inputs:
        kind = pb.DataType.Value(tensor.type)
        config.input.add(name=tensor.name, data_type=kind, dims=[tensor.dims], optional=tensor.is_optional)
    for tensor in contract().outputs:
        config.output.add(name=tensor.name, data_type=pb.DataType.Value(tensor.type), dims=[tensor.dims])
    return str(text_format.MessageToString(config))


def gpu_device_ids(options: TrtllmOptions) -> str:
    """The GPUs of each instance, as `0,1;2,3` for two instances of two."""
    gpus = range(options.instances * options.gpus)
    return ";".join(",".join(map(str, gpus[first : first + options.gpus])) for first in gpus[:: options.gpus])
