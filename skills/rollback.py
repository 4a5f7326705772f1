"""Rollback: take back what a deployment did, and see that it is taken back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from ..core.artifact_refs import ArtifactRef, BundleRef
from ..core.contract import Cost, Effect, Finding, Impact, Request, Result, StepContext, skill
from ..core.machine import Machine
from ..core.workspace import Workspace
from ..serving.releases import EndpointName, StateFingerprint
from .state_pins import state_pins

_MINUTES = 0.3


class RollbackRequest(Request):
    """Which endpoint."""

    endpoint: EndpointName = Field(description="Name of the service.")
    planned_for: StateFingerprint = ""


class RollbackResult(Result):
    """What users get now, as an inference showed, and what they no longer get."""

    endpoint: str
    release: str
    route: str
    bundle: BundleRef
    withdrawn: str
    rolled_back: bool
    url: str


def preflight(request: RollbackRequest, machine: Machine, workspace: Workspace) -> list[Finding]:
    """Whether there is such an endpoint, and something to go back to that can still be served."""
    from ..serving.rollout.checks import platform_findings, rollback_findings

    return [*platform_findings(workspace), *rollback_findings(workspace, request.endpoint)]


def estimate(request: RollbackRequest, machine: Machine, workspace: Workspace) -> Cost:
    """Seconds."""
    return Cost(minutes=_MINUTES, gpu_hours=0, disk_bytes=0, usd=0)


def impact(arguments: Mapping[str, Any], workspace: Workspace) -> Impact:
    """What users get now, and what they would get again."""
    from ..serving.rollout.impacts import of_rollback

    return of_rollback(arguments, workspace)


def serves(ask: RollbackRequest, workspace: Workspace) -> list[ArtifactRef]:
    """The release before stable, bundle and rails, if it is that one's turn: a canary is only withdrawn."""
    from ..serving.releases import read_state

    state = read_state(workspace, ask.endpoint)
    if state.canary is not None or not state.previous:
        return []
    back = state.previous[0]
    return [back.bundle, *([back.guardrails] if back.guardrails is not None else [])]


@skill(
    effect=Effect.SERVES,
    summary="Withdraw the canary, or bring back the release before stable.",
    phrases=[
        "roll back {endpoint}",
        "take {endpoint} back to the previous release",
        "restore the release before on {endpoint}",
        "roll {endpoint} back",
        "rollback {endpoint}",
        "rollback of {endpoint}",
        "revert {endpoint}",
        "undo the last release of {endpoint}",
        "undo the last release on {endpoint}",
        "undo the last promotion of {endpoint}",
        "undo the last promotion on {endpoint}",
        "undo the promotion of {endpoint}",
        "undo the deployment of {endpoint}",
        "undo the deployment on {endpoint}",
        "undo the last deployment on {endpoint}",
        "undo the last deployment of {endpoint}",
        "withdraw the canary of {endpoint}",
        "withdraw the canary on {endpoint}",
        "withdraw the canary from {endpoint}",
        "withdraw the canary",
        "take back the canary of {endpoint}",
        "take back the last release of {endpoint}",
        "take the canary of {endpoint} back",
        "take the last release of {endpoint} back",
        "bring back the previous release of {endpoint}",
        "bring back the previous release on {endpoint}",
        "bring back the former release of {endpoint}",
        "go back to the previous release on {endpoint}",
        "go back to the previous release of {endpoint}",
        "go back to the former release of {endpoint}",
        "restore the previous release of {endpoint}",
        "restore the previous release on {endpoint}",
        "switch {endpoint} back to the previous release",
        "roll {endpoint} back to the previous release",
        "roll back {endpoint} to the previous release",
        "roll {endpoint} back to the former release",
        "roll back {endpoint} to the previous version",
        "roll {endpoint} back to the previous version",
        "pull the canary from {endpoint}",
        "return {endpoint} to the previous release",
        "put {endpoint} back to the previous release",
        "bring {endpoint} back to the previous release",
        "bring {endpoint} back to the release before",
        "put the previous release back on {endpoint}",
        "put {endpoint} back on the previous release",
        "make {endpoint} back to the previous release",
        "roll {endpoint} back to the release before",
        "roll back {endpoint} on the previous release",
        "undo the rollout of {endpoint}",
        "undo the rollout on {endpoint}",
        "go back to the previous version on {endpoint}",
        "bring back the previous version on {endpoint}",
        "remove the canary from {endpoint}",
        "take the canary off {endpoint}",
        "reset {endpoint} to the previous release",
        "revert {endpoint} to previous",
        "revert {endpoint} to the previous release",
        "revert {endpoint} to the release before",
        "roll {endpoint} back to previous",
        "roll back {endpoint} to previous",
        "revert {endpoint} to the previous version",
        "return {endpoint} to the former release",
        "take {endpoint} back to where it was",
        "take {endpoint} back",
        "bring {endpoint} back to what it was",
        "put {endpoint} back",
        "put {endpoint} back to what it was",
        "put {endpoint} back to how it was",
        "set {endpoint} back to the previous release",
        "set {endpoint} back",
        "step back on {endpoint}",
        "step {endpoint} back",
        "go back on {endpoint}",
        "go back one release on {endpoint}",
        "roll {endpoint} back one release",
        "switch {endpoint} back",
        "return {endpoint} to the release before",
        "return {endpoint} to the previous version",
        "return to the previous release on {endpoint}",
        "reinstate the previous release on {endpoint}",
        "reinstate the release before on {endpoint}",
        "restore the earlier release on {endpoint}",
        "restore the last release on {endpoint}",
        "restore {endpoint} to the previous release",
        "cancel the canary on {endpoint}",
        "abort the canary on {endpoint}",
        "stop the canary on {endpoint}",
        "take down the canary on {endpoint}",
        "pull the canary on {endpoint}",
        "pull back the canary on {endpoint}",
        "pull the canary off {endpoint}",
        "retire the canary on {endpoint}",
        "recall the canary on {endpoint}",
        "back out the canary on {endpoint}",
        "back out of the last release on {endpoint}",
        "take the canary from {endpoint}",
        "take the canary away from {endpoint}",
        "get the previous release back on {endpoint}",
        "get the canary off {endpoint}",
        "bring the previous release back on {endpoint}",
        "bring the old release back on {endpoint}",
        "undo {endpoint}",
        "undo what we released on {endpoint}",
        "unship the canary on {endpoint}",
        "withdrawal of the canary on {endpoint}",
        "back to the previous release on {endpoint}",
        "back to previous on {endpoint}",
        "put back the previous release on {endpoint}",
    ],
    preflight=preflight,
    estimate=estimate,
    impact=impact,
    serves=serves,
    pins=state_pins,
    restores=True,
)
def rollback(request: RollbackRequest, ctx: StepContext) -> RollbackResult:
    """Withdraw the endpoint's canary; without one, bring the release before stable back.

    That release is loaded and probed while the present one serves. Done means that answers under the
    endpoint's name came from it. With nothing to go back to, this is an error, never a success.

    Example: /rollback endpoint=shop
    """
    from ..serving.rollout import Rollout

    done = Rollout.of_step(ctx, request.endpoint).rollback(
        key=ctx.idempotency_key, only=ctx.served, planned_for=request.planned_for
    )
    return RollbackResult(
        endpoint=request.endpoint,
        release=done.release.id,
        route="stable",
        bundle=done.release.bundle,
        withdrawn=done.withdrawn,
        rolled_back=True,
        url=done.url,
    )
