"""Adapters taken out of an exported graph: exactly these, into a file of their own, inputs in their place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from opswright.core.errors import BackendError
from opswright.engines.builders.onnx_adapter import DATA, MODEL, adapted_nodes, lay_base, take_out
from opswright.engines.ort_llm.generation import ADAPTER

PLACE = "base_model.model.model.layers.0.self_attn.q_proj"
SHAPES = {"W": (3, 4), "A": (3, 2), "B": (2, 4)}
NODES = [f"/model/layers.0/attn/q_proj/lora_{part}/MatMul" for part in "AB"]


def adapters(folder: Path, *names: str) -> Path:
    folder.mkdir()
    save_file(
        {name: numpy.ones((2, 2), numpy.float32) for name in names}, folder / "adapter_model.safetensors"
    )
    return folder


def engine(folder: Path) -> Path:
    """An exported engine with one adapted product: x W + x A B, with W, A, B of ones, rank 2."""
    folder.mkdir()
    shapes = {"W": (3, 4), "A": (3, 2), "B": (2, 4)}
    weights = [
        numpy_helper.from_array(numpy.ones(shape, numpy.float32), name) for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["w"], "/model/layers.0/attn/q_proj/MatMul"),
        helper.make_node("MatMul", ["x", "A"], ["a"], NODES[0]),
        helper.make_node("MatMul", ["a", "B"], ["b"], NODES[1]),
        helper.make_node("Add", ["w", "b"], ["y"], "/model/layers.0/attn/q_proj/lora/Add"),
    ]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size])
        for name, size in (("x", 3), ("y", 4))
    )
    graph = helper.make_graph(nodes, "graph", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(folder / MODEL), save_as_external_data=True, location=DATA, size_threshold=0)
    return folder


def test_tensors_are_found_by_the_nodes_that_apply_them(tmp_path: Path) -> None:
    given = adapters(tmp_path / "a", f"{PLACE}.lora_A.weight", f"{PLACE}.lora_B.weight")
    assert adapted_nodes(given) == NODES


@pytest.mark.parametrize(
    "name",
    [
        f"{PLACE}.lora_magnitude_vector",
        f"{PLACE}.lora_B.bias",
        "base_model.model.lm_head.lora_A.weight",
        "base_model.model.model.embed_tokens.lora_embedding_A",
    ],
)
def test_adapters_without_a_place_in_the_graph_are_refused(tmp_path: Path, name: str) -> None:
    given = adapters(tmp_path / "a", f"{PLACE}.lora_A.weight", name)
    with pytest.raises(BackendError, match=r"1 tensors of the adapters have no place.*has them merged"):
        adapted_nodes(given)


def test_the_base_s_graph_takes_adapters_of_any_rank_and_is_the_base_without(tmp_path: Path) -> None:
    made = engine(tmp_path / "engine")
    take_out(made, NODES)
    session = onnxruntime.InferenceSession(str(made / MODEL), providers=["CPUExecutionProvider"])
    x = numpy.ones((1, 3), numpy.float32)
    assert session.run(None, {"x": x})[0].tolist() == [[3.0] * 4]
    kept = onnxruntime.AdapterFormat.read_adapter(str(made / ADAPTER)).get_parameters()
    given = {name: value.numpy() for name, value in kept.items()}
    assert {name: value.shape for name, value in given.items()} == {"A": (3, 2), "B": (2, 4)}
    assert session.run(None, {"x": x, **given})[0].tolist() == [[9.0] * 4]
    wider = {"A": numpy.ones((3, 5), numpy.float32), "B": numpy.ones((5, 4), numpy.float32)}
    assert session.run(None, {"x": x, **wider})[0].tolist() == [[18.0] * 4]


@pytest.mark.parametrize("nodes", [NODES[:1], [*NODES, "/model/layers.1/attn/q_proj/lora_A/MatMul"]])
def test_a_graph_that_applies_other_adapters_is_refused(tmp_path: Path, nodes: list[str]) -> None:
    with pytest.raises(BackendError, match="does not apply the adapters as they are"):
        take_out(engine(tmp_path / "engine"), nodes)


def test_the_end_tokens_that_were_taught_are_the_engine_s(tmp_path: Path) -> None:
    base, given = tmp_path / "base", adapters(tmp_path / "a", f"{PLACE}.lora_A.weight")
    base.mkdir()
    (base / "config.json").write_text("{}")
    (base / "generation_config.json").write_text('{"eos_token_id": 1}')

    def ends(folder: Path) -> object:
        return json.loads((folder / "generation_config.json").read_text())["eos_token_id"]

    lay_base(base, given, tmp_path / "first")
    assert ends(tmp_path / "first") == 1
    (given / "generation_config.json").write_text('{"eos_token_id": [7, 1]}')
    lay_base(base, given, tmp_path / "second")
    assert ends(tmp_path / "second") == [7, 1] and ends(base) == 1
    assert (tmp_path / "second" / "config.json").is_symlink()
