"""Releases to lay out, and a cluster that is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import BundleRef, GuardrailRef
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.serving.kubernetes.cluster import Cluster
from opswright.serving.kubernetes.manifests import render
from opswright.serving.kubernetes.release import ClusterRelease
from opswright.serving.kubernetes.rollout import ClusterRollout
from opswright.serving.kubernetes.secret_names import wanted_secrets
from opswright.serving.kubernetes.shape import ClusterShape

from .fake_cluster import FakeCluster, serving

NAMESPACE = "prod"
IMAGES = {"gateway_image": "reg.example/gateway:1", "triton_image": "reg.example/triton:1"}


@dataclass
class Layout:
    """A workspace whose releases are laid out for a cluster."""

    workspace: Workspace

    def bundle(self, weights: str, target: str = "onnx-int8") -> BundleRef:
        """A bundle as the store keeps one; its engine is a text."""
        with self.workspace.artifacts.staging() as stage:
            (stage / "engine").mkdir()
            (stage / "engine" / "model.onnx").write_text(weights)
            return self.workspace.artifacts.save(BundleRef, stage, {"target": target})

    def rails(self) -> GuardrailRef:
        with self.workspace.artifacts.staging() as stage:
            (stage / "config").mkdir()
            (stage / "config" / "config.yml").write_text("rails: {}")
            return self.workspace.artifacts.save(GuardrailRef, stage, {})

    def shape(self, **other: object) -> ClusterShape:
        return ClusterShape.model_validate({**IMAGES, **other})

    def release(self, weights: str, source: str = "pvc:artifacts") -> ClusterRelease:
        bundle, rails = self.bundle(weights), self.rails()
        return ClusterRelease.of(self.workspace, "shop", NAMESPACE, bundle, rails, source)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(Workspace(load_settings(home=tmp_path / "home")))


@pytest.fixture
def cluster(layout: Layout) -> Iterator[Any]:
    """A stand-in for a cluster (fake_cluster.py), with the Secrets that releases of `shop` name."""
    fake = FakeCluster()
    for name in wanted_secrets(layout.release("any"), layout.shape()):
        fake.add("secrets", NAMESPACE, name)
    with serving(fake) as running:
        yield running


@pytest.fixture
def rollout(cluster: Any, layout: Layout) -> Callable[..., ClusterRollout]:
    """Makes the rollout of a release to the stand-in; it waits without pauses."""

    def make(release: ClusterRelease, shape: ClusterShape | None = None, **options: Any) -> ClusterRollout:
        from kubernetes.client import ApiClient, Configuration

        shape = shape or layout.shape(scaling="none")
        cluster.endpoint_of[release.digest] = (release.endpoint, release.id)
        reached = Cluster(ApiClient(Configuration(host=cluster.url)), release.namespace)
        secrets = wanted_secrets(release, shape)
        settings = {"poll_s": 0.01, "timeout_s": 300.0, **options}
        return ClusterRollout(reached, release, render(release, shape), secrets, **settings)

    return make
