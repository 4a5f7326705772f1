"""What was quantised is taken up again as it was kept, or not at all; what decides on it is in its key."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from opswright.engines import user_chat
from opswright.engines.builders import WorkerCall
from opswright.engines.trtllm import builder
from opswright.engines.trtllm.builder import TrtllmBuilder
from opswright.engines.trtllm.kept import QuantisedCache
from opswright.engines.trtllm.options import TrtllmOptions


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    folder = tmp_path / "fresh" / "checkpoint"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder.parent / "answers.json").write_text("{}")
    return folder.parent


def test_what_is_kept_is_found_whole(tmp_path: Path, fresh: Path) -> None:
    cache = QuantisedCache(tmp_path / "kept", "key")
    assert cache.find() is None
    cache.keep(fresh)
    found = cache.find()
    assert found is not None and (found / "checkpoint" / "model.safetensors").read_bytes() == b"weights"
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["key"], "nothing half is left"


@pytest.mark.parametrize("damage", ["changed", "removed", "added", "digest"])
def test_what_was_changed_is_not_taken(tmp_path: Path, fresh: Path, damage: str) -> None:
    cache = QuantisedCache(tmp_path / "kept", "key")
    cache.keep(fresh)
    found = cache.find()
    assert found is not None
    weights = found / "checkpoint" / "model.safetensors"
    if damage == "changed":
        weights.write_bytes(b"weighty")
    elif damage == "removed":
        weights.unlink()
    elif damage == "added":
        (found / "checkpoint" / "more.safetensors").write_bytes(b"more")
    else:
        (found.parent / "sha256").write_bytes(b"\xff")
    assert cache.find() is None
    cache.keep(fresh)
    assert cache.find() == found


def test_the_first_of_two_builds_stays(tmp_path: Path, fresh: Path) -> None:
    cache = QuantisedCache(tmp_path / "kept", "key")
    cache.keep(fresh)
    (fresh / "answers.json").write_text('{"other": 1}')
    cache.keep(fresh)
    found = cache.find()
    assert found is not None and (found / "answers.json").read_text() == "{}"


class Recorder:
    """Carries a build out in name alone, and remembers whether it would have quantised."""

    def __init__(self, tmp_path: Path, fresh: Path) -> None:
        self.tmp_path, self.fresh = tmp_path, fresh
        self.quantised: list[bool] = []

    def __call__(self, call: WorkerCall) -> Path:
        call.prepare()
        self.quantised.append("fresh" in call.outputs)
        if "fresh" in call.outputs:
            shutil.copytree(self.fresh, call.folder / "fresh")
        (call.folder / "report.json").write_text('{"tools": {}, "cases": [], "facts": {}}')
        return call.folder

    def build(self, checkpoint: Path, rows: int = 2, **options: Any) -> None:
        folder = self.tmp_path / f"build-{len(self.quantised)}"
        TrtllmBuilder("trtllm", TrtllmOptions(gpu="h100", **options)).build(
            checkpoint,
            folder,
            [user_chat("a")],
            calibration=[user_chat(str(n)) for n in range(rows)],
            max_new_tokens=4,
            min_agreement=0.9,
            threads=1,
            kept=self.tmp_path / "kept",
            run=self,
        )


def test_only_what_decides_on_the_weights_makes_them_anew(
    tmp_path: Path, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = {"nvidia-modelopt": "0.47.0"}
    monkeypatch.setattr(builder, "interpreter", lambda: Path("/python"))
    monkeypatch.setattr(builder, "tools", lambda: installed)
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text('{"model_type": "llama", "max_position_embeddings": 128}')
    (checkpoint / "model.safetensors").write_bytes(b"1")
    run = Recorder(tmp_path, fresh)
    run.build(checkpoint)
    run.build(checkpoint, max_batch_size=3, kv_cache_fraction=0.5, mount="/elsewhere", tensor_parallel=2)
    assert run.quantised == [True, False]
    run.build(checkpoint, quantisation="fp8-kv8")
    run.build(checkpoint, rows=3)
    installed = {"nvidia-modelopt": "0.48.0"}
    run.build(checkpoint)
    (checkpoint / "model.safetensors").write_bytes(b"2")
    run.build(checkpoint)
    assert run.quantised == [True, False, True, True, True, True]
    run.build(checkpoint)
    assert run.quantised[-1] is False
