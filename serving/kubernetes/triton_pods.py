"""Triton on a cluster: pods that load one release at their start, and are ready once they answer with it."""

from __future__ import annotations

from ..triton.access import APIS, SECRET_HEADER
from .config import name_of, release_config
from .objects import (
    CLOSED,
    RELEASE_MOUNT,
    Manifest,
    fetching,
    from_secret,
    manifest,
    mounted,
    pod_base,
    resources,
    scratch,
    source_parts,
)
from .quantities import as_number
from .release import ClusterRelease
from .secret_names import triton_secret
from .shape import ClusterShape

PART = "triton"
PORT, METRICS_PORT = 8000, 8002
MODELS = "/models"
_USER = 1000  # triton-server, in NVIDIA's images
_PROBE_S, _PROBE_EVERY_S = 20, 10
_GRACE_S = 60
_GPU_TAINT = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}


def triton_pod(release: ClusterRelease, shape: ClusterShape) -> Manifest:
    """The pod: files fetched and checked, then the server, in memory of its own."""
    volumes, _, _ = source_parts(release)
    files = release.gpu.mount if release.gpu else MODELS
    threads = max(1, int(as_number(shape.triton.cpu)))
    found: Manifest = {
        **pod_base(release, PART, _USER, _GRACE_S),
        "initContainers": [
            fetching(
                release,
                shape,
                "triton",
                [f"--into={files}", f"--threads={threads}"],
                [mounted("files", files)],
            )
        ],
        "containers": [_server(release, shape, files)],
        "volumes": [
            {"name": "release", "configMap": {"name": name_of(release_config(release))}},
            scratch("files", shape.disk),
            scratch("tmp", "4Gi"),
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{shape.shared_memory_mb}Mi"}},
            *volumes,
        ],
    }
    if shape.triton.node_selector:
        found["nodeSelector"] = shape.triton.node_selector
    if release.gpu:
        found["tolerations"] = [_GPU_TAINT]
    if shape.secrets.pull:
        found["imagePullSecrets"] = [{"name": name} for name in shape.secrets.pull]
    return found


def _server(release: ClusterRelease, shape: ClusterShape, files: str) -> Manifest:
    image = shape.triton_image or (release.gpu.image if release.gpu else "")
    start = (
        [f"{files}/triton.sh"] if release.gpu else ["tritonserver", f"--model-repository={files}/repository"]
    )
    return {
        "name": "triton",
        "image": image,
        "command": start,
        "args": server_options(release),
        "env": [
            from_secret("TRITON_SECRET", triton_secret(release, shape), "secret"),
            {"name": "OPSWRIGHT_MODEL", "value": release.model},
            {"name": "OPSWRIGHT_RELEASE", "value": "" if release.gpu else release.id},
            {"name": "HOME", "value": "/tmp"},
        ],
        "ports": [
            {"name": "http", "containerPort": PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
        ],
        "resources": resources(shape.triton.cpu, shape.triton.memory, release.gpu.gpus if release.gpu else 0),
        "securityContext": CLOSED,
        "startupProbe": _probe("answers", shape.start_minutes * 60 // _PROBE_EVERY_S),
        "readinessProbe": _probe("answers", 3),
        "livenessProbe": _probe("lives", 6),
        "volumeMounts": [
            mounted("files", files, read_only=True),
            mounted("release", RELEASE_MOUNT, read_only=True),
            mounted("tmp", "/tmp"),
            mounted("shm", "/dev/shm"),
        ],
    }


def server_options(release: ClusterRelease) -> list[str]:
    """Tritonserver's options: one model, loaded at the start; every API asks for the secret.

    What another bundle's model.yaml says of batching and streaming is completed by NVIDIA's code.
    """
    fixed = [] if release.gpu else ["--disable-auto-complete-config"]
    return [
        "--model-control-mode=explicit",
        f"--load-model={release.model}",
        *fixed,
        f"--http-port={PORT}",
        f"--http-restricted-api={','.join(APIS)}:{SECRET_HEADER}=$(TRITON_SECRET)",
        "--allow-grpc=false",
        f"--metrics-port={METRICS_PORT}",
        "--exit-timeout-secs=30",
    ]


def _probe(question: str, failures: int) -> Manifest:
    """Kubernetes asks inside the container: what a probe over the network sends cannot come from a Secret."""
    return {
        "exec": {"command": ["python3", f"{RELEASE_MOUNT}/probe.py", question]},
        "periodSeconds": _PROBE_EVERY_S,
        "timeoutSeconds": _PROBE_S,
        "failureThreshold": failures,
    }


def triton_objects(release: ClusterRelease, shape: ClusterShape) -> dict[str, Manifest]:
    """Triton's objects by file name: of this release alone, so that two releases can run side by side."""
    template = {
        "metadata": {
            "labels": release.labels(PART, of_release=True),
            "annotations": release.proof,
        },
        "spec": triton_pod(release, shape),
    }
    deployment: Manifest = {
        "selector": {"matchLabels": release.labels(PART, of_release=True)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "progressDeadlineSeconds": shape.start_minutes * 60 + 120,
        "revisionHistoryLimit": 2,
        "template": template,
    }
    if shape.scaling == "none":
        deployment["replicas"] = shape.triton.replicas
    ports = [
        {"name": name, "port": port, "targetPort": name, "protocol": "TCP"}
        for name, port in (("http", PORT), ("metrics", METRICS_PORT))
    ]
    service = {"selector": release.labels(PART, of_release=True), "ports": ports}
    return {
        "triton-deployment": manifest(
            release, "Deployment", PART, deployment, api="apps/v1", of_release=True
        ),
        "triton-service": manifest(release, "Service", PART, service, of_release=True),
    }
