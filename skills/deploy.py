"""Deploy: a bundle behind an endpoint, with its rails, on Triton."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from ..core.artifact_refs import BundleRef, GuardrailRef
from ..core.contract import Cost, Effect, Finding, Impact, Request, Result, StepContext, skill
from ..core.machine import Machine
from ..core.phrasing import Spoken
from ..core.workspace import Workspace
from ..serving.releases import EndpointName, ProbeTexts
from .canary_limits import MaxSlower, usual_disagreement
from .suite_probes import suite_probes

_TRITON_INSTALL_MINUTES = 1.0
_MINUTES = 0.3
_PROBES = 3


class DeployRequest(Request):
    """What to serve, where, and to how many users."""

    bundle: BundleRef = Field(description="The engine to serve, as build-engine made it.")
    guardrails: GuardrailRef | None = Field(
        None, description="Rails in front of it; without any, everything passes."
    )
    endpoint: EndpointName = Field(description="Name of the service; the `model` of its users' requests.")
    canary_percent: Annotated[
        int,
        Spoken(
            ("canary", "of traffic", "of the traffic", "traffic", "of sessions", "of users", "of the users"),
            asked=True,
        ),
    ] = Field(
        100,
        ge=0,
        le=100,
        description="Percent of sessions that get it; below 100 it is a canary beside the stable release.",
    )
    shadow_percent: int = Field(
        10,
        ge=0,
        le=100,
        description="Percent of stable's requests that a canary is asked too; users get nothing of that.",
    )
    watch: bool = Field(
        True, description="Have the gateway watch a canary, and withdraw it once it is shown to be worse."
    )
    max_disagreement: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Largest share of a canary's answers that may differ from stable's; empty: 0.3, or as "
        "many as differed on the suite that both were judged on, and 0.1 more; 1: any.",
    )
    max_slower: MaxSlower = 1.5
    probes: ProbeTexts = Field(
        (),
        description="Texts it must answer before it gets traffic; empty: three items of the suite that it "
        "was judged on, else common ones.",
    )


class DeployResult(Result):
    """What is served now, and by what."""

    endpoint: str
    release: str
    route: str
    canary_percent: int
    url: str
    server: str
    server_version: str
    server_reason: str
    engine: str
    guarded: bool
    probes: int
    blocked_probes: int
    changed: bool


def preflight(request: DeployRequest, machine: Machine, workspace: Workspace) -> Iterator[Finding]:
    """What could stop it: a port taken, another canary, a damaged bundle or rails; and which server runs."""
    from ..serving.rollout.checks import endpoint_findings, engine_findings, platform_findings

    yield from platform_findings(workspace)
    yield from endpoint_findings(workspace, request.endpoint, request.bundle, request.guardrails)
    if request.guardrails is None:
        message = "no guardrails: everything passes."
        yield Finding(level="warn", message=message, fix="Make some with `guardrails`.")
    yield from engine_findings(workspace, request.bundle)
    if request.guardrails is not None:
        workspace.artifacts.open(request.guardrails)


def estimate(request: DeployRequest, machine: Machine, workspace: Workspace) -> Cost:
    """Seconds; the first deployment also installs Triton's server."""
    from ..serving.rollout.checks import install_bytes

    disk = install_bytes(workspace)
    return Cost(
        minutes=_MINUTES + (_TRITON_INSTALL_MINUTES if disk else 0), gpu_hours=0, disk_bytes=disk, usd=0
    )


def impact(arguments: Mapping[str, Any], workspace: Workspace) -> Impact:
    """What users of the endpoint get now, and what they would get."""
    from ..serving.rollout.impacts import of_deploy

    return of_deploy(arguments, workspace)


