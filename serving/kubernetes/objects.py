"""What every object of a release has in common: metadata, security, environment from Secrets, volumes."""

from __future__ import annotations

from typing import Any

from .release import DOMAIN, ClusterRelease
from .shape import ClusterShape

Manifest = dict[str, Any]

RELEASE_MOUNT = "/etc/opswright"
ARTIFACTS_MOUNT = "/artifacts"
FIELD_OWNER = "opswright"
CLOSED: Manifest = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def manifest(
    release: ClusterRelease,
    kind: str,
    part: str,
    spec: Manifest,
    *,
    api: str = "v1",
    of_release: bool = False,
    **other: Any,
) -> Manifest:
    """One object, named and labelled by its part; its annotations tell what runs, and by which plan."""
    annotations = {**release.proof, **({f"{DOMAIN}/plan": release.plan} if release.plan else {})}
    found = {
        "apiVersion": api,
        "kind": kind,
        "metadata": {
            "name": release.name(part, of_release=of_release),
            "namespace": release.namespace,
            "labels": {
                **release.labels(part, of_release=of_release),
                "app.kubernetes.io/managed-by": FIELD_OWNER,
            },
            "annotations": annotations,
        },
        **other,
    }
    return found | ({"spec": spec} if spec else {})


def pod_base(release: ClusterRelease, part: str, user: int, grace_s: int) -> Manifest:
    """What pods of either part begin with: an account without a token, nobody's root, time to end."""
    return {
        "serviceAccountName": release.name(part),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": _pod_security(user),
        "terminationGracePeriodSeconds": grace_s,
    }


def _pod_security(user: int) -> Manifest:
    """A pod that is nobody's root, with the runtime's own filter of system calls."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def from_secret(variable: str, name: str, key: str) -> Manifest:
    """An environment variable whose value the cluster puts in: a file never has it."""
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}


def scratch(name: str, size: str) -> Manifest:
    """An empty folder of a pod, gone with it."""
    return {"name": name, "emptyDir": {"sizeLimit": size}}


def mounted(name: str, path: str, *, read_only: bool = False) -> Manifest:
    """A volume at a path."""
    return {"name": name, "mountPath": path} | ({"readOnly": True} if read_only else {})


def source_parts(release: ClusterRelease) -> tuple[list[Manifest], list[Manifest], str]:
    """Volumes and mounts by which a release's files are reached, and their address in the pod."""
    if not release.source.startswith("pvc:"):
        return [], [], release.source
    claim, _, path = release.source.removeprefix("pvc:").partition("/")
    volume = {"name": "artifacts", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
    address = f"{ARTIFACTS_MOUNT}/{path}" if path else ARTIFACTS_MOUNT
    return [volume], [mounted("artifacts", ARTIFACTS_MOUNT, read_only=True)], address


def fetching(
    release: ClusterRelease, shape: ClusterShape, part: str, options: list[str], mounts: list[Manifest]
) -> Manifest:
    """The init container that brings a release's files to a part, each checked against its digest."""
    _, source_mounts, address = source_parts(release)
    found = {
        "name": "fetch",
        "image": shape.gateway_image,
        "command": ["python", "-m", "opswright.serving.kubernetes.fetch", part],
        "args": [f"--release={RELEASE_MOUNT}/release.json", f"--source={address}", *options],
        "env": [{"name": "HOME", "value": "/tmp"}],
        "resources": resources("500m", "1Gi"),
        "securityContext": CLOSED,
        "volumeMounts": [
            mounted("release", RELEASE_MOUNT, read_only=True),
            mounted("tmp", "/tmp"),
            *source_mounts,
            *mounts,
        ],
    }
    if release.source.startswith("s3:") and shape.secrets.source:
        found["envFrom"] = [{"secretRef": {"name": shape.secrets.source}}]
    return found


def resources(cpu: str, memory: str, gpus: int = 0) -> Manifest:
    """CPU is asked for and not capped: a cap makes answers wait for the next period. Memory is both."""
    found: Manifest = {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}
    if gpus:
        found["limits"]["nvidia.com/gpu"] = str(gpus)
    return found
