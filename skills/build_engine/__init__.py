"""The skill `build-engine`: turn a checkpoint into a deployable engine that answers as it does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...compute import Compute, Job, Resources, open_compute, run_job, where_it_runs
from ...core.artifact_refs import AdapterRef, CheckpointRef, PendingArtifact
from ...core.artifacts import ArtifactStore
from ...core.contract import Cost, Effect, Finding, StepContext, skill
from ...core.errors import AskError, BackendError
from ...core.install import not_installed
from ...core.machine import Machine
from ...core.workspace import Workspace
from ...engines.builders import BuildResult, EngineBuilder, WorkerCall
from ...engines.registry import TargetSubject, engine_target
from ..finetune.adapters import base_of, merged_checkpoint, size_with_base
from .bundle import differing_cases, save_bundle
from .prompts import calibration_prompts, parity_prompts
from .request import BuildEngineRequest, BuildEngineResult

if TYPE_CHECKING:
    from ...evals.parity import ParityScores

__all__ = ["BuildEngineRequest", "BuildEngineResult", "build", "build_engine", "run_as_job"]

_SHOWN = 5


def _preflight(request: BuildEngineRequest, machine: Machine, workspace: Workspace) -> Sequence[Finding]:
    found = where_it_runs(request.compute, workspace.settings, _resources(workspace))
    target = engine_target(request.target)
    if finding := not_installed(target.builds_with, *target.build_extras):
        found.append(finding)
    found += [refusal] if (refusal := _unmerged(request, workspace.artifacts)) else []
    found += _target_findings(request, machine, workspace)
    try:
        needed = 4 * _weights(request.model, workspace).size_bytes
    except PendingArtifact:
        needed = 0
    if needed / 1e9 > machine.disk_free_gb:
        found.append(
            Finding(
                level="stop",
                message=f"the build needs {needed / 1e9:.1f} GB, {machine.disk_free_gb:.1f} GB is free.",
                fix=f"Free space on the disk of {workspace.root}.",
            )
        )
    if not any(finding.level == "stop" for finding in found):
        found.append(Finding(level="ok", message=f"everything that {request.target} needs is installed."))
    return found


def _target_findings(
    request: BuildEngineRequest, machine: Machine, workspace: Workspace
) -> Sequence[Finding]:
    """What the target's own checks find; those of the checkpoint once it is there."""
    try:
        folder = _weights(request.model, workspace).folder
    except PendingArtifact:
        folder = None
    adapters = isinstance(request.model, AdapterRef)
    return engine_target(request.target).checks(TargetSubject(request.told, folder, adapters, machine))


def _estimate(request: BuildEngineRequest, machine: Machine, workspace: Workspace) -> Cost:
    """Minutes where the target knows them, as for a model of a few million weights on CPU."""
    size = _weights(request.model, workspace).size_bytes
    seconds = engine_target(request.target).build_s(size, request.parity_items)
    minutes = None if seconds is None else seconds / 60
    return Cost(minutes=minutes, gpu_hours=0, usd=0, disk_bytes=4 * size)


