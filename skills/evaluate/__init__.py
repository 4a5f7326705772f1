"""The skill `evaluate`: what a model answers to a suite, beside what simple baselines do."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from ...core.artifact_refs import (
    AdapterRef,
    ArtifactRef,
    BundleRef,
    CheckpointRef,
    ClassifierRef,
    DatasetRef,
    EvalReportRef,
    GuardrailRef,
    PendingArtifact,
)
from ...core.contract import Cost, Effect, Finding, StepContext, skill
from ...core.errors import AskError, OpswrightError
from ...core.install import not_installed
from ...core.machine import Machine
from ...core.workspace import Workspace
from .beside import Beside
from .engine import missing_for, open_engine, size_of
from .judging import changes_of_mind, judge_figures, judge_findings, server_access
from .labels import check_task, label_findings, labels_beside
from .paraphrasing import paraphrase_findings, paraphrases_for, unusable_paraphrases
from .request import EvaluateRequest, EvaluateResult, ParaphraseFigures, Robustness, SliceFigure

if TYPE_CHECKING:
    from ...evals.baselines import BaselineRun
    from ...evals.runner import EvalResult
    from ...evals.scorers import Scorer
    from ...evals.shortcuts import Shortcut
    from ...evals.suites import SliceRule, Suite

__all__ = ["EvaluateRequest", "EvaluateResult", "Robustness", "SliceFigure", "evaluate"]

_MODULES = {
    CheckpointRef: ("torch", "transformers"),
    AdapterRef: ("torch", "transformers", "peft"),
    ClassifierRef: ("torch", "transformers"),
}
_TINY_BYTES = 20_000_000
# About 1 M parameters on two busy cores.
_MS_PER_ITEM = {CheckpointRef: 3.0, AdapterRef: 4.0, ClassifierRef: 1.0, BundleRef: 1.0, GuardrailRef: 1.0}
_START_S = {CheckpointRef: 12.0, AdapterRef: 15.0, ClassifierRef: 12.0, BundleRef: 1.0, GuardrailRef: 3.0}
_BASELINES_S = 8.0
_SHORT_TOKENS = 32  # answers for which those rates hold


def _preflight(request: EvaluateRequest, machine: Machine, workspace: Workspace) -> Sequence[Finding]:
    found = []
    if finding := not_installed(_MODULES.get(type(request.model), ()), "train"):
        found.append(finding)
    if isinstance(request.model, GuardrailRef) and (finding := not_installed(["nemoguardrails"], "guard")):
        return [finding]
    if request.api_key_env and not os.environ.get(request.api_key_env):
        found.append(Finding(level="stop", message=f"environment variable {request.api_key_env} is not set."))
    try:
        suite = _suite(request)
        suite.slices(request.slices)
        found += judge_findings(suite)
        found += paraphrase_findings(request, suite)
        for file in suite.check_scorers(request.trust):  # nobody has agreed to run it yet
            message = f"Python code scores the answers: {file}."
            found.append(Finding(level="warn", message=message, fix="Read it before you approve the plan."))
        found.append(Finding(level="ok", message=f"suite {suite.name} has {len(suite.items)} items."))
        if (few := min(len(suite.items), request.limit or 1 << 60)) < suite.min_items:
            message = f"{few} items are asked; suite {suite.name} wants at least {suite.min_items}."
            found.append(Finding(level="warn", message=message))
        for ref in (request.model, request.train):
            if isinstance(ref, ArtifactRef):
                workspace.artifacts.open(ref)
        if finding := missing_for(request, workspace):
            found.append(finding)
        if isinstance(request.model, ClassifierRef):
            found += label_findings(request.model, suite, workspace)
    except PendingArtifact as error:
        found.append(Finding(level="ok", message=f"checked when it runs: {error}."))
    except OpswrightError as error:
        found.append(Finding(level="stop", message=str(error)))
    return found


def _estimate(request: EvaluateRequest, machine: Machine, workspace: Workspace) -> Cost:
    """Minutes by items and a measured rate for the tiny model; unknown for larger ones and for endpoints."""
    suite = _suite(request)
    asks_server = suite.asks_server or request.paraphraser is not None
    if not isinstance(request.model, ArtifactRef) or asks_server:
        tokens = None if asks_server else 0
        return Cost(gpu_hours=0, disk_bytes=4_000_000, tokens=tokens)
    size = size_of(request.model, workspace)
    is_short = (request.max_new_tokens or suite.longest_answer) <= _SHORT_TOKENS
    if size > _TINY_BYTES or not is_short:
        return Cost(gpu_hours=None if machine.gpus else 0, usd=0, disk_bytes=4_000_000)
    kind = type(request.model)
    items = min(len(suite.items), request.limit or 1 << 60)
    seconds = _START_S[kind] + items * _MS_PER_ITEM[kind] / 1000 + (_BASELINES_S if request.baselines else 0)
    return Cost(minutes=seconds / 60, gpu_hours=0, usd=0, disk_bytes=4_000_000)


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
    ],
    preflight=_preflight,
    estimate=_estimate,
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

    suite = _suite(request)
    slices, scorers = (
        suite.slices(request.slices),
        suite.load_scorers(request.trust, server_access(request, ctx)),
    )
    train, note = _training_data(request, ctx)  # before the model runs: a wrong reference shows at once
    measured, reused = _measured(request, ctx, suite, scorers, slices)
    measured = _with_leaks(measured, request, train, ctx)
    beside = Beside(ctx, suite, scorers, slices, train)
    fits = request.baselines and not isinstance(request.model, GuardrailRef)
    run = beside.baselines(measured) if fits else BaselineRun(())
    scored = {one.name: beside.scored(one, measured) for one in run.baselines}
    shortcuts = beside.shortcuts(measured) if fits and not suite.asks_server else []
    groups = [*suite.groups, *(name for name in request.slices if name not in suite.groups)]
    facts = facts_of(measured, len(suite.items), scored, groups)
    facts |= {"shortcuts": to_facts(shortcuts), "robustness": robustness_facts(measured)}
    facts["own_answers"] = own_answers_in(LedgerIndex.of(ctx.workspace), _learned_from(request, train, ctx))
    report = _save(request, ctx, measured, facts, run, scored, train)
    _tell(facts, ctx)
    note = "; ".join(filter(None, (note, *_looped(facts["own_answers"]))))
    note = _with_losses(note, measured, run, shortcuts, suite, request, ctx)
    return _result(report, measured, facts, reused, note)


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

    model, most = str(request.model), request.max_new_tokens
    with closing(open_engine(request, ctx, suite.is_plain)) as engine:
        plain = run_suite(suite, engine, model, slices, request.limit, progress, most, scorers)
        paraphrased, paraphrases = paraphrases_for(request, ctx, suite, plain)
        variants = run_altered(suite, engine, plain, request.robustness, progress, most, scorers, paraphrased)
        embedders = embedders_of(scorers)
        judges = judges_of(scorers, suite.items_by_id([item.id for item in plain.items]), plain.items)
    measured = replace(plain, variants=variants, judges=judges, embedders=embedders, paraphrases=paraphrases)
    return measured, engine.reused if isinstance(engine, CachedEngine) else 0


def _result(
    report: EvalReportRef, measured: EvalResult, facts: Mapping[str, Any], reused: int, note: str
) -> EvaluateResult:
    return EvaluateResult(
        report=report,
        suite=measured.suite,
        n=facts["n"],
        errors=measured.errors,
        cut=measured.cut,
        refused=measured.refused,
        metric=measured.metric,
        value=facts["value"],
        low=facts["low"],
        high=facts["high"],
        metrics={name: figures["value"] for name, figures in facts["metrics"].items()},
        unscored=facts["unscored"],
        slices={name: SliceFigure(**figures) for name, figures in facts["slices"].items()},
        baselines={name: figures["value"] for name, figures in facts["baselines"].items()},
        trivial=facts["trivial"],
        shortcuts={name: figures["value"] for name, figures in facts["shortcuts"].items()},
        robustness={name: Robustness(**figures) for name, figures in facts["robustness"].items()},
        reused=reused,
        leaked=measured.leaked,
        judges={name: judge_figures(one) for name, one in measured.judges.items()},
        paraphrases=ParaphraseFigures(**measured.paraphrases) if measured.paraphrases else None,
        p50_ms=facts["latency_ms"]["p50"],
        p95_ms=facts["latency_ms"]["p95"],
        totals=dict(measured.totals),
        note=note,
    )


def _suite(request: EvaluateRequest) -> Suite:
    """The suite that is asked, judged by whom the request names."""
    from dataclasses import replace

    from ...evals.suites import load_suite

    suite = load_suite(request.suite)
    if isinstance(request.model, GuardrailRef):
        from .guard_engine import check_decides

        check_decides(suite.name, [spec.name for spec in suite.specs])
    if isinstance(request.model, ClassifierRef):
        check_task(suite)
    if suite.lm_eval is not None:
        _check_fits(request, suite)
    if request.judge is None:
        return suite
    if not suite.asks_judge:
        raise AskError(f"suite {suite.name} has no scorer that asks a judge. Leave `judge` out.")
    return replace(suite, judge=request.judge)


def _check_fits(request: EvaluateRequest, suite: Suite) -> None:
    """AskError for what a task of lm-evaluation-harness cannot be asked."""
    if suite.is_plain and not isinstance(request.model, CheckpointRef | AdapterRef):
        raise AskError(
            f"suite {suite.name} puts plain text to a model, which only a checkpoint or adapters take. Build "
            f"it with chats: `opswright suites lm-eval {suite.name} --chat`."
        )
    if request.robustness:
        raise AskError(
            f"the prompts of suite {suite.name} are built, so none can be altered: leave `robustness` out."
        )


def _tell(facts: Mapping[str, Any], ctx: StepContext) -> None:
    """The report's figures as metrics of the step."""
    metric = facts["metric"]
    for name, figures in facts["metrics"].items():
        if figures["value"] is not None:
            ctx.metric(name, figures["value"])
    for name, figures in facts["slices"].items():
        if figures["value"] is not None:
            ctx.metric(f"{metric}.{name}", figures["value"])
    others = {"baseline": facts["baselines"], "shortcut": facts["shortcuts"], "with": facts["robustness"]}
    for kind, found in others.items():
        for name, figures in found.items():
            if figures["value"] is not None:
                ctx.metric(f"{kind}.{name}", figures["value"])


