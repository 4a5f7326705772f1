"""Artifacts: stored once, whole or refused by name, and never a pickle."""

from __future__ import annotations

import json
import os
import pickle
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from opswright.core.artifact_refs import BundleRef, CheckpointRef, DatasetRef, parse_ref
from opswright.core.artifacts import ArtifactStore
from opswright.core.errors import AskError, IntegrityError

FILES = {"train.jsonl": b'{"a": 1}\n' * 40, "nested/report.json": b"{}", "empty.txt": b""}


def folder_of(path: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def dataset(store: ArtifactStore, tmp_path: Path) -> DatasetRef:
    return store.save(DatasetRef, folder_of(tmp_path / "made"), {"rows": 40})


def test_what_was_saved_opens_as_it_was(store: ArtifactStore, tmp_path: Path, dataset: DatasetRef) -> None:
    checkpoint = store.save(
        CheckpointRef, folder_of(tmp_path / "model", {"model.safetensors": b"w"}), {"loss": 0.5}, [dataset]
    )
    opened = store.open(checkpoint)
    assert opened.ref == checkpoint and isinstance(opened.ref, CheckpointRef)
    assert (opened.facts, opened.parents, opened.size_bytes) == ({"loss": 0.5}, (dataset,), 1)
    assert (opened.path / "model.safetensors").read_bytes() == b"w"
    assert store.open(dataset).read_json("nested/report.json") == {}
    assert {name: (store.open(dataset).path / name).read_bytes() for name in FILES} == FILES


def test_saved_twice_is_stored_once(store: ArtifactStore, tmp_path: Path, dataset: DatasetRef) -> None:
    again = store.save(DatasetRef, folder_of(tmp_path / "elsewhere"), {"rows": 40})
    assert again == dataset and [ref for ref, _ in store.list()] == [dataset]


@pytest.mark.parametrize("change", ["name", "byte", "facts", "parents", "kind"])
def test_anything_different_has_another_digest(
    store: ArtifactStore, tmp_path: Path, dataset: DatasetRef, change: str
) -> None:
    files = dict(FILES)
    if change == "name":
        files["eval.jsonl"] = files.pop("train.jsonl")
    if change == "byte":
        files["train.jsonl"] = files["train.jsonl"].replace(b"1", b"2", 1)
    other = store.save(
        BundleRef if change == "kind" else DatasetRef,
        folder_of(tmp_path / "other", files),
        {"rows": 41 if change == "facts" else 40},
        [dataset] if change == "parents" else [],
    )
    assert other.digest != dataset.digest


def cut(files: Path) -> None:
    os.truncate(files / "train.jsonl", 100)


def altered(files: Path) -> None:
    path = files / "train.jsonl"
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))


def altered_with_its_times_put_back(files: Path) -> None:
    before = (files / "train.jsonl").stat()
    altered(files)
    os.utime(files / "train.jsonl", ns=(before.st_atime_ns, before.st_mtime_ns))


def removed(files: Path) -> None:
    (files / "train.jsonl").unlink()


def added(files: Path) -> None:
    (files / "extra.json").write_text("{}")


def linked_out(files: Path) -> None:
    (files / "train.jsonl").unlink()
    (files / "train.jsonl").symlink_to("/etc/hostname")


@pytest.mark.parametrize("seen_before", [False, True])
@pytest.mark.parametrize(
    ("damage", "names"),
    [
        (cut, "train.jsonl has 100 bytes, recorded 360"),
        (altered, "altered: train.jsonl"),
        (altered_with_its_times_put_back, "altered: train.jsonl"),
        (removed, "train.jsonl is missing"),
        (added, "extra.json was added"),
        (linked_out, "train.jsonl is a link"),
    ],
)
def test_a_damaged_artifact_is_refused_by_the_name_of_its_file(
    store: ArtifactStore, dataset: DatasetRef, damage: Callable[[Path], None], names: str, seen_before: bool
) -> None:
    if seen_before:
        store.open(dataset)
    damage(store.folder(dataset) / "files")
    with pytest.raises(IntegrityError, match=names):
        store.open(dataset)


