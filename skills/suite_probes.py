"""Probes of a release from its own suite: what a gate judged it on, asked again through the endpoint."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.artifact_refs import BundleRef
from ..core.contract import StepContext
from ..core.errors import OpswrightError
from ..serving.probes import Probe

if TYPE_CHECKING:
    from ..data.sample import Sample
    from ..evals.scorers import Scorer


def suite_probes(ctx: StepContext, bundle: BundleRef, most: int) -> tuple[Probe, ...]:
    """Items of the suite that a bundle, or the checkpoint behind it, was judged on, with what scores them.

    Only such as it answered then: what is too long for it is no fault of a canary. None where no record names
    the suite, or it cannot be read any more: the log says why.
    """
    from ..evals.judged_suite import judged_suite
    from ..evals.parity import suite_prompts
    from ..evals.report import read_report

    judged = judged_suite(ctx.workspace, bundle) if most else None
    if judged is None:
        return ()
    trust = judged.arguments.get("trust")
    try:
        suite, report = judged.load(), read_report(ctx.artifacts.open(judged.report))
        answered = {one.id for one in report.items if one.error is None and one.finish != "refused"}
        suite = replace(suite, items=tuple(item for item in suite.items if item.id in answered))
        prompts = suite_prompts(suite, suite.name, most, None if trust is None else Path(trust))
    except OpswrightError as error:
        ctx.log(f"no probes of the endpoint's own suite: {error}")
        return ()
    longest = int(judged.arguments.get("max_new_tokens") or suite.longest_answer)
    if prompts.scorer is None:
        return tuple(Probe(tuple(chat), longest) for chat in prompts.chats)
    return tuple(
        Probe(tuple(chat), longest, partial(_value, prompts.scorer, item))
        for chat, item in zip(prompts.chats, prompts.items, strict=True)
    )


def _value(scorer: Scorer, item: Sample, answer: str) -> float | None:
    return scorer.score(item, answer).value
