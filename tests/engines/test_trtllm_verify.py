"""The contract held against an installed package, here one written for the test and laid out as NVIDIA's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from opswright.core.errors import BackendError, NeedsError
from opswright.engines.trtllm.contract import contract
from opswright.engines.trtllm.verify import verify

SERVE = """
import click

LEVELS = "internal_error error warning info verbose debug trace"

@click.command()
@click.argument("model")
@click.option("--tensor_parallel_size", "--tp_size", type=int, default=1)
@click.option("--pp_size", type=int, default=1)
@click.option("--max_batch_size", type=click.IntRange(1), default=2048)
@click.option("--max_num_tokens", type=int, default=8192)
@click.option("--max_seq_len", type=int, default=None)
@click.option("--kv_cache_free_gpu_memory_fraction", type=float, default=0.9)
@click.option("--extra_llm_api_options", type=click.Path(), default=None)
@click.option("--host", type=str, default="localhost")
@click.option("--port", type=int, default=8000)
@click.option("--tokenizer", type=str, default=None)
@click.option("--log_level", type=click.Choice(LEVELS.split()))
def serve(**given):
    raise AssertionError("nothing is started")

main = click.Group(commands={"serve": serve})
"""
ARGUMENTS = """
from typing import Literal, Optional, Union
from pydantic import BaseModel

class KvCacheConfig(BaseModel):
    free_gpu_memory_fraction: Optional[float] = None
    enable_block_reuse: bool = True
    dtype: str = "auto"

class TorchLlmArgs(BaseModel):
    model: Union[str, bytes]
    tokenizer: object = None
    backend: Literal["pytorch"] = "pytorch"
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    max_batch_size: Optional[int] = None
    max_num_tokens: Optional[int] = 8192
    max_seq_len: Optional[int] = None
    enable_chunked_prefill: bool = False
    trust_remote_code: bool = False
    kv_cache_config: Optional[KvCacheConfig] = None
"""


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, serve: str = SERVE, arguments: str = ARGUMENTS
) -> None:
    package = folder / "site" / "tensorrt_llm"
    for name, text in (
        ("__init__", '__version__ = "1.2.1"'),
        ("commands/__init__", ""),
        ("commands/serve", serve),
        ("llmapi/__init__", ""),
        ("llmapi/llm_args", arguments),
    ):
        file = package / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(folder / "site"))


def test_a_package_that_takes_all_we_write_differs_in_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch)
    found = verify(sys.executable, contract())
    assert found.differences == () and found.version == "1.2.1"
    assert (found.options, found.settings) == (len(contract().serve), len(contract().llm_api))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"--pp_size"', '"--pipeline_size"', "trtllm-serve has no option --pp_size"),
        ('"--port", type=int', '"--port", type=bool', "option --port takes boolean, not integer"),
        ("verbose debug", "debug", "option --log_level does not take verbose"),
        ('"--tp_size", type=int', '"--tp_size", type=str', "option --tp_size takes text, not integer"),
        ("enable_block_reuse: bool", "reuse: bool", "no setting kv_cache_config.enable_block_reuse"),
        ('Literal["pytorch"] = "pytorch"', 'Literal["torch"] = "torch"', "backend does not take pytorch"),
        ("max_seq_len: Optional[int]", "max_seq_len: Optional[str]", "max_seq_len takes null or string, not"),
        ('dtype: str = "auto"', 'dtype: Literal["auto"] = "auto"', "kv_cache_config.dtype does not take fp8"),
    ],
)
def test_what_a_package_does_not_take_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, said: str
) -> None:
    assert old in SERVE + ARGUMENTS
    install(tmp_path, monkeypatch, SERVE.replace(old, new), ARGUMENTS.replace(old, new))
    (difference,) = verify(sys.executable, contract()).differences
    assert said in difference


def test_without_the_package_it_is_said_where_there_is_one() -> None:
    with pytest.raises(NeedsError, match=r"not installed for .*nvcr\.io/nvidia/tensorrt-llm/release:1\.2\.1"):
        verify(sys.executable, contract())


def test_a_python_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NeedsError, match="cannot be run"):
        verify(str(tmp_path / "python"), contract())


def test_a_package_that_does_not_import_keeps_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "raise ImportError('libcuda.so.1: cannot open shared object file')")
    with pytest.raises(BackendError, match=r"libcuda\.so\.1"):
        verify(sys.executable, contract())
