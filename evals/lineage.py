"""Lineage: what a model was made of, and what made an eval report."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..core.artifact_refs import AdapterRef, ArtifactRef, CheckpointRef, ClassifierRef, DatasetRef
from ..core.artifacts import ArtifactStore
from ..core.errors import AskError
from ..record.index import LedgerIndex, Link


def _with_parents(
    store: ArtifactStore, ref: ArtifactRef, follow: Callable[[ArtifactRef], bool] = lambda parent: True
) -> Iterator[tuple[ArtifactRef, Sequence[ArtifactRef]]]:
    """An artifact and what it goes back to by the parents to follow, nearest first, each with its parents.

    What is missing from the store ends its branch.
    """
    seen: set[ArtifactRef] = {ref}
    waiting = deque([ref])
    while waiting:
        one = waiting.popleft()
        try:
            parents = store.open(one).parents
        except AskError:
            continue
        yield one, parents
        for parent in parents:
            if parent not in seen and follow(parent):
                seen.add(parent)
                waiting.append(parent)


def ancestors(store: ArtifactStore, ref: ArtifactRef) -> Iterator[ArtifactRef]:
    """What a thing was made of, nearest first; parents missing from the store end their branch."""
    seen: set[ArtifactRef] = {ref}
    for _, parents in _with_parents(store, ref):
        for parent in parents:
            if parent not in seen:
                seen.add(parent)
                yield parent


def training_dataset(store: ArtifactStore, model: ArtifactRef) -> DatasetRef | None:
    """The dataset a checkpoint, or the checkpoint of a bundle, was last trained on; None when unknown."""
    return next((ref for ref in ancestors(store, model) if isinstance(ref, DatasetRef)), None)


def training_datasets(store: ArtifactStore, model: ArtifactRef) -> list[DatasetRef]:
    """Every dataset that a checkpoint, adapters, or the checkpoint of a bundle learned, the latest first.

    A model that was trained on in stages has seen the rows of each, so all checkpoints it was made of count,
    and one that learned from a teacher has met what the teacher saw.
    What a dataset was itself made of does not: a golden set was kept out, and what was replayed is in it.
    """
    found: dict[DatasetRef, None] = {}
    for one, parents in _with_parents(store, model, lambda parent: not isinstance(parent, DatasetRef)):
        if isinstance(one, CheckpointRef | AdapterRef | ClassifierRef):
            found.update(dict.fromkeys(ref for ref in parents if isinstance(ref, DatasetRef)))
    return list(found)


def own_answers_in(index: LedgerIndex, datasets: Sequence[DatasetRef]) -> int:
    """Rows of datasets that an endpoint of this workspace answered, as their last curation counted them."""
    results = [records[-1].detail["result"] for records in index.linked(datasets, Link.MADE).values()]
    return sum(one.get("own_answers", 0) - one.get("dropped", {}).get("own_answer", 0) for one in results)


def built_from(store: ArtifactStore, bundle: ArtifactRef) -> CheckpointRef | AdapterRef | None:
    """The checkpoint, or the adapters, that a bundle was built from; None when unknown."""
    return next(
        (ref for ref in ancestors(store, bundle) if isinstance(ref, CheckpointRef | AdapterRef)), None
    )


@dataclass(frozen=True)
class ReportLineage:
    """What made a report: the run, its plan's goal, the ledger's record and time; None where it is not known.

    `verdict` is the last gate decision on the report.
    """

    run: str | None = None
    goal: str | None = None
    record: int | None = None
    time: str | None = None
    verdict: str | None = None


def report_lineage(index: LedgerIndex, reports: Sequence[str]) -> dict[str, ReportLineage]:
    """The lineage of each eval report by its reference; a report that was made twice counts the first time.

    A report that no record made or judged is left out.
    """
    found: dict[str, ReportLineage] = {}
    for ref, (record, *_) in index.linked(reports, Link.MADE).items():
        run = index.row(record.run) if record.run is not None else None
        found[ref] = ReportLineage(record.run, run.goal if run else None, record.seq, record.time)
    for ref, records in index.linked(reports, Link.JUDGED).items():
        decided = [r.detail["result"]["verdict"]["decision"] for r in records if r.skill == "gate"]
        if decided:
            found[ref] = replace(found.get(ref, ReportLineage()), verdict=str(decided[-1]))
    return found
