"""What generates in an evaluation: a model opened here, or an endpoint, behind known answers."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...core.artifact_refs import (
    AdapterRef,
    ArtifactRef,
    BundleRef,
    CheckpointRef,
    ClassifierRef,
    GuardrailRef,
)
from ...core.contract import Finding, StepContext
from ...core.errors import AskError
from ...core.install import not_installed
from ...core.token_spending import token_counter
from ...core.workspace import Workspace
from ..finetune.adapters import base_of, size_with_base

if TYPE_CHECKING:
    from ...core.artifacts import Artifact
    from ...engines import Engine
    from ...engines.registry import EngineTarget
    from .request import EvaluateRequest

_PIECE = 1024  # prompts of a local model that are answered, and kept, at a time


def open_engine(request: EvaluateRequest, ctx: StepContext, plain: bool = False) -> Engine:
    """What generates, behind the answers that are known from before. plain: without a chat template."""
    from functools import partial

    from ...evals.answer_cache import AnswerCache, CachedEngine

    opened = partial(_opened, request, ctx, plain)
    if not request.cache:
        return opened()
    local = isinstance(request.model, ArtifactRef)
    if isinstance(request.model, ArtifactRef):
        _check_runs(request.model, ctx)  # even if every answer is known
    cache = AnswerCache(ctx.workspace.root / "cache" / "answers.sqlite")
    identity = _identity(request, ctx) | ({"plain": True} if plain else {})
    return CachedEngine(opened, identity, cache, _PIECE if local else 4 * request.concurrency)


def _opened(request: EvaluateRequest, ctx: StepContext, plain: bool) -> Engine:
    """What generates: loaded here, or reached over HTTP."""
    train = ctx.settings.train
    if isinstance(request.model, CheckpointRef):
        from ...engines.checkpoint import CheckpointEngine

        return CheckpointEngine(
            ctx.artifacts.open(request.model).path, train.device, train.threads, plain=plain
        )
    if isinstance(request.model, ClassifierRef):
        from ...engines.classifier import ClassifierEngine

        return ClassifierEngine(ctx.artifacts.open(request.model).path, train.device, train.threads)
    if isinstance(request.model, AdapterRef):
        from ...engines.checkpoint import CheckpointEngine

        adapter = ctx.artifacts.open(request.model)
        base = base_of(adapter, ctx.workspace)
        return CheckpointEngine(base, train.device, train.threads, adapter=adapter.path, plain=plain)
    if isinstance(request.model, BundleRef):
        bundle = ctx.artifacts.open(request.model)
        return _target(bundle).open(bundle.path / "engine", train.threads)
    if isinstance(request.model, GuardrailRef):
        from ...serving.rails import load_rails
        from .guard_engine import GuardEngine

        return GuardEngine(load_rails(ctx.artifacts.open(request.model).path / "config"))
    from ...engines.endpoint import EndpointEngine

    return EndpointEngine(
        request.model,
        model=request.endpoint_model,
        api_key=os.environ.get(request.api_key_env) if request.api_key_env else None,
        concurrency=request.concurrency,
        timeout_s=request.timeout_s,
        requests_per_minute=request.requests_per_minute,
        count=token_counter(ctx, request.model, request.endpoint_model),
    )


def _check_runs(model: ArtifactRef, ctx: StepContext) -> None:
    """AskError for a model that is not there, or whose engine is not installed."""
    artifact = ctx.artifacts.open(model)
    if isinstance(model, BundleRef):
        _target(artifact)
    if isinstance(model, AdapterRef):
        base_of(artifact, ctx.workspace)


def _identity(request: EvaluateRequest, ctx: StepContext) -> dict[str, Any]:
    """What answers depend on besides the prompt.

    A model's digest with its libraries' versions; of an endpoint, whose model may change at any time, this
    one step of this one run.
    """
    if not isinstance(request.model, ArtifactRef):
        return {"url": request.model, "model": request.endpoint_model, "step": ctx.idempotency_key}
    from importlib.metadata import PackageNotFoundError, version

    from ... import __version__

    found: dict[str, Any] = {"model": str(request.model), "opswright": __version__}
    for name in ("torch", "transformers", "peft", "onnxruntime-genai", "onnxruntime", "nemoguardrails"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found | {"device": ctx.settings.train.device}


def _target(bundle: Artifact) -> EngineTarget:
    """What kind of engine a bundle holds; AskError, with its name, when that is not installed."""
    from ...engines.registry import engine_target

    try:
        return engine_target(str(bundle.facts.get("target", "")))
    except AskError as error:
        raise AskError(
            f"{bundle.ref.short} cannot run here: {error} Install the package that brings it, or deploy the "
            "bundle where there is one and evaluate the endpoint's address."
        ) from error


def missing_for(request: EvaluateRequest, workspace: Workspace) -> Finding | None:
    """What must be installed before a bundle can generate here."""
    if not isinstance(request.model, BundleRef):
        return None
    target = _target(workspace.artifacts.open(request.model))
    return not_installed(target.runs_with, *target.run_extras)


def size_of(model: ArtifactRef, workspace: Workspace) -> int:
    """Bytes of what generates: of adapters with the base's weights."""
    artifact = workspace.artifacts.open(model)
    if not isinstance(model, AdapterRef):
        return artifact.size_bytes
    return size_with_base(artifact, base_of(artifact, workspace))
