"""Who may reach what: Triton is reached by the gateway alone; nobody reaches out beyond what a part needs."""

from __future__ import annotations

from . import gateway_pods, triton_pods
from .objects import Manifest, manifest
from .release import ClusterRelease
from .shape import ClusterShape, ClusterStore

_NAMESPACE = "kubernetes.io/metadata.name"
_DNS: Manifest = {
    "to": [{"namespaceSelector": {"matchLabels": {_NAMESPACE: "kube-system"}}}],
    "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
}
_HTTPS_PORT = 443
_HTTPS: Manifest = {
    "ports": [{"protocol": "TCP", "port": _HTTPS_PORT}]
}  # an S3-like address has no pods to name


def network_policies(release: ClusterRelease, shape: ClusterShape) -> dict[str, Manifest]:
    """The policies of gateway and Triton by file name; of the endpoint, so no release is without."""
    gateway, triton = release.labels(gateway_pods.PART), release.labels(triton_pods.PART)
    scrapers = _namespaces(shape.monitoring_namespace)
    outward = [_DNS, *([_HTTPS] if release.source.startswith("s3:") else [])]
    from_gateway = [_reach([{"podSelector": {"matchLabels": gateway}}], triton_pods.PORT)]
    to_triton = {
        "to": [{"podSelector": {"matchLabels": triton}}],
        "ports": [{"protocol": "TCP", "port": triton_pods.PORT}],
    }
    shared = [] if shape.store is None else [_to_store(shape.store)]
    if shape.traffic is not None and not (shape.traffic.port == _HTTPS_PORT and _HTTPS in outward):
        shared.append({"ports": [{"protocol": "TCP", "port": shape.traffic.port}]})
    callers = [{"podSelector": {}}, *_namespaces(*shape.callers)]
    return {
        "triton-network": _policy(
            release,
            triton_pods.PART,
            [*from_gateway, _reach(scrapers, triton_pods.METRICS_PORT)],
            outward,
        ),
        "gateway-network": _policy(
            release,
            gateway_pods.PART,
            [_reach([*callers, *scrapers], gateway_pods.PORT)],
            [*outward, to_triton, *shared],
        ),
    }


def _to_store(store: ClusterStore) -> Manifest:
    """The way to the shared store: its port, in its namespace where that is named."""
    way: Manifest = {"ports": [{"protocol": "TCP", "port": store.port}]}
    return way if store.namespace is None else {"to": _namespaces(store.namespace), **way}


def _namespaces(*names: str) -> list[Manifest]:
    return [{"namespaceSelector": {"matchLabels": {_NAMESPACE: name}}} for name in dict.fromkeys(names)]


def _reach(peers: list[Manifest], port: int) -> Manifest:
    return {"from": peers, "ports": [{"protocol": "TCP", "port": port}]}


def _policy(release: ClusterRelease, part: str, ingress: list[Manifest], egress: list[Manifest]) -> Manifest:
    spec = {
        "podSelector": {"matchLabels": release.labels(part)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": ingress,
        "egress": egress,
    }
    return manifest(release, "NetworkPolicy", part, spec, api="networking.k8s.io/v1")
