"""Lineage: what a model was made of, and what made an eval report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ..core.artifacts import ArtifactRef, ArtifactStore, CheckpointRef, DatasetRef
from ..core.errors import AskError
from ..record.ledger import Phase, Record


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


def report_lineage(records: Iterable[Record]) -> dict[str, ReportLineage]:
    """The lineage of each eval report by its reference; a report that was made twice counts the first time.

    A gate's record of what it decided does not name the report: that is in the step's intent.
    """
    found: dict[str, ReportLineage] = {}
    goals: dict[str | None, str] = {}
    asked: dict[tuple[str | None, str | None], str] = {}
    for record in records:
        call = (record.run, record.step)
        if record.phase == Phase.PROPOSED:
            goals[record.run] = str(record.detail.get("goal", ""))
        elif record.phase == Phase.INTENT and record.skill == "gate":
            asked[call] = str(record.detail["request"]["report"])
        elif record.phase == Phase.DONE:
            for ref in record.artifacts.values():
                known = found.get(ref, ReportLineage())
                if ref.startswith("eval-report:") and known.record is None:
                    made = {"run": record.run, "goal": goals.get(record.run) or None}
                    found[ref] = replace(known, **made, record=record.seq, time=record.time)
            if record.skill == "gate" and call in asked:
                decision = str(record.detail["result"]["verdict"]["decision"])
                found[asked[call]] = replace(found.get(asked[call], ReportLineage()), verdict=decision)
    return found
