"""The skill `fit-curve`: eval reports of trainings on growing shares of a dataset, as one curve."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ...core.artifact_refs import CheckpointRef, ClassifierRef, EvalReportRef, LearningCurveRef, parse_ref
from ...core.artifacts import Artifact
from ...core.contract import Cost, Effect, Request, Result, StepContext, skill
from ...core.errors import AskError
from ...core.files import canonical_json
from ...core.machine import Machine
from ...core.workspace import Workspace

if TYPE_CHECKING:
    from ...evals.learning_curve import Training

CURVE, PAGE, PLOT = "curve.json", "curve.html", "curve.png"
_SAME_FACTS = ("base", "base_digest", "dataset", "method")
# Of a recipe, what follows from the number of rows or is the seed itself.
_FOLLOWS = (
    ("lr_scheduler", "lr_warmup_steps"),
    ("step_scheduler", "max_steps"),
    ("step_scheduler", "val_every_steps"),
)


class FitCurveRequest(Request):
    """The reports of the curve's points."""

    reports: tuple[EvalReportRef, ...] = Field(
        min_length=2,
        max_length=200,
        description="Eval reports of checkpoints that differ in train_share and seed alone, on one suite.",
    )


class FitCurveResult(Result):
    """The curve, and what it says of more data."""

    curve: LearningCurveRef
    metric: str
    rows: tuple[int, ...] = Field(description="Training rows of each point.")
    values: tuple[float, ...] = Field(description="Score of each point, 0 to 1.")
    gain: float | None = Field(description="What twice the rows would bring; None: it cannot be told.")
    gain_low: float | None = Field(description="The lower end of its 95 % interval.")
    gain_high: float | None = Field(description="The upper end.")
    message: str = Field(description="What more data would bring, in one sentence.")


def _estimate(request: FitCurveRequest, machine: Machine, workspace: Workspace) -> Cost:
    return Cost(minutes=0.2, gpu_hours=0, disk_bytes=1_000_000, usd=0)


@skill(
    effect=Effect.WRITES,
    summary="Draw the learning curve of trainings on growing shares, and say what more data would bring.",
    phrases=[
        "fit a learning curve through {reports}",
        "fit a curve through {reports}",
        "fit the curve of {reports}",
        "fit the learning curve of {reports}",
        "draw the learning curve of {reports}",
        "draw a curve through {reports}",
        "plot the curve of {reports}",
        "extrapolate {reports}",
        "extrapolate from {reports}",
        "extrapolate the learning curve from {reports}",
        "extrapolate the curve of {reports}",
        "learning curve through {reports}",
        "learning curve from {reports}",
        "draw a learning curve from {reports}",
        "draw a learning curve through {reports}",
        "draw a learning curve of {reports}",
        "draw the learning curve from {reports}",
        "draw the learning curve through {reports}",
        "draw the curve through {reports}",
        "draw the curve of {reports}",
        "plot a learning curve from {reports}",
        "plot the learning curve of {reports}",
        "plot the learning curve from {reports}",
        "fit a learning curve to {reports}",
        "fit a curve to {reports}",
        "fit the learning curve to {reports}",
        "fit a curve from {reports}",
        "make a curve from {reports}",
        "what do {reports} say about more data",
    ],
    estimate=_estimate,
)
def fit_curve(request: FitCurveRequest, ctx: StepContext) -> FitCurveResult:
    """Fit a saturating power law through the scores; forecast twice the rows, or say that it cannot be told.

    Example: `/fit-curve reports=eval-report:3f2a91,eval-report:9bc012`
    """
    from ...evals.learning_curve import learning_curve
    from .page import render_page, save_plot

    found = learning_curve(_trainings(request.reports, ctx))
    ctx.log(found.in_words)
    with ctx.artifacts.staging() as folder:
        (folder / CURVE).write_bytes(canonical_json(found.document()))
        (folder / PAGE).write_text(render_page(found), encoding="utf-8")
        save_plot(found, folder / PLOT)
        facts = {"suite": found.suite, "metric": found.metric, "items": found.items}
        facts |= {"trainings": len(found.points), "in_words": found.in_words}
        ref = ctx.artifacts.save(LearningCurveRef, folder, facts, list(request.reports))
    twice = found.forecasts[0] if found.forecasts else None
    return FitCurveResult(
        curve=ref,
        metric=found.metric,
        rows=tuple(point.rows for point in found.points),
        values=tuple(point.value for point in found.points),
        gain=twice.gain if twice else None,
        gain_low=twice.gain_low if twice else None,
        gain_high=twice.gain_high if twice else None,
        message=found.in_words,
    )


def _trainings(reports: Sequence[EvalReportRef], ctx: StepContext) -> list[Training]:
    """The trainings behind the reports; AskError where they differ in more than rows and seed."""
    from ...evals.learning_curve import Training
    from ...evals.report import read_report

    trainings, alike = list[Training](), dict[str, str]()
    for ref in dict.fromkeys(reports):
        report = ctx.artifacts.open(ref)
        model = parse_ref(str(report.facts["model"])) if ":" in str(report.facts["model"]) else None
        if not isinstance(model, CheckpointRef | ClassifierRef):
            raise AskError(f"{ref.short} measured {report.facts['model']}; a curve is made of checkpoints.")
        checkpoint = ctx.artifacts.open(model)
        told = _told(checkpoint)
        for name, value in told.items():
            if alike.setdefault(name, value) != value:
                raise AskError(
                    f"{model.short} was trained with another {name} ({value[:80]}; the first: "
                    f"{alike[name][:80]}), so its score is no point of the same curve."
                )
        facts = checkpoint.facts
        rows = facts.get("train_rows") or _all_rows(checkpoint, ctx)
        seed, steps = int(facts.get("seed", 0)), int(facts.get("steps", 0))
        trainings.append(Training(int(rows), seed, steps, ref.short, read_report(report)))
    return trainings


def _told(checkpoint: Artifact) -> dict[str, str]:
    """What trainings of one curve have in common: their facts, and their recipes but for rows and seed."""
    from ..finetune.base import own_recipe

    told = {name: str(checkpoint.facts.get(name)) for name in _SAME_FACTS}
    recipe = own_recipe(checkpoint.path)
    if recipe is None:
        raise AskError(f"{checkpoint.ref.short} has no recipe, so it cannot be told how it was trained.")
    for section, values in recipe.items():
        if section != "seed":
            kept = _without(section, values) if isinstance(values, Mapping) else values
            told[f"recipe.{section}"] = json.dumps(kept, sort_keys=True, default=str)
    return told


def _without(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if (section, key) not in _FOLLOWS}


def _all_rows(checkpoint: Artifact, ctx: StepContext) -> int:
    """The rows of the whole dataset that a checkpoint was trained on."""
    rows = ctx.artifacts.open(parse_ref(str(checkpoint.facts.get("dataset")))).facts.get("train_rows")
    if not isinstance(rows, int):
        raise AskError(f"{checkpoint.ref.short} does not say how many rows it was trained on.")
    return rows
