"""What an endpoint serves and how that was made, by the record; what the request names goes first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...core.artifact_refs import AdapterRef, ArtifactRef, CheckpointRef, DatasetRef
from ...core.artifacts import Artifact
from ...core.contract import StepContext
from ...core.errors import AskError
from ...core.suite_source import resolved
from ...data.columns import Columns
from ...data.dataset import REPORT
from ...data.read import TEXT_COLUMN, Source, read_samples
from ...data.row_shapes import LABEL_COLUMN
from .request import RetrainRequest

if TYPE_CHECKING:
    from ...evals.judged_suite import JudgedSuite
    from ...evals.suites import Suite
    from ...serving.releases import Release

# How a dataset was cleaned, which one that follows it should be too.
_CLEANING = ("golden_jaccard", "near_duplicate_jaccard", "filters", "personal_data", "validation_fraction")


@dataclass(frozen=True)
class StartingPoint:
    """What a retraining goes on from.

    source: the new rows, as they are to be read. judged: the suite by the record, None where none is known;
    suite and suite_source: the one that is to judge. cleaning, training: settings of `curate` and `finetune`.
    """

    alarm: Artifact
    endpoint: str
    stable: Release | None
    base: CheckpointRef
    replay: DatasetRef
    source: Source
    judged: JudgedSuite | None
    suite: Suite
    suite_source: str
    cleaning: Mapping[str, Any]
    training: Mapping[str, Any]

    @property
    def model(self) -> ArtifactRef:
        """What is served; where nothing is, what it starts from."""
        return self.base if self.stable is None else self.stable.bundle


def find_starting_point(request: RetrainRequest, ctx: StepContext) -> StartingPoint:
    """What the record has of the endpoint; AskError for what it does not say and the request neither."""
    from ...evals.judged_suite import judged_suite
    from ...evals.suites import load_suite
    from ...serving.releases import stable_release

    alarm = ctx.artifacts.open(request.alarm)
    endpoint = _endpoint(request, alarm)
    stable = stable_release(ctx.workspace, endpoint)
    replay = _replay(request, alarm)
    base = request.base or _base(ctx, endpoint, stable)
    judged = (stable and judged_suite(ctx.workspace, stable.bundle)) or judged_suite(ctx.workspace, base)
    if request.suite is None and judged is None:
        raise AskError(
            f"no report says by which suite {base.short} is judged. Name one as `suite`: its name, or its "
            "file."
        )
    if request.suite is not None:
        suite, source = load_suite(request.suite), resolved(request.suite)
        judged = judged if judged is not None and judged.source == source else None
    elif judged is not None:
        suite, source = judged.load(), judged.source
    earlier = _earlier_settings(ctx, replay)
    return StartingPoint(
        alarm=alarm,
        endpoint=endpoint,
        stable=stable,
        base=base,
        replay=replay,
        source=_source(request, ctx.artifacts.open(replay).facts, earlier),
        judged=judged,
        suite=suite,
        suite_source=source,
        cleaning=_cleaning(earlier),
        training=_training(request, ctx, base),
    )


def _endpoint(request: RetrainRequest, alarm: Artifact) -> str:
    watched = str(alarm.facts["endpoint"])
    if request.endpoint is not None and request.endpoint != watched:
        raise AskError(
            f"the report {request.alarm.short} is of endpoint '{watched}', not '{request.endpoint}'. "
            f"Leave `endpoint` out, or run drift on '{request.endpoint}'."
        )
    if not alarm.facts["alarm"] and not request.force:
        smallest = min(test["p_corrected"] for test in alarm.facts["tests"].values())
        raise AskError(
            f"{request.alarm.short} shows no alarm on '{watched}' (smallest corrected p {smallest:.2g}, "
            f"alarm at {alarm.facts['alpha']:g}), so there is nothing to retrain for. With `force=true` it "
            "proposes a plan anyway."
        )
    return watched


def _replay(request: RetrainRequest, alarm: Artifact) -> DatasetRef:
    if request.replay is None and alarm.facts["reference"] is None:
        raise AskError(
            f"{request.alarm.short} compared earlier traffic, and what the model learned from is not known. "
            "Name a dataset as `replay`."
        )
    return request.replay or DatasetRef(alarm.facts["reference"])


def _base(ctx: StepContext, endpoint: str, stable: Release | None) -> CheckpointRef:
    """The checkpoint behind the stable release; where that is of adapters, the one that has them merged."""
    from ...evals.lineage import built_from
    from ..finetune.adapters import merged_checkpoint

    if stable is None:
        raise AskError(
            f"endpoint '{endpoint}' has no stable release to start from. Name a checkpoint as `base`."
        )
    found = built_from(ctx.artifacts, stable.bundle)
    if isinstance(found, AdapterRef):
        found = merged_checkpoint(ctx.artifacts.open(found), ctx.artifacts)
    if found is None:
        raise AskError(
            f"the stable release of '{endpoint}' does not say which checkpoint it is. Name it as `base`."
        )
    return found


def _earlier_settings(ctx: StepContext, replay: DatasetRef) -> Mapping[str, Any]:
    """What `curate` was asked when it made the earlier dataset; nothing where it does not say."""
    report = ctx.artifacts.open(replay)
    if REPORT not in report.files:
        return {}
    found = report.read_json(REPORT)
    settings = found.get("settings") if isinstance(found, dict) else None
    return settings if isinstance(settings, dict) else {}


def _source(request: RetrainRequest, facts: Mapping[str, Any], earlier: Mapping[str, Any]) -> Source:
    """The new rows, read as the earlier ones were where they have the same columns."""
    asked = Source(
        request.new_data,
        request.layout,
        request.split,
        request.text_column,
        request.label_column,
        request.domain_column,
        columns=request.columns,
        task=request.task or facts.get("task"),
    )
    if asked.mapping != Columns():
        return asked
    columns = earlier.get("columns")
    alike = replace(
        asked,
        text_column=earlier.get("text_column") or TEXT_COLUMN,
        label_column=earlier.get("label_column") or LABEL_COLUMN,
        domain_column=earlier.get("domain_column"),
        group_column=earlier.get("group_column"),
        columns=None if columns is None else Columns.model_validate(columns),
    )
    if alike.mapping == Columns():
        return asked
    try:
        read_samples(alike)
    except AskError:  # they have other columns
        return asked
    return alike


def _cleaning(earlier: Mapping[str, Any]) -> dict[str, Any]:
    from ..curate import CurateRequest

    usual = CurateRequest.model_fields
    kept = {name: earlier[name] for name in _CLEANING if name in earlier}
    return {name: value for name, value in kept.items() if value not in (usual[name].default, [], None)}


def _training(request: RetrainRequest, ctx: StepContext, base: CheckpointRef) -> dict[str, Any]:
    """How a checkpoint was trained, for the plan to show: method, and the settings of its own recipe.

    What its recipe does not say, `finetune` decides by the base.
    """
    from ..finetune.base import own_recipe
    from ..finetune.tuning import inherited

    checkpoint = ctx.artifacts.open(base)
    method = checkpoint.facts.get("method", "sft")
    if method not in ("sft", "lora", "qlora"):
        method = "sft"
    found = {"method": method, **inherited(own_recipe(checkpoint.path) or {}, method != "sft")}
    return found if request.epochs is None else found | {"epochs": request.epochs}
