"""The gateway on a cluster: replicas that hold the same release, keys and settings, and share nothing."""

from __future__ import annotations

from .config import name_of, release_config, settings_config
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
from .release import ClusterRelease
from .secret_names import keys_secret, triton_secret
from .shape import ClusterShape
from .triton_pods import PART as TRITON
from .triton_pods import PORT as TRITON_PORT

PART = "gateway"
PORT = 8700
WORKSPACE = "/workspace"
KEYS_MOUNT = "/var/run/opswright/keys"
_USER = 10001  # of the project's image
_GRACE_S = 45
_DRAIN_S = 5  # until no node sends requests to a pod that ends


def triton_address(release: ClusterRelease, shape: ClusterShape) -> str:
    """Where the gateway of a release asks that release's Triton, and no other's."""
    name = release.name(TRITON, of_release=True)
    return f"http://{name}-predictor" if shape.kserve else f"http://{name}:{TRITON_PORT}"


def gateway_pod(release: ClusterRelease, shape: ClusterShape) -> Manifest:
    """The pod: release, rails and keys put into a workspace of its own, then the gateway."""
    volumes, _, _ = source_parts(release)
    keys = keys_secret(release, shape)
    mounts = [mounted("workspace", WORKSPACE), mounted("keys", KEYS_MOUNT, read_only=True)]
    found: Manifest = {
        **pod_base(release, PART, _USER, _GRACE_S),
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": release.labels(PART)},
            }
        ],
        "initContainers": [
            fetching(
                release, shape, "gateway", [f"--into={WORKSPACE}", f"--keys={KEYS_MOUNT}/keys.json"], mounts
            )
        ],
        "containers": [_gateway(release, shape)],
        "volumes": [
            {"name": "release", "configMap": {"name": name_of(release_config(release))}},
            {"name": "keys", "secret": {"secretName": keys, "defaultMode": 0o440}},
            scratch("workspace", "2Gi"),
            scratch("tmp", "1Gi"),
            *volumes,
        ],
    }
    if shape.gateway.node_selector:
        found["nodeSelector"] = shape.gateway.node_selector
    if shape.secrets.pull:
        found["imagePullSecrets"] = [{"name": name} for name in shape.secrets.pull]
    return found


def gateway_settings(release: ClusterRelease, shape: ClusterShape) -> dict[str, str]:
    """The gateway's settings as variables; secrets are not among them."""
    return {
        "OPSWRIGHT_HOME": WORKSPACE,
        "OPSWRIGHT_SERVING__HOST": "0.0.0.0",
        "OPSWRIGHT_SERVING__GATEWAY_PORT": str(PORT),
        "OPSWRIGHT_SERVING__PRELOADED_TRITON": triton_address(release, shape),
    }


def _gateway(release: ClusterRelease, shape: ClusterShape) -> Manifest:
    settings = name_of(settings_config(release, gateway_settings(release, shape)))
    return {
        "name": "gateway",
        "image": shape.gateway_image,
        "command": ["python", "-m", "opswright.serving.gateway"],
        "args": [f"--home={WORKSPACE}"],
        "envFrom": [{"configMapRef": {"name": settings}}],
        "env": [
            from_secret(
                "OPSWRIGHT_SERVING__PRELOADED_TRITON_SECRET", triton_secret(release, shape), "secret"
            ),
            {"name": "HOME", "value": "/tmp"},
        ],
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "resources": resources(shape.gateway.cpu, shape.gateway.memory),
        "securityContext": CLOSED,
        "startupProbe": _probe("/readyz", shape.start_minutes * 12),
        "readinessProbe": _probe("/readyz", 2),
        "livenessProbe": _probe("/healthz", 6),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(_DRAIN_S)]}}},
        "volumeMounts": [
            mounted("workspace", WORKSPACE),
            mounted("release", RELEASE_MOUNT, read_only=True),
            mounted("tmp", "/tmp"),
        ],
    }


def _probe(path: str, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
        "periodSeconds": 5,
        "timeoutSeconds": 12,
        "failureThreshold": failures,
    }


def gateway_objects(release: ClusterRelease, shape: ClusterShape) -> dict[str, Manifest]:
    """The gateway's objects by file name: one set an endpoint, whose pods a new release replaces in turn."""
    deployment: Manifest = {
        "selector": {"matchLabels": release.labels(PART)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "progressDeadlineSeconds": shape.start_minutes * 60 + 120,
        "revisionHistoryLimit": 2,
        "template": {
            "metadata": {"labels": release.labels(PART), "annotations": release.proof},
            "spec": gateway_pod(release, shape),
        },
    }
    if shape.scaling == "none":
        deployment["replicas"] = shape.gateway.replicas
    ports = [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}]
    service = {"selector": release.labels(PART), "ports": ports}
    return {
        "gateway-deployment": manifest(release, "Deployment", PART, deployment, api="apps/v1"),
        "gateway-service": manifest(release, "Service", PART, service),
    }
