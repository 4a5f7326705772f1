from __future__ import annotations

from pathlib import Path

from opswright.core.artifacts import ArtifactRef, BundleRef, CheckpointRef, DatasetRef, RefT
from opswright.core.workspace import Workspace
from opswright.data.dataset import training_rows
from opswright.evals.lineage import checkpoint_of, training_dataset


def save(workspace: Workspace, kind: type[RefT], name: str, *parents: ArtifactRef) -> RefT:
    with workspace.artifacts.staging() as folder:
        (folder / "file.txt").write_text(name)
        return workspace.artifacts.save(kind, folder, {"name": name}, parents)


def test_a_bundle_leads_to_its_checkpoint_and_the_nearest_training_set(workspace: Workspace) -> None:
    first = save(workspace, DatasetRef, "first")
    v1 = save(workspace, CheckpointRef, "v1", first)
    second = save(workspace, DatasetRef, "second", first)
    v2 = save(workspace, CheckpointRef, "v2", v1, second)
    bundle = save(workspace, BundleRef, "engine", v2)
    store = workspace.artifacts
    assert training_dataset(store, bundle) == training_dataset(store, v2) == second
    assert checkpoint_of(store, bundle) == v2


def test_a_model_of_unknown_origin_has_no_training_set(workspace: Workspace) -> None:
    lost = CheckpointRef.of("a" * 64)
    bundle = save(workspace, BundleRef, "engine", lost)
    assert training_dataset(workspace.artifacts, bundle) is None
    assert checkpoint_of(workspace.artifacts, bundle) == lost


def test_only_the_training_side_is_what_a_model_was_trained_on(workspace: Workspace, tmp_path: Path) -> None:
    import polars as pl

    (tmp_path / "d").mkdir()
    rows = {"text": ["a", "b", "c"], "label": ["x", "y", "z"], "split": ["train", "validation", "train"]}
    pl.DataFrame(rows).write_parquet(tmp_path / "d" / "rows.parquet")
    ref = workspace.artifacts.save(DatasetRef, tmp_path / "d", {})
    assert training_rows(workspace.artifacts.open(ref)) == [("a", "x"), ("c", "z")]