@skill(
    effect=Effect.SERVES,
    summary="Serve a bundle behind an endpoint: all traffic at once, or a canary's share of it.",
    phrases=[
        "deploy {bundle} to {endpoint}",
        "deploy {bundle} on {endpoint}",
        "deploy {bundle} as {endpoint}",
        "deploy {bundle} behind {endpoint}",
        "deploy {bundle} to endpoint {endpoint}",
        "deployment of {bundle} to {endpoint}",
        "put {bundle} behind {endpoint}",
        "put {bundle} behind {endpoint} as a canary",
        "put {bundle} on {endpoint}",
        "put {bundle} live on {endpoint}",
        "put {bundle} into production on {endpoint}",
        "serve {bundle} as {endpoint}",
        "serve {bundle} on {endpoint}",
        "serve {bundle} behind {endpoint}",
        "release {bundle} to {endpoint}",
        "release {bundle} on {endpoint}",
        "ship {bundle} to {endpoint}",
        "push {bundle} to {endpoint}",
        "publish {bundle} as {endpoint}",
        "publish {bundle} on {endpoint}",
        "canary {bundle} on {endpoint}",
        "start a canary of {bundle} on {endpoint}",
        "try {bundle} as a canary on {endpoint}",
        "send {bundle} to {endpoint}",
        "give to {endpoint} {bundle}",
        "move {bundle} to {endpoint}",
        "bring {bundle} to {endpoint}",
        "get {bundle} onto {endpoint}",
        "install {bundle} on {endpoint}",
        "switch {endpoint} to {bundle}",
        "make {bundle} live on {endpoint}",
        "go live with {bundle} on {endpoint}",
        "start serving {bundle} on {endpoint}",
        "stick {bundle} on {endpoint}",
        "host {bundle} on {endpoint}",
        "host {bundle} as {endpoint}",
        "take {bundle} live on {endpoint}",
        "set {bundle} live on {endpoint}",
        "bring {bundle} live on {endpoint}",
        "put {bundle} in production on {endpoint}",
        "bring {bundle} into production on {endpoint}",
        "install {bundle} behind {endpoint}",
        "place {bundle} on {endpoint}",
        "place {bundle} behind {endpoint}",
        "roll {bundle} as a canary on {endpoint}",
        "point {endpoint} at {bundle}",
        "point {endpoint} to {bundle}",
        "route {endpoint} to {bundle}",
        "expose {bundle} on {endpoint}",
        "run {bundle} as a canary on {endpoint}",
        "set up {bundle} as a canary on {endpoint}",
        "make {bundle} the canary on {endpoint}",
        "make {bundle} the canary of {endpoint}",
        "use {bundle} as the canary on {endpoint}",
        "start {bundle} as a canary on {endpoint}",
        "swap {endpoint} to {bundle}",
        "try out {bundle} on {endpoint}",
        "try {bundle} on {endpoint} as a canary",
        "upgrade {endpoint} to {bundle}",
        "serve {endpoint} with {bundle}",
        "serve {endpoint} from {bundle}",
        "get {bundle} live on {endpoint}",
        "get {bundle} running on {endpoint}",
        "put {bundle} up on {endpoint}",
        "serve {bundle} to {endpoint}",
    ],
    preflight=preflight,
    estimate=estimate,
    impact=impact,
)
def deploy(request: DeployRequest, ctx: StepContext) -> DeployResult:
    """Load a bundle with its rails beside what serves, have it answer, then give it traffic.

    Nothing changes for users unless the new release loads, answers an inference and every probe, and is seen
    to answer under the endpoint's name. An endpoint's first release is stable whatever the percentage.

    Example: /deploy bundle=bundle:1f2e3d endpoint=shop canary_percent=10
    """
    from ..serving.probes import PROBES
    from ..serving.releases import CanaryLimits
    from ..serving.rollout import Rollout

    limits = None
    if request.watch and request.canary_percent < 100:
        most = request.max_disagreement or usual_disagreement(ctx, request.endpoint, request.bundle)
        limits = CanaryLimits(max_slower=request.max_slower, max_disagreement=most)
    rollout = Rollout.of_step(ctx, request.endpoint)
    probes = request.probes or suite_probes(ctx, request.bundle, _PROBES) or PROBES
    done = rollout.deploy(
        request.bundle,
        request.guardrails,
        request.canary_percent,
        probes,
        key=ctx.idempotency_key,
        shadow_percent=request.shadow_percent,
        limits=limits,
    )
    return DeployResult(
        endpoint=request.endpoint,
        release=done.release.id,
        route=done.route,
        canary_percent=done.state.canary_percent if done.route == "canary" else 100,
        url=done.url,
        server=done.facts.server,
        server_version=done.facts.server_version,
        server_reason=done.facts.reason,
        engine=done.release.engine,
        guarded=done.release.guardrails is not None,
        probes=0 if done.is_repeated else len(probes),
        blocked_probes=done.blocked,
        changed=not done.is_repeated,
    )
