"""The skill `build-engine`: turn a checkpoint into a deployable engine that answers as it does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from ..compute import Compute, Job, Resources, open_compute, run_job, where_it_runs
from ..compute.phrasing import WHERE_IT_RUNS
from ..core.artifact_refs import (
    AdapterRef,
    ArtifactRef,
    BundleRef,
    CheckpointRef,
    DatasetRef,
    PendingArtifact,
)
from ..core.artifacts import ArtifactStore
from ..core.contract import Cost, Effect, Finding, InputPath, Request, Result, StepContext, skill
from ..core.errors import AskError, BackendError
from ..core.install import not_installed
from ..core.machine import Machine
from ..core.phrasing import Spoken
from ..core.suite_source import SuiteSource
from ..core.workspace import Workspace
from ..engines.builders import BuildResult, EngineBuilder, ParityCase, WorkerCall
from ..engines.registry import DEFAULT_TARGET, TargetOptions, TargetSubject, engine_target
from .engine_prompts import calibration_prompts, parity_prompts
from .finetune.adapters import base_of, merged_checkpoint, size_with_base

if TYPE_CHECKING:
    from ..evals.parity import ParityPrompts, ParityScores

_SHOWN = 5


def _known_target(name: str) -> str:
    try:
        return engine_target(name).name
    except AskError as error:
        raise PydanticCustomError("unknown_target", "{error}", {"error": str(error)}) from error


TargetName = Annotated[
    Literal["onnx-int8", "onnx-int4", "onnx-fp32", "trtllm", "trtllm-engine"] | str,  # what completion offers
    AfterValidator(_known_target),
]


class BuildEngineRequest(Request):
    """Which checkpoint becomes an engine of which kind, and how alike the two must answer."""

    model: CheckpointRef | AdapterRef = Field(
        description="Checkpoint to build from, or adapters, which stay unmerged beside their base."
    )
    target: Annotated[
        TargetName,
        Spoken(
            values={
                "onnx-int8": ("int8", "8 bit", "8 bits"),
                "onnx-int4": ("int4", "4 bit", "4 bits"),
                "onnx-fp32": ("fp32", "float32", "full precision"),
                "trtllm": ("tensorrt", "tensorrt-llm", "trt"),
            }
        ),
    ] = Field(
        DEFAULT_TARGET,
        description="Engine and precision: ONNX Runtime GenAI on CPU in int8, int4 or fp32, a bundle for "
        "TensorRT-LLM, or one that an installed package brings.",
    )
    parity_data: DatasetRef | None = Field(
        None, description="Take the parity prompts from this dataset's validation rows, not from a suite."
    )
    parity_suite: SuiteSource | None = Field(
        None,
        description="Suite that the parity prompts come from; empty: the one that the model was judged on by "
        "the record, else validation rows of its own dataset.",
    )
    trust: InputPath | None = Field(
        None, description="Folder whose Python scorers may be run; without it, none is."
    )
    parity_items: int = Field(1000, ge=1, le=1_000_000, description="Prompts of the parity check, at most.")
    min_agreement: float = Field(
        0.985, ge=0, le=1, description="Least share of prompts that engine and checkpoint answer alike."
    )
    max_score_drop: float = Field(
        0.015, ge=0, le=1, description="Largest drop of the suite's first score from checkpoint to engine."
    )
    max_new_tokens: int = Field(
        32, ge=1, le=4096, description="Longest answer of the parity check in tokens."
    )
    calibration_items: int = Field(
        128, ge=1, le=100_000, description="Training rows by which a target that calibrates chooses scales."
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="What the target may be told besides; `opswright targets NAME` lists it.",
    )
    compute: Annotated[str | None, WHERE_IT_RUNS] = Field(
        None,
        min_length=1,
        description="Where it runs: local, slurm, kubernetes or an installed backend; empty: as set.",
    )

    @field_validator("options")
    @classmethod
    def _of_the_target(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """The options with every default written out."""
        target = info.data.get("target")
        if target is None:
            return options
        return engine_target(target).options.model_validate(options).model_dump(mode="json")

    @property
    def told(self) -> TargetOptions:
        """The options as the target reads them."""
        return engine_target(self.target).options.model_validate(self.options)


class BuildEngineResult(Result):
    """The bundle and how closely it follows its checkpoint."""

    bundle: BundleRef = Field(description="The engine with its manifest.")
    target: str = Field(description="What was built: as asked, or a finer precision.")
    fell_back: str | None = Field(None, description="Why it is a finer precision; empty: it is as asked.")
    agreement: float = Field(description="Share of prompts answered alike, 0 to 1.")
    agreed: int = Field(description="Prompts answered alike.")
    n: int = Field(description="Prompts asked.")
    metric: str | None = Field(None, description="What scored the answers; empty: nothing did.")
    checkpoint_score: float | None = Field(None, description="Mean score of the checkpoint's answers.")
    engine_score: float | None = Field(None, description="Mean score of the engine's answers.")
    size_bytes: int = Field(description="Size of the engine.")
    compute: str = Field("local", description="Compute backend that ran the build.")
    not_run: str | None = Field(None, description="What this machine could not do; empty: nothing.")


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
        bundle=_save(request, ctx, built, prompts, scores),
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
        for case in _differing(built)[:_SHOWN]
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


def _differing(built: BuildResult) -> list[ParityCase]:
    return [case for case in built.cases if not case.agrees]


def _save(
    request: BuildEngineRequest,
    ctx: StepContext,
    built: BuildResult,
    prompts: ParityPrompts,
    scores: ParityScores | None,
) -> BundleRef:
    """The bundle: the engine and a manifest that says what it was made of, by what, and how it compares."""
    parity = {
        "agree": sum(case.agrees for case in built.cases),
        "n": len(built.cases),
        "agreement": round(built.agreement, 6),
        "min_agreement": request.min_agreement,
        "prompts": prompts.where,
        "scores": scores._asdict() if scores is not None else None,
        "unscored": prompts.unscored,
    }
    manifest = {
        "target": built.target,
        "checkpoint": str(request.model),
        "tools": dict(built.tools),
        "bytes": built.size_bytes,
        "parity": parity,
        "options": request.options,
        "facts": dict(built.facts),
        "differing": [
            {"text": case.text, "checkpoint": case.checkpoint, "engine": case.engine}
            for case in _differing(built)[:50]
        ],
    }
    with ctx.artifacts.staging() as stage:
        shutil.copytree(built.folder, stage / "engine")
        text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        (stage / "manifest.json").write_text(text, encoding="utf-8")
        parents: list[ArtifactRef] = [request.model]
        return ctx.artifacts.save(
            BundleRef,
            stage,
            facts={
                "target": built.target,
                "checkpoint": str(request.model),
                "parity": parity,
                "bytes": built.size_bytes,
                **{name: built.facts[name] for name in ("not_run", "fell_back") if name in built.facts},
            },
            parents=parents,
        )