@skill(
    effect=Effect.WRITES,
    summary="Build a deployable engine from a checkpoint and check that both answer alike.",
    phrases=[
        "build an engine from {model}",
        "build an engine of {model}",
        "build an engine for {model}",
        "build the engine from {model}",
        "build the engine of {model}",
        "build the engine for {model}",
        "build {target} from {model}",
        "build {target} of {model}",
        "build an engine",
        "build the engine",
        "build a bundle from {model}",
        "build a bundle of {model}",
        "build engine from {model}",
        "build it",
        "build bundle from {model}",
        "make an engine from {model}",
        "make an engine of {model}",
        "make a bundle from {model}",
        "create an engine from {model}",
        "create a bundle from {model}",
        "quantise {model}",
        "quantize {model}",
        "compile {model}",
        "convert {model} to {target}",
        "convert {model} to an engine",
        "export {model} as {target}",
        "export {model} to {target}",
        "package {model}",
        "engine from {model}",
        "engine of {model}",
        "quantisation of {model}",
        "quantization of {model}",
        "generate an engine from {model}",
        "produce an engine from {model}",
        "turn {model} into an engine",
        "convert {model} in an engine",
        "convert {model} in engine",
        "transform {model} into an engine",
        "convert {model} into {target}",
        "convert {model} into an engine",
        "shrink {model} to {target}",
        "get an engine from {model}",
        "engine for {model}",
        "build {model} as {target}",
        "build {model} to {target}",
        "build {model} for {target}",
        "build {model} into an engine",
        "package {model} as {target}",
        "prepare {model} for serving",
        "get {model} ready for serving",
        "get {model} ready to serve",
        "get {model} ready to deploy",
        "make {model} smaller",
        "make {model} deployable",
        "make an engine out of {model}",
        "make engine from {model}",
        "make engine out of {model}",
        "build an engine out of {model}",
        "compress {model} to {target}",
        "compress {model}",
        "shrink {model}",
        "get {target} out of {model}",
        "make {target} out of {model}",
        "create an engine of {model}",
        "create an engine for {model}",
        "turn {model} into a bundle",
        "engine out of {model}",
        "prepare an engine from {model}",
        "prepare an engine of {model}",
        "engine build of {model}",
        "engine build from {model}",
        "building of an engine from {model}",
        "make {model} ready for serving",
        "make {model} ready to serve",
        "prepare {model} for deployment",
        "build a deployable engine from {model}",
        "make a deployable engine from {model}",
        "make a deployable engine of {model}",
        "compile {model} to {target}",
        "compile {model} into {target}",
        "quantised version of {model}",
    ],
    preflight=_preflight,
    estimate=_estimate,
)
def build_engine(request: BuildEngineRequest, ctx: StepContext) -> BuildEngineResult:
    """Export and quantise a checkpoint, and refuse the engine when it answers differently.

    Of adapters the engine holds the base and, in a file of their own, the adapters.

    Example: `/build-engine model=checkpoint:3f2a target=onnx-int8`
    """
    if refusal := _unmerged(request, ctx.artifacts):
        raise AskError(f"{refusal.message} {refusal.fix}")
    found = _target_findings(request, Machine.here(ctx.workspace.root), ctx.workspace)
    if stop := next((one for one in found if one.level == "stop"), None):
        raise AskError(f"{stop.message} {stop.fix}".strip())
    target = engine_target(request.target)
    if isinstance(request.model, AdapterRef) and target.adapter_builder is not None:
        adapters = ctx.artifacts.open(request.model).path
        return build(request, ctx, target.adapter_builder(request.told, adapters))
    return build(request, ctx, target.builder(request.told))


def build(request: BuildEngineRequest, ctx: StepContext, builder: EngineBuilder) -> BuildEngineResult:
    """The skill, with the builder that makes the engine."""
    weights = _weights(request.model, ctx.workspace)
    prompts = parity_prompts(
        ctx, request.model, request.parity_items, request.parity_data, request.parity_suite, request.trust
    )
    calibrates = engine_target(request.target).calibrates(request.told)
    ctx.log(f"building {request.target} and trying it on {len(prompts.chats)} prompts of {prompts.where}")
    log = ctx.workspace.logs / f"build-engine-{ctx.run_id}-{ctx.step_id}.log"
    backend = open_compute(request.compute, ctx.settings)
    built = builder.build(
        weights.folder,
        ctx.workdir / "build",
        prompts.chats,
        calibration=calibration_prompts(ctx, request.model, request.calibration_items) if calibrates else (),
        max_new_tokens=request.max_new_tokens,
        min_agreement=request.min_agreement,
        threads=ctx.settings.train.threads,
        kept=ctx.workspace.root / "cache" / "quantised",
        run=partial(run_as_job, ctx, backend, log),
    )
    fell_back = _fell_back(request, built)
    if fell_back is not None:
        ctx.log(fell_back)
    agreed, scores = sum(case.agrees for case in built.cases), prompts.scores(built.cases)
    ctx.metric("agreement", built.agreement)
    ctx.metric("engine_bytes", built.size_bytes)
    if built.agreement < request.min_agreement:
        raise BackendError(_refusal(request, built, agreed), log=log)
    if scores is not None and scores.checkpoint - scores.engine > request.max_score_drop:
        raise BackendError(_score_refusal(request, scores), log=log)
    return BuildEngineResult(
        bundle=save_bundle(request, ctx, built, prompts, scores),
        target=built.target,
        fell_back=fell_back,
        agreement=built.agreement,
        agreed=agreed,
        n=len(built.cases),
        metric=scores.metric if scores is not None else None,
        checkpoint_score=scores.checkpoint if scores is not None else None,
        engine_score=scores.engine if scores is not None else None,
        size_bytes=built.size_bytes,
        compute=ctx.job.backend if ctx.job else backend.name,
        not_run=built.facts.get("not_run"),
    )