def test_every_changed_byte_of_the_manifest_is_found(store: ArtifactStore, dataset: DatasetRef) -> None:
    path, dice = store.folder(dataset) / "artifact.json", random.Random(5)
    whole = path.read_bytes()
    for _ in range(200):
        at = dice.randrange(len(whole))
        changed = bytearray(whole)
        changed[at] = dice.choice([b for b in range(256) if b != whole[at]])
        path.write_bytes(bytes(changed))
        with pytest.raises(IntegrityError, match=r"artifact\.json"):
            store.open(dataset)
    for text in (b"", b" " + whole, whole + b"\n", b'{"kind":NaN}'):
        path.write_bytes(text)
        with pytest.raises(IntegrityError, match=r"artifact\.json"):
            store.open(dataset)


@pytest.mark.parametrize("damage", [cut, altered, removed, added])
def test_saving_it_again_puts_a_damaged_artifact_right(
    store: ArtifactStore, tmp_path: Path, dataset: DatasetRef, damage: Callable[[Path], None]
) -> None:
    damage(store.folder(dataset) / "files")
    assert store.save(DatasetRef, folder_of(tmp_path / "again"), {"rows": 40}) == dataset
    assert store.open(dataset).facts == {"rows": 40}
    assert not any((store.root / ".staging").iterdir())


def torch_like_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps([1]))


