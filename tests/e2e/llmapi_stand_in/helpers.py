"""Stand-in for NVIDIA's helpers.py of the llmapi model: the same inputs are read, with the same defaults."""

from typing import Any

import triton_python_backend_utils as pb_utils


def scalar(request: Any, name: str, default: Any = None) -> Any:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:
        return default
    values = tensor.as_numpy()
    if values.size != 1:
        raise pb_utils.TritonModelException(f"Expected a scalar tensor for tensor {name}")
    return values.item(0)
