"""Where a model comes from: the training rows behind it."""

from __future__ import annotations

from collections.abc import Iterator

from ..core.artifacts import Artifact, ArtifactRef, ArtifactStore, CheckpointRef, DatasetRef
from ..core.errors import AskError


def ancestors(store: ArtifactStore, ref: ArtifactRef) -> Iterator[ArtifactRef]:
    """What a thing was made of, nearest first; parents missing from the store end their branch."""
    seen: set[str] = {ref}
    front: list[ArtifactRef] = [ref]
    while front:
        beyond: list[ArtifactRef] = []
        for one in front:
            try:
                parents = store.open(one).parents
            except AskError:
                continue
            beyond += [parent for parent in parents if parent not in seen]
            seen.update(parents)
        yield from beyond
        front = beyond


def training_dataset(store: ArtifactStore, model: ArtifactRef) -> DatasetRef | None:
    """The dataset a checkpoint, or the checkpoint of a bundle, was last trained on; None when unknown."""
    return next((ref for ref in ancestors(store, model) if isinstance(ref, DatasetRef)), None)


def checkpoint_of(store: ArtifactStore, bundle: ArtifactRef) -> CheckpointRef | None:
    """The checkpoint a bundle was built from; None when unknown."""
    return next((ref for ref in ancestors(store, bundle) if isinstance(ref, CheckpointRef)), None)


def training_rows(dataset: Artifact) -> list[tuple[str, str]]:
    """(text, label) of each row a model was trained on."""
    import polars as pl

    rows = pl.read_parquet(dataset.path / "rows.parquet", columns=["text", "label", "split"])
    return list(rows.filter(pl.col("split") == "train").select("text", "label").iter_rows())
