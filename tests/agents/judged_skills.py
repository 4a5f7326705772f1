"""Skills that build, measure, judge and serve in one line each, for what is tried against judgement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from opswright.core.artifact_refs import ArtifactRef, BundleRef, CheckpointRef, EvalReportRef, GuardrailRef
from opswright.core.contract import Effect, Request, Result, StepContext, skill
from opswright.core.gate import Check, Decision, Verdict
from opswright.core.workspace import Workspace


def save(workspace: Workspace, kind: type[Any], name: str, *parents: Any) -> Any:
    with workspace.artifacts.staging() as folder:
        (folder / "config.json").write_text(json.dumps({"name": name}))
        return workspace.artifacts.save(kind, folder, {"name": name}, parents)


class BuildRequest(Request):
    model: CheckpointRef
    claims: CheckpointRef | None = None


class BuildResult(Result):
    bundle: BundleRef


@skill(effect=Effect.WRITES, summary="Call a checkpoint an engine, or claim that it is another's.")
def build(ask: BuildRequest, ctx: StepContext) -> BuildResult:
    return BuildResult(bundle=save(ctx.workspace, BundleRef, "engine", ask.claims or ask.model))


class MeasureRequest(Request):
    model: CheckpointRef


class MeasureResult(Result):
    report: EvalReportRef


@skill(effect=Effect.WRITES, summary="Measure a model.")
def measure(ask: MeasureRequest, ctx: StepContext) -> MeasureResult:
    return MeasureResult(report=save(ctx.workspace, EvalReportRef, "figures", ask.model))


class AssessRequest(Request):
    report: EvalReportRef | None = None
    model: CheckpointRef | None = None
    decision: Decision = Decision.GO


class AssessResult(Result):
    verdict: Verdict


@skill(effect=Effect.READS, summary="Another gate than judge.")
def assess(ask: AssessRequest, ctx: StepContext) -> AssessResult:
    return AssessResult(verdict=Verdict.of([Check(name="told", decision=ask.decision)]))


class Share(BaseModel):
    model: CheckpointRef | BundleRef
    percent: int = 50


class SplitRequest(Request):
    models: tuple[CheckpointRef | BundleRef, ...] = ()
    named: dict[str, CheckpointRef | BundleRef] = Field(default_factory=dict)
    shares: tuple[Share, ...] = ()
    by_model: dict[CheckpointRef, int] = Field(default_factory=dict)
    rails: GuardrailRef | None = None


class SplitResult(Result):
    ok: bool = True


@skill(effect=Effect.SERVES, summary="Serve several models at once.")
def split(ask: SplitRequest, ctx: StepContext) -> SplitResult:
    Path("board.txt").write_text("served")
    return SplitResult()


class EndpointRequest(Request):
    endpoint: str = "support"


def _canary(ask: EndpointRequest, workspace: Workspace) -> list[ArtifactRef]:
    return [CheckpointRef(Path("canary.txt").read_text())]


@skill(effect=Effect.SERVES, summary="Serve what the endpoint has as its canary.", serves=_canary)
def advance(ask: EndpointRequest, ctx: StepContext) -> SplitResult:
    Path("board.txt").write_text("served")
    return SplitResult()


@skill(effect=Effect.SERVES, summary="Serve nothing of what it is given.", serves=lambda ask, workspace: ())
def withdraw(ask: SplitRequest, ctx: StepContext) -> SplitResult:
    return SplitResult()


class FenceRequest(Request):
    name: str


class FenceResult(Result):
    rails: GuardrailRef


@skill(effect=Effect.WRITES, summary="Make guardrails.")
def fence(ask: FenceRequest, ctx: StepContext) -> FenceResult:
    return FenceResult(rails=save(ctx.workspace, GuardrailRef, ask.name))


class ForestRequest(Request):
    names: tuple[str, ...] = ("a", "b")


class ForestResult(Result):
    trees: tuple[CheckpointRef, ...]
    best: dict[str, Share]


@skill(effect=Effect.WRITES, summary="Make several models.")
def forest(ask: ForestRequest, ctx: StepContext) -> ForestResult:
    trees = tuple(save(ctx.workspace, CheckpointRef, name) for name in ask.names)
    return ForestResult(trees=trees, best={"tree": Share(model=trees[0])})


MORE = (build, measure, assess, split, advance, withdraw, forest, fence)
