"""What is known of an evaluation before it runs: what stops it, what it sends where, what it costs."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ...core.artifact_refs import (
    AdapterRef,
    ArtifactRef,
    BundleRef,
    CheckpointRef,
    ClassifierRef,
    GuardrailRef,
    PendingArtifact,
)
from ...core.contract import Cost, Finding
from ...core.errors import OpswrightError
from ...core.install import not_installed
from ...core.machine import Machine
from ...core.workspace import Workspace
from .asked_suite import asked_suite
from .endpoint_cost import cost_of_endpoint, cost_with_servers
from .engine import missing_for, size_of
from .judging import judge_findings
from .labels import label_findings
from .paraphrasing import paraphrase_findings
from .request import EvaluateRequest

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


def preflight(request: EvaluateRequest, machine: Machine, workspace: Workspace) -> Sequence[Finding]:
    """What stops the evaluation, and what its asker should know."""
    found = []
    if finding := not_installed(_MODULES.get(type(request.model), ()), "train"):
        found.append(finding)
    if isinstance(request.model, GuardrailRef) and (finding := not_installed(["nemoguardrails"], "guard")):
        return [finding]
    if request.api_key_env and not os.environ.get(request.api_key_env):
        found.append(Finding(level="stop", message=f"environment variable {request.api_key_env} is not set."))
    try:
        suite = asked_suite(request)
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


def estimate(request: EvaluateRequest, machine: Machine, workspace: Workspace) -> Cost:
    """Minutes by items and a measured rate for the tiny model; unknown for larger ones, and where judged."""
    suite = asked_suite(request)
    if suite.asks_server or request.paraphraser is not None:
        return cost_with_servers(request, suite, workspace)
    if not isinstance(request.model, ArtifactRef):
        return cost_of_endpoint(request, suite, workspace)
    size = size_of(request.model, workspace)
    is_short = (request.max_new_tokens or suite.longest_answer) <= _SHORT_TOKENS
    if size > _TINY_BYTES or not is_short:
        return Cost(gpu_hours=None if machine.gpus else 0, usd=0, disk_bytes=4_000_000)
    kind = type(request.model)
    items = min(len(suite.items), request.limit or 1 << 60)
    seconds = _START_S[kind] + items * _MS_PER_ITEM[kind] / 1000 + (_BASELINES_S if request.baselines else 0)
    return Cost(minutes=seconds / 60, gpu_hours=0, usd=0, disk_bytes=4_000_000)
