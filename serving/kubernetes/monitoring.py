"""What the Prometheus Operator scrapes: the gateway with a key, Triton without one."""

from __future__ import annotations

from . import gateway_pods, triton_pods
from .objects import Manifest, manifest
from .release import ClusterRelease
from .secret_names import metrics_secret
from .shape import ClusterShape

_API = "monitoring.coreos.com/v1"


def monitors(release: ClusterRelease, shape: ClusterShape) -> dict[str, Manifest]:
    """A ServiceMonitor for gateway and Triton, by file name."""
    key = metrics_secret(release, shape)
    bearer = {"type": "Bearer", "credentials": {"name": key, "key": "key"}}
    found = {
        "gateway-monitor": _monitor(
            release, gateway_pods.PART, {"port": "http", "path": "/metrics", "authorization": bearer}
        )
    }
    if not shape.kserve:  # whose Service shows the model's port alone
        found["triton-monitor"] = _monitor(release, triton_pods.PART, {"port": "metrics", "path": "/metrics"})
    return found


def _monitor(release: ClusterRelease, part: str, endpoint: Manifest) -> Manifest:
    spec = {
        "selector": {"matchLabels": release.labels(part)},
        # the gateway's own label `endpoint` stays: the operator would put the port's name in its place
        "endpoints": [{**endpoint, "interval": "15s", "honorLabels": True}],
    }
    return manifest(release, "ServiceMonitor", part, spec, api=_API)
