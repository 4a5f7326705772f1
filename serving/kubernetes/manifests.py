"""All objects of a release, in the order in which a cluster takes them; the same release, the same bytes."""

from __future__ import annotations

from . import gateway_pods, triton_pods
from .config import release_config, settings_config
from .gateway_pods import gateway_objects, gateway_settings
from .kserve import inference_service
from .monitoring import monitors
from .network import network_policies
from .objects import Manifest, manifest
from .release import ClusterRelease
from .scaling import scaling_objects
from .shape import ClusterShape
from .triton_pods import triton_objects


def render(release: ClusterRelease, shape: ClusterShape) -> dict[str, Manifest]:
    """Each object by the name of its file, numbered in the order in which they are applied."""
    named = {
        **_accounts(release),
        "release": release_config(release),
        "settings": settings_config(release, gateway_settings(release, shape)),
        **network_policies(release, shape),
        **(inference_service(release, shape) if shape.kserve else triton_objects(release, shape)),
        **gateway_objects(release, shape),
        **scaling_objects(release, shape),
        **(monitors(release, shape) if shape.service_monitor else {}),
    }
    return {f"{number:02d}-{name}.yaml": found for number, (name, found) in enumerate(named.items(), 1)}


def _accounts(release: ClusterRelease) -> dict[str, Manifest]:
    """Accounts that may do nothing: no pod gets a token."""
    return {
        f"{part}-account": manifest(release, "ServiceAccount", part, {}, automountServiceAccountToken=False)
        for part in (triton_pods.PART, gateway_pods.PART)
    }
