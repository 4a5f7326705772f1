"""What both skills for clusters are asked, and the manifests they agree on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from ..core.artifact_refs import BundleRef, GuardrailRef
from ..core.contract import Finding, Request, StepContext
from ..core.explain import HOLDS_SECRET
from ..core.install import not_installed
from ..core.workspace import Workspace
from ..serving.kubernetes.checks.secrets import looks_secret
from ..serving.kubernetes.shape import ClusterShape, Name, ReleaseSource
from ..serving.releases import EndpointName

if TYPE_CHECKING:
    from ..serving.kubernetes.objects import Manifest
    from ..serving.kubernetes.release import ClusterRelease

NOT_TRIED = "It was checked offline and against a stand-in for the API server, never on a real cluster."


class KubernetesRequest(Request):
    """A release, and the cluster it is laid out for. Secrets are named, never given."""

    bundle: BundleRef = Field(description="The engine to serve, as build-engine made it.")
    guardrails: GuardrailRef | None = Field(
        None, description="Rails in front of it; without any, everything passes."
    )
    endpoint: EndpointName = Field(description="Name of the service; the `model` of its users' requests.")
    namespace: Name = Field("default", description="Namespace of the cluster, which must be there.")
    source: ReleaseSource = Field(
        description="Where the workspace's `artifacts` lie on the cluster: pvc:CLAIM/PATH or s3://BUCKET/PREFIX."
    )
    shape: ClusterShape = Field(
        description="Images, sizes, scaling, as {gateway_image: ..., kubernetes: '1.33'}."
    )

    @model_validator(mode="before")
    @classmethod
    def _no_secret(cls, given: Any) -> Any:
        """Refuse a secret before it is part of a plan, which is recorded; it is not repeated."""
        for place, text in _texts(given, ""):
            if looks_secret(text):
                raise PydanticCustomError(
                    HOLDS_SECRET,
                    "{place} holds what looks like a key or a password: name a Secret of the cluster instead",
                    {"place": place},
                )
        return given


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _texts(one, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one, place)
    elif isinstance(value, str):
        yield place, value


def rendered(
    request: KubernetesRequest, workspace: Workspace, plan: str
) -> tuple[ClusterRelease, dict[str, Manifest]]:
    """The release and its objects; AskError that lists every fault, before anything is written or applied."""
    from ..core.errors import AskError
    from ..serving.kubernetes.checks import check
    from ..serving.kubernetes.manifests import render
    from ..serving.kubernetes.release import ClusterRelease

    release = ClusterRelease.of(
        workspace,
        request.endpoint,
        request.namespace,
        request.bundle,
        request.guardrails,
        request.source,
        plan,
    )
    if request.shape.triton_image is None and release.gpu is None:
        raise AskError(
            "shape.triton_image is missing: this bundle runs on CPUs, with code that NVIDIA's containers "
            "lack. Build one from docker/triton.Dockerfile, and name it."
        )
    manifests = render(release, request.shape)
    check(manifests, request.shape.kubernetes)
    return release, manifests


def release_findings(request: KubernetesRequest, workspace: Workspace) -> Iterator[Finding]:
    """What could stop it, or should be known before: packages, faults, images, what was never run."""
    missing = not_installed(("kubernetes", "kubernetes_validate"), "kubernetes")
    if missing is not None:
        yield missing
        return
    release, manifests = rendered(request, workspace, plan="")
    yield Finding(
        level="ok", message=f"{len(manifests)} objects are valid for Kubernetes {request.shape.kubernetes}."
    )
    if request.guardrails is None:
        message = "no guardrails: everything passes."
        yield Finding(level="warn", message=message, fix="Make some with `guardrails`.")
    images = (request.shape.gateway_image, request.shape.triton_image or "@")
    if loose := [image for image in images if "@" not in image]:
        message = f"an image by its tag may change under you: {', '.join(loose)}."
        yield Finding(level="warn", message=message, fix="Name it by digest, as image@sha256:...")
    yield from _sharing_findings(request.shape, workspace)
    if release.gpu is not None:
        message = "a bundle for GPUs: its pods were never run; the gateway cannot read NVIDIA's model."
        yield Finding(level="warn", message=message)
    yield Finding(level="note", message=NOT_TRIED)


def _sharing_findings(shape: ClusterShape, workspace: Workspace) -> Iterator[Finding]:
    """What gateway pods hold together, and what each holds alone."""
    from ..serving.keys.durability import store_findings

    pods = shape.gateway.replicas if shape.scaling == "none" else shape.gateway.max_replicas
    if shape.store is None and pods > 1:
        message = (
            f"limits and budgets of keys count in each gateway pod: with {pods} pods a key gets up to {pods} "
            "times as much. A key is taken back by changing the Secret and restarting the pods."
        )
        yield Finding(level="warn", message=message, fix="Name a Redis that they share: shape.store.")
    if shape.traffic is None:
        message = "the traffic log and the feedback of a pod go with it."
        yield Finding(level="warn", message=message, fix="Name where they are kept: shape.traffic.ship_to.")
    if shape.store is None:
        return
    own = workspace.settings.serving.store
    if own.url is None:
        message = "`opswright keys` here gives out keys of this workspace, and not of the shared store."
        fix = "Set serving.store to the shared store, as this machine reaches it, and give out a key."
        yield Finding(level="note", message=message, fix=fix)
        return
    if own.prefix != shape.store.prefix:
        message = (
            f"keys are given out here under {own.prefix}, and looked for by pods under {shape.store.prefix}."
        )
        yield Finding(
            level="warn", message=message, fix="Make serving.store.prefix and shape.store.prefix one."
        )
    yield from store_findings(own)


def plan_of(ctx: StepContext) -> str:
    """The id of the plan that the step belongs to; empty outside a recorded run."""
    from ..record.ledger import Ledger
    from ..record.scan import LedgerScan

    found = LedgerScan(Ledger.of(ctx.workspace)).runs([ctx.run_id]).get(ctx.run_id)
    return (found.plan or "") if found is not None else ""
