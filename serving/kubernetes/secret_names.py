"""The Secrets that a release's pods name, and the command that makes each: none is made or read here."""

from __future__ import annotations

from .release import ClusterRelease
from .shape import ClusterShape


def wanted_secrets(release: ClusterRelease, shape: ClusterShape) -> dict[str, str]:
    """Each Secret that must be in the namespace, with the command that makes one."""
    make = f"kubectl -n {release.namespace} create secret generic"
    names = shape.secrets
    found = {triton_secret(release, shape): '--from-literal=secret="$(openssl rand -hex 32)"'}
    if shape.store is None:
        how = "--from-file=keys.json=.opswright/keys.json  # opswright keys create NAME"
        found[keys_secret(release, shape)] = how
    else:
        certificates = " --from-file=ca.crt=FILE" if shape.store.private_ca else ""
        found[store_secret(release, shape)] = f"--from-file=password=FILE{certificates}"
    if shape.traffic is not None and names.traffic:
        found[names.traffic] = "--from-env-file=FILE  # AWS_ACCESS_KEY_ID=... and so on"
    if shape.service_monitor:
        found[metrics_secret(release, shape)] = (
            "--from-file=key=FILE  # opswright keys create NAME --scope metrics"
        )
    if names.source and release.source.startswith("s3:"):
        found[names.source] = "--from-env-file=FILE  # AWS_ACCESS_KEY_ID=... and so on"
    return {name: f"{make} {name} {how}" for name, how in found.items()}


def triton_secret(release: ClusterRelease, shape: ClusterShape) -> str:
    """The Secret with what Triton asks of who reaches it."""
    return shape.secrets.triton or release.name("triton")


def keys_secret(release: ClusterRelease, shape: ClusterShape) -> str:
    """The Secret with the API keys, hashed."""
    return shape.secrets.keys or release.name("keys")


def store_secret(release: ClusterRelease, shape: ClusterShape) -> str:
    """The Secret with the password of the store that gateway pods share."""
    return shape.secrets.store or release.name("store")


def metrics_secret(release: ClusterRelease, shape: ClusterShape) -> str:
    """The Secret with the key that Prometheus shows."""
    return shape.secrets.metrics or release.name("metrics")
