"""The skill `evaluate`: what a model answers to a suite, beside what simple baselines do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from ...core.artifact_refs import ArtifactRef, GuardrailRef
from ...core.contract import Effect, StepContext, skill
from .asked_suite import asked_suite
from .beside import Beside
from .checks import estimate, preflight
from .engine import open_engine
from .judging import server_access
from .outcome import losses_of, result_of, save_report, tell_metrics
from .paraphrasing import paraphrases_for
from .request import EvaluateRequest, EvaluateResult, Robustness, SliceFigure
from .training import datasets_behind, learned_from_itself, training_data, with_leaks

if TYPE_CHECKING:
    from ...evals.runner import EvalResult
    from ...evals.scorers import Scorer
    from ...evals.suites import SliceRule, Suite

__all__ = ["EvaluateRequest", "EvaluateResult", "Robustness", "SliceFigure", "evaluate"]


@skill(
    effect=Effect.WRITES,
    summary="Ask a model every item of a suite; scores, slices and intervals, beside baselines.",
    phrases=[
        "evaluate {model} on {suite}",
        "run an evaluation of {model} on {suite}",
        "grade {model} on {suite}",
        "evaluation of {model} on {suite}",
        "eval {model} on {suite}",
        "test {model} on {suite}",
        "measure {model} on {suite}",
        "score {model} on {suite}",
        "benchmark {model} on {suite}",
        "assess {model} on {suite}",
        "check how good {model} is on {suite}",
        "check the quality of {model} on {suite}",
        "see how good {model} is on {suite}",
        "find out how good {model} is on {suite}",
        "run {suite} on {model}",
        "run the suite {suite} on {model}",
        "how good is {model} on {suite}",
        "how well does {model} do on {suite}",
        "how does {model} do on {suite}",
        "how accurate is {model} on {suite}",
        "see how {model} does on {suite}",
        "see how well {model} does on {suite}",
        "find out how well {model} does on {suite}",
        "check how well {model} does on {suite}",
        "how does {model} perform on {suite}",
        "how well does {model} perform on {suite}",
        "rate {model} on {suite}",
        "reevaluate {model} on {suite}",
        "run {model} through {suite}",
        "test {model} against {suite}",
        "evaluate {model} against {suite}",
        "give me the score of {model} on {suite}",
        "get a score for {model} on {suite}",
        "get the score of {model} on {suite}",
        "what does {model} score on {suite}",
        "how does {model} score on {suite}",
        "how well does {model} score on {suite}",
        "see what {model} scores on {suite}",
        "tell me how good {model} is on {suite}",
        "tell me how {model} does on {suite}",
        "how {model} does on {suite}",
        "how good {model} is on {suite}",
        "measure how good {model} is on {suite}",
        "measure how well {model} does on {suite}",
        "mark {model} on {suite}",
        "check {model} with the suite {suite}",
        "check {model} on the suite {suite}",
        "check {model} against the suite {suite}",
        "run the evaluation of {model} on {suite}",
        "verify {model} on {suite}",
        "verify {model} with {suite}",
        "validate {model} on {suite}",
        "try {model} on {suite}",
        "evaluation for {model} on {suite}",
        "quiz {model} on {suite}",
        "examine {model} on {suite}",
        "run {model} over {suite}",
        "apply {suite} to {model}",
        "how does {model} fare on {suite}",
        "how good does {model} do on {suite}",
        "what does {model} get on {suite}",
        "what is the score of {model} on {suite}",
        "what score does {model} get on {suite}",
        "how many of {suite} does {model} get right",
        "how strong is {model} on {suite}",
        "compare {model} with the baselines on {suite}",
        "evaluation {model} on {suite}",
        "tell me how {model} scores on {suite}",
        "see how {model} scores on {suite}",
    ],
    preflight=preflight,
    estimate=estimate,
    reusable=lambda request: isinstance(request.model, ArtifactRef),  # what an endpoint answers may change
)
def evaluate(request: EvaluateRequest, ctx: StepContext) -> EvaluateResult:
    """Run a suite by greedy generation or by likelihood, score it, and keep every item in an eval report.

    Baselines are fitted on the rows the model was trained on; items found among them are counted as leaked.

    Example: `/evaluate model=checkpoint:3f2a91 suite=suites/shop.yaml`
    """
    from ...evals.baselines import BaselineRun
    from ...evals.lineage import own_answers_in
    from ...evals.report import facts_of
    from ...evals.robustness import robustness_facts
    from ...evals.shortcuts import to_facts
    from ...record.index import LedgerIndex

    suite = asked_suite(request)
    slices = suite.slices(request.slices)
    scorers = suite.load_scorers(request.trust, server_access(request, ctx))
    train, notes = training_data(request, ctx)  # before the model runs: a wrong reference shows at once
    learned_from = datasets_behind(request, train, ctx)
    measured, reused = _measured(request, ctx, suite, scorers, slices)
    measured = with_leaks(measured, learned_from, ctx)
    beside = Beside(ctx, suite, scorers, slices, train)
    fits = request.baselines and not isinstance(request.model, GuardrailRef)
    run = beside.baselines(measured) if fits else BaselineRun(())
    scored = {one.name: beside.scored(one, measured) for one in run.baselines}
    shortcuts = beside.shortcuts(measured) if fits and not suite.asks_server else []
    groups = [*suite.groups, *(name for name in request.slices if name not in suite.groups)]
    facts = facts_of(measured, len(suite.items), scored, groups)
    facts |= {"shortcuts": to_facts(shortcuts), "robustness": robustness_facts(measured)}
    facts["own_answers"] = own_answers_in(LedgerIndex.of(ctx.workspace), learned_from)
    report = save_report(request, ctx, measured, facts, run, scored, train)
    tell_metrics(facts, ctx)
    losses = losses_of(measured, run, shortcuts, suite, request, ctx.workspace)
    for line in losses:
        ctx.log(line)
    note = "; ".join([*notes, *learned_from_itself(facts["own_answers"]), *losses])
    return result_of(report, measured, facts, reused, note)


def _measured(
    request: EvaluateRequest,
    ctx: StepContext,
    suite: Suite,
    scorers: Sequence[Scorer],
    slices: Mapping[str, SliceRule],
) -> tuple[EvalResult, int]:
    """What the model answered to the items, as they are and altered; and how many answers were known."""
    from dataclasses import replace

    from ...evals.answer_cache import CachedEngine
    from ...evals.robustness import run_altered
    from ...evals.runner import embedders_of, judges_of, run_suite

    def progress(done: int, of: int) -> None:
        ctx.progress(done, of, "items")

    with closing(open_engine(request, ctx, suite.is_plain)) as engine:
        plain = run_suite(
            suite,
            engine,
            str(request.model),
            slices=slices,
            limit=request.limit,
            max_new_tokens=request.max_new_tokens,
            scorers=scorers,
            progress=progress,
        )
        paraphrased, paraphrases = paraphrases_for(request, ctx, suite, plain)
        variants = run_altered(
            suite,
            engine,
            plain,
            request.robustness,
            scorers=scorers,
            max_new_tokens=request.max_new_tokens,
            paraphrased=paraphrased,
            progress=progress,
        )
        embedders = embedders_of(scorers)
        judges = judges_of(scorers, suite.items_by_id([item.id for item in plain.items]), plain.items)
    measured = replace(plain, variants=variants, judges=judges, embedders=embedders, paraphrases=paraphrases)
    return measured, engine.reused if isinstance(engine, CachedEngine) else 0
