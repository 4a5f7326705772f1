"""Promote: a canary that holds becomes what everybody gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from ..core.artifact_refs import ArtifactRef
from ..core.contract import Cost, Effect, Finding, Impact, Request, Result, StepContext, skill
from ..core.gate import Verdict
from ..core.machine import Machine
from ..core.workspace import Workspace
from ..serving.probes import Probe
from ..serving.releases import EndpointName, ProbeTexts, StateFingerprint
from .canary_limits import MaxSlower, ScoredProbes
from .state_pins import state_pins
from .suite_probes import suite_probes

_MINUTES = 0.3


class PromoteRequest(Request):
    """Which canary, and what it must hold."""

    endpoint: EndpointName = Field(description="Name of the service.")
    planned_for: StateFingerprint = ""
    probes: ProbeTexts = Field(
        (),
        description="Texts that canary and stable are both asked; empty: the newest of the traffic, and "
        "items of the suite that stable was judged on.",
    )
    replay: int = Field(
        50, ge=0, le=200, description="Texts of recent traffic to ask both, when no probes are given."
    )
    scored_probes: ScoredProbes = 50
    max_score_drop: float = Field(
        0.05, gt=0, lt=1, description="Largest drop of the score of the answers to the suite's items."
    )
    max_unseen_drop: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="Drop of that score that the items must show not to be there, else INCONCLUSIVE.",
    )
    max_disagreement: float = Field(
        0.3,
        gt=0,
        le=1,
        description="Largest share of answers that may differ from stable's to the same request; where the "
        "suite's items differ more, as many as there; 1: any.",
    )
    min_requests: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Requests the canary must have answered, else INCONCLUSIVE; 0: its probes may decide.",
    )
    max_error_share: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of the canary's own requests that may fail without being held against it.",
    )
    max_slower: MaxSlower = 1.5
    alpha: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="Chance that a healthy canary is found worse, however often traffic is judged.",
    )


class PromoteResult(Result):
    """What users get now, the verdict on the canary, and what became of it."""

    endpoint: str
    release: str
    route: str
    promoted: bool
    canary: str
    canary_now: str
    url: str
    verdict: Verdict


def preflight(request: PromoteRequest, machine: Machine, workspace: Workspace) -> list[Finding]:
    """Whether there is such an endpoint, and a canary of it to promote."""
    from ..serving.rollout.checks import canary_findings, platform_findings

    return [*platform_findings(workspace), *canary_findings(workspace, request.endpoint)]


def estimate(request: PromoteRequest, machine: Machine, workspace: Workspace) -> Cost:
    """Seconds."""
    return Cost(minutes=_MINUTES, gpu_hours=0, disk_bytes=0, usd=0)


def impact(arguments: Mapping[str, Any], workspace: Workspace) -> Impact:
    """What users get now, and what each verdict would give them."""
    from ..serving.rollout.impacts import of_promote

    return of_promote(arguments, workspace)


def serves(ask: PromoteRequest, workspace: Workspace) -> list[ArtifactRef]:
    """The canary's bundle, if there is a canary: it becomes what everybody gets."""
    from ..serving.releases import read_state

    canary = read_state(workspace, ask.endpoint).canary
    return [] if canary is None else [canary.bundle]


