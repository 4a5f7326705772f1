"""What an evaluation hands over: its report, its result, its metrics, and what was lost on the way."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...core.artifact_refs import ArtifactRef, ClassifierRef, DatasetRef, EvalReportRef
from ...core.contract import StepContext
from ...core.workspace import Workspace
from .engine import size_of
from .judging import changes_of_mind, judge_figures
from .labels import labels_beside
from .paraphrasing import unusable_paraphrases
from .request import EvaluateRequest, EvaluateResult, ParaphraseFigures, Robustness, SliceFigure

if TYPE_CHECKING:
    from ...evals.baselines import BaselineRun
    from ...evals.runner import EvalResult
    from ...evals.shortcuts import Shortcut
    from ...evals.suites import Suite


def save_report(
    request: EvaluateRequest,
    ctx: StepContext,
    measured: EvalResult,
    facts: dict[str, Any],
    run: BaselineRun,
    scored: Mapping[str, EvalResult],
    train: DatasetRef | None,
) -> EvalReportRef:
    """The report as an artifact: every item, altered items, baselines, and the facts of them."""
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


def tell_metrics(facts: Mapping[str, Any], ctx: StepContext) -> None:
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


def losses_of(
    measured: EvalResult,
    run: BaselineRun,
    shortcuts: Sequence[Shortcut],
    suite: Suite,
    request: EvaluateRequest,
    workspace: Workspace,
) -> list[str]:
    """What was learned from, cut, never answered, never scored or is no better than a shortcut."""
    from ...evals.robustness import fallen

    losses = _seen_in_training(measured.leaked, len(measured.items))
    if isinstance(request.model, ClassifierRef):
        losses += labels_beside(request.model, suite, workspace).in_words()
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
    return losses


def _seen_in_training(leaked: int | None, items: int) -> list[str]:
    """That right answers may be memory, and how such rows are kept out; empty where none was seen."""
    if not leaked:
        return []
    return [
        f"{leaked:,} of {items:,} items are among the rows that this model learned from, so the score may be "
        "memory; make the suite's golden set with `golden`, give it to `curate` and train on what that leaves"
    ]


def result_of(
    report: EvalReportRef, measured: EvalResult, facts: Mapping[str, Any], reused: int, note: str
) -> EvaluateResult:
    """The step's result: the figures of its report that a plan or a person asks for first."""
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
