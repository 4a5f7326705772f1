"""Each way that users saw TensorRT-LLM fail is found before a GPU is used, by a check of its own."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from opswright.compute.gpus import GPU_MODELS
from opswright.core.contract import Finding
from opswright.engines.hf_folder import TensorInfo
from opswright.engines.registry import engine_target
from opswright.engines.trtllm.checks import GpuTarget, Subject
from opswright.engines.trtllm.known import hardware, versions
from opswright.engines.trtllm.model_facts import ModelFacts
from opswright.engines.trtllm.options import CheckName, Quantisation, TrtllmOptions
from opswright.engines.trtllm.preflight import CHECKS, findings
from opswright.engines.trtllm.recipes import RECIPES

MODEL = ModelFacts(
    "LlamaForCausalLM",
    hidden=2048,
    intermediate=8192,
    layers=16,
    heads=32,
    kv_heads=8,
    head_dim=64,
    vocabulary=128_256,
    positions=131_072,
    tensors={"model.layers.0.mlp.up_proj.weight": TensorInfo("BF16", (8192, 2048), 33_554_432)},
    tokenizer="tokenizer.json",
    tokens=128_256,
    has_chat_template=True,
)
ODD = replace(MODEL, intermediate=3424)
H100 = GpuTarget("h100", 1, "9.0", 80, 80)


def subject(model: ModelFacts | None = MODEL, gpu: GpuTarget | None = H100, **given: Any) -> Subject:
    names = ("memory_gb", "quantiser", "has_cuda", "has_adapters", "builds_engines", "built_on")
    facts = {"memory_gb": 64, **{name: given.pop(name) for name in names if name in given}}
    options = TrtllmOptions(**given).fitted(model.positions if model is not None else 0)
    return Subject(options, model, gpu, **facts)


def stops(asked: Subject) -> dict[str, Finding]:
    """What stops, by the name of the check."""
    found = {one.name: one.finding(asked) for one in CHECKS}
    return {name: said for name, said in found.items() if said is not None and said.level == "stop"}


def test_what_is_right_passes_every_check() -> None:
    assert {one.level for one in findings(subject(container="26.07"))} == {"ok"}


def test_each_check_has_a_name_that_can_be_overridden_and_a_reference() -> None:
    assert sorted(one.name for one in CHECKS) == sorted(get_args(CheckName))
    assert all("#" in one.reference for one in CHECKS)


def gpu(name: str = "h100", number: int = 1, free: float | None = None, **given: Any) -> GpuTarget:
    known = GPU_MODELS[name]
    return replace(
        GpuTarget(name, number, known.capability, known.memory_gb, known.memory_gb if free is None else free),
        **given,
    )


@pytest.mark.parametrize(
    ("name", "asked", "evidence"),
    [
        ("container", {"container": "26.07", "tensorrt_llm": "1.2.0"}, "26.07 has TensorRT-LLM 1.2.1"),
        ("container", {"container": "31.01"}, "is not known"),
        ("engine-gpu", {"builds_engines": True, "built_on": "8.9"}, r"\(compute capability 8.9\) does not"),
        ("engine-gpu", {"builds_engines": True}, "this machine has none"),
        ("build-memory", {"memory_gb": 1.0}, "this machine has 1"),
        ("serving-memory", {"gpu": gpu(free=1.0)}, "not one request .* 79 GB are held by other processes"),
        ("gpu-known", {"gpu": None}, "no GPU is declared"),
        ("gpu-known", {"tensor_parallel": 2}, "takes 2 GPUs; there are 1 x h100"),
        ("gpu-known", {"instances": 3}, "takes 3 GPUs; there are 1 x h100"),
        (
            "gpu-known",
            {"gpu": replace(H100, name="GB10", capability="12.1")},
            "GB10 has compute capability 12.1",
        ),
        ("gpu-known", {"gpu": replace(H100, capability=None)}, "capability unknown"),
        ("gpu-format", {"gpu": gpu("a100-80gb")}, "a100-80gb does not compute fp8, which fp8 needs"),
        ("gpu-format", {"quantisation": "nvfp4", "has_cuda": True}, "h100 does not compute nvfp4"),
        ("gpu-format", {"quantisation": "mxfp8", "has_cuda": True}, "does not compute mxfp8"),
        ("backend-format", {"quantisation": "int8-smoothquant"}, "no code for W8A8_SQ_PER_CHANNEL"),
        ("backend-format", {"tensorrt_llm": "1.1.0"}, "1.1.0 does not load such"),
        ("lengths", {"max_seq_len": 200_000, "max_num_tokens": 200_000}, "more than the model's 131,072"),
        ("lengths", {"max_seq_len": 16_384}, "does not fit into a step of max_num_tokens 8,192"),
        ("divisible", {"tensor_parallel": 3, "gpu": gpu(number=3)}, "hidden size 2,048 by 3"),
        (
            "divisible",
            {"model": replace(MODEL, intermediate=3424), "quantisation": "int4-awq"},
            "3,424 by 128",
        ),
        ("divisible", {"pipeline_parallel": 3, "gpu": gpu(number=3)}, "layers 16 by 3"),
        ("tokenizer", {"model": replace(MODEL, tokenizer=None)}, "no tokenizer"),
        ("tokenizer", {"model": replace(MODEL, tokens=128_300)}, "knows 128,300 tokens, the model 128,256"),
        ("tokenizer", {"model": replace(MODEL, has_chat_template=False)}, "no chat template"),
        ("weights", {"model": replace(MODEL, fault="model.safetensors is cut.")}, "is cut"),
        ("rope", {"model": replace(MODEL, has_rope_by_layer=True)}, "differ by kind of layer"),
        ("quantised-already", {"model": replace(MODEL, quantised_by="awq")}, "already, by 'awq'"),
        ("architecture", {"model": replace(MODEL, architecture="GPT2LMHeadModel")}, "GPT2LMHeadModel is not"),
        ("architecture", {"gpu": gpu("t4")}, "older than Ampere"),
        ("quantise-tools", {"quantiser": "ModelOpt is not installed."}, "not installed"),
        ("quantise-tools", {"quantisation": "nvfp4", "gpu": gpu("b200")}, "CUDA alone"),
        ("adapters", {"has_adapters": True}, "merged weights"),
        (
            "engine-backend",
            {"builds_engines": True, "built_on": "9.0", "tensorrt_llm": "1.4.0rc1"},
            "no engines",
        ),
    ],
)
def test_a_known_failure_is_stopped_with_its_evidence_and_a_way_out(
    name: str, asked: dict[str, Any], evidence: str
) -> None:
    found = stops(subject(**asked))
    assert name in found and re.search(evidence, found[name].message)
    assert f"Or override '{name}' with the reason why." in found[name].fix
    assert "#" in found[name].message  # where users met it


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("engine-backend", {"builds_engines": True, "built_on": "9.0"}),
        ("engine-backend", {"builds_engines": True, "built_on": "9.0", "tensorrt_llm": "1.3.0rc20"}),
        ("backend-format", {"builds_engines": True, "built_on": "9.0", "quantisation": "int8-smoothquant"}),
        ("lengths", {"max_seq_len": 16_384, "chunked_prefill": True}),
        ("divisible", {"tensor_parallel": 16, "gpu": gpu(number=16)}),  # each KV head on two GPUs
        ("gpu-format", {"quantisation": "none", "gpu": gpu("a100-80gb")}),
        ("quantise-tools", {"quantisation": "none", "quantiser": "ModelOpt is not installed."}),
    ],
)
def test_what_would_run_is_not_stopped(name: str, asked: dict[str, Any]) -> None:
    assert name not in stops(subject(**asked))


def test_a_reason_lets_one_check_go_and_is_shown() -> None:
    reason = "measured on our own GB10, release 1.2.1"
    new = replace(H100, name="GB10", capability="12.1")
    found = findings(subject(gpu=new, override={"gpu-known": reason}))
    assert [one for one in found if one.level == "warn" and reason in one.message and "12.1" in one.message]
    assert stops(subject(gpu=new, override={"gpu-known": reason})).keys() == {"gpu-format"}


@pytest.mark.parametrize(
    ("target", "given", "said"),
    [
        (
            "trtllm",
            {"gpux": "h100"},
            r"unknown option 'gpux' \(it takes: quantisation, .* Did you mean 'gpu'",
        ),
        ("onnx-int8", {"gpu": "h100"}, r"unknown option 'gpu' \(it takes: fall_back\)"),
        ("trtllm", {"gpu": "h900"}, "unknown GPU 'h900'"),
    ],
)
def test_an_option_that_a_target_has_not_is_refused_with_what_it_has(
    target: str, given: dict[str, str], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        engine_target(target).options.model_validate(given)


@pytest.mark.parametrize(
    ("asked", "positions", "length"), [(0, 256, 256), (0, 131_072, 4096), (0, 0, 4096), (512, 256, 512)]
)
def test_a_length_that_is_not_asked_for_is_the_models_own(asked: int, positions: int, length: int) -> None:
    assert TrtllmOptions(max_seq_len=asked).fitted(positions).max_seq_len == length


@pytest.mark.parametrize("override", [{"gpu-known": "ok"}, {"no-such-check": "a long enough reason"}])
def test_an_override_needs_a_known_check_and_a_reason(override: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        TrtllmOptions(override=override)


def test_what_is_not_trained_yet_is_judged_by_what_is_known() -> None:
    names = {one.name for one in CHECKS if one.finding(subject(model=None)) is not None}
    assert {"gpu-known", "gpu-format", "lengths", "quantise-tools"} <= names
    assert not names & {"weights", "tokenizer", "divisible", "serving-memory"}


def test_few_requests_of_full_length_are_said_and_not_stopped() -> None:
    small = findings(subject(max_seq_len=131_072, max_num_tokens=131_072))
    assert any(one.level == "warn" and "fewer requests of full length" in one.message for one in small)


def test_the_tables_fit_each_other() -> None:
    assert set(get_args(Quantisation)) == set(RECIPES)
    assert {model.capability for model in GPU_MODELS.values()} - {"7.5"} <= set(hardware().formats)
    assert versions().stable in versions().triton.values()
    known = set().union(*hardware().formats.values())
    assert {name for recipe in RECIPES.values() for name in recipe.formats} - known == {"mxfp8"}
