"""The paraphrases of an evaluation: who writes them, who is told of it, and how many can be used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...core.contract import Finding, StepContext
from ...data.alterations import PARAPHRASE, own_paraphrase
from ...evals.server_settings import sent_to
from .judging import server_access
from .request import EvaluateRequest

if TYPE_CHECKING:
    from ...data.sample import Sample
    from ...evals.runner import EvalResult
    from ...evals.suites import Suite


def paraphrases_for(
    request: EvaluateRequest, ctx: StepContext, suite: Suite, measured: EvalResult
) -> tuple[Sequence[Sample], dict[str, Any]]:
    """The measured items in other words, where that is asked for; and what a report says of them."""
    from dataclasses import replace

    from ...evals.paraphrases import paraphrases_of

    if PARAPHRASE not in request.robustness:
        return (), {}
    items = suite.items_by_id(item.id for item in measured.items)
    access = replace(
        server_access(request, ctx), progress=lambda done, of: ctx.progress(done, of, "paraphrases")
    )
    found = paraphrases_of(items, suite.task, request.paraphraser, access)
    return found.items, found.facts()


def paraphrase_findings(request: EvaluateRequest, suite: Suite) -> list[Finding]:
    """Who is sent the questions; a stop where nobody writes paraphrases, or nobody asks for them."""
    if PARAPHRASE not in request.robustness:
        if request.paraphraser is None:
            return []
        message = "a paraphraser is named, and `robustness` does not ask for `paraphrase`."
        return [Finding(level="stop", message=message, fix="Add it, or leave `paraphraser` out.")]
    if request.paraphraser is not None:
        return [sent_to("paraphraser", request.paraphraser, "questions")]
    own = sum(own_paraphrase(item) is not None for item in suite.items)
    message = f"{own:,} of {len(suite.items):,} items of suite {suite.name} bring a paraphrase"
    fix = "Name a `paraphraser: {url: ..., model: ...}`, or map a column of the suite as `paraphrase`."
    if not own:
        return [Finding(level="stop", message=f"{message}, and no paraphraser is named.", fix=fix)]
    return [Finding(level="ok" if own == len(suite.items) else "warn", message=f"{message}.", fix=fix)]


def unusable_paraphrases(measured: EvalResult) -> list[str]:
    """In words, how many items have no usable paraphrase, and why; nothing where all have one."""
    known = measured.paraphrases
    if not known or not known["refused"]:
        return []
    reasons = ", ".join(f"{reason}: {count:,}" for reason, count in known["refused"].items())
    return [f"{known['usable']:,} of {known['asked']:,} items have a usable paraphrase (refused: {reasons})"]
