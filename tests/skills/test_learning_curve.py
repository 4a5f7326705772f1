"""The skills `learning-curve` and `fit-curve`: a plan of trainings, and one curve of their reports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from opswright.core.artifact_refs import BundleRef, CheckpointRef, DatasetRef, EvalReportRef
from opswright.core.compile import compile_plan
from opswright.core.contract import StepContext
from opswright.core.errors import AskError
from opswright.core.plan_file import read_plan_file
from opswright.evals.report import facts_of
from opswright.evals.runner import EvalResult, SampleResult, to_lines
from opswright.skills import load_registry
from opswright.skills.learning_curve import (
    FitCurveRequest,
    LearningCurveRequest,
    fit_curve,
    learning_curve,
)

Context = Callable[..., StepContext]
SIZES = (100, 250, 500, 1000)


def dataset(ctx: StepContext) -> DatasetRef:
    with ctx.artifacts.staging() as folder:
        (folder / "train.jsonl").write_text("{}\n" * 1000)
        return ctx.artifacts.save(DatasetRef, folder, {"train_rows": 1000, "validation_rows": 0})


def checkpoint(ctx: StepContext, data: DatasetRef, rows: int, seed: int, lr: float = 1e-3) -> CheckpointRef:
    recipe = {"seed": seed, "optimizer": {"lr": lr}, "step_scheduler": {"num_epochs": 3, "max_steps": rows}}
    facts: dict[str, Any] = {
        "base": "tiny",
        "method": "sft",
        "dataset": str(data),
        "seed": seed,
        "steps": rows,
    }
    if rows < 1000:
        facts |= {"train_rows": rows}
    with ctx.artifacts.staging() as folder:
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        return ctx.artifacts.save(CheckpointRef, folder, facts, [data])


def report(ctx: StepContext, model: CheckpointRef | BundleRef, share: float, seed: int) -> EvalReportRef:
    right = np.random.default_rng(7).random(300) < share + 0.004 * (seed % 3)  # the same items are hard
    items = tuple(
        SampleResult(f"i{n:03}", "t", "e", "g", {"exact_match": float(one)}, ())
        for n, one in enumerate(right)
    )
    measured = EvalResult(str(model), "s", "d" * 64, (), items, scorers={"exact_match": True})
    with ctx.artifacts.staging() as folder:
        (folder / "items.jsonl").write_bytes(to_lines(items))
        return ctx.artifacts.save(EvalReportRef, folder, facts_of(measured, 300, {}), [model])


def reports(ctx: StepContext, data: DatasetRef) -> list[EvalReportRef]:
    return [
        report(ctx, checkpoint(ctx, data, rows, seed), 0.95 - 3 * rows**-0.5, rows + seed)
        for rows in SIZES
        for seed in (1, 2)
    ]


def test_reports_of_growing_shares_become_a_curve_a_picture_and_a_page(context: Context) -> None:
    ctx = context()
    made = reports(ctx, dataset(ctx))
    result = fit_curve(FitCurveRequest(reports=tuple(reversed(made))), ctx)
    assert result.rows == (100, 100, 250, 250, 500, 500, 1000, 1000)
    assert result.gain is not None and result.gain_low is not None and result.gain_low < result.gain
    curve = ctx.artifacts.open(result.curve)
    assert set(curve.files) == {"curve.json", "curve.html", "curve.png"}
    page = (curve.path / "curve.html").read_text()
    assert result.message in page and "default-src 'none'" in page and page.count("eval-report:") == 8
    assert (curve.path / "curve.png").read_bytes()[:4] == b"\x89PNG"
    assert fit_curve(FitCurveRequest(reports=tuple(made)), ctx).curve == result.curve  # the same bytes
    assert set(curve.parents) == set(made)


def test_a_training_by_another_recipe_is_no_point_of_the_curve(context: Context) -> None:
    ctx = context()
    data = dataset(ctx)
    odd = report(ctx, checkpoint(ctx, data, 700, 1, lr=5e-3), 0.8, 9)
    with pytest.raises(AskError, match=r"another recipe\.optimizer"):
        fit_curve(FitCurveRequest(reports=(*reports(ctx, data), odd)), ctx)


def test_a_report_of_no_checkpoint_is_refused(context: Context) -> None:
    ctx = context()
    data = dataset(ctx)
    with ctx.artifacts.staging() as folder:
        (folder / "x").write_text("x")
        bundle = ctx.artifacts.save(BundleRef, folder, {})
    with pytest.raises(AskError, match="a curve is made of checkpoints"):
        fit_curve(FitCurveRequest(reports=(report(ctx, bundle, 0.5, 1), reports(ctx, data)[0])), ctx)


def test_the_plan_trains_and_measures_each_share_with_each_seed(context: Context, tmp_path: Path) -> None:
    ctx = context()
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "label": "b"}\n')
    (tmp_path / "own.yaml").write_text("name: own\nsamples: {file: rows.jsonl}\ntask: classify\n")
    ask = LearningCurveRequest.model_validate(
        {
            "data": dataset(ctx),
            "suite": "own.yaml",
            "shares": [0.25, 0.5, 0.75, 1],
            "training": {"epochs": 7},
        }
    )
    result = learning_curve(ask, ctx)
    assert result.trainings == 8
    plan = compile_plan(read_plan_file(Path(result.plan_file)), load_registry())
    assert plan.id == result.plan_id
    trained = [step.arguments for step in plan.steps if step.skill == "finetune"]
    assert [(one["train_share"], one["seed"], one["epochs"]) for one in trained][:3] == [
        (0.25, 1111, 7),
        (0.25, 1112, 7),
        (0.5, 1111, 7),
    ]
    assert sum(step.skill == "evaluate" for step in plan.steps) == 8
    assert plan.steps[-1].skill == "fit-curve"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"shares": [0.5, 0.25]}, "shares must grow"),
        ({"seeds": [1, 1]}, "stand once"),
        ({"training": {"train_share": 0.1}}, "set by the curve"),
        ({"shares": [0, 1]}, "greater than 0"),
    ],
)
def test_what_makes_no_curve_is_refused(context: Context, more: dict[str, Any], message: str) -> None:
    ask = {"data": dataset(context()), "suite": "clinc150", **more}
    with pytest.raises(ValueError, match=message):
        LearningCurveRequest.model_validate(ask)


def test_shares_that_are_nearly_alike_are_trainings_of_their_own() -> None:
    from opswright.skills.learning_curve import plan_of

    asked = LearningCurveRequest(
        data="dataset:" + "a" * 64, suite="clinc150", shares=(0.1, 0.1000001), seeds=(1,)
    )
    assert len(plan_of(asked)["steps"]) == 5
