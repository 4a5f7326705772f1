"""The skill `learning-curve`: a plan that trains on growing shares of a dataset, to see what more brings.

Each training and each evaluation is a step of its own, so a stopped curve goes on where it was, and what is
there already is not made again. The plan's last step is `fit-curve`, which draws the curve.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from ...core.artifact_refs import CheckpointRef, DatasetRef
from ...core.contract import Cost, Effect, Finding, InputPath, Request, Result, StepContext, skill
from ...core.files import sha256_json, write_atomically
from ...core.machine import Machine
from ...core.suite_source import SuiteSource, resolved
from ...core.workspace import Workspace
from ..finetune.hub import HubModel
from .fit import FitCurveRequest, FitCurveResult, fit_curve

__all__ = [
    "FitCurveRequest",
    "FitCurveResult",
    "LearningCurveRequest",
    "LearningCurveResult",
    "fit_curve",
    "learning_curve",
]

Share = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
_OURS = ("base", "data", "seed", "train_share")


class LearningCurveRequest(Request):
    """What is learned from, what measures it, and which trainings make the curve."""

    data: DatasetRef = Field(description="Dataset whose training rows are shared out.")
    suite: SuiteSource = Field(description="Suite that measures each training: its name, or its YAML file.")
    base: Literal["tiny"] | CheckpointRef | HubModel | InputPath = Field(
        "tiny", description="Where each training starts, as `finetune` takes it."
    )
    training: dict[str, Any] = Field(
        {},
        description="More arguments of `finetune`, the same each time, as {epochs: 10, method: lora}.",
    )
    shares: tuple[Share, ...] = Field(
        (0.1, 0.25, 0.5, 1.0), min_length=2, max_length=12, description="Shares of the rows, growing."
    )
    seeds: tuple[Seed, ...] = Field(
        (1111, 1112),
        min_length=1,
        max_length=10,
        description="Seeds; each share is trained once with each. Their scatter is part of the answer.",
    )
    budget_minutes: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Wall minutes the plan may take; empty: no limit."
    )

    @field_validator("shares")
    @classmethod
    def _shares_grow(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if any(first >= second for first, second in pairwise(shares)):
            raise ValueError(f"shares must grow, found {', '.join(f'{share:g}' for share in shares)}")
        return shares

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("each seed may stand once: the same training twice tells nothing new")
        return seeds

    @field_validator("training")
    @classmethod
    def _training_is_not_ours(cls, training: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(set(training) & set(_OURS)):
            raise ValueError(f"{', '.join(taken)}: set by the curve, not by `training`")
        return training


class LearningCurveResult(Result):
    """The proposed plan; nothing has been run."""

    plan_file: str = Field(description="Where the plan lies, ready to read, change and run.")
    plan_id: str = Field(description="Id of the plan as it was written.")
    trainings: int = Field(description="How many trainings it has.")
    message: str = Field(description="What to do next, in one sentence.")


def _preflight(request: LearningCurveRequest, machine: Machine, workspace: Workspace) -> list[Finding]:
    from ...evals.learning_curve import FEWEST_SIZES
    from ...evals.suites import load_suite

    suite = load_suite(request.suite)
    workspace.artifacts.open(request.data)
    found = [Finding(level="ok", message=f"suite {suite.name} has {len(suite.items)} items.")]
    if len(request.shares) < FEWEST_SIZES:
        message = f"{len(request.shares)} shares make a curve to look at; a forecast needs {FEWEST_SIZES}."
        found.append(Finding(level="warn", message=message))
    return found


def _estimate(request: LearningCurveRequest, machine: Machine, workspace: Workspace) -> Cost:
    return Cost(minutes=0.05, gpu_hours=0, disk_bytes=10_000, usd=0)


@skill(
    effect=Effect.WRITES,  # a plan file in the workspace, and nothing else: what it says runs only when asked
    summary="Propose a plan that trains on growing shares of a dataset and says what more data would bring.",
    phrases=[
        "learning curve of {data} on {suite}",
        "learning curve of {data}",
        "learning curve for {data} on {suite}",
        "plan a learning curve of {data} on {suite}",
        "make a learning curve of {data} on {suite}",
        "draw a learning curve of {data} on {suite}",
        "would more data than {data} help on {suite}",
        "would more data help on {suite}",
        "how much would more data help on {suite}",
        "plot a learning curve of {data} on {suite}",
        "get a learning curve of {data} on {suite}",
        "does more data help on {suite}",
        "how much more data would help on {suite}",
        "check how much more data would help on {suite}",
        "check whether more data would help on {suite}",
        "see whether more data would help on {suite}",
        "check if more data would help on {suite}",
        "find out whether more data would help on {suite}",
        "do we need more data for {suite}",
        "how does the score grow with more of {data} on {suite}",
        "learning curve with {data} on {suite}",
        "learning curve with {data}",
        "how much more data do we need on {suite}",
        "study how more data helps on {suite}",
        "learning curve over {data} on {suite}",
        "learning curve on {suite}",
        "run a learning curve of {data} on {suite}",
        "do a learning curve of {data} on {suite}",
        "prepare a learning curve of {data} on {suite}",
        "how much does more data help on {suite}",
        "does more data than {data} help on {suite}",
        "does more of {data} help on {suite}",
        "would more rows help on {suite}",
        "train on growing shares of {data} on {suite}",
        "train on growing shares of {data}",
        "train on growing parts of {data}",
        "plan trainings on growing shares of {data}",
        "learning curve from {data} on {suite}",
        "learning curve from {data}",
        "learning curve plan for {data}",
        "see how the score grows with more of {data}",
        "what would more data bring on {suite}",
        "what more data would bring on {suite}",
        "how the score on {suite} grows with {data}",
    ],
    preflight=_preflight,
    estimate=_estimate,
    reusable=False,
)
def learning_curve(request: LearningCurveRequest, ctx: StepContext) -> LearningCurveResult:
    """Write a plan: a training and an evaluation for each share and seed, then the curve through them.

    The plan is compiled before it is written. Nothing of it runs until it is run.

    Example: `/learning-curve data=dataset:3f2a91 suite=suites/shop.yaml`
    """
    import yaml

    from ...core.compile import compile_plan
    from ...core.plan_file import parse_plan
    from .. import load_registry

    head = (
        "# Proposed by `learning-curve`; nothing has run. Read, change, then: opswright run <this file>\n"
        "# A plan that was stopped goes on: what was trained and measured is not done again.\n"
    )
    text = head + yaml.safe_dump(plan_of(request), sort_keys=False, width=110)
    plan_id = compile_plan(parse_plan(text, "the proposed plan"), load_registry()).id
    path = ctx.workspace.plans / "proposals" / f"learning-curve-{sha256_json(text)[:12]}.yaml"
    write_atomically(path, text.encode())
    return LearningCurveResult(
        plan_file=str(path),
        plan_id=plan_id,
        trainings=len(request.shares) * len(request.seeds),
        message=f"nothing was run: read {path}, then `opswright run {path}`",
    )


def plan_of(request: LearningCurveRequest) -> dict[str, Any]:
    """The plan file's content, in plain JSON types."""
    suite = resolved(request.suite)
    asked = request.model_dump(mode="json")
    base = request.base.resolve().as_posix() if isinstance(request.base, Path) else asked["base"]
    steps: dict[str, Any] = {}
    reports = []
    field = "classifier" if request.training.get("method") == "classifier" else "checkpoint"
    for share in request.shares:
        for seed in request.seeds:
            name = f"{100 * share:.10g}pct_seed{seed}".replace(".", "_")
            training = {"data": asked["data"], "base": base, **asked["training"]}
            training |= {"train_share": share, "seed": seed}
            steps[f"train_{name}"] = {"skill": "finetune", "with": training}
            measure = {"model": f"${{train_{name}.{field}}}", "suite": suite, "baselines": False}
            steps[f"measure_{name}"] = {"skill": "evaluate", "with": measure}
            reports.append(f"${{measure_{name}.report}}")
    steps["curve"] = {"skill": "fit-curve", "with": {"reports": reports}}
    plan: dict[str, Any] = {"goal": f"Learning curve on {request.data.short}"}
    if request.budget_minutes is not None:
        plan["budget"] = {"minutes": request.budget_minutes}
    plain: dict[str, Any] = json.loads(json.dumps(plan | {"steps": steps}))
    return plain
