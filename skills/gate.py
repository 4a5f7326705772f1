"""The skill `gate`: an eval report judged by criteria that the plan fixed before training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from ..core.artifact_refs import BundleRef, EvalReportRef, parse_ref
from ..core.artifacts import ArtifactStore
from ..core.contract import Effect, Finding, Request, Result, StepContext, skill
from ..core.errors import AskError, did_you_mean
from ..core.gate import GateSpec, Verdict
from ..core.machine import Machine
from ..core.suite_source import suite_name
from ..core.workspace import Workspace

if TYPE_CHECKING:
    from ..evals.gate_eval import Incumbent
    from ..evals.gate_power import StableFigures
    from ..evals.runner import EvalResult


_NAME_THE_FILE = (
    "Name its file in the gate (`suite: FILE` beside its `min`), or evaluate it in a step of this plan: by a "
    "name that only files have, no report can make the gate say GO."
)


class GateRequest(Request):
    """A report and the criteria."""

    report: EvalReportRef = Field(description="Eval report to judge.")
    spec: GateSpec = Field(description="Criteria, as in a plan's `gates`.")


class GateResult(Result):
    """The verdict, with the row behind each criterion."""

    verdict: Verdict
    model: str = Field(description="What the report measured.")
    against: str | None = Field(description="Stable release it was compared with, if any.")


def _preflight(request: GateRequest, machine: Machine, workspace: Workspace) -> Iterator[Finding]:
    """What is wrong with the criteria, and what they can show, before anything is trained for them."""
    from ..evals.gate_eval import check_criteria
    from ..evals.gate_power import power_findings
    from ..evals.suites import load_suite

    check_criteria(request.spec)
    suite = load_suite(request.spec.suite)
    metrics = [scorer.metric for scorer in suite.specs]
    spec = request.spec.model_copy(update={"metric": request.spec.metric or metrics[0]})
    if spec.metric not in metrics:
        raise AskError(
            f"unknown metric '{spec.metric}' (suite {suite.name} has: {', '.join(metrics)})."
            + did_you_mean(spec.metric, metrics)
        )
    yield from power_findings(spec, suite, _stable_figures(spec, workspace))
    yield from _required_suites(spec)
    judged = workspace.artifacts.open(request.report)
    yield Finding(level="ok", message=f"the report measures {judged.facts['model']}.")


def _required_suites(spec: GateSpec) -> Iterator[Finding]:
    """Required suites that nobody knows: neither by name, nor by a file."""
    from ..evals.gate_evidence import required_suite
    from ..evals.suites import load_suite

    for name, bar in spec.suites.items():
        try:
            load_suite(required_suite(name, bar))
        except AskError as error:
            if bar.suite is not None:
                yield Finding(level="stop", message=str(error))
            else:
                yield Finding(level="warn", message=str(error), fix=_NAME_THE_FILE)


def _stable_figures(spec: GateSpec, workspace: Workspace) -> StableFigures | None:
    """The stable release's figures on the suite; None when there is none."""
    from ..evals.gate_evidence import stable_figures
    from ..serving.releases import stable_release

    release = stable_release(workspace, spec.endpoint) if spec.against and spec.endpoint else None
    if release is None:
        return None
    return stable_figures(workspace.artifacts, release.bundle, suite_name(spec.suite))


@skill(
    effect=Effect.READS,
    summary="Judge an eval report by the plan's criteria: GO, NO_GO or INCONCLUSIVE, and the rows behind it.",
    phrases=[
        "gate {report}",
        "judge {report}",
        "decide on {report}",
        "check {report} against the gate",
        "does {report} pass",
        "does {report} meet the gate",
        "does {report} pass the gate",
        "decide whether {report} passes",
        "apply the gate to {report}",
        "does {report} clear the bar",
        "does {report} clear",
        "does {report} reach",
        "is {report} good enough",
        "is {report} a go",
        "check whether {report} passes",
        "check if {report} passes",
        "see if {report} passes",
        "see whether {report} passes",
        "decide if {report} passes",
        "say whether {report} passes",
        "verdict on {report}",
        "verdict for {report}",
        "give me the verdict on {report}",
        "give a verdict on {report}",
        "did {report} pass",
        "would {report} pass",
        "judgement of {report}",
        "judgement on {report}",
        "put {report} to the gate",
        "run the gate on {report}",
        "pass judgement on {report}",
        "measure {report} against",
    ],
    preflight=_preflight,
)
def gate(request: GateRequest, ctx: StepContext) -> GateResult:
    """Check bars, slices and, item by item, the endpoint's stable release; change nothing.

    Example: `/gate report=eval-report:3f2a91 spec='{"suite":"suites/shop.yaml","min":0.85}'`
    """
    from ..evals.gate_eval import judge
    from ..evals.gate_evidence import collect
    from ..evals.report import read_report

    measured = read_report(ctx.artifacts.open(request.report))
    incumbent = _incumbent(request.spec, measured, ctx)
    evidence = collect(ctx.workspace, request.spec, request.report, measured, incumbent)
    verdict = judge(request.spec, measured, incumbent, evidence)
    for row in verdict.rows:
        ctx.log(f"{row.decision}: {row.name}: {row.message}")
    for note in verdict.notes:
        ctx.log(f"note: {note}")
    return GateResult(verdict=verdict, model=measured.model, against=incumbent.release if incumbent else None)


def _incumbent(spec: GateSpec, measured: EvalResult, ctx: StepContext) -> Incumbent | None:
    """The stable release of the gate's endpoint with its report on the suite; None when there is none."""
    if spec.against is None:
        return None
    if spec.endpoint is None:
        raise AskError("`against: stable` needs the gate's `endpoint`. Name it.")
    from ..serving.releases import stable_release

    release = stable_release(ctx.workspace, spec.endpoint)
    if release is None:
        return None
    return find_incumbent(ctx.artifacts, release.bundle, release.id, measured, spec.suite)


def find_incumbent(
    store: ArtifactStore,
    bundle: BundleRef,
    release: str,
    measured: EvalResult,
    suite: str | Path | None = None,
) -> Incumbent:
    """A release beside its newest report on the same items, of its bundle or of the checkpoint behind it.

    What the new model was measured as, bundle or checkpoint, goes first; then the report with most items.
    """
    from ..evals.gate_eval import Incumbent
    from ..evals.lineage import built_from
    from ..evals.report import read_report

    models = [str(ref) for ref in (bundle, built_from(store, bundle)) if ref is not None]
    alike = [model for model in models if model.partition(":")[0] == measured.model.partition(":")[0]]
    found = []
    for age, (ref, manifest) in enumerate(store.list("eval-report")):
        facts = manifest["facts"]
        if facts["model"] in models and facts["suite_digest"] == measured.suite_digest:
            found.append((facts["model"] not in alike, -facts["n"], age, ref))
    command = f"opswright evaluate model={bundle} suite={suite or measured.suite}"
    best = parse_ref(min(found)[3]) if found else None
    return Incumbent(release, read_report(store.open(best)) if best else None, command)
