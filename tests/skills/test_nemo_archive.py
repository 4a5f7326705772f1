"""`.nemo` archives looked at without loading them: what is refused, and how Megatron's tensors are named."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from opswright.core.artifact_refs import CheckpointRef
from opswright.core.contract import StepContext
from opswright.core.errors import AskError, NeedsError
from opswright.skills.nemo_archive import NemoArchiveRequest, nemo_archive
from opswright.skills.nemo_archive.archive import inspect
from opswright.skills.nemo_archive.importable import golden_rows
from opswright.skills.nemo_archive.megatron import TARGETS, LlamaShape

CONFIG = {
    "target": TARGETS[0],
    "num_layers": 2, "hidden_size": 64, "ffn_hidden_size": 96, "num_attention_heads": 4,
    "num_query_groups": 2,
    "max_position_embeddings": 128, "normalization": "rmsnorm", "activation": "fast-swiglu", "bias": False,
    "position_embedding_type": "rope", "share_embeddings_and_output_weights": False,
}  # fmt: skip


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/opswright-was-here",)


def zipped(content: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    """Weights as torch saves them: a zip with a pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        file.writestr("model_weights/data.pkl", content)
    return out.getvalue()


def listed_as(data: bytes, at: int, value: int) -> bytes:
    """A zip with one byte of the entry in its list of files changed: 8 are the flags, 10 is the method."""
    place = data.index(b"PK\x01\x02") + at
    return data[:place] + bytes([value]) + data[place + 1 :]


def tar(path: Path, members: dict[str, bytes], kinds: dict[str, bytes] | None = None) -> Path:
    with tarfile.open(path, "w") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if kind := (kinds or {}).get(name):
                info.type, info.linkname, info.size = kind, "/etc/passwd", 0
            file.addfile(info, io.BytesIO(data))
    return path


def archive(path: Path, weights: bytes = b"", config: Any = CONFIG, **more: bytes) -> Path:
    members = {"./model_config.yaml": yaml.safe_dump(config).encode(), "./model_weights.ckpt": weights}
    return tar(path, members | more)


def test_an_archive_is_described_without_loading_it(
    context: Callable[..., StepContext], tmp_path: Path
) -> None:
    path = archive(tmp_path / "a.nemo", zipped(pickle.dumps({"a": 1})), **{"./x_tokenizer.model": b"abc"})
    result = nemo_archive(NemoArchiveRequest(archive=path), context())
    assert result.target == TARGETS[0] and result.config["hidden_size"] == 64
    assert result.members["x_tokenizer.model"] == 3 and result.unsafe == () and result.checkpoint is None


def legacy(weights: Any) -> bytes:
    """Weights as torch saved them before its zip: a number, a version, the system, the weights, numbers."""
    parts: tuple[Any, ...] = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, weights, [])
    return b"".join(pickle.dumps(part, 2) for part in parts)


def stacked(module: str, name: str) -> bytes:
    """A pickle that shows harmless names, takes them off the stack again and imports another."""

    def text(value: str) -> bytes:
        return b"\x8c" + bytes([len(value)]) + value.encode()

    harmless = text("collections") + text("OrderedDict")
    return b"\x80\x04" + text(module) + text(name) + harmless + b"00" + b"\x93."


