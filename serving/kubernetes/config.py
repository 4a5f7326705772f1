"""What pods are told, in ConfigMaps that never change: each is named by what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...core.files import sha256_json
from .objects import Manifest, manifest
from .release import ClusterRelease

_PROBE = Path(__file__).with_name("probe.py")


def release_config(release: ClusterRelease) -> Manifest:
    """The release as init containers read it, and what Triton's probes run."""
    told = {"release.json": release.document(), "probe.py": _PROBE.read_text(encoding="utf-8")}
    return _config_map(release, "release", told)


def settings_config(release: ClusterRelease, settings: Mapping[str, str]) -> Manifest:
    """The gateway's settings, as variables of its environment."""
    return _config_map(release, "settings", settings)


def name_of(config: Manifest) -> str:
    """The name by which a pod asks for it."""
    return str(config["metadata"]["name"])


def _config_map(release: ClusterRelease, part: str, data: Mapping[str, str]) -> Manifest:
    found = manifest(release, "ConfigMap", part, {}, of_release=True, immutable=True, data=dict(data))
    found["metadata"]["name"] = f"{release.name(part)}-{sha256_json(dict(data))[:10]}"
    return found
