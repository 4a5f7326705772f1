"""Roll out: a bundle from shadow to everybody, stage by stage, by what its requests show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from ..core.artifact_refs import BundleRef, GuardrailRef
from ..core.contract import Cost, Effect, Finding, Impact, Request, Result, StepContext, skill
from ..core.gate import Verdict
from ..core.machine import Machine
from ..core.phrasing import Spoken
from ..core.workspace import Workspace
from ..serving.releases import EndpointName
from .canary_limits import MaxSlower, ScoredProbes, usual_disagreement
from .promote import PromoteRequest, promotion_probes
from .suite_probes import suite_probes

_PROBES = 3
Percent = Annotated[int, Field(ge=0, le=99)]


class RollOutRequest(Request):
    """What to roll out, in which stages, and how long it may take."""

    bundle: BundleRef = Field(description="The engine to serve, as build-engine made it.")
    guardrails: GuardrailRef | None = Field(
        None, description="Rails in front of it; without any, everything passes."
    )
    endpoint: EndpointName = Field(description="Name of the service; the `model` of its users' requests.")
    stages: Annotated[tuple[Percent, ...], Field(min_length=1, max_length=20)] = Field(
        (0, 1, 10, 50),
        description="Percent of sessions at each stage before everybody; at 0 it is only asked what stable "
        "is asked, and users get nothing of it.",
    )
    stage_requests: Annotated[
        int, Spoken(("requests per stage", "requests in each stage", "requests in every stage"))
    ] = Field(
        20,
        ge=0,
        le=1_000_000,
        description="Requests the canary must meet at a stage before the next; at 0: shadowed ones.",
    )
    stage_minutes: Annotated[float, Spoken(("per stage", "each stage", "every stage", "a stage"))] = Field(
        0, ge=0, le=10_080, description="Minutes a stage lasts at least."
    )
    max_minutes: float = Field(
        60,
        gt=0,
        le=10_080,
        description="Minutes in all; after them the canary stays as it is: INCONCLUSIVE.",
    )
    shadow_percent: int = Field(
        10, ge=0, le=100, description="Percent of stable's requests asked of it too; at stage 0 it is all."
    )
    promote: Annotated[bool, Spoken(("make stable", "promotion", "promote at the end"))] = Field(
        True, description="Make it stable when it holds at the last stage; else it stays a canary there."
    )
    scored_probes: ScoredProbes = 50
    max_disagreement: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Largest share of answers that may differ from stable's; empty: as of `deploy`; 1: any.",
    )
    max_slower: MaxSlower = 1.5


class RollOutResult(Result):
    """What users get now, the verdict on the canary, and how far it came."""

    endpoint: str
    release: str
    route: str
    promoted: bool
    canary: str
    canary_now: str
    canary_percent: int
    url: str
    verdict: Verdict


def preflight(request: RollOutRequest, machine: Machine, workspace: Workspace) -> Iterator[Finding]:
    """What could stop it, as for a deployment; and stages that do not rise."""
    from ..serving.rollout.checks import endpoint_findings, engine_findings, platform_findings

    if list(request.stages) != sorted(set(request.stages)):
        told = ", ".join(map(str, request.stages))
        yield Finding(level="stop", message=f"stages must rise, found {told}.", fix="Such as 0, 1, 10, 50.")
    yield from platform_findings(workspace)
    yield from endpoint_findings(workspace, request.endpoint, request.bundle, request.guardrails)
    yield from engine_findings(workspace, request.bundle)


def estimate(request: RollOutRequest, machine: Machine, workspace: Workspace) -> Cost:
    """At most as long as it may take: that is up to the users."""
    return Cost(minutes=request.max_minutes, gpu_hours=0, disk_bytes=0, usd=0)


def impact(arguments: Mapping[str, Any], workspace: Workspace) -> Impact:
    """What users get now, and what they would get by and by."""
    from ..serving.rollout.impacts import of_roll_out

    return of_roll_out(arguments, workspace)


@skill(
    effect=Effect.SERVES,
    summary="Bring a bundle to everybody stage by stage; withdraw it as soon as it is shown to be worse.",
    phrases=[
        "roll out {bundle} to {endpoint}",
        "roll {bundle} out to {endpoint}",
        "rollout of {bundle} to {endpoint}",
        "roll out {bundle} on {endpoint}",
        "roll out {bundle} stage by stage to {endpoint}",
        "bring {bundle} to everybody on {endpoint}",
        "release {bundle} stage by stage to {endpoint}",
        "release {bundle} in stages to {endpoint}",
        "gradually roll out {bundle} to {endpoint}",
        "gradually release {bundle} to {endpoint}",
        "deploy {bundle} in stages to {endpoint}",
        "deploy {bundle} gradually to {endpoint}",
        "deploy {bundle} stage by stage to {endpoint}",
        "progressively roll out {bundle} to {endpoint}",
        "bring {bundle} to everybody on {endpoint} stage by stage",
        "bring {bundle} stage by stage to {endpoint}",
        "roll out {bundle} slowly to {endpoint}",
        "roll out {bundle} gradually to {endpoint}",
        "ramp up {bundle} on {endpoint}",
        "ramp {bundle} up on {endpoint}",
        "staged rollout of {bundle} to {endpoint}",
        "roll {bundle} out gradually to {endpoint}",
        "roll {bundle} out slowly to {endpoint}",
        "roll {bundle} out step by step to {endpoint}",
        "roll {bundle} out stage by stage to {endpoint}",
        "roll {bundle} out on {endpoint}",
        "roll out {bundle} step by step to {endpoint}",
        "introduce {bundle} gradually on {endpoint}",
        "release {bundle} gradually to {endpoint}",
        "release {bundle} step by step to {endpoint}",
        "ship {bundle} to {endpoint} in stages",
        "ship {bundle} stage by stage to {endpoint}",
        "deploy {bundle} to {endpoint} in stages",
        "release {bundle} to {endpoint} in stages",
        "put {bundle} on {endpoint} in stages",
        "put {bundle} on {endpoint} stage by stage",
        "put {bundle} on {endpoint} gradually",
        "bring {bundle} to {endpoint} in stages",
        "bring {bundle} to everyone on {endpoint}",
        "ease {bundle} onto {endpoint}",
        "gradual rollout of {bundle} to {endpoint}",
        "gradual release of {bundle} to {endpoint}",
        "gradually move {endpoint} to {bundle}",
        "move {endpoint} gradually to {bundle}",
        "gradually deploy {bundle} to {endpoint}",
        "staged release of {bundle} to {endpoint}",
        "release {bundle} slowly to {endpoint}",
        "deploy {bundle} step by step to {endpoint}",
        "roll {bundle} in stages out to {endpoint}",
        "roll {bundle} out to {endpoint} gradually",
        "roll {bundle} out to {endpoint} step by step",
        "bring {bundle} to {endpoint} step by step",
        "bring {bundle} on {endpoint} stage by stage",
        "deploy {bundle} to {endpoint} gradually",
        "deploy {bundle} to {endpoint} step by step",
        "deploy {bundle} to {endpoint} stage by stage",
        "release {bundle} to {endpoint} gradually",
        "release {bundle} to {endpoint} step by step",
        "release {bundle} to {endpoint} stage by stage",
        "put {bundle} on {endpoint} step by step",
        "ship {bundle} to {endpoint} gradually",
        "ship {bundle} to {endpoint} step by step",
        "ship {bundle} to {endpoint} stage by stage",
        "push {bundle} to {endpoint} in stages",
        "push {bundle} to {endpoint} gradually",
        "move {bundle} to {endpoint} gradually",
        "serve {bundle} on {endpoint} gradually",
    ],
    preflight=preflight,
    estimate=estimate,
    impact=impact,
)
def roll_out(request: RollOutRequest, ctx: StepContext) -> RollOutResult:
    """Shadow, then ever more sessions, then everybody: each stage once the one before met enough requests.

    The gateway watches all the while and withdraws a bad canary by itself, also when this step is stopped;
    `resume` goes on at the stage that was reached. At the end both releases are asked the golden sample, as
    `promote` does. Consent to the plan is consent to the promotion.

    Example: /roll-out bundle=bundle:1f2e3d endpoint=shop
    """
    from ..serving.probes import PROBES
    from ..serving.releases import CanaryLimits
    from ..serving.rollout import Rollout
    from ..serving.rollout.stages import StagedRollout, Stages

    most = request.max_disagreement or usual_disagreement(ctx, request.endpoint, request.bundle)
    stages = Stages(
        request.stages,
        request.stage_requests,
        request.stage_minutes,
        request.max_minutes,
        request.shadow_percent,
        CanaryLimits(max_slower=request.max_slower, max_disagreement=most),
    )
    judged = PromoteRequest(endpoint=request.endpoint, scored_probes=request.scored_probes)
    done = StagedRollout(Rollout.of_step(ctx, request.endpoint), stages, ctx.idempotency_key).run(
        request.bundle,
        request.guardrails,
        suite_probes(ctx, request.bundle, _PROBES) or PROBES,
        (lambda: promotion_probes(judged, ctx)) if request.promote else None,
    )
    return RollOutResult(
        endpoint=request.endpoint,
        release=done.stable,
        route="stable",
        promoted=done.now == "stable",
        canary=done.canary,
        canary_now=done.now,
        canary_percent=done.percent,
        url=done.url,
        verdict=done.verdict,
    )
