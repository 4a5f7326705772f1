"""The `retrain` skill: a drift alarm becomes a plan for a person to read, judge and run; it runs nothing."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ...core.contract import Cost, Effect, StepContext, skill
from ...core.files import PRIVATE, sha256_json, write_atomically
from .request import RetrainRequest, RetrainResult

if TYPE_CHECKING:
    from ...core.machine import Machine
    from ...core.workspace import Workspace

__all__ = ["RetrainRequest", "RetrainResult", "retrain"]


def _estimate(request: RetrainRequest, machine: Machine, workspace: Workspace) -> Cost:
    return Cost(minutes=0.2, gpu_hours=0, disk_bytes=2_000_000, usd=0)


@skill(
    effect=Effect.WRITES,  # a plan, its suite and a page in the workspace: what the plan says runs when asked
    summary="Propose a plan that retrains on new data after a drift alarm, judges, and releases as a canary.",
    phrases=[
        "propose a retraining after {alarm}",
        "propose a retraining on {new_data} after {alarm}",
        "propose a retraining on {new_data}",
        "propose a retraining with {new_data}",
        "plan a retraining after {alarm} with {new_data}",
        "plan a retraining on {new_data}",
        "plan a retraining with {new_data}",
        "retrain on {new_data}",
        "retrain {endpoint} on {new_data}",
        "retrain {endpoint} with {new_data}",
        "retrain after {alarm} on {new_data}",
        "retrain after {alarm} with {new_data}",
        "retrain with {new_data}",
        "retraining of {endpoint} on {new_data}",
        "retraining on {new_data}",
        "retraining after {alarm}",
        "retrain {endpoint}",
        "retrain the model of {endpoint} on {new_data}",
        "train again on {new_data} after {alarm}",
        "retrain from {alarm} with {new_data}",
        "retrain for {alarm} with {new_data}",
        "start a retraining with {new_data}",
        "start a retraining on {new_data}",
        "start a retraining after {alarm}",
        "draft a retraining after {alarm}",
        "draft a retraining with {new_data}",
        "a retraining with {new_data}",
        "retraining with {new_data}",
        "retraining for {alarm} with {new_data}",
        "plan a retraining for {alarm}",
        "plan a retraining for {alarm} with {new_data}",
        "prepare a retraining with {new_data}",
        "prepare a retraining after {alarm}",
        "retrain because of {alarm} with {new_data}",
        "retrain using {new_data}",
        "retrain {endpoint} using {new_data}",
        "set up a retraining with {new_data}",
        "train {endpoint} again on {new_data}",
        "train {endpoint} again with {new_data}",
        "train {endpoint} anew on {new_data}",
        "train the model of {endpoint} again on {new_data}",
        "train anew on {new_data}",
        "refresh {endpoint} with {new_data}",
        "refresh the model on {endpoint} with {new_data}",
        "update the model of {endpoint} with {new_data}",
        "answer {alarm} with a retraining",
        "follow up {alarm} with a retraining",
        "propose a retraining for {alarm}",
        "propose a retrain after {alarm}",
        "propose a retrain on {new_data}",
        "propose to retrain on {new_data}",
        "propose to retrain {endpoint} on {new_data}",
        "plan to retrain on {new_data} after {alarm}",
        "retrain plan for {alarm}",
        "retraining plan for {alarm}",
        "retraining plan with {new_data}",
        "retrain the model on {new_data}",
        "retrain the model with {new_data}",
    ],
    estimate=_estimate,
    reusable=False,
)
def retrain(request: RetrainRequest, ctx: StepContext) -> RetrainResult:
    """Write a plan from a drift alarm: curate with replay, fine-tune, judge, build, canary, promote.

    Suite, task, columns, settings and engine are those that the record has of the stable release. Where its
    suite has no items of what is new, part of the new rows is held out and joins it. The plan is compiled
    before it is written, so it can be run unchanged. Raises AskError when the report shows no alarm (unless
    forced) or is of another endpoint, and when nothing could be shown on so few items.

    Example: `/retrain alarm=drift-report:1a2b3c new_data=new.csv`
    """
    from .judging import judge_by
    from .plan_file import compiled_id, plan_text
    from .starting_point import find_starting_point
    from .whats_new import describe

    start = find_starting_point(request, ctx)
    folder = ctx.workspace.plans / "proposals"
    with ExitStack() as undo:
        judging = judge_by(request, start, folder, undo, ctx)
        news = describe(start.alarm, start.source)
        text = plan_text(request, start, judging, news)
        plan_id = compiled_id(text)
        undo.pop_all()
    name = f"retrain-{start.endpoint}-{sha256_json(text)[:12]}"
    plan, page = folder / f"{name}.yaml", folder / f"{name}.md"
    write_atomically(page, news.page.encode(), PRIVATE)
    write_atomically(plan, text.encode())
    ctx.log(f"proposed {plan}")
    return RetrainResult(
        plan_file=str(plan),
        plan_id=plan_id,
        plan_yaml=text,
        suite=judging.source,
        new_samples=judging.new_samples,
        whats_new=str(page),
        message=f"nothing was run: read {page} and the plan, then `opswright run {shlex.quote(str(plan))}`",
    )