@pytest.mark.parametrize(
    ("weights", "name"),
    [
        (zipped(pickle.dumps(Evil(), 2)), "system"),
        (zipped(pickle.dumps(Evil(), 4)), "system"),
        (pickle.dumps(Evil(), 2), "system"),
        (zipped(stacked("os", "system")), "a name made while it is loaded"),
        (zipped(b"\x80\x04not a pickle"), "bytes that are no pickle"),
        (b"PK\x03\x04 and then nothing", "a damaged zip"),
        (listed_as(zipped(b"x" * 90), 8, 1), "is encrypted"),
        (listed_as(zipped(b"x" * 90), 10, 99), "compression method"),
        (listed_as(zipped(b"x" * 90), 10, zipfile.ZIP_DEFLATED), "a damaged zip"),
        (listed_as(zipped(b"x" * 90), 10, zipfile.ZIP_LZMA), "a damaged zip"),
        (zipped(b"\x80\x02\x82\x01."), "an extension code"),
        (legacy(Evil()), "system"),
        (legacy({}), "before its zip"),
        (pickle.dumps({}, 2) + pickle.dumps(Evil(), 2), "system"),
        (zipped(pickle.dumps({}, 2) + pickle.dumps(Evil(), 4)), "system"),
    ],
)
def test_weights_that_would_run_something_are_named_and_never_imported(
    context: Callable[..., StepContext], tmp_path: Path, weights: bytes, name: str
) -> None:
    path = archive(tmp_path / "a.nemo", weights)
    assert any(name in one for one in inspect(path).unsafe)
    (tmp_path / "golden.jsonl").write_text('{"prompt": "a", "answer": "b"}\n')
    ask = NemoArchiveRequest(
        action="import", archive=path, tokenizer=tmp_path, golden=tmp_path / "golden.jsonl"
    )
    with pytest.raises(AskError, match="its weights would import"):
        nemo_archive(ask, context())
    assert not Path("/tmp/opswright-was-here").exists()


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a\\..\\evil", "model_config.yaml"])
def test_a_member_outside_the_archive_or_twice_is_refused(
    context: Callable[..., StepContext], tmp_path: Path, name: str
) -> None:
    path = archive(tmp_path / "a.nemo", zipped(pickle.dumps({})), **{name: b"x"})
    assert inspect(path).refused == (name,)
    assert nemo_archive(NemoArchiveRequest(archive=path), context()).unsafe == (f"member {name}",)
    with pytest.raises(AskError, match="is no plain file below the archive"):
        nemo_archive(NemoArchiveRequest(action="import", archive=path), context())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_link_or_a_device_is_refused(tmp_path: Path, kind: bytes) -> None:
    path = tar(tmp_path / "a.nemo", {"model_weights.ckpt": b""}, {"model_weights.ckpt": kind})
    with pytest.raises(AskError, match="is no plain file"):
        inspect(path).check()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cut or no .nemo"),
        (b"\xff" * 2000, "cut or no .nemo"),
        (None, "not found"),
        ("folder", "is a folder"),
    ],
)
def test_what_is_no_archive_is_refused_in_words(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "a.nemo"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(AskError, match=message):
        inspect(path)


def test_a_cut_archive_and_a_config_that_is_none_are_refused(tmp_path: Path) -> None:
    whole = archive(tmp_path / "a.nemo", zipped(pickle.dumps(list(range(5000)))))
    (tmp_path / "cut.nemo").write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(AskError, match="cut or no"):
        inspect(tmp_path / "cut.nemo")
    bomb = b"a: &a [x, x]\nb: &b [*a, *a]\n"
    deep, long = b"a: " + b"[" * 200 + b"]" * 200, b"a: " + b"x" * (1 << 20)
    bad = (b"a: [1", b"- 1\n", b"!!python/object/apply:os.system [ls]", b"\xff\xfe", bomb, deep, long)
    for config in bad:
        with pytest.raises(AskError, match=r"model_config\.yaml"):
            inspect(tar(tmp_path / "b.nemo", {"model_config.yaml": config}))


def test_an_archive_of_somebody_unknown_is_not_imported(
    context: Callable[..., StepContext], tmp_path: Path
) -> None:
    path = archive(tmp_path / "a.nemo", zipped(pickle.dumps({})), {**CONFIG, "target": "os.system"})
    with pytest.raises(AskError, match=r"made by 'os\.system', which is not read"):
        nemo_archive(NemoArchiveRequest(action="import", archive=path), context())


def test_megatron_s_archives_need_a_tokenizer_and_golden_answers(
    context: Callable[..., StepContext], tmp_path: Path
) -> None:
    path = archive(tmp_path / "a.nemo", zipped(pickle.dumps({})))
    with pytest.raises(AskError, match="needs `tokenizer`"):
        nemo_archive(NemoArchiveRequest(action="import", archive=path), context())
    with pytest.raises(AskError, match="needs `golden`"):
        nemo_archive(NemoArchiveRequest(action="import", archive=path, tokenizer=tmp_path), context())


def test_nothing_is_loaded_where_torch_was_told_to_trust_everything(
    context: Callable[..., StepContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    ctx = context()
    with ctx.artifacts.staging() as folder:
        (folder / "config.json").write_text("{}")
        checkpoint = ctx.artifacts.save(CheckpointRef, folder, {})
    with pytest.raises(NeedsError, match="TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set"):
        nemo_archive(NemoArchiveRequest(action="export", checkpoint=checkpoint), ctx)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("tensor_model_parallel_size", 2, "are split"),
        ("pipeline_model_parallel_size", 4, "are split"),
        ("normalization", "layernorm", "no dense Llama-like"),
        ("bias", True, "no dense Llama-like"),
        ("activation", "gelu", "no dense Llama-like"),
        ("num_moe_experts", 8, "no dense Llama-like"),
        ("rotary_percentage", 0.5, "no dense Llama-like"),
        ("seq_len_interpolation_factor", 4, "no dense Llama-like"),
        ("num_query_groups", 3, "do not divide"),
        ("num_layers", "two", "num_layers 'two'"),
        ("hidden_size", True, "hidden_size True"),
    ],
)
def test_a_model_that_is_more_than_a_dense_llama_is_refused_by_its_setting(
    name: str, value: Any, message: str
) -> None:
    with pytest.raises(AskError, match=message):
        LlamaShape.of({**CONFIG, name: value})


def test_an_action_takes_what_it_needs_and_nothing_else(tmp_path: Path) -> None:
    ref = CheckpointRef.of("c" * 64)
    for wrong, message in (
        ({"action": "export"}, "needs checkpoint"),
        ({"action": "import"}, "needs archive"),
        ({"action": "inspect", "archive": tmp_path, "checkpoint": ref}, "not checkpoint"),
    ):
        with pytest.raises(ValidationError, match=message):
            NemoArchiveRequest.model_validate(wrong)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no golden answers"),
        ('{"prompt": "a"}\n', "line 1"),
        ('{"prompt": "a", "answer": " "}\n', "line 1"),
        ('{"messages": []}\n', "line 1"),
        ("[1]\n", "line 1"),
        ("no json\n", "line 1"),
    ],
)
def test_golden_answers_that_are_none_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "golden.jsonl"
    path.write_text(text)
    with pytest.raises(AskError, match=message):
        golden_rows(path)
    good = tmp_path / "good.jsonl"
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    good.write_text(json.dumps({"messages": messages}) + '\n\n{"prompt": "p", "answer": "x"}\n')
    assert golden_rows(good) == [(messages[:1], "a"), ("p", "x")]
