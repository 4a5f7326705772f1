"""What a model learned from, as far as it matters to how well it does on a suite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...core.artifact_refs import ArtifactRef, DatasetRef, GuardrailRef
from ...core.contract import StepContext
from .request import EvaluateRequest

if TYPE_CHECKING:
    from ...evals.runner import EvalResult


def training_data(request: EvaluateRequest, ctx: StepContext) -> tuple[DatasetRef | None, list[str]]:
    """The model's training dataset, and what is missing without it."""
    from ...evals.lineage import training_dataset

    if isinstance(request.model, GuardrailRef):  # rails are written, not trained
        return None, []
    if request.train is not None:
        ctx.artifacts.open(request.train)
        return request.train, []
    found = training_dataset(ctx.artifacts, request.model) if isinstance(request.model, ArtifactRef) else None
    if found is not None:
        return found, []
    note = (
        "the training rows of this model are not known, so there are no baselines and leaked items were not "
        "looked for; give them as train"
    )
    ctx.log(note)
    return None, [note]


def datasets_behind(request: EvaluateRequest, train: DatasetRef | None, ctx: StepContext) -> list[DatasetRef]:
    """The datasets of every training behind the model, and the one that the asker names."""
    from ...evals.lineage import training_datasets

    stages = training_datasets(ctx.artifacts, request.model) if isinstance(request.model, ArtifactRef) else []
    return list(dict.fromkeys([*([] if train is None else [train]), *stages]))


def with_leaks(measured: EvalResult, learned_from: Sequence[DatasetRef], ctx: StepContext) -> EvalResult:
    """The result with how many items the model has seen in training, in whichever stage of it."""
    from dataclasses import replace

    from ...evals.contamination import find_leaks

    if not learned_from:
        return measured
    found = find_leaks(ctx.artifacts, learned_from, [(item.text, item.group) for item in measured.items])
    return replace(measured, leaked=len(found))


def learned_from_itself(own_answers: int) -> list[str]:
    """That a model learns from its own kind, in words; empty where it does not."""
    if not own_answers:
        return []
    return [
        f"{own_answers:,} training rows have answers that endpoints of this workspace gave, so their faults "
        "are learned again; curate with own_answers=drop"
    ]