def _training_data(request: EvaluateRequest, ctx: StepContext) -> tuple[DatasetRef | None, str]:
    """The model's training dataset, and what is missing without it."""
    from ...evals.lineage import training_dataset

    if isinstance(request.model, GuardrailRef):  # rails are written, not trained
        return None, ""
    if request.train is not None:
        ctx.artifacts.open(request.train)
        return request.train, ""
    found = training_dataset(ctx.artifacts, request.model) if isinstance(request.model, ArtifactRef) else None
    if found is not None:
        return found, ""
    note = (
        "the training rows of this model are not known, so there are no baselines and leaked items were not "
        "looked for; give them as train"
    )
    ctx.log(note)
    return None, note


def _looped(own_answers: int) -> list[str]:
    """That a model learns from its own kind, in words; empty where it does not."""
    if not own_answers:
        return []
    return [
        f"{own_answers:,} training rows have answers that endpoints of this workspace gave, so their faults "
        "are learned again; curate with own_answers=drop"
    ]


def _with_losses(
    note: str,
    measured: EvalResult,
    run: BaselineRun,
    shortcuts: Sequence[Shortcut],
    suite: Suite,
    request: EvaluateRequest,
    ctx: StepContext,
) -> str:
    """The note, and what was cut, never answered, never scored or is no better than a shortcut."""
    from ...evals.robustness import fallen

    losses = []
    if isinstance(request.model, ClassifierRef):
        losses += labels_beside(request.model, suite, ctx.workspace).in_words()
    if measured.cut:
        most = request.max_new_tokens or suite.longest_answer
        losses.append(
            f"{measured.cut} of {len(measured.items)} answers were cut at {most} tokens or by the model's "
            "context; raise max_new_tokens if right answers are longer"
        )
    if measured.refused:
        losses.append(f"{measured.refused} items do not fit into the model and count as wrong")
    for name in measured.scorers:
        faults = [item.faults[name] for item in measured.items if name in item.faults]
        if faults:
            losses.append(
                f"scorer {name} failed on {len(faults)} answers, which it does not count: {faults[0]}"
            )
    losses += changes_of_mind(measured)
    losses += [f"baseline {name} was left out: {why}" for name, why in run.skipped.items()]
    losses += [one.message for one in shortcuts if one.message]
    losses += fallen(measured)
    losses += unusable_paraphrases(measured)
    for line in losses:
        ctx.log(line)
    return "; ".join([*([note] if note else []), *losses])


