"""A pod's files: copied from where they lie, checked against the release, and only then laid out."""

from __future__ import annotations

import hashlib
import json
import stat
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import BundleRef
from opswright.core.errors import IntegrityError
from opswright.core.files import canonical_json
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.engines.triton_text import ModelPlace
from opswright.engines.trtllm.layout import CHECKPOINT, REPOSITORY, TRITON_SCRIPT, write_layout
from opswright.engines.trtllm.llmapi import LlmapiModel
from opswright.engines.trtllm.options import TrtllmOptions
from opswright.serving.keys.store import KeyStore
from opswright.serving.kubernetes.fetch import fetch as fetch_whole
from opswright.serving.kubernetes.fetch import fetch_part, main
from opswright.serving.kubernetes.release import ClusterRelease
from opswright.serving.releases import read_state


def fetch(layout: Any, part: str, into: Path, *more: str, source: Path | None = None) -> int:
    release = layout.release("one")
    told = into.parent / "release.json"
    told.write_text(release.document())
    folder = source or layout.workspace.artifacts.root
    return main([part, f"--release={told}", f"--source={folder}", f"--into={into}", *more])


def test_triton_gets_its_engine_and_a_repository_that_names_the_release(layout: Any, tmp_path: Path) -> None:
    assert fetch(layout, "triton", tmp_path / "models", "--threads=4") == 0
    (config,) = (tmp_path / "models" / "repository").glob("*/config.pbtxt")
    assert config.parent.name == "shop-v1" and layout.release("one").id in config.read_text()
    engine = tmp_path / "models" / "artifacts" / "bundle" / layout.release("one").bundle.digest
    assert str(engine / "files" / "engine") in config.read_text()
    assert (engine / "files" / "engine" / "model.onnx").read_text() == "one"


def test_a_container_that_starts_again_starts_over(layout: Any, tmp_path: Path) -> None:
    assert fetch(layout, "triton", tmp_path / "models") == 0
    (weights,) = (tmp_path / "models").rglob("model.onnx")
    weights.write_text("half")
    assert fetch(layout, "triton", tmp_path / "models") == 0
    assert weights.read_text() == "one"


def test_the_gateway_gets_rails_keys_that_only_it_may_read_and_what_to_serve(
    layout: Any, tmp_path: Path
) -> None:
    key = KeyStore(layout.workspace).create("webshop")
    mounted = tmp_path / "mounted.json"
    mounted.write_bytes((layout.workspace.root / "keys.json").read_bytes())
    mounted.chmod(0o440)
    home = tmp_path / "home-of-pod"
    assert fetch(layout, "gateway", home, f"--keys={mounted}") == 0
    pod = Workspace(load_settings(home=home))
    assert stat.S_IMODE((home / "keys.json").stat().st_mode) == 0o600
    assert KeyStore(pod).find(key.text) is not None
    release = layout.release("one")
    stable = read_state(pod, "shop").stable
    assert stable is not None and stable.id == release.id and stable.bundle == release.bundle
    assert pod.artifacts.open(release.guardrails).path.is_dir()
    assert not (home / "artifacts" / "bundle").exists()


