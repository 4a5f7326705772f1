"""What an engine is asked beside its checkpoint, and the rows that a target which calibrates looks at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.artifact_refs import AdapterRef, CheckpointRef, DatasetRef
from ...core.contract import StepContext
from ...core.errors import AskError
from ...core.suite_source import SuiteSource, suite_name
from ...engines.base import Chat

if TYPE_CHECKING:
    from ...evals.parity import ParityPrompts


def parity_prompts(
    ctx: StepContext,
    model: CheckpointRef | AdapterRef,
    most: int,
    data: DatasetRef | None = None,
    suite: SuiteSource | None = None,
    trust: Path | None = None,
) -> ParityPrompts:
    """What training did not see, as a model is asked it: so many prompts at most.

    They come from the dataset, else the suite, else the suite that the model was judged on, else the model's
    own validation rows. trust: the folder whose Python scorers may be run. AskError where there are none.
    """
    from ...evals.judged_suite import judged_suite
    from ...evals.parity import dataset_prompts, suite_prompts
    from ...evals.suites import load_suite

    if data is None and suite is None:
        judged = judged_suite(ctx.workspace, model)
        if judged is not None and judged.is_there:
            suite = judged.source
            trust = trust or (Path(judged.arguments["trust"]) if "trust" in judged.arguments else None)
    if data is None and suite is not None:
        found = suite_prompts(load_suite(suite), f"suite {suite_name(suite)}", most, trust)
    else:
        where = str(data) if data is not None else "the model's own data"
        found = dataset_prompts(ctx.artifacts.open(data or _own_data(ctx, model)), where, most)
    if not found.chats:
        raise AskError(f"{found.where} has no prompts for the parity check. Name another one.")
    if found.unscored:
        ctx.log(f"answers are compared and not scored: {found.unscored}")
    return found


def calibration_prompts(ctx: StepContext, model: CheckpointRef | AdapterRef, most: int) -> Sequence[Chat]:
    """Prompts of the rows that a model was trained on, so many at most."""
    from ...evals.parity import training_prompts

    return training_prompts(ctx.artifacts.open(_own_data(ctx, model)), most)


def _own_data(ctx: StepContext, model: CheckpointRef | AdapterRef) -> DatasetRef:
    """The dataset that the model was trained on."""
    from ...evals.lineage import training_dataset

    found = training_dataset(ctx.artifacts, model)
    if found is None:
        raise AskError(
            f"{model.short} does not say what it was trained on, so there are no prompts for the "
            "parity check. Name a `parity_suite`, or a dataset as `parity_data`."
        )
    return found
