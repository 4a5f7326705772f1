"""The gateway on a cluster: replicas that hold the same release and settings.

Keys, counts and traffic are each pod's own, or those of a store and an address that all of them share.
"""

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
from .secret_names import keys_secret, store_secret, triton_secret
from .shape import ClusterShape
from .triton_pods import PART as TRITON
from .triton_pods import PORT as TRITON_PORT

PART = "gateway"
PORT = 8700
WORKSPACE = "/workspace"
KEYS_MOUNT = "/var/run/opswright/keys"
STORE_MOUNT = "/etc/opswright-store"
_STORE, _STORE_PASSWORD = "OPSWRIGHT_SERVING__STORE__", "OPSWRIGHT_STORE_PASSWORD"
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
    mounts, options = [mounted("workspace", WORKSPACE)], [f"--into={WORKSPACE}"]
    if shape.store is None:
        mounts.append(mounted("keys", KEYS_MOUNT, read_only=True))
        options.append(f"--keys={KEYS_MOUNT}/keys.json")
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
        "initContainers": [fetching(release, shape, "gateway", options, mounts)],
        "containers": [_gateway(release, shape)],
        "volumes": [
            {"name": "release", "configMap": {"name": name_of(release_config(release))}},
            *_secret_volumes(release, shape),
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
    found = {
        "OPSWRIGHT_HOME": WORKSPACE,
        "OPSWRIGHT_SERVING__HOST": "0.0.0.0",
        "OPSWRIGHT_SERVING__GATEWAY_PORT": str(PORT),
        "OPSWRIGHT_SERVING__PRELOADED_TRITON": triton_address(release, shape),
    }
    if (store := shape.store) is not None:
        found |= {
            f"{_STORE}URL": store.url,
            f"{_STORE}PREFIX": store.prefix,
            f"{_STORE}PASSWORD": f"secret:env:{_STORE_PASSWORD}",
        }
        found |= {f"{_STORE}USERNAME": store.username} if store.username else {}
        found |= {f"{_STORE}CA_FILE": f"{STORE_MOUNT}/ca.crt"} if store.private_ca else {}
    if shape.traffic is not None:
        found["OPSWRIGHT_SERVING__TRAFFIC__SHIP_TO"] = shape.traffic.ship_to
        found["OPSWRIGHT_SERVING__TRAFFIC__SHIP_EVERY_S"] = f"{shape.traffic.ship_every_s:g}"
    return found


def _secret_volumes(release: ClusterRelease, shape: ClusterShape) -> list[Manifest]:
    """The keys where pods share no store; else the certificates by which it is judged, if private."""
    if shape.store is None:
        return [{"name": "keys", "secret": {"secretName": keys_secret(release, shape), "defaultMode": 0o440}}]
    if not shape.store.private_ca:
        return []
    items = [{"key": "ca.crt", "path": "ca.crt"}]
    secret = {"secretName": store_secret(release, shape), "items": items, "defaultMode": 0o440}
    return [{"name": "store", "secret": secret}]


def _gateway(release: ClusterRelease, shape: ClusterShape) -> Manifest:
    settings = name_of(settings_config(release, gateway_settings(release, shape)))
    store, written_with = shape.store, shape.secrets.traffic if shape.traffic is not None else None
    passwords = (
        [] if store is None else [from_secret(_STORE_PASSWORD, store_secret(release, shape), "password")]
    )
    credentials = [{"secretRef": {"name": written_with}}] if written_with else []
    judged = [mounted("store", STORE_MOUNT, read_only=True)] if store is not None and store.private_ca else []
    return {
        "name": "gateway",
        "image": shape.gateway_image,
        "command": ["python", "-m", "opswright.serving.gateway"],
        "args": [f"--home={WORKSPACE}"],
        "envFrom": [{"configMapRef": {"name": settings}}, *credentials],
        "env": [
            from_secret(
                "OPSWRIGHT_SERVING__PRELOADED_TRITON_SECRET", triton_secret(release, shape), "secret"
            ),
            *passwords,
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
            *judged,
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
