"""What a canary must hold, as several skills ask for it; how far its answers may differ from stable's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from ..core.artifact_refs import BundleRef
from ..core.contract import StepContext
from ..core.errors import OpswrightError
from ..core.statistics.shares import upper_bound

MaxSlower = Annotated[
    float,
    Field(ge=1, le=100, description="A canary's answer is slow that takes this many times stable's p95."),
]
ScoredProbes = Annotated[
    int,
    Field(
        ge=0,
        le=2000,
        description="Items of stable's suite that both are asked before promotion: a golden sample.",
    ),
]
USUAL = 0.3  # where no suite tells
_TOLERANCE = 0.1
_ALPHA = 0.05


def usual_disagreement(ctx: StepContext, endpoint: str, bundle: BundleRef) -> float:
    """The share of answers of a new bundle that may differ from stable's, 0.3 or more.

    As many as may differ on the suite that both were judged on, and a tenth more: a model that was taught
    something new answers otherwise. What cannot be read is said in the log, and 0.3 taken.
    """
    from ..serving.releases import stable_release

    stable = stable_release(ctx.workspace, endpoint)
    if stable is None:
        return USUAL
    try:
        differ = list(_differences(ctx, stable.bundle, bundle))
    except OpswrightError as error:
        ctx.log(f"how often answers usually differ is not known: {error}")
        return USUAL
    if not differ:
        return USUAL
    return min(1.0, max(USUAL, upper_bound(sum(differ), len(differ), _ALPHA) + _TOLERANCE))


def _differences(ctx: StepContext, stable: BundleRef, new: BundleRef) -> Iterator[bool]:
    """Of each item that both answered in their reports on one suite, whether the answers differ."""
    from ..evals.judged_suite import judged_suite
    from ..evals.report import read_report
    from ..serving.canary.answers import agree

    judged = [judged_suite(ctx.workspace, one) for one in (stable, new)]
    if judged[0] is None or judged[1] is None or judged[0].digest != judged[1].digest:
        return
    before, now = (read_report(ctx.artifacts.open(one.report)).items for one in judged if one is not None)
    answers = {item.id: item.got for item in before if item.got is not None}
    for item in now:
        if item.got is not None and item.id in answers:
            yield not agree(item.got, answers[item.id])