def _with_leaks(
    measured: EvalResult, request: EvaluateRequest, train: DatasetRef | None, ctx: StepContext
) -> EvalResult:
    """The result with how many items the model has seen in training, in whichever stage of it."""
    from dataclasses import replace

    from ...evals.contamination import find_leaks

    datasets = _learned_from(request, train, ctx)
    if not datasets:
        return measured
    found = find_leaks(ctx.artifacts, datasets, [(item.text, item.group) for item in measured.items])
    return replace(measured, leaked=len(found))


def _learned_from(request: EvaluateRequest, train: DatasetRef | None, ctx: StepContext) -> list[DatasetRef]:
    """The datasets of every training behind the model, and the one that the asker names."""
    from ...evals.lineage import training_datasets

    stages = training_datasets(ctx.artifacts, request.model) if isinstance(request.model, ArtifactRef) else []
    return list(dict.fromkeys([*([] if train is None else [train]), *stages]))


def _save(
    request: EvaluateRequest,
    ctx: StepContext,
    measured: EvalResult,
    facts: dict[str, Any],
    run: BaselineRun,
    scored: Mapping[str, EvalResult],
    train: DatasetRef | None,
) -> EvalReportRef:
    from ...evals.baselines import to_document
    from ...evals.report import BASELINES, ITEMS, REPORT, VARIANTS, details_of
    from ...evals.runner import to_lines

    if isinstance(request.model, ArtifactRef):
        facts["size_bytes"] = size_of(request.model, ctx.workspace)
    if train is not None:
        facts["train_dataset"] = str(train)
    fit_s = {one.name: one.fit_s for one in run.baselines}
    report = {**facts, **details_of(measured), "fit_s": fit_s, "skipped_baselines": dict(run.skipped)}
    with ctx.artifacts.staging() as folder:
        (folder / ITEMS).write_bytes(to_lines(measured.items))
        (folder / REPORT).write_text(json.dumps(report, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
        if measured.variants:
            altered = {name: [item.line() for item in items] for name, items in measured.variants.items()}
            (folder / VARIANTS).write_text(json.dumps(altered, ensure_ascii=False) + "\n", encoding="utf-8")
        if run.baselines:
            ids = [item.id for item in measured.items]
            scores = {name: [dict(item.scores) for item in one.items] for name, one in scored.items()}
            document = to_document(run, ids) | {"scores": scores}
            (folder / BASELINES).write_text(json.dumps(document, sort_keys=True) + "\n")
        parents = [ref for ref in (request.model, train) if isinstance(ref, ArtifactRef)]
        return ctx.artifacts.save(EvalReportRef, folder, facts, parents)