def test_a_file_that_was_changed_is_not_served(
    layout: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = layout.release("one")
    weights = layout.workspace.artifacts.folder(release.bundle) / "files" / "engine" / "model.onnx"
    weights.chmod(0o644)
    weights.write_text("two")
    told = tmp_path / "release.json"
    told.write_text(release.document())
    arguments = [f"--release={told}", f"--source={layout.workspace.artifacts.root}"]
    assert main(["triton", *arguments, f"--into={tmp_path / 'models'}"]) == 7
    assert "model.onnx" in capsys.readouterr().err
    assert not (tmp_path / "models" / "repository").exists()


def test_files_that_are_not_there_are_named(
    layout: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch(layout, "triton", tmp_path / "models", source=tmp_path / "nowhere") == 2
    assert "Copy the workspace's artifacts there" in capsys.readouterr().err


def test_a_release_that_says_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = tmp_path / "release.json"
    for text in ("", "{}", json.dumps({"state": {"endpoint": "shop"}, "model": "shop-v1"})):
        told.write_text(text)
        assert main(["triton", f"--release={told}", "--source=x", f"--into={tmp_path / 'm'}"]) != 0
    assert "fetch:" in capsys.readouterr().err


@pytest.fixture
def gpu_release(layout: Any) -> ClusterRelease:
    """A release of a bundle as the TensorRT-LLM target lays it out; its weights are a text."""
    with layout.workspace.artifacts.staging() as stage:
        checkpoint = stage / "engine" / CHECKPOINT
        checkpoint.mkdir(parents=True)
        options = TrtllmOptions()
        write_layout(stage / "engine", options)
        (checkpoint / "tokenizer.json").write_text("{}")
        (checkpoint / "model.safetensors").write_text("weights")
        told = {"options": options.model_dump(mode="json")}
        (stage / "engine" / "bundle.json").write_text(json.dumps(told))
        bundle = layout.workspace.artifacts.save(BundleRef, stage, {"target": "trtllm"})
    return ClusterRelease.of(layout.workspace, "shop", "prod", bundle, None, "pvc:artifacts")


def test_a_model_whose_answers_name_no_release_gets_a_config_that_does(
    layout: Any, gpu_release: ClusterRelease, tmp_path: Path
) -> None:
    told, into = tmp_path / "release.json", tmp_path / "bundle"
    told.write_text(gpu_release.document())
    source = f"--source={layout.workspace.artifacts.root}"
    assert main(["triton", f"--release={told}", source, f"--into={into}"]) == 0
    config = (into / REPOSITORY / gpu_release.model / "config.pbtxt").read_text()
    assert gpu_release.id in config and f'name: "{gpu_release.model}"' in config
    assert (into / TRITON_SCRIPT).stat().st_mode & 0o111
    assert (into / CHECKPOINT / "model.safetensors").read_text() == "weights"


def test_the_gateway_of_such_a_model_gets_what_renders_prompts_and_no_weights(
    layout: Any, gpu_release: ClusterRelease, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told, home = tmp_path / "release.json", tmp_path / "home-of-pod"
    told.write_text(gpu_release.document())
    arguments = [f"--release={told}", f"--source={layout.workspace.artifacts.root}", f"--into={home}"]
    assert main(["gateway", *arguments]) == 0
    pod = Workspace(load_settings(home=home))
    engine = pod.artifacts.folder(gpu_release.bundle) / "files" / "engine"
    assert (engine / CHECKPOINT / "tokenizer.json").is_file() and not list(home.rglob("*.safetensors"))
    assert LlmapiModel(engine).config(ModelPlace("m", "r", "", Path()))
    kept = layout.workspace.artifacts.folder(gpu_release.bundle) / "files" / "engine"
    (kept / CHECKPOINT / "tokenizer.json").chmod(0o644)
    (kept / CHECKPOINT / "tokenizer.json").write_text('{"other": 1}')
    assert main(["gateway", *arguments]) == 7 and "tokenizer.json" in capsys.readouterr().err


def test_a_bundle_that_names_a_file_outside_of_it_writes_nothing_there(tmp_path: Path) -> None:
    escaped = b"written by a bundle"
    entry = {"sha256": hashlib.sha256(escaped).hexdigest(), "bytes": len(escaped)}
    for name in ("../../../../escaped", "/escaped", "a//b", "./escaped", ""):
        manifest = canonical_json({"kind": "bundle", "files": {name: entry}, "facts": {}, "parents": []})
        ref = BundleRef.of(hashlib.sha256(manifest).hexdigest())
        folder = tmp_path / "source" / ref.kind / ref.digest
        (folder / "files").mkdir(parents=True)
        (folder / "artifact.json").write_bytes(manifest)
        (tmp_path / "escaped").write_bytes(escaped)
        for take in (fetch_whole, partial(fetch_part, is_wanted=lambda name: True)):
            with pytest.raises(IntegrityError, match="none of its own"):
                take(ref, str(tmp_path / "source"), tmp_path / "pod" / "into" / "artifacts")
    assert not (tmp_path / "pod" / "escaped").exists()


def test_what_lies_beside_a_bundle_s_files_is_not_brought(layout: Any, tmp_path: Path) -> None:
    ref = layout.release("one").bundle
    (layout.workspace.artifacts.folder(ref) / "planted").write_text("not the manifest's")
    fetch_whole(ref, str(layout.workspace.artifacts.root), tmp_path / "into")
    assert not list((tmp_path / "into").rglob("planted"))


def test_what_a_store_of_objects_holds_besides_writes_nothing_anywhere(
    layout: Any, tmp_path: Path, s3_bucket: str
) -> None:
    from fsspec.core import url_to_fs

    ref, root = layout.release("one").bundle, layout.workspace.artifacts.root
    address = f"s3://{s3_bucket}/artifacts"
    system, path = url_to_fs(address)
    for file in layout.workspace.artifacts.folder(ref).rglob("*"):
        if file.is_file():
            system.pipe_file(f"{path}/{file.relative_to(root).as_posix()}", file.read_bytes())
    system.pipe_file(f"{path}/bundle/{ref.digest}/files/../../../../escaped", b"planted")
    into = tmp_path / "pod" / "into"
    files = fetch_whole(ref, address, into)
    assert (files / "engine" / "model.onnx").read_text() == "one"
    assert not list(tmp_path.glob("pod/**/escaped"))