@pytest.mark.parametrize(
    "name", ["model.pt", "model.PTH", "deep/er/model.ckpt", "model.bin", "a.pickle", "a.joblib"]
)
def test_a_pickle_is_refused_by_its_name(store: ArtifactStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(AskError, match=f"{name} may hold a pickle.*safetensors"):
        store.save(CheckpointRef, folder_of(tmp_path / "m", {name: b"x"}), {})


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_under_another_name_is_refused_by_its_first_bytes(
    store: ArtifactStore, tmp_path: Path, protocol: int
) -> None:
    disguised = {"model.onnx": pickle.dumps({"run": print}, protocol=protocol)}
    with pytest.raises(AskError, match=r"model\.onnx may hold a pickle"):
        store.save(CheckpointRef, folder_of(tmp_path / "m", disguised), {})


def test_a_pickle_inside_a_zip_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    torch_like_zip(folder_of(tmp_path / "m") / "weights.dat")
    with pytest.raises(AskError, match=r"weights\.dat may hold a pickle"):
        store.save(CheckpointRef, tmp_path / "m", {})


def test_weights_whose_first_bytes_are_nearly_those_of_a_pickle_are_taken(
    store: ArtifactStore, tmp_path: Path
) -> None:
    header = (0x950480).to_bytes(8, "little")
    files = {"model.safetensors": header + b"{}", "model.onnx.data": b"\x80\x04\x00\x00"}
    assert store.open(store.save(CheckpointRef, folder_of(tmp_path / "m", files), {}))


@pytest.mark.parametrize(
    ("target", "message"), [("/etc", "leaves"), ("nested", "no file"), ("gone", "no file")]
)
def test_links_that_a_digest_cannot_cover_are_refused(
    store: ArtifactStore, tmp_path: Path, target: str, message: str
) -> None:
    (folder_of(tmp_path / "m") / "link").symlink_to(target)
    with pytest.raises(AskError, match=message):
        store.save(DatasetRef, tmp_path / "m", {})


def test_a_link_to_a_file_beside_it_is_stored_as_that_file(store: ArtifactStore, tmp_path: Path) -> None:
    (folder_of(tmp_path / "m") / "same.jsonl").symlink_to("train.jsonl")
    opened = store.open(store.save(DatasetRef, tmp_path / "m", {}))
    assert not (opened.path / "same.jsonl").is_symlink()
    assert (opened.path / "same.jsonl").read_bytes() == FILES["train.jsonl"]


def test_an_empty_folder_and_facts_that_are_no_json_are_refused(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(AskError, match="at least one file"):
        store.save(DatasetRef, tmp_path / "none", {})
    with pytest.raises(AskError, match="plain JSON"):
        store.save(DatasetRef, folder_of(tmp_path / "m"), {"loss": float("inf")})
    assert store.list() == []


def test_a_folder_built_in_staging_is_taken_without_a_copy_and_may_be_saved_again(
    store: ArtifactStore,
) -> None:
    with store.staging() as stage:
        folder_of(stage)
        inode = (stage / "train.jsonl").stat().st_ino
        first = store.save(DatasetRef, stage, {"rows": 40})
        assert store.save(DatasetRef, stage, {"rows": 41}) != first
    assert (store.folder(first) / "files" / "train.jsonl").stat().st_ino == inode
    assert store.open(first).facts == {"rows": 40} and not stage.exists()


SAVER = """
import sys
from pathlib import Path
from opswright.core.artifact_refs import DatasetRef
from opswright.core.artifacts import ArtifactStore
store = ArtifactStore(Path(sys.argv[1]))
for n in range(30):
    print(store.save(DatasetRef, Path(sys.argv[2]), {"rows": n}))
"""


def test_processes_that_save_the_same_thing_at_once_agree(store: ArtifactStore, tmp_path: Path) -> None:
    made = folder_of(tmp_path / "made")
    savers = [
        subprocess.Popen(
            [sys.executable, "-c", SAVER, str(store.root), str(made)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    said = [saver.communicate(timeout=240)[0].split() for saver in savers]
    assert all(saver.returncode == 0 for saver in savers) and said[0] == said[1] == said[2]
    assert len(store.list()) == 30
    assert {store.open(ref).facts["rows"] for ref, _ in store.list()} == set(range(30))
    assert not any((store.root / ".staging").iterdir())


def test_a_reference_is_found_by_its_beginning(
    store: ArtifactStore, tmp_path: Path, dataset: DatasetRef
) -> None:
    assert store.resolve(dataset) == dataset
    assert store.resolve(dataset[: len("dataset:") + 6]) == dataset
    assert isinstance(store.resolve(dataset.short), DatasetRef)
    for text in ("dataset:", dataset[: len("dataset:") + 5], "dataset:zzzzzz", "checkpoint:" + dataset[8:14]):
        with pytest.raises(AskError, match="matches 0 artifacts"):
            store.resolve(text)
    with pytest.raises(AskError, match="Did you mean 'dataset'"):
        store.resolve("datasets:" + dataset.digest)


def test_two_artifacts_with_the_same_beginning_are_not_guessed_between(store: ArtifactStore) -> None:
    for tail in "ab":
        folder = store.root / "dataset" / ("abcdef" + tail * 58)
        folder.mkdir(parents=True)
        (folder / "artifact.json").write_text("{}")
    with pytest.raises(AskError, match="matches 2 artifacts"):
        store.resolve("dataset:abcdef")
    assert store.resolve("dataset:abcdefa").digest == "abcdef" + "a" * 58


def test_a_manifest_that_does_not_parse_does_not_hide_the_others(
    store: ArtifactStore, dataset: DatasetRef
) -> None:
    for name in (f"dataset/{'a' * 64}", f"unknown/{'a' * 64}", "dataset/short"):
        (store.root / name).mkdir(parents=True)
        (store.root / name / "artifact.json").write_bytes(b"\xff")
    assert [ref for ref, _ in store.list()] == [dataset]


@pytest.mark.parametrize("text", ["", "dataset", "dataset:", "dataset:" + "A" * 64, "dataset:" + "a" * 63])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(AskError, match="reference"):
        parse_ref(text)


def test_an_artifact_that_is_not_there_is_said_to_be_missing(store: ArtifactStore) -> None:
    with pytest.raises(AskError, match="dataset:aaaaaaaaaaaa not found in"):
        store.open(DatasetRef.of("a" * 64))


def test_facts_and_manifest_are_canonical(store: ArtifactStore, dataset: DatasetRef) -> None:
    data = (store.folder(dataset) / "artifact.json").read_bytes()
    assert json.loads(data)["facts"] == {"rows": 40}
    assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode()
