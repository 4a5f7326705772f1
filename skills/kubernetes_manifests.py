"""Kubernetes manifests: a release as checked YAML files; nothing on a cluster changes."""

from __future__ import annotations

from collections.abc import Iterator

from ..core.artifact_refs import ManifestsRef
from ..core.contract import Cost, Effect, Finding, Result, StepContext, skill
from ..core.machine import Machine
from ..core.workspace import Workspace
from .kubernetes_release import KubernetesRequest, plan_of, release_findings, rendered

_SHOWN_LINES = 200
_MINUTES = 0.1


class KubernetesManifestsRequest(KubernetesRequest):
    """A release, and the cluster it is laid out for."""


class KubernetesManifestsResult(Result):
    """Where the files lie, and what differs from those that were written before."""

    manifests: ManifestsRef
    folder: str
    files: tuple[str, ...]
    release_digest: str
    changed_lines: int
    validated_for: str


def preflight(
    request: KubernetesManifestsRequest, machine: Machine, workspace: Workspace
) -> Iterator[Finding]:
    """Every fault of the manifests, before anything is written."""
    yield from release_findings(request, workspace)


def estimate(request: KubernetesManifestsRequest, machine: Machine, workspace: Workspace) -> Cost:
    """Seconds."""
    return Cost(minutes=_MINUTES, gpu_hours=0, disk_bytes=200_000, usd=0)


@skill(
    effect=Effect.WRITES,
    summary="Write a release as Kubernetes manifests, checked offline; nothing is applied.",
    phrases=[
        "write kubernetes manifests for {bundle} as {endpoint}",
        "write the kubernetes manifests of {bundle} as {endpoint}",
        "write manifests for {bundle} as {endpoint}",
        "make kubernetes manifests for {bundle} as {endpoint}",
        "generate kubernetes manifests for {bundle} as {endpoint}",
        "generate manifests for {bundle} as {endpoint}",
        "render manifests for {bundle} as {endpoint}",
        "manifests for {bundle} as {endpoint}",
        "kubernetes manifests for {bundle} as {endpoint}",
        "kubernetes manifests of {bundle} as {endpoint}",
        "create kubernetes manifests for {bundle} as {endpoint}",
        "k8s manifests for {bundle} as {endpoint}",
        "k8s manifests of {bundle} as {endpoint}",
        "manifests of {bundle} as {endpoint}",
        "write k8s manifests for {bundle} as {endpoint}",
        "make k8s manifests for {bundle} as {endpoint}",
        "generate k8s manifests for {bundle} as {endpoint}",
        "make manifests for {bundle} as {endpoint}",
        "create manifests for {bundle} as {endpoint}",
        "create the kubernetes manifests of {bundle} as {endpoint}",
        "write the kubernetes manifests for {bundle} as {endpoint}",
        "write the manifests for {bundle} as {endpoint}",
        "kubernetes files for {bundle} as {endpoint}",
        "kubernetes yaml for {bundle} as {endpoint}",
        "k8s yaml for {bundle} as {endpoint}",
        "write kubernetes yaml for {bundle} as {endpoint}",
        "write k8s yaml for {bundle} as {endpoint}",
        "render kubernetes manifests for {bundle} as {endpoint}",
        "render the manifests for {bundle} as {endpoint}",
        "render k8s manifests for {bundle} as {endpoint}",
        "produce kubernetes manifests for {bundle} as {endpoint}",
        "prepare kubernetes manifests for {bundle} as {endpoint}",
        "write {bundle} as kubernetes manifests",
        "export {bundle} as kubernetes manifests",
        "turn {bundle} into kubernetes manifests",
        "kube manifests for {bundle} as {endpoint}",
    ],
    preflight=preflight,
    estimate=estimate,
    reusable=False,
)
def kubernetes_manifests(request: KubernetesManifestsRequest, ctx: StepContext) -> KubernetesManifestsResult:
    """Write Triton, gateway, services, scaling, network policies and monitors as YAML files.

    All are checked against the published schemas of the cluster's version, and by rules for what those let
    pass; one error lists every fault. `kubernetes-deploy` with the same arguments applies them.

    Example: /kubernetes-manifests bundle=bundle:1f2e3d endpoint=a source=pvc:a shape='{gateway_image: g:1}'
    """
    from ..serving.kubernetes.files import as_yaml, difference, read_texts, write_texts, written_folder

    release, manifests = rendered(request, ctx.workspace, plan_of(ctx))
    texts = as_yaml(manifests)
    folder = written_folder(ctx.workspace, request.endpoint)
    with ctx.workspace.lock(f"kubernetes-{request.endpoint}"):
        before = read_texts(folder)
        changes = difference(before, texts)
        write_texts(folder, texts)
    if not before:
        ctx.log(f"{len(texts)} files, all new: {', '.join(texts)}")
    for line in changes[:_SHOWN_LINES] if before else ():
        ctx.log(line)
    if before and len(changes) > _SHOWN_LINES:
        ctx.log(f"... {len(changes) - _SHOWN_LINES} lines more")
    with ctx.artifacts.staging() as stage:
        write_texts(stage, texts)
        facts = {
            "endpoint": request.endpoint,
            "release": release.digest,
            "kubernetes": request.shape.kubernetes,
        }
        parents = [request.bundle, *([request.guardrails] if request.guardrails else [])]
        saved = ctx.artifacts.save(ManifestsRef, stage, facts, parents)
    return KubernetesManifestsResult(
        manifests=saved,
        folder=str(folder),
        files=tuple(texts),
        release_digest=release.digest,
        changed_lines=len(changes),
        validated_for=request.shape.kubernetes,
    )