@skill(
    effect=Effect.SERVES,
    summary="Make the canary stable if its answers, errors and latency hold; else withdraw it.",
    phrases=[
        "promote {endpoint}",
        "promote the canary of {endpoint}",
        "promote the canary on {endpoint}",
        "promote the canary",
        "promotion of {endpoint}",
        "make the canary of {endpoint} stable",
        "make the canary on {endpoint} the stable release",
        "make the canary of {endpoint} the stable one",
        "make the canary on {endpoint} the stable version",
        "let the canary of {endpoint} become stable",
        "make the canary on {endpoint} stable",
        "make the canary stable",
        "make canary stable on {endpoint}",
        "turn the canary of {endpoint} into stable",
        "take the canary of {endpoint} to everybody",
        "give the canary of {endpoint} to everybody",
        "make the canary the stable release of {endpoint}",
        "make the canary the stable release on {endpoint}",
        "move the canary of {endpoint} to stable",
        "turn the canary on {endpoint} into stable",
        "switch everybody on {endpoint} to the canary",
        "promote the canary at {endpoint}",
        "promote the canary for {endpoint}",
        "move the canary on {endpoint} to stable",
        "let the canary on {endpoint} become stable",
        "take the canary on {endpoint} to everybody",
        "give the canary on {endpoint} to everybody",
        "switch {endpoint} to the canary",
        "make the canary stable on {endpoint}",
        "make the {endpoint} canary stable",
        "promote the {endpoint} canary",
        "promote canary on {endpoint}",
        "send everybody on {endpoint} to the canary",
        "let the canary on {endpoint} take over",
        "let the canary of {endpoint} take over",
        "let the canary on {endpoint} take all the traffic",
        "give the canary on {endpoint} all the traffic",
        "give all the traffic on {endpoint} to the canary",
        "give all traffic of {endpoint} to the canary",
        "send all the traffic of {endpoint} to the canary",
        "send all traffic on {endpoint} to the canary",
        "move everybody on {endpoint} to the canary",
        "move everyone on {endpoint} to the canary",
        "move {endpoint} to the canary",
        "switch everyone on {endpoint} to the canary",
        "make the canary on {endpoint} the new stable",
        "make the canary of {endpoint} the new stable release",
        "make the canary on {endpoint} the main version",
        "make {endpoint} canary stable",
        "graduate the canary on {endpoint}",
        "graduate the canary of {endpoint}",
        "turn the canary on {endpoint} into the stable release",
        "replace stable on {endpoint} by the canary",
        "replace stable on {endpoint} with the canary",
        "replace the stable release on {endpoint} with the canary",
        "bring the canary on {endpoint} to everybody",
        "bring the canary of {endpoint} to everyone",
        "accept the canary on {endpoint}",
        "set the canary on {endpoint} as stable",
        "declare the canary on {endpoint} stable",
        "canary of {endpoint} to stable",
        "canary on {endpoint} to stable",
    ],
    preflight=preflight,
    estimate=estimate,
    impact=impact,
    serves=serves,
    pins=state_pins,
)
def promote(request: PromoteRequest, ctx: StepContext) -> PromoteResult:
    """Judge an endpoint's canary; on GO it becomes stable, on NO_GO it is withdrawn, else it stays a canary.

    Both releases answer the same recent texts, and items of the suite that stable was judged on: that golden
    sample decides. Errors, blocks, slow and invalid answers and disagreement with stable are held against the
    canary as soon as traffic, shadowed requests or these texts show them. What so few requests cannot show is
    in the verdict. The release before stays at hand for `rollback`.

    Example: /promote endpoint=shop min_requests=200
    """
    from ..serving.canary.judgement import Bars
    from ..serving.rollout import Rollout

    bars = Bars(
        max_error_share=request.max_error_share,
        max_slower=request.max_slower,
        alpha=request.alpha,
        min_requests=request.min_requests,
        max_score_drop=request.max_score_drop,
        max_unseen_drop=request.max_unseen_drop,
        max_disagreement=request.max_disagreement,
    )
    done = Rollout.of_step(ctx, request.endpoint).promote(
        request.probes or promotion_probes(request, ctx),
        bars,
        key=ctx.idempotency_key,
        only=ctx.served,
        planned_for=request.planned_for,
    )
    return PromoteResult(
        endpoint=request.endpoint,
        release=done.stable,
        route="stable",
        promoted=done.now == "stable",
        canary=done.canary,
        canary_now=done.now,
        url=done.url,
        verdict=done.verdict,
    )


def promotion_probes(request: PromoteRequest, ctx: StepContext) -> tuple[str | Probe, ...]:
    """What users asked last, and items of the suite that stable was judged on."""
    from ..serving.gateway.traffic_log import read
    from ..serving.releases import stable_release

    rows = read(ctx.workspace, request.endpoint, last=request.replay) if request.replay else []
    stable = stable_release(ctx.workspace, request.endpoint)
    items = () if stable is None else suite_probes(ctx, stable.bundle, request.scored_probes)
    return (*(row.text for row in rows if row.status == "ok"), *items)