class _Weights(NamedTuple):
    """The folder that an engine is exported from, and the bytes of all that it is made of."""

    folder: Path
    size_bytes: int


def _weights(model: CheckpointRef | AdapterRef, workspace: Workspace) -> _Weights:
    """A checkpoint's own folder; of adapters that of the base they were trained on."""
    artifact = workspace.artifacts.open(model)
    if not isinstance(model, AdapterRef):
        return _Weights(artifact.path, artifact.size_bytes)
    base = base_of(artifact, workspace)
    return _Weights(base, size_with_base(artifact, base))


def _unmerged(request: BuildEngineRequest, store: ArtifactStore) -> Finding | None:
    """Why no engine of a target is built from adapters, and the checkpoint with them merged, where known."""
    model = request.model
    if not isinstance(model, AdapterRef) or engine_target(request.target).adapter_builder is not None:
        return None
    merged = None if model.is_pending else merged_checkpoint(store.open(model), store)
    return Finding(
        level="stop",
        message=f"{request.target} is built from merged weights; {model.short} is adapters.",
        fix=f"Build from {merged or 'the checkpoint of the same training'}, which has them merged.",
    )


def run_as_job(ctx: StepContext, backend: Compute, log: Path, call: WorkerCall) -> Path:
    """Carry a builder's work out on the compute backend."""
    job = Job(
        name="build-engine",
        key=ctx.idempotency_key,
        command=call.command,
        folder=call.folder,
        log=log,
        inputs=call.inputs,
        outputs=call.outputs,
        resources=_resources(ctx.workspace),
        environment=dict(call.environment),
    )
    return run_job(ctx, job, backend, prepare=call.prepare).folder


def _resources(workspace: Workspace) -> Resources:
    return Resources(cpus=workspace.settings.train.threads)


def _fell_back(request: BuildEngineRequest, built: BuildResult) -> str | None:
    """Which precisions were tried before the one that was built, and how often they agreed."""
    tried = built.facts.get("fell_back")
    if not tried:
        return None
    told = ", ".join(
        f"{one['precision']} answered {one['agree']} of {one['n']} prompts alike" for one in tried
    )
    return (
        f"{request.target} was asked for and {built.target} built: {told}, under {request.min_agreement:.1%}."
    )


def _refusal(request: BuildEngineRequest, built: BuildResult, agreed: int) -> str:
    differing = "; ".join(
        f"{case.text!r}: checkpoint {case.checkpoint!r}, engine {case.engine!r}"
        for case in differing_cases(built)[:_SHOWN]
    )
    return (
        f"the {built.target} engine answers {agreed} of {len(built.cases)} prompts as its checkpoint does "
        f"({built.agreement:.1%}; at least {request.min_agreement:.1%} was asked), so it was not saved. "
        f"They differ on {differing}. Choose a target of higher precision or lower min_agreement."
    )


def _score_refusal(request: BuildEngineRequest, scores: ParityScores) -> str:
    return (
        f"the {request.target} engine scores {scores.engine:.1%} by {scores.metric}, its checkpoint "
        f"{scores.checkpoint:.1%}: more than max_score_drop {request.max_score_drop:g} lost, so it was not "
        "saved. Choose a target of higher precision or a larger max_score_drop."
    )
