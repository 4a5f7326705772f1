"""How many pods run: by the time that requests wait (Triton), by CPU (the gateway), and while nodes leave."""

from __future__ import annotations

from . import gateway_pods, triton_pods
from .objects import Manifest, manifest
from .release import ClusterRelease
from .shape import ClusterShape, PodShape

QUEUE_METRIC = "opswright_queue_seconds_p90"  # what an adapter must serve for `hpa`; the guide has its rule
_CPU_PERCENT = 70
_SLOW_DOWN = {"scaleDown": {"stabilizationWindowSeconds": 300}}


def scaling_objects(release: ClusterRelease, shape: ClusterShape) -> dict[str, Manifest]:
    """Autoscalers, and what keeps pods from leaving all at once, by file name."""
    found = {"gateway-disruption": _disruption(release, gateway_pods.PART, of_release=False)}
    if not shape.kserve:
        found["triton-disruption"] = _disruption(release, triton_pods.PART, of_release=True)
    if shape.scaling == "none":
        return found
    found["gateway-scaling"] = _gateway_scaling(release, shape)
    if shape.scaling == "keda":
        found["triton-scaling"] = _keda(release, shape)
    elif not shape.kserve:
        found["triton-scaling"] = _by_queue(release, shape)
    return found


def _disruption(release: ClusterRelease, part: str, *, of_release: bool) -> Manifest:
    spec = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": release.labels(part, of_release=of_release)},
    }
    return manifest(release, "PodDisruptionBudget", part, spec, api="policy/v1", of_release=of_release)


def _autoscaler(
    release: ClusterRelease, part: str, pods: PodShape, metric: Manifest, *, of_release: bool
) -> Manifest:
    spec: Manifest = {
        "scaleTargetRef": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": release.name(part, of_release=of_release),
        },
        "minReplicas": pods.replicas,
        "maxReplicas": pods.max_replicas,
        "metrics": [metric],
        "behavior": _SLOW_DOWN,
    }
    return manifest(
        release, "HorizontalPodAutoscaler", part, spec, api="autoscaling/v2", of_release=of_release
    )


def _gateway_scaling(release: ClusterRelease, shape: ClusterShape) -> Manifest:
    target = {"type": "Utilization", "averageUtilization": _CPU_PERCENT}
    metric = {"type": "Resource", "resource": {"name": "cpu", "target": target}}
    return _autoscaler(release, gateway_pods.PART, shape.gateway, metric, of_release=False)


def _by_queue(release: ClusterRelease, shape: ClusterShape) -> Manifest:
    selector = {"matchLabels": {"endpoint": release.endpoint}}
    metric = {
        "type": "External",
        "external": {
            "metric": {"name": QUEUE_METRIC, "selector": selector},
            "target": {"type": "Value", "value": f"{max(1, round(shape.queue_ms))}m"},
        },
    }
    return _autoscaler(release, triton_pods.PART, shape.triton, metric, of_release=True)


def queue_query(release: ClusterRelease) -> str:
    """The seconds that 90 % of an endpoint's requests wait at most, in PromQL; 0 where nobody asks."""
    series = (
        f'opswright_queue_seconds_bucket{{namespace="{release.namespace}",endpoint="{release.endpoint}"}}'
    )
    return f"(histogram_quantile(0.9, sum by (le) (rate({series}[2m]))) >= 0) or vector(0)"


def _keda(release: ClusterRelease, shape: ClusterShape) -> Manifest:
    trigger = {
        "type": "prometheus",
        "metricType": "Value",
        "metadata": {
            "serverAddress": str(shape.prometheus),
            "query": queue_query(release),
            "threshold": f"{shape.queue_ms / 1000:g}",
        },
    }
    spec = {
        "scaleTargetRef": {"name": release.name(triton_pods.PART, of_release=True)},
        "minReplicaCount": shape.triton.replicas,
        "maxReplicaCount": shape.triton.max_replicas,
        "pollingInterval": 15,
        "triggers": [trigger],
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _SLOW_DOWN}},
    }
    return manifest(release, "ScaledObject", triton_pods.PART, spec, api="keda.sh/v1alpha1", of_release=True)
