"""Adapters beside an exported base: weights in a file of their own, which the base's graph takes as inputs.

The exporter writes adapters as branches of the graph, their weights among the base's. Here those are moved
into ONNX Runtime's adapter file, and the graph is left with inputs of any rank in their place, empty by
default: its bytes are then the same for all adapters of a base that reach the same modules.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from ...core.errors import BackendError
from ..ort_llm.generation import ADAPTER

MODEL, DATA = "model.onnx", "model.onnx.data"
_APPLIES = re.compile(r"/lora_[AB]/")
_GENERATION = "generation_config.json"
_PLACE = re.compile(r".*\.layers\.(\d+)\.(?:self_)?(attn|mlp)\.(\w+)\.(lora_[AB])\.weight")


def adapted_nodes(adapter: Path) -> list[str]:
    """The nodes of the exported graph that apply these adapters, which are to stay in full precision.

    Raises BackendError for tensors of adapters that no branch of the graph applies.
    """
    from safetensors import safe_open

    with safe_open(str(adapter / "adapter_model.safetensors"), "np") as file:
        names = sorted(file.keys())
    places = [(name, _PLACE.fullmatch(name)) for name in names]
    if unplaced := [name for name, place in places if place is None]:
        raise BackendError(
            f"{len(unplaced)} tensors of the adapters have no place beside an exported base, as "
            f"{unplaced[0]}: only low-rank adapters of attention and feed-forward layers have. Build from "
            "the checkpoint that has them merged."
        )
    return [
        f"/model/layers.{place[1]}/{place[2]}/{place[3]}/{place[4]}/MatMul" for _, place in places if place
    ]


def lay_base(base: Path, adapter: Path, folder: Path) -> None:
    """A folder with the base's files, by link, and the end tokens that the adapters' training taught."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    taught = adapter / _GENERATION
    for path in base.iterdir():
        if path.name != _GENERATION or not taught.is_file():
            (folder / path.name).symlink_to(path.resolve())
    if taught.is_file():
        shutil.copy2(taught, folder / _GENERATION)


def take_out(engine: Path, nodes: list[str]) -> None:
    """Move the adapters' weights of an exported engine into its adapter file.

    nodes: those that apply them. Raises BackendError when the graph does not hold exactly these.
    """
    import onnx_ir as ir

    model: Any = ir.load(engine / MODEL)
    applying: dict[str, Any] = {node.name: node for node in model.graph if _APPLIES.search(node.name or "")}
    if differing := set(applying) ^ set(nodes):
        raise BackendError(
            f"the exported graph does not apply the adapters as they are: {min(differing)} differs."
        )
    parameters = {}
    for name, node in applying.items():
        weight = node.inputs[1]
        if node.op_type != "MatMul" or weight is None or weight.const_value is None:
            raise BackendError(f"{name} of the exported graph is no product with a stored matrix.")
        values = weight.const_value.numpy().copy()
        parameters[str(weight.name)] = values
        _open_rank(node, weight, values.shape, rank_axis=1 if "/lora_A/" in name else 0)
        model.graph.inputs.append(weight)
    _replace(engine, model)
    _write(engine / ADAPTER, parameters)


def _replace(engine: Path, model: Any) -> None:
    """Put a graph in the place of the engine's, whose weights it may still read."""
    import onnx_ir as ir

    fresh = engine.with_name("taken-out")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    ir.save(model, fresh / MODEL, external_data=DATA, size_threshold_bytes=0)
    for name in (MODEL, DATA):
        (fresh / name).replace(engine / name)
    fresh.rmdir()


def _write(path: Path, parameters: dict[str, Any]) -> None:
    """Write ONNX Runtime's adapter file of float32 matrices by the name of the input that takes them."""
    import onnxruntime

    values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(matrix) for name, matrix in parameters.items()}
    file = onnxruntime.AdapterFormat()
    file.set_adapter_version(1)
    file.set_model_version(1)
    file.set_parameters(values)
    file.export_adapter(str(path.resolve()))


def _open_rank(node: Any, weight: Any, shape: tuple[int, ...], rank_axis: int) -> None:
    """Make a matrix an input whose rank may be any, by default one of zeros."""
    import numpy
    import onnx_ir as ir

    empty, dims = list(shape), list[int | str](shape)
    empty[rank_axis], dims[rank_axis] = 1, "rank"
    weight.const_value = ir.tensor(numpy.zeros(empty, numpy.float32), name=weight.name)
    weight.shape = ir.Shape(dims)
    weight.dtype = ir.DataType.FLOAT
    if rank_axis == 1:
        node.outputs[0].shape = None
