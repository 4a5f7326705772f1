"""Deploy to a cluster: the manifests of a judged release, applied, waited for and proven; else undone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from ..core.artifact_refs import BundleRef
from ..core.contract import Cost, Effect, Finding, Impact, Result, StepContext, skill
from ..core.machine import Machine
from ..core.workspace import Workspace
from .kubernetes_release import KubernetesRequest, plan_of, release_findings, rendered

_MINUTES = 10.0


class KubernetesDeployRequest(KubernetesRequest):
    """A release, the cluster it is laid out for, and which cluster that is."""

    cluster: str = Field(
        "",
        max_length=253,
        description="Cluster, as a context of the kubeconfig (KUBECONFIG); empty: the current one.",
    )
    timeout_minutes: float = Field(
        30, gt=0, le=1440, description="Minutes until pods must answer; else all is undone."
    )
    take_over: bool = Field(
        False, description="Change also what somebody else's tool owns; else that is refused."
    )


class KubernetesDeployResult(Result):
    """What answers on the cluster now, pod by pod, and what was there before."""

    endpoint: str
    namespace: str
    bundle: BundleRef
    release_digest: str
    former_digest: str
    gateway_pods: tuple[str, ...]
    triton_pods: tuple[str, ...]
    removed: tuple[str, ...]
    address: str


def preflight(request: KubernetesDeployRequest, machine: Machine, workspace: Workspace) -> Iterator[Finding]:
    """Every fault of the manifests, and what the cluster must have; the cluster itself is not asked yet."""
    yield from release_findings(request, workspace)
    if request.shape.scaling == "hpa" and not request.shape.kserve:
        message = "the autoscaler needs a metrics adapter that serves opswright_queue_seconds_p90."
        yield Finding(level="note", message=message, fix="See docs/guide/kubernetes.md, or scaling: none.")


def estimate(request: KubernetesDeployRequest, machine: Machine, workspace: Workspace) -> Cost:
    """Minutes, as images and files must be fetched; what nodes cost is not known."""
    return Cost(minutes=_MINUTES, gpu_hours=0, disk_bytes=0, usd=None)


def impact(arguments: Mapping[str, Any], workspace: Workspace) -> Impact:
    """What users of the endpoint on that cluster would get; what they get now, only the cluster knows."""
    from ..serving.rollout.impacts import value_in_words

    what = value_in_words(arguments["bundle"])
    rails = arguments["guardrails"]
    what += f" behind {value_in_words(rails)}" if rails else " without guardrails"
    where = f"namespace {value_in_words(arguments['namespace'])} of "
    where += f"cluster {arguments['cluster']}" if arguments["cluster"] else "the current cluster"
    return Impact(
        endpoint=value_in_words(arguments["endpoint"]),
        before=f"what {where} serves now; it is asked when the step runs",
        after=f"{what} gets all traffic of {where}, once each pod answers with it",
    )


@skill(
    effect=Effect.SERVES,
    summary="Apply a release to a Kubernetes cluster, prove that every pod answers with it, else undo it.",
    phrases=[
        "deploy {bundle} to kubernetes as {endpoint}",
        "deploy {bundle} on kubernetes as {endpoint}",
        "deploy {bundle} to the cluster as {endpoint}",
        "deploy {bundle} to k8s as {endpoint}",
        "k8s deploy {bundle} as {endpoint}",
        "kubernetes deploy {bundle} as {endpoint}",
        "deploy {bundle} on k8s as {endpoint}",
        "apply {bundle} to kubernetes as {endpoint}",
        "release {bundle} to kubernetes as {endpoint}",
        "put {bundle} on kubernetes as {endpoint}",
        "deploy {bundle} onto kubernetes as {endpoint}",
        "deploy {bundle} to our cluster as {endpoint}",
        "deploy {bundle} on the cluster as {endpoint}",
        "ship {bundle} to kubernetes as {endpoint}",
        "ship {bundle} to the cluster as {endpoint}",
        "ship {bundle} to k8s as {endpoint}",
        "push {bundle} to kubernetes as {endpoint}",
        "push {bundle} to the cluster as {endpoint}",
        "put {bundle} on the cluster as {endpoint}",
        "put {bundle} on k8s as {endpoint}",
        "release {bundle} to the cluster as {endpoint}",
        "release {bundle} on kubernetes as {endpoint}",
        "release {bundle} to k8s as {endpoint}",
        "run {bundle} on kubernetes as {endpoint}",
        "serve {bundle} on kubernetes as {endpoint}",
        "serve {bundle} on the cluster as {endpoint}",
        "bring {bundle} to the cluster as {endpoint}",
        "bring {bundle} to kubernetes as {endpoint}",
        "apply {bundle} to the cluster as {endpoint}",
        "apply {bundle} to k8s as {endpoint}",
        "install {bundle} on kubernetes as {endpoint}",
        "roll {bundle} out to kubernetes as {endpoint}",
        "kubernetes deployment of {bundle} as {endpoint}",
    ],
    preflight=preflight,
    estimate=estimate,
    impact=impact,
)
def kubernetes_deploy(request: KubernetesDeployRequest, ctx: StepContext) -> KubernetesDeployResult:
    """Apply what `kubernetes-manifests` writes for the same arguments, and see it answer.

    The server tries every object first. A new Triton comes up beside the old one; the gateway's pods are
    replaced in turn, each once it answers with the release. Done means that every pod was asked.

    Example: /kubernetes-deploy bundle=bundle:1f2e3d endpoint=a source=pvc:a shape='{gateway_image: g:1}'
    """
    from ..serving.kubernetes.cluster import Cluster, open_client
    from ..serving.kubernetes.rollout import ClusterRollout
    from ..serving.kubernetes.secret_names import wanted_secrets

    release, manifests = rendered(request, ctx.workspace, plan_of(ctx))
    applied = ClusterRollout(
        Cluster(open_client(request.cluster), request.namespace),
        release,
        manifests,
        wanted_secrets(release, request.shape),
        take_over=request.take_over,
        timeout_s=request.timeout_minutes * 60,
        say=ctx.log,
        progress=ctx.progress,
        check=ctx.check,
    ).run()
    return KubernetesDeployResult(
        endpoint=request.endpoint,
        namespace=request.namespace,
        bundle=request.bundle,
        release_digest=release.digest,
        former_digest=applied.former_digest,
        gateway_pods=applied.gateway_pods,
        triton_pods=applied.triton_pods,
        removed=applied.removed,
        address=f"http://{release.name('gateway')}.{request.namespace}.svc",
    )
